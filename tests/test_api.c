/* Anthropic's messages, OpenAI's completions and responses as pure functions: what a body becomes, what is refused by
 * name, and the exact order of events that clients' libraries rely on. */
#include <math.h>

#include "tests/api_rig.h"

/* The types of all events, with a blank between them. */
static void assert_types(const struct talk *t, const char *expected)
{
    struct buf types = {0};
    const char *at = t->out.data;
    for (json_t *v; (v = next_event(&at)); json_decref(v))
        buf_fmt(&types, "%s%s", types.len ? " " : "", json_string_value(json_object_get(v, "type")));
    assert_string_equal(types.data, expected);
    assert_int_equal(*at, 0);
    buf_free(&types);
}

/* Event number n. */
static json_t *event_at(const struct talk *t, int n)
{
    const char *at = t->out.data;
    json_t *v = next_event(&at);
    while (n--) {
        json_decref(v);
        v = next_event(&at);
    }
    assert_non_null(v);
    return v;
}

static void assert_event(const struct talk *t, int n, const char *expected)
{
    json_t *v = event_at(t, n);
    json_object_del(v, "alula");
    assert_json(v, expected);
    json_decref(v);
}

static json_t *whole_body(const struct talk *t)
{
    struct alula_error e;
    json_t *v = json_parse(t->out.data, t->out.len, 64, "body", &e);
    assert_ok(v != NULL, e);
    assert_true(json_is_object(json_object_get(v, "alula")));
    return v;
}

/* ---- messages ---------------------------------------------------------------------------------------------- */

#define MESSAGE "\"max_tokens\": 9, \"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]"

static void messages_become_a_conversation(void **state)
{
    (void)state;
    struct request r;
    read_ok(
        &r, &dialect_messages,
        "{\"max_tokens\": 9, \"system\": [{\"type\": \"text\", \"text\": \"Be\"}, {\"type\": \"text\", "
        "\"text\": \" kind\"}],"
        "\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}, {\"role\": \"assistant\", \"content\": ["
        "{\"type\": \"thinking\", \"thinking\": \"hm\", \"signature\": \"x\"}, {\"type\": \"text\", "
        "\"text\": \"I look\"},"
        "{\"type\": \"tool_use\", \"id\": \"t1\", \"name\": \"f\", \"input\": {\"a\": 1}}]}, {\"role\": "
        "\"user\", \"content\": ["
        "{\"type\": \"tool_result\", \"tool_use_id\": \"t1\", \"content\": [{\"type\": \"text\", \"text\": "
        "\"one\"}]},"
        "{\"type\": \"text\", \"text\": \"And?\"}]}], \"stop_sequences\": [\"END\"], \"thinking\": "
        "{\"type\": \"enabled\","
        "\"budget_tokens\": 1024}, \"tools\": [{\"name\": \"f\", \"input_schema\": {\"type\": \"object\"}}],"
        "\"tool_choice\": {\"type\": \"any\", \"disable_parallel_tool_use\": true}, \"temperature\": 0.5, "
        "\"top_k\": 4}");
    assert_json(
        json_object_get(r.conversation, "messages"),
        "[{\"role\": \"system\", \"content\": \"Be kind\"}, {\"role\": \"user\", \"content\": \"Hi\"},"
        "{\"role\": \"assistant\", \"content\": \"I look\", \"reasoning_content\": \"hm\", \"tool_calls\": ["
        "{\"id\": \"t1\", \"type\": \"function\", \"function\": {\"name\": \"f\", \"arguments\": {\"a\": "
        "1}}}]},"
        "{\"role\": \"tool\", \"content\": \"one\"}, {\"role\": \"user\", \"content\": \"And?\"}]");
    assert_json(r.tools, "[{\"type\": \"function\", \"function\": {\"name\": \"f\", \"parameters\": "
                         "{\"type\": \"object\"}}}]");
    assert_true(json_is_true(json_object_get(r.conversation, "enable_thinking")));
    assert_string_equal(json_string_value(json_object_get(r.grammar, "choice")), "required");
    assert_false(r.parallel_calls);
    assert_int_equal(r.max_tokens, 9);
    assert_int_equal(r.n_stops, 1);
    assert_int_equal(r.sampling.top_k, 4);
    request_free(&r);
    read_ok(&r, &dialect_messages, "{" MESSAGE "}");
    assert_true(json_is_false(json_object_get(r.conversation, "enable_thinking")));
    request_free(&r);
}

