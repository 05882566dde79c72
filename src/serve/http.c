/* http.c - HTTP by libmicrohttpd: one thread that serves all connections.
 *
 * Owns a request's way from its headers to the last byte of the reply: checks first, then the body, then either an
 * answer at once or a job in the scheduler. What a body says is read, rendered and tokenized at a desk (desk.h), so that
 * a long one keeps nobody else waiting. A connection that is at the desk, or whose job has nothing to say, is suspended
 * and costs nothing; desk or scheduler wake it. Knows no API: routes.h does. */
#include "serve/http.h"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "serve/desk.h"
#include "serve/listen.h"
#include "serve/webpage.h"

#define REPLY_BLOCK ((size_t)64 << 10) /* bytes handed to a socket at a time */

struct http {
    struct MHD_Daemon *daemon;
    struct desk *desk;
    const struct site *site;
    struct http_options options;
    int port;
    size_t held; /* bytes of all visits; libmicrohttpd's thread alone */
};

/* One request: libmicrohttpd's thread's alone, but while it is at the desk. */
struct visit {
    struct http *http;
    struct MHD_Connection *connection;
    char id[32];
    char *method, *path;
    const struct route *route; /* NULL = none */
    struct buf body;
    size_t held;              /* bytes that its body and the JSON made of it may take */
    int dropped;              /* status that its body was given up with; 0 = it was not */
    struct desk_task task;    /* run NULL: it was not there */
    bool prepared, refused;   /* all below is known */
    struct alula_error error; /* if refused */
    int retry;                /* seconds, if busy; 0 = never */
    struct job *job;          /* NULL: the reply is out */
    struct buf out;
    bool stream; /* the job's reply is one of events */
    struct job_client client;
    int status;
    uint64_t sent;
    double arrived_s;
};

static const char *header(struct MHD_Connection *c, const char *name)
{
    return MHD_lookup_connection_value(c, MHD_HEADER_KIND, name);
}

/* ---- replies ------------------------------------------------------------------------------------------------------------- */

/* Headers that every reply has. A page of an allowed origin may read it; no other page may show, guess or keep it. */
static void add_headers(struct visit *v, struct MHD_Response *r, const char *type)
{
    MHD_add_response_header(r, "X-Request-Id", v->id); /* where OpenAI's clients look for it */
    MHD_add_response_header(r, "Request-Id", v->id);   /* and Anthropic's */
    MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
    if (type) MHD_add_response_header(r, "Content-Type", type);
    const char *cors = v->http->options.guard.cors;
    if (!cors) return;
    MHD_add_response_header(r, "Access-Control-Allow-Origin", cors);
    MHD_add_response_header(r, "Access-Control-Expose-Headers", "X-Request-Id, Retry-After");
    MHD_add_response_header(r, "Vary", "Origin");
}

static enum MHD_Result queue(struct visit *v, int status, struct MHD_Response *r)
{
    v->status = status;
    enum MHD_Result ok = MHD_queue_response(v->connection, (unsigned)status, r);
    MHD_destroy_response(r);
    return ok;
}

static struct MHD_Response *copied(struct visit *v, const void *p, size_t n, const char *type)
{
    struct MHD_Response *r = MHD_create_response_from_buffer(n, (void *)(uintptr_t)p, MHD_RESPMEM_MUST_COPY);
    v->sent = n;
    if (r) add_headers(v, r, type);
    return r;
}

static enum MHD_Result refuse_with(struct visit *v, int status, const struct alula_error *e, const char *name,
                                   const char *value)
{
    struct buf out = {0};
    route_write_error(v->route, status, e, &out);
    struct MHD_Response *r = out.failed ? NULL : copied(v, out.data, out.len, "application/json");
    buf_free(&out);
    if (!r) return MHD_NO;
    if (name) MHD_add_response_header(r, name, value);
    return queue(v, status, r);
}

static enum MHD_Result refuse(struct visit *v, int status, const struct alula_error *e)
{
    return refuse_with(v, status, e, status == 401 ? "WWW-Authenticate" : NULL, "Bearer");
}

/* Tells when to try again, if that is worth it. */
static enum MHD_Result refuse_busy(struct visit *v, int retry_s, const struct alula_error *e)
{
    char seconds[16];
    snprintf(seconds, sizeof seconds, "%d", retry_s);
    return retry_s ? refuse_with(v, 429, e, "Retry-After", seconds) : refuse(v, 503, e);
}

/* ---- replies of the scheduler -------------------------------------------------------------------------------------------- */

static void wait_for_job(void *arg) { MHD_suspend_connection(((struct visit *)arg)->connection); }
static void wake_up(void *arg) { MHD_resume_connection(((struct visit *)arg)->connection); }

