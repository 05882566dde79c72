/* pass.h - what trunk and head do for several timelines at once: weights are read once for all of them.
 *
 * What a timeline gets does not depend on the others. Nothing is allocated but by pass_create. One caller at a time. */
#ifndef DECODE_PASS_H
#define DECODE_PASS_H

#include "decode/timeline.h"

struct pass {
    struct forward *forward;
    struct span *spans;    /* [max_timelines] */
    struct mtp_row *pairs; /* [max_rows + max_timelines * PAIRS_MAX] */
};

/* max_rows: tokens that one run of the trunk reads, of all timelines. pool must outlive the pass. */
bool pass_create(struct pass *p, const struct model *m, struct pool *pool, int max_rows, int max_timelines,
                 struct alula_error *e);
void pass_free(struct pass *p);
/* Memory that one takes, where each timeline asks for logits of at most rows_each rows a run. */
size_t pass_memory(const struct model *m, int n_threads, int max_rows, int max_timelines, int rows_each);

/* Brings the head's caches up to the last pair known. Call before drafting. */
void pass_settle(struct pass *p, struct timeline *const *timelines, int n);
/* One step of the head for each, behind its last token (first step of a cycle) or behind the draft that its last step
 * led to, ids[len + n_steps - 1]. pass_draft_logits(p, i) is the row of timelines[i], until the next step. */
void pass_draft(struct pass *p, struct timeline *const *timelines, int n);
static inline const float *pass_draft_logits(const struct pass *p, int i)
{
    return mtp_logits(p->forward, i);
}

/* What the trunk does for one timeline: it reads the next n_read tokens that are unread; or, with n_read 0, the last
 * token and the n_drafts behind it, to be committed or cancelled. The rows that it gives: see timeline.h. */
struct part {
    struct timeline *timeline;
    int n_read, n_drafts;
};
void pass_run(struct pass *p, const struct part *parts, int n);

#endif
