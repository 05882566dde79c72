/* remote.c - the client's side of chat completions, on libcurl: sends one request, reads the stream of its answer.
 *
 * Owns the connection and the shape of events. Must not know what the text is for. */
#include "cli/remote.h"

#include <curl/curl.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/term.h"

#define REPLY_MAX      ((size_t)16 << 20) /* bytes of a reply, or of one event */
#define JSON_DEPTH_MAX 64

struct remote {
    CURL *curl;
    struct curl_slist *headers;
    struct buf base; /* the address up to and without /v1 */
    struct buf model;
};

/* What arrives for one request. */
struct arrival {
    struct remote *r;
    struct buf bytes; /* not yet understood */
    bool streams;
    double begin;
    bool (*piece)(void *arg, bool reasoning, const char *text, size_t len, struct alula_error *e);
    void *arg;
    struct remote_answer *answer;
    struct alula_error *e;
    bool failed; /* *e says how */
};

/* ---- events --------------------------------------------------------------------------------------------- */

static bool give_piece(struct arrival *a, bool reasoning, const json_t *text)
{
    size_t len = json_string_length(text);
    if (!len) return true;
    if (a->answer->first_s == 0) a->answer->first_s = clock_s() - a->begin;
    return a->piece(a->arg, reasoning, json_string_value(text), len, a->e);
}

static void take_usage(struct remote_answer *ret, const json_t *usage)
{
    const json_t *details = json_object_get(usage, "prompt_tokens_details");
    ret->prompt_tokens = json_integer_value(json_object_get(usage, "prompt_tokens"));
    ret->tokens = json_integer_value(json_object_get(usage, "completion_tokens"));
    ret->cached_tokens = json_integer_value(json_object_get(details, "cached_tokens"));
}

/* jansson answers NULL for a member of what is not there, so missing ones need no care. */
static bool take_event(struct arrival *a, const json_t *event)
{
    const json_t *error = json_object_get(event, "error"), *usage = json_object_get(event, "usage");
    const json_t *choice = json_array_get(json_object_get(event, "choices"), 0);
    const json_t *delta = json_object_get(choice, "delta"),
                 *finish = json_object_get(choice, "finish_reason");
    const char *message = json_string_value(json_object_get(error, "message"));
    if (error) return err_set(a->e, ALULA_IO, "the server says: %s", message ? message : "an error");
    if (json_is_object(usage)) take_usage(a->answer, usage);
    if (json_is_string(finish))
        snprintf(a->answer->finish, sizeof a->answer->finish, "%s", json_string_value(finish));
    return give_piece(a, true, json_object_get(delta, "reasoning_content")) &&
           give_piece(a, false, json_object_get(delta, "content"));
}

/* One line of the stream; of the protocol's fields only data matters here. */
static bool take_line(struct arrival *a, const char *line, size_t len)
{
    while (len && line[len - 1] == '\r') len--;
    if (len < 5 || memcmp(line, "data:", 5) != 0) return true;
    for (line += 5, len -= 5; len && *line == ' '; line++) len--;
    if (len == 6 && memcmp(line, "[DONE]", 6) == 0) return true;
    json_t *event = json_parse(line, len, JSON_DEPTH_MAX, "an event from the server", a->e);
    bool ok = event && take_event(a, event);
    json_decref(event);
    return ok;
}

static bool take_lines(struct arrival *a)
{
    size_t done = 0;
    const char *end;
    while ((end = memchr(a->bytes.data + done, '\n', a->bytes.len - done))) {
        const char *line = a->bytes.data + done;
        if (!take_line(a, line, (size_t)(end - line))) return false;
        done = (size_t)(end - a->bytes.data) + 1;
    }
    memmove(a->bytes.data, a->bytes.data + done, a->bytes.len - done + 1);
    a->bytes.len -= done;
    return true;
}

/* ---- transport ------------------------------------------------------------------------------------------ */

/* What curl calls with bytes of the body. An answer of another size than n ends the transfer. */
static size_t on_bytes(char *p, size_t size, size_t n, void *arg)
{
    struct arrival *a = arg;
    long status = 0;
    curl_easy_getinfo(a->r->curl, CURLINFO_RESPONSE_CODE, &status);
    buf_add(&a->bytes, p, size * n);
    bool ok =
        buf_check(&a->bytes, "the server's reply", a->e) && (!a->streams || status != 200 || take_lines(a));
    if (!ok) a->failed = true;
    return ok ? size * n : 0;
}

static int on_progress(void *arg, curl_off_t dl_total, curl_off_t dl, curl_off_t ul_total, curl_off_t ul)
{
    (void)arg, (void)dl_total, (void)dl, (void)ul_total, (void)ul;
    return term_stopped();
}

/* The server refused: its own sentence, if there is one in the body. */
static bool refused(struct arrival *a, long status)
{
    struct alula_error ignored;
    enum alula_code code = status == 429 || status == 503   ? ALULA_BUSY
                           : status == 401 || status == 403 ? ALULA_USAGE
                           : status == 404                  ? ALULA_NOT_FOUND
                           : status < 500                   ? ALULA_FORMAT
                                                            : ALULA_IO;
    json_t *body =
        json_parse(a->bytes.data ? a->bytes.data : "", a->bytes.len, JSON_DEPTH_MAX, "reply", &ignored);
    const char *message = json_string_value(json_object_get(json_object_get(body, "error"), "message"));
    if (message)
        err_set(a->e, code, "the server refused (%ld): %s", status, message);
    else
        err_set(a->e, code, "the server at %s answered with status %ld", a->r->base.data, status);
    json_decref(body);
    return false;
}

