/* The prompt cache in memory: what was restored is what was read, bit for bit; the budget holds; nothing that
 * is evicted is missed. */
#include "decode/decode_internal.h"
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
    rig_assert_same_answer(taken, read, 12);
    rig_assert_same(taken, read);
    alula_session_free(taken);
    alula_session_free(read);
}

/* Every length of a prompt, and every place of an answer that steps stop at: greedy and drawn, with drafts
 * and without. The last row of a pass is pending, so are those of a verification; a store must fold them. */
static void test_restored_is_read(void **state)
{
    (void)state;
    for (int mode = 0; mode < 2; mode++)
        for (int depth = 0; depth <= 3; depth++) {
            struct cache_rig g;
            rig_open(&g, mode == 0, 1 << 30);
            struct alula_session_options o = rig_options(depth, depth % 2);
            struct alula_session *s = rig_session(&g, o);
            int stored[64], n_stored = 0;
            for (int i = 0; i < 20; i++) { /* a prompt of one token each: pending rows at every length */
                rig_prompt(s, g.ids + i, 1);
                rig_store(&g, s);
                stored[n_stored++] = i + 1;
            }
            for (int i = 0; i < 20; i++) {
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
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_restored_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
