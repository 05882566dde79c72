/* jinja_parse.c - statements: pieces of text and tags to the tree.
 *
 * Owns the parser's state, names and blocks; expressions are jinja_expr.c. Knows nothing of values at run
 * time. */
#include "text/jinja_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- state --------------------------------------------------------------------------------------------- */

void *jj_parse_alloc(struct jj_parser *p, size_t n)
{
    void *m = jj_mem_alloc(&p->j->mem, n);
    if (!m) jj_lex_no_memory(&p->lex, n);
    return m;
}

bool jj_parse_fail(struct jj_parser *p, enum alula_code code, const char *fmt, ...)
{
    char text[900];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return jj_lex_fail(&p->lex, code, p->tok.line, "%s", text);
}

static bool grow_names(struct jj_parser *p)
{
    uint32_t n = p->n_slots ? 2 * p->n_slots : 64;
    const struct jj_str **old = p->names, **slots = jj_parse_alloc(p, n * sizeof *slots);
    if (!slots) return false;
    for (uint32_t i = 0; i < p->n_slots; i++) {
        if (!old[i]) continue;
        uint32_t at = (uint32_t)jj_hash_bytes(old[i]->p, old[i]->n) & (n - 1);
        while (slots[at]) at = (at + 1) & (n - 1);
        slots[at] = old[i];
    }
    p->names = slots;
    p->n_slots = n;
    return true;
}

const struct jj_str *jj_parse_intern(struct jj_parser *p, const char *s, size_t n)
{
    if (2 * p->n_names >= p->n_slots && !grow_names(p)) return NULL;
    uint32_t at = (uint32_t)jj_hash_bytes(s, n) & (p->n_slots - 1);
    for (; p->names[at]; at = (at + 1) & (p->n_slots - 1))
        if (p->names[at]->n == n && memcmp(p->names[at]->p, s, n) == 0) return p->names[at];
    struct jj_str *name = jj_parse_alloc(p, sizeof *name);
    if (!name) return NULL;
    *name = (struct jj_str){.p = s, .n = n, .chars = jj_count_chars(s, n)};
    p->n_names++;
    return p->names[at] = name;
}

bool jj_parse_next(struct jj_parser *p)
{
    if (p->has_ahead) {
        p->tok = p->ahead;
        p->has_ahead = false;
        return true;
    }
    return jj_lex_token(&p->lex, &p->tok);
}

bool jj_parse_look(struct jj_parser *p, struct jj_tok *ret)
{
    if (!p->has_ahead && !jj_lex_token(&p->lex, &p->ahead)) return false;
    p->has_ahead = true;
    *ret = p->ahead;
    return true;
}

bool jj_parse_is_op(const struct jj_parser *p, int op) { return p->tok.kind == JJ_T_OP && p->tok.op == op; }

static bool tok_is_name(const struct jj_tok *t, const char *name)
{
    return t->kind == JJ_T_NAME && t->n == strlen(name) && memcmp(t->p, name, t->n) == 0;
}

bool jj_parse_is_name(const struct jj_parser *p, const char *name) { return tok_is_name(&p->tok, name); }

bool jj_parse_deeper(struct jj_parser *p)
{
    return ++p->depth <= JJ_PARSE_DEPTH_MAX ||
           jj_parse_fail(p, ALULA_LIMIT, "expressions and blocks are nested more than %d deep",
                         JJ_PARSE_DEPTH_MAX);
}

bool jj_parse_unexpected(struct jj_parser *p, const char *expected)
{
    const struct jj_tok *t = &p->tok;
    int n = t->n < 40 ? (int)t->n : 40;
    if (t->kind == JJ_T_END)
        return jj_parse_fail(p, ALULA_FORMAT, "the tag ends where %s was expected", expected);
    return jj_parse_fail(p, ALULA_FORMAT, "unexpected %.*s%s, expected %s", n, t->p, t->n > 40 ? "..." : "",
                         expected);
}

bool jj_parse_expect_op(struct jj_parser *p, int op)
{
    char text[4] = {'\'', (char)op, '\'', 0};
    return jj_parse_is_op(p, op) ? jj_parse_next(p) : jj_parse_unexpected(p, text);
}

static bool expect_end(struct jj_parser *p)
{
    return p->tok.kind == JJ_T_END || jj_parse_unexpected(p, p->lex.in_print ? "'}}'" : "'%}'");
}

/* Skips the word if it is there. */
static bool skip_name(struct jj_parser *p, const char *name, bool *found)
{
    *found = jj_parse_is_name(p, name);
    return !*found || jj_parse_next(p);
}

