/* OpenAI's chat completions as pure functions: what a conversation becomes, what is refused by name, and the exact
 * chunks and bodies that clients' libraries rely on. */
#include "tests/api_rig.h"

#define TOOL                                                                                                 \
    "{\"type\": \"function\", \"function\": {\"name\": \"weather\", \"parameters\": {\"type\": "             \
    "\"object\"}}}"
#define HI "\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}]"

static void messages_become_a_conversation(void **state)
{
    (void)state;
    struct request r;
    read_ok(&r, &dialect_chat,
            "{\"messages\": ["
            "{\"role\": \"developer\", \"content\": \"Be\"},"
            "{\"role\": \"system\", \"content\": [{\"type\": \"text\", \"text\": \"brief\"}]},"
            "{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"a\"}, {\"type\": \"text\", "
            "\"text\": \"b\"}]},"
            "{\"role\": \"assistant\", \"content\": null, \"reasoning_content\": \"hm\", \"tool_calls\": "
            "[{\"id\": \"c\", "
            "\"type\": \"function\", \"function\": {\"name\": \"f\", \"arguments\": \"{}\"}}]},"
            "{\"role\": \"tool\", \"tool_call_id\": \"c\", \"content\": \"sun\"}]}");
    assert_json(r.conversation,
                "{\"messages\": ["
                "{\"role\": \"system\", \"content\": \"Be\\n\\nbrief\"},"
                "{\"role\": \"user\", \"content\": \"ab\"},"
                "{\"role\": \"assistant\", \"content\": null, \"reasoning_content\": \"hm\", \"tool_calls\": "
                "[{\"id\": "
                "\"c\", \"type\": \"function\", \"function\": {\"name\": \"f\", \"arguments\": \"{}\"}}]},"
                "{\"role\": \"tool\", \"tool_call_id\": \"c\", \"content\": \"sun\"}]}");
    request_free(&r);
    /* The other name that servers have for it reaches the template, too. */
    read_ok(&r, &dialect_chat,
            "{\"messages\": [{\"role\": \"assistant\", \"content\": \"a\", \"reasoning\": \"hm\"}]}");
    const json_t *message = json_array_get(json_object_get(r.conversation, "messages"), 0);
    assert_string_equal(json_string_value(json_object_get(message, "reasoning_content")), "hm");
    request_free(&r);
}

static void tools_and_formats_become_grammars(void **state)
{
    (void)state;
    struct request r;
    read_ok(&r, &dialect_chat, "{" HI ", \"tools\": [" TOOL "]}");
    assert_true(r.tools && !r.grammar && json_object_get(r.conversation, "tools"));
    request_free(&r);
    read_ok(&r, &dialect_chat, "{" HI ", \"tools\": [" TOOL "], \"tool_choice\": \"none\"}");
    assert_true(!r.tools && !r.grammar && !json_object_get(r.conversation, "tools"));
    request_free(&r);
    read_ok(&r, &dialect_chat,
            "{" HI ", \"tools\": [" TOOL "], \"tool_choice\": \"required\", \"parallel_tool_calls\": false}");
    assert_json(r.grammar, "{\"type\": \"tools\", \"tools\": [" TOOL
                           "], \"choice\": \"required\", \"parallel\": false}");
    assert_false(r.parallel_calls);
    request_free(&r);
    read_ok(&r, &dialect_chat,
            "{" HI ", \"tools\": [" TOOL
            "], \"tool_choice\": {\"type\": \"function\", \"function\": {\"name\": "
            "\"weather\"}}}");
    assert_json(r.grammar, "{\"type\": \"tools\", \"tools\": [" TOOL
                           "], \"choice\": {\"name\": \"weather\"}, \"parallel\": true}");
    request_free(&r);
    read_ok(&r, &dialect_chat,
            "{" HI ", \"response_format\": {\"type\": \"json_schema\", \"json_schema\": {\"name\": "
            "\"x\", \"strict\": true, \"schema\": {\"type\": \"object\"}}}}");
    assert_json(r.grammar, "{\"type\": \"json_schema\", \"schema\": {\"type\": \"object\"}}");
    request_free(&r);
    /* Beside tools it is the form of what is said if nothing is called. */
    read_ok(&r, &dialect_chat,
            "{" HI ", \"tools\": [" TOOL "], \"response_format\": {\"type\": \"json_object\"}}");
    assert_json(r.grammar, "{\"type\": \"json_object\", \"tools\": [" TOOL "], \"parallel\": true}");
    request_free(&r);
    read_ok(&r, &dialect_chat,
            "{" HI ", \"tools\": [" TOOL "], \"tool_choice\": \"required\", \"response_format\": {\"type\": "
            "\"json_object\"}}");
    assert_string_equal(json_string_value(json_object_get(r.grammar, "type")), "tools");
    request_free(&r);
}

