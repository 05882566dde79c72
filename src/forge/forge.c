/* forge.c - the order of a forge: open, plan, write shards, head and papers into a work folder, look at the result, rename.
 *
 * Owns the work folder and what makes the result whole or absent. Widths and names are plan.c's, bytes are emit.c's,
 * JSON is stamp.c's. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "forge/emit.h"
#include "forge/papers.h"
#include "forge/recipe.h"
#include "forge/sources.h"
#include "forge/stamp.h"

#define WORK_SUFFIX ".forging"
#define NOTE_NAME                                                                                            \
    ".forge-in-progress.json" /* what a work folder belongs to; the dot keeps it out of the sums */

struct forge {
    const struct forge_options *o;
    struct sources sources;
    struct pool *pool;
    struct emit_progress progress;
    char work[4096];
    int lock; /* the work folder, held while this process forges; -1 = not held */
    struct forge_report report;
};

/* ---- the work folder ------------------------------------------------------------------------------------------- */

static bool add_sources(json_t *list, const struct checkpoint *c)
{
    for (size_t i = 0; i < c->n_files; i++) {
        struct stat st;
        if (stat(c->files[i]->path, &st)) return false;
        if (json_array_append_new(list,
                                  json_pack("{s:s, s:I, s:I, s:I}", "path", c->files[i]->path, "size",
                                            (json_int_t)st.st_size, "modified", (json_int_t)st.st_mtim.tv_sec,
                                            "ns", (json_int_t)st.st_mtim.tv_nsec)))
            return false;
    }
    return true;
}

/* What decides the bytes of the shards: the sources as they lie there and the options. Two runs with equal notes may share shards. */
static bool make_note(const struct forge *f, struct buf *b, struct alula_error *e)
{
    json_t *sources = json_array();
    bool ok = sources && add_sources(sources, f->sources.trunk) &&
              (!f->sources.head || add_sources(sources, f->sources.head));
    json_t *note =
        ok ? json_pack("{s:o, s:O}", "recipe",
                       recipe_json(&f->o->plan, f->sources.trunk_id, f->sources.mtp_id), "sources", sources)
           : NULL;
    if (note) json_write(b, note, 1);
    json_decref(note);
    json_decref(sources);
    if (!note) return err_set(e, ALULA_NOMEM, "no memory to describe the sources");
    return buf_check(b, NOTE_NAME, e);
}

static bool same_note(const struct forge *f, const struct buf *note)
{
    char path[4096];
    struct alula_error ignored;
    struct buf old;
    buf_init(&old, 16u << 20);
    bool same = path_join(path, sizeof path, f->work, NOTE_NAME, &ignored) &&
                file_read(path, 0, &old, &ignored) && old.len == note->len &&
                memcmp(old.data, note->data, old.len) == 0;
    buf_free(&old);
    return same;
}

