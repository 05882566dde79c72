/* The speculative cycle: transcripts of the original, text equal to plain decoding's bit for bit, state
 * equal to a replay after every pattern of acceptance, and no allocation. */
#include <string.h>

#include "decode/batch.h"
#include "tests/model_rig.h"

/* A timeline with its cycle and a batch of one, as a session has them, but for models that come without a
 * tokenizer. */
struct player {
    struct batch batch;
    struct sampler *sampler;
    struct timeline t;
    struct speculator s;
    struct cycle last;
    int chunk;
};

/* Drafts of all players come from this, if it is set. */
static struct draft_vocab *drafts;

static struct alula_sampling greedy(void)
{
    return (struct alula_sampling){.top_p = 1, .repetition_penalty = 1};
}

static void player_open(struct player *p, const struct model *m, int depth, int threads, int chunk,
                        struct alula_sampling set)
{
    struct alula_error e;
    memset(p, 0, sizeof *p);
    p->chunk = chunk;
    assert_ok(batch_create(&p->batch, m, depth ? drafts : NULL, threads, chunk + VERIFY_ROWS_MAX, 1, &e), e);
    assert_ok(sampler_create(&p->sampler, model_config(m)->vocab, &set, &e), e);
    assert_ok(timeline_create(&p->t, m, RIG_CTX + 100, depth != 0, &e), e);
    p->s.timeline = &p->t;
    p->s.sampler = p->sampler;
    p->s.law = (struct law){set.law ? set.law : ALULA_LAW_COUPLED, set.seed};
    p->s.drafts = depth ? drafts : NULL;
    depth_init(&p->s.depth, depth);
    assert_ok(speculator_create(&p->s, &e), e);
}

static void player_close(struct player *p)
{
    speculator_free(&p->s);
    timeline_free(&p->t);
    sampler_free(p->sampler);
    batch_free(&p->batch);
}

static void player_read(struct player *p, const int32_t *ids, int n)
{
    sampler_read(p->sampler, ids, (size_t)n);
    sampler_begin(p->sampler);
    timeline_append(&p->t, ids, (size_t)n);
    while (timeline_unread(&p->t) > 0) {
        int unread = timeline_unread(&p->t);
        struct seat seat = {.speculator = &p->s, .n_read = unread < p->chunk ? unread : p->chunk};
        batch_run(&p->batch, &seat, 1);
    }
    p->s.answer = p->t.len;
}

/* One cycle of at most max tokens, nothing kept yet. */
static bool player_cycle(struct player *p, int max, struct alula_error *e)
{
    struct seat seat = {.speculator = &p->s, .error = e};
    speculator_begin(&p->s, max);
    batch_run(&p->batch, &seat, 1);
    p->last = p->s.cycle;
    return !seat.failed;
}

/* One cycle, all of it kept. Returns its tokens' number. */
static int player_step(struct player *p, int max)
{
    struct alula_error e;
    uint64_t before = mem_count();
    assert_ok(player_cycle(p, max, &e), e);
    speculator_keep(&p->s, p->last.n_tokens);
    assert_int_equal(mem_count(), before); /* the token loop allocates nothing */
    return p->last.n_tokens;
}

/* Decodes n tokens behind the prompt into out. */
static void player_text(struct player *p, const int32_t *prompt, int n_prompt, int32_t *out, int n)
{
    player_read(p, prompt, n_prompt);
    for (int got = 0; got < n;) got += player_step(p, n - got);
    memcpy(out, p->t.ids + n_prompt, (size_t)n * sizeof *out);
}

/* Token i of a text that means nothing. */
static int32_t babble(int i, int vocab) { return (int32_t)((7919u * (unsigned)i + 13u) % (unsigned)vocab); }

/* ---- against the original ----------------------------------------------------------------------- */

enum { ORACLE_TOKENS = 48 };

