/* jinja_json.c - reads the context: JSON text straight into values.
 *
 * Jansson cannot serve here: whether a number is an integer or a float is decided by its spelling,
 * integers reach 2^64-1, and strings may hold U+0000. Strings without escapes point into the text.
 * Refused: what is not JSON, integers of more than 64 bits, lone surrogates, text that is not UTF-8,
 * nesting beyond a ceiling. */
#include "text/jinja_internal.h"

#include "base/utf8.h"

#include <math.h>
#include <string.h>

struct reader {
    struct jj_run *r;
    const char *p, *end, *start;
    const char *what;
    int depth;
};

static bool fail(struct reader *x, enum alula_code code, const char *found)
{
    int line = 1;
    for (const char *p = x->start; p < x->p; p++) line += *p == '\n';
    return err_set(x->r->e, code, "%s: line %d, byte %zu: %s", x->what, line, (size_t)(x->p - x->start),
                   found);
}

static void skip_space(struct reader *x)
{
    while (x->p < x->end && (*x->p == ' ' || *x->p == '\t' || *x->p == '\n' || *x->p == '\r')) x->p++;
}

static bool eat(struct reader *x, char c)
{
    skip_space(x);
    if (x->p == x->end || *x->p != c) return false;
    x->p++;
    return true;
}

static bool read_value(struct reader *x, struct jj_value *ret);

/* ---- strings ------------------------------------------------------------------------------------------- */

static bool read_hex(struct reader *x, uint32_t *ret)
{
    uint32_t v = 0;
    if (x->end - x->p < 4) return fail(x, ALULA_FORMAT, "an escape \\u that is cut off");
    for (int i = 0; i < 4; i++) {
        char c = x->p[i];
        if (c >= '0' && c <= '9')
            v = v * 16 + (uint32_t)(c - '0');
        else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
            v = v * 16 + (uint32_t)((c | 0x20) - 'a' + 10);
        else
            return fail(x, ALULA_FORMAT, "an escape \\u without four hexadecimal digits");
    }
    x->p += 4;
    *ret = v;
    return true;
}

/* Behind \u: one character, perhaps of two escapes. */
static bool read_unicode(struct reader *x, char **out)
{
    uint32_t cp, low;
    if (!read_hex(x, &cp)) return false;
    if (cp >= 0xD800 && cp < 0xDC00 && x->end - x->p >= 2 && x->p[0] == '\\' && x->p[1] == 'u') {
        x->p += 2;
        if (!read_hex(x, &low)) return false;
        if (low < 0xDC00 || low >= 0xE000)
            return fail(x, ALULA_FORMAT, "a lone surrogate, which is no character");
        cp = 0x10000 + ((cp - 0xD800) << 10) + (low - 0xDC00);
    }
    if (cp >= 0xD800 && cp < 0xE000) return fail(x, ALULA_FORMAT, "a lone surrogate, which is no character");
    *out += utf8_encode(cp, *out);
    return true;
}

static bool read_escape(struct reader *x, char **out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    char c = x->p[1];
    const char *simple = c ? strchr(from, c) : NULL;
    if (!simple && c != 'u') return fail(x, ALULA_FORMAT, "an unknown escape in a string");
    x->p += 2;
    if (c == 'u') return read_unicode(x, out);
    *(*out)++ = to[simple - from];
    return true;
}

/* The bytes up to end with escapes resolved; they never get more. */
static bool read_escaped(struct reader *x, const char *end, struct jj_value *ret)
{
    char *copy = jj_alloc(x->r, (size_t)(end - x->p)), *to = copy;
    if (!copy) return false;
    while (x->p < end) {
        if (*x->p == '\\') {
            if (!read_escape(x, &to)) return false;
        } else {
            *to++ = *x->p++;
        }
    }
    return jj_str_view(x->r, copy, (size_t)(to - copy), ret);
}

/* The opening quote is consumed. */
static bool read_string(struct reader *x, struct jj_value *ret)
{
    const char *p = x->p;
    bool plain = true;
    for (; p < x->end && *p != '"'; p++) {
        if ((unsigned char)*p < 0x20) {
            x->p = p;
            return fail(x, ALULA_FORMAT, "a control character in a string");
        }
        plain = plain && *p != '\\';
        if (*p == '\\' && ++p == x->end) break;
    }
    if (p == x->end) return fail(x, ALULA_FORMAT, "a string that never ends");
    bool ok = plain ? jj_str_view(x->r, x->p, (size_t)(p - x->p), ret) : read_escaped(x, p, ret);
    if (ok) x->p = p + 1;
    return ok && jj_marks_find(x->r, ret->s->p, ret->s->n);
}

/* ---- the rest ------------------------------------------------------------------------------------------ */

