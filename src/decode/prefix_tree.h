/* prefix_tree.h - prefixes of tokens and what is kept of them: a radix tree under one budget of bytes.
 *
 * A node stands for the tokens of its edge. Rows belong to edges and are shared by all prompts that run through;
 * a snapshot belongs to the end of an edge. A session can be taken up where there is a snapshot, with the rows of all
 * edges on the way; so rows stay as long as a snapshot at or below them does, and a leaf has one. What is evicted is
 * always the least recently used snapshot, and with it whatever nothing needs any more.
 *
 * Both may lie in a file as well, and then a node stays when its memory goes; what is in files is never evicted here.
 *
 * Owns memory and its accounting; must not know what rows and snapshots mean, nor read files. One thread at a time. */
#ifndef DECODE_PREFIX_TREE_H
#define DECODE_PREFIX_TREE_H

#include "decode/cache_file.h"

struct node {
    struct node *parent, *children, *next; /* next: the parent's next child */
    struct node *newer, *older;            /* among the snapshots in memory */
    int begin, end;                        /* tokens before the edge, and with it */
    uint64_t hash;                         /* of all tokens up to end */
    struct view ids;                       /* int32_t */
    struct view rows;                      /* of row_bytes each; there while hot > 0 */
    struct blob *snapshot;                 /* after token end-1, or NULL */
    struct cache_file *file;               /* holds the rows too, from its row file_row on; or NULL */
    int file_row;
    int hot;   /* snapshots in memory at or below, and holds */
    bool lost; /* had a snapshot that was evicted */
};

#define EVICTED_MAX 64

struct prefix_tree {
    struct node root[2]; /* prefixes without and with what feeds the head: trees of their own */
    size_t row_bytes[2];
    size_t budget;
    atomic_size_t used;           /* blobs and nodes */
    struct node *newest, *oldest; /* snapshots in memory */
    uint64_t n_snapshots, n_evicted;
    struct {
        uint64_t hash;
        int end;
    } evicted[EVICTED_MAX]; /* the last places that are gone altogether */
};

void tree_init(struct prefix_tree *t, size_t budget, size_t row_bytes, size_t row_bytes_head);
void tree_free(struct prefix_tree *t); /* blobs that others hold stay */

static inline const int32_t *node_ids(const struct node *n)
{
    return (const int32_t *)(const void *)n->ids.blob->bytes + n->ids.first;
}
static inline const unsigned char *node_rows(const struct node *n, size_t row_bytes)
{
    return n->rows.blob->bytes + (size_t)n->rows.first * row_bytes;
}
/* The file's snapshot is the one at this place. */
static inline bool node_files_snapshot(const struct node *n) { return n->file && n->file->end == n->end; }
static inline bool node_can_read(const struct node *n)
{
    return n->file && atomic_load(&n->file->status) == CACHE_WRITTEN;
}
/* The child whose edge begins with this token, or NULL. */
struct node *node_child(const struct node *n, int32_t id);

/* How far ids[0..n) run into the tree: the node that the last common token belongs to (the root, if there is none),
 * and the number of common tokens. */
struct node *tree_walk(struct node *root, const int32_t *ids, int n, int *ret_common);
/* The node that ends with ids[n-1], n > 0; edges are cut and added as needed. NULL when memory is exhausted. What was
 * added is a leaf without a snapshot; give it one, or call tree_prune. */
struct node *tree_reach(struct prefix_tree *t, struct node *root, const int32_t *ids, int n);
#define TREE_REACH_BYTES(n)                                                                                  \
    (2 * sizeof(struct node) + sizeof(struct blob) + (n) * sizeof(int32_t)) /* at most */
/* The node ends where the file does, and so do edges where it begins: it is the file of those that have none, and in
 * any case where its snapshot is. */
void tree_set_file(struct node *n, struct cache_file *f);
/* Enters a file by its ids [f->end]. false when memory is exhausted. */
bool tree_add_file(struct prefix_tree *t, struct cache_file *f, const int32_t *ids);
/* Lets go of the files that are gone. */
void tree_drop_files(struct prefix_tree *t);

/* Evicts until `need` bytes fit, but nothing that is held, nor snapshots that are held elsewhere. false: they
 * cannot. */
bool tree_make_room(struct prefix_tree *t, size_t need);
/* Rows at and above a held node stay, and so does the node. */
void tree_hold(struct node *n);
void tree_release(struct prefix_tree *t, struct node *n);
/* Gives a held node its snapshot, whose hold becomes the snapshot's. All rows on the way are there. */
void tree_set_snapshot(struct prefix_tree *t, struct node *n, struct blob *snapshot);
void tree_touch(struct prefix_tree *t, struct node *n); /* now the most recently used; it has a snapshot */
/* Was a longer prefix of ids[0..n) than `longer` tokens there, and is gone? */
bool tree_has_evicted(const struct prefix_tree *t, const int32_t *ids, int n, int longer);

#endif
