/* Contract: which files of a folder are opened, that nothing outside it is, and what a broken folder is told.
 */
#include "tests/support.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "artifact/checkpoint.h"
#include "artifact/contract.h"

static char dir[2048];

/* An empty folder with a valid config, ready for files. */
static void fresh_folder(void)
{
    static int n;
    struct alula_error e;
    struct buf config = read_data("mtplx/variants/base/config.json");
    char path[4096];
    snprintf(dir, sizeof dir, "%s/checkpoint-%d", scratch_dir(), n++);
    assert_int_equal(mkdir(dir, 0700), 0);
    snprintf(path, sizeof path, "%s/config.json", dir);
    assert_ok(file_write(path, config.data, config.len, &e), e);
    buf_free(&config);
}

static void put_text(const char *name, const char *text)
{
    struct alula_error e;
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_ok(file_write(path, text, strlen(text), &e), e);
}

/* A file with the given tensors of two bytes each; NULL ends the list. */
static void put_tensors(const char *name, const char *const *tensors)
{
    struct alula_error e;
    struct st_writer *w;
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_ok(st_writer_open(&w, path, NULL, &e), e);
    for (size_t i = 0; tensors[i]; i++)
        assert_ok(st_writer_declare(w, tensors[i], DT_BF16, 1, (uint64_t[]){1}, &e), e);
    assert_ok(st_writer_begin(w, &e), e);
    for (size_t i = 0; tensors[i]; i++) assert_ok(st_writer_append(w, "\x80\x3f", 2, &e), e);
    assert_ok(st_writer_commit(w, &e), e);
    st_writer_close(w);
}
#define TENSORS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void expect_open_error(enum alula_code code, const char *part)
{
    struct alula_error e = {0};
    struct checkpoint *c = NULL;
    if (checkpoint_open(&c, dir, &e)) fail_msg("opened, expected \"%s\"", part);
    assert_null(c);
    if (!strstr(e.message, part) || e.code != code)
        fail_msg("code %d \"%s\", expected %d \"%s\"", e.code, e.message, code, part);
}

static struct checkpoint *open_ok(void)
{
    struct alula_error e;
    struct checkpoint *c;
    assert_ok(checkpoint_open(&c, dir, &e), e);
    return c;
}

/* ---- index ----------------------------------------------------------------------------------- */

#define INDEX "model.safetensors.index.json"

static void test_index(void **state)
{
    (void)state;
    fresh_folder();
    put_text(INDEX, "{\"weight_map\":{\"model.a\":\"one.safetensors\",\"model.b\":\"two.safetensors\"}}");
    expect_open_error(ALULA_NOT_FOUND, "the index names shard one.safetensors, which is not in the folder");
    put_tensors("one.safetensors", TENSORS("model.a"));
    put_tensors("two.safetensors", TENSORS("model.b"));
    /* A file that the index does not name is not looked at. */
    put_text("model-broken.safetensors", "broken");
    struct checkpoint *c = open_ok();
    assert_int_equal(c->n_files, 2);
    assert_int_equal(c->n_tensors, 2);
    assert_non_null(checkpoint_find(c, "model.b"));
    assert_null(checkpoint_find(c, "model.c"));
    assert_false(checkpoint_has_head(c));
    checkpoint_close(c);

    put_tensors("two.safetensors", TENSORS("model.c"));
    expect_open_error(ALULA_NOT_FOUND, "tensor model.b should lie in two.safetensors, but is not there");
    put_tensors("one.safetensors", TENSORS("model.a", "model.b"));
    expect_open_error(ALULA_MISMATCH,
                      "tensor model.b should lie in two.safetensors, but lies in one.safetensors");
    put_tensors("two.safetensors", TENSORS("model.a", "model.b"));
    expect_open_error(ALULA_MISMATCH, "tensor model.a stands in both one.safetensors and two.safetensors");
    put_text("two.safetensors", "broken");
    expect_open_error(ALULA_FORMAT, "two.safetensors: 6 bytes are no safetensors file");
}

static void test_broken_index(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "../one.safetensors", "/etc/passwd", "a/../../b", "", ".", "..", "a//b", "a/", "./a"};
    char text[200];
    fresh_folder();
    put_text(INDEX, "{");
    expect_open_error(ALULA_FORMAT, "not valid JSON");
    put_text(INDEX, "{\"weight_map\":{}}");
    expect_open_error(ALULA_FORMAT, "\"weight_map\" is missing or empty");
    put_text(INDEX, "[1]");
    expect_open_error(ALULA_FORMAT, "\"weight_map\" is missing or empty");
    put_text(INDEX, "{\"weight_map\":{\"model.a\":3}}");
    expect_open_error(ALULA_FORMAT, "the entry of tensor model.a is not a file name");
    put_text(INDEX, "{\"weight_map\":{\"model.a\":\"x\",\"model.a\":\"x\"}}");
    expect_open_error(ALULA_FORMAT, "duplicate");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(text, sizeof text, "{\"weight_map\":{\"model.a\":\"%s\"}}", bad[i]);
        put_text(INDEX, text);
        expect_open_error(ALULA_FORMAT, "is not the name of a file inside the folder");
    }
}

