/* run_local.h - alula run with a model that this process opened. */
#ifndef CLI_RUN_LOCAL_H
#define CLI_RUN_LOCAL_H

#include "cli/talk.h"

struct run_local {
    const struct alula_engine *engine;
    struct alula_session_options session;
    const char *schema; /* file that an answer's JSON must fit, NULL = none; run_local_once alone */
    bool raw;           /* the text is the prompt as it stands; run_local_once alone */
    bool json, stats;
    struct talk talk; /* what was said before; the caller frees it */
};

/* Answers `text`, one message of the user; what names it in errors. */
bool run_local_once(struct run_local *r, const struct buf *text, const char *what, struct alula_error *e);
/* A chat on the terminal. */
bool run_local_chat(struct run_local *r, struct alula_error *e);

#endif
