/* chat.c - chat templates of model folders: which one, with which variables, on which form of the
 * conversation.
 *
 * Owns the steps between a request and the template. Knows nothing of the template language but values: it
 * works on what jinja_json.c read. */
#include "text/chat.h"

#include "base/file.h"
#include "base/json.h"
#include "text/jinja_internal.h"

#include <string.h>

struct token {
    char *name, *text;
};

struct chat_template {
    struct jinja *plain;    /* NULL if a list of templates has no "default" */
    struct jinja *tool_use; /* NULL = plain serves */
    char names[256];        /* of a list of templates, for messages */
    struct token *tokens;   /* [n_tokens] special tokens, variables of the template */
    size_t n_tokens;
};

/* ---- opening ------------------------------------------------------------------------------------------- */

enum { CONFIG_MAX = 64 << 20, CONFIG_DEPTH = 32 };

static bool parse_named(struct jinja **ret, const json_t *text, const char *name, struct alula_error *e)
{
    jinja_free(*ret);
    *ret = NULL;
    return jinja_parse(ret, json_string_value(text), json_string_length(text), name, e);
}

static bool read_list(struct chat_template *t, const json_t *list, struct alula_error *e)
{
    size_t i;
    const json_t *entry;
    json_array_foreach(list, i, entry)
    {
        const json_t *name = json_object_get(entry, "name"), *text = json_object_get(entry, "template");
        if (!json_is_string(name) || !json_is_string(text))
            return err_set(e, ALULA_FORMAT,
                           "tokenizer_config.json: element %zu of \"chat_template\" has no name and template",
                           i);
        const char *s = json_string_value(name);
        size_t used = strlen(t->names), n = strlen(s);
        if (used + n + 3 < sizeof t->names) {
            strcat(t->names, used ? ", " : "");
            strcat(t->names, s);
        }
        struct jinja **to = strcmp(s, "default") == 0    ? &t->plain
                            : strcmp(s, "tool_use") == 0 ? &t->tool_use
                                                         : NULL;
        char full[128];
        snprintf(full, sizeof full, "tokenizer_config.json chat_template %.60s", s);
        if (to && !parse_named(to, text, full, e)) return false;
    }
    return true;
}

static bool read_config_template(struct chat_template *t, const json_t *config, struct alula_error *e)
{
    const json_t *v = json_object_get(config, "chat_template");
    if (json_is_string(v)) return parse_named(&t->plain, v, "tokenizer_config.json chat_template", e);
    if (json_is_array(v)) return read_list(t, v, e);
    if (!v || json_is_null(v)) return true;
    return err_set(e, ALULA_FORMAT,
                   "tokenizer_config.json: \"chat_template\" is neither a string nor a list");
}

/* Members named *_token that are a string or an object with the string "content". */
static bool read_tokens(struct chat_template *t, json_t *config, struct alula_error *e)
{
    const char *key;
    json_t *v;
    t->tokens = mem_zalloc(json_object_size(config), sizeof *t->tokens);
    if (!t->tokens) return err_set(e, ALULA_NOMEM, "out of memory for special tokens");
    json_object_foreach(config, key, v)
    {
        size_t n = strlen(key);
        const json_t *text = json_is_object(v) ? json_object_get(v, "content") : v;
        if (n < 6 || strcmp(key + n - 6, "_token") != 0 || !json_is_string(text)) continue;
        struct token *token = &t->tokens[t->n_tokens++];
        token->name = mem_strdup(key);
        token->text = mem_strdup(json_string_value(text));
        if (!token->name || !token->text) return err_set(e, ALULA_NOMEM, "out of memory for special tokens");
    }
    return true;
}

static bool read_template_file(struct chat_template *t, const char *path, struct alula_error *e)
{
    struct buf text;
    buf_init(&text, 0);
    bool ok = file_read(path, JINJA_SOURCE_MAX, &text, e) &&
              jinja_parse(&t->plain, text.data ? text.data : "", text.len, "chat_template.jinja", e);
    buf_free(&text);
    return ok;
}

static bool open_parts(struct chat_template *t, const char *dir, struct alula_error *e)
{
    char path[4096], config_path[4096];
    if (!path_join(path, sizeof path, dir, "chat_template.jinja", e) ||
        !path_join(config_path, sizeof config_path, dir, "tokenizer_config.json", e))
        return false;
    bool has_file = file_exists(path);
    if (has_file && !read_template_file(t, path, e)) return false;
    if (file_exists(config_path)) {
        json_t *config = json_parse_file(config_path, CONFIG_MAX, CONFIG_DEPTH, e);
        bool ok = config && read_tokens(t, config, e) && (has_file || read_config_template(t, config, e));
        json_decref(config);
        if (!ok) return false;
    }
    if (t->plain || t->tool_use) return true;
    if (t->names[0])
        return err_set(e, ALULA_UNSUPPORTED,
                       "tokenizer_config.json has chat templates, but none named default or tool_use: %s",
                       t->names);
    return err_set(e, ALULA_NOT_FOUND,
                   "the folder has no chat template: neither chat_template.jinja nor \"chat_template\" in "
                   "tokenizer_config.json");
}

