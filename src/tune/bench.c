/* bench.c - measures: which steps there are, what a round does, how a figure comes from the rounds. Uses the model
 * through the timeline, as a session does; must not know where weights come from, nor how results are shown. */
#include "tune/bench.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "decode/draft_vocab.h"
#include "decode/sampler.h"
#include "decode/pass.h"
#include "kern/cpu.h"
#include "tune/head_bits.h"
#include "tune/readlimit.h"

#define DEEPEST       32768 /* context */
#define COPIED        128   /* tokens whose keys and values fill a context */
#define CTX           2048  /* of sequences without a long context */
#define CTX_MIN       1024  /* of the model */
#define STEPS_MAX     64    /* of a job in a round; with 5 tokens each they stay inside the context */
#define PROMPT        8     /* tokens that lie before what is measured */
#define SEQUENCES_MAX 4
#define THREADS_MAX   8 /* different numbers of threads that are measured */

/* Everything that is alive while measuring. */
struct rig {
    struct weights own; /* as given, but for the head of the job under way */
    const struct weights *weights;
    struct mtp_weights stored;
    struct head_bits heads[BENCH_HEADS]; /* in the order of bench_head_bits; only if they are compared */
    struct model *model;
    struct pool *pool;
    struct pass pass; /* with all threads */
    struct timeline timeline;
    struct state *others[SEQUENCES_MAX]; /* the first unused: it is the timeline's */
    struct pool *fewer[THREADS_MAX];     /* pools of fewer threads, each with its passes */
    struct pass slower[THREADS_MAX];
    int fewer_threads[THREADS_MAX], n_fewer;
    int filled;                 /* entries of the timeline's cache that hold something */
    void *rows, *snapshot;      /* of a short prompt: what a long context is filled with */
    struct draft_vocab *drafts; /* NULL: drafts come from the LM head */
    int head_rows;              /* of the matrix that drafts come from */
    struct readlimit *readlimit;
    struct profile *clocks; /* NULL: no profile is asked for */
    bool profiling;         /* just now */
    int32_t next;           /* id that the next prompt begins with */
    int n_cycles;           /* MTP cycles so far: what the acceptance pattern goes by */
    int32_t sink;
};

struct bench_options bench_defaults(void)
{
    return (struct bench_options){.rounds = 5,
                                  .step_s = 0.2,
                                  .read_bytes = (size_t)1 << 30,
                                  .acceptance = {.915, .803, .656},
                                  .n_acceptance = 3};
}

/* ---- steps --------------------------------------------------------------------------------------------- */

/* Takes the likeliest token, as greedy decoding does; the sequence goes on with the next number all the same, for
 * what a step costs must not hang on what a model of random weights says. */
static void pick(struct rig *g, const float *logits, int n) { g->sink ^= sampler_best(logits, n); }

/* An empty sequence whose tokens are consecutive numbers, PROMPT of them read, one more drawn. */
static void begin(struct rig *g, struct pass *pass, bool feeds_head)
{
    struct timeline *t = &g->timeline;
    int vocab = model_config(g->model)->vocab;
    state_reset(t->state);
    t->len = t->n_pairs = t->n_steps = 0;
    t->feeds_head = feeds_head;
    g->next = (g->next + PROMPT) % vocab;
    for (int i = 0; i < t->n_ctx + VERIFY_ROWS_MAX; i++) t->ids[i] = (g->next + i) % vocab;
    t->len = PROMPT;
    pass_run(pass, &(struct part){t, PROMPT, 0}, 1);
    t->len++;
}

static void verify_step(struct rig *g, struct pass *pass, int rows, int keep)
{
    struct timeline *t = &g->timeline;
    size_t vocab = (size_t)model_config(g->model)->vocab;
    pass_run(pass, &(struct part){t, 0, rows - 1}, 1);
    if (g->profiling) profile_enter(g->clocks, 0, PROFILE_SAMPLING);
    for (int i = 0; i < rows; i++) pick(g, t->logits + (size_t)i * vocab, (int)vocab);
    if (g->profiling) profile_enter(g->clocks, 0, PROFILE_SERIAL);
    timeline_commit(t, keep);
}

static void draft_one(struct rig *g)
{
    struct timeline *t = &g->timeline;
    pass_draft(&g->pass, &t, 1);
    pick(g, pass_draft_logits(&g->pass, 0), g->head_rows);
}

