/* test_forge_options.c - the choices of a forge: widths, norms, recipes; and the papers of an artifact. */
#include "tests/forge_rig.h"
#include "tests/tensors_rig.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sha256.h"
#include "forge/card.h"
#include "forge/inspect.h"
#include "forge/recipe.h"
#include "forge/stamp.h"

static struct forge_options options(const char *out)
{
    return forge_usual("tests/data/layouts/trunk", "tests/data/layouts/donor", scratch_path(out));
}

static void forge_refused(const struct forge_options *o, enum alula_code code, const char *says)
{
    struct forge_report r;
    struct alula_error e = {0};
    assert_false(forge_run(o, &r, &e));
    if (e.code != code || !strstr(e.message, says)) fail_msg("%s", e.message);
    assert_false(file_is_dir(o->out));
}

struct opened {
    struct checkpoint *cp;
    struct weights *w;
};

static struct opened open_model(const char *dir)
{
    struct opened m;
    struct alula_error e;
    assert_ok(checkpoint_open(&m.cp, dir, &e) && weights_bind(&m.w, m.cp, NULL, &e), e);
    return m;
}

static void close_model(struct opened *m)
{
    weights_free(m->w);
    checkpoint_close(m->cp);
}

static void test_overrides(void **state)
{
    (void)state;
    const struct plan_override list[] = {{"*.self_attn.?_proj", 8, 0},
                                         {"*layers.3.self_attn.q_proj", 6, 32},
                                         {"*lm_head", PLAN_PLAIN_BITS, 0},
                                         {"mtp.layers.0.mlp.switch_mlp.*", 5, 0},
                                         {"mtp.fc", PLAN_PLAIN_BITS, 0}};
    struct forge_options o = options("overrides");
    o.plan.overrides = list;
    o.plan.n_overrides = 5;
    forge_ok(&o);
    struct opened m = open_model(o.out);
    const struct attention_weights *a = &m.w->layers[3].attn;
    assert_int_equal(a->q.bits, 6);
    assert_int_equal(a->q.group, 32);
    assert_int_equal(a->k.bits, 8);
    assert_int_equal(m.w->lm_head.bits, 0);
    assert_int_equal(m.w->embed.bits, 4);
    assert_int_equal(m.w->mtp.fc.type, DT_BF16);
    assert_int_equal(m.w->mtp.layer.attn.q.bits, 8);
    assert_int_equal(m.w->mtp.layer.mlp.gate[0].bits, 5);
    assert_int_equal(m.w->mtp.layer.mlp.shared_up.bits, 4);
    close_model(&m);
    /* the readers' entries: the body's by full name, the head's without "mtp." */
    json_t *config = read_json(o.out, "config.json");
    const json_t *q = json_object_get(json_object_get(config, "quantization"),
                                      "language_model.model.layers.3.self_attn.q_proj");
    assert_int_equal(json_integer_value(json_object_get(q, "bits")), 6);
    assert_int_equal(json_integer_value(json_object_get(q, "group_size")), 32);
    const json_t *h = json_object_get(config, "mtplx_mtp_quantization");
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(h, "layers.0.mlp.switch_mlp.up_proj"), "bits")),
        5);
    assert_true(json_is_true(json_object_get(h, "prequantized")));
    assert_null(json_object_get(h, "fc"));
    json_decref(config);
}

static void test_bad_overrides(void **state)
{
    (void)state;
    struct plan_override one = {"*nowhere*", 8, 0};
    struct forge_options o = options("bad");
    o.plan.overrides = &one;
    o.plan.n_overrides = 1;
    forge_refused(&o, ALULA_USAGE, "*nowhere* fits no matrix");
    one = (struct plan_override){"*switch_mlp.down_proj", 4, 128}; /* 64 columns */
    forge_refused(&o, ALULA_USAGE, "no multiple of the group size 128");
    one = (struct plan_override){"mtp.*", 8, 0};
    o.plan.head_policy = HEAD_KEEP_BF16;
    forge_refused(&o, ALULA_USAGE, "policy quantize");
    o.plan.head_policy = HEAD_QUANTIZE;
    o.trunk = "tests/data/mlx-mixed/mlx";
    o.mtp = "tests/data/mlx4/hf";
    one = (struct plan_override){"*embed_tokens", 8, 0};
    forge_refused(&o, ALULA_USAGE, "packed already");
}

