/* Files: maps and reads, writes that are whole or absent, folders. */
#include "tests/support.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *in_scratch(const char *name)
{
    static char paths[4][300];
    static int turn;
    struct alula_error e;
    char *p = paths[turn++ % 4];
    assert_ok(path_join(p, sizeof paths[0], scratch_dir(), name, &e), e);
    return p;
}

static void make_dir(const char *path) { assert_int_equal(mkdir(path, 0755), 0); }

static void expect_content(const char *path, const char *text)
{
    struct alula_error e;
    struct buf b = {0};
    assert_ok(file_read(path, 0, &b, &e), e);
    assert_int_equal(b.len, strlen(text));
    if (b.len) assert_memory_equal(b.data, text, b.len);
    buf_free(&b);
}

/* Number of entries of the scratch folder whose name holds `part`. */
static int count_names(const char *part)
{
    struct alula_error e;
    char **names;
    size_t n;
    int found = 0;
    assert_ok(dir_list(scratch_dir(), &names, &n, &e), e);
    for (size_t i = 0; i < n; i++) found += strstr(names[i], part) != NULL;
    mem_free(names);
    return found;
}

static void test_paths(void **state)
{
    (void)state;
    struct alula_error e;
    char out[8];
    assert_true(path_join(out, sizeof out, "ab", "cd", &e));
    assert_string_equal(out, "ab/cd");
    assert_true(path_join(out, sizeof out, "ab/", "cd", &e));
    assert_string_equal(out, "ab/cd");
    assert_true(path_join(out, sizeof out, "", "cd", &e));
    assert_string_equal(out, "cd");
    assert_true(path_join(out, sizeof out, "abc", "def", &e));
    assert_false(path_join(out, sizeof out, "abcd", "def", &e));
    assert_int_equal(e.code, ALULA_LIMIT);
    assert_string_equal(out, "abc/def");
    assert_string_equal(path_base("a/b/c"), "c");
    assert_string_equal(path_base("c"), "c");
    assert_string_equal(path_base("a/"), "");
}

static void test_map(void **state)
{
    (void)state;
    struct alula_error e;
    struct file_map m = {(const void *)"untouched", 9};
    const char *path = in_scratch("map");
    assert_false(file_map(&m, path, &e));
    assert_int_equal(e.code, ALULA_NOT_FOUND);
    assert_int_equal(m.len, 9);
    assert_false(file_map(&m, scratch_dir(), &e));
    assert_int_equal(e.code, ALULA_FORMAT);
    assert_non_null(strstr(e.message, "is a folder, expected a plain file"));
    /* A pipe has no writer: opening it must not wait for one. */
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_false(file_map(&m, path, &e));
    assert_int_equal(e.code, ALULA_FORMAT);
    unlink(path);
    assert_ok(file_write(path, "", 0, &e), e);
    assert_ok(file_map(&m, path, &e), e);
    assert_true(m.data == NULL && m.len == 0);
    file_unmap(&m);
    assert_ok(file_write(path, "content", 7, &e), e);
    assert_ok(file_map(&m, path, &e), e);
    assert_int_equal(m.len, 7);
    assert_memory_equal(m.data, "content", 7);
    file_unmap(&m);
    assert_null(m.data);
    unlink(path);
}

/* One value in the middle of a large file costs about that page and not the megabytes around it. */
static void test_map_want(void **state)
{
    (void)state;
    struct alula_error e;
    struct file_map m;
    const size_t bytes = 32u << 20, page = (size_t)sysconf(_SC_PAGESIZE), n_pages = bytes / page;
    static unsigned char there[8192];
    const char *path = in_scratch("large");
    assert_ok(file_write(path, "", 0, &e), e);
    assert_int_equal(truncate(path, (off_t)bytes), 0);
    assert_ok(file_map(&m, path, &e), e);
    file_map_want(m.data + bytes / 2 + 5, 1);
    assert_int_equal(m.data[bytes / 2 + 5], 0);
    assert_true(n_pages <= sizeof there);
    assert_int_equal(mincore((void *)(uintptr_t)m.data, m.len, there), 0);
    size_t n = 0;
    for (size_t i = 0; i < n_pages; i++) n += there[i] & 1;
    assert_in_range(n, 1, 16);
    file_map_want(m.data, m.len);
    file_unmap(&m);
    assert_int_equal(unlink(path), 0);
}

