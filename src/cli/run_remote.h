/* run_remote.h - alula run against a server: the answer comes from there, everything else is as at home. */
#ifndef CLI_RUN_REMOTE_H
#define CLI_RUN_REMOTE_H

#include "cli/remote.h"
#include "cli/talk.h"

struct run_remote {
    const char *url, *key;  /* key NULL = none */
    const char *parameters; /* further members of the request as JSON text, each behind ", "; "" = none */
    bool json, stats;
    struct talk talk; /* what was said before; the caller frees it */
};

/* Answers `text`, one message of the user; what names it in errors. */
bool run_remote_once(struct run_remote *r, const struct buf *text, const char *what, struct alula_error *e);
/* A chat on the terminal. */
bool run_remote_chat(struct run_remote *r, struct alula_error *e);

#endif
