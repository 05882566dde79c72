/* jinja_case.h - the tables behind jinja_case.c, each in ascending order (Unicode 14, as Python 3.11). */
#ifndef TEXT_JINJA_CASE_H
#define TEXT_JINJA_CASE_H

#include <stdint.h>

/* Every stride-th character from first to last maps to itself plus delta. */
struct jj_case_range {
    uint32_t first, last;
    int32_t delta;
    uint32_t stride;
};
/* A character that becomes up to three, 0 = none. */
struct jj_case_special {
    uint32_t cp, to[3];
};
struct jj_char_range {
    uint32_t first, last;
};

extern const struct jj_case_range jj_case_upper[], jj_case_lower[];
extern const struct jj_case_special jj_case_upper_special[], jj_case_lower_special[], jj_case_title_special[],
    jj_case_title[];
extern const struct jj_char_range jj_case_unprintable[], jj_case_is_upper[], jj_case_is_lower[],
    jj_case_is_title[], jj_case_ignorable[];
extern const int jj_case_upper_count, jj_case_lower_count, jj_case_upper_special_count,
    jj_case_lower_special_count, jj_case_title_special_count, jj_case_title_count, jj_case_unprintable_count,
    jj_case_is_upper_count, jj_case_is_lower_count, jj_case_is_title_count, jj_case_ignorable_count;

#endif
