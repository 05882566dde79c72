/* measure_gain - what drafting gains on texts, and what it ought to gain. For tools/measure_gain.sh.
 *
 * usage: measure_gain DIR ROUNDS TOKENS THREADS KIND=FILE ...
 *
 * Continues each text greedily, plain and by automatic depth, one right after the other, in ROUNDS rounds; the ratio is
 * taken pair by pair. The same rounds have each fixed depth in turn: what a cycle costs there. From these costs and
 * from how often automatic depth drafted how far and what was kept follows the ratio that it ought to reach.
 *
 * Texts of the kind "defeat" are decoded with other drafts than the head's: right for a stretch, wrong for the next,
 * so that what was learnt in one is wrong in the other, and with the head's confidence saying nothing of it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "decode/decode_internal.h"
#include "forge/stats.h"
#include "tune/estimate.h"

enum { TEXTS_MAX = 64, TOKENS_MAX = 4096, STRETCH = 24, TEXT_BYTES_MAX = 1 << 20 };

struct text {
    char kind[16];
    int32_t *prompt;
    size_t n;
    int32_t plain[TOKENS_MAX]; /* what plain decoding writes */
    bool defeats;
    double speed[2][ESTIMATE_ROUNDS_MAX], ratio[ESTIMATE_ROUNDS_MAX]; /* plain, auto; auto / plain */
    struct alula_stats sum; /* of automatic depth, over all rounds */
    int64_t plain_cycles;   /* likewise, of plain decoding */
};

static struct alula_engine *engine;
static struct text texts[TEXTS_MAX];
static int n_texts, rounds, tokens, threads;
static double cycle_s[ALULA_DEPTH_MAX + 1][TEXTS_MAX * ESTIMATE_ROUNDS_MAX],
    step_s[TEXTS_MAX * ESTIMATE_ROUNDS_MAX];
static int n_cycle_s[ALULA_DEPTH_MAX + 1], n_step_s;

static _Noreturn void fail(const struct alula_error *e)
{
    fprintf(stderr, "measure_gain: %s\n", e->message);
    exit(1);
}

static int32_t right_and_wrong(void *arg, int place)
{
    const struct text *t = arg;
    int at = place - (int)t->n;
    if (at >= tokens) return -1;
    return at / STRETCH % 2 ? (t->plain[at] + 1) % 1000 : t->plain[at];
}

static struct alula_stats decode(struct text *t, int depth, int32_t *out)
{
    struct alula_session_options o = alula_session_defaults();
    struct alula_session *s;
    struct alula_step step;
    struct alula_stats stats;
    struct alula_error e;
    o.n_threads = threads;
    o.n_ctx = (int)t->n + tokens + ALULA_DEPTH_MAX + 1;
    o.depth = depth;
    o.max_tokens = tokens;
    o.ignore_stop_ids = true;
    if (!alula_session_create(&s, engine, &o, &e) ||
        !alula_session_prompt(s, t->prompt, t->n, NULL, NULL, &e))
        fail(&e);
    if (t->defeats) {
        s->speculator.force = right_and_wrong;
        s->speculator.force_arg = t;
    }
    do {
        if (!alula_session_step(s, &step, &e)) fail(&e);
        for (int i = 0; i < step.n_tokens; i++) *out++ = step.tokens[i];
    } while (step.finish == ALULA_RUNNING);
    alula_session_stats(s, &stats);
    alula_session_free(s);
    return stats;
}

static void add(struct alula_stats *sum, const struct alula_stats *s)
{
    sum->tokens += s->tokens;
    sum->cycles += s->cycles;
    sum->head_steps += s->head_steps;
    for (int d = 0; d < ALULA_DEPTH_MAX; d++) sum->drafted[d] += s->drafted[d];
}

static struct alula_stats pass(struct text *t, int depth)
{
    int32_t out[TOKENS_MAX];
    struct alula_stats s = decode(t, depth, out);
    if (memcmp(out, t->plain, (size_t)tokens * sizeof *out)) {
        fprintf(stderr, "measure_gain: a text of kind %s is another one at depth %d\n", t->kind, depth);
        exit(1);
    }
    return s;
}

static void measure_pair(struct text *t, int r)
{
    struct alula_stats s[2];
    for (int i = 0; i < 2; i++) {
        int which = (r + i) % 2;
        s[which] = pass(t, which ? ALULA_DEPTH_AUTO : 0);
        t->speed[which][r] = (double)tokens / s[which].decode_s;
    }
    t->ratio[r] = t->speed[1][r] / t->speed[0][r];
    add(&t->sum, &s[1]);
    t->plain_cycles += s[0].cycles;
    cycle_s[0][n_cycle_s[0]++] = s[0].decode_s / (double)s[0].cycles;
}

static void measure_costs(struct text *t, int depth)
{
    struct alula_stats fixed = pass(t, depth);
    cycle_s[depth][n_cycle_s[depth]++] = fixed.decode_s / (double)fixed.cycles;
    if (depth == 1) step_s[n_step_s++] = fixed.draft_s / (double)fixed.head_steps;
}

/* ---- what it ought to be --------------------------------------------------------------------------------- */

static double cost[ALULA_DEPTH_MAX + 1],
    step_cost; /* medians: of a cycle with so many drafts, of a step of the head */

