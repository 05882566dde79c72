/* Ids equal to those of Hugging Face tokenizers on every recorded text, with three vocabularies; the
 * streaming decoder; long pieces. */
#include "tests/support.h"

#include <stdio.h>
#include <string.h>

#include "text/normalize.h"
#include "text/tokenizer.h"

/* ---- SHA-256, by which long lists of ids are recorded -------------------------------------------------- */

static const uint32_t sha_k[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t ror(uint32_t x, int n) { return x >> n | x << (32 - n); }

static void sha_block(uint32_t h[8], const unsigned char *p)
{
    uint32_t w[64], s[8];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)p[4 * i] << 24 | (uint32_t)p[4 * i + 1] << 16 | (uint32_t)p[4 * i + 2] << 8 |
               p[4 * i + 3];
    for (int i = 16; i < 64; i++)
        w[i] = w[i - 16] + (ror(w[i - 15], 7) ^ ror(w[i - 15], 18) ^ w[i - 15] >> 3) + w[i - 7] +
               (ror(w[i - 2], 17) ^ ror(w[i - 2], 19) ^ w[i - 2] >> 10);
    memcpy(s, h, sizeof s);
    for (int i = 0; i < 64; i++) {
        uint32_t t = s[7] + (ror(s[4], 6) ^ ror(s[4], 11) ^ ror(s[4], 25)) +
                     ((s[4] & s[5]) ^ (~s[4] & s[6])) + sha_k[i] + w[i];
        uint32_t u =
            (ror(s[0], 2) ^ ror(s[0], 13) ^ ror(s[0], 22)) + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
        memmove(s + 1, s, 7 * sizeof *s);
        s[4] += t;
        s[0] = t + u;
    }
    for (int i = 0; i < 8; i++) h[i] += s[i];
}

