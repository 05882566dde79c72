/* Exactness counted: what speculation emits is distributed as the target alone would draw it, for both
 * laws, and a broken rule is caught by the very same count.
 *
 * A made-up language of 12 tokens stands in for the model: the logits of a place depend on the last two
 * tokens, the head's logits are the same ones disturbed. So every distribution is known exactly, and so is
 * every pair of successive tokens. */
#include <math.h>
#include <string.h>

#include "decode/accept.h"
#include "tests/support.h"

enum { VOCAB = 12, TOKENS = 200000, DEPTH = 3 };

/* A rule under test: tests a draft, gives the place's token. */
typedef bool rule(const struct law *l, uint64_t place, const struct dist *p, const struct dist *q,
                  int32_t draft, int32_t *ret_token);

struct setting {
    const char *name;
    struct alula_sampling set;
};

static const struct setting settings[] = {
    {"T 0.3", {.temperature = 0.3, .top_p = 1, .repetition_penalty = 1}},
    {"T 0.7, top_k 5", {.temperature = 0.7, .top_k = 5, .top_p = 1, .repetition_penalty = 1}},
    {"T 1.0, top_p 0.8", {.temperature = 1, .top_p = 0.8, .repetition_penalty = 1}},
    {"T 1.5, min_p 0.1", {.temperature = 1.5, .top_p = 1, .min_p = 0.1, .repetition_penalty = 1}},
    {"T 0.7, top_k 8, top_p 0.9, min_p 0.02",
     {.temperature = 0.7, .top_k = 8, .top_p = 0.9, .min_p = 0.02, .repetition_penalty = 1}},
};
enum { N_SETTINGS = sizeof settings / sizeof settings[0] };

static struct dist dist_new(const struct sampler *s)
{
    struct dist d;
    assert_true(sampler_dist_alloc(s, &d));
    return d;
}

static void language(const int32_t *said, bool head, float *logits)
{
    for (int i = 0; i < VOCAB; i++) {
        uint64_t key = rng_place((uint64_t)said[-1], (uint64_t)i),
                 far = rng_place((uint64_t)said[-2] + 100, (uint64_t)i);
        logits[i] = (float)(3 * rng_uniform(key, RNG_TARGET) + 2 * rng_uniform(far, RNG_TARGET));
        if (head) logits[i] += (float)(1.6 * rng_uniform(key, RNG_DRAFT) - 0.8);
        /* The head drafts from a part of the vocabulary. */
        if (head && (i == 2 || i == 9)) logits[i] = -INFINITY;
    }
}

/* Distributions of every context, shaped once: [last][before last]. */
struct tables {
    struct dist p[VOCAB][VOCAB], q[VOCAB][VOCAB];
};

static struct tables *tables_make(const struct alula_sampling *set)
{
    struct alula_error e;
    struct tables *t = mem_zalloc(1, sizeof *t);
    struct sampler *s;
    assert_non_null(t);
    assert_ok(sampler_create(&s, VOCAB, set, &e), e);
    for (int a = 0; a < VOCAB; a++)
        for (int b = 0; b < VOCAB; b++) {
            int32_t said[2] = {b, a};
            float logits[VOCAB];
            t->p[a][b] = dist_new(s);
            t->q[a][b] = dist_new(s);
            language(said + 2, false, logits);
            assert_true(sampler_shape(s, logits, NULL, &t->p[a][b]));
            language(said + 2, true, logits);
            assert_true(sampler_shape(s, logits, NULL, &t->q[a][b]));
        }
    sampler_free(s);
    return t;
}

static void tables_free(struct tables *t)
{
    for (int i = 0; i < VOCAB * VOCAB; i++) {
        sampler_dist_free(&t->p[i / VOCAB][i % VOCAB]);
        sampler_dist_free(&t->q[i / VOCAB][i % VOCAB]);
    }
    mem_free(t);
}

/* The cycle in small: drafts of random depth, acceptance, correction or bonus. text: [TOKENS + 2], two
 * given. Returns the share of tested drafts that were kept. */
