/* lane.c - one answer: its session, where its prompt is cut for the cache, and what its text becomes.
 *
 * Owns the session. Knows nothing of the answers beside it, of clients and of locks: all of it runs on the scheduler's
 * thread. */
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "serve/scheduler_internal.h"

/* Snapshots hold the recurrent state, some tens of MB on a big model; reading this many tokens again costs less than
 * keeping one more. */
#define SNAPSHOT_GAP   256
#define SNAPSHOT_EVERY 2048 /* in a turn that does not end */

static void tell(struct lane *lane, struct reply_event event)
{
    event.choice = lane->choice;
    job_tell(lane->job, &event);
}

/* How likely a token was, and what else. */
static void tell_row(struct lane *lane, const struct alula_logprob *given)
{
    struct reply_logprob row[1 + REQUEST_TOP_MAX] = {0};
    for (int i = 0; i < lane->job->request.logprobs; i++) {
        row[i].id = given[i].id;
        row[i].logprob = given[i].logprob;
        row[i].bytes = alula_token_bytes(lane->job->scheduler->engine, given[i].id, &row[i].len);
    }
    tell(lane, (struct reply_event){.kind = REPLY_TOKENS, .rows = row, .n_rows = 1});
}

static void tell_rows(struct lane *lane, const struct alula_logprob *rows, int n)
{
    for (int i = 0; rows && i < n; i++) tell_row(lane, rows + i * lane->job->request.logprobs);
}

/* ---- beginning --------------------------------------------------------------------------------------------------------- */

static size_t find_last_turn(const struct lane *lane)
{
    const struct request_prompt *p = lane->prompt;
    for (size_t at = p->n - 1; at > 0; at--)
        if (prompt_turn_ends(&lane->job->scheduler->marks, p->ids, p->n, at)) return at;
    return 0;
}

/* Ends of turns are what the next request of a conversation has in common with this one; the last of them always
 * counts, since templates like to change what comes after it. */
static size_t find_next_stop(const struct lane *lane)
{
    const struct request_prompt *p = lane->prompt;
    if (!lane->job->scheduler->cache) return p->n;
    size_t from = lane->n_read, end = from - from % SNAPSHOT_EVERY + SNAPSHOT_EVERY;
    if (end > p->n) end = p->n;
    for (size_t at = from + 1; at < end; at++) {
        if (at == lane->last_turn) return at;
        if (at >= from + SNAPSHOT_GAP && prompt_turn_ends(&lane->job->scheduler->marks, p->ids, p->n, at))
            return at;
    }
    return end;
}

static struct alula_session_options session_options(const struct lane *lane)
{
    const struct job *job = lane->job;
    const struct request *r = &job->request;
    struct alula_session_options o = alula_session_defaults();
    o.batch = job->scheduler->batch;
    o.max_tokens = job_max_tokens(job, lane->prompt);
    o.n_ctx = (int)lane->prompt->n + o.max_tokens;
    o.depth = r->depth == ALULA_DEPTH_AUTO ? job->scheduler->options.depth : r->depth;
    o.sampling = r->sampling;
    o.sampling.seed += (uint64_t)(lane->choice % r->n);
    o.grammar = job->grammar;
    o.logprobs = r->logprobs;
    o.score_prompt = r->score_prompt;
    o.stop = (const char *const *)r->stops;
    o.n_stop = r->n_stops;
    return o;
}

static void emit(void *arg, const struct toolcall_event *event)
{
    static const enum reply_kind kinds[] = {[TOOLCALL_REASONING] = REPLY_REASONING,
                                            [TOOLCALL_CONTENT] = REPLY_CONTENT,
                                            [TOOLCALL_CALL] = REPLY_CALL};
    struct lane *lane = arg;
    if (lane->called) return;
    tell(lane, (struct reply_event){.kind = kinds[event->kind],
                                    .text = event->text,
                                    .len = event->len,
                                    .name = event->name,
                                    .drafted = lane->drafted});
    lane->called = event->kind == TOOLCALL_CALL && !lane->job->request.parallel_calls;
}

/* What the cache has of the prompt. Its facts are told once, by the first of the choices that share it. */
static bool take_from_cache(struct lane *lane)
{
    struct job *job = lane->job;
    struct reply *reply = job->reply;
    struct alula_cache_hit hit = {.source = "none", .why = ""};
    /* What is taken from the cache is not foretold. */
    struct alula_cache *cache = job->request.score_prompt ? NULL : job->scheduler->cache;
    if (cache &&
        !alula_cache_restore(cache, lane->session, lane->prompt->ids, lane->prompt->n, &hit, &lane->error))
        return false;
    lane->n_read = lane->n_kept = hit.n;
    if (lane->choice % job->request.n) return true;
    reply->usage.prompt += (int64_t)lane->prompt->n;
    reply->usage.cached += (int64_t)hit.n;
    if (lane->choice) return true;
    reply->facts.cache_source = hit.source;
    reply->facts.cache_why = hit.why;
    reply->facts.queue_s = clock_s() - job->arrived_s;
    reply->facts.max_tokens = job_max_tokens(job, lane->prompt);
    reply->facts.depth = job->request.depth;
    return true;
}

