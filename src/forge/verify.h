/* verify.h - proves an artifact by measuring it, and writes down what was measured. */
#ifndef FORGE_VERIFY_H
#define FORGE_VERIFY_H

#include "forge/calibrate.h"
#include "forge/drift.h"

#define VERIFY_PROMPTS_MAX 16

struct verify_options {
    const char *dir;          /* the artifact */
    const char *source_trunk; /* folder that its body was packed from; NULL: it is compared with nothing */
    const char *source_mtp;   /* folder or file of the head before it was packed, or NULL */
    const char *text;         /* [text_len], NULL = the bundled text */
    size_t text_len;
    int64_t positions; /* teacher-forced; 0 = CALIBRATE_POSITIONS_MIN */
    int n_prompts;     /* 0 = 4 */
    int max_tokens;    /* of each answer; 0 = 64 */
    int n_threads;     /* 0 = the CPUs that this process may use */
    /* A contract that is clearly not the head's is replaced by the calibrated one in mtplx_runtime.json; else
     * it is a failure. */
    bool adopt;
    const struct watch *watch;
};

/* Plain decoding against decoding with drafts, greedy, on beginnings of the text; rates are medians over
 * prompts. */
struct verify_texts {
    bool equal;               /* every answer at every depth equals the plain one, token for token */
    int prompt, depth, token; /* where they first part, if not equal */
    int n_prompts;
    int64_t tokens;                    /* of all plain answers */
    double tok_s[CHAIN_DEPTH_MAX + 1]; /* [depth] */
    double speedup[CHAIN_DEPTH_MAX + 1],
        speedup_max[CHAIN_DEPTH_MAX + 1]; /* of prompts' ratios to plain: median, best */
    int64_t drafted[CHAIN_DEPTH_MAX + 1][CHAIN_DEPTH_MAX], accepted[CHAIN_DEPTH_MAX + 1][CHAIN_DEPTH_MAX];
};

/* One head on the calibration text, over the artifact's own body. */
struct verify_head {
    bool measured;
    char what[64]; /* "4-bit, group 64", "BF16" */
    int64_t positions;
    int64_t hits[CHAIN_DEPTH_MAX];   /* step d hits, given the text before it */
    int64_t prefix[CHAIN_DEPTH_MAX]; /* steps 1 .. d all hit */
    double draft_ms;                 /* one draft step of one sequence, median */
    uint64_t bytes;                  /* that a draft step reads of the head, the LM head not counted */
};

/* The packed body against its source on the same text. */
struct verify_body {
    bool measured;
    char why_not[200]; /* if not measured */
    int64_t tokens;
    double loss, source_loss; /* nats a token */
    double kl, kl_error;      /* mean of KL(source || packed) a token, and its standard error */
    double top1_same;         /* share of places where both hold the same token best */
};

struct verify {
    struct calibrate calibration;
    struct verify_texts texts;
    struct verify_head packed, source;
    int64_t won[CHAIN_DEPTH_MAX], lost[CHAIN_DEPTH_MAX]; /* packed against source at equal places, by step */
    struct verify_body body;
    struct drift drift;   /* n = 0: not measured */
    char no_drift[200];   /* why not */
    char fingerprint[80]; /* "sha256:..." */
    char hardware[128], os[128], timestamp[32];
    int n_threads;
    double seconds;
    const char *verdict; /* of speed, MTPLX's words: "mtp_depth_wins", "no_mtp_depth_beat_ar",
                            "mtp_acceptance_collapsed"; or "inconclusive" */
    int best_depth;      /* the fastest one of those that beat plain decoding; 0 = none */
    bool adopted;        /* the calibrated contract took the place of the folder's */
    bool passed;         /* contract as declared or tied with it, signal, equal texts */
    char problem[512];   /* one sentence if not passed */
};

/* Asked before an artifact is made: whether the tokenizer in `dir`, which it will have, makes enough tokens of o's text. Errors: those of
 * tokenizer_open; LIMIT. */
bool verify_check_text(const struct verify_options *o, const char *dir, struct alula_error *e);

/* An artifact that fails is a result (passed false), not an error. Errors: those of opening and of
 * calibrate_run. */
bool verify_run(struct verify *ret, const struct verify_options *o, struct alula_error *e);
void verify_free(struct verify *v);

/* Everything, as `alula forge verify --json` prints it and mtplx_runtime.json keeps it. NULL when out of
 * memory. */
json_t *verify_json(const struct verify *v);

/* Writes verified_on, exactness_baseline, speed_evidence, verification and the calibration of mtp_contract
 * into DIR/mtplx_runtime.json, atomically; other keys stay, required ones that are missing are filled in, and
 * so do comparisons with the sources that were made before, are not made in v and are of the same artifact:
 * these get "measured_on", the timestamp of then. A
 * result that did not pass is written with a status that bars the verdict "verified". */
bool verify_stamp(const char *dir, const struct verify *v, struct alula_error *e);
/* Writes the calibrated contract alone; what was verified before counts no more. */
bool verify_adopt(const char *dir, const struct calibrate *c, struct alula_error *e);

#endif
