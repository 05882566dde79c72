/* stamp.c - writes config.json, the index, the contract and the recipe of an artifact. Knows the keys that
 * mlx-lm and MTPLX look for; touches no weight. */
#include "forge/stamp.h"

#include <stdlib.h>

#include "artifact/contract.h"
#include "base/json.h"
#include "forge/audit.h"
#include "forge/headset.h"
#include "forge/recipe.h"

/* Keys of the source that describe what is no longer so. */
static const char *const dropped[] = {"vision_config",           "quantization",
                                      "quantization_config",     "mlx_lm_extra_tensors",
                                      "mtplx_mtp_contract",      "mtplx_mtp_quantization",
                                      "mtplx_mtp_norm_encoding", "mtp_norm_encoding",
                                      "mtplx_mtp_payload_audit", "mtplx_policy"};

/* The same members in byte order of their keys; values shared. Takes o. */
static json_t *sorted(json_t *o)
{
    size_t n = json_object_size(o), i = 0;
    const char **keys = mem_alloc((n + 1) * sizeof *keys), *key;
    json_t *ret = keys ? json_object() : NULL, *value;
    if (ret) {
        json_object_foreach(o, key, value) keys[i++] = key;
        qsort(keys, n, sizeof *keys, by_string);
        for (i = 0; i < n; i++)
            if (json_object_set(ret, keys[i], json_object_get(o, keys[i]))) break;
        if (i < n) {
            json_decref(ret);
            ret = NULL;
        }
    }
    mem_free(keys);
    json_decref(o);
    return ret;
}

static bool set_new(json_t *o, const char *key, json_t *value)
{
    return json_object_set_new(o, key, value) == 0;
}

/* An object without one of its parts is NULL. */
static json_t *checked(json_t *o, bool ok)
{
    if (ok) return o;
    json_decref(o);
    return NULL;
}

static bool put_json(const char *dir, const char *name, json_t *v, struct alula_error *e)
{
    char path[4096];
    struct buf b;
    if (!v) return err_set(e, ALULA_NOMEM, "no memory to make %s", name);
    buf_init(&b, 0);
    json_write(&b, v, 4);
    json_decref(v);
    bool ok = buf_check(&b, name, e) && path_join(path, sizeof path, dir, name, e) &&
              file_write(path, b.data, b.len, e);
    buf_free(&b);
    return ok;
}

/* ---- config.json --------------------------------------------------------------------------------------- */

static json_t *body_widths(const struct plan *plan, int bits, int group)
{
    json_t *q = json_pack("{s:i, s:i, s:s}", "group_size", group, "bits", bits, "mode", "affine");
    bool ok = q;
    for (size_t i = 0; ok && i < plan->n_body; i++) {
        const struct plan_item *it = &plan->body[i];
        if (!it->bits || (it->bits == bits && it->group == group)) continue;
        ok = set_new(q, it->name, json_pack("{s:i, s:i}", "group_size", it->group, "bits", it->bits));
    }
    return checked(q, ok);
}

/* What the widths without an entry of their own are: the options', or those of a body that came packed. */
static void default_width(const struct stamp *s, int *bits, int *group)
{
    const json_t *q = s->trunk->quantization;
    json_t *b = json_object_get(q, "bits"), *g = json_object_get(q, "group_size");
    *bits = json_is_integer(b) ? (int)json_integer_value(b) : s->options->bits;
    *group = json_is_integer(g) ? (int)json_integer_value(g) : s->options->group;
}

static bool head_is_packed(const struct plan *plan)
{
    for (size_t i = 0; i < plan->n_head; i++)
        if (plan->head[i].bits) return true;
    return false;
}

static json_t *usual_contract(const struct stamp *s)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:i, s:s}", "base_hidden_variant", "post_norm", "concat_order",
                     "embedding_hidden", "hidden_variant", "post_norm", "mtp_position_mode", "cache",
                     "mtp_quant_group_size", s->options->group, "mtp_quant_mode", "affine");
}

/* How the head is packed, or is to be packed by whoever loads it. Modules stand without "mtp.", those of the
 * usual width not at all. */