/* The assistant's last message is answered like any other, unless it is to be continued. */
static void a_message_is_continued_if_asked(void **state)
{
    (void)state;
    struct request r;
#define BEGUN                                                                                                \
    "\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", \"content\": "       \
    "\"b\"}]"
    read_ok(&r, &dialect_chat, "{" BEGUN "}");
    assert_false(r.continues);
    request_free(&r);
    read_ok(&r, &dialect_chat,
            "{" BEGUN ", \"continue_final_message\": true, \"add_generation_prompt\": false}");
    assert_true(r.continues);
    request_free(&r);
    read_ok(&r, &dialect_messages, "{\"max_tokens\": 1, " BEGUN "}");
    assert_true(r.continues);
    request_free(&r);
    read_ok(&r, &dialect_count_tokens, "{" BEGUN "}");
    assert_true(r.continues);
    request_free(&r);
    static const char *const refused[][2] = {
        {"{" HI ", \"continue_final_message\": true}", "only the assistant's"},
        {"{" BEGUN ", \"continue_final_message\": true, \"add_generation_prompt\": true}",
         "exclude each other"},
        {"{" BEGUN ", \"continue_final_message\": true, \"response_format\": {\"type\": \"json_object\"}}",
         "an answer that continues a message"},
        {"{\"messages\": [{\"role\": \"assistant\", \"content\": null}], \"continue_final_message\": true}",
         "no text"},
    };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        refuses(&dialect_chat, refused[i][0], refused[i][1]);
}

static void limits_are_read(void **state)
{
    (void)state;
    struct request r;
    read_ok(&r, &dialect_chat,
            "{" HI ", \"max_tokens\": 5, \"n\": 3, \"logprobs\": true, \"top_logprobs\": 20}");
    assert_true(r.max_tokens == 5 && r.n == 3 && r.logprobs == 21);
    request_free(&r);
    read_ok(&r, &dialect_chat,
            "{" HI ", \"max_tokens\": 5, \"max_completion_tokens\": 9, \"logprobs\": true}");
    assert_true(r.max_tokens == 9 && r.logprobs == 1);
    request_free(&r);
}

