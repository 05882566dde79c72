/* Broken tokenizer files are refused by a sentence that names the fault; settings that are not implemented
 * are refused by name; memory may run out anywhere. Every test starts from a small tokenizer that opens:
 * small/ cut down to 260 base tokens and 4 merges. */
#include "tests/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "text/tokenizer.h"

static json_t *mini, *mini_config;
static char dir[4096];

static int set_up(void **state)
{
    (void)state;
    struct alula_error e;
    mini = json_parse_file(data_path("tokenizer/small/tokenizer.json"), 1 << 20, 16, &e);
    assert_ok(mini != NULL, e);
    mini_config = json_parse_file(data_path("tokenizer/small/tokenizer_config.json"), 1 << 20, 16, &e);
    assert_ok(mini_config != NULL, e);
    json_t *model = json_object_get(mini, "model"), *vocab = json_object_get(model, "vocab"), *id;
    json_t *merges = json_object_get(model, "merges");
    const char *key;
    void *next;
    json_object_foreach_safe(vocab, next, key, id)
    {
        if (json_integer_value(id) >= 260) json_object_del(vocab, key);
    }
    while (json_array_size(merges) > 4) json_array_remove(merges, json_array_size(merges) - 1);
    snprintf(dir, sizeof dir, "%s", scratch_dir());
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    json_decref(mini);
    json_decref(mini_config);
    return 0;
}

/* Parent and last name of a path such as "model.merges.0", whose numbers are array indices. */
static json_t *parent_of(json_t *v, const char *path, const char **last)
{
    for (const char *dot; (dot = strchr(path, '.')); path = dot + 1) {
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)(dot - path), path);
        v = json_is_array(v) ? json_array_get(v, (size_t)atoi(name)) : json_object_get(v, name);
        assert_non_null(v);
    }
    *last = path;
    return v;
}

/* Sets the value at a path; value NULL removes it; in an array the last index plus one appends. */
static void set_at(json_t *root, const char *path, const char *value)
{
    struct alula_error e;
    const char *last;
    json_t *parent = parent_of(root, path, &last);
    json_t *v = value ? json_parse(value, strlen(value), 16, "a test", &e) : NULL;
    assert_ok(v || !value, e);
    if (json_is_array(parent) && !v)
        assert_int_equal(json_array_remove(parent, (size_t)atoi(last)), 0);
    else if (json_is_array(parent) && (size_t)atoi(last) == json_array_size(parent))
        assert_int_equal(json_array_append_new(parent, v), 0);
    else if (json_is_array(parent))
        assert_int_equal(json_array_set_new(parent, (size_t)atoi(last), v), 0);
    else if (v)
        assert_int_equal(json_object_set_new(parent, last, v), 0);
    else
        assert_int_equal(json_object_del(parent, last), 0);
}

static void write_text(const char *name, const char *text, size_t n)
{
    char path[4200];
    struct alula_error e;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_ok(file_write(path, text, n, &e), e);
}

static void write_json(const char *name, const json_t *v)
{
    struct buf b;
    buf_init(&b, 0);
    json_write(&b, v, 0);
    assert_false(b.failed);
    write_text(name, b.data, b.len);
    buf_free(&b);
}

static void remove_file(const char *name)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    unlink(path);
}

static void expect_refusal(enum alula_code code, const char *part, const char *about)
{
    struct alula_error e;
    struct tokenizer *t = NULL;
    if (tokenizer_open(&t, dir, &e)) fail_msg("%s: opened", about);
    if (e.code != code || !strstr(e.message, part))
        fail_msg("%s: refused with code %d, \"%s\"; expected code %d and \"%s\"", about, e.code, e.message,
                 code, part);
    assert_null(t);
}

static struct tokenizer *expect_opening(void)
{
    struct alula_error e;
    struct tokenizer *t;
    assert_ok(tokenizer_open(&t, dir, &e), e);
    return t;
}

/* ---- one change, one sentence -------------------------------------------------------------------------- */

struct change {
    const char *path, *value;
    enum alula_code code;
    const char *part; /* of the message */
};

#define REGEX "pre_tokenizer.pretokenizers.0.pattern.Regex"

