/* histogram.h - how often values fell into fixed ranges. Plain data. */
#ifndef SERVE_HISTOGRAM_H
#define SERVE_HISTOGRAM_H

#include "base/buf.h"

#define HISTOGRAM_BOUNDS 18

/* Upper ends of the ranges, ascending. */
extern const double histogram_seconds[HISTOGRAM_BOUNDS]; /* a millisecond to ten minutes */
extern const double histogram_tokens[HISTOGRAM_BOUNDS];  /* 8 to a million, doubling */

struct histogram {
    int64_t counts[HISTOGRAM_BOUNDS + 1]; /* each range by itself; the last is what lies beyond */
    double sum;
};

/* A value, `times` over. */
void histogram_add(struct histogram *h, const double bounds[HISTOGRAM_BOUNDS], double value, int64_t times);
/* Appends NAME_bucket, NAME_sum and NAME_count as Prometheus reads them, with what it expects before them. */
void histogram_write(const struct histogram *h, const double bounds[HISTOGRAM_BOUNDS], const char *name,
                     const char *help, struct buf *out);

#endif
