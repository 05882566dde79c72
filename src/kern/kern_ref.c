/* kern_ref.c - the kernels for any machine, and the truth that every other variant must equal bit for bit. */
#define LANES 4
#include "kern/kern_body.h"
#if defined(__aarch64__)
#include <arm_neon.h>
#endif
#include "kern/kern_q8_body.h"

/* Columns of one row of affine codes; groups begin at multiples of 32 columns. */
static void decode_affine(const struct matrix *m, uint32_t r, uint32_t c0, uint32_t n, float *out)
{
    const unsigned char *row = (const unsigned char *)m->data + r * matrix_row_bytes(m);
    const unsigned char *end = row + matrix_row_bytes(m);
    size_t n_groups = m->cols / m->group;

    for (uint32_t c = c0; c < c0 + n;) {
        size_t g = c / m->group;
        float scale = scale_f32(m->scales, m->scale_type, r * n_groups + g);
        float bias = scale_f32(m->biases, m->scale_type, r * n_groups + g);
        uint32_t stop = (uint32_t)(g + 1) * m->group;
        for (stop = stop < c0 + n ? stop : c0 + n; c < stop; c++) {
            float product = scale * (float)code_at(row, end, m->bits, c);
            *out++ = product + bias;
        }
    }
}

static void decode(const struct matrix *m, uint32_t r, uint32_t c0, uint32_t n, float *out)
{
    if (m->bits)
        decode_affine(m, r, c0, n, out);
    else
        values_to_f32((const char *)m->data + r * matrix_row_bytes(m) + c0 * dtype_size(m->type), m->type, n,
                      out);
}

static inline vf half_load(const void *p)
{
#if defined(__aarch64__)
    return (vf)vcvt_f32_f16(vld1_f16(p));
#else
    float out[LANES];
    values_to_f32(p, DT_F16, LANES, out);
    return vload(out);
#endif
}

static inline void fold_products(vf (*part)[PRODUCTS], float *out)
{
    for (int i = 0; i < PRODUCTS; i++) {
        const vf sums[VECS] = {part[0][i], part[1][i], part[2][i], part[3][i]};
        out[i] = fold_sums(sums);
    }
}

/* Adding 1.5 * 2^23 rounds to a whole number, which then stands in the lowest bits. */
static void q8_group_from(struct q8 *out, const float *x)
{
    float max = 0;
    int sum[2] = {0};
    for (int i = 0; i < 64; i++) max = fabsf(x[i]) > max ? fabsf(x[i]) : max;
    float inv = q8_inverse(&max);
    for (unsigned i = 0; i < 64; i++) {
        float shifted = x[i] * inv + 0x1.8p23f;
        int32_t bits;
        memcpy(&bits, &shifted, 4);
        int code = (int8_t)(bits & 0xff);
        out->code[q8_place(i)] = (int8_t)code;
        sum[i / 32] += code;
    }
    q8_group_end(out, max, sum[0], sum[1]);
}

static void f16_from(uint16_t *out, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) out[i] = f32_to_f16(x[i]);
}

void kern_init_ref(struct kern *k)
{
    body_init(k);
    k->f16_from = f16_from;
    k->mat_rows_q8 = mat_rows_q8_plain;
}
