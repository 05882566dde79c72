/* jinja_lex.c - template source to pieces of text and tokens of tags.
 *
 * Owns the rules of white space around tags (trim_blocks and lstrip_blocks are always on) and the spelling
 * of literals. Knows nothing of the grammar. Text is never copied: pieces and names point into one
 * normalised copy of the source. */
#include "text/jinja_internal.h"

#include "base/utf8.h"
#include "text/unicode.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool jj_lex_fail(struct jj_lex *x, enum alula_code code, int line, const char *fmt, ...)
{
    char text[900];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return err_set(x->e, code, "%s:%d: %s", x->j->name, line, text);
}

bool jj_lex_no_memory(struct jj_lex *x, size_t n)
{
    struct alula_error e;
    jj_mem_error(&x->j->mem, n, "the parsed template", &e);
    return jj_lex_fail(x, e.code, x->line, "%s", e.message);
}

/* CRLF and CR become LF; of the LFs at the end one is dropped. */
static size_t normalise(char *to, const char *from, size_t n)
{
    size_t len = 0;
    for (size_t i = 0; i < n; i++) {
        if (from[i] == '\r' && i + 1 < n && from[i + 1] == '\n') continue;
        to[len++] = from[i] == '\r' ? '\n' : from[i];
    }
    if (len > 0 && to[len - 1] == '\n') len--;
    return len;
}

bool jj_lex_init(struct jj_lex *x, struct jinja *j, const char *text, size_t n, struct alula_error *e)
{
    *x = (struct jj_lex){.j = j, .e = e, .line = 1, .line_start = true};
    if (n > JINJA_SOURCE_MAX)
        return err_set(e, ALULA_LIMIT, "%s: the template is %zu bytes long, the limit is %zu", j->name, n,
                       JINJA_SOURCE_MAX);
    size_t valid = utf8_valid_len(text, n);
    if (valid < n)
        return err_set(e, ALULA_FORMAT, "%s: the template is not UTF-8 at byte %zu", j->name, valid);
    char *copy = jj_mem_alloc(&j->mem, n + 1);
    if (!copy) return jj_lex_no_memory(x, n);
    x->src = copy;
    x->n = normalise(copy, text, n);
    return true;
}

static void advance(struct jj_lex *x, size_t to)
{
    for (const char *p = x->src + x->pos, *end = x->src + to; (p = memchr(p, '\n', (size_t)(end - p))); p++)
        x->line++;
    x->pos = to;
}

static bool at(const struct jj_lex *x, size_t pos, const char *what)
{
    size_t m = strlen(what);
    return m <= x->n - pos && memcmp(x->src + pos, what, m) == 0;
}

/* Moves behind a closing mark of m bytes and what its sign swallows. */
static void close_tag(struct jj_lex *x, size_t m, char sign, bool eats_newline)
{
    size_t to = x->pos + m;
    if (sign == '-')
        to += jj_space_before(x->src + to, x->n - to);
    else if (sign != '+' && eats_newline && to < x->n && x->src[to] == '\n')
        to++;
    advance(x, to);
    x->line_start = x->src[to - 1] == '\n';
}

/* Length of the piece [p, p+n) once the sign of the tag behind it has had its effect. */
static size_t strip_piece(const struct jj_lex *x, const char *p, size_t n, char sign, bool is_print)
{
    if (sign == '-') return n - jj_space_after(p, n);
    if (sign == '+' || is_print) return n;
    size_t line = n;
    while (line > 0 && p[line - 1] != '\n') line--;
    if (line == 0 && !x->line_start) return n;
    return jj_space_before(p + line, n - line) == n - line ? line : n;
}

static char sign_at(const struct jj_lex *x, size_t pos)
{
    return pos < x->n && (x->src[pos] == '-' || x->src[pos] == '+') ? x->src[pos] : 0;
}

/* Matches WHITE-SPACE word WHITE-SPACE and a closing mark at pos; gives the mark's place and its sign. */
static bool raw_tag(const struct jj_lex *x, size_t pos, const char *word, bool plus, size_t *mark, char *sign)
{
    pos += jj_space_before(x->src + pos, x->n - pos);
    if (!at(x, pos, word)) return false;
    pos += strlen(word);
    pos += jj_space_before(x->src + pos, x->n - pos);
    *sign = at(x, pos, "-%}") ? '-' : plus && at(x, pos, "+%}") ? '+' : 0;
    *mark = pos;
    return *sign || at(x, pos, "%}");
}

