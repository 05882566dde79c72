/* cache_file.c - the format of a file of the prompt cache, written in one pass:
 *
 *     head | ids of tokens [0, end) | rows, snapshot | a checksum for each block of these | a checksum of ids and sums
 *
 * Numbers are in the machine's order; a file never leaves the machine. Knows no tree and no budget. */
#include "decode/cache_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/checksum.h"
#include "base/file.h"
#include "base/mem.h"

#define BLOCK (64 << 10) /* of rows and snapshot, for a checksum */

static const char magic[8] = "alula-p1";

struct head {
    char magic[8];
    char identity[SHA256_HEX - 1];
    uint32_t first, end, head, zero;
    uint64_t row_bytes, snapshot_bytes;
    uint64_t sum; /* of what stands before it */
};

static uint64_t head_sum(const struct head *h) { return checksum64(h, offsetof(struct head, sum)); }

/* ---- places --------------------------------------------------------------------------------------------- */

static uint64_t content_bytes(const struct cache_shape *s, int n_rows, bool head)
{
    return (uint64_t)n_rows * s->row_bytes[head] + s->snapshot_bytes[head];
}

static uint64_t content_at(int end) { return sizeof(struct head) + (uint64_t)end * sizeof(int32_t); }

static size_t sums_of(uint64_t content) { return (size_t)((content + BLOCK - 1) / BLOCK); }

uint64_t cache_file_bytes(const struct cache_shape *s, const struct cache_file *f)
{
    return content_at(f->end) + content_bytes(s, f->end - f->first, f->head) +
           (f->n_sums + 1) * sizeof(uint64_t);
}

struct cache_file *cache_file_new(const struct cache_shape *s, int first, int end, bool head)
{
    size_t n = sums_of(content_bytes(s, end - first, head));
    struct cache_file *f = mem_zalloc(1, sizeof *f + n * sizeof *f->sums);
    if (!f) return NULL;
    atomic_init(&f->refs, 1);
    atomic_init(&f->status, CACHE_QUEUED);
    f->first = first;
    f->end = end;
    f->head = head;
    f->n_sums = n;
    return f;
}

struct cache_file *cache_file_hold(struct cache_file *f)
{
    if (f) atomic_fetch_add(&f->refs, 1);
    return f;
}

void cache_file_free(struct cache_file *f)
{
    if (f && atomic_fetch_sub(&f->refs, 1) == 1) mem_free(f);
}

/* Of ids and sums, which vouch for all the rest. */
static uint64_t seal(const struct cache_file *f, uint64_t ids_sum)
{
    return checksum64(f->sums, f->n_sums * sizeof *f->sums) ^ ids_sum * 3;
}

/* ---- writing -------------------------------------------------------------------------------------------- */

struct writer {
    struct file_out out;
    struct cache_file *file;
    size_t held, done; /* bytes of the block that fills up, blocks that are written */
    unsigned char block[BLOCK];
};

static bool end_block(struct writer *w, struct alula_error *e)
{
    if (w->held == 0) return true;
    w->file->sums[w->done++] = checksum64(w->block, w->held);
    size_t n = w->held;
    w->held = 0;
    return file_out_write(&w->out, w->block, n, e);
}

static bool put_content(struct writer *w, const unsigned char *p, size_t n, struct alula_error *e)
{
    for (size_t k; n > 0; p += k, n -= k) {
        k = BLOCK - w->held < n ? BLOCK - w->held : n;
        memcpy(w->block + w->held, p, k);
        w->held += k;
        if (w->held == BLOCK && !end_block(w, e)) return false;
    }
    return true;
}

static const int32_t *part_ids(const struct cache_part *p)
{
    return (const int32_t *)(const void *)p->ids.blob->bytes + p->ids.first;
}

/* The ids of all parts in one piece, for mem_free. */
static int32_t *join_ids(const struct cache_part *parts, int n_parts, int n)
{
    int32_t *ids = mem_alloc((size_t)n * sizeof *ids), *at = ids;
    for (int i = 0; ids && i < n_parts; at += parts[i++].n)
        memcpy(at, part_ids(&parts[i]), (size_t)parts[i].n * sizeof *ids);
    return ids;
}

static void name_file(struct cache_file *f, const struct head *h, const int32_t *ids)
{
    struct sha256 s;
    char hex[SHA256_HEX];
    sha256_init(&s);
    sha256_add(&s, h, sizeof *h);
    sha256_add(&s, ids, (size_t)f->end * sizeof *ids);
    sha256_hex(&s, hex);
    snprintf(f->name, sizeof f->name, "%.32s%s", hex, CACHE_SUFFIX);
}

