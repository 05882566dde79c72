/* record.h - what tune found, kept in the user's state folder: one JSON file, tune.json.
 *
 * A record counts for one artifact, machine and build; another one's is as if it were not there. */
#ifndef TUNE_RECORD_H
#define TUNE_RECORD_H

#include "base/json.h"
#include "base/sha256.h"
#include "tune/verdict.h"

#define TUNE_RECORD_FILE "tune.json"

struct tune_key {
    char key[SHA256_HEX];         /* of all below, and the build */
    char fingerprint[SHA256_HEX]; /* of the artifact, wherever it lies */
    char cpu[128];                /* "" if the system does not tell */
    int n_threads;
};
/* Reads the JSON files of the model folder and samples of its tensor files; takes a second at most.
 * n_threads 0 = the CPUs that this process may use. Errors: IO, NOT_FOUND, LIMIT. */
bool tune_key_make(struct tune_key *ret, const char *dir, int n_threads, struct alula_error *e);

struct tune_record {
    enum tune_verdict verdict;
    int depth;          /* of the winner; 0 if there is none */
    double multiplier;  /* of the winner; 0 */
    int draft_vocab;    /* ids that drafts should come from, for alula_engine_options; 0 = all */
    int draft_bits;     /* what those are packed with; 0 = as stored */
    int32_t *draft_ids; /* [draft_vocab] these, counted in a text; NULL = the first ones */
    double coverage, acceptance,
        acceptance_whole; /* with those, share of tokens that are among them and of first drafts
                                                    * kept; and kept with all. 0 if draft_vocab is 0 */
    bool busy;            /* measured by force on a busy machine: a loss may be the machine's */
    char saved_at[32];    /* "2026-11-24T08:00:00Z" */
};
/* What it points to; the struct is the caller's. */
void tune_record_free(struct tune_record *r);
/* *ret_found false, and no error, if nothing is recorded for the key. Errors: FORMAT if the file is damaged,
 * LIMIT, IO; the message names it. */
bool tune_record_find(const char *state_dir, const struct tune_key *key, struct tune_record *ret,
                      bool *ret_found, struct alula_error *e);

/* Adds or replaces; makes the folder if it is not there; drops records of other builds. payload:
 * tune_to_json's. Whole or not at all. Errors: those of tune_record_find; a damaged file is left as it is. */
bool tune_record_save(const char *state_dir, const struct tune_key *key, const json_t *payload,
                      struct alula_error *e);

#endif