static void check_cycle(struct player *p, const json_t *cycle, int n_prompt, const json_t *table)
{
    int32_t guesses[8], emitted[8];
    int at = (int)json_integer_value(json_object_get(cycle, "primary_index"));
    int n_drafts = json_ints(json_object_get(cycle, "drafts"), guesses, 8);
    int n = json_ints(json_object_get(cycle, "emitted"), emitted, 8);
    assert_int_equal(p->t.len, n_prompt + at + 1);
    assert_int_equal(player_step(p, ORACLE_TOKENS - at - 1), n);
    assert_int_equal(p->last.n_drafted, n_drafts);
    assert_int_equal(p->last.n_accepted, json_integer_value(json_object_get(cycle, "accepted")));
    for (int i = 0; i < n_drafts; i++) {
        assert_int_equal(p->s.q[i].ids[0], guesses[i]);
        assert_int_equal(guesses[i],
                         json_integer_value(json_array_get(json_array_get(table, (size_t)at), (size_t)i)));
    }
    assert_memory_equal(p->t.ids + n_prompt + at + 1, emitted, (size_t)n * sizeof *emitted);
}

static void check_transcript(const struct rig *g, const json_t *o, const json_t *transcript,
                             const int32_t *prompt, int n_prompt)
{
    struct player p;
    int32_t by_depth[8];
    int depth = (int)json_integer_value(json_object_get(transcript, "depth"));
    const json_t *cycles = json_object_get(transcript, "cycles");
    player_open(&p, g->model, depth, 1, 16, greedy());
    player_read(&p, prompt, n_prompt);
    player_step(&p, ORACLE_TOKENS);
    for (size_t i = 0; i < json_array_size(cycles); i++)
        check_cycle(&p, json_array_get(cycles, i), n_prompt, json_object_get(o, "draft_table"));
    assert_int_equal(p.t.len, n_prompt + ORACLE_TOKENS);
    assert_int_equal(json_ints(json_object_get(transcript, "drafted_by_depth"), by_depth, 8), depth);
    for (int i = 0; i < depth; i++) assert_int_equal(p.s.stats.drafted[i], by_depth[i]);
    json_ints(json_object_get(transcript, "accepted_by_depth"), by_depth, 8);
    for (int i = 0; i < depth; i++) assert_int_equal(p.s.stats.accepted[i], by_depth[i]);
    assert_int_equal(p.s.stats.cycles, json_integer_value(json_object_get(transcript, "verify_calls")));
    player_close(&p);
}

/* Forces drafts: right ones up to `right`, then wrong ones; -1 leaves the head alone. */
struct script {
    const int32_t *text; /* the whole timeline as plain decoding has it */
    int begin, right, vocab;
};

static int32_t scripted(void *arg, int place)
{
    const struct script *s = arg;
    if (s->right < 0) return -1;
    return place - s->begin < s->right ? s->text[place] : (s->text[place] + 1) % s->vocab;
}

/* What the head drafts depends on the text alone, not on the way there: any acceptance before leaves the
 * cache the same. */
static void check_draft_table(const struct rig *g, const json_t *table, const int32_t *text, int n_prompt)
{
    struct player p;
    struct script script = {.text = text, .vocab = g->c->vocab};
    player_open(&p, g->model, 3, 1, 64, greedy());
    p.s.force = scripted;
    p.s.force_arg = &script;
    player_read(&p, text, n_prompt);
    player_step(&p, 1);
    for (int turn = 0; p.t.len < n_prompt + ORACLE_TOKENS - 4; turn++) {
        script.begin = p.t.len;
        script.right = turn % 5 - 1; /* in turn: left alone, 0, 1, 2, 3 right */
        int at = p.t.len - n_prompt - 1;
        player_step(&p, 8);
        int64_t first = json_integer_value(json_array_get(json_array_get(table, (size_t)at), 0));
        assert_int_equal(p.s.q[0].ids[0], first);
        for (size_t i = 1; script.right < 0 && i < 3; i++)
            assert_int_equal(p.s.q[i].ids[0],
                             json_integer_value(json_array_get(json_array_get(table, (size_t)at), i)));
        if (script.right >= 0) assert_int_equal(p.last.n_accepted, script.right);
    }
    player_close(&p);
}

