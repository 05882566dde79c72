/* test_verify.c - from a forge to the verdict "verified" and the card; and that wrong pairs do not get there. */
#include "tests/forge_rig.h"
#include "tests/support.h"

#include <unistd.h>

#include "artifact/contract.h"
#include "forge/card.h"
#include "forge/inspect.h"
#include "forge/verify_parts.h"
#include "tests/head_rig.h"

#define TRUNK "models/tiny-trunk"

static const char *forge(const char *head)
{
    static int made;
    char name[32];
    snprintf(name, sizeof name, "artifact%d", made++);
    return forge_pair(TRUNK, head, scratch_path(name));
}

static struct verify_options quick(const char *dir)
{
    return (struct verify_options){.dir = dir, .n_prompts = 2, .max_tokens = 24, .n_threads = 2};
}

static struct verify run_ok(const struct verify_options *o)
{
    struct verify v;
    struct alula_error e = {0};
    assert_ok(verify_run(&v, o, &e), e);
    return v;
}

/* Speed depends on what else the machine does; what is tested is what becomes of a verdict. */
static void stamp_ok(const char *dir, struct verify *v)
{
    struct alula_error e = {0};
    if (v->passed) {
        v->verdict = "mtp_depth_wins";
        v->best_depth = 1;
    }
    assert_ok(verify_stamp(dir, v, &e), e);
}

static enum tier tier_of(const char *dir)
{
    struct inspection i;
    struct alula_error e = {0};
    assert_ok(inspect_open(&i, dir, &e), e);
    enum tier tier = i.tier;
    inspect_close(&i);
    return tier;
}

static void write_json(const char *dir, const char *name, json_t *v)
{
    char path[4200];
    struct buf b = {0};
    struct alula_error e = {0};
    snprintf(path, sizeof path, "%s/%s", dir, name);
    json_write(&b, v, 1);
    assert_ok(file_write(path, b.data, b.len, &e), e);
    buf_free(&b);
    json_decref(v);
}

static void assert_contains(const char *text, const char *words)
{
    if (!strstr(text, words)) fail_msg("\"%s\" is not in:\n%s", words, text);
}

static struct buf card_of(const char *dir)
{
    struct buf b = {0};
    struct alula_error e = {0};
    assert_ok(card_write(&b, dir, &e), e);
    return b;
}

/* ---- the seed's case ----------------------------------------------------------------------------------- */

static void check_figures(const struct verify *v)
{
    assert_true(v->passed);
    assert_string_equal(v->problem, "");
    assert_true(v->texts.equal);
    assert_int_equal(v->texts.tokens, 48);
    assert_int_equal(v->texts.drafted[0][0], 0);
    for (int d = 1; d <= CHAIN_DEPTH_MAX; d++) {
        assert_true(v->texts.drafted[d][d - 1] > 0);
        assert_true(v->texts.accepted[d][0] > 0 && v->texts.accepted[d][0] <= v->texts.drafted[d][0]);
    }
    assert_string_equal(v->packed.what, "4-bit, group 64");
    assert_string_equal(v->source.what, "BF16");
    assert_int_equal(v->packed.positions, 512);
    for (int d = 0; d < CHAIN_DEPTH_MAX; d++) {
        assert_int_equal(v->packed.hits[d] - v->source.hits[d], v->won[d] - v->lost[d]);
        assert_true(v->packed.prefix[d] <= v->packed.hits[d] && v->packed.hits[d] > 200);
        assert_true(!d || v->packed.prefix[d] <= v->packed.prefix[d - 1]);
    }
    assert_int_equal(v->packed.hits[0], v->calibration.trials[v->calibration.best].hits[0]);
    assert_true(v->packed.bytes < v->source.bytes / 3);
    assert_true(v->packed.draft_ms > 0 && v->source.draft_ms > 0);
    assert_true(v->body.measured && v->body.tokens == 530);
    assert_true(v->body.kl > 0.001 && v->body.kl < 0.2 && v->body.kl_error < v->body.kl);
    assert_true(fabs(v->body.loss - v->body.source_loss) < 0.2 && v->body.top1_same > 0.7);
    assert_true(fabs(v->body.loss - v->calibration.loss) < 1e-9);
    assert_true(v->drift.n > 0 && v->drift.rows[0].text[0]);
    assert_int_equal(strncmp(v->fingerprint, "sha256:", 7), 0);
}

