/* headset.h - which tensors an MTP head is made of, and whether a folder's are exactly those.
 *
 * The gate of MTPLX: names and their number. Shapes and values are weights_bind's business. Sets, for E
 * experts: 15 tensors (dense), 19 (experts fused), 20 (one tensor per projection, "switch"), 17+3E (experts
 * numbered; 785 for 256); a packed module has three tensors in place of one. */
#ifndef FORGE_HEADSET_H
#define FORGE_HEADSET_H

#include "artifact/checkpoint.h"

enum head_layout { HEAD_DENSE, HEAD_FUSED, HEAD_SWITCH, HEAD_NUMBERED };

struct head_set {
    enum head_layout layout; /* of the experts */
    bool packed;             /* some module has scales or biases */
    size_t n_tensors, n_expected;
    const struct tensor **tensors; /* [n_tensors] the head's, by name */
    const char **missing, **extra; /* [n_missing], [n_extra] names that begin with "mtp." */
    size_t n_missing, n_extra;
    bool passes; /* there is a head, nothing is missing, nothing is left over */
    struct arena arena;
};

/* n_experts: of the model, 0 if it is dense; -1 if no config says, then the tensors do. Errors: NOMEM. */
bool head_set_read(struct head_set *ret, const struct checkpoint *cp, int n_experts, struct alula_error *e);
void head_set_free(struct head_set *s);

/* The word for it in artifacts: "bf16-qwen-moe-switch-mlx", .... MTPLX says bf16 of any plain experts. */
const char *head_set_format(const struct head_set *s);
/* "fused experts", ... */
const char *head_layout_name(enum head_layout layout);

/* A tensor's name as "mtp. ..." whatever its prefix; a tail of it into out. Returns out. */
const char *head_set_name(const struct tensor *t, char *out, size_t cap);

#endif
