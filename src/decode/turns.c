/* turns.c - sessions that share a batch. Owns who takes part in a step and how much of its prompt is read; must not
 * know how tokens are found. */
#include "base/clock.h"
#include "base/mem.h"
#include "decode/decode_internal.h"

#define SESSIONS_DEFAULT 8
#define ROWS_DEFAULT     512
#define ROWS_MAX         8192

static bool check_batch(const struct alula_batch_options *o, struct alula_error *e)
{
    if (o->n_threads < 0)
        return err_set(e, ALULA_USAGE, "n_threads is %d, expected 0 (all) or more", o->n_threads);
    if (o->max_sessions < 0 || o->max_sessions > BATCH_MAX)
        return err_set(e, ALULA_USAGE, "max_sessions is %d, expected 0 (%d) to %d", o->max_sessions,
                       SESSIONS_DEFAULT, BATCH_MAX);
    if (o->prompt_rows < 0 || o->prompt_rows > ROWS_MAX)
        return err_set(e, ALULA_USAGE, "prompt_rows is %d, expected 0 (%d) to %d", o->prompt_rows,
                       ROWS_DEFAULT, ROWS_MAX);
    return true;
}

/* What was not given. */
static struct alula_batch_options filled(const struct alula_batch_options *options)
{
    struct alula_batch_options o = options ? *options : (struct alula_batch_options){0};
    if (!o.max_sessions) o.max_sessions = SESSIONS_DEFAULT;
    if (!o.prompt_rows) o.prompt_rows = ROWS_DEFAULT;
    return o;
}

static int rows_of(const struct alula_batch_options *o)
{
    return o->prompt_rows + o->max_sessions * VERIFY_ROWS_MAX;
}

size_t alula_batch_bytes(const struct alula_engine *engine, const struct alula_batch_options *options)
{
    struct alula_batch_options o = filled(options);
    int n_threads = o.n_threads ? o.n_threads : pool_cpu_count();
    return pass_memory(engine->model, n_threads, rows_of(&o), o.max_sessions, LOGPROBS_ROWS_MAX);
}

bool batch_open(struct alula_batch **ret, const struct alula_engine *engine, const struct draft_vocab *drafts,
                const struct alula_batch_options *options, struct alula_error *e)
{
    struct alula_batch_options o = filled(options);
    if (!check_batch(&o, e)) return false;
    struct alula_batch *b = mem_zalloc(1, sizeof *b);
    if (!b) return err_set(e, ALULA_NOMEM, "no memory for a batch");
    b->engine = engine;
    b->drafts = drafts;
    b->max_sessions = o.max_sessions;
    b->prompt_rows = o.prompt_rows;
    if (!batch_create(&b->core, engine->model, drafts, o.n_threads, rows_of(&o), b->max_sessions, e)) {
        mem_free(b);
        return false;
    }
    *ret = b;
    return true;
}

bool alula_batch_create(struct alula_batch **ret, const struct alula_engine *engine,
                        const struct alula_batch_options *options, struct alula_error *e)
{
    return batch_open(ret, engine, engine->drafts, options, e);
}

void alula_batch_free(struct alula_batch *b)
{
    if (!b) return;
    batch_free(&b->core);
    mem_free(b);
}

bool batch_join(struct alula_batch *b, const struct alula_engine *engine, struct alula_error *e)
{
    if (b->engine != engine)
        return err_set(e, ALULA_MISMATCH, "the batch belongs to another engine than the session");
    if (b->n_sessions == b->max_sessions)
        return err_set(e, ALULA_LIMIT, "the batch is full: it was made for %d sessions", b->max_sessions);
    b->n_sessions++;
    return true;
}

static bool check_turn(const struct alula_batch *b, const struct alula_turn *turns, int i,
                       struct alula_error *e)
{
    if (turns[i].session->batch != b)
        return err_set(e, ALULA_USAGE, "the session of turn %d does not belong to this batch", i);
    for (int j = 0; j < i; j++)
        if (turns[j].session == turns[i].session)
            return err_set(e, ALULA_USAGE, "turns %d and %d are of the same session", j, i);
    return true;
}

static const int32_t no_tokens[1];

/* Gives each turn that can do something a seat; returns their number. */
static int seat_turns(struct alula_batch *b, struct alula_turn *turns, int n)
{
    int rows = b->prompt_rows, n_seats = 0;
    for (int i = 0; i < n; i++) {
        struct alula_turn *t = &turns[i];
        struct seat *seat = &b->seats[n_seats];
        int most = t->read_max < rows ? t->read_max : rows;
        t->step = (struct alula_step){.tokens = no_tokens, .text = ""};
        t->failed = !check_turn(b, turns, i, &t->error);
        if (t->failed || (t->session->reading && most <= 0)) continue;
        t->failed = !session_seat(t->session, most, seat, &t->error);
        if (t->failed) continue;
        rows -= seat->n_read < most ? seat->n_read : most;
        b->turns[n_seats++] = t;
    }
    return n_seats;
}

void alula_batch_step(struct alula_batch *b, struct alula_turn *turns, int n)
{
    int n_seats = seat_turns(b, turns, n);
    /* The second time it is about first tokens, whose logits are there: no pass. */
    while (n_seats > 0) {
        double begin = clock_s();
        batch_run(&b->core, b->seats, n_seats);
        double seconds = clock_s() - begin;
        int n_again = 0;
        for (int i = 0; i < n_seats; i++) {
            struct alula_turn *t = b->turns[i];
            t->failed = b->seats[i].failed;
            if (!session_take(t->session, &b->seats[i], seconds, &t->step)) continue;
            session_seat(t->session, 0, &b->seats[n_again], &t->error);
            b->turns[n_again++] = t;
        }
        n_seats = n_again;
    }
}
