/* job.c - a request in the scheduler's hands, and its client's view of it.
 *
 * Owns the bytes on their way to the client. Knows no socket beyond its number, and nothing of sessions. */
#include <poll.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "serve/scheduler_internal.h"

#define OUT_MAX ((size_t)256 << 20) /* of one answer, waiting to be taken */

/* What a token of an answer takes as text, collected and on its way, and each entry of its row of log-probabilities: rules
 * of thumb, on the safe side for all but strange texts. */
#define TOKEN_BYTES   ((size_t)64)
#define LOGPROB_BYTES ((size_t)256)

/* ---- telling --------------------------------------------------------------------------------------------------------- */

void job_tell(struct job *job, const struct reply_event *event) { reply_add(job->reply, event, &job->fresh); }

void job_tell_prompt(struct job *job, int choice)
{
    const struct request_prompt *p = &job->request.prompts[choice / job->request.n];
    struct reply_event event = {.kind = REPLY_CONTENT, .choice = choice};
    struct alula_error e;
    char *text;
    if (!alula_detokenize(job->scheduler->engine, p->ids, p->n, false, &text, &event.len, &e)) {
        job->fresh.failed = true;
        return;
    }
    event.text = text;
    job_tell(job, &event);
    alula_free(text);
}

void job_fail(struct job *job, int status, const struct alula_error *error)
{
    struct reply_event event = {.kind = REPLY_ERROR, .status = status, .error = error};
    buf_clear(&job->fresh);
    job_tell(job, &event);
    job->failed = status;
}

void job_publish(struct job *job, bool over)
{
    if (job->fresh.len) job->told_s = clock_s();
    if (job->taken == job->out.len) {
        buf_clear(&job->out);
        job->taken = 0;
    }
    buf_add(&job->out, job->fresh.data, job->fresh.len);
    buf_clear(&job->fresh);
    job->over = over;
    if (over && !job->status) job->status = job->failed ? job->failed : 200;
    bool ready = over || (job->status && job->taken < job->out.len);
    if (job->waits && ready) {
        job->waits = false;
        job->client.wake(job->client.arg);
    }
}

/* ---- the client ------------------------------------------------------------------------------------------------------ */

bool job_client_left(const struct job_client *client)
{
    struct pollfd p = {.fd = client->fd, .events = POLLRDHUP};
    return client->fd >= 0 && poll(&p, 1, 0) == 1 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL));
}

static void wait_for_more(struct job *job)
{
    job->waits = true;
    job->client.wait(job->client.arg);
}

int job_status(struct job *job, size_t *ret_len)
{
    pthread_mutex_lock(&job->scheduler->lock);
    int status = job->status;
    *ret_len = job->out.len;
    if (!status) wait_for_more(job);
    pthread_mutex_unlock(&job->scheduler->lock);
    return status;
}

long job_read(struct job *job, char *to, size_t max)
{
    struct scheduler *s = job->scheduler;
    long n = -1;
    pthread_mutex_lock(&s->lock);
    size_t left = job->out.len - job->taken;
    if (left) {
        n = (long)(left < max ? left : max);
        memcpy(to, job->out.data + job->taken, (size_t)n);
        job->taken += (size_t)n;
        pthread_cond_signal(&s->work); /* it may have been paused */
    } else if (!job->over) {
        wait_for_more(job);
        n = 0;
    }
    pthread_mutex_unlock(&s->lock);
    return n;
}

void job_leave(struct job *job)
{
    struct scheduler *s = job->scheduler;
    pthread_mutex_lock(&s->lock);
    job->left = true;
    job->waits = false;
    job->client.fd = -1;
    if (job->over) job_free(job);
    pthread_cond_signal(&s->work); /* there is an answer less to be made, or memory for another */
    pthread_mutex_unlock(&s->lock);
}

/* ---- its life -------------------------------------------------------------------------------------------------------- */

void job_free(struct job *job)
{
    if (job->held) {
        job->scheduler->n_held--;
        job->scheduler->memory_used -= job->bytes;
    }
    for (int i = 0; job->lanes && i < job->reply->n_choices; i++) lane_end(&job->lanes[i]);
    mem_free(job->lanes);
    reply_free(job->reply);
    alula_grammar_free(job->grammar);
    request_free(&job->request);
    buf_free(&job->fresh);
    buf_free(&job->out);
    mem_free(job);
}

