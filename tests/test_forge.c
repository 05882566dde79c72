/* test_forge.c - the forge: bytes equal to mlx-lm's, the same from any layout and on any thread count; what is refused. */
#include "tests/forge_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* Same names, types, shapes and bytes, in whatever order they lie. */
static void assert_same_tensors(const char *path_a, const char *path_b)
{
    struct st_file *a, *b;
    struct alula_error e;
    assert_ok(st_open(&a, path_a, &e) && st_open(&b, path_b, &e), e);
    assert_int_equal(a->n_tensors, b->n_tensors);
    for (size_t i = 0; i < a->n_tensors; i++) {
        const struct tensor *x = &a->tensors[i], *y = &b->tensors[i];
        assert_string_equal(x->name, y->name);
        if (x->dtype != y->dtype || x->n_dims != y->n_dims || memcmp(x->shape, y->shape, sizeof x->shape) ||
            x->n_bytes != y->n_bytes || memcmp(x->data, y->data, x->n_bytes))
            fail_msg("%s differs", x->name);
    }
    st_close(a);
    st_close(b);
}

static void test_body_equals_mlx_lm(void **state)
{
    (void)state;
    struct forge_options o = forge_usual("tests/data/mlx4/hf", NULL, scratch_path("mlx4"));
    forge_ok(&o);
    char path[4096];
    snprintf(path, sizeof path, "%s/model.safetensors", o.out);
    assert_same_tensors(path, "tests/data/mlx4/mlx/model.safetensors");

    json_t *ours = read_json(o.out, "config.json"), *theirs = read_json("tests/data/mlx4/mlx", "config.json");
    const char *const same[] = {"architectures", "eos_token_id",        "model_type",
                                "quantization",  "quantization_config", "tie_word_embeddings"};
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        if (!json_equal(json_object_get(ours, same[i]), json_object_get(theirs, same[i])))
            fail_msg("config.json: %s differs from mlx-lm's", same[i]);
    json_decref(ours);
    json_decref(theirs);

    json_t *index = read_json(o.out, "model.safetensors.index.json");
    json_t *expected = read_json("tests/data/mlx4/mlx", "model.safetensors.index.json");
    assert_true(json_equal(json_object_get(index, "weight_map"), json_object_get(expected, "weight_map")));
    json_decref(index);
    json_decref(expected);
}

static void test_bf16_head_equals_mtplx(void **state)
{
    (void)state;
    struct forge_options o = forge_usual("tests/data/mlx4/hf", NULL, scratch_path("keep"));
    o.plan.head_policy = HEAD_KEEP_BF16;
    forge_ok(&o);
    char path[4096];
    snprintf(path, sizeof path, "%s/mtp.safetensors", o.out);
    assert_same_tensors(path, "tests/data/mtplx/golden/tiny-mtplx/mtp.safetensors");
}

static const struct plan_override all_plain[] = {{"*", PLAN_PLAIN_BITS, 0}};

/* Numbered experts in three shards, fused ones in one file, stacked ones as MLX lays them out (made here: a forge that packs nothing),
 * on one, two and three threads. Names are given because they are recorded. */
static void test_any_layout_in_same_bytes_out(void **state)
{
    (void)state;
    struct forge_options numbered =
        forge_usual("tests/data/layouts/trunk", "tests/data/layouts/donor", scratch_path("numbered"));
    numbered.trunk_id = "the body";
    numbered.mtp_id = "the head";
    struct forge_options fused = numbered, stacked = numbered, unpacked = numbered;
    fused.trunk = "tests/data/layouts/donor";
    fused.out = scratch_path("fused");
    fused.n_threads = 3;
    unpacked.plan.overrides = all_plain;
    unpacked.plan.n_overrides = 1;
    unpacked.out = scratch_path("unpacked");
    stacked.trunk = stacked.mtp = unpacked.out;
    stacked.out = scratch_path("stacked");
    stacked.n_threads = 1;
    forge_ok(&numbered);
    forge_ok(&fused);
    assert_same_folder(numbered.out, fused.out);
    forge_ok(&unpacked);
    char path[4096];
    struct alula_error e;
    snprintf(path, sizeof path, "%s/NOTICE", unpacked.out); /* would be carried along, as a parent's should */
    assert_int_equal(unlink(path), 0);
    forge_ok(&stacked);
    assert_same_folder(numbered.out, stacked.out);
    assert_ok(dir_remove(unpacked.out, &e), e);
}

