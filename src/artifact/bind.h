/* bind.h - one part of a checkpoint (trunk or head) as a table of names, out of which modules are taken.
 *
 * Internal to weights.c and head.c. Every take marks its tensors as used; what is missing or mis-shaped is
 * collected, and bind_finish reports all of it together with what is left over. */
#ifndef ARTIFACT_BIND_H
#define ARTIFACT_BIND_H

#include "artifact/layout.h"
#include "artifact/weights.h"

struct bind_name;

/* A list of names for a message: the first few and how many there are. */
struct bind_list {
    size_t n;
    char text[280];
};

struct binder {
    const struct checkpoint *cp;
    enum tensor_part part;
    struct arena *arena;
    struct bind_name *names; /* [n], sorted by key */
    size_t n;
    char prefix[64]; /* what stands before the keys in this folder, for messages */
    bool add_one;    /* the norms of this set are zero-centred */
    struct bind_list missing, shapes;
    struct alula_error *e; /* the first fatal error, when failed */
    bool failed;
};

/* Lists the tensors of a part. Two spellings of one name are an error. */
bool bind_begin(struct binder *b, const struct checkpoint *cp, enum tensor_part part, struct arena *arena,
                struct alula_error *e);
/* True if nothing failed, nothing is missing, mis-shaped or left over. */
bool bind_finish(struct binder *b);
void bind_end(struct binder *b);

/* Names are `at` ("layers.3.") and a module or tensor behind it. */
bool bind_has(const struct binder *b, const char *at, const char *name);
/* Is there any tensor whose name begins so? */
bool bind_has_any(const struct binder *b, const char *at, const char *name);
/* The tensor without marking it, or NULL. */
const struct tensor *bind_peek(const struct binder *b, const char *at, const char *name);

/* [n] values. norm: 1 is added if the set is zero-centred, and a gain of zeros is refused. */
void bind_vector(struct binder *b, struct vector *v, uint64_t n, bool norm, const char *at, const char *name);
/* conv1d's [channels][taps], whichever of the two axes behind the channels is 1. */
void bind_conv(struct binder *b, struct vector *v, uint64_t channels, uint64_t taps, const char *at,
               const char *name);
/* Module's weight as [rows][cols], plain or packed. */
void bind_matrix(struct binder *b, struct matrix *m, uint64_t rows, uint64_t cols, const char *at,
                 const char *module);
/* A module of n_stack equal matrices [rows][cols], as one matrix of n_stack*rows rows. */
void bind_stack(struct binder *b, struct matrix *m, uint64_t n_stack, uint64_t rows, uint64_t cols,
                const char *at, const char *module);
/* Rows [begin, begin+rows) of a matrix. */
struct matrix bind_slice(const struct matrix *m, uint32_t begin, uint32_t rows);

#endif
