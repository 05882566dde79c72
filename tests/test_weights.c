/* Contract: every layout of one model binds to the same numbers, and a set of tensors that is not exactly right is refused by
 * a list of what is wrong. */
#include "tests/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "artifact/weights.h"

/* ---- opening --------------------------------------------------------------------------------------------------------- */

struct bound {
    struct checkpoint *c, *head;
    struct weights *w;
};

static struct bound bind_graft(const char *trunk, const char *head)
{
    struct alula_error e;
    struct bound b = {0};
    assert_ok(checkpoint_open(&b.c, trunk, &e), e);
    if (head)
        assert_ok(checkpoint_open_head(&b.head, head, &e), e);
    assert_ok(weights_bind(&b.w, b.c, b.head, &e), e);
    assert_ok(weights_check_finite(b.w, &e), e);
    return b;
}

static struct bound bind_ok(const char *dir) { return bind_graft(dir, NULL); }

static void unbind(struct bound *b)
{
    weights_free(b->w);
    checkpoint_close(b->c);
    checkpoint_close(b->head);
}

/* Opening or binding fails with part in the message; returns the message. */
static const char *expect_refusal(const char *dir, enum alula_code code, const char *part)
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

/* ---- comparing --------------------------------------------------------------------------------------------------------- */

static float row_a[4096], row_b[4096];

static void assert_matrix_equal(const struct matrix *a, const struct matrix *b, const char *what, int layer)
{
    if (a->rows != b->rows || a->cols != b->cols)
        fail_msg("%s of layer %d: %ux%u against %ux%u", what, layer, a->rows, a->cols, b->rows, b->cols);
    for (uint32_t r = 0; r < a->rows; r++) {
        matrix_row_f32(a, r, row_a);
        matrix_row_f32(b, r, row_b);
        if (memcmp(row_a, row_b, a->cols * sizeof *row_a))
            fail_msg("%s of layer %d differs in row %u", what, layer, r);
    }
}

/* a was packed from b: each value within a step (half of one, and at the far end half of what moving zero onto the grid
 * costs), and what rounding scale and bias to bf16 adds. */
static void assert_matrix_packed(const struct matrix *a, const struct matrix *b, const char *what, int layer)
{
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
            double scale = fabs(value_f32(a->scales, a->scale_type, g)), bias = fabs(value_f32(a->biases, a->scale_type, g));
            double tol = scale * (1.001 + ((1 << a->bits) - 1) / 256.0) + bias / 256;
            if (!(fabs((double)row_a[i] - row_b[i]) <= tol))
                fail_msg("%s of layer %d: [%u][%u] is %g, was %g, tolerance %g", what, layer, r, i, (double)row_a[i],
                         (double)row_b[i], tol);
        }
    }
}

typedef void compare_matrix(const struct matrix *a, const struct matrix *b, const char *what, int layer);

/* tol: relative; 0 = the same bits. */
static void compare_vector(const struct vector *a, const struct vector *b, int n, double tol, const char *what, int layer)
{
    for (int i = 0; i < n; i++)
        if (!(fabs((double)a->gain[i] - b->gain[i]) <= tol * fabs((double)b->gain[i])))
            fail_msg("%s of layer %d: [%d] is %.9g, expected %.9g", what, layer, i, (double)a->gain[i], (double)b->gain[i]);
}

static void compare_mlp(const struct mlp_weights *a, const struct mlp_weights *b, const struct config *c, int layer,
                        compare_matrix *same)
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

static void compare_layer(const struct layer_weights *a, const struct layer_weights *b, const struct config *c, int layer,
                          double tol, compare_matrix *same)
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

static void compare_trunk(const struct weights *a, const struct weights *b, double tol, compare_matrix *same)
{
    same(&a->embed, &b->embed, "embed", -1);
    same(&a->lm_head, &b->lm_head, "lm_head", -1);
    compare_vector(&a->final_norm, &b->final_norm, a->config->hidden, tol, "final norm", -1);
    for (int i = 0; i < a->config->n_layers; i++)
        compare_layer(&a->layers[i], &b->layers[i], a->config, i, tol, same);
}

static void compare_head(const struct weights *a, const struct weights *b, double tol, compare_matrix *same)
{
    int hidden = a->config->hidden;
    assert_true(a->has_mtp && b->has_mtp);
    same(&a->mtp.fc, &b->mtp.fc, "fc", 0);
    compare_vector(&a->mtp.norm, &b->mtp.norm, hidden, tol, "mtp.norm", 0);
    compare_vector(&a->mtp.norm_embedding, &b->mtp.norm_embedding, hidden, tol, "pre_fc_norm_embedding", 0);
    compare_vector(&a->mtp.norm_hidden, &b->mtp.norm_hidden, hidden, tol, "pre_fc_norm_hidden", 0);
    compare_layer(&a->mtp.layer, &b->mtp.layer, a->config, 0, tol, same);
}

