/* file.c - files and folders: read-only maps, reads with a ceiling, writes that are whole or absent.
 *
 * Owns temporary names and flushing. Knows nothing of what files contain. */
#include "base/file.h"
#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEND_BYTES (32u << 20)

/* ---- reading --------------------------------------------------------------------------------- */

static bool map_fd(int fd, struct file_map *m, const char *path, struct alula_error *e)
{
    struct stat st;
    if (fstat(fd, &st) != 0) return err_errno(e, ALULA_IO, "cannot look at %s", path);
    if (!S_ISREG(st.st_mode))
        return err_set(e, ALULA_FORMAT, "%s is %s, expected a plain file", path,
                       S_ISDIR(st.st_mode) ? "a folder" : "a device or pipe");
    if (st.st_size == 0) {
        *m = (struct file_map){NULL, 0};
        return true;
    }
    void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) return err_errno(e, ALULA_IO, "cannot map %s", path);
    *m = (struct file_map){p, (size_t)st.st_size};
    return true;
}

bool file_map(struct file_map *m, const char *path, struct alula_error *e)
{
    /* O_NONBLOCK: a pipe in place of the file must be refused, not waited for. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return err_errno(e, ALULA_IO, "cannot open %s", path);
    bool ok = map_fd(fd, m, path, e);
    close(fd);
    return ok;
}

void file_unmap(struct file_map *m)
{
    if (m->data) munmap((void *)(uintptr_t)m->data, m->len);
    *m = (struct file_map){NULL, 0};
}

void file_map_forget(const void *p, size_t n)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t lo = ((uintptr_t)p + page - 1) / page * page, hi = ((uintptr_t)p + n) / page * page;
    if (hi > lo) madvise((void *)lo, hi - lo, MADV_DONTNEED);
}

void file_map_want(const void *p, size_t n)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), lo = (uintptr_t)p / page * page;
    madvise((void *)lo, (uintptr_t)p + n - lo, MADV_WILLNEED);
}

/* Appends all of fd to b, asking for one byte more than max to tell a file at the limit from one above it. */
static bool read_fd(int fd, size_t max, struct buf *b, const char *path, struct alula_error *e)
{
    struct stat st;
    size_t want = 16384;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0 && (uint64_t)st.st_size < max)
        want = (size_t)st.st_size + 1;
    for (;;) {
        char probe;
        bool full = b->len == max;
        if (want > max - b->len) want = max - b->len;
        if (!full && !buf_reserve(b, want)) return buf_check(b, path, e);
        ssize_t n = read(fd, full ? &probe : b->data + b->len, full ? 1 : want);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return err_errno(e, ALULA_IO, "cannot read %s", path);
        if (n == 0) return true;
        if (full) return err_set(e, ALULA_LIMIT, "%s is over its limit of %zu bytes", path, max);
        b->len += (size_t)n;
        b->data[b->len] = '\0';
        want = b->len > 16384 ? b->len : 16384;
    }
}

bool file_read(const char *path, size_t max, struct buf *b, struct alula_error *e)
{
    bool standard = strcmp(path, "-") == 0;
    size_t limit = b->max ? b->max : (size_t)1 << 30;
    if (max && max < limit) limit = max;
    buf_clear(b);
    int fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return err_errno(e, ALULA_IO, "cannot open %s", path);
    bool ok = read_fd(fd, limit, b, standard ? "standard input" : path, e);
    if (!standard) close(fd);
    if (!ok) buf_clear(b);
    return ok;
}

/* ---- names ----------------------------------------------------------------------------------- */

bool file_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

bool file_is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

uint64_t file_size(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && st.st_size > 0 ? (uint64_t)st.st_size : 0;
}

bool path_join(char *out, size_t cap, const char *dir, const char *name, struct alula_error *e)
{
    size_t n = strlen(dir);
    const char *slash = n == 0 || dir[n - 1] == '/' ? "" : "/";
    if (n + strlen(slash) + strlen(name) >= cap)
        return err_set(e, ALULA_LIMIT, "the path %s%s%s is longer than %zu bytes", dir, slash, name, cap - 1);
    snprintf(out, cap, "%s%s%s", dir, slash, name);
    return true;
}

