/* jinja_access.c - x.name, x[key], x[a:b:c].
 *
 * Owns the order in which attributes, methods and items are looked for. Nothing here raises for what is
 * absent: the result is an undefined value that remembers what was missing. */
#include "text/jinja_internal.h"

#include <string.h>

static struct jj_value missing_attr(struct jj_value v, const struct jj_str *name)
{
    return (struct jj_value){.kind = JJ_UNDEF, .flag = JJ_NO_ATTR, .owner = v.kind, .s = name};
}

/* Attributes and methods that a kind has itself; *found false if there is none of that name. */
static bool own_attr(struct jj_run *r, struct jj_value v, const struct jj_str *name, struct jj_value *ret,
                     bool *found)
{
    bool unsafe =
        name->n >= 4 && memcmp(name->p, "__", 2) == 0 && memcmp(name->p + name->n - 2, "__", 2) == 0;
    *found = true;
    if (v.kind == JJ_SPACE) {
        *found = jj_dict_find(v.d, jj_of_str(name), ret);
        return true;
    }
    if (v.kind == JJ_LOOP && !unsafe) return jj_loop_attr(r, v.lp, name, ret, found);
    const struct jj_func *fn = unsafe ? NULL : jj_method_find(v, name, &unsafe);
    if (unsafe) {
        *ret = (struct jj_value){.kind = JJ_UNDEF, .flag = JJ_UNSAFE, .owner = v.kind, .s = name};
        return true;
    }
    if (!fn && (v.kind == JJ_MACRO || v.kind == JJ_FUNC || v.kind == JJ_METHOD))
        return jj_fail(r, ALULA_UNSUPPORTED, "the attribute '%.*s' of a %s is not supported", (int)name->n,
                       name->p, jj_kind_name(v));
    *found = fn != NULL;
    if (!fn) return true;
    if (!fn->call && !fn->call_any)
        return jj_fail(r, ALULA_UNSUPPORTED, "the method '%s' of '%s' is not supported", fn->name,
                       jj_kind_name(v));
    struct jj_method *m = jj_alloc(r, sizeof *m);
    if (!m) return false;
    *m = (struct jj_method){fn, v};
    *ret = (struct jj_value){.kind = JJ_METHOD, .me = m};
    return true;
}

bool jj_get_attr(struct jj_run *r, struct jj_value v, const struct jj_str *name, struct jj_value *ret)
{
    bool found;
    if (v.kind == JJ_UNDEF) return jj_fail_undef(r, v);
    if (!own_attr(r, v, name, ret, &found)) return false;
    if (found) return true;
    if (v.kind == JJ_DICT && jj_dict_find(v.d, jj_of_str(name), ret)) return true;
    *ret = missing_attr(v, name);
    return true;
}

/* Element i of n, counted from the end if negative; false if there is none. */
static bool element_at(struct jj_value key, size_t n, size_t *ret)
{
    __int128 i = jj_int128(key);
    if (i < 0) i += (__int128)n;
    if (i < 0 || i >= (__int128)n) return false;
    *ret = (size_t)i;
    return true;
}

static bool item_by_index(struct jj_run *r, struct jj_value v, struct jj_value key, struct jj_value *ret,
                          bool *found)
{
    size_t n = 0, i = 0;
    if (!jj_length(r, v, &n, found)) return false;
    *found = *found && element_at(key, n, &i);
    if (!*found) return true;
    if (v.kind == JJ_RANGE)
        *ret = jj_int(v.r->start + (int64_t)i * v.r->step);
    else if (v.kind == JJ_STR)
        return jj_str_slice(r, v.s, i, 1, ret);
    else
        *ret = v.l->v[i];
    return true;
}

bool jj_get_item(struct jj_run *r, struct jj_value v, struct jj_value key, struct jj_value *ret)
{
    bool found = false,
         indexed = v.kind == JJ_LIST || v.kind == JJ_TUPLE || v.kind == JJ_STR || v.kind == JJ_RANGE;
    if (v.kind == JJ_UNDEF) return jj_fail_undef(r, v);
    if (!jj_key_step(r, key)) return false;
    if (v.kind == JJ_DICT)
        found = jj_dict_find(v.d, key, ret);
    else if (indexed && jj_is_int(key) && !item_by_index(r, v, key, ret, &found))
        return false;
    if (found && v.kind == JJ_STR) ret->flag = v.flag;
    if (!found && key.kind == JJ_STR && !own_attr(r, v, key.s, ret, &found)) return false;
    if (found) return true;
    if (key.kind == JJ_STR)
        *ret = missing_attr(v, key.s);
    else if (key.kind == JJ_INT)
        *ret = (struct jj_value){.kind = JJ_UNDEF, .flag = JJ_NO_ELEMENT, .owner = v.kind, .i = key.i};
    else
        *ret = jj_plain_undef("there is no such element");
    return true;
}

/* ---- slices -------------------------------------------------------------------------------------------- */

/* One bound, brought into [low, high]; missing gives fallback. */
static bool slice_bound(struct jj_run *r, struct jj_value v, int64_t n, int64_t low, int64_t high,
                        int64_t fallback, int64_t *ret)
{
    *ret = fallback;
    if (v.kind == JJ_MISSING || v.kind == JJ_NONE) return true;
    if (v.kind == JJ_UNDEF) return jj_fail_undef(r, v);
    if (!jj_is_int(v))
        return jj_fail(r, ALULA_FORMAT, "a bound of a slice is an integer or none, not '%s'",
                       jj_kind_name(v));
    __int128 i = jj_int128(v);
    if (i < 0) i += n;
    *ret = i < low ? low : i > high ? high : (int64_t)i;
    return true;
}

