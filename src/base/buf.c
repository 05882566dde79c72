/* buf.c - growable bytes with a ceiling.
 *
 * Owns growth and the sticky failure. Knows nothing of what the bytes are. */
#include "base/buf.h"
#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define BUF_DEFAULT_MAX ((size_t)1 << 30)

static size_t ceiling(const struct buf *b) { return b->max ? b->max : BUF_DEFAULT_MAX; }

void buf_init(struct buf *b, size_t max) { *b = (struct buf){.max = max}; }

void buf_free(struct buf *b)
{
    mem_free(b->data);
    buf_init(b, b->max);
}

void buf_clear(struct buf *b)
{
    b->len = 0;
    b->failed = b->no_memory = false;
    if (b->data) b->data[0] = '\0';
}

bool buf_reserve(struct buf *b, size_t n)
{
    if (b->failed) return false;
    size_t need = b->len;
    if (n > ceiling(b) || need > ceiling(b) - n) {
        b->failed = true;
        return false;
    }
    need += n + 1;
    if (need <= b->cap) return true;
    size_t cap = b->cap < 64 ? 64 : b->cap + b->cap / 2;
    if (cap > ceiling(b) + 1) cap = ceiling(b) + 1;
    if (cap < need) cap = need;
    char *data = mem_realloc(b->data, cap);
    if (!data) {
        b->failed = b->no_memory = true;
        return false;
    }
    b->data = data;
    b->cap = cap;
    b->data[b->len] = '\0';
    return true;
}

void buf_add(struct buf *b, const void *p, size_t n)
{
    if (!buf_reserve(b, n)) return;
    if (n) memcpy(b->data + b->len, p, n);
    b->len += n;
    b->data[b->len] = '\0';
}

void buf_byte(struct buf *b, unsigned char c) { buf_add(b, &c, 1); }

void buf_str(struct buf *b, const char *s) { buf_add(b, s, strlen(s)); }

void buf_fmt(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0) b->failed = true;
    if (n < 0 || !buf_reserve(b, (size_t)n)) return;
    va_start(ap, fmt);
    vsnprintf(b->data + b->len, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->len += (size_t)n;
}

bool buf_check(const struct buf *b, const char *what, struct alula_error *e)
{
    if (!b->failed) return true;
    if (b->no_memory) return err_set(e, ALULA_NOMEM, "out of memory for %s after %zu bytes", what, b->len);
    return err_set(e, ALULA_LIMIT, "%s is over its limit of %zu bytes", what, ceiling(b));
}
