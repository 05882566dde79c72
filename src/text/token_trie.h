/* token_trie.h - the tokens of a vocabulary as one tree of their bytes, to try many of them at once. Internal
 * to text/ but for its lifetime, which is the engine's. Immutable once built; any number of threads. */
#ifndef TEXT_TOKEN_TRIE_H
#define TEXT_TOKEN_TRIE_H

#include "text/tokenizer.h"

/* Nodes lie in the order of their texts: behind a node come those that it begins, up to `end`. */
struct trie_node {
    int32_t id;     /* of the token that is complete here, -1 = none */
    uint32_t end;   /* the first node that this one does not begin */
    uint16_t depth; /* bytes, 1 or more */
    uint8_t byte;
};

struct token_trie {
    struct trie_node *nodes;
    uint32_t n;
    int depth_max;
};

/* Of the tokens with ids below `vocab` that stand for text: added ones do not. Errors: NOMEM. */
bool token_trie_create(struct token_trie *t, const struct tokenizer *tokenizer, int vocab,
                       struct alula_error *e);
void token_trie_free(struct token_trie *t);

#endif
