/* What a model writes, read as reasoning, content and calls: every recorded text whole, byte by byte and at
 * every single cut, because the result must not depend on how the text comes; text given out is never taken
 * back. */
#include "tests/support.h"

#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "text/toolcall.h"

/* ---- collecting ---------------------------------------------------------------------------------------- */

struct answer {
    struct buf reasoning, content;
    json_t *calls; /* [{"name", "arguments"}] */
    int n_events;
};

static void collect(void *arg, const struct toolcall_event *event)
{
    struct answer *a = arg;
    struct alula_error e;
    a->n_events++;
    assert_true(event->len > 0);
    assert_int_equal(utf8_valid_len(event->text, event->len), event->len);
    if (event->kind != TOOLCALL_CALL) {
        assert_null(event->name);
        buf_add(event->kind == TOOLCALL_REASONING ? &a->reasoning : &a->content, event->text, event->len);
        return;
    }
    json_t *arguments = json_parse(event->text, event->len, 64, "arguments", &e);
    assert_ok(arguments != NULL, e);
    json_array_append_new(a->calls, json_pack("{s:s, s:o}", "name", event->name, "arguments", arguments));
}

static void answer_init(struct answer *a)
{
    buf_init(&a->reasoning, 0);
    buf_init(&a->content, 0);
    a->calls = json_array();
    a->n_events = 0;
}

static void answer_free(struct answer *a)
{
    buf_free(&a->reasoning);
    buf_free(&a->content);
    json_decref(a->calls);
}

/* Equality of JSON values: numbers by value, keys in order. */
static bool same_value(const json_t *a, const json_t *b)
{
    if (json_is_number(a) && json_is_number(b))
        return json_is_integer(a) && json_is_integer(b) ? json_integer_value(a) == json_integer_value(b)
                                                        : json_number_value(a) == json_number_value(b);
    if (json_typeof(a) != json_typeof(b)) return false;
    if (json_is_array(a)) {
        for (size_t i = 0; i < json_array_size(a) && i < json_array_size(b); i++)
            if (!same_value(json_array_get(a, i), json_array_get(b, i))) return false;
        return json_array_size(a) == json_array_size(b);
    }
    if (!json_is_object(a)) return json_equal(a, b);
    void *x = json_object_iter((json_t *)(uintptr_t)a), *y = json_object_iter((json_t *)(uintptr_t)b);
    for (; x && y; x = json_object_iter_next((json_t *)(uintptr_t)a, x),
                   y = json_object_iter_next((json_t *)(uintptr_t)b, y)) {
        if (strcmp(json_object_iter_key(x), json_object_iter_key(y)) != 0) return false;
        if (!same_value(json_object_iter_value(x), json_object_iter_value(y))) return false;
    }
    return !x && !y;
}

static bool same_text(const struct buf *b, const json_t *expected)
{
    return b->len == json_string_length(expected) &&
           (b->len == 0 || memcmp(b->data, json_string_value(expected), b->len) == 0);
}

static void check_answer(const char *name, size_t cut, const struct answer *a, const json_t *expect)
{
    const json_t *reasoning = json_object_get(expect, "reasoning"),
                 *content = json_object_get(expect, "content");
    if (!same_text(&a->reasoning, reasoning))
        fail_msg("%s, cut at %zu: reasoning is \"%s\", expected \"%s\"", name, cut,
                 a->reasoning.data ? a->reasoning.data : "", json_string_value(reasoning));
    if (!same_text(&a->content, content))
        fail_msg("%s, cut at %zu: content is \"%s\", expected \"%s\"", name, cut,
                 a->content.data ? a->content.data : "", json_string_value(content));
    if (!same_value(a->calls, json_object_get(expect, "tool_calls"))) {
        struct buf b;
        buf_init(&b, 0);
        json_write(&b, a->calls, 0);
        fail_msg("%s, cut at %zu: calls are %s", name, cut, b.data);
    }
}

/* ---- the recorded cases -------------------------------------------------------------------------------- */

/* Feeds the text in two pieces, or byte by byte if cut is SIZE_MAX, and checks the result and that it only
 * grows. */
