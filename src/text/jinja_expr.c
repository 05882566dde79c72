/* jinja_expr.c - expressions: tokens of a tag to the tree, by descent through the levels of precedence.
 *
 * Owns precedence and the forms of literals, subscripts, calls, filters and tests. Two things differ from
 * Python: ~ binds tighter than + and -, and ** groups from the left. Names of filters and tests are looked
 * up here, but a missing one is an error only when it is reached, because templates carry such in branches
 * that never run. */
#include "text/jinja_internal.h"

#include <string.h>

/* A list of nodes that grows. */
struct nodes {
    struct jj_expr **v;
    uint32_t n, cap;
};

static bool nodes_add(struct jj_parser *p, struct nodes *a, struct jj_expr *x)
{
    if (!x) return false;
    if (a->n == a->cap) {
        uint32_t cap = a->cap ? 2 * a->cap : 4;
        struct jj_expr **v = jj_parse_alloc(p, cap * sizeof *v);
        if (!v) return false;
        if (a->n) memcpy(v, a->v, a->n * sizeof *v);
        a->v = v;
        a->cap = cap;
    }
    a->v[a->n++] = x;
    return true;
}

struct jj_expr *jj_parse_node(struct jj_parser *p, enum jj_expr_kind kind, int line)
{
    struct jj_expr *x = jj_parse_alloc(p, sizeof *x);
    if (!x) return NULL;
    x->kind = (uint8_t)kind;
    x->line = line;
    return x;
}

static struct jj_expr *node2(struct jj_parser *p, enum jj_expr_kind kind, int line, struct jj_expr *a,
                             struct jj_expr *b)
{
    struct jj_expr *x = jj_parse_node(p, kind, line);
    if (x) {
        x->a = a;
        x->b = b;
    }
    return x;
}

static struct jj_expr *node_of(struct jj_parser *p, enum jj_expr_kind kind, int line,
                               const struct nodes *items)
{
    struct jj_expr *x = jj_parse_node(p, kind, line);
    if (x) {
        x->list = items->v;
        x->n = items->n;
    }
    return x;
}

static struct jj_expr *constant(struct jj_parser *p, struct jj_value v)
{
    struct jj_expr *x = jj_parse_node(p, JJ_X_CONST, p->tok.line);
    if (x) x->constant = v;
    return x;
}

static struct jj_expr *unexpected(struct jj_parser *p, const char *expected)
{
    jj_parse_unexpected(p, expected);
    return NULL;
}

/* ---- primaries ----------------------------------------------------------------------------------------- */

/* Literals that stand side by side are one string. */
static struct jj_expr *parse_strings(struct jj_parser *p)
{
    struct nodes parts = {0};
    size_t total = 0;
    int line = p->tok.line;
    while (p->tok.kind == JJ_T_STR) {
        if (!nodes_add(p, &parts, constant(p, p->tok.value))) return NULL;
        total += p->tok.value.s->n;
        if (!jj_parse_next(p)) return NULL;
    }
    if (parts.n == 1) return parts.v[0];
    char *bytes = jj_parse_alloc(p, total);
    struct jj_str *s = jj_parse_alloc(p, sizeof *s);
    struct jj_expr *x = jj_parse_node(p, JJ_X_CONST, line);
    if (!bytes || !s || !x) return NULL;
    *s = (struct jj_str){.p = bytes};
    for (uint32_t i = 0; i < parts.n; i++) {
        const struct jj_str *part = parts.v[i]->constant.s;
        if (part->n) memcpy(bytes + s->n, part->p, part->n);
        s->n += part->n;
        s->chars += part->chars;
    }
    x->constant = jj_of_str(s);
    return x;
}

/* Names that jinja2 gives a macro beside its parameters: alula does not. */
static bool is_macro_extra(const struct jj_parser *p)
{
    if (!p->macro ||
        (!jj_parse_is_name(p, "varargs") && !jj_parse_is_name(p, "kwargs") && !jj_parse_is_name(p, "caller")))
        return false;
    for (uint32_t i = 0; i < p->macro->n_params; i++)
        if (p->macro->params[i].name->n == p->tok.n &&
            memcmp(p->macro->params[i].name->p, p->tok.p, p->tok.n) == 0)
            return false;
    return true;
}

