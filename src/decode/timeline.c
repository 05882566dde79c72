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

bool timeline_create(struct timeline *t, const struct model *m, struct pool *pool, int n_ctx, int chunk,
                     bool feeds_head, struct alula_error *e)
{
    *t = (struct timeline){.model = m, .feeds_head = feeds_head, .chunk = chunk, .n_ctx = n_ctx};
    int rows = chunk > VERIFY_ROWS_MAX ? chunk : VERIFY_ROWS_MAX;
    bool ok = state_create(&t->state, m, n_ctx, e) && forward_create(&t->forward, m, pool, rows, e);
    if (ok) {
        t->ids = mem_zalloc((size_t)n_ctx + VERIFY_ROWS_MAX, sizeof *t->ids);
        t->hidden = mem_zalloc(hidden_of(t), sizeof *t->hidden);
        t->pair_hidden = mem_zalloc(PAIRS_MAX * hidden_of(t), sizeof *t->pair_hidden);
        if (!t->ids || !t->hidden || !t->pair_hidden)
            ok = err_set(e, ALULA_NOMEM, "no memory for a timeline of %d tokens", n_ctx);
    }
    if (!ok) timeline_free(t);
    return ok;
}

void timeline_free(struct timeline *t)
{
    forward_free(t->forward);
    state_free(t->state);
    mem_free(t->ids);
    mem_free(t->hidden);
    mem_free(t->pair_hidden);
    *t = (struct timeline){0};
}

int timeline_unread(const struct timeline *t) { return t->len - state_len(t->state); }

void timeline_append(struct timeline *t, const int32_t *ids, size_t n)
{
    memcpy(t->ids + t->len, ids, n * sizeof *ids);
    t->len += (int)n;
}

void timeline_drop_unread(struct timeline *t) { t->len = state_len(t->state); }

static void hand_over(struct timeline *t, int row)
{
    t->last_row = row;
    if (t->feeds_head) memcpy(t->hidden, forward_hidden(t->forward, row), hidden_of(t) * sizeof(float));
}

void timeline_read(struct timeline *t, int n)
{
    int begin = state_len(t->state);
    if (n > t->chunk) n = t->chunk;
    if (n > t->len - begin) n = t->len - begin;
    bool last = begin + n == t->len;
    const int32_t *ids = t->ids + begin;
    timeline_settle(t);
    struct span span = {t->state, ids, n, false, last ? SPAN_LOGITS_LAST : SPAN_LOGITS_NONE};
    forward_run(t->forward, &span, 1);
    if (t->feeds_head) {
        if (begin > 0) mtp_history(t->forward, t->state, t->hidden, ids, 1);
        mtp_history(t->forward, t->state, forward_hidden(t->forward, 0), ids + 1, n - 1);
    }
    hand_over(t, n - 1);
}

const float *timeline_logits(const struct timeline *t) { return forward_logits(t->forward, t->last_row); }

void timeline_settle(struct timeline *t)
{
    if (t->n_pairs) mtp_history(t->forward, t->state, t->pair_hidden, t->pair_ids, t->n_pairs);
    t->n_pairs = 0;
}

static void queue_pair(struct timeline *t, const float *hidden, int32_t id)
{
    if (t->n_pairs == PAIRS_MAX) timeline_settle(t);
    memcpy(t->pair_hidden + (size_t)t->n_pairs * hidden_of(t), hidden, hidden_of(t) * sizeof *hidden);
    t->pair_ids[t->n_pairs++] = id;
}

const float *timeline_draft(struct timeline *t)
{
    const float *hidden = t->n_steps ? mtp_hidden(t->forward, 0) : t->hidden;
    struct mtp_row row = {t->state, hidden, t->ids[t->len - 1 + t->n_steps]};
    mtp_draft(t->forward, &row, 1);
    t->n_steps++;
    return mtp_logits(t->forward, 0);
}

void timeline_verify(struct timeline *t, int n_drafts)
{
    struct span span = {t->state, t->ids + t->len - 1, n_drafts + 1, true, SPAN_LOGITS_ALL};
    forward_run(t->forward, &span, 1);
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
        for (int i = 0; i < n - 1; i++) queue_pair(t, forward_hidden(t->forward, i), t->ids[t->len + i]);
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
