/* session.c - one timeline: prompts in, answers out. Owns limits, what ends an answer, and the text of it;
 * must not know how tokens are found. All memory is taken when the session is created. */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/mem.h"
#include "decode/decode_internal.h"

#define CONTEXT_DEFAULT_MAX 32768
#define PROMPT_ROWS         512 /* tokens of a prompt that a session by itself reads at once */

struct alula_session_options alula_session_defaults(void)
{
    return (struct alula_session_options){.sampling = {.top_p = 1, .repetition_penalty = 1}};
}

/* ---- creation ----------------------------------------------------------------------------------- */

static bool check_options(const struct alula_engine *engine, const struct alula_session_options *o,
                          struct alula_error *e)
{
    int most = model_config(engine->model)->max_position;
    if (o->n_threads < 0)
        return err_set(e, ALULA_USAGE, "n_threads is %d, expected 0 (all) or more", o->n_threads);
    if (o->n_ctx < 0 || o->n_ctx > most)
        return err_set(e, ALULA_LIMIT, "n_ctx is %d, expected 0 (default) to %d, the model's maximum",
                       o->n_ctx, most);
    if (o->max_tokens < 0)
        return err_set(e, ALULA_USAGE, "max_tokens is %d, expected 0 (no limit) or more", o->max_tokens);
    if (o->depth != ALULA_DEPTH_AUTO && (o->depth < 0 || o->depth > ALULA_DEPTH_MAX))
        return err_set(e, ALULA_USAGE, "depth is %d, expected 0 to %d, or %d for automatic", o->depth,
                       ALULA_DEPTH_MAX, ALULA_DEPTH_AUTO);
    if (o->grammar && o->mask)
        return err_set(e, ALULA_USAGE, "a grammar and a mask exclude each other: both say what may follow");
    if (o->logprobs < 0 || o->logprobs > LOGPROBS_MAX)
        return err_set(e, ALULA_USAGE, "logprobs is %d, expected 0 (none) to %d", o->logprobs, LOGPROBS_MAX);
    if (o->score_prompt && !o->logprobs)
        return err_set(e, ALULA_USAGE, "score_prompt is set, but logprobs is 0, which reports none");
    if (o->depth > 0 && !engine->has_mtp)
        return err_set(e, ALULA_UNSUPPORTED, "depth is %d, but the model has no MTP head to draft with",
                       o->depth);
    return true;
}

/* Text buffers that never grow: bytes that are no character become three bytes each. */
static bool reserve_text(struct alula_session *s, struct alula_error *e)
{
    size_t token = 3 * s->engine->token_bytes_max + 16;
    buf_init(&s->piece, 0);
    buf_init(&s->text, 0);
    if (buf_reserve(&s->piece, token) &&
        buf_reserve(&s->text, (ALULA_DEPTH_MAX + 1) * token + 2 * STOPS_LEN_MAX))
        return true;
    return err_set(e, ALULA_NOMEM, "no memory for the text of an answer");
}

static bool set_law(struct speculator *sp, const struct alula_sampling *set, struct alula_error *e)
{
    sp->law = (struct law){set->law, set->seed};
    if (set->law == ALULA_LAW_AUTO) sp->law.kind = set->seeded ? ALULA_LAW_COUPLED : ALULA_LAW_REJECTION;
    if (!set->seeded && getrandom(&sp->law.seed, sizeof sp->law.seed, 0) != (ssize_t)sizeof sp->law.seed)
        return err_errno(e, ALULA_IO, "the system gives no random seed");
    return true;
}

/* The batch that the session is given, or one of its own. */
static bool take_batch(struct alula_session *s, const struct alula_session_options *o, int chunk,
                       struct alula_error *e)
{
    const struct draft_vocab *drafts = o->draft_whole ? NULL : s->engine->drafts;
    struct alula_batch_options alone = {o->n_threads, 1, chunk};
    s->batch = o->batch;
    s->owns_batch = !o->batch && batch_open(&s->batch, s->engine, drafts, &alone, e);
    if (!s->batch) return false;
    if (!batch_join(s->batch, s->engine, e)) {
        s->batch = NULL;
        return false;
    }
    if (o->depth != 0 && drafts != s->batch->drafts)
        return err_set(
            e, ALULA_UNSUPPORTED,
            "draft_whole is set, but the sessions of a batch draft from the engine's draft vocabulary");
    return true;
}

