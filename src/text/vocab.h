/* vocab.h - the tables behind a tokenizer: bytes of ids, ids of bytes, ranks of merges, added tokens.
 * Internal to text/.
 *
 * Built once through vocab_create and the vocab_add functions, then immutable and read by any number of
 * threads. */
#ifndef TEXT_VOCAB_H
#define TEXT_VOCAB_H

#include "base/err.h"
#include "base/mem.h"

#define VOCAB_NO_RANK UINT32_MAX

struct vocab_token {
    const char *bytes; /* NULL: the id belongs to no token */
    uint32_t len;
    bool added, special;
};

struct vocab_pair {
    uint32_t left, right;
    uint32_t rank; /* VOCAB_NO_RANK: the slot is free */
};

struct vocab {
    struct arena mem;
    int count; /* ids run from 0 to count-1 */
    struct vocab_token *tokens;
    char *blob; /* the bytes of all tokens */
    size_t blob_used;
    int32_t *by_bytes; /* hash table over base tokens: ids, -1 = free */
    size_t by_bytes_mask;
    struct vocab_pair *by_pair; /* hash table over merges */
    size_t by_pair_mask;
    int32_t *merge_ids; /* [n_merges] what a merge makes, by rank */
    int n_merges;
    int32_t byte_ids[256]; /* the base token of each single byte, -1 = none */
    int32_t *added;        /* [n_added] ids, ordered by bytes after vocab_seal */
    int n_added;
    bool added_first[256]; /* bytes that an added token begins with */
};

/* Room for ids 0..count-1, n_bytes bytes of tokens in all, n_merges merges, n_added added tokens. */
bool vocab_create(struct vocab *v, int count, size_t n_bytes, int n_merges, int n_added,
                  struct alula_error *e);
void vocab_free(struct vocab *v);

/* Each stores one more; the caller has checked that the id is in range and unused, and that there is room. */
void vocab_add_token(struct vocab *v, int32_t id, const char *bytes, size_t n, bool added, bool special);
/* Makes a stored token known by its bytes, as what merges start from and lead to. False: another one has
 * these bytes. */
bool vocab_index_token(struct vocab *v, int32_t id);
/* The next merge in rank. False: this pair has a rank already. */
bool vocab_add_merge(struct vocab *v, int32_t left, int32_t right, int32_t made);
/* Call once, when all added tokens are in. False: two of them have the same bytes; *a and *b are their ids.
 */
bool vocab_seal(struct vocab *v, int32_t *a, int32_t *b);

/* The base token with these bytes, or -1. */
int32_t vocab_find(const struct vocab *v, const char *bytes, size_t n);
/* The rank of merging left with right, or VOCAB_NO_RANK. */
uint32_t vocab_rank(const struct vocab *v, int32_t left, int32_t right);
/* The longest added token that text begins with, or -1. */
int32_t vocab_match_added(const struct vocab *v, const char *text, size_t n);

#endif
