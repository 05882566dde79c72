/* bench_batch.c - tokens per second of sessions that share a batch beside those of one alone, through the public
 * interface.
 *
 *     make build/tools/bench_batch && build/tools/bench_batch LAYERS [THREADS]
 *
 * Random weights in the shape of the 35B (see synth.h; 8 layers take 5 GB), drafts from 32768 tokens. The texts are
 * the model's own, greedy; each session's wanders through the vocabulary by itself, so that no two share more experts
 * than chance has it: the worst case for a batch. "One text" is the best: all sessions say the same. What the head guesses is replaced by the right token in HIT of 100 places, which gives
 * acceptances of a real head at depth 1, 2, 3. In each round every case is measured once, in turn; printed are medians,
 * lowest and highest, and ratios that are formed inside a round. Never a test. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "decode/decode_internal.h"
#include "tune/synth.h"

enum {
    WIDTH = 4,
    ROUNDS = 5,
    TOKENS = 24,
    CTX = 8 + (ROUNDS + 1) * (TOKENS + 2 * ALULA_DEPTH_MAX),
    PROMPT = 8
};
enum { HIT = 87, FOLDER_IDS = 32768 };

static struct alula_engine engine;
static struct alula_error error;
static int32_t texts[WIDTH][CTX + 16]; /* prompt and plain answer */

static void must(bool ok)
{
    if (ok) return;
    fprintf(stderr, "%s\n", error.message);
    exit(1);
}

/* An engine of synthetic weights; the bundled tokenizer stands in, since nobody reads the text. */
static void open_engine(int layers, struct pool *pool)
{
    struct config shape;
    struct synth *synth;
    int32_t *ids = mem_zalloc(FOLDER_IDS, sizeof *ids);
    synth_shape(&shape, SYNTH_35B, layers);
    must(synth_create(&synth, &shape, 0, pool, &error));
    engine.weights = &synth->weights;
    must(model_create(&engine.model, engine.weights, NULL, MODEL_FAST, &error));
    must(tokenizer_open(&engine.tokenizer, "models/tiny-trunk", &error));
    for (int i = 0; i < FOLDER_IDS; i++) ids[i] = i;
    must(draft_vocab_create(&engine.drafts, &engine.weights->lm_head, ids, FOLDER_IDS, 0, &error));
    engine.has_mtp = true;
    engine.token_bytes_max = 64;
    mem_free(ids);
}

/* ---- cases --------------------------------------------------------------------------------------------- */

struct hits {
    const int32_t *text;
};

static int32_t right_or_wrong(void *arg, int place)
{
    const struct hits *h = arg;
    bool right = (uint32_t)place * 2654435761u / 42949673u < HIT;
    return right ? h->text[place] : 1;
}

struct bench_case {
    const char *name;
    int n, depth;
    bool one_text;
    struct alula_batch *batch;
    struct alula_session *sessions[WIDTH];
    struct hits hits[WIDTH];
    double per_second[ROUNDS];
    int64_t tokens, cycles;
};

static void open_case(struct bench_case *c, int threads)
{
    struct alula_batch_options b = {.n_threads = threads, .max_sessions = WIDTH, .prompt_rows = 64};
    must(alula_batch_create(&c->batch, &engine, &b, &error));
    for (int i = 0; i < c->n; i++) {
        struct alula_session_options o = alula_session_defaults();
        o.batch = c->batch;
        o.n_ctx = CTX;
        o.depth = c->depth;
        o.ignore_stop_ids = true;
        must(alula_session_create(&c->sessions[i], &engine, &o, &error));
        int32_t *text = texts[c->one_text ? 0 : i];
        c->hits[i].text = text;
        c->sessions[i]->speculator.force = right_or_wrong;
        c->sessions[i]->speculator.force_arg = &c->hits[i];
        for (int k = 0; k < PROMPT; k++) texts[i][k] = 31 * (i * PROMPT + k) + 1000;
        must(alula_session_prompt(c->sessions[i], text, PROMPT, NULL, NULL, &error));
    }
}

