/* jinja_filter_text.c - filters that give text or a number from one value.
 *
 * Owns tojson's arguments, trimming, case, indent, escaping and the conversions to numbers. Filters take
 * the text of any value: 5|trim works. */
#include "text/jinja_internal.h"

#include "base/utf8.h"
#include "text/unicode.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILTER(name)                                                                                         \
    static bool name(struct jj_run *r, struct jj_value self, const struct jj_value *a, struct jj_value *ret)

static bool is_absent(struct jj_value v) { return v.kind == JJ_MISSING || v.kind == JJ_NONE; }

/* ---- tojson -------------------------------------------------------------------------------------------- */

static bool json_indent(struct jj_run *r, struct jj_value v, struct jj_json_style *style)
{
    int64_t n = 0;
    if (is_absent(v)) return true;
    style->pretty = true;
    style->item_n = 1;
    if (v.kind == JJ_STR) {
        style->indent = v.s->p;
        style->indent_n = v.s->n;
        return true;
    }
    if (!jj_arg_int(r, v, "tojson: indent", &n)) return false;
    if (n > 1000) return jj_fail(r, ALULA_LIMIT, "tojson: an indent of more than 1000 spaces");
    style->indent_n = n > 0 ? (size_t)n : 0;
    char *spaces = jj_alloc(r, style->indent_n + 1);
    if (!spaces) return false;
    memset(spaces, ' ', style->indent_n);
    style->indent = spaces;
    return true;
}

static bool json_separators(struct jj_run *r, struct jj_value v, struct jj_json_style *style)
{
    if (is_absent(v)) return true;
    bool list = v.kind == JJ_LIST || v.kind == JJ_TUPLE;
    if (!list || v.l->n != 2 || v.l->v[0].kind != JJ_STR || v.l->v[1].kind != JJ_STR)
        return jj_fail(r, ALULA_FORMAT, "tojson: separators must be two strings");
    style->item = v.l->v[0].s->p;
    style->item_n = v.l->v[0].s->n;
    style->key = v.l->v[1].s->p;
    style->key_n = v.l->v[1].s->n;
    return true;
}

FILTER(filter_tojson)
{
    struct jj_json_style style = {.ascii = jj_truth(a[0]),
                                  .sort = jj_truth(a[3]),
                                  .indent = "",
                                  .item = ", ",
                                  .item_n = 2,
                                  .key = ": ",
                                  .key_n = 2};
    size_t mark = r->out->len;
    return json_indent(r, a[1], &style) && json_separators(r, a[2], &style) && jj_put_json(r, self, &style) &&
           jj_take(r, mark, ret);
}

/* ---- text ---------------------------------------------------------------------------------------------- */

FILTER(filter_string)
{
    (void)a;
    return jj_text_of(r, self, ret);
}

FILTER(filter_safe)
{
    (void)a;
    if (!jj_text_of(r, self, ret)) return false;
    ret->flag = true;
    return true;
}

FILTER(filter_trim) { return jj_text_of(r, self, &self) && jj_str_strip(r, self, a[0], true, true, ret); }

static bool change_case(struct jj_run *r, struct jj_value self, enum jj_case how, struct jj_value *ret)
{
    return jj_text_of(r, self, &self) && jj_str_case(r, self, how, ret);
}

FILTER(filter_upper)
{
    (void)a;
    return change_case(r, self, JJ_UPPER, ret);
}

FILTER(filter_lower)
{
    (void)a;
    return change_case(r, self, JJ_LOWER, ret);
}

FILTER(filter_capitalize)
{
    (void)a;
    return change_case(r, self, JJ_CAPITALIZE, ret);
}

FILTER(filter_title)
{
    (void)a;
    return change_case(r, self, JJ_TITLE_FILTER, ret);
}

FILTER(filter_replace)
{
    struct jj_value from, to;
    int64_t count = -1;
    if (!jj_text_of(r, self, &self) || !jj_text_of(r, a[0], &from) || !jj_text_of(r, a[1], &to)) return false;
    if (!is_absent(a[2]) && !jj_arg_int(r, a[2], "replace: count", &count)) return false;
    return jj_str_replace(r, self.s, from.s, to.s, count, ret);
}

FILTER(filter_escape)
{
    (void)a;
    if (!jj_is_safe(self)) {
        size_t mark = r->out->len;
        if (!jj_text_of(r, self, &self) || !jj_put_escaped(r, self.s->p, self.s->n) ||
            !jj_take(r, mark, &self))
            return false;
    }
    *ret = self;
    ret->flag = true;
    return true;
}

