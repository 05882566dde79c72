/* The server at its socket: every way to be refused has its status, every way to break off leaves it standing. Clients
 * here are plain sockets, so that they can be as rude as they like. */
#include "tests/engine_rig.h"
#include "tests/support.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "serve/http.h"

/* ---- a server --------------------------------------------------------------------------------------------------------------- */

struct server {
    struct site site;
    struct http *http;
};

struct setting {
    const char *key, *cors;
    int parallel, queue, idle_s; /* 0 = 4, 16, 60 */
};

static void server_open(struct server *s, struct setting w)
{
    struct alula_error e;
    struct scheduler_options so = {.model = "tiny",
                                   .n_threads = 1,
                                   .parallel = w.parallel ? w.parallel : 4,
                                   .queue = w.queue ? w.queue : 16,
                                   .n_ctx = 2048,
                                   .depth = ALULA_DEPTH_AUTO,
                                   .memory = (size_t)1 << 30,
                                   .cache_memory = (size_t)16 << 20};
    struct http_options ho = {
        .host = "127.0.0.1", .tries = 1, .guard = {.key = w.key, .cors = w.cors}, .idle_s = w.idle_s};
    *s = (struct server){.site = {.engine = engine,
                                  .model = "tiny",
                                  .n_ctx = 2048,
                                  .started = 1,
                                  .sampling = {.top_p = 1, .repetition_penalty = 1}}};
    bool ok =
        scheduler_create(&s->site.scheduler, engine, &so, &e) && http_start(&s->http, &s->site, &ho, &e);
    assert_ok(ok, e);
}

static void server_close(struct server *s)
{
    scheduler_stop(s->site.scheduler);
    http_stop(s->http);
    scheduler_free(s->site.scheduler);
}

static void wait_until_idle(struct server *s)
{
    struct scheduler_stats t;
    do {
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
        scheduler_describe(s->site.scheduler, &t);
    } while (t.open);
}

/* ---- a client --------------------------------------------------------------------------------------------------------------- */

static int dial(const struct server *s)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)http_port(s->http))};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

/* False if the server closes before it has all. */
static bool put(int fd, const void *p, size_t n)
{
    const char *at = p;
    while (n) {
        ssize_t k = send(fd, at, n, MSG_NOSIGNAL);
        if (k <= 0) return false;
        at += k;
        n -= (size_t)k;
    }
    return true;
}

static bool put_text(int fd, const char *text) { return put(fd, text, strlen(text)); }

/* Everything up to the end of the connection, or n bytes. A reset is an end. */
static void take(int fd, size_t n, struct buf *out)
{
    char block[4096];
    while (out->len < n) {
        ssize_t k = recv(fd, block, sizeof block < n - out->len ? sizeof block : n - out->len, 0);
        if (k <= 0) break;
        buf_add(out, block, (size_t)k);
    }
    if (!out->data) buf_str(out, "");
}

static int status_of(const struct buf *reply)
{
    return reply->len > 12 && strncmp(reply->data, "HTTP/1.1 ", 9) == 0 ? atoi(reply->data + 9) : 0;
}

/* A request with Host and Content-Length, on a connection that ends with it. headers: whole lines, or "". */
static void write_request(struct buf *out, const char *line, const char *headers, const void *body, size_t n)
{
    buf_fmt(out, "%s HTTP/1.1\r\nConnection: close\r\n%s%sContent-Length: %zu\r\n\r\n", line,
            strstr(headers, "Host:") ? "" : "Host: localhost\r\n", headers, n);
    buf_add(out, body, n);
}

static int ask(const struct server *s, const char *line, const char *headers, const char *body,
               struct buf *reply)
{
    struct buf request = {0};
    int fd = dial(s);
    write_request(&request, line, headers, body, strlen(body));
    buf_clear(reply);
    put(fd, request.data, request.len);
    take(fd, SIZE_MAX, reply);
    close(fd);
    buf_free(&request);
    return status_of(reply);
}

