/* frequent.h - which ids a text has most of. Pure. */
#ifndef TUNE_FREQUENT_H
#define TUNE_FREQUENT_H

#include "base/err.h"

/* The ids of tokens[0..n), each in [0, vocab), that occur most often, ascending, at most `most` of them; of
 * equally frequent ones the lowest. *ret_ids [*ret_n]: mem_free. Errors: FORMAT (no token at all), NOMEM. */
bool frequent_ids(const int32_t *tokens, size_t n, int vocab, int most, int32_t **ret_ids, int *ret_n,
                  struct alula_error *e);

#endif
