/* jinja_exec.c - statements: printing, branches, loops, assignment, macros.
 *
 * Owns scopes. A scope is the template, one round of a loop, a macro's body, or the body of a capturing
 * block; `if` is none. Writing goes to the innermost, reading looks outward along the places where things
 * are written, not along calls. */
#include "text/jinja_internal.h"

#include <string.h>

static bool exec(struct jj_run *r, const struct jj_stmt *s, enum jj_flow *flow);

/* ---- scopes -------------------------------------------------------------------------------------------- */

static struct jj_scope *scope_new(struct jj_run *r, struct jj_scope *up)
{
    struct jj_scope *s = r->spare;
    if (s)
        r->spare = s->up;
    else if (!(s = jj_alloc(r, sizeof *s)))
        return NULL;
    s->up = up;
    s->n = 0;
    return s;
}

/* For use again, unless a macro looks back at it. */
static void scope_drop(struct jj_run *r, struct jj_scope *s)
{
    if (s->kept) return;
    s->up = r->spare;
    r->spare = s;
}

static bool scope_set(struct jj_run *r, struct jj_scope *s, const struct jj_str *name, struct jj_value v)
{
    for (uint32_t i = 0; i < s->n; i++)
        if (s->vars[i].name == name) {
            s->vars[i].v = v;
            return true;
        }
    if (s->n == s->cap) {
        uint32_t cap = s->cap ? 2 * s->cap : 4;
        struct jj_var *vars = jj_array(r, cap, sizeof *vars);
        if (!vars) return false;
        if (s->n) memcpy(vars, s->vars, s->n * sizeof *vars);
        s->vars = vars;
        s->cap = cap;
    }
    s->vars[s->n++] = (struct jj_var){name, v};
    return true;
}

/* ---- assignment ---------------------------------------------------------------------------------------- */

static bool assign_attr(struct jj_run *r, const struct jj_target *t, struct jj_value v)
{
    struct jj_value space;
    jj_lookup(r, t->name, &space);
    if (space.kind != JJ_SPACE)
        return jj_fail(r, ALULA_FORMAT, "cannot assign to '%.*s.%.*s': '%.*s' is no namespace",
                       (int)t->name->n, t->name->p, (int)t->attr->n, t->attr->p, (int)t->name->n, t->name->p);
    if (*t->attr->p == '_')
        return jj_fail(r, ALULA_FORMAT, "the attribute '%.*s' of a namespace may not begin with '_'",
                       (int)t->attr->n, t->attr->p);
    return jj_dict_set(r, space.d, jj_of_str(t->attr), v);
}

static bool assign(struct jj_run *r, struct jj_scope *scope, const struct jj_target *t, struct jj_value v)
{
    if (t->attr) return assign_attr(r, t, v);
    if (!t->items) return scope_set(r, scope, t->name, v);
    struct jj_items items = {0};
    if (v.kind == JJ_LIST || v.kind == JJ_TUPLE)
        items = (struct jj_items){.v = (struct jj_value *)v.l->v, .n = v.l->n};
    else if (!jj_iter_collect(r, v, &items))
        return false;
    if (items.n != t->n)
        return jj_fail(r, ALULA_FORMAT, "cannot unpack %zu values into %u names", items.n, (unsigned)t->n);
    for (uint32_t i = 0; i < t->n; i++)
        if (!assign(r, scope, &t->items[i], items.v[i])) return false;
    return true;
}

/* ---- loops --------------------------------------------------------------------------------------------- */

/* A for loop under way, and what `loop` names in it. Elements are drawn one by one, at most one ahead,
 * since the filter may depend on what the body did. */
struct jj_loop {
    const struct jj_stmt *def;
    struct jj_scope *outer;
    struct jj_iter it;
    struct jj_value before, now, after;
    bool has_before, has_after, over;
    bool drawn; /* it holds elements that passed the filter already */
    int64_t index0;
    size_t length; /* SIZE_MAX until asked for */
};

static bool passes(struct jj_run *r, struct jj_loop *l, struct jj_value v, bool *ret)
{
    struct jj_scope *here = r->scope, *s = scope_new(r, l->outer);
    struct jj_value cond;
    int line = r->line;
    if (!s || !assign(r, s, &l->def->target, v)) return false;
    r->scope = s;
    if (!jj_eval(r, l->def->test, &cond)) return false;
    r->scope = here;
    r->line = line;
    scope_drop(r, s);
    *ret = jj_truth(cond);
    return true;
}

