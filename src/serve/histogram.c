/* histogram.c - counts by range, and their text for Prometheus, whose buckets hold all that is not above their bound.
 * Must not know what is measured. */
#include "serve/histogram.h"

const double histogram_seconds[HISTOGRAM_BOUNDS] = {.001, .0025, .005, .01, .025, .05, .1,  .25, .5,
                                                    1,    2.5,   5,    10,  30,   60,  120, 300, 600};
const double histogram_tokens[HISTOGRAM_BOUNDS] = {8,    16,   32,    64,    128,   256,    512,    1024,   2048,
                                                   4096, 8192, 16384, 32768, 65536, 131072, 262144, 524288, 1048576};

void histogram_add(struct histogram *h, const double bounds[HISTOGRAM_BOUNDS], double value, int64_t times)
{
    int i = 0;
    while (i < HISTOGRAM_BOUNDS && value > bounds[i]) i++;
    h->counts[i] += times;
    h->sum += value * (double)times;
}

void histogram_write(const struct histogram *h, const double bounds[HISTOGRAM_BOUNDS], const char *name,
                     const char *help, struct buf *out)
{
    int64_t count = 0;
    buf_fmt(out, "# HELP %s %s\n# TYPE %s histogram\n", name, help, name);
    for (int i = 0; i < HISTOGRAM_BOUNDS; i++)
        buf_fmt(out, "%s_bucket{le=\"%.15g\"} %jd\n", name, bounds[i], (intmax_t)(count += h->counts[i]));
    count += h->counts[HISTOGRAM_BOUNDS];
    buf_fmt(out, "%s_bucket{le=\"+Inf\"} %jd\n%s_sum %.15g\n%s_count %jd\n", name, (intmax_t)count, name, h->sum,
            name, (intmax_t)count);
}
