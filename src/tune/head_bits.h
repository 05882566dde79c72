/* head_bits.h - an MTP head packed anew in memory, so that what its bits cost can be measured on one model. */
#ifndef TUNE_HEAD_BITS_H
#define TUNE_HEAD_BITS_H

#include "artifact/weights.h"
#include "base/pool.h"

struct head_bits {
    struct mtp_weights mtp; /* norms, router and shared expert's gate are the source's own */
    struct arena arena;
};

/* bits 16: BF16, else affine groups of 64 with so many bits; of whatever values the source decodes to, which
 * must outlive the copy. The pool's threads pack. Errors: UNSUPPORTED (a width that does not divide into
 * groups), FORMAT (values that are not finite), NOMEM. On failure nothing is to be freed. */
bool head_bits_create(struct head_bits *ret, const struct weights *w, int bits, struct pool *pool,
                      struct alula_error *e);
void head_bits_free(struct head_bits *h); /* zeroed is fine */

#endif
