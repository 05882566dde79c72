/* The network against the original implementation (fixture oracle-f32), layer by layer: a random float32
 * model with every feature on. */
#include "tests/model_rig.h"

#include <stdio.h>

static struct rig rig;
static struct st_file *expected;
static struct recorder recorder;

static int setup(void **arg)
{
    (void)arg;
    rig_open(&rig, data_path("oracle-f32"), NULL);
    rig_passes(&rig, NULL, 2, 48);
    expected = expected_open("oracle-f32/expected.safetensors");
    return 0;
}

static int teardown(void **arg)
{
    (void)arg;
    st_close(expected);
    rig_passes_end(&rig);
    rig_close(&rig);
    return 0;
}

static const int32_t *prompt_of(int n) { return expected_ints(expected, (size_t)n, "p%d.ids", n); }

static void logits_of_all_prompts(void **arg)
{
    (void)arg;
    static const int lengths[] = {1, 7, 70, 130};
    for (int i = 0; i < 4; i++) {
        size_t n = (size_t)lengths[i], v = (size_t)rig.c->vocab;
        float *logits = mem_alloc(n * v * sizeof(float));
        state_reset(rig.s);
        rig_read(&rig, rig.s, prompt_of(lengths[i]), lengths[i], 48, logits, NULL);
        assert_close(logits, expected_floats(expected, n * v, "p%d.logits", lengths[i]), n * v, 5e-5,
                     "logits");
        mem_free(logits);
    }
}

/* Chosen experts as a map from id to weight; the shared expert behind them is ours alone. */
static void check_router(int n, int layer)
{
    int k = rig.c->experts_per_tok;
    size_t size = (size_t)(rig.c->n_layers * n * k), at = (size_t)(layer * n * k);
    const int32_t *want_ids = expected_ints(expected, size, "p%d.router_ids", n) + at;
    const float *want = expected_floats(expected, size, "p%d.router_weights", n) + at;
    const float *ids = recorded(&recorder, "expert_ids", layer, n, k + 1);
    const float *weights = recorded(&recorder, "expert_weights", layer, n, k + 1);
    for (int t = 0; t < n; t++) {
        assert_int_equal((int)ids[t * (k + 1) + k], rig.c->n_experts);
        for (int i = 0; i < k; i++) {
            int found = 0;
            for (int j = 0; j < k; j++) {
                if ((int)ids[t * (k + 1) + i] != want_ids[t * k + j]) continue;
                assert_close(&weights[t * (k + 1) + i], &want[t * k + j], 1, 5e-6, "router weight");
                found++;
            }
            assert_int_equal(found, 1);
            if (i > 0) assert_true(weights[t * (k + 1) + i] <= weights[t * (k + 1) + i - 1]);
        }
    }
}

static void check_cache(const float *(*head_of)(const struct state *, int, int), int layer, int n,
                        const float *want, const char *what)
{
    size_t d = (size_t)rig.c->head_dim, heads = (size_t)rig.c->n_kv_heads;
    for (size_t h = 0; h < heads; h++)
        for (size_t t = 0; t < (size_t)n; t++)
            assert_close(head_of(rig.s, layer, (int)h) + t * d, want + (t * heads + h) * d, d, 1e-5, what);
}

static void check_state(int n, int layer)
{
    const struct config *c = rig.c;
    if (c->layer_types[layer] == LAYER_FULL_ATTENTION) {
        size_t size = (size_t)(n * c->n_kv_heads * c->head_dim);
        check_cache(state_keys, layer, n, expected_floats(expected, size, "p%d.layer%d.k", n, layer), "k");
        check_cache(state_values, layer, n, expected_floats(expected, size, "p%d.layer%d.v", n, layer), "v");
        return;
    }
    size_t channels = (size_t)(2 * c->lin_k_heads * c->lin_k_dim + c->lin_v_heads * c->lin_v_dim);
    size_t size = (size_t)(c->lin_v_heads * c->lin_k_dim * c->lin_v_dim);
    assert_close(state_conv(rig.s, layer),
                 expected_floats(expected, 3 * channels, "p%d.layer%d.conv_state", n, layer), 3 * channels,
                 1e-5, "conv_state");
    assert_close(state_recurrent(rig.s, layer),
                 expected_floats(expected, size, "p%d.layer%d.recurrent_state", n, layer), size, 1e-5,
                 "recurrent_state");
}

static void read_with_tap(int n)
{
    forward_set_tap(rig.f, recorder_tap, &recorder);
    state_reset(rig.s);
    rig_read(&rig, rig.s, prompt_of(n), n, 48, NULL, NULL);
    forward_set_tap(rig.f, NULL, NULL);
}