static void run_cut(const json_t *c, const json_t *tools, size_t cut)
{
    const char *name = json_string_value(json_object_get(c, "name"));
    const json_t *text = json_object_get(c, "text"), *expect = json_object_get(c, "expect");
    const char *s = json_string_value(text), *finish = json_string_value(json_object_get(c, "finish"));
    size_t n = json_string_length(text);
    struct alula_error e;
    struct answer a;
    struct toolcall *t;
    answer_init(&a);
    assert_ok(toolcall_create(&t, tools, json_is_true(json_object_get(c, "thinking")), collect, &a, &e), e);
    if (cut == SIZE_MAX) {
        for (size_t i = 0; i < n; i++) assert_ok(toolcall_feed(t, s + i, 1, &e), e);
    } else {
        assert_ok(toolcall_feed(t, s, cut, &e), e);
        assert_ok(toolcall_feed(t, s + cut, n - cut, &e), e);
    }
    assert_ok(toolcall_end(t, strcmp(finish, "stop") == 0, &e), e);
    check_answer(name, cut, &a, expect);
    toolcall_free(t);
    answer_free(&a);
}

static void test_cases_at_every_cut(void **state)
{
    (void)state;
    struct alula_error e;
    struct buf b = read_data("chat-parse/parse.jsonl");
    json_t *sets = json_parse_file(data_path("chat-parse/tools.json"), 1 << 20, 32, &e);
    assert_ok(sets != NULL, e);
    int n_cases = 0;
    for (size_t i = 0; i < b.len; n_cases++) {
        size_t len = strcspn(b.data + i, "\n");
        json_t *c = json_parse(b.data + i, len, 32, "parse.jsonl", &e);
        assert_ok(c != NULL, e);
        const char *key = json_string_value(json_object_get(c, "tools"));
        const json_t *tools = key ? json_object_get(sets, key) : NULL;
        size_t n = json_string_length(json_object_get(c, "text"));
        run_cut(c, tools, n);
        run_cut(c, tools, SIZE_MAX);
        for (size_t cut = 0; cut < n; cut++) run_cut(c, tools, cut);
        json_decref(c);
        i += len + 1;
    }
    assert_int_equal(n_cases, 254);
    json_decref(sets);
    buf_free(&b);
}

/* ---- own cases: rules that no recorded text shows ------------------------------------------------------ */

#define PING "{\"type\": \"function\", \"function\": {\"name\": \"ping\"}}"
static const char tools_text[] =
    "[" PING ", {\"name\": \"bare\", \"parameters\": {\"properties\": {\"x\": {\"$ref\": \"#/$defs/loop\"},"
    " \"y\": {\"$ref\": \"#/$defs/a~1b/0\"}, \"z\": {\"type\": \"integer\"}}, \"$defs\": {"
    "\"loop\": {\"anyOf\": [{\"$ref\": \"#/$defs/loop\"}, {\"$ref\": \"#/$defs/loop\"}, {\"type\": "
    "\"integer\"}]},"
    " \"a/b\": [{\"type\": \"boolean\"}]}}}]";

static json_t *own_tools(void)
{
    struct alula_error e;
    json_t *tools = json_parse(tools_text, sizeof tools_text - 1, 32, "tools", &e);
    assert_ok(tools != NULL, e);
    return tools;
}

/* Everything that an answer has, as one text. */
static void describe(const struct answer *a, struct buf *out)
{
    buf_clear(out);
    buf_fmt(out, "%s|%s|", a->reasoning.data ? a->reasoning.data : "",
            a->content.data ? a->content.data : "");
    json_write(out, a->calls, 0);
}

/* Reads text in pieces of `step` bytes. */
static void read_answer(const json_t *tools, const char *text, size_t n, size_t step, bool thinking,
                        bool stopped, struct buf *out)
{
    struct alula_error e;
    struct answer a;
    struct toolcall *t;
    answer_init(&a);
    assert_ok(toolcall_create(&t, tools, thinking, collect, &a, &e), e);
    for (size_t i = 0; i < n; i += step)
        assert_ok(toolcall_feed(t, text + i, n - i < step ? n - i : step, &e), e);
    assert_ok(toolcall_end(t, stopped, &e), e);
    describe(&a, out);
    toolcall_free(t);
    answer_free(&a);
}