static double predicted(const struct alula_stats *s, int64_t plain_cycles)
{
    double seconds = 0;
    int64_t drafts = 0;
    for (int d = 0; d <= ALULA_DEPTH_MAX; d++) {
        int64_t deeper = d < ALULA_DEPTH_MAX ? s->drafted[d] : 0;
        seconds += cost[d] * (double)((d ? s->drafted[d - 1] : s->cycles) - deeper);
        drafts += deeper;
    }
    seconds += step_cost * (double)(s->head_steps - drafts);
    return (double)plain_cycles * cost[0] / seconds;
}

static void find_costs(void)
{
    for (int d = 0; d <= ALULA_DEPTH_MAX; d++) cost[d] = stats_median(cycle_s[d], (size_t)n_cycle_s[d]);
    step_cost = stats_median(step_s, (size_t)n_step_s);
}

/* ---- the table ------------------------------------------------------------------------------------------- */

static void show_kind(const char *kind, double *worst)
{
    double ratios[TEXTS_MAX * ESTIMATE_ROUNDS_MAX], speed[2][TEXTS_MAX], low = 1e9, high = 0;
    struct alula_stats sum = {0};
    int64_t plain_cycles = 0;
    int n = 0;
    for (int i = 0; i < n_texts; i++) {
        struct text *t = &texts[i];
        if (strcmp(t->kind, kind)) continue;
        memcpy(ratios + n * rounds, t->ratio, (size_t)rounds * sizeof *ratios);
        for (int k = 0; k < 2; k++) speed[k][n] = stats_median(t->speed[k], (size_t)rounds);
        double own = stats_median(t->ratio, (size_t)rounds);
        low = own < low ? own : low;
        high = own > high ? own : high;
        add(&sum, &t->sum);
        plain_cycles += t->plain_cycles;
        n++;
    }
    struct estimate gain = estimate_ratio(ratios, n, rounds, 1);
    if (low < *worst) *worst = low;
    printf("| %s | %.0f | %.0f | %.2f | %.3fx (%.3f to %.3f) | %.3fx | %.3fx, %.3fx |\n", kind,
           stats_median(speed[0], (size_t)n), stats_median(speed[1], (size_t)n),
           (double)sum.tokens / (double)sum.cycles, gain.mid, gain.low, gain.high,
           predicted(&sum, plain_cycles), low, high);
}

static bool seen_before(int i)
{
    for (int k = 0; k < i; k++)
        if (!strcmp(texts[k].kind, texts[i].kind)) return true;
    return false;
}

static double show(void)
{
    double worst = 1e9;
    find_costs();
    printf("| text | plain, tok/s | auto, tok/s | tokens a cycle | gain (95 %% of resamples) | predicted | "
           "worst and best text |\n"
           "|---|---|---|---|---|---|---|\n");
    for (int i = 0; i < n_texts; i++)
        if (!seen_before(i)) show_kind(texts[i].kind, &worst);
    printf("\nA cycle with 0 to %d drafts costs", ALULA_DEPTH_MAX);
    for (int d = 0; d <= ALULA_DEPTH_MAX; d++) printf(" %.0f", 1e6 * cost[d]);
    printf(" us, a step of the head %.0f us. Worst text: %.3f of plain.\n", 1e6 * step_cost, worst);
    return worst;
}

/* ---- the run --------------------------------------------------------------------------------------------- */

static void read_text(struct text *t, const char *arg)
{
    struct alula_error e;
    struct buf b;
    const char *file = strchr(arg, '=');
    snprintf(t->kind, sizeof t->kind, "%.*s", file ? (int)(file - arg) : 0, arg);
    t->defeats = !strcmp(t->kind, "defeat");
    buf_init(&b, TEXT_BYTES_MAX);
    if (!file || !file_read(file + 1, TEXT_BYTES_MAX, &b, &e) ||
        !alula_tokenize(engine, b.data, b.len, true, &t->prompt, &t->n, &e))
        fail(file ? &e : &(struct alula_error){.message = "a text is given as KIND=FILE"});
    buf_free(&b);
}

int main(int argc, char **argv)
{
    struct alula_error e;
    if (argc < 6 || argc - 5 > TEXTS_MAX) return 2;
    rounds = atoi(argv[2]), tokens = atoi(argv[3]), threads = atoi(argv[4]);
    if (rounds < ALULA_DEPTH_MAX || rounds > ESTIMATE_ROUNDS_MAX || tokens < 8 || tokens > TOKENS_MAX)
        return 2;
    if (!alula_engine_open(&engine, argv[1], NULL, &e)) fail(&e);
    for (int i = 5; i < argc; i++) {
        read_text(&texts[n_texts], argv[i]);
        decode(&texts[n_texts], 0, texts[n_texts].plain);
        n_texts++;
    }
    for (int r = 0; r < rounds; r++)
        for (int i = 0; i < n_texts; i++) {
            measure_pair(&texts[i], r);
            if ((r + i) % 3 == 0) measure_costs(&texts[i], 1 + (r + i) / 3 % ALULA_DEPTH_MAX);
        }
    double worst = show();
    for (int i = 0; i < n_texts; i++) alula_free(texts[i].prompt);
    alula_engine_close(engine);
    return worst < 0.98;
}
