/* buf.h - growable bytes with a ceiling.
 *
 * Adding past the ceiling or out of memory sets `failed` and leaves the content as it was; later additions do
 * nothing, so a caller may add many times and look once. data is NUL-terminated after every addition. A
 * zero-initialised struct is an empty buffer with the default ceiling. Not thread-safe. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/err.h"

struct buf {
    char *data; /* NULL while empty and never grown */
    size_t len; /* bytes, without the terminating NUL */
    size_t cap;
    size_t max; /* ceiling in bytes; 0 = 1 GiB */
    bool failed;
    bool no_memory; /* failed because memory is exhausted, not because of the ceiling */
};

void buf_init(struct buf *b, size_t max);
void buf_free(struct buf *b);  /* frees and empties; b can be used again with the same ceiling */
void buf_clear(struct buf *b); /* empties, keeps the memory */
void buf_add(struct buf *b, const void *p, size_t n);
void buf_byte(struct buf *b, unsigned char c);
void buf_str(struct buf *b, const char *s);
void buf_fmt(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool buf_reserve(struct buf *b, size_t n); /* room for n more bytes; false = failed */
/* true if nothing failed; else an error "WHAT is over its limit of N bytes" or out of memory. */
bool buf_check(const struct buf *b, const char *what, struct alula_error *e);

#endif
