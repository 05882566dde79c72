/* The prompt cache in memory: what was restored is what was read, bit for bit; the budget holds; what is evicted
 * is missed by nobody. */
#include "decode/prefix_cache.h"
#include "tests/cache_rig.h"

#include <stdio.h>

/* ---- the same bits -------------------------------------------------------------------------------------- */

/* A session that took over ids[0..len) beside one that reads them. Both go on with the rest of n ids and answer. */
static void compare_at(const struct cache_rig *g, struct alula_session_options o, const int32_t *ids, int len,
                       int n)
{
    struct alula_session *taken = rig_session(g, o), *read = rig_session(g, o);
    struct alula_cache_hit hit = rig_restore(g, taken, ids, len + 1);
    assert_int_equal(hit.n, len);
    assert_string_equal(hit.source, "memory");
    assert_string_equal(hit.why, "");
    rig_prompt(read, ids, len);
    rig_assert_same(taken, read);
    rig_prompt(taken, ids + len, n - len);
    rig_prompt(read, ids + len, n - len);
    rig_assert_same_answer(taken, read, 8);
    rig_assert_same(taken, read);
    alula_session_free(taken);
    alula_session_free(read);
}

/* Every length of a prompt, and every place of an answer that steps stop at: greedy and drawn, with drafts
 * and without. The last row of a pass is pending, so are those of a verification; a store must fold them. */
static void compare_everywhere(bool exact, int depth)
{
    struct cache_rig g;
    rig_open(&g, exact, 1 << 30);
    struct alula_session_options o = rig_options(depth, depth % 2);
    struct alula_session *s = rig_session(&g, o);
    int stored[32], n_stored = 0;
    for (int i = 0; i < 10; i++) {
        rig_prompt(s, g.ids + i, 1);
        rig_store(&g, s);
        stored[n_stored++] = i + 1;
    }
    for (int i = 0; i < 10; i++) {
        rig_step(s);
        rig_store(&g, s);
        int len = state_len(s->timeline.state);
        if (len > stored[n_stored - 1]) stored[n_stored++] = len;
    }
    size_t n;
    const int32_t *said = alula_session_tokens(s, &n);
    for (int i = 0; i < n_stored; i++)
        if (stored[i] < (int)n) compare_at(&g, o, said, stored[i], (int)n);
    alula_session_free(s);
    rig_close(&g);
}

static void test_restored_is_read(void **state)
{
    (void)state;
    for (int depth = 0; depth <= 3; depth++) {
        compare_everywhere(true, depth);
        compare_everywhere(false, depth);
    }
}

/* A session that is stored while it answers says what it would have said. */
static void test_storing_changes_nothing(void **state)
{
    (void)state;
    struct cache_rig g;
    rig_open(&g, false, 1 << 30);
    for (int depth = 0; depth <= 3; depth += 3) {
        struct alula_session *a = rig_session(&g, rig_options(depth, true)),
                             *b = rig_session(&g, rig_options(depth, true));
        rig_prompt(a, g.ids, 30);
        rig_prompt(b, g.ids, 30);
        for (int i = 0; i < 20; i++) {
            rig_store(&g, a);
            rig_assert_same_answer(a, b, 1);
        }
        rig_assert_same(a, b);
        alula_session_free(a);
        alula_session_free(b);
    }
    rig_close(&g);
}

/* A batch's session is stored between two chunks of its prompt, the rest of which is not read yet. */
static void test_stored_between_chunks(void **state)
{
    (void)state;
    struct cache_rig g;
    struct alula_batch *batch;
    struct alula_error e;
    rig_open(&g, false, 1 << 30);
    struct alula_batch_options bo = {.n_threads = 1};
    assert_ok(alula_batch_create(&batch, g.engine, &bo, &e), e);
    struct alula_session_options o = rig_options(2, false);
    o.batch = batch;
    struct alula_turn turn = {.session = rig_session(&g, o), .read_max = 33};
    assert_ok(alula_session_begin(turn.session, g.ids, 99, &e), e);
    for (int i = 0; i < 3; i++) {
        alula_batch_step(batch, &turn, 1);
        assert_false(turn.failed);
        rig_store(&g, turn.session);
    }
    for (int len = 33; len <= 99; len += 33) compare_at(&g, rig_options(2, false), g.ids, len, 120);
    alula_session_free(turn.session);
    alula_batch_free(batch);
    rig_close(&g);
}

