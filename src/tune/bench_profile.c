/* bench_profile.c - the profile of a bench as text and as JSON. Measures nothing. */
#include "tune/bench.h"

static const char *job_name(const struct bench_job *job)
{
    return job->kind == BENCH_PLAIN    ? "plain decoding"
           : job->kind == BENCH_VERIFY ? "verify, rows"
                                       : "prefill, tokens";
}

static double gbs(const struct bench_profile *p, int op)
{
    return p->bytes[op] ? (double)p->bytes[op] / p->spent[op] / 1e9 : 0;
}

static void show_row(struct buf *out, const struct bench_profile *p, int op)
{
    buf_fmt(out, "  %-30s %9.3f %6.1f", profile_name((enum profile_op)op), 1e3 * p->spent[op] / p->steps,
            100 * p->spent[op] / p->seconds);
    if (p->bytes[op]) buf_fmt(out, " %10.2f %7.2f", (double)p->bytes[op] / p->steps / 1e6, gbs(p, op));
    buf_byte(out, '\n');
}

static void show_profile(struct buf *out, const struct bench *b, const struct bench_profile *p)
{
    const struct bench_job *job = &b->jobs[p->job];
    double sum = 0, bytes = 0;
    buf_fmt(out, "\n%s", job_name(job));
    if (job->kind != BENCH_PLAIN) buf_fmt(out, " %d", job->n);
    buf_fmt(out, "\n  %-30s %9s %6s %10s %7s\n", "", "ms", "%", "MB", "GB/s");
    for (int i = 0; i < PROFILE_OPS; i++) {
        if (p->spent[i] > 0) show_row(out, p, i);
        sum += p->spent[i];
        bytes += (double)p->bytes[i];
    }
    buf_fmt(out, "  %-30s %9.3f %6.1f %10.2f %7.2f\n", "sum", 1e3 * sum / p->steps, 100 * sum / p->seconds,
            bytes / p->steps / 1e6, bytes / sum / 1e9);
    buf_fmt(out, "  %-30s %9.3f\n", "without the clocks", bench_ms(job).median);
}

void bench_profile_show(struct buf *out, const struct bench *b)
{
    for (int i = 0; i < b->n_profiles; i++) show_profile(out, b, &b->profiles[i]);
    buf_fmt(
        out,
        "\nTime is a mean over the threads; bytes are of weights, keys and values, and recurrent state.\n");
}

json_t *bench_profile_json(const struct bench *b, const struct bench_profile *p)
{
    const struct bench_job *job = &b->jobs[p->job];
    json_t *o = json_object(), *list = json_array();
    json_object_set_new(o, "step", json_string(job_name(job)));
    json_object_set_new(o, "n", json_integer(job->n));
    json_object_set_new(o, "ms", json_real(1e3 * p->seconds / p->steps));
    for (int i = 0; i < PROFILE_OPS; i++) {
        if (!(p->spent[i] > 0)) continue;
        json_t *row = json_object();
        json_object_set_new(row, "operation", json_string(profile_key((enum profile_op)i)));
        json_object_set_new(row, "ms", json_real(1e3 * p->spent[i] / p->steps));
        json_object_set_new(row, "share", json_real(p->spent[i] / p->seconds));
        json_object_set_new(row, "bytes", json_real((double)p->bytes[i] / p->steps));
        json_object_set_new(row, "gbs", json_real(gbs(p, i)));
        json_array_append_new(list, row);
    }
    json_object_set_new(o, "operations", list);
    return o;
}
