/* checkpoint.c - finds and opens the files of a model folder.
 *
 * Owns file names: index, shards, sidecar. Knows of tensors only which part their names say; what they must
 * be is weights.c's business. */
#include "artifact/checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "artifact/layout.h"
#include "base/json.h"

#define CONFIG_BYTES_MAX (16u << 20)
#define INDEX_BYTES_MAX  (100u << 20)
#define FILES_MAX        4096
#define PATH_MAX_BYTES   4096

static const char index_name[] = "model.safetensors.index.json";

/* ---- names ----------------------------------------------------------------------------------- */

/* A file name out of a JSON file must stay inside the folder. */
static bool check_relative(const char *name, const char *where, struct alula_error *e)
{
    size_t n = strlen(name);
    bool ok = n > 0 && n < 512 && name[0] != '/';
    for (const char *part = name; ok && part;) {
        size_t len = strcspn(part, "/");
        ok = len > 0 && !(len == 1 && part[0] == '.') && !(len == 2 && !strncmp(part, "..", 2));
        part = part[len] ? part + len + 1 : NULL;
    }
    return ok || err_set(e, ALULA_FORMAT, "%s: \"%.200s\" is not the name of a file inside the folder", where,
                         name);
}

/* ---- the list of tensors --------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const struct tensor *const *)a)->name, (*(const struct tensor *const *)b)->name);
}

static bool is_head(const struct tensor *t)
{
    const char *key;
    return layout_part(t->name, &key) == PART_HEAD;
}

/* Makes c->tensors anew from the files. Tensors of a head in another file than the sidecar are hidden by it.
 */
static bool list_tensors(struct checkpoint *c, const struct st_file *sidecar, struct alula_error *e)
{
    size_t n = 0, n_all = 0;
    for (size_t i = 0; i < c->n_files; i++) n_all += c->files[i]->n_tensors;
    const struct tensor **list = mem_zalloc(n_all + 1, sizeof *list);
    if (!list) return err_set(e, ALULA_NOMEM, "%s: no memory for %zu tensors", c->dir, n_all);
    for (size_t i = 0; i < c->n_files; i++)
        for (size_t k = 0; k < c->files[i]->n_tensors; k++)
            if (!sidecar || c->files[i] == sidecar || !is_head(&c->files[i]->tensors[k]))
                list[n++] = &c->files[i]->tensors[k];
    qsort(list, n, sizeof *list, by_name);
    for (size_t i = 1; i < n; i++) {
        if (strcmp(list[i - 1]->name, list[i]->name)) continue;
        err_set(e, ALULA_MISMATCH, "%s: tensor %s stands in both %s and %s", c->dir, list[i]->name,
                path_base(list[i - 1]->file->path), path_base(list[i]->file->path));
        mem_free(list);
        return false;
    }
    mem_free(c->tensors);
    c->tensors = list;
    c->n_tensors = n;
    return true;
}

const struct tensor *checkpoint_find(const struct checkpoint *c, const char *name)
{
    struct tensor key = {.name = name};
    const struct tensor *p = &key;
    const struct tensor **hit =
        c->n_tensors ? bsearch(&p, c->tensors, c->n_tensors, sizeof p, by_name) : NULL;
    return hit ? *hit : NULL;
}

bool checkpoint_has_head(const struct checkpoint *c)
{
    for (size_t i = 0; i < c->n_tensors; i++)
        if (is_head(c->tensors[i])) return true;
    return false;
}

/* ---- files ----------------------------------------------------------------------------------- */

static struct st_file *find_file(const struct checkpoint *c, const char *name)
{
    char path[PATH_MAX_BYTES];
    struct alula_error ignored;
    if (path_join(path, sizeof path, c->dir, name, &ignored))
        for (size_t i = 0; i < c->n_files; i++)
            if (!strcmp(c->files[i]->path, path)) return c->files[i];
    return NULL;
}

/* Opens one more file and appends it to c->files. *ret may be NULL. */
static bool add_file(struct checkpoint *c, const char *name, struct st_file **ret, struct alula_error *e)
{
    char path[PATH_MAX_BYTES];
    struct st_file *f;
    if (c->n_files >= FILES_MAX)
        return err_set(e, ALULA_LIMIT, "%s: more than %d files of weights", c->dir, FILES_MAX);
    struct st_file **files = mem_realloc(c->files, (c->n_files + 1) * sizeof *files);
    if (!files) return err_set(e, ALULA_NOMEM, "%s: no memory for %zu files", c->dir, c->n_files + 1);
    c->files = files;
    if (!path_join(path, sizeof path, c->dir, name, e) || !st_open(&f, path, e)) return false;
    c->files[c->n_files++] = f;
    if (ret) *ret = f;
    return true;
}

