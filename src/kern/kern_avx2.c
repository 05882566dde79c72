/* kern_avx2.c - kernels for AVX2 with F16C. */
#include <immintrin.h>

#define LANES 8
#include "kern/kern_body.h"
#include "kern/kern_q8_body.h"

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
        __m256 scale = _mm256_set1_ps(scale_f32(m->scales, m->scale_type, group));
        __m256 bias = _mm256_set1_ps(scale_f32(m->biases, m->scale_type, group));
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

static inline vf half_load(const void *p) { return _mm256_cvtph_ps(_mm_loadu_si128(p)); }

/* Two sums each: halves of vectors, then pairs, values. */
static inline __m256 fold_8(__m256 a, __m256 b)
{
    return _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
}

static inline __m256 fold_4(__m256 a, __m256 b)
{
    __m256d x = _mm256_castps_pd(a), y = _mm256_castps_pd(b);
    return _mm256_add_ps(_mm256_castpd_ps(_mm256_unpacklo_pd(x, y)),
                         _mm256_castpd_ps(_mm256_unpackhi_pd(x, y)));
}

static inline __m256 fold_2(__m256 a, __m256 b)
{
    return _mm256_add_ps(_mm256_shuffle_ps(a, b, 0x88), _mm256_shuffle_ps(a, b, 0xdd));
}

static inline void fold_products(vf (*part)[PRODUCTS], float *out)
{
    __m256 v[4];
    UNROLL for (int i = 0; i < 4; i++) v[i] =
        fold_8(_mm256_add_ps(part[0][i], part[1][i]), _mm256_add_ps(part[0][4 + i], part[1][4 + i]));
    _mm256_storeu_ps(out, fold_2(fold_4(v[0], v[1]), fold_4(v[2], v[3])));
}

/* Codes of 32 columns: -127..127 in the lowest bytes of v[4]. */
static inline __m256i q8_pack(const __m256 v[4])
{
    const __m256i evens_first =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15));
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    __m256i c[4];
    UNROLL for (int i = 0; i < 4; i++) c[i] =
        _mm256_srai_epi32(_mm256_slli_epi32(_mm256_castps_si256(v[i]), 24), 24);
    __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(c[0], c[1]), _mm256_packs_epi32(c[2], c[3]));
    return _mm256_shuffle_epi8(_mm256_permutevar8x32_epi32(bytes, order), evens_first);
}

/* Four lanes of partial sums. */
static inline __m128i q8_sum(__m256i codes)
{
    __m256i s = _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_set1_epi8(1), codes), _mm256_set1_epi16(1));
    return _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
}

static void q8_group_from(struct q8 *out, const float *x)
{
    const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff)),
                 magic = _mm256_set1_ps(0x1.8p23f);
    __m256 v[8], top = _mm256_setzero_ps();
    __m256i codes[2];
    UNROLL for (int i = 0; i < 8; i++)
    {
        v[i] = _mm256_loadu_ps(x + 8 * i);
        top = _mm256_max_ps(_mm256_and_ps(v[i], magnitude), top);
    }
    __m128 t = _mm_max_ps(_mm256_castps256_ps128(top), _mm256_extractf128_ps(top, 1));
    t = _mm_max_ps(t, _mm_movehl_ps(t, t));
    float max = _mm_cvtss_f32(_mm_max_ss(t, _mm_movehdup_ps(t)));
    __m256 inv = _mm256_set1_ps(q8_inverse(&max));
    UNROLL for (int i = 0; i < 8; i++) v[i] = _mm256_add_ps(_mm256_mul_ps(v[i], inv), magic);
    UNROLL for (int h = 0; h < 2; h++)
    {
        codes[h] = q8_pack(v + 4 * h);
        _mm256_storeu_si256((__m256i *)(out->code + 32 * h), codes[h]);
    }
    __m128i s = _mm_hadd_epi32(q8_sum(codes[0]), q8_sum(codes[1]));
    s = _mm_hadd_epi32(s, s);
    q8_group_end(out, max, _mm_extract_epi32(s, 0), _mm_extract_epi32(s, 1));
}

