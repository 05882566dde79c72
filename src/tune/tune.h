/* tune.h - measures plain decoding against drafting on this machine, and says what pays. */
#ifndef TUNE_TUNE_H
#define TUNE_TUNE_H

#include "base/json.h"
#include "tune/verdict.h"

/* Half of the repetitions of plain decoding may be so far from their median, as a share of it; on a machine
 * noisier than that no verdict can be trusted. */
#define TUNE_NOISE_MAX  0.05
#define TUNE_ROUNDS_MIN 3

enum tune_stage { TUNE_WAITING, TUNE_WARMING, TUNE_MEASURING };

struct tune_options {
    int depths;     /* 1 .. depths are measured, at most ALULA_DEPTH_MAX */
    int rounds;     /* TUNE_ROUNDS_MIN .. ESTIMATE_ROUNDS_MAX */
    int max_tokens; /* of each answer, at least 8 */
    int n_threads;  /* 0 = the CPUs that this process may use */
    bool force;     /* measure and judge on a busy machine too */
    /* May be NULL. Answers done of answers in all; false ends with CANCELLED. WAITING: seconds waited of the
     * most. */
    bool (*progress)(void *arg, enum tune_stage stage, int done, int total);
    void *arg;
};

struct tune_result {
    struct tune_options settings; /* as measured: n_threads filled in */
    struct tune_row rows[TUNE_ROWS_MAX];
    int n_rows;
    struct tune_ruling ruling;
    double others; /* tasks of others that ran before it began */
    double noise;  /* estimate_spread of plain decoding, median over prompts */
    bool busy;     /* others or noise are too much; only with force */
};

/* Decodes greedily a few bundled prompts, plain and at each depth, in interleaved rounds: each round has
 * every prompt at every depth, beginning with another depth each time, so that a slow moment hits all alike.
 * Needs an engine with a head. Errors: UNSUPPORTED (no head), USAGE, BUSY (the machine does other things,
 * before or meanwhile; not with force), CANCELLED, those of sessions. */
bool tune_run(const struct alula_engine *engine, const struct tune_options *o, struct tune_result *ret,
              struct alula_error *e);

/* One object with MTPLX's names, for --json and for the record. NULL when memory is exhausted. The caller
 * owns it. */
json_t *tune_to_json(const struct tune_result *r, const char *model, const char *cpu);

/* A picture: tokens per second and acceptance by depth, with intervals. SVG, stands alone. */
void tune_plot(const struct tune_result *r, const char *model, struct buf *out);

#endif
