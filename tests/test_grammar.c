/* Grammars by the byte: what a schema lets through and what it does not, that whatever was begun can be ended, that what
 * is not supported is refused by name and place, and that nothing hostile takes long or crashes. */
#include "base/utf8.h"
#include "tests/grammar_rig.h"

struct row {
    const char *schema;
    const char *yes[8], *no[8]; /* whole texts: fitting, not */
};

static const struct row rows[] = {
    {"{}",
     {"{}", "[1, \"a\", null]", "-0.5e+7", "\"\\ud83d\\ude00\""},
     {"{ }", "[1,2]", "01", "\"\\ud83d\"", "\"\\x\"", "nul", "1.", "\"\t\""}},
    {"true", {"null"}, {"none"}},
    {"{\"type\":\"null\"}", {"null"}, {"\"null\""}},
    {"{\"type\":\"boolean\"}", {"true", "false"}, {"True", "0"}},
    {"{\"type\":\"integer\"}",
     {"0", "-1", "123456789012345678"},
     {"1.0", "-0", "00", "1234567890123456789", "1e3"}},
    {"{\"type\":\"number\"}", {"0", "1.5", "1e-9", "-0.0"}, {".5", "1.", "+1", "1e999"}},
    {"{\"type\":\"string\"}",
     {"\"\"", "\"\xc3\xa4\xf0\x9f\x98\x80\"", "\"\\\"\\u00e4\\n\""},
     {"\"\xc3\"", "\"\xc0\x80\"", "\"\xed\xa0\x80\"", "\"\n\"", "\"", "\"\\u12\""}},
    {"{\"type\":[\"integer\",\"null\"]}", {"7", "null"}, {"true", "1.5"}},
    /* numbers, digit by digit */
    {"{\"type\":\"integer\",\"minimum\":-12,\"maximum\":107}",
     {"-12", "-9", "0", "99", "100", "107"},
     {"-13", "-20", "108", "110", "1000", "-0"}},
    {"{\"type\":\"integer\",\"exclusiveMinimum\":9,\"exclusiveMaximum\":11}", {"10"}, {"9", "11"}},
    {"{\"type\":\"integer\",\"minimum\":0.5,\"maximum\":2.5}", {"1", "2"}, {"0", "3"}},
    {"{\"type\":\"integer\",\"maximum\":-99}", {"-99", "-100", "-1000"}, {"-98", "-9", "0"}},
    {"{\"type\":\"integer\",\"minimum\":98}", {"98", "100", "999999999999999999"}, {"97", "9"}},
    {"{\"type\":\"integer\",\"multipleOf\":7,\"minimum\":10,\"maximum\":30}",
     {"14", "21", "28"},
     {"7", "15", "35"}},
    {"{\"type\":\"number\",\"minimum\":0,\"maximum\":1}",
     {"0", "0.0", "1", "1.00", "0.999"},
     {"1.01", "-0.5", "2"}},
    {"{\"type\":\"number\",\"exclusiveMinimum\":0,\"exclusiveMaximum\":0.3}",
     {"0.01", "0.299", "0.1"},
     {"0", "0.0", "0.3", "0.30", "0.31"}},
    {"{\"type\":\"number\",\"minimum\":-273.15,\"maximum\":-0.5}",
     {"-273.15", "-273.1", "-0.5", "-0.50", "-1"},
     {"-273.16", "-0.49", "0", "-274"}},
    {"{\"type\":\"number\",\"minimum\":1e3,\"maximum\":1.5e+3}",
     {"1000", "1499.9", "1500.0"},
     {"999.9", "1500.1", "100"}},
    {"{\"type\":\"number\",\"maximum\":1e300}", {"999999999999999", "-1.5"}, {"1e400"}},
    /* strings */
    {"{\"type\":\"string\",\"minLength\":2,\"maxLength\":3}",
     {"\"ab\"", "\"\xc3\xa4\xc3\xa4\xc3\xa4\"", "\"\\u00e4\\n\""},
     {"\"a\"", "\"abcd\"", "\"\""}},
    {"{\"type\":\"string\",\"pattern\":\"^a[0-9]{2,3}(b|c)?$\"}",
     {"\"a12\"", "\"a123c\""},
     {"\"a1\"", "\"a1234\"", "\"xa12\""}},
    {"{\"type\":\"string\",\"pattern\":\"b+\"}", {"\"b\"", "\"abba\""}, {"\"\"", "\"aaa\""}},
    {"{\"type\":\"string\",\"pattern\":\"^\\\\w+\\\\s\\\\d{4}$\"}",
     {"\"May 2024\"", "\"a\\t0000\""},
     {"\"May2024\"", "\"\xc3\xa4 2024\""}},
    {"{\"type\":\"string\",\"pattern\":\"^[^a-z\\\\x22]$\"}",
     {"\"A\"", "\"\xe2\x82\xac\"", "\"\\\\\"", "\"\\u0000\""},
     {"\"a\"", "\"\\\"\""}},
    {"{\"type\":\"string\",\"pattern\":\"^a|b$\"}", {"\"ax\"", "\"xb\""}, {"\"xa\"", "\"bx\""}},
    {"{\"type\":\"string\",\"pattern\":\"^(a|)(x*)*$\"}", {"\"\"", "\"axx\""}, {"\"b\""}},
    {"{\"type\":\"string\",\"format\":\"date\"}",
     {"\"2024-02-28\"", "\"1999-12-31\""},
     {"\"2024-02-30\"", "\"2024-13-01\"", "\"2024-04-31\"", "\"2024-00-10\""}},
    {"{\"type\":\"string\",\"format\":\"date-time\"}",
     {"\"2024-02-28T23:59:59Z\"", "\"2024-02-28T00:00:00.123+02:00\""},
     {"\"2024-02-28\"", "\"2024-02-28T24:00:00Z\""}},
    {"{\"type\":\"string\",\"format\":\"ipv4\"}",
     {"\"255.0.10.199\""},
     {"\"256.0.0.1\"", "\"01.0.0.1\"", "\"1.2.3\""}},
    {"{\"type\":\"string\",\"format\":\"uuid\"}",
     {"\"123e4567-e89b-12d3-a456-426614174000\""},
     {"\"123e4567\""}},
    {"{\"type\":\"string\",\"format\":\"email\"}",
     {"\"a.b@example.org\""},
     {"\"a@b\"", "\"@example.org\"", "\"a..b@example.org\""}},
    {"{\"type\":\"string\",\"format\":\"hostname\"}",
     {"\"www.example.org\"", "\"a-b\""},
     {"\"-a\"", "\"a.\""}},
    /* constants */
    {"{\"enum\":[\"small\",\"smart\",\"s\",3,null,{\"a\":[1.5]}]}",
     {"\"small\"", "\"s\"", "3", "null", "{\"a\": [1.5]}"},
     {"\"sma\"", "30", "{\"a\":[1.5]}"}},
    {"{\"const\":\"\xc3\xa4\\n\"}", {"\"\xc3\xa4\\n\""}, {"\"\\u00e4\\n\""}},
    {"{\"type\":\"string\",\"enum\":[1,\"a\"]}", {"\"a\""}, {"1"}},
    {"{\"enum\":[1,2,3],\"const\":2}", {"2"}, {"1"}},
    /* objects */
    {"{\"type\":\"object\"}", {"{}", "{\"a\": 1, \"b\": {}}"}, {"{\"a\": }", "{\"a\": 1,}", "[]"}},
    {"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":{},\"c\":{\"type\":\"null\"}},"
     "\"required\":[\"b\"]}",
     {"{\"a\": 1, \"b\": 2}", "{\"b\": [], \"c\": null}", "{\"b\": 0}"},
     {"{}", "{\"a\": 1}", "{\"b\": 1, \"a\": 1}", "{\"b\": 1, \"d\": 1}", "{\"b\": 1, \"b\": 1}"}},
    {"{\"type\":\"object\",\"properties\":{\"a\":false,\"b\":true}}", {"{}", "{\"b\": 1}"}, {"{\"a\": 1}"}},
    {"{\"properties\":{\"ab\":{\"type\":\"integer\"}},\"additionalProperties\":{\"type\":\"boolean\"}}",
     {"{}", "{\"ab\": 1}", "{\"ab\": 1, \"abc\": true, \"a\": false, \"\": true}", "{\"x\": true}"},
     {"{\"ab\": true}", "{\"ab\": 1, \"ab\": true}", "{\"x\": true, \"ab\": true}", "{\"\\u0061b\": true}"}},
    {"{\"type\":\"object\",\"required\":[\"x\"]}",
     {"{\"x\": 1}", "{\"x\": 1, \"y\": 2}"},
     {"{}", "{\"y\": 2}"}},
    /* arrays */
    {"{\"type\":\"array\",\"items\":{\"type\":\"integer\"}}",
     {"[]", "[1, 2, 3]"},
     {"[1,2]", "[1, ]", "[\"a\"]"}},
    {"{\"type\":\"array\",\"items\":{\"type\":\"null\"},\"minItems\":2,\"maxItems\":3}",
     {"[null, null]", "[null, null, null]"},
     {"[]", "[null]", "[null, null, null, null]"}},
    {"{\"type\":\"array\",\"maxItems\":0}", {"[]"}, {"[1]"}},
    {"{\"type\":\"array\",\"items\":false}", {"[]"}, {"[1]"}},
    {"{\"type\":\"array\",\"prefixItems\":[{\"type\":\"integer\"},{\"type\":\"string\"}],\"items\":{\"type\":"
     "\"null\"},\"minItems\":1,\"maxItems\":4}",
     {"[1]", "[1, \"a\"]", "[1, \"a\", null, null]"},
     {"[]", "[\"a\"]", "[1, null]", "[1, \"a\", null, null, null]"}},
    {"{\"type\":\"array\",\"prefixItems\":[{\"type\":\"integer\"}]}", {"[]", "[1]"}, {"[1, 2]"}},
    /* alternatives, references, what is said together */
    {"{\"anyOf\":[{\"type\":\"integer\"},{\"type\":\"object\",\"properties\":{\"a\":{\"const\":1}},"
     "\"required\":[\"a\"]},{\"type\":\"object\",\"properties\":{\"ab\":{\"const\":2}},\"required\":[\"ab\"]}"
     "]}",
     {"5", "{\"a\": 1}", "{\"ab\": 2}"},
     {"{}", "{\"a\": 2}"}},
    {"{\"type\":\"object\",\"properties\":{\"k\":{\"type\":\"string\"}},\"anyOf\":[{\"required\":[\"k\"]},{"
     "\"properties\":{\"n\":{\"const\":0}},\"required\":[\"n\"]}]}",
     {"{\"k\": \"\"}", "{\"k\": \"\", \"n\": 0}", "{\"n\": 0}"},
     {"{}", "{\"n\": 1}"}},
    {"{\"oneOf\":[{\"type\":\"object\",\"properties\":{\"t\":{\"const\":\"a\"}},\"required\":[\"t\"]},{"
     "\"type\":\"object\",\"properties\":{\"t\":{\"enum\":[\"b\",\"c\"]},\"x\":{}},\"required\":[\"t\",\"x\"]"
     "}]}",
     {"{\"t\": \"a\"}", "{\"t\": \"c\", \"x\": 1}"},
     {"{\"t\": \"b\"}", "{\"t\": \"a\", \"x\": 1}"}},
    {"{\"allOf\":[{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"number\"}},\"required\":[\"a\"]},{"
     "\"properties\":{\"a\":{\"type\":\"integer\",\"minimum\":3},\"b\":{}}}]}",
     {"{\"a\": 3}", "{\"a\": 4, \"b\": null}"},
     {"{\"a\": 2}", "{\"b\": 1}", "{\"a\": 3.5}"}},
    {"{\"$defs\":{\"n\":{\"type\":\"integer\",\"minimum\":1}},\"$ref\":\"#/$defs/n\",\"maximum\":2}",
     {"1", "2"},
     {"0", "3"}},
    {"{\"$ref\":\"#/definitions/a~1b%25\",\"definitions\":{\"a/b%\":{\"type\":\"null\"}}}", {"null"}, {"0"}},
    {"{\"type\":\"object\",\"properties\":{\"v\":{\"type\":\"integer\"},\"next\":{\"anyOf\":[{\"$ref\":\"#\"}"
     ",{\"type\":\"null\"}]}},\"required\":[\"v\",\"next\"],\"additionalProperties\":false}",
     {"{\"v\": 1, \"next\": null}", "{\"v\": 1, \"next\": {\"v\": 2, \"next\": null}}"},
     {"{\"v\": 1}", "{\"v\": 1, \"next\": {}}"}},
};

