/* verify_parts.h - the measurements that a verification consists of, one file each; verify.c's and tests'. */
#ifndef FORGE_VERIFY_PARTS_H
#define FORGE_VERIFY_PARTS_H

#include "forge/verify.h"

/* verify_texts.c: answers by sessions at every depth. ids: the text, cut into n_prompts stretches. */
bool verify_texts(struct verify_texts *ret, const struct alula_engine *engine, const int32_t *ids,
                  size_t n_ids, int n_prompts, int max_tokens, int n_threads, const struct watch *watch,
                  struct alula_error *e);
/* The verdict of MTPLX for these figures, and the depth that won (0 = none). */
const char *verify_texts_verdict(const struct verify_texts *t, int *ret_best_depth);

/* verify_heads.c: the artifact's head, and the source's beside it if source has one (else NULL), by one
 * contract. Draft steps are timed in turn, so that a machine that slows down slows both. */
bool verify_heads(struct verify *ret, const struct weights *packed, const struct weights *source,
                  const struct mtp_contract *contract, const struct teacher *teacher, struct pool *pool,
                  const struct watch *watch, struct alula_error *e);

/* verify_body.c: the packed body against its source's folder; sets why_not and succeeds if that is too large
 * for the memory or does not fit. */
bool verify_body(struct verify_body *ret, const struct checkpoint *artifact, const struct weights *packed,
                 const char *source_dir, const struct teacher *teacher, struct pool *pool,
                 const struct watch *watch, struct alula_error *e);

#endif