static const struct change unsupported[] = {
    {"normalizer", "null", ALULA_UNSUPPORTED, "normalizer.type is absent; only \"NFC\""},
    {"normalizer.type", "\"NFKC\"", ALULA_UNSUPPORTED, "normalizer.type is \"NFKC\"; only \"NFC\""},
    {"pre_tokenizer", "null", ALULA_UNSUPPORTED, "pre_tokenizer.type is absent"},
    {REGEX, "\"\\\\p{N}{1,3}\"", ALULA_UNSUPPORTED, REGEX " is \"\\\\p{N}{1,3}\""},
    {"pre_tokenizer.pretokenizers.0.behavior", "\"Removed\"", ALULA_UNSUPPORTED, "behavior is \"Removed\""},
    {"pre_tokenizer.pretokenizers.0.invert", "true", ALULA_UNSUPPORTED, "invert is set (true)"},
    {"pre_tokenizer.pretokenizers.1.type", "\"Digits\"", ALULA_UNSUPPORTED,
     "pretokenizers.1.type is \"Digits\""},
    {"pre_tokenizer.pretokenizers.1.use_regex", NULL, ALULA_UNSUPPORTED, "use_regex is absent; only false"},
    {"pre_tokenizer.pretokenizers.1.add_prefix_space", "true", ALULA_UNSUPPORTED, "add_prefix_space is true"},
    {"pre_tokenizer.pretokenizers.2", "{\"type\": \"Digits\"}", ALULA_UNSUPPORTED, "pretokenizers.2 is set"},
    {"post_processor.type", "\"TemplateProcessing\"", ALULA_UNSUPPORTED, "post_processor.type is \"Templ"},
    {"decoder.type", "\"WordPiece\"", ALULA_UNSUPPORTED, "decoder.type is \"WordPiece\""},
    {"truncation", "{\"max_length\": 8}", ALULA_UNSUPPORTED, "truncation is set ({\"max_length\": 8})"},
    {"padding", "{\"length\": 8}", ALULA_UNSUPPORTED, "padding is set"},
    {"model.type", "\"Unigram\"", ALULA_UNSUPPORTED, "model.type is \"Unigram\"; only \"BPE\""},
    {"model.dropout", "0.1", ALULA_UNSUPPORTED, "model.dropout is set (0.1)"},
    {"model.unk_token", "\"<unk>\"", ALULA_UNSUPPORTED, "model.unk_token is set (\"<unk>\")"},
    {"model.continuing_subword_prefix", "\"##\"", ALULA_UNSUPPORTED, "continuing_subword_prefix is set"},
    {"model.end_of_word_suffix", "\"</w>\"", ALULA_UNSUPPORTED, "end_of_word_suffix is set"},
    {"model.byte_fallback", "true", ALULA_UNSUPPORTED, "byte_fallback is set"},
    {"model.fuse_unk", "true", ALULA_UNSUPPORTED, "fuse_unk is set"},
    {"added_tokens.0.lstrip", "true", ALULA_UNSUPPORTED, "added token 2039 has lstrip true"},
    {"added_tokens.0.rstrip", "true", ALULA_UNSUPPORTED, "rstrip true"},
    {"added_tokens.0.single_word", "true", ALULA_UNSUPPORTED, "single_word true"},
    {"added_tokens.0.normalized", "true", ALULA_UNSUPPORTED, "normalized true"},
};

