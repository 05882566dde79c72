/* The sampler chain, the draws and the acceptance laws against exact values; the noise; stop texts. */
#include <math.h>
#include <string.h>

#include "decode/accept.h"
#include "decode/stops.h"
#include "tests/support.h"

static json_t *fixture(void)
{
    static json_t *root;
    if (!root) {
        struct alula_error e;
        root = json_parse_file(data_path("sampling/sampling.json"), 1 << 24, 16, &e);
        assert_ok(root, e);
    }
    return root;
}

static double num(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    assert_true(json_is_number(v));
    return json_number_value(v);
}

static int read_reals(const json_t *a, double *out)
{
    for (size_t i = 0; i < json_array_size(a); i++) out[i] = json_number_value(json_array_get(a, i));
    return (int)json_array_size(a);
}

static int read_ids(const json_t *a, int32_t *out)
{
    for (size_t i = 0; i < json_array_size(a); i++)
        out[i] = (int32_t)json_integer_value(json_array_get(a, i));
    return (int)json_array_size(a);
}

static struct alula_sampling neutral(void)
{
    return (struct alula_sampling){.temperature = 1, .top_p = 1, .repetition_penalty = 1};
}

static struct alula_sampling case_settings(const json_t *c)
{
    struct alula_sampling set = neutral();
    set.temperature = num(c, "temperature");
    set.top_k = (int)num(c, "top_k");
    set.top_p = num(c, "top_p");
    set.min_p = num(c, "min_p");
    set.repetition_penalty = num(c, "repetition_penalty");
    set.presence_penalty = num(c, "presence_penalty");
    set.frequency_penalty = num(c, "frequency_penalty");
    return set;
}

static void check_case(const json_t *c, int index, bool with_detour)
{
    struct alula_error e;
    float logits[50];
    double z[50], want[50];
    int32_t ids[50], said[64];
    const json_t *row = json_object_get(json_object_get(fixture(), "logits"),
                                        json_string_value(json_object_get(c, "logits")));
    assert_int_equal(read_reals(row, z), 50);
    for (int i = 0; i < 50; i++) logits[i] = (float)z[i];
    struct sampler *s;
    struct alula_sampling set = case_settings(c);
    assert_ok(sampler_create(&s, 50, &set, &e), e);
    struct dist d;
    assert_true(sampler_dist_alloc(s, &d));
    int n = read_ids(json_object_get(c, "prompt"), said);
    sampler_read(s, said, (size_t)n);
    sampler_begin(s);
    n = read_ids(json_object_get(c, "completion"), said);
    for (int i = 0; i < n; i++) sampler_push(s, said[i]);
    if (with_detour) { /* rejected drafts, some new, some said before */
        int32_t drafts[] = {3, 17, 3, 49, 9};
        for (int i = 0; i < 5; i++) sampler_push(s, drafts[i]);
        sampler_pop(s, drafts + 3, 2);
        sampler_pop(s, drafts, 3);
    }
    uint64_t before = mem_count();
    assert_true(sampler_shape(s, logits, NULL, &d));
    assert_int_equal(mem_count(), before);
    const json_t *expected = json_object_get(c, "expected");
    n = read_ids(json_object_get(expected, "ids"), ids);
    read_reals(json_object_get(expected, "probs"), want);
    int listed = 0;
    for (int i = 0; i < d.n; i++) {
        if (i) assert_true(d.ids[i] > d.ids[i - 1]);
        int j = 0;
        while (j < n && ids[j] != d.ids[i]) j++;
        if (j == n && d.p[i] > 1e-18) fail_msg("case %d keeps id %d", index, (int)d.ids[i]);
        if (j == n) continue;
        listed++;
        if (!(fabs(d.p[i] - want[j]) <= 1e-9))
            fail_msg("case %d: p[%d] is %.12g, expected %.12g", index, (int)d.ids[i], d.p[i], want[j]);
    }
    assert_int_equal(listed, n);
    sampler_dist_free(&d);
    sampler_free(s);
}

static void test_chain_of_filters(void **state)
{
    (void)state;
    const json_t *cases = json_object_get(fixture(), "cases");
    assert_int_equal(json_array_size(cases), 123);
    for (int i = 0; i < 123; i++) check_case(json_array_get(cases, (size_t)i), i, false);
}

/* Drafts that were taken back leave no trace in the penalties. */
static void test_penalties_forget_rejected_drafts(void **state)
{
    (void)state;
    for (int i = 0; i < 123; i++)
        check_case(json_array_get(json_object_get(fixture(), "cases"), (size_t)i), i, true);
}