/* A turn of no blocks is what our own empty answer becomes in a client's history: to leave it out would change the prompt. */
static void messages_keep_empty_turns(void **state)
{
    (void)state;
    struct request r;
    read_ok(&r, &dialect_messages,
            "{\"max_tokens\": 9, \"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}, {\"role\": "
            "\"assistant\", \"content\": []}, {\"role\": \"user\", \"content\": []}]}");
    assert_json(json_object_get(r.conversation, "messages"),
                "[{\"role\": \"user\", \"content\": \"Hi\"}, {\"role\": \"assistant\", \"content\": \"\"}, "
                "{\"role\": \"user\", \"content\": \"\"}]");
    request_free(&r);
}

static void messages_refuse_by_name(void **state)
{
    (void)state;
    const struct dialect *d = &dialect_messages;
    refuses(d, "{\"messages\": []}", "max_tokens");
    refuses(d, "{\"max_tokens\": 0}", "max_tokens");
    refuses(d, "{\"max_tokens\": 1}", "\"messages\" is missing");
    refuses(d, "{\"max_tokens\": 1, \"messages\": [{\"role\": \"system\", \"content\": \"x\"}]}",
            "messages[0]: \"role\" is \"system\"");
    refuses(d, "{\"max_tokens\": 1, \"messages\": [{\"role\": \"user\"}]}", "messages[0]: \"content\"");
    refuses(d,
            "{\"max_tokens\": 1, \"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"image\"}]}]}",
            "messages[0].content[0]: \"type\" is \"image\"");
    refuses(d,
            "{\"max_tokens\": 1, \"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"text\", "
            "\"text\": 1}]}]}",
            "messages[0].content[0]: \"text\"");
    refuses(d,
            "{\"max_tokens\": 1, \"messages\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": "
            "\"assistant\", \"content\": [{\"type\": \"tool_use\", \"name\": \"f\", \"input\": {}}]}]}",
            "the last message calls tools");
    refuses(d,
            "{\"max_tokens\": 1, \"messages\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": "
            "\"assistant\", \"content\": \"b\"}], \"output_config\": {\"format\": {\"type\": "
            "\"json_schema\", \"schema\": {}}}}",
            "an answer that continues a message");
    refuses(d, "{" MESSAGE ", \"tools\": [{\"name\": \"\"}]}", "tools[0]: \"name\"");
    refuses(d, "{" MESSAGE ", \"tools\": [{\"type\": \"web_search_20250305\", \"name\": \"w\"}]}",
            "tools[0]: \"type\"");
    refuses(d, "{" MESSAGE ", \"tool_choice\": {\"type\": \"tool\"}}", "tool_choice: \"name\"");
    refuses(d, "{" MESSAGE ", \"tool_choice\": {\"type\": \"some\"}}", "tool_choice: \"type\" is \"some\"");
    refuses(d, "{" MESSAGE ", \"thinking\": {\"type\": \"perhaps\"}}", "thinking: \"type\"");
    refuses(d, "{" MESSAGE ", \"top_k\": \"4\"}", "top_k");
    refuses(d, "{" MESSAGE ", \"output_config\": {\"format\": {\"type\": \"json_schema\"}}}",
            "output_config.format");
}

