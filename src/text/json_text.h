/* json_text.h - grammars of JSON values. Internal to text/.
 *
 * One form is written: that of Python's json.dumps and of the chat templates' tojson, with ", " and ": " and no other
 * white space. One form, because what is fixed need not be asked of the model; this one, because it is what models
 * have read most, and what the template makes of a call when it is shown again. */
#ifndef TEXT_JSON_TEXT_H
#define TEXT_JSON_TEXT_H

#include "text/charset.h"

/* How a string's characters are written: within quotes with escapes, or as they stand. */
enum string_form { STRING_JSON, STRING_RAW };

/* Rules that a grammar has once. */
struct json_text {
    struct grammar *g;
    int value, object, array, string, number, integer;
};
void json_text_create(struct json_text *j, struct grammar *g);

/* Any character of a string, in any of its spellings. */
int32_t json_text_char(struct grammar *g, enum string_form form, int32_t next);
/* One of the characters of a set, in its usual spelling. */
int32_t json_text_charset(struct grammar *g, const struct charset *set, enum string_form form, int32_t next);
/* "any string of min to max characters" in quotes, or raw. */
int32_t json_text_string(struct grammar *g, enum string_form form, uint32_t min, uint32_t max, int32_t next);

#endif
