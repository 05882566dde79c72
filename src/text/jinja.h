/* jinja.h - runs a model's own chat template as Hugging Face does (spec: jinja subset).
 *
 * A template is parsed once and is immutable after that; rendering is re-entrant. Loops, output, depth, steps and memory have
 * ceilings, so that no template hangs or takes the machine. Errors name the line and the construct. */
#ifndef TEXT_JINJA_H
#define TEXT_JINJA_H

#include "base/buf.h"

struct jinja;

/* Parses n bytes of template text; name is used in messages. */
bool jinja_parse(struct jinja **ret, const char *text, size_t n, const char *name, struct alula_error *e);
void jinja_free(struct jinja *j);

/* Renders with the members of the JSON object `context` (text, so that 1 and 1.0 stay apart) as variables. now: seconds since 1970 for
 * strftime_now, 0 = the clock. Output is appended to out. */
bool jinja_render(const struct jinja *j, const char *context, size_t n, int64_t now, struct buf *out,
                  struct alula_error *e);

#endif
