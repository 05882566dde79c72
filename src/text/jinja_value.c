/* jinja_value.c - values of a rendering: memory, strings, lists, dicts.
 *
 * Owns how values are made. Knows nothing of the tree or of what operators mean. Values are immutable once
 * made; only a namespace's dict is written later. */
#include "text/jinja_internal.h"

#include <string.h>

/* ---- memory -------------------------------------------------------------------------------------------- */

enum { CHUNK = 64 << 10, LARGE = 8 << 10 };

void *jj_mem_alloc(struct jj_mem *m, size_t n)
{
    if (n > SIZE_MAX - 15) return NULL;
    n = n ? (n + 15) & ~(size_t)15 : 16;
    if (n >= LARGE) return arena_alloc(&m->arena, n);
    if ((size_t)(m->end - m->next) < n) {
        char *chunk = arena_alloc(&m->arena, CHUNK);
        if (!chunk) return NULL;
        m->next = chunk;
        m->end = chunk + CHUNK;
    }
    void *p = m->next;
    m->next += n;
    return p;
}

bool jj_mem_error(const struct jj_mem *m, size_t n, const char *what, struct alula_error *e)
{
    if (n > m->arena.ceiling || m->arena.used + (n > CHUNK ? n : CHUNK) > m->arena.ceiling)
        return err_set(e, ALULA_LIMIT, "%s needs more than %zu MiB of memory", what, m->arena.ceiling >> 20);
    return err_set(e, ALULA_NOMEM, "out of memory for %s", what);
}

void *jj_alloc(struct jj_run *r, size_t n)
{
    void *p = jj_mem_alloc(&r->mem, n);
    if (p) return p;
    struct alula_error e;
    jj_mem_error(&r->mem, n, "the rendering", &e);
    jj_fail(r, e.code, "%s", e.message);
    return NULL;
}

void *jj_array(struct jj_run *r, size_t count, size_t size)
{
    size_t n;
    return jj_alloc(r, mem_mul(count, size, &n) ? n : SIZE_MAX);
}

/* Room for n bytes behind used bytes that end at `end`, without moving them; else NULL. */
static char *grow_in_place(struct jj_grow *g, const char *end, size_t n)
{
    if (!g || g->end != end || (size_t)(g->cap - g->end) < n) return NULL;
    g->end += n;
    return g->end - n;
}

/* A copy of used bytes with n behind, and room for as much again if this block grew before. */
static char *grow_copy(struct jj_run *r, const void *p, size_t used, size_t n, struct jj_grow **g)
{
    size_t cap = *g ? 2 * (used + n) : used + n;
    struct jj_grow *grow = jj_alloc(r, sizeof *grow);
    char *copy = jj_alloc(r, cap);
    if (!grow || !copy) return NULL;
    if (used) memcpy(copy, p, used);
    *grow = (struct jj_grow){.end = copy + used + n, .cap = copy + cap};
    *g = grow;
    return copy;
}

/* ---- strings ------------------------------------------------------------------------------------------- */

size_t jj_count_chars(const char *p, size_t n)
{
    size_t chars = 0;
    for (size_t i = 0; i < n; i++) chars += ((unsigned char)p[i] & 0xC0) != 0x80;
    return chars;
}

bool jj_str_count(struct jj_run *r, const struct jj_str *s)
{
    if (s->chars != JJ_UNCOUNTED) return true;
    /* Only strings of this rendering are uncounted, and they belong to its thread. */
    ((struct jj_str *)s)->chars = jj_count_chars(s->p, s->n);
    return jj_step(r, s->n / 64);
}

bool jj_str_is(const struct jj_str *s, const char *literal)
{
    return s->n == strlen(literal) && memcmp(s->p, literal, s->n) == 0;
}

bool jj_str_view(struct jj_run *r, const char *p, size_t n, struct jj_value *ret)
{
    struct jj_str *s = jj_alloc(r, sizeof *s);
    if (!s) return false;
    *s = (struct jj_str){.p = n ? p : "", .n = n, .chars = JJ_UNCOUNTED};
    *ret = jj_of_str(s);
    return true;
}

bool jj_str_copy(struct jj_run *r, const char *p, size_t n, struct jj_value *ret)
{
    char *copy = n ? jj_alloc(r, n) : NULL;
    if (n && !copy) return false;
    if (n) memcpy(copy, p, n);
    return jj_marks_carry(r, copy, p, n) && jj_str_view(r, copy, n, ret);
}