static bool lock_work(struct forge *f, struct alula_error *e)
{
    if (mkdir(f->work, 0777) && errno != EEXIST)
        return err_errno(e, ALULA_IO, "cannot make the folder %s", f->work);
    f->lock = open(f->work, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (f->lock < 0) return err_errno(e, ALULA_IO, "cannot open the folder %s", f->work);
    if (flock(f->lock, LOCK_EX | LOCK_NB))
        return err_set(e, ALULA_BUSY, "another process is forging %s (it holds %s)", f->o->out, f->work);
    return true;
}

static bool is_planned(const struct forge *f, const char *name)
{
    char shard[64];
    for (int i = 0; i < f->sources.plan.n_shards; i++) {
        plan_shard_name(shard, i, f->sources.plan.n_shards);
        if (strcmp(name, shard) == 0) return true;
    }
    return strcmp(name, STAMP_SIDECAR) == 0 || strcmp(name, NOTE_NAME) == 0;
}

/* Temporary files of a process that was killed go, and so does what is quickly made again. */
static bool sweep(const struct forge *f, struct alula_error *e)
{
    char **names, path[4096];
    size_t n;
    if (!dir_list(f->work, &names, &n, e)) return false;
    bool ok = true;
    for (size_t i = 0; ok && i < n; i++) {
        if (is_planned(f, names[i])) continue;
        ok = path_join(path, sizeof path, f->work, names[i], e);
        if (ok && unlink(path)) ok = err_errno(e, ALULA_IO, "cannot remove %s", path);
    }
    mem_free(names);
    return ok;
}

/* Bytes still to be written; finished files of an earlier run count as written. */
static bool check_room(const struct forge *f, struct alula_error *e)
{
    const struct plan *p = &f->sources.plan;
    uint64_t need = p->body_bytes + p->head_bytes, done = 0;
    struct statvfs st;
    char name[64], path[4096];
    for (int i = 0; i <= p->n_shards; i++) {
        if (i < p->n_shards)
            plan_shard_name(name, i, p->n_shards);
        else
            snprintf(name, sizeof name, STAMP_SIDECAR);
        if (!path_join(path, sizeof path, f->work, name, e)) return false;
        done += file_size(path);
    }
    if (statvfs(f->work, &st) || need <= done) return true; /* what cannot be told shows when it is written */
    uint64_t room = (uint64_t)st.f_bavail * st.f_frsize;
    return need - done <= room ||
           err_set(e, ALULA_IO, "%s needs %.1f MB more, and its disk has %.1f MB of room", f->o->out,
                   (double)(need - done) * 1e-6, (double)room * 1e-6);
}

/* Makes the work folder ours: what another run with other options left in it goes. */
static bool enter_work(struct forge *f, struct alula_error *e)
{
    struct buf note;
    char path[4096];
    size_t len = strlen(f->o->out);
    while (len > 1 && f->o->out[len - 1] == '/') len--;
    if (snprintf(f->work, sizeof f->work, "%.*s" WORK_SUFFIX, (int)len, f->o->out) >= (int)sizeof f->work)
        return err_set(e, ALULA_USAGE, "--out is longer than a path may be");
    if (!lock_work(f, e)) return false;
    buf_init(&note, 16u << 20);
    bool ok = make_note(f, &note, e);
    if (ok && !same_note(f, &note)) {
        close(f->lock);
        f->lock = -1;
        ok = dir_remove(f->work, e) && lock_work(f, e) &&
             path_join(path, sizeof path, f->work, NOTE_NAME, e) && file_write(path, note.data, note.len, e);
    }
    buf_free(&note);
    return ok && sweep(f, e) && check_room(f, e);
}

/* ---- contents -------------------------------------------------------------------------------------------------- */

static bool write_or_resume(struct forge *f, const char *name, const struct plan_item *items, size_t n,
                            struct alula_error *e)
{
    char path[4096];
    if (!path_join(path, sizeof path, f->work, name, e)) return false;
    if (file_exists(path)) { /* finished files appear by rename, so it is whole */
        f->report.n_resumed++;
        return true;
    }
    return emit_file(path, items, n, f->pool, &f->progress, e);
}

static bool write_body(struct forge *f, struct alula_error *e)
{
    const struct plan *p = &f->sources.plan;
    for (size_t i = 0, first; i < p->n_body;) {
        char name[64];
        first = i;
        while (i < p->n_body && p->body[i].shard == p->body[first].shard) i++;
        plan_shard_name(name, p->body[first].shard, p->n_shards);
        if (!write_or_resume(f, name, p->body + first, i - first, e)) return false;
    }
    return true;
}

/* Opens and binds what was written, as any reader would. Whether a head's norms are zero-centred is told from their values where
 * nothing says so, and an odd head may be misread. */
static bool look_at_result(const struct forge *f, struct alula_error *e)
{
    struct checkpoint *c = NULL;
    struct weights *w = NULL;
    bool ok = checkpoint_open(&c, f->work, e) && weights_bind(&w, c, NULL, e);
    if (!ok) err_context(e, "the forged folder does not read back");
    if (ok && w->mtp.norm.add_one != (f->o->plan.norms == NORMS_DELTA))
        ok = err_set(e, ALULA_FORMAT,
                     "the gains of the head's norms are so small that readers would take them for "
                     "zero-centred ones: if its folder says a wrong mtplx_mtp_norm_encoding, correct that; "
                     "if they are meant so, store them with --norm-encoding delta");
    weights_free(w);
    checkpoint_close(c);
    return ok;
}

static bool finish(struct forge *f, struct alula_error *e)
{
    char path[4096], parent[4096];
    if (!path_join(path, sizeof path, f->work, NOTE_NAME, e)) return false;
    if (unlink(path)) return err_errno(e, ALULA_IO, "cannot remove %s", path);
    if (!dir_sync(f->work, e)) return false;
    if (rename(f->work, f->o->out))
        return err_errno(e, ALULA_IO, "cannot rename %s to %s", f->work, f->o->out);
    snprintf(parent, sizeof parent, "%s", f->o->out);
    size_t len = strlen(parent);
    while (len > 1 && parent[len - 1] == '/') parent[--len] = 0;
    char *slash = strrchr(parent, '/');
    if (!slash)
        snprintf(parent, sizeof parent, ".");
    else
        slash[slash == parent] = 0;
    return dir_sync(parent, e);
}

static bool write_papers(struct forge *f, struct alula_error *e)
{
    struct papers_source trunk = {.dir = f->sources.trunk->dir, .id = f->sources.trunk_id};
    struct papers_source donor = {.dir = f->sources.head ? f->sources.head->dir : NULL,
                                  .id = f->sources.mtp_id};
    struct stamp s = {.dir = f->work,
                      .trunk = f->sources.trunk,
                      .plan = &f->sources.plan,
                      .options = &f->o->plan,
                      .trunk_id = f->sources.trunk_id,
                      .mtp_id = f->sources.mtp_id,
                      .trunk_sha = f->sources.trunk_sha,
                      .grafted = f->sources.head != NULL};
    if (!papers_carry(f->work, &trunk, &donor, e)) return false;
    s.trunk_licence = trunk.licence;
    s.mtp_licence = donor.dir ? donor.licence : trunk.licence;
    return stamp_index(&s, e) && stamp_config(&s, e) && stamp_runtime(&s, e) && stamp_recipe(&s, e) &&
           look_at_result(f, e) && stamp_provenance(&s, f->pool, f->o->watch, papers_origin, e);
}

static bool write_all(struct forge *f, struct alula_error *e)
{
    f->progress = (struct emit_progress){.watch = f->o->watch, .total = f->sources.plan.source_bytes};
    return write_body(f, e) &&
           write_or_resume(f, STAMP_SIDECAR, f->sources.plan.head, f->sources.plan.n_head, e) &&
           write_papers(f, e) && finish(f, e);
}

bool forge_run(const struct forge_options *o, struct forge_report *ret, struct alula_error *e)
{
    double start = clock_s();
    struct forge f = {.o = o, .lock = -1};
    bool ok = sources_open(&f.sources, o, e) && pool_create(&f.pool, o->n_threads, e) && enter_work(&f, e) &&
              write_all(&f, e);
    if (ok) {
        const struct plan *p = &f.sources.plan;
        f.report.source_bytes = p->source_bytes;
        f.report.body_bytes = p->body_bytes;
        f.report.head_bytes = p->head_bytes;
        f.report.n_modules = p->n_body + p->n_head;
        f.report.n_shards = p->n_shards;
        f.report.seconds = clock_s() - start;
        *ret = f.report;
    }
    if (f.lock >= 0) close(f.lock);
    pool_free(f.pool);
    sources_close(&f.sources);
    return ok;
}
