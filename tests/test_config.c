/* Contract: a config is read whole or refused by the name of the key; no key that changes the mathematics has
 * a silent default. */
#include "tests/support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "artifact/config.h"

/* A fresh copy of a real config (40 real keys), to be changed. */
static json_t *sample(void)
{
    struct alula_error e;
    json_t *v = json_parse_file(data_path("mlx4/hf/config.json"), 1 << 20, 16, &e);
    assert_ok(v, e);
    return v;
}

static json_t *text_of(json_t *root) { return json_object_get(root, "text_config"); }

static bool read_config(const json_t *root, const json_t *generation, struct config *c, struct alula_error *e)
{
    static struct arena arena;
    arena_free(&arena);
    return config_read(c, root, generation, "config.json", &arena, e);
}

/* Consumes root. */
static void expect_refusal(json_t *root, enum alula_code code, const char *part)
{
    struct alula_error e = {0};
    struct config c = {.n_layers = -7};
    if (read_config(root, NULL, &c, &e)) fail_msg("read, expected \"%s\"", part);
    if (!strstr(e.message, part) || !strstr(e.message, "config.json") || (int)code != (int)e.code)
        fail_msg("code %d \"%s\", expected %d \"%s\"", e.code, e.message, code, part);
    assert_int_equal(c.n_layers, -7);
    json_decref(root);
}

static void test_values(void **state)
{
    (void)state;
    struct alula_error e;
    struct config c;
    json_t *root = sample();
    json_t *generation = json_parse_file(data_path("mlx4/hf/generation_config.json"), 1 << 20, 16, &e);
    assert_ok(read_config(root, generation, &c, &e), e);
    assert_string_equal(c.model_type, "qwen3_5_moe_text");
    assert_string_equal(c.architecture, "Qwen3_5MoeForConditionalGeneration");
    assert_int_equal(c.n_layers, 4);
    assert_int_equal(c.hidden, 128);
    assert_int_equal(c.vocab, 512);
    assert_int_equal(c.max_position, 4096);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(c.layer_types[i], i == 3 ? LAYER_FULL_ATTENTION : LAYER_LINEAR_ATTENTION);
        assert_int_equal(c.mlp_types[i], MLP_MOE);
    }
    assert_false(c.tied);
    assert_true(c.rms_eps == 1e-6);
    assert_int_equal(c.n_heads, 4);
    assert_int_equal(c.n_kv_heads, 2);
    assert_int_equal(c.head_dim, 64);
    assert_int_equal(c.rotary_dim, 16);
    assert_true(c.rope_theta == 1e7);
    assert_int_equal(c.lin_k_heads, 2);
    assert_int_equal(c.lin_v_heads, 4);
    assert_int_equal(c.lin_k_dim, 32);
    assert_int_equal(c.lin_v_dim, 32);
    assert_int_equal(c.conv_kernel, 4);
    assert_int_equal(c.n_experts, 8);
    assert_int_equal(c.experts_per_tok, 2);
    assert_int_equal(c.moe_inter, 64);
    assert_int_equal(c.shared_inter, 64);
    assert_int_equal(c.dense_inter, 0);
    assert_int_equal(c.cast, DT_BF16);
    assert_int_equal(c.n_stop_ids, 2);
    assert_int_equal(c.stop_ids[0], 505);
    assert_int_equal(c.stop_ids[1], 503);
    json_decref(generation);

    assert_ok(read_config(root, NULL, &c, &e), e);
    assert_int_equal(c.n_stop_ids, 1);
    assert_int_equal(c.stop_ids[0], 503);
    json_decref(root);
}

/* The same model as a text-only export reads the same. */
static void test_flat(void **state)
{
    (void)state;
    struct alula_error e;
    struct config a, b;
    json_t *flat =
        json_parse_file(data_path("mtplx/variants/flat-config/files/config.json"), 1 << 20, 16, &e);
    json_t *whole = json_parse_file(data_path("mtplx/variants/base/config.json"), 1 << 20, 16, &e);
    assert_ok(read_config(flat, NULL, &a, &e), e);
    assert_int_equal(a.layer_types[0], LAYER_LINEAR_ATTENTION);
    assert_int_equal(a.layer_types[1], LAYER_FULL_ATTENTION);
    assert_ok(read_config(whole, NULL, &b, &e), e);
    assert_int_equal(a.hidden, b.hidden);
    assert_int_equal(a.rotary_dim, b.rotary_dim);
    assert_int_equal(a.n_experts, b.n_experts);
    assert_int_equal(a.n_stop_ids, b.n_stop_ids);
    json_decref(flat);
    json_decref(whole);
}

