/* forge.h - grafts a head onto a trunk and writes the artifact: a folder that alula, MTPLX and mlx-lm read. */
#ifndef FORGE_FORGE_H
#define FORGE_FORGE_H

#include "forge/plan.h"
#include "forge/watch.h"

struct forge_options {
    const char *trunk; /* folder of the body, with tokenizer and template */
    const char *mtp;   /* folder or file that holds the head; NULL: the trunk's own */
    const char *out;   /* folder to make; must not exist */
    /* What the two models are called, for the record in the artifact; NULL: what .mtplx-source.json in their
     * folder says, else the folder's name. Paths are not recorded: they say something of this machine and
     * nothing of the model. */
    const char *trunk_id, *mtp_id;
    struct plan_options plan;
    int n_threads;             /* 0 = the CPUs that this process may use */
    const struct watch *watch; /* may be NULL; told source bytes, then bytes to be summed */
};

struct forge_report {
    uint64_t source_bytes, body_bytes, head_bytes;
    size_t n_modules;        /* of body and head */
    int n_shards, n_resumed; /* of the body; taken over from an earlier, interrupted run */
    double seconds;
};

/* What a forge would write, one entry for all modules of a kind and width. */
struct forge_class {
    char name[128]; /* path without the layer's number: "layers.*.self_attn.q_proj" */
    bool head;
    int bits, group; /* 0 = plain */
    bool kept;       /* packed in its source already */
    enum dtype type; /* plain: of the values */
    size_t n_modules;
    uint64_t parameters, bytes;
};

#define FORGE_CLASSES_MAX 128

struct forge_preview {
    struct forge_class classes[FORGE_CLASSES_MAX]; /* [n], in the order of writing */
    int n;
    uint64_t source_bytes, body_bytes, head_bytes;
    int n_shards;
    char trunk_id[256], mtp_id[256];
    double bytes_per_s; /* of the source, measured here on one block in memory; 0 = nothing to pack */
    double seconds;     /* at that rate; reading and writing may take longer */
};

/* Writes nothing. Errors: those of forge_run before it begins to write. */
bool forge_look_ahead(struct forge_preview *ret, const struct forge_options *o, struct alula_error *e);

/* Works in a folder beside `out` (out + ".forging") and renames it at the end, so `out` is whole or absent
 * whenever the process dies. A later run with the same options takes over the shards that an interrupted one
 * finished. Errors: those of checkpoint_open and weights_bind; USAGE if out exists; BUSY if another process
 * forges the same; IO; CANCELLED. */
bool forge_run(const struct forge_options *o, struct forge_report *ret, struct alula_error *e);

#endif
