/* emit.c - from source rows to bytes of the artifact, both cores busy, memory bounded.
 *
 * Owns blocks and their split over threads. Does not decide names, order or widths (plan.c). */
#include "forge/emit.h"

#include <math.h>

#include "artifact/quant.h"
#include "artifact/safetensors.h"
#include "base/clock.h"

#define BLOCK_BYTES (16u << 20) /* of source in flight */

/* One block of rows on its way: what the threads share. */
struct block {
    const struct plan_item *item;
    const struct matrix *m;
    uint32_t first, rows;
    unsigned char *out;             /* codes, or plain values */
    unsigned char *scales, *biases; /* of this block's first row */
    unsigned char *cast;            /* the source in the written type, where it differs; else NULL */
    uint64_t *bad;                  /* [n_threads] first bad row + 1 */
};

struct emitter {
    struct st_writer *w;
    struct pool *pool;
    struct emit_progress *progress;
    struct buf scales, biases; /* of the module under way */
    struct arena arena;
    unsigned char *out, *cast;
    uint64_t bad[256];
};

static void store(unsigned char *out, enum dtype type, size_t i, float v)
{
    if (type == DT_F32) {
        memcpy(out + 4 * i, &v, 4);
    } else {
        uint16_t h = type == DT_BF16 ? f32_to_bf16(v) : f32_to_f16(v);
        memcpy(out + 2 * i, &h, 2);
    }
}

/* n values from one type to another; false if one is not finite in the end. */
static bool convert(const void *src, enum dtype from, size_t n, unsigned char *out, enum dtype to)
{
    bool finite = true;
    for (size_t i = 0; i < n; i++) {
        float v = value_f32(src, from, i);
        store(out, to, i, v);
        finite &= (bool)isfinite(value_f32(out, to, i));
    }
    return finite;
}

static size_t packed_row(const struct plan_item *it) { return (size_t)it->mats->cols * (size_t)it->bits / 8; }

static size_t scales_row(const struct plan_item *it)
{
    return it->mats->cols / (size_t)it->group * dtype_size(it->type);
}

static void work_rows(void *arg, int thread, int n_threads)
{
    struct block *b = arg;
    const struct plan_item *it = b->item;
    size_t cols = b->m->cols, in_row = matrix_row_bytes(b->m), plain_row = cols * dtype_size(it->type);
    int lo, hi;
    pool_share((int)b->rows, 1, thread, n_threads, &lo, &hi);
    b->bad[thread] = 0;
    for (int r = lo; r < hi && !b->bad[thread]; r++) {
        const unsigned char *src = (const unsigned char *)b->m->data + (b->first + (size_t)r) * in_row;
        size_t bad_row;
        bool good = true;
        if (!it->bits) {
            good = convert(src, b->m->type, cols, b->out + (size_t)r * plain_row, it->type);
        } else {
            if (b->cast) {
                good = convert(src, b->m->type, cols, b->cast + (size_t)r * plain_row, it->type);
                src = b->cast + (size_t)r * plain_row;
            }
            good = good && quant_rows(src, it->type, 1, cols, it->bits, it->group,
                                      (uint32_t *)(void *)(b->out + (size_t)r * packed_row(it)),
                                      b->scales + (size_t)r * scales_row(it),
                                      b->biases + (size_t)r * scales_row(it), &bad_row);
        }
        if (!good) b->bad[thread] = b->first + (uint64_t)r + 1;
    }
}

static bool tell(struct emitter *em, uint64_t bytes, struct alula_error *e)
{
    em->progress->done += bytes;
    return watch_tell(em->progress->watch, "forging", em->progress->done, em->progress->total, e);
}

static bool emit_block(struct emitter *em, const struct plan_item *it, const struct matrix *m, uint32_t first,
                       uint32_t rows, struct alula_error *e)
{
    struct block b = {.item = it, .m = m, .first = first, .rows = rows, .out = em->out, .bad = em->bad};
    size_t out_row = it->bits ? packed_row(it) : m->cols * dtype_size(it->type);
    if (it->bits) {
        size_t aux = rows * scales_row(it);
        if (!buf_reserve(&em->scales, aux) || !buf_reserve(&em->biases, aux))
            return err_set(e, ALULA_NOMEM, "no memory for the scales of %s", it->name);
        b.scales = (unsigned char *)em->scales.data + em->scales.len;
        b.biases = (unsigned char *)em->biases.data + em->biases.len;
        b.cast = m->type == it->type ? NULL : em->cast;
        em->scales.len += aux;
        em->biases.len += aux;
    }
    pool_run(em->pool, work_rows, &b);
    for (int t = 0; t < pool_threads(em->pool); t++)
        if (em->bad[t])
            return err_set(e, ALULA_FORMAT,
                           "%s: row %llu holds a value that is not finite or a range that overflows %s",
                           it->name, (unsigned long long)em->bad[t] - 1, dtype_name(it->type));
    if (!st_writer_append(em->w, em->out, rows * out_row, e)) return false;
    size_t in = rows * matrix_row_bytes(m);
    file_map_forget((const unsigned char *)m->data + (size_t)first * matrix_row_bytes(m), in);
    return tell(em, in, e);
}

