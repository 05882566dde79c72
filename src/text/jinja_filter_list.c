/* jinja_filter_list.c - filters over lists, dicts and iterators; the table of all filters.
 *
 * Owns what map, select, sort and the like take as arguments. The lazy ones only make an iterator here; it
 * works in jinja_iter.c. */
#include "text/jinja_internal.h"

#include <string.h>

#define FILTER(name)                                                                                         \
    static bool name(struct jj_run *r, struct jj_value self, const struct jj_value *a, struct jj_value *ret)
#define FILTER_ANY(name)                                                                                     \
    static bool name(struct jj_run *r, struct jj_value self, const struct jj_args *args, struct jj_value *ret)

static const struct jj_value missing = {.kind = JJ_MISSING};

static bool iter_value(struct jj_run *r, const struct jj_iter *it, struct jj_value *ret)
{
    struct jj_iter *copy = jj_alloc(r, sizeof *copy);
    if (!copy) return false;
    *copy = *it;
    *ret = (struct jj_value){.kind = JJ_ITER, .it = copy};
    return true;
}

/* ---- whole collections --------------------------------------------------------------------------------- */

FILTER(filter_length)
{
    size_t n;
    bool ok;
    (void)a;
    if (!jj_length(r, self, &n, &ok)) return false;
    if (!ok) return jj_fail(r, ALULA_FORMAT, "a value of type '%s' has no length", jj_kind_name(self));
    *ret = jj_int((int64_t)n);
    return true;
}

FILTER(filter_items)
{
    (void)a;
    return iter_value(r, &(struct jj_iter){.kind = JJ_I_ITEMS, .src = self, .view = JJ_ITEMS}, ret);
}

FILTER(filter_list)
{
    struct jj_items items;
    (void)a;
    return jj_iter_collect(r, self, &items) && jj_items_list(r, &items, JJ_LIST, ret);
}

FILTER(filter_join)
{
    struct jj_iter it;
    struct jj_value v, gap;
    size_t mark = r->out->len;
    if (!jj_iter_open(r, self, &it)) return false;
    static const struct jj_str nothing = {.p = ""};
    gap = jj_of_str(&nothing);
    if (a[0].kind != JJ_MISSING && !jj_text_of(r, a[0], &gap)) return false;
    bool by = a[1].kind != JJ_MISSING && a[1].kind != JJ_NONE;
    for (bool got = true, first = true;; first = false) {
        if (!jj_iter_next(r, &it, &v, &got)) return false;
        if (!got) return jj_take(r, mark, ret);
        if (by && !jj_get_path(r, v, a[1], missing, &v)) return false;
        if ((!first && !jj_put(r, gap.s->p, gap.s->n)) || !jj_put_text(r, v)) return false;
    }
}

FILTER(filter_first)
{
    struct jj_iter it;
    bool got;
    (void)a;
    if (!jj_iter_open(r, self, &it) || !jj_iter_next(r, &it, ret, &got)) return false;
    if (!got) *ret = jj_plain_undef("the first element of nothing");
    return true;
}

FILTER(filter_last)
{
    struct jj_iter it;
    bool got, ok;
    (void)a;
    if (!jj_iter_open_back(r, self, &it, &ok)) return false;
    if (!ok) return jj_fail(r, ALULA_FORMAT, "last: a one-shot iterator has no last element");
    if (!jj_iter_next(r, &it, ret, &got)) return false;
    if (!got) *ret = jj_plain_undef("the last element of nothing");
    return true;
}

FILTER(filter_reverse)
{
    struct jj_iter it;
    struct jj_items items;
    bool ok;
    (void)a;
    if (self.kind == JJ_STR) return jj_str_reverse(r, self, ret);
    if (!jj_iter_open_back(r, self, &it, &ok)) return false;
    if (ok) return iter_value(r, &it, ret);
    if (!jj_iter_collect(r, self, &items)) return false;
    for (size_t i = 0, j = items.n; i + 1 < j; i++) {
        struct jj_value v = items.v[i];
        items.v[i] = items.v[--j];
        items.v[j] = v;
    }
    return jj_items_list(r, &items, JJ_LIST, ret);
}

/* ---- lazy ones ----------------------------------------------------------------------------------------- */

static bool lazy(struct jj_run *r, struct jj_iter it, struct jj_value self, const struct jj_args *args,
                 struct jj_value *ret)
{
    struct jj_args *copy = jj_alloc(r, sizeof *copy);
    if (!copy) return false;
    *copy = *args;
    it.src = self;
    it.args = copy;
    return iter_value(r, &it, ret);
}

