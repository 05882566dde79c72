/* bench_server.h - load on a server: how soon answers begin, how evenly they come, how much in all. */
#ifndef CLI_BENCH_SERVER_H
#define CLI_BENCH_SERVER_H

#include "base/buf.h"

struct bench_server_options {
    const char *url, *key; /* key NULL = none */
    int clients;           /* closed loop: so many ask, each as soon as it has its answer */
    double rate;           /* > 0: open loop, so many requests a second come whether or not others are done */
    int requests;          /* in all */
    int prompt_words, max_tokens;
    bool json;
};

/* Runs it and appends the report, a page or one JSON object. Errors: what the server's first refusal says if nothing
 * was answered at all; CANCELLED. */
bool bench_server(const struct bench_server_options *o, struct buf *out, struct alula_error *e);

#endif
