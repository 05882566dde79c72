/* jinja_call.c - arguments, calls, and the functions that templates find defined.
 *
 * Owns how arguments are bound to parameters. Macros are called in jinja_exec.c, because their body is
 * statements. */
#include "text/jinja_internal.h"

#include <string.h>
#include <time.h>

/* ---- arguments ----------------------------------------------------------------------------------------- */

bool jj_args_eval(struct jj_run *r, const struct jj_expr *x, struct jj_args *ret)
{
    *ret = (struct jj_args){.n = x->n, .n_named = x->n_kw};
    if (x->n && !(ret->pos = jj_array(r, x->n, sizeof *ret->pos))) return false;
    if (x->n_kw && (!(ret->names = jj_array(r, x->n_kw, sizeof *ret->names)) ||
                    !(ret->named = jj_array(r, x->n_kw, sizeof *ret->named))))
        return false;
    for (uint32_t i = 0; i < x->n; i++)
        if (!jj_eval(r, x->list[i], &ret->pos[i])) return false;
    for (uint32_t i = 0; i < x->n_kw; i++) {
        ret->names[i] = x->kw[i].name;
        if (!jj_eval(r, x->kw[i].x, &ret->named[i])) return false;
    }
    r->line = x->line;
    return true;
}

/* Cuts a parameter list into names; returns their number. */
static int split_params(const char *params, const char *names[JJ_PARAMS_MAX], size_t lens[JJ_PARAMS_MAX],
                        int *required)
{
    int n = 0;
    *required = 0;
    for (const char *p = params; *p;) {
        size_t len = strcspn(p, " ");
        if (*p == '/') {
            *required = n;
        } else {
            names[n] = p;
            lens[n++] = len;
        }
        p += len;
        while (*p == ' ') p++;
    }
    return n;
}

static bool bind(struct jj_run *r, const struct jj_func *fn, const struct jj_args *args, struct jj_value *a)
{
    const char *names[JJ_PARAMS_MAX];
    size_t lens[JJ_PARAMS_MAX];
    int required, n = split_params(fn->params, names, lens, &required);
    for (int i = 0; i < JJ_PARAMS_MAX; i++) a[i] = (struct jj_value){.kind = JJ_MISSING};
    if (args->n > (uint32_t)n)
        return jj_fail(r, ALULA_FORMAT, "'%s' takes at most %d argument(s), got %u", fn->name, n,
                       (unsigned)args->n);
    for (uint32_t i = 0; i < args->n; i++) a[i] = args->pos[i];
    for (uint32_t k = 0; k < args->n_named; k++) {
        const struct jj_str *name = args->names[k];
        int i = 0;
        while (i < n && !(lens[i] == name->n && memcmp(names[i], name->p, name->n) == 0)) i++;
        if (i == n)
            return jj_fail(r, ALULA_FORMAT, "'%s' has no argument named '%.*s'", fn->name, (int)name->n,
                           name->p);
        if (a[i].kind != JJ_MISSING)
            return jj_fail(r, ALULA_FORMAT, "'%s' got the argument '%.*s' twice", fn->name, (int)name->n,
                           name->p);
        a[i] = args->named[k];
    }
    for (int i = 0; i < required; i++)
        if (a[i].kind == JJ_MISSING)
            return jj_fail(r, ALULA_FORMAT, "'%s' needs the argument '%.*s'", fn->name, (int)lens[i],
                           names[i]);
    return true;
}

bool jj_apply(struct jj_run *r, const struct jj_func *fn, struct jj_value self, const struct jj_args *args,
              struct jj_value *ret)
{
    struct jj_value a[JJ_PARAMS_MAX];
    bool safe = jj_is_safe(self);
    if (!jj_step(r, 1)) return false;
    if (!fn->call && !fn->call_any) return jj_fail(r, ALULA_UNSUPPORTED, "'%s' is not supported", fn->name);
    if (safe && fn->safe == JJ_SAFE_REFUSE)
        return jj_fail(r, ALULA_UNSUPPORTED, "'%s' of a safe string is not supported", fn->name);
    if (!jj_enter(r)) return false;
    bool ok =
        fn->call_any ? fn->call_any(r, self, args, ret) : bind(r, fn, args, a) && fn->call(r, self, a, ret);
    r->depth--;
    if (ok && safe && fn->safe == JJ_SAFE_PLAIN && ret->kind == JJ_STR) ret->flag = false;
    return ok;
}

