/* unicode.h - facts about characters: classes as Unicode 16.0 has them, normalization data as Unicode 9.0 has
 * it. */
#ifndef TEXT_UNICODE_H
#define TEXT_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bits, so that a caller can ask for several at once. A character has at most one. */
enum unicode_class {
    UNICODE_OTHER = 0,
    UNICODE_LETTER = 1, /* general category L* */
    UNICODE_MARK = 2,   /* M* */
    UNICODE_NUMBER = 4, /* N* */
    UNICODE_SPACE = 8   /* the property White_Space */
};
enum unicode_class unicode_class(uint32_t cp);

/* Canonical combining class, 0 for starters. */
int unicode_combining(uint32_t cp);
/* False: the character is its own NFC, starts a new cluster, and never composes with what stands before it.
 */
bool unicode_nfc_special(uint32_t cp);
/* Full canonical decomposition into out; returns the number of characters, 1 if there is none (cp itself). */
#define UNICODE_DECOMPOSED_MAX 4
int unicode_decompose(uint32_t cp, uint32_t out[UNICODE_DECOMPOSED_MAX]);
/* The character that a and b compose to, or 0. */
uint32_t unicode_compose(uint32_t a, uint32_t b);

/* The tables behind these functions (unicode_data.c), each in ascending order. */
struct unicode_range {
    uint32_t first, last;
    uint8_t value;
};
struct unicode_decomposition {
    uint32_t cp, a, b; /* b 0: one character decomposes to one */
};
extern const struct unicode_range unicode_classes[], unicode_combining_classes[], unicode_nfc_specials[];
extern const struct unicode_decomposition unicode_decompositions[];
extern const uint16_t unicode_pairs[]; /* indices into unicode_decompositions, ordered by (a, b) */
extern const int unicode_classes_count, unicode_combining_classes_count, unicode_nfc_specials_count,
    unicode_decompositions_count, unicode_pairs_count;

#endif
