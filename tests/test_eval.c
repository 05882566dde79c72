/* Evaluation: rows equal to the original's, chains counted as models/README.md says, wrong input refused. */
#include <math.h>

#include "decode/decode_internal.h"
#include "tests/model_rig.h"

#define ORACLE_PROMPT 70
#define VOCAB         512

static json_t *oracle, *tiny;
static struct st_file *values;
static int32_t ids[4100];

static int setup(void **state)
{
    (void)state;
    oracle = expected_json(data_path("oracle-f32/expected.json"));
    tiny = expected_json("models/expected.json");
    values = expected_open("oracle-f32/expected.safetensors");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    st_close(values);
    json_decref(tiny);
    json_decref(oracle);
    return 0;
}

/* ---- rows
 * ----------------------------------------------------------------------------------------------------------
 */

struct rows {
    float *logits; /* [4][ORACLE_PROMPT][VOCAB] */
    size_t n;
};

/* All rows of the trunk come first, then those of step 1, and so on, none left out. */
static bool keep_row(void *arg, int d, size_t t, const float *logits, struct alula_error *e)
{
    struct rows *r = arg;
    (void)e;
    assert_int_equal((size_t)d * ORACLE_PROMPT + t, r->n);
    memcpy(r->logits + r->n++ * VOCAB, logits, VOCAB * sizeof *logits);
    return true;
}

/* The trunk after every token; step 1 at the positions that the fixture has; all three steps at the last
 * position, where the trunk's own best token stands in for the text that has ended. */
static void rows_equal_the_original(void **state)
{
    (void)state;
    struct rig g;
    struct alula_error e;
    struct alula_eval v;
    struct rows r = {.logits = mem_alloc(4 * ORACLE_PROMPT * VOCAB * sizeof(float))};
    struct alula_eval_options o = {.n_threads = 2, .depth = 3, .row = keep_row, .arg = &r};
    rig_open(&g, data_path("oracle-f32"), NULL);
    assert_ok(model_create(&g.model, g.weights, NULL, MODEL_EXACT, &e), e);
    struct alula_engine engine = {.weights = g.weights, .model = g.model, .has_mtp = true};
    const int32_t *prompt = expected_ints(values, ORACLE_PROMPT, "p%d.ids", ORACLE_PROMPT);
    assert_ok(alula_eval_run(&engine, prompt, ORACLE_PROMPT, &o, &v, &e), e);

    assert_int_equal(r.n, 4 * ORACLE_PROMPT);
    assert_close(r.logits, expected_floats(values, ORACLE_PROMPT * VOCAB, "p%d.logits", ORACLE_PROMPT),
                 ORACLE_PROMPT * VOCAB, 5e-5, "logits");
    const json_t *forced = json_object_get(json_object_get(oracle, "mtp"), "teacher_forced");
    int32_t at[8];
    assert_int_equal(json_ints(json_object_get(forced, "positions_with_logits"), at, 8), 8);
    const float *want = expected_floats(values, 4 * 8 * VOCAB, "mtp.tf.logits");
    for (int i = 0; i < 8; i++)
        assert_close(r.logits + (size_t)(ORACLE_PROMPT + at[i]) * VOCAB, want + i * VOCAB, VOCAB, 5e-5,
                     "step 1");
    const struct tensor *chains = st_find(values, "mtp.variants.logits");
    for (int d = 1; d <= 3; d++)
        assert_close(r.logits + (size_t)((d + 1) * ORACLE_PROMPT - 1) * VOCAB,
                     (const float *)(const void *)chains->data + (d - 1) * VOCAB, VOCAB, 5e-5,
                     "chain at the end");
    mem_free(r.logits);
    model_free(g.model);
    rig_close(&g);
}

/* ---- counts -------------------------------------------------------------------------------------------- */

static size_t take(const json_t *array, size_t at)
{
    return at + (size_t)json_ints(array, ids + at, (int)(sizeof ids / sizeof *ids - at));
}

static struct alula_engine *open_graft(void)
{
    struct alula_error e;
    struct alula_engine *engine;
    struct alula_engine_options o = {.exact = true, .mtp = "models/tiny-donor"};
    assert_ok(alula_engine_open(&engine, "models/tiny-trunk", &o, &e), e);
    return engine;
}