static void messages_stream_in_order(void **state)
{
    (void)state;
    struct talk t;
    talk_begin(&t, &dialect_messages, "{\"stream\": true, " MESSAGE "}");
    tell_all(&t);
    assert_types(
        &t,
        "message_start ping content_block_start content_block_delta content_block_delta content_block_delta "
        "content_block_stop content_block_start content_block_delta content_block_delta content_block_stop "
        "content_block_start content_block_delta content_block_stop message_delta message_stop");
    assert_event(
        &t, 0,
        "{\"type\": \"message_start\", \"message\": {\"id\": \"msg_ab\", \"type\": \"message\", \"role\": "
        "\"assistant\","
        "\"model\": \"tiny\", \"content\": [], \"stop_reason\": null, \"stop_sequence\": null, \"usage\": {"
        "\"input_tokens\": 20, \"cache_creation_input_tokens\": 0, \"cache_read_input_tokens\": 0, "
        "\"output_tokens\": 0}}}");
    assert_event(&t, 3,
                 "{\"type\": \"content_block_delta\", \"index\": 0, \"delta\": {\"type\": "
                 "\"thinking_delta\", \"thinking\": \"I th\"}}");
    assert_event(&t, 5,
                 "{\"type\": \"content_block_delta\", \"index\": 0, \"delta\": {\"type\": "
                 "\"signature_delta\", \"signature\": \"\"}}");
    assert_event(&t, 9,
                 "{\"type\": \"content_block_delta\", \"index\": 1, \"delta\": {\"type\": \"text_delta\", "
                 "\"text\": \"\\\"you\\\"\"}}");
    assert_event(&t, 11,
                 "{\"type\": \"content_block_start\", \"index\": 2, \"content_block\": {\"type\": "
                 "\"tool_use\", \"id\": \"toolu_ab0\","
                 "\"name\": \"weather\", \"input\": {}}}");
    assert_event(
        &t, 12,
        "{\"type\": \"content_block_delta\", \"index\": 2, \"delta\": {\"type\": \"input_json_delta\","
        "\"partial_json\": \"{\\\"city\\\": \\\"Paris\\\"}\"}}");
    assert_event(&t, 14,
                 "{\"type\": \"message_delta\", \"delta\": {\"stop_reason\": \"tool_use\", "
                 "\"stop_sequence\": null}, \"usage\": {"
                 "\"input_tokens\": 8, \"cache_creation_input_tokens\": 0, \"cache_read_input_tokens\": 12, "
                 "\"output_tokens\": 7}}");
    talk_free(&t);
}

static void messages_body_and_reasons(void **state)
{
    (void)state;
    static const struct {
        enum reply_finish finish;
        const char *stop, *reason;
    } ends[] = {{REPLY_CALLS, NULL, "tool_use"},
                {REPLY_LENGTH, NULL, "max_tokens"},
                {REPLY_STOP, NULL, "end_turn"},
                {REPLY_STOP, "END", "stop_sequence"}};
    struct talk t;
    talk_begin(&t, &dialect_messages, "{" MESSAGE "}");
    tell_all(&t);
    json_t *v = whole_body(&t);
    assert_json(json_object_get(v, "content"),
                "[{\"type\": \"thinking\", \"thinking\": \"I think\", \"signature\": \"\"}, {\"type\": "
                "\"text\", \"text\": \"Hello \\\"you\\\"\"},"
                "{\"type\": \"tool_use\", \"id\": \"toolu_ab0\", \"name\": \"weather\", \"input\": "
                "{\"city\": \"Paris\"}}]");
    json_decref(v);
    talk_free(&t);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        talk_begin(&t, &dialect_messages, "{" MESSAGE "}");
        talk_end(&t, ends[i].finish, ends[i].stop);
        v = whole_body(&t);
        assert_string_equal(json_string_value(json_object_get(v, "stop_reason")), ends[i].reason);
        const char *stop = json_string_value(json_object_get(v, "stop_sequence"));
        assert_true(stop ? !strcmp(stop, ends[i].stop) : !ends[i].stop);
        json_decref(v);
        talk_free(&t);
    }
}

static void messages_tell_errors(void **state)
{
    (void)state;
    static const struct {
        int status;
        const char *type;
    } kinds[] = {{400, "invalid_request_error"}, {401, "authentication_error"}, {404, "not_found_error"},
                 {413, "request_too_large"},     {429, "rate_limit_error"},     {503, "overloaded_error"}};
    struct alula_error error = {.code = ALULA_FORMAT, .message = "a \"reason\""};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct alula_error e;
        struct buf out = {0};
        dialect_messages.error(kinds[i].status, &error, &out);
        json_t *v = json_parse(out.data, out.len, 8, "error", &e);
        assert_ok(v != NULL, e);
        assert_string_equal(json_string_value(json_object_get(v, "type")), "error");
        assert_string_equal(json_string_value(json_object_get(json_object_get(v, "error"), "type")),
                            kinds[i].type);
        assert_string_equal(json_string_value(json_object_get(json_object_get(v, "error"), "message")),
                            "a \"reason\"");
        json_decref(v);
        buf_free(&out);
    }
    struct talk t;
    talk_begin(&t, &dialect_messages, "{\"stream\": true, " MESSAGE "}");
    tell(&t, (struct reply_event){.kind = REPLY_START});
    tell(&t, (struct reply_event){.kind = REPLY_ERROR, .status = 500, .error = &error});
    assert_types(&t, "message_start ping error");
    talk_free(&t);
}

