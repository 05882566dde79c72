/* prefix_tree.c - the radix tree of prefixes, its budget and who has to go; see prefix_tree.h. */
#include "decode/prefix_tree.h"

#include <assert.h>
#include <string.h>

#include "base/mem.h"

/* ---- nodes ---------------------------------------------------------------------------------------------- */

static void view_drop(struct view *v)
{
    blob_free(v->blob);
    *v = (struct view){0};
}

/* FNV-1a by tokens. It only tells why something is not there. */
static uint64_t hash_ids(uint64_t h, const int32_t *ids, int n)
{
    for (int i = 0; i < n; i++) h = (h ^ (uint32_t)ids[i]) * 0x100000001b3u;
    return h;
}

void tree_init(struct prefix_tree *t, size_t budget, size_t row_bytes, size_t row_bytes_head)
{
    *t = (struct prefix_tree){.budget = budget, .row_bytes = {row_bytes, row_bytes_head}};
    for (int i = 0; i < 2; i++) t->root[i].hash = 0xcbf29ce484222325u + (uint64_t)i;
}

static struct node *node_new(struct prefix_tree *t)
{
    struct node *n = mem_zalloc(1, sizeof *n);
    if (n) atomic_fetch_add(&t->used, sizeof *n);
    return n;
}

static void node_free(struct prefix_tree *t, struct node *n)
{
    view_drop(&n->ids);
    view_drop(&n->rows);
    blob_free(n->snapshot);
    cache_file_free(n->file);
    atomic_fetch_sub(&t->used, sizeof *n);
    mem_free(n);
}

/* Leaf by leaf: a chain may be longer than the stack is deep. */
void tree_free(struct prefix_tree *t)
{
    for (int i = 0; i < 2; i++) {
        struct node *n = &t->root[i];
        while (n->children || n->parent) {
            if (n->children) {
                n = n->children;
                continue;
            }
            struct node *parent = n->parent;
            parent->children = n->next;
            node_free(t, n);
            n = parent;
        }
    }
}

struct node *node_child(const struct node *n, int32_t id)
{
    struct node *c = n->children;
    while (c && node_ids(c)[0] != id) c = c->next;
    return c;
}

/* Where the pointer to a node lies among its parent's children. */
static struct node **link_of(struct node *n)
{
    struct node **at = &n->parent->children;
    while (*at != n) at = &(*at)->next;
    return at;
}

static int common(const struct node *n, const int32_t *ids, int max)
{
    int len = n->end - n->begin < max ? n->end - n->begin : max, i = 0;
    while (i < len && node_ids(n)[i] == ids[i]) i++;
    return i;
}

struct node *tree_walk(struct node *root, const int32_t *ids, int n, int *ret_common)
{
    struct node *node = root, *child;
    int at = 0;
    while (at < n && at == node->end && (child = node_child(node, ids[at]))) {
        node = child;
        at += common(node, ids + at, n - at);
    }
    *ret_common = at;
    return node;
}

/* A new node takes the edge's tokens before place `at`, and stands above n. */
static struct node *cut(struct prefix_tree *t, struct node *n, int at)
{
    struct node *upper = node_new(t);
    if (!upper) return NULL;
    int len = at - n->begin;
    *link_of(n) = upper;
    *upper = (struct node){.parent = n->parent,
                           .children = n,
                           .next = n->next,
                           .begin = n->begin,
                           .end = at,
                           .hash = hash_ids(n->parent->hash, node_ids(n), len),
                           .ids = {blob_hold(n->ids.blob), n->ids.first},
                           .rows = {blob_hold(n->rows.blob), n->rows.first},
                           .file = cache_file_hold(n->file),
                           .file_row = n->file_row,
                           .hot = n->hot};
    n->parent = upper;
    n->next = NULL;
    n->begin = at;
    n->ids.first += len;
    n->rows.first += n->rows.blob ? len : 0;
    n->file_row += n->file ? len : 0;
    return upper;
}

static struct node *append(struct prefix_tree *t, struct node *parent, const int32_t *ids, int n)
{
    struct node *child = node_new(t);
    struct blob *b = child ? blob_new((size_t)n * sizeof *ids, &t->used) : NULL;
    if (!b) {
        if (child) node_free(t, child);
        return NULL;
    }
    memcpy(b->bytes, ids, b->n);
    child->ids.blob = b;
    child->begin = parent->end;
    child->end = parent->end + n;
    child->hash = hash_ids(parent->hash, ids, n);
    child->parent = parent;
    child->next = parent->children;
    parent->children = child;
    return child;
}

struct node *tree_reach(struct prefix_tree *t, struct node *root, const int32_t *ids, int n)
{
    int at;
    struct node *node = tree_walk(root, ids, n, &at);
    if (at < node->end) node = cut(t, node, at);
    if (node && at < n) node = append(t, node, ids + at, n - at);
    return node;
}

