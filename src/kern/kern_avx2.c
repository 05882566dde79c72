/* kern_avx2.c - kernels for AVX2 with F16C. */
#include <immintrin.h>

#define LANES 8
#include "kern/kern_body.h"

/* Sixteen codes of any width lie in 2*bits bytes: a byte shuffle brings each lane the two bytes that its code
 * touches. */
static void decode_affine(const struct matrix *m, uint32_t r, uint32_t c0, uint32_t n, float *out)
{
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), bits = _mm256_set1_epi32(m->bits);
    const __m256i mask = _mm256_set1_epi32((1 << m->bits) - 1);
    __m256i bytes[2], shift[2];
    unsigned char codes[BLOCK + 16] = {0}; /* so that no load passes the end of the file */
    const unsigned char *p = codes;
    size_t group = (size_t)r * (m->cols / m->group) + c0 / m->group;

    for (int h = 0; h < 2; h++) {
        __m256i at = _mm256_mullo_epi32(_mm256_add_epi32(lane, _mm256_set1_epi32(8 * h)), bits);
        __m256i first = _mm256_srli_epi32(at, 3);
        shift[h] = _mm256_and_si256(at, _mm256_set1_epi32(7));
        bytes[h] = _mm256_add_epi32(_mm256_set1_epi32((int)0x80800100),
                                    _mm256_add_epi32(first, _mm256_slli_epi32(first, 8)));
    }
    memcpy(codes, (const char *)m->data + r * matrix_row_bytes(m) + (size_t)c0 * m->bits / 8,
           (size_t)n * m->bits / 8);
    for (uint32_t c = 0; c < n; group++) {
        __m256 scale = _mm256_set1_ps(value_f32(m->scales, m->scale_type, group));
        __m256 bias = _mm256_set1_ps(value_f32(m->biases, m->scale_type, group));
        for (uint32_t stop = c + m->group < n ? c + m->group : n; c < stop; c += 16, p += 2 * m->bits) {
            __m256i both = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)p));
            for (int h = 0; h < 2; h++) {
                __m256i v = _mm256_srlv_epi32(_mm256_shuffle_epi8(both, bytes[h]), shift[h]);
                __m256 f = _mm256_cvtepi32_ps(_mm256_and_si256(v, mask));
                _mm256_storeu_ps(out + c + 8 * h, _mm256_add_ps(_mm256_mul_ps(scale, f), bias));
            }
        }
    }
}

static void decode(const struct matrix *m, uint32_t r, uint32_t c0, uint32_t n, float *out)
{
    const char *p = (const char *)m->data + r * matrix_row_bytes(m) + c0 * dtype_size(m->type);
    uint32_t whole = n / 8 * 8;

    if (m->bits) {
        decode_affine(m, r, c0, n, out);
    } else if (m->type == DT_F32) {
        memcpy(out, p, n * sizeof *out);
    } else {
        for (uint32_t c = 0; c < whole; c += 8) {
            __m128i half = _mm_loadu_si128((const __m128i *)(p + 2 * c));
            __m256 v = m->type == DT_F16
                           ? _mm256_cvtph_ps(half)
                           : _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
            _mm256_storeu_ps(out + c, v);
        }
        values_to_f32(p + 2 * whole, m->type, n - whole, out + whole);
    }
}

void kern_init_avx2(struct kern *k)
{
    body_init(k);
}
