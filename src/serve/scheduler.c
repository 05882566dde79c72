/* scheduler.c - who is served in the next pass.
 *
 * Owns the thread, the queue and the memory that sessions may take. What an answer is stands in lane.c, what its
 * client sees in job.c. Order of a round: take new requests, drop those whose client left or whose time is up, let in
 * who fits, one pass of the model, hand out what came. */
#include "serve/scheduler_internal.h"

#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"

/* Rows of prompts in one pass. Many make good use of each weight that is read; but answers that take part wait for all
 * of them at every token, so beside answers there are fewer. */
#define PROMPT_ROWS 512
#define ROWS_BESIDE 128
#define OUT_PAUSE   ((size_t)1 << 18) /* bytes that wait for a slow client before its request pauses */
#define QUIET_S     10.0              /* a stream that has nothing to say says so this often */
#define LOOK_MS     100               /* how often clients are looked after while nothing can be computed */

/* ---- clients: gone, late, slow, waiting ------------------------------------------------------------------------------ */

static bool is_paused(const struct job *job)
{
    return job->request.stream && job->out.len - job->taken > OUT_PAUSE;
}

/* A comment in the stream: clients and what stands between them give up on a silent connection. */
static void break_silence(struct job *job)
{
    size_t done = 0, all = 0;
    if (!job->request.stream || clock_s() - job->told_s < QUIET_S) return;
    for (int i = 0; i < job->reply->n_choices; i++) {
        done += job->lanes[i].n_read;
        all += job->lanes[i].prompt->n;
    }
    buf_fmt(&job->fresh, ": %zu of %zu prompt tokens are read\n\n", done, all);
}

static void release(struct scheduler *s, struct lane *lane)
{
    for (int i = 0; i < s->n_running; i++)
        if (s->running[i] == lane) {
            memmove(&s->running[i], &s->running[i + 1], (size_t)(s->n_running - i - 1) * sizeof *s->running);
            s->n_running--;
            s->memory_used -= lane->bytes; /* under the lock, as all who release are */
            break;
        }
    lane_end(lane);
}

/* Ends what a job has in hand, whether it came to its end or not. Under the lock. */
static void retire(struct scheduler *s, int at)
{
    struct job *job = s->jobs[at];
    for (int i = 0; i < job->reply->n_choices; i++) release(s, &job->lanes[i]);
    memmove(&s->jobs[at], &s->jobs[at + 1], (size_t)(s->n_jobs - at - 1) * sizeof *s->jobs);
    s->n_jobs--;
    s->n_open--;
    job_publish(job, true);
    if (job->left) job_free(job);
}

static void fail(struct job *job, int status, enum alula_code code, const char *message)
{
    struct alula_error e;
    err_set(&e, code, "%s", message);
    job_fail(job, status, &e);
}

/* Under the lock. */
static void look_after_clients(struct scheduler *s)
{
    for (int i = s->n_jobs - 1; i >= 0; i--) {
        struct job *job = s->jobs[i];
        double age = clock_s() - job->arrived_s;
        if (job->left || job_client_left(&job->client)) {
            s->stats.cancelled++;
            fail(job, 499, ALULA_CANCELLED, "the client left");
        } else if (s->stopping) {
            s->stats.failed++;
            fail(job, 503, ALULA_CANCELLED, "the server ends");
        } else if (s->options.timeout_s > 0 && age > s->options.timeout_s) {
            s->stats.failed++;
            fail(job, 504, ALULA_CANCELLED, "the request took longer than the server allows");
        } else {
            break_silence(job);
            if (job->fresh.len) job_publish(job, false);
            continue;
        }
        retire(s, i);
    }
}

/* ---- letting in ------------------------------------------------------------------------------------------------------- */

static void take_inbox(struct scheduler *s)
{
    for (struct job *job = s->inbox; job; job = job->next) s->jobs[s->n_jobs++] = job;
    s->inbox = NULL;
    s->inbox_end = &s->inbox;
}

/* The next lane in order of arrival that may start. Further answers to a prompt wait until the first has read it, and
 * take it from the cache. */
static struct lane *next_waiting(struct scheduler *s)
{
    for (int j = 0; j < s->n_jobs; j++)
        for (int i = 0; i < s->jobs[j]->reply->n_choices; i++) {
            struct lane *lane = &s->jobs[j]->lanes[i], *first = lane - i % s->jobs[j]->request.n;
            if (lane->state == LANE_WAITING && (lane == first || first->state >= LANE_ANSWERING)) return lane;
        }
    return NULL;
}

