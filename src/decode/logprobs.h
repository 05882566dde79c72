/* logprobs.h - how likely the model itself held a token, and what it held likelier: log-softmax of the raw logits,
 * before penalties, bias, mask and temperature. */
#ifndef DECODE_LOGPROBS_H
#define DECODE_LOGPROBS_H

#include "base/err.h"

#define LOGPROBS_MAX      21 /* of one token: its own and the likeliest ones */
#define LOGPROBS_ROWS_MAX 32 /* tokens of a prompt that are read at once if they are scored */

/* Rows of `width` entries: the token's own, then the likeliest ids, largest first, equal ones by id; entries without
 * a finite logit have id -1. Of one session. */
struct logprobs {
    int width;                    /* 0: none are wanted */
    struct alula_logprob *answer; /* [VERIFY_ROWS_MAX] rows: of the tokens of a cycle */
    struct alula_logprob
        *prompt; /* [LOGPROBS_ROWS_MAX + 1] rows: of those of the prompt that were read last; NULL: not
                                     wanted */
    int n_prompt;
    struct alula_logprob *next; /* a row: of the prompt's next token */
};

/* Errors: NOMEM. */
bool logprobs_create(struct logprobs *l, int width, bool prompt, struct alula_error *e);
void logprobs_free(struct logprobs *l);

/* Row i of the answer's: of `id`, one of vocab logits. Nothing to do if none are wanted. */
void logprobs_answer(struct logprobs *l, const float *logits, int vocab, int32_t id, int i);

/* A prompt begins, of whose first token nothing is known. */
void logprobs_begin(struct logprobs *l, int32_t first);
/* The tokens ids[0..n) were read, of which the first `before` come before the prompt, and n_more lie behind them.
 * logits [n][vocab]: a row behind each. Sets prompt and n_prompt. */
void logprobs_read(struct logprobs *l, const float *logits, int vocab, const int32_t *ids, int n, int before,
                   int n_more);

#endif
