/* stats.h - what may be concluded from counts: intervals, paired comparison, medians. Pure functions. */
#ifndef FORGE_STATS_H
#define FORGE_STATS_H

#include <stddef.h>
#include <stdint.h>

struct interval {
    double low, high;
};

/* 95 % interval (Wilson) of a probability of which hits of n trials came true; n 0: from 0 to 1. */
struct interval stats_wilson(int64_t hits, int64_t n);

/* Two ways were tried at the same n places. At `won` of them the first did better, at `lost` the second; at
 * the rest there was nothing to choose. */

/* The exact two-sided sign test (McNemar's): how probable a split at least as uneven is if the two are
 * equally good. 1 if nothing differs. */
double stats_sign_p(int64_t won, int64_t lost);
/* 95 % interval of (won - lost)/n, the first way's lead (Agresti and Min: half a place is added to each of
 * the four cells). n > 0. */
struct interval stats_lead(int64_t won, int64_t lost, int64_t n);

/* Sorts v. The mean of the middle two if n is even; 0 if n is 0. */
double stats_median(double *v, size_t n);

#endif
