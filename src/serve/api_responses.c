/* api_responses.c - OpenAI's Responses: POST /v1/responses.
 *
 * Owns the names of this API's fields, what its items become in a conversation, and the order of its events.
 * Nothing is stored: a conversation comes whole with each request. Knows no HTTP and no engine. */
#include <stdio.h>
#include <string.h>

#include "serve/reply.h"

#define WHAT       "the request"
#define TOKENS_MAX (1 << 24)

/* ---- reading: items of the input ----------------------------------------------------------------------- */

/* The turn of the assistant under construction: reasoning, text and calls come as items of their own, and the
 * template wants them as one message. */
struct turn {
    struct request *request;
    json_t *message; /* or NULL */
};

static bool turn_end(struct turn *t, const char *where, struct alula_error *e)
{
    json_t *message = t->message;
    t->message = NULL;
    return !message || request_add_message(t->request, message, where, e);
}

static bool turn_begin(struct turn *t, struct alula_error *e)
{
    if (!t->message) t->message = json_pack("{s:s, s:s}", "role", "assistant", "content", "");
    return t->message || request_no_memory(e);
}

/* Adds text behind what the turn's message has under key. */
static bool turn_text(struct turn *t, const char *key, const json_t *more, struct alula_error *e)
{
    if (!turn_begin(t, e)) return false;
    const json_t *before = json_object_get(t->message, key);
    struct buf text = {0};
    buf_add(&text, json_string_value(before), json_string_length(before));
    buf_add(&text, json_string_value(more), json_string_length(more));
    bool ok =
        buf_check(&text, key, e) &&
        (json_object_set_new(t->message, key, json_stringn(text.data ? text.data : "", text.len)) == 0 ||
         request_no_memory(e));
    buf_free(&text);
    return ok;
}

static bool add_text(struct request *r, const char *role, const json_t *text, const char *where,
                     struct alula_error *e)
{
    json_t *message = json_pack("{s:s, s:O}", "role", role, "content", text);
    return message ? request_add_message(r, message, where, e) : request_no_memory(e);
}

static bool read_said(struct turn *t, const json_t *item, const char *where, struct alula_error *e)
{
    const char *role;
    char what[96];
    if (!json_get_str_or(item, "role", "", &role, where, e)) return false;
    snprintf(what, sizeof what, "%s.content", where);
    json_t *text = request_text(json_object_get(item, "content"), what, e);
    bool ok = text && (strcmp(role, "assistant") == 0
                           ? turn_text(t, "content", text, e)
                           : turn_end(t, where, e) && add_text(t->request, role, text, where, e));
    json_decref(text);
    return ok;
}

/* Reasoning that is sealed says nothing here; what is open goes to the template. */
static bool read_reasoning(struct turn *t, const json_t *item, const char *where, struct alula_error *e)
{
    char what[96];
    snprintf(what, sizeof what, "%s.content", where);
    const json_t *content = json_object_get(item, "content");
    if (!content || json_is_null(content)) return true;
    json_t *text = request_text(content, what, e);
    bool ok = text && turn_text(t, "reasoning_content", text, e);
    json_decref(text);
    return ok;
}

static bool read_call(struct turn *t, const json_t *item, const char *where, struct alula_error *e)
{
    const char *id, *name, *arguments;
    if (!json_get_str_or(item, "call_id", "", &id, where, e) ||
        !json_get_str_or(item, "name", "", &name, where, e) ||
        !json_get_str_or(item, "arguments", "", &arguments, where, e))
        return false;
    if (!*name) return err_set(e, ALULA_FORMAT, "%s: \"name\" is missing or empty", where);
    if (!turn_begin(t, e)) return false;
    json_t *calls = json_object_get(t->message, "tool_calls");
    if (!calls && json_object_set_new(t->message, "tool_calls", calls = json_array()) < 0)
        return request_no_memory(e);
    json_t *call = json_pack("{s:s, s:s, s:{s:s, s:s}}", "id", id, "type", "function", "function", "name",
                             name, "arguments", arguments);
    return (call && json_array_append_new(calls, call) == 0) || request_no_memory(e);
}

static bool read_output(struct turn *t, const json_t *item, const char *where, struct alula_error *e)
{
    char what[96];
    snprintf(what, sizeof what, "%s.output", where);
    if (!turn_end(t, where, e)) return false;
    json_t *text = request_text(json_object_get(item, "output"), what, e);
    if (!text) return false;
    json_t *message = json_pack("{s:s, s:o}", "role", "tool", "content", text);
    return message ? request_add_message(t->request, message, where, e) : request_no_memory(e);
}