/* Two cases of each kind, from the last token of the prompt on. */
static void chains_are_counted_as_recorded(void **state)
{
    (void)state;
    struct alula_error e;
    struct alula_engine *engine = open_graft();
    const json_t *cases = json_object_get(json_object_get(tiny, "trunk+donor head"), "cases");
    const char *last = "";
    int of_kind = 0, checked = 0;
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *c = json_array_get(cases, i);
        const char *kind = json_string_value(json_object_get(c, "kind"));
        of_kind = strcmp(kind, last) == 0 ? of_kind + 1 : 1;
        last = kind;
        if (of_kind > 2) continue;
        size_t prompt = take(json_object_get(c, "prompt"), 0), n = take(json_object_get(c, "greedy"), prompt);
        struct alula_eval v;
        struct alula_eval_options o = {.n_threads = 1, .depth = 3, .first = prompt - 1};
        assert_ok(alula_eval_run(engine, ids, n, &o, &v, &e), e);
        int32_t accepted[3];
        assert_int_equal(json_ints(json_object_get(c, "accepted_prefix"), accepted, 3), 3);
        assert_int_equal(v.positions, json_integer_value(json_object_get(c, "positions")));
        for (int d = 0; d < 3; d++) assert_int_equal(v.accepted[d], accepted[d]);
        assert_int_equal(v.tokens, n - prompt);
        assert_int_equal(v.top1, v.tokens); /* the text is the trunk's own greedy continuation */
        checked++;
    }
    assert_int_equal(checked, 6);
    alula_engine_close(engine);
}

/* Figures do not depend on threads or on where counting starts. */
static void parts_add_up(void **state)
{
    (void)state;
    struct alula_error e;
    struct alula_engine *engine = open_graft();
    struct alula_eval whole, tail, head;
    struct alula_eval_options o = {.n_threads = 1, .depth = 2};
    size_t n = 60;
    take(json_array_get(json_object_get(json_object_get(tiny, "loss_windows"), "kjv"), 0), 0);
    assert_ok(alula_eval_run(engine, ids, n, &o, &whole, &e), e);
    assert_ok(alula_eval_run(engine, ids, 41, &(struct alula_eval_options){.n_threads = 2}, &head, &e), e);
    o = (struct alula_eval_options){.n_threads = 2, .depth = 2, .first = 40};
    assert_ok(alula_eval_run(engine, ids, n, &o, &tail, &e), e);
    assert_int_equal(head.tokens + tail.tokens, whole.tokens);
    assert_int_equal(head.top1 + tail.top1, whole.top1);
    assert_true(fabs(head.loss * 40 + tail.loss * 19 - whole.loss * 59) < 1e-9);
    assert_int_equal(whole.positions, 57);
    assert_int_equal(tail.positions, 17);

    /* One token foretells nothing. */
    o = (struct alula_eval_options){.depth = 1};
    assert_ok(alula_eval_run(engine, ids, 1, &o, &whole, &e), e);
    assert_int_equal(whole.tokens, 0);
    assert_int_equal(whole.positions, 0);
    alula_engine_close(engine);
}

/* ---- refusals ------------------------------------------------------------------------------------------ */

static bool stop_row(void *arg, int d, size_t t, const float *logits, struct alula_error *e)
{
    (void)arg, (void)d, (void)logits;
    return t < 3 || err_set(e, ALULA_IO, "the disk is full");
}

static bool stop_progress(void *arg, size_t done, size_t total)
{
    (void)arg, (void)done, (void)total;
    return false;
}

static void refuse(const struct alula_engine *engine, size_t n, struct alula_eval_options o,
                   enum alula_code code, const char *words)
{
    struct alula_error e;
    struct alula_eval v = {.tokens = -7};
    assert_false(alula_eval_run(engine, ids, n, &o, &v, &e));
    assert_int_equal(e.code, code);
    if (!strstr(e.message, words)) fail_msg("'%s' does not say '%s'", e.message, words);
    assert_int_equal(v.tokens, -7);
}

static void wrong_input_is_refused(void **state)
{
    (void)state;
    struct alula_error e;
    struct alula_engine *engine = open_graft(), *bare;
    assert_ok(alula_engine_open(&bare, "models/tiny-trunk", NULL, &e), e);
    memset(ids, 0, sizeof ids);
    refuse(engine, 0, (struct alula_eval_options){0}, ALULA_FORMAT, "no text");
    refuse(engine, 4097, (struct alula_eval_options){0}, ALULA_LIMIT, "4097 tokens");
    refuse(engine, 5, (struct alula_eval_options){.depth = 8}, ALULA_USAGE, "depth is 8");
    refuse(engine, 5, (struct alula_eval_options){.depth = -1}, ALULA_USAGE, "depth is -1");
    refuse(engine, 5, (struct alula_eval_options){.first = 5}, ALULA_USAGE, "token 5 of 5");
    refuse(bare, 5, (struct alula_eval_options){.depth = 1}, ALULA_UNSUPPORTED, "no MTP head");
    refuse(engine, 5, (struct alula_eval_options){.row = stop_row}, ALULA_IO, "the disk is full");
    refuse(engine, 5, (struct alula_eval_options){.progress = stop_progress}, ALULA_CANCELLED, "stopped");
    ids[3] = 2048;
    refuse(engine, 5, (struct alula_eval_options){0}, ALULA_FORMAT, "id 2048 at index 3");
    ids[3] = -1;
    refuse(engine, 5, (struct alula_eval_options){0}, ALULA_FORMAT, "id -1 at index 3");
    alula_engine_close(bare);
    alula_engine_close(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_equal_the_original),
        cmocka_unit_test(chains_are_counted_as_recorded),
        cmocka_unit_test(parts_add_up),
        cmocka_unit_test(wrong_input_is_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
