/* The prompt cache's folder: what is found again after a restart is what was written, or it is not found. */
#include "base/log.h"
#include "tests/cache_rig.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- folders -------------------------------------------------------------------------------------------- */

static struct alula_cache_options in_dir(const char *dir)
{
    return (struct alula_cache_options){.memory = 1 << 30, .dir = dir, .disk = 1 << 30};
}

/* Another process, as it were: what is being written is written, and memory is empty. */
static void restart(struct cache_rig *g, struct alula_cache_options o)
{
    alula_cache_free(g->cache);
    rig_cache(g, o);
}

static void rig_open_in(struct cache_rig *g, struct alula_cache_options o)
{
    rig_open(g, false, 0);
    restart(g, o);
}

static int count_files(const char *dir, char names[][64], uint64_t *ret_bytes)
{
    char **all, path[4096];
    size_t n_all;
    struct alula_error e;
    int n = 0;
    *ret_bytes = 0;
    assert_ok(dir_list(dir, &all, &n_all, &e), e);
    for (size_t i = 0; i < n_all; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, all[i]);
        *ret_bytes += file_size(path);
        if (names) snprintf(names[n], 64, "%s", all[i]);
        n++;
    }
    mem_free(all);
    return n;
}

static struct alula_cache_stats stats_of(const struct cache_rig *g)
{
    struct alula_cache_stats stats;
    alula_cache_describe(g->cache, &stats);
    return stats;
}

/* ---- conversations -------------------------------------------------------------------------------------- */

/* Takes up what is kept of ids, reads on to n and stores there. */
static void store_at(const struct cache_rig *g, const int32_t *ids, int n)
{
    struct alula_session *s = rig_session(g, rig_options(1, false));
    struct alula_cache_hit hit = rig_restore(g, s, ids, n);
    rig_prompt(s, ids + hit.n, n - (int)hit.n);
    rig_store(g, s);
    alula_session_free(s);
}

/* Takes up at `len` of ids[0..n), from `source`; state and answer are those of a session that reads. */
static void assert_taken(const struct cache_rig *g, int depth, const int32_t *ids, int n, int len,
                         const char *source)
{
    struct alula_session *taken = rig_session(g, rig_options(depth, true)),
                         *read = rig_session(g, rig_options(depth, true));
    struct alula_cache_hit hit = rig_restore(g, taken, ids, n);
    assert_int_equal(hit.n, len);
    assert_string_equal(hit.source, source);
    if (len) rig_prompt(read, ids, len);
    rig_assert_same(taken, read);
    rig_prompt(taken, ids + len, n - len);
    rig_prompt(read, ids + len, n - len);
    rig_assert_same_answer(taken, read, 5);
    alula_session_free(taken);
    alula_session_free(read);
}

/* A copy that differs at a place. */
static void branch(const struct cache_rig *g, int at, int32_t ids[256])
{
    memcpy(ids, g->ids, sizeof g->ids);
    ids[at]++;
}

/* ---- restart -------------------------------------------------------------------------------------------- */

/* Turns of a conversation, one file each; a branch in the middle of one; sessions with and without drafts, both
 * modes. Once fetched, they are in memory. */
static void test_found_after_a_restart(void **state)
{
    (void)state;
    for (int exact = 0; exact < 2; exact++) {
        struct cache_rig g;
        const char *dir = fresh_dir();
        int32_t other[256];
        uint64_t bytes;
        rig_open(&g, exact, 0);
        restart(&g, in_dir(dir));
        branch(&g, 120, other);
        store_at(&g, g.ids, 70);
        store_at(&g, g.ids, 150);
        store_at(&g, other, 190);
        restart(&g, in_dir(dir));
        assert_int_equal(count_files(dir, NULL, &bytes), 3);
        assert_int_equal(stats_of(&g).disk_files, 3);
        assert_int_equal(stats_of(&g).disk_used, bytes);
        assert_taken(&g, 3, g.ids, 200, 150, "disk");
        assert_taken(&g, 0, g.ids, 151, 150, "memory");
        assert_taken(&g, 1, other, 200, 190, "disk");
        assert_taken(&g, 2, other, 150, 70, "disk");
        rig_assert_counted(&g);
        restart(&g, in_dir(dir));
        assert_taken(&g, 0, other, 200, 190, "disk");
        assert_int_equal(stats_of(&g).disk_damaged, 0);
        rig_close(&g);
    }
}

