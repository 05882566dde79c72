/* speculate.c - the cycle of speculative decoding. Owns the order of drafting, verifying and accepting, and
 * the counters; must not know tensors, text or what ends an answer. */
#include "decode/speculate.h"

#include <math.h>

#include "base/clock.h"
#include "base/mem.h"

static int vocab_of(const struct speculator *s) { return model_config(s->timeline->model)->vocab; }

bool speculator_create(struct speculator *s, struct alula_error *e)
{
    bool ok = sampler_dist_alloc(s->sampler, &s->p);
    for (int i = 0; ok && s->depth.fixed != 0 && i < ALULA_DEPTH_MAX; i++)
        ok = sampler_dist_alloc(s->sampler, &s->q[i]);
    if (ok && s->drafts) {
        forward_set_draft_head(s->timeline->forward, &s->drafts->head);
        s->scattered = mem_zalloc((size_t)vocab_of(s), sizeof *s->scattered);
        ok = s->scattered != NULL;
        for (int i = 0; ok && i < vocab_of(s); i++) s->scattered[i] = -INFINITY;
    }
    if (ok) return true;
    speculator_free(s);
    return err_set(e, ALULA_NOMEM, "no memory for the distributions of drafts");
}

void speculator_free(struct speculator *s)
{
    sampler_dist_free(&s->p);
    for (int i = 0; i < ALULA_DEPTH_MAX; i++) sampler_dist_free(&s->q[i]);
    mem_free(s->scattered);
    s->scattered = NULL;
}

/* What the mask allows at a place of the timeline, whose forerunners lie in ids. */
static const uint32_t *allowed_at(const struct speculator *s, int place)
{
    size_t n = (size_t)(place - s->answer);
    return s->mask ? s->mask(s->mask_arg, s->timeline->ids + s->answer, n) : NULL;
}

/* The target's distribution at a place; the tokens before it were pushed to the sampler. */
static bool shape_target(struct speculator *s, const float *logits, int place, struct alula_error *e)
{
    const uint32_t *allowed = allowed_at(s, place);
    if (sampler_shape(s->sampler, logits, allowed, &s->p)) return true;
    return err_set(e, ALULA_INTERNAL, "token %d of the answer cannot be drawn: %s", place - s->answer + 1,
                   allowed ? "the mask allows no token that has a finite logit" : "no logit is finite");
}

/* Logits of a draft by id. */
static const float *scatter(struct speculator *s, const float *logits)
{
    if (!s->drafts) return logits;
    for (int i = 0; i < s->drafts->n; i++) s->scattered[s->drafts->ids[i]] = logits[i];
    return s->scattered;
}

/* How sure the head is. A distribution of one token (greedy) does not say; its logits do. */
static double confidence(const struct speculator *s, const float *logits, const struct dist *q)
{
    double best = 0;
    if (s->depth.fixed != ALULA_DEPTH_AUTO) return 1;
    if (q->n == 1) return sampler_confidence(logits, s->drafts ? s->drafts->n : vocab_of(s));
    for (int i = 0; i < q->n; i++) best = q->p[i] > best ? q->p[i] : best;
    return best;
}

/* One step of the head, for place len + n of the timeline. false: there is no draft, because none is worth
 * verifying or nothing can be drawn; the latter is the target's to complain of. */
static bool draft_one(struct speculator *s)
{
    struct timeline *t = s->timeline;
    int i = s->depth.n, place = t->len + i;
    struct dist *q = &s->q[i];
    if (i == 0) timeline_settle(t);
    const float *logits = timeline_draft(t);
    if (!sampler_shape(s->sampler, scatter(s, logits), allowed_at(s, place), q)) return false;
    if (!depth_takes(&s->depth, confidence(s, logits, q))) return false;
    int32_t forced = s->force ? s->force(s->force_arg, place) : -1;
    t->ids[place] = forced >= 0 ? forced : law_draft(&s->law, (uint64_t)place, q);
    sampler_push(s->sampler, t->ids[place]);
    return true;
}

/* Drafts behind the timeline's end; fills q. Returns the number of steps. The drafts are pushed to the
 * sampler. */
static int draft(struct speculator *s, double *step_s)
{
    int steps = 0;
    for (bool more = true; more && depth_wants_more(&s->depth);) {
        double begin = clock_s();
        more = draft_one(s);
        step_s[steps++] = clock_s() - begin;
    }
    return steps;
}

/* Replaces the drafts by the tokens of their places, up to the first that falls, and adds the bonus if none
 * does and max leaves room. The sampler has forgotten the drafts; the tokens are pushed. */
static bool accept(struct speculator *s, int n_drafts, int max, struct cycle *c, struct alula_error *e)
{
    struct timeline *t = s->timeline;
    bool survives = true;
    for (int i = 0; survives && i <= n_drafts && i < max; i++) {
        int place = t->len + i;
        if (!shape_target(s, forward_logits(t->forward, i), place, e)) return false;
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
    if (!shape_target(s, timeline_logits(t), t->len, e)) return false;
    t->ids[t->len] = law_sample(&s->law, (uint64_t)t->len, &s->p);
    sampler_push(s->sampler, t->ids[t->len]);
    c->n_tokens = 1;
    return true;
}

bool speculator_cycle(struct speculator *s, int max, struct cycle *ret, struct alula_error *e)
{
    struct timeline *t = s->timeline;
    struct cycle c = {.verified = timeline_unread(t) > 0};
    double step_s[ALULA_DEPTH_MAX];
    if (!c.verified) {
        if (!first_token(s, &c, e)) return false;
        *ret = c;
        return true;
    }
    double t0 = clock_s();
    depth_begin(&s->depth, max);
    int steps = draft(s, step_s);
    c.n_drafted = s->depth.n;
    double t1 = clock_s();
    timeline_verify(t, c.n_drafted);
    double t2 = clock_s();
    sampler_pop(s->sampler, t->ids + t->len, c.n_drafted);
    if (!accept(s, c.n_drafted, max, &c, e)) {
        sampler_pop(s->sampler, t->ids + t->len, c.n_tokens);
        timeline_cancel(t);
        return false;
    }
    double t3 = clock_s();
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
    double begin = clock_s();
    timeline_commit(t, n);
    s->stats.repair_s += clock_s() - begin;
}
