/* plot.c - the picture of a result: two panels of SVG. Knows no file and no colour of the terminal. */
#include <stdio.h>

#include "tune/svg.h"
#include "tune/tune.h"

enum { WIDTH = 760, HEIGHT = 360, PANEL = 300, TOP = 70, BOTTOM = 300 };

struct panel {
    double left, max; /* value at the upper edge; 0 is at the lower */
    int n;            /* places along it */
};

static double at_x(const struct panel *p, double i) { return p->left + PANEL * (i + 0.5) / p->n; }
static double at_y(const struct panel *p, double v) { return BOTTOM - (BOTTOM - TOP) * v / p->max; }

/* The next of 1, 2, 5, 10, ... that cuts v into at most five. */
static double step_of(double v)
{
    double step = 1e-6;
    for (int i = 0; v > 5 * step; i++) step *= i % 3 == 1 ? 2.5 : 2;
    return step;
}

static void draw_axes(const struct panel *p, const char *title, double step, double scale, const char *unit,
                      struct buf *out)
{
    svg_text(out, p->left + PANEL / 2.0, TOP - 14, "middle", " font-weight=\"bold\"", "%s", title);
    for (int i = 0; i * step <= p->max * (1 + 1e-9); i++) {
        double y = at_y(p, i * step);
        svg_line(out, p->left, y, p->left + PANEL, y, "#ddd");
        svg_text(out, p->left - 6, y + 4, "end", "", "%g%s", i * step * scale, unit);
    }
}

static void draw_label(const struct panel *p, int i, int depth, struct buf *out)
{
    char label[16] = "plain";
    if (depth) snprintf(label, sizeof label, "depth %d", depth);
    svg_text(out, at_x(p, i), BOTTOM + 20, "middle", "", "%s", label);
}

static void draw_bar(const struct panel *p, int i, double v, const char *colour, struct buf *out)
{
    double w = 0.6 * PANEL / p->n, y = at_y(p, v);
    buf_fmt(out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"%s\"/>\n",
            at_x(p, i) - w / 2, y, w, BOTTOM - y, colour);
}

static void draw_interval(const struct panel *p, int i, double low, double high, struct buf *out)
{
    double x = at_x(p, i), a = at_y(p, low), b = at_y(p, high);
    buf_fmt(out,
            "<path d=\"M%.1f %.1fV%.1fM%.1f %.1fh12M%.1f %.1fh12\" stroke=\"#222\" stroke-width=\"1.5\" "
            "fill=\"none\"/>\n",
            x, a, b, x - 6, a, x - 6, b);
}

static void draw_speed(const struct tune_result *r, struct buf *out)
{
    struct panel p = {.left = 60, .max = 0, .n = r->n_rows};
    for (int i = 0; i < r->n_rows; i++)
        if (r->rows[i].tok_s.high > p.max) p.max = r->rows[i].tok_s.high;
    if (!(p.max > 0)) p.max = 1;
    double step = step_of(p.max);
    p.max *= 1.08;
    draw_axes(&p, "tokens per second", step, 1, "", out);
    for (int i = 0; i < r->n_rows; i++) {
        const struct tune_row *row = &r->rows[i];
        draw_bar(&p, i, row->tok_s.mid, i == r->ruling.winner ? "#2a7f4f" : i ? "#8fb8d8" : "#b8b8b8", out);
        draw_interval(&p, i, row->tok_s.low, row->tok_s.high, out);
        draw_label(&p, i, row->depth, out);
        svg_text(out, at_x(&p, i), BOTTOM + 36, "middle", " fill=\"#555\"", "%.2fx", row->multiplier.mid);
    }
}

/* Of the deepest row: how often the first, second, ... draft was kept. */
static void draw_acceptance(const struct tune_result *r, struct buf *out)
{
    const struct tune_row *row = &r->rows[r->n_rows - 1];
    if (!row->depth) return;
    struct panel p = {.left = 430, .max = 1, .n = row->depth};
    draw_axes(&p, "drafts accepted", 0.25, 100, " %", out);
    for (int d = 0; d < row->depth; d++) {
        struct estimate a = tune_acceptance_interval(row, d);
        draw_bar(&p, d, a.mid, "#d8b26a", out);
        draw_interval(&p, d, a.low, a.high, out);
        draw_label(&p, d, d + 1, out);
    }
}

void tune_plot(const struct tune_result *r, const char *model, struct buf *out)
{
    svg_begin(out, WIDTH, HEIGHT);
    svg_text(out, WIDTH / 2.0, 28, "middle", " font-size=\"15\"", "%s: %s", model,
             tune_verdict_name(r->ruling.verdict));
    draw_speed(r, out);
    draw_acceptance(r, out);
    svg_end(out);
}
