/* state.c - what a sequence has left behind: keys and values, recurrent states, convolution windows, pending
 * rows, the head's cache. Computes nothing but folding. All arrays lie in one map whose pages cost memory
 * once they are touched, so a long context is free until it is used. */
#include "model/model_internal.h"

#include <assert.h>

static bool is_delta(const struct model *m, int layer)
{
    return layer < m->config->n_layers && m->layers[layer].w->type == LAYER_LINEAR_ATTENTION;
}

static size_t delta_floats(const struct config *c)
{
    return (size_t)c->lin_v_heads * (size_t)c->lin_k_dim * (size_t)c->lin_v_dim;
}

static size_t conv_floats(const struct model *m)
{
    return (size_t)(m->config->conv_kernel - 1) * (size_t)m->channels;
}

static void layout_layer(struct carve *c, const struct model *m, int layer, size_t kv_values,
                         struct layer_state *ls)
{
    if (!m->layers[layer].w) return;
    if (!is_delta(m, layer)) {
        ls->k = carve_take(c, kv_values, dtype_size(m->kv_type));
        ls->v = carve_take(c, kv_values, dtype_size(m->kv_type));
        return;
    }
    size_t n = VERIFY_ROWS_MAX;
    ls->s = carve_take(c, delta_floats(m->config), sizeof(float));
    ls->conv = carve_take(c, conv_floats(m), sizeof(float));
    ls->pending_decay = carve_take(c, n * (size_t)m->config->lin_v_heads, sizeof(float));
    ls->pending_key = carve_take(c, n * (size_t)m->key_width, sizeof(float));
    ls->pending_delta = carve_take(c, n * (size_t)m->value_width, sizeof(float));
    ls->pending_conv = carve_take(c, n * (size_t)m->channels, sizeof(float));
}

/* The head drafts ahead of the last token that fits. */
static int kv_capacity(int n_ctx) { return n_ctx + VERIFY_ROWS_MAX; }

static void layout(struct state *s)
{
    const struct model *m = s->model;
    struct carve c = {s->map, 0};
    size_t kv_values = (size_t)m->kv_width * (size_t)s->kv_capacity;
    for (int i = 0; i <= m->config->n_layers; i++) layout_layer(&c, m, i, kv_values, &s->layers[i]);
}

size_t state_bytes(const struct model *m, int n_ctx)
{
    struct layer_state none;
    struct carve c = {NULL, 0};
    size_t kv_values = (size_t)m->kv_width * (size_t)kv_capacity(n_ctx);
    for (int i = 0; i <= m->config->n_layers; i++) layout_layer(&c, m, i, kv_values, &none);
    return c.used;
}

bool state_create(struct state **ret, const struct model *m, int n_ctx, struct alula_error *e)
{
    if (n_ctx < 1 || n_ctx > m->config->max_position)
        return err_set(e, ALULA_LIMIT, "a context of %d tokens was asked for; the model was made for 1 to %d",
                       n_ctx, m->config->max_position);
    struct state *s = mem_zalloc(1, sizeof(*s));
    if (!s) return err_set(e, ALULA_NOMEM, "out of memory for a sequence");
    s->model = m;
    s->n_ctx = n_ctx;
    s->kv_capacity = kv_capacity(n_ctx);
    s->layers = mem_zalloc((size_t)m->config->n_layers + 1, sizeof(*s->layers));
    if (s->layers) {
        s->map_bytes = state_bytes(m, n_ctx);
        s->map = mem_map(s->map_bytes);
    }
    if (!s->map) {
        size_t bytes = s->map_bytes;
        state_free(s);
        return err_set(e, ALULA_NOMEM, "out of memory for a context of %d tokens (%zu MiB)", n_ctx,
                       bytes >> 20);
    }
    layout(s);
    *ret = s;
    return true;
}

void state_free(struct state *s)
{
    if (!s) return;
    if (s->map) mem_unmap(s->map, s->map_bytes);
    mem_free(s->layers);
    mem_free(s);
}

void state_reset(struct state *s)
{
    const struct model *m = s->model;
    for (int i = 0; i < m->config->n_layers; i++) {
        if (!is_delta(m, i)) continue;
        memset(s->layers[i].s, 0, delta_floats(m->config) * sizeof(float));
        memset(s->layers[i].conv, 0, conv_floats(m) * sizeof(float));
    }
    s->len = s->n_pending = s->mtp_len = 0;
}

int state_len(const struct state *s) { return s->len; }

int state_ctx(const struct state *s) { return s->n_ctx; }

void state_keep(struct state *s, int n_rows)
{
    assert(n_rows >= 0 && n_rows <= s->n_pending);
    s->len -= s->n_pending - n_rows;
    s->n_pending = n_rows;
}

int state_mtp_len(const struct state *s) { return s->mtp_len; }

void state_mtp_cut(struct state *s, int n)
{
    assert(n >= 0 && n <= s->mtp_len);
    s->mtp_len = n;
}

void state_fold(struct state *s)
{
    for (int i = 0; i < s->model->config->n_layers; i++)
        if (is_delta(s->model, i)) deltanet_fold(s, i);
    s->n_pending = 0;
}

const float *state_recurrent(struct state *s, int layer)
{
    state_fold(s);
    return s->layers[layer].s;
}

const float *state_conv(struct state *s, int layer)
{
    state_fold(s);
    return s->layers[layer].conv;
}

void *state_entry(const struct state *s, const void *cache, int head, int entry)
{
    size_t at = (size_t)head * (size_t)s->kv_capacity + (size_t)entry, size = dtype_size(s->model->kv_type);
    return (char *)cache + at * (size_t)s->model->config->head_dim * size;
}

const float *state_keys(const struct state *s, int layer, int head)
{
    assert(s->model->kv_type == DT_F32);
    return state_entry(s, s->layers[layer].k, head, 0);
}

const float *state_values(const struct state *s, int layer, int head)
{
    assert(s->model->kv_type == DT_F32);
    return state_entry(s, s->layers[layer].v, head, 0);
}

static bool same(const float *a, const float *b, size_t n) { return memcmp(a, b, n * sizeof(float)) == 0; }

static bool same_cache(const struct state *a, const struct state *b, int layer, int len)
{
    const struct layer_state *x = &a->layers[layer], *y = &b->layers[layer];
    size_t n = (size_t)len * (size_t)a->model->config->head_dim * dtype_size(a->model->kv_type);
    for (int h = 0; h < a->model->config->n_kv_heads; h++)
        if (memcmp(state_entry(a, x->k, h, 0), state_entry(b, y->k, h, 0), n) != 0 ||
            memcmp(state_entry(a, x->v, h, 0), state_entry(b, y->v, h, 0), n) != 0)
            return false;
    return true;
}

bool state_equal(struct state *a, struct state *b)
{
    const struct model *m = a->model;
    int head = m->config->n_layers;
    if (b->model != m || a->len != b->len || a->mtp_len != b->mtp_len) return false;
    state_fold(a);
    state_fold(b);
    for (int i = 0; i < head; i++) {
        const struct layer_state *x = &a->layers[i], *y = &b->layers[i];
        if (!is_delta(m, i)) {
            if (!same_cache(a, b, i, a->len)) return false;
        } else if (!same(x->s, y->s, delta_floats(m->config)) || !same(x->conv, y->conv, conv_floats(m))) {
            return false;
        }
    }
    return !m->layers[head].w || same_cache(a, b, head, a->mtp_len);
}
