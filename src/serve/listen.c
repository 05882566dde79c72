/* listen.c - finds a port and listens on it. Owns nothing after that: the socket is the caller's. */
#include "serve/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BACKLOG 128

static bool listen_at(int fd, const struct sockaddr *address, socklen_t len)
{
    const int on = 1;
    return setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 && bind(fd, address, len) == 0 &&
           listen(fd, BACKLOG) == 0;
}

static int port_of(int fd)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } a;
    socklen_t len = sizeof a;
    if (getsockname(fd, &a.any, &len) != 0) return 0;
    return ntohs(a.any.sa_family == AF_INET6 ? a.v6.sin6_port : a.v4.sin_port);
}

int listen_open(const char *host, int port, int tries, int *ret_port, struct alula_error *e)
{
    for (int i = 0; i < tries && port + i <= 65535; i++) {
        char service[8];
        const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
        struct addrinfo *found;
        snprintf(service, sizeof service, "%d", port + i);
        int rc = getaddrinfo(host, service, &hints, &found);
        if (rc != 0) {
            err_set(e, ALULA_NOT_FOUND, "cannot find the host '%s': %s", host, gai_strerror(rc));
            return -1;
        }
        int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        bool ok = fd >= 0 && listen_at(fd, found->ai_addr, found->ai_addrlen);
        int why = errno;
        freeaddrinfo(found);
        if (ok) {
            *ret_port = port_of(fd);
            return fd;
        }
        if (fd >= 0) close(fd);
        errno = why;
        if (why != EADDRINUSE) break;
    }
    err_errno(e, ALULA_IO, "cannot listen on %s port %d%s", host, port,
              tries > 1 ? " nor on those after it" : "");
    return -1;
}

bool listen_is_local(const char *host)
{
    return strcmp(host, "127.0.0.1") == 0 || strcmp(host, "::1") == 0 || strcmp(host, "localhost") == 0;
}