static void tokens_are_counted_without_an_answer(void **state)
{
    (void)state;
    struct talk t;
    talk_begin(&t, &dialect_count_tokens, "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]}");
    assert_true(t.r.no_answer);
    talk_end(&t, REPLY_STOP, NULL);
    assert_string_equal(t.out.data, "{\"input_tokens\": 20}");
    talk_free(&t);
}

/* ---- completions ------------------------------------------------------------------------------------------- */

static void completions_read_prompts(void **state)
{
    (void)state;
    struct request r;
    const struct dialect *d = &dialect_completions;
    read_ok(&r, d, "{\"prompt\": \"Once\"}");
    assert_json(r.texts, "[\"Once\"]");
    assert_int_equal(r.max_tokens, 16);
    assert_int_equal(r.logprobs, 0);
    request_free(&r);
    read_ok(&r, d, "{\"prompt\": [1, 2]}");
    assert_json(r.texts, "[[1, 2]]");
    request_free(&r);
    read_ok(&r, d,
            "{\"prompt\": [\"a\", [3]], \"n\": 2, \"echo\": true, \"logprobs\": 2, \"max_tokens\": 0}");
    assert_json(r.texts, "[\"a\", [3]]");
    assert_true(r.echo && r.score_prompt && r.no_answer);
    assert_int_equal(r.logprobs, 3);
    request_free(&r);
    refuses(d, "{}", "\"prompt\"");
    refuses(d, "{\"prompt\": []}", "\"prompt\"");
    refuses(d, "{\"prompt\": [\"a\", 1]}", "\"prompt\"[1]");
    refuses(d, "{\"prompt\": \"a\", \"suffix\": \"b\"}", "suffix");
    refuses(d, "{\"prompt\": \"a\", \"best_of\": 3}", "best_of");
    refuses(d, "{\"prompt\": \"a\", \"logprobs\": true}", "logprobs");
}

static void completions_tell_logprobs(void **state)
{
    (void)state;
    struct talk t;
    static const struct reply_logprob rows[] = {
        {1, "\xc3\xa9", 2, NAN}, {-1, NULL, 0, 0}, {2, "b", 1, -0.5}, {3, "c", 1, -1}};
    talk_begin(&t, &dialect_completions, "{\"prompt\": \"\\u00e9\", \"echo\": true, \"logprobs\": 1}");
    tell(&t, (struct reply_event){.kind = REPLY_START});
    tell(&t, (struct reply_event){.kind = REPLY_TOKENS, .rows = rows, .n_rows = 2});
    tell(&t, (struct reply_event){.kind = REPLY_CONTENT,
                                  .text = "\xc3\xa9"
                                          "b"});
    talk_end(&t, REPLY_LENGTH, NULL);
    json_t *v = whole_body(&t), *choice = json_array_get(json_object_get(v, "choices"), 0);
    assert_json(choice,
                "{\"index\": 0, \"text\": \"\\u00e9b\", \"logprobs\": {\"tokens\": [\"\\u00e9\", \"b\"],"
                "\"token_logprobs\": [null, -0.5], \"top_logprobs\": [null, {\"c\": -1.0, \"b\": -0.5}], "
                "\"text_offset\": [0, 1]},"
                "\"finish_reason\": \"length\"}");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(v, "usage"), "total_tokens")), 27);
    json_decref(v);
    talk_free(&t);
}