static void test_read(void **state)
{
    (void)state;
    struct alula_error e;
    struct buf b = {0};
    const char *path = in_scratch("read");
    size_t n = 300000;
    char *text = mem_alloc(n);
    for (size_t i = 0; i < n; i++) text[i] = (char)(i * 7 % 251);
    assert_ok(file_write(path, text, n, &e), e);
    buf_str(&b, "old");
    assert_ok(file_read(path, n, &b, &e), e);
    assert_int_equal(b.len, n);
    assert_memory_equal(b.data, text, n);
    assert_false(file_read(path, n - 1, &b, &e));
    assert_int_equal(e.code, ALULA_LIMIT);
    assert_non_null(strstr(e.message, "is over its limit of 299999 bytes"));
    assert_int_equal(b.len, 0);
    assert_false(b.failed);
    assert_false(file_read(in_scratch("absent"), 10, &b, &e));
    assert_int_equal(e.code, ALULA_NOT_FOUND);
    assert_false(file_read(scratch_dir(), 10, &b, &e));
    assert_int_equal(e.code, ALULA_IO);
    /* A file without an end, and one whose size the system does not tell. */
    assert_false(file_read("/dev/zero", 100000, &b, &e));
    assert_int_equal(e.code, ALULA_LIMIT);
    assert_ok(file_read("/proc/self/status", 100000, &b, &e), e);
    assert_true(b.len > 100);
    for (int i = 0; i < 2; i++) {
        buf_free(&b);
        mem_fail_after(i);
        bool ok = file_read("/proc/self/status", 0, &b, &e);
        mem_fail_after(-1);
        assert_true(ok == (i == 1) || e.code == ALULA_NOMEM);
    }
    buf_free(&b);
    mem_free(text);
    unlink(path);
}

static void test_read_standard_input(void **state)
{
    (void)state;
    struct alula_error e;
    struct buf b = {0};
    int fds[2], saved = dup(STDIN_FILENO);
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(write(fds[1], "typed", 5), 5);
    close(fds[1]);
    dup2(fds[0], STDIN_FILENO);
    close(fds[0]);
    bool ok = file_read("-", 5, &b, &e);
    dup2(saved, STDIN_FILENO);
    close(saved);
    assert_ok(ok, e);
    assert_string_equal(b.data, "typed");
    buf_free(&b);
}

static void test_write_is_whole_or_absent(void **state)
{
    (void)state;
    struct alula_error e;
    struct file_out f;
    const char *path = in_scratch("out");
    assert_ok(file_out_open(&f, path, &e), e);
    assert_ok(file_out_write(&f, "half", 4, &e), e);
    assert_false(file_exists(path));
    file_out_close(&f);
    file_out_close(&f);
    assert_false(file_exists(path));
    assert_int_equal(count_names(".tmp"), 0);
    assert_ok(file_write(path, "first", 5, &e), e);
    assert_int_equal(chmod(path, 0640), 0);
    assert_ok(file_out_open(&f, path, &e), e);
    assert_ok(file_out_write(&f, "sec", 3, &e), e);
    assert_ok(file_out_write(&f, "ond", 3, &e), e);
    assert_int_equal(f.written, 6);
    expect_content(path, "first");
    assert_ok(file_out_commit(&f, &e), e);
    file_out_close(&f);
    expect_content(path, "second");
    assert_int_equal(count_names(".tmp"), 0);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640); /* a file that was private stays so */
    /* Two writers of one file: each has its own temporary, the last to finish wins. */
    struct file_out g;
    assert_ok(file_out_open(&f, path, &e), e);
    assert_ok(file_out_open(&g, path, &e), e);
    assert_ok(file_out_write(&f, "f", 1, &e), e);
    assert_ok(file_out_write(&g, "g", 1, &e), e);
    assert_ok(file_out_commit(&g, &e), e);
    assert_ok(file_out_commit(&f, &e), e);
    expect_content(path, "f");
    unlink(path);
}

