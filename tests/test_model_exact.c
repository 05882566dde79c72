/* Batch invariance: a row's bits do not depend on chunks, on threads, on who else is in the batch, or on
 * whether it was verified and rolled back before. Everything here is compared with memcmp. */
#include "tests/model_rig.h"

#include <stdlib.h>

#define N        170 /* the prompt: longer than a block of keys */
#define SHORT    9   /* of it, where many states are made */
#define MAX_ROWS N

static struct rig rig;
static struct st_file *expected;
static int32_t prompt[N];
static const int32_t *greedy;     /* [52] more ids */
static float *reference;          /* [N][vocab], the prompt read at once */
static struct state *read_prompt; /* the state behind it */
static size_t logits_bytes;

static int setup(void **arg)
{
    (void)arg;
    rig_open(&rig, data_path("oracle-f32"), NULL);
    rig_passes(&rig, NULL, 2, MAX_ROWS);
    expected = expected_open("oracle-f32/expected.safetensors");
    greedy = expected_ints(expected, 52, "p70.greedy");
    memcpy(prompt, expected_ints(expected, 130, "p130.ids"), 130 * sizeof(int32_t));
    memcpy(prompt + 130, greedy, (N - 130) * sizeof(int32_t));
    logits_bytes = (size_t)rig.c->vocab * sizeof(float);
    reference = mem_alloc(N * logits_bytes);
    read_prompt = rig_state(&rig);
    rig_read(&rig, read_prompt, prompt, N, N, reference, NULL);
    return 0;
}

static int teardown(void **arg)
{
    (void)arg;
    state_free(read_prompt);
    mem_free(reference);
    st_close(expected);
    rig_passes_end(&rig);
    rig_close(&rig);
    return 0;
}

static void assert_same_logits(const float *a, const float *b, const char *what, int which)
{
    if (memcmp(a, b, logits_bytes) != 0) fail_msg("%s %d: the logits differ", what, which);
}

static void chunks_do_not_matter(void **arg)
{
    (void)arg;
    static const int chunks[] = {1, 3, 7, 64, 150};
    float *logits = mem_alloc(N * logits_bytes);
    for (size_t i = 0; i < sizeof chunks / sizeof chunks[0]; i++) {
        state_reset(rig.s);
        rig_read(&rig, rig.s, prompt, N, chunks[i], logits, NULL);
        for (int t = 0; t < N; t++)
            assert_same_logits((float *)((char *)logits + t * (long)logits_bytes),
                               (float *)((char *)reference + t * (long)logits_bytes), "chunk", chunks[i]);
        assert_true(state_equal(rig.s, read_prompt));
    }
    mem_free(logits);
}

static void threads_do_not_matter(void **arg)
{
    (void)arg;
    float *logits = mem_alloc(N * logits_bytes);
    for (int threads = 1; threads <= 3; threads++) {
        struct rig other = rig;
        rig_passes(&other, NULL, threads, MAX_ROWS);
        rig_read(&other, other.s, prompt, N, 33, logits, NULL);
        assert_memory_equal(logits, reference, N * logits_bytes);
        for (int layer = 0; layer < rig.c->n_layers; layer++) {
            if (rig.c->layer_types[layer] == LAYER_FULL_ATTENTION) continue;
            size_t n = (size_t)(rig.c->lin_v_heads * rig.c->lin_k_dim * rig.c->lin_v_dim);
            assert_memory_equal(state_recurrent(other.s, layer), state_recurrent(read_prompt, layer),
                                n * sizeof(float));
        }
        rig_passes_end(&other);
    }
    mem_free(logits);
}

/* A state that has read the beginning of the prompt, then the first n greedy tokens one at a time,
 * unverified. */
static struct state *replayed(int n)
{
    struct state *s = rig_state(&rig);
    rig_read(&rig, s, prompt, SHORT, MAX_ROWS, NULL, NULL);
    for (int i = 0; i < n; i++) rig_span(&rig, s, &greedy[i], 1, false, SPAN_LOGITS_NONE);
    return s;
}

static void verified_rows_equal_single_ones(void **arg)
{
    (void)arg;
    float *single = mem_alloc(VERIFY_ROWS_MAX * logits_bytes);
    struct state *s = replayed(0);
    for (int i = 0; i < VERIFY_ROWS_MAX; i++) {
        rig_span(&rig, s, &greedy[i], 1, true, SPAN_LOGITS_LAST);
        state_keep(s, 1);
        memcpy((char *)single + (size_t)i * logits_bytes, forward_logits(rig.f, 0), logits_bytes);
    }
    for (int n = 1; n <= VERIFY_ROWS_MAX; n++) {
        struct state *v = replayed(0);
        rig_span(&rig, v, greedy, n, true, SPAN_LOGITS_ALL);
        assert_int_equal(state_len(v), SHORT + n);
        for (int i = 0; i < n; i++)
            assert_same_logits(forward_logits(rig.f, i), (float *)((char *)single + (size_t)i * logits_bytes),
                               "row", i);
        state_free(v);
    }
    state_free(s);
    mem_free(single);
}

