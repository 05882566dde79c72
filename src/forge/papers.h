/* papers.h - the files that go along with the weights: tokenizer, template, licences. */
#ifndef FORGE_PAPERS_H
#define FORGE_PAPERS_H

#include "base/err.h"
#include "forge/licence.h"

#define PAPERS_DONOR_SUFFIX ".mtp-donor"

/* A folder that gives something to the artifact, and what its model is called. */
struct papers_source {
    const char *dir, *id;
    struct licence
        licence; /* set by papers_carry: of the part that it gives, declared in its README.md or known by its text */
};

/* Copies the trunk's tokenizer, template, generation_config.json and licence files; the licence files of the
 * donor (dir NULL: the head is the trunk's own) with PAPERS_DONOR_SUFFIX behind their names; and writes
 * NOTICE: which file covers what, and both parents' notices. Errors: IO, LIMIT for a file of more than 256
 * MB, NOMEM. */
bool papers_carry(const char *out, struct papers_source *trunk, struct papers_source *donor,
                  struct alula_error *e);

/* "trunk", "mtp", or NULL for a name that papers_carry does not copy. */
const char *papers_origin(const char *name);

/* What the model of a folder is called: given if not NULL, else by the hub's mark in the folder, else the
 * folder's name. sha (cap 80): the revision that the mark says, else "". */
void papers_model_id(const char *given, const char *dir, char id[256], char sha[80]);

#endif
