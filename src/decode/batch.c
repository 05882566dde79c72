/* batch.c - sessions that share threads and work memory. Owns who takes part in a pass; must not know how tokens are
 * found. */
#include "base/mem.h"
#include "decode/decode_internal.h"

#define SESSIONS_DEFAULT 8

bool alula_batch_create(struct alula_batch **ret, const struct alula_engine *engine,
                        const struct alula_batch_options *options, struct alula_error *e)
{
    struct alula_batch_options o = options ? *options : (struct alula_batch_options){0};
    if (o.n_threads < 0)
        return err_set(e, ALULA_USAGE, "n_threads is %d, expected 0 (all) or more", o.n_threads);
    if (o.max_sessions < 0 || o.max_sessions > BATCH_SESSIONS_MAX)
        return err_set(e, ALULA_USAGE, "max_sessions is %d, expected 0 (%d) to %d", o.max_sessions,
                       SESSIONS_DEFAULT, BATCH_SESSIONS_MAX);
    if (o.prompt_rows < 0 || o.prompt_rows > BATCH_PROMPT_ROWS_MAX)
        return err_set(e, ALULA_USAGE, "prompt_rows is %d, expected 0 (%d) to %d", o.prompt_rows,
                       PROMPT_CHUNK, BATCH_PROMPT_ROWS_MAX);
    struct alula_batch *b = mem_zalloc(1, sizeof *b);
    if (!b) return err_set(e, ALULA_NOMEM, "no memory for a batch");
    b->engine = engine;
    b->n_threads = o.n_threads;
    b->max_sessions = o.max_sessions ? o.max_sessions : SESSIONS_DEFAULT;
    b->prompt_rows = o.prompt_rows ? o.prompt_rows : PROMPT_CHUNK;
    *ret = b;
    return true;
}

void alula_batch_free(struct alula_batch *b) { mem_free(b); }

bool batch_join(struct alula_batch *b, const struct alula_engine *engine, struct alula_error *e)
{
    if (b->engine != engine)
        return err_set(e, ALULA_MISMATCH, "the batch belongs to another engine than the session");
    if (b->n_sessions == b->max_sessions)
        return err_set(e, ALULA_LIMIT, "the batch is full: it was made for %d sessions", b->max_sessions);
    b->n_sessions++;
    return true;
}

static bool turn_check(const struct alula_batch *b, const struct alula_turn *turns, int i,
                       struct alula_error *e)
{
    if (turns[i].session->batch != b)
        return err_set(e, ALULA_USAGE, "the session of turn %d does not belong to this batch", i);
    for (int j = 0; j < i; j++)
        if (turns[j].session == turns[i].session)
            return err_set(e, ALULA_USAGE, "turns %d and %d are of the same session", j, i);
    return true;
}

void alula_batch_step(struct alula_batch *b, struct alula_turn *turns, int n)
{
    int rows = b->prompt_rows;
    for (int i = 0; i < n; i++) {
        struct alula_turn *t = &turns[i];
        t->step = (struct alula_step){.text = ""};
        t->failed = !turn_check(b, turns, i, &t->error);
        if (t->failed) continue;
        int n_read = 0;
        if (t->session->reading) {
            int most = t->read_max < rows ? t->read_max : rows;
            if (most > 0) n_read = session_read(t->session, most);
            rows -= n_read;
            if (t->session->reading) {
                t->step.n_read = n_read;
                continue;
            }
        }
        t->failed = !alula_session_step(t->session, &t->step, &t->error);
        t->step.n_read = n_read;
    }
}
