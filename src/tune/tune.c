/* tune.c - the measurement: sessions in interleaved rounds, their seconds and counters into rows.
 *
 * Knows the public interface, and of the engine's weights how many bytes they are. Does not know what a verdict is made of (verdict.c) nor where it is kept
 * (record.c). */
#include "tune/tune.h"

#include <math.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/pool.h"
#include "decode/decode_internal.h"
#include "forge/stats.h"
#include "tune/bench.h"
#include "tune/load.h"
#include "tune/prompts.h"

enum { WAIT_MAX_S = 10 };
enum { TRIM_BITS = 4, TRIM_GROUP = 64 };
#define TRIM_WORTH 0.15 /* of what a step of the head reads: less is not worth a trimmed LM head in memory */

struct ids {
    int32_t *ids;
    size_t n;
};

/* One of the things that are compared. */
struct way {
    const struct alula_engine *engine;
    struct tune_row *row;
};

struct trial {
    const struct alula_engine *engine; /* what the depths are measured with */
    struct way
        ways[TUNE_ROWS_MAX]; /* [n_ways] under comparison, the first the one that others are measured by */
    int n_ways;
    struct tune_result *out;
    struct ids prompts[TUNE_N_PROMPTS];
    int32_t *plain; /* [TUNE_N_PROMPTS][max_tokens]: what plain decoding wrote */
    int plain_n[TUNE_N_PROMPTS];
    int32_t *answer; /* [max_tokens]: the one in work */
    double *rates;   /* [n_ways][TUNE_N_PROMPTS][rounds], tokens per second */
    double *ratios;  /* [TUNE_N_PROMPTS][rounds] */
    int done, total;
    int64_t others; /* tasks of others, summed over the answers that are done */
};

static bool tell(const struct trial *b, enum tune_stage stage, int done, int total, struct alula_error *e)
{
    const struct tune_options *o = &b->out->settings;
    return !o->progress || o->progress(o->arg, stage, done, total) || err_set(e, ALULA_CANCELLED, "stopped");
}

/* ---- prompts ------------------------------------------------------------------------------------------- */

static bool ask(const struct alula_engine *engine, const char *text, struct ids *ret, struct alula_error *e)
{
    struct buf json = {0};
    buf_str(&json, "{\"messages\": [{\"role\": \"user\", \"content\": ");
    json_write_str(&json, text, strlen(text));
    buf_str(&json, "}], \"add_generation_prompt\": true, \"enable_thinking\": false}");
    bool ok = buf_check(&json, "a prompt", e) &&
              alula_tokenize_chat(engine, json.data, json.len, &ret->ids, &ret->n, e);
    buf_free(&json);
    return ok;
}

/* A folder without a template is asked the bare question. */
static bool read_prompt(const struct alula_engine *engine, const struct tune_prompt *p, struct ids *ret,
                        struct alula_error *e)
{
    if (p->chat && ask(engine, p->text, ret, e)) return true;
    if (p->chat && e->code != ALULA_NOT_FOUND) return err_context(e, "the chat template");
    return alula_tokenize(engine, p->text, strlen(p->text), false, &ret->ids, &ret->n, e);
}

/* ---- one answer ---------------------------------------------------------------------------------------- */

/* Goes on behind the model's stop ids: answers of one length can be compared. */
static bool decode(struct trial *b, const struct alula_engine *engine, const struct ids *p, int depth,
                   int max_tokens, struct alula_stats *stats, int *ret_n, struct alula_error *e)
{
    struct alula_session *s;
    struct alula_step step;
    struct alula_session_options o = alula_session_defaults();
    o.n_threads = b->out->settings.n_threads;
    o.n_ctx = (int)p->n + max_tokens + ALULA_DEPTH_MAX + 1;
    o.depth = depth;
    o.max_tokens = max_tokens;
    o.ignore_stop_ids = true;
    if (!alula_session_create(&s, engine, &o, e)) return false;
    int n = 0;
    bool ok = alula_session_prompt(s, p->ids, p->n, NULL, NULL, e);
    do {
        ok = ok && alula_session_step(s, &step, e);
        for (int i = 0; ok && i < step.n_tokens && n < max_tokens; i++) b->answer[n++] = step.tokens[i];
    } while (ok && step.finish == ALULA_RUNNING);
    if (ok) alula_session_stats(s, stats);
    alula_session_free(s);
    *ret_n = n;
    return ok;
}