static void test_seeds_case(void **state)
{
    (void)state;
    const char *dir = forge(HEAD_DONOR);
    struct verify_options o = quick(dir);
    o.source_trunk = TRUNK;
    o.source_mtp = HEAD_DONOR;
    struct verify v = run_ok(&o);
    check_figures(&v);
    stamp_ok(dir, &v);
    assert_int_equal(tier_of(dir), TIER_VERIFIED);

    struct buf card = card_of(dir);
    char row[200];
    struct interval w = stats_wilson(v.packed.hits[0], 512);
    snprintf(row, sizeof row, "| in this folder (4-bit, group 64) | %.1f %% (%.1f-%.1f) |",
             100 * (double)v.packed.hits[0] / 512, 100 * w.low, 100 * w.high);
    assert_contains(card.data, row);
    assert_contains(card.data, "| as it came (BF16) |");
    assert_contains(card.data, "equals that of plain decoding");
    assert_contains(card.data, "| concat_order | embedding_hidden | hidden_embedding |");
    assert_contains(card.data, "undecidable: rotary embeddings are relative");
    assert_contains(card.data, v.hardware);
    assert_contains(card.data, v.fingerprint);
    assert_null(strstr(card.data, "failed"));
    assert_null(strstr(card.data, "Not measured"));
    buf_free(&card);
    verify_free(&v);
}

/* What was not measured is called so, in the result and on the card. */
static void test_without_sources(void **state)
{
    (void)state;
    const char *dir = forge(HEAD_DONOR);
    struct buf before = card_of(dir);
    assert_contains(before.data, "Nothing yet.");
    buf_free(&before);
    struct verify_options o = quick(dir);
    struct verify v = run_ok(&o);
    assert_true(v.passed && v.packed.measured);
    assert_false(v.source.measured || v.body.measured || v.drift.n);
    stamp_ok(dir, &v);
    struct buf card = card_of(dir);
    assert_contains(card.data, "Not compared with its source: the source of the body was not given.");
    assert_contains(card.data, "Not measured: the sources of body and head were not given.");
    assert_null(strstr(card.data, "as it came"));
    buf_free(&card);
    verify_free(&v);
}

/* ---- wrong pairs --------------------------------------------------------------------------------------- */

static void test_swapped_halves(void **state)
{
    (void)state;
    const char *dir = forge(rig_head(HEAD_SWAPPED));
    struct verify_options o = quick(dir);
    struct verify v = run_ok(&o);
    assert_false(v.passed);
    assert_contains(v.problem, "the contract is wrong: it says concat_order embedding_hidden");
    assert_contains(v.problem, "with hidden_embedding it is at ");
    stamp_ok(dir, &v);
    verify_free(&v);
    assert_int_equal(tier_of(dir), TIER_UNVERIFIED);
    struct buf card = card_of(dir);
    assert_contains(card.data, "**Verification failed:** the contract is wrong");
    buf_free(&card);

    o.adopt = true;
    v = run_ok(&o);
    assert_true(v.passed && v.adopted);
    stamp_ok(dir, &v);
    verify_free(&v);
    assert_int_equal(tier_of(dir), TIER_VERIFIED);
    json_t *root = read_json(dir, "mtplx_runtime.json"), *contract = json_object_get(root, "mtp_contract");
    assert_string_equal(json_string_value(json_object_get(contract, "concat_order")), "hidden_embedding");
    assert_string_equal(json_string_value(json_object_get(contract, "base_hidden_variant")), "post_norm");
    json_decref(root);
}

static void assert_no_signal(enum head_fault fault)
{
    const char *dir = forge(rig_head(fault));
    struct verify_options o = quick(dir);
    o.adopt = true;
    struct verify v = run_ok(&o);
    assert_false(v.passed || v.adopted);
    assert_contains(v.problem, "does not foretell what this trunk says");
    assert_int_equal(v.texts.n_prompts, 0);
    stamp_ok(dir, &v);
    verify_free(&v);
    assert_int_equal(tier_of(dir), TIER_UNVERIFIED);
    json_t *root = read_json(dir, "mtplx_runtime.json");
    json_t *speed = json_object_get(root, "speed_evidence");
    assert_string_equal(json_string_value(json_object_get(speed, "verdict")), "mtp_acceptance_collapsed");
    json_decref(root);
}

