/* The network on weights in every layout: numbered and fused Hugging Face folders, a graft of the two, MLX's
 * 4-bit conversion, one of mixed widths, an artifact forged by MTPLX. */
#include "tests/model_rig.h"

#include <stdlib.h>

/* Reads ids, checks logits and final hidden states, then takes n_greedy tokens. */
static void check_trunk(const struct rig *g, const int32_t *ids, int n, const float *logits, double logit_tol,
                        const float *final, double final_tol, const int32_t *greedy, int n_greedy)
{
    size_t v = (size_t)g->c->vocab, h = (size_t)g->c->hidden;
    float *got = mem_alloc((size_t)n * v * sizeof(float)), *hidden = mem_alloc((size_t)n * h * sizeof(float));
    state_reset(g->s);
    rig_read(g, g->s, ids, n, 32, got, hidden);
    assert_close(got, logits, (size_t)n * v, logit_tol, "logits");
    assert_close(hidden, final, (size_t)n * h, final_tol, "final");
    const float *last = forward_logits(g->f, (n - 1) % 32);
    for (int i = 0; i < n_greedy; i++) {
        assert_int_equal(best_of(last, g->c->vocab), greedy[i]);
        rig_span(g, g->s, &greedy[i], 1, true, SPAN_LOGITS_LAST);
        last = forward_logits(g->f, 0);
    }
    mem_free(got);
    mem_free(hidden);
}

/* A greedy chain of three drafts from the state behind the prompt. logits [3][vocab]; fed [3][hidden] or
 * NULL. */
static void check_drafts(const struct rig *g, const int32_t *ids, int n, bool history, int32_t primary,
                         const int32_t *drafts, const float *logits, double logit_tol, const float *fed,
                         double fed_tol)
{
    size_t v = (size_t)g->c->vocab, h = (size_t)g->c->hidden;
    float *hidden = mem_alloc((size_t)n * h * sizeof(float));
    int32_t token = primary;
    state_reset(g->s);
    rig_read(g, g->s, ids, n, 32, NULL, hidden);
    assert_int_equal(best_of(forward_logits(g->f, (n - 1) % 32), g->c->vocab), primary);
    if (history) mtp_history(g->f, g->s, hidden, ids + 1, n - 1);
    const float *feed = hidden + (size_t)(n - 1) * h;
    for (size_t j = 0; j < 3; j++) {
        const struct mtp_row row = {g->s, feed, token};
        mtp_draft(g->f, &row, 1);
        feed = mtp_hidden(g->f, 0);
        token = best_of(mtp_logits(g->f, 0), g->c->vocab);
        assert_int_equal(token, drafts[j]);
        assert_close(mtp_logits(g->f, 0), logits + j * v, v, logit_tol, "draft logits");
        if (fed) assert_close(feed, fed + j * h, h, fed_tol, "draft hidden");
    }
    mem_free(hidden);
}

/* ---- layouts ------------------------------------------------------------------------------------------- */

static float *all_logits(const struct rig *g, const int32_t *ids, int n)
{
    float *logits = mem_alloc((size_t)(n * g->c->vocab) * sizeof(float));
    state_reset(g->s);
    rig_read(g, g->s, ids, n, 32, logits, NULL);
    return logits;
}

static void numbered_fused_and_grafted_are_one_model(void **arg)
{
    (void)arg;
    static const char *const folders[3][2] = {
        {"layouts/trunk", NULL}, {"layouts/donor", NULL}, {"layouts/trunk", "layouts/donor"}};
    struct st_file *x = expected_open("layouts/expected.safetensors");
    json_t *json = expected_json(data_path("layouts/expected.json"));
    const int32_t *ids = expected_ints(x, 7, "ids"), *greedy = expected_ints(x, 16, "greedy");
    int32_t drafts[3];
    float *first = NULL;
    json_ints(json_object_get(json, "drafts"), drafts, 3);
    for (int i = 0; i < 3; i++) {
        struct rig g;
        rig_open(&g, data_path(folders[i][0]), folders[i][1] ? data_path(folders[i][1]) : NULL);
        rig_passes(&g, NULL, 1, 32);
        check_trunk(&g, ids, 7, expected_floats(x, 7 * 256, "logits"), 5e-5,
                    expected_floats(x, 7 * 64, "final"), 5e-6, greedy, 16);
        assert_int_equal(model_has_mtp(g.model), i > 0);
        if (i > 0)
            check_drafts(&g, ids, 7, true, greedy[0], drafts, expected_floats(x, 3 * 256, "mtp.logits"), 2e-5,
                         expected_floats(x, 3 * 64, "mtp.hidden"), 1e-5);
        float *logits = all_logits(&g, ids, 7);
        if (!first)
            first = logits;
        else {
            assert_memory_equal(logits, first, 7 * 256 * sizeof(float));
            mem_free(logits);
        }
        rig_passes_end(&g);
        rig_close(&g);
    }
    mem_free(first);
    json_decref(json);
    st_close(x);
}

