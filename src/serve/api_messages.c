/* api_messages.c - Anthropic's Messages: POST /v1/messages, and what /v1/messages/count_tokens reads.
 *
 * Owns the names of this API's fields, what its content blocks become in a conversation, and the order of its events.
 * Knows no HTTP and no engine. */
#include <stdio.h>
#include <string.h>

#include "serve/reply.h"

#define WHAT       "the request"
#define TOKENS_MAX (1 << 24)

/* ---- reading: blocks of a message ------------------------------------------------------------------------------ */

/* A message under construction. A result of a tool is a message of its own in the template's world, so one message of
 * the API can become several. */
struct gather {
    struct request *request;
    const char *role, *where;
    struct buf text, thinking;
    json_t *calls; /* or NULL */
    bool any;
};

/* Hands over what was gathered, if anything. */
static bool gather_flush(struct gather *g, struct alula_error *e)
{
    if (!g->any) return true;
    json_t *message =
        json_pack("{s:s, s:s%}", "role", g->role, "content", g->text.data ? g->text.data : "", g->text.len);
    bool ok = message != NULL && !g->text.failed && !g->thinking.failed;
    if (ok && g->thinking.len)
        ok = json_object_set_new(message, "reasoning_content",
                                 json_stringn(g->thinking.data, g->thinking.len)) == 0;
    if (ok && g->calls) ok = json_object_set(message, "tool_calls", g->calls) == 0;
    json_decref(g->calls);
    g->calls = NULL;
    buf_clear(&g->text);
    buf_clear(&g->thinking);
    g->any = false;
    if (ok) return request_add_message(g->request, message, g->where, e);
    json_decref(message);
    return request_no_memory(e);
}

static bool add_string(struct buf *out, const json_t *block, const char *key, const char *where,
                       struct alula_error *e)
{
    json_t *text;
    if (!request_member(block, key, JSON_STRING, &text, where, e)) return false;
    if (!text) return err_set(e, ALULA_FORMAT, "%s: \"%s\" is missing, expected a string", where, key);
    buf_add(out, json_string_value(text), json_string_length(text));
    return true;
}

static bool add_call(struct gather *g, const json_t *block, const char *where, struct alula_error *e)
{
    const char *id, *name;
    json_t *input;
    if (!json_get_str_or(block, "id", "", &id, where, e) ||
        !json_get_str_or(block, "name", "", &name, where, e) ||
        !request_member(block, "input", JSON_OBJECT, &input, where, e))
        return false;
    if (!*name) return err_set(e, ALULA_FORMAT, "%s: \"name\" is missing or empty", where);
    json_t *call = json_pack("{s:s, s:s, s:{s:s, s:o}}", "id", id, "type", "function", "function", "name",
                             name, "arguments", input ? json_incref(input) : json_object());
    if (!g->calls) g->calls = json_array();
    return (call && json_array_append_new(g->calls, call) == 0) || request_no_memory(e);
}

static bool add_result(struct gather *g, const json_t *block, const char *where, struct alula_error *e)
{
    const json_t *content = json_object_get(block, "content");
    char what[128];
    snprintf(what, sizeof what, "%s.content", where);
    if (!gather_flush(g, e)) return false;
    json_t *text = content && !json_is_null(content) ? request_text(content, what, e) : json_string("");
    if (!text) return false;
    json_t *message = json_pack("{s:s, s:o}", "role", "tool", "content", text);
    return message ? request_add_message(g->request, message, where, e) : request_no_memory(e);
}

static bool add_block(struct gather *g, const json_t *block, const char *where, struct alula_error *e)
{
    const char *type;
    bool user = strcmp(g->role, "user") == 0;
    if (!json_is_object(block)) return err_set(e, ALULA_FORMAT, "%s is no object", where);
    if (!json_get_str_or(block, "type", "", &type, where, e)) return false;
    if (user && strcmp(type, "tool_result") == 0) return add_result(g, block, where, e);
    g->any = true;
    if (strcmp(type, "text") == 0) return add_string(&g->text, block, "text", where, e);
    if (!user && strcmp(type, "thinking") == 0) return add_string(&g->thinking, block, "thinking", where, e);
    if (!user && strcmp(type, "redacted_thinking") == 0) return true; /* sealed by another server */
    if (!user && strcmp(type, "tool_use") == 0) return add_call(g, block, where, e);
    return err_set(e, ALULA_UNSUPPORTED,
                   "%s: \"type\" is \"%.40s\"; of %s only %s are read, no images, documents or server tools",
                   where, type, user ? "the user" : "the assistant",
                   user ? "text and tool_result" : "text, thinking and tool_use");
}

