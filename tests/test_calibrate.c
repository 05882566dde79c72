/* test_calibrate.c - the true contract is found, what cannot be told apart is called so, and a head that is
 * not of this trunk is refused: the seed's case and every way in which a pair can be wrong. */
#include "tests/forge_rig.h"
#include "tests/support.h"

#include "forge/calibrate.h"
#include "text/tokenizer.h"
#include "tests/head_rig.h"

#define TRUNK "models/tiny-trunk"

struct pair {
    struct checkpoint *trunk, *head;
    struct weights *w;
    struct pool *pool;
    int32_t *ids;
    size_t n_ids;
};

static struct pair open_pair(const char *trunk, const char *head, int n_threads)
{
    struct pair p = {0};
    struct tokenizer *t;
    struct alula_error e = {0};
    assert_ok(checkpoint_open_trunk(&p.trunk, trunk, &e), e);
    if (head) assert_ok(checkpoint_open_head(&p.head, head, &e), e);
    assert_ok(head ? weights_bind(&p.w, p.trunk, p.head, &e) : weights_bind_trunk(&p.w, p.trunk, &e), e);
    assert_ok(tokenizer_open(&t, trunk, &e), e);
    assert_ok(tokenizer_encode(t, calib_text, calib_text_len, true, &p.ids, &p.n_ids, &e), e);
    assert_ok(pool_create(&p.pool, n_threads, &e), e);
    tokenizer_close(t);
    return p;
}

static void close_pair(struct pair *p)
{
    pool_free(p->pool);
    mem_free(p->ids);
    weights_free(p->w);
    checkpoint_close(p->head);
    checkpoint_close(p->trunk);
}

static struct calibrate_options options(const struct pair *p)
{
    return (struct calibrate_options){.ids = p->ids,
                                      .n_ids = p->n_ids,
                                      .positions = CALIBRATE_POSITIONS_MIN,
                                      .mode = MODEL_FAST,
                                      .pool = p->pool};
}

static struct calibrate run_ok(const struct pair *p, const struct mtp_contract *declared)
{
    struct calibrate c;
    struct alula_error e = {0};
    struct calibrate_options o = options(p);
    o.declared = declared;
    assert_ok(calibrate_run(&c, NULL, p->w, &o, &e), e);
    return c;
}

static const char *packed_trunk(void)
{
    static const char *dir;
    if (!dir) dir = forge_pair(TRUNK, HEAD_DONOR, scratch_path("packed"));
    return dir;
}

/* On the packed trunk, which is quicker. */
static struct calibrate run_head(enum head_fault fault)
{
    struct pair p = open_pair(packed_trunk(), rig_head(fault), 2);
    struct calibrate c = run_ok(&p, NULL);
    close_pair(&p);
    return c;
}

static void assert_contract(const struct calibrate *c, enum hidden_variant base, enum hidden_variant feedback,
                            bool hidden_first)
{
    assert_int_equal(c->contract.base, base);
    assert_int_equal(c->contract.feedback, feedback);
    assert_int_equal(c->contract.hidden_first, hidden_first);
}

/* Trunk without a head, head of the donor: trained embedding first, post and post, norms zero-centred. The
 * tiny head takes the state before its norm as gladly as that after it; that must be called a tie and leave
 * the declaration. */
static void test_seeds_case(void **state)
{
    (void)state;
    struct pair p = open_pair(TRUNK, HEAD_DONOR, 2);
    struct calibrate c = run_ok(&p, NULL);
    assert_true(c.usable);
    assert_string_equal(c.problem, "");
    assert_contract(&c, HIDDEN_POST_NORM, HIDDEN_POST_NORM, false);
    assert_true(c.norms_delta);
    assert_false(c.norms_other);
    assert_int_equal(c.choices[CALIBRATE_NORMS].outcome, CALIBRATE_DECIDED);
    assert_int_equal(c.choices[CALIBRATE_CONCAT].outcome, CALIBRATE_DECIDED);
    assert_string_equal(c.choices[CALIBRATE_CONCAT].chosen, "embedding_hidden");
    assert_int_equal(c.choices[CALIBRATE_BASE].outcome, CALIBRATE_TIE);
    assert_int_equal(c.choices[CALIBRATE_FEEDBACK].outcome, CALIBRATE_TIE);
    assert_int_equal(c.status, CALIBRATE_INCONCLUSIVE);
    assert_string_equal(c.reason, "tie");
    assert_int_equal(c.n_trials, CALIBRATE_TRIALS);
    assert_int_equal(c.positions, 512);
    const struct calibrate_trial *best = &c.trials[c.best];
    assert_true(best->hits[0] > 256 && best->hits[2] > 205);
    assert_true(best->rate[0].low < (double)best->hits[0] / 512 &&
                best->rate[0].high > (double)best->hits[0] / 512);
    assert_true(best->top[0][2] > best->top[0][0] && best->top[0][0] > best->hits[0]);
    close_pair(&p);
}

