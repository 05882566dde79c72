/* api_chat.c - OpenAI's chat completions: POST /v1/chat/completions.
 *
 * Owns the names of this API's fields and the order of its chunks. Knows no HTTP and no engine. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "serve/reply.h"

#define WHAT          "the request"
#define CHOICES_MAX   16
#define TOKENS_MAX    (1 << 24)
#define LOGPROB_LEAST (-9999.0) /* what OpenAI writes for a token that cannot come */

/* ---- reading --------------------------------------------------------------------------------------------------- */

/* Calls that the assistant made earlier. Their arguments are checked where the template is run. */
static bool check_calls(const json_t *message, const char *where, struct alula_error *e)
{
    json_t *calls, *function;
    const json_t *call;
    const char *name;
    size_t i;
    if (!request_member(message, "tool_calls", JSON_ARRAY, &calls, where, e)) return false;
    json_array_foreach(calls, i, call)
    {
        char what[96];
        snprintf(what, sizeof what, "%s.tool_calls[%zu]", where, i);
        if (!json_is_object(call)) return err_set(e, ALULA_FORMAT, "%s is no object", what);
        if (!request_member(call, "function", JSON_OBJECT, &function, what, e)) return false;
        if (!json_get_str_or(function ? function : call, "name", "", &name, what, e)) return false;
        if (!*name) return err_set(e, ALULA_FORMAT, "%s: the function has no \"name\"", what);
    }
    return true;
}

/* A message as the template wants it: content is one text. */
static json_t *read_message(const json_t *given, const char *where, struct alula_error *e)
{
    char what[80];
    if (!json_is_object(given)) {
        err_set(e, ALULA_FORMAT, "%s is no object", where);
        return NULL;
    }
    const char *role, *reasoning;
    const json_t *content = json_object_get(given, "content");
    if (!json_get_str_or(given, "role", "", &role, where, e) || !check_calls(given, where, e) ||
        !json_get_str_or(given, "reasoning_content", NULL, &reasoning, where, e) ||
        !json_get_str_or(given, "reasoning", NULL, &reasoning, where, e))
        return NULL;
    snprintf(what, sizeof what, "%s.content", where);
    bool silent = strcmp(role, "assistant") == 0 && (!content || json_is_null(content));
    json_t *text = silent ? NULL : request_text(content, what, e);
    if (!silent && !text) return NULL;
    json_t *message = json_copy((json_t *)(uintptr_t)given),
           *other = json_object_get(given, "reasoning"); /* as some servers call it */
    bool named = json_is_string(json_object_get(given, "reasoning_content"));
    bool ok = message && (!text || json_object_set(message, "content", text) == 0) &&
              (named || !json_is_string(other) || json_object_set(message, "reasoning_content", other) == 0);
    json_decref(text);
    if (ok) return message;
    json_decref(message);
    request_no_memory(e);
    return NULL;
}

static bool read_messages(struct request *r, const json_t *body, struct alula_error *e)
{
    json_t *messages;
    const json_t *given;
    size_t i;
    if (!request_member(body, "messages", JSON_ARRAY, &messages, WHAT, e)) return false;
    if (json_array_size(messages) == 0)
        return err_set(e, ALULA_FORMAT,
                       WHAT ": \"messages\" is missing or empty, expected a list of messages");
    json_array_foreach(messages, i, given)
    {
        char where[32];
        snprintf(where, sizeof where, "messages[%zu]", i);
        json_t *message = read_message(given, where, e);
        if (!message || !request_add_message(r, message, where, e)) return false;
    }
    return true;
}

static bool read_tools(struct request *r, const json_t *body, struct alula_error *e)
{
    json_t *tools;
    enum tool_choice choice = TOOLS_AUTO;
    const char *name;
    return json_get_bool_or(body, "parallel_tool_calls", true, &r->parallel_calls, WHAT, e) &&
           request_member(body, "tools", JSON_ARRAY, &tools, WHAT, e) &&
           request_read_choice(body, &choice, &name, e) &&
           request_offer_tools(r, tools, choice, name, "tools", e);
}