static void test_shuffled_head(void **state)
{
    (void)state;
    assert_no_signal(HEAD_SHUFFLED);
}

static void test_head_of_another_seed(void **state)
{
    (void)state;
    assert_no_signal(HEAD_NOISE);
}

/* Gains that are read as one too large do no more than spoil some guesses: the paired test finds it all the
 * same. */
static void test_wrong_norm_encoding(void **state)
{
    (void)state;
    const char *dir = forge(HEAD_DONOR);
    json_t *config = read_json(dir, "config.json");
    json_object_set_new(config, "mtplx_mtp_norm_encoding", json_string("delta"));
    write_json(dir, "config.json", config);
    struct verify_options o = quick(dir);
    struct verify v = run_ok(&o);
    assert_false(v.passed);
    assert_contains(v.problem,
                    "the head's norms are stored as absolute, but the folder has them read as delta");
    stamp_ok(dir, &v);
    verify_free(&v);
    assert_int_equal(tier_of(dir), TIER_UNVERIFIED);
}

/* ---- the stamp ----------------------------------------------------------------------------------------- */

static struct verify passed_result(void)
{
    struct verify v = {.passed = true,
                       .verdict = "mtp_depth_wins",
                       .best_depth = 2,
                       .fingerprint = "sha256:0",
                       .calibration = {.positions = 512, .n_trials = 1, .usable = true, .reason = ""},
                       .texts = {.equal = true, .n_prompts = 1}};
    v.calibration.trials[0].depth = 1;
    for (int d = 0; d < CALIBRATE_DIMENSIONS; d++)
        v.calibration.choices[d] = (struct calibrate_choice){.chosen = "x", .rival = "y", .declared = "x"};
    return v;
}

static json_t *stamped_part(const char *dir, const struct verify *v, const char *part)
{
    struct alula_error e = {0};
    assert_ok(verify_stamp(dir, v, &e), e);
    json_t *root = read_json(dir, "mtplx_runtime.json");
    json_t *ret = json_incref(json_object_get(json_object_get(root, "verification"), part));
    json_decref(root);
    return ret;
}

static void assert_measured_on(json_t *part, const char *date)
{
    const char *on = json_string_value(json_object_get(part, "measured_on"));
    if (!date)
        assert_null(on);
    else
        assert_string_equal(on, date);
    json_decref(part);
}

/* A verification without the sources must not forget what one with them has found, nor pass it off as its own;
 * of another artifact it says nothing. */
static void test_earlier_comparisons_are_kept(void **state)
{
    (void)state;
    char dir[4096];
    struct verify with = passed_result(), without = passed_result();
    snprintf(dir, sizeof dir, "%s/kept", scratch_dir());
    assert_int_equal(mkdir(dir, 0777), 0);
    struct alula_error e = {0};
    char config[4200];
    snprintf(config, sizeof config, "%s/config.json", dir);
    assert_ok(file_write(config, "{}", 2, &e), e);
    snprintf(with.timestamp, sizeof with.timestamp, "2026-01-02T03:04:05Z");
    snprintf(without.timestamp, sizeof without.timestamp, "2026-02-02T03:04:05Z");
    with.body = (struct verify_body){.measured = true, .tokens = 530, .kl = 0.25};
    with.source = with.packed = without.packed = (struct verify_head){.measured = true, .positions = 512};

    assert_measured_on(stamped_part(dir, &with, "body"), NULL);
    for (int again = 0; again < 2; again++) {
        json_t *body = stamped_part(dir, &without, "body");
        assert_true(json_real_value(json_object_get(body, "kl_from_source")) == 0.25);
        assert_measured_on(body, "2026-01-02T03:04:05Z");
        json_t *heads = stamped_part(dir, &without, "heads");
        assert_measured_on(json_incref(json_object_get(heads, "packed")), NULL);
        assert_measured_on(json_incref(json_object_get(heads, "source")), "2026-01-02T03:04:05Z");
        assert_int_equal(json_array_size(json_object_get(heads, "paired")), CHAIN_DEPTH_MAX);
        json_decref(heads);
    }
    struct buf card = card_of(dir);
    assert_contains(card.data, "of places. Measured on 2026-01-02 and not again since.");
    buf_free(&card);

    assert_measured_on(stamped_part(dir, &with, "body"), NULL);
    snprintf(without.fingerprint, sizeof without.fingerprint, "sha256:1");
    json_t *body = stamped_part(dir, &without, "body");
    assert_true(json_is_false(json_object_get(body, "measured")));
    json_decref(body);
}