/* ---- layouts ------------------------------------------------------------------------------------------------------------- */

/* Numbered shards without a head, and a fused donor with one: the same trunk, and the graft is the donor. */
static void test_numbered_equals_fused(void **state)
{
    (void)state;
    char trunk[256], donor[256];
    snprintf(trunk, sizeof trunk, "%s", data_path("layouts/trunk"));
    snprintf(donor, sizeof donor, "%s", data_path("layouts/donor"));
    struct bound a = bind_ok(trunk), b = bind_ok(donor), graft = bind_graft(trunk, donor);
    assert_false(a.w->has_mtp);
    assert_int_equal(a.c->n_files, 3);
    compare_trunk(a.w, b.w, 0, assert_matrix_equal);
    compare_trunk(graft.w, b.w, 0, assert_matrix_equal);
    compare_head(graft.w, b.w, 0, assert_matrix_equal);
    assert_true(b.w->final_norm.add_one && b.w->mtp.norm.add_one && b.w->mtp.layer.attn.q_norm.add_one);
    assert_false(b.w->layers[0].gdn.norm.add_one || b.w->layers[0].gdn.conv.add_one || b.w->layers[0].gdn.a_log.add_one);
    /* 1 is added in float32, not in the file's bf16. */
    const struct tensor *t = checkpoint_find(b.c, "model.language_model.norm.weight");
    for (int i = 0; i < 64; i++)
        assert_true(b.w->final_norm.gain[i] == 1.0f + value_f32(t->data, t->dtype, (size_t)i));
    unbind(&a);
    unbind(&b);
    unbind(&graft);
}

/* The trunk alone, with a head in the folder that is not wanted. */
static void test_trunk_alone(void **state)
{
    (void)state;
    struct alula_error e;
    struct checkpoint *c;
    struct weights *w;
    assert_ok(checkpoint_open(&c, data_path("layouts/donor"), &e), e);
    assert_ok(weights_bind_trunk(&w, c, &e), e);
    assert_false(w->has_mtp);
    weights_free(w);
    checkpoint_close(c);
}

static void test_mlx_conversion(void **state)
{
    (void)state;
    struct bound hf = bind_ok(data_path("mlx4/hf")), mlx = bind_ok(data_path("mlx4/mlx"));
    assert_false(mlx.w->has_mtp);
    assert_true(hf.w->final_norm.add_one);
    assert_false(mlx.w->final_norm.add_one);
    /* MLX rounds 1+w to bf16 */
    compare_trunk(mlx.w, hf.w, 1.0 / 256, assert_matrix_packed);
    for (int i = 0; i < 4; i++) {
        const struct mlp_weights *m = &mlx.w->layers[i].mlp;
        assert_int_equal(m->router.bits, 8);
        assert_int_equal(m->shared_expert_gate.bits, 8);
        assert_int_equal(m->gate[7].bits, 4);
        assert_int_equal(m->down[0].group, 64);
    }
    unbind(&hf);
    unbind(&mlx);
}

static void assert_packing(const struct matrix *m, int bits, int group)
{
    assert_int_equal(m->bits, bits);
    assert_int_equal(m->group, group);
}

static void test_mixed_widths(void **state)
{
    (void)state;
    struct bound hf = bind_ok(data_path("mlx4/hf")), b = bind_ok(data_path("mlx-mixed/mlx"));
    const struct layer_weights *l = b.w->layers;
    compare_trunk(b.w, hf.w, 1.0 / 256, assert_matrix_packed);
    assert_packing(&b.w->lm_head, 6, 64);
    assert_packing(&b.w->embed, 8, 32);
    assert_packing(&l[0].gdn.qkv, 8, 128);
    assert_packing(&l[0].gdn.out, 8, 128);
    assert_packing(&l[1].gdn.qkv, 4, 64);
    assert_packing(&l[1].mlp.down[3], 3, 64);
    assert_packing(&l[1].mlp.up[3], 4, 64);
    assert_packing(&l[2].mlp.shared_up, 2, 32);
    assert_packing(&l[3].attn.q, 8, 64);
    assert_packing(&l[3].attn.o, 5, 128);
    assert_packing(&l[0].gdn.a, 0, 0);
    assert_int_equal(l[0].gdn.b.type, DT_BF16);
    assert_packing(&l[3].mlp.router, 8, 64);
    unbind(&hf);
    unbind(&b);
}

/* What MTPLX forged: the body is mlx-lm's, the head the source's with 1 added in bf16. */
static void test_golden(void **state)
{
    (void)state;
    struct bound hf = bind_ok(data_path("mlx4/hf")), mlx = bind_ok(data_path("mlx4/mlx"));
    struct bound gold = bind_ok(data_path("mtplx/golden/tiny-mtplx"));
    compare_trunk(gold.w, mlx.w, 0, assert_matrix_equal);
    compare_head(gold.w, hf.w, 1.0 / 256, assert_matrix_equal);
    assert_false(gold.w->mtp.norm.add_one);
    unbind(&hf);
    unbind(&mlx);
    unbind(&gold);
}