/* Of n verified rows every number is kept; the state is that of reading those alone, and so what follows. */
static void every_prefix_can_be_kept(void **arg)
{
    (void)arg;
    for (int n = 1; n <= VERIFY_ROWS_MAX; n++) {
        for (int kept = 0; kept <= n; kept++) {
            struct state *v = replayed(0), *s = replayed(kept);
            rig_span(&rig, v, greedy, n, true, SPAN_LOGITS_NONE);
            state_keep(v, kept);
            assert_int_equal(state_len(v), SHORT + kept);
            rig_span(&rig, v, &greedy[kept], 1, true, SPAN_LOGITS_LAST); /* folds and reads in one pass */
            float *next = mem_alloc(logits_bytes);
            memcpy(next, forward_logits(rig.f, 0), logits_bytes);
            rig_span(&rig, s, &greedy[kept], 1, false, SPAN_LOGITS_LAST);
            assert_same_logits(next, forward_logits(rig.f, 0), "kept", kept);
            if (!state_equal(v, s)) fail_msg("the state differs after keeping %d of %d rows", kept, n);
            mem_free(next);
            state_free(v);
            state_free(s);
        }
    }
}

/* Cycle after cycle with drafts that are partly wrong; at the end it must be as if only the right ones had
 * been read. */
static void a_chain_of_rollbacks_leaves_no_trace(void **arg)
{
    (void)arg;
    struct state *v = replayed(0);
    unsigned seed = 1;
    int at = 0;
    while (at < 40) {
        int32_t tokens[VERIFY_ROWS_MAX];
        seed = seed * 1103515245u + 12345u;
        int n = 1 + (int)(seed >> 16) % VERIFY_ROWS_MAX, kept = (int)(seed >> 20) % (n + 1);
        for (int i = 0; i < n; i++)
            tokens[i] = i < kept ? greedy[at + i] : (greedy[at + i] + 17 * (i + 1)) % 500;
        rig_span(&rig, v, tokens, n, true, SPAN_LOGITS_NONE);
        state_keep(v, kept);
        at += kept;
    }
    struct state *s = replayed(at);
    assert_true(state_equal(v, s));
    state_free(v);
    state_free(s);
}

static void check_batch_of_three(const int *begin, const int *count)
{
    struct state *together[3], *alone[3];
    float *logits = mem_alloc(46 * logits_bytes);
    struct span spans[3];
    for (int i = 0; i < 3; i++) {
        together[i] = rig_state(&rig);
        alone[i] = rig_state(&rig);
        if (begin[i] > 0) {
            rig_read(&rig, together[i], prompt, begin[i], MAX_ROWS, NULL, NULL);
            rig_read(&rig, alone[i], prompt, begin[i], MAX_ROWS, NULL, NULL);
        }
        spans[i] = (struct span){.state = together[i],
                                 .tokens = prompt + begin[i],
                                 .n = count[i],
                                 .verify = count[i] <= VERIFY_ROWS_MAX,
                                 .logits = SPAN_LOGITS_ALL};
    }
    forward_run(rig.f, spans, 3);
    for (int r = 0; r < 46; r++)
        memcpy((char *)logits + (size_t)r * logits_bytes, forward_logits(rig.f, r), logits_bytes);
    int row = 0;
    for (int i = 0; i < 3; i++) {
        spans[i].state = alone[i];
        forward_run(rig.f, &spans[i], 1);
        for (int t = 0; t < count[i]; t++, row++)
            assert_same_logits((float *)((char *)logits + (size_t)row * logits_bytes),
                               forward_logits(rig.f, t), "row", row);
        assert_true(state_equal(together[i], alone[i]));
        state_free(together[i]);
        state_free(alone[i]);
    }
    mem_free(logits);
}

/* Of different ages: one verifies across the border of a block, one reads a prompt, one takes a step. A
 * prompt in front and a prompt behind go different ways through attention. */
static void sequences_in_one_batch_do_not_meet(void **arg)
{
    (void)arg;
    check_batch_of_three((const int[]){124, 0, 64}, (const int[]){5, 40, 1});
    check_batch_of_three((const int[]){0, 124, 64}, (const int[]){40, 5, 1});
}