static void f16_from(uint16_t *out, const float *x, size_t n)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm_storeu_si128((__m128i *)(out + i),
                         _mm256_cvtps_ph(_mm256_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT));
    for (; i < n; i++) out[i] = f32_to_f16(x[i]);
}

/* Fast mode. Lanes are rows, 8 at a time: 16 bytes of each row are loaded and turned in registers, so that
 * vector d holds the d-th four bytes of every row. vpmaddubsw multiplies them with four activations broadcast
 * from memory. Its 16-bit sums hold 8 products of a four-bit weight (15 * 127 * 2 * 8 < 32768); wider codes
 * go as two halves of four bits. */
enum { TILE_ROWS = 4 };

/* Four pieces of 4 bytes of each of 8 rows, stride apart. */
static inline void turn_rows(const unsigned char *p, size_t stride, __m256i out[4])
{
    __m256i a[4];

    UNROLL for (int i = 0; i < 4; i++)
    {
        const unsigned char *q = p + (size_t)i * stride;
        a[i] = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)q)),
                                       _mm_loadu_si128((const __m128i *)(q + 4 * stride)), 1);
    }
    __m256i lo01 = _mm256_unpacklo_epi32(a[0], a[1]), hi01 = _mm256_unpackhi_epi32(a[0], a[1]);
    __m256i lo23 = _mm256_unpacklo_epi32(a[2], a[3]), hi23 = _mm256_unpackhi_epi32(a[2], a[3]);
    out[0] = _mm256_unpacklo_epi64(lo01, lo23);
    out[1] = _mm256_unpackhi_epi64(lo01, lo23);
    out[2] = _mm256_unpacklo_epi64(hi01, hi23);
    out[3] = _mm256_unpackhi_epi64(hi01, hi23);
}

struct scales {
    __m256 scale[8], bias[8];
};

/* Scales (or biases) of 8 rows for n groups from g on, at most 16 bytes' worth, a vector of rows per group.
 */
static void turn_scales(const struct matrix *w, const void *data, uint32_t row, uint32_t g, uint32_t n,
                        __m256 *out)
{
    const size_t size = value_size(w->scale_type), stride = (size_t)(w->cols / w->group) * size;
    const unsigned char *p = (const unsigned char *)data + row * stride + g * size;
    unsigned char copy[LANES][16] = {{0}};
    __m256i v[4];

    if (n * size == 16) {
        turn_rows(p, stride, v);
    } else {
        for (int i = 0; i < LANES; i++) memcpy(copy[i], p + (size_t)i * stride, n * size);
        turn_rows(copy[0], 16, v);
    }
    for (int d = 0; d < 4; d++) {
        if (w->scale_type == DT_F32) {
            out[d] = _mm256_castsi256_ps(v[d]);
        } else if (w->scale_type == DT_BF16) {
            out[2 * d] = _mm256_castsi256_ps(_mm256_slli_epi32(v[d], 16));
            out[2 * d + 1] = _mm256_castsi256_ps(_mm256_and_si256(v[d], _mm256_set1_epi32((int)0xffff0000)));
        } else {
            __m256i even = _mm256_and_si256(v[d], _mm256_set1_epi32(0xffff)),
                    odd = _mm256_srli_epi32(v[d], 16);
            __m256i both = _mm256_permute4x64_epi64(_mm256_packus_epi32(even, odd), 0xd8);
            out[2 * d] = _mm256_cvtph_ps(_mm256_castsi256_si128(both));
            out[2 * d + 1] = _mm256_cvtph_ps(_mm256_extracti128_si256(both, 1));
        }
    }
}