static bool add_blocks(struct gather *g, const json_t *content, struct alula_error *e)
{
    const json_t *block;
    size_t i;
    json_array_foreach(content, i, block)
    {
        char where[96];
        snprintf(where, sizeof where, "%s.content[%zu]", g->where, i);
        if (!add_block(g, block, where, e)) return false;
    }
    return gather_flush(g, e);
}

static bool read_message(struct request *r, const json_t *given, const char *where, struct alula_error *e)
{
    struct gather g = {.request = r, .where = where};
    if (!json_is_object(given)) return err_set(e, ALULA_FORMAT, "%s is no object", where);
    if (!json_get_str_or(given, "role", "", &g.role, where, e)) return false;
    if (strcmp(g.role, "user") != 0 && strcmp(g.role, "assistant") != 0)
        return err_set(e, ALULA_FORMAT, "%s: \"role\" is \"%.40s\", expected user or assistant", where,
                       g.role);
    const json_t *content = json_object_get(given, "content");
    bool ok;
    if (json_is_string(content)) {
        buf_add(&g.text, json_string_value(content), json_string_length(content));
        g.any = true;
        ok = gather_flush(&g, e);
    } else if (json_is_array(content)) {
        g.any = json_array_size(content) == 0; /* an answer of nothing is a message, too */
        ok = add_blocks(&g, content, e);
    } else {
        ok = err_set(e, ALULA_FORMAT, "%s: \"content\" is neither a string nor a list of blocks", where);
    }
    json_decref(g.calls);
    buf_free(&g.text);
    buf_free(&g.thinking);
    return ok;
}

static bool read_system(struct request *r, const json_t *body, struct alula_error *e)
{
    const json_t *system = json_object_get(body, "system");
    if (!system || json_is_null(system)) return true;
    json_t *text = request_text(system, "system", e);
    if (!text) return false;
    json_t *message = json_pack("{s:s, s:o}", "role", "system", "content", text);
    return message ? request_add_message(r, message, "system", e) : request_no_memory(e);
}

static bool read_messages(struct request *r, const json_t *body, struct alula_error *e)
{
    json_t *messages;
    const json_t *given;
    size_t i;
    if (!request_member(body, "messages", JSON_ARRAY, &messages, WHAT, e)) return false;
    size_t n = json_array_size(messages);
    if (n == 0)
        return err_set(e, ALULA_FORMAT,
                       WHAT ": \"messages\" is missing or empty, expected a list of messages");
    json_array_foreach(messages, i, given)
    {
        char where[32];
        snprintf(where, sizeof where, "messages[%zu]", i);
        if (!read_message(r, given, where, e)) return false;
    }
    return true;
}

/* ---- reading: the rest ----------------------------------------------------------------------------------------- */

/* {name, description, input_schema} as a chat template wants it. */
static json_t *read_tool(const json_t *given, const char *where, struct alula_error *e)
{
    const char *name, *type, *description;
    json_t *schema;
    if (!json_is_object(given)) {
        err_set(e, ALULA_FORMAT, "%s is no object", where);
        return NULL;
    }
    if (!json_get_str_or(given, "type", "custom", &type, where, e) ||
        !json_get_str_or(given, "name", "", &name, where, e) ||
        !json_get_str_or(given, "description", NULL, &description, where, e) ||
        !request_member(given, "input_schema", JSON_OBJECT, &schema, where, e))
        return NULL;
    if (strcmp(type, "custom") != 0) {
        err_set(e, ALULA_UNSUPPORTED,
                "%s: \"type\" is \"%.40s\"; only custom tools, with an \"input_schema\", can be offered",
                where, type);
        return NULL;
    }
    return request_make_tool(name, description, schema, e);
}