bool chat_template_open(struct chat_template **ret, const char *dir, struct alula_error *e)
{
    struct chat_template *t = mem_zalloc(1, sizeof *t);
    if (!t) return err_set(e, ALULA_NOMEM, "out of memory for the chat template");
    if (!open_parts(t, dir, e)) {
        chat_template_close(t);
        return err_context(e, "%s", dir);
    }
    *ret = t;
    return true;
}

void chat_template_close(struct chat_template *t)
{
    if (!t) return;
    jinja_free(t->plain);
    jinja_free(t->tool_use);
    for (size_t i = 0; i < t->n_tokens; i++) {
        mem_free(t->tokens[i].name);
        mem_free(t->tokens[i].text);
    }
    mem_free(t->tokens);
    mem_free(t);
}

/* ---- preparing ----------------------------------------------------------------------------------------- */

static bool set_named(struct jj_run *r, struct jj_dict *d, const char *name, struct jj_value v)
{
    struct jj_value key;
    return jj_str_view(r, name, strlen(name), &key) && jj_dict_set(r, d, key, v);
}

/* Arguments become an object, whatever way they were given. */
static bool prepare_arguments(struct jj_run *r, struct jj_dict *call, size_t at)
{
    struct jj_value v = jj_none();
    char what[80];
    jj_dict_find_str(call, "arguments", &v);
    if (v.kind == JJ_DICT) return true;
    snprintf(what, sizeof what, "message %zu: the arguments of a tool call", at);
    if (v.kind == JJ_STR && v.s->n > 0 && !jj_json_read(r, v.s->p, v.s->n, what, &v)) return false;
    if (v.kind == JJ_NONE || (v.kind == JJ_STR && v.s->n == 0)) {
        struct jj_dict *empty = jj_dict_new(r);
        if (!empty) return false;
        v = jj_of_dict(empty);
    }
    if (v.kind != JJ_DICT)
        return err_set(r->e, ALULA_FORMAT, "%s are a JSON %s, expected an object", what, jj_kind_name(v));
    return set_named(r, call, "arguments", v);
}

static bool prepare_calls(struct jj_run *r, struct jj_dict *message, size_t at)
{
    struct jj_value calls, call;
    if (!jj_dict_find_str(message, "tool_calls", &calls) || calls.kind != JJ_LIST) return true;
    for (size_t i = 0; i < calls.l->n; i++) {
        call = calls.l->v[i];
        if (call.kind == JJ_DICT) jj_dict_find_str(call.d, "function", &call);
        if (call.kind != JJ_DICT)
            return err_set(r->e, ALULA_FORMAT, "message %zu: tool call %zu is a JSON %s, expected an object",
                           at, i, jj_kind_name(call));
        if (!prepare_arguments(r, call.d, at)) return false;
    }
    return true;
}

/* The three names that reasoning goes by. thinking ends up first, as in Hugging Face. */
static bool prepare_reasoning(struct jj_run *r, struct jj_dict *message)
{
    struct jj_value reasoning, thinking, key;
    if (!jj_dict_find_str(message, "reasoning_content", &reasoning) &&
        !jj_dict_find_str(message, "thinking", &reasoning) &&
        !jj_dict_find_str(message, "reasoning", &reasoning))
        return true;
    if (!jj_dict_find_str(message, "thinking", &thinking)) thinking = reasoning;
    if (!jj_dict_find_str(message, "reasoning_content", &key) &&
        !set_named(r, message, "reasoning_content", reasoning))
        return false;
    jj_dict_remove(message, "thinking");
    return jj_str_view(r, "thinking", 8, &key) && jj_dict_set_first(r, message, key, thinking);
}

static bool prepare_message(struct jj_run *r, struct jj_value v, size_t at)
{
    if (v.kind != JJ_DICT)
        return err_set(r->e, ALULA_FORMAT, "message %zu is a JSON %s, expected an object", at,
                       jj_kind_name(v));
    jj_dict_remove_none(v.d);
    return prepare_reasoning(r, v.d) && prepare_calls(r, v.d, at);
}

static bool prepare_messages(struct jj_run *r, const struct jj_dict *context)
{
    struct jj_value v;
    if (!jj_dict_find_str(context, "messages", &v) || v.kind != JJ_LIST)
        return err_set(r->e, ALULA_FORMAT, "\"messages\" is missing or no list");
    if (v.l->n == 0) return err_set(r->e, ALULA_FORMAT, "\"messages\" is empty");
    for (size_t i = 0; i < v.l->n; i++)
        if (!prepare_message(r, v.l->v[i], i)) return false;
    return true;
}

