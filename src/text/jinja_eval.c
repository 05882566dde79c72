/* jinja_eval.c - expressions: one walk over the tree.
 *
 * Owns evaluation order and short circuits. What operators, filters and calls do is elsewhere. */
#include "text/jinja_internal.h"

void jj_lookup(struct jj_run *r, const struct jj_str *name, struct jj_value *ret)
{
    for (const struct jj_scope *s = r->scope; s; s = s->up)
        for (uint32_t i = s->n; i > 0; i--)
            if (s->vars[i - 1].name == name) {
                *ret = s->vars[i - 1].v;
                return;
            }
    if (r->context && jj_dict_find(r->context, jj_of_str(name), ret)) return;
    const struct jj_func *fn = jj_global_find(name);
    *ret = fn ? (struct jj_value){.kind = JJ_FUNC, .fn = fn}
              : (struct jj_value){.kind = JJ_UNDEF, .flag = JJ_NO_NAME, .s = name};
}

static bool eval_list(struct jj_run *r, const struct jj_expr *x, struct jj_value *ret)
{
    struct jj_items items = {.n = x->n};
    if (x->n && !(items.v = jj_array(r, x->n, sizeof *items.v))) return false;
    for (uint32_t i = 0; i < x->n; i++)
        if (!jj_eval(r, x->list[i], &items.v[i])) return false;
    return jj_items_list(r, &items, x->kind == JJ_X_TUPLE ? JJ_TUPLE : JJ_LIST, ret);
}

static bool eval_dict(struct jj_run *r, const struct jj_expr *x, struct jj_value *ret)
{
    struct jj_dict *d = jj_dict_new(r);
    if (!d) return false;
    for (uint32_t i = 0; i < x->n; i += 2) {
        struct jj_value key, v;
        if (!jj_eval(r, x->list[i], &key) || !jj_eval(r, x->list[i + 1], &v)) return false;
        r->line = x->line;
        if (!jj_dict_set(r, d, key, v)) return false;
    }
    *ret = jj_of_dict(d);
    return true;
}

static bool eval_cond(struct jj_run *r, const struct jj_expr *x, struct jj_value *ret)
{
    struct jj_value cond;
    if (!jj_eval(r, x->a, &cond)) return false;
    if (jj_truth(cond)) return jj_eval(r, x->b, ret);
    if (x->c) return jj_eval(r, x->c, ret);
    *ret = jj_plain_undef("an inline if without else whose condition is false");
    return true;
}

/* a < b < c: each operand once, and none behind the first comparison that fails. */
static bool eval_compare(struct jj_run *r, const struct jj_expr *x, struct jj_value *ret)
{
    struct jj_value left, right;
    bool holds = true;
    if (!jj_eval(r, x->a, &left)) return false;
    for (uint32_t i = 0; i < x->n && holds; i++) {
        if (!jj_eval(r, x->list[i], &right)) return false;
        r->line = x->line;
        if (!jj_compare(r, x->ops[i], left, right, &holds)) return false;
        left = right;
    }
    *ret = jj_bool(holds);
    return true;
}

/* The parts behind the first are gathered as text and put behind it in one go, so that a text that grows
 * is not copied each time. */
static bool eval_concat(struct jj_run *r, const struct jj_expr *x, struct jj_value *ret)
{
    struct jj_value first, v;
    if (!jj_eval(r, x->list[0], &first)) return false;
    size_t mark = r->out->len;
    bool append = first.kind == JJ_STR;
    if (!append && !jj_put_text(r, first)) return false;
    for (uint32_t i = 1; i < x->n; i++) {
        if (!jj_eval(r, x->list[i], &v)) return false;
        r->line = x->line;
        if (!jj_put_text(r, v)) return false;
    }
    if (!append) return jj_take(r, mark, ret);
    size_t n = r->out->len - mark;
    if (!jj_str_append(r, first.s, n ? r->out->data + mark : "", n, ret)) return false;
    r->out->len = mark;
    return true;
}

static bool eval_item(struct jj_run *r, const struct jj_expr *x, struct jj_value *ret)
{
    struct jj_value of, key;
    if (!jj_eval(r, x->a, &of) || !jj_eval(r, x->b, &key)) return false;
    r->line = x->line;
    return jj_get_item(r, of, key, ret);
}

static bool eval_slice(struct jj_run *r, const struct jj_expr *x, struct jj_value *ret)
{
    struct jj_value of, bounds[3];
    if (!jj_eval(r, x->a, &of)) return false;
    for (int i = 0; i < 3; i++) {
        bounds[i] = (struct jj_value){.kind = JJ_MISSING};
        if (x->list[i] && !jj_eval(r, x->list[i], &bounds[i])) return false;
    }
    r->line = x->line;
    return jj_get_slice(r, of, bounds, ret);
}

