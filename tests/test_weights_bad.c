/* Contract: a set of tensors that is not exactly right is refused by a list of what is wrong; oddities that
 * are right bind. */
#include "tests/bound.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- folders changed by hand ----------------------------------------------------------------- */

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
    for (size_t i = 0; i < f->n; i++) free(f->drafts[i].data);
    free(f->drafts);
    json_decref(f->config);
}

static struct draft *draft(struct folder *f, const char *name)
{
    for (size_t i = 0; i < f->n; i++)
        if (!strcmp(f->drafts[i].name, name)) return &f->drafts[i];
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
    for (size_t i = 0; f && i < f->n; i++) fwrite(f->drafts[i].data, 1, f->drafts[i].n_bytes, out);
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
    for (int i = 0; i < 8; i++) b.data[i] = (char)((b.len - 8) >> 8 * i);
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
    assert_non_null(strstr(message, "1 tensor mis-shaped: " L1
                                    "input_layernorm.weight is BF16 [32], expected floats [64]"));
    assert_non_null(strstr(message, "2 tensors missing: " L0
                                    "linear_attn.in_proj_z.weight, language_model.model.norm.weight"));
    assert_non_null(strstr(message,
                           "3 tensors left over: " L0 "linear_attn.in_proj_z.biases, " L1 "self_attn.sinks, "
                           "something.else"));
    folder_free(&f);

    /* A whole layer gone: the count is right, the names are a few and dots. */
    folder_load(&f, variant_dir("missing-sidecar"));
    for (size_t i = 0; i < f.n; i++) {
        if (strncmp(f.drafts[i].name, L1, strlen(L1))) continue;
        free(f.drafts[i].data);
        f.drafts[i--] = f.drafts[--f.n];
    }
    message = expect_refusal(folder_save(&f), ALULA_NOT_FOUND,
                             "15 tensors missing: " L1 "input_layernorm.weight, ");
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
        {L1 "self_attn.q_proj.weight",
         {256, 2},
         "is U32 [256, 2], expected scales of 256 rows of 64 columns at 1 bits"},
        {L1 "self_attn.q_proj.scales",
         {128, 1},
         "q_proj.scales is BF16 [128, 1], expected scales of 256 rows"},
        {L1 "self_attn.o_proj.scales",
         {64, 1},
         "o_proj.biases is BF16 [64, 2], expected BF16 [64, 1] like the scales"},
        {L1 "self_attn.o_proj.biases",
         {64, 1},
         "o_proj.biases is BF16 [64, 1], expected BF16 [64, 2] like the scales"},
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
        {L1 "self_attn.q_proj", "{\"bits\":8,\"group_size\":64}", ALULA_MISMATCH,
         "has 4 bits and groups of 64 by its shape"},
        {L1 "self_attn.q_proj", "{\"bits\":4,\"group_size\":32}", ALULA_MISMATCH,
         "config.json says 4 and 32"},
        {L1 "self_attn.q_proj", "false", ALULA_MISMATCH, "config.json says that the module is not quantized"},
        {L1 "self_attn.q_proj", "{\"bits\":4,\"group_size\":64,\"mode\":\"nvfp4\"}", ALULA_UNSUPPORTED,
         "in mode \"nvfp4\""},
        {"language_model.lm_head", "{\"bits\":6,\"group_size\":64}", ALULA_MISMATCH,
         "language_model.lm_head.weight has 4 bits"},
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
    json_object_set_new(quantization(&f), L1 "self_attn.k_proj",
                        json_pack("{s:i,s:i,s:s}", "bits", 4, "group_size", 32, "mode", "mxfp4"));
    folder_drop(&f, L1 "self_attn.k_proj.biases");
    expect_refusal(folder_save(&f), ALULA_UNSUPPORTED, "k_proj.weight is quantized in mode \"mxfp4\"");
    folder_free(&f);
}

