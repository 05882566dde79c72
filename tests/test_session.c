/* Sessions through the public interface: what ends an answer and where its text ends, turns, limits, and
 * every way to be refused. */
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "decode/decode_internal.h"
#include "tests/engine_rig.h"
#include "tests/support.h"

#define TEXT_MAX 8192

struct answer {
    int32_t tokens[1024];
    int n;
    char text[TEXT_MAX];
    size_t len;
    enum alula_finish finish;
    int stop;
};

static struct alula_session *session_open(const struct alula_engine *g, struct alula_session_options o)
{
    struct alula_error e;
    struct alula_session *s;
    o.n_threads = 1;
    assert_ok(alula_session_create(&s, g, &o, &e), e);
    return s;
}

static void prompt(struct alula_session *s, const int32_t *ids, size_t n)
{
    struct alula_error e;
    assert_ok(alula_session_prompt(s, ids, n, NULL, NULL, &e), e);
}

/* Steps to the end. Every step allocates nothing and shows whole characters. */
static void finish_answer(struct alula_session *s, struct answer *a)
{
    struct alula_error e;
    struct alula_step step;
    a->n = 0;
    a->len = 0;
    do {
        uint64_t before = mem_count();
        assert_ok(alula_session_step(s, &step, &e), e);
        assert_int_equal(mem_count(), before);
        assert_int_equal(utf8_valid_len(step.text, step.text_len), step.text_len);
        for (int i = 0; i < step.n_tokens; i++) /* each token's text ends where the next one's begins */
            assert_true(step.text_ends[i] >= (i ? step.text_ends[i - 1] : 0) &&
                        step.text_ends[i] <= step.text_len);
        assert_true(a->len + step.text_len < TEXT_MAX && a->n + step.n_tokens <= 1024);
        memcpy(a->tokens + a->n, step.tokens, (size_t)step.n_tokens * sizeof *step.tokens);
        memcpy(a->text + a->len, step.text, step.text_len);
        a->n += step.n_tokens;
        a->len += step.text_len;
    } while (step.finish == ALULA_RUNNING);
    a->text[a->len] = '\0';
    a->finish = step.finish;
    a->stop = step.stop;
}

static void answer(const struct alula_engine *g, struct alula_session_options o, const int32_t *ids, size_t n,
                   struct answer *a)
{
    struct alula_session *s = session_open(g, o);
    prompt(s, ids, n);
    finish_answer(s, a);
    alula_session_free(s);
}

static struct alula_session_options options(int depth, int max_tokens)
{
    struct alula_session_options o = alula_session_defaults();
    o.depth = depth;
    o.n_ctx = 1024;
    o.max_tokens = max_tokens;
    return o;
}

static int32_t *ids_of(const char *text, size_t *ret_n)
{
    struct alula_error e;
    int32_t *ids;
    assert_ok(alula_tokenize(engine, text, strlen(text), true, &ids, ret_n, &e), e);
    return ids;
}

static const char verse[] = "And it came to pass in those days, that";

/* ---- what is said ------------------------------------------------------------------------------- */

/* The text of the steps is the text of the tokens, at every depth. */
static void test_text_is_the_text_of_the_tokens(void **state)
{
    (void)state;
    size_t n, len;
    int32_t *ids = ids_of(verse, &n);
    struct answer plain, a;
    answer(engine, options(0, 40), ids, n, &plain);
    assert_int_equal(plain.n, 40);
    assert_int_equal(plain.finish, ALULA_LENGTH);
    for (int depth = 0; depth <= ALULA_DEPTH_MAX; depth += 2) {
        struct alula_error e;
        char *text;
        answer(engine, options(depth, 40), ids, n, &a);
        assert_int_equal(a.n, 40);
        assert_memory_equal(a.tokens, plain.tokens, 40 * sizeof *a.tokens);
        assert_ok(alula_detokenize(engine, a.tokens, 40, true, &text, &len, &e), e);
        assert_string_equal(a.text, text);
        alula_free(text);
    }
    alula_free(ids);
}

