/* constraint.h - one answer under a grammar, as a mask of a session. */
#ifndef DECODE_CONSTRAINT_H
#define DECODE_CONSTRAINT_H

#include "text/token_mask.h"

struct alula_grammar;

struct constraint {
    struct token_masks *masks;
    struct mask_cursor cursor;
    uint32_t *bits;
    struct alula_error error; /* code not OK: why the last mask is empty */
};

/* The grammar must outlive it; engine is the session's. Errors: USAGE (a grammar of another engine), NOMEM. */
bool constraint_create(struct constraint **ret, const struct alula_grammar *grammar,
                       const struct alula_engine *engine, struct alula_error *e);
void constraint_free(struct constraint *c);
/* A new answer begins. */
void constraint_reset(struct constraint *c);
/* See alula_session_options; arg is the constraint. */
const uint32_t *constraint_mask(void *arg, const int32_t *answer, size_t n);

#endif
