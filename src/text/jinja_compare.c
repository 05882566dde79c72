/* jinja_compare.c - truth, equality, order, membership, sorting.
 *
 * Owns what == < in mean for each kind of value, as Python does. Values may be nested only as deep as a
 * ceiling allows, so recursion is bounded. */
#include "text/jinja_internal.h"

#include <string.h>

bool jj_truth(struct jj_value v)
{
    switch (v.kind) {
    case JJ_MISSING:
    case JJ_UNDEF:
    case JJ_NONE: return false;
    case JJ_BOOL: return v.b;
    case JJ_INT: return v.i != 0;
    case JJ_FLOAT: return v.f != 0;
    case JJ_STR: return v.s->n > 0;
    case JJ_LIST:
    case JJ_TUPLE: return v.l->n > 0;
    case JJ_DICT:
    case JJ_VIEW: return v.d->n > 0;
    case JJ_RANGE: return v.r->n > 0;
    default: return true;
    }
}

static int order_str(const struct jj_str *a, const struct jj_str *b)
{
    size_t n = a->n < b->n ? a->n : b->n;
    int order = n ? memcmp(a->p, b->p, n) : 0;
    return order ? (order < 0 ? -1 : 1) : a->n < b->n ? -1 : a->n > b->n;
}

static bool str_equal(const struct jj_str *a, const struct jj_str *b)
{
    return a == b || (a->n == b->n && (a->n == 0 || memcmp(a->p, b->p, a->n) == 0));
}

bool jj_key_equal(struct jj_value a, struct jj_value b)
{
    if (a.kind == JJ_STR) return b.kind == JJ_STR && str_equal(a.s, b.s);
    if (a.kind == JJ_NONE) return b.kind == JJ_NONE;
    return jj_is_number(a) && jj_is_number(b) && jj_number_order(a, b) == 0;
}

static bool list_equal(struct jj_run *r, const struct jj_list *a, const struct jj_list *b, bool *ret)
{
    *ret = a->n == b->n;
    if (a == b) return true;
    for (size_t i = 0; i < a->n && *ret; i++)
        if (!jj_equal(r, a->v[i], b->v[i], ret)) return false;
    return true;
}

static bool dict_equal(struct jj_run *r, const struct jj_dict *a, const struct jj_dict *b, bool *ret)
{
    *ret = a->n == b->n;
    if (a == b) return true;
    for (uint32_t i = 0; i < a->n && *ret; i++) {
        struct jj_value other;
        if (!jj_key_step(r, a->pairs[i].key)) return false;
        *ret = jj_dict_find(b, a->pairs[i].key, &other);
        if (*ret && !jj_equal(r, a->pairs[i].value, other, ret)) return false;
    }
    return true;
}

static bool same_kind_equal(struct jj_run *r, struct jj_value a, struct jj_value b, bool *ret)
{
    switch (a.kind) {
    case JJ_UNDEF:
    case JJ_NONE: *ret = true; return true;
    case JJ_STR: *ret = str_equal(a.s, b.s); return a.s->n != b.s->n || jj_step(r, a.s->n / 64);
    case JJ_LIST:
    case JJ_TUPLE: return list_equal(r, a.l, b.l, ret);
    case JJ_DICT: return dict_equal(r, a.d, b.d, ret);
    case JJ_RANGE:
        *ret = a.r->n == b.r->n &&
               (a.r->n == 0 || (a.r->start == b.r->start && (a.r->n == 1 || a.r->step == b.r->step)));
        return true;
    case JJ_VIEW:
    case JJ_METHOD: return jj_fail(r, ALULA_UNSUPPORTED, "comparing values of type '%s'", jj_kind_name(a));
    default: *ret = a.it == b.it; return true;
    }
}

bool jj_equal(struct jj_run *r, struct jj_value a, struct jj_value b, bool *ret)
{
    if (!jj_step(r, 1)) return false;
    if (jj_is_number(a) && jj_is_number(b)) {
        *ret = jj_number_order(a, b) == 0;
        return true;
    }
    *ret = false;
    if (a.kind != b.kind) return true;
    if (!jj_enter(r)) return false;
    bool ok = same_kind_equal(r, a, b, ret);
    r->depth--;
    return ok;
}

static bool order_lists(struct jj_run *r, const struct jj_list *a, const struct jj_list *b, const char *op,
                        int *ret)
{
    for (size_t i = 0; i < a->n && i < b->n; i++) {
        bool equal;
        if (!jj_equal(r, a->v[i], b->v[i], &equal)) return false;
        if (!equal) return jj_order(r, a->v[i], b->v[i], op, ret);
    }
    *ret = a->n < b->n ? -1 : a->n > b->n;
    return true;
}

bool jj_order(struct jj_run *r, struct jj_value a, struct jj_value b, const char *op, int *ret)
{
    if (jj_is_number(a) && jj_is_number(b)) {
        *ret = jj_number_order(a, b);
        return true;
    }
    if (a.kind == JJ_STR && b.kind == JJ_STR) {
        *ret = order_str(a.s, b.s);
        return jj_step(r, (a.s->n < b.s->n ? a.s->n : b.s->n) / 64);
    }
    if (a.kind == b.kind && (a.kind == JJ_LIST || a.kind == JJ_TUPLE)) {
        if (!jj_enter(r)) return false;
        bool ok = order_lists(r, a.l, b.l, op, ret);
        r->depth--;
        return ok;
    }
    if (a.kind == JJ_UNDEF) return jj_fail_undef(r, a);
    if (b.kind == JJ_UNDEF) return jj_fail_undef(r, b);
    return jj_fail(r, ALULA_FORMAT, "'%s' does not order '%s' and '%s'", op, jj_kind_name(a),
                   jj_kind_name(b));
}