static void test_transcripts_of_the_original(void **state)
{
    (void)state;
    struct rig g;
    rig_open(&g, data_path("oracle-f32"), NULL);
    rig_passes(&g, NULL, 1, 8);
    json_t *root = expected_json(data_path("oracle-f32/expected.json"));
    const char *key;
    json_t *o;
    int seen = 0;
    json_object_foreach(json_object_get(root, "speculative"), key, o)
    {
        int32_t text[256];
        int n = json_ints(json_object_get(json_object_get(root, "prompts"), key), text, 128);
        const json_t *plain =
            json_object_get(json_object_get(json_object_get(root, "greedy"), key), "tokens");
        assert_true(json_ints(plain, text + n, 128) >= ORACLE_TOKENS);
        for (size_t i = 0; i < 3; i++)
            check_transcript(&g, o, json_array_get(json_object_get(o, "transcripts"), i), text, n);
        check_draft_table(&g, json_object_get(o, "draft_table"), text, n);
        seen++;
    }
    assert_int_equal(seen, 2);
    json_decref(root);
    rig_passes_end(&g);
    rig_close(&g);
}

static void check_golden(const struct rig *g, const json_t *o, const int32_t *prompt, int n_prompt)
{
    int32_t want[64], got[64], by_depth[8];
    assert_int_equal(json_ints(json_object_get(o, "ar_tokens"), want, 64), 64);
    for (int depth = 0; depth <= 3; depth++) {
        struct player p;
        char key[32];
        player_open(&p, g->model, depth, 1, 64, greedy());
        player_text(&p, prompt, n_prompt, got, 64);
        assert_memory_equal(got, want, sizeof want);
        snprintf(key, sizeof key, "committed.d%d", depth);
        const json_t *counts = json_object_get(json_object_get(o, "mtp"), key);
        assert_true(depth == 0 || counts);
        for (int i = 0; i < depth; i++) {
            json_ints(json_object_get(counts, "drafted_by_depth"), by_depth, 8);
            assert_int_equal(p.s.stats.drafted[i], by_depth[i]);
            json_ints(json_object_get(counts, "accepted_by_depth"), by_depth, 8);
            assert_int_equal(p.s.stats.accepted[i], by_depth[i]);
        }
        if (depth)
            assert_int_equal(p.s.stats.cycles, json_integer_value(json_object_get(counts, "verify_calls")));
        player_close(&p);
    }
}

/* An artifact that MTPLX forged: its text, and its counts with committed history. */
static void test_counts_of_mtplx(void **state)
{
    (void)state;
    struct rig g;
    rig_open(&g, data_path("mtplx/golden/tiny-mtplx"), NULL);
    rig_passes(&g, NULL, 1, 8);
    json_t *root = expected_json(data_path("mtplx/golden/expected.json"));
    const char *key;
    json_t *o;
    json_object_foreach(json_object_get(root, "text"), key, o)
    {
        int32_t prompt[128];
        int n = json_ints(json_object_get(json_object_get(root, "prompts"), key), prompt, 128);
        assert_true(n > 0);
        check_golden(&g, o, prompt, n);
    }
    json_decref(root);
    rig_passes_end(&g);
    rig_close(&g);
}

/* ---- against plain decoding --------------------------------------------------------------------- */

static void check_equal_text(const struct rig *g, int n_prompt, int n_text, int depth, int threads, int chunk,
                             struct alula_sampling set, const int32_t *plain)
{
    struct player p;
    int32_t prompt[RIG_CTX], text[128];
    for (int i = 0; i < n_prompt; i++) prompt[i] = babble(i, g->c->vocab);
    player_open(&p, g->model, depth, threads, chunk, set);
    player_text(&p, prompt, n_prompt, text, n_text);
    if (memcmp(text, plain, (size_t)n_text * sizeof *text) != 0)
        fail_msg("prompt of %d, depth %d, %d threads, chunks of %d: not the text of plain decoding", n_prompt,
                 depth, threads, chunk);
    player_close(&p);
}

static void plain_text(const struct rig *g, int n_prompt, int n_text, struct alula_sampling set,
                       int32_t *text)
{
    struct player p;
    int32_t prompt[RIG_CTX];
    for (int i = 0; i < n_prompt; i++) prompt[i] = babble(i, g->c->vocab);
    player_open(&p, g->model, 0, 1, 512, set);
    player_text(&p, prompt, n_prompt, text, n_text);
    player_close(&p);
}

