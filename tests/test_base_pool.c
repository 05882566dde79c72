/* Worker threads: every share done once, at any number of threads, over thousands of jobs; and how CPUs are
 * counted. */
#include "tests/support.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/pool.h"

enum { ITEMS = 1000 };

struct job {
    int done[ITEMS]; /* plain: under a thread sanitizer any lost ordering is a report */
    int by_thread[256];
    int n_threads, unit, round;
};

static void count_share(void *arg, int thread, int n_threads)
{
    struct job *j = arg;
    int begin, end;
    pool_share(ITEMS, j->unit, thread, n_threads, &begin, &end);
    for (int i = begin; i < end; i++) j->done[i] += j->round;
    j->by_thread[thread]++;
    if (thread == 0) j->n_threads = n_threads;
}

static void test_every_index_once(void **state)
{
    (void)state;
    struct alula_error e;
    static const int units[] = {1, 3, 8, 64, 1000, 5000};
    for (int n = 1; n <= 5; n++) {
        struct pool *p;
        assert_ok(pool_create(&p, n, &e), e);
        assert_int_equal(pool_threads(p), n);
        struct job j = {.round = 1};
        int runs = 0;
        for (; runs < 3000; runs++) {
            j.unit = units[runs % 6];
            pool_run(p, count_share, &j);
            assert_int_equal(j.n_threads, n);
        }
        for (int i = 0; i < ITEMS; i++) assert_int_equal(j.done[i], runs);
        for (int t = 0; t < 256; t++) assert_int_equal(j.by_thread[t], t < n ? runs : 0);
        pool_free(p);
    }
}

/* What was dealt is taken once each, a thread's own share first. Threads above `unit` stay away. */
struct takers {
    struct pool *pool;
    struct job job;
    int first[8];
};

static void take_all(void *arg, int thread, int n_threads)
{
    struct takers *k = arg;
    int begin, end;
    (void)n_threads;
    if (thread > k->job.unit) return;
    while (pool_take(k->pool, thread, &begin, &end)) {
        if (k->job.by_thread[thread]++ == 0) k->first[thread] = begin;
        for (int i = begin; i < end; i++) k->job.done[i]++;
    }
}

static void test_dealt_items_once(void **state)
{
    (void)state;
    struct alula_error e;
    static const int items[] = {0, 1, 2, 7, 64, ITEMS};
    for (int n = 1; n <= 5; n++) {
        struct takers k = {0};
        assert_ok(pool_create(&k.pool, n, &e), e);
        for (int run = 0; run < 600; run++) {
            int dealt = items[run % 6], begin, end;
            memset(&k.job, 0, sizeof k.job);
            k.job.unit = run % n; /* the shares of those who stay away are done by the others */
            pool_deal(k.pool, dealt);
            pool_run(k.pool, take_all, &k);
            for (int i = 0; i < ITEMS; i++) assert_int_equal(k.job.done[i], i < dealt);
            if (k.job.unit > 0 || dealt < n) continue;
            pool_share(dealt, 1, 0, n, &begin, &end);
            assert_int_equal(k.first[0], begin);
        }
        pool_free(k.pool);
    }
}

/* What one job wrote, the caller and the next job see, whichever thread runs it. */
static void add_across(void *arg, int thread, int n_threads)
{
    struct job *j = arg;
    for (int i = (thread + j->round) % n_threads; i < ITEMS; i += n_threads)
        j->done[i] += j->done[(i + 1) % ITEMS] > -1;
}

static void copy_back(void *arg, int thread, int n_threads)
{
    struct job *both = arg;
    for (int i = (thread + both->round) % n_threads; i < ITEMS; i += n_threads)
        both[1].done[i] = both[0].done[(i + 7) % ITEMS] + 1;
}

