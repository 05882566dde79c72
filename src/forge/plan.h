/* plan.h - what a forge will write: every tensor of the artifact, in order, with its source and its width.
 *
 * A plan is made from bound weights, so it does not know in which layout the sources lie: the same weights
 * give the same plan, and the same plan gives the same bytes. */
#ifndef FORGE_PLAN_H
#define FORGE_PLAN_H

#include "artifact/weights.h"

/* One module: a matrix, a stack of equal matrices (the experts), or a 1-D parameter. */
struct plan_item {
    const char *name; /* module's path; tensors: name.weight, .scales, .biases (packed), or the name itself */
    const struct matrix *mats;  /* [n_mats], source; NULL for a vector */
    const struct matrix *mats2; /* fused experts: the second half of each matrix's rows, else NULL */
    int n_mats;
    bool stacked; /* written with a leading dimension n_mats */
    const struct vector *vec;
    int shift;  /* added to a vector's stored values: 1, 0 or -1, for a norm that changes its encoding */
    int n_dims; /* of a vector's shape */
    uint64_t shape[3];
    bool suffix;     /* ".weight" follows the name of a plain tensor */
    int bits, group; /* 0 = written plain. A packed source keeps its own codes and widths. */
    enum dtype type; /* of plain values, scales and biases */
    int shard;       /* which file */
};

enum head_policy { HEAD_QUANTIZE, HEAD_KEEP_BF16, HEAD_QUANTIZE_AT_LOAD };

/* How the head's norms are stored: the gain, or gain - 1 as Hugging Face does. The body's are gains always. */
enum norm_encoding { NORMS_ABSOLUTE, NORMS_DELTA };

#define PLAN_PLAIN_BITS 16 /* an override's word for "leave it plain" */

/* A width of its own for the modules whose path fits a pattern (fnmatch: * fits dots and numbers too). */
struct plan_override {
    const char *pattern;
    int bits, group; /* group 0 = the artifact's */
};

struct plan_options {
    int bits, group; /* of the body, and of a quantized head */
    enum head_policy head_policy;
    enum norm_encoding norms;
    const struct plan_override *overrides; /* [n_overrides], the last that fits counts */
    int n_overrides;
    bool allow_degraded_mtp; /* a head of less than PLAN_HEAD_BITS_MIN bits is made without complaint */
};

/* Below it a head is likely to foretell worse. Four bits cost next to nothing where that was measured. */
#define PLAN_HEAD_BITS_MIN 4

struct plan {
    struct plan_item *body, *head; /* [n_body], [n_head] */
    size_t n_body, n_head;
    int n_shards;
    uint64_t body_bytes, head_bytes; /* data to be written */
    uint64_t source_bytes;           /* data to be read */
    uint64_t parameters;             /* of the body */
    struct arena arena;
};

/* Errors: MISMATCH if a router cannot be packed (its columns are no multiple of 64); USAGE for an override
 * that fits no module or a module that cannot have that width, and for a degraded head that is not allowed;
 * NOMEM. Weights and options must outlive the plan. */
bool plan_make(struct plan *ret, const struct weights *w, const struct plan_options *o,
               struct alula_error *e);
void plan_free(struct plan *p);

/* Bytes that an item takes, all its tensors. */
uint64_t plan_item_bytes(const struct plan_item *it);
/* The file name of shard i of n, as mlx-lm names them. */
void plan_shard_name(char out[64], int i, int n);

#endif