/* A mask that allows one token at each place dictates the answer, drafts and all. */
struct dictation {
    const int32_t *ids;
    size_t n;
    uint32_t words[256];
};

static const uint32_t *dictate(void *arg, const int32_t *said, size_t n)
{
    struct dictation *d = arg;
    assert_memory_equal(said, d->ids, (n < d->n ? n : d->n) * sizeof *said);
    memset(d->words, 0, sizeof d->words);
    int32_t id = d->ids[n < d->n ? n : d->n - 1];
    d->words[id / 32] |= 1u << (id % 32);
    return d->words;
}

static void dictated(const char *text, const char *const *stop, int n_stop, int depth, struct answer *a)
{
    struct dictation d = {0};
    size_t n;
    int32_t *ids = ids_of(text, &d.n), *before = ids_of(verse, &n);
    d.ids = ids;
    struct alula_session_options o = options(depth, (int)d.n);
    o.mask = dictate;
    o.mask_arg = &d;
    o.stop = stop;
    o.n_stop = n_stop;
    o.sampling.temperature = depth % 2 ? 1 : 0;
    answer(engine, o, before, n, a);
    alula_free(ids);
    alula_free(before);
}

static void test_mask_dictates_and_characters_stay_whole(void **state)
{
    (void)state;
    static const char text[] = "\xe6\x97\xa5\xe6\x9c\xac \xc3\xa9t\xc3\xa9 \xf0\x9f\xaa\xb6 plain";
    struct answer a;
    for (int depth = 0; depth <= 4; depth++) {
        dictated(text, NULL, 0, depth, &a);
        assert_string_equal(a.text, text);
        assert_int_equal(a.finish, ALULA_LENGTH);
    }
}

/* max_tokens ends the answer inside a character: what was held becomes U+FFFD, it is not lost. */
static void test_cut_character_is_replaced(void **state)
{
    (void)state;
    struct dictation d = {0};
    struct answer a;
    size_t n;
    int32_t *ids = ids_of("\xf0\x9f\xaa\xb6", &d.n), *before = ids_of(verse, &n);
    assert_true(d.n >= 3); /* a token for each byte, or nearly so */
    d.ids = ids;
    struct alula_session_options o = options(3, 2);
    o.mask = dictate;
    o.mask_arg = &d;
    answer(engine, o, before, n, &a);
    assert_int_equal(a.n, 2);
    assert_string_equal(a.text, "\xef\xbf\xbd");
    alula_free(ids);
    alula_free(before);
}

/* Packed weights in fast mode, the default: the text hangs on neither depth, threads nor chunks, greedy or drawn. */
static void test_fast_mode_is_as_exact(void **state)
{
    (void)state;
    struct alula_error e;
    struct alula_engine *g;
    struct alula_engine_info info;
    struct answer plain, a;
    int32_t ids[50];
    assert_ok(alula_engine_open(&g, data_path("mtplx/golden/tiny-mtplx"), NULL, &e), e);
    alula_engine_describe(g, &info);
    assert_false(info.exact);
    for (int i = 0; i < 50; i++) ids[i] = (i * 37 + 11) % (info.vocab - 60);
    for (int hot = 0; hot < 2; hot++)
        for (int depth = 0; depth <= ALULA_DEPTH_MAX; depth++) {
            struct alula_session *s;
            struct alula_session_options o = options(depth, 60);
            o.n_threads = 1 + depth % 3;
            o.ignore_stop_ids = true;
            o.sampling.temperature = hot;
            o.sampling.seeded = true;
            assert_ok(session_create_chunked(&s, g, &o, depth % 2 ? 7 : 512, &e), e);
            prompt(s, ids, 50);
            finish_answer(s, depth ? &a : &plain);
            assert_memory_equal(depth ? a.tokens : plain.tokens, plain.tokens, 60 * sizeof(int32_t));
            alula_session_free(s);
        }
    alula_engine_close(g);
}

/* ---- what ends it ------------------------------------------------------------------------------- */