static void check_folder(const char *trunk, const char *head, const int *lengths, int n_lengths, int n_text)
{
    struct rig g;
    int32_t plain[128];
    rig_open(&g, trunk, head);
    rig_passes(&g, NULL, 1, 8);
    struct alula_sampling hot = greedy();
    hot.temperature = 0.9;
    hot.top_k = 40;
    hot.top_p = 0.95;
    hot.presence_penalty = 0.3;
    hot.repetition_penalty = 1.1;
    hot.seed = 5;
    for (int i = 0; i < n_lengths; i++) {
        struct alula_sampling set = i % 2 ? hot : greedy();
        plain_text(&g, lengths[i], n_text, set, plain);
        /* Long prompts take their time: two depths have to do. */
        for (int depth = 1; depth <= ALULA_DEPTH_MAX; depth += lengths[i] > 100 ? 5 : 1)
            check_equal_text(&g, lengths[i], n_text, depth, 1 + (depth + i) % 3, depth % 2 ? 512 : 61, set,
                             plain);
        if (lengths[i] < 100) check_equal_text(&g, lengths[i], n_text, ALULA_DEPTH_AUTO, 1, 7, set, plain);
    }
    rig_passes_end(&g);
    rig_close(&g);
}

/* Greedy, and sampled by the coupled law with penalties: the same tokens at every depth, thread count and
 * chunking. */
static void test_text_equals_plain_text_tiny(void **state)
{
    (void)state;
    check_folder("models/tiny-trunk", "models/tiny-donor", (int[]){1, 17, 600}, 3, 20);
    check_folder("models/tiny-donor", NULL, (int[]){30, 2}, 2, 16);
}

static void test_text_equals_plain_text_random(void **state)
{
    (void)state;
    check_folder(data_path("oracle-f32"), NULL, (int[]){1, 3, 64, 511, 5}, 5, 24);
}

/* Drafts from a part of the vocabulary, by a head of its own: none from outside, the same text. */
static void check_draft_vocab(const struct rig *g, int first, int bits)
{
    struct alula_error e;
    int32_t ids[2048], plain[40];
    struct player p;
    int n = 0;
    for (int id = first; id > 0; id--) ids[n++] = id - 1; /* any order */
    ids[n++] = g->c->vocab - 1;
    ids[n++] = 0; /* twice */
    assert_ok(draft_vocab_create(&drafts, &g->weights->lm_head, ids, n, bits, &e), e);
    assert_int_equal(drafts->n, first + 1);
    assert_true(draft_vocab_has(drafts, 0) && draft_vocab_has(drafts, g->c->vocab - 1) &&
                !draft_vocab_has(drafts, first));
    struct alula_sampling set = greedy();
    for (int hot = 0; hot < 2; hot++) {
        set.temperature = 0.8 * hot;
        plain_text(g, 9, 40, set, plain);
        check_equal_text(g, 9, 40, 3, 2, 512, set, plain);
        check_equal_text(g, 9, 40, ALULA_DEPTH_AUTO, 1, 512, set, plain);
        player_open(&p, g->model, 2, 1, 512, set);
        player_read(&p, plain, 20);
        for (int i = 0; i < 10; i++) {
            player_step(&p, 8);
            for (int d = 0; d < p.last.n_drafted; d++)
                for (int k = 0; k < p.s.q[d].n; k++) assert_true(draft_vocab_has(drafts, p.s.q[d].ids[k]));
        }
        player_close(&p);
    }
    draft_vocab_free(drafts);
    drafts = NULL;
}

static void test_draft_vocabulary(void **state)
{
    (void)state;
    struct rig g;
    rig_open(&g, "models/tiny-trunk", "models/tiny-donor");
    rig_passes(&g, NULL, 1, 8);
    check_draft_vocab(&g, 700, 0);
    check_draft_vocab(&g, 300, 4);
    check_draft_vocab(&g, 1, 8);
    rig_passes_end(&g);
    rig_close(&g);
    rig_open(&g, data_path("mtplx/golden/tiny-mtplx"), NULL); /* a head that is packed already */
    rig_passes(&g, NULL, 1, 8);
    check_draft_vocab(&g, 200, 0);
    check_draft_vocab(&g, 200, 2);
    rig_passes_end(&g);
    rig_close(&g);
}

