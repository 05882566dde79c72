/* jinja_text.c - values to text: printing, repr, escaping, and tojson.
 *
 * Owns how each kind of value is spelled, as Python spells it. All text is built on top of the output
 * buffer, which has the only ceiling that text needs: mark the length, put pieces, take what stands above
 * the mark. */
#include "text/jinja_internal.h"

#include "base/json.h"
#include "base/utf8.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

bool jj_put(struct jj_run *r, const char *p, size_t n)
{
    if (r->out->len - r->out_base + n > JINJA_OUTPUT_MAX || n > JINJA_OUTPUT_MAX)
        return jj_fail(r, ALULA_LIMIT, "more than %zu bytes of output", JINJA_OUTPUT_MAX);
    buf_add(r->out, p, n);
    struct alula_error e;
    if (!buf_check(r->out, "the output", &e)) return jj_fail(r, e.code, "%s", e.message);
    return jj_marks_put(r, p, n) && jj_step(r, 1 + n / 64);
}

bool jj_put_str(struct jj_run *r, const char *literal) { return jj_put(r, literal, strlen(literal)); }

bool jj_take(struct jj_run *r, size_t mark, struct jj_value *ret)
{
    size_t n = r->out->len - mark;
    if (!jj_str_copy(r, n ? r->out->data + mark : "", n, ret)) return false;
    r->out->len = mark;
    return true;
}

const char *jj_kind_name(struct jj_value v)
{
    static const char *const names[JJ_KINDS] = {
        "missing", "Undefined", "NoneType", "bool",      "int",       "float", "str",      "list",   "tuple",
        "dict",    "dict view", "range",    "generator", "Namespace", "macro", "function", "method", "loop"};
    return names[v.kind];
}

/* ---- undefined ----------------------------------------------------------------------------------------- */

static void undef_message(struct jj_value v, char *out, size_t cap)
{
    struct jj_value owner = {.kind = v.owner};
    const char *of = jj_kind_name(owner);
    int n = v.flag <= JJ_UNSAFE && v.flag != JJ_NO_ELEMENT ? (int)(v.s->n < 200 ? v.s->n : 200) : 0;
    switch ((enum jj_why)v.flag) {
    case JJ_NO_NAME: snprintf(out, cap, "'%.*s' is undefined", n, v.s->p); break;
    case JJ_NO_ATTR:
        if (v.owner == JJ_NONE)
            snprintf(out, cap, "'None' has no attribute '%.*s'", n, v.s->p);
        else
            snprintf(out, cap, "'%s object' has no attribute '%.*s'", of, n, v.s->p);
        break;
    case JJ_NO_ELEMENT: snprintf(out, cap, "%s object has no element %" PRId64, of, v.i); break;
    case JJ_UNSAFE:
        snprintf(out, cap, "access to attribute '%.*s' of '%s' object is unsafe", n, v.s->p, of);
        break;
    case JJ_PLAIN: snprintf(out, cap, "%s", v.text); break;
    }
}

bool jj_fail_undef(struct jj_run *r, struct jj_value v)
{
    char text[400];
    undef_message(v, text, sizeof text);
    return jj_fail(r, ALULA_FORMAT, "%s", text);
}

/* ---- str and repr -------------------------------------------------------------------------------------- */

static bool put_repr(struct jj_run *r, struct jj_value v);

static bool put_number(struct jj_run *r, struct jj_value v, bool json)
{
    char text[32];
    if (v.kind == JJ_BOOL) return jj_put_str(r, json ? (v.b ? "true" : "false") : (v.b ? "True" : "False"));
    if (v.kind == JJ_INT) {
        snprintf(text, sizeof text, v.flag ? "%" PRIu64 : "%" PRId64, v.i);
        return jj_put_str(r, text);
    }
    if (isnan(v.f)) return jj_put_str(r, json ? "NaN" : "nan");
    if (isinf(v.f))
        return jj_put_str(r, v.f < 0 ? (json ? "-Infinity" : "-inf") : (json ? "Infinity" : "inf"));
    json_write_real(r->out, v.f);
    return jj_put(r, "", 0);
}

bool jj_put_escaped(struct jj_run *r, const char *p, size_t n)
{
    static const char *const names[] = {"&amp;", "&lt;", "&gt;", "&#39;", "&#34;"};
    size_t from = 0;
    for (size_t i = 0; i < n; i++) {
        const char *c = p[i] ? strchr("&<>'\"", p[i]) : NULL;
        if (!c) continue;
        if (!jj_put(r, p + from, i - from) || !jj_put_str(r, names[c - "&<>'\""])) return false;
        from = i + 1;
    }
    return jj_put(r, p + from, n - from);
}

