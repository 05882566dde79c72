/* chains.c - the trunk over a text, once, and a head's chains over it, many places at a time.
 *
 * Owns the order of the passes. Does not know which contracts are worth trying or what counts prove.
 *
 * A sequence can take only one draft step at a time, so the places are dealt out to LANES sequences, a
 * stretch to each. Each lane's cache is first filled with the history of its stretch (keys and values alone,
 * cheap and exact because the head has one layer), so that weights are read once for all lanes. */
#include "forge/chains.h"

#include <math.h>

#include "base/mem.h"
#include "decode/sampler.h"
#include "kern/kern.h"

#define READ_ROWS 32 /* of one pass of the trunk */
#define LANES     16
_Static_assert(LANES <= READ_ROWS, "a pass takes every lane");

/* ---- the trunk ----------------------------------------------------------------------------------------- */

struct reading {
    struct teacher *t;
    const struct weights *w;
    struct model *model;
    struct state *state;
    struct forward *forward;
    struct kern kern;
    double loss; /* sum */
};

static double cross_entropy(const float *logits, int vocab, int32_t best, int32_t id)
{
    double sum = 0;
    for (int i = 0; i < vocab; i++) sum += exp((double)logits[i] - logits[best]);
    return log(sum) + logits[best] - logits[id];
}

static void read_row(struct reading *r, size_t at, int row)
{
    struct teacher *t = r->t;
    const struct config *c = r->w->config;
    size_t h = (size_t)c->hidden;
    const float *logits = forward_logits(r->forward, row);
    t->best[at] = sampler_best(logits, c->vocab);
    if (at + 1 < t->n) r->loss += cross_entropy(logits, c->vocab, t->best[at], t->ids[at + 1]);
    memcpy(t->pre + at * h, forward_hidden(r->forward, row), h * sizeof(float));
    r->kern.rms_norm(t->post + at * h, t->pre + at * h, r->w->final_norm.gain, h, (float)c->rms_eps);
}

static bool read_all(struct reading *r, const struct watch *watch, struct alula_error *e)
{
    struct teacher *t = r->t;
    for (size_t at = 0, n; at < t->n; at += n) {
        n = t->n - at < READ_ROWS ? t->n - at : READ_ROWS;
        if (!watch_tell(watch, "reading the text", at, t->n, e)) return false;
        struct span span = {.state = r->state, .tokens = t->ids + at, .n = (int)n, .logits = SPAN_LOGITS_ALL};
        forward_run(r->forward, &span, 1);
        for (size_t i = 0; i < n; i++) read_row(r, at + i, (int)i);
    }
    t->loss = r->loss / (double)(t->n - 1);
    return true;
}

bool teacher_read(struct teacher *ret, const struct weights *w, enum model_mode mode, const int32_t *ids,
                  size_t n, struct pool *pool, const struct watch *watch, struct alula_error *e)
{
    size_t bytes = n * (size_t)w->config->hidden * sizeof(float);
    struct teacher t = {.ids = ids,
                        .n = n,
                        .mode = mode,
                        .pre = mem_alloc(bytes),
                        .post = mem_alloc(bytes),
                        .best = mem_zalloc(n, sizeof(int32_t))};
    struct reading r = {.t = &t, .w = w};
    const struct mtp_contract before_norm = {.base = HIDDEN_PRE_NORM};
    kern_init(&r.kern, CPU_ALL);
    bool ok = (t.pre && t.post && t.best) ||
              err_set(e, ALULA_NOMEM, "no memory for the hidden states of %zu tokens", n);
    ok = ok && model_create(&r.model, w, &before_norm, mode, e) &&
         state_create(&r.state, r.model, (int)n, e) &&
         forward_create(&r.forward, r.model, pool, READ_ROWS, e) && read_all(&r, watch, e);
    forward_free(r.forward);
    state_free(r.state);
    model_free(r.model);
    if (ok)
        *ret = t;
    else
        teacher_free(&t);
    return ok;
}

void teacher_free(struct teacher *t)
{
    mem_free(t->pre);
    mem_free(t->post);
    mem_free(t->best);
    *t = (struct teacher){0};
}

/* ---- the head ------------------------------------------------------------------------------------------ */

struct lane {
    struct state *state;
    size_t at, end; /* the place whose chain is next, and the end of its stretch */
};

struct run {
    struct chains *out;
    const struct teacher *teacher;
    const float *base; /* [n][hidden], what the contract has the trunk hand over */
    size_t first, hidden;
    int vocab;
    struct model *model;
    struct forward *forward;
    struct lane lanes[LANES];
    float *fed; /* [LANES][hidden], from one step to the next */
};

