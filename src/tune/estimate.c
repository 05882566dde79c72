/* estimate.c - medians and bootstrap intervals. Knows numbers; does not know what was measured. */
#include "tune/estimate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "forge/stats.h"

enum { RESAMPLES = 1000, CUT = RESAMPLES / 40 }; /* 2.5 % at each end */

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double estimate_spread(const double *v, int n)
{
    double away[ESTIMATE_ROUNDS_MAX];
    memcpy(away, v, (size_t)n * sizeof *v);
    double median = stats_median(away, (size_t)n);
    for (int i = 0; i < n; i++) away[i] = fabs(v[i] - median);
    return median > 0 ? stats_median(away, (size_t)n) / median : 0;
}

/* splitmix64: every state is a good one, so any seed will do */
static uint64_t random_next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

/* state NULL: the numbers as they are. */
static double mean_of_medians(const double *v, int n_groups, int n_each, uint64_t *state)
{
    double sum = 0, drawn[ESTIMATE_ROUNDS_MAX];
    for (int g = 0; g < n_groups; g++, v += n_each) {
        for (int i = 0; i < n_each; i++)
            drawn[i] = v[state ? random_next(state) % (uint64_t)n_each : (uint64_t)i];
        sum += stats_median(drawn, (size_t)n_each);
    }
    return sum / n_groups;
}

struct estimate estimate_mean(const double *v, int n_groups, int n_each, uint64_t seed)
{
    double resampled[RESAMPLES];
    for (int i = 0; i < RESAMPLES; i++) resampled[i] = mean_of_medians(v, n_groups, n_each, &seed);
    qsort(resampled, RESAMPLES, sizeof *resampled, compare);
    return (struct estimate){.mid = mean_of_medians(v, n_groups, n_each, NULL),
                             .low = resampled[CUT],
                             .high = resampled[RESAMPLES - 1 - CUT]};
}

struct estimate estimate_ratio(double *v, int n_groups, int n_each, uint64_t seed)
{
    for (int i = 0; i < n_groups * n_each; i++) v[i] = log(v[i]);
    struct estimate r = estimate_mean(v, n_groups, n_each, seed);
    return (struct estimate){.mid = exp(r.mid), .low = exp(r.low), .high = exp(r.high)};
}
