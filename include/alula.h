/* alula.h - the public C interface: open a model folder, decode with multi-token prediction.
 *
 * An engine is a model folder opened once: weights, tokenizer, chat template. It never changes and any number
 * of threads may use it. A session is one timeline of tokens in it: prompt, answer, prompt, ... It belongs to
 * one thread at a time. The whole of decoding is:
 *
 *     alula_engine_open(&engine, dir, NULL, &e);
 *     alula_session_create(&session, engine, NULL, &e);
 *     alula_session_prompt(session, ids, n_ids, NULL, NULL, &e);
 *     do alula_session_step(session, &step, &e); while (step.finish == ALULA_RUNNING);
 *
 * Functions that can fail return false and fill *e; outputs are untouched then. */
#ifndef ALULA_H
#define ALULA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What kind of thing went wrong. A kind decides the exit status of the program and the status of an
 * HTTP reply; the message says the rest. */
enum alula_code {
    ALULA_OK = 0,
    ALULA_USAGE,       /* an option or an argument is wrong */
    ALULA_LIMIT,       /* a ceiling was reached: context, size, depth, count */
    ALULA_UNSUPPORTED, /* well-formed, but not something that alula does */
    ALULA_NOT_FOUND,   /* a file, tensor or name that should be there is not */
    ALULA_MISMATCH,    /* two things that must agree do not: shapes, dimensions, contracts */
    ALULA_FORMAT,      /* a file or a request is malformed */
    ALULA_IO,          /* the system refused to read or write */
    ALULA_BUSY,        /* later, perhaps */
    ALULA_NOMEM,       /* memory is exhausted */
    ALULA_CANCELLED,   /* the caller asked to stop */
    ALULA_INTERNAL     /* a defect in alula */
};

/* Lives on the caller's stack; nothing is allocated. message is one sentence that names the file, tensor,
 * option or field, what was found and what was expected. */
struct alula_error {
    enum alula_code code;
    char message[1024];
};

#define ALULA_VERSION "0.1.0"
const char *alula_version(void); /* of the library that runs */

/* ---- engine ---------------------------------------------------------------------------------------- */

struct alula_engine;

struct alula_engine_options {
    bool exact;      /* float32 activations, the reference for every test; else the fast mode */
    bool no_mtp;     /* leave the head aside even if there is one */
    const char *mtp; /* take the head from this folder instead of the model's own; NULL = its own */
    /* Drafts may come from a part of the vocabulary, by rows of the LM head that are kept once more: cheaper, and
     * some of them worse or impossible; the text stays exact. Without a head all of this is ignored. */
    int draft_vocab;          /* the first so many ids (common ones), special tokens and stop ids; 0 = all */
    const int32_t *draft_ids; /* [n_draft_ids] or these, and the stop ids; NULL = not */
    int n_draft_ids;
    int draft_bits; /* those rows packed with so many bits (2 3 4 5 6 8); 0 = as the model stores them */
};

/* Opens a model folder. options NULL: all defaults. Reads headers, maps the weights, checks every tensor's
 * name and shape. */
bool alula_engine_open(struct alula_engine **ret, const char *dir, const struct alula_engine_options *options,
                       struct alula_error *e);
/* Sessions must be freed before. NULL is fine. */
void alula_engine_close(struct alula_engine *engine);

struct alula_engine_info {
    const char *architecture; /* "qwen3_5_moe_text"; owned by the engine */
    int vocab;                /* rows of the LM head */
    int hidden;
    int n_layers;
    int max_context; /* positions the model was made for */
    bool has_mtp;    /* a head is bound: depth > 0 is possible */
    bool exact;
    int draft_vocab;         /* ids that drafts come from; 0 = all, by the LM head itself */
    const int32_t *stop_ids; /* [n_stop_ids] */
    int n_stop_ids;
};
void alula_engine_describe(const struct alula_engine *engine, struct alula_engine_info *ret);

/* Text to ids. special: added tokens such as <|im_end|> are recognised, else read as plain text. *ret_ids
 * [*ret_n] is freed with alula_free. Text that is not UTF-8 is refused. */
bool alula_tokenize(const struct alula_engine *engine, const char *text, size_t len, bool special,
                    int32_t **ret_ids, size_t *ret_n, struct alula_error *e);
/* Ids to text; bytes that are no character become U+FFFD. *ret_text: NUL-terminated, for alula_free. */
bool alula_detokenize(const struct alula_engine *engine, const int32_t *ids, size_t n, bool skip_special,
                      char **ret_text, size_t *ret_len, struct alula_error *e);
