/* utf8.h - one place that knows how UTF-8 is cut into characters. */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Decodes the character at s (n > 0 bytes left). Returns its length 1..4 and sets *cp; for bytes that are no
 * character returns 0 and leaves *cp. Refuses overlong forms, surrogates and values above U+10FFFF. */
int utf8_decode(const char *s, size_t n, uint32_t *cp);
/* Writes cp as 1..4 bytes; returns their number. */
int utf8_encode(uint32_t cp, char out[4]);
/* Length of the valid start of s; equal to n if all of it is valid. */
size_t utf8_valid_len(const char *s, size_t n);
/* How many bytes at s stand for one U+FFFD when the text is repaired as Rust and Python do: the longest start
 * of some character that is not a whole one, or a single byte with which no character begins (1..3). 0 if a
 * whole character stands there or n is 0. *more: these bytes reach the end of the n and further ones could
 * complete them. */
int utf8_broken_prefix(const char *s, size_t n, bool *more);

#endif
