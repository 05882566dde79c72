/* tune.c - the measurement: sessions in interleaved rounds, their seconds and counters into rows.
 *
 * Knows the public interface. Does not know what a verdict is made of (verdict.c) nor where it is kept
 * (record.c). */
#include "tune/tune.h"

#include <math.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/pool.h"
#include "forge/stats.h"
#include "tune/load.h"
#include "tune/prompts.h"

enum { WAIT_MAX_S = 10 };

struct ids {
    int32_t *ids;
    size_t n;
};

struct trial {
    const struct alula_engine *engine;
    struct tune_result *out;
    struct ids prompts[TUNE_N_PROMPTS];
    int32_t *plain; /* [TUNE_N_PROMPTS][max_tokens]: what plain decoding wrote */
    int plain_n[TUNE_N_PROMPTS];
    int32_t *answer; /* [max_tokens]: the one in work */
    double *rates;   /* [n_rows][TUNE_N_PROMPTS][rounds], tokens per second */
    int done, total;
};

static bool tell(const struct trial *b, enum tune_stage stage, int done, int total, struct alula_error *e)
{
    const struct tune_options *o = &b->out->settings;
    return !o->progress || o->progress(o->arg, stage, done, total) || err_set(e, ALULA_CANCELLED, "stopped");
}

/* ---- prompts ------------------------------------------------------------------------------------------- */

static bool render(const struct alula_engine *engine, const char *text, char **ret, size_t *ret_len,
                   struct alula_error *e)
{
    struct buf json = {0};
    buf_str(&json, "{\"messages\": [{\"role\": \"user\", \"content\": ");
    json_write_str(&json, text, strlen(text));
    buf_str(&json, "}], \"add_generation_prompt\": true, \"enable_thinking\": false}");
    bool ok =
        buf_check(&json, "a prompt", e) && alula_render_chat(engine, json.data, json.len, ret, ret_len, e);
    buf_free(&json);
    return ok;
}

/* A folder without a template is asked the bare question. */
static bool read_prompt(const struct alula_engine *engine, const struct tune_prompt *p, struct ids *ret,
                        struct alula_error *e)
{
    char *text = NULL;
    size_t len;
    if (!p->chat || (!render(engine, p->text, &text, &len, e) && e->code == ALULA_NOT_FOUND))
        return alula_tokenize(engine, p->text, strlen(p->text), false, &ret->ids, &ret->n, e);
    if (!text) return err_context(e, "the chat template");
    bool ok = alula_tokenize(engine, text, len, true, &ret->ids, &ret->n, e);
    alula_free(text);
    return ok;
}

/* ---- one answer ---------------------------------------------------------------------------------------- */