static void expect(const struct server *s, int status, const char *line, const char *headers,
                   const char *body, const char *words)
{
    struct buf reply = {0};
    int got = ask(s, line, headers, body, &reply);
    if (got != status || !strstr(reply.data, words))
        fail_msg("%s %s %.60s: status %d, expected %d with '%s' in: %.600s", line, headers, body, got, status,
                 words, reply.data);
    buf_free(&reply);
}

#define CHAT  "POST /v1/chat/completions"
#define SHORT "{\"max_tokens\": 4, \"messages\": [{\"role\": \"user\", \"content\": \"Say cat.\"}]}"
#define TOKENS(n, stream)                                                                                    \
    "{\"stream\": " stream ", \"max_tokens\": " #n                                                           \
    ", \"depth\": 0, \"temperature\": 1, \"seed\": 3, \"logit_bias\": "                                      \
    "{\"2039\": -100, \"2041\": -100}, \"messages\": [{\"role\": \"user\", \"content\": \"Say cat.\"}]}"
#define LONG(stream) TOKENS(1900, stream)

/* ---- what is there, and what is not ------------------------------------------------------------------------------------------ */

static void every_path_has_its_status(void **state)
{
    (void)state;
    struct server s;
    server_open(&s, (struct setting){0});
    expect(&s, 200, "GET /health", "", "", "\"status\": \"ok\"");
    expect(&s, 200, "HEAD /health", "", "", "X-Request-Id: ");
    expect(&s, 200, "GET /v1/models", "", "", "\"id\": \"tiny\"");
    expect(&s, 200, "GET /v1/models/tiny", "", "", "\"object\": \"model\"");
    expect(&s, 404, "GET /v1/models/huge", "", "", "huge");
    expect(&s, 200, "GET /metrics", "", "", "alula_requests_running 0");
    expect(&s, 200, "GET /", "", "", "<!doctype html>");
    expect(&s, 404, "GET /nothing", "", "", "/nothing");
    expect(&s, 405, "POST /health", "", "{}", "Allow: GET");
    expect(&s, 405, "GET /v1/chat/completions", "", "", "Allow: POST");
    expect(&s, 405, "DELETE /v1/models", "", "", "Allow: GET");
    static const char *const tricks[] = {"GET /../etc/passwd",    "GET /v1/../health",
                                         "GET //health",          "GET /health%00",
                                         "GET /%2e%2e/health",    "GET /health/",
                                         "GET /app.js/../health", "GET /v1/models/%2e%2e/%2e%2e/etc/passwd"};
    for (size_t i = 0; i < sizeof tricks / sizeof *tricks; i++) {
        struct buf reply = {0};
        int got = ask(&s, tricks[i], "", "", &reply);
        if (got != 404 && got != 400 && !(got == 200 && i == 3)) fail_msg("%s: %d", tricks[i], got);
        buf_free(&reply);
    }
    server_close(&s);
}

static void bodies_are_checked(void **state)
{
    (void)state;
    struct server s;
    struct buf bomb = {0};
    server_open(&s, (struct setting){0});
    expect(&s, 400, CHAT, "", "", "not valid JSON");
    expect(&s, 400, CHAT, "", "{\"messages\": ", "not valid JSON");
    expect(&s, 400, CHAT, "", "[]", "no object");
    expect(&s, 400, CHAT, "", "{\"a\": 1, \"a\": 2}", "duplicate");
    expect(&s, 400, CHAT, "", "{\"messages\": \"\xff\xfe\"}", "decode");
    expect(&s, 400, CHAT, "", "{\"temperature\": \"hot\", \"messages\": []}", "\\\"temperature\\\"");
    expect(&s, 400, CHAT, "", "{\"messages\": [{\"role\": \"user\", \"content\": \"\xed\xa0\x80\"}]}",
           "decode");
    for (int i = 0; i < 100000; i++) buf_str(&bomb, "[");
    expect(&s, 400, CHAT, "", bomb.data, "nested more than 64 deep");
    buf_clear(&bomb);
    buf_str(&bomb, "{\"messages\": [");
    for (int i = 0; i < 300000; i++) buf_str(&bomb, i ? ",[]" : "[]");
    buf_str(&bomb, "]}");
    expect(&s, 400, CHAT, "", bomb.data, "messages[0]");
    buf_clear(&bomb);
    buf_str(&bomb, "{\"messages\": [{\"role\": \"user\", \"content\": \"");
    for (int i = 0; i < 400000; i++) buf_str(&bomb, "a b ");
    buf_str(&bomb, "\"}]}");
    expect(&s, 400, CHAT, "", bomb.data, "the context of 2048 is too small");
    expect(&s, 200, CHAT, "", SHORT, "\"finish_reason\": \"length\"");
    buf_free(&bomb);
    server_close(&s);
}