static void sha256_hex(const void *data, size_t n, char hex[65])
{
    uint32_t h[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                     0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    unsigned char tail[128] = {0};
    size_t whole = n / 64 * 64, rest = n - whole, end = rest < 56 ? 64 : 128;
    for (size_t i = 0; i < whole; i += 64) sha_block(h, (const unsigned char *)data + i);
    memcpy(tail, (const unsigned char *)data + whole, rest);
    tail[rest] = 0x80;
    for (int i = 0; i < 8; i++) tail[end - 1 - (size_t)i] = (unsigned char)((uint64_t)n * 8 >> 8 * i);
    for (size_t i = 0; i < end; i += 64) sha_block(h, tail + i);
    for (int i = 0; i < 8; i++) snprintf(hex + 8 * i, 9, "%08x", h[i]);
}

/* ---- the recorded cases -------------------------------------------------------------------------------- */

static struct tokenizer *open_data(const char *name)
{
    struct alula_error e;
    struct tokenizer *t;
    assert_ok(tokenizer_open(&t, data_path(name), &e), e);
    return t;
}

/* Calls fn on every line of a file of JSON objects; returns how many there were. */
static int each_line(const char *file, void (*fn)(const json_t *line, void *arg), void *arg)
{
    struct alula_error e;
    struct buf b = read_data(file);
    int n = 0;
    for (size_t i = 0; i < b.len; n++) {
        size_t len = strcspn(b.data + i, "\n");
        json_t *v = json_parse(b.data + i, len, 16, file, &e);
        assert_ok(v != NULL, e);
        fn(v, arg);
        json_decref(v);
        i += len + 1;
    }
    buf_free(&b);
    return n;
}

static const char *str_at(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

static void case_text(const json_t *c, struct buf *b)
{
    const char *hex = str_at(c, "hex");
    const json_t *text = json_object_get(c, "text"), *parts = json_object_get(c, "parts");
    buf_clear(b);
    for (; hex && *hex; hex += 2) {
        unsigned byte;
        assert_int_equal(sscanf(hex, "%2x", &byte), 1);
        buf_byte(b, (unsigned char)byte);
    }
    if (!str_at(c, "hex") && text) buf_add(b, json_string_value(text), json_string_length(text));
    for (size_t i = 0; i < json_array_size(parts); i++) {
        const json_t *p = json_array_get(parts, i), *s = json_array_get(p, 0);
        for (json_int_t k = json_integer_value(json_array_get(p, 1)); k > 0; k--)
            buf_add(b, json_string_value(s), json_string_length(s));
    }
}

/* expected: a list, or {"n", "sha256", "head", "tail"}. */
static void check_ids(const char *name, const json_t *expected, const int32_t *ids, size_t n)
{
    if (json_is_object(expected)) {
        char hex[65];
        assert_int_equal(n, json_integer_value(json_object_get(expected, "n")));
        sha256_hex(ids, n * sizeof *ids, hex);
        if (strcmp(hex, str_at(expected, "sha256")) != 0) fail_msg("%s: the ids have another hash", name);
        return;
    }
    if (n != json_array_size(expected))
        fail_msg("%s: %zu ids, expected %zu", name, n, json_array_size(expected));
    for (size_t i = 0; i < n; i++)
        if (ids[i] != json_integer_value(json_array_get(expected, i)))
            fail_msg("%s: id %zu is %d, expected %d", name, i, ids[i],
                     (int)json_integer_value(json_array_get(expected, i)));
}

static void decode(const struct tokenizer *t, const int32_t *ids, size_t n, bool skip_special,
                   struct buf *out)
{
    struct detok d;
    detok_init(&d, t, skip_special);
    buf_clear(out);
    for (size_t i = 0; i < n; i++) detok_put(&d, ids[i], out);
    detok_end(&d, out);
}

static void check_text(const char *name, const char *what, const char *expected, size_t n,
                       const struct buf *b)
{
    if (b->len != n || (n && memcmp(b->data, expected, n) != 0))
        fail_msg("%s: %s is \"%.200s\", expected \"%.200s\"", name, what, b->data ? b->data : "", expected);
}

struct case_run {
    const struct tokenizer *t;
    const char *key, *plain_key;
    int hashed_texts;
};

/* The text of the ids, whole and without special tokens. `text` is what was encoded. */
static void check_decoded(const json_t *c, struct case_run *r, const int32_t *ids, size_t n,
                          const struct buf *text)
{
    const json_t *decoded = json_object_get(c, "decoded"), *skipped = json_object_get(c, "skipped");
    const char *name = str_at(c, "name"), *hash = str_at(c, "decoded_sha256");
    struct buf out, skip;
    buf_init(&out, 0);
    buf_init(&skip, 0);
    decode(r->t, ids, n, false, &out);
    decode(r->t, ids, n, true, &skip);
    if (hash) {
        char hex[65];
        sha256_hex(out.data, out.len, hex);
        assert_string_equal(hex, hash);
        r->hashed_texts++;
    } else if (decoded) {
        check_text(name, "decoded", json_string_value(decoded), json_string_length(decoded), &out);
    } else {
        check_text(name, "decoded", text->data ? text->data : "", text->len, &out);
    }
    if (skipped)
        check_text(name, "skipped", json_string_value(skipped), json_string_length(skipped), &skip);
    else if (!json_object_get(c, "parts")) /* not recorded for long texts */
        check_text(name, "skipped", out.data ? out.data : "", out.len, &skip);
    buf_free(&out);
    buf_free(&skip);
}

static void run_case(const json_t *c, void *arg)
{
    struct case_run *r = arg;
    struct alula_error e;
    struct buf text;
    buf_init(&text, 0);
    case_text(c, &text);
    for (int special = 1; special >= 0; special--) {
        const json_t *expected = json_object_get(c, r->key), *plain = json_object_get(c, r->plain_key);
        int32_t *ids;
        size_t n;
        assert_ok(tokenizer_encode(r->t, text.data, text.len, special, &ids, &n, &e), e);
        check_ids(str_at(c, "name"), special || !plain ? expected : plain, ids, n);
        if (special) check_decoded(c, r, ids, n, &text);
        mem_free(ids);
    }
    buf_free(&text);
}

static void run_cases(const char *dir, const char *key, const char *plain_key)
{
    struct tokenizer *t = open_data(dir);
    struct case_run r = {t, key, plain_key, 0};
    assert_int_equal(each_line("tokenizer/cases.jsonl", run_case, &r), 539);
    assert_int_equal(r.hashed_texts, 1);
    tokenizer_close(t);
}

static void test_cases_small(void **state)
{
    (void)state;
    run_cases("tokenizer/small", "small", "small_plain");
}

static void test_cases_large(void **state)
{
    (void)state;
    run_cases("tokenizer/large", "large", "large_plain");
}

/* Merges written "a b" instead of ["a", "b"]. */
static void test_cases_legacy(void **state)
{
    (void)state;
    run_cases("tokenizer/legacy", "small", "small_plain");
}

/* ---- the streaming decoder ----------------------------------------------------------------------------- */

struct decode_run {
    const struct tokenizer *small, *large;
    int flushes, skips;
};

static void run_decode(const json_t *c, void *arg)
{
    struct decode_run *r = arg;
    const struct tokenizer *t = strcmp(str_at(c, "tok"), "small") == 0 ? r->small : r->large;
    const json_t *ids = json_object_get(c, "ids"), *chunks = json_object_get(c, "chunks");
    const json_t *text = json_object_get(c, "text"), *skipped = json_object_get(c, "skipped");
    const char *name = str_at(c, "name"), *flush = str_at(c, "flush");
    struct detok d, skip;
    struct buf out, whole, rest;
    buf_init(&out, 0);
    buf_init(&whole, 0);
    buf_init(&rest, 0);
    detok_init(&d, t, false);
    detok_init(&skip, t, true);
    for (size_t i = 0; i < json_array_size(ids); i++) {
        const json_t *chunk = json_array_get(chunks, i);
        int32_t id = (int32_t)json_integer_value(json_array_get(ids, i));
        buf_clear(&out);
        detok_put(&d, id, &out);
        check_text(name, "a chunk", json_string_value(chunk), json_string_length(chunk), &out);
        buf_add(&whole, out.data, out.len);
        detok_put(&skip, id, &rest);
    }
    buf_clear(&out);
    detok_end(&d, &out);
    check_text(name, "the flush", flush ? flush : "", flush ? strlen(flush) : 0, &out);
    buf_add(&whole, out.data, out.len);
    detok_end(&skip, &rest);
    check_text(name, "the text", json_string_value(text), json_string_length(text), &whole);
    if (!skipped) skipped = text;
    check_text(name, "skipped", json_string_value(skipped), json_string_length(skipped), &rest);
    r->flushes += flush != NULL;
    r->skips += skipped != text;
    buf_free(&out);
    buf_free(&whole);
    buf_free(&rest);
}

static void test_decode(void **state)
{
    (void)state;
    struct tokenizer *small = open_data("tokenizer/small"), *large = open_data("tokenizer/large");
    struct decode_run r = {small, large, 0, 0};
    assert_int_equal(each_line("tokenizer/decode.jsonl", run_decode, &r), 214);
    assert_int_equal(r.flushes, 37);
    assert_int_equal(r.skips, 8);
    tokenizer_close(small);
    tokenizer_close(large);
}

/* At the end, too, one U+FFFD stands for each maximal prefix of a character: two for half a surrogate. */
static void test_end_of_stream(void **state)
{
    (void)state;
    static const struct {
        int32_t ids[3];
        size_t n;
        const char *text;
    } ends[] = {
        {{169}, 1, "\ufffd"},
        {{169, 254}, 2, "\ufffd\ufffd"},
        {{169, 254, 64}, 3, "\ufffd\ufffda"},
        {{172, 253, 246}, 3, "\ufffd"},
    };
    struct tokenizer *t = open_data("tokenizer/small");
    struct buf out;
    buf_init(&out, 0);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        decode(t, ends[i].ids, ends[i].n, false, &out);
        check_text("the end", "the text", ends[i].text, strlen(ends[i].text), &out);
    }
    buf_free(&out);
    tokenizer_close(t);
}

static void test_unknown_ids_give_nothing(void **state)
{
    (void)state;
    struct tokenizer *t = open_data("tokenizer/small");
    const int32_t ids[] = {-1, 127, 2048, INT32_MAX, INT32_MIN, 102};
    struct buf out;
    buf_init(&out, 0);
    decode(t, ids, 6, false, &out);
    check_text("unknown ids", "the text", "\u00e9", 2, &out);
    buf_free(&out);
    tokenizer_close(t);
}

/* ---- look-ups ------------------------------------------------------------------------------------------ */

static void test_lookups(void **state)
{
    (void)state;
    struct tokenizer *t = open_data("tokenizer/small");
    assert_int_equal(tokenizer_count(t), 2048);
    for (int32_t id = 0; id < 2048; id++) {
        size_t n = 0;
        const char *bytes = tokenizer_bytes(t, id, &n);
        assert_non_null(bytes);
        assert_int_equal(tokenizer_find(t, bytes, n), id);
        assert_int_equal(tokenizer_is_special(t, id), id >= 2039 && id <= 2041);
    }
    size_t n = 77;
    assert_null(tokenizer_bytes(t, 2048, &n));
    assert_null(tokenizer_bytes(t, -1, &n));
    assert_int_equal(n, 77);
    assert_false(tokenizer_is_special(t, 2048));
    assert_int_equal(tokenizer_find(t, "<|im_end|>", 10), 2041);
    assert_int_equal(tokenizer_find(t, "<|im_end|", 9), -1);
    assert_int_equal(tokenizer_find(t, " the", 4), 262);
    assert_int_equal(tokenizer_find(t, "", 0), -1);
    tokenizer_close(t);
    tokenizer_close(NULL);
}

/* ---- bad and long text --------------------------------------------------------------------------------- */

static void test_invalid_utf8_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } bad[] = {
        {"\xff", "byte 0xff at offset 0"},         {"abc\x80", "byte 0x80 at offset 3"},
        {"\u00e9\xc3", "byte 0xc3 at offset 2"},   {"a\xc0\xaf", "byte 0xc0 at offset 1"},
        {"\xed\xa0\x80", "byte 0xed at offset 0"}, {"ab\xf4\x90\x80\x80", "byte 0xf4 at offset 2"},
        {"x\xe2\x82", "byte 0xe2 at offset 1"},
    };
    struct tokenizer *t = open_data("tokenizer/small");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct alula_error e;
        int32_t *ids = NULL;
        size_t n = 9;
        assert_false(tokenizer_encode(t, bad[i].text, strlen(bad[i].text), true, &ids, &n, &e));
        assert_int_equal(e.code, ALULA_FORMAT);
        assert_non_null(strstr(e.message, bad[i].message));
        assert_null(ids);
        assert_int_equal(n, 9);
    }
    tokenizer_close(t);
}

