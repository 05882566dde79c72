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

#define PAIRS_MAX 128

struct timeline {
    const struct model *model;
    struct state *state;
    bool feeds_head;
    bool scores;  /* the rows behind all tokens read are asked for */
    int32_t *ids; /* [n_ctx + VERIFY_ROWS_MAX]; drafts lie behind len */
    int len, n_ctx;
    /* What the trunk gave, row i behind the i-th token of its part in a pass. */
    const float *logits;      /* [..][vocab] of what it verified, until the next pass; once a prompt is read,
                               * the row behind it, until this timeline's next part */
    const float *rows;        /* [..][hidden] what it handed over, until the next pass */
    const float *read_logits; /* [..][vocab] of what it read, if it scores, until the next pass */
    float *last_logits;       /* [vocab] */
    float *hidden;            /* [hidden] what it handed over after the last token read */
    float *pair_hidden;       /* [PAIRS_MAX][hidden] */
    int32_t pair_ids[PAIRS_MAX];
    int n_pairs;
    const float *fed; /* [hidden] what the next step of the head is fed with */
    int n_steps;      /* of the head since the last commit */
};

/* feeds_head: keep the head's cache up to date; needs a head. */
bool timeline_create(struct timeline *t, const struct model *m, int n_ctx, bool feeds_head,
                     struct alula_error *e);
void timeline_free(struct timeline *t);
size_t timeline_bytes(const struct model *m, int n_ctx); /* memory that one takes when full */

/* Tokens that nobody has read yet. */
int timeline_unread(const struct timeline *t);
/* Appends n tokens, unread. The caller has checked ids and room. */
void timeline_append(struct timeline *t, const int32_t *ids, size_t n);
/* Forgets what was appended and not read. */
void timeline_drop_unread(struct timeline *t);

/* After a part that verified: ids[len..len+n) are now part of the timeline, the last one unread; drafts beyond
 * are forgotten, in the trunk's state and in the head's cache. 1 <= n <= n_drafts + 1. */
void timeline_commit(struct timeline *t, int n);
/* Or: nothing of the cycle counts. */
void timeline_cancel(struct timeline *t);

/* For pass.c: what a timeline puts into a pass, and what it takes from it. Pairs point into the timeline or to its
 * rows; the functions return their number. */
struct span timeline_read_span(const struct timeline *t, int n);
struct span timeline_verify_span(const struct timeline *t, int n_drafts);
int timeline_take_pairs(struct timeline *t, struct mtp_row *out); /* those that queue, at most PAIRS_MAX */
int timeline_read_pairs(struct timeline *t, int n, struct mtp_row *out); /* and those of n tokens just read */
struct mtp_row timeline_draft_pair(const struct timeline *t);
void timeline_drafted(struct timeline *t, const float *fed);
/* n tokens were read, and their pairs taken. logits: the last row, if it was asked for. */
void timeline_was_read(struct timeline *t, int n, const float *logits);

/* What was read, for keeping elsewhere: rows as state_save_rows gives them, and a snapshot, the state's with what the
 * trunk hands over. The head must have settled before. head: with what feeds the head; a timeline that feeds it needs
 * such a snapshot, any other takes either. */
size_t timeline_snapshot_bytes(const struct model *m, bool head);
void timeline_save_snapshot(struct timeline *t, void *out);
/* An empty timeline, whose state was given the rows, goes on as if it had read the n tokens. */
void timeline_take_over(struct timeline *t, const int32_t *ids, int n, bool head, const void *snapshot);

#endif
