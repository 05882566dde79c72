/* depth.c - decides how many tokens to draft. Owns estimates of acceptance and cost; must not know models,
 * tokens or clocks. */
#include "decode/depth.h"

#define FADE         0.95 /* memory of about 20 tests */
#define PRIOR_WEIGHT 2.0
#define PRIOR        0.65 /* of a draft nobody has tested: hopeful, so that it gets tested */
#define GUESSED_SHARE                                                                                        \
    0.25 /* of a plain cycle: a step of the head or a further row, while neither was measured */
#define PROBE_SHARE 0.008 /* of the time goes to trying depths that seem worse than the best */
#define PROBE_START 0.5   /* plain cycles that may be spent so from the start */
#define PROBE_AGE   6     /* cycles before a depth is tried again */
#define PROBE_SURE  0.4   /* a try ends where its drafts are less likely to survive than this */
#define PLAIN_FIRST 3     /* plain cycles before the first draft: behind a prompt caches are cold */
#define PLAIN_AGE   40    /* cycles after which one is plain, lest the comparison grows old */
#define LOSS_SHARE  0.005 /* of the time may be lost to plain decoding, all told, */
#define LOSS_START  0.72  /* and so many plain cycles */

void depth_init(struct depth_policy *p, int depth)
{
    *p = (struct depth_policy){.fixed = depth};
    for (int d = 0; d <= ALULA_DEPTH_MAX; d++) p->age[d] = 1000;
}

static void cost_add(struct depth_cost *c, double seconds)
{
    c->sample[c->next] = seconds;
    c->next = (c->next + 1) % DEPTH_SAMPLES;
    if (c->n < DEPTH_SAMPLES) c->n++;
    /* The value at a third of their order. Nine samples need no sorting. */
    int at = (c->n - 1) / 3;
    for (int i = 0; i < c->n; i++) {
        int below = 0, equal = 0;
        for (int j = 0; j < c->n; j++) {
            below += c->sample[j] < c->sample[i];
            equal += c->sample[j] == c->sample[i];
        }
        if (below <= at && below + equal > at) c->typical = c->sample[i];
    }
}

static void rate_add(struct depth_rate *r, bool taken, bool hit)
{
    r->trials = r->trials * FADE + 1;
    r->taken = r->taken * FADE + taken;
    r->hits = r->hits * FADE + hit;
}

static double estimate(double hits, double trials, double prior)
{
    return (hits + PRIOR_WEIGHT * prior) / (trials + PRIOR_WEIGHT);
}

/* Of steps at depth d, given that all before survived: the share that is taken and right. What is known of
 * a depth is a guess at the next. */
static double acceptance(const struct depth_policy *p, int d)
{
    double a = PRIOR;
    for (int i = 0; i <= d; i++) a = estimate(p->by_depth[i].hits, p->by_depth[i].trials, a);
    return a;
}

static double taken_share(const struct depth_policy *p, int d)
{
    return estimate(p->by_depth[d].taken, p->by_depth[d].trials, 1);
}

static int bucket(double confidence)
{
    int b = (int)(confidence * DEPTH_BUCKETS);
    return b < 0 ? 0 : b >= DEPTH_BUCKETS ? DEPTH_BUCKETS - 1 : b;
}

/* ---- costs ----------------------------------------------------------------------------------------- */

/* Seconds of n rows, drafting aside. What was not measured lies on the line through the nearest below and the largest
 * measured, or through a guess; and more rows never cost less. */
static double rest_cost(const struct depth_group *g, int n)
{
    int low = n < g->most ? n : g->most;
    while (low > g->least && !g->rest[low].n) low--;
    if (low < g->least) low = g->least;
    double base = g->rest[low].typical;
    double slope = low < n && g->most > n ? (g->rest[g->most].typical - base) / (g->most - low)
                   : low > g->least       ? (base - g->rest[g->least].typical) / (low - g->least)
                                          : GUESSED_SHARE * base / low;
    double cost = base + (slope > 0 ? slope : 0) * (n - low);
    for (int d = n; d <= g->most; d++)
        if (g->rest[d].n && g->rest[d].typical < cost) cost = g->rest[d].typical;
    return cost;
}

