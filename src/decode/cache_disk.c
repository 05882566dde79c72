/* cache_disk.c - folder, thread and queue of the prompt cache's files; see cache_disk.h. */
#include "decode/cache_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"

enum {
    QUEUE_MAX = 8,
    STALE_S = 600 /* a writer that is alive touches its temporary file more often */
};

struct cache_disk {
    char dir[4000];
    struct cache_shape shape;
    uint64_t write_per_hour;
    pthread_t thread;
    atomic_bool lost;
    pthread_mutex_t lock; /* everything below */
    pthread_cond_t wake;
    bool stop, complained; /* complained: of what failed since the last success */
    struct cache_job *queue[QUEUE_MAX];
    int n_queued;
    struct cache_file *files;     /* known, and not gone */
    double allowance, allowed_at; /* bytes; seconds */
    struct cache_disk_stats stats;
};

static double clock_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- the files that are known --------------------------------------------------------------------------- */

static void know(struct cache_disk *d, struct cache_file *f)
{
    pthread_mutex_lock(&d->lock);
    f->next = d->files;
    d->files = cache_file_hold(f);
    pthread_mutex_unlock(&d->lock);
}

static void forget(struct cache_disk *d, struct cache_file *f)
{
    atomic_store(&f->status, CACHE_GONE);
    pthread_mutex_lock(&d->lock);
    struct cache_file **at = &d->files;
    while (*at && *at != f) at = &(*at)->next;
    bool known = *at != NULL;
    if (known) *at = f->next;
    pthread_mutex_unlock(&d->lock);
    if (known) cache_file_free(f);
    atomic_store(&d->lost, true);
}

bool disk_has_lost(struct cache_disk *d) { return atomic_exchange(&d->lost, false); }

/* ---- the folder ----------------------------------------------------------------------------------------- */

static bool is_ours(const char *name)
{
    return strlen(name) < sizeof((struct cache_file *)0)->name && ends_with(name, CACHE_SUFFIX);
}

static bool is_temporary(const char *name)
{
    return strncmp(name, ".alula-", 7) == 0 && ends_with(name, ".tmp");
}

struct entry {
    const char *name; /* NULL once removed */
    struct timespec time;
    uint64_t bytes;
};

static int by_time(const void *a, const void *b)
{
    const struct timespec *x = &((const struct entry *)a)->time, *y = &((const struct entry *)b)->time;
    if (x->tv_sec != y->tv_sec) return x->tv_sec < y->tv_sec ? -1 : 1;
    return x->tv_nsec < y->tv_nsec ? -1 : x->tv_nsec > y->tv_nsec;
}

struct listing {
    char **names; /* holds the entries' names */
    struct entry *entries;
    size_t n;
    uint64_t bytes;
};

static bool look_at(const struct cache_disk *d, const char *name, struct entry *x)
{
    struct stat st;
    char path[sizeof d->dir + 256];
    snprintf(path, sizeof path, "%s/%s", d->dir, name);
    if (stat(path, &st) != 0) return false;
    *x = (struct entry){name, st.st_mtim, (uint64_t)st.st_size};
    return true;
}

static bool remove_file(const struct cache_disk *d, const char *name)
{
    char path[sizeof d->dir + 256];
    snprintf(path, sizeof path, "%s/%s", d->dir, name);
    return unlink(path) == 0 || errno == ENOENT;
}

/* Ours, oldest first. Temporary files that a killed writer left are removed. */
static bool list(const struct cache_disk *d, struct listing *l, struct alula_error *e)
{
    size_t n_names;
    struct entry x;
    struct timespec now;
    if (!dir_list(d->dir, &l->names, &n_names, e)) return false;
    l->n = l->bytes = 0;
    l->entries = mem_zalloc(n_names, sizeof *l->entries);
    if (!l->entries) {
        mem_free(l->names);
        return err_set(e, ALULA_NOMEM, "no memory for the list of files in %s", d->dir);
    }
    clock_gettime(CLOCK_REALTIME, &now);
    for (size_t i = 0; i < n_names; i++) {
        bool ours = is_ours(l->names[i]);
        if (!(ours || is_temporary(l->names[i])) || !look_at(d, l->names[i], &x)) continue;
        if (!ours && x.time.tv_sec < now.tv_sec - STALE_S) remove_file(d, x.name);
        if (!ours) continue;
        l->entries[l->n++] = x;
        l->bytes += x.bytes;
    }
    qsort(l->entries, l->n, sizeof *l->entries, by_time);
    return true;
}

static void listing_free(struct listing *l)
{
    mem_free(l->entries);
    mem_free(l->names);
}

static bool listed(const struct listing *l, const char *name)
{
    for (size_t i = 0; i < l->n; i++)
        if (l->entries[i].name && strcmp(l->entries[i].name, name) == 0) return true;
    return false;
}

/* Known files that are not there any more, by our hand or another's. */
static void forget_unlisted(struct cache_disk *d, const struct listing *l)
{
    for (;;) {
        pthread_mutex_lock(&d->lock);
        struct cache_file *f = d->files;
        while (f && (atomic_load(&f->status) != CACHE_WRITTEN || listed(l, f->name))) f = f->next;
        cache_file_hold(f);
        pthread_mutex_unlock(&d->lock);
        if (!f) return;
        forget(d, f);
        cache_file_free(f);
    }
}