static bool read_item(struct turn *t, const json_t *item, const char *where, struct alula_error *e)
{
    static const struct {
        const char *type;
        bool (*read)(struct turn *t, const json_t *item, const char *where, struct alula_error *e);
    } kinds[] = {
        {"message", read_said},
        {"reasoning", read_reasoning},
        {"function_call", read_call},
        {"function_call_output", read_output},
    };
    const char *type;
    if (!json_is_object(item)) return err_set(e, ALULA_FORMAT, "%s is no object", where);
    if (!json_get_str_or(item, "type", "message", &type, where, e)) return false;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(type, kinds[i].type) == 0) return kinds[i].read(t, item, where, e);
    return err_set(
        e, ALULA_UNSUPPORTED,
        "%s: \"type\" is \"%.40s\", expected message, reasoning, function_call or function_call_output",
        where, type);
}

static bool read_items(struct request *r, const json_t *items, struct alula_error *e)
{
    struct turn t = {.request = r};
    const json_t *item;
    bool ok = true;
    size_t i;
    json_array_foreach(items, i, item)
    {
        char where[32];
        snprintf(where, sizeof where, "input[%zu]", i);
        if (!(ok = read_item(&t, item, where, e))) break;
    }
    ok = ok && turn_end(&t, "input", e);
    json_decref(t.message);
    return ok;
}

static bool read_input(struct request *r, const json_t *body, struct alula_error *e)
{
    json_t *instructions;
    const json_t *input = json_object_get(body, "input");
    if (!request_member(body, "instructions", JSON_STRING, &instructions, WHAT, e)) return false;
    if (instructions && !add_text(r, "system", instructions, "instructions", e)) return false;
    if (json_is_string(input)) return add_text(r, "user", input, "input", e);
    if (json_array_size(input) > 0) return read_items(r, input, e);
    return err_set(e, ALULA_FORMAT,
                   WHAT ": \"input\" is missing or empty, expected a text or a list of items");
}

/* ---- reading: the rest --------------------------------------------------------------------------------- */

/* {type, name, description, parameters} as a chat template wants it. */
static json_t *read_tool(const json_t *given, const char *where, struct alula_error *e)
{
    const char *name, *type, *description;
    json_t *parameters;
    if (!json_is_object(given)) {
        err_set(e, ALULA_FORMAT, "%s is no object", where);
        return NULL;
    }
    if (!json_get_str_or(given, "type", "", &type, where, e) ||
        !json_get_str_or(given, "name", "", &name, where, e) ||
        !json_get_str_or(given, "description", NULL, &description, where, e) ||
        !request_member(given, "parameters", JSON_OBJECT, &parameters, where, e))
        return NULL;
    if (strcmp(type, "function") != 0) {
        err_set(e, ALULA_UNSUPPORTED, "%s: \"type\" is \"%.40s\"; only functions can be offered", where,
                type);
        return NULL;
    }
    return request_make_tool(name, description, parameters, e);
}

static bool read_tools(struct request *r, const json_t *body, struct alula_error *e)
{
    enum tool_choice choice = TOOLS_AUTO;
    const char *name;
    json_t *tools;
    if (!json_get_bool_or(body, "parallel_tool_calls", true, &r->parallel_calls, WHAT, e) ||
        !request_read_choice(body, &choice, &name, e) ||
        !(tools = request_read_list(body, "tools", read_tool, e)))
        return false;
    bool ok = request_offer_tools(r, tools, choice, name, "tools", e);
    json_decref(tools);
    return ok;
}

/* text: {"format": {"type": "text" | "json_object" | "json_schema", "schema": {...}}}. */
static bool read_format(struct request *r, const json_t *body, struct alula_error *e)
{
    json_t *text, *format = NULL, *schema;
    const char *type;
    if (!request_member(body, "text", JSON_OBJECT, &text, WHAT, e)) return false;
    if (text && !request_member(text, "format", JSON_OBJECT, &format, "text", e)) return false;
    if (!format) return true;
    if (!json_get_str_or(format, "type", "text", &type, "text.format", e) ||
        !request_member(format, "schema", JSON_OBJECT, &schema, "text.format", e))
        return false;
    if (strcmp(type, "text") == 0) return true;
    if (strcmp(type, "json_object") == 0) return request_constrain(r, json_pack("{s:s}", "type", type), e);
    if (strcmp(type, "json_schema") != 0)
        return err_set(e, ALULA_UNSUPPORTED,
                       "text.format: \"type\" is \"%.40s\", expected text, json_object or json_schema", type);
    if (!schema) return err_set(e, ALULA_FORMAT, "text.format: \"schema\" is missing");
    return request_constrain(r, json_pack("{s:s, s:O}", "type", type, "schema", schema), e);
}

