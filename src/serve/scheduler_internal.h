/* scheduler_internal.h - what the parts of the scheduler share: scheduler.c (who is served when), lane.c (one answer
 * in its session), job.c (one request and its client). */
#ifndef SERVE_SCHEDULER_INTERNAL_H
#define SERVE_SCHEDULER_INTERNAL_H

#include <pthread.h>

#include "serve/prompt.h"
#include "serve/scheduler.h"
#include "text/toolcall.h"

enum lane_state { LANE_WAITING, LANE_READING, LANE_ANSWERING, LANE_OVER };

/* One choice of a request: a session and what becomes of its text. The scheduler's thread alone. */
struct lane {
    struct job *job;
    int choice;
    enum lane_state state;
    const struct request_prompt *prompt;
    struct alula_session *session;
    struct toolcall *reader; /* NULL: the text is all content */
    size_t bytes;            /* reserved for the session; under the lock */
    size_t n_read;           /* tokens of the prompt that the session holds */
    size_t n_kept;           /* of them the cache has */
    size_t next_stop;        /* where reading pauses next, so that the cache can keep what is held there */
    size_t last_turn;        /* where the last whole turn of the prompt ends; 0 = nowhere */
    bool reasons;            /* the next token is part of the reasoning */
    bool drafted;            /* the text that is being read now came from a draft */
    double token_s;          /* when its last token came; 0 = none yet */
    bool called;             /* the answer ends with the call that it made */
    struct alula_error error;
};

struct job {
    struct scheduler *scheduler;
    struct job *next; /* in the inbox */

    /* The scheduler's thread, once it has taken the job. */
    struct request request;
    struct alula_grammar *grammar;
    struct reply *reply;
    struct lane *lanes;       /* [reply->n_choices] */
    int n_over;               /* lanes */
    int failed;               /* HTTP status of what went wrong; 0 = nothing */
    struct buf fresh;         /* what the events of this pass made */
    double arrived_s, told_s; /* told_s: when the client last heard something */

    /* Under the lock. */
    struct job_client client;
    bool held, waits, left, over;
    int status;   /* 0 = not known yet */
    size_t bytes; /* reserved for what its answers say, until the client has it; 0 = none has begun */
    struct buf out;
    size_t taken; /* bytes of out */
};

struct scheduler {
    const struct alula_engine *engine;
    struct scheduler_options options;
    struct prompt_marks marks;
    pthread_t thread;
    bool started;

    /* The scheduler's thread. */
    struct alula_batch *batch;
    struct alula_cache *cache; /* NULL = none */
    struct job **jobs;         /* [n_jobs], in order of arrival, at most parallel + queue */
    int n_jobs;
    struct lane *running[64]; /* [n_running], at most parallel */
    int n_running;
    unsigned round;           /* passes, to take turns */
    struct histogram between; /* becomes that of stats */

    pthread_mutex_t lock;
    pthread_cond_t work; /* something for the thread to do */
    struct job *inbox, **inbox_end;
    int n_open;         /* jobs that are not over, inbox included */
    int n_held;         /* jobs that are there at all */
    size_t memory_used; /* bytes reserved by lanes and jobs */
    bool draining, stopping;
    struct scheduler_stats stats;
};

/* ---- lane.c: outside the lock ---------------------------------------------------------------------------------------- */

/* Makes the session, takes from the cache what it has, and begins the prompt. False: lane->error says why. */
bool lane_start(struct lane *lane);
/* What a pass gave: events for the reply, snapshots for the cache. False: lane->error. */
bool lane_take(struct lane *lane, const struct alula_step *step);
void lane_end(struct lane *lane); /* frees the session; the lane is over */

/* ---- job.c ------------------------------------------------------------------------------------------------------------ */

/* Outside the lock: tells an event to the reply, bytes gather in job->fresh. */
void job_tell(struct job *job, const struct reply_event *event);
void job_tell_prompt(struct job *job, int choice); /* its own text, for requests that want it repeated */
void job_fail(struct job *job, int status, const struct alula_error *error);
/* Under the lock: hands fresh bytes over and wakes the client. over: there will be no more. */
void job_publish(struct job *job, bool over);
void job_free(struct job *job); /* under the lock, once it was submitted */
/* Tokens that an answer to this prompt may have, and bytes that its session takes. */
int job_max_tokens(const struct job *job, const struct request_prompt *prompt);
size_t job_session_bytes(const struct job *job, const struct request_prompt *prompt);
/* Bytes that all of its answers take, as they are collected and on their way; never 0. */
size_t job_answer_bytes(const struct job *job);

#endif
