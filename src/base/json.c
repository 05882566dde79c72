/* json.c - JSON: guards in front of jansson, a writer by Python's rules, typed members.
 *
 * Owns depth and number form. Knows nothing of any particular document. */
#include "base/json.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/utf8.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of jansson's tree, at most: an object, or a member with its key and its place in the table. */
#define VALUE_BYTES 256

/* ---- reading --------------------------------------------------------------------------------- */

/* Jansson recurses, and a byte of text may become a hundred of tree; so the text is measured before it sees it. What
 * stands inside strings does not count; an unbalanced text is left for jansson to describe. */
struct measure {
    int depth;       /* the deepest */
    size_t n_values; /* at most */
};

static struct measure measure(const char *s, size_t n)
{
    struct measure m = {.n_values = 1};
    int depth = 0;
    bool quoted = false;
    for (size_t i = 0; i < n; i++) {
        if (quoted) {
            if (s[i] == '\\')
                i++;
            else if (s[i] == '"')
                quoted = false;
        } else if (s[i] == '"') {
            quoted = true;
        } else if (s[i] == '[' || s[i] == '{') {
            m.n_values++;
            if (++depth > m.depth) m.depth = depth;
        } else if (s[i] == ']' || s[i] == '}') {
            depth--;
        } else if (s[i] == ',') {
            m.n_values++;
        }
    }
    return m;
}

size_t json_bytes(const char *text, size_t n) { return n + VALUE_BYTES * measure(text, n).n_values; }

json_t *json_parse(const char *text, size_t n, int max_depth, const char *what, struct alula_error *e)
{
    mem_setup();
    if (measure(text, n).depth > max_depth) {
        err_set(e, ALULA_LIMIT, "%s: JSON is nested more than %d deep", what, max_depth);
        return NULL;
    }
    json_error_t why;
    uint64_t refused = mem_refused();
    json_t *v = json_loadb(n ? text : "", n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &why);
    if (v) return v;
    /* Jansson itself mostly takes exhausted memory for a mistake in the text. */
    if (mem_refused() != refused)
        err_set(e, ALULA_NOMEM, "%s: out of memory while reading JSON", what);
    else
        err_set(e, ALULA_FORMAT, "%s: not valid JSON at line %d, column %d: %s", what, why.line, why.column,
                why.text);
    return NULL;
}

json_t *json_parse_file(const char *path, size_t max_bytes, int max_depth, struct alula_error *e)
{
    struct buf b;
    buf_init(&b, max_bytes);
    json_t *v = file_read(path, max_bytes, &b, e) ? json_parse(b.data, b.len, max_depth, path, e) : NULL;
    buf_free(&b);
    return v;
}

/* ---- writing --------------------------------------------------------------------------------- */

/* One escaped character, or as many plain bytes as stand at s. Returns bytes taken. */
static size_t write_piece(struct buf *b, const char *s, size_t n)
{
    static const char named[] = "\"\\\n\r\t\b\f", letter[] = "\"\\nrtbf";
    size_t k = 0;
    while (k < n && (unsigned char)s[k] >= 0x20 && (unsigned char)s[k] < 0x80 && s[k] != '"' && s[k] != '\\')
        k++;
    if (k > 0) {
        buf_add(b, s, k);
        return k;
    }
    const char *hit = s[0] ? strchr(named, s[0]) : NULL;
    if (hit) {
        buf_fmt(b, "\\%c", letter[hit - named]);
        return 1;
    }
    if ((unsigned char)s[0] < 0x20) {
        buf_fmt(b, "\\u%04x", (unsigned char)s[0]);
        return 1;
    }
    uint32_t cp;
    int len = utf8_decode(s, n, &cp);
    if (len > 0) {
        buf_add(b, s, (size_t)len);
        return (size_t)len;
    }
    bool more;
    buf_str(b, "\xef\xbf\xbd");
    return (size_t)utf8_broken_prefix(s, n, &more);
}

void json_write_str(struct buf *b, const char *s, size_t n)
{
    buf_byte(b, '"');
    for (size_t i = 0; i < n && !b->failed;) i += write_piece(b, s + i, n - i);
    buf_byte(b, '"');
}

void json_write_int(struct buf *b, int64_t v) { buf_fmt(b, "%jd", (intmax_t)v); }

/* Decimal form d.ddd x 10^exp of a positive number. */
struct decimal {
    char digits[20];
    int n, exp;
};

