/* draft_vocab.h - a part of the vocabulary to draft from, with a smaller LM head of its own.
 *
 * The LM head is most of what a draft costs. Drafting from the common tokens alone, or from rows packed
 * tighter, makes drafts cheap and some of them impossible or worse; the text stays exact, since q is
 * whatever the draft was drawn from. Immutable once made. */
#ifndef DECODE_DRAFT_VOCAB_H
#define DECODE_DRAFT_VOCAB_H

#include "base/err.h"
#include "kern/matrix.h"

struct draft_vocab {
    int32_t *ids; /* [n] ascending; row i of the head stands for ids[i] */
    int n;
    struct matrix head;
    uint32_t *held; /* one bit per id of the whole vocabulary */
    void *data, *scales, *biases;
};

/* Picks the rows of `ids` (in any order, twice is once) from lm_head. bits 0: as they are stored; else
 * packed affinely with that many bits, in groups of 64. Errors: USAGE (an id out of range, no id, bits),
 * UNSUPPORTED (a hidden size that does not divide into groups), FORMAT (weights that are not finite),
 * NOMEM. */
bool draft_vocab_create(struct draft_vocab **ret, const struct matrix *lm_head, const int32_t *ids, int n,
                        int bits, struct alula_error *e);
void draft_vocab_free(struct draft_vocab *v);

static inline bool draft_vocab_has(const struct draft_vocab *v, int32_t id)
{
    return v->held[id / 32] >> (id % 32) & 1;
}

#endif