static struct jj_expr *parse_name(struct jj_parser *p)
{
    static const struct {
        const char *name;
        struct jj_value v;
    } words[] = {
        {"true", {.kind = JJ_BOOL, .b = true}},
        {"True", {.kind = JJ_BOOL, .b = true}},
        {"false", {.kind = JJ_BOOL, .b = false}},
        {"False", {.kind = JJ_BOOL, .b = false}},
        {"none", {.kind = JJ_NONE}},
        {"None", {.kind = JJ_NONE}},
    };
    struct jj_expr *x = NULL;
    if (is_macro_extra(p)) {
        jj_parse_fail(p, ALULA_UNSUPPORTED, "the name '%.*s' inside a macro is not supported", (int)p->tok.n,
                      p->tok.p);
        return NULL;
    }
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (jj_parse_is_name(p, words[i].name) && !(x = constant(p, words[i].v))) return NULL;
    if (!x) {
        x = jj_parse_node(p, JJ_X_NAME, p->tok.line);
        if (!x || !(x->name = jj_parse_intern(p, p->tok.p, p->tok.n))) return NULL;
    }
    return jj_parse_next(p) ? x : NULL;
}

static bool at_tuple_end(const struct jj_parser *p)
{
    return p->tok.kind == JJ_T_END || jj_parse_is_op(p, ')');
}

static struct jj_expr *parse_tuple_in(struct jj_parser *p, bool inline_if, bool brackets)
{
    struct nodes items = {0};
    int line = p->tok.line;
    bool tuple = false;
    while (!at_tuple_end(p)) {
        if (!nodes_add(p, &items, jj_parse_expr(p, inline_if))) return NULL;
        if (!jj_parse_is_op(p, ',')) break;
        tuple = true;
        if (!jj_parse_next(p)) return NULL;
    }
    if (!tuple && items.n == 1) return items.v[0];
    if (items.n == 0 && !brackets) return unexpected(p, "an expression");
    return node_of(p, JJ_X_TUPLE, line, &items);
}

struct jj_expr *jj_parse_tuple(struct jj_parser *p, bool inline_if)
{
    return parse_tuple_in(p, inline_if, false);
}

static struct jj_expr *parse_parens(struct jj_parser *p)
{
    struct jj_expr *x = jj_parse_next(p) ? parse_tuple_in(p, true, true) : NULL;
    return x && jj_parse_expect_op(p, ')') ? x : NULL;
}

/* [a, b] and {k: v, ...}; the current token is the opening bracket. */
static struct jj_expr *parse_display(struct jj_parser *p, bool dict)
{
    struct nodes items = {0};
    int line = p->tok.line, end = dict ? '}' : ']';
    if (!jj_parse_next(p)) return NULL;
    while (!jj_parse_is_op(p, end)) {
        if (items.n > 0 && !jj_parse_expect_op(p, ',')) return NULL;
        if (jj_parse_is_op(p, end)) break;
        if (!nodes_add(p, &items, jj_parse_expr(p, true))) return NULL;
        if (dict && (!jj_parse_expect_op(p, ':') || !nodes_add(p, &items, jj_parse_expr(p, true))))
            return NULL;
    }
    return jj_parse_next(p) ? node_of(p, dict ? JJ_X_DICT : JJ_X_LIST, line, &items) : NULL;
}

static struct jj_expr *parse_primary(struct jj_parser *p)
{
    if (p->tok.kind == JJ_T_NAME) return parse_name(p);
    if (p->tok.kind == JJ_T_STR) return parse_strings(p);
    if (p->tok.kind == JJ_T_NUMBER) {
        struct jj_expr *x = constant(p, p->tok.value);
        return x && jj_parse_next(p) ? x : NULL;
    }
    if (jj_parse_is_op(p, '(')) return parse_parens(p);
    if (jj_parse_is_op(p, '[')) return parse_display(p, false);
    if (jj_parse_is_op(p, '{')) return parse_display(p, true);
    return unexpected(p, "an expression");
}

/* ---- what follows a primary ---------------------------------------------------------------------------- */

static struct jj_expr *parse_attr(struct jj_parser *p, struct jj_expr *of)
{
    struct jj_expr *x = node2(p, JJ_X_ATTR, p->tok.line, of, NULL);
    if (!x || !jj_parse_next(p)) return NULL;
    if (p->tok.kind == JJ_T_NUMBER && p->tok.value.kind == JJ_INT) {
        x->kind = JJ_X_ITEM;
        x->b = constant(p, p->tok.value);
        return x->b && jj_parse_next(p) ? x : NULL;
    }
    if (p->tok.kind != JJ_T_NAME) return unexpected(p, "a name or an index after '.'");
    x->name = jj_parse_intern(p, p->tok.p, p->tok.n);
    return x->name && jj_parse_next(p) ? x : NULL;
}

