/* deltanet.c - the gated delta net layer: short causal convolution, then a recurrent state per value head.
 *
 * For head h with state S [key dim][value dim], decay e, normed key k and query q of the key head it shares:
 *     p = S^T k,  w = S^T q,  delta = beta (v - e p),  o = e w + (k.q) delta,  S <- e S + k delta^T
 * The step of a row is folded into S when the next row is read, so S passes through the cache once per row.
 * The last row of a batch therefore stays pending; of a verify span all rows do, S goes on in a copy that
 * fits the cache, and how many of them count is known before the next batch begins. The operations and their
 * order are the same on every way.
 *
 * Work is split by key head and sequence: a thread owns the channels of a key head and of its value heads. */
#include "model/model_internal.h"

#include <math.h>

#define L2_EPS       1e-6f
#define ROWS_AT_ONCE 64 /* of a prompt, that go over a part of the state before the next part */

/* One key head of one sequence. */
struct head_work {
    const struct forward *f;
    const struct model *m;
    const struct layer *l;
    struct layer_state *state;
    int head;       /* key head */
    int thread;     /* that works on it */
    int row0, n;    /* its rows of the batch */
    int n_pending;  /* rows of the last batch to fold in */
    int n_settled;  /* of the n rows, those folded in before this batch ends; the others stay pending */
    float *scratch; /* a delta, then a copy of S */
    struct q8 *y8;  /* y of all rows as int8; NULL: not wanted */
};

static size_t row_at(const struct head_work *w, int t) { return (size_t)(w->row0 + t); }

/* window <- the last rows of [window; rows 0..n-1], channels [c0, c0+width). */
static void window_advance(const struct model *m, float *window, const float *rows, int n, int c0, int width)
{
    size_t stride = (size_t)m->channels;
    int keep = m->config->conv_kernel - 1;
    if (n == 0) return;
    for (int i = 0; i < keep; i++) {
        const float *from =
            n + i < keep ? window + (size_t)(n + i) * stride : rows + (size_t)(n + i - keep) * stride;
        memcpy(window + (size_t)i * stride + c0, from + c0, (size_t)width * sizeof(float));
    }
}

/* Convolution and silu over channels [c0, c0+width); leaves window and pending rows for the next batch. */
static void convolve(const struct head_work *w, int c0, int width)
{
    const struct model *m = w->m;
    size_t stride = (size_t)m->channels;
    int taps = m->config->conv_kernel;
    const float *rows = w->f->proj[0] + row_at(w, 0) * stride;
    window_advance(m, w->state->conv, w->state->pending_conv, w->n_pending, c0, width);
    for (int t = 0; t < w->n; t++) {
        const float *in[16];
        for (int j = 0; j < taps; j++) {
            int from = t + j - (taps - 1);
            in[j] =
                (from < 0 ? w->state->conv + (size_t)(t + j) * stride : rows + (size_t)from * stride) + c0;
        }
        m->kern.conv_silu(w->f->conv + row_at(w, t) * stride + c0, in, w->l->taps + c0, stride, taps,
                          (size_t)width);
    }
    window_advance(m, w->state->conv, rows, w->n_settled, c0, width);
    for (int t = w->n_settled; t < w->n; t++)
        memcpy(w->state->pending_conv + (size_t)(t - w->n_settled) * stride + c0,
               rows + (size_t)t * stride + c0, (size_t)width * sizeof(float));
}

static void l2_norm(const struct kern *kern, float *out, const float *x, int n, float scale)
{
    float r = scale / sqrtf(kern->dot(x, x, (size_t)n) + L2_EPS);
    for (int i = 0; i < n; i++) out[i] = x[i] * r;
}

/* Normed q and k of the key head, gamma, decay and beta of its value heads, for all rows. */
static void prepare(const struct head_work *w, int h0, int n_heads)
{
    const struct model *m = w->m;
    const struct config *c = m->config;
    const struct forward *f = w->f;
    int dk = c->lin_k_dim, at = w->head * dk;
    for (int t = 0; t < w->n; t++) {
        size_t r = row_at(w, t);
        const float *conv = f->conv + r * (size_t)m->channels;
        l2_norm(&m->kern, f->q + r * (size_t)m->key_width + at, conv + at, dk, 1.0f / sqrtf((float)dk));
        l2_norm(&m->kern, f->k + r * (size_t)m->key_width + at, conv + m->key_width + at, dk, 1.0f);
        size_t g = r * (size_t)c->lin_v_heads + (size_t)h0;
        for (int h = 0; h < n_heads; h++) {
            f->gamma[g + (size_t)h] = w->l->rate[h0 + h] * kern_softplus(f->proj[3][g + (size_t)h] +
                                                                         w->l->w->gdn.dt_bias.gain[h0 + h]);
            f->decay[g + (size_t)h] = f->gamma[g + (size_t)h];
            f->beta[g + (size_t)h] = -f->proj[2][g + (size_t)h];
        }
        m->kern.exp_inplace(f->decay + g, (size_t)n_heads);
        m->kern.exp_inplace(f->beta + g, (size_t)n_heads);
        for (int h = 0; h < n_heads; h++) f->beta[g + (size_t)h] = 1.0f / (1.0f + f->beta[g + (size_t)h]);
    }
}

