/* accept.h - the laws of speculation: how a draft is drawn, tested, and replaced, so that what comes out is
 * distributed as if the target alone had been asked.
 *
 * Rejection: draft x ~ q, kept with probability min(1, p(x)/q(x)), else replaced by a draw from max(0, p -
 * q), normalised. Coupled: the target's token is the winner of a race whose noise depends on (seed, place)
 * alone; the draft is the winner of the same race run with q; it is kept iff it is the target's token. With
 * one token in p and q (greedy) both are: kept iff equal.
 *
 * Rejection keeps a draft with probability sum(min(p, q)), the most that any exact law can; coupling keeps
 * less, for its noise is fixed beforehand. Bundled graft, first drafts (rejection, coupled): 0.81, 0.80 at
 * T 0.3; 0.82, 0.80 at T 0.7, top_k 20, top_p 0.95; 0.77, 0.73 at T 1.0; 0.69, 0.63 at T 1.5. So rejection
 * is what runs without a seed; with one, the same text at every depth is worth more.
 *
 * Both stay exact only if whether a place is tested depends on the tokens before it and on q, never on the
 * draft that was drawn there: a draft, once drawn, is verified. */
#ifndef DECODE_ACCEPT_H
#define DECODE_ACCEPT_H

#include "decode/rng.h"
#include "decode/sampler.h"

struct law {
    enum alula_law kind; /* REJECTION or COUPLED */
    uint64_t seed;
};

/* place: index of the token in its timeline. */
int32_t law_draft(const struct law *l, uint64_t place, const struct dist *q);
/* A token where nothing was drafted. */
int32_t law_sample(const struct law *l, uint64_t place, const struct dist *p);
/* Tests `draft`, drawn from q. Returns whether it is kept and sets *ret_token to the token of this place
 * either way. */
bool law_accept(const struct law *l, uint64_t place, const struct dist *p, const struct dist *q,
                int32_t draft, int32_t *ret_token);

/* The parts of the rejection law. */
double accept_probability(const struct dist *p, const struct dist *q, int32_t draft);
int32_t accept_residual(const struct dist *p, const struct dist *q, double u);

#endif