bool jj_str_append(struct jj_run *r, const struct jj_str *a, const char *p, size_t n, struct jj_value *ret)
{
    *ret = jj_of_str(a);
    if (n == 0) return true;
    struct jj_str *s = jj_alloc(r, sizeof *s);
    if (!s) return false;
    *s = (struct jj_str){.p = a->p, .n = a->n + n, .chars = JJ_UNCOUNTED, .grow = a->grow};
    if (s->n > JINJA_OUTPUT_MAX)
        return jj_fail(r, ALULA_LIMIT, "a string of more than %zu bytes", JINJA_OUTPUT_MAX);
    if (!jj_step(r, n / 64)) return false;
    char *to = grow_in_place(a->grow, a->p + a->n, n);
    if (!to) {
        char *copy = grow_copy(r, a->p, a->n, n, &s->grow);
        if (!copy || !jj_step(r, a->n / 64) || !jj_marks_carry(r, copy, a->p, a->n)) return false;
        s->p = copy;
        to = copy + a->n;
    }
    memcpy(to, p, n);
    *ret = jj_of_str(s);
    return jj_marks_carry(r, to, p, n);
}

struct jj_value jj_plain_undef(const char *message)
{
    return (struct jj_value){.kind = JJ_UNDEF, .flag = JJ_PLAIN, .text = message};
}

/* ---- lists --------------------------------------------------------------------------------------------- */

static bool too_many(struct jj_run *r)
{
    return jj_fail(r, ALULA_LIMIT, "a list or dict of more than %d elements", JJ_ITEMS_MAX);
}

bool jj_items_add(struct jj_run *r, struct jj_items *a, struct jj_value v)
{
    if (a->n == a->cap) {
        if (a->n >= JJ_ITEMS_MAX) return too_many(r);
        size_t cap = a->cap ? 2 * a->cap : 8;
        struct jj_value *more = jj_array(r, cap, sizeof *more);
        if (!more) return false;
        if (a->n) memcpy(more, a->v, a->n * sizeof *more);
        a->v = more;
        a->cap = cap;
    }
    a->v[a->n++] = v;
    return jj_step(r, 1);
}

bool jj_items_list(struct jj_run *r, const struct jj_items *a, enum jj_kind kind, struct jj_value *ret)
{
    struct jj_list *l = jj_alloc(r, sizeof *l);
    if (!l) return false;
    *l = (struct jj_list){.v = a->v, .n = a->n};
    *ret = (struct jj_value){.kind = (uint8_t)kind, .l = l};
    return true;
}

bool jj_pair_tuple(struct jj_run *r, struct jj_value a, struct jj_value b, struct jj_value *ret)
{
    struct jj_items items = {.v = jj_array(r, 2, sizeof *items.v), .n = 2};
    if (!items.v) return false;
    items.v[0] = a;
    items.v[1] = b;
    return jj_items_list(r, &items, JJ_TUPLE, ret);
}

bool jj_list_append(struct jj_run *r, const struct jj_list *a, const struct jj_list *b, struct jj_value *ret)
{
    struct jj_list *l = jj_alloc(r, sizeof *l);
    size_t used = a->n * sizeof *a->v, n = b->n * sizeof *b->v;
    if (!l || !jj_step(r, b->n)) return false;
    if (a->n + b->n > JJ_ITEMS_MAX) return too_many(r);
    *l = (struct jj_list){.v = a->v, .n = a->n + b->n, .grow = a->grow};
    char *to = grow_in_place(a->grow, (const char *)a->v + used, n);
    if (!to) {
        char *copy = grow_copy(r, a->v, used, n, &l->grow);
        if (!copy || !jj_step(r, a->n)) return false;
        l->v = (const struct jj_value *)(void *)copy;
        to = copy + used;
    }
    if (n) memcpy(to, b->v, n);
    *ret = jj_of_list(l);
    return true;
}

/* ---- dicts --------------------------------------------------------------------------------------------- */

enum { PLAIN_PAIRS = 8 }; /* dicts up to this size are searched from the start */

uint64_t jj_hash_bytes(const char *p, size_t n)
{
    uint64_t h = 1469598103934665603u;
    for (size_t i = 0; i < n; i++) h = (h ^ (unsigned char)p[i]) * 1099511628211u;
    return h ^ h >> 29;
}

bool jj_is_key(struct jj_value v) { return v.kind == JJ_STR || v.kind == JJ_NONE || jj_is_number(v); }

bool jj_key_step(struct jj_run *r, struct jj_value key)
{
    return key.kind != JJ_STR || jj_step(r, key.s->n / 16);
}