static const struct {
    bool thinking, stopped;
    const char *text, *expected;
} own[] = {
    /* a reference that leads to itself, or to many schemas, ends; ~1 is a slash; "0" an index */
    {false, true,
     "<tool_call>\n<function=bare>\n<parameter=x>\n7\n</parameter>\n<parameter=y>\nTRUE\n</parameter>\n</"
     "function>",
     "||[{\"name\": \"bare\", \"arguments\": {\"x\": 7, \"y\": true}}]"},
    {false, true, "<tool_call>\n<function=bare>\n<parameter=z>\n5.00\n</parameter>\n</function>",
     "||[{\"name\": \"bare\", \"arguments\": {\"z\": 5}}]"},
    /* an integer that could not be read again with the conversation stays text; the longest that can be is one */
    {false, true,
     "<tool_call>\n<function=bare>\n<parameter=z>\n9223372036854775808\n</parameter>\n</function>",
     "||[{\"name\": \"bare\", \"arguments\": {\"z\": \"9223372036854775808\"}}]"},
    {false, true,
     "<tool_call>\n<function=bare>\n<parameter=z>\n-9223372036854775808\n</parameter>\n</function>",
     "||[{\"name\": \"bare\", \"arguments\": {\"z\": -9223372036854775808}}]"},
    /* an unread body inside reasoning leaves the reasoning as it was */
    {true, true, "a <tool_call>\n<function=ping>\nwell\n</function> b</think>c",
     "a <tool_call>\n<function=ping>\nwell\n</function> b|c|[]"},
    {true, true, "a <tool_call>\n{\"name\": \"ping\"}\n</tool_call> b",
     "a| b|[{\"name\": \"ping\", \"arguments\": {}}]"},
    {true, true, "a <tool_call>{\"name\": \"nope\"}</tool_call> b",
     "a <tool_call>{\"name\": \"nope\"}</tool_call> b||[]"},
    {true, false, "a <tool_call>{\"name\": \"ping\"", "a <tool_call>{\"name\": \"ping\"||[]"},
    {true, false, "a\n<tool_call>\n<function=ping>\n<parameter=k>\nv",
     "a|<tool_call>\n<function=ping>\n<parameter=k>\nv|[]"},
    {false, true, "<tool_call>{\"name\": \"nope\", \"arguments\": []}</tool_call>",
     "|<tool_call>{\"name\": \"nope\", \"arguments\": []}</tool_call>|[]"},
    {false, true, "<tool_call>{\"name\": \" \"}</tool_call>", "|<tool_call>{\"name\": \" \"}</tool_call>|[]"},
    /* a second function in the wrapper that is cut, or none */
    {false, false, "<tool_call>\n<function=ping>\n</function>\n<function=ping>\n<parameter=k>\nv",
     "|<function=ping>\n<parameter=k>\nv|[{\"name\": \"ping\", \"arguments\": {}}]"},
    {false, true, "<tool_call>\n<function=ping>\n</function>\n<function=ping>\nx\n</function>\n</tool_call>",
     "|<function=ping>\nx\n</function>\n</tool_call>|[{\"name\": \"ping\", \"arguments\": {}}]"},
    {false, true, "<tool_call>\n<function=ping>\n</function>\n</tool_c",
     "||[{\"name\": \"ping\", \"arguments\": {}}]"},
    {false, true, "<tool_call>\n<function=ping>\n<parameter=k",
     "|<tool_call>\n<function=ping>\n<parameter=k|[]"},
    /* the text goes on where an attempt failed, and finds the next call */
    {false, true, "<function=ping>\nfoo\n<function=ping>\n",
     "|<function=ping>\nfoo|[{\"name\": \"ping\", \"arguments\": {}}]"},
    {false, true, "  </think>\n\nx</think>", "|x</think>|[]"},
    {false, true, "a \n <b", "|a \n <b|[]"},
};