static inline void scales_load(struct scales *s, const struct matrix *w, uint32_t row, uint32_t g)
{
    uint32_t left = w->cols / w->group - g, per = 16 / (uint32_t)value_size(w->scale_type);
    turn_scales(w, w->scales, row, g, left < per ? left : per, s->scale);
    turn_scales(w, w->biases, row, g, left < per ? left : per, s->bias);
}

/* acc += four columns of w (each at most 15) times the four activations at x, in pairs. The empty statement
 * keeps gcc from regrouping the additions, for which it would keep every product and spill them all. */
static inline __m256i maddubs(__m256i acc, __m256i w, const int8_t *x)
{
    int four;
    memcpy(&four, x, 4);
    acc = _mm256_add_epi16(acc, _mm256_maddubs_epi16(w, _mm256_set1_epi32(four)));
    __asm__("" : "+x"(acc));
    return acc;
}

/* acc += (sum * scale) * x.scale + bias * x.sum */
static inline __m256 q8_add(__m256 acc, __m256i sum, __m256 scale, __m256 bias, float x_scale, float x_sum)
{
    __m256 product = _mm256_mul_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(sum), scale), _mm256_set1_ps(x_scale));
    return _mm256_add_ps(acc, _mm256_add_ps(product, _mm256_mul_ps(bias, _mm256_set1_ps(x_sum))));
}

/* Four bits, groups of 64 or 128, n <= TILE_ROWS activation rows: sums stay in registers over the whole row.
 */
static inline __attribute__((always_inline)) void block_4bit(const struct matrix *w, uint32_t row,
                                                             const struct range *range, const struct q8 *x,
                                                             size_t ldx, const int n, __m256 *ret)
{
    const size_t stride = w->cols / 2;
    const unsigned char *p = (const unsigned char *)w->data + row * stride;
    const uint32_t n_groups = w->cols / w->group, per_group = w->group / 64;
    const uint32_t per = 16 / (uint32_t)value_size(w->scale_type);
    const __m256i low = _mm256_set1_epi8(15), ones = _mm256_set1_epi16(1);
    struct ahead ahead = ahead_of(w, row, range);
    struct scales s;
    __m256 acc[TILE_ROWS];

    UNROLL for (int j = 0; j < n; j++) acc[j] = _mm256_setzero_ps();
    for (uint32_t g = 0; g < n_groups; g++) {
        if ((g & (per - 1)) == 0) scales_load(&s, w, row, g);
        ahead_step(&ahead);
        for (uint32_t u = 0; u < per_group; u++, p += 32, x += ldx) {
            __m256i a[TILE_ROWS], b[TILE_ROWS];
            UNROLL for (int j = 0; j < n; j++) a[j] = b[j] = _mm256_setzero_si256();
            UNROLL for (int h = 0; h < 8; h += 4)
            {
                __m256i v[4];
                turn_rows(p + 4 * h, stride, v);
                UNROLL for (int d = 0; d < 4; d++)
                {
                    __m256i even = _mm256_and_si256(v[d], low);
                    __m256i odd = _mm256_and_si256(_mm256_srli_epi16(v[d], 4), low);
                    UNROLL for (int j = 0; j < n; j++)
                    {
                        a[j] = maddubs(a[j], even, x[j].code + 8 * (h + d));
                        b[j] = maddubs(b[j], odd, x[j].code + 8 * (h + d) + 4);
                    }
                }
            }
            UNROLL for (int j = 0; j < n; j++)
            {
                __m256i sum = _mm256_add_epi32(_mm256_madd_epi16(a[j], ones), _mm256_madd_epi16(b[j], ones));
                acc[j] = q8_add(acc[j], sum, s.scale[(g & (per - 1))], s.bias[(g & (per - 1))], x[j].scale,
                                x[j].sum);
            }
        }
    }
    UNROLL for (int j = 0; j < n; j++) ret[j] = acc[j];
}

typedef void block_fn(const struct matrix *w, uint32_t row, const struct range *range, const struct q8 *x,
                      size_t ldx, __m256 *ret);

