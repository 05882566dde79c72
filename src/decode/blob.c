/* blob.c - shared bytes, by reference count; see blob.h. */
#include "decode/blob.h"

#include "base/mem.h"

/* Large ones come straight from the system and go back to it at once. */
enum { MAP_MIN = 64 << 10 };

struct blob *blob_new(size_t n, atomic_size_t *used)
{
    size_t bytes;
    if (!mem_add(n, sizeof(struct blob), &bytes)) return NULL;
    struct blob *b = bytes < MAP_MIN ? mem_alloc(bytes) : mem_map(bytes);
    if (!b) return NULL;
    atomic_init(&b->refs, 1);
    b->used = used;
    b->n = n;
    atomic_fetch_add(used, bytes);
    return b;
}

struct blob *blob_hold(struct blob *b)
{
    if (b) atomic_fetch_add(&b->refs, 1);
    return b;
}

void blob_free(struct blob *b)
{
    if (!b || atomic_fetch_sub(&b->refs, 1) > 1) return;
    size_t bytes = b->n + sizeof *b;
    atomic_fetch_sub(b->used, bytes);
    if (bytes < MAP_MIN)
        mem_free(b);
    else
        mem_unmap(b, bytes);
}