/* The k-th matrix of a module in the order of writing. */
static const struct matrix *part(const struct plan_item *it, int k)
{
    if (!it->mats2) return &it->mats[k];
    return k % 2 ? &it->mats2[k / 2] : &it->mats[k / 2];
}

static int n_parts(const struct plan_item *it) { return it->n_mats * (it->mats2 ? 2 : 1); }

/* Rows of a block: as many as fit, a multiple of 8 if possible. */
static uint32_t block_rows(const struct matrix *m)
{
    size_t widest = (size_t)m->cols * 4;
    uint32_t rows = (uint32_t)(BLOCK_BYTES / (widest ? widest : 1));
    return rows < 1 ? 1 : rows;
}

static bool emit_converted(struct emitter *em, const struct plan_item *it, struct alula_error *e)
{
    buf_clear(&em->scales);
    buf_clear(&em->biases);
    for (int k = 0; k < n_parts(it); k++) {
        const struct matrix *m = part(it, k);
        uint32_t step = block_rows(m);
        for (uint32_t r = 0; r < m->rows; r += step)
            if (!emit_block(em, it, m, r, m->rows - r < step ? m->rows - r : step, e)) return false;
    }
    if (!it->bits) return true;
    return st_writer_append(em->w, em->scales.data, em->scales.len, e) &&
           st_writer_append(em->w, em->biases.data, em->biases.len, e);
}

/* Bytes as they lie in the source, a piece at a time, so that neither their pages nor the output's pile up. */
static bool emit_bytes(struct emitter *em, const void *p, size_t n, struct alula_error *e)
{
    const unsigned char *at = p;
    while (n) {
        size_t piece = n < BLOCK_BYTES ? n : BLOCK_BYTES;
        if (!st_writer_append(em->w, at, piece, e)) return false;
        file_map_forget(at, piece);
        at += piece;
        n -= piece;
        if (!tell(em, piece, e)) return false;
    }
    return true;
}

/* Scales or biases of one matrix; those that are not finite would only show when the model talks nonsense. */
static bool emit_aux(struct emitter *em, const struct plan_item *it, const void *p, size_t n,
                     const char *what, struct alula_error *e)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(value_f32(p, it->type, i)))
            return err_set(e, ALULA_FORMAT, "%s: the %s hold a value that is not finite", it->name, what);
    return emit_bytes(em, p, n * dtype_size(it->type), e);
}

/* A source that is packed already keeps its codes. */
static bool emit_packed(struct emitter *em, const struct plan_item *it, struct alula_error *e)
{
    size_t codes = it->mats->rows * matrix_row_bytes(it->mats);
    size_t n_aux = it->mats->rows * (size_t)(it->mats->cols / (uint32_t)it->group);
    for (int k = 0; k < n_parts(it); k++)
        if (!emit_bytes(em, part(it, k)->data, codes, e)) return false;
    for (int k = 0; k < n_parts(it); k++)
        if (!emit_aux(em, it, part(it, k)->scales, n_aux, "scales", e)) return false;
    for (int k = 0; k < n_parts(it); k++)
        if (!emit_aux(em, it, part(it, k)->biases, n_aux, "biases", e)) return false;
    return true;
}

/* A norm that changes its encoding gets its 1 in the source's own type, then the cast: two roundings, as
 * mlx-lm does it. */
static bool emit_vector(struct emitter *em, const struct plan_item *it, struct alula_error *e)
{
    const struct tensor *src = it->vec->source;
    size_t n = src->n_bytes / dtype_size(src->dtype);
    for (size_t i = 0; i < n; i++) {
        unsigned char own[4];
        store(own, src->dtype, 0, value_f32(src->data, src->dtype, i) + (float)it->shift);
        store(em->out, it->type, i, value_f32(own, src->dtype, 0));
        if (!isfinite(value_f32(em->out, it->type, i)))
            return err_set(e, ALULA_FORMAT, "%s: value %zu is not finite", it->name, i);
    }
    return st_writer_append(em->w, em->out, n * dtype_size(it->type), e) && tell(em, src->n_bytes, e);
}

