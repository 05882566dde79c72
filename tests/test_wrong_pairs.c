/* test_wrong_pairs.c - the program itself on every pair that must not pass: forge, forge verify and inspect
 * say what is wrong, and their exit statuses say no. The library's side of it is in test_calibrate.c and
 * test_verify.c. */
#include "tests/support.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/head_rig.h"

/* build/alula of build/tests/test_wrong_pairs */
static const char *program(void)
{
    static char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 16);
    assert_true(n > 0);
    path[n] = '\0';
    for (int i = 0; i < 2; i++) *strrchr(path, '/') = '\0';
    return strcat(path, "/alula");
}

/* Runs it and expects an exit status and words in what it printed. */
static void expect(int status, const char *words, const char *arguments)
{
    char command[16000], out[4200];
    struct buf said = {0};
    struct alula_error e = {0};
    snprintf(out, sizeof out, "%s/said", scratch_dir());
    snprintf(command, sizeof command, "'%s' %s >'%s' 2>&1", program(), arguments, out);
    int rc = system(command);
    assert_true(WIFEXITED(rc));
    assert_ok(file_read(out, 0, &said, &e), e);
    const char *text = said.data ? said.data : "";
    if (WEXITSTATUS(rc) != status)
        fail_msg("alula %s: exit %d, expected %d:\n%s", arguments, WEXITSTATUS(rc), status, text);
    if (!strstr(text, words)) fail_msg("alula %s: no \"%s\" in:\n%s", arguments, words, text);
    buf_free(&said);
}

static void judge(const char *dir, const char *words, const char *state_word)
{
    char arguments[9000];
    snprintf(arguments, sizeof arguments, "forge verify %s --prompts 1 --max-tokens 8", dir);
    expect(1, words, arguments);
    snprintf(arguments, sizeof arguments, "inspect %s", dir);
    expect(3, state_word, arguments);
    snprintf(arguments, sizeof arguments, "forge card %s --print", dir);
    expect(0, "**Verification failed:**", arguments);
}

/* The way that a user takes: the folder is made, since its body is sound, but no step says yes. */
static void must_not_pass(enum head_fault fault, const char *words, const char *state_word)
{
    char dir[4200], arguments[9000];
    snprintf(dir, sizeof dir, "%s/artifact%d", scratch_dir(), (int)fault);
    snprintf(arguments, sizeof arguments, "forge --trunk models/tiny-trunk --mtp %s --out %s",
             rig_head(fault), dir);
    expect(1, words, arguments);
    snprintf(arguments, sizeof arguments, "inspect %s", dir);
    expect(3, state_word, arguments);
    judge(dir, words, state_word);
}

static void test_shuffled_head(void **state)
{
    (void)state;
    must_not_pass(HEAD_SHUFFLED, "does not foretell what this trunk says", "fail_calibration");
}

static void test_head_of_another_seed(void **state)
{
    (void)state;
    must_not_pass(HEAD_NOISE, "does not foretell what this trunk says", "fail_calibration");
}

/* In the donor, and in an artifact whose config.json was changed. */
static void test_wrong_norm_encoding(void **state)
{
    (void)state;
    char dir[4200], arguments[9000], path[4300];
    struct alula_error e = {0};
    struct buf b = {0};
    snprintf(dir, sizeof dir, "%s/mislabeled", scratch_dir());
    snprintf(arguments, sizeof arguments, "forge --trunk models/tiny-trunk --mtp %s --out %s",
             rig_head(HEAD_MISLABELED), dir);
    expect(1, "says a wrong mtplx_mtp_norm_encoding", arguments);
    snprintf(arguments, sizeof arguments,
             "forge --trunk models/tiny-trunk --mtp " HEAD_DONOR " --out %s --norm-encoding delta", dir);
    expect(0, "verified    yes", arguments);
    snprintf(path, sizeof path, "%s/config.json", dir);
    json_t *root = json_parse_file(path, 1 << 20, 64, &e);
    assert_ok(root, e);
    json_object_set_new(root, "mtplx_mtp_norm_encoding", json_string("absolute"));
    json_write(&b, root, 2);
    assert_ok(file_write(path, b.data, b.len, &e), e);
    buf_free(&b);
    json_decref(root);
    judge(dir, "the head's norms are stored as delta", "fail_norm_encoding");
}

static void test_swapped_concat(void **state)
{
    (void)state;
    must_not_pass(HEAD_SWAPPED, "it says concat_order embedding_hidden", "fail_contract");
}

/* So that the others cannot pass because of something else. */
static void test_sound_head(void **state)
{
    (void)state;
    char arguments[9000];
    snprintf(arguments, sizeof arguments, "forge --trunk models/tiny-trunk --mtp %s --out %s/sound",
             rig_head(HEAD_SOUND), scratch_dir());
    expect(0, "verified    yes", arguments);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shuffled_head),       cmocka_unit_test(test_head_of_another_seed),
        cmocka_unit_test(test_wrong_norm_encoding), cmocka_unit_test(test_swapped_concat),
        cmocka_unit_test(test_sound_head),
    };
    return cmocka_run_group_tests_name("wrong_pairs", tests, NULL, NULL);
}
