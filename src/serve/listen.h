/* listen.h - a socket that clients can reach. */
#ifndef SERVE_LISTEN_H
#define SERVE_LISTEN_H

#include "base/err.h"

/* Listens on host (a name or an address) at the first of `tries` ports from `port` on that is free; port 0 = any.
 * Returns the socket, or -1. Errors: NOT_FOUND (no such host), IO. */
int listen_open(const char *host, int port, int tries, int *ret_port, struct alula_error *e);

/* True if only this machine reaches host. */
bool listen_is_local(const char *host);

#endif
