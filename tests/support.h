/* support.h - what the unit tests share: cmocka in the right order, comparison of doubles, fixture paths. */
#ifndef TESTS_SUPPORT_H
#define TESTS_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/err.h"
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"

/* Fails with the error's own message if ok is false. cmocka does not say that its failures never return; abort
 * does, so that compilers know what is set behind a chain of calls. */
#define assert_ok(ok, e)                                                                                     \
    do {                                                                                                     \
        if (!(ok)) {                                                                                         \
            fail_msg("%s", (e).message);                                                                     \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

/* Whether this is built for the thread sanitizer: some tests take too long there, or fork, which it does not bear. */
#if defined(__has_feature)
#define HAS(feature) __has_feature(feature)
#else
#define HAS(feature) 0
#endif
#if defined(__SANITIZE_THREAD__) || HAS(thread_sanitizer)
#define TSAN 1
#else
#define TSAN 0
#endif

/* "tests/data/NAME" relative to the repository's root, from which tests run. One of four rotating static buffers. */
const char *data_path(const char *name);
/* A fresh folder for this process, removed at exit. */
const char *scratch_dir(void);
/* A name in that folder. One of 16 rotating static buffers. */
const char *scratch_path(const char *name);
/* The folder of one of tests/data/mtplx/variants, put together in the scratch folder: links to the base's files and to its own. One of
 * four rotating static buffers. */
const char *variant_dir(const char *name);
/* A whole fixture file; fails the test if it is not there. free with buf_free. */
struct buf read_data(const char *name);
/* A whole JSON file of a folder; fails the test if it is none. json_decref. */
json_t *read_json(const char *dir, const char *name);
/* Every |a[i]-b[i]| <= tol; on failure names `what` and the worst place. NaN fails. */
void assert_close(const float *a, const float *b, size_t n, double tol, const char *what);

/* One file of two folders, byte for byte. */
void assert_same_file(const char *a, const char *b, const char *name);
/* Every plain file of two folders. */
void assert_same_folder(const char *a, const char *b);

#endif
