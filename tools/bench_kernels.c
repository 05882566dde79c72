/* bench_kernels.c - GB/s of the matrix kernels on matrices that fit no cache, beside the machine's pure read
 * limit.
 *
 * `make bench-kernels`; never a test. Each round measures the read limit and every kernel once, one after the
 * other, each on another 16 MB of its matrix, so that noise from neighbours hits all of them alike and
 * nothing is in a cache. Printed: the median over the rounds, the 5th and 95th of 100, and the share of the
 * read limit, median by median and (at best) 95th by 95th. Beside other work neither is the machine's own
 * figure. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/mem.h"
#include "base/pool.h"
#include "kern/kern.h"

enum { ROUNDS = 80, ROWS_MAX = 8, COLS = 2048, JOBS_MAX = 64, SEGMENT_MB = 16, SEGMENTS = 16 };

/* One measured thing: a product with n activation rows, or, without kernels, a pure read of the codes. */
struct job {
    const struct kern *kern;
    const char *what;
    const struct matrix *w;
    bool fast;
    int n;
    double gbs[ROUNDS];
};

static float x[ROWS_MAX][COLS];
static struct q8 q[COLS / 64][ROWS_MAX];
static float *y; /* [ROWS_MAX][rows of a segment] */
static int segment;
static volatile uint64_t sink;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Rows of the matrix that make up a segment. */
static uint32_t segment_rows(const struct matrix *w)
{
    return (uint32_t)(((size_t)SEGMENT_MB << 20) / matrix_row_bytes(w)) / 64 * 64;
}

#if defined(__x86_64__)
__attribute__((target("avx2")))
#endif
static void
read_bytes(const unsigned char *p, size_t n)
{
    typedef uint64_t v4 __attribute__((vector_size(32)));
    v4 a[8] = {{0}};
    for (size_t i = 0; i + 256 <= n; i += 256)
        for (int k = 0; k < 8; k++) {
            v4 v;
            memcpy(&v, p + i + 32 * k, sizeof v);
            a[k] += v;
        }
    for (int k = 1; k < 8; k++) a[0] += a[k];
    sink += a[0][0] + a[0][1] + a[0][2] + a[0][3];
}

static void run_job(void *arg, int t, int n_threads)
{
    const struct job *j = arg;
    const struct matrix *w = j->w;
    const uint32_t rows = segment_rows(w), first = (uint32_t)segment * rows;
    int lo, hi;

    pool_share((int)rows, 64, t, n_threads, &lo, &hi);
    if (!j->kern) {
        size_t row = matrix_row_bytes(w);
        read_bytes((const unsigned char *)w->data + (first + (uint32_t)lo) * row, (size_t)(hi - lo) * row);
        return;
    }
    float *to = y - first; /* kernels write at the index of the matrix row */
    if (j->fast)
        j->kern->mat_rows_q8(w, first + (uint32_t)lo, first + (uint32_t)hi, (struct mat_at){0}, q[0],
                             ROWS_MAX, j->n, to, rows);
    else
        j->kern->mat_rows(w, first + (uint32_t)lo, first + (uint32_t)hi, x[0], COLS, j->n, to, rows);
}

static void *filled(size_t n, uint32_t keep)
{
    uint32_t *p = mem_map(n), v = 1;
    if (!p) {
        fprintf(stderr, "no memory for %zu bytes\n", n);
        exit(1);
    }
    for (size_t i = 0; i < n / 4; i++) {
        v = v * 1664525u + 1013904223u;
        p[i] = (v ^ v >> 15) & keep;
    }
    return p;
}

static struct matrix make_matrix(int bits)
{
    struct matrix w = {
        .type = DT_U32, .scale_type = DT_BF16, .bits = (uint8_t)bits, .group = 64, .cols = COLS};
    w.rows = SEGMENTS * segment_rows(&w);
    size_t scale_bytes = (size_t)w.rows * (COLS / 64) * 2;
    w.data = filled(matrix_row_bytes(&w) * w.rows, ~0u);
    w.scales = filled(scale_bytes, 0xbfffbfff); /* below 2 in magnitude */
    w.biases = filled(scale_bytes, 0xbfffbfff);
    return w;
}

