/* json_text.h - grammars of JSON values. Internal to text/.
 *
 * One form is written: that of Python's json.dumps and of the chat templates' tojson, with ", " and ": " and no other
 * white space. One form, because what is fixed need not be asked of the model; this one, because it is what models
 * have read most, and what the template makes of a call when it is shown again. */
#ifndef TEXT_JSON_TEXT_H
#define TEXT_JSON_TEXT_H

#include "text/charset.h"

/* How a string's characters are written: within quotes with escapes, or as they stand. TAGLESS with either:
 * so that no tag of a tool call comes about. */
enum string_form { STRING_JSON = 0, STRING_RAW = 1, STRING_TAGLESS = 2 };

/* Any text that holds no tag of a tool call, raw; then next. */
int32_t json_text_tagless(struct grammar *g, int32_t next);
/* Whether n bytes hold one. */
bool json_text_has_tag(const char *s, size_t n);

/* Rules that a grammar has once. */
struct json_text {
    struct grammar *g;
    enum string_form form; /* JSON or JSON | TAGLESS */
    int value, object, array, string, number, integer;
};
void json_text_create(struct json_text *j, struct grammar *g, enum string_form form);

/* One of the characters of a set, in its usual spelling; without '<' if no tag may come about. */
int32_t json_text_charset(struct grammar *g, const struct charset *set, enum string_form form, int32_t next);
/* Any string of min to max characters, with its quotes if there are any. */
int32_t json_text_string(struct grammar *g, enum string_form form, uint32_t min, uint32_t max, int32_t next);

#endif