static uint64_t hash_key(struct jj_value v)
{
    if (v.kind == JJ_STR) return jj_hash_bytes(v.s->p, v.s->n);
    return v.kind == JJ_NONE ? 7 : jj_number_hash(v);
}

struct jj_dict *jj_dict_new(struct jj_run *r) { return jj_alloc(r, sizeof(struct jj_dict)); }

/* The place of key among the pairs, or -1. */
static int64_t find_pair(const struct jj_dict *d, struct jj_value key)
{
    if (!d->index) {
        for (uint32_t i = 0; i < d->n; i++)
            if (jj_key_equal(d->pairs[i].key, key)) return i;
        return -1;
    }
    uint32_t at = (uint32_t)hash_key(key) & (d->n_index - 1);
    for (; d->index[at]; at = (at + 1) & (d->n_index - 1))
        if (jj_key_equal(d->pairs[d->index[at] - 1].key, key)) return d->index[at] - 1;
    return -1;
}

static void index_pair(struct jj_dict *d, uint32_t i)
{
    uint32_t at = (uint32_t)hash_key(d->pairs[i].key) & (d->n_index - 1);
    while (d->index[at]) at = (at + 1) & (d->n_index - 1);
    d->index[at] = i + 1;
}

static void reindex(struct jj_dict *d)
{
    if (!d->index) return;
    memset(d->index, 0, d->n_index * sizeof *d->index);
    for (uint32_t i = 0; i < d->n; i++) index_pair(d, i);
}

static bool dict_grow(struct jj_run *r, struct jj_dict *d)
{
    if (d->n >= JJ_ITEMS_MAX) return too_many(r);
    uint32_t cap = d->cap ? 2 * d->cap : 4;
    struct jj_pair *pairs = jj_array(r, cap, sizeof *pairs);
    if (!pairs) return false;
    if (d->n) memcpy(pairs, d->pairs, d->n * sizeof *pairs);
    d->pairs = pairs;
    d->cap = cap;
    if (cap <= PLAIN_PAIRS) return true;
    uint32_t *index = jj_array(r, 2 * cap, sizeof *index);
    if (!index) return false;
    d->index = index;
    d->n_index = 2 * cap;
    reindex(d);
    return true;
}

bool jj_dict_set(struct jj_run *r, struct jj_dict *d, struct jj_value key, struct jj_value v)
{
    if (!jj_is_key(key))
        return jj_fail(r, ALULA_UNSUPPORTED, "a key of type '%s' in a dict", jj_kind_name(key));
    if (!jj_key_step(r, key)) return false;
    int64_t at = find_pair(d, key);
    if (at >= 0) {
        d->pairs[at].value = v;
        return true;
    }
    if (d->n == d->cap && !dict_grow(r, d)) return false;
    d->pairs[d->n] = (struct jj_pair){key, v};
    if (d->index) index_pair(d, d->n);
    d->n++;
    return jj_step(r, 1);
}

bool jj_dict_set_first(struct jj_run *r, struct jj_dict *d, struct jj_value key, struct jj_value v)
{
    if (d->n == d->cap && !dict_grow(r, d)) return false;
    memmove(d->pairs + 1, d->pairs, d->n * sizeof *d->pairs);
    d->pairs[0] = (struct jj_pair){key, v};
    d->n++;
    reindex(d);
    return true;
}

bool jj_dict_find(const struct jj_dict *d, struct jj_value key, struct jj_value *ret)
{
    int64_t at = jj_is_key(key) ? find_pair(d, key) : -1;
    if (at >= 0) *ret = d->pairs[at].value;
    return at >= 0;
}

bool jj_dict_find_str(const struct jj_dict *d, const char *key, struct jj_value *ret)
{
    struct jj_str s = {.p = key, .n = strlen(key)};
    return jj_dict_find(d, jj_of_str(&s), ret);
}

void jj_dict_remove(struct jj_dict *d, const char *key)
{
    struct jj_str s = {.p = key, .n = strlen(key)};
    int64_t at = find_pair(d, jj_of_str(&s));
    if (at < 0) return;
    d->n--;
    memmove(d->pairs + at, d->pairs + at + 1, (d->n - (size_t)at) * sizeof *d->pairs);
    reindex(d);
}

void jj_dict_remove_none(struct jj_dict *d)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < d->n; i++)
        if (d->pairs[i].value.kind != JJ_NONE) d->pairs[n++] = d->pairs[i];
    d->n = n;
    reindex(d);
}
