/* pass.c - puts the parts of several timelines together for trunk and head, and hands out what comes back. Must not
 * know how tokens are drawn. */
#include "decode/pass.h"

#include "base/mem.h"

bool pass_create(struct pass *p, const struct model *m, struct pool *pool, int max_rows, int max_timelines,
                 struct alula_error *e)
{
    *p = (struct pass){0};
    if (!forward_create(&p->forward, m, pool, max_rows, e)) return false;
    p->spans = mem_zalloc((size_t)max_timelines, sizeof *p->spans);
    p->pairs = mem_zalloc((size_t)max_rows + (size_t)max_timelines * PAIRS_MAX, sizeof *p->pairs);
    if (p->spans && p->pairs) return true;
    pass_free(p);
    return err_set(e, ALULA_NOMEM, "no memory for passes of %d sequences", max_timelines);
}

size_t pass_memory(const struct model *m, int n_threads, int max_rows, int max_timelines, int rows_each)
{
    int n_logits = max_timelines * rows_each < max_rows ? max_timelines * rows_each : max_rows;
    return forward_memory(m, n_threads, max_rows, n_logits, max_timelines) +
           (size_t)max_timelines * sizeof(struct span) +
           ((size_t)max_rows + (size_t)max_timelines * PAIRS_MAX) * sizeof(struct mtp_row);
}

void pass_free(struct pass *p)
{
    forward_free(p->forward);
    mem_free(p->spans);
    mem_free(p->pairs);
    *p = (struct pass){0};
}

void pass_settle(struct pass *p, struct timeline *const *timelines, int n)
{
    int n_pairs = 0;
    for (int i = 0; i < n; i++) n_pairs += timeline_take_pairs(timelines[i], p->pairs + n_pairs);
    mtp_append(p->forward, p->pairs, n_pairs);
}

void pass_draft(struct pass *p, struct timeline *const *timelines, int n)
{
    for (int i = 0; i < n; i++) p->pairs[i] = timeline_draft_pair(timelines[i]);
    mtp_draft(p->forward, p->pairs, n);
    for (int i = 0; i < n; i++) timeline_drafted(timelines[i], mtp_hidden(p->forward, i));
}

void pass_run(struct pass *p, const struct part *parts, int n)
{
    int n_pairs = 0, row = 0;
    for (int i = 0; i < n; i++)
        p->spans[i] = parts[i].n_read ? timeline_read_span(parts[i].timeline, parts[i].n_read)
                                      : timeline_verify_span(parts[i].timeline, parts[i].n_drafts);
    forward_run(p->forward, p->spans, n);
    for (int i = 0; i < n; row += p->spans[i++].n) {
        struct timeline *t = parts[i].timeline;
        t->rows = forward_hidden(p->forward, row);
        *(parts[i].n_read ? &t->read_logits : &t->logits) = forward_logits(p->forward, row);
        if (parts[i].n_read)
            n_pairs += timeline_read_pairs(t, parts[i].n_read, p->pairs + n_pairs);
        else if (t->n_pairs > PAIRS_MAX - VERIFY_ROWS_MAX) /* leave room for what is committed */
            n_pairs += timeline_take_pairs(t, p->pairs + n_pairs);
    }
    mtp_append(p->forward, p->pairs, n_pairs);
    row = 0;
    for (int i = 0; i < n; row += p->spans[i++].n)
        if (parts[i].n_read)
            timeline_was_read(parts[i].timeline, parts[i].n_read,
                              forward_logits(p->forward, row + parts[i].n_read - 1));
}
