/* Character classes, NFC and the pieces of the pre-tokenizer. The classes are compared with the recorded
 * tables at every code point, so a table of another Unicode version cannot pass. */
#include "tests/support.h"

#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "text/normalize.h"
#include "text/pretoken.h"
#include "text/unicode.h"

enum { CP_END = 0x110000 };

static bool is_surrogate(uint32_t cp) { return cp >= 0xd800 && cp < 0xe000; }

/* The recorded tables; decref. */
static json_t *load_tables(void)
{
    struct alula_error e;
    json_t *v = json_parse_file(data_path("tokenizer/unicode_tables.json"), 1 << 20, 8, &e);
    assert_ok(v != NULL, e);
    return v;
}

static uint32_t hex_at(const json_t *list, size_t i)
{
    return (uint32_t)strtoul(json_string_value(json_array_get(list, i)), NULL, 16);
}

/* Sets byte `value` at every code point of a list of ranges. */
static void paint(unsigned char *map, const json_t *ranges, unsigned char value)
{
    size_t i;
    json_t *r;
    assert_true(json_array_size(ranges) > 0);
    json_array_foreach(ranges, i, r)
    {
        for (uint32_t c = hex_at(r, 0); c <= hex_at(r, 1); c++) map[c] = value;
    }
}

static void test_classes(void **state)
{
    (void)state;
    unsigned char *map = mem_zalloc(CP_END, 1);
    json_t *tables = load_tables();
    paint(map, json_object_get(tables, "L"), UNICODE_LETTER);
    paint(map, json_object_get(tables, "M"), UNICODE_MARK);
    paint(map, json_object_get(tables, "N"), UNICODE_NUMBER);
    paint(map, json_object_get(tables, "space"), UNICODE_SPACE);
    for (uint32_t c = 0; c < CP_END; c++)
        if (unicode_class(c) != map[c])
            fail_msg("U+%04X has class %d, expected %d", c, unicode_class(c), map[c]);
    json_decref(tables);
    mem_free(map);
}

static void test_exceptions_of_the_old_normalizer(void **state)
{
    (void)state;
    json_t *tables = load_tables(), *composites = json_object_get(tables, "nfc_not_composed");
    unsigned char *map = mem_zalloc(CP_END, 1);
    paint(map, json_object_get(tables, "nfc_combining_class_zero"), 1);
    for (uint32_t c = 0; c < CP_END; c++)
        if (map[c]) assert_int_equal(unicode_combining(c), 0);
    assert_int_equal(unicode_combining(0x301), 230);
    for (size_t i = 0; i < json_array_size(composites); i++) {
        uint32_t parts[UNICODE_DECOMPOSED_MAX], c = hex_at(composites, i);
        assert_int_equal(unicode_decompose(c, parts), 1);
        for (int p = 0; p < unicode_pairs_count; p++)
            assert_int_not_equal(unicode_decompositions[unicode_pairs[p]].cp, c);
    }
    json_decref(tables);
    mem_free(map);
}

/* Every table is searched by halving. */
static void test_tables_ascend(void **state)
{
    (void)state;
    const struct unicode_range *lists[] = {unicode_classes, unicode_combining_classes, unicode_nfc_specials};
    const int counts[] = {unicode_classes_count, unicode_combining_classes_count, unicode_nfc_specials_count};
    for (int k = 0; k < 3; k++)
        for (int i = 1; i < counts[k]; i++) assert_true(lists[k][i - 1].last < lists[k][i].first);
    for (int i = 1; i < unicode_decompositions_count; i++)
        assert_true(unicode_decompositions[i - 1].cp < unicode_decompositions[i].cp);
    for (int i = 1; i < unicode_pairs_count; i++) {
        const struct unicode_decomposition *a = &unicode_decompositions[unicode_pairs[i - 1]];
        const struct unicode_decomposition *b = &unicode_decompositions[unicode_pairs[i]];
        assert_true(a->a < b->a || (a->a == b->a && a->b < b->b));
    }
}

static size_t put(char *s, size_t at, uint32_t cp) { return at + (size_t)utf8_encode(cp, s + at); }

static void check_nfc(const char *text, size_t n, const char *expected, size_t n_expected, struct buf *out)
{
    struct alula_error e;
    assert_ok(normalize_nfc(text, n, out, &e), e);
    assert_int_equal(out->len, n_expected);
    assert_memory_equal(out->data ? out->data : "", expected, n_expected);
}

#define CHECK_NFC(text, expected) check_nfc(text, sizeof(text) - 1, expected, sizeof(expected) - 1, &out)

static void test_nfc_examples(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 0);
    CHECK_NFC("", "");
    CHECK_NFC("plain", "plain");
    CHECK_NFC("e\u0301", "\u00e9");
    CHECK_NFC("\u0301e", "\u0301e");            /* nothing in front to compose with */
    CHECK_NFC("a\u0301\u0323", "\u1ea1\u0301"); /* reordered, then the lower class composes */
    CHECK_NFC("\u00e1\u0323", "\u1ea1\u0301");  /* a composed letter is taken apart first */
    CHECK_NFC("a\u0302\u0302", "\u00e2\u0302"); /* the same class blocks */
    CHECK_NFC("\u1100\u1161\u11a8", "\uac01");  /* Hangul */
    CHECK_NFC("\uac00\u11a8x", "\uac01x");
    CHECK_NFC("\u1100\u11a8", "\u1100\u11a8");
    CHECK_NFC("\u212b\u2126", "\u00c5\u03a9"); /* singletons */
    CHECK_NFC("\u0958", "\u0915\u093c");       /* excluded from composition */
    CHECK_NFC("\u0344x", "\u0308\u0301x");
    CHECK_NFC("\u09c7\u09be", "\u09cb");                   /* two starters compose */
    CHECK_NFC("\u09c7\u0301\u09be", "\u09c7\u0301\u09be"); /* but not across a mark */
    CHECK_NFC("\u01d6\u0323\u01d6", "\u1ee5\u0308\u0304\u01d6");
    CHECK_NFC("\U0001d15e", "\U0001d157\U0001d165");
    buf_free(&out);
}

