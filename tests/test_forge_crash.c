/* test_forge_crash.c - the forge killed, or out of disk: the artifact is whole or absent, and going on gives the same bytes. */
#include "tests/forge_rig.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* A full disk stands in for by a limit on file sizes: the write fails in the middle of a shard. */
static void test_full_disk(void **state)
{
    (void)state;
    struct forge_options o = forge_usual("models/tiny-trunk", "models/tiny-donor", scratch_path("full"));
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        struct rlimit lim = {1 << 20, 1 << 20};
        struct forge_report r;
        struct alula_error e = {0};
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &lim);
        _exit(!forge_run(&o, &r, &e) && e.code == ALULA_IO && strstr(e.message, "model.safetensors") ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_false(file_is_dir(o.out));
}

/* Killed at instants spread over a run: the artifact is absent or whole, and going on gives the same bytes. */
static void test_killed_at_any_instant(void **state)
{
    (void)state;
    struct forge_options ref =
        forge_usual("tests/data/layouts/trunk", "tests/data/layouts/donor", scratch_path("reference"));
    struct timespec t0, t1;
    clock_gettime(CLOCK_MONOTONIC, &t0);
    forge_ok(&ref);
    clock_gettime(CLOCK_MONOTONIC, &t1);
    double span_us = (double)(t1.tv_sec - t0.tv_sec) * 1e6 + (double)(t1.tv_nsec - t0.tv_nsec) / 1e3;

    struct forge_options o = forge_usual(ref.trunk, ref.mtp, scratch_path("killed"));
    enum { KILLS = 200 };
    for (int i = 0; i < KILLS; i++) {
        struct alula_error e;
        int status;
        pid_t pid = fork();
        if (pid == 0) {
            struct forge_report r;
            _exit(forge_run(&o, &r, &e) ? 0 : 1);
        }
        usleep((useconds_t)(span_us * 1.1 * (double)(i * 37 % KILLS) / KILLS));
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
        if (file_is_dir(o.out)) {
            assert_same_folder(ref.out, o.out);
            assert_ok(dir_remove(o.out, &e), e);
        }
    }
    forge_ok(&o);
    assert_same_folder(ref.out, o.out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_killed_at_any_instant),
    };
    return cmocka_run_group_tests_name("forge, killed", tests, NULL, NULL);
}