/* The tokens of the last answer are prompt to the next: repetition still sees them, presence and frequency do
 * not. */
static void test_new_answer_turns_the_last_into_prompt(void **state)
{
    (void)state;
    struct alula_error e;
    float logits[4] = {1, 1, 1, 1};
    struct alula_sampling set = neutral();
    set.presence_penalty = 1;
    struct sampler *s;
    struct dist d;
    assert_ok(sampler_create(&s, 4, &set, &e), e);
    assert_true(sampler_dist_alloc(s, &d));
    sampler_begin(s);
    sampler_push(s, 2);
    assert_true(sampler_shape(s, logits, NULL, &d));
    assert_true(d.p[2] < 0.2);
    sampler_begin(s);
    assert_true(sampler_shape(s, logits, NULL, &d));
    assert_true(fabs(d.p[2] - 0.25) < 1e-12);
    sampler_dist_free(&d);
    sampler_free(s);
    set.repetition_penalty = 2;
    assert_ok(sampler_create(&s, 4, &set, &e), e);
    assert_true(sampler_dist_alloc(s, &d));
    sampler_push(s, 2);
    sampler_begin(s);
    assert_true(sampler_shape(s, logits, NULL, &d));
    assert_true(fabs(d.p[2] / d.p[0] - exp(-0.5)) < 1e-12);
    sampler_dist_free(&d);
    sampler_free(s);
}

static double shaped(struct alula_sampling set, const float *logits, int n, const uint32_t *allowed,
                     int32_t id, int *kept)
{
    struct alula_error e;
    struct sampler *s;
    struct dist d;
    assert_ok(sampler_create(&s, n, &set, &e), e);
    assert_true(sampler_dist_alloc(s, &d));
    *kept = sampler_shape(s, logits, allowed, &d) ? d.n : 0;
    double p = dist_p(&d, id);
    sampler_dist_free(&d);
    sampler_free(s);
    return p;
}

static void test_bias_and_mask(void **state)
{
    (void)state;
    int kept;
    float logits[40];
    for (int i = 0; i < 40; i++) logits[i] = (float)i / 8;
    uint32_t allowed[2] = {1u << 3 | 1u << 7, 1u << (39 - 32)}, none[2] = {0, 0};
    struct alula_bias bias[] = {{7, 50}};
    struct alula_sampling set = neutral();
    shaped(set, logits, 40, allowed, 39, &kept);
    assert_int_equal(kept, 3);
    set.bias = bias;
    set.n_bias = 1;
    assert_true(shaped(set, logits, 40, allowed, 7, &kept) > 0.999);
    set.temperature = 0;
    assert_true(shaped(set, logits, 40, allowed, 7, &kept) == 1);
    set.n_bias = 0;
    assert_true(shaped(set, logits, 40, allowed, 39, &kept) == 1);
    shaped(set, logits, 40, none, 0, &kept);
    assert_int_equal(kept, 0);
    set.temperature = 1;
    shaped(set, logits, 40, none, 0, &kept);
    assert_int_equal(kept, 0);
}

/* No finite logit is a failure, never a made-up token; a NaN among numbers is never drawn. */
static void test_logits_that_are_no_numbers(void **state)
{
    (void)state;
    int kept;
    float nan4[4] = {NAN, NAN, NAN, NAN}, inf4[4] = {0, INFINITY, 0, 0}, one[4] = {NAN, 1, NAN, 1};
    struct alula_sampling set = neutral();
    for (int greedy = 0; greedy < 2; greedy++) {
        set.temperature = greedy ? 0 : 1;
        shaped(set, nan4, 4, NULL, 0, &kept);
        assert_int_equal(kept, 0);
        assert_true(shaped(set, one, 4, NULL, 0, &kept) == 0);
        assert_int_equal(kept, greedy ? 1 : 2);
    }
    shaped(set, inf4, 4, NULL, 1, &kept);
    set.temperature = 1;
    shaped(set, inf4, 4, NULL, 1, &kept);
    assert_int_equal(kept, 0);
}

/* Ties at the border of top_k and top_p go to the lowest ids, at any size of the vocabulary. */
static void test_ties_and_large_vocabulary(void **state)
{
    (void)state;
    enum { N = 5000 };
    static float logits[N];
    int kept;
    for (int i = 0; i < N; i++) logits[i] = i % 10 == 3 ? 2.0f : 0.0f;
    struct alula_sampling set = neutral();
    set.top_k = 100;
    assert_true(fabs(shaped(set, logits, N, NULL, 993, &kept) - 0.01) < 1e-12);
    assert_int_equal(kept, 100);
    assert_true(shaped(set, logits, N, NULL, 1003, &kept) == 0);
    set.top_k = 0;
    double heavy = 500 * exp(2) / (500 * exp(2) + 4500);
    set.top_p = heavy / 2;
    shaped(set, logits, N, NULL, 3, &kept);
    assert_in_range(kept, 249, 251);
    assert_true(shaped(set, logits, N, NULL, 4993, &kept) == 0);
    set.top_p = 0.999;
    shaped(set, logits, N, NULL, 3, &kept);
    assert_true(kept > 4900 && kept < N);
}