/* Places closer than the least worth share a file; nothing shorter is written. */
static void test_short_ones_are_not_written(void **state)
{
    (void)state;
    struct cache_rig g;
    const char *dir = fresh_dir();
    uint64_t bytes;
    rig_open_in(&g, in_dir(dir));
    for (int n = 30; n <= 180; n += 30) store_at(&g, g.ids, n);
    restart(&g, in_dir(dir));
    assert_int_equal(count_files(dir, NULL, &bytes), 2);
    assert_taken(&g, 1, g.ids, 200, 180, "disk");
    assert_taken(&g, 1, g.ids, 180, 90, "disk");
    rig_close(&g);
}

/* Another model's, mode's or head's files are no use, and no damage. */
static void test_other_identities(void **state)
{
    (void)state;
    struct cache_rig g, h;
    const char *dir = fresh_dir();
    char path[512];
    struct alula_error e;
    uint64_t bytes;
    rig_open_in(&g, in_dir(dir));
    store_at(&g, g.ids, 100);
    restart(&g, in_dir(dir));
    snprintf(path, sizeof path, "%s/notes.txt", dir);
    assert_ok(file_write(path, "mine", 4, &e), e);
    rig_open(&h, true, 0);
    restart(&h, in_dir(dir));
    assert_taken(&h, 1, h.ids, 150, 0, "none");
    assert_int_equal(stats_of(&h).disk_damaged, 0);
    rig_close(&h);
    assert_taken(&g, 1, g.ids, 150, 100, "disk");
    rig_close(&g);
    assert_int_equal(count_files(dir, NULL, &bytes), 2);
}

/* Reading a file into memory evicts what the prompt has in common with others beyond the place: a use after free. */
static void test_fetching_evicts_what_was_found(void **state)
{
    (void)state;
    struct cache_rig g;
    int32_t other[256];
    struct alula_cache_options o = in_dir(fresh_dir());
    rig_open(&g, false, 0);
    o.memory =
        2 * (timeline_snapshot_bytes(g.engine->model, true) + 1024) + 160 * (g.cache->tree.row_bytes[1] + 8);
    restart(&g, o);
    store_at(&g, g.ids, 70);
    restart(&g, o);
    store_at(&g, g.ids, 130);     /* too little more for a file */
    store_at(&g, g.ids + 60, 20); /* in place of 70 in memory */
    branch(&g, 100, other);
    struct alula_session *s = rig_session(&g, rig_options(1, false));
    struct alula_cache_hit hit = rig_restore(&g, s, other, 200); /* 70, in place of 130 */
    assert_int_equal(hit.n, 70);
    assert_string_equal(hit.source, "disk");
    assert_string_equal(hit.why, "new");
    rig_assert_counted(&g);
    alula_session_free(s);
    rig_close(&g);
}

/* ---- damage --------------------------------------------------------------------------------------------- */

static void flip_in_file(const char *dir, const char *name, off_t at)
{
    char path[512];
    unsigned char c = 0;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0 && pread(fd, &c, 1, at) == 1);
    c ^= 0x10;
    assert_int_equal(pwrite(fd, &c, 1, at), 1);
    close(fd);
}

/* Damage in a real file, at places all over it: the cache falls back to what is left, and tells of it once. */
static void test_damage_is_never_restored(void **state)
{
    (void)state;
    struct cache_rig g;
    uint64_t total;
    char names[8][64];
    int damaged = 0;
    rig_open(&g, false, 0);
    log_set_level(LOG_ERROR);
    for (int i = 0; i < 12; i++) {
        const char *dir = fresh_dir();
        restart(&g, in_dir(dir));
        store_at(&g, g.ids, 150);
        restart(&g, in_dir(fresh_dir()));
        assert_int_equal(count_files(dir, names, &total), 1);
        flip_in_file(dir, names[0], (off_t)(total * (uint64_t)i / 12 + 3));
        restart(&g, in_dir(dir));
        assert_taken(&g, 1, g.ids, 200, 0, "none");
        damaged += (int)stats_of(&g).disk_damaged == 1;
        store_at(&g, g.ids, 150); /* and written anew, under the same name */
        restart(&g, in_dir(dir));
        assert_taken(&g, 1, g.ids, 200, 150, "disk");
    }
    log_set_level(LOG_WARN);
    assert_true(damaged >= 11); /* a flip in the identity makes it another model's */
    rig_close(&g);
}

