/* The scheduler over the bundled model: answers do not depend on who is served beside them, nobody waits for a client,
 * nothing is held by who is gone, and what cannot be is refused with numbers. */
#include "tests/engine_rig.h"
#include "tests/support.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "serve/scheduler.h"

#define N_CTX 2048

static const struct alula_sampling greedy = {.top_p = 1, .repetition_penalty = 1};

/* ---- a scheduler and its clients ----------------------------------------------------------------------------------------- */

static struct scheduler_options options(void)
{
    return (struct scheduler_options){.model = "tiny",
                                      .n_threads = 1,
                                      .parallel = 4,
                                      .queue = 32,
                                      .n_ctx = N_CTX,
                                      .depth = ALULA_DEPTH_AUTO,
                                      .memory = 4 * scheduler_request_bytes(engine, N_CTX, ALULA_DEPTH_AUTO)};
}

static struct scheduler *open_scheduler(struct scheduler_options o)
{
    struct alula_error e;
    struct scheduler *s;
    bool ok = scheduler_create(&s, engine, &o, &e);
    assert_ok(ok, e);
    return s;
}

static void close_scheduler(struct scheduler *s)
{
    struct scheduler_stats t;
    scheduler_stop(s);
    scheduler_describe(s, &t);
    assert_int_equal(t.open, 0);
    scheduler_free(s);
}

struct client {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool asleep;
    struct job *job;
    struct buf out;
    int status;
};

static void on_wait(void *arg) { ((struct client *)arg)->asleep = true; }

static void on_wake(void *arg)
{
    struct client *c = arg;
    pthread_mutex_lock(&c->lock);
    c->asleep = false;
    pthread_cond_signal(&c->changed);
    pthread_mutex_unlock(&c->lock);
}

static void sleep_until_woken(struct client *c)
{
    pthread_mutex_lock(&c->lock);
    while (c->asleep) pthread_cond_wait(&c->changed, &c->lock);
    pthread_mutex_unlock(&c->lock);
}

static bool submit_to(struct scheduler *s, struct client *c, const char *body, int fd, int *retry,
                      struct alula_error *e)
{
    struct request r;
    *c = (struct client){.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    const struct job_client jc = {on_wait, on_wake, c, fd};
    request_init(&r, &dialect_chat, &greedy);
    r.body = json_parse(body, strlen(body), REQUEST_JSON_DEPTH, "the test", e);
    assert_ok(r.body != NULL, *e);
    bool ok = dialect_chat.read(&r, r.body, e);
    assert_ok(ok, *e);
    return scheduler_submit(s, &r, "ab", &jc, &c->job, retry, e);
}

static void submit(struct scheduler *s, struct client *c, const char *body)
{
    struct alula_error e;
    int retry;
    bool ok = submit_to(s, c, body, -1, &retry, &e);
    assert_ok(ok, e);
}

/* Takes bytes until there are at least n, or until all are there. True: that was all. */
static bool read_up_to(struct client *c, size_t n)
{
    size_t len;
    char block[4096];
    while (!(c->status = job_status(c->job, &len))) sleep_until_woken(c);
    while (c->out.len < n) {
        long got = job_read(c->job, block, sizeof block);
        if (got < 0) return true;
        if (!got) sleep_until_woken(c);
        buf_add(&c->out, block, (size_t)got);
    }
    return false;
}

static void leave(struct client *c)
{
    job_leave(c->job);
    buf_free(&c->out);
}

static void finish(struct client *c) { assert_true(read_up_to(c, SIZE_MAX)); }

/* What the only choice of a plain reply says, reasoning and content; free with mem_free. */
static json_t *reply_of(struct client *c)
{
    struct alula_error e;
    finish(c);
    json_t *v = json_parse(c->out.data, c->out.len, 64, "the reply", &e);
    assert_ok(v != NULL, e);
    leave(c);
    return v;
}

static json_t *choices(const json_t *reply) { return json_object_get(reply, "choices"); }

static json_t *ask(struct scheduler *s, const char *body)
{
    struct client c;
    submit(s, &c, body);
    return reply_of(&c);
}

static int64_t number(const json_t *reply, const char *object, const char *key)
{
    return json_integer_value(json_object_get(json_object_get(reply, object), key));
}

static int64_t cached(const json_t *reply) { return number(reply, "alula", "cached_tokens"); }

/* Waits for something that another thread brings about; a test that waits in vain is ended by the runner. */
static void pause_shortly(void) { nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL); }