static void add_stats(struct tune_row *row, const struct alula_stats *s)
{
    row->tokens += s->tokens;
    row->prompt_tokens += s->prompt_tokens;
    row->cycles += s->cycles;
    row->covered += s->covered;
    for (int d = 0; d < ALULA_DEPTH_MAX; d++) {
        row->drafted[d] += s->drafted[d];
        row->accepted[d] += s->accepted[d];
    }
    row->prefill_s += s->prefill_s;
    row->decode_s += s->decode_s;
    row->draft_s += s->draft_s;
    row->verify_s += s->verify_s;
}

/* The first text of plain decoding is the one that all others must equal. */
static bool same_text(struct trial *b, int prompt, int depth, int n)
{
    int32_t *plain = b->plain + (size_t)prompt * (size_t)b->out->settings.max_tokens;
    if (!depth && !b->plain_n[prompt]) {
        memcpy(plain, b->answer, (size_t)n * sizeof *plain);
        b->plain_n[prompt] = n;
    }
    return n == b->plain_n[prompt] && !memcmp(plain, b->answer, (size_t)n * sizeof *plain);
}

static bool measure(struct trial *b, int round, int prompt, int way, struct alula_error *e)
{
    struct tune_result *r = b->out;
    struct tune_row *row = b->ways[way].row;
    struct alula_stats stats;
    int n;
    if (!tell(b, TUNE_MEASURING, b->done, b->total, e) ||
        !decode(b, b->ways[way].engine, &b->prompts[prompt], row->depth, r->settings.max_tokens, &stats, &n,
                e))
        return false;
    b->done++;
    b->others += load_now();
    add_stats(row, &stats);
    row->exact_match &= same_text(b, prompt, row->depth, n);
    b->rates[(way * TUNE_N_PROMPTS + prompt) * r->settings.rounds + round] =
        (double)stats.tokens / fmax(stats.decode_s, 1e-9);
    return true;
}

/* ---- rounds -------------------------------------------------------------------------------------------- */

/* Reads the weights from the disk and wakes the CPU. Every prompt's plain text comes first, so that there is
 * something to compare with whichever depth begins. */
static bool warm_up(struct trial *b, struct alula_error *e)
{
    struct alula_stats stats;
    const struct tune_options *o = &b->out->settings;
    int n, total = TUNE_N_PROMPTS + o->n_trimmed + o->depths, done = TUNE_N_PROMPTS;
    for (int p = 0; p < TUNE_N_PROMPTS; p++) {
        if (!tell(b, TUNE_WARMING, p, total, e) ||
            !decode(b, b->engine, &b->prompts[p], 0, o->max_tokens, &stats, &n, e))
            return false;
        same_text(b, p, 0, n);
    }
    for (int i = 0; i < o->n_trimmed; i++)
        if (!tell(b, TUNE_WARMING, done++, total, e) ||
            !decode(b, o->trimmed[i], &b->prompts[0], TUNE_TRIM_DEPTH, 8, &stats, &n, e))
            return false;
    for (int d = 1; d <= o->depths; d++)
        if (!tell(b, TUNE_WARMING, done++, total, e) ||
            !decode(b, b->engine, &b->prompts[0], d, 8, &stats, &n, e))
            return false;
    return true;
}

static void add_way(struct trial *b, const struct alula_engine *engine, struct tune_row *row, int depth)
{
    *row = (struct tune_row){.depth = depth, .exact_match = true};
    b->ways[b->n_ways++] = (struct way){engine, row};
}

static void sum_up(struct trial *b)
{
    int rounds = b->out->settings.rounds, n = TUNE_N_PROMPTS * rounds;
    for (int w = 0; w < b->n_ways; w++) {
        const double *rates = b->rates + (size_t)w * (size_t)n;
        for (int i = 0; i < n; i++) b->ratios[i] = rates[i] / b->rates[i];
        b->ways[w].row->tok_s = estimate_mean(rates, TUNE_N_PROMPTS, rounds, (uint64_t)w);
        b->ways[w].row->multiplier = estimate_ratio(b->ratios, TUNE_N_PROMPTS, rounds, (uint64_t)w);
    }
}

