/* schema_parts.h - what the files of the schema reader share. Internal to them. */
#ifndef TEXT_SCHEMA_PARTS_H
#define TEXT_SCHEMA_PARTS_H

#include "text/json_type.h"
#include "text/schema.h"

struct schema_reader {
    struct json_text *j;
    struct grammar *g;
    const json_t *root;
    char place[80];
    struct schema_item {
        const json_t *schema;
        char *pointer;
        int rule;
    } * items; /* [n_items] asked for; those before n_read are defined */
    int n_items, cap_items, n_read;
    int32_t *by_schema;       /* hash table of items by the schema's address */
    json_t *made;             /* array: keeps schemas that were put together alive */
    const char *pointer;      /* of the schema that is being read */
    struct alula_error error; /* the first; code OK = none */
};

#define SCHEMA_PARTS_MAX 20000

/* ---- schema.c ---- */

/* Errors at a keyword of the schema that is being read (NULL: at the schema itself). Return false, GRAMMAR_S_DEAD. */
bool schema_refuse(struct schema_reader *r, enum alula_code code, const char *keyword, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* A rule for the schema at `keyword` (and `name`, if not NULL) of the one that is being read. */
int schema_child(struct schema_reader *r, const json_t *schema, const char *keyword, const char *name);
/* What a $ref names, or NULL with an error. */
const json_t *schema_resolve(struct schema_reader *r, const json_t *ref);
/* Types by name or list; TYPE_ANY if there is none. 0 with an error. */
unsigned schema_types(struct schema_reader *r, const json_t *type);
/* A whole number of a keyword, 0 to GRAMMAR_COUNT_MAX (a larger maximum is cut to that). */
bool schema_count(struct schema_reader *r, const json_t *schema, const char *keyword, uint32_t fallback,
                  uint32_t *ret);

/* Refuses keywords that are not known. *ret: the types that the others speak of. */
bool schema_check_keywords(struct schema_reader *r, const json_t *schema, unsigned *ret);
/* Whether the parts of a oneOf are told apart; true for other keywords. */
bool schema_check_apart(struct schema_reader *r, const json_t *schema, const char *keyword);
/* One of a list of alternatives, together with what stands beside the list. NULL with an error. */
const json_t *schema_alternative(struct schema_reader *r, const json_t *schema, const char *keyword,
                                 const json_t *one);

/* ---- schema_merge.c ---- */

/* Whether a keyword says nothing about what fits. */
bool schema_is_annotation(const char *keyword);
/* A schema that says what this one, its $ref and the parts of its allOf say together; the caller's reference, or NULL with
 * an error. It has none of these keywords. */
json_t *schema_flatten(struct schema_reader *r, const json_t *schema);
/* Whether nothing can fit both. */
bool schema_apart(struct schema_reader *r, const json_t *a, const json_t *b);

/* ---- schema_value.c: what follows is GRAMMAR_S_END ---- */

struct schema_property {
    const char *name;
    const json_t *schema; /* NULL: any value */
    bool required;
};

/* The properties that are written by name, in their order, then what others may be. */
struct schema_object {
    struct schema_property *properties; /* [n], for mem_free */
    size_t n;
    const json_t *other; /* NULL: any value */
    bool others;
};

bool schema_members(struct schema_reader *r, const json_t *schema, struct schema_object *o);
int32_t schema_object(struct schema_reader *r, const json_t *schema);
int32_t schema_array(struct schema_reader *r, const json_t *schema);
int32_t schema_number(struct schema_reader *r, const json_t *schema, bool integer);
/* Without quotes in raw form. */
int32_t schema_string(struct schema_reader *r, const json_t *schema, enum string_form form, int32_t next);
/* One of the values of enum and const that are of the types. */
int32_t schema_constants(struct schema_reader *r, const json_t *schema, unsigned types, enum string_form form,
                         int32_t next);
bool schema_has_type(const json_t *value, unsigned types);

#endif
