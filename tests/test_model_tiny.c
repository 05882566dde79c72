/* The two bundled models: loss, greedy text and acceptance of the graft as models/expected.json has them. */
#include "tests/model_rig.h"

#include <math.h>
#include <stdlib.h>

#define CHUNK     128
#define CASE_STEP 3    /* every third case and the first window of each kind: the rest is more of the same */
#define MARGIN    1e-3 /* closer calls may fall otherwise in another order of summation */

static json_t *json;

static int setup(void **arg)
{
    (void)arg;
    json = expected_json("models/expected.json");
    return 0;
}

static int teardown(void **arg)
{
    (void)arg;
    json_decref(json);
    return 0;
}

static double cross_entropy(const float *logits, int n, int32_t target)
{
    double max = logits[best_of(logits, n)], sum = 0;
    for (int i = 0; i < n; i++) sum += exp(logits[i] - max);
    return log(sum) + max - logits[target];
}

/* Mean cross-entropy of ids 1.. of a window. */
static double loss_of(const struct rig *g, const int32_t *ids, int n)
{
    double sum = 0;
    state_reset(g->s);
    for (int at = 0; at < n; at += CHUNK) {
        int m = n - at < CHUNK ? n - at : CHUNK;
        rig_span(g, g->s, ids + at, m, false, SPAN_LOGITS_ALL);
        for (int i = 0; i < m && at + i + 1 < n; i++)
            sum += cross_entropy(forward_logits(g->f, i), g->c->vocab, ids[at + i + 1]);
    }
    return sum / (n - 1);
}

static void loss_of_the_trunk(void **arg)
{
    (void)arg;
    const char *kind;
    json_t *windows;
    struct rig g;
    rig_open(&g, "models/tiny-trunk", NULL);
    rig_passes(&g, NULL, 1, CHUNK);
    json_object_foreach(json_object_get(json, "loss_windows"), kind, windows)
    {
        const json_t *losses = json_object_get(json_object_get(json, "loss_of_windows"), kind);
        losses = json_object_get(losses, "trunk");
        int32_t ids[512];
        int n = json_ints(json_array_get(windows, 0), ids, 512);
        double loss = loss_of(&g, ids, n), want = json_real_value(json_array_get(losses, 0));
        if (!(fabs(loss - want) <= 1e-4)) fail_msg("%s: loss %.6f, expected %.6f", kind, loss, want);
    }
    rig_passes_end(&g);
    rig_close(&g);
}

/* At every position from the last of the prompt to three before the end: how many guesses of a chain of three
 * equal the text. */
static void count_accepted(const struct rig *g, const int32_t *text, int n_prompt, int n_text,
                           const float *hidden, int *accepted)
{
    size_t h = (size_t)g->c->hidden;
    mtp_history(g->f, g->s, hidden, text + 1, n_prompt - 1);
    for (int t = n_prompt - 1; t + 4 <= n_text - 1; t++) {
        const float *fed = hidden + (size_t)t * h;
        int32_t token = text[t + 1];
        for (int j = 0; j < 3; j++) {
            const struct mtp_row row = {g->s, fed, token};
            mtp_draft(g->f, &row, 1);
            token = best_of(mtp_logits(g->f, 0), g->c->vocab);
            if (token != text[t + 2 + j]) break;
            accepted[j]++;
            fed = mtp_hidden(g->f, 0);
        }
        state_mtp_cut(g->s, t + 1);
    }
}

static void check_case(const struct rig *g, const json_t *o)
{
    int32_t text[RIG_CTX];
    int n_prompt = json_ints(json_object_get(o, "prompt"), text, RIG_CTX);
    int n = n_prompt + json_ints(json_object_get(o, "greedy"), text + n_prompt, RIG_CTX - n_prompt);
    size_t h = (size_t)g->c->hidden;
    int accepted[3] = {0};
    int32_t want_accepted[3];
    float *hidden = mem_alloc((size_t)n * h * sizeof(float));
    state_reset(g->s);
    for (int at = 0; at < n; at += CHUNK) {
        int m = n - at < CHUNK ? n - at : CHUNK;
        rig_span(g, g->s, text + at, m, false, SPAN_LOGITS_ALL);
        for (int i = 0; i < m; i++) {
            memcpy(hidden + (size_t)(at + i) * h, forward_hidden(g->f, i), h * sizeof(float));
            if (at + i + 1 < n_prompt || at + i + 1 >= n) continue;
            const float *logits = forward_logits(g->f, i);
            int32_t best = best_of(logits, g->c->vocab), want = text[at + i + 1];
            if (best != want && logits[best] - logits[want] > MARGIN)
                fail_msg("token %d of the answer is %d, expected %d", at + i + 1 - n_prompt, best, want);
        }
    }
    count_accepted(g, text, n_prompt, n, hidden, accepted);
    json_ints(json_object_get(o, "accepted_prefix"), want_accepted, 3);
    for (int j = 0; j < 3; j++) assert_int_equal(accepted[j], want_accepted[j]);
    mem_free(hidden);
}

static void check_model(const char *key, const char *trunk, const char *head)
{
    const json_t *cases = json_object_get(json_object_get(json, key), "cases");
    struct rig g;
    rig_open(&g, trunk, head);
    rig_passes(&g, NULL, 1, CHUNK);
    assert_true(json_array_size(cases) > 0);
    for (size_t i = 0; i < json_array_size(cases); i += CASE_STEP) check_case(&g, json_array_get(cases, i));
    rig_passes_end(&g);
    rig_close(&g);
}

static void text_and_acceptance_of_the_graft(void **arg)
{
    (void)arg;
    check_model("trunk+donor head", "models/tiny-trunk", "models/tiny-donor");
}

static void text_and_acceptance_of_the_donor(void **arg)
{
    (void)arg;
    check_model("donor", "models/tiny-donor", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loss_of_the_trunk),
        cmocka_unit_test(text_and_acceptance_of_the_graft),
        cmocka_unit_test(text_and_acceptance_of_the_donor),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
