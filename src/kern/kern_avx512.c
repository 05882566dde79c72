/* kern_avx512.c - kernels for AVX-512 F, BW, VL, DQ and VNNI. */
#include <immintrin.h>

#define LANES 16
#include "kern/kern_body.h"
#include "kern/kern_q8_body.h"

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
        __m512 scale = _mm512_set1_ps(scale_f32(m->scales, m->scale_type, group));
        __m512 bias = _mm512_set1_ps(scale_f32(m->biases, m->scale_type, group));
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

static inline vf half_load(const void *p) { return _mm512_cvtph_ps(_mm256_loadu_si256(p)); }

/* Two sums each: halves of vectors, then quarters, pairs, values. */
static inline __m512 fold_16(__m512 a, __m512 b)
{
    return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
}

static inline __m512 fold_8(__m512 a, __m512 b)
{
    return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
}

static inline __m512 fold_4(__m512 a, __m512 b)
{
    __m512d x = _mm512_castps_pd(a), y = _mm512_castps_pd(b);
    return _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(x, y)),
                         _mm512_castpd_ps(_mm512_unpackhi_pd(x, y)));
}

static inline __m512 fold_2(__m512 a, __m512 b)
{
    return _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x88), _mm512_shuffle_ps(a, b, 0xdd));
}

static inline void fold_products(vf (*part)[PRODUCTS], float *out)
{
    const vf *p = part[0];
    __m512 v[4];
    UNROLL for (int i = 0; i < 4; i++) v[i] = fold_8(fold_16(p[i], p[4 + i]), fold_16(p[8 + i], p[12 + i]));
    _mm512_storeu_ps(out, fold_2(fold_4(v[0], v[1]), fold_4(v[2], v[3])));
}

static void q8_group_from(struct q8 *out, const float *x)
{
    const __m128i evens_first = _mm_setr_epi8(0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15);
    const __m512 magic = _mm512_set1_ps(0x1.8p23f);
    __m512 v[4], top = _mm512_setzero_ps();
    __m128i part[2];
    UNROLL for (int i = 0; i < 4; i++)
    {
        v[i] = _mm512_loadu_ps(x + 16 * i);
        top = _mm512_max_ps(_mm512_abs_ps(v[i]), top);
    }
    float max = _mm512_reduce_max_ps(top);
    __m512 inv = _mm512_set1_ps(q8_inverse(&max));
    UNROLL for (int h = 0; h < 2; h++)
    {
        __m128i c[2];
        UNROLL for (int i = 0; i < 2; i++)
        {
            c[i] = _mm512_cvtepi32_epi8(
                _mm512_castps_si512(_mm512_add_ps(_mm512_mul_ps(v[2 * h + i], inv), magic)));
            c[i] = _mm_shuffle_epi8(c[i], evens_first);
            _mm_storeu_si128((__m128i *)(out->code + 32 * h + 16 * i), c[i]);
        }
        part[h] = _mm_dpbusd_epi32(_mm_setzero_si128(), _mm_set1_epi8(1), c[0]);
        part[h] = _mm_dpbusd_epi32(part[h], _mm_set1_epi8(1), c[1]);
    }
    __m128i s = _mm_hadd_epi32(part[0], part[1]);
    s = _mm_hadd_epi32(s, s);
    q8_group_end(out, max, _mm_extract_epi32(s, 0), _mm_extract_epi32(s, 1));
}

/* Fast mode. Lanes are rows: a block of 16 rows, of each of which 32 bytes are loaded and turned in registers
 * so that vector d holds the d-th four bytes of every row. One vpdpbusd then multiplies four columns of 16
 * rows with four activations broadcast from memory, and no sum across lanes is left. */

/* Turning in two steps. First 8 rows at a time, p the first of them: b[d] holds pieces d and d+4 of 4 bytes
 * of rows 0-3 and 4-7. Bytes outside the mask are zero and not touched. */
static inline void turn_four(const __m512i a[4], __m512i b[4])
{
    __m512i lo01 = _mm512_unpacklo_epi32(a[0], a[1]), hi01 = _mm512_unpackhi_epi32(a[0], a[1]);
    __m512i lo23 = _mm512_unpacklo_epi32(a[2], a[3]), hi23 = _mm512_unpackhi_epi32(a[2], a[3]);
    b[0] = _mm512_unpacklo_epi64(lo01, lo23);
    b[1] = _mm512_unpackhi_epi64(lo01, lo23);
    b[2] = _mm512_unpacklo_epi64(hi01, hi23);
    b[3] = _mm512_unpackhi_epi64(hi01, hi23);
}

