/* jinja.h - runs a model's own chat template as Hugging Face does.
 *
 * A template is parsed once and is immutable after that; rendering is re-entrant. Loops, output, depth,
 * steps and memory have ceilings, so that no template hangs or takes the machine. Errors name the line and
 * the construct: "chat_template.jinja:12: 'dict object' has no attribute 'name'". A raise_exception of the
 * template is ALULA_FORMAT with the template's words after that place, a ceiling ALULA_LIMIT, a construct
 * that alula does not run ALULA_UNSUPPORTED. */
#ifndef TEXT_JINJA_H
#define TEXT_JINJA_H

#include "base/buf.h"

/* Ceilings. Parsed template, one rendering's values and its output together stay below 64 MiB. */
#define JINJA_SOURCE_MAX  ((size_t)1 << 20)  /* bytes of template text */
#define JINJA_CONTEXT_MAX ((size_t)16 << 20) /* bytes of context text */
#define JINJA_TREE_MAX    ((size_t)12 << 20) /* bytes of the parsed template */
#define JINJA_VALUES_MAX  ((size_t)36 << 20) /* bytes of values made while rendering */
#define JINJA_OUTPUT_MAX  ((size_t)8 << 20)  /* bytes of output, captured text included */
#define JINJA_STEPS_MAX   8000000            /* operations, loop rounds, 64 bytes of text each */

struct jinja;

/* Parses n bytes of template text, which must be UTF-8; name is used in messages. */
bool jinja_parse(struct jinja **ret, const char *text, size_t n, const char *name, struct alula_error *e);
void jinja_free(struct jinja *j);

/* Renders with the members of the JSON object `context` (text, so that 1 and 1.0 stay apart) as variables,
 * as they stand: what Hugging Face does to a conversation first is chat.h. now: seconds since 1970 for
 * strftime_now, shown in local time, 0 = the clock. Output is appended to out; after an error out is as it
 * was. */
bool jinja_render(const struct jinja *j, const char *context, size_t n, int64_t now, struct buf *out,
                  struct alula_error *e);

#endif
