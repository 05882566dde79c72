/* head_bits.c - packs every matrix of a head that a forge would pack. Measures nothing. */
#include "tune/head_bits.h"

#include <stdatomic.h>

#include "artifact/quant.h"
#include "base/mem.h"

#define GROUP     64
#define ROWS_UNIT 16

struct job {
    struct head_bits *head;
    int bits;
    struct matrix *from, *to; /* [n] */
    int n;
    _Atomic bool no_memory, not_finite;
};

static bool pack_row(const struct matrix *from, const struct matrix *to, uint32_t r, float *row,
                     uint16_t *half)
{
    size_t bad, side = (size_t)r * (to->cols / GROUP);
    unsigned char *data = (unsigned char *)to->data + (size_t)r * matrix_row_bytes(to);
    matrix_row_f32(from, r, row);
    for (uint32_t i = 0; i < to->cols; i++) half[i] = f32_to_bf16(row[i]);
    if (!to->bits) {
        memcpy(data, half, to->cols * sizeof *half);
        return true;
    }
    return quant_rows(half, DT_BF16, 1, to->cols, to->bits, GROUP, (uint32_t *)(void *)data,
                      (uint16_t *)to->scales + side, (uint16_t *)to->biases + side, &bad);
}

static void pack(void *arg, int thread, int n_threads)
{
    struct job *j = arg;
    uint32_t widest = 0;
    for (int i = 0; i < j->n; i++) widest = j->to[i].cols > widest ? j->to[i].cols : widest;
    float *row = mem_zalloc(widest, sizeof *row);
    uint16_t *half = mem_zalloc(widest, sizeof *half);
    if (!row || !half) j->no_memory = true;
    for (int i = 0; i < j->n && !j->no_memory; i++) {
        int begin, end;
        pool_share((int)j->to[i].rows, ROWS_UNIT, thread, n_threads, &begin, &end);
        for (int r = begin; r < end; r++)
            if (!pack_row(&j->from[i], &j->to[i], (uint32_t)r, row, half)) j->not_finite = true;
    }
    mem_free(row);
    mem_free(half);
}

/* Gives m memory of its own in the new packing, and remembers what is to go there. */
static bool add(struct job *j, struct matrix *m)
{
    struct arena *a = &j->head->arena;
    j->from[j->n] = *m;
    m->type = j->bits == 16 ? DT_BF16 : DT_U32;
    m->scale_type = DT_BF16;
    m->bits = j->bits == 16 ? 0 : (uint8_t)j->bits;
    m->group = m->bits ? GROUP : 0;
    size_t side = m->bits ? m->cols / GROUP * sizeof(uint16_t) : 0;
    m->data = arena_array(a, m->rows, matrix_row_bytes(m));
    m->scales = side ? arena_array(a, m->rows, side) : NULL;
    m->biases = side ? arena_array(a, m->rows, side) : NULL;
    j->to[j->n++] = *m;
    return m->data && (!side || (m->scales && m->biases));
}

static bool add_stack(struct job *j, struct matrix **stack, int n)
{
    struct matrix *own = arena_array(&j->head->arena, (size_t)n, sizeof *own);
    for (int i = 0; own && i < n; i++) {
        own[i] = (*stack)[i];
        if (!add(j, &own[i])) return false;
    }
    *stack = own;
    return own != NULL;
}

static bool add_all(struct job *j, int n_experts)
{
    struct mtp_weights *h = &j->head->mtp;
    struct attention_weights *a = &h->layer.attn;
    struct mlp_weights *m = &h->layer.mlp;
    bool ok = add(j, &h->fc) && add(j, &a->q) && add(j, &a->k) && add(j, &a->v) && add(j, &a->o) &&
              add_stack(j, &m->gate, n_experts) && add_stack(j, &m->up, n_experts) &&
              add_stack(j, &m->down, n_experts);
    if (m->type == MLP_DENSE) return ok;
    return ok && add(j, &m->shared_gate) && add(j, &m->shared_up) && add(j, &m->shared_down);
}

static bool check_widths(const struct mtp_weights *h, struct alula_error *e)
{
    const uint32_t cols[] = {h->fc.cols, h->layer.attn.q.cols, h->layer.attn.o.cols,
                             h->layer.mlp.gate[0].cols, h->layer.mlp.down[0].cols};
    for (size_t i = 0; i < sizeof cols / sizeof *cols; i++)
        if (cols[i] % GROUP != 0)
            return err_set(e, ALULA_UNSUPPORTED,
                           "a matrix of the head has %u columns, which do not divide into groups of %d",
                           (unsigned)cols[i], GROUP);
    return true;
}

bool head_bits_create(struct head_bits *ret, const struct weights *w, int bits, struct pool *pool,
                      struct alula_error *e)
{
    const struct mlp_weights *m = &w->mtp.layer.mlp;
    int n_experts = m->type == MLP_DENSE ? 1 : w->config->n_experts;
    size_t most = 8 + 3 * (size_t)n_experts;
    if (!check_widths(&w->mtp, e)) return false;
    *ret = (struct head_bits){.mtp = w->mtp};
    struct job j = {.head = ret, .bits = bits};
    j.from = mem_zalloc(most, sizeof *j.from);
    j.to = mem_zalloc(most, sizeof *j.to);
    bool ok = j.from && j.to && add_all(&j, n_experts);
    if (ok) pool_run(pool, pack, &j);
    if (!ok || j.no_memory)
        ok = err_set(e, ALULA_NOMEM, "no memory for a head of %d bits", bits);
    else if (j.not_finite)
        ok = err_set(e, ALULA_FORMAT, "the head holds values that are not finite");
    mem_free(j.from);
    mem_free(j.to);
    if (!ok) head_bits_free(ret);
    return ok;
}

void head_bits_free(struct head_bits *h)
{
    arena_free(&h->arena);
    *h = (struct head_bits){0};
}
