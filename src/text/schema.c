/* schema.c - reads schemas one after another: each is a rule, and leads to those of its parts.
 *
 * Owns the list of what is to be read, references, places in errors, and the choice between types and
 * alternatives. No schema is read within another, so nesting costs no stack. Must not know how values are
 * spelled. */
#include "text/schema.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "text/schema_parts.h"

enum { BUCKETS = 1 << 16, ONE_OF_MAX = 100 };

/* ---- places and errors ---------------------------------------------------------------------------------- */

bool schema_refuse(struct schema_reader *r, enum alula_code code, const char *keyword, const char *fmt, ...)
{
    char why[400];
    va_list ap;
    if (r->error.code) return false;
    va_start(ap, fmt);
    vsnprintf(why, sizeof why, fmt, ap);
    va_end(ap);
    return err_set(&r->error, code, "%s, at #%.300s%s%.60s: %s", r->place, r->pointer, keyword ? "/" : "",
                   keyword ? keyword : "", why);
}

static bool no_memory(struct schema_reader *r) { return schema_refuse(r, ALULA_NOMEM, NULL, "no memory"); }

bool schema_reader_create(struct schema_reader **ret, struct json_text *j, const json_t *root,
                          const char *place, struct alula_error *e)
{
    struct schema_reader *r = mem_zalloc(1, sizeof *r);
    if (r) {
        r->j = j;
        r->g = j->g;
        r->root = root;
        r->pointer = "";
        snprintf(r->place, sizeof r->place, "%s", place);
        r->made = json_array();
        r->by_schema = mem_alloc(BUCKETS * sizeof *r->by_schema);
    }
    if (!r || !r->made || !r->by_schema) {
        schema_reader_free(r);
        return err_set(e, ALULA_NOMEM, "no memory to read a schema");
    }
    memset(r->by_schema, 0xff, BUCKETS * sizeof *r->by_schema);
    *ret = r;
    return true;
}

void schema_reader_free(struct schema_reader *r)
{
    if (!r) return;
    for (int i = 0; i < r->n_items; i++) mem_free(r->items[i].pointer);
    mem_free(r->items);
    mem_free(r->by_schema);
    json_decref(r->made);
    mem_free(r);
}

/* ---- what is to be read --------------------------------------------------------------------------------- */

static bool add_item(struct schema_reader *r, const json_t *schema, const char *pointer)
{
    if (r->n_items == SCHEMA_PARTS_MAX)
        return schema_refuse(r, ALULA_LIMIT, NULL, "the schema has more than %d parts", SCHEMA_PARTS_MAX);
    if (r->n_items == r->cap_items) {
        int more = r->cap_items ? 2 * r->cap_items : 64;
        void *p = mem_realloc(r->items, (size_t)more * sizeof *r->items);
        if (!p) return no_memory(r);
        r->items = p;
        r->cap_items = more;
    }
    char *copy = mem_strdup(pointer);
    if (!copy) return no_memory(r);
    r->items[r->n_items++] = (struct schema_item){schema, copy, grammar_rule(r->g)};
    return true;
}

int schema_rule(struct schema_reader *r, const json_t *schema, const char *pointer)
{
    /* jansson has one true and one false for all: they are no places of their own, but what they say is the same. */
    size_t at = ((uintptr_t)schema >> 4) * 0x9e3779b97f4a7c15u >> 40;
    if (r->error.code || r->g->failed) return 0;
    for (at %= BUCKETS; r->by_schema[at] >= 0; at = (at + 1) % BUCKETS)
        if (r->items[r->by_schema[at]].schema == schema) return r->items[r->by_schema[at]].rule;
    if (!add_item(r, schema, pointer)) return 0;
    r->by_schema[at] = r->n_items - 1;
    return r->items[r->n_items - 1].rule;
}

int schema_child(struct schema_reader *r, const json_t *schema, const char *keyword, const char *name)
{
    struct buf pointer;
    buf_init(&pointer, 4096);
    buf_fmt(&pointer, "%.2000s/%s%s", r->pointer, keyword, name ? "/" : "");
    for (size_t n = 0; name && *name && n < 1000; name++, n++) {
        if (*name == '~' || *name == '/')
            buf_str(&pointer, *name == '~' ? "~0" : "~1");
        else
            buf_byte(&pointer, (unsigned char)*name);
    }
    int rule = pointer.failed ? (no_memory(r), 0) : schema_rule(r, schema, pointer.data);
    buf_free(&pointer);
    return rule;
}

