/* schema.h - JSON schemas into grammars. Internal to text/.
 *
 * Written are: what OpenAI's strict mode documents, and what people use beside it:
 *   any        type (one or a list), enum, const, anyOf, oneOf (whose parts are told apart by type, by their constants, or
 *              by a constant of a required property), allOf (whose parts can be put together), $ref within the document,
 *              recursive too, $defs, definitions; true, false
 *   object     properties, required, additionalProperties
 *   array      items, prefixItems, minItems, maxItems, uniqueItems false
 *   string     minLength, maxLength, or pattern (see pattern.h), or format: date-time date time email uuid ipv4 hostname
 *   number     minimum, maximum, exclusiveMinimum, exclusiveMaximum; multipleOf of whole numbers
 * Annotations (title, description, default, examples, ...) say nothing. Every other keyword is refused by name and place,
 * never overlooked.
 *
 * Properties come in the schema's order, then those that are required but not declared, then others. Others come only
 * where additionalProperties is there and not false, or where no property is declared. Without a type, values are of
 * the types that the schema's keywords speak of. What is longer, larger or deeper than the ceilings is not written: 18
 * digits of an integer, 60 levels, 65,535 characters or items where there is a maximum. So everything that is
 * written fits the schema; not everything that fits is written. An object of free keys may have one twice. */
#ifndef TEXT_SCHEMA_H
#define TEXT_SCHEMA_H

#include "base/json.h"
#include "text/json_text.h"

struct schema_reader;

/* root: what "#" in a $ref stands for; must outlive the reader. place: how the place of root is called in
 * errors, such as "the schema" or "tool \"add\"". */
bool schema_reader_create(struct schema_reader **ret, struct json_text *j, const json_t *root,
                          const char *place, struct alula_error *e);
void schema_reader_free(struct schema_reader *r);
/* The rule of JSON that fits a part of root (or root itself), at a JSON pointer such as "" or
 * "/properties/a"; 0 after failure. It is defined by schema_reader_finish. */
int schema_rule(struct schema_reader *r, const json_t *schema, const char *pointer);
/* Whether the reader of calls takes this for the name of a tool or a parameter: without <, > and line breaks,
 * and without white space at its ends. */
#define SCHEMA_NAME_BYTES 256
bool schema_is_name(const char *s);
/* The parameters of a tool call by their schema, tag by tag, then next. Strings stand as they are, all else
 * is JSON; further parameters than those of properties and required are not written. Dead after failure. */
int32_t schema_call(struct schema_reader *r, const json_t *parameters, int32_t next);
/* Reads everything that rules were asked for, and what they lead to. Errors: FORMAT, UNSUPPORTED, LIMIT, NOMEM. */
bool schema_reader_finish(struct schema_reader *r, struct alula_error *e);

#endif