/* Any piece of an answer, taken as a stop text, ends it right before that piece: across tokens, inside a
 * run of accepted drafts. */
static void test_stop_text_ends_at_the_right_byte(void **state)
{
    (void)state;
    static const char text[] = "The lights of the harbour, the lights of the town; nothing stirs.";
    struct answer a;
    for (size_t at = 4; at + 6 < strlen(text); at += 5)
        for (size_t len = 1; len <= 9; len += 4) {
            char stop[16] = {0};
            memcpy(stop, text + at, len);
            const char *stops[] = {"never said", stop};
            size_t want = (size_t)(strstr(text, stop) - text);
            int tokens = -1;
            for (int depth = 0; depth <= 6; depth += 3) {
                dictated(text, stops, 2, depth, &a);
                assert_int_equal(a.finish, ALULA_STOP);
                assert_int_equal(a.stop, 1);
                assert_int_equal(a.len, want);
                assert_memory_equal(a.text, text, want);
                if (tokens >= 0) assert_int_equal(a.n, tokens);
                tokens = a.n;
            }
        }
}

/* What only begins like a stop text is held back, and given out at the end. */
static void test_unfinished_stop_text_is_given_out(void **state)
{
    (void)state;
    struct answer a;
    const char *stops[] = {"</answer>"};
    dictated("so be it </answ", stops, 1, 3, &a);
    assert_string_equal(a.text, "so be it </answ");
    assert_int_equal(a.finish, ALULA_LENGTH);
}

/* A stop id ends the answer, is no part of it, and stays in the timeline; told to, the session goes on
 * behind it. */
static void test_stop_ids(void **state)
{
    (void)state;
    struct alula_error e;
    json_t *root = json_parse_file("models/expected.json", 1 << 26, 32, &e);
    assert_ok(root, e);
    const json_t *cases = json_object_get(json_object_get(root, "trunk+donor head"), "cases");
    int seen = 0;
    for (size_t i = 0; i < json_array_size(cases) && seen < 3; i++) {
        const json_t *c = json_array_get(cases, i), *p = json_object_get(c, "prompt"),
                     *g = json_object_get(c, "greedy");
        int32_t ids[600];
        size_t n = json_array_size(p), want = json_array_size(g);
        if (want == 72 || n > 100) continue; /* 72 without a stop id */
        seen++;
        for (size_t k = 0; k < n; k++) ids[k] = (int32_t)json_integer_value(json_array_get(p, k));
        for (int depth = 0; depth <= 6; depth += 2) {
            struct answer a;
            struct alula_session *s = session_open(engine, options(depth, 0));
            size_t said;
            prompt(s, ids, n);
            finish_answer(s, &a);
            assert_int_equal(a.finish, ALULA_STOP);
            assert_int_equal(a.stop, -1);
            assert_int_equal(a.n, want - 1);
            const int32_t *all = alula_session_tokens(s, &said);
            assert_int_equal(said, n + want);
            for (size_t k = 0; k < want; k++)
                assert_int_equal(all[n + k], json_integer_value(json_array_get(g, k)));
            alula_session_free(s);
            struct alula_session_options o = options(depth, (int)want + 5);
            o.ignore_stop_ids = true;
            answer(engine, o, ids, n, &a);
            assert_int_equal(a.n, want + 5);
            assert_int_equal(a.finish, ALULA_LENGTH);
        }
    }
    assert_int_equal(seen, 3);
    json_decref(root);
}

/* The context's end and max_tokens end an answer at the very token, whatever the depth. */
static void test_limits(void **state)
{
    (void)state;
    size_t n;
    int32_t *ids = ids_of(verse, &n);
    struct answer plain, a;
    answer(engine, options(0, 30), ids, n, &plain);
    for (int depth = 0; depth <= ALULA_DEPTH_MAX; depth++)
        for (int room = 1; room <= 12; room += depth ? 5 : 1) {
            struct alula_session_options o = options(depth, 0);
            o.n_ctx = (int)n + room;
            answer(engine, o, ids, n, &a);
            assert_int_equal(a.n, room);
            assert_int_equal(a.finish, ALULA_LENGTH);
            assert_memory_equal(a.tokens, plain.tokens, (size_t)room * sizeof *a.tokens);
            answer(engine, options(depth, room), ids, n, &a);
            assert_int_equal(a.n, room);
            assert_memory_equal(a.tokens, plain.tokens, (size_t)room * sizeof *a.tokens);
        }
    alula_free(ids);
}

