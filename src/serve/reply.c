/* reply.c - collects an answer's events, and what all APIs write alike.
 *
 * Owns the collected answer. Knows no API but the shape of OpenAI's errors, which is everybody's. */
#include "serve/reply.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

#define TEXT_MAX ((size_t)64 << 20) /* of one choice; toolcall.h has the same ceiling */

bool reply_create(struct reply **ret, const struct request *request, const char *id, const char *model,
                  int64_t created, struct alula_error *e)
{
    int n = request->n_prompts * request->n;
    struct reply *r = mem_zalloc(1, sizeof *r);
    if (r) r->choices = mem_zalloc((size_t)n, sizeof *r->choices);
    if (!r || !r->choices) {
        reply_free(r);
        return err_set(e, ALULA_NOMEM, "out of memory for a reply");
    }
    r->request = request;
    r->model = model;
    r->created = created;
    r->n_choices = n;
    r->facts.cache_source = "none";
    r->facts.cache_why = "";
    snprintf(r->id, sizeof r->id, "%s", id);
    for (int i = 0; i < n; i++) {
        buf_init(&r->choices[i].reasoning, TEXT_MAX);
        buf_init(&r->choices[i].content, TEXT_MAX);
    }
    *ret = r;
    return true;
}

static void choice_free(struct reply_choice *c)
{
    buf_free(&c->reasoning);
    buf_free(&c->content);
    for (int i = 0; i < c->n_calls; i++) {
        mem_free(c->calls[i].name);
        mem_free(c->calls[i].arguments);
    }
    mem_free(c->calls);
    mem_free(c->parts);
    mem_free(c->rows);
    mem_free(c->stop);
}

void reply_free(struct reply *r)
{
    if (!r) return;
    for (int i = 0; r->choices && i < r->n_choices; i++) choice_free(&r->choices[i]);
    mem_free(r->choices);
    mem_free(r);
}

/* ---- collecting ---------------------------------------------------------------------------------------- */

/* Text that goes on is the same part; all else begins one. */
static struct reply_part *collect_part(struct reply_choice *c, enum reply_kind kind)
{
    struct reply_part *last = c->n_parts ? &c->parts[c->n_parts - 1] : NULL;
    if (last && last->kind == kind && kind != REPLY_CALL) return last;
    struct reply_part *more = mem_realloc(c->parts, (size_t)(c->n_parts + 1) * sizeof *more);
    if (!more) return NULL;
    c->parts = more;
    more[c->n_parts] = (struct reply_part){.kind = kind};
    return &more[c->n_parts++];
}

static bool collect_call(struct reply *r, struct reply_choice *c, const struct reply_event *event)
{
    struct reply_call *more = mem_realloc(c->calls, (size_t)(c->n_calls + 1) * sizeof *more);
    if (!more) return false;
    c->calls = more;
    struct reply_part *part = collect_part(c, REPLY_CALL);
    if (!part) return false;
    part->call = c->n_calls;
    struct reply_call *call = &more[c->n_calls++];
    *call = (struct reply_call){r->n_calls++, mem_strdup(event->name), mem_strndup(event->text, event->len)};
    return call->name && call->arguments;
}

static bool collect_text(struct reply_choice *c, struct buf *all, const struct reply_event *event)
{
    bool goes_on = c->n_parts && c->parts[c->n_parts - 1].kind == event->kind;
    struct reply_part *part = collect_part(c, event->kind);
    if (!part) return false;
    if (!goes_on) part->begin = all->len;
    buf_add(all, event->text, event->len);
    part->end = all->len;
    return !all->failed;
}

static bool collect_rows(struct reply_choice *c, const struct reply_event *event, size_t width)
{
    size_t need = c->n_rows + (size_t)event->n_rows;
    if (need > c->rows_room) {
        size_t room = need + need / 2;
        struct reply_logprob *more = mem_realloc(c->rows, room * width * sizeof *more);
        if (!more) return false;
        c->rows = more;
        c->rows_room = room;
    }
    memcpy(c->rows + c->n_rows * width, event->rows, (size_t)event->n_rows * width * sizeof *c->rows);
    c->n_rows = need;
    return true;
}

static bool collect(struct reply *r, struct reply_choice *c, const struct reply_event *event)
{
    switch (event->kind) {
    case REPLY_REASONING: return collect_text(c, &c->reasoning, event);
    case REPLY_CONTENT: return collect_text(c, &c->content, event);
    case REPLY_CALL: return collect_call(r, c, event);
    case REPLY_TOKENS: return collect_rows(c, event, (size_t)r->request->logprobs);
    case REPLY_FINISH:
        c->finish = event->finish;
        c->stop = event->stop ? mem_strdup(event->stop) : NULL;
        return !event->stop || c->stop;
    default: return true;
    }
}

