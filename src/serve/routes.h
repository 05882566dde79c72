/* routes.h - which path is what, and the endpoints that answer at once. */
#ifndef SERVE_ROUTES_H
#define SERVE_ROUTES_H

#include "serve/scheduler.h"

/* What endpoints stand on. Immutable; any thread. */
struct site {
    const struct alula_engine *engine;
    struct scheduler *scheduler;
    const char *model; /* name by which the server goes */
    int n_ctx;
    int64_t started;                /* seconds since 1970 */
    struct alula_sampling sampling; /* of requests that do not say */
};

struct route {
    const char *method, *path; /* a dialect's: "POST" and its own */
    bool beginning;            /* path is but the beginning of the whole one */
    bool open;                 /* no key is asked for */
    /* One of the two: a dialect whose requests the scheduler answers, or a function that answers at once.
     * body is NULL for GET, else an object; path the whole path. */
    const struct dialect *dialect;
    bool (*answer)(const struct site *site, const char *path, const json_t *body, struct buf *out,
                   struct alula_error *e);
    const char *type; /* Content-Type of what answer writes; NULL = JSON */
    /* Writes the body of an error; NULL = the dialect's, or OpenAI's. */
    void (*error)(int status, const struct alula_error *error, struct buf *out);
};

/* api_tokens.c */
bool answer_tokenize(const struct site *site, const char *path, const json_t *body, struct buf *out,
                     struct alula_error *e);
bool answer_detokenize(const struct site *site, const char *path, const json_t *body, struct buf *out,
                       struct alula_error *e);

/* NULL if there is none; then *ret_allow is what the path would take ("GET", "POST"), or NULL if there is no such
 * path at all. HEAD counts as GET. */
const struct route *route_find(const char *method, const char *path, const char **ret_allow);
void route_write_error(const struct route *route, int status, const struct alula_error *error,
                       struct buf *out);

#endif
