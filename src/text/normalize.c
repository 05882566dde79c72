/* normalize.c - NFC.
 *
 * Owns the three steps decompose, reorder, compose, taken cluster by cluster: a cluster is one character that
 * starts one and the special characters behind it; all other text is copied. Must not know tokens. */
#include "text/normalize.h"

#include <stdlib.h>

#include "base/utf8.h"
#include "text/unicode.h"

/* One decomposed character of a cluster is a number, class << 56 | place << 24 | code point: it orders by
 * combining class, then by place, so that sorting numbers is the stable sort that reordering asks for. */
static uint64_t mark_make(uint32_t cp, size_t place)
{
    return (uint64_t)unicode_combining(cp) << 56 | (uint64_t)(uint32_t)place << 24 | cp;
}

static int mark_class(uint64_t m) { return (int)(m >> 56); }
static uint32_t mark_cp(uint64_t m) { return (uint32_t)(m & 0xffffff); }

static int mark_compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Length of the text at s up to its first special character; *start is where the last character before that
 * begins. */
static size_t plain_len(const char *s, size_t n, size_t *start)
{
    size_t i = 0;
    *start = 0;
    while (i < n) {
        uint32_t cp = (unsigned char)s[i];
        int len = cp < 0x80 ? 1 : utf8_decode(s + i, n - i, &cp);
        if (unicode_nfc_special(cp)) return i;
        *start = i;
        i += (size_t)len;
    }
    return n;
}

bool normalize_is_plain(const char *text, size_t n)
{
    size_t start;
    return plain_len(text, n, &start) == n;
}

/* Decomposes the cluster at s into marks: the first character, whatever it is, and the special ones behind
 * it. Returns its bytes. */
static size_t cluster_decompose(const char *s, size_t n, struct buf *marks)
{
    size_t i = 0, place = 0;
    while (i < n) {
        uint32_t cp, parts[UNICODE_DECOMPOSED_MAX];
        int len = utf8_decode(s + i, n - i, &cp);
        if (i > 0 && !unicode_nfc_special(cp)) break;
        int n_parts = unicode_decompose(cp, parts);
        for (int k = 0; k < n_parts; k++) {
            uint64_t m = mark_make(parts[k], place++);
            buf_add(marks, &m, sizeof m);
        }
        i += (size_t)len;
    }
    return i;
}

/* Sorts each run of characters of a class other than 0. */
static void cluster_reorder(uint64_t *m, size_t n)
{
    for (size_t i = 0; i < n;) {
        size_t end = i + 1;
        while (mark_class(m[i]) && end < n && mark_class(m[end])) end++;
        if (end - i > 1) qsort(m + i, end - i, sizeof *m, mark_compare);
        i = end;
    }
}

/* Composes in place; returns the number of characters left. A mark reaches the last starter unless one of its
 * own class or higher, or another starter, stands between. */
static size_t cluster_compose(uint64_t *m, size_t n)
{
    size_t kept = 0, starter = 0;
    bool has_starter = false;
    int last = 0;
    for (size_t i = 0; i < n; i++) {
        int class = mark_class(m[i]);
        uint32_t whole = 0;
        if (has_starter && (last < class || starter + 1 == kept))
            whole = unicode_compose(mark_cp(m[starter]), mark_cp(m[i]));
        if (whole) {
            m[starter] = whole;
            continue;
        }
        last = class;
        if (class == 0) {
            starter = kept;
            has_starter = true;
        }
        m[kept++] = m[i];
    }
    return kept;
}

static void cluster_write(const uint64_t *m, size_t n, struct buf *out)
{
    for (size_t i = 0; i < n; i++) {
        char bytes[4];
        buf_add(out, bytes, (size_t)utf8_encode(mark_cp(m[i]), bytes));
    }
}

bool normalize_nfc(const char *text, size_t n, struct buf *out, struct alula_error *e)
{
    struct buf marks;
    buf_init(&marks, 0);
    buf_clear(out);
    for (size_t i = 0; i < n;) {
        size_t start, plain = plain_len(text + i, n - i, &start);
        if (plain == n - i) start = plain;
        buf_add(out, text + i, start);
        i += start;
        if (i == n) break;
        buf_clear(&marks);
        i += cluster_decompose(text + i, n - i, &marks);
        uint64_t *m = (uint64_t *)(void *)marks.data;
        size_t count = marks.len / sizeof *m;
        cluster_reorder(m, count);
        cluster_write(m, cluster_compose(m, count), out);
    }
    bool ok = buf_check(&marks, "a run of combining marks", e) && buf_check(out, "the normalized text", e);
    buf_free(&marks);
    return ok;
}
