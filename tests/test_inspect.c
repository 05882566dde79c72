/* test_inspect.c - the verdict on every variant: MTPLX's own, or a stricter one where MTPLX does not look. */
#include "tests/support.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "forge/inspect.h"

/* What MTPLX calls verified though it cannot run. can_run: is the body good by itself? */
static const struct {
    const char *variant, *compatibility, *says;
    bool can_run;
} stricter[] = {
    {"wrong-shape-q-proj", "native-ar-only-mtp-unsupported", "mtp.layers.0.self_attn.q_proj.weight", true},
    {"wrong-shape-fc", "native-ar-only-mtp-unsupported", "mtp.fc.weight", true},
    {"no-trunk", "missing-model-weights", "no weights here", false},
    {"sidecar-cut", "native-ar-only-mtp-unsupported", "mtp.safetensors", true},
    {"sidecar-zero-norm", "native-ar-only-mtp-unsupported", "zero everywhere", true},
};

static int find_stricter(const char *variant)
{
    for (int i = 0; i < (int)(sizeof stricter / sizeof *stricter); i++)
        if (!strcmp(stricter[i].variant, variant)) return i;
    return -1;
}

static const char *text(const json_t *o, const char *key)
{
    const char *v = json_string_value(json_object_get(o, key));
    return v ? v : "";
}

static void assert_text(const char *variant, const json_t *want, const char *key, const char *got)
{
    if (strcmp(text(want, key), got ? got : ""))
        fail_msg("%s: %s is \"%s\", MTPLX says \"%s\"", variant, key, got ? got : "", text(want, key));
}

static void compare(const char *variant, const json_t *want, const struct inspection *i)
{
    assert_text(variant, want, "tier", tier_name(i->tier));
    assert_text(variant, want, "runtime_compatibility", i->runtime_compatibility);
    assert_text(variant, want, "support_level", i->support_level);
    assert_text(variant, want, "mtp_supported", i->mtp_supported);
    assert_text(variant, want, "arch_id", i->arch_id);
    if (tier_exit_code(i->tier) != json_integer_value(json_object_get(want, "exit_code")) ||
        i->can_run != json_is_true(json_object_get(want, "can_run")))
        fail_msg("%s: exit code %d, can_run %d", variant, tier_exit_code(i->tier), i->can_run);
    /* A body that cannot be loaded leaves the head unjudged here. */
    if (i->can_run && i->gate != json_is_true(json_object_get(want, "mtp_passes_tensor_gate")))
        fail_msg("%s: gate %d", variant, i->gate);
}

static void test_all_variants(void **state)
{
    (void)state;
    struct alula_error e;
    mem_setup();
    json_t *all = json_parse_file(data_path("mtplx/variants/expected.json"), 0, 64, &e), *want;
    const char *name;
    size_t n = 0;
    assert_ok(all, e);
    json_object_foreach(all, name, want)
    {
        struct inspection i;
        assert_ok(inspect_open(&i, variant_dir(name), &e), e);
        int k = find_stricter(name);
        if (k < 0) {
            compare(name, want, &i);
        } else {
            assert_int_equal(json_integer_value(json_object_get(want, "exit_code")), 0);
            assert_int_equal(tier_exit_code(i.tier), 3);
            assert_string_equal(i.runtime_compatibility, stricter[k].compatibility);
            assert_int_equal(i.can_run, stricter[k].can_run);
            assert_false(i.gate);
            if (!strstr(i.message, stricter[k].says)) fail_msg("%s: %s", name, i.message);
        }
        assert_true(i.message[0]);
        if (i.tier == TIER_UNVERIFIED && i.can_run && i.n_next == 0) fail_msg("%s: no way on", name);
        inspect_close(&i);
        n++;
    }
    assert_int_equal(n, 59);
    json_decref(all);
}

static json_t *inspect_to_json(const char *dir)
{
    struct inspection i;
    struct alula_error e;
    struct buf b = {0};
    assert_ok(inspect_open(&i, dir, &e) && inspect_write_json(&b, &i, &e), e);
    json_t *root = json_parse(b.data, b.len, 64, "the report", &e);
    assert_ok(root, e);
    buf_free(&b);
    inspect_close(&i);
    return root;
}