static bool read_format(struct request *r, const json_t *body, struct alula_error *e)
{
    json_t *format, *named, *schema;
    const char *type;
    if (!request_member(body, "response_format", JSON_OBJECT, &format, WHAT, e)) return false;
    if (!format) return true;
    if (!json_get_str_or(format, "type", "text", &type, "response_format", e)) return false;
    if (strcmp(type, "text") == 0) return true;
    if (strcmp(type, "json_object") == 0) return request_constrain(r, json_pack("{s:s}", "type", type), e);
    if (strcmp(type, "json_schema") != 0)
        return err_set(e, ALULA_UNSUPPORTED,
                       "response_format: \"type\" is \"%.40s\", expected text, json_object or json_schema",
                       type);
    if (!request_member(format, "json_schema", JSON_OBJECT, &named, "response_format", e)) return false;
    schema = json_object_get(named, "schema");
    if (!json_is_object(schema))
        return err_set(e, ALULA_FORMAT, "response_format.json_schema: \"schema\" is missing or no object");
    return request_constrain(r, json_pack("{s:s, s:O}", "type", type, "schema", schema), e);
}

static bool read_limits(struct request *r, const json_t *body, struct alula_error *e)
{
    int64_t n, older, tokens, top;
    bool logprobs;
    if (!json_get_int_or(body, "n", 1, CHOICES_MAX, 1, &n, WHAT, e) ||
        !json_get_int_or(body, "max_tokens", 1, TOKENS_MAX, 0, &older, WHAT, e) ||
        !json_get_int_or(body, "max_completion_tokens", 1, TOKENS_MAX, older, &tokens, WHAT, e) ||
        !json_get_bool_or(body, "logprobs", false, &logprobs, WHAT, e) ||
        !json_get_int_or(body, "top_logprobs", 0, REQUEST_TOP_MAX, 0, &top, WHAT, e))
        return false;
    if (top && !logprobs)
        return err_set(e, ALULA_FORMAT, WHAT ": \"top_logprobs\" needs \"logprobs\" to be true");
    r->n = (int)n;
    r->max_tokens = (int)tokens;
    r->logprobs = logprobs ? 1 + (int)top : 0;
    return true;
}

static bool read_stream_options(const json_t *body, bool *ret, struct alula_error *e)
{
    json_t *options;
    *ret = false;
    return request_member(body, "stream_options", JSON_OBJECT, &options, WHAT, e) &&
           (!options || json_get_bool_or(options, "include_usage", false, ret, "stream_options", e));
}

/* "alula": {"trace": true}, alula's own field. */
static bool read_own(struct request *r, const json_t *body, struct alula_error *e)
{
    json_t *own;
    return request_member(body, "alula", JSON_OBJECT, &own, WHAT, e) &&
           (!own || json_get_bool_or(own, "trace", false, &r->trace, "alula", e));
}

/* The last message is answered even if it is the assistant's, unless the request says that it is to be continued, as it
 * does to other servers of open models. */
static bool read_begun(struct request *r, const json_t *body, struct alula_error *e)
{
    bool continues, turn;
    if (!json_get_bool_or(body, "continue_final_message", false, &continues, WHAT, e) ||
        !json_get_bool_or(body, "add_generation_prompt", !continues, &turn, WHAT, e))
        return false;
    if (continues && turn)
        return err_set(e, ALULA_FORMAT,
                       WHAT ": \"continue_final_message\" and \"add_generation_prompt\" exclude each other");
    return !continues || request_continue(r, e);
}

static bool chat_read(struct request *r, const json_t *body, struct alula_error *e)
{
    bool usage;
    r->conversation = json_object();
    if (!r->conversation) return request_no_memory(e);
    return request_read_common(r, body, e) && read_limits(r, body, e) &&
           request_read_stops(r, body, "stop", e) && read_stream_options(body, &usage, e) &&
           read_own(r, body, e) && request_read_thinking(r, body, e) && read_messages(r, body, e) &&
           read_tools(r, body, e) && read_format(r, body, e) && read_begun(r, body, e);
}

/* ---- writing --------------------------------------------------------------------------------------------------- */

static const char *finish_name(enum reply_finish finish)
{
    static const char *const names[] = {"null", "\"stop\"", "\"length\"", "\"tool_calls\""};
    return names[finish];
}

