/* prompt.h - from a request's conversation or texts to the ids that a session reads. */
#ifndef SERVE_PROMPT_H
#define SERVE_PROMPT_H

#include "serve/request.h"

/* Fills r->prompts by the model's template and tokenizer. Any thread. Errors: FORMAT (what the template raises, text
 * that is no UTF-8, an id outside the vocabulary), NOT_FOUND (the model has no template), LIMIT, NOMEM. */
bool prompt_make(struct request *r, const struct alula_engine *engine, struct alula_error *e);

/* Where turns end: right behind a stop id and the line break that follows it. What the next request of a conversation
 * repeats usually ends there. */
struct prompt_marks {
    int32_t stop_ids[16];
    int n_stop_ids;
    int32_t newline;          /* the token of one line break, or -1 */
    int32_t think, end_think; /* <think> and </think>, or -1 */
};
void prompt_marks_make(struct prompt_marks *ret, const struct alula_engine *engine);
/* Whether reasoning is open where a prompt ends, since the template or the prompt itself opened it. */
bool prompt_ends_in_reasoning(const struct alula_engine *engine, const int32_t *ids, size_t n);
/* True if a turn ends at position at, 0 < at <= n. */
bool prompt_turn_ends(const struct prompt_marks *m, const int32_t *ids, size_t n, size_t at);

#endif
