/* jinja_number.c - integers, floats and the operators on values.
 *
 * Owns arithmetic as Python does it, within 64 bits: integers from -2^63 to 2^64-1, everything beyond is
 * refused, never wrapped. */
#include "text/jinja_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool jj_is_int(struct jj_value v) { return v.kind == JJ_INT || v.kind == JJ_BOOL; }
bool jj_is_number(struct jj_value v) { return jj_is_int(v) || v.kind == JJ_FLOAT; }

__int128 jj_int128(struct jj_value v)
{
    if (v.kind == JJ_BOOL) return v.b;
    return v.flag ? (__int128)(uint64_t)v.i : v.i;
}

double jj_to_double(struct jj_value v)
{
    if (v.kind == JJ_FLOAT) return v.f;
    return v.kind == JJ_INT && v.flag ? (double)(uint64_t)v.i : (double)(int64_t)jj_int128(v);
}

bool jj_from_int128(struct jj_run *r, __int128 i, struct jj_value *ret)
{
    if (i < INT64_MIN || i > UINT64_MAX)
        return jj_fail(r, ALULA_UNSUPPORTED, "the result is an integer of more than 64 bits");
    *ret = jj_int((int64_t)(uint64_t)i);
    ret->flag = i > INT64_MAX;
    return true;
}

/* Exact even where the integer has more digits than a double. */
static int order_int_double(__int128 i, double f)
{
    if (isnan(f)) return 2;
    if (f >= 0x1p100) return -1;
    if (f <= -0x1p100) return 1;
    __int128 whole = (__int128)f;
    double rest = f - (double)whole;
    if (i != whole) return i < whole ? -1 : 1;
    return rest > 0 ? -1 : rest < 0;
}

int jj_number_order(struct jj_value a, struct jj_value b)
{
    if (jj_is_int(a) && jj_is_int(b)) {
        __int128 x = jj_int128(a), y = jj_int128(b);
        return x < y ? -1 : x > y;
    }
    if (a.kind == JJ_FLOAT && b.kind == JJ_FLOAT) {
        if (isnan(a.f) || isnan(b.f)) return 2;
        return a.f < b.f ? -1 : a.f > b.f;
    }
    if (jj_is_int(a)) return order_int_double(jj_int128(a), b.f);
    int order = order_int_double(jj_int128(b), a.f);
    return order == 2 ? 2 : -order;
}

/* Equal numbers of any kind hash alike. */
uint64_t jj_number_hash(struct jj_value v)
{
    uint64_t bits = 0;
    if (v.kind == JJ_FLOAT && !(v.f >= -0x1p63 && v.f < 0x1p64 && v.f == floor(v.f)))
        memcpy(&bits, &v.f, sizeof bits);
    else
        bits = (uint64_t)(v.kind == JJ_FLOAT ? (__int128)v.f : jj_int128(v));
    bits *= 0x9E3779B97F4A7C15u;
    return bits ^ bits >> 32;
}

/* ---- reading ------------------------------------------------------------------------------------------- */

bool jj_parse_int(const char *p, size_t n, struct jj_value *ret, bool *fits)
{
    bool minus = n > 0 && *p == '-';
    size_t i = n > 0 && (*p == '-' || *p == '+'), first = i;
    __int128 v = 0;
    *fits = true;
    for (; i < n; i++) {
        if (p[i] == '_' && i > first && i + 1 < n && p[i - 1] != '_') continue;
        if (p[i] < '0' || p[i] > '9') return false;
        if (v <= UINT64_MAX) v = v * 10 + (p[i] - '0');
    }
    if (i == first) return false;
    if (minus) v = -v;
    *fits = v >= INT64_MIN && v <= UINT64_MAX;
    *ret = jj_int((int64_t)(uint64_t)v);
    ret->flag = v > INT64_MAX;
    return true;
}

/* inf, infinity and nan in any case. */
static bool parse_special(const char *p, size_t n, double *ret)
{
    bool minus = n > 0 && *p == '-';
    size_t skip = n > 0 && (*p == '-' || *p == '+');
    p += skip;
    n -= skip;
    if ((n == 3 && strncasecmp(p, "inf", 3) == 0) || (n == 8 && strncasecmp(p, "infinity", 8) == 0))
        *ret = minus ? -INFINITY : INFINITY;
    else if (n == 3 && strncasecmp(p, "nan", 3) == 0)
        *ret = NAN;
    else
        return false;
    return true;
}

bool jj_parse_float(const char *p, size_t n, double *ret)
{
    size_t before = jj_space_before(p, n);
    p += before;
    n -= before;
    n -= jj_space_after(p, n);
    if (parse_special(p, n, ret)) return true;
    char text[512];
    size_t len = 0, digits = 0;
    bool dot = false, exp = false;
    for (size_t i = 0; i < n; i++) {
        char c = p[i], last = i ? p[i - 1] : 0;
        if (c >= '0' && c <= '9') {
            digits++;
        } else if (c == '_') {
            if (i + 1 >= n || last < '0' || last > '9' || p[i + 1] < '0' || p[i + 1] > '9') return false;
            continue;
        } else if (c == '-' || c == '+') {
            if (i != 0 && last != 'e' && last != 'E') return false;
        } else if (c == '.' && !dot && !exp) {
            dot = true;
        } else if ((c == 'e' || c == 'E') && !exp && digits) {
            exp = true;
            digits = 0;
        } else {
            return false;
        }
        if (len + 1 == sizeof text) return false;
        text[len++] = c;
    }
    if (!digits) return false;
    text[len] = '\0';
    *ret = strtod(text, NULL);
    return true;
}