/* reasoning: {"effort": ...} is reasoning_effort of the other APIs. */
static bool read_effort(struct request *r, const json_t *body, struct alula_error *e)
{
    json_t *reasoning;
    const char *effort = NULL;
    if (!request_member(body, "reasoning", JSON_OBJECT, &reasoning, WHAT, e)) return false;
    if (reasoning && !json_get_str_or(reasoning, "effort", NULL, &effort, "reasoning", e)) return false;
    if (effort &&
        (json_object_set_new(r->conversation, "reasoning_effort", json_string(effort)) < 0 ||
         json_object_set_new(r->conversation, "enable_thinking", json_boolean(strcmp(effort, "none"))) < 0))
        return request_no_memory(e);
    return request_read_thinking(r, body, e);
}

/* What would need a server that remembers: to leave it alone would answer something else than was asked. */
static bool refuse_stored(const json_t *body, struct alula_error *e)
{
    static const char *const keys[] = {"previous_response_id", "conversation", "prompt"};
    bool background;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const json_t *v = json_object_get(body, keys[i]);
        if (v && !json_is_null(v))
            return err_set(e, ALULA_UNSUPPORTED,
                           WHAT ": \"%s\" is given, but nothing is stored here; send the conversation whole",
                           keys[i]);
    }
    if (!json_get_bool_or(body, "background", false, &background, WHAT, e)) return false;
    return !background ||
           err_set(e, ALULA_UNSUPPORTED,
                   WHAT ": \"background\" is true, but nothing is stored here; wait or stream");
}

static bool read_limits(struct request *r, const json_t *body, struct alula_error *e)
{
    int64_t tokens;
    if (!json_get_int_or(body, "max_output_tokens", 1, TOKENS_MAX, 0, &tokens, WHAT, e)) return false;
    r->max_tokens = (int)tokens;
    return true;
}

static bool responses_read(struct request *r, const json_t *body, struct alula_error *e)
{
    r->conversation = json_object();
    if (!r->conversation) return request_no_memory(e);
    return request_read_common(r, body, e) && request_read_stops(r, body, "stop", e) &&
           refuse_stored(body, e) && read_limits(r, body, e) && read_effort(r, body, e) &&
           read_input(r, body, e) && read_tools(r, body, e) && read_format(r, body, e);
}

/* ---- writing: items ------------------------------------------------------------------------------------ */

static const char *const prefixes[] = {
    [REPLY_REASONING] = "rs", [REPLY_CONTENT] = "msg", [REPLY_CALL] = "fc"};

static void write_item_id(const struct reply *r, enum reply_kind kind, int at, struct buf *out)
{
    buf_fmt(out, "\"%s_%s%d\"", prefixes[kind], r->id, at);
}

/* The one part of a message or of reasoning. */
static void write_content(enum reply_kind kind, const char *text, size_t len, struct buf *out)
{
    buf_fmt(out, "{\"type\": \"%s\", ", kind == REPLY_CONTENT ? "output_text" : "reasoning_text");
    reply_write_str(out, "text", text, len);
    buf_str(out, kind == REPLY_CONTENT ? ", \"annotations\": [], \"logprobs\": []}" : "}");
}

/* Item number `at` of the output. done: whole; else as it is when it begins. */
static void write_item(const struct reply *r, int at, bool done, struct buf *out)
{
    const struct reply_choice *c = &r->choices[0];
    const struct reply_part *part = &c->parts[at];
    const struct buf *all = part->kind == REPLY_CONTENT ? &c->content : &c->reasoning;
    bool last = at == c->n_parts - 1 && part->kind != REPLY_CALL,
         cut = last &&
               (c->finish == REPLY_LENGTH || c->finish == REPLY_RUNNING); /* at the limit, by an error */
    const char *status = !done ? "in_progress" : cut ? "incomplete" : "completed";
    buf_str(out, "{\"id\": ");
    write_item_id(r, part->kind, at, out);
    buf_fmt(out, ", \"status\": \"%s\", ", status);
    if (part->kind == REPLY_CALL) {
        const struct reply_call *call = &c->calls[part->call];
        buf_fmt(out, "\"type\": \"function_call\", \"call_id\": \"call_%s%d\", ", r->id, call->number);
        reply_write_str(out, "name", call->name, strlen(call->name));
        buf_str(out, ", ");
        reply_write_str(out, "arguments", call->arguments, done ? strlen(call->arguments) : 0);
        buf_byte(out, '}');
        return;
    }
    buf_str(out, part->kind == REPLY_CONTENT
                     ? "\"type\": \"message\", \"role\": \"assistant\", \"content\": ["
                     : "\"type\": \"reasoning\", \"summary\": [], \"content\": [");
    if (done) write_content(part->kind, all->data + part->begin, part->end - part->begin, out);
    buf_str(out, "]}");
}

