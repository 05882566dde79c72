/* start_plan.h - what a server works out by itself: memory, sampling, key. */
#ifndef CLI_START_PLAN_H
#define CLI_START_PLAN_H

#include "base/buf.h"

/* Tokens of context, and bytes for all requests and for the prompt cache. */
struct start_memory {
    int n_ctx;
    int64_t requests, cache;
};
/* Fills what was not given (n_ctx 0, bytes -1). The context is what the model was made for, at most 32768, less if memory
 * is short; the cache gets a quarter of what weights and passes of the model (work bytes) leave, requests the rest. Of
 * requests' bytes that were given, work is taken off. One request of n_ctx tokens fits. Errors: LIMIT with numbers. */
bool start_plan_memory(const struct alula_engine *engine, const char *dir, int depth, int64_t work,
                       struct start_memory *plan, struct alula_error *e);

/* How answers are drawn if a request does not say: as the model's makers advise in DIR/generation_config.json, else as
 * OpenAI does. Errors: FORMAT names the field. */
bool start_plan_sampling(const char *dir, struct alula_sampling *ret, struct alula_error *e);

/* The first line of a file. Errors: IO, FORMAT (it is empty, or holds what no header can). */
bool start_plan_key(const char *path, struct buf *ret, struct alula_error *e);

#endif