static bool contains_element(struct jj_run *r, struct jj_value item, struct jj_value in, bool *ret)
{
    struct jj_iter it;
    if (!jj_iter_open(r, in, &it)) return false;
    for (bool got = true; !*ret;) {
        struct jj_value v;
        if (!jj_iter_next(r, &it, &v, &got)) return false;
        if (!got) return true;
        if (!jj_equal(r, item, v, ret)) return false;
    }
    return true;
}

static bool contains(struct jj_run *r, struct jj_value item, struct jj_value in, bool *ret)
{
    struct jj_value found;
    *ret = false;
    switch (in.kind) {
    case JJ_UNDEF: return in.flag != JJ_UNSAFE || jj_fail_undef(r, in);
    case JJ_STR:
        if (item.kind == JJ_UNDEF) return jj_fail_undef(r, item);
        if (item.kind != JJ_STR)
            return jj_fail(r, ALULA_FORMAT, "'in' of a string needs a string on its left, not '%s'",
                           jj_kind_name(item));
        *ret = jj_find(in.s->p, in.s->n, item.s->p, item.s->n) != SIZE_MAX;
        return jj_step(r, in.s->n / 64);
    case JJ_DICT:
        if (item.kind == JJ_LIST || item.kind == JJ_DICT)
            return jj_fail(r, ALULA_FORMAT, "a value of type '%s' cannot be a key", jj_kind_name(item));
        *ret = jj_dict_find(in.d, item, &found);
        return jj_key_step(r, item);
    case JJ_LIST:
    case JJ_TUPLE:
    case JJ_ITER:
    case JJ_RANGE:
    case JJ_VIEW: return contains_element(r, item, in, ret);
    default: return jj_fail(r, ALULA_FORMAT, "'in' does not look into '%s'", jj_kind_name(in));
    }
}

bool jj_compare(struct jj_run *r, int op, struct jj_value a, struct jj_value b, bool *ret)
{
    int order = 0;
    switch (op) {
    case JJ_OP_EQ: return jj_equal(r, a, b, ret);
    case JJ_OP_NE:
        if (!jj_equal(r, a, b, ret)) return false;
        *ret = !*ret;
        return true;
    case JJ_OP_IN: return contains(r, a, b, ret);
    case JJ_OP_NOT_IN:
        if (!contains(r, a, b, ret)) return false;
        *ret = !*ret;
        return true;
    case '<':
        if (!jj_order(r, a, b, "<", &order)) return false;
        *ret = order == -1;
        return true;
    case '>':
        if (!jj_order(r, a, b, ">", &order)) return false;
        *ret = order == 1;
        return true;
    case JJ_OP_LE:
        if (!jj_order(r, a, b, "<=", &order)) return false;
        *ret = order == -1 || order == 0;
        return true;
    default:
        if (!jj_order(r, a, b, ">=", &order)) return false;
        *ret = order == 1 || order == 0;
        return true;
    }
}

/* ---- sorting ------------------------------------------------------------------------------------------- */

/* Merge sort on places: stable, and a comparison may fail. */
static bool merge(struct jj_run *r, const struct jj_value *keys, uint32_t *a, uint32_t *tmp, size_t n,
                  bool reverse)
{
    if (n < 2) return true;
    size_t half = n / 2, i = 0, j = half, k = 0;
    if (!merge(r, keys, a, tmp, half, reverse) || !merge(r, keys, a + half, tmp, n - half, reverse))
        return false;
    while (i < half && j < n) {
        int order;
        if (!jj_order(r, keys[a[j]], keys[a[i]], "<", &order) || !jj_step(r, 1)) return false;
        bool right = reverse ? order == 1 : order == -1;
        tmp[k++] = right ? a[j++] : a[i++];
    }
    while (i < half) tmp[k++] = a[i++];
    memcpy(a, tmp, k * sizeof *a);
    return true;
}

bool jj_sort(struct jj_run *r, struct jj_value *items, struct jj_value *keys, size_t n, bool reverse)
{
    uint32_t *places = jj_array(r, n, sizeof *places), *tmp = jj_array(r, n, sizeof *tmp);
    struct jj_value *sorted = jj_array(r, n, sizeof *sorted);
    if (!places || !tmp || !sorted) return false;
    for (size_t i = 0; i < n; i++) places[i] = (uint32_t)i;
    if (!merge(r, keys, places, tmp, n, reverse)) return false;
    for (size_t i = 0; i < n; i++) sorted[i] = items[places[i]];
    if (n) memcpy(items, sorted, n * sizeof *items);
    for (size_t i = 0; i < n; i++) sorted[i] = keys[places[i]];
    if (n) memcpy(keys, sorted, n * sizeof *keys);
    return true;
}
