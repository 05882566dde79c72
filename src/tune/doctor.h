/* doctor.h - what to expect of this machine before any model is on it: its memory's speed, and what a 35B
 * would do. */
#ifndef TUNE_DOCTOR_H
#define TUNE_DOCTOR_H

#include "base/json.h"
#include "tune/bench.h"
#include "tune/machine.h"

#define DOCTOR_DEPTH     3
#define DOCTOR_HEAD_ROWS 32768 /* of the LM head that drafts come from */
#define DOCTOR_CONTEXT   8192  /* tokens that the memory needed allows for */

struct doctor {
    struct machine machine;
    unsigned has;        /* instruction sets, kern/cpu.h */
    const char *kernels; /* the best of them, which is used */
    int n_threads;
    double others; /* tasks of others that wanted a CPU before it began, load.h */
    size_t needed; /* bytes of memory for the 35B in 4 bits, with its head, a context and work memory */
    bool measured; /* false: there is no memory even for the sample, and what follows is 0 */
    struct bench_figure read_gbs;
    /* Shares of the bound that steps of the sample reached, and from them: */
    double plain_share, verify_share, draft_share;
    double plain_tok_s, mtp_tok_s; /* estimates for all 40 layers */
    double acceptance[DOCTOR_DEPTH];
};

/* Measures four layers in the shape of Qwen3.5-35B-A3B with so much of LM head and embedding that a step's
 * parts weigh about what they weigh in all forty: seconds, 1 GB of memory. The estimates are the bytes of all
 * forty layers at the shares of the read limit that were reached. n_threads: 0 = as bench. progress as in
 * bench.h. Errors: those of bench_run. */
bool doctor_run(struct doctor *ret, int n_threads, bool (*progress)(void *arg, int done, int total),
                void *arg, struct alula_error *e);

/* One object, for json_decref; NULL when memory is exhausted. */
json_t *doctor_json(const struct doctor *d);

#endif