static inline void turn_half(const unsigned char *p, size_t stride, __mmask32 mask, __m512i b[4])
{
    __m512i a[4];

    UNROLL for (int i = 0; i < 4; i++)
    {
        const unsigned char *q = p + (size_t)i * stride;
        a[i] = _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_maskz_loadu_epi8(mask, q)),
                                  _mm256_maskz_loadu_epi8(mask, q + 4 * stride), 1);
    }
    turn_four(a, b);
}

/* Then out[d] holds piece d of all 16 rows. */
static inline void turn_join(const __m512i b[8], __m512i out[8])
{
    UNROLL for (int d = 0; d < 4; d++)
    {
        __m512i first = _mm512_shuffle_i32x4(b[d], b[4 + d], 0x88);
        out[4 + d] = _mm512_shuffle_i32x4(b[d], b[4 + d], 0xdd);
        out[d] = first;
    }
}

static inline void turn_rows(const unsigned char *p, size_t stride, __mmask32 mask, __m512i out[8])
{
    __m512i b[8];
    turn_half(p, stride, mask, b);
    turn_half(p + 8 * stride, stride, mask, b + 4);
    turn_join(b, out);
}

/* How 64 codes of a row become bytes. Each 128-bit lane gets the words of 16 columns; of those, every 16-bit
 * lane takes the two bytes that its code touches and shifts. */
struct spread {
    __mmask64 load;
    __m512i words, even, even_shift, odd, odd_shift, mask;
};

static struct spread spread_of(unsigned bits, int width)
{
    const __m512i col = _mm512_set4_epi32(14 << 16 | 12, 10 << 16 | 8, 6 << 16 | 4, 2 << 16);
    const __m512i seven = _mm512_set1_epi16(7), step = _mm512_set1_epi16((short)bits);
    __m512i at = _mm512_mullo_epi16(col, step), at1 = _mm512_add_epi16(at, step);
    __m512i first = _mm512_srli_epi16(at, 3), first1 = _mm512_srli_epi16(at1, 3),
            next = _mm512_set1_epi16(0x100);
    uint16_t word[32];

    for (unsigned i = 0; i < 32; i++) word[i] = (uint16_t)(i / 8 * bits + i % 8);
    return (struct spread){
        .load = ~0ull >> (64 - (unsigned)width / 8 * bits),
        .words = _mm512_loadu_si512(word),
        .even = _mm512_add_epi16(_mm512_add_epi16(first, _mm512_slli_epi16(first, 8)), next),
        .odd = _mm512_add_epi16(_mm512_add_epi16(first1, _mm512_slli_epi16(first1, 8)), next),
        .even_shift = _mm512_and_si512(at, seven),
        .odd_shift = _mm512_and_si512(at1, seven),
        .mask = _mm512_set1_epi16((short)((1 << bits) - 1)),
    };
}

/* In the order of struct q8 but for the four-byte pieces of each 16 columns: evens, evens, odds, odds. */
static inline __m512i spread_row(const struct spread *s, const unsigned char *p)
{
    __m512i v = _mm512_permutexvar_epi16(s->words, _mm512_maskz_loadu_epi8(s->load, p));
    __m512i even = _mm512_srlv_epi16(_mm512_shuffle_epi8(v, s->even), s->even_shift);
    __m512i odd = _mm512_srlv_epi16(_mm512_shuffle_epi8(v, s->odd), s->odd_shift);
    return _mm512_packus_epi16(_mm512_and_si512(even, s->mask), _mm512_and_si512(odd, s->mask));
}

/* Codes of `width` (32 or 64) columns of 16 rows, of any bits: bytes first, then turned. */
static void codes_any(const struct matrix *w, const struct spread *s, uint32_t row, uint32_t c, int width,
                      __m512i out[16])
{
    const __m512i evens = _mm512_set4_epi32(0x0f0d0b09, 0x07050301, 0x0e0c0a08, 0x06040200);
    const size_t stride = matrix_row_bytes(w);
    const unsigned char *p = (const unsigned char *)w->data + row * stride + (size_t)c * w->bits / 8;
    __m512i codes[LANES];

    for (int i = 0; i < LANES; i++, p += stride) {
        if (w->bits == 8)
            codes[i] =
                _mm512_shuffle_epi8(_mm512_maskz_loadu_epi8(width == 64 ? ~0ull : 0xffffffff, p), evens);
        else
            codes[i] = spread_row(s, p);
    }
    turn_rows((const unsigned char *)codes, 64, ~0u, out);
    turn_rows((const unsigned char *)codes + 32, 64, ~0u, out + 8);
    UNROLL for (int q = 0; q < 16; q += 4)
    {
        __m512i swap = out[q + 1];
        out[q + 1] = out[q + 2];
        out[q + 2] = swap;
    }
}

