/* mtp.c - the multi-token-prediction head: from a hidden state and the token behind it to a guess at the
 * token after that.
 *
 *     y = fc [norm(embedding); norm(hidden)];  y += attention(norm(y));  y += moe(norm(y));  logits =
 * lm_head(norm(y))
 *
 * Knows the head's contract (which hidden state is fed back, which half comes first) and its cache; what to
 * draft and what to keep is decided above. The head's one layer is layer n_layers of model and state. */
#include "model/model_internal.h"

#include <assert.h>

/* Pairs that are appended at a time: many at once would drive each other out of the caches. */
#define APPEND_ROWS 32

static size_t hidden_of(const struct forward *f) { return (size_t)f->model->config->hidden; }

static float *row(const struct forward *f, float *rows, int r) { return rows + (size_t)r * hidden_of(f); }

/* Row r of the batch: the pair (hidden, token), appended to the cache of s as entry `entry`. */
static void pair_place(struct forward *f, int r, struct state *s, int entry, const float *hidden,
                       int32_t token)
{
    const struct model *m = f->model;
    const struct mtp_weights *w = &m->weights->mtp;
    size_t h = hidden_of(f);
    float *pair = f->mtp_pair + (size_t)r * 2 * h;
    float *first = pair, *second = pair + h;
    float *e = m->contract.hidden_first ? second : first, *g = m->contract.hidden_first ? first : second;
    assert(entry < s->kv_capacity);
    forward_place(f, r, s, entry);
    memcpy(row(f, f->mtp_given, r), hidden, h * sizeof(float));
    matrix_row_f32(&m->weights->embed, (uint32_t)token, row(f, f->mtp_embed, r));
    m->kern.rms_norm(e, row(f, f->mtp_embed, r), w->norm_embedding.gain, h, (float)m->config->rms_eps);
    m->kern.rms_norm(g, row(f, f->mtp_given, r), w->norm_hidden.gain, h, (float)m->config->rms_eps);
}

/* The head up to its layer's mixer: residual stream in f->x, normed in f->u. */
static void pairs_enter(struct forward *f, int n)
{
    const struct mtp_weights *w = &f->model->weights->mtp;
    f->n_rows = n;
    linear_run(f, PROFILE_MTP_FC, f->mtp_pair, n, &(struct linear){&w->fc, f->x}, 1);
    forward_tell(f, "fc", f->model->config->n_layers, f->x, f->model->config->hidden);
    forward_norm(f, f->x, &w->layer.input_norm, n, f->u);
}

/* Keys and values of the n pairs that were placed. */
static void pairs_append(struct forward *f, int n)
{
    pairs_enter(f, n);
    attention_append(f, f->model->config->n_layers);
}

static int chunk_of(const struct forward *f, int left)
{
    int most = f->max_rows < APPEND_ROWS ? f->max_rows : APPEND_ROWS;
    return left < most ? left : most;
}

void mtp_history(struct forward *f, struct state *s, const float *hidden, const int32_t *tokens, int n)
{
    for (int done = 0; done < n;) {
        int chunk = chunk_of(f, n - done);
        for (int r = 0; r < chunk; r++, done++)
            pair_place(f, r, s, s->mtp_len++, hidden + (size_t)done * hidden_of(f), tokens[done]);
        pairs_append(f, chunk);
    }
}

void mtp_append(struct forward *f, const struct mtp_row *pairs, int n)
{
    for (int done = 0; done < n;) {
        int chunk = chunk_of(f, n - done);
        for (int r = 0; r < chunk; r++, done++)
            pair_place(f, r, pairs[done].state, pairs[done].state->mtp_len++, pairs[done].hidden,
                       pairs[done].token);
        pairs_append(f, chunk);
    }
}

/* What feedback `which` means; f->x is the residual before the head's last norm, f->u the state after it. */
static const float *fed_from(const struct forward *f, enum hidden_variant which)
{
    switch (which) {
    case HIDDEN_PRE_NORM: return f->x;
    case HIDDEN_FC: return f->mtp_fc;
    case HIDDEN_EMBEDDING: return f->mtp_embed;
    case HIDDEN_PREV: return f->mtp_given;
    case HIDDEN_POST_NORM:
    case HIDDEN_MIX: break;
    }
    return f->u;
}

static void feed_back(struct forward *f)
{
    const struct mtp_contract *c = &f->model->contract;
    size_t n = (size_t)f->n_rows * hidden_of(f);
    if (c->feedback != HIDDEN_MIX) {
        memcpy(f->mtp_fed, fed_from(f, c->feedback), n * sizeof(float));
        return;
    }
    const float *a = fed_from(f, c->mix_a), *b = fed_from(f, c->mix_b);
    for (size_t i = 0; i < n; i++) f->mtp_fed[i] = c->mix_weight * a[i] + (1 - c->mix_weight) * b[i];
}

void mtp_draft(struct forward *f, const struct mtp_row *rows, int n_rows)
{
    const struct model *m = f->model;
    const struct mtp_weights *w = &m->weights->mtp;
    int layer = m->config->n_layers, hidden = m->config->hidden;
    for (int r = 0; r < n_rows; r++)
        pair_place(f, r, rows[r].state, rows[r].state->mtp_len, rows[r].hidden, rows[r].token);
    pairs_enter(f, n_rows);
    memcpy(f->mtp_fc, f->x, (size_t)n_rows * hidden_of(f) * sizeof(float));
    attention_run(f, layer);
    forward_tell(f, "mixer", layer, f->out, hidden);
    forward_norm(f, f->x, &w->layer.post_norm, n_rows, f->u);
    moe_run(f, layer);
    forward_tell(f, "hidden", layer, f->x, hidden);
    forward_norm(f, f->x, &w->norm, n_rows, f->u);
    forward_tell(f, "final", layer, f->u, hidden);
    linear_run(f, PROFILE_LM_HEAD, f->u, n_rows, &(struct linear){f->draft_head, f->mtp_logits}, 1);
    feed_back(f);
    for (int r = 0; r < n_rows; r++) rows[r].state->mtp_len++;
}

void forward_set_draft_head(struct forward *f, const struct matrix *head)
{
    f->draft_head = head ? head : &f->model->weights->lm_head;
}

const float *mtp_logits(const struct forward *f, int r)
{
    return f->mtp_logits + (size_t)r * f->draft_head->rows;
}

const float *mtp_hidden(const struct forward *f, int r) { return f->mtp_fed + (size_t)r * hidden_of(f); }
