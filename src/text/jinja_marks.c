/* jinja_marks.c - which of the text comes from outside and is spelled like markup.
 *
 * Owns the places: addresses in values' memory, which is never reused during a rendering, and offsets in the output.
 * Whatever copies text carries them along; what a template makes of a text character by character marks all that
 * looks alike. Must not know what markup is. */
#include "text/jinja_internal.h"

#include <stdlib.h>
#include <string.h>

static const char **slot(const struct jj_marks *m, const char *p)
{
    uint32_t i = (uint32_t)(((uint64_t)(uintptr_t)p * 0x9E3779B97F4A7C15u) >> 32);
    for (i &= m->n_slots - 1; m->set[i] && m->set[i] != p; i = (i + 1) & (m->n_slots - 1)) {
    }
    return &m->set[i];
}

static bool grow_set(struct jj_run *r)
{
    struct jj_marks *m = &r->marks, more = *m;
    more.n_slots = m->n_slots ? 2 * m->n_slots : 64;
    more.set = jj_array(r, more.n_slots, sizeof *more.set);
    if (!more.set) return false;
    for (uint32_t i = 0; i < m->n_slots; i++)
        if (m->set[i]) *slot(&more, m->set[i]) = m->set[i];
    *m = more;
    return true;
}

static bool mark(struct jj_run *r, const char *p)
{
    struct jj_marks *m = &r->marks;
    if (2 * m->n >= m->n_slots && !grow_set(r)) return false;
    const char **at = slot(m, p);
    m->n += !*at;
    *at = p;
    m->first[(unsigned char)*p] = true;
    return true;
}

static bool mark_out(struct jj_run *r, size_t offset)
{
    struct jj_marks *m = &r->marks;
    if (m->n_out == m->cap_out) {
        size_t cap = m->cap_out ? 2 * m->cap_out : 64, *more = jj_array(r, cap, sizeof *more);
        if (!more) return false;
        if (m->n_out) memcpy(more, m->out, m->n_out * sizeof *more);
        m->out = more;
        m->cap_out = cap;
    }
    m->out[m->n_out++] = offset;
    return true;
}

static int compare_offsets(const void *a, const void *b)
{
    const size_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static bool is_marked(const struct jj_run *r, const char *p)
{
    const struct jj_marks *m = &r->marks;
    uintptr_t out = (uintptr_t)r->out->data, at = (uintptr_t)p;
    if (!m->first[(unsigned char)*p]) return false;
    if (!out || at < out || at >= out + r->out->len) return *slot(m, p) != NULL;
    size_t offset = at - out;
    return m->n_out && bsearch(&offset, m->out, m->n_out, sizeof offset, compare_offsets);
}

bool jj_marks_find(struct jj_run *r, const char *p, size_t n)
{
    const struct jj_marks *m = &r->marks;
    for (size_t i = 0; m->is_markup && i < n; i++)
        if (m->is_markup(m->arg, p + i, n - i) && !mark(r, p + i)) return false;
    return true;
}

bool jj_marks_carry(struct jj_run *r, const char *to, const char *from, size_t n)
{
    for (size_t i = 0; r->marks.n && i < n; i++)
        if (is_marked(r, from + i) && !mark(r, to + i)) return false;
    return true;
}

void jj_marks_cut(struct jj_run *r, size_t len)
{
    struct jj_marks *m = &r->marks;
    while (m->n_out && m->out[m->n_out - 1] >= len) m->n_out--;
}

bool jj_marks_put(struct jj_run *r, const char *p, size_t n)
{
    size_t at = r->out->len - n;
    jj_marks_cut(r, at);
    for (size_t i = 0; r->marks.n && i < n; i++)
        if (is_marked(r, p + i) && !mark_out(r, at + i)) return false;
    return true;
}

bool jj_marks_spread(struct jj_run *r, const struct jj_str *from, size_t begin)
{
    const struct jj_marks *m = &r->marks;
    bool any = false;
    for (size_t i = 0; m->n && i < from->n && !any; i++) any = is_marked(r, from->p + i);
    if (any) jj_marks_cut(r, begin);
    for (size_t i = begin; any && i < r->out->len; i++)
        if (m->first[(unsigned char)r->out->data[i]] && !mark_out(r, i)) return false;
    return true;
}
