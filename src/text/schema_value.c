/* schema_value.c - how the values of each type are spelled under a schema: objects, arrays, numbers, strings, constants.
 * Must not know references or how schemas are put together. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "text/json_number.h"
#include "text/pattern.h"
#include "text/schema_parts.h"

enum {
    PROPERTIES_MAX = 1000,
    OTHER_NAMES_CHARS = 128, /* of a declared name that free keys must differ from */
    CONSTANTS_MAX = 20000
};

static int32_t call(struct schema_reader *r, int rule, int32_t next)
{
    return grammar_call(r->g, rule, next);
}

/* ---- objects -------------------------------------------------------------------------------------------- */

static bool is_required(const json_t *schema, const char *name)
{
    const json_t *list = json_object_get(schema, "required");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *s = json_string_value(json_array_get(list, i));
        if (s && strcmp(s, name) == 0) return true;
    }
    return false;
}

static bool check_object(struct schema_reader *r, const json_t *schema)
{
    const json_t *properties = json_object_get(schema, "properties"),
                 *required = json_object_get(schema, "required");
    if (properties && !json_is_object(properties))
        return schema_refuse(r, ALULA_FORMAT, "properties", "expected an object of schemas");
    if (required && !json_is_array(required))
        return schema_refuse(r, ALULA_FORMAT, "required", "expected a list of names");
    for (size_t i = 0; i < json_array_size(required); i++)
        if (!json_is_string(json_array_get(required, i)))
            return schema_refuse(r, ALULA_FORMAT, "required", "expected a list of names");
    if (json_object_size(properties) + json_array_size(required) > PROPERTIES_MAX)
        return schema_refuse(r, ALULA_LIMIT, "properties", "more than %d", PROPERTIES_MAX);
    return true;
}

