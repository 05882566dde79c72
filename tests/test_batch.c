/* Several sessions in one pass: whatever shares a pass with a session, its tokens, text, log-probabilities and end are
 * those of the session alone, bit for bit; one that fails or leaves does not touch the others. */
#include <string.h>

#include "decode/decode_internal.h"
#include "decode/rng.h"
#include "tests/support.h"

#define CTX        256
#define TURNS_MAX  2
#define PROMPT_MAX 90
#define TOKENS_MAX 40
#define TEXT_MAX   2048
#define LOGPROBS   3

static struct alula_engine *engine,
    *engines[2];       /* the one under test, of: the bundled trunk with the donor's head, with
                                                    a draft vocabulary; a packed model */
static int32_t *words; /* ids of the text that prompts are cut from */
static size_t n_words;

static int open_engine(void **state)
{
    static const char text[] = "And it came to pass in those days, that there went out a decree from the "
                               "king of the land, that all the "
                               "people should be counted, every one in his own city. The lights of the "
                               "harbour, the lights of the town; "
                               "nothing stirs. It was the best of times, it was the worst of times, it was "
                               "the age of wisdom, it was the "
                               "age of foolishness, it was the season of light, it was the season of "
                               "darkness, it was the spring of hope.";
    (void)state;
    struct alula_error e;
    struct alula_engine_options o = {.mtp = "models/tiny-donor", .draft_vocab = 1500};
    if (!alula_engine_open(&engines[0], "models/tiny-trunk", &o, &e) ||
        !alula_engine_open(&engines[1], data_path("mtplx/golden/tiny-mtplx"), NULL, &e) ||
        !alula_tokenize(engines[0], text, sizeof text - 1, true, &words, &n_words, &e))
        return -1;
    for (size_t i = 0; i < n_words; i++) words[i] %= model_config(engines[1]->model)->vocab;
    engine = engines[0];
    return 0;
}

static int close_engine(void **state)
{
    (void)state;
    alula_free(words);
    for (int i = 0; i < 2; i++) alula_engine_close(engines[i]);
    return 0;
}

/* ---- requests ----------------------------------------------------------------------------------------------- */

static uint64_t draws;
static int any(int n) { return (int)(rng_uniform(rng_place(11, draws++), RNG_DRAFT) * n); }

/* What a session is asked, and what it says. */
struct request {
    struct alula_session_options o;
    int n_turns, at[TURNS_MAX], n_prompt[TURNS_MAX]; /* prompts: words[at .. at + n_prompt) */
    int fails_at; /* token of the answer at which its mask allows nothing; -1 */
    uint32_t *allowed;
    struct answer {
        int32_t tokens[TOKENS_MAX];
        char text[TEXT_MAX];
        int n;
        size_t len;
        struct alula_logprob logprobs[TOKENS_MAX][LOGPROBS], read[PROMPT_MAX][LOGPROBS];
        int n_read;
        enum alula_finish finish;
        bool failed;
    } answer[TURNS_MAX];
};

/* Two ids in three are allowed, others at each place. */
static const uint32_t *two_in_three(void *arg, const int32_t *said, size_t n)
{
    struct request *r = arg;
    int vocab = model_config(engine->model)->vocab;
    (void)said;
    memset(r->allowed, 0, ((size_t)vocab + 31) / 32 * sizeof *r->allowed);
    for (int id = 0; (int)n != r->fails_at && id < vocab; id++)
        if (((size_t)id + n) % 3) r->allowed[id / 32] |= 1u << (id % 32);
    return r->allowed;
}

static void any_sampling(struct alula_sampling *s)
{
    static const struct alula_bias bias[] = {{10, 3}, {300, -100}};
    s->temperature = any(3) ? 0.3 + 0.4 * any(4) : 0;
    s->top_k = any(2) * 20;
    s->top_p = any(2) ? 1 : 0.9;
    s->min_p = any(3) ? 0 : 0.02;
    s->presence_penalty = any(2) * 0.5;
    s->frequency_penalty = any(2) * 0.2;
    s->repetition_penalty = any(2) ? 1 : 1.2;
    s->bias = bias;
    s->n_bias = any(3);
    s->seeded = true;
    s->seed = (uint64_t)any(1000);
    s->law = any(2) ? ALULA_LAW_COUPLED : ALULA_LAW_REJECTION;
}

