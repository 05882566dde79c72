/* toolarg.c - typing of tool arguments.
 *
 * Owns which types a schema allows and the order in which they are tried. Must not know how calls are marked
 * up. */
#include "text/toolarg.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "text/json_type.h"

enum {
    REFS_MAX = 8,      /* references that may lead to one another */
    SCHEMAS_MAX = 512, /* schemas looked at for one value, however they are woven */
    DEPTH_MAX = 64
};

/* ---- which types a schema allows -------------------------------------------------------------------- */

static unsigned type_of_name(const char *name)
{
    static const struct {
        const char *names; /* in lower case, each with a space behind it */
        unsigned type;
    } known[] = {
        {"string str text varchar char enum ", TYPE_STRING},
        {"integer int int32 int64 uint uint32 uint64 long short unsigned ", TYPE_INTEGER},
        {"number float float32 float64 double ", TYPE_NUMBER},
        {"boolean bool ", TYPE_BOOLEAN},
        {"object dict ", TYPE_OBJECT},
        {"array arr list sequence ", TYPE_ARRAY},
        {"null ", TYPE_NULL},
    };
    size_t len = strlen(name);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        for (const char *p = known[i].names; *p; p = strchr(p, ' ') + 1)
            if (strncasecmp(p, name, len) == 0 && p[len] == ' ') return known[i].type;
    }
    return TYPE_OTHER;
}

static unsigned type_of_value(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_STRING: return TYPE_STRING;
    case JSON_INTEGER: return TYPE_INTEGER;
    case JSON_REAL: return TYPE_NUMBER;
    case JSON_OBJECT: return TYPE_OBJECT;
    case JSON_ARRAY: return TYPE_ARRAY;
    case JSON_NULL: return TYPE_NULL;
    default: return TYPE_BOOLEAN;
    }
}

/* The schema that "#/a/b" names inside root, or NULL. */
static const json_t *follow_ref(const json_t *root, const char *ref)
{
    if (ref[0] != '#') return NULL;
    for (ref++; root && *ref == '/';) {
        char name[256];
        size_t n = 0;
        for (ref++; *ref && *ref != '/' && n < sizeof name - 1; ref++) {
            bool escape = ref[0] == '~' && (ref[1] == '0' || ref[1] == '1');
            name[n++] = escape ? (ref[1] == '0' ? '~' : '/') : *ref;
            ref += escape;
        }
        name[n] = '\0';
        root =
            json_is_array(root) ? json_array_get(root, strtoul(name, NULL, 10)) : json_object_get(root, name);
    }
    return *ref ? NULL : root;
}

static unsigned types_of_schema(const json_t *schema, const json_t *root, int refs, int *budget)
{
    static const char *const joins[] = {"anyOf", "oneOf", "allOf"};
    const json_t *type = json_object_get(schema, "type"), *values = json_object_get(schema, "enum");
    const json_t *constant = json_object_get(schema, "const"), *ref = json_object_get(schema, "$ref");
    unsigned types = 0;
    if (--*budget < 0) return 0;
    if (json_is_string(type)) types |= type_of_name(json_string_value(type));
    for (size_t i = 0; i < json_array_size(type); i++) {
        const char *name = json_string_value(json_array_get(type, i));
        types |= name ? type_of_name(name) : 0;
    }
    for (size_t i = 0; i < json_array_size(values); i++) types |= type_of_value(json_array_get(values, i));
    if (constant) types |= type_of_value(constant);
    for (size_t k = 0; k < sizeof joins / sizeof *joins; k++) {
        const json_t *list = json_object_get(schema, joins[k]);
        for (size_t i = 0; i < json_array_size(list); i++)
            types |= types_of_schema(json_array_get(list, i), root, refs, budget);
    }
    if (json_is_string(ref) && refs < REFS_MAX)
        types |= types_of_schema(follow_ref(root, json_string_value(ref)), root, refs + 1, budget);
    return types;
}

/* ---- which of them the value fits ------------------------------------------------------------------- */

/* Bytes of digits at s. */
static size_t digits(const char *s, size_t n)
{
    size_t i = 0;
    while (i < n && s[i] >= '0' && s[i] <= '9') i++;
    return i;
}