static void test_no_index(void **state)
{
    (void)state;
    fresh_folder();
    expect_open_error(ALULA_NOT_FOUND, "no weights here");
    put_tensors("other.safetensors", TENSORS("model.z"));
    expect_open_error(ALULA_NOT_FOUND, "no weights here");
    put_tensors("model-2.safetensors", TENSORS("model.b"));
    put_tensors("model.safetensors", TENSORS("model.a"));
    struct checkpoint *c = open_ok();
    assert_int_equal(c->n_tensors, 2);
    checkpoint_close(c);
}

/* As many tensors as Ornith-1.0-35B has; all are found. */
static void test_many_tensors(void **state)
{
    (void)state;
    enum { N = 31666, SHARDS = 16 };
    struct alula_error e;
    struct buf index;
    char name[96], file[64], path[4096];
    fresh_folder();
    buf_init(&index, 0);
    buf_str(&index, "{\"weight_map\":{");
    for (int s = 0; s < SHARDS; s++) {
        struct st_writer *w;
        snprintf(file, sizeof file, "model-%05d-of-%05d.safetensors", s + 1, SHARDS);
        snprintf(path, sizeof path, "%s/%s", dir, file);
        assert_ok(st_writer_open(&w, path, NULL, &e), e);
        for (int i = s; i < N; i += SHARDS) {
            snprintf(name, sizeof name, "model.language_model.layers.%d.mlp.experts.%d.gate_proj.weight",
                     i / 256, i % 256);
            assert_ok(st_writer_declare(w, name, DT_BF16, 1, (uint64_t[]){0}, &e), e);
            buf_fmt(&index, "%s\"%s\":\"%s\"", i ? "," : "", name, file);
        }
        assert_ok(st_writer_begin(w, &e) && st_writer_commit(w, &e), e);
        st_writer_close(w);
    }
    buf_str(&index, "}}");
    put_text(INDEX, index.data);
    buf_free(&index);
    struct checkpoint *c = open_ok();
    assert_int_equal(c->n_files, SHARDS);
    assert_int_equal(c->n_tensors, N);
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "model.language_model.layers.%d.mlp.experts.%d.gate_proj.weight", i / 256,
                 i % 256);
        assert_non_null(checkpoint_find(c, name));
        assert_true(i == 0 || strcmp(c->tensors[i - 1]->name, c->tensors[i]->name) < 0);
    }
    checkpoint_close(c);
}

/* ---- sidecar --------------------------------------------------------------------------------- */

static void expect_sidecar(const char *variant, const char *sidecar, const char *missing, bool head)
{
    struct alula_error e;
    struct checkpoint *c;
    assert_ok(checkpoint_open(&c, variant_dir(variant), &e), e);
    if (sidecar)
        assert_string_equal(c->sidecar, sidecar);
    else
        assert_null(c->sidecar);
    if (missing)
        assert_string_equal(c->sidecar_missing, missing);
    else
        assert_null(c->sidecar_missing);
    assert_int_equal(checkpoint_has_head(c), head);
    checkpoint_close(c);
}

static void test_sidecar_rules(void **state)
{
    (void)state;
    expect_sidecar("base", "mtp.safetensors", NULL, true);
    expect_sidecar("sidecar-custom-name", "head.safetensors", NULL, true);
    expect_sidecar("sidecar-subfolder", "mtp/weights.safetensors", NULL, true);
    expect_sidecar("sidecar-model-mtp", "model-mtp.safetensors", NULL, true);
    expect_sidecar("sidecar-wrong-name", NULL, NULL, false);
    expect_sidecar("extra-key-dangling", NULL, "gone.safetensors", false);
    expect_sidecar("missing-sidecar", NULL, "mtp.safetensors", false);
    expect_sidecar("missing-sidecar-no-contract", NULL, NULL, false);
    expect_sidecar("embedded-in-trunk", NULL, NULL, true);
}

