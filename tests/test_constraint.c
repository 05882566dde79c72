/* Sessions under a grammar: what comes out fits it, is the same whether drafted or not, and ends by itself or at the
 * limit. The bundled model was never taught any of this, so that it is the mask that makes it. */
#include <stdlib.h>
#include <string.h>

#include "decode/decode_internal.h"
#include "tests/engine_rig.h"
#include "tests/grammar_rig.h"
#include "text/toolcall.h"

struct answer {
    struct buf text;
    enum alula_finish finish;
    struct alula_stats stats;
};

static void answer_make(struct answer *a, const struct alula_grammar *grammar, const char *prompt,
                        struct alula_session_options o)
{
    struct alula_error e;
    struct alula_session *s;
    struct alula_step step;
    int32_t *ids;
    size_t n;
    o.n_threads = 1;
    o.grammar = grammar;
    assert_ok(alula_tokenize(engine, prompt, strlen(prompt), true, &ids, &n, &e), e);
    assert_ok(alula_session_create(&s, engine, &o, &e), e);
    assert_ok(alula_session_prompt(s, ids, n, NULL, NULL, &e), e);
    buf_init(&a->text, 0);
    buf_add(&a->text, "", 0);
    do {
        assert_ok(alula_session_step(s, &step, &e), e);
        buf_add(&a->text, step.text, step.text_len);
    } while (step.finish == ALULA_RUNNING);
    a->finish = step.finish;
    alula_session_stats(s, &a->stats);
    alula_session_free(s);
    alula_free(ids);
}

static struct alula_grammar *grammar_make(const char *spec)
{
    struct alula_error e;
    struct alula_grammar *g;
    assert_ok(alula_grammar_create(&g, engine, spec, strlen(spec), &e), e);
    return g;
}

static const char *const prompts[] = {"Give me JSON.", "<|im_start|>user\nA list of numbers?<|im_end|>\n"};

/* How to draw: greedy; two seeds, which fix the text; the law that keeps most drafts, which does not. */
enum { GREEDY, WARM, HOT, REJECTION, N_WAYS };

static struct alula_session_options way(int how)
{
    struct alula_session_options o = alula_session_defaults();
    o.max_tokens = 90;
    if (how == GREEDY) return o;
    o.sampling.temperature = how == HOT ? 2.5 : 0.9;
    o.sampling.frequency_penalty = 0.1;
    o.sampling.top_p = 0.98;
    o.sampling.seeded = true;
    o.sampling.seed = (uint64_t)how;
    o.sampling.law = how == REJECTION ? ALULA_LAW_REJECTION : ALULA_LAW_COUPLED;
    return o;
}

/* The same text whatever the depth, and every text fits. */
static void check_grammar(const char *spec, void (*check)(const struct answer *a))
{
    struct alula_grammar *g = grammar_make(spec);
    for (size_t i = 0; i < sizeof prompts / sizeof *prompts; i++)
        for (int how = 0; how < N_WAYS; how++) {
            struct answer plain, a;
            struct alula_session_options o = way(how);
            answer_make(&plain, g, prompts[i], o);
            check(&plain);
            for (int depth = ALULA_DEPTH_AUTO; depth <= 3; depth++) {
                if (depth == 0 || (how == REJECTION && depth == 2)) continue;
                o.depth = depth;
                answer_make(&a, g, prompts[i], o);
                check(&a);
                if (how != REJECTION) {
                    assert_string_equal(a.text.data, plain.text.data);
                    assert_int_equal(a.finish, plain.finish);
                }
                buf_free(&a.text);
            }
            buf_free(&plain.text);
        }
    alula_grammar_free(g);
}

static void is_object(const struct answer *a)
{
    assert_int_equal(a->text.data[0], '{');
    if (a->finish != ALULA_STOP) return;
    json_error_t why; /* not by json_parse: a free object may have a key twice */
    json_t *v = json_loads(a->text.data, JSON_ALLOW_NUL, &why);
    if (!v) fail_msg("%s: %s", why.text, a->text.data);
    assert_true(json_is_object(v));
    json_decref(v);
}

static void test_json_mode(void **state)
{
    (void)state;
    check_grammar("{\"type\":\"json_object\"}", is_object);
}

/* ---- schemas -------------------------------------------------------------------------------------------- */

static struct reader by_schema; /* what the answers are read with */

static void fits(const struct answer *a)
{
    bool ends = false;
    if (reader_read(&by_schema, a->text.data, a->text.len, &ends) != a->text.len)
        fail_msg("%s", a->text.data);
    assert_true(ends || a->finish == ALULA_LENGTH);
}