static struct jj_stmt *stmt_new(struct jj_parser *p, enum jj_stmt_kind kind)
{
    struct jj_stmt *s = jj_parse_alloc(p, sizeof *s);
    if (!s) return NULL;
    s->kind = (uint8_t)kind;
    s->line = p->lex.tag_line;
    return s;
}

/* ---- targets ------------------------------------------------------------------------------------------- */

static const struct jj_str *parse_name(struct jj_parser *p, const char *expected)
{
    if (p->tok.kind != JJ_T_NAME) {
        jj_parse_unexpected(p, expected);
        return NULL;
    }
    const struct jj_str *name = jj_parse_intern(p, p->tok.p, p->tok.n);
    return name && jj_parse_next(p) ? name : NULL;
}

static bool is_constant(const struct jj_parser *p)
{
    static const char *const words[] = {"true", "True", "false", "False", "none", "None"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (jj_parse_is_name(p, words[i])) return true;
    return false;
}

static bool parse_targets(struct jj_parser *p, struct jj_target *ret, bool attribute);

static bool parse_target(struct jj_parser *p, struct jj_target *ret, bool attribute)
{
    if (jj_parse_is_op(p, '(')) {
        if (!jj_parse_deeper(p) || !jj_parse_next(p) || !parse_targets(p, ret, false)) return false;
        p->depth--;
        return jj_parse_expect_op(p, ')');
    }
    if (is_constant(p))
        return jj_parse_fail(p, ALULA_FORMAT, "cannot assign to '%.*s'", (int)p->tok.n, p->tok.p);
    if (p->for_depth > 0 && jj_parse_is_name(p, "loop"))
        return jj_parse_fail(p, ALULA_FORMAT, "cannot assign to 'loop' inside a for loop");
    ret->name = parse_name(p, "a name to assign to");
    if (!ret->name) return false;
    if (!attribute || !jj_parse_is_op(p, '.')) return true;
    return jj_parse_next(p) && (ret->attr = parse_name(p, "the name of an attribute"));
}

static bool parse_targets(struct jj_parser *p, struct jj_target *ret, bool attribute)
{
    struct jj_target first = {0};
    if (!parse_target(p, &first, attribute)) return false;
    if (!jj_parse_is_op(p, ',')) {
        *ret = first;
        return true;
    }
    uint32_t cap = 4;
    ret->items = jj_parse_alloc(p, cap * sizeof *ret->items);
    if (!ret->items) return false;
    ret->items[ret->n++] = first;
    while (jj_parse_is_op(p, ',')) {
        if (!jj_parse_next(p)) return false;
        if (p->tok.kind != JJ_T_NAME && !jj_parse_is_op(p, '(')) break;
        if (jj_parse_is_name(p, "in")) break;
        if (ret->n == cap) {
            struct jj_target *more = jj_parse_alloc(p, 2 * cap * sizeof *more);
            if (!more) return false;
            memcpy(more, ret->items, cap * sizeof *more);
            ret->items = more;
            cap *= 2;
        }
        if (!parse_target(p, &ret->items[ret->n++], attribute)) return false;
    }
    return true;
}

/* ---- blocks -------------------------------------------------------------------------------------------- */

/* The block that is open, for its end words and for messages. */
struct block {
    const char *name;
    int line;
    const char *ends[3]; /* words that end a part of it */
};

static bool parse_list(struct jj_parser *p, const struct block *block, struct jj_stmt **ret);

/* Ends the head of a statement, reads the body up to one of the end words, which becomes the current
 * token. */
static bool parse_block(struct jj_parser *p, const struct block *block, struct jj_stmt **ret)
{
    if (jj_parse_is_op(p, ':') && !jj_parse_next(p)) return false;
    return expect_end(p) && parse_list(p, block, ret);
}

/* The same where only one word can end it; leaves its tag ready to end. */
static bool parse_whole_block(struct jj_parser *p, const char *name, const char *end, int line,
                              struct jj_stmt **ret)
{
    struct block block = {.name = name, .line = line, .ends = {end}};
    return parse_block(p, &block, ret) && jj_parse_next(p);
}

static bool parse_if(struct jj_parser *p, struct jj_stmt *s)
{
    struct block block = {.name = "if", .line = s->line, .ends = {"endif", "else", "elif"}};
    for (;;) {
        s->x = jj_parse_tuple(p, false);
        if (!s->x || !parse_block(p, &block, &s->body)) return false;
        bool elif, other;
        if (!skip_name(p, "elif", &elif)) return false;
        if (!elif && !skip_name(p, "else", &other)) return false;
        if (!elif && !other) return jj_parse_next(p);
        s->other = stmt_new(p, JJ_S_IF);
        if (!s->other) return false;
        s = s->other;
        if (!elif) return parse_whole_block(p, "if", "endif", block.line, &s->body);
    }
}

static bool parse_for(struct jj_parser *p, struct jj_stmt *s)
{
    struct block block = {.name = "for", .line = s->line, .ends = {"endfor", "else"}};
    bool found;
    p->for_depth++;
    if (!parse_targets(p, &s->target, false)) return false;
    if (!skip_name(p, "in", &found)) return false;
    if (!found) return jj_parse_unexpected(p, "'in'");
    if (!(s->x = jj_parse_tuple(p, false)) || !skip_name(p, "if", &found)) return false;
    if (found && !(s->test = jj_parse_expr(p, true))) return false;
    if (jj_parse_is_name(p, "recursive"))
        return jj_parse_fail(p, ALULA_UNSUPPORTED, "a recursive for loop is not supported");
    p->loops++;
    if (!parse_block(p, &block, &s->body)) return false;
    p->loops--;
    p->for_depth--;
    if (!skip_name(p, "else", &found)) return false;
    return found ? parse_whole_block(p, "for", "endfor", s->line, &s->other) : jj_parse_next(p);
}

/* Filters that end the head of a block set or filter block, over the captured text. */
static bool parse_block_filters(struct jj_parser *p, struct jj_stmt *s, bool at_name)
{
    if (!at_name && !jj_parse_is_op(p, '|')) return true;
    struct jj_expr *hole = jj_parse_node(p, JJ_X_HOLE, s->line);
    return hole && (s->x = jj_parse_filters(p, hole, at_name));
}

static bool parse_set(struct jj_parser *p, struct jj_stmt *s)
{
    if (!parse_targets(p, &s->target, true)) return false;
    if (jj_parse_is_op(p, '=')) return jj_parse_next(p) && (s->x = jj_parse_tuple(p, true));
    s->kind = JJ_S_SET_BLOCK;
    if (s->target.items) return jj_parse_unexpected(p, "'='");
    return parse_block_filters(p, s, false) && parse_whole_block(p, "set", "endset", s->line, &s->body);
}

static bool parse_params(struct jj_parser *p, struct jj_stmt *s)
{
    uint32_t cap = 8;
    if (!jj_parse_expect_op(p, '(') || !(s->params = jj_parse_alloc(p, cap * sizeof *s->params)))
        return false;
    while (!jj_parse_is_op(p, ')')) {
        if (s->n_params > 0 && !jj_parse_expect_op(p, ',')) return false;
        if (s->n_params == cap) {
            struct jj_keyword *more = jj_parse_alloc(p, 2 * cap * sizeof *more);
            if (!more) return false;
            memcpy(more, s->params, cap * sizeof *more);
            s->params = more;
            cap *= 2;
        }
        struct jj_keyword *k = &s->params[s->n_params++];
        if (is_constant(p)) return jj_parse_fail(p, ALULA_FORMAT, "a macro's parameter cannot be a constant");
        if (!(k->name = parse_name(p, "the name of a parameter"))) return false;
        if (!jj_parse_is_op(p, '=')) {
            if (s->n_params > 1 && k[-1].x)
                return jj_parse_fail(p, ALULA_FORMAT,
                                     "a parameter without default follows one with a default");
        } else if (!jj_parse_next(p) || !(k->x = jj_parse_expr(p, true))) {
            return false;
        }
    }
    return jj_parse_next(p);
}

static bool parse_macro(struct jj_parser *p, struct jj_stmt *s)
{
    int loops = p->loops;
    struct jj_stmt *outer = p->macro;
    if (!(s->target.name = parse_name(p, "the name of the macro"))) return false;
    p->macro = s;
    if (!parse_params(p, s)) return false;
    p->loops = 0;
    bool ok = parse_whole_block(p, "macro", "endmacro", s->line, &s->body);
    p->loops = loops;
    p->macro = outer;
    return ok;
}

static bool parse_generation(struct jj_parser *p, struct jj_stmt *s)
{
    int loops = p->loops;
    p->loops = 0;
    bool ok = parse_whole_block(p, "generation", "endgeneration", s->line, &s->body);
    p->loops = loops;
    return ok;
}

static bool parse_filter(struct jj_parser *p, struct jj_stmt *s)
{
    return parse_block_filters(p, s, true) && parse_whole_block(p, "filter", "endfilter", s->line, &s->body);
}

static bool parse_jump(struct jj_parser *p, struct jj_stmt *s)
{
    return p->loops > 0 || jj_parse_fail(p, ALULA_FORMAT, "'%s' outside a loop",
                                         s->kind == JJ_S_BREAK ? "break" : "continue");
}

static const struct {
    const char *name;
    enum jj_stmt_kind kind;
    bool (*parse)(struct jj_parser *p, struct jj_stmt *s);
} statements[] = {
    {"if", JJ_S_IF, parse_if},
    {"for", JJ_S_FOR, parse_for},
    {"set", JJ_S_SET, parse_set},
    {"macro", JJ_S_MACRO, parse_macro},
    {"break", JJ_S_BREAK, parse_jump},
    {"continue", JJ_S_CONTINUE, parse_jump},
    {"filter", JJ_S_FILTER, parse_filter},
    {"generation", JJ_S_SCOPE, parse_generation},
};

static const char *const unsupported[] = {"call",   "with",    "block", "autoescape", "include",
                                          "import", "extends", "from",  "do",         "trans"};

static bool parse_statement(struct jj_parser *p, const struct block *block, struct jj_stmt **ret)
{
    int n = (int)(p->tok.n < 60 ? p->tok.n : 60);
    if (p->tok.kind != JJ_T_NAME) return jj_parse_unexpected(p, "the name of a statement");
    for (size_t i = 0; i < sizeof statements / sizeof *statements; i++) {
        if (!jj_parse_is_name(p, statements[i].name)) continue;
        struct jj_stmt *s = *ret = stmt_new(p, statements[i].kind);
        return s && jj_parse_next(p) && statements[i].parse(p, s) && expect_end(p);
    }
    for (size_t i = 0; i < sizeof unsupported / sizeof *unsupported; i++)
        if (jj_parse_is_name(p, unsupported[i]))
            return jj_parse_fail(p, ALULA_UNSUPPORTED, "the statement '%s' is not supported", unsupported[i]);
    if (!block) return jj_parse_fail(p, ALULA_FORMAT, "unknown statement '%.*s'", n, p->tok.p);
    return jj_parse_fail(p, ALULA_FORMAT, "unknown statement '%.*s'; the open block is '%s' of line %d", n,
                         p->tok.p, block->name, block->line);
}

static bool ends_block(const struct jj_parser *p, const struct block *block)
{
    for (size_t i = 0; block && i < 3 && block->ends[i]; i++)
        if (jj_parse_is_name(p, block->ends[i])) return true;
    return false;
}

/* One tag; *end: it is the end word of block. */
static bool parse_tag(struct jj_parser *p, enum jj_tag tag, const struct block *block, struct jj_stmt **ret,
                      bool *end)
{
    p->has_ahead = false;
    if (!jj_parse_next(p)) return false;
    if (tag == JJ_TAG_BLOCK) {
        *end = ends_block(p, block);
        return *end || parse_statement(p, block, ret);
    }
    struct jj_stmt *s = *ret = stmt_new(p, JJ_S_PRINT);
    return s && (s->x = jj_parse_tuple(p, true)) && expect_end(p);
}

static bool add_text(struct jj_parser *p, const char *text, size_t n, struct jj_stmt ***tail)
{
    if (n == 0) return true;
    struct jj_stmt *s = stmt_new(p, JJ_S_TEXT);
    if (!s) return false;
    s->text = text;
    s->n_text = n;
    **tail = s;
    *tail = &s->next;
    return true;
}

/* Statements up to the end of the template (block NULL) or to an end word of block. */
static bool parse_list(struct jj_parser *p, const struct block *block, struct jj_stmt **ret)
{
    if (!jj_parse_deeper(p)) return false;
    for (struct jj_stmt **tail = ret;;) {
        const char *text;
        size_t n;
        enum jj_tag tag;
        if (!jj_lex_text(&p->lex, &text, &n, &tag) || !add_text(p, text, n, &tail)) return false;
        if (tag == JJ_TAG_MORE) continue;
        bool end = tag == JJ_TAG_NONE;
        if (end && block)
            return jj_lex_fail(&p->lex, ALULA_FORMAT, p->lex.line,
                               "the template ends inside '%s' of line %d, expected '%s'", block->name,
                               block->line, block->ends[0]);
        if (!end && !parse_tag(p, tag, block, tail, &end)) return false;
        if (end) break;
        tail = &(*tail)->next;
    }
    p->depth--;
    return true;
}

bool jj_parse_body(struct jinja *j, const char *text, size_t n, struct alula_error *e)
{
    struct jj_parser p = {.j = j};
    if (!jj_lex_init(&p.lex, j, text, n, e)) return false;
    j->loop_name = jj_parse_intern(&p, "loop", 4);
    return j->loop_name && parse_list(&p, NULL, &j->body);
}