/* Rows are the LM head's own, byte for byte, unless they are packed: then no further off than a step of the
 * code. */
static void test_draft_head_rows(void **state)
{
    (void)state;
    struct alula_error e;
    struct rig g;
    float a[192], b[192];
    rig_open(&g, "models/tiny-donor", NULL);
    const struct matrix *lm = &g.weights->lm_head;
    assert_int_equal(lm->cols, 192);
    for (int bits = 0; bits <= 8; bits += 4) {
        assert_ok(draft_vocab_create(&drafts, lm, (int32_t[]){77, 5, 2047}, 3, bits, &e), e);
        for (uint32_t i = 0; i < 3; i++) {
            double range = 0;
            matrix_row_f32(lm, (uint32_t)drafts->ids[i], a);
            matrix_row_f32(&drafts->head, i, b);
            for (int k = 0; k < 192; k++) range = range > a[k] ? range : a[k] > -a[k] ? a[k] : -a[k];
            assert_close(b, a, 192, bits == 0 ? 0 : 2.1 * range / ((1 << bits) - 1), "row of the draft head");
        }
        draft_vocab_free(drafts);
    }
    drafts = NULL;
    assert_false(draft_vocab_create(&drafts, lm, (int32_t[]){5, 2048}, 2, 0, &e));
    assert_non_null(strstr(e.message, "id 1 of the draft vocabulary is 2048, expected 0 to 2047"));
    assert_false(draft_vocab_create(&drafts, lm, NULL, 0, 0, &e));
    assert_non_null(strstr(e.message, "empty"));
    assert_false(draft_vocab_create(&drafts, lm, (int32_t[]){5}, 1, 7, &e));
    assert_non_null(strstr(e.message, "draft_bits is 7"));
    assert_null(drafts);
    rig_close(&g);
}

/* ---- state after any pattern of acceptance ------------------------------------------------------ */

/* A replay reads the same tokens as a prompt; nothing in it was ever speculated. */
static void check_replay(struct player *p, const struct rig *g)
{
    struct player fresh;
    player_open(&fresh, g->model, p->t.feeds_head ? 1 : 0, 1, 512, greedy());
    player_read(&fresh, p->t.ids, p->t.len - 1);
    pass_settle(&p->batch.pass, &(struct timeline *){&p->t}, 1);
    assert_true(state_equal(p->t.state, fresh.t.state));
    assert_memory_equal(p->t.hidden, fresh.t.hidden, (size_t)g->c->hidden * sizeof(float));
    player_close(&fresh);
}

static void check_pattern(const struct rig *g, int depth, int right, int keep, const int32_t *text,
                          int n_prompt)
{
    struct alula_error e;
    struct player p;
    struct script script = {.text = text, .right = right, .vocab = g->c->vocab};
    player_open(&p, g->model, depth, 1, 512, greedy());
    p.s.force = scripted;
    p.s.force_arg = &script;
    player_read(&p, text, n_prompt);
    player_step(&p, 1);
    for (int i = 0; i < 2; i++) { /* twice: the second starts from pending rows */
        script.begin = p.t.len;
        assert_ok(player_cycle(&p, 2 * ALULA_DEPTH_MAX, &e), e);
        assert_int_equal(p.last.n_accepted, right);
        assert_int_equal(p.last.n_tokens, right + 1);
        speculator_keep(&p.s, keep < p.last.n_tokens ? keep : p.last.n_tokens);
        assert_memory_equal(p.t.ids, text, (size_t)p.t.len * sizeof *text);
    }
    check_replay(&p, g);
    player_close(&p);
}

/* All, none, every prefix accepted, at every depth; and every part of what was accepted kept, as a stop
 * leaves it. */
static void test_state_equals_replay(void **state)
{
    (void)state;
    struct rig g;
    int32_t text[RIG_CTX];
    int n_prompt = 9;
    rig_open(&g, data_path("oracle-f32"), NULL);
    rig_passes(&g, NULL, 1, 8);
    for (int i = 0; i < n_prompt; i++) text[i] = babble(i, g.c->vocab);
    plain_text(&g, n_prompt, 40, greedy(), text + n_prompt);
    for (int depth = 1; depth <= ALULA_DEPTH_MAX; depth++)
        for (int right = 0; right <= depth; right++)
            check_pattern(&g, depth, right, depth + 1, text, n_prompt);
    for (int keep = 1; keep <= 4; keep++) check_pattern(&g, 4, 4, keep, text, n_prompt);
    rig_passes_end(&g);
    rig_close(&g);
}

