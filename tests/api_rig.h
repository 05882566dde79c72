/* api_rig.h - bodies into requests, events into bytes: what the tests of the APIs share. Include once per program. */
#ifndef TESTS_API_RIG_H
#define TESTS_API_RIG_H

#include "tests/support.h"

#include <stdio.h>
#include <string.h>

#include "serve/reply.h"

static const struct alula_sampling plain = {.top_p = 1, .repetition_penalty = 1};

static inline bool read_body(struct request *r, const struct dialect *d, const char *text,
                             struct alula_error *e)
{
    request_init(r, d, &plain);
    r->body = json_parse(text, strlen(text), REQUEST_JSON_DEPTH, "body", e);
    assert_ok(r->body != NULL, *e);
    return d->read(r, r->body, e);
}

static inline void read_ok(struct request *r, const struct dialect *d, const char *text)
{
    struct alula_error e;
    bool ok = read_body(r, d, text, &e);
    assert_ok(ok, e);
}

static inline void refuses(const struct dialect *d, const char *text, const char *words)
{
    struct request r;
    struct alula_error e = {0};
    bool ok = read_body(&r, d, text, &e);
    if (ok || !strstr(e.message, words))
        fail_msg("%s: %s, expected a refusal with '%s'", text, ok ? "taken" : e.message, words);
    request_free(&r);
}

static inline void assert_json(const json_t *got, const char *expected)
{
    struct alula_error e;
    json_t *want = json_parse(expected, strlen(expected), 64, "expected", &e);
    assert_ok(want != NULL, e);
    if (!json_equal(got, want)) {
        char *text = json_dumps(got, JSON_ENCODE_ANY);
        fail_msg("got %s\nexpected %s", text, expected);
    }
    json_decref(want);
}

/* A reply that is fed with events; what it sends is kept. */
struct talk {
    struct request r;
    struct reply *reply;
    struct buf out;
};

static inline void talk_begin(struct talk *t, const struct dialect *d, const char *body)
{
    struct alula_error e;
    memset(t, 0, sizeof *t);
    read_ok(&t->r, d, body);
    t->r.n_prompts = 1;
    t->r.prompts = mem_zalloc(1, sizeof *t->r.prompts);
    t->r.prompts[0].n = 20;
    bool ok = reply_create(&t->reply, &t->r, "ab", "tiny", 1700000000, &e);
    assert_ok(ok, e);
    t->reply->usage = (struct reply_usage){.prompt = 20, .cached = 12};
}

static inline void tell(struct talk *t, struct reply_event event)
{
    if (event.text) event.len = strlen(event.text);
    reply_add(t->reply, &event, &t->out);
    assert_false(t->out.failed);
}

static inline void talk_end(struct talk *t, enum reply_finish finish, const char *stop)
{
    t->reply->usage.completion = 7;
    t->reply->usage.reasoning = 3;
    tell(t, (struct reply_event){.kind = REPLY_FINISH, .finish = finish, .stop = stop});
    tell(t, (struct reply_event){.kind = REPLY_END});
}

static inline void talk_free(struct talk *t)
{
    reply_free(t->reply);
    request_free(&t->r);
    buf_free(&t->out);
}

/* The answer that all streams here give: reasoning and text in two pieces each, then a call. */
static inline void tell_all(struct talk *t)
{
    tell(t, (struct reply_event){.kind = REPLY_START});
    tell(t, (struct reply_event){.kind = REPLY_REASONING, .text = "I th"});
    tell(t, (struct reply_event){.kind = REPLY_REASONING, .text = "ink"});
    tell(t, (struct reply_event){.kind = REPLY_CONTENT, .text = "Hello "});
    tell(t, (struct reply_event){.kind = REPLY_CONTENT, .text = "\"you\""});
    tell(t, (struct reply_event){.kind = REPLY_CALL, .name = "weather", .text = "{\"city\": \"Paris\"}"});
    talk_end(t, REPLY_CALLS, NULL);
}

/* Takes the next event out of the stream: its data as JSON, checked to be of the type that its event line
 * says. NULL at the end and for [DONE]. */
static inline json_t *next_event(const char **at)
{
    struct alula_error e;
    char type[80] = "";
    if (!strncmp(*at, "event: ", 7)) {
        size_t n = strcspn(*at + 7, "\n");
        assert_true(n < sizeof type);
        memcpy(type, *at + 7, n);
        *at += 7 + n + 1;
    }
    if (!**at) return NULL;
    assert_memory_equal(*at, "data: ", 6);
    const char *data = *at + 6, *end = strstr(data, "\n\n");
    assert_non_null(end);
    *at = end + 2;
    if (!strncmp(data, "[DONE]", 6)) return NULL;
    json_t *v = json_parse(data, (size_t)(end - data), 64, "event", &e);
    assert_ok(v != NULL, e);
    if (type[0]) assert_string_equal(json_string_value(json_object_get(v, "type")), type);
    return v;
}

#endif