/* A step that was measured but once found cold caches and pages that nobody had touched: not dearer than one that was
 * not measured, so that there is a second. */
static double step_cost(const struct depth_group *g, const struct depth_cost *c)
{
    double guess = GUESSED_SHARE * rest_cost(g, 1);
    return c->n == 1 && guess < c->typical ? guess : c->typical;
}

/* Seconds of step d of n sequences, as of the nearest number measured. */
static double draft_cost(const struct depth_group *g, int d, int n)
{
    for (int kind = 0; kind < 2; kind++) {
        const struct depth_cost *c = g->draft[kind ? d == 0 : d > 0];
        for (int off = 0; off < n || n + off <= g->most_joined; off++) {
            if (off < n && c[n - off].n) return step_cost(g, &c[n - off]);
            if (n + off <= g->most_joined && c[n + off].n) return step_cost(g, &c[n + off]);
        }
    }
    return GUESSED_SHARE * rest_cost(g, 1);
}

/* What one of those in the step pays: for the step, and for a row when there are `rows`. */
static double step_share(const struct depth_group *g, int d)
{
    return draft_cost(g, d, g->joined) / g->joined;
}

static double row_share(const struct depth_group *g, int rows)
{
    return (rest_cost(g, rows + g->joined) - rest_cost(g, rows)) / g->joined;
}

/* ---- profit ---------------------------------------------------------------------------------------- */

/* The best that drafts n+1, n+2, ... can add, in tokens, at the going rate: the prefix before them survives
 * with probability s, and there are so many rows. Looks ahead, because two more rows may cost hardly more than one. */
static double prospect(const struct depth_group *g, const struct depth_policy *p, int n, double s, int rows)
{
    double best = 0, gain = 0, cost = 0, reached = 1;
    for (int d = n; d < p->max; d++, rows += g->joined) {
        cost += reached * step_share(g, d);
        reached *= taken_share(p, d);
        cost += reached * row_share(g, rows);
        s *= acceptance(p, d);
        gain += s;
        if (gain - g->rate * cost > best) best = gain - g->rate * cost;
    }
    return best;
}

static void foresee_tokens(struct depth_policy *p)
{
    double s = 1;
    p->foreseen[0] = 1;
    for (int d = 0; d < ALULA_DEPTH_MAX; d++) {
        s *= acceptance(p, d);
        p->foreseen[d + 1] = p->foreseen[d] + s;
    }
}

/* A cycle of all at one depth (but for those whose depth is fixed), or one of them at another. */
static void foresee(const struct depth_group *g, int depth, const struct depth_policy *odd, int odd_depth,
                    double *ret_tokens, double *ret_seconds)
{
    int rows = 0, joined[ALULA_DEPTH_MAX] = {0};
    *ret_tokens = 0;
    for (int i = 0; i < g->n; i++) {
        const struct depth_policy *p = g->policies[i];
        int d = p->fixed != ALULA_DEPTH_AUTO ? p->fixed : p == odd ? odd_depth : depth;
        *ret_tokens += p->foreseen[d];
        rows += d + 1;
        while (d > 0) joined[--d]++;
    }
    *ret_seconds = rest_cost(g, rows);
    for (int d = 0; d < ALULA_DEPTH_MAX && joined[d]; d++) *ret_seconds += draft_cost(g, d, joined[d]);
}

static int best_depth(struct depth_group *g)
{
    int best = 0;
    g->rate = 0;
    for (int d = 0; d <= ALULA_DEPTH_MAX; d++) {
        double tokens, seconds;
        foresee(g, d, NULL, 0, &tokens, &seconds);
        if (tokens / seconds <= g->rate) continue;
        g->rate = tokens / seconds;
        best = d;
    }
    return best;
}