static int pending_folds(const struct model *m, const struct layer_state *s, int n, int h, int key_head,
                         struct delta_fold *folds)
{
    const struct config *c = m->config;
    for (int i = 0; i < n; i++) {
        folds[i].decay = s->pending_decay[(size_t)i * (size_t)c->lin_v_heads + (size_t)h];
        folds[i].k =
            s->pending_key + (size_t)i * (size_t)m->key_width + (size_t)key_head * (size_t)c->lin_k_dim;
        folds[i].delta =
            s->pending_delta + (size_t)i * (size_t)m->value_width + (size_t)h * (size_t)c->lin_v_dim;
    }
    return n;
}

/* Row t of value head h, as the kernel takes it. */
static struct delta_row rule_row(const struct head_work *w, int h, int t)
{
    const struct model *m = w->m;
    const struct config *c = m->config;
    const struct forward *f = w->f;
    size_t r = row_at(w, t), key = r * (size_t)m->key_width + (size_t)w->head * (size_t)c->lin_k_dim;
    size_t at = (size_t)h * (size_t)c->lin_v_dim, value = r * (size_t)m->value_width + at;
    size_t g = r * (size_t)c->lin_v_heads + (size_t)h;
    float *delta = w->scratch; /* settled rows need none afterwards */
    if (t >= w->n_settled)
        delta = w->state->pending_delta + (size_t)(t - w->n_settled) * (size_t)m->value_width + at;
    return (struct delta_row){
        .k = f->k + key,
        .q = f->q + key,
        .v = f->conv + r * (size_t)m->channels + 2 * (size_t)m->key_width + at,
        .delta = delta,
        .o = f->o + value,
        .decay = f->decay[g],
        .beta = f->beta[g],
        .kq = m->kern.dot(f->k + key, f->q + key, (size_t)c->lin_k_dim),
    };
}

/* The rows of value head h one after the other. */
static void recur(const struct head_work *w, int h)
{
    const struct model *m = w->m;
    const struct config *c = m->config;
    size_t size = (size_t)c->lin_k_dim * (size_t)c->lin_v_dim;
    struct delta_fold folds[VERIFY_ROWS_MAX];
    struct delta_row rows[ROWS_AT_ONCE];
    struct delta_head head = {
        .s = w->state->s + (size_t)h * size,
        .dk = c->lin_k_dim,
        .dv = c->lin_v_dim,
        .folds = folds,
        .n_folds = pending_folds(m, w->state, w->n_pending, h, w->head, folds),
        .copy = w->scratch + c->lin_v_dim,
    };
    forward_bytes(w->f, w->thread, 2 * size * sizeof(float));
    for (int t = 0; t < w->n; t += ROWS_AT_ONCE) {
        int n = w->n - t < ROWS_AT_ONCE ? w->n - t : ROWS_AT_ONCE;
        for (int i = 0; i < n; i++) rows[i] = rule_row(w, h, t + i);
        head.n_settled = w->n_settled > 0 ? n - 1 : 0;
        m->kern.delta_rule(&head, rows, n);
        folds[0] = (struct delta_fold){rows[n - 1].decay, rows[n - 1].k, rows[n - 1].delta};
        head.n_folds = 1;
    }
}

/* Whether the output projection reads int8, and a head's values are whole groups of that: gate then makes them. */
static bool gates_to_q8(const struct forward *f, int layer)
{
    return f->input8 && f->model->layers[layer].w->gdn.out.type == DT_U32 &&
           f->model->config->lin_v_dim % 64 == 0;
}

/* y = norm(o) * silu(z) */
static void gate(const struct head_work *w, int h)
{
    const struct model *m = w->m;
    size_t dv = (size_t)m->config->lin_v_dim;
    for (int t = 0; t < w->n; t++) {
        size_t at = row_at(w, t) * (size_t)m->value_width + (size_t)h * dv;
        float *y = w->f->y + at;
        m->kern.rms_norm(y, w->f->o + at, w->l->w->gdn.norm.gain, dv, (float)m->config->rms_eps);
        m->kern.silu_mul(y, w->f->proj[1] + at, y, dv);
        if (w->y8)
            m->kern.q8_from(w->y8 + (size_t)h * dv / 64 * (size_t)w->f->n_rows + row_at(w, t),
                            (size_t)w->f->n_rows, y, dv);
    }
}