/* A text that fits is read to its end and may end there; one that does not is not. */
static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct reader r;
        char *spec = spec_of(rows[i].schema);
        reader_open(&r, spec);
        for (int k = 0; k < 8 && rows[i].yes[k]; k++) {
            bool ends = false;
            const char *s = rows[i].yes[k];
            if (reader_read(&r, s, strlen(s), &ends) != strlen(s) || !ends)
                fail_msg("%s should let %s through", rows[i].schema, s);
        }
        for (int k = 0; k < 8 && rows[i].no[k]; k++) {
            bool ends = false;
            const char *s = rows[i].no[k];
            if (reader_read(&r, s, strlen(s), &ends) == strlen(s) && ends)
                fail_msg("%s should not let %s through", rows[i].schema, s);
        }
        reader_close(&r);
        free(spec);
    }
}

/* Whatever is drawn byte by byte never comes to a place that nothing can follow, comes to an end, and is JSON and UTF-8. */
static void test_drawn_texts(void **state)
{
    (void)state;
    uint64_t seed = 1;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct reader r;
        char *spec = spec_of(rows[i].schema);
        reader_open(&r, spec);
        for (int k = 0; k < 20; k++) {
            struct alula_error e;
            struct buf text;
            buf_init(&text, 0);
            if (!reader_draw(&r, &seed, (size_t)k * 4, 4000, &text))
                fail_msg("%s: no end after %.*s", rows[i].schema, (int)text.len, text.data);
            assert_int_equal(utf8_valid_len(text.data, text.len), text.len);
            json_t *v = json_parse(text.data, text.len, 64, "the text", &e);
            if (!v && !strstr(e.message, "duplicate"))
                fail_msg("%s: %s: %s", rows[i].schema, text.data, e.message);
            json_decref(v);
            buf_free(&text);
        }
        reader_close(&r);
        free(spec);
    }
}

