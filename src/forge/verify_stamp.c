/* verify_stamp.c - writes a verification into mtplx_runtime.json, in MTPLX's words where it has them. Keys
 * that it does not own stay as they are. */
#include "forge/verify.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"

#define RUNTIME_NAME "mtplx_runtime.json"
#define RUNTIME_MAX  (16u << 20)

/* What bars the verdict "verified" begins with "fail_" (artifact/contract.h). */
static const char *status(const struct verify *v)
{
    if (v->passed) return "exact";
    if (!v->calibration.usable) return "fail_calibration";
    if (v->calibration.norms_other) return "fail_norm_encoding";
    return v->texts.equal ? "fail_contract" : "fail_texts_differ";
}

static json_t *exactness(const struct verify *v)
{
    return json_pack("{s:s, s:s, s:s, s:i, s:i, s:I, s:b}", "status", status(v), "method",
                     "greedy text of every depth against plain decoding, token for token", "problem",
                     v->problem, "max_depth", CHAIN_DEPTH_MAX, "prompts", v->texts.n_prompts, "tokens",
                     (json_int_t)v->texts.tokens, "texts_equal", v->texts.equal);
}

static json_t *verified_on(const struct verify *v, const char *dir)
{
    const char *end = dir + strlen(dir), *machine = strrchr(v->os, ' ');
    while (end > dir + 1 && end[-1] == '/') end--;
    const char *name = end;
    while (name > dir && name[-1] != '/') name--;
    return json_pack("{s:s, s:s, s:s, s:s, s:i, s:s#, s:s, s:s}", "timestamp", v->timestamp, "hardware",
                     v->hardware, "machine_arch", machine ? machine + 1 : "", "os", v->os, "threads",
                     v->n_threads, "model", name, (int)(end - name), "engine", "alula", "engine_version",
                     alula_version());
}

static json_t *speed_row(const struct verify_texts *t, int depth)
{
    json_t *rates = json_array();
    for (int k = 0; rates && k < depth; k++)
        json_array_append_new(rates, json_real(t->drafted[depth][k] ? (double)t->accepted[depth][k] /
                                                                          (double)t->drafted[depth][k]
                                                                    : 0));
    return json_pack("{s:i, s:f, s:f, s:o}", "depth", depth, "tok_s", t->tok_s[depth], "multiplier_vs_ar",
                     t->speedup[depth], "acceptance_by_position", rates);
}

static json_t *speed(const struct verify *v)
{
    json_t *rows = json_array(), *tok_s = json_array(), *reasons = json_array();
    if (!rows || !tok_s || !reasons) return NULL;
    bool measured = v->texts.n_prompts > 0, collapsed = !strcmp(v->verdict, "mtp_acceptance_collapsed");
    for (int d = 0; measured && d <= CHAIN_DEPTH_MAX; d++) {
        json_array_append_new(rows, speed_row(&v->texts, d));
        if (d) json_array_append_new(tok_s, json_real(v->texts.tok_s[d]));
    }
    if (strcmp(v->verdict, "mtp_depth_wins")) json_array_append_new(reasons, json_string(v->verdict));
    json_t *best = measured ? speed_row(&v->texts, v->best_depth) : NULL;
    json_t *o = json_pack("{s:i, s:o, s:{s:f}, s:o, s:b, s:o, s:s, s:s}", "depth", v->best_depth, "tok_s",
                          tok_s, "greedy_diagnostic", "tok_s", v->texts.tok_s[0], "forge_verify_rows", rows,
                          "acceptance_collapsed", collapsed, "failure_reasons", reasons, "verdict",
                          v->verdict, "artifact_fingerprint", v->fingerprint);
    if (o && best) json_object_set(o, "acceptance_by_depth", json_object_get(best, "acceptance_by_position"));
    json_decref(best);
    return o;
}

/* Takes value. */
static bool set_if_absent(json_t *o, const char *key, json_t *value)
{
    if (json_object_get(o, key)) {
        json_decref(value);
        return true;
    }
    return !json_object_set_new(o, key, value);
}

/* Keys without which the file does not count as a contract. */
static bool fill_required(json_t *root)
{
    return set_if_absent(root, "mtplx_version", json_string(CONTRACT_MTPLX_VERSION)) &&
           set_if_absent(root, "arch_id", json_string("qwen3-next-mtp")) &&
           set_if_absent(root, "mtp_depth_max", json_integer(CHAIN_DEPTH_MAX)) &&
           set_if_absent(root, "recommended_profile", json_string("sustained")) &&
           set_if_absent(root, "verified_on", json_object()) &&
           set_if_absent(root, "exactness_baseline", json_pack("{s:s}", "status", "pending_verification"));
}

/* The file's object for *ret, an empty one if there is no file. */
static bool read_root(json_t **ret, const char *path, struct alula_error *e)
{
    mem_setup();
    json_t *root = file_exists(path) ? json_parse_file(path, RUNTIME_MAX, 64, e) : json_object();
    if (!root) return file_exists(path) ? false : err_set(e, ALULA_NOMEM, "no memory to make %s", path);
    if (!json_is_object(root)) {
        json_decref(root);
        return err_set(e, ALULA_FORMAT, "%s is not an object", path);
    }
    *ret = root;
    return true;
}

