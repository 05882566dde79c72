/* test_sha256.c - SHA-256 on the examples of FIPS 180 and around every border of a block, in any pieces, with and without the CPU's
 * instructions for it. */
#include "tests/support.h"

#include <stdio.h>
#include <string.h>
#include "base/sha256.h"

/* By the CPU's own instructions, if it has them, and without. */
static void digest(const char *text, size_t n, size_t step, char out[SHA256_HEX])
{
    struct sha256 s, portable;
    char same[SHA256_HEX];
    sha256_init(&s);
    sha256_init_portable(&portable);
    for (size_t i = 0; i < n; i += step) {
        sha256_add(&s, text + i, n - i < step ? n - i : step);
        sha256_add(&portable, text + i, n - i < step ? n - i : step);
    }
    sha256_hex(&s, out);
    sha256_hex(&portable, same);
    assert_string_equal(out, same);
}

static void test_published_examples(void **state)
{
    (void)state;
    static const char two_blocks[] = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    static char million[1000000];
    char out[SHA256_HEX];
    digest("", 0, 1, out);
    assert_string_equal(out, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    digest("abc", 3, 3, out);
    assert_string_equal(out, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    digest(two_blocks, sizeof two_blocks - 1, 5, out);
    assert_string_equal(out, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    memset(million, 'a', sizeof million);
    digest(million, sizeof million, 977, out);
    assert_string_equal(out, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

/* Padding has its own cases where the text ends near a block's end; pieces must not matter there. */
static void test_pieces_do_not_matter(void **state)
{
    (void)state;
    char text[200], whole[SHA256_HEX], pieces[SHA256_HEX];
    for (size_t i = 0; i < sizeof text; i++) text[i] = (char)(i * 37);
    for (size_t n = 0; n <= sizeof text; n++) {
        digest(text, n, n + 1, whole);
        for (size_t step = 1; step <= 65; step += 8) {
            digest(text, n, step, pieces);
            assert_string_equal(whole, pieces);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published_examples),
        cmocka_unit_test(test_pieces_do_not_matter),
    };
    return cmocka_run_group_tests_name("sha256", tests, NULL, NULL);
}
