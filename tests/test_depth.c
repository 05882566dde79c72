/* How deep to draft, on made-up machines and texts whose best answer is known: never far below plain decoding, near
 * the best fixed depth where drafting pays, above it where the head knows when it is right. No clock is read: the
 * same run gives the same figures. */
#include <string.h>

#include "decode/depth.h"
#include "decode/rng.h"
#include "tests/support.h"

/* A machine and a text. Costs in milliseconds. */
struct world {
    double step, rows[ALULA_DEPTH_MAX + 1];
    double hit[2];        /* probability that a draft is right, in good and in bad places */
    double confidence[2]; /* what the head says of itself there */
    int good, bad;        /* lengths of the stretches of places of either kind */
    bool hiccups;         /* one measurement in twelve is ten times too long */
    double cold;          /* so much longer takes the first step of all */
};

static double noise(uint64_t *n) { return rng_uniform(rng_place(3, (*n)++), RNG_DRAFT); }

static double measured(const struct world *w, double cost, uint64_t *n)
{
    double u = noise(n);
    if (w->hiccups && u < 1.0 / 12) return 10 * cost;
    return cost * (0.95 + 0.1 * u);
}

static int kind_of(const struct world *w, int place) { return place % (w->good + w->bad) < w->good ? 0 : 1; }

/* Sequences that decode together. */
struct table {
    struct depth_group g;
    struct depth_policy p[4];
    struct depth_policy *policies[4];
    const struct world *w[4];
    int n, place[4];
    bool right[4][ALULA_DEPTH_MAX];
    uint64_t draws;
    bool warm; /* there was a step */
};

static void table_set(struct table *t, const struct world *w, int n, int depth)
{
    *t = (struct table){.n = n};
    for (int i = 0; i < n; i++) {
        t->w[i] = w;
        t->policies[i] = &t->p[i];
        depth_init(&t->p[i], depth);
    }
}

/* Milliseconds of n rows: in a group, a further sequence's first row is one more row. */
static double rows_cost(const struct world *w, int n)
{
    int last = ALULA_DEPTH_MAX;
    return n <= last + 1 ? w->rows[n - 1]
                         : w->rows[last] + (n - 1 - last) * (w->rows[last] - w->rows[last - 1]);
}

/* A step of the head, and what each that takes part draws. Returns its true cost. */
static double play_step(struct table *t, int n)
{
    const struct world *w = t->w[0];
    double cost = w->step * (1 + 0.1 * (n - 1)) + (t->warm ? 0 : w->cold);
    t->warm = true;
    for (int i = 0; i < t->n; i++) {
        struct depth_policy *p = t->policies[i];
        int d = p->n, kind = kind_of(t->w[i], t->place[i] + d);
        if (p->wants && depth_takes(&t->g, p, t->w[i]->confidence[kind]))
            t->right[i][d] = noise(&t->draws) < t->w[i]->hit[kind];
    }
    depth_stepped(&t->g, measured(w, cost, &t->draws));
    return cost;
}

/* One cycle of all; returns milliseconds, by the true costs. */
static double play_cycle(struct table *t, int max)
{
    double total = 0;
    int rows = 0, joined;
    for (int i = 0; i < t->n; i++) depth_limit(t->policies[i], max);
    depth_begin(&t->g, t->policies, t->n);
    while ((joined = depth_step(&t->g)) > 0) total += play_step(t, joined);
    for (int i = 0; i < t->n; i++) {
        struct depth_policy *p = t->policies[i];
        p->n_accepted = 0;
        while (p->n_accepted < p->n && t->right[i][p->n_accepted]) p->n_accepted++;
        t->place[i] += p->n_accepted + 1;
        rows += p->n + 1;
    }
    total += rows_cost(t->w[0], rows);
    depth_end(&t->g, measured(t->w[0], rows_cost(t->w[0], rows), &t->draws), true);
    return total;
}

/* One answer of n tokens; returns milliseconds. */
static double cost_of(const struct world *w, int depth, int n)
{
    struct table t;
    double total = 0;
    table_set(&t, w, 1, depth);
    while (t.place[0] < n) total += play_cycle(&t, n - t.place[0]);
    return total;
}

/* Rates of automatic depth relative to plain decoding and to the best fixed depth. */
static void compare(const struct world *w, int n, double *ret_plain, double *ret_best)
{
    double mine = cost_of(w, ALULA_DEPTH_AUTO, n), best = 0;
    for (int d = 0; d <= ALULA_DEPTH_MAX; d++) {
        double c = cost_of(w, d, n);
        if (d == 0) *ret_plain = c / mine;
        if (d == 0 || c < best) best = c;
    }
    *ret_best = best / mine;
}

