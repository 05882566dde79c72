/* stops.h - stop texts in a stream: where an answer ends, and which bytes may already be shown.
 *
 * An answer ends before the stop text that is complete first (of those complete at one byte, the longest).
 * Bytes that may begin a stop text are held back until it is clear. The outcome does not depend on how the
 * text is cut into pieces. */
#ifndef DECODE_STOPS_H
#define DECODE_STOPS_H

#include "base/buf.h"

#define STOPS_MAX     16   /* texts */
#define STOPS_LEN_MAX 1024 /* bytes of one */

struct stops;

/* Copies n texts. Errors name the text's index: USAGE (empty, not UTF-8), LIMIT (too many, long), NOMEM. */
bool stops_create(struct stops **ret, const char *const *texts, int n, struct alula_error *e);
void stops_free(struct stops *s);
void stops_reset(struct stops *s);
/* Takes len bytes of text; appends to out what may be shown (len + STOPS_LEN_MAX bytes at most). true: a
 * stop text is complete, out ends right before it, and what follows it was dropped. */
bool stops_put(struct stops *s, const char *text, size_t len, struct buf *out);
/* Which text that was, by its index; -1 = none is complete. */
int stops_found(const struct stops *s);
/* The stream ended without a stop: appends what was held. */
void stops_end(struct stops *s, struct buf *out);

#endif
