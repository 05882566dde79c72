/* mem.c - allocation: counting, injected failures, arenas, zero pages.
 *
 * The only file that calls malloc. Knows nothing of what memory is used for. */
#include "base/mem.h"

#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static _Atomic uint64_t made;
static _Atomic int64_t allowance = -1;
static _Thread_local uint64_t refused;

/* Counts one allocation; false if a test wants it to fail. */
static bool admit(void)
{
    int64_t left = atomic_load_explicit(&allowance, memory_order_relaxed);
    while (left > 0)
        if (atomic_compare_exchange_weak(&allowance, &left, left - 1)) break;
    if (left == 0) return false;
    atomic_fetch_add_explicit(&made, 1, memory_order_relaxed);
    return true;
}

static void *noted(void *p)
{
    if (!p) refused++;
    return p;
}

/* Zero bytes become one, so that NULL always means failure. */
void *mem_alloc(size_t n) { return noted(admit() ? malloc(n ? n : 1) : NULL); }

void *mem_zalloc(size_t count, size_t size)
{
    size_t n;
    if (!mem_mul(count, size, &n)) return noted(NULL);
    return noted(admit() ? calloc(1, n ? n : 1) : NULL);
}

void *mem_realloc(void *p, size_t n) { return noted(admit() ? realloc(p, n ? n : 1) : NULL); }

char *mem_strndup(const char *s, size_t n)
{
    char *p = n < SIZE_MAX ? mem_alloc(n + 1) : NULL;
    if (!p) return NULL;
    if (n) memcpy(p, s, n);
    p[n] = '\0';
    return p;
}

char *mem_strdup(const char *s) { return mem_strndup(s, strlen(s)); }

void mem_free(void *p) { free(p); }

uint64_t mem_count(void) { return atomic_load(&made); }

uint64_t mem_refused(void) { return refused; }

void mem_fail_after(int64_t n) { atomic_store(&allowance, n < 0 ? -1 : n); }

static void route_jansson(void) { json_set_alloc_funcs(mem_alloc, mem_free); }

void mem_setup(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, route_jansson);
}

/* ---- arenas ---------------------------------------------------------------------------------- */

enum { ALIGN = 64, BLOCK_MIN = 4096, BLOCK_MAX = 4 << 20 };

/* The newest block, or the one with most room, stands first and is the only one that is filled further. */
struct arena_block {
    struct arena_block *next;
    char *data; /* aligned; [cap] bytes inside this allocation */
    size_t cap, used;
};

static struct arena_block *block_new(size_t cap)
{
    size_t bytes;
    if (!mem_add(cap, sizeof(struct arena_block) + ALIGN - 1, &bytes)) return NULL;
    struct arena_block *b = mem_zalloc(1, bytes);
    if (!b) return NULL;
    b->data = (char *)(((uintptr_t)(b + 1) + ALIGN - 1) & ~(uintptr_t)(ALIGN - 1));
    b->cap = cap;
    return b;
}

/* Blocks double up to BLOCK_MAX; a larger wish gets a block of its own size. */
static struct arena_block *block_for(struct arena *a, size_t n)
{
    struct arena_block *top = a->blocks;
    size_t cap = top && top->cap < BLOCK_MAX / 2 ? 2 * top->cap : top ? BLOCK_MAX : BLOCK_MIN;
    if (cap < BLOCK_MIN) cap = BLOCK_MIN;
    struct arena_block *b = block_new(n > cap ? n : cap);
    if (!b) return NULL;
    if (top && top->cap - top->used > b->cap - n) {
        b->next = top->next;
        top->next = b;
    } else {
        b->next = top;
        a->blocks = b;
    }
    return b;
}

void *arena_alloc(struct arena *a, size_t n)
{
    size_t total;
    if (n > SIZE_MAX - ALIGN) return NULL;
    n = n ? (n + ALIGN - 1) & ~(size_t)(ALIGN - 1) : ALIGN;
    if (!mem_add(a->used, n, &total) || (a->ceiling && total > a->ceiling)) return NULL;
    struct arena_block *b = a->blocks;
    if (!b || b->cap - b->used < n) b = block_for(a, n);
    if (!b) return NULL;
    void *p = b->data + b->used;
    b->used += n;
    a->used = total;
    return p;
}

void *arena_array(struct arena *a, size_t count, size_t size)
{
    size_t n;
    return mem_mul(count, size, &n) ? arena_alloc(a, n) : NULL;
}

char *arena_strndup(struct arena *a, const char *s, size_t n)
{
    char *p = n < SIZE_MAX ? arena_alloc(a, n + 1) : NULL;
    if (p && n) memcpy(p, s, n);
    return p;
}

void arena_free(struct arena *a)
{
    for (struct arena_block *b = a->blocks, *next; b; b = next) {
        next = b->next;
        mem_free(b);
    }
    a->blocks = NULL;
    a->used = 0;
}

/* ---- pages ----------------------------------------------------------------------------------- */

void *mem_map(size_t n)
{
    if (!admit()) return NULL;
    void *p =
        mmap(NULL, n ? n : 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

void mem_unmap(void *p, size_t n)
{
    if (p) munmap(p, n ? n : 1);
}