static double speculate(const struct tables *t, const struct law *law, rule *test, int32_t *text)
{
    int kept = 0, tested = 0;
    for (int n = 2; n < TOKENS + 2;) {
        /* The depth may depend on what was said, as the real one does. */
        int depth = (text[n - 1] + text[n - 2]) % (DEPTH + 1), a = 0;
        int32_t drafts[DEPTH + 2] = {text[n - 2], text[n - 1]};
        for (int j = 0; j < depth; j++)
            drafts[j + 2] = law_draft(law, (uint64_t)(n + j), &t->q[drafts[j + 1]][drafts[j]]);
        bool ok = true;
        for (; ok && a < depth && n < TOKENS + 2; n++) {
            const struct dist *p = &t->p[text[n - 1]][text[n - 2]], *q = &t->q[text[n - 1]][text[n - 2]];
            ok = test(law, (uint64_t)n, p, q, drafts[a + 2], &text[n]);
            a += ok;
            kept += ok;
            tested++;
        }
        if (ok && n < TOKENS + 2) {
            text[n] = law_sample(law, (uint64_t)n, &t->p[text[n - 1]][text[n - 2]]);
            n++;
        }
    }
    return tested ? (double)kept / tested : 0;
}

/* Upper tail of chi-square, by Wilson and Hilferty's normal approximation. */
static double chi_p(double chi, int df)
{
    double k = 2.0 / (9 * df), z = (cbrt(chi / df) - 1 + k) / sqrt(k);
    return 0.5 * erfc(z / sqrt(2));
}

/* Chi-square of all triples (before last, last, next) against the exact conditional probabilities: single
 * tokens in their context, and with that the joint law of two successive ones. Cells that expect under 8
 * are pooled; a token of probability 0 fails at once. */
static double test_of_fit(const struct tables *t, const int32_t *text)
{
    static int count[VOCAB][VOCAB][VOCAB];
    memset(count, 0, sizeof count);
    for (int n = 2; n < TOKENS + 2; n++) count[text[n - 1]][text[n - 2]][text[n]]++;
    double chi = 0;
    int df = 0;
    for (int a = 0; a < VOCAB; a++)
        for (int b = 0; b < VOCAB; b++) {
            int total = 0, cells = 0;
            for (int x = 0; x < VOCAB; x++) total += count[a][b][x];
            double pool_want = 0, pool_got = 0;
            for (int x = 0; x < VOCAB; x++) {
                double want = total * dist_p(&t->p[a][b], x), got = count[a][b][x];
                if (want == 0 && got > 0) return 0;
                if (want < 8) {
                    pool_want += want;
                    pool_got += got;
                    continue;
                }
                chi += (got - want) * (got - want) / want;
                cells++;
            }
            if (pool_want >= 8) {
                chi += (pool_got - pool_want) * (pool_got - pool_want) / pool_want;
                cells++;
            }
            if (cells > 1) df += cells - 1;
        }
    assert_true(df > 10);
    return chi_p(chi, df);
}

static double fit(int setting, enum alula_law kind, rule *test, double *ret_kept)
{
    static int32_t text[TOKENS + 2];
    struct tables *t = tables_make(&settings[setting].set);
    struct law law = {kind, 40 + (uint64_t)setting};
    text[0] = 1;
    text[1] = 2;
    *ret_kept = speculate(t, &law, test, text);
    double p = test_of_fit(t, text);
    tables_free(t);
    return p;
}

static void test_both_laws_give_the_target(void **state)
{
    (void)state;
    for (int i = 0; i < N_SETTINGS; i++) {
        double kept_r, kept_c;
        double r = fit(i, ALULA_LAW_REJECTION, law_accept, &kept_r),
               c = fit(i, ALULA_LAW_COUPLED, law_accept, &kept_c);
        if (!(r > 0.01) || !(c > 0.01))
            fail_msg("%s: p = %g (rejection), %g (coupled)", settings[i].name, r, c);
        /* Rejection keeps as many as any exact rule can; coupling pays for its fixed noise. */
        assert_true(kept_r > 0.3 && kept_c > 0.2 && kept_r > kept_c - 0.01);
    }
}

