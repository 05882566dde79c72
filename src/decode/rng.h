/* rng.h - random numbers that depend on where they are used, not on how many were drawn before.
 *
 * A number is a function of (seed, position, lane): position is the index of a token in its timeline, lane
 * says what the number is for. So the same place gets the same noise whatever was drafted, rejected,
 * batched or threaded on the way to it. */
#ifndef DECODE_RNG_H
#define DECODE_RNG_H

#include <stdint.h>

/* Lanes below 2^32 are token ids (the noise of one id at one place). */
enum rng_lane {
    RNG_DRAFT = 1, /* draws a draft */
    RNG_ACCEPT,    /* tests it */
    RNG_TARGET     /* draws from the target, or from what rejection leaves of it */
};

/* The stream of one place. Derive it once, then ask it for as many lanes as needed. */
uint64_t rng_place(uint64_t seed, uint64_t position);
/* Uniform in (0, 1), never 0 nor 1: 53 bits, centred. */
double rng_uniform(uint64_t place, enum rng_lane lane);
/* Exponential race: id i finishes at E_i / w[i], where E_i is exponential noise that depends on place and
 * id alone. Returns the index of the first to finish, which is a draw from w / sum(w) (the Gumbel trick in
 * other clothes). Two weightings of one place that resemble each other mostly give the same id. w[i] >= 0,
 * one of them positive; n > 0. */
int rng_race(uint64_t place, const int32_t *ids, const double *w, int n);

#endif