static void wait_until_idle(struct scheduler *s)
{
    struct scheduler_stats t;
    do {
        pause_shortly();
        scheduler_describe(s, &t);
    } while (t.running || t.waiting || t.memory_used);
}

/* ---- the same answer in any company --------------------------------------------------------------------------------------- */

enum { N_MIXED = 12 };

/* Prompts and answers of many lengths, drawn and greedy, at several depths, free and constrained. */
static void mixed_body(struct buf *out, int i)
{
    static const char *const more[] = {"", ", \"temperature\": 1, \"seed\": 5", ", \"depth\": 3",
                                       ", \"response_format\": {\"type\": \"json_object\"}"};
    buf_clear(out);
    buf_fmt(out, "{\"max_tokens\": %d%s, \"messages\": [{\"role\": \"user\", \"content\": \"",
            3 + 7 * (i % 5), more[i % 4]);
    for (int k = 0; k < 1 + i * i * 5; k++) buf_fmt(out, "word%d ", k % 13);
    buf_str(out, "Say cat.\"}]}");
}

static void answers_are_the_same_in_any_company(void **state)
{
    (void)state;
    json_t *alone[N_MIXED];
    struct client c[N_MIXED];
    struct buf body = {0};
    struct scheduler_options o = options();
    struct scheduler *s = open_scheduler(o);
    for (int i = 0; i < N_MIXED; i++) {
        mixed_body(&body, i);
        alone[i] = ask(s, body.data);
    }
    close_scheduler(s);
    o.cache_memory = (size_t)64 << 20;
    s = open_scheduler(o);
    for (int round = 0; round < 2; round++) { /* the second finds prompts in the cache */
        for (int i = 0; i < N_MIXED; i++) {
            mixed_body(&body, i);
            submit(s, &c[i], body.data);
        }
        for (int i = 0; i < N_MIXED; i++) {
            json_t *v = reply_of(&c[i]);
            if (!json_equal(choices(v), choices(alone[i])))
                fail_msg("request %d: %s\nalone: %s", i, json_dumps(choices(v), 0),
                         json_dumps(choices(alone[i]), 0));
            json_decref(v);
        }
    }
    wait_until_idle(s);
    close_scheduler(s);
    for (int i = 0; i < N_MIXED; i++) json_decref(alone[i]);
    buf_free(&body);
}

/* Choice i of n is what a request with seed + i gets. */
static const char *content_of(const json_t *reply)
{
    return json_string_value(
        json_object_get(json_object_get(json_array_get(choices(reply), 0), "message"), "content"));
}

static int64_t counted(const struct histogram *h)
{
    int64_t n = 0;
    for (int i = 0; i <= HISTOGRAM_BOUNDS; i++) n += h->counts[i];
    return n;
}

/* Each answered request is counted once in each, each token but an answer's first in one; text and sums agree. */
static void histograms_count_what_there_was(void **state)
{
    (void)state;
    struct scheduler *s = open_scheduler(options());
    struct scheduler_stats t;
    struct buf text = {0};
    for (int i = 0; i < 3; i++)
        json_decref(ask(s, "{\"n\": 2, \"seed\": 4, \"temperature\": 1, \"max_tokens\": 20, \"messages\": "
                           "[{\"role\": \"user\", \"content\": "
                           "\"In the beginning God\"}]}"));
    wait_until_idle(s);
    scheduler_describe(s, &t);
    assert_int_equal(t.finished, 3);
    const struct histogram *of_requests[] = {&t.queue, &t.first_token, &t.whole, &t.prompt};
    for (int i = 0; i < 4; i++) assert_int_equal(counted(of_requests[i]), 3);
    assert_int_equal(t.prompt.sum, t.prompt_tokens);
    assert_true(t.queue.sum <= t.first_token.sum && t.first_token.sum <= t.whole.sum);
    assert_true(counted(&t.between) <= t.completion_tokens - 6 && counted(&t.between) > 0);
    assert_true(t.between.sum <= 2 * t.whole.sum);
    scheduler_write_metrics(s, &text);
    assert_non_null(
        strstr(text.data, "\nalula_request_seconds_bucket{le=\"+Inf\"} 3\nalula_request_seconds_sum "));
    assert_non_null(strstr(text.data, "\nalula_request_seconds_count 3\n"));
    buf_free(&text);
    close_scheduler(s);
}