static void key_head_run(const struct head_work *w)
{
    const struct model *m = w->m;
    const struct config *c = m->config;
    int dk = c->lin_k_dim, dv = c->lin_v_dim, ratio = c->lin_v_heads / c->lin_k_heads, h0 = w->head * ratio;
    forward_do(w->f, w->thread, PROFILE_CONV);
    convolve(w, w->head * dk, dk);
    convolve(w, m->key_width + w->head * dk, dk);
    convolve(w, 2 * m->key_width + h0 * dv, ratio * dv);
    prepare(w, h0, ratio);
    for (int h = h0; h < h0 + ratio; h++) {
        forward_do(w->f, w->thread, PROFILE_DELTA_RULE);
        recur(w, h);
        forward_do(w->f, w->thread, PROFILE_DELTA_GATE);
        gate(w, h);
    }
    for (int t = w->n_settled; t < w->n; t++) {
        size_t r = row_at(w, t), slot = (size_t)(t - w->n_settled), at = (size_t)w->head * (size_t)dk;
        memcpy(w->state->pending_key + slot * (size_t)m->key_width + at,
               w->f->k + r * (size_t)m->key_width + at, (size_t)dk * sizeof(float));
        memcpy(w->state->pending_decay + slot * (size_t)c->lin_v_heads + h0,
               w->f->decay + r * (size_t)c->lin_v_heads + h0, (size_t)ratio * sizeof(float));
    }
}

struct delta_work {
    const struct forward *f;
    int layer;
};

/* Heads [begin, end), counted over all spans. */
static void run_heads(const struct delta_work *work, int begin, int end, int thread)
{
    const struct forward *f = work->f;
    const struct model *m = f->model;
    int heads = m->config->lin_k_heads;
    for (int i = begin; i < end; i++) {
        const struct span *span = &f->spans[i / heads];
        struct head_work w = {
            .f = f,
            .m = m,
            .l = &m->layers[work->layer],
            .state = &span->state->layers[work->layer],
            .head = i % heads,
            .thread = thread,
            .row0 = f->span_begin[i / heads],
            .n = span->n,
            .n_pending = span->state->n_pending,
            .n_settled = span->verify ? 0 : span->n - 1,
            .scratch = f->thread_scratch + f->thread_floats * (size_t)thread,
            .y8 = gates_to_q8(f, work->layer) ? f->input8 : NULL,
        };
        key_head_run(&w);
    }
}

/* Heads write small values side by side: that a thread has the same ones in every pass keeps threads from taking each
 * other's cache lines. */
static void delta_job(void *arg, int thread, int n_threads)
{
    const struct delta_work *work = arg;
    int begin, end;
    (void)n_threads;
    while (pool_take(work->f->pool, thread, &begin, &end)) run_heads(work, begin, end, thread);
}

static void tell(const struct forward *f, int layer)
{
    const struct model *m = f->model;
    int heads = m->config->lin_v_heads;
    forward_tell(f, "conv_out", layer, f->conv, m->channels);
    forward_tell(f, "q", layer, f->q, m->key_width);
    forward_tell(f, "k", layer, f->k, m->key_width);
    forward_tell(f, "gamma", layer, f->gamma, heads);
    forward_tell(f, "beta", layer, f->beta, heads);
    forward_tell(f, "z", layer, f->proj[1], m->value_width);
    forward_tell(f, "o", layer, f->o, m->value_width);
    forward_tell(f, "y", layer, f->y, m->value_width);
}

void deltanet_run(struct forward *f, int layer)
{
    const struct deltanet_weights *w = &f->model->layers[layer].w->gdn;
    const struct linear in[4] = {
        {&w->qkv, f->proj[0]}, {&w->z, f->proj[1]}, {&w->b, f->proj[2]}, {&w->a, f->proj[3]}};
    struct delta_work work = {f, layer};
    linear_run(f, PROFILE_DELTA_PROJ, f->u, f->n_rows, in, 4);
    pool_deal(f->pool, f->n_spans * f->model->config->lin_k_heads);
    forward_job(f, delta_job, &work);
    tell(f, layer);
    linear_add(f, PROFILE_DELTA_PROJ, gates_to_q8(f, layer) ? NULL : f->y, f->n_rows,
               (struct linear){&w->out, f->out}, f->x);
}

void deltanet_fold(struct state *s, int layer)
{
    const struct model *m = s->model;
    const struct config *c = m->config;
    struct layer_state *ls = &s->layers[layer];
    size_t size = (size_t)c->lin_k_dim * (size_t)c->lin_v_dim;
    struct delta_fold folds[VERIFY_ROWS_MAX];
    if (s->n_pending == 0) return;
    window_advance(m, ls->conv, ls->pending_conv, s->n_pending, 0, m->channels);
    for (int h = 0; h < c->lin_v_heads; h++) {
        int n = pending_folds(m, ls, s->n_pending, h, h / (c->lin_v_heads / c->lin_k_heads), folds);
        struct delta_head head = {.s = ls->s + (size_t)h * size,
                                  .dk = c->lin_k_dim,
                                  .dv = c->lin_v_dim,
                                  .folds = folds,
                                  .n_folds = n};
        m->kern.delta_rule(&head, NULL, 0);
    }
}