/* ---- references ----------------------------------------------------------------------------------------- */

/* The next name of a JSON pointer, without its escapes. Returns the place behind it, or NULL. */
static const char *next_name(const char *p, char *name, size_t cap)
{
    size_t n = 0;
    for (; *p && *p != '/'; p++) {
        unsigned char c = (unsigned char)*p;
        unsigned hex;
        if (c == '%' && sscanf(p + 1, "%2x", &hex) == 1) {
            c = (unsigned char)hex;
            p += 2;
        }
        if (c == '~' && (p[1] == '0' || p[1] == '1')) c = *++p == '0' ? '~' : '/';
        if (n + 1 == cap || !c) return NULL;
        name[n++] = (char)c;
    }
    name[n] = '\0';
    return p;
}

const json_t *schema_resolve(struct schema_reader *r, const json_t *ref)
{
    const char *text = json_string_value(ref), *p = text;
    const json_t *at = r->root;
    char name[512];
    if (!text) {
        schema_refuse(r, ALULA_FORMAT, "$ref", "expected a text");
        return NULL;
    }
    if (p[0] != '#' || (p[1] && p[1] != '/')) {
        schema_refuse(r, ALULA_UNSUPPORTED, "$ref", "\"%.100s\" leads out of the schema, expected #/...",
                      text);
        return NULL;
    }
    for (p++; *p == '/' && at;) {
        if (!(p = next_name(p + 1, name, sizeof name))) break;
        at = json_is_array(at) ? json_array_get(at, strtoul(name, NULL, 10)) : json_object_get(at, name);
    }
    if (!p || !at) {
        schema_refuse(r, ALULA_FORMAT, "$ref", "there is nothing at \"%.100s\"", text);
        return NULL;
    }
    return at;
}

/* ---- keywords ------------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    unsigned types; /* that it speaks of */
} keywords[] = {
    {"type", 0},
    {"enum", 0},
    {"const", 0},
    {"anyOf", 0},
    {"oneOf", 0},
    {"allOf", 0},
    {"$ref", 0},
    {"properties", TYPE_OBJECT},
    {"required", TYPE_OBJECT},
    {"additionalProperties", TYPE_OBJECT},
    {"items", TYPE_ARRAY},
    {"prefixItems", TYPE_ARRAY},
    {"minItems", TYPE_ARRAY},
    {"maxItems", TYPE_ARRAY},
    {"uniqueItems", TYPE_ARRAY},
    {"minLength", TYPE_STRING},
    {"maxLength", TYPE_STRING},
    {"pattern", TYPE_STRING},
    {"format", TYPE_STRING},
    {"minimum", TYPE_NUMBER},
    {"maximum", TYPE_NUMBER},
    {"exclusiveMinimum", TYPE_NUMBER},
    {"exclusiveMaximum", TYPE_NUMBER},
    {"multipleOf", TYPE_NUMBER},
};

/* Refuses what is not known. *ret: the types that the keywords speak of. */
bool schema_check_keywords(struct schema_reader *r, const json_t *schema, unsigned *ret)
{
    const char *key;
    json_t *value;
    *ret = 0;
    json_object_foreach((json_t *)(uintptr_t)schema, key, value)
    {
        size_t i = 0, n = sizeof keywords / sizeof *keywords;
        while (i < n && strcmp(keywords[i].name, key)) i++;
        if (i < n)
            *ret |= keywords[i].types;
        else if (!schema_is_annotation(key))
            return schema_refuse(r, ALULA_UNSUPPORTED, key, "this keyword is not supported");
    }
    return true;
}