/* All sessions go on until they have TOKENS more on average. Returns tokens per second in all. */
static double run_case(struct bench_case *c)
{
    struct alula_turn turns[WIDTH] = {0};
    int tokens = 0;
    double begin = clock_s();
    while (tokens < c->n * TOKENS) {
        for (int i = 0; i < c->n; i++) turns[i].session = c->sessions[i];
        alula_batch_step(c->batch, turns, c->n);
        for (int i = 0; i < c->n; i++) {
            error = turns[i].error;
            must(!turns[i].failed);
            tokens += turns[i].step.n_tokens;
        }
        c->cycles += c->n;
    }
    c->tokens += tokens;
    return tokens / (clock_s() - begin);
}

/* The plain texts that drafts are taken from. */
static void write_texts(int threads)
{
    struct bench_case c = {.n = WIDTH};
    open_case(&c, threads);
    for (bool more = true; more;) {
        struct alula_turn turns[WIDTH] = {0};
        for (int i = 0; i < WIDTH; i++) turns[i].session = c.sessions[i];
        alula_batch_step(c.batch, turns, WIDTH);
        more = turns[0].step.finish == ALULA_RUNNING;
    }
    for (int i = 0; i < WIDTH; i++) {
        size_t n;
        const int32_t *ids = alula_session_tokens(c.sessions[i], &n);
        memcpy(texts[i], ids, n * sizeof *ids);
        alula_session_free(c.sessions[i]);
    }
    alula_batch_free(c.batch);
}

/* ---- figures ------------------------------------------------------------------------------------------- */

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print(const char *name, double *v, const char *unit)
{
    qsort(v, ROUNDS, sizeof *v, by_size);
    printf("%-24s %8.2f %s (%.2f..%.2f)", name, v[ROUNDS / 2], unit, v[0], v[ROUNDS - 1]);
}

int main(int argc, char **argv)
{
    int layers = argc > 1 ? atoi(argv[1]) : 8, threads = argc > 2 ? atoi(argv[2]) : 0;
    struct bench_case cases[] = {{.name = "one, plain", .n = 1},
                                 {.name = "four, plain", .n = WIDTH},
                                 {.name = "one, depth by profit", .n = 1, .depth = ALULA_DEPTH_AUTO},
                                 {.name = "four, depth by profit", .n = WIDTH, .depth = ALULA_DEPTH_AUTO},
                                 {.name = "four, depth 2", .n = WIDTH, .depth = 2},
                                 {.name = "four, plain, one text", .n = WIDTH, .one_text = true}};
    enum { N = sizeof cases / sizeof cases[0] };
    struct pool *pool;
    must(pool_create(&pool, threads, &error));
    open_engine(layers, pool);
    pool_free(pool);
    write_texts(threads);
    for (int i = 0; i < N; i++) open_case(&cases[i], threads);
    for (int i = 0; i < N; i++) run_case(&cases[i]); /* the policies learn */
    for (int i = 0; i < N; i++) cases[i].tokens = cases[i].cycles = 0;
    for (int r = 0; r < ROUNDS; r++)
        for (int i = 0; i < N; i++) cases[i].per_second[r] = run_case(&cases[i]);
    for (int i = 0; i < N; i++) {
        double v[ROUNDS], one[ROUNDS], plain[ROUNDS];
        const double *alone = cases[cases[i].depth ? 2 : 0].per_second,
                     *base = cases[cases[i].n > 1].per_second;
        for (int r = 0; r < ROUNDS; r++) {
            v[r] = cases[i].per_second[r];
            one[r] = v[r] / alone[r];
            plain[r] = v[r] / base[r];
        }
        print(cases[i].name, v, "tok/s");
        print("", one, "of one");
        print("", plain, "of plain");
        printf("   %.2f tokens a cycle\n", (double)cases[i].tokens / (double)cases[i].cycles);
    }
    return 0;
}