static const struct change broken[] = {
    {"model", NULL, ALULA_UNSUPPORTED, "model.type is absent"},
    {"model.vocab", NULL, ALULA_FORMAT, "model.vocab"},
    {"model.vocab", "[]", ALULA_FORMAT, "model.vocab"},
    {"model.vocab", "{}", ALULA_FORMAT, "no token for the byte 0x00"},
    {"model.merges", NULL, ALULA_FORMAT, "model.merges"},
    {"model.merges", "{}", ALULA_FORMAT, "model.merges"},
    {"model.ignore_merges", "3", ALULA_FORMAT, "ignore_merges"},
    {"model.vocab.a", NULL, ALULA_FORMAT, "no token for the byte 0x61"},
    {"model.vocab.a", "-1", ALULA_FORMAT, "model.vocab has \"a\": -1; ids run from"},
    {"model.vocab.a", "1048576", ALULA_FORMAT, "has \"a\": 1048576; ids run from 0 to 1048575"},
    {"model.vocab.a", "9007199254740993", ALULA_FORMAT, "has \"a\": 9007199254740993; ids"},
    {"model.vocab.a", "\"64\"", ALULA_FORMAT, "has \"a\": \"64\"; ids"},
    {"model.vocab.a", "64.0", ALULA_FORMAT, "has \"a\": 64.0; ids"},
    {"model.vocab.a", "65", ALULA_FORMAT, "the id 65 is given to two tokens"},
    {"model.vocab.a", "2040", ALULA_FORMAT, "the id 2040 is given to two tokens, one of them \"a\""},
    {"model.vocab.a b", "300", ALULA_FORMAT, "the token 300, \"a b\", does not spell"},
    {"model.vocab.\u4e2d", "300", ALULA_FORMAT, "does not spell"},
    {"model.vocab.", "300", ALULA_FORMAT, "the token 300, \"\", does not spell"},
    {"model.merges.4", "[\"a\", \"b\"]", ALULA_FORMAT, "merge 4, [\"a\", \"b\"], makes a token that"},
    {"model.merges.4", "[\"abc\", \"b\"]", ALULA_FORMAT, "merge 4, [\"abc\", \"b\"], joins a token that"},
    {"model.merges.4", "[\"b\", \"abc\"]", ALULA_FORMAT, "joins a token that"},
    {"model.merges.4", "[\"h\", \"e\"]", ALULA_FORMAT, "merge 4, [\"h\", \"e\"], is there twice"},
    {"model.merges.4", "[\"h\", \"e\", \"h\"]", ALULA_FORMAT,
     "entry 4 of model.merges is malformed: [\"h\", \"e\", \"h\"]"},
    {"model.merges.4", "[\"he\"]", ALULA_FORMAT, "entry 4 of model.merges is malformed: [\"he\"]"},
    {"model.merges.4", "[\"h\", 1]", ALULA_FORMAT, "entry 4 of model.merges is malformed: [\"h\", 1]"},
    {"model.merges.4", "[\"h\", \"\"]", ALULA_FORMAT, "is not a pair of tokens"},
    {"model.merges.4", "\"he\"", ALULA_FORMAT, "entry 4 of model.merges is malformed: \"he\""},
    {"model.merges.4", "\"h e e\"", ALULA_FORMAT, "is not a pair of tokens"},
    {"model.merges.4", "\"h \"", ALULA_FORMAT, "is not a pair of tokens"},
    {"model.merges.4", "7", ALULA_FORMAT, "entry 4 of model.merges is malformed: 7"},
    {"added_tokens", "{}", ALULA_FORMAT, "added_tokens is not an array"},
    {"added_tokens.0", "1", ALULA_FORMAT, "added_tokens[0] is not an object"},
    {"added_tokens.0.id", NULL, ALULA_FORMAT, "added_tokens[0]"},
    {"added_tokens.0.id", "-5", ALULA_FORMAT, "added_tokens[0]"},
    {"added_tokens.0.id", "1048576", ALULA_FORMAT, "added_tokens[0]"},
    {"added_tokens.0.id", "2040", ALULA_FORMAT, "two added tokens have the id 2040"},
    {"added_tokens.0.content", NULL, ALULA_FORMAT, "the added token 2039 has no text"},
    {"added_tokens.0.content", "\"\"", ALULA_FORMAT, "the added token 2039 has no text"},
    {"added_tokens.0.content", "\"<|im_end|>\"", ALULA_FORMAT, "2039 and 2041 have the same text"},
    {"added_tokens.0.special", "\"yes\"", ALULA_FORMAT, "special"},
};