/* The lane's session, and with the first of a request what all its answers will take. */
static bool reserve(struct scheduler *s, struct lane *lane)
{
    struct job *job = lane->job;
    size_t session = job_session_bytes(job, lane->prompt), answers = job->bytes ? 0 : job_answer_bytes(job);
    pthread_mutex_lock(&s->lock);
    bool fits = session + answers <= s->options.memory - s->memory_used;
    if (fits) {
        lane->bytes = session;
        job->bytes += answers;
        s->memory_used += session + answers;
    }
    pthread_mutex_unlock(&s->lock);
    return fits;
}

/* Starts lanes in the order of their requests, as long as the next one fits. Outside the lock: making a session may
 * take its time, and all this is the thread's own. */
static void admit(struct scheduler *s)
{
    struct lane *lane;
    while (s->n_running < s->options.parallel && (lane = next_waiting(s)) && reserve(s, lane)) {
        s->running[s->n_running++] = lane;
        if (!lane_start(lane)) {
            job_fail(lane->job, reply_status(lane->error.code), &lane->error);
            lane->state = LANE_OVER;
        }
    }
}

/* ---- one pass ---------------------------------------------------------------------------------------------------------- */

/* Divides the rows of a pass: readers share them evenly, and what one does not need is left for those after it. */
static void share_rows(struct alula_turn *turns, struct lane **lanes, int n)
{
    int readers = 0;
    for (int i = 0; i < n; i++) readers += lanes[i]->state == LANE_READING;
    int rows = readers < n ? ROWS_BESIDE : PROMPT_ROWS;
    for (int i = 0; i < n; i++) {
        if (lanes[i]->state != LANE_READING) continue;
        int share = (rows + readers - 1) / readers;
        size_t need = lanes[i]->next_stop - lanes[i]->n_read;
        turns[i].read_max = need < (size_t)share ? (int)need : share;
        rows -= turns[i].read_max;
        readers--;
    }
}

/* Who takes part; under the lock. All take turns at being first. */
static int plan(struct scheduler *s, struct alula_turn *turns, struct lane **lanes)
{
    int n = 0;
    s->round++;
    s->stats.paused = 0;
    for (int i = 0; i < s->n_running; i++) {
        struct lane *lane = s->running[(s->round + (unsigned)i) % (unsigned)s->n_running];
        if (is_paused(lane->job)) {
            s->stats.paused++;
            continue;
        }
        turns[n] = (struct alula_turn){.session = lane->session};
        lanes[n++] = lane;
    }
    share_rows(turns, lanes, n);
    return n;
}

static void count_finished(struct scheduler *s, const struct job *job)
{
    struct scheduler_stats *t = &s->stats;
    const struct reply *reply = job->reply;
    const struct reply_facts *f = &reply->facts;
    t->finished++;
    t->prompt_tokens += reply->usage.prompt;
    t->cached_tokens += reply->usage.cached;
    t->completion_tokens += reply->usage.completion;
    t->cycles += f->cycles;
    t->prefill_s += f->prefill_s;
    t->decode_s += f->decode_s;
    histogram_add(&t->queue, histogram_seconds, f->queue_s, 1);
    histogram_add(&t->first_token, histogram_seconds, f->first_token_s, reply->usage.completion > 0);
    histogram_add(&t->whole, histogram_seconds, clock_s() - job->arrived_s, 1);
    histogram_add(&t->prompt, histogram_tokens, (double)reply->usage.prompt, 1);
    for (int d = 0; d < ALULA_DEPTH_MAX; d++) {
        t->drafted[d] += f->drafted[d];
        t->accepted[d] += f->accepted[d];
    }
}

/* What a pass gave one lane, told to its reply. */
static void hand_out(struct lane *lane, const struct alula_turn *turn)
{
    struct job *job = lane->job;
    if (job->failed) return; /* by another lane */
    bool ok = turn->failed ? (lane->error = turn->error, false) : lane_take(lane, &turn->step);
    if (ok && job->fresh.failed) ok = buf_check(&job->fresh, "the answer", &lane->error);
    if (!ok) {
        job_fail(job, lane->error.code == ALULA_LIMIT ? 400 : 500, &lane->error);
    } else if (lane->state == LANE_OVER && ++job->n_over == job->reply->n_choices) {
        job_tell(job, &(struct reply_event){.kind = REPLY_END});
    }
}

static void note_state(struct scheduler *s)
{
    s->stats.running = s->n_running;
    s->stats.between = s->between;
    s->stats.waiting = 0;
    for (int i = 0; i < s->n_jobs; i++) s->stats.waiting += s->jobs[i]->lanes[0].state == LANE_WAITING;
}