bool schema_members(struct schema_reader *r, const json_t *schema, struct schema_object *o)
{
    json_t *properties = json_object_get(schema, "properties"), *value;
    const json_t *other = json_object_get(schema, "additionalProperties"),
                 *required = json_object_get(schema, "required");
    const char *name;
    if (!check_object(r, schema)) return false;
    o->properties =
        mem_zalloc(json_object_size(properties) + json_array_size(required) + 1, sizeof *o->properties);
    if (!o->properties) return schema_refuse(r, ALULA_NOMEM, NULL, "no memory");
    o->others = other ? !json_is_false(other) : !json_object_size(properties);
    o->other = other;
    json_object_foreach(properties, name, value) o->properties[o->n++] =
        (struct schema_property){name, value, is_required(schema, name)};
    for (size_t i = 0; i < json_array_size(required); i++) {
        name = json_string_value(json_array_get(required, i));
        if (json_object_get(properties, name)) continue;
        if (json_is_false(other))
            return schema_refuse(
                r, ALULA_FORMAT, "required",
                "\"%.60s\" is required, but additionalProperties is false and it is no property", name);
        o->properties[o->n++] = (struct schema_property){name, other, true};
    }
    return !r->error.code;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The rest of a key, its quote included, that differs from all of names[0..n), which agree before `at`. Characters in their
 * usual spelling, so that a key cannot hide. */
static int32_t other_key(struct schema_reader *r, const char *const *names, size_t n, size_t at,
                         int32_t free_rest, int32_t next)
{
    struct grammar *g = r->g;
    struct charset rest = {0};
    int32_t all = GRAMMAR_S_DEAD;
    bool complete = false;
    charset_add(&rest, 0x20, 0x10ffff);
    for (size_t i = 0, k; i < n && !g->failed; i = k) {
        uint32_t c, d;
        int len = utf8_decode(names[i] + at, strlen(names[i] + at), &c);
        for (k = i + 1;
             k < n && utf8_decode(names[k] + at, strlen(names[k] + at), &d) == len && c == d && len; k++) {
        }
        complete = complete || !len;
        if (!len) continue;
        struct charset one = {0};
        charset_add(&one, c, c);
        charset_remove(&rest, c, c);
        int32_t then = other_key(r, names + i, k - i, at + (size_t)len, free_rest, next);
        all = grammar_either(g, json_text_charset(g, &one, r->j->form, then), all);
    }
    charset_tidy(&rest);
    all = grammar_either(g, json_text_charset(g, &rest, r->j->form, free_rest), all);
    return complete ? all : grammar_either(g, grammar_str(g, "\"", next), all);
}

/* "key": value of a property that is not declared. */
static int32_t other_member(struct schema_reader *r, const struct schema_object *o, int32_t next)
{
    struct grammar *g = r->g;
    int rule = o->other ? schema_child(r, o->other, "additionalProperties", NULL) : r->j->value;
    const char **names = mem_zalloc(o->n + 1, sizeof *names);
    int32_t value = grammar_str(g, ": ", call(r, rule, next)), key = GRAMMAR_S_DEAD;
    for (size_t i = 0; names && i < o->n; i++) {
        names[i] = o->properties[i].name;
        if (strlen(names[i]) > OTHER_NAMES_CHARS)
            schema_refuse(r, ALULA_LIMIT, "additionalProperties",
                          "beside a property whose name is longer than %d bytes", OTHER_NAMES_CHARS);
    }
    if (!names) schema_refuse(r, ALULA_NOMEM, NULL, "no memory");
    if (!r->error.code && o->n == 0) {
        key = call(r, r->j->string, value);
    } else if (!r->error.code) {
        struct charset all = {0};
        charset_add(&all, 0x20, 0x10ffff);
        charset_tidy(&all);
        int32_t body = json_text_charset(g, &all, r->j->form, GRAMMAR_S_AGAIN);
        int32_t free_rest = grammar_repeat(g, body, 0, GRAMMAR_NO_LIMIT, grammar_str(g, "\"", value));
        qsort(names, o->n, sizeof *names, compare_names);
        key = grammar_str(g, "\"", other_key(r, names, o->n, 0, free_rest, value));
    }
    mem_free(names);
    return key;
}

/* Refuses what would be taken for the end of a call's value. */
static void check_tags(struct schema_reader *r, const char *s, size_t n)
{
    if (r->j->form & STRING_TAGLESS && json_text_has_tag(s, n))
        schema_refuse(r, ALULA_UNSUPPORTED, NULL, "a name or constant that holds a tag of a tool call");
}

static int32_t member(struct schema_reader *r, const struct schema_property *p, int32_t next)
{
    struct buf key;
    int rule = p->schema ? schema_child(r, p->schema, "properties", p->name) : r->j->value;
    buf_init(&key, 0);
    json_write_str(&key, p->name, strlen(p->name));
    buf_str(&key, ": ");
    check_tags(r, key.data ? key.data : "", key.len);
    int32_t begin = grammar_text(r->g, key.data ? key.data : "", key.len, call(r, rule, next));
    if (key.failed) schema_refuse(r, ALULA_NOMEM, NULL, "no memory");
    buf_free(&key);
    return begin;
}

int32_t schema_object(struct schema_reader *r, const json_t *schema)
{
    struct grammar *g = r->g;
    struct schema_object o = {0};
    /* What may come while nothing was written yet, and after something was. */
    int32_t first = grammar_str(g, "}", GRAMMAR_S_END), more = first;
    if (schema_members(r, schema, &o) && o.others) {
        int32_t again = grammar_str(g, ", ", other_member(r, &o, GRAMMAR_S_AGAIN));
        more = grammar_repeat(g, again, 0, GRAMMAR_NO_LIMIT, first);
        first = grammar_either(g, other_member(r, &o, more), first);
    }
    for (size_t i = o.n; i-- > 0 && !r->error.code;) {
        const struct schema_property *p = &o.properties[i];
        int32_t begin = member(r, p, more), next = grammar_str(g, ", ", begin);
        more = p->required ? next : grammar_either(g, next, more);
        first = p->required ? begin : grammar_either(g, begin, first);
    }
    mem_free(o.properties);
    return grammar_str(g, "{", first);
}

/* ---- arrays --------------------------------------------------------------------------------------------- */

int32_t schema_array(struct schema_reader *r, const json_t *schema)
{
    struct grammar *g = r->g;
    const json_t *items = json_object_get(schema, "items"), *prefix = json_object_get(schema, "prefixItems");
    const json_t *unique = json_object_get(schema, "uniqueItems");
    uint32_t min, max, n = (uint32_t)json_array_size(prefix);
    if (!schema_count(r, schema, "minItems", 0, &min) ||
        !schema_count(r, schema, "maxItems", GRAMMAR_NO_LIMIT, &max))
        return GRAMMAR_S_DEAD;
    if (unique && !json_is_false(unique))
        return schema_refuse(r, ALULA_UNSUPPORTED, "uniqueItems", "only false is supported");
    if (json_is_array(items))
        return schema_refuse(r, ALULA_UNSUPPORTED, "items",
                             "a list of schemas is not supported here, but as prefixItems");
    if (prefix && !n) return schema_refuse(r, ALULA_FORMAT, "prefixItems", "expected a list of schemas");
    /* Behind a prefix others come only if they are asked for. */
    bool others = items ? !json_is_false(items) : !prefix || min > n;
    int item = items && others ? schema_child(r, items, "items", NULL) : r->j->value;
    if (!others && max > n) max = n;
    if (min > max) return GRAMMAR_S_DEAD;
    int32_t end = grammar_str(g, "]", GRAMMAR_S_END), after = end;
    uint32_t least = min > n ? min - n : 0, most = max == GRAMMAR_NO_LIMIT ? max : max > n ? max - n : 0;
    if (n == 0) { /* the first has no comma */
        after =
            grammar_repeat(g, grammar_str(g, ", ", call(r, item, GRAMMAR_S_AGAIN)), least > 1 ? least - 1 : 0,
                           most == GRAMMAR_NO_LIMIT || !most ? most : most - 1, end);
        after = most ? call(r, item, after) : GRAMMAR_S_DEAD;
        return grammar_str(g, "[", least ? after : grammar_either(g, after, end));
    }
    after = grammar_repeat(g, grammar_str(g, ", ", call(r, item, GRAMMAR_S_AGAIN)), least, most, end);
    for (uint32_t i = n; i-- > 0 && !r->error.code;) {
        char index[16];
        snprintf(index, sizeof index, "%u", i);
        after = call(r, schema_child(r, json_array_get(prefix, i), "prefixItems", index), after);
        if (i > 0) after = grammar_str(g, ", ", after);
        after = i >= max ? end : i >= min ? grammar_either(g, after, end) : after;
    }
    return grammar_str(g, "[", after);
}

/* ---- numbers -------------------------------------------------------------------------------------------- */

/* The bound that is the narrower of two: the one beside it does not belong to the range. */
static bool read_bound(struct schema_reader *r, const json_t *schema, const char *closed, const char *open,
                       int sign, struct number_bound *ret)
{
    const json_t *a = json_object_get(schema, closed), *b = json_object_get(schema, open);
    if (a && !json_is_number(a)) return schema_refuse(r, ALULA_FORMAT, closed, "expected a number");
    if (b && !json_is_number(b)) return schema_refuse(r, ALULA_FORMAT, open, "expected a number");
    bool take_open = b && (!a || sign * (json_number_value(b) - json_number_value(a)) >= 0);
    *ret = take_open ? (struct number_bound){b, true} : (struct number_bound){a, false};
    return true;
}

int32_t schema_number(struct schema_reader *r, const json_t *schema, bool integer)
{
    struct number_range n = {.integer = integer, .multiple = 1};
    const json_t *multiple = json_object_get(schema, "multipleOf");
    double m = json_is_number(multiple) ? json_number_value(multiple) : 0;
    if (!read_bound(r, schema, "minimum", "exclusiveMinimum", 1, &n.min) ||
        !read_bound(r, schema, "maximum", "exclusiveMaximum", -1, &n.max))
        return GRAMMAR_S_DEAD;
    if (multiple && !(m >= 1 && m <= NUMBER_MULTIPLE_MAX && m == (int)m))
        return schema_refuse(r, ALULA_UNSUPPORTED, "multipleOf", "expected a whole number from 1 to %d",
                             NUMBER_MULTIPLE_MAX);
    if (!n.min.value && !n.max.value && !multiple)
        return call(r, integer ? r->j->integer : r->j->number, GRAMMAR_S_END);
    if (multiple) {
        n.multiple = (int)m;
        n.integer = true;
    }
    return json_number_between(r->g, &n, GRAMMAR_S_END);
}

/* ---- strings -------------------------------------------------------------------------------------------- */

#define DATE                                                                                                 \
    "[1-9][0-9]{3}-(0[13578]-(0[1-9]|[12][0-9]|3[01])|1[02]-(0[1-9]|[12][0-9]|3[01])|"                       \
    "(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))"
#define TIME   "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
#define OCTET  "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
#define LABEL  "[A-Za-z0-9]([A-Za-z0-9-]{0,30}[A-Za-z0-9])?"
#define DOMAIN LABEL "(\\." LABEL "){0,5}"
#define HEX    "[0-9A-Fa-f]"

/* Narrower than the standards where those have corners: no 29 February, no leap seconds, no quoted mailboxes. */
static const struct {
    const char *name, *pattern;
} formats[] = {
    {"date", "^" DATE "$"},
    {"time", "^" TIME "$"},
    {"date-time", "^" DATE "T" TIME "$"},
    {"email", "^[A-Za-z0-9_+-]{1,30}(\\.[A-Za-z0-9_+-]{1,15}){0,2}@" LABEL "(\\." LABEL "){1,3}$"},
    {"uuid", "^" HEX "{8}-" HEX "{4}-" HEX "{4}-" HEX "{4}-" HEX "{12}$"},
    {"ipv4", "^" OCTET "\\." OCTET "\\." OCTET "\\." OCTET "$"},
    {"hostname", "^" DOMAIN "$"},
};

static const char *format_pattern(struct schema_reader *r, const json_t *format)
{
    const char *name = json_string_value(format);
    for (size_t i = 0; name && i < sizeof formats / sizeof *formats; i++)
        if (strcmp(name, formats[i].name) == 0) return formats[i].pattern;
    schema_refuse(r, ALULA_UNSUPPORTED, "format",
                  "\"%.40s\", expected date-time, date, time, email, uuid, ipv4 or hostname",
                  name ? name : "?");
    return NULL;
}

int32_t schema_string(struct schema_reader *r, const json_t *schema, enum string_form form, int32_t next)
{
    const json_t *pattern = json_object_get(schema, "pattern"), *format = json_object_get(schema, "format");
    const char *quote = form & STRING_RAW ? "" : "\"", *text = json_string_value(pattern);
    struct alula_error why;
    uint32_t min, max;
    int32_t begin;
    if (!schema_count(r, schema, "minLength", 0, &min) ||
        !schema_count(r, schema, "maxLength", GRAMMAR_NO_LIMIT, &max))
        return GRAMMAR_S_DEAD;
    bool measured = min > 0 || max != GRAMMAR_NO_LIMIT;
    if ((pattern != NULL) + (format != NULL) + measured > 1)
        return schema_refuse(r, ALULA_UNSUPPORTED, pattern ? "pattern" : "format",
                             "together with another limit of the string: pattern, format, or lengths");
    if (min > max) return GRAMMAR_S_DEAD;
    if (!pattern && !format) {
        if (measured) return json_text_string(r->g, form, min, max, next);
        return form & STRING_RAW ? json_text_tagless(r->g, next) : call(r, r->j->string, next);
    }
    if (pattern && !text) return schema_refuse(r, ALULA_FORMAT, "pattern", "expected a text");
    if (format && !(text = format_pattern(r, format))) return GRAMMAR_S_DEAD;
    size_t n = pattern ? json_string_length(pattern) : strlen(text);
    if (!pattern_read(r->g, text, n, form, grammar_str(r->g, quote, next), &begin, &why))
        return schema_refuse(r, why.code, "pattern", "%s", why.message);
    return grammar_str(r->g, quote, begin);
}

/* ---- constants ------------------------------------------------------------------------------------------ */

bool schema_has_type(const json_t *v, unsigned types)
{
    double x = json_number_value(v);
    if (json_is_integer(v) || (json_is_real(v) && x == (double)(int64_t)(x > -1e18 && x < 1e18 ? x : 0.5)))
        return types & (TYPE_INTEGER | TYPE_NUMBER);
    return (json_is_null(v) && types & TYPE_NULL) || (json_is_boolean(v) && types & TYPE_BOOLEAN) ||
           (json_is_real(v) && types & TYPE_NUMBER) || (json_is_string(v) && types & TYPE_STRING) ||
           (json_is_array(v) && types & TYPE_ARRAY) || (json_is_object(v) && types & TYPE_OBJECT);
}

struct word {
    char *bytes;
    size_t n;
};

static int compare_words(const void *a, const void *b)
{
    const struct word *x = a, *y = b;
    int order = memcmp(x->bytes, y->bytes, x->n < y->n ? x->n : y->n);
    return order ? order : (x->n > y->n) - (x->n < y->n);
}

/* One of the sorted words, which agree in their first `at` bytes. What they have in common is built once. */
static int32_t words_from(struct grammar *g, const struct word *words, size_t n, size_t at, int32_t next)
{
    size_t common = at, least = words[0].n;
    const struct word *last = &words[n - 1];
    int32_t all = GRAMMAR_S_DEAD;
    while (common < least && common < last->n && words[0].bytes[common] == last->bytes[common]) common++;
    size_t i = 0;
    for (; i < n && words[i].n == common; i++) all = next;
    for (size_t k; i < n && !g->failed; i = k) {
        for (k = i + 1; k < n && words[k].bytes[common] == words[i].bytes[common]; k++) {
        }
        int32_t rest = k == i + 1 ? grammar_text(g, words[i].bytes + common, words[i].n - common, next)
                                  : words_from(g, words + i, k - i, common, next);
        all = grammar_either(g, rest, all);
    }
    return grammar_text(g, words[0].bytes + at, common - at, all);
}

static bool add_word(struct schema_reader *r, struct word *words, size_t *n, const json_t *value,
                     enum string_form form)
{
    struct buf text;
    buf_init(&text, 0);
    if (form & STRING_RAW)
        buf_add(&text, json_string_value(value), json_string_length(value));
    else
        json_write(&text, value, 0);
    if (text.failed) buf_free(&text);
    if (!text.data) return false;
    check_tags(r, text.data, text.len);
    words[(*n)++] = (struct word){text.data, text.len};
    return true;
}

int32_t schema_constants(struct schema_reader *r, const json_t *schema, unsigned types, enum string_form form,
                         int32_t next)
{
    const json_t *one = json_object_get(schema, "const"), *list = json_object_get(schema, "enum");
    size_t n = 0, count = list ? json_array_size(list) : 1;
    int32_t all = GRAMMAR_S_DEAD;
    if (list && !count) return schema_refuse(r, ALULA_FORMAT, "enum", "expected a list of values");
    if (count > CONSTANTS_MAX)
        return schema_refuse(r, ALULA_LIMIT, "enum", "more than %d values", CONSTANTS_MAX);
    struct word *words = mem_zalloc(count, sizeof *words);
    bool ok = words;
    for (size_t i = 0; ok && i < count; i++) {
        json_t *value = list ? json_array_get(list, i) : (json_t *)(uintptr_t)one;
        if (schema_has_type(value, types) && !(list && one && !json_equal(value, (json_t *)(uintptr_t)one)))
            ok = add_word(r, words, &n, value, form);
    }
    if (!ok) schema_refuse(r, ALULA_NOMEM, NULL, "no memory");
    if (ok && n) {
        qsort(words, n, sizeof *words, compare_words);
        all = words_from(r->g, words, n, 0, next);
    }
    for (size_t i = 0; i < n; i++) mem_free(words[i].bytes);
    mem_free(words);
    return all;
}