/* A sidecar hides tensors of a head in the shards; without it they count. */
static void test_sidecar_hides(void **state)
{
    (void)state;
    fresh_folder();
    put_tensors("model.safetensors", TENSORS("model.a", "mtp.fc.weight", "mtp.old.weight"));
    put_tensors("mtp.safetensors", TENSORS("mtp.fc.weight"));
    struct checkpoint *c = open_ok();
    assert_int_equal(c->n_tensors, 2);
    assert_string_equal(path_base(checkpoint_find(c, "mtp.fc.weight")->file->path), "mtp.safetensors");
    checkpoint_close(c);
    struct alula_error e;
    assert_ok(checkpoint_open_trunk(&c, dir, &e), e);
    assert_null(c->sidecar);
    assert_int_equal(c->n_tensors, 3);
    checkpoint_close(c);
    /* The index may name the sidecar too: still one file. */
    put_tensors("model.safetensors", TENSORS("model.a", "mtp.old.weight"));
    put_text(INDEX,
             "{\"weight_map\":{\"model.a\":\"model.safetensors\",\"mtp.fc.weight\":\"mtp.safetensors\"}}");
    c = open_ok();
    assert_int_equal(c->n_files, 2);
    assert_int_equal(c->n_tensors, 2);
    checkpoint_close(c);
    put_tensors("mtp.safetensors", TENSORS("fc.weight"));
    put_text(INDEX, "{\"weight_map\":{\"model.a\":\"model.safetensors\"}}");
    expect_open_error(ALULA_NOT_FOUND, "mtp.safetensors: the sidecar holds no tensor of an MTP head");
}

static void test_sidecar_path_tricks(void **state)
{
    (void)state;
    static const char *const bad[] = {"../mtp.safetensors", "/tmp/mtp.safetensors", "a/../../x"};
    fresh_folder();
    put_tensors("model.safetensors", TENSORS("model.a"));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct alula_error e;
        struct buf text;
        json_t *config = json_parse_file(data_path("mtplx/variants/base/config.json"), 1 << 20, 16, &e);
        json_object_set_new(config, "mlx_lm_extra_tensors", json_pack("{s:s}", "mtp_file", bad[i]));
        buf_init(&text, 0);
        json_write(&text, config, 2);
        put_text("config.json", text.data);
        buf_free(&text);
        json_decref(config);
        expect_open_error(ALULA_FORMAT, "is not the name of a file inside the folder");
    }
}

/* ---- heads ----------------------------------------------------------------------------------- */

static void expect_head_error(const char *name, enum alula_code code, const char *part)
{
    struct alula_error e = {0};
    struct checkpoint *c;
    char path[4096];
    snprintf(path, sizeof path, "%s%s%s", dir, *name ? "/" : "", name);
    assert_false(checkpoint_open_head(&c, path, &e));
    if (!strstr(e.message, part) || e.code != code)
        fail_msg("code %d \"%s\", expected %d \"%s\"", e.code, e.message, code, part);
}

static struct checkpoint *open_head(const char *name)
{
    struct alula_error e;
    struct checkpoint *c;
    char path[4096];
    snprintf(path, sizeof path, "%s%s%s", dir, *name ? "/" : "", name);
    assert_ok(checkpoint_open_head(&c, path, &e), e);
    assert_true(checkpoint_has_head(c));
    return c;
}

static void test_head_sources(void **state)
{
    (void)state;
    char path[4096];
    fresh_folder();
    snprintf(path, sizeof path, "%s/config.json", dir);
    unlink(path);
    expect_head_error("absent", ALULA_NOT_FOUND, "no such file or folder");
    expect_head_error("", ALULA_NOT_FOUND, "no MTP head here");
    /* The folder of a donor of which only the head's shard was fetched. */
    put_text(INDEX,
             "{\"weight_map\":{\"model.a\":\"one.safetensors\",\"mtp.fc.weight\":\"two.safetensors\"}}");
    put_tensors("two.safetensors", TENSORS("mtp.fc.weight", "model.b"));
    struct checkpoint *c = open_head("");
    assert_false(c->has_config);
    assert_int_equal(c->n_tensors, 2);
    checkpoint_close(c);
    /* A file alone, and a folder with a sidecar alone. */
    c = open_head("two.safetensors");
    assert_string_equal(c->files[0]->path + strlen(c->files[0]->path) - 16, "/two.safetensors");
    checkpoint_close(c);
    put_tensors("mtp.safetensors", TENSORS("language_model.mtp.fc.weight"));
    c = open_head("");
    assert_string_equal(c->sidecar, "mtp.safetensors");
    assert_int_equal(c->n_tensors, 1);
    checkpoint_close(c);
    put_tensors("three.safetensors", TENSORS("model.a"));
    expect_head_error("three.safetensors", ALULA_NOT_FOUND, "no MTP head here");
    put_text("config.json", "{}");
    expect_head_error("", ALULA_FORMAT, "\"model_type\" is missing");
}