/* Goes on behind the model's stop ids: answers of one length can be compared. */
static bool decode(struct trial *b, const struct ids *p, int depth, int max_tokens, struct alula_stats *stats,
                   int *ret_n, struct alula_error *e)
{
    struct alula_session *s;
    struct alula_step step;
    struct alula_session_options o = alula_session_defaults();
    o.n_threads = b->out->settings.n_threads;
    o.n_ctx = (int)p->n + max_tokens + ALULA_DEPTH_MAX + 1;
    o.depth = depth;
    o.max_tokens = max_tokens;
    o.ignore_stop_ids = true;
    if (!alula_session_create(&s, b->engine, &o, e)) return false;
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

static bool measure(struct trial *b, int round, int prompt, int depth, struct alula_error *e)
{
    struct tune_result *r = b->out;
    struct tune_row *row = &r->rows[depth];
    struct alula_stats stats;
    int n;
    if (!tell(b, TUNE_MEASURING, b->done, b->total, e) ||
        !decode(b, &b->prompts[prompt], depth, r->settings.max_tokens, &stats, &n, e))
        return false;
    b->done++;
    add_stats(row, &stats);
    row->exact_match &= same_text(b, prompt, depth, n);
    b->rates[(depth * TUNE_N_PROMPTS + prompt) * r->settings.rounds + round] =
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
    int n, total = TUNE_N_PROMPTS + o->depths;
    for (int p = 0; p < TUNE_N_PROMPTS; p++) {
        if (!tell(b, TUNE_WARMING, p, total, e) ||
            !decode(b, &b->prompts[p], 0, o->max_tokens, &stats, &n, e))
            return false;
        same_text(b, p, 0, n);
    }
    for (int d = 1; d <= o->depths; d++)
        if (!tell(b, TUNE_WARMING, TUNE_N_PROMPTS + d - 1, total, e) ||
            !decode(b, &b->prompts[0], d, 8, &stats, &n, e))
            return false;
    return true;
}

static bool run_rounds(struct trial *b, struct alula_error *e)
{
    const struct tune_options *o = &b->out->settings;
    for (int r = 0; r < o->rounds; r++)
        for (int p = 0; p < TUNE_N_PROMPTS; p++)
            for (int i = 0; i <= o->depths; i++)
                if (!measure(b, r, p, (r + p + i) % (o->depths + 1), e)) return false;
    return true;
}

static void sum_up(struct trial *b, double *ratios)
{
    struct tune_result *r = b->out;
    int rounds = r->settings.rounds, n = TUNE_N_PROMPTS * rounds;
    double spreads[TUNE_N_PROMPTS];
    for (int d = 0; d < r->n_rows; d++) {
        const double *rates = b->rates + (size_t)d * (size_t)n;
        for (int i = 0; i < n; i++) ratios[i] = rates[i] / b->rates[i];
        r->rows[d].tok_s = estimate_mean(rates, TUNE_N_PROMPTS, rounds, (uint64_t)d);
        r->rows[d].multiplier = estimate_ratio(ratios, TUNE_N_PROMPTS, rounds, (uint64_t)d);
    }
    for (int p = 0; p < TUNE_N_PROMPTS; p++) spreads[p] = estimate_spread(b->rates + p * rounds, rounds);
    r->noise = stats_median(spreads, TUNE_N_PROMPTS);
}

/* ---- is the machine ours? ------------------------------------------------------------------------------ */

static bool wait_for_quiet(struct trial *b, struct alula_error *e)
{
    struct tune_result *r = b->out;
    int cpus = load_machine_cpus(), threads = r->settings.n_threads;
    for (int waited = 0;; waited++) {
        r->others = load_others();
        r->busy = load_is_busy(r->others, threads, cpus);
        if (!r->busy || r->settings.force) return true;
        if (waited == WAIT_MAX_S)
            return err_set(e, ALULA_BUSY,
                           "the machine is busy: beside this program %.1f tasks want its %d CPUs, and %d "
                           "threads are to be "
                           "measured; try again later, or measure all the same with --force",
                           r->others, cpus, threads);
        if (!tell(b, TUNE_WAITING, waited, WAIT_MAX_S, e)) return false;
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

static bool allocate(struct trial *b, double **ret_ratios, struct alula_error *e)
{
    const struct tune_options *o = &b->out->settings;
    size_t n = (size_t)TUNE_N_PROMPTS * (size_t)o->rounds, tokens = (size_t)o->max_tokens;
    b->rates = mem_zalloc((size_t)b->out->n_rows * n, sizeof *b->rates);
    b->plain = mem_zalloc(TUNE_N_PROMPTS * tokens, sizeof *b->plain);
    b->answer = mem_zalloc(tokens, sizeof *b->answer);
    *ret_ratios = mem_zalloc(n, sizeof **ret_ratios);
    return (b->rates && b->plain && b->answer && *ret_ratios) ||
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
    struct trial b = {.engine = engine, .out = &r, .total = (o->depths + 1) * TUNE_N_PROMPTS * o->rounds};
    double *ratios = NULL;
    if (!r.settings.n_threads) r.settings.n_threads = pool_cpu_count();
    for (int d = 0; d < r.n_rows; d++) r.rows[d] = (struct tune_row){.depth = d, .exact_match = true};
    bool ok = allocate(&b, &ratios, e) && read_prompts(&b, e) && wait_for_quiet(&b, e) && warm_up(&b, e) &&
              run_rounds(&b, e);
    if (ok) sum_up(&b, ratios);
    ok = ok && check_noise(&r, e);
    if (ok) {
        tune_judge(r.rows, r.n_rows, &r.ruling);
        *ret = r;
    }
    for (int i = 0; i < TUNE_N_PROMPTS; i++) alula_free(b.prompts[i].ids);
    mem_free(b.rates);
    mem_free(b.plain);
    mem_free(b.answer);
    mem_free(ratios);
    return ok;
}
