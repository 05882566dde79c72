/* bench.h - how fast a model runs here, and how much of what the memory allows that is.
 *
 * Decoding is reading weights. So the machine's read limit is measured with the same threads in the same run, and
 * each figure stands beside the bytes that it cannot do without. Everything is measured once a round, one after the
 * other, so that noise hits all alike; a figure is the median over the rounds, with the lowest and the highest. */
#ifndef TUNE_BENCH_H
#define TUNE_BENCH_H

#include "artifact/contract.h"
#include "artifact/weights.h"
#include "base/json.h"
#include "base/buf.h"
#include "model/model.h"
#include "model/profile.h"

#define BENCH_DEPTHS      4 /* MTP is measured at depth 1..4 */
#define BENCH_ROUNDS_MAX  64
#define BENCH_JOBS_MAX    48
#define BENCH_PROFILES    3
#define BENCH_HEADS       3 /* packings of a head that are compared: 16 bits (BF16), 8, 4 */
#define BENCH_HEAD_DEPTHS 3 /* depths 1 .. that they are compared at */

struct bench_options {
    int n_threads; /* 0 = the CPUs that this process may use */
    int rounds;    /* 1 to BENCH_ROUNDS_MAX */
    bool exact;
    bool profile;      /* only plain decoding, verification of 4 rows and a prompt of 512, by operation */
    bool heads;        /* only plain decoding, and draft step and MTP with the head packed in each way */
    bool sample;       /* only plain decoding, verification of 4 rows and a draft step */
    double budget_s;   /* no further round begins after so long; 0 = never mind */
    int draft_vocab;   /* tokens that drafts come from; 0 = all */
    double step_s;     /* a job repeats its step for so long each round, at least once */
    size_t read_bytes; /* that one look at the read limit reads: of the weights, or of a buffer if fewer */
    /* Share of cycles in which the first d+1 drafts all survive, falling. It is forced on the model, whose own guesses
     * are not looked at. Depths beyond n_acceptance go on with the last two's ratio. */
    double acceptance[BENCH_DEPTHS];
    int n_acceptance; /* at least 1 */
    /* May be NULL. false ends the run with ALULA_CANCELLED. */
    bool (*progress)(void *arg, int done, int total);
    void *arg;
};
struct bench_options bench_defaults(void);

enum bench_kind {
    BENCH_READ,   /* the read limit */
    BENCH_PLAIN,  /* one token */
    BENCH_VERIFY, /* n rows in one pass, logits of all */
    BENCH_DRAFT,  /* one step of the head, LM head included */
    BENCH_MTP, /* a cycle of depth n: drafts, verification, what the acceptance keeps, the head's history */
    BENCH_PREFILL,   /* n tokens of a prompt, in passes of BENCH_CHUNK */
    BENCH_SEQUENCES, /* one token each for n sequences */
    BENCH_SCALING,   /* one token with n threads */
    BENCH_CONTEXT,   /* one token behind n others, whose keys and values are copies of a short prompt's */
    BENCH_KINDS
};

#define BENCH_CHUNK     512 /* tokens of a prompt in one pass, as in a session */
#define BENCH_LONG_S    2.0 /* what takes longer than this is measured in at most .. */
#define BENCH_LONG_MOST 3   /* .. so many rounds */

struct bench_job {
    enum bench_kind kind;
    int n;
    int head_bits;  /* of a head packed for this job; 0 = as it is stored */
    int rounds;     /* that it was measured in, the first ones */
    double tokens;  /* that a step gives */
    double bytes;   /* of weights, and of a context's keys and values, that a step must read; 0 = not said */
    double macs;    /* multiplications by weights; 0 = not said */
    double experts; /* different routed experts per layer that a pass used, by count; 0 = not counted */
    double seconds[BENCH_ROUNDS_MAX]; /* of a step */
};

/* Where a job's time goes, over all rounds, measured beside job.seconds and in the same rounds. */
struct bench_profile {
    int job; /* its number */
    int steps;
    double seconds;              /* of all steps */
    double spent[PROFILE_OPS];   /* of them, a mean over the threads */
    uint64_t bytes[PROFILE_OPS]; /* of all steps */
};