#define BLOCK_4BIT(N)                                                                                        \
    static void block_4bit_##N(const struct matrix *w, uint32_t row, const struct range *range,              \
                               const struct q8 *x, size_t ldx, __m256 *ret)                                  \
    {                                                                                                        \
        block_4bit(w, row, range, x, ldx, N, ret);                                                           \
    }
BLOCK_4BIT(1)
BLOCK_4BIT(2)
BLOCK_4BIT(3)
BLOCK_4BIT(4)

static block_fn *const few_4bit[] = {block_4bit_1, block_4bit_2, block_4bit_3, block_4bit_4};

/* Sixteen codes of a row, one a byte, in the order of struct q8 but for the four-byte pieces: evens, evens,
 * odds, odds. Every 16-bit lane takes the two bytes that its code touches, and a multiplication shifts the
 * code to its top. */
struct spread {
    __m256i pick, raise;
    int drop;
};

static struct spread spread_of(unsigned bits)
{
    unsigned char pick[32];
    uint16_t raise[16];

    for (unsigned i = 0; i < 16; i++) {
        unsigned at = (i < 8 ? 2 * i : 2 * i - 15) * bits;
        pick[2 * i] = (unsigned char)(at / 8);
        pick[2 * i + 1] = (unsigned char)(at / 8 + 1 < 16 ? at / 8 + 1 : 0x80);
        raise[i] = (uint16_t)(1u << (16 - bits - at % 8));
    }
    return (struct spread){
        .pick = _mm256_loadu_si256((const __m256i *)pick),
        .raise = _mm256_loadu_si256((const __m256i *)raise),
        .drop = 16 - (int)bits,
    };
}