static struct request any_request(void)
{
    static const char *const stops[] = {"the ", "q"};
    struct request r = {.n_turns = 1 + any(TURNS_MAX), .fails_at = -1};
    r.o = alula_session_defaults();
    r.o.n_ctx = CTX;
    r.o.depth = any(ALULA_DEPTH_MAX + 2) - 1;
    r.o.max_tokens = 1 + any(TOKENS_MAX);
    any_sampling(&r.o.sampling);
    /* By rejection the text hangs on what was drafted, and how far pays is a question of time. */
    if (r.o.depth < 0) r.o.sampling.law = ALULA_LAW_COUPLED;
    r.o.stop = stops;
    r.o.n_stop = any(3);
    r.o.ignore_stop_ids = any(2);
    r.o.logprobs = any(2) * LOGPROBS;
    r.o.score_prompt = r.o.logprobs && any(2);
    r.allowed = mem_zalloc((size_t)model_config(engine->model)->vocab / 32 + 1, sizeof *r.allowed);
    assert_non_null(r.allowed);
    for (int t = 0; t < r.n_turns; t++) {
        r.n_prompt[t] = 1 + any(any(2) ? 8 : PROMPT_MAX);
        r.at[t] = any((int)n_words - r.n_prompt[t]);
    }
    return r;
}

/* mask_arg points into the request, so it must lie where it stays. */
static void set_mask(struct request *r, int fails_at)
{
    r->fails_at = fails_at;
    if (r->o.depth < 0) r->o.depth = 3; /* how much is said before a failure hangs on the cycles */
    r->o.mask = two_in_three;
    r->o.mask_arg = r;
}

static void take(struct answer *a, const struct alula_step *step)
{
    assert_true(a->n + step->n_tokens <= TOKENS_MAX && a->len + step->text_len < TEXT_MAX);
    memcpy(a->tokens + a->n, step->tokens, (size_t)step->n_tokens * sizeof *a->tokens);
    memcpy(a->text + a->len, step->text, step->text_len);
    size_t row = sizeof a->logprobs[0];
    if (step->logprobs) memcpy(a->logprobs + a->n, step->logprobs, (size_t)step->n_tokens * row);
    if (step->read_logprobs) memcpy(a->read + a->n_read, step->read_logprobs, (size_t)step->n_read * row);
    a->n += step->n_tokens;
    a->len += step->text_len;
    a->n_read += step->n_read;
    a->finish = step->finish;
}

static void run_alone(struct request *r)
{
    struct alula_error e;
    struct alula_session *s;
    struct alula_session_options o = r->o;
    o.n_threads = 1;
    assert_ok(session_create_chunked(&s, engine, &o, 512, &e), e);
    for (int t = 0; t < r->n_turns; t++) {
        struct alula_step step = {.finish = ALULA_RUNNING};
        struct answer *a = &r->answer[t];
        assert_ok(alula_session_begin(s, words + r->at[t], (size_t)r->n_prompt[t], &e), e);
        while (!a->failed && step.finish == ALULA_RUNNING) {
            a->failed = !alula_session_step(s, &step, &e);
            if (!a->failed) take(a, &step);
        }
    }
    alula_session_free(s);
}

/* ---- in a batch --------------------------------------------------------------------------------------------- */

/* A request under way. */
struct live {
    const struct request *request;
    struct alula_session *session;
    struct answer answer;
    int turn;
    int leaves; /* after so many passes; -1 = stays to the end */
};

static void begin(struct live *l)
{
    struct alula_error e;
    const struct request *r = l->request;
    l->answer = (struct answer){0};
    const int32_t *ids = words + r->at[l->turn];
    size_t n = (size_t)r->n_prompt[l->turn];
    if (any(4) || r->o.score_prompt) {
        assert_ok(alula_session_begin(l->session, ids, n, &e), e);
    } else { /* at once; what it was told then must wait for its turn */
        assert_ok(alula_session_prompt(l->session, ids, n, NULL, NULL, &e), e);
        l->answer.n_read = (int)n;
    }
}

static void join(struct live *l, const struct request *r, struct alula_batch *b, int leaves)
{
    struct alula_error e;
    struct alula_session_options o = r->o;
    *l = (struct live){.request = r, .leaves = leaves};
    o.batch = b;
    assert_ok(alula_session_create(&l->session, engine, &o, &e), e);
    begin(l);
}

/* Bit for bit, the NaN of a first token too. */
static void assert_same_logprobs(const struct alula_logprob *a, const struct alula_logprob *b, int n)
{
    for (int i = 0; i < n; i++) {
        assert_int_equal(a[i].id, b[i].id);
        assert_memory_equal(&a[i].logprob, &b[i].logprob, sizeof a[i].logprob);
    }
}