/* What an API promises beyond text comes from the engine through all layers. */
static void answers_of_all_kinds(void **state)
{
    (void)state;
    struct server s;
    server_open(&s, (struct setting){0});
#define SAY "\"temperature\": 0, \"messages\": [{\"role\": \"user\", \"content\": \"Say cat.\"}]"
    expect(&s, 200, CHAT, "", "{\"max_tokens\": 2, \"logprobs\": true, \"top_logprobs\": 2, " SAY "}",
           "\"logprobs\": {\"content\": [{\"token\": \"I\", \"logprob\": -0.");
    expect(
        &s, 200, "POST /v1/completions", "",
        "{\"prompt\": \"In the beginning God\", \"echo\": true, \"logprobs\": 1, \"max_tokens\": 0}",
        "\"tokens\": [\"In\", \" the\", \" be\", \"gin\", \"ning\", \" God\"], \"token_logprobs\": [null, -");
    expect(&s, 200, "POST /v1/completions", "", "{\"prompt\": \"In the\", \"echo\": true, \"max_tokens\": 0}",
           "\"text\": \"In the\"");
    expect(
        &s, 200, CHAT, "",
        "{\"max_tokens\": 60, \"enable_thinking\": false, \"response_format\": {\"type\": \"json_schema\", "
        "\"json_schema\": {\"name\": \"x\", \"schema\": {\"type\": \"object\", \"properties\": {\"a\": "
        "{\"const\": "
        "\"yes\"}}, \"required\": [\"a\"], \"additionalProperties\": false}}}, " SAY "}",
        "\"content\": \"{\\\"a\\\": \\\"yes\\\"}\"");
    expect(&s, 200, CHAT, "",
           "{\"max_tokens\": 100, \"enable_thinking\": false, \"tool_choice\": \"required\", \"tools\": "
           "[{\"type\": "
           "\"function\", \"function\": {\"name\": \"look\", \"parameters\": {\"type\": \"object\", "
           "\"properties\": "
           "{\"at\": {\"enum\": [\"sun\"]}}, \"required\": [\"at\"]}}}], " SAY "}",
           "\"name\": \"look\", \"arguments\": \"{\\\"at\\\": \\\"sun\\\"");
    expect(&s, 400, CHAT, "",
           "{\"response_format\": {\"type\": \"json_schema\", \"json_schema\": {\"schema\": {\"type\": "
           "\"thing\"}}}, " SAY "}",
           "thing");
    expect(&s, 200, CHAT, "", "{\"max_tokens\": 40, \"stop\": [\"words\"], " SAY "}",
           "\"finish_reason\": \"stop\"");
    server_close(&s);
}

/* ---- who may ask -------------------------------------------------------------------------------------------------------------- */