struct bench {
    int n_threads, rounds, n_jobs;
    const char *isa;
    double acceptance[BENCH_DEPTHS];
    struct bench_job jobs[BENCH_JOBS_MAX];
    struct bench_profile profiles[BENCH_PROFILES];
    int n_profiles;
    size_t rss_bytes;         /* peak of the process before a long context was filled */
    size_t rss_context_bytes; /* and with the longest one; the same if there was none */
    int head_rows;            /* of the LM head that a draft step reads */
};

/* Measures. Without a head draft and MTP are left out, as are prompts and contexts that the model was not made for.
 * Errors: USAGE, LIMIT, NOMEM, CANCELLED. */
bool bench_run(struct bench *ret, const struct weights *w, const struct mtp_contract *contract,
               const struct bench_options *options, struct alula_error *e);

struct bench_figure {
    double median, min, max;
};
/* Of n numbers, which it sorts. */
struct bench_figure bench_figure_of(double *v, int n);
struct bench_figure bench_ms(const struct bench_job *job);
struct bench_figure bench_tok_s(const struct bench_job *job);
/* Bytes that must be read, at the read limit of the same round, over the time taken: 1 = at the bound. */
struct bench_figure bench_bound_share(const struct bench *b, const struct bench_job *job);
/* Tokens per second over those of plain decoding in the same round. */
struct bench_figure bench_ratio(const struct bench *b, const struct bench_job *job);
struct bench_figure bench_read_gbs(const struct bench *b);
/* NULL if there is none. */
const struct bench_job *bench_find(const struct bench *b, enum bench_kind kind, int n);
const struct bench_job *bench_find_head(const struct bench *b, enum bench_kind kind, int n, int head_bits);
extern const int bench_head_bits[BENCH_HEADS];

/* Where a run comes from and how long it took to be there: what the caller knows and the results show. */
struct bench_label {
    const char *title;        /* "qwen3.5-35b-a3b, 8 of 40 layers" or a folder's name; of any UTF-8 */
    bool synthetic;           /* and then */
    int layers, all_layers;   /* layers made, and those of the model with that shape */
    double expert_overlap;    /* of neighbouring tokens */
    struct bench_figure load; /* s; synthetic: making the weights; else from the start to the first token */
};

/* One object, for json_decref; NULL when memory is exhausted. */
json_t *bench_json(const struct bench *b, const struct bench_label *label);
/* A line for each job under a line of names; figures that a job has not are empty. Appended to out. */
void bench_csv(const struct bench *b, struct buf *out);
/* A picture: how much each step computes for each byte it reads, and how fast, below the read limit. SVG. */
void bench_plot(const struct bench *b, const struct bench_label *label, struct buf *out);
/* "verify, rows" */
const char *bench_kind_name(enum bench_kind kind);

/* The first token of a model in a folder: opens it with everything that an answer needs, reads a short prompt, draws
 * one token, closes it; once to warm the page cache, then `times` times (at most BENCH_ROUNDS_MAX). Seconds. Errors:
 * those of engines and sessions. */
bool bench_load(const char *dir, int n_threads, bool exact, int times, struct bench_figure *ret,
                struct alula_error *e);

/* The tables of b->profiles as text (appended to out), and one of them as JSON. */
void bench_profile_show(struct buf *out, const struct bench *b);
json_t *bench_profile_json(const struct bench *b, const struct bench_profile *p);

/* What a pass of the trunk over n rows reads of weights when they use `experts` routed experts per layer between them:
 * every matrix once, the rows' embeddings, the LM head. The draft step: the same for the head. */
double bench_trunk_bytes(const struct weights *w, int rows, double experts);
double bench_draft_bytes(const struct weights *w, int head_rows);
/* Multiplications by weights of n tokens, of which n_logits go through the LM head. */
double bench_trunk_macs(const struct weights *w, int n, int n_logits);

#endif
