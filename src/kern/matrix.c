/* matrix.c - sizes of weight matrices, conversions of single values, and one row as float32.
 *
 * The plain truth about the formats; the fast readers live in the kernels and are tested against this file.
 * Data lie in files and may be unaligned, so every value is fetched with memcpy. */
#include "kern/matrix.h"

static const struct {
    const char *name;
    size_t size;
} types[DT_COUNT] = {
    [DT_F32] = {"F32", 4}, [DT_F16] = {"F16", 2}, [DT_BF16] = {"BF16", 2},
    [DT_U32] = {"U32", 4}, [DT_I32] = {"I32", 4}, [DT_I64] = {"I64", 8},
    [DT_U8] = {"U8", 1},   [DT_I8] = {"I8", 1},   [DT_BOOL] = {"BOOL", 1},
};

size_t dtype_size(enum dtype t) { return types[t].size; }

const char *dtype_name(enum dtype t) { return types[t].name; }

size_t matrix_row_bytes(const struct matrix *m)
{
    return m->bits ? (size_t)m->cols * m->bits / 8 : m->cols * dtype_size(m->type);
}

size_t matrix_bytes(const struct matrix *m)
{
    size_t row = matrix_row_bytes(m);
    if (m->bits) row += 2 * (m->cols / m->group) * dtype_size(m->scale_type);
    return row * m->rows;
}

uint16_t f32_to_bf16(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    if ((u & 0x7fffffff) > 0x7f800000) return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

float f16_to_f32(uint16_t v)
{
    uint32_t sign = (uint32_t)(v & 0x8000) << 16, exponent = v >> 10 & 31, mantissa = v & 0x3ff, u;
    float f;

    if (exponent == 0) {
        f = (float)mantissa * 0x1p-24f;
        return sign ? -f : f;
    }
    u = sign | (exponent == 31 ? 0x7f800000 : (exponent + 112) << 23) | mantissa << 13;
    memcpy(&f, &u, 4);
    return f;
}

uint16_t f32_to_f16(float f)
{
    uint32_t u, sign;
    memcpy(&u, &f, 4);
    sign = u >> 16 & 0x8000;
    u &= 0x7fffffff;
    if (u > 0x7f800000) return (uint16_t)(sign | 0x7e00 | (u >> 13 & 0x3ff));
    if (u >= 0x477ff000) return (uint16_t)(sign | 0x7c00);
    if (u < 0x38800000) {
        /* Subnormal: adding 0.5 leaves the units of 2^-24, rounded, in the lowest bits. */
        float a;
        memcpy(&a, &u, 4);
        a += 0.5f;
        memcpy(&u, &a, 4);
        return (uint16_t)(sign | (u - 0x3f000000));
    }
    return (uint16_t)(sign | (u - 0x38000000 + 0xfff + (u >> 13 & 1)) >> 13);
}

float value_f32(const void *data, enum dtype t, size_t i)
{
    const unsigned char *p = (const unsigned char *)data + i * dtype_size(t);
    uint16_t h;
    float f;

    if (t == DT_F32) {
        memcpy(&f, p, 4);
        return f;
    }
    memcpy(&h, p, 2);
    return t == DT_BF16 ? bf16_to_f32(h) : f16_to_f32(h);
}

void values_to_f32(const void *data, enum dtype t, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++) out[i] = value_f32(data, t, i);
}

/* Code i of a row's bit string. */
static unsigned code_at(const unsigned char *row, unsigned bits, size_t i)
{
    size_t bit = i * bits;
    unsigned shift = bit % 8, window = row[bit / 8];

    if (shift + bits > 8) window |= (unsigned)row[bit / 8 + 1] << 8;
    return window >> shift & ((1u << bits) - 1);
}

void matrix_row_f32(const struct matrix *m, uint32_t r, float *out)
{
    const unsigned char *row = (const unsigned char *)m->data + r * matrix_row_bytes(m);

    if (!m->bits) {
        values_to_f32(row, m->type, m->cols, out);
        return;
    }
    size_t n_groups = m->cols / m->group;
    for (size_t g = 0; g < n_groups; g++) {
        float scale = value_f32(m->scales, m->scale_type, r * n_groups + g);
        float bias = value_f32(m->biases, m->scale_type, r * n_groups + g);
        for (size_t i = g * m->group; i < (g + 1) * m->group; i++) {
            float product = scale * (float)code_at(row, m->bits, i);
            out[i] = product + bias;
        }
    }
}
