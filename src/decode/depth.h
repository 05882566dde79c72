/* depth.h - how many tokens to draft: as many as pay.
 *
 * A cycle at depth d gives 1 + S1 + ... + Sd tokens, Sj the probability that drafts 1..j all survive, and
 * costs d steps of the head and a verification of d+1 rows. The best fixed depth has some rate r of tokens
 * per second; against that rate every single draft is weighed: it pays if what it adds, Sj, is worth more
 * than r times what it costs. Acceptance is a running estimate by depth and by the head's own confidence;
 * costs are running medians of what was measured here, at the context length of now.
 *
 * Estimates err, and a text can be made to mislead them. So there is an account of what drafting has gained over plain
 * decoding: no cycle may risk more than what was gained, a share of the time, and a small advance.
 *
 * Sequences that decode together share steps and verification. What a draft adds is its sequence's own; what it
 * costs hangs on all of them: r is the rate of the whole group, a step is paid by those who take part in it in
 * equal shares, and a row costs what the next rows of all of them would, on average. A group of one is the case
 * above. What was learnt of costs is the group's, so that a new sequence need not learn it again. */
#ifndef DECODE_DEPTH_H
#define DECODE_DEPTH_H

#include <stdbool.h>

#include "alula.h"

#define DEPTH_SAMPLES 9
#define DEPTH_BUCKETS 8
#define DEPTH_GROUP   64                                    /* sequences that decode together, at most */
#define DEPTH_ROWS    (DEPTH_GROUP * (ALULA_DEPTH_MAX + 1)) /* that they verify at a time */

/* The last few measurements, and of them the value that a third do not exceed: hiccups of the machine do
 * not move it. */
struct depth_cost {
    double sample[DEPTH_SAMPLES];
    int n, next;
    double typical; /* seconds, 0 while nothing was measured */
};

/* What became of steps of the head whose forerunners all survived. All counts fade. */
struct depth_rate {
    double trials, taken, hits; /* taken: worth verifying; hits: and right */
};

/* Of one sequence. */
struct depth_policy {
    int fixed; /* 0 .. ALULA_DEPTH_MAX, or ALULA_DEPTH_AUTO */
    /* what was learnt */
    struct depth_rate by_depth[ALULA_DEPTH_MAX];
    struct depth_rate by_confidence[2][DEPTH_BUCKETS]; /* of those taken: first draft, later drafts */
    int age[ALULA_DEPTH_MAX + 1];                      /* cycles since that number was tried */
    /* the cycle */
    int max, n;
    int n_free;     /* drafts behind those that took no step and will survive */
    int forced;     /* so many drafts, no questions; -1 = as pays */
    bool wants;     /* takes part in the step of the head under way */
    int n_steps;    /* it took part in */
    int n_accepted; /* -1 while nothing was verified */
    double survival;
    double confidence[ALULA_DEPTH_MAX];
    double foreseen[ALULA_DEPTH_MAX + 1]; /* tokens of a cycle at each depth */
};

/* Sequences that decode together. */
struct depth_group {
    /* what was learnt */
    struct depth_cost
        draft[2][DEPTH_GROUP + 1]; /* by sequences: first step (with what settles before it), later */
    struct depth_cost rest[DEPTH_ROWS + 1]; /* all but drafting, by rows verified */
    int least, most;                        /* rows that were measured; 0 = none yet */
    int most_joined;                        /* sequences in a step that was measured */
    int n_cycles;                           /* that were measured, as far as it matters: the first few */
    double budget;                          /* seconds that may be spent on trying what seems worse */
    double lead;   /* plain cycles: what was gained over plain decoding, and what may be lost to it */
    int plain_age; /* cycles since one without drafts */
    /* the cycle */
    struct depth_policy *const *policies; /* [n] */
    int n;
    const struct depth_policy *probe; /* the one that tries a depth, or NULL */
    double probe_s; /* seconds that are foreseen for it, less what the others' tokens are worth */
    double rate;    /* tokens per second of the best fixed depth */
    int rows;       /* to verify, as far as drafted */
    int joined;     /* sequences in the step under way */
    int n_steps, joined_in[ALULA_DEPTH_MAX];
    double step_s[ALULA_DEPTH_MAX];
};

void depth_init(struct depth_policy *p, int depth);
/* A cycle of 1 <= n <= DEPTH_GROUP sequences, which stay where they are until it ends. */
void depth_begin(struct depth_group *g, struct depth_policy *const *policies, int n);
/* Of one of them, before depth_begin: it can use at most max drafts. */
void depth_limit(struct depth_policy *p, int max);
/* There are n drafts that take no step of the head; behind them none are drafted. Before depth_begin, or after
 * depth_takes; 0 changes nothing. */
void depth_free(struct depth_policy *p, int n);
/* Whose next step of the head is worth its cost? Sets `wants` of each; returns how many do. */
int depth_step(struct depth_group *g);
/* Is what the head offers, with this confidence (share of its best token), worth a row of verification? To
 * be asked before the draft is drawn: an answer that knew the draft would bend the distribution. true
 * counts it as drafted; false ends the sequence's drafting. Those of a step may be asked at the same time. */
bool depth_takes(const struct depth_group *g, struct depth_policy *p, double confidence);
/* Or it offers nothing. */
void depth_stop(struct depth_policy *p);
/* The step took so long. */
void depth_stepped(struct depth_group *g, double seconds);
/* How it went: n_accepted of each policy is set, and the rest of the cycle took rest_s. paid: by these sequences
 * alone; else the time says nothing of their cost. */
void depth_end(struct depth_group *g, double rest_s, bool paid);

#endif
