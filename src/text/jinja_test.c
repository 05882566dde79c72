/* jinja_test.c - tests: `x is NAME`.
 *
 * Owns what each test says of each kind of value; some answers are surprising (an undefined value is
 * iterable, a bool is a number, a dict is a sequence), and templates rely on them. */
#include "text/jinja_internal.h"

#define TEST(name)                                                                                           \
    static bool name(struct jj_run *r, struct jj_value self, const struct jj_value *a, struct jj_value *ret)

/* A test that looks at nothing but the value. */
#define PLAIN_TEST(name, condition)                                                                          \
    TEST(name)                                                                                               \
    {                                                                                                        \
        (void)r;                                                                                             \
        (void)a;                                                                                             \
        *ret = jj_bool(condition);                                                                           \
        return true;                                                                                         \
    }

PLAIN_TEST(test_defined, self.kind != JJ_UNDEF)
PLAIN_TEST(test_undefined, self.kind == JJ_UNDEF)
PLAIN_TEST(test_none, self.kind == JJ_NONE)
PLAIN_TEST(test_string, self.kind == JJ_STR)
PLAIN_TEST(test_number, jj_is_number(self))
PLAIN_TEST(test_integer, self.kind == JJ_INT)
PLAIN_TEST(test_float, self.kind == JJ_FLOAT)
PLAIN_TEST(test_boolean, self.kind == JJ_BOOL)
PLAIN_TEST(test_true, self.kind == JJ_BOOL && self.b)
PLAIN_TEST(test_false, self.kind == JJ_BOOL && !self.b)
PLAIN_TEST(test_mapping, self.kind == JJ_DICT)
PLAIN_TEST(test_escaped, jj_is_safe(self))
PLAIN_TEST(test_sequence, self.kind == JJ_UNDEF || self.kind == JJ_STR || self.kind == JJ_LIST ||
                              self.kind == JJ_TUPLE || self.kind == JJ_DICT || self.kind == JJ_RANGE)
PLAIN_TEST(test_iterable,
           self.kind == JJ_UNDEF || (self.kind >= JJ_STR && self.kind <= JJ_ITER) || self.kind == JJ_LOOP)
PLAIN_TEST(test_callable, self.kind == JJ_UNDEF || self.kind == JJ_MACRO || self.kind == JJ_FUNC ||
                              self.kind == JJ_METHOD || self.kind == JJ_LOOP)

static bool remainder_is(struct jj_run *r, struct jj_value v, struct jj_value by, int64_t want,
                         struct jj_value *ret)
{
    struct jj_value rest;
    if (!jj_is_number(v) && v.kind != JJ_UNDEF)
        return jj_fail(r, ALULA_FORMAT, "the test takes a number, not '%s'", jj_kind_name(v));
    if (!jj_binary(r, '%', v, by, &rest)) return false;
    *ret = jj_bool(jj_number_order(rest, jj_int(want)) == 0);
    return true;
}

TEST(test_odd)
{
    (void)a;
    return remainder_is(r, self, jj_int(2), 1, ret);
}

TEST(test_even)
{
    (void)a;
    return remainder_is(r, self, jj_int(2), 0, ret);
}

TEST(test_divisible) { return remainder_is(r, self, a[0], 0, ret); }

static bool compare(struct jj_run *r, int op, struct jj_value self, struct jj_value other,
                    struct jj_value *ret)
{
    bool holds;
    if (!jj_compare(r, op, self, other, &holds)) return false;
    *ret = jj_bool(holds);
    return true;
}

TEST(test_eq) { return compare(r, JJ_OP_EQ, self, a[0], ret); }
TEST(test_ne) { return compare(r, JJ_OP_NE, self, a[0], ret); }
TEST(test_lt) { return compare(r, '<', self, a[0], ret); }
TEST(test_le) { return compare(r, JJ_OP_LE, self, a[0], ret); }
TEST(test_gt) { return compare(r, '>', self, a[0], ret); }
TEST(test_ge) { return compare(r, JJ_OP_GE, self, a[0], ret); }
TEST(test_in) { return compare(r, JJ_OP_IN, self, a[0], ret); }

/* Identity. What Python shares between equal numbers and strings is its own affair: refused where it would
 * decide. */