/* The escape of one character in repr, or "" if it stands for itself. */
static void repr_escape(uint32_t cp, char quote, char out[12])
{
    static const char from[] = "\\\n\r\t", to[] = "\\nrt";
    const char *simple = cp && cp < 0x80 ? strchr(from, (int)cp) : NULL;
    if (simple)
        snprintf(out, 12, "\\%c", to[simple - from]);
    else if (cp == (unsigned char)quote)
        snprintf(out, 12, "\\%c", quote);
    else if (jj_char_printable(cp))
        out[0] = '\0';
    else
        snprintf(out, 12, cp < 0x100 ? "\\x%02x" : cp < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)cp);
}

static bool put_str_repr(struct jj_run *r, const struct jj_str *s)
{
    char quote = s->n && memchr(s->p, '\'', s->n) && !memchr(s->p, '"', s->n) ? '"' : '\'';
    size_t from = 0;
    if (!jj_put(r, &quote, 1)) return false;
    for (size_t i = 0; i < s->n;) {
        uint32_t cp = 0;
        char escape[12];
        int len = utf8_decode(s->p + i, s->n - i, &cp);
        repr_escape(cp, quote, escape);
        if (escape[0]) {
            if (!jj_put(r, s->p + from, i - from) || !jj_put_str(r, escape)) return false;
            from = i + (size_t)len;
        }
        i += (size_t)len;
    }
    return jj_put(r, s->p + from, s->n - from) && jj_put(r, &quote, 1);
}

static bool put_list_repr(struct jj_run *r, const struct jj_list *l, bool tuple)
{
    if (!jj_put_str(r, tuple ? "(" : "[")) return false;
    for (size_t i = 0; i < l->n; i++)
        if ((i && !jj_put_str(r, ", ")) || !put_repr(r, l->v[i])) return false;
    return jj_put_str(r, !tuple ? "]" : l->n == 1 ? ",)" : ")");
}

static bool put_dict_repr(struct jj_run *r, const struct jj_dict *d)
{
    if (!jj_put_str(r, "{")) return false;
    for (uint32_t i = 0; i < d->n; i++)
        if ((i && !jj_put_str(r, ", ")) || !put_repr(r, d->pairs[i].key) || !jj_put_str(r, ": ") ||
            !put_repr(r, d->pairs[i].value))
            return false;
    return jj_put_str(r, "}");
}

static bool put_repr(struct jj_run *r, struct jj_value v)
{
    if (jj_is_number(v)) return put_number(r, v, false);
    if (!jj_enter(r)) return false;
    bool ok;
    switch (v.kind) {
    case JJ_UNDEF: ok = jj_put_str(r, "Undefined"); break;
    case JJ_NONE: ok = jj_put_str(r, "None"); break;
    case JJ_STR:
        ok = v.flag ? jj_unsupported(r, "printing a list that holds a safe string") : put_str_repr(r, v.s);
        break;
    case JJ_LIST:
    case JJ_TUPLE: ok = put_list_repr(r, v.l, v.kind == JJ_TUPLE); break;
    case JJ_DICT: ok = put_dict_repr(r, v.d); break;
    default:
        ok = jj_fail(r, ALULA_UNSUPPORTED, "printing a value of type '%s' is not supported", jj_kind_name(v));
        break;
    }
    r->depth--;
    return ok;
}

bool jj_put_text(struct jj_run *r, struct jj_value v)
{
    if (v.kind == JJ_STR) return jj_put(r, v.s->p, v.s->n);
    return v.kind == JJ_UNDEF || put_repr(r, v);
}

bool jj_text_of(struct jj_run *r, struct jj_value v, struct jj_value *ret)
{
    *ret = v;
    if (v.kind == JJ_STR) return true;
    size_t mark = r->out->len;
    return jj_put_text(r, v) && jj_take(r, mark, ret);
}

/* ---- tojson -------------------------------------------------------------------------------------------- */

static void json_escape(uint32_t cp, bool ascii, char out[16])
{
    static const char from[] = "\"\\\b\t\n\f\r", to[] = "\"\\btnfr";
    const char *simple = cp && cp < 0x80 ? strchr(from, (int)cp) : NULL;
    if (simple)
        snprintf(out, 16, "\\%c", to[simple - from]);
    else if (cp < 0x20 || (ascii && cp > 0x7E && cp < 0x10000))
        snprintf(out, 16, "\\u%04x", (unsigned)cp);
    else if (ascii && cp >= 0x10000)
        snprintf(out, 16, "\\u%04x\\u%04x", 0xD800u + ((cp - 0x10000) >> 10),
                 0xDC00u + ((cp - 0x10000) & 0x3FF));
    else
        out[0] = '\0';
}