/* ---- tools ---------------------------------------------------------------------------------------------- */

#define TOOLS(...) "{\"type\":\"tools\",\"tools\":[" __VA_ARGS__ "]"
#define TOOL(name, parameters)                                                                               \
    "{\"type\":\"function\",\"function\":{\"name\":\"" name "\",\"parameters\":" parameters "}}"
/* <tool_call> is a token of its own and no bytes: texts begin behind it and end before </tool_call>. */
#define CALL(name, parameters) "\n<function=" name ">\n" parameters "</function>\n"
#define PARAMETER(key, value)  "<parameter=" key ">\n" value "\n</parameter>\n"

static const char two_tools[] = TOOLS(TOOL(
    "add",
    "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":{\"type\":["
    "\"integer\",\"null\"]}},\"required\":[\"a\"]}") "," TOOL("say",
                                                              "{\"type\":\"object\",\"properties\":{\"text\":"
                                                              "{\"type\":\"string\"},\"how\":{\"enum\":["
                                                              "\"loud\",\"low\"]},\"more\":{\"type\":"
                                                              "\"object\",\"properties\":{\"x\":{\"type\":"
                                                              "\"string\"}}"
                                                              "}},\"required\":[\"text\"]}"));

/* Steps over an added token. */
static int32_t over(struct reader *r, int32_t at, const char *tag)
{
    at = pushdown_token(&r->p, at, tokenizer_find(rig_tokenizer(), tag, strlen(tag)));
    assert_true(at > PLACE_DEAD);
    return at;
}

static bool reads_call(struct reader *r, const char *call)
{
    int32_t at = over(r, reader_start(r), "<tool_call>");
    for (; *call && at > PLACE_DEAD; call++) at = pushdown_step(&r->p, at, (uint8_t)*call, false);
    if (at == PLACE_DEAD) return false;
    at = pushdown_token(&r->p, at, tokenizer_find(rig_tokenizer(), "</tool_call>", 12));
    return at > PLACE_DEAD && r->p.places[at].ends;
}

static void test_tool_calls(void **state)
{
    (void)state;
    static const char *const yes[] = {
        CALL("add", PARAMETER("a", "1")),
        CALL("add", PARAMETER("a", "-7") PARAMETER("b", "null")),
        CALL("say", PARAMETER("text", "")),
        CALL("say", PARAMETER("text", "a < b\n\n</parameter\n") PARAMETER("how", "low")),
        CALL("say", PARAMETER("text", "\xc3\xa4\n") PARAMETER("more", "{\"x\": \"</p>\\n\"}")),
    };
    static const char *const no[] = {
        CALL("add", ""),
        CALL("add", PARAMETER("a", "x")),
        CALL("add", PARAMETER("b", "1") PARAMETER("a", "1")),
        CALL("sub", ""),
        CALL("say", PARAMETER("text", "x</parameter>\n<parameter=how>\nlow")),
        CALL("say", PARAMETER("text", "x") PARAMETER("how", "mute")),
        CALL("say", PARAMETER("text", "</function>")),
        CALL("say", PARAMETER("text", "") PARAMETER("more", "{\"x\": \"</parameter>\"}")),
        CALL("say", PARAMETER("text", "\x01")),
    };
    struct reader r;
    char spec[2048];
    snprintf(spec, sizeof spec, "%s}", two_tools);
    reader_open(&r, spec);
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
        if (!reads_call(&r, yes[i])) fail_msg("should let through: %s", yes[i]);
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        if (reads_call(&r, no[i])) fail_msg("should not let through: %s", no[i]);
    reader_close(&r);
}

/* Which tools may be called and how often. */
static void test_tool_choice(void **state)
{
    (void)state;
    struct reader r;
    char spec[2048];
    for (int parallel = 0; parallel < 2; parallel++) {
        snprintf(spec, sizeof spec, "%s,\"choice\":{\"name\":\"add\"},\"parallel\":%s}", two_tools,
                 parallel ? "true" : "false");
        reader_open(&r, spec);
        assert_true(reads_call(&r, CALL("add", PARAMETER("a", "1"))));
        assert_false(reads_call(&r, CALL("say", PARAMETER("text", ""))));
        int32_t at = over(&r, reader_start(&r), "<tool_call>");
        for (const char *s = CALL("add", PARAMETER("a", "1")); *s; s++)
            at = pushdown_step(&r.p, at, (uint8_t)*s, false);
        at = over(&r, at, "</tool_call>");
        int32_t next = pushdown_step(&r.p, at, '\n', false);
        assert_int_equal(next != PLACE_DEAD, parallel);
        if (parallel) over(&r, next, "<tool_call>");
        reader_close(&r);
    }
}

/* Tools beside a form: the answer is either, and the form's strings hold no tag of a call. */
static void test_form_or_calls(void **state)
{
    (void)state;
    struct reader r;
    bool ends = false;
    static const char form[] = "{\"x\": \"a < b\"}", tag[] = "{\"x\": \"</function>";
    reader_open(&r,
                "{\"type\":\"json_schema\",\"schema\":{\"type\":\"object\",\"properties\":{\"x\":{\"type\":"
                "\"string\"}},\"required\":[\"x\"]},\"tools\":[" TOOL("add", "{\"type\":\"object\"}") "]}");
    assert_true(reads_call(&r, CALL("add", "")));
    assert_int_equal(reader_read(&r, form, strlen(form), &ends), strlen(form));
    assert_true(ends);
    assert_true(reader_read(&r, tag, strlen(tag), &ends) < strlen(tag));
    assert_true(reader_read(&r, "Well", 4, &ends) == 0);
    reader_close(&r);
}

/* Reasoning ends by its token or by its characters, and an empty line comes before the answer. */
static void test_reasoning(void **state)
{
    (void)state;
    struct reader r;
    bool ends = false;
    reader_open(&r, "{\"type\":\"json_object\",\"reasoning\":true}");
    const char spelled[] = "I think <b>\n</thin</think>\n\n{\"a\": 1}",
               *early = "Hm.</think>\n\nHm.</think>\n\n{}";
    assert_int_equal(reader_read(&r, spelled, strlen(spelled), &ends), strlen(spelled));
    assert_true(ends);
    assert_int_equal(reader_read(&r, early, strlen(early), &ends), strlen("Hm.</think>\n\n"));
    int32_t at = reader_start(&r);
    for (const char *s = "So</th"; *s; s++) at = pushdown_step(&r.p, at, (uint8_t)*s, false);
    at = over(&r, at, "</think>");
    for (const char *s = "\n\n{}"; *s; s++) at = pushdown_step(&r.p, at, (uint8_t)*s, false);
    assert_true(at > PLACE_DEAD && r.p.places[at].ends);
    reader_close(&r);
}

/* ---- what is refused ------------------------------------------------------------------------------------ */

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *schema;
        enum alula_code code;
        const char *words[3];
    } refused[] = {
        {"{\"type\":\"object\",\"properties\":{\"a/b\":{\"not\":{}}}}",
         ALULA_UNSUPPORTED,
         {"#/properties/a~1b/not", "not supported"}},
        {"{\"type\":\"array\",\"items\":{\"type\":\"object\",\"patternProperties\":{}}}",
         ALULA_UNSUPPORTED,
         {"#/items/patternProperties"}},
        {"{\"if\":{}}", ALULA_UNSUPPORTED, {"#/if"}},
        {"{\"type\":\"string\",\"format\":\"uri\"}", ALULA_UNSUPPORTED, {"#/format", "\"uri\""}},
        {"{\"type\":\"string\",\"pattern\":\"^(?=a)\"}", ALULA_UNSUPPORTED, {"#/pattern", "character 4"}},
        {"{\"type\":\"string\",\"pattern\":\"a\\\\b\"}", ALULA_UNSUPPORTED, {"#/pattern", "escape"}},
        {"{\"type\":\"string\",\"pattern\":\"(a\"}", ALULA_FORMAT, {"#/pattern", ") is missing"}},
        {"{\"type\":\"string\",\"pattern\":\"a{2\"}", ALULA_FORMAT, {"} is missing"}},
        {"{\"type\":\"string\",\"pattern\":\"[z-a]\"}", ALULA_FORMAT, {"ends before it begins"}},
        {"{\"type\":\"string\",\"pattern\":\"(a*){2,9}\"}", ALULA_UNSUPPORTED, {"may be empty"}},
        {"{\"type\":\"string\",\"pattern\":\"^((a{1,99}){1,99}){1,99}$\"}",
         ALULA_UNSUPPORTED,
         {"within each other"}},
        {"{\"type\":\"string\",\"pattern\":\"a\",\"maxLength\":3}",
         ALULA_UNSUPPORTED,
         {"#/pattern", "together"}},
        {"{\"type\":\"string\",\"minLength\":70000}", ALULA_LIMIT, {"#/minLength"}},
        {"{\"type\":\"strin\"}", ALULA_FORMAT, {"#/type", "\"strin\""}},
        {"{\"type\":\"number\",\"multipleOf\":0.01}", ALULA_UNSUPPORTED, {"#/multipleOf"}},
        {"{\"type\":\"array\",\"uniqueItems\":true}", ALULA_UNSUPPORTED, {"#/uniqueItems"}},
        {"{\"oneOf\":[{\"type\":\"integer\"},{\"type\":\"number\"}]}",
         ALULA_UNSUPPORTED,
         {"#/oneOf", "0 and 1"}},
        {"{\"allOf\":[{\"pattern\":\"a\"},{\"pattern\":\"b\"}]}",
         ALULA_UNSUPPORTED,
         {"#/allOf", "\"pattern\""}},
        {"{\"allOf\":[{\"additionalProperties\":false},{\"properties\":{\"a\":{}}}]}",
         ALULA_UNSUPPORTED,
         {"additionalProperties"}},
        {"{\"enum\":[\"a\"],\"maxLength\":1}", ALULA_UNSUPPORTED, {"enum"}},
        {"{\"$ref\":\"http://example.org/x\"}", ALULA_UNSUPPORTED, {"#/$ref", "leads out"}},
        {"{\"$ref\":\"#/$defs/x\"}", ALULA_FORMAT, {"nothing at \"#/$defs/x\""}},
        {"{\"type\":\"array\",\"items\":3}", ALULA_FORMAT, {"#/items", "expected a schema"}},
        {"{\"type\":\"object\",\"required\":[\"a\"],\"additionalProperties\":false}",
         ALULA_FORMAT,
         {"\"a\" is required"}},
        /* nothing fits */
        {"false", ALULA_FORMAT, {"no text fits"}},
        {"{\"type\":\"integer\",\"minimum\":5,\"maximum\":4}", ALULA_FORMAT, {"no text fits"}},
        {"{\"type\":\"string\",\"enum\":[1]}", ALULA_FORMAT, {"no text fits"}},
        {"{\"$ref\":\"#\"}", ALULA_FORMAT, {"never ends"}},
        {"{\"type\":\"object\",\"properties\":{\"a\":{\"$ref\":\"#\"}},\"required\":[\"a\"]}",
         ALULA_FORMAT,
         {"never ends"}},
        {"{\"type\":\"array\",\"items\":{\"$ref\":\"#\"},\"minItems\":1}", ALULA_FORMAT, {"never ends"}},
        {"{\"allOf\":[{\"$ref\":\"#\"}]}", ALULA_LIMIT, {"lead to one another"}},
    };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        struct reader r;
        struct alula_error e = {0};
        char *spec = spec_of(refused[i].schema);
        if (reader_try(&r, spec, strlen(spec), &e)) fail_msg("%s should be refused", refused[i].schema);
        if (e.code != refused[i].code) fail_msg("%s: code %d: %s", refused[i].schema, e.code, e.message);
        for (int k = 0; k < 3 && refused[i].words[k]; k++)
            if (!strstr(e.message, refused[i].words[k])) fail_msg("%s: %s", refused[i].words[k], e.message);
        free(spec);
    }
}

