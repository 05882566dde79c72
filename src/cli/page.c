/* page.c - lays out reports on standard output. Owns columns and colour; knows nothing of models. */
#include "cli/page.h"

#include <stdarg.h>
#include <string.h>

#define TEXT_COLUMN 14

static const char *style(enum term_style s) { return term_style(stdout, s); }

/* Columns that n bytes of UTF-8 take: every character one. */
static size_t columns(const char *s, size_t n)
{
    size_t c = 0;
    for (size_t i = 0; i < n; i++) c += ((unsigned char)s[i] & 0xc0) != 0x80;
    return c;
}

static void indent(struct buf *out) { buf_fmt(out, "\n%*s", TEXT_COLUMN, ""); }

/* Words as they fit; a word longer than a line stands alone. */
static void wrap(struct buf *out, const char *text)
{
    int room = term_width(stdout) - TEXT_COLUMN;
    size_t width = room < 24 ? 24 : (size_t)room, at = 0;
    while (*text) {
        size_t len = strcspn(text, " "), cols = columns(text, len);
        if (at && at + 1 + cols > width) {
            indent(out);
            at = 0;
        } else if (at) {
            buf_byte(out, ' ');
            at++;
        }
        buf_add(out, text, len);
        at += cols;
        text += len + strspn(text + len, " ");
    }
}

void page_line(struct buf *out, const char *label, enum term_style s, const char *fmt, ...)
{
    char text[4096];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    buf_fmt(out, "  %s%-*s%s", style(TERM_DIM), TEXT_COLUMN - 2, label, style(TERM_PLAIN));
    if (s != TERM_PLAIN) buf_str(out, style(s));
    wrap(out, text);
    if (s != TERM_PLAIN) buf_str(out, style(TERM_PLAIN));
    buf_byte(out, '\n');
}

void page_command(struct buf *out, const char *command)
{
    buf_fmt(out, "%*s%s%s%s\n", TEXT_COLUMN + 2, "", style(TERM_CYAN), command, style(TERM_PLAIN));
}

void page_title(struct buf *out, const char *text)
{
    buf_fmt(out, "%s%s%s\n", style(TERM_BOLD), text, style(TERM_PLAIN));
}

const char *page_bytes(char out[32], uint64_t n)
{
    static const char *const units[] = {"bytes", "kB", "MB", "GB", "TB", "PB", "EB"};
    double v = (double)n;
    int u = 0;
    while (v >= 999.5 && u < 6) {
        v /= 1000;
        u++;
    }
    snprintf(out, 32, u && v < 99.95 ? "%.1f %s" : "%.0f %s", v, units[u]);
    return out;
}

const char *page_count(char out[32], uint64_t n)
{
    if (n >= 1000000000)
        snprintf(out, 32, "%.1f billion", (double)n * 1e-9);
    else if (n >= 1000000)
        snprintf(out, 32, "%.1f million", (double)n * 1e-6);
    else
        snprintf(out, 32, "%llu", (unsigned long long)n);
    return out;
}
