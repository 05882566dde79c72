/* Two layers made by hand, small enough to follow on paper: the specification's worked examples (convolution,
 * RoPE, router), the dense MLP that no fixture has, and weights that are not numbers.
 *
 * Token t is embedded as the unit vector t and the norms' gains undo the norm, so a projection of it is
 * column t of the matrix. Layer 0 is a delta net with experts whose outputs are zero, layer 1 attention with
 * a dense MLP. */
#include "tests/model_rig.h"

#include <math.h>
#include <stdlib.h>

#define H       8 /* hidden, and vocabulary */
#define EXPERTS 6
#define CH      3 /* channels: one key head and one value head of width 1 */
#define D       8 /* head_dim, one head */

static float unit[H * H], gain[H], ones[H], zeros[H * 2 * H];
static float conv_in[CH * H], taps[CH * 4], a_log[1], dt_bias[1];
static float router[EXPERTS * H], query[2 * D * H], q_gain[D], dense_gate[H * H], dense_up[H * H],
    dense_down[H * H];
static enum layer_type layer_types[2] = {LAYER_LINEAR_ATTENTION, LAYER_FULL_ATTENTION};
static enum mlp_type mlp_types[2] = {MLP_MOE, MLP_DENSE};
static struct config config = {
    .n_layers = 2,
    .hidden = H,
    .vocab = H,
    .max_position = 1024,
    .layer_types = layer_types,
    .mlp_types = mlp_types,
    .rms_eps = 1e-6,
    .n_heads = 1,
    .n_kv_heads = 1,
    .head_dim = D,
    .rotary_dim = 4,
    .rope_theta = 1e7,
    .lin_k_heads = 1,
    .lin_v_heads = 1,
    .lin_k_dim = 1,
    .lin_v_dim = 1,
    .conv_kernel = 4,
    .n_experts = EXPERTS,
    .experts_per_tok = 3,
    .moe_inter = H,
    .shared_inter = H,
    .dense_inter = H,
};

static struct matrix plain(const float *data, uint32_t rows, uint32_t cols)
{
    return (struct matrix){.type = DT_F32, .rows = rows, .cols = cols, .data = data};
}

static struct vector vector_of(const float *values) { return (struct vector){.gain = values}; }

static struct matrix experts[EXPERTS], dense[3];

static void make_weights(struct weights *w, struct layer_weights *layers)
{
    struct layer_weights *l0 = &layers[0], *l1 = &layers[1];
    const struct matrix nothing = plain(zeros, H, H);
    for (int i = 0; i < EXPERTS; i++) experts[i] = nothing;
    dense[0] = plain(dense_gate, H, H), dense[1] = plain(dense_up, H, H), dense[2] = plain(dense_down, H, H);
    *l0 = (struct layer_weights){.type = LAYER_LINEAR_ATTENTION,
                                 .input_norm = vector_of(gain),
                                 .post_norm = vector_of(gain),
                                 .gdn = {.qkv = plain(conv_in, CH, H),
                                         .z = plain(zeros, 1, H),
                                         .b = plain(zeros, 1, H),
                                         .a = plain(zeros, 1, H),
                                         .out = plain(zeros, H, 1),
                                         .conv = vector_of(taps),
                                         .a_log = vector_of(a_log),
                                         .dt_bias = vector_of(dt_bias),
                                         .norm = vector_of(ones)},
                                 .mlp = {.type = MLP_MOE,
                                         .router = plain(router, EXPERTS, H),
                                         .gate = experts,
                                         .up = experts,
                                         .down = experts,
                                         .shared_gate = nothing,
                                         .shared_up = nothing,
                                         .shared_down = nothing,
                                         .shared_expert_gate = plain(zeros, 1, H)}};
    *l1 = (struct layer_weights){
        .type = LAYER_FULL_ATTENTION,
        .input_norm = vector_of(gain),
        .post_norm = vector_of(gain),
        .attn = {.q = plain(query, 2 * D, H),
                 .k = nothing,
                 .v = nothing,
                 .o = nothing,
                 .q_norm = vector_of(q_gain),
                 .k_norm = vector_of(ones)},
        .mlp = {.type = MLP_DENSE, .gate = &dense[0], .up = &dense[1], .down = &dense[2]}};
    *w = (struct weights){.config = &config,
                          .embed = plain(unit, H, H),
                          .lm_head = plain(unit, H, H),
                          .final_norm = vector_of(ones),
                          .layers = layers};
}

/* Reads the tokens with everything recorded. */
static void read_tokens(struct recorder *r, const int32_t *tokens, int n)
{
    struct weights w;
    struct layer_weights layers[2];
    struct rig g = {.weights = &w};
    for (int i = 0; i < H; i++) {
        unit[i * H + i] = ones[i] = 1;
        gain[i] = 1 / sqrtf(H);
    }
    make_weights(&w, layers);
    rig_passes(&g, NULL, 1, 16);
    forward_set_tap(g.f, recorder_tap, r);
    rig_span(&g, g.s, tokens, n, false, SPAN_LOGITS_ALL);
    rig_passes_end(&g);
}