bool lane_start(struct lane *lane)
{
    struct job *job = lane->job;
    const struct request_prompt *p = lane->prompt;
    struct alula_session_options o = session_options(lane);
    if (!alula_session_create(&lane->session, job->scheduler->engine, &o, &lane->error) ||
        !take_from_cache(lane))
        return false;
    if (job->request.conversation &&
        !toolcall_create(&lane->reader, job->request.tools, p->in_reasoning, emit, lane, &lane->error))
        return false;
    if (job->request.continues) toolcall_continue(lane->reader);
    if (job->request.echo) job_tell_prompt(job, lane->choice);
    lane->state = LANE_READING;
    lane->reasons = p->in_reasoning;
    lane->last_turn = find_last_turn(lane);
    lane->next_stop = find_next_stop(lane);
    return alula_session_begin(lane->session, p->ids + lane->n_read, p->n - lane->n_read, &lane->error);
}

void lane_end(struct lane *lane)
{
    alula_session_free(lane->session);
    toolcall_free(lane->reader);
    lane->session = NULL;
    lane->reader = NULL;
    lane->state = LANE_OVER;
}

/* ---- going on ------------------------------------------------------------------------------------------------------------ */

/* The cache keeps what the session holds now. What it cannot keep is read again one day. */
static void keep(struct lane *lane)
{
    struct alula_error e;
    struct alula_cache *cache = lane->job->scheduler->cache;
    if (cache && !alula_cache_store(cache, lane->session, &e))
        log_at(LOG_WARN, "prompt cache: %s", e.message);
    lane->n_kept = lane->n_read;
}

static void take_prompt(struct lane *lane, int n)
{
    lane->n_read += (size_t)n;
    if (lane->n_read == lane->prompt->n) {
        lane->state = LANE_ANSWERING;
        if (lane->n_read >= lane->n_kept + SNAPSHOT_GAP) keep(lane);
    } else if (lane->n_read == lane->next_stop) {
        keep(lane);
        lane->next_stop = find_next_stop(lane);
    }
}

/* Reasoning goes from <think> to </think>, both counted. */
static void count_tokens(struct lane *lane, const struct alula_step *step)
{
    struct scheduler *s = lane->job->scheduler;
    const struct prompt_marks *m = &s->marks;
    struct reply *reply = lane->job->reply;
    if (!step->n_tokens) return;
    double now = clock_s();
    if (!reply->usage.completion) reply->facts.first_token_s = now - lane->job->arrived_s;
    if (lane->token_s > 0)
        histogram_add(&s->between, histogram_seconds, (now - lane->token_s) / step->n_tokens, step->n_tokens);
    lane->token_s = now;
    for (int i = 0; i < step->n_tokens; i++) {
        if (step->tokens[i] == m->think) lane->reasons = true;
        reply->usage.completion++;
        reply->usage.reasoning += lane->reasons;
        if (step->tokens[i] == m->end_think) lane->reasons = false;
    }
}

static double most(double a, double b) { return a > b ? a : b; }

static void note_end(struct lane *lane)
{
    struct alula_stats s;
    struct reply_facts *f = &lane->job->reply->facts;
    alula_session_stats(lane->session, &s);
    f->cycles += s.cycles;
    f->prefill_s = most(f->prefill_s, s.prefill_s);
    f->decode_s = most(f->decode_s, s.decode_s);
    for (int d = 0; d < ALULA_DEPTH_MAX; d++) {
        f->drafted[d] += s.drafted[d];
        f->accepted[d] += s.accepted[d];
    }
}

/* stop: index of the stop text that ended the answer, or -1. */
static bool finish(struct lane *lane, enum alula_finish how, int stop)
{
    const struct reply_choice *c = &lane->job->reply->choices[lane->choice];
    if (lane->reader && !toolcall_end(lane->reader, how == ALULA_STOP, &lane->error)) return false;
    tell(lane, (struct reply_event){.kind = REPLY_FINISH,
                                    .finish = c->n_calls          ? REPLY_CALLS
                                              : how == ALULA_STOP ? REPLY_STOP
                                                                  : REPLY_LENGTH,
                                    .stop = stop >= 0 ? lane->job->request.stops[stop] : NULL});
    note_end(lane);
    keep(lane);
    lane_end(lane);
    return true;
}

static bool take_text(struct lane *lane, const char *text, size_t len)
{
    if (!len) return true;
    if (lane->reader) return toolcall_feed(lane->reader, text, len, &lane->error);
    tell(lane,
         (struct reply_event){.kind = REPLY_CONTENT, .text = text, .len = len, .drafted = lane->drafted});
    return true;
}

/* The step's text token by token, so that each piece is known to be a draft's or not. */
static bool take_pieces(struct lane *lane, const struct alula_step *step)
{
    size_t begin = 0;
    for (int i = 0; i < step->n_tokens; i++) {
        lane->drafted = i < step->n_accepted;
        if (!take_text(lane, step->text + begin, step->text_ends[i] - begin)) return false;
        begin = step->text_ends[i];
    }
    return take_text(lane, step->text + begin, step->text_len - begin);
}

bool lane_take(struct lane *lane, const struct alula_step *step)
{
    tell_rows(lane, step->read_logprobs, step->n_read);
    if (lane->state == LANE_READING) take_prompt(lane, step->n_read);
    if (lane->state == LANE_READING) return true;
    if (lane->job->request.no_answer) return finish(lane, ALULA_LENGTH, -1);
    count_tokens(lane, step);
    tell_rows(lane, step->logprobs, step->n_tokens);
    bool ok =
        lane->job->request.trace ? take_pieces(lane, step) : take_text(lane, step->text, step->text_len);
    if (!ok) return false;
    if (lane->called) return finish(lane, ALULA_STOP, -1);
    return step->finish == ALULA_RUNNING || finish(lane, step->finish, step->stop);
}