static void wrong_bodies_are_refused_by_name(void **state)
{
    (void)state;
    static const char *const bodies[][2] = {
        {"{}", "\"messages\" is missing"},
        {"{\"messages\": []}", "\"messages\" is missing or empty"},
        {"{\"messages\": \"hi\"}", "\"messages\" is a string"},
        {"{\"messages\": [5]}", "messages[0]"},
        {"{\"messages\": [{\"content\": \"x\"}]}", "messages[0]: \"role\""},
        {"{\"messages\": [{\"role\": \"king\", \"content\": \"x\"}]}", "\"king\""},
        {"{\"messages\": [{\"role\": \"user\"}]}", "messages[0].content is missing"},
        {"{\"messages\": [{\"role\": \"user\", \"content\": 5}]}", "messages[0].content"},
        {"{\"messages\": [{\"role\": \"user\", \"content\": [5]}]}", "messages[0].content[0]"},
        {"{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"text\"}]}]}",
         "\"text\" is missing"},
        {"{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"\"}, "
         "{\"type\": \"image_url\", "
         "\"image_url\": {\"url\": \"data:\"}}]}]}",
         "messages[0].content[1]: \"type\" is \"image_url\""},
        {"{\"messages\": [{\"role\": \"assistant\", \"tool_calls\": [{\"function\": {}}]}]}",
         "tool_calls[0]"},
        {"{" HI ", \"n\": 0}", "\"n\""},
        {"{" HI ", \"n\": 17}", "\"n\""},
        {"{" HI ", \"max_tokens\": 0}", "\"max_tokens\""},
        {"{" HI ", \"max_completion_tokens\": \"5\"}", "\"max_completion_tokens\""},
        {"{" HI ", \"top_logprobs\": 3}", "\"top_logprobs\""},
        {"{" HI ", \"logprobs\": true, \"top_logprobs\": 21}", "\"top_logprobs\""},
        {"{" HI ", \"stream_options\": {\"include_usage\": 1}}", "\"include_usage\""},
        {"{" HI ", \"tools\": [{\"type\": \"web_search\"}]}", "tools[0]"},
        {"{" HI ", \"tools\": [{\"type\": \"function\"}]}", "tools[0]: \"function\" is missing"},
        {"{" HI ", \"tools\": [{\"function\": {\"name\": \"\"}}]}", "tools[0]: \"name\""},
        {"{" HI ", \"tool_choice\": \"required\"}", "no tools"},
        {"{" HI ", \"tool_choice\": \"some\"}", "\"tool_choice\""},
        {"{" HI ", \"tools\": [" TOOL "], \"tool_choice\": {\"function\": {\"name\": \"x\"}}}", "\"x\""},
        {"{" HI ", \"response_format\": {\"type\": \"xml\"}}", "\"xml\""},
        {"{" HI ", \"response_format\": {\"type\": \"json_schema\"}}", "\"schema\""},
    };
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++)
        refuses(&dialect_chat, bodies[i][0], bodies[i][1]);
}

/* ---- writing ----------------------------------------------------------------------------------------------------------- */

/* The next chunk's `choices`, or its usage if it has no choice. */
static void assert_chunk(const char **at, const char *choices)
{
    json_t *v = next_event(at);
    assert_non_null(v);
    assert_string_equal(json_string_value(json_object_get(v, "id")), "chatcmpl-ab");
    assert_string_equal(json_string_value(json_object_get(v, "object")), "chat.completion.chunk");
    assert_string_equal(json_string_value(json_object_get(v, "model")), "tiny");
    assert_json(json_object_get(v, "choices"), choices);
    json_decref(v);
}

#define DELTA(d) "[{\"index\": 0, \"delta\": {" d "}, \"logprobs\": null, \"finish_reason\": null}]"

static void chunks_come_in_order(void **state)
{
    (void)state;
    struct talk t;
    talk_begin(&t, &dialect_chat,
               "{" HI ", \"stream\": true, \"stream_options\": {\"include_usage\": true}}");
    tell_all(&t);
    const char *at = t.out.data;
    assert_chunk(&at, DELTA("\"role\": \"assistant\", \"content\": \"\""));
    assert_chunk(&at, DELTA("\"reasoning_content\": \"I th\""));
    assert_chunk(&at, DELTA("\"reasoning_content\": \"ink\""));
    assert_chunk(&at, DELTA("\"content\": \"Hello \""));
    assert_chunk(&at, DELTA("\"content\": \"\\\"you\\\"\""));
    assert_chunk(&at, DELTA("\"tool_calls\": [{\"index\": 0, \"id\": \"call_ab0\", \"type\": \"function\", "
                            "\"function\": {\"name\": \"weather\", \"arguments\": \"\"}}]"));
    assert_chunk(&at, DELTA("\"tool_calls\": [{\"index\": 0, \"function\": {\"arguments\": \"{\\\"city\\\": "
                            "\\\"Paris\\\"}\"}}]"));
    assert_chunk(&at,
                 "[{\"index\": 0, \"delta\": {}, \"logprobs\": null, \"finish_reason\": \"tool_calls\"}]");
    json_t *last = next_event(&at);
    assert_json(json_object_get(last, "choices"), "[]");
    assert_json(
        json_object_get(last, "usage"),
        "{\"prompt_tokens\": 20, \"completion_tokens\": 7, \"total_tokens\": 27, \"prompt_tokens_details\": "
        "{\"cached_tokens\": 12}, \"completion_tokens_details\": {\"reasoning_tokens\": 3}}");
    assert_true(json_is_object(json_object_get(last, "alula")));
    json_decref(last);
    assert_string_equal(at, "data: [DONE]\n\n");
    talk_free(&t);
}

