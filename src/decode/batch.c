/* batch.c - the order of a cycle: who takes part in which step of the head, what the trunk reads, what is
 * learnt of the time it took. Must not know how a token is drawn, nor what ends an answer.
 *
 * What a sequence does by itself - shaping, drawing, accepting - runs on the pool's threads, each sequence on
 * one. */
#include "decode/batch.h"

#include "base/clock.h"

bool batch_create(struct batch *b, const struct model *m, const struct draft_vocab *drafts, int n_threads,
                  int rows, int max, struct alula_error *e)
{
    *b = (struct batch){0};
    if (!pool_create(&b->pool, n_threads, e) || !pass_create(&b->pass, m, b->pool, rows, max, e)) {
        batch_free(b);
        return false;
    }
    if (drafts) forward_set_draft_head(b->pass.forward, &drafts->head);
    return true;
}

void batch_free(struct batch *b)
{
    pass_free(&b->pass);
    pool_free(b->pool);
    *b = (struct batch){0};
}

/* ---- work of each sequence by itself ------------------------------------------------------------------ */

static void draft_one(struct batch *b, int i)
{
    speculator_draft(b->at_work[i]->speculator, &b->depth, pass_draft_logits(&b->pass, i));
}

static void accept_one(struct batch *b, int i)
{
    struct seat *seat = b->at_work[i];
    if (seat->n_read)
        speculator_score(seat->speculator, seat->n_read);
    else
        seat->failed = !speculator_accept(seat->speculator, seat->error);
}

struct work {
    struct batch *batch;
    void (*one)(struct batch *b, int i);
};

static void work_job(void *arg, int thread, int n_threads)
{
    const struct work *w = arg;
    int begin, end;
    pool_share(w->batch->n_at_work, 1, thread, n_threads, &begin, &end);
    for (int i = begin; i < end; i++) w->one(w->batch, i);
}

static void work_on_each(struct batch *b, void (*one)(struct batch *b, int i))
{
    struct work w = {b, one};
    if (b->n_at_work == 1) /* and on the caller's own thread */
        one(b, 0);
    else
        pool_run(b->pool, work_job, &w);
}

static void take_to_work(struct batch *b, struct seat *seat)
{
    b->timelines[b->n_at_work] = seat->speculator->timeline;
    b->at_work[b->n_at_work++] = seat;
}

/* ---- the cycle ---------------------------------------------------------------------------------------- */

static bool verifies(const struct seat *seat) { return !seat->n_read && seat->speculator->cycle.verified; }

static void draft(struct batch *b)
{
    while (depth_step(&b->depth) > 0) {
        double begin = clock_s();
        b->n_at_work = 0;
        for (int i = 0; i < b->n; i++)
            if (verifies(&b->seats[i]) && b->seats[i].speculator->depth.wants) take_to_work(b, &b->seats[i]);
        if (b->depth.n_steps == 0) pass_settle(&b->pass, b->timelines, b->n_at_work);
        pass_draft(&b->pass, b->timelines, b->n_at_work);
        work_on_each(b, draft_one);
        depth_stepped(&b->depth, clock_s() - begin);
    }
}

/* Returns how many tokens of prompts it read. */
static int run_trunk(struct batch *b)
{
    int n = 0, n_read = 0;
    for (int i = 0; i < b->n; i++) {
        const struct seat *seat = &b->seats[i];
        if (!seat->n_read && !verifies(seat)) continue;
        b->parts[n++] =
            (struct part){seat->speculator->timeline, seat->n_read, seat->speculator->cycle.n_drafted};
        n_read += seat->n_read;
    }
    if (n) pass_run(&b->pass, b->parts, n);
    return n_read;
}

static void accept(struct batch *b)
{
    b->n_at_work = 0;
    for (int i = 0; i < b->n; i++) {
        b->seats[i].failed = false;
        if (!b->seats[i].n_read || b->seats[i].speculator->logprobs.prompt) take_to_work(b, &b->seats[i]);
    }
    if (b->n_at_work) work_on_each(b, accept_one);
}

static void add_times(struct batch *b, double draft_s, double verify_s, double accept_s)
{
    for (int i = 0; i < b->n; i++) {
        struct alula_stats *s = &b->seats[i].speculator->stats;
        if (!verifies(&b->seats[i])) continue;
        s->draft_s += draft_s;
        s->verify_s += verify_s;
        s->accept_s += accept_s;
    }
}

void batch_run(struct batch *b, struct seat *seats, int n)
{
    int n_verify = 0;
    b->seats = seats;
    b->n = n;
    for (int i = 0; i < n; i++)
        if (verifies(&seats[i])) b->policies[n_verify++] = &seats[i].speculator->depth;
    double t0 = clock_s();
    if (n_verify) {
        depth_begin(&b->depth, b->policies, n_verify);
        draft(b);
    }
    double t1 = clock_s();
    int n_read = run_trunk(b);
    double t2 = clock_s();
    accept(b);
    double t3 = clock_s();
    if (n_verify) depth_end(&b->depth, t3 - t1, n_read == 0);
    add_times(b, t1 - t0, t2 - t1, t3 - t2);
}