/* acc += four columns of w times the four activations at x. Spelled out, because gcc splits off the
 * broadcast. */
static inline __m512i dpbusd(__m512i acc, __m512i w, const int8_t *x)
{
    typedef int32_t four __attribute__((may_alias, aligned(1)));
    __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(acc) : "v"(w), "m"(*(const four *)x));
    return acc;
}

/* acc += (sum * scale) * x.scale + bias * x.sum */
static inline __m512 q8_add(__m512 acc, __m512i sum, __m512 scale, __m512 bias, float x_scale, float x_sum)
{
    __m512 product = _mm512_mul_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sum), scale), _mm512_set1_ps(x_scale));
    return _mm512_add_ps(acc, _mm512_add_ps(product, _mm512_mul_ps(bias, _mm512_set1_ps(x_sum))));
}

/* Scales and biases of 16 rows, a vector of rows per group: of as many groups as 16 bytes of a row hold. */
struct scales {
    __m512 scale[8], bias[8];
    uint32_t per; /* groups held at a time: 8 or 4 */
};

static inline __m512i scales_four(const unsigned char *s, const unsigned char *b, size_t stride,
                                  __mmask16 mask)
{
    __m256i first = _mm256_set_m128i(_mm_maskz_loadu_epi8(mask, b), _mm_maskz_loadu_epi8(mask, s));
    __m256i fifth = _mm256_set_m128i(_mm_maskz_loadu_epi8(mask, b + 4 * stride),
                                     _mm_maskz_loadu_epi8(mask, s + 4 * stride));
    return _mm512_inserti64x4(_mm512_castsi256_si512(first), fifth, 1);
}

/* v[d] holds the d-th four bytes of each row's scales, v[4+d] of its biases. */
static inline void scales_turn(const struct scales *s, const struct matrix *w, uint32_t row, uint32_t g,
                               __m512i v[8])
{
    const size_t size = value_size(w->scale_type), stride = w->cols / w->group * size;
    const uint32_t left = w->cols / w->group - g, n = left < s->per ? left : s->per;
    const unsigned char *scale = (const unsigned char *)w->scales + row * stride + g * size;
    const unsigned char *bias = (const unsigned char *)w->biases + row * stride + g * size;
    const __mmask16 mask = (__mmask16)((1u << n * size) - 1);
    __m512i a[4], b[8];
    UNROLL for (size_t h = 0; h < 2; h++)
    {
        UNROLL for (size_t i = 0; i < 4; i++) a[i] =
            scales_four(scale + (8 * h + i) * stride, bias + (8 * h + i) * stride, stride, mask);
        turn_four(a, b + 4 * h);
    }
    turn_join(b, v);
}

static void scales_load(struct scales *s, const struct matrix *w, uint32_t row, uint32_t g)
{
    const __m512i upper = _mm512_set1_epi32((int)0xffff0000);
    __m512i v[8];
    scales_turn(s, w, row, g, v);
    for (int d = 0; d < 8; d++) {
        __m512 *out = d < 4 ? s->scale : s->bias;
        int at = d % 4;
        if (w->scale_type == DT_F32) {
            out[at] = _mm512_castsi512_ps(v[d]);
        } else if (w->scale_type == DT_BF16) {
            out[2 * at] = _mm512_castsi512_ps(_mm512_slli_epi32(v[d], 16));
            out[2 * at + 1] = _mm512_castsi512_ps(_mm512_and_si512(v[d], upper));
        } else {
            out[2 * at] = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(v[d]));
            out[2 * at + 1] = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32(v[d], 16)));
        }
    }
}