/* `end` is where the matrix ends: a load that would pass it is made from a copy. */
static inline __m128i spread_16(const struct spread *s, const unsigned char *p, const unsigned char *end)
{
    __m128i codes;

    if (end - p >= 16) {
        codes = _mm_loadu_si128((const __m128i *)p);
    } else {
        codes = _mm_setzero_si128();
        memcpy(&codes, p, (size_t)(end - p));
    }
    __m256i v = _mm256_broadcastsi128_si256(codes);
    v = _mm256_mullo_epi16(_mm256_shuffle_epi8(v, s->pick), s->raise);
    v = _mm256_srl_epi16(v, _mm_cvtsi32_si128(s->drop));
    return _mm_packus_epi16(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
}

/* A unit of 64 or 32 columns of 8 rows: the low and the high four bits of each code, turned. */
struct unit {
    __m256i low[16], high[16];
    int n;     /* vectors filled: 16 or 8 */
    bool wide; /* there are high bits */
};

static void unit_load(struct unit *t, const struct matrix *w, const struct spread *s, uint32_t row,
                      uint32_t c)
{
    const __m256i low = _mm256_set1_epi8(15);
    const size_t stride = matrix_row_bytes(w);
    const unsigned char *p = (const unsigned char *)w->data + row * stride + (size_t)c * w->bits / 8;
    const unsigned char *end = (const unsigned char *)w->data + w->rows * stride;
    __m128i codes[LANES][4];

    for (int i = 0; i < LANES; i++, p += stride)
        for (int k = 0; k < t->n / 4; k++) codes[i][k] = spread_16(s, p + 2 * k * w->bits, end);
    for (int k = 0; k < t->n / 4; k++) {
        __m256i v[4];
        turn_rows((const unsigned char *)&codes[0][k], sizeof codes[0], v);
        for (int d = 0; d < 4; d++) {
            int at = 4 * k + (d == 1 ? 2 : d == 2 ? 1 : d);
            t->low[at] = _mm256_and_si256(v[d], low);
            t->high[at] = _mm256_and_si256(_mm256_srli_epi16(v[d], 4), low);
        }
    }
}

/* Bytes need no spreading: they are turned as they lie, and it is the activations that change order. */
static inline void unit_load_8bit(struct unit *t, const struct matrix *w, uint32_t row, uint32_t c)
{
    const __m256i low = _mm256_set1_epi8(15);
    const unsigned char *p = (const unsigned char *)w->data + (size_t)row * w->cols + c;

    for (int k = 0; k < t->n; k += 4) {
        __m256i v[4];
        turn_rows(p + 4 * k, w->cols, v);
        UNROLL for (int d = 0; d < 4; d++)
        {
            t->low[k + d] = _mm256_and_si256(v[d], low);
            t->high[k + d] = _mm256_and_si256(_mm256_srli_epi16(v[d], 4), low);
        }
    }
}

/* Two bits: four bytes of a row hold 16 columns, and masking them at each of four shifts gives columns four apart. */
static inline void unit_load_2bit(struct unit *t, const struct matrix *w, uint32_t row, uint32_t c)
{
    const __m256i low = _mm256_set1_epi8(3);
    const size_t stride = w->cols / 4;
    const unsigned char *p = (const unsigned char *)w->data + row * stride + c / 4;
    uint64_t half[LANES][2]; /* of the unit of 32 columns there are 8 bytes */
    __m256i v[4];

    for (int i = 0; i < LANES && t->n == 8; i++) memcpy(half[i], p + (size_t)i * stride, 8);
    turn_rows(t->n == 8 ? (const unsigned char *)half : p, t->n == 8 ? sizeof half[0] : stride, v);
    for (int d = 0; d < t->n / 4; d++)
        UNROLL for (int i = 0; i < 4; i++) t->low[4 * d + i] =
            _mm256_and_si256(_mm256_srli_epi16(v[d], 2 * i), low);
}

/* Within each 16 columns of a group: the order of the columns, and 0 4 8 12 1 5 9 13 ... */
static const int8_t natural_order[16] = {0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15};
static const int8_t four_apart[16] = {0, 2, 8, 10, 4, 6, 12, 14, 1, 3, 9, 11, 5, 7, 13, 15};

/* Copies of n groups with their codes in another order. */
static inline void reorder(const struct q8 *x, int n, const int8_t order[16], struct q8 *out)
{
    const __m256i back = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)order));

    for (int j = 0; j < n; j++) {
        memcpy(&out[j], &x[j], offsetof(struct q8, code));
        for (int i = 0; i < 64; i += 32) {
            __m256i v = _mm256_loadu_si256((const __m256i *)(x[j].code + i));
            _mm256_storeu_si256((__m256i *)(out[j].code + i), _mm256_shuffle_epi8(v, back));
        }
    }
}

static inline void unit_load_4bit(struct unit *t, const struct matrix *w, uint32_t row, uint32_t c)
{
    const __m256i low = _mm256_set1_epi8(15);
    const size_t stride = w->cols / 2;
    const unsigned char *p = (const unsigned char *)w->data + row * stride + c / 2;

    for (int k = 0; k < t->n / 8; k++) {
        __m256i v[4];
        turn_rows(p + 16 * k, stride, v);
        UNROLL for (int d = 0; d < 4; d++)
        {
            t->low[8 * k + 2 * d] = _mm256_and_si256(v[d], low);
            t->low[8 * k + 2 * d + 1] = _mm256_and_si256(_mm256_srli_epi16(v[d], 4), low);
        }
    }
}

/* Dot products of a unit's halves with n <= TILE_ROWS activation rows; x.code + at is where the unit begins.
 */
