/* prefix_cache.c - what sessions have read, kept for others: stores and restores timelines in the tree of prefixes.
 * Must not know how tokens are drawn, nor the insides of rows and snapshots. */
#include "decode/prefix_cache.h"

#include "base/mem.h"
#include "decode/decode_internal.h"

bool alula_cache_create(struct alula_cache **ret, const struct alula_engine *engine,
                        const struct alula_cache_options *options, struct alula_error *e)
{
    struct alula_cache *c = mem_zalloc(1, sizeof *c);
    if (!c) return err_set(e, ALULA_NOMEM, "no memory for a prompt cache");
    const struct model *m = engine->model;
    c->engine = engine;
    pthread_mutex_init(&c->lock, NULL);
    tree_init(&c->tree, options->memory, state_row_bytes(m, false), state_row_bytes(m, engine->has_mtp));
    *ret = c;
    return true;
}

void alula_cache_free(struct alula_cache *c)
{
    if (!c) return;
    tree_free(&c->tree);
    pthread_mutex_destroy(&c->lock);
    mem_free(c);
}

static bool check_session(const struct alula_cache *c, const struct alula_session *s, struct alula_error *e)
{
    if (s->engine == c->engine) return true;
    return err_set(e, ALULA_USAGE, "the session is of another engine than the prompt cache");
}

/* ---- storing -------------------------------------------------------------------------------------------- */

static size_t edge_bytes(const struct prefix_tree *t, const struct node *n, bool head)
{
    return (size_t)(n->end - n->begin) * t->row_bytes[head];
}

/* What it takes to keep len tokens of the timeline, of which the tree has `common`, up to node `near`. */
static size_t bytes_to_keep(const struct alula_cache *c, const struct timeline *t, const struct node *near,
                            int common, int len)
{
    bool head = t->feeds_head;
    size_t fresh = (size_t)(len - common);
    size_t n = timeline_snapshot_bytes(t->model, head) + fresh * c->tree.row_bytes[head] +
               2 * sizeof(struct blob) + TREE_REACH_BYTES(fresh);
    for (; near->parent; near = near->parent)
        if (!near->rows.blob) n += edge_bytes(&c->tree, near, head) + sizeof(struct blob);
    return n;
}

/* Rows of all edges down to the node, and its snapshot. The node is held. */
static bool fill(struct alula_cache *c, struct node *node, struct timeline *t)
{
    bool head = t->feeds_head;
    for (struct node *p = node; p->parent; p = p->parent) {
        if (p->rows.blob) continue;
        p->rows = (struct view){blob_new(edge_bytes(&c->tree, p, head), &c->tree.used), 0};
        if (!p->rows.blob) return false;
        state_save_rows(t->state, p->begin, p->end - p->begin, head, p->rows.blob->bytes);
    }
    struct blob *b = blob_new(timeline_snapshot_bytes(t->model, head), &c->tree.used);
    if (!b) return false;
    timeline_save_snapshot(t, b->bytes);
    tree_set_snapshot(&c->tree, node, b);
    return true;
}

static bool keep(struct alula_cache *c, struct timeline *t, int len, struct alula_error *e)
{
    int common;
    struct prefix_tree *tree = &c->tree;
    struct node *root = &tree->root[t->feeds_head], *near = tree_walk(root, t->ids, len, &common);
    if (near->end == len && near->snapshot) {
        tree_touch(tree, near);
        return true;
    }
    tree_hold(near);
    bool room = tree_make_room(tree, bytes_to_keep(c, t, near, common, len));
    struct node *node = room ? tree_reach(tree, root, t->ids, len) : NULL;
    if (node) tree_hold(node);
    tree_release(tree, near);
    bool ok = node && fill(c, node, t);
    if (node && !ok) tree_release(tree, node);
    c->stats.stored += ok;
    c->stats.refused += !room;
    return ok || !room || err_set(e, ALULA_NOMEM, "no memory to keep %d tokens", len);
}