/* The search takes several at a time: the lowest of equals must win wherever it lies, and NaN never. */
static void test_best_of_any_length(void **state)
{
    (void)state;
    float z[70];
    for (int n = 1; n <= 70; n++)
        for (int at = 0; at < n; at++) {
            for (int i = 0; i < n; i++) z[i] = i % 7 == 3 ? NAN : (float)(i % 5);
            z[at] = 9;
            if (at + 17 < n) z[at + 17] = 9;
            if (at + 1 < n) z[at + 1] = 9;
            assert_int_equal(sampler_best(z, n), at);
        }
    for (int i = 0; i < 70; i++) z[i] = i < 40 ? -INFINITY : NAN;
    assert_int_equal(sampler_best(z, 70), 0);
    assert_int_equal(sampler_best(z, 0), 0);
}

static void expect_refused(struct alula_sampling set, const char *word)
{
    struct alula_error e;
    struct sampler *s = NULL;
    assert_false(sampler_create(&s, 50, &set, &e));
    assert_int_equal(e.code, ALULA_USAGE);
    if (!strstr(e.message, word)) fail_msg("\"%s\" does not name %s", e.message, word);
    assert_null(s);
}

static void test_bad_settings_are_named(void **state)
{
    (void)state;
    struct alula_sampling set = neutral();
    struct alula_bias bias = {50, 1};
    set.temperature = -0.1, expect_refused(set, "temperature is -0.1"), set = neutral();
    set.temperature = NAN, expect_refused(set, "temperature"), set = neutral();
    set.top_k = -1, expect_refused(set, "top_k is -1"), set = neutral();
    set.top_p = 1.5, expect_refused(set, "top_p is 1.5"), set = neutral();
    set.min_p = -1, expect_refused(set, "min_p is -1"), set = neutral();
    set.presence_penalty = 3, expect_refused(set, "presence_penalty is 3"), set = neutral();
    set.frequency_penalty = INFINITY, expect_refused(set, "frequency_penalty is inf"), set = neutral();
    set.repetition_penalty = 0, expect_refused(set, "repetition_penalty is 0"), set = neutral();
    set.law = (enum alula_law)9, expect_refused(set, "law is 9"), set = neutral();
    set.bias = &bias, set.n_bias = 1, expect_refused(set, "id 50"), bias.id = 1;
    bias.value = 101, expect_refused(set, "logit bias is 101");
}

static int read_dist(const json_t *a, double *p, int32_t *ids)
{
    double all[64];
    int n = 0, v = read_reals(a, all);
    for (int i = 0; i < v; i++)
        if (all[i] > 0) {
            ids[n] = i;
            p[n++] = all[i];
        }
    return n;
}

/* Acceptance, residual and what is emitted: sums over all drafts, exact. */
static void test_rejection_law(void **state)
{
    (void)state;
    const json_t *pairs = json_object_get(fixture(), "speculative");
    assert_int_equal(json_array_size(pairs), 10);
    for (size_t k = 0; k < 10; k++) {
        const json_t *c = json_array_get(pairs, k);
        double pp[64], qp[64], residual[64], output[64] = {0}, total = 0;
        int32_t pi[64], qi[64];
        struct dist p = {pi, pp, read_dist(json_object_get(c, "p"), pp, pi)};
        struct dist q = {qi, qp, read_dist(json_object_get(c, "q"), qp, qi)};
        const json_t *accept = json_object_get(c, "accept"), *left = json_object_get(c, "residual");
        int vocab = (int)json_array_size(accept);
        for (int x = 0; x < vocab; x++) {
            const json_t *a = json_array_get(accept, (size_t)x);
            double mine = accept_probability(&p, &q, x);
            if (json_is_number(a)) assert_true(fabs(mine - json_number_value(a)) < 1e-9);
            total += dist_p(&q, x) * mine;
            output[x] += dist_p(&q, x) * mine;
        }
        assert_true(fabs(total - num(c, "accept_total")) < 1e-9);
        if (json_is_array(left)) {
            /* The residual as a distribution: where its inverse steps. */
            read_reals(left, residual);
            double low = 0;
            for (int x = 0; x < vocab; x++) {
                if (residual[x] <= 1e-9) continue;
                assert_int_equal(accept_residual(&p, &q, low + 1e-9), x);
                assert_int_equal(accept_residual(&p, &q, low + residual[x] - 1e-9), x);
                low += residual[x];
                output[x] += (1 - total) * residual[x];
            }
        } else {
            assert_int_equal(accept_residual(&p, &q, 1e-9), pi[0]);
        }
        for (int x = 0; x < vocab; x++) assert_true(fabs(output[x] - dist_p(&p, x)) < 1e-8);
    }
}

