/* Templates against what jinja2 prints as transformers sets it up (tests/data/jinja/SOURCE): every case,
 * byte for byte. */
#include "tests/jinja_cases.h"

#include <string.h>
#include <time.h>

#include "text/jinja.h"

/* "2026-03-07T05:04:09", local, to seconds. 0 = the clock. */
static int64_t case_now(struct span line)
{
    char text[32] = "";
    struct tm tm = {0};
    struct span v = member(line, "now");
    if (!v.p) return 0;
    snprintf(text, sizeof text, "%.*s", (int)v.n, v.p);
    assert_non_null(strptime(text, "\"%Y-%m-%dT%H:%M:%S\"", &tm));
    tm.tm_isdst = -1;
    return mktime(&tm);
}

/* Parses and renders a case under the name "case". */
static bool run_case(struct span text, struct span context, int64_t now, struct buf *out,
                     struct alula_error *e)
{
    struct jinja *j = NULL;
    buf_init(out, 0);
    if (!jinja_parse(&j, text.p, text.n, "case", e)) return false;
    bool ok = jinja_render(j, context.p, context.n, now, out, e);
    jinja_free(j);
    return ok;
}

/* NULL if the result is what the case asks for, else what is wrong with it. */
static const char *judge(struct span line, bool ok, const struct buf *out, const struct alula_error *e)
{
    static char said[2048];
    bool rare = is_member(line, "need", "rare"), wants_error = member(line, "error").p != NULL;
    int at = 0, end = 0;
    if (!ok && out->len != 0) return "output was left behind";
    if (!ok && !wants_error) {
        snprintf(said, sizeof said, "refused: %s", e->message);
        /* A rare construct may be refused, by name and line: of the template, or of the context if it is a
         * value. */
        bool placed = sscanf(e->message, "case:%d: %n", &at, &end) == 1 ||
                      sscanf(e->message, "the context: line %d,%n", &at, &end) == 1;
        placed = placed && at > 0 && end > 0;
        return rare && placed && e->code == ALULA_UNSUPPORTED ? NULL : said;
    }
    if (ok && wants_error) return "rendered, expected an error";
    if (!ok && is_member(line, "kind", "raise")) {
        struct decoded message = decode(member(line, "message"));
        bool has = strstr(e->message, message.p) != NULL;
        free_decoded(message);
        snprintf(said, sizeof said, "another message: %s", e->message);
        return has ? NULL : said;
    }
    if (!ok) return e->message[0] ? NULL : "no message";
    struct decoded expected = decode(member(line, "expected"));
    bool same = expected.n == out->len && (out->len == 0 || memcmp(expected.p, out->data, out->len) == 0);
    snprintf(said, sizeof said, "printed [%.*s], expected [%.*s]", (int)(out->len < 700 ? out->len : 700),
             out->data ? out->data : "", (int)(expected.n < 700 ? expected.n : 700), expected.p);
    free_decoded(expected);
    return same ? NULL : said;
}

/* Runs the `count` cases of one need; tmpl NULL: each case has its own template. */
static void run_file(const char *name, const char *need, int count, const struct buf *tmpl)
{
    struct buf file = read_data(name);
    int n = 0, failed = 0;
    struct span line;
    for (size_t at = 0; next_line(&file, &at, &line);) {
        if (!is_member(line, "need", need)) continue;
        struct decoded own = tmpl ? (struct decoded){0} : decode(member(line, "template"));
        struct span text = tmpl ? (struct span){tmpl->data, tmpl->len} : (struct span){own.p, own.n};
        struct buf out;
        struct alula_error e = {0};
        bool ok = run_case(text, member(line, "context"), case_now(line), &out, &e);
        const char *wrong = judge(line, ok, &out, &e);
        if (wrong) {
            struct span title = member(line, "name");
            print_error("%.*s: %s\n", (int)title.n, title.p, wrong);
            failed++;
        }
        n++;
        buf_free(&out);
        free_decoded(own);
    }
    buf_free(&file);
    assert_int_equal(n, count);
    if (failed) fail_msg("%d of %d %s cases of %s are wrong", failed, n, need, name);
}

static void core_cases(void **state)
{
    (void)state;
    run_file("jinja/cases.jsonl", "core", 948, NULL);
}

static void extra_cases(void **state)
{
    (void)state;
    run_file("jinja/cases.jsonl", "extra", 197, NULL);
}

