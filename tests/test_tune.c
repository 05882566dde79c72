/* tune: statistics on samples whose answer is known, the rules of the verdict row by row, the record's whole
 * life, the picture, and real short measurements: of a head that works, of one that is noise and of one made slow. No figure
 * of speed is asserted. */
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "artifact/checkpoint.h"
#include "base/clock.h"
#include "decode/decode_internal.h"
#include "model/model_internal.h"
#include "tests/support.h"
#include "tune/load.h"
#include "tune/frequent.h"
#include "tune/record.h"
#include "tune/tune.h"

/* ---- statistics ---------------------------------------------------------------------------------------- */

static void spreads_ignore_a_hiccup(void **arg)
{
    (void)arg;
    static const double one[] = {9}, steady[] = {2, 2, 2, 2}, wild[] = {8, 10, 10, 11, 90};
    assert_true(estimate_spread(steady, 4) == 0);
    assert_true(estimate_spread(one, 1) == 0);
    assert_true(fabs(estimate_spread(wild, 5) - 0.1) <
                1e-12); /* distances 2 0 0 1 80: one hiccup moves nothing */
}

/* Draws of 1 .. 9 about 5: the interval holds the truth, is no wider than the sample, and shrinks with
 * rounds. */
static void intervals_hold_the_truth(void **arg)
{
    (void)arg;
    double v[2 * 64];
    srand(7);
    for (int i = 0; i < 128; i++) v[i] = 1 + rand() % 9;
    struct estimate few = estimate_mean(v, 2, 5, 1), many = estimate_mean(v, 2, 64, 1),
                    again = estimate_mean(v, 2, 64, 1);
    assert_true(many.low < 5.01 && many.high > 4.99 && many.low <= many.mid && many.mid <= many.high);
    assert_true(many.high - many.low < few.high - few.low);
    assert_true(few.low >= 1 && few.high <= 9);
    assert_memory_equal(&many, &again, sizeof many);
}

/* The choice of prompts is no noise: two prompts of different speed, each perfectly steady, give a point. */
static void groups_are_not_mixed(void **arg)
{
    (void)arg;
    double v[] = {10, 10, 10, 30, 30, 30}, r[] = {2, 2, 2, 0.5, 0.5, 0.5};
    struct estimate mean = estimate_mean(v, 2, 3, 1), ratio = estimate_ratio(r, 2, 3, 1);
    assert_true(mean.mid == 20 && mean.low == 20 && mean.high == 20);
    assert_true(fabs(ratio.mid - 1) < 1e-12 && fabs(ratio.low - 1) < 1e-12 && fabs(ratio.high - 1) < 1e-12);
}

/* ---- load ---------------------------------------------------------------------------------------------- */

static void load_is_read_and_judged(void **arg)
{
    (void)arg;
    int running = -1;
    assert_true(load_parse("11.04 9.00 5.64 13/155 20725\n", &running) && running == 13);
    assert_false(load_parse("", &running));
    assert_false(load_parse("1 2 3 -4/5 6", &running));
    assert_int_equal(running, 13);
    assert_false(load_is_busy(0.2, 2, 2)); /* housekeeping */
    assert_true(load_is_busy(1, 2, 2));
    assert_false(load_is_busy(6, 2, 8)); /* there is room for all */
    assert_true(load_is_busy(7, 2, 8));
    assert_true(load_is_busy(1, 4, 2)); /* more threads than CPUs: no negative room */
    assert_true(load_others() >= 0 && load_now() >= 0);
}

/* ---- verdict ------------------------------------------------------------------------------------------- */

/* One measured depth of a made-up result: multiplier and its interval, acceptance of the first draft in
 * percent. */
struct made {
    double mid, low, high;
    int accepted;
    bool another_text;
};

struct verdict_case {
    const char *what;
    enum tune_verdict verdict;
    int fastest, winner;
    const char *ties_plain, *ties_winner; /* a letter for each depth, 'x' = yes */
    struct made depth[3];
};

