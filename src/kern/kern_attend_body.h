/* kern_attend_body.h - attention of some queries to a block of a cache, for a vector of LANES floats; part of
 * kern_body.h.
 *
 * Keys and values become float32 in registers and never lie in memory as such. A tile is PRODUCTS sums: a key or a
 * vector of values meets several queries, a query several keys, so that neither converting nor loading limits. While the
 * keys are multiplied the block's values come from memory, while the values are, the next block's keys. */
#ifndef KERN_ATTEND_BODY_H
#define KERN_ATTEND_BODY_H

/* What each kern_ISA.c brings: LANES halves as float32, and PRODUCTS times fold_sums, part[v][i] being vector v of sum i. */
static inline vf half_load(const void *p);
static inline void fold_products(vf (*part)[PRODUCTS], float *out);

/* `lanes` values of a row of the cache from index c on; the others are zero. */
static inline __attribute__((always_inline)) vf kv_load(const char *row, size_t c, const enum dtype type,
                                                        const size_t lanes)
{
    float some[LANES] = {0};
    if (lanes >= LANES) return type == DT_F16 ? half_load(row + 2 * c) : vload((const float *)row + c);
    values_to_f32(row + c * value_size(type), type, lanes, some);
    return vload(some);
}

/* Into the second level. */
static inline void fetch(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i += 64) __builtin_prefetch(p + i, 0, 2);
}

/* acc[j][i] += `lanes` products of query j and key i. */
static inline __attribute__((always_inline)) void score_step(const char *const *key, const float *q,
                                                             size_t ldq, size_t c, const enum dtype type,
                                                             const size_t lanes, const int n, vf *acc)
{
    const int keys = PRODUCTS / n;
    vf k[PRODUCTS];
    UNROLL for (int i = 0; i < keys; i++) k[i] = kv_load(key[i], c, type, lanes);
    UNROLL for (int j = 0; j < n; j++)
    {
        vf x = vload_n(q + (size_t)j * ldq + c, lanes);
        UNROLL for (int i = 0; i < keys; i++) acc[j * keys + i] += k[i] * x;
    }
}

/* Scores of n queries with the keys from `at` on, as many as make PRODUCTS; what lies behind the block's end repeats its
 * last key. */
static inline __attribute__((always_inline)) void score_tile(const struct kv_block *b, int at, const float *q,
                                                             size_t ldq, const enum dtype type, const int n,
                                                             float (*scores)[KV_BLOCK])
{
    const int keys = PRODUCTS / n;
    const size_t dim = (size_t)b->dim, row = dim * value_size(type);
    const char *key[PRODUCTS];
    vf part[VECS][PRODUCTS];
    float out[PRODUCTS];

    for (int i = 0; i < keys; i++)
        key[i] = (const char *)b->k + (size_t)(at + i < b->n ? at + i : b->n - 1) * row;
    if (b->next) fetch((const char *)b->v + (size_t)at * row, (size_t)keys * row);
    for (size_t v = 0; v < VECS; v++) {
        vf acc[PRODUCTS];
        size_t c = v * LANES;
        UNROLL for (int i = 0; i < PRODUCTS; i++) acc[i] = vset(0);
        for (; c + LANES <= dim; c += SUMS) score_step(key, q, ldq, c, type, LANES, n, acc);
        if (c < dim) score_step(key, q, ldq, c, type, dim - c, n, acc);
        memcpy(part[v], acc, sizeof acc);
    }
    fold_products(part, out);
    UNROLL for (int j = 0; j < n; j++) memcpy(scores[j] + at, out + j * keys, (size_t)keys * sizeof *out);
}

/* o[j] = shrink[j]*o[j] + a[j][0]*value[0] + a[j][1]*value[1] + ..., one after the other, on cols vectors from column c
 * on, of which `lanes` lanes count. */