static void test_override_texts(void **state)
{
    (void)state;
    struct recipe r;
    struct alula_error e;
    recipe_init(&r);
    assert_ok(recipe_add_override(&r, "a=b*=8", &e), e);
    assert_string_equal(r.overrides[0].pattern, "a=b*");
    assert_ok(recipe_add_override(&r, "*=6:32", &e), e);
    assert_int_equal(r.overrides[1].bits, 6);
    assert_int_equal(r.overrides[1].group, 32);
    const char *const bad[] = {"",     "a",      "=8",      "a=",      "a=7",
                               "a=8:", "a=8:63", "a=8:64x", "a=8x",    "a=8:0",
                               "a=-8", "a=:64",  "a=1",     "a=8:-64", "a=99999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (recipe_add_override(&r, bad[i], &e)) fail_msg("\"%s\" was taken", bad[i]);
        assert_int_equal(e.code, ALULA_USAGE);
    }
    assert_int_equal(r.plan.n_overrides, 2);
    recipe_free(&r);
}

/* Zero-centred norms are the source's own bytes, and bind to the same gains as the source does. */
static void test_delta_norms(void **state)
{
    (void)state;
    struct forge_options o = options("delta");
    o.plan.norms = NORMS_DELTA;
    forge_ok(&o);
    struct opened source = open_model("tests/data/layouts/donor"), made = open_model(o.out);
    const struct mtp_weights *a = &source.w->mtp, *b = &made.w->mtp;
    const struct vector *pairs[][2] = {
        {&a->norm, &b->norm},
        {&a->norm_embedding, &b->norm_embedding},
        {&a->norm_hidden, &b->norm_hidden},
        {&a->layer.input_norm, &b->layer.input_norm},
        {&a->layer.post_norm, &b->layer.post_norm},
        {&a->layer.attn.q_norm, &b->layer.attn.q_norm},
        {&a->layer.attn.k_norm, &b->layer.attn.k_norm},
    };
    for (size_t i = 0; i < 7; i++) {
        const struct tensor *t = pairs[i][0]->source;
        assert_true(pairs[i][1]->add_one);
        assert_memory_equal(t->data, pairs[i][1]->source->data, t->n_bytes);
        assert_memory_equal(pairs[i][0]->gain, pairs[i][1]->gain, t->shape[0] * sizeof(float));
    }
    assert_false(made.w->final_norm.add_one);
    close_model(&source);
    close_model(&made);
    json_t *config = read_json(o.out, "config.json");
    assert_string_equal(json_string_value(json_object_get(config, "mtplx_mtp_norm_encoding")), "delta");
    json_decref(config);
    /* and back: gains of a zero-centred sidecar are those that the first forge would have written */
    struct forge_options back = options("absolute"), direct = options("direct");
    back.mtp = o.out;
    back.mtp_id = direct.mtp_id = "the head";
    forge_ok(&back);
    forge_ok(&direct);
    assert_same_file(back.out, direct.out, "mtp.safetensors");
    assert_same_file(back.out, direct.out, "config.json");
}

static void test_degraded_head_needs_a_word(void **state)
{
    (void)state;
    struct forge_options o = options("degraded");
    const struct plan_override head = {"mtp.*switch_mlp*", 3, 0};
    o.plan.bits = 3;
    forge_refused(&o, ALULA_USAGE, "--allow-degraded-mtp");
    o.plan.head_policy = HEAD_QUANTIZE_AT_LOAD;
    forge_refused(&o, ALULA_USAGE, "--allow-degraded-mtp");
    o.plan.head_policy = HEAD_KEEP_BF16; /* a body of 3 bits is the user's affair */
    forge_ok(&o);
    struct forge_options packed = options("degraded2");
    packed.plan.overrides = &head;
    packed.plan.n_overrides = 1;
    forge_refused(&packed, ALULA_USAGE, "3 bits");
    packed.plan.allow_degraded_mtp = true;
    forge_ok(&packed);
}