/* clang-format off */
static const struct verdict_case verdict_cases[] = {
    {"deeper is better", TUNE_MTP_WINS, 3, 3, "...", "...",
     {{1.6, 1.5, 1.7, 70, 0}, {1.8, 1.75, 1.9, 66, 0}, {2.2, 2.1, 2.3, 87, 0}}},
    {"the middle wins", TUNE_MTP_WINS, 2, 2, "...", "...",
     {{1.2, 1.1, 1.3, 70, 0}, {1.5, 1.4, 1.6, 70, 0}, {1.1, 1.05, 1.15, 70, 0}}},
    {"2 % slower and deeper wins", TUNE_MTP_WINS, 1, 2, "...", "x.x",
     {{1.5, 1.4, 1.6, 70, 0}, {1.48, 1.4, 1.6, 70, 0}, {1.46, 1.4, 1.6, 70, 0}}},
    {"2 % but collapsed does not", TUNE_MTP_WINS, 1, 1, "...", ".x.",
     {{1.5, 1.4, 1.6, 70, 0}, {1.49, 1.4, 1.6, 5, 0}, {1.2, 1.1, 1.3, 70, 0}}},
    {"all slower", TUNE_PLAIN_WINS, -1, -1, "...", "...",
     {{0.9, 0.8, 0.95, 70, 0}, {0.8, 0.7, 0.9, 70, 0}, {0.7, 0.6, 0.8, 70, 0}}},
    {"faster, but within noise", TUNE_PLAIN_WINS, -1, -1, "xx.", "...",
     {{1.05, 0.97, 1.1, 70, 0}, {1.02, 0.9, 1.2, 70, 0}, {0.7, 0.6, 0.8, 70, 0}}},
    {"equal", TUNE_PLAIN_WINS, -1, -1, "xxx", "...",
     {{1, 1, 1, 70, 0}, {1, 1, 1, 70, 0}, {1, 1, 1, 70, 0}}},
    {"collapsed, slower", TUNE_COLLAPSED, -1, -1, "...", "...",
     {{0.8, 0.7, 0.9, 0, 0}, {0.7, 0.6, 0.8, 5, 0}, {0.6, 0.5, 0.7, 1, 0}}},
    {"collapsed, faster: a freak", TUNE_COLLAPSED, -1, -1, "...", "...",
     {{1.2, 1.1, 1.3, 2, 0}, {1.3, 1.2, 1.4, 3, 0}, {1.4, 1.3, 1.5, 4, 0}}},
    {"6 % has not collapsed", TUNE_PLAIN_WINS, -1, -1, "...", "...",
     {{0.8, 0.7, 0.9, 6, 0}, {0.7, 0.6, 0.8, 5, 0}, {0.6, 0.5, 0.7, 5, 0}}},
    {"faster with another text", TUNE_QUALITY_FAILED, -1, -1, "...", "...",
     {{1.5, 1.4, 1.6, 70, 1}, {1.6, 1.5, 1.7, 70, 1}, {0.9, 0.8, 0.95, 70, 0}}},
    {"the next best has the right text", TUNE_MTP_WINS, 1, 1, "...", "...",
     {{1.5, 1.4, 1.55, 70, 0}, {1.8, 1.7, 1.9, 70, 1}, {0.9, 0.8, 0.95, 70, 0}}},
};
/* clang-format on */

static void make_rows(struct tune_row rows[4], const struct made *depth)
{
    memset(rows, 0, 4 * sizeof *rows);
    for (int i = 0; i < 4; i++) {
        struct made m = i ? depth[i - 1] : (struct made){1, 1, 1, 0, false};
        rows[i].depth = i;
        rows[i].multiplier = (struct estimate){m.mid, m.low, m.high};
        rows[i].tok_s = (struct estimate){100 * m.mid, 100 * m.low, 100 * m.high};
        for (int d = 0; d < i; d++) rows[i].drafted[d] = 100;
        if (i) rows[i].accepted[0] = m.accepted;
        rows[i].exact_match = !m.another_text;
        rows[i].cycles = 100;
        rows[i].tokens = 150;
        rows[i].decode_s = rows[i].prefill_s = rows[i].verify_s = 1;
    }
}

static void verdicts_follow_the_rules(void **arg)
{
    (void)arg;
    for (size_t i = 0; i < sizeof verdict_cases / sizeof *verdict_cases; i++) {
        const struct verdict_case *c = &verdict_cases[i];
        struct tune_row rows[4];
        struct tune_ruling v;
        make_rows(rows, c->depth);
        tune_judge(rows, 4, &v);
        if (v.verdict != c->verdict || v.winner != c->winner || v.fastest != c->fastest)
            fail_msg("%s: %s, fastest %d, winner %d", c->what, tune_verdict_name(v.verdict), v.fastest,
                     v.winner);
        for (int d = 0; d < 3; d++)
            if (v.ties_plain[d + 1] != (c->ties_plain[d] == 'x') ||
                v.ties_winner[d + 1] != (c->ties_winner[d] == 'x'))
                fail_msg("%s: depth %d ties with plain: %d, with the winner: %d", c->what, d + 1,
                         v.ties_plain[d + 1], v.ties_winner[d + 1]);
    }
}

static void plain_without_tokens_is_no_result(void **arg)
{
    (void)arg;
    struct tune_row rows[4];
    struct tune_ruling v;
    make_rows(rows, verdict_cases[0].depth);
    rows[0].tok_s.mid = 0;
    tune_judge(rows, 4, &v);
    assert_string_equal(tune_verdict_name(v.verdict), "tune_failed_no_ar_result");
    enum tune_verdict back;
    assert_true(tune_verdict_find("mtp_acceptance_collapsed", &back) && back == TUNE_COLLAPSED);
    assert_false(tune_verdict_find("ar_wins", &back));
}

