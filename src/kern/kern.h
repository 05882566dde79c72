/* kern.h - the table of arithmetic kernels: one thread, a range of rows, no policy, no failure.
 *
 * Contract of every sum in this file: 16 partial sums in float32, partial sum i takes the terms i, i+16, i+32
 * ... in that order, a product is rounded before it is added, and at the end the 16 sums fold 16 -> 8 -> 4 ->
 * 2 -> 1 (i with i + half). So a result never depends on the instruction set, on how rows are split over
 * threads, or on how many activation rows are handled at once. Every variant gives the same bits as the
 * scalar one. */
#ifndef KERN_KERN_H
#define KERN_KERN_H

#include "kern/cpu.h"
#include "kern/matrix.h"

/* A step of the gated delta rule that is known already: S = decay*S + k delta^T. */
struct delta_fold {
    float decay;
    const float *k;     /* [dk] */
    const float *delta; /* [dv] */
};

/* One head: state S[dk][dv], key index first, and the steps that it is behind. */
struct delta_head {
    float *s;
    int dk, dv;
    const struct delta_fold *folds;
    int n_folds;
    int n_settled; /* rows whose steps S is to have taken afterwards, beside the folds: 0 or all but the last */
    float *copy;   /* [dk * dv], work memory */
};

/* A row that the rule is to go on with. Rows may share delta unless it is wanted afterwards. */
struct delta_row {
    const float *k, *q; /* [dk] */
    const float *v;     /* [dv] */
    float *delta, *o;   /* [dv], results */
    float decay, beta;
    float kq; /* k . q */
};

/* Sixty-four activations as int8: value = scale * code. Short groups end in zeros. The codes of each eight
 * columns stand in the order 0 2 4 6 1 3 5 7, which is how the low and the high halves of bytes deliver
 * four-bit weights. */
struct q8 {
    float scale;
    float sum;     /* of scale * code over the group */
    float half[2]; /* the same over its first and its second 32 columns */
    int8_t code[64];
};

static inline size_t q8_count(size_t cols) { return (cols + 63) / 64; }

#define KV_BLOCK 128 /* entries of a cache that attention takes in at once, at most */

/* One head's keys and values of some entries. */
struct kv_block {
    enum dtype type; /* DT_F32, DT_F16 */
    int n, dim;
    const void *k, *v; /* [n][dim] */
    const void *next;  /* the keys that are read next, to be fetched meanwhile; NULL: all is near */
};

/* Where reading goes on; w NULL: nobody knows. */
struct mat_at {
    const struct matrix *w; /* affine */
    uint32_t row;
};

struct kern {
    const char *name; /* the best instruction set in use */

    /* y[j*ldy + r] = W[r] . x[j] for r in [r0, r1) and j in [0, n); x[j] is x + j*ldx, [cols]. W: F32, F16,
     * BF16 or affine with bits 1..8. Weights become float32 exactly (scale*code, then + bias), each once for
     * up to 64 activation rows. */
    void (*mat_rows)(const struct matrix *w, uint32_t r0, uint32_t r1, const float *x, size_t ldx, int n,
                     float *y, size_t ldy);
    /* Attention: n queries (q + j*ldq, [dim]) take in a block of a cache. taken + j*ldt holds, of what query j has taken so
     * far: the sum of the values [dim], each times e^(scale*score - max), then max, then the sum of those powers; nothing
     * yet: zeros, -infinity, 0. Values are added one after the other. */
    void (*attend)(const struct kv_block *b, const float *q, size_t ldq, int n, float scale, float *taken,
                   size_t ldt);
    void (*f16_from)(uint16_t *out, const float *x, size_t n); /* nearest, ties to even */

    /* Fast mode. Activations as int8: group g of x[cols] goes to out[g*ldx], so that a batch of n rows is
     * [q8_count(cols)][ldx] with row j at x + j. scale = max|x|/127, codes rounded half to even. */
    void (*q8_from)(struct q8 *out, size_t ldx, const float *x, size_t cols);
    /* As mat_rows on such a batch; affine weights only. Over the min(group, 64) columns that share all scales
     * the products of codes sum exactly, in integers; then acc += (float(sum) * weight scale) * activation
     * scale + bias * activation sum, every operation rounded, columns in order. The same bits for every n,
     * split and variant; rows 1..8 and 512 alike. Towards its end it fetches the first rows of `next`. */
    void (*mat_rows_q8)(const struct matrix *w, uint32_t r0, uint32_t r1, struct mat_at next,
                        const struct q8 *x, size_t ldx, int n, float *y, size_t ldy);

    float (*dot)(const float *a, const float *b, size_t n);
    void (*axpy)(float a, const float *x, float *y, size_t n); /* y += a*x */
    /* out = x * (1/sqrt(x.x/n + eps)) * gain; out may be x. */
    void (*rms_norm)(float *out, const float *x, const float *gain, size_t n, float eps);

    /* Elementwise, by one exponential that is within 1.5 units in the last place. In place, or out may be an
     * input. */
    void (*exp_inplace)(float *x, size_t n);
    void (*silu)(float *x, size_t n);                                             /* x / (1 + exp(-x)) */
    void (*silu_mul)(float *out, const float *gate, const float *up, size_t n);   /* silu(gate) * up */
    void (*sigmoid_mul)(float *out, const float *gate, const float *x, size_t n); /* x / (1 + exp(-gate)) */
    void (*softmax)(float *x, size_t n);                                          /* n >= 1 */

    /* out = silu(taps[0]*in[0] + taps[1]*in[1] + ...), summed from the first on; taps + j*ldt is tap j. [n] all. */
    void (*conv_silu)(float *out, const float *const *in, const float *taps, size_t ldt, int n_taps,
                      size_t n);

    /* Rows one after the other: S takes the steps before, p = S^T k, w = S^T q summed over the key index from 0 up,
     * delta = beta (v - decay p), o = decay w + kq delta; its step is then decay, k, delta. n 0: only the folds. The same
     * bits for any cut into calls. */
    void (*delta_rule)(const struct delta_head *h, const struct delta_row *rows, int n);
};

/* Fills the table with the best kernels that both this machine and the mask (cpu.h) allow. */
void kern_init(struct kern *k, unsigned cpu_mask);

/* ln(1 + e^x), and x itself above 20. */
float kern_softplus(float x);

/* Each sets what it improves; for kern_init alone. */
void kern_init_ref(struct kern *k);
void kern_init_avx2(struct kern *k);
void kern_init_avx512(struct kern *k);
void kern_init_neon(struct kern *k);

#endif
