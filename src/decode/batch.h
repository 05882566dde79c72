/* batch.h - one cycle of several sequences together: the head's steps of all that draft, one pass of the
 * trunk over what all verify and read, and acceptance for each.
 *
 * A sequence alone is a batch of one. What a sequence gets does not depend on the others. */
#ifndef DECODE_BATCH_H
#define DECODE_BATCH_H

#include "decode/pass.h"
#include "decode/speculate.h"

#define BATCH_MAX DEPTH_GROUP /* sequences at a time */

/* A sequence's part in the cycle. */
struct seat {
    struct speculator *speculator;
    int n_read; /* of its unread tokens, to be read; 0: it answers, with speculator_begin behind it */
    /* out */
    bool failed; /* to be kept else: speculator->cycle.n_tokens, at the timeline's end */
    struct alula_error *error;
};

/* Threads, work memory, and what is known of the costs. */
struct batch {
    struct pool *pool;
    struct pass pass;
    struct depth_group depth;
    /* the cycle */
    struct seat *seats; /* [n] */
    int n;
    struct seat *at_work[BATCH_MAX]; /* what the job under way is about, and their timelines */
    struct timeline *timelines[BATCH_MAX];
    int n_at_work;
    struct part parts[BATCH_MAX];
    struct depth_policy *policies[BATCH_MAX];
};

/* rows: that one pass may read, those of prompts and of all verifications. max: sequences, at most BATCH_MAX.
 * drafts NULL: by the LM head. What is given must outlive the batch. */
bool batch_create(struct batch *b, const struct model *m, const struct draft_vocab *drafts, int n_threads,
                  int rows, int max, struct alula_error *e);
void batch_free(struct batch *b);

/* One cycle of n <= max sequences, each in one seat. Allocates nothing. */
void batch_run(struct batch *b, struct seat *seats, int n);

#endif
