/* json_text.c - strings, numbers, and values of any kind. Must not know schemas.
 *
 * Numbers stay within what a double tells apart and what 64 bits hold: 16 digits before the point, 16 behind
 * it, two of an exponent; integers have 18. */
#include "text/json_text.h"

#include <stdio.h>
#include <string.h>

#include "text/free_text.h"

enum { INTEGER_DIGITS = 18, WHOLE_DIGITS = 16, FRACTION_DIGITS = 16, EXPONENT_DIGITS = 2 };

static int32_t hex(struct grammar *g, const char *ranges, int32_t next)
{
    int32_t all = GRAMMAR_S_DEAD;
    for (; *ranges; ranges += 2)
        all = grammar_either(g, grammar_byte(g, (uint8_t)ranges[0], (uint8_t)ranges[1], next), all);
    return all;
}

static int32_t hex_any(struct grammar *g, int n, int32_t next)
{
    while (n-- > 0) next = hex(g, "09AFaf", next);
    return next;
}

/* \uXXXX: a character, or two halves of one in their order. */
static int32_t unicode_escape(struct grammar *g, int32_t next)
{
    int32_t low = grammar_str(g, "\\u", hex(g, "DDdd", hex(g, "CFcf", hex_any(g, 2, next))));
    int32_t pair = hex(g, "DDdd", hex(g, "89ABab", hex_any(g, 2, low)));
    int32_t below = hex(g, "DDdd", hex(g, "07", hex_any(g, 2, next)));
    int32_t other = hex(g, "09ACEFacef", hex_any(g, 3, next));
    return grammar_str(g, "\\u", grammar_either(g, pair, grammar_either(g, below, other)));
}

/* Characters spelled by a backslash. */
static int32_t escapes(struct grammar *g, int32_t next)
{
    int32_t named = GRAMMAR_S_DEAD;
    for (const char *c = "\"\\/bfnrt"; *c; c++)
        named = grammar_either(g, grammar_byte(g, (uint8_t)*c, (uint8_t)*c, next), named);
    return grammar_either(g, grammar_str(g, "\\", named), unicode_escape(g, next));
}

/* Any character, in any of its spellings. */
static int32_t any_char(struct grammar *g, enum string_form form, int32_t next)
{
    struct charset set = {0};
    charset_add(&set, 0x20, 0x10ffff);
    if (form & STRING_TAGLESS) charset_remove(&set, '<', '<');
    if (form & STRING_RAW) {
        charset_add(&set, '\t', '\n');
        charset_add(&set, '\r', '\r');
    } else {
        charset_remove(&set, '"', '"');
        charset_remove(&set, '\\', '\\');
    }
    charset_tidy(&set);
    int32_t plain = charset_read(g, &set, next);
    return form & STRING_RAW ? plain : grammar_either(g, plain, escapes(g, next));
}