static void test_own_cases(void **state)
{
    (void)state;
    json_t *tools = own_tools();
    struct buf out;
    buf_init(&out, 0);
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        size_t n = strlen(own[i].text);
        for (size_t step = 1; step <= n; step += step < 12 ? 1 : n) {
            read_answer(tools, own[i].text, n, step, own[i].thinking, own[i].stopped, &out);
            assert_string_equal(out.data, own[i].expected);
        }
    }
    buf_free(&out);
    json_decref(tools);
}

/* Texts put together at random from pieces of markup: pieces of any size give the same as the whole. */
static void test_random_texts_do_not_depend_on_cuts(void **state)
{
    (void)state;
    static const char *const bits[] = {
        "<tool_call>",
        "</tool_call>",
        "<function=ping>",
        "<function=bare>",
        "<function=nope>",
        "</function>",
        "<parameter=x>",
        "<parameter=z>",
        "<parameter=",
        "</parameter>",
        "<think>",
        "</think>",
        "\n",
        "\n",
        "\n",
        " ",
        "a",
        "\u00e9\U0001f600",
        "{\"name\": \"ping\"}",
        "{}",
        "7",
        "<",
        ">",
        "</",
        "<tool_",
    };
    json_t *tools = own_tools();
    struct buf text, whole, cut;
    buf_init(&text, 0);
    buf_init(&whole, 0);
    buf_init(&cut, 0);
    uint32_t seed = 12345;
    for (int round = 0; round < 4000; round++) {
        buf_clear(&text);
        for (int k = 0; k < 4 + round % 20; k++) {
            seed = seed * 1664525 + 1013904223;
            buf_str(&text, bits[(seed >> 16) % (sizeof bits / sizeof *bits)]);
        }
        for (int mode = 0; mode < 4; mode++) {
            read_answer(tools, text.data, text.len, text.len, mode & 1, mode & 2, &whole);
            for (size_t step = 1; step < 8; step++) {
                read_answer(tools, text.data, text.len, step, mode & 1, mode & 2, &cut);
                if (strcmp(whole.data, cut.data) != 0)
                    fail_msg("\"%s\" (mode %d) in pieces of %zu: %s; whole: %s", text.data, mode, step,
                             cut.data, whole.data);
            }
        }
    }
    buf_free(&text);
    buf_free(&whole);
    buf_free(&cut);
    json_decref(tools);
}

/* What is certain is given out at once, not at the end. */
static void test_text_streams(void **state)
{
    (void)state;
    struct alula_error e;
    struct answer a;
    struct toolcall *t;
    json_t *tools = own_tools();
    answer_init(&a);
    assert_ok(toolcall_create(&t, tools, true, collect, &a, &e), e);
    assert_ok(toolcall_feed(t, "Think", 5, &e), e);
    assert_string_equal(a.reasoning.data, "Think");
    assert_ok(toolcall_feed(t, " on \xc3", 5, &e), e);
    assert_string_equal(a.reasoning.data, "Think on");
    assert_ok(toolcall_feed(t, "\xa9</think>\n\nYes", 14, &e), e);
    assert_string_equal(a.reasoning.data, "Think on \u00e9");
    assert_string_equal(a.content.data, "Yes");
    assert_ok(toolcall_feed(t, " 1 < 2", 6, &e), e);
    assert_string_equal(a.content.data, "Yes 1 < 2");
    assert_ok(toolcall_feed(t, "\n<tool_call>\n<function=ping>\n</function>", 40, &e), e);
    assert_int_equal(json_array_size(a.calls), 1);
    assert_ok(toolcall_end(t, true, &e), e);
    assert_string_equal(a.content.data, "Yes 1 < 2");
    toolcall_free(t);
    answer_free(&a);
    json_decref(tools);
}

