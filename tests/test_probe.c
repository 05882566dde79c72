/* test_probe.c - what a folder is said to be: every set of tensors of a head, and the verdict and advice that
 * follow. */
#include "tests/support.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "forge/probe.h"

static json_t *expected_variants(void)
{
    struct alula_error e;
    mem_setup();
    json_t *root = json_parse_file(data_path("mtplx/variants/expected.json"), 0, 64, &e);
    if (!root) fail_msg("%s", e.message);
    return root;
}

/* Refused by alula when the file is opened, where MTPLX looks at the header's names. */
static bool unreadable_here(const char *variant) { return !strcmp(variant, "sidecar-cut"); }

static void assert_names(const char *variant, const json_t *want, const char *const *names, size_t n)
{
    if (json_array_size(want) != n)
        fail_msg("%s: %zu names, expected %zu", variant, n, json_array_size(want));
    for (size_t i = 0; i < n; i++) assert_string_equal(names[i], json_string_value(json_array_get(want, i)));
}

/* MTPLX's own count, format, missing and superfluous names, on every variant. */
static void test_key_sets_of_all_variants(void **state)
{
    (void)state;
    json_t *all = expected_variants(), *want;
    const char *name;
    size_t n_compared = 0;
    json_object_foreach(all, name, want)
    {
        struct survey s;
        struct alula_error e;
        assert_ok(survey_open(&s, variant_dir(name), &e), e);
        const struct head_set *h = &s.head_set;
        size_t n = (size_t)json_integer_value(json_object_get(want, "mtp_tensor_count"));
        if (unreadable_here(name)) {
            assert_int_equal(s.head.code, ALULA_FORMAT);
        } else if (n == 0) {
            assert_int_equal(h->n_tensors, 0);
            assert_false(h->passes);
        } else {
            bool undeclared = !strcmp(name, "undeclared-with-sidecar");
            if (h->n_tensors != n) fail_msg("%s: %zu tensors, expected %zu", name, h->n_tensors, n);
            if (!undeclared)
                assert_int_equal(h->passes, json_is_true(json_object_get(want, "mtp_passes_tensor_gate")));
            assert_int_equal(h->n_expected,
                             json_integer_value(json_object_get(want, "mtp_expected_tensor_count")));
            assert_string_equal(head_set_format(h),
                                json_string_value(json_object_get(want, "mtp_sidecar_format")));
            assert_names(name, json_object_get(want, "mtp_missing_expected_keys"), h->missing, h->n_missing);
            assert_names(name, json_object_get(want, "mtp_extra_keys"), h->extra, h->n_extra);
            n_compared++;
        }
        survey_close(&s);
    }
    assert_true(n_compared > 40);
    json_decref(all);
}

