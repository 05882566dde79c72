/* bench_figures.c - from the seconds of a bench to its figures, its JSON and its CSV. Measures nothing. */
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

struct bench_figure bench_figure_of(double *v, int n)
{
    qsort(v, (size_t)n, sizeof *v, by_value);
    return (struct bench_figure){(v[(n - 1) / 2] + v[n / 2]) / 2, v[0], v[n - 1]};
}

const int bench_head_bits[BENCH_HEADS] = {16, 8, 4};

const struct bench_job *bench_find_head(const struct bench *b, enum bench_kind kind, int n, int head_bits)
{
    for (int i = 0; i < b->n_jobs; i++)
        if (b->jobs[i].kind == kind && b->jobs[i].n == n && b->jobs[i].head_bits == head_bits)
            return &b->jobs[i];
    return NULL;
}

const struct bench_job *bench_find(const struct bench *b, enum bench_kind kind, int n)
{
    return bench_find_head(b, kind, n, 0);
}

struct bench_figure bench_ms(const struct bench_job *job)
{
    double v[BENCH_ROUNDS_MAX];
    for (int r = 0; r < job->rounds; r++) v[r] = job->seconds[r] * 1e3;
    return bench_figure_of(v, job->rounds);
}

struct bench_figure bench_tok_s(const struct bench_job *job)
{
    double v[BENCH_ROUNDS_MAX];
    for (int r = 0; r < job->rounds; r++) v[r] = job->tokens / job->seconds[r];
    return bench_figure_of(v, job->rounds);
}

struct bench_figure bench_read_gbs(const struct bench *b)
{
    const struct bench_job *job = bench_find(b, BENCH_READ, 0);
    double v[BENCH_ROUNDS_MAX];
    for (int r = 0; r < job->rounds; r++) v[r] = job->bytes / job->seconds[r] / 1e9;
    return bench_figure_of(v, job->rounds);
}

struct bench_figure bench_bound_share(const struct bench *b, const struct bench_job *job)
{
    const struct bench_job *read = bench_find(b, BENCH_READ, 0);
    double v[BENCH_ROUNDS_MAX];
    for (int r = 0; r < job->rounds; r++)
        v[r] = job->bytes / job->seconds[r] / (read->bytes / read->seconds[r]);
    return bench_figure_of(v, job->rounds);
}

