/* jinja.c - the interpreter's face: parse, render, free; and the ceilings of one rendering.
 *
 * Owns a template's and a rendering's memory. The parts: jinja_lex, jinja_parse, jinja_expr make the tree;
 * jinja_exec and jinja_eval walk it; jinja_value, _str, _case, _number, _compare, _text, _json are the
 * values; jinja_access, _iter, _call, _filter, _test, _method what templates may do with them. */
#include "text/jinja_internal.h"

#include <stdarg.h>
#include <stdio.h>

bool jinja_parse(struct jinja **ret, const char *text, size_t n, const char *name, struct alula_error *e)
{
    struct jinja *j = mem_zalloc(1, sizeof *j);
    if (!j) return err_set(e, ALULA_NOMEM, "out of memory for the template %s", name);
    j->mem.arena.ceiling = JINJA_TREE_MAX;
    j->name = mem_strdup(name);
    bool ok = j->name ? jj_parse_body(j, text, n, e)
                      : err_set(e, ALULA_NOMEM, "out of memory for the template %s", name);
    if (!ok) {
        jinja_free(j);
        return false;
    }
    *ret = j;
    return true;
}

void jinja_free(struct jinja *j)
{
    if (!j) return;
    arena_free(&j->mem.arena);
    mem_free(j->name);
    mem_free(j);
}

void jj_run_begin(struct jj_run *r, const struct jinja *j, int64_t now, struct buf *out,
                  struct alula_error *e)
{
    *r = (struct jj_run){.j = j, .out = out, .out_base = out->len, .e = e, .now = now};
    r->mem.arena.ceiling = JINJA_VALUES_MAX;
}

void jj_run_end(struct jj_run *r) { arena_free(&r->mem.arena); }

bool jinja_render(const struct jinja *j, const char *context, size_t n, int64_t now, struct buf *out,
                  struct alula_error *e)
{
    struct jj_run r;
    struct jj_value v;
    jj_run_begin(&r, j, now, out, e);
    bool ok = jj_json_read(&r, context, n, "the context", &v);
    if (ok && v.kind != JJ_DICT)
        ok = err_set(e, ALULA_FORMAT, "the context is a JSON %s, expected an object", jj_kind_name(v));
    ok = ok && jj_run_template(&r, v.d);
    jj_run_end(&r);
    return ok;
}

bool jj_fail(struct jj_run *r, enum alula_code code, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (r->line == 0) return err_set(r->e, code, "%s: %s", r->j->name, text);
    return err_set(r->e, code, "%s:%d: %s", r->j->name, r->line, text);
}

bool jj_unsupported(struct jj_run *r, const char *what)
{
    return jj_fail(r, ALULA_UNSUPPORTED, "%s is not supported", what);
}

bool jj_step(struct jj_run *r, size_t n)
{
    if (n > JINJA_STEPS_MAX) n = JINJA_STEPS_MAX;
    r->steps += (int64_t)n;
    return r->steps <= JINJA_STEPS_MAX ||
           jj_fail(r, ALULA_LIMIT, "the template takes more than %d steps", JINJA_STEPS_MAX);
}

bool jj_enter(struct jj_run *r)
{
    if (r->depth >= JJ_DEPTH_MAX)
        return jj_fail(r, ALULA_LIMIT, "calls and values are nested more than %d deep", JJ_DEPTH_MAX);
    r->depth++;
    return true;
}
