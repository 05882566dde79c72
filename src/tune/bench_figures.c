/* bench_figures.c - from the seconds of a bench to its figures and its JSON. Measures nothing. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tune/bench.h"

static int by_value(const void *a, const void *b)
{
    double l = *(const double *)a, r = *(const double *)b;
    return (l > r) - (l < r);
}

static struct bench_figure figure_of(double *v, int n)
{
    qsort(v, (size_t)n, sizeof *v, by_value);
    return (struct bench_figure){(v[(n - 1) / 2] + v[n / 2]) / 2, v[0], v[n - 1]};
}

const struct bench_job *bench_find(const struct bench *b, enum bench_kind kind, int n)
{
    for (int i = 0; i < b->n_jobs; i++)
        if (b->jobs[i].kind == kind && b->jobs[i].n == n) return &b->jobs[i];
    return NULL;
}

struct bench_figure bench_ms(const struct bench *b, const struct bench_job *job)
{
    double v[BENCH_ROUNDS_MAX];
    for (int r = 0; r < b->rounds; r++) v[r] = job->seconds[r] * 1e3;
    return figure_of(v, b->rounds);
}

struct bench_figure bench_tok_s(const struct bench *b, const struct bench_job *job)
{
    double v[BENCH_ROUNDS_MAX];
    for (int r = 0; r < b->rounds; r++) v[r] = job->tokens / job->seconds[r];
    return figure_of(v, b->rounds);
}

struct bench_figure bench_read_gbs(const struct bench *b)
{
    const struct bench_job *read = bench_find(b, BENCH_READ, 0);
    double v[BENCH_ROUNDS_MAX];
    for (int r = 0; r < b->rounds; r++) v[r] = read->bytes / read->seconds[r] / 1e9;
    return figure_of(v, b->rounds);
}

struct bench_figure bench_bound_share(const struct bench *b, const struct bench_job *job)
{
    const struct bench_job *read = bench_find(b, BENCH_READ, 0);
    double v[BENCH_ROUNDS_MAX];
    for (int r = 0; r < b->rounds; r++)
        v[r] = job->bytes / job->seconds[r] / (read->bytes / read->seconds[r]);
    return figure_of(v, b->rounds);
}

struct bench_figure bench_ratio(const struct bench *b, const struct bench_job *job)
{
    const struct bench_job *plain = bench_find(b, BENCH_PLAIN, 1);
    double v[BENCH_ROUNDS_MAX];
    for (int r = 0; r < b->rounds; r++)
        v[r] = job->tokens / job->seconds[r] / (plain->tokens / plain->seconds[r]);
    return figure_of(v, b->rounds);
}

/* ---- JSON ------------------------------------------------------------------------------------------------ */

static void put(json_t *o, const char *key, struct bench_figure f)
{
    char edge[64];
    json_object_set_new(o, key, json_real(f.median));
    snprintf(edge, sizeof edge, "%s_min", key);
    json_object_set_new(o, edge, json_real(f.min));
    snprintf(edge, sizeof edge, "%s_max", key);
    json_object_set_new(o, edge, json_real(f.max));
}

static void put_once(json_t *o, const char *key, double v) { put(o, key, (struct bench_figure){v, v, v}); }

/* What a job of each kind has to say. */
static json_t *job_json(const struct bench *b, const struct bench_job *job)
{
    static const char *const numbers[] = {[BENCH_VERIFY] = "rows",
                                          [BENCH_MTP] = "depth",
                                          [BENCH_PREFILL] = "tokens",
                                          [BENCH_SEQUENCES] = "n",
                                          [BENCH_SCALING] = "threads"};
    json_t *o = json_object();
    if (job->kind != BENCH_PLAIN && job->kind != BENCH_DRAFT)
        json_object_set_new(o, numbers[job->kind], json_integer(job->n));
    if (job->kind == BENCH_MTP) {
        json_t *list = json_array();
        for (int d = 0; d < job->n; d++) json_array_append_new(list, json_real(b->acceptance[d]));
        json_object_set_new(o, "acceptance", list);
        json_object_set_new(o, "simulated", json_true());
    }
    put(o, "ms", bench_ms(b, job));
    if (job->kind != BENCH_VERIFY && job->kind != BENCH_DRAFT) put(o, "tok_s", bench_tok_s(b, job));
    if (job->kind == BENCH_MTP || job->kind == BENCH_PREFILL || job->kind == BENCH_SEQUENCES)
        put(o, "ratio", bench_ratio(b, job));
    if (job->experts > 0) json_object_set_new(o, "experts", json_real(job->experts));
    if (job->bytes > 0) {
        json_object_set_new(o, "bytes", json_integer((json_int_t)job->bytes));
        put(o, "bound_share", bench_bound_share(b, job));
    }
    return o;
}

static json_t *jobs_json(const struct bench *b, enum bench_kind kind)
{
    json_t *list = json_array();
    for (int i = 0; i < b->n_jobs; i++)
        if (b->jobs[i].kind == kind) json_array_append_new(list, job_json(b, &b->jobs[i]));
    return list;
}

json_t *bench_json(const struct bench *b)
{
    mem_setup();
    uint64_t refused = mem_refused();
    json_t *root = json_object();
    const struct bench_job *plain = bench_find(b, BENCH_PLAIN, 1), *draft = bench_find(b, BENCH_DRAFT, 1);
    put(root, "read_gbs", bench_read_gbs(b));
    json_object_set_new(root, "bytes_per_token", json_integer((json_int_t)plain->bytes));
    json_object_set_new(root, "threads", json_integer(b->n_threads));
    json_object_set_new(root, "isa", json_string(b->isa));
    json_object_set_new(root, "rounds", json_integer(b->rounds));
    json_object_set_new(root, "ar", job_json(b, plain));
    if (b->n_profiles) {
        json_t *list = json_array();
        for (int i = 0; i < b->n_profiles; i++)
            json_array_append_new(list, bench_profile_json(b, &b->profiles[i]));
        json_object_set_new(root, "profile", list);
    }
    json_object_set_new(root, "verify", jobs_json(b, BENCH_VERIFY));
    json_t *step = draft ? job_json(b, draft) : json_null();
    if (draft) json_object_set_new(step, "head_rows", json_integer(b->head_rows));
    json_object_set_new(root, "draft", step);
    json_object_set_new(root, "mtp", jobs_json(b, BENCH_MTP));
    json_object_set_new(root, "prefill", jobs_json(b, BENCH_PREFILL));
    json_object_set_new(root, "sequences", jobs_json(b, BENCH_SEQUENCES));
    json_object_set_new(root, "scaling", jobs_json(b, BENCH_SCALING));
    put_once(root, "load_s", b->load_s);
    put_once(root, "rss_bytes", (double)b->rss_bytes);
    if (mem_refused() == refused) return root;
    json_decref(root);
    return NULL;
}
