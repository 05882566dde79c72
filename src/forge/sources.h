/* sources.h - what a forge starts from: both models opened and bound, their names, and the plan. */
#ifndef FORGE_SOURCES_H
#define FORGE_SOURCES_H

#include "forge/forge.h"

struct sources {
    struct checkpoint *trunk, *head; /* head NULL: the trunk's own */
    struct weights *weights;
    struct plan plan;
    char trunk_id[256], mtp_id[256], trunk_sha[80];
};

/* o must outlive it. Errors: those of checkpoint_open, weights_bind and plan_make; NOT_FOUND if there is no head. */
bool sources_open(struct sources *ret, const struct forge_options *o, struct alula_error *e);
void sources_close(struct sources *s);

#endif