/* Variables that are defined in any case. */
static bool prepare_variables(struct jj_run *r, const struct chat_template *t, struct jj_dict *context)
{
    struct jj_value v;
    if (!jj_dict_find_str(context, "tools", &v) || (v.kind == JJ_LIST && v.l->n == 0))
        if (!set_named(r, context, "tools", jj_none())) return false;
    if (!jj_dict_find_str(context, "documents", &v) && !set_named(r, context, "documents", jj_none()))
        return false;
    if (!jj_dict_find_str(context, "add_generation_prompt", &v) &&
        !set_named(r, context, "add_generation_prompt", jj_bool(false)))
        return false;
    for (size_t i = 0; i < t->n_tokens; i++) {
        const struct token *token = &t->tokens[i];
        struct jj_value text;
        if (jj_dict_find_str(context, token->name, &v)) continue;
        if (!jj_str_view(r, token->text, strlen(token->text), &text) ||
            !set_named(r, context, token->name, text))
            return false;
    }
    return true;
}

/* ---- continuing the last message ----------------------------------------------------------------------- */

/* Ends its text, so that the place is found again in what the template makes of it: two characters that mean nothing. */
static const char last_end[] = "\xf4\x8f\xbf\xbd\xf4\x8f\xbf\xbc";

/* *ret: whether it shall be continued. What the template would write behind its text is taken out where it can be. */
static bool prepare_last(struct jj_run *r, struct jj_dict *context, bool *ret)
{
    struct jj_value v, messages, text = jj_none();
    *ret = jj_dict_find_str(context, "continue_final_message", &v) && jj_truth(v);
    jj_dict_remove(context, "continue_final_message");
    if (!*ret) return true;
    if (jj_dict_find_str(context, "add_generation_prompt", &v) && jj_truth(v))
        return err_set(r->e, ALULA_FORMAT,
                       "\"continue_final_message\" and \"add_generation_prompt\" exclude each other");
    jj_dict_find_str(context, "messages", &messages);
    struct jj_dict *last = messages.l->v[messages.l->n - 1].d;
    jj_dict_find_str(last, "content", &text);
    if (text.kind != JJ_STR)
        return err_set(r->e, ALULA_FORMAT, "the last message has no text that could be continued");
    jj_dict_remove(last, "tool_calls");
    return jj_str_view(r, text.s->p, text.s->n - jj_space_after(text.s->p, text.s->n), &text) &&
           jj_str_append(r, text.s, last_end, sizeof last_end - 1, &text) &&
           set_named(r, last, "content", text);
}

static bool cut_behind_last(struct jj_run *r)
{
    struct buf *out = r->out;
    size_t end = SIZE_MAX, at = r->out_base;
    for (size_t next;
         (next = jj_find(out->data + at, out->len - at, last_end, sizeof last_end - 1)) != SIZE_MAX;)
        at = (end = at + next) + 1;
    out->len = end == SIZE_MAX ? r->out_base : end;
    out->data[out->len] = '\0';
    return end != SIZE_MAX ||
           err_set(r->e, ALULA_FORMAT, "the chat template does not write the last message");
}

/* ---- rendering ----------------------------------------------------------------------------------------- */

static bool choose(const struct chat_template *t, const struct jj_dict *context, const struct jinja **ret,
                   struct alula_error *e)
{
    struct jj_value tools = jj_none();
    jj_dict_find_str(context, "tools", &tools);
    *ret = tools.kind != JJ_NONE && t->tool_use ? t->tool_use : t->plain;
    return *ret || err_set(e, ALULA_NOT_FOUND,
                           "none of the model's chat templates serves this request, there are: %s", t->names);
}

static void begin(struct jj_run *r, const struct chat_template *t, struct buf *out, struct alula_error *e)
{
    jj_run_begin(r, t->plain ? t->plain : t->tool_use, 0, out, e);
}

static bool render(struct jj_run *r, const struct chat_template *t, const char *json, size_t n)
{
    struct jj_value v;
    bool continues;
    if (!jj_json_read(r, json, n, "the conversation", &v)) return false;
    if (v.kind != JJ_DICT)
        return err_set(r->e, ALULA_FORMAT, "the conversation is a JSON %s, expected an object",
                       jj_kind_name(v));
    return prepare_messages(r, v.d) && prepare_last(r, v.d, &continues) && prepare_variables(r, t, v.d) &&
           choose(t, v.d, &r->j, r->e) && jj_run_template(r, v.d) && (!continues || cut_behind_last(r));
}

bool chat_template_render(const struct chat_template *t, const char *json, size_t n, struct buf *out,
                          struct alula_error *e)
{
    struct jj_run r;
    begin(&r, t, out, e);
    bool ok = render(&r, t, json, n);
    jj_run_end(&r);
    return ok;
}

static bool is_markup(const void *tokenizer, const char *text, size_t n)
{
    return tokenizer_may_begin_added(tokenizer, text, n);
}

bool chat_template_encode(const struct chat_template *t, const struct tokenizer *tokenizer, const char *json,
                          size_t n, int32_t **ret_ids, size_t *ret_n, struct alula_error *e)
{
    struct jj_run r;
    struct buf text = {0};
    begin(&r, t, &text, e);
    r.marks.is_markup = is_markup;
    r.marks.arg = tokenizer;
    bool ok =
        render(&r, t, json, n) && tokenizer_encode_except(tokenizer, text.data ? text.data : "", text.len,
                                                          r.marks.out, r.marks.n_out, ret_ids, ret_n, e);
    jj_run_end(&r);
    buf_free(&text);
    return ok;
}
