/* speculate.c - the cycle of speculative decoding. Owns the order of drafting, verifying and accepting, and
 * the counters; must not know tensors, text or what ends an answer. */
#include "decode/speculate.h"

#include <time.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

bool speculator_create(struct speculator *s, struct alula_error *e)
{
    bool ok = sampler_dist_alloc(s->sampler, &s->p);
    for (int i = 0; ok && s->depth.fixed != 0 && i < ALULA_DEPTH_MAX; i++)
        ok = sampler_dist_alloc(s->sampler, &s->q[i]);
    if (ok) return true;
    speculator_free(s);
    return err_set(e, ALULA_NOMEM, "no memory for the distributions of drafts");
}

void speculator_free(struct speculator *s)
{
    sampler_dist_free(&s->p);
    for (int i = 0; i < ALULA_DEPTH_MAX; i++) sampler_dist_free(&s->q[i]);
}

/* The distribution at a place of the timeline; the tokens before it lie in ids and were pushed to the
 * sampler. */
static bool shape(struct speculator *s, const float *logits, int place, struct dist *out,
                  struct alula_error *e)
{
    const int32_t *answer = s->timeline->ids + s->answer;
    size_t n = (size_t)(place - s->answer);
    const uint32_t *allowed = s->mask ? s->mask(s->mask_arg, answer, n) : NULL;
    if (sampler_shape(s->sampler, logits, allowed, out)) return true;
    return err_set(e, ALULA_INTERNAL, "token %zu of the answer cannot be drawn: %s", n + 1,
                   allowed ? "the mask allows no token that has a finite logit" : "no logit is finite");
}

/* How sure the head is. A distribution of one token (greedy) does not say; its logits do. */
static double confidence(const struct speculator *s, const float *logits, const struct dist *q)
{
    double best = 0;
    if (q->n == 1) return sampler_confidence(logits, model_config(s->timeline->model)->vocab);
    for (int i = 0; i < q->n; i++) best = q->p[i] > best ? q->p[i] : best;
    return best;
}

/* Drafts behind the timeline's end; fills q. The drafts are pushed to the sampler. */
static bool draft(struct speculator *s, double *step_s, int *ret_steps, struct alula_error *e)
{
    struct timeline *t = s->timeline;
    for (*ret_steps = 0; depth_wants_more(&s->depth);) {
        double begin = now();
        int i = s->depth.n, place = t->len + i;
        if (i == 0) timeline_settle(t);
        const float *logits = timeline_draft(t);
        struct dist *q = &s->q[i];
        bool ok = shape(s, logits, place, q, e);
        bool taken =
            ok && depth_takes(&s->depth, s->depth.fixed == ALULA_DEPTH_AUTO ? confidence(s, logits, q) : 1);
        if (taken) {
            int32_t forced = s->force ? s->force(s->force_arg, place) : -1;
            t->ids[place] = forced >= 0 ? forced : law_draft(&s->law, (uint64_t)place, q);
            sampler_push(s->sampler, t->ids[place]);
        }
        step_s[(*ret_steps)++] = now() - begin;
        if (!ok) return false;
        if (!taken) break;
    }
    return true;
}

/* Replaces the drafts by the tokens of their places, up to the first that falls, and adds the bonus if none
 * does and max leaves room. The sampler has forgotten the drafts; the tokens are pushed. */
static bool accept(struct speculator *s, int n_drafts, int max, struct cycle *c, struct alula_error *e)
{
    struct timeline *t = s->timeline;
    bool survives = true;
    for (int i = 0; survives && i <= n_drafts && i < max; i++) {
        int place = t->len + i;
        if (!shape(s, forward_logits(t->forward, i), place, &s->p, e)) return false;
        if (i == n_drafts) {
            t->ids[place] = law_sample(&s->law, (uint64_t)place, &s->p);
            survives = false;
        } else {
            survives = law_accept(&s->law, (uint64_t)place, &s->p, &s->q[i], t->ids[place], &t->ids[place]);
            s->stats.tested[i]++;
            s->stats.accepted[i] += survives;
            c->n_accepted += survives;
        }
        sampler_push(s->sampler, t->ids[place]);
        c->n_tokens++;
    }
    return true;
}

static bool first_token(struct speculator *s, struct cycle *c, struct alula_error *e)
{
    struct timeline *t = s->timeline;
    if (!shape(s, timeline_logits(t), t->len, &s->p, e)) return false;
    t->ids[t->len] = law_sample(&s->law, (uint64_t)t->len, &s->p);
    sampler_push(s->sampler, t->ids[t->len]);
    c->n_tokens = 1;
    return true;
}

/* Takes the cycle back after a failure; what it pushed to the sampler is n ids behind the timeline's end. */
static bool give_up(struct speculator *s, int n_pushed, bool verified)
{
    sampler_pop(s->sampler, s->timeline->ids + s->timeline->len, n_pushed);
    timeline_cancel(s->timeline, verified);
    return false;
}

bool speculator_cycle(struct speculator *s, int max, struct cycle *ret, struct alula_error *e)
{
    struct timeline *t = s->timeline;
    struct cycle c = {.verified = timeline_unread(t) > 0};
    double step_s[ALULA_DEPTH_MAX];
    int steps;
    if (!c.verified) {
        if (!first_token(s, &c, e)) return false;
        *ret = c;
        return true;
    }
    double t0 = now();
    depth_begin(&s->depth, max);
    bool ok = draft(s, step_s, &steps, e);
    c.n_drafted = s->depth.n;
    if (!ok) return give_up(s, c.n_drafted, false);
    double t1 = now();
    timeline_verify(t, c.n_drafted);
    double t2 = now();
    sampler_pop(s->sampler, t->ids + t->len, c.n_drafted);
    if (!accept(s, c.n_drafted, max, &c, e)) return give_up(s, c.n_tokens, true);
    double t3 = now();
    depth_end(&s->depth, c.n_accepted, step_s, steps, t3 - t1);
    for (int i = 0; i < c.n_drafted; i++) s->stats.drafted[i]++;
    s->stats.cycles++;
    s->stats.draft_s += t1 - t0;
    s->stats.verify_s += t2 - t1;
    s->stats.accept_s += t3 - t2;
    *ret = c;
    return true;
}

void speculator_keep(struct speculator *s, const struct cycle *c, int n)
{
    struct timeline *t = s->timeline;
    sampler_pop(s->sampler, t->ids + t->len + n, c->n_tokens - n);
    if (!c->verified) {
        t->len += n;
        return;
    }
    double begin = now();
    timeline_commit(t, n);
    s->stats.repair_s += now() - begin;
}
