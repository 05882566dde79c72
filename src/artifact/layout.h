/* layout.h - the prefixes under which one and the same tensor is known, by who wrote the file. */
#ifndef ARTIFACT_LAYOUT_H
#define ARTIFACT_LAYOUT_H

enum tensor_part {
    PART_TRUNK,
    PART_HEAD,   /* the MTP layer */
    PART_VISION, /* not computed with; left aside */
    PART_UNKNOWN
};

/* Which part a tensor belongs to. *ret_key is its name inside the part, a tail of name:
 * "layers.0.mlp.gate.weight", "norm.weight", "lm_head.weight" in the trunk, "fc.weight",
 * "layers.0.mlp.gate.weight" in the head. */
enum tensor_part layout_part(const char *name, const char **ret_key);

/* The prefixes of a part's names, NULL-terminated. */
const char *const *layout_prefixes(enum tensor_part part);

#endif
