/* frequent.c - counts the ids of a text. Must not know what they are for. */
#include "tune/frequent.h"

#include <stdlib.h>

#include "base/mem.h"

struct count {
    int32_t id;
    int64_t n;
};

static int by_count(const void *a, const void *b)
{
    const struct count *x = a, *y = b;
    if (x->n != y->n) return x->n < y->n ? 1 : -1;
    return (x->id > y->id) - (x->id < y->id);
}

static int ascending(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

bool frequent_ids(const int32_t *tokens, size_t n, int vocab, int most, int32_t **ret_ids, int *ret_n,
                  struct alula_error *e)
{
    if (n == 0) return err_set(e, ALULA_FORMAT, "the text has no tokens to count");
    struct count *counts = mem_zalloc((size_t)vocab, sizeof *counts);
    int32_t *ids = mem_zalloc((size_t)most, sizeof *ids);
    int kept = 0;
    if (counts && ids) {
        for (int id = 0; id < vocab; id++) counts[id].id = id;
        for (size_t i = 0; i < n; i++) counts[tokens[i]].n++;
        qsort(counts, (size_t)vocab, sizeof *counts, by_count);
        while (kept < most && kept < vocab && counts[kept].n > 0) {
            ids[kept] = counts[kept].id;
            kept++;
        }
        qsort(ids, (size_t)kept, sizeof *ids, ascending);
    }
    mem_free(counts);
    if (!kept) {
        mem_free(ids);
        return err_set(e, ALULA_NOMEM, "no memory to count %d ids", vocab);
    }
    *ret_ids = ids;
    *ret_n = kept;
    return true;
}
