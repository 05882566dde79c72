/* tokenfile.h - reads tokenizer.json and tokenizer_config.json into a vocabulary. Internal to text/. */
#ifndef TEXT_TOKENFILE_H
#define TEXT_TOKENFILE_H

#include "text/vocab.h"

/* Fills v from the files in dir; everything they ask for that is not implemented is refused by name.
 * *ret_ignore_merges: a piece that is a token as it stands is not merged at all. All 256 bytes have tokens
 * afterwards. v is untouched on failure. */
bool tokenfile_load(struct vocab *v, bool *ret_ignore_merges, const char *dir, struct alula_error *e);

#endif
