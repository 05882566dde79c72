/* request.h - what a client asks for, whatever API it asked by, and readers for the fields that APIs share.
 *
 * A dialect (reply.h) turns a body of JSON into a request without touching the engine; prompt.h then turns the
 * conversation into ids. Readers refuse a wrong type or a value out of range by the field's name and leave
 * unknown fields alone. Plain data: one thread at a time. */
#ifndef SERVE_REQUEST_H
#define SERVE_REQUEST_H

#include "base/json.h"

#define REQUEST_JSON_DEPTH   64   /* nesting of a body */
#define REQUEST_MESSAGES_MAX 8192 /* of one conversation */
#define REQUEST_TOOLS_MAX    512
#define REQUEST_STOPS_MAX    16
#define REQUEST_CHOICES_MAX  64 /* answers to one request: prompts times n */
#define REQUEST_TOP_MAX      20 /* likeliest alternatives reported for each token */

struct dialect;

/* One prompt, ready for a session. */
struct request_prompt {
    int32_t *ids; /* [n], mem_free */
    size_t n;
    bool in_reasoning; /* it ends inside <think> */
};

struct request {
    const struct dialect *dialect; /* who read it and writes the answer */
    json_t *body;                  /* as it came; dialects echo from it */
    bool stream;

    /* What to answer: one of the two. A conversation is the object that the chat template gets: messages, tools,
     * enable_thinking and other variables of it. texts is a list of prompts without template, each a string or a
     * list of ids. */
    json_t *conversation;
    json_t *texts;
    bool continues;                 /* the answer goes on with the conversation's last message */
    struct request_prompt *prompts; /* [n_prompts], filled by prompt_make */
    int n_prompts;
    int n; /* answers to each prompt; choice i answers prompt i / n */

    struct alula_sampling sampling; /* bias is owned */
    int max_tokens;                 /* of one answer; 0 = as many as the server grants */
    char *stops[REQUEST_STOPS_MAX]; /* [n_stops], mem_free */
    int n_stops;
    int depth;         /* tokens drafted ahead, or ALULA_DEPTH_AUTO */
    int logprobs;      /* 0 = none, else 1 + alternatives of each token */
    bool score_prompt; /* logprobs of the prompt's own tokens as well */
    bool trace;        /* a stream tells of each token whether it was drafted */
    bool echo;         /* the prompt's own text is the beginning of what is told */
    bool no_answer;    /* nothing is said; the prompt is read only if it is to be scored */

    json_t *tools;       /* what the answer may call, shaped as the chat template wants it; NULL = nothing */
    bool parallel_calls; /* false: the answer ends with its first call */
    json_t *grammar;     /* spec for alula_grammar_create, without "reasoning"; NULL = free text */
};

/* sampling as the server's owner or the model's makers set it; one answer, no limits, depth by profit. */
void request_init(struct request *r, const struct dialect *dialect, const struct alula_sampling *defaults);
void request_free(struct request *r);

/* ---- fields that several APIs share ----------------------------------------------------------------------- */

/* stream, temperature, top_p, top_k, min_p, presence_penalty, frequency_penalty, repetition_penalty, seed,
 * logit_bias, depth, generation_mode. */
bool request_read_common(struct request *r, const json_t *body, struct alula_error *e);
/* A string or a list of strings under `key`. */
bool request_read_stops(struct request *r, const json_t *body, const char *key, struct alula_error *e);
/* enable_thinking, reasoning_effort and the members of chat_template_kwargs, into r->conversation. */
bool request_read_thinking(struct request *r, const json_t *body, struct alula_error *e);

/* How the model is to use its tools. */
enum tool_choice { TOOLS_AUTO, TOOLS_NONE, TOOLS_REQUIRED, TOOLS_NAMED };
/* "tool_choice" as OpenAI's APIs say it: auto, none, required, or an object with "name", perhaps in "function". */
bool request_read_choice(const json_t *body, enum tool_choice *ret, const char **ret_name,
                         struct alula_error *e);
/* {"type": "function", "function": {...}} as a chat template wants it; description and parameters may be NULL. A new
 * reference, NULL on error. */
json_t *request_make_tool(const char *name, const char *description, json_t *parameters,
                          struct alula_error *e);
/* Offers tools (a list of {"type": "function", "function": {name, description, parameters}}; may be empty) to
 * template, reader and, where a call is forced, grammar. name: of TOOLS_NAMED. where names the list in errors. */
bool request_offer_tools(struct request *r, json_t *tools, enum tool_choice choice, const char *name,
                         const char *where, struct alula_error *e);
/* The answer shall be JSON: {"type": "json_object"} or {"type": "json_schema", "schema": {...}}; or calls, where tools
 * are offered. After request_offer_tools. Takes spec. */
bool request_constrain(struct request *r, json_t *spec, struct alula_error *e);

/* Appends a message (an object that the request may keep; taken) to the conversation. System messages at the beginning
 * become one, since templates know but one, and a later one is put as the user's; "developer" counts as "system",
 * "function" as "tool". */
bool request_add_message(struct request *r, json_t *message, const char *where, struct alula_error *e);
/* The answer is to go on with the conversation's last message, which must be text of the assistant. To be called when
 * all else is read. */
bool request_continue(struct request *r, struct alula_error *e);
/* The list under `key`, each entry made anew by `make` (which sets an error and returns NULL if it cannot; where is
 * "KEY[3]"); an empty list if there is none. A new reference, NULL on error. */
json_t *request_read_list(const json_t *body, const char *key,
                          json_t *(*make)(const json_t *given, const char *where, struct alula_error *e),
                          struct alula_error *e);
/* Sets the error of exhausted memory; returns false. */
bool request_no_memory(struct alula_error *e);
/* An absent or null member gives NULL; one of another type is refused. The value stays owned by o. */
bool request_member(const json_t *o, const char *key, json_type type, json_t **ret, const char *what,
                    struct alula_error *e);
/* The text of a message: a string, or a list of parts of which only text parts are taken (joined). Images, audio
 * and files are refused. Returns a new reference to a string, NULL on error. */
json_t *request_text(const json_t *content, const char *what, struct alula_error *e);

#endif