static void test_each_key_is_needed(void **state)
{
    (void)state;
    static const char *const keys[] = {
        "hidden_size",
        "num_hidden_layers",
        "vocab_size",
        "max_position_embeddings",
        "rms_norm_eps",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "linear_num_key_heads",
        "linear_num_value_heads",
        "linear_key_head_dim",
        "linear_value_head_dim",
        "linear_conv_kernel_dim",
        "num_experts",
        "num_experts_per_tok",
        "moe_intermediate_size",
        "shared_expert_intermediate_size",
    };
    char quoted[80];
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        json_t *root = sample();
        assert_int_equal(json_object_del(text_of(root), keys[i]), 0);
        snprintf(quoted, sizeof quoted, "\"%s\"", keys[i]);
        expect_refusal(root, ALULA_FORMAT, quoted);
    }
    json_t *root = sample();
    json_object_del(json_object_get(text_of(root), "rope_parameters"), "rope_theta");
    expect_refusal(root, ALULA_FORMAT, "\"rope_theta\" is missing");
    root = sample();
    json_object_del(text_of(root), "rope_parameters");
    expect_refusal(root, ALULA_FORMAT, "\"rope_theta\" is missing");
    root = sample();
    json_object_del(text_of(root), "partial_rotary_factor");
    json_object_del(json_object_get(text_of(root), "rope_parameters"), "partial_rotary_factor");
    expect_refusal(root, ALULA_FORMAT, "\"partial_rotary_factor\" is missing");
    root = sample();
    json_object_del(text_of(root), "layer_types");
    json_object_del(text_of(root), "full_attention_interval");
    expect_refusal(root, ALULA_FORMAT, "\"layer_types\" is missing, and so is \"full_attention_interval\"");
    root = sample();
    json_object_del(text_of(root), "model_type");
    json_object_del(root, "model_type");
    expect_refusal(root, ALULA_FORMAT, "\"model_type\" is missing");
}