/* ---- turns
 * ---------------------------------------------------------------------------------------------------------
 */

/* A second prompt goes on where the answer stopped (its last token unread, or cut out of an accepted run by
 * a stop text): the next answer is the one that a fresh session gives to all of it. */
static void test_turns_equal_one_prompt(void **state)
{
    (void)state;
    size_t n, more;
    int32_t *ids = ids_of(verse, &n), *next = ids_of(" And the king said,", &more);
    struct answer first, a, b;
    answer(engine, options(0, 30), ids, n, &first);
    char stop[4] = {0};
    memcpy(stop, first.text + first.len / 2, 3);
    for (int depth = 0; depth <= 6; depth += 3)
        for (int cut = 0; cut < 2; cut++) {
            struct alula_session_options o = options(depth, 17);
            const char *stops[] = {stop};
            o.stop = stops;
            o.n_stop = cut;
            o.sampling.repetition_penalty = 1.2;
            struct alula_session *s = session_open(engine, o);
            prompt(s, ids, n);
            finish_answer(s, &a);
            prompt(s, next, more);
            size_t said;
            int32_t all[256];
            const int32_t *t = alula_session_tokens(s, &said);
            assert_int_equal(said, n + (size_t)a.n + more);
            memcpy(all, t, said * sizeof *all);
            assert_memory_equal(all, ids, n * sizeof *all);
            assert_memory_equal(all + n + a.n, next, more * sizeof *all);
            finish_answer(s, &a);
            alula_session_free(s);
            answer(engine, o, all, said, &b);
            assert_int_equal(a.n, b.n);
            assert_memory_equal(a.tokens, b.tokens, (size_t)a.n * sizeof *a.tokens);
            assert_string_equal(a.text, b.text);
        }
    alula_free(ids);
    alula_free(next);
}

static bool stop_at_16(void *arg, size_t done, size_t total)
{
    (void)total;
    *(size_t *)arg = done;
    return done < 16;
}

/* A cancelled prompt keeps what it read; the rest may follow, and the answer is the same. */
static void test_cancelled_prompt_goes_on(void **state)
{
    (void)state;
    struct alula_error e;
    size_t n, done = 0;
    int32_t *ids = ids_of(
        "And it came to pass in those days, that there went out a decree from the king of the land", &n);
    struct alula_session_options o = options(3, 20);
    struct alula_session *s;
    struct alula_step step;
    struct answer a, b;
    assert_true(n > 20);
    answer(engine, o, ids, n, &b);
    assert_ok(session_create_chunked(&s, engine, &o, 8, &e), e);
    assert_false(alula_session_prompt(s, ids, n, stop_at_16, &done, &e));
    assert_int_equal(e.code, ALULA_CANCELLED);
    assert_int_equal(done, 16);
    assert_false(alula_session_step(s, &step, &e));
    assert_int_equal(e.code, ALULA_USAGE);
    prompt(s, ids + 16, n - 16);
    finish_answer(s, &a);
    assert_int_equal(a.n, b.n);
    assert_memory_equal(a.tokens, b.tokens, (size_t)a.n * sizeof *a.tokens);
    alula_session_free(s);
    alula_free(ids);
}

/* ---- seeds and counters ------------------------------------------------------------------------- */