static struct decimal decimal_round(double v, int n)
{
    char text[40];
    struct decimal d = {.n = 0};
    snprintf(text, sizeof text, "%.*e", n - 1, v);
    const char *p = text;
    for (; *p != 'e'; p++)
        if (*p >= '0' && *p <= '9') d.digits[d.n++] = *p;
    d.exp = atoi(p + 1);
    return d;
}

static double decimal_value(const struct decimal *d)
{
    char text[40];
    snprintf(text, sizeof text, "%.*se%d", d->n, d->digits, d->exp - d->n + 1);
    return strtod(text, NULL);
}

/* The next larger decimal of as many digits. */
static struct decimal decimal_next(struct decimal d)
{
    int i = d.n - 1;
    while (i >= 0 && d.digits[i] == '9') d.digits[i--] = '0';
    if (i >= 0) {
        d.digits[i]++;
    } else {
        d.digits[0] = '1';
        d.exp++;
    }
    return d;
}

/* Fewest digits that read back as v, the nearest of those. 15 digits always survive the way through a normal
 * double, so the search need not begin lower except among subnormals. Below a power of two doubles stand
 * twice as dense as above, so there the nearest decimal of n digits may lie outside while the next larger one
 * still reads back. */
static struct decimal decimal_shortest(double v)
{
    struct decimal d = {.n = 0};
    for (int n = v < DBL_MIN ? 1 : 15; n <= 17; n++) {
        d = decimal_round(v, n);
        if (decimal_value(&d) == v) break;
        struct decimal up = decimal_next(d);
        if (decimal_value(&up) == v) {
            d = up;
            break;
        }
    }
    while (d.n > 1 && d.digits[d.n - 1] == '0') d.n--;
    return d;
}

void json_write_real(struct buf *b, double v)
{
    if (!isfinite(v)) {
        buf_str(b, "null");
        return;
    }
    if (signbit(v)) buf_byte(b, '-');
    struct decimal d = v == 0 ? (struct decimal){"0", 1, 0} : decimal_shortest(fabs(v));
    if (d.exp < -4 || d.exp >= 16) {
        buf_byte(b, (unsigned char)d.digits[0]);
        if (d.n > 1) buf_fmt(b, ".%.*s", d.n - 1, d.digits + 1);
        buf_fmt(b, "e%c%02d", d.exp < 0 ? '-' : '+', abs(d.exp));
    } else if (d.exp < 0) {
        buf_fmt(b, "0.%.*s%.*s", -d.exp - 1, "000", d.n, d.digits);
    } else {
        int whole = d.exp + 1;
        for (int i = 0; i < whole; i++) buf_byte(b, (unsigned char)(i < d.n ? d.digits[i] : '0'));
        if (d.n > whole)
            buf_fmt(b, ".%.*s", d.n - whole, d.digits + whole);
        else
            buf_str(b, ".0");
    }
}

static void write_value(struct buf *b, const json_t *v, int indent, int level);

/* What stands before item i: a comma, and a line break or a space. */
static void write_gap(struct buf *b, size_t i, int indent, int level)
{
    if (i > 0) buf_byte(b, ',');
    if (indent > 0)
        buf_fmt(b, "\n%*s", indent * level, "");
    else if (i > 0)
        buf_byte(b, ' ');
}

static void write_array(struct buf *b, const json_t *v, int indent, int level)
{
    size_t n = json_array_size(v);
    buf_byte(b, '[');
    for (size_t i = 0; i < n && !b->failed; i++) {
        write_gap(b, i, indent, level + 1);
        write_value(b, json_array_get(v, i), indent, level + 1);
    }
    if (n > 0 && indent > 0) write_gap(b, 0, indent, level);
    buf_byte(b, ']');
}

static void write_object(struct buf *b, const json_t *v, int indent, int level)
{
    size_t i = 0;
    json_t *o = (json_t *)(uintptr_t)v; /* the iterator wants it so, and changes nothing */
    buf_byte(b, '{');
    for (void *it = json_object_iter(o); it && !b->failed; it = json_object_iter_next(o, it)) {
        const char *key = json_object_iter_key(it);
        write_gap(b, i++, indent, level + 1);
        json_write_str(b, key, strlen(key));
        buf_str(b, ": ");
        write_value(b, json_object_iter_value(it), indent, level + 1);
    }
    if (i > 0 && indent > 0) write_gap(b, 0, indent, level);
    buf_byte(b, '}');
}

