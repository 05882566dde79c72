/* model.h - the network: what a forward pass takes and gives. The guided tour: forward.c, then its parts.
 *
 * Batch invariance is the contract of this layer: a row's results are the same bits whether it is computed
 * alone or with others, with one thread or many, in any split of a prompt into chunks. */
#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H

#include "artifact/contract.h"
#include "artifact/weights.h"
#include "base/pool.h"

#define VERIFY_ROWS_MAX 8 /* primary + 7 drafts */

/* How packed matrices meet activations. EXACT: both in float32, the reference of every fixture. FAST: activations
 * as int8 with a scale for each 64, products of integers; plain matrices and all else stay float32. Batch
 * invariance holds in both. */
enum model_mode { MODEL_EXACT, MODEL_FAST };

struct model; /* immutable; weights, kernels, contract. Any number of threads. */
/* contract NULL: the usual one. weights must outlive the model. */
bool model_create(struct model **ret, const struct weights *w, const struct mtp_contract *contract,
                  enum model_mode mode, struct alula_error *e);
void model_free(struct model *m);
const struct config *model_config(const struct model *m);
bool model_has_mtp(const struct model *m);

/* State of one sequence: KV of the attention layers, conv and recurrent state of the delta-net layers, KV of
 * the MTP head.
 *
 * The rows of a verify span stay pending: the recurrent state in memory is the one before them, beside it lie
 * their small factors (decay, key, delta, conv input). state_keep says how many of them count; the next
 * forward folds those in while it reads the state anyway. So rolling back costs nothing and no state is ever
 * copied. */
struct state;
bool state_create(struct state **ret, const struct model *m, int n_ctx, struct alula_error *e);
void state_free(struct state *s);
void state_reset(struct state *s);
size_t state_bytes(const struct model *m, int n_ctx); /* memory that one takes when full */
int state_len(const struct state *s);                 /* tokens read and kept, pending ones included */
int state_ctx(const struct state *s);                 /* tokens that fit */
/* Of the last verify span keep the first n_rows (0..n). Without this call all of them count. */
void state_keep(struct state *s, int n_rows);
/* MTP cache: entries, and cutting it back. An entry's position is its number; rotary embeddings are relative,
 * so a window of the history needs no other. */
int state_mtp_len(const struct state *s);
void state_mtp_cut(struct state *s, int n);

/* What tokens have left behind, as bytes to keep elsewhere and to put back into any state of the same model, on the
 * same machine and build. Rows: keys and values, token by token, so that the bytes may be cut between any two. The
 * head's entry of token i, where kept (head), is that of the pair it completes, number i-1; token 0 has none. The
 * snapshot is the rest, which no row can be taken out of: recurrent states and convolution windows after the last
 * token; pending rows are folded first. */
#define STATE_FORMAT 2 /* to be raised whenever the bytes change, or how a token's are computed */
size_t state_row_bytes(const struct model *m, bool head);
size_t state_snapshot_bytes(const struct model *m);
/* Rows of tokens [first, first+n) of those that the state holds, and of their pairs, if asked for. */
void state_save_rows(const struct state *s, int first, int n, bool head, void *out);
void state_save_snapshot(struct state *s, void *out);
/* Puts rows at their place in an empty state. They count once the snapshot behind the last of len > 0 tokens follows,
 * which makes it a state of len tokens, with their pairs or (head false) without any. */
void state_load_rows(struct state *s, int first, int n, bool head, const void *from);
void state_load_snapshot(struct state *s, int len, bool head, const void *from);

/* For tests and eval: the content as if nothing were pending (it is folded first). Pointers hold until the
 * state changes. */
bool state_equal(struct state *a, struct state *b);       /* bit for bit, MTP cache included */
const float *state_recurrent(struct state *s, int layer); /* [lin_v_heads][lin_k_dim][lin_v_dim] */
const float *state_conv(struct state *s, int layer);      /* [conv_kernel - 1][channels], oldest first */
/* Of one head: [state_len][head_dim], in exact mode alone. Layer n_layers is the MTP head's, with state_mtp_len
 * entries. */
const float *state_keys(const struct state *s, int layer, int kv_head);
const float *state_values(const struct state *s, int layer, int kv_head);

