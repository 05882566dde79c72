/* schema_merge.c - schemas said together, and schemas told apart. Must not know grammars. */
#include <string.h>

#include "text/schema_parts.h"

enum { PARTS_MAX = 256, DEPTH_MAX = 32 };

static json_t *unconst(const json_t *v) { return (json_t *)(uintptr_t)v; }

bool schema_is_annotation(const char *keyword)
{
    static const char *const names[] = {
        "title",       "description",      "default",         "examples",     "example", "deprecated",
        "readOnly",    "writeOnly",        "$comment",        "$schema",      "$id",     "$defs",
        "definitions", "contentMediaType", "contentEncoding", "discriminator"};
    if (strncmp(keyword, "x-", 2) == 0) return true;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(keyword, names[i]) == 0) return true;
    return false;
}

/* ---- together ------------------------------------------------------------------------------------------- */

/* Equal as JSON Schema has it: 1 and 1.0 are. */
static bool same_value(const json_t *a, const json_t *b)
{
    if (json_is_number(a) && json_is_number(b)) return json_number_value(a) == json_number_value(b);
    return json_equal(unconst(a), unconst(b));
}

static bool contains(const json_t *list, const json_t *value)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        if (same_value(json_array_get(list, i), value)) return true;
    return false;
}

/* "both": a schema that says what two say. */
static json_t *both(const json_t *a, const json_t *b) { return json_pack("{s:[O,O]}", "allOf", a, b); }

static json_t *merge_properties(const json_t *a, const json_t *b)
{
    const char *name;
    json_t *value, *all = json_copy(unconst(a));
    json_object_foreach(unconst(b), name, value)
    {
        const json_t *other = json_object_get(a, name);
        if (!other)
            json_object_set(all, name, value);
        else if (!json_equal(other, value))
            json_object_set_new(all, name, both(other, value));
    }
    return all;
}

static json_t *merge_lists(const json_t *a, const json_t *b, bool in_both)
{
    json_t *all = in_both ? json_array() : json_copy(unconst(a));
    for (size_t i = 0; i < json_array_size(b); i++)
        if (contains(a, json_array_get(b, i)) == in_both) json_array_append(all, json_array_get(b, i));
    return all;
}

static json_t *merge_types(struct schema_reader *r, const json_t *a, const json_t *b)
{
    static const char *const names[] = {"null", "boolean", "integer", "number", "string", "array", "object"};
    unsigned x = schema_types(r, a), y = schema_types(r, b);
    if (x & TYPE_NUMBER) x |= TYPE_INTEGER;
    if (y & TYPE_NUMBER) y |= TYPE_INTEGER;
    json_t *all = json_array();
    for (unsigned i = 0; i < 7; i++)
        if (x & y & 1u << i) json_array_append_new(all, json_string(names[i]));
    return all;
}

/* What a keyword says in two parts, as one value; NULL: that is not known. */
static json_t *merge_values(struct schema_reader *r, const char *key, const json_t *a, const json_t *b)
{
    bool numbers = json_is_number(a) && json_is_number(b),
         larger = json_number_value(a) > json_number_value(b);
    if (schema_is_annotation(key) || json_equal(unconst(a), unconst(b))) return json_incref(unconst(a));
    if (strcmp(key, "properties") == 0) return merge_properties(a, b);
    if (strcmp(key, "required") == 0) return merge_lists(a, b, false);
    if (strcmp(key, "enum") == 0) return merge_lists(a, b, true);
    if (strcmp(key, "type") == 0) return merge_types(r, a, b);
    if (strcmp(key, "items") == 0 || strcmp(key, "additionalProperties") == 0) return both(a, b);
    if (numbers && (strncmp(key, "min", 3) == 0 || strcmp(key, "exclusiveMinimum") == 0))
        return json_incref(unconst(larger ? a : b));
    if (numbers && (strncmp(key, "max", 3) == 0 || strcmp(key, "exclusiveMaximum") == 0))
        return json_incref(unconst(larger ? b : a));
    return NULL;
}

/* Whether b declares properties for which a's additionalProperties would have to speak, too. */
static bool widens(const json_t *a, const json_t *b)
{
    const json_t *other = json_object_get(a, "additionalProperties");
    const char *name;
    json_t *value;
    if (!other || json_is_true(other)) return false;
    json_object_foreach(json_object_get(unconst(b), "properties"), name, value)
    {
        if (!json_object_get(json_object_get(a, "properties"), name)) return true;
    }
    return false;
}

