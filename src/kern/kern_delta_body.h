/* kern_delta_body.h - the gated delta rule of one head, for a vector of LANES floats; part of kern_body.h.
 *
 * The columns of the state do not know of each other. So several rows go over a tile of columns that stays in
 * the first cache level, one after the other, before the next tile; a single row goes over whole lines, as
 * memory likes it. The operations on a column, and their order, are the same on both ways. */
#ifndef KERN_DELTA_BODY_H
#define KERN_DELTA_BODY_H

enum {
    WIDE = LANES > 8 ? 8 : 4,   /* vectors of a tile for one row */
    NARROW = LANES > 8 ? 2 : 4, /* and for several: with 128 keys 16 KB at most */
    KEYS_AHEAD = 8,             /* of the state: how far ahead of the first pass it is fetched */
};

/* Where a pass reads and writes the state: rows of keys, `stride` apart. */
struct delta_place {
    float *s;
    size_t stride;
};

/* One pass over a tile of cols vectors, of which `lanes` lanes count (below LANES for cols 1 alone): the
 * steps, then what k and q read. dst.s NULL: the state is not wanted. line: bytes of a whole row of the
 * state, to be fetched ahead; 0: it is there. */
static inline __attribute__((always_inline)) void delta_pass(struct delta_place dst, struct delta_place src,
                                                             int dk, const struct delta_fold *folds,
                                                             const int n_folds, int v0, const float *k,
                                                             const float *q, vf *p, vf *w, const int cols,
                                                             const size_t lanes, size_t line)
{
    vf delta[WIDE], pa[WIDE], wa[WIDE];
    UNROLL for (int v = 0; v < cols; v++) pa[v] = wa[v] = delta[v] = vset(0);
    if (n_folds == 1)
        UNROLL for (int v = 0; v < cols; v++) delta[v] = vload_n(folds->delta + v0 + v * LANES, lanes);
    for (int i = 0; i < dk; i++) {
        const float *from = src.s + (size_t)i * src.stride;
        for (size_t c = 0; c < line; c += 64)
            __builtin_prefetch((const char *)(from + KEYS_AHEAD * src.stride) + c, 1);
        UNROLL for (int v = 0; v < cols; v++)
        {
            vf s = vload_n(from + v * LANES, lanes);
            if (n_folds == 1) s = s * folds->decay + folds->k[i] * delta[v];
            for (int f = 0; n_folds > 1 && f < n_folds; f++)
                s = s * folds[f].decay + folds[f].k[i] * vload_n(folds[f].delta + v0 + v * LANES, lanes);
            if (dst.s) vstore_n(dst.s + (size_t)i * dst.stride + v * LANES, s, lanes);
            if (!k) continue;
            pa[v] += s * k[i];
            wa[v] += s * q[i];
        }
    }
    UNROLL for (int v = 0; v < cols; v++) p[v] = pa[v], w[v] = wa[v];
}

/* All rows on columns [v0, v0 + (cols-1)*LANES + lanes). */
static inline __attribute__((always_inline)) void delta_tile(const struct delta_head *h,
                                                             const struct delta_row *rows, int n, int v0,
                                                             const int cols, const size_t lanes)
{
    struct delta_place home = {h->s + v0, (size_t)h->dv},
                       copy = {h->copy, (size_t)(cols - 1) * LANES + lanes}, src = home;
    const struct delta_fold *folds = h->folds;
    struct delta_fold step;
    int n_folds = h->n_folds;
    size_t line = v0 == 0 ? sizeof(float) * (size_t)h->dv : 0;
    vf p[WIDE], w[WIDE];

    if (n == 0) delta_pass(home, home, h->dk, folds, n_folds, v0, NULL, NULL, p, w, cols, lanes, line);
    for (int t = 0; t < n; t++, n_folds = 1, folds = &step, line = 0) {
        const struct delta_row *r = &rows[t];
        struct delta_place dst = {NULL, 0};
        if (n_folds > 0 && t == h->n_settled)
            dst = home;
        else if (n_folds > 0 && t + 1 < n)
            dst = copy;
        if (n_folds == 1)
            delta_pass(dst, src, h->dk, folds, 1, v0, r->k, r->q, p, w, cols, lanes, line);
        else
            delta_pass(dst, src, h->dk, folds, n_folds, v0, r->k, r->q, p, w, cols, lanes, line);
        if (dst.s) src = dst;
        UNROLL for (int v = 0; v < cols; v++)
        {
            size_t at = (size_t)v0 + (size_t)v * LANES;
            vf delta = r->beta * (vload_n(r->v + at, lanes) - r->decay * p[v]);
            vstore_n(r->delta + at, delta, lanes);
            vstore_n(r->o + at, r->decay * w[v] + r->kq * delta, lanes);
        }
        step = (struct delta_fold){r->decay, r->k, r->delta};
    }
}

static void delta_wide(const struct delta_head *h, const struct delta_row *rows, int n, int v0)
{
    delta_tile(h, rows, n, v0, WIDE, LANES);
}

static void delta_narrow(const struct delta_head *h, const struct delta_row *rows, int n, int v0)
{
    delta_tile(h, rows, n, v0, NARROW, LANES);
}

static void delta_rule(const struct delta_head *h, const struct delta_row *rows, int n)
{
    int v0 = 0;
    for (; n <= 1 && v0 + WIDE * LANES <= h->dv; v0 += WIDE * LANES) delta_wide(h, rows, n, v0);
    for (; v0 + NARROW * LANES <= h->dv; v0 += NARROW * LANES) delta_narrow(h, rows, n, v0);
    for (; v0 < h->dv; v0 += LANES) {
        size_t left = (size_t)(h->dv - v0);
        delta_tile(h, rows, n, v0, 1, left < LANES ? left : LANES);
    }
}

#endif