/* A hurt file at the end of a conversation leaves the turns before it; one at its beginning leaves none. */
static void test_falls_back_to_earlier_turns(void **state)
{
    (void)state;
    struct cache_rig g;
    const char *dir = fresh_dir();
    char names[8][64];
    uint64_t total;
    rig_open_in(&g, in_dir(dir));
    log_set_level(LOG_ERROR);
    store_at(&g, g.ids, 70);
    restart(&g, in_dir(dir));
    assert_int_equal(count_files(dir, names, &total), 1);
    store_at(&g, g.ids, 140);
    restart(&g, in_dir(dir));
    char both[8][64], path[512];
    assert_int_equal(count_files(dir, both, &total), 2);
    const char *second = strcmp(both[0], names[0]) ? both[0] : both[1];
    snprintf(path, sizeof path, "%s/%s", dir, second);
    flip_in_file(dir, second, (off_t)file_size(path) - 600); /* in the snapshot */
    restart(&g, in_dir(dir));
    assert_taken(&g, 2, g.ids, 200, 70, "disk");
    assert_int_equal(stats_of(&g).disk_damaged, 1);
    /* Gone without a trace: no damage, only not there. */
    restart(&g, in_dir(dir));
    snprintf(path, sizeof path, "%s/%s", dir, names[0]);
    unlink(path);
    assert_taken(&g, 2, g.ids, 200, 0, "none");
    rig_assert_counted(&g);
    log_set_level(LOG_WARN);
    rig_close(&g);
}

/* ---- limits --------------------------------------------------------------------------------------------- */

static uint64_t one_file(struct cache_rig *g)
{
    const char *dir = fresh_dir();
    uint64_t bytes;
    restart(g, in_dir(dir));
    store_at(g, g->ids, 70);
    restart(g, in_dir(dir));
    count_files(dir, NULL, &bytes);
    return bytes;
}

/* The oldest go, but of a conversation the end goes before the beginning. */
static void test_size_is_kept(void **state)
{
    (void)state;
    struct cache_rig g;
    rig_open(&g, false, 0);
    struct alula_cache_options o = in_dir(fresh_dir());
    uint64_t bytes, limit = 3 * one_file(&g) + 1000;
    o.dir = fresh_dir();
    o.disk = limit;
    restart(&g, o);
    int32_t other[256];
    branch(&g, 0, other);
    store_at(&g, g.ids, 70);
    restart(&g, o);
    store_at(&g, g.ids, 140);
    restart(&g, o);
    store_at(&g, other, 70);
    restart(&g, o);
    count_files(o.dir, NULL, &bytes);
    assert_true(bytes <= limit);
    store_at(&g, other, 140); /* in place of the oldest, the first conversation's end */
    restart(&g, o);
    count_files(o.dir, NULL, &bytes);
    assert_true(bytes <= limit);
    assert_taken(&g, 1, other, 200, 140, "disk");
    assert_taken(&g, 1, g.ids, 200, 70, "disk");
    for (int i = 1; i <= 10; i++) {
        store_at(&g, g.ids + i, 100);
        restart(&g, o);
        count_files(o.dir, NULL, &bytes);
        assert_true(bytes <= limit);
    }
    o.disk = limit / 3;
    restart(&g, o); /* a smaller limit holds from the start */
    count_files(o.dir, NULL, &bytes);
    assert_true(bytes <= limit / 3);
    rig_close(&g);
}

static void test_write_allowance_is_kept(void **state)
{
    (void)state;
    struct cache_rig g;
    uint64_t bytes, hour;
    rig_open(&g, false, 0);
    struct alula_cache_options o = in_dir(NULL);
    hour = o.disk_write_per_hour = 7 * one_file(&g);
    o.dir = fresh_dir();
    restart(&g, o);
    for (int i = 0; i < 12; i++) store_at(&g, g.ids + i, 70);
    assert_int_equal(stats_of(&g).disk_dropped, 9);
    restart(&g, o);
    assert_int_equal(count_files(o.dir, NULL, &bytes), 3);
    assert_true(bytes <= hour / 2);
    rig_close(&g);
}

/* More at once than the thread can write: each is written or dropped, none waits. */
static void test_queue_has_a_ceiling(void **state)
{
    (void)state;
    enum { JOBS = 200, SNAPSHOT = 1 << 20 };
    atomic_size_t used = 0;
    struct cache_disk *d;
    struct cache_disk_stats stats;
    struct alula_error e;
    struct cache_shape shape = {
        .row_bytes = {8, 8}, .snapshot_bytes = {SNAPSHOT, SNAPSHOT}, .max_tokens = 1000};
    struct cache_disk_options o = {.dir = fresh_dir(), .size = 1 << 30, .write_per_hour = (uint64_t)1 << 40};
    memset(shape.identity, 'b', sizeof shape.identity - 1);
    assert_ok(disk_open(&d, &shape, &o, &e), e);
    int taken = 0;
    for (int i = 0; i < JOBS; i++) {
        struct cache_job *j = cache_job_new(d, 0, 80, false, 1);
        j->parts[0].ids.blob = blob_of(80 * sizeof(int32_t), (unsigned)i, &used);
        j->parts[0].rows.blob = blob_of(80 * 8, (unsigned)i, &used);
        j->parts[0].n = 80;
        j->n_parts = 1;
        j->snapshot = blob_of(SNAPSHOT, 1, &used);
        taken += disk_put(d, j);
        assert_true(atomic_load(&used) <= 11 * (SNAPSHOT + 4096)); /* queued, being written, being made */
    }
    disk_describe(d, &stats);
    assert_int_equal(stats.dropped, JOBS - taken);
    disk_close(d);
    assert_int_equal(atomic_load(&used), 0);
}

