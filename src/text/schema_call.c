/* schema_call.c - the parameters of a tool call: text between tags, typed by the tool's schema.
 *
 * Owns how a value is written so that its reader (toolarg.c) takes it for what the schema means: a string as
 * it stands, all else as JSON. A value that may be both must not be taken for the other; where that could
 * make it not fit, the schema is refused. Must not know the call around it. */
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "text/schema_parts.h"

enum { LEAVES_MAX = 64, DEPTH_MAX = 16 };

/* What a parameter may be: alternatives without alternatives. */
struct leaves {
    const json_t *items[LEAVES_MAX];
    int n;
};

static const json_t *keep(struct schema_reader *r, json_t *made)
{
    if (made && json_array_append_new(r->made, made) == 0) return made;
    schema_refuse(r, ALULA_NOMEM, NULL, "no memory");
    return NULL;
}

static bool add_leaves(struct schema_reader *r, const json_t *schema, int depth, struct leaves *l)
{
    unsigned spoken_of;
    if (json_object_get(schema, "$ref") || json_object_get(schema, "allOf")) {
        json_t *flat = schema_flatten(r, schema);
        if (!flat || !(schema = keep(r, flat))) return false;
    }
    if (!json_is_object(schema) && !json_is_boolean(schema))
        return schema_refuse(r, ALULA_FORMAT, NULL, "expected a schema: an object, true or false");
    if (json_is_object(schema) && !schema_check_keywords(r, schema, &spoken_of)) return false;
    const char *keyword = json_object_get(schema, "anyOf") ? "anyOf" : "oneOf";
    const json_t *list = json_object_get(schema, keyword);
    if (depth > DEPTH_MAX || l->n == LEAVES_MAX)
        return schema_refuse(r, ALULA_LIMIT, list ? keyword : NULL,
                             "too many alternatives for one parameter");
    if (!list) l->items[l->n++] = schema;
    if (list && !schema_check_apart(r, schema, keyword)) return false;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *one = schema_alternative(r, schema, keyword, json_array_get(list, i));
        if (!one || !add_leaves(r, one, depth + 1, l)) return false;
    }
    return true;
}

static bool has_constants(const json_t *leaf)
{
    return json_object_get(leaf, "enum") || json_object_get(leaf, "const");
}

static unsigned types_of_leaf(struct schema_reader *r, const json_t *leaf)
{
    unsigned spoken_of = 0;
    if (json_is_false(leaf)) return 0;
    if (json_is_object(leaf)) schema_check_keywords(r, leaf, &spoken_of);
    const json_t *type = json_object_get(leaf, "type");
    return type || !spoken_of || has_constants(leaf) ? schema_types(r, type) : spoken_of;
}

/* Whether a leaf says more than its types. */
static bool is_limited(struct schema_reader *r, const json_t *leaf)
{
    unsigned spoken_of = 0;
    if (json_is_object(leaf)) schema_check_keywords(r, leaf, &spoken_of);
    return spoken_of || has_constants(leaf);
}

/* Whether a reader that knows other types than strings could take a text for one of them. */
static bool looks_typed(const json_t *text)
{
    const char *s = json_string_value(text);
    while (s && isspace((unsigned char)*s)) s++;
    return s &&
           (strchr("-0123456789{[", *s) ? *s
                                        : strncasecmp(s, "true", 4) == 0 || strncasecmp(s, "false", 5) == 0);
}

static bool has_typed_constant(const json_t *leaf)
{
    const json_t *list = json_object_get(leaf, "enum");
    bool found = looks_typed(json_object_get(leaf, "const"));
    for (size_t i = 0; i < json_array_size(list); i++) found = found || looks_typed(json_array_get(list, i));
    return found;
}

/* Whether a string of one leaf could be read as a value of another type that does not fit. */
static bool may_mislead(struct schema_reader *r, const struct leaves *l)
{
    bool text = false, typed_text = false, other = false, limited = false;
    for (int i = 0; i < l->n; i++) {
        unsigned types = types_of_leaf(r, l->items[i]),
                 read_as = types & ~(unsigned)(TYPE_STRING | TYPE_NULL);
        if (types & TYPE_STRING) {
            text = text || !has_constants(l->items[i]);
            typed_text = typed_text || has_typed_constant(l->items[i]);
        }
        other = other || read_as;
        limited = limited || (read_as && is_limited(r, l->items[i]));
    }
    return (text && limited) || (typed_text && other);
}

