/* stamp.h - the JSON files of an artifact: config.json and the index of its shards. */
#ifndef FORGE_STAMP_H
#define FORGE_STAMP_H

#include "forge/plan.h"

#define STAMP_SIDECAR "mtp.safetensors"

/* config.json of the artifact: the trunk's, keys sorted at the top level, without vision, with quantization as mlx-lm writes it and with
 * the keys by which MTPLX finds the head. */
bool stamp_config(const char *dir, const struct checkpoint *trunk, const struct plan *plan, const struct plan_options *o,
                  struct alula_error *e);
/* model.safetensors.index.json */
bool stamp_index(const char *dir, const struct plan *plan, struct alula_error *e);

#endif