static const struct change broken_config[] = {
    {"add_bos_token", "true", ALULA_UNSUPPORTED, "tokenizer_config.json: add_bos_token is set"},
    {"add_eos_token", "true", ALULA_UNSUPPORTED, "add_eos_token is set"},
    {"add_prefix_space", "true", ALULA_UNSUPPORTED, "add_prefix_space is set"},
    {"added_tokens_decoder", "[]", ALULA_FORMAT, "added_tokens_decoder is not an object"},
    {"added_tokens_decoder.x", "{\"content\": \"x\"}", ALULA_FORMAT, "\"x\" is not an id"},
    {"added_tokens_decoder.", "{\"content\": \"x\"}", ALULA_FORMAT, "\"\" is not an id"},
    {"added_tokens_decoder.99999999", "{\"content\": \"x\"}", ALULA_FORMAT, "is not an id below 1048576"},
    {"added_tokens_decoder.4294967300", "{\"content\": \"x\"}", ALULA_FORMAT, "is not an id below 1048576"},
    {"added_tokens_decoder.2050", "7", ALULA_FORMAT, "\"2050\" is not an id below 1048576 with an object"},
    {"added_tokens_decoder.2050", "{}", ALULA_FORMAT, "the added token 2050 has no text"},
    {"added_tokens_decoder.2050", "{\"content\": \"x\", \"rstrip\": true}", ALULA_UNSUPPORTED,
     "2050 has rstrip"},
    {"added_tokens_decoder.2041", "{\"content\": \"<|end|>\"}", ALULA_MISMATCH,
     "the added token 2041 is \"<|end|>\""},
    {"added_tokens_decoder.2050", "{\"content\": \"<think>\"}", ALULA_FORMAT,
     "2042 and 2050 have the same text"},
};

static void try_changes(const struct change *list, size_t n, bool in_config)
{
    for (size_t i = 0; i < n; i++) {
        json_t *root = json_deep_copy(mini), *config = json_deep_copy(mini_config);
        set_at(in_config ? config : root, list[i].path, list[i].value);
        write_json("tokenizer.json", root);
        remove_file("tokenizer_config.json");
        if (in_config) write_json("tokenizer_config.json", config);
        expect_refusal(list[i].code, list[i].part, list[i].path);
        json_decref(root);
        json_decref(config);
    }
}

static void test_unsupported_settings(void **state)
{
    (void)state;
    try_changes(unsupported, sizeof unsupported / sizeof *unsupported, false);
}

static void test_broken_members(void **state)
{
    (void)state;
    try_changes(broken, sizeof broken / sizeof *broken, false);
}

static void test_broken_config(void **state)
{
    (void)state;
    try_changes(broken_config, sizeof broken_config / sizeof *broken_config, true);
}

/* ---- the file as a whole ------------------------------------------------------------------------------- */

static void test_broken_files(void **state)
{
    (void)state;
    struct buf whole;
    buf_init(&whole, 0);
    json_write(&whole, mini, 0);
    remove_file("tokenizer_config.json");
    remove_file("tokenizer.json");
    expect_refusal(ALULA_NOT_FOUND, "tokenizer.json", "no file");
    for (size_t n = 0; n < whole.len; n += whole.len / 37 + 1) {
        write_text("tokenizer.json", whole.data, n);
        expect_refusal(ALULA_FORMAT, "tokenizer.json", "a truncated file");
    }
    write_text("tokenizer.json", "[]", 2);
    expect_refusal(ALULA_FORMAT, "not a JSON object", "an array");
    write_text("tokenizer.json", "{\"a\": \"\xff\"}", 9);
    expect_refusal(ALULA_FORMAT, "tokenizer.json", "broken UTF-8");
    write_text("tokenizer.json", "{\"a\": 1, \"a\": 1}", 16);
    expect_refusal(ALULA_FORMAT, "tokenizer.json", "a key twice");
    buf_clear(&whole);
    for (int i = 0; i < 100000; i++) buf_byte(&whole, '[');
    write_text("tokenizer.json", whole.data, whole.len);
    expect_refusal(ALULA_LIMIT, "tokenizer.json", "deep nesting");
    buf_free(&whole);
    write_json("tokenizer.json", mini);
    write_text("tokenizer_config.json", "{", 1);
    expect_refusal(ALULA_FORMAT, "tokenizer_config.json", "a truncated config");
    write_text("tokenizer_config.json", "[]", 2);
    expect_refusal(ALULA_FORMAT, "tokenizer_config.json: not a JSON object", "a config that is an array");
}