/* The three policies, as a reader finds them: layout, widths, words; complete by MTPLX's own gate. */
static void test_head_policies(void **state)
{
    (void)state;
    const struct {
        enum head_policy policy;
        size_t n_tensors;
        const char *format;
        bool packed;
    } cases[] = {{HEAD_QUANTIZE, 42, "prequantized-mlx-affine-qwen-moe-switch-mlx", true},
                 {HEAD_KEEP_BF16, 19, "bf16-qwen-moe", false},
                 {HEAD_QUANTIZE_AT_LOAD, 19, "bf16-qwen-moe", false}};
    for (int i = 0; i < 3; i++) {
        char name[32];
        snprintf(name, sizeof name, "policy-%d", i);
        struct forge_options o = options(name);
        struct inspection look;
        struct alula_error e;
        o.plan.head_policy = cases[i].policy;
        forge_ok(&o);
        assert_ok(inspect_open(&look, o.out, &e), e);
        assert_true(look.gate);
        assert_int_equal(look.survey.head_set.n_tensors, cases[i].n_tensors);
        assert_string_equal(head_set_format(&look.survey.head_set), cases[i].format);
        /* Nothing was measured, so nothing may count as verified. */
        assert_int_equal(look.tier, TIER_UNVERIFIED);
        assert_string_equal(look.runtime_compatibility, "runtime-contract-unverified");
        inspect_close(&look);
        struct opened m = open_model(o.out);
        assert_int_equal(m.w->mtp.fc.bits, cases[i].policy == HEAD_KEEP_BF16 ? 0 : 4);
        json_t *runtime = read_json(o.out, "mtplx_runtime.json");
        assert_string_equal(json_string_value(json_object_get(runtime, "mtp_sidecar")), cases[i].format);
        json_decref(runtime);
        const json_t *q = json_object_get(m.cp->config_json, "mtplx_mtp_quantization");
        assert_int_equal(q != NULL, cases[i].policy != HEAD_KEEP_BF16);
        if (q) assert_int_equal(json_is_true(json_object_get(q, "prequantized")), cases[i].packed);
        const json_t *audit = json_object_get(m.cp->config_json, "mtplx_mtp_payload_audit");
        assert_true(json_is_true(json_object_get(audit, "passed")));
        assert_int_equal(json_integer_value(json_object_get(audit, "tensor_count")), cases[i].n_tensors);
        assert_int_equal(json_integer_value(json_object_get(audit, "scale_tensor_count")),
                         cases[i].packed ? 11 : 0);
        close_model(&m);
    }
}

