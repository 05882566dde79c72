/* kern_body.h - the float32 kernels, written once for a vector of LANES floats (4, 8 or 16).
 *
 * Each kern_ISA.c defines LANES and a reader `decode`, includes this file, and compiles it for its
 * instruction set. The compiler's vector types round every lane like the scalar operation, so all instances
 * give the same bits by construction. */
#ifndef KERN_BODY_H
#define KERN_BODY_H

#include <math.h>

#include "kern/kern.h"

#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

enum {
    SUMS = 16,                 /* partial sums of every dot product */
    VECS = SUMS / LANES,       /* vectors that hold them */
    BLOCK = 256,               /* columns decoded at a time */
    WROWS = LANES > 4 ? 4 : 2, /* weight rows multiplied side by side: independent chains of additions */
    XROWS = 64,                /* activation rows that share one decoding */
};

typedef float vf __attribute__((vector_size(LANES * 4)));
typedef int32_t vi __attribute__((vector_size(LANES * 4)));
typedef int8_t vb __attribute__((vector_size(LANES)));

/* Writes columns [c0, c0 + n) of row r as float32; c0 is a multiple of BLOCK, n <= BLOCK. */
static void decode(const struct matrix *m, uint32_t r, uint32_t c0, uint32_t n, float *out);

static inline vf vset(float f) { return f - (vf){0}; }

