/* kern_neon.c - the int8 matrix product for AArch64 with dot products (sdot). The float32 kernels need no
 * file of their own: vectors of four floats are what every AArch64 machine has, so kern_ref.c compiles to
 * them.
 *
 * Four rows of weights at a time become signed bytes in the order of struct q8; a dot product of a row leaves
 * four partial sums of integers, and pairwise additions bring the four rows into the four lanes of one
 * vector. */
#include <arm_neon.h>

#include "kern/kern.h"

#define LANES 4
enum { XROWS = 64 };
#include "kern/kern_q8_body.h"

/* Columns of LANES rows as signed bytes: 64 of each, or 32. */
struct unit {
    int8x16_t w[LANES][4];
    int n;         /* vectors of a row in use: 4 or 2 */
    int32_t added; /* what each code is short of: 128 where it would not fit a signed byte, else 0 */
};

/* A byte holds an even column below an odd one, as q8 has evens before odds in each eight. */
static void unit_load_4bit(struct unit *t, const struct matrix *w, uint32_t row, uint32_t c)
{
    const size_t stride = matrix_row_bytes(w);
    const unsigned char *p = (const unsigned char *)w->data + row * stride + c / 2;
    for (int i = 0; i < LANES; i++, p += stride)
        for (int k = 0; k < t->n; k += 2) {
            uint8x16_t v = vld1q_u8(p + 8 * k);
            int32x4_t even = vreinterpretq_s32_u8(vandq_u8(v, vdupq_n_u8(15)));
            int32x4_t odd = vreinterpretq_s32_u8(vshrq_n_u8(v, 4));
            t->w[i][k] = vreinterpretq_s8_s32(vzip1q_s32(even, odd));
            t->w[i][k + 1] = vreinterpretq_s8_s32(vzip2q_s32(even, odd));
        }
}

static void unit_load_any(struct unit *t, const struct matrix *w, uint32_t row, uint32_t c)
{
    const size_t stride = matrix_row_bytes(w);
    const unsigned char *p = (const unsigned char *)w->data + row * stride;
    for (int i = 0; i < LANES; i++, p += stride) {
        int8_t code[64];
        for (unsigned k = 0; k < 16 * (unsigned)t->n; k++)
            code[q8_place(k)] = (int8_t)((int)code_at(p, p + stride, w->bits, c + k) - t->added);
        for (int k = 0; k < t->n; k++) t->w[i][k] = vld1q_s8(code + 16 * k);
    }
}

/* A lane per row: the sum of products of codes with the activations from x on. */
static inline int32x4_t unit_dot(const struct unit *t, const int8_t *x)
{
    int32x4_t sum[LANES], ones = vdupq_n_s32(0);
    for (int i = 0; i < LANES; i++) sum[i] = vdupq_n_s32(0);
    for (int k = 0; k < t->n; k++) {
        int8x16_t v = vld1q_s8(x + 16 * k);
        sum[0] = vdotq_s32(sum[0], t->w[0][k], v);
        sum[1] = vdotq_s32(sum[1], t->w[1][k], v);
        sum[2] = vdotq_s32(sum[2], t->w[2][k], v);
        sum[3] = vdotq_s32(sum[3], t->w[3][k], v);
        if (t->added) ones = vdotq_s32(ones, vdupq_n_s8(1), v);
    }
    int32x4_t all = vpaddq_s32(vpaddq_s32(sum[0], sum[1]), vpaddq_s32(sum[2], sum[3]));
    return t->added ? vaddq_s32(all, vdupq_n_s32(t->added * vaddvq_s32(ones))) : all;
}

/* Value `at` of scales or biases of LANES rows, `step` apart. */
static inline float32x4_t scales_load(const struct matrix *w, const void *data, size_t at, size_t step)
{
    float v[LANES];
    for (size_t i = 0; i < LANES; i++) v[i] = value_f32(data, w->scale_type, at + i * step);
    return vld1q_f32(v);
}

/* LANES rows with n <= XROWS activation rows; acc[j] receives a lane per row. */
static void block(const struct matrix *w, uint32_t row, const struct q8 *x, size_t ldx, int n,
                  float32x4_t *acc)
{
    const uint32_t n_groups = w->cols / w->group, width = w->group < 64 ? 32 : 64;
    struct unit t = {.n = (int)width / 16, .added = w->bits == 8 ? 128 : 0};

    for (int j = 0; j < n; j++) acc[j] = vdupq_n_f32(0);
    for (uint32_t c = 0; c < w->cols; c += width) {
        const struct q8 *xc = x + c / 64 * ldx;
        const unsigned half = c / 32 % 2;
        size_t at = (size_t)row * n_groups + c / w->group;
        float32x4_t scale = scales_load(w, w->scales, at, n_groups),
                    bias = scales_load(w, w->biases, at, n_groups);
        if (w->bits == 4)
            unit_load_4bit(&t, w, row, c);
        else
            unit_load_any(&t, w, row, c);
        for (int j = 0; j < n; j++) {
            int32x4_t sum = unit_dot(&t, xc[j].code + (width == 32 ? 32 * half : 0));
            float x_sum = width == 32 ? xc[j].half[half] : xc[j].sum;
            float32x4_t product = vmulq_n_f32(vmulq_f32(vcvtq_f32_s32(sum), scale), xc[j].scale);
            acc[j] = vaddq_f32(acc[j], vaddq_f32(product, vmulq_n_f32(bias, x_sum)));
        }
    }
}

static void mat_rows_q8(const struct matrix *w, uint32_t r0, uint32_t r1, struct mat_at next,
                        const struct q8 *x, size_t ldx, int n, float *y, size_t ldy)
{
    float32x4_t acc[XROWS];
    uint32_t end = r0 + (r1 - r0) / LANES * LANES;

    for (int j0 = 0; j0 < n; j0 += XROWS) {
        int some = n - j0 < XROWS ? n - j0 : XROWS;
        for (uint32_t r = r0; r < end; r += LANES) {
            block(w, r, x + j0, ldx, some, acc);
            for (int j = 0; j < some; j++) vst1q_f32(y + (size_t)(j0 + j) * ldy + r, acc[j]);
        }
    }
    mat_rows_q8_plain(w, end, r1, next, x, ldx, n, y, ldy);
}

void kern_init_neon(struct kern *k) { k->mat_rows_q8 = mat_rows_q8; }