static bool put_json_str(struct jj_run *r, const char *p, size_t n, bool ascii)
{
    size_t from = 0;
    if (!jj_put_str(r, "\"")) return false;
    for (size_t i = 0; i < n;) {
        uint32_t cp = (unsigned char)p[i];
        char escape[16];
        size_t len = ascii && cp >= 0x80 ? (size_t)utf8_decode(p + i, n - i, &cp) : 1;
        json_escape(cp, ascii, escape);
        if (escape[0]) {
            if (!jj_put(r, p + from, i - from) || !jj_put_str(r, escape)) return false;
            from = i + len;
        }
        i += len;
    }
    return jj_put(r, p + from, n - from) && jj_put_str(r, "\"");
}

static bool put_json(struct jj_run *r, struct jj_value v, const struct jj_json_style *style, size_t level);

/* A new line and its indent, if the style has lines. */
static bool put_json_line(struct jj_run *r, const struct jj_json_style *style, size_t level)
{
    if (!style->pretty) return true;
    if (!jj_put_str(r, "\n")) return false;
    for (size_t i = 0; i < level; i++)
        if (!jj_put(r, style->indent, style->indent_n)) return false;
    return true;
}

static bool put_json_list(struct jj_run *r, const struct jj_list *l, const struct jj_json_style *style,
                          size_t level)
{
    if (l->n == 0) return jj_put_str(r, "[]");
    if (!jj_put_str(r, "[")) return false;
    for (size_t i = 0; i < l->n; i++)
        if ((i && !jj_put(r, style->item, style->item_n)) || !put_json_line(r, style, level + 1) ||
            !put_json(r, l->v[i], style, level + 1))
            return false;
    return put_json_line(r, style, level) && jj_put_str(r, "]");
}

static bool put_json_key(struct jj_run *r, struct jj_value key, bool ascii)
{
    if (key.kind == JJ_STR) return put_json_str(r, key.s->p, key.s->n, ascii);
    if (!jj_put_str(r, "\"")) return false;
    return (key.kind == JJ_NONE ? jj_put_str(r, "null") : put_number(r, key, true)) && jj_put_str(r, "\"");
}

/* Keys and values in the order of the keys. */
static bool sorted_pairs(struct jj_run *r, const struct jj_dict *d, struct jj_value **keys,
                         struct jj_value **values)
{
    *keys = jj_array(r, d->n, sizeof **keys);
    *values = jj_array(r, d->n, sizeof **values);
    if (!*keys || !*values) return false;
    for (uint32_t i = 0; i < d->n; i++) {
        (*keys)[i] = d->pairs[i].key;
        (*values)[i] = d->pairs[i].value;
    }
    return jj_sort(r, *values, *keys, d->n, false);
}

static bool put_json_dict(struct jj_run *r, const struct jj_dict *d, const struct jj_json_style *style,
                          size_t level)
{
    struct jj_value *keys = NULL, *values = NULL;
    if (d->n == 0) return jj_put_str(r, "{}");
    if (style->sort && !sorted_pairs(r, d, &keys, &values)) return false;
    if (!jj_put_str(r, "{")) return false;
    for (uint32_t i = 0; i < d->n; i++) {
        if ((i && !jj_put(r, style->item, style->item_n)) || !put_json_line(r, style, level + 1))
            return false;
        if (!put_json_key(r, keys ? keys[i] : d->pairs[i].key, style->ascii) ||
            !jj_put(r, style->key, style->key_n))
            return false;
        if (!put_json(r, values ? values[i] : d->pairs[i].value, style, level + 1)) return false;
    }
    return put_json_line(r, style, level) && jj_put_str(r, "}");
}

static bool put_json(struct jj_run *r, struct jj_value v, const struct jj_json_style *style, size_t level)
{
    if (!jj_step(r, 1)) return false;
    if (jj_is_number(v)) return put_number(r, v, true);
    if (!jj_enter(r)) return false;
    bool ok;
    switch (v.kind) {
    case JJ_NONE: ok = jj_put_str(r, "null"); break;
    case JJ_STR: ok = put_json_str(r, v.s->p, v.s->n, style->ascii); break;
    case JJ_LIST:
    case JJ_TUPLE: ok = put_json_list(r, v.l, style, level); break;
    case JJ_DICT: ok = put_json_dict(r, v.d, style, level); break;
    default:
        ok = jj_fail(r, ALULA_FORMAT, "tojson: a value of type '%s' has no JSON form", jj_kind_name(v));
        break;
    }
    r->depth--;
    return ok;
}

bool jj_put_json(struct jj_run *r, struct jj_value v, const struct jj_json_style *style)
{
    return put_json(r, v, style, 0);
}