static void test_bundled_models(void **state)
{
    (void)state;
    struct bound graft = bind_graft("models/tiny-trunk", "models/tiny-donor"), donor = bind_ok("models/tiny-donor");
    compare_head(graft.w, donor.w, 0, assert_matrix_equal);
    assert_int_equal(graft.w->config->n_stop_ids, 2);
    unbind(&graft);
    unbind(&donor);
}

/* ---- variants of an artifact --------------------------------------------------------------------------------------------- */

/* Ways to store the same head. */
static void test_variants_same_head(void **state)
{
    (void)state;
    static const char *const same[] = {
        "complete-fused",     "complete-numbered",  "complete-switch",     "prefix-language-model", "embedded-in-trunk",
        "sidecar-custom-name", "sidecar-subfolder", "sidecar-model-mtp",   "flat-config",           "body-bits-7",
        "no-contract",        "contract-bad-json",  "undeclared-with-sidecar", "numbered-body",     "contract-engine-too-new",
    };
    struct bound base = bind_ok(variant_dir("base"));
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        struct bound b = bind_ok(variant_dir(same[i]));
        compare_head(b.w, base.w, 0, assert_matrix_equal);
        compare_trunk(b.w, base.w, 0, assert_matrix_equal);
        unbind(&b);
    }
    struct bound f16 = bind_ok(variant_dir("complete-f16-sidecar"));
    assert_int_equal(f16.w->mtp.fc.type, DT_F16);
    compare_vector(&f16.w->mtp.norm, &base.w->mtp.norm, 64, 1e-3, "f16", 0);
    unbind(&f16);
    unbind(&base);
}

static void test_variants_without_head(void **state)
{
    (void)state;
    static const char *const none[] = {"missing-sidecar", "missing-sidecar-no-contract", "extra-key-dangling", "sidecar-wrong-name",
                                       "undeclared-no-head"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        struct bound b = bind_ok(variant_dir(none[i]));
        assert_false(b.w->has_mtp);
        unbind(&b);
    }
}

/* One wrong decision here costs all acceptance and gives no error, so each way to decide is pinned. */
static void test_norm_conventions(void **state)
{
    (void)state;
    static const struct {
        const char *variant;
        bool add_one, same_gain;
    } cases[] = {
        {"base", false, true},
        {"norms-delta-declared", true, true},
        {"norms-delta-alias", true, true},
        {"norms-delta-undeclared", true, true},
        {"norms-half-delta", false, false},
        {"norms-absolute-declared-delta", true, false},
    };
    struct bound base = bind_ok(variant_dir("base"));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bound b = bind_ok(variant_dir(cases[i].variant));
        const struct mtp_weights *m = &b.w->mtp;
        const struct vector *all[] = {&m->norm,          &m->norm_embedding,     &m->norm_hidden, &m->layer.input_norm,
                                      &m->layer.post_norm, &m->layer.attn.q_norm, &m->layer.attn.k_norm};
        for (size_t k = 0; k < 7; k++)
            assert_int_equal(all[k]->add_one, cases[i].add_one);
        assert_false(b.w->final_norm.add_one);
        if (cases[i].same_gain)
            compare_head(b.w, base.w, 1.0 / 128, assert_matrix_equal);
        unbind(&b);
    }
    struct bound twice = bind_ok(variant_dir("norms-absolute-declared-delta"));
    assert_true(twice.w->mtp.norm.gain[0] == base.w->mtp.norm.gain[0] + 1.0f);
    unbind(&twice);
    unbind(&base);
}

/* Packed beforehand, in MTPLX, and packed here at load: the same words. */
static void test_packing_at_load(void **state)
{
    (void)state;
    struct bound pre = bind_ok(variant_dir("prequant-switch"));
    struct bound all = bind_ok(variant_dir("quantize-at-load-all"));
    struct bound some = bind_ok(variant_dir("quantize-at-load-cyankiwi"));
    struct bound wide = bind_ok(variant_dir("quantize-at-load-8bit"));
    const struct mtp_weights *p = &pre.w->mtp, *a = &all.w->mtp;
    assert_packing(&a->fc, 4, 64);
    assert_packing(&some.w->mtp.fc, 0, 0);
    assert_packing(&some.w->mtp.layer.mlp.router, 4, 64);
    assert_packing(&some.w->mtp.layer.mlp.shared_expert_gate, 4, 64);
    assert_packing(&wide.w->mtp.layer.mlp.gate[3], 8, 64);
    const struct matrix *x[] = {&a->layer.attn.q, &a->layer.attn.o, &a->layer.mlp.shared_expert_gate, &a->layer.mlp.gate[2],
                                &a->layer.mlp.up[1], &a->layer.mlp.down[3], &a->layer.mlp.shared_down};
    const struct matrix *y[] = {&p->layer.attn.q, &p->layer.attn.o, &p->layer.mlp.shared_expert_gate, &p->layer.mlp.gate[2],
                                &p->layer.mlp.up[1], &p->layer.mlp.down[3], &p->layer.mlp.shared_down};
    for (size_t i = 0; i < sizeof x / sizeof *x; i++) {
        size_t n_groups = (size_t)x[i]->rows * (x[i]->cols / 64);
        assert_packing(y[i], 4, 64);
        assert_memory_equal(x[i]->data, y[i]->data, x[i]->rows * matrix_row_bytes(x[i]));
        assert_memory_equal(x[i]->scales, y[i]->scales, 2 * n_groups);
        assert_memory_equal(x[i]->biases, y[i]->biases, 2 * n_groups);
    }
    unbind(&pre);
    unbind(&all);
    unbind(&some);
    unbind(&wide);
}

