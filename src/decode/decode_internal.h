/* decode_internal.h - the insides of engine and session, for the two files that own them and for tests that
 * look in. */
#ifndef DECODE_DECODE_INTERNAL_H
#define DECODE_DECODE_INTERNAL_H

#include "artifact/weights.h"
#include "decode/speculate.h"
#include "decode/stops.h"
#include "text/chat.h"
#include "text/tokenizer.h"

struct alula_engine {
    struct checkpoint *trunk, *head; /* head: of another folder, or NULL */
    struct weights *weights;
    struct model *model;
    struct tokenizer *tokenizer;
    struct chat_template *chat; /* or NULL, and then chat_error says why not */
    struct alula_error chat_error;
    bool has_mtp, exact;
    struct draft_vocab *drafts; /* NULL: drafts come from the LM head */
    size_t token_bytes_max;     /* of the longest token */
};

struct alula_session {
    const struct alula_engine *engine;
    struct pool *pool;
    struct sampler *sampler;
    struct timeline timeline;
    struct speculator speculator;
    struct stops *stops;
    struct detok detok;
    struct buf piece, text; /* of one token, of one step */
    int max_tokens;
    bool ignore_stop_ids;
    bool answering;           /* a prompt was read, the answer has not ended */
    int known;                /* tokens of the timeline that the sampler has seen */
    struct alula_stats stats; /* of prompt and session; the speculator counts its own */
};

/* Tokens of a prompt that are read at once. Results do not depend on it; tests try several. */
#define PROMPT_CHUNK 512
bool session_create_chunked(struct alula_session **ret, const struct alula_engine *engine,
                            const struct alula_session_options *options, int chunk, struct alula_error *e);

#endif