/* Behind {% raw %}: everything up to endraw is one piece. */
static bool raw_text(struct jj_lex *x, const char **p, size_t *n)
{
    *p = x->src + x->pos;
    for (size_t i = x->pos; i + 1 < x->n; i++) {
        if (!at(x, i, "{%")) continue;
        char sign = sign_at(x, i + 2), end_sign;
        size_t mark;
        if (!raw_tag(x, i + 2 + (sign != 0), "endraw", true, &mark, &end_sign)) continue;
        *n = strip_piece(x, *p, i - x->pos, sign, false);
        advance(x, mark);
        close_tag(x, end_sign ? 3 : 2, end_sign, true);
        return true;
    }
    *n = 0;
    /* As in jinja2, where nothing follows nothing is missed; the same for a comment. */
    return x->pos == x->n || jj_lex_fail(x, ALULA_FORMAT, x->tag_line, "'raw' is never closed by 'endraw'");
}

static bool skip_comment(struct jj_lex *x)
{
    const char *end = x->pos < x->n ? memmem(x->src + x->pos, x->n - x->pos, "#}", 2) : NULL;
    if (!end) return jj_lex_fail(x, ALULA_FORMAT, x->tag_line, "the comment is never closed by '#}'");
    size_t mark = (size_t)(end - x->src);
    char sign = mark > x->pos ? sign_at(x, mark - 1) : 0;
    advance(x, mark);
    close_tag(x, 2, sign, true);
    return true;
}

bool jj_lex_text(struct jj_lex *x, const char **p, size_t *n, enum jj_tag *tag)
{
    if (x->in_raw) {
        x->in_raw = false;
        *tag = JJ_TAG_MORE;
        return raw_text(x, p, n);
    }
    size_t i = x->pos;
    while (i + 1 < x->n && !(x->src[i] == '{' && strchr("{%#", x->src[i + 1]) && x->src[i + 1])) i++;
    *p = x->src + x->pos;
    if (i + 1 >= x->n) {
        *n = x->n - x->pos;
        *tag = JJ_TAG_NONE;
        advance(x, x->n);
        return true;
    }
    char what = x->src[i + 1], sign = sign_at(x, i + 2), end_sign;
    *n = strip_piece(x, *p, i - x->pos, sign, what == '{');
    advance(x, i + 2 + (sign != 0));
    x->tag_line = x->line;
    x->in_print = what == '{';
    *tag = what == '{' ? JJ_TAG_PRINT : JJ_TAG_BLOCK;
    size_t mark;
    if (what == '%' && raw_tag(x, x->pos, "raw", false, &mark, &end_sign)) {
        *tag = JJ_TAG_MORE;
        advance(x, mark);
        close_tag(x, end_sign ? 3 : 2, end_sign, false);
        x->in_raw = true;
    }
    if (what != '#') return true;
    *tag = x->pos == x->n ? JJ_TAG_NONE : JJ_TAG_MORE;
    return *tag == JJ_TAG_NONE || skip_comment(x);
}

/* ---- literals ------------------------------------------------------------------------------------------ */

static int digit_value(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : 99;
}

/* Reads up to max digits of base; returns how many. */
static size_t read_digits(const char *p, size_t n, size_t max, int base, uint32_t *ret)
{
    size_t i = 0;
    for (*ret = 0; i < max && i < n && digit_value(p[i]) < base; i++)
        *ret = *ret * (uint32_t)base + (uint32_t)digit_value(p[i]);
    return i;
}

static bool put_escaped(struct jj_lex *x, uint32_t cp, char **out)
{
    if (cp > 0x10FFFF || (cp >= 0xD800 && cp < 0xE000))
        return jj_lex_fail(x, ALULA_UNSUPPORTED, x->line,
                           "the string literal has an escape for U+%04X, which is no character",
                           (unsigned)cp);
    *out += utf8_encode(cp, *out);
    return true;
}

/* One escape: p is behind the backslash. Returns the bytes read, 0 on error. */
static size_t read_escape(struct jj_lex *x, const char *p, size_t n, char **out)
{
    static const char from[] = "ntr\\'\"bfav", to[] = "\n\t\r\\'\"\b\f\a\v";
    const char *simple = *p ? strchr(from, *p) : NULL;
    uint32_t cp;
    if (simple) {
        *(*out)++ = to[simple - from];
        return 1;
    }
    if (*p == '\n') return 1;
    if (*p >= '0' && *p <= '7') {
        size_t used = read_digits(p, n, 3, 8, &cp);
        return put_escaped(x, cp, out) ? used : 0;
    }
    if (*p == 'x' || *p == 'u' || *p == 'U') {
        size_t want = *p == 'x' ? 2 : *p == 'u' ? 4 : 8;
        if (read_digits(p + 1, n - 1, want, 16, &cp) < want) {
            jj_lex_fail(x, ALULA_FORMAT, x->line,
                        "the escape '\\%c' in the string literal needs %zu hexadecimal digits", *p, want);
            return 0;
        }
        return put_escaped(x, cp, out) ? 1 + want : 0;
    }
    if (*p == 'N' || (unsigned char)*p >= 0x80) {
        jj_lex_fail(x, ALULA_UNSUPPORTED, x->line,
                    "the string literal has an escape that is not supported: a backslash before %s",
                    *p == 'N' ? "'N'" : "a character outside ASCII");
        return 0;
    }
    *(*out)++ = '\\';
    *(*out)++ = *p;
    return 1;
}

