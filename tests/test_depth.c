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
};

static double noise(uint64_t *n) { return rng_uniform(rng_place(3, (*n)++), RNG_DRAFT); }

static double measured(const struct world *w, double cost, uint64_t *n)
{
    double u = noise(n);
    if (w->hiccups && u < 1.0 / 12) return 10 * cost;
    return cost * (0.95 + 0.1 * u);
}

static int kind_of(const struct world *w, int place) { return place % (w->good + w->bad) < w->good ? 0 : 1; }

/* One answer of n tokens; returns milliseconds, by the true costs. */
static double play(const struct world *w, struct depth_policy *p, int n)
{
    uint64_t draws = 0;
    double total = 0, step_s[ALULA_DEPTH_MAX];
    for (int place = 0; place < n;) {
        int steps = 0, accepted = 0;
        bool right[ALULA_DEPTH_MAX];
        depth_begin(p, n - place);
        while (depth_wants_more(p)) {
            int d = p->n, kind = kind_of(w, place + d);
            total += w->step;
            step_s[steps++] = measured(w, w->step, &draws);
            if (!depth_takes(p, w->confidence[kind])) break;
            right[d] = noise(&draws) < w->hit[kind];
        }
        total += w->rows[p->n];
        while (accepted < p->n && right[accepted]) accepted++;
        depth_end(p, accepted, step_s, steps, measured(w, w->rows[p->n], &draws));
        place += accepted + 1;
    }
    return total;
}

static double cost_of(const struct world *w, int depth, int n)
{
    struct depth_policy p;
    depth_init(&p, depth);
    return play(w, &p, n);
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

/* Texts and heads made to defeat drafting: what is lost to trying stays below 2 %. */
static void test_never_far_below_plain(void **state)
{
    (void)state;
    struct world hiccups = even(0, 0.1), slow = even(0.9, 0.8);
    hiccups.hiccups = true;
    slow.step = 1.5;
    expect("never right", even(0, 0.1), 0.98, 0.98);
    expect("never right, always sure", even(0, 0.95), 0.98, 0.98);
    expect("seldom right", even(0.2, 0.5), 0.98, 0.98);
    expect("not worth it", even(0.4, 0.5), 0.98, 0.95);
    expect("dear rows", with_rows(even(0.5, 0.5), (double[])DEAR_ROWS), 0.98, 0.98);
    expect("a slow head", slow, 0.98, 0.98);
    expect("a machine with hiccups", hiccups, 0.98, 0.98);
    expect("good and bad in turn, unsaid", mixed(0.95, 0.6, 0, 0.6, 20, 20), 0.98, 0.98);
    expect("surest where it is wrong", mixed(0.95, 0.3, 0, 0.95, 30, 30), 0.98, 0.98);
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
    /* The second row costs much, the third and fourth nothing more: found only by looking past the second. */
    expect("stepped rows", with_rows(even(0.8, 0.8), (double[])STEPPED_ROWS), 1.3, 0.87);
}

/* A head that knows when it is right beats every fixed depth. */
static void test_confidence_is_used(void **state)
{
    (void)state;
    expect("honest", mixed(0.95, 0.95, 0.05, 0.1, 3, 2), 1.25, 1.1);
}

/* A fixed depth asks no questions, but drafts no more than can be used. */
static void test_fixed_depth(void **state)
{
    (void)state;
    for (int depth = 0; depth <= ALULA_DEPTH_MAX; depth++)
        for (int max = 1; max <= 9; max++) {
            struct depth_policy p;
            depth_init(&p, depth);
            depth_begin(&p, max);
            while (depth_wants_more(&p)) assert_true(depth_takes(&p, 0));
            assert_int_equal(p.n, depth < max ? depth : max);
            depth_end(&p, 0, (double[ALULA_DEPTH_MAX]){0}, p.n, 1);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_never_far_below_plain),
        cmocka_unit_test(test_near_the_best_depth),
        cmocka_unit_test(test_confidence_is_used),
        cmocka_unit_test(test_fixed_depth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
