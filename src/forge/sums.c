/* sums.c - alula_provenance.json: what every file of an artifact is and where it came from. */
#include <stdatomic.h>
#include <stdio.h>

#include "base/json.h"
#include "base/sha256.h"
#include "forge/stamp.h"

struct summing {
    const char *dir;
    char **names;
    size_t n;
    char (*sums)[SHA256_HEX];
    const struct watch *watch;
    uint64_t total; /* bytes */
    atomic_ullong done;
    atomic_size_t next;
    atomic_bool stopped;
    struct alula_error *errors; /* [n] code ALULA_OK = fine */
};

/* Not summed: this file, what verify rewrites, and what is hidden because it does not belong to the artifact. */
static bool is_left_out(const char *name)
{
    return name[0] == '.' || !strcmp(name, STAMP_PROVENANCE) || !strcmp(name, "mtplx_runtime.json") ||
           !strcmp(name, "README.md");
}

/* tells: this is the caller's thread. */
static bool sum_file(struct summing *s, const char *path, bool tells, char out[SHA256_HEX],
                     struct alula_error *e)
{
    enum { STEP = 1 << 24 };
    struct file_map m;
    struct sha256 sum;
    if (!file_map(&m, path, e)) return false;
    sha256_init(&sum);
    for (size_t i = 0, n; i < m.len && !s->stopped; i += n) {
        n = m.len - i < STEP ? m.len - i : STEP;
        sha256_add(&sum, m.data + i, n);
        file_map_forget(m.data + i, n);
        uint64_t done = atomic_fetch_add(&s->done, n) + n;
        if (tells && !watch_tell(s->watch, "summing", done, s->total, e)) s->stopped = true;
    }
    sha256_hex(&sum, out);
    file_unmap(&m);
    return !s->stopped || err_set(e, ALULA_CANCELLED, "stopped");
}

/* Each thread takes the next file; which one does has no influence on the result. */
static void sum_files(void *arg, int thread, int n_threads)
{
    struct summing *s = arg;
    struct alula_error e;
    (void)n_threads;
    for (size_t i; (i = atomic_fetch_add(&s->next, 1)) < s->n;) {
        char path[4096];
        if (is_left_out(s->names[i])) continue;
        if (!path_join(path, sizeof path, s->dir, s->names[i], &e) ||
            !sum_file(s, path, thread == 0, s->sums[i], &e))
            s->errors[i] = e;
    }
}

static uint64_t size_of(const struct summing *s, size_t i)
{
    char path[4096];
    struct alula_error ignored;
    return path_join(path, sizeof path, s->dir, s->names[i], &ignored) ? file_size(path) : 0;
}

static json_t *files_json(const struct summing *s, const char *(*copied_from)(const char *name))
{
    json_t *files = json_object();
    for (size_t i = 0; files && i < s->n; i++) {
        if (is_left_out(s->names[i])) continue;
        const char *from = copied_from(s->names[i]);
        json_object_set_new(files, s->names[i],
                            json_pack("{s:s, s:I, s:s}", "sha256", s->sums[i], "bytes",
                                      (json_int_t)size_of(s, i), "origin", from ? from : "made"));
    }
    return files;
}

static bool write_sums(const struct stamp *st, const struct summing *s,
                       const char *(*copied_from)(const char *name), struct alula_error *e)
{
    char path[4096];
    struct buf b;
    json_t *root = json_pack("{s:s+, s:s, s:s, s:s, s:s, s:o}", "made_by", "alula ", alula_version(), "trunk",
                             st->trunk_id, "trunk_licence", st->trunk_licence.id, "mtp", st->mtp_id,
                             "mtp_licence", st->mtp_licence.id, "files", files_json(s, copied_from));
    buf_init(&b, 0);
    if (root) json_write(&b, root, 4);
    json_decref(root);
    bool ok =
        (root || err_set(e, ALULA_NOMEM, "no memory for the sums")) && buf_check(&b, STAMP_PROVENANCE, e) &&
        path_join(path, sizeof path, st->dir, STAMP_PROVENANCE, e) && file_write(path, b.data, b.len, e);
    buf_free(&b);
    return ok;
}

bool stamp_provenance(const struct stamp *st, struct pool *pool, const struct watch *watch,
                      const char *(*copied_from)(const char *name), struct alula_error *e)
{
    struct summing s = {.dir = st->dir, .watch = watch};
    mem_setup();
    if (!dir_list(st->dir, &s.names, &s.n, e)) return false;
    for (size_t i = 0; i < s.n; i++) s.total += size_of(&s, i);
    s.sums = mem_zalloc(s.n + 1, sizeof *s.sums);
    s.errors = mem_zalloc(s.n + 1, sizeof *s.errors);
    bool ok = (s.sums && s.errors) || err_set(e, ALULA_NOMEM, "no memory for the sums of %zu files", s.n);
    /* Said once by the caller in any case: the other threads may take all the files. */
    ok = ok && watch_tell(watch, "summing", 0, s.total, e);
    if (ok) {
        pool_run(pool, sum_files, &s);
        for (size_t i = 0; ok && i < s.n; i++) {
            ok = s.errors[i].code == ALULA_OK;
            if (!ok) *e = s.errors[i];
        }
        ok = ok && write_sums(st, &s, copied_from, e);
    }
    mem_free(s.sums);
    mem_free(s.errors);
    mem_free(s.names);
    return ok;
}