static void write_token(struct buf *out, const struct reply_logprob *t)
{
    buf_byte(out, '{');
    reply_write_str(out, "token", t->bytes, t->len);
    buf_str(out, ", \"logprob\": ");
    json_write_real(out, t->logprob > LOGPROB_LEAST ? t->logprob : LOGPROB_LEAST);
    buf_str(out, ", \"bytes\": [");
    for (size_t i = 0; i < t->len; i++) buf_fmt(out, "%s%u", i ? ", " : "", (unsigned char)t->bytes[i]);
    buf_byte(out, ']');
}

/* "logprobs" of the rows that were not told yet. */
static void write_logprobs(const struct reply *r, struct reply_choice *c, struct buf *out)
{
    size_t width = (size_t)r->request->logprobs, first = c->rows_told;
    buf_str(out, ", \"logprobs\": ");
    if (!width || first == c->n_rows) {
        buf_str(out, "null");
        return;
    }
    buf_str(out, "{\"content\": [");
    for (; c->rows_told < c->n_rows; c->rows_told++) {
        const struct reply_logprob *row = c->rows + c->rows_told * width;
        if (c->rows_told > first) buf_str(out, ", ");
        write_token(out, row);
        buf_str(out, ", \"top_logprobs\": [");
        for (size_t i = 1; i < width && row[i].id >= 0; i++) {
            if (i > 1) buf_str(out, ", ");
            write_token(out, &row[i]);
            buf_byte(out, '}');
        }
        buf_str(out, "]}");
    }
    buf_str(out, "], \"refusal\": null}");
}

static void write_head(const struct reply *r, const char *object, struct buf *out)
{
    buf_fmt(out, "{\"id\": \"chatcmpl-%s\", \"object\": \"%s\", \"created\": %jd, ", r->id, object,
            (intmax_t)r->created);
    reply_write_str(out, "model", r->model, strlen(r->model));
    buf_str(out, ", \"choices\": [");
}

static void write_call(const struct reply *r, const struct reply_call *call, const char *arguments,
                       struct buf *out)
{
    buf_fmt(out, "\"id\": \"call_%s%d\", \"type\": \"function\", \"function\": {", r->id, call->number);
    reply_write_str(out, "name", call->name, strlen(call->name));
    buf_str(out, ", ");
    reply_write_str(out, "arguments", arguments, strlen(arguments));
    buf_str(out, "}}");
}

static void write_usage(const struct reply *r, struct buf *out)
{
    buf_str(out, ", \"usage\": ");
    reply_openai_usage(r, out);
}

static void write_facts(const struct reply *r, struct buf *out)
{
    buf_str(out, ", \"alula\": ");
    reply_write_facts(r, out);
}

/* ---- as a stream ----------------------------------------------------------------------------------------------- */

static void end_chunk(const struct reply *r, struct buf *chunk, struct buf *out)
{
    buf_str(chunk, reply_wants_usage(r) ? ", \"usage\": null}" : "}");
    reply_sse(out, NULL, chunk);
    buf_free(chunk);
}

/* A chunk of one choice, as far as its finish_reason; delta is what stands between the braces. */
static void begin_chunk(struct reply *r, int choice, const struct buf *delta, struct buf *chunk)
{
    struct reply_choice *c = &r->choices[choice];
    write_head(r, "chat.completion.chunk", chunk);
    buf_fmt(chunk, "{\"index\": %d, \"delta\": {%s}", choice, delta->len ? delta->data : "");
    write_logprobs(r, c, chunk);
    if (delta->failed) chunk->failed = true;
}

static void send_delta(struct reply *r, int choice, struct buf *delta, bool drafted, struct buf *out)
{
    struct buf chunk = {0};
    begin_chunk(r, choice, delta, &chunk);
    buf_str(&chunk, ", \"finish_reason\": null}]");
    if (r->request->trace) buf_fmt(&chunk, ", \"alula\": {\"drafted\": %s}", drafted ? "true" : "false");
    end_chunk(r, &chunk, out);
    buf_free(delta);
}

static void send_text(struct reply *r, const struct reply_event *event, struct buf *out)
{
    struct buf delta = {0};
    reply_write_str(&delta, event->kind == REPLY_CONTENT ? "content" : "reasoning_content", event->text,
                    event->len);
    send_delta(r, event->choice, &delta, event->drafted, out);
}

