/* pretoken.c - the pre-tokenizer's pattern as a scanner.
 *
 * Owns the alternatives of the pattern, tried in its order; each function below returns the bytes that one of
 * them matches at the start of the text, 0 for no match. Must not know the vocabulary. */
#include "text/pretoken.h"

#include "base/utf8.h"
#include "text/unicode.h"

struct glyph {
    uint32_t cp;
    size_t len; /* bytes; 0 at the end of the text */
    enum unicode_class class;
};

static struct glyph glyph_at(const char *s, size_t n, size_t i)
{
    struct glyph g = {0, 0, UNICODE_OTHER};
    if (i >= n) return g;
    g.cp = (unsigned char)s[i];
    g.len = g.cp < 0x80 ? 1 : (size_t)utf8_decode(s + i, n - i, &g.cp);
    g.class = unicode_class(g.cp);
    return g;
}

static bool is_newline(uint32_t cp) { return cp == '\r' || cp == '\n'; }

/* Bytes from i on whose characters have one of the classes. */
static size_t run_len(const char *s, size_t n, size_t i, unsigned classes)
{
    size_t from = i;
    for (struct glyph g; (g = glyph_at(s, n, i)).len && g.class & classes;) i += g.len;
    return i - from;
}

/* 's 't 're 've 'm 'll 'd, any case. Long s (U+017F) folds to s; nothing else outside ASCII folds to one of
 * these letters. */
static size_t match_contraction(const char *s, size_t n)
{
    if (s[0] != '\'') return 0;
    struct glyph g = glyph_at(s, n, 1);
    if (g.cp == 0x17f) return 1 + g.len;
    if (n < 2) return 0;
    char a = (char)(s[1] | 32), b = n > 2 ? (char)(s[2] | 32) : 0;
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
    return (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l') ? 3 : 0;
}

/* One character that is no letter, number or newline, if letters or marks follow; then those. */
static size_t match_word(const char *s, size_t n, struct glyph first)
{
    if (first.class & UNICODE_NUMBER || is_newline(first.cp)) return 0;
    size_t lead = first.class & UNICODE_LETTER ? 0 : first.len;
    size_t run = run_len(s, n, lead, UNICODE_LETTER | UNICODE_MARK);
    if (run) return lead + run;
    return first.class & UNICODE_MARK ? first.len : 0;
}

/* An optional space, then characters of no class, then newlines. */
static size_t match_symbols(const char *s, size_t n)
{
    size_t i = s[0] == ' ' ? 1 : 0, from = i;
    for (struct glyph g; (g = glyph_at(s, n, i)).len && g.class == UNICODE_OTHER;) i += g.len;
    if (i == from) return 0;
    while (i < n && is_newline((unsigned char)s[i])) i++;
    return i;
}

/* White space: up to its last newline; without one all of it at the end of the text, else all but the last
 * character. */
static size_t match_space(const char *s, size_t n)
{
    size_t i = 0, last = 0, newline = 0;
    for (struct glyph g; (g = glyph_at(s, n, i)).len && g.class == UNICODE_SPACE;) {
        last = i;
        i += g.len;
        if (is_newline(g.cp)) newline = i;
    }
    if (newline) return newline;
    return i == n || last == 0 ? i : last;
}

size_t pretoken_len(const char *text, size_t n)
{
    size_t len = match_contraction(text, n);
    if (len) return len;
    struct glyph first = glyph_at(text, n, 0);
    if (first.class == UNICODE_NUMBER) return first.len;
    if ((len = match_word(text, n, first))) return len;
    if ((len = match_symbols(text, n))) return len;
    return match_space(text, n);
}
