/* sampler.h - from a row of logits to the distribution that a token is drawn from.
 *
 * The chain, in this order: repetition penalty over prompt and answer (once per distinct token: logit*r if
 * negative, else logit/r); presence and frequency penalty over the answer; logit bias; allowed-token mask;
 * temperature (0 = all on the largest logit, lowest id on ties); top_k (lowest ids on ties); top_p on what
 * is left, renormalised (keep while the mass before a token < top_p, at least one); min_p (keep p >= min_p
 * * largest p); renormalise. In double precision. No full sort of the vocabulary. */
#ifndef DECODE_SAMPLER_H
#define DECODE_SAMPLER_H

#include "base/err.h"

/* A distribution over few or many of the ids: ids ascending, p > 0, sum 1. */
struct dist {
    int32_t *ids; /* [n] */
    double *p;    /* [n] */
    int n;
};

/* Settings, what was said so far (for the penalties), and work memory. Belongs to one session. */
struct sampler;

/* vocab: logits in a row. Errors: USAGE names the field that is out of range; NOMEM. */
bool sampler_create(struct sampler **ret, int vocab, const struct alula_sampling *settings,
                    struct alula_error *e);
void sampler_free(struct sampler *s);
size_t sampler_bytes(int vocab); /* memory that one takes */
/* Memory for one distribution of this sampler. false when memory is exhausted. */
bool sampler_dist_alloc(const struct sampler *s, struct dist *d);
void sampler_dist_free(struct dist *d);

/* Shapes a row of vocab logits. allowed: one bit per id (id i is bit i%32 of word i/32), NULL = every id.
 * false if nothing is left to draw from: no allowed token, or no finite logit. Allocates nothing. */
bool sampler_shape(struct sampler *s, const float *logits, const uint32_t *allowed, struct dist *out);
/* The id of the largest of n logits, the lowest on ties; NaN is never larger. 0 if nothing is above -infinity. */
int sampler_best(const float *logits, int n);
/* The share of the largest logit in softmax(logits), roughly (the long tail is left out), for judging a
 * draft; exactness does not hang on it. */
double sampler_confidence(const float *logits, int vocab);

/* What the penalties look at. begin starts an answer: the one before it counts as prompt from then on. read
 * adds tokens of the prompt, push one of the answer; pop takes back the last n pushed, given in their
 * order. Nothing is kept when no penalty is on. */
void sampler_begin(struct sampler *s);
void sampler_read(struct sampler *s, const int32_t *ids, size_t n);
void sampler_push(struct sampler *s, int32_t id);
void sampler_pop(struct sampler *s, const int32_t *ids, int n);

/* p of one id, 0 if it is not in d. */
double dist_p(const struct dist *d, int32_t id);
/* The id at which the cumulative sum passes u in (0, 1). */
int32_t dist_draw(const struct dist *d, double u);

#endif