/* Four bits, groups of 64 or 128, n <= 8 activation rows: sums stay in registers over the whole row. */
static inline __attribute__((always_inline)) void block_4bit(const struct matrix *w, uint32_t row,
                                                             const struct range *range, const struct q8 *x,
                                                             size_t ldx, const int n, __m512 *ret)
{
    const size_t stride = w->cols / 2;
    const unsigned char *p = (const unsigned char *)w->data + row * stride;
    const uint32_t n_groups = w->cols / w->group, per_group = w->group / 64;
    const __m512i low = _mm512_set1_epi8(15);
    struct ahead ahead = ahead_of(w, row, range);
    struct scales s;
    __m512 acc[8];
    __m512i v[8];
    const unsigned char *last = p + stride - 32;

    s.per = 16 / (uint32_t)value_size(w->scale_type);
    UNROLL for (int j = 0; j < n; j++) acc[j] = _mm512_setzero_ps();
    turn_rows(p, stride, ~0u, v);
    for (uint32_t g = 0; g < n_groups; g++) {
        if ((g & (s.per - 1)) == 0) scales_load(&s, w, row, g);
        ahead_step(&ahead);
        for (uint32_t u = 0; u < per_group; u++, x += ldx) {
            __m512i a[8], b[8], t[8];
            p += p == last ? 0 : 32;
            UNROLL for (int j = 0; j < n; j++) a[j] = b[j] = _mm512_setzero_si512();
            UNROLL for (int h = 0; h < 8; h += 4)
            {
                UNROLL for (int d = h; d < h + 4; d++)
                {
                    __m512i even = _mm512_and_si512(v[d], low);
                    /* sixteen times the code where that sum stands apart: a shift of the sum instead */
                    __m512i odd = n <= 4 ? _mm512_andnot_si512(low, v[d])
                                         : _mm512_and_si512(_mm512_srli_epi16(v[d], 4), low);
                    UNROLL for (int j = 0; j < n; j++)
                    {
                        a[j] = dpbusd(a[j], even, x[j].code + 8 * d);
                        if (n <= 4)
                            b[j] = dpbusd(b[j], odd, x[j].code + 8 * d + 4);
                        else
                            a[j] = dpbusd(a[j], odd, x[j].code + 8 * d + 4);
                    }
                }
                turn_half(p + 2 * h * stride, stride, ~0u, t + h);
            }
            turn_join(t, v);
            UNROLL for (int j = 0; j < n; j++)
            {
                if (n <= 4) a[j] = _mm512_add_epi32(a[j], _mm512_srai_epi32(b[j], 4));
                acc[j] = q8_add(acc[j], a[j], s.scale[(g & (s.per - 1))], s.bias[(g & (s.per - 1))],
                                x[j].scale, x[j].sum);
            }
        }
    }
    UNROLL for (int j = 0; j < n; j++) ret[j] = acc[j];
}

typedef void block_fn(const struct matrix *w, uint32_t row, const struct range *range, const struct q8 *x,
                      size_t ldx, __m512 *ret);

#define BLOCK_4BIT(N)                                                                                        \
    static void block_4bit_##N(const struct matrix *w, uint32_t row, const struct range *range,              \
                               const struct q8 *x, size_t ldx, __m512 *ret)                                  \
    {                                                                                                        \
        block_4bit(w, row, range, x, ldx, N, ret);                                                           \
    }
BLOCK_4BIT(1)
BLOCK_4BIT(2)
BLOCK_4BIT(3)
BLOCK_4BIT(4)
BLOCK_4BIT(5)
BLOCK_4BIT(6)
BLOCK_4BIT(7)
BLOCK_4BIT(8)

static block_fn *const few_4bit[] = {block_4bit_1, block_4bit_2, block_4bit_3, block_4bit_4,
                                     block_4bit_5, block_4bit_6, block_4bit_7, block_4bit_8};

static void codes_4bit(const struct matrix *w, uint32_t row, uint32_t c, int width, __m512i out[16])
{
    size_t stride = w->cols / 2;
    const __m512i low = _mm512_set1_epi8(15);
    __m512i v[8];

    turn_rows((const unsigned char *)w->data + row * stride + c / 2, stride, width == 64 ? ~0u : 0xffff, v);
    UNROLL for (int d = 0; d < 8; d++)
    {
        out[2 * d] = _mm512_and_si512(v[d], low);
        out[2 * d + 1] = _mm512_and_si512(_mm512_srli_epi16(v[d], 4), low);
    }
}

/* Two bits: four bytes of a row hold 16 columns, and masking them at each of four shifts gives columns four apart. So
 * the activations change order, not the weights. */
static void codes_2bit(const struct matrix *w, uint32_t row, uint32_t c, int width, __m512i out[16])
{
    const size_t stride = w->cols / 4;
    const __m512i low = _mm512_set1_epi8(3);
    __m512i v[8];
    turn_rows((const unsigned char *)w->data + row * stride + c / 4, stride, width == 64 ? 0xffff : 0xff, v);
    UNROLL for (int d = 0; d < 4; d++) UNROLL for (int i = 0; i < 4; i++) out[4 * d + i] =
        _mm512_and_si512(_mm512_srli_epi16(v[d], 2 * i), low);
}