const char *path_base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* The folder part of path, "." if it has none. */
static void path_dir(char *out, size_t cap, const char *path)
{
    size_t n = (size_t)(path_base(path) - path);
    if (n == 0)
        snprintf(out, cap, ".");
    else
        snprintf(out, cap, "%.*s", (int)n, path);
}

/* ---- writing --------------------------------------------------------------------------------- */

/* Opens an unused name in the target's folder. The mode is the umask's business, as for any new file; that is
 * why this is not mkstemp. */
static int open_temporary(struct file_out *f)
{
    static atomic_uint serial;
    int dir_len = (int)(path_base(f->path) - f->path);
    for (int tries = 0; tries < 100; tries++) {
        unsigned turn = atomic_fetch_add(&serial, 1);
        snprintf(f->tmp, sizeof f->tmp, "%.*s.alula-%ld-%u.tmp", dir_len, f->path, (long)getpid(), turn);
        int fd = open(f->tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0 || errno != EEXIST) return fd;
    }
    return -1;
}

bool file_out_open(struct file_out *f, const char *path, struct alula_error *e)
{
    struct stat st;
    f->fd = -1;
    f->written = f->sent = 0;
    if (strlen(path) > sizeof f->path - 64 || path_base(path)[0] == '\0')
        return err_set(e, ALULA_USAGE, "cannot write '%s': this is no usable file name", path);
    bool replaces = stat(path, &st) == 0;
    /* Renaming over a device or a pipe would destroy it. */
    if (replaces && !S_ISREG(st.st_mode))
        return err_set(e, ALULA_USAGE,
                       "cannot write %s: there is %s of this name, expected a plain file or nothing", path,
                       S_ISDIR(st.st_mode) ? "a folder" : "a device or pipe");
    strcpy(f->path, path);
    int fd = open_temporary(f);
    if (fd < 0) return err_errno(e, ALULA_IO, "cannot write %s", path);
    if (replaces && fchmod(fd, st.st_mode & 0777) != 0) {
        err_errno(e, ALULA_IO, "cannot set the mode of %s", path);
        close(fd);
        unlink(f->tmp);
        return false;
    }
    f->fd = fd;
    return true;
}

/* Starts writing back what has come together, so that the flush at the end of a large file does not find all
 * of it still to do. A system that cannot leaves it to the flush. */
static void send_some(struct file_out *f)
{
    if (f->written - f->sent < SEND_BYTES) return;
    sync_file_range(f->fd, (off64_t)f->sent, (off64_t)(f->written - f->sent), SYNC_FILE_RANGE_WRITE);
    f->sent = f->written;
}

bool file_out_write(struct file_out *f, const void *p, size_t n, struct alula_error *e)
{
    const char *s = p;
    while (n > 0) {
        ssize_t k = write(f->fd, s, n > 1 << 30 ? 1 << 30 : n);
        if (k < 0 && errno == EINTR) continue;
        if (k < 0)
            return err_errno(e, ALULA_IO, "cannot write %s after %ju bytes", f->path, (uintmax_t)f->written);
        s += k;
        n -= (size_t)k;
        f->written += (uint64_t)k;
    }
    send_some(f);
    return true;
}

bool file_out_commit(struct file_out *f, struct alula_error *e)
{
    char dir[sizeof f->path];
    int fd = f->fd;
    if (fsync(fd) != 0) return err_errno(e, ALULA_IO, "cannot flush %s to the disk", f->path);
    f->fd = -1;
    bool ok = close(fd) == 0 && rename(f->tmp, f->path) == 0;
    if (!ok) {
        err_errno(e, ALULA_IO, "cannot finish %s", f->path);
        unlink(f->tmp);
        return false;
    }
    path_dir(dir, sizeof dir, f->path);
    return dir_sync(dir, e);
}

void file_out_close(struct file_out *f)
{
    if (f->fd < 0) return;
    close(f->fd);
    unlink(f->tmp);
    f->fd = -1;
}