/* Depth 3 with the same p and q at each place: how many drafts survive, as counted. */
static void test_chain_of_places(void **state)
{
    (void)state;
    const json_t *chain = json_object_get(fixture(), "chain"),
                 *pairs = json_object_get(fixture(), "speculative"), *c = NULL;
    for (size_t k = 0; k < 10; k++)
        if (!strcmp(json_string_value(json_object_get(json_array_get(pairs, k), "name")),
                    json_string_value(json_object_get(chain, "pair"))))
            c = json_array_get(pairs, k);
    assert_non_null(c);
    enum { CYCLES = 40000, DEPTH = 3 };
    double pp[64], qp[64], want[DEPTH + 1];
    int32_t pi[64], qi[64], token;
    struct dist p = {pi, pp, read_dist(json_object_get(c, "p"), pp, pi)};
    struct dist q = {qi, qp, read_dist(json_object_get(c, "q"), qp, qi)};
    struct law law = {ALULA_LAW_REJECTION, 11};
    int survived[DEPTH + 1] = {0};
    for (int i = 0; i < CYCLES; i++) {
        int n = 0;
        while (n < DEPTH) {
            uint64_t place = (uint64_t)(i * DEPTH + n);
            if (!law_accept(&law, place, &p, &q, law_draft(&law, place, &q), &token)) break;
            n++;
        }
        survived[n]++;
    }
    read_reals(json_object_get(chain, "prob_accepted"), want);
    for (int n = 0; n <= DEPTH; n++) {
        double sigma = sqrt(want[n] * (1 - want[n]) / CYCLES);
        assert_true(fabs((double)survived[n] / CYCLES - want[n]) < 4 * sigma);
    }
}

/* Neighbouring seeds, places and lanes share nothing that a count could see. */
static void test_noise_is_uniform_and_unrelated(void **state)
{
    (void)state;
    enum { N = 60000, BINS = 16 };
    int together[BINS][BINS] = {{0}};
    for (int k = 0; k < 4; k++) {
        memset(together, 0, sizeof together);
        for (uint64_t i = 0; i < N; i++) {
            uint64_t a = rng_place(k == 0 ? i : 5, k == 0 ? 5 : i),
                     b = rng_place(k == 0 ? i + 1 : 5, k == 0 ? 5 : i + 1);
            double u = rng_uniform(a, RNG_TARGET),
                   v = k < 2 ? rng_uniform(b, RNG_TARGET) : rng_uniform(a, k == 2 ? RNG_ACCEPT : RNG_DRAFT);
            assert_true(u > 0 && u < 1);
            together[(int)(u * BINS)][(int)(v * BINS)]++;
        }
        double chi = 0, want = (double)N / (BINS * BINS);
        for (int i = 0; i < BINS * BINS; i++) chi += pow(together[i / BINS][i % BINS] - want, 2) / want;
        /* 255 degrees of freedom: mean 255, deviation 22.6 */
        assert_true(chi > 165 && chi < 345);
    }
}

/* The shortcuts of the race change nothing: the winner of many also beats each of the others alone, and a
 * runner without weight never wins. */
static void test_race_is_won_pair_by_pair(void **state)
{
    (void)state;
    enum { N = 300 };
    double w[N];
    int32_t ids[N];
    for (int i = 0; i < N; i++) ids[i] = 7 * i;
    for (uint64_t place = 0; place < 500; place++) {
        for (int i = 0; i < N; i++)
            w[i] = i % 17 == 3 ? 0 : exp(-8 * rng_uniform(rng_place(1, place * N + (uint64_t)i), RNG_DRAFT));
        int winner = rng_race(place, ids, w, N);
        assert_true(w[winner] > 0);
        for (int i = 0; i < N; i++) {
            if (i == winner) continue;
            int32_t two[2] = {ids[i], ids[winner]};
            double pair[2] = {w[i], w[winner]};
            assert_int_equal(rng_race(place, two, pair, 2), 1);
        }
    }
}

