/* JSON: what the reader refuses, numbers both ways, the writer's form, typed members. */
#include "tests/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *parse(const char *text, struct alula_error *e)
{
    return json_parse(text, strlen(text), 64, "doc.json", e);
}

static void refused(const char *text, enum alula_code code, const char *part)
{
    struct alula_error e = {0};
    json_t *v = parse(text, &e);
    if (v) fail_msg("accepted: %s", text);
    assert_int_equal(e.code, code);
    assert_memory_equal(e.message, "doc.json: ", 10);
    if (!strstr(e.message, part)) fail_msg("%s: '%s' lacks '%s'", text, e.message, part);
}

static void test_refuses(void **state)
{
    (void)state;
    refused("{\"a\": 1, \"a\": 2}", ALULA_FORMAT, "duplicate object key");
    refused("{\"x\": {\"a\": 1, \"\\u0061\": 2}}", ALULA_FORMAT, "duplicate object key");
    refused("", ALULA_FORMAT, "line 1");
    refused("{", ALULA_FORMAT, "line 1, column 1");
    refused("[1, 2", ALULA_FORMAT, "line 1");
    refused("[1]\n\n x", ALULA_FORMAT, "line 3, column 2");
    refused("[1,]", ALULA_FORMAT, "line 1");
    refused("nul", ALULA_FORMAT, "line 1");
    refused("[01]", ALULA_FORMAT, "line 1");
    refused("[NaN]", ALULA_FORMAT, "line 1");
    refused("[1e999]", ALULA_FORMAT, "line 1");
    refused("[9223372036854775808]", ALULA_FORMAT, "line 1");
    refused("\"\xff\"", ALULA_FORMAT, "line 1");
    refused("\"\xc0\xaf\"", ALULA_FORMAT, "line 1");
    refused("\"\xed\xa0\x80\"", ALULA_FORMAT, "line 1");
    refused("\"\\ud800\"", ALULA_FORMAT, "line 1");
    refused("\"\x01\"", ALULA_FORMAT, "line 1");
    refused("{\"a\\u0000\": 1}", ALULA_FORMAT, "line 1");
    struct alula_error e;
    assert_null(json_parse(NULL, 0, 8, "nothing", &e));
    assert_null(json_parse("[1]\0", 4, 8, "text", &e));
}

static void test_depth(void **state)
{
    (void)state;
    struct alula_error e;
    json_t *v = json_parse("[[[]]]", 6, 3, "text", &e);
    assert_non_null(v);
    json_decref(v);
    assert_null(json_parse("[[[]]]", 6, 2, "text", &e));
    assert_int_equal(e.code, ALULA_LIMIT);
    assert_string_equal(e.message, "text: JSON is nested more than 2 deep");
    /* Brackets in strings do not nest, a quoted quote does not end the string. */
    static const char quoted[] = "[\"[[[[\\\"[[\\\\\", \"{{\"]";
    v = json_parse(quoted, sizeof quoted - 1, 1, "text", &e);
    assert_non_null(v);
    json_decref(v);
    static const char after[] = "[\"\\\\\", [[]]]";
    assert_null(json_parse(after, sizeof after - 1, 2, "text", &e));
    assert_int_equal(e.code, ALULA_LIMIT);
    /* Deep enough to overflow any stack that recursed. */
    size_t n = 4 << 20;
    char *deep = mem_alloc(n);
    memset(deep, '[', n);
    assert_null(json_parse(deep, n, 64, "text", &e));
    assert_int_equal(e.code, ALULA_LIMIT);
    mem_free(deep);
}

