/* safetensors.h - reads and writes safetensors files, and trusts nothing it reads.
 *
 * Checked on open: header length and JSON against ceilings, names unique and UTF-8, known types, shape x type
 * = byte count without overflow, offsets inside the file, no overlap, no hole. A file that passes can be used
 * without another look. */
#ifndef ARTIFACT_SAFETENSORS_H
#define ARTIFACT_SAFETENSORS_H

#include <jansson.h>
#include "base/file.h"
#include "kern/matrix.h"

#define TENSOR_DIMS_MAX 8
#define TENSOR_NAME_MAX 512 /* bytes */

struct tensor {
    const char *name; /* owned by the st_file */
    enum dtype dtype;
    int n_dims;
    uint64_t shape[TENSOR_DIMS_MAX];
    uint64_t n_bytes;
    const unsigned char *data;  /* inside the map, at any address: the format promises no alignment */
    const struct st_file *file; /* where it lies */
};

/* One mapped file. tensors are in byte order of their names. */
struct st_file {
    char *path;
    struct file_map map;
    struct tensor *tensors;
    size_t n_tensors;
    json_t *metadata; /* the "__metadata__" object, or NULL */
    char *names;      /* one block that holds all names */
};

/* Errors: IO, FORMAT (malformed), UNSUPPORTED (a type that alula does not know), LIMIT. The message names the
 * path and the tensor. */
bool st_open(struct st_file **ret, const char *path, struct alula_error *e);
void st_close(struct st_file *f); /* NULL is fine */
const struct tensor *st_find(const struct st_file *f, const char *name);
/* "[2, 3]" into out, for messages; "[]" for a scalar. Returns out. */
const char *tensor_shape_str(const struct tensor *t, char *out, size_t cap);

/* Streaming writer: declare every tensor, begin, then append the data in the order of declaration. Memory
 * does not grow with the data. Written atomically (file.h). */
struct st_writer;
/* metadata: an object of strings, or NULL; kept by reference until close. */
bool st_writer_open(struct st_writer **ret, const char *path, const json_t *metadata, struct alula_error *e);
bool st_writer_declare(struct st_writer *w, const char *name, enum dtype type, int n_dims,
                       const uint64_t *shape, struct alula_error *e);
bool st_writer_begin(struct st_writer *w, struct alula_error *e);
/* Appends n bytes; borders of tensors need not match borders of calls. */
bool st_writer_append(struct st_writer *w, const void *p, size_t n, struct alula_error *e);
/* Refuses if bytes are missing or left over. */
bool st_writer_commit(struct st_writer *w, struct alula_error *e);
/* Frees; without commit nothing remains on the disk. NULL is fine. */
void st_writer_close(struct st_writer *w);

#endif