/* Faults of spelling inside the two big members, which are read by a scanner of their own. */
static const struct {
    const char *from, *to, *part;
} misspelt[] = {
    {"\"!\": 0,", "\"!\": 0", "has \"!\": 0 \"\\\"\"; ids"},
    {"\"!\": 0,", "\"!\": 0,,", "entry 1 of model.vocab is malformed: , \""},
    {"\"!\": 0,", "\"!\" 0,", "entry 0 of model.vocab is malformed: \"!\" 0"},
    {"\"!\": 0,", "! : 0,", "entry 0 of model.vocab is malformed: ! : 0"},
    {"\"!\": 0,", ",\"!\": 0,", "entry 0 of model.vocab is malformed"},
    {"\"!\": 0,", "\"!\": 00,", "has \"!\": 00; ids"},
    {"\"!\": 0,", "\"!\": ,", "has \"!\": ; ids"},
    {"\"!\": 0,", "\"!\": 0, \"!\": 300,", "the token \"!\" is there twice"},
    {"\"!\": 0,", "\"!\\u0000\": 0,", "entry 0 of model.vocab is malformed"},
    {"\"!\": 0,", "\"!\\x\": 0,", "entry 0 of model.vocab is malformed"},
    {"\"!\": 0,", "\"!\\ud83d\": 0,", "entry 0 of model.vocab is malformed"},
    {"\"!\": 0,", "\"!\\ud83d\\u0041\": 0,", "entry 0 of model.vocab is malformed"},
    {"\"!\": 0,", "\"!\\u12g4\": 0,", "entry 0 of model.vocab is malformed"},
    {"\"!\": 0,", "\"!\n\": 0,", "entry 0 of model.vocab is malformed"},
    {"\"!\": 0,", "\"\xff\": 0,", "does not spell"},
    {"[\"h\", \"e\"]", "[\"h\", \"e\"],", "of model.merges is malformed"},
    {"[\"h\", \"e\"]", "[\"h\" \"e\"]", "of model.merges is malformed"},
    {"[\"h\", \"e\"]", "[\"h\", \"e\"", "tokenizer.json"},
    {"[\"h\", \"e\"]", "[\"h\", \"e]", "tokenizer.json"},
    {"[\"h\", \"e\"]", "", "of model.merges is malformed"},
    {"\"vocab\": ", "\"vocab\": {}, \"vocab\": ", "tokenizer.json"},
    {"\"model\": ", "\"model\": {}, \"model\": ", "tokenizer.json"},
    {"\"model\": ", "\"\\u006dodel\": ", "model.vocab"},
};

static void test_misspelt_members(void **state)
{
    (void)state;
    struct buf whole, changed;
    buf_init(&whole, 0);
    buf_init(&changed, 0);
    json_write(&whole, mini, 0);
    remove_file("tokenizer_config.json");
    for (size_t i = 0; i < sizeof misspelt / sizeof *misspelt; i++) {
        const char *at = strstr(whole.data, misspelt[i].from);
        assert_non_null(at);
        buf_clear(&changed);
        buf_add(&changed, whole.data, (size_t)(at - whole.data));
        buf_str(&changed, misspelt[i].to);
        buf_str(&changed, at + strlen(misspelt[i].from));
        write_text("tokenizer.json", changed.data, changed.len);
        expect_refusal(ALULA_FORMAT, misspelt[i].part, misspelt[i].to);
    }
    buf_free(&whole);
    buf_free(&changed);
}

static void test_file_has_a_ceiling(void **state)
{
    (void)state;
    char path[4200];
    write_text("tokenizer.json", "{}", 2);
    snprintf(path, sizeof path, "%s/tokenizer.json", dir);
    assert_int_equal(truncate(path, (64 << 20) + 1), 0);
    expect_refusal(ALULA_LIMIT, "tokenizer.json", "a file of more than 64 MB");
}

/* ---- what opens ---------------------------------------------------------------------------------------- */

