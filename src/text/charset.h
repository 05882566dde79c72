/* charset.h - sets of characters, and the automata that read one of them as UTF-8. Internal to text/. */
#ifndef TEXT_CHARSET_H
#define TEXT_CHARSET_H

#include "text/grammar.h"

#define CHARSET_RANGES_MAX 256

struct charset {
    struct char_range {
        uint32_t lo, hi;
    } ranges[CHARSET_RANGES_MAX];
    int n;
    bool failed; /* more ranges than fit */
};

void charset_add(struct charset *s, uint32_t lo, uint32_t hi);
/* Sorts, joins, and leaves out what is no character (surrogates, beyond U+10FFFF). */
void charset_tidy(struct charset *s);
/* What is not in it, up to `last`. Tidies. */
void charset_invert(struct charset *s, uint32_t last);
void charset_remove(struct charset *s, uint32_t lo, uint32_t hi);
/* One character of a tidy set. */
int32_t charset_read(struct grammar *g, const struct charset *s, int32_t next);

#endif
