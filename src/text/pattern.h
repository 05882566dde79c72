/* pattern.h - regular expressions, as JSON schemas use them, into automata. Internal to text/.
 *
 * Characters, ., classes, \d \w \s and their opposites, \t \n \r \f \v \0 \xHH \uHHHH, groups, |, * + ? {n}
 * {n,} {n,m} (lazy ones are the same), ^ and $ at the ends of the pattern or of its alternatives. Refused:
 * looking ahead or behind, back references, \b, \p, anchors elsewhere, and counted repetitions of what may be
 * empty or within each other beyond a thousand in all.
 *
 * Validators differ; what is written pleases all of them: \d \w \s and their opposites mean ASCII, . is no
 * line break. */
#ifndef TEXT_PATTERN_H
#define TEXT_PATTERN_H

#include "text/json_text.h"

/* A string without its quotes in which the pattern is found (to be all of it, the pattern says ^ and $).
 * Errors: FORMAT, UNSUPPORTED, LIMIT: "character N of the pattern: ...". */
bool pattern_read(struct grammar *g, const char *pattern, size_t n, enum string_form form, int32_t next,
                  int32_t *ret, struct alula_error *e);

#endif