/* What was said so far is how the session alone begins; at the end, all of it. */
static void check(const struct live *l, bool ended)
{
    const struct answer *a = &l->answer, *want = &l->request->answer[l->turn];
    assert_true(a->n <= want->n && a->len <= want->len);
    assert_memory_equal(a->tokens, want->tokens, (size_t)a->n * sizeof *a->tokens);
    assert_memory_equal(a->text, want->text, a->len);
    assert_same_logprobs(a->logprobs[0], want->logprobs[0], a->n * l->request->o.logprobs);
    /* A step that fails on the first token tells nothing of the end of the prompt that it read; alone that end is longer. */
    int n_read = want->failed && want->n_read < a->n_read ? want->n_read : a->n_read;
    if (l->request->o.score_prompt) assert_same_logprobs(a->read[0], want->read[0], n_read * LOGPROBS);
    if (!ended) return;
    assert_int_equal(a->failed, want->failed);
    assert_int_equal(a->n, want->n);
    assert_int_equal(a->len, want->len);
    if (!a->failed) assert_int_equal(a->finish, want->finish);
}

/* What a pass gave to a session. false: it is done. */
static bool advance(struct live *l, const struct alula_turn *turn)
{
    const struct request *r = l->request;
    l->answer.failed = turn->failed;
    if (!turn->failed) {
        take(&l->answer, &turn->step);
        assert_true(turn->step.n_read <= turn->read_max);
        if (turn->step.n_tokens) assert_int_equal(l->answer.n_read, r->n_prompt[l->turn]);
    }
    bool ended = turn->failed || turn->step.finish != ALULA_RUNNING;
    check(l, ended);
    if (ended && l->turn + 1 < r->n_turns && !turn->failed) {
        l->turn++;
        begin(l);
        return true;
    }
    return !ended && l->leaves-- != 0;
}

/* By itself, between two passes. */
static void step_alone(struct alula_turn *turn)
{
    turn->failed = !alula_session_step(turn->session, &turn->step, &turn->error);
    turn->read_max = PROMPT_MAX;
}

/* One pass over most of those that live, others by themselves. A failed session is asked once more: it fails again. */
static void pass(struct alula_batch *b, struct live *live, int *n_live, int prompt_rows)
{
    struct alula_turn turns[8];
    struct live *of[8];
    int n = 0, n_alone, read = 0, left = 0;
    for (int i = 0; i < *n_live; i++)
        if (any(8)) {
            of[n] = &live[i];
            turns[n++] = (struct alula_turn){.session = live[i].session, .read_max = any(3) ? any(40) : 0};
        }
    n_alone = n && !any(4);
    uint64_t before = mem_count();
    alula_batch_step(b, turns + n_alone, n - n_alone);
    if (n_alone) step_alone(&turns[0]);
    assert_int_equal(mem_count(), before); /* the token loop allocates nothing */
    for (int i = 0; i < n; i++) {
        if (i >= n_alone) read += turns[i].step.n_read;
        if (turns[i].failed) alula_batch_step(b, &turns[i], 1), assert_true(turns[i].failed);
        if (advance(of[i], &turns[i])) continue;
        alula_session_free(of[i]->session);
        of[i]->session = NULL;
    }
    assert_true(read <= prompt_rows);
    for (int i = 0; i < *n_live; i++)
        if (live[i].session) live[left++] = live[i];
    *n_live = left;
}

static void run_together(struct request *requests, int n, int width, int threads)
{
    struct alula_error e;
    struct alula_batch *b;
    struct live live[8];
    struct alula_batch_options o = {.n_threads = threads, .max_sessions = width, .prompt_rows = 1 + any(64)};
    int n_live = 0, next = 0;
    assert_ok(alula_batch_create(&b, engine, &o, &e), e);
    while (next < n || n_live > 0) {
        while (next < n && n_live < width && any(3))
            join(&live[n_live++], &requests[next++], b, any(4) ? -1 : any(12));
        pass(b, live, &n_live, o.prompt_rows);
    }
    alula_batch_free(b);
}

static void check_equal_to_alone(void)
{
    static struct request requests[24];
    int n = sizeof requests / sizeof requests[0];
    memset(requests, 0, sizeof requests);
    for (int i = 0; i < n; i++) {
        requests[i] = any_request();
        if (i % 4 == 0) set_mask(&requests[i], i % 8 ? -1 : any(12));
        run_alone(&requests[i]);
    }
    for (int width = 2; width <= 8; width += 2) run_together(requests, n, width, 1 + width / 2 % 3);
    for (int i = 0; i < n; i++) mem_free(requests[i].allowed);
}

