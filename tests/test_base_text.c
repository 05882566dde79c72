/* What base/ does with text: error messages, UTF-8, growable bytes, the log. */
#include "tests/support.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/utf8.h"

/* ---- err ------------------------------------------------------------------------------------- */

static void test_err_set(void **state)
{
    (void)state;
    struct alula_error e;
    assert_false(err_set(&e, ALULA_MISMATCH, "tensor %s has %d rows, expected %d", "head", 511, 512));
    assert_int_equal(e.code, ALULA_MISMATCH);
    assert_string_equal(e.message, "tensor head has 511 rows, expected 512");
    assert_false(err_context(&e, "cannot load %s", "model"));
    assert_int_equal(e.code, ALULA_MISMATCH);
    assert_string_equal(e.message, "cannot load model: tensor head has 511 rows, expected 512");
    /* A message may be built from the one that it replaces. */
    err_set(&e, ALULA_FORMAT, "again: %s", e.message);
    assert_string_equal(e.message, "again: cannot load model: tensor head has 511 rows, expected 512");
}

static void test_err_errno(void **state)
{
    (void)state;
    struct alula_error e;
    errno = EACCES;
    assert_false(err_errno(&e, ALULA_IO, "cannot open %s", "x"));
    assert_int_equal(e.code, ALULA_IO);
    assert_string_equal(e.message, "cannot open x: Permission denied");
    errno = ENOENT;
    err_errno(&e, ALULA_IO, "cannot open %s", "x");
    assert_int_equal(e.code, ALULA_NOT_FOUND);
    errno = ENOMEM;
    err_errno(&e, ALULA_IO, "cannot open %s", "x");
    assert_int_equal(e.code, ALULA_NOMEM);
}

/* A message that is cut inside a character would break the JSON and the terminal that it goes to; one that is cut at its end would
 * not say what is wrong. */