/* MTPLX's keys, under their names; those of a kind of Gemma and Laguna aside. */
static void test_json_keys(void **state)
{
    (void)state;
    static const char *const top[] = {"model_dir",
                                      "source",
                                      "config_exists",
                                      "architecture",
                                      "model_type",
                                      "mtp_num_hidden_layers",
                                      "mtp_pattern",
                                      "hidden_size",
                                      "num_hidden_layers",
                                      "vocab_size",
                                      "num_experts",
                                      "num_experts_per_tok",
                                      "quantization",
                                      "sidecars",
                                      "model_files",
                                      "passes_primary_gate",
                                      "mtp",
                                      "runtime_contract_path",
                                      "compatibility",
                                      "runtime_model",
                                      "assistant_model",
                                      "recommended_sampler",
                                      "backend_status",
                                      "backend_artifact",
                                      "gemma4_pair",
                                      "mtp_supported",
                                      "mtp_arch",
                                      "recommended_backend",
                                      "recommended_profile",
                                      "runtime_compatibility",
                                      "architecture_recognized",
                                      "support_level",
                                      "support_notes",
                                      "unverified_model"};
    static const char *const mtp[] = {"mtp_file",
                                      "exists",
                                      "tensor_count",
                                      "sidecar_format",
                                      "expected_tensor_count",
                                      "metadata_only",
                                      "passes_tensor_gate",
                                      "missing_expected_keys",
                                      "extra_keys",
                                      "tensors"};
    static const char *const compatibility[] = {"tier",
                                                "arch_id",
                                                "supported",
                                                "recognized",
                                                "can_run",
                                                "exit_code",
                                                "message",
                                                "recommended_backend",
                                                "recommended_profile",
                                                "runtime_contract",
                                                "runtime_contract_path",
                                                "runtime_contract_error",
                                                "unsafe_force_required",
                                                "unverified_model",
                                                "mtp_supported",
                                                "runtime_compatibility",
                                                "support_level",
                                                "support_notes"};
    json_t *root = inspect_to_json(data_path("mtplx/golden/tiny-mtplx"));
    const json_t *m = json_object_get(root, "mtp"), *c = json_object_get(root, "compatibility");
    for (size_t i = 0; i < sizeof top / sizeof *top; i++)
        if (!json_object_get(root, top[i])) fail_msg("%s is missing", top[i]);
    for (size_t i = 0; i < sizeof mtp / sizeof *mtp; i++)
        if (!json_object_get(m, mtp[i])) fail_msg("mtp.%s is missing", mtp[i]);
    for (size_t i = 0; i < sizeof compatibility / sizeof *compatibility; i++)
        if (!json_object_get(c, compatibility[i])) fail_msg("compatibility.%s is missing", compatibility[i]);
    assert_string_equal(text(c, "tier"), "verified");
    assert_int_equal(json_integer_value(json_object_get(root, "hidden_size")), 128);
    assert_int_equal(json_array_size(json_object_get(m, "tensors")), 19);
    const json_t *first = json_array_get(json_object_get(m, "tensors"), 0);
    assert_string_equal(text(first, "key"), "mtp.fc.weight");
    assert_int_equal(json_integer_value(json_object_get(first, "elements")), 32768);
    assert_string_equal(text(c, "recommended_profile"), "sustained");
    json_decref(root);
}

static void test_profile_alias(void **state)
{
    (void)state;
    struct inspection i;
    struct alula_error e;
    assert_ok(inspect_open(&i, variant_dir("contract-profile-alias"), &e), e);
    assert_string_equal(i.profile, "performance-cold");
    inspect_close(&i);
}

/* Not artifacts: the two bundled models, a model of another kind, a folder without a config. */
static void test_other_folders(void **state)
{
    (void)state;
    struct inspection i;
    struct alula_error e;
    char dir[3000], path[4096];
    assert_ok(inspect_open(&i, "models/tiny-donor", &e), e);
    assert_int_equal(i.tier, TIER_FAMILY);
    inspect_close(&i);
    assert_ok(inspect_open(&i, "models/tiny-trunk", &e), e);
    assert_string_equal(i.runtime_compatibility, "invalid-base-tensor-layout");
    assert_non_null(strstr(i.next[0].command, "--mtp DONOR"));
    inspect_close(&i);
    snprintf(dir, sizeof dir, "%s/llama", scratch_dir());
    assert_int_equal(mkdir(dir, 0700), 0);
    snprintf(path, sizeof path, "%s/config.json", dir);
    static const char llama[] = "{\"model_type\": \"llama\", \"architectures\": [\"LlamaForCausalLM\"]}";
    assert_ok(file_write(path, llama, strlen(llama), &e), e);
    assert_ok(inspect_open(&i, dir, &e), e);
    assert_int_equal(i.tier, TIER_NO_MTP);
    assert_int_equal(tier_exit_code(i.tier), 2);
    assert_non_null(strstr(i.message, "llama"));
    inspect_close(&i);
    assert_ok(file_write(path, "{\"a\": ", 6, &e), e);
    assert_false(inspect_open(&i, dir, &e));
    assert_int_equal(e.code, ALULA_FORMAT);
    assert_int_equal(remove(path), 0);
    assert_ok(inspect_open(&i, dir, &e), e);
    assert_false(i.can_run);
    inspect_close(&i);
    assert_false(inspect_open(&i, "/nowhere", &e));
    assert_int_equal(e.code, ALULA_NOT_FOUND);
}

/* A word in the contract that alula does not know bars drafting, not the body. */
static void test_unknown_contract_word(void **state)
{
    (void)state;
    const char *dir = variant_dir("no-contract");
    char path[4096];
    struct inspection i;
    struct alula_error e;
    static const char contract[] =
        "{\"mtplx_version\": \"2.12.2\", \"arch_id\": \"qwen3-next-mtp\", \"mtp_depth_max\": 3, "
        "\"recommended_profile\": \"sustained\", \"exactness_baseline\": {}, \"verified_on\": {}, "
        "\"mtp_contract\": {\"concat_order\": \"sideways\"}}";
    snprintf(path, sizeof path, "%s/mtplx_runtime.json", dir);
    assert_ok(file_write(path, contract, strlen(contract), &e), e);
    assert_ok(inspect_open(&i, dir, &e), e);
    assert_int_equal(i.tier, TIER_UNVERIFIED);
    assert_true(i.can_run);
    assert_non_null(strstr(i.message, "sideways"));
    inspect_close(&i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_variants),          cmocka_unit_test(test_json_keys),
        cmocka_unit_test(test_profile_alias),         cmocka_unit_test(test_other_folders),
        cmocka_unit_test(test_unknown_contract_word),
    };
    return cmocka_run_group_tests_name("inspect", tests, NULL, NULL);
}
