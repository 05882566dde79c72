/* guard.h - who may ask: keys, and the two headers by which a browser gives away a foreign page. Pure; any thread. */
#ifndef SERVE_GUARD_H
#define SERVE_GUARD_H

#include "base/err.h"

struct guard {
    const char *key;  /* NULL: none is asked for */
    const char *cors; /* origin whose pages may ask too, "*" = any; NULL = none */
};

/* What a request came with; NULL = without. */
struct guard_headers {
    const char *host, *origin, *authorization, *api_key;
};

/* Whether the page or program behind the request may speak to this server at all. Without a key the Host must be an
 * address or localhost: a name may have been pointed here by a foreign page (DNS rebinding). An Origin must be the
 * server itself or the one that is allowed. */
bool guard_visitor(const struct guard *g, const struct guard_headers *h, struct alula_error *e);
/* The key, as "Authorization: Bearer KEY" or "x-api-key: KEY". Takes the same time whatever is wrong with it. */
bool guard_key(const struct guard *g, const struct guard_headers *h, struct alula_error *e);

#endif