static void set_speculator(struct alula_session *s, const struct alula_session_options *o)
{
    struct speculator *sp = &s->speculator;
    int depth = s->engine->has_mtp ? o->depth : 0;
    depth_init(&sp->depth, depth);
    sp->timeline = &s->timeline;
    sp->sampler = s->sampler;
    if (depth != 0) sp->drafts = s->batch->drafts;
    sp->mask = s->constraint ? constraint_mask : o->mask;
    sp->mask_arg = s->constraint ? s->constraint : o->mask_arg;
}

static int context_of(const struct alula_engine *engine, const struct alula_session_options *o)
{
    int most = model_config(engine->model)->max_position;
    return o->n_ctx ? o->n_ctx : most < CONTEXT_DEFAULT_MAX ? most : CONTEXT_DEFAULT_MAX;
}

bool session_create_chunked(struct alula_session **ret, const struct alula_engine *engine,
                            const struct alula_session_options *options, int chunk, struct alula_error *e)
{
    struct alula_session_options o = options ? *options : alula_session_defaults();
    if (!check_options(engine, &o, e)) return false;
    struct alula_session *s = mem_zalloc(1, sizeof *s);
    if (!s) return err_set(e, ALULA_NOMEM, "no memory for a session");
    int n_ctx = context_of(engine, &o);
    s->engine = engine;
    s->max_tokens = o.max_tokens;
    s->ignore_stop_ids = o.ignore_stop_ids;
    bool ok = (!o.grammar || constraint_create(&s->constraint, o.grammar, engine, e)) &&
              sampler_create(&s->sampler, model_config(engine->model)->vocab, &o.sampling, e) &&
              stops_create(&s->stops, o.stop, o.n_stop, e) && set_law(&s->speculator, &o.sampling, e) &&
              take_batch(s, &o, chunk < n_ctx ? chunk : n_ctx, e) &&
              timeline_create(&s->timeline, engine->model, n_ctx, engine->has_mtp && o.depth != 0, e) &&
              reserve_text(s, e);
    if (ok) {
        set_speculator(s, &o);
        s->timeline.scores = o.score_prompt;
        ok = logprobs_create(&s->speculator.logprobs, o.logprobs, o.score_prompt, e) &&
             speculator_create(&s->speculator, e);
    }
    if (!ok) {
        alula_session_free(s);
        return false;
    }
    *ret = s;
    return true;
}

bool alula_session_create(struct alula_session **ret, const struct alula_engine *engine,
                          const struct alula_session_options *options, struct alula_error *e)
{
    return session_create_chunked(ret, engine, options, PROMPT_ROWS, e);
}

size_t alula_session_bytes(const struct alula_engine *engine, int n_ctx, int depth)
{
    const struct config *c = model_config(engine->model);
    size_t vocab = (size_t)c->vocab, n_dists = depth ? 1 + ALULA_DEPTH_MAX : 1;
    return timeline_bytes(engine->model, n_ctx) + sampler_bytes(c->vocab) +
           n_dists * vocab * (sizeof(int32_t) + sizeof(double)) +
           (depth && engine->drafts ? vocab * sizeof(float) : 0);
}

void alula_session_free(struct alula_session *s)
{
    if (!s) return;
    speculator_free(&s->speculator);
    timeline_free(&s->timeline);
    sampler_free(s->sampler);
    stops_free(s->stops);
    constraint_free(s->constraint);
    if (s->batch) s->batch->n_sessions--;
    if (s->owns_batch) alula_batch_free(s->batch);
    buf_free(&s->piece);
    buf_free(&s->text);
    mem_free(s);
}

/* ---- prompt ------------------------------------------------------------------------------------- */

static bool check_prompt(const struct alula_session *s, const int32_t *ids, size_t n, struct alula_error *e)
{
    const struct timeline *t = &s->timeline;
    int vocab = model_config(s->engine->model)->vocab;
    if (n == 0) return err_set(e, ALULA_USAGE, "the prompt is empty");
    if (n >= (size_t)(t->n_ctx - t->len) && t->len == 0)
        return err_set(e, ALULA_LIMIT,
                       "the prompt has %zu tokens, but the context holds %d with at least one of answer", n,
                       t->n_ctx);
    if (n >= (size_t)(t->n_ctx - t->len))
        return err_set(e, ALULA_LIMIT,
                       "the prompt has %zu tokens, but of the context's %d only %d are free, and at least "
                       "one is for the answer",
                       n, t->n_ctx, t->n_ctx - t->len);
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= vocab)
            return err_set(e, ALULA_USAGE, "token %zu of the prompt is %d, expected 0 to %d", i, (int)ids[i],
                           vocab - 1);
    return true;
}

