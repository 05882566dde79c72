/* prefix_cache.c - what sessions have read, kept for others: stores and restores timelines in the tree of prefixes,
 * and hands over to the folder what is worth it. Must not know how tokens are drawn, nor the insides of rows,
 * snapshots and files. */
#include "decode/prefix_cache.h"

#include "artifact/contract.h"
#include "artifact/fingerprint.h"
#include "base/mem.h"
#include "decode/decode_internal.h"

#define DISK_DEFAULT           ((uint64_t)16 << 30)
#define WRITE_PER_HOUR_DEFAULT ((uint64_t)32 << 30)

enum { FILE_MIN = 64 /* tokens that a file must save the reading of */ };

/* ---- creation ------------------------------------------------------------------------------------------- */

/* Whatever decides about the bits of rows and snapshots. */
static bool identify(const struct alula_engine *g, char out[SHA256_HEX], struct alula_error *e)
{
    struct sha256 s;
    int32_t facts[] = {STATE_FORMAT, g->exact, g->has_mtp};
    sha256_init(&s);
    sha256_add(&s, ALULA_VERSION, sizeof ALULA_VERSION);
    sha256_add(&s, facts, sizeof facts);
    if (g->has_mtp) {
        struct runtime_contract c;
        if (!contract_read(&c, g->head ? g->head : g->trunk, e)) return false;
        int32_t feeding[] = {(int32_t)c.mtp.base, c.mtp.hidden_first};
        sha256_add(&s, feeding, sizeof feeding);
    }
    if (!fingerprint_add(&s, g->trunk, e) || (g->head && !fingerprint_add(&s, g->head, e))) return false;
    sha256_hex(&s, out);
    return true;
}

static bool file_found(void *arg, struct cache_file *f, const int32_t *ids)
{
    struct alula_cache *c = arg;
    return tree_add_file(&c->tree, f, ids);
}

static bool open_disk(struct alula_cache *c, const struct alula_cache_options *o, struct alula_error *e)
{
    const struct model *m = c->engine->model;
    struct cache_shape shape = {.max_tokens = model_config(m)->max_position};
    struct cache_disk_options disk = {.dir = o->dir,
                                      .size = o->disk ? o->disk : DISK_DEFAULT,
                                      .write_per_hour = o->disk_write_per_hour ? o->disk_write_per_hour
                                                                               : WRITE_PER_HOUR_DEFAULT,
                                      .found = file_found,
                                      .arg = c};
    for (int head = 0; head < 2; head++) {
        shape.row_bytes[head] = c->tree.row_bytes[head];
        shape.snapshot_bytes[head] = timeline_snapshot_bytes(m, head);
    }
    return identify(c->engine, shape.identity, e) && disk_open(&c->disk, &shape, &disk, e);
}

bool alula_cache_create(struct alula_cache **ret, const struct alula_engine *engine,
                        const struct alula_cache_options *options, struct alula_error *e)
{
    struct alula_cache *c = mem_zalloc(1, sizeof *c);
    if (!c) return err_set(e, ALULA_NOMEM, "no memory for a prompt cache");
    const struct model *m = engine->model;
    c->engine = engine;
    pthread_mutex_init(&c->lock, NULL);
    tree_init(&c->tree, options->memory, state_row_bytes(m, false), state_row_bytes(m, engine->has_mtp));
    if (options->dir && !open_disk(c, options, e)) {
        alula_cache_free(c);
        return err_context(e, "the prompt cache's folder");
    }
    *ret = c;
    return true;
}

void alula_cache_free(struct alula_cache *c)
{
    if (!c) return;
    disk_close(c->disk); /* gives back the blobs that it holds */
    tree_free(&c->tree);
    pthread_mutex_destroy(&c->lock);
    mem_free(c);
}

static bool check_session(const struct alula_cache *c, const struct alula_session *s, struct alula_error *e)
{
    if (s->engine == c->engine) return true;
    return err_set(e, ALULA_USAGE, "the session is of another engine than the prompt cache");
}

static void drop_lost_files(struct alula_cache *c)
{
    if (c->disk && disk_has_lost(c->disk)) tree_drop_files(&c->tree);
}

/* ---- files ---------------------------------------------------------------------------------------------- */

static struct timespec after(struct timespec t, int ns)
{
    t.tv_nsec += ns;
    t.tv_sec += t.tv_nsec / 1000000000;
    t.tv_nsec %= 1000000000;
    return t;
}

/* Files of the way to the node were used now: each a little later than those that need it. */
static void touch_files(struct alula_cache *c, const struct node *node, struct timespec now)
{
    const struct cache_file *last = NULL;
    int n = 0;
    for (; c->disk && node->parent; node = node->parent) {
        if (!node->file || node->file == last) continue;
        last = node->file;
        disk_touch(c->disk, last, after(now, ++n));
    }
}

