/* record.c - the state file and its keys. Knows a verdict's name; does not know where the user's state
 * folder is. */
#include "tune/record.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "artifact/config.h"
#include "base/err.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/pool.h"
#include "tune/machine.h"

enum {
    SCHEMA = 1,
    FILE_MAX = 16 << 20,
    DEPTH_OF_JSON = 16,
    JSON_FILE_MAX = 64 << 20,
    SAMPLES = 32, /* of a tensor file */
    SAMPLE = 4096
};

/* ---- keys ---------------------------------------------------------------------------------------------- */

/* With its end, so that "ab" "c" and "a" "bc" differ. */
static void add_str(struct sha256 *s, const char *text) { sha256_add(s, text, strlen(text) + 1); }

/* Size, and samples spread over the whole of it: a tensor file may have a hundred gigabytes, and any other
 * training or quantization changes nearly every byte. */
static bool add_tensor_file(struct sha256 *s, const char *path, struct alula_error *e)
{
    struct file_map m;
    if (!file_map(&m, path, e)) return false;
    sha256_add(s, &m.len, sizeof m.len);
    size_t n = m.len < SAMPLE ? m.len : SAMPLE;
    for (size_t i = 0; i < SAMPLES && n; i++) sha256_add(s, m.data + (m.len - n) / (SAMPLES - 1) * i, n);
    file_unmap(&m);
    return true;
}

static bool add_json_file(struct sha256 *s, const char *path, struct alula_error *e)
{
    struct buf b;
    buf_init(&b, JSON_FILE_MAX);
    bool ok = file_read(path, JSON_FILE_MAX, &b, e);
    if (ok) sha256_add(s, b.data, b.len);
    buf_free(&b);
    return ok;
}

/* What decides about speed and acceptance: the configuration and the tensors. Files in byte order of their
 * names. */
static bool add_folder(struct sha256 *s, const char *dir, const char *label, struct alula_error *e)
{
    char **names, path[4096];
    size_t n;
    if (!dir_list(dir, &names, &n, e)) return false;
    bool ok = true;
    for (size_t i = 0; ok && i < n; i++) {
        bool tensors = ends_with(names[i], ".safetensors");
        if (!tensors && strcmp(names[i], "config.json") && strcmp(names[i], "mtplx_runtime.json")) continue;
        add_str(s, label);
        add_str(s, names[i]);
        ok = path_join(path, sizeof path, dir, names[i], e) &&
             (tensors ? add_tensor_file : add_json_file)(s, path, e);
    }
    mem_free(names);
    return ok;
}

static bool fingerprint(const char *dir, char out[SHA256_HEX], struct alula_error *e)
{
    struct sha256 s;
    char head[4096];
    sha256_init(&s);
    if (!path_join(head, sizeof head, dir, "mtp", e) || !add_folder(&s, dir, "", e)) return false;
    if (file_is_dir(head) && !add_folder(&s, head, "mtp", e)) return false;
    sha256_hex(&s, out);
    return true;
}

bool tune_key_make(struct tune_key *ret, const char *dir, int n_threads, struct alula_error *e)
{
    struct tune_key k = {.n_threads = n_threads ? n_threads : pool_cpu_count()};
    if (!fingerprint(dir, k.fingerprint, e)) return false;
    machine_cpu(k.cpu, sizeof k.cpu);
    struct sha256 s;
    sha256_init(&s);
    add_str(&s, k.fingerprint);
    add_str(&s, k.cpu);
    sha256_add(&s, &k.n_threads, sizeof k.n_threads);
    add_str(&s, alula_version());
    sha256_hex(&s, k.key);
    *ret = k;
    return true;
}

/* ---- the file ------------------------------------------------------------------------------------------ */

static bool damaged(const char *path, const char *why, struct alula_error *e)
{
    return err_set(e, ALULA_FORMAT, "%s is damaged: %s; remove it, and tune writes a new one", path, why);
}

