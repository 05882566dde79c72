/* forward.c - the trunk over a batch of spans: the place to begin reading.
 *
 *     x = embedding of each token
 *     for each layer:  x += mixer(norm(x));  x += moe(norm(x))       mixer: attention.c or deltanet.c
 *     logits = lm_head(norm(x))                                      for the rows that were asked for
 *
 * Owns scratch memory and the order of the steps; the steps themselves know neither each other nor what comes
 * next. */
#include "model/model_internal.h"

#include <math.h>

#define MAX_ROWS 16384

/* ---- scratch ------------------------------------------------------------------------------------------- */

static size_t at_least(size_t a, size_t b) { return a > b ? a : b; }

static float *rows_of(struct carve *c, const struct forward *f, size_t width)
{
    return carve_take(c, (size_t)f->max_rows * width, sizeof(float));
}

static void layout_mixers(struct forward *f, struct carve *c)
{
    const struct model *m = f->model;
    size_t q = (size_t)m->q_width, kv = (size_t)m->kv_width, v = (size_t)m->value_width;
    size_t key = (size_t)m->key_width, heads = (size_t)m->config->lin_v_heads;
    f->proj[0] = rows_of(c, f, at_least((size_t)m->channels, 2 * q));
    f->proj[1] = rows_of(c, f, at_least(v, kv));
    f->proj[2] = rows_of(c, f, at_least(heads, kv));
    f->proj[3] = rows_of(c, f, heads);
    f->conv = rows_of(c, f, (size_t)m->channels);
    f->q = rows_of(c, f, at_least(key, q));
    f->k = rows_of(c, f, key);
    f->gamma = rows_of(c, f, heads);
    f->decay = rows_of(c, f, heads);
    f->beta = rows_of(c, f, heads);
    f->o = rows_of(c, f, at_least(v, q));
    f->y = rows_of(c, f, at_least(v, q));
    f->taken_width = ((size_t)m->config->head_dim + 2 + 15) / 16 * 16;
    f->max_chunks = (m->config->max_position + VERIFY_ROWS_MAX) / KEYS_CHUNK + 1;
    f->taken = carve_take(c, VERIFY_ROWS_MAX * (size_t)m->config->n_heads * (size_t)f->max_chunks,
                          f->taken_width * sizeof(float));
}

static void layout_experts(struct forward *f, struct carve *c)
{
    const struct model *m = f->model;
    size_t slots = (size_t)m->slots, experts = (size_t)m->config->n_experts, rows = (size_t)f->max_rows;
    f->router = rows_of(c, f, experts);
    f->shared_gate = rows_of(c, f, 1);
    f->expert_ids = carve_take(c, rows * slots, sizeof(int));
    f->expert_weights = rows_of(c, f, slots);
    f->pair_of = carve_take(c, rows * slots, sizeof(int));
    f->pair_row = carve_take(c, rows * slots, sizeof(int));
    f->pair_gate = rows_of(c, f, slots * (size_t)m->inter);
    f->pair_up = rows_of(c, f, slots * (size_t)m->inter);
    f->pair_out = rows_of(c, f, slots * (size_t)m->config->hidden);
    f->groups = carve_take(c, experts + 2, sizeof(*f->groups));
    f->group_fill = carve_take(c, experts + 1, sizeof(int));
}

static void layout_q8(struct forward *f, struct carve *c)
{
    const struct model *m = f->model;
    size_t rows = (size_t)f->max_rows, widest = 2 * (size_t)m->config->hidden; /* the head's fc */
    if (m->mode != MODEL_FAST) return;
    widest = at_least(widest, at_least((size_t)m->value_width, (size_t)m->q_width));
    f->input8 = carve_take(c, rows * q8_count(widest), sizeof(*f->input8));
    f->pair8 = carve_take(c, rows * (size_t)m->slots * q8_count((size_t)m->inter), sizeof(*f->pair8));
}

static void layout_results(struct forward *f, struct carve *c)
{
    const struct model *m = f->model;
    size_t hidden = (size_t)m->config->hidden, vocab = (size_t)m->config->vocab;
    f->normed = rows_of(c, f, hidden);
    f->handed = m->contract.base == HIDDEN_PRE_NORM ? rows_of(c, f, hidden) : f->normed;
    f->logit_slot = carve_take(c, (size_t)f->max_rows, sizeof(int));
    f->logit_input = rows_of(c, f, hidden);
    f->logits = carve_take(c, (size_t)f->max_logits * vocab, sizeof(float));
    if (!model_has_mtp(m)) return;
    f->mtp_given = rows_of(c, f, hidden);
    f->mtp_embed = rows_of(c, f, hidden);
    f->mtp_fc = rows_of(c, f, hidden);
    f->mtp_fed = rows_of(c, f, hidden);
    f->mtp_pair = rows_of(c, f, 2 * hidden);
    f->mtp_logits = carve_take(c, (size_t)f->max_drafts * vocab, sizeof(float));
}