static void logits_only_where_asked(void **arg)
{
    (void)arg;
    struct state *a = rig_state(&rig), *b = rig_state(&rig);
    const struct span spans[2] = {{.state = a, .tokens = prompt, .n = 3, .logits = SPAN_LOGITS_NONE},
                                  {.state = b, .tokens = prompt, .n = 3, .logits = SPAN_LOGITS_LAST}};
    forward_run(rig.f, spans, 2);
    for (int r = 0; r < 5; r++) assert_null(forward_logits(rig.f, r));
    assert_memory_equal(forward_logits(rig.f, 5), (char *)reference + 2 * logits_bytes, logits_bytes);
    state_free(a);
    state_free(b);
}

static void reset_forgets_everything(void **arg)
{
    (void)arg;
    struct state *s = replayed(3);
    rig_span(&rig, s, greedy, 4, true, SPAN_LOGITS_NONE);
    state_reset(s);
    assert_int_equal(state_len(s), 0);
    rig_read(&rig, s, prompt, N, MAX_ROWS, NULL, NULL);
    assert_true(state_equal(s, read_prompt));
    state_free(s);
}

static void equal_sees_a_single_difference(void **arg)
{
    (void)arg;
    struct state *a = replayed(1), *b = replayed(0);
    assert_false(state_equal(a, b)); /* length */
    int32_t other = greedy[0] == 0 ? 1 : greedy[0] - 1;
    rig_span(&rig, b, &other, 1, false, SPAN_LOGITS_NONE);
    assert_false(state_equal(a, b)); /* content */
    state_free(a);
    state_free(b);
}

static void a_pass_allocates_nothing(void **arg)
{
    (void)arg;
    struct state *s = replayed(0);
    float *hidden = mem_alloc((size_t)rig.c->hidden * sizeof(float));
    uint64_t before = mem_count();
    rig_span(&rig, s, greedy, 4, true, SPAN_LOGITS_ALL);
    state_keep(s, 2);
    memcpy(hidden, forward_hidden(rig.f, 1), (size_t)rig.c->hidden * sizeof(float));
    mtp_history(rig.f, s, hidden, &greedy[2], 1);
    const struct mtp_row row = {s, hidden, greedy[2]};
    mtp_draft(rig.f, &row, 1);
    state_mtp_cut(s, 1);
    assert_int_equal(mem_count(), before);
    mem_free(hidden);
    state_free(s);
}

static void absurd_sizes_are_refused(void **arg)
{
    (void)arg;
    struct alula_error e;
    struct state *s = NULL;
    struct forward *f = NULL;
    assert_false(state_create(&s, rig.model, 0, &e));
    assert_int_equal(e.code, ALULA_LIMIT);
    assert_false(state_create(&s, rig.model, rig.c->max_position + 1, &e));
    assert_int_equal(e.code, ALULA_LIMIT);
    assert_false(forward_create(&f, rig.model, rig.pool, 0, &e));
    assert_false(forward_create(&f, rig.model, rig.pool, 1 << 20, &e));
    assert_null(s);
    assert_null(f);
}

static void failing_allocations_are_errors(void **arg)
{
    (void)arg;
    struct alula_error e;
    for (int i = 0;; i++) {
        struct model *m = NULL;
        struct state *s = NULL;
        struct forward *f = NULL;
        mem_fail_after(i);
        bool ok = model_create(&m, rig.weights, NULL, MODEL_EXACT, &e) && state_create(&s, m, 16, &e) &&
                  forward_create(&f, m, rig.pool, 4, &e);
        mem_fail_after(-1);
        forward_free(f);
        state_free(s);
        model_free(m);
        if (ok) break;
        assert_int_equal(e.code, ALULA_NOMEM);
        assert_true(i < 1000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunks_do_not_matter),
        cmocka_unit_test(threads_do_not_matter),
        cmocka_unit_test(verified_rows_equal_single_ones),
        cmocka_unit_test(every_prefix_can_be_kept),
        cmocka_unit_test(a_chain_of_rollbacks_leaves_no_trace),
        cmocka_unit_test(sequences_in_one_batch_do_not_meet),
        cmocka_unit_test(logits_only_where_asked),
        cmocka_unit_test(reset_forgets_everything),
        cmocka_unit_test(equal_sees_a_single_difference),
        cmocka_unit_test(a_pass_allocates_nothing),
        cmocka_unit_test(absurd_sizes_are_refused),
        cmocka_unit_test(failing_allocations_are_errors),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