static void test_err_long_and_dirty(void **state)
{
    (void)state;
    struct alula_error e;
    char text[3000];
    for (size_t shift = 0; shift < 3; shift++) {
        memset(text, 'x', shift);
        for (size_t i = shift; i + 3 < sizeof text; i += 3) memcpy(text + i, "\xe2\x82\xac", 4);
        err_set(&e, ALULA_FORMAT, "%s", text);
        size_t n = strlen(e.message);
        assert_in_range(n, sizeof e.message - 7, sizeof e.message - 1);
        assert_int_equal(utf8_valid_len(e.message, n), n);
        err_context(&e, "%s", text);
        assert_int_equal(utf8_valid_len(e.message, strlen(e.message)), strlen(e.message));
    }
    err_set(&e, ALULA_FORMAT, "name \x1b[31m\xff\xc3 \x7f\xc2\x9b end\nline \xc3\xa9");
    assert_string_equal(e.message, "name ?[31m?? ?? end\nline \xc3\xa9");
    memset(text, 'n', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    errno = ENOSPC;
    err_errno(&e, ALULA_IO, "cannot write %s", text);
    assert_ptr_equal(strstr(e.message, "cannot write nnn"), e.message);
    assert_non_null(strstr(e.message, "nnn ... nnn"));
    assert_non_null(strstr(e.message, "nnn: No space left on device"));
    err_context(&e, "%s", text);
    assert_non_null(strstr(e.message, "nnn: No space left on device"));
    err_set(&e, ALULA_NOT_FOUND, "%s: no such folder", text);
    assert_non_null(strstr(e.message, "nnn: no such folder"));
}

/* ---- utf8 ------------------------------------------------------------------------------------ */

static void test_utf8_every_character(void **state)
{
    (void)state;
    for (uint32_t c = 0; c < 0x110000; c++) {
        char s[4];
        uint32_t got = 0xdead;
        int n = utf8_encode(c, s), want = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
        bool surrogate = c >= 0xd800 && c < 0xe000, more;
        if (n != want) fail_msg("U+%04X written as %d bytes", c, n);
        int k = utf8_decode(s, (size_t)n, &got);
        if (surrogate ? k != 0 || got != 0xdead : k != n || got != c)
            fail_msg("U+%04X read as %d bytes", c, k);
        if (surrogate) continue;
        /* Each true beginning is incomplete and says that more could follow. */
        for (int i = 1; i < n; i++)
            if (utf8_decode(s, (size_t)i, &got) != 0 || utf8_broken_prefix(s, (size_t)i, &more) != i || !more)
                fail_msg("%d bytes of U+%04X", i, c);
        if (utf8_broken_prefix(s, (size_t)n, &more) != 0 || more) fail_msg("U+%04X is called broken", c);
    }
    assert_int_equal(utf8_decode("", 0, &(uint32_t){0}), 0);
}

/* Every sequence of two and of three bytes is a character exactly if encoding its value gives it back. */
static void test_utf8_every_short_sequence(void **state)
{
    (void)state;
    for (unsigned v = 0; v < 1 << 24; v += v < 0xe00000 ? 0x100 : 1) {
        char s[3] = {(char)(v >> 16), (char)(v >> 8), (char)v}, back[4];
        uint32_t c;
        unsigned a = v >> 16, b = v >> 8 & 0xff, d = v & 0xff;
        bool two = a >= 0xc2 && a < 0xe0 && (b & 0xc0) == 0x80;
        bool three = (a & 0xf0) == 0xe0 && (b & 0xc0) == 0x80 && (d & 0xc0) == 0x80 &&
                     (a != 0xe0 || b >= 0xa0) && (a != 0xed || b < 0xa0);
        int want = a < 0x80 ? 1 : two ? 2 : three ? 3 : 0, k = utf8_decode(s, 3, &c);
        if (k != want) fail_msg("%06x read as %d bytes, expected %d", v, k, want);
        if (k && (utf8_encode(c, back) != k || memcmp(back, s, (size_t)k) != 0))
            fail_msg("%06x read as U+%04X", v, c);
    }
    uint32_t c;
    assert_int_equal(utf8_decode("\xf0\x8f\xbf\xbf", 4, &c), 0); /* overlong */
    assert_int_equal(utf8_decode("\xf4\x90\x80\x80", 4, &c), 0); /* above U+10FFFF */
    assert_int_equal(utf8_decode("\xf5\x80\x80\x80", 4, &c), 0);
    assert_int_equal(utf8_decode("\xf1\x80\x80\xc0", 4, &c), 0);
}

/* Results as bytes.decode("utf-8", "replace") gives them in Python 3.11. */
static void test_utf8_repair(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"plain", "plain"},
        {"\x61\xf1\x80\x80\xe1\x80\xc2\x62\x80\x63\x80\xbf\x64", "a???b?c??d"},
        {"\xc0\xaf\xe0\x80\xbf\xf0\x81\x82\x41", "????????A"},
        {"\xed\xa0\x80\xed\xbf\xbf\xed\xaf\x41", "????????A"},
        {"\xf4\x91\x92\x93\xff\x41\x80\xbf\x42", "?????A??B"},
        {"\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41", "????A"},
        {"\xf0\x9f\x98", "?"},
        {"\xf0\x9f\x98\x80\xf0\x9f", "\xf0\x9f\x98\x80?"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *s = cases[i][0];
        struct buf b = {0};
        for (size_t n = strlen(s); n > 0;) {
            uint32_t c;
            bool more;
            int k = utf8_decode(s, n, &c);
            if (k > 0) {
                buf_add(&b, s, (size_t)k);
            } else {
                k = utf8_broken_prefix(s, n, &more);
                assert_true(k >= 1 && k <= 3);
                buf_byte(&b, '?');
            }
            s += k;
            n -= (size_t)k;
        }
        assert_string_equal(b.data, cases[i][1]);
        buf_free(&b);
    }
    bool more;
    assert_int_equal(utf8_broken_prefix("\xe1\x80", 2, &more), 2);
    assert_true(more);
    assert_int_equal(utf8_broken_prefix("\xe1\x80\x41", 3, &more), 2);
    assert_false(more);
    assert_int_equal(utf8_broken_prefix("\x80", 1, &more), 1);
    assert_false(more);
    assert_int_equal(utf8_broken_prefix("", 0, &more), 0);
    assert_int_equal(utf8_valid_len("ab\xc3\xa9\xff"
                                    "c",
                                    6),
                     4);
    assert_int_equal(utf8_valid_len("ab\xc3", 3), 2);
}

/* ---- buf ------------------------------------------------------------------------------------- */

