/* Contract: every layout of one model, and every way to store its head, binds to the same numbers. */
#include "tests/bound.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- layouts --------------------------------------------------------------------------------- */

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
    assert_false(b.w->layers[0].gdn.norm.add_one || b.w->layers[0].gdn.conv.add_one ||
                 b.w->layers[0].gdn.a_log.add_one);
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
    struct bound graft = bind_graft("models/tiny-trunk", "models/tiny-donor"),
                 donor = bind_ok("models/tiny-donor");
    compare_head(graft.w, donor.w, 0, assert_matrix_equal);
    assert_int_equal(graft.w->config->n_stop_ids, 2);
    unbind(&graft);
    unbind(&donor);
}

/* ---- variants of an artifact ----------------------------------------------------------------- */

/* Ways to store the same head. */
static void test_variants_same_head(void **state)
{
    (void)state;
    static const char *const same[] = {
        "complete-fused",
        "complete-numbered",
        "complete-switch",
        "prefix-language-model",
        "embedded-in-trunk",
        "sidecar-custom-name",
        "sidecar-subfolder",
        "sidecar-model-mtp",
        "flat-config",
        "body-bits-7",
        "no-contract",
        "contract-bad-json",
        "undeclared-with-sidecar",
        "numbered-body",
        "contract-engine-too-new",
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
    static const char *const none[] = {"missing-sidecar", "missing-sidecar-no-contract", "extra-key-dangling",
                                       "sidecar-wrong-name", "undeclared-no-head"};
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
        const struct vector *all[] = {&m->norm,
                                      &m->norm_embedding,
                                      &m->norm_hidden,
                                      &m->layer.input_norm,
                                      &m->layer.post_norm,
                                      &m->layer.attn.q_norm,
                                      &m->layer.attn.k_norm};
        for (size_t k = 0; k < 7; k++) assert_int_equal(all[k]->add_one, cases[i].add_one);
        assert_false(b.w->final_norm.add_one);
        if (cases[i].same_gain) compare_head(b.w, base.w, 1.0 / 128, assert_matrix_equal);
        unbind(&b);
    }
    struct bound twice = bind_ok(variant_dir("norms-absolute-declared-delta"));
    assert_true(twice.w->mtp.norm.gain[0] == base.w->mtp.norm.gain[0] + 1.0f);
    unbind(&twice);
    unbind(&base);
}

/* A sidecar with gains beside a raw trunk whose norms are zero-centred, and whose own head it hides: the
 * trunk's convention says nothing of the sidecar. */
static void test_sidecar_beside_raw_trunk(void **state)
{
    (void)state;
    static const char *const files[][2] = {
        {"mlx4/hf", "config.json"},
        {"mlx4/hf", "model.safetensors.index.json"},
        {"mlx4/hf", "model-00001-of-00002.safetensors"},
        {"mlx4/hf", "model-00002-of-00002.safetensors"},
        {"mtplx/golden/tiny-mtplx", "mtp.safetensors"},
    };
    char dir[2048], cwd[2048], from[4400], to[2200];
    assert_non_null(getcwd(cwd, sizeof cwd));
    snprintf(dir, sizeof dir, "%s/raw-with-sidecar", scratch_dir());
    assert_int_equal(mkdir(dir, 0700), 0);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(from, sizeof from, "%s/tests/data/%s/%s", cwd, files[i][0], files[i][1]);
        snprintf(to, sizeof to, "%s/%s", dir, files[i][1]);
        assert_int_equal(symlink(from, to), 0);
    }
    struct bound b = bind_ok(dir), gold = bind_ok(data_path("mtplx/golden/tiny-mtplx"));
    assert_string_equal(b.c->sidecar, "mtp.safetensors");
    assert_true(b.w->final_norm.add_one);
    assert_false(b.w->mtp.norm.add_one);
    compare_head(b.w, gold.w, 0, assert_matrix_equal);
    unbind(&b);
    unbind(&gold);
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
    const struct matrix *x[] = {
        &a->layer.attn.q,    &a->layer.attn.o,      &a->layer.mlp.shared_expert_gate, &a->layer.mlp.gate[2],
        &a->layer.mlp.up[1], &a->layer.mlp.down[3], &a->layer.mlp.shared_down};
    const struct matrix *y[] = {
        &p->layer.attn.q,    &p->layer.attn.o,      &p->layer.mlp.shared_expert_gate, &p->layer.mlp.gate[2],
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
    struct bound undeclared = bind_ok(variant_dir("prequant-undeclared")),
                 fused = bind_ok(variant_dir("prequant-fused"));
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
        {"sidecar-zero-norm", ALULA_FORMAT,
         "the gain mtp.layers.0.input_layernorm.weight is zero everywhere"},
        {"extra-tensor", ALULA_MISMATCH, "1 tensor left over: mtp.shared_head.weight"},
        {"missing-tensor-of-19", ALULA_NOT_FOUND, "1 tensor missing: mtp.layers.0.self_attn.k_norm.weight"},
        {"missing-tensor-of-20", ALULA_NOT_FOUND,
         "1 tensor missing: mtp.layers.0.mlp.switch_mlp.up_proj.weight"},
        {"missing-numbered-expert", ALULA_NOT_FOUND,
         "1 tensor missing: mtp.layers.0.mlp.experts.2.down_proj.weight"},
        {"prequant-missing-scales", ALULA_NOT_FOUND,
         "1 tensor missing: mtp.layers.0.self_attn.q_proj.scales"},
        {"wrong-shape-fc", ALULA_MISMATCH, "mtp.fc.weight is BF16 [64, 64], expected [64, 128]"},
        {"wrong-shape-q-proj", ALULA_MISMATCH, "by its shapes the head has num_attention_heads 1 (trunk: 2)"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_refusal(variant_dir(cases[i].variant), cases[i].code, cases[i].part);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbered_equals_fused),
        cmocka_unit_test(test_trunk_alone),
        cmocka_unit_test(test_mlx_conversion),
        cmocka_unit_test(test_mixed_widths),
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_bundled_models),
        cmocka_unit_test(test_variants_same_head),
        cmocka_unit_test(test_variants_without_head),
        cmocka_unit_test(test_norm_conventions),
        cmocka_unit_test(test_sidecar_beside_raw_trunk),
        cmocka_unit_test(test_packing_at_load),
        cmocka_unit_test(test_prequantized),
        cmocka_unit_test(test_variants_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
