/* pool.c - worker threads: one job at a time, handed over by two counters.
 *
 * Owns threads, spinning and sleeping. Knows nothing of the work.
 *
 * The caller writes the job, then raises `turn`; a worker that sees turn move runs the job and lowers
 * `running`; the caller, after its own share, waits for running to reach zero. Both waits spin for a bounded
 * time, because the token loop comes back within microseconds, and then sleep in the kernel on the same word.
 * Whoever changes a word wakes sleepers only if there are any: a waiter announces itself before its last look
 * at the word, the changer looks for waiters after the change, and all four accesses are sequentially
 * consistent, so one of the two sees the other. */
#include "base/pool.h"
#include "base/clock.h"
#include "base/mem.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SPIN_S 200e-6 /* longest spinning before a thread sleeps */
enum { POOL_MAX = 256, LINE = 64, SPIN_BATCH = 32 };

/* A word that threads wait on, alone in its cache line. */
struct word {
    alignas(LINE) _Atomic uint32_t value;
    _Atomic uint32_t sleepers;
};

struct worker {
    alignas(LINE) _Atomic uint64_t left; /* of its share of what was dealt: begin << 32 | end */
    struct pool *pool;
    pthread_t thread;
    int index;
};

struct pool {
    int n;
    bool spin; /* every thread can have a CPU of its own */
    void (*fn)(void *arg, int thread, int n_threads);
    void *arg;
    struct word turn, running;
    struct worker *workers; /* [n], the first without a thread: it is the caller */
    void *memory;           /* what mem_zalloc gave; the pool stands aligned inside */
};

static inline void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

/* Returns once w->value differs from old. */
static uint32_t word_wait(struct word *w, uint32_t old, bool spin)
{
    uint32_t v;
    double end = spin ? clock_s() + SPIN_S : 0;
    for (;;) {
        for (int i = 0; i < SPIN_BATCH; i++) {
            if ((v = atomic_load_explicit(&w->value, memory_order_acquire)) != old) return v;
            relax();
        }
        if (!spin || clock_s() >= end) break;
        /* The thread that is waited for may be queued behind this one, when other programs hold the other
         * CPUs. */
        sched_yield();
    }
    atomic_fetch_add(&w->sleepers, 1);
    while ((v = atomic_load(&w->value)) == old)
        syscall(SYS_futex, &w->value, FUTEX_WAIT_PRIVATE, old, NULL, NULL, 0);
    atomic_fetch_sub(&w->sleepers, 1);
    return v;
}

static void word_wake(struct word *w)
{
    if (atomic_load(&w->sleepers) > 0)
        syscall(SYS_futex, &w->value, FUTEX_WAKE_PRIVATE, POOL_MAX, NULL, NULL, 0);
}

static void *work(void *arg)
{
    struct worker *self = arg;
    struct pool *p = self->pool;
    for (uint32_t turn = 0;;) {
        turn = word_wait(&p->turn, turn, p->spin);
        if (!p->fn) return NULL;
        p->fn(p->arg, self->index, p->n);
        if (atomic_fetch_sub(&p->running.value, 1) == 1) word_wake(&p->running);
    }
}

/* Hands a job to the workers; NULL sends them home. */
static void hand_out(struct pool *p, void (*fn)(void *, int, int), void *arg)
{
    p->fn = fn;
    p->arg = arg;
    atomic_store_explicit(&p->running.value, (uint32_t)p->n - 1, memory_order_relaxed);
    atomic_fetch_add(&p->turn.value, 1);
    word_wake(&p->turn);
}

void pool_run(struct pool *p, void (*fn)(void *arg, int thread, int n_threads), void *arg)
{
    if (p->n > 1) hand_out(p, fn, arg);
    fn(arg, 0, p->n);
    if (p->n == 1) return;
    for (uint32_t left; (left = atomic_load(&p->running.value)) != 0;) word_wait(&p->running, left, p->spin);
}

/* Signals are for the program's own threads: workers block all of them. */
static int start_worker(struct worker *w)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pthread_create(&w->thread, NULL, work, w);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return rc;
}

static void stop_workers(struct pool *p, int n_started)
{
    if (n_started > 1) hand_out(p, NULL, NULL);
    for (int i = 1; i < n_started; i++) pthread_join(p->workers[i].thread, NULL);
    mem_free(p->memory);
}

bool pool_create(struct pool **ret, int n_threads, struct alula_error *e)
{
    int cpus = pool_cpu_count();
    int n = n_threads == 0 ? (cpus < POOL_MAX ? cpus : POOL_MAX) : n_threads;
    if (n < 1 || n > POOL_MAX)
        return err_set(e, ALULA_USAGE,
                       "%d threads were asked for, expected 1 to %d, or 0 for one on each CPU", n, POOL_MAX);
    void *memory = mem_zalloc(1, sizeof(struct pool) + LINE + (size_t)n * sizeof(struct worker));
    if (!memory) return err_set(e, ALULA_NOMEM, "out of memory for a pool of %d threads", n);
    struct pool *p = (void *)(((uintptr_t)memory + LINE - 1) & ~(uintptr_t)(LINE - 1));
    p->n = n;
    p->spin = n <= cpus;
    p->workers = (struct worker *)(p + 1);
    p->memory = memory;
    for (int i = 1; i < n; i++) {
        p->workers[i].pool = p;
        p->workers[i].index = i;
        int rc = start_worker(&p->workers[i]);
        if (rc != 0) {
            stop_workers(p, i);
            return err_set(e, ALULA_LIMIT, "cannot start thread %d of %d: %s", i + 1, n, strerror(rc));
        }
    }
    *ret = p;
    return true;
}

