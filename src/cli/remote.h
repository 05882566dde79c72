/* remote.h - a server that speaks OpenAI's chat completions, and one streamed answer from it. */
#ifndef CLI_REMOTE_H
#define CLI_REMOTE_H

#include "base/buf.h"

struct remote; /* one connection; one thread at a time */

/* url: "http://127.0.0.1:8765", with or without /v1 behind it. key NULL = none. Asks for the models, so that a wrong
 * address or key is found here. Errors: USAGE (not an address, key refused), IO (not reached), FORMAT (what answers
 * is no such server). */
bool remote_open(struct remote **ret, const char *url, const char *key, struct alula_error *e);
void remote_close(struct remote *r);              /* NULL is fine */
const char *remote_model(const struct remote *r); /* the first that it offers */

struct remote_answer {
    int64_t prompt_tokens, cached_tokens, tokens; /* as the server counts them; 0 if it does not say */
    double first_s, total_s;                      /* seconds from asking to the first text, to the end */
    char finish[24];                              /* "stop", "length", ... */
};
/* members: of the request's JSON object, as text, all but "model" and "stream": "\"messages\": [...]". piece
 * is called for each text that comes; when it returns false the answer is given up with the error that it has
 * set, and so it is when the user asks to stop (CANCELLED). *ret holds what was known by then. The server's
 * own errors come back in its words: BUSY (429, 503), FORMAT (400), and so on. */
bool remote_chat(struct remote *r, const char *members,
                 bool (*piece)(void *arg, bool reasoning, const char *text, size_t len,
                               struct alula_error *e),
                 void *arg, struct remote_answer *ret, struct alula_error *e);

#endif
