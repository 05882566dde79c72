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
    SUMS = 16,                     /* partial sums of every dot product */
    VECS = SUMS / LANES,           /* vectors that hold them */
    BLOCK = 256,                   /* columns decoded at a time */
    WROWS = LANES > 4 ? 4 : 2,     /* weight rows multiplied side by side: independent chains of additions */
    XTILE = LANES > 8 ? 4 : 1,     /* activation rows beside them */
    XROWS = 64,                    /* activation rows that share one decoding */
    QUERIES = 8,                   /* of attention, that meet a key together */
    PRODUCTS = LANES > 8 ? 16 : 8, /* vectors of sums of theirs that stay in registers */
};

typedef float vf __attribute__((vector_size(LANES * 4)));
typedef int32_t vi __attribute__((vector_size(LANES * 4)));

/* dtype_size of a float type, without a call. */
static inline size_t value_size(enum dtype t) { return t == DT_F32 ? 4 : 2; }

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

static inline void vstore_n(float *p, vf v, size_t n)
{
    if (n >= LANES)
        vstore(p, v);
    else
        memcpy(p, &v, n * sizeof *p);
}

/* out[0..n) = expr, where AT(p) stands for the vector of p at the place in hand; whole vectors first, then
 * the rest. */
#define AT(p) vload_n((p) + at_, left_)
#define MAP(out, n, expr)                                                                                    \
    do {                                                                                                     \
        size_t at_ = 0;                                                                                      \
        for (; at_ + LANES <= (n); at_ += LANES) {                                                           \
            const size_t left_ = LANES;                                                                      \
            vstore_n((out) + at_, (expr), left_);                                                            \
        }                                                                                                    \
        if (at_ < (n)) {                                                                                     \
            const size_t left_ = (n)-at_;                                                                    \
            vstore_n((out) + at_, (expr), left_);                                                            \
        }                                                                                                    \
    } while (0)

static inline vf vselect(vi mask, vf yes, vf no) { return (vf)(((vi)yes & mask) | ((vi)no & ~mask)); }

/* 16 -> 8 -> 4 -> 2 -> 1, the first two on quarters of four lanes. */
static inline float fold_sums(const vf *acc)
{
    typedef float quarter __attribute__((vector_size(16)));
    quarter q[4];
    memcpy(q, acc, sizeof q);
    quarter r = (q[0] + q[2]) + (q[1] + q[3]);
    return (r[0] + r[2]) + (r[1] + r[3]);
}

