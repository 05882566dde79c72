/* draft_vocab.c - builds the smaller LM head. Owns its rows; must not know who chose them. */
#include "decode/draft_vocab.h"

#include <string.h>

#include "artifact/quant.h"
#include "base/mem.h"

#define GROUP 64

static bool mark_ids(struct draft_vocab *v, const struct matrix *w, const int32_t *ids, int n,
                     struct alula_error *e)
{
    for (int i = 0; i < n; i++) {
        if (ids[i] < 0 || (uint32_t)ids[i] >= w->rows)
            return err_set(e, ALULA_USAGE, "id %d of the draft vocabulary is %d, expected 0 to %d", i,
                           (int)ids[i], (int)w->rows - 1);
        v->n += !draft_vocab_has(v, ids[i]);
        v->held[ids[i] / 32] |= 1u << (ids[i] % 32);
    }
    if (v->n == 0) return err_set(e, ALULA_USAGE, "the draft vocabulary is empty");
    return true;
}

static bool allocate(struct draft_vocab *v, struct alula_error *e)
{
    size_t n = (size_t)v->n, groups = v->head.bits ? v->head.cols / v->head.group : 0;
    v->head.rows = (uint32_t)v->n;
    v->ids = mem_zalloc(n, sizeof *v->ids);
    v->data = mem_zalloc(n, matrix_row_bytes(&v->head));
    v->scales = mem_zalloc(n * groups + 1, dtype_size(v->head.scale_type));
    v->biases = mem_zalloc(n * groups + 1, dtype_size(v->head.scale_type));
    v->head.data = v->data;
    v->head.scales = v->scales;
    v->head.biases = v->biases;
    if (v->ids && v->data && v->scales && v->biases) return true;
    return err_set(e, ALULA_NOMEM, "no memory for a draft vocabulary of %d ids", v->n);
}

/* Row `from` of w, byte for byte. */
static void copy_row(struct draft_vocab *v, int to, const struct matrix *w, size_t from)
{
    size_t row = matrix_row_bytes(w), side = w->bits ? w->cols / w->group * dtype_size(w->scale_type) : 0;
    memcpy((char *)v->data + (size_t)to * row, (const char *)w->data + from * row, row);
    if (!side) return;
    memcpy((char *)v->scales + (size_t)to * side, (const char *)w->scales + from * side, side);
    memcpy((char *)v->biases + (size_t)to * side, (const char *)w->biases + from * side, side);
}

/* Row `from` of w, packed. row, half: [cols] scratch. */
static bool pack_row(struct draft_vocab *v, int to, const struct matrix *w, uint32_t from, float *row,
                     uint16_t *half)
{
    size_t bad, groups = w->cols / GROUP, at = (size_t)to * groups;
    matrix_row_f32(w, from, row);
    for (size_t i = 0; i < w->cols; i++) half[i] = f32_to_bf16(row[i]);
    return quant_rows(half, DT_BF16, 1, w->cols, v->head.bits, GROUP,
                      (uint32_t *)v->data + (size_t)to * (w->cols * v->head.bits / 32),
                      (uint16_t *)v->scales + at, (uint16_t *)v->biases + at, &bad);
}

static bool fill(struct draft_vocab *v, const struct matrix *w, bool pack, struct alula_error *e)
{
    float *row = mem_zalloc(w->cols, sizeof *row);
    uint16_t *half = mem_zalloc(w->cols, sizeof *half);
    bool ok = (row && half) || err_set(e, ALULA_NOMEM, "no memory for a row of the LM head");
    int n = 0;
    for (uint32_t id = 0; ok && id < w->rows; id++) {
        if (!draft_vocab_has(v, (int32_t)id)) continue;
        v->ids[n] = (int32_t)id;
        if (!pack)
            copy_row(v, n, w, id);
        else if (!pack_row(v, n, w, id, row, half))
            ok = err_set(e, ALULA_FORMAT, "row %d of the LM head holds values that are not finite", (int)id);
        n++;
    }
    mem_free(row);
    mem_free(half);
    return ok;
}

bool draft_vocab_create(struct draft_vocab **ret, const struct matrix *lm_head, const int32_t *ids, int n,
                        int bits, struct alula_error *e)
{
    if (bits != 0 && !quant_supported(bits, GROUP))
        return err_set(e, ALULA_USAGE, "draft_bits is %d, expected 0 (as stored), 2, 3, 4, 5, 6 or 8", bits);
    if (bits != 0 && lm_head->cols % GROUP != 0)
        return err_set(e, ALULA_UNSUPPORTED,
                       "the LM head has %d columns, which do not divide into groups of %d",
                       (int)lm_head->cols, GROUP);
    struct draft_vocab *v = mem_zalloc(1, sizeof *v);
    if (!v) return err_set(e, ALULA_NOMEM, "no memory for a draft vocabulary");
    v->held = mem_zalloc(lm_head->rows / 32 + 1, sizeof *v->held);
    v->head = *lm_head;
    if (bits != 0) {
        v->head.type = DT_U32;
        v->head.scale_type = DT_BF16;
        v->head.bits = (uint8_t)bits;
        v->head.group = GROUP;
    }
    bool ok = v->held || err_set(e, ALULA_NOMEM, "no memory for a draft vocabulary");
    if (!ok || !mark_ids(v, lm_head, ids, n, e) || !allocate(v, e) || !fill(v, lm_head, bits != 0, e)) {
        draft_vocab_free(v);
        return false;
    }
    *ret = v;
    return true;
}

void draft_vocab_free(struct draft_vocab *v)
{
    if (!v) return;
    mem_free(v->ids);
    mem_free(v->held);
    mem_free(v->data);
    mem_free(v->scales);
    mem_free(v->biases);
    mem_free(v);
}