/* Runs fn in a child, gives its exit status, or -SIGNAL. */
static int in_child(int (*fn)(const char *path), const char *path)
{
    pid_t pid = fork();
    if (pid == 0) _exit(fn(path));
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static int write_and_die(const char *path)
{
    struct alula_error e;
    struct file_out f;
    if (!file_out_open(&f, path, &e) || !file_out_write(&f, "half", 4, &e)) return 1;
    raise(SIGKILL);
    return 2;
}

static void test_killed_writer(void **state)
{
    (void)state;
    struct alula_error e;
    const char *path = in_scratch("killed");
    assert_int_equal(in_child(write_and_die, path), -SIGKILL);
    assert_false(file_exists(path));
    assert_ok(file_write(path, "old", 3, &e), e);
    assert_int_equal(in_child(write_and_die, path), -SIGKILL);
    expect_content(path, "old");
    /* What it left does not stand in anybody's way. */
    assert_ok(file_write(path, "new", 3, &e), e);
    expect_content(path, "new");
    unlink(path);
}

/* A limit on the size of files stands for a full disk: part of the bytes is taken, then the system refuses.
 */
static int write_too_much(const char *path)
{
    struct alula_error e = {0};
    struct rlimit limit = {5000, 5000};
    char text[4000] = {0};
    struct file_out f;
    signal(SIGXFSZ, SIG_IGN);
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0) return 10;
    if (!file_out_open(&f, path, &e) || !file_out_write(&f, text, sizeof text, &e)) return 11;
    if (file_out_write(&f, text, sizeof text, &e)) return 12;
    if (f.written != 5000 || e.code != ALULA_IO) return 13;
    if (!strstr(e.message, path) || !strstr(e.message, "after 5000 bytes: File too large")) return 14;
    file_out_close(&f);
    if (file_exists(path)) return 15;
    char big[6000] = {0};
    return file_write(path, big, sizeof big, &e) || file_exists(path) ? 16 : 0;
}

static void test_full_disk(void **state)
{
    (void)state;
    assert_int_equal(in_child(write_too_much, in_scratch("full")), 0);
    assert_int_equal(count_names("full"), 0);
}

/* Root may write anywhere, so the child becomes somebody else first. */
static int write_where_forbidden(const char *path)
{
    struct alula_error e = {0};
    struct file_out f;
    if (geteuid() == 0 && seteuid(65534) != 0) return 10;
    if (file_out_open(&f, path, &e)) return 11;
    if (e.code != ALULA_IO || !strstr(e.message, path) || !strstr(e.message, "Permission denied")) return 12;
    struct file_map m;
    return file_map(&m, "/proc/1/mem", &e) ? 13 : 0;
}

