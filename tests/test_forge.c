/* test_forge.c - the forge: bytes equal to mlx-lm's, the same from any layout, on any thread count, whole or absent. */
#include "tests/support.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "forge/forge.h"

static struct forge_options options(const char *trunk, const char *mtp, const char *out)
{
    return (struct forge_options){
        .trunk = trunk, .mtp = mtp, .out = out, .plan = {.bits = 4, .group = 64}, .n_threads = 2};
}

static const char *out_path(const char *name)
{
    static char paths[4][4096];
    static int turn;
    char *p = paths[turn++ % 4];
    snprintf(p, sizeof paths[0], "%s/%s", scratch_dir(), name);
    return p;
}

static void forge_ok(const struct forge_options *o)
{
    struct forge_report r;
    struct alula_error e = {0};
    assert_ok(forge_run(o, &r, &e), e);
}

static struct buf read_path(const char *dir, const char *name)
{
    char path[4096];
    struct buf b;
    struct alula_error e;
    buf_init(&b, 0);
    assert_ok(path_join(path, sizeof path, dir, name, &e) && file_read(path, 0, &b, &e), e);
    return b;
}

/* Every file of two folders, byte for byte. */
static void assert_same_folder(const char *a, const char *b)
{
    char **names_a, **names_b;
    size_t n_a, n_b;
    struct alula_error e;
    assert_ok(dir_list(a, &names_a, &n_a, &e) && dir_list(b, &names_b, &n_b, &e), e);
    assert_int_equal(n_a, n_b);
    for (size_t i = 0; i < n_a; i++) {
        assert_string_equal(names_a[i], names_b[i]);
        struct buf x = read_path(a, names_a[i]), y = read_path(b, names_b[i]);
        if (x.len != y.len || memcmp(x.data, y.data, x.len)) fail_msg("%s differs between %s and %s", names_a[i], a, b);
        buf_free(&x);
        buf_free(&y);
    }
    mem_free(names_a);
    mem_free(names_b);
}

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

static json_t *read_json(const char *dir, const char *name)
{
    char path[4096];
    struct alula_error e;
    assert_ok(path_join(path, sizeof path, dir, name, &e), e);
    json_t *v = json_parse_file(path, 1u << 24, 64, &e);
    assert_ok(v, e);
    return v;
}

static void test_body_equals_mlx_lm(void **state)
{
    (void)state;
    struct forge_options o = options("tests/data/mlx4/hf", NULL, out_path("mlx4"));
    forge_ok(&o);
    char path[4096];
    snprintf(path, sizeof path, "%s/model.safetensors", o.out);
    assert_same_tensors(path, "tests/data/mlx4/mlx/model.safetensors");

    json_t *ours = read_json(o.out, "config.json"), *theirs = read_json("tests/data/mlx4/mlx", "config.json");
    const char *const same[] = {"architectures", "eos_token_id",        "model_type", "quantization",
                                "quantization_config", "tie_word_embeddings"};
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
    struct forge_options o = options("tests/data/mlx4/hf", NULL, out_path("keep"));
    o.plan.head_policy = HEAD_KEEP_BF16;
    forge_ok(&o);
    char path[4096];
    snprintf(path, sizeof path, "%s/mtp.safetensors", o.out);
    assert_same_tensors(path, "tests/data/mtplx/golden/tiny-mtplx/mtp.safetensors");
}

static void test_any_layout_in_same_bytes_out(void **state)
{
    (void)state;
    struct forge_options graft = options("tests/data/layouts/trunk", "tests/data/layouts/donor", out_path("numbered"));
    struct forge_options whole = options("tests/data/layouts/donor", NULL, out_path("fused"));
    forge_ok(&graft);
    whole.n_threads = 3;
    forge_ok(&whole);
    assert_same_folder(graft.out, whole.out);
}

static void test_packed_trunk_keeps_its_codes(void **state)
{
    (void)state;
    struct forge_options o = options("tests/data/mlx-mixed/mlx", "tests/data/mlx4/hf", out_path("mixed"));
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

static bool stop_at_once(void *arg, uint64_t done, uint64_t total)
{
    (void)arg, (void)done, (void)total;
    return false;
}

static void test_cancelled_leaves_no_artifact(void **state)
{
    (void)state;
    struct forge_options o = options("models/tiny-trunk", "models/tiny-donor", out_path("cancelled"));
    struct forge_report r;
    struct alula_error e = {0};
    o.tell = stop_at_once;
    assert_false(forge_run(&o, &r, &e));
    assert_int_equal(e.code, ALULA_CANCELLED);
    assert_false(file_is_dir(o.out));
}

static void test_existing_output_is_refused(void **state)
{
    (void)state;
    struct forge_options o = options("tests/data/layouts/donor", NULL, out_path("there"));
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
    struct forge_options o = options("models/tiny-trunk", "tests/data/layouts/donor", out_path("wrong"));
    struct forge_report r;
    struct alula_error e = {0};
    assert_false(forge_run(&o, &r, &e));
    assert_int_equal(e.code, ALULA_MISMATCH);
    assert_false(file_is_dir(o.out));
}

static void test_missing_head_is_refused(void **state)
{
    (void)state;
    struct forge_options o = options("models/tiny-trunk", NULL, out_path("headless"));
    struct forge_report r;
    struct alula_error e = {0};
    assert_false(forge_run(&o, &r, &e));
    assert_int_equal(e.code, ALULA_NOT_FOUND);
    assert_non_null(strstr(e.message, "--mtp"));
}

/* A full disk stands in for by a limit on file sizes: the write fails in the middle of a shard. */
static void test_full_disk(void **state)
{
    (void)state;
    struct forge_options o = options("models/tiny-trunk", "models/tiny-donor", out_path("full"));
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        struct rlimit lim = {1 << 20, 1 << 20};
        struct forge_report r;
        struct alula_error e = {0};
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &lim);
        _exit(!forge_run(&o, &r, &e) && e.code == ALULA_IO && strstr(e.message, "model.safetensors") ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_false(file_is_dir(o.out));
}

/* Killed at instants spread over a run: the artifact is absent or whole, and going on gives the same bytes. */
static void test_killed_at_any_instant(void **state)
{
    (void)state;
    struct forge_options ref = options("models/tiny-trunk", "models/tiny-donor", out_path("reference"));
    struct timespec t0, t1;
    clock_gettime(CLOCK_MONOTONIC, &t0);
    forge_ok(&ref);
    clock_gettime(CLOCK_MONOTONIC, &t1);
    double span_us = (double)(t1.tv_sec - t0.tv_sec) * 1e6 + (double)(t1.tv_nsec - t0.tv_nsec) / 1e3;

    struct forge_options o = options(ref.trunk, ref.mtp, out_path("killed"));
    enum { KILLS = 60 };
    for (int i = 0; i < KILLS; i++) {
        struct alula_error e;
        int status;
        pid_t pid = fork();
        if (pid == 0) {
            struct forge_report r;
            _exit(forge_run(&o, &r, &e) ? 0 : 1);
        }
        usleep((useconds_t)(span_us * 1.2 * (i * 37 % KILLS) / KILLS));
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
        if (file_is_dir(o.out)) {
            assert_same_folder(ref.out, o.out);
            assert_ok(dir_remove(o.out, &e), e);
        }
    }
    forge_ok(&o);
    assert_same_folder(ref.out, o.out);
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
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_killed_at_any_instant),
    };
    return cmocka_run_group_tests_name("forge", tests, NULL, NULL);
}
