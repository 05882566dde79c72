/* attention.c - the full attention layer: normed and rotated queries and keys, the cache, softmax over it,
 * the gate.
 *
 * The cache is read in blocks of KEYS_BLOCK entries that begin at multiples of it, each block by all rows of
 * the batch before the next. A row carries the maximum and the sum of its softmax from block to block, so
 * memory does not grow with the context and the order of summation depends on nothing but the row's own
 * position. */
#include "model/model_internal.h"

#include <math.h>

struct attention_work {
    const struct forward *f;
    int layer;
    bool queries; /* else keys and values alone */
};

static float *cache_entry(const struct model *m, const struct state *s, float *cache, int head, int entry)
{
    return cache + ((size_t)head * (size_t)s->kv_capacity + (size_t)entry) * (size_t)m->config->head_dim;
}

/* Turns the pairs (j, j + half) by the row's angles; the dimensions behind them stay. */
static void rotate(const float *rope, int half, float *x)
{
    for (int j = 0; j < half; j++) {
        float a = x[j], b = x[j + half], c = rope[j], s = rope[half + j];
        x[j] = a * c - b * s;
        x[j + half] = b * c + a * s;
    }
}

static void query_prepare(const struct forward *f, const struct attention_weights *w, int r, int head)
{
    const struct model *m = f->model;
    size_t d = (size_t)m->config->head_dim, width = (size_t)m->q_width;
    float *q = f->q + (size_t)r * width + (size_t)head * d;
    const float *in = f->proj[0] + (size_t)r * 2 * width + (size_t)head * 2 * d; /* query, then gate */
    m->kern.rms_norm(q, in, w->q_norm.gain, d, (float)m->config->rms_eps);
    rotate(f->rope + (size_t)r * (size_t)m->config->rotary_dim, m->config->rotary_dim / 2, q);
}

static void key_value_append(const struct forward *f, int layer, const struct attention_weights *w, int r,
                             int head)
{
    const struct model *m = f->model;
    const struct row *row = &f->rows[r];
    const struct layer_state *ls = &row->state->layers[layer];
    size_t d = (size_t)m->config->head_dim, at = (size_t)r * (size_t)m->kv_width + (size_t)head * d;
    float *k = cache_entry(m, row->state, ls->k, head, row->entry);
    m->kern.rms_norm(k, f->proj[1] + at, w->k_norm.gain, d, (float)m->config->rms_eps);
    rotate(f->rope + (size_t)r * (size_t)m->config->rotary_dim, m->config->rotary_dim / 2, k);
    memcpy(cache_entry(m, row->state, ls->v, head, row->entry), f->proj[2] + at, d * sizeof(float));
}

static void prepare_job(void *arg, int thread, int n_threads)
{
    const struct attention_work *work = arg;
    const struct forward *f = work->f;
    const struct config *c = f->model->config;
    const struct attention_weights *w = &f->model->layers[work->layer].w->attn;
    forward_do(f, thread, PROFILE_ATTN_ROTATE);
    int heads = c->n_kv_heads + (work->queries ? c->n_heads : 0), begin, end;
    pool_share(f->n_rows * heads, 1, thread, n_threads, &begin, &end);
    for (int i = begin; i < end; i++) {
        int r = i / heads, head = i % heads;
        if (head < c->n_kv_heads)
            key_value_append(f, work->layer, w, r, head);
        else
            query_prepare(f, w, r, head - c->n_kv_heads);
    }
}

/* Query heads [h0, h0+n) of row r, which share key/value head kv, take in the block of entries [b0,
 * b0+n_keys). */
static void block_take(const struct forward *f, int layer, int r, int kv, int h0, int n, int b0, int n_keys,
                       float *scores)
{
    const struct model *m = f->model;
    const struct config *c = m->config;
    const struct state *s = f->rows[r].state;
    size_t d = (size_t)c->head_dim, at = (size_t)r * (size_t)m->q_width + (size_t)h0 * d;
    struct matrix cache = {.type = DT_F32, .rows = (uint32_t)n_keys, .cols = (uint32_t)d};
    float *o = f->o + at, *running = f->running + ((size_t)r * (size_t)c->n_heads + (size_t)h0) * 2;
    float scale = 1.0f / sqrtf((float)d);

    cache.data = cache_entry(m, s, s->layers[layer].k, kv, b0);
    m->kern.mat_rows(&cache, 0, (uint32_t)n_keys, f->q + at, d, n, scores, KEYS_BLOCK);
    for (int h = 0; h < n; h++) {
        float *p = scores + (size_t)h * KEYS_BLOCK, *acc = o + (size_t)h * d, *max = running + 2 * h,
              *sum = max + 1;
        float top = *max, shrink, total = 0;
        for (int j = 0; j < n_keys; j++) {
            p[j] *= scale;
            if (p[j] > top) top = p[j];
        }
        for (int j = 0; j < n_keys; j++) p[j] -= top;
        shrink = *max - top;
        m->kern.exp_inplace(p, (size_t)n_keys);
        m->kern.exp_inplace(&shrink, 1);
        for (int j = 0; j < n_keys; j++) total += p[j];
        *sum = *sum * shrink + total;
        *max = top;
        for (size_t j = 0; j < d; j++) acc[j] *= shrink;
    }
    cache.data = cache_entry(m, s, s->layers[layer].v, kv, b0);
    m->kern.mat_accum(&cache, 0, (uint32_t)n_keys, scores, KEYS_BLOCK, n, o, d);
}