/* The bytes of one id, part of a character perhaps; NULL for an id that belongs to no token. The engine's own. */
const char *alula_token_bytes(const struct alula_engine *engine, int32_t id, size_t *ret_len);
/* Runs the model's own chat template. json: an object with "messages" and any other variable of the template
 * ("tools", "add_generation_prompt", "enable_thinking", ...). Only what the template writes is markup: <|im_end|> in a
 * message is text. *ret_ids [*ret_n] is freed with alula_free. Errors: NOT_FOUND (the folder has no template), FORMAT
 * (the conversation or the template is wrong, what the template raises included), LIMIT, UNSUPPORTED. */
bool alula_tokenize_chat(const struct alula_engine *engine, const char *json, size_t len, int32_t **ret_ids,
                         size_t *ret_n, struct alula_error *e);
void alula_free(void *p);

/* ---- session --------------------------------------------------------------------------------------- */

struct alula_session;
struct alula_batch;   /* see below */
struct alula_grammar; /* see below */

struct alula_bias {
    int32_t id;
    double value; /* added to its logit, -100 to 100 */
};

/* Two exact ways to speculate; both give the distribution of plain decoding at any temperature, and are the
 * same when greedy. */
enum alula_law {
    /* COUPLED with a seed, REJECTION without. */
    ALULA_LAW_AUTO,
    /* Keeps a draft with probability min(1, p/q), else draws from what p has more than q. No exact law keeps
     * more drafts. */
    ALULA_LAW_REJECTION,
    /* Draft and target share noise that depends on (seed, place): the text for a seed is the same at every
     * depth and thread count and for any chunking of the prompt. */
    ALULA_LAW_COUPLED
};

/* The natural logarithm of what the model itself held a token's probability to be: log-softmax of its raw logits, before
 * penalties, bias, mask, temperature and all that follows. */
struct alula_logprob {
    int32_t id;
    double logprob;
};

/* How a token is drawn, in this order: repetition penalty over prompt and answer, presence and frequency
 * penalty over the answer, logit bias, mask (see alula_session_options), temperature, top_k, top_p, min_p. */
struct alula_sampling {
    double temperature;        /* 0 = greedy; ties go to the lowest id. At most 100 */
    int top_k;                 /* 0 = off; ties at the border: the lowest ids */
    double top_p;              /* 0 to 1, 1 = off; of what top_k left, renormalised */
    double min_p;              /* 0 to 1, 0 = off */
    double presence_penalty;   /* -2 to 2, subtracted once from a token that occurred in the answer */
    double frequency_penalty;  /* -2 to 2, subtracted for each time it occurred in the answer */
    double repetition_penalty; /* 0.01 to 100, 1 = off; divides a positive logit, multiplies a negative one */
    const struct alula_bias *bias; /* [n_bias], ids of the vocabulary; copied */
    int n_bias;
    bool seeded; /* false: a seed of the system's choice, new for each session */
    uint64_t seed;
    enum alula_law law;
};

#define ALULA_DEPTH_MAX  7
#define ALULA_DEPTH_AUTO (-1)

struct alula_session_options {
    struct alula_batch
        *batch;    /* of the same engine, outlives the session; NULL = threads and memory of its own */
    int n_threads; /* without a batch: 0 = the CPUs that this process may use */
    int n_ctx;     /* tokens that fit; 0 = the model's maximum, at most 32768 */
    /* Tokens drafted ahead of each verification, 0 to ALULA_DEPTH_MAX; 0 = plain decoding. ALULA_DEPTH_AUTO:
     * as many as pay, by acceptance and cost as measured while decoding; 0 without a head. */
    int depth;
    struct alula_sampling sampling;
    int max_tokens;          /* of one answer; 0 = until a stop or the end of the context */
    const char *const *stop; /* [n_stop] texts that end an answer, not empty; copied */
    int n_stop;              /* at most 16 */
    bool ignore_stop_ids;    /* go on after the model's own stop ids */
    int logprobs;            /* entries of each token's row of log-probabilities, at most 21; 0 = none are reported */
    bool score_prompt;       /* report them of the prompt's tokens, too: read in small passes; needs logprobs */
    bool draft_whole;        /* draft by the LM head itself, even if the engine has a draft vocabulary; not in a
                              * batch that others share */
    /* Constrains the answer, NULL = not. Called for each place before its token is drafted or drawn, with the
     * n tokens of the answer before it (drafts under test included). Returns one bit for each id (id i is bit
     * i%32 of word i/32, (vocab+31)/32 words, valid until the next call), or NULL if all are allowed. The
     * result may depend on the tokens alone; nothing allowed fails the step. In a batch, masks of different sessions
     * may be called at the same time, on its threads. */
    const uint32_t *(*mask)(void *arg, const int32_t *answer, size_t n);
    void *mask_arg;
    /* Or the answer follows a grammar of the same engine, which outlives the session; NULL = not. */
    const struct alula_grammar *grammar;
};
/* greedy, plain, everything else off */
struct alula_session_options alula_session_defaults(void);