/* Forgets q in the residual: draws the replacement from the target. */
static bool broken_residual(const struct law *l, uint64_t place, const struct dist *p, const struct dist *q,
                            int32_t draft, int32_t *ret_token)
{
    if (law_accept(l, place, p, q, draft, ret_token)) return true;
    *ret_token = dist_draw(p, rng_uniform(rng_place(l->seed, place), RNG_TARGET));
    return false;
}

/* Keeps a draft a little too gladly. */
static bool broken_test(const struct law *l, uint64_t place, const struct dist *p, const struct dist *q,
                        int32_t draft, int32_t *ret_token)
{
    if (rng_uniform(rng_place(l->seed, place), RNG_ACCEPT) < accept_probability(p, q, draft) * 1.1 &&
        dist_p(p, draft) > 0) {
        *ret_token = draft;
        return true;
    }
    return law_accept(l, place, p, q, draft, ret_token);
}

/* Uses the uniform that drew the draft to test it. */
static bool broken_noise(const struct law *l, uint64_t place, const struct dist *p, const struct dist *q,
                         int32_t draft, int32_t *ret_token)
{
    double u = rng_uniform(rng_place(l->seed, place), RNG_DRAFT);
    *ret_token = draft;
    if (u < accept_probability(p, q, draft)) return true;
    *ret_token = accept_residual(p, q, rng_uniform(rng_place(l->seed, place), RNG_TARGET));
    return false;
}

static void test_broken_rules_are_caught(void **state)
{
    (void)state;
    rule *const broken[] = {broken_residual, broken_test, broken_noise};
    for (int i = 0; i < 3; i++) {
        double kept, p = fit(2, ALULA_LAW_REJECTION, broken[i], &kept);
        if (p > 1e-6) fail_msg("broken rule %d passes with p = %g", i, p);
    }
}

/* A coupled draft that is kept for another reason than being the target's token. */
static bool broken_coupling(const struct law *l, uint64_t place, const struct dist *p, const struct dist *q,
                            int32_t draft, int32_t *ret_token)
{
    if (law_accept(l, place, p, q, draft, ret_token)) return true;
    if (rng_uniform(rng_place(l->seed, place), RNG_ACCEPT) > 0.1 || dist_p(p, draft) == 0) return false;
    *ret_token = draft;
    return true;
}

static void test_broken_coupling_is_caught(void **state)
{
    (void)state;
    double kept, p = fit(2, ALULA_LAW_COUPLED, broken_coupling, &kept);
    if (p > 1e-6) fail_msg("broken coupling passes with p = %g", p);
}

/* Coupled: the very text of plain decoding, whatever was drafted on the way. */
static void test_coupled_text_is_plain_text(void **state)
{
    (void)state;
    static int32_t plain[TOKENS + 2], fast[TOKENS + 2];
    for (int i = 0; i < N_SETTINGS; i++) {
        struct tables *t = tables_make(&settings[i].set);
        struct law law = {ALULA_LAW_COUPLED, 7};
        plain[0] = fast[0] = 1;
        plain[1] = fast[1] = 2;
        for (int n = 2; n < TOKENS + 2; n++)
            plain[n] = law_sample(&law, (uint64_t)n, &t->p[plain[n - 1]][plain[n - 2]]);
        speculate(t, &law, law_accept, fast);
        assert_memory_equal(plain, fast, sizeof plain);
        tables_free(t);
    }
}

/* With penalties a distribution depends on all that was said, so answers are short and whole answers are
 * counted: tokens in nodes of a tree, node = the answer so far. Penalties see drafts under test, and forget
 * them when they fall. */
enum { LENGTH = 3, NODES = 1 + VOCAB + VOCAB * VOCAB, ANSWERS = TOKENS / LENGTH + 1 };

static int node_of(const int32_t *answer, int n)
{
    return n == 0 ? 0 : n == 1 ? 1 + answer[0] : 1 + VOCAB + answer[0] * VOCAB + answer[1];
}

/* Shapes the place after answer[0..n) for target or head, by pushing that answer and popping it again. */
static void shape_node(struct sampler *s, const int32_t *answer, int n, bool head, struct dist *d)
{
    int32_t said[2 + LENGTH] = {1, 2};
    float logits[VOCAB];
    memcpy(said + 2, answer, (size_t)n * sizeof *said);
    for (int i = 0; i < n; i++) sampler_push(s, answer[i]);
    language(said + 2 + n, head, logits);
    assert_true(sampler_shape(s, logits, NULL, d));
    sampler_pop(s, answer, n);
}