static inline vf vload(const float *p)
{
    vf v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline void vstore(float *p, vf v) { memcpy(p, &v, sizeof v); }

/* The first n lanes; the others are zero. */
static inline vf vload_n(const float *p, size_t n)
{
    vf v = {0};
    if (n >= LANES) return vload(p);
    memcpy(&v, p, n * sizeof *p);
    return v;
}

static inline void vstore_n(float *p, vf v, size_t n) { memcpy(p, &v, (n < LANES ? n : LANES) * sizeof *p); }

static inline vf vselect(vi mask, vf yes, vf no) { return (vf)(((vi)yes & mask) | ((vi)no & ~mask)); }

static inline float fold_sums(const vf *acc)
{
    float t[SUMS];
    memcpy(t, acc, sizeof t);
    for (int half = SUMS / 2; half; half /= 2)
        for (int i = 0; i < half; i++) t[i] += t[i + half];
    return t[0];
}

/* e^x = 2^n e^r with n = rint(x/ln 2), |r| <= ln 2 / 2. ln 2 is split so that n*hi is exact; the polynomial
 * is the minimax one of degree 6 with the first two coefficients fixed to 1. 2^n goes in as two factors, so
 * results fade into subnormals and infinity as they should. */
static inline vf vexp(vf x)
{
    const vf magic = vset(0x1.8p23f);
    vf c = vselect(x < -104.0f, vset(-104.0f), x);
    c = vselect(c > 89.0f, vset(89.0f), c);
    vf t = c * 1.44269504f + magic;
    vf n = t - magic;
    vf r = (c - n * 0.693359375f) - n * -2.12194440e-4f;
    vf p = vset(1.38144672e-3f);
    p = p * r + 8.36878084e-3f;
    p = p * r + 4.16683927e-2f;
    p = p * r + 1.66665196e-1f;
    p = p * r + 4.9999994e-1f;
    p = (p * (r * r) + r) + 1.0f;
    vi k = (vi)t - (vi)magic, k1 = k >> 1, k2 = k - k1;
    return p * (vf)((k1 + 127) << 23) * (vf)((k2 + 127) << 23);
}

/* One block of the dot products of WROWS decoded rows with one activation row; n is padded to whole vectors
 * of zeros. */
static inline void dot_block(float (*wb)[BLOCK], const float *x, uint32_t n, vf acc[WROWS][VECS])
{
    vf a[WROWS][VECS];
    memcpy(a, acc, sizeof a);
    for (uint32_t c = 0; c < n; c += SUMS) {
        UNROLL for (int v = 0; v < VECS; v++)
        {
            vf xv = vload(x + c + v * LANES);
            UNROLL for (int i = 0; i < WROWS; i++) a[i][v] += vload(&wb[i][c + v * LANES]) * xv;
        }
    }
    memcpy(acc, a, sizeof a);
}

/* Up to XROWS activation rows with WROWS weight rows from r on, of which those below r1 count. */
static void mat_rows_tile(const struct matrix *w, uint32_t r, uint32_t r1, const float *x, size_t ldx, int n,
                          float *y, size_t ldy)
{
    float wb[WROWS][BLOCK];
    vf acc[XROWS][WROWS][VECS];
    uint32_t whole = w->cols / SUMS * SUMS;

    for (int j = 0; j < n; j++) memset(acc[j], 0, sizeof acc[j]);
    for (uint32_t c = 0; c < w->cols; c += BLOCK) {
        uint32_t len = w->cols - c < BLOCK ? w->cols - c : BLOCK;
        uint32_t full = whole > c ? (whole - c < len ? whole - c : len) : 0;
        for (int i = 0; i < WROWS; i++) {
            decode(w, r + i < r1 ? r + i : r1 - 1, c, len, wb[i]);
            memset(wb[i] + len, 0, (full + SUMS - len) % SUMS * sizeof(float));
        }
        for (int j = 0; j < n; j++) {
            const float *xj = x + j * ldx + c;
            dot_block(wb, xj, full, acc[j]);
            if (full == len) continue;
            float tail[SUMS] = {0}, wt[WROWS][BLOCK];
            memcpy(tail, xj + full, (len - full) * sizeof(float));
            for (int i = 0; i < WROWS; i++) memcpy(wt[i], wb[i] + full, sizeof tail);
            dot_block(wt, tail, SUMS, acc[j]);
        }
    }
    for (int j = 0; j < n; j++)
        for (int i = 0; i < WROWS && r + i < r1; i++) y[j * ldy + r + i] = fold_sums(acc[j][i]);
}

static void mat_rows(const struct matrix *w, uint32_t r0, uint32_t r1, const float *x, size_t ldx, int n,
                     float *y, size_t ldy)
{
    for (int j = 0; j < n; j += XROWS)
        for (uint32_t r = r0; r < r1; r += WROWS)
            mat_rows_tile(w, r, r1, x + j * ldx, ldx, n - j < XROWS ? n - j : XROWS, y + j * ldy, ldy);
}

static void axpy(float a, const float *x, float *y, size_t n)
{
    for (size_t i = 0; i < n; i += LANES)
        vstore_n(y + i, vload_n(y + i, n - i) + a * vload_n(x + i, n - i), n - i);
}

static void mat_accum(const struct matrix *w, uint32_t r0, uint32_t r1, const float *a, size_t lda, int n,
                      float *y, size_t ldy)
{
    float row[BLOCK];
    for (uint32_t c = 0; c < w->cols; c += BLOCK) {
        uint32_t len = w->cols - c < BLOCK ? w->cols - c : BLOCK;
        for (uint32_t r = r0; r < r1; r++) {
            decode(w, r, c, len, row);
            for (int j = 0; j < n; j++) axpy(a[j * lda + r], row, y + j * ldy + c, len);
        }
    }
}

static float dot(const float *a, const float *b, size_t n)
{
    vf acc[VECS] = {{0}};
    for (size_t i = 0; i < n; i += SUMS) {
        UNROLL for (size_t v = 0; v < VECS; v++)
        {
            size_t c = i + v * LANES;
            if (c < n) acc[v] += vload_n(a + c, n - c) * vload_n(b + c, n - c);
        }
    }
    return fold_sums(acc);
}

static void rms_norm(float *out, const float *x, const float *gain, size_t n, float eps)
{
    float inv = 1 / sqrtf(dot(x, x, n) / (float)n + eps);
    for (size_t i = 0; i < n; i += LANES)
        vstore_n(out + i, vload_n(x + i, n - i) * inv * vload_n(gain + i, n - i), n - i);
}

static void exp_inplace(float *x, size_t n)
{
    for (size_t i = 0; i < n; i += LANES) vstore_n(x + i, vexp(vload_n(x + i, n - i)), n - i);
}

static inline vf vsilu(vf x) { return x / (1.0f + vexp(-x)); }

static void silu(float *x, size_t n)
{
    for (size_t i = 0; i < n; i += LANES) vstore_n(x + i, vsilu(vload_n(x + i, n - i)), n - i);
}

static void silu_mul(float *out, const float *gate, const float *up, size_t n)
{
    for (size_t i = 0; i < n; i += LANES)
        vstore_n(out + i, vsilu(vload_n(gate + i, n - i)) * vload_n(up + i, n - i), n - i);
}

static void sigmoid_mul(float *out, const float *gate, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i += LANES)
        vstore_n(out + i, vload_n(x + i, n - i) / (1.0f + vexp(-vload_n(gate + i, n - i))), n - i);
}

static void softmax(float *x, size_t n)
{
    vf acc[VECS] = {{0}};
    float max = x[0];

    for (size_t i = 1; i < n; i++) max = x[i] > max ? x[i] : max;
    for (size_t i = 0; i < n; i += SUMS) {
        for (size_t v = 0; v < VECS; v++) {
            size_t c = i + v * LANES;
            if (c >= n) break;
            vf e = vexp(vload_n(x + c, n - c) - max);
            vstore_n(x + c, e, n - c);
            acc[v] += vload_n(x + c, n - c);
        }
    }
    float sum = fold_sums(acc);
    for (size_t i = 0; i < n; i += LANES) vstore_n(x + i, vload_n(x + i, n - i) / sum, n - i);
}

enum { TILE = 4 }; /* vectors of value columns whose sums stay in registers */