static ssize_t read_job(void *arg, uint64_t at, char *to, size_t max)
{
    struct visit *v = arg;
    (void)at;
    long n = job_read(v->job, to, max);
    if (n < 0) return MHD_CONTENT_READER_END_OF_STREAM;
    v->sent += (uint64_t)n;
    return n;
}

/* Queues the job's reply, or leaves the connection suspended until its status is known. */
static enum MHD_Result reply_by_job(struct visit *v)
{
    size_t len;
    int status = job_status(v->job, &len);
    if (!status) return MHD_YES;
    struct MHD_Response *r =
        MHD_create_response_from_callback(v->stream ? MHD_SIZE_UNKNOWN : len, REPLY_BLOCK, read_job, v, NULL);
    if (!r) return MHD_NO;
    add_headers(v, r, v->stream ? "text/event-stream; charset=utf-8" : "application/json");
    MHD_add_response_header(r, "Cache-Control", "no-cache");
    if (v->stream)
        MHD_add_response_header(r, "X-Accel-Buffering", "no"); /* nginx would hold the stream back */
    return queue(v, status, r);
}

/* ---- the body ---------------------------------------------------------------------------------------------------------- */

static bool hold(struct visit *v, size_t bytes)
{
    if (bytes > HTTP_HELD_MAX - v->http->held) return false;
    v->http->held += bytes;
    v->held += bytes;
    return true;
}

static void let_go(struct visit *v)
{
    buf_free(&v->body);
    v->http->held -= v->held;
    v->held = 0;
}

/* A body that cannot be had is read to its end all the same: there is no way to answer before. */
static void take_bytes(struct visit *v, const char *data, size_t n)
{
    if (v->dropped) return;
    if (v->body.len + n > HTTP_BODY_MAX)
        v->dropped = 413; /* its length was not announced */
    else if (!hold(v, n))
        v->dropped = 429;
    if (v->dropped)
        let_go(v);
    else
        buf_add(&v->body, data, n);
}

static enum MHD_Result refuse_dropped(struct visit *v, int status)
{
    struct alula_error e;
    if (status == 413) {
        err_set(&e, ALULA_LIMIT, "the request has more than %zu bytes", HTTP_BODY_MAX);
        return refuse(v, 413, &e);
    }
    err_set(&e, ALULA_BUSY, "requests hold the %zu MB that they may hold together; try again later",
            HTTP_HELD_MAX >> 20);
    return refuse_busy(v, 1, &e);
}

/* Room for what the body says, before it is read. No room: it is dropped. */
static bool hold_json(struct visit *v, struct alula_error *e)
{
    if (!buf_check(&v->body, "the request", e)) return false;
    size_t bytes = json_bytes(v->body.data ? v->body.data : "", v->body.len);
    if (bytes > HTTP_HELD_MAX)
        return err_set(e, ALULA_LIMIT,
                       "the request holds so many values that %zu MB are needed for it, at most %zu may be",
                       bytes >> 20, HTTP_HELD_MAX >> 20);
    if (!hold(v, bytes - v->held)) v->dropped = 429;
    return true;
}

/* ---- preparing: at the desk -------------------------------------------------------------------------------------------- */

static json_t *read_body(struct visit *v, struct alula_error *e)
{
    const char *text = v->body.data ? v->body.data : "";
    json_t *body = json_parse(text, v->body.len, REQUEST_JSON_DEPTH, "the request", e);
    buf_free(&v->body);
    if (!body || json_is_object(body)) return body;
    json_decref(body);
    err_set(e, ALULA_FORMAT, "the request is valid JSON, but no object");
    return NULL;
}

static bool submit(struct visit *v, json_t *body, struct alula_error *e)
{
    struct request request;
    request_init(&request, v->route->dialect, &v->http->site->sampling);
    request.body = json_incref(body);
    if (!v->route->dialect->read(&request, body, e)) {
        request_free(&request);
        return false;
    }
    v->stream = request.stream;
    return scheduler_submit(v->http->site->scheduler, &request, v->id, &v->client, &v->job, &v->retry, e);
}

static void prepare(struct visit *v)
{
    struct alula_error *e = &v->error;
    json_t *body = NULL;
    bool ok = strcmp(v->route->method, "POST") != 0 || (body = read_body(v, e));
    if (ok && v->route->dialect)
        ok = submit(v, body, e);
    else if (ok)
        ok = v->route->answer(v->http->site, v->path, body, &v->out, e) && buf_check(&v->out, "the reply", e);
    json_decref(body);
    v->refused = !ok;
    v->prepared = true;
}

static void prepare_at_desk(void *arg)
{
    struct visit *v = arg;
    if (!job_client_left(&v->client)) prepare(v);
    MHD_resume_connection(v->connection);
}