void pool_free(struct pool *p)
{
    if (p) stop_workers(p, p->n);
}

int pool_threads(const struct pool *p) { return p->n; }

/* ---- sharing out ----------------------------------------------------------------------------- */

void pool_deal(struct pool *p, int n)
{
    for (int t = 0; t < p->n; t++) {
        int begin, end;
        pool_share(n, 1, t, p->n, &begin, &end);
        atomic_store_explicit(&p->workers[t].left, (uint64_t)begin << 32 | (uint32_t)end,
                              memory_order_relaxed);
    }
}

static int items(uint64_t left) { return (int)(uint32_t)left - (int)(left >> 32); }

/* Half of what is left of a worker's share: its first half for itself, the last one for others. */
static bool take_half(struct worker *w, bool first, int *begin, int *end)
{
    uint64_t left = atomic_load_explicit(&w->left, memory_order_relaxed), rest;
    do {
        int n = items(left), some = n > 1 ? n / 2 : 1;
        if (n == 0) return false;
        *begin = first ? (int)(left >> 32) : (int)(uint32_t)left - some;
        *end = *begin + some;
        rest = first ? left + ((uint64_t)some << 32) : left - (uint64_t)some;
    } while (!atomic_compare_exchange_weak_explicit(&w->left, &left, rest, memory_order_relaxed,
                                                    memory_order_relaxed));
    return true;
}

bool pool_take(struct pool *p, int thread, int *begin, int *end)
{
    if (take_half(&p->workers[thread], true, begin, end)) return true;
    for (;;) {
        struct worker *most = NULL;
        int n = 0;
        for (int t = 0; t < p->n; t++) {
            int has = items(atomic_load_explicit(&p->workers[t].left, memory_order_relaxed));
            if (has > n) most = &p->workers[t], n = has;
        }
        if (!most) return false;
        if (take_half(most, false, begin, end)) return true;
    }
}

/* ---- CPUs ------------------------------------------------------------------------------------ */

static int affinity_count(void)
{
    for (int bits = 1024; bits <= 1 << 20; bits *= 2) {
        cpu_set_t *set = CPU_ALLOC(bits);
        if (!set) break;
        size_t size = CPU_ALLOC_SIZE(bits);
        int n = sched_getaffinity(0, size, set) == 0 ? CPU_COUNT_S(size, set) : 0;
        CPU_FREE(set);
        if (n > 0) return n;
    }
    return 1;
}

/* CPUs granted by one group's folder, rounded up; 0 = no limit there. Either form: v2 "quota period" in
 * cpu.max, v1 in two files. */
static int group_quota(const char *dir)
{
    char path[8300], text[64] = "";
    double quota = 0, period = 0;
    const char *const names[] = {"cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us"};
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        FILE *f = fopen(path, "re");
        if (!f) continue;
        bool ok = fgets(text, sizeof text, f) != NULL;
        fclose(f);
        if (ok && i == 0 && sscanf(text, "%lf %lf", &quota, &period) == 2) break;
        if (ok && i > 0) *(i == 1 ? &quota : &period) = atof(text);
    }
    if (!(quota > 0) || !(period > 0)) return 0;
    double cpus = quota / period;
    return cpus >= 1e6 ? 0 : (int)cpus + (cpus > (int)cpus);
}

/* The smallest limit of the group root/path and of all groups above it, up to root. */
static int tree_quota(const char *root, const char *path)
{
    char dir[8192 + 1];
    int least = 0;
    size_t stem = strlen(root);
    snprintf(dir, sizeof dir, "%.4096s%.4096s", root, path);
    for (size_t n = strlen(dir);; dir[n] = '\0') {
        int q = group_quota(dir);
        if (q > 0 && (least == 0 || q < least)) least = q;
        while (n > stem && dir[n - 1] != '/') n--;
        if (n <= stem) return least;
        n--;
    }
}

/* Whether a comma-separated list has the word "cpu". */
static bool names_cpu(const char *list)
{
    for (const char *p = list; *p; p += strcspn(p, ","), p += *p == ',')
        if (strcspn(p, ",") == 3 && strncmp(p, "cpu", 3) == 0) return true;
    return false;
}

int pool_cpu_quota(const char *self, const char *root)
{
    FILE *f = fopen(self, "re");
    if (!f) return 0;
    char line[4096], base[4096];
    int least = 0;
    /* Lines are "id:controllers:path"; v2 has id 0 and no controllers. */
    while (fgets(line, sizeof line, f)) {
        char *list = strchr(line, ':'), *path = list ? strchr(list + 1, ':') : NULL;
        if (!path) continue;
        *path++ = '\0';
        path[strcspn(path, "\n")] = '\0';
        bool v2 = list[1] == '\0';
        if (!v2 && !names_cpu(list + 1)) continue;
        snprintf(base, sizeof base, "%s%s", root, v2 ? "" : "/cpu");
        int q = tree_quota(base, path);
        if (q > 0 && (least == 0 || q < least)) least = q;
    }
    fclose(f);
    return least;
}

int pool_cpu_count(void)
{
    int n = affinity_count(), quota = pool_cpu_quota("/proc/self/cgroup", "/sys/fs/cgroup");
    return quota > 0 && quota < n ? quota : n;
}
