/* support.c - what the unit tests share; see support.h. */
#include "tests/support.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *data_path(const char *name)
{
    static char paths[4][4096];
    static int turn;
    char *p = paths[turn++ % 4];
    snprintf(p, sizeof paths[0], "tests/data/%s", name);
    return p;
}

static char scratch[64];

static void remove_scratch(void)
{
    struct alula_error e;
    dir_remove(scratch, &e);
}

const char *scratch_dir(void)
{
    if (!scratch[0]) {
        snprintf(scratch, sizeof scratch, "/tmp/alula-test-XXXXXX");
        if (!mkdtemp(scratch)) {
            perror(scratch);
            exit(1);
        }
        atexit(remove_scratch);
    }
    return scratch;
}

const char *scratch_path(const char *name)
{
    static char paths[16][4096];
    static int turn;
    char *p = paths[turn++ % 16];
    snprintf(p, sizeof paths[0], "%s/%s", scratch_dir(), name);
    return p;
}

/* Links every entry of from into to, over what is there. */
static void link_all(const char *from, const char *to)
{
    DIR *d = opendir(from);
    if (!d) return; /* a variant that only takes away has no files/ */
    for (struct dirent *entry; (entry = readdir(d));) {
        char old[8192], new[8192];
        if (entry->d_name[0] == '.') continue;
        snprintf(old, sizeof old, "%s/%s", from, entry->d_name);
        snprintf(new, sizeof new, "%s/%s", to, entry->d_name);
        unlink(new);
        if (symlink(old, new) != 0) fail_msg("cannot link %s", new);
    }
    closedir(d);
}

const char *variant_dir(const char *name)
{
    static char paths[4][4096];
    static int turn, n_built;
    char from[4096], line[256], cwd[2048], *p = paths[turn++ % 4];
    if (!getcwd(cwd, sizeof cwd)) fail_msg("no working folder");
    snprintf(p, sizeof paths[0], "%s/%s-%d", scratch_dir(), name, n_built++);
    if (mkdir(p, 0700) != 0) fail_msg("cannot make %s", p);
    snprintf(from, sizeof from, "%s/tests/data/mtplx/variants/base", cwd);
    link_all(from, p);
    snprintf(from, sizeof from, "%s/tests/data/mtplx/variants/%s/remove.txt", cwd, name);
    FILE *f = strcmp(name, "base") ? fopen(from, "r") : NULL;
    if (!f && strcmp(name, "base")) fail_msg("no variant %s", name);
    while (f && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = '\0';
        snprintf(from, sizeof from, "%.3000s/%.200s", p, line);
        if (line[0]) unlink(from);
    }
    if (f) fclose(f);
    snprintf(from, sizeof from, "%s/tests/data/mtplx/variants/%s/files", cwd, name);
    link_all(from, p);
    return p;
}

struct buf read_data(const char *name)
{
    struct buf b;
    struct alula_error e;
    buf_init(&b, 0);
    assert_ok(file_read(data_path(name), 0, &b, &e), e);
    return b;
}

json_t *read_json(const char *dir, const char *name)
{
    char path[4096];
    struct alula_error e;
    assert_ok(path_join(path, sizeof path, dir, name, &e), e);
    json_t *v = json_parse_file(path, 1u << 24, 64, &e);
    assert_ok(v, e);
    return v;
}

void assert_close(const float *a, const float *b, size_t n, double tol, const char *what)
{
    size_t worst = 0;
    double max = -1;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)a[i] - b[i]);
        if (!(d <= tol) && (isnan(d) || d > max)) {
            max = isnan(d) ? INFINITY : d;
            worst = i;
        }
    }
    if (max >= 0)
        fail_msg("%s: [%zu] is %.9g, expected %.9g within %g", what, worst, (double)a[worst],
                 (double)b[worst], tol);
}

static struct buf read_path(const char *dir, const char *name)
{
    char path[4096];
    struct buf b;
    struct alula_error e;
    buf_init(&b, 0);
    assert_ok(path_join(path, sizeof path, dir, name, &e) && file_read(path, 0, &b, &e), e);
    return b;
}

void assert_same_file(const char *a, const char *b, const char *name)
{
    struct buf x = read_path(a, name), y = read_path(b, name);
    if (x.len != y.len || memcmp(x.data, y.data, x.len)) fail_msg("%s differs between %s and %s", name, a, b);
    buf_free(&x);
    buf_free(&y);
}

void assert_same_folder(const char *a, const char *b)
{
    char **names_a, **names_b;
    size_t n_a, n_b;
    struct alula_error e;
    assert_ok(dir_list(a, &names_a, &n_a, &e) && dir_list(b, &names_b, &n_b, &e), e);
    assert_int_equal(n_a, n_b);
    for (size_t i = 0; i < n_a; i++) {
        assert_string_equal(names_a[i], names_b[i]);
        assert_same_file(a, b, names_a[i]);
    }
    mem_free(names_a);
    mem_free(names_b);
}