/* An element that was unpacked for the filter is a tuple from then on: loop.previtem shows it so. */
static bool as_tuple(struct jj_run *r, struct jj_value *v)
{
    struct jj_items items;
    return v->kind == JJ_TUPLE || (jj_iter_collect(r, *v, &items) && jj_items_list(r, &items, JJ_TUPLE, v));
}

static bool draw(struct jj_run *r, struct jj_loop *l, struct jj_value *ret, bool *got)
{
    for (bool keep = false; !keep;) {
        if (!jj_iter_next(r, &l->it, ret, got)) return false;
        if (!*got || !l->def->test || l->drawn) return true;
        if (l->def->target.items && !as_tuple(r, ret)) return false;
        if (!passes(r, l, *ret, &keep)) return false;
    }
    return true;
}

static bool peek(struct jj_run *r, struct jj_loop *l)
{
    if (l->has_after) return true;
    if (l->over) return jj_unsupported(r, "using loop after its end");
    return draw(r, l, &l->after, &l->has_after);
}

static bool loop_length(struct jj_run *r, struct jj_loop *l)
{
    bool ok = false;
    if (l->length != SIZE_MAX) return true;
    if (!l->def->test && !jj_length(r, l->it.src, &l->length, &ok)) return false;
    if (ok) return true;
    if (l->over) return jj_unsupported(r, "using loop after its end");
    struct jj_items rest = {0};
    if (l->has_after && !jj_items_add(r, &rest, l->after)) return false;
    for (bool got = true; got;) {
        struct jj_value v;
        if (!draw(r, l, &v, &got) || (got && !jj_items_add(r, &rest, v))) return false;
    }
    struct jj_value list;
    if (!jj_items_list(r, &rest, JJ_LIST, &list)) return false;
    l->length = (size_t)l->index0 + 1 + rest.n;
    /* What was drawn is walked from here on; the source is at its end. */
    l->it = (struct jj_iter){.kind = JJ_I_VALUES, .src = list};
    l->has_after = false;
    l->drawn = true;
    return true;
}

bool jj_loop_attr(struct jj_run *r, struct jj_loop *l, const struct jj_str *name, struct jj_value *ret,
                  bool *found)
{
    *found = true;
    if (jj_str_is(name, "index")) {
        *ret = jj_int(l->index0 + 1);
    } else if (jj_str_is(name, "index0")) {
        *ret = jj_int(l->index0);
    } else if (jj_str_is(name, "first")) {
        *ret = jj_bool(l->index0 == 0);
    } else if (jj_str_is(name, "last")) {
        if (!peek(r, l)) return false;
        *ret = jj_bool(!l->has_after);
    } else if (jj_str_is(name, "length") || jj_str_is(name, "revindex") || jj_str_is(name, "revindex0")) {
        if (!loop_length(r, l)) return false;
        int64_t n = (int64_t)l->length;
        *ret = jj_int(name->n == 6 ? n : n - l->index0 - (name->n == 9));
    } else if (jj_str_is(name, "previtem")) {
        *ret = l->has_before ? l->before : jj_plain_undef("there is no previous item");
    } else if (jj_str_is(name, "nextitem")) {
        if (!peek(r, l)) return false;
        *ret = l->has_after ? l->after : jj_plain_undef("there is no next item");
    } else if (jj_str_is(name, "depth") || jj_str_is(name, "depth0")) {
        *ret = jj_int(name->n == 5);
    } else if (jj_str_is(name, "cycle") || jj_str_is(name, "changed")) {
        return jj_fail(r, ALULA_UNSUPPORTED, "loop.%.*s is not supported", (int)name->n, name->p);
    } else {
        *found = false;
    }
    return true;
}

/* Moves to the next element; *got false at the end. */
static bool loop_advance(struct jj_run *r, struct jj_loop *l, bool *got)
{
    struct jj_value v = l->after;
    *got = l->has_after;
    if (!l->has_after && !draw(r, l, &v, got)) return false;
    if (!*got) return true;
    l->has_after = false;
    l->has_before = ++l->index0 > 0;
    l->before = l->now;
    l->now = v;
    return true;
}

static bool loop_round(struct jj_run *r, struct jj_loop *l, enum jj_flow *flow)
{
    struct jj_scope *s = scope_new(r, l->outer);
    struct jj_value self = {.kind = JJ_LOOP, .lp = l};
    if (!s || !scope_set(r, s, r->j->loop_name, self) || !assign(r, s, &l->def->target, l->now)) return false;
    r->scope = s;
    bool ok = exec(r, l->def->body, flow);
    r->scope = l->outer;
    scope_drop(r, s);
    return ok;
}