static bool string_value(struct jj_lex *x, const char *p, size_t n, struct jj_value *ret)
{
    struct jj_str *s = jj_mem_alloc(&x->j->mem, sizeof *s);
    bool plain = memchr(p, '\\', n) == NULL;
    char *copy = plain ? NULL : jj_mem_alloc(&x->j->mem, n);
    if (!s || (!plain && !copy)) return jj_lex_no_memory(x, n);
    char *to = copy;
    for (size_t i = 0; !plain && i < n;) {
        if (p[i] != '\\') {
            *to++ = p[i++];
            continue;
        }
        size_t used = read_escape(x, p + i + 1, n - i - 1, &to);
        if (used == 0) return false;
        i += 1 + used;
    }
    s->p = plain ? p : copy;
    s->n = plain ? n : (size_t)(to - copy);
    s->chars = jj_count_chars(s->p, s->n);
    *ret = jj_of_str(s);
    return true;
}

static bool lex_string(struct jj_lex *x, struct jj_tok *t)
{
    char quote = x->src[x->pos];
    size_t i = x->pos + 1;
    while (i < x->n && x->src[i] != quote) i += x->src[i] == '\\' ? 2 : 1;
    if (i >= x->n)
        return jj_lex_fail(x, ALULA_FORMAT, x->line, "the string literal is never closed by %c", quote);
    t->kind = JJ_T_STR;
    t->p = x->src + x->pos;
    t->n = i + 1 - x->pos;
    if (!string_value(x, t->p + 1, t->n - 2, &t->value)) return false;
    advance(x, i + 1);
    return true;
}

/* Digits with single underscores between them; 0 = none. */
static size_t digits_run(const char *p, size_t n, int base)
{
    size_t i = 0;
    while (i < n) {
        size_t d = i > 0 && p[i] == '_' ? i + 1 : i;
        if (d >= n || digit_value(p[d]) >= base) break;
        i = d + 1;
    }
    return i;
}

/* Length of a float literal at p, 0 if it is none. */
static size_t float_length(const char *p, size_t n)
{
    size_t i = digits_run(p, n, 10), frac = 0, exp = 0;
    if (i + 1 < n && p[i] == '.') frac = digits_run(p + i + 1, n - i - 1, 10);
    if (frac) i += 1 + frac;
    if (i + 1 < n && (p[i] == 'e' || p[i] == 'E')) {
        size_t sign = p[i + 1] == '+' || p[i + 1] == '-';
        exp = digits_run(p + i + 1 + sign, n - i - 1 - sign, 10);
        if (exp) i += 1 + sign + exp;
    }
    return frac || exp ? i : 0;
}

/* 0x1F, 0b1, 0o7 with [n] bytes. */
static bool lex_prefixed(struct jj_lex *x, struct jj_tok *t, int base)
{
    __int128 v = 0;
    for (size_t i = 2; i < t->n; i++) {
        if (t->p[i] == '_') continue;
        v = v * base + digit_value(t->p[i]);
        if (v > UINT64_MAX)
            return jj_lex_fail(x, ALULA_UNSUPPORTED, x->line, "the integer literal has more than 64 bits");
    }
    t->value = jj_int((int64_t)(uint64_t)v);
    t->value.flag = v > INT64_MAX;
    return true;
}

static bool lex_number(struct jj_lex *x, struct jj_tok *t)
{
    const char *p = x->src + x->pos;
    size_t left = x->n - x->pos;
    t->kind = JJ_T_NUMBER;
    t->p = p;
    /* After a dot the digits are an index: x.0.1 has no float in it. */
    t->n = x->pos > 0 && p[-1] == '.' ? 0 : float_length(p, left);
    if (t->n) {
        double f = 0;
        jj_parse_float(p, t->n, &f);
        t->value = jj_float(f);
        advance(x, x->pos + t->n);
        return true;
    }
    char prefix = left > 2 && *p == '0' ? p[1] | 0x20 : 0;
    int base = prefix == 'b' ? 2 : prefix == 'o' ? 8 : prefix == 'x' ? 16 : 0;
    size_t skip = base && p[2] == '_' ? 3 : 2, run = base ? digits_run(p + skip, left - skip, base) : 0;
    if (run) {
        t->n = skip + run;
        if (!lex_prefixed(x, t, base)) return false;
    } else {
        bool fits;
        t->n = *p == '0' ? digits_run(p, left, 1) : digits_run(p, left, 10);
        jj_parse_int(p, t->n, &t->value, &fits);
        if (!fits)
            return jj_lex_fail(x, ALULA_UNSUPPORTED, x->line,
                               "the integer literal %.*s has more than 64 bits", (int)(t->n < 60 ? t->n : 60),
                               p);
    }
    advance(x, x->pos + t->n);
    return true;
}