/* MTPLX's audit of the same bf16 sidecar. */
static void test_audit_equals_mtplx(void **state)
{
    (void)state;
    struct forge_options o = options("audit");
    o.trunk = "tests/data/mlx4/hf";
    o.mtp = NULL;
    o.plan.head_policy = HEAD_KEEP_BF16;
    forge_ok(&o);
    json_t *ours = read_json(o.out, "config.json"),
           *theirs = read_json("tests/data/mtplx/golden/tiny-mtplx", "config.json");
    const char *const keys[] = {"mtplx_mtp_payload_audit", "mtplx_mtp_contract", "mlx_lm_extra_tensors",
                                "quantization", "quantization_config"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (!json_equal(json_object_get(ours, keys[i]), json_object_get(theirs, keys[i])))
            fail_msg("%s differs", keys[i]);
    json_decref(ours);
    json_decref(theirs);
}

static void make_zeros(void *arg, const struct tensor *t, unsigned char *bytes)
{
    (void)arg;
    if (t->n_dims > 1) memset(bytes, 0, t->n_bytes);
}

static void test_head_of_zeros_is_refused(void **state)
{
    (void)state;
    const char *path = scratch_path("zeros.safetensors");
    rewrite_tensors("tests/data/mtplx/golden/tiny-mtplx/mtp.safetensors", path, "", make_zeros, NULL);
    struct forge_options o = options("of-zeros");
    o.trunk = "tests/data/mlx4/hf";
    o.mtp = path;
    forge_refused(&o, ALULA_FORMAT, "nothing but zeros");
}

/* An artifact's own recipe makes it again, byte for byte; options win over it. */
static void test_recipe_makes_it_again(void **state)
{
    (void)state;
    const struct plan_override list[] = {{"*lm_head", 6, 32}, {"mtp.fc", PLAN_PLAIN_BITS, 0}};
    struct forge_options o = options("first");
    struct recipe r;
    struct alula_error e;
    char path[4096];
    o.plan.overrides = list;
    o.plan.n_overrides = 2;
    o.plan.bits = 5;
    o.plan.group = 32;
    o.plan.norms = NORMS_DELTA;
    o.trunk_id = "somebody/body";
    forge_ok(&o);
    snprintf(path, sizeof path, "%s/%s", o.out, RECIPE_NAME);
    recipe_init(&r);
    assert_ok(recipe_read(&r, path, &e) && recipe_check(&r, &e), e);
    assert_null(r.trunk); /* no folder of this machine */
    assert_string_equal(r.trunk_id, "somebody/body");
    struct forge_options again = options("second");
    again.plan = r.plan;
    again.trunk_id = r.trunk_id;
    again.mtp_id = r.mtp_id;
    again.n_threads = 1;
    forge_ok(&again);
    char **names;
    size_t n;
    assert_ok(dir_list(o.out, &names, &n, &e), e);
    assert_true(n >= 7);
    for (size_t i = 0; i < n; i++) assert_same_file(o.out, again.out, names[i]);
    mem_free(names);
    recipe_free(&r);
}

static void test_bad_recipes(void **state)
{
    (void)state;
    const char *const bad[][2] = {{"[]", "not an object"},
                                  {"{\"bit\": 4}", "\"bit\""},
                                  {"{\"mtp_policy\": \"maybe\"}", "maybe"},
                                  {"{\"bits\": \"4\"}", "bits"},
                                  {"{\"overrides\": {}}", "not a list"},
                                  {"{\"overrides\": [{\"pattern\": \"*\", \"bits\": 7}]}", "7 bits"},
                                  {"{\"overrides\": [{\"patern\": \"*\"}]}", "patern"},
                                  {"{\"overrides\": [3]}", "pattern"},
                                  {"{\"bits\": 4", "recipe.json"}};
    const char *path = scratch_path("recipe.json");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct recipe r;
        struct alula_error e;
        recipe_init(&r);
        assert_ok(file_write(path, bad[i][0], strlen(bad[i][0]), &e), e);
        if (recipe_read(&r, path, &e)) fail_msg("%s was taken", bad[i][0]);
        if (!strstr(e.message, bad[i][1])) fail_msg("%s: %s", bad[i][0], e.message);
        recipe_free(&r);
    }
}

static void put(const char *dir, const char *name, const char *text)
{
    char path[4096];
    struct alula_error e;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_ok(file_write(path, text, strlen(text), &e), e);
}

static const char *model_with_papers(const char *name, const char *model, const char *licence)
{
    const char *dir = scratch_path(name);
    char from[4096], to[4096], cwd[2048], **names;
    size_t n;
    struct alula_error e;
    assert_int_equal(mkdir(dir, 0700), 0);
    assert_non_null(getcwd(cwd, sizeof cwd));
    assert_ok(dir_list(model, &names, &n, &e), e);
    for (size_t i = 0; i < n; i++) {
        snprintf(from, sizeof from, "%s/%s/%s", cwd, model, names[i]);
        snprintf(to, sizeof to, "%s/%s", dir, names[i]);
        assert_int_equal(symlink(from, to), 0);
    }
    mem_free(names);
    put(dir, "LICENSE", licence);
    put(dir, "NOTICE", "noticed\n");
    return dir;
}

static void assert_text(const char *dir, const char *name, const char *text)
{
    char path[4096];
    struct buf b;
    struct alula_error e;
    buf_init(&b, 0);
    snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_ok(file_read(path, 0, &b, &e), e);
    if (!strstr(b.data, text)) fail_msg("%s lacks \"%s\": %s", path, text, b.data);
    buf_free(&b);
}