/* Both together, a new schema, or NULL with an error. */
static json_t *merge(struct schema_reader *r, const json_t *a, const json_t *b)
{
    const char *key;
    json_t *value, *all;
    if (json_is_false(a) || json_is_true(b)) return json_incref(unconst(a));
    if (json_is_false(b) || json_is_true(a)) return json_incref(unconst(b));
    if (widens(a, b) || widens(b, a)) {
        schema_refuse(r, ALULA_UNSUPPORTED, "allOf",
                      "additionalProperties of one part and properties of another");
        return NULL;
    }
    all = json_copy(unconst(a));
    json_object_foreach(unconst(b), key, value)
    {
        const json_t *other = json_object_get(a, key);
        json_t *merged = other ? merge_values(r, key, other, value) : json_incref(value);
        if (merged && json_object_set_new(all, key, merged) == 0) continue;
        schema_refuse(r, ALULA_UNSUPPORTED, "allOf", "\"%.60s\" in two parts that do not agree", key);
        json_decref(all);
        return NULL;
    }
    return all;
}

/* Merges into *all what a schema says, part by part. */
static bool add_parts(struct schema_reader *r, const json_t *schema, int depth, int *budget, json_t **all)
{
    const json_t *ref = json_object_get(schema, "$ref"), *parts = json_object_get(schema, "allOf");
    if (depth > DEPTH_MAX || --*budget < 0)
        return schema_refuse(r, ALULA_LIMIT, NULL, "$ref and allOf lead to one another more than %d times",
                             depth > DEPTH_MAX ? DEPTH_MAX : PARTS_MAX);
    if (!json_is_object(schema) && !json_is_boolean(schema))
        return schema_refuse(r, ALULA_FORMAT, NULL, "expected a schema: an object, true or false");
    if (parts && !json_array_size(parts))
        return schema_refuse(r, ALULA_FORMAT, "allOf", "expected a list of schemas");
    json_t *own = json_is_object(schema) ? json_copy(unconst(schema)) : json_incref(unconst(schema));
    json_object_del(own, "$ref");
    json_object_del(own, "allOf");
    json_t *merged = merge(r, *all, own);
    json_decref(own);
    if (!merged) return false;
    json_decref(*all);
    *all = merged;
    const json_t *to = ref ? schema_resolve(r, ref) : NULL;
    if (ref && !(to && add_parts(r, to, depth + 1, budget, all))) return false;
    for (size_t i = 0; i < json_array_size(parts); i++)
        if (!add_parts(r, json_array_get(parts, i), depth + 1, budget, all)) return false;
    return true;
}

json_t *schema_flatten(struct schema_reader *r, const json_t *schema)
{
    int budget = PARTS_MAX;
    json_t *all = json_true();
    if (add_parts(r, schema, 0, &budget, &all)) return all;
    json_decref(all);
    return NULL;
}

/* ---- apart ---------------------------------------------------------------------------------------------- */

static const json_t *target(struct schema_reader *r, const json_t *schema)
{
    for (int i = 0; i < DEPTH_MAX && json_object_get(schema, "$ref"); i++) {
        const json_t *to = schema_resolve(r, json_object_get(schema, "$ref"));
        if (!to) break;
        schema = to;
    }
    return schema;
}

/* Whether both name their constants, and none is in common. */
static bool constants_apart(const json_t *a, const json_t *b)
{
    const json_t *one = json_object_get(a, "const"), *other = json_object_get(b, "const");
    const json_t *list = json_object_get(a, "enum"), *others = json_object_get(b, "enum");
    if (one && other) return !same_value(one, other);
    if (one && others) return !contains(others, one);
    if (list && other) return !contains(list, other);
    for (size_t i = 0; i < json_array_size(list); i++)
        if (contains(others, json_array_get(list, i))) return false;
    return list && others;
}

static unsigned types_of(struct schema_reader *r, const json_t *schema)
{
    const json_t *list = json_object_get(schema, "enum"), *one = json_object_get(schema, "const");
    unsigned types = 0;
    if (json_object_get(schema, "type")) types = schema_types(r, json_object_get(schema, "type"));
    for (unsigned bit = 1; !types && (list || one) && bit <= TYPE_OBJECT; bit <<= 1) {
        bool found = one && schema_has_type(one, bit);
        for (size_t i = 0; i < json_array_size(list); i++)
            found = found || schema_has_type(json_array_get(list, i), bit);
        types |= found ? bit : 0;
    }
    if (!types) types = TYPE_ANY;
    return types & TYPE_NUMBER ? types | TYPE_INTEGER : types;
}

bool schema_apart(struct schema_reader *r, const json_t *a, const json_t *b)
{
    const char *name;
    json_t *value;
    a = target(r, a);
    b = target(r, b);
    unsigned common = types_of(r, a) & types_of(r, b);
    if (!common || constants_apart(a, b)) return true;
    if (common != TYPE_OBJECT) return false;
    json_object_foreach(json_object_get(unconst(a), "properties"), name, value)
    {
        const json_t *other = json_object_get(json_object_get(b, "properties"), name);
        json_t *text = json_string(name);
        bool required =
            contains(json_object_get(a, "required"), text) && contains(json_object_get(b, "required"), text);
        json_decref(text);
        if (required && other && constants_apart(target(r, value), target(r, other))) return true;
    }
    return false;
}