int job_max_tokens(const struct job *job, const struct request_prompt *prompt)
{
    const struct scheduler_options *o = &job->scheduler->options;
    int room = o->n_ctx - (int)prompt->n,
        wish = job->request.max_tokens ? job->request.max_tokens : o->max_tokens;
    if (job->request.no_answer) wish = 1;
    return wish && wish < room ? wish : room;
}

size_t scheduler_request_bytes(const struct alula_engine *engine, int n_ctx, int depth)
{
    return alula_session_bytes(engine, n_ctx, depth) + (size_t)n_ctx * TOKEN_BYTES;
}

size_t job_session_bytes(const struct job *job, const struct request_prompt *prompt)
{
    const struct scheduler *s = job->scheduler;
    int depth = job->request.depth;
    return alula_session_bytes(s->engine, (int)prompt->n + job_max_tokens(job, prompt),
                               depth == ALULA_DEPTH_AUTO ? s->options.depth : depth);
}

size_t job_answer_bytes(const struct job *job)
{
    const struct request *r = &job->request;
    size_t bytes = 0;
    for (int i = 0; i < r->n_prompts; i++) {
        const struct request_prompt *p = &r->prompts[i];
        size_t n = (size_t)job_max_tokens(job, p);
        size_t text = n + (r->echo ? p->n : 0), rows = n + (r->score_prompt ? p->n : 0);
        bytes += text * TOKEN_BYTES + rows * (size_t)r->logprobs * LOGPROB_BYTES;
    }
    return bytes * (size_t)r->n;
}

/* What only the engine knows to be wrong, so that it is said before a stream begins. */
static bool check_engine(const struct request *r, const struct alula_engine *engine, struct alula_error *e)
{
    struct alula_engine_info info;
    alula_engine_describe(engine, &info);
    if (r->depth > 0 && !info.has_mtp)
        return err_set(e, ALULA_UNSUPPORTED, "the request: \"depth\" is %d, but this model has no MTP head",
                       r->depth);
    for (int i = 0; i < r->sampling.n_bias; i++)
        if (r->sampling.bias[i].id >= info.vocab)
            return err_set(e, ALULA_FORMAT, "the request: \"logit_bias\" names token %d, the ids end at %d",
                           (int)r->sampling.bias[i].id, info.vocab - 1);
    return true;
}

/* Whether the engine has anything to do for it. */
static bool needs_engine(const struct request *r) { return !r->no_answer || r->score_prompt; }

static bool make_grammar(struct job *job, struct alula_error *e)
{
    struct request *r = &job->request;
    struct buf spec = {0};
    if (!r->grammar) return true;
    if (json_object_set_new(r->grammar, "reasoning", json_boolean(r->prompts[0].in_reasoning)) < 0)
        return request_no_memory(e);
    json_write(&spec, r->grammar, 0);
    bool ok = buf_check(&spec, "the format of the answer", e) &&
              alula_grammar_create(&job->grammar, job->scheduler->engine, spec.data, spec.len, e);
    buf_free(&spec);
    return ok;
}

static double mb(size_t bytes) { return (double)bytes / (1 << 20); }

/* What would wait for ever. */
static bool check_memory(const struct job *job, struct alula_error *e)
{
    const struct request *r = &job->request;
    size_t session = 0, answers = job_answer_bytes(job), most = job->scheduler->options.memory;
    for (int i = 0; i < r->n_prompts; i++) {
        size_t each = job_session_bytes(job, &r->prompts[i]);
        if (each > session) session = each;
    }
    if (session + answers <= most) return true;
    return err_set(
        e, ALULA_LIMIT,
        "the request may take %.0f MB for its largest session and %.0f MB for what %d answers say, "
        "but only %.0f MB are there; ask for fewer tokens, answers or log-probabilities",
        mb(session), mb(answers), r->n_prompts * r->n, mb(most));
}

/* The request as ids, and what cannot be, refused with numbers. */
static bool prepare(struct job *job, struct alula_error *e)
{
    const struct scheduler_options *o = &job->scheduler->options;
    struct request *r = &job->request;
    if (!check_engine(r, job->scheduler->engine, e) || !prompt_make(r, job->scheduler->engine, e))
        return false;
    for (int i = 0; needs_engine(r) && i < r->n_prompts; i++)
        if (r->prompts[i].n >= (size_t)o->n_ctx)
            return err_set(
                e, ALULA_LIMIT,
                "the prompt has %zu tokens, and with one token of answer the context of %d is too small",
                r->prompts[i].n, o->n_ctx);
    int n = r->n_prompts * r->n;
    if (n > REQUEST_CHOICES_MAX)
        return err_set(e, ALULA_LIMIT, "the request asks for %d answers, at most %d are given", n,
                       REQUEST_CHOICES_MAX);
    return (!needs_engine(r) || check_memory(job, e)) && make_grammar(job, e);
}

