/* depth.c - decides how many tokens to draft. Owns estimates of acceptance and cost; must not know models,
 * tokens or clocks. */
#include "decode/depth.h"

#define FADE         0.95 /* memory of about 20 tests */
#define PRIOR_WEIGHT 2.0
#define PRIOR        0.65 /* of a draft nobody has tested: hopeful, so that it gets tested */
#define PLAIN_EVERY  64   /* cycles between two that measure plain decoding */
#define PATIENCE_MIN                                                                                         \
    16 /* cycles of plain decoding before a draft is tried again; doubled each time it fails */
#define PATIENCE_MAX 256
#define GUESSED_SHARE                                                                                        \
    0.25 /* of a plain cycle: a step of the head or a further row, while neither was measured */

void depth_init(struct depth_policy *p, int depth)
{
    *p = (struct depth_policy){.fixed = depth, .patience = PATIENCE_MIN};
}

static void cost_add(struct depth_cost *c, double seconds)
{
    c->sample[c->next] = seconds;
    c->next = (c->next + 1) % DEPTH_SAMPLES;
    if (c->n < DEPTH_SAMPLES) c->n++;
    /* The median: as many below as above it. Nine samples need no sorting. */
    for (int i = 0; i < c->n; i++) {
        int below = 0, equal = 0;
        for (int j = 0; j < c->n; j++) {
            below += c->sample[j] < c->sample[i];
            equal += c->sample[j] == c->sample[i];
        }
        if (below <= (c->n - 1) / 2 && below + equal > (c->n - 1) / 2) c->median = c->sample[i];
    }
}

static void rate_add(struct depth_rate *r, bool hit)
{
    r->hits = r->hits * FADE + hit;
    r->trials = r->trials * FADE + 1;
}

static double rate_get(const struct depth_rate *r, double prior)
{
    return (r->hits + PRIOR_WEIGHT * prior) / (r->trials + PRIOR_WEIGHT);
}

static double acceptance(const struct depth_policy *p, int d)
{
    return rate_get(&p->by_depth[d], PRIOR);
}

static int bucket(double confidence)
{
    int b = (int)(confidence * DEPTH_BUCKETS);
    return b < 0 ? 0 : b >= DEPTH_BUCKETS ? DEPTH_BUCKETS - 1 : b;
}

static double draft_cost(const struct depth_policy *p, int d)
{
    const struct depth_cost *c = &p->draft[d > 0], *other = &p->draft[d == 0];
    return c->n ? c->median : other->n ? other->median : GUESSED_SHARE * p->rest[0].median;
}

/* Seconds of a cycle with n drafts, drafting aside. What was not measured lies on the line through the
 * nearest below and the largest measured, or through a guess. */
static double rest_cost(const struct depth_policy *p, int n)
{
    int low = n, high = ALULA_DEPTH_MAX;
    while (low > 0 && !p->rest[low].n) low--;
    while (high > low && !p->rest[high].n) high--;
    double base = p->rest[low].median;
    double slope = high > low ? (p->rest[high].median - base) / (high - low)
                   : low > 0  ? (base - p->rest[0].median) / low
                              : GUESSED_SHARE * base;
    return base + (slope > 0 ? slope : 0) * (n - low);
}

/* The best that drafts n+1, n+2, ... can add, in tokens, at the going rate: the prefix before them survives
 * with probability s. Looks ahead, because two more rows may cost hardly more than one. */
static double prospect(const struct depth_policy *p, int n, double s)
{
    double best = 0, gain = 0, cost = -rest_cost(p, n);
    for (int d = n; d < p->max; d++) {
        s *= acceptance(p, d);
        gain += s;
        cost += draft_cost(p, d);
        double value = gain - p->rate * (cost + rest_cost(p, d + 1));
        if (value > best) best = value;
    }
    return best;
}

/* Tokens per second at the best fixed depth. */
static double best_rate(const struct depth_policy *p, int *ret_depth)
{
    double best = 0, tokens = 1, s = 1, drafting = 0;
    for (int d = 0; d <= ALULA_DEPTH_MAX; d++) {
        double rate = tokens / (drafting + rest_cost(p, d));
        if (rate > best) {
            best = rate;
            *ret_depth = d;
        }
        if (d == ALULA_DEPTH_MAX) break;
        s *= acceptance(p, d);
        tokens += s;
        drafting += draft_cost(p, d);
    }
    return best;
}

void depth_begin(struct depth_policy *p, int max)
{
    int best = 0;
    p->n = 0;
    p->survival = 1;
    p->forced = -1;
    if (p->fixed != ALULA_DEPTH_AUTO) {
        p->max = p->forced = p->fixed < max ? p->fixed : max;
        return;
    }
    p->max = max < ALULA_DEPTH_MAX ? max : ALULA_DEPTH_MAX;
    if (!p->rest[0].n || p->since_plain >= PLAIN_EVERY) {
        p->forced = 0;
        return;
    }
    p->rate = best_rate(p, &best);
    if (best > 0)
        p->patience = PATIENCE_MIN;
    else if (p->since_draft >= p->patience)
        p->forced = p->max > 0;
}

bool depth_wants_more(struct depth_policy *p)
{
    if (p->n >= p->max) return false;
    if (p->forced >= 0) return p->n < p->forced;
    return prospect(p, p->n, p->survival) > 0;
}

bool depth_takes(struct depth_policy *p, double confidence)
{
    double s = p->survival * rate_get(&p->by_confidence[p->n > 0][bucket(confidence)], confidence);
    if (p->forced < 0) {
        double row = rest_cost(p, p->n + 1) - rest_cost(p, p->n);
        if (s + prospect(p, p->n + 1, s) <= p->rate * row) return false;
    }
    p->confidence[p->n++] = confidence;
    p->survival = s;
    return true;
}

void depth_end(struct depth_policy *p, int n_accepted, const double *draft_s, int n_steps, double rest_s)
{
    if (p->fixed != ALULA_DEPTH_AUTO) return;
    for (int d = 0; d < p->n && d <= n_accepted; d++) {
        rate_add(&p->by_depth[d], d < n_accepted);
        rate_add(&p->by_confidence[d > 0][bucket(p->confidence[d])], d < n_accepted);
    }
    for (int i = 0; i < n_steps; i++) cost_add(&p->draft[i > 0], draft_s[i]);
    cost_add(&p->rest[p->n], rest_s);
    p->since_plain = p->n ? p->since_plain + 1 : 0;
    p->since_draft = p->n ? 0 : p->since_draft + 1;
    if (p->n && p->forced > 0) {
        p->patience = n_accepted ? PATIENCE_MIN : 2 * p->patience;
        if (p->patience > PATIENCE_MAX) p->patience = PATIENCE_MAX;
    }
}