static const char *digits(const char *p, const char *end)
{
    while (p < end && *p >= '0' && *p <= '9') p++;
    return p;
}

static bool read_number(struct reader *x, struct jj_value *ret)
{
    const char *p = x->p + (*x->p == '-'), *q = digits(p, x->end);
    bool whole = true, fits = true;
    if (q == p || (*p == '0' && q > p + 1)) return fail(x, ALULA_FORMAT, "something that is no JSON value");
    if (q + 1 < x->end && *q == '.' && digits(q + 1, x->end) > q + 1) {
        whole = false;
        q = digits(q + 1, x->end);
    }
    if (q < x->end && (*q == 'e' || *q == 'E')) {
        p = q + 1 + (q + 1 < x->end && (q[1] == '+' || q[1] == '-'));
        if (digits(p, x->end) > p) {
            whole = false;
            q = digits(p, x->end);
        }
    }
    double f = 0;
    if (whole)
        jj_parse_int(x->p, (size_t)(q - x->p), ret, &fits);
    else if (!jj_parse_float(x->p, (size_t)(q - x->p), &f))
        return fail(x, ALULA_UNSUPPORTED, "a number of too many digits");
    if (!fits) return fail(x, ALULA_UNSUPPORTED, "an integer of more than 64 bits");
    if (!whole) *ret = jj_float(f);
    x->p = q;
    return true;
}

static bool read_list(struct reader *x, struct jj_value *ret)
{
    struct jj_items items = {0};
    struct jj_value v;
    if (!eat(x, ']')) {
        do {
            if (!read_value(x, &v) || !jj_items_add(x->r, &items, v)) return false;
        } while (eat(x, ','));
        if (!eat(x, ']')) return fail(x, ALULA_FORMAT, "expected ',' or ']'");
    }
    return jj_items_list(x->r, &items, JJ_LIST, ret);
}

static bool read_dict(struct reader *x, struct jj_value *ret)
{
    struct jj_dict *d = jj_dict_new(x->r);
    struct jj_value key, v;
    if (!d) return false;
    if (!eat(x, '}')) {
        do {
            if (!eat(x, '"')) return fail(x, ALULA_FORMAT, "expected the name of a member");
            if (!read_string(x, &key)) return false;
            if (!eat(x, ':')) return fail(x, ALULA_FORMAT, "expected ':'");
            if (!read_value(x, &v) || !jj_dict_set(x->r, d, key, v)) return false;
        } while (eat(x, ','));
        if (!eat(x, '}')) return fail(x, ALULA_FORMAT, "expected ',' or '}'");
    }
    *ret = jj_of_dict(d);
    return true;
}

static bool read_word(struct reader *x, struct jj_value *ret)
{
    static const struct {
        const char *text;
        struct jj_value v;
    } words[] = {
        {"null", {.kind = JJ_NONE}}, {"true", {.kind = JJ_BOOL, .b = true}}, {"false", {.kind = JJ_BOOL}}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        size_t n = strlen(words[i].text);
        if ((size_t)(x->end - x->p) < n || memcmp(x->p, words[i].text, n) != 0) continue;
        x->p += n;
        *ret = words[i].v;
        return true;
    }
    return fail(x, ALULA_FORMAT, "something that is no JSON value");
}

static bool read_value(struct reader *x, struct jj_value *ret)
{
    bool ok;
    skip_space(x);
    if (x->p == x->end) return fail(x, ALULA_FORMAT, "the text ends where a value was expected");
    if (++x->depth > JJ_VALUE_DEPTH_MAX) return fail(x, ALULA_LIMIT, "lists and objects are nested too deep");
    if (eat(x, '{'))
        ok = read_dict(x, ret);
    else if (eat(x, '['))
        ok = read_list(x, ret);
    else if (eat(x, '"'))
        ok = read_string(x, ret);
    else if (*x->p == '-' || (*x->p >= '0' && *x->p <= '9'))
        ok = read_number(x, ret);
    else
        ok = read_word(x, ret);
    x->depth--;
    return ok;
}

bool jj_json_read(struct jj_run *r, const char *text, size_t n, const char *what, struct jj_value *ret)
{
    if (n == 0) text = "";
    struct reader x = {.r = r, .p = text, .end = text + n, .start = text, .what = what};
    if (n > JINJA_CONTEXT_MAX)
        return err_set(r->e, ALULA_LIMIT, "%s is %zu bytes long, the limit is %zu", what, n,
                       JINJA_CONTEXT_MAX);
    size_t valid = utf8_valid_len(text, n);
    if (valid < n) return err_set(r->e, ALULA_FORMAT, "%s is not UTF-8 at byte %zu", what, valid);
    if (!read_value(&x, ret)) return false;
    skip_space(&x);
    return x.p == x.end || fail(&x, ALULA_FORMAT, "something stands behind the value");
}