/* A pipe or a device under the name of a JSON file would be read for ever. */
static json_t *parse_file(const char *path, size_t max_bytes, int max_depth, struct alula_error *e)
{
    struct stat st;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
        err_set(e, ALULA_FORMAT, "%s is not a plain file", path);
        return NULL;
    }
    return json_parse_file(path, max_bytes, max_depth, e);
}

/* ---- sharded by index ------------------------------------------------------------------------ */

struct shard_map {
    json_t *json;
    json_t *map;        /* tensor name -> file name, borrowed from json */
    const char **names; /* [n] different file names, sorted */
    size_t n;
};

static void map_free(struct shard_map *m)
{
    mem_free(m->names);
    json_decref(m->json);
}

/* head_only: only the files that hold tensors of a head. */
static bool map_read(struct shard_map *m, const struct checkpoint *c, const char *path, bool head_only,
                     struct alula_error *e)
{
    const char *key, *rest;
    json_t *value;
    size_t n = 0;
    m->json = parse_file(path, INDEX_BYTES_MAX, 8, e);
    if (!m->json) return false;
    m->map = json_object_get(m->json, "weight_map");
    if (!json_is_object(m->map) || json_object_size(m->map) == 0)
        return err_set(e, ALULA_FORMAT, "%s: \"weight_map\" is missing or empty", path);
    m->names = mem_zalloc(json_object_size(m->map), sizeof *m->names);
    if (!m->names) return err_set(e, ALULA_NOMEM, "%s: no memory for its names", c->dir);
    json_object_foreach(m->map, key, value)
    {
        const char *file = json_string_value(value);
        if (!file)
            return err_set(e, ALULA_FORMAT, "%s: the entry of tensor %.200s is not a file name", path, key);
        /* Neighbours mostly share a file, so most repetitions fall here and the sort below is short. */
        if ((n == 0 || strcmp(m->names[n - 1], file)) && (!head_only || layout_part(key, &rest) == PART_HEAD))
            m->names[n++] = file;
    }
    qsort(m->names, n, sizeof *m->names, by_string);
    for (size_t i = 0; i < n; i++)
        if (m->n == 0 || strcmp(m->names[m->n - 1], m->names[i])) m->names[m->n++] = m->names[i];
    for (size_t i = 0; i < m->n; i++)
        if (!check_relative(m->names[i], path, e)) return false;
    return true;
}

static bool open_shard(struct checkpoint *c, const char *name, const char *index_path, struct alula_error *e)
{
    char path[PATH_MAX_BYTES];
    if (!path_join(path, sizeof path, c->dir, name, e)) return false;
    if (!file_exists(path))
        return err_set(e, ALULA_NOT_FOUND, "%s: the index names shard %s, which is not in the folder",
                       index_path, name);
    return add_file(c, name, NULL, e);
}

/* Every tensor must lie where the index says. files: the shards in the order of m->names; of an index read
 * for the head only, other shards are not looked at. */
static bool check_map(const struct checkpoint *c, const struct shard_map *m, struct st_file *const *files,
                      const char *path, struct alula_error *e)
{
    const char *key;
    json_t *value;
    json_object_foreach(m->map, key, value)
    {
        const char *file = json_string_value(value);
        const char **hit = bsearch(&file, m->names, m->n, sizeof *m->names, by_string);
        if (!hit || st_find(files[hit - m->names], key)) continue;
        for (size_t i = 0; i < c->n_files; i++)
            if (st_find(c->files[i], key))
                return err_set(e, ALULA_MISMATCH, "%s: tensor %s should lie in %s, but lies in %s", path, key,
                               file, path_base(c->files[i]->path));
        return err_set(e, ALULA_NOT_FOUND, "%s: tensor %s should lie in %s, but is not there", path, key,
                       file);
    }
    return true;
}

static bool load_indexed(struct checkpoint *c, const char *path, bool head_only, struct alula_error *e)
{
    struct shard_map m = {0};
    size_t first = c->n_files;
    bool ok = map_read(&m, c, path, head_only, e);
    for (size_t i = 0; ok && i < m.n; i++) ok = open_shard(c, m.names[i], path, e);
    ok = ok && check_map(c, &m, c->files + first, path, e);
    map_free(&m);
    return ok;
}

/* ---- the trunk ------------------------------------------------------------------------------- */