static bool write_all(struct writer *w, const struct cache_shape *s, const struct head *h, const int32_t *ids,
                      const struct cache_part *parts, int n_parts, const struct blob *snapshot,
                      struct alula_error *e)
{
    struct cache_file *f = w->file;
    size_t ids_bytes = (size_t)f->end * sizeof *ids, row = s->row_bytes[f->head];
    bool ok = file_out_write(&w->out, h, sizeof *h, e) && file_out_write(&w->out, ids, ids_bytes, e);
    for (int i = 0; ok && i < n_parts; i++) {
        const struct view *v = &parts[i].rows;
        if (v->blob)
            ok = put_content(w, v->blob->bytes + (size_t)v->first * row, (size_t)parts[i].n * row, e);
    }
    if (!ok || !put_content(w, snapshot->bytes, snapshot->n, e) || !end_block(w, e)) return false;
    uint64_t end = seal(f, checksum64(ids, ids_bytes));
    return file_out_write(&w->out, f->sums, f->n_sums * sizeof *f->sums, e) &&
           file_out_write(&w->out, &end, sizeof end, e);
}

bool cache_file_write(struct cache_file *f, const struct cache_shape *s, const char *dir,
                      const struct cache_part *parts, int n_parts, const struct blob *snapshot,
                      struct timespec when, struct alula_error *e)
{
    char path[4096];
    struct head h = {.first = (uint32_t)f->first,
                     .end = (uint32_t)f->end,
                     .head = f->head,
                     .row_bytes = s->row_bytes[f->head],
                     .snapshot_bytes = s->snapshot_bytes[f->head]};
    memcpy(h.magic, magic, sizeof magic);
    memcpy(h.identity, s->identity, sizeof h.identity);
    h.sum = head_sum(&h);
    struct writer *w = mem_alloc(sizeof *w);
    int32_t *ids = join_ids(parts, n_parts, f->end);
    bool ok = (w && ids) || err_set(e, ALULA_NOMEM, "no memory to write a file of the prompt cache");
    if (ok) {
        w->file = f;
        w->held = w->done = 0;
        name_file(f, &h, ids);
        ok = path_join(path, sizeof path, dir, f->name, e) && file_out_open(&w->out, path, e);
    }
    if (ok) {
        const struct timespec times[2] = {when, when};
        ok = write_all(w, s, &h, ids, parts, n_parts, snapshot, e);
        if (ok) futimens(w->out.fd, times); /* else it counts as newer than it is */
        ok = ok && file_out_commit(&w->out, e);
        file_out_close(&w->out);
    }
    mem_free(ids);
    mem_free(w);
    return ok;
}

/* ---- reading -------------------------------------------------------------------------------------------- */

static bool damaged(const char *path, const char *what, struct alula_error *e)
{
    return err_set(e, ALULA_FORMAT, "%s is damaged: %s", path, what);
}

static bool read_at(int fd, void *out, size_t n, uint64_t at, const char *path, struct alula_error *e)
{
    for (unsigned char *p = out; n > 0;) {
        ssize_t k = pread(fd, p, n, (off_t)at);
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) return err_errno(e, ALULA_IO, "cannot read %s", path);
        if (k == 0) return damaged(path, "it ends too early", e);
        p += k;
        at += (uint64_t)k;
        n -= (size_t)k;
    }
    return true;
}

static int open_file(char *path, size_t cap, const char *dir, const char *name, struct alula_error *e)
{
    if (!path_join(path, cap, dir, name, e)) return -1;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) err_errno(e, ALULA_IO, "cannot open %s", path);
    return fd;
}

static bool check_head(int fd, const char *path, const struct cache_shape *s, struct head *h,
                       struct alula_error *e)
{
    if (!read_at(fd, h, sizeof *h, 0, path, e)) return false;
    if (memcmp(h->magic, magic, sizeof magic))
        return damaged(path, "it does not begin as a file of the cache", e);
    if (h->sum != head_sum(h)) return damaged(path, "the checksum of its head is wrong", e);
    if (memcmp(h->identity, s->identity, sizeof h->identity))
        return err_set(e, ALULA_MISMATCH, "%s is of another model, mode or version", path);
    if (h->first >= h->end || h->end > (uint32_t)s->max_tokens || h->head > 1 ||
        h->row_bytes != s->row_bytes[h->head] || h->snapshot_bytes != s->snapshot_bytes[h->head])
        return damaged(path, "its sizes are impossible", e);
    return true;
}