static json_t *head_widths(const struct stamp *s, bool packed, const char *format)
{
    const struct plan_options *o = s->options;
    json_t *q = json_pack("{s:i, s:i, s:s, s:s, s:b, s:s}", "bits", o->bits, "group_size", o->group, "mode",
                          "affine", "policy", "all", "prequantized", packed, "source_format", format);
    bool ok = q;
    for (size_t i = 0; ok && i < s->plan->n_head; i++) {
        const struct plan_item *it = &s->plan->head[i];
        if (!it->bits || (it->bits == o->bits && it->group == o->group)) continue;
        ok = set_new(
            q, it->name + strlen("mtp."),
            json_pack("{s:i, s:i, s:s}", "bits", it->bits, "group_size", it->group, "mode", "affine"));
    }
    return checked(q, ok);
}

/* The word for the sidecar as it was written; it must be a whole head by name. */
static bool read_format(const struct stamp *s, const char *path, const char **ret, struct alula_error *e)
{
    struct checkpoint *c;
    struct head_set set;
    if (!checkpoint_open_head(&c, path, e)) return false;
    bool ok = head_set_read(&set, c, s->trunk->config.n_experts, e);
    if (ok) {
        *ret = head_set_format(&set);
        if (!set.passes)
            ok = err_set(e, ALULA_INTERNAL, "%s was written with %zu of %zu tensors", path, set.n_tensors,
                         set.n_expected);
        head_set_free(&set);
    }
    checkpoint_close(c);
    return ok;
}

static bool sidecar_path(const struct stamp *s, char path[4096], struct alula_error *e)
{
    return path_join(path, 4096, s->dir, STAMP_SIDECAR, e);
}

static bool add_head_keys(json_t *root, const struct stamp *s, struct alula_error *e)
{
    char path[4096];
    const char *format;
    json_t *audit = NULL, *text = json_object_get(root, "text_config");
    bool passed, packed = head_is_packed(s->plan), delta = s->options->norms == NORMS_DELTA;
    if (!sidecar_path(s, path, e) || !read_format(s, path, &format, e) ||
        !audit_sidecar(&audit, &passed, path, e))
        return false;
    bool ok = set_new(root, "mtplx_mtp_payload_audit", audit) &&
              set_new(text ? text : root, "mtp_num_hidden_layers", json_integer(1)) &&
              set_new(root, "mlx_lm_extra_tensors", json_pack("{s:s}", "mtp_file", STAMP_SIDECAR)) &&
              set_new(root, "mtplx_mtp_contract", usual_contract(s));
    if (packed || s->options->head_policy == HEAD_QUANTIZE_AT_LOAD)
        ok = ok && set_new(root, "mtplx_mtp_quantization", head_widths(s, packed, format));
    if (delta) ok = ok && set_new(root, "mtplx_mtp_norm_encoding", json_string("delta"));
    if (!ok) return err_set(e, ALULA_NOMEM, "no memory to make config.json");
    return passed || err_set(e, ALULA_FORMAT, "the MTP head holds nothing but zeros");
}

static bool add_widths(json_t *root, const struct stamp *s)
{
    int bits, group;
    json_t *eos = json_object_get(s->trunk->generation_json, "eos_token_id");
    default_width(s, &bits, &group);
    json_t *q = body_widths(s->plan, bits, group);
    bool ok = q && json_object_set(root, "quantization", q) == 0 &&
              json_object_set(root, "quantization_config", q) == 0 &&
              (!eos || json_object_set(root, "eos_token_id", eos) == 0);
    json_decref(q);
    return ok;
}

bool stamp_config(const struct stamp *s, struct alula_error *e)
{
    mem_setup();
    json_t *root = json_deep_copy(s->trunk->config_json);
    for (size_t i = 0; i < sizeof dropped / sizeof *dropped; i++) json_object_del(root, dropped[i]);
    if (!root || !add_widths(root, s)) {
        json_decref(root);
        return err_set(e, ALULA_NOMEM, "no memory to make config.json");
    }
    if (!add_head_keys(root, s, e)) {
        json_decref(root);
        return false;
    }
    return put_json(s->dir, "config.json", sorted(root), e);
}

/* ---- index --------------------------------------------------------------------------------------------- */

static bool add_place(json_t *map, const char *name, const char *suffix, const char *shard)
{
    char full[300];
    snprintf(full, sizeof full, "%s%s", name, suffix);
    return set_new(map, full, json_string(shard));
}