static void test_refused_specs(void **state)
{
    (void)state;
    static const char *const specs[][2] = {
        {"[", "not valid JSON"},
        {"[]", "not a JSON object"},
        {"{\"type\":\"yaml\"}", "\"yaml\""},
        {"{\"type\":\"json_schema\"}", "\"schema\" is missing"},
        {"{\"type\":\"json_object\",\"reasoning\":1}", "\"reasoning\" is 1"},
        {"{\"type\":\"tools\",\"tools\":[]}", "list of 1 to"},
        {"{\"type\":\"tools\",\"tools\":[{\"name\":\"a>\"}]}", "tool 0 is called \"a>\""},
        {"{\"type\":\"tools\",\"tools\":[{\"name\":\"a\"}],\"choice\":\"auto\"}", "\"choice\""},
        {"{\"type\":\"tools\",\"tools\":[{\"name\":\"a\"}],\"choice\":{\"name\":\"b\"}}", "names \"b\""},
        {TOOLS(TOOL("f", "{\"properties\":{\"a\":{\"minContains\":1}}}")) "}",
         "tool \"f\", at #/properties/a/minContains"},
        {TOOLS(TOOL("f", "{\"properties\":{\"a\":{\"type\":[\"string\",\"integer\"],\"minimum\":3}}}")) "}",
         "read as another type"},
        {TOOLS(TOOL("f", "{\"properties\":{\"a\":{\"const\":\"</parameter>\"}}}")) "}", "holds a tag"},
        {TOOLS(TOOL("f", "{\"type\":\"array\"}")) "}", "must be one object"},
    };
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) {
        struct reader r;
        struct alula_error e = {0};
        if (reader_try(&r, specs[i][0], strlen(specs[i][0]), &e))
            fail_msg("%s should be refused", specs[i][0]);
        if (!strstr(e.message, specs[i][1])) fail_msg("%s: %s", specs[i][0], e.message);
    }
}

