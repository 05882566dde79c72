/* http.h - the server: sockets, requests in, replies out. */
#ifndef SERVE_HTTP_H
#define SERVE_HTTP_H

#include "serve/access_log.h"
#include "serve/guard.h"
#include "serve/routes.h"

#define HTTP_BODY_MAX    ((size_t)16 << 20)
#define HTTP_HELD_MAX    ((size_t)256 << 20) /* that bodies and what is made of them take, of all clients together */
#define HTTP_HEADERS_MAX ((size_t)32 << 10)
#define HTTP_CLIENTS_MAX 256
#define HTTP_IDLE_S      60 /* a connection on which nothing moves */

struct http_options {
    const char *host; /* address or name to listen on; borrowed, as all of this */
    int port;         /* 0 = any that is free */
    int tries;        /* ports from there on, if it is taken */
    struct guard guard;
    struct access_log *log; /* NULL = none */
    int idle_s;             /* 0 = HTTP_IDLE_S */
};

struct http;

/* Listens, and answers from now on on a thread of its own. Errors: IO (the port is taken), NOT_FOUND (no such host). */
bool http_start(struct http **ret, const struct site *site, const struct http_options *options,
                struct alula_error *e);
int http_port(const struct http *h);
/* After scheduler_stop: closes every connection. NULL is fine. */
void http_stop(struct http *h);

#endif