static bool exec_in_scope(struct jj_run *r, const struct jj_stmt *body, enum jj_flow *flow)
{
    struct jj_scope *outer = r->scope, *s = scope_new(r, outer);
    if (!s) return false;
    r->scope = s;
    bool ok = exec(r, body, flow);
    r->scope = outer;
    scope_drop(r, s);
    return ok;
}

static bool exec_for(struct jj_run *r, const struct jj_stmt *s, enum jj_flow *flow)
{
    struct jj_value src;
    struct jj_loop *l = jj_alloc(r, sizeof *l);
    if (!l || !jj_eval(r, s->x, &src)) return false;
    *l = (struct jj_loop){.def = s, .outer = r->scope, .index0 = -1, .length = SIZE_MAX};
    r->line = s->line;
    if (!jj_iter_open(r, src, &l->it)) return false;
    bool whole = false, got = true;
    for (enum jj_flow round = JJ_GO_ON; round != JJ_BREAK;) {
        r->line = s->line;
        if (!loop_advance(r, l, &got)) return false;
        if (!got) break;
        round = JJ_GO_ON;
        if (!loop_round(r, l, &round)) return false;
        whole = whole || round == JJ_GO_ON;
    }
    l->over = true;
    /* As in jinja2: else runs unless a round reached its end. */
    return whole || !s->other || exec_in_scope(r, s->other, flow);
}

/* ---- captured text ------------------------------------------------------------------------------------- */

/* Runs body in a scope of its own and takes what it printed. A break out of it discards the text. */
static bool capture(struct jj_run *r, const struct jj_stmt *s, enum jj_flow *flow, struct jj_value *ret)
{
    size_t mark = r->out->len;
    if (!exec_in_scope(r, s->body, flow)) return false;
    if (*flow != JJ_GO_ON) {
        r->out->len = mark;
        return true;
    }
    if (!jj_take(r, mark, ret)) return false;
    if (!s->x) return true;
    r->hole = *ret;
    r->line = s->line;
    return jj_eval(r, s->x, ret);
}

static bool exec_set_block(struct jj_run *r, const struct jj_stmt *s, enum jj_flow *flow)
{
    struct jj_value v;
    if (!capture(r, s, flow, &v)) return false;
    return *flow != JJ_GO_ON || assign(r, r->scope, &s->target, v);
}

static bool exec_filter(struct jj_run *r, const struct jj_stmt *s, enum jj_flow *flow)
{
    struct jj_value v;
    if (!capture(r, s, flow, &v)) return false;
    return *flow != JJ_GO_ON || jj_put_text(r, v);
}

/* ---- macros -------------------------------------------------------------------------------------------- */

static bool exec_macro(struct jj_run *r, const struct jj_stmt *s)
{
    struct jj_macro *m = jj_alloc(r, sizeof *m);
    if (!m) return false;
    *m = (struct jj_macro){s, r->scope};
    for (struct jj_scope *up = r->scope; up && !up->kept; up = up->up) up->kept = true;
    return scope_set(r, r->scope, s->target.name, (struct jj_value){.kind = JJ_MACRO, .m = m});
}

static bool fail_argument(struct jj_run *r, const struct jj_stmt *def, const struct jj_str *name,
                          const char *how)
{
    return jj_fail(r, ALULA_FORMAT, "the macro '%.*s' %s '%.*s'", (int)def->target.name->n,
                   def->target.name->p, how, (int)name->n, name->p);
}

/* Values of the parameters in order; JJ_MISSING where none was given. */
static bool bind_macro(struct jj_run *r, const struct jj_stmt *def, const struct jj_args *args,
                       struct jj_value *a)
{
    if (args->n > def->n_params)
        return jj_fail(r, ALULA_FORMAT, "the macro '%.*s' takes at most %u argument(s), got %u",
                       (int)def->target.name->n, def->target.name->p, (unsigned)def->n_params,
                       (unsigned)args->n);
    for (uint32_t i = 0; i < args->n; i++) a[i] = args->pos[i];
    for (uint32_t k = 0; k < args->n_named; k++) {
        uint32_t i = 0;
        while (i < def->n_params && def->params[i].name != args->names[k]) i++;
        if (i == def->n_params) return fail_argument(r, def, args->names[k], "has no argument named");
        if (a[i].kind != JJ_MISSING) return fail_argument(r, def, args->names[k], "got twice the argument");
        a[i] = args->named[k];
    }
    return true;
}

