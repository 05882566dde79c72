/* card.h - the model card of an artifact, README.md: what it is made of and what was measured of it. */
#ifndef FORGE_CARD_H
#define FORGE_CARD_H

#include "base/buf.h"

/* Appends the card, from config.json and mtplx_runtime.json alone. Says only what they hold; what was not
 * measured is called so. Errors: NOT_FOUND, FORMAT, NOMEM. */
bool card_write(struct buf *out, const char *dir, struct alula_error *e);
/* The same into DIR/README.md, atomically. USAGE if one is there that this did not write. */
bool card_save(const char *dir, struct alula_error *e);

#endif