static unsigned type_named(struct schema_reader *r, const json_t *name)
{
    static const char *const names[] = {"null", "boolean", "integer", "number", "string", "array", "object"};
    const char *s = json_string_value(name);
    for (unsigned i = 0; s && i < 7; i++)
        if (strcmp(s, names[i]) == 0) return 1u << i;
    if (s)
        schema_refuse(r, ALULA_FORMAT, "type", "\"%.40s\" is no type of JSON", s);
    else
        schema_refuse(r, ALULA_FORMAT, "type", "expected the name of a type, or a list of them");
    return 0;
}

unsigned schema_types(struct schema_reader *r, const json_t *type)
{
    unsigned types = 0;
    if (!type) return TYPE_ANY;
    if (!json_is_array(type)) return type_named(r, type);
    for (size_t i = 0; i < json_array_size(type); i++) types |= type_named(r, json_array_get(type, i));
    if (!types) schema_refuse(r, ALULA_FORMAT, "type", "the list of types is empty");
    if (types & TYPE_NUMBER) types &= ~(unsigned)TYPE_INTEGER;
    return r->error.code ? 0 : types;
}

bool schema_count(struct schema_reader *r, const json_t *schema, const char *keyword, uint32_t fallback,
                  uint32_t *ret)
{
    const json_t *v = json_object_get(schema, keyword);
    double n = json_is_number(v) ? json_number_value(v) : -1;
    *ret = fallback;
    if (!v) return true;
    if (n < 0 || n != (double)(uint64_t)(n < 1e18 ? n : 1e18))
        return schema_refuse(r, ALULA_FORMAT, keyword, "expected a whole number, 0 or more");
    if (n > GRAMMAR_COUNT_MAX && strncmp(keyword, "min", 3) == 0)
        return schema_refuse(r, ALULA_LIMIT, keyword, "found %.0f, expected at most %d", n,
                             GRAMMAR_COUNT_MAX);
    *ret = n > GRAMMAR_COUNT_MAX ? GRAMMAR_COUNT_MAX : (uint32_t)n;
    return true;
}

/* ---- reading one schema --------------------------------------------------------------------------------- */

static bool has_more_than(const json_t *schema, const char *keyword)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)schema, key, value)
    {
        if (strcmp(key, keyword) && !schema_is_annotation(key)) return true;
    }
    return false;
}

/* One of a list, together with what stands beside the list. */
const json_t *schema_alternative(struct schema_reader *r, const json_t *schema, const char *keyword,
                                 const json_t *one)
{
    if (!has_more_than(schema, keyword)) return one;
    json_t *all = json_copy((json_t *)(uintptr_t)schema), *parts = json_pack("[O]", one);
    json_object_del(all, keyword);
    if (!all || !parts || json_object_set_new(all, "allOf", parts) || json_array_append_new(r->made, all)) {
        no_memory(r);
        return NULL;
    }
    return all;
}

bool schema_check_apart(struct schema_reader *r, const json_t *schema, const char *keyword)
{
    const json_t *list = json_object_get(schema, keyword);
    size_t n = strcmp(keyword, "oneOf") == 0 ? json_array_size(list) : 0;
    if (!json_array_size(list)) return schema_refuse(r, ALULA_FORMAT, keyword, "expected a list of schemas");
    if (n > ONE_OF_MAX) return schema_refuse(r, ALULA_LIMIT, keyword, "more than %d parts", ONE_OF_MAX);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < i; k++)
            if (!schema_apart(r, json_array_get(list, k), json_array_get(list, i)))
                return schema_refuse(
                    r, ALULA_UNSUPPORTED, keyword,
                    "parts %zu and %zu are not told apart by type, constants, or a constant of a "
                    "required property",
                    k, i);
    return true;
}

static int32_t read_alternatives(struct schema_reader *r, const json_t *schema, const char *keyword)
{
    const json_t *list = json_object_get(schema, keyword);
    int32_t all = GRAMMAR_S_DEAD;
    if (!schema_check_apart(r, schema, keyword)) return all;
    for (size_t i = json_array_size(list); i-- > 0 && !r->error.code;) {
        char index[24];
        snprintf(index, sizeof index, "%zu", i);
        const json_t *one = schema_alternative(r, schema, keyword, json_array_get(list, i));
        all = grammar_either(r->g, grammar_call(r->g, schema_child(r, one, keyword, index), GRAMMAR_S_END),
                             all);
    }
    return all;
}

