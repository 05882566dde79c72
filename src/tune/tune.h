/* tune.h - measures plain decoding against drafting on this machine, and says what pays. */
#ifndef TUNE_TUNE_H
#define TUNE_TUNE_H

#include "base/json.h"
#include "tune/verdict.h"

/* Half of the repetitions of plain decoding may be so far from their median, as a share of it; on a machine
 * noisier than that no verdict can be trusted. */
#define TUNE_NOISE_MAX  0.05
#define TUNE_ROUNDS_MIN 3

#define TUNE_TRIMS_MAX 4 /* the whole in fewer bits, two by merge rank, one by a text */
/* Depth at which the vocabularies that drafts may come from are compared. */
#define TUNE_TRIM_DEPTH 2

/* Numbers of ids, merged first and so common ones, that drafting from might pay; none (0) if the LM head is too small
 * a share of a step of the head to be worth trimming. For alula_engine_options.draft_vocab. *ret_bits: what to pack
 * them with, for .draft_bits: 4 if the LM head has more, and then the whole vocabulary is one of the sizes; else 0. */
int tune_trim_sizes(const struct alula_engine *engine, int sizes[TUNE_TRIMS_MAX], int *ret_bits);

enum tune_stage { TUNE_WAITING, TUNE_WARMING, TUNE_MEASURING };

struct tune_options {
    int depths;     /* 1 .. depths are measured, at most ALULA_DEPTH_MAX */
    int rounds;     /* TUNE_ROUNDS_MIN .. ESTIMATE_ROUNDS_MAX */
    int max_tokens; /* of each answer, at least 8 */
    int n_threads;  /* 0 = the CPUs that this process may use */
    bool force;     /* measure and judge on a busy machine too */
    const struct alula_engine
        *trimmed[TUNE_TRIMS_MAX];            /* [n_trimmed] the same model with a draft vocabulary */
    int trim_sizes[TUNE_TRIMS_MAX];          /* what they were opened with */
    const int32_t *trim_ids[TUNE_TRIMS_MAX]; /* [trim_sizes] a text's; NULL = the first ids */
    int n_trimmed, trim_bits;                /* trim_bits: what all of them were opened with */
    /* May be NULL. Answers done of answers in all; false ends with CANCELLED. WAITING: seconds waited of the
     * most. */
    bool (*progress)(void *arg, enum tune_stage stage, int done, int total);
    void *arg;
};

struct tune_result {
    struct tune_options settings; /* as measured: n_threads filled in */
    /* Drafts from the whole vocabulary, and from each part of it; multipliers are against the whole. n_trims 0: not
     * tried. */
    struct tune_row trims[1 + TUNE_TRIMS_MAX];
    int n_trims,
        trim; /* the one that the rows were measured with: 0 the whole, or a part that is faster by more than noise */
    struct tune_row rows[TUNE_ROWS_MAX];
    int n_rows;
    struct tune_ruling ruling;
    double others; /* tasks of others that ran before it began, or meanwhile if more, on average */
    double noise;  /* estimate_spread of plain decoding, median over prompts */
    bool busy;     /* others or noise are too much; only with force */
};

/* The ids of trims[i]; 0 = the whole vocabulary. */
static inline int tune_trim_ids(const struct tune_result *r, int i)
{
    return i ? r->settings.trim_sizes[i - 1] : 0;
}

/* [tune_trim_ids] those ids if they are a text's, else NULL. */
static inline const int32_t *tune_trim_list(const struct tune_result *r, int i)
{
    return i ? r->settings.trim_ids[i - 1] : NULL;
}

/* Decodes greedily a few bundled prompts, plain and at each depth, in interleaved rounds: each round has
 * every prompt at every depth, beginning with another depth each time, so that a slow moment hits all alike.
 * Before that, in the same way, at one depth, drafts from the whole vocabulary and from parts of it.
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
