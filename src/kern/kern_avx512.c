/* kern_avx512.c - kernels for AVX-512 F, BW, VL, DQ and VNNI. */
#include <immintrin.h>

#define LANES 16
#include "kern/kern_body.h"

/* Sixteen codes of any width lie in 2*bits bytes: a byte shuffle brings each lane the two bytes that its code
 * touches. */
static void decode_affine(const struct matrix *m, uint32_t r, uint32_t c0, uint32_t n, float *out)
{
    const __m512i at = _mm512_mullo_epi32(
        _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), _mm512_set1_epi32(m->bits));
    const __m512i first = _mm512_srli_epi32(at, 3), shift = _mm512_and_si512(at, _mm512_set1_epi32(7));
    const __m512i bytes = _mm512_add_epi32(_mm512_set1_epi32((int)0x80800100),
                                           _mm512_add_epi32(first, _mm512_slli_epi32(first, 8)));
    const __m512i mask = _mm512_set1_epi32((1 << m->bits) - 1);
    const __mmask16 load = (__mmask16)((1u << 2 * m->bits) - 1);
    const unsigned char *p =
        (const unsigned char *)m->data + r * matrix_row_bytes(m) + (size_t)c0 * m->bits / 8;
    size_t group = (size_t)r * (m->cols / m->group) + c0 / m->group;

    for (uint32_t c = 0; c < n; group++) {
        __m512 scale = _mm512_set1_ps(value_f32(m->scales, m->scale_type, group));
        __m512 bias = _mm512_set1_ps(value_f32(m->biases, m->scale_type, group));
        for (uint32_t stop = c + m->group < n ? c + m->group : n; c < stop; c += 16, p += 2 * m->bits) {
            __m512i v = _mm512_broadcast_i32x4(_mm_maskz_loadu_epi8(load, p));
            v = _mm512_and_si512(_mm512_srlv_epi32(_mm512_shuffle_epi8(v, bytes), shift), mask);
            _mm512_storeu_ps(out + c, _mm512_add_ps(_mm512_mul_ps(scale, _mm512_cvtepi32_ps(v)), bias));
        }
    }
}

static void decode(const struct matrix *m, uint32_t r, uint32_t c0, uint32_t n, float *out)
{
    const char *p = (const char *)m->data + r * matrix_row_bytes(m) + c0 * dtype_size(m->type);

    if (m->bits) {
        decode_affine(m, r, c0, n, out);
    } else if (m->type == DT_F32) {
        memcpy(out, p, n * sizeof *out);
    } else {
        for (uint32_t c = 0; c < n; c += 16) {
            __mmask16 some = n - c < 16 ? (__mmask16)((1u << (n - c)) - 1) : 0xffff;
            __m256i half = _mm256_maskz_loadu_epi16(some, p + 2 * c);
            __m512 v = m->type == DT_F16
                           ? _mm512_cvtph_ps(half)
                           : _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
            _mm512_mask_storeu_ps(out + c, some, v);
        }
    }
}

void kern_init_avx512(struct kern *k)
{
    body_init(k);
}