/* Plain sessions may take what drafting ones left, but not the other way round: they have no pairs for the head. */
static void test_plain_and_drafting(void **state)
{
    (void)state;
    struct cache_rig g;
    rig_open(&g, false, 1 << 30);
    struct alula_session *plain = rig_session(&g, rig_options(0, false)),
                         *drafting = rig_session(&g, rig_options(2, false)), *s;
    rig_prompt(plain, g.ids, 40);
    rig_store(&g, plain);
    s = rig_session(&g, rig_options(2, false));
    assert_int_equal(rig_restore(&g, s, g.ids, 100).n, 0);
    alula_session_free(s);
    rig_prompt(drafting, g.ids, 50);
    rig_store(&g, drafting);
    compare_at(&g, rig_options(0, true), g.ids, 40, 60);
    compare_at(&g, rig_options(0, true), g.ids, 50, 60);
    compare_at(&g, rig_options(2, true), g.ids, 50, 60);
    alula_session_free(plain);
    alula_session_free(drafting);
    rig_close(&g);
}

/* ---- what is found -------------------------------------------------------------------------------------- */

static void store_prefix(const struct cache_rig *g, const int32_t *ids, int n)
{
    struct alula_session *s = rig_session(g, rig_options(1, false));
    struct alula_cache_hit hit = rig_restore(g, s, ids, n);
    rig_prompt(s, ids + hit.n, n - (int)hit.n);
    rig_store(g, s);
    alula_session_free(s);
}

static void assert_found(const struct cache_rig *g, const int32_t *ids, int n, int found, const char *why)
{
    struct alula_session *s = rig_session(g, rig_options(1, false));
    struct alula_cache_hit hit = rig_restore(g, s, ids, n);
    assert_int_equal(hit.n, found);
    assert_string_equal(hit.source, found ? "memory" : "none");
    assert_string_equal(hit.why, why);
    alula_session_free(s);
}

/* Conversations that part: in the middle of what is kept, at a place to be taken up at, and before any. */
static void test_says_why(void **state)
{
    (void)state;
    struct cache_rig g;
    rig_open(&g, false, 1 << 30);
    int32_t other[100];
    assert_found(&g, g.ids, 50, 0, "new");
    assert_found(&g, g.ids, 0, 0, "");
    assert_found(&g, g.ids, 1, 0, "");
    store_prefix(&g, g.ids, 30);
    store_prefix(&g, g.ids, 60);
    assert_found(&g, g.ids, 100, 60, "new");
    assert_found(&g, g.ids, 61, 60, "");
    assert_found(&g, g.ids, 60, 30, "no snapshot"); /* the last token must be read */
    assert_found(&g, g.ids, 31, 30, "");
    assert_found(&g, g.ids, 30, 0, "no snapshot");
    memcpy(other, g.ids, sizeof other);
    other[45]++;
    assert_found(&g, other, 100, 30, "diverges");
    other[10]++;
    assert_found(&g, other, 100, 0, "diverges");
    other[0]++;
    assert_found(&g, other, 100, 0, "new");
    other[0]--;
    store_prefix(&g, other, 50);
    assert_found(&g, other, 100, 50, "new");
    assert_found(&g, g.ids, 100, 60, "new");
    rig_close(&g);
}

static void test_refuses_wrong_sessions(void **state)
{
    (void)state;
    struct cache_rig g, h;
    struct alula_error e;
    struct alula_cache_hit hit;
    rig_open(&g, false, 1 << 20);
    rig_open(&h, false, 1 << 20);
    struct alula_session *s = rig_session(&g, rig_options(0, false));
    rig_store(&g, s); /* nothing read, nothing kept */
    assert_false(alula_cache_store(h.cache, s, &e));
    assert_int_equal(e.code, ALULA_USAGE);
    assert_false(alula_cache_restore(h.cache, s, g.ids, 10, &hit, &e));
    assert_int_equal(e.code, ALULA_USAGE);
    rig_prompt(s, g.ids, 5);
    assert_false(alula_cache_restore(g.cache, s, g.ids, 10, &hit, &e));
    assert_int_equal(e.code, ALULA_USAGE);
    assert_non_null(strstr(e.message, "holds 5 tokens"));
    alula_session_free(s);
    rig_close(&h);
    rig_close(&g);
}

/* A prompt that is longer than the session's context finds what fits. */
static void test_context_is_kept(void **state)
{
    (void)state;
    struct cache_rig g;
    rig_open(&g, false, 1 << 30);
    store_prefix(&g, g.ids, 20);
    store_prefix(&g, g.ids, 60);
    struct alula_session_options o = rig_options(1, false);
    o.n_ctx = 50;
    struct alula_session *s = rig_session(&g, o);
    assert_int_equal(rig_restore(&g, s, g.ids, 100).n, 20);
    alula_session_free(s);
    rig_close(&g);
}

