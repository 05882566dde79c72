/* stats.c - intervals and tests for counts (see stats.h). Knows nothing of what was counted. */
#include "forge/stats.h"

#include <math.h>
#include <stdlib.h>

#define Z95 1.959963984540054 /* of the normal distribution, 95 % lie within so many deviations */

static double clamp(double v, double low, double high) { return v < low ? low : v > high ? high : v; }

struct interval stats_wilson(int64_t hits, int64_t n)
{
    if (n <= 0) return (struct interval){0, 1};
    double p = (double)hits / (double)n, z2 = Z95 * Z95, m = (double)n;
    double centre = (p + z2 / (2 * m)) / (1 + z2 / m);
    double half = Z95 / (1 + z2 / m) * sqrt(p * (1 - p) / m + z2 / (4 * m * m));
    return (struct interval){hits == 0 ? 0 : clamp(centre - half, 0, 1),
                             hits == n ? 1 : clamp(centre + half, 0, 1)};
}

double stats_sign_p(int64_t won, int64_t lost)
{
    int64_t n = won + lost, less = won < lost ? won : lost;
    double sum = 0;
    for (int64_t i = 0; i <= less; i++)
        sum += exp(lgamma((double)n + 1) - lgamma((double)i + 1) - lgamma((double)(n - i) + 1) -
                   (double)n * log(2));
    return clamp(2 * sum, 0, 1);
}

struct interval stats_lead(int64_t won, int64_t lost, int64_t n)
{
    double m = (double)n + 2, b = (double)won + 0.5, c = (double)lost + 0.5;
    double lead = (b - c) / m, half = Z95 * sqrt(b + c - (b - c) * (b - c) / m) / m;
    return (struct interval){clamp(lead - half, -1, 1), clamp(lead + half, -1, 1)};
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double stats_median(double *v, size_t n)
{
    if (n == 0) return 0;
    qsort(v, n, sizeof *v, by_value);
    return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}
