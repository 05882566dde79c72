/* config.h - config.json and generation_config.json as numbers that were checked.
 *
 * Text keys live in text_config when there is one, else at the top level. A missing or absurd value is
 * refused by name; nothing that changes the mathematics has a silent default. */
#ifndef ARTIFACT_CONFIG_H
#define ARTIFACT_CONFIG_H

#include <jansson.h>
#include "base/mem.h"
#include "base/err.h"
#include "kern/matrix.h"

enum layer_type { LAYER_LINEAR_ATTENTION, LAYER_FULL_ATTENTION };
enum mlp_type { MLP_MOE, MLP_DENSE };

#define STOP_IDS_MAX 16

/* Ceilings. They bound what a file can make alula allocate and keep every product of two of them inside 32
 * bits. */
#define CONFIG_LAYERS_MAX   1000
#define CONFIG_WIDTH_MAX    65536 /* hidden, intermediate sizes, heads x width */
#define CONFIG_HEADS_MAX    1024
#define CONFIG_HEAD_DIM_MAX 1024
#define CONFIG_EXPERTS_MAX  4096
#define CONFIG_VOCAB_MAX    (1 << 22)

struct config {
    char model_type[64];   /* of the text part, "qwen3_5_moe_text" */
    char architecture[96]; /* first of "architectures", or "" */
    int n_layers, hidden, vocab, max_position;
    enum layer_type *layer_types; /* [n_layers], in the arena */
    enum mlp_type *mlp_types;     /* [n_layers] */
    bool tied;                    /* the LM head is the embedding */
    double rms_eps;
    /* full attention */
    int n_heads, n_kv_heads, head_dim;
    int rotary_dim; /* head_dim * partial_rotary_factor, even */
    double rope_theta;
    /* gated delta net; 0 when no layer is one */
    int lin_k_heads, lin_v_heads, lin_k_dim, lin_v_dim, conv_kernel;
    /* MLP */
    int n_experts, experts_per_tok, moe_inter, shared_inter; /* 0 when no layer has experts */
    int dense_inter;                                         /* 0 when no layer is dense */
    enum dtype cast; /* type that a conversion casts to: top-level torch_dtype (or dtype), else text_config's;
                        default BF16 */
    int32_t stop_ids[STOP_IDS_MAX]; /* generation_config.json's eos_token_id wins over config.json's */
    int n_stop_ids;
};

/* root: config.json; generation: generation_config.json or NULL. what names the file in errors. Errors:
 * UNSUPPORTED for what alula does not compute, MISMATCH for values that contradict each other, else FORMAT or
 * LIMIT. */
bool config_read(struct config *ret, const json_t *root, const json_t *generation, const char *what,
                 struct arena *a, struct alula_error *e);

/* Where the text keys live: root's text_config, or root itself. */
const json_t *config_text(const json_t *root);

#endif