static void keys_are_asked_for(void **state)
{
    (void)state;
    struct server s;
    server_open(&s, (struct setting){.key = "secret"});
    expect(&s, 401, CHAT, "", SHORT, "WWW-Authenticate: Bearer");
    expect(&s, 401, CHAT, "", SHORT, "authentication_error");
    expect(&s, 401, CHAT, "Authorization: Bearer secre\r\n", SHORT, "wrong");
    expect(&s, 401, CHAT, "Authorization: Bearer secrets\r\n", SHORT, "wrong");
    expect(&s, 401, CHAT, "Authorization: Bearer \r\n", SHORT, "");
    expect(&s, 401, CHAT, "Authorization: Basic secret\r\n", SHORT, "");
    expect(&s, 401, CHAT, "x-api-key: Secret\r\n", SHORT, "");
    expect(&s, 401, "GET /v1/models", "", "", "");
    expect(&s, 401, "GET /metrics", "", "", "");
    expect(&s, 401, "GET /nothing", "", "", "");
    expect(&s, 401, "POST /v1/messages", "", SHORT, "\"type\": \"authentication_error\"");
    expect(&s, 200, CHAT, "Authorization: Bearer secret\r\n", SHORT, "");
    expect(&s, 200, CHAT, "authorization: bearer secret\r\n", SHORT, "");
    expect(&s, 200, CHAT, "x-api-key: secret\r\n", SHORT, "");
    expect(&s, 200, "GET /health", "", "", ""); /* for who only looks whether it is alive */
    expect(&s, 200, "GET /", "", "", "");       /* where a person types the key */
    expect(&s, 200, "GET /v1/models", "Host: a.name\r\nx-api-key: secret\r\n", "", "");
    server_close(&s);
}

/* A page in this machine's browser must not be able to ask, by a name of its own (DNS rebinding) or across origins. */
static void foreign_pages_are_kept_out(void **state)
{
    (void)state;
    struct server s;
    server_open(&s, (struct setting){0});
    expect(&s, 403, "GET /v1/models", "Host: evil.example\r\n", "", "evil.example");
    expect(&s, 403, "GET /v1/models", "Host: localhost.evil.example:80\r\n", "", "");
    expect(&s, 403, "GET /v1/models", "Host: 127.0.0.1.evil.example\r\n", "", "");
    expect(&s, 403, "GET /", "Host: evil.example\r\n", "", "");
    expect(&s, 200, "GET /v1/models", "Host: 127.0.0.1:99\r\n", "", "");
    expect(&s, 200, "GET /v1/models", "Host: [::1]:99\r\n", "", "");
    expect(&s, 200, "GET /v1/models", "Host: LocalHost\r\n", "", "");
    expect(&s, 403, CHAT, "Origin: http://evil.example\r\n", SHORT, "--cors");
    expect(&s, 403, CHAT, "Origin: null\r\n", SHORT, "--cors");
    expect(&s, 200, CHAT, "Host: localhost:5\r\nOrigin: http://localhost:5\r\n", SHORT, "");
    expect(&s, 405, "OPTIONS /v1/chat/completions", "", "", "");
    struct buf reply = {0};
    ask(&s, "GET /v1/models", "", "", &reply);
    assert_null(strstr(reply.data, "Access-Control"));
    buf_free(&reply);
    server_close(&s);
    server_open(&s, (struct setting){.cors = "https://good.example", .key = "k"});
    expect(&s, 204, "OPTIONS /v1/chat/completions", "Origin: https://good.example\r\n", "",
           "Access-Control-Allow-Origin: https://good.example");
    expect(&s, 200, CHAT, "Origin: https://good.example\r\nx-api-key: k\r\n", SHORT,
           "Access-Control-Allow-Origin");
    expect(&s, 401, CHAT, "Origin: https://good.example\r\n", SHORT, "Access-Control-Allow-Origin");
    expect(&s, 403, CHAT, "Origin: https://evil.example\r\nx-api-key: k\r\n", SHORT, "");
    server_close(&s);
}

/* ---- ceilings ----------------------------------------------------------------------------------------------------------------- */