static bool run_rounds(struct trial *b, struct alula_error *e)
{
    const struct tune_options *o = &b->out->settings;
    for (int r = 0; r < o->rounds; r++)
        for (int p = 0; p < TUNE_N_PROMPTS; p++)
            for (int i = 0; i < b->n_ways; i++)
                if (!measure(b, r, p, (r + p + i) % b->n_ways, e)) return false;
    sum_up(b);
    return true;
}

/* A part of the vocabulary is taken if it is faster than the whole by more than noise. */
static bool choose_vocabulary(struct trial *b, struct alula_error *e)
{
    struct tune_result *r = b->out;
    const struct tune_options *o = &r->settings;
    if (!o->n_trimmed) return true;
    b->n_ways = 0;
    for (int i = 0; i <= o->n_trimmed; i++)
        add_way(b, i ? o->trimmed[i - 1] : b->engine, &r->trims[i], TUNE_TRIM_DEPTH);
    if (!run_rounds(b, e)) return false;
    r->n_trims = b->n_ways;
    for (int i = 1; i < r->n_trims; i++) {
        struct estimate m = r->trims[i].multiplier;
        if (r->trims[i].exact_match && m.low > 1 && m.mid > r->trims[r->trim].multiplier.mid) r->trim = i;
    }
    if (r->trim) b->engine = o->trimmed[r->trim - 1];
    return true;
}

static bool measure_depths(struct trial *b, struct alula_error *e)
{
    struct tune_result *r = b->out;
    int rounds = r->settings.rounds;
    double spreads[TUNE_N_PROMPTS];
    b->n_ways = 0;
    for (int d = 0; d < r->n_rows; d++) add_way(b, b->engine, &r->rows[d], d);
    if (!run_rounds(b, e)) return false;
    for (int p = 0; p < TUNE_N_PROMPTS; p++) spreads[p] = estimate_spread(b->rates + p * rounds, rounds);
    r->noise = stats_median(spreads, TUNE_N_PROMPTS);
    return true;
}

/* ---- is the machine ours? ------------------------------------------------------------------------------ */

static bool is_quiet(struct tune_result *r, double others, struct alula_error *e)
{
    int cpus = load_machine_cpus(), threads = r->settings.n_threads;
    r->others = others > r->others ? others : r->others;
    if (!load_is_busy(others, threads, cpus)) return true;
    r->busy = true;
    return r->settings.force ||
           err_set(e, ALULA_BUSY,
                   "the machine is busy: beside this program %.1f tasks want its %d CPUs, and %d threads are "
                   "to be measured; try again later, or measure all the same with --force",
                   others, cpus, threads);
}

static bool wait_for_quiet(struct trial *b, struct alula_error *e)
{
    struct tune_result *r = b->out;
    for (int waited = 0;; waited++) {
        r->others = 0;
        r->busy = false;
        if (is_quiet(r, load_others(), e)) return true;
        if (waited == WAIT_MAX_S || !tell(b, TUNE_WAITING, waited, WAIT_MAX_S, e)) return false;
        nanosleep(&(struct timespec){.tv_sec = 1}, NULL);
    }
}

static bool check_noise(struct tune_result *r, struct alula_error *e)
{
    if (r->noise <= TUNE_NOISE_MAX) return true;
    r->busy = true;
    return r->settings.force || err_set(e, ALULA_BUSY,
                                        "the machine is not quiet: half of the repetitions of plain decoding "
                                        "were over %.1f %% away from "
                                        "their median, and %.0f %% is the most that a verdict can bear; try "
                                        "again later, or judge all the same with --force",
                                        100 * r->noise, 100 * TUNE_NOISE_MAX);
}

/* ---- all of it ----------------------------------------------------------------------------------------- */