/* Tells the sampler what was read of the prompt. */
static void tell_sampler(struct alula_session *s)
{
    int read = state_len(s->timeline.state);
    if (read <= s->known) return;
    sampler_read(s->sampler, s->timeline.ids + s->known, (size_t)(read - s->known));
    s->known = read;
}

bool alula_session_begin(struct alula_session *s, const int32_t *ids, size_t n, struct alula_error *e)
{
    struct timeline *t = &s->timeline;
    if (!check_prompt(s, ids, n, e)) return false;
    if (!s->reading) {
        s->speculator.prompt = t->len;
        s->known = t->len; /* an answer's tokens were pushed as they came */
        s->stats = (struct alula_stats){0};
        s->speculator.stats = (struct alula_stats){0};
        sampler_begin(s->sampler);
        logprobs_begin(&s->speculator.logprobs, ids[0]);
    }
    timeline_append(t, ids, n);
    s->answering = false;
    s->reading = true;
    return true;
}

/* The prompt was read. */
static void begin_answer(struct alula_session *s)
{
    s->speculator.answer = s->timeline.len;
    stops_reset(s->stops);
    if (s->constraint) constraint_reset(s->constraint);
    detok_init(&s->detok, s->engine->tokenizer, true);
    s->reading = false;
    s->answering = true;
}

void session_took_over(struct alula_session *s) { tell_sampler(s); }

bool alula_session_prompt(struct alula_session *s, const int32_t *ids, size_t n,
                          bool (*progress)(void *arg, size_t done, size_t total), void *arg,
                          struct alula_error *e)
{
    struct timeline *t = &s->timeline;
    if (!alula_session_begin(s, ids, n, e)) return false;
    int total = t->len - s->speculator.prompt;
    while (s->reading) {
        struct seat seat;
        struct alula_step step = {0};
        double begin = clock_s();
        if (!session_seat(s, s->batch->prompt_rows, &seat, e)) return false;
        batch_run(&s->batch->core, &seat, 1);
        session_take(s, &seat, clock_s() - begin, &step);
        int done = (int)s->stats.prompt_tokens;
        if (!s->reading || !progress || progress(arg, (size_t)done, (size_t)total)) continue;
        timeline_drop_unread(t);
        s->reading = false;
        return err_set(e, ALULA_CANCELLED, "stopped after %d of %d tokens of the prompt", done, total);
    }
    return true;
}

/* ---- answer ------------------------------------------------------------------------------------- */

static bool is_stop_id(const struct alula_session *s, int32_t id)
{
    const struct config *c = model_config(s->engine->model);
    for (int i = 0; i < c->n_stop_ids; i++)
        if (c->stop_ids[i] == id) return !s->ignore_stop_ids;
    return false;
}

/* Adds a token's characters to the step's text; true when a stop text is complete. */
static bool put_text(struct alula_session *s, int32_t id)
{
    buf_clear(&s->piece);
    detok_put(&s->detok, id, &s->piece);
    return stops_put(s->stops, s->piece.data ? s->piece.data : "", s->piece.len, &s->text);
}

/* The answer ends without a stop text: what was held back is text after all. */
static void end_text(struct alula_session *s)
{
    buf_clear(&s->piece);
    detok_end(&s->detok, &s->piece);
    if (!stops_put(s->stops, s->piece.data ? s->piece.data : "", s->piece.len, &s->text))
        stops_end(s->stops, &s->text);
}

/* Walks over the cycle's tokens to where the answer ends. Sets what the step shows; returns how many tokens
 * stay in the timeline. */
