/* reply.h - an answer on its way to the client: the events that make it, and what an API is.
 *
 * The scheduler tells events; reply_add collects them, so that whatever an API has to repeat at the end is at hand,
 * and lets the request's dialect write bytes: server-sent events as they come, or one body at the end. Nothing
 * here knows HTTP, threads or the engine, so all of it can be tested on plain data. */
#ifndef SERVE_REPLY_H
#define SERVE_REPLY_H

#include "serve/request.h"

/* ---- events ------------------------------------------------------------------------------------------------ */

enum reply_kind {
    REPLY_NONE,
    REPLY_START,     /* first of all: the request is accepted */
    REPLY_REASONING, /* text */
    REPLY_CONTENT,   /* text */
    REPLY_CALL,      /* a whole call: text is the arguments, a JSON object; name */
    REPLY_TOKENS,    /* logprobs of tokens, told before the text that they make */
    REPLY_FINISH,    /* a choice is over: finish, and stop if it was a stop text */
    REPLY_END,       /* all choices are; r->usage and r->facts are set */
    REPLY_ERROR      /* instead of END: status, error */
};

enum reply_finish { REPLY_RUNNING, REPLY_STOP, REPLY_LENGTH, REPLY_CALLS };

/* A token and how likely it was. bytes are the engine's, or the test's. */
struct reply_logprob {
    int32_t id;
    const char *bytes; /* [len]; part of a character, perhaps */
    size_t len;
    double logprob; /* natural */
};

/* Pointers are valid during the call. */
struct reply_event {
    enum reply_kind kind;
    int choice;
    const char *text; /* [len] */
    size_t len;
    const char *name;
    bool drafted; /* a draft that was accepted */
    /* rows [n_rows][request.logprobs]: the token itself, then its likeliest alternatives; fewer end with id -1 */
    const struct reply_logprob *rows;
    int n_rows;
    enum reply_finish finish;
    const char *stop;
    int status; /* HTTP's */
    const struct alula_error *error;
};

/* ---- the collected answer ------------------------------------------------------------------------------ */

struct reply_call {
    int number; /* unique in the reply; dialects make ids of it and of the reply's id */
    char *name, *arguments;
};

/* What an answer is made of, in the order in which it came: a stretch of reasoning or content, or a call. */
struct reply_part {
    enum reply_kind kind;
    size_t begin, end; /* of text: bytes of the choice's reasoning or content */
    int call;          /* of REPLY_CALL: which of the choice's */
};

struct reply_choice {
    struct buf reasoning, content;
    struct reply_call *calls; /* [n_calls] */
    int n_calls;
    struct reply_part *parts; /* [n_parts] */
    int n_parts;
    struct reply_logprob *rows; /* [n_rows][request.logprobs] */
    size_t n_rows, rows_room;
    enum reply_finish finish;
    char *stop; /* the stop text that ended it, or NULL */
    /* The dialect's own, zero at first: rows that it has written, what it has begun and not ended, and the
     * number of that. */
    size_t rows_told;
    enum reply_kind open;
    int block;
};

struct reply_usage {
    int64_t prompt, cached;        /* tokens of the prompts; of them taken from the cache */
    int64_t completion, reasoning; /* tokens of the answers; of them inside <think> */
};

/* What the "alula" object tells: of all choices together, times of the slowest. */
struct reply_facts {
    double queue_s, prefill_s, decode_s, first_token_s;
    int max_tokens; /* granted, which may be less than asked for */
    int depth;      /* asked for */
    int64_t cycles, drafted[ALULA_DEPTH_MAX], accepted[ALULA_DEPTH_MAX];
    const char *cache_source, *cache_why; /* static words, as in alula_cache_hit */
};

struct reply {
    const struct request *request;
    char id[32];       /* of the request: hex digits */
    const char *model; /* name by which the server goes */
    int64_t created;   /* seconds since 1970 */
    struct reply_choice *choices;
    int n_choices, n_calls;
    struct reply_usage usage;
    struct reply_facts facts;
    int sequence; /* the dialect's own */
};

bool reply_create(struct reply **ret, const struct request *request, const char *id, const char *model,
                  int64_t created, struct alula_error *e);
void reply_free(struct reply *r);

/* Collects the event and appends to out what is to be sent now. A whole reply is written at END (or ERROR, where the
 * body is the error's). out's failure is the caller's to check. */
void reply_add(struct reply *r, const struct reply_event *event, struct buf *out);

/* ---- an API -------------------------------------------------------------------------------------------- */

struct dialect {
    const char *path; /* "/v1/chat/completions" */
    /* Fills a request that request_init has begun; body is an object. */
    bool (*read)(struct request *r, const json_t *body, struct alula_error *e);
    /* Appends the server-sent events that this event makes, the closing ones at END and ERROR included. */
    void (*stream)(struct reply *r, const struct reply_event *event, struct buf *out);
    /* Appends the body of an answer that is over. */
    void (*body)(struct reply *r, struct buf *out);
    /* Appends the body of an error reply. */
    void (*error)(int status, const struct alula_error *error, struct buf *out);
};

/* What they share. */
void reply_sse(struct buf *out, const char *event, const struct buf *data); /* event NULL: data alone */
void reply_write_str(struct buf *out, const char *key, const char *text, size_t len); /* "key": "text" */
bool reply_wants_usage(const struct reply *r);                  /* stream_options.include_usage */
void reply_write_facts(const struct reply *r, struct buf *out); /* the "alula" object */
/* {"prompt_tokens", ...} as OpenAI's chat and plain completions tell it. */
void reply_openai_usage(const struct reply *r, struct buf *out);
/* {"error": {message, type, code, param}}: dialect.error of OpenAI's APIs. */
void reply_openai_error(int status, const struct alula_error *error, struct buf *out);
/* That error in the middle of a stream, and its end. */
void reply_openai_broken(const struct reply_event *event, struct buf *out);
/* The status of a request that failed with this code. */
int reply_status(enum alula_code code);

extern const struct dialect dialect_chat, dialect_completions, dialect_messages, dialect_count_tokens,
    dialect_responses;

#endif