/* Removes the oldest files until `need` more bytes fit. */
static bool make_room(struct cache_disk *d, uint64_t need, struct alula_error *e)
{
    struct listing l;
    size_t n_removed = 0;
    if (!list(d, &l, e)) return false;
    for (size_t i = 0; i < l.n && l.bytes + need > d->stats.size; i++) {
        if (!remove_file(d, l.entries[i].name)) continue;
        l.bytes -= l.entries[i].bytes;
        l.entries[i].name = NULL;
        n_removed++;
    }
    forget_unlisted(d, &l);
    pthread_mutex_lock(&d->lock);
    d->stats.used = l.bytes;
    d->stats.files = l.n - n_removed;
    pthread_mutex_unlock(&d->lock);
    bool ok =
        l.bytes + need <= d->stats.size ||
        err_set(e, ALULA_LIMIT, "%s has no room for %ju bytes of the prompt cache", d->dir, (uintmax_t)need);
    listing_free(&l);
    return ok;
}

/* ---- writing -------------------------------------------------------------------------------------------- */

struct cache_job *cache_job_new(const struct cache_disk *d, int first, int end, bool head, int n_parts)
{
    struct cache_job *j = mem_zalloc(1, sizeof *j + (size_t)n_parts * sizeof *j->parts);
    struct cache_file *f = j ? cache_file_new(&d->shape, first, end, head) : NULL;
    if (!f) {
        mem_free(j);
        return NULL;
    }
    j->file = f;
    return j;
}

static void job_free(struct cache_job *j)
{
    for (int i = 0; i < j->n_parts; i++) {
        blob_free(j->parts[i].ids.blob);
        blob_free(j->parts[i].rows.blob);
    }
    blob_free(j->snapshot);
    cache_file_free(j->file);
    mem_free(j);
}

/* Half of the hour's bytes may come at once, the other half over an hour; so no hour has more than all. */
static bool take_allowance(struct cache_disk *d, uint64_t bytes)
{
    double now = clock_s(), half = (double)d->write_per_hour / 2;
    d->allowance += (now - d->allowed_at) * half / 3600;
    d->allowed_at = now;
    if (d->allowance > half) d->allowance = half;
    if (d->allowance < (double)bytes) return false;
    d->allowance -= (double)bytes;
    return true;
}

bool disk_put(struct cache_disk *d, struct cache_job *j)
{
    uint64_t bytes = cache_file_bytes(&d->shape, j->file);
    pthread_mutex_lock(&d->lock);
    bool room = d->n_queued < QUEUE_MAX && bytes <= d->stats.size && take_allowance(d, bytes);
    if (room)
        d->queue[d->n_queued++] = j;
    else
        d->stats.dropped++;
    pthread_cond_signal(&d->wake);
    pthread_mutex_unlock(&d->lock);
    if (!room) job_free(j);
    return room;
}

static void write_job(struct cache_disk *d, struct cache_job *j)
{
    struct alula_error e;
    uint64_t bytes = cache_file_bytes(&d->shape, j->file);
    bool ok = make_room(d, bytes, &e) &&
              cache_file_write(j->file, &d->shape, d->dir, j->parts, j->n_parts, j->snapshot, j->when, &e);
    if (ok) {
        know(d, j->file);
        atomic_store(&j->file->status, CACHE_WRITTEN);
    } else {
        forget(d, j->file);
    }
    pthread_mutex_lock(&d->lock);
    bool complain = !ok && !d->complained;
    d->complained = !ok;
    d->stats.written += ok;
    d->stats.failed += !ok;
    d->stats.used += ok ? bytes : 0;
    d->stats.files += ok;
    pthread_mutex_unlock(&d->lock);
    if (complain) log_at(LOG_WARN, "the prompt cache goes on without its files for now: %s", e.message);
    job_free(j);
}

static void *write_jobs(void *arg)
{
    struct cache_disk *d = arg;
    pthread_mutex_lock(&d->lock);
    for (;;) {
        while (d->n_queued == 0 && !d->stop) pthread_cond_wait(&d->wake, &d->lock);
        if (d->n_queued == 0) break;
        struct cache_job *j = d->queue[0];
        memmove(d->queue, d->queue + 1, (size_t)--d->n_queued * sizeof *d->queue);
        pthread_mutex_unlock(&d->lock);
        write_job(d, j);
        pthread_mutex_lock(&d->lock);
    }
    pthread_mutex_unlock(&d->lock);
    return NULL;
}

/* ---- reading -------------------------------------------------------------------------------------------- */

/* What came of reading a file; one that failed is not read again. */
static bool outcome(struct cache_disk *d, struct cache_file *f, bool ok, const struct alula_error *e)
{
    if (ok) return true;
    forget(d, f);
    if (e->code == ALULA_NOT_FOUND) return false;
    pthread_mutex_lock(&d->lock);
    d->stats.damaged++;
    pthread_mutex_unlock(&d->lock);
    log_at(LOG_WARN, "the prompt cache ignores a file: %s", e->message);
    return false;
}