static int32_t read_string(struct schema_reader *r, const json_t *leaf, int32_t next)
{
    enum string_form raw = STRING_RAW | STRING_TAGLESS;
    return has_constants(leaf) ? schema_constants(r, leaf, TYPE_STRING, raw, next)
                               : schema_string(r, leaf, raw, next);
}

/* The leaf without its strings. */
static int32_t read_others(struct schema_reader *r, const json_t *leaf, unsigned types, const char *name,
                           int32_t next)
{
    static const char *const names[] = {"null", "boolean", "integer", "number", "string", "array", "object"};
    json_t *list = json_array(),
           *other = json_is_object(leaf) ? json_copy((json_t *)(uintptr_t)leaf) : json_object();
    for (unsigned i = 0; i < 7; i++)
        if (types & 1u << i) json_array_append_new(list, json_string(names[i]));
    json_object_set_new(other, "type", list);
    for (const char *const *k = (const char *const[]){"minLength", "maxLength", "pattern", "format", NULL};
         *k; k++)
        json_object_del(other, *k);
    if (!keep(r, other)) return GRAMMAR_S_DEAD;
    return grammar_call(r->g, schema_child(r, other, "properties", name), next);
}

/* The value of a parameter, then next. */
static int32_t read_value(struct schema_reader *r, const json_t *schema, const char *name, int32_t next)
{
    struct leaves l = {0};
    int32_t all = GRAMMAR_S_DEAD;
    if (!schema) return json_text_tagless(r->g, next);
    if (!add_leaves(r, schema, 0, &l)) return all;
    if (may_mislead(r, &l))
        return schema_refuse(r, ALULA_UNSUPPORTED, NULL,
                             "a string that could be read as another type, which has limits of its own");
    for (int i = 0; i < l.n && !r->error.code; i++) {
        unsigned types = types_of_leaf(r, l.items[i]), others = types & ~(unsigned)TYPE_STRING;
        if (types & TYPE_STRING) all = grammar_either(r->g, all, read_string(r, l.items[i], next));
        if (others) all = grammar_either(r->g, all, read_others(r, l.items[i], others, name, next));
    }
    return all;
}

bool schema_is_name(const char *s)
{
    size_t n = strlen(s);
    return n > 0 && n <= SCHEMA_NAME_BYTES && !strpbrk(s, "<>\n") && !isspace((unsigned char)s[0]) &&
           !isspace((unsigned char)s[n - 1]);
}

/* <parameter=KEY> LF VALUE LF </parameter> LF */
static int32_t read_parameter(struct schema_reader *r, const struct schema_property *p, int32_t next)
{
    struct grammar *g = r->g;
    if (!schema_is_name(p->name))
        return schema_refuse(
            r, ALULA_UNSUPPORTED, "properties",
            "\"%.60s\" is no name for a parameter: 1 to %d bytes without <, > or line breaks, and "
            "no white space at its ends",
            p->name, SCHEMA_NAME_BYTES);
    const char *outer = r->pointer;
    char pointer[400];
    snprintf(pointer, sizeof pointer, "%.200s/properties/%.180s", outer, p->name);
    r->pointer = pointer;
    int32_t value = read_value(r, p->schema, p->name, grammar_str(g, "\n</parameter>\n", next));
    r->pointer = outer;
    return grammar_str(g, "<parameter=", grammar_str(g, p->name, grammar_str(g, ">\n", value)));
}

int32_t schema_call(struct schema_reader *r, const json_t *parameters, int32_t next)
{
    struct schema_object o = {0};
    unsigned spoken_of = 0;
    json_t *flat = schema_flatten(r, parameters);
    if (!flat || !keep(r, flat)) return GRAMMAR_S_DEAD;
    if (json_is_object(flat) && !schema_check_keywords(r, flat, &spoken_of)) return GRAMMAR_S_DEAD;
    const char *alternatives = json_object_get(flat, "anyOf") ? "anyOf" : "oneOf";
    if (json_object_get(flat, alternatives) || has_constants(flat) || spoken_of & ~(unsigned)TYPE_OBJECT ||
        (json_object_get(flat, "type") && schema_types(r, json_object_get(flat, "type")) != TYPE_OBJECT))
        return schema_refuse(r, ALULA_UNSUPPORTED, NULL, "the parameters of a tool must be one object");
    if (schema_members(r, flat, &o))
        for (size_t i = o.n; i-- > 0 && !r->error.code;) {
            int32_t begin = read_parameter(r, &o.properties[i], next);
            next = o.properties[i].required ? begin : grammar_either(r->g, begin, next);
        }
    mem_free(o.properties);
    return next;
}
