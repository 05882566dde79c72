/* bench_load.c - how long a model in a folder takes to its first token. Uses the library as any program does. */
#include <string.h>

#include "base/clock.h"
#include "tune/bench.h"

#define PROMPT "Once upon a time"

static bool first_token(const char *dir, int n_threads, bool exact, struct alula_error *e)
{
    struct alula_engine_options eo = {.exact = exact};
    struct alula_session_options so = alula_session_defaults();
    struct alula_engine *engine = NULL;
    struct alula_session *session = NULL;
    struct alula_step step;
    int32_t *ids = NULL;
    size_t n;
    so.n_threads = n_threads;
    so.max_tokens = 1;
    so.ignore_stop_ids = true;
    bool ok = alula_engine_open(&engine, dir, &eo, e) && alula_session_create(&session, engine, &so, e) &&
              alula_tokenize(engine, PROMPT, strlen(PROMPT), false, &ids, &n, e) &&
              alula_session_prompt(session, ids, n, NULL, NULL, e) && alula_session_step(session, &step, e);
    alula_free(ids);
    alula_session_free(session);
    alula_engine_close(engine);
    return ok;
}

bool bench_load(const char *dir, int n_threads, bool exact, int times, struct bench_figure *ret,
                struct alula_error *e)
{
    double v[BENCH_ROUNDS_MAX];
    for (int i = -1; i < times; i++) {
        double start = clock_s();
        if (!first_token(dir, n_threads, exact, e)) return false;
        if (i >= 0) v[i] = clock_s() - start;
    }
    *ret = bench_figure_of(v, times);
    return true;
}