bool alula_cache_store(struct alula_cache *c, struct alula_session *s, struct alula_error *e)
{
    if (!check_session(c, s, e)) return false;
    struct timeline *t = &s->timeline;
    int len = state_len(t->state);
    if (len == 0) return true;
    pass_settle(&s->batch->core.pass, &t, 1);
    pthread_mutex_lock(&c->lock);
    bool ok = keep(c, t, len, e);
    pthread_mutex_unlock(&c->lock);
    return ok;
}

/* ---- restoring ------------------------------------------------------------------------------------------ */

/* What was found of a prompt in one of the trees. */
struct found {
    bool head;
    int max, common;   /* tokens asked for at most; of them, those that the tree has */
    struct node *near; /* where the common tokens end */
    struct node *node; /* the place to be taken up at, or the root */
};

static struct found find(struct alula_cache *c, bool head, const int32_t *ids, int max)
{
    struct found f = {.head = head, .max = max};
    f.near = tree_walk(&c->tree.root[head], ids, max, &f.common);
    f.node = f.common < f.near->end ? f.near->parent : f.near;
    while (f.node->parent && !f.node->snapshot) f.node = f.node->parent;
    return f;
}

static const char *why_not_more(const struct alula_cache *c, const struct found *f, const int32_t *ids)
{
    int n = f->node->end;
    if (n == f->max) return "";
    for (const struct node *p = f->near; p && p->end > n; p = p->parent)
        if (p->lost && p->end <= f->common) return "no snapshot";
    if (tree_has_evicted(&c->tree, ids, f->max, n)) return "evicted";
    if (f->common == f->max) return "no snapshot";
    return f->common > 0 && (f->common < f->near->end || f->near->children) ? "diverges" : "new";
}

static void take(struct alula_cache *c, const struct found *f, struct timeline *t, const int32_t *ids)
{
    for (const struct node *p = f->node; p->parent; p = p->parent)
        state_load_rows(t->state, p->begin, p->end - p->begin, f->head,
                        node_rows(p, c->tree.row_bytes[f->head]));
    timeline_take_over(t, ids, f->node->end, f->head, f->node->snapshot->bytes);
    tree_touch(&c->tree, f->node);
}

static void count(struct alula_cache *c, const struct found *f)
{
    c->stats.lookups++;
    c->stats.tokens += (uint64_t)f->max;
    c->stats.hits += f->node->end > 0;
    c->stats.tokens_hit += (uint64_t)f->node->end;
}

bool alula_cache_restore(struct alula_cache *c, struct alula_session *s, const int32_t *ids, size_t n,
                         struct alula_cache_hit *ret, struct alula_error *e)
{
    struct timeline *t = &s->timeline;
    if (!check_session(c, s, e)) return false;
    if (t->len > 0)
        return err_set(e, ALULA_USAGE,
                       "the session holds %d tokens, expected none before it takes over others", t->len);
    int max = n > (size_t)t->n_ctx ? t->n_ctx - 1 : n > 0 ? (int)n - 1 : 0;
    pthread_mutex_lock(&c->lock);
    struct found f = find(c, t->feeds_head, ids, max);
    if (!t->feeds_head) { /* the head's part may be left aside */
        struct found other = find(c, true, ids, max);
        if (other.node->end > f.node->end) f = other;
    }
    *ret = (struct alula_cache_hit){(size_t)f.node->end, f.node->end ? "memory" : "none",
                                    why_not_more(c, &f, ids)};
    count(c, &f);
    if (f.node->end > 0) {
        take(c, &f, t, ids);
        session_took_over(s);
    }
    pthread_mutex_unlock(&c->lock);
    return true;
}

void alula_cache_describe(struct alula_cache *c, struct alula_cache_stats *ret)
{
    pthread_mutex_lock(&c->lock);
    *ret = c->stats;
    ret->memory = c->tree.budget;
    ret->memory_used = atomic_load(&c->tree.used);
    ret->snapshots = c->tree.n_snapshots;
    ret->evicted = c->tree.n_evicted;
    pthread_mutex_unlock(&c->lock);
}
