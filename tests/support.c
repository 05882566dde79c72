#include "tests/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
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

struct buf read_data(const char *name)
{
    struct buf b;
    struct alula_error e;
    buf_init(&b, 0);
    assert_ok(file_read(data_path(name), 0, &b, &e), e);
    return b;
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
        fail_msg("%s: [%zu] is %.9g, expected %.9g within %g", what, worst, (double)a[worst], (double)b[worst], tol);
}