/* ---- budget --------------------------------------------------------------------------------------------- */

static size_t snapshot_bytes(const struct cache_rig *g)
{
    return timeline_snapshot_bytes(g->engine->model, true);
}

/* The oldest goes; what is below it is out of reach then, and the cache says so. */
static void test_least_recently_used_goes(void **state)
{
    (void)state;
    struct cache_rig g;
    rig_open(&g, false, 0);
    size_t row = g.cache->tree.row_bytes[1], three = 3 * (snapshot_bytes(&g) + 1024) + 180 * (row + 64);
    alula_cache_free(g.cache);
    rig_cache(&g, (struct alula_cache_options){.memory = three});
    int32_t other[100];
    for (int i = 0; i < 100; i++) other[i] = g.ids[i] + 1;
    store_prefix(&g, g.ids, 20);
    store_prefix(&g, g.ids, 40);
    store_prefix(&g, g.ids, 60);
    assert_found(&g, g.ids, 21, 20, "");
    store_prefix(&g, other, 20); /* 40 is the oldest */
    assert_found(&g, g.ids, 41, 20, "no snapshot");
    assert_found(&g, g.ids, 61, 60, "");
    store_prefix(&g, other, 40);
    store_prefix(&g, other, 60); /* of ids, 60 alone may be left */
    assert_found(&g, g.ids, 100, 0, "evicted");
    assert_found(&g, other, 100, 60, "new");
    rig_assert_counted(&g);
    rig_close(&g);
}

/* What cannot have room is not kept and disturbs nothing. */
static void test_too_large_is_not_kept(void **state)
{
    (void)state;
    struct cache_rig g;
    rig_open(&g, false, 0);
    struct alula_cache_stats stats;
    store_prefix(&g, g.ids, 40);
    size_t row = g.cache->tree.row_bytes[1], room = snapshot_bytes(&g) + 30 * (row + 4) + 2048;
    alula_cache_free(g.cache);
    rig_cache(&g, (struct alula_cache_options){.memory = room});
    store_prefix(&g, g.ids, 20);
    store_prefix(&g, g.ids + 100, 60);
    assert_found(&g, g.ids, 21, 20, "");
    alula_cache_describe(g.cache, &stats);
    assert_int_equal(stats.stored, 1);
    assert_int_equal(stats.refused, 1);
    rig_assert_counted(&g);
    rig_close(&g);
}

/* Prompts over an alphabet of three tokens, so that they share beginnings of all lengths. */
static int random_prompt(unsigned *seed, int32_t *ids)
{
    int n = 2 + rand_r(seed) % 30;
    for (int i = 0; i < n; i++) ids[i] = 5 + (rand_r(seed) % 4 == 0 ? rand_r(seed) % 3 : 0);
    return n;
}

/* Reads and compares now and then: each restored state equals one that read. */
static void random_use(const struct cache_rig *g, unsigned seed, int rounds)
{
    int32_t ids[64];
    for (int i = 0; i < rounds; i++) {
        int n = random_prompt(&seed, ids), depth = rand_r(&seed) % 4 ? 1 : 0;
        struct alula_session *s = rig_session(g, rig_options(depth, false));
        struct alula_cache_hit hit = rig_restore(g, s, ids, n);
        assert_true(hit.n < (size_t)n);
        rig_prompt(s, ids + hit.n, n - (int)hit.n);
        if (hit.n && i % 4 == 0) {
            struct alula_session *read = rig_session(g, rig_options(depth, false));
            rig_prompt(read, ids, n);
            rig_assert_same(s, read);
            alula_session_free(read);
        }
        rig_store(g, s);
        rig_assert_counted(g);
        alula_session_free(s);
    }
}

static void test_random_use_keeps_the_budget(void **state)
{
    (void)state;
    struct cache_rig g;
    rig_open(&g, false, 0);
    size_t snapshot = snapshot_bytes(&g);
    for (int i = 1; i <= 4; i++) {
        struct alula_cache_stats stats;
        alula_cache_free(g.cache);
        rig_cache(&g, (struct alula_cache_options){.memory = (size_t)(i * i) * (snapshot + 10000)});
        random_use(&g, (unsigned)i, 120);
        alula_cache_describe(g.cache, &stats);
        assert_true(stats.evicted > 0 && stats.hits > 0 && stats.memory_used <= stats.memory);
    }
    rig_close(&g);
}