static bool indent_width(struct jj_run *r, struct jj_value v, const char **p, size_t *n)
{
    int64_t width = 4;
    if (v.kind == JJ_STR) {
        *p = v.s->p;
        *n = v.s->n;
        return true;
    }
    if (v.kind != JJ_MISSING && !jj_arg_int(r, v, "indent: width", &width)) return false;
    if (width > 10000) return jj_fail(r, ALULA_LIMIT, "indent: a width of more than 10000");
    *n = width > 0 ? (size_t)width : 0;
    char *spaces = jj_alloc(r, *n + 1);
    if (!spaces) return false;
    memset(spaces, ' ', *n);
    *p = spaces;
    return true;
}

FILTER(filter_indent)
{
    const struct jj_str *s;
    const char *pad = "";
    size_t pad_n = 0, mark = r->out->len;
    bool blank = jj_truth(a[2]);
    if (!jj_arg_str(r, self, "the value of indent", &s) || !indent_width(r, a[0], &pad, &pad_n)) return false;
    if (jj_truth(a[1]) && !jj_put(r, pad, pad_n)) return false;
    bool first = true, more = true;
    for (size_t i = 0; more; first = false) {
        size_t text, line;
        jj_line_end(s->p + i, s->n - i, &text, &line);
        /* A line end at the very end begins one more, empty line. */
        more = line > text;
        if (!first && (!jj_put_str(r, "\n") || ((text || blank) && !jj_put(r, pad, pad_n)))) return false;
        if (!jj_put(r, s->p + i, text) || !jj_step(r, 1)) return false;
        i += line;
    }
    return jj_take(r, mark, ret);
}

FILTER(filter_default)
{
    bool use = self.kind == JJ_UNDEF || (jj_truth(a[1]) && !jj_truth(self));
    (void)r;
    if (!use)
        *ret = self;
    else if (a[0].kind != JJ_MISSING)
        *ret = a[0];
    else
        return jj_str_view(r, "", 0, ret);
    return true;
}

/* ---- numbers ------------------------------------------------------------------------------------------- */

static bool int_of_double(struct jj_run *r, double f, struct jj_value fallback, struct jj_value *ret)
{
    *ret = fallback;
    if (isnan(f)) return true;
    if (f >= 0x1p64 || f <= -0x1p64)
        return jj_fail(r, ALULA_UNSUPPORTED, "int: the value has more than 64 bits");
    return jj_from_int128(r, (__int128)f, ret);
}

/* Digits outside ASCII count as digits in Python: refused, so that they are not taken for no number. */
static bool has_foreign_digit(const struct jj_str *s)
{
    uint32_t cp = 0;
    for (size_t i = 0; i < s->n; i += (size_t)utf8_decode(s->p + i, s->n - i, &cp)) {
        utf8_decode(s->p + i, s->n - i, &cp);
        if (cp >= 0x80 && unicode_class(cp) == UNICODE_NUMBER) return true;
    }
    return false;
}

FILTER(filter_int)
{
    struct jj_value fallback = a[0].kind == JJ_MISSING ? jj_int(0) : a[0];
    double f;
    if (self.kind == JJ_UNDEF) return jj_fail_undef(r, self);
    if (a[1].kind != JJ_MISSING && !(a[1].kind == JJ_INT && a[1].i == 10))
        return jj_unsupported(r, "int with a base other than 10");
    if (self.kind == JJ_FLOAT && isinf(self.f))
        return jj_fail(r, ALULA_FORMAT, "int: infinity has no integer value");
    *ret = fallback;
    if (jj_is_int(self)) return jj_from_int128(r, jj_int128(self), ret);
    if (self.kind == JJ_FLOAT) return int_of_double(r, self.f, fallback, ret);
    if (self.kind != JJ_STR) return true;
    if (has_foreign_digit(self.s)) return jj_unsupported(r, "int of digits outside ASCII");
    size_t before = jj_space_before(self.s->p, self.s->n), n = self.s->n - before;
    n -= jj_space_after(self.s->p + before, n);
    bool fits;
    if (jj_parse_int(self.s->p + before, n, ret, &fits))
        return fits || jj_fail(r, ALULA_UNSUPPORTED, "int: the value has more than 64 bits");
    *ret = fallback;
    if (!jj_parse_float(self.s->p, self.s->n, &f) || isinf(f)) return true;
    return int_of_double(r, f, fallback, ret);
}

