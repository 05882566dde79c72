/* doctor.c - a small sample of a large model, measured, and what follows for the whole. Knows no terminal. */
#include "tune/doctor.h"

#include "base/err.h"
#include "base/mem.h"
#include "kern/cpu.h"
#include "tune/load.h"
#include "tune/synth.h"

#define SAMPLE_LAYERS 4
#define SAMPLE_VOCAB                                                                                         \
    32768 /* a seventh of the model's, for a tenth of its layers; as many as drafts come from */
#define SAMPLE_EXPERTS 64 /* a quarter: a step uses as many of them, and they still fit no cache */
#define ROUNDS         7  /* short and many: a slow moment of the machine hits all kinds of steps alike */
#define STEP_S         0.03
#define BUDGET_S       6
#define BESIDE         ((size_t)400 << 20) /* activations, tokenizer, the program */

static double bytes_of_token(const struct weights *w, int rows)
{
    return bench_trunk_bytes(w, rows, rows * w->config->experts_per_tok);
}

/* Bytes and states of the whole model. Its weights have shapes but lie nowhere. */
static bool whole(struct doctor *d, struct synth **ret, struct alula_error *e)
{
    struct config shape;
    struct model *m = NULL;
    synth_shape(&shape, SYNTH_35B, 0);
    if (!synth_plan(ret, &shape, e)) return false;
    d->needed = (*ret)->map_bytes + BESIDE;
    if (!model_create(&m, &(*ret)->weights, NULL, MODEL_FAST, e)) {
        synth_free(*ret);
        return false;
    }
    d->needed += state_bytes(m, DOCTOR_CONTEXT);
    model_free(m);
    return true;
}

/* A sample this small is at the mercy of a moment and of the last cache level. No step reads faster than the
 * limit, and none of several rows reads faster than one of a single row, so what was measured above that is
 * not believed. */
static double believe(double share, double most) { return share < most ? share : most; }

static void estimate(struct doctor *d, const struct bench *b, const struct weights *w)
{
    const struct bench_job *plain = bench_find(b, BENCH_PLAIN, 1), *draft = bench_find(b, BENCH_DRAFT, 1),
                           *verify = bench_find(b, BENCH_VERIFY, DOCTOR_DEPTH + 1);
    double tokens = 1, limit;
    d->read_gbs = bench_read_gbs(b);
    limit = d->read_gbs.median * 1e9;
    d->plain_share = believe(bench_bound_share(b, plain).median, 1);
    d->verify_share = believe(bench_bound_share(b, verify).median, d->plain_share);
    d->draft_share = believe(bench_bound_share(b, draft).median, 1);
    double plain_s = bytes_of_token(w, 1) / limit / d->plain_share;
    double cycle_s = bytes_of_token(w, DOCTOR_DEPTH + 1) / limit / d->verify_share +
                     DOCTOR_DEPTH * bench_draft_bytes(w, DOCTOR_HEAD_ROWS) / limit / d->draft_share;
    for (int i = 0; i < DOCTOR_DEPTH; i++) tokens += d->acceptance[i] = b->acceptance[i];
    d->plain_tok_s = 1 / plain_s;
    d->mtp_tok_s = tokens / cycle_s;
    d->n_threads = b->n_threads;
    d->measured = true;
}

static bool measure(struct bench *b, const struct bench_options *o, const struct config *shape,
                    struct alula_error *e)
{
    struct pool *pool;
    struct synth *s;
    if (!pool_create(&pool, o->n_threads, e)) return false;
    bool ok = synth_create(&s, shape, 0, pool, e);
    pool_free(pool);
    if (!ok) return false;
    ok = bench_run(b, &s->weights, NULL, o, e);
    synth_free(s);
    return ok;
}

