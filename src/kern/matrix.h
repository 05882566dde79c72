/* matrix.h - a weight matrix as it lies in a file, and conversions of single values.
 *
 * W[rows][cols], row-major, y = W x. Affine ("MLX") matrices hold codes of `bits` bits: code i of a row takes
 * bits i*bits .. of the row's little-endian bit string; value = scale*code + bias with one scale and one bias
 * per `group` columns, float32 product, then float32 sum. */
#ifndef KERN_MATRIX_H
#define KERN_MATRIX_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum dtype { DT_F32, DT_F16, DT_BF16, DT_U32, DT_I32, DT_I64, DT_U8, DT_I8, DT_BOOL, DT_COUNT };

struct matrix {
    enum dtype type;       /* DT_F32, DT_F16, DT_BF16: plain values; DT_U32: affine codes */
    enum dtype scale_type; /* affine: type of scales and biases */
    uint8_t bits;          /* affine: 1..8, else 0 */
    uint16_t group;        /* affine: 32, 64, 128, else 0 */
    uint32_t rows, cols;
    const void *data;            /* [rows][cols] values, or [rows][cols*bits/32] words */
    const void *scales, *biases; /* affine: [rows][cols/group] */
};

size_t dtype_size(enum dtype t);      /* bytes of one value */
const char *dtype_name(enum dtype t); /* "BF16", as safetensors spells it */
/* Bytes of one row of codes or values (without scales and biases). */
size_t matrix_row_bytes(const struct matrix *m);
/* Bytes that one use of the whole matrix reads: codes, scales and biases. */
size_t matrix_bytes(const struct matrix *m);
/* Row r as float32 (embedding look-up, tests). out: [cols]. */
void matrix_row_f32(const struct matrix *m, uint32_t r, float *out);

static inline float bf16_to_f32(uint16_t v)
{
    uint32_t u = (uint32_t)v << 16;
    float f;
    memcpy(&f, &u, 4);
    return f;
}
uint16_t f32_to_bf16(float f); /* nearest, ties to even; NaN stays NaN */
float f16_to_f32(uint16_t v);
uint16_t f32_to_f16(float f); /* nearest, ties to even; subnormals kept, overflow to infinity */
/* Value i of an array of type t (F32, F16, BF16). */
float value_f32(const void *data, enum dtype t, size_t i);
void values_to_f32(const void *data, enum dtype t, size_t n, float *out);

#endif