/* A disk that takes no more: nothing but the files is missing, and no part of one stays. */
static void test_full_disk(void **state)
{
    (void)state;
    struct cache_rig g;
    const char *dir = fresh_dir();
    struct rlimit old, small = {4096, RLIM_INFINITY};
    uint64_t bytes;
    rig_open_in(&g, in_dir(dir));
    log_set_level(LOG_ERROR);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    small.rlim_max = old.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    store_at(&g, g.ids, 70);
    store_at(&g, g.ids, 140);
    for (int i = 0; i < 3000 && stats_of(&g).disk_failed == 0; i++) usleep(10000);
    assert_taken(&g, 1, g.ids, 200, 140, "memory");
    assert_true(stats_of(&g).disk_failed > 0);
    assert_int_equal(count_files(dir, NULL, &bytes), 0);
    setrlimit(RLIMIT_FSIZE, &old);
    log_set_level(LOG_WARN);
    store_at(&g, g.ids, 210); /* with what could not be written before */
    restart(&g, in_dir(dir));
    assert_taken(&g, 1, g.ids, 250, 210, "disk");
    rig_close(&g);
}

static void test_wrong_folders(void **state)
{
    (void)state;
    struct cache_rig g;
    struct alula_error e;
    struct alula_cache *c;
    rig_open(&g, false, 0);
    struct alula_cache_options o = in_dir("/nonexistent/cache");
    assert_false(alula_cache_create(&c, g.engine, &o, &e));
    assert_int_equal(e.code, ALULA_NOT_FOUND);
    assert_non_null(strstr(e.message, "/nonexistent/cache"));
    rig_close(&g);
}

/* ---- processes and threads ------------------------------------------------------------------------------ */

/* Stores turns of one conversation and of branches of it, until it is killed or done. */
static void child_work(const char *dir, int turn, int rounds)
{
    struct cache_rig g;
    rig_open(&g, false, 0);
    restart(&g, in_dir(dir));
    for (int i = 0; i < rounds; i++) {
        int32_t ids[256];
        branch(&g, 30 * (i % 7), ids);
        store_at(&g, ids, 70 + (turn + i) % 3 * 70);
    }
    rig_close(&g);
}

static pid_t start_child(const char *dir, int turn, int rounds)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid > 0) return pid;
    child_work(dir, turn, rounds);
    _exit(0);
}

/* All that is found of the children's conversations is right. Returns the tokens found. */
static size_t assert_folder_right(struct cache_rig *g, const char *dir)
{
    size_t found = 0;
    restart(g, in_dir(dir));
    for (int i = 0; i < 7; i++) {
        int32_t ids[256];
        branch(g, 30 * i, ids);
        struct alula_session *taken = rig_session(g, rig_options(1, false)),
                             *read = rig_session(g, rig_options(1, false));
        size_t n = rig_restore(g, taken, ids, 250).n;
        if (n) rig_prompt(read, ids, (int)n);
        rig_assert_same(taken, read);
        alula_session_free(taken);
        alula_session_free(read);
        found += n;
    }
    assert_int_equal(stats_of(g).disk_damaged, 0);
    return found;
}

/* Killed at any instant: a file is whole or not there. The thread sanitizer ends forked children that start
 * threads. */
static void test_killed_while_writing(void **state)
{
    (void)state;
    if (TSAN) skip();
    struct cache_rig g;
    const char *dir = fresh_dir();
    size_t found = 0;
    rig_open(&g, false, 0);
    for (int i = 0; i < 20 || (found == 0 && i < 200); i++) {
        pid_t pid = start_child(dir, i, 1000);
        usleep(10000 + 12345 * (unsigned)i); /* a slow machine needs long ones to get anywhere */
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        found = assert_folder_right(&g, dir);
    }
    assert_true(found > 0);
    rig_close(&g);
}

