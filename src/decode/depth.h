/* depth.h - how many tokens to draft: as many as pay.
 *
 * A cycle at depth d gives 1 + S1 + ... + Sd tokens, Sj the probability that drafts 1..j all survive, and
 * costs d steps of the head and a verification of d+1 rows. The best fixed depth has some rate r of tokens
 * per second; against that rate every single draft is weighed: it pays if what it adds, Sj, is worth more
 * than r times what it costs. Acceptance is a running estimate by depth and by the head's own confidence;
 * costs are running medians of what was measured here, at the context length of now. */
#ifndef DECODE_DEPTH_H
#define DECODE_DEPTH_H

#include <stdbool.h>

#include "alula.h"

#define DEPTH_SAMPLES 9
#define DEPTH_BUCKETS 8

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

struct depth_policy {
    int fixed; /* 0 .. ALULA_DEPTH_MAX, or ALULA_DEPTH_AUTO */
    /* what was learnt */
    struct depth_rate by_depth[ALULA_DEPTH_MAX];
    struct depth_rate by_confidence[2][DEPTH_BUCKETS]; /* of those taken: first draft, later drafts */
    struct depth_cost draft[2];                  /* first step (with what settles before it), later steps */
    struct depth_cost rest[ALULA_DEPTH_MAX + 1]; /* all but drafting, by number of drafts */
    int age[ALULA_DEPTH_MAX + 1];                /* cycles since that number was tried */
    double budget;                               /* seconds that may be spent on trying what seems worse */
    double rate;                                 /* tokens per second of the best fixed depth */
    /* the cycle */
    int max, n;
    int forced; /* so many drafts, no questions; -1 = as pays */
    bool probing;
    double survival;
    double confidence[ALULA_DEPTH_MAX];
};

void depth_init(struct depth_policy *p, int depth);
/* A cycle that can use at most max drafts. */
void depth_begin(struct depth_policy *p, int max);
/* Is it worth asking the head for one more? */
bool depth_wants_more(struct depth_policy *p);
/* Is what the head offers, with this confidence (share of its best token), worth a row of verification? To
 * be asked before the draft is drawn: an answer that knew the draft would bend the distribution. true
 * counts it as drafted. */
bool depth_takes(struct depth_policy *p, double confidence);
/* How it went: n_accepted of the n drafts survived; n_steps of the head were run, seconds each; the rest of
 * the cycle. */
void depth_end(struct depth_policy *p, int n_accepted, const double *draft_s, int n_steps, double rest_s);

#endif
