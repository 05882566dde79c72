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

static void cache_write(const struct model *m, void *entry, const float *x)
{
    size_t d = (size_t)m->config->head_dim;
    if (m->kv_type == DT_F16)
        m->kern.f16_from(entry, x, d);
    else
        memcpy(entry, x, d * sizeof(float));
}

static void key_value_append(const struct forward *f, int layer, const struct attention_weights *w, int r,
                             int head)
{
    const struct model *m = f->model;
    const struct row *row = &f->rows[r];
    const struct layer_state *ls = &row->state->layers[layer];
    size_t d = (size_t)m->config->head_dim, at = (size_t)r * (size_t)m->kv_width + (size_t)head * d;
    float *k = f->proj[1] + at;
    m->kern.rms_norm(k, k, w->k_norm.gain, d, (float)m->config->rms_eps);
    rotate(f->rope + (size_t)r * (size_t)m->config->rotary_dim, m->config->rotary_dim / 2, k);
    cache_write(m, state_entry(row->state, ls->k, head, row->entry), k);
    cache_write(m, state_entry(row->state, ls->v, head, row->entry), f->proj[2] + at);
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

/* Queries that take in a block of the cache together: all heads of one row that share its keys, or one head of several
 * rows of a sequence. */
struct tile {
    const struct state *state;
    int layer, kv;
    size_t at, step; /* in f->q and f->o: the first query, and from one to the next */
    int n;
};

/* Maximum and sum of the softmax of a tile's query i. */
static float *running(const struct forward *f, const struct tile *t, int i)
{
    return f->running + 2 * ((t->at + (size_t)i * t->step) / (size_t)f->model->config->head_dim);
}

static void tile_begin(const struct forward *f, const struct tile *t)
{
    for (int i = 0; i < t->n; i++) {
        memset(f->o + t->at + (size_t)i * t->step, 0, (size_t)f->model->config->head_dim * sizeof(float));
        running(f, t, i)[0] = -INFINITY;
        running(f, t, i)[1] = 0;
    }
}

/* Queries [i0, i1) take in entries [b0, b0+n_keys). */
static void tile_take(const struct forward *f, const struct tile *t, int i0, int i1, int b0, int n_keys,
                      int thread)
{
    const struct kern *kern = &f->model->kern;
    const struct layer_state *ls = &t->state->layers[t->layer];
    size_t d = (size_t)f->model->config->head_dim, at = t->at + (size_t)i0 * t->step;
    float *scores = forward_scratch(f, thread), *shrink = scores + (size_t)t->n * KEYS_BLOCK,
          scale = 1.0f / sqrtf((float)d);
    struct matrix cache = {.type = f->model->kv_type, .rows = (uint32_t)n_keys, .cols = (uint32_t)d};

    forward_bytes(f, thread, 2 * matrix_bytes(&cache));
    cache.data = state_entry(t->state, ls->k, t->kv, b0);
    kern->mat_rows(&cache, 0, cache.rows, f->q + at, t->step, i1 - i0, scores, KEYS_BLOCK);
    for (int i = i0; i < i1; i++) {
        float *run = running(f, t, i);
        shrink[i - i0] =
            kern->softmax_block(scores + (size_t)(i - i0) * KEYS_BLOCK, cache.rows, scale, run, run + 1);
    }
    cache.data = state_entry(t->state, ls->v, t->kv, b0);
    kern->mat_accum(&cache, 0, cache.rows, scores, KEYS_BLOCK, i1 - i0, shrink, f->o + at, t->step);
}

/* Divides by the softmax's sum and applies the gate. */
static void tile_end(const struct forward *f, const struct tile *t)
{
    size_t d = (size_t)f->model->config->head_dim;
    for (int i = 0; i < t->n; i++) {
        size_t at = t->at + (size_t)i * t->step;
        float *o = f->o + at, r_sum = 1.0f / running(f, t, i)[1];
        for (size_t j = 0; j < d; j++) o[j] *= r_sum;
        f->model->kern.sigmoid_mul(f->y + at, f->proj[0] + 2 * at + d, o, d);
    }
}

/* Query heads [h0, h1) of row r, all of one key/value head. */
static struct tile tile_of_heads(const struct forward *f, int layer, int r, int h0, int h1)
{
    const struct config *c = f->model->config;
    size_t d = (size_t)c->head_dim;
    return (struct tile){f->rows[r].state,
                         layer,
                         h0 / (c->n_heads / c->n_kv_heads),
                         ((size_t)r * (size_t)c->n_heads + (size_t)h0) * d,
                         d,
                         h1 - h0};
}

/* At most VERIFY_ROWS_MAX rows: items (key/value head, row, query head), numbered in this order. Those of one key/value
 * head go over the cache together, block by block. */
static void few_rows_run(const struct forward *f, int layer, int kv, int begin, int end, int thread)
{
    int group = f->model->config->n_heads / f->model->config->n_kv_heads, r0 = begin / group;
    struct tile tiles[VERIFY_ROWS_MAX];
    int n = 0, last = 0;
    for (int r = r0; r * group < end; r++, n++) {
        int h0 = begin > r * group ? begin - r * group : 0,
            h1 = end < (r + 1) * group ? end - r * group : group;
        tiles[n] = tile_of_heads(f, layer, r, kv * group + h0, kv * group + h1);
        tile_begin(f, &tiles[n]);
        if (f->rows[r].entry > last) last = f->rows[r].entry;
    }
    for (int b0 = 0; b0 <= last; b0 += KEYS_BLOCK)
        for (int i = 0; i < n; i++) {
            int n_keys = f->rows[r0 + i].entry + 1 - b0;
            if (n_keys > 0)
                tile_take(f, &tiles[i], 0, tiles[i].n, b0, n_keys < KEYS_BLOCK ? n_keys : KEYS_BLOCK, thread);
        }
    for (int i = 0; i < n; i++) tile_end(f, &tiles[i]);
}

/* Rows [r0, r1) of one sequence, which follow each other, with query head h. Those that see a whole block take it in
 * together. */
static void many_rows_run(const struct forward *f, int layer, int h, int r0, int r1, int thread)
{
    struct tile t = tile_of_heads(f, layer, r0, h, h + 1);
    int first = f->rows[r0].entry, n = r1 - r0;
    t.step = (size_t)f->model->q_width;
    t.n = n;
    tile_begin(f, &t);
    for (int b0 = 0; b0 < first + n; b0 += KEYS_BLOCK) {
        int i = b0 > first ? b0 - first : 0; /* the first row that sees anything of it */
        for (; i < n && first + i + 1 - b0 < KEYS_BLOCK; i++)
            tile_take(f, &t, i, i + 1, b0, first + i + 1 - b0, thread);
        if (i < n) tile_take(f, &t, i, n, b0, KEYS_BLOCK, thread);
    }
    tile_end(f, &t);
}

/* Items (query head, row): tiles end where a sequence, a head or the thread's share does. */
static void attend_many(const struct attention_work *work, int thread, int n_threads)
{
    const struct forward *f = work->f;
    int begin, end, n = f->n_rows;
    pool_share(f->model->config->n_heads * n, 1, thread, n_threads, &begin, &end);
    while (begin < end) {
        int r0 = begin % n, limit = n - r0 < end - begin ? n - r0 : end - begin, count = 1;
        while (count < limit && count < QUERY_TILE && f->rows[r0 + count].state == f->rows[r0].state) count++;
        many_rows_run(f, work->layer, begin / n, r0, r0 + count, thread);
        begin += count;
    }
}

static void attend_few(const struct attention_work *work, int thread, int n_threads)
{
    const struct forward *f = work->f;
    const struct config *c = f->model->config;
    int group = c->n_heads / c->n_kv_heads, items = f->n_rows * group, begin, end;
    pool_share(items * c->n_kv_heads, 1, thread, n_threads, &begin, &end);
    for (int kv = begin / items; kv < c->n_kv_heads && kv * items < end; kv++) {
        int from = begin > kv * items ? begin - kv * items : 0,
            to = end - kv * items < items ? end - kv * items : items;
        while (from < to) {
            int next = (from / group + VERIFY_ROWS_MAX) * group;
            few_rows_run(f, work->layer, kv, from, next < to ? next : to, thread);
            from = next;
        }
    }
}

/* A prompt: more rows than a verification has, the first ones of one sequence. */
static bool is_prompt(const struct forward *f)
{
    return f->n_rows > VERIFY_ROWS_MAX && f->rows[0].state == f->rows[VERIFY_ROWS_MAX].state;
}

static void attend_job(void *arg, int thread, int n_threads)
{
    const struct attention_work *work = arg;
    forward_do(work->f, thread, PROFILE_ATTEND);
    if (is_prompt(work->f))
        attend_many(work, thread, n_threads);
    else
        attend_few(work, thread, n_threads);
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