static int take_tokens(struct alula_session *s, const struct cycle *c, int room, struct alula_step *step)
{
    const int32_t *ids = s->timeline.ids + s->timeline.len;
    buf_clear(&s->text);
    step->finish = ALULA_RUNNING;
    step->tokens = ids;
    int n = 0;
    while (n < c->n_tokens && step->finish == ALULA_RUNNING) {
        int32_t id = ids[n++];
        if (is_stop_id(s, id)) {
            step->finish = ALULA_STOP;
            step->n_tokens = n - 1;
            end_text(s);
        } else {
            step->n_tokens = n;
            if (put_text(s, id)) step->finish = ALULA_STOP;
            s->text_ends[n - 1] = s->text.len;
        }
    }
    if (step->finish == ALULA_RUNNING && n == room) {
        step->finish = ALULA_LENGTH;
        end_text(s);
    }
    return n;
}

/* ---- cycles ------------------------------------------------------------------------------------- */

bool session_seat(struct alula_session *s, int read_max, struct seat *seat, struct alula_error *e)
{
    struct timeline *t = &s->timeline;
    *seat = (struct seat){.speculator = &s->speculator, .error = e};
    if (s->reading) {
        if (s->speculator.logprobs.prompt && read_max > LOGPROBS_ROWS_MAX) read_max = LOGPROBS_ROWS_MAX;
        bool more = state_len(t->state) < s->speculator.prompt; /* the last token of the answer before */
        seat->n_read = read_max + more < timeline_unread(t) ? read_max + more : timeline_unread(t);
        return true;
    }
    if (!s->answering)
        return err_set(e, ALULA_USAGE,
                       "there is nothing to answer: a prompt comes first, and one after each answer");
    int room = t->n_ctx - t->len;
    if (s->max_tokens && s->max_tokens - (int)s->stats.tokens < room)
        room = s->max_tokens - (int)s->stats.tokens;
    speculator_begin(&s->speculator, room);
    return true;
}

static bool take_prompt(struct alula_session *s, double seconds, struct alula_step *step)
{
    tell_sampler(s);
    int read = state_len(s->timeline.state) - s->speculator.prompt;
    step->n_read += read - (int)s->stats.prompt_tokens;
    s->stats.prompt_tokens = read;
    s->stats.prefill_s += seconds;
    step->read_logprobs = s->speculator.logprobs.prompt;
    if (timeline_unread(&s->timeline) > 0) return false;
    begin_answer(s);
    return true;
}

static void take_answer(struct alula_session *s, double seconds, struct alula_step *step)
{
    const struct cycle *c = &s->speculator.cycle;
    double begin = clock_s();
    int n = take_tokens(s, c, c->max, step);
    speculator_keep(&s->speculator, n);
    step->logprobs = s->speculator.logprobs.answer;
    step->n_drafted = c->n_drafted;
    step->n_accepted = c->n_accepted;
    step->text = s->text.data ? s->text.data : "";
    step->text_len = s->text.len;
    step->text_ends = s->text_ends;
    step->stop = step->finish == ALULA_STOP ? stops_found(s->stops) : -1;
    s->answering = step->finish == ALULA_RUNNING;
    s->stats.tokens += step->n_tokens;
    for (int i = 0; i < step->n_tokens; i++)
        s->stats.covered += !s->speculator.drafts || draft_vocab_has(s->speculator.drafts, step->tokens[i]);
    s->stats.decode_s += seconds + clock_s() - begin;
}

bool session_take(struct alula_session *s, const struct seat *seat, double seconds, struct alula_step *step)
{
    if (seat->n_read) return take_prompt(s, seconds, step);
    if (!seat->failed)
        take_answer(s, seconds, step);
    else if (s->constraint && s->constraint->error.code)
        *seat->error = s->constraint->error;
    return false;
}

bool alula_session_step(struct alula_session *s, struct alula_step *ret, struct alula_error *e)
{
    struct alula_turn turn = {.session = s, .read_max = s->batch->prompt_rows};
    alula_batch_step(s->batch, &turn, 1);
    if (turn.failed) {
        *e = turn.error;
        return false;
    }
    *ret = turn.step;
    return true;
}

const int32_t *alula_session_tokens(const struct alula_session *s, size_t *ret_n)
{
    *ret_n = (size_t)s->timeline.len;
    return s->timeline.ids;
}

void alula_session_stats(const struct alula_session *s, struct alula_stats *ret)
{
    struct alula_stats stats = s->speculator.stats;
    stats.prompt_tokens = s->stats.prompt_tokens;
    stats.tokens = s->stats.tokens;
    stats.covered = s->stats.covered;
    stats.prefill_s = s->stats.prefill_s;
    stats.decode_s = s->stats.decode_s;
    *ret = stats;
}