/* A value at a bound is within it, one beyond all is in the last bucket alone, and buckets add up. */
static void a_histogram_is_cumulative(void **state)
{
    (void)state;
    struct histogram h = {0};
    struct buf out = {0};
    histogram_add(&h, histogram_tokens, 8, 1);
    histogram_add(&h, histogram_tokens, 9, 2);
    histogram_add(&h, histogram_tokens, 1e9, 1);
    histogram_write(&h, histogram_tokens, "x", "Help.", &out);
    assert_non_null(strstr(
        out.data, "# HELP x Help.\n# TYPE x histogram\nx_bucket{le=\"8\"} 1\nx_bucket{le=\"16\"} 3\n"));
    assert_non_null(strstr(
        out.data, "x_bucket{le=\"1048576\"} 3\nx_bucket{le=\"+Inf\"} 4\nx_sum 1000000026\nx_count 4\n"));
    buf_free(&out);
}

/* An answer that is given back in part goes on as it went on. */
static void a_begun_answer_goes_on(void **state)
{
    (void)state;
    struct scheduler *s = open_scheduler(options());
    struct buf body = {0};
    static const char form[] =
        "{\"enable_thinking\": false, \"max_tokens\": %d, \"messages\": [{\"role\": \"user\", "
        "\"content\": \"In the beginning God\"}";
    buf_fmt(&body, form, 24);
    buf_str(&body, "]}");
    json_t *whole = ask(s, body.data);
    const char *text = content_of(whole);
    const char *cut = strchr(text + strlen(text) / 3, ' ');
    assert_non_null(cut);
    buf_clear(&body);
    buf_fmt(&body, form, 6);
    buf_str(&body, ", {\"role\": \"assistant\", \"content\": ");
    json_write_str(&body, text, (size_t)(cut - text));
    buf_str(&body, "}], \"continue_final_message\": true}");
    json_t *rest = ask(s, body.data);
    assert_true(strlen(content_of(rest)) > 6);
    assert_memory_equal(content_of(rest), cut, strlen(content_of(rest)));
    json_decref(whole);
    json_decref(rest);
    buf_free(&body);
    close_scheduler(s);
}

static void several_choices_are_several_seeds(void **state)
{
    (void)state;
    static const char form[] =
        "{\"max_tokens\": 20, \"temperature\": 1.5, \"seed\": %d, \"n\": %d, \"messages\": [{\"role\": "
        "\"user\", \"content\": \"Say cat.\"}]}";
    char body[256];
    struct scheduler_options o = options();
    o.cache_memory = (size_t)64 << 20;
    struct scheduler *s = open_scheduler(o);
    snprintf(body, sizeof body, form, 7, 3);
    json_t *all = ask(s, body);
    assert_int_equal(json_array_size(choices(all)), 3);
    int64_t tokens = 0;
    for (int i = 0; i < 3; i++) {
        snprintf(body, sizeof body, form, 7 + i, 1);
        json_t *one = ask(s, body);
        assert_true(json_equal(json_object_get(json_array_get(choices(all), (size_t)i), "message"),
                               json_object_get(json_array_get(choices(one), 0), "message")));
        tokens += number(one, "usage", "completion_tokens");
        json_decref(one);
    }
    assert_int_equal(number(all, "usage", "completion_tokens"), tokens);
    json_decref(all);
    close_scheduler(s);
}