static void note_evicted(struct prefix_tree *t, const struct node *n)
{
    memmove(t->evicted + 1, t->evicted, sizeof t->evicted - sizeof *t->evicted);
    t->evicted[0].hash = n->hash;
    t->evicted[0].end = n->end;
}

static bool is_needed(const struct node *n) { return n->children || n->hot || node_files_snapshot(n); }

static void node_remove(struct prefix_tree *t, struct node *n)
{
    if (n->lost) note_evicted(t, n);
    *link_of(n) = n->next;
    node_free(t, n);
}

/* Removes the node if nothing needs it, then its parent likewise, and so on. */
static void prune(struct prefix_tree *t, struct node *n)
{
    while (n->parent && !is_needed(n)) {
        struct node *parent = n->parent;
        node_remove(t, n);
        n = parent;
    }
}

/* ---- files ---------------------------------------------------------------------------------------------- */

void tree_set_file(struct node *n, struct cache_file *f)
{
    for (struct node *p = n; p->end > f->first; p = p->parent) {
        if (p->file && (p != n || node_files_snapshot(p))) continue;
        cache_file_free(p->file);
        p->file = cache_file_hold(f);
        p->file_row = p->begin - f->first;
    }
}

bool tree_add_file(struct prefix_tree *t, struct cache_file *f, const int32_t *ids)
{
    struct node *root = &t->root[f->head], *before = root, *n = NULL;
    if (f->first > 0) before = tree_reach(t, root, ids, f->first);
    if (before) n = tree_reach(t, root, ids, f->end);
    if (n)
        tree_set_file(n, f);
    else if (before)
        prune(t, before);
    return n != NULL;
}

static struct node *first_leaf(struct node *n)
{
    while (n->children) n = n->children;
    return n;
}

void tree_drop_files(struct prefix_tree *t)
{
    for (int i = 0; i < 2; i++)
        for (struct node *n = first_leaf(&t->root[i]), *next; n->parent; n = next) {
            next = n->next ? first_leaf(n->next) : n->parent;
            if (n->file && atomic_load(&n->file->status) == CACHE_GONE) {
                n->lost = n->lost || (node_files_snapshot(n) && !n->snapshot);
                cache_file_free(n->file);
                n->file = NULL;
            }
            if (!is_needed(n)) node_remove(t, n);
        }
}

/* ---- what stays ----------------------------------------------------------------------------------------- */

void tree_hold(struct node *n)
{
    for (; n; n = n->parent) n->hot++;
}

void tree_release(struct prefix_tree *t, struct node *n)
{
    for (struct node *p = n; p; p = p->parent)
        if (--p->hot == 0) view_drop(&p->rows);
    prune(t, n);
}

static void unlink_used(struct prefix_tree *t, struct node *n)
{
    *(n->newer ? &n->newer->older : &t->newest) = n->older;
    *(n->older ? &n->older->newer : &t->oldest) = n->newer;
}

static void link_newest(struct prefix_tree *t, struct node *n)
{
    n->newer = NULL;
    n->older = t->newest;
    *(t->newest ? &t->newest->newer : &t->oldest) = n;
    t->newest = n;
}

void tree_touch(struct prefix_tree *t, struct node *n)
{
    unlink_used(t, n);
    link_newest(t, n);
}

void tree_set_snapshot(struct prefix_tree *t, struct node *n, struct blob *snapshot)
{
    assert(!n->snapshot && n->hot > 0);
    n->snapshot = snapshot;
    n->lost = false;
    t->n_snapshots++;
    link_newest(t, n);
}

static void evict(struct prefix_tree *t, struct node *n)
{
    unlink_used(t, n);
    blob_free(n->snapshot);
    n->snapshot = NULL;
    n->lost = true;
    t->n_snapshots--;
    t->n_evicted++;
    tree_release(t, n);
}

bool tree_make_room(struct prefix_tree *t, size_t need)
{
    if (need > t->budget) return false;
    while (atomic_load(&t->used) > t->budget - need) {
        struct node *n = t->oldest;
        while (n && atomic_load(&n->snapshot->refs) > 1) n = n->newer;
        if (!n) return false;
        evict(t, n);
    }
    return true;
}

bool tree_has_evicted(const struct prefix_tree *t, const int32_t *ids, int n, int longer)
{
    for (int i = 0; i < EVICTED_MAX; i++) {
        int end = t->evicted[i].end;
        if (end <= longer || end > n) continue;
        for (int r = 0; r < 2; r++)
            if (hash_ids(t->root[r].hash, ids, end) == t->evicted[i].hash) return true;
    }
    return false;
}
