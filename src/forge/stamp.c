/* stamp.c - writes the JSON files of an artifact. Knows the keys that mlx-lm and MTPLX look for; touches no weight. */
#include "forge/stamp.h"

#include <stdlib.h>

#include "base/json.h"

/* Keys of the source that describe what is no longer so. */
static const char *const dropped[] = {"vision_config",          "quantization",          "quantization_config",
                                      "mlx_lm_extra_tensors",   "mtplx_mtp_contract",    "mtplx_mtp_quantization",
                                      "mtplx_mtp_norm_encoding", "mtp_norm_encoding",    "mtplx_mtp_payload_audit",
                                      "mtplx_policy"};

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The same members in byte order of their keys; values shared. Takes o. */
static json_t *sorted(json_t *o)
{
    size_t n = json_object_size(o), i = 0;
    const char **keys = mem_alloc((n + 1) * sizeof *keys), *key;
    json_t *ret = keys ? json_object() : NULL, *value;
    if (ret) {
        json_object_foreach(o, key, value) keys[i++] = key;
        qsort(keys, n, sizeof *keys, by_name);
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

static json_t *quantization(const struct plan *plan, int bits, int group)
{
    json_t *q = json_pack("{s:i, s:i, s:s}", "group_size", group, "bits", bits, "mode", "affine");
    for (size_t i = 0; q && i < plan->n_body; i++) {
        const struct plan_item *it = &plan->body[i];
        if (!it->bits || (it->bits == bits && it->group == group)) continue;
        json_t *entry = json_pack("{s:i, s:i}", "group_size", it->group, "bits", it->bits);
        if (json_object_set_new(q, it->name, entry)) {
            json_decref(q);
            q = NULL;
        }
    }
    return q;
}

/* What the widths without an entry of their own are: the options', or those of a body that came packed. */
static void default_width(const struct checkpoint *trunk, const struct plan_options *o, int *bits, int *group)
{
    json_t *b = json_object_get(trunk->quantization, "bits"), *g = json_object_get(trunk->quantization, "group_size");
    *bits = json_is_integer(b) ? (int)json_integer_value(b) : o->bits;
    *group = json_is_integer(g) ? (int)json_integer_value(g) : o->group;
}

static bool add_head_keys(json_t *root, const struct plan *plan, const struct plan_options *o)
{
    if (!plan->n_head) return true;
    json_t *text = json_object_get(root, "text_config");
    bool bad = json_object_set_new(text ? text : root, "mtp_num_hidden_layers", json_integer(1)) ||
               json_object_set_new(root, "mlx_lm_extra_tensors", json_pack("{s:s}", "mtp_file", STAMP_SIDECAR)) ||
               json_object_set_new(root, "mtplx_mtp_contract",
                                   json_pack("{s:s, s:s, s:s, s:s, s:i, s:s}", "base_hidden_variant", "post_norm",
                                             "concat_order", "embedding_hidden", "hidden_variant", "post_norm",
                                             "mtp_position_mode", "cache", "mtp_quant_group_size", o->group,
                                             "mtp_quant_mode", "affine"));
    if (o->head_policy != HEAD_KEEP_BF16)
        bad = bad || json_object_set_new(root, "mtplx_mtp_quantization",
                                         json_pack("{s:i, s:i, s:s, s:s, s:b}", "bits", o->bits, "group_size", o->group,
                                                   "mode", "affine", "policy", "all", "prequantized",
                                                   o->head_policy == HEAD_QUANTIZE));
    return !bad;
}

static json_t *make_config(const struct checkpoint *trunk, const struct plan *plan, const struct plan_options *o)
{
    int bits, group;
    json_t *root = json_deep_copy(trunk->config_json), *eos = json_object_get(trunk->generation_json, "eos_token_id");
    if (!root) return NULL;
    for (size_t i = 0; i < sizeof dropped / sizeof *dropped; i++) json_object_del(root, dropped[i]);
    default_width(trunk, o, &bits, &group);
    json_t *q = quantization(plan, bits, group);
    if (!q || json_object_set(root, "quantization", q) || json_object_set(root, "quantization_config", q) ||
        (eos && json_object_set(root, "eos_token_id", eos)) || !add_head_keys(root, plan, o)) {
        json_decref(root);
        root = NULL;
    }
    json_decref(q);
    return root ? sorted(root) : NULL;
}

/* Takes v. */
static bool write_json(const char *dir, const char *name, json_t *v, struct alula_error *e)
{
    char path[4096];
    struct buf b;
    if (!v) return err_set(e, ALULA_NOMEM, "no memory to make %s", name);
    buf_init(&b, 0);
    json_write(&b, v, 4);
    json_decref(v);
    bool ok = buf_check(&b, name, e) && path_join(path, sizeof path, dir, name, e) && file_write(path, b.data, b.len, e);
    buf_free(&b);
    return ok;
}

bool stamp_config(const char *dir, const struct checkpoint *trunk, const struct plan *plan, const struct plan_options *o,
                  struct alula_error *e)
{
    mem_setup();
    return write_json(dir, "config.json", make_config(trunk, plan, o), e);
}

static bool add_place(json_t *map, const char *name, const char *suffix, const char *shard)
{
    char full[300];
    snprintf(full, sizeof full, "%s%s", name, suffix);
    return !json_object_set_new(map, full, json_string(shard));
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
        if (it->bits) ok = ok && add_place(map, it->name, ".scales", shard) && add_place(map, it->name, ".biases", shard);
    }
    if (ok) return sorted(map);
    json_decref(map);
    return NULL;
}

bool stamp_index(const char *dir, const struct plan *plan, struct alula_error *e)
{
    mem_setup();
    json_t *map = weight_map(plan);
    json_t *root = map ? json_pack("{s:{s:I, s:I}, s:o}", "metadata", "total_size", (json_int_t)plan->body_bytes,
                                   "total_parameters", (json_int_t)plan->parameters, "weight_map", map)
                       : NULL;
    return write_json(dir, "model.safetensors.index.json", root, e);
}
