/* toolarg.h - the value of a tool call's argument, written by a model as text, as JSON of the type that the
 * tool's schema asks for. Internal to text/. */
#ifndef TEXT_TOOLARG_H
#define TEXT_TOOLARG_H

#include "base/json.h"

/* Appends the JSON for n bytes of value to out. parameters is the tool's schema (an object with
 * "properties"), or NULL. What does not fit its type stays a string: nothing becomes false or 0 by accident.
 * False only if memory is exhausted. */
bool toolarg_write(const json_t *parameters, const char *key, const char *value, size_t n, struct buf *out,
                   struct alula_error *e);

/* White space between and around what a model writes: space, tab, CR, LF. */
static inline bool toolarg_is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

#endif
