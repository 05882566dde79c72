/* forge.h - grafts a head onto a trunk and writes the artifact: a folder that alula, MTPLX and mlx-lm read. */
#ifndef FORGE_FORGE_H
#define FORGE_FORGE_H

#include "forge/plan.h"

struct forge_options {
    const char *trunk; /* folder of the body, with tokenizer and template */
    const char *mtp;   /* folder or file that holds the head; NULL: the trunk's own */
    const char *out;   /* folder to make; must not exist */
    struct plan_options plan;
    int n_threads;     /* 0 = the CPUs that this process may use */
    bool (*tell)(void *arg, uint64_t done, uint64_t total); /* source bytes; false stops; may be NULL */
    void *arg;
};

struct forge_report {
    uint64_t source_bytes, body_bytes, head_bytes;
    size_t n_modules;  /* of body and head */
    int n_shards, n_resumed; /* of the body; taken over from an earlier, interrupted run */
    double seconds;
};

/* Works in a folder beside `out` (out + ".forging") and renames it at the end, so `out` is whole or absent whenever the process dies.
 * A later run with the same options takes over the shards that an interrupted one finished. Errors: those of checkpoint_open and
 * weights_bind; USAGE if out exists; BUSY if another process forges the same; IO; CANCELLED. */
bool forge_run(const struct forge_options *o, struct forge_report *ret, struct alula_error *e);

#endif
