/* Masks of tokens: equal to trying every token byte by byte, at whatever place, also after drafts were taken back; the one
 * token where there is no choice is the tokenizer's own. */
#include "tests/grammar_rig.h"
#include "text/token_mask.h"

enum { VOCAB = 2048, WORDS = VOCAB / 32, LENGTH_MAX = 300 };
static const int32_t stop_ids[] = {2041, 2039};

struct masks {
    struct token_masks *masks;
    struct token_trie trie;
    struct reader reader; /* the same grammar, to try tokens by */
};

static void masks_open(struct masks *m, const char *spec)
{
    struct alula_error e;
    struct grammar g;
    assert_ok(grammar_from_spec(&g, rig_tokenizer(), spec, strlen(spec), &e), e);
    assert_ok(token_trie_create(&m->trie, rig_tokenizer(), VOCAB, &e), e);
    assert_ok(token_masks_create(&m->masks, &g, rig_tokenizer(), &m->trie, VOCAB, stop_ids, 2, &e), e);
    reader_open(&m->reader, spec);
}

static void masks_close(struct masks *m)
{
    token_masks_free(m->masks);
    token_trie_free(&m->trie);
    reader_close(&m->reader);
}

static bool has(const uint32_t *bits, int32_t id) { return bits[id / 32] >> id % 32 & 1; }

static int count(const uint32_t *bits)
{
    int n = 0;
    for (int i = 0; i < WORDS; i++) n += __builtin_popcount(bits[i]);
    return n;
}

/* Where a token leads; PLACE_DEAD if it may not follow. */
static int32_t try_token(struct masks *m, int32_t at, int32_t id)
{
    size_t n;
    if (tokenizer_is_added(rig_tokenizer(), id)) return pushdown_token(&m->reader.p, at, id);
    const char *bytes = tokenizer_bytes(rig_tokenizer(), id, &n);
    for (size_t i = 0; i < n && at != PLACE_DEAD; i++) {
        at = pushdown_step(&m->reader.p, at, (uint8_t)bytes[i], true);
        assert_int_not_equal(at, PLACE_FULL);
    }
    return at;
}

static void check_mask(struct masks *m, int32_t at, const uint32_t *bits)
{
    bool ends = m->reader.p.places[at].ends;
    bool single = count(bits) == 1;
    for (int32_t id = 0; id < VOCAB; id++) {
        bool stop = id == stop_ids[0] || id == stop_ids[1];
        bool may = stop ? ends : try_token(m, at, id) != PLACE_DEAD;
        if (has(bits, id) ? !may : may && !single)
            fail_msg("token %d: %d, by its bytes %d", id, has(bits, id), may);
    }
    assert_true(count(bits) > 0);
}

static int32_t pick(const uint32_t *bits, uint64_t *seed)
{
    int k = (int)(rig_random(seed) % (unsigned)count(bits));
    for (int32_t id = 0;; id++)
        if (has(bits, id) && k-- == 0) return id;
}

/* A walk by random tokens; now and then one that was drafted is taken back, and others come in its place. What the cursor
 * remembers then serves: the answer is not read from its beginning again. */
static void check_walk(struct masks *m, uint64_t *seed)
{
    struct alula_error e;
    struct mask_cursor c = {0};
    int32_t answer[LENGTH_MAX], at[LENGTH_MAX + 1];
    uint32_t bits[WORDS];
    size_t n = 0;
    at[0] = reader_start(&m->reader);
    while (n < LENGTH_MAX - 1) {
        size_t first = c.first <= n ? c.first : 0;
        assert_ok(token_masks_after(m->masks, &c, answer, n, bits, &e), e);
        assert_true(c.first >= first);
        check_mask(m, at[n], bits);
        int32_t id = pick(bits, seed);
        if (id == stop_ids[0] || id == stop_ids[1]) break;
        answer[n] = id;
        at[n + 1] = try_token(m, at[n], id);
        n++;
        if (rig_random(seed) % 4 == 0) n -= rig_random(seed) % (n < 8 ? (unsigned)n + 1 : 8);
    }
}

#define SCHEMA(s) "{\"type\":\"json_schema\",\"schema\":" s "}"
static const char *const specs[] = {
    "{\"type\":\"json_object\"}",
    "{\"type\":\"json_object\",\"reasoning\":true}",
    SCHEMA("{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\",\"maxLength\":9},\"on\":{"
           "\"type\":\"boolean\"},"
           "\"l\":{\"type\":\"array\",\"items\":{\"type\":\"string\"},\"maxItems\":30}},\"required\":[\"l\"],"
           "\"additionalProperties\":{\"enum\":[\"the\",\"then\",\"there is\",7]}}"),
    SCHEMA(
        "{\"type\":\"array\",\"items\":{\"type\":\"string\",\"pattern\":\"^( the|and|[a-e]{2,5}){1,40}$\"}}"),
    SCHEMA("{\"type\":\"array\",\"minItems\":40,\"items\":{\"type\":\"string\",\"minLength\":150,"
           "\"maxLength\":300}}"),
    SCHEMA("{\"$defs\":{\"n\":{\"type\":\"array\",\"items\":{\"anyOf\":[{\"$ref\":\"#/$defs/"
           "n\"},{\"type\":\"string\"},{\"type\":"
           "\"integer\"}]},\"minItems\":1}},\"$ref\":\"#/$defs/n\"}"),
    "{\"type\":\"tools\",\"tools\":[{\"name\":\"add\",\"parameters\":{\"properties\":{\"a\":{\"type\":"
    "\"string\"},\"b\":{\"type\":"
    "[\"integer\",\"null\"]},\"o\":{\"type\":\"object\"}},\"required\":[\"a\"]}},{\"name\":\"address\"}]}",
};