static void heads_begin(const struct forward *f, int r, int h0, int n)
{
    const struct config *c = f->model->config;
    size_t d = (size_t)c->head_dim;
    memset(f->o + (size_t)r * (size_t)f->model->q_width + (size_t)h0 * d, 0, (size_t)n * d * sizeof(float));
    for (int h = h0; h < h0 + n; h++) {
        float *running = f->running + ((size_t)r * (size_t)c->n_heads + (size_t)h) * 2;
        running[0] = -INFINITY;
        running[1] = 0;
    }
}

/* Divides by the softmax's sum and applies the gate. */
static void heads_end(const struct forward *f, int r, int h0, int n)
{
    const struct config *c = f->model->config;
    size_t d = (size_t)c->head_dim;
    for (int h = h0; h < h0 + n; h++) {
        size_t at = (size_t)r * (size_t)f->model->q_width + (size_t)h * d;
        float *o = f->o + at, r_sum = 1.0f / f->running[((size_t)r * (size_t)c->n_heads + (size_t)h) * 2 + 1];
        for (size_t j = 0; j < d; j++) o[j] *= r_sum;
        f->model->kern.sigmoid_mul(f->y + at, f->proj[0] + 2 * at + d, o, d);
    }
}

/* A thread's share: items (key/value head, row, query head of the group), numbered in this order. Those of
 * one key/value head go over the cache together. */
struct share {
    int begin, end; /* of the items of one key/value head */
    int group;
};

static bool share_heads(const struct share *s, int r, int *h0, int *n)
{
    int begin = r * s->group, end = begin + s->group;
    if (begin < s->begin) begin = s->begin;
    if (end > s->end) end = s->end;
    *h0 = begin - r * s->group;
    *n = end - begin;
    return *n > 0;
}

static void share_run(const struct forward *f, int layer, int kv, struct share s, int thread)
{
    float *scores = forward_scratch(f, thread);
    int r0 = s.begin / s.group, r1 = (s.end + s.group - 1) / s.group, last = 0, h0, n;
    for (int r = r0; r < r1; r++) {
        if (share_heads(&s, r, &h0, &n)) heads_begin(f, r, kv * s.group + h0, n);
        if (f->rows[r].entry > last) last = f->rows[r].entry;
    }
    forward_bytes(f, thread, 2 * ((size_t)last + 1) * (size_t)f->model->config->head_dim * sizeof(float));
    for (int b0 = 0; b0 <= last; b0 += KEYS_BLOCK) {
        for (int r = r0; r < r1; r++) {
            int n_keys = f->rows[r].entry + 1 - b0;
            if (n_keys > KEYS_BLOCK) n_keys = KEYS_BLOCK;
            if (n_keys > 0 && share_heads(&s, r, &h0, &n))
                block_take(f, layer, r, kv, kv * s.group + h0, n, b0, n_keys, scores);
        }
    }
    for (int r = r0; r < r1; r++)
        if (share_heads(&s, r, &h0, &n)) heads_end(f, r, kv * s.group + h0, n);
}

static void attend_job(void *arg, int thread, int n_threads)
{
    const struct attention_work *work = arg;
    const struct forward *f = work->f;
    const struct config *c = f->model->config;
    int group = c->n_heads / c->n_kv_heads, items = f->n_rows * group, begin, end;
    forward_do(f, thread, PROFILE_ATTEND);
    pool_share(items * c->n_kv_heads, 1, thread, n_threads, &begin, &end);
    for (int kv = begin / items; kv < c->n_kv_heads && kv * items < end; kv++) {
        struct share s = {.begin = begin - kv * items, .end = end - kv * items, .group = group};
        if (s.begin < 0) s.begin = 0;
        if (s.end > items) s.end = items;
        share_run(f, work->layer, kv, s, thread);
    }
}

void attention_append(struct forward *f, int layer)
{
    const struct attention_weights *w = &f->model->layers[layer].w->attn;
    const struct linear in[2] = {{&w->k, f->proj[1]}, {&w->v, f->proj[2]}};
    struct attention_work work = {f, layer, false};
    linear_run(f, PROFILE_ATTN_PROJ, f->u, f->n_rows, in, 2);
    forward_job(f, prepare_job, &work);
}

void attention_run(struct forward *f, int layer)
{
    const struct attention_weights *w = &f->model->layers[layer].w->attn;
    const struct linear in[3] = {{&w->q, f->proj[0]}, {&w->k, f->proj[1]}, {&w->v, f->proj[2]}};
    struct attention_work work = {f, layer, true};
    linear_run(f, PROFILE_ATTN_PROJ, f->u, f->n_rows, in, 3);
    forward_job(f, prepare_job, &work);
    forward_job(f, attend_job, &work);
    forward_tell(f, "q_gate", layer, f->proj[0], 2 * f->model->q_width);
    forward_tell(f, "q", layer, f->q, f->model->q_width);
    forward_tell(f, "o", layer, f->o, f->model->q_width);
    linear_add(f, PROFILE_ATTN_PROJ, f->y, f->n_rows, (struct linear){&w->o, f->out}, f->x);
}