static void test_stamp_keeps_what_is_not_its_own(void **state)
{
    (void)state;
    char dir[4096], path[4200];
    struct verify v = passed_result();
    struct alula_error e = {0};
    snprintf(dir, sizeof dir, "%s/stamped", scratch_dir());
    snprintf(path, sizeof path, "%s/mtplx_runtime.json", dir);
    assert_int_equal(mkdir(dir, 0777), 0);
    const char old[] =
        "{\"arch_id\": \"other\", \"sampler\": {\"top_k\": 7}, \"mtp_contract\": {\"concat_order\": "
        "\"hidden_embedding\", \"mtp_quant_bits\": 4}, \"forge_provenance\": {\"source_repo\": \"a/b\"}}";
    assert_ok(file_write(path, old, strlen(old), &e) && verify_stamp(dir, &v, &e), e);
    json_t *root = read_json(dir, "mtplx_runtime.json"), *contract = json_object_get(root, "mtp_contract");
    assert_string_equal(json_string_value(json_object_get(root, "arch_id")), "other");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(root, "sampler"), "top_k")), 7);
    assert_string_equal(json_string_value(json_object_get(contract, "concat_order")), "hidden_embedding");
    assert_int_equal(json_integer_value(json_object_get(contract, "mtp_quant_bits")), 4);
    assert_true(json_is_object(json_object_get(contract, "calibration")));
    json_t *provenance = json_object_get(root, "forge_provenance");
    assert_string_equal(json_string_value(json_object_get(provenance, "source_repo")), "a/b");
    assert_true(json_is_object(json_object_get(provenance, "mtp_contract_calibration")));
    const char *const required[] = {"mtplx_version",      "mtp_depth_max", "recommended_profile",
                                    "exactness_baseline", "verified_on",   "speed_evidence",
                                    "verification"};
    for (size_t i = 0; i < sizeof required / sizeof *required; i++)
        assert_non_null(json_object_get(root, required[i]));
    json_decref(root);
}

/* A contract that failed must not come into force by being written down beside the failure. */
static void test_failure_brings_no_contract(void **state)
{
    (void)state;
    char dir[4096];
    struct verify v = passed_result();
    struct alula_error e = {0};
    v.passed = false;
    v.calibration.contract.hidden_first = true;
    snprintf(dir, sizeof dir, "%s/failed", scratch_dir());
    assert_int_equal(mkdir(dir, 0777), 0);
    assert_ok(verify_stamp(dir, &v, &e), e);
    json_t *root = read_json(dir, "mtplx_runtime.json");
    assert_null(json_object_get(root, "mtp_contract"));
    json_t *status = json_object_get(json_object_get(root, "exactness_baseline"), "status");
    assert_int_equal(strncmp(json_string_value(status), "fail_", 5), 0);
    json_decref(root);
}

static void test_broken_stamp_is_refused(void **state)
{
    (void)state;
    char dir[4096], path[4200];
    struct verify v = passed_result();
    struct alula_error e = {0};
    snprintf(dir, sizeof dir, "%s/broken", scratch_dir());
    snprintf(path, sizeof path, "%s/mtplx_runtime.json", dir);
    assert_int_equal(mkdir(dir, 0777), 0);
    assert_ok(file_write(path, "[1]", 3, &e), e);
    assert_false(verify_stamp(dir, &v, &e));
    assert_int_equal(e.code, ALULA_FORMAT);
    assert_int_equal(file_size(path), 3);
}

