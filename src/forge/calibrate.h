/* calibrate.h - finds out by trying how a head wants to be fed, and whether it belongs to the trunk at all.
 *
 * Tried on the same places of one text: how the norms are stored (as bound, or the other way), which half
 * comes first, the trunk's state before or after its final norm, all eight; then, with the best of them, what
 * a step hands to the next, five ways. The position offset is not tried: rotary embeddings are relative,
 * every offset gives the same numbers. Two ways are compared place by place (sign test on the places where
 * just one is right): hits at equal places are strongly correlated, so two intervals may overlap where the
 * paired test is beyond doubt. */
#ifndef FORGE_CALIBRATE_H
#define FORGE_CALIBRATE_H

#include <jansson.h>
#include "forge/chains.h"
#include "forge/stats.h"

#define CALIBRATE_POSITIONS_MIN 512
#define CALIBRATE_FIRST         16   /* places before it have too little context to say anything */
#define CALIBRATE_TRIALS        13   /* 8 + 5 */
#define CALIBRATE_ALPHA         0.01 /* of a comparison: the chance to call a difference that is none */
/* A tie is harmless while the way not taken could be better by no more than this share of first guesses. */
#define CALIBRATE_HARMLESS 0.05

/* The bundled text: what --calib replaces. Public domain and our own words (models/NOTICE). */
extern const char calib_text[];
extern const size_t calib_text_len;

struct calibrate_trial {
    struct mtp_contract contract;
    bool norms_other; /* the head's norms as the other encoding would have them */
    int depth;        /* steps tried: 1 (feedback does not matter yet) or 3 */
    int64_t hits[CHAIN_DEPTH_MAX], top[CHAIN_DEPTH_MAX][3]; /* of positions; among the best 2, 4, 8 */
    struct interval rate[CHAIN_DEPTH_MAX];
};

enum calibrate_dimension {
    CALIBRATE_NORMS,
    CALIBRATE_CONCAT,
    CALIBRATE_BASE,
    CALIBRATE_FEEDBACK,
    CALIBRATE_DIMENSIONS
};
enum calibrate_outcome {
    CALIBRATE_DECIDED,
    CALIBRATE_SAME_GUESSES, /* undecidable: every guess is the same either way */
    CALIBRATE_TIE,          /* undecidable: neither is clearly better */
    CALIBRATE_UNDECIDED     /* undecidable, and the wrong one might cost more than CALIBRATE_HARMLESS */
};
/* The chosen value of one dimension against the best trial with another value. */
struct calibrate_choice {
    enum calibrate_outcome outcome;
    const char *chosen, *rival, *declared;         /* "post_norm", ... */
    int chosen_trial, rival_trial, declared_trial; /* the best with that value */
    int64_t won, lost;                             /* places where the chosen (the rival) did better */
    double p;                                      /* of the sign test */
    struct interval lead;
};

enum calibrate_status { CALIBRATE_CONFIRMED, CALIBRATE_SWITCHED, CALIBRATE_INCONCLUSIVE };

struct calibrate {
    int64_t positions;
    int n_trials, best; /* best: index of the chosen trial, depth 3 unless there is no signal */
    struct calibrate_trial trials[CALIBRATE_TRIALS];
    struct calibrate_choice choices[CALIBRATE_DIMENSIONS];
    struct mtp_contract contract; /* chosen */
    bool norms_delta;             /* chosen: the stored norms are zero-centred */
    bool norms_other;     /* that is not how they were bound: no contract heals it, the folder must say so */
    double constant_rate; /* what always guessing the text's commonest token would score */
    double loss;          /* the trunk's on the text, nats a token */
    enum calibrate_status status;
    const char *reason; /* "tie", "no_signal", "insufficient_evidence", or "" */
    bool usable;        /* false: no_signal, insufficient_evidence */
    char problem[400];  /* a sentence, if not usable or if norms_other; else "" */
};

struct calibrate_options {
    const struct mtp_contract *declared; /* NULL = the usual one */
    const int32_t *ids;                  /* the text, [n_ids] */
    size_t n_ids;
    int64_t positions;    /* at least CALIBRATE_POSITIONS_MIN; the text needs 19 tokens more */
    enum model_mode mode; /* the one that the artifact will be used in */
    struct pool *pool;
    const struct watch *watch; /* may be NULL */
};

/* Whether a text of n_ids tokens has enough of them. */
bool calibrate_check_text(size_t n_ids, int64_t positions, struct alula_error *e);

/* w has a head. A result that condemns the head is a result, not an error. teacher (may be NULL) receives
 * what the trunk said, for further use (teacher_free). Errors: USAGE (too few positions), LIMIT (text too
 * short or too long), UNSUPPORTED (no head), FORMAT (ids), NOMEM, CANCELLED. Time: 23 draft steps a position,
 * and the text once. */
bool calibrate_run(struct calibrate *ret, struct teacher *teacher, const struct weights *w,
                   const struct calibrate_options *o, struct alula_error *e);

/* "base_hidden_variant", ...; "confirmed", ... */
const char *calibrate_dimension_name(enum calibrate_dimension d);
const char *calibrate_status_name(enum calibrate_status s);

/* All of it as an object, with the words of MTPLX where it has them: status, score, agreement_by_depth,
 * topk_rates_by_depth. NULL when out of memory. */
json_t *calibrate_json(const struct calibrate *c);
/* The chosen contract as mtp_contract and mtplx_mtp_contract spell it, with its "calibration". */
json_t *calibrate_contract_json(const struct calibrate *c);

#endif