static void test_equal_to_alone(void **state)
{
    (void)state;
    check_equal_to_alone();
}

static void test_equal_to_alone_packed(void **state)
{
    (void)state;
    engine = engines[1];
    check_equal_to_alone();
    engine = engines[0];
}

/* ---- refusals ----------------------------------------------------------------------------------------------- */

static void refused(struct alula_batch_options o, const char *field)
{
    struct alula_error e;
    struct alula_batch *b;
    assert_false(alula_batch_create(&b, engine, &o, &e));
    assert_int_equal(e.code, ALULA_USAGE);
    assert_non_null(strstr(e.message, field));
}

static void test_refusals(void **state)
{
    (void)state;
    struct alula_error e;
    struct alula_batch *a, *b;
    struct alula_session *s, *t, *none;
    struct alula_session_options o = alula_session_defaults();
    o.n_ctx = CTX;
    refused((struct alula_batch_options){.n_threads = -1}, "n_threads");
    refused((struct alula_batch_options){.max_sessions = 65}, "max_sessions");
    refused((struct alula_batch_options){.prompt_rows = -1}, "prompt_rows");
    assert_ok(
        alula_batch_create(&a, engine, &(struct alula_batch_options){.n_threads = 1, .max_sessions = 1}, &e),
        e);
    assert_ok(alula_batch_create(&b, engine, &(struct alula_batch_options){.n_threads = 1}, &e), e);
    o.batch = a;
    assert_ok(alula_session_create(&s, engine, &o, &e), e);
    assert_false(alula_session_create(&none, engine, &o, &e));
    assert_int_equal(e.code, ALULA_LIMIT);
    assert_false(alula_session_create(&none, engines[1], &o, &e));
    assert_int_equal(e.code, ALULA_MISMATCH);
    o.batch = b;
    o.depth = 2;
    o.draft_whole = true;
    assert_false(alula_session_create(&none, engine, &o, &e));
    assert_int_equal(e.code, ALULA_UNSUPPORTED);
    o.draft_whole = false;
    assert_ok(alula_session_create(&t, engine, &o, &e), e);
    assert_ok(alula_session_begin(s, words, 5, &e), e);
    /* nothing to say; another batch's; twice; and one in order */
    struct alula_turn turns[] = {{.session = t}, {.session = t}};
    alula_batch_step(b, turns, 2);
    assert_true(turns[0].failed && turns[1].failed);
    turns[1] = (struct alula_turn){.session = s, .read_max = 5};
    alula_batch_step(b, turns, 2);
    assert_true(turns[1].failed);
    alula_batch_step(a, &turns[1], 1);
    assert_false(turns[1].failed);
    assert_int_equal(turns[1].step.n_tokens, 1);
    alula_session_free(s);
    assert_ok(
        alula_session_create(&s, engine,
                             &(struct alula_session_options){
                                 .batch = a, .n_ctx = CTX, .sampling = {.top_p = 1, .repetition_penalty = 1}},
                             &e),
        e);
    alula_session_free(s);
    alula_session_free(t);
    alula_batch_free(a);
    alula_batch_free(b);
}

/* What is asked before a session is made covers its keys and values, and grows by them alone. */
static void test_bytes(void **state)
{
    (void)state;
    const struct config *c = model_config(engine->model);
    size_t some = alula_session_bytes(engine, 1000, 0), more = alula_session_bytes(engine, 2000, 0);
    int n_full = 0;
    for (int i = 0; i < c->n_layers; i++) n_full += c->layer_types[i] == LAYER_FULL_ATTENTION;
    size_t kv =
        1000 * (size_t)n_full * 2 * (size_t)(c->n_kv_heads * c->head_dim) * 2; /* at 2 bytes or more */
    assert_true(more - some >= kv && more - some <= 4 * kv);
    assert_true(alula_session_bytes(engine, 1000, 3) > some);
    struct alula_batch_options few = {.n_threads = 1, .max_sessions = 1}, many = {.n_threads = 1};
    size_t row = (size_t)c->vocab * sizeof(float);
    assert_true(alula_batch_bytes(engine, &few) > 512 * (size_t)c->hidden * 8);
    assert_true(alula_batch_bytes(engine, NULL) >= alula_batch_bytes(engine, &many));
    assert_true(alula_batch_bytes(engine, &many) - alula_batch_bytes(engine, &few) >= 7 * row);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal_to_alone),
        cmocka_unit_test(test_equal_to_alone_packed),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_bytes),
    };
    return cmocka_run_group_tests(tests, open_engine, close_engine);
}