/* ---- hostile schemas ------------------------------------------------------------------------------------ */

static void repeat(struct buf *b, const char *s, int n)
{
    while (n-- > 0) buf_str(b, s);
}

/* Each is refused in a sentence or read, in no time to speak of. */
static void check_hostile(struct buf *schema)
{
    struct reader r;
    struct alula_error e = {0};
    char *spec = spec_of(schema->data);
    if (reader_try(&r, spec, strlen(spec), &e)) {
        reader_start(&r);
        reader_close(&r);
    } else {
        assert_true(e.code != ALULA_INTERNAL && strlen(e.message) > 10);
    }
    buf_free(schema);
    free(spec);
}

static void test_hostile(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 0);
    /* deep: arrays, groups, names */
    for (int deep = 50; deep <= 5000; deep *= 10) {
        repeat(&b, "{\"items\":", deep);
        buf_str(&b, "{}");
        repeat(&b, "}", deep);
        check_hostile(&b);
        buf_str(&b, "{\"pattern\":\"");
        repeat(&b, "(", deep);
        repeat(&b, ")", deep);
        buf_str(&b, "\"}");
        check_hostile(&b);
        buf_str(&b, "{\"additionalProperties\":{},\"properties\":{\"");
        repeat(&b, "n", deep);
        buf_str(&b, "\":{}}}");
        check_hostile(&b);
    }
    /* wide: properties, constants, alternatives, references one after another */
    for (int wide = 900; wide <= 9000; wide *= 10) {
        buf_str(&b, "{\"properties\":{");
        for (int i = 0; i < wide; i++) buf_fmt(&b, "%s\"p%d\":{\"type\":\"integer\"}", i ? "," : "", i);
        buf_str(&b, "}}");
        check_hostile(&b);
        buf_str(&b, "{\"enum\":[");
        for (int i = 0; i < wide; i++) buf_fmt(&b, "%s\"%0*d\"", i ? "," : "", i % 300 + 1, 0);
        buf_str(&b, "]}");
        check_hostile(&b);
        buf_str(&b, "{\"oneOf\":[");
        for (int i = 0; i < wide; i++) buf_fmt(&b, "%s{\"const\":%d}", i ? "," : "", i);
        buf_str(&b, "]}");
        check_hostile(&b);
        buf_str(&b, "{\"$ref\":\"#/$defs/d0\",\"$defs\":{");
        for (int i = 0; i < wide; i++)
            buf_fmt(&b, "\"d%d\":{\"$ref\":\"#/$defs/d%d\"},", i, (i + 1) % (wide - 1));
        buf_str(&b, "\"x\":{}}}");
        check_hostile(&b);
    }
    /* counts within counts, merges without end, classes without end */
    buf_str(&b, "{\"type\":\"string\",\"pattern\":\"^(x{1,30}y{1,30}){1,30}(x|xx|xxx){1,60000}$\"}");
    check_hostile(&b);
    buf_str(&b,
            "{\"$defs\":{\"a\":{\"allOf\":[{\"properties\":{\"x\":{\"$ref\":\"#/$defs/"
            "a\"}}},{\"properties\":{\"x\":"
            "{\"$ref\":\"#/$defs/b\"}}}]},\"b\":{\"allOf\":[{\"$ref\":\"#/$defs/a\"},{\"properties\":{\"x\":"
            "{\"minimum\":1}}}]}},\"$ref\":\"#/$defs/a\"}");
    check_hostile(&b);
    buf_str(&b, "{\"type\":\"string\",\"pattern\":\"[");
    repeat(&b, "\xc3\xa4z", 900);
    buf_str(&b, "]\"}");
    check_hostile(&b);
    buf_str(&b, "{\"type\":\"array\",\"minItems\":65535,\"items\":{\"type\":\"array\",\"minItems\":65535}}");
    check_hostile(&b);
    buf_str(&b, "{\"type\":\"integer\",\"multipleOf\":997,\"minimum\":-123456789012345678}");
    check_hostile(&b);
}