static void few_drafts_say_little(void **arg)
{
    (void)arg;
    struct tune_row row = {.depth = 2, .drafted = {10, 0}, .accepted = {10, 0}};
    struct estimate few = tune_acceptance_interval(&row, 0), none = tune_acceptance_interval(&row, 1);
    row.drafted[0] = row.accepted[0] = 1000;
    struct estimate many = tune_acceptance_interval(&row, 0);
    assert_true(few.mid == 1 && few.low > 0.7 && few.low < 0.75 &&
                few.high == 1); /* Wilson: 10/(10+1.96^2) */
    assert_true(many.low > 0.99);
    assert_true(none.mid == 0 && none.low == 0 && none.high == 1);
}

/* ---- JSON and record ----------------------------------------------------------------------------------- */

static struct tune_result made_result(size_t verdict_case)
{
    struct tune_result r = {.settings = {.depths = 3, .rounds = 5, .max_tokens = 64, .n_threads = 2},
                            .n_rows = 4};
    make_rows(r.rows, verdict_cases[verdict_case].depth);
    tune_judge(r.rows, 4, &r.ruling);
    return r;
}

static const char *folder(const char *name)
{
    static char path[4096];
    snprintf(path, sizeof path, "%s/%s", scratch_dir(), name);
    return path;
}

static struct tune_key key_of(const char *dir, int threads)
{
    struct alula_error e;
    struct tune_key k;
    assert_ok(tune_key_make(&k, dir, threads, &e), e);
    return k;
}

static void save(const char *state, const struct tune_key *k, size_t verdict_case)
{
    struct alula_error e;
    struct tune_result r = made_result(verdict_case);
    json_t *payload = tune_to_json(&r, "some/model", k->cpu);
    assert_non_null(payload);
    assert_ok(tune_record_save(state, k, payload, &e), e);
    json_decref(payload);
}

static bool find(const char *state, const struct tune_key *k, struct tune_record *ret)
{
    struct alula_error e;
    bool found;
    assert_ok(tune_record_find(state, k, ret, &found, &e), e);
    return found;
}

/* Two folders deep, so that the folder is made; a second record leaves the first. */
static void record_round_trip(void **arg)
{
    (void)arg;
    char state[4096];
    snprintf(state, sizeof state, "%s", folder("new/state"));
    struct tune_key donor = key_of("models/tiny-donor", 2), trunk = key_of("models/tiny-trunk", 2);
    struct tune_record r;
    assert_false(find(state, &donor, &r));
    save(state, &donor, 0);
    save(state, &trunk, 4);
    assert_true(find(state, &donor, &r));
    assert_int_equal(r.verdict, TUNE_MTP_WINS);
    assert_int_equal(r.depth, 3);
    assert_true(r.multiplier == 2.2);
    assert_int_equal(strlen(r.saved_at), 20);
    assert_true(find(state, &trunk, &r));
    assert_int_equal(r.verdict, TUNE_PLAIN_WINS);
    assert_int_equal(r.depth, 0);
    save(state, &donor, 7);
    assert_true(find(state, &donor, &r));
    assert_int_equal(r.verdict, TUNE_COLLAPSED);
}

/* Most frequent first, the lowest id among equals, given in ascending order. */
static void frequent_ids_are_counted(void **arg)
{
    (void)arg;
    static const int32_t text[] = {7, 3, 7, 9, 3, 7, 1, 9};
    struct alula_error e;
    int32_t *ids;
    int n;
    assert_ok(frequent_ids(text, 8, 10, 2, &ids, &n, &e), e);
    assert_true(n == 2 && ids[0] == 3 && ids[1] == 7);
    mem_free(ids);
    assert_ok(frequent_ids(text, 8, 10, 9, &ids, &n, &e), e);
    assert_true(n == 4 && ids[0] == 1 && ids[3] == 9);
    mem_free(ids);
    assert_false(frequent_ids(text, 0, 10, 2, &ids, &n, &e));
    assert_int_equal(e.code, ALULA_FORMAT);
}

