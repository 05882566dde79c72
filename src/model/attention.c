/* attention.c - the full attention layer: normed and rotated queries and keys, the cache, softmax over it,
 * the gate.
 *
 * The cache is read in blocks of KV_BLOCK entries, and these by chunks of KEYS_CHUNK; both begin at multiples of their
 * size. Within a chunk a query carries the maximum and the sum of its softmax from block to block; what it has taken from
 * the chunks is merged from the first on. So memory hardly grows with the context, threads can take chunks as they come,
 * and the order of summation depends on nothing but the row's own position. */
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

/* What a query has taken so far, as kern.attend wants it. */
static void taken_clear(float *taken, size_t d)
{
    memset(taken, 0, d * sizeof *taken);
    taken[d] = -INFINITY;
    taken[d + 1] = 0;
}

/* What was taken from the next chunk goes to what was taken before. */
static void taken_merge(const struct kern *kern, float *taken, const float *next, size_t d)
{
    float max = next[d] > taken[d] ? next[d] : taken[d], share[2] = {taken[d] - max, next[d] - max};
    kern->exp_inplace(share, 2);
    for (size_t j = 0; j < d; j++) taken[j] = taken[j] * share[0] + next[j] * share[1];
    taken[d] = max;
    taken[d + 1] = taken[d + 1] * share[0] + next[d + 1] * share[1];
}

/* Divides by the softmax's sum and applies the gate: head h of row r. */
static void taken_finish(const struct forward *f, const float *taken, int r, int h)
{
    size_t d = (size_t)f->model->config->head_dim, at = (size_t)r * (size_t)f->model->q_width + (size_t)h * d;
    float *o = f->o + at, r_sum = 1.0f / taken[d + 1];
    for (size_t j = 0; j < d; j++) o[j] = taken[j] * r_sum;
    f->model->kern.sigmoid_mul(f->y + at, f->proj[0] + 2 * at + d, o, d);
}

/* Entries [b0, b0 + n) of one key/value head of a sequence, and where the next ones lie. */
static struct kv_block block_of(const struct forward *f, const struct state *s, int layer, int kv, int b0,
                                int n)
{
    const struct layer_state *ls = &s->layers[layer];
    return (struct kv_block){.type = f->model->kv_type,
                             .n = n,
                             .dim = f->model->config->head_dim,
                             .k = state_entry(s, ls->k, kv, b0),
                             .v = state_entry(s, ls->v, kv, b0),
                             .next = state_entry(s, ls->k, kv, b0 + n)};
}

/* n queries from q on, `step` apart. */
static void block_take(const struct forward *f, const struct kv_block *b, const float *q, size_t step, int n,
                       float *taken, size_t taken_step, int thread)
{
    if (b->next) forward_bytes(f, thread, 2 * (size_t)b->n * (size_t)b->dim * dtype_size(b->type));
    f->model->kern.attend(b, q, step, n, 1.0f / sqrtf((float)b->dim), taken, taken_step);
}

/* Where the rows of row r's sequence end that follow it. */
static int sequence_end(const struct forward *f, int r, int limit)
{
    int end = r + 1;
    while (end < limit && f->rows[end].state == f->rows[r].state) end++;
    return end;
}

static int chunks_seen(const struct forward *f, int r) { return f->rows[r].entry / KEYS_CHUNK + 1; }

/* ---- few rows: threads take chunks of the cache, all rows and heads together ------------------------------- */

/* Rows [begin, end), at most VERIFY_ROWS_MAX, of any sequences. */
struct few_work {
    const struct forward *f;
    int layer, begin, end; /* items: sequence, key/value head, chunk */
};

/* What head h of a row has taken from a chunk. */
static float *few_taken(const struct few_work *work, int r, int h, int chunk)
{
    const struct forward *f = work->f;
    size_t query = (size_t)(r - work->begin) * (size_t)f->model->config->n_heads + (size_t)h;
    return f->taken + (query * (size_t)f->max_chunks + (size_t)chunk) * f->taken_width;
}

