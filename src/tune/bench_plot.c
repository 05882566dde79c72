/* bench_plot.c - the picture of a bench: a roofline. Each step stands at how often it multiplies for each
 * byte that it must read (to the right) and how often a second (upwards), both logarithmic; the slanted line
 * is the read limit, on which a step stands that waits for memory alone. Knows no file. */
#include <math.h>

#include "tune/bench.h"
#include "tune/svg.h"

enum { WIDTH = 760, HEIGHT = 520, LEFT = 70, RIGHT = 560, TOP = 70, BOTTOM = 450, LEGEND = 590 };

/* Powers of two at the edges. */
struct axes {
    double x0, x1, y0, y1;
};

static const char *const colours[BENCH_KINDS] = {
    [BENCH_PLAIN] = "#c0392b",     [BENCH_VERIFY] = "#2a6fb0",  [BENCH_PREFILL] = "#2a7f4f",
    [BENCH_SEQUENCES] = "#b07d1e", [BENCH_CONTEXT] = "#7d4fa0",
};

static bool has_place(const struct bench_job *job)
{
    return colours[job->kind] && job->macs > 0 && job->bytes > 0;
}

static double intensity(const struct bench_job *job) { return job->macs / job->bytes; }

/* 1e9 multiplications a second in a step of `ms`. */
static double rate(const struct bench_job *job, double ms) { return job->macs / ms / 1e6; }

static double at_x(const struct axes *a, double v)
{
    return LEFT + (RIGHT - LEFT) * (log2(v) - a->x0) / (a->x1 - a->x0);
}

static double at_y(const struct axes *a, double v)
{
    return BOTTOM - (BOTTOM - TOP) * (log2(v) - a->y0) / (a->y1 - a->y0);
}

static struct axes axes_of(const struct bench *b, double gbs)
{
    struct axes a = {HUGE_VAL, -HUGE_VAL, HUGE_VAL, -HUGE_VAL};
    for (int i = 0; i < b->n_jobs; i++) {
        const struct bench_job *job = &b->jobs[i];
        if (!has_place(job)) continue;
        struct bench_figure ms = bench_ms(job);
        double x = log2(intensity(job)), roof = log2(intensity(job) * gbs);
        a.x0 = fmin(a.x0, x);
        a.x1 = fmax(a.x1, x);
        a.y0 = fmin(a.y0, fmin(log2(rate(job, ms.max)), roof));
        a.y1 = fmax(a.y1, log2(rate(job, ms.min)));
    }
    return (struct axes){floor(a.x0 - 0.3), ceil(a.x1 + 0.3), floor(a.y0 - 0.3), ceil(a.y1 + 1)};
}

static void draw_axes(const struct axes *a, struct buf *out)
{
    for (double v = a->x0; v <= a->x1; v++) {
        double x = at_x(a, exp2(v));
        svg_line(out, x, TOP, x, BOTTOM, "#ddd");
        svg_text(out, x, BOTTOM + 18, "middle", "", "%g", exp2(v));
    }
    for (double v = a->y0; v <= a->y1; v++) {
        double y = at_y(a, exp2(v));
        svg_line(out, LEFT, y, RIGHT, y, "#ddd");
        svg_text(out, LEFT - 6, y + 4, "end", "", "%g", exp2(v));
    }
    svg_text(out, (LEFT + RIGHT) / 2.0, BOTTOM + 42, "middle", "", "multiplications for each byte read");
    svg_text(out, LEFT - 6, TOP - 14, "start", "", "thousand million multiplications a second");
}

/* The read limit, from edge to edge. */
static void draw_roof(const struct axes *a, double gbs, struct buf *out)
{
    double low = fmax(a->x0, a->y0 - log2(gbs)), high = fmin(a->x1, a->y1 - log2(gbs));
    double x = at_x(a, exp2(low)), y = at_y(a, exp2(low) * gbs);
    svg_line(out, x, y, at_x(a, exp2(high)), at_y(a, exp2(high) * gbs), "#222");
    svg_text(out, LEGEND, TOP + 6, "start", "", "line: read limit, %.1f GB/s", gbs);
}

static void draw_job(const struct axes *a, const struct bench_job *job, struct buf *out)
{
    struct bench_figure ms = bench_ms(job);
    double x = at_x(a, intensity(job)), y = at_y(a, rate(job, ms.median));
    svg_line(out, x, at_y(a, rate(job, ms.max)), x, at_y(a, rate(job, ms.min)), colours[job->kind]);
    buf_fmt(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" fill=\"%s\"/>\n", x, y, colours[job->kind]);
    if (job->kind == BENCH_VERIFY || job->kind == BENCH_PREFILL)
        svg_text(out, x + 7, y + 4, "start", " font-size=\"10\"", "%d", job->n);
}

static void draw_legend(struct buf *out)
{
    int row = 0;
    for (int k = 0; k < BENCH_KINDS; k++) {
        if (!colours[k]) continue;
        double y = TOP + 30 + 20 * row++;
        buf_fmt(out, "<circle cx=\"%d\" cy=\"%.1f\" r=\"4\" fill=\"%s\"/>\n", LEGEND + 4, y - 4, colours[k]);
        svg_text(out, LEGEND + 16, y, "start", "", "%s", bench_kind_name((enum bench_kind)k));
    }
}

void bench_plot(const struct bench *b, const struct bench_label *label, struct buf *out)
{
    double gbs = bench_read_gbs(b).median;
    struct axes a = axes_of(b, gbs);
    svg_begin(out, WIDTH, HEIGHT);
    svg_text(out, WIDTH / 2.0, 28, "middle", " font-size=\"15\"", "%s", label->title);
    svg_text(out, LEGEND, TOP - 14, "start", "", "%d threads, %s", b->n_threads, b->isa);
    draw_axes(&a, out);
    draw_roof(&a, gbs, out);
    for (int i = 0; i < b->n_jobs; i++)
        if (has_place(&b->jobs[i])) draw_job(&a, &b->jobs[i], out);
    draw_legend(out);
    svg_end(out);
}