/* ---- operators ----------------------------------------------------------------------------------------- */

static const char *op_name(int op)
{
    switch (op) {
    case '+': return "+";
    case '-': return "-";
    case '*': return "*";
    case '/': return "/";
    case '%': return "%";
    case JJ_OP_FLOOR: return "//";
    default: return "**";
    }
}

static bool fail_operands(struct jj_run *r, int op, struct jj_value a, struct jj_value b)
{
    if (a.kind == JJ_UNDEF) return jj_fail_undef(r, a);
    if (b.kind == JJ_UNDEF) return jj_fail_undef(r, b);
    return jj_fail(r, ALULA_FORMAT, "the operator %s does not take '%s' and '%s'", op_name(op),
                   jj_kind_name(a), jj_kind_name(b));
}

static bool int_power(struct jj_run *r, __int128 base, __int128 exp, struct jj_value *ret)
{
    __int128 v = 1;
    if (exp > 64 && (base > 1 || base < -1)) return jj_from_int128(r, (__int128)1 << 100, ret);
    if (exp > 64) exp = 2 + (exp & 1);
    for (; exp > 0; exp--)
        if (__builtin_mul_overflow(v, base, &v)) return jj_from_int128(r, (__int128)1 << 100, ret);
    return jj_from_int128(r, v, ret);
}

static bool int_binary(struct jj_run *r, int op, __int128 a, __int128 b, struct jj_value *ret)
{
    __int128 v;
    if (op == JJ_OP_POW) return int_power(r, a, b, ret);
    if (op == '+') return jj_from_int128(r, a + b, ret);
    if (op == '-') return jj_from_int128(r, a - b, ret);
    if (op == '*') return jj_from_int128(r, __builtin_mul_overflow(a, b, &v) ? (__int128)1 << 100 : v, ret);
    if (b == 0) return jj_fail(r, ALULA_FORMAT, "division by zero in %s", op_name(op));
    __int128 q = a / b, rest = a % b;
    if (rest != 0 && (rest < 0) != (b < 0)) {
        q--;
        rest += b;
    }
    return jj_from_int128(r, op == '%' ? rest : q, ret);
}

/* The sign of the remainder is the divisor's; the quotient is what goes with that remainder. */
static double float_floor(double a, double b, bool remainder)
{
    double rest = fmod(a, b), q = (a - rest) / b;
    if (rest != 0) {
        if ((b < 0) != (rest < 0)) {
            rest += b;
            q -= 1;
        }
    } else {
        rest = copysign(0, b);
    }
    if (remainder) return rest;
    if (q == 0) return copysign(0, a / b);
    double whole = floor(q);
    return q - whole > 0.5 ? whole + 1 : whole;
}

static bool float_power(struct jj_run *r, double a, double b, struct jj_value *ret)
{
    if (a == 0 && b < 0) return jj_fail(r, ALULA_FORMAT, "zero cannot be raised to a negative power");
    if (a < 0 && isfinite(b) && b != floor(b))
        return jj_fail(r, ALULA_UNSUPPORTED, "the result of ** is a complex number");
    *ret = jj_float(pow(a, b));
    if (isinf(ret->f) && isfinite(a) && isfinite(b))
        return jj_fail(r, ALULA_FORMAT, "the result of ** is too large");
    return true;
}

static bool float_binary(struct jj_run *r, int op, double a, double b, struct jj_value *ret)
{
    if (op == JJ_OP_POW) return float_power(r, a, b, ret);
    if (op != '+' && op != '-' && op != '*' && b == 0)
        return jj_fail(r, ALULA_FORMAT, "division by zero in %s", op_name(op));
    switch (op) {
    case '+': *ret = jj_float(a + b); break;
    case '-': *ret = jj_float(a - b); break;
    case '*': *ret = jj_float(a * b); break;
    case '/': *ret = jj_float(a / b); break;
    default: *ret = jj_float(float_floor(a, b, op == '%')); break;
    }
    return true;
}

static bool is_exact(struct jj_value v)
{
    return v.kind == JJ_FLOAT || (jj_int128(v) <= (__int128)1 << 53 && jj_int128(v) >= -((__int128)1 << 53));
}

static bool number_binary(struct jj_run *r, int op, struct jj_value a, struct jj_value b,
                          struct jj_value *ret)
{
    bool ints = jj_is_int(a) && jj_is_int(b);
    if (ints && op != '/' && !(op == JJ_OP_POW && jj_int128(b) < 0))
        return int_binary(r, op, jj_int128(a), jj_int128(b), ret);
    if (ints && !(is_exact(a) && is_exact(b)))
        return jj_fail(r, ALULA_UNSUPPORTED, "%s of integers above 2^53", op_name(op));
    return float_binary(r, op, jj_to_double(a), jj_to_double(b), ret);
}