/* Errors: USAGE, LIMIT (n_ctx, or the batch is full), MISMATCH (the batch is another engine's), UNSUPPORTED, NOMEM. */
bool alula_session_create(struct alula_session **ret, const struct alula_engine *engine,
                          const struct alula_session_options *options, struct alula_error *e);
void alula_session_free(struct alula_session *session);
/* Bytes that such a session takes once its context is full, work memory aside, which is the batch's. depth 0: without
 * what drafting needs. */
size_t alula_session_bytes(const struct alula_engine *engine, int n_ctx, int depth);

/* Reads n > 0 ids behind what the session holds and starts a new answer. progress (may be NULL) is called
 * after each chunk with tokens read so far; when it returns false, reading stops and the call fails with
 * ALULA_CANCELLED: what was read stays read, and the rest may follow in another call. Fails with ALULA_LIMIT
 * if prompt and one token of answer do not fit the context, before anything is read. */
bool alula_session_prompt(struct alula_session *session, const int32_t *ids, size_t n,
                          bool (*progress)(void *arg, size_t done, size_t total), void *arg,
                          struct alula_error *e);

/* The same without reading: steps read. Ids behind a prompt that is still being read lengthen it. */
bool alula_session_begin(struct alula_session *session, const int32_t *ids, size_t n, struct alula_error *e);

enum alula_finish {
    ALULA_RUNNING,
    ALULA_STOP,  /* a stop id or a stop text */
    ALULA_LENGTH /* max_tokens, or the end of the context */
};

/* What one step gave. Pointers stay valid until the next call on the session. */
struct alula_step {
    /* New ids of the answer; a stop id is left out, the token that completed a stop text is not. */
    const int32_t *tokens; /* [n_tokens] */
    int n_tokens;
    /* New text: whole characters, special tokens left out, nothing held that may begin a stop text. */
    const char *text; /* [text_len], NUL-terminated */
    size_t text_len;
    const size_t *text_ends;   /* [n_tokens] bytes of text once that token was taken */
    int n_drafted, n_accepted; /* the first n_accepted tokens were drafts, a stop may cut among them */
    int n_read;                /* tokens of its prompt that a batch's step read */
    /* If asked for, a row of options.logprobs entries for each token: its own, then the likeliest ids, largest first (the
     * token among them if it is one; entries that are left over have id -1). Of the prompt's tokens likewise; of the
     * first one, before which nothing was read, only the id is known, and logprob is NaN. */
    const struct alula_logprob *logprobs;      /* [n_tokens] rows, or NULL */
    const struct alula_logprob *read_logprobs; /* [n_read] rows, or NULL */
    enum alula_finish finish;
    int stop; /* of ALULA_STOP: index of the stop text, or -1 for a stop id */
};
/* Reads on a prompt that was begun. Else one cycle: draft, verify, accept; gives 1 to depth+1 tokens (up to
 * ALULA_DEPTH_MAX+1 where a mask leaves no choice), the first after a prompt one. Allocates nothing, but for what a
 * grammar keeps of a place where no session was before. A failed step (a mask that allows nothing, a model that gives no
 * finite logit) changes nothing. */
bool alula_session_step(struct alula_session *session, struct alula_step *ret, struct alula_error *e);

/* Everything said so far, prompts and answers, stop ids included: what the next prompt continues. [*ret_n],
 * valid until the next call on the session. */
const int32_t *alula_session_tokens(const struct alula_session *session, size_t *ret_n);

/* Counters since the last prompt. Index d counts drafts at depth d+1: accepted[d]/drafted[d] is the
 * unconditional acceptance, accepted[d]/tested[d] that of drafts whose forerunners all survived. */