/* Without include_usage no chunk has usage, and the last choice's closing chunk bears the facts. */
static void usage_comes_only_if_asked_for(void **state)
{
    (void)state;
    struct talk t;
    talk_begin(&t, &dialect_chat, "{" HI ", \"stream\": true}");
    tell(&t, (struct reply_event){.kind = REPLY_START});
    talk_end(&t, REPLY_LENGTH, NULL);
    assert_null(strstr(t.out.data, "usage"));
    const char *at = t.out.data;
    json_decref(next_event(&at));
    json_t *last = next_event(&at);
    assert_true(json_is_object(json_object_get(last, "alula")));
    json_decref(last);
    assert_null(next_event(&at)); /* [DONE] */
    assert_int_equal(*at, 0);
    talk_free(&t);
}

static void a_body_holds_all(void **state)
{
    (void)state;
    struct talk t;
    struct alula_error e;
    talk_begin(&t, &dialect_chat, "{" HI "}");
    tell_all(&t);
    json_t *v = json_parse(t.out.data, t.out.len, 64, "body", &e);
    assert_ok(v != NULL, e);
    assert_string_equal(json_string_value(json_object_get(v, "object")), "chat.completion");
    assert_json(json_object_get(v, "choices"),
                "[{\"index\": 0, \"message\": {\"role\": \"assistant\", \"content\": \"Hello \\\"you\\\"\", "
                "\"refusal\": "
                "null, \"reasoning_content\": \"I think\", \"tool_calls\": [{\"id\": \"call_ab0\", \"type\": "
                "\"function\", \"function\": {\"name\": \"weather\", \"arguments\": \"{\\\"city\\\": "
                "\\\"Paris\\\"}\"}}]}, "
                "\"logprobs\": null, \"finish_reason\": \"tool_calls\"}]");
    json_decref(v);
    talk_free(&t);
}

static void logprobs_come_with_their_text(void **state)
{
    (void)state;
    static const struct reply_logprob rows[] = {
        {5, "a", 1, -0.5},  {5, "a", 1, -0.5}, {6, "\xc3", 1, -2},
        {7, "b", 1, -1e30}, {-1, NULL, 0, 0},  {-1, NULL, 0, 0},
    };
    struct talk t;
    talk_begin(&t, &dialect_chat, "{" HI ", \"stream\": true, \"logprobs\": true, \"top_logprobs\": 2}");
    tell(&t, (struct reply_event){.kind = REPLY_TOKENS, .rows = rows, .n_rows = 1});
    assert_int_equal(t.out.len, 0);
    tell(&t, (struct reply_event){.kind = REPLY_CONTENT, .text = "a"});
    tell(&t, (struct reply_event){.kind = REPLY_TOKENS, .rows = rows + 3, .n_rows = 1});
    talk_end(&t, REPLY_STOP, NULL);
    const char *at = t.out.data;
    assert_chunk(
        &at,
        "[{\"index\": 0, \"delta\": {\"content\": \"a\"}, \"logprobs\": {\"content\": [{\"token\": \"a\", "
        "\"logprob\": -0.5, \"bytes\": [97], \"top_logprobs\": [{\"token\": \"a\", \"logprob\": -0.5, "
        "\"bytes\": [97]}, {\"token\": \"\xef\xbf\xbd\", \"logprob\": -2.0, \"bytes\": [195]}]}], "
        "\"refusal\": null}, \"finish_reason\": null}]");
    assert_chunk(
        &at, "[{\"index\": 0, \"delta\": {}, \"logprobs\": {\"content\": [{\"token\": \"b\", \"logprob\": "
             "-9999.0, \"bytes\": [98], \"top_logprobs\": []}], \"refusal\": null}, \"finish_reason\": "
             "\"stop\"}]");
    talk_free(&t);
}

