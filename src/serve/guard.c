/* guard.c - keys, Host and Origin.
 *
 * Owns what counts as this machine's own name. Knows no HTTP beyond these headers. */
#include "serve/guard.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/sha256.h"

#define BEARER "Bearer "

/* Both sides are hashed, so neither length nor content shows in the time. */
static bool same_key(const char *given, const char *key)
{
    char sums[2][SHA256_HEX];
    unsigned char differs = 0;
    for (int i = 0; i < 2; i++) {
        const char *text = i ? key : given;
        struct sha256 sum;
        sha256_init(&sum);
        sha256_add(&sum, text, strlen(text));
        sha256_hex(&sum, sums[i]);
    }
    for (size_t i = 0; i < SHA256_HEX; i++) differs |= (unsigned char)(sums[0][i] ^ sums[1][i]);
    return !differs;
}

bool guard_key(const struct guard *g, const struct guard_headers *h, struct alula_error *e)
{
    if (!g->key) return true;
    const char *bearer = h->authorization && strncasecmp(h->authorization, BEARER, strlen(BEARER)) == 0
                             ? h->authorization + strlen(BEARER)
                             : NULL;
    const char *given = bearer ? bearer : h->api_key;
    if (!given)
        return err_set(e, ALULA_USAGE,
                       "a key is needed, as \"Authorization: Bearer KEY\" or \"x-api-key: KEY\"");
    return same_key(given, g->key) || err_set(e, ALULA_USAGE, "the key is wrong");
}

/* An address or localhost, with or without a port. */
static bool is_this_machine(const char *host)
{
    char name[256], address[16];
    if (snprintf(name, sizeof name, "%s", host) >= (int)sizeof name) return false;
    char *bracket = strchr(name, ']');
    if (name[0] == '[' && bracket) {
        *bracket = '\0';
        return inet_pton(AF_INET6, name + 1, address) == 1;
    }
    name[strcspn(name, ":")] = '\0';
    return strcasecmp(name, "localhost") == 0 || inet_pton(AF_INET, name, address) == 1;
}

bool guard_visitor(const struct guard *g, const struct guard_headers *h, struct alula_error *e)
{
    if (!h->host) return err_set(e, ALULA_FORMAT, "the header Host is missing");
    if (!g->key && !is_this_machine(h->host))
        return err_set(e, ALULA_USAGE,
                       "Host is \"%.100s\"; a server without a key answers only to its address or localhost",
                       h->host);
    if (!h->origin) return true;
    const char *behind = strstr(h->origin, "://");
    if (behind && strcasecmp(behind + 3, h->host) == 0) return true;
    if (g->cors && (strcmp(g->cors, "*") == 0 || strcmp(g->cors, h->origin) == 0)) return true;
    return err_set(
        e, ALULA_USAGE,
        "Origin is \"%.100s\"; pages from there may ask only if the server was started with --cors",
        h->origin);
}
