/* term.h - the terminal: writing results to it, colour, a line of progress, Ctrl-C. */
#ifndef CLI_TERM_H
#define CLI_TERM_H

#include <stdio.h>
#include "base/buf.h"

/* Once, first thing in main: closed standard streams get a stand-in, so that no file opened later takes their
 * place; SIGINT and SIGTERM raise a flag instead of ending the program. */
void term_start(void);

/* True once the user asked to stop. A second Ctrl-C ends the program at once. */
bool term_stopped(void);
void term_resume(void); /* forgets it: a chat goes on after an answer that was stopped */

/* Writes n bytes to standard output now. Errors: IO; CANCELLED if the user asked to stop while it waited. */
bool term_write(const void *p, size_t n, struct alula_error *e);
/* The same with what b holds; b is emptied. Fails if b did (buf.h). */
bool term_write_buf(struct buf *b, struct alula_error *e);

bool term_is_terminal(FILE *f);
int term_width(FILE *f); /* columns; 80 if it is no terminal */

enum term_style { TERM_PLAIN, TERM_BOLD, TERM_DIM, TERM_RED, TERM_GREEN, TERM_CYAN };
/* The escape sequence that begins a style (TERM_PLAIN ends it), or "" if f is no terminal or NO_COLOR is set. */
const char *term_style(FILE *f, enum term_style style);

/* A line on standard error that says how far a long task is: share, rate, time left. It appears only on a
 * terminal and only for a task that takes longer than two seconds, and leaves nothing behind. Plain data; one
 * thread. */
struct progress {
    const char *what; /* "reading the prompt"; borrowed */
    const char *unit; /* "tokens"; "B" is shown as kB, MB, GB */
    uint64_t total;
    double start_s, drawn_s; /* monotonic clock; drawn_s 0 = nothing is drawn */
    bool enabled;
};
void progress_start(struct progress *p, const char *what, const char *unit, uint64_t total);
void progress_show(struct progress *p, uint64_t done);
void progress_end(struct progress *p);

#endif
