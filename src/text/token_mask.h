/* token_mask.h - which tokens may follow, by a grammar.
 *
 * Tokens cross the borders of the grammar's elements as they like; what counts is the text. One exception: where
 * the grammar leaves one way for the next bytes, they are to be written in the tokens that the tokenizer makes of
 * them. A model has seen no other, and a place with one token needs no model at all.
 *
 * What was found for a place is kept: warm, a mask costs copying it. Cold, the vocabulary's tree is walked, once for
 * each state of the grammar, whatever the stack: of a token that leaves a rule only the rest is tried on the stack. */
#ifndef TEXT_TOKEN_MASK_H
#define TEXT_TOKEN_MASK_H

#include "text/grammar.h"
#include "text/token_trie.h"

struct token_masks;

/* Takes over the sealed grammar, also on failure. stop_ids [n]: allowed where the text is complete, and after one of
 * them nothing but them. Tokenizer and tree must outlive it. Errors: NOMEM. */
bool token_masks_create(struct token_masks **ret, struct grammar *g, const struct tokenizer *tokenizer,
                        const struct token_trie *trie, int vocab, const int32_t *stop_ids, int n_stop_ids,
                        struct alula_error *e);
void token_masks_free(struct token_masks *m);

/* Where one answer stands. Zero: at its beginning. Remembers the last few places, so that drafts may be taken back;
 * tokens from before these may not change. */
#define MASK_CURSOR_BACK 15
struct mask_cursor {
    uint64_t generation;
    size_t first, n; /* places held are those after so many tokens */
    struct {
        int32_t id, place;      /* the i-th token, and the place behind it */
    } at[MASK_CURSOR_BACK + 1]; /* [i % 16] */
};

/* After the n tokens of an answer: sets one bit for each id that may follow (id i is bit i%32 of word i/32, (vocab+31)/32
 * words), none if these tokens are no beginning of a text, nor if it fails. Allocates at places where nobody was before.
 * Errors: LIMIT (there are too many ways to read this text), NOMEM. Threads: any, each with its own cursor. */
bool token_masks_after(struct token_masks *m, struct mask_cursor *c, const int32_t *answer, size_t n,
                       uint32_t *bits, struct alula_error *e);

#endif