bool jj_call(struct jj_run *r, struct jj_value callee, const struct jj_args *args, struct jj_value *ret)
{
    switch (callee.kind) {
    case JJ_FUNC: return jj_apply(r, callee.fn, jj_none(), args, ret);
    case JJ_METHOD: return jj_apply(r, callee.me->fn, callee.me->self, args, ret);
    case JJ_MACRO: return jj_call_macro(r, callee.m, args, ret);
    case JJ_UNDEF: return jj_fail_undef(r, callee);
    case JJ_LOOP: return jj_unsupported(r, "calling loop (a recursive for loop)");
    default: return jj_fail(r, ALULA_FORMAT, "a value of type '%s' cannot be called", jj_kind_name(callee));
    }
}

bool jj_arg_int(struct jj_run *r, struct jj_value v, const char *what, int64_t *ret)
{
    if (v.kind == JJ_UNDEF) return jj_fail_undef(r, v);
    if (!jj_is_int(v))
        return jj_fail(r, ALULA_FORMAT, "%s must be an integer, not '%s'", what, jj_kind_name(v));
    __int128 i = jj_int128(v);
    *ret = i > INT64_MAX ? INT64_MAX : (int64_t)i;
    return true;
}

bool jj_arg_str(struct jj_run *r, struct jj_value v, const char *what, const struct jj_str **ret)
{
    if (v.kind == JJ_UNDEF) return jj_fail_undef(r, v);
    if (v.kind != JJ_STR)
        return jj_fail(r, ALULA_FORMAT, "%s must be a string, not '%s'", what, jj_kind_name(v));
    *ret = v.s;
    return true;
}

const struct jj_func *jj_table_find(const struct jj_func *table, const struct jj_str *name)
{
    for (; table->name; table++)
        if (jj_str_is(name, table->name)) return table;
    return NULL;
}

/* ---- globals ------------------------------------------------------------------------------------------- */

static bool call_raise(struct jj_run *r, struct jj_value self, const struct jj_value *a, struct jj_value *ret)
{
    struct jj_value text;
    (void)self;
    (void)ret;
    if (!jj_text_of(r, a[0], &text)) return false;
    return jj_fail(r, ALULA_FORMAT, "%.*s", (int)(text.s->n < 1000 ? text.s->n : 1000), text.s->p);
}

/* dict(mapping or pairs, name=value, ...) into d. */
static bool fill_dict(struct jj_run *r, struct jj_dict *d, const struct jj_args *args, const char *what)
{
    if (args->n > 1)
        return jj_fail(r, ALULA_FORMAT, "'%s' takes at most 1 positional argument, got %u", what,
                       (unsigned)args->n);
    if (args->n == 1 && args->pos[0].kind == JJ_DICT) {
        const struct jj_dict *from = args->pos[0].d;
        for (uint32_t i = 0; i < from->n; i++)
            if (!jj_dict_set(r, d, from->pairs[i].key, from->pairs[i].value)) return false;
    } else if (args->n == 1) {
        struct jj_items pairs, pair;
        if (!jj_iter_collect(r, args->pos[0], &pairs)) return false;
        for (size_t i = 0; i < pairs.n; i++) {
            if (!jj_iter_collect(r, pairs.v[i], &pair)) return false;
            if (pair.n != 2)
                return jj_fail(r, ALULA_FORMAT, "'%s' needs pairs, element %zu has %zu values", what, i,
                               pair.n);
            if (!jj_dict_set(r, d, pair.v[0], pair.v[1])) return false;
        }
    }
    for (uint32_t i = 0; i < args->n_named; i++)
        if (!jj_dict_set(r, d, jj_of_str(args->names[i]), args->named[i])) return false;
    return true;
}

