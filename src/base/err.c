/* err.c - fills error values: formats, puts context in front, keeps the text printable.
 *
 * Owns the form of a message. Knows nothing of where it is printed. */
#include "base/err.h"
#include "base/utf8.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define LONGEST 12288 /* two paths of the system's longest and what is said of them */

/* Of a text that is too long for a message its middle goes: what it is about stands in front, what is wrong with it behind. Cuts
 * at characters' borders. */
static size_t shorten(char *text, size_t len)
{
    static const char gap[] = " ... ";
    const size_t max = sizeof((struct alula_error *)0)->message - 1, n_gap = sizeof gap - 1;
    size_t front = max / 2, back = len - (max - front - n_gap);
    if (len <= max) return len;
    while (front > 0 && (text[front] & 0xc0) == 0x80) front--;
    while (back < len && (text[back] & 0xc0) == 0x80) back++;
    memcpy(text + front, gap, n_gap);
    memmove(text + front + n_gap, text + back, len - back);
    return front + n_gap + len - back;
}

/* Messages quote names and text from files. Whatever stands there, a message goes to terminals, logs and
 * JSON, so control characters and bytes that are no UTF-8 become '?'. */
static void err_store(struct alula_error *e, char *text, size_t len)
{
    size_t out = 0;
    len = shorten(text, len);
    for (size_t i = 0; i < len;) {
        uint32_t cp;
        int n = utf8_decode(text + i, len - i, &cp);
        bool bad = n == 0 || (cp < 0x20 && cp != '\n') || (cp >= 0x7f && cp < 0xa0);
        size_t take = n ? (size_t)n : 1, put = bad ? 1 : take;
        if (bad)
            e->message[out] = '?';
        else
            memcpy(e->message + out, text + i, take);
        out += put;
        i += take;
    }
    e->message[out] = '\0';
}

__attribute__((format(printf, 3, 0))) static size_t err_format(char *out, size_t cap, const char *fmt,
                                                               va_list ap)
{
    int n = vsnprintf(out, cap, fmt, ap);
    if (n < 0) return 0;
    return (size_t)n < cap ? (size_t)n : cap - 1;
}

bool err_set(struct alula_error *e, enum alula_code code, const char *fmt, ...)
{
    char text[LONGEST];
    va_list ap;
    va_start(ap, fmt);
    size_t n = err_format(text, sizeof text, fmt, ap);
    va_end(ap);
    e->code = code;
    err_store(e, text, n);
    return false;
}

bool err_errno(struct alula_error *e, enum alula_code code, const char *fmt, ...)
{
    int number = errno;
    char text[LONGEST], reason[128];
    va_list ap;
    va_start(ap, fmt);
    size_t n = err_format(text, sizeof text - sizeof reason - 2, fmt, ap);
    va_end(ap);
    n += (size_t)sprintf(text + n, ": %s", strerror_r(number, reason, sizeof reason));
    e->code = number == ENOMEM ? ALULA_NOMEM : number == ENOENT ? ALULA_NOT_FOUND : code;
    err_store(e, text, n);
    return false;
}

bool err_context(struct alula_error *e, const char *fmt, ...)
{
    char text[LONGEST];
    va_list ap;
    va_start(ap, fmt);
    size_t n = err_format(text, sizeof text - sizeof e->message - 2, fmt, ap);
    va_end(ap);
    n += (size_t)sprintf(text + n, ": %s", e->message);
    err_store(e, text, n);
    return false;
}
