/* papers.c - carries over what belongs to a model beside its weights. Knows file names; looks into none but notices and licences. */
#include "forge/papers.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"

#define COPY_MAX   (256u << 20)
#define NOTICE_MAX (4u << 20)
#define MARK_NAME  ".mtplx-source.json"

static const char *const carried[] = {"tokenizer*.json",         "vocab.json",        "merges.txt",
                                      "special_tokens_map.json", "added_tokens.json", "chat_template*",
                                      "generation_config.json"};
static const char *const licences[] = {"LICEN[CS]E*", "COPYING*"};
static const char notices[] = "NOTICE*";

static bool fits(const char *name, const char *const *patterns, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (fnmatch(patterns[i], name, 0) == 0) return true;
    return false;
}

static bool is_licence(const char *name) { return fits(name, licences, sizeof licences / sizeof *licences); }

static bool is_carried(const char *name)
{
    return fits(name, carried, sizeof carried / sizeof *carried) || is_licence(name);
}

const char *papers_origin(const char *name)
{
    if (!is_carried(name)) return NULL;
    return is_licence(name) && ends_with(name, PAPERS_DONOR_SUFFIX) ? "mtp" : "trunk";
}

static bool copy(const char *from_dir, const char *name, const char *out, const char *suffix,
                 struct alula_error *e)
{
    char from[4096], to[4096], new_name[300];
    struct buf b;
    buf_init(&b, COPY_MAX);
    snprintf(new_name, sizeof new_name, "%s%s", name, suffix);
    bool ok = path_join(from, sizeof from, from_dir, name, e) && path_join(to, sizeof to, out, new_name, e) &&
              file_read(from, COPY_MAX, &b, e) && file_write(to, b.data ? b.data : "", b.len, e);
    buf_free(&b);
    return ok;
}

/* ---- the notice ------------------------------------------------------------------------------------------------ */

static bool add_notice(struct buf *out, const char *dir, const char *name, const char *id,
                       struct alula_error *e)
{
    char path[4096];
    struct buf b;
    buf_init(&b, NOTICE_MAX);
    bool ok = path_join(path, sizeof path, dir, name, e) && file_read(path, NOTICE_MAX, &b, e);
    if (ok) {
        buf_fmt(out, "\n---- %s of %s ----\n\n", name, id);
        buf_add(out, b.data ? b.data : "", b.len);
        if (b.len && b.data[b.len - 1] != '\n') buf_byte(out, '\n');
    }
    buf_free(&b);
    return ok;
}

/* Who gives what. An artifact that is a parent may hold licences of a head that was grafted onto it before. */
enum part { WHOLE_MODEL, BODY_ONLY, HEAD_ONLY };

/* The suffix under which a file of a parent goes along, or NULL if it does not. old_donor: the parent holds files of a former donor. */
static const char *carried_suffix(const char *name, enum part part, bool old_donor)
{
    bool of_donor = ends_with(name, PAPERS_DONOR_SUFFIX);
    if (part == WHOLE_MODEL) return is_carried(name) ? "" : NULL;
    if (part == BODY_ONLY) return is_carried(name) && !of_donor ? "" : NULL;
    if (!is_licence(name) || of_donor != old_donor) return NULL;
    return of_donor ? "" : PAPERS_DONOR_SUFFIX;
}

static bool has_old_donor(char **names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (is_licence(names[i]) && ends_with(names[i], PAPERS_DONOR_SUFFIX)) return true;
    return false;
}

static bool is_named(const struct licence *l) { return l->id[0] && strcmp(l->id, "other"); }

/* By the licence files that go along, which an artifact may hold for its head alone, and by what the folder declares; "other" if
 * they contradict each other. */
static struct licence find_licence(const char *dir, char **names, size_t n, enum part part)
{
    struct licence declared = licence_declared(dir), found = {""};
    bool old_donor = has_old_donor(names, n);
    for (size_t i = 0; i < n; i++) {
        char path[4096];
        struct buf b;
        struct alula_error ignored;
        buf_init(&b, NOTICE_MAX);
        if (is_licence(names[i]) && carried_suffix(names[i], part, old_donor) &&
            path_join(path, sizeof path, dir, names[i], &ignored) && file_read(path, 0, &b, &ignored)) {
            struct licence here = licence_of_text(b.data ? b.data : "", b.len);
            found = found.id[0] ? licence_joined(found, here) : here;
        }
        buf_free(&b);
    }
    if (is_named(&found) && is_named(&declared)) return licence_joined(found, declared);
    return is_named(&found) || !declared.id[0] ? found : declared;
}

