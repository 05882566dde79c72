/* cache_file.h - one file of the prompt cache: the rows of tokens [first, end) of a prefix and the snapshot behind
 * them. It holds the ids of the whole prefix, so that it says by itself where it belongs.
 *
 * Nothing in a file is trusted. Its head, ids and checksums are checked when it is opened, and each block of its
 * content whenever it is read; only the blocks that are asked for are. */
#ifndef DECODE_CACHE_FILE_H
#define DECODE_CACHE_FILE_H

#include <stdatomic.h>
#include <time.h>

#include "base/sha256.h"
#include "decode/blob.h"

/* What files must be of, to be of use here. [1]: with what feeds the head. */
struct cache_shape {
    char identity[SHA256_HEX]; /* of weights, mode, contract and format */
    size_t row_bytes[2], snapshot_bytes[2];
    int max_tokens;
};

enum cache_status { CACHE_QUEUED, CACHE_WRITTEN, CACHE_GONE };

#define CACHE_SUFFIX ".prefix"

struct cache_file {
    atomic_int refs;
    atomic_int status;       /* enum cache_status; GONE is for ever */
    struct cache_file *next; /* in the list of the disk that owns it */
    char name[40];           /* inside the folder */
    int first, end;
    bool head;
    size_t n_sums;
    uint64_t sums[]; /* of blocks of rows and snapshot, which lie behind each other */
};

/* One reference; NULL when memory is exhausted. */
struct cache_file *cache_file_new(const struct cache_shape *shape, int first, int end, bool head);
struct cache_file *cache_file_hold(struct cache_file *f);
void cache_file_free(struct cache_file *f); /* one reference; NULL is fine. Threads: any */
uint64_t cache_file_bytes(const struct cache_shape *shape, const struct cache_file *f);

/* A part of a prefix, in order from token 0 on; rows.blob NULL: before the file's first token. */
struct cache_part {
    struct view ids, rows;
    int n;
};
/* Writes the file into the folder, whole or not at all, under a name that its content decides, with `when` as its
 * time. Sets its name and checksums. */
bool cache_file_write(struct cache_file *f, const struct cache_shape *shape, const char *dir,
                      const struct cache_part *parts, int n_parts, const struct blob *snapshot,
                      struct timespec when, struct alula_error *e);
/* *ret: one reference, WRITTEN. *ret_ids [end] is freed with mem_free. Errors: MISMATCH (a whole file, but another
 * model's or version's), FORMAT (damaged), NOT_FOUND, IO, NOMEM. */
bool cache_file_open(struct cache_file **ret, int32_t **ret_ids, const struct cache_shape *shape,
                     const char *dir, const char *name, struct alula_error *e);
/* Rows of tokens [first + at, first + at + n). */
bool cache_file_rows(const struct cache_file *f, const struct cache_shape *shape, const char *dir, int at,
                     int n, void *out, struct alula_error *e);
bool cache_file_snapshot(const struct cache_file *f, const struct cache_shape *shape, const char *dir,
                         void *out, struct alula_error *e);

#endif
