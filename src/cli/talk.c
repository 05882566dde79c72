/* talk.c - a conversation, and the prompt that the model's chat template makes of it.
 *
 * Owns the messages. Does not know the template's format: that is the model's own. */
#include "cli/talk.h"

#include <string.h>

#include "base/err.h"
#include "base/json.h"
#include "base/utf8.h"

bool talk_add(struct talk *t, const char *role, const char *text, size_t len, const char *what,
              struct alula_error *e)
{
    size_t valid = utf8_valid_len(text, len);
    if (valid < len) return err_set(e, ALULA_FORMAT, "%s: not UTF-8 at byte %zu", what, valid);
    buf_fmt(&t->messages, "%s{\"role\": \"%s\", \"content\": ", t->messages.len ? ", " : "", role);
    json_write_str(&t->messages, text, len);
    buf_byte(&t->messages, '}');
    return buf_check(&t->messages, "the conversation", e);
}

void talk_free(struct talk *t) { buf_free(&t->messages); }

static bool encode(const struct talk *t, const struct alula_engine *engine, enum talk_thinking thinking,
                   int32_t **ret_ids, size_t *ret_n, struct alula_error *e)
{
    static const char *const members[] = {"", ", \"enable_thinking\": true", ", \"enable_thinking\": false"};
    struct buf json = {0};
    buf_str(&json, "{\"messages\": [");
    buf_add(&json, t->messages.data, t->messages.len);
    buf_fmt(&json, "], \"add_generation_prompt\": true%s}", members[thinking]);
    bool ok = buf_check(&json, "the conversation", e) &&
              alula_tokenize_chat(engine, json.data, json.len, ret_ids, ret_n, e);
    buf_free(&json);
    return ok;
}

/* A template that writes the same either way does not know the choice; saying nothing would let the user
 * believe in it. */
static bool check_thinking(const struct talk *t, const struct alula_engine *engine, const int32_t *ids,
                           size_t n, struct alula_error *e)
{
    int32_t *other;
    size_t n_other;
    if (!encode(t, engine, t->thinking == THINK_ON ? THINK_OFF : THINK_ON, &other, &n_other, e)) return false;
    bool differs = n != n_other || memcmp(ids, other, n * sizeof *ids) != 0;
    alula_free(other);
    return differs || err_set(e, ALULA_USAGE, "option --%s: the model's chat template has no such choice",
                              t->thinking == THINK_ON ? "think" : "no-think");
}

bool talk_prompt(const struct talk *t, const struct alula_engine *engine, int32_t **ret_ids, size_t *ret_n,
                 struct alula_error *e)
{
    if (!encode(t, engine, t->thinking, ret_ids, ret_n, e)) return false;
    if (t->thinking == THINK_UNSAID || check_thinking(t, engine, *ret_ids, *ret_n, e)) return true;
    alula_free(*ret_ids);
    return false;
}
