/* pretoken.h - cuts text into the pieces within which tokens are merged. */
#ifndef TEXT_PRETOKEN_H
#define TEXT_PRETOKEN_H

#include <stddef.h>

/* The pattern of Qwen3.5's pre-tokenizer as tokenizer.json spells it; pretoken_len does what it says, and no
 * other. */
#define PRETOKEN_PATTERN                                                                                     \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}|"                             \
    " ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

/* Bytes of the first piece of text (n > 0 bytes of valid UTF-8, to the end of the stretch: what ends the
 * stretch ends the pieces). */
size_t pretoken_len(const char *text, size_t n);

#endif