/* Under the lock: what was told goes to the clients, and what is over goes. */
static void settle(struct scheduler *s)
{
    for (int i = s->n_running - 1; i >= 0; i--)
        if (s->running[i]->state == LANE_OVER) release(s, s->running[i]);
    for (int i = s->n_jobs - 1; i >= 0; i--) {
        struct job *job = s->jobs[i];
        if (job->failed) {
            s->stats.failed++;
            retire(s, i);
        } else if (job->n_over == job->reply->n_choices) {
            count_finished(s, job);
            retire(s, i);
        } else if (job->fresh.len) {
            job_publish(job, false);
        }
    }
    note_state(s);
}

/* ---- the thread --------------------------------------------------------------------------------------------------------- */

/* Until there is something to do; with jobs at hand that all wait, no longer than LOOK_MS. */
static void wait_for_work(struct scheduler *s)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_nsec += LOOK_MS * 1000000L;
    t.tv_sec += t.tv_nsec / 1000000000L;
    t.tv_nsec %= 1000000000L;
    if (s->n_jobs)
        pthread_cond_timedwait(&s->work, &s->lock, &t);
    else
        pthread_cond_wait(&s->work, &s->lock);
}

static void *serve(void *arg)
{
    struct scheduler *s = arg;
    struct alula_turn turns[64];
    struct lane *lanes[64];
    pthread_mutex_lock(&s->lock);
    while (!s->stopping || s->n_open) {
        take_inbox(s);
        look_after_clients(s);
        pthread_mutex_unlock(&s->lock);
        admit(s);
        pthread_mutex_lock(&s->lock);
        settle(s); /* what could not start */
        int n = plan(s, turns, lanes);
        if (n) {
            pthread_mutex_unlock(&s->lock);
            alula_batch_step(s->batch, turns, n);
            for (int i = 0; i < n; i++) hand_out(lanes[i], &turns[i]);
            pthread_mutex_lock(&s->lock);
            settle(s);
        } else if (!s->inbox && (!s->stopping || s->n_open)) {
            wait_for_work(s);
        }
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* ---- its life ------------------------------------------------------------------------------------------------------------- */

static struct alula_batch_options batch_options(int n_threads, int parallel)
{
    return (struct alula_batch_options){
        .n_threads = n_threads, .max_sessions = parallel, .prompt_rows = PROMPT_ROWS};
}

size_t scheduler_work_bytes(const struct alula_engine *engine, int n_threads, int parallel)
{
    struct alula_batch_options o = batch_options(n_threads, parallel);
    return alula_batch_bytes(engine, &o);
}

bool scheduler_create(struct scheduler **ret, const struct alula_engine *engine,
                      const struct scheduler_options *options, struct alula_error *e)
{
    struct scheduler *s = mem_zalloc(1, sizeof *s);
    if (!s) return err_set(e, ALULA_NOMEM, "out of memory for the scheduler");
    struct alula_batch_options bo = batch_options(options->n_threads, options->parallel);
    s->engine = engine;
    s->options = *options;
    s->stats.memory = options->memory;
    s->inbox_end = &s->inbox;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->work, NULL);
    prompt_marks_make(&s->marks, engine);
    s->jobs = mem_zalloc((size_t)(options->parallel + options->queue), sizeof *s->jobs);
    bool ok = s->jobs || err_set(e, ALULA_NOMEM, "out of memory for the scheduler");
    ok = ok && alula_batch_create(&s->batch, engine, &bo, e);
    const struct alula_cache_options co = {.memory = options->cache_memory, .dir = options->cache_dir};
    if (ok && options->cache_memory) ok = alula_cache_create(&s->cache, engine, &co, e);
    int rc = ok ? pthread_create(&s->thread, NULL, serve, s) : 0;
    if (rc) ok = err_set(e, ALULA_IO, "cannot start the scheduler's thread: %s", strerror(rc));
    s->started = ok;
    if (ok)
        *ret = s;
    else
        scheduler_free(s);
    return ok;
}

void scheduler_drain(struct scheduler *s)
{
    pthread_mutex_lock(&s->lock);
    s->draining = s->stats.draining = true;
    pthread_mutex_unlock(&s->lock);
}

void scheduler_stop(struct scheduler *s)
{
    pthread_mutex_lock(&s->lock);
    s->draining = s->stats.draining = s->stopping = true;
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->lock);
    if (s->started) pthread_join(s->thread, NULL);
    s->started = false;
}

void scheduler_free(struct scheduler *s)
{
    if (!s) return;
    alula_batch_free(s->batch);
    alula_cache_free(s->cache);
    mem_free(s->jobs);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->work);
    mem_free(s);
}

void scheduler_describe(struct scheduler *s, struct scheduler_stats *ret)
{
    pthread_mutex_lock(&s->lock);
    *ret = s->stats;
    ret->open = s->n_held;
    ret->memory_used = s->memory_used;
    pthread_mutex_unlock(&s->lock);
    if (s->cache) alula_cache_describe(s->cache, &ret->cache);
}