/* Ids and checksums of a file whose head is right. */
static bool read_frame(int fd, const char *path, const struct cache_shape *s, struct cache_file *f,
                       int32_t *ids, struct alula_error *e)
{
    struct stat st;
    uint64_t end, bytes = cache_file_bytes(s, f);
    size_t ids_bytes = (size_t)f->end * sizeof *ids, sums_bytes = f->n_sums * sizeof *f->sums;
    if (fstat(fd, &st) != 0) return err_errno(e, ALULA_IO, "cannot look at %s", path);
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != bytes)
        return err_set(e, ALULA_FORMAT, "%s is damaged: it has %jd bytes, expected %ju", path,
                       (intmax_t)st.st_size, (uintmax_t)bytes);
    if (!read_at(fd, ids, ids_bytes, sizeof(struct head), path, e) ||
        !read_at(fd, f->sums, sums_bytes, bytes - sizeof end - sums_bytes, path, e) ||
        !read_at(fd, &end, sizeof end, bytes - sizeof end, path, e))
        return false;
    return end == seal(f, checksum64(ids, ids_bytes)) || damaged(path, "the checksum of its ids is wrong", e);
}

bool cache_file_open(struct cache_file **ret, int32_t **ret_ids, const struct cache_shape *s, const char *dir,
                     const char *name, struct alula_error *e)
{
    char path[4096];
    struct head h;
    int fd = open_file(path, sizeof path, dir, name, e);
    if (fd < 0) return false;
    struct cache_file *f = NULL;
    int32_t *ids = NULL;
    bool ok = check_head(fd, path, s, &h, e);
    if (ok) {
        f = cache_file_new(s, (int)h.first, (int)h.end, h.head);
        ids = mem_alloc(h.end * sizeof *ids);
        ok = f && ids ? read_frame(fd, path, s, f, ids, e)
                      : err_set(e, ALULA_NOMEM, "no memory for the index of %s", path);
    }
    close(fd);
    if (!ok) {
        cache_file_free(f);
        mem_free(ids);
        return false;
    }
    snprintf(f->name, sizeof f->name, "%s", name);
    atomic_store(&f->status, CACHE_WRITTEN);
    *ret = f;
    *ret_ids = ids;
    return true;
}

static bool check_block(const struct cache_file *f, size_t i, const void *p, size_t n, const char *path,
                        struct alula_error *e)
{
    return checksum64(p, n) == f->sums[i] ||
           err_set(e, ALULA_FORMAT, "%s is damaged: the checksum of block %zu is wrong", path, i);
}

/* Bytes [at, at+n) of a block of len bytes, which is read as a whole. */
static bool read_part(int fd, const struct cache_file *f, size_t i, size_t len, size_t at, size_t n,
                      unsigned char *out, const char *path, struct alula_error *e)
{
    unsigned char block[BLOCK];
    if (!read_at(fd, block, len, content_at(f->end) + (uint64_t)i * BLOCK, path, e) ||
        !check_block(f, i, block, len, path, e))
        return false;
    memcpy(out, block + at, n);
    return true;
}

/* Bytes [at, at+n) of rows and snapshot, from the blocks they lie in. */
static bool read_content(int fd, const struct cache_file *f, uint64_t total, uint64_t at, size_t n,
                         unsigned char *out, const char *path, struct alula_error *e)
{
    while (n > 0) {
        size_t i = (size_t)(at / BLOCK), skip = (size_t)(at % BLOCK), whole = skip ? 0 : n / BLOCK * BLOCK, k;
        if (whole > 0) {
            k = whole;
            if (!read_at(fd, out, k, content_at(f->end) + at, path, e)) return false;
            for (size_t j = 0; j < k / BLOCK; j++)
                if (!check_block(f, i + j, out + j * BLOCK, BLOCK, path, e)) return false;
        } else {
            size_t len = total - at + skip < BLOCK ? (size_t)(total - at) + skip : BLOCK;
            k = len - skip < n ? len - skip : n;
            if (!read_part(fd, f, i, len, skip, k, out, path, e)) return false;
        }
        at += k;
        out += k;
        n -= k;
    }
    return true;
}

static bool read_range(const struct cache_file *f, const struct cache_shape *s, const char *dir, uint64_t at,
                       size_t n, void *out, struct alula_error *e)
{
    char path[4096];
    int fd = open_file(path, sizeof path, dir, f->name, e);
    if (fd < 0) return false;
    bool ok = read_content(fd, f, content_bytes(s, f->end - f->first, f->head), at, n, out, path, e);
    close(fd);
    return ok;
}

bool cache_file_rows(const struct cache_file *f, const struct cache_shape *s, const char *dir, int at, int n,
                     void *out, struct alula_error *e)
{
    size_t row = s->row_bytes[f->head];
    return read_range(f, s, dir, (uint64_t)at * row, (size_t)n * row, out, e);
}

bool cache_file_snapshot(const struct cache_file *f, const struct cache_shape *s, const char *dir, void *out,
                         struct alula_error *e)
{
    uint64_t at = (uint64_t)(f->end - f->first) * s->row_bytes[f->head];
    return read_range(f, s, dir, at, s->snapshot_bytes[f->head], out, e);
}