static bool open_lane(struct run *r, int i, struct alula_error *e)
{
    struct lane *l = &r->lanes[i];
    const struct teacher *t = r->teacher;
    l->at = r->first + r->out->n * (size_t)i / LANES;
    l->end = r->first + r->out->n * (size_t)(i + 1) / LANES;
    if (!state_create(&l->state, r->model, (int)t->n, e)) return false;
    if (l->at < l->end && l->at > 0) mtp_history(r->forward, l->state, r->base, t->ids + 1, (int)l->at);
    return true;
}

/* The rank of id: how many are better, equal ones of a lower number counted as better. */
static void judge(struct run *r, int d, size_t place, const float *logits, int32_t id)
{
    size_t at = (size_t)d * r->out->n + place;
    int better = isnan(logits[id]) ? 255 : 0;
    for (int i = 0; i < r->vocab; i++)
        better += logits[i] > logits[id] || (logits[i] == logits[id] && i < id);
    r->out->rank[at] = (uint8_t)(better < 255 ? better : 255);
    r->out->guess[at] = better ? sampler_best(logits, r->vocab) : id;
}

/* Step d (0 = the first) of the chains at hand. */
static void step(struct run *r, struct lane *const *active, int n, int d)
{
    struct mtp_row rows[LANES];
    for (int k = 0; k < n; k++) {
        size_t at = active[k]->at;
        rows[k] = (struct mtp_row){.state = active[k]->state,
                                   .hidden = d ? r->fed + (size_t)k * r->hidden : r->base + at * r->hidden,
                                   .token = r->teacher->ids[at + (size_t)d + 1]};
    }
    mtp_draft(r->forward, rows, n);
    for (int k = 0; k < n; k++) {
        size_t at = active[k]->at;
        judge(r, d, at - r->first, mtp_logits(r->forward, k), r->teacher->best[at + (size_t)d + 1]);
    }
    for (int k = 0; k < n; k++)
        memcpy(r->fed + (size_t)k * r->hidden, mtp_hidden(r->forward, k), r->hidden * sizeof(float));
}

static bool run_all(struct run *r, const char *what, const struct watch *watch, struct alula_error *e)
{
    for (int i = 0; i < LANES; i++)
        if (!open_lane(r, i, e)) return false;
    for (size_t done = 0; done < r->out->n;) {
        struct lane *active[LANES];
        int n = 0;
        if (!watch_tell(watch, what, done, r->out->n, e)) return false;
        for (int i = 0; i < LANES; i++)
            if (r->lanes[i].at < r->lanes[i].end) active[n++] = &r->lanes[i];
        for (int d = 0; d < r->out->depth; d++) step(r, active, n, d);
        for (int k = 0; k < n; k++) {
            active[k]->at++; /* the first step's pair is true: it stays as history */
            state_mtp_cut(active[k]->state, (int)active[k]->at);
        }
        done += (size_t)n;
    }
    return true;
}

bool chains_run(struct chains *ret, const struct teacher *teacher, const struct weights *w,
                const struct mtp_contract *contract, int depth, size_t first, size_t n, struct pool *pool,
                const char *what, const struct watch *watch, struct alula_error *e)
{
    struct chains c = {.depth = depth,
                       .n = n,
                       .guess = mem_zalloc((size_t)depth * n, sizeof(int32_t)),
                       .rank = mem_zalloc((size_t)depth * n, 1)};
    struct run r = {.out = &c,
                    .teacher = teacher,
                    .base = contract->base == HIDDEN_PRE_NORM ? teacher->pre : teacher->post,
                    .first = first,
                    .hidden = (size_t)w->config->hidden,
                    .vocab = w->config->vocab};
    r.fed = mem_alloc(LANES * r.hidden * sizeof(float));
    bool ok = (c.guess && c.rank && r.fed) || err_set(e, ALULA_NOMEM, "no memory for %zu draft chains", n);
    ok = ok && model_create(&r.model, w, contract, teacher->mode, e) &&
         forward_create(&r.forward, r.model, pool, READ_ROWS, e) && run_all(&r, what, watch, e);
    for (int i = 0; i < LANES; i++) state_free(r.lanes[i].state);
    forward_free(r.forward);
    model_free(r.model);
    mem_free(r.fed);
    if (ok)
        *ret = c;
    else
        chains_free(&c);
    return ok;
}

void chains_free(struct chains *c)
{
    mem_free(c->guess);
    mem_free(c->rank);
    *c = (struct chains){0};
}

int64_t chains_hits(const struct chains *c, int d, int top)
{
    int64_t hits = 0;
    for (size_t i = 0; i < c->n; i++) hits += c->rank[(size_t)d * c->n + i] < top;
    return hits;
}

int64_t chains_prefix(const struct chains *c, int d)
{
    int64_t hits = 0;
    for (size_t i = 0; i < c->n; i++) {
        bool all = true;
        for (int k = 0; k <= d; k++) all = all && c->rank[(size_t)k * c->n + i] == 0;
        hits += all;
    }
    return hits;
}
