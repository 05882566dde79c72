/* head.h - what is peculiar to the MTP head: norm convention, fit with the trunk, packing at load.
 *
 * Internal to weights.c. */
#ifndef ARTIFACT_HEAD_H
#define ARTIFACT_HEAD_H

#include "artifact/bind.h"

/* Does the trunk of this folder lie as Hugging Face wrote it (conv1d not transposed; norms zero-centred)?
 * *ret_known is false when no conv1d is there. Both forms in one folder are an error. */
bool trunk_is_raw(const struct checkpoint *cp, bool *ret_raw, bool *ret_known, struct alula_error *e);

/* Binds the head. config: the trunk's. pack: as the folder asks (mtplx_mtp_quantization). */
bool head_bind(struct mtp_weights *ret, const struct config *config, const struct checkpoint *cp, bool own,
               bool pack, struct arena *arena, struct alula_error *e);

/* Shared with the trunk: the norms, the attention or delta net and the MLP of one layer. at: "layers.3." */
void bind_layer(struct binder *b, struct layer_weights *l, const struct config *c, enum layer_type type,
                enum mlp_type mlp, const char *at);

#endif