/* What a killed writer left is removed once it is old. */
static void test_leftovers_are_removed(void **state)
{
    (void)state;
    struct cache_rig g;
    const char *dir = fresh_dir();
    char path[2][512];
    struct alula_error e;
    const struct timespec long_ago[2] = {{1000, 0}, {1000, 0}};
    for (int i = 0; i < 2; i++) {
        snprintf(path[i], sizeof path[i], "%s/.alula-%d-0.tmp", dir, i);
        assert_ok(file_write(path[i], "half", 4, &e), e);
    }
    assert_int_equal(utimensat(AT_FDCWD, path[0], long_ago, 0), 0);
    rig_open_in(&g, in_dir(dir));
    assert_false(file_exists(path[0]));
    assert_true(file_exists(path[1])); /* may be somebody's who is alive */
    rig_close(&g);
}

/* Two processes in one folder, both writing and removing. */
static void test_two_processes(void **state)
{
    (void)state;
    if (TSAN) skip();
    struct cache_rig g;
    const char *dir = fresh_dir();
    int status[2];
    rig_open(&g, false, 0);
    pid_t a = start_child(dir, 0, 25), b = start_child(dir, 1, 25);
    waitpid(a, &status[0], 0);
    waitpid(b, &status[1], 0);
    assert_true(WIFEXITED(status[0]) && WEXITSTATUS(status[0]) == 0);
    assert_true(WIFEXITED(status[1]) && WEXITSTATUS(status[1]) == 0);
    assert_true(assert_folder_right(&g, dir) >= 7 * 140);
    rig_close(&g);
}

/* Sessions on several threads share a cache whose thread writes. */
struct sharer {
    struct cache_rig *g;
    int turn;
};

static void *share(void *arg)
{
    const struct sharer *s = arg;
    for (int i = 0; i < 20; i++) {
        int32_t ids[256];
        branch(s->g, 30 * ((i + s->turn) % 5), ids);
        store_at(s->g, ids, 70 + i % 3 * 50);
        stats_of(s->g);
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    struct cache_rig g;
    struct alula_cache_options o = in_dir(fresh_dir());
    rig_open(&g, false, 0);
    o.disk = 6 * one_file(&g); /* files come and go */
    o.memory = 8 * timeline_snapshot_bytes(g.engine->model, true);
    o.dir = fresh_dir();
    restart(&g, o);
    struct sharer sharers[2] = {{&g, 0}, {&g, 2}};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&threads[i], NULL, share, &sharers[i]), 0);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    assert_folder_right(&g, o.dir);
    rig_close(&g);
}

/* ---- no memory ------------------------------------------------------------------------------------------ */

/* Whichever allocation fails while the folder is opened or read, there is an error or less is found. */
static void test_out_of_memory(void **state)
{
    (void)state;
    struct cache_rig g;
    struct alula_error e;
    struct alula_cache_options o = in_dir(fresh_dir());
    rig_open_in(&g, o);
    store_at(&g, g.ids, 70);
    store_at(&g, g.ids, 140);
    restart(&g, o);
    bool ok = false;
    for (int n = 0; !ok; n++) {
        struct alula_cache *c;
        mem_fail_after(n);
        ok = alula_cache_create(&c, g.engine, &o, &e);
        mem_fail_after(-1);
        if (ok)
            alula_cache_free(c);
        else
            assert_int_equal(e.code, ALULA_NOMEM);
    }
    for (size_t n = 0, found = 0; found < 140; n++) {
        struct alula_session *s = rig_session(&g, rig_options(1, false));
        struct alula_cache_hit hit;
        restart(&g, o);
        mem_fail_after((int64_t)n);
        assert_ok(alula_cache_restore(g.cache, s, g.ids, 200, &hit, &e), e);
        mem_fail_after(-1);
        assert_true(hit.n == 0 || hit.n == 140);
        found = hit.n;
        rig_assert_counted(&g);
        alula_session_free(s);
    }
    rig_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_found_after_a_restart),
        cmocka_unit_test(test_short_ones_are_not_written),
        cmocka_unit_test(test_other_identities),
        cmocka_unit_test(test_fetching_evicts_what_was_found),
        cmocka_unit_test(test_damage_is_never_restored),
        cmocka_unit_test(test_falls_back_to_earlier_turns),
        cmocka_unit_test(test_size_is_kept),
        cmocka_unit_test(test_write_allowance_is_kept),
        cmocka_unit_test(test_queue_has_a_ceiling),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_wrong_folders),
        cmocka_unit_test(test_killed_while_writing),
        cmocka_unit_test(test_leftovers_are_removed),
        cmocka_unit_test(test_two_processes),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