static void say_licence(const struct licence *l, const struct buf *files, struct buf *said)
{
    bool named = is_named(l);
    if (!files->len && !named)
        buf_str(said, "  Licence: its folder held no licence file; see where the model was published.\n");
    else if (!files->len)
        buf_fmt(said, "  Licence: %s, as its model card says; its folder held no licence file.\n", l->id);
    else
        buf_fmt(said, "  Licence: %s%s%.*s\n", named ? l->id : "", named ? ", " : "", (int)files->len,
                files->data);
}

/* One parent: copies its files, says so in `said`, and gathers its notices. */
static bool carry_parent(const char *out, struct papers_source *p, enum part part, struct buf *said,
                         struct buf *gathered, struct alula_error *e)
{
    char **names;
    size_t n;
    bool ok = true;
    struct buf files = {0};
    if (!dir_list(p->dir, &names, &n, e)) return false;
    bool old_donor = has_old_donor(names, n);
    for (size_t i = 0; ok && i < n; i++) {
        const char *suffix = carried_suffix(names[i], part, old_donor);
        if (fnmatch(notices, names[i], 0) == 0) ok = add_notice(gathered, p->dir, names[i], p->id, e);
        if (!ok || !suffix) continue;
        ok = copy(p->dir, names[i], out, suffix, e);
        if (is_licence(names[i])) buf_fmt(&files, "%s%s%s", files.len ? ", " : "", names[i], suffix);
    }
    p->licence = find_licence(p->dir, names, n, part);
    say_licence(&p->licence, &files, said);
    buf_free(&files);
    mem_free(names);
    return ok;
}

bool papers_carry(const char *out, struct papers_source *trunk, struct papers_source *donor,
                  struct alula_error *e)
{
    struct buf said, gathered;
    char path[4096];
    buf_init(&said, NOTICE_MAX);
    buf_init(&gathered, NOTICE_MAX);
    buf_fmt(&said, "This folder was made by alula forge from the weights of %s.\n\n",
            donor->dir ? "two models" : "one model");
    buf_fmt(&said, "%s: %s\n", donor->dir ? "Body, tokenizer and chat template" : "The whole model",
            trunk->id);
    bool ok = carry_parent(out, trunk, donor->dir ? BODY_ONLY : WHOLE_MODEL, &said, &gathered, e);
    if (ok && donor->dir) {
        buf_fmt(&said, "MTP head (mtp.safetensors): %s\n", donor->id);
        ok = carry_parent(out, donor, HEAD_ONLY, &said, &gathered, e);
    }
    buf_add(&said, gathered.data ? gathered.data : "", gathered.len);
    ok = ok && buf_check(&said, "NOTICE", e) && path_join(path, sizeof path, out, "NOTICE", e) &&
         file_write(path, said.data, said.len, e);
    buf_free(&said);
    buf_free(&gathered);
    return ok;
}

/* ---- names ----------------------------------------------------------------------------------------------------- */

static void name_of_folder(const char *dir, char id[256])
{
    char *whole = realpath(dir, NULL);
    const char *name = path_base(whole ? whole : dir);
    snprintf(id, 256, "%s", name[0] ? name : "model");
    free(whole);
}

static void take_text(const json_t *o, const char *key, char *out, size_t cap)
{
    const char *v = json_string_value(json_object_get(o, key));
    if (v && v[0] && strlen(v) < cap) snprintf(out, cap, "%s", v);
}

void papers_model_id(const char *given, const char *dir, char id[256], char sha[80])
{
    char path[4096];
    struct alula_error ignored;
    json_t *mark = NULL;
    sha[0] = '\0';
    name_of_folder(dir, id);
    mem_setup();
    if (path_join(path, sizeof path, dir, MARK_NAME, &ignored) && file_exists(path))
        mark = json_parse_file(path, 1u << 20, 8, &ignored);
    take_text(mark, "repo_id", id, 256);
    take_text(mark, "revision", sha, 80);
    take_text(mark, "resolved_sha", sha, 80);
    json_decref(mark);
    if (given) snprintf(id, 256, "%s", given);
}