static void test_buf_grows(void **state)
{
    (void)state;
    struct buf b = {0};
    struct alula_error e;
    for (int i = 0; i < 1000; i++) {
        buf_fmt(&b, "%d,", i);
        buf_byte(&b, '\0');
        buf_str(&b, "x");
    }
    assert_int_equal(b.len, 10 * 4 + 90 * 5 + 900 * 6);
    assert_int_equal(b.data[b.len], 0);
    assert_memory_equal(b.data + b.len - 6, "999,\0x", 6);
    assert_ok(buf_check(&b, "text", &e), e);
    buf_clear(&b);
    assert_int_equal(b.len, 0);
    assert_string_equal(b.data, "");
    buf_free(&b);
    assert_null(b.data);
}

static void test_buf_ceiling(void **state)
{
    (void)state;
    struct buf b;
    struct alula_error e;
    buf_init(&b, 10);
    buf_str(&b, "0123456789");
    assert_false(b.failed);
    buf_add(&b, NULL, 0);
    assert_false(b.failed);
    buf_byte(&b, 'x');
    assert_true(b.failed);
    assert_string_equal(b.data, "0123456789");
    assert_false(buf_check(&b, "the answer", &e));
    assert_int_equal(e.code, ALULA_LIMIT);
    assert_string_equal(e.message, "the answer is over its limit of 10 bytes");
    buf_clear(&b);
    assert_false(buf_reserve(&b, 11));
    buf_clear(&b);
    assert_false(buf_reserve(&b, SIZE_MAX));
    /* Failure is sticky: what comes after a hole must not be added. */
    buf_str(&b, "y");
    assert_int_equal(b.len, 0);
    buf_free(&b);
    buf_str(&b, "0123456789");
    buf_fmt(&b, "%s", "x");
    assert_true(b.failed && b.len == 10);
    buf_free(&b);
}

static void test_buf_out_of_memory(void **state)
{
    (void)state;
    struct buf b = {0};
    struct alula_error e;
    buf_str(&b, "kept");
    mem_fail_after(0);
    for (int i = 0; i < 100; i++) buf_str(&b, "0123456789");
    mem_fail_after(-1);
    assert_false(buf_check(&b, "text", &e));
    assert_int_equal(e.code, ALULA_NOMEM);
    assert_memory_equal(b.data, "kept", 4);
    buf_free(&b);
}

/* ---- log ------------------------------------------------------------------------------------- */

static void test_log(void **state)
{
    (void)state;
    int fds[2], saved = dup(STDERR_FILENO);
    char text[8192], long_word[4000];
    assert_int_equal(pipe(fds), 0);
    fflush(stderr);
    dup2(fds[1], STDERR_FILENO);
    memset(long_word, 'w', sizeof long_word - 1);
    long_word[sizeof long_word - 1] = '\0';
    errno = EBUSY;
    log_at(LOG_INFO, "not said");
    log_at(LOG_WARN, "said %d", 1);
    log_set_level(LOG_DEBUG);
    log_at(LOG_DEBUG, "said too");
    log_set_level(LOG_ERROR);
    log_at(LOG_WARN, "not said");
    log_at(LOG_ERROR, "%s", long_word);
    int number = errno;
    log_set_level(LOG_WARN);
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(fds[1]);
    ssize_t n = read(fds[0], text, sizeof text - 1);
    close(fds[0]);
    assert_true(n > 0);
    text[n] = '\0';
    static const char start[] = "alula: warning: said 1\nalula: debug: said too\nalula: error: www";
    assert_memory_equal(text, start, sizeof start - 1);
    assert_int_equal(text[n - 1], '\n');
    assert_true(n > 2000 && n < 2200);
    assert_int_equal(number, EBUSY); /* a log line between a call and its errno must not hide the reason */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_err_set),
        cmocka_unit_test(test_err_errno),
        cmocka_unit_test(test_err_long_and_dirty),
        cmocka_unit_test(test_utf8_every_character),
        cmocka_unit_test(test_utf8_every_short_sequence),
        cmocka_unit_test(test_utf8_repair),
        cmocka_unit_test(test_buf_grows),
        cmocka_unit_test(test_buf_ceiling),
        cmocka_unit_test(test_buf_out_of_memory),
        cmocka_unit_test(test_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
