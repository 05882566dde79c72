/* fingerprint.c - the identity of a checkpoint's content; see fingerprint.h. Knows no use of it. */
#include "artifact/fingerprint.h"

#include <string.h>
#include <sys/stat.h>

#include "base/err.h"

enum { SAMPLES = 4, SAMPLE = 64, JSON_MAX = 64 << 20 };

static void add_tensor(struct sha256 *s, const struct tensor *t)
{
    size_t n = t->n_bytes < SAMPLE ? (size_t)t->n_bytes : SAMPLE;
    sha256_add(s, t->name, strlen(t->name) + 1);
    sha256_add(s, &t->dtype, sizeof t->dtype);
    sha256_add(s, t->shape, (size_t)t->n_dims * sizeof *t->shape);
    for (size_t i = 0; i < SAMPLES; i++) sha256_add(s, t->data + (t->n_bytes - n) / (SAMPLES - 1) * i, n);
}

static bool add_file(struct sha256 *s, const struct st_file *f, struct alula_error *e)
{
    struct stat st;
    if (stat(f->path, &st) != 0) return err_errno(e, ALULA_IO, "cannot look at %s", f->path);
    sha256_add(s, &st.st_size, sizeof st.st_size);
    sha256_add(s, &st.st_mtim.tv_sec, sizeof st.st_mtim.tv_sec);
    sha256_add(s, &st.st_mtim.tv_nsec, sizeof st.st_mtim.tv_nsec);
    return true;
}

bool fingerprint_add(struct sha256 *s, const struct checkpoint *c, struct alula_error *e)
{
    char path[4096];
    struct buf b;
    buf_init(&b, JSON_MAX);
    bool ok = !c->config_json ||
              (path_join(path, sizeof path, c->dir, "config.json", e) && file_read(path, JSON_MAX, &b, e));
    if (ok && b.len) sha256_add(s, b.data, b.len);
    buf_free(&b);
    for (size_t i = 0; ok && i < c->n_files; i++) ok = add_file(s, c->files[i], e);
    for (size_t i = 0; ok && i < c->n_tensors; i++) add_tensor(s, c->tensors[i]);
    return ok;
}