/* Without an index: what mlx-lm would load. */
static bool load_unindexed(struct checkpoint *c, struct alula_error *e)
{
    char **names;
    size_t n;
    bool ok = true;
    if (!dir_list(c->dir, &names, &n, e)) return false;
    for (size_t i = 0; ok && i < n; i++) {
        size_t len = strlen(names[i]);
        if (len > 12 && !strncmp(names[i], "model", 5) && !strcmp(names[i] + len - 12, ".safetensors"))
            ok = add_file(c, names[i], NULL, e);
    }
    mem_free(names);
    return ok;
}

static bool load_shards(struct checkpoint *c, bool head_only, struct alula_error *e)
{
    char path[PATH_MAX_BYTES];
    if (!path_join(path, sizeof path, c->dir, index_name, e)) return false;
    return file_exists(path) ? load_indexed(c, path, head_only, e) : load_unindexed(c, e);
}

bool checkpoint_load_trunk(struct checkpoint *c, struct alula_error *e)
{
    if (!load_shards(c, false, e)) return false;
    if (c->n_files == 0)
        return err_set(e, ALULA_NOT_FOUND, "%s: no weights here, neither %s nor model*.safetensors", c->dir,
                       index_name);
    return list_tensors(c, NULL, e);
}

/* ---- the sidecar ----------------------------------------------------------------------------- */

/* *ret: the sidecar's name, or NULL if there is none; memory of the caller. */
static bool find_sidecar(struct checkpoint *c, const char **ret, struct alula_error *e)
{
    static const char *const usual[] = {"mtp.safetensors", "mtp/weights.safetensors",
                                        "model-mtp.safetensors"};
    char path[PATH_MAX_BYTES];
    const char *named;
    const json_t *extra = json_object_get(c->config_json, "mlx_lm_extra_tensors");
    *ret = NULL;
    if (!json_get_str_or(extra, "mtp_file", NULL, &named, "config.json: mlx_lm_extra_tensors", e))
        return false;
    if (named && *named) {
        if (!check_relative(named, "config.json: mlx_lm_extra_tensors.mtp_file", e) ||
            !path_join(path, sizeof path, c->dir, named, e))
            return false;
        if (file_exists(path)) {
            *ret = named;
            return true;
        }
        c->sidecar_missing = mem_strdup(named);
        return c->sidecar_missing || err_set(e, ALULA_NOMEM, "%s: no memory", c->dir);
    }
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++) {
        if (!path_join(path, sizeof path, c->dir, usual[i], e)) return false;
        if (file_exists(path)) {
            *ret = usual[i];
            return true;
        }
    }
    return true;
}

bool checkpoint_load_sidecar(struct checkpoint *c, struct alula_error *e)
{
    const char *name;
    if (!find_sidecar(c, &name, e)) return false;
    if (!name) return true;
    struct st_file *f = find_file(c, name);
    if (!f && !add_file(c, name, &f, e)) return false;
    bool any = false;
    for (size_t i = 0; i < f->n_tensors; i++) any = any || is_head(&f->tensors[i]);
    if (!any)
        return err_set(e, ALULA_NOT_FOUND, "%s: the sidecar holds no tensor of an MTP head (\"mtp.\")",
                       f->path);
    c->sidecar = mem_strdup(name);
    if (!c->sidecar) return err_set(e, ALULA_NOMEM, "%s: no memory", c->dir);
    return list_tensors(c, f, e);
}

/* ---- configuration --------------------------------------------------------------------------- */

/* A JSON file that may be absent: *ret stays NULL then. */
static bool load_json(const struct checkpoint *c, const char *name, json_t **ret, struct alula_error *e)
{
    char path[PATH_MAX_BYTES];
    if (!path_join(path, sizeof path, c->dir, name, e)) return false;
    if (!file_exists(path)) return true;
    *ret = parse_file(path, CONFIG_BYTES_MAX, 64, e);
    return *ret != NULL;
}

static bool find_quantization(struct checkpoint *c, struct alula_error *e)
{
    static const char *const keys[] = {"quantization", "quantization_config"};
    const json_t *places[] = {c->config_json, config_text(c->config_json)};
    for (int i = 0; i < 4 && !c->quantization; i++) {
        json_t *q = json_object_get(places[i / 2], keys[i % 2]);
        if (!q || json_is_null(q)) continue;
        if (!json_is_object(q))
            return err_set(e, ALULA_FORMAT, "%s/config.json: \"%s\" is not an object", c->dir, keys[i % 2]);
        /* How other toolkits sign their formats. MLX's has no such key. */
        const char *method = json_string_value(json_object_get(q, "quant_method"));
        if (method)
            return err_set(e, ALULA_UNSUPPORTED,
                           "%s/config.json: \"%s\" is of method \"%.60s\", alula reads MLX's affine "
                           "format only",
                           c->dir, keys[i % 2], method);
        c->quantization = q;
    }
    return true;
}