/* Nesting has an end, and close to it only what can still be ended is begun. */
static void test_depth_ends(void **state)
{
    (void)state;
    struct reader r;
    struct alula_error e;
    bool ends = false;
    struct buf text;
    buf_init(&text, 0);
    reader_open(
        &r,
        "{\"type\":\"json_schema\",\"schema\":{\"$defs\":{\"n\":{\"type\":\"object\",\"properties\":{\"n\":{"
        "\"anyOf\":[{\"$ref\":\"#/$defs/n\"},{\"type\":\"array\",\"items\":{\"$ref\":\"#/$defs/"
        "n\"},\"minItems\":1}"
        ",{\"const\":0}]}},\"required\":[\"n\"]}},\"$ref\":\"#/$defs/n\"}}");
    repeat(&text, "{\"n\": ", 200);
    size_t n = reader_read(&r, text.data, text.len, &ends);
    int levels = (int)(n / 6);
    assert_in_range(levels, 20, GRAMMAR_NEST_MAX);
    text.len = (size_t)levels * 6;
    buf_str(&text, "0");
    repeat(&text, "}", levels);
    assert_int_equal(reader_read(&r, text.data, text.len, &ends), text.len);
    assert_true(ends);
    json_t *nested = json_parse(text.data, text.len, 64, "the text", &e);
    assert_ok(nested != NULL, e);
    json_decref(nested);
    buf_free(&text);
    reader_close(&r);
}

