/* scheduler.h - many requests, one engine: who is served in the next pass, and how answers get back.
 *
 * One thread of the scheduler owns the batch and all sessions. Whoever speaks to clients hands a request over
 * (scheduler_submit) and takes bytes (job_read); both sides share one lock, and neither waits for the other: a client
 * that reads slowly pauses its own request, one that is gone is dropped between two passes.
 *
 * Each pass all answers go one cycle further, and prompts share prompt_rows rows among them in turn, so a long prompt
 * delays short ones by little. What an answer says does not depend on who is served beside it. */
#ifndef SERVE_SCHEDULER_H
#define SERVE_SCHEDULER_H

#include "serve/histogram.h"
#include "serve/reply.h"

struct scheduler;
struct job;

struct scheduler_options {
    const char *model;     /* name by which the server goes; borrowed */
    int n_threads;         /* 0 = the CPUs that this process may use */
    int parallel;          /* sessions at a time, 1 to 64 */
    int queue;             /* requests that may wait beyond those */
    int n_ctx;             /* tokens of prompt and answer of one request */
    int max_tokens;        /* of an answer whose request does not say; 0 = to the end of the context */
    int depth;             /* of requests that do not say: ALULA_DEPTH_AUTO, or 0 */
    size_t memory;         /* bytes that requests may take together; at least one of n_ctx tokens must fit */
    double timeout_s;      /* of one request, from its arrival; 0 = none */
    size_t cache_memory;   /* bytes for prefixes that later prompts may share; 0 = no cache */
    const char *cache_dir; /* and a folder for them, which outlives the process; NULL = none; borrowed */
};

/* Bytes that a request of n_ctx tokens takes: its session, and what it says. Log-probabilities come on top. */
size_t scheduler_request_bytes(const struct alula_engine *engine, int n_ctx, int depth);
/* And those that the scheduler takes once, for passes of the model. */
size_t scheduler_work_bytes(const struct alula_engine *engine, int n_threads, int parallel);

bool scheduler_create(struct scheduler **ret, const struct alula_engine *engine,
                      const struct scheduler_options *options, struct alula_error *e);
/* From now on new requests are refused; those that are there go on. */
void scheduler_drain(struct scheduler *s);
/* Ends all requests with an error and the scheduler's thread with them. Clients still read what there is. */
void scheduler_stop(struct scheduler *s);
/* After scheduler_stop, and after every client has left its job. NULL is fine. */
void scheduler_free(struct scheduler *s);

struct scheduler_stats {
    bool draining;
    int running, waiting; /* answers that hold a session; requests in the queue */
    int paused;           /* of running: those whose client reads too slowly */
    int open;             /* requests that are not over, or whose client still reads */
    int64_t finished, failed, cancelled;
    int64_t prompt_tokens, cached_tokens, completion_tokens;
    int64_t cycles, drafted[ALULA_DEPTH_MAX], accepted[ALULA_DEPTH_MAX];
    double prefill_s, decode_s; /* sums over finished requests */
    /* Of those: seconds to the session, to the first token, to the end; tokens of the prompt. */
    struct histogram queue, first_token, whole, prompt;
    struct histogram between; /* seconds between tokens of an answer; those of one pass share its time */
    size_t memory, memory_used;     /* of requests: budget, and reserved now */
    struct alula_cache_stats cache; /* zero without one */
};
void scheduler_describe(struct scheduler *s, struct scheduler_stats *ret);
/* The same as Prometheus text. */
void scheduler_write_metrics(struct scheduler *s, struct buf *out);

/* ---- a request in the scheduler's hands -------------------------------------------------------------------------- */

/* The side that speaks to the client. Both functions are called under the scheduler's lock and must not call it. */
struct job_client {
    void (*wait)(void *arg); /* there is nothing to take: wake follows when there is */
    void (*wake)(void *arg); /* exactly once for each wait; on the scheduler's thread */
    void *arg;
    int fd; /* the client's socket, watched for hang-up until job_leave; -1 = none */
};
/* A client that only waits is not seen to leave by who serves it, so its socket is asked. */
bool job_client_left(const struct job_client *client);

/* Takes over a request that its dialect has read (r is empty afterwards, on failure too). Renders and tokenizes on
 * the caller's thread. Errors: what prompt_make and alula_grammar_create say; LIMIT (more than the context holds, with
 * numbers, or more memory than there is for requests); BUSY (the queue is full, or the server is about to end); NOMEM. *ret_retry: seconds after which a BUSY
 * client may try again, 0 if never. */
bool scheduler_submit(struct scheduler *s, struct request *r, const char *id, const struct job_client *client,
                      struct job **ret, int *ret_retry, struct alula_error *e);

/* HTTP status of the answer, 0 if it is not known yet (and wake follows). A stream's is known at once; a whole answer's
 * when it is there to its end, and then *ret_len is its length in bytes. */
int job_status(struct job *job, size_t *ret_len);
/* Takes up to max bytes. 0 = none yet, wake follows; -1 = that was all. */
long job_read(struct job *job, char *to, size_t max);
/* The client has all it wants, or is gone. The job must not be used after. */
void job_leave(struct job *job);

#endif