static void test_unwritable(void **state)
{
    (void)state;
    struct alula_error e;
    struct file_out f;
    const char *dir = in_scratch("locked"), *path = in_scratch("locked/file");
    make_dir(dir);
    assert_int_equal(chmod(dir, 0555), 0);
    assert_int_equal(chmod(scratch_dir(), 0755), 0);
    assert_int_equal(in_child(write_where_forbidden, path), 0);
    rmdir(dir);
    assert_false(file_out_open(&f, in_scratch("no/such/folder"), &e));
    assert_int_equal(e.code, ALULA_NOT_FOUND);
    assert_int_equal(f.fd, -1);
    const char *plain = in_scratch("plain");
    assert_ok(file_write(plain, "x", 1, &e), e);
    assert_false(file_out_open(&f, in_scratch("plain/below"), &e));
    assert_int_equal(e.code, ALULA_IO);
    unlink(plain);
    /* Renaming over a device would replace it for everybody. */
    assert_false(file_out_open(&f, "/dev/full", &e));
    assert_int_equal(e.code, ALULA_USAGE);
    assert_non_null(strstr(e.message, "expected a plain file"));
    assert_false(file_out_open(&f, scratch_dir(), &e));
    assert_non_null(strstr(e.message, "there is a folder of this name"));
    assert_false(file_out_open(&f, "", &e));
    assert_false(file_out_open(&f, "a/", &e));
    char longest[5000];
    memset(longest, 'p', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    assert_false(file_out_open(&f, longest, &e));
    assert_int_equal(e.code, ALULA_USAGE);
    file_out_close(&f);
}

static void test_list(void **state)
{
    (void)state;
    struct alula_error e;
    const char *dir = in_scratch("list");
    char path[400], **names = NULL;
    size_t n = 7;
    assert_false(dir_list(dir, &names, &n, &e));
    assert_int_equal(e.code, ALULA_NOT_FOUND);
    assert_int_equal(n, 7);
    make_dir(dir);
    assert_ok(dir_list(dir, &names, &n, &e), e);
    assert_true(n == 0 && names[0] == NULL);
    mem_free(names);
    static const char *const made[] = {"b", "a.json", "B", "a", "\xc3\xa9", ".hidden"};
    for (size_t i = 0; i < 6; i++) {
        assert_ok(path_join(path, sizeof path, dir, made[i], &e), e);
        assert_ok(file_write(path, "x", 1, &e), e);
    }
    assert_ok(path_join(path, sizeof path, dir, "link", &e), e);
    assert_int_equal(symlink("a", path), 0); /* a hub's cache is made of links to files */
    assert_ok(path_join(path, sizeof path, dir, "folder", &e), e);
    make_dir(path);
    static const char *const sorted[] = {".hidden", "B", "a", "a.json", "b", "link", "\xc3\xa9"};
    assert_ok(dir_list(dir, &names, &n, &e), e);
    assert_int_equal(n, 7);
    for (size_t i = 0; i < n; i++) assert_string_equal(names[i], sorted[i]);
    assert_null(names[n]);
    mem_free(names);
    mem_fail_after(1);
    bool ok = dir_list(dir, &names, &n, &e);
    mem_fail_after(-1);
    assert_true(!ok && e.code == ALULA_NOMEM);
    assert_ok(dir_sync(dir, &e), e);
    assert_ok(dir_remove(dir, &e), e);
    assert_false(file_exists(dir));
}

static void test_remove(void **state)
{
    (void)state;
    struct alula_error e;
    const char *dir = in_scratch("remove"), *kept = in_scratch("kept");
    char path[2000];
    make_dir(dir);
    make_dir(kept);
    assert_ok(path_join(path, sizeof path, kept, "file", &e), e);
    assert_ok(file_write(path, "x", 1, &e), e);
    assert_ok(path_join(path, sizeof path, dir, "link", &e), e);
    assert_int_equal(symlink(kept, path), 0);
    snprintf(path, sizeof path, "%s", dir);
    for (int i = 0; i < 20; i++) {
        strcat(path, "/deep");
        make_dir(path);
    }
    strcat(path, "/file");
    assert_ok(file_write(path, "x", 1, &e), e);
    assert_ok(dir_remove(dir, &e), e);
    assert_false(file_exists(dir));
    /* The link is gone, what it pointed to is not. */
    assert_ok(path_join(path, sizeof path, kept, "file", &e), e);
    assert_true(file_exists(path));
    assert_int_equal(file_size(path), 1);
    assert_true(file_is_dir(kept));
    assert_ok(dir_remove(dir, &e), e); /* nothing there: nothing to do */
    assert_ok(dir_remove(kept, &e), e);
    assert_int_equal(file_size(path), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_map),
        cmocka_unit_test(test_map_want),
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_read_standard_input),
        cmocka_unit_test(test_write_is_whole_or_absent),
        cmocka_unit_test(test_killed_writer),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_unwritable),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_remove),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
