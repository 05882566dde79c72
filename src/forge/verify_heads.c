/* verify_heads.c - the packed head and the one it was packed from, on the same places over the same body: how
 * often each is right, and what a draft of each costs. */
#include <stdio.h>

#include "base/clock.h"
#include "base/mem.h"
#include "forge/verify_parts.h"

#define TIMED_DRAFTS  41
#define TIMED_HISTORY 256

static void describe(struct verify_head *h, const struct weights *w)
{
    const struct matrix *m = &w->mtp.layer.attn.q;
    if (m->bits)
        snprintf(h->what, sizeof h->what, "%d-bit, group %d", m->bits, m->group);
    else
        snprintf(h->what, sizeof h->what, "%s", dtype_name(m->type));
}

/* Of the head's matrices, those that one row touches: all but the experts that the router does not choose. */
static uint64_t draft_bytes(const struct weights *w)
{
    const struct mtp_weights *m = &w->mtp;
    const struct attention_weights *a = &m->layer.attn;
    const struct mlp_weights *l = &m->layer.mlp;
    bool moe = l->type == MLP_MOE;
    uint64_t sum = matrix_bytes(&m->fc) + matrix_bytes(&a->q) + matrix_bytes(&a->k) + matrix_bytes(&a->v) +
                   matrix_bytes(&a->o);
    uint64_t expert = matrix_bytes(&l->gate[0]) + matrix_bytes(&l->up[0]) + matrix_bytes(&l->down[0]);
    if (!moe) return sum + expert;
    return sum + expert * (uint64_t)w->config->experts_per_tok + matrix_bytes(&l->router) +
           matrix_bytes(&l->shared_gate) + matrix_bytes(&l->shared_up) + matrix_bytes(&l->shared_down) +
           matrix_bytes(&l->shared_expert_gate);
}

static void count(struct verify_head *h, const struct chains *c)
{
    h->measured = true;
    h->positions = (int64_t)c->n;
    for (int d = 0; d < c->depth; d++) {
        h->hits[d] = chains_hits(c, d, 1);
        h->prefix[d] = chains_prefix(c, d);
    }
}

/* ---- cost ---------------------------------------------------------------------------------------------- */

struct timed {
    struct model *model;
    struct state *state;
    struct forward *forward;
    double ms[TIMED_DRAFTS];
};

static const float *handed(const struct teacher *t, const struct mtp_contract *c)
{
    return c->base == HIDDEN_PRE_NORM ? t->pre : t->post;
}

static int history(const struct teacher *t)
{
    return t->n - 1 < TIMED_HISTORY ? (int)t->n - 1 : TIMED_HISTORY;
}

static bool open_timed(struct timed *d, const struct weights *w, const struct mtp_contract *c,
                       const struct teacher *t, struct pool *pool, struct alula_error *e)
{
    if (!model_create(&d->model, w, c, t->mode, e) || !state_create(&d->state, d->model, (int)t->n, e) ||
        !forward_create(&d->forward, d->model, pool, VERIFY_ROWS_MAX, e))
        return false;
    mtp_history(d->forward, d->state, handed(t, c), t->ids + 1, history(t));
    return true;
}

static void time_draft(struct timed *d, int i, const struct mtp_contract *c, const struct teacher *t)
{
    int at = history(t) - 1;
    struct mtp_row row = {.state = d->state,
                          .hidden = handed(t, c) + (size_t)at * (size_t)model_config(d->model)->hidden,
                          .token = t->ids[at + 1]};
    double start = clock_s();
    mtp_draft(d->forward, &row, 1);
    d->ms[i] = 1e3 * (clock_s() - start);
    state_mtp_cut(d->state, at + 1);
}

static void close_timed(struct timed *d)
{
    forward_free(d->forward);
    state_free(d->state);
    model_free(d->model);
}

static bool time_both(struct verify *ret, const struct weights *packed, const struct weights *source,
                      const struct mtp_contract *c, const struct teacher *t, struct pool *pool,
                      struct alula_error *e)
{
    struct timed a = {0}, b = {0};
    bool ok = open_timed(&a, packed, c, t, pool, e) && (!source || open_timed(&b, source, c, t, pool, e));
    for (int i = -3; ok && i < TIMED_DRAFTS; i++) { /* the first rounds fill the caches */
        time_draft(&a, i < 0 ? 0 : i, c, t);
        if (source) time_draft(&b, i < 0 ? 0 : i, c, t);
    }
    if (ok) ret->packed.draft_ms = stats_median(a.ms, TIMED_DRAFTS);
    if (ok && source) ret->source.draft_ms = stats_median(b.ms, TIMED_DRAFTS);
    close_timed(&a);
    close_timed(&b);
    return ok;
}

/* ---- both ---------------------------------------------------------------------------------------------- */

static void compare(struct verify *v, const struct chains *packed, const struct chains *source)
{
    for (int d = 0; d < packed->depth; d++)
        for (size_t i = (size_t)d * packed->n; i < (size_t)(d + 1) * packed->n; i++) {
            bool x = packed->rank[i] == 0, y = source->rank[i] == 0;
            v->won[d] += x && !y;
            v->lost[d] += y && !x;
        }
}

bool verify_heads(struct verify *ret, const struct weights *packed, const struct weights *source,
                  const struct mtp_contract *contract, const struct teacher *teacher, struct pool *pool,
                  const struct watch *watch, struct alula_error *e)
{
    struct verify v = {0};
    struct chains a = {0}, b = {0};
    size_t first = CALIBRATE_FIRST, n = teacher->n - CALIBRATE_FIRST - CHAIN_DEPTH_MAX;
    bool ok =
        chains_run(&a, teacher, packed, contract, CHAIN_DEPTH_MAX, first, n, pool, "drafting", watch, e);
    if (ok && source)
        ok = chains_run(&b, teacher, source, contract, CHAIN_DEPTH_MAX, first, n, pool,
                        "drafting with the source's head", watch, e);
    ok = ok && time_both(&v, packed, source, contract, teacher, pool, e);
    if (ok) {
        count(&v.packed, &a);
        describe(&v.packed, packed);
        v.packed.bytes = draft_bytes(packed);
        if (source) {
            count(&v.source, &b);
            describe(&v.source, source);
            v.source.bytes = draft_bytes(source);
            compare(&v, &a, &b);
        }
        ret->packed = v.packed;
        ret->source = v.source;
        memcpy(ret->won, v.won, sizeof v.won);
        memcpy(ret->lost, v.lost, sizeof v.lost);
    }
    chains_free(&a);
    chains_free(&b);
    return ok;
}