static void completions_stream_in_order(void **state)
{
    (void)state;
    struct talk t;
    talk_begin(&t, &dialect_completions,
               "{\"prompt\": \"a\", \"stream\": true, \"stream_options\": {\"include_usage\": true}}");
    tell(&t, (struct reply_event){.kind = REPLY_START});
    tell(&t, (struct reply_event){.kind = REPLY_CONTENT, .text = "b"});
    talk_end(&t, REPLY_STOP, NULL);
    assert_event(
        &t, 0,
        "{\"id\": \"cmpl-ab\", \"object\": \"text_completion\", \"created\": 1700000000, \"model\": \"tiny\","
        "\"choices\": [{\"index\": 0, \"text\": \"b\", \"logprobs\": null, \"finish_reason\": null}], "
        "\"usage\": null}");
    assert_event(
        &t, 1,
        "{\"id\": \"cmpl-ab\", \"object\": \"text_completion\", \"created\": 1700000000, \"model\": \"tiny\","
        "\"choices\": [{\"index\": 0, \"text\": \"\", \"logprobs\": null, \"finish_reason\": \"stop\"}], "
        "\"usage\": null}");
    json_t *v = event_at(&t, 2);
    assert_int_equal(json_array_size(json_object_get(v, "choices")), 0);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(v, "usage"), "prompt_tokens")), 20);
    json_decref(v);
    assert_string_equal(t.out.data + t.out.len - 14, "data: [DONE]\n\n");
    talk_free(&t);
}

/* ---- responses --------------------------------------------------------------------------------------------- */

static void responses_become_a_conversation(void **state)
{
    (void)state;
    struct request r;
    read_ok(&r, &dialect_responses,
            "{\"instructions\": \"Be kind\", \"input\": [{\"role\": \"user\", \"content\": [{\"type\": "
            "\"input_text\", \"text\": \"Hi\"}]},"
            "{\"type\": \"reasoning\", \"summary\": [], \"content\": [{\"type\": \"reasoning_text\", "
            "\"text\": \"hm\"}]},"
            "{\"type\": \"message\", \"role\": \"assistant\", \"content\": [{\"type\": \"output_text\", "
            "\"text\": \"I look\"}]},"
            "{\"type\": \"function_call\", \"call_id\": \"c1\", \"name\": \"f\", \"arguments\": \"{}\"},"
            "{\"type\": \"function_call\", \"call_id\": \"c2\", \"name\": \"g\", \"arguments\": \"{}\"},"
            "{\"type\": \"function_call_output\", \"call_id\": \"c1\", \"output\": \"one\"},"
            "{\"role\": \"developer\", \"content\": \"x\"}], \"max_output_tokens\": 5, \"reasoning\": "
            "{\"effort\": \"low\"},"
            "\"tools\": [{\"type\": \"function\", \"name\": \"f\", \"parameters\": {\"type\": \"object\"}, "
            "\"strict\": true}],"
            "\"tool_choice\": {\"type\": \"function\", \"name\": \"f\"}}");
    assert_json(
        json_object_get(r.conversation, "messages"),
        "[{\"role\": \"system\", \"content\": \"Be kind\"}, {\"role\": \"user\", \"content\": \"Hi\"},"
        "{\"role\": \"assistant\", \"content\": \"I look\", \"reasoning_content\": \"hm\", \"tool_calls\": ["
        "{\"id\": \"c1\", \"type\": \"function\", \"function\": {\"name\": \"f\", \"arguments\": \"{}\"}},"
        "{\"id\": \"c2\", \"type\": \"function\", \"function\": {\"name\": \"g\", \"arguments\": \"{}\"}}]},"
        "{\"role\": \"tool\", \"content\": \"one\"}, {\"role\": \"user\", \"content\": \"x\"}]");
    assert_true(json_is_true(json_object_get(r.conversation, "enable_thinking")));
    assert_json(json_object_get(r.grammar, "choice"), "{\"name\": \"f\"}");
    assert_int_equal(r.max_tokens, 5);
    request_free(&r);
    read_ok(&r, &dialect_responses,
            "{\"input\": \"Hi\", \"text\": {\"format\": {\"type\": \"json_schema\", \"name\": \"n\", "
            "\"schema\": {}}}}");
    assert_json(json_object_get(r.conversation, "messages"), "[{\"role\": \"user\", \"content\": \"Hi\"}]");
    assert_json(r.grammar, "{\"type\": \"json_schema\", \"schema\": {}}");
    request_free(&r);
}

