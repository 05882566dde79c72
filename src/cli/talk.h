/* talk.h - a conversation, and the prompt that the model's chat template makes of it. */
#ifndef CLI_TALK_H
#define CLI_TALK_H

#include "base/buf.h"

enum talk_thinking { THINK_UNSAID, THINK_ON, THINK_OFF };

/* Zero-initialised: empty. */
struct talk {
    struct buf messages; /* members of the JSON array, as text */
    enum talk_thinking thinking;
};

/* role: "system", "user", "assistant". Errors: FORMAT if text is not UTF-8 (what names it). */
bool talk_add(struct talk *t, const char *role, const char *text, size_t len, const char *what,
              struct alula_error *e);
void talk_free(struct talk *t);

/* Ids of the whole conversation, ready for an answer. *ret_ids: alula_free. Errors: what the template raises;
 * USAGE if thinking is chosen and the template takes no notice of it. */
bool talk_prompt(const struct talk *t, const struct alula_engine *engine, int32_t **ret_ids, size_t *ret_n,
                 struct alula_error *e);

#endif
