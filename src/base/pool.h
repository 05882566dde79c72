/* pool.h - worker threads for the token loop: spin for a bounded time, then sleep.
 *
 * The caller is thread 0. No result may depend on which thread computes what. Work is split by the index
 * (pool_share), or, where waiting for the slower thread would cost more than asking who comes first, dealt
 * out and taken (pool_deal). One job at a time: one caller. */
#ifndef BASE_POOL_H
#define BASE_POOL_H

#include "base/err.h"

struct pool;

/* CPUs that this process may use: affinity mask and cgroup quota (v2 cpu.max, v1 cfs), at least 1. */
int pool_cpu_count(void);
/* The quota alone, rounded up to whole CPUs: of the group that the file `self` (/proc/self/cgroup) names in
 * the tree at `root` (/sys/fs/cgroup), and of those above it. 0 = none. */
int pool_cpu_quota(const char *self, const char *root);

/* n_threads 0 = pool_cpu_count(). At most 256. */
bool pool_create(struct pool **ret, int n_threads, struct alula_error *e);
void pool_free(struct pool *p);
int pool_threads(const struct pool *p);

/* Runs fn(arg, thread, n_threads) on every thread and returns when all have returned. fn must not call
 * pool_run on the same pool. Callers may be different threads, one after the other. */
void pool_run(struct pool *p, void (*fn)(void *arg, int thread, int n_threads), void *arg);

/* The share of thread t in n items cut into whole multiples of `unit`: [*begin, *end). */
static inline void pool_share(int n, int unit, int t, int n_threads, int *begin, int *end)
{
    int blocks = (n + unit - 1) / unit;
    long lo = (long)blocks * t / n_threads * unit, hi = (long)blocks * (t + 1) / n_threads * unit;
    *begin = lo < n ? (int)lo : n;
    *end = hi < n ? (int)hi : n;
}

/* For the next job: items 0..n-1, dealt out as pool_share does. A thread takes its own share, large ranges
 * first, so that it finds in its caches what it left there in the job before; then it helps those who are
 * behind, so that all are done at about the same time. */
void pool_deal(struct pool *p, int n);
/* Inside the job: the thread's next range, not empty; false when nothing is left. */
bool pool_take(struct pool *p, int thread, int *begin, int *end);

#endif
