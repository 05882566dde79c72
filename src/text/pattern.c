/* pattern.c - parses a regular expression into a tree, and builds its automaton. Must not know schemas. */
#include "text/pattern.h"

#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"

enum { PATTERN_BYTES_MAX = 4096, GROUPS_MAX = 64, NESTED_COUNTS_MAX = 1000 };

enum kind { EMPTY, SET, CAT, ALT, REPEAT };

struct node {
    enum kind kind;
    bool nullable;
    struct node *a, *b;
    uint32_t min, max;
    struct charset *set;
};

struct parser {
    struct arena mem;
    const char *text, *p, *end;
    int depth;
    struct alula_error *e;
    bool failed;
};

static struct node *refuse(struct parser *r, enum alula_code code, const char *why)
{
    size_t at = 1;
    for (const char *p = r->text; p < r->p; p++) at += (*p & 0xc0) != 0x80;
    if (!r->failed) err_set(r->e, code, "character %zu of the pattern: %s", at, why);
    r->failed = true;
    return NULL;
}

static struct node *make(struct parser *r, struct node n)
{
    struct node *made = r->failed ? NULL : arena_alloc(&r->mem, sizeof n);
    if (made) *made = n;
    return made || r->failed ? made : refuse(r, ALULA_NOMEM, "no memory");
}

static struct node *make_set(struct parser *r, const struct charset *set)
{
    if (set->failed) return refuse(r, ALULA_LIMIT, "the class has too many ranges");
    struct charset *copy = r->failed ? NULL : arena_alloc(&r->mem, sizeof *copy);
    if (!copy) return r->failed ? NULL : refuse(r, ALULA_NOMEM, "no memory");
    *copy = *set;
    charset_tidy(copy);
    return make(r, (struct node){.kind = SET, .set = copy});
}

static struct node *cat(struct parser *r, struct node *a, struct node *b)
{
    if (!a || !b) return NULL;
    if (a->kind == EMPTY) return b;
    return make(r, (struct node){.kind = CAT, .a = a, .b = b, .nullable = a->nullable && b->nullable});
}

static struct node *empty(struct parser *r)
{
    return make(r, (struct node){.kind = EMPTY, .nullable = true});
}

static bool at(const struct parser *r, char c) { return r->p < r->end && *r->p == c; }

static bool take(struct parser *r, const char *s)
{
    size_t n = strlen(s);
    if ((size_t)(r->end - r->p) < n || memcmp(r->p, s, n) != 0) return false;
    r->p += n;
    return true;
}

/* ---- characters ----------------------------------------------------------------------------------------- */

static uint32_t take_char(struct parser *r)
{
    uint32_t c = 0;
    r->p += utf8_decode(r->p, (size_t)(r->end - r->p), &c);
    return c;
}

static uint32_t take_hex(struct parser *r, int n)
{
    uint32_t c = 0;
    for (int i = 0; i < n; i++, r->p++) {
        int d = r->p < r->end ? *r->p : 0;
        int v = d >= '0' && d <= '9'                 ? d - '0'
                : (d | 32) >= 'a' && (d | 32) <= 'f' ? (d | 32) - 'a' + 10
                                                     : -1;
        if (v < 0) {
            refuse(r, ALULA_FORMAT, "a hexadecimal digit is missing");
            return 0;
        }
        c = c * 16 + (uint32_t)v;
    }
    if (c >= 0xd800 && c <= 0xdfff)
        refuse(r, ALULA_UNSUPPORTED, "half of a surrogate pair; write the character itself");
    return c;
}

/* Behind a backslash: a class of characters, added to set. */
static bool take_class_escape(struct parser *r, struct charset *set)
{
    struct charset s = {0};
    char c = r->p < r->end ? *r->p : 0;
    switch (c | 32) {
    case 'd': charset_add(&s, '0', '9'); break;
    case 'w':
        charset_add(&s, '0', '9');
        charset_add(&s, 'A', 'Z');
        charset_add(&s, 'a', 'z');
        charset_add(&s, '_', '_');
        break;
    case 's':
        charset_add(&s, '\t', '\r');
        charset_add(&s, ' ', ' ');
        break;
    default: return false;
    }
    r->p++;
    if (c < 'a') charset_invert(&s, 0x7f);
    for (int i = 0; i < s.n; i++) charset_add(set, s.ranges[i].lo, s.ranges[i].hi);
    return true;
}