/* Tokens from `first` on to the node, whose rows and snapshot are in memory. */
static struct cache_job *make_job(struct alula_cache *c, const struct node *node, int first, bool head)
{
    int n = 0;
    for (const struct node *p = node; p->parent; p = p->parent) n++;
    struct cache_job *j = cache_job_new(c->disk, first, node->end, head, n);
    if (!j) return NULL;
    j->snapshot = blob_hold(node->snapshot);
    j->n_parts = n;
    for (const struct node *p = node; p->parent; p = p->parent) {
        struct cache_part *part = &j->parts[--n];
        part->n = p->end - p->begin;
        part->ids = (struct view){blob_hold(p->ids.blob), p->ids.first};
        if (p->begin >= first) part->rows = (struct view){blob_hold(p->rows.blob), p->rows.first};
    }
    return j;
}

/* Has the way to the node written, from the first edge on that no file has. */
static void keep_on_disk(struct alula_cache *c, struct node *node, bool head)
{
    int first = node->end;
    struct timespec now;
    if (!c->disk) return;
    for (const struct node *p = node; p->parent; p = p->parent)
        if (!p->file) first = p->begin;
    if (node->end - first < FILE_MIN) return;
    struct cache_job *j = make_job(c, node, first, head);
    if (!j) return;
    clock_gettime(CLOCK_REALTIME, &now);
    j->when = now;
    struct cache_file *f = cache_file_hold(j->file);
    if (disk_put(c->disk, j)) {
        touch_files(c, node, now); /* not the new file: it has not been written yet */
        tree_set_file(node, f);
    }
    cache_file_free(f);
}

/* ---- storing -------------------------------------------------------------------------------------------- */

static size_t edge_bytes(const struct prefix_tree *t, const struct node *n, bool head)
{
    return (size_t)(n->end - n->begin) * t->row_bytes[head] + sizeof(struct blob);
}

/* Of the rows on the way to a node that are not in memory. */
static size_t missing_bytes(const struct prefix_tree *t, const struct node *n, bool head)
{
    size_t bytes = 0;
    for (; n->parent; n = n->parent) bytes += n->rows.blob ? 0 : edge_bytes(t, n, head);
    return bytes;
}

/* Rows of all edges down to the node, and its snapshot. The node is held. */
static bool fill(struct alula_cache *c, struct node *node, struct timeline *t)
{
    bool head = t->feeds_head;
    size_t row = c->tree.row_bytes[head];
    for (struct node *p = node; p->parent; p = p->parent) {
        if (p->rows.blob) continue;
        struct blob *b = blob_new((size_t)(p->end - p->begin) * row, &c->tree.used);
        if (!b) return false;
        state_save_rows(t->state, p->begin, p->end - p->begin, head, b->bytes);
        p->rows = (struct view){b, 0};
    }
    struct blob *b = blob_new(timeline_snapshot_bytes(t->model, head), &c->tree.used);
    if (!b) return false;
    timeline_save_snapshot(t, b->bytes);
    tree_set_snapshot(&c->tree, node, b);
    return true;
}

/* The node of the first len tokens, held, once there is room for all it takes; NULL if there is none, or no
 * memory. */
static struct node *make_place(struct alula_cache *c, const struct timeline *t, int len, bool *ret_room)
{
    int common;
    bool head = t->feeds_head;
    struct prefix_tree *tree = &c->tree;
    struct node *near = tree_walk(&tree->root[head], t->ids, len, &common);
    size_t fresh = (size_t)(len - common);
    tree_hold(near);
    *ret_room = tree_make_room(tree, timeline_snapshot_bytes(t->model, head) + fresh * tree->row_bytes[head] +
                                         2 * sizeof(struct blob) + TREE_REACH_BYTES(fresh) +
                                         missing_bytes(tree, near, head));
    struct node *node = *ret_room ? tree_reach(tree, &tree->root[head], t->ids, len) : NULL;
    if (node) tree_hold(node);
    tree_release(tree, near);
    return node;
}

static bool keep(struct alula_cache *c, struct timeline *t, int len, struct alula_error *e)
{
    int common;
    bool room;
    struct node *node = tree_walk(&c->tree.root[t->feeds_head], t->ids, len, &common);
    if (common == len && node->end == len && node->snapshot) {
        tree_touch(&c->tree, node);
        keep_on_disk(c, node, t->feeds_head);
        return true;
    }
    node = make_place(c, t, len, &room);
    c->stats.refused += !room;
    if (!room) return true;
    if (!node || !fill(c, node, t)) {
        if (node) tree_release(&c->tree, node);
        return err_set(e, ALULA_NOMEM, "no memory to keep %d tokens", len);
    }
    c->stats.stored++;
    keep_on_disk(c, node, t->feeds_head);
    return true;
}