static void feed(struct stops *s, const char *text, size_t piece, struct buf *out, bool *stopped)
{
    size_t len = strlen(text);
    buf_clear(out);
    stops_reset(s);
    *stopped = false;
    for (size_t i = 0; i < len && !*stopped; i += piece)
        *stopped = stops_put(s, text + i, len - i < piece ? len - i : piece, out);
    if (!*stopped) stops_end(s, out);
}

static void check_stops(const char *const *texts, int n, const char *text, const char *want, bool want_stop)
{
    struct alula_error e;
    struct stops *s;
    struct buf out;
    buf_init(&out, 0);
    assert_ok(stops_create(&s, texts, n, &e), e);
    for (size_t piece = 1; piece <= strlen(text); piece++) {
        bool stopped;
        feed(s, text, piece, &out, &stopped);
        assert_int_equal(stopped, want_stop);
        assert_string_equal(out.data ? out.data : "", want);
    }
    stops_free(s);
    buf_free(&out);
}

static void test_stop_texts(void **state)
{
    (void)state;
    check_stops((const char *[]){"END"}, 1, "one ENEND two", "one EN", true);
    check_stops((const char *[]){"END"}, 1, "one EN", "one EN", false);
    check_stops((const char *[]){"aab"}, 1, "aaaab", "aa", true);
    check_stops((const char *[]){"abab", "ba"}, 2, "xabab", "xa", true);
    check_stops((const char *[]){"b", "aab"}, 2, "xaab", "x", true);
    check_stops((const char *[]){"\n\nHuman:", "\n\n"}, 2, "yes\n\nHuman: no", "yes", true);
    check_stops((const char *[]){"\xc3\xa9t"}, 1, "\xc3\xa9 \xc3\xa9t\xc3\xa9", "\xc3\xa9 ", true);
    check_stops(NULL, 0, "anything", "anything", false);
}

/* What may begin a stop text is held back, and no more than that. */
static void test_stop_texts_hold_back(void **state)
{
    (void)state;
    struct alula_error e;
    struct stops *s;
    struct buf out;
    buf_init(&out, 0);
    assert_ok(stops_create(&s, (const char *[]){"</s>", "<b"}, 2, &e), e);
    assert_false(stops_put(s, "a<", 2, &out));
    assert_string_equal(out.data, "a");
    assert_false(stops_put(s, "/s", 2, &out));
    assert_string_equal(out.data, "a");
    assert_false(stops_put(s, "<", 1, &out));
    assert_string_equal(out.data, "a</s");
    assert_true(stops_put(s, "b", 1, &out));
    assert_string_equal(out.data, "a</s");
    stops_free(s);
    buf_free(&out);
}

static void expect_stop_refused(const char *text, int n, enum alula_code code, const char *word)
{
    struct alula_error e;
    struct stops *s = NULL;
    const char *texts[20];
    for (int i = 0; i < 20; i++) texts[i] = text;
    assert_false(stops_create(&s, texts, n, &e));
    assert_int_equal(e.code, code);
    if (!strstr(e.message, word)) fail_msg("\"%s\" does not say %s", e.message, word);
}

static void test_bad_stop_texts(void **state)
{
    (void)state;
    static char text[STOPS_LEN_MAX + 2];
    memset(text, 'x', sizeof text - 1);
    expect_stop_refused("", 1, ALULA_USAGE, "empty");
    expect_stop_refused(NULL, 1, ALULA_USAGE, "empty");
    expect_stop_refused("\xff", 1, ALULA_USAGE, "UTF-8");
    expect_stop_refused("a", 17, ALULA_LIMIT, "at most 16");
    expect_stop_refused(text, 1, ALULA_LIMIT, "longer than 1024");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chain_of_filters),
        cmocka_unit_test(test_penalties_forget_rejected_drafts),
        cmocka_unit_test(test_new_answer_turns_the_last_into_prompt),
        cmocka_unit_test(test_bias_and_mask),
        cmocka_unit_test(test_logits_that_are_no_numbers),
        cmocka_unit_test(test_ties_and_large_vocabulary),
        cmocka_unit_test(test_best_of_any_length),
        cmocka_unit_test(test_bad_settings_are_named),
        cmocka_unit_test(test_rejection_law),
        cmocka_unit_test(test_chain_of_places),
        cmocka_unit_test(test_noise_is_uniform_and_unrelated),
        cmocka_unit_test(test_race_is_won_pair_by_pair),
        cmocka_unit_test(test_stop_texts),
        cmocka_unit_test(test_stop_texts_hold_back),
        cmocka_unit_test(test_bad_stop_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