static void test_papers_of_both_parents(void **state)
{
    (void)state;
    struct forge_options o = options("with-papers");
    o.trunk = model_with_papers("body", "tests/data/layouts/trunk", "the body's licence\n");
    o.mtp = model_with_papers("donor", "tests/data/layouts/donor", "the head's licence\n");
    put(o.mtp, ".mtplx-source.json", "{\"repo_id\": \"Qwen/donor\", \"resolved_sha\": \"abc\"}");
    forge_ok(&o);
    assert_text(o.out, "LICENSE", "the body's licence");
    assert_text(o.out, "LICENSE.mtp-donor", "the head's licence");
    assert_text(o.out, "NOTICE", "chat template: body\n  Licence: LICENSE\n");
    assert_text(o.out, "NOTICE", "Qwen/donor\n  Licence: LICENSE.mtp-donor\n");
    assert_text(o.out, "NOTICE", "NOTICE of Qwen/donor ----\n\nnoticed");
    assert_text(o.out, "mtplx_runtime.json", "\"mtp_source_path\": \"Qwen/donor\"");
    /* Forged anew with its own head, both licences go along; as a donor, only the head's. */
    struct forge_options anew = options("anew"), donated = options("donated");
    anew.trunk = donated.mtp = o.out;
    anew.mtp = NULL;
    forge_ok(&anew);
    assert_text(anew.out, "LICENSE.mtp-donor", "the head's licence");
    forge_ok(&donated);
    assert_text(donated.out, "LICENSE.mtp-donor", "the head's licence");
}

/* Forges trunk and donor anew and expects a line in the front matter of the card. */
static void assert_card_licence(const char *trunk, const char *donor, const char *line)
{
    static int n_made;
    char name[32];
    struct buf card = {0};
    struct alula_error e;
    snprintf(name, sizeof name, "licensed%d", n_made++);
    struct forge_options o = options(name);
    o.trunk = trunk;
    o.mtp = donor;
    forge_ok(&o);
    assert_ok(card_write(&card, o.out, &e), e);
    *strstr(card.data + 4, "---\n") = '\0';
    if (!line && strstr(card.data, "license")) fail_msg("a licence out of nothing: %s", card.data);
    if (line && !strstr(card.data, line)) fail_msg("no \"%s\" in: %s", line, card.data);
    buf_free(&card);
}

/* The card names a licence only if both parents are under it, by their own words; nothing is made up. */
static void test_licence_of_the_whole(void **state)
{
    (void)state;
    struct buf mit = {0};
    struct alula_error e;
    assert_ok(file_read("LICENSE", 0, &mit, &e), e);
    const char *trunk = "tests/data/layouts/trunk", *donor = "tests/data/layouts/donor";
    const char *trunk_mit = model_with_papers("trunk-mit", trunk, mit.data);
    const char *donor_mit = model_with_papers("donor-mit", donor, mit.data);
    const char *donor_apache =
        model_with_papers("donor-apache", donor, "Apache License\n   Version 2.0, January 2004\n");
    const char *donor_own = model_with_papers("donor-own", donor, "ask me first\n");
    assert_card_licence(trunk, donor, NULL);
    assert_card_licence(trunk_mit, donor_mit, "\nlicense: mit\n");
    assert_card_licence(trunk_mit, donor_apache,
                        "\nlicense: other\nlicense_name: \"mit (body), apache-2.0 (MTP head)\"\n");
    assert_card_licence(trunk_mit, donor_own, "\nlicense_name: \"mit (body), other (MTP head)\"\n");
    assert_card_licence(trunk_mit, donor, "\nlicense_name: \"mit (body), unknown (MTP head)\"\n");
    /* Declared alone counts; declared against the text does not. */
    put(donor_own, "README.md", "---\nlicense: \"mit\"\n---\n");
    assert_card_licence(trunk_mit, donor_own, "\nlicense: mit\n");
    put(donor_apache, "README.md", "---\nlicense: mit\n---\n");
    assert_card_licence(trunk_mit, donor_apache, "\nlicense_name: \"mit (body), other (MTP head)\"\n");
    buf_free(&mit);
}

/* Every file with its sum, and no word of this machine. */
static void test_provenance(void **state)
{
    (void)state;
    struct forge_options o = options("summed");
    struct alula_error e;
    char **names;
    size_t n, n_summed = 0;
    forge_ok(&o);
    json_t *root = read_json(o.out, STAMP_PROVENANCE);
    const json_t *files = json_object_get(root, "files");
    assert_ok(dir_list(o.out, &names, &n, &e), e);
    for (size_t i = 0; i < n; i++) {
        char path[4096], sum[SHA256_HEX];
        const json_t *entry = json_object_get(files, names[i]);
        struct sha256 s;
        struct buf b = {0};
        snprintf(path, sizeof path, "%s/%s", o.out, names[i]);
        assert_ok(file_read(path, 0, &b, &e), e);
        sha256_init(&s);
        sha256_add(&s, b.data, b.len);
        sha256_hex(&s, sum);
        if (strcmp(names[i], STAMP_PROVENANCE) && strcmp(names[i], "mtplx_runtime.json"))
            assert_string_equal(json_string_value(json_object_get(entry, "sha256")), sum);
        n_summed += entry != NULL;
        if (!ends_with(names[i], ".safetensors") &&
            (strstr(b.data, scratch_dir()) || strstr(b.data, "tests/data")))
            fail_msg("%s names a folder", names[i]);
        buf_free(&b);
    }
    assert_int_equal(n_summed, json_object_size(files));
    assert_string_equal(json_string_value(json_object_get(json_object_get(files, "config.json"), "origin")),
                        "made");
    mem_free(names);
    json_decref(root);
}