/* Right, or refused with the line: never rendered otherwise. */
static void rare_cases(void **state)
{
    (void)state;
    run_file("jinja/cases.jsonl", "rare", 109, NULL);
}

static void bundled_template(void **state)
{
    struct buf text;
    struct alula_error e;
    (void)state;
    buf_init(&text, 0);
    assert_ok(file_read("models/tiny-trunk/chat_template.jinja", 0, &text, &e), e);
    run_file("jinja/chat-tiny.jsonl", "core", 104, &text);
    run_file("jinja/chat-tiny.jsonl", "rare", 1, &text);
    buf_free(&text);
}

/* Where the reference does something that no rule of thumb gives; found by rendering random templates in
 * both. */
static void corners(void **state)
{
    static const struct {
        const char *text, *prints;
    } cases[] = {
        {"a{#", "a"},
        {"a{#-", "a"},
        {"a\n  {% raw %}", "a\n"},
        {"{{ [none, none]|sort }}", "[None, None]"},
        {"{{ [{}, {}]|sort(attribute='k') }}", "[{}, {}]"},
        {"{% for a, b in [['x', 1], ['y', 2]] if b %}{{ loop.previtem }}{% endfor %}", "('x', 1)"},
        {"{{ (-0.0)|round(0, 'floor') }}{{ (-0.5)|round(0, 'ceil') }}", "0.00.0"},
        {"{{ 'ΑΣ ΑΣΒ Σ'|lower }}{{ 'ΑΣ'.title() }}", "ας ασβ σΑς"},
        {"{{ 'ﬁ ǆ ŉ'.title() }}{{ 'ǆ'|upper }}", "Fi ǅ ʼNǄ"},
        {"{{ 1_0.5 }}{{ 0x_F }}{{ 1e3 }}{{ 00 }}", "10.5151000.00"},
        {"{{ 9007199254740993 == 9007199254740992.0 }}{{ 18446744073709551615 + 0 }}",
         "False18446744073709551615"},
        {"{{ 7 // -2 }}{{ -7 % -3 }}{{ -7.5 // 2 }}{{ 5.0 % -3 }}", "-4-1-4.0-1.0"},
        {"{{ [1, 2, 3][::-2] }}{{ 'añb'[-2:] }}{{ 'abc'[5:0:-1] }}", "[3, 1]ñbcb"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf out;
        struct alula_error e;
        struct span nothing = {"{}", 2};
        assert_ok(run_case((struct span){cases[i].text, strlen(cases[i].text)}, nothing, 0, &out, &e), e);
        assert_string_equal(out.data, cases[i].prints);
        buf_free(&out);
    }
}

/* A syntax error says where, what stands there and what should; an open block, where it was opened. */
static void syntax_errors_say_where(void **state)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"a\n{% if x %}\n\n", "case:3: the template ends inside 'if' of line 2, expected 'endif'"},
        {"{% for x in y %}\n{% endif %}",
         "case:2: unknown statement 'endif'; the open block is 'for' of line 1"},
        {"\n\n{{ a b }}", "case:3: unexpected b, expected '}}'"},
        {"\n{{ (1 }}", "case:2: unexpected '}', expected ')'"},
        {"{{\n'abc }}", "case:2: the string literal is never closed by '"},
        {"{{ a", "case:1: the tag is never closed by '}}'"},
        {"\n{# a\n", "case:2: the comment is never closed by '#}'"},
        {"{% macro f(a) %}{{ varargs }}{% endmacro %}",
         "case:1: the name 'varargs' inside a macro is not supported"},
        {"\n{% include 'x' %}", "case:2: the statement 'include' is not supported"},
        {"{{ f(*x) }}", "case:1: arguments spread with * or ** are not supported"},
        {"{{ 1 }}\n{{ x|nosuch }}", "case:2: no filter named 'nosuch'"},
        {"{{ 'a'\n + 1 }}", "case:2: the operator + does not take 'str' and 'int'"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf out;
        struct alula_error e;
        struct span nothing = {"{}", 2};
        assert_false(run_case((struct span){cases[i].text, strlen(cases[i].text)}, nothing, 0, &out, &e));
        assert_string_equal(e.message, cases[i].says);
        buf_free(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(core_cases), cmocka_unit_test(extra_cases),
        cmocka_unit_test(rare_cases), cmocka_unit_test(bundled_template),
        cmocka_unit_test(corners),    cmocka_unit_test(syntax_errors_say_where),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