void reply_add(struct reply *r, const struct reply_event *event, struct buf *out)
{
    const struct dialect *d = r->request->dialect;
    if (!collect(r, &r->choices[event->choice], event)) out->failed = true;
    if (r->request->stream)
        d->stream(r, event, out);
    else if (event->kind == REPLY_END)
        d->body(r, out);
    else if (event->kind == REPLY_ERROR)
        d->error(event->status, event->error, out);
}

/* ---- writing ------------------------------------------------------------------------------------------- */

void reply_sse(struct buf *out, const char *event, const struct buf *data)
{
    if (event) buf_fmt(out, "event: %s\n", event);
    buf_str(out, "data: ");
    buf_add(out, data->data, data->len);
    buf_str(out, "\n\n");
    if (data->failed) out->failed = true;
}

void reply_write_str(struct buf *out, const char *key, const char *text, size_t len)
{
    buf_fmt(out, "\"%s\": ", key);
    json_write_str(out, text ? text : "", len);
}

bool reply_wants_usage(const struct reply *r)
{
    return json_is_true(
        json_object_get(json_object_get(r->request->body, "stream_options"), "include_usage"));
}

static void write_counts(struct buf *out, const char *key, const int64_t *counts, int n)
{
    buf_fmt(out, ", \"%s\": [", key);
    for (int i = 0; i < n; i++) buf_fmt(out, "%s%jd", i ? ", " : "", (intmax_t)counts[i]);
    buf_byte(out, ']');
}

static void write_real(struct buf *out, const char *key, double value)
{
    buf_fmt(out, ", \"%s\": ", key);
    json_write_real(out, value);
}

void reply_write_facts(const struct reply *r, struct buf *out)
{
    const struct reply_facts *f = &r->facts;
    const struct reply_usage *u = &r->usage;
    int depth = 0;
    for (int d = 0; d < ALULA_DEPTH_MAX; d++)
        if (f->drafted[d]) depth = d + 1;
    buf_fmt(out, "{\"max_tokens\": %d, \"depth\": ", f->max_tokens);
    if (f->depth == ALULA_DEPTH_AUTO)
        buf_str(out, "\"auto\"");
    else
        json_write_int(out, f->depth);
    write_counts(out, "drafted", f->drafted, depth);
    write_counts(out, "accepted", f->accepted, depth);
    buf_fmt(out, ", \"cycles\": %jd, \"cached_tokens\": %jd, \"read_tokens\": %jd", (intmax_t)f->cycles,
            (intmax_t)u->cached, (intmax_t)(u->prompt - u->cached));
    buf_fmt(out, ", \"cache_source\": \"%s\", \"cache_why\": \"%s\"", f->cache_source, f->cache_why);
    write_real(out, "queue_s", f->queue_s);
    write_real(out, "prefill_s", f->prefill_s);
    write_real(out, "first_token_s", f->first_token_s);
    write_real(out, "decode_s", f->decode_s);
    write_real(out, "decode_tok_s", f->decode_s > 0 ? (double)u->completion / f->decode_s : 0);
    buf_byte(out, '}');
}

void reply_openai_usage(const struct reply *r, struct buf *out)
{
    const struct reply_usage *u = &r->usage;
    buf_fmt(out, "{\"prompt_tokens\": %jd, \"completion_tokens\": %jd, \"total_tokens\": %jd",
            (intmax_t)u->prompt, (intmax_t)u->completion, (intmax_t)(u->prompt + u->completion));
    buf_fmt(out, ", \"prompt_tokens_details\": {\"cached_tokens\": %jd}", (intmax_t)u->cached);
    buf_fmt(out, ", \"completion_tokens_details\": {\"reasoning_tokens\": %jd}}", (intmax_t)u->reasoning);
}

int reply_status(enum alula_code code)
{
    switch (code) {
    case ALULA_NOT_FOUND: return 404;
    case ALULA_BUSY: return 429;
    case ALULA_CANCELLED:
    case ALULA_NOMEM: return 503;
    case ALULA_IO:
    case ALULA_INTERNAL: return 500;
    default: return 400;
    }
}

void reply_openai_error(int status, const struct alula_error *error, struct buf *out)
{
    const char *type = status == 401   ? "authentication_error"
                       : status == 403 ? "permission_error"
                       : status == 429 ? "rate_limit_error"
                       : status >= 500 ? "server_error"
                                       : "invalid_request_error";
    buf_str(out, "{\"error\": {\"message\": ");
    json_write_str(out, error->message, strlen(error->message));
    buf_fmt(out, ", \"type\": \"%s\", \"param\": null, \"code\": ", type);
    buf_str(out, status == 401                ? "\"invalid_api_key\"}}"
                 : error->code == ALULA_LIMIT ? "\"limit_exceeded\"}}"
                                              : "null}}");
}

void reply_openai_broken(const struct reply_event *event, struct buf *out)
{
    struct buf data = {0};
    reply_openai_error(event->status, event->error, &data);
    reply_sse(out, NULL, &data);
    buf_free(&data);
    buf_str(out, "data: [DONE]\n\n");
}