/* ---- writing: the response ----------------------------------------------------------------------------- */

/* A member of the request said again, or what stands for its absence. */
static void write_echo(const struct reply *r, const char *key, const char *absent, struct buf *out)
{
    const json_t *v = json_object_get(r->request->body, key);
    buf_fmt(out, ", \"%s\": ", key);
    if (v && !json_is_null(v))
        json_write(out, v, 0);
    else
        buf_str(out, absent);
}

static void write_usage(const struct reply *r, struct buf *out)
{
    const struct reply_usage *u = &r->usage;
    buf_fmt(out, ", \"usage\": {\"input_tokens\": %jd, ", (intmax_t)u->prompt);
    buf_fmt(out, "\"input_tokens_details\": {\"cached_tokens\": %jd, \"cache_write_tokens\": 0}, ",
            (intmax_t)u->cached);
    buf_fmt(out, "\"output_tokens\": %jd, \"output_tokens_details\": {\"reasoning_tokens\": %jd}, ",
            (intmax_t)u->completion, (intmax_t)u->reasoning);
    buf_fmt(out, "\"total_tokens\": %jd}", (intmax_t)(u->prompt + u->completion));
}

/* status: "in_progress", "completed", "incomplete" or "failed"; error of the last. */
static void write_response(const struct reply *r, const char *status, const struct alula_error *error,
                           struct buf *out)
{
    const struct reply_choice *c = &r->choices[0];
    bool over = strcmp(status, "in_progress") != 0;
    buf_fmt(out, "{\"id\": \"resp_%s\", \"object\": \"response\", \"created_at\": %jd, \"status\": \"%s\", ",
            r->id, (intmax_t)r->created, status);
    reply_write_str(out, "model", r->model, strlen(r->model));
    buf_str(out, ", \"error\": ");
    if (error) {
        buf_str(out, "{\"code\": \"server_error\", ");
        reply_write_str(out, "message", error->message, strlen(error->message));
        buf_byte(out, '}');
    } else {
        buf_str(out, "null");
    }
    buf_str(out, ", \"incomplete_details\": ");
    buf_str(out, strcmp(status, "incomplete") == 0 ? "{\"reason\": \"max_output_tokens\"}" : "null");
    buf_str(out, ", \"output\": [");
    for (int i = 0; over && i < c->n_parts; i++) {
        if (i) buf_str(out, ", ");
        write_item(r, i, true, out);
    }
    buf_str(out, "], \"previous_response_id\": null, \"store\": false, \"truncation\": \"disabled\"");
    write_echo(r, "instructions", "null", out);
    write_echo(r, "max_output_tokens", "null", out);
    write_echo(r, "metadata", "{}", out);
    write_echo(r, "parallel_tool_calls", "true", out);
    write_echo(r, "reasoning", "{\"effort\": null, \"summary\": null}", out);
    write_echo(r, "text", "{\"format\": {\"type\": \"text\"}}", out);
    write_echo(r, "tool_choice", "\"auto\"", out);
    write_echo(r, "tools", "[]", out);
    buf_str(out, ", \"temperature\": ");
    json_write_real(out, r->request->sampling.temperature);
    buf_str(out, ", \"top_p\": ");
    json_write_real(out, r->request->sampling.top_p);
    if (over) {
        write_usage(r, out);
        buf_str(out, ", \"alula\": ");
        reply_write_facts(r, out);
    } else {
        buf_str(out, ", \"usage\": null");
    }
    buf_byte(out, '}');
}

static const char *final_status(const struct reply *r)
{
    return r->choices[0].finish == REPLY_LENGTH ? "incomplete" : "completed";
}

/* ---- as a stream --------------------------------------------------------------------------------------- */

/* Sends data, the event's members from behind its number on, and frees it. */
static void send(struct reply *r, const char *type, struct buf *data, struct buf *out)
{
    struct buf whole = {0};
    buf_fmt(&whole, "{\"type\": \"%s\", \"sequence_number\": %d, ", type, r->sequence++);
    buf_add(&whole, data->data, data->len);
    buf_byte(&whole, '}');
    if (data->failed) whole.failed = true;
    reply_sse(out, type, &whole);
    buf_free(&whole);
    buf_free(data);
}