/* Bounds after the first: the current token is ':'. */
static bool parse_bounds(struct jj_parser *p, struct jj_expr **bounds)
{
    for (int i = 1; i < 3 && jj_parse_is_op(p, ':'); i++) {
        if (!jj_parse_next(p)) return false;
        if (jj_parse_is_op(p, ':') || jj_parse_is_op(p, ']')) continue;
        if (!(bounds[i] = jj_parse_expr(p, true))) return false;
    }
    return true;
}

static struct jj_expr *parse_subscript(struct jj_parser *p, struct jj_expr *of)
{
    struct jj_expr *x = node2(p, JJ_X_ITEM, p->tok.line, of, NULL);
    if (!x || !jj_parse_next(p)) return NULL;
    if (jj_parse_is_op(p, ']')) {
        jj_parse_fail(p, ALULA_UNSUPPORTED, "an empty subscript is not supported");
        return NULL;
    }
    if (!jj_parse_is_op(p, ':') && !(x->b = jj_parse_expr(p, true))) return NULL;
    if (jj_parse_is_op(p, ':')) {
        x->kind = JJ_X_SLICE;
        x->n = 3;
        x->list = jj_parse_alloc(p, 3 * sizeof *x->list);
        if (!x->list) return NULL;
        x->list[0] = x->b;
        if (!parse_bounds(p, x->list)) return NULL;
    }
    if (jj_parse_is_op(p, ',')) {
        jj_parse_fail(p, ALULA_UNSUPPORTED, "a subscript of several values is not supported");
        return NULL;
    }
    return jj_parse_expect_op(p, ']') ? x : NULL;
}

static bool add_keyword(struct jj_parser *p, struct jj_expr *x, uint32_t *cap)
{
    if (x->n_kw == *cap) {
        uint32_t more = *cap ? 2 * *cap : 4;
        struct jj_keyword *kw = jj_parse_alloc(p, more * sizeof *kw);
        if (!kw) return false;
        if (x->n_kw) memcpy(kw, x->kw, x->n_kw * sizeof *kw);
        x->kw = kw;
        *cap = more;
    }
    struct jj_keyword *k = &x->kw[x->n_kw++];
    k->name = jj_parse_intern(p, p->tok.p, p->tok.n);
    return k->name && jj_parse_next(p) && jj_parse_next(p) && (k->x = jj_parse_expr(p, true));
}

/* ( arguments ) into x; the current token is '('. */
static bool parse_arguments(struct jj_parser *p, struct jj_expr *x)
{
    struct nodes pos = {0};
    uint32_t cap = 0;
    if (!jj_parse_next(p)) return false;
    while (!jj_parse_is_op(p, ')')) {
        if (pos.n + x->n_kw > 0 && !jj_parse_expect_op(p, ',')) return false;
        if (jj_parse_is_op(p, ')')) break;
        if (jj_parse_is_op(p, '*') || jj_parse_is_op(p, JJ_OP_POW))
            return jj_parse_fail(p, ALULA_UNSUPPORTED, "arguments spread with * or ** are not supported");
        struct jj_tok after = {0};
        if (p->tok.kind == JJ_T_NAME && !jj_parse_look(p, &after)) return false;
        if (after.kind == JJ_T_OP && after.op == '=') {
            if (!add_keyword(p, x, &cap)) return false;
        } else if (x->n_kw > 0) {
            return jj_parse_fail(p, ALULA_FORMAT, "an argument without name follows one with a name");
        } else if (!nodes_add(p, &pos, jj_parse_expr(p, true))) {
            return false;
        }
    }
    x->list = pos.v;
    x->n = pos.n;
    return jj_parse_next(p);
}

static struct jj_expr *parse_call(struct jj_parser *p, struct jj_expr *callee)
{
    struct jj_expr *x = node2(p, JJ_X_CALL, p->tok.line, callee, NULL);
    return x && parse_arguments(p, x) ? x : NULL;
}

static struct jj_expr *parse_postfix(struct jj_parser *p, struct jj_expr *x)
{
    while (x && p->tok.kind == JJ_T_OP) {
        if (p->tok.op == '.')
            x = parse_attr(p, x);
        else if (p->tok.op == '[')
            x = parse_subscript(p, x);
        else if (p->tok.op == '(')
            x = parse_call(p, x);
        else
            break;
    }
    return x;
}

/* The name of a filter or test at the current token. */
static bool parse_callee(struct jj_parser *p, struct jj_expr *x, const char *expected)
{
    if (p->tok.kind != JJ_T_NAME) return jj_parse_unexpected(p, expected);
    x->name = jj_parse_intern(p, p->tok.p, p->tok.n);
    return x->name && jj_parse_next(p);
}

