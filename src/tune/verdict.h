/* verdict.h - what the measurements mean: which depth wins, or why none does. Pure rules. */
#ifndef TUNE_VERDICT_H
#define TUNE_VERDICT_H

#include "alula.h"
#include "tune/estimate.h"

#define TUNE_ROWS_MAX (ALULA_DEPTH_MAX + 1)

/* Of two depths within so many percent of tokens per second the deeper one is taken: the text that a user
 * brings may be easier than the prompts here. */
#define TUNE_PREFER_DEEPER_PCT 2.0
/* A head whose first draft is kept at most so often has not learnt from this model. */
#define TUNE_COLLAPSE_AT 0.05

/* One candidate: everything that was measured at one depth. */
struct tune_row {
    int depth;                             /* 0 = plain decoding */
    struct estimate tok_s;                 /* mean over prompts of the median over rounds */
    struct estimate multiplier;            /* against plain decoding of the same prompt in the same round */
    int64_t tokens, prompt_tokens, cycles; /* sums over everything measured, as the seconds */
    int64_t covered;                       /* of tokens: those that drafts could be */
    int64_t drafted[ALULA_DEPTH_MAX], accepted[ALULA_DEPTH_MAX];
    double prefill_s, decode_s, draft_s, verify_s;
    bool exact_match; /* every text is, token for token, that of plain decoding */
};

enum tune_verdict {
    TUNE_MTP_WINS,
    TUNE_PLAIN_WINS,     /* no depth is faster by more than noise */
    TUNE_QUALITY_FAILED, /* what is faster wrote another text */
    TUNE_COLLAPSED,      /* no depth is faster, and no draft of any was worth making */
    TUNE_NO_PLAIN_RESULT
};
/* In MTPLX's words: "mtp_depth_wins", "no_mtp_depth_beat_ar", ... */
const char *tune_verdict_name(enum tune_verdict v);
bool tune_verdict_find(const char *name, enum tune_verdict *ret);

struct tune_ruling {
    enum tune_verdict verdict;
    int fastest;                     /* row of the highest multiplier among those that may win, or -1 */
    int winner;                      /* the same, or a deeper one as good; -1 */
    bool collapsed[TUNE_ROWS_MAX];   /* by row, as all of these */
    bool failed[TUNE_ROWS_MAX];      /* faster, but another text */
    bool ties_plain[TUNE_ROWS_MAX];  /* its interval holds 1 */
    bool ties_winner[TUNE_ROWS_MAX]; /* its interval and the winner's overlap */
};

double tune_acceptance(const struct tune_row *row, int d); /* accepted / drafted at depth d+1; 0 if none */
/* With 95 % of what chance may do to so many drafts (Wilson's interval). */
struct estimate tune_acceptance_interval(const struct tune_row *row, int d);

/* rows[0] is plain decoding, row d drafts d tokens; n_rows at most TUNE_ROWS_MAX. */
void tune_judge(const struct tune_row *rows, int n_rows, struct tune_ruling *ret);

#endif
