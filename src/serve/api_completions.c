/* api_completions.c - OpenAI's completions: POST /v1/completions, a text or ids without a chat template.
 *
 * Owns the names of this API's fields and its older form of logprobs. Knows no HTTP and no engine. */
#include <math.h>
#include <string.h>

#include "serve/reply.h"

#define WHAT         "the request"
#define CHOICES_MAX  16
#define TOKENS_MAX   (1 << 24)
#define TOKENS_USUAL 16 /* what this API grants where nothing is said */

/* ---- reading ------------------------------------------------------------------------------------------- */

static bool is_ids(const json_t *list)
{
    const json_t *id;
    size_t i;
    json_array_foreach(list, i, id) if (!json_is_integer(id)) return false;
    return json_is_array(list) && json_array_size(list) > 0;
}

/* A text, ids, or a list of those. */
static bool read_prompt(struct request *r, const json_t *body, struct alula_error *e)
{
    json_t *prompt = json_object_get(body, "prompt");
    const json_t *each;
    size_t i, n = json_array_size(prompt);
    if (json_is_string(prompt) || is_ids(prompt)) {
        r->texts = json_pack("[O]", prompt);
        return r->texts || err_set(e, ALULA_NOMEM, "out of memory for the request");
    }
    if (n == 0)
        return err_set(e, ALULA_FORMAT,
                       WHAT ": \"prompt\" is missing or empty, expected a text, ids, or a list of those");
    if (n * (size_t)r->n > REQUEST_CHOICES_MAX)
        return err_set(e, ALULA_LIMIT,
                       WHAT ": %zu prompts with %d answers each, at most %d answers in all are given", n,
                       r->n, REQUEST_CHOICES_MAX);
    json_array_foreach(prompt, i, each) if (!json_is_string(each) && !is_ids(each)) return err_set(
        e, ALULA_FORMAT, WHAT ": \"prompt\"[%zu] is neither a text nor a list of ids", i);
    r->texts = json_incref(prompt);
    return true;
}

static bool read_unusual(const json_t *body, int n, struct alula_error *e)
{
    const char *suffix;
    int64_t best_of;
    if (!json_get_str_or(body, "suffix", "", &suffix, WHAT, e) ||
        !json_get_int_or(body, "best_of", 1, CHOICES_MAX, n, &best_of, WHAT, e))
        return false;
    if (*suffix)
        return err_set(e, ALULA_UNSUPPORTED,
                       WHAT ": \"suffix\" is given; texts are only continued, not filled in");
    return best_of == n ||
           err_set(e, ALULA_UNSUPPORTED, WHAT ": \"best_of\" differs from \"n\"; all answers are given");
}

static bool completions_read(struct request *r, const json_t *body, struct alula_error *e)
{
    int64_t n, tokens, top;
    if (!json_get_int_or(body, "n", 1, CHOICES_MAX, 1, &n, WHAT, e) ||
        !json_get_int_or(body, "max_tokens", 0, TOKENS_MAX, TOKENS_USUAL, &tokens, WHAT, e) ||
        !json_get_int_or(body, "logprobs", 0, REQUEST_TOP_MAX, -1, &top, WHAT, e) ||
        !json_get_bool_or(body, "echo", false, &r->echo, WHAT, e))
        return false;
    r->n = (int)n;
    r->max_tokens = (int)tokens;
    r->no_answer = tokens == 0;
    r->logprobs = (int)top + 1;
    r->score_prompt = r->echo && r->logprobs;
    return request_read_common(r, body, e) && request_read_stops(r, body, "stop", e) &&
           read_unusual(body, r->n, e) && read_prompt(r, body, e);
}

/* ---- writing ------------------------------------------------------------------------------------------- */

static void write_number(struct buf *out, double v)
{
    if (isnan(v)) /* the first token of a prompt, which nothing foretells */
        buf_str(out, "null");
    else
        json_write_real(out, v);
}

static size_t characters(const char *text, size_t len)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) n += ((unsigned char)text[i] & 0xc0) != 0x80;
    return n;
}

/* The likeliest, and the token itself even if it is none of them. */
static void write_top(const struct reply_logprob *row, size_t width, struct buf *out)
{
    bool told = false;
    const char *comma = "";
    if (isnan(row->logprob)) {
        buf_str(out, "null");
        return;
    }
    buf_byte(out, '{');
    for (size_t i = 1; i <= width; i++) {
        const struct reply_logprob *t = i < width ? &row[i] : row;
        if (t->id < 0 || (t == row && told)) continue;
        told |= t->id == row->id;
        buf_str(out, comma);
        comma = ", ";
        json_write_str(out, t->bytes, t->len);
        buf_str(out, ": ");
        json_write_real(out, t->logprob);
    }
    buf_byte(out, '}');
}

