/* jinja_str.c - operations on strings that methods and filters share.
 *
 * Owns white space, searching, slicing and replacing, all by code points. Knows nothing of calls and
 * arguments. */
#include "text/jinja_internal.h"

#include "base/utf8.h"

#include <string.h>

/* Python's str.isspace: wider than ASCII, narrower than some (no U+200B, U+FEFF). */
bool jj_is_space(uint32_t cp)
{
    if (cp < 0x80) return (cp >= 9 && cp <= 13) || (cp >= 0x1C && cp <= 0x20);
    return cp == 0x85 || cp == 0xA0 || cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200A) || cp == 0x2028 ||
           cp == 0x2029 || cp == 0x202F || cp == 0x205F || cp == 0x3000;
}

size_t jj_space_before(const char *p, size_t n)
{
    size_t i = 0;
    uint32_t cp = 0;
    for (int len; i < n && (len = utf8_decode(p + i, n - i, &cp)) && jj_is_space(cp);) i += (size_t)len;
    return i;
}

/* Where the character that ends at `end` begins. */
static size_t char_start(const char *p, size_t end)
{
    size_t i = end - 1;
    while (i > 0 && ((unsigned char)p[i] & 0xC0) == 0x80) i--;
    return i;
}

size_t jj_space_after(const char *p, size_t n)
{
    size_t end = n;
    while (end > 0) {
        uint32_t cp = 0;
        size_t at = char_start(p, end);
        if (!utf8_decode(p + at, end - at, &cp) || !jj_is_space(cp)) break;
        end = at;
    }
    return n - end;
}

size_t jj_find(const char *p, size_t n, const char *what, size_t m)
{
    if (m == 0) return 0;
    const char *at = m <= n ? memmem(p, n, what, m) : NULL;
    return at ? (size_t)(at - p) : SIZE_MAX;
}

size_t jj_char_offset(const struct jj_str *s, size_t index)
{
    if (s->chars == s->n) return index;
    if (index >= s->chars) return s->n;
    size_t i = 0;
    for (; index > 0; index--) {
        i++;
        while (i < s->n && ((unsigned char)s->p[i] & 0xC0) == 0x80) i++;
    }
    return i;
}

bool jj_str_slice(struct jj_run *r, const struct jj_str *s, size_t first, size_t count, struct jj_value *ret)
{
    if (!jj_str_count(r, s)) return false;
    size_t from = jj_char_offset(s, first), to = jj_char_offset(s, first + count);
    if (s->chars != s->n && !jj_step(r, to / 32)) return false;
    return jj_str_view(r, s->p + from, to - from, ret);
}

bool jj_str_replace(struct jj_run *r, const struct jj_str *s, const struct jj_str *a, const struct jj_str *b,
                    int64_t count, struct jj_value *ret)
{
    size_t mark = r->out->len, i = 0;
    for (; count != 0; count--) {
        if (a->n == 0) {
            /* An empty text is found before every character and at the end. */
            size_t len = i < s->n ? 1 : 0;
            while (i + len < s->n && ((unsigned char)s->p[i + len] & 0xC0) == 0x80) len++;
            if (!jj_step(r, 1) || !jj_put(r, b->p, b->n) || !jj_put(r, s->p + i, len)) return false;
            i += len;
            if (len == 0) break;
            continue;
        }
        size_t at = jj_find(s->p + i, s->n - i, a->p, a->n);
        if (at == SIZE_MAX) break;
        if (!jj_step(r, 1) || !jj_put(r, s->p + i, at) || !jj_put(r, b->p, b->n)) return false;
        i += at + a->n;
    }
    return jj_put(r, s->p + i, s->n - i) && jj_take(r, mark, ret);
}

static bool in_set(const struct jj_str *set, const char *c, size_t len)
{
    for (size_t i = 0; i + len <= set->n; i++)
        if (memcmp(set->p + i, c, len) == 0) return true;
    return false;
}

static bool strip_set(struct jj_run *r, const struct jj_str *set, const char **p, size_t *n, bool left,
                      bool right)
{
    while (left && *n > 0) {
        size_t len = 1;
        while (len < *n && ((unsigned char)(*p)[len] & 0xC0) == 0x80) len++;
        if (!jj_step(r, 1 + set->n / 16)) return false;
        if (!in_set(set, *p, len)) break;
        *p += len;
        *n -= len;
    }
    while (right && *n > 0) {
        size_t at = char_start(*p, *n);
        if (!jj_step(r, 1 + set->n / 16)) return false;
        if (!in_set(set, *p + at, *n - at)) break;
        *n = at;
    }
    return true;
}

bool jj_str_strip(struct jj_run *r, struct jj_value s, struct jj_value chars, bool left, bool right,
                  struct jj_value *ret)
{
    const char *p = s.s->p;
    size_t n = s.s->n;
    const struct jj_str *set;
    if (chars.kind == JJ_MISSING || chars.kind == JJ_NONE) {
        size_t cut = left ? jj_space_before(p, n) : 0;
        p += cut;
        n -= cut;
        if (right) n -= jj_space_after(p, n);
        if (!jj_step(r, (s.s->n - n) / 8)) return false;
    } else if (!jj_arg_str(r, chars, "the characters to strip", &set) ||
               !strip_set(r, set, &p, &n, left, right)) {
        return false;
    }
    if (!jj_str_view(r, p, n, ret)) return false;
    ret->flag = s.flag;
    return true;
}

bool jj_str_reverse(struct jj_run *r, struct jj_value s, struct jj_value *ret)
{
    size_t mark = r->out->len;
    for (size_t end = s.s->n; end > 0;) {
        size_t at = char_start(s.s->p, end);
        if (!jj_put(r, s.s->p + at, end - at)) return false;
        end = at;
    }
    if (!jj_step(r, s.s->n / 16) || !jj_take(r, mark, ret)) return false;
    ret->flag = s.flag;
    return true;
}

/* Python's splitlines: CR LF counts once, and there are more line ends than LF. */
static size_t break_length(const char *p, size_t n)
{
    unsigned char c = (unsigned char)*p;
    if (c == '\r') return n > 1 && p[1] == '\n' ? 2 : 1;
    if ((c >= 0x0A && c <= 0x0C) || (c >= 0x1C && c <= 0x1E)) return 1;
    if (c == 0xC2 && n > 1 && (unsigned char)p[1] == 0x85) return 2;
    if (n > 2 && c == 0xE2 && (unsigned char)p[1] == 0x80 && ((unsigned char)p[2] | 1) == 0xA9) return 3;
    return 0;
}

void jj_line_end(const char *p, size_t n, size_t *text_n, size_t *line_n)
{
    size_t i = 0, len = 0;
    while (i < n && !(len = break_length(p + i, n - i))) i++;
    *text_n = i;
    *line_n = i + len;
}
