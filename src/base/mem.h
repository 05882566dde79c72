/* mem.h - counted allocation and arenas.
 *
 * All of alula's memory comes from here, jansson's too (mem_setup), so that a test can prove that the token
 * loop allocates nothing and can make the n-th allocation fail. */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* malloc, calloc, realloc, free; NULL when memory is exhausted. Threads: any. */
void *mem_alloc(size_t n);
void *mem_zalloc(size_t count, size_t size); /* zeroed; the product is checked for overflow */
void *mem_realloc(void *p, size_t n);
char *mem_strdup(const char *s);
char *mem_strndup(const char *s, size_t n);
void mem_free(void *p);

/* Allocations (and reallocations) made since the program began. */
uint64_t mem_count(void);
/* Allocations that failed on this thread: tells "out of memory" from other failures of code that does not. */
uint64_t mem_refused(void);
/* Tests: let `n` more allocations succeed, then fail all of them; a negative n ends that. */
void mem_fail_after(int64_t n);
/* Routes jansson's allocations through this file. Idempotent; every entry point that parses JSON calls it. */
void mem_setup(void);

/* a*b and a+b with overflow check; false on overflow. */
static inline bool mem_mul(size_t a, size_t b, size_t *ret) { return !__builtin_mul_overflow(a, b, ret); }
static inline bool mem_add(size_t a, size_t b, size_t *ret) { return !__builtin_add_overflow(a, b, ret); }

/* An arena hands out memory that is freed all at once. Zeroed, aligned to 64 bytes. A zero-initialised struct
 * is an empty arena. Not thread-safe. Returns NULL when memory is exhausted or the ceiling is reached. */
struct arena {
    struct arena_block *blocks;
    size_t used;    /* bytes handed out so far */
    size_t ceiling; /* 0 = none */
};
void *arena_alloc(struct arena *a, size_t n);
void *arena_array(struct arena *a, size_t count, size_t size); /* checked product */
char *arena_strndup(struct arena *a, const char *s, size_t n);
void arena_free(struct arena *a);

/* Zero pages straight from the system, counted as one allocation; pages cost memory only once touched. */
void *mem_map(size_t n);
void mem_unmap(void *p, size_t n);

#endif
