/* verify_body.c - what packing cost the body: perplexity of both and how far their predictions lie apart, on
 * one text.
 *
 * Both bodies read the text side by side, a few rows at a time, so no logits are kept. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/sysmem.h"
#include "forge/verify_parts.h"

#define ROWS 32

struct reader {
    struct model *model;
    struct state *state;
    struct forward *forward;
};

static bool open_reader(struct reader *r, const struct weights *w, const struct teacher *t, struct pool *pool,
                        struct alula_error *e)
{
    return model_create(&r->model, w, NULL, t->mode, e) && state_create(&r->state, r->model, (int)t->n, e) &&
           forward_create(&r->forward, r->model, pool, ROWS, e);
}

static void close_reader(struct reader *r)
{
    forward_free(r->forward);
    state_free(r->state);
    model_free(r->model);
}

struct tally {
    double loss, source_loss, kl, kl_squares;
    int64_t tokens, same;
};

/* ln of the sum of e^x; *ret_best is the largest's index. */
static double log_sum(const float *x, int n, int *ret_best)
{
    int best = 0;
    double sum = 0;
    for (int i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    for (int i = 0; i < n; i++) sum += exp((double)x[i] - x[best]);
    *ret_best = best;
    return log(sum) + x[best];
}

static void compare_row(struct tally *t, const float *p, const float *q, int vocab, int32_t next)
{
    int best_p, best_q;
    double sum_p = log_sum(p, vocab, &best_p), sum_q = log_sum(q, vocab, &best_q), kl = 0;
    for (int i = 0; i < vocab; i++) {
        double lp = p[i] - sum_p;
        kl += exp(lp) * (lp - (q[i] - sum_q));
    }
    t->source_loss += sum_p - p[next];
    t->loss += sum_q - q[next];
    t->kl += kl;
    t->kl_squares += kl * kl;
    t->same += best_p == best_q;
    t->tokens++;
}

static bool compare_all(struct tally *tally, struct reader *source, struct reader *packed,
                        const struct teacher *t, const struct watch *watch, struct alula_error *e)
{
    int vocab = model_config(source->model)->vocab;
    for (size_t at = 0, n; at + 1 < t->n; at += n) {
        n = t->n - 1 - at < ROWS ? t->n - 1 - at : ROWS;
        if (!watch_tell(watch, "comparing the packed body with its source", at, t->n - 1, e)) return false;
        struct span a = {
            .state = source->state, .tokens = t->ids + at, .n = (int)n, .logits = SPAN_LOGITS_ALL};
        struct span b = a;
        b.state = packed->state;
        forward_run(source->forward, &a, 1);
        forward_run(packed->forward, &b, 1);
        for (size_t i = 0; i < n; i++)
            compare_row(tally, forward_logits(source->forward, (int)i),
                        forward_logits(packed->forward, (int)i), vocab, t->ids[at + i + 1]);
    }
    return true;
}

static void conclude(struct verify_body *r, const struct tally *t)
{
    double n = (double)t->tokens, mean = t->kl / n;
    double variance = n > 1 ? (t->kl_squares - n * mean * mean) / (n - 1) : 0;
    *r = (struct verify_body){.measured = true,
                              .tokens = t->tokens,
                              .loss = t->loss / n,
                              .source_loss = t->source_loss / n,
                              .kl = mean,
                              .kl_error = sqrt(fmax(variance, 0) / n),
                              .top1_same = (double)t->same / n};
}

/* ---- does it fit? -------------------------------------------------------------------------------------- */

static uint64_t data_bytes(const struct checkpoint *c)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < c->n_tensors; i++) sum += c->tensors[i]->n_bytes;
    return sum;
}

static bool fits(struct verify_body *r, const struct checkpoint *source, const struct checkpoint *artifact)
{
    uint64_t need = data_bytes(source) + data_bytes(artifact), have = sysmem_available();
    if (!have || need <= have) return true;
    snprintf(r->why_not, sizeof r->why_not,
             "source and artifact together take %.1f GB, and %.1f GB are available", 1e-9 * (double)need,
             1e-9 * (double)have);
    return false;
}

static bool compare_bodies(struct verify_body *r, const struct weights *source, const struct weights *packed,
                           const struct teacher *t, struct pool *pool, const struct watch *watch,
                           struct alula_error *e)
{
    struct reader a = {0}, b = {0};
    struct tally tally = {0};
    bool ok = open_reader(&a, source, t, pool, e) && open_reader(&b, packed, t, pool, e) &&
              compare_all(&tally, &a, &b, t, watch, e);
    if (ok) conclude(r, &tally);
    close_reader(&a);
    close_reader(&b);
    return ok;
}

bool verify_body(struct verify_body *ret, const struct checkpoint *artifact, const struct weights *packed,
                 const char *source_dir, const struct teacher *teacher, struct pool *pool,
                 const struct watch *watch, struct alula_error *e)
{
    struct verify_body r = {0};
    struct checkpoint *cp = NULL;
    struct weights *source = NULL;
    struct alula_error why = {0};
    bool ok = true;
    if (!checkpoint_open_trunk(&cp, source_dir, &why) || !weights_bind_trunk(&source, cp, &why))
        snprintf(r.why_not, sizeof r.why_not, "%.190s", why.message);
    else if (source->config->vocab != packed->config->vocab)
        snprintf(r.why_not, sizeof r.why_not, "%.100s has a vocabulary of %d, the artifact of %d", source_dir,
                 source->config->vocab, packed->config->vocab);
    else if (fits(&r, cp, artifact))
        ok = compare_bodies(&r, source, packed, teacher, pool, watch, e);
    weights_free(source);
    checkpoint_close(cp);
    if (ok) *ret = r;
    return ok;
}