static void test_seeds(void **state)
{
    (void)state;
    size_t n;
    int32_t *ids = ids_of(verse, &n);
    struct answer a, b;
    struct alula_session_options o = options(3, 30);
    o.sampling.temperature = 1.2;
    o.sampling.seeded = true;
    o.sampling.seed = 4;
    answer(engine, o, ids, n, &a);
    o.depth = 1;
    answer(engine, o, ids, n, &b); /* coupled by default: the depth does not matter */
    assert_int_equal(a.n, b.n);
    assert_memory_equal(a.tokens, b.tokens, (size_t)a.n * sizeof *a.tokens);
    o.sampling.seed = 5;
    answer(engine, o, ids, n, &b);
    assert_true(a.n != b.n || memcmp(a.tokens, b.tokens, (size_t)a.n * sizeof *a.tokens) != 0);
    o.sampling.law = ALULA_LAW_REJECTION; /* repeatable at one depth */
    answer(engine, o, ids, n, &a);
    answer(engine, o, ids, n, &b);
    assert_int_equal(a.n, b.n);
    assert_memory_equal(a.tokens, b.tokens, (size_t)a.n * sizeof *a.tokens);
    o.sampling.seeded = false;
    answer(engine, o, ids, n, &a);
    answer(engine, o, ids, n, &b);
    assert_true(a.n != b.n || memcmp(a.tokens, b.tokens, (size_t)a.n * sizeof *a.tokens) != 0);
    alula_free(ids);
}

static void test_counters(void **state)
{
    (void)state;
    size_t n;
    int32_t *ids = ids_of(verse, &n);
    struct answer a;
    struct alula_stats st;
    struct alula_session *s = session_open(engine, options(3, 40));
    for (int turn = 0; turn < 2; turn++) {
        prompt(s, ids, n);
        finish_answer(s, &a);
        alula_session_stats(s, &st);
        assert_int_equal(st.prompt_tokens, n);
        assert_int_equal(st.tokens, a.n);
        int64_t kept = 1;
        for (int d = 0; d < 3; d++) {
            assert_true(st.drafted[d] >= st.tested[d] && st.tested[d] >= st.accepted[d]);
            /* The last cycle may have no use for a further draft. */
            int64_t most = d ? st.accepted[d - 1] : st.drafted[0];
            assert_true(st.tested[d] <= most && st.tested[d] >= most - 1);
            kept += st.accepted[d];
        }
        assert_int_equal(st.drafted[3], 0);
        assert_true(kept + st.cycles >= 40 && st.accepted[0] > 0);
        assert_true(st.prefill_s > 0 && st.decode_s >= st.draft_s + st.verify_s + st.accept_s + st.repair_s);
    }
    alula_session_free(s);
    alula_free(ids);
}

/* The engine's draft vocabulary: chosen by number or by list, stop and special ids always in it; sessions
 * may leave it aside. */
static void test_draft_vocabulary(void **state)
{
    (void)state;
    struct alula_error e;
    struct alula_engine *g;
    struct alula_engine_info info;
    struct answer plain, a;
    struct alula_stats st;
    size_t n;
    int32_t *ids = ids_of(verse, &n);
    answer(engine, options(0, 40), ids, n, &plain);
    struct alula_engine_options o = {.mtp = "models/tiny-donor", .draft_vocab = 600, .draft_bits = 4};
    assert_ok(alula_engine_open(&g, "models/tiny-trunk", &o, &e), e);
    alula_engine_describe(g, &info);
    assert_in_range(info.draft_vocab, 601, 700);
    for (int whole = 0; whole < 2; whole++) {
        struct alula_session_options so = options(3, 40);
        so.draft_whole = whole;
        struct alula_session *s = session_open(g, so);
        prompt(s, ids, n);
        finish_answer(s, &a);
        assert_int_equal(a.n, 40);
        assert_memory_equal(a.tokens, plain.tokens, sizeof(int32_t) * 40);
        alula_session_stats(s, &st);
        int held = 0;
        for (int i = 0; i < a.n; i++) held += whole || draft_vocab_has(g->drafts, a.tokens[i]);
        assert_int_equal(st.covered, held);
        assert_true(whole ? held == 40 : held < 40 && held > 10);
        alula_session_free(s);
    }
    for (int i = 0; i < info.n_stop_ids; i++) assert_true(draft_vocab_has(g->drafts, info.stop_ids[i]));
    alula_engine_close(g);
    o = (struct alula_engine_options){
        .mtp = "models/tiny-donor", .draft_ids = (int32_t[]){9, 8}, .n_draft_ids = 2};
    assert_ok(alula_engine_open(&g, "models/tiny-trunk", &o, &e), e);
    alula_engine_describe(g, &info);
    assert_int_equal(info.draft_vocab, 2 + info.n_stop_ids);
    answer(g, options(2, 40), ids, n, &a);
    assert_memory_equal(a.tokens, plain.tokens, sizeof(int32_t) * 40);
    alula_engine_close(g);
    g = NULL;
    o.n_draft_ids = -1;
    assert_false(alula_engine_open(&g, "models/tiny-trunk", &o, &e));
    assert_non_null(strstr(e.message, "n_draft_ids is -1"));
    o = (struct alula_engine_options){.mtp = "models/tiny-donor", .draft_vocab = 5000};
    assert_false(alula_engine_open(&g, "models/tiny-trunk", &o, &e));
    assert_non_null(strstr(e.message, "draft_vocab is 5000, expected 0 (all) to 2048"));
    assert_null(g);
    alula_free(ids);
}