static void test_schemas(void **state)
{
    (void)state;
    static const char *const schemas[] = {
        "{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\",\"maxLength\":12},\"age\":{"
        "\"type\":\"integer\","
        "\"minimum\":0,\"maximum\":130},\"tags\":{\"type\":\"array\",\"items\":{\"enum\":[\"red\",\"green\"]}"
        ",\"minItems\":2,"
        "\"maxItems\":4}},\"required\":[\"name\",\"age\",\"tags\"],\"additionalProperties\":false}",
        "{\"$defs\":{\"n\":{\"type\":\"object\",\"properties\":{\"v\":{\"type\":\"number\"},\"next\":{"
        "\"anyOf\":[{\"$ref\":"
        "\"#/$defs/n\"},{\"type\":\"null\"}]}},\"required\":[\"v\",\"next\"]}},\"$ref\":\"#/$defs/n\"}",
        "{\"type\":\"array\",\"prefixItems\":[{\"type\":\"string\",\"format\":\"date-time\"},{\"type\":"
        "\"string\",\"pattern\":"
        "\"^[A-Z]{2}-\\\\d+$\"},{\"type\":\"string\",\"format\":\"uuid\"}],\"minItems\":3}",
        "{\"enum\":[\"small\",\"smart\",3,null,{\"a\":[1.5,\"\u00e4\"]}]}",
        ("{\"type\":\"object\",\"properties\":{\"k\":{\"type\":\"boolean\"}},\"additionalProperties\":{"
         "\"type\":\"number\"}}"),
        "{}",
    };
    for (size_t i = 0; i < sizeof schemas / sizeof *schemas; i++) {
        char *spec = spec_of(schemas[i]);
        reader_open(&by_schema, spec);
        check_grammar(spec, fits);
        reader_close(&by_schema);
        free(spec);
    }
}

/* ---- tools ---------------------------------------------------------------------------------------------- */

static const char tools[] = "[{\"type\":\"function\",\"function\":{\"name\":\"add\",\"parameters\":{\"type\":"
                            "\"object\",\"properties\":{\"a\":{"
                            "\"type\":\"integer\"},\"note\":{\"type\":\"string\"},\"o\":{\"type\":\"object\","
                            "\"properties\":{\"x\":{\"type\":\"boolean\"}}"
                            ",\"required\":[\"x\"]}},\"required\":[\"a\",\"o\"]}}}]";

struct calls {
    int n, n_other;
};

static void count_call(void *arg, const struct toolcall_event *event)
{
    struct calls *c = arg;
    struct alula_error e;
    if (event->kind == TOOLCALL_REASONING) return;
    if (event->kind == TOOLCALL_CONTENT) c->n_other++;
    if (event->kind != TOOLCALL_CALL) return;
    assert_string_equal(event->name, "add");
    json_t *v = json_parse(event->text, event->len, 64, "the arguments", &e);
    assert_ok(v, e);
    assert_true(json_is_integer(json_object_get(v, "a")));
    assert_true(json_is_boolean(json_object_get(json_object_get(v, "o"), "x")));
    const json_t *note = json_object_get(v, "note");
    assert_true(!note || json_is_string(note));
    json_decref(v);
    c->n++;
}

static bool with_reasoning;

/* The reader of answers finds calls in it, with the arguments that the schema asks for, and nothing else. */
static void is_calls(const struct answer *a)
{
    struct alula_error e;
    struct toolcall *t;
    struct calls c = {0};
    json_t *list = json_parse(tools, strlen(tools), 64, "tools", &e);
    assert_ok(toolcall_create(&t, list, with_reasoning, count_call, &c, &e), e);
    assert_ok(toolcall_feed(t, a->text.data, a->text.len, &e) && toolcall_end(t, a->finish == ALULA_STOP, &e),
              e);
    if (a->finish == ALULA_STOP) assert_true(c.n > 0 && c.n_other == 0);
    toolcall_free(t);
    json_decref(list);
}

static void test_tools(void **state)
{
    (void)state;
    char spec[2048];
    for (int reasoning = 0; reasoning < 2; reasoning++) {
        with_reasoning = reasoning;
        snprintf(spec, sizeof spec, "{\"type\":\"tools\",\"tools\":%s,\"parallel\":true,\"reasoning\":%s}",
                 tools, reasoning ? "true" : "false");
        check_grammar(spec, is_calls);
    }
}

/* The reader of answers finds calls or one object, never both. */
static void is_either(const struct answer *a)
{
    struct alula_error e;
    if (a->finish != ALULA_STOP) return;
    if (a->text.len && a->text.data[0] != '{') {
        is_calls(a);
        return;
    }
    json_t *v = json_parse(a->text.data, a->text.len, 64, "the answer", &e);
    assert_ok(v, e);
    assert_true(json_is_integer(json_object_get(v, "n")));
    json_decref(v);
}

static void test_form_or_tools(void **state)
{
    (void)state;
    char spec[2048];
    with_reasoning = false;
    snprintf(spec, sizeof spec,
             "{\"type\":\"json_schema\",\"schema\":{\"type\":\"object\",\"properties\":{\"n\":{\"type\":"
             "\"integer\"}},"
             "\"required\":[\"n\"]},\"tools\":%s}",
             tools);
    check_grammar(spec, is_either);
}

