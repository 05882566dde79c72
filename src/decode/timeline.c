/* timeline.c - keeps trunk state, head cache and token ids of a sequence in step. Must not know how tokens
 * are drawn.
 *
 * Between calls, with n tokens read: the head's cache and the queue hold the n-1 true pairs (h_t, x_t+1) of
 * those tokens, in order, and `hidden` is h_n-1, whose partner is the next token. One draft step appends
 * that pair, which is true; further steps append pairs with hidden states that the head made up. After
 * verification the cache is cut behind the first, and the true pairs queue up. */
#include "decode/timeline.h"

#include <string.h>

#include "artifact/config.h"
#include "base/mem.h"

static size_t hidden_of(const struct timeline *t) { return (size_t)model_config(t->model)->hidden; }

bool timeline_create(struct timeline *t, const struct model *m, int n_ctx, bool feeds_head,
                     struct alula_error *e)
{
    *t = (struct timeline){.model = m, .feeds_head = feeds_head, .n_ctx = n_ctx};
    bool ok = state_create(&t->state, m, n_ctx, e);
    if (ok) {
        t->ids = mem_zalloc((size_t)n_ctx + VERIFY_ROWS_MAX, sizeof *t->ids);
        t->last_logits = mem_zalloc((size_t)model_config(m)->vocab, sizeof *t->last_logits);
        t->hidden = mem_zalloc(hidden_of(t), sizeof *t->hidden);
        t->pair_hidden = mem_zalloc(PAIRS_MAX * hidden_of(t), sizeof *t->pair_hidden);
        if (!t->ids || !t->last_logits || !t->hidden || !t->pair_hidden)
            ok = err_set(e, ALULA_NOMEM, "no memory for a timeline of %d tokens", n_ctx);
    }
    if (!ok) timeline_free(t);
    return ok;
}

void timeline_free(struct timeline *t)
{
    state_free(t->state);
    mem_free(t->ids);
    mem_free(t->last_logits);
    mem_free(t->hidden);
    mem_free(t->pair_hidden);
    *t = (struct timeline){0};
}

size_t timeline_bytes(const struct model *m, int n_ctx)
{
    const struct config *c = model_config(m);
    return state_bytes(m, n_ctx) + (size_t)n_ctx * sizeof(int32_t) +
           ((size_t)c->vocab + (1 + PAIRS_MAX) * (size_t)c->hidden) * sizeof(float);
}

int timeline_unread(const struct timeline *t) { return t->len - state_len(t->state); }

void timeline_append(struct timeline *t, const int32_t *ids, size_t n)
{
    memcpy(t->ids + t->len, ids, n * sizeof *ids);
    t->len += (int)n;
}

void timeline_drop_unread(struct timeline *t) { t->len = state_len(t->state); }

/* ---- pairs for the head --------------------------------------------------------------------------- */

static void queue_pair(struct timeline *t, const float *hidden, int32_t id)
{
    memcpy(t->pair_hidden + (size_t)t->n_pairs * hidden_of(t), hidden, hidden_of(t) * sizeof *hidden);
    t->pair_ids[t->n_pairs++] = id;
}

int timeline_take_pairs(struct timeline *t, struct mtp_row *out)
{
    int n = t->n_pairs;
    for (int i = 0; i < n; i++)
        out[i] = (struct mtp_row){t->state, t->pair_hidden + (size_t)i * hidden_of(t), t->pair_ids[i]};
    t->n_pairs = 0;
    return n;
}

int timeline_read_pairs(struct timeline *t, int n, struct mtp_row *out)
{
    int begin = state_len(t->state) - n, taken = timeline_take_pairs(t, out);
    if (!t->feeds_head) return 0;
    if (begin > 0) out[taken++] = (struct mtp_row){t->state, t->hidden, t->ids[begin]};
    for (int i = 1; i < n; i++)
        out[taken++] =
            (struct mtp_row){t->state, t->rows + (size_t)(i - 1) * hidden_of(t), t->ids[begin + i]};
    return taken;
}

struct mtp_row timeline_draft_pair(const struct timeline *t)
{
    return (struct mtp_row){t->state, t->n_steps ? t->fed : t->hidden, t->ids[t->len - 1 + t->n_steps]};
}

void timeline_drafted(struct timeline *t, const float *fed)
{
    t->fed = fed;
    t->n_steps++;
}

/* ---- what the trunk reads -------------------------------------------------------------------------- */

static void hand_over(struct timeline *t, int row)
{
    if (t->feeds_head)
        memcpy(t->hidden, t->rows + (size_t)row * hidden_of(t), hidden_of(t) * sizeof *t->hidden);
}

struct span timeline_read_span(const struct timeline *t, int n)
{
    enum span_logits logits = t->scores                 ? SPAN_LOGITS_ALL
                              : n == timeline_unread(t) ? SPAN_LOGITS_LAST
                                                        : SPAN_LOGITS_NONE;
    return (struct span){t->state, t->ids + state_len(t->state), n, false, logits};
}

void timeline_was_read(struct timeline *t, int n, const float *logits)
{
    hand_over(t, n - 1);
    t->logits = t->last_logits;
    if (logits) memcpy(t->last_logits, logits, (size_t)model_config(t->model)->vocab * sizeof *logits);
}

struct span timeline_verify_span(const struct timeline *t, int n_drafts)
{
    return (struct span){t->state, t->ids + t->len - 1, n_drafts + 1, true, SPAN_LOGITS_ALL};
}

void timeline_commit(struct timeline *t, int n)
{
    state_keep(t->state, n);
    if (t->feeds_head) {
        /* The pair of the token that was unread: the first draft step appended it, or it is yet to come. */
        if (t->n_steps)
            state_mtp_cut(t->state, t->len - 1);
        else
            queue_pair(t, t->hidden, t->ids[t->len - 1]);
        for (int i = 0; i < n - 1; i++) queue_pair(t, t->rows + (size_t)i * hidden_of(t), t->ids[t->len + i]);
    }
    t->n_steps = 0;
    hand_over(t, n - 1);
    t->len += n;
}

void timeline_cancel(struct timeline *t)
{
    state_keep(t->state, 0);
    if (t->n_steps) state_mtp_cut(t->state, t->len - 2);
    t->n_steps = 0;
}

size_t timeline_snapshot_bytes(const struct model *m, bool head)
{
    return state_snapshot_bytes(m) + (head ? (size_t)model_config(m)->hidden * sizeof(float) : 0);
}

void timeline_save_snapshot(struct timeline *t, void *out)
{
    unsigned char *handed = (unsigned char *)out + state_snapshot_bytes(t->model);
    state_save_snapshot(t->state, out);
    if (t->feeds_head) memcpy(handed, t->hidden, hidden_of(t) * sizeof *t->hidden);
}

void timeline_take_over(struct timeline *t, const int32_t *ids, int n, bool head, const void *snapshot)
{
    const unsigned char *handed = (const unsigned char *)snapshot + state_snapshot_bytes(t->model);
    state_load_snapshot(t->state, n, t->feeds_head, snapshot);
    if (head && t->feeds_head) memcpy(t->hidden, handed, hidden_of(t) * sizeof *t->hidden);
    timeline_append(t, ids, (size_t)n);
}
