/* eval.c - how well a model foretells a given text: trunk and draft chains, teacher-forced.
 *
 * Owns the order of the passes and the counting. Does not know sessions, sampling or where the rows of logits
 * end up.
 *
 * The trunk's pass comes first and keeps every hidden state; then one pass for each step of the chains. In
 * pass d the entries of the steps before it are written into the head's cache again from what those steps
 * were fed with: keys and values alone, which is cheap and exact, since the head has one layer. So the logits
 * of one step come in one go, and memory holds no logits at all. */
#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "decode/decode_internal.h"

#define EVAL_CHUNK 32 /* rows of one forward pass */

struct eval {
    const struct alula_eval_options *options;
    const int32_t *ids;
    size_t n;
    int vocab, hidden;
    struct pool *pool;
    struct state *state;
    struct forward *forward;
    float *fed;     /* [depth][n][hidden]: what step d+1 is fed with; [0] comes from the trunk */
    int32_t *guess; /* [depth+1][n]: the token beside it; [0] is the text shifted by one */
    double loss;    /* sum */
    struct alula_eval result;
};

static float *fed_row(const struct eval *v, int d, size_t t)
{
    return v->fed + ((size_t)d * v->n + t) * (size_t)v->hidden;
}

static int32_t *guess_row(const struct eval *v, int d, size_t t)
{
    return v->guess + (size_t)d * v->n + t;
}

/* -log of the probability of `id` under softmax(logits), in nats */
static double cross_entropy(const float *logits, int vocab, int32_t id)
{
    double max = logits[sampler_best(logits, vocab)], sum = 0;
    for (int i = 0; i < vocab; i++) sum += exp(logits[i] - max);
    return log(sum) + max - logits[id];
}

static bool tell(const struct eval *v, size_t done, struct alula_error *e)
{
    const struct alula_eval_options *o = v->options;
    if (o->progress && !o->progress(o->arg, done, v->n * (size_t)(1 + o->depth)))
        return err_set(e, ALULA_CANCELLED, "stopped");
    return true;
}

static bool give_row(const struct eval *v, int d, size_t t, const float *logits, struct alula_error *e)
{
    return !v->options->row || v->options->row(v->options->arg, d, t, logits, e);
}

static bool trunk_row(struct eval *v, size_t t, const float *logits, struct alula_error *e)
{
    int32_t best = sampler_best(logits, v->vocab);
    if (t + 1 < v->n) {
        v->loss += cross_entropy(logits, v->vocab, v->ids[t + 1]);
        v->result.top1 += best == v->ids[t + 1];
        v->result.tokens++;
    }
    *guess_row(v, 0, t) = t + 1 < v->n ? v->ids[t + 1] : best;
    return give_row(v, 0, t, logits, e);
}

static bool trunk_pass(struct eval *v, struct alula_error *e)
{
    size_t first = v->options->first;
    for (size_t t = 0, n; t < v->n; t += n) {
        bool counts = t >= first;
        size_t end = counts ? v->n : first;
        n = end - t < EVAL_CHUNK ? end - t : EVAL_CHUNK;
        struct span span = {.state = v->state,
                            .tokens = v->ids + t,
                            .n = (int)n,
                            .logits = counts ? SPAN_LOGITS_ALL : SPAN_LOGITS_NONE};
        forward_run(v->forward, &span, 1);
        for (size_t r = 0; r < n; r++) {
            if (v->options->depth)
                memcpy(fed_row(v, 0, t + r), forward_hidden(v->forward, (int)r),
                       (size_t)v->hidden * sizeof(float));
            if (!counts)
                *guess_row(v, 0, t + r) = v->ids[t + r + 1];
            else if (!trunk_row(v, t + r, forward_logits(v->forward, (int)r), e))
                return false;
        }
        if (!tell(v, t + n, e)) return false;
    }
    return true;
}

/* Step d of the chain that starts at t. */
static bool head_row(struct eval *v, int d, size_t t, struct alula_error *e)
{
    for (int j = 0; j + 1 < d; j++)
        mtp_history(v->forward, v->state, fed_row(v, j, t), guess_row(v, j, t), 1);
    struct mtp_row row = {
        .state = v->state, .hidden = fed_row(v, d - 1, t), .token = *guess_row(v, d - 1, t)};
    mtp_draft(v->forward, &row, 1);
    const float *logits = mtp_logits(v->forward, 0);
    *guess_row(v, d, t) = sampler_best(logits, v->vocab);
    if (d < v->options->depth)
        memcpy(fed_row(v, d, t), mtp_hidden(v->forward, 0), (size_t)v->hidden * sizeof(float));
    state_mtp_cut(v->state, (int)t + 1); /* what step 1 was fed with is true; it stays as history */
    return give_row(v, d, t, logits, e);
}