/* *ret NULL: nothing is there yet, or it is of another schema. */
static bool load(const char *state_dir, char *path, size_t cap, json_t **ret, struct alula_error *e)
{
    *ret = NULL;
    if (!path_join(path, cap, state_dir, TUNE_RECORD_FILE, e)) return false;
    if (!file_exists(path)) return true;
    json_t *root = json_parse_file(path, FILE_MAX, DEPTH_OF_JSON, e);
    if (!root) {
        struct alula_error why = *e;
        return why.code == ALULA_FORMAT ? damaged(path, why.message, e) : false;
    }
    int64_t schema;
    bool ok =
        (json_is_object(root) && json_get_int(root, "schema_version", 0, INT64_MAX, &schema, "it", e)) ||
        damaged(path, json_is_object(root) ? e->message : "it is not an object", e);
    if (ok && schema == SCHEMA && !json_is_object(json_object_get(root, "records")))
        ok = damaged(path, "\"records\" is not an object", e);
    if (!ok || schema != SCHEMA)
        json_decref(root);
    else
        *ret = root;
    return ok;
}

void tune_record_free(struct tune_record *r)
{
    mem_free(r->draft_ids);
    r->draft_ids = NULL;
}

static bool read_ids(const json_t *list, int n, int32_t **ret, struct alula_error *e)
{
    const json_t *id;
    size_t i;
    if (!json_is_array(list)) return true; /* the first ones */
    int32_t *ids = mem_zalloc((size_t)n, sizeof *ids);
    if (!ids) return err_set(e, ALULA_NOMEM, "no memory for %d ids", n);
    bool ok = json_array_size(list) == (size_t)n;
    if (ok) json_array_foreach(list, i, id)
        {
            ids[i] = (int32_t)json_integer_value(id);
            if (!json_is_integer(id) || json_integer_value(id) < 0 ||
                json_integer_value(id) >= CONFIG_VOCAB_MAX)
                ok = false;
        }
    if (ok)
        *ret = ids;
    else
        mem_free(ids);
    return ok || err_set(e, ALULA_FORMAT, "draft_vocab: \"list\" is no list of %d ids", n);
}

static bool read_trim(const json_t *trim, struct tune_record *ret, struct alula_error *e)
{
    int64_t ids, bits;
    if (!json_is_object(trim)) return true; /* none was tried */
    if (!json_get_int(trim, "ids", 0, CONFIG_VOCAB_MAX, &ids, "draft_vocab", e) ||
        !json_get_int_or(trim, "bits", 0, 8, 0, &bits, "draft_vocab", e))
        return false;
    ret->draft_vocab = (int)ids;
    ret->draft_bits = (int)bits;
    return !ids || (read_ids(json_object_get(trim, "list"), (int)ids, &ret->draft_ids, e) &&
                    json_get_real(trim, "coverage", 0, 1, &ret->coverage, "draft_vocab", e) &&
                    json_get_real(trim, "acceptance", 0, 1, &ret->acceptance, "draft_vocab", e) &&
                    json_get_real(trim, "acceptance_whole", 0, 1, &ret->acceptance_whole, "draft_vocab", e));
}

static bool read_record(const json_t *record, struct tune_record *ret, struct alula_error *e)
{
    const char *verdict = NULL, *saved_at;
    int64_t depth;
    struct tune_record r = {0};
    const json_t *payload = json_object_get(record, "payload");
    const json_t *best = json_object_get(payload, "best");
    if (!json_get_str_or(json_object_get(payload, "best_multiplier"), "verdict", NULL, &verdict, "the record",
                         e) ||
        !json_get_str_or(record, "saved_at", "", &saved_at, "the record", e))
        return false;
    if (!verdict || !tune_verdict_find(verdict, &r.verdict))
        return err_set(e, ALULA_FORMAT, "its record holds no verdict that alula knows");
    if (r.verdict == TUNE_MTP_WINS) {
        if (!json_is_object(best)) return err_set(e, ALULA_FORMAT, "its record names no winner");
        if (!json_get_int(best, "depth", 1, ALULA_DEPTH_MAX, &depth, "best", e) ||
            !json_get_real(best, "multiplier_vs_ar", 0, 1e6, &r.multiplier, "best", e))
            return false;
        r.depth = (int)depth;
    }
    if (!read_trim(json_object_get(payload, "draft_vocab"), &r, e)) {
        tune_record_free(&r);
        return false;
    }
    r.busy = json_is_true(json_object_get(json_object_get(payload, "diagnostics"), "busy"));
    snprintf(r.saved_at, sizeof r.saved_at, "%s", saved_at);
    *ret = r;
    return true;
}