static void test_text_has_a_ceiling(void **state)
{
    (void)state;
    struct tokenizer *t = open_data("tokenizer/small");
    struct alula_error e;
    int32_t *ids;
    size_t n;
    char *text = mem_map((64 << 20) + 1);
    assert_non_null(text);
    assert_false(tokenizer_encode(t, text, (64 << 20) + 1, true, &ids, &n, &e));
    assert_int_equal(e.code, ALULA_LIMIT);
    mem_unmap(text, (64 << 20) + 1);
    tokenizer_close(t);
}

static void test_empty_text(void **state)
{
    (void)state;
    struct tokenizer *t = open_data("tokenizer/small");
    struct alula_error e;
    int32_t *ids = NULL;
    size_t n = 9;
    assert_ok(tokenizer_encode(t, "", 0, true, &ids, &n, &e), e);
    assert_int_equal(n, 0);
    mem_free(ids);
    tokenizer_close(t);
}

/* One piece of a million bytes, of each kind that the pattern makes so long. A quadratic merge or scan would
 * not end. */
static void test_million_byte_pieces(void **state)
{
    (void)state;
    static const char *const units[] = {"a", "q", " ", "\n", "<", "\u4e2d", "\u0301\u0323", "\uac00", "ab"};
    struct tokenizer *t = open_data("tokenizer/large");
    struct buf text, plain, out;
    buf_init(&text, 0);
    buf_init(&plain, 0);
    buf_init(&out, 0);
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        struct alula_error e;
        int32_t *ids;
        size_t n;
        buf_clear(&text);
        while (text.len < 1000000) buf_str(&text, units[i]);
        assert_ok(tokenizer_encode(t, text.data, text.len, true, &ids, &n, &e), e);
        assert_true(n >= text.len / 32 && n <= text.len);
        decode(t, ids, n, false, &out);
        assert_ok(normalize_nfc(text.data, text.len, &plain, &e), e);
        check_text(units[i], "decoded", plain.data, plain.len, &out);
        mem_free(ids);
    }
    buf_free(&text);
    buf_free(&plain);
    buf_free(&out);
    tokenizer_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases_small),
        cmocka_unit_test(test_cases_large),
        cmocka_unit_test(test_cases_legacy),
        cmocka_unit_test(test_decode),
        cmocka_unit_test(test_end_of_stream),
        cmocka_unit_test(test_unknown_ids_give_nothing),
        cmocka_unit_test(test_lookups),
        cmocka_unit_test(test_invalid_utf8_is_refused),
        cmocka_unit_test(test_text_has_a_ceiling),
        cmocka_unit_test(test_empty_text),
        cmocka_unit_test(test_million_byte_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