static bool read_choice(struct request *r, const json_t *body, enum tool_choice *ret, const char **name,
                        struct alula_error *e)
{
    static const char *const words[] = {"auto", "none", "any", "tool"};
    json_t *choice;
    const char *type;
    bool single;
    if (!request_member(body, "tool_choice", JSON_OBJECT, &choice, WHAT, e)) return false;
    *ret = TOOLS_AUTO;
    *name = NULL;
    if (!choice) return true;
    if (!json_get_str_or(choice, "type", "auto", &type, "tool_choice", e) ||
        !json_get_str_or(choice, "name", NULL, name, "tool_choice", e) ||
        !json_get_bool_or(choice, "disable_parallel_tool_use", false, &single, "tool_choice", e))
        return false;
    r->parallel_calls = !single;
    for (int i = 0; i < 4; i++)
        if (strcmp(type, words[i]) == 0) {
            *ret = (enum tool_choice)i;
            return *ret != TOOLS_NAMED || *name ||
                   err_set(e, ALULA_FORMAT, "tool_choice: \"name\" is missing");
        }
    return err_set(e, ALULA_FORMAT, "tool_choice: \"type\" is \"%.40s\", expected auto, any, tool or none",
                   type);
}
_Static_assert(TOOLS_AUTO == 0 && TOOLS_NONE == 1 && TOOLS_REQUIRED == 2 && TOOLS_NAMED == 3,
               "read_choice's words");

static bool read_tools(struct request *r, const json_t *body, struct alula_error *e)
{
    enum tool_choice choice = TOOLS_AUTO;
    const char *name;
    json_t *tools;
    if (!read_choice(r, body, &choice, &name, e) || !(tools = request_read_list(body, "tools", read_tool, e)))
        return false;
    bool ok = request_offer_tools(r, tools, choice, name, "tools", e);
    json_decref(tools);
    return ok;
}

/* thinking: {"type": "enabled" | "adaptive" | "disabled"}. Its budget is a wish that a model cannot be held to. */
static bool read_thinking(struct request *r, const json_t *body, struct alula_error *e)
{
    json_t *thinking;
    const char *type = "disabled";
    if (!request_member(body, "thinking", JSON_OBJECT, &thinking, WHAT, e)) return false;
    if (thinking && !json_get_str_or(thinking, "type", "", &type, "thinking", e)) return false;
    bool on = strcmp(type, "enabled") == 0 || strcmp(type, "adaptive") == 0;
    if (!on && strcmp(type, "disabled") != 0)
        return err_set(e, ALULA_FORMAT,
                       "thinking: \"type\" is \"%.40s\", expected enabled, adaptive or disabled", type);
    if (json_object_set_new(r->conversation, "enable_thinking", json_boolean(on)) < 0)
        return request_no_memory(e);
    return request_read_thinking(r, body, e);
}

/* output_config: {"format": {"type": "json_schema", "schema": {...}}}. */
static bool read_format(struct request *r, const json_t *body, struct alula_error *e)
{
    json_t *config, *format, *schema;
    const char *type;
    if (!request_member(body, "output_config", JSON_OBJECT, &config, WHAT, e)) return false;
    if (!config || !request_member(config, "format", JSON_OBJECT, &format, "output_config", e))
        return !config;
    if (!format) return true;
    if (!json_get_str_or(format, "type", "", &type, "output_config.format", e) ||
        !request_member(format, "schema", JSON_OBJECT, &schema, "output_config.format", e))
        return false;
    if (strcmp(type, "json_schema") != 0 || !schema)
        return err_set(e, ALULA_FORMAT,
                       "output_config.format: expected the type json_schema and a \"schema\"");
    return request_constrain(r, json_pack("{s:s, s:O}", "type", type, "schema", schema), e);
}

/* An answer that the client began is continued. */
static bool read_begun(struct request *r, const json_t *body, struct alula_error *e)
{
    const json_t *list = json_object_get(body, "messages"),
                 *last = json_array_get(list, json_array_size(list) - 1);
    return strcmp(json_string_value(json_object_get(last, "role")), "assistant") != 0 ||
           request_continue(r, e);
}

static bool read_conversation(struct request *r, const json_t *body, struct alula_error *e)
{
    r->conversation = json_object();
    if (!r->conversation) return request_no_memory(e);
    return read_thinking(r, body, e) && read_system(r, body, e) && read_messages(r, body, e) &&
           read_tools(r, body, e) && read_format(r, body, e) && read_begun(r, body, e);
}

static bool messages_read(struct request *r, const json_t *body, struct alula_error *e)
{
    int64_t tokens;
    if (!json_get_int(body, "max_tokens", 1, TOKENS_MAX, &tokens, WHAT, e)) return false;
    r->max_tokens = (int)tokens;
    return request_read_common(r, body, e) && request_read_stops(r, body, "stop_sequences", e) &&
           read_conversation(r, body, e);
}

/* ---- writing --------------------------------------------------------------------------------------------------- */