/* How many of depth drafts survive in the next cycle. Shares of consecutive cycles come out as asked, within one. */
static int survivors(struct rig *g, const double *acceptance, int depth)
{
    double u = fmod((g->n_cycles++ + 0.5) * 0.6180339887498949, 1.0);
    int n = 0;
    while (n < depth && u < acceptance[n]) n++;
    return n;
}

static void mtp_step(struct rig *g, const double *acceptance, int depth)
{
    struct timeline *t = &g->timeline;
    pass_settle(&g->pass, &t, 1);
    for (int i = 0; i < depth; i++) draft_one(g);
    verify_step(g, &g->pass, depth + 1, survivors(g, acceptance, depth) + 1);
}

static void draft_step(struct rig *g)
{
    struct timeline *t = &g->timeline;
    int entries = state_mtp_len(t->state);
    draft_one(g);
    t->n_steps = 0;
    state_mtp_cut(t->state, entries);
}

/* Spans of several sequences: the i-th one's tokens are i, i+n, i+2n ... from the prompt's first number on. */
static void sequences_step(struct rig *g, int n)
{
    struct span spans[SEQUENCES_MAX];
    int32_t ids[SEQUENCES_MAX];
    int vocab = model_config(g->model)->vocab;
    for (int i = 0; i < n; i++) {
        ids[i] = (g->next + i) % vocab;
        spans[i] = (struct span){i ? g->others[i] : g->timeline.state, &ids[i], 1, false, SPAN_LOGITS_LAST};
    }
    g->next = (g->next + n) % vocab;
    forward_run(g->pass.forward, spans, n);
    for (int i = 0; i < n; i++) pick(g, forward_logits(g->pass.forward, i), vocab);
}

static void prefill_step(struct rig *g, int n)
{
    struct timeline *t = &g->timeline;
    for (int at = 0, some; at < n; at += some) {
        some = n - at < BENCH_CHUNK ? n - at : BENCH_CHUNK;
        bool last = at + some == n;
        struct span span = {t->state, t->ids + at, some, false, last ? SPAN_LOGITS_LAST : SPAN_LOGITS_NONE};
        forward_run(g->pass.forward, &span, 1);
        if (last) pick(g, forward_logits(g->pass.forward, some - 1), model_config(g->model)->vocab);
    }
}

/* Goes on as if n tokens had been read. In the cache lie the keys and values of a short prompt, again and
 * again (the first ones may be those of prompts that were measured), the recurrent state is the one behind
 * it: what a step costs does not hang on what they are. */
static void deepen(struct rig *g, int n)
{
    struct timeline *t = &g->timeline;
    if (!g->filled) {
        state_reset(t->state);
        struct span span = {t->state, t->ids, COPIED, false, SPAN_LOGITS_NONE};
        forward_run(g->pass.forward, &span, 1);
        state_save_rows(t->state, 0, COPIED, false, g->rows);
        state_save_snapshot(t->state, g->snapshot);
    }
    state_reset(t->state);
    for (; g->filled < n; g->filled += COPIED) state_load_rows(t->state, g->filled, COPIED, false, g->rows);
    state_load_snapshot(t->state, n, false, g->snapshot);
    t->len = n + 1;
}

static struct pass *pass_of(struct rig *g, const struct bench_job *job)
{
    if (job->kind == BENCH_SCALING)
        for (int i = 0; i < g->n_fewer; i++)
            if (g->fewer_threads[i] == job->n) return &g->slower[i];
    return &g->pass;
}

/* The model reads its head where the rig's weights say. */
static void use_head(struct rig *g, int bits)
{
    g->own.mtp = g->stored;
    for (int i = 0; i < BENCH_HEADS; i++)
        if (bits == bench_head_bits[i]) g->own.mtp = g->heads[i].mtp;
}

static void job_begin(struct rig *g, const struct bench_job *job)
{
    struct timeline *t = &g->timeline;
    use_head(g, job->head_bits);
    if (job->kind == BENCH_READ) return;
    begin(g, pass_of(g, job), job->kind == BENCH_MTP || job->kind == BENCH_DRAFT);
    pass_settle(&g->pass, &t, 1);
    if (job->kind == BENCH_CONTEXT && job->n > 0) deepen(g, job->n);
    if (job->kind == BENCH_PREFILL || job->kind == BENCH_SEQUENCES) state_reset(t->state);
    for (int i = 1; job->kind == BENCH_SEQUENCES && i < SEQUENCES_MAX; i++)
        if (g->others[i]) state_reset(g->others[i]);
}