static inline __attribute__((always_inline)) void value_tile(const struct kv_block *b, size_t c,
                                                             float (*a)[KV_BLOCK], const float *shrink,
                                                             float *o, size_t ldo, const enum dtype type,
                                                             const int n, const int cols, const size_t lanes)
{
    const size_t size = value_size(type), row = (size_t)b->dim * size;
    const char *value = b->v, *next = b->next ? (const char *)b->next + c * size * (size_t)b->n : NULL;
    vf acc[PRODUCTS];

    UNROLL for (int j = 0; j < n; j++) UNROLL for (int v = 0; v < cols; v++) acc[j * cols + v] =
        vload_n(o + (size_t)j * ldo + c + (size_t)v * LANES, lanes) * shrink[j];
    for (int r = 0; r < b->n; r++, value += row) {
        vf x[PRODUCTS];
        UNROLL for (int v = 0; v < cols; v++) x[v] = kv_load(value, c + (size_t)v * LANES, type, lanes);
        UNROLL for (int j = 0; j < n; j++)
        {
            vf w = vset(a[j][r]);
            UNROLL for (int v = 0; v < cols; v++) acc[j * cols + v] += w * x[v];
        }
        if (next) fetch(next, (size_t)cols * LANES * size), next += (size_t)cols * LANES * size;
    }
    UNROLL for (int j = 0; j < n; j++) UNROLL for (int v = 0; v < cols; v++)
        vstore_n(o + (size_t)j * ldo + c + (size_t)v * LANES, acc[j * cols + v], lanes);
}

static inline __attribute__((always_inline)) void attend_tile(const struct kv_block *b, const float *q,
                                                              size_t ldq, float scale, float *taken,
                                                              size_t ldt, const enum dtype type, const int n)
{
    const int cols = PRODUCTS / n;
    const size_t dim = (size_t)b->dim, wide = (size_t)cols * LANES;
    float scores[QUERIES][KV_BLOCK], shrink[QUERIES];
    size_t c = 0;

    for (int at = 0; at < b->n; at += PRODUCTS / n) score_tile(b, at, q, ldq, type, n, scores);
    for (int j = 0; j < n; j++) {
        float *run = taken + (size_t)j * ldt + dim;
        shrink[j] = softmax_block(scores[j], (size_t)b->n, scale, run, run + 1);
    }
    for (; c + wide <= dim; c += wide) value_tile(b, c, scores, shrink, taken, ldt, type, n, cols, LANES);
    for (; c + LANES <= dim; c += LANES) value_tile(b, c, scores, shrink, taken, ldt, type, n, 1, LANES);
    if (c < dim) value_tile(b, c, scores, shrink, taken, ldt, type, n, 1, dim - c);
}

#define ATTEND_TILE(TYPE, N)                                                                                 \
    static void attend_##TYPE##_##N(const struct kv_block *b, const float *q, size_t ldq, float scale,       \
                                    float *taken, size_t ldt)                                                \
    {                                                                                                        \
        attend_tile(b, q, ldq, scale, taken, ldt, DT_##TYPE, N);                                             \
    }
#define ATTEND_TILES(TYPE)                                                                                   \
    ATTEND_TILE(TYPE, 1)                                                                                     \
    ATTEND_TILE(TYPE, 2)                                                                                     \
    ATTEND_TILE(TYPE, 4)                                                                                     \
    ATTEND_TILE(TYPE, 8)
ATTEND_TILES(F32)
ATTEND_TILES(F16)

/* Tiles of 8, 4, 2 and 1 queries; only the first fetches. */
static void attend(const struct kv_block *block, const float *q, size_t ldq, int n, float scale, float *taken,
                   size_t ldt)
{
    typedef void tile_fn(const struct kv_block *, const float *, size_t, float, float *, size_t);
    static tile_fn *const tiles[2][4] = {{attend_F32_1, attend_F32_2, attend_F32_4, attend_F32_8},
                                         {attend_F16_1, attend_F16_2, attend_F16_4, attend_F16_8}};
    struct kv_block b = *block;
    int size = QUERIES, log = 3;
    for (int j = 0; j < n; j += size, b.next = NULL) {
        while (size > n - j) size /= 2, log--;
        tiles[b.type == DT_F16][log](&b, q + (size_t)j * ldq, ldq, scale, taken + (size_t)j * ldt, ldt);
    }
}

#endif
