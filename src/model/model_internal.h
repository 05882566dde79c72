/* model_internal.h - what the files of model/ share: the layout of model, state and scratch, and the steps of
 * a layer.
 *
 * The steps run on the caller's thread and split their work with forward_job. A split never changes a result:
 * every value is computed by one thread, in one order of summation. Rows of a batch are numbered over all
 * spans. */
#ifndef MODEL_MODEL_INTERNAL_H
#define MODEL_MODEL_INTERNAL_H

#include "kern/kern.h"
#include "model/model.h"
#include "model/profile.h"

/* ---- model --------------------------------------------------------------------------------------------- */

/* What the passes need of a layer beyond its weights. */
struct layer {
    const struct layer_weights *w;
    float *taps; /* delta net: [conv_kernel][channels], the file's taps transposed, newest last */
    float *rate; /* delta net: [lin_v_heads], -exp(A_log) */
};

struct model {
    const struct weights *weights;
    const struct config *config;
    struct kern kern;
    enum model_mode mode;
    struct mtp_contract contract;
    struct layer *layers; /* [n_layers + 1]; the last is the head's, with w NULL if there is none */
    float *frequencies;   /* [rotary_dim / 2], RoPE */
    /* widths of rows */
    int channels;               /* delta net: q, k and v side by side, as the convolution sees them */
    int key_width, value_width; /* delta net: all key heads, all value heads */
    int q_width, kv_width;      /* attention: all query heads, all key/value heads */
    enum dtype kv_type;         /* of keys and values in the caches: DT_F32, in fast mode DT_F16 */
    int slots;                  /* experts of a row: experts_per_tok and the shared one; dense: 1 */
    int inter;                  /* widest hidden layer of any expert or dense MLP */
    struct arena arena;
};

/* ---- state --------------------------------------------------------------------------------------------- */

/* One layer's part. Attention (and the head): keys and values. Delta net: recurrent state S and convolution
 * window from before the pending rows, and what the pending rows will do to them. */
struct layer_state {
    void *k, *v;          /* [n_kv_heads][kv_capacity][head_dim] of kv_type; keys after norm and RoPE */
    float *s;             /* [lin_v_heads][lin_k_dim][lin_v_dim] */
    float *conv;          /* [conv_kernel - 1][channels], oldest first, before convolution and silu */
    float *pending_decay; /* [VERIFY_ROWS_MAX][lin_v_heads], exp(gamma) */
    float *pending_key;   /* [VERIFY_ROWS_MAX][key_width], normalised */
    float *pending_delta; /* [VERIFY_ROWS_MAX][value_width] */
    float *pending_conv;  /* [VERIFY_ROWS_MAX][channels] */
};

struct state {
    const struct model *model;
    int n_ctx, kv_capacity;
    int len;                    /* tokens that count, the pending ones included */
    int n_pending;              /* of them, those not yet folded into S and conv */
    int mtp_len;                /* entries of the head's cache */
    struct layer_state *layers; /* [n_layers + 1] */
    void *map;                  /* the arrays of all layers */
    size_t map_bytes;
};

/* Folds what is pending into the recurrent states and windows. */
void state_fold(struct state *s);
/* Entry `entry` of one head of a cache. */
void *state_entry(const struct state *s, const void *cache, int head, int entry);

/* ---- forward ------------------------------------------------------------------------------------------- */

#define KEYS_CHUNK 512 /* entries of a cache that attention takes in before it merges: whole blocks */
#define QUERY_TILE 64  /* queries of a prompt that take them in together, at most */

/* Where a row of a batch stands: it sees entries 0..entry of its sequence's cache, the last one its own. */
struct row {
    struct state *state;
    int entry;
};

/* Rows of a batch that use the same gate, up and down matrices: those routed to one expert, or all. */
struct expert_group {
    const struct matrix *gate, *up, *down;
    bool shared;
    int begin, n; /* its pairs */
    int block;    /* the first of its hidden layer's, counted over all groups */
};

struct forward {
    const struct model *model;
    struct pool *pool;
    int n_threads, max_rows;
    int max_logits, max_drafts; /* rows of logits, of trunk and head; pages that none needs cost nothing */
    const struct matrix *draft_head; /* what drafts take their logits from */
    forward_tap *tap;
    void *tap_arg;
    struct profile *profile; /* NULL: nobody asks */

    /* the batch */
    const struct span *spans;
    int *span_begin; /* [max_rows], first row of each span */
    int n_spans, n_rows;
    struct row *rows; /* [max_rows] */
    float *rope;      /* [max_rows][rotary_dim], cosines, then sines */

    /* activations, [max_rows][width] each */
    float *x;                    /* residual stream [hidden] */
    float *u;                    /* normed input of a step [hidden] */
    float *out;                  /* output of a step, before the residual sum [hidden] */
    float *proj[4];              /* delta net: qkv, z, b, a; attention: q with gate, k, v */
    float *conv;                 /* delta net: after convolution and silu [channels] */
    float *q, *k;                /* queries after norm and RoPE or L2 norm; delta net: keys likewise */
    float *gamma, *decay, *beta; /* delta net [lin_v_heads] */
    float *o, *y;                /* by head, before and after gating */
    float *taken;                /* attention, for VERIFY_ROWS_MAX rows: [n_heads][max_chunks][taken_width] */
    size_t taken_width;          /* a head's values, maximum and sum (kern.attend), in whole cache lines */
    int max_chunks;              /* of the longest context */