static void test_jobs_follow_each_other(void **state)
{
    (void)state;
    struct alula_error e;
    struct pool *p;
    static struct job both[2], one;
    assert_ok(pool_create(&p, 3, &e), e);
    for (int round = 0; round < 2000; round++) {
        both[0].round = round;
        pool_run(p, copy_back, both);
        memcpy(both[0].done, both[1].done, sizeof both[0].done);
        /* Now and then long enough for the workers to fall asleep. */
        if (round % 400 == 0) usleep(2000);
    }
    for (int i = 0; i < ITEMS; i++) assert_int_equal(both[0].done[i], 2000);
    pool_free(p);
    assert_ok(pool_create(&p, 1, &e), e);
    pool_run(p, add_across, &one);
    for (int i = 0; i < ITEMS; i++) assert_int_equal(one.done[i], 1);
    pool_free(p);
}

struct caller {
    struct pool *pool;
    struct job *job;
};

static void *call_from_thread(void *arg)
{
    struct caller *c = arg;
    for (int i = 0; i < 200; i++) pool_run(c->pool, count_share, c->job);
    return NULL;
}

/* A server hands a session from thread to thread; its pool goes along. */
static void test_callers_take_turns(void **state)
{
    (void)state;
    struct alula_error e;
    struct job j = {.unit = 16, .round = 1};
    struct caller c = {.job = &j};
    assert_ok(pool_create(&c.pool, 2, &e), e);
    for (int i = 0; i < 5; i++) {
        pthread_t t;
        assert_int_equal(pthread_create(&t, NULL, call_from_thread, &c), 0);
        pthread_join(t, NULL);
        call_from_thread(&c);
    }
    for (int i = 0; i < ITEMS; i++) assert_int_equal(j.done[i], 2000);
    pool_free(c.pool);
}

static void test_two_pools_side_by_side(void **state)
{
    (void)state;
    struct alula_error e;
    struct job j[2] = {{.unit = 1, .round = 1}, {.unit = 1, .round = 1}};
    struct caller c[2] = {{.job = &j[0]}, {.job = &j[1]}};
    pthread_t t[2];
    for (int i = 0; i < 2; i++) assert_ok(pool_create(&c[i].pool, 2, &e), e);
    for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&t[i], NULL, call_from_thread, &c[i]), 0);
    for (int i = 0; i < 2; i++) {
        pthread_join(t[i], NULL);
        assert_int_equal(j[i].done[ITEMS - 1], 200);
        pool_free(c[i].pool);
    }
}

static void test_creation(void **state)
{
    (void)state;
    struct alula_error e;
    struct pool *p = NULL;
    assert_false(pool_create(&p, -1, &e));
    assert_int_equal(e.code, ALULA_USAGE);
    assert_false(pool_create(&p, 257, &e));
    assert_string_equal(e.message, "257 threads were asked for, expected 1 to 256, or 0 for one on each CPU");
    mem_fail_after(0);
    assert_false(pool_create(&p, 2, &e));
    mem_fail_after(-1);
    assert_int_equal(e.code, ALULA_NOMEM);
    assert_null(p);
    pool_free(NULL);
    assert_ok(pool_create(&p, 0, &e), e);
    assert_int_equal(pool_threads(p), pool_cpu_count());
    pool_free(p);
    /* Freed at once, before the workers may have begun, and after they fell asleep. */
    for (int i = 0; i < 50; i++) {
        assert_ok(pool_create(&p, 4, &e), e);
        if (i % 10 == 0) usleep(1000);
        pool_free(p);
    }
}

static void test_share_covers(void **state)
{
    (void)state;
    for (int n = 0; n < 40; n++)
        for (int unit = 1; unit < 10; unit++)
            for (int threads = 1; threads < 9; threads++) {
                int next = 0, begin, end;
                for (int t = 0; t < threads; t++) {
                    pool_share(n, unit, t, threads, &begin, &end);
                    assert_int_equal(begin, next);
                    assert_true(end >= begin && (end % unit == 0 || end == n));
                    next = end;
                }
                assert_int_equal(next, n);
            }
}