/* Cycles without drafts (what automatic depth does where drafts do not pay) let the head's pairs queue up,
 * more than the queue holds; the state is the same. A prompt behind an answer reads the answer's last
 * token, too. */
static void test_state_without_drafts_and_over_turns(void **state)
{
    (void)state;
    struct rig g;
    struct player p;
    int32_t prompt[9];
    rig_open(&g, data_path("oracle-f32"), NULL);
    rig_passes(&g, NULL, 1, 8);
    for (int i = 0; i < 9; i++) prompt[i] = babble(i, g.c->vocab);
    player_open(&p, g.model, 3, 1, 512, greedy());
    player_read(&p, prompt, 9);
    player_step(&p, 1);
    p.s.depth.fixed = 0;
    for (int i = 0; i < PAIRS_MAX + 7; i++) player_step(&p, 8);
    check_replay(&p, &g);
    p.s.depth.fixed = 3;
    player_step(&p, 8);
    player_read(&p, prompt, 9);
    player_step(&p, 1);
    player_step(&p, 8);
    check_replay(&p, &g);
    player_close(&p);
    rig_passes_end(&g);
    rig_close(&g);
}

/* ---- failures ----------------------------------------------------------------------------------- */

struct mask_script {
    int fail_at; /* tokens of the answer at which nothing is allowed */
    uint32_t all[64], none[64];
};

static const uint32_t *mask(void *arg, const int32_t *answer, size_t n)
{
    struct mask_script *m = arg;
    (void)answer;
    return (int)n == m->fail_at ? m->none : n % 2 ? NULL : m->all;
}

/* A place that leaves nothing to draw fails the cycle, whether a draft meets it or the target, and changes
 * nothing. */
static void test_failed_cycle_changes_nothing(void **state)
{
    (void)state;
    struct rig g;
    rig_open(&g, data_path("oracle-f32"), NULL);
    rig_passes(&g, NULL, 1, 8);
    for (int depth = 0; depth <= 3; depth++)
        for (int fail_at = 5; fail_at < 9; fail_at++) {
            struct alula_error e = {0};
            struct player p;
            struct mask_script m = {.fail_at = fail_at};
            int32_t prompt[9];
            memset(m.all, 0xff, sizeof m.all);
            for (int i = 0; i < 9; i++) prompt[i] = babble(i, g.c->vocab);
            struct alula_sampling set = greedy();
            set.frequency_penalty = 0.1;
            player_open(&p, g.model, depth, 1, 512, set);
            p.s.mask = mask;
            p.s.mask_arg = &m;
            player_read(&p, prompt, 9);
            bool ok = true;
            while ((ok = player_cycle(&p, 20, &e))) speculator_keep(&p.s, p.last.n_tokens);
            assert_int_equal(e.code, ALULA_INTERNAL);
            assert_non_null(strstr(e.message, "the mask allows no token"));
            assert_true(p.t.len <= 9 + fail_at);
            check_replay(&p, &g);
            m.fail_at = -1;
            int32_t plain[20];
            struct player q;
            player_open(&q, g.model, 0, 1, 512, set);
            player_text(&q, prompt, 9, plain, 20);
            while (p.t.len < 9 + 20) player_step(&p, 9 + 20 - p.t.len);
            assert_memory_equal(p.t.ids + 9, plain, sizeof plain);
            player_close(&q);
            player_close(&p);
        }
    rig_passes_end(&g);
    rig_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transcripts_of_the_original),
        cmocka_unit_test(test_counts_of_mtplx),
        cmocka_unit_test(test_text_equals_plain_text_tiny),
        cmocka_unit_test(test_text_equals_plain_text_random),
        cmocka_unit_test(test_draft_vocabulary),
        cmocka_unit_test(test_draft_head_rows),
        cmocka_unit_test(test_state_equals_replay),
        cmocka_unit_test(test_state_without_drafts_and_over_turns),
        cmocka_unit_test(test_failed_cycle_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