/* Each turn reads what is new in it, and little else. */
static void a_conversation_is_read_once(void **state)
{
    (void)state;
    struct buf body = {0};
    struct scheduler_options o = options();
    o.cache_memory = (size_t)64 << 20;
    struct scheduler *s = open_scheduler(o);
    int64_t before = 0;
    buf_str(&body, "{\"max_tokens\": 8, \"messages\": [{\"role\": \"system\", \"content\": \"");
    for (int i = 0; i < 300; i++) buf_fmt(&body, "word%d ", i % 13);
    buf_str(&body, "\"}");
    for (int turn = 0; turn < 4; turn++) {
        buf_str(&body, ", {\"role\": \"user\", \"content\": \"Say cat.\"}");
        size_t len = body.len;
        buf_str(&body, "]}");
        json_t *v = ask(s, body.data);
        int64_t prompt = number(v, "usage", "prompt_tokens");
        /* all of the last turn's prompt but its last few tokens, which ask for the answer */
        if (turn && cached(v) < before - 16)
            fail_msg("turn %d: %jd of %jd tokens cached", turn, cached(v), prompt);
        assert_int_equal(cached(v) > 0, turn > 0);
        before = prompt;
        json_decref(v);
        body.len = len;
        buf_str(&body, ", {\"role\": \"assistant\", \"content\": \"cat\"}");
    }
    close_scheduler(s);
    buf_free(&body);
}

/* ---- fairness, and clients of all kinds ------------------------------------------------------------------------------------ */

/* One token a chunk, and no end of its own. */
#define LONG_ANSWER(n)                                                                                       \
    "{\"stream\": true, \"max_tokens\": " #n                                                                 \
    ", \"depth\": 0, \"temperature\": 1, \"seed\": 3, \"logit_bias\": "                                      \
    "{\"2039\": -100, \"2041\": -100}, \"messages\": [{\"role\": \"user\", \"content\": \"Say cat.\"}]}"
#define SHORT_ANSWER "{\"max_tokens\": 2, \"messages\": [{\"role\": \"user\", \"content\": \"Say cat.\"}]}"

static void a_long_prompt_does_not_stop_a_short_one(void **state)
{
    (void)state;
    struct buf body = {0};
    struct client slow, quick;
    struct scheduler *s = open_scheduler(options());
    buf_str(&body,
            "{\"stream\": true, \"max_tokens\": 2, \"messages\": [{\"role\": \"user\", \"content\": \"");
    for (int i = 0; i < 850; i++) buf_fmt(&body, "word%d ", i % 13);
    buf_str(&body, "\"}]}");
    submit(s, &slow, body.data);
    submit(s, &quick, SHORT_ANSWER);
    json_decref(reply_of(&quick));
    read_up_to(&slow, 1);
    assert_null(strstr(slow.out.data, "reasoning_content")); /* still reading */
    finish(&slow);
    assert_non_null(strstr(slow.out.data, "reasoning_content"));
    leave(&slow);
    close_scheduler(s);
    buf_free(&body);
}

/* Whoever does not read holds up himself alone. */
static void a_slow_reader_pauses_his_own_answer(void **state)
{
    (void)state;
    struct client slow;
    struct scheduler_stats t;
    struct scheduler *s = open_scheduler(options());
    /* long chunks, so that few tokens are many bytes */
    submit(s, &slow,
           "{\"stream\": true, \"depth\": 0, \"max_tokens\": 400, \"logprobs\": true, \"top_logprobs\": 20, "
           "\"logit_bias\": {\"2039\": -100, \"2041\": -100}, \"messages\": [{\"role\": \"user\", "
           "\"content\": \"Say "
           "cat.\"}]}");
    do {
        pause_shortly();
        scheduler_describe(s, &t);
    } while (!t.paused);
    json_decref(ask(s, SHORT_ANSWER));
    scheduler_describe(s, &t);
    assert_true(t.paused == 1 && t.running == 1 && t.finished == 1);
    finish(&slow);
    assert_non_null(strstr(slow.out.data, "data: [DONE]"));
    leave(&slow);
    wait_until_idle(s);
    close_scheduler(s);
}