static bool head_pass(struct eval *v, int d, struct alula_error *e)
{
    size_t first = v->options->first;
    state_mtp_cut(v->state, 0);
    if (first) mtp_history(v->forward, v->state, fed_row(v, 0, 0), guess_row(v, 0, 0), (int)first);
    for (size_t t = first; t < v->n; t++)
        if (!head_row(v, d, t, e) || !tell(v, (size_t)d * v->n + t + 1, e)) return false;
    return true;
}

static void count_chains(struct eval *v)
{
    int depth = v->options->depth;
    for (size_t t = v->options->first; depth && t + 1 + (size_t)depth < v->n; t++) {
        v->result.positions++;
        for (int d = 1; d <= depth && *guess_row(v, d, t) == v->ids[t + 1 + (size_t)d]; d++)
            v->result.accepted[d - 1]++;
    }
}

static bool eval_check(const struct alula_engine *engine, const int32_t *ids, size_t n,
                       const struct alula_eval_options *o, struct alula_error *e)
{
    struct alula_engine_info info;
    alula_engine_describe(engine, &info);
    if (!n) return err_set(e, ALULA_FORMAT, "there is no text to evaluate");
    if (n > (size_t)info.max_context)
        return err_set(e, ALULA_LIMIT, "the text has %zu tokens; the model was made for %d", n,
                       info.max_context);
    if (o->first >= n)
        return err_set(e, ALULA_USAGE, "counting cannot start at token %zu of %zu", o->first, n);
    if (o->depth < 0 || o->depth > ALULA_DEPTH_MAX)
        return err_set(e, ALULA_USAGE, "depth is %d, expected 0 to %d", o->depth, ALULA_DEPTH_MAX);
    if (o->depth && !info.has_mtp)
        return err_set(e, ALULA_UNSUPPORTED, "depth is %d, but the model has no MTP head", o->depth);
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= info.vocab)
            return err_set(e, ALULA_FORMAT, "id %d at index %zu is outside the vocabulary of %d", ids[i], i,
                           info.vocab);
    return true;
}

static bool eval_create(struct eval *v, const struct alula_engine *engine, struct alula_error *e)
{
    const struct alula_eval_options *o = v->options;
    const struct model *m = engine->model;
    v->vocab = model_config(m)->vocab;
    v->hidden = model_config(m)->hidden;
    v->fed = mem_zalloc(v->n * (size_t)o->depth + 1, (size_t)v->hidden * sizeof(float));
    v->guess = mem_zalloc(v->n, (size_t)(o->depth + 1) * sizeof(int32_t));
    if (!v->fed || !v->guess)
        return err_set(e, ALULA_NOMEM, "not enough memory for the hidden states of %zu tokens at depth %d",
                       v->n, o->depth);
    return pool_create(&v->pool, o->n_threads, e) && state_create(&v->state, m, (int)v->n + o->depth, e) &&
           forward_create(&v->forward, m, v->pool, EVAL_CHUNK, e);
}

bool alula_eval_run(const struct alula_engine *engine, const int32_t *ids, size_t n,
                    const struct alula_eval_options *options, struct alula_eval *ret, struct alula_error *e)
{
    if (!eval_check(engine, ids, n, options, e)) return false;
    struct eval v = {.options = options, .ids = ids, .n = n};
    double start = clock_s();
    bool ok = eval_create(&v, engine, e) && trunk_pass(&v, e);
    for (int d = 1; ok && d <= options->depth; d++) ok = head_pass(&v, d, e);
    if (ok) {
        count_chains(&v);
        if (v.result.tokens) v.result.loss = v.loss / (double)v.result.tokens;
        v.result.seconds = clock_s() - start;
        *ret = v.result;
    }
    forward_free(v.forward);
    state_free(v.state);
    pool_free(v.pool);
    mem_free(v.guess);
    mem_free(v.fed);
    return ok;
}
