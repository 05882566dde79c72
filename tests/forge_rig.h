/* forge_rig.h - a forge with the usual choices, for tests of what comes out. */
#ifndef TESTS_FORGE_RIG_H
#define TESTS_FORGE_RIG_H

#include "forge/forge.h"
#include "tests/support.h"

static inline struct forge_options forge_usual(const char *trunk, const char *mtp, const char *out)
{
    return (struct forge_options){
        .trunk = trunk, .mtp = mtp, .out = out, .plan = {.bits = 4, .group = 64}, .n_threads = 2};
}

static inline void forge_ok(const struct forge_options *o)
{
    struct forge_report r;
    struct alula_error e = {0};
    assert_ok(forge_run(o, &r, &e), e);
}

/* The pair forged into out, which it returns. */
static inline const char *forge_pair(const char *trunk, const char *mtp, const char *out)
{
    struct forge_options o = forge_usual(trunk, mtp, out);
    forge_ok(&o);
    return out;
}

#endif