#define EVEN_ROWS                                                                                            \
    {                                                                                                        \
        1, 1.3, 1.6, 1.9, 2.2, 2.5, 2.8, 3.1                                                                 \
    }
#define DEAR_ROWS                                                                                            \
    {                                                                                                        \
        1, 1.7, 2.4, 3.1, 3.8, 4.5, 5.2, 5.9                                                                 \
    }
#define CHEAP_ROWS                                                                                           \
    {                                                                                                        \
        1, 1.15, 1.3, 1.45, 1.6, 1.75, 1.9, 2.05                                                             \
    }
#define STEPPED_ROWS                                                                                         \
    {                                                                                                        \
        1, 1.6, 1.6, 1.6, 2.9, 2.9, 2.9, 2.9                                                                 \
    }

static struct world even(double hit, double confidence)
{
    return (struct world){.step = 0.15,
                          .rows = EVEN_ROWS,
                          .hit = {hit, hit},
                          .confidence = {confidence, confidence},
                          .good = 1,
                          .bad = 1};
}

static struct world mixed(double hit, double confidence, double bad_hit, double bad_confidence, int good,
                          int bad)
{
    return (struct world){.step = 0.15,
                          .rows = EVEN_ROWS,
                          .hit = {hit, bad_hit},
                          .confidence = {confidence, bad_confidence},
                          .good = good,
                          .bad = bad};
}

static struct world with_rows(struct world w, const double *rows)
{
    memcpy(w.rows, rows, sizeof w.rows);
    return w;
}

static void expect(const char *name, struct world w, double least_plain, double least_best)
{
    for (int n = 256; n <= 1024; n *= 4) {
        double plain, best;
        compare(&w, n, &plain, &best);
        if (plain < least_plain || best < least_best)
            fail_msg(
                "%s, %d tokens: %.3f of plain decoding, %.3f of the best fixed depth; expected %.3f and %.3f",
                name, n, plain, best, least_plain, least_best);
    }
}

/* Texts and heads made to defeat drafting: what is lost to trying stays at 1 % of answers of
 * 256 tokens and more. */
static void test_never_far_below_plain(void **state)
{
    (void)state;
    struct world hiccups = even(0, 0.1), slow = even(0.9, 0.8);
    hiccups.hiccups = true;
    slow.step = 1.5;
    expect("never right", even(0, 0.1), 0.99, 0.99);
    expect("never right, always sure", even(0, 0.95), 0.99, 0.99);
    expect("seldom right", even(0.2, 0.5), 0.99, 0.99);
    expect("not worth it", even(0.4, 0.5), 0.99, 0.95);
    expect("dear rows", with_rows(even(0.5, 0.5), (double[])DEAR_ROWS), 0.99, 0.99);
    expect("a slow head", slow, 0.99, 0.99);
    expect("a machine with hiccups", hiccups, 0.99, 0.99);
    expect("good and bad in turn, unsaid", mixed(0.95, 0.6, 0, 0.6, 20, 20), 0.99, 0.99);
    expect("surest where it is wrong", mixed(0.95, 0.3, 0, 0.95, 30, 30), 0.99, 0.99);
}

static void test_near_the_best_depth(void **state)
{
    (void)state;
    struct world hiccups = even(0.9, 0.9);
    hiccups.hiccups = true;
    expect("often right", even(0.8, 0.8), 1.2, 0.93);
    expect("nearly always right", even(0.95, 0.9), 1.55, 0.9);
    expect("dear rows, but right", with_rows(even(0.95, 0.95), (double[])DEAR_ROWS), 1.0, 0.95);
    expect("hiccups", hiccups, 1.4, 0.94);
    /* The second row costs much, the third and fourth nothing more: found only by looking past the second,
     * and late, for a try that fails costs much. */
    expect("stepped rows", with_rows(even(0.8, 0.8), (double[])STEPPED_ROWS), 1.1, 0.78);
}

/* A head that knows when it is right beats every fixed depth. */
static void test_confidence_is_used(void **state)
{
    (void)state;
    expect("honest", mixed(0.95, 0.95, 0.05, 0.1, 3, 2), 1.25, 1.1);
}