static size_t layout(struct forward *f, void *base)
{
    const struct config *cfg = f->model->config;
    struct carve c = {base, 0};
    size_t hidden = (size_t)cfg->hidden, dk = (size_t)cfg->lin_k_dim, dv = (size_t)cfg->lin_v_dim;
    f->span_begin = carve_take(&c, (size_t)f->max_rows, sizeof(int));
    f->rows = carve_take(&c, (size_t)f->max_rows, sizeof(*f->rows));
    f->rope = rows_of(&c, f, (size_t)cfg->rotary_dim);
    f->x = rows_of(&c, f, hidden);
    f->u = rows_of(&c, f, hidden);
    f->out = rows_of(&c, f, hidden);
    layout_mixers(f, &c);
    layout_experts(f, &c);
    layout_q8(f, &c);
    layout_results(f, &c);
    f->thread_floats = at_least(dk * dv + dv, 2 * QUERY_TILE * f->taken_width);
    /* an expert's rows side by side, as float32 and as int8 */
    size_t side = (size_t)f->max_rows * hidden;
    if (f->model->mode == MODEL_FAST)
        side += (size_t)f->max_rows * q8_count(hidden) * sizeof(struct q8) / sizeof(float);
    f->thread_floats = (at_least(f->thread_floats, side) + 63) / 64 * 64;
    f->thread_scratch = carve_take(&c, f->thread_floats * (size_t)f->n_threads, sizeof(float));
    return c.used;
}

size_t forward_memory(const struct model *m, int n_threads, int max_rows, int max_logits, int max_drafts)
{
    struct forward f = {.model = m,
                        .n_threads = n_threads,
                        .max_rows = max_rows,
                        .max_logits = max_logits,
                        .max_drafts = max_drafts};
    return layout(&f, NULL);
}

bool forward_create(struct forward **ret, const struct model *m, struct pool *pool, int max_rows,
                    struct alula_error *e)
{
    if (max_rows < 1 || max_rows > MAX_ROWS)
        return err_set(e, ALULA_LIMIT, "a batch of %d rows was asked for; 1 to %d are possible", max_rows,
                       MAX_ROWS);
    struct forward *f = mem_zalloc(1, sizeof(*f));
    if (!f) return err_set(e, ALULA_NOMEM, "out of memory for a batch of %d rows", max_rows);
    f->model = m;
    f->pool = pool;
    f->n_threads = pool_threads(pool);
    f->max_rows = f->max_logits = f->max_drafts = max_rows;
    forward_set_draft_head(f, NULL);
    f->map_bytes = layout(f, NULL);
    f->map = mem_map(f->map_bytes);
    if (!f->map) {
        size_t bytes = f->map_bytes;
        forward_free(f);
        return err_set(e, ALULA_NOMEM, "out of memory for a batch of %d rows (%zu MiB)", max_rows,
                       bytes >> 20);
    }
    layout(f, f->map);
    *ret = f;
    return true;
}

void forward_free(struct forward *f)
{
    if (!f) return;
    if (f->map) mem_unmap(f->map, f->map_bytes);
    mem_free(f);
}

void forward_set_tap(struct forward *f, forward_tap *tap, void *arg)
{
    f->tap = tap;
    f->tap_arg = arg;
}

void forward_set_profile(struct forward *f, struct profile *p) { f->profile = p; }

/* ---- what the steps share ------------------------------------------------------------------------------ */

struct profiled_work {
    struct forward *f;
    void (*fn)(void *arg, int thread, int n_threads);
    void *arg;
};

static void profiled_job(void *arg, int thread, int n_threads)
{
    const struct profiled_work *work = arg;
    work->fn(work->arg, thread, n_threads);
    forward_do(work->f, thread, PROFILE_WAIT);
}

void forward_job(struct forward *f, void (*fn)(void *arg, int thread, int n_threads), void *arg)
{
    struct profiled_work work = {f, fn, arg};
    if (!f->profile) {
        pool_run(f->pool, fn, arg);
        return;
    }
    pool_run(f->pool, profiled_job, &work);
    forward_do(f, 0, PROFILE_SERIAL);
}

struct norm_work {
    const struct forward *f;
    const float *x, *gain;
    int n;
    float *out;
};