/* ---- configuration and steps ----------------------------------------------------------------- */

static void test_broken_folders(void **state)
{
    (void)state;
    struct alula_error e;
    struct checkpoint *c;
    char path[4096];
    assert_false(checkpoint_open(&c, "/nonexistent/folder", &e));
    assert_string_equal(e.message, "/nonexistent/folder: no such folder");
    fresh_folder();
    put_tensors("model.safetensors", TENSORS("model.a"));
    put_text("generation_config.json", "[");
    expect_open_error(ALULA_FORMAT, "generation_config.json: not valid JSON");
    put_text("generation_config.json", "{\"eos_token_id\": 1000000}");
    expect_open_error(ALULA_FORMAT, "generation_config.json: \"eos_token_id\"");
    put_text("config.json", "{\"quantization_config\":{\"quant_method\":\"fp8\"}}");
    expect_open_error(ALULA_UNSUPPORTED, "is of method \"fp8\"");
    snprintf(path, sizeof path, "%s/config.json", dir);
    unlink(path);
    expect_open_error(ALULA_NOT_FOUND, "config.json");
    assert_int_equal(mkfifo(path, 0600), 0); /* would be waited for without end */
    expect_open_error(ALULA_FORMAT, "config.json is not a plain file");
}

/* A report on a broken folder: what can still be read is read. */
static void test_steps(void **state)
{
    (void)state;
    struct alula_error e;
    struct checkpoint *c;
    assert_ok(checkpoint_create(&c, variant_dir("unknown-architecture"), &e), e);
    assert_false(checkpoint_load_config(c, &e));
    assert_int_equal(e.code, ALULA_UNSUPPORTED);
    assert_false(c->has_config);
    assert_string_equal(json_string_value(json_object_get(c->config_json, "model_type")), "foo");
    assert_ok(checkpoint_load_trunk(c, &e), e);
    assert_int_equal(c->n_tensors, 92);
    assert_ok(checkpoint_load_sidecar(c, &e), e);
    assert_int_equal(c->n_tensors, 111);
    checkpoint_close(c);
    assert_ok(checkpoint_create(&c, variant_dir("sidecar-cut"), &e), e);
    assert_ok(checkpoint_load_config(c, &e), e);
    assert_ok(checkpoint_load_trunk(c, &e), e);
    assert_false(checkpoint_load_sidecar(c, &e));
    assert_int_equal(c->n_tensors, 92);
    checkpoint_close(c);
    assert_ok(checkpoint_open_trunk(&c, variant_dir("sidecar-cut"), &e), e);
    checkpoint_close(c);
}

/* ---- contract -------------------------------------------------------------------------------- */

static struct runtime_contract contract_of(const char *variant)
{
    struct alula_error e;
    struct checkpoint *c;
    struct runtime_contract r;
    assert_ok(checkpoint_open_trunk(&c, variant_dir(variant), &e), e);
    assert_ok(contract_read(&r, c, &e), e);
    checkpoint_close(c);
    return r;
}

static void test_contract(void **state)
{
    (void)state;
    struct runtime_contract r = contract_of("base");
    assert_true(r.present && r.has_mtp_contract && !r.needs_newer_engine && !r.problem[0]);
    assert_string_equal(r.arch_id, "qwen3-next-mtp");
    assert_string_equal(r.mtplx_version, "2.12.2");
    assert_int_equal(r.depth_max, 3);
    assert_int_equal(r.mtp.base, HIDDEN_POST_NORM);
    assert_int_equal(r.mtp.feedback, HIDDEN_POST_NORM);
    assert_false(r.mtp.hidden_first);
    assert_null(contract_blocker(&r));
    r = contract_of("contract-conflict"); /* mtplx_runtime.json wins */
    assert_int_equal(r.mtp.base, HIDDEN_PRE_NORM);
    assert_int_equal(r.mtp.feedback, HIDDEN_FC);
    assert_true(contract_of("contract-hidden-embedding").mtp.hidden_first);
    r = contract_of("no-contract"); /* config.json speaks alone */
    assert_false(r.present);
    assert_true(r.has_mtp_contract);
    assert_true(contract_of("contract-engine-too-new").needs_newer_engine);
    assert_string_equal(contract_of("contract-unknown-arch").arch_id, "foo-mtp");
    assert_string_equal(contract_of("contract-profile-alias").problem, "");
}

