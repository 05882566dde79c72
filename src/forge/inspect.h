/* inspect.h - the verdict on an artifact, in MTPLX's words: tier, exit code, what it can run as, and why.
 *
 * The same verdict as MTPLX's where MTPLX looks; where it looks at names only (shapes, cut files, an absent
 * body, norms of zeros) the verdict here is the stricter one. */
#ifndef FORGE_INSPECT_H
#define FORGE_INSPECT_H

#include "artifact/contract.h"
#include "forge/probe.h"

enum tier {
    TIER_VERIFIED,
    TIER_FAMILY,  /* a complete head, no contract */
    TIER_AR_ONLY, /* plain decoding, by a contract for an architecture whose head nobody here drafts with */
    TIER_NO_MTP,  /* not of the family, and no head */
    TIER_UNVERIFIED,  /* of the family, but something is missing, wrong or not measured */
    TIER_INCOMPATIBLE /* cannot be run */
};
const char *tier_name(enum tier t);
int tier_exit_code(enum tier t); /* 0 0 0 2 3 4 */

#define INSPECT_ADVICE_MAX 3

struct inspection {
    const char *path; /* borrowed */
    struct survey survey;
    struct runtime_contract contract;
    struct alula_error contract_problem; /* a word in it that alula does not know; ALULA_OK = none */
    enum tier tier;
    const char *runtime_compatibility, *support_level; /* MTPLX's words */
    const char *mtp_supported;                         /* yes, partial, no */
    char arch_id[64];
    const char *backend, *profile; /* recommended ones, or NULL */
    bool can_run;                  /* at least plain decoding */
    bool recognized, supported, unverified;
    bool gate;          /* the head is complete and fits */
    char message[1200]; /* what is right or wrong: a sentence */
    struct advice next[INSPECT_ADVICE_MAX];
    int n_next;
};

/* Errors: those of survey_open; FORMAT if config.json is no JSON. A bad artifact is no error: its verdict is
 * in *ret. */
bool inspect_open(struct inspection *ret, const char *path, struct alula_error *e);
void inspect_close(struct inspection *i);

/* One object with MTPLX's keys, indented by two. */
bool inspect_write_json(struct buf *out, const struct inspection *i, struct alula_error *e);

#endif