static void test_packed_trunk_keeps_its_codes(void **state)
{
    (void)state;
    struct forge_options o =
        forge_usual("tests/data/mlx-mixed/mlx", "tests/data/mlx4/hf", scratch_path("mixed"));
    forge_ok(&o);
    char path[4096];
    snprintf(path, sizeof path, "%s/model.safetensors", o.out);
    assert_same_tensors(path, "tests/data/mlx-mixed/mlx/model.safetensors");
    struct checkpoint *c;
    struct weights *w;
    struct alula_error e = {0};
    assert_ok(checkpoint_open(&c, o.out, &e) && weights_bind(&w, c, NULL, &e), e);
    assert_true(w->has_mtp);
    assert_int_equal(w->mtp.fc.bits, 4);
    weights_free(w);
    checkpoint_close(c);
}

static bool stop_at_once(void *arg, const char *what, uint64_t done, uint64_t total)
{
    (void)arg, (void)what, (void)done, (void)total;
    return false;
}

static void test_cancelled_leaves_no_artifact(void **state)
{
    (void)state;
    struct forge_options o = forge_usual("models/tiny-trunk", "models/tiny-donor", scratch_path("cancelled"));
    struct forge_report r;
    struct alula_error e = {0};
    const struct watch watch = {stop_at_once, NULL};
    o.watch = &watch;
    assert_false(forge_run(&o, &r, &e));
    assert_int_equal(e.code, ALULA_CANCELLED);
    assert_false(file_is_dir(o.out));
}

static void test_existing_output_is_refused(void **state)
{
    (void)state;
    struct forge_options o = forge_usual("tests/data/layouts/donor", NULL, scratch_path("there"));
    struct forge_report r;
    struct alula_error e = {0};
    assert_int_equal(mkdir(o.out, 0777), 0);
    assert_false(forge_run(&o, &r, &e));
    assert_int_equal(e.code, ALULA_USAGE);
    assert_non_null(strstr(e.message, "there already"));
}

static void test_wrong_dimensions_are_refused(void **state)
{
    (void)state;
    struct forge_options o =
        forge_usual("models/tiny-trunk", "tests/data/layouts/donor", scratch_path("wrong"));
    struct forge_report r;
    struct alula_error e = {0};
    assert_false(forge_run(&o, &r, &e));
    assert_int_equal(e.code, ALULA_MISMATCH);
    assert_false(file_is_dir(o.out));
}

static void test_missing_head_is_refused(void **state)
{
    (void)state;
    struct forge_options o = forge_usual("models/tiny-trunk", NULL, scratch_path("headless"));
    struct forge_report r;
    struct alula_error e = {0};
    assert_false(forge_run(&o, &r, &e));
    assert_int_equal(e.code, ALULA_NOT_FOUND);
    assert_non_null(strstr(e.message, "--mtp"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_body_equals_mlx_lm),
        cmocka_unit_test(test_bf16_head_equals_mtplx),
        cmocka_unit_test(test_any_layout_in_same_bytes_out),
        cmocka_unit_test(test_packed_trunk_keeps_its_codes),
        cmocka_unit_test(test_cancelled_leaves_no_artifact),
        cmocka_unit_test(test_existing_output_is_refused),
        cmocka_unit_test(test_wrong_dimensions_are_refused),
        cmocka_unit_test(test_missing_head_is_refused),
    };
    return cmocka_run_group_tests_name("forge", tests, NULL, NULL);
}