static void test_look_ahead(void **state)
{
    (void)state;
    struct forge_options o = options("never");
    struct forge_preview p;
    struct forge_report r;
    struct alula_error e;
    assert_ok(forge_look_ahead(&p, &o, &e), e);
    assert_false(file_exists(o.out));
    uint64_t sum = 0;
    for (int i = 0; i < p.n; i++) sum += p.classes[i].bytes;
    assert_int_equal(sum, p.body_bytes + p.head_bytes);
    assert_true(p.bytes_per_s > 0);
    assert_string_equal(p.trunk_id, "trunk");
    assert_ok(forge_run(&o, &r, &e), e);
    assert_int_equal(r.body_bytes, p.body_bytes);
    assert_int_equal(r.source_bytes, p.source_bytes);
}

/* What cannot be written to ends in one sentence that names it. */
static void test_unwritable_target(void **state)
{
    (void)state;
    struct forge_options o = options("x");
    o.out = "/proc/alula";
    forge_refused(&o, ALULA_NOT_FOUND, "/proc/alula");
    o.out = "/nowhere/at/all";
    forge_refused(&o, ALULA_NOT_FOUND, "/nowhere/at/all");
    char path[4096];
    snprintf(path, sizeof path, "%s///", scratch_path("slashes"));
    o.out = path;
    forge_ok(&o);
    assert_true(file_is_dir(scratch_path("slashes")));
}

/* Finished files are taken over, unless the options are others. */
static bool stop_late(void *arg, const char *what, uint64_t done, uint64_t total)
{
    (void)arg, (void)done, (void)total;
    return strcmp(what, "summing") != 0;
}

static void test_going_on(void **state)
{
    (void)state;
    struct forge_options o = options("going-on"), ref = options("went");
    struct forge_report r;
    struct alula_error e;
    const struct watch stop = {stop_late, NULL};
    o.watch = &stop;
    assert_false(forge_run(&o, &r, &e));
    assert_int_equal(e.code, ALULA_CANCELLED);
    assert_false(file_exists(o.out));
    o.watch = NULL;
    assert_ok(forge_run(&o, &r, &e), e);
    assert_int_equal(r.n_resumed, 2);
    forge_ok(&ref);
    assert_same_file(o.out, ref.out, "model.safetensors");
    assert_same_file(o.out, ref.out, STAMP_PROVENANCE);
    assert_ok(dir_remove(o.out, &e), e);
    o.watch = &stop;
    assert_false(forge_run(&o, &r, &e));
    o.watch = NULL;
    o.plan.norms = NORMS_DELTA;
    assert_ok(forge_run(&o, &r, &e), e);
    assert_int_equal(r.n_resumed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_overrides),
        cmocka_unit_test(test_bad_overrides),
        cmocka_unit_test(test_override_texts),
        cmocka_unit_test(test_delta_norms),
        cmocka_unit_test(test_degraded_head_needs_a_word),
        cmocka_unit_test(test_head_policies),
        cmocka_unit_test(test_audit_equals_mtplx),
        cmocka_unit_test(test_head_of_zeros_is_refused),
        cmocka_unit_test(test_recipe_makes_it_again),
        cmocka_unit_test(test_bad_recipes),
        cmocka_unit_test(test_papers_of_both_parents),
        cmocka_unit_test(test_licence_of_the_whole),
        cmocka_unit_test(test_provenance),
        cmocka_unit_test(test_look_ahead),
        cmocka_unit_test(test_unwritable_target),
        cmocka_unit_test(test_going_on),
    };
    return cmocka_run_group_tests_name("forge options", tests, NULL, NULL);
}