/* ---- refusals
 * ---------------------------------------------------------------------------------------------------------
 */

static void expect_refused(const struct alula_engine *g, struct alula_session_options o, enum alula_code code,
                           const char *word)
{
    struct alula_error e;
    struct alula_session *s = NULL;
    o.n_threads = o.n_threads ? o.n_threads : 1;
    assert_false(alula_session_create(&s, g, &o, &e));
    assert_null(s);
    if (e.code != code || !strstr(e.message, word))
        fail_msg("code %d, \"%s\"; expected %s", (int)e.code, e.message, word);
}

static void test_bad_options_are_named(void **state)
{
    (void)state;
    struct alula_error e;
    struct alula_engine *bare, *none = NULL;
    struct alula_engine_options both = {.no_mtp = true, .mtp = "models/tiny-donor"},
                                no_mtp = {.no_mtp = true};
    struct alula_session_options o = options(0, 0);
    o.depth = 8, expect_refused(engine, o, ALULA_USAGE, "depth is 8, expected 0 to 7"), o = options(0, 0);
    o.depth = -2, expect_refused(engine, o, ALULA_USAGE, "depth is -2"), o = options(0, 0);
    o.n_ctx = 1 << 24, expect_refused(engine, o, ALULA_LIMIT, "n_ctx is 16777216"), o = options(0, 0);
    o.n_threads = -1, expect_refused(engine, o, ALULA_USAGE, "n_threads is -1"), o = options(0, 0);
    o.max_tokens = -1, expect_refused(engine, o, ALULA_USAGE, "max_tokens is -1"), o = options(0, 0);
    o.sampling.top_p = 2, expect_refused(engine, o, ALULA_USAGE, "top_p is 2"), o = options(0, 0);
    o.stop = (const char *[]){""}, o.n_stop = 1,
    expect_refused(engine, o, ALULA_USAGE, "stop text 0 is empty");
    assert_false(alula_engine_open(&none, "models/tiny-trunk", &both, &e));
    assert_int_equal(e.code, ALULA_USAGE);
    assert_null(none);
    for (int i = 0; i < 2; i++) { /* a trunk without a head, a donor whose head is left aside */
        struct alula_engine_info info;
        assert_ok(
            alula_engine_open(&bare, i ? "models/tiny-donor" : "models/tiny-trunk", i ? &no_mtp : NULL, &e),
            e);
        alula_engine_describe(bare, &info);
        assert_false(info.has_mtp);
        expect_refused(bare, options(1, 0), ALULA_UNSUPPORTED, "depth is 1, but the model has no MTP head");
        struct alula_session *s = session_open(bare, options(ALULA_DEPTH_AUTO, 3));
        prompt(s, (int32_t[]){5, 6, 7}, 3);
        struct answer a;
        finish_answer(s, &a);
        assert_int_equal(a.n, 3);
        alula_session_free(s);
        alula_engine_close(bare);
    }
}

