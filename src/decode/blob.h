/* blob.h - bytes that several hold: immutable once filled, counted, freed by the last. Must not know what
 * they are. */
#ifndef DECODE_BLOB_H
#define DECODE_BLOB_H

#include <stdatomic.h>
#include <stddef.h>

struct blob {
    atomic_int refs;
    atomic_size_t *used; /* where its size is counted until it is freed */
    size_t n;            /* bytes */
    unsigned char bytes[];
};
struct blob *blob_new(size_t n, atomic_size_t *used); /* one reference; NULL when memory is exhausted */
struct blob *blob_hold(struct blob *b);
void blob_free(struct blob *b); /* one reference; NULL is fine. Threads: any */

/* A part of a blob: elements from number `first` on. Cutting an edge copies nothing. */
struct view {
    struct blob *blob; /* or NULL */
    int first;
};

#endif
