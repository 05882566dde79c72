/* snapshot.c - a state as bytes: rows of keys and values token by token, and what cannot be taken apart by tokens.
 * Knows the order of the bytes; must not know who keeps them, nor what type a key has. */
#include "model/model_internal.h"

#include <assert.h>
#include <string.h>

static bool is_attention(const struct model *m, int layer)
{
    const struct layer_weights *w = m->layers[layer].w;
    return w && (layer == m->config->n_layers || w->type == LAYER_FULL_ATTENTION);
}

/* One key, or one value, of one head. */
static size_t entry_bytes(const struct model *m)
{
    return (size_t)m->config->head_dim * dtype_size(m->kv_type);
}

static size_t layer_row_bytes(const struct model *m)
{
    return 2 * (size_t)m->config->n_kv_heads * entry_bytes(m);
}

size_t state_row_bytes(const struct model *m, bool head)
{
    size_t n = 0;
    for (int i = 0; i < m->config->n_layers; i++) n += is_attention(m, i) ? layer_row_bytes(m) : 0;
    return n + (head ? layer_row_bytes(m) : 0);
}

/* Between one layer's caches and its part of n rows, `stride` bytes apart; the first row is of entry `first`,
 * and those of an entry below 0 are zeros. */
static void copy_layer(const struct state *s, int layer, int first, int n, unsigned char *rows, size_t stride,
                       bool save)
{
    const struct model *m = s->model;
    size_t bytes = entry_bytes(m);
    for (int part = 0; part < 2 * m->config->n_kv_heads; part++) {
        void *cache = part % 2 ? s->layers[layer].v : s->layers[layer].k;
        for (int i = 0; i < n; i++) {
            unsigned char *row = rows + (size_t)i * stride + (size_t)part * bytes;
            if (first + i < 0 && save)
                memset(row, 0, bytes);
            else if (first + i >= 0 && save)
                memcpy(row, state_entry(s, cache, part / 2, first + i), bytes);
            else if (first + i >= 0)
                memcpy(state_entry(s, cache, part / 2, first + i), row, bytes);
        }
    }
}

static void copy_rows(const struct state *s, int first, int n, bool head, unsigned char *rows, bool save)
{
    const struct model *m = s->model;
    size_t stride = state_row_bytes(m, head);
    for (int i = 0; i < m->config->n_layers; i++) {
        if (!is_attention(m, i)) continue;
        copy_layer(s, i, first, n, rows, stride, save);
        rows += layer_row_bytes(m);
    }
    if (head) copy_layer(s, m->config->n_layers, first - 1, n, rows, stride, save);
}

void state_save_rows(const struct state *s, int first, int n, bool head, void *out)
{
    assert(first >= 0 && n >= 0 && first + n <= s->len && (!head || first + n <= s->mtp_len + 1));
    copy_rows(s, first, n, head, out, true);
}

void state_load_rows(struct state *s, int first, int n, bool head, const void *from)
{
    assert(s->len == 0 && first >= 0 && n >= 0 && first + n <= s->n_ctx);
    copy_rows(s, first, n, head, (unsigned char *)(uintptr_t)from, false);
}

static size_t recurrent_bytes(const struct model *m)
{
    const struct config *c = m->config;
    return (size_t)c->lin_v_heads * (size_t)c->lin_k_dim * (size_t)c->lin_v_dim * sizeof(float);
}

static size_t window_bytes(const struct model *m)
{
    return (size_t)(m->config->conv_kernel - 1) * (size_t)m->channels * sizeof(float);
}

size_t state_snapshot_bytes(const struct model *m)
{
    size_t n = 0;
    for (int i = 0; i < m->config->n_layers; i++)
        if (!is_attention(m, i)) n += recurrent_bytes(m) + window_bytes(m);
    return n;
}

void state_save_snapshot(struct state *s, void *out)
{
    const struct model *m = s->model;
    unsigned char *p = out;
    state_fold(s);
    for (int i = 0; i < m->config->n_layers; i++) {
        if (is_attention(m, i)) continue;
        memcpy(p, s->layers[i].s, recurrent_bytes(m));
        memcpy(p + recurrent_bytes(m), s->layers[i].conv, window_bytes(m));
        p += recurrent_bytes(m) + window_bytes(m);
    }
}

void state_load_snapshot(struct state *s, int len, bool head, const void *from)
{
    const struct model *m = s->model;
    const unsigned char *p = from;
    assert(len > 0 && len <= s->n_ctx);
    for (int i = 0; i < m->config->n_layers; i++) {
        if (is_attention(m, i)) continue;
        memcpy(s->layers[i].s, p, recurrent_bytes(m));
        memcpy(s->layers[i].conv, p + recurrent_bytes(m), window_bytes(m));
        p += recurrent_bytes(m) + window_bytes(m);
    }
    s->len = len;
    s->n_pending = 0;
    s->mtp_len = head ? len - 1 : 0;
}
