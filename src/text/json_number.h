/* json_number.h - grammars of numbers within bounds, digit by digit. Internal to text/. */
#ifndef TEXT_JSON_NUMBER_H
#define TEXT_JSON_NUMBER_H

#include "base/json.h"
#include "text/grammar.h"

#define NUMBER_MULTIPLE_MAX 1000

struct number_bound {
    const json_t *value; /* a number; NULL = none */
    bool open;           /* the bound itself does not belong */
};

struct number_range {
    struct number_bound min, max;
    bool integer;
    int multiple; /* of which it is one, 1 to NUMBER_MULTIPLE_MAX; above 1 only integers are written */
};

/* Decimal, without exponent, in one spelling but for zeros at the end of a fraction. At most 18 digits for
 * integers (9 for multiples without a bound), else 15 before the point and 10 behind it, fewer if a bound
 * needs them to be told from its neighbours. Dead if nothing fits. */
int32_t json_number_between(struct grammar *g, const struct number_range *range, int32_t next);

#endif