static void convolution_example(void **arg)
{
    (void)arg;
    static const float in[5][2] = {{0.5f, -1}, {1, 0.25f}, {-0.5f, 0.75f}, {2, -0.25f}, {0.25f, 0.5f}};
    static const float kernel[2][4] = {{0.5f, -0.25f, 1, 0.75f}, {-0.5f, 0.5f, 0.25f, -1}};
    static const float silu[5][2] = {{0.222249975f, 0.7310585786f},
                                     {0.9716248265f, -0.1887703344f},
                                     {0.3112296656f, -0.2775262988f},
                                     {0.7310585786f, 0.7896160092f},
                                     {2.653165054f, -0.1320326984f}};
    static const int32_t tokens[5] = {0, 1, 2, 3, 4};
    static struct recorder r;
    for (int t = 0; t < 5; t++)
        for (int ch = 0; ch < 2; ch++) conv_in[ch * H + t] = in[t][ch];
    memcpy(taps, kernel, sizeof kernel);
    read_tokens(&r, tokens, 5);
    const float *out = recorded(&r, "conv_out", 0, 5, CH);
    for (int t = 0; t < 5; t++) assert_close(out + t * CH, silu[t], 2, 2e-5, "convolution");
    recorder_clear(&r);
}

static void rope_example(void **arg)
{
    (void)arg;
    static const float x[D] = {1, -2, 0.5f, 3, 0.25f, -1, 2, 4};
    static const float at3[D] = {-1.060552501f, -2.002845149f, -0.3538762402f, 2.998101284f, 0.25f, -1, 2, 4};
    static const int32_t tokens[4] = {0, 1, 2, 3};
    static struct recorder r;
    for (int i = 0; i < D; i++) {
        q_gain[i] = x[i]; /* the norm of equal values is 1 each */
        for (int t = 0; t < H; t++) query[i * H + t] = 5;
    }
    read_tokens(&r, tokens, 4);
    const float *q = recorded(&r, "q", 1, 4, D);
    assert_close(q, x, D, 1e-5, "position 0");
    assert_close(q + 3 * D, at3, D, 1e-5, "position 3");
    recorder_clear(&r);
}

static void router_example(void **arg)
{
    (void)arg;
    static const float logits[EXPERTS] = {0.5f, 2, -1, 1.5f, 0, 2};
    static const float ids[4] = {1, 5, 3, EXPERTS}; /* of equals the lower number; the shared one last */
    static const float weights[4] = {0.3836517312f, 0.3836517312f, 0.2326965376f, 0.5f};
    static const int32_t token = 2;
    static struct recorder r;
    for (int e = 0; e < EXPERTS; e++) router[e * H + token] = logits[e];
    read_tokens(&r, &token, 1);
    assert_memory_equal(recorded(&r, "expert_ids", 0, 1, 4), ids, sizeof ids);
    assert_close(recorded(&r, "expert_weights", 0, 1, 4), weights, 4, 1e-5, "expert weights");
    recorder_clear(&r);
}

static void dense_mlp(void **arg)
{
    (void)arg;
    static const int32_t tokens[2] = {5, 6};
    static struct recorder r;
    float want[2 * H] = {0};
    for (int i = 0; i < H * H; i++) {
        dense_gate[i] = (float)(i * 7 % 11 - 5) / 4;
        dense_up[i] = (float)(i * 5 % 13 - 6) / 4;
        dense_down[i] = (float)(i * 3 % 7 - 3) / 4;
    }
    for (int t = 0; t < 2; t++) {
        for (int j = 0; j < H; j++) {
            double g = dense_gate[j * H + tokens[t]], up = dense_up[j * H + tokens[t]];
            for (int i = 0; i < H; i++)
                want[t * H + i] += (float)(dense_down[i * H + j] * (g / (1 + exp(-g)) * up));
        }
    }
    read_tokens(&r, tokens, 2);
    assert_close(recorded(&r, "moe", 1, 2, H), want, 2 * H, 5e-5, "dense MLP");
    recorder_clear(&r);
}

/* A broken file may hold NaN in a router; the pass must end and stay inside its memory. */
static void router_without_numbers(void **arg)
{
    (void)arg;
    static const int32_t token = 7;
    static struct recorder r;
    for (int e = 0; e < EXPERTS; e++) router[e * H + token] = NAN;
    read_tokens(&r, &token, 1);
    const float *ids = recorded(&r, "expert_ids", 0, 1, 4);
    for (int i = 0; i < 4; i++) assert_true(ids[i] >= 0 && ids[i] <= EXPERTS);
    recorder_clear(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(convolution_example),    cmocka_unit_test(rope_example),
        cmocka_unit_test(router_example),         cmocka_unit_test(dense_mlp),
        cmocka_unit_test(router_without_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