static void expect_ids(const struct tokenizer *t, const char *text, const int32_t *expected,
                       size_t n_expected)
{
    struct alula_error e;
    int32_t *ids;
    size_t n;
    assert_ok(tokenizer_encode(t, text, strlen(text), true, &ids, &n, &e), e);
    assert_int_equal(n, n_expected);
    assert_memory_equal(ids, expected, n * sizeof *ids);
    mem_free(ids);
}

#define EXPECT_IDS(t, text, ...)                                                                             \
    do {                                                                                                     \
        const int32_t want_[] = {__VA_ARGS__};                                                               \
        expect_ids(t, text, want_, sizeof want_ / sizeof *want_);                                            \
    } while (0)

/* tokenizer.json alone is enough; ids between the base and the added tokens belong to nothing. */
static void test_no_config_and_a_gap(void **state)
{
    (void)state;
    size_t n;
    remove_file("tokenizer_config.json");
    write_json("tokenizer.json", mini);
    struct tokenizer *t = expect_opening();
    assert_int_equal(tokenizer_count(t), 2048);
    assert_null(tokenizer_bytes(t, 300, &n));
    EXPECT_IDS(t, "he<|im_end|>h", 258, 2041, 71);
    tokenizer_close(t);
}

/* Real folders list some tokens, special ones, in tokenizer_config.json only. */
static void test_tokens_that_only_the_config_has(void **state)
{
    (void)state;
    json_t *config = json_deep_copy(mini_config);
    set_at(config, "added_tokens_decoder.2050", "{\"content\": \"<tts_pad>\", \"special\": true}");
    set_at(config, "added_tokens_decoder.2042.special", "true"); /* tokenizer.json knows better */
    write_json("tokenizer.json", mini);
    write_json("tokenizer_config.json", config);
    struct tokenizer *t = expect_opening();
    assert_int_equal(tokenizer_count(t), 2051);
    assert_int_equal(tokenizer_find(t, "<tts_pad>", 9), 2050);
    assert_true(tokenizer_is_special(t, 2050));
    assert_false(tokenizer_is_special(t, 2042));
    EXPECT_IDS(t, "a<tts_pad>b", 64, 2050, 65);
    tokenizer_close(t);
    json_decref(config);
}

/* The same file in pure ASCII, indented, members in another order. */
static void test_other_spellings_of_json(void **state)
{
    (void)state;
    char path[4200];
    snprintf(path, sizeof path, "%s/tokenizer.json", dir);
    remove_file("tokenizer_config.json");
    assert_int_equal(json_dump_file(mini, path, JSON_ENSURE_ASCII | JSON_INDENT(3) | JSON_SORT_KEYS), 0);
    struct tokenizer *t = expect_opening();
    assert_int_equal(tokenizer_find(t, "\"", 1), 1);
    assert_int_equal(tokenizer_find(t, "\\", 1), 59);
    EXPECT_IDS(t, "he  \u00e9 a", 258, 220, 220, 127, 102, 259);
    tokenizer_close(t);
}

static void test_longest_added_token_wins(void **state)
{
    (void)state;
    json_t *root = json_deep_copy(mini);
    set_at(root, "added_tokens.9", "{\"id\": 2048, \"content\": \"<\"}");
    set_at(root, "added_tokens.10", "{\"id\": 2049, \"content\": \"<think\"}");
    set_at(root, "added_tokens.11", "{\"id\": 2050, \"content\": \"<think><think>!\"}");
    write_json("tokenizer.json", root);
    remove_file("tokenizer_config.json");
    struct tokenizer *t = expect_opening();
    EXPECT_IDS(t, "<", 2048);
    EXPECT_IDS(t, "<think", 2049);
    EXPECT_IDS(t, "<thin<think>", 2048, 83, 71, 72, 77, 2042);
    EXPECT_IDS(t, "<think><think><think><think>!", 2042, 2042, 2050);
    tokenizer_close(t);
    json_decref(root);
}