static void test_numbers_as_python(void **state)
{
    (void)state;
    struct buf cases = read_data("python_repr/cases.txt"), out = {0};
    int n = 0;
    for (char *line = strtok(cases.data, "\n"); line; line = strtok(NULL, "\n"), n++) {
        uint64_t bits = strtoull(line, NULL, 16);
        double v;
        struct alula_error e;
        memcpy(&v, &bits, sizeof v);
        buf_clear(&out);
        json_write_real(&out, v);
        if (strcmp(out.data, line + 17) != 0)
            fail_msg("%a written as %s, expected %s", v, out.data, line + 17);
        json_t *back = json_parse(out.data, out.len, 1, "number", &e);
        assert_ok(back != NULL, e);
        double w = json_real_value(back);
        assert_true(json_is_real(back) && memcmp(&v, &w, sizeof v) == 0);
        json_decref(back);
    }
    assert_true(n > 600);
    buf_clear(&out);
    json_write_real(&out, NAN);
    json_write_real(&out, -INFINITY);
    assert_string_equal(out.data, "nullnull");
    buf_clear(&out);
    json_write_int(&out, INT64_MIN);
    assert_string_equal(out.data, "-9223372036854775808");
    buf_free(&out);
    buf_free(&cases);
}

static void test_strings(void **state)
{
    (void)state;
    struct buf b = {0};
    static const char all[] = "\"\\/\b\f\n\r\t\x01\x1f\x7f\0\xc3\xa9\xf0\x9f\x98\x80";
    json_write_str(&b, all, sizeof all - 1);
    assert_string_equal(b.data,
                        "\"\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u001f\x7f\\u0000\xc3\xa9\xf0\x9f\x98\x80\"");
    struct alula_error e;
    json_t *v = json_parse(b.data, b.len, 1, "text", &e);
    assert_ok(v != NULL, e);
    assert_int_equal(json_string_length(v), sizeof all - 1);
    assert_memory_equal(json_string_value(v), all, sizeof all - 1);
    json_decref(v);
    /* What is no character becomes U+FFFD: output must be JSON whatever a model writes. */
    buf_clear(&b);
    json_write_str(&b, "a\xff\xe1\x80z\xed\xa0\x80", 8);
    assert_string_equal(b.data, "\"a\xef\xbf\xbd\xef\xbf\xbdz\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
    buf_free(&b);
}

/* As json.dumps(v, ensure_ascii=False) and json.dumps(..., indent=2) write it. */
static void test_trees(void **state)
{
    (void)state;
    struct alula_error e;
    struct buf b = {0};
    json_t *v = parse(
        "{\"z\":[],\"a\":{\"k\":[1,2.50,1e2,null,true,false,\"s\"],\"o\":{}},\"b\":[[1],{\"x\":-0.0}]}", &e);
    assert_ok(v != NULL, e);
    json_write(&b, v, 0);
    assert_string_equal(b.data,
                        "{\"z\": [], \"a\": {\"k\": [1, 2.5, 100.0, null, true, false, \"s\"], \"o\": {}}, "
                        "\"b\": [[1], {\"x\": -0.0}]}");
    json_decref(v);
    v = parse("{\"z\":[],\"b\":[[1,2],{\"x\":3}],\"o\":{}}", &e);
    assert_ok(v != NULL, e);
    buf_clear(&b);
    json_write(&b, v, 2);
    assert_string_equal(
        b.data,
        "{\n  \"z\": [],\n  \"b\": [\n    [\n      1,\n      2\n    ],\n    {\n      \"x\": 3\n    }\n"
        "  ],\n  \"o\": {}\n}");
    json_decref(v);
    buf_free(&b);
}

static void test_members(void **state)
{
    (void)state;
    struct alula_error e;
    int64_t i = -1;
    double r = -1;
    bool flag = false;
    const char *s = NULL;
    json_t *o = parse("{\"n\": 5, \"r\": 2.5, \"t\": true, \"s\": \"x\", \"null\": null, \"nul\": "
                      "\"a\\u0000b\", \"a\": [1]}",
                      &e);
    assert_ok(o != NULL, e);
    assert_ok(json_get_int(o, "n", 1, 5, &i, "c.json", &e), e);
    assert_int_equal(i, 5);
    assert_false(json_get_int(o, "n", 1, 4, &i, "c.json", &e));
    assert_string_equal(e.message, "c.json: \"n\" is 5, expected a whole number from 1 to 4");
    assert_false(json_get_int(o, "r", 1, 4, &i, "c.json", &e));
    assert_string_equal(e.message, "c.json: \"r\" is 2.5, expected a whole number from 1 to 4");
    assert_false(json_get_int(o, "null", 1, 4, &i, "c.json", &e));
    assert_string_equal(e.message, "c.json: \"null\" is missing, expected a whole number from 1 to 4");
    assert_false(json_get_int_or(o, "a", 1, 4, 3, &i, "c.json", &e));
    assert_string_equal(e.message, "c.json: \"a\" is an array, expected a whole number from 1 to 4");
    assert_int_equal(i, 5);
    assert_ok(json_get_int_or(o, "absent", 1, 4, 3, &i, "c.json", &e), e);
    assert_int_equal(i, 3);
    assert_ok(json_get_real(o, "n", 0, 9, &r, "c.json", &e), e);
    assert_true(r == 5);
    assert_false(json_get_real(o, "r", 3, 9, &r, "c.json", &e));
    assert_string_equal(e.message, "c.json: \"r\" is 2.5, expected a number from 3 to 9");
    assert_ok(json_get_real_or(o, "null", 3, 9, 7.5, &r, "c.json", &e), e);
    assert_true(r == 7.5);
    assert_ok(json_get_bool_or(o, "t", false, &flag, "c.json", &e), e);
    assert_true(flag);
    assert_false(json_get_bool_or(o, "n", false, &flag, "c.json", &e));
    assert_string_equal(e.message, "c.json: \"n\" is 5, expected true or false");
    assert_ok(json_get_str_or(o, "s", NULL, &s, "c.json", &e), e);
    assert_string_equal(s, "x");
    /* A name that ends earlier for C than for JSON could mean two things. */
    assert_false(json_get_str_or(o, "nul", NULL, &s, "c.json", &e));
    assert_ok(json_get_str_or(o, "absent", NULL, &s, "c.json", &e), e);
    assert_null(s);
    assert_false(json_get_int(json_object_get(o, "a"), "n", 0, 1, &i, "c.json", &e));
    json_decref(o);
}

static void test_files(void **state)
{
    (void)state;
    struct alula_error e;
    char path[300];
    assert_ok(path_join(path, sizeof path, scratch_dir(), "a.json", &e), e);
    assert_null(json_parse_file(path, 100, 8, &e));
    assert_int_equal(e.code, ALULA_NOT_FOUND);
    assert_non_null(strstr(e.message, path));
    assert_ok(file_write(path, "[1, 2, 3]", 9, &e), e);
    json_t *v = json_parse_file(path, 9, 8, &e);
    assert_ok(v != NULL, e);
    json_decref(v);
    assert_null(json_parse_file(path, 8, 8, &e));
    assert_int_equal(e.code, ALULA_LIMIT);
    assert_ok(file_write(path, "", 0, &e), e);
    assert_null(json_parse_file(path, 100, 8, &e));
    assert_int_equal(e.code, ALULA_FORMAT);
}

/* However many allocations succeed, reading ends in a value or in "out of memory", and nothing leaks. */
static void test_out_of_memory(void **state)
{
    (void)state;
    static const char text[] =
        "{\"a\": [1, 2.5, \"long enough to need a buffer of its own\", {\"b\": {}}], \"c\": null}";
    struct alula_error e;
    json_t *v = NULL;
    int n = 0;
    for (; !v && n < 1000; n++) {
        mem_fail_after(n);
        v = json_parse(text, sizeof text - 1, 8, "text", &e);
        mem_fail_after(-1);
        if (!v && e.code != ALULA_NOMEM) fail_msg("after %d allocations: code %d, %s", n, e.code, e.message);
    }
    assert_non_null(v);
    assert_true(n > 10);
    json_decref(v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_numbers_as_python),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_trees),
        cmocka_unit_test(test_members),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