/* The ids of a text are recorded one by one; a list that does not fit its number is reported. */
static void ids_of_a_text_are_recorded(void **arg)
{
    (void)arg;
    static const int32_t ids[] = {2, 30, 400};
    char state[4096], path[4200];
    struct alula_error e;
    struct tune_record found;
    struct tune_key k = key_of("models/tiny-donor", 2);
    struct tune_result r = made_result(0);
    bool there;
    snprintf(state, sizeof state, "%s", folder("text-ids"));
    r.settings.n_trimmed = 1;
    r.settings.trim_sizes[0] = 3;
    r.settings.trim_ids[0] = ids;
    r.n_trims = 2;
    r.trim = 1;
    r.trims[0] = r.trims[1] = r.rows[2];
    json_t *payload = tune_to_json(&r, "some/model", k.cpu);
    assert_ok(tune_record_save(state, &k, payload, &e), e);
    json_decref(payload);
    assert_true(find(state, &k, &found));
    assert_int_equal(found.draft_vocab, 3);
    assert_memory_equal(found.draft_ids, ids, sizeof ids);
    tune_record_free(&found);

    snprintf(path, sizeof path, "%s/%s", state, TUNE_RECORD_FILE);
    json_t *root = json_parse_file(path, 1 << 20, 16, &e), *records = json_object_get(root, "records");
    assert_ok(root != NULL, e);
    payload = json_object_get(json_object_get(records, k.key), "payload");
    json_array_remove(json_object_get(json_object_get(payload, "draft_vocab"), "list"), 0);
    assert_int_equal(json_dump_file(root, path, 0), 0);
    json_decref(root);
    assert_false(tune_record_find(state, &k, &found, &there, &e));
    assert_non_null(strstr(e.message, "\"list\""));
}

/* The part of the vocabulary that won, with what it covers; none where the whole did. */
static void the_draft_vocabulary_is_recorded(void **arg)
{
    (void)arg;
    char state[4096];
    struct alula_error e;
    struct tune_record found;
    struct tune_key k = key_of("models/tiny-donor", 2);
    snprintf(state, sizeof state, "%s", folder("trims"));
    for (int trim = 0; trim < 2; trim++) {
        struct tune_result r = made_result(0);
        r.settings.n_trimmed = 1;
        r.settings.trim_sizes[0] = 512;
        r.settings.trim_bits = 4;
        r.n_trims = 2;
        r.trim = trim;
        for (int i = 0; i < 2; i++) {
            r.trims[i] = r.rows[2];
            r.trims[i].covered = i ? 120 : 150;
            r.trims[i].accepted[0] = i ? 60 : 70;
        }
        json_t *payload = tune_to_json(&r, "some/model", k.cpu);
        assert_non_null(payload);
        assert_ok(tune_record_save(state, &k, payload, &e), e);
        json_decref(payload);
        assert_true(find(state, &k, &found));
        assert_int_equal(found.draft_vocab, trim ? 512 : 0);
        assert_int_equal(found.draft_bits, trim ? 4 : 0);
        assert_true(!trim ||
                    (found.coverage == 0.8 && found.acceptance == 0.6 && found.acceptance_whole == 0.7));
    }
}

static void stale_records_are_ignored(void **arg)
{
    (void)arg;
    char state[4096], path[4200];
    struct alula_error e;
    struct tune_record r;
    snprintf(state, sizeof state, "%s", folder("stale"));
    snprintf(path, sizeof path, "%s/%s", state, TUNE_RECORD_FILE);
    struct tune_key k = key_of("models/tiny-donor", 2), other = key_of("models/tiny-donor", 3);
    save(state, &k, 0);
    assert_false(find(state, &other, &r)); /* another number of threads */

    /* The same key, but made by another build: ignored, and swept out by the next save. */
    json_t *root = json_parse_file(path, 0, 16, &e), *records = json_object_get(root, "records");
    json_t *software =
        json_object_get(json_object_get(json_object_get(records, k.key), "key_material"), "software");
    json_object_set_new(software, "alula_version", json_string("0.0.1"));
    assert_int_equal(json_dump_file(root, path, 0), 0);
    json_decref(root);
    assert_false(find(state, &k, &r));
    save(state, &other, 0);
    root = json_parse_file(path, 0, 16, &e);
    assert_int_equal(json_object_size(json_object_get(root, "records")), 1);

    json_object_set_new(root, "schema_version", json_integer(2)); /* a newer alula's */
    assert_int_equal(json_dump_file(root, path, 0), 0);
    json_decref(root);
    assert_false(find(state, &other, &r));
}

