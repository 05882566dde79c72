/* jinja_iter.c - walking over values: lists, texts, dicts, ranges, and the lazy one-shot iterators of
 * filters.
 *
 * Owns what can be walked and in which order. map, select, reject, items, unique and reverse give
 * iterators that do their work, and find their errors, only when somebody asks for the next element; once
 * read they are empty. */
#include "text/jinja_internal.h"

static bool fail_not_iterable(struct jj_run *r, struct jj_value v)
{
    return jj_fail(r, ALULA_FORMAT, "a value of type '%s' cannot be iterated over", jj_kind_name(v));
}

bool jj_length(struct jj_run *r, struct jj_value v, size_t *ret, bool *ok)
{
    *ok = true;
    switch (v.kind) {
    case JJ_UNDEF: *ret = 0; return v.flag != JJ_UNSAFE || jj_fail_undef(r, v);
    case JJ_STR:
        if (!jj_str_count(r, v.s)) return false;
        *ret = v.s->chars;
        return true;
    case JJ_LIST:
    case JJ_TUPLE: *ret = v.l->n; return true;
    case JJ_DICT:
    case JJ_VIEW: *ret = v.d->n; return true;
    case JJ_RANGE: *ret = (size_t)v.r->n; return true;
    default: *ok = false; return true;
    }
}

bool jj_iter_open(struct jj_run *r, struct jj_value v, struct jj_iter *ret)
{
    *ret = (struct jj_iter){.src = v};
    switch (v.kind) {
    case JJ_UNDEF: ret->kind = JJ_I_EMPTY; return v.flag != JJ_UNSAFE || jj_fail_undef(r, v);
    case JJ_STR: ret->kind = JJ_I_CHARS; return true;
    case JJ_LIST:
    case JJ_TUPLE: ret->kind = JJ_I_VALUES; return true;
    case JJ_DICT:
        ret->kind = JJ_I_DICT;
        ret->view = JJ_KEYS;
        return true;
    case JJ_VIEW:
        ret->kind = JJ_I_DICT;
        ret->view = (enum jj_view)v.flag;
        return true;
    case JJ_RANGE: ret->kind = JJ_I_RANGE; return true;
    case JJ_ITER: ret->kind = JJ_I_SHARED; return true;
    default: return fail_not_iterable(r, v);
    }
}

bool jj_iter_open_back(struct jj_run *r, struct jj_value v, struct jj_iter *ret, bool *ok)
{
    *ok = true;
    if (v.kind == JJ_STR && !jj_str_reverse(r, v, &v)) return false;
    if (v.kind == JJ_RANGE) {
        struct jj_range *back = jj_alloc(r, sizeof *back);
        if (!back) return false;
        *back = (struct jj_range){v.r->start + (v.r->n - 1) * v.r->step, -v.r->step, v.r->n};
        v.r = back;
    }
    *ok = v.kind != JJ_ITER && jj_iter_open(r, v, ret);
    if (!*ok) return v.kind == JJ_ITER;
    if (ret->kind == JJ_I_VALUES) ret->kind = JJ_I_BACK;
    if (ret->kind == JJ_I_DICT) ret->kind = JJ_I_DICT_BACK;
    return true;
}

static bool next_char(struct jj_run *r, struct jj_iter *it, struct jj_value *ret)
{
    const struct jj_str *s = it->src.s;
    size_t from = it->i++;
    while (it->i < s->n && ((unsigned char)s->p[it->i] & 0xC0) == 0x80) it->i++;
    return jj_str_view(r, s->p + from, it->i - from, ret);
}

static bool dict_element(struct jj_run *r, const struct jj_pair *pair, enum jj_view view,
                         struct jj_value *ret)
{
    if (view == JJ_ITEMS) return jj_pair_tuple(r, pair->key, pair->value, ret);
    *ret = view == JJ_KEYS ? pair->key : pair->value;
    return true;
}

/* ---- lazy filters -------------------------------------------------------------------------------------- */

/* What the filter `items` walks is checked when the first pair is asked for. */
static bool start_items(struct jj_run *r, struct jj_iter *it)
{
    if (it->src.kind == JJ_UNDEF) {
        it->kind = JJ_I_EMPTY;
        return true;
    }
    if (it->src.kind != JJ_DICT)
        return jj_fail(r, ALULA_FORMAT, "items: only a mapping has pairs, not '%s'", jj_kind_name(it->src));
    it->kind = JJ_I_DICT;
    it->view = JJ_ITEMS;
    return true;
}

/* map and select read their source only if it is true, as an empty one may be anything. */
static bool start_source(struct jj_run *r, struct jj_iter *it)
{
    if (it->src.kind == JJ_UNDEF && it->src.flag == JJ_UNSAFE) return jj_fail_undef(r, it->src);
    if (it->kind != JJ_I_UNIQUE && !jj_truth(it->src)) {
        it->kind = JJ_I_EMPTY;
        return true;
    }
    it->in = jj_alloc(r, sizeof *it->in);
    if (!it->in || !jj_iter_open(r, it->src, it->in)) return false;
    if (it->kind == JJ_I_MAP) return jj_map_prepare(r, it);
    if (it->kind == JJ_I_SELECT) return jj_select_prepare(r, it);
    it->seen = jj_dict_new(r);
    return it->seen != NULL;
}

