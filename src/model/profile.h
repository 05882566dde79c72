/* profile.h - where the time of a pass goes: every thread has a clock that runs for one operation at a time.
 *
 * A clock always runs for some operation, waiting included, so the operations' times add up to the time that passed,
 * times the number of threads. Costs two looks at the system's clock per operation while a profile is set, and a
 * test of a pointer while none is. */
#ifndef MODEL_PROFILE_H
#define MODEL_PROFILE_H

#include <stdalign.h>
#include <stddef.h>
#include <stdint.h>

#define PROFILE_THREADS_MAX 256

enum profile_op {
    PROFILE_WAIT,   /* for the other threads, or for the next job */
    PROFILE_SERIAL, /* between jobs, unless named below */
    PROFILE_EMBED,
    PROFILE_NORM,
    PROFILE_QUANTIZE,
    PROFILE_DELTA_PROJ,
    PROFILE_CONV,
    PROFILE_DELTA_RULE,
    PROFILE_DELTA_GATE,
    PROFILE_ATTN_PROJ,
    PROFILE_ATTN_ROTATE,
    PROFILE_ATTEND,
    PROFILE_ROUTER,
    PROFILE_CHOOSE,
    PROFILE_EXPERTS_IN,
    PROFILE_EXPERTS_OUT,
    PROFILE_SHARED,
    PROFILE_COMBINE,
    PROFILE_MTP_FC,
    PROFILE_LM_HEAD,
    PROFILE_SAMPLING,
    PROFILE_OPS
};

struct profile_clock {
    alignas(64) enum profile_op op;
    double since;                /* when it began, by clock_s */
    double spent[PROFILE_OPS];   /* seconds */
    uint64_t bytes[PROFILE_OPS]; /* of weights and state that were asked for */
};

/* Too large for a stack. Each thread touches its own clock; begin and end are for between two passes. */
struct profile {
    int n_threads;
    double begun, ended; /* by clock_s */
    struct profile_clock clocks[PROFILE_THREADS_MAX];
};

const char *profile_name(enum profile_op op); /* "experts, gate and up" */
const char *profile_key(enum profile_op op);  /* "experts_in", for JSON */
void profile_begin(struct profile *p, int n_threads);
void profile_end(struct profile *p);
/* The thread's clock runs for op from here on. */
void profile_enter(struct profile *p, int thread, enum profile_op op);
/* Seconds of op, a mean over the threads; bytes of op, a sum. */
double profile_seconds(const struct profile *p, enum profile_op op);
uint64_t profile_bytes(const struct profile *p, enum profile_op op);

#endif
