/* speculate.c - what a sequence drafts and which drafts it accepts. Owns the counters; must not know tensors, other
 * sequences, text or what ends an answer. */
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
    logprobs_free(&s->logprobs);
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

/* The one id that a mask leaves; -1 if there are more, or none. */
static int32_t only_id(const uint32_t *allowed, int vocab)
{
    int32_t id = -1;
    for (int i = 0; i < (vocab + 31) / 32; i++) {
        if (!allowed[i]) continue;
        if (id >= 0 || (allowed[i] & (allowed[i] - 1))) return -1;
        id = i * 32 + __builtin_ctz(allowed[i]);
    }
    return id;
}

/* Drafts for which nobody need be asked, as far as they go. The head does not follow them, so they are the last. */
static void draft_free(struct speculator *s)
{
    struct timeline *t = s->timeline;
    struct cycle *c = &s->cycle;
    while (c->n_drafted < VERIFY_ROWS_MAX - 1 && c->n_drafted + 1 < c->max) {
        int place = t->len + c->n_drafted;
        const uint32_t *allowed = allowed_at(s, place);
        int32_t id = allowed ? only_id(allowed, vocab_of(s)) : -1;
        if (id < 0) break;
        t->ids[place] = id;
        sampler_push(s->sampler, id);
        c->n_drafted++;
        c->n_free++;
    }
    depth_free(&s->depth, c->n_free);
}

void speculator_begin(struct speculator *s, int max)
{
    s->cycle = (struct cycle){.max = max, .verified = timeline_unread(s->timeline) > 0};
    if (!s->cycle.verified) return;
    depth_limit(&s->depth, max);
    draft_free(s);
}

void speculator_draft(struct speculator *s, const struct depth_group *g, const float *logits)
{
    struct timeline *t = s->timeline;
    int i = s->cycle.n_drafted, place = t->len + i;
    struct dist *q = &s->q[i];
    if (!sampler_shape(s->sampler, scatter(s, logits), allowed_at(s, place), q)) {
        depth_stop(&s->depth);
        return;
    }
    if (!depth_takes(g, &s->depth, confidence(s, logits, q))) return;
    int32_t forced = s->force ? s->force(s->force_arg, place) : -1;
    t->ids[place] = forced >= 0 ? forced : law_draft(&s->law, (uint64_t)place, q);
    sampler_push(s->sampler, t->ids[place]);
    s->cycle.n_drafted++;
    draft_free(s);
}

/* Replaces the drafts by the tokens of their places, up to the first that falls, and adds the bonus if none
 * does and the cycle wants it. The sampler has forgotten the drafts; the tokens are pushed. */
static bool replace(struct speculator *s, struct alula_error *e)
{
    struct timeline *t = s->timeline;
    struct cycle *c = &s->cycle;
    bool survives = true;
    int n_guessed = c->n_drafted - c->n_free;
    for (int i = 0; survives && i <= c->n_drafted && i < c->max; i++) {
        int place = t->len + i;
        const float *logits = t->logits + (size_t)i * (size_t)vocab_of(s);
        if (!shape_target(s, logits, place, e)) return false;
        if (i >= n_guessed) { /* the bonus, or a draft that is all the target can draw, too */
            t->ids[place] = law_sample(&s->law, (uint64_t)place, &s->p);
            survives = i < c->n_drafted;
        } else {
            survives = law_accept(&s->law, (uint64_t)place, &s->p, &s->q[i], t->ids[place], &t->ids[place]);
            s->stats.tested[i]++;
            s->stats.accepted[i] += survives;
        }
        c->n_accepted += survives;
        sampler_push(s->sampler, t->ids[place]);
        logprobs_answer(&s->logprobs, logits, vocab_of(s), t->ids[place], c->n_tokens++);
    }
    return true;
}

bool speculator_accept(struct speculator *s, struct alula_error *e)
{
    struct timeline *t = s->timeline;
    struct cycle *c = &s->cycle;
    sampler_pop(s->sampler, t->ids + t->len, c->n_drafted);
    if (!replace(s, e)) {
        sampler_pop(s->sampler, t->ids + t->len, c->n_tokens);
        if (c->verified) timeline_cancel(t);
        return false;
    }
    if (!c->verified) return true;
    int n_guessed = c->n_drafted - c->n_free;
    s->depth.n_accepted = c->n_accepted < n_guessed ? c->n_accepted : n_guessed;
    for (int i = 0; i < n_guessed; i++) s->stats.drafted[i]++;
    if (c->n_accepted > n_guessed) s->stats.free += c->n_accepted - n_guessed;
    s->stats.cycles++;
    s->stats.head_steps += s->depth.n_steps;
    return true;
}

void speculator_score(struct speculator *s, int n)
{
    const struct timeline *t = s->timeline;
    int begin = state_len(t->state) - n;
    logprobs_read(&s->logprobs, t->read_logits, vocab_of(s), t->ids + begin, n,
                  s->prompt > begin ? s->prompt - begin : 0, timeline_unread(t));
}

void speculator_keep(struct speculator *s, int n)
{
    struct timeline *t = s->timeline;
    struct cycle *c = &s->cycle;
    double begin = clock_s();
    sampler_pop(s->sampler, t->ids + t->len + n, c->n_tokens - n);
    if (c->verified)
        timeline_commit(t, n);
    else
        t->len += n;
    s->stats.repair_s += clock_s() - begin;
}