static int by_value(const void *a, const void *b)
{
    double l = *(const double *)a, r = *(const double *)b;
    return (l > r) - (l < r);
}

static void run_all(struct job *jobs, int n_jobs, int threads)
{
    struct pool *pool;
    struct alula_error e;
    if (!pool_create(&pool, threads, &e)) {
        fprintf(stderr, "%s\n", e.message);
        exit(1);
    }
    for (int r = 0; r < ROUNDS; r++)
        for (int j = 0; j < n_jobs; j++) {
            segment = (segment + 1) % SEGMENTS;
            double t = now();
            pool_run(pool, run_job, &jobs[j]);
            t = now() - t;
            double bytes = jobs[j].kern ? (double)matrix_bytes(jobs[j].w)
                                        : (double)matrix_row_bytes(jobs[j].w) * jobs[j].w->rows;
            jobs[j].gbs[r] = bytes / SEGMENTS / t / 1e9;
        }
    pool_free(pool);
    const double *limit = jobs[0].gbs;
    for (int j = 0; j < n_jobs; j++) {
        double *g = jobs[j].gbs;
        qsort(g, ROUNDS, sizeof *g, by_value);
        double median = g[ROUNDS / 2], high = g[ROUNDS * 95 / 100];
        printf("%d thread%s %-7s %-11s %d row%s %6.1f GB/s (%.1f to %.1f), share of the read limit %.2f, "
               "at best %.2f\n",
               threads, threads > 1 ? "s" : " ", jobs[j].kern ? jobs[j].kern->name : "", jobs[j].what,
               jobs[j].n, jobs[j].n == 1 ? " " : "s", median, g[ROUNDS * 5 / 100], high,
               median / limit[ROUNDS / 2], high / limit[ROUNDS * 95 / 100]);
    }
}

int main(void)
{
    static const char *const levels[] = {"avx512", "avx2", "neon"};
    static const struct {
        int bits, n;
        bool fast;
    } more[] = {{8, 1, true}, {8, 4, true}, {6, 1, true},  {5, 1, true},
                {3, 1, true}, {2, 1, true}, {4, 1, false}, {4, 4, false}};
    static struct kern kerns[3], plain;
    static struct job jobs[JOBS_MAX];
    static struct matrix w[9];
    static char names[9][2][12];
    int n_jobs = 0;

    for (int bits = 2; bits <= 8; bits++) {
        if (bits == 7) continue;
        w[bits] = make_matrix(bits);
        for (int fast = 0; fast < 2; fast++)
            snprintf(names[bits][fast], sizeof names[bits][fast], "%s %d-bit", fast ? "q8" : "f32", bits);
    }
    y = mem_alloc(sizeof *y * ROWS_MAX * segment_rows(&w[2]));
    if (!y) return 1;
    for (int i = 0; i < ROWS_MAX * COLS; i++) x[i / COLS][i % COLS] = (float)(i % 101) / 50 - 1;
    kern_init(&plain, 0);
    for (int r = 0; r < ROWS_MAX; r++) plain.q8_from(&q[0][r], ROWS_MAX, x[r], COLS);
    jobs[n_jobs++] = (struct job){.what = "read", .w = &w[4]};
    for (int i = 0; i < 3; i++) {
        unsigned mask = 0;
        cpu_limit(levels[i], &mask);
        if ((cpu_detect() & mask) != mask) continue;
        kern_init(&kerns[i], mask);
        for (int n = 1; n <= ROWS_MAX; n++)
            jobs[n_jobs++] = (struct job){&kerns[i], names[4][1], &w[4], true, n, {0}};
        for (size_t m = 0; m < sizeof more / sizeof *more; m++)
            jobs[n_jobs++] = (struct job){
                &kerns[i], names[more[m].bits][more[m].fast], &w[more[m].bits], more[m].fast, more[m].n, {0}};
    }
    for (int threads = 1; threads <= pool_cpu_count(); threads *= 2) run_all(jobs, n_jobs, threads);
    return 0;
}