/* ---- packed weights ------------------------------------------------------------------------------------ */

static void check_packed(const char *folder, const char *expected)
{
    static const int lengths[] = {1, 7, 70};
    struct st_file *x = expected_open(expected);
    struct rig g;
    rig_open(&g, data_path(folder), NULL);
    rig_passes(&g, NULL, 2, 32);
    for (int i = 0; i < 3; i++) {
        int n = lengths[i];
        size_t v = (size_t)g.c->vocab, h = (size_t)g.c->hidden;
        check_trunk(&g, expected_ints(x, (size_t)n, "p%d.ids", n), n,
                    expected_floats(x, (size_t)n * v, "p%d.logits", n), 1e-3,
                    expected_floats(x, (size_t)n * h, "p%d.hidden", n), 1e-3,
                    expected_ints(x, 32, "p%d.greedy", n), 32);
    }
    rig_passes_end(&g);
    rig_close(&g);
    st_close(x);
}

static void four_bits(void **arg)
{
    (void)arg;
    check_packed("mlx4/mlx", "mlx4/expected.safetensors");
}

static void every_width_and_group(void **arg)
{
    (void)arg;
    check_packed("mlx-mixed/mlx", "mlx-mixed/expected.safetensors");
}

/* ---- an artifact of MTPLX ------------------------------------------------------------------------------ */

static const struct {
    const char *name;
    struct mtp_contract contract;
} contracts[] = {
    {"default", {0}},
    {"base_pre_norm", {.base = HIDDEN_PRE_NORM}},
    {"hidden_pre_norm", {.feedback = HIDDEN_PRE_NORM}},
    {"hidden_fc", {.feedback = HIDDEN_FC}},
    {"hidden_embedding", {.feedback = HIDDEN_EMBEDDING}},
    {"hidden_prev", {.feedback = HIDDEN_PREV}},
    {"hidden_mix",
     {.feedback = HIDDEN_MIX, .mix_a = HIDDEN_PRE_NORM, .mix_b = HIDDEN_PREV, .mix_weight = 0.75f}},
    {"concat_hidden_embedding", {.hidden_first = true}},
};

static void artifact_of_mtplx(void **arg)
{
    (void)arg;
    struct st_file *x = expected_open("mtplx/golden/expected.safetensors");
    json_t *json = expected_json(data_path("mtplx/golden/expected.json"));
    struct rig g;
    rig_open(&g, data_path("mtplx/golden/tiny-mtplx"), NULL);
    for (size_t c = 0; c < sizeof contracts / sizeof contracts[0]; c++) {
        rig_passes(&g, &contracts[c].contract, 1, 70);
        for (int i = 0; i < 4; i++) {
            int n = i < 2 ? 7 : 70;
            const char *history = i % 2 ? "cycle" : "committed";
            char name[80];
            int32_t drafts[3];
            snprintf(name, sizeof name, "p%d.%s.%s", n, history, contracts[c].name);
            const json_t *chain = json_object_get(json_object_get(json, "chains"), name);
            assert_int_equal(json_ints(json_object_get(chain, "drafts"), drafts, 3), 3);
            check_drafts(&g, expected_ints(x, (size_t)n, "p%d.ids", n), n, i % 2 == 0,
                         (int32_t)json_integer_value(json_object_get(chain, "primary")), drafts,
                         expected_floats(x, 3 * (size_t)g.c->vocab, "%s", name), 1e-3, NULL, 0);
        }
        rig_passes_end(&g);
    }
    rig_close(&g);
    json_decref(json);
    st_close(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbered_fused_and_grafted_are_one_model),
        cmocka_unit_test(four_bits),
        cmocka_unit_test(every_width_and_group),
        cmocka_unit_test(artifact_of_mtplx),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