/* Whatever a body is about takes its time. */
static enum MHD_Result hand_over(struct visit *v)
{
    struct alula_error e;
    if (!hold_json(v, &e)) return refuse(v, reply_status(e.code), &e);
    if (v->dropped) return refuse_dropped(v, v->dropped);
    v->client = (struct job_client){
        wait_for_job, wake_up, v,
        MHD_get_connection_info(v->connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd};
    v->task = (struct desk_task){.run = prepare_at_desk, .arg = v};
    MHD_suspend_connection(v->connection);
    desk_take(v->http->desk, &v->task);
    return MHD_YES;
}

/* ---- answering: all is known ----------------------------------------------------------------------------------------------- */

static enum MHD_Result answer_by_error(struct visit *v)
{
    if (v->error.code == ALULA_BUSY) return refuse_busy(v, v->retry, &v->error);
    return refuse(v, reply_status(v->error.code), &v->error);
}

static enum MHD_Result answer_at_once(struct visit *v)
{
    struct MHD_Response *r =
        copied(v, v->out.data, v->out.len, v->route->type ? v->route->type : "application/json");
    return r ? queue(v, 200, r) : MHD_NO;
}

static enum MHD_Result answer_by_page(struct visit *v, const struct page_file *file)
{
    struct MHD_Response *r = MHD_create_response_from_buffer(
        (size_t)(file->end - file->begin), (void *)(uintptr_t)file->begin, MHD_RESPMEM_PERSISTENT);
    if (!r) return MHD_NO;
    v->sent = (uint64_t)(file->end - file->begin);
    add_headers(v, r, file->type);
    MHD_add_response_header(r, "Cache-Control", "no-cache");
    MHD_add_response_header(r, "Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'");
    return queue(v, 200, r);
}

static enum MHD_Result answer(struct visit *v)
{
    if (!v->route) return answer_by_page(v, page_find(v->path));
    if (v->dropped) return refuse_dropped(v, v->dropped);
    if (!v->prepared && v->task.run) return MHD_NO; /* the client left */
    if (!v->prepared && strcmp(v->route->method, "POST") == 0) return hand_over(v);
    if (!v->prepared) prepare(v);
    if (v->refused) return answer_by_error(v);
    return v->job ? reply_by_job(v) : answer_at_once(v);
}

/* ---- checking: only the headers are there ---------------------------------------------------------------------------- */

/* What a browser asks before it lets an allowed page ask. */
static enum MHD_Result answer_preflight(struct visit *v)
{
    struct MHD_Response *r = copied(v, "", 0, NULL);
    if (!r) return MHD_NO;
    MHD_add_response_header(r, "Access-Control-Allow-Methods", "GET, POST");
    MHD_add_response_header(r, "Access-Control-Allow-Headers", "*, Authorization");
    MHD_add_response_header(r, "Access-Control-Max-Age", "600");
    return queue(v, 204, r);
}

static enum MHD_Result refuse_path(struct visit *v, const char *allow)
{
    struct alula_error e;
    if (!allow) {
        err_set(&e, ALULA_NOT_FOUND, "there is nothing at %.200s", v->path);
        return refuse(v, 404, &e);
    }
    err_set(&e, ALULA_USAGE, "%.200s takes %s, not %.20s", v->path, allow, v->method);
    return refuse_with(v, 405, &e, "Allow", allow);
}

static bool too_long(struct visit *v)
{
    const char *length = header(v->connection, MHD_HTTP_HEADER_CONTENT_LENGTH);
    return length && (strlen(length) > 15 || strtoull(length, NULL, 10) > HTTP_BODY_MAX);
}

/* MHD_YES and no reply queued: go on. */
static enum MHD_Result check(struct visit *v)
{
    struct alula_error e;
    const struct guard *g = &v->http->options.guard;
    const struct guard_headers h = {
        .host = header(v->connection, MHD_HTTP_HEADER_HOST),
        .origin = header(v->connection, MHD_HTTP_HEADER_ORIGIN),
        .authorization = header(v->connection, MHD_HTTP_HEADER_AUTHORIZATION),
        .api_key = header(v->connection, "x-api-key"),
    };
    const char *allow;
    v->route = route_find(v->method, v->path, &allow);
    if (!guard_visitor(g, &h, &e)) return refuse(v, h.host ? 403 : 400, &e);
    if (g->cors && strcmp(v->method, "OPTIONS") == 0) return answer_preflight(v);
    bool page = !v->route && !allow && page_find(v->path) &&
                (!strcmp(v->method, "GET") || !strcmp(v->method, "HEAD"));
    if (!page && !(v->route && v->route->open) && !guard_key(g, &h, &e)) return refuse(v, 401, &e);
    if (!page && !v->route) return refuse_path(v, allow);
    return too_long(v) ? refuse_dropped(v, 413) : MHD_YES;
}

/* ---- libmicrohttpd's callbacks ------------------------------------------------------------------------------------------ */

static void visit_free(struct visit *v)
{
    if (!v) return;
    if (v->job) job_leave(v->job);
    let_go(v);
    buf_free(&v->out);
    mem_free(v->method);
    mem_free(v->path);
    mem_free(v);
}

static struct visit *visit_create(struct http *h, struct MHD_Connection *c, const char *method,
                                  const char *path)
{
    struct visit *v = mem_zalloc(1, sizeof *v);
    if (!v) return NULL;
    unsigned char random[12];
    if (getrandom(random, sizeof random, 0) != sizeof random) memset(random, 0, sizeof random);
    for (size_t i = 0; i < sizeof random; i++) sprintf(v->id + 2 * i, "%02x", random[i]);
    v->http = h;
    v->connection = c;
    v->arrived_s = clock_s();
    v->method = mem_strdup(method);
    v->path = mem_strdup(path);
    buf_init(&v->body, HTTP_BODY_MAX);
    if (v->method && v->path) return v;
    visit_free(v);
    return NULL;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *c, const char *path, const char *method,
                                  const char *version, const char *data, size_t *size, void **state)
{
    struct visit *v = *state;
    (void)version;
    if (!v) {
        *state = v = visit_create(arg, c, method, path);
        return v ? check(v) : MHD_NO;
    }
    if (*size) {
        take_bytes(v, data, *size);
        *size = 0;
        return MHD_YES;
    }
    return answer(v);
}

static void client_address(struct MHD_Connection *c, char out[INET6_ADDRSTRLEN])
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *a = info ? info->client_addr : NULL;
    const void *address = !a ? NULL
                          : a->sa_family == AF_INET6
                              ? (const void *)&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr
                              : &((const struct sockaddr_in *)(const void *)a)->sin_addr;
    if (!address || !inet_ntop(a->sa_family, address, out, INET6_ADDRSTRLEN)) strcpy(out, "-");
}