static void job_step(struct rig *g, const struct bench_job *job, const double *acceptance)
{
    struct pass *pass = pass_of(g, job);
    switch (job->kind) {
    case BENCH_READ: readlimit_run(g->readlimit, g->pool); break;
    case BENCH_PLAIN:
    case BENCH_CONTEXT:
    case BENCH_SCALING: verify_step(g, pass, 1, 1); break;
    case BENCH_VERIFY: verify_step(g, pass, job->n, 1); break;
    case BENCH_DRAFT: draft_step(g); break;
    case BENCH_MTP: mtp_step(g, acceptance, job->n); break;
    case BENCH_PREFILL: prefill_step(g, job->n); break;
    case BENCH_SEQUENCES: sequences_step(g, job->n); break;
    case BENCH_KINDS: break;
    }
}

/* Seconds of a step, of which it takes *steps. */
static double job_measure(struct rig *g, const struct bench_job *job, const double *acceptance, double step_s,
                          int *steps)
{
    bool once = job->kind == BENCH_PREFILL || job->kind == BENCH_READ;
    int n = 0;
    job_begin(g, job);
    if (!once) job_step(g, job, acceptance); /* the first after a prompt folds it into the state */
    if (g->profiling) profile_begin(g->clocks, pool_threads(g->pool));
    double start = clock_s(), spent;
    do {
        job_step(g, job, acceptance);
        spent = clock_s() - start;
    } while (++n < STEPS_MAX && spent < step_s && !once);
    if (g->profiling) profile_end(g->clocks);
    *steps = n;
    return spent / n;
}

static void profile_measure(struct rig *g, const struct bench *b, struct bench_profile *p, double step_s)
{
    int steps;
    g->profiling = true;
    forward_set_profile(g->pass.forward, g->clocks);
    job_measure(g, &b->jobs[p->job], b->acceptance, step_s, &steps);
    forward_set_profile(g->pass.forward, NULL);
    g->profiling = false;
    p->steps += steps;
    p->seconds += g->clocks->ended - g->clocks->begun;
    for (int i = 0; i < PROFILE_OPS; i++) {
        p->spent[i] += profile_seconds(g->clocks, (enum profile_op)i);
        p->bytes[i] += profile_bytes(g->clocks, (enum profile_op)i);
    }
}

/* ---- experts used --------------------------------------------------------------------------------------- */

struct expert_count {
    unsigned char seen[CONFIG_EXPERTS_MAX];
    long sum;
    int n_layers, n_experts;
    int rows; /* only passes of more rows count */
};

static void count_tap(void *arg, const char *what, int layer, const float *rows, int n_rows, int width)
{
    struct expert_count *c = arg;
    (void)layer;
    if (strcmp(what, "expert_ids") || n_rows <= c->rows) return;
    memset(c->seen, 0, sizeof c->seen);
    for (int i = 0; i < n_rows * width; i++) {
        int id = (int)rows[i];
        if (id < c->n_experts && !c->seen[id]++) c->sum++;
    }
    c->n_layers++;
}

/* Different routed experts per layer in a step of the job, which is run once for that. */
static double count_experts(struct rig *g, const struct bench_job *job)
{
    struct expert_count c = {.n_experts = model_config(g->model)->n_experts};
    job_begin(g, job);
    forward_set_tap(g->pass.forward, count_tap, &c);
    job_step(g, job, NULL);
    forward_set_tap(g->pass.forward, NULL, NULL);
    return c.n_layers ? (double)c.sum / c.n_layers : 0;
}

/* ---- the list of jobs ----------------------------------------------------------------------------------- */

static struct bench_job *add(struct bench *b, enum bench_kind kind, int n, double tokens)
{
    struct bench_job *job = &b->jobs[b->n_jobs++];
    *job = (struct bench_job){.kind = kind, .n = n, .tokens = tokens};
    return job;
}