static void ceilings_hold(void **state)
{
    (void)state;
    struct server s;
    struct buf big = {0}, reply = {0};
    server_open(&s, (struct setting){0});
    for (int i = 0; i < 1 << 16; i++) buf_str(&big, "0123456789abcdef");
    /* a megabyte in one header, and in many */
    int fd = dial(&s);
    put_text(fd, "GET /health HTTP/1.1\r\nHost: localhost\r\nX: ");
    put(fd, big.data, big.len);
    put_text(fd, "\r\n\r\n");
    take(fd, SIZE_MAX, &reply);
    assert_true(status_of(&reply) == 431 || status_of(&reply) == 0);
    close(fd);
    fd = dial(&s);
    put_text(fd, "GET /health HTTP/1.1\r\nHost: localhost\r\n");
    for (int i = 0; i < 20000 && put_text(fd, "X: 0123456789012345678901234567890123456789\r\n"); i++)
        continue;
    put_text(fd, "\r\n");
    buf_clear(&reply);
    take(fd, SIZE_MAX, &reply);
    assert_true(status_of(&reply) == 431 || status_of(&reply) == 0);
    close(fd);
    /* a length over the limit is refused before anything is read */
    fd = dial(&s);
    static const char head[] = CHAT " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 17000000\r\n\r\n";
    put_text(fd, head);
    buf_clear(&reply);
    take(fd, SIZE_MAX, &reply);
    assert_int_equal(status_of(&reply), 413);
    close(fd);
    /* without a length it is read to its end, and not kept */
    fd = dial(&s);
    static const char chunked[] = CHAT " HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    put_text(fd, chunked);
    for (int i = 0; i < 20; i++)
        assert_true(put_text(fd, "100000\r\n") && put(fd, big.data, big.len) && put_text(fd, "\r\n"));
    put_text(fd, "0\r\n\r\n");
    buf_clear(&reply);
    take(fd, 1000, &reply);
    assert_int_equal(status_of(&reply), 413);
    close(fd);
    expect(&s, 200, "GET /health", "", "", "");
    buf_free(&big);
    buf_free(&reply);
    server_close(&s);
}

/* A short text of many values is a big tree. One that is too big is refused, and so is one too many of those that fit. */
static void values_are_counted(void **state)
{
    (void)state;
    struct server s;
    struct buf body = {0}, request = {0}, reply = {0};
    server_open(&s, (struct setting){0});
    buf_str(&body, LONG("true"));
    body.len--;
    buf_str(&body, ", \"x\": [0");
    for (int i = 0; i < 600000; i++) buf_str(&body, ",0");
    size_t n = body.len;
    buf_str(&body, "]}");
    write_request(&request, CHAT, "", body.data, body.len);
    int fd = dial(&s);
    put(fd, request.data, request.len);
    take(fd, 100, &reply);
    assert_int_equal(status_of(&reply), 200);
    assert_int_equal(ask(&s, CHAT, "", body.data, &reply), 429);
    assert_non_null(strstr(reply.data, "Retry-After: 1"));
    close(fd);
    int status;
    while ((status = ask(&s, CHAT, "", body.data, &reply)) == 429)
        continue; /* the connection ends by and by */
    assert_int_equal(status, 200);
    body.len = n;
    for (int i = 0; i < 600000; i++) buf_str(&body, ",0");
    buf_str(&body, "]}");
    expect(&s, 400, CHAT, "", body.data, "so many values that");
    buf_free(&body);
    buf_free(&request);
    buf_free(&reply);
    server_close(&s);
}

static void a_silent_connection_is_closed(void **state)
{
    (void)state;
    struct server s;
    struct buf reply = {0};
    server_open(&s, (struct setting){.idle_s = 1});
    int fd = dial(&s);
    put_text(fd, "POST /v1/chat/completions HTTP/1.1\r\nHost: loc");
    take(fd, SIZE_MAX, &reply); /* returns because the server closes */
    close(fd);
    buf_free(&reply);
    server_close(&s);
}

