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

static double draft_cost(const struct depth_policy *p, int d)
{
    const struct depth_cost *c = &p->draft[d > 0], *other = &p->draft[d == 0];
    return c->n ? c->typical : other->n ? other->typical : GUESSED_SHARE * p->rest[0].typical;
}

/* Seconds of a cycle with n drafts, drafting aside. What was not measured lies on the line through the
 * nearest below and the largest measured, or through a guess; and more rows never cost less. */
static double rest_cost(const struct depth_policy *p, int n)
{
    int low = n, high = ALULA_DEPTH_MAX;
    while (low > 0 && !p->rest[low].n) low--;
    while (high > low && !p->rest[high].n) high--;
    double base = p->rest[low].typical;
    double slope = high > low ? (p->rest[high].typical - base) / (high - low)
                   : low > 0  ? (base - p->rest[0].typical) / low
                              : GUESSED_SHARE * base;
    double cost = base + (slope > 0 ? slope : 0) * (n - low);
    for (int d = n; d <= ALULA_DEPTH_MAX; d++)
        if (p->rest[d].n && p->rest[d].typical < cost) cost = p->rest[d].typical;
    return cost;
}

/* The best that drafts n+1, n+2, ... can add, in tokens, at the going rate: the prefix before them survives
 * with probability s. Looks ahead, because two more rows may cost hardly more than one. */
static double prospect(const struct depth_policy *p, int n, double s)
{
    double best = 0, gain = 0, cost = 0, reached = 1;
    for (int d = n; d < p->max; d++) {
        cost += reached * draft_cost(p, d);
        reached *= taken_share(p, d);
        cost += reached * (rest_cost(p, d + 1) - rest_cost(p, d));
        s *= acceptance(p, d);
        gain += s;
        if (gain - p->rate * cost > best) best = gain - p->rate * cost;
    }
    return best;
}

/* A cycle at a fixed depth. */
static void foresee(const struct depth_policy *p, int depth, double *ret_tokens, double *ret_seconds)
{
    double s = 1;
    *ret_tokens = 1;
    *ret_seconds = rest_cost(p, depth);
    for (int d = 0; d < depth; d++) {
        s *= acceptance(p, d);
        *ret_tokens += s;
        *ret_seconds += draft_cost(p, d);
    }
}

static int best_depth(const struct depth_policy *p, double *ret_rate)
{
    int best = 0;
    *ret_rate = 0;
    for (int d = 0; d <= ALULA_DEPTH_MAX; d++) {
        double tokens, seconds;
        foresee(p, d, &tokens, &seconds);
        if (tokens / seconds <= *ret_rate) continue;
        *ret_rate = tokens / seconds;
        best = d;
    }
    return best;
}

/* What is never tried is never known: of the depths that the budget can afford to try, the one that is
 * longest untried for what it costs; -1 = none. */
static int choose_probe(const struct depth_policy *p, int best)
{
    int probe = -1;
    double most = 0;
    for (int d = 0; d <= p->max; d++) {
        double tokens, seconds;
        if (d == best || p->age[d] < PROBE_AGE) continue;
        foresee(p, d, &tokens, &seconds);
        double loss = seconds - tokens / p->rate;
        if (loss > p->budget || p->age[d] / loss <= most) continue;
        most = p->age[d] / loss;
        probe = d;
    }
    return probe;
}

void depth_begin(struct depth_policy *p, int max)
{
    p->n = 0;
    p->survival = 1;
    p->forced = -1;
    p->probing = false;
    if (p->fixed != ALULA_DEPTH_AUTO) {
        p->max = p->forced = p->fixed < max ? p->fixed : max;
        return;
    }
    p->max = max < ALULA_DEPTH_MAX ? max : ALULA_DEPTH_MAX;
    if (!p->rest[0].n) {
        p->forced = 0;
        return;
    }
    p->forced = choose_probe(p, best_depth(p, &p->rate));
    p->probing = p->forced >= 0;
}

bool depth_wants_more(struct depth_policy *p)
{
    if (p->n >= p->max) return false;
    if (p->forced >= 0) return p->n < p->forced;
    return prospect(p, p->n, p->survival) > 0;
}

bool depth_takes(struct depth_policy *p, double confidence)
{
    const struct depth_rate *known = &p->by_confidence[p->n > 0][bucket(confidence)];
    double s = p->survival * estimate(known->hits, known->trials, confidence);
    if (p->forced < 0) {
        double row = rest_cost(p, p->n + 1) - rest_cost(p, p->n);
        if (s + prospect(p, p->n + 1, s) <= p->rate * row) return false;
    }
    p->confidence[p->n++] = confidence;
    p->survival = s;
    return true;
}

static void learn_rates(struct depth_policy *p, int n_accepted, int n_steps)
{
    for (int d = 0; d < p->n && d <= n_accepted; d++) {
        bool hit = d < n_accepted;
        rate_add(&p->by_depth[d], true, hit);
        rate_add(&p->by_confidence[d > 0][bucket(p->confidence[d])], true, hit);
    }
    if (n_steps > p->n && n_accepted == p->n) rate_add(&p->by_depth[p->n], false, false);
}

void depth_end(struct depth_policy *p, int n_accepted, const double *draft_s, int n_steps, double rest_s)
{
    if (p->fixed != ALULA_DEPTH_AUTO) return;
    if (!p->rest[0].n) p->budget = PROBE_START * rest_s;
    double seconds = rest_s;
    for (int i = 0; i < n_steps; i++) {
        seconds += draft_s[i];
        cost_add(&p->draft[i > 0], draft_s[i]);
    }
    learn_rates(p, n_accepted, n_steps);
    cost_add(&p->rest[p->n], rest_s);
    for (int d = 0; d <= ALULA_DEPTH_MAX; d++) p->age[d]++;
    p->age[p->n] = 0;
    /* A probe that pays refunds itself, so the next may follow at once. */
    double most = 2 * p->rest[0].typical;
    p->budget += PROBE_SHARE * seconds;
    if (p->probing) p->budget -= seconds - (n_accepted + 1) / p->rate;
    if (p->budget > most) p->budget = most;
}