static void test_absurd_values(void **state)
{
    (void)state;
    static const struct {
        const char *key, *value;
        enum alula_code code;
        const char *part;
    } cases[] = {
        {"hidden_size", "0", ALULA_FORMAT, "\"hidden_size\""},
        {"hidden_size", "-128", ALULA_FORMAT, "\"hidden_size\""},
        {"hidden_size", "65537", ALULA_FORMAT, "\"hidden_size\""},
        {"hidden_size", "9223372036854775807", ALULA_FORMAT, "\"hidden_size\""},
        {"hidden_size", "128.5", ALULA_FORMAT, "\"hidden_size\""},
        {"hidden_size", "\"128\"", ALULA_FORMAT, "\"hidden_size\""},
        {"hidden_size", "null", ALULA_FORMAT, "\"hidden_size\""},
        {"num_hidden_layers", "1001", ALULA_FORMAT, "\"num_hidden_layers\""},
        {"num_hidden_layers", "5", ALULA_MISMATCH,
         "\"layer_types\" has 4 entries, \"num_hidden_layers\" is 5"},
        {"vocab_size", "4194305", ALULA_FORMAT, "\"vocab_size\""},
        {"vocab_size", "500", ALULA_FORMAT,
         "\"eos_token_id\" has a value that is no id below \"vocab_size\" 500"},
        {"num_experts", "4097", ALULA_FORMAT, "\"num_experts\""},
        {"num_experts_per_tok", "9", ALULA_MISMATCH,
         "\"num_experts_per_tok\" 9 is more than \"num_experts\" 8"},
        {"rms_norm_eps", "0", ALULA_FORMAT, "\"rms_norm_eps\""},
        {"rms_norm_eps", "1.0", ALULA_FORMAT, "\"rms_norm_eps\""},
        {"num_key_value_heads", "3", ALULA_MISMATCH,
         "\"num_attention_heads\" 4 is no multiple of \"num_key_value_heads\" 3"},
        {"num_attention_heads", "1024", ALULA_LIMIT,
         "\"num_attention_heads\" 1024 times \"head_dim\" 128 is more"},
        {"head_dim", "65", ALULA_MISMATCH, "\"head_dim\" 65 times \"partial_rotary_factor\" 0.25"},
        {"head_dim", "4", ALULA_MISMATCH, "is 1, expected an even number"},
        {"linear_num_key_heads", "3", ALULA_MISMATCH, "\"linear_num_value_heads\" 4 is no multiple of"},
        {"linear_conv_kernel_dim", "1", ALULA_UNSUPPORTED, "\"linear_conv_kernel_dim\" is 1"},
        {"linear_conv_kernel_dim", "17", ALULA_FORMAT, "\"linear_conv_kernel_dim\""},
        {"layer_types",
         "[\"linear_attention\",\"linear_attention\",\"sliding_attention\",\"full_attention\"]",
         ALULA_UNSUPPORTED, "\"layer_types\"[2] is \"sliding_attention\""},
        {"layer_types", "3", ALULA_FORMAT, "\"layer_types\" is not a list"},
        {"mlp_only_layers", "[4]", ALULA_FORMAT, "\"mlp_only_layers\"[0] is no layer below 4"},
        {"mlp_only_layers", "[1]", ALULA_FORMAT, "\"intermediate_size\""},
        {"eos_token_id", "512", ALULA_FORMAT, "\"eos_token_id\""},
        {"eos_token_id", "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]", ALULA_LIMIT,
         "\"eos_token_id\" has 17 ids"},
        {"model_type", "\"llama\"", ALULA_UNSUPPORTED, "\"model_type\" is \"llama\""},
        {"hidden_act", "\"gelu\"", ALULA_UNSUPPORTED, "\"hidden_act\" is \"gelu\""},
        {"attention_bias", "true", ALULA_UNSUPPORTED, "\"attention_bias\" is true"},
        {"attn_output_gate", "false", ALULA_UNSUPPORTED, "\"attn_output_gate\" is false"},
        {"norm_topk_prob", "false", ALULA_UNSUPPORTED, "\"norm_topk_prob\" is false"},
        {"use_sliding_window", "true", ALULA_UNSUPPORTED, "\"use_sliding_window\" is set"},
        {"routed_scaling_factor", "2.5", ALULA_UNSUPPORTED, "\"routed_scaling_factor\" is set"},
        {"final_logit_softcapping", "30.0", ALULA_UNSUPPORTED, "\"final_logit_softcapping\" is set"},
        {"scoring_func", "\"sigmoid\"", ALULA_UNSUPPORTED, "\"scoring_func\" is \"sigmoid\""},
        {"output_gate_type", "\"sigmoid\"", ALULA_UNSUPPORTED, "\"output_gate_type\" is \"sigmoid\""},
        {"mtp_use_dedicated_embeddings", "true", ALULA_UNSUPPORTED,
         "\"mtp_use_dedicated_embeddings\" is set"},
        {"rope_parameters", "{\"rope_type\":\"yarn\",\"rope_theta\":1e7,\"factor\":4}", ALULA_UNSUPPORTED,
         "\"rope_type\" is \"yarn\""},
        {"rope_scaling", "{\"type\":\"linear\",\"factor\":4}", ALULA_UNSUPPORTED,
         "\"rope_type\" is \"linear\""},
        {"rope_parameters", "[]", ALULA_FORMAT, "rope_parameters is not an object"},
        {"rope_theta", "10000.0", ALULA_MISMATCH, "stands there twice"},
        {"partial_rotary_factor", "0.5", ALULA_MISMATCH, "stands there twice"},
        {"partial_rotary_factor", "1.5", ALULA_FORMAT, "\"partial_rotary_factor\""},
        {"tie_word_embeddings", "true", ALULA_MISMATCH,
         "\"tie_word_embeddings\" is false at the top and true in text_config"},
        {"mtp_num_hidden_layers", "-1", ALULA_FORMAT, "\"mtp_num_hidden_layers\""},
        {"dtype", "\"int8\"", ALULA_UNSUPPORTED, "\"dtype\" is \"int8\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct alula_error e;
        json_t *root = sample();
        json_t *value = json_parse(cases[i].value, strlen(cases[i].value), 4, "test", &e);
        assert_ok(value, e);
        json_object_set_new(text_of(root), cases[i].key, value);
        if (!strcmp(cases[i].key, "num_attention_heads")) /* 1024 heads of 64 are 65536 wide: one step too far
                                                             needs wider heads */
            json_object_set_new(text_of(root), "head_dim", json_integer(128));
        expect_refusal(root, cases[i].code, cases[i].part);
    }
}

static void test_not_objects(void **state)
{
    (void)state;
    struct alula_error e;
    struct config c;
    expect_refusal(json_pack("[i]", 1), ALULA_FORMAT, "config.json is not an object");
    json_t *root = sample();
    json_object_set_new(root, "text_config", json_integer(1));
    expect_refusal(root, ALULA_FORMAT, "\"text_config\" is not an object");
    root = sample();
    json_t *generation = json_pack("[]");
    assert_false(read_config(root, generation, &c, &e));
    assert_string_equal(e.message, "generation_config.json is not an object");
    json_decref(generation);
    json_decref(root);
}

/* All spellings of the rope parameters that files of this family use. */
static void test_rope_spellings(void **state)
{
    (void)state;
    static const char *const spellings[] = {
        "{\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":1e6,\"partial_rotary_factor\":0.25}}",
        "{\"rope_parameters\":{\"type\":\"default\",\"rope_theta\":1000000},\"partial_rotary_factor\":0.25}",
        "{\"rope_theta\":1000000.0,\"partial_rotary_factor\":0.25,\"rope_scaling\":null}",
        "{\"rope_scaling\":{\"type\":\"mrope\"},\"rope_theta\":1000000,\"partial_rotary_factor\":0.25}",
    };
    for (size_t i = 0; i < sizeof spellings / sizeof *spellings; i++) {
        struct alula_error e;
        struct config c;
        json_t *root = sample(), *rope = json_parse(spellings[i], strlen(spellings[i]), 8, "test", &e);
        assert_ok(rope, e);
        json_object_del(text_of(root), "rope_parameters");
        json_object_del(text_of(root), "partial_rotary_factor");
        json_object_update(text_of(root), rope);
        assert_ok(read_config(root, NULL, &c, &e), e);
        assert_true(c.rope_theta == 1e6);
        assert_int_equal(c.rotary_dim, 16);
        json_decref(rope);
        json_decref(root);
    }
}

/* What absent keys mean where the family has always left them out. */
static void test_absent_is_usual(void **state)
{
    (void)state;
    struct alula_error e;
    struct config c;
    json_t *root = sample(), *text = text_of(root);
    json_object_del(text, "attn_output_gate");
    json_object_del(text, "mlp_only_layers");
    json_object_del(text, "tie_word_embeddings");
    json_object_del(text, "eos_token_id");
    json_object_del(text, "layer_types");
    json_object_set_new(text, "full_attention_interval", json_integer(2));
    json_object_set_new(root, "tie_word_embeddings", json_true());
    json_object_set_new(root, "torch_dtype", json_string("float16"));
    assert_ok(read_config(root, NULL, &c, &e), e);
    assert_true(c.tied);
    assert_int_equal(c.n_stop_ids, 0);
    assert_int_equal(c.cast, DT_F16);
    assert_int_equal(c.layer_types[1], LAYER_FULL_ATTENTION);
    assert_int_equal(c.layer_types[2], LAYER_LINEAR_ATTENTION);
    json_decref(root);
}

/* Dense members of the family and layers without experts. */
static void test_dense(void **state)
{
    (void)state;
    struct alula_error e;
    struct config c;
    json_t *root = sample(), *text = text_of(root);
    json_object_set_new(text, "intermediate_size", json_integer(96));
    json_object_set_new(text, "mlp_only_layers", json_pack("[i]", 2));
    assert_ok(read_config(root, NULL, &c, &e), e);
    assert_int_equal(c.mlp_types[1], MLP_MOE);
    assert_int_equal(c.mlp_types[2], MLP_DENSE);
    assert_int_equal(c.dense_inter, 96);
    json_object_set_new(text, "model_type", json_string("qwen3_5_text"));
    assert_ok(read_config(root, NULL, &c, &e), e);
    assert_int_equal(c.mlp_types[1], MLP_DENSE);
    assert_int_equal(c.n_experts, 0);
    json_decref(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_flat),
        cmocka_unit_test(test_each_key_is_needed),
        cmocka_unit_test(test_absurd_values),
        cmocka_unit_test(test_not_objects),
        cmocka_unit_test(test_rope_spellings),
        cmocka_unit_test(test_absent_is_usual),
        cmocka_unit_test(test_dense),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