static void test_prequantized(void **state)
{
    (void)state;
    static const char *const mixed[] = {"prequant-mixed", "prequant-mixed-in-quantization"};
    struct bound base = bind_ok(variant_dir("base")), pre = bind_ok(variant_dir("prequant-switch"));
    struct bound undeclared = bind_ok(variant_dir("prequant-undeclared")), fused = bind_ok(variant_dir("prequant-fused"));
    compare_head(pre.w, base.w, 0, assert_matrix_packed);
    compare_head(undeclared.w, pre.w, 0, assert_matrix_equal);
    assert_packing(&fused.w->mtp.layer.attn.q, 4, 64);
    assert_packing(&fused.w->mtp.layer.mlp.gate[0], 0, 0);
    compare_head(fused.w, base.w, 0, assert_matrix_packed);
    for (size_t i = 0; i < 2; i++) {
        struct bound b = bind_ok(variant_dir(mixed[i]));
        assert_packing(&b.w->mtp.layer.attn.k, 8, 64);
        assert_packing(&b.w->mtp.layer.mlp.shared_up, 6, 32);
        assert_packing(&b.w->mtp.layer.mlp.up[0], 4, 64);
        compare_head(b.w, base.w, 0, assert_matrix_packed);
        unbind(&b);
    }
    unbind(&base);
    unbind(&pre);
    unbind(&undeclared);
    unbind(&fused);
}

