/* cache_rig.h - what the tests of the prompt cache share: the bundled pair with a cache, sessions in it, and the
 * comparison of two of them. */
#ifndef TESTS_CACHE_RIG_H
#define TESTS_CACHE_RIG_H

#include "decode/decode_internal.h"
#include "decode/prefix_cache.h"
#include "tests/support.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct cache_rig {
    struct alula_engine *engine;
    struct alula_cache *cache;
    int32_t ids[256]; /* a prompt */
};

static inline void rig_cache(struct cache_rig *g, struct alula_cache_options o)
{
    struct alula_error e;
    assert_ok(alula_cache_create(&g->cache, g->engine, &o, &e), e);
}

/* The bundled trunk with the donor's head, and a cache in memory. */
static inline void rig_open(struct cache_rig *g, bool exact, size_t memory)
{
    struct alula_error e;
    struct alula_engine_options o = {.exact = exact, .mtp = "models/tiny-donor"};
    struct alula_engine_info info;
    assert_ok(alula_engine_open(&g->engine, "models/tiny-trunk", &o, &e), e);
    alula_engine_describe(g->engine, &info);
    for (int i = 0; i < 256; i++) g->ids[i] = (i * 37 + 11) % 400 % info.vocab;
    rig_cache(g, (struct alula_cache_options){.memory = memory});
}

static inline void rig_close(struct cache_rig *g)
{
    alula_cache_free(g->cache);
    alula_engine_close(g->engine);
}

/* drawn: by a temperature, a seed and penalties, else greedy. */
static inline struct alula_session_options rig_options(int depth, bool drawn)
{
    struct alula_session_options o = alula_session_defaults();
    o.n_threads = 1;
    o.n_ctx = 512;
    o.depth = depth;
    o.ignore_stop_ids = true;
    if (!drawn) return o;
    o.sampling.temperature = 0.9;
    o.sampling.repetition_penalty = 1.2;
    o.sampling.presence_penalty = 0.3;
    o.sampling.seeded = true;
    o.sampling.seed = 7;
    return o;
}

static inline struct alula_session *rig_session(const struct cache_rig *g, struct alula_session_options o)
{
    struct alula_error e;
    struct alula_session *s;
    assert_ok(alula_session_create(&s, g->engine, &o, &e), e);
    return s;
}

static inline void rig_prompt(struct alula_session *s, const int32_t *ids, int n)
{
    struct alula_error e;
    assert_ok(alula_session_prompt(s, ids, (size_t)n, NULL, NULL, &e), e);
}

static inline struct alula_step rig_step(struct alula_session *s)
{
    struct alula_error e;
    struct alula_step step;
    assert_ok(alula_session_step(s, &step, &e), e);
    return step;
}

static inline void rig_store(const struct cache_rig *g, struct alula_session *s)
{
    struct alula_error e;
    assert_ok(alula_cache_store(g->cache, s, &e), e);
}

static inline struct alula_cache_hit rig_restore(const struct cache_rig *g, struct alula_session *s,
                                                 const int32_t *ids, int n)
{
    struct alula_error e;
    struct alula_cache_hit hit;
    assert_ok(alula_cache_restore(g->cache, s, ids, (size_t)n, &hit, &e), e);
    return hit;
}

/* Tokens, keys and values of trunk and head, recurrent states, and what the head is fed with. */
static inline void rig_assert_same(struct alula_session *a, struct alula_session *b)
{
    struct timeline *x = &a->timeline, *y = &b->timeline;
    pass_settle(&a->batch->core.pass, &x, 1);
    pass_settle(&b->batch->core.pass, &y, 1);
    assert_int_equal(x->len, y->len);
    assert_memory_equal(x->ids, y->ids, (size_t)x->len * sizeof *x->ids);
    assert_true(state_equal(x->state, y->state));
    if (x->feeds_head && x->len)
        assert_memory_equal(x->hidden, y->hidden, (size_t)model_config(x->model)->hidden * sizeof(float));
}

static inline void rig_assert_same_answer(struct alula_session *a, struct alula_session *b, int n)
{
    for (int i = 0; i < n; i++) {
        struct alula_step x = rig_step(a), y = rig_step(b);
        assert_int_equal(x.n_tokens, y.n_tokens);
        assert_memory_equal(x.tokens, y.tokens, (size_t)x.n_tokens * sizeof *x.tokens);
        assert_int_equal(x.n_accepted, y.n_accepted);
        assert_int_equal(x.finish, y.finish);
        assert_string_equal(x.text, y.text);
    }
}

/* ---- files ----------------------------------------------------------------------------------------------- */

static inline const char *fresh_dir(void)
{
    static char path[4][256];
    static int n;
    char *p = path[n % 4];
    snprintf(p, sizeof path[0], "%s/cache-%d", scratch_dir(), n++);
    assert_int_equal(mkdir(p, 0700), 0);
    return p;
}

static inline struct blob *blob_of(size_t n, unsigned factor, atomic_size_t *used)
{
    struct blob *b = blob_new(n, used);
    assert_non_null(b);
    for (size_t i = 0; i < n; i++) b->bytes[i] = (unsigned char)(i * factor >> 3);
    return b;
}

/* ---- the tree looked at from outside ---------------------------------------------------------------------- */

struct recount {
    const struct blob *blobs[4096];
    int n_blobs;
    size_t bytes;
    uint64_t snapshots;
};

static inline void recount_blob(struct recount *r, const struct blob *b)
{
    for (int i = 0; i < r->n_blobs; i++)
        if (r->blobs[i] == b) return;
    if (!b) return;
    assert_true(r->n_blobs < 4096);
    r->blobs[r->n_blobs++] = b;
    r->bytes += b->n + sizeof *b;
}

/* Counts the node and what is below; returns its snapshots in memory, and checks what holds of any node. */
static inline int recount_node(struct recount *r, const struct node *n)
{
    int hot = n->snapshot != NULL;
    r->snapshots += n->snapshot != NULL;
    for (const struct node *c = n->children; c; c = c->next) {
        assert_ptr_equal(c->parent, n);
        assert_int_equal(c->begin, n->end);
        assert_true(c->end > c->begin);
        assert_ptr_equal(node_child(n, node_ids(c)[0]), c); /* no two begin alike */
        hot += recount_node(r, c);
    }
    assert_int_equal(n->hot, hot);
    if (!n->parent) return hot;
    assert_true(n->children || n->snapshot || node_files_snapshot(n));
    assert_int_equal(n->rows.blob != NULL, hot > 0);
    r->bytes += sizeof *n;
    recount_blob(r, n->ids.blob);
    recount_blob(r, n->rows.blob);
    recount_blob(r, n->snapshot);
    return hot;
}

/* The account is what a recount finds, and within the budget. Nothing is being written. */
static inline void rig_assert_counted(const struct cache_rig *g)
{
    static struct recount r;
    const struct prefix_tree *t = &g->cache->tree;
    r = (struct recount){0};
    for (int i = 0; i < 2; i++) recount_node(&r, &t->root[i]);
    assert_int_equal(r.bytes, atomic_load(&t->used));
    assert_int_equal(r.snapshots, t->n_snapshots);
    for (const struct node *n = t->newest; n; n = n->older) r.snapshots--;
    assert_int_equal(r.snapshots, 0);
    assert_true(r.bytes <= t->budget);
}

#endif