/* Each character alone and between marks: NFC of NFC changes nothing, and a text called plain is its own NFC.
 */
static void test_nfc_is_stable(void **state)
{
    (void)state;
    struct alula_error e;
    struct buf once, twice;
    buf_init(&once, 0);
    buf_init(&twice, 0);
    for (uint32_t c = 0; c < CP_END; c++) {
        if (is_surrogate(c)) continue;
        for (int form = 0; form < 2; form++) {
            char s[20];
            size_t n = form ? put(s, 0, 'a') : 0;
            n = put(s, n, c);
            if (form) n = put(s, put(s, n, 0x301), 0x323);
            bool plain = normalize_is_plain(s, n);
            assert_ok(normalize_nfc(s, n, &once, &e), e);
            if (plain && (once.len != n || memcmp(once.data, s, n) != 0))
                fail_msg("U+%04X is called plain and is not", c);
            assert_ok(normalize_nfc(once.data, once.len, &twice, &e), e);
            if (once.len != twice.len || memcmp(once.data, twice.data, once.len) != 0)
                fail_msg("NFC around U+%04X is not stable", c);
        }
    }
    buf_free(&once);
    buf_free(&twice);
}

/* Every pair that composes does so from its parts, and its full decomposition leads back to it. */
static void test_compositions_round(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 0);
    for (int i = 0; i < unicode_pairs_count; i++) {
        const struct unicode_decomposition *d = &unicode_decompositions[unicode_pairs[i]];
        char whole[4], s[20];
        uint32_t parts[UNICODE_DECOMPOSED_MAX];
        size_t n_whole = put(whole, 0, d->cp), n = put(s, put(s, 0, d->a), d->b);
        check_nfc(s, n, whole, n_whole, &out);
        int count = unicode_decompose(d->cp, parts);
        n = 0;
        for (int k = 0; k < count; k++) n = put(s, n, parts[k]);
        check_nfc(s, n, whole, n_whole, &out);
    }
    for (uint32_t c = 0xac00; c < 0xd7a4; c++) {
        uint32_t parts[UNICODE_DECOMPOSED_MAX];
        int count = unicode_decompose(c, parts);
        uint32_t made = unicode_compose(parts[0], parts[1]);
        assert_int_equal(count == 3 ? unicode_compose(made, parts[2]) : made, c);
    }
    buf_free(&out);
}

/* Sorting marks must not be quadratic: two classes alternate 500,000 times. */
static void test_nfc_of_a_megabyte_of_marks(void **state)
{
    (void)state;
    struct alula_error e;
    struct buf text, out;
    buf_init(&text, 0);
    buf_init(&out, 0);
    for (int i = 0; i < 250000; i++) buf_str(&text, "\u0301\u0323");
    assert_ok(normalize_nfc(text.data, text.len, &out, &e), e);
    assert_int_equal(out.len, text.len);
    for (size_t i = 0; i < out.len; i += 2)
        assert_memory_equal(out.data + i, i < out.len / 2 ? "\u0323" : "\u0301", 2);
    buf_free(&text);
    buf_free(&out);
}

/* Texts, their pieces parted by bars: each alternative of the pattern, and places where one must give way to
 * the next. */
static const char *const pieces[] = {
    "Hello|,| world|!",
    "it|'s| we|'LL| x|'\u017f",
    "don|'t|'s|omething",
    "'s|omething",
    "'re|x| '|Vex| '",
    "  | a",
    "a|  | b",
    "a|  \n\n| b",
    "a| \r\n \n",
    "x|   ",
    "x|\ty",
    "1|2|3|a|4",
    "a|\u00bd|\u2167|\u3007",
    "\u00a0a",
    "--|x",
    " --\r\n\n| x",
    "\u0301",
    "\u0301\u0301a",
    "\u0301|1",
    "1|\u0301",
    "a\u0301b",
    "\u200b\u200b",
    "\u200ba",
    "\n|\u0301",
    "\u2028a",
    ".\n\n|  | x",
    "(a",
    "\ta| b",
    "\u3000|\u3000a",
    "\r\n|a",
    "\u0903\u0915| \u0940",
    "\U00011f02x|\U000323b0| |\U0001e5f1",
    " \u00a0 ",
    "'",
    "''|s",
    "'\u212as",
    " '|tis",
};

static void test_pieces(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        char text[64];
        size_t n = 0, at = 0;
        for (const char *p = pieces[i]; *p; p++)
            if (*p != '|') text[n++] = *p;
        for (const char *p = pieces[i]; *p;) {
            size_t want = strcspn(p, "|"), len = pretoken_len(text + at, n - at);
            if (len != want)
                fail_msg("\"%s\": the piece at byte %zu has %zu bytes, expected %zu", pieces[i], at, len,
                         want);
            at += len;
            p += want + (p[want] == '|');
        }
        assert_int_equal(at, n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_classes),
        cmocka_unit_test(test_exceptions_of_the_old_normalizer),
        cmocka_unit_test(test_tables_ascend),
        cmocka_unit_test(test_nfc_examples),
        cmocka_unit_test(test_nfc_is_stable),
        cmocka_unit_test(test_compositions_round),
        cmocka_unit_test(test_nfc_of_a_megabyte_of_marks),
        cmocka_unit_test(test_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
