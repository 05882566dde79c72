/* page.h - a page for people: a label in front, text behind it, wrapped to the terminal. */
#ifndef CLI_PAGE_H
#define CLI_PAGE_H

#include "base/buf.h"
#include "cli/term.h"

/* "  label      text", the text wrapped and its further lines indented. label "" continues the line above.
 * style: of the text. */
void page_line(struct buf *out, const char *label, enum term_style style, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* A command to type, on a line of its own and never wrapped. */
void page_command(struct buf *out, const char *command);
/* A title at the left edge. */
void page_title(struct buf *out, const char *text);

/* "70.2 GB", "314 MB", "8 kB" into out. Returns out. */
const char *page_bytes(char out[32], uint64_t n);
/* "35.1 billion", "5.1 million", "4,000" into out. Returns out. */
const char *page_count(char out[32], uint64_t n);

#endif