/* First who is called, then with what: clients that draw a call as it comes expect the two apart. */
static void send_call(struct reply *r, const struct reply_event *event, struct buf *out)
{
    const struct reply_choice *c = &r->choices[event->choice];
    int index = c->n_calls - 1;
    struct buf delta = {0};
    buf_fmt(&delta, "\"tool_calls\": [{\"index\": %d, ", index);
    write_call(r, &c->calls[index], "", &delta);
    buf_byte(&delta, ']');
    send_delta(r, event->choice, &delta, false, out);
    buf_fmt(&delta, "\"tool_calls\": [{\"index\": %d, \"function\": {", index);
    reply_write_str(&delta, "arguments", event->text, event->len);
    buf_str(&delta, "}}]");
    send_delta(r, event->choice, &delta, false, out);
}

/* The chunks that close each choice, then the usage if it was asked for; the last of all bears alula's own object. */
static void send_end(struct reply *r, struct buf *out)
{
    const struct buf nothing = {0};
    struct buf chunk = {0};
    bool usage = reply_wants_usage(r);
    for (int i = 0; i < r->n_choices; i++) {
        begin_chunk(r, i, &nothing, &chunk);
        buf_fmt(&chunk, ", \"finish_reason\": %s}]", finish_name(r->choices[i].finish));
        if (!usage && i == r->n_choices - 1) write_facts(r, &chunk);
        end_chunk(r, &chunk, out);
    }
    if (usage) {
        write_head(r, "chat.completion.chunk", &chunk);
        buf_byte(&chunk, ']');
        write_usage(r, &chunk);
        write_facts(r, &chunk);
        buf_byte(&chunk, '}');
        reply_sse(out, NULL, &chunk);
        buf_free(&chunk);
    }
    buf_str(out, "data: [DONE]\n\n");
}

static void chat_stream(struct reply *r, const struct reply_event *event, struct buf *out)
{
    struct buf text = {0};
    switch (event->kind) {
    case REPLY_START:
        for (int i = 0; i < r->n_choices; i++) {
            buf_str(&text, "\"role\": \"assistant\", \"content\": \"\"");
            send_delta(r, i, &text, false, out);
        }
        break;
    case REPLY_REASONING:
    case REPLY_CONTENT: send_text(r, event, out); break;
    case REPLY_CALL: send_call(r, event, out); break;
    case REPLY_END: send_end(r, out); break;
    case REPLY_ERROR: reply_openai_broken(event, out); break;
    case REPLY_TOKENS: /* told with the text that they make */
    case REPLY_FINISH: /* told at the end, where the facts are known */
    case REPLY_NONE: break;
    }
}

/* ---- as one body ----------------------------------------------------------------------------------------------- */

static void write_message(const struct reply *r, const struct reply_choice *c, struct buf *out)
{
    buf_str(out, "\"message\": {\"role\": \"assistant\", ");
    if (c->content.len || !c->n_calls)
        reply_write_str(out, "content", c->content.data, c->content.len);
    else
        buf_str(out, "\"content\": null");
    buf_str(out, ", \"refusal\": null");
    if (c->reasoning.len) {
        buf_str(out, ", ");
        reply_write_str(out, "reasoning_content", c->reasoning.data, c->reasoning.len);
    }
    for (int i = 0; i < c->n_calls; i++) {
        buf_str(out, i ? ", {" : ", \"tool_calls\": [{");
        write_call(r, &c->calls[i], c->calls[i].arguments, out);
    }
    buf_str(out, c->n_calls ? "]}" : "}");
}

static void chat_body(struct reply *r, struct buf *out)
{
    write_head(r, "chat.completion", out);
    for (int i = 0; i < r->n_choices; i++) {
        struct reply_choice *c = &r->choices[i];
        buf_fmt(out, "%s{\"index\": %d, ", i ? ", " : "", i);
        write_message(r, c, out);
        write_logprobs(r, c, out);
        buf_fmt(out, ", \"finish_reason\": %s}", finish_name(c->finish));
    }
    buf_byte(out, ']');
    write_usage(r, out);
    write_facts(r, out);
    buf_byte(out, '}');
}

const struct dialect dialect_chat = {
    .path = "/v1/chat/completions",
    .read = chat_read,
    .stream = chat_stream,
    .body = chat_body,
    .error = reply_openai_error,
};