bool checkpoint_load_config(struct checkpoint *c, struct alula_error *e)
{
    char what[PATH_MAX_BYTES];
    struct alula_error runtime;
    if (!path_join(what, sizeof what, c->dir, "config.json", e)) return false;
    c->config_json = parse_file(what, CONFIG_BYTES_MAX, 64, e);
    if (!c->config_json) return false;
    if (!load_json(c, "mtplx_runtime.json", &c->runtime_json, &runtime)) {
        if (runtime.code == ALULA_NOMEM) return err_set(e, ALULA_NOMEM, "%s", runtime.message);
        snprintf(c->runtime_problem, sizeof c->runtime_problem, "%.255s", runtime.message);
    }
    if (!load_json(c, "generation_config.json", &c->generation_json, e) || !find_quantization(c, e) ||
        !config_read(&c->config, c->config_json, c->generation_json, what, &c->arena, e))
        return false;
    c->has_config = true;
    return true;
}

/* ---- open, close ----------------------------------------------------------------------------- */

static bool create(struct checkpoint **ret, const char *dir, size_t len, struct alula_error *e)
{
    struct checkpoint *c = mem_zalloc(1, sizeof *c);
    if (c) c->dir = mem_strndup(dir, len);
    if (!c || !c->dir) {
        mem_free(c);
        return err_set(e, ALULA_NOMEM, "%s: no memory to open it", dir);
    }
    c->arena.ceiling = 64u << 20;
    *ret = c;
    return true;
}

bool checkpoint_create(struct checkpoint **ret, const char *dir, struct alula_error *e)
{
    if (!file_is_dir(dir)) return err_set(e, ALULA_NOT_FOUND, "%s: no such folder", dir);
    return create(ret, dir, strlen(dir), e);
}

static bool open_folder(struct checkpoint **ret, const char *dir, bool sidecar, struct alula_error *e)
{
    struct checkpoint *c;
    if (!checkpoint_create(&c, dir, e)) return false;
    if (!checkpoint_load_config(c, e) || !checkpoint_load_trunk(c, e) ||
        (sidecar && !checkpoint_load_sidecar(c, e))) {
        checkpoint_close(c);
        return false;
    }
    *ret = c;
    return true;
}

bool checkpoint_open(struct checkpoint **ret, const char *dir, struct alula_error *e)
{
    return open_folder(ret, dir, true, e);
}

bool checkpoint_open_trunk(struct checkpoint **ret, const char *dir, struct alula_error *e)
{
    return open_folder(ret, dir, false, e);
}

/* A folder that holds at least a head. */
static bool load_head_folder(struct checkpoint *c, struct alula_error *e)
{
    char path[PATH_MAX_BYTES];
    if (!path_join(path, sizeof path, c->dir, "config.json", e)) return false;
    if (file_exists(path) && !checkpoint_load_config(c, e)) return false;
    if (!checkpoint_load_sidecar(c, e)) return false;
    return c->sidecar || (load_shards(c, true, e) && list_tensors(c, NULL, e));
}

bool checkpoint_open_head(struct checkpoint **ret, const char *path, struct alula_error *e)
{
    struct checkpoint *c;
    bool folder = file_is_dir(path);
    const char *name = path_base(path);
    if (!folder && !file_exists(path)) return err_set(e, ALULA_NOT_FOUND, "%s: no such file or folder", path);
    if (!(folder         ? create(&c, path, strlen(path), e)
          : name == path ? create(&c, ".", 1, e)
                         : create(&c, path, (size_t)(name - path), e)))
        return false;
    bool ok = folder ? load_head_folder(c, e) : add_file(c, name, NULL, e) && list_tensors(c, NULL, e);
    if (ok && !checkpoint_has_head(c))
        ok = err_set(e, ALULA_NOT_FOUND, "%s: no MTP head here, no tensor's name begins with \"mtp.\"", path);
    if (!ok) {
        checkpoint_close(c);
        return false;
    }
    *ret = c;
    return true;
}

void checkpoint_close(struct checkpoint *c)
{
    if (!c) return;
    for (size_t i = 0; i < c->n_files; i++) st_close(c->files[i]);
    mem_free(c->files);
    mem_free(c->tensors);
    mem_free(c->sidecar);
    mem_free(c->sidecar_missing);
    json_decref(c->config_json);
    json_decref(c->generation_json);
    json_decref(c->runtime_json);
    arena_free(&c->arena);
    mem_free(c->dir);
    mem_free(c);
}
