/* access_log.c - the access log: a line is written at once, so that threads do not mix.
 *
 * Owns the form of a line and the file. What comes from a client is quoted as JSON text in either form, so that no
 * request can forge a line. */
#include "serve/access_log.h"

#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/json.h"
#include "base/mem.h"

struct access_log {
    pthread_mutex_t lock;
    int fd;
    char *path; /* NULL = standard error */
    bool json;
};

static int open_file(const char *path, struct alula_error *e)
{
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0) err_errno(e, ALULA_IO, "cannot open the log %s", path);
    return fd;
}

bool access_log_open(struct access_log **ret, const char *path, bool json, struct alula_error *e)
{
    struct access_log *log = mem_zalloc(1, sizeof *log);
    if (!log) return err_set(e, ALULA_NOMEM, "out of memory for the log");
    pthread_mutex_init(&log->lock, NULL);
    log->json = json;
    log->fd = path ? open_file(path, e) : STDERR_FILENO;
    bool ok = log->fd >= 0;
    if (ok && path && !(log->path = mem_strdup(path)))
        ok = err_set(e, ALULA_NOMEM, "out of memory for the log");
    if (ok)
        *ret = log;
    else
        access_log_close(log);
    return ok;
}

void access_log_close(struct access_log *log)
{
    if (!log) return;
    if (log->path) close(log->fd);
    pthread_mutex_destroy(&log->lock);
    mem_free(log->path);
    mem_free(log);
}

bool access_log_reopen(struct access_log *log, struct alula_error *e)
{
    if (!log->path) return true;
    int fd = open_file(log->path, e);
    if (fd < 0) return false;
    pthread_mutex_lock(&log->lock);
    close(log->fd);
    log->fd = fd;
    pthread_mutex_unlock(&log->lock);
    return true;
}

static void write_json(struct buf *b, const char *when, const struct access_line *l)
{
    buf_fmt(b, "{\"time\": \"%s\", \"id\": \"%s\", \"client\": \"%s\", \"method\": ", when, l->id, l->client);
    json_write_str(b, l->method, strlen(l->method));
    buf_str(b, ", \"path\": ");
    json_write_str(b, l->path, strlen(l->path));
    buf_fmt(b, ", \"status\": %d, \"bytes\": %ju, \"seconds\": %.3f}\n", l->status, (uintmax_t)l->bytes,
            l->seconds);
}

static void write_words(struct buf *b, const char *when, const struct access_line *l)
{
    buf_fmt(b, "%s %s ", when, l->client);
    json_write_str(b, l->method, strlen(l->method));
    buf_byte(b, ' ');
    json_write_str(b, l->path, strlen(l->path));
    buf_fmt(b, " %d %ju bytes %.3f s %s\n", l->status, (uintmax_t)l->bytes, l->seconds, l->id);
}

void access_log_write(struct access_log *log, const struct access_line *line)
{
    char when[32];
    struct tm tm;
    time_t now = time(NULL);
    struct buf b = {0};
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
    (log->json ? write_json : write_words)(&b, when, line);
    pthread_mutex_lock(&log->lock);
    /* A log that cannot be written has nowhere to complain. */
    ssize_t ignored = b.failed ? 0 : write(log->fd, b.data, b.len);
    (void)ignored;
    pthread_mutex_unlock(&log->lock);
    buf_free(&b);
}