/* A megabyte of each thing that could make reading quadratic. */
static void test_long_answers(void **state)
{
    (void)state;
    static const char *const units[] = {
        "<",
        "<tool_call>\n",
        "<tool_call>\n<function=ping>\nx\n",
        "<function=ping>\nx\n",
        "<function=ping>\n{\n",
        "<tool_call>\n<function=ping>\n<parameter=k>\n</parameter>\n<parameter=k>\n",
        "\n",
        "</think>",
        "<parameter=x>\n",
        "<tool_call>{\"a\"",
        "<tool_call>{}\n",
        "<function=ping>\n{}",
        "<tool_call>{\"",
        "<tool_call>{\"\\",
        "text ",
    };
    json_t *tools = own_tools();
    struct buf text, out;
    buf_init(&text, 0);
    buf_init(&out, 0);
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        buf_clear(&text);
        while (text.len < 1000000) buf_str(&text, units[i]);
        read_answer(tools, text.data, text.len, 65536, false, true, &out);
        assert_true(out.len > 0);
    }
    buf_free(&text);
    buf_free(&out);
    json_decref(tools);
}

static void ignore(void *arg, const struct toolcall_event *event)
{
    (void)arg;
    (void)event;
}

/* What goes on in the middle of content is content from its first byte: line breaks, a tag of reasoning, and a call only
 * in its wrapper. */
static void test_content_goes_on(void **state)
{
    (void)state;
    static const char *const texts[] = {"\n\n- b", "<think>b", " \n</think>", "<function=bare>\n</function>"};
    json_t *tools = own_tools();
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct answer a;
        struct toolcall *t;
        struct alula_error e;
        answer_init(&a);
        assert_ok(toolcall_create(&t, tools, false, collect, &a, &e), e);
        toolcall_continue(t);
        assert_ok(toolcall_feed(t, texts[i], strlen(texts[i]), &e) && toolcall_end(t, true, &e), e);
        assert_int_equal(a.reasoning.len, 0);
        assert_int_equal(json_array_size(a.calls), 0);
        assert_int_equal(a.content.len, strlen(texts[i]));
        assert_memory_equal(a.content.data, texts[i], a.content.len);
        toolcall_free(t);
        answer_free(&a);
    }
    json_decref(tools);
}

static void test_an_answer_has_a_ceiling(void **state)
{
    (void)state;
    struct alula_error e;
    struct toolcall *t;
    char *text = mem_map((64 << 20) + 1);
    assert_ok(toolcall_create(&t, NULL, false, ignore, NULL, &e), e);
    assert_false(toolcall_feed(t, text, (64 << 20) + 1, &e));
    assert_int_equal(e.code, ALULA_LIMIT);
    toolcall_free(t);
    toolcall_free(NULL);
    mem_unmap(text, (64 << 20) + 1);
}

static void test_memory_runs_out(void **state)
{
    (void)state;
    static const char text[] =
        "hm</think>a<tool_call>\n<function=bare>\n<parameter=x>\n7\n</parameter>\n</function>\n"
        "</tool_call>\n<tool_call>{\"name\": \"ping\", \"arguments\": \"{}\"}</tool_call>"
        "<tool_call>\n<function=ping>\n{\"a\": [1]}\n</function>";
    json_t *tools = own_tools();
    for (int64_t n = 0;; n++) {
        struct alula_error e;
        struct toolcall *t = NULL;
        mem_fail_after(n);
        bool ok = toolcall_create(&t, tools, true, ignore, NULL, &e) &&
                  toolcall_feed(t, text, sizeof text - 1, &e) && toolcall_end(t, true, &e);
        mem_fail_after(-1);
        toolcall_free(t);
        if (ok) {
            assert_true(n > 20);
            break;
        }
        assert_int_equal(e.code, ALULA_NOMEM);
    }
    json_decref(tools);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases_at_every_cut),
        cmocka_unit_test(test_own_cases),
        cmocka_unit_test(test_random_texts_do_not_depend_on_cuts),
        cmocka_unit_test(test_text_streams),
        cmocka_unit_test(test_long_answers),
        cmocka_unit_test(test_content_goes_on),
        cmocka_unit_test(test_an_answer_has_a_ceiling),
        cmocka_unit_test(test_memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