/* Whatever the folder says: what is decided is found, what is a tie stays as it was declared. */
static void test_wrong_declarations(void **state)
{
    (void)state;
    struct pair p = open_pair(packed_trunk(), HEAD_DONOR, 2);
    const struct mtp_contract wrong = {
        .base = HIDDEN_PRE_NORM, .feedback = HIDDEN_EMBEDDING, .hidden_first = true};
    struct calibrate c = run_ok(&p, &wrong);
    assert_true(c.usable);
    assert_int_equal(c.status, CALIBRATE_SWITCHED);
    assert_contract(&c, HIDDEN_PRE_NORM, c.contract.feedback, false);
    assert_true(c.contract.feedback == HIDDEN_POST_NORM || c.contract.feedback == HIDDEN_PRE_NORM);
    assert_string_equal(c.choices[CALIBRATE_CONCAT].declared, "hidden_embedding");
    assert_string_equal(c.choices[CALIBRATE_FEEDBACK].declared, "embedding");
    const struct calibrate_choice *ch = &c.choices[CALIBRATE_FEEDBACK];
    assert_true(c.trials[ch->declared_trial].hits[1] < c.trials[ch->chosen_trial].hits[1]);
    close_pair(&p);
}

static void assert_no_signal(const struct calibrate *c)
{
    assert_false(c->usable);
    assert_int_equal(c->status, CALIBRATE_INCONCLUSIVE);
    assert_string_equal(c->reason, "no_signal");
    assert_non_null(strstr(c->problem, "does not foretell what this trunk says"));
}

static void test_shuffled_head_is_refused(void **state)
{
    (void)state;
    struct calibrate c = run_head(HEAD_SHUFFLED);
    assert_no_signal(&c);
}

static void test_head_of_another_seed_is_refused(void **state)
{
    (void)state;
    struct calibrate c = run_head(HEAD_NOISE);
    assert_no_signal(&c);
}

static void test_swapped_halves_are_found(void **state)
{
    (void)state;
    struct calibrate c = run_head(HEAD_SWAPPED);
    assert_true(c.usable);
    assert_int_equal(c.status, CALIBRATE_SWITCHED);
    assert_contract(&c, HIDDEN_POST_NORM, HIDDEN_POST_NORM, true);
    assert_string_equal(c.choices[CALIBRATE_CONCAT].declared, "embedding_hidden");
}

/* No contract heals it, so it is a problem and not a switch. */
static void test_wrong_norm_encoding_is_found(void **state)
{
    (void)state;
    struct calibrate c = run_head(HEAD_MISLABELED);
    assert_true(c.norms_other && c.norms_delta);
    assert_int_equal(c.choices[CALIBRATE_NORMS].outcome, CALIBRATE_DECIDED);
    assert_string_equal(c.choices[CALIBRATE_NORMS].declared, "absolute");
    assert_non_null(strstr(c.problem, "\"mtplx_mtp_norm_encoding\": \"delta\""));
}