static void write_value(struct buf *b, const json_t *v, int indent, int level)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT: write_object(b, v, indent, level); break;
    case JSON_ARRAY: write_array(b, v, indent, level); break;
    case JSON_STRING: json_write_str(b, json_string_value(v), json_string_length(v)); break;
    case JSON_INTEGER: json_write_int(b, json_integer_value(v)); break;
    case JSON_REAL: json_write_real(b, json_real_value(v)); break;
    case JSON_TRUE: buf_str(b, "true"); break;
    case JSON_FALSE: buf_str(b, "false"); break;
    case JSON_NULL: buf_str(b, "null"); break;
    }
}

void json_write(struct buf *b, const json_t *v, int indent) { write_value(b, v, indent, 0); }

/* ---- members --------------------------------------------------------------------------------- */

/* The value as it would stand in a document, cut to fit a message. */
static const char *shown(const json_t *v, char *out, size_t cap)
{
    if (json_is_object(v)) return "an object";
    if (json_is_array(v)) return "an array";
    struct buf b;
    buf_init(&b, 0);
    json_write(&b, v, 0);
    const char *text = b.data ? b.data : "?";
    if (strlen(text) < cap)
        strcpy(out, text);
    else
        snprintf(out, cap, "%.40s...", text);
    buf_free(&b);
    return out;
}

bool json_write_report(struct buf *b, json_t *root, struct alula_error *e)
{
    if (!root) return err_set(e, ALULA_NOMEM, "no memory for the report");
    json_write(b, root, 2);
    buf_byte(b, '\n');
    json_decref(root);
    return true;
}

static bool refuse(const json_t *v, const char *key, const char *what, const char *expected,
                   struct alula_error *e)
{
    char text[64];
    if (!v) return err_set(e, ALULA_FORMAT, "%s: \"%s\" is missing, expected %s", what, key, expected);
    return err_set(e, ALULA_FORMAT, "%s: \"%s\" is %s, expected %s", what, key, shown(v, text, sizeof text),
                   expected);
}

/* NULL if absent or null; missing is then the caller's business. */
static const json_t *member(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    return json_is_null(v) ? NULL : v;
}

bool json_get_int(const json_t *o, const char *key, int64_t min, int64_t max, int64_t *ret, const char *what,
                  struct alula_error *e)
{
    const json_t *v = member(o, key);
    int64_t n = v && json_is_integer(v) ? json_integer_value(v) : 0;
    if (!v || !json_is_integer(v) || n < min || n > max) {
        char expected[96];
        snprintf(expected, sizeof expected, "a whole number from %jd to %jd", (intmax_t)min, (intmax_t)max);
        return refuse(v, key, what, expected, e);
    }
    *ret = n;
    return true;
}

bool json_get_int_or(const json_t *o, const char *key, int64_t min, int64_t max, int64_t fallback,
                     int64_t *ret, const char *what, struct alula_error *e)
{
    if (member(o, key)) return json_get_int(o, key, min, max, ret, what, e);
    *ret = fallback;
    return true;
}

bool json_get_real(const json_t *o, const char *key, double min, double max, double *ret, const char *what,
                   struct alula_error *e)
{
    const json_t *v = member(o, key);
    double x = v && json_is_number(v) ? json_number_value(v) : NAN;
    if (!(x >= min && x <= max)) {
        char expected[96];
        snprintf(expected, sizeof expected, "a number from %g to %g", min, max);
        return refuse(v, key, what, expected, e);
    }
    *ret = x;
    return true;
}

bool json_get_real_or(const json_t *o, const char *key, double min, double max, double fallback, double *ret,
                      const char *what, struct alula_error *e)
{
    if (member(o, key)) return json_get_real(o, key, min, max, ret, what, e);
    *ret = fallback;
    return true;
}

bool json_get_bool_or(const json_t *o, const char *key, bool fallback, bool *ret, const char *what,
                      struct alula_error *e)
{
    const json_t *v = member(o, key);
    if (v && !json_is_boolean(v)) return refuse(v, key, what, "true or false", e);
    *ret = v ? json_is_true(v) : fallback;
    return true;
}

bool json_get_str_or(const json_t *o, const char *key, const char *fallback, const char **ret,
                     const char *what, struct alula_error *e)
{
    const json_t *v = member(o, key);
    if (v && (!json_is_string(v) || strlen(json_string_value(v)) != json_string_length(v)))
        return refuse(v, key, what, "a string without NUL characters", e);
    *ret = v ? json_string_value(v) : fallback;
    return true;
}
