/* sha256.c - SHA-256 as FIPS 180-4 writes it down. Owns nothing; knows no file format. */
#include "base/sha256.h"

#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

static const uint32_t round_keys[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotate(uint32_t x, int n) { return x >> n | x << (32 - n); }

static uint32_t big_endian(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void schedule(uint32_t w[64], const unsigned char *block)
{
    for (int i = 0; i < 16; i++) w[i] = big_endian(block + 4 * i);
    for (int i = 16; i < 64; i++) {
        uint32_t a = rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3;
        uint32_t b = rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10;
        w[i] = w[i - 16] + a + w[i - 7] + b;
    }
}

/* One round. Instead of moving eight words along, the caller names them anew. */
static inline void round_of(uint32_t a, uint32_t b, uint32_t c, uint32_t *d, uint32_t e, uint32_t f,
                            uint32_t g, uint32_t *h, uint32_t key)
{
    uint32_t t = *h + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + ((e & f) ^ (~e & g)) + key;
    *d += t;
    *h = t + (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
}

static void compress_portable(uint32_t state[8], const unsigned char *block, size_t n)
{
    for (; n; n--, block += 64) {
        uint32_t w[64];
        uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
        uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
        schedule(w, block);
        for (int i = 0; i < 64; i++) w[i] += round_keys[i];
        for (int i = 0; i < 64; i += 8) {
            round_of(a, b, c, &d, e, f, g, &h, w[i]);
            round_of(h, a, b, &c, d, e, f, &g, w[i + 1]);
            round_of(g, h, a, &b, c, d, e, &f, w[i + 2]);
            round_of(f, g, h, &a, b, c, d, &e, w[i + 3]);
            round_of(e, f, g, &h, a, b, c, &d, w[i + 4]);
            round_of(d, e, f, &g, h, a, b, &c, w[i + 5]);
            round_of(c, d, e, &f, g, h, a, &b, w[i + 6]);
            round_of(b, c, d, &e, f, g, h, &a, w[i + 7]);
        }
        state[0] += a, state[1] += b, state[2] += c, state[3] += d;
        state[4] += e, state[5] += f, state[6] += g, state[7] += h;
    }
}

#if defined(__x86_64__)

/* The CPU's instructions want the words in the order of two registers: a b e f and c d g h, highest first. */
__attribute__((target("sha,sse4.1"))) static void compress_x86(uint32_t state[8], const unsigned char *block,
                                                               size_t n)
{
    const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    __m128i abef = _mm_set_epi32((int)state[0], (int)state[1], (int)state[4], (int)state[5]);
    __m128i cdgh = _mm_set_epi32((int)state[2], (int)state[3], (int)state[6], (int)state[7]);
    uint32_t out[8];
    for (; n; n--, block += 64) {
        const __m128i *from = (const void *)block, *keys = (const void *)round_keys;
        const __m128i abef0 = abef, cdgh0 = cdgh;
        __m128i w0 = _mm_shuffle_epi8(_mm_loadu_si128(from), swap);
        __m128i w1 = _mm_shuffle_epi8(_mm_loadu_si128(from + 1), swap);
        __m128i w2 = _mm_shuffle_epi8(_mm_loadu_si128(from + 2), swap);
        __m128i w3 = _mm_shuffle_epi8(_mm_loadu_si128(from + 3), swap);
        for (int i = 0; i < 16; i++) { /* four rounds; the last four times the next words are of no use */
            __m128i key = _mm_add_epi32(w0, _mm_loadu_si128(keys + i));
            __m128i next = _mm_add_epi32(_mm_sha256msg1_epu32(w0, w1), _mm_alignr_epi8(w3, w2, 4));
            cdgh = _mm_sha256rnds2_epu32(cdgh, abef, key);
            abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_srli_si128(key, 8));
            w0 = w1, w1 = w2, w2 = w3, w3 = _mm_sha256msg2_epu32(next, w3);
        }
        abef = _mm_add_epi32(abef, abef0);
        cdgh = _mm_add_epi32(cdgh, cdgh0);
    }
    _mm_storeu_si128((void *)out, abef);
    _mm_storeu_si128((void *)(out + 4), cdgh);
    static const int place[8] = {3, 2, 7, 6, 1, 0, 5, 4};
    for (int i = 0; i < 8; i++) state[i] = out[place[i]];
}

static bool cpu_helps(void)
{
    enum { SSE4_1 = 1 << 19, SHA = 1 << 29 };
    uint32_t a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & SSE4_1) && __get_cpuid_count(7, 0, &a, &b, &c, &d) &&
           (b & SHA);
}

#else

#define compress_x86 compress_portable
static bool cpu_helps(void) { return false; }

#endif

void sha256_init(struct sha256 *s)
{
    sha256_init_portable(s);
    if (cpu_helps()) s->compress = compress_x86;
}

void sha256_init_portable(struct sha256 *s)
{
    static const uint32_t start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(s->state, start, sizeof start);
    s->len = 0;
    s->compress = compress_portable;
}

void sha256_add(struct sha256 *s, const void *p, size_t n)
{
    const unsigned char *from = p;
    while (n) {
        size_t held = s->len % 64, take = 64 - held < n ? 64 - held : n;
        if (take == 64) {
            take = n - n % 64;
            s->compress(s->state, from, n / 64);
        } else {
            memcpy(s->block + held, from, take);
            if (held + take == 64) s->compress(s->state, s->block, 1);
        }
        s->len += take;
        from += take;
        n -= take;
    }
}

void sha256_hex(struct sha256 *s, char out[SHA256_HEX])
{
    static const char digits[] = "0123456789abcdef";
    static const unsigned char padding[64] = {0x80};
    uint64_t bits = s->len * 8;
    unsigned char end[8];
    for (int i = 0; i < 8; i++) end[i] = (unsigned char)(bits >> (56 - 8 * i));
    sha256_add(s, padding, 64 - (s->len + 8) % 64);
    sha256_add(s, end, 8);
    for (int i = 0; i < 64; i++) out[i] = digits[s->state[i / 8] >> (28 - 4 * (i % 8)) & 15];
    out[64] = 0;
}
