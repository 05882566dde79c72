/* Sessions under a grammar: what comes out fits it, is the same whether drafted or not, and ends by itself or at the
 * limit. The bundled model was never taught any of this, so that it is the mask that makes it. */
#include <stdlib.h>
#include <string.h>

#include "decode/decode_internal.h"
#include "tests/support.h"

static struct alula_engine *engine; /* the bundled trunk with the donor's head */

static int open_engine(void **state)
{
    (void)state;
    struct alula_error e;
    struct alula_engine_options o = {.mtp = "models/tiny-donor"};
    return alula_engine_open(&engine, "models/tiny-trunk", &o, &e) ? 0 : -1;
}

static int close_engine(void **state)
{
    (void)state;
    alula_engine_close(engine);
    return 0;
}

struct answer {
    struct buf text;
    enum alula_finish finish;
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

static const char *const prompts[] = {"Give me JSON.", "<|im_start|>user\nA list of numbers?<|im_end|>\n",
                                      "{\"a\": "};

/* Whatever the depth and the law: the same text. */
static void check_grammar(const char *spec, void (*check)(const struct answer *a))
{
    struct alula_grammar *g = grammar_make(spec);
    for (size_t i = 0; i < sizeof prompts / sizeof *prompts; i++)
        for (int seed = 0; seed < 3; seed++) {
            struct answer plain, a;
            struct alula_session_options o = alula_session_defaults();
            o.max_tokens = 150;
            if (seed) {
                o.sampling.temperature = 0.6 + 0.6 * seed;
                o.sampling.seeded = true;
                o.sampling.seed = (uint64_t)seed;
            }
            answer_make(&plain, g, prompts[i], o);
            if (getenv("SHOW")) fprintf(stderr, "%d %s\n", plain.finish, plain.text.data);
            check(&plain);
            for (int depth = ALULA_DEPTH_AUTO; depth <= 3; depth++) {
                o.depth = depth;
                answer_make(&a, g, prompts[i], o);
                assert_string_equal(a.text.data, plain.text.data);
                assert_int_equal(a.finish, plain.finish);
                buf_free(&a.text);
            }
            buf_free(&plain.text);
        }
    alula_grammar_free(g);
}

static void is_object(const struct answer *a)
{
    struct alula_error e;
    assert_int_equal(a->text.data[0], '{');
    if (a->finish != ALULA_STOP) return;
    json_t *v = json_parse(a->text.data, a->text.len, 64, "the answer", &e);
    assert_ok(v, e);
    assert_true(json_is_object(v));
    json_decref(v);
}

static void test_json_mode(void **state)
{
    (void)state;
    check_grammar("{\"type\":\"json_object\"}", is_object);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_json_mode)};
    return cmocka_run_group_tests(tests, open_engine, close_engine);
}