/* Defaults are evaluated at the call and see the parameters before them. */
static bool fill_scope(struct jj_run *r, const struct jj_stmt *def, const struct jj_value *a,
                       struct jj_scope *s)
{
    for (uint32_t i = 0; i < def->n_params; i++) {
        const struct jj_keyword *p = &def->params[i];
        struct jj_value v = a[i];
        if (v.kind == JJ_MISSING && p->x) {
            if (!jj_eval(r, p->x, &v)) return false;
        } else if (v.kind == JJ_MISSING) {
            v = (struct jj_value){.kind = JJ_UNDEF, .flag = JJ_NO_NAME, .s = p->name};
        }
        if (!scope_set(r, s, p->name, v)) return false;
    }
    return true;
}

bool jj_call_macro(struct jj_run *r, const struct jj_macro *m, const struct jj_args *args,
                   struct jj_value *ret)
{
    const struct jj_stmt *def = m->def;
    struct jj_scope *caller = r->scope, *s = scope_new(r, m->scope);
    struct jj_value *a = jj_array(r, def->n_params, sizeof *a);
    int line = r->line;
    size_t mark = r->out->len;
    enum jj_flow flow = JJ_GO_ON;
    if (!s || !a || !bind_macro(r, def, args, a)) return false;
    r->scope = s;
    if (!fill_scope(r, def, a, s) || !exec(r, def->body, &flow)) return false;
    r->scope = caller;
    r->line = line;
    scope_drop(r, s);
    return jj_take(r, mark, ret);
}

/* ---- the walk ------------------------------------------------------------------------------------------ */

static bool exec_if(struct jj_run *r, const struct jj_stmt *s, enum jj_flow *flow)
{
    for (; s; s = s->other) {
        struct jj_value cond = jj_bool(true);
        if (s->x && !jj_eval(r, s->x, &cond)) return false;
        if (jj_truth(cond)) return exec(r, s->body, flow);
    }
    return true;
}

static bool exec_print(struct jj_run *r, const struct jj_stmt *s)
{
    struct jj_value v;
    if (!jj_eval(r, s->x, &v)) return false;
    r->line = s->line;
    return jj_put_text(r, v);
}

static bool exec_set(struct jj_run *r, const struct jj_stmt *s)
{
    struct jj_value v;
    if (!jj_eval(r, s->x, &v)) return false;
    r->line = s->line;
    return assign(r, r->scope, &s->target, v);
}

static bool exec_one(struct jj_run *r, const struct jj_stmt *s, enum jj_flow *flow)
{
    switch ((enum jj_stmt_kind)s->kind) {
    case JJ_S_TEXT: return jj_put(r, s->text, s->n_text);
    case JJ_S_PRINT: return exec_print(r, s);
    case JJ_S_IF: return exec_if(r, s, flow);
    case JJ_S_FOR: return exec_for(r, s, flow);
    case JJ_S_SET: return exec_set(r, s);
    case JJ_S_SET_BLOCK: return exec_set_block(r, s, flow);
    case JJ_S_FILTER: return exec_filter(r, s, flow);
    case JJ_S_SCOPE: return exec_in_scope(r, s->body, flow);
    case JJ_S_MACRO: return exec_macro(r, s);
    case JJ_S_BREAK: *flow = JJ_BREAK; return true;
    case JJ_S_CONTINUE: *flow = JJ_CONTINUE; return true;
    }
    return jj_fail(r, ALULA_INTERNAL, "an unknown statement in the tree");
}

static bool exec(struct jj_run *r, const struct jj_stmt *s, enum jj_flow *flow)
{
    if (!jj_enter(r)) return false;
    for (; s && *flow == JJ_GO_ON; s = s->next) {
        r->line = s->line;
        if (!jj_step(r, 1) || !exec_one(r, s, flow)) return false;
    }
    r->depth--;
    return true;
}

bool jj_run_template(struct jj_run *r, struct jj_dict *context)
{
    enum jj_flow flow = JJ_GO_ON;
    r->context = context;
    r->scope = scope_new(r, NULL);
    bool ok = r->scope && exec(r, r->j->body, &flow);
    if (!ok) r->out->len = r->out_base;
    if (r->out->data) r->out->data[r->out->len] = '\0';
    return ok;
}