static void who_leaves_is_dropped(void **state)
{
    (void)state;
    struct client c[4], stays;
    struct scheduler_stats t;
    struct scheduler *s = open_scheduler(options());
    for (int i = 0; i < 4; i++) submit(s, &c[i], LONG_ANSWER(1900));
    submit(s, &stays, SHORT_ANSWER); /* waits, for four are running */
    for (int i = 0; i < 4; i++) {
        read_up_to(&c[i], (size_t)i * 1000);
        leave(&c[i]);
    }
    json_decref(reply_of(&stays));
    wait_until_idle(s);
    scheduler_describe(s, &t);
    assert_int_equal(t.cancelled, 4);
    assert_int_equal(t.finished, 1);
    close_scheduler(s);
}

/* Nobody tells that the client of a suspended connection has gone; its socket does. */
static void a_hang_up_is_seen(void **state)
{
    (void)state;
    struct alula_error e;
    struct client c;
    int pair[2], retry;
    struct scheduler_stats t;
    struct scheduler *s = open_scheduler(options());
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    bool ok = submit_to(s, &c, LONG_ANSWER(1900), pair[0], &retry, &e);
    assert_ok(ok, e);
    read_up_to(&c, 2000);
    close(pair[1]);
    finish(&c); /* it is ended from the other side */
    leave(&c);
    close(pair[0]);
    wait_until_idle(s);
    scheduler_describe(s, &t);
    assert_int_equal(t.cancelled, 1);
    close_scheduler(s);
}

/* ---- limits ---------------------------------------------------------------------------------------------------------------- */

static void a_full_queue_says_when_to_come_again(void **state)
{
    (void)state;
    struct alula_error e;
    struct client c[3], more;
    int retry = -1;
    struct scheduler_options o = options();
    o.parallel = 1;
    o.queue = 2;
    struct scheduler *s = open_scheduler(o);
    for (int i = 0; i < 3; i++) submit(s, &c[i], LONG_ANSWER(1900));
    assert_false(submit_to(s, &more, SHORT_ANSWER, -1, &retry, &e));
    assert_int_equal(e.code, ALULA_BUSY);
    assert_true(retry >= 1);
    assert_non_null(strstr(e.message, "3 requests"));
    scheduler_drain(s);
    assert_false(submit_to(s, &more, SHORT_ANSWER, -1, &retry, &e));
    assert_int_equal(e.code, ALULA_BUSY);
    assert_int_equal(retry, 0);
    for (int i = 0; i < 3; i++) leave(&c[i]);
    close_scheduler(s);
}

/* Memory for one session: requests take turns, and all get through. */
static void memory_is_reserved(void **state)
{
    (void)state;
    struct client c[3];
    struct scheduler_stats t;
    struct scheduler_options o = options();
    o.memory = scheduler_request_bytes(engine, N_CTX, ALULA_DEPTH_AUTO);
    struct scheduler *s = open_scheduler(o);
    static const char whole[] =
        "{\"messages\": [{\"role\": \"user\", \"content\": \"Say cat.\"}]}"; /* all of the context */
    for (int i = 0; i < 3; i++) submit(s, &c[i], whole);
    for (int i = 0; i < 3; i++) {
        scheduler_describe(s, &t);
        assert_true(t.running <= 1 && t.memory_used <= t.memory);
        json_decref(reply_of(&c[i]));
    }
    wait_until_idle(s);
    close_scheduler(s);
}

/* What an answer says takes memory until its client has it, and log-probabilities take much. */
static void answers_are_reserved_until_they_are_taken(void **state)
{
    (void)state;
    struct client c;
    struct scheduler_stats t;
    struct alula_error e;
    int retry;
    static const char short_rows[] =
        "{\"max_tokens\": 4, \"logprobs\": true, \"top_logprobs\": 20, \"messages\": "
        "[{\"role\": \"user\", \"content\": \"Say cat.\"}]}",
                      long_rows[] = "{\"max_tokens\": 1900, \"logprobs\": true, \"top_logprobs\": 20, "
                                    "\"messages\": [{\"role\": \"user\", \"content\": \"Say cat.\"}]}";
    struct scheduler_options o = options();
    o.memory = scheduler_request_bytes(engine, N_CTX, ALULA_DEPTH_AUTO);
    struct scheduler *s = open_scheduler(o);
    submit(s, &c, short_rows);
    do scheduler_describe(s, &t);
    while (!t.finished);
    assert_true(t.memory_used > 4 * 21 * 100 && t.memory_used < o.memory / 2);
    json_decref(reply_of(&c));
    wait_until_idle(s);
    assert_false(submit_to(s, &c, long_rows, -1, &retry, &e));
    assert_int_equal(e.code, ALULA_LIMIT);
    assert_non_null(strstr(e.message, "log-probabilities"));
    close_scheduler(s);
}