/* Copies of n groups with their codes in the order 0 4 8 12 1 5 9 13 ... of each 16 columns. */
static inline void four_apart(const struct q8 *x, int n, struct q8 *out)
{
    const __m512i from =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 2, 8, 10, 4, 6, 12, 14, 1, 3, 9, 11, 5, 7, 13, 15));
    for (int j = 0; j < n; j++) {
        memcpy(&out[j], &x[j], offsetof(struct q8, code));
        _mm512_storeu_si512(out[j].code, _mm512_shuffle_epi8(_mm512_loadu_si512(x[j].code), from));
    }
}

/* A unit of `width` columns with n <= 8 activation rows; half is 0 or 1 within the group of 64 if width
 * is 32. */
static inline __attribute__((always_inline)) void unit_tile(const __m512i *wv, __m512 scale, __m512 bias,
                                                            int width, int half, const struct q8 *x,
                                                            const int n, __m512 *acc)
{
    __m512i a[8];
    UNROLL for (int j = 0; j < n; j++) a[j] = _mm512_setzero_si512();
    UNROLL for (int d = 0; d < width / 4; d++) UNROLL for (int j = 0; j < n; j++) a[j] =
        dpbusd(a[j], wv[d], x[j].code + 32 * half + 4 * d);
    UNROLL for (int j = 0; j < n; j++) acc[j] =
        q8_add(acc[j], a[j], scale, bias, x[j].scale, width == 64 ? x[j].sum : x[j].half[half]);
}

static inline __attribute__((always_inline)) void unit_rows(const __m512i *wv, __m512 scale, __m512 bias,
                                                            int width, int half, const struct q8 *x, int n,
                                                            __m512 *acc)
{
    int j = 0;
    for (; j + 8 <= n; j += 8) unit_tile(wv, scale, bias, width, half, x + j, 8, acc + j);
    for (; j < n; j++) unit_tile(wv, scale, bias, width, half, x + j, 1, acc + j);
}

/* Any bits, any group, any number of activation rows: a unit of 64 or 32 columns becomes bytes first. */
static void block_any(const struct matrix *w, uint32_t row, const struct range *range, const struct q8 *x,
                      size_t ldx, int n, __m512 *acc)
{
    const uint32_t n_groups = w->cols / w->group, width = w->group < 64 ? 32 : 64;
    struct ahead ahead = ahead_of(w, row, range);
    struct scales s;
    struct spread spread = spread_of(w->bits, (int)width);
    __m512i wv[16] = {{0}};
    struct q8 reordered[XROWS];

    s.per = 16 / (uint32_t)value_size(w->scale_type);
    for (int j = 0; j < n; j++) acc[j] = _mm512_setzero_ps();
    for (uint32_t g = 0; g < n_groups; g++) {
        if ((g & (s.per - 1)) == 0) scales_load(&s, w, row, g);
        ahead_step(&ahead);
        for (uint32_t c = g * w->group; c < (g + 1) * w->group; c += width) {
            const struct q8 *xc = x + c / 64 * ldx;
            if (w->bits == 4) {
                codes_4bit(w, row, c, (int)width, wv);
            } else if (w->bits == 2) {
                codes_2bit(w, row, c, (int)width, wv);
                four_apart(xc, n, reordered);
                xc = reordered;
            } else {
                codes_any(w, &spread, row, c, (int)width, wv);
            }
            if (width == 64)
                unit_rows(wv, s.scale[(g & (s.per - 1))], s.bias[(g & (s.per - 1))], 64, 0, xc, n, acc);
            else
                unit_rows(wv, s.scale[(g & (s.per - 1))], s.bias[(g & (s.per - 1))], 32, c / 32 % 2, xc, n,
                          acc);
        }
    }
}

static void q8_block(const struct matrix *w, uint32_t row, const struct range *range, const struct q8 *x,
                     size_t ldx, int n, vf *acc)
{
    if (w->bits == 4 && w->group >= 64 && n <= 8)
        few_4bit[n - 1](w, row, range, x, ldx, acc);
    else
        block_any(w, row, range, x, ldx, n, acc);
}

void kern_init_avx512(struct kern *k)
{
    body_init(k);
    k->mat_rows_q8 = mat_rows_q8;
}