static void damaged_records_are_reported(void **arg)
{
    (void)arg;
    static const char *const bad[] = {
        "",
        "{",
        "[]",
        "{}",
        "{\"schema_version\": \"1\", \"records\": {}}",
        "{\"schema_version\": 1}",
        "{\"schema_version\": 1, \"records\": []}",
    };
    char state[4096], path[4200];
    struct alula_error e;
    struct tune_record r = {.depth = 77};
    bool found = true;
    snprintf(state, sizeof state, "%s", folder("damaged"));
    snprintf(path, sizeof path, "%s/%s", state, TUNE_RECORD_FILE);
    struct tune_key k = key_of("models/tiny-donor", 2);
    assert_int_equal(mkdir(state, 0700), 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_ok(file_write(path, bad[i], strlen(bad[i]), &e), e);
        assert_false(tune_record_find(state, &k, &r, &found, &e));
        assert_int_equal(e.code, ALULA_FORMAT);
        assert_non_null(strstr(e.message, path));
        assert_true(found && r.depth == 77);
        json_t *payload = json_object();
        assert_false(tune_record_save(state, &k, payload, &e)); /* nor is it overwritten */
        json_decref(payload);
        assert_int_equal(file_size(path), strlen(bad[i]));
    }
    /* The right key with a record that means nothing. */
    assert_int_equal(unlink(path), 0);
    json_t *payload = json_pack("{s:{s:s}}", "best_multiplier", "verdict", "mtp_depth_wins");
    assert_ok(tune_record_save(state, &k, payload, &e), e);
    json_decref(payload);
    assert_false(tune_record_find(state, &k, &r, &found, &e));
    assert_non_null(strstr(e.message, "winner"));
}

/* Same sizes, same configuration, other values; and the same values elsewhere. */
static void fingerprint_is_of_the_content(void **arg)
{
    (void)arg;
    char a[4096], b[4096], path[4200];
    struct alula_error e;
    char data[100000];
    memset(data, 1, sizeof data);
    snprintf(a, sizeof a, "%s", folder("print-a"));
    snprintf(b, sizeof b, "%s", folder("print-b"));
    for (int i = 0; i < 2; i++) {
        const char *dir = i ? b : a;
        assert_int_equal(mkdir(dir, 0700), 0);
        snprintf(path, sizeof path, "%s/config.json", dir);
        assert_ok(file_write(path, "{}", 2, &e), e);
        snprintf(path, sizeof path, "%s/model.safetensors", dir);
        assert_ok(file_write(path, data, sizeof data, &e), e);
        snprintf(path, sizeof path, "%s/notes.txt", dir);
        assert_ok(file_write(path, dir, strlen(dir), &e), e);
    }
    struct tune_key ka = key_of(a, 2), kb = key_of(b, 2);
    assert_string_equal(ka.fingerprint, kb.fingerprint);
    assert_string_equal(ka.key, kb.key);
    for (size_t i = 0; i < sizeof data; i++) data[i] ^= (char)(i % 3 == 0);
    snprintf(path, sizeof path, "%s/model.safetensors", b);
    assert_ok(file_write(path, data, sizeof data, &e), e);
    kb = key_of(b, 2);
    assert_string_not_equal(ka.fingerprint, kb.fingerprint);
    assert_false(tune_key_make(&ka, folder("nowhere"), 2, &e));
    assert_non_null(strstr(e.message, "nowhere"));
}

static const char *text_at(const json_t *o, const char *a, const char *b)
{
    return json_string_value(json_object_get(json_object_get(o, a), b));
}

static void json_has_the_names(void **arg)
{
    (void)arg;
    static const char *const row_names[] = {"mode",
                                            "depth",
                                            "tok_s",
                                            "decode_tok_s",
                                            "end_to_end_tok_s",
                                            "generated_tokens",
                                            "elapsed_s",
                                            "prompt_eval_time_s",
                                            "decode_elapsed_s",
                                            "hit_token_budget",
                                            "hit_token_budget_count",
                                            "finish_reasons",
                                            "verify_time_s",
                                            "verify_calls",
                                            "verify_ms_per_call",
                                            "accepted_by_depth",
                                            "drafted_by_depth",
                                            "acceptance_by_depth",
                                            "acceptance_percent_by_depth",
                                            "quality_passed",
                                            "multiplier_vs_ar",
                                            "control_field"};
    struct tune_result r = made_result(2);
    json_t *o = tune_to_json(&r, "some/model", "a cpu"), *results = json_object_get(o, "results");
    assert_string_equal(text_at(o, "best", "mode"), "D2");
    assert_string_equal(text_at(o, "best_multiplier", "verdict"), "mtp_depth_wins");
    assert_string_equal(text_at(json_object_get(o, "best_multiplier"), "raw_winner", "mode"), "D1");
    assert_true(json_is_true(
        json_object_get(json_object_get(json_object_get(o, "best_multiplier"), "tie_breaker"), "applied")));
    assert_string_equal(text_at(o, "settings", "depths"), "1,2,3");
    assert_string_equal(text_at(o, "hardware", "chip"), "a cpu");
    assert_int_equal(json_array_size(results), 4);
    const json_t *last = json_array_get(results, 3);
    for (size_t i = 0; i < sizeof row_names / sizeof *row_names; i++)
        if (!json_object_get(last, row_names[i])) fail_msg("the row lacks %s", row_names[i]);
    assert_int_equal(json_array_size(json_object_get(last, "drafted_by_depth")), 3);
    assert_true(json_is_null(json_object_get(json_array_get(results, 0), "depth")));
    json_decref(o);

    r = made_result(4);
    o = tune_to_json(&r, "some/model", "");
    assert_true(json_is_null(json_object_get(o, "best")));
    assert_string_equal(json_string_value(json_array_get(
                            json_object_get(json_object_get(o, "best_multiplier"), "failure_reasons"), 0)),
                        "no_mtp_depth_beat_ar");
    json_decref(o);
}