static void test_variants_refused(void **state)
{
    (void)state;
    static const struct {
        const char *variant;
        enum alula_code code;
        const char *part;
    } cases[] = {
        {"no-trunk", ALULA_NOT_FOUND, "no weights here"},
        {"unknown-architecture", ALULA_UNSUPPORTED, "\"model_type\" is \"foo_text\""},
        {"sidecar-empty-file", ALULA_FORMAT, "mtp.safetensors: 0 bytes are no safetensors file"},
        {"sidecar-garbage-header", ALULA_FORMAT, "mtp.safetensors: not valid JSON"},
        {"sidecar-cut", ALULA_FORMAT, "tensor mtp.layers.0.self_attn.v_proj.weight ends at byte 205952"},
        {"sidecar-zero-norm", ALULA_FORMAT, "the gain mtp.layers.0.input_layernorm.weight is zero everywhere"},
        {"extra-tensor", ALULA_MISMATCH, "1 tensor left over: mtp.shared_head.weight"},
        {"missing-tensor-of-19", ALULA_NOT_FOUND, "1 tensor missing: mtp.layers.0.self_attn.k_norm.weight"},
        {"missing-tensor-of-20", ALULA_NOT_FOUND, "1 tensor missing: mtp.layers.0.mlp.switch_mlp.up_proj.weight"},
        {"missing-numbered-expert", ALULA_NOT_FOUND, "1 tensor missing: mtp.layers.0.mlp.experts.2.down_proj.weight"},
        {"prequant-missing-scales", ALULA_NOT_FOUND, "1 tensor missing: mtp.layers.0.self_attn.q_proj.scales"},
        {"wrong-shape-fc", ALULA_MISMATCH, "mtp.fc.weight is BF16 [64, 64], expected [64, 128]"},
        {"wrong-shape-q-proj", ALULA_MISMATCH, "by its shapes the head has num_attention_heads 1 (trunk: 2)"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_refusal(variant_dir(cases[i].variant), cases[i].code, cases[i].part);
}

/* ---- folders changed by hand ----------------------------------------------------------------------------------------------- */

struct draft {
    char name[200];
    enum dtype type;
    int n_dims;
    uint64_t shape[TENSOR_DIMS_MAX];
    unsigned char *data; /* owned */
    size_t n_bytes;
};

/* A model in memory, to be changed and written as one file. */
struct folder {
    json_t *config;
    struct draft *drafts;
    size_t n;
};

static void folder_load(struct folder *f, const char *dir)
{
    struct alula_error e;
    struct checkpoint *c;
    assert_ok(checkpoint_open(&c, dir, &e), e);
    f->config = json_deep_copy(c->config_json);
    json_object_del(f->config, "mlx_lm_extra_tensors");
    f->n = c->n_tensors;
    f->drafts = calloc(f->n + 8, sizeof *f->drafts);
    for (size_t i = 0; i < f->n; i++) {
        const struct tensor *t = c->tensors[i];
        struct draft *d = &f->drafts[i];
        snprintf(d->name, sizeof d->name, "%s", t->name);
        d->type = t->dtype;
        d->n_dims = t->n_dims;
        memcpy(d->shape, t->shape, sizeof d->shape);
        d->n_bytes = t->n_bytes;
        d->data = malloc(t->n_bytes);
        memcpy(d->data, t->data, t->n_bytes);
    }
    checkpoint_close(c);
}

static void folder_free(struct folder *f)
{
    for (size_t i = 0; i < f->n; i++)
        free(f->drafts[i].data);
    free(f->drafts);
    json_decref(f->config);
}

static struct draft *draft(struct folder *f, const char *name)
{
    for (size_t i = 0; i < f->n; i++)
        if (!strcmp(f->drafts[i].name, name))
            return &f->drafts[i];
    fail_msg("no tensor %s", name);
    return NULL;
}

static void folder_drop(struct folder *f, const char *name)
{
    struct draft *d = draft(f, name);
    free(d->data);
    *d = f->drafts[--f->n];
}

static struct draft *folder_copy(struct folder *f, const char *from, const char *to)
{
    struct draft *old = draft(f, from), *d = &f->drafts[f->n++];
    *d = *old;
    d->data = malloc(old->n_bytes);
    memcpy(d->data, old->data, old->n_bytes);
    snprintf(d->name, sizeof d->name, "%s", to);
    return d;
}

static void put_file(const char *dir, const char *name, const struct buf *head, const struct folder *f)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    fwrite(head->data, 1, head->len, out);
    for (size_t i = 0; f && i < f->n; i++)
        fwrite(f->drafts[i].data, 1, f->drafts[i].n_bytes, out);
    assert_int_equal(fclose(out), 0);
}

/* Writes it and returns the folder's name. By hand: the library's writer waits for the disk. */
static const char *folder_save(const struct folder *f)
{
    static char dir[2048];
    static int n;
    struct buf b;
    size_t at = 0;
    snprintf(dir, sizeof dir, "%s/folder-%d", scratch_dir(), n++);
    assert_int_equal(mkdir(dir, 0700), 0);
    buf_init(&b, 0);
    json_write(&b, f->config, 1);
    put_file(dir, "config.json", &b, NULL);
    buf_clear(&b);
    buf_add(&b, "\0\0\0\0\0\0\0\0{", 9);
    for (size_t i = 0; i < f->n; i++) {
        const struct draft *d = &f->drafts[i];
        buf_fmt(&b, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", i ? "," : "", d->name, dtype_name(d->type));
        for (int k = 0; k < d->n_dims; k++)
            buf_fmt(&b, "%s%llu", k ? "," : "", (unsigned long long)d->shape[k]);
        buf_fmt(&b, "],\"data_offsets\":[%zu,%zu]}", at, at + d->n_bytes);
        at += d->n_bytes;
    }
    buf_byte(&b, '}');
    for (int i = 0; i < 8; i++)
        b.data[i] = (char)((b.len - 8) >> 8 * i);
    put_file(dir, "model.safetensors", &b, f);
    buf_free(&b);
    return dir;
}

static json_t *quantization(const struct folder *f) { return json_object_get(f->config, "quantization"); }

#define L0 "language_model.model.layers.0."
#define L1 "language_model.model.layers.1."

/* All three kinds of complaint in one sentence, each with its count. */
static void test_lists(void **state)
{
    (void)state;
    struct folder f;
    folder_load(&f, variant_dir("missing-sidecar"));
    folder_drop(&f, L0 "linear_attn.in_proj_z.weight");
    folder_drop(&f, L0 "linear_attn.in_proj_z.scales");
    folder_drop(&f, "language_model.model.norm.weight");
    folder_copy(&f, L1 "self_attn.q_norm.weight", L1 "self_attn.sinks");
    folder_copy(&f, L1 "self_attn.q_norm.weight", "something.else");
    struct draft *d = draft(&f, L1 "input_layernorm.weight");
    d->shape[0] = 32;
    d->n_bytes = 64;
    const char *message = expect_refusal(folder_save(&f), ALULA_MISMATCH, "the trunk");
    assert_non_null(strstr(message, "1 tensor mis-shaped: " L1 "input_layernorm.weight is BF16 [32], expected floats [64]"));
    assert_non_null(strstr(message, "2 tensors missing: " L0 "linear_attn.in_proj_z.weight, language_model.model.norm.weight"));
    assert_non_null(strstr(message, "3 tensors left over: " L0 "linear_attn.in_proj_z.biases, " L1 "self_attn.sinks, "
                                    "something.else"));
    folder_free(&f);

    /* A whole layer gone: the count is right, the names are a few and dots. */
    folder_load(&f, variant_dir("missing-sidecar"));
    for (size_t i = 0; i < f.n; i++) {
        if (strncmp(f.drafts[i].name, L1, strlen(L1)))
            continue;
        free(f.drafts[i].data);
        f.drafts[i--] = f.drafts[--f.n];
    }
    message = expect_refusal(folder_save(&f), ALULA_NOT_FOUND, "15 tensors missing: " L1 "input_layernorm.weight, ");
    assert_non_null(strstr(message, ", ..."));
    folder_free(&f);
}

static void test_packed_shapes(void **state)
{
    (void)state;
    static const struct {
        const char *tensor;
        uint64_t dims[2];
        const char *part;
    } cases[] = {
        {L1 "self_attn.q_proj.weight", {256, 7}, "is U32 [256, 7], expected U32 codes of [256, 64]"},
        {L1 "self_attn.q_proj.weight", {128, 8}, "is U32 [128, 8], expected U32 codes of [256, 64]"},
        {L1 "self_attn.q_proj.weight", {256, 2}, "is U32 [256, 2], expected scales of 256 rows of 64 columns at 1 bits"},
        {L1 "self_attn.q_proj.scales", {128, 1}, "q_proj.scales is BF16 [128, 1], expected scales of 256 rows"},
        {L1 "self_attn.o_proj.scales", {64, 1}, "o_proj.biases is BF16 [64, 2], expected BF16 [64, 1] like the scales"},
        {L1 "self_attn.o_proj.biases", {64, 1}, "o_proj.biases is BF16 [64, 1], expected BF16 [64, 2] like the scales"},
        {L1 "self_attn.q_proj.scales", {256, 0}, "q_proj.scales is BF16 [256, 0]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct folder f;
        folder_load(&f, variant_dir("missing-sidecar"));
        struct draft *d = draft(&f, cases[i].tensor);
        memcpy(d->shape, cases[i].dims, sizeof cases[i].dims);
        d->n_bytes = cases[i].dims[0] * cases[i].dims[1] * dtype_size(d->type);
        expect_refusal(folder_save(&f), ALULA_MISMATCH, cases[i].part);
        folder_free(&f);
    }
}

/* Of a packed module the config may say only what is true. */
static void test_quantization_entries(void **state)
{
    (void)state;
    static const struct {
        const char *key, *value;
        enum alula_code code;
        const char *part;
    } cases[] = {
        {L1 "self_attn.q_proj", "{\"bits\":8,\"group_size\":64}", ALULA_MISMATCH, "has 4 bits and groups of 64 by its shape"},
        {L1 "self_attn.q_proj", "{\"bits\":4,\"group_size\":32}", ALULA_MISMATCH, "config.json says 4 and 32"},
        {L1 "self_attn.q_proj", "false", ALULA_MISMATCH, "config.json says that the module is not quantized"},
        {L1 "self_attn.q_proj", "{\"bits\":4,\"group_size\":64,\"mode\":\"nvfp4\"}", ALULA_UNSUPPORTED, "in mode \"nvfp4\""},
        {"language_model.lm_head", "{\"bits\":6,\"group_size\":64}", ALULA_MISMATCH, "language_model.lm_head.weight has 4 bits"},
        {"mode", "\"mxfp4\"", ALULA_UNSUPPORTED, "in mode \"mxfp4\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct alula_error e;
        struct folder f;
        folder_load(&f, variant_dir("missing-sidecar"));
        json_t *value = json_parse(cases[i].value, strlen(cases[i].value), 4, "test", &e);
        assert_ok(value, e);
        json_object_set_new(quantization(&f), cases[i].key, value);
        expect_refusal(folder_save(&f), cases[i].code, cases[i].part);
        folder_free(&f);
    }
    /* A mode without biases is named as such, not called a missing tensor. */
    struct folder f;
    folder_load(&f, variant_dir("missing-sidecar"));
    json_object_set_new(quantization(&f), L1 "self_attn.k_proj", json_pack("{s:i,s:i,s:s}", "bits", 4, "group_size", 32,
                                                                            "mode", "mxfp4"));
    folder_drop(&f, L1 "self_attn.k_proj.biases");
    expect_refusal(folder_save(&f), ALULA_UNSUPPORTED, "k_proj.weight is quantized in mode \"mxfp4\"");
    folder_free(&f);
}

static void test_not_finite(void **state)
{
    (void)state;
    struct alula_error e;
    struct folder f;
    folder_load(&f, variant_dir("missing-sidecar"));
    memcpy(draft(&f, L1 "self_attn.q_norm.weight")->data + 6, "\xc0\x7f", 2); /* NaN */
    expect_refusal(folder_save(&f), ALULA_FORMAT, L1 "self_attn.q_norm.weight is not finite at value 3");
    folder_free(&f);

    static const char *const scales[][2] = {
        {L1 "mlp.switch_mlp.up_proj.scales", "layer 1: row 5 of expert 0"},
        {L0 "linear_attn.in_proj_qkv.biases", "layer 0: row 5 of in_proj_qkv"},
        {"language_model.lm_head.scales", "row 5 of lm_head"},
    };
    for (size_t i = 0; i < 3; i++) {
        folder_load(&f, variant_dir("missing-sidecar"));
        memcpy(draft(&f, scales[i][0])->data + 10, "\x80\x7f", 2); /* infinity */
        struct checkpoint *c;
        struct weights *w;
        assert_ok(checkpoint_open(&c, folder_save(&f), &e), e);
        assert_ok(weights_bind(&w, c, NULL, &e), e);
        assert_false(weights_check_finite(w, &e));
        if (!strstr(e.message, scales[i][1]))
            fail_msg("%s", e.message);
        weights_free(w);
        checkpoint_close(c);
        folder_free(&f);
    }
}

/* gate and up of all experts in one packed tensor. */
static void test_packed_fused_experts(void **state)
{
    (void)state;
    static const char *const leaves[] = {".weight", ".scales", ".biases"};
    struct folder f;
    char name[200];
    folder_load(&f, variant_dir("missing-sidecar"));
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, L0 "mlp.switch_mlp.gate_proj%s", leaves[i]);
        struct draft *gate = draft(&f, name);
        snprintf(name, sizeof name, L0 "mlp.switch_mlp.up_proj%s", leaves[i]);
        struct draft *up = draft(&f, name), both = *gate;
        size_t part = gate->n_bytes / 4;
        both.shape[1] *= 2;
        both.n_bytes *= 2;
        both.data = malloc(both.n_bytes);
        for (size_t x = 0; x < 4; x++) {
            memcpy(both.data + 2 * x * part, gate->data + x * part, part);
            memcpy(both.data + (2 * x + 1) * part, up->data + x * part, part);
        }
        snprintf(both.name, sizeof both.name, L0 "mlp.switch_mlp.gate_up_proj%s", leaves[i]);
        free(gate->data);
        *gate = both;
        folder_drop(&f, name);
    }
    struct bound a = bind_ok(folder_save(&f)), base = bind_ok(variant_dir("missing-sidecar"));
    compare_trunk(a.w, base.w, 0, assert_matrix_equal);
    assert_packing(&a.w->layers[0].mlp.up[3], 4, 64);
    unbind(&a);
    unbind(&base);
    folder_free(&f);
}

static void test_tied_and_dense(void **state)
{
    (void)state;
    static const char *const gone[] = {"mlp.gate.weight", "mlp.shared_expert_gate.weight", "mlp.experts.gate_up_proj",
                                       "mlp.experts.down_proj"};
    static const char *const moved[] = {"gate_proj", "up_proj", "down_proj"};
    struct folder f;
    char name[200];
    folder_load(&f, data_path("layouts/donor"));
    json_object_set_new(f.config, "tie_word_embeddings", json_true());
    json_object_set_new(json_object_get(f.config, "text_config"), "tie_word_embeddings", json_true());
    expect_refusal(folder_save(&f), ALULA_MISMATCH, "1 tensor left over: lm_head.weight");
    folder_drop(&f, "lm_head.weight");
    json_object_set_new(json_object_get(f.config, "text_config"), "mlp_only_layers", json_pack("[i]", 1));
    json_object_set_new(json_object_get(f.config, "text_config"), "intermediate_size", json_integer(64));
    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "model.language_model.layers.1.%s", gone[i]);
        folder_drop(&f, name);
    }
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "model.language_model.layers.1.mlp.shared_expert.%s.weight", moved[i]);
        struct draft *d = draft(&f, name);
        snprintf(d->name, sizeof d->name, "model.language_model.layers.1.mlp.%s.weight", moved[i]);
    }
    struct bound a = bind_ok(folder_save(&f)), donor = bind_ok(data_path("layouts/donor"));
    assert_ptr_equal(a.w->lm_head.data, a.w->embed.data);
    assert_matrix_equal(&a.w->lm_head, &donor.w->embed, "embed", -1);
    assert_int_equal(a.w->layers[1].mlp.type, MLP_DENSE);
    assert_matrix_equal(a.w->layers[1].mlp.up, &donor.w->layers[1].mlp.shared_up, "up", 1);
    assert_matrix_equal(a.w->layers[1].mlp.down, &donor.w->layers[1].mlp.shared_down, "down", 1);
    compare_head(a.w, donor.w, 0, assert_matrix_equal);
    unbind(&a);
    unbind(&donor);
    folder_free(&f);
}

