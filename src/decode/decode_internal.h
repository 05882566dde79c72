/* decode_internal.h - the insides of engine and session, for the two files that own them and for tests that
 * look in. */
#ifndef DECODE_DECODE_INTERNAL_H
#define DECODE_DECODE_INTERNAL_H

#include "artifact/weights.h"
#include "decode/batch.h"
#include "decode/constraint.h"
#include "decode/stops.h"
#include "text/chat.h"
#include "text/tokenizer.h"

struct alula_engine {
    struct checkpoint *trunk, *head; /* head: of another folder, or NULL */
    struct weights *weights;
    struct model *model;
    struct tokenizer *tokenizer;
    struct token_trie trie; /* of its tokens that the model can draw */
    struct chat_template *chat; /* or NULL, and then chat_error says why not */
    struct alula_error chat_error;
    bool has_mtp, exact;
    struct draft_vocab *drafts; /* NULL: drafts come from the LM head */
    size_t token_bytes_max;     /* of the longest token */
};

struct alula_batch {
    const struct alula_engine *engine;
    const struct draft_vocab *drafts; /* NULL: drafts come from the LM head */
    struct batch core;
    int max_sessions, prompt_rows;
    int n_sessions; /* that exist */
    /* the step under way */
    struct seat seats[BATCH_MAX];
    struct alula_turn *turns[BATCH_MAX]; /* whose seats they are */
};
/* prompt_rows: tokens of prompts in one pass. Results do not depend on it; tests try several. */
bool batch_open(struct alula_batch **ret, const struct alula_engine *engine, const struct draft_vocab *drafts,
                const struct alula_batch_options *options, struct alula_error *e);
/* A session more, or the reason why not. */
bool batch_join(struct alula_batch *b, const struct alula_engine *engine, struct alula_error *e);

struct alula_session {
    const struct alula_engine *engine;
    struct alula_batch *batch;
    bool owns_batch;
    struct sampler *sampler;
    struct timeline timeline;
    struct speculator speculator;
    struct constraint *constraint; /* NULL: the answer is free, or masked by the caller */
    struct stops *stops;
    struct detok detok;
    struct buf piece, text; /* of one token, of one step */
    size_t text_ends[ALULA_DEPTH_MAX + 1];
    int max_tokens;
    bool ignore_stop_ids;
    bool reading;             /* a prompt has begun that is not read to its end */
    bool answering;           /* a prompt was read, the answer has not ended */
    int known;                /* tokens of the timeline that the sampler has seen */
    struct alula_stats stats; /* of prompt and session; the speculator counts its own */
};

/* The session's empty timeline has taken over a prefix: it counts as read. */
void session_took_over(struct alula_session *s);

/* A session by itself that reads prompts in such chunks. */
bool session_create_chunked(struct alula_session **ret, const struct alula_engine *engine,
                            const struct alula_session_options *options, int chunk, struct alula_error *e);

/* The session's part in the next cycle: reading, at most read_max > 0 tokens of its prompt, or answering. Fails if it
 * can do neither. */
bool session_seat(struct alula_session *s, int read_max, struct seat *seat, struct alula_error *e);
/* Adds to the step what came of it, unless it failed, in a cycle of so many seconds. true: the prompt's end
 * was read. */
bool session_take(struct alula_session *s, const struct seat *seat, double seconds, struct alula_step *step);

#endif