/* Without evictions the longest prefix that was ever stored is found. */
static void test_random_use_finds_the_longest(void **state)
{
    (void)state;
    enum { N = 60 };
    struct cache_rig g;
    static int32_t kept[N][64];
    int len[N], longest;
    unsigned seed = 11;
    rig_open(&g, false, 1 << 30);
    for (int i = 0; i < N; i++) {
        len[i] = random_prompt(&seed, kept[i]);
        longest = 0;
        for (int j = 0; j < i; j++)
            if (len[j] < len[i] && len[j] > longest && !memcmp(kept[j], kept[i], (size_t)len[j] * 4))
                longest = len[j];
        struct alula_session *s = rig_session(&g, rig_options(1, false));
        assert_int_equal(rig_restore(&g, s, kept[i], len[i]).n, longest);
        alula_session_free(s);
        store_prefix(&g, kept[i], len[i]);
        rig_assert_counted(&g);
    }
    rig_close(&g);
}

/* A session goes on when its source is gone; bytes that somebody holds (a file is being written) are not evicted. */
static void test_eviction_while_used(void **state)
{
    (void)state;
    struct cache_rig g;
    rig_open(&g, false, 0);
    size_t two = 2 * (snapshot_bytes(&g) + 1024) + 120 * (g.cache->tree.row_bytes[1] + 64);
    alula_cache_free(g.cache);
    rig_cache(&g, (struct alula_cache_options){.memory = two});
    store_prefix(&g, g.ids, 30);
    struct alula_session *taken = rig_session(&g, rig_options(1, false)),
                         *read = rig_session(&g, rig_options(1, false));
    assert_int_equal(rig_restore(&g, taken, g.ids, 40).n, 30);
    struct blob *held = blob_hold(g.cache->tree.newest->snapshot);
    for (int i = 1; i < 6; i++) store_prefix(&g, g.ids + 7 * i, 30);
    assert_found(&g, g.ids, 31, 30, "");
    blob_free(held);
    for (int i = 1; i < 6; i++) store_prefix(&g, g.ids + 7 * i, 30);
    assert_found(&g, g.ids, 31, 0, "evicted");
    rig_prompt(read, g.ids, 30);
    rig_prompt(read, g.ids + 30, 10);
    rig_prompt(taken, g.ids + 30, 10);
    rig_assert_same_answer(taken, read, 10);
    alula_session_free(taken);
    alula_session_free(read);
    rig_close(&g);
}

/* ---- no memory ------------------------------------------------------------------------------------------ */

/* Whichever allocation of a store fails, the tree is whole, the session goes on, and the next store works. */
static void test_out_of_memory(void **state)
{
    (void)state;
    struct cache_rig g;
    struct alula_error e;
    rig_open(&g, false, 1 << 30);
    bool ok = false;
    int failed = 0;
    for (int n = 0; !ok; n++) {
        int32_t other[60];
        alula_cache_free(g.cache);
        rig_cache(&g, (struct alula_cache_options){.memory = 1 << 30});
        store_prefix(&g, g.ids, 40);
        memcpy(other, g.ids, sizeof other);
        other[25]++;
        struct alula_session *s = rig_session(&g, rig_options(1, false)), *read;
        rig_prompt(s, other, 50); /* cuts an edge, and adds one */
        mem_fail_after(n);
        ok = alula_cache_store(g.cache, s, &e);
        mem_fail_after(-1);
        if (!ok) assert_int_equal(e.code, ALULA_NOMEM);
        failed += !ok;
        rig_assert_counted(&g);
        assert_found(&g, other, 51, ok ? 50 : 0, ok ? "" : "diverges");
        rig_store(&g, s);
        assert_found(&g, other, 51, 50, "");
        assert_found(&g, g.ids, 41, 40, "");
        read = rig_session(&g, rig_options(1, false));
        rig_prompt(read, other, 50);
        rig_assert_same_answer(s, read, 5);
        alula_session_free(read);
        alula_session_free(s);
    }
    assert_true(failed >= 4); /* two nodes, ids, rows, snapshot */
    rig_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_restored_is_read),
        cmocka_unit_test(test_storing_changes_nothing),
        cmocka_unit_test(test_stored_between_chunks),
        cmocka_unit_test(test_plain_and_drafting),
        cmocka_unit_test(test_says_why),
        cmocka_unit_test(test_refuses_wrong_sessions),
        cmocka_unit_test(test_context_is_kept),
        cmocka_unit_test(test_least_recently_used_goes),
        cmocka_unit_test(test_too_large_is_not_kept),
        cmocka_unit_test(test_random_use_keeps_the_budget),
        cmocka_unit_test(test_random_use_finds_the_longest),
        cmocka_unit_test(test_eviction_while_used),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