/* Value i of scales or biases, without a call for the usual types. */
static inline float scale_f32(const void *data, enum dtype t, size_t i)
{
    uint16_t h;
    if (t != DT_BF16) return value_f32(data, t, i);
    memcpy(&h, (const char *)data + 2 * i, 2);
    return bf16_to_f32(h);
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

/* One block of the dot products of WROWS decoded rows with n activation rows; len is a multiple of SUMS. */
static inline __attribute__((always_inline)) void dot_tile(float (*wb)[BLOCK], const float *x, size_t ldx,
                                                           uint32_t len, const int n, vf (*acc)[WROWS][VECS])
{
    vf a[XTILE][WROWS][VECS];
    UNROLL for (int j = 0; j < n; j++) memcpy(a[j], acc[j], sizeof a[j]);
    for (uint32_t c = 0; c < len; c += SUMS) {
        UNROLL for (int v = 0; v < VECS; v++) UNROLL for (int j = 0; j < n; j++)
        {
            vf xv = vload(x + j * ldx + c + v * LANES);
            UNROLL for (int i = 0; i < WROWS; i++) a[j][i][v] += vload(&wb[i][c + v * LANES]) * xv;
        }
    }
    UNROLL for (int j = 0; j < n; j++) memcpy(acc[j], a[j], sizeof a[j]);
}

static void dot_block(float (*wb)[BLOCK], const float *x, size_t ldx, uint32_t len, int n,
                      vf (*acc)[WROWS][VECS])
{
    int j = 0;
    for (; j + XTILE <= n; j += XTILE) dot_tile(wb, x + j * ldx, ldx, len, XTILE, acc + j);
    for (; j < n; j++) dot_tile(wb, x + j * ldx, ldx, len, 1, acc + j);
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
        dot_block(wb, x + c, ldx, full, n, acc);
        if (full == len) continue;
        for (int i = 0; i < WROWS; i++) memmove(wb[i], wb[i] + full, SUMS * sizeof(float));
        for (int j = 0; j < n; j++) {
            float tail[SUMS] = {0};
            memcpy(tail, x + j * ldx + c + full, (len - full) * sizeof(float));
            dot_block(wb, tail, 0, SUMS, 1, acc + j);
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

static inline void axpy(float a, const float *x, float *y, size_t n) { MAP(y, n, AT(y) + a * AT(x)); }

static float dot(const float *a, const float *b, size_t n)
{
    vf acc[VECS] = {{0}};
    size_t i = 0;
    for (; i + SUMS <= n; i += SUMS)
        UNROLL for (int v = 0; v < VECS; v++) acc[v] += vload(a + i + v * LANES) * vload(b + i + v * LANES);
    for (int v = 0; i < n; i += LANES, v++) acc[v] += vload_n(a + i, n - i) * vload_n(b + i, n - i);
    return fold_sums(acc);
}

static void rms_norm(float *out, const float *x, const float *gain, size_t n, float eps)
{
    float inv = 1 / sqrtf(dot(x, x, n) / (float)n + eps);
    MAP(out, n, AT(x) * inv * AT(gain));
}

static void exp_inplace(float *x, size_t n) { MAP(x, n, vexp(AT(x))); }

static inline vf vsilu(vf x) { return x / (1.0f + vexp(-x)); }

static void silu(float *x, size_t n) { MAP(x, n, vsilu(AT(x))); }

static void silu_mul(float *out, const float *gate, const float *up, size_t n)
{
    MAP(out, n, vsilu(AT(gate)) * AT(up));
}

static void sigmoid_mul(float *out, const float *gate, const float *x, size_t n)
{
    MAP(out, n, AT(x) / (1.0f + vexp(-AT(gate))));
}

static void softmax(float *x, size_t n)
{
    vf acc[VECS] = {{0}}, top = vset(x[0]);
    float max = x[0];
    size_t i = 0;

    for (; i + LANES <= n; i += LANES) top = vselect(vload(x + i) > top, vload(x + i), top);
    for (; i < n; i++) max = x[i] > max ? x[i] : max;
    for (i = 0; i < LANES; i++) max = top[i] > max ? top[i] : max;
    MAP(x, n, vexp(AT(x) - max));
    for (i = 0; i < n; i += SUMS)
        UNROLL for (size_t v = 0; v < VECS; v++) if (i + v * LANES < n) acc[v] +=
            vload_n(x + i + v * LANES, n - i - v * LANES);
    float sum = fold_sums(acc);
    MAP(x, n, AT(x) / sum);
}

/* The next n values of a running softmax: x = e^(scale*x - max) with *max, the largest so far, brought up to date;
 * *sum likewise. Returns e^(old max - new max), by which what was summed before is to be multiplied. */
static float softmax_block(float *x, size_t n, float scale, float *max, float *sum)
{
    vf acc[VECS] = {{0}}, best = vset(*max);
    float top = *max;
    size_t i = 0;

    MAP(x, n, AT(x) * scale);
    for (; i + LANES <= n; i += LANES) best = vselect(vload(x + i) > best, vload(x + i), best);
    for (; i < n; i++) top = x[i] > top ? x[i] : top;
    for (i = 0; i < LANES; i++) top = best[i] > top ? best[i] : top;
    MAP(x, n, vexp(AT(x) - top));
    for (i = 0; i < n; i += SUMS)
        UNROLL for (size_t v = 0; v < VECS; v++) if (i + v * LANES < n) acc[v] +=
            vload_n(x + i + v * LANES, n - i - v * LANES);
    vf shrink = vexp(vset(*max - top));
    *sum = *sum * shrink[0] + fold_sums(acc);
    *max = top;
    return shrink[0];
}

/* y = silu(taps[0]*in[0] + taps[1]*in[1] + ...) */
static void conv_silu(float *out, const float *const *in, const float *taps, size_t ldt, int n_taps, size_t n)
{
    size_t i = 0;
    for (; i < n; i += LANES) {
        vf sum = vset(0);
        for (int j = 0; j < n_taps; j++)
            sum += vload_n(taps + j * ldt + i, n - i) * vload_n(in[j] + i, n - i);
        vstore_n(out + i, vsilu(sum), n - i);
    }
}

#include "kern/kern_attend_body.h"
#include "kern/kern_delta_body.h"

/* One whole group of 64. */
static void q8_group_from(struct q8 *out, const float *x);

/* What max and the sums of codes over both halves make of a group. */
static inline void q8_group_end(struct q8 *out, float max, int sum0, int sum1)
{
    out->scale = max / 127;
    out->half[0] = (float)sum0 * out->scale;
    out->half[1] = (float)sum1 * out->scale;
    out->sum = (float)(sum0 + sum1) * out->scale;
}

/* 127/max. Below 1e-30 a group counts as zeros, so that this stays finite. */
static inline float q8_inverse(float *max)
{
    if (*max < 1e-30f) *max = 0;
    return *max > 0 ? 127 / *max : 0;
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
    k->attend = attend;
    k->dot = dot;
    k->axpy = axpy;
    k->rms_norm = rms_norm;
    k->exp_inplace = exp_inplace;
    k->silu = silu;
    k->silu_mul = silu_mul;
    k->sigmoid_mul = sigmoid_mul;
    k->softmax = softmax;
    k->conv_silu = conv_silu;
    k->delta_rule = delta_rule;
    k->q8_from = q8_from;
}

#endif
