/* bpe.h - merges the bytes of one piece into tokens. Internal to text/. */
#ifndef TEXT_BPE_H
#define TEXT_BPE_H

#include "base/buf.h"
#include "text/vocab.h"

/* Scratch memory that is used again from piece to piece; zero-initialised is empty. */
struct bpe_work {
    struct bpe_node *nodes;
    uint64_t *heap;
    size_t cap; /* bytes of the longest piece that fits */
};
void bpe_work_free(struct bpe_work *w);

/* Appends the ids (int32) of a piece of 1 to INT32_MAX bytes to ids. Time n log n in the piece's length.
 * Every byte that occurs has a token of its own in v. */
bool bpe_encode(const struct vocab *v, struct bpe_work *w, const char *piece, size_t n, struct buf *ids,
                struct alula_error *e);

#endif