/* Sends a request to /v1PATH; body NULL = GET. */
static bool transfer(struct arrival *a, const char *path, const struct buf *body)
{
    CURL *curl = a->r->curl;
    struct buf url = {0};
    char reason[CURL_ERROR_SIZE] = "";
    long status = 0;
    buf_fmt(&url, "%s/v1%s", a->r->base.data, path);
    if (!buf_check(&url, "the address", a->e)) return false;
    curl_easy_setopt(curl, CURLOPT_URL, url.data);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, reason);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, a);
    curl_easy_setopt(curl, CURLOPT_HTTPGET, 1L);
    if (body) {
        curl_easy_setopt(curl, CURLOPT_POST, 1L);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body->data);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body->len);
    }
    CURLcode rc = curl_easy_perform(curl);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, NULL);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    buf_free(&url);
    if (a->failed) return false;
    if (rc == CURLE_ABORTED_BY_CALLBACK) return err_set(a->e, ALULA_CANCELLED, "stopped");
    if (rc != CURLE_OK)
        return err_set(a->e, ALULA_IO, "the server at %s %s: %s", a->r->base.data,
                       status ? "broke off" : "cannot be reached",
                       reason[0] ? reason : curl_easy_strerror(rc));
    return status == 200 || refused(a, status);
}

/* ---- opening -------------------------------------------------------------------------------------------- */

static bool ask_model(struct remote *r, struct alula_error *e)
{
    struct arrival a = {.r = r, .e = e};
    buf_init(&a.bytes, REPLY_MAX);
    json_t *body = NULL;
    bool ok =
        transfer(&a, "/models", NULL) && (body = json_parse(a.bytes.data ? a.bytes.data : "", a.bytes.len,
                                                            JSON_DEPTH_MAX, "the list of models", e));
    const json_t *first = json_array_get(json_object_get(body, "data"), 0);
    const char *id = json_string_value(json_object_get(first, "id"));
    if (ok && !id) ok = err_set(e, ALULA_FORMAT, "what answers at %s offers no model", r->base.data);
    if (ok) buf_str(&r->model, id);
    json_decref(body);
    buf_free(&a.bytes);
    return ok;
}

static bool set_base(struct remote *r, const char *url, struct alula_error *e)
{
    size_t len = strlen(url);
    if (strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0)
        return err_set(e, ALULA_USAGE, "the server's address is '%s', expected http://HOST:PORT", url);
    while (len && url[len - 1] == '/') len--;
    if (len > 3 && memcmp(url + len - 3, "/v1", 3) == 0) len -= 3;
    buf_add(&r->base, url, len);
    return buf_check(&r->base, "the server's address", e);
}

static bool set_headers(struct remote *r, const char *key, struct alula_error *e)
{
    struct buf line = {0};
    for (const char *c = key ? key : ""; *c; c++)
        if ((unsigned char)*c <= ' ' || *c == 0x7f)
            return err_set(e, ALULA_USAGE,
                           "the API key has a blank, a line break or another control character");
    r->headers = curl_slist_append(NULL, "Content-Type: application/json");
    bool ok = r->headers != NULL;
    if (ok && key) {
        buf_fmt(&line, "Authorization: Bearer %s", key);
        ok = !line.failed && curl_slist_append(r->headers, line.data);
        buf_free(&line);
    }
    return ok || err_set(e, ALULA_NOMEM, "no memory for a connection");
}

bool remote_open(struct remote **ret, const char *url, const char *key, struct alula_error *e)
{
    struct remote *r = mem_zalloc(1, sizeof *r);
    if (!r) return err_set(e, ALULA_NOMEM, "no memory for a connection");
    bool ok = set_base(r, url, e) && set_headers(r, key, e);
    if (ok && !(r->curl = curl_easy_init())) ok = err_set(e, ALULA_NOMEM, "no memory for a connection");
    if (ok) {
        curl_easy_setopt(r->curl, CURLOPT_HTTPHEADER, r->headers);
        curl_easy_setopt(r->curl, CURLOPT_WRITEFUNCTION, on_bytes);
        curl_easy_setopt(r->curl, CURLOPT_NOPROGRESS, 0L);
        curl_easy_setopt(r->curl, CURLOPT_XFERINFOFUNCTION, on_progress);
        curl_easy_setopt(r->curl, CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(r->curl, CURLOPT_CONNECTTIMEOUT, 10L);
        ok = ask_model(r, e);
    }
    if (ok)
        *ret = r;
    else
        remote_close(r);
    return ok;
}

void remote_close(struct remote *r)
{
    if (!r) return;
    curl_easy_cleanup(r->curl);
    curl_slist_free_all(r->headers);
    buf_free(&r->base);
    buf_free(&r->model);
    mem_free(r);
}

const char *remote_model(const struct remote *r) { return r->model.data; }

bool remote_chat(struct remote *r, const char *members,
                 bool (*piece)(void *arg, bool reasoning, const char *text, size_t len,
                               struct alula_error *e),
                 void *arg, struct remote_answer *ret, struct alula_error *e)
{
    struct buf body = {0};
    *ret = (struct remote_answer){0};
    struct arrival a = {.r = r, .streams = true, .piece = piece, .arg = arg, .answer = ret, .e = e};
    buf_init(&a.bytes, REPLY_MAX);
    buf_str(&body, "{\"model\": ");
    json_write_str(&body, r->model.data, r->model.len);
    buf_fmt(&body, ", \"stream\": true, \"stream_options\": {\"include_usage\": true}, %s}", members);
    a.begin = clock_s();
    bool ok = buf_check(&body, "the request", e) && transfer(&a, "/chat/completions", &body);
    ret->total_s = clock_s() - a.begin;
    if (ok && !ret->finish[0])
        ok = err_set(e, ALULA_IO, "the answer broke off: the server closed the connection");
    buf_free(&body);
    buf_free(&a.bytes);
    return ok;
}
