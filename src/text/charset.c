/* charset.c - ranges of code points and how they fall apart in UTF-8. Must not know JSON or patterns. */
#include "text/charset.h"

#include <stdlib.h>

#include "base/utf8.h"

enum { LAST = 0x10ffff };

void charset_add(struct charset *s, uint32_t lo, uint32_t hi)
{
    if (lo > hi || s->failed) return;
    if (s->n == CHARSET_RANGES_MAX)
        s->failed = true;
    else
        s->ranges[s->n++] = (struct char_range){lo, hi};
}

static int compare_ranges(const void *a, const void *b)
{
    const struct char_range *x = a, *y = b;
    return (x->lo > y->lo) - (x->lo < y->lo);
}

/* Sorted, without overlaps. */
static void join(struct charset *s)
{
    int n = 0;
    qsort(s->ranges, (size_t)s->n, sizeof *s->ranges, compare_ranges);
    for (int i = 0; i < s->n; i++) {
        struct char_range r = s->ranges[i];
        if (n && r.lo <= s->ranges[n - 1].hi + 1) {
            if (r.hi > s->ranges[n - 1].hi) s->ranges[n - 1].hi = r.hi;
        } else {
            s->ranges[n++] = r;
        }
    }
    s->n = n;
}

static void invert(struct charset *s, uint32_t last)
{
    struct charset out = {.failed = s->failed};
    uint32_t from = 0;
    join(s);
    for (int i = 0; i < s->n && from <= last; i++) {
        if (s->ranges[i].lo > from)
            charset_add(&out, from, s->ranges[i].lo - 1 < last ? s->ranges[i].lo - 1 : last);
        from = s->ranges[i].hi + 1;
    }
    if (from <= last) charset_add(&out, from, last);
    *s = out;
}

void charset_remove(struct charset *s, uint32_t lo, uint32_t hi)
{
    invert(s, LAST);
    charset_add(s, lo, hi);
    invert(s, LAST);
}

void charset_tidy(struct charset *s) { charset_remove(s, 0xd800, 0xdfff); }

void charset_invert(struct charset *s, uint32_t last)
{
    invert(s, last);
    charset_tidy(s);
}

/* The characters lo..hi, whose forms differ in each byte by a range of its own. */
static int32_t read_block(struct grammar *g, uint32_t lo, uint32_t hi, int32_t next)
{
    char a[4], b[4];
    int n = utf8_encode(lo, a);
    utf8_encode(hi, b);
    while (n-- > 0) next = grammar_byte(g, (uint8_t)a[n], (uint8_t)b[n], next);
    return next;
}

static int32_t read_range(struct grammar *g, uint32_t lo, uint32_t hi, int32_t next)
{
    static const uint32_t last_of_length[] = {0x7f, 0x7ff, 0xffff};
    for (int i = 0; i < 3; i++) {
        uint32_t last = last_of_length[i];
        if (lo <= last && hi > last)
            return grammar_either(g, read_range(g, lo, last, next), read_range(g, last + 1, hi, next));
    }
    for (int i = 1; i < 4 && hi > 0x7f; i++) {
        uint32_t low = (1u << 6 * i) - 1; /* bits of the last i bytes */
        if ((lo & ~low) == (hi & ~low)) continue;
        if (lo & low)
            return grammar_either(g, read_range(g, lo, lo | low, next),
                                  read_range(g, (lo | low) + 1, hi, next));
        if ((hi & low) != low)
            return grammar_either(g, read_range(g, lo, (hi & ~low) - 1, next),
                                  read_range(g, hi & ~low, hi, next));
    }
    return read_block(g, lo, hi, next);
}

int32_t charset_read(struct grammar *g, const struct charset *s, int32_t next)
{
    int32_t all = GRAMMAR_S_DEAD;
    for (int i = 0; i < s->n; i++)
        all = grammar_either(g, read_range(g, s->ranges[i].lo, s->ranges[i].hi, next), all);
    return all;
}