static void what_never_fits_is_refused_with_numbers(void **state)
{
    (void)state;
    struct alula_error e;
    struct client c;
    struct buf body = {0};
    int retry;
    struct scheduler *s = open_scheduler(options());
    buf_str(&body, "{\"messages\": [{\"role\": \"user\", \"content\": \"");
    for (int i = 0; i < 9000; i++) buf_str(&body, "word ");
    buf_str(&body, "\"}]}");
    assert_false(submit_to(s, &c, body.data, -1, &retry, &e));
    assert_int_equal(e.code, ALULA_LIMIT);
    assert_non_null(strstr(e.message, "2048"));
    assert_false(submit_to(
        s, &c, "{\"logit_bias\": {\"999999\": 1}, \"messages\": [{\"role\": \"user\", \"content\": \"x\"}]}",
        -1, &retry, &e));
    assert_non_null(strstr(e.message, "999999"));
    /* what was asked for is cut to what there is, and said */
    json_t *v =
        ask(s, "{\"max_tokens\": 100000, \"messages\": [{\"role\": \"user\", \"content\": \"Say cat.\"}]}");
    assert_int_equal(number(v, "alula", "max_tokens") + number(v, "usage", "prompt_tokens"), N_CTX);
    json_decref(v);
    close_scheduler(s);
    buf_free(&body);
}

static void time_runs_out(void **state)
{
    (void)state;
    struct client plain, stream;
    struct scheduler_options o = options();
    o.timeout_s = 0.05;
    o.parallel = 1;
    struct scheduler *s = open_scheduler(o);
    submit(s, &stream, LONG_ANSWER(1900));
    submit(s, &plain, SHORT_ANSWER); /* waits for the other, and longer than it may */
    finish(&stream);
    assert_int_equal(stream.status, 200); /* it was said before */
    assert_non_null(strstr(stream.out.data, "longer than the server allows"));
    leave(&stream);
    finish(&plain);
    assert_true(plain.status == 504 || plain.status == 200);
    leave(&plain);
    close_scheduler(s);
}

/* Clients of a server that ends are told, and may still read it. */
static void an_end_is_told(void **state)
{
    (void)state;
    struct client c[6];
    struct scheduler_options o = options();
    struct scheduler *s = open_scheduler(o);
    for (int i = 0; i < 6; i++) submit(s, &c[i], i % 2 ? SHORT_ANSWER : LONG_ANSWER(1900));
    scheduler_stop(s);
    for (int i = 0; i < 6; i++) {
        finish(&c[i]);
        assert_true(c[i].status == 200 || c[i].status == 503);
        leave(&c[i]);
    }
    scheduler_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_the_same_in_any_company),
        cmocka_unit_test(histograms_count_what_there_was),
        cmocka_unit_test(a_histogram_is_cumulative),
        cmocka_unit_test(a_begun_answer_goes_on),
        cmocka_unit_test(several_choices_are_several_seeds),
        cmocka_unit_test(a_conversation_is_read_once),
        cmocka_unit_test(a_long_prompt_does_not_stop_a_short_one),
        cmocka_unit_test(a_slow_reader_pauses_his_own_answer),
        cmocka_unit_test(who_leaves_is_dropped),
        cmocka_unit_test(a_hang_up_is_seen),
        cmocka_unit_test(a_full_queue_says_when_to_come_again),
        cmocka_unit_test(memory_is_reserved),
        cmocka_unit_test(answers_are_reserved_until_they_are_taken),
        cmocka_unit_test(what_never_fits_is_refused_with_numbers),
        cmocka_unit_test(time_runs_out),
        cmocka_unit_test(an_end_is_told),
    };
    return cmocka_run_group_tests(tests, open_donor, close_engine);
}