static void responses_refuse_by_name(void **state)
{
    (void)state;
    const struct dialect *d = &dialect_responses;
    refuses(d, "{}", "\"input\"");
    refuses(d, "{\"input\": [{\"type\": \"file_search_call\"}]}",
            "input[0]: \"type\" is \"file_search_call\"");
    refuses(d, "{\"input\": [{\"role\": \"user\", \"content\": [{\"type\": \"input_image\"}]}]}",
            "input[0].content[0]");
    refuses(d, "{\"input\": [{\"role\": \"king\", \"content\": \"x\"}]}", "input[0]: \"role\" is \"king\"");
    refuses(d, "{\"input\": [{\"type\": \"function_call\"}]}", "input[0]: \"name\"");
    refuses(d, "{\"input\": \"a\", \"previous_response_id\": \"resp_1\"}", "previous_response_id");
    refuses(d, "{\"input\": \"a\", \"conversation\": {\"id\": \"conv_1\"}}", "conversation");
    refuses(d, "{\"input\": \"a\", \"prompt\": {\"id\": \"pmpt_1\"}}", "prompt");
    refuses(d, "{\"input\": \"a\", \"background\": true}", "background");
    refuses(d, "{\"input\": \"a\", \"tools\": [{\"type\": \"web_search\"}]}",
            "tools[0]: \"type\" is \"web_search\"");
    refuses(d, "{\"input\": \"a\", \"text\": {\"format\": {\"type\": \"xml\"}}}", "text.format");
    refuses(d, "{\"input\": \"a\", \"max_output_tokens\": -1}", "max_output_tokens");
}

static void responses_stream_in_order(void **state)
{
    (void)state;
    struct talk t;
    talk_begin(&t, &dialect_responses, "{\"stream\": true, \"input\": \"Hi\"}");
    tell_all(&t);
    assert_types(&t, "response.created response.in_progress "
                     "response.output_item.added response.content_part.added response.reasoning_text.delta "
                     "response.reasoning_text.delta response.reasoning_text.done response.content_part.done "
                     "response.output_item.done "
                     "response.output_item.added response.content_part.added response.output_text.delta "
                     "response.output_text.delta "
                     "response.output_text.done response.content_part.done response.output_item.done "
                     "response.output_item.added response.function_call_arguments.delta "
                     "response.function_call_arguments.done "
                     "response.output_item.done response.completed");
    const char *at = t.out.data;
    int n = 0;
    for (json_t *v; (v = next_event(&at)); json_decref(v))
        assert_int_equal(json_integer_value(json_object_get(v, "sequence_number")), n++);
    assert_event(&t, 13,
                 "{\"type\": \"response.output_text.done\", \"sequence_number\": 13, \"item_id\": "
                 "\"msg_ab1\", \"output_index\": 1,"
                 "\"content_index\": 0, \"text\": \"Hello \\\"you\\\"\", \"logprobs\": []}");
    assert_event(
        &t, 19,
        "{\"type\": \"response.output_item.done\", \"sequence_number\": 19, \"output_index\": 2, \"item\": {"
        "\"id\": \"fc_ab2\", \"status\": \"completed\", \"type\": \"function_call\", \"call_id\": "
        "\"call_ab0\","
        "\"name\": \"weather\", \"arguments\": \"{\\\"city\\\": \\\"Paris\\\"}\"}}");
    /* The whole response at the end holds the very items that came one by one. */
    json_t *last = event_at(&t, 20), *response = json_object_get(last, "response"),
           *output = json_object_get(response, "output");
    static const int done[] = {8, 15, 19};
    for (int i = 0; i < 3; i++) {
        json_t *v = event_at(&t, done[i]);
        assert_true(json_equal(json_object_get(v, "item"), json_array_get(output, (size_t)i)));
        json_decref(v);
    }
    assert_json(json_object_get(response, "usage"),
                "{\"input_tokens\": 20, \"input_tokens_details\": {\"cached_tokens\": 12, "
                "\"cache_write_tokens\": 0}, \"output_tokens\": 7,"
                "\"output_tokens_details\": {\"reasoning_tokens\": 3}, \"total_tokens\": 27}");
    json_decref(last);
    talk_free(&t);
}