/* Bytes of the whole part of a JSON number, sign and all; 0 if s begins none. */
static size_t whole_part(const char *s, size_t n)
{
    size_t sign = n > 0 && s[0] == '-', len = digits(s + sign, n - sign);
    if (len == 0 || (len > 1 && s[sign] == '0')) return 0;
    return sign + len;
}

/* Whether the whole part is an integer of 64 bits, sign and all: who reads the conversation again may refuse a longer one. */
static bool is_short(const char *s, size_t whole)
{
    char copy[24] = "";
    if (whole >= sizeof copy) return false;
    memcpy(copy, s, whole);
    errno = 0;
    strtoll(copy, NULL, 10);
    return errno == 0;
}

/* Bytes of the integer that s is, "5.0" being one, without the fraction; 0 if it is none. */
static size_t integer_len(const char *s, size_t n)
{
    size_t whole = whole_part(s, n);
    if (whole == 0 || !is_short(s, whole)) return 0;
    if (whole == n) return whole;
    if (s[whole] != '.' || whole + 1 == n) return 0;
    for (size_t i = whole + 1; i < n; i++)
        if (s[i] != '0') return 0;
    return whole;
}

static bool is_number(const char *s, size_t n)
{
    char copy[512]; /* longer ones stay text */
    size_t i = whole_part(s, n), len;
    if (i == 0 || n >= sizeof copy || (i == n && !is_short(s, i))) return false;
    if (i < n && s[i] == '.') {
        if ((len = digits(s + i + 1, n - i - 1)) == 0) return false;
        i += 1 + len;
    }
    if (i < n && (s[i] | 32) == 'e') {
        size_t sign = i + 1 < n && (s[i + 1] == '+' || s[i + 1] == '-');
        if ((len = digits(s + i + 1 + sign, n - i - 1 - sign)) == 0) return false;
        i += 1 + sign + len;
    }
    if (i != n) return false;
    memcpy(copy, s, n);
    copy[n] = '\0';
    return isfinite(strtod(copy, NULL));
}

static bool is_word(const char *s, size_t n, const char *word)
{
    return n == strlen(word) && strncasecmp(s, word, n) == 0;
}

/* Writes s as JSON if it is strict JSON of one of the types. */
static bool write_json(const char *s, size_t n, unsigned types, struct buf *out, struct alula_error *e)
{
    json_t *v = json_parse(s, n, DEPTH_MAX, "an argument", e);
    bool fits = v && (types & TYPE_OTHER || type_of_value(v) & types);
    if (fits) json_write(out, v, 0);
    json_decref(v);
    return fits;
}

bool toolarg_write(const json_t *parameters, const char *key, const char *value, size_t n, struct buf *out,
                   struct alula_error *e)
{
    int budget = SCHEMAS_MAX;
    const json_t *schema = json_object_get(json_object_get(parameters, "properties"), key);
    unsigned types = types_of_schema(schema, parameters, 0, &budget);
    const char *s = value;
    size_t len = n;
    while (len > 0 && toolarg_is_space(s[0])) s++, len--;
    while (len > 0 && toolarg_is_space(s[len - 1])) len--;
    size_t integer = types & TYPE_INTEGER ? integer_len(s, len) : 0;
    e->code = ALULA_OK;
    if (types == 0 || types == TYPE_STRING)
        json_write_str(out, value, n);
    else if ((is_word(s, len, "null") || is_word(s, len, "none")) &&
             (types & TYPE_NULL || !(types & TYPE_STRING)))
        buf_str(out, "null");
    else if (integer)
        buf_add(out, s, integer);
    else if (types & TYPE_NUMBER && is_number(s, len))
        buf_add(out, s, len);
    else if (types & TYPE_BOOLEAN && (is_word(s, len, "true") || is_word(s, len, "1")))
        buf_str(out, "true");
    else if (types & TYPE_BOOLEAN && (is_word(s, len, "false") || is_word(s, len, "0")))
        buf_str(out, "false");
    else if (!(types & (TYPE_OBJECT | TYPE_ARRAY | TYPE_OTHER)) ||
             !write_json(s, len, types & (TYPE_OBJECT | TYPE_ARRAY | TYPE_OTHER), out, e))
        json_write_str(out, value, n);
    return e->code != ALULA_NOMEM;
}
