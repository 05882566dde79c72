/* unicode.c - look-ups in the Unicode tables.
 *
 * Owns binary search and the rule by which Hangul syllables decompose and compose; the numbers are in
 * unicode_data.c. Must not know what text is split into or why. */
#include "text/unicode.h"

/* Hangul syllables are arranged so that arithmetic replaces tables. */
enum {
    HANGUL_S = 0xac00,
    HANGUL_L = 0x1100,
    HANGUL_V = 0x1161,
    HANGUL_T = 0x11a7, /* one before the first: index 0 means no final consonant */
    HANGUL_N_L = 19,
    HANGUL_N_V = 21,
    HANGUL_N_T = 28,
    HANGUL_N_S = HANGUL_N_L * HANGUL_N_V * HANGUL_N_T
};

static int range_value(const struct unicode_range *r, int count, uint32_t cp)
{
    int lo = 0, hi = count;
    while (lo < hi) {
        int mid = (lo + hi) / 2;
        if (r[mid].last < cp)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < count && r[lo].first <= cp ? r[lo].value : 0;
}

enum unicode_class unicode_class(uint32_t cp)
{
    if (cp < 0x80) {
        if ((cp | 32) - 'a' < 26) return UNICODE_LETTER;
        if (cp - '0' < 10) return UNICODE_NUMBER;
        return cp == ' ' || cp - '\t' < 5 ? UNICODE_SPACE : UNICODE_OTHER;
    }
    return (enum unicode_class)range_value(unicode_classes, unicode_classes_count, cp);
}

int unicode_combining(uint32_t cp)
{
    return range_value(unicode_combining_classes, unicode_combining_classes_count, cp);
}

bool unicode_nfc_special(uint32_t cp)
{
    return cp >= unicode_nfc_specials[0].first &&
           range_value(unicode_nfc_specials, unicode_nfc_specials_count, cp) != 0;
}

static const struct unicode_decomposition *find_decomposition(uint32_t cp)
{
    int lo = 0, hi = unicode_decompositions_count;
    while (lo < hi) {
        int mid = (lo + hi) / 2;
        if (unicode_decompositions[mid].cp < cp)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo < unicode_decompositions_count && unicode_decompositions[lo].cp == cp)
        return &unicode_decompositions[lo];
    return NULL;
}

int unicode_decompose(uint32_t cp, uint32_t out[UNICODE_DECOMPOSED_MAX])
{
    uint32_t s = cp - HANGUL_S;
    if (s < HANGUL_N_S) {
        out[0] = HANGUL_L + s / (HANGUL_N_V * HANGUL_N_T);
        out[1] = HANGUL_V + s / HANGUL_N_T % HANGUL_N_V;
        out[2] = HANGUL_T + s % HANGUL_N_T;
        return s % HANGUL_N_T ? 3 : 2;
    }
    /* Only the first half of a pair decomposes further, so the tail is collected from the end. */
    uint32_t tail[UNICODE_DECOMPOSED_MAX];
    int n_tail = 0, n = 0;
    const struct unicode_decomposition *d;
    while ((d = find_decomposition(cp))) {
        if (d->b) tail[n_tail++] = d->b;
        cp = d->a;
    }
    out[n++] = cp;
    while (n_tail > 0) out[n++] = tail[--n_tail];
    return n;
}

uint32_t unicode_compose(uint32_t a, uint32_t b)
{
    if (a - HANGUL_L < HANGUL_N_L && b - HANGUL_V < HANGUL_N_V)
        return HANGUL_S + ((a - HANGUL_L) * HANGUL_N_V + (b - HANGUL_V)) * HANGUL_N_T;
    if (a - HANGUL_S < HANGUL_N_S && (a - HANGUL_S) % HANGUL_N_T == 0 && b - HANGUL_T - 1 < HANGUL_N_T - 1)
        return a + (b - HANGUL_T);
    int lo = 0, hi = unicode_pairs_count;
    while (lo < hi) {
        int mid = (lo + hi) / 2;
        const struct unicode_decomposition *d = &unicode_decompositions[unicode_pairs[mid]];
        if (d->a < a || (d->a == a && d->b < b))
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == unicode_pairs_count) return 0;
    const struct unicode_decomposition *d = &unicode_decompositions[unicode_pairs[lo]];
    return d->a == a && d->b == b ? d->cp : 0;
}