static void who_comes_too_many_is_told(void **state)
{
    (void)state;
    struct server s;
    struct buf request = {0};
    struct scheduler_stats t;
    int fd[3];
    server_open(&s, (struct setting){.parallel = 1, .queue = 2});
    write_request(&request, CHAT, "", LONG("false"), strlen(LONG("false")));
    for (int i = 0; i < 3; i++) {
        fd[i] = dial(&s);
        put(fd[i], request.data, request.len);
    }
    do scheduler_describe(s.site.scheduler, &t);
    while (t.open < 3);
    expect(&s, 429, CHAT, "", SHORT, "Retry-After: ");
    expect(&s, 200, "POST /v1/messages/count_tokens", "", SHORT, "input_tokens"); /* needs no place */
    scheduler_drain(s.site.scheduler);
    expect(&s, 503, CHAT, "", SHORT, "about to end");
    expect(&s, 200, "GET /health", "", "", "draining");
    for (int i = 0; i < 3; i++) close(fd[i]);
    wait_until_idle(&s); /* though two of them waited and one was silent */
    buf_free(&request);
    server_close(&s);
}

/* ---- clients that break off --------------------------------------------------------------------------------------------------- */

static void streams_come_whole(void **state)
{
    (void)state;
    struct server s;
    struct buf reply = {0};
    server_open(&s, (struct setting){0});
    assert_int_equal(ask(&s, CHAT, "", TOKENS(200, "true"), &reply), 200);
    assert_non_null(strstr(reply.data, "Content-Type: text/event-stream"));
    assert_non_null(strstr(reply.data, "data: [DONE]"));
    int chunks = 0;
    for (const char *at = reply.data; (at = strstr(at, "data: {")); at++) chunks++;
    assert_true(chunks > 100);
    /* two requests on one connection */
    static const char twice[] = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
                                "GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    int fd = dial(&s);
    put_text(fd, twice);
    buf_clear(&reply);
    take(fd, SIZE_MAX, &reply);
    assert_non_null(strstr(reply.data, "\"status\": \"ok\""));
    assert_non_null(strstr(reply.data, "\"object\": \"list\""));
    close(fd);
    buf_free(&reply);
    server_close(&s);
}

static void who_breaks_off_leaves_nothing(void **state)
{
    (void)state;
    struct server s;
    struct buf request = {0}, reply = {0};
    uint32_t random = 1;
    server_open(&s, (struct setting){.idle_s = 30});
    for (int i = 0; i < 60; i++) {
        random = random * 1664525 + 1013904223;
        buf_clear(&request);
        const char *body = i % 2 ? LONG("true") : LONG("false");
        write_request(&request, CHAT, "", body, strlen(body));
        int fd = dial(&s);
        if (i % 3) { /* the whole request, then some of the reply */
            put(fd, request.data, request.len);
            buf_clear(&reply);
            if (i % 2) take(fd, (random >> 8) % 20000, &reply);
        } else { /* a part of the request */
            put(fd, request.data, (random >> 8) % request.len);
        }
        if (i % 5 == 0) { /* with a reset instead of an end */
            const struct linger hard = {.l_onoff = 1};
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
        }
        close(fd);
    }
    wait_until_idle(&s);
    expect(&s, 200, CHAT, "", SHORT, "\"finish_reason\": \"length\"");
    buf_free(&request);
    buf_free(&reply);
    server_close(&s);
}