static bool call_dict(struct jj_run *r, struct jj_value self, const struct jj_args *args,
                      struct jj_value *ret)
{
    struct jj_dict *d = jj_dict_new(r);
    (void)self;
    if (!d || !fill_dict(r, d, args, "dict")) return false;
    *ret = jj_of_dict(d);
    return true;
}

static bool call_namespace(struct jj_run *r, struct jj_value self, const struct jj_args *args,
                           struct jj_value *ret)
{
    struct jj_dict *d = jj_dict_new(r);
    (void)self;
    if (!d || !fill_dict(r, d, args, "namespace")) return false;
    for (uint32_t i = 0; i < d->n; i++) {
        const struct jj_str *name = d->pairs[i].key.s;
        if (d->pairs[i].key.kind != JJ_STR)
            return jj_fail(r, ALULA_FORMAT, "an attribute of a namespace must be named by a string");
        if (name->n && *name->p == '_')
            return jj_fail(r, ALULA_FORMAT, "the attribute '%.*s' of a namespace may not begin with '_'",
                           (int)name->n, name->p);
    }
    *ret = (struct jj_value){.kind = JJ_SPACE, .d = d};
    return true;
}

static bool call_range(struct jj_run *r, struct jj_value self, const struct jj_args *args,
                       struct jj_value *ret)
{
    int64_t b[3] = {0, 0, 1};
    (void)self;
    if (args->n < 1 || args->n > 3 || args->n_named)
        return jj_fail(r, ALULA_FORMAT, "'range' takes 1 to 3 positional arguments, got %u",
                       (unsigned)args->n);
    for (uint32_t i = 0; i < args->n; i++)
        if (!jj_arg_int(r, args->pos[i], "an argument of range", &b[args->n == 1 ? 1 : i])) return false;
    if (b[2] == 0) return jj_fail(r, ALULA_FORMAT, "the step of range is zero");
    __int128 span = b[2] > 0 ? (__int128)b[1] - b[0] : (__int128)b[0] - b[1],
             unit = b[2] > 0 ? b[2] : -(__int128)b[2];
    __int128 n = span > 0 ? (span + unit - 1) / unit : 0;
    if (n > 100000) return jj_fail(r, ALULA_LIMIT, "a range of more than 100000 numbers");
    struct jj_range *range = jj_alloc(r, sizeof *range);
    if (!range) return false;
    *range = (struct jj_range){b[0], n > 1 ? b[2] : 1, (int64_t)n};
    *ret = (struct jj_value){.kind = JJ_RANGE, .r = range};
    return true;
}

/* Under another name the compiler does not ask for a literal format: here the format is the template's,
 * and strftime takes any. */
static size_t (*const format_time)(char *, size_t, const char *, const struct tm *) = strftime;

static bool call_strftime(struct jj_run *r, struct jj_value self, const struct jj_value *a,
                          struct jj_value *ret)
{
    const struct jj_str *format = NULL;
    char spec[256], text[1024];
    struct tm tm;
    time_t now = r->now ? (time_t)r->now : time(NULL);
    (void)self;
    if (!jj_arg_str(r, a[0], "the format of strftime_now", &format)) return false;
    if (format->n >= sizeof spec || memchr(format->p, '\0', format->n))
        return jj_fail(r, ALULA_UNSUPPORTED, "a format of strftime_now over %zu bytes or with U+0000",
                       sizeof spec - 1);
    memcpy(spec, format->p, format->n);
    spec[format->n] = '\0';
    if (!localtime_r(&now, &tm)) return jj_fail(r, ALULA_FORMAT, "the time has no local form");
    size_t n = *spec ? format_time(text, sizeof text, spec, &tm) : 0;
    return jj_str_copy(r, text, n, ret);
}

static const struct jj_func globals[] = {
    {.name = "raise_exception", .params = "message /", .call = call_raise},
    {.name = "namespace", .call_any = call_namespace},
    {.name = "range", .call_any = call_range},
    {.name = "strftime_now", .params = "format /", .call = call_strftime},
    {.name = "dict", .call_any = call_dict},
    {.name = "joiner"},
    {.name = "cycler"},
    {.name = "lipsum"},
    {.name = NULL},
};

const struct jj_func *jj_global_find(const struct jj_str *name) { return jj_table_find(globals, name); }