/* Threads and lanes are ways to be quick: a chain's guesses are those of steps one at a time. */
static void test_chains_equal_single_steps(void **state)
{
    (void)state;
    enum { N = 40, FIRST = 5, DEPTH = 3 };
    struct pair p = open_pair(TRUNK, HEAD_DONOR, 3);
    const struct mtp_contract contract = {.base = HIDDEN_PRE_NORM, .feedback = HIDDEN_FC};
    struct teacher t;
    struct chains c;
    struct model *m;
    struct state *s;
    struct forward *f;
    struct alula_error e = {0};
    assert_ok(teacher_read(&t, p.w, MODEL_EXACT, p.ids, FIRST + N + DEPTH, p.pool, NULL, &e), e);
    assert_ok(chains_run(&c, &t, p.w, &contract, DEPTH, FIRST, N, p.pool, "", NULL, &e), e);
    assert_ok(model_create(&m, p.w, &contract, MODEL_EXACT, &e) && state_create(&s, m, 100, &e) &&
                  forward_create(&f, m, p.pool, 8, &e),
              e);
    size_t h = (size_t)p.w->config->hidden;
    float fed[1024];
    mtp_history(f, s, t.pre, p.ids + 1, FIRST);
    for (int i = 0; i < N; i++) {
        int at = FIRST + i;
        memcpy(fed, t.pre + (size_t)at * h, h * sizeof(float));
        for (int d = 0; d < DEPTH; d++) {
            struct mtp_row row = {.state = s, .hidden = fed, .token = p.ids[at + d + 1]};
            mtp_draft(f, &row, 1);
            int better = 0, best = 0, target = t.best[at + d + 1];
            const float *logits = mtp_logits(f, 0);
            for (int k = 0; k < p.w->config->vocab; k++) {
                if (logits[k] > logits[best]) best = k;
                better += logits[k] > logits[target];
            }
            assert_int_equal(c.guess[d * N + i], best);
            assert_int_equal(c.rank[d * N + i], better < 255 ? better : 255);
            memcpy(fed, mtp_hidden(f, 0), h * sizeof(float));
        }
        state_mtp_cut(s, at + 1);
    }
    forward_free(f);
    state_free(s);
    model_free(m);
    chains_free(&c);
    teacher_free(&t);
    close_pair(&p);
}

/* The reference's guesses for four contracts, and its trunk's own tokens. */
static void test_reference(void **state)
{
    (void)state;
    static const struct mtp_contract contracts[] = {
        {.base = HIDDEN_POST_NORM},
        {.base = HIDDEN_POST_NORM, .hidden_first = true},
        {.base = HIDDEN_PRE_NORM},
        {.base = HIDDEN_PRE_NORM, .hidden_first = true},
    };
    enum { N = 68 };
    struct checkpoint *cp;
    struct weights *w;
    struct pool *pool;
    struct st_file *x;
    struct teacher t;
    struct alula_error e = {0};
    assert_ok(checkpoint_open(&cp, data_path("oracle-f32"), &e) && weights_bind(&w, cp, NULL, &e), e);
    assert_ok(st_open(&x, data_path("oracle-f32/expected.safetensors"), &e) && pool_create(&pool, 2, &e), e);
    int32_t ids[70], target[69], top1[4][69];
    memcpy(ids, st_find(x, "p70.ids")->data, sizeof ids);
    memcpy(target, st_find(x, "mtp.tf.target")->data, sizeof target);
    memcpy(top1, st_find(x, "mtp.tf.top1")->data, sizeof top1);
    assert_ok(teacher_read(&t, w, MODEL_EXACT, ids, 70, pool, NULL, &e), e);
    assert_memory_equal(t.best + 1, target, sizeof target);
    for (int i = 0; i < 4; i++) {
        struct chains c;
        int64_t hits = 0;
        assert_ok(chains_run(&c, &t, w, &contracts[i], 1, 0, N, pool, "", NULL, &e), e);
        assert_memory_equal(c.guess, top1[i], N * sizeof(int32_t));
        for (int k = 0; k < N; k++) hits += top1[i][k] == target[k];
        assert_int_equal(chains_hits(&c, 0, 1), hits);
        assert_int_equal(chains_prefix(&c, 0), hits);
        chains_free(&c);
    }
    teacher_free(&t);
    st_close(x);
    pool_free(pool);
    weights_free(w);
    checkpoint_close(cp);
}

static bool stop(void *arg, const char *what, uint64_t done, uint64_t total)
{
    int *left = arg;
    (void)what, (void)done, (void)total;
    return (*left)-- > 0;
}

static void refuse(const struct pair *p, const struct calibrate_options *o, enum alula_code code,
                   const char *words)
{
    struct calibrate c = {.positions = -1};
    struct alula_error e = {0};
    assert_false(calibrate_run(&c, NULL, p->w, o, &e));
    assert_int_equal(e.code, code);
    if (!strstr(e.message, words)) fail_msg("\"%s\" is not in: %s", words, e.message);
    assert_int_equal(c.positions, -1);
}