struct alula_stats {
    int64_t prompt_tokens, tokens; /* read; given, stop ids left out */
    int64_t cycles;                /* verifications */
    int64_t covered;               /* of tokens: those that the draft vocabulary holds */
    int64_t free;                  /* accepted drafts for which a mask or grammar left no choice; not counted below */
    int64_t drafted[ALULA_DEPTH_MAX], tested[ALULA_DEPTH_MAX], accepted[ALULA_DEPTH_MAX];
    int64_t head_steps; /* those that led to a draft, and those whose offer was not worth verifying */
    double prefill_s, decode_s; /* wall seconds of the steps it took part in, others in them or not */
    double draft_s, verify_s, accept_s, repair_s; /* parts of decode_s */
};
void alula_session_stats(const struct alula_session *session, struct alula_stats *ret);

/* ---- batches ----------------------------------------------------------------------------------------------- */

/* Threads and work memory that several sessions share, and what was learnt of the machine's speed. One pass of the
 * model serves all of them. A batch and its sessions belong to one thread at a time; a session of a batch may also be
 * used by itself, with the same result. */
struct alula_batch_options {
    int n_threads;    /* 0 = the CPUs that this process may use */
    int max_sessions; /* that exist at a time, at most 64; 0 = 8 */
    int prompt_rows;  /* tokens of prompts read in one pass, of all sessions, at most 8192; 0 = 512 */
};
/* Memory that one takes at most. options NULL: all defaults, here and below. */
size_t alula_batch_bytes(const struct alula_engine *engine, const struct alula_batch_options *options);
bool alula_batch_create(struct alula_batch **ret, const struct alula_engine *engine,
                        const struct alula_batch_options *options, struct alula_error *e);
/* Its sessions must be freed before. NULL is fine. */
void alula_batch_free(struct alula_batch *batch);

struct alula_turn {
    struct alula_session *session; /* of this batch, in one turn only */
    int read_max;           /* tokens of its prompt to read at most, 0 = none; of no effect once it is read */
    struct alula_step step; /* out: as alula_session_step gives it, empty while the prompt is being read */
    bool failed;            /* out: and error says why; the others are untouched, and it is as before */
    struct alula_error error;
};
/* One pass: prompts are read on, answers go one cycle further, and a prompt that was read to its end gives the first
 * token of its answer. The turns read prompt_rows at most in all, those before first. Sessions that take no part stay
 * as they are. What a session says is what it would say alone, bit for bit. Allocates nothing. */
void alula_batch_step(struct alula_batch *batch, struct alula_turn *turns, int n);

/* ---- prompt cache -------------------------------------------------------------------------------------------- */

/* What sessions of one engine have read, kept by its tokens, so that another session need not read it again. Keys and
 * values of tokens that several prompts begin with are kept once. A session can be taken up only where one was stored,
 * for the recurrent state of a place cannot be had from a later one. The least recently used places go first; what
 * nothing is left for goes with them. Any number of threads, each with sessions of its own; the engine outlives it. */
struct alula_cache;
struct alula_cache_options {
    size_t memory;   /* bytes, all things counted */
    const char *dir; /* keeps copies in this folder past the end of the program, and makes it; NULL = none */
    uint64_t disk; /* bytes of alula's files there, whoever wrote them: the oldest are removed; 0 = 16 GiB */
    uint64_t disk_write_per_hour; /* bytes, at most; 0 = 32 GiB */
};
bool alula_cache_create(struct alula_cache **ret, const struct alula_engine *engine,
                        const struct alula_cache_options *options, struct alula_error *e);
/* Waits until what is being written is written. NULL is fine. */
void alula_cache_free(struct alula_cache *cache);

struct alula_cache_hit {
    size_t n;           /* tokens that need not be read */
    const char *source; /* where from: "none", "memory", "disk" */
    /* Why it is not more, in static words:
     *   ""             there is no more: all but the last token, which must be read for what comes next
     *   "new"          the tokens that follow were not seen before
     *   "diverges"     what is kept goes on with other tokens
     *   "no snapshot"  more is kept, but no place in it where a session could be taken up
     *   "evicted"      more was kept once */
    const char *why;
};
/* A session that holds nothing takes over the longest prefix of ids[0..n-1) that is kept; the caller then begins with
 * ids + hit.n. Whatever the session does from then on are the same bits as if it had read them. Finding nothing is no
 * error; damaged files count as not there, and so does what has no room in memory. Errors: USAGE (the session holds
 * tokens, or is another engine's). */
bool alula_cache_restore(struct alula_cache *cache, struct alula_session *session, const int32_t *ids, size_t n,
                         struct alula_cache_hit *ret, struct alula_error *e);
/* Keeps what the session has read so far, and this very length as a place to be taken up at. Between any two calls on
 * the session; changes nothing of what it will say. What has no room is not kept, which is no error. Errors: USAGE
 * (another engine's session), NOMEM. */