FILTER_ANY(filter_map) { return lazy(r, (struct jj_iter){.kind = JJ_I_MAP}, self, args, ret); }
FILTER_ANY(filter_select) { return lazy(r, (struct jj_iter){.kind = JJ_I_SELECT}, self, args, ret); }
FILTER_ANY(filter_reject)
{
    return lazy(r, (struct jj_iter){.kind = JJ_I_SELECT, .reject = true}, self, args, ret);
}
FILTER_ANY(filter_selectattr)
{
    return lazy(r, (struct jj_iter){.kind = JJ_I_SELECT, .by_attr = true}, self, args, ret);
}
FILTER_ANY(filter_rejectattr)
{
    return lazy(r, (struct jj_iter){.kind = JJ_I_SELECT, .by_attr = true, .reject = true}, self, args, ret);
}

/* The arguments without the first n positional ones. */
static const struct jj_args *args_after(struct jj_run *r, const struct jj_args *args, uint32_t n)
{
    struct jj_args *rest = jj_alloc(r, sizeof *rest);
    if (!rest) return NULL;
    *rest = *args;
    rest->pos += n;
    rest->n -= n;
    return rest;
}

bool jj_map_prepare(struct jj_run *r, struct jj_iter *it)
{
    const struct jj_args *args = it->args;
    const struct jj_str *name;
    if (args->n == 0) {
        it->by_attr = true;
        it->attr = it->fallback = missing;
        for (uint32_t i = 0; i < args->n_named; i++) {
            if (jj_str_is(args->names[i], "attribute"))
                it->attr = args->named[i];
            else if (jj_str_is(args->names[i], "default"))
                it->fallback = args->named[i];
            else
                return jj_fail(r, ALULA_FORMAT, "map has no argument named '%.*s'", (int)args->names[i]->n,
                               args->names[i]->p);
        }
        return it->attr.kind != JJ_MISSING ||
               jj_fail(r, ALULA_FORMAT, "map needs the name of a filter or attribute=");
    }
    if (!jj_arg_str(r, args->pos[0], "map: the filter's name", &name)) return false;
    it->fn = jj_filter_find(name);
    if (!it->fn) return jj_fail(r, ALULA_FORMAT, "map: no filter named '%.*s'", (int)name->n, name->p);
    return (it->args = args_after(r, args, 1)) != NULL;
}

bool jj_select_prepare(struct jj_run *r, struct jj_iter *it)
{
    const struct jj_args *args = it->args;
    const struct jj_str *name;
    uint32_t at = 0;
    it->attr = it->fallback = missing;
    if (it->by_attr) {
        if (args->n == 0)
            return jj_fail(r, ALULA_FORMAT, "selectattr and rejectattr need the name of an attribute");
        it->attr = args->pos[at++];
    }
    if (args->n == at) return true;
    if (!jj_arg_str(r, args->pos[at], "select: the test's name", &name)) return false;
    it->fn = jj_test_find(name);
    if (!it->fn) return jj_fail(r, ALULA_FORMAT, "no test named '%.*s'", (int)name->n, name->p);
    return (it->args = args_after(r, args, at + 1)) != NULL;
}

FILTER(filter_unique)
{
    struct jj_iter it = {
        .kind = JJ_I_UNIQUE, .src = self, .any_case = !jj_truth(a[0]), .attr = a[1], .fallback = missing};
    if (it.attr.kind == JJ_NONE) it.attr = missing;
    return iter_value(r, &it, ret);
}

/* ---- order --------------------------------------------------------------------------------------------- */

/* What an element is ordered by: an attribute of it perhaps, in lower case perhaps. */
static bool sort_key(struct jj_run *r, struct jj_value v, struct jj_value attribute, bool any_case,
                     struct jj_value *ret)
{
    *ret = v;
    bool by = attribute.kind != JJ_MISSING && attribute.kind != JJ_NONE;
    if (by && !jj_get_path(r, v, attribute, missing, ret)) return false;
    return !any_case || ret->kind != JJ_STR || jj_str_case(r, *ret, JJ_LOWER, ret);
}

/* Sorts by keys[i] of items[i]. */
static bool sort_by(struct jj_run *r, struct jj_items *items, struct jj_value *keys, bool reverse,
                    struct jj_value *ret)
{
    return jj_sort(r, items->v, keys, items->n, reverse) && jj_items_list(r, items, JJ_LIST, ret);
}

/* The keys are lists of one, as in the reference: what is equal need not be ordered then, two undefined
 * values for one. */
FILTER(filter_sort)
{
    struct jj_items items;
    if (!jj_iter_collect(r, self, &items)) return false;
    struct jj_value *keys = jj_array(r, items.n, sizeof *keys), *lists = jj_array(r, items.n, sizeof *lists);
    if (!keys || !lists) return false;
    for (size_t i = 0; i < items.n; i++) {
        struct jj_items one = {.v = &keys[i], .n = 1};
        if (!sort_key(r, items.v[i], a[2], !jj_truth(a[1]), &keys[i]) ||
            !jj_items_list(r, &one, JJ_LIST, &lists[i]))
            return false;
    }
    return sort_by(r, &items, lists, jj_truth(a[0]), ret);
}

