/* vocab.c - tables of tokens and merges.
 *
 * Owns the two hash tables (open addressing, at most half full) and the sorted list of added tokens. Must not
 * know files. */
#include "text/vocab.h"

#include <stdlib.h>
#include <string.h>

static size_t hash_bytes(const char *bytes, size_t n)
{
    uint64_t h = 0x9e3779b97f4a7c15u ^ n;
    for (size_t i = 0; i < n; i++) h = (h ^ (unsigned char)bytes[i]) * 0x100000001b3u;
    return (size_t)(h ^ h >> 32);
}

static size_t hash_pair(uint32_t left, uint32_t right)
{
    uint64_t h = ((uint64_t)left << 32 | right) * 0x9e3779b97f4a7c15u;
    return (size_t)(h ^ h >> 32);
}

/* The smallest power of two that is at least twice n, minus one. */
static size_t table_mask(size_t n)
{
    size_t size = 16;
    while (size < 2 * n) size *= 2;
    return size - 1;
}

bool vocab_create(struct vocab *v, int count, size_t n_bytes, int n_merges, int n_added,
                  struct alula_error *e)
{
    memset(v, 0, sizeof *v);
    v->count = count;
    v->by_bytes_mask = table_mask((size_t)count);
    v->by_pair_mask = table_mask((size_t)n_merges);
    v->tokens = arena_array(&v->mem, (size_t)count, sizeof *v->tokens);
    v->blob = arena_alloc(&v->mem, n_bytes);
    v->by_bytes = arena_array(&v->mem, v->by_bytes_mask + 1, sizeof *v->by_bytes);
    v->by_pair = arena_array(&v->mem, v->by_pair_mask + 1, sizeof *v->by_pair);
    v->merge_ids = arena_array(&v->mem, (size_t)n_merges, sizeof *v->merge_ids);
    v->added = arena_array(&v->mem, (size_t)n_added, sizeof *v->added);
    if (!v->tokens || !v->blob || !v->by_bytes || !v->by_pair || !v->merge_ids || !v->added) {
        vocab_free(v);
        return err_set(e, ALULA_NOMEM, "out of memory for a vocabulary of %d tokens", count);
    }
    memset(v->by_bytes, 0xff, (v->by_bytes_mask + 1) * sizeof *v->by_bytes);
    memset(v->byte_ids, 0xff, sizeof v->byte_ids);
    for (size_t i = 0; i <= v->by_pair_mask; i++) v->by_pair[i].rank = VOCAB_NO_RANK;
    return true;
}

void vocab_free(struct vocab *v)
{
    arena_free(&v->mem);
    memset(v, 0, sizeof *v);
}

void vocab_add_token(struct vocab *v, int32_t id, const char *bytes, size_t n, bool added, bool special)
{
    char *copy = v->blob + v->blob_used;
    memcpy(copy, bytes, n);
    v->blob_used += n;
    v->tokens[id] = (struct vocab_token){copy, (uint32_t)n, added, special};
    if (added) {
        v->added[v->n_added++] = id;
        v->added_first[(unsigned char)bytes[0]] = true;
    }
}

/* The slot that holds the token with these bytes, or the free one where it belongs. */
static int32_t *bytes_slot(const struct vocab *v, const char *bytes, size_t n)
{
    size_t i = hash_bytes(bytes, n) & v->by_bytes_mask;
    for (;; i = (i + 1) & v->by_bytes_mask) {
        int32_t id = v->by_bytes[i];
        if (id < 0 || (v->tokens[id].len == n && memcmp(v->tokens[id].bytes, bytes, n) == 0))
            return &v->by_bytes[i];
    }
}

bool vocab_index_token(struct vocab *v, int32_t id)
{
    const struct vocab_token *t = &v->tokens[id];
    int32_t *slot = bytes_slot(v, t->bytes, t->len);
    if (*slot >= 0) return false;
    *slot = id;
    if (t->len == 1) v->byte_ids[(unsigned char)t->bytes[0]] = id;
    return true;
}

int32_t vocab_find(const struct vocab *v, const char *bytes, size_t n) { return *bytes_slot(v, bytes, n); }

static struct vocab_pair *pair_slot(const struct vocab *v, uint32_t left, uint32_t right)
{
    size_t i = hash_pair(left, right) & v->by_pair_mask;
    for (;; i = (i + 1) & v->by_pair_mask) {
        struct vocab_pair *p = &v->by_pair[i];
        if (p->rank == VOCAB_NO_RANK || (p->left == left && p->right == right)) return p;
    }
}

bool vocab_add_merge(struct vocab *v, int32_t left, int32_t right, int32_t made)
{
    struct vocab_pair *p = pair_slot(v, (uint32_t)left, (uint32_t)right);
    if (p->rank != VOCAB_NO_RANK) return false;
    *p = (struct vocab_pair){(uint32_t)left, (uint32_t)right, (uint32_t)v->n_merges};
    v->merge_ids[v->n_merges++] = made;
    return true;
}

uint32_t vocab_rank(const struct vocab *v, int32_t left, int32_t right)
{
    return pair_slot(v, (uint32_t)left, (uint32_t)right)->rank;
}

static int compare_bytes(const void *a, const void *b, void *tokens)
{
    const struct vocab_token *x = (const struct vocab_token *)tokens + *(const int32_t *)a;
    const struct vocab_token *y = (const struct vocab_token *)tokens + *(const int32_t *)b;
    int order = memcmp(x->bytes, y->bytes, x->len < y->len ? x->len : y->len);
    return order ? order : (x->len > y->len) - (x->len < y->len);
}

bool vocab_seal(struct vocab *v, int32_t *a, int32_t *b)
{
    qsort_r(v->added, (size_t)v->n_added, sizeof *v->added, compare_bytes, v->tokens);
    for (int i = 1; i < v->n_added; i++) {
        if (compare_bytes(&v->added[i - 1], &v->added[i], v->tokens) == 0) {
            *a = v->added[i - 1];
            *b = v->added[i];
            return false;
        }
    }
    return true;
}

/* The first index in added[lo..hi) whose byte k is at least c; all of these tokens agree before k, one that
 * ends there comes first. */
static int added_bound(const struct vocab *v, int lo, int hi, size_t k, int c)
{
    while (lo < hi) {
        int mid = (lo + hi) / 2;
        const struct vocab_token *t = &v->tokens[v->added[mid]];
        int byte = k < t->len ? (unsigned char)t->bytes[k] : -1;
        if (byte < c)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

int32_t vocab_match_added(const struct vocab *v, const char *text, size_t n)
{
    int32_t best = -1;
    if (n == 0 || !v->added_first[(unsigned char)text[0]]) return best;
    int lo = 0, hi = v->n_added;
    for (size_t k = 0; k < n; k++) {
        int c = (unsigned char)text[k];
        lo = added_bound(v, lo, hi, k, c);
        hi = added_bound(v, lo, hi, k, c + 1);
        if (lo == hi) break;
        if (v->tokens[v->added[lo]].len == k + 1) best = v->added[lo];
    }
    return best;
}