/* What a body says is found out aside: who asks meanwhile is answered first. */
static void a_long_body_keeps_nobody_waiting(void **state)
{
    (void)state;
    enum { BLOCK = 32768, WORDS = 1 << 20 };
    struct server s;
    struct buf body = {0}, request = {0}, reply = {0};
    server_open(&s, (struct setting){0});
    buf_str(&body, "{\"messages\": [{\"role\": \"user\", \"content\": \"");
    for (int i = 0; i < WORDS; i++) buf_str(&body, "cat ");
    buf_str(&body, "\"}]}");
    write_request(&request, "POST /v1/messages/count_tokens", "", body.data, body.len);
    int fd = dial(&s);
    put(fd, request.data, request.len - 1);
    /* each of these takes the server a round, and in each it reads a block of the body */
    for (int i = 0; i < (int)(request.len / BLOCK) + 8; i++) expect(&s, 200, "GET /health", "", "", "ok");
    put(fd, request.data + request.len - 1, 1);
    for (int i = 0; i < 3; i++) expect(&s, 200, "GET /health", "", "", "ok");
    assert_int_equal(poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 0), 0);
    take(fd, SIZE_MAX, &reply);
    close(fd);
    assert_int_equal(status_of(&reply), 200);
    assert_non_null(strstr(reply.data, "input_tokens"));
    buf_free(&body);
    buf_free(&request);
    buf_free(&reply);
    server_close(&s);
}

/* ---- many at once ------------------------------------------------------------------------------------------------------------- */

enum { N_CLIENTS = 8, N_EACH = 5 };

struct crowd {
    const struct server *server;
    const char *expected;
    int failures;
};

static void *one_of_many(void *arg)
{
    struct crowd *c = arg;
    struct buf reply = {0};
    for (int i = 0; i < N_EACH; i++) {
        int status = ask(c->server, CHAT, "", SHORT, &reply);
        c->failures += status != 200 || !strstr(reply.data, c->expected);
    }
    buf_free(&reply);
    return NULL;
}

static void many_are_answered_alike(void **state)
{
    (void)state;
    struct server s;
    struct buf first = {0};
    pthread_t threads[N_CLIENTS];
    struct crowd crowd[N_CLIENTS];
    server_open(&s, (struct setting){0});
    assert_int_equal(ask(&s, CHAT, "", SHORT, &first), 200);
    char *from = strstr(first.data, "\"choices\""), *to = strstr(first.data, ", \"usage\"");
    assert_true(from && to);
    *to = '\0';
    for (int i = 0; i < N_CLIENTS; i++) {
        crowd[i] = (struct crowd){.server = &s, .expected = from};
        assert_int_equal(pthread_create(&threads[i], NULL, one_of_many, &crowd[i]), 0);
    }
    for (int i = 0; i < N_CLIENTS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(crowd[i].failures, 0);
    }
    buf_free(&first);
    server_close(&s);
}

/* Clients in every state when the server ends. */
static void an_end_closes_all(void **state)
{
    (void)state;
    struct server s;
    struct buf request = {0}, reply = {0};
    int fd[6];
    server_open(&s, (struct setting){.parallel = 2});
    for (int i = 0; i < 6; i++) {
        buf_clear(&request);
        const char *body = i % 2 ? LONG("true") : LONG("false");
        write_request(&request, CHAT, "", body, strlen(body));
        fd[i] = dial(&s);
        put(fd[i], request.data, i == 5 ? request.len / 2 : request.len);
        if (i == 1) take(fd[i], 3000, &reply);
    }
    server_close(&s);
    for (int i = 0; i < 6; i++) {
        buf_clear(&reply);
        take(fd[i], SIZE_MAX, &reply);
        close(fd[i]);
    }
    buf_free(&request);
    buf_free(&reply);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_path_has_its_status),
        cmocka_unit_test(bodies_are_checked),
        cmocka_unit_test(answers_of_all_kinds),
        cmocka_unit_test(keys_are_asked_for),
        cmocka_unit_test(foreign_pages_are_kept_out),
        cmocka_unit_test(ceilings_hold),
        cmocka_unit_test(values_are_counted),
        cmocka_unit_test(a_silent_connection_is_closed),
        cmocka_unit_test(who_comes_too_many_is_told),
        cmocka_unit_test(streams_come_whole),
        cmocka_unit_test(who_breaks_off_leaves_nothing),
        cmocka_unit_test(a_long_body_keeps_nobody_waiting),
        cmocka_unit_test(many_are_answered_alike),
        cmocka_unit_test(an_end_closes_all),
    };
    return cmocka_run_group_tests(tests, open_donor, close_engine);
}