FILTER(filter_dictsort)
{
    bool by_value = a[1].kind == JJ_STR && jj_str_is(a[1].s, "value");
    struct jj_items pairs = {0};
    if (self.kind == JJ_UNDEF) return jj_fail_undef(r, self);
    if (self.kind != JJ_DICT)
        return jj_fail(r, ALULA_FORMAT, "dictsort: the value is not a mapping but '%s'", jj_kind_name(self));
    if (!by_value && a[1].kind != JJ_MISSING && !(a[1].kind == JJ_STR && jj_str_is(a[1].s, "key")))
        return jj_fail(r, ALULA_FORMAT, "dictsort: 'by' must be 'key' or 'value'");
    struct jj_value *keys = jj_array(r, self.d->n, sizeof *keys);
    if (!keys) return false;
    for (uint32_t i = 0; i < self.d->n; i++) {
        const struct jj_pair *p = &self.d->pairs[i];
        struct jj_value pair;
        if (!jj_pair_tuple(r, p->key, p->value, &pair) || !jj_items_add(r, &pairs, pair) ||
            !sort_key(r, by_value ? p->value : p->key, missing, !jj_truth(a[0]), &keys[i]))
            return false;
    }
    return sort_by(r, &pairs, keys, jj_truth(a[2]), ret);
}

/* The first of the least or greatest. */
static bool extreme(struct jj_run *r, struct jj_value self, const struct jj_value *a, int sign,
                    struct jj_value *ret)
{
    struct jj_items items;
    struct jj_value best = missing, key;
    int order = sign;
    if (!jj_iter_collect(r, self, &items)) return false;
    *ret = jj_plain_undef("the least or greatest of nothing");
    for (size_t i = 0; i < items.n; i++) {
        if (!sort_key(r, items.v[i], a[1], !jj_truth(a[0]), &key)) return false;
        if (i > 0 && !jj_order(r, key, best, sign < 0 ? "<" : ">", &order)) return false;
        if (order != sign) continue;
        best = key;
        *ret = items.v[i];
    }
    return true;
}

FILTER(filter_min) { return extreme(r, self, a, -1, ret); }
FILTER(filter_max) { return extreme(r, self, a, 1, ret); }

FILTER(filter_sum)
{
    struct jj_items items;
    struct jj_value v;
    bool by = a[0].kind != JJ_MISSING && a[0].kind != JJ_NONE;
    if (!jj_iter_collect(r, self, &items)) return false;
    *ret = a[1].kind == JJ_MISSING ? jj_int(0) : a[1];
    if (ret->kind == JJ_STR) return jj_fail(r, ALULA_FORMAT, "sum: strings are not summed");
    for (size_t i = 0; i < items.n; i++) {
        v = items.v[i];
        if (by && !jj_get_path(r, v, a[0], missing, &v)) return false;
        if (!jj_binary(r, '+', *ret, v, ret)) return false;
    }
    return true;
}

const struct jj_func jj_filters_list[] = {
    {.name = "length", .params = "", .call = filter_length},
    {.name = "count", .params = "", .call = filter_length},
    {.name = "items", .params = "", .call = filter_items},
    {.name = "list", .params = "", .call = filter_list},
    {.name = "join", .params = "d attribute", .call = filter_join},
    {.name = "first", .params = "", .call = filter_first},
    {.name = "last", .params = "", .call = filter_last},
    {.name = "reverse", .params = "", .call = filter_reverse, .safe = JJ_SAFE_KEEP},
    {.name = "map", .call_any = filter_map},
    {.name = "select", .call_any = filter_select},
    {.name = "reject", .call_any = filter_reject},
    {.name = "selectattr", .call_any = filter_selectattr},
    {.name = "rejectattr", .call_any = filter_rejectattr},
    {.name = "unique", .params = "case_sensitive attribute", .call = filter_unique},
    {.name = "sort", .params = "reverse case_sensitive attribute", .call = filter_sort},
    {.name = "dictsort", .params = "case_sensitive by reverse", .call = filter_dictsort},
    {.name = "min", .params = "case_sensitive attribute", .call = filter_min},
    {.name = "max", .params = "case_sensitive attribute", .call = filter_max},
    {.name = "sum", .params = "attribute start", .call = filter_sum},
    {.name = NULL},
};

/* Filters of jinja2 that no chat template has been seen to need. */
static const struct jj_func unsupported[] = {
    {.name = "attr"},    {.name = "batch"},     {.name = "center"},      {.name = "filesizeformat"},
    {.name = "format"},  {.name = "groupby"},   {.name = "forceescape"}, {.name = "pprint"},
    {.name = "random"},  {.name = "slice"},     {.name = "striptags"},   {.name = "truncate"},
    {.name = "urlize"},  {.name = "urlencode"}, {.name = "wordcount"},   {.name = "wordwrap"},
    {.name = "xmlattr"}, {.name = NULL},
};

const struct jj_func *jj_filter_find(const struct jj_str *name)
{
    const struct jj_func *fn = jj_table_find(jj_filters_text, name);
    if (!fn) fn = jj_table_find(jj_filters_list, name);
    return fn ? fn : jj_table_find(unsupported, name);
}