/* Scratch memory and threads for batches of at most max_rows rows. One caller at a time. */
struct forward;
bool forward_create(struct forward **ret, const struct model *m, struct pool *pool, int max_rows,
                    struct alula_error *e);
void forward_free(struct forward *f);
/* Memory that one takes whose passes never ask for logits of more than max_logits rows, nor draft for more than
 * max_drafts sequences. */
size_t forward_memory(const struct model *m, int n_threads, int max_rows, int max_logits, int max_drafts);

enum span_logits { SPAN_LOGITS_NONE, SPAN_LOGITS_LAST, SPAN_LOGITS_ALL };

/* Consecutive tokens of one sequence. A batch may hold spans of several sequences, one span each. */
struct span {
    struct state *state;
    const int32_t *tokens; /* [n], each in [0, vocab) */
    int n;
    bool verify; /* rows stay pending until state_keep; n <= VERIFY_ROWS_MAX. Else they count at once. */
    enum span_logits logits;
};

/* Runs the trunk over all spans; n rows in all, at most max_rows. Allocates nothing. The caller has checked
 * ids and context. */
void forward_run(struct forward *f, const struct span *spans, int n_spans);
/* Row r of the last run, counted over the spans in order: [vocab], NULL if not asked for. Valid until the
 * next run. */
const float *forward_logits(const struct forward *f, int r);
/* Hidden state that the head is fed with (after the final norm, or before it if the contract says so):
 * [hidden], rows behind each other. Valid until the next run, whatever the head does in between. */
const float *forward_hidden(const struct forward *f, int r);

/* Appends n true pairs (h_t, x_{t+1}) to the MTP cache of s: keys and values only, exact because the head has
 * one layer. */
void mtp_history(struct forward *f, struct state *s, const float *hidden /* [n][hidden] */,
                 const int32_t *tokens, int n);
/* The same for pairs of several sequences, each one's in order. */
struct mtp_row;
void mtp_append(struct forward *f, const struct mtp_row *pairs, int n);
/* One draft step for n_rows different sequences: appends the pair to each one's MTP cache, and leaves logits
 * (mtp_logits) and what the next step is fed with (mtp_hidden, which may come back as a row's hidden). The
 * position is the number of entries in the cache, with room for VERIFY_ROWS_MAX more than the context. */
struct mtp_row {
    struct state *state;
    const float *hidden; /* [hidden] */
    int32_t token;
};
void mtp_draft(struct forward *f, const struct mtp_row *rows, int n_rows);
const float *mtp_logits(const struct forward *f, int r); /* [vocab], or [rows] of the draft head */
const float *mtp_hidden(const struct forward *f, int r); /* [hidden], by the contract's feedback */

/* Drafts take their logits from this matrix [rows <= vocab][hidden] in place of the LM head; NULL ends it. It must
 * outlive f. What the matrix's rows mean is the caller's affair. */
void forward_set_draft_head(struct forward *f, const struct matrix *head);

/* Tests and eval look inside: called after each step of each layer with [n_rows][width] values. tap NULL ends
 * it. what is
 *   every layer  "mixer", "moe" (before the residual sum), "hidden" (after the layer)
 *   router       "router_logits" [n_experts]; "expert_ids" (as floats) and "expert_weights"
 *                [experts_per_tok + 1] by descending weight; the shared expert, number n_experts, comes last
 *                with its sigmoid gate as weight
 *   delta net    "conv_out" (after silu), "q" (scaled), "k", "gamma", "beta", "z", "o" and "y" (before and
 *                after the gated norm)
 *   attention    "q_gate" (raw, per head query then gate), "q" (after norm and RoPE), "o" (before gating)
 *   the end      "final" (after the final norm), layer n_layers
 * Layer n_layers is the MTP head: "fc", "mixer", "moe", "hidden", "final" and the parts of its layer. */
typedef void forward_tap(void *arg, const char *what, int layer, const float *rows, int n_rows, int width);
void forward_set_tap(struct forward *f, forward_tap *tap, void *arg);

/* The clocks that passes turn from now on (profile.h), begun for as many threads as the pool has; NULL ends it. */
struct profile;
void forward_set_profile(struct forward *f, struct profile *p);

#endif