static void add_pass(struct bench *b, struct rig *g, enum bench_kind kind, int n, int rows, double tokens)
{
    struct bench_job *job = add(b, kind, n, tokens);
    if (kind != BENCH_SCALING && kind != BENCH_CONTEXT)
        job->experts = count_experts(g, job);
    else
        job->experts = b->jobs[1].experts;
    job->bytes = bench_trunk_bytes(g->weights, rows, job->experts);
    job->macs = bench_trunk_macs(g->weights, rows, rows);
    if (kind == BENCH_CONTEXT) job->bytes += (double)job->n * (double)state_row_bytes(g->model, false);
}

/* Bytes and experts of a prompt are counted while it is measured first: it takes too long to run it for that
 * alone. */
static void add_prefill(struct bench *b, struct rig *g, int n)
{
    if (n > state_ctx(g->timeline.state)) return;
    add(b, BENCH_PREFILL, n, n)->macs = bench_trunk_macs(g->weights, n, 1);
}

static void list_profiles(struct bench *b, struct rig *g)
{
    add_pass(b, g, BENCH_VERIFY, 4, 4, 4);
    add_prefill(b, g, 512);
    for (int i = 0; i < BENCH_PROFILES; i++) b->profiles[i].job = 1 + i;
    b->n_profiles = BENCH_PROFILES;
}

static void list_head(struct bench *b, struct rig *g, int depths, int bits)
{
    double tokens = 1;
    if (!model_has_mtp(g->model)) return;
    use_head(g, bits);
    struct bench_job *draft = add(b, BENCH_DRAFT, 1, 0);
    draft->bytes = bench_draft_bytes(g->weights, g->head_rows);
    draft->head_bits = bits;
    for (int d = 1; d <= depths; d++) {
        tokens += b->acceptance[d - 1];
        add(b, BENCH_MTP, d, tokens)->head_bits = bits;
    }
}

static void list_sample(struct bench *b, struct rig *g)
{
    add_pass(b, g, BENCH_VERIFY, 4, 4, 4);
    list_head(b, g, 0, 0);
}

static void list_all(struct bench *b, struct rig *g)
{
    static const int prompts[] = {128, 512, 2048}, contexts[] = {0, 4096, DEEPEST};
    for (int k = 1; k <= VERIFY_ROWS_MAX; k++) add_pass(b, g, BENCH_VERIFY, k, k, k);
    list_head(b, g, BENCH_DEPTHS, 0);
    for (int i = 0; i < 3; i++) add_prefill(b, g, prompts[i]);
    for (int n = 1; n <= SEQUENCES_MAX; n *= 2) add_pass(b, g, BENCH_SEQUENCES, n, n, n);
    for (int i = 0; i < g->n_fewer; i++) add_pass(b, g, BENCH_SCALING, g->fewer_threads[i], 1, 1);
    add_pass(b, g, BENCH_SCALING, b->n_threads, 1, 1);
    for (int i = 0; i < 3; i++)
        if (contexts[i] + 2 * STEPS_MAX <= state_ctx(g->timeline.state))
            add_pass(b, g, BENCH_CONTEXT, contexts[i], 1, 1);
}

static void list_jobs(struct bench *b, struct rig *g, const struct bench_options *o)
{
    add(b, BENCH_READ, 0, 0)->bytes = (double)readlimit_bytes(g->readlimit);
    add_pass(b, g, BENCH_PLAIN, 1, 1, 1);
    for (int i = 0; o->heads && i < BENCH_HEADS; i++) list_head(b, g, BENCH_HEAD_DEPTHS, bench_head_bits[i]);
    if (o->heads) return;
    if (o->profile)
        list_profiles(b, g);
    else if (o->sample)
        list_sample(b, g);
    else
        list_all(b, g);
}

/* ---- the run --------------------------------------------------------------------------------------------- */

static void rig_free(struct rig *g)
{
    for (int i = 0; i < BENCH_HEADS; i++) head_bits_free(&g->heads[i]);
    for (int i = 0; i < g->n_fewer; i++) {
        pass_free(&g->slower[i]);
        pool_free(g->fewer[i]);
    }
    for (int i = 1; i < SEQUENCES_MAX; i++) state_free(g->others[i]);
    timeline_free(&g->timeline);
    pass_free(&g->pass);
    draft_vocab_free(g->drafts);
    mem_free(g->rows);
    mem_free(g->snapshot);
    readlimit_free(g->readlimit);
    mem_free(g->clocks);
    model_free(g->model);
    pool_free(g->pool);
}