/* Start, step and count of the elements that a slice of n takes. */
static bool slice_of(struct jj_run *r, const struct jj_value b[3], int64_t n, struct jj_range *ret)
{
    int64_t from, to, step = 1;
    if (b[2].kind != JJ_MISSING && b[2].kind != JJ_NONE) {
        if (!jj_is_int(b[2]))
            return jj_fail(r, ALULA_FORMAT, "the step of a slice is an integer, not '%s'",
                           jj_kind_name(b[2]));
        __int128 s = jj_int128(b[2]);
        step = s > n + 1 ? n + 1 : s < -n - 1 ? -n - 1 : (int64_t)s;
    }
    if (step == 0) return jj_fail(r, ALULA_FORMAT, "the step of a slice is zero");
    int64_t low = step < 0 ? -1 : 0, high = step < 0 ? n - 1 : n;
    if (!slice_bound(r, b[0], n, low, high, step < 0 ? high : low, &from)) return false;
    if (!slice_bound(r, b[1], n, low, high, step < 0 ? low : high, &to)) return false;
    int64_t span = step > 0 ? to - from : from - to, unit = step > 0 ? step : -step;
    *ret = (struct jj_range){from, step, span > 0 ? (span + unit - 1) / unit : 0};
    return true;
}

static bool slice_str(struct jj_run *r, struct jj_value v, const struct jj_range *s, struct jj_value *ret)
{
    if (s->step == 1) {
        if (!jj_str_slice(r, v.s, (size_t)s->start, (size_t)s->n, ret)) return false;
        ret->flag = v.flag;
        return true;
    }
    size_t mark = r->out->len;
    for (int64_t i = 0; i < s->n; i++) {
        size_t at = (size_t)(s->start + i * s->step), from = jj_char_offset(v.s, at),
               to = jj_char_offset(v.s, at + 1);
        if (!jj_put(r, v.s->p + from, to - from)) return false;
        if (v.s->chars != v.s->n && !jj_step(r, to / 64)) return false;
    }
    if (!jj_step(r, (size_t)s->n / 8) || !jj_take(r, mark, ret)) return false;
    ret->flag = v.flag;
    return true;
}

bool jj_get_slice(struct jj_run *r, struct jj_value v, const struct jj_value bounds[3], struct jj_value *ret)
{
    struct jj_range s;
    if (v.kind == JJ_UNDEF) return jj_fail_undef(r, v);
    if (v.kind == JJ_STR)
        return jj_str_count(r, v.s) && slice_of(r, bounds, (int64_t)v.s->chars, &s) &&
               slice_str(r, v, &s, ret);
    if (v.kind != JJ_LIST && v.kind != JJ_TUPLE)
        return jj_fail(r, v.kind == JJ_RANGE ? ALULA_UNSUPPORTED : ALULA_FORMAT,
                       "a slice of a value of type '%s'", jj_kind_name(v));
    if (!slice_of(r, bounds, (int64_t)v.l->n, &s)) return false;
    struct jj_items items = {.n = (size_t)s.n};
    if (s.step == 1) {
        items.v = (struct jj_value *)v.l->v + s.start; /* never written through: lists are immutable */
        if (items.n == 0) items.v = NULL;
        return jj_items_list(r, &items, v.kind, ret);
    }
    items.v = jj_array(r, items.n, sizeof *items.v);
    if (!items.v || !jj_step(r, items.n)) return false;
    for (size_t i = 0; i < items.n; i++) items.v[i] = v.l->v[s.start + (int64_t)i * s.step];
    return jj_items_list(r, &items, v.kind, ret);
}

/* ---- paths of filters ---------------------------------------------------------------------------------- */

/* One step of a path: digits are an index. */
static bool path_key(struct jj_run *r, const char *p, size_t n, struct jj_value *ret)
{
    bool fits = false;
    if (n > 0 && *p >= '0' && *p <= '9' && jj_parse_int(p, n, ret, &fits) && fits) return true;
    return jj_str_view(r, p, n, ret);
}

bool jj_get_path(struct jj_run *r, struct jj_value v, struct jj_value path, struct jj_value fallback,
                 struct jj_value *ret)
{
    bool has_fallback = fallback.kind != JJ_MISSING && fallback.kind != JJ_NONE;
    *ret = v;
    if (path.kind != JJ_STR) {
        if (!jj_is_int(path))
            return jj_fail(r, ALULA_FORMAT, "an attribute is named by a string or an integer");
        if (!jj_get_item(r, v, path, ret)) return false;
        if (ret->kind == JJ_UNDEF && has_fallback) *ret = fallback;
        return true;
    }
    if (memchr(path.s->p, ',', path.s->n)) return jj_unsupported(r, "an attribute of several names");
    for (size_t i = 0; i <= path.s->n;) {
        const char *p = path.s->p + i, *dot = memchr(p, '.', path.s->n - i);
        size_t n = dot ? (size_t)(dot - p) : path.s->n - i;
        struct jj_value key;
        if (!path_key(r, p, n, &key) || !jj_get_item(r, *ret, key, ret)) return false;
        if (ret->kind == JJ_UNDEF && has_fallback) *ret = fallback;
        i += n + 1;
    }
    return true;
}
