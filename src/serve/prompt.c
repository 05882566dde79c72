/* prompt.c - conversations and texts become ids.
 *
 * Owns what is known of a prompt's form: where turns end, and whether it ends inside reasoning. That is read from the
 * ids, not from the request's wishes, because a template may have its own mind. */
#include "serve/prompt.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

/* The one id that a special text has, or -1. */
static int32_t single_id(const struct alula_engine *engine, const char *text)
{
    struct alula_error e;
    int32_t *ids, id = -1;
    size_t n;
    if (!alula_tokenize(engine, text, strlen(text), true, &ids, &n, &e)) return -1;
    if (n == 1) id = ids[0];
    alula_free(ids);
    return id;
}

void prompt_marks_make(struct prompt_marks *ret, const struct alula_engine *engine)
{
    struct alula_engine_info info;
    alula_engine_describe(engine, &info);
    *ret = (struct prompt_marks){.newline = single_id(engine, "\n"),
                                 .think = single_id(engine, "<think>"),
                                 .end_think = single_id(engine, "</think>")};
    for (; ret->n_stop_ids < info.n_stop_ids && ret->n_stop_ids < 16; ret->n_stop_ids++)
        ret->stop_ids[ret->n_stop_ids] = info.stop_ids[ret->n_stop_ids];
}

static bool is_stop(const struct prompt_marks *m, int32_t id)
{
    for (int i = 0; i < m->n_stop_ids; i++)
        if (m->stop_ids[i] == id) return true;
    return false;
}

bool prompt_turn_ends(const struct prompt_marks *m, const int32_t *ids, size_t n, size_t at)
{
    if (ids[at - 1] == m->newline) return at >= 2 && is_stop(m, ids[at - 2]);
    return is_stop(m, ids[at - 1]) && (at == n || ids[at] != m->newline);
}

/* ---- making ------------------------------------------------------------------------------------------------------ */

static bool render(struct request *r, const struct alula_engine *engine, struct alula_error *e)
{
    struct buf json = {0};
    struct request_prompt *p = &r->prompts[0];
    const char *how = r->continues ? "continue_final_message" : "add_generation_prompt";
    if (json_object_set_new(r->conversation, how, json_true()) < 0)
        return err_set(e, ALULA_NOMEM, "out of memory for the conversation");
    json_write(&json, r->conversation, 0);
    bool ok = buf_check(&json, "the conversation", e) &&
              alula_tokenize_chat(engine, json.data, json.len, &p->ids, &p->n, e);
    buf_free(&json);
    return ok;
}

/* Reasoning is open if the last of its two marks is the one that opens it, and nothing but white space follows; the
 * generation prompt is a few tokens long. */
bool prompt_ends_in_reasoning(const struct alula_engine *engine, const int32_t *ids, size_t n)
{
    enum { TAIL = 4 };
    struct alula_error e;
    char *text;
    size_t len, from = n > TAIL ? n - TAIL : 0;
    if (!alula_detokenize(engine, ids + from, n - from, false, &text, &len, &e)) return false;
    const char *open = strstr(text, "<think>");
    for (const char *next = open; next && (next = strstr(next + 1, "<think>"));) open = next;
    bool inside = open && strspn(open + 7, " \t\r\n") == strlen(open + 7);
    alula_free(text);
    return inside;
}

static bool take_ids(struct request_prompt *p, const json_t *list, int vocab, const char *what,
                     struct alula_error *e)
{
    const json_t *id;
    size_t i;
    p->ids = mem_zalloc(json_array_size(list), sizeof *p->ids);
    if (!p->ids) return err_set(e, ALULA_NOMEM, "out of memory for %s", what);
    json_array_foreach(list, i, id)
    {
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= vocab)
            return err_set(e, ALULA_FORMAT, "%s[%zu] is no token's id, expected whole numbers from 0 to %d",
                           what, i, vocab - 1);
        p->ids[i] = (int32_t)json_integer_value(id);
    }
    p->n = json_array_size(list);
    return true;
}

static bool take_texts(struct request *r, const struct alula_engine *engine, struct alula_error *e)
{
    struct alula_engine_info info;
    const json_t *text;
    size_t i;
    alula_engine_describe(engine, &info);
    json_array_foreach(r->texts, i, text)
    {
        struct request_prompt *p = &r->prompts[i];
        char what[40];
        snprintf(what, sizeof what, "prompt %zu", i);
        bool ok = json_is_array(text) ? take_ids(p, text, info.vocab, what, e)
                                      : alula_tokenize(engine, json_string_value(text),
                                                       json_string_length(text), true, &p->ids, &p->n, e) ||
                                            err_context(e, "%s", what);
        if (!ok) return false;
        if (!p->n) return err_set(e, ALULA_FORMAT, "%s is empty", what);
    }
    return true;
}

bool prompt_make(struct request *r, const struct alula_engine *engine, struct alula_error *e)
{
    r->n_prompts = r->conversation ? 1 : (int)json_array_size(r->texts);
    r->prompts = mem_zalloc((size_t)r->n_prompts, sizeof *r->prompts);
    if (!r->prompts) {
        r->n_prompts = 0;
        return err_set(e, ALULA_NOMEM, "out of memory for the prompt");
    }
    if (!r->conversation) return take_texts(r, engine, e);
    if (!render(r, engine, e)) return false;
    if (!r->prompts[0].n)
        return err_set(e, ALULA_FORMAT, "the chat template makes an empty prompt of this conversation");
    struct request_prompt *p = &r->prompts[0];
    p->in_reasoning = !r->continues && prompt_ends_in_reasoning(engine, p->ids, p->n);
    return true;
}