static bool declare(struct emitter *em, const struct plan_item *it, const char *suffix, enum dtype type,
                    uint64_t cols, struct alula_error *e)
{
    char name[300];
    uint64_t shape[3], rows = (uint64_t)it->mats->rows * (it->mats2 ? 2 : 1);
    int d = 0;
    snprintf(name, sizeof name, "%s%s", it->name, suffix);
    if (it->stacked) shape[d++] = (uint64_t)it->n_mats;
    shape[d++] = rows;
    shape[d++] = cols;
    return st_writer_declare(em->w, name, type, d, shape, e);
}

static bool declare_item(struct emitter *em, const struct plan_item *it, struct alula_error *e)
{
    if (it->vec) return st_writer_declare(em->w, it->name, it->type, it->n_dims, it->shape, e);
    uint64_t cols = it->mats->cols;
    if (!it->bits) return declare(em, it, it->suffix ? ".weight" : "", it->type, cols, e);
    return declare(em, it, ".weight", DT_U32, cols * (uint64_t)it->bits / 32, e) &&
           declare(em, it, ".scales", it->type, cols / (uint64_t)it->group, e) &&
           declare(em, it, ".biases", it->type, cols / (uint64_t)it->group, e);
}

static bool emit_item(struct emitter *em, const struct plan_item *it, struct alula_error *e)
{
    if (it->vec) return emit_vector(em, it, e);
    return it->mats->type == DT_U32 ? emit_packed(em, it, e) : emit_converted(em, it, e);
}

/* Room for the largest block or vector of the file. */
static bool make_room(struct emitter *em, const struct plan_item *items, size_t n, struct alula_error *e)
{
    size_t most = 0;
    for (size_t i = 0; i < n; i++) {
        const struct plan_item *it = &items[i];
        size_t need =
            it->vec ? it->vec->source->n_bytes * 2 : block_rows(it->mats) * (size_t)it->mats->cols * 4;
        if (!it->vec && need > it->mats->rows * (size_t)it->mats->cols * 4)
            need = it->mats->rows * (size_t)it->mats->cols * 4;
        if (need > most) most = need;
    }
    em->out = arena_alloc(&em->arena, most);
    em->cast = arena_alloc(&em->arena, most);
    if (!em->out || !em->cast) return err_set(e, ALULA_NOMEM, "no memory for blocks of %zu bytes", most);
    return true;
}

static bool emit_all(struct emitter *em, const char *path, const struct plan_item *items, size_t n,
                     struct alula_error *e)
{
    json_t *meta = json_pack("{s:s}", "format", "mlx");
    bool ok = meta && make_room(em, items, n, e) && st_writer_open(&em->w, path, meta, e);
    for (size_t i = 0; ok && i < n; i++) ok = declare_item(em, &items[i], e);
    ok = ok && st_writer_begin(em->w, e);
    for (size_t i = 0; ok && i < n; i++) ok = emit_item(em, &items[i], e);
    ok = ok && st_writer_commit(em->w, e);
    json_decref(meta);
    return meta ? ok : err_set(e, ALULA_NOMEM, "no memory to write %s", path);
}

bool emit_file(const char *path, const struct plan_item *items, size_t n, struct pool *pool,
               struct emit_progress *progress, struct alula_error *e)
{
    struct emitter em = {.pool = pool, .progress = progress};
    buf_init(&em.scales, 0);
    buf_init(&em.biases, 0);
    bool ok = emit_all(&em, path, items, n, e);
    if (em.w) st_writer_close(em.w);
    buf_free(&em.scales);
    buf_free(&em.biases);
    arena_free(&em.arena);
    return ok;
}

double emit_measure(const struct plan_item *it, struct pool *pool)
{
    struct arena arena = {0};
    uint64_t bad[256];
    uint32_t rows = it->mats->rows < block_rows(it->mats) ? it->mats->rows : block_rows(it->mats);
    size_t plain = rows * (size_t)it->mats->cols * 4, done = 0;
    struct block b = {.item = it, .m = it->mats, .rows = rows, .bad = bad};
    b.out = arena_alloc(&arena, plain);
    b.scales = arena_alloc(&arena, plain);
    b.biases = arena_alloc(&arena, plain);
    b.cast = it->mats->type == it->type ? NULL : arena_alloc(&arena, plain);
    bool ok = b.out && b.scales && b.biases && (b.cast || it->mats->type == it->type);
    if (ok) pool_run(pool, work_rows, &b); /* the first time reads the file */
    double start = clock_s(), spent = 0;
    while (ok && spent < 0.1) {
        pool_run(pool, work_rows, &b);
        done += rows * matrix_row_bytes(it->mats);
        spent = clock_s() - start;
    }
    arena_free(&arena);
    return ok ? (double)done / spent : 0;
}