/* ---- picture ------------------------------------------------------------------------------------------- */

/* Every element opened is closed in order, attributes are quoted, no stray < or &, no number that is none. */
static void assert_well_formed(const char *s)
{
    char open[16][16];
    int depth = 0, elements = 0;
    assert_null(strstr(s, "nan"));
    assert_null(strstr(s, "inf"));
    for (; *s; s++) {
        if (*s == '&') assert_true(!strncmp(s, "&amp;", 5) || !strncmp(s, "&lt;", 4));
        if (*s != '<') continue;
        const char *end = strchr(s, '>');
        assert_non_null(end);
        int quotes = 0, name = (int)strcspn(s + 1, " />\n");
        for (const char *p = s; p < end; p++) quotes += *p == '"';
        assert_true(quotes % 2 == 0);
        if (s[1] == '/') {
            assert_true(depth > 0);
            depth--;
            assert_true((size_t)(end - s - 2) == strlen(open[depth]) &&
                        !strncmp(s + 2, open[depth], strlen(open[depth])));
        } else {
            elements++;
            assert_true(depth < 16 && name < 16 && name > 0);
            if (end[-1] != '/') snprintf(open[depth++], 16, "%.*s", name, s + 1);
        }
        s = end;
    }
    assert_int_equal(depth, 0);
    assert_true(elements > 20);
}

static void picture_is_well_formed(void **arg)
{
    (void)arg;
    struct buf svg = {0};
    struct tune_result r = made_result(0);
    tune_plot(&r, "a<b & \"c\"", &svg);
    assert_ok(!svg.failed, (struct alula_error){.message = "out of memory"});
    assert_well_formed(svg.data);
    assert_non_null(strstr(svg.data, "a&lt;b &amp;"));
    assert_non_null(strstr(svg.data, "2.20x"));
    buf_clear(&svg);
    memset(&r.rows, 0, sizeof r.rows); /* nothing measured at all */
    for (int i = 0; i < r.n_rows; i++) r.rows[i].depth = i;
    tune_plot(&r, "m", &svg);
    assert_well_formed(svg.data);
    buf_free(&svg);
}

/* ---- real runs ----------------------------------------------------------------------------------------- */

static void open_with(struct alula_engine **g, const char *head)
{
    struct alula_error e;
    struct alula_engine_options o = {.mtp = head};
    assert_ok(alula_engine_open(g, "models/tiny-trunk", &o, &e), e);
}

static const struct tune_options quick = {
    .depths = 2, .rounds = 3, .max_tokens = 24, .n_threads = 1, .force = true};

static void a_head_that_works(void **arg)
{
    (void)arg;
    struct alula_error e;
    struct alula_engine *g;
    struct tune_result r;
    open_with(&g, "models/tiny-donor");
    assert_ok(tune_run(g, &quick, &r, &e), e);
    alula_engine_close(g);
    assert_int_equal(r.n_rows, 3);
    for (int i = 0; i < 3; i++) {
        const struct tune_row *row = &r.rows[i];
        assert_true(row->exact_match);
        assert_int_equal(row->tokens,
                         4 * 3 * 24); /* prompts, rounds: stop ids end nothing, so all are of a length */
        assert_true(row->tok_s.low > 0 && row->tok_s.low <= row->tok_s.mid &&
                    row->tok_s.mid <= row->tok_s.high);
        assert_true(row->multiplier.low <= row->multiplier.mid &&
                    row->multiplier.mid <= row->multiplier.high);
        assert_true(row->verify_s > 0 && row->cycles > 0);
        assert_true(!i ||
                    (tune_acceptance(row, 0) > 0.3 && row->draft_s > 0)); /* models/README.md: 0.7 and more */
    }
    assert_true(r.rows[0].multiplier.mid == 1 && r.rows[0].drafted[0] == 0);
    assert_true(r.rows[2].cycles < r.rows[0].cycles);
    assert_true(r.ruling.verdict == TUNE_MTP_WINS || r.ruling.verdict == TUNE_PLAIN_WINS);
}

/* Drafts from parts of the vocabulary: everything is measured, the text is the same, and what is taken is either the whole
 * or a part whose interval lies above it. */