static void test_equal_to_trying(void **state)
{
    (void)state;
    uint64_t seed = 3;
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) {
        struct masks m;
        masks_open(&m, specs[i]);
        for (int k = 0; k < 6; k++) check_walk(&m, &seed);
        masks_close(&m);
    }
}

/* Close to the deepest nesting, where what may be opened depends on what is open. */
static void test_deep(void **state)
{
    (void)state;
    struct masks m;
    struct alula_error e;
    struct mask_cursor c = {0};
    int32_t answer[200], bracket = tokenizer_find(rig_tokenizer(), "[", 1);
    uint32_t bits[WORDS];
    size_t n = 0;
    masks_open(&m, SCHEMA("{\"$defs\":{\"n\":{\"type\":\"array\",\"items\":{\"$ref\":\"#/$defs/"
                          "n\"}}},\"$ref\":\"#/$defs/n\"}"));
    int32_t at = reader_start(&m.reader);
    for (;; n++) {
        assert_ok(token_masks_after(m.masks, &c, answer, n, bits, &e), e);
        check_mask(&m, at, bits);
        if (!has(bits, bracket)) break;
        answer[n] = bracket;
        at = try_token(&m, at, bracket);
    }
    assert_in_range(n, 30, GRAMMAR_NEST_MAX + 2);
    masks_close(&m);
}

/* What is fixed is written in the tokens that the tokenizer makes of it, but for what may yet join with what follows. */
static void test_no_choice(void **state)
{
    (void)state;
    struct masks m;
    struct alula_error e;
    struct mask_cursor c = {0};
    int32_t answer[100], *ids;
    uint32_t bits[WORDS];
    size_t n = 0, n_ids;
    static const char text[] = "[\"the king of England\", 1984, \"and the people\"]";
    masks_open(&m, SCHEMA("{\"const\":[\"the king of England\",1984,\"and the people\"]}"));
    assert_ok(tokenizer_encode(rig_tokenizer(), text, strlen(text), false, &ids, &n_ids, &e), e);
    for (; n < n_ids; n++) {
        assert_ok(token_masks_after(m.masks, &c, answer, n, bits, &e), e);
        assert_int_equal(count(bits), 1);
        assert_true(has(bits, ids[n]));
        answer[n] = ids[n];
    }
    assert_ok(token_masks_after(m.masks, &c, answer, n, bits, &e), e);
    assert_true(count(bits) == 2 && has(bits, stop_ids[0]) && has(bits, stop_ids[1]));
    answer[n++] = stop_ids[0]; /* after a stop there is nothing else */
    assert_ok(token_masks_after(m.masks, &c, answer, n, bits, &e), e);
    assert_true(count(bits) == 2 && has(bits, stop_ids[0]));
    mem_free(ids);
    masks_close(&m);
}

/* Tokens that are none of the grammar leave nothing, and a grammar that can be read in too many ways says so. */
static void test_dead_ends(void **state)
{
    (void)state;
    struct masks m;
    struct alula_error e = {0};
    struct mask_cursor c = {0};
    int32_t answer[4200], quote = tokenizer_find(rig_tokenizer(), "\"", 1),
                          a = tokenizer_find(rig_tokenizer(), "a", 1);
    uint32_t bits[WORDS];
    masks_open(&m, SCHEMA("{\"type\":\"string\",\"pattern\":\"^a{1,999}a{1,999}a{1,999}a{1,999}a{1,999}a{1,"
                          "999}a{1,999}a{1,999}a{1,999}$\"}"));
    answer[0] = a;
    assert_ok(token_masks_after(m.masks, &c, answer, 1, bits, &e), e);
    assert_int_equal(count(bits), 0);
    c = (struct mask_cursor){0};
    bool ok = true;
    answer[0] = quote;
    for (size_t n = 1; ok && n < 4200; n++) {
        ok = token_masks_after(m.masks, &c, answer, n, bits, &e);
        answer[n] = a;
    }
    assert_false(ok);
    assert_int_equal(e.code, ALULA_LIMIT);
    assert_non_null(strstr(e.message, "too many ways"));
    masks_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal_to_trying),
        cmocka_unit_test(test_deep),
        cmocka_unit_test(test_no_choice),
        cmocka_unit_test(test_dead_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