static void answer_speculate(const struct law *law, uint64_t base, const struct dist *p, const struct dist *q,
                             int32_t *answer)
{
    for (int n = 0; n < LENGTH;) {
        int32_t tokens[LENGTH];
        memcpy(tokens, answer, (size_t)n * sizeof *tokens);
        for (int j = n; j < LENGTH; j++)
            tokens[j] = law_draft(law, base + (uint64_t)j, &q[node_of(tokens, j)]);
        for (bool ok = true; ok && n < LENGTH; n++) {
            int node = node_of(answer, n);
            ok = law_accept(law, base + (uint64_t)n, &p[node], &q[node], tokens[n], &answer[n]);
        }
    }
}

static double penalized_fit(const struct alula_sampling *set, enum alula_law kind)
{
    static int count[VOCAB * VOCAB * VOCAB];
    static struct dist p[NODES], q[NODES];
    struct alula_error e;
    struct sampler *s;
    struct law law = {kind, 9};
    assert_ok(sampler_create(&s, VOCAB, set, &e), e);
    sampler_read(s, (const int32_t[]){1, 2}, 2);
    sampler_begin(s);
    for (int n = 0; n < LENGTH; n++)
        for (int i = 0; i < (n == 0 ? 1 : n == 1 ? VOCAB : VOCAB * VOCAB); i++) {
            int32_t answer[2] = {n == 1 ? i : i / VOCAB, i % VOCAB};
            struct dist *tp = &p[node_of(answer, n)], *tq = &q[node_of(answer, n)];
            *tp = dist_new(s);
            *tq = dist_new(s);
            shape_node(s, answer, n, false, tp);
            shape_node(s, answer, n, true, tq);
        }
    memset(count, 0, sizeof count);
    for (uint64_t i = 0; i < ANSWERS; i++) {
        int32_t answer[LENGTH];
        answer_speculate(&law, i * LENGTH, p, q, answer);
        count[(answer[0] * VOCAB + answer[1]) * VOCAB + answer[2]]++;
    }
    double chi = 0, pool_want = 0, pool_got = 0;
    int cells = 1;
    for (int i = 0; i < VOCAB * VOCAB * VOCAB; i++) {
        int32_t answer[LENGTH] = {i / VOCAB / VOCAB, i / VOCAB % VOCAB, i % VOCAB};
        double want = ANSWERS;
        for (int n = 0; n < LENGTH; n++) want *= dist_p(&p[node_of(answer, n)], answer[n]);
        assert_true(want > 0 || count[i] == 0);
        if (want < 8) {
            pool_want += want;
            pool_got += count[i];
            continue;
        }
        chi += (count[i] - want) * (count[i] - want) / want;
        cells++;
    }
    if (pool_want >= 8) chi += (pool_got - pool_want) * (pool_got - pool_want) / pool_want;
    for (int i = 0; i < NODES; i++) {
        sampler_dist_free(&p[i]);
        sampler_dist_free(&q[i]);
    }
    sampler_free(s);
    return chi_p(chi, cells - (pool_want >= 8 ? 1 : 2));
}

static void test_laws_with_penalties(void **state)
{
    (void)state;
    for (int i = 0; i < N_SETTINGS; i++) {
        struct alula_sampling set = settings[i].set;
        set.repetition_penalty = 1.2;
        set.presence_penalty = 0.4;
        set.frequency_penalty = 0.3;
        double r = penalized_fit(&set, ALULA_LAW_REJECTION), c = penalized_fit(&set, ALULA_LAW_COUPLED);
        if (!(r > 0.01) || !(c > 0.01))
            fail_msg("%s: p = %g (rejection), %g (coupled)", settings[i].name, r, c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_laws_give_the_target),  cmocka_unit_test(test_broken_rules_are_caught),
        cmocka_unit_test(test_broken_coupling_is_caught),  cmocka_unit_test(test_laws_with_penalties),
        cmocka_unit_test(test_coupled_text_is_plain_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