static void parts_of_the_vocabulary(void **arg)
{
    (void)arg;
    struct alula_error e;
    struct alula_engine *g, *part[TUNE_TRIMS_MAX];
    struct tune_result r;
    struct tune_options o = quick;
    open_with(&g, "models/tiny-donor");
    o.n_trimmed = tune_trim_sizes(g, o.trim_sizes, &o.trim_bits);
    assert_int_equal(o.n_trimmed, 3); /* the LM head of a small model is much of its head's step */
    assert_true(o.trim_sizes[0] == 2048 && o.trim_sizes[1] == 512 && o.trim_sizes[2] == 256);
    assert_int_equal(o.trim_bits, 4); /* it is stored as bf16 */
    for (int i = 0; i < 3; i++) {
        struct alula_engine_options eo = {
            .mtp = "models/tiny-donor", .draft_vocab = o.trim_sizes[i], .draft_bits = o.trim_bits};
        assert_ok(alula_engine_open(&part[i], "models/tiny-trunk", &eo, &e), e);
        o.trimmed[i] = part[i];
    }
    assert_ok(tune_run(g, &o, &r, &e), e);
    assert_int_equal(r.n_trims, 4);
    for (int i = 0; i < 4; i++) {
        assert_true(r.trims[i].exact_match && r.trims[i].depth == TUNE_TRIM_DEPTH);
        assert_int_equal(r.trims[i].tokens, 4 * 3 * 24);
        assert_true(i < 2 || r.trims[i].covered < r.trims[i - 1].covered);
    }
    for (int i = 0; i < 2; i++) assert_int_equal(r.trims[i].covered, r.trims[i].tokens);
    assert_true(!r.trim || r.trims[r.trim].multiplier.low > 1);
    for (int i = 0; i < r.n_rows; i++) assert_true(r.rows[i].exact_match);
    for (int i = 0; i < 3; i++) alula_engine_close(part[i]);
    alula_engine_close(g);
}

static void (*true_norm)(float *out, const float *x, const float *gain, size_t n, float eps);
static const float *slow_gain;

static void slow_norm(float *out, const float *x, const float *gain, size_t n, float eps)
{
    double begin = clock_s();
    while (gain == slow_gain && clock_s() - begin < 0.01) continue;
    true_norm(out, x, gain, n, eps);
}

/* A head that guesses well and takes longer than it saves: its last norm is made to wait, many times what a token takes. */
static void a_slow_head(void **arg)
{
    (void)arg;
    struct alula_error e;
    struct alula_engine *g;
    struct tune_result r;
    open_with(&g, "models/tiny-donor");
    true_norm = g->model->kern.rms_norm;
    slow_gain = g->weights->mtp.norm.gain;
    g->model->kern.rms_norm = slow_norm;
    assert_ok(tune_run(g, &quick, &r, &e), e);
    alula_engine_close(g);
    assert_string_equal(tune_verdict_name(r.ruling.verdict), "no_mtp_depth_beat_ar");
    assert_true(tune_acceptance(&r.rows[1], 0) > 0.3);
}

/* The donor's head with the values of every matrix in another order: right in every respect that can be
 * seen. */
static void write_noise_head(const char *path)
{
    struct alula_error e;
    struct checkpoint *c;
    struct st_writer *w;
    assert_ok(checkpoint_open_head(&c, "models/tiny-donor", &e), e);
    assert_ok(st_writer_open(&w, path, NULL, &e), e);
    for (int pass = 0; pass < 2; pass++) {
        if (pass) assert_ok(st_writer_begin(w, &e), e);
        for (size_t i = 0; i < c->n_tensors; i++) {
            const struct tensor *t = c->tensors[i];
            if (strncmp(t->name, "mtp.", 4)) continue;
            if (!pass) {
                assert_ok(st_writer_declare(w, t->name, t->dtype, t->n_dims, t->shape, &e), e);
                continue;
            }
            size_t n = t->n_bytes / 2;
            uint16_t *v = mem_alloc(t->n_bytes);
            assert_true(v && t->dtype == DT_BF16);
            memcpy(v, t->data, t->n_bytes);
            for (size_t k = n - 1; t->n_dims > 1 && k > 0; k--) {
                size_t other = (size_t)rand() % (k + 1);
                uint16_t x = v[k];
                v[k] = v[other];
                v[other] = x;
            }
            assert_ok(st_writer_append(w, v, t->n_bytes, &e), e);
            mem_free(v);
        }
    }
    assert_ok(st_writer_commit(w, &e), e);
    st_writer_close(w);
    checkpoint_close(c);
}