/* ---- tokens -------------------------------------------------------------------------------------------- */

/* Bytes of the character at p if it may stand in a name, else 0. */
static int name_char(const char *p, size_t n, bool first)
{
    unsigned char c = (unsigned char)*p;
    if (c < 0x80) return c == '_' || (c | 0x20u) - 'a' < 26 || (!first && (unsigned)c - '0' < 10);
    uint32_t cp = 0;
    int len = utf8_decode(p, n, &cp);
    unsigned allowed = first ? UNICODE_LETTER : UNICODE_LETTER | UNICODE_NUMBER | UNICODE_MARK;
    return unicode_class(cp) & allowed ? len : 0;
}

static size_t name_length(const char *p, size_t n)
{
    size_t i = 0;
    for (int len; i < n && (len = name_char(p + i, n - i, i == 0));) i += (size_t)len;
    return i;
}

static bool bracket(struct jj_lex *x, char c)
{
    const char *opens = strchr("([{", c), *closes = strchr(")]}", c);
    if (opens) {
        if (x->n_open == (int)sizeof x->open)
            return jj_lex_fail(x, ALULA_LIMIT, x->line, "brackets are nested more than %d deep", x->n_open);
        x->open[x->n_open++] = ")]}"[opens - "([{"];
        return true;
    }
    if (!closes) return true;
    if (x->n_open == 0) return jj_lex_fail(x, ALULA_FORMAT, x->line, "unexpected '%c'", c);
    char want = x->open[--x->n_open];
    return c == want || jj_lex_fail(x, ALULA_FORMAT, x->line, "unexpected '%c', expected '%c'", c, want);
}

static bool lex_operator(struct jj_lex *x, struct jj_tok *t)
{
    static const struct {
        char text[3];
        int op;
    } pairs[] = {{"==", JJ_OP_EQ}, {"!=", JJ_OP_NE},    {"<=", JJ_OP_LE},
                 {">=", JJ_OP_GE}, {"//", JJ_OP_FLOOR}, {"**", JJ_OP_POW}};
    char c = x->src[x->pos];
    t->kind = JJ_T_OP;
    t->p = x->src + x->pos;
    t->n = 1;
    t->op = c;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        if (at(x, x->pos, pairs[i].text)) {
            t->n = 2;
            t->op = pairs[i].op;
        }
    if (t->n == 1 && (c == 0 || !strchr("+-*/%~<>=.,:|()[]{};", c))) {
        uint32_t cp = 0;
        int len = utf8_decode(t->p, x->n - x->pos, &cp);
        if (cp < 0x20)
            return jj_lex_fail(x, ALULA_FORMAT, x->line, "unexpected character U+%04X", (unsigned)cp);
        return jj_lex_fail(x, ALULA_FORMAT, x->line, "unexpected character '%.*s'", len, t->p);
    }
    if (t->n == 1 && !bracket(x, c)) return false;
    advance(x, x->pos + t->n);
    return true;
}

/* If the tag ends here, t becomes JJ_T_END and the position moves behind the tag. */
static bool lex_end(struct jj_lex *x, struct jj_tok *t)
{
    if (x->n_open > 0) return false;
    char sign = sign_at(x, x->pos);
    if (sign == '+' && x->in_print) return false;
    if (!at(x, x->pos + (sign != 0), x->in_print ? "}}" : "%}")) return false;
    t->kind = JJ_T_END;
    t->p = x->src + x->pos;
    t->n = sign ? 3 : 2;
    close_tag(x, t->n, sign, !x->in_print);
    return true;
}

bool jj_lex_token(struct jj_lex *x, struct jj_tok *t)
{
    advance(x, x->pos + jj_space_before(x->src + x->pos, x->n - x->pos));
    *t = (struct jj_tok){.line = x->line};
    if (x->pos >= x->n)
        return jj_lex_fail(x, ALULA_FORMAT, x->tag_line, "the tag is never closed by '%s'",
                           x->in_print ? "}}" : "%}");
    if (lex_end(x, t)) return true;
    char c = x->src[x->pos];
    if (c == '\'' || c == '"') return lex_string(x, t);
    if (c >= '0' && c <= '9') return lex_number(x, t);
    t->p = x->src + x->pos;
    t->n = name_length(t->p, x->n - x->pos);
    if (t->n == 0) return lex_operator(x, t);
    t->kind = JJ_T_NAME;
    advance(x, x->pos + t->n);
    return true;
}