/* Columns [v0, v0 + n) of the state, n <= TILE*LANES. */
static inline void delta_tile(float *dst, const float *src, int dk, int dv, const struct delta_fold *folds,
                              int n_folds, const float *k, const float *q, float *p, float *w, int v0,
                              size_t n)
{
    vf pa[TILE] = {{0}}, wa[TILE] = {{0}};

    for (int i = 0; i < dk; i++) {
        size_t at = (size_t)i * dv + v0;
        vf s[TILE];
        UNROLL for (size_t t = 0; t < TILE; t++) s[t] =
            t * LANES < n ? vload_n(src + at + t * LANES, n - t * LANES) : vset(0);
        for (int f = 0; f < n_folds; f++) {
            const float *delta = folds[f].delta + v0;
            UNROLL for (size_t t = 0; t < TILE; t++)
            {
                if (t * LANES < n)
                    s[t] = s[t] * folds[f].decay + folds[f].k[i] * vload_n(delta + t * LANES, n - t * LANES);
            }
        }
        if (dst) UNROLL for (size_t t = 0; t < TILE; t++)
            {
                if (t * LANES < n) vstore_n(dst + at + t * LANES, s[t], n - t * LANES);
            }
        if (k) UNROLL for (size_t t = 0; t < TILE; t++)
            {
                pa[t] += s[t] * k[i];
                wa[t] += s[t] * q[i];
            }
    }
    for (size_t t = 0; k && t * LANES < n; t++) {
        vstore_n(p + v0 + t * LANES, pa[t], n - t * LANES);
        vstore_n(w + v0 + t * LANES, wa[t], n - t * LANES);
    }
}

static void delta_pass(float *dst, const float *src, int dk, int dv, const struct delta_fold *folds,
                       int n_folds, const float *k, const float *q, float *p, float *w)
{
    const int step = TILE * LANES;
    int v0 = 0;
    for (; v0 + step <= dv; v0 += step)
        delta_tile(dst, src, dk, dv, folds, n_folds, k, q, p, w, v0, TILE * LANES);
    if (v0 < dv) delta_tile(dst, src, dk, dv, folds, n_folds, k, q, p, w, v0, (size_t)(dv - v0));
}

/* Bytes 0 2 4 6 1 3 5 7 of x. */
static inline uint64_t evens_first(uint64_t x)
{
    uint64_t even = x & 0x00ff00ff00ff00ff, odd = x >> 8 & 0x00ff00ff00ff00ff;
    even = (even | even >> 8) & 0x0000ffff0000ffff;
    odd = (odd | odd >> 8) & 0x0000ffff0000ffff;
    return ((even | even >> 16) & 0xffffffff) | (odd | odd >> 16) << 32;
}

/* One whole group. Below 1e-30 it counts as zeros, so that 127/max stays finite. */
static void q8_group_from(struct q8 *out, const float *x)
{
    const vf magic = vset(0x1.8p23f);
    vf top = {0};
    vi sums[2] = {{0}};
    int sum[2] = {0};
    float max = 0;

    for (int i = 0; i < 64; i += LANES) {
        vf v = vload(x + i);
        v = (vf)((vi)v & 0x7fffffff);
        top = vselect(v > top, v, top);
    }
    for (int i = 0; i < LANES; i++) max = top[i] > max ? top[i] : max;
    if (max < 1e-30f) max = 0;
    float inv = max > 0 ? 127 / max : 0;
    for (int i = 0; i < 64; i += LANES) {
        vb b = __builtin_convertvector((vi)(vload(x + i) * inv + magic) & 0xff, vb);
        memcpy(out->code + i, &b, sizeof b);
        sums[i / 32] += __builtin_convertvector(b, vi);
    }
    for (int i = 0; i < 64; i += 8) {
        uint64_t u;
        memcpy(&u, out->code + i, 8);
        u = evens_first(u);
        memcpy(out->code + i, &u, 8);
    }
    for (int i = 0; i < LANES; i++) sum[0] += sums[0][i], sum[1] += sums[1][i];
    out->scale = max / 127;
    out->half[0] = (float)sum[0] * out->scale;
    out->half[1] = (float)sum[1] * out->scale;
    out->sum = (float)(sum[0] + sum[1]) * out->scale;
}

static void q8_from(struct q8 *out, size_t ldx, const float *x, size_t cols)
{
    for (size_t c = 0; c < cols; c += 64, out += ldx) {
        float tail[64] = {0};
        if (cols - c < 64) memcpy(tail, x + c, (cols - c) * sizeof *x);
        q8_group_from(out, cols - c < 64 ? tail : x + c);
    }
}

static void body_init(struct kern *k)
{
    k->mat_rows = mat_rows;
    k->mat_accum = mat_accum;
    k->dot = dot;
    k->axpy = axpy;
    k->rms_norm = rms_norm;
    k->exp_inplace = exp_inplace;
    k->silu = silu;
    k->silu_mul = silu_mul;
    k->sigmoid_mul = sigmoid_mul;
    k->softmax = softmax;
    k->delta_pass = delta_pass;
    k->q8_from = q8_from;
}

#endif