/* The ids below n: which ones a draft could come from changes its acceptance, not its cost. */
static bool trim_head(struct rig *g, int n, struct alula_error *e)
{
    int vocab = g->weights->config->vocab;
    g->head_rows = vocab;
    if (n < 0 || n > vocab)
        return err_set(e, ALULA_USAGE, "drafts from %d tokens were asked for; the vocabulary has %d", n,
                       vocab);
    if (n == 0 || !g->weights->has_mtp) return true;
    int32_t *ids = mem_zalloc((size_t)n, sizeof *ids);
    if (!ids) return err_set(e, ALULA_NOMEM, "no memory for a draft vocabulary");
    for (int i = 0; i < n; i++) ids[i] = i;
    bool ok = draft_vocab_create(&g->drafts, &g->weights->lm_head, ids, n, 0, e);
    mem_free(ids);
    if (!ok) return false;
    g->head_rows = n;
    forward_set_draft_head(g->pass.forward, &g->drafts->head);
    return true;
}

static bool open_fewer(struct rig *g, struct alula_error *e)
{
    for (int n = 1; n < pool_threads(g->pool) && g->n_fewer < THREADS_MAX; n *= 2) {
        int i = g->n_fewer;
        if (!pool_create(&g->fewer[i], n, e)) return false;
        g->fewer_threads[i] = n;
        g->n_fewer++;
        if (!pass_create(&g->slower[i], g->model, g->fewer[i], VERIFY_ROWS_MAX, 1, e)) return false;
    }
    return true;
}

static bool open_sequences(struct rig *g, struct alula_error *e)
{
    int most = g->weights->config->max_position, deepest = DEEPEST + 2 * STEPS_MAX;
    if (most < CTX_MIN)
        return err_set(e, ALULA_LIMIT, "the bench needs a context of %d tokens; the model was made for %d",
                       CTX_MIN, most);
    g->rows = mem_zalloc(COPIED, state_row_bytes(g->model, false));
    g->snapshot = mem_zalloc(1, state_snapshot_bytes(g->model));
    if (!g->rows || !g->snapshot) return err_set(e, ALULA_NOMEM, "no memory for a context");
    for (int i = 1; i < SEQUENCES_MAX; i++)
        if (!state_create(&g->others[i], g->model, most < CTX ? most : CTX, e)) return false;
    return timeline_create(&g->timeline, g->model, most < deepest ? most : deepest, g->weights->has_mtp, e);
}

static bool pack_heads(struct rig *g, struct alula_error *e)
{
    if (!g->weights->has_mtp)
        return err_set(e, ALULA_UNSUPPORTED, "there is no MTP head whose bits could be compared");
    for (int i = 0; i < BENCH_HEADS; i++)
        if (!head_bits_create(&g->heads[i], g->weights, bench_head_bits[i], g->pool, e)) return false;
    return true;
}

static bool rig_open(struct rig *g, const struct mtp_contract *contract, const struct bench_options *o,
                     struct alula_error *e)
{
    return pool_create(&g->pool, o->n_threads, e) &&
           model_create(&g->model, g->weights, contract, o->exact ? MODEL_EXACT : MODEL_FAST, e) &&
           pass_create(&g->pass, g->model, g->pool, BENCH_CHUNK, 1, e) && open_sequences(g, e) &&
           trim_head(g, o->draft_vocab, e) &&
           readlimit_create(&g->readlimit, g->weights, o->read_bytes, g->pool, e) && open_fewer(g, e) &&
           (!o->heads || pack_heads(g, e));
}

static bool take_acceptance(struct bench *b, const struct bench_options *o, struct alula_error *e)
{
    for (int d = 0; d < BENCH_DEPTHS; d++) {
        double last = d > 0 ? b->acceptance[d - 1] : 1, before = d > 1 ? b->acceptance[d - 2] : 1;
        double a = d < o->n_acceptance ? o->acceptance[d] : before > 0 ? last * last / before : 0;
        if (!(a >= 0 && a <= last))
            return err_set(e, ALULA_USAGE,
                           "the acceptance of depth %d is %g; it is a share of cycles, 0 to %g", d + 1, a,
                           last);
        b->acceptance[d] = a;
    }
    return true;
}