bool doctor_run(struct doctor *ret, int n_threads, bool (*progress)(void *arg, int done, int total),
                void *arg, struct alula_error *e)
{
    struct doctor d = {.has = cpu_detect(), .kernels = cpu_name(cpu_detect())};
    struct bench_options o = bench_defaults();
    struct config sample;
    struct synth *model;
    size_t bytes;
    machine_look(&d.machine);
    d.others = load_others();
    d.n_threads = n_threads ? n_threads : d.machine.cpus;
    synth_shape(&sample, SYNTH_35B, SAMPLE_LAYERS);
    sample.vocab = SAMPLE_VOCAB;
    sample.n_experts = SAMPLE_EXPERTS;
    o.n_threads = n_threads;
    o.rounds = ROUNDS;
    o.step_s = STEP_S;
    o.read_bytes = (size_t)1 << 28;
    o.sample = true;
    o.budget_s = BUDGET_S;
    o.progress = progress;
    o.arg = arg;
    if (!whole(&d, &model, e)) return false;
    bool ok = synth_bytes(&bytes, &sample, e);
    if (ok && (!d.machine.available || bytes + BESIDE <= d.machine.available)) {
        struct bench *b = mem_zalloc(1, sizeof *b);
        ok = b ? measure(b, &o, &sample, e) : err_set(e, ALULA_NOMEM, "no memory for the results");
        if (ok) estimate(&d, b, &model->weights);
        mem_free(b);
    }
    synth_free(model);
    if (ok) *ret = d;
    return ok;
}

/* ---- JSON ------------------------------------------------------------------------------------------------ */

static json_t *machine_json(const struct doctor *d)
{
    const struct machine *m = &d->machine;
    json_t *sets = json_array();
    static const struct {
        unsigned bit;
        const char *name;
    } names[] = {{CPU_AVX2, "avx2"}, {CPU_AVX512, "avx512"}, {CPU_NEON, "neon"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (d->has & names[i].bit) json_array_append_new(sets, json_string(names[i].name));
    return json_pack("{s:s, s:i, s:i, s:I, s:I, s:o, s:o, s:s}", "cpu", m->cpu, "cpus", m->cpus,
                     "machine_cpus", m->cpus_all, "memory_bytes", (json_int_t)m->memory, "available_bytes",
                     (json_int_t)m->available, "limit_bytes",
                     m->limit ? json_integer((json_int_t)m->limit) : json_null(), "instruction_sets", sets,
                     "kernels", d->kernels);
}

json_t *doctor_json(const struct doctor *d)
{
    mem_setup();
    uint64_t refused = mem_refused();
    json_t *root = json_object(), *estimate = json_null();
    json_object_set_new(root, "machine", machine_json(d));
    json_object_set_new(root, "threads", json_integer(d->n_threads));
    json_object_set_new(root, "others", json_real(d->others));
    if (d->measured) {
        json_object_set_new(root, "read_gbs", json_real(d->read_gbs.median));
        json_object_set_new(root, "read_gbs_min", json_real(d->read_gbs.min));
        json_object_set_new(root, "read_gbs_max", json_real(d->read_gbs.max));
        json_t *list = json_array();
        for (int i = 0; i < DOCTOR_DEPTH; i++) json_array_append_new(list, json_real(d->acceptance[i]));
        estimate =
            json_pack("{s:b, s:s, s:f, s:f, s:i, s:o, s:f, s:f, s:f}", "estimate", 1, "model",
                      "Qwen3.5-35B-A3B, 4 bits", "plain_tok_s", d->plain_tok_s, "mtp_tok_s", d->mtp_tok_s,
                      "depth", DOCTOR_DEPTH, "acceptance", list, "plain_bound_share", d->plain_share,
                      "verify_bound_share", d->verify_share, "draft_bound_share", d->draft_share);
    }
    json_object_set_new(root, "estimate", estimate);
    json_object_set_new(root, "needed_bytes", json_integer((json_int_t)d->needed));
    json_object_set_new(root, "fits",
                        json_boolean(!d->machine.available || d->needed <= d->machine.available));
    if (mem_refused() == refused) return root;
    json_decref(root);
    return NULL;
}