static void test_refusals(void **state)
{
    (void)state;
    struct pair p = open_pair(TRUNK, HEAD_DONOR, 1), headless = open_pair(TRUNK, NULL, 1);
    struct calibrate_options o = options(&p);
    o.positions = 511;
    refuse(&p, &o, ALULA_USAGE, "511 places are too few");
    o = options(&p);
    o.n_ids = 530;
    refuse(&p, &o, ALULA_LIMIT, "has 530 tokens; 512 places need 531");
    o = options(&headless);
    refuse(&headless, &o, ALULA_UNSUPPORTED, "no MTP head");
    o = options(&p);
    int32_t kept = p.ids[9];
    p.ids[9] = 2048;
    refuse(&p, &o, ALULA_FORMAT, "id 2048 is outside");
    p.ids[9] = kept;
    for (int i = 0; i < 40; i += 13) {
        int left = i;
        const struct watch watch = {stop, &left};
        o.watch = &watch;
        refuse(&p, &o, ALULA_CANCELLED, "stopped");
    }
    close_pair(&p);
    close_pair(&headless);
}

/* exact_agreement is said of a head that guessed right at least once, and of no other. */
static void test_json(void **state)
{
    (void)state;
    struct calibrate c = {.positions = 512, .n_trials = 1, .reason = "no_signal"};
    for (int d = 0; d < CALIBRATE_DIMENSIONS; d++)
        c.choices[d] = (struct calibrate_choice){.chosen = "x", .rival = "y", .declared = "x"};
    c.trials[0].depth = 1;
    const char *const words[] = {"no_agreement_signal", "topk_only_no_exact_agreement", "exact_agreement"};
    for (int i = 0; i < 3; i++) {
        c.trials[0].top[0][2] = i > 0;
        c.trials[0].hits[0] = i > 1;
        json_t *o = calibrate_contract_json(&c), *cal = json_object_get(o, "calibration");
        assert_string_equal(json_string_value(json_object_get(cal, "status")), words[i]);
        json_decref(o);
    }
    c.trials[0].hits[0] = 256;
    c.trials[0].top[0][1] = 384;
    c.trials[0].top[0][2] = 512;
    json_t *o = calibrate_json(&c);
    json_t *cal = json_object_get(json_object_get(o, "mtp_contract"), "calibration");
    assert_true(fabs(json_real_value(json_object_get(cal, "score")) - (4 * 0.5 + 1.5 * 0.75 + 1 + 2 * 0.5)) <
                1e-12);
    assert_int_equal(json_array_size(json_object_get(o, "trials")), 1);
    assert_string_equal(json_string_value(json_object_get(o, "reason")), "no_signal");
    json_decref(o);
}

/* Values by other programs: Wilson's intervals as in models/README.md, R's binom.test for the sign test. */
static void test_stats(void **state)
{
    (void)state;
    struct interval w = stats_wilson(388, 552);
    assert_true(fabs(w.low - 0.663) < 5e-4 && fabs(w.high - 0.740) < 5e-4);
    w = stats_wilson(0, 10);
    assert_true(w.low == 0 && fabs(w.high - 0.27753) < 1e-5);
    w = stats_wilson(0, 0);
    assert_true(w.low == 0 && w.high == 1);
    assert_true(fabs(stats_sign_p(8, 2) - 0.109375) < 1e-12);
    assert_true(fabs(stats_sign_p(2, 8) - 0.109375) < 1e-12);
    assert_true(stats_sign_p(0, 0) == 1 && stats_sign_p(3, 3) == 1);
    assert_true(fabs(stats_sign_p(10, 0) - 0.001953125) < 1e-12);
    assert_true(stats_sign_p(100000, 0) == 0);
    w = stats_lead(46, 16, 512);
    assert_true(w.low > 0.02 && w.high < 0.1 && fabs((w.low + w.high) / 2 - 30.0 / 514) < 1e-12);
    double v[] = {5, 1, 4, 2};
    assert_true(stats_median(v, 4) == 3 && stats_median(v, 3) == 2 && stats_median(v, 0) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_seeds_case),
        cmocka_unit_test(test_wrong_declarations),
        cmocka_unit_test(test_shuffled_head_is_refused),
        cmocka_unit_test(test_head_of_another_seed_is_refused),
        cmocka_unit_test(test_swapped_halves_are_found),
        cmocka_unit_test(test_wrong_norm_encoding_is_found),
        cmocka_unit_test(test_chains_equal_single_steps),
        cmocka_unit_test(test_reference),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_stats),
    };
    return cmocka_run_group_tests_name("calibrate", tests, NULL, NULL);
}