static struct job *job_create(struct scheduler *s, struct request *r, const char *id, struct alula_error *e)
{
    struct job *job = mem_zalloc(1, sizeof *job);
    if (!job) {
        request_free(r);
        err_set(e, ALULA_NOMEM, "out of memory for a request");
        return NULL;
    }
    job->scheduler = s;
    job->request = *r;
    *r = (struct request){0};
    job->arrived_s = job->told_s = clock_s();
    buf_init(&job->out, OUT_MAX);
    buf_init(&job->fresh, OUT_MAX);
    bool ok = prepare(job, e) &&
              reply_create(&job->reply, &job->request, id, s->options.model, (int64_t)time(NULL), e);
    if (ok) job->lanes = mem_zalloc((size_t)job->reply->n_choices, sizeof *job->lanes);
    if (ok && !job->lanes) ok = err_set(e, ALULA_NOMEM, "out of memory for a request");
    if (!ok) {
        job_free(job);
        return NULL;
    }
    for (int i = 0; i < job->reply->n_choices; i++)
        job->lanes[i] =
            (struct lane){.job = job, .choice = i, .prompt = &job->request.prompts[i / job->request.n]};
    return job;
}

/* Whether the scheduler takes one more; under the lock. */
static bool admits(struct scheduler *s, int *ret_retry, struct alula_error *e)
{
    const struct scheduler_options *o = &s->options;
    const struct scheduler_stats *t = &s->stats;
    *ret_retry = 0;
    if (s->draining) return err_set(e, ALULA_BUSY, "the server is about to end and takes no new requests");
    if (s->n_open < o->parallel + o->queue) return true;
    double each = t->finished ? (t->prefill_s + t->decode_s) / (double)t->finished : 1,
           after = each * s->n_open / o->parallel;
    *ret_retry = after < 1 ? 1 : after > 120 ? 120 : (int)after;
    return err_set(e, ALULA_BUSY, "%d requests are running or waiting, and no more may wait; try again later",
                   s->n_open);
}

static void tell_at_once(struct job *job)
{
    const struct request *r = &job->request;
    struct reply *reply = job->reply;
    for (int i = 0; i < r->n_prompts; i++) reply->usage.prompt += (int64_t)r->prompts[i].n;
    for (int i = 0; i < reply->n_choices; i++) {
        if (r->echo) job_tell_prompt(job, i);
        job_tell(job, &(struct reply_event){.kind = REPLY_FINISH, .choice = i, .finish = REPLY_LENGTH});
    }
    job_tell(job, &(struct reply_event){.kind = REPLY_END});
}

/* Hands the job to the scheduler's thread, or only to its client if it is over. Under the lock. */
static void enter(struct scheduler *s, struct job *job, bool over)
{
    s->n_held++;
    job->held = true;
    if (job->request.stream) job->status = 200;
    job_publish(job, over);
    if (over) return;
    *s->inbox_end = job;
    s->inbox_end = &job->next;
}

bool scheduler_submit(struct scheduler *s, struct request *r, const char *id, const struct job_client *client,
                      struct job **ret, int *ret_retry, struct alula_error *e)
{
    bool over = !needs_engine(r);
    pthread_mutex_lock(&s->lock);
    bool ok = over || admits(s, ret_retry, e);
    if (ok) s->n_open++; /* its place is kept while the prompt is made */
    pthread_mutex_unlock(&s->lock);
    if (!ok) {
        request_free(r);
        return false;
    }
    struct job *job = job_create(s, r, id, e);
    if (job) {
        job->client = *client;
        job_tell(job, &(struct reply_event){.kind = REPLY_START});
        if (over) tell_at_once(job);
    }
    pthread_mutex_lock(&s->lock);
    if (job) enter(s, job, over);
    if (!job || over) s->n_open--;
    pthread_cond_signal(&s->work); /* a new job, or none where one was waited for */
    pthread_mutex_unlock(&s->lock);
    if (job) *ret = job;
    return job != NULL;
}