static bool map_one(struct jj_run *r, struct jj_iter *it, struct jj_value v, struct jj_value *ret)
{
    if (it->by_attr) return jj_get_path(r, v, it->attr, it->fallback, ret);
    return jj_apply(r, it->fn, v, it->args, ret);
}

static bool select_one(struct jj_run *r, struct jj_iter *it, struct jj_value v, bool *keep)
{
    struct jj_value seen = v;
    if (it->by_attr && !jj_get_path(r, v, it->attr, it->fallback, &seen)) return false;
    if (it->fn && !jj_apply(r, it->fn, seen, it->args, &seen)) return false;
    *keep = jj_truth(seen) != it->reject;
    return true;
}

static bool unique_one(struct jj_run *r, struct jj_iter *it, struct jj_value v, bool *keep)
{
    struct jj_value key = v, old;
    if (it->attr.kind != JJ_MISSING && !jj_get_path(r, v, it->attr, it->fallback, &key)) return false;
    if (it->any_case && key.kind == JJ_STR && !jj_str_case(r, key, JJ_LOWER, &key)) return false;
    if (!jj_is_key(key))
        return jj_fail(r, ALULA_UNSUPPORTED, "unique: elements of type '%s'", jj_kind_name(key));
    if (!jj_key_step(r, key)) return false;
    *keep = !jj_dict_find(it->seen, key, &old);
    return !*keep || jj_dict_set(r, it->seen, key, jj_none());
}

static bool next_lazy(struct jj_run *r, struct jj_iter *it, struct jj_value *ret, bool *got)
{
    for (;;) {
        struct jj_value v;
        bool keep = true;
        if (!jj_iter_next(r, it->in, &v, got)) return false;
        if (!*got) return true;
        if (it->kind == JJ_I_MAP) return map_one(r, it, v, ret);
        if (!(it->kind == JJ_I_SELECT ? select_one(r, it, v, &keep) : unique_one(r, it, v, &keep)))
            return false;
        *ret = v;
        if (keep) return true;
    }
}

static bool next_of_kind(struct jj_run *r, struct jj_iter *it, struct jj_value *ret, bool *got)
{
    struct jj_value src = it->src;
    *got = true;
    switch (it->kind) {
    case JJ_I_VALUES:
        if ((*got = it->i < src.l->n)) *ret = src.l->v[it->i++];
        return true;
    case JJ_I_BACK:
        if ((*got = it->i < src.l->n)) *ret = src.l->v[src.l->n - ++it->i];
        return true;
    case JJ_I_CHARS: *got = it->i < src.s->n; return !*got || next_char(r, it, ret);
    case JJ_I_DICT:
        *got = it->i < src.d->n;
        return !*got || dict_element(r, &src.d->pairs[it->i++], it->view, ret);
    case JJ_I_DICT_BACK:
        *got = it->i < src.d->n;
        return !*got || dict_element(r, &src.d->pairs[src.d->n - ++it->i], it->view, ret);
    case JJ_I_RANGE:
        *got = it->i < (size_t)src.r->n;
        if (*got) *ret = jj_int(src.r->start + (int64_t)it->i++ * src.r->step);
        return true;
    case JJ_I_SHARED: return jj_iter_next(r, src.it, ret, got);
    case JJ_I_MAP:
    case JJ_I_SELECT:
    case JJ_I_UNIQUE: return next_lazy(r, it, ret, got);
    default: *got = false; return true;
    }
}

bool jj_iter_next(struct jj_run *r, struct jj_iter *it, struct jj_value *ret, bool *got)
{
    *got = false;
    if (it->done) return true;
    if (it->running) return jj_fail(r, ALULA_FORMAT, "an iterator that is read by itself");
    if (!jj_step(r, 1) || !jj_enter(r)) return false;
    it->running = true;
    bool ok = true;
    if (!it->started) {
        it->started = true;
        if (it->kind == JJ_I_ITEMS)
            ok = start_items(r, it);
        else if (it->kind == JJ_I_MAP || it->kind == JJ_I_SELECT || it->kind == JJ_I_UNIQUE)
            ok = start_source(r, it);
    }
    ok = ok && next_of_kind(r, it, ret, got);
    it->done = !ok || !*got;
    it->running = false;
    r->depth--;
    return ok;
}

bool jj_iter_collect(struct jj_run *r, struct jj_value v, struct jj_items *ret)
{
    struct jj_iter it;
    *ret = (struct jj_items){0};
    if (!jj_iter_open(r, v, &it)) return false;
    for (bool got = true; got;) {
        struct jj_value item;
        if (!jj_iter_next(r, &it, &item, &got)) return false;
        if (got && !jj_items_add(r, ret, item)) return false;
    }
    return true;
}