static void on_completed(void *arg, struct MHD_Connection *c, void **state,
                         enum MHD_RequestTerminationCode why)
{
    struct http *h = arg;
    struct visit *v = *state;
    char address[INET6_ADDRSTRLEN];
    (void)why;
    if (!v) return;
    client_address(c, address);
    struct access_line line = {.id = v->id,
                               .client = address,
                               .method = v->method,
                               .path = v->path,
                               .status = v->status,
                               .bytes = v->sent,
                               .seconds = clock_s() - v->arrived_s};
    if (h->options.log) access_log_write(h->options.log, &line);
    visit_free(v);
    *state = NULL;
}

__attribute__((format(printf, 2, 0))) static void on_log(void *arg, const char *fmt, va_list ap)
{
    char text[512];
    (void)arg;
    vsnprintf(text, sizeof text, fmt, ap);
    text[strcspn(text, "\n")] = '\0';
    log_at(LOG_DEBUG, "HTTP: %s", text);
}

/* ---- its life -------------------------------------------------------------------------------------------------------------- */

bool http_start(struct http **ret, const struct site *site, const struct http_options *options,
                struct alula_error *e)
{
    struct http *h = mem_zalloc(1, sizeof *h);
    if (!h) return err_set(e, ALULA_NOMEM, "out of memory for the server");
    h->site = site;
    h->options = *options;
    int fd = listen_open(options->host, options->port, options->tries, &h->port, e);
    if (fd < 0 || !desk_create(&h->desk, e)) {
        if (fd >= 0) close(fd);
        mem_free(h);
        return false;
    }
    h->daemon = MHD_start_daemon(
        MHD_USE_POLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL,
        on_request, h, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL, MHD_OPTION_LISTEN_SOCKET, fd,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, h, MHD_OPTION_CONNECTION_LIMIT, (unsigned)HTTP_CLIENTS_MAX,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, HTTP_HEADERS_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)(options->idle_s ? options->idle_s : HTTP_IDLE_S), MHD_OPTION_END);
    if (!h->daemon) {
        close(fd);
        desk_close(h->desk);
        desk_free(h->desk);
        mem_free(h);
        return err_set(e, ALULA_IO, "cannot start to serve HTTP");
    }
    *ret = h;
    return true;
}

int http_port(const struct http *h) { return h->port; }

void http_stop(struct http *h)
{
    if (!h) return;
    desk_close(h->desk); /* no connection may be suspended by then */
    MHD_stop_daemon(h->daemon);
    desk_free(h->desk);
    mem_free(h);
}
