/* speculate.h - the cycle of one sequence: draft, verify, accept.
 *
 *     draft    the head guesses the next tokens, each from the one before, each drawn from its shaped
 *              distribution q; a place for which the mask leaves one token takes no head, and ends its guessing
 *     verify   the trunk reads the last token and all drafts in one pass
 *     accept   from left to right by the law; the first place that falls gets its correction, a place beyond
 *              the last draft a bonus
 *     keep     state and cache fall back to what is kept; the last token stays unread until the next cycle
 *
 * Whatever the depth, tokens are distributed as plain decoding draws them; greedy and coupled, they are the
 * same tokens. Head and trunk are run by batch.c, for several sequences at once; here is what each one does with what
 * they say. Different speculators may do so at the same time. */
#ifndef DECODE_SPECULATE_H
#define DECODE_SPECULATE_H

#include "decode/accept.h"
#include "decode/depth.h"
#include "decode/draft_vocab.h"
#include "decode/logprobs.h"
#include "decode/timeline.h"

struct cycle {
    int max; /* tokens wanted at most */
    int n_tokens, n_drafted, n_accepted;
    int n_free;    /* of the drafts: the last so many, for whose places the mask leaves one token */
    bool verified; /* false: the first token behind a prompt, whose logits are there already */
};

struct speculator {
    struct timeline *timeline;
    struct sampler *sampler;
    struct law law;
    struct depth_policy depth;
    const uint32_t *(*mask)(void *arg, const int32_t *answer, size_t n); /* see alula_session_options */
    void *mask_arg;
    const struct draft_vocab *drafts; /* NULL: drafts come from the LM head */
    float *scattered;   /* [vocab] logits of drafts by id, -infinity where the draft vocabulary has none */
    int prompt, answer; /* indices of the prompt's and the answer's first token in the timeline */
    struct logprobs logprobs; /* of the cycle's tokens, and of those of the prompt that were read last */
    struct dist p, q[ALULA_DEPTH_MAX];
    struct cycle cycle;       /* under way, or the last one */
    struct alula_stats stats; /* cycles, drafts and seconds of the cycles */
    /* Tests: the draft for a place of the timeline instead of the head's; -1 = the head's own. */
    int32_t (*force)(void *arg, int place);
    void *force_arg;
};

/* timeline, sampler, law, depth and mask are set by the caller, who owns what they point to; this allocates
 * the distributions. */
bool speculator_create(struct speculator *s, struct alula_error *e);
void speculator_free(struct speculator *s);

/* A cycle begins, which wants at most max tokens (> 0, and room for them in the context). If it is to be
 * verified, the depth policy and the steps of the head come next, unless the mask drafts, and then the trunk;
 * else it is accepted at once, with one token. */
void speculator_begin(struct speculator *s, int max);
/* Draws a draft behind the last one from the head's logits, unless none is worth verifying or nothing can be drawn;
 * the latter is the target's to complain of. */
void speculator_draft(struct speculator *s, const struct depth_group *g, const float *logits);
/* Accepts what the trunk said to the drafts, timeline->logits. The tokens then lie behind the timeline's end,
 * ids[len..len+cycle.n_tokens), 1 <= n_tokens <= drafts + 1, and are part of it once kept. Fails if a place leaves
 * nothing to draw (mask, broken logits); the timeline is then as before. */
bool speculator_accept(struct speculator *s, struct alula_error *e);
/* n tokens were read, and the prompt is scored: sets logprobs.prompt. */
void speculator_score(struct speculator *s, int n);
/* Keeps the first n of the tokens that the cycle gave, 1 <= n. */
void speculator_keep(struct speculator *s, int n);

#endif