/* ---- CPUs ------------------------------------------------------------------------------------ */

static void put(const char *name, const char *text)
{
    char path[400];
    struct alula_error e;
    assert_ok(path_join(path, sizeof path, scratch_dir(), name, &e), e);
    for (char *p = path + strlen(scratch_dir()) + 1; (p = strchr(p, '/')); p++) {
        *p = '\0';
        mkdir(path, 0755);
        *p = '/';
    }
    assert_ok(file_write(path, text, strlen(text), &e), e);
}

static int quota(const char *self)
{
    char path[400];
    put("self", self);
    snprintf(path, sizeof path, "%s/self", scratch_dir());
    return pool_cpu_quota(path, scratch_dir());
}

static void test_quota(void **state)
{
    (void)state;
    assert_int_equal(pool_cpu_quota("/no/such/file", "/no/such/folder"), 0);
    assert_int_equal(quota("0::/\n"), 0);
    put("cpu.max", "max 100000\n");
    put("two/cpu.max", "150000 100000\n");
    put("two/below/cpu.max", "max 100000\n");
    put("two/wide/cpu.max", "800000 100000\n");
    put("half/cpu.max", "50000 100000\n");
    put("junk/cpu.max", "what 0\n");
    put("zero/cpu.max", "100000 0\n");
    assert_int_equal(quota("0::/\n"), 0);
    assert_int_equal(quota("0::/two\n"), 2);
    assert_int_equal(quota("0::/two/below\n"), 2); /* a parent's limit holds for its children */
    assert_int_equal(quota("0::/two/wide\n"), 2);
    assert_int_equal(quota("0::/half"), 1);
    assert_int_equal(quota("0::/junk\n"), 0);
    assert_int_equal(quota("0::/zero\n"), 0);
    assert_int_equal(quota("nonsense\n\n::\n"), 0);
    /* Version 1: the controller has a folder of its own; -1 is no limit. */
    put("cpu/a/cpu.cfs_quota_us", "300000\n");
    put("cpu/a/cpu.cfs_period_us", "100000\n");
    put("cpu/b/cpu.cfs_quota_us", "-1\n");
    put("cpu/b/cpu.cfs_period_us", "100000\n");
    assert_int_equal(quota("12:cpuset:/a\n3:cpuacct,cpu:/a\n0::/\n"), 3);
    assert_int_equal(quota("12:cpuset:/a\n3:cpuacct:/a\n"), 0);
    assert_int_equal(quota("3:cpu,cpuacct:/b\n"), 0);
    assert_int_equal(quota("3:cpu:/a\n0::/two\n"), 2);
    /* In a container the path is the host's; the limit then stands at the root. */
    put("cpu/cpu.cfs_quota_us", "200000\n");
    put("cpu/cpu.cfs_period_us", "100000\n");
    assert_int_equal(quota("3:cpu:/docker/0123\n"), 2);
}

static void test_affinity(void **state)
{
    (void)state;
    int n = pool_cpu_count();
    assert_true(n >= 1);
    pid_t pid = fork();
    if (pid == 0) {
        cpu_set_t all, one;
        CPU_ZERO(&one);
        sched_getaffinity(0, sizeof all, &all);
        for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++)
            if (CPU_ISSET(i, &all)) CPU_SET(i, &one);
        _exit(sched_setaffinity(0, sizeof one, &one) == 0 ? pool_cpu_count() : 99);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_index_once),
        cmocka_unit_test(test_dealt_items_once),
        cmocka_unit_test(test_jobs_follow_each_other),
        cmocka_unit_test(test_callers_take_turns),
        cmocka_unit_test(test_two_pools_side_by_side),
        cmocka_unit_test(test_creation),
        cmocka_unit_test(test_share_covers),
        cmocka_unit_test(test_quota),
        cmocka_unit_test(test_affinity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