int tune_trim_sizes(const struct alula_engine *engine, int sizes[TUNE_TRIMS_MAX], int *ret_bits)
{
    const struct weights *w = engine->weights;
    const struct matrix *head = &w->lm_head;
    int vocab = w->config->vocab, n = 0;
    *ret_bits = 0;
    if (!engine->has_mtp) return 0;
    double whole = bench_draft_bytes(w, vocab), part = bench_draft_bytes(w, vocab / 4);
    if (part > (1 - TRIM_WORTH) * whole) return 0;
    if ((!head->bits || head->bits > TRIM_BITS) && head->cols % TRIM_GROUP == 0) {
        *ret_bits = TRIM_BITS;
        sizes[n++] = vocab;
    }
    sizes[n++] = vocab / 4;
    sizes[n++] = vocab / 8;
    return n;
}

static bool check_options(const struct alula_engine *engine, const struct tune_options *o,
                          struct alula_error *e)
{
    struct alula_engine_info info;
    alula_engine_describe(engine, &info);
    if (!info.has_mtp)
        return err_set(e, ALULA_UNSUPPORTED, "there is nothing to tune: the model has no MTP head");
    if (o->depths < 1 || o->depths > ALULA_DEPTH_MAX)
        return err_set(e, ALULA_USAGE, "depths: found %d, expected 1 to %d", o->depths, ALULA_DEPTH_MAX);
    if (o->rounds < TUNE_ROUNDS_MIN || o->rounds > ESTIMATE_ROUNDS_MAX)
        return err_set(e, ALULA_USAGE, "rounds: found %d, expected %d to %d", o->rounds, TUNE_ROUNDS_MIN,
                       ESTIMATE_ROUNDS_MAX);
    if (o->max_tokens < 8 || o->max_tokens > 4096)
        return err_set(e, ALULA_USAGE, "max_tokens: found %d, expected 8 to 4096", o->max_tokens);
    return true;
}

static bool allocate(struct trial *b, struct alula_error *e)
{
    const struct tune_options *o = &b->out->settings;
    size_t n = (size_t)TUNE_N_PROMPTS * (size_t)o->rounds, tokens = (size_t)o->max_tokens;
    b->rates = mem_zalloc(TUNE_ROWS_MAX * n, sizeof *b->rates);
    b->plain = mem_zalloc(TUNE_N_PROMPTS * tokens, sizeof *b->plain);
    b->answer = mem_zalloc(tokens, sizeof *b->answer);
    b->ratios = mem_zalloc(n, sizeof *b->ratios);
    return (b->rates && b->plain && b->answer && b->ratios) ||
           err_set(e, ALULA_NOMEM, "not enough memory to tune");
}

static bool read_prompts(struct trial *b, struct alula_error *e)
{
    for (int i = 0; i < TUNE_N_PROMPTS; i++)
        if (!read_prompt(b->engine, &tune_prompts[i], &b->prompts[i], e)) return false;
    return true;
}

bool tune_run(const struct alula_engine *engine, const struct tune_options *o, struct tune_result *ret,
              struct alula_error *e)
{
    if (!check_options(engine, o, e)) return false;
    struct tune_result r = {.settings = *o, .n_rows = o->depths + 1};
    int n_ways = o->depths + 1 + (o->n_trimmed ? o->n_trimmed + 1 : 0);
    struct trial b = {.engine = engine, .out = &r, .total = n_ways * TUNE_N_PROMPTS * o->rounds};
    if (!r.settings.n_threads) r.settings.n_threads = pool_cpu_count();
    bool ok = allocate(&b, e) && read_prompts(&b, e) && wait_for_quiet(&b, e) && warm_up(&b, e) &&
              choose_vocabulary(&b, e) && measure_depths(&b, e) &&
              is_quiet(&r, (double)b.others / b.done, e) && check_noise(&r, e);
    if (ok) {
        tune_judge(r.rows, r.n_rows, &r.ruling);
        *ret = r;
    }
    for (int i = 0; i < TUNE_N_PROMPTS; i++) alula_free(b.prompts[i].ids);
    mem_free(b.rates);
    mem_free(b.plain);
    mem_free(b.answer);
    mem_free(b.ratios);
    return ok;
}