static void test_contradictions(void **state)
{
    (void)state;
    struct folder f;
    /* One convention for a whole folder. */
    folder_load(&f, data_path("layouts/donor"));
    struct draft *d = draft(&f, "model.language_model.layers.0.linear_attn.conv1d.weight");
    d->shape[1] = d->shape[2];
    d->shape[2] = 1;
    expect_refusal(folder_save(&f), ALULA_MISMATCH, "one folder must be one or the other");
    folder_free(&f);
    /* Two prefixes for one parameter. */
    folder_load(&f, data_path("layouts/donor"));
    folder_copy(&f, "model.language_model.norm.weight", "model.norm.weight");
    expect_refusal(folder_save(&f), ALULA_MISMATCH, "are the same parameter");
    folder_free(&f);
    /* Whole numbers where floats belong. */
    folder_load(&f, data_path("layouts/donor"));
    draft(&f, "lm_head.weight")->type = DT_I8;
    draft(&f, "lm_head.weight")->n_bytes /= 2;
    expect_refusal(folder_save(&f), ALULA_MISMATCH, "lm_head.weight is I8 [256, 64], expected [256, 64]");
    folder_free(&f);
    /* Experts in the other axis order: refused, never read the wrong way round. */
    folder_load(&f, data_path("layouts/donor"));
    d = draft(&f, "mtp.layers.0.mlp.experts.gate_up_proj");
    d->shape[1] = 64;
    d->shape[2] = 128;
    expect_refusal(folder_save(&f), ALULA_MISMATCH, "gate_up_proj is BF16 [8, 64, 128], expected [8, 128, 64]");
    folder_free(&f);
    /* A word for the norm encoding that nobody defined. */
    folder_load(&f, data_path("layouts/donor"));
    json_object_set_new(f.config, "mtplx_mtp_norm_encoding", json_string("sideways"));
    expect_refusal(folder_save(&f), ALULA_UNSUPPORTED, "\"sideways\"");
    folder_free(&f);
}

