/* The prediction head against the original decoder layer (fixture oracle-f32): its cache, its logits
 * teacher-forced and in chains of drafts, under every contract and history policy that artifacts may name. */
#include "tests/model_rig.h"

#include <stdlib.h>

#define N 70

static struct rig rig; /* weights; passes for the usual contract */
static struct st_file *expected;
static json_t *json;
static int32_t tokens[N + 2]; /* the prompt and two greedy tokens behind it */
static float *post, *pre;     /* [N + 1][hidden], trunk's hidden states after and before the final norm */

static int setup(void **arg)
{
    (void)arg;
    rig_open(&rig, data_path("oracle-f32"), NULL);
    expected = expected_open("oracle-f32/expected.safetensors");
    json = expected_json(data_path("oracle-f32/expected.json"));
    memcpy(tokens, expected_ints(expected, N, "p70.ids"), N * sizeof(int32_t));
    memcpy(tokens + N, expected_ints(expected, 52, "p70.greedy"), 2 * sizeof(int32_t));
    size_t row = (size_t)rig.weights->config->hidden * sizeof(float);
    post = mem_alloc((N + 1) * row);
    pre = mem_alloc((N + 1) * row);
    const struct mtp_contract before = {.base = HIDDEN_PRE_NORM};
    rig_passes(&rig, &before, 1, N + 1);
    rig_read(&rig, rig.s, tokens, N + 1, N + 1, NULL, pre);
    rig_passes_end(&rig);
    rig_passes(&rig, NULL, 2, N + 1);
    rig_read(&rig, rig.s, tokens, N + 1, N + 1, NULL, post);
    return 0;
}

static int teardown(void **arg)
{
    (void)arg;
    mem_free(post);
    mem_free(pre);
    json_decref(json);
    st_close(expected);
    rig_passes_end(&rig);
    rig_close(&rig);
    return 0;
}

static const float *row_of(const float *rows, int r) { return rows + (size_t)r * (size_t)rig.c->hidden; }