/* This API counts what came from the cache apart from the rest. */
static void write_usage(const struct reply_usage *u, struct buf *out)
{
    buf_fmt(out, "\"usage\": {\"input_tokens\": %jd, \"cache_creation_input_tokens\": 0, ",
            (intmax_t)(u->prompt - u->cached));
    buf_fmt(out, "\"cache_read_input_tokens\": %jd, \"output_tokens\": %jd}", (intmax_t)u->cached,
            (intmax_t)u->completion);
}

static void write_reason(const struct reply_choice *c, struct buf *out)
{
    const char *reason = c->finish == REPLY_CALLS    ? "tool_use"
                         : c->finish == REPLY_LENGTH ? "max_tokens"
                         : c->stop                   ? "stop_sequence"
                                                     : "end_turn";
    buf_fmt(out, "\"stop_reason\": \"%s\", \"stop_sequence\": ", reason);
    if (c->stop)
        json_write_str(out, c->stop, strlen(c->stop));
    else
        buf_str(out, "null");
}

static void write_head(const struct reply *r, struct buf *out)
{
    buf_fmt(out, "\"id\": \"msg_%s\", \"type\": \"message\", \"role\": \"assistant\", ", r->id);
    reply_write_str(out, "model", r->model, strlen(r->model));
}

static void write_call_head(const struct reply *r, const struct reply_call *call, struct buf *out)
{
    buf_fmt(out, "\"type\": \"tool_use\", \"id\": \"toolu_%s%d\", ", r->id, call->number);
    reply_write_str(out, "name", call->name, strlen(call->name));
}

/* ---- as a stream ----------------------------------------------------------------------------------------------- */

/* Sends data, a JSON object from behind its opening brace and type on, and frees it. */
static void send(const char *type, struct buf *data, struct buf *out)
{
    struct buf whole = {0};
    buf_fmt(&whole, "{\"type\": \"%s\"%s%s}", type, data->len ? ", " : "", data->len ? data->data : "");
    if (data->failed) whole.failed = true;
    reply_sse(out, type, &whole);
    buf_free(&whole);
    buf_free(data);
}

static void send_delta(const struct reply_choice *c, const char *type, const char *key, const char *text,
                       size_t len, struct buf *out)
{
    struct buf data = {0};
    buf_fmt(&data, "\"index\": %d, \"delta\": {\"type\": \"%s\", ", c->block, type);
    reply_write_str(&data, key, text, len);
    buf_byte(&data, '}');
    send("content_block_delta", &data, out);
}

/* Ends the block that is open, if any. A thinking block closes with a signature, which here signs nothing. */
static void close_block(struct reply_choice *c, struct buf *out)
{
    struct buf data = {0};
    if (c->open == REPLY_NONE) return;
    if (c->open == REPLY_REASONING) send_delta(c, "signature_delta", "signature", "", 0, out);
    buf_fmt(&data, "\"index\": %d", c->block++);
    send("content_block_stop", &data, out);
    c->open = REPLY_NONE;
}

/* content: the block as it is at first, from behind its opening brace on. */
static void open_block(struct reply_choice *c, enum reply_kind kind, const char *content, struct buf *out)
{
    struct buf data = {0};
    if (c->open == kind && kind != REPLY_CALL) return;
    close_block(c, out);
    buf_fmt(&data, "\"index\": %d, \"content_block\": {%s}", c->block, content);
    send("content_block_start", &data, out);
    c->open = kind;
}

static void send_call(struct reply *r, struct reply_choice *c, struct buf *out)
{
    const struct reply_call *call = &c->calls[c->n_calls - 1];
    struct buf head = {0};
    write_call_head(r, call, &head);
    buf_str(&head, ", \"input\": {}");
    open_block(c, REPLY_CALL, head.data ? head.data : "", out);
    if (head.failed) out->failed = true;
    buf_free(&head);
    send_delta(c, "input_json_delta", "partial_json", call->arguments, strlen(call->arguments), out);
}

/* What the cache has of the prompt is not known yet; clients take the last word from message_delta. The ping shows that
 * the connection lives while the prompt is read. */
static void send_start(const struct reply *r, struct buf *out)
{
    const struct reply_usage known = {.prompt = (int64_t)r->request->prompts[0].n};
    struct buf data = {0};
    buf_str(&data, "\"message\": {");
    write_head(r, &data);
    buf_str(&data, ", \"content\": [], \"stop_reason\": null, \"stop_sequence\": null, ");
    write_usage(&known, &data);
    buf_byte(&data, '}');
    send("message_start", &data, out);
    send("ping", &data, out);
}

