/* weights.h - binds the tensors of a checkpoint to the parts of the network, whatever layout they lie in.
 *
 * Layouts: Hugging Face fused experts, Hugging Face numbered experts, MLX-converted (switch_mlp, transposed
 * conv1d, gains stored as 1+w), MTPLX sidecars; plain or affine-packed per module. What is there decides, not
 * the config. A tensor that is missing, left over (vision towers aside) or mis-shaped is an error that lists
 * it. Nothing above this file sees a tensor's name.
 *
 * Pointers into files have any alignment: the format promises none, and MLX writes words at odd halfwords. */
#ifndef ARTIFACT_WEIGHTS_H
#define ARTIFACT_WEIGHTS_H

#include "artifact/checkpoint.h"

/* A 1-D parameter (or conv1d's taps). gain: float32 values ready for use (norms: 1+w already added in float32
 * when the file is zero-centred), all finite. source, add_one: where they came from, for the forge. */
struct vector {
    const float *gain;
    const struct tensor *source;
    bool add_one;
};

struct attention_weights {
    struct matrix q, k, v, o;     /* q: [n_heads * 2*head_dim][hidden], per head query then gate */
    struct vector q_norm, k_norm; /* [head_dim] */
};

struct deltanet_weights {
    struct matrix qkv, z, b, a, out;
    struct vector conv;           /* [channels][conv_kernel], newest tap last */
    struct vector a_log, dt_bias; /* [lin_v_heads] */
    struct vector norm;           /* [lin_v_dim], plain gain */
};

struct mlp_weights {
    enum mlp_type type;
    struct matrix router;            /* [n_experts][hidden] */
    struct matrix *gate, *up, *down; /* [n_experts]; dense: one each */
    struct matrix shared_gate, shared_up, shared_down;
    struct matrix shared_expert_gate; /* [1][hidden] */
};

struct layer_weights {
    enum layer_type type;
    struct vector input_norm, post_norm; /* [hidden] */
    struct attention_weights attn;       /* type full attention */
    struct deltanet_weights gdn;         /* type linear attention */
    struct mlp_weights mlp;
};

struct mtp_weights {
    struct matrix fc; /* [hidden][2*hidden] */
    struct vector norm_embedding, norm_hidden, norm;
    struct layer_weights layer;
};

struct weights {
    const struct config *config;  /* the trunk's */
    struct matrix embed, lm_head; /* [vocab][hidden]; tied: the same */
    struct vector final_norm;
    struct layer_weights *layers; /* [n_layers] */
    bool has_mtp;
    struct mtp_weights mtp;
    struct arena arena; /* owns everything that is not in a map */
};

/* Binds trunk, and the head from `head` (NULL: from the trunk's own folder, if one is there). The checkpoints
 * must outlive the weights. The head's dimensions are checked against the trunk's config. A head whose
 * config.json asks for it (mtplx_mtp_quantization) is packed here, in memory. Errors: NOT_FOUND (missing),
 * MISMATCH (shapes, left over, dimensions), UNSUPPORTED (quantization modes), FORMAT (values that are not
 * finite), NOMEM. */
bool weights_bind(struct weights **ret, const struct checkpoint *trunk, const struct checkpoint *head,
                  struct alula_error *e);
/* The same, but a head that is to be packed at load stays as it lies there: for whoever looks at a folder or
 * writes a new one from it. */
bool weights_bind_plain(struct weights **ret, const struct checkpoint *trunk, const struct checkpoint *head,
                        struct alula_error *e);
/* The trunk alone; tensors of a head are left aside unlooked at. */
bool weights_bind_trunk(struct weights **ret, const struct checkpoint *trunk, struct alula_error *e);
void weights_free(struct weights *w); /* NULL is fine */

#endif