struct bench_figure bench_ratio(const struct bench *b, const struct bench_job *job)
{
    const struct bench_job *plain = bench_find(b, BENCH_PLAIN, 1);
    double v[BENCH_ROUNDS_MAX];
    for (int r = 0; r < job->rounds; r++)
        v[r] = job->tokens / job->seconds[r] / (plain->tokens / plain->seconds[r]);
    return bench_figure_of(v, job->rounds);
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

static const struct kind {
    const char *name, *key;
    const char *number; /* JSON's name for a job's n; NULL = there is one job of this kind */
    bool tokens, ratio; /* say tokens per second; say how many times plain decoding that is */
} kinds[BENCH_KINDS] = {
    [BENCH_READ] = {"read limit", "read", NULL, false, false},
    [BENCH_PLAIN] = {"plain decoding", "ar", NULL, true, false},
    [BENCH_VERIFY] = {"verify, rows", "verify", "rows", false, false},
    [BENCH_DRAFT] = {"draft step", "draft", NULL, false, false},
    [BENCH_MTP] = {"MTP, depth", "mtp", "depth", true, true},
    [BENCH_PREFILL] = {"prefill, tokens", "prefill", "tokens", true, true},
    [BENCH_SEQUENCES] = {"sequences", "sequences", "n", true, true},
    [BENCH_SCALING] = {"threads", "scaling", "threads", true, true},
    [BENCH_CONTEXT] = {"context", "context", "tokens", true, true},
};

const char *bench_kind_name(enum bench_kind kind) { return kinds[kind].name; }

/* What a job of each kind has to say. */
static json_t *job_json(const struct bench *b, const struct bench_job *job)
{
    const struct kind *kind = &kinds[job->kind];
    json_t *o = json_object();
    if (kind->number) json_object_set_new(o, kind->number, json_integer(job->n));
    if (job->head_bits) json_object_set_new(o, "head_bits", json_integer(job->head_bits));
    if (job->kind == BENCH_MTP) {
        json_t *list = json_array();
        for (int d = 0; d < job->n; d++) json_array_append_new(list, json_real(b->acceptance[d]));
        json_object_set_new(o, "acceptance", list);
        json_object_set_new(o, "simulated", json_true());
    }
    if (job->kind == BENCH_CONTEXT && job->n > 0)
        json_object_set_new(o, "filled", json_string("copies of a short prompt's keys and values"));
    put(o, "ms", bench_ms(job));
    if (kind->tokens) put(o, "tok_s", bench_tok_s(job));
    if (kind->ratio) put(o, "ratio", bench_ratio(b, job));
    json_object_set_new(o, "rounds", json_integer(job->rounds));
    if (job->experts > 0) json_object_set_new(o, "experts", json_real(job->experts));
    if (job->bytes > 0) {
        json_object_set_new(o, "bytes", json_integer((json_int_t)job->bytes));
        put(o, "bound_share", bench_bound_share(b, job));
    }
    return o;
}

static json_t *jobs_json(const struct bench *b, enum bench_kind kind, int head_bits)
{
    json_t *list = json_array();
    for (int i = 0; i < b->n_jobs; i++)
        if (b->jobs[i].kind == kind && b->jobs[i].head_bits == head_bits)
            json_array_append_new(list, job_json(b, &b->jobs[i]));
    return list;
}

static json_t *heads_json(const struct bench *b)
{
    json_t *list = json_array();
    for (int i = 0; i < BENCH_HEADS; i++) {
        int bits = bench_head_bits[i];
        const struct bench_job *draft = bench_find_head(b, BENCH_DRAFT, 1, bits);
        if (draft)
            json_array_append_new(list, json_pack("{s:i, s:o, s:o}", "bits", bits, "draft",
                                                  job_json(b, draft), "mtp", jobs_json(b, BENCH_MTP, bits)));
    }
    return list;
}

static void put_label(json_t *root, const struct bench_label *label)
{
    json_object_set_new(root, "model", json_string(label->title));
    if (label->synthetic) {
        json_object_set_new(root, "synthetic", json_true());
        json_object_set_new(root, "layers", json_integer(label->layers));
        json_object_set_new(root, "all_layers", json_integer(label->all_layers));
        json_object_set_new(root, "expert_overlap", json_real(label->expert_overlap));
    }
    put(root, "load_s", label->load);
    json_object_set_new(root, "load",
                        json_string(label->synthetic ? "making the weights" : "start to first token"));
}

json_t *bench_json(const struct bench *b, const struct bench_label *label)
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
    json_object_set_new(root, "verify", jobs_json(b, BENCH_VERIFY, 0));
    json_t *step = draft ? job_json(b, draft) : json_null();
    if (draft) json_object_set_new(step, "head_rows", json_integer(b->head_rows));
    json_object_set_new(root, "draft", step);
    json_object_set_new(root, "mtp", jobs_json(b, BENCH_MTP, 0));
    json_object_set_new(root, "heads", heads_json(b));
    json_object_set_new(root, "prefill", jobs_json(b, BENCH_PREFILL, 0));
    json_object_set_new(root, "sequences", jobs_json(b, BENCH_SEQUENCES, 0));
    json_object_set_new(root, "scaling", jobs_json(b, BENCH_SCALING, 0));
    json_object_set_new(root, "context", jobs_json(b, BENCH_CONTEXT, 0));
    put_label(root, label);
    put_once(root, "rss_bytes", (double)b->rss_bytes);
    put_once(root, "rss_context_bytes", (double)b->rss_context_bytes);
    if (mem_refused() == refused) return root;
    json_decref(root);
    return NULL;
}

/* ---- CSV ------------------------------------------------------------------------------------------------- */

static void csv_figure(struct buf *out, bool known, struct bench_figure f)
{
    if (known)
        buf_fmt(out, ",%.6g,%.6g,%.6g", f.median, f.min, f.max);
    else
        buf_str(out, ",,,");
}

void bench_csv(const struct bench *b, struct buf *out)
{
    buf_str(out, "what,n,rounds,ms,ms_min,ms_max,tok_s,tok_s_min,tok_s_max,ratio,ratio_min,ratio_max,bytes,"
                 "bound_share,bound_share_min,bound_share_max,read_gbs,experts,head_bits\n");
    double read = bench_read_gbs(b).median;
    for (int i = 0; i < b->n_jobs; i++) {
        const struct bench_job *job = &b->jobs[i];
        bool known = job->bytes > 0;
        if (job->kind == BENCH_READ) continue;
        buf_fmt(out, "%s,%d,%d", kinds[job->kind].key, job->n, job->rounds);
        csv_figure(out, true, bench_ms(job));
        csv_figure(out, job->tokens > 0, bench_tok_s(job));
        csv_figure(out, job->tokens > 0, bench_ratio(b, job));
        buf_fmt(out, ",%.0f", job->bytes);
        csv_figure(out, known, known ? bench_bound_share(b, job) : (struct bench_figure){0, 0, 0});
        buf_fmt(out, ",%.6g,%.6g,%d\n", read, job->experts, job->head_bits);
    }
}