bool file_write(const char *path, const void *p, size_t n, struct alula_error *e)
{
    struct file_out f;
    if (!file_out_open(&f, path, e)) return false;
    bool ok = file_out_write(&f, p, n, e) && file_out_commit(&f, e);
    file_out_close(&f);
    return ok;
}

/* ---- folders --------------------------------------------------------------------------------- */

bool dir_sync(const char *path, struct alula_error *e)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return err_errno(e, ALULA_IO, "cannot open the folder %s", path);
    /* Some network file systems have no such operation and say so with EINVAL. */
    bool ok = fsync(fd) == 0 || errno == EINVAL;
    if (!ok) err_errno(e, ALULA_IO, "cannot flush the folder %s to the disk", path);
    close(fd);
    return ok;
}

int by_string(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

bool ends_with(const char *name, const char *tail)
{
    size_t n = strlen(name), k = strlen(tail);
    return n >= k && strcmp(name + n - k, tail) == 0;
}

/* Pointers and names in one allocation; packed holds n names, each with its NUL. */
static char **unpack_names(const struct buf *packed, size_t n)
{
    size_t table = (n + 1) * sizeof(char *);
    char **names = mem_alloc(table + packed->len);
    if (!names) return NULL;
    char *s = (char *)names + table;
    if (packed->len) memcpy(s, packed->data, packed->len);
    for (size_t i = 0; i < n; i++) {
        names[i] = s;
        s += strlen(s) + 1;
    }
    names[n] = NULL;
    qsort(names, n, sizeof *names, by_string);
    return names;
}

bool dir_list(const char *path, char ***ret_names, size_t *ret_n, struct alula_error *e)
{
    DIR *d = opendir(path);
    if (!d) return err_errno(e, ALULA_IO, "cannot open the folder %s", path);
    struct buf packed;
    struct stat st;
    size_t n = 0;
    buf_init(&packed, 64 << 20);
    errno = 0;
    for (struct dirent *entry; (entry = readdir(d)); errno = 0) {
        if (fstatat(dirfd(d), entry->d_name, &st, 0) != 0 || !S_ISREG(st.st_mode)) continue;
        buf_add(&packed, entry->d_name, strlen(entry->d_name) + 1);
        n++;
    }
    bool ok = errno == 0 || err_errno(e, ALULA_IO, "cannot read the folder %s", path);
    closedir(d);
    ok = ok && buf_check(&packed, "the list of files in a folder", e);
    char **names = ok ? unpack_names(&packed, n) : NULL;
    buf_free(&packed);
    if (!ok) return false;
    if (!names) return err_set(e, ALULA_NOMEM, "out of memory for the names in %s", path);
    *ret_names = names;
    *ret_n = n;
    return true;
}

enum { REMOVE_DEPTH = 64 };

static bool remove_at(int at, const char *name, int depth, struct alula_error *e);

static bool remove_content(DIR *d, int depth, struct alula_error *e)
{
    for (struct dirent *entry; (entry = readdir(d));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        if (!remove_at(dirfd(d), entry->d_name, depth + 1, e)) return false;
    }
    return true;
}

static bool remove_at(int at, const char *name, int depth, struct alula_error *e)
{
    if (unlinkat(at, name, 0) == 0 || errno == ENOENT) return true;
    if (errno != EISDIR && errno != EPERM) return err_errno(e, ALULA_IO, "cannot remove %s", name);
    if (depth > REMOVE_DEPTH)
        return err_set(e, ALULA_LIMIT, "cannot remove %s: folders are nested more than %d deep", name,
                       REMOVE_DEPTH);
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    if (!d) {
        err_errno(e, ALULA_IO, "cannot open the folder %s", name);
        if (fd >= 0) close(fd);
        return false;
    }
    bool ok = remove_content(d, depth, e);
    closedir(d);
    if (!ok) return err_context(e, "%s", name);
    return unlinkat(at, name, AT_REMOVEDIR) == 0 ||
           err_errno(e, ALULA_IO, "cannot remove the folder %s", name);
}

bool dir_remove(const char *path, struct alula_error *e) { return remove_at(AT_FDCWD, path, 0, e); }