static void norm_job(void *arg, int thread, int n_threads)
{
    const struct norm_work *work = arg;
    const struct model *m = work->f->model;
    size_t hidden = (size_t)m->config->hidden;
    int begin, end;
    forward_do(work->f, thread, PROFILE_NORM);
    pool_share(work->n, 1, thread, n_threads, &begin, &end);
    for (int r = begin; r < end; r++)
        m->kern.rms_norm(work->out + (size_t)r * hidden, work->x + (size_t)r * hidden, work->gain, hidden,
                         (float)m->config->rms_eps);
}

void forward_norm(struct forward *f, const float *x, const struct vector *gain, int n, float *out)
{
    struct norm_work work = {f, x, gain->gain, n, out};
    if (n <= VERIFY_ROWS_MAX) /* too little for waking others */
        norm_job(&work, 0, 1);
    else
        forward_job(f, norm_job, &work);
}

void forward_place(struct forward *f, int r, struct state *s, int entry)
{
    int half = f->model->config->rotary_dim / 2;
    float *rope = f->rope + (size_t)r * 2 * (size_t)half;
    f->rows[r] = (struct row){s, entry};
    for (int j = 0; j < half; j++) {
        float angle = (float)entry * f->model->frequencies[j];
        rope[j] = cosf(angle);
        rope[half + j] = sinf(angle);
    }
}

/* ---- the pass ------------------------------------------------------------------------------------------ */

static void batch_begin(struct forward *f, const struct span *spans, int n_spans)
{
    const struct model *m = f->model;
    f->spans = spans;
    f->n_spans = n_spans;
    f->n_rows = 0;
    forward_do(f, 0, PROFILE_EMBED);
    for (int i = 0; i < n_spans; i++) {
        f->span_begin[i] = f->n_rows;
        for (int t = 0; t < spans[i].n; t++) {
            int r = f->n_rows++;
            forward_place(f, r, spans[i].state, spans[i].state->len + t);
            matrix_row_f32(&m->weights->embed, (uint32_t)spans[i].tokens[t],
                           f->x + (size_t)r * (size_t)m->config->hidden);
        }
    }
}

static void layer_run(struct forward *f, int layer)
{
    const struct layer_weights *w = f->model->layers[layer].w;
    int hidden = f->model->config->hidden;
    forward_norm(f, f->x, &w->input_norm, f->n_rows, f->u);
    if (w->type == LAYER_FULL_ATTENTION)
        attention_run(f, layer);
    else
        deltanet_run(f, layer);
    forward_tell(f, "mixer", layer, f->out, hidden);
    forward_norm(f, f->x, &w->post_norm, f->n_rows, f->u);
    moe_run(f, layer);
    forward_tell(f, "hidden", layer, f->x, hidden);
}

/* Final norm of all rows, logits of those asked for, packed. */
static void results(struct forward *f)
{
    const struct model *m = f->model;
    size_t hidden = (size_t)m->config->hidden;
    int n = 0;
    forward_norm(f, f->x, &m->weights->final_norm, f->n_rows, f->normed);
    forward_tell(f, "final", m->config->n_layers, f->normed, m->config->hidden);
    if (f->handed != f->normed) memcpy(f->handed, f->x, (size_t)f->n_rows * hidden * sizeof(float));
    for (int i = 0; i < f->n_spans; i++) {
        const struct span *span = &f->spans[i];
        for (int t = 0; t < span->n; t++) {
            int r = f->span_begin[i] + t;
            bool asked =
                span->logits == SPAN_LOGITS_ALL || (span->logits == SPAN_LOGITS_LAST && t == span->n - 1);
            f->logit_slot[r] = asked ? n : -1;
            if (!asked) continue;
            memcpy(f->logit_input + (size_t)n * hidden, f->normed + (size_t)r * hidden,
                   hidden * sizeof(float));
            n++;
        }
    }
    struct linear head = {&m->weights->lm_head, f->logits};
    if (n > 0) linear_run(f, PROFILE_LM_HEAD, f->logit_input, n, &head, 1);
}

void forward_run(struct forward *f, const struct span *spans, int n_spans)
{
    batch_begin(f, spans, n_spans);
    for (int layer = 0; layer < f->model->config->n_layers; layer++) layer_run(f, layer);
    results(f);
    forward_do(f, 0, PROFILE_SERIAL);
    for (int i = 0; i < n_spans; i++) {
        spans[i].state->len += spans[i].n;
        spans[i].state->n_pending = spans[i].verify ? spans[i].n : 1;
    }
}

const float *forward_logits(const struct forward *f, int r)
{
    int slot = f->logit_slot[r];
    return slot < 0 ? NULL : f->logits + (size_t)slot * (size_t)f->model->config->vocab;
}

const float *forward_hidden(const struct forward *f, int r)
{
    return f->handed + (size_t)r * (size_t)f->model->config->hidden;
}