/* Schemas with bytes changed at random: read or refused, and what is read can be drawn from. */
static void test_mutated(void **state)
{
    (void)state;
    uint64_t seed = 7;
    for (int round = 0; round < 4000; round++) {
        struct reader r;
        struct alula_error e = {0};
        char *spec = spec_of(rows[rig_random(&seed) % (sizeof rows / sizeof *rows)].schema);
        size_t n = strlen(spec);
        for (unsigned k = rig_random(&seed) % 4; k-- > 0;) {
            static const char likely[] = "{}[]\",:0129-+.eaA\\/$^*?()|<&";
            size_t at = rig_random(&seed) % n;
            unsigned how = rig_random(&seed) % 4;
            if (how == 0) spec[at] = (char)rig_random(&seed);
            if (how == 1) spec[at] = likely[rig_random(&seed) % (sizeof likely - 1)];
            if (how == 2) memmove(spec + at, spec + at + 1, n-- - at);
            if (how == 3) spec[at] = spec[rig_random(&seed) % n];
        }
        if (reader_try(&r, spec, n, &e)) {
            struct buf text;
            buf_init(&text, 0);
            reader_draw(&r, &seed, 10, 200, &text);
            buf_free(&text);
            reader_close(&r);
        } else {
            assert_int_not_equal(e.code, ALULA_OK);
        }
        free(spec);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),          cmocka_unit_test(test_drawn_texts),
        cmocka_unit_test(test_tool_calls),    cmocka_unit_test(test_tool_choice),
        cmocka_unit_test(test_form_or_calls), cmocka_unit_test(test_reasoning),
        cmocka_unit_test(test_refused),       cmocka_unit_test(test_refused_specs),
        cmocka_unit_test(test_hostile),       cmocka_unit_test(test_depth_ends),
        cmocka_unit_test(test_mutated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
