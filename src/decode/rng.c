/* rng.c - counter-based random numbers. Owns the mixing; must not know what they are used for.
 *
 * A place's key is the seed and the position, mixed twice so that neighbouring seeds and positions share
 * nothing. A lane's number is the mix of key + lane times an odd constant: the SplitMix generator entered
 * at an arbitrary index. Mixing is a bijection with full avalanche, so distinct lanes of a place never give
 * equal words. */
#include "decode/rng.h"

#include <math.h>

#define GOLDEN 0x9e3779b97f4a7c15u /* 2^64 / golden ratio, odd */

static inline uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static inline double unit(uint64_t word) { return ((double)(word >> 11) + 0.5) * 0x1p-53; }

uint64_t rng_place(uint64_t seed, uint64_t position)
{
    return mix(mix(seed + GOLDEN) ^ mix(position * GOLDEN + 1));
}

double rng_uniform(uint64_t place, enum rng_lane lane)
{
    return unit(mix(place + GOLDEN * ((uint64_t)lane << 32)));
}

int rng_race(uint64_t place, const int32_t *ids, const double *w, int n)
{
    double best = INFINITY;
    int winner = 0;
    for (int i = 0; i < n; i++) {
        /* E = -log(1 - v) >= v: a runner with v >= best * w cannot win, which saves most logarithms. */
        double v = unit(mix(place + GOLDEN * (uint64_t)(uint32_t)ids[i]));
        if (!(w[i] > 0) || v >= best * w[i]) continue;
        double t = -log1p(-v) / w[i];
        if (t < best) {
            best = t;
            winner = i;
        }
    }
    return winner;
}
