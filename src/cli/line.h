/* line.h - a line typed on the terminal, with editing and the lines of before. */
#ifndef CLI_LINE_H
#define CLI_LINE_H

#include "base/err.h"

struct line_reader;

bool line_open(struct line_reader **ret, struct alula_error *e);
void line_close(struct line_reader *r); /* NULL is fine */

/* The next line without its line break, [*ret_len], valid until the next call. NULL at the end of the input
 * or when the user asked to stop (term_stopped). */
const char *line_read(struct line_reader *r, size_t *ret_len);

#endif
