/* svg.c - SVG as text. Knows no figures. */
#include "tune/svg.h"

#include <stdarg.h>
#include <stdio.h>

void svg_begin(struct buf *out, int width, int height)
{
    buf_fmt(out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" "
            "font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%%\" height=\"100%%\" "
            "fill=\"#fff\"/>\n",
            width, height, width, height);
}

void svg_end(struct buf *out) { buf_str(out, "</svg>\n"); }

static void escaped(struct buf *out, const char *s)
{
    for (; *s; s++) {
        if (*s == '<')
            buf_str(out, "&lt;");
        else if (*s == '&')
            buf_str(out, "&amp;");
        else
            buf_byte(out, (unsigned char)*s < 32 ? ' ' : (unsigned char)*s);
    }
}

void svg_text(struct buf *out, double x, double y, const char *anchor, const char *style, const char *fmt,
              ...)
{
    char text[4200];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    buf_fmt(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\"%s>", x, y, anchor, style);
    escaped(out, text);
    buf_str(out, "</text>\n");
}

void svg_line(struct buf *out, double x1, double y1, double x2, double y2, const char *colour)
{
    buf_fmt(out, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\"/>\n", x1, y1, x2, y2,
            colour);
}