static void a_head_of_noise(void **arg)
{
    (void)arg;
    struct alula_error e;
    struct alula_engine *g;
    struct tune_result r;
    char head[4096], file[4200];
    srand(11);
    snprintf(head, sizeof head, "%s", folder("noise"));
    snprintf(file, sizeof file, "%s/mtp.safetensors", head);
    assert_int_equal(mkdir(head, 0700), 0);
    write_noise_head(file);
    open_with(&g, head);
    assert_ok(tune_run(g, &quick, &r, &e), e);
    alula_engine_close(g);
    if (r.ruling.verdict != TUNE_COLLAPSED)
        fail_msg("%s with acceptance %.3f", tune_verdict_name(r.ruling.verdict),
                 tune_acceptance(&r.rows[1], 0));
    for (int i = 1; i < 3; i++) assert_true(r.rows[i].exact_match && r.ruling.collapsed[i]);
}

enum { SPINNERS_MAX = 256 };

struct crowd {
    pthread_t threads[SPINNERS_MAX];
    int n;
    _Atomic bool over;
};

static void *spin(void *arg)
{
    struct crowd *c = arg;
    while (!c->over) continue;
    return NULL;
}

static bool crowd_in(void *arg, enum tune_stage stage, int done, int total)
{
    struct crowd *c = arg;
    (void)done, (void)total;
    while (stage == TUNE_MEASURING && c->n < SPINNERS_MAX && c->n < load_machine_cpus() + 2)
        assert_int_equal(pthread_create(&c->threads[c->n++], NULL, spin, c), 0);
    return true;
}

/* A machine that was at rest before and gets busy while tune measures. */
static void others_come_meanwhile(void **arg)
{
    (void)arg;
    struct alula_error e;
    struct alula_engine *g;
    struct tune_result r;
    struct crowd c = {.n = 0};
    struct tune_options o = quick;
    o.depths = 1, o.max_tokens = 8;
    o.progress = crowd_in;
    o.arg = &c;
    open_with(&g, "models/tiny-donor");
    assert_ok(tune_run(g, &o, &r, &e), e);
    c.over = true;
    for (int i = 0; i < c.n; i++) pthread_join(c.threads[i], NULL);
    alula_engine_close(g);
    assert_true(r.busy && r.others >= 1);
}

static bool stop_at_the_third(void *arg, enum tune_stage stage, int done, int total)
{
    (void)arg;
    return stage != TUNE_MEASURING || done < 2 || done >= total;
}

static void refusals(void **arg)
{
    (void)arg;
    struct alula_error e;
    struct alula_engine *g, *bare;
    struct tune_result r;
    struct tune_options o = quick;
    open_with(&g, "models/tiny-donor");
    o.progress = stop_at_the_third;
    assert_false(tune_run(g, &o, &r, &e));
    assert_int_equal(e.code, ALULA_CANCELLED);
    o = quick, o.depths = ALULA_DEPTH_MAX + 1;
    assert_false(tune_run(g, &o, &r, &e));
    assert_int_equal(e.code, ALULA_USAGE);
    o = quick, o.rounds = 2;
    assert_false(tune_run(g, &o, &r, &e));
    assert_int_equal(e.code, ALULA_USAGE);
    o = quick, o.max_tokens = 7;
    assert_false(tune_run(g, &o, &r, &e));
    assert_int_equal(e.code, ALULA_USAGE);
    alula_engine_close(g);
    assert_ok(alula_engine_open(&bare, "models/tiny-trunk", NULL, &e), e);
    assert_false(tune_run(bare, &quick, &r, &e));
    assert_int_equal(e.code, ALULA_UNSUPPORTED);
    assert_non_null(strstr(e.message, "no MTP head"));
    alula_engine_close(bare);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spreads_ignore_a_hiccup),
        cmocka_unit_test(intervals_hold_the_truth),
        cmocka_unit_test(groups_are_not_mixed),
        cmocka_unit_test(load_is_read_and_judged),
        cmocka_unit_test(verdicts_follow_the_rules),
        cmocka_unit_test(plain_without_tokens_is_no_result),
        cmocka_unit_test(few_drafts_say_little),
        cmocka_unit_test(record_round_trip),
        cmocka_unit_test(the_draft_vocabulary_is_recorded),
        cmocka_unit_test(frequent_ids_are_counted),
        cmocka_unit_test(ids_of_a_text_are_recorded),
        cmocka_unit_test(stale_records_are_ignored),
        cmocka_unit_test(damaged_records_are_reported),
        cmocka_unit_test(fingerprint_is_of_the_content),
        cmocka_unit_test(json_has_the_names),
        cmocka_unit_test(picture_is_well_formed),
        cmocka_unit_test(a_head_that_works),
        cmocka_unit_test(parts_of_the_vocabulary),
        cmocka_unit_test(a_slow_head),
        cmocka_unit_test(a_head_of_noise),
        cmocka_unit_test(others_come_meanwhile),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
