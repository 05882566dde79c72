/* bpe.c - byte pair encoding of one piece.
 *
 * Owns the order of merges: always the pair of the lowest rank, among equals the leftmost. The symbols are a
 * linked list in an array; a binary heap holds candidates as rank << 32 | place, and one that the list has
 * outrun is skipped when it comes up. So a piece of a million letters costs n log n. Must not know how text
 * is cut into pieces. */
#include "text/bpe.h"

#include <stdlib.h>

struct bpe_node {
    int32_t id;
    int32_t prev, next; /* -1 at the ends */
    uint32_t rank;      /* of merging with next; VOCAB_NO_RANK also once this node is merged away */
};

void bpe_work_free(struct bpe_work *w)
{
    mem_free(w->nodes);
    mem_free(w->heap);
    *w = (struct bpe_work){0};
}

static bool work_reserve(struct bpe_work *w, size_t n, struct alula_error *e)
{
    if (n <= w->cap) return true;
    size_t cap = n < 128 ? 256 : 2 * n;
    bpe_work_free(w);
    /* At most n-1 candidates at first; each merge takes one out and puts two in, and there are fewer than n
     * merges. */
    w->nodes = mem_alloc(cap * sizeof *w->nodes);
    w->heap = mem_alloc(2 * cap * sizeof *w->heap);
    if (!w->nodes || !w->heap) {
        bpe_work_free(w);
        return err_set(e, ALULA_NOMEM, "out of memory while merging a piece of %zu bytes", n);
    }
    w->cap = cap;
    return true;
}

static void heap_push(uint64_t *heap, size_t *n, uint64_t key)
{
    size_t i = (*n)++;
    for (; i > 0 && heap[(i - 1) / 2] > key; i = (i - 1) / 2) heap[i] = heap[(i - 1) / 2];
    heap[i] = key;
}

static uint64_t heap_pop(uint64_t *heap, size_t *n)
{
    uint64_t top = heap[0], key = heap[--*n];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < *n; i = child) {
        if (child + 1 < *n && heap[child + 1] < heap[child]) child++;
        if (heap[child] >= key) break;
        heap[i] = heap[child];
    }
    heap[i] = key;
    return top;
}

/* Looks up what node i makes with its next one and enters it as a candidate. */
static void node_offer(const struct vocab *v, struct bpe_work *w, int32_t i, size_t *n_heap)
{
    struct bpe_node *node = &w->nodes[i];
    node->rank = node->next < 0 ? VOCAB_NO_RANK : vocab_rank(v, node->id, w->nodes[node->next].id);
    if (node->rank != VOCAB_NO_RANK) heap_push(w->heap, n_heap, (uint64_t)node->rank << 32 | (uint32_t)i);
}

bool bpe_encode(const struct vocab *v, struct bpe_work *w, const char *piece, size_t n, struct buf *ids,
                struct alula_error *e)
{
    if (!work_reserve(w, n, e)) return false;
    struct bpe_node *nodes = w->nodes;
    size_t n_heap = 0;
    for (size_t i = 0; i < n; i++) {
        nodes[i].id = v->byte_ids[(unsigned char)piece[i]];
        nodes[i].prev = (int32_t)i - 1;
        nodes[i].next = i + 1 < n ? (int32_t)i + 1 : -1;
    }
    for (size_t i = 0; i < n; i++) node_offer(v, w, (int32_t)i, &n_heap);
    while (n_heap > 0) {
        uint64_t key = heap_pop(w->heap, &n_heap);
        int32_t at = (int32_t)(uint32_t)key;
        struct bpe_node *left = &nodes[at];
        if (left->rank != key >> 32) continue;
        struct bpe_node *right = &nodes[left->next];
        left->id = v->merge_ids[left->rank];
        left->next = right->next;
        right->rank = VOCAB_NO_RANK;
        if (left->next >= 0) nodes[left->next].prev = at;
        node_offer(v, w, at, &n_heap);
        if (left->prev >= 0) node_offer(v, w, left->prev, &n_heap);
    }
    for (int32_t i = 0; i >= 0; i = nodes[i].next) buf_add(ids, &nodes[i].id, sizeof nodes[i].id);
    return true;
}