int32_t json_text_charset(struct grammar *g, const struct charset *set, enum string_form form, int32_t next)
{
    static const char named[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    struct charset plain = *set;
    bool json = !(form & STRING_RAW);
    int32_t escaped = GRAMMAR_S_DEAD;
    for (int i = 0; json && i < set->n; i++) {
        for (uint32_t c = set->ranges[i].lo; c <= set->ranges[i].hi && c <= '\\'; c++) {
            const char *hit = c && c < 128 ? strchr(named, (int)c) : NULL;
            char text[8];
            if (!hit && c >= 0x20) continue;
            if (hit)
                snprintf(text, sizeof text, "\\%c", letters[hit - named]);
            else
                snprintf(text, sizeof text, "\\u%04x", (unsigned)c);
            escaped = grammar_either(g, grammar_str(g, text, next), escaped);
        }
    }
    if (form & STRING_TAGLESS) charset_remove(&plain, '<', '<');
    if (json) {
        charset_remove(&plain, 0, 0x1f);
        charset_remove(&plain, '"', '"');
        charset_remove(&plain, '\\', '\\');
    }
    charset_tidy(&plain);
    return grammar_either(g, charset_read(g, &plain, next), escaped);
}

int32_t json_text_string(struct grammar *g, enum string_form form, uint32_t min, uint32_t max, int32_t next)
{
    const char *quote = form & STRING_RAW ? "" : "\"";
    int32_t body = any_char(g, form, GRAMMAR_S_AGAIN);
    return grammar_str(g, quote, grammar_repeat(g, body, min, max, grammar_str(g, quote, next)));
}

/* ---- tags ----------------------------------------------------------------------------------------------- */

/* Those at which a reader of calls takes a value to end. */
static const char *const tags[] = {"</parameter>", "</function>", "</tool_call>", "<parameter="};
enum { N_TAGS = sizeof tags / sizeof *tags };

int32_t json_text_tagless(struct grammar *g, int32_t next)
{
    return free_text(g, tags, N_TAGS, (struct free_form){.without = ""}, next);
}

bool json_text_has_tag(const char *s, size_t n)
{
    for (int i = 0; i < N_TAGS; i++)
        if (memmem(s, n, tags[i], strlen(tags[i]))) return true;
    return false;
}

static int32_t any_string(struct grammar *g, enum string_form form)
{
    struct free_form within = {.without = "\"\\\t\n\r", .escapes = escapes};
    int32_t end = grammar_str(g, "\"", GRAMMAR_S_END);
    if (form & STRING_TAGLESS) return grammar_str(g, "\"", free_text(g, tags, N_TAGS, within, end));
    return json_text_string(g, form, 0, GRAMMAR_NO_LIMIT, GRAMMAR_S_END);
}

/* ---- values of any kind --------------------------------------------------------------------------------- */

static int32_t digits(struct grammar *g, uint32_t min, uint32_t max, int32_t next)
{
    return grammar_repeat(g, grammar_byte(g, '0', '9', GRAMMAR_S_AGAIN), min, max, next);
}

static int32_t whole(struct grammar *g, uint32_t n, int32_t next)
{
    int32_t positive = grammar_byte(g, '1', '9', digits(g, 0, n - 1, next));
    return grammar_either(g, positive, grammar_str(g, "-", positive));
}

static int32_t integer(struct grammar *g)
{
    return grammar_either(g, grammar_str(g, "0", GRAMMAR_S_END), whole(g, INTEGER_DIGITS, GRAMMAR_S_END));
}

static int32_t number(struct grammar *g)
{
    int32_t end = GRAMMAR_S_END, power = digits(g, 1, EXPONENT_DIGITS, end);
    int32_t sign = grammar_either(g, grammar_str(g, "+", power), grammar_str(g, "-", power));
    int32_t exponent = grammar_either(g, power, sign);
    exponent = grammar_either(g, grammar_str(g, "e", exponent), grammar_str(g, "E", exponent));
    exponent = grammar_either(g, exponent, end);
    int32_t fraction = grammar_str(g, ".", digits(g, 1, FRACTION_DIGITS, exponent));
    int32_t rest = grammar_either(g, fraction, exponent), zero = grammar_str(g, "0", rest);
    return grammar_either(g, whole(g, WHOLE_DIGITS, rest),
                          grammar_either(g, zero, grammar_str(g, "-", grammar_str(g, "0", fraction))));
}

/* "open" items with ", " between "close". item: builds one in front of what follows. */
static int32_t sequence(struct json_text *j, const char *open, int32_t (*item)(struct json_text *, int32_t),
                        const char *close, int32_t next)
{
    struct grammar *g = j->g;
    int32_t end = grammar_str(g, close, next);
    int32_t more = grammar_str(g, ", ", item(j, GRAMMAR_S_AGAIN));
    int32_t first = item(j, grammar_repeat(g, more, 0, GRAMMAR_NO_LIMIT, end));
    return grammar_str(g, open, grammar_either(g, first, end));
}

static int32_t element(struct json_text *j, int32_t next) { return grammar_call(j->g, j->value, next); }

static int32_t member(struct json_text *j, int32_t next)
{
    return grammar_call(j->g, j->string, grammar_str(j->g, ": ", grammar_call(j->g, j->value, next)));
}

void json_text_create(struct json_text *j, struct grammar *g, enum string_form form)
{
    int32_t end = GRAMMAR_S_END;
    *j = (struct json_text){g,
                            form,
                            grammar_rule(g),
                            grammar_rule(g),
                            grammar_rule(g),
                            grammar_rule(g),
                            grammar_rule(g),
                            grammar_rule(g)};
    grammar_define(g, j->string, any_string(g, form));
    grammar_define(g, j->number, number(g));
    grammar_define(g, j->integer, integer(g));
    grammar_define(g, j->object, sequence(j, "{", member, "}", end));
    grammar_define(g, j->array, sequence(j, "[", element, "]", end));
    int32_t value = grammar_either(g, grammar_str(g, "true", end), grammar_str(g, "false", end));
    value = grammar_either(g, grammar_str(g, "null", end), value);
    value = grammar_either(g, grammar_call(g, j->string, end), value);
    value = grammar_either(g, grammar_call(g, j->number, end), value);
    value = grammar_either(g, grammar_call(g, j->array, end), value);
    grammar_define(g, j->value, grammar_either(g, grammar_call(g, j->object, end), value));
}