bool disk_read_rows(struct cache_disk *d, struct cache_file *f, int at, int n, void *out)
{
    struct alula_error e;
    return outcome(d, f, cache_file_rows(f, &d->shape, d->dir, at, n, out, &e), &e);
}

bool disk_read_snapshot(struct cache_disk *d, struct cache_file *f, void *out)
{
    struct alula_error e;
    return outcome(d, f, cache_file_snapshot(f, &d->shape, d->dir, out, &e), &e);
}

void disk_touch(struct cache_disk *d, const struct cache_file *f, struct timespec when)
{
    char path[sizeof d->dir + sizeof f->name + 1];
    const struct timespec times[2] = {when, when};
    if (atomic_load(&f->status) != CACHE_WRITTEN) return;
    snprintf(path, sizeof path, "%s/%s", d->dir, f->name);
    utimensat(AT_FDCWD, path, times, 0); /* a file that cannot be touched goes a little early */
}

void disk_describe(struct cache_disk *d, struct cache_disk_stats *ret)
{
    pthread_mutex_lock(&d->lock);
    *ret = d->stats;
    pthread_mutex_unlock(&d->lock);
}

/* ---- beginning and end ---------------------------------------------------------------------------------- */

/* false only if memory is exhausted. */
static bool find_file(struct cache_disk *d, const struct cache_disk_options *o, const char *name,
                      int *n_foreign, struct alula_error *e)
{
    struct cache_file *f;
    int32_t *ids;
    if (!cache_file_open(&f, &ids, &d->shape, d->dir, name, e)) {
        if (e->code == ALULA_NOMEM) return false;
        *n_foreign += e->code == ALULA_MISMATCH;
        if (e->code == ALULA_MISMATCH || e->code == ALULA_NOT_FOUND) return true;
        d->stats.damaged++;
        log_at(LOG_WARN, "the prompt cache ignores a file: %s", e->message);
        return true;
    }
    bool ok = o->found(o->arg, f, ids) || err_set(e, ALULA_NOMEM, "no memory for the index of %s", d->dir);
    if (ok) know(d, f);
    cache_file_free(f);
    mem_free(ids);
    return ok;
}

static bool find_files(struct cache_disk *d, const struct cache_disk_options *o, struct alula_error *e)
{
    struct listing l;
    int n_foreign = 0;
    if (!make_room(d, 0, e) || !list(d, &l, e)) return false;
    bool ok = true;
    for (size_t i = l.n; ok && i-- > 0;) ok = find_file(d, o, l.entries[i].name, &n_foreign, e);
    listing_free(&l);
    if (n_foreign)
        log_at(LOG_INFO, "%d files in %s are of another model, mode or version and stay unused", n_foreign,
               d->dir);
    return ok;
}

/* The thread takes no signals: they are for the program. */
static bool start_thread(struct cache_disk *d, struct alula_error *e)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pthread_create(&d->thread, NULL, write_jobs, d);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return rc == 0 || err_set(e, ALULA_BUSY, "cannot start a thread for the prompt cache: %s", strerror(rc));
}

static void disk_free(struct cache_disk *d)
{
    while (d->files) {
        struct cache_file *f = d->files;
        d->files = f->next;
        cache_file_free(f);
    }
    pthread_mutex_destroy(&d->lock);
    pthread_cond_destroy(&d->wake);
    mem_free(d);
}

bool disk_open(struct cache_disk **ret, const struct cache_shape *shape, const struct cache_disk_options *o,
               struct alula_error *e)
{
    if (strlen(o->dir) >= sizeof((struct cache_disk *)0)->dir)
        return err_set(e, ALULA_USAGE,
                       "the name of the prompt cache's folder has %zu bytes, expected at most %zu",
                       strlen(o->dir), sizeof((struct cache_disk *)0)->dir - 1);
    if (mkdir(o->dir, 0700) && errno != EEXIST)
        return err_errno(e, ALULA_IO, "cannot make %s for the prompt cache", o->dir);
    struct cache_disk *d = mem_zalloc(1, sizeof *d);
    if (!d) return err_set(e, ALULA_NOMEM, "no memory for the files of a prompt cache");
    snprintf(d->dir, sizeof d->dir, "%s", o->dir);
    d->shape = *shape;
    d->stats.size = o->size;
    d->write_per_hour = o->write_per_hour;
    d->allowance = (double)o->write_per_hour / 2;
    d->allowed_at = clock_s();
    pthread_mutex_init(&d->lock, NULL);
    pthread_cond_init(&d->wake, NULL);
    if (!find_files(d, o, e) || !start_thread(d, e)) {
        disk_free(d);
        return false;
    }
    *ret = d;
    return true;
}

void disk_close(struct cache_disk *d)
{
    if (!d) return;
    pthread_mutex_lock(&d->lock);
    d->stop = true;
    pthread_cond_signal(&d->wake);
    pthread_mutex_unlock(&d->lock);
    pthread_join(d->thread, NULL);
    disk_free(d);
}
