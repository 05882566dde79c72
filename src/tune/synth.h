/* synth.h - weights made of random numbers in a known model's shape, so that speed can be measured without its
 * files.
 *
 * Packed as mlx-lm packs (4 bits, group 64; router and shared expert's gate 8 bits; LM head and embedding too), with
 * an MTP head. Codes are uniform and decode to mean zero: any common offset would drive all tokens onto one direction
 * and thereby onto the same experts.
 *
 * Routing is built in. The embedding of a token marks the experts of its class, routers read the marks, and what
 * layers add to the residual stream is small beside them. Token t is of class t, whose experts are
 * experts_per_tok numbers from t*step on (modulo n_experts), so that neighbouring numbers have
 * experts_per_tok - step experts in common. Which they are is the same in every layer. */
#ifndef TUNE_SYNTH_H
#define TUNE_SYNTH_H

#include "artifact/weights.h"
#include "base/pool.h"

struct synth {
    struct config config;
    struct weights weights;
    int expert_step; /* of two neighbouring classes; 0 = all tokens have the same experts */
    void *map;       /* all packed matrices */
    size_t map_bytes;
};

/* Shapes of published models, by their numbers in Hugging Face's config.json: Qwen3.5-35B-A3B (40 layers) and
 * Qwen3.5-122B-A10B (48). */
enum synth_shape { SYNTH_35B, SYNTH_122B };
#define SYNTH_NAMES "qwen3.5-35b-a3b|qwen3.5-122b-a10b" /* in the order of enum synth_shape */
/* n_layers: 0 = all; at most 1000. Owns nothing until synth_create. */
void synth_shape(struct config *ret, enum synth_shape shape, int n_layers);
/* Makes the weights of a shape; the pool's threads fill them. shape's layer_types and mlp_types are not read: every
 * fourth layer has attention, every layer experts. All inputs of matrices must be multiples of 64, n_experts at most
 * hidden. expert_overlap: the share of its experts that a token has in common with the next number, 0 to 1, rounded
 * to whole experts. Errors: USAGE, LIMIT, NOMEM. */
bool synth_create(struct synth **ret, const struct config *shape, double expert_overlap, struct pool *pool,
                  struct alula_error *e);
/* The same without values: matrices have shapes and map_bytes says what they would take, but data is NULL.
 * For counting. */
bool synth_plan(struct synth **ret, const struct config *shape, struct alula_error *e);
/* map_bytes of such a plan. */
bool synth_bytes(size_t *ret, const struct config *shape, struct alula_error *e);
void synth_free(struct synth *s); /* NULL is fine */

#endif