/* The first step of a process finds cold caches. That it took long keeps nobody from a second. */
static void test_cold_first_step(void **state)
{
    (void)state;
    for (int n = 24; n <= 64; n += 8) {
        double plain, best;
        struct world w = even(0.9, 0.8);
        w.cold = 0.5;
        compare(&w, n, &plain, &best);
        if (plain < 1.1) fail_msg("%d tokens: %.3f of plain decoding, expected 1.1", n, plain);
    }
}

/* A fixed depth asks no questions, but drafts no more than can be used. */
static void test_fixed_depth(void **state)
{
    (void)state;
    for (int depth = 0; depth <= ALULA_DEPTH_MAX; depth++)
        for (int max = 1; max <= 9; max++) {
            struct table t;
            struct world w = even(0, 0);
            table_set(&t, &w, 1, depth);
            play_cycle(&t, max);
            assert_int_equal(t.p[0].n, depth < max ? depth : max);
        }
}

/* ---- groups -------------------------------------------------------------------------------------- */

/* Tokens per millisecond of 400 cycles. */
static double group_rate(const struct world *w, int n, int depth)
{
    struct table t;
    double ms = 0, tokens = 0;
    table_set(&t, &w[0], n, depth);
    for (int i = 0; i < n; i++) t.w[i] = &w[i];
    for (int c = 0; c < 400; c++) ms += play_cycle(&t, ALULA_DEPTH_MAX);
    for (int i = 0; i < n; i++) tokens += t.place[i];
    return tokens / ms;
}

static void expect_group(const char *name, const struct world *w, double least_plain, double least_best)
{
    double mine = group_rate(w, 4, ALULA_DEPTH_AUTO), plain = group_rate(w, 4, 0), best = plain;
    for (int d = 1; d <= ALULA_DEPTH_MAX; d++) {
        double r = group_rate(w, 4, d);
        best = r > best ? r : best;
    }
    if (mine < least_plain * plain || mine < least_best * best)
        fail_msg("%s: %.3f of plain decoding, %.3f of the best fixed depth; expected %.3f and %.3f", name,
                 mine / plain, mine / best, least_plain, least_best);
}

/* The cost of a draft is the group's: what pays for one sequence need not pay for four, whose rows are dearer beside
 * the token that each gets anyway. And what a draft adds is its own sequence's. */
static void test_groups(void **state)
{
    (void)state;
    double cheap_rows[] = CHEAP_ROWS;
    struct world good = with_rows(even(0.9, 0.9), cheap_rows), bad = with_rows(even(0, 0.5), cheap_rows);
    struct world dear = with_rows(even(0.8, 0.8), (double[])DEAR_ROWS);
    expect_group("all often right", (struct world[]){good, good, good, good}, 1.15, 0.95);
    expect_group("none ever right", (struct world[]){bad, bad, bad, bad}, 0.98, 0.98);
    expect_group("dear rows", (struct world[]){dear, dear, dear, dear}, 0.98, 0.98);
    expect_group("two of four", (struct world[]){good, bad, good, bad}, 1.0, 1.03);
}

/* What a group has learnt of costs is there for a sequence that joins: it drafts from its first cycle on. And
 * one cycle of one sequence alone must not keep those that come later from drafting. */
static void test_joining(void **state)
{
    (void)state;
    struct world w = with_rows(even(0.9, 0.9), (double[])CHEAP_ROWS);
    struct table t;
    int drafted = 0;
    table_set(&t, &w, 2, ALULA_DEPTH_AUTO);
    for (int c = 0; c < 100; c++) play_cycle(&t, ALULA_DEPTH_MAX);
    for (int k = 0; k < 5; k++) {
        depth_init(&t.p[0], ALULA_DEPTH_AUTO);
        play_cycle(&t, ALULA_DEPTH_MAX);
        drafted += t.p[0].n > 0;
    }
    assert_true(drafted >= 4); /* now and then a plain cycle is due */
    table_set(&t, &w, 4, ALULA_DEPTH_AUTO);
    t.n = 1;
    play_cycle(&t, ALULA_DEPTH_MAX);
    t.n = 4;
    drafted = 0;
    for (int c = 0; c < 200; c++) {
        play_cycle(&t, ALULA_DEPTH_MAX);
        for (int i = 0; i < 4; i++) drafted += t.p[i].n;
    }
    assert_true(drafted > 800);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_never_far_below_plain),
        cmocka_unit_test(test_near_the_best_depth),
        cmocka_unit_test(test_confidence_is_used),
        cmocka_unit_test(test_cold_first_step),
        cmocka_unit_test(test_fixed_depth),
        cmocka_unit_test(test_groups),
        cmocka_unit_test(test_joining),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