static void expect_prompt_refused(struct alula_session *s, const int32_t *ids, size_t n, enum alula_code code,
                                  const char *word)
{
    struct alula_error e;
    assert_false(alula_session_prompt(s, ids, n, NULL, NULL, &e));
    if (e.code != code || !strstr(e.message, word))
        fail_msg("code %d, \"%s\"; expected %s", (int)e.code, e.message, word);
}

static void test_bad_prompts_change_nothing(void **state)
{
    (void)state;
    struct alula_error e;
    struct alula_step step;
    struct alula_session_options o = options(2, 5);
    o.n_ctx = 20;
    struct alula_session *s = session_open(engine, o);
    int32_t ids[32], bad[3] = {5, 99999, 6}, negative[1] = {-1};
    size_t said;
    for (int i = 0; i < 32; i++) ids[i] = 300 + i;
    assert_false(alula_session_step(s, &step, &e));
    assert_int_equal(e.code, ALULA_USAGE);
    expect_prompt_refused(s, ids, 0, ALULA_USAGE, "the prompt is empty");
    expect_prompt_refused(s, bad, 3, ALULA_USAGE, "token 1 of the prompt is 99999, expected 0 to 2047");
    expect_prompt_refused(s, negative, 1, ALULA_USAGE, "token 0 of the prompt is -1");
    expect_prompt_refused(s, ids, 20, ALULA_LIMIT, "the prompt has 20 tokens, but the context holds 20");
    alula_session_tokens(s, &said);
    assert_int_equal(said, 0);
    struct answer a;
    prompt(s, ids, 10);
    finish_answer(s, &a);
    assert_int_equal(a.n, 5);
    assert_false(alula_session_step(s, &step, &e));
    assert_int_equal(e.code, ALULA_USAGE);
    expect_prompt_refused(s, ids, 5, ALULA_LIMIT,
                          "the prompt has 5 tokens, but of the context's 20 only 5 are free");
    alula_session_tokens(s, &said);
    assert_int_equal(said, 15);
    prompt(s, ids, 4);
    finish_answer(s, &a);
    assert_int_equal(a.n, 1);
    assert_int_equal(a.finish, ALULA_LENGTH);
    alula_session_free(s);
}

/* Memory that runs out at any point of creation is one clear error, and nothing is lost. */
static void test_creation_without_memory(void **state)
{
    (void)state;
    struct alula_session_options o = options(3, 5);
    o.n_threads = 1;
    o.sampling.temperature = 1;
    o.stop = (const char *[]){"stop", "halt"};
    o.n_stop = 2;
    int failures = 0;
    for (bool ok = false; !ok; failures++) {
        struct alula_error e = {0};
        struct alula_session *s = NULL;
        mem_fail_after(failures);
        ok = alula_session_create(&s, engine, &o, &e);
        mem_fail_after(-1);
        if (!ok) assert_int_equal(e.code, ALULA_NOMEM);
        alula_session_free(s);
    }
    assert_true(failures > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_is_the_text_of_the_tokens),
        cmocka_unit_test(test_fast_mode_is_as_exact),
        cmocka_unit_test(test_mask_dictates_and_characters_stay_whole),
        cmocka_unit_test(test_cut_character_is_replaced),
        cmocka_unit_test(test_stop_text_ends_at_the_right_byte),
        cmocka_unit_test(test_unfinished_stop_text_is_given_out),
        cmocka_unit_test(test_stop_ids),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_turns_equal_one_prompt),
        cmocka_unit_test(test_cancelled_prompt_goes_on),
        cmocka_unit_test(test_seeds),
        cmocka_unit_test(test_counters),
        cmocka_unit_test(test_draft_vocabulary),
        cmocka_unit_test(test_bad_options_are_named),
        cmocka_unit_test(test_bad_prompts_change_nothing),
        cmocka_unit_test(test_creation_without_memory),
    };
    return cmocka_run_group_tests(tests, open_graft, close_engine);
}