static void send_end(const struct reply *r, struct reply_choice *c, struct buf *out)
{
    struct buf data = {0};
    close_block(c, out);
    buf_str(&data, "\"delta\": {");
    write_reason(c, &data);
    buf_str(&data, "}, ");
    write_usage(&r->usage, &data);
    buf_str(&data, ", \"alula\": ");
    reply_write_facts(r, &data);
    send("message_delta", &data, out);
    send("message_stop", &data, out);
}

static void messages_error(int status, const struct alula_error *error, struct buf *out)
{
    const char *type = status == 401   ? "authentication_error"
                       : status == 403 ? "permission_error"
                       : status == 404 ? "not_found_error"
                       : status == 413 ? "request_too_large"
                       : status == 429 ? "rate_limit_error"
                       : status == 503 ? "overloaded_error"
                       : status >= 500 ? "api_error"
                                       : "invalid_request_error";
    buf_fmt(out, "{\"type\": \"error\", \"error\": {\"type\": \"%s\", ", type);
    reply_write_str(out, "message", error->message, strlen(error->message));
    buf_str(out, "}}");
}

static void messages_stream(struct reply *r, const struct reply_event *event, struct buf *out)
{
    struct reply_choice *c = &r->choices[event->choice];
    struct buf data = {0};
    switch (event->kind) {
    case REPLY_START: send_start(r, out); break;
    case REPLY_REASONING:
        open_block(c, REPLY_REASONING, "\"type\": \"thinking\", \"thinking\": \"\", \"signature\": \"\"",
                   out);
        send_delta(c, "thinking_delta", "thinking", event->text, event->len, out);
        break;
    case REPLY_CONTENT:
        open_block(c, REPLY_CONTENT, "\"type\": \"text\", \"text\": \"\"", out);
        send_delta(c, "text_delta", "text", event->text, event->len, out);
        break;
    case REPLY_CALL: send_call(r, c, out); break;
    case REPLY_END: send_end(r, c, out); break;
    case REPLY_ERROR:
        messages_error(event->status, event->error, &data);
        reply_sse(out, "error", &data);
        buf_free(&data);
        break;
    case REPLY_TOKENS: /* this API tells no logprobs */
    case REPLY_FINISH: /* told at the end, where the usage is known */
    case REPLY_NONE: break;
    }
}

/* ---- as one body ----------------------------------------------------------------------------------------------- */

static void write_part(const struct reply *r, const struct reply_choice *c, const struct reply_part *part,
                       struct buf *out)
{
    size_t len = part->end - part->begin;
    buf_byte(out, '{');
    if (part->kind == REPLY_CALL) {
        write_call_head(r, &c->calls[part->call], out);
        buf_fmt(out, ", \"input\": %s", c->calls[part->call].arguments);
    } else if (part->kind == REPLY_REASONING) {
        buf_str(out, "\"type\": \"thinking\", ");
        reply_write_str(out, "thinking", c->reasoning.data + part->begin, len);
        buf_str(out, ", \"signature\": \"\"");
    } else {
        buf_str(out, "\"type\": \"text\", ");
        reply_write_str(out, "text", c->content.data + part->begin, len);
    }
    buf_byte(out, '}');
}

static void messages_body(struct reply *r, struct buf *out)
{
    const struct reply_choice *c = &r->choices[0];
    buf_byte(out, '{');
    write_head(r, out);
    buf_str(out, ", \"content\": [");
    for (int i = 0; i < c->n_parts; i++) {
        if (i) buf_str(out, ", ");
        write_part(r, c, &c->parts[i], out);
    }
    buf_str(out, "], ");
    write_reason(c, out);
    buf_str(out, ", ");
    write_usage(&r->usage, out);
    buf_str(out, ", \"alula\": ");
    reply_write_facts(r, out);
    buf_byte(out, '}');
}

static bool count_read(struct request *r, const json_t *body, struct alula_error *e)
{
    r->no_answer = true;
    return read_conversation(r, body, e);
}

static void count_body(struct reply *r, struct buf *out)
{
    buf_fmt(out, "{\"input_tokens\": %jd}", (intmax_t)r->usage.prompt);
}

const struct dialect dialect_messages = {
    .path = "/v1/messages",
    .read = messages_read,
    .stream = messages_stream,
    .body = messages_body,
    .error = messages_error,
};

const struct dialect dialect_count_tokens = {
    .path = "/v1/messages/count_tokens",
    .read = count_read,
    .stream = messages_stream,
    .body = count_body,
    .error = messages_error,
};
