/* cache_disk.h - the prompt cache's folder: files that a thread writes, and that are found again.
 *
 * Writing never makes anybody wait: what the queue or the hour's allowance has no room for is dropped. Several caches,
 * of several processes and models, may use one folder; each keeps the size of the whole, and whoever finds a file
 * gone, cut or damaged does without it. A file's time is that of its last use, so that the oldest may go; whoever uses
 * one sets the times so that those its prefix needs besides are newer (disk_touch).
 *
 * Owns folder, thread and queue; must not know the tree. All functions but disk_open and disk_close: any thread. */
#ifndef DECODE_CACHE_DISK_H
#define DECODE_CACHE_DISK_H

#include "decode/cache_file.h"

struct cache_disk;
struct cache_disk_options {
    const char *dir;
    uint64_t size;           /* bytes of all files of prompt caches in the folder */
    uint64_t write_per_hour; /* bytes, in any hour */
    /* Called by disk_open for each file that is there and of use; borrows both. false: no memory. */
    bool (*found)(void *arg, struct cache_file *f, const int32_t *ids);
    void *arg;
};
/* Errors: what is wrong with the folder; NOMEM; BUSY (no thread). Files that are of no use are left where they are;
 * damaged ones are told of in the log. */
bool disk_open(struct cache_disk **ret, const struct cache_shape *shape,
               const struct cache_disk_options *options, struct alula_error *e);
/* Writes what is in the queue first. NULL is fine. */
void disk_close(struct cache_disk *d);

/* What is to be written. Holds references on all blobs. */
struct cache_job {
    struct cache_file *file;
    struct blob *snapshot;
    struct timespec when;
    int n_parts;
    struct cache_part parts[];
};
/* A job without parts, for a file of tokens [first, end); NULL when memory is exhausted. */
struct cache_job *cache_job_new(const struct cache_disk *d, int first, int end, bool head, int n_parts);
/* Takes the job, even if it drops it: false. */
bool disk_put(struct cache_disk *d, struct cache_job *j);

/* false: the file is gone from now on; if it was damaged, the log says so. */
bool disk_read_rows(struct cache_disk *d, struct cache_file *f, int at, int n, void *out);
bool disk_read_snapshot(struct cache_disk *d, struct cache_file *f, void *out);
void disk_touch(struct cache_disk *d, const struct cache_file *f, struct timespec when);
/* Has any file gone since the last call? */
bool disk_has_lost(struct cache_disk *d);

struct cache_disk_stats {
    uint64_t size, used, files;                 /* bytes; of the whole folder, when it was looked at last */
    uint64_t written, dropped, failed, damaged; /* files */
};
void disk_describe(struct cache_disk *d, struct cache_disk_stats *ret);

#endif
