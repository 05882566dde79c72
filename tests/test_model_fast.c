/* Fast mode: int8 activations against packed weights. What exact mode promises of batches holds here too, bit for
 * bit; and the two modes say nearly the same (the figures are printed). */
#include "tests/forge_rig.h"
#include "tests/model_rig.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define N 200 /* beyond a block of keys, a tile of queries, the rows that the delta rule takes at once */

static const char *artifact;
static json_t *json;

static int setup(void **arg)
{
    (void)arg;
    artifact = forge_pair("models/tiny-trunk", "models/tiny-donor", scratch_path("artifact"));
    json = expected_json("models/expected.json");
    return 0;
}

static int teardown(void **arg)
{
    (void)arg;
    json_decref(json);
    return 0;
}

static void text_ids(const char *kind, int window, int32_t *ids, int n)
{
    const json_t *list =
        json_array_get(json_object_get(json_object_get(json, "loss_windows"), kind), (size_t)window);
    for (int i = 0; i < n; i++) ids[i] = (int32_t)json_integer_value(json_array_get(list, (size_t)i));
}

static void rig_fast(struct rig *g, int threads, int max_rows)
{
    g->mode = MODEL_FAST;
    rig_passes(g, NULL, threads, max_rows);
}

/* Bug class: a scale or a sum that depends on who shares the batch. */
static void chunks_and_threads_change_no_bit(void **arg)
{
    (void)arg;
    struct rig g;
    int32_t ids[N];
    rig_open(&g, artifact, NULL);
    text_ids("code", 0, ids, N);
    float *expected = NULL;
    static const int chunk[] = {1, 7, 64, N}, threads[] = {1, 2, 3, 2};
    for (int i = 0; i < 4; i++) {
        rig_fast(&g, threads[i], N);
        size_t size = (size_t)N * (size_t)g.c->vocab * sizeof(float);
        float *logits = mem_alloc(size);
        rig_read(&g, g.s, ids, N, chunk[i], logits, NULL);
        if (!expected)
            expected = logits;
        else
            assert_memory_equal(logits, expected, size);
        if (logits != expected) mem_free(logits);
        rig_passes_end(&g);
    }
    mem_free(expected);
    rig_close(&g);
}

/* A verification of k rows, of which n are kept, leaves what reading those n leaves, and its logits are theirs. */
static void verification_equals_decoding(void **arg)
{
    (void)arg;
    struct rig g;
    int32_t ids[N];
    rig_open(&g, artifact, NULL);
    text_ids("chat", 1, ids, N);
    rig_fast(&g, 2, N);
    size_t v = (size_t)g.c->vocab;
    float *plain = mem_alloc((size_t)N * v * sizeof(float));
    rig_read(&g, g.s, ids, 40 + VERIFY_ROWS_MAX, 1, plain, NULL);
    for (int rows = 2; rows <= VERIFY_ROWS_MAX; rows++)
        for (int kept = 1; kept <= rows; kept++) {
            struct state *a = rig_state(&g), *b = rig_state(&g);
            rig_read(&g, a, ids, 40, 40, NULL, NULL);
            rig_read(&g, b, ids, 40, 40, NULL, NULL);
            rig_span(&g, a, ids + 40, rows, true, SPAN_LOGITS_ALL);
            for (int i = 0; i < rows; i++)
                assert_memory_equal(forward_logits(g.f, i), plain + (size_t)(40 + i) * v, v * sizeof(float));
            state_keep(a, kept);
            for (int i = 0; i < kept; i++) rig_span(&g, b, ids + 40 + i, 1, true, SPAN_LOGITS_LAST);
            assert_true(state_equal(a, b));
            state_free(a);
            state_free(b);
        }
    mem_free(plain);
    rig_passes_end(&g);
    rig_close(&g);
}

/* What a row has taken from chunks of its keys is merged in one order, whoever took it: read as a prompt, eight at a time,
 * verified across the border of a chunk beside another sequence's row. */