static bool write_root(const char *path, const json_t *root, struct alula_error *e)
{
    struct buf b;
    buf_init(&b, RUNTIME_MAX);
    json_write(&b, root, 2);
    buf_byte(&b, '\n');
    bool ok = buf_check(&b, RUNTIME_NAME, e) && file_write(path, b.data, b.len, e);
    buf_free(&b);
    return ok;
}

/* MTPLX's words for the contract, those of the folder kept if they are the same or nothing better is known;
 * beside them what was measured. */
static bool set_contract(json_t *root, const struct calibrate *c, bool words_too)
{
    json_t *old = json_object_get(root, "mtp_contract"), *new = calibrate_contract_json(c);
    if (!new) return false;
    if (!json_is_object(old)) return !json_object_set_new(root, "mtp_contract", new);
    bool ok = words_too ? !json_object_update(old, new)
                        : !json_object_set(old, "calibration", json_object_get(new, "calibration"));
    json_decref(new);
    return ok;
}

/* Takes one earlier comparison over, under the date when it was made. */
static bool keep(json_t *now, const char *part, json_t *old, const char *date)
{
    const char *first = json_string_value(json_object_get(old, "measured_on"));
    json_t *kept = json_copy(old);
    return kept && !json_object_set_new(kept, "measured_on", json_string(first ? first : date)) &&
           !json_object_set_new(now, part, kept);
}

/* What was compared with the sources before and could not be this time, for want of them, stays true as long as
 * the artifact is the same. */
static bool keep_earlier(json_t *now, const json_t *before)
{
    const char *date = json_string_value(json_object_get(before, "timestamp"));
    const json_t *then_made = json_object_get(before, "artifact_fingerprint");
    json_t *heads = json_object_get(now, "heads"), *old_heads = json_object_get(before, "heads");
    json_t *source = json_object_get(old_heads, "source"), *paired = json_object_get(old_heads, "paired");
    json_t *body = json_object_get(before, "body"), *drift = json_object_get(before, "drift");
    if (!date || !json_equal(then_made, json_object_get(now, "artifact_fingerprint"))) return true;
    bool ok = true;
    if (!json_is_object(json_object_get(heads, "source")) && json_is_object(source) && json_is_array(paired))
        ok = keep(heads, "source", source, date) && !json_object_set(heads, "paired", paired);
    if (!json_is_true(json_object_get(json_object_get(now, "body"), "measured")) &&
        json_is_true(json_object_get(body, "measured")))
        ok = ok && keep(now, "body", body, date);
    if (!json_object_get(json_object_get(now, "drift"), "entries") && json_object_get(drift, "entries"))
        ok = ok && keep(now, "drift", drift, date);
    return ok;
}

static bool set_all(json_t *root, const char *dir, const struct verify *v)
{
    json_t *provenance = json_object_get(root, "forge_provenance");
    const struct calibrate *c = &v->calibration;
    /* A contract that did not pass must not come into force by being written down. */
    bool said = json_is_object(json_object_get(root, "mtp_contract"));
    json_t *measured = verify_json(v);
    bool ok = measured && keep_earlier(measured, json_object_get(root, "verification"));
    if (!ok) {
        json_decref(measured);
        return false;
    }
    ok = fill_required(root) && ((!said && !v->passed) || set_contract(root, c, false)) &&
         !json_object_set_new(root, "exactness_baseline", exactness(v)) &&
         !json_object_set_new(root, "verified_on", verified_on(v, dir)) &&
         !json_object_set_new(root, "speed_evidence", speed(v)) &&
         !json_object_set(root, "verification", measured);
    json_decref(measured);
    if (ok && json_is_object(provenance))
        ok = !json_object_set_new(
            provenance, "mtp_contract_calibration",
            json_pack("{s:s, s:s}", "status", calibrate_status_name(c->status), "reason", c->reason));
    return ok;
}

bool verify_stamp(const char *dir, const struct verify *v, struct alula_error *e)
{
    char path[4096];
    json_t *root;
    if (!path_join(path, sizeof path, dir, RUNTIME_NAME, e) || !read_root(&root, path, e)) return false;
    bool ok = (set_all(root, dir, v) || err_set(e, ALULA_NOMEM, "no memory to make %s", path)) &&
              write_root(path, root, e);
    json_decref(root);
    return ok;
}

bool verify_adopt(const char *dir, const struct calibrate *c, struct alula_error *e)
{
    char path[4096];
    json_t *root;
    if (!path_join(path, sizeof path, dir, RUNTIME_NAME, e) || !read_root(&root, path, e)) return false;
    bool made = !json_object_set_new(root, "exactness_baseline",
                                     json_pack("{s:s}", "status", "pending_verification")) &&
                fill_required(root) && set_contract(root, c, true);
    bool ok = (made || err_set(e, ALULA_NOMEM, "no memory to make %s", path)) && write_root(path, root, e);
    json_decref(root);
    return ok;
}