/* Rows [r0, r1) of one sequence with all query heads of one key/value head. */
static void few_take(const struct few_work *work, int r0, int r1, int kv, int chunk, int thread)
{
    const struct forward *f = work->f;
    const struct config *c = f->model->config;
    int group = c->n_heads / c->n_kv_heads, first = chunk * KEYS_CHUNK, last = f->rows[r1 - 1].entry;
    size_t d = (size_t)c->head_dim, step = f->taken_width * (size_t)f->max_chunks;

    for (int r = r0; r < r1; r++)
        for (int h = 0; h < group; h++) taken_clear(few_taken(work, r, kv * group + h, chunk), d);
    for (int b0 = first; b0 < first + KEYS_CHUNK && b0 <= last; b0 += KV_BLOCK)
        for (int r = r1 - 1; r >= r0 && f->rows[r].entry >= b0; r--) {
            int n = f->rows[r].entry + 1 - b0;
            struct kv_block b =
                block_of(f, f->rows[r].state, work->layer, kv, b0, n < KV_BLOCK ? n : KV_BLOCK);
            if (r < r1 - 1) b.next = NULL;
            block_take(f, &b, f->q + (size_t)r * (size_t)f->model->q_width + (size_t)(kv * group) * d, d,
                       group, few_taken(work, r, kv * group, chunk), step, thread);
        }
}

/* Items of the sequence whose rows end at `end`. */
static int few_of(const struct few_work *work, int end)
{
    return work->f->model->config->n_kv_heads * chunks_seen(work->f, end - 1);
}

static int few_count(const struct few_work *work)
{
    int n = 0;
    for (int r = work->begin; r < work->end;) {
        r = sequence_end(work->f, r, work->end);
        n += few_of(work, r);
    }
    return n;
}

static void few_item(const struct few_work *work, int item, int thread)
{
    int r = work->begin, end = sequence_end(work->f, r, work->end);
    while (item >= few_of(work, end)) {
        item -= few_of(work, end);
        r = end;
        end = sequence_end(work->f, r, work->end);
    }
    int chunks = chunks_seen(work->f, end - 1);
    few_take(work, r, end, item / chunks, item % chunks, thread);
}

static void few_job(void *arg, int thread, int n_threads)
{
    (void)n_threads;
    const struct few_work *work = arg;
    int begin, end;
    forward_do(work->f, thread, PROFILE_ATTEND);
    while (pool_take(work->f->pool, thread, &begin, &end))
        for (int i = begin; i < end; i++) few_item(work, i, thread);
}

static void few_finish_job(void *arg, int thread, int n_threads)
{
    const struct few_work *work = arg;
    const struct forward *f = work->f;
    int heads = f->model->config->n_heads, begin, end;
    forward_do(f, thread, PROFILE_ATTEND);
    pool_share((work->end - work->begin) * heads, 1, thread, n_threads, &begin, &end);
    for (int i = begin; i < end; i++) {
        int r = work->begin + i / heads, h = i % heads;
        float *taken = few_taken(work, r, h, 0);
        for (int chunk = 1; chunk < chunks_seen(f, r); chunk++)
            taken_merge(&f->model->kern, taken, few_taken(work, r, h, chunk),
                        (size_t)f->model->config->head_dim);
        taken_finish(f, taken, r, h);
    }
}

/* ---- many rows of one sequence: threads take tiles of them with one query head ------------------------------ */

struct many_work {
    const struct forward *f;
    int layer, begin, end; /* rows, which follow each other; items: query head, tile */
};

static int tiles_of(const struct many_work *work)
{
    return (work->end - work->begin + QUERY_TILE - 1) / QUERY_TILE;
}

