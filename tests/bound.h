/* bound.h - for tests of weights: a folder opened and bound, and the comparison of two of them. Include once
 * per program. */
#ifndef TESTS_BOUND_H
#define TESTS_BOUND_H

#include "tests/support.h"

#include <math.h>
#include <string.h>

#include "artifact/weights.h"

/* ---- opening --------------------------------------------------------------------------------- */

struct bound {
    struct checkpoint *c, *head;
    struct weights *w;
};

static inline struct bound bind_graft(const char *trunk, const char *head)
{
    struct alula_error e;
    struct bound b = {0};
    assert_ok(checkpoint_open(&b.c, trunk, &e), e);
    if (head) assert_ok(checkpoint_open_head(&b.head, head, &e), e);
    assert_ok(weights_bind(&b.w, b.c, b.head, &e), e);
    return b;
}

static inline struct bound bind_ok(const char *dir) { return bind_graft(dir, NULL); }

static inline void unbind(struct bound *b)
{
    weights_free(b->w);
    checkpoint_close(b->c);
    checkpoint_close(b->head);
}

/* Opening or binding fails with part in the message; returns the message. */
static inline const char *expect_refusal(const char *dir, enum alula_code code, const char *part)
{
    static struct alula_error e;
    struct checkpoint *c = NULL;
    struct weights *w = NULL;
    if (checkpoint_open(&c, dir, &e) && weights_bind(&w, c, NULL, &e))
        fail_msg("%s binds, expected \"%s\"", path_base(dir), part);
    assert_null(w);
    checkpoint_close(c);
    if (!strstr(e.message, part) || e.code != code)
        fail_msg("code %d \"%s\", expected %d \"%s\"", e.code, e.message, code, part);
    return e.message;
}

/* ---- comparing ------------------------------------------------------------------------------- */

static inline void assert_matrix_equal(const struct matrix *a, const struct matrix *b, const char *what,
                                       int layer)
{
    float row_a[4096], row_b[4096];
    if (a->rows != b->rows || a->cols != b->cols)
        fail_msg("%s of layer %d: %ux%u against %ux%u", what, layer, a->rows, a->cols, b->rows, b->cols);
    for (uint32_t r = 0; r < a->rows; r++) {
        matrix_row_f32(a, r, row_a);
        matrix_row_f32(b, r, row_b);
        if (memcmp(row_a, row_b, a->cols * sizeof *row_a))
            fail_msg("%s of layer %d differs in row %u", what, layer, r);
    }
}

/* a was packed from b: each value within a step (half of one, and at the far end half of what moving zero
 * onto the grid costs), and what rounding scale and bias to bf16 adds. */
static inline void assert_matrix_packed(const struct matrix *a, const struct matrix *b, const char *what,
                                        int layer)
{
    float row_a[4096], row_b[4096];
    assert_int_equal(a->rows, b->rows);
    assert_int_equal(a->cols, b->cols);
    if (!a->bits) {
        assert_matrix_equal(a, b, what, layer);
        return;
    }
    for (uint32_t r = 0; r < a->rows; r++) {
        matrix_row_f32(a, r, row_a);
        matrix_row_f32(b, r, row_b);
        for (uint32_t i = 0; i < a->cols; i++) {
            size_t g = (size_t)r * (a->cols / a->group) + i / a->group;
            double scale = fabs(value_f32(a->scales, a->scale_type, g)),
                   bias = fabs(value_f32(a->biases, a->scale_type, g));
            double tol = scale * (1.001 + ((1 << a->bits) - 1) / 256.0) + bias / 256;
            if (!(fabs((double)row_a[i] - row_b[i]) <= tol))
                fail_msg("%s of layer %d: [%u][%u] is %g, was %g, tolerance %g", what, layer, r, i,
                         (double)row_a[i], (double)row_b[i], tol);
        }
    }
}

typedef void compare_matrix(const struct matrix *a, const struct matrix *b, const char *what, int layer);

/* tol: relative; 0 = the same bits. */
static inline void compare_vector(const struct vector *a, const struct vector *b, int n, double tol,
                                  const char *what, int layer)
{
    for (int i = 0; i < n; i++)
        if (!(fabs((double)a->gain[i] - b->gain[i]) <= tol * fabs((double)b->gain[i])))
            fail_msg("%s of layer %d: [%d] is %.9g, expected %.9g", what, layer, i, (double)a->gain[i],
                     (double)b->gain[i]);
}

