/* bench_cache.c - what the prompt cache saves: seconds to store and to restore a prompt beside those to read
 * it.
 *
 * `make bench-cache`; never a test. On random weights in the shape of the 35B, cut to LAYERS layers: rows,
 * snapshots and the work of reading all grow with the layers in the same ratio. Each way is taken ROUNDS
 * times by a new session; printed are the median, and its share of reading. "disk, cold" reads files that the
 * system was asked to forget. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "decode/decode_internal.h"
#include "tune/synth.h"

enum { LAYERS = 8, PROMPT = 2000, STEP = 500, NEW = 32, ROUNDS = 5 };

struct bench {
    struct alula_engine engine;
    struct alula_batch *batch;
    struct alula_cache *cache;
    char dir[64];
    int32_t ids[PROMPT + NEW];
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void need(bool ok, const struct alula_error *e)
{
    if (ok) return;
    fprintf(stderr, "bench_cache: %s\n", e->message);
    exit(1);
}

static struct alula_session *new_session(struct bench *b)
{
    struct alula_error e;
    struct alula_session *s;
    struct alula_session_options o = alula_session_defaults();
    o.batch = b->batch;
    o.n_ctx = 4096;
    o.depth = 1;
    need(alula_session_create(&s, &b->engine, &o, &e), &e);
    return s;
}

static double read_ids(struct alula_session *s, const int32_t *ids, int n)
{
    struct alula_error e;
    double begin = now();
    need(alula_session_prompt(s, ids, (size_t)n, NULL, NULL, &e), &e);
    return now() - begin;
}

static double store(struct bench *b, struct alula_session *s)
{
    struct alula_error e;
    double begin = now();
    need(alula_cache_store(b->cache, s, &e), &e);
    return now() - begin;
}

/* Seconds to take over the prompt; what follows it is read afterwards, *ret_next seconds. */
static double restore(struct bench *b, const char *source, double *ret_next)
{
    struct alula_error e;
    struct alula_cache_hit hit;
    struct alula_session *s = new_session(b);
    double begin = now();
    need(alula_cache_restore(b->cache, s, b->ids, PROMPT + NEW, &hit, &e), &e);
    double spent = now() - begin;
    if (hit.n != PROMPT || strcmp(hit.source, source)) {
        fprintf(stderr, "bench_cache: %zu tokens from %s, expected %d from %s\n", hit.n, hit.source, PROMPT,
                source);
        exit(1);
    }
    *ret_next = read_ids(s, b->ids + PROMPT, NEW);
    alula_session_free(s);
    return spent;
}

static void make_cache(struct bench *b)
{
    struct alula_error e;
    struct alula_cache_options o = {.memory = (size_t)2 << 30, .dir = b->dir};
    alula_cache_free(b->cache); /* writes what is to be written */
    need(alula_cache_create(&b->cache, &b->engine, &o, &e), &e);
}

static uint64_t forget_files(const struct bench *b, bool cold)
{
    struct alula_error e;
    char **names, path[4096];
    size_t n;
    uint64_t bytes = 0;
    need(dir_list(b->dir, &names, &n, &e), &e);
    for (size_t i = 0; i < n; i++) {
        snprintf(path, sizeof path, "%s/%s", b->dir, names[i]);
        bytes += file_size(path);
        int fd = cold ? open(path, O_RDONLY) : -1;
        if (fd < 0) continue;
        posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        close(fd);
    }
    mem_free(names);
    return bytes;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void measure(struct bench *b, const char *what, const char *source, bool cold, double read)
{
    double spent[ROUNDS], next[ROUNDS];
    for (int i = 0; i < ROUNDS; i++) {
        if (!strcmp(source, "disk")) make_cache(b);
        forget_files(b, cold);
        spent[i] = restore(b, source, &next[i]);
    }
    qsort(spent, ROUNDS, sizeof *spent, by_value);
    qsort(next, ROUNDS, sizeof *next, by_value);
    double s = spent[ROUNDS / 2], n = next[ROUNDS / 2];
    printf("%-12s %8.3f s  %5.1f %% of reading;  with %d new tokens %8.3f s  %5.1f %%\n", what, s,
           100 * s / read, NEW, s + n, 100 * (s + n) / read);
}

static void open_engine(struct bench *b, struct pool *pool)
{
    static struct checkpoint nothing;
    struct alula_error e;
    struct config shape;
    struct synth *synth;
    synth_shape(&shape, SYNTH_35B, LAYERS);
    need(synth_create(&synth, &shape, 0.5, pool, &e), &e);
    need(model_create(&b->engine.model, &synth->weights, NULL, MODEL_FAST, &e), &e);
    b->engine.trunk = &nothing;
    b->engine.weights = &synth->weights;
    b->engine.has_mtp = true;
    b->engine.token_bytes_max = 16;
    for (int i = 0; i < PROMPT + NEW; i++) b->ids[i] = i * 7 % shape.vocab;
}

int main(void)
{
    static struct bench b = {.dir = "/tmp/alula-bench-cache-XXXXXX"};
    struct alula_error e;
    struct pool *pool;
    if (!mkdtemp(b.dir)) return 1;
    need(pool_create(&pool, 0, &e), &e);
    open_engine(&b, pool);
    need(alula_batch_create(&b.batch, &b.engine, NULL, &e), &e);
    make_cache(&b);
    struct alula_session *s = new_session(&b);
    double read = 0, stored = 0;
    for (int i = 0; i < PROMPT; i += STEP) {
        read += read_ids(s, b.ids + i, STEP);
        stored += store(&b, s);
    }
    printf("%d layers in the shape of the 35B, %d threads, a prompt of %d tokens\n", LAYERS,
           pool_threads(pool), PROMPT);
    printf("%-12s %8.3f s\n%-12s %8.3f s  %5.1f %% of reading, %d times in all\n", "read", read, "store",
           stored, 100 * stored / read, PROMPT / STEP);
    measure(&b, "memory", "memory", false, read);
    measure(&b, "disk, warm", "disk", false, read);
    printf("%-12s %8.1f MB in files\n", "", (double)forget_files(&b, false) / 1e6);
    measure(&b, "disk, cold", "disk", true, read);
    alula_cache_free(b.cache);
    alula_session_free(s);
    alula_batch_free(b.batch);
    return dir_remove(b.dir, &e) ? 0 : 1;
}