static bool eval_call(struct jj_run *r, const struct jj_expr *x, struct jj_value *ret)
{
    struct jj_value callee;
    struct jj_args args;
    return jj_eval(r, x->a, &callee) && jj_args_eval(r, x, &args) && jj_call(r, callee, &args, ret);
}

static bool eval_filter(struct jj_run *r, const struct jj_expr *x, struct jj_value *ret)
{
    struct jj_value self;
    struct jj_args args;
    if (!x->fn) return jj_fail(r, ALULA_FORMAT, "no filter named '%.*s'", (int)x->name->n, x->name->p);
    return jj_eval(r, x->a, &self) && jj_args_eval(r, x, &args) && jj_apply(r, x->fn, self, &args, ret);
}

static bool eval_test(struct jj_run *r, const struct jj_expr *x, struct jj_value *ret)
{
    struct jj_value self;
    struct jj_args args;
    if (!x->fn) return jj_fail(r, ALULA_FORMAT, "no test named '%.*s'", (int)x->name->n, x->name->p);
    if (!jj_eval(r, x->a, &self) || !jj_args_eval(r, x, &args) || !jj_apply(r, x->fn, self, &args, ret))
        return false;
    if (x->negated) ret->b = !ret->b;
    return true;
}

static bool eval_unary(struct jj_run *r, const struct jj_expr *x, struct jj_value *ret)
{
    struct jj_value a;
    if (!jj_eval(r, x->a, &a)) return false;
    r->line = x->line;
    if (x->kind != JJ_X_NOT) return jj_negate(r, a, x->kind == JJ_X_NEG, ret);
    *ret = jj_bool(!jj_truth(a));
    return true;
}

static bool eval_binary(struct jj_run *r, const struct jj_expr *x, struct jj_value *ret)
{
    struct jj_value a, b;
    if (!jj_eval(r, x->a, &a)) return false;
    if (x->kind != JJ_X_BINARY && jj_truth(a) != (x->kind == JJ_X_AND)) {
        *ret = a;
        return true;
    }
    if (!jj_eval(r, x->b, &b)) return false;
    r->line = x->line;
    if (x->kind == JJ_X_BINARY) return jj_binary(r, x->op, a, b, ret);
    *ret = b;
    return true;
}

static bool eval_attr(struct jj_run *r, const struct jj_expr *x, struct jj_value *ret)
{
    struct jj_value of;
    if (!jj_eval(r, x->a, &of)) return false;
    r->line = x->line;
    return jj_get_attr(r, of, x->name, ret);
}

static bool eval_kind(struct jj_run *r, const struct jj_expr *x, struct jj_value *ret)
{
    switch ((enum jj_expr_kind)x->kind) {
    case JJ_X_CONST: *ret = x->constant; return true;
    case JJ_X_NAME: jj_lookup(r, x->name, ret); return true;
    case JJ_X_HOLE: *ret = r->hole; return true;
    case JJ_X_LIST:
    case JJ_X_TUPLE: return eval_list(r, x, ret);
    case JJ_X_DICT: return eval_dict(r, x, ret);
    case JJ_X_NOT:
    case JJ_X_NEG:
    case JJ_X_POS: return eval_unary(r, x, ret);
    case JJ_X_AND:
    case JJ_X_OR:
    case JJ_X_BINARY: return eval_binary(r, x, ret);
    case JJ_X_COND: return eval_cond(r, x, ret);
    case JJ_X_COMPARE: return eval_compare(r, x, ret);
    case JJ_X_CONCAT: return eval_concat(r, x, ret);
    case JJ_X_ATTR: return eval_attr(r, x, ret);
    case JJ_X_ITEM: return eval_item(r, x, ret);
    case JJ_X_SLICE: return eval_slice(r, x, ret);
    case JJ_X_CALL: return eval_call(r, x, ret);
    case JJ_X_FILTER: return eval_filter(r, x, ret);
    case JJ_X_TEST: return eval_test(r, x, ret);
    }
    return jj_fail(r, ALULA_INTERNAL, "an unknown node in the tree");
}

bool jj_eval(struct jj_run *r, const struct jj_expr *x, struct jj_value *ret)
{
    r->line = x->line;
    if (!jj_step(r, 1)) return false;
    if (x->kind == JJ_X_CONST || x->kind == JJ_X_NAME) return eval_kind(r, x, ret);
    if (!jj_enter(r)) return false;
    bool ok = eval_kind(r, x, ret);
    r->depth--;
    return ok;
}
