/* quant.c - turns float weights into affine codes, byte for byte as MLX does on a CPU. Knows nothing of
 * files.
 *
 * The inner loops work on vectors of four floats, which every machine has; the compiler's vector types round
 * each lane like the scalar operation. */
#include "artifact/quant.h"

#include <math.h>

typedef float f4 __attribute__((vector_size(16)));
typedef uint32_t u4 __attribute__((vector_size(16)));
typedef uint16_t h4 __attribute__((vector_size(8)));
typedef uint8_t b4 __attribute__((vector_size(4)));

enum { GROUP_MAX = 128 };

struct group_range {
    float lo, hi;
    bool finite;
};

bool quant_supported(int bits, int group)
{
    return ((bits >= 2 && bits <= 6) || bits == 8) && (group == 32 || group == 64 || group == 128);
}

static inline f4 load4(const float *p)
{
    f4 v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline f4 select4(u4 mask, f4 yes, f4 no) { return (f4)(((u4)yes & mask) | ((u4)no & ~mask)); }

/* n values as float32; n is a multiple of 4. */
static void widen(const unsigned char *src, enum dtype type, int n, float *out)
{
    if (type != DT_BF16) {
        values_to_f32(src, type, (size_t)n, out);
        return;
    }
    for (int i = 0; i < n; i += 4) {
        h4 h;
        memcpy(&h, src + 2 * i, sizeof h);
        u4 u = __builtin_convertvector(h, u4) << 16;
        memcpy(out + i, &u, sizeof u);
    }
}

/* x*0 is NaN exactly if x is NaN or infinite, and NaN stays in the sum. */
static struct group_range find_range(const float *w, int n)
{
    f4 lo = load4(w), hi = lo, odd = {0};
    struct group_range range;

    for (int i = 0; i < n; i += 4) {
        f4 v = load4(w + i);
        lo = select4((u4)(v < lo), v, lo);
        hi = select4((u4)(v > hi), v, hi);
        odd += v * 0.0f;
    }
    range.lo = fminf(fminf(lo[0], lo[1]), fminf(lo[2], lo[3]));
    range.hi = fmaxf(fmaxf(hi[0], hi[1]), fmaxf(hi[2], hi[3]));
    range.finite = odd[0] + odd[1] + odd[2] + odd[3] == 0;
    return range;
}

/* Eight codes, one a byte, pressed together to 8*bits bits: bytes to pairs, pairs to fours, fours to the
 * eight. */
static inline uint64_t press(uint64_t x, int bits)
{
    x = (x & 0x00ff00ff00ff00ff) | (x & 0xff00ff00ff00ff00) >> (8 - bits);
    x = (x & 0x0000ffff0000ffff) | (x & 0xffff0000ffff0000) >> (16 - 2 * bits);
    return (x & 0x00000000ffffffff) | (x >> 32) << 4 * bits;
}

/* Codes of one group into n*bits/8 bytes. Adding 1.5*2^23 rounds to an integer, half to even, and leaves it
 * in the lowest byte. What is not above zero, NaN included, becomes code 0. */
static inline void write_codes(const float *w, int n, int bits, float scale, float bias, unsigned char *out)
{
    const f4 zero = {0}, magic = zero + 0x1.8p23f, top = zero + (float)((1 << bits) - 1);

    for (int i = 0; i < n; i += 8, out += bits) {
        uint8_t codes[8];
        for (int h = 0; h < 8; h += 4) {
            f4 v = (load4(w + i + h) - bias) / scale;
            v = select4((u4)(v > zero), v, zero);
            v = select4((u4)(v > top), top, v) + magic;
            b4 b = __builtin_convertvector((u4)v & 0xff, b4);
            memcpy(codes + h, &b, sizeof b);
        }
        uint64_t x;
        memcpy(&x, codes, sizeof x);
        x = press(x, bits);
        memcpy(out, &x, (size_t)bits);
    }
}

/* The rule, in float32, every operation rounded once, subnormals kept. With n = 2^bits - 1:
 *
 *     s = max((hi - lo) / n, 1e-7)
 *     edge = lo if |lo| > |hi|, else hi with s = -s
 *     q0 = rint(edge / s), half to even
 *     s = edge / q0 and bias = edge if q0 != 0, else bias = 0
 *     code = clamp(rint((w - bias) / s), 0, n)
 *
 * so the value of largest magnitude is met exactly and zero lies on the grid. */
static void find_affine(struct group_range range, int bits, float *scale, float *bias)
{
    float s = fmaxf((range.hi - range.lo) / (float)((1 << bits) - 1), 1e-7f);
    float edge = range.lo;

    if (!(fabsf(range.lo) > fabsf(range.hi))) {
        edge = range.hi;
        s = -s;
    }
    float q0 = rintf(edge / s);
    *scale = q0 != 0 ? edge / q0 : s;
    *bias = q0 != 0 ? edge : 0;
}

/* Stores f in the given type; false if it is not finite there. */
static bool store_value(void *data, enum dtype type, size_t i, float f)
{
    uint16_t h = type == DT_F16 ? f32_to_f16(f) : f32_to_bf16(f);

    if (type == DT_F32)
        memcpy((char *)data + 4 * i, &f, 4);
    else
        memcpy((char *)data + 2 * i, &h, 2);
    return isfinite(value_f32(data, type, i));
}

static bool quant_group(const unsigned char *src, enum dtype type, int bits, int n, unsigned char *codes,
                        void *scales, void *biases, size_t at)
{
    float w[GROUP_MAX] = {0}, scale, bias;

    widen(src, type, n, w);
    struct group_range range = find_range(w, n);
    if (!range.finite || !isfinite(range.hi - range.lo)) return false;
    find_affine(range, bits, &scale, &bias);
    if (!store_value(scales, type, at, scale) || !store_value(biases, type, at, bias)) return false;
    switch (bits) { /* a constant width lets the compiler unroll the packing */
    case 4: write_codes(w, n, 4, scale, bias, codes); break;
    case 8: write_codes(w, n, 8, scale, bias, codes); break;
    default: write_codes(w, n, bits, scale, bias, codes);
    }
    return true;
}

bool quant_rows(const void *src, enum dtype type, size_t rows, size_t cols, int bits, int group,
                uint32_t *words, void *scales, void *biases, size_t *bad_row)
{
    size_t n_groups = cols / (size_t)group, code_bytes = (size_t)group * (size_t)bits / 8;
    size_t src_bytes = (size_t)group * dtype_size(type);

    for (size_t g = 0; g < rows * n_groups; g++)
        if (!quant_group((const unsigned char *)src + g * src_bytes, type, bits, group,
                         (unsigned char *)words + g * code_bytes, scales, biases, g)) {
            *bad_row = g / n_groups;
            return false;
        }
    return true;
}
