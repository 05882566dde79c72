/* json_number.c - numbers between two decimals. Owns the comparison of digits with the bounds' digits: a number is
 * "tight" to a bound as long as its digits are the bound's own. Must not know schemas. */
#include "text/json_number.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"

enum {
    INTEGER_DIGITS = 18,
    MULTIPLE_DIGITS = 9,
    WHOLE_DIGITS = 15,
    FRACTION_DIGITS = 10,
    TOLD_APART = 15 /* digits that doubles tell apart */
};

/* A magnitude. */
struct decimal {
    char whole[INTEGER_DIGITS + 2], fraction[FRACTION_DIGITS + 1];
    int n_whole, n_fraction;
    bool open, negative, zero;
    bool huge; /* beyond every number that is written */
    bool cut;  /* further digits of its fraction are not zero */
};

struct between {
    struct grammar *g;
    struct decimal lo, hi;
    int multiple, n_fraction;
    int32_t *known; /* [places][lo tight][hi tight][multiple] states + 1, 0 = not built yet */
    int32_t next;
};

static void put_digit(char *digits, int *n, int max, char c, bool *over)
{
    if (*n < max)
        digits[(*n)++] = c;
    else
        *over = *over || c != '0';
}

/* Reads ddd.ddde+-dd. */
static void read_decimal(struct decimal *d, const char *s)
{
    long power = 0;
    const char *e = strpbrk(s, "eE"), *point = strchr(s, '.'), *p;
    long before = (long)((point ? point : e ? e : s + strlen(s)) - s); /* digits before the point */
    if (e) power = strtol(e + 1, NULL, 10);
    long place = before + power;
    for (; place < 0 && d->n_fraction < FRACTION_DIGITS; place++)
        put_digit(d->fraction, &d->n_fraction, FRACTION_DIGITS, '0', &d->cut);
    for (p = s; *p && p != e; p++) {
        if (*p == '.') continue;
        if (place-- > 0) {
            if (d->n_whole == 1 && d->whole[0] == '0') d->n_whole = 0;
            if (d->n_whole == INTEGER_DIGITS + 1) d->huge = true;
            put_digit(d->whole, &d->n_whole, INTEGER_DIGITS + 1, *p, &d->huge);
        } else {
            put_digit(d->fraction, &d->n_fraction, FRACTION_DIGITS, *p, &d->cut);
        }
    }
    for (; place > 0 && !d->huge; place--) {
        if (d->n_whole == 1 && d->whole[0] == '0') break;
        if (d->n_whole == INTEGER_DIGITS + 1) d->huge = true;
        put_digit(d->whole, &d->n_whole, INTEGER_DIGITS + 1, '0', &d->huge);
    }
    if (d->n_whole == 0) d->whole[d->n_whole++] = '0';
}

static struct decimal decimal_of(const struct number_bound *b)
{
    struct decimal d = {.open = b->open};
    struct buf text;
    buf_init(&text, 0);
    json_write(&text, b->value, 0);
    const char *s = text.data ? text.data : "0";
    d.negative = s[0] == '-';
    read_decimal(&d, s + d.negative);
    d.zero = !d.huge && !d.cut && d.n_whole == 1 && d.whole[0] == '0';
    for (int i = 0; i < d.n_fraction; i++) d.zero = d.zero && d.fraction[i] == '0';
    d.negative = d.negative && !d.zero;
    buf_free(&text);
    return d;
}

/* Exactly n digits behind the point; what is cut off makes a lower bound open and an upper one closed. */
static void set_fraction(struct decimal *d, int n, bool lower)
{
    for (; d->n_fraction < n; d->n_fraction++) d->fraction[d->n_fraction] = '0';
    for (; d->n_fraction > n; d->n_fraction--) d->cut = d->cut || d->fraction[d->n_fraction - 1] != '0';
    if (d->cut) d->open = lower;
}

/* ---- digits --------------------------------------------------------------------------------------------- */

/* Digits of a bound in one row: whole part, fraction. left: places that are still to come. */
static char digit_at(const struct between *b, const struct decimal *d, int left)
{
    int i = d->n_whole + b->n_fraction - left;
    return i < d->n_whole ? d->whole[i] : d->fraction[i - d->n_whole];
}

static bool zeros_left(const struct between *b, const struct decimal *d, int left)
{
    for (; left > 0; left--)
        if (digit_at(b, d, left) != '0') return false;
    return true;
}

/* Whether the number may end here, as if zeros followed. */
static bool may_end(const struct between *b, int left, bool lo, bool hi, int rest)
{
    if (rest || (lo && (b->lo.open || !zeros_left(b, &b->lo, left)))) return false;
    return !(hi && b->hi.open && zeros_left(b, &b->hi, left));
}

static int32_t digits_from(struct between *b, int left, bool lo, bool hi, int rest);

