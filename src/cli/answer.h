/* answer.h - one answer of a model: from the ids of a prompt to streamed text, and what it took. */
#ifndef CLI_ANSWER_H
#define CLI_ANSWER_H

#include "base/buf.h"

struct answer {
    int depth; /* as asked for, ALULA_DEPTH_AUTO among others; the rest begins as zero */
    struct buf text;
    int32_t *tokens; /* [n_tokens] */
    size_t n_tokens, room;
    enum alula_finish finish; /* ALULA_RUNNING: it was stopped from outside */
    struct alula_stats stats;
};

/* Reads the n_ids > 0 next ids of the prompt in the session and decodes until the answer ends; with `stream` the text
 * goes to standard output as it comes. On failure (CANCELLED by Ctrl-C among others) *a holds what there was until
 * then; stats too. */
bool answer_make(struct answer *a, struct alula_session *session, const int32_t *ids, size_t n_ids,
                 bool stream, struct alula_error *e);
void answer_free(struct answer *a);

/* One line of JSON: text, tokens, prompt_tokens, finish, stats. */
void answer_write_json(const struct answer *a, struct buf *out);
/* A few lines for people. */
void answer_write_stats(const struct answer *a, struct buf *out);

#endif