static json_t *weight_map(const struct plan *plan)
{
    json_t *map = json_object();
    bool ok = map;
    for (size_t i = 0; ok && i < plan->n_body; i++) {
        const struct plan_item *it = &plan->body[i];
        char shard[64];
        plan_shard_name(shard, it->shard, plan->n_shards);
        ok = add_place(map, it->name, it->suffix ? ".weight" : "", shard);
        if (it->bits)
            ok = ok && add_place(map, it->name, ".scales", shard) &&
                 add_place(map, it->name, ".biases", shard);
    }
    map = checked(map, ok);
    return map ? sorted(map) : NULL;
}

bool stamp_index(const struct stamp *s, struct alula_error *e)
{
    mem_setup();
    json_t *map = weight_map(s->plan);
    json_t *root =
        map ? json_pack("{s:{s:I, s:I}, s:o}", "metadata", "total_size", (json_int_t)s->plan->body_bytes,
                        "total_parameters", (json_int_t)s->plan->parameters, "weight_map", map)
            : NULL;
    return put_json(s->dir, "model.safetensors.index.json", root, e);
}

/* ---- contract and recipe ------------------------------------------------------------------------------- */

/* What the model's authors say, or what suits the family. */
static json_t *sampler(const struct checkpoint *trunk)
{
    static const struct {
        const char *key;
        double usual;
    } numbers[] = {{"temperature", 0.6}, {"top_p", 0.95}};
    json_t *o = json_object(), *k = json_object_get(trunk->generation_json, "top_k");
    bool ok = o;
    for (int i = 0; ok && i < 2; i++) {
        const json_t *said = json_object_get(trunk->generation_json, numbers[i].key);
        ok = set_new(o, numbers[i].key,
                     json_real(json_is_number(said) ? json_number_value(said) : numbers[i].usual));
    }
    ok = ok && set_new(o, "top_k", json_integer(json_is_integer(k) ? json_integer_value(k) : 20));
    return checked(o, ok);
}

static bool came_packed(const struct plan *plan)
{
    for (size_t i = 0; i < plan->n_body; i++)
        if (plan->body[i].mats && plan->body[i].mats->type == DT_U32) return true;
    return false;
}

static json_t *provenance(const struct stamp *s)
{
    bool packed = came_packed(s->plan);
    json_t *sha = s->trunk_sha[0] ? json_string(s->trunk_sha) : json_null();
    return json_pack("{s:{s:s, s:s}, s:o, s:s+, s:b, s:b, s:o, s:s, s:n, s:s, s:s, s:o}", "forge_inputs",
                     "mtp_source_path", s->mtp_id, "trunk_path", s->trunk_id, "forge_recipe",
                     recipe_json(s->options, s->trunk_id, s->mtp_id), "forged_by", "alula ", alula_version(),
                     "forged_locally", true, "grafted", s->grafted, "mtp_contract", usual_contract(s),
                     "mtplx_version", CONTRACT_MTPLX_VERSION, "published_to_hf", "source_format",
                     packed ? "mlx_affine" : "bf16_native", "source_repo", s->trunk_id, "source_sha", sha);
}

bool stamp_runtime(const struct stamp *s, struct alula_error *e)
{
    char path[4096];
    const char *format;
    mem_setup();
    if (!sidecar_path(s, path, e) || !read_format(s, path, &format, e)) return false;
    json_t *root = json_pack("{s:s, s:s, s:s, s:{s:s}, s:o, s:o, s:i, s:s, s:s, s:s, s:o, s:{}}", "arch_id",
                             "qwen3-next-mtp", "artifact_role", "forge-local", "base_trunk", s->trunk_id,
                             "exactness_baseline", "status", "pending_verification", "forge_provenance",
                             provenance(s), "mtp_contract", usual_contract(s), "mtp_depth_max", 3,
                             "mtp_sidecar", format, "mtplx_version", CONTRACT_MTPLX_VERSION,
                             "recommended_profile", "sustained", "sampler", sampler(s->trunk), "verified_on");
    return put_json(s->dir, "mtplx_runtime.json", root, e);
}

bool stamp_recipe(const struct stamp *s, struct alula_error *e)
{
    mem_setup();
    return put_json(s->dir, RECIPE_NAME, recipe_json(s->options, s->trunk_id, s->mtp_id), e);
}