/* One safe side makes the sum safe, and the other side is escaped. */
static bool add_safe(struct jj_run *r, struct jj_value a, struct jj_value b, struct jj_value *ret)
{
    size_t mark = r->out->len;
    for (int i = 0; i < 2; i++) {
        struct jj_value v = i ? b : a;
        if (!(v.flag ? jj_put(r, v.s->p, v.s->n) : jj_put_escaped(r, v.s->p, v.s->n))) return false;
    }
    if (!jj_take(r, mark, ret)) return false;
    ret->flag = true;
    return true;
}

static bool tuple_add(struct jj_run *r, const struct jj_list *a, const struct jj_list *b,
                      struct jj_value *ret)
{
    if (!jj_list_append(r, a, b, ret)) return false;
    ret->kind = JJ_TUPLE;
    return true;
}

static bool add(struct jj_run *r, struct jj_value a, struct jj_value b, struct jj_value *ret)
{
    if (a.kind != b.kind) return fail_operands(r, '+', a, b);
    switch (a.kind) {
    case JJ_STR:
        if (a.flag || b.flag) return add_safe(r, a, b, ret);
        return jj_str_append(r, a.s, b.s->p, b.s->n, ret);
    case JJ_LIST: return jj_list_append(r, a.l, b.l, ret);
    case JJ_TUPLE: return tuple_add(r, a.l, b.l, ret);
    default: return fail_operands(r, '+', a, b);
    }
}

/* A text n times, in blocks, so that a short text is not put byte by byte. */
static bool repeat_str(struct jj_run *r, struct jj_value v, size_t n, struct jj_value *ret)
{
    char block[1024];
    size_t mark = r->out->len, unit = v.s->n, per = unit && unit <= sizeof block ? sizeof block / unit : 0;
    if (per > n) per = n;
    for (size_t i = 0; i < per; i++) memcpy(block + i * unit, v.s->p, unit);
    for (; per && n >= per; n -= per)
        if (!jj_put(r, block, per * unit)) return false;
    for (; n > 0; n--)
        if (!jj_put(r, v.s->p, unit)) return false;
    if (!jj_marks_spread(r, v.s, mark) || !jj_take(r, mark, ret)) return false;
    ret->flag = v.flag;
    return true;
}

static bool repeat(struct jj_run *r, struct jj_value v, __int128 times, struct jj_value *ret)
{
    size_t unit = v.kind == JJ_STR ? v.s->n : v.l->n,
           limit = v.kind == JJ_STR ? JINJA_OUTPUT_MAX : JJ_ITEMS_MAX;
    if (times < INT64_MIN || times > INT64_MAX)
        return jj_fail(r, ALULA_FORMAT, "a repetition of more than 63 bits");
    if (times < 0 || unit == 0) times = 0;
    if (times > (__int128)(limit / (unit ? unit : 1)))
        return jj_fail(r, ALULA_LIMIT, "the result of * has more than %zu %s", limit,
                       v.kind == JJ_STR ? "bytes" : "elements");
    size_t n = (size_t)times;
    if (v.kind == JJ_STR) return repeat_str(r, v, n, ret);
    struct jj_items items = {.v = jj_array(r, n * unit, sizeof *items.v), .n = n * unit};
    if (!items.v || !jj_step(r, n * unit)) return false;
    for (size_t i = 0; i < n; i++) memcpy(items.v + i * unit, v.l->v, unit * sizeof *items.v);
    return jj_items_list(r, &items, v.kind, ret);
}

static bool is_sequence(struct jj_value v)
{
    return v.kind == JJ_STR || v.kind == JJ_LIST || v.kind == JJ_TUPLE;
}

bool jj_binary(struct jj_run *r, int op, struct jj_value a, struct jj_value b, struct jj_value *ret)
{
    if (jj_is_number(a) && jj_is_number(b)) return number_binary(r, op, a, b, ret);
    if (op == '+') return add(r, a, b, ret);
    if (op == '*' && is_sequence(a) && jj_is_int(b)) return repeat(r, a, jj_int128(b), ret);
    if (op == '*' && is_sequence(b) && jj_is_int(a)) return repeat(r, b, jj_int128(a), ret);
    if (op == '%' && a.kind == JJ_STR) return jj_unsupported(r, "formatting a string with %");
    return fail_operands(r, op, a, b);
}

bool jj_negate(struct jj_run *r, struct jj_value a, bool minus, struct jj_value *ret)
{
    if (a.kind == JJ_UNDEF) return jj_fail_undef(r, a);
    if (!jj_is_number(a))
        return jj_fail(r, ALULA_FORMAT, "the sign %c does not take '%s'", minus ? '-' : '+', jj_kind_name(a));
    if (a.kind == JJ_FLOAT) {
        *ret = jj_float(minus ? -a.f : a.f);
        return true;
    }
    return jj_from_int128(r, minus ? -jj_int128(a) : jj_int128(a), ret);
}