TEST(test_sameas)
{
    bool equal = false;
    if (self.kind == a[0].kind && !jj_equal(r, self, a[0], &equal)) return false;
    bool shared = self.kind == JJ_NONE || self.kind == JJ_BOOL ||
                  (self.kind == JJ_INT && !self.flag && self.i >= -5 && self.i <= 256);
    bool same = equal && self.kind >= JJ_STR && self.it == a[0].it;
    if (equal && !shared && !same && (self.kind <= JJ_STR || self.kind == JJ_TUPLE))
        return jj_unsupported(r, "sameas between equal values of this kind");
    *ret = jj_bool(shared ? equal : same);
    return true;
}

/* str(x).isupper(): something has case, and all that has is of this one. */
static bool all_of_case(struct jj_run *r, struct jj_value self, bool upper, struct jj_value *ret)
{
    struct jj_value text;
    if (!jj_text_of(r, self, &text)) return false;
    const struct jj_func *fn =
        jj_method_find(text, &(const struct jj_str){.p = upper ? "isupper" : "islower", .n = 7}, &(bool){0});
    return jj_apply(r, fn, text, &(const struct jj_args){0}, ret);
}

TEST(test_lower)
{
    (void)a;
    return all_of_case(r, self, false, ret);
}

TEST(test_upper)
{
    (void)a;
    return all_of_case(r, self, true, ret);
}

static bool is_named(struct jj_run *r, struct jj_value self,
                     const struct jj_func *(*find)(const struct jj_str *), struct jj_value *ret)
{
    const struct jj_str *name;
    if (!jj_arg_str(r, self, "the name", &name)) return false;
    *ret = jj_bool(find(name) != NULL);
    return true;
}

TEST(test_filter)
{
    (void)a;
    return is_named(r, self, jj_filter_find, ret);
}

TEST(test_test)
{
    (void)a;
    return is_named(r, self, jj_test_find, ret);
}

static const struct jj_func tests[] = {
    {.name = "defined", .params = "", .call = test_defined},
    {.name = "undefined", .params = "", .call = test_undefined},
    {.name = "none", .params = "", .call = test_none},
    {.name = "string", .params = "", .call = test_string},
    {.name = "number", .params = "", .call = test_number},
    {.name = "integer", .params = "", .call = test_integer},
    {.name = "float", .params = "", .call = test_float},
    {.name = "boolean", .params = "", .call = test_boolean},
    {.name = "true", .params = "", .call = test_true},
    {.name = "false", .params = "", .call = test_false},
    {.name = "mapping", .params = "", .call = test_mapping},
    {.name = "sequence", .params = "", .call = test_sequence},
    {.name = "iterable", .params = "", .call = test_iterable},
    {.name = "callable", .params = "", .call = test_callable},
    {.name = "escaped", .params = "", .call = test_escaped},
    {.name = "odd", .params = "", .call = test_odd},
    {.name = "even", .params = "", .call = test_even},
    {.name = "divisibleby", .params = "num /", .call = test_divisible},
    {.name = "eq", .params = "b /", .call = test_eq},
    {.name = "equalto", .params = "b /", .call = test_eq},
    {.name = "==", .params = "b /", .call = test_eq},
    {.name = "ne", .params = "b /", .call = test_ne},
    {.name = "!=", .params = "b /", .call = test_ne},
    {.name = "lt", .params = "b /", .call = test_lt},
    {.name = "lessthan", .params = "b /", .call = test_lt},
    {.name = "<", .params = "b /", .call = test_lt},
    {.name = "le", .params = "b /", .call = test_le},
    {.name = "<=", .params = "b /", .call = test_le},
    {.name = "gt", .params = "b /", .call = test_gt},
    {.name = "greaterthan", .params = "b /", .call = test_gt},
    {.name = ">", .params = "b /", .call = test_gt},
    {.name = "ge", .params = "b /", .call = test_ge},
    {.name = ">=", .params = "b /", .call = test_ge},
    {.name = "in", .params = "seq /", .call = test_in},
    {.name = "sameas", .params = "other /", .call = test_sameas},
    {.name = "lower", .params = "", .call = test_lower},
    {.name = "upper", .params = "", .call = test_upper},
    {.name = "filter", .params = "", .call = test_filter},
    {.name = "test", .params = "", .call = test_test},
    {.name = NULL},
};

const struct jj_func *jj_test_find(const struct jj_str *name) { return jj_table_find(tests, name); }