/* ---- drafts without the head ---------------------------------------------------------------------------- */

/* Where one token is left, plain decoding verifies many at once, and says the same. */
static void test_free_drafts(void **state)
{
    (void)state;
    static const char words[] = "[\"one two three four five six seven eight nine ten eleven twelve\"]";
    char spec[512];
    snprintf(spec, sizeof spec, "{\"type\":\"json_schema\",\"schema\":{\"const\":%s}}", words);
    struct alula_grammar *g = grammar_make(spec);
    struct alula_engine *headless, *both[2] = {engine, NULL};
    struct alula_engine_options no_head = {.no_mtp = true};
    struct alula_error e;
    assert_ok(alula_engine_open(&headless, "models/tiny-trunk", &no_head, &e), e);
    both[1] = headless;
    for (int i = 0; i < 2; i++) {
        struct alula_session_options o = alula_session_defaults();
        struct alula_grammar *own = NULL;
        struct alula_engine *with_head = engine;
        struct answer a;
        engine = both[i];
        if (i) own = grammar_make(spec);
        answer_make(&a, i ? own : g, "Count!", o);
        engine = with_head;
        assert_string_equal(a.text.data, words);
        assert_true(a.stats.free > 10 && a.stats.cycles < a.stats.tokens / 3);
        assert_int_equal(a.stats.drafted[0], 0);
        buf_free(&a.text);
        alula_grammar_free(own);
    }
    alula_grammar_free(g);
    alula_engine_close(headless);
}

/* A limit cuts an answer under a grammar as it cuts any other, in the middle of a run of free drafts, too. */
static void test_cut(void **state)
{
    (void)state;
    struct alula_grammar *g =
        grammar_make("{\"type\":\"json_schema\",\"schema\":{\"const\":\"a b c d e f g h i j k l\"}}");
    struct answer whole;
    answer_make(&whole, g, "Say it", alula_session_defaults());
    assert_int_equal(whole.finish, ALULA_STOP);
    for (int n = 1; n < whole.stats.tokens; n++) {
        struct answer a;
        struct alula_session_options o = alula_session_defaults();
        o.max_tokens = n;
        answer_make(&a, g, "Say it", o);
        assert_int_equal(a.finish, ALULA_LENGTH);
        assert_int_equal(a.stats.tokens, n);
        assert_memory_equal(a.text.data, whole.text.data, a.text.len);
        buf_free(&a.text);
    }
    buf_free(&whole.text);
    alula_grammar_free(g);
}

/* Two answers of one session, and sessions that share a grammar. */
static void test_turns(void **state)
{
    (void)state;
    struct alula_error e;
    struct alula_grammar *g = grammar_make("{\"type\":\"json_schema\",\"schema\":{\"enum\":[12,\"a\"]}}");
    struct alula_session *s[2];
    struct alula_session_options o = alula_session_defaults();
    o.grammar = g;
    o.n_threads = 1;
    for (int i = 0; i < 2; i++) assert_ok(alula_session_create(&s[i], engine, &o, &e), e);
    for (int turn = 0; turn < 4; turn++) {
        struct alula_step step;
        char text[64] = "";
        assert_ok(alula_session_prompt(s[turn % 2], (int32_t[]){5 + turn}, 1, NULL, NULL, &e), e);
        do {
            assert_ok(alula_session_step(s[turn % 2], &step, &e), e);
            strcat(text, step.text);
        } while (step.finish == ALULA_RUNNING);
        assert_true(strcmp(text, "12") == 0 || strcmp(text, "\"a\"") == 0);
    }
    for (int i = 0; i < 2; i++) alula_session_free(s[i]);
    alula_grammar_free(g);
}

static const uint32_t *no_mask(void *arg, const int32_t *answer, size_t n)
{
    (void)arg, (void)answer, (void)n;
    return NULL;
}

static void test_refused_options(void **state)
{
    (void)state;
    struct alula_error e;
    struct alula_session *s;
    struct alula_engine *other;
    struct alula_grammar *g = grammar_make("{\"type\":\"json_object\"}");
    struct alula_session_options o = alula_session_defaults();
    o.grammar = g;
    o.mask = no_mask;
    assert_false(alula_session_create(&s, engine, &o, &e));
    assert_non_null(strstr(e.message, "exclude each other"));
    o.mask = NULL;
    assert_ok(alula_engine_open(&other, "models/tiny-donor", NULL, &e), e);
    assert_false(alula_session_create(&s, other, &o, &e));
    assert_non_null(strstr(e.message, "another engine"));
    alula_engine_close(other);
    alula_grammar_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_mode),   cmocka_unit_test(test_schemas),
        cmocka_unit_test(test_tools),       cmocka_unit_test(test_form_or_tools),
        cmocka_unit_test(test_free_drafts), cmocka_unit_test(test_cut),
        cmocka_unit_test(test_turns),       cmocka_unit_test(test_refused_options),
    };
    return cmocka_run_group_tests(tests, open_graft, close_engine);
}