static struct jj_expr *parse_filter(struct jj_parser *p, struct jj_expr *of)
{
    struct jj_expr *x = node2(p, JJ_X_FILTER, p->tok.line, of, NULL);
    if (!x || !parse_callee(p, x, "the name of a filter")) return NULL;
    if (jj_parse_is_op(p, '(') && !parse_arguments(p, x)) return NULL;
    x->fn = jj_filter_find(x->name);
    return x;
}

/* A test may take one argument without parentheses. */
static bool at_bare_argument(const struct jj_parser *p)
{
    if (p->tok.kind == JJ_T_NAME)
        return !jj_parse_is_name(p, "else") && !jj_parse_is_name(p, "or") && !jj_parse_is_name(p, "and") &&
               !jj_parse_is_name(p, "if");
    return p->tok.kind == JJ_T_STR || p->tok.kind == JJ_T_NUMBER || jj_parse_is_op(p, '[') ||
           jj_parse_is_op(p, '{');
}

static struct jj_expr *parse_test(struct jj_parser *p, struct jj_expr *of)
{
    struct jj_expr *x = node2(p, JJ_X_TEST, p->tok.line, of, NULL);
    if (!x || !jj_parse_next(p)) return NULL;
    if (jj_parse_is_name(p, "not")) {
        x->negated = true;
        if (!jj_parse_next(p)) return NULL;
    }
    if (!parse_callee(p, x, "the name of a test")) return NULL;
    x->fn = jj_test_find(x->name);
    if (jj_parse_is_op(p, '(')) return parse_arguments(p, x) ? x : NULL;
    if (!at_bare_argument(p)) return x;
    if (jj_parse_is_name(p, "is")) {
        jj_parse_fail(p, ALULA_FORMAT, "tests cannot be chained with 'is'");
        return NULL;
    }
    struct nodes args = {0};
    if (!nodes_add(p, &args, parse_postfix(p, parse_primary(p)))) return NULL;
    x->list = args.v;
    x->n = args.n;
    return x;
}

struct jj_expr *jj_parse_filters(struct jj_parser *p, struct jj_expr *x, bool at)
{
    if (at) x = parse_filter(p, x);
    while (x && jj_parse_is_op(p, '|')) x = jj_parse_next(p) ? parse_filter(p, x) : NULL;
    return x;
}

static struct jj_expr *parse_suffixes(struct jj_parser *p, struct jj_expr *x)
{
    for (;;) {
        if (x && jj_parse_is_op(p, '|'))
            x = jj_parse_next(p) ? parse_filter(p, x) : NULL;
        else if (x && jj_parse_is_name(p, "is"))
            x = parse_test(p, x);
        else if (x && jj_parse_is_op(p, '('))
            x = parse_call(p, x);
        else
            return x;
    }
}

/* ---- levels of precedence ------------------------------------------------------------------------------ */

static struct jj_expr *parse_unary(struct jj_parser *p, bool suffixes)
{
    struct jj_expr *x;
    if (!jj_parse_deeper(p)) return NULL;
    if (jj_parse_is_op(p, '-') || jj_parse_is_op(p, '+')) {
        x = jj_parse_node(p, jj_parse_is_op(p, '-') ? JJ_X_NEG : JJ_X_POS, p->tok.line);
        if (!x || !jj_parse_next(p) || !(x->a = parse_unary(p, false))) return NULL;
    } else {
        x = parse_primary(p);
    }
    x = parse_postfix(p, x);
    if (suffixes) x = parse_suffixes(p, x);
    p->depth--;
    return x;
}

/* left OP right OP right ..., grouped from the left, for operators that `match` names. */
static struct jj_expr *parse_chain(struct jj_parser *p, struct jj_expr *(*operand)(struct jj_parser *),
                                   const int *ops)
{
    struct jj_expr *x = operand(p);
    while (x && p->tok.kind == JJ_T_OP) {
        int i = 0;
        while (ops[i] && ops[i] != p->tok.op) i++;
        if (!ops[i]) break;
        struct jj_expr *op = node2(p, JJ_X_BINARY, p->tok.line, x, NULL);
        if (!op || !jj_parse_next(p) || !(op->b = operand(p))) return NULL;
        op->op = (uint16_t)ops[i];
        x = op;
    }
    return x;
}

static struct jj_expr *parse_operand(struct jj_parser *p) { return parse_unary(p, true); }

static struct jj_expr *parse_power(struct jj_parser *p)
{
    static const int ops[] = {JJ_OP_POW, 0};
    return parse_chain(p, parse_operand, ops);
}

static struct jj_expr *parse_product(struct jj_parser *p)
{
    static const int ops[] = {'*', '/', JJ_OP_FLOOR, '%', 0};
    return parse_chain(p, parse_power, ops);
}

