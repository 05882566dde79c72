/* timeline.h - the tokens of one sequence, and what trunk and head have read of them.
 *
 * ids[0..len) is everything said so far, prompts and answers. The trunk has read all of it, or all but the
 * last, a token that was just drawn. The head's cache follows with the true pairs (hidden state after token
 * t, token t+1): what a draft left there, made from guessed hidden states, is replaced once the true ones
 * are known. Pairs wait in a short queue, so that the head reads its weights once for several of them, and
 * not at all while nothing is drafted. */
#ifndef DECODE_TIMELINE_H
#define DECODE_TIMELINE_H

#include "model/model.h"

#define PAIRS_MAX 32

struct timeline {
    const struct model *model;
    struct state *state;
    struct forward *forward;
    bool feeds_head;
    int chunk;
    int32_t *ids; /* [n_ctx + VERIFY_ROWS_MAX]; drafts lie behind len */
    int len, n_ctx;
    int last_row;       /* of the last forward pass: row of the last token read */
    float *hidden;      /* [hidden] what the trunk hands over after the last token read */
    float *pair_hidden; /* [PAIRS_MAX][hidden] */
    int32_t pair_ids[PAIRS_MAX];
    int n_pairs;
    int n_steps; /* of the head since the last commit */
};

/* chunk: tokens of a prompt read at once. feeds_head: keep the head's cache up to date; needs a head. */
bool timeline_create(struct timeline *t, const struct model *m, struct pool *pool, int n_ctx, int chunk,
                     bool feeds_head, struct alula_error *e);
void timeline_free(struct timeline *t);

/* Tokens that nobody has read yet. */
int timeline_unread(const struct timeline *t);
/* Appends n tokens, unread. The caller has checked ids and room. */
void timeline_append(struct timeline *t, const int32_t *ids, size_t n);
/* Reads the next chunk of what is unread, n tokens at most. Once nothing is, timeline_logits has the row behind the last
 * token, until the next pass. */
void timeline_read(struct timeline *t, int n);
const float *timeline_logits(const struct timeline *t);
/* Forgets what was appended and not read. */
void timeline_drop_unread(struct timeline *t);

/* Brings the head's cache up to the last pair known. Call before drafting. */
void timeline_settle(struct timeline *t);
/* One step of the head, behind the last token (first step) or behind the draft that the last step led to,
 * ids[len + steps - 1]. Returns its logits, valid until the next step. */
const float *timeline_draft(struct timeline *t);
/* The trunk reads the last token and the n drafts behind it, in one pass; forward_logits(forward, i) is the
 * row behind the i-th of them. */
void timeline_verify(struct timeline *t, int n_drafts);
/* After that: ids[len..len+n) are now part of the timeline, the last one unread; drafts beyond are
 * forgotten, in the trunk's state and in the head's cache. 1 <= n <= n_drafts + 1. */
void timeline_commit(struct timeline *t, int n);
/* Or: nothing of the cycle counts. */
void timeline_cancel(struct timeline *t);

/* What was read, for keeping elsewhere: rows as state_save_rows gives them, and a snapshot, the state's with what the
 * trunk hands over. The head must have settled before. head: with what feeds the head; a timeline that feeds it needs
 * such a snapshot, any other takes either. */
size_t timeline_snapshot_bytes(const struct model *m, bool head);
void timeline_save_snapshot(struct timeline *t, void *out);
/* An empty timeline, whose state was given the rows, goes on as if it had read the n tokens. */
void timeline_take_over(struct timeline *t, const int32_t *ids, int n, bool head, const void *snapshot);

#endif
