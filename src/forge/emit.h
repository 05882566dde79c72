/* emit.h - writes the tensors of a plan into one safetensors file: quantizes, converts, or hands packed codes
 * through.
 *
 * Bounded memory: a block of rows at a time, plus the scales and biases of one module. */
#ifndef FORGE_EMIT_H
#define FORGE_EMIT_H

#include "base/pool.h"
#include "forge/plan.h"
#include "forge/watch.h"

struct emit_progress {
    const struct watch *watch; /* told between blocks; may be NULL */
    uint64_t done, total;      /* source bytes */
};

/* Appears under `path` whole or not at all. Errors: FORMAT for a value that is not finite (names the module
 * and the row), IO, NOMEM, CANCELLED. */
bool emit_file(const char *path, const struct plan_item *items, size_t n, struct pool *pool,
               struct emit_progress *progress, struct alula_error *e);

/* Packs one block of the item again and again for a tenth of a second: source bytes a second. 0 when out of
 * memory. */
double emit_measure(const struct plan_item *it, struct pool *pool);

#endif