static void long_contexts_change_no_bit(void **arg)
{
    (void)arg;
    enum { LONG = 530, BORDER = 508 }; /* a chunk of keys ends at 512 */
    static const int chunk[] = {LONG, 8, BORDER}, threads[] = {1, 3, 2};
    struct rig g;
    int32_t ids[LONG];
    rig_open(&g, artifact, NULL);
    text_ids("code", 0, ids, 256);
    text_ids("code", 1, ids + 256, 256);
    text_ids("code", 2, ids + 512, LONG - 512);
    for (int mode = 0; mode < 2; mode++) {
        float *want = NULL;
        for (int i = 0; i < 3; i++) {
            g.mode = mode ? MODEL_FAST : MODEL_EXACT;
            rig_passes(&g, NULL, threads[i], LONG);
            size_t v = (size_t)g.c->vocab, bytes = v * sizeof(float);
            float *logits = mem_alloc(LONG * bytes);
            if (i < 2) {
                rig_read(&g, g.s, ids, LONG, chunk[i], logits, NULL);
                if (want) assert_memory_equal(logits, want, LONG * bytes);
            } else {
                struct state *other = rig_state(&g);
                rig_read(&g, g.s, ids, BORDER, chunk[i], NULL, NULL);
                const struct span spans[] = {{other, ids, 1, false, SPAN_LOGITS_LAST},
                                             {g.s, ids + BORDER, VERIFY_ROWS_MAX, true, SPAN_LOGITS_ALL}};
                forward_run(g.f, spans, 2);
                assert_memory_equal(forward_logits(g.f, 0), want, bytes);
                for (int r = 0; r < VERIFY_ROWS_MAX; r++)
                    assert_memory_equal(forward_logits(g.f, 1 + r), want + (size_t)(BORDER + r) * v, bytes);
                state_free(other);
            }
            if (!want)
                want = logits;
            else
                mem_free(logits);
            rig_passes_end(&g);
        }
        mem_free(want);
    }
    rig_close(&g);
}

struct comparison {
    double kl, loss[2];
    int64_t n, agree;
};

static void probabilities(const float *logits, int n, double *log_p)
{
    double max = logits[best_of(logits, n)], sum = 0;
    for (int i = 0; i < n; i++) sum += exp(logits[i] - max);
    for (int i = 0; i < n; i++) log_p[i] = logits[i] - max - log(sum);
}

static void compare_rows(struct comparison *c, const float *exact, const float *fast, const int32_t *ids,
                         int n, int vocab)
{
    double *p = mem_alloc((size_t)vocab * sizeof *p), *q = mem_alloc((size_t)vocab * sizeof *q);
    for (int t = 0; t + 1 < n; t++) {
        const float *a = exact + (size_t)t * (size_t)vocab, *b = fast + (size_t)t * (size_t)vocab;
        probabilities(a, vocab, p);
        probabilities(b, vocab, q);
        for (int i = 0; i < vocab; i++) c->kl += exp(p[i]) * (p[i] - q[i]);
        c->loss[0] -= p[ids[t + 1]];
        c->loss[1] -= q[ids[t + 1]];
        c->agree += best_of(a, vocab) == best_of(b, vocab);
        c->n++;
    }
    mem_free(p);
    mem_free(q);
}

/* The claim of the fast mode: less than 1e-3 nats from the exact one, on text of every kind that the models know. */
static void close_to_exact(void **arg)
{
    (void)arg;
    enum { LONG = 256 };
    static const char *const kinds[] = {"kjv", "code", "chat"};
    struct rig g;
    struct comparison all = {0};
    int32_t ids[LONG];
    rig_open(&g, artifact, NULL);
    for (int k = 0; k < 3; k++) {
        float *logits[2];
        int vocab = 0;
        text_ids(kinds[k], 2, ids, LONG);
        for (int mode = 0; mode < 2; mode++) {
            g.mode = mode ? MODEL_FAST : MODEL_EXACT;
            rig_passes(&g, NULL, 2, LONG);
            vocab = g.c->vocab;
            logits[mode] = mem_alloc((size_t)LONG * (size_t)vocab * sizeof(float));
            rig_read(&g, g.s, ids, LONG, LONG, logits[mode], NULL);
            rig_passes_end(&g);
        }
        compare_rows(&all, logits[0], logits[1], ids, LONG, vocab);
        mem_free(logits[0]);
        mem_free(logits[1]);
    }
    rig_close(&g);
    double n = (double)all.n;
    printf("fast against exact, %lld tokens: KL %.2e nats, top-1 agreement %.2f %%, perplexity %.4f against "
           "%.4f\n",
           (long long)all.n, all.kl / n, 100 * (double)all.agree / n, exp(all.loss[1] / n),
           exp(all.loss[0] / n));
    assert_true(all.kl / n < 1e-3);
    assert_true((double)all.agree / n > 0.98);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunks_and_threads_change_no_bit),
        cmocka_unit_test(verification_equals_decoding),
        cmocka_unit_test(long_contexts_change_no_bit),
        cmocka_unit_test(close_to_exact),
    };
    return cmocka_run_group_tests_name("model_fast", tests, setup, teardown);
}