/* Four lists of equal length, of the rows from rows_told on. The choice's `block` counts characters told. */
static void write_logprobs(const struct reply *r, struct reply_choice *c, struct buf *out)
{
    size_t width = (size_t)r->request->logprobs, n = c->n_rows - c->rows_told;
    buf_str(out, ", \"logprobs\": ");
    if (!width || !n) {
        buf_str(out, "null");
        return;
    }
    const struct reply_logprob *rows = c->rows + c->rows_told * width;
    buf_str(out, "{\"tokens\": [");
    for (size_t i = 0; i < n; i++) {
        if (i) buf_str(out, ", ");
        json_write_str(out, rows[i * width].bytes, rows[i * width].len);
    }
    buf_str(out, "], \"token_logprobs\": [");
    for (size_t i = 0; i < n; i++) {
        if (i) buf_str(out, ", ");
        write_number(out, rows[i * width].logprob);
    }
    buf_str(out, "], \"top_logprobs\": [");
    for (size_t i = 0; i < n; i++) {
        if (i) buf_str(out, ", ");
        write_top(rows + i * width, width, out);
    }
    buf_str(out, "], \"text_offset\": [");
    for (size_t i = 0; i < n; i++) {
        buf_fmt(out, "%s%d", i ? ", " : "", c->block);
        c->block += (int)characters(rows[i * width].bytes, rows[i * width].len);
    }
    buf_str(out, "]}");
    c->rows_told = c->n_rows;
}

static void write_head(const struct reply *r, struct buf *out)
{
    buf_fmt(out,
            "{\"id\": \"cmpl-%s\", \"object\": \"text_completion\", \"created\": %jd, \"model\": ", r->id,
            (intmax_t)r->created);
    json_write_str(out, r->model, strlen(r->model));
    buf_str(out, ", \"choices\": [");
}

static void write_choice(struct reply *r, int index, const char *text, size_t len, enum reply_finish finish,
                         struct buf *out)
{
    static const char *const names[] = {"null", "\"stop\"", "\"length\"", "\"stop\""};
    buf_fmt(out, "{\"index\": %d, \"text\": ", index);
    json_write_str(out, text ? text : "", len);
    write_logprobs(r, &r->choices[index], out);
    buf_fmt(out, ", \"finish_reason\": %s}", names[finish]);
}

static void send_chunk(struct reply *r, int index, const char *text, size_t len, enum reply_finish finish,
                       struct buf *out)
{
    struct buf chunk = {0};
    write_head(r, &chunk);
    write_choice(r, index, text, len, finish, &chunk);
    buf_byte(&chunk, ']');
    if (finish && index == r->n_choices - 1) {
        buf_str(&chunk, ", \"alula\": ");
        reply_write_facts(r, &chunk);
    }
    buf_str(&chunk, reply_wants_usage(r) ? ", \"usage\": null}" : "}");
    reply_sse(out, NULL, &chunk);
    buf_free(&chunk);
}

static void send_end(struct reply *r, struct buf *out)
{
    struct buf chunk = {0};
    for (int i = 0; i < r->n_choices; i++) send_chunk(r, i, "", 0, r->choices[i].finish, out);
    if (reply_wants_usage(r)) {
        write_head(r, &chunk);
        buf_str(&chunk, "], \"usage\": ");
        reply_openai_usage(r, &chunk);
        buf_byte(&chunk, '}');
        reply_sse(out, NULL, &chunk);
        buf_free(&chunk);
    }
    buf_str(out, "data: [DONE]\n\n");
}

static void completions_stream(struct reply *r, const struct reply_event *event, struct buf *out)
{
    switch (event->kind) {
    case REPLY_CONTENT: send_chunk(r, event->choice, event->text, event->len, REPLY_RUNNING, out); break;
    case REPLY_END: send_end(r, out); break;
    case REPLY_ERROR: reply_openai_broken(event, out); break;
    default: break; /* nothing here reasons or calls; the rest is told with text or at the end */
    }
}

static void completions_body(struct reply *r, struct buf *out)
{
    write_head(r, out);
    for (int i = 0; i < r->n_choices; i++) {
        struct reply_choice *c = &r->choices[i];
        if (i) buf_str(out, ", ");
        write_choice(r, i, c->content.data, c->content.len, c->finish, out);
    }
    buf_str(out, "], \"usage\": ");
    reply_openai_usage(r, out);
    buf_str(out, ", \"alula\": ");
    reply_write_facts(r, out);
    buf_byte(out, '}');
}

const struct dialect dialect_completions = {
    .path = "/v1/completions",
    .read = completions_read,
    .stream = completions_stream,
    .body = completions_body,
    .error = reply_openai_error,
};