/* Digits from..to, all of which leave the bounds as tight. */
static int32_t digit_range(struct between *b, char from, char to, int left, bool lo, bool hi, int rest)
{
    int32_t all = GRAMMAR_S_DEAD;
    if (b->multiple == 1)
        return from <= to
                   ? grammar_byte(b->g, (uint8_t)from, (uint8_t)to, digits_from(b, left - 1, lo, hi, 0))
                   : GRAMMAR_S_DEAD;
    for (char c = from; c <= to; c++) {
        int32_t then = digits_from(b, left - 1, lo, hi, (rest * 10 + c - '0') % b->multiple);
        all = grammar_either(b->g, grammar_byte(b->g, (uint8_t)c, (uint8_t)c, then), all);
    }
    return all;
}

static int32_t one_digit(struct between *b, int left, char least, bool lo, bool hi, int rest)
{
    char from = lo ? digit_at(b, &b->lo, left) : '0', to = hi ? digit_at(b, &b->hi, left) : '9';
    int32_t all = GRAMMAR_S_DEAD;
    if (from > to) return all;
    if (lo && from >= least) all = digit_range(b, from, from, left, true, hi && from == to, rest);
    if (hi && to >= least && !(lo && from == to))
        all = grammar_either(b->g, digit_range(b, to, to, left, false, true, rest), all);
    char first = (char)(from + lo), last = (char)(to - hi);
    return grammar_either(b->g, digit_range(b, first > least ? first : least, last, left, false, false, rest),
                          all);
}

/* Everything that can follow where `left` places are still to come. */
static int32_t digits_from(struct between *b, int left, bool lo, bool hi, int rest)
{
    int32_t *known = &b->known[((left * 2 + lo) * 2 + hi) * b->multiple + rest];
    if (*known) return *known - 1;
    bool at_point = left == b->n_fraction;
    int32_t more = left > 0 ? one_digit(b, left, '0', lo, hi, rest) : GRAMMAR_S_DEAD;
    if (at_point && left > 0) more = grammar_str(b->g, ".", more);
    if (left <= b->n_fraction && may_end(b, left, lo, hi, rest)) more = grammar_either(b->g, more, b->next);
    *known = more + 1;
    return more;
}

/* Magnitudes between b->lo and b->hi. */
static int32_t magnitudes(struct between *b)
{
    int32_t all = GRAMMAR_S_DEAD;
    int places = b->hi.n_whole + b->n_fraction + 1;
    b->known = mem_zalloc((size_t)places * 4 * (size_t)b->multiple, sizeof *b->known);
    if (!b->known) {
        b->g->failed = b->g->no_memory = true;
        return all;
    }
    for (int n = b->lo.n_whole; n <= b->hi.n_whole; n++) {
        bool lo = n == b->lo.n_whole, hi = n == b->hi.n_whole;
        all = grammar_either(b->g, one_digit(b, n + b->n_fraction, n > 1 ? '1' : '0', lo, hi, 0), all);
    }
    mem_free(b->known);
    return all;
}

/* ---- signs ---------------------------------------------------------------------------------------------- */

static struct decimal nines(int n)
{
    struct decimal d = {.n_whole = n};
    memset(d.whole, '9', (size_t)n);
    memset(d.fraction, '9', FRACTION_DIGITS);
    d.n_fraction = FRACTION_DIGITS;
    return d;
}

/* One sign: from lo, which may be NULL for zero, to hi, which may be NULL for the largest. */
static int32_t one_sign(const struct between *form, const struct decimal *lo, const struct decimal *hi,
                        bool zero_too, int digits)
{
    struct between b = *form;
    b.lo = lo ? *lo : (struct decimal){.whole = "0", .n_whole = 1, .open = !zero_too};
    b.hi = hi && !hi->huge ? *hi : nines(digits);
    set_fraction(&b.lo, b.n_fraction, true);
    set_fraction(&b.hi, b.n_fraction, false);
    return b.lo.huge ? GRAMMAR_S_DEAD : magnitudes(&b);
}

int32_t json_number_between(struct grammar *g, const struct number_range *r, int32_t next)
{
    struct decimal min = {0}, max = {0};
    bool has_min = r->min.value, has_max = r->max.value, whole = r->integer || r->multiple > 1;
    struct between b = {
        .g = g, .multiple = r->multiple, .n_fraction = whole ? 0 : FRACTION_DIGITS, .next = next};
    if (has_min) min = decimal_of(&r->min);
    if (has_max) max = decimal_of(&r->max);
    int longest = min.huge ? 0 : min.n_whole;
    if (!max.huge && max.n_whole > longest) longest = max.n_whole;
    if (TOLD_APART - longest < b.n_fraction) b.n_fraction = longest < TOLD_APART ? TOLD_APART - longest : 0;
    int digits = r->multiple > 1 ? MULTIPLE_DIGITS : whole ? INTEGER_DIGITS : WHOLE_DIGITS;
    if (longest > digits) digits = longest < INTEGER_DIGITS ? longest : INTEGER_DIGITS;
    int32_t all = GRAMMAR_S_DEAD;
    if (!has_max || !max.negative) {
        bool from_min = has_min && !min.negative;
        all = one_sign(&b, from_min ? &min : NULL, has_max ? &max : NULL, true, digits);
    }
    if (!has_min || min.negative) {
        bool from_max = has_max && max.negative;
        int32_t below = one_sign(&b, from_max ? &max : NULL, has_min ? &min : NULL, false, digits);
        all = grammar_either(g, grammar_str(g, "-", below), all);
    }
    return all;
}
