/* stamp.h - the JSON files of an artifact: config.json, the index, the contract, the recipe, the sums.
 *
 * None holds a time or a path of this machine, so the same weights and the same recipe give the same bytes.
 * What is measured later (forge verify) goes into mtplx_runtime.json and README.md, which is why the sums
 * leave these two out. */
#ifndef FORGE_STAMP_H
#define FORGE_STAMP_H

#include "base/pool.h"
#include "forge/licence.h"
#include "forge/plan.h"
#include "forge/watch.h"

#define STAMP_SIDECAR    "mtp.safetensors"
#define STAMP_PROVENANCE "alula_provenance.json"

struct stamp {
    const char *dir; /* the artifact, its weights written */
    const struct checkpoint *trunk;
    const struct plan *plan;
    const struct plan_options *options;
    const char *trunk_id, *mtp_id; /* what the models are called */
    const char *trunk_sha;         /* revision of the trunk, or "" */
    struct licence trunk_licence, mtp_licence;
    bool grafted; /* the head is of another model */
};

/* config.json: the trunk's, keys sorted at the top level, without vision, with quantization as mlx-lm writes
 * it, the keys by which MTPLX finds the head, and the audit of the sidecar's payload. FORMAT if that finds
 * nothing but zeros. */
bool stamp_config(const struct stamp *s, struct alula_error *e);
/* model.safetensors.index.json */
bool stamp_index(const struct stamp *s, struct alula_error *e);
/* mtplx_runtime.json, with every required key and a status that says: not verified yet. */
bool stamp_runtime(const struct stamp *s, struct alula_error *e);
/* alula_recipe.json */
bool stamp_recipe(const struct stamp *s, struct alula_error *e);
/* alula_provenance.json: the parents and their licences ("" = nothing known); SHA-256, size and origin of
 * every file in the folder but itself and the two that verify rewrites. Reads all of it, a file a thread.
 * copied_from: for a name, "trunk", "mtp" or NULL if it was made here. */
bool stamp_provenance(const struct stamp *s, struct pool *pool, const struct watch *watch,
                      const char *(*copied_from)(const char *name), struct alula_error *e);

#endif