static inline __attribute__((always_inline)) void
unit_dot(const __m256i *wv, int n_vectors, const struct q8 *x, int at, const int n, __m256i *sum)
{
    const __m256i ones = _mm256_set1_epi16(1);
    UNROLL for (int j = 0; j < n; j++) sum[j] = _mm256_setzero_si256();
    for (int d = 0; d < n_vectors; d += 8) {
        __m256i a[TILE_ROWS];
        UNROLL for (int j = 0; j < n; j++) a[j] = _mm256_setzero_si256();
        UNROLL for (int e = 0; e < 8; e++) UNROLL for (int j = 0; j < n; j++) a[j] =
            maddubs(a[j], wv[d + e], x[j].code + at + 4 * (d + e));
        UNROLL for (int j = 0; j < n; j++) sum[j] = _mm256_add_epi32(sum[j], _mm256_madd_epi16(a[j], ones));
    }
}

static inline __attribute__((always_inline)) void unit_tile(const struct unit *t, __m256 scale, __m256 bias,
                                                            int half, const struct q8 *x, const int n,
                                                            __m256 *acc)
{
    __m256i sum[TILE_ROWS], high[TILE_ROWS];
    unit_dot(t->low, t->n, x, 32 * half, n, sum);
    if (t->wide) {
        unit_dot(t->high, t->n, x, 32 * half, n, high);
        UNROLL for (int j = 0; j < n; j++) sum[j] = _mm256_add_epi32(sum[j], _mm256_slli_epi32(high[j], 4));
    }
    UNROLL for (int j = 0; j < n; j++) acc[j] =
        q8_add(acc[j], sum[j], scale, bias, x[j].scale, t->n == 16 ? x[j].sum : x[j].half[half]);
}

/* Any bits, any group, any number of activation rows. */
static void block_any(const struct matrix *w, uint32_t row, const struct range *range, const struct q8 *x,
                      size_t ldx, int n, __m256 *acc)
{
    const uint32_t n_groups = w->cols / w->group, width = w->group < 64 ? 32 : 64;
    const uint32_t per = 16 / (uint32_t)value_size(w->scale_type);
    struct ahead ahead = ahead_of(w, row, range);
    struct spread spread = spread_of(w->bits);
    struct unit t = {.n = (int)width / 4, .wide = w->bits > 4};
    struct q8 reordered[XROWS];
    struct scales s;

    for (int j = 0; j < n; j++) acc[j] = _mm256_setzero_ps();
    for (uint32_t g = 0; g < n_groups; g++) {
        if ((g & (per - 1)) == 0) scales_load(&s, w, row, g);
        ahead_step(&ahead);
        for (uint32_t c = g * w->group; c < (g + 1) * w->group; c += width) {
            const struct q8 *xc = x + c / 64 * ldx;
            int half = w->group < 64 ? c / 32 % 2 : 0, j = 0;
            if (w->bits == 4) {
                unit_load_4bit(&t, w, row, c);
            } else if (w->bits == 8) {
                unit_load_8bit(&t, w, row, c);
                reorder(xc, n, natural_order, reordered);
                xc = reordered;
            } else if (w->bits == 2) {
                unit_load_2bit(&t, w, row, c);
                reorder(xc, n, four_apart, reordered);
                xc = reordered;
            } else {
                unit_load(&t, w, &spread, row, c);
            }
            for (; j + TILE_ROWS <= n; j += TILE_ROWS)
                unit_tile(&t, s.scale[(g & (per - 1))], s.bias[(g & (per - 1))], half, xc + j, TILE_ROWS,
                          acc + j);
            for (; j < n; j++)
                unit_tile(&t, s.scale[(g & (per - 1))], s.bias[(g & (per - 1))], half, xc + j, 1, acc + j);
        }
    }
}

static void q8_block(const struct matrix *w, uint32_t row, const struct range *range, const struct q8 *x,
                     size_t ldx, int n, vf *acc)
{
    if (w->bits == 4 && w->group >= 64 && n <= TILE_ROWS)
        few_4bit[n - 1](w, row, range, x, ldx, acc);
    else
        block_any(w, row, range, x, ldx, n, acc);
}

void kern_init_avx2(struct kern *k)
{
    body_init(k);
    k->f16_from = f16_from;
    k->mat_rows_q8 = mat_rows_q8;
}
