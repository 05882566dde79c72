/* readlimit.h - how fast the threads of a pool can read memory when they do nothing else: the bound of all
 * decoding. */
#ifndef TUNE_READLIMIT_H
#define TUNE_READLIMIT_H

#include "artifact/weights.h"
#include "base/pool.h"

struct readlimit;
/* What is read is the weights themselves, `bytes` of them a time and others each time; if they are fewer, a buffer of
 * that size, which the pool's threads fill. */
bool readlimit_create(struct readlimit **ret, const struct weights *w, size_t bytes, struct pool *pool,
                      struct alula_error *e);
void readlimit_free(struct readlimit *r);          /* NULL is fine */
size_t readlimit_bytes(const struct readlimit *r); /* that one run reads */
void readlimit_run(struct readlimit *r, struct pool *pool);
/* Reads all of it once, so that no page of a mapped file is touched for the first time while something is
 * measured. */
void readlimit_warm(struct readlimit *r, struct pool *pool);

#endif