/* Rows [r0, r0 + n) with head h take in a chunk; those that see a whole block do it together. */
static void many_take(const struct many_work *work, int h, int r0, int n, int chunk, float *taken, int thread)
{
    const struct forward *f = work->f;
    const struct config *c = f->model->config;
    const float *q = f->q + (size_t)r0 * (size_t)f->model->q_width + (size_t)h * (size_t)c->head_dim;
    size_t step = (size_t)f->model->q_width, width = f->taken_width;
    int first = f->rows[r0].entry, from = chunk * KEYS_CHUNK, kv = h / (c->n_heads / c->n_kv_heads);

    for (int b0 = from; b0 < from + KEYS_CHUNK && b0 < first + n; b0 += KV_BLOCK) {
        struct kv_block b = block_of(f, f->rows[r0].state, work->layer, kv, b0, KV_BLOCK);
        size_t i = b0 > first ? (size_t)(b0 - first) : 0; /* the first row that sees anything of it */
        for (; (int)i < n && first + (int)i + 1 - b0 < KV_BLOCK; i++) {
            b.n = first + (int)i + 1 - b0;
            block_take(f, &b, q + i * step, step, 1, taken + i * width, width, thread);
        }
        b.n = KV_BLOCK;
        if ((int)i < n) block_take(f, &b, q + i * step, step, n - (int)i, taken + i * width, width, thread);
    }
}

static void many_item(const struct many_work *work, int h, int r0, int n, int thread)
{
    const struct forward *f = work->f;
    size_t d = (size_t)f->model->config->head_dim, width = f->taken_width;
    float *all = forward_scratch(f, thread), *next = all + QUERY_TILE * width;
    for (int chunk = 0; chunk < chunks_seen(f, r0 + n - 1); chunk++) {
        float *taken = chunk ? next : all;
        for (int i = 0; i < n; i++) taken_clear(taken + (size_t)i * width, d);
        many_take(work, h, r0, n, chunk, taken, thread);
        for (int i = 0; chunk && i < n; i++)
            if (chunk < chunks_seen(f, r0 + i))
                taken_merge(&f->model->kern, all + (size_t)i * width, next + (size_t)i * width, d);
    }
    for (int i = 0; i < n; i++) taken_finish(f, all + (size_t)i * width, r0 + i, h);
}

static void many_job(void *arg, int thread, int n_threads)
{
    (void)n_threads;
    const struct many_work *work = arg;
    int begin, end, tiles = tiles_of(work);
    forward_do(work->f, thread, PROFILE_ATTEND);
    while (pool_take(work->f->pool, thread, &begin, &end))
        for (int i = begin; i < end; i++) {
            int r0 = work->begin + i % tiles * QUERY_TILE, left = work->end - r0;
            many_item(work, i / tiles, r0, left < QUERY_TILE ? left : QUERY_TILE, thread);
        }
}

/* More rows of a sequence than a verification has are a prompt's. Others go together as far as they fit. */
static void attend(struct forward *f, int layer)
{
    for (int r = 0, end; r < f->n_rows; r = end) {
        end = sequence_end(f, r, f->n_rows);
        if (end - r > VERIFY_ROWS_MAX) {
            struct many_work work = {.f = f, .layer = layer, .begin = r, .end = end};
            pool_deal(f->pool, tiles_of(&work) * f->model->config->n_heads);
            forward_job(f, many_job, &work);
            continue;
        }
        for (int next = end; next < f->n_rows; end = next) {
            next = sequence_end(f, end, f->n_rows);
            if (next - r > VERIFY_ROWS_MAX) break;
        }
        struct few_work work = {.f = f, .layer = layer, .begin = r, .end = end};
        pool_deal(f->pool, few_count(&work));
        forward_job(f, few_job, &work);
        forward_job(f, few_finish_job, &work);
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
    attend(f, layer);
    forward_tell(f, "q_gate", layer, f->proj[0], 2 * f->model->q_width);
    forward_tell(f, "q", layer, f->q, f->model->q_width);
    forward_tell(f, "o", layer, f->o, f->model->q_width);
    linear_add(f, PROFILE_ATTN_PROJ, f->y, f->n_rows, (struct linear){&w->o, f->out}, f->x);
}