    /* experts. A pair is one (row, expert); pairs lie grouped by expert */
    float *router;         /* [n_experts], logits, then probabilities */
    float *shared_gate;    /* [1] */
    int *expert_ids;       /* [slots] by descending weight, the shared expert (number n_experts) last */
    float *expert_weights; /* [slots] */
    int *pair_of;          /* [slots] */
    int *pair_row;         /* [max_rows * slots] */
    float *pair_gate, *pair_up, *pair_out; /* [max_rows * slots][inter], the same, [hidden] */
    struct expert_group *groups;           /* [n_experts + 2]; behind the last, the end of its blocks */
    int *group_fill;                       /* [n_experts + 1] */
    int n_groups;

    /* fast mode: what packed matrices read */
    struct q8 *input8; /* [q8_count(widest input)][n] of linear_prepare's n rows */
    struct q8 *pair8;  /* likewise for the experts' hidden layers, each group's pairs by itself */

    /* results */
    float *normed;                                   /* after the final norm [hidden] */
    float *handed;                                   /* what the head is fed with: normed, or a copy of x */
    int *logit_slot;                                 /* -1 = not asked for */
    float *logit_input;                              /* [hidden], packed */
    float *logits;                                   /* [vocab], packed */
    float *mtp_given, *mtp_embed, *mtp_fc, *mtp_fed; /* [hidden] */
    float *mtp_pair;                                 /* [2 * hidden] */
    float *mtp_logits;                               /* [vocab] */

    float *thread_scratch; /* one block per thread */
    size_t thread_floats;
    void *map;
    size_t map_bytes;
};

/* Hands out parts of a block; with base NULL it only counts. Parts are aligned to 64 bytes. */
struct carve {
    unsigned char *base;
    size_t used;
};
void *carve_take(struct carve *c, size_t count, size_t size);

static inline float *forward_scratch(const struct forward *f, int thread)
{
    return f->thread_scratch + f->thread_floats * (size_t)thread;
}

static inline void forward_tell(const struct forward *f, const char *what, int layer, const float *rows,
                                int width)
{
    if (f->tap) f->tap(f->tap_arg, what, layer, rows, f->n_rows, width);
}

/* From here on the thread does `op`; inside a job, or between jobs as thread 0. */
static inline void forward_do(const struct forward *f, int thread, enum profile_op op)
{
    if (f->profile) profile_enter(f->profile, thread, op);
}
static inline void forward_bytes(const struct forward *f, int thread, size_t n)
{
    if (f->profile) f->profile->clocks[thread].bytes[f->profile->clocks[thread].op] += n;
}
/* pool_run, with the clocks turned at its ends. */
void forward_job(struct forward *f, void (*fn)(void *arg, int thread, int n_threads), void *arg);

/* out = x / rms(x) * gain for each of n rows [hidden]. */
void forward_norm(struct forward *f, const float *x, const struct vector *gain, int n, float *out);
/* Sets row r of the batch: its place in the cache, which is its position too, with the cosines and sines. */
void forward_place(struct forward *f, int r, struct state *s, int entry);

/* ---- linear layers (linear.c) -------------------------------------------------------------------------- */

struct linear {
    const struct matrix *w;
    float *y; /* [n][w->rows] */
};
/* y = W x for n rows x [n][cols] and several matrices with the same input. */
void linear_run(struct forward *f, enum profile_op op, const float *x, int n, const struct linear *jobs,
                int n_jobs);
/* The same for one matrix; then residual [n][w->rows] += y. x NULL: f->input8 holds the rows already, and W reads it. */
void linear_add(struct forward *f, enum profile_op op, const float *x, int n, struct linear job,
                float *residual);
/* Fast mode: turns n rows x [n][cols] into f->input8, for linear_rows within the next job. Exact mode: nothing to do. */
void linear_prepare(struct forward *f, const float *x, int n, int cols);
/* Inside a job: rows [begin, end) of W for n rows of x, on this thread; y[j*ldy + row]. x8: the same rows as int8
 * (fast mode), [q8_count(cols)][ldx8]. next: what this thread reads afterwards. */
void linear_rows(const struct forward *f, int thread, const struct matrix *w, int begin, int end,
                 struct mat_at next, const float *x, size_t ldx, const struct q8 *x8, size_t ldx8, int n,
                 float *y, size_t ldy);
/* Threads take blocks of so many rows: whole cache lines of the output, and two steps of the widest kernel, which fetches
 * as far ahead. */
#define ROWS_UNIT 32
static inline int row_blocks(const struct matrix *w) { return ((int)w->rows + ROWS_UNIT - 1) / ROWS_UNIT; }

/* ---- the steps of a layer: from f->u to f->out, which is added to f->x --------------------------------- */

void attention_run(struct forward *f, int layer);
/* Only appends the rows' keys and values to their caches. */
void attention_append(struct forward *f, int layer);
void deltanet_run(struct forward *f, int layer);
/* Folds the pending rows of one sequence into S and the convolution window. */
void deltanet_fold(struct state *s, int layer);
void moe_run(struct forward *f, int layer);

#endif