FILTER(filter_float)
{
    double f;
    if (self.kind == JJ_UNDEF) return jj_fail_undef(r, self);
    *ret = a[0].kind == JJ_MISSING ? jj_float(0) : a[0];
    if (jj_is_number(self)) {
        *ret = jj_float(jj_to_double(self));
    } else if (self.kind == JJ_STR) {
        if (has_foreign_digit(self.s)) return jj_unsupported(r, "float of digits outside ASCII");
        if (jj_parse_float(self.s->p, self.s->n, &f)) *ret = jj_float(f);
    }
    return true;
}

FILTER(filter_abs)
{
    (void)a;
    if (self.kind == JJ_UNDEF) return jj_fail_undef(r, self);
    if (!jj_is_number(self))
        return jj_fail(r, ALULA_FORMAT, "abs: the value is not a number but '%s'", jj_kind_name(self));
    if (self.kind == JJ_FLOAT) {
        *ret = jj_float(fabs(self.f));
        return true;
    }
    __int128 i = jj_int128(self);
    return jj_from_int128(r, i < 0 ? -i : i, ret);
}

/* Half to even on the exact decimal value, which is how printf rounds. */
static double round_common(double f, int precision)
{
    char text[512];
    if (!isfinite(f) || precision > 22) return f;
    snprintf(text, sizeof text, "%.*f", precision, f);
    return strtod(text, NULL);
}

FILTER(filter_round)
{
    int64_t precision = 0;
    bool common = a[1].kind == JJ_MISSING || (a[1].kind == JJ_STR && jj_str_is(a[1].s, "common"));
    bool up = a[1].kind == JJ_STR && jj_str_is(a[1].s, "ceil"),
         down = a[1].kind == JJ_STR && jj_str_is(a[1].s, "floor");
    if (self.kind == JJ_UNDEF) return jj_fail_undef(r, self);
    if (!jj_is_number(self))
        return jj_fail(r, ALULA_FORMAT, "round: the value is not a number but '%s'", jj_kind_name(self));
    if (!common && !up && !down)
        return jj_fail(r, ALULA_FORMAT, "round: method must be common, ceil or floor");
    if (a[0].kind != JJ_MISSING && !jj_arg_int(r, a[0], "round: precision", &precision)) return false;
    if (precision < 0 || (!common && precision > 22)) return jj_unsupported(r, "round with this precision");
    if (common && jj_is_int(self)) return jj_from_int128(r, jj_int128(self), ret);
    double f = jj_to_double(self), scale = pow(10, (double)precision);
    if (!common && !isfinite(f * scale))
        return jj_fail(r, ALULA_FORMAT, "round: the value has no %s", up ? "ceil" : "floor");
    if (common)
        *ret = jj_float(round_common(f, precision > 100 ? 100 : (int)precision));
    else
        *ret = jj_float(((up ? ceil(f * scale) : floor(f * scale)) + 0.0) /
                        scale); /* no -0.0, as through an int */
    return true;
}

const struct jj_func jj_filters_text[] = {
    {.name = "tojson", .params = "ensure_ascii indent separators sort_keys", .call = filter_tojson},
    {.name = "trim", .params = "chars", .call = filter_trim, .safe = JJ_SAFE_KEEP},
    {.name = "string", .params = "", .call = filter_string, .safe = JJ_SAFE_KEEP},
    {.name = "safe", .params = "", .call = filter_safe, .safe = JJ_SAFE_KEEP},
    {.name = "default", .params = "default_value boolean", .call = filter_default, .safe = JJ_SAFE_KEEP},
    {.name = "d", .params = "default_value boolean", .call = filter_default, .safe = JJ_SAFE_KEEP},
    {.name = "upper", .params = "", .call = filter_upper, .safe = JJ_SAFE_KEEP},
    {.name = "lower", .params = "", .call = filter_lower, .safe = JJ_SAFE_KEEP},
    {.name = "capitalize", .params = "", .call = filter_capitalize, .safe = JJ_SAFE_KEEP},
    {.name = "title", .params = "", .call = filter_title},
    {.name = "replace", .params = "old new / count", .call = filter_replace},
    {.name = "escape", .params = "", .call = filter_escape, .safe = JJ_SAFE_KEEP},
    {.name = "e", .params = "", .call = filter_escape, .safe = JJ_SAFE_KEEP},
    {.name = "indent", .params = "width first blank", .call = filter_indent, .safe = JJ_SAFE_REFUSE},
    {.name = "int", .params = "default base", .call = filter_int},
    {.name = "float", .params = "default", .call = filter_float},
    {.name = "abs", .params = "", .call = filter_abs},
    {.name = "round", .params = "precision method", .call = filter_round},
    {.name = NULL},
};