static inline void compare_mlp(const struct mlp_weights *a, const struct mlp_weights *b,
                               const struct config *c, int layer, compare_matrix *same)
{
    assert_int_equal(a->type, b->type);
    same(&a->router, &b->router, "router", layer);
    same(&a->shared_gate, &b->shared_gate, "shared gate", layer);
    same(&a->shared_up, &b->shared_up, "shared up", layer);
    same(&a->shared_down, &b->shared_down, "shared down", layer);
    same(&a->shared_expert_gate, &b->shared_expert_gate, "shared expert gate", layer);
    for (int i = 0; i < c->n_experts; i++) {
        same(&a->gate[i], &b->gate[i], "expert gate", layer);
        same(&a->up[i], &b->up[i], "expert up", layer);
        same(&a->down[i], &b->down[i], "expert down", layer);
    }
}

static inline void compare_layer(const struct layer_weights *a, const struct layer_weights *b,
                                 const struct config *c, int layer, double tol, compare_matrix *same)
{
    assert_int_equal(a->type, b->type);
    compare_vector(&a->input_norm, &b->input_norm, c->hidden, tol, "input_norm", layer);
    compare_vector(&a->post_norm, &b->post_norm, c->hidden, tol, "post_norm", layer);
    if (a->type == LAYER_FULL_ATTENTION) {
        same(&a->attn.q, &b->attn.q, "q", layer);
        same(&a->attn.k, &b->attn.k, "k", layer);
        same(&a->attn.v, &b->attn.v, "v", layer);
        same(&a->attn.o, &b->attn.o, "o", layer);
        compare_vector(&a->attn.q_norm, &b->attn.q_norm, c->head_dim, tol, "q_norm", layer);
        compare_vector(&a->attn.k_norm, &b->attn.k_norm, c->head_dim, tol, "k_norm", layer);
    } else {
        int channels = 2 * c->lin_k_heads * c->lin_k_dim + c->lin_v_heads * c->lin_v_dim;
        same(&a->gdn.qkv, &b->gdn.qkv, "qkv", layer);
        same(&a->gdn.z, &b->gdn.z, "z", layer);
        same(&a->gdn.b, &b->gdn.b, "b", layer);
        same(&a->gdn.a, &b->gdn.a, "a", layer);
        same(&a->gdn.out, &b->gdn.out, "out", layer);
        compare_vector(&a->gdn.conv, &b->gdn.conv, channels * c->conv_kernel, 0, "conv", layer);
        compare_vector(&a->gdn.a_log, &b->gdn.a_log, c->lin_v_heads, 0, "A_log", layer);
        compare_vector(&a->gdn.dt_bias, &b->gdn.dt_bias, c->lin_v_heads, 0, "dt_bias", layer);
        compare_vector(&a->gdn.norm, &b->gdn.norm, c->lin_v_dim, tol, "gated norm", layer);
    }
    compare_mlp(&a->mlp, &b->mlp, c, layer, same);
}

static inline void compare_trunk(const struct weights *a, const struct weights *b, double tol,
                                 compare_matrix *same)
{
    same(&a->embed, &b->embed, "embed", -1);
    same(&a->lm_head, &b->lm_head, "lm_head", -1);
    compare_vector(&a->final_norm, &b->final_norm, a->config->hidden, tol, "final norm", -1);
    for (int i = 0; i < a->config->n_layers; i++)
        compare_layer(&a->layers[i], &b->layers[i], a->config, i, tol, same);
}

static inline void compare_head(const struct weights *a, const struct weights *b, double tol,
                                compare_matrix *same)
{
    int hidden = a->config->hidden;
    assert_true(a->has_mtp && b->has_mtp);
    same(&a->mtp.fc, &b->mtp.fc, "fc", 0);
    compare_vector(&a->mtp.norm, &b->mtp.norm, hidden, tol, "mtp.norm", 0);
    compare_vector(&a->mtp.norm_embedding, &b->mtp.norm_embedding, hidden, tol, "pre_fc_norm_embedding", 0);
    compare_vector(&a->mtp.norm_hidden, &b->mtp.norm_hidden, hidden, tol, "pre_fc_norm_hidden", 0);
    compare_layer(&a->mtp.layer, &b->mtp.layer, a->config, 0, tol, same);
}

static inline void assert_packing(const struct matrix *m, int bits, int group)
{
    assert_int_equal(m->bits, bits);
    assert_int_equal(m->group, group);
}

#endif