/* Behind a backslash: one character. */
static uint32_t take_escape(struct parser *r, bool in_class)
{
    static const char letters[] = "tnrfv0", meant[] = "\t\n\r\f\v";
    if (r->p == r->end) {
        refuse(r, ALULA_FORMAT, "nothing follows the backslash");
        return 0;
    }
    char c = *r->p;
    const char *hit = c ? strchr(letters, c) : NULL;
    if (in_class && c == 'b') return r->p++, 8;
    if (hit) return r->p++, (uint32_t)meant[hit - letters];
    if (c == 'x') return r->p++, take_hex(r, 2);
    if (c == 'u') return r->p++, take_hex(r, 4);
    if ((c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z')) {
        refuse(r, ALULA_UNSUPPORTED, "this escape is not supported");
        return 0;
    }
    return take_char(r);
}

/* One end of a range, or one character. Returns false for a class, which was added. */
static bool take_class_item(struct parser *r, struct charset *set, bool *wide, uint32_t *ret)
{
    if (!take(r, "\\")) {
        *ret = take_char(r);
        return true;
    }
    if (take_class_escape(r, set)) {
        *wide = true;
        return false;
    }
    *ret = take_escape(r, true);
    return true;
}

/* Behind "[". */
static struct node *parse_class(struct parser *r)
{
    struct charset set = {0};
    bool negated = take(r, "^"), wide = false;
    while (!r->failed && !at(r, ']')) {
        uint32_t lo, hi;
        if (r->p == r->end) return refuse(r, ALULA_FORMAT, "] is missing");
        if (!take_class_item(r, &set, &wide, &lo)) continue;
        hi = lo;
        if (at(r, '-') && r->p + 1 < r->end && r->p[1] != ']') {
            r->p++;
            if (!take_class_item(r, &set, &wide, &hi))
                return refuse(r, ALULA_FORMAT, "a range ends in a class");
            if (hi < lo) return refuse(r, ALULA_FORMAT, "a range ends before it begins");
        }
        charset_add(&set, lo, hi);
    }
    take(r, "]");
    /* What \s leaves out beyond ASCII is not the same everywhere. */
    if (negated) charset_invert(&set, wide ? 0x7f : 0x10ffff);
    return make_set(r, &set);
}

/* ---- the tree ------------------------------------------------------------------------------------------- */

static struct node *parse_alternatives(struct parser *r);

static struct node *parse_group(struct parser *r)
{
    if (take(r, "?") && !take(r, ":"))
        return refuse(r, ALULA_UNSUPPORTED, "only groups ( ) and (?: ) are supported");
    if (++r->depth > GROUPS_MAX) return refuse(r, ALULA_LIMIT, "groups are nested too deep");
    struct node *n = parse_alternatives(r);
    r->depth--;
    if (!r->failed && !take(r, ")")) return refuse(r, ALULA_FORMAT, ") is missing");
    return n;
}

static struct node *parse_atom(struct parser *r)
{
    struct charset set = {0};
    if (take(r, "(")) return parse_group(r);
    if (take(r, "[")) return parse_class(r);
    if (at(r, '*') || at(r, '+') || at(r, '?') || at(r, '{'))
        return refuse(r, ALULA_FORMAT, "there is nothing to repeat");
    if (at(r, '^') || at(r, '$'))
        return refuse(r, ALULA_UNSUPPORTED, "^ and $ are supported at the ends of the pattern only");
    if (take(r, ".")) {
        charset_add(&set, '\n', '\n');
        charset_add(&set, '\r', '\r');
        charset_add(&set, 0x85, 0x85);
        charset_add(&set, 0x2028, 0x2029);
        charset_invert(&set, 0x10ffff);
    } else if (take(r, "\\")) {
        if (!take_class_escape(r, &set)) {
            uint32_t c = take_escape(r, false);
            charset_add(&set, c, c);
        }
    } else {
        uint32_t c = take_char(r);
        charset_add(&set, c, c);
    }
    return make_set(r, &set);
}

static uint32_t take_number(struct parser *r)
{
    uint32_t n = 0;
    if (r->p == r->end || *r->p < '0' || *r->p > '9') refuse(r, ALULA_FORMAT, "a number is missing");
    for (; r->p < r->end && *r->p >= '0' && *r->p <= '9'; r->p++) {
        n = n * 10 + (uint32_t)(*r->p - '0');
        if (n > GRAMMAR_COUNT_MAX) n = GRAMMAR_COUNT_MAX + 1;
    }
    if (n > GRAMMAR_COUNT_MAX) refuse(r, ALULA_LIMIT, "the number of repetitions is above 65535");
    return n;
}

/* * + ? {..} behind an atom. false: none. */
static bool take_counts(struct parser *r, uint32_t *min, uint32_t *max)
{
    *min = 0;
    *max = GRAMMAR_NO_LIMIT;
    if (take(r, "*")) return true;
    if (take(r, "+")) return *min = 1, true;
    if (take(r, "?")) return *max = 1, true;
    if (!take(r, "{")) return false;
    *min = *max = take_number(r);
    if (take(r, ",")) *max = at(r, '}') ? GRAMMAR_NO_LIMIT : take_number(r);
    if (!take(r, "}")) refuse(r, ALULA_FORMAT, "} is missing");
    if (*max < *min) refuse(r, ALULA_FORMAT, "the numbers of repetitions are in the wrong order");
    return true;
}

static struct node *parse_repeat(struct parser *r)
{
    uint32_t min, max;
    struct node *n = parse_atom(r);
    while (n && !r->failed && take_counts(r, &min, &max)) {
        take(r, "?"); /* lazy: the same texts */
        bool counted = max != 1 && max != GRAMMAR_NO_LIMIT;
        if (n->nullable && counted)
            return refuse(r, ALULA_UNSUPPORTED, "a counted repetition of something that may be empty");
        if (n->nullable) min = 0;
        n = make(r, (struct node){.kind = REPEAT, .a = n, .min = min, .max = max, .nullable = min == 0});
    }
    return n;
}

static bool ends_sequence(const struct parser *r) { return r->p == r->end || at(r, '|') || at(r, ')'); }

static struct node *parse_sequence(struct parser *r)
{
    struct node *all = empty(r);
    while (all && !r->failed && !ends_sequence(r) && !(r->depth == 0 && at(r, '$')))
        all = cat(r, all, parse_repeat(r));
    return all;
}

static struct node *any_text(struct parser *r)
{
    struct charset set = {0};
    charset_add(&set, 0x20, 0x10ffff);
    return make(
        r, (struct node){.kind = REPEAT, .a = make_set(r, &set), .max = GRAMMAR_NO_LIMIT, .nullable = true});
}

/* One alternative; at the top with its anchors, or with any text in their place. */
static struct node *parse_alternative(struct parser *r)
{
    bool top = r->depth == 0, begins = top && take(r, "^");
    struct node *n = parse_sequence(r);
    bool ends = top && take(r, "$");
    if (!r->failed && !ends_sequence(r))
        return refuse(r, ALULA_UNSUPPORTED, "^ and $ are supported at the ends of the pattern only");
    if (top && !begins) n = cat(r, any_text(r), n);
    return top && !ends ? cat(r, n, any_text(r)) : n;
}

static struct node *parse_alternatives(struct parser *r)
{
    struct node *all = parse_alternative(r);
    while (!r->failed && take(r, "|")) {
        struct node *n = parse_alternative(r);
        if (!n || !all) return NULL;
        all = make(r, (struct node){.kind = ALT, .a = all, .b = n, .nullable = all->nullable || n->nullable});
    }
    return all;
}

/* ---- the automaton -------------------------------------------------------------------------------------- */

struct builder {
    struct grammar *g;
    enum string_form form;
    bool too_many; /* repetitions within each other */
};

static int32_t build(struct builder *b, const struct node *n, uint32_t counts, int32_t next);

static int32_t build_repeat(struct builder *b, const struct node *n, uint32_t counts, int32_t next)
{
    uint32_t most = n->max == GRAMMAR_NO_LIMIT ? n->min : n->max;
    if (n->max == 0) return next;
    if (n->max == 1) {
        int32_t once = build(b, n->a, counts, next);
        return n->min ? once : grammar_either(b->g, once, next);
    }
    if (most > 1 && counts > 1 && counts * (uint64_t)most > NESTED_COUNTS_MAX) b->too_many = true;
    int32_t body = b->too_many ? 0 : build(b, n->a, most > 1 ? counts * most : counts, GRAMMAR_S_AGAIN);
    return grammar_repeat(b->g, body, n->min, n->max, next);
}

static int32_t build(struct builder *b, const struct node *n, uint32_t counts, int32_t next)
{
    switch (n->kind) {
    case SET: return json_text_charset(b->g, n->set, b->form, next);
    case CAT: return build(b, n->a, counts, build(b, n->b, counts, next));
    case ALT: return grammar_either(b->g, build(b, n->a, counts, next), build(b, n->b, counts, next));
    case REPEAT: return build_repeat(b, n, counts, next);
    default: return next;
    }
}

bool pattern_read(struct grammar *g, const char *pattern, size_t n, enum string_form form, int32_t next,
                  int32_t *ret, struct alula_error *e)
{
    if (n > PATTERN_BYTES_MAX)
        return err_set(e, ALULA_LIMIT, "the pattern has %zu bytes, expected at most %d", n,
                       PATTERN_BYTES_MAX);
    struct parser r = {.text = pattern, .p = pattern, .end = pattern + n, .e = e};
    struct builder b = {.g = g, .form = form};
    struct node *all = parse_alternatives(&r);
    if (!r.failed && r.p < r.end) refuse(&r, ALULA_FORMAT, "this ) closes nothing");
    if (!r.failed) *ret = build(&b, all, 1, next);
    arena_free(&r.mem);
    if (b.too_many)
        return err_set(e, ALULA_UNSUPPORTED, "the pattern's repetitions within each other count beyond %d",
                       NESTED_COUNTS_MAX);
    return !r.failed;
}
