/* Any bytes as the body of a request to any API: read or refused with a sentence, never a crash, a leak or undefined
 * behaviour. A request that was read is answered too, in whole and as a stream, and what is written must be JSON. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "serve/reply.h"

static const struct dialect *const dialects[] = {&dialect_chat, &dialect_completions, &dialect_messages,
                                                 &dialect_count_tokens, &dialect_responses};

static void must(bool condition)
{
    if (!condition) abort();
}

static void tell(struct reply *r, struct reply_event event, struct buf *out)
{
    if (event.text) event.len = strlen(event.text);
    reply_add(r, &event, out);
}

/* Every piece of data of a stream, or the whole body, is JSON. */
static void check_json(const char *text, size_t len)
{
    struct alula_error e;
    json_t *v = json_parse(text, len, REQUEST_JSON_DEPTH + 16, "reply", &e);
    must(v != NULL);
    json_decref(v);
}

static void check_stream(const char *at)
{
    for (const char *data, *end; (data = strstr(at, "data: ")); at = end) {
        data += 6;
        must((end = strstr(data, "\n\n")) != NULL);
        if (strncmp(data, "[DONE]", 6) != 0) check_json(data, (size_t)(end - data));
    }
}

static void answer(struct request *r)
{
    struct reply *reply;
    struct alula_error e;
    struct buf out = {0};
    r->n_prompts = r->texts ? (int)json_array_size(r->texts) : 1;
    r->prompts = mem_zalloc((size_t)r->n_prompts, sizeof *r->prompts);
    if (!r->prompts || !reply_create(&reply, r, "id", "model", 1, &e)) return;
    tell(reply, (struct reply_event){.kind = REPLY_START}, &out);
    tell(reply, (struct reply_event){.kind = REPLY_REASONING, .text = "hm"}, &out);
    tell(reply, (struct reply_event){.kind = REPLY_CONTENT, .text = "text"}, &out);
    if (r->tools) tell(reply, (struct reply_event){.kind = REPLY_CALL, .name = "f", .text = "{}"}, &out);
    tell(reply,
         (struct reply_event){
             .kind = REPLY_FINISH, .finish = REPLY_STOP, .stop = r->n_stops ? r->stops[0] : NULL},
         &out);
    tell(reply, (struct reply_event){.kind = REPLY_END}, &out);
    must(!out.failed && out.len > 0);
    if (r->stream)
        check_stream(out.data);
    else
        check_json(out.data, out.len);
    reply_free(reply);
    buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct alula_sampling plain = {.top_p = 1, .repetition_penalty = 1};
    struct alula_error e = {0};
    struct request r;
    if (size < 1) return 0;
    const struct dialect *d = dialects[data[0] % (sizeof dialects / sizeof *dialects)];
    request_init(&r, d, &plain);
    r.body = json_parse((const char *)data + 1, size - 1, REQUEST_JSON_DEPTH, "body", &e);
    if (!json_is_object(r.body)) {
        must(r.body || e.message[0]);
    } else if (d->read(&r, r.body, &e)) {
        answer(&r);
    } else {
        must(e.code != ALULA_OK && e.message[0]);
    }
    request_free(&r);
    return 0;
}