bool alula_cache_store(struct alula_cache *c, struct alula_session *s, struct alula_error *e)
{
    if (!check_session(c, s, e)) return false;
    struct timeline *t = &s->timeline;
    int len = state_len(t->state);
    if (len == 0) return true;
    pass_settle(&s->batch->core.pass, &t, 1);
    pthread_mutex_lock(&c->lock);
    drop_lost_files(c);
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

static struct found find(struct alula_cache *c, bool head, const int32_t *ids, int max, bool files)
{
    struct node *p = &c->tree.root[head];
    struct found f = {.head = head, .max = max, .node = p};
    f.near = tree_walk(p, ids, max, &f.common);
    while (p->end < f.common) {
        p = node_child(p, ids[p->end]);
        if (p->end > f.common || (!p->rows.blob && !(files && node_can_read(p)))) break;
        if (p->snapshot || (files && node_can_read(p) && node_files_snapshot(p))) f.node = p;
    }
    return f;
}

/* The longest; a session that does not feed the head may leave aside what does. */
static struct found find_best(struct alula_cache *c, const struct timeline *t, const int32_t *ids, int max,
                              bool files)
{
    struct found f = find(c, t->feeds_head, ids, max, files);
    if (t->feeds_head) return f;
    struct found other = find(c, true, ids, max, files);
    return other.node->end > f.node->end ? other : f;
}

static bool read_rows(struct alula_cache *c, struct node *n, bool head)
{
    int len = n->end - n->begin;
    struct blob *b = blob_new((size_t)len * c->tree.row_bytes[head], &c->tree.used);
    if (!b || !disk_read_rows(c->disk, n->file, n->file_row, len, b->bytes)) {
        blob_free(b);
        return false;
    }
    n->rows = (struct view){b, 0};
    return true;
}

static bool read_snapshot(struct alula_cache *c, struct node *n, size_t bytes)
{
    struct blob *b = blob_new(bytes, &c->tree.used);
    if (!b || !disk_read_snapshot(c->disk, n->file, b->bytes)) {
        blob_free(b);
        return false;
    }
    tree_set_snapshot(&c->tree, n, b);
    return true;
}

/* Brings into memory what the place needs. false: there is no room, or a file is lost now. */
static bool fetch(struct alula_cache *c, const struct found *f)
{
    struct prefix_tree *t = &c->tree;
    size_t snapshot = timeline_snapshot_bytes(c->engine->model, f->head);
    tree_hold(f->node);
    bool ok = tree_make_room(t, missing_bytes(t, f->node, f->head) + snapshot + sizeof(struct blob));
    for (struct node *p = f->node; ok && p->parent; p = p->parent)
        if (!p->rows.blob) ok = read_rows(c, p, f->head);
    ok = ok && read_snapshot(c, f->node, snapshot);
    if (!ok) tree_release(t, f->node);
    return ok;
}

/* The place to take up at, with all it needs in memory. */
static struct found find_and_fetch(struct alula_cache *c, const struct timeline *t, const int32_t *ids,
                                   int max, bool *ret_read)
{
    *ret_read = false;
    drop_lost_files(c);
    for (;;) {
        struct found f = find_best(c, t, ids, max, true);
        if (f.node->end == 0 || f.node->snapshot) return f;
        if (fetch(c, &f))
            *ret_read = true; /* look again: what had to make room may have been found too */
        else if (disk_has_lost(c->disk))
            tree_drop_files(&c->tree);
        else
            return find_best(c, t, ids, max, false);
    }
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
    struct timespec now;
    size_t row = c->tree.row_bytes[f->head];
    for (const struct node *p = f->node; p->parent; p = p->parent)
        state_load_rows(t->state, p->begin, p->end - p->begin, f->head, node_rows(p, row));
    timeline_take_over(t, ids, f->node->end, f->head, f->node->snapshot->bytes);
    tree_touch(&c->tree, f->node);
    clock_gettime(CLOCK_REALTIME, &now);
    touch_files(c, f->node, now);
}

static void count(struct alula_cache_stats *s, int asked, int found, bool read)
{
    s->lookups++;
    s->tokens += (uint64_t)asked;
    s->hits += found > 0;
    s->tokens_hit += (uint64_t)found;
    s->hits_disk += read;
    s->tokens_hit_disk += read ? (uint64_t)found : 0;
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
    bool read;
    pthread_mutex_lock(&c->lock);
    struct found f = find_and_fetch(c, t, ids, max, &read);
    int found = f.node->end;
    ret->n = (size_t)found;
    ret->source = read ? "disk" : found ? "memory" : "none";
    ret->why = why_not_more(c, &f, ids);
    count(&c->stats, max, found, read);
    if (found > 0) {
        take(c, &f, t, ids);
        session_took_over(s);
    }
    pthread_mutex_unlock(&c->lock);
    return true;
}

void alula_cache_describe(struct alula_cache *c, struct alula_cache_stats *ret)
{
    struct cache_disk_stats disk = {0};
    pthread_mutex_lock(&c->lock);
    *ret = c->stats;
    ret->memory = c->tree.budget;
    ret->memory_used = atomic_load(&c->tree.used);
    ret->snapshots = c->tree.n_snapshots;
    ret->evicted = c->tree.n_evicted;
    pthread_mutex_unlock(&c->lock);
    if (c->disk) disk_describe(c->disk, &disk);
    ret->disk = disk.size;
    ret->disk_used = disk.used;
    ret->disk_files = disk.files;
    ret->disk_written = disk.written;
    ret->disk_dropped = disk.dropped;
    ret->disk_failed = disk.failed;
    ret->disk_damaged = disk.damaged;
}