/* A file may be edited: what counts are the words that the key was made of. */
static bool same_material(const json_t *record, const json_t *material)
{
    return json_equal(json_object_get(record, "key_material"), material);
}

static json_t *key_material(const struct tune_key *k)
{
    return json_pack("{s:s, s:{s:s, s:i}, s:{s:s}}", "fingerprint", k->fingerprint, "hardware", "chip",
                     k->cpu, "threads", k->n_threads, "software", "alula_version", alula_version());
}

bool tune_record_find(const char *state_dir, const struct tune_key *key, struct tune_record *ret,
                      bool *ret_found, struct alula_error *e)
{
    char path[4096];
    json_t *root;
    mem_setup();
    if (!load(state_dir, path, sizeof path, &root, e)) return false;
    json_t *material = key_material(key);
    const json_t *record = json_object_get(json_object_get(root, "records"), key->key);
    bool found = record && same_material(record, material), ok = true;
    if (found && !read_record(record, ret, e)) {
        struct alula_error why = *e;
        ok = damaged(path, why.message, e);
    }
    if (ok) *ret_found = found;
    json_decref(material);
    json_decref(root);
    return ok;
}

static void drop_other_builds(json_t *records)
{
    const char *key;
    void *next;
    json_t *record;
    json_object_foreach_safe(records, next, key, record)
    {
        const json_t *software = json_object_get(json_object_get(record, "key_material"), "software");
        const char *version = json_string_value(json_object_get(software, "alula_version"));
        if (!version || strcmp(version, alula_version())) json_object_del(records, key);
    }
}

static bool make_folders(const char *dir, struct alula_error *e)
{
    char path[4096];
    if (snprintf(path, sizeof path, "%s", dir) >= (int)sizeof path)
        return err_set(e, ALULA_LIMIT, "the name of the state folder is too long");
    for (char *p = path + 1;; p++) {
        if (*p && *p != '/') continue;
        char c = *p;
        *p = '\0';
        if (mkdir(path, 0700) && errno != EEXIST)
            return err_errno(e, ALULA_IO, "cannot make the folder %s", path);
        if (!c) return true;
        *p = c;
    }
}

static json_t *new_record(const struct tune_key *key, const json_t *payload)
{
    char now[32];
    struct tm tm;
    time_t t = time(NULL);
    strftime(now, sizeof now, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&t, &tm));
    return json_pack("{s:i, s:s, s:s, s:o, s:O}", "schema_version", SCHEMA, "saved_at", now, "key", key->key,
                     "key_material", key_material(key), "payload", payload);
}

bool tune_record_save(const char *state_dir, const struct tune_key *key, const json_t *payload,
                      struct alula_error *e)
{
    char path[4096];
    json_t *root;
    mem_setup();
    if (!load(state_dir, path, sizeof path, &root, e)) return false;
    if (!root) root = json_pack("{s:i, s:{}}", "schema_version", SCHEMA, "records");
    json_t *records = json_object_get(root, "records"), *record = new_record(key, payload);
    struct buf out = {0};
    bool ok = records && record && !json_object_set(records, key->key, record);
    if (!ok) err_set(e, ALULA_NOMEM, "not enough memory for %s", path);
    if (ok) {
        drop_other_builds(records);
        json_write(&out, root, 2);
        buf_byte(&out, '\n');
        ok = buf_check(&out, path, e) && make_folders(state_dir, e) && file_write(path, out.data, out.len, e);
    }
    buf_free(&out);
    json_decref(record);
    json_decref(root);
    return ok;
}
