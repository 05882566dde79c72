/* drift.h - how far a trunk has moved from the one that a head was trained with.
 *
 * Describes weights, nothing else. A head fits less well the further the trunk has moved, but how much less
 * is not computed from this: calibrate and verify measure it. */
#ifndef FORGE_DRIFT_H
#define FORGE_DRIFT_H

#include <jansson.h>
#include "artifact/weights.h"
#include "base/pool.h"
#include "forge/watch.h"
#include "text/tokenizer.h"

#define DRIFT_ROWS 16 /* embedding rows that are named */

enum drift_class {
    DRIFT_EMBEDDING,
    DRIFT_LM_HEAD,
    DRIFT_FINAL_NORM,
    DRIFT_NORMS,     /* of a layer: before mixer and MLP */
    DRIFT_ATTENTION, /* q k v o and their norms */
    DRIFT_DELTANET,
    DRIFT_ROUTER, /* and the shared expert's gate */
    DRIFT_EXPERTS,
    DRIFT_SHARED_EXPERT, /* or a dense MLP */
    DRIFT_CLASSES
};

/* ||a-b|| / ||b|| and the cosine of the angle between a (the trunk) and b (the donor), over all values of the
 * class in one layer. */
struct drift_entry {
    enum drift_class class;
    int layer; /* -1 = not of a layer */
    uint64_t values;
    double change, cosine;
    bool identical;   /* every value is equal */
    bool dequantized; /* one side is packed, or both differently: part of the change is rounding */
};

struct drift_row {
    int32_t token;
    double change;
    char text[48]; /* of the token, for people; filled by drift_name_rows */
};

struct drift {
    struct drift_entry *entries; /* [n], in the model's order */
    size_t n;
    double median_change, max_change, min_cosine; /* over entries; max and min are of n_worst */
    size_t worst;                                 /* index of the largest change */
    struct drift_row rows[DRIFT_ROWS]; /* embedding rows by falling change, none that did not move */
    int n_rows;
    int64_t rows_moved, rows_total; /* rows that changed at all */
    int64_t rows_far;               /* rows that changed ten times as much as the median row that moved */
};

/* Both bound, trunk and donor. Refuses with MISMATCH if their dimensions differ, naming each. Memory: a block
 * of rows a thread, and 4 bytes for each row of the embedding; pages of files are given back. The result does
 * not depend on the number of threads. */
bool drift_run(struct drift *ret, const struct weights *trunk, const struct weights *donor, struct pool *pool,
               const struct watch *watch, struct alula_error *e);
void drift_free(struct drift *d);

const char *drift_class_name(enum drift_class c);
/* Fills in the texts of the moved rows, cut to what fits; what is no character is U+FFFD. */
void drift_name_rows(struct drift *d, const struct tokenizer *tokenizer);
/* NULL when out of memory. */
json_t *drift_json(const struct drift *d);

#endif