static const char *text(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

/* ---- the cache ----------------------------------------------------------------------------------------- */

static void history_fills_the_cache(void **arg)
{
    (void)arg;
    size_t d = (size_t)rig.c->head_dim, heads = (size_t)rig.c->n_kv_heads, n = N - 1;
    const float *k = expected_floats(expected, n * heads * d, "mtp.k");
    const float *v = expected_floats(expected, n * heads * d, "mtp.v");
    state_mtp_cut(rig.s, 0);
    mtp_history(rig.f, rig.s, post, tokens + 1, N - 1);
    assert_int_equal(state_mtp_len(rig.s), N - 1);
    for (size_t h = 0; h < heads; h++) {
        for (size_t t = 0; t < n; t++) {
            assert_close(state_keys(rig.s, rig.c->n_layers, (int)h) + t * d, k + (t * heads + h) * d, d, 1e-5,
                         "mtp.k");
            assert_close(state_values(rig.s, rig.c->n_layers, (int)h) + t * d, v + (t * heads + h) * d, d,
                         1e-5, "mtp.v");
        }
    }
}

/* History rows skip most of the layer; the cache must have the same bits as if each pair had been drafted
 * from. */
static void history_equals_drafting(void **arg)
{
    (void)arg;
    struct state *a = rig_state(&rig), *b = rig_state(&rig), *c = rig_state(&rig);
    mtp_history(rig.f, a, post, tokens + 1, N - 1);
    for (int t = 0; t < N - 1; t++) {
        const struct mtp_row row = {b, row_of(post, t), tokens[t + 1]};
        mtp_draft(rig.f, &row, 1);
        mtp_history(rig.f, c, row_of(post, t), &tokens[t + 1], 1);
    }
    assert_true(state_equal(a, b));
    assert_true(state_equal(a, c));
    state_mtp_cut(c, N - 2);
    assert_false(state_equal(a, c)); /* an entry less */
    mtp_history(rig.f, c, row_of(post, N - 1), &tokens[N - 1], 1);
    assert_false(state_equal(a, c)); /* another entry */
    state_free(a);
    state_free(b);
    state_free(c);
}

/* Cycles hand the trunk's rows to the head where they lie; the head must not write over them. */
static void hidden_states_outlive_the_head(void **arg)
{
    (void)arg;
    const struct mtp_contract contracts[2] = {{.base = HIDDEN_POST_NORM}, {.base = HIDDEN_PRE_NORM}};
    for (int i = 0; i < 2; i++) {
        struct rig g = rig;
        rig_passes(&g, &contracts[i], 1, N);
        rig_span(&g, g.s, tokens, N, false, SPAN_LOGITS_NONE);
        mtp_history(g.f, g.s, forward_hidden(g.f, 0), tokens + 1, N - 1);
        const struct mtp_row row = {g.s, forward_hidden(g.f, N - 1), tokens[N]};
        mtp_draft(g.f, &row, 1);
        assert_memory_equal(forward_hidden(g.f, 0), i == 0 ? post : pre,
                            N * (size_t)rig.c->hidden * sizeof(float));
        rig_passes_end(&g);
    }
}

static void drafts_of_several_sequences_do_not_meet(void **arg)
{
    (void)arg;
    size_t bytes = (size_t)rig.c->vocab * sizeof(float);
    struct state *s[3];
    struct mtp_row rows[3];
    float *logits = mem_alloc(3 * bytes), *second = mem_alloc(3 * bytes);
    for (int i = 0; i < 3; i++) {
        s[i] = rig_state(&rig);
        mtp_history(rig.f, s[i], post, tokens + 1, 10 + 20 * i);
        rows[i] = (struct mtp_row){s[i], row_of(post, 10 + 20 * i), tokens[11 + 20 * i]};
    }
    mtp_draft(rig.f, rows, 3);
    for (int i = 0; i < 3; i++) memcpy((char *)logits + (size_t)i * bytes, mtp_logits(rig.f, i), bytes);
    /* the next step in another order: each row is fed with what lies where another row's result will lie */
    const struct mtp_row next[3] = {
        {s[2], mtp_hidden(rig.f, 2), 1}, {s[0], mtp_hidden(rig.f, 0), 2}, {s[1], mtp_hidden(rig.f, 1), 3}};
    static const int order[3] = {1, 2, 0};
    mtp_draft(rig.f, next, 3);
    for (int i = 0; i < 3; i++)
        memcpy((char *)second + (size_t)i * bytes, mtp_logits(rig.f, order[i]), bytes);
    for (int i = 0; i < 3; i++) {
        state_mtp_cut(s[i], 10 + 20 * i);
        mtp_draft(rig.f, &rows[i], 1);
        assert_memory_equal(mtp_logits(rig.f, 0), (char *)logits + (size_t)i * bytes, bytes);
        const struct mtp_row again = {s[i], mtp_hidden(rig.f, 0), next[order[i]].token};
        mtp_draft(rig.f, &again, 1);
        assert_memory_equal(mtp_logits(rig.f, 0), (char *)second + (size_t)i * bytes, bytes);
    }
    for (int i = 0; i < 3; i++) state_free(s[i]);
    mem_free(logits);
    mem_free(second);
}

/* ---- teacher-forced ------------------------------------------------------------------------------------ */

static struct mtp_contract contract_of(const json_t *o)
{
    struct mtp_contract c = {.base = HIDDEN_POST_NORM};
    if (strcmp(text(o, "base_hidden_variant"), "pre_norm") == 0) c.base = HIDDEN_PRE_NORM;
    c.hidden_first = strcmp(text(o, "concat_order"), "hidden_embedding") == 0;
    return c;
}

static void check_teacher_forced(int which, const json_t *o, const json_t *places)
{
    const struct mtp_contract contract = contract_of(o);
    struct rig g = rig;
    size_t v = (size_t)rig.c->vocab, h = (size_t)rig.c->hidden;
    const int32_t *top1 = expected_ints(expected, 4 * (N - 1), "mtp.tf.top1") + which * (N - 1);
    const int32_t *target = expected_ints(expected, N - 1, "mtp.tf.target");
    const float *logits = expected_floats(expected, 4 * 8 * v, "mtp.tf.logits") + (size_t)which * 8 * v;
    const float *hidden = expected_floats(expected, 8 * h, "mtp.tf.hidden");
    size_t place = 0;
    int agree = 0;
    rig_passes(&g, &contract, 1, N);
    for (int t = 0; t < N - 1; t++) {
        const struct mtp_row row = {g.s, row_of(contract.base == HIDDEN_PRE_NORM ? pre : post, t),
                                    tokens[t + 1]};
        mtp_draft(g.f, &row, 1);
        int32_t best = best_of(mtp_logits(g.f, 0), rig.c->vocab);
        assert_int_equal(best, top1[t]);
        agree += best == target[t];
        if (json_integer_value(json_array_get(places, place)) != t) continue;
        assert_close(mtp_logits(g.f, 0), logits + place * v, v, 5e-5, "mtp.tf.logits");
        if (which == 0) assert_close(mtp_hidden(g.f, 0), hidden + place * h, h, 1e-5, "mtp.tf.hidden");
        place++;
    }
    assert_int_equal(place, 8);
    assert_int_equal(agree, json_integer_value(json_object_get(o, "agree")));
    rig_passes_end(&g);
}

static void teacher_forced(void **arg)
{
    (void)arg;
    const json_t *tf = json_object_get(json_object_get(json, "mtp"), "teacher_forced");
    const json_t *contracts = json_object_get(tf, "contracts"),
                 *places = json_object_get(tf, "positions_with_logits");
    assert_int_equal(json_array_size(contracts), 4);
    for (int i = 0; i < 4; i++) check_teacher_forced(i, json_array_get(contracts, (size_t)i), places);
}

/* ---- chains of drafts ---------------------------------------------------------------------------------- */

static enum hidden_variant variant_of(const char *name, size_t n)
{
    static const char *const names[] = {"post_norm", "pre_norm", "fc", "embedding", "prev"};
    for (int i = 0; i < 5; i++)
        if (strlen(names[i]) == n && memcmp(names[i], name, n) == 0) return (enum hidden_variant)i;
    fail_msg("unknown hidden variant %s", name);
    return HIDDEN_POST_NORM;
}

/* "fc", or "mix:post_norm:prev:0p75". */
static void feedback_of(struct mtp_contract *c, const char *name)
{
    if (strncmp(name, "mix:", 4) != 0) {
        c->feedback = variant_of(name, strlen(name));
        return;
    }
    const char *a = name + 4, *b = strchr(a, ':') + 1, *weight = strchr(b, ':') + 1;
    c->feedback = HIDDEN_MIX;
    c->mix_a = variant_of(a, (size_t)(b - a - 1));
    c->mix_b = variant_of(b, (size_t)(weight - b - 1));
    assert_string_equal(weight, "0p75");
    c->mix_weight = 0.75f;
}

/* Fills the cache by policy before a chain that starts with pair number n. The position modes need no arm:
 * only differences of positions count. */
static void fill_history(const struct rig *g, const char *policy, const float *hidden, int n)
{
    if (strcmp(policy, "committed") == 0) {
        mtp_history(g->f, g->s, hidden, tokens + 1, n);
    } else if (strcmp(policy, "last_window_16") == 0) {
        mtp_history(g->f, g->s, row_of(hidden, n - 16), tokens + 1 + n - 16, 16);
    } else if (strcmp(policy, "zero_first") == 0) {
        float *zero = mem_zalloc((size_t)rig.c->hidden, sizeof(float));
        mtp_history(g->f, g->s, zero, tokens, 1);
        mtp_history(g->f, g->s, hidden, tokens + 1, n);
        mem_free(zero);
    } else {
        assert_true(strcmp(policy, "cycle") == 0 || strcmp(policy, "none") == 0);
    }
}

static void check_chain(const json_t *o)
{
    struct mtp_contract contract = contract_of(o);
    feedback_of(&contract, text(o, "hidden_variant"));
    const char *policy = text(o, "history");
    const float *hidden = contract.base == HIDDEN_PRE_NORM ? pre : post;
    int n = strcmp(text(o, "anchor"), "after_one_target") == 0 ? N : N - 1;
    size_t v = (size_t)rig.c->vocab, h = (size_t)rig.c->hidden;
    const json_t *index = json_object_get(o, "logits");
    int32_t want[3], token = tokens[n + 1];
    assert_int_equal(json_ints(json_object_get(o, "tokens"), want, 3), 3);

    struct rig g = rig;
    rig_passes(&g, &contract, 1, N);
    fill_history(&g, policy, hidden, n);
    const float *fed = row_of(hidden, n);
    for (int j = 0; j < 3; j++) {
        const struct mtp_row row = {g.s, fed, token};
        if (strcmp(policy, "none") == 0) state_mtp_cut(g.s, 0);
        mtp_draft(g.f, &row, 1);
        fed = mtp_hidden(g.f, 0);
        token = best_of(mtp_logits(g.f, 0), rig.c->vocab);
        assert_int_equal(token, want[j]);
        if (!json_is_integer(index)) continue;
        size_t at = (size_t)json_integer_value(index) * 3 + (size_t)j;
        assert_close(mtp_logits(g.f, 0),
                     expected_floats(expected, 44 * 3 * v, "mtp.variants.logits") + at * v, v, 5e-5,
                     "mtp.variants.logits");
        assert_close(fed, expected_floats(expected, 44 * 3 * h, "mtp.variants.hidden") + at * h, h, 2e-5,
                     "mtp.variants.hidden");
    }
    rig_passes_end(&g);
}

static void every_contract_and_history(void **arg)
{
    (void)arg;
    const json_t *variants =
        json_object_get(json_object_get(json_object_get(json, "mtp"), "drafts"), "variants");
    assert_int_equal(json_array_size(variants), 92);
    for (size_t i = 0; i < 92; i++) check_chain(json_array_get(variants, i));
}

/* Whatever was drafted and thrown away before, the next chain is that of a cache that never saw it. */
static void drafts_after_repair(void **arg)
{
    (void)arg;
    for (int n = 7; n <= 70; n += 63) {
        char key[16];
        int32_t greedy[52];
        snprintf(key, sizeof key, "%d", n);
        const json_t *table =
            json_object_get(json_object_get(json_object_get(json, "speculative"), key), "draft_table");
        const int32_t *ids = expected_ints(expected, (size_t)n, "p%d.ids", n);
        float *hidden = mem_alloc((size_t)n * (size_t)rig.c->hidden * sizeof(float));
        memcpy(greedy, expected_ints(expected, 52, "p%d.greedy", n), sizeof greedy);
        state_reset(rig.s);
        rig_read(&rig, rig.s, ids, n, N, NULL, hidden);
        mtp_history(rig.f, rig.s, hidden, ids + 1, n - 1);
        const float *fed = row_of(hidden, n - 1);
        for (int j = 0; j < 48; j++) {
            int32_t want[3], token = greedy[j];
            assert_int_equal(json_ints(json_array_get(table, (size_t)j), want, 3), 3);
            for (int d = 0; d < 3; d++) {
                const struct mtp_row row = {rig.s, fed, token};
                mtp_draft(rig.f, &row, 1);
                token = best_of(mtp_logits(rig.f, 0), rig.c->vocab);
                assert_int_equal(token, want[d]);
                fed = mtp_hidden(rig.f, 0);
            }
            state_mtp_cut(rig.s, n + j); /* the first pair was true */
            rig_span(&rig, rig.s, &greedy[j], 1, true, SPAN_LOGITS_NONE);
            fed = forward_hidden(rig.f, 0);
        }
        mem_free(hidden);
    }
}

static void absurd_contracts_are_refused(void **arg)
{
    (void)arg;
    struct alula_error e;
    struct model *m = NULL;
    const struct mtp_contract bad[] = {
        {.base = HIDDEN_FC},
        {.feedback = HIDDEN_MIX, .mix_a = HIDDEN_MIX, .mix_weight = 0.5f},
        {.feedback = HIDDEN_MIX, .mix_b = HIDDEN_PREV, .mix_weight = 1.5f},
    };
    for (int i = 0; i < 3; i++) {
        assert_false(model_create(&m, rig.weights, &bad[i], MODEL_EXACT, &e));
        assert_int_equal(e.code, ALULA_UNSUPPORTED);
        assert_null(m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(history_fills_the_cache),
        cmocka_unit_test(history_equals_drafting),
        cmocka_unit_test(hidden_states_outlive_the_head),
        cmocka_unit_test(drafts_of_several_sequences_do_not_meet),
        cmocka_unit_test(teacher_forced),
        cmocka_unit_test(every_contract_and_history),
        cmocka_unit_test(drafts_after_repair),
        cmocka_unit_test(absurd_contracts_are_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
