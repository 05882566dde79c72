/* file.h - files: read-only maps, whole reads with a ceiling, writes that are whole or absent. */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include "base/buf.h"

/* A read-only map of a whole plain file. An empty file has data NULL and len 0. Who cuts a file while it is
 * mapped kills its readers; alula itself only ever replaces files. */
struct file_map {
    const unsigned char *data;
    size_t len;
};
bool file_map(struct file_map *m, const char *path, struct alula_error *e);
void file_unmap(struct file_map *m);
/* Lets the system take back the memory of whole pages inside [p, p+n) of a map; they are read again when
 * touched. */
void file_map_forget(const void *p, size_t n);
/* Asks for [p, p+n) of a map to be read, and for no more: whoever just touches a page has megabytes read around it. */
void file_map_want(const void *p, size_t n);

/* Reads a whole file into b (emptied first, empty on failure); more than max bytes is an error, 0 = b's own
 * ceiling. "-" is standard input. */
bool file_read(const char *path, size_t max, struct buf *b, struct alula_error *e);

bool file_exists(const char *path);
bool file_is_dir(const char *path);
uint64_t file_size(const char *path); /* 0 if absent */
/* dir "/" name into out; error if it does not fit. */
bool path_join(char *out, size_t cap, const char *dir, const char *name, struct alula_error *e);
const char *path_base(const char *path); /* the part after the last slash */

/* Atomic write: bytes go to a temporary file beside `path`; commit flushes it to the disk, renames it and
 * flushes the folder. Without commit nothing appears under `path`. close on error paths removes the
 * temporary; a killed process leaves it (.alula-*.tmp). What is there under `path` must be a plain file or
 * nothing; its mode is kept. */
struct file_out {
    int fd; /* -1 = closed */
    char path[4096], tmp[4096];
    uint64_t written, sent; /* bytes; of them on their way to the disk */
};
bool file_out_open(struct file_out *f, const char *path, struct alula_error *e);
bool file_out_write(struct file_out *f, const void *p, size_t n, struct alula_error *e);
bool file_out_commit(struct file_out *f, struct alula_error *e);
void file_out_close(struct file_out *f); /* after commit: nothing left to do; before: gives up */
/* All of it in one call. */
bool file_write(const char *path, const void *p, size_t n, struct alula_error *e);

/* Flushes a folder's entries to the disk. */
bool dir_sync(const char *path, struct alula_error *e);
/* Names of a folder's plain files in byte order, NULL-terminated, one allocation (mem_free). */
bool dir_list(const char *path, char ***ret_names, size_t *ret_n, struct alula_error *e);
/* That order, for qsort and bsearch in an array of strings. */
int by_string(const void *a, const void *b);
bool ends_with(const char *name, const char *tail);
/* With everything inside; follows no links. Nothing there is no error. */
bool dir_remove(const char *path, struct alula_error *e);

#endif
