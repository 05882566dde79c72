/* chains.h - what a head says along a given text, teacher-forced, for one contract.
 *
 * At every place t a chain of steps starts from the trunk's state after x_t, with committed history (the true
 * pairs of everything before). Step d is fed token x_{t+d} of the text, whatever the head guessed before,
 * and, from the second on, what the step before hands over by the contract; it foretells the token behind
 * that. It is judged by what the trunk itself, having read x_0 .. x_{t+d}, holds best: that is what greedy
 * verification asks. So step d's hits tell how often draft d is kept given that those before it were. */
#ifndef FORGE_CHAINS_H
#define FORGE_CHAINS_H

#include "forge/watch.h"
#include "model/model.h"

#define CHAIN_DEPTH_MAX 3

/* What the trunk says of a text, computed once for all contracts. */
struct teacher {
    const int32_t *ids; /* [n], borrowed */
    size_t n;
    float *pre, *post; /* [n][hidden], before and after the final norm */
    int32_t *best;     /* [n]: the trunk's best token after x_0 .. x_t; ties: the lowest id */
    double loss;       /* mean cross-entropy of x_1 .. x_{n-1}, nats */
    enum model_mode mode;
};
/* Ids are in the vocabulary, 2 <= n <= the model's positions. Errors: NOMEM, CANCELLED. */
bool teacher_read(struct teacher *ret, const struct weights *w, enum model_mode mode, const int32_t *ids,
                  size_t n, struct pool *pool, const struct watch *watch, struct alula_error *e);
void teacher_free(struct teacher *t);

/* Outcome of n chains of `depth` steps. */
struct chains {
    int depth;
    size_t n;
    int32_t *guess; /* [depth][n]: the head's best token */
    uint8_t *rank;  /* [depth][n]: tokens that the head holds better than the trunk's; 255 = that or more */
};
/* Chains at t in [first, first + n); first + n + depth <= teacher->n; in the teacher's mode. what: for the
 * watch, which sees done of n. */
bool chains_run(struct chains *ret, const struct teacher *teacher, const struct weights *w,
                const struct mtp_contract *contract, int depth, size_t first, size_t n, struct pool *pool,
                const char *what, const struct watch *watch, struct alula_error *e);
void chains_free(struct chains *c);

/* Steps d (0 = the first) whose guess is among the head's best `top`. */
int64_t chains_hits(const struct chains *c, int d, int top);
/* Places at which steps 0 .. d all hit. */
int64_t chains_prefix(const struct chains *c, int d);

#endif