static int32_t read_type(struct schema_reader *r, const json_t *schema, unsigned type)
{
    struct grammar *g = r->g;
    int32_t end = GRAMMAR_S_END;
    switch (type) {
    case TYPE_NULL: return grammar_str(g, "null", end);
    case TYPE_BOOLEAN: return grammar_either(g, grammar_str(g, "true", end), grammar_str(g, "false", end));
    case TYPE_INTEGER: return schema_number(r, schema, true);
    case TYPE_NUMBER: return schema_number(r, schema, false);
    case TYPE_STRING: return schema_string(r, schema, r->j->form, end);
    case TYPE_ARRAY: return schema_array(r, schema);
    default: return schema_object(r, schema);
    }
}

static int32_t read_types(struct schema_reader *r, const json_t *schema, unsigned spoken_of)
{
    const json_t *type = json_object_get(schema, "type");
    unsigned types = type || !spoken_of ? schema_types(r, type) : spoken_of;
    int32_t all = GRAMMAR_S_DEAD;
    if (!type && !spoken_of) return grammar_call(r->g, r->j->value, GRAMMAR_S_END);
    for (unsigned bit = 1; bit <= TYPE_OBJECT && !r->error.code; bit <<= 1)
        if (types & bit) all = grammar_either(r->g, all, read_type(r, schema, bit));
    return all;
}

/* Constants are all that fits; what else is said of them must be in their types. */
static int32_t read_constants(struct schema_reader *r, const json_t *schema, unsigned spoken_of)
{
    if (spoken_of)
        return schema_refuse(r, ALULA_UNSUPPORTED, NULL,
                             "enum or const beside a keyword that limits the values further");
    unsigned types = schema_types(r, json_object_get(schema, "type"));
    return r->error.code ? GRAMMAR_S_DEAD : schema_constants(r, schema, types, r->j->form, GRAMMAR_S_END);
}

static int32_t read_flat(struct schema_reader *r, const json_t *schema)
{
    unsigned spoken_of;
    if (!schema_check_keywords(r, schema, &spoken_of)) return GRAMMAR_S_DEAD;
    bool any = json_object_get(schema, "anyOf"), one = json_object_get(schema, "oneOf");
    if (any && one) return schema_refuse(r, ALULA_UNSUPPORTED, "oneOf", "anyOf and oneOf in one schema");
    if (any || one) return read_alternatives(r, schema, any ? "anyOf" : "oneOf");
    if (json_object_get(schema, "enum") || json_object_get(schema, "const"))
        return read_constants(r, schema, spoken_of);
    return read_types(r, schema, spoken_of);
}

static int32_t read_schema(struct schema_reader *r, const json_t *schema)
{
    const json_t *ref = json_object_get(schema, "$ref");
    if (json_is_true(schema)) return grammar_call(r->g, r->j->value, GRAMMAR_S_END);
    if (json_is_false(schema)) return GRAMMAR_S_DEAD;
    if (!json_is_object(schema))
        return schema_refuse(r, ALULA_FORMAT, NULL, "expected a schema: an object, true or false");
    if (ref && !has_more_than(schema, "$ref")) {
        const json_t *to = schema_resolve(r, ref);
        return to ? grammar_call(r->g, schema_rule(r, to, json_string_value(ref) + 1), GRAMMAR_S_END)
                  : GRAMMAR_S_DEAD;
    }
    if (!ref && !json_object_get(schema, "allOf")) return read_flat(r, schema);
    json_t *flat = schema_flatten(r, schema);
    if (!flat) return GRAMMAR_S_DEAD;
    if (json_array_append_new(r->made, flat)) return no_memory(r);
    return json_is_object(flat) ? read_flat(r, flat) : GRAMMAR_S_DEAD;
}

bool schema_reader_finish(struct schema_reader *r, struct alula_error *e)
{
    for (; r->n_read < r->n_items && !r->error.code && !r->g->failed; r->n_read++) {
        struct schema_item item = r->items[r->n_read];
        r->pointer = item.pointer;
        grammar_define(r->g, item.rule, read_schema(r, item.schema));
    }
    if (r->error.code) *e = r->error;
    return !r->error.code;
}