static size_t peak_rss(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (size_t)usage.ru_maxrss * 1024;
}

static bool takes_long(const struct bench_job *job)
{
    return job->rounds >= BENCH_LONG_MOST && job->seconds[job->rounds - 1] > BENCH_LONG_S;
}

/* A prompt's first measurement counts its experts: the tap costs microseconds beside seconds. */
static void measure_counted(struct rig *g, const struct bench *b, struct bench_job *job, double step_s,
                            int *steps)
{
    struct expert_count c = {.n_experts = model_config(g->model)->n_experts, .rows = PROMPT};
    int passes = (job->n + BENCH_CHUNK - 1) / BENCH_CHUNK;
    forward_set_tap(g->pass.forward, count_tap, &c);
    job->seconds[0] = job_measure(g, job, b->acceptance, step_s, steps);
    forward_set_tap(g->pass.forward, NULL, NULL);
    job->experts = c.n_layers ? (double)c.sum / c.n_layers : 0;
    job->bytes = passes * bench_trunk_bytes(g->weights, 0, job->experts) -
                 (passes - 1) * (double)matrix_bytes(&g->weights->lm_head) +
                 bench_trunk_bytes(g->weights, job->n, 0) - bench_trunk_bytes(g->weights, 0, 0);
}

static void measure_job(struct rig *g, struct bench *b, int i, const struct bench_options *o)
{
    struct bench_job *job = &b->jobs[i];
    int steps;
    if (takes_long(job)) return;
    if (job->kind == BENCH_CONTEXT && !b->rss_bytes) b->rss_bytes = peak_rss();
    if (job->kind == BENCH_PREFILL && job->rounds == 0)
        measure_counted(g, b, job, o->step_s, &steps);
    else
        job->seconds[job->rounds] = job_measure(g, job, b->acceptance, o->step_s, &steps);
    job->rounds++;
    for (int k = 0; k < b->n_profiles; k++)
        if (b->profiles[k].job == i) profile_measure(g, b, &b->profiles[k], o->step_s);
}

static bool run_rounds(struct bench *b, struct rig *g, const struct bench_options *o, struct alula_error *e)
{
    int total = b->rounds * b->n_jobs, done = 0;
    double start = clock_s();
    for (int r = 0; r < b->rounds; r++) {
        for (int i = 0; i < b->n_jobs; i++) {
            if (o->progress && !o->progress(o->arg, done, total))
                return err_set(e, ALULA_CANCELLED, "stopped after %d of %d measurements", done, total);
            measure_job(g, b, i, o);
            done++;
        }
        if (o->budget_s > 0 && clock_s() - start > o->budget_s) b->rounds = r + 1;
    }
    return true;
}

bool bench_run(struct bench *ret, const struct weights *w, const struct mtp_contract *contract,
               const struct bench_options *options, struct alula_error *e)
{
    struct rig g = {.own = *w, .weights = &g.own, .stored = w->mtp};
    if (options->rounds < 1 || options->rounds > BENCH_ROUNDS_MAX)
        return err_set(e, ALULA_USAGE, "%d rounds were asked for; 1 to %d are possible", options->rounds,
                       BENCH_ROUNDS_MAX);
    struct bench *b = mem_zalloc(1, sizeof *b);
    if (!b) return err_set(e, ALULA_NOMEM, "no memory for a bench");
    b->rounds = options->rounds;
    b->isa = cpu_name(cpu_detect());
    if (options->profile) g.clocks = mem_zalloc(1, sizeof *g.clocks);
    bool ok = !options->profile || g.clocks || err_set(e, ALULA_NOMEM, "no memory for a profile");
    ok = ok && take_acceptance(b, options, e) && rig_open(&g, contract, options, e);
    if (ok) {
        b->n_threads = pool_threads(g.pool);
        b->head_rows = g.head_rows;
        readlimit_warm(g.readlimit, g.pool);
        list_jobs(b, &g, options);
        ok = run_rounds(b, &g, options, e);
    }
    if (ok) {
        b->rss_context_bytes = peak_rss();
        if (!b->rss_bytes) b->rss_bytes = b->rss_context_bytes;
        *ret = *b;
    }
    rig_free(&g);
    mem_free(b);
    return ok;
}