bool alula_cache_store(struct alula_cache *cache, struct alula_session *session, struct alula_error *e);

struct alula_cache_stats {
    uint64_t memory, memory_used;                 /* bytes */
    uint64_t snapshots;                           /* places in memory to be taken up at */
    uint64_t lookups, hits, hits_disk;            /* hits: those with n > 0; of them, those that read files */
    uint64_t tokens, tokens_hit, tokens_hit_disk; /* asked for, found */
    uint64_t stored, refused, evicted;            /* snapshots: kept, without room, dropped from memory */
    uint64_t disk, disk_used, disk_files;         /* bytes, and files that are known */
    uint64_t disk_written, disk_dropped, disk_failed, disk_damaged; /* files, since the cache was made */
};
void alula_cache_describe(struct alula_cache *cache, struct alula_cache_stats *ret);

/* ---- grammars ---------------------------------------------------------------------------------------------- */

/* What an answer may be. Immutable; any number of sessions and threads. Stop ids are allowed where the answer is
 * complete, and there alone; a limit of tokens or context cuts it as it cuts any other.
 *
 * spec is a JSON object:
 *     {"type": "json_object"}                     any JSON object
 *     {"type": "json_schema", "schema": {...}}    JSON that fits the schema
 *     {"type": "tools", "tools": [...], "choice": "required" | {"name": NAME}, "parallel": true | false}
 *                                                 one call of a tool, or several, as Qwen3.5 writes them
 * A form beside "tools" lets the answer be either.
 * With "reasoning": true free text up to "</think>" comes first: the prompt ended within it.
 *
 * JSON is written in one form, with ", " and ": " and no other white space. Errors: FORMAT (spec is malformed, or
 * nothing fits the schema), UNSUPPORTED (names the keyword and its place in the schema), LIMIT, NOMEM. */
bool alula_grammar_create(struct alula_grammar **ret, const struct alula_engine *engine, const char *spec,
                          size_t len, struct alula_error *e);
/* Its sessions must be freed before. NULL is fine. */
void alula_grammar_free(struct alula_grammar *grammar);

/* ---- evaluation ---------------------------------------------------------------------------------------------- */

/* How well a model foretells a given text x_0 .. x_{n-1}.
 *
 * Trunk: row t is what it says after reading x_0 .. x_t, about x_{t+1}.
 * Head: at every t a chain of `depth` greedy guesses starts from the trunk's state after x_t, with committed
 * history (the true pairs of everything before). Step 1 is fed the text's own x_{t+1} and guesses x_{t+2}; step d
 * is fed the head's own guess of step d-1 and guesses x_{t+1+d}. At the last t, where the text has ended, the
 * trunk's best token stands in for x_{t+1}. */
struct alula_eval_options {
    int n_threads; /* 0 = the CPUs that this process may use */
    int depth;     /* steps of a chain, 0 to ALULA_DEPTH_MAX; > 0 needs a head */
    size_t first;  /* rows and figures are of t >= first; the text before it is only read */
    /* May be NULL. Row t of step d (0 = trunk), [vocab], valid during the call; all rows of step 0 come first, in
     * order, then those of step 1, and so on. When it returns false the evaluation ends with the error that it has
     * set. */
    bool (*row)(void *arg, int d, size_t t, const float *logits, struct alula_error *e);
    /* May be NULL. Called now and then with rows done of rows in all; false ends the evaluation with
     * ALULA_CANCELLED. */
    bool (*progress)(void *arg, size_t done, size_t total);
    void *arg;
};
struct alula_eval {
    int64_t tokens;    /* foretold: x_{first+1} .. x_{n-1} */
    double loss;       /* mean cross-entropy over them, in nats; 0 if there are none */
    int64_t top1;      /* of which the trunk's best token was the text's */
    int64_t positions; /* t >= first with the whole chain inside the text: max(0, n-1-depth-first) */
    int64_t accepted[ALULA_DEPTH_MAX]; /* [d]: positions at which the first d+1 guesses all equal the text */
    double seconds;
};
/* Evaluates n >= 1 ids. Memory grows with n * depth * hidden. Errors: USAGE (depth, first), LIMIT (n over the
 * model's positions), FORMAT (no id, or one outside the vocabulary), UNSUPPORTED (depth without a head), CANCELLED,
 * and what row sets. Threads: any number of evaluations at a time. */
bool alula_eval_run(const struct alula_engine *engine, const int32_t *ids, size_t n,
                    const struct alula_eval_options *options, struct alula_eval *ret, struct alula_error *e);

#endif