static void test_speed_verdicts(void **state)
{
    (void)state;
    int best;
    struct verify_texts t = {.speedup = {1, 1.3, 1.49, 1.5}, .speedup_max = {1, 2, 2, 2}};
    for (int d = 1; d < 4; d++)
        for (int k = 0; k < d; k++) t.drafted[d][k] = 100, t.accepted[d][k] = 50;
    assert_string_equal(verify_texts_verdict(&t, &best), "mtp_depth_wins");
    assert_int_equal(best, 3);
    t.speedup[3] = 1.47; /* within 2 % of depth 2's: the deeper one */
    assert_string_equal(verify_texts_verdict(&t, &best), "mtp_depth_wins");
    assert_int_equal(best, 3);
    t.speedup[3] = 1.4;
    verify_texts_verdict(&t, &best);
    assert_int_equal(best, 2);
    for (int d = 1; d < 4; d++) t.speedup[d] = 0.9;
    assert_string_equal(verify_texts_verdict(&t, &best), "inconclusive");
    for (int d = 1; d < 4; d++) t.speedup_max[d] = 0.99;
    assert_string_equal(verify_texts_verdict(&t, &best), "no_mtp_depth_beat_ar");
    assert_int_equal(best, 0);
    for (int d = 1; d < 4; d++)
        for (int k = 0; k < d; k++) t.accepted[d][k] = 5;
    assert_string_equal(verify_texts_verdict(&t, &best), "mtp_acceptance_collapsed");
}

/* ---- refusals ------------------------------------------------------------------------------------------ */

static bool stop(void *arg, const char *what, uint64_t done, uint64_t total)
{
    int *left = arg;
    (void)what, (void)done, (void)total;
    return (*left)-- > 0;
}

static void test_refusals(void **state)
{
    (void)state;
    const char *dir = forge(HEAD_DONOR);
    struct verify v;
    struct alula_error e = {0};
    struct verify_options o = quick(TRUNK);
    assert_false(verify_run(&v, &o, &e));
    assert_int_equal(e.code, ALULA_NOT_FOUND);
    o = quick(dir);
    o.n_prompts = VERIFY_PROMPTS_MAX + 1;
    assert_false(verify_run(&v, &o, &e));
    assert_int_equal(e.code, ALULA_USAGE);
    o = quick(dir);
    o.text = "too short";
    o.text_len = 9;
    assert_false(verify_run(&v, &o, &e));
    assert_int_equal(e.code, ALULA_LIMIT);
    o = quick(dir);
    o.source_mtp = "tests/data/layouts/donor";
    assert_false(verify_run(&v, &o, &e));
    assert_int_equal(e.code, ALULA_MISMATCH);
    assert_contains(e.message, "the source of the head");
    for (int i = 0; i < 400; i += 133) {
        int left = i;
        const struct watch watch = {stop, &left};
        o = quick(dir);
        o.watch = &watch;
        assert_false(verify_run(&v, &o, &e));
        assert_int_equal(e.code, ALULA_CANCELLED);
    }
}

static void test_foreign_readme_stays(void **state)
{
    (void)state;
    char path[4200];
    struct alula_error e = {0};
    const char *dir = forge(HEAD_DONOR);
    snprintf(path, sizeof path, "%s/README.md", dir);
    unlink(path);
    assert_ok(card_save(dir, &e) && card_save(dir, &e), e);
    assert_ok(file_write(path, "mine", 4, &e), e);
    assert_false(card_save(dir, &e));
    assert_int_equal(e.code, ALULA_USAGE);
    assert_int_equal(file_size(path), 4);
    struct buf none = {0};
    assert_false(card_write(&none, scratch_dir(), &e));
    assert_int_equal(e.code, ALULA_NOT_FOUND);
    buf_free(&none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_seeds_case),
        cmocka_unit_test(test_without_sources),
        cmocka_unit_test(test_swapped_halves),
        cmocka_unit_test(test_shuffled_head),
        cmocka_unit_test(test_head_of_another_seed),
        cmocka_unit_test(test_wrong_norm_encoding),
        cmocka_unit_test(test_earlier_comparisons_are_kept),
        cmocka_unit_test(test_stamp_keeps_what_is_not_its_own),
        cmocka_unit_test(test_failure_brings_no_contract),
        cmocka_unit_test(test_broken_stamp_is_refused),
        cmocka_unit_test(test_speed_verdicts),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_foreign_readme_stays),
    };
    return cmocka_run_group_tests_name("verify", tests, NULL, NULL);
}