/* The sets by name: 15 dense, 19, 20, 785. */
static void test_published_key_sets(void **state)
{
    (void)state;
    struct {
        const char *variant;
        size_t n;
        enum head_layout layout;
        bool packed;
    } cases[] = {
        {"complete-fused", 19, HEAD_FUSED, false},       {"complete-switch", 20, HEAD_SWITCH, false},
        {"complete-numbered", 29, HEAD_NUMBERED, false}, {"prequant-switch", 42, HEAD_SWITCH, true},
        {"prequant-fused", 37, HEAD_FUSED, true},        {"prefix-language-model", 19, HEAD_FUSED, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct survey s;
        struct alula_error e;
        assert_ok(survey_open(&s, variant_dir(cases[i].variant), &e), e);
        assert_int_equal(s.head_set.n_tensors, cases[i].n);
        assert_int_equal(s.head_set.layout, cases[i].layout);
        assert_int_equal(s.head_set.packed, cases[i].packed);
        assert_true(s.head_fits);
        survey_close(&s);
    }
}

/* A header with the names and shapes of a head of 256 numbered experts, or of a dense one, and no values but
 * zeros. */
static void write_head(const char *path, int n_experts)
{
    static const char *const parts[] = {"fc",
                                        "norm",
                                        "pre_fc_norm_embedding",
                                        "pre_fc_norm_hidden",
                                        "layers.0.input_layernorm",
                                        "layers.0.post_attention_layernorm",
                                        "layers.0.self_attn.q_norm",
                                        "layers.0.self_attn.k_norm",
                                        "layers.0.self_attn.q_proj",
                                        "layers.0.self_attn.k_proj",
                                        "layers.0.self_attn.v_proj",
                                        "layers.0.self_attn.o_proj"};
    static const char *const projections[] = {"gate_proj", "up_proj", "down_proj"};
    static const char *const moe[] = {"gate", "shared_expert_gate", "shared_expert.gate_proj",
                                      "shared_expert.up_proj", "shared_expert.down_proj"};
    struct st_writer *w;
    struct alula_error e;
    char name[200], zeros[8192] = {0};
    uint64_t shape[1] = {2};
    size_t n = 0;
    assert_ok(st_writer_open(&w, path, NULL, &e), e);
    for (size_t i = 0; i < 12; i++, n++) {
        snprintf(name, sizeof name, "mtp.%s.weight", parts[i]);
        assert_ok(st_writer_declare(w, name, DT_BF16, 1, shape, &e), e);
    }
    for (int i = 0; n_experts && i < 5; i++, n++) {
        snprintf(name, sizeof name, "mtp.layers.0.mlp.%s.weight", moe[i]);
        assert_ok(st_writer_declare(w, name, DT_BF16, 1, shape, &e), e);
    }
    for (int i = 0; i < (n_experts ? n_experts : 1) * 3; i++, n++) {
        if (n_experts)
            snprintf(name, sizeof name, "mtp.layers.0.mlp.experts.%d.%s.weight", i / 3, projections[i % 3]);
        else
            snprintf(name, sizeof name, "mtp.layers.0.mlp.%s.weight", projections[i]);
        assert_ok(st_writer_declare(w, name, DT_BF16, 1, shape, &e), e);
    }
    assert_ok(st_writer_begin(w, &e) && st_writer_append(w, zeros, n * 4, &e) && st_writer_commit(w, &e), e);
    st_writer_close(w);
}

static void test_head_without_a_config(void **state)
{
    (void)state;
    const struct {
        int n_experts;
        size_t n;
        enum head_layout layout;
        const char *format;
    } cases[] = {{256, 785, HEAD_NUMBERED, "bf16-qwen-moe-experts"}, {0, 15, HEAD_DENSE, "bf16"}};
    for (int i = 0; i < 2; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/head-%d.safetensors", scratch_dir(), cases[i].n_experts);
        write_head(path, cases[i].n_experts);
        struct probe p;
        probe_path(&p, path);
        assert_int_equal(p.verdict, PROBE_HEAD_ONLY);
        assert_int_equal(p.survey.head_set.n_tensors, cases[i].n);
        assert_int_equal(p.survey.head_set.layout, cases[i].layout);
        assert_true(p.survey.head_set.passes);
        assert_string_equal(head_set_format(&p.survey.head_set), cases[i].format);
        assert_non_null(strstr(p.next[0].command, path));
        probe_free(&p);
    }
}

/* The founding case: a trunk that declares a head and ships none, and a donor. The tensors are believed, not
 * the config. */
static void test_bundled_pair(void **state)
{
    (void)state;
    struct probe p[2];
    struct probe_pair *pairs;
    size_t n;
    struct alula_error e;
    probe_path(&p[0], "models/tiny-trunk");
    probe_path(&p[1], "models/tiny-donor/");
    assert_int_equal(p[0].verdict, PROBE_NO_MTP_HEADS);
    assert_true(p[0].survey.declares_head);
    assert_int_equal(p[0].survey.layout, BODY_NUMBERED);
    assert_int_equal(p[1].verdict, PROBE_FORGEABLE);
    assert_int_equal(p[1].survey.layout, BODY_FUSED);
    assert_int_equal(p[0].survey.body_parameters, p[1].survey.body_parameters);
    assert_ok(probe_pairs(&pairs, &n, p, 2, &e), e);
    assert_int_equal(n, 1);
    assert_int_equal(pairs[0].problem.code, ALULA_OK);
    assert_string_equal(
        pairs[0].next.command,
        "alula forge --trunk models/tiny-trunk --mtp models/tiny-donor/ --out tiny-trunk-mtp-4bit");
    mem_free(pairs);
    probe_free(&p[0]);
    probe_free(&p[1]);
}

static void test_pair_of_other_dimensions(void **state)
{
    (void)state;
    struct probe p[2];
    struct probe_pair *pairs;
    size_t n;
    struct alula_error e;
    probe_path(&p[0], "models/tiny-trunk");
    probe_path(&p[1], data_path("layouts/donor"));
    assert_ok(probe_pairs(&pairs, &n, p, 2, &e), e);
    assert_int_equal(n, 1);
    assert_int_equal(pairs[0].problem.code, ALULA_MISMATCH);
    assert_non_null(strstr(pairs[0].problem.message, "(trunk: 192)"));
    mem_free(pairs);
    probe_free(&p[0]);
    probe_free(&p[1]);
}

static void assert_verdict(const char *path, enum probe_verdict verdict, const char *problem)
{
    struct probe p;
    struct buf json = {0};
    struct alula_error e;
    probe_path(&p, path);
    if (p.verdict != verdict) fail_msg("%s: %s", path, probe_verdict_name(p.verdict));
    if (problem && !strstr(p.problem.message, problem)) fail_msg("%s: %s", path, p.problem.message);
    assert_ok(probe_write_json(&json, &p, 1, NULL, 0, &e), e);
    json_t *root = json_parse(json.data, json.len, 16, "probe's JSON", &e);
    assert_ok(root, e);
    const json_t *folder = json_array_get(json_object_get(root, "folders"), 0);
    assert_string_equal(json_string_value(json_object_get(folder, "verdict")), probe_verdict_name(verdict));
    json_decref(root);
    buf_free(&json);
    probe_free(&p);
}

static void test_broken_folders(void **state)
{
    (void)state;
    char path[4096], from[4096], cwd[2048];
    assert_verdict("/nowhere/at/all", PROBE_FAILED, "no such");
    snprintf(path, sizeof path, "%s/weights.gguf", scratch_dir());
    assert_verdict(path, PROBE_UNSUPPORTED_SOURCE, "GGUF");
    snprintf(path, sizeof path, "%s/empty", scratch_dir());
    assert_int_equal(mkdir(path, 0700), 0);
    assert_verdict(path, PROBE_FAILED, "config.json");
    /* an interrupted download: one of two shards */
    assert_non_null(getcwd(cwd, sizeof cwd));
    const char *const files[] = {"config.json", "model.safetensors.index.json",
                                 "model-00001-of-00002.safetensors"};
    for (int i = 0; i < 3; i++) {
        snprintf(from, sizeof from, "%s/models/tiny-trunk/%s", cwd, files[i]);
        snprintf(path, sizeof path, "%s/empty/%s", scratch_dir(), files[i]);
        assert_int_equal(symlink(from, path), 0);
    }
    snprintf(path, sizeof path, "%s/empty", scratch_dir());
    assert_verdict(path, PROBE_FAILED, "model-00002-of-00002.safetensors");
    assert_verdict(variant_dir("unknown-architecture"), PROBE_UNSUPPORTED_SOURCE, "foo_text");
    assert_verdict(variant_dir("no-trunk"), PROBE_HEAD_ONLY, NULL);
    assert_verdict(variant_dir("sidecar-cut"), PROBE_NO_MTP_HEADS, "mtp.safetensors");
    assert_verdict(variant_dir("missing-tensor-of-19"), PROBE_NO_MTP_HEADS, "k_norm");
    assert_verdict(variant_dir("wrong-shape-fc"), PROBE_NO_MTP_HEADS, "mtp.fc.weight");
    assert_verdict(variant_dir("numbered-body"), PROBE_ALREADY_MTPLX, NULL);
    assert_verdict(variant_dir("complete-fused"), PROBE_ALREADY_MTPLX, NULL);
}

/* Looking at a head that is to be packed when it is loaded must not pack it. */
static void test_survey_packs_nothing(void **state)
{
    (void)state;
    struct survey s;
    struct alula_error e;
    assert_ok(survey_open(&s, variant_dir("quantize-at-load-all"), &e), e);
    assert_true(s.head_fits);
    assert_int_equal(s.weights->mtp.fc.type, DT_BF16);
    survey_close(&s);
}

static void test_licences(void **state)
{
    (void)state;
    char path[4096];
    struct alula_error e;
    const char *dir = variant_dir("complete-fused");
    static const char readme[] = "---\nbase_model:\n- a/b\nlicense: apache-2.0\n---\nlicense: mit\n";
    snprintf(path, sizeof path, "%s/README.md", dir);
    assert_ok(file_write(path, readme, strlen(readme), &e), e);
    snprintf(path, sizeof path, "%s/LICENSE.txt", dir);
    assert_ok(file_write(path, "x", 1, &e), e);
    snprintf(path, sizeof path, "%s/NOTICE", dir);
    assert_ok(file_write(path, "x", 1, &e), e);
    struct survey s;
    assert_ok(survey_open(&s, dir, &e), e);
    assert_string_equal(s.licence.id, "apache-2.0");
    assert_string_equal(s.licences, "LICENSE.txt, NOTICE");
    survey_close(&s);
}

/* What is typed must name the folder, whatever its name. */
static void test_quoting(void **state)
{
    (void)state;
    const char *const cases[][2] = {{"a/b-c_d.e", "a/b-c_d.e"}, {"my model", "'my model'"},
                                    {"it's", "'it'\\''s'"},     {"", "''"},
                                    {"a;rm", "'a;rm'"},         {"$x", "'$x'"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf b = {0};
        survey_quote(&b, cases[i][0]);
        assert_string_equal(b.data, cases[i][1]);
        buf_free(&b);
    }
}

/* Each allocation fails in turn: a sentence, never a crash. */
static void test_out_of_memory(void **state)
{
    (void)state;
    const char *dir = variant_dir("complete-numbered");
    bool ok = false;
    for (int64_t i = 0; !ok && i < 4000; i += 7) {
        struct survey s;
        struct alula_error e;
        mem_fail_after(i);
        ok = survey_open(&s, dir, &e);
        mem_fail_after(-1);
        if (ok) {
            ok = s.head_fits;
            survey_close(&s);
        }
    }
    assert_true(ok);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_key_sets_of_all_variants),
        cmocka_unit_test(test_published_key_sets),
        cmocka_unit_test(test_head_without_a_config),
        cmocka_unit_test(test_bundled_pair),
        cmocka_unit_test(test_pair_of_other_dimensions),
        cmocka_unit_test(test_broken_folders),
        cmocka_unit_test(test_survey_packs_nothing),
        cmocka_unit_test(test_licences),
        cmocka_unit_test(test_quoting),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests_name("probe", tests, NULL, NULL);
}
