/* start_plan.h - what a server works out by itself: memory, sampling, key. */
#ifndef CLI_START_PLAN_H
#define CLI_START_PLAN_H

#include "base/buf.h"

/* Context and memory for sessions. given: bytes, or -1 to find out; n_ctx 0 = as much as the model was made for, at
 * most 32768, less if memory is short. *ret_n_ctx tokens of one session fit *ret_memory bytes. Errors: LIMIT with
 * numbers. */
bool start_plan_memory(const struct alula_engine *engine, const char *dir, int n_ctx, int depth,
                       int64_t given, uint64_t cache, int *ret_n_ctx, uint64_t *ret_memory,
                       struct alula_error *e);

/* How answers are drawn if a request does not say: as the model's makers advise in DIR/generation_config.json, else as
 * OpenAI does. Errors: FORMAT names the field. */
bool start_plan_sampling(const char *dir, struct alula_sampling *ret, struct alula_error *e);

/* The first line of a file. Errors: IO, FORMAT (it is empty, or holds what no header can). */
bool start_plan_key(const char *path, struct buf *ret, struct alula_error *e);

#endif