/* Text behind a call is an item of its own, in the stream and in the body alike. */
static void text_behind_a_call_keeps_its_place(void **state)
{
    (void)state;
    static const struct dialect *const dialects[] = {&dialect_responses, &dialect_messages};
    static const char *const bodies[] = {"{\"input\": \"Hi\"}", "{" MESSAGE "}"};
    static const char *const keys[] = {"output", "content"};
    for (int i = 0; i < 2; i++) {
        struct talk t;
        talk_begin(&t, dialects[i], bodies[i]);
        tell(&t, (struct reply_event){.kind = REPLY_CONTENT, .text = "a"});
        tell(&t, (struct reply_event){.kind = REPLY_CALL, .name = "f", .text = "{}"});
        tell(&t, (struct reply_event){.kind = REPLY_CONTENT, .text = "b"});
        talk_end(&t, REPLY_CALLS, NULL);
        json_t *v = whole_body(&t), *parts = json_object_get(v, keys[i]);
        assert_int_equal(json_array_size(parts), 3);
        char *last = json_dumps(json_array_get(parts, 2), 0);
        assert_non_null(strstr(last, "\"text\": \"b\""));
        free(last);
        json_decref(v);
        talk_free(&t);
    }
}

/* null is how clients say nothing, but types of the reply have no null there. */
static void responses_echo_no_null(void **state)
{
    (void)state;
    static const char *const keys[][2] = {
        {"tools", "[]"}, {"tool_choice", "\"auto\""}, {"parallel_tool_calls", "true"}, {"metadata", "{}"}};
    struct talk t;
    talk_begin(&t, &dialect_responses,
               "{\"input\": \"Hi\", \"tools\": null, \"tool_choice\": null, \"parallel_tool_calls\": null, "
               "\"metadata\": null}");
    talk_end(&t, REPLY_STOP, NULL);
    json_t *v = whole_body(&t);
    for (int i = 0; i < 4; i++) {
        json_t *want = json_loads(keys[i][1], JSON_DECODE_ANY, NULL);
        assert_true(json_equal(json_object_get(v, keys[i][0]), want));
        json_decref(want);
    }
    json_decref(v);
    talk_free(&t);
}

static void a_cut_response_is_incomplete(void **state)
{
    (void)state;
    struct talk t;
    talk_begin(&t, &dialect_responses, "{\"input\": \"Hi\"}");
    tell(&t, (struct reply_event){.kind = REPLY_CONTENT, .text = "a"});
    talk_end(&t, REPLY_LENGTH, NULL);
    json_t *v = whole_body(&t);
    assert_string_equal(json_string_value(json_object_get(v, "status")), "incomplete");
    assert_json(json_object_get(v, "incomplete_details"), "{\"reason\": \"max_output_tokens\"}");
    const json_t *item = json_array_get(json_object_get(v, "output"), 0);
    assert_string_equal(json_string_value(json_object_get(item, "status")), "incomplete");
    json_decref(v);
    talk_free(&t);
    /* So is the item at which an error broke off. */
    const struct alula_error error = {.code = ALULA_BUSY, .message = "too late"};
    talk_begin(&t, &dialect_responses, "{\"stream\": true, \"input\": \"Hi\"}");
    tell(&t, (struct reply_event){.kind = REPLY_CONTENT, .text = "a"});
    tell(&t, (struct reply_event){.kind = REPLY_ERROR, .status = 504, .error = &error});
    v = event_at(&t, 3);
    assert_string_equal(json_string_value(json_object_get(v, "type")), "response.failed");
    item = json_array_get(json_object_get(json_object_get(v, "response"), "output"), 0);
    assert_string_equal(json_string_value(json_object_get(item, "status")), "incomplete");
    json_decref(v);
    talk_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_become_a_conversation),
        cmocka_unit_test(messages_keep_empty_turns),
        cmocka_unit_test(messages_refuse_by_name),
        cmocka_unit_test(messages_stream_in_order),
        cmocka_unit_test(messages_body_and_reasons),
        cmocka_unit_test(messages_tell_errors),
        cmocka_unit_test(tokens_are_counted_without_an_answer),
        cmocka_unit_test(completions_read_prompts),
        cmocka_unit_test(completions_tell_logprobs),
        cmocka_unit_test(completions_stream_in_order),
        cmocka_unit_test(responses_become_a_conversation),
        cmocka_unit_test(responses_refuse_by_name),
        cmocka_unit_test(responses_stream_in_order),
        cmocka_unit_test(text_behind_a_call_keeps_its_place),
        cmocka_unit_test(responses_echo_no_null),
        cmocka_unit_test(a_cut_response_is_incomplete),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