/* Is the account good for `seconds` that give no more tokens than a plain cycle? */
static bool affords(const struct depth_group *g, double seconds)
{
    return seconds / rest_cost(g, g->n) - 1 <= g->lead;
}

/* For one more step of those who have joined, and the rows of what it offers. */
static bool affords_step(const struct depth_group *g)
{
    double seconds = rest_cost(g, g->rows + g->joined) + draft_cost(g, g->n_steps, g->joined);
    for (int i = 0; i < g->n_steps; i++) seconds += g->step_s[i];
    return affords(g, seconds);
}

/* What is never tried is never known: of the depths that the budget can afford to try with one of the sequences, the
 * one that is longest untried for what it costs. */
static void choose_probe(struct depth_group *g, int best)
{
    struct depth_policy *probe = NULL;
    int depth = 0;
    double most = 0;
    for (int i = 0; i < g->n; i++) {
        struct depth_policy *p = g->policies[i];
        for (int d = 0; p->fixed == ALULA_DEPTH_AUTO && d <= p->max; d++) {
            double tokens, seconds;
            if (d == best || p->age[d] < PROBE_AGE) continue;
            foresee(g, best, p, d, &tokens, &seconds);
            double loss = seconds - tokens / g->rate;
            if (loss > g->budget || p->age[d] / loss <= most || !affords(g, seconds)) continue;
            most = p->age[d] / loss;
            probe = p;
            depth = d;
            g->probe_s = seconds - (tokens - p->foreseen[d]) / g->rate;
        }
    }
    g->probe = probe;
    if (probe) probe->forced = depth;
}

/* ---- the cycle ------------------------------------------------------------------------------------- */

void depth_limit(struct depth_policy *p, int max)
{
    int most = p->fixed == ALULA_DEPTH_AUTO ? ALULA_DEPTH_MAX : p->fixed;
    p->max = max < most ? max : most;
    p->n = p->n_free = 0;
}

void depth_free(struct depth_policy *p, int n)
{
    p->n_free = n;
    if (!n) return;
    p->max = p->n;
    depth_stop(p);
}

static void count_rows(struct depth_group *g)
{
    g->rows = g->n;
    for (int i = 0; i < g->n; i++) g->rows += g->policies[i]->n + g->policies[i]->n_free;
}

void depth_begin(struct depth_group *g, struct depth_policy *const *policies, int n)
{
    g->policies = policies;
    g->n = n;
    g->n_steps = 0;
    g->probe = NULL;
    bool any = false, plain = g->n_cycles < PLAIN_FIRST || g->plain_age >= PLAIN_AGE;
    for (int i = 0; i < n; i++) {
        struct depth_policy *p = policies[i];
        bool fixed = p->fixed != ALULA_DEPTH_AUTO;
        p->n = p->n_steps = 0;
        p->n_accepted = -1;
        p->survival = 1;
        p->wants = true;
        p->forced = fixed ? p->max : plain ? 0 : -1;
        foresee_tokens(p);
        any = any || !fixed;
    }
    count_rows(g);
    if (any && !plain) choose_probe(g, best_depth(g));
}

/* Of those that join if others do, and so make it cheap for each, some may not join at that price, which makes it dearer
 * for the rest: until all who are left agree. */
int depth_step(struct depth_group *g)
{
    int left = 0;
    for (int i = 0; i < g->n; i++) {
        struct depth_policy *p = g->policies[i];
        p->wants = p->wants && p->n < (p->forced >= 0 ? p->forced : p->max);
        left += p->wants;
    }
    do {
        g->joined = left;
        for (int i = 0; i < g->n; i++) {
            struct depth_policy *p = g->policies[i];
            if (!p->wants || p->forced >= 0) continue;
            if (affords_step(g) && prospect(g, p, p->n, p->survival, g->rows) > 0) continue;
            p->wants = false;
            left--;
        }
    } while (left != g->joined);
    for (int i = 0; i < g->n; i++) g->policies[i]->n_steps += g->policies[i]->wants;
    return left;
}