static void test_contract_problems(void **state)
{
    (void)state;
    static const struct {
        const char *variant, *problem;
    } cases[] = {
        {"contract-bad-json", "not valid JSON"},
        {"contract-bad-profile", "unknown recommended_profile warp"},
        {"contract-depth-zero", "mtp_depth_max must be at least 1"},
        {"contract-missing-key", "mtp_depth_max"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct runtime_contract r = contract_of(cases[i].variant);
        assert_true(r.present && r.has_mtp_contract);
        if (!strstr(r.problem, cases[i].problem)) fail_msg("%s: \"%s\"", cases[i].variant, r.problem);
    }
}

static void test_contract_blockers(void **state)
{
    (void)state;
    static const struct {
        const char *variant, *blocker;
    } cases[] = {
        {"contract-pending", "pending_full_load"},
        {"contract-release-blocker", "public_release_blocker"},
        {"contract-speed-lost", "no_mtp_depth_beat_ar"},
        {"contract-candidate-word", NULL}, /* "candidates" is another word */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct runtime_contract r = contract_of(cases[i].variant);
        const char *found = contract_blocker(&r);
        if (!cases[i].blocker != !found || (found && strcmp(found, cases[i].blocker)))
            fail_msg("%s: %s", cases[i].variant, found ? found : "no blocker");
    }
}

/* Unknown words are refused by name; mixes are read and written back. */
static void test_contract_words(void **state)
{
    (void)state;
    static const struct {
        const char *contract, *error;
    } cases[] = {
        {"{\"hidden_variant\":\"mix:pre_norm:prev:0p75\"}", NULL},
        {"{\"hidden_variant\":\"mix:fc:embedding:0.5\"}", NULL},
        {"{\"hidden_variant\":\"mix:pre_norm:prev\"}", "\"hidden_variant\" is \"mix:pre_norm:prev\""},
        {"{\"hidden_variant\":\"mix:pre_norm:what:0p5\"}", "\"hidden_variant\" is \"mix:pre_norm:what:0p5\""},
        {"{\"hidden_variant\":\"mix:pre_norm:prev:1p5\"}", "a weight from 0 to 1"},
        {"{\"hidden_variant\":\"mix:pre_norm:prev:0p5p5\"}", "a weight from 0 to 1"},
        {"{\"hidden_variant\":\"warp\"}", "\"hidden_variant\" is \"warp\""},
        {"{\"base_hidden_variant\":\"fc\"}", "\"base_hidden_variant\" is \"fc\""},
        {"{\"concat_order\":\"base_then_mtp\"}", "\"concat_order\" is \"base_then_mtp\""},
        {"{\"mtp_position_mode\":\"sideways\"}", "\"mtp_position_mode\" is \"sideways\""},
        {"{\"mtp_history_policy\":\"all\"}", "\"mtp_history_policy\" is \"all\""},
        {"{\"concat_order\":3}", "\"concat_order\""},
        {"[]", "mtp_contract is not an object"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct alula_error e = {0};
        struct runtime_contract r;
        struct checkpoint c = {.dir = (char *)"DIR"};
        char text[64];
        json_t *contract = json_parse(cases[i].contract, strlen(cases[i].contract), 4, "test", &e);
        assert_ok(contract, e);
        c.runtime_json = json_pack("{s:o}", "mtp_contract", contract);
        bool ok = contract_read(&r, &c, &e);
        if (ok != !cases[i].error || (!ok && !strstr(e.message, cases[i].error)))
            fail_msg("%s: %s", cases[i].contract, ok ? "accepted" : e.message);
        if (i == 0) {
            assert_int_equal(r.mtp.mix_a, HIDDEN_PRE_NORM);
            assert_int_equal(r.mtp.mix_b, HIDDEN_PREV);
            assert_true(r.mtp.mix_weight == 0.75f);
            assert_string_equal(contract_hidden_str(&r.mtp, text, sizeof text), "mix:pre_norm:prev:0p75");
        }
        json_decref(c.runtime_json);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_index),
        cmocka_unit_test(test_broken_index),
        cmocka_unit_test(test_no_index),
        cmocka_unit_test(test_many_tensors),
        cmocka_unit_test(test_sidecar_rules),
        cmocka_unit_test(test_sidecar_hides),
        cmocka_unit_test(test_sidecar_path_tricks),
        cmocka_unit_test(test_head_sources),
        cmocka_unit_test(test_broken_folders),
        cmocka_unit_test(test_steps),
        cmocka_unit_test(test_contract),
        cmocka_unit_test(test_contract_problems),
        cmocka_unit_test(test_contract_blockers),
        cmocka_unit_test(test_contract_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
