/* utf8.c - UTF-8 by the table of well-formed byte sequences of the Unicode standard.
 *
 * Owns the cutting of bytes into characters. Knows nothing of what characters mean. */
#include "base/utf8.h"

/* What may follow a lead byte: how many bytes the character has and the range of its second byte. The
 * narrowed ranges are what keeps out overlong forms (E0, F0), surrogates (ED) and values above U+10FFFF (F4).
 */
static int lead(unsigned char c, unsigned char *lo, unsigned char *hi)
{
    *lo = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
    *hi = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    if (c < 0x80) return 1;
    if (c < 0xc2) return 0;
    if (c < 0xe0) return 2;
    if (c < 0xf0) return 3;
    return c < 0xf5 ? 4 : 0;
}

/* Number of bytes at s that belong together: a whole character, or as much of one as there is. *want is the
 * length that the first byte promises, 0 if no character begins so. */
static int span(const char *s, size_t n, int *want)
{
    unsigned char lo, hi;
    *want = lead((unsigned char)s[0], &lo, &hi);
    int k = 1;
    while (k < *want && (size_t)k < n && (unsigned char)s[k] >= lo && (unsigned char)s[k] <= hi) {
        lo = 0x80;
        hi = 0xbf;
        k++;
    }
    return k;
}

int utf8_decode(const char *s, size_t n, uint32_t *cp)
{
    int want;
    if (n == 0 || span(s, n, &want) != want) return 0;
    static const unsigned char mask[5] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    uint32_t v = (unsigned char)s[0] & mask[want];
    for (int i = 1; i < want; i++) v = v << 6 | ((unsigned char)s[i] & 0x3f);
    *cp = v;
    return want;
}

int utf8_encode(uint32_t cp, char out[4])
{
    static const unsigned char mark[5] = {0, 0, 0xc0, 0xe0, 0xf0};
    int n = cp < 0x80 ? 1 : cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    for (int i = n - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (cp & 0x3f));
        cp >>= 6;
    }
    out[0] = (char)(mark[n] | cp);
    return n;
}

size_t utf8_valid_len(const char *s, size_t n)
{
    size_t i = 0;
    while (i < n) {
        uint32_t cp;
        int k = utf8_decode(s + i, n - i, &cp);
        if (k == 0) break;
        i += (size_t)k;
    }
    return i;
}

int utf8_broken_prefix(const char *s, size_t n, bool *more)
{
    *more = false;
    if (n == 0) return 0;
    int want, k = span(s, n, &want);
    if (k == want) return 0;
    *more = want != 0 && (size_t)k == n;
    return k;
}
