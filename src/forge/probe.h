/* probe.h - says of a folder what it is and what can be done with it next. */
#ifndef FORGE_PROBE_H
#define FORGE_PROBE_H

#include "forge/survey.h"

/* In order: can be packed with the head it has; is an artifact already; a good body without a head; a head
 * without a body; is something that alula does not read; could not be read. */
enum probe_verdict {
    PROBE_FORGEABLE,
    PROBE_ALREADY_MTPLX,
    PROBE_NO_MTP_HEADS,
    PROBE_HEAD_ONLY,
    PROBE_UNSUPPORTED_SOURCE,
    PROBE_FAILED
};
const char *probe_verdict_name(enum probe_verdict v); /* "forgeable", as MTPLX spells those that it has */

struct advice {
    char why[320];      /* a sentence without its full stop */
    char command[2400]; /* to type, or "" */
};

#define PROBE_ADVICE_MAX 4

struct probe {
    const char *path; /* borrowed */
    enum probe_verdict verdict;
    struct alula_error problem; /* why a verdict is not good; code ALULA_OK if there is nothing to say */
    bool surveyed;              /* survey is filled */
    struct survey survey;
    struct advice next[PROBE_ADVICE_MAX];
    int n_next;
};

/* Never fails: what is wrong stands in *ret. */
void probe_path(struct probe *ret, const char *path);
void probe_free(struct probe *p);

/* A body without a head and a head that is found elsewhere. */
struct probe_pair {
    const struct probe *trunk, *donor; /* borrowed */
    struct alula_error problem;        /* why they do not fit; ALULA_OK if they do */
    struct advice next;                /* if they do */
};
/* Tries every such pair. *ret[*ret_n]: mem_free. Errors: NOMEM. */
bool probe_pairs(struct probe_pair **ret, size_t *ret_n, const struct probe *probes, size_t n,
                 struct alula_error *e);

/* {"folders": [...], "pairs": [...]} indented by two. */
bool probe_write_json(struct buf *out, const struct probe *probes, size_t n, const struct probe_pair *pairs,
                      size_t n_pairs, struct alula_error *e);

#endif
