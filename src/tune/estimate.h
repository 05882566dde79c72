/* estimate.h - what repeated measurements say, and how surely. Pure. */
#ifndef TUNE_ESTIMATE_H
#define TUNE_ESTIMATE_H

#include <stddef.h>
#include <stdint.h>

struct estimate {
    double mid, low, high; /* 95 % of the resamples lie between low and high */
};

#define ESTIMATE_ROUNDS_MAX 64

/* Half of the n numbers, 1 to ESTIMATE_ROUNDS_MAX, lie within this distance of their median, as a share of
 * it. 0 for one number. */
double estimate_spread(const double *v, int n);

/* Mean over groups of the median within a group; v: [n_groups][n_each], n_each at most ESTIMATE_ROUNDS_MAX. A
 * group is one prompt, its numbers are the rounds: resampling rounds within each prompt (bootstrap) gives
 * low and high, so the interval speaks of the machine's noise and not of the choice of prompts. The same
 * seed gives the same interval. */
struct estimate estimate_mean(const double *v, int n_groups, int n_each, uint64_t seed);

/* As before for positive ratios: geometric mean over groups of the median within a group. v is changed. */
struct estimate estimate_ratio(double *v, int n_groups, int n_each, uint64_t seed);

#endif