/* A base token that is an added token too, same id, is one token. */
static void test_added_token_in_the_vocabulary(void **state)
{
    (void)state;
    json_t *root = json_deep_copy(mini);
    set_at(root, "model.vocab.<think>", "2042");
    set_at(root, "added_tokens.9", "{\"id\": 2048, \"content\": \"a b\"}");
    set_at(root, "model.vocab.a b", "2048");
    write_json("tokenizer.json", root);
    remove_file("tokenizer_config.json");
    struct tokenizer *t = expect_opening();
    EXPECT_IDS(t, "<think>a b", 2042, 2048);
    tokenizer_close(t);
    json_decref(root);
}

static void test_ignore_merges(void **state)
{
    (void)state;
    json_t *root = json_deep_copy(mini);
    set_at(root, "model.vocab.xyz", "300");
    write_json("tokenizer.json", root);
    remove_file("tokenizer_config.json");
    struct tokenizer *t = expect_opening();
    EXPECT_IDS(t, "xyz", 87, 88, 89);
    tokenizer_close(t);
    set_at(root, "model.ignore_merges", "true");
    write_json("tokenizer.json", root);
    t = expect_opening();
    EXPECT_IDS(t, "xyz-xyzz", 300, 12, 87, 88, 89, 89);
    tokenizer_close(t);
    json_decref(root);
}

/* Real files write "" where others write null. */
static void test_empty_settings_are_off(void **state)
{
    (void)state;
    json_t *root = json_deep_copy(mini);
    set_at(root, "model.continuing_subword_prefix", "\"\"");
    set_at(root, "model.end_of_word_suffix", "\"\"");
    set_at(root, "model.dropout", "0.0");
    set_at(root, "post_processor", "null");
    write_json("tokenizer.json", root);
    tokenizer_close(expect_opening());
    json_decref(root);
}

/* ---- memory -------------------------------------------------------------------------------------------- */

static void test_memory_runs_out_while_loading(void **state)
{
    (void)state;
    write_json("tokenizer.json", mini);
    write_json("tokenizer_config.json", mini_config);
    for (int64_t n = 0;; n++) {
        struct alula_error e;
        struct tokenizer *t = NULL;
        mem_fail_after(n);
        bool ok = tokenizer_open(&t, dir, &e);
        mem_fail_after(-1);
        if (ok) {
            assert_true(n > 500);
            tokenizer_close(t);
            return;
        }
        if (e.code != ALULA_NOMEM || t) fail_msg("allocation %d: code %d, \"%s\"", (int)n, e.code, e.message);
    }
}

static void test_memory_runs_out_while_encoding(void **state)
{
    (void)state;
    static const char text[] =
        "hello<|im_end|>e\u0301 the there and a longer text, so that buffers grow more than once: "
        "the the the the the the the the the the the the the the the the the the the the the";
    write_json("tokenizer.json", mini);
    struct tokenizer *t = expect_opening();
    for (int64_t n = 0;; n++) {
        struct alula_error e;
        int32_t *ids = NULL;
        size_t n_ids;
        mem_fail_after(n);
        bool ok = tokenizer_encode(t, text, sizeof text - 1, true, &ids, &n_ids, &e);
        mem_fail_after(-1);
        if (ok) {
            assert_true(n >= 5);
            mem_free(ids);
            break;
        }
        assert_int_equal(e.code, ALULA_NOMEM);
        assert_null(ids);
    }
    tokenizer_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unsupported_settings),
        cmocka_unit_test(test_broken_members),
        cmocka_unit_test(test_broken_config),
        cmocka_unit_test(test_broken_files),
        cmocka_unit_test(test_misspelt_members),
        cmocka_unit_test(test_file_has_a_ceiling),
        cmocka_unit_test(test_no_config_and_a_gap),
        cmocka_unit_test(test_tokens_that_only_the_config_has),
        cmocka_unit_test(test_other_spellings_of_json),
        cmocka_unit_test(test_longest_added_token_wins),
        cmocka_unit_test(test_added_token_in_the_vocabulary),
        cmocka_unit_test(test_ignore_merges),
        cmocka_unit_test(test_empty_settings_are_off),
        cmocka_unit_test(test_memory_runs_out_while_loading),
        cmocka_unit_test(test_memory_runs_out_while_encoding),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