bool depth_takes(const struct depth_group *g, struct depth_policy *p, double confidence)
{
    const struct depth_rate *known = &p->by_confidence[p->n > 0][bucket(confidence)];
    double s = p->survival * estimate(known->hits, known->trials, confidence);
    bool pays = p->forced < 0
                    ? s + prospect(g, p, p->n + 1, s, g->rows + g->joined) > g->rate * row_share(g, g->rows)
                    : p->fixed != ALULA_DEPTH_AUTO || s >= PROBE_SURE;
    if (!pays) {
        depth_stop(p);
        return false;
    }
    p->confidence[p->n++] = confidence;
    p->survival = s;
    return true;
}

void depth_stop(struct depth_policy *p) { p->wants = false; }

void depth_stepped(struct depth_group *g, double seconds)
{
    if (g->joined > g->most_joined) g->most_joined = g->joined;
    g->joined_in[g->n_steps] = g->joined;
    g->step_s[g->n_steps++] = seconds;
    count_rows(g);
}

static void learn_rates(struct depth_policy *p)
{
    for (int d = 0; d < p->n && d <= p->n_accepted; d++) {
        bool hit = d < p->n_accepted;
        rate_add(&p->by_depth[d], true, hit);
        rate_add(&p->by_confidence[d > 0][bucket(p->confidence[d])], true, hit);
    }
    if (p->n_steps > p->n && p->n_accepted == p->n) rate_add(&p->by_depth[p->n], false, false);
    for (int d = 0; d <= ALULA_DEPTH_MAX; d++) p->age[d]++;
    if (!p->n_free) p->age[p->n] = 0;
}

static void learn_costs(struct depth_group *g, double rest_s)
{
    if (!g->least) {
        g->budget = PROBE_START * rest_s;
        g->lead = LOSS_START;
    }
    if (!g->least || g->rows < g->least) g->least = g->rows;
    if (g->rows > g->most) g->most = g->rows;
    g->n_cycles += g->n_cycles < PLAIN_FIRST;
    cost_add(&g->rest[g->rows], rest_s);
    for (int i = 0; i < g->n_steps; i++) cost_add(&g->draft[i > 0][g->joined_in[i]], g->step_s[i]);
}

/* By typical costs: a hiccup of the machine is nobody's loss. */
static void settle_account(struct depth_group *g, double tokens)
{
    double seconds = g->rest[g->rows].typical;
    for (int i = 0; i < g->n_steps; i++) seconds += g->draft[i > 0][g->joined_in[i]].typical;
    g->lead += tokens / g->n - (1 - LOSS_SHARE) * seconds / rest_cost(g, g->n);
    g->plain_age = g->rows == g->n ? 0 : g->plain_age + 1;
}

void depth_end(struct depth_group *g, double rest_s, bool paid)
{
    double seconds = rest_s, tokens = 0;
    bool free_drafts = false;
    for (int i = 0; i < g->n; i++) {
        struct depth_policy *p = g->policies[i];
        free_drafts = free_drafts || p->n_free;
        if (p->n_accepted < 0) continue;
        tokens += p->n_accepted + 1;
        learn_rates(p);
    }
    if (!paid) return;
    for (int i = 0; i < g->n_steps; i++) seconds += g->step_s[i];
    learn_costs(g, rest_s);
    if (free_drafts) return; /* what they gain is not the head's to spend */
    settle_account(g, tokens);
    /* A probe that pays refunds itself, so the next may follow at once. Of a group, what the others happened to draw is
     * left out. */
    double most = 2 * rest_cost(g, g->n), spent = g->n == 1 ? seconds : g->probe_s;
    g->budget += PROBE_SHARE * seconds;
    if (g->probe && g->probe->n_accepted >= 0) g->budget -= spent - (g->probe->n_accepted + 1) / g->rate;
    if (g->budget > most) g->budget = most;
}