static void hidden_router_and_states(void **arg)
{
    (void)arg;
    for (int n = 7; n <= 70; n += 63) {
        int layers = rig.c->n_layers;
        size_t row = (size_t)(n * rig.c->hidden);
        read_with_tap(n);
        for (int i = 0; i < layers; i++) {
            const float *want =
                expected_floats(expected, (size_t)layers * row, "p%d.hidden", n) + (size_t)i * row;
            assert_close(recorded(&recorder, "hidden", i, n, rig.c->hidden), want, row, 5e-6, "hidden");
            check_router(n, i);
            check_state(n, i);
        }
        assert_close(recorded(&recorder, "final", layers, n, rig.c->hidden),
                     expected_floats(expected, row, "p%d.final", n), row, 1e-5, "final");
        recorder_clear(&recorder);
    }
}

static void outputs_of_steps(void **arg)
{
    (void)arg;
    static const struct {
        const char *what;
        double tol;
    } steps[] = {{"mixer", 5e-6}, {"moe", 2e-6}, {"router_logits", 1e-5}};
    read_with_tap(7);
    for (int s = 0; s < 3; s++) {
        int width = s == 2 ? rig.c->n_experts : rig.c->hidden;
        size_t size = (size_t)(7 * width);
        const float *want = expected_floats(expected, (size_t)rig.c->n_layers * size, "p7.%s", steps[s].what);
        for (int i = 0; i < rig.c->n_layers; i++)
            assert_close(recorded(&recorder, steps[s].what, i, 7, width), want + (size_t)i * size, size,
                         steps[s].tol, steps[s].what);
    }
    recorder_clear(&recorder);
}

static void inside_a_delta_net_layer(void **arg)
{
    (void)arg;
    const struct config *c = rig.c;
    int key = c->lin_k_heads * c->lin_k_dim, value = c->lin_v_heads * c->lin_v_dim;
    const struct {
        const char *what;
        int width;
    } parts[] = {{"conv_out", 2 * key + value}, {"q", key},   {"k", key},   {"gamma", c->lin_v_heads},
                 {"beta", c->lin_v_heads},      {"z", value}, {"o", value}, {"y", value}};
    read_with_tap(7);
    for (int i = 0; i < 8; i++) {
        size_t n = (size_t)(7 * parts[i].width);
        assert_close(recorded(&recorder, parts[i].what, 0, 7, parts[i].width),
                     expected_floats(expected, n, "p7.layer0.inner.%s", parts[i].what), n, 1e-5,
                     parts[i].what);
    }
    recorder_clear(&recorder);
}

static void inside_an_attention_layer(void **arg)
{
    (void)arg;
    int d = rig.c->head_dim, heads = rig.c->n_heads, width = heads * d;
    size_t n = (size_t)(7 * width);
    read_with_tap(7);
    assert_close(recorded(&recorder, "q", 3, 7, width), expected_floats(expected, n, "p7.layer3.inner.q"), n,
                 1e-5, "q");
    assert_close(recorded(&recorder, "o", 3, 7, width), expected_floats(expected, n, "p7.layer3.inner.o"), n,
                 1e-5, "o");
    const float *both = recorded(&recorder, "q_gate", 3, 7, 2 * width);
    const float *gate = expected_floats(expected, n, "p7.layer3.inner.gate");
    for (int i = 0; i < 7 * heads; i++)
        assert_close(both + (size_t)(2 * i + 1) * (size_t)d, gate + (size_t)i * (size_t)d, (size_t)d, 1e-5,
                     "gate");
    recorder_clear(&recorder);
}

static void greedy_continuations(void **arg)
{
    (void)arg;
    for (int n = 7; n <= 70; n += 63) {
        size_t v = (size_t)rig.c->vocab;
        const int32_t *greedy = expected_ints(expected, 52, "p%d.greedy", n);
        const float *want = expected_floats(expected, 48 * v, "p%d.greedy_logits", n);
        state_reset(rig.s);
        rig_read(&rig, rig.s, prompt_of(n), n, 48, NULL, NULL);
        int last = (n - 1) % 48;
        for (int i = 0; i < 52; i++) {
            const float *logits = forward_logits(rig.f, last);
            if (i < 48) assert_close(logits, want + (size_t)i * v, v, 5e-5, "greedy_logits");
            assert_int_equal(best_of(logits, rig.c->vocab), greedy[i]);
            rig_span(&rig, rig.s, &greedy[i], 1, false, SPAN_LOGITS_LAST);
            last = 0;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_of_all_prompts),     cmocka_unit_test(hidden_router_and_states),
        cmocka_unit_test(outputs_of_steps),          cmocka_unit_test(inside_a_delta_net_layer),
        cmocka_unit_test(inside_an_attention_layer), cmocka_unit_test(greedy_continuations),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
