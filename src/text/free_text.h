/* free_text.h - text as it comes, up to certain words. Internal to text/. */
#ifndef TEXT_FREE_TEXT_H
#define TEXT_FREE_TEXT_H

#include "text/grammar.h"

/* What text is made of. */
struct free_form {
    const char *without; /* ASCII characters that do not occur */
    /* Other spellings of characters, back to `root`; NULL = none. They begin no word. */
    int32_t (*escapes)(struct grammar *g, int32_t root);
};

/* Any text in which none of the n words (ASCII, not empty, at most FREE_TEXT_BYTES in all) is complete, then
 * next. Where next begins like such a word, both are followed until the word is complete. Control characters
 * other than tab, LF and CR do not occur. */
#define FREE_TEXT_BYTES 128
int32_t free_text(struct grammar *g, const char *const *words, int n, struct free_form form, int32_t next);

#endif
