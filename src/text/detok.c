/* detok.c - ids back to text as they come.
 *
 * Owns the bytes of an unfinished character between two ids. Must not know the vocabulary's tables. */
#include "text/tokenizer.h"

#include <string.h>

#include "base/utf8.h"

static const char replacement[] = "\xef\xbf\xbd"; /* U+FFFD */

void detok_init(struct detok *d, const struct tokenizer *t, bool skip_special)
{
    memset(d, 0, sizeof *d);
    d->t = t;
    d->skip_special = skip_special;
}

/* Gives out what the held bytes begin with, a character or U+FFFD for what is none. */
static void detok_release(struct detok *d, struct buf *out)
{
    const char *held = (const char *)d->held;
    uint32_t cp;
    bool more;
    int len = utf8_decode(held, (size_t)d->n_held, &cp);
    if (len > 0) {
        buf_add(out, held, (size_t)len);
    } else {
        buf_str(out, replacement);
        len = utf8_broken_prefix(held, (size_t)d->n_held, &more);
        if (len == 0) len = 1;
    }
    d->n_held -= len;
    memmove(d->held, d->held + len, (size_t)d->n_held);
}

/* Whether the held bytes must wait for the next one. Two bytes of a surrogate can never become a character,
 * but the recorded streams, made by Python's decoder, hold them until the third. */
static bool detok_waits(const struct detok *d)
{
    bool more;
    if (d->n_held == 2 && d->held[0] == 0xed && (d->held[1] & 0xe0) == 0xa0) return true;
    return utf8_broken_prefix((const char *)d->held, (size_t)d->n_held, &more) == d->n_held && more;
}

void detok_put(struct detok *d, int32_t id, struct buf *out)
{
    size_t n;
    const char *bytes = tokenizer_bytes(d->t, id, &n);
    if (!bytes || (d->skip_special && tokenizer_is_special(d->t, id))) return;
    size_t i = 0;
    if (d->n_held == 0) {
        i = utf8_valid_len(bytes, n);
        buf_add(out, bytes, i);
    }
    for (; i < n; i++) {
        d->held[d->n_held++] = (unsigned char)bytes[i];
        while (d->n_held > 0 && !detok_waits(d)) detok_release(d, out);
    }
}

void detok_end(struct detok *d, struct buf *out)
{
    while (d->n_held > 0) detok_release(d, out);
}
