/* The fields that all APIs share: what is taken, what is refused by its name, what is left alone. */
#include "tests/api_rig.h"

#define SAYS(fields) "{\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}]" fields "}"

static struct request chat(const char *body)
{
    struct request r;
    read_ok(&r, &dialect_chat, body);
    return r;
}

static void refuses_field(const char *fields, const char *words)
{
    char body[1024];
    snprintf(body, sizeof body, SAYS(", %s"), fields);
    refuses(&dialect_chat, body, words);
}

static void sampling_is_taken_as_given(void **state)
{
    (void)state;
    struct request r =
        chat(SAYS(", \"temperature\": 0.5, \"top_p\": 0.9, \"top_k\": 40, \"min_p\": 0.1, \"seed\": -3, "
                  "\"presence_penalty\": 1, \"frequency_penalty\": -1, \"repetition_penalty\": 1.1, "
                  "\"logit_bias\": {\"7\": -100, \"12\": 2.5}, \"stop\": [\"a\", \"bc\"], \"depth\": 2"));
    assert_true(r.sampling.temperature == 0.5 && r.sampling.top_p == 0.9 && r.sampling.min_p == 0.1);
    assert_int_equal(r.sampling.top_k, 40);
    assert_true(r.sampling.presence_penalty == 1 && r.sampling.frequency_penalty == -1);
    assert_true(r.sampling.seeded && r.sampling.seed == (uint64_t)-3);
    assert_int_equal(r.sampling.n_bias, 2);
    assert_true(r.sampling.bias[0].id == 7 && r.sampling.bias[0].value == -100);
    assert_true(r.sampling.bias[1].id == 12 && r.sampling.bias[1].value == 2.5);
    assert_int_equal(r.n_stops, 2);
    assert_string_equal(r.stops[1], "bc");
    assert_int_equal(r.depth, 2);
    request_free(&r);
}

/* Null counts as absent, and what nobody knows is no error: clients send much. */
static void defaults_hold_where_nothing_is_said(void **state)
{
    (void)state;
    struct request r =
        chat(SAYS(", \"temperature\": null, \"seed\": null, \"stop\": null, \"tools\": null, "
                  "\"user\": \"me\", \"metadata\": {\"a\": [1]}, \"store\": true, \"top_k\": -1"));
    assert_true(r.sampling.temperature == plain.temperature && !r.sampling.seeded && r.sampling.top_k == 0);
    assert_true(r.depth == ALULA_DEPTH_AUTO && r.n == 1 && !r.stream && !r.n_stops && !r.max_tokens);
    assert_true(!r.tools && !r.grammar && r.parallel_calls && !r.logprobs);
    request_free(&r);
    r = chat(SAYS(", \"generation_mode\": \"ar\""));
    assert_int_equal(r.depth, 0);
    request_free(&r);
    r = chat(SAYS(", \"depth\": \"auto\", \"generation_mode\": \"mtp\", \"stop\": \"x\""));
    assert_true(r.depth == ALULA_DEPTH_AUTO && r.n_stops == 1);
    request_free(&r);
}

static void wrong_fields_are_refused_by_name(void **state)
{
    (void)state;
    static const char *const fields[][2] = {
        {"\"temperature\": \"hot\"", "\"temperature\" is \"hot\""},
        {"\"temperature\": -0.1", "\"temperature\""},
        {"\"top_p\": 1.01", "\"top_p\""},
        {"\"top_k\": 1.5", "\"top_k\""},
        {"\"min_p\": true", "\"min_p\""},
        {"\"model\": 5", "\"model\""},
        {"\"presence_penalty\": 3", "\"presence_penalty\""},
        {"\"repetition_penalty\": 0", "\"repetition_penalty\""},
        {"\"seed\": \"1\"", "\"seed\""},
        {"\"seed\": 1.5", "\"seed\""},
        {"\"logit_bias\": [1]", "\"logit_bias\" is a list"},
        {"\"logit_bias\": {\"x\": 1}", "the key \"x\""},
        {"\"logit_bias\": {\"-1\": 1}", "the key \"-1\""},
        {"\"logit_bias\": {\"99999999999\": 1}", "the key"},
        {"\"logit_bias\": {\"5\": 101}", "\"5\" is 101"},
        {"\"stop\": 5", "\"stop\""},
        {"\"stop\": \"\"", "\"stop\""},
        {"\"stop\": [\"a\", null]", "\"stop\""},
        {"\"stop\": [\"a\\u0000b\"]", "\"stop\""},
        {"\"stop\": "
         "[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\",\"a\",\"b\",\"c\",\"d\",\"e\",\"f\",\"g\","
         "\"h\"]",
         "more than 16"},
        {"\"stream\": \"yes\"", "\"stream\""},
        {"\"depth\": 8", "\"depth\""},
        {"\"depth\": \"deep\"", "\"depth\""},
        {"\"generation_mode\": \"x\"", "\"generation_mode\""},
        {"\"generation_mode\": \"ar\", \"depth\": 1", "\"generation_mode\""},
        {"\"chat_template_kwargs\": []", "\"chat_template_kwargs\""},
        {"\"chat_template_kwargs\": {\"messages\": [5]}",
         "\"messages\", which is not"}, /* nobody checked it */
        {"\"chat_template_kwargs\": {\"tools\": 5}", "\"tools\", which is not"},
        {"\"enable_thinking\": 1", "\"enable_thinking\""},
        {"\"reasoning_effort\": true", "\"reasoning_effort\""},
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) refuses_field(fields[i][0], fields[i][1]);
}

static void thinking_reaches_the_template(void **state)
{
    (void)state;
    struct request r = chat(SAYS(", \"enable_thinking\": false, \"chat_template_kwargs\": {\"a\": 1}"));
    assert_json(r.conversation,
                "{\"enable_thinking\": false, \"a\": 1, \"messages\": [{\"role\": \"user\", \"content\": "
                "\"hi\"}]}");
    request_free(&r);
    r = chat(SAYS(", \"reasoning_effort\": \"none\""));
    assert_true(json_is_false(json_object_get(r.conversation, "enable_thinking")));
    request_free(&r);
    r = chat(SAYS(", \"reasoning_effort\": \"high\""));
    assert_true(json_is_true(json_object_get(r.conversation, "enable_thinking")));
    assert_string_equal(json_string_value(json_object_get(r.conversation, "reasoning_effort")), "high");
    request_free(&r);
}

/* Bodies at and over the ceilings that guard what grows. */
static void ceilings_hold(void **state)
{
    (void)state;
    struct buf body = {0};
    buf_str(&body, "{\"messages\": [");
    for (int i = 0; i <= REQUEST_MESSAGES_MAX; i++)
        buf_fmt(&body, "%s{\"role\": \"user\", \"content\": \"\"}", i ? ", " : "");
    buf_str(&body, "]}");
    refuses(&dialect_chat, body.data, "8192 messages");
    buf_clear(&body);
    buf_str(&body, SAYS(", \"tools\": ["));
    body.len -= 1; /* the closing brace */
    for (int i = 0; i <= REQUEST_TOOLS_MAX; i++)
        buf_fmt(&body, "%s{\"type\": \"function\", \"function\": {\"name\": \"f\"}}", i ? ", " : "");
    buf_str(&body, "]}");
    refuses(&dialect_chat, body.data, "at most 512");
    buf_free(&body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sampling_is_taken_as_given),
        cmocka_unit_test(defaults_hold_where_nothing_is_said),
        cmocka_unit_test(wrong_fields_are_refused_by_name),
        cmocka_unit_test(thinking_reaches_the_template),
        cmocka_unit_test(ceilings_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