static struct jj_expr *parse_concat(struct jj_parser *p)
{
    struct nodes parts = {0};
    int line = p->tok.line;
    struct jj_expr *x = parse_product(p);
    if (!x || !jj_parse_is_op(p, '~')) return x;
    if (!nodes_add(p, &parts, x)) return NULL;
    while (jj_parse_is_op(p, '~'))
        if (!jj_parse_next(p) || !nodes_add(p, &parts, parse_product(p))) return NULL;
    return node_of(p, JJ_X_CONCAT, line, &parts);
}

static struct jj_expr *parse_sum(struct jj_parser *p)
{
    static const int ops[] = {'+', '-', 0};
    return parse_chain(p, parse_concat, ops);
}

/* The comparison at the current token, 0 = none; moves behind it. */
static bool parse_comparison(struct jj_parser *p, int *ret)
{
    *ret = 0;
    if (p->tok.kind == JJ_T_OP) {
        int op = p->tok.op;
        if (op != JJ_OP_EQ && op != JJ_OP_NE && op != JJ_OP_LE && op != JJ_OP_GE && op != '<' && op != '>')
            return true;
        *ret = op;
        return jj_parse_next(p);
    }
    if (jj_parse_is_name(p, "in")) {
        *ret = JJ_OP_IN;
        return jj_parse_next(p);
    }
    if (!jj_parse_is_name(p, "not")) return true;
    struct jj_tok after;
    if (!jj_parse_look(p, &after)) return false;
    if (after.kind != JJ_T_NAME || after.n != 2 || memcmp(after.p, "in", 2) != 0) return true;
    *ret = JJ_OP_NOT_IN;
    return jj_parse_next(p) && jj_parse_next(p);
}

static struct jj_expr *parse_compare(struct jj_parser *p)
{
    struct nodes operands = {0};
    uint16_t *ops = NULL;
    uint32_t cap = 0;
    int op, line = p->tok.line;
    struct jj_expr *first = parse_sum(p);
    while (first) {
        if (!parse_comparison(p, &op)) return NULL;
        if (!op) break;
        if (operands.n == cap) {
            uint16_t *more = jj_parse_alloc(p, (cap + 4) * 2 * sizeof *more);
            if (!more) return NULL;
            if (cap) memcpy(more, ops, cap * sizeof *more);
            ops = more;
            cap = (cap + 4) * 2;
        }
        ops[operands.n] = (uint16_t)op;
        if (!nodes_add(p, &operands, parse_sum(p))) return NULL;
    }
    if (!first || operands.n == 0) return first;
    struct jj_expr *x = node_of(p, JJ_X_COMPARE, line, &operands);
    if (!x) return NULL;
    x->a = first;
    x->ops = ops;
    return x;
}

static struct jj_expr *parse_not(struct jj_parser *p)
{
    if (!jj_parse_is_name(p, "not")) return parse_compare(p);
    struct jj_expr *x = jj_parse_node(p, JJ_X_NOT, p->tok.line);
    if (!x || !jj_parse_deeper(p) || !jj_parse_next(p) || !(x->a = parse_not(p))) return NULL;
    p->depth--;
    return x;
}

static struct jj_expr *parse_and(struct jj_parser *p)
{
    struct jj_expr *x = parse_not(p);
    while (x && jj_parse_is_name(p, "and")) {
        x = node2(p, JJ_X_AND, p->tok.line, x, NULL);
        if (!x || !jj_parse_next(p) || !(x->b = parse_not(p))) return NULL;
    }
    return x;
}

static struct jj_expr *parse_or(struct jj_parser *p)
{
    struct jj_expr *x = parse_and(p);
    while (x && jj_parse_is_name(p, "or")) {
        x = node2(p, JJ_X_OR, p->tok.line, x, NULL);
        if (!x || !jj_parse_next(p) || !(x->b = parse_and(p))) return NULL;
    }
    return x;
}

struct jj_expr *jj_parse_expr(struct jj_parser *p, bool inline_if)
{
    if (!jj_parse_deeper(p)) return NULL;
    struct jj_expr *x = parse_or(p);
    while (x && inline_if && jj_parse_is_name(p, "if")) {
        struct jj_expr *cond = jj_parse_node(p, JJ_X_COND, p->tok.line);
        if (!cond || !jj_parse_next(p) || !(cond->a = parse_or(p))) return NULL;
        cond->b = x;
        if (jj_parse_is_name(p, "else") && (!jj_parse_next(p) || !(cond->c = jj_parse_expr(p, true))))
            return NULL;
        x = cond;
    }
    p->depth--;
    return x;
}
