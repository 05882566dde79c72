/* Log-probabilities: those of the model's raw logits, of the answer's tokens and of the prompt's, whatever the way to
 * them was. */
#include <math.h>
#include <string.h>

#include "decode/decode_internal.h"
#include "tests/engine_rig.h"
#include "tests/support.h"

enum { N_PROMPT = 80, N_ANSWER = 30, N = N_PROMPT + N_ANSWER, WIDTH = 6 };

static struct alula_logprob want[N][WIDTH];
static int32_t ids[N];

/* Row t of the trunk is about the token behind it. */
static bool take_row(void *arg, int d, size_t t, const float *logits, struct alula_error *e)
{
    int vocab = model_config(engine->model)->vocab;
    double sum = 0;
    (void)arg, (void)d, (void)e;
    if (t + 1 == N) return true;
    for (int i = 0; i < vocab; i++) sum += exp(logits[i]);
    want[t + 1][0] = (struct alula_logprob){ids[t + 1], log(exp(logits[ids[t + 1]]) / sum)};
    for (int k = 1; k < WIDTH; k++) {
        int best = -1;
        for (int i = 0; i < vocab; i++) {
            bool taken = false;
            for (int j = 1; j < k; j++) taken = taken || want[t + 1][j].id == i;
            if (!taken && (best < 0 || logits[i] > logits[best])) best = i;
        }
        want[t + 1][k] = (struct alula_logprob){best, log(exp(logits[best]) / sum)};
    }
    return true;
}

static void assert_rows(const struct alula_logprob *rows, int first, int n)
{
    for (int i = 0; i < n; i++)
        for (int k = 0; k < WIDTH; k++) {
            const struct alula_logprob *a = &rows[i * WIDTH + k], *b = &want[first + i][k];
            if (a->id != b->id || !(fabs(a->logprob - b->logprob) < 1e-6))
                fail_msg("token %d, entry %d: id %d at %.9f, expected %d at %.9f", first + i, k, (int)a->id,
                         a->logprob, (int)b->id, b->logprob);
        }
}

static struct alula_session_options options(int depth)
{
    struct alula_session_options o = alula_session_defaults();
    o.n_ctx = N + 1;
    o.depth = depth;
    o.n_threads = 1;
    o.max_tokens = N_ANSWER;
    o.ignore_stop_ids = true;
    o.logprobs = WIDTH;
    o.score_prompt = true;
    o.sampling.temperature = 0.8;
    o.sampling.top_k = 30;
    o.sampling.repetition_penalty = 1.2;
    o.sampling.presence_penalty = 0.5;
    o.sampling.seeded = true;
    return o;
}

/* Reads and answers in steps; check: compares what they report. Leaves all tokens in ids. */
static void run(int depth, int chunk, bool check)
{
    struct alula_error e;
    struct alula_session *s;
    struct alula_step step;
    struct alula_session_options o = options(depth);
    int at = 0;
    size_t n;
    assert_ok(session_create_chunked(&s, engine, &o, chunk, &e), e);
    assert_ok(alula_session_begin(s, ids, N_PROMPT, &e), e);
    do {
        assert_ok(alula_session_step(s, &step, &e), e);
        if (check && step.n_read && at == 0) {
            assert_int_equal(step.read_logprobs[0].id, ids[0]);
            assert_true(isnan(step.read_logprobs[0].logprob));
            assert_int_equal(step.read_logprobs[1].id, -1);
            assert_rows(step.read_logprobs + WIDTH, 1, step.n_read - 1);
        } else if (check) {
            assert_rows(step.read_logprobs, at, step.n_read);
        }
        at += step.n_read;
        if (check) assert_rows(step.logprobs, at, step.n_tokens);
        at += step.n_tokens;
    } while (step.finish == ALULA_RUNNING);
    assert_int_equal(at, N);
    memcpy(ids, alula_session_tokens(s, &n), sizeof ids);
    alula_session_free(s);
}

static void test_are_those_of_the_raw_logits(void **state)
{
    (void)state;
    struct alula_error e;
    struct alula_eval result;
    struct alula_eval_options o = {.n_threads = 1, .row = take_row};
    for (int i = 0; i < N_PROMPT; i++) ids[i] = (i * 37 + 11) % 400;
    run(0, 512, false);
    assert_ok(alula_eval_run(engine, ids, N, &o, &result, &e), e);
    for (int depth = 0; depth <= 6; depth += 3)
        for (int chunk = 1; chunk <= 64; chunk *= 8) run(depth, chunk, true);
}

/* A second prompt's first token follows the answer before, so its probability is known. */
static void test_second_prompt(void **state)
{
    (void)state;
    struct alula_error e;
    struct alula_session *s;
    struct alula_step step;
    struct alula_session_options o = options(3);
    o.max_tokens = 5;
    assert_ok(alula_session_create(&s, engine, &o, &e), e);
    assert_ok(alula_session_prompt(s, ids, 20, NULL, NULL, &e), e);
    do assert_ok(alula_session_step(s, &step, &e), e);
    while (step.finish == ALULA_RUNNING);
    assert_ok(alula_session_begin(s, ids, 3, &e), e);
    assert_ok(alula_session_step(s, &step, &e), e);
    assert_int_equal(step.n_read, 3);
    assert_int_equal(step.n_tokens, 1);
    assert_int_equal(step.read_logprobs[0].id, ids[0]);
    assert_true(step.read_logprobs[0].logprob < 0);
    alula_session_free(s);
}

static void test_refusals(void **state)
{
    (void)state;
    struct alula_error e;
    struct alula_session *s;
    struct alula_session_options o = options(0);
    o.logprobs = 22;
    assert_false(alula_session_create(&s, engine, &o, &e));
    assert_non_null(strstr(e.message, "logprobs is 22, expected 0 (none) to 21"));
    o.logprobs = 0;
    assert_false(alula_session_create(&s, engine, &o, &e));
    assert_non_null(strstr(e.message, "score_prompt"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_are_those_of_the_raw_logits),
        cmocka_unit_test(test_second_prompt),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, open_graft, close_engine);
}
