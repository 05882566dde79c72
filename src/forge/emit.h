/* emit.h - writes the tensors of a plan into one safetensors file: quantizes, converts, or hands packed codes through.
 *
 * Bounded memory: a block of rows at a time, plus the scales and biases of one module. */
#ifndef FORGE_EMIT_H
#define FORGE_EMIT_H

#include "base/pool.h"
#include "forge/plan.h"

/* Called between blocks with source bytes read so far; false stops the work (CANCELLED). */
struct emit_progress {
    bool (*tell)(void *arg, uint64_t done, uint64_t total); /* may be NULL */
    void *arg;
    uint64_t done, total; /* source bytes */
};

/* Appears under `path` whole or not at all. Errors: FORMAT for a value that is not finite (names the module and the row), IO, NOMEM, CANCELLED. */
bool emit_file(const char *path, const struct plan_item *items, size_t n, struct pool *pool, struct emit_progress *progress,
               struct alula_error *e);

#endif