static void test_not_finite(void **state)
{
    (void)state;
    struct folder f;
    folder_load(&f, variant_dir("missing-sidecar"));
    memcpy(draft(&f, L1 "self_attn.q_norm.weight")->data + 6, "\xc0\x7f", 2); /* NaN */
    expect_refusal(folder_save(&f), ALULA_FORMAT, L1 "self_attn.q_norm.weight is not finite at value 3");
    folder_free(&f);
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
    static const char *const gone[] = {"mlp.gate.weight", "mlp.shared_expert_gate.weight",
                                       "mlp.experts.gate_up_proj", "mlp.experts.down_proj"};
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
    expect_refusal(folder_save(&f), ALULA_MISMATCH,
                   "gate_up_proj is BF16 [8, 64, 128], expected [8, 128, 64]");
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
    static const char *const parts[] = {"made for another trunk", "vocab_size 512 (trunk: 256)",
                                        "hidden_size 128 (trunk: 64)", "num_attention_heads 4 (trunk: 2)",
                                        "num_key_value_heads 2 (trunk: 1)"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (!strstr(e.message, parts[i])) fail_msg("\"%s\" is not in: %s", parts[i], e.message);
    checkpoint_close(head);
    /* The same from a file without a config: the shapes tell. */
    assert_ok(checkpoint_open_head(&head, data_path("mtplx/golden/tiny-mtplx/mtp.safetensors"), &e), e);
    assert_false(weights_bind(&w, trunk, head, &e));
    assert_non_null(strstr(e.message, "by its shapes the head has hidden_size 128 (trunk: 64)"));
    checkpoint_close(head);
    checkpoint_close(trunk);
    assert_null(w);
}

/* The other place that may ask for packing: the head's contract. */
static void test_packing_by_contract(void **state)
{
    (void)state;
    static const struct {
        const char *contract;
        int bits, group, fc_bits; /* bits 0: refused */
        enum alula_code code;
        const char *part;
    } cases[] = {
        {"{\"mtp_quant_bits\":8,\"mtp_quant_group_size\":32,\"mtp_quant_policy\":\"cyankiwi\"}", 8, 32, 0, 0,
         NULL},
        {"{\"mtp_quant_bits\":4,\"mtp_quant_policy\":null}", 4, 64, 4, 0, NULL},
        {"{\"mtp_quant_bits\":7}", 0, 0, 0, ALULA_UNSUPPORTED, "7 bits in groups of 64"},
        {"{\"mtp_quant_bits\":4,\"mtp_quant_mode\":\"symmetric\"}", 0, 0, 0, ALULA_UNSUPPORTED,
         "mode \"symmetric\""},
        {"{\"mtp_quant_bits\":4,\"mtp_quant_policy\":\"mystery\"}", 0, 0, 0, ALULA_UNSUPPORTED,
         "policy \"mystery\""},
        {"{\"mtp_quant_bits\":4,\"mtp_quant_group_size\":128}", 0, 0, 0, ALULA_MISMATCH,
         "groups of 128, but a matrix of the head has 64 columns"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct alula_error e;
        struct folder f;
        folder_load(&f, variant_dir("base"));
        json_t *contract = json_parse(cases[i].contract, strlen(cases[i].contract), 4, "test", &e);
        assert_ok(contract, e);
        json_object_set_new(f.config, "mtplx_mtp_contract", contract);
        const char *dir = folder_save(&f);
        folder_free(&f);
        if (!cases[i].bits) {
            expect_refusal(dir, cases[i].code, cases[i].part);
            continue;
        }
        struct bound b = bind_ok(dir);
        assert_packing(&b.w->mtp.layer.attn.v, cases[i].bits, cases[i].group);
        assert_int_equal(b.w->mtp.fc.bits, cases[i].fc_bits);
        unbind(&b);
    }
}

/* ---- mutations ------------------------------------------------------------------------------- */

static uint32_t seed = 35;
static uint32_t random32(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 17;
    seed ^= seed << 5;
    return seed;
}

/* Small damage to the sidecar's header or to config.json: it binds, or a sentence refuses it. */
static void test_mutations(void **state)
{
    (void)state;
    static const char *const names[] = {"mtp.safetensors", "config.json"};
    static const char tokens[] = "0123456789-[]{},:\"eFtrun.";
    char dir[4096], path[4200], target[64];
    struct buf original[2];
    int fds[2], n_bound = 0;
    snprintf(dir, sizeof dir, "%s", variant_dir("base"));
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "mtplx/variants/base/%s", names[i]);
        original[i] = read_data(path);
        fds[i] = memfd_create(names[i], 0); /* no disk under thousands of files */
        assert_true(fds[i] >= 0);
        snprintf(target, sizeof target, "/proc/self/fd/%d", fds[i]);
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        unlink(path);
        assert_int_equal(symlink(target, path), 0);
        assert_int_equal(pwrite(fds[i], original[i].data, original[i].len, 0), original[i].len);
    }
    for (int round = 0; round < 1500; round++) {
        struct alula_error e = {0};
        struct checkpoint *c = NULL;
        struct weights *w = NULL;
        int which = round % 2;
        size_t at = random32() % (which ? original[1].len : 8 + 1936); /* of the sidecar: its header */
        char byte = random32() % 4 ? tokens[random32() % (sizeof tokens - 1)] : (char)random32();
        assert_int_equal(pwrite(fds[which], &byte, 1, (off_t)at), 1);
        if (checkpoint_open(&c, dir, &e) && weights_bind(&w, c, NULL, &e))
            n_bound++;
        else
            assert_int_not_equal(e.message[0], 0);
        weights_free(w);
        checkpoint_close(c);
        assert_int_equal(pwrite(fds[which], original[which].data + at, 1, (off_t)at), 1);
    }
    assert_in_range(n_bound, 100, 1400);
    for (int i = 0; i < 2; i++) {
        close(fds[i]);
        buf_free(&original[i]);
    }
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* Every single allocation of open and bind may fail: a sentence about memory, nothing lost (the sanitizer
 * looks), and in the end success. */
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
        if (!done && e.code != ALULA_NOMEM) fail_msg("allocation %d: code %d \"%s\"", n, e.code, e.message);
        weights_free(w);
        checkpoint_close(c);
    }
    assert_true(n > 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_packed_shapes),
        cmocka_unit_test(test_quantization_entries),
        cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_packed_fused_experts),
        cmocka_unit_test(test_tied_and_dense),
        cmocka_unit_test(test_contradictions),
        cmocka_unit_test(test_head_of_another_trunk),
        cmocka_unit_test(test_packing_by_contract),
        cmocka_unit_test(test_mutations),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