static void test_head_of_another_trunk(void **state)
{
    (void)state;
    struct alula_error e;
    struct checkpoint *trunk, *head;
    struct weights *w = NULL;
    assert_ok(checkpoint_open(&trunk, data_path("layouts/trunk"), &e), e);
    assert_ok(checkpoint_open_head(&head, data_path("mlx4/hf"), &e), e);
    assert_false(weights_bind(&w, trunk, head, &e));
    assert_int_equal(e.code, ALULA_MISMATCH);
    static const char *const parts[] = {"made for another trunk", "vocab_size 512 (trunk: 256)", "hidden_size 128 (trunk: 64)",
                                        "num_attention_heads 4 (trunk: 2)", "num_key_value_heads 2 (trunk: 1)"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (!strstr(e.message, parts[i]))
            fail_msg("\"%s\" is not in: %s", parts[i], e.message);
    checkpoint_close(head);
    /* The same from a file without a config: the shapes tell. */
    assert_ok(checkpoint_open_head(&head, data_path("mtplx/golden/tiny-mtplx/mtp.safetensors"), &e), e);
    assert_false(weights_bind(&w, trunk, head, &e));
    assert_non_null(strstr(e.message, "by its shapes the head has hidden_size 128 (trunk: 64)"));
    checkpoint_close(head);
    checkpoint_close(trunk);
    assert_null(w);
}

/* ---- memory ------------------------------------------------------------------------------------------------------------------ */

/* Every single allocation of open and bind may fail: a sentence about memory, nothing lost (the sanitizer looks), and in the end
 * success. */
static void test_out_of_memory(void **state)
{
    (void)state;
    char dir[4096];
    snprintf(dir, sizeof dir, "%s", variant_dir("quantize-at-load-all"));
    bool done = false;
    int n = 0;
    for (; !done; n++) {
        struct alula_error e = {0};
        struct checkpoint *c = NULL;
        struct weights *w = NULL;
        mem_fail_after(n);
        done = checkpoint_open(&c, dir, &e) && weights_bind(&w, c, NULL, &e);
        mem_fail_after(-1);
        if (!done && e.code != ALULA_NOMEM)
            fail_msg("allocation %d: code %d \"%s\"", n, e.code, e.message);
        weights_free(w);
        checkpoint_close(c);
    }
    assert_true(n > 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbered_equals_fused), cmocka_unit_test(test_trunk_alone),
        cmocka_unit_test(test_mlx_conversion),        cmocka_unit_test(test_mixed_widths),
        cmocka_unit_test(test_golden),                cmocka_unit_test(test_bundled_models),
        cmocka_unit_test(test_variants_same_head),    cmocka_unit_test(test_variants_without_head),
        cmocka_unit_test(test_norm_conventions),      cmocka_unit_test(test_packing_at_load),
        cmocka_unit_test(test_prequantized),          cmocka_unit_test(test_variants_refused),
        cmocka_unit_test(test_lists),                 cmocka_unit_test(test_packed_shapes),
        cmocka_unit_test(test_quantization_entries),  cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_packed_fused_experts),  cmocka_unit_test(test_tied_and_dense),
        cmocka_unit_test(test_contradictions),        cmocka_unit_test(test_head_of_another_trunk),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