static void send_response(struct reply *r, const char *type, const char *status,
                          const struct alula_error *error, struct buf *out)
{
    struct buf data = {0};
    buf_str(&data, "\"response\": ");
    write_response(r, status, error, &data);
    send(r, type, &data, out);
}

/* The members that say where in the output an event belongs. */
static void write_place(const struct reply *r, struct buf *data)
{
    const struct reply_choice *c = &r->choices[0];
    buf_str(data, "\"item_id\": ");
    write_item_id(r, c->parts[c->block].kind, c->block, data);
    buf_fmt(data, ", \"output_index\": %d, ", c->block);
    if (c->parts[c->block].kind != REPLY_CALL) buf_str(data, "\"content_index\": 0, ");
}

static void send_item(struct reply *r, const char *type, bool done, struct buf *out)
{
    struct buf data = {0};
    buf_fmt(&data, "\"output_index\": %d, \"item\": ", r->choices[0].block);
    write_item(r, r->choices[0].block, done, &data);
    send(r, type, &data, out);
}

/* "delta" or, when the item is whole, "text" or "arguments". */
static void send_text(struct reply *r, const char *type, const char *key, const char *text, size_t len,
                      struct buf *out)
{
    struct buf data = {0};
    write_place(r, &data);
    reply_write_str(&data, key, text, len);
    if (r->choices[0].parts[r->choices[0].block].kind == REPLY_CONTENT) buf_str(&data, ", \"logprobs\": []");
    send(r, type, &data, out);
}

static void send_content_part(struct reply *r, const char *type, const char *text, size_t len,
                              struct buf *out)
{
    const struct reply_choice *c = &r->choices[0];
    struct buf data = {0};
    write_place(r, &data);
    buf_str(&data, "\"part\": ");
    write_content(c->parts[c->block].kind, text, len, &data);
    send(r, type, &data, out);
}

/* Ends the item that is open, if any. */
static void close_item(struct reply *r, struct buf *out)
{
    struct reply_choice *c = &r->choices[0];
    if (c->open == REPLY_NONE) return;
    const struct reply_part *part = &c->parts[c->block];
    if (part->kind != REPLY_CALL) {
        const char *text = (part->kind == REPLY_CONTENT ? c->content.data : c->reasoning.data) + part->begin;
        size_t len = part->end - part->begin;
        send_text(r,
                  part->kind == REPLY_CONTENT ? "response.output_text.done" : "response.reasoning_text.done",
                  "text", text, len, out);
        send_content_part(r, "response.content_part.done", text, len, out);
    }
    send_item(r, "response.output_item.done", true, out);
    c->open = REPLY_NONE;
    c->block++;
}

/* Makes the part that was collected last the open item, if it is not. */
static void open_item(struct reply *r, struct buf *out)
{
    struct reply_choice *c = &r->choices[0];
    if (c->open != REPLY_NONE && c->block == c->n_parts - 1) return;
    close_item(r, out);
    c->open = c->parts[c->block].kind;
    send_item(r, "response.output_item.added", false, out);
    if (c->open != REPLY_CALL) send_content_part(r, "response.content_part.added", "", 0, out);
}

static void responses_stream(struct reply *r, const struct reply_event *event, struct buf *out)
{
    switch (event->kind) {
    case REPLY_START:
        send_response(r, "response.created", "in_progress", NULL, out);
        send_response(r, "response.in_progress", "in_progress", NULL, out);
        break;
    case REPLY_REASONING:
    case REPLY_CONTENT:
        open_item(r, out);
        send_text(
            r, event->kind == REPLY_CONTENT ? "response.output_text.delta" : "response.reasoning_text.delta",
            "delta", event->text, event->len, out);
        break;
    case REPLY_CALL:
        open_item(r, out);
        send_text(r, "response.function_call_arguments.delta", "delta", event->text, event->len, out);
        send_text(r, "response.function_call_arguments.done", "arguments", event->text, event->len, out);
        break;
    case REPLY_END:
        close_item(r, out);
        send_response(r, r->choices[0].finish == REPLY_LENGTH ? "response.incomplete" : "response.completed",
                      final_status(r), NULL, out);
        break;
    case REPLY_ERROR: send_response(r, "response.failed", "failed", event->error, out); break;
    case REPLY_TOKENS: /* not told by this API */
    case REPLY_FINISH: /* told at the end, where the usage is known */
    case REPLY_NONE: break;
    }
}

static void responses_body(struct reply *r, struct buf *out)
{
    write_response(r, final_status(r), NULL, out);
}

const struct dialect dialect_responses = {
    .path = "/v1/responses",
    .read = responses_read,
    .stream = responses_stream,
    .body = responses_body,
    .error = reply_openai_error,
};
