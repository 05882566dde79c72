/* model_rig.h - what the tests of the network share: a model opened from folders with everything needed to
 * run it, expected tensors, a recorder for the tap, and the shortest ways to read tokens and to take greedy
 * ones. */
#ifndef TESTS_MODEL_RIG_H
#define TESTS_MODEL_RIG_H

#include "artifact/weights.h"
#include "model/model.h"
#include "tests/support.h"

#include <string.h>

#define RIG_CTX 640

struct rig {
    struct checkpoint *trunk, *head;
    struct weights *weights;
    struct model *model;
    struct pool *pool;
    struct forward *f;
    struct state *s;
    const struct config *c;
    enum model_mode mode; /* zero: exact */
};

static inline struct state *rig_state(const struct rig *g)
{
    struct alula_error e;
    struct state *s;
    assert_ok(state_create(&s, g->model, RIG_CTX, &e), e);
    return s;
}

/* The passes again with another contract, number of threads or batch size. */
static inline void rig_passes(struct rig *g, const struct mtp_contract *contract, int threads, int max_rows)
{
    struct alula_error e;
    assert_ok(model_create(&g->model, g->weights, contract, g->mode, &e), e);
    assert_ok(pool_create(&g->pool, threads, &e), e);
    assert_ok(forward_create(&g->f, g->model, g->pool, max_rows, &e), e);
    g->c = model_config(g->model);
    g->s = rig_state(g);
}

static inline void rig_passes_end(struct rig *g)
{
    state_free(g->s);
    forward_free(g->f);
    pool_free(g->pool);
    model_free(g->model);
}

/* Folders as they are given; head NULL: the trunk's own. */
static inline void rig_open(struct rig *g, const char *trunk, const char *head)
{
    struct alula_error e;
    memset(g, 0, sizeof *g);
    assert_ok(checkpoint_open(&g->trunk, trunk, &e), e);
    if (head) assert_ok(checkpoint_open(&g->head, head, &e), e);
    assert_ok(weights_bind(&g->weights, g->trunk, g->head, &e), e);
}

static inline void rig_close(struct rig *g)
{
    weights_free(g->weights);
    checkpoint_close(g->head);
    checkpoint_close(g->trunk);
}

/* ---- reading ------------------------------------------------------------------------------------------- */

/* Reads n tokens into s as one span. */
static inline void rig_span(const struct rig *g, struct state *s, const int32_t *tokens, int n, bool verify,
                            enum span_logits logits)
{
    struct span span = {.state = s, .tokens = tokens, .n = n, .verify = verify, .logits = logits};
    forward_run(g->f, &span, 1);
}

/* Reads n tokens in chunks. logits [n][vocab] and hidden [n][hidden] (what feeds the head) may be NULL. */
static inline void rig_read(const struct rig *g, struct state *s, const int32_t *tokens, int n, int chunk,
                            float *logits, float *hidden)
{
    size_t v = (size_t)g->c->vocab, h = (size_t)g->c->hidden;
    for (int at = 0; at < n; at += chunk) {
        int m = n - at < chunk ? n - at : chunk;
        rig_span(g, s, tokens + at, m, false, logits ? SPAN_LOGITS_ALL : SPAN_LOGITS_LAST);
        for (int i = 0; i < m; i++) {
            if (logits) memcpy(logits + (size_t)(at + i) * v, forward_logits(g->f, i), v * sizeof(float));
            if (hidden) memcpy(hidden + (size_t)(at + i) * h, forward_hidden(g->f, i), h * sizeof(float));
        }
    }
}

static inline int32_t best_of(const float *logits, int n)
{
    int best = 0;
    for (int i = 1; i < n; i++)
        if (logits[i] > logits[best]) best = i;
    return best;
}

/* ---- what is expected ---------------------------------------------------------------------------------- */

static inline struct st_file *expected_open(const char *name)
{
    struct alula_error e;
    struct st_file *f;
    assert_ok(st_open(&f, data_path(name), &e), e);
    return f;
}

static inline const void *expected_data(const struct st_file *f, enum dtype type, uint64_t n,
                                        const char *name)
{
    const struct tensor *t = st_find(f, name);
    if (!t) fail_msg("the fixture has no tensor %s", name);
    if (t->dtype != type || t->n_bytes != n * 4)
        fail_msg("%s has %llu bytes, the test expects %llu values", name, (unsigned long long)t->n_bytes,
                 (unsigned long long)n);
    return t->data;
}

/* The values of a float32 or int32 tensor, whose number must be n. name is a format. */
static inline __attribute__((format(printf, 3, 4))) const float *
expected_floats(const struct st_file *f, size_t n, const char *fmt, ...)
{
    char name[128];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(name, sizeof name, fmt, ap);
    va_end(ap);
    return expected_data(f, DT_F32, n, name);
}

static inline __attribute__((format(printf, 3, 4))) const int32_t *
expected_ints(const struct st_file *f, size_t n, const char *fmt, ...)
{
    char name[128];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(name, sizeof name, fmt, ap);
    va_end(ap);
    return expected_data(f, DT_I32, n, name);
}

/* An array of integers in JSON; returns their number. */
static inline int json_ints(const json_t *array, int32_t *out, int max)
{
    int n = (int)json_array_size(array);
    assert_true(n <= max);
    for (int i = 0; i < n; i++) out[i] = (int32_t)json_integer_value(json_array_get(array, (size_t)i));
    return n;
}

static inline json_t *expected_json(const char *path)
{
    struct alula_error e;
    json_t *root = json_parse_file(path, 64 << 20, 32, &e);
    assert_ok(root, e);
    return root;
}

/* ---- the tap ------------------------------------------------------------------------------------------- */

/* Every quantity of every layer, rows of successive runs behind each other. */
struct record {
    char what[24];
    int layer, width, n_rows;
    float *rows;
};
struct recorder {
    struct record records[512];
    int n;
};

static inline struct record *recorder_find(struct recorder *r, const char *what, int layer)
{
    for (int i = 0; i < r->n; i++)
        if (r->records[i].layer == layer && strcmp(r->records[i].what, what) == 0) return &r->records[i];
    return NULL;
}

static inline void recorder_tap(void *arg, const char *what, int layer, const float *rows, int n_rows,
                                int width)
{
    struct recorder *r = arg;
    struct record *rec = recorder_find(r, what, layer);
    if (!rec) {
        assert_true(r->n < (int)(sizeof r->records / sizeof r->records[0]));
        rec = &r->records[r->n++];
        *rec = (struct record){.layer = layer, .width = width};
        snprintf(rec->what, sizeof rec->what, "%s", what);
    }
    size_t had = (size_t)rec->n_rows * (size_t)width, more = (size_t)n_rows * (size_t)width;
    rec->rows = mem_realloc(rec->rows, (had + more) * sizeof(float));
    assert_non_null(rec->rows);
    memcpy(rec->rows + had, rows, more * sizeof(float));
    rec->n_rows += n_rows;
}

static inline const float *recorded(struct recorder *r, const char *what, int layer, int n_rows, int width)
{
    struct record *rec = recorder_find(r, what, layer);
    if (!rec) fail_msg("the tap told nothing of %s in layer %d", what, layer);
    assert_int_equal(rec->n_rows, n_rows);
    assert_int_equal(rec->width, width);
    return rec->rows;
}

static inline void recorder_clear(struct recorder *r)
{
    for (int i = 0; i < r->n; i++) mem_free(r->records[i].rows);
    r->n = 0;
}

#endif