static void errors_have_openais_shape(void **state)
{
    (void)state;
    struct talk t;
    struct alula_error e;
    err_set(&e, ALULA_LIMIT, "too \"long\"");
    talk_begin(&t, &dialect_chat, "{" HI ", \"stream\": true}");
    tell(&t, (struct reply_event){.kind = REPLY_ERROR, .status = 400, .error = &e});
    assert_string_equal(
        t.out.data,
        "data: {\"error\": {\"message\": \"too \\\"long\\\"\", \"type\": \"invalid_request_error\", "
        "\"param\": null, \"code\": \"limit_exceeded\"}}\n\ndata: [DONE]\n\n");
    talk_free(&t);
    talk_begin(&t, &dialect_chat, "{" HI "}");
    tell(&t, (struct reply_event){.kind = REPLY_ERROR, .status = 503, .error = &e});
    assert_non_null(strstr(t.out.data, "\"server_error\""));
    talk_free(&t);
}

/* Several choices keep apart, and calls are numbered across all of them. */
static void choices_keep_apart(void **state)
{
    (void)state;
    struct talk t;
    struct alula_error e;
    talk_begin(&t, &dialect_chat, "{" HI ", \"n\": 2}");
    tell(&t, (struct reply_event){.kind = REPLY_CONTENT, .choice = 1, .text = "b"});
    tell(&t, (struct reply_event){.kind = REPLY_CALL, .choice = 1, .name = "f", .text = "{}"});
    tell(&t, (struct reply_event){.kind = REPLY_CALL, .choice = 0, .name = "g", .text = "{}"});
    tell(&t, (struct reply_event){.kind = REPLY_FINISH, .choice = 1, .finish = REPLY_CALLS});
    talk_end(&t, REPLY_CALLS, NULL);
    json_t *v = json_parse(t.out.data, t.out.len, 64, "body", &e);
    assert_ok(v != NULL, e);
    const json_t *choices = json_object_get(v, "choices");
    const json_t *first = json_object_get(json_array_get(choices, 0), "message");
    const json_t *second = json_object_get(json_array_get(choices, 1), "message");
    assert_true(json_is_null(json_object_get(first, "content")));
    assert_string_equal(json_string_value(json_object_get(second, "content")), "b");
    assert_string_equal(
        json_string_value(json_object_get(json_array_get(json_object_get(first, "tool_calls"), 0), "id")),
        "call_ab1");
    json_decref(v);
    talk_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_become_a_conversation),
        cmocka_unit_test(tools_and_formats_become_grammars),
        cmocka_unit_test(a_message_is_continued_if_asked),
        cmocka_unit_test(limits_are_read),
        cmocka_unit_test(wrong_bodies_are_refused_by_name),
        cmocka_unit_test(chunks_come_in_order),
        cmocka_unit_test(usage_comes_only_if_asked_for),
        cmocka_unit_test(a_body_holds_all),
        cmocka_unit_test(logprobs_come_with_their_text),
        cmocka_unit_test(errors_have_openais_shape),
        cmocka_unit_test(choices_keep_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
