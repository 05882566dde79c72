/* inspect_json.c - an inspection as MTPLX's JSON object. Owns key names; judges nothing. */
#include <stdio.h>

#include "base/json.h"
#include "forge/inspect.h"

static json_t *text_or_null(const char *s) { return s && s[0] ? json_string(s) : json_null(); }

static json_t *number_or_null(int n) { return n ? json_integer(n) : json_null(); }

/* Path of a file in the folder, as the folder was named. */
static json_t *inside(const struct inspection *i, const char *name)
{
    char path[4096];
    struct alula_error ignored;
    return path_join(path, sizeof path, i->path, name, &ignored) ? json_string(path) : json_null();
}

static json_t *names_json(const char *const *names, size_t n)
{
    json_t *list = json_array();
    for (size_t k = 0; k < n; k++) json_array_append_new(list, json_string(names[k]));
    return list;
}

static json_t *tensors_json(const struct head_set *h)
{
    json_t *list = json_array();
    for (size_t k = 0; k < h->n_tensors; k++) {
        const struct tensor *t = h->tensors[k];
        char name[TENSOR_NAME_MAX + 8];
        json_int_t elements = 1;
        json_t *shape = json_array();
        for (int d = 0; d < t->n_dims; d++) {
            json_array_append_new(shape, json_integer((json_int_t)t->shape[d]));
            elements *= (json_int_t)t->shape[d];
        }
        json_array_append_new(list,
                              json_pack("{s:s, s:s, s:I, s:o}", "key", head_set_name(t, name, sizeof name),
                                        "dtype", dtype_name(t->dtype), "elements", elements, "shape", shape));
    }
    return list;
}

static json_t *mtp_json(const struct inspection *i)
{
    const struct survey *s = &i->survey;
    const struct head_set *h = &s->head_set;
    const char *file = s->cp->sidecar;
    bool broken = !file && s->head.code;
    return json_pack("{s:o, s:b, s:I, s:s, s:I, s:b, s:b, s:o, s:o, s:o, s:o}", "mtp_file",
                     file ? inside(i, file) : json_string("model.safetensors.index.json::embedded"), "exists",
                     h->n_tensors > 0 || broken, "tensor_count", (json_int_t)h->n_tensors, "sidecar_format",
                     head_set_format(h), "expected_tensor_count", (json_int_t)h->n_expected, "metadata_only",
                     true, "passes_tensor_gate", i->gate, "missing_expected_keys",
                     names_json(h->missing, h->n_missing), "extra_keys", names_json(h->extra, h->n_extra),
                     "problem", text_or_null(s->head.code ? s->head.message : NULL), "tensors",
                     tensors_json(h));
}

static json_t *contract_path(const struct inspection *i)
{
    return i->contract.present ? inside(i, "mtplx_runtime.json") : json_null();
}

static json_t *next_json(const struct inspection *i)
{
    json_t *list = json_array();
    for (int k = 0; k < i->n_next; k++)
        json_array_append_new(list,
                              json_pack("{s:s, s:s}", "why", i->next[k].why, "command", i->next[k].command));
    return list;
}

static json_t *compatibility_json(const struct inspection *i)
{
    const struct checkpoint *cp = i->survey.cp;
    bool valid = cp->runtime_json && !i->contract.problem[0];
    json_t *o = json_pack("{s:s, s:o, s:b, s:b, s:b, s:i, s:s, s:o, s:o}", "tier", tier_name(i->tier),
                          "arch_id", text_or_null(i->arch_id), "supported", i->supported, "recognized",
                          i->recognized, "can_run", i->can_run, "exit_code", tier_exit_code(i->tier),
                          "message", i->message, "recommended_backend", text_or_null(i->backend),
                          "recommended_profile", text_or_null(i->profile));
    json_t *more = json_pack(
        "{s:O?, s:o, s:o, s:b, s:b, s:s, s:s, s:s, s:o, s:o}", "runtime_contract",
        valid ? cp->runtime_json : NULL, "runtime_contract_path", contract_path(i), "runtime_contract_error",
        text_or_null(i->contract.problem), "unsafe_force_required", false, "unverified_model", i->unverified,
        "mtp_supported", i->mtp_supported, "runtime_compatibility", i->runtime_compatibility, "support_level",
        i->support_level, "support_notes", json_null(), "next", next_json(i));
    json_object_update(o, more);
    json_decref(more);
    return o;
}

static json_t *files_json(const struct survey *s)
{
    json_t *list = json_array();
    for (size_t k = 0; k < s->cp->n_files; k++) {
        const char *name = path_base(s->cp->files[k]->path);
        if (!strncmp(name, "model", 5)) json_array_append_new(list, json_string(name));
    }
    return list;
}

static json_t *sidecars_json(const struct inspection *i)
{
    static const char *const names[] = {"preprocessor_config.json", "processor_config.json",
                                        "video_preprocessor_config.json"};
    json_t *o = json_object();
    for (size_t k = 0; k < 3; k++) {
        char path[4096];
        struct alula_error ignored;
        bool there = path_join(path, sizeof path, i->path, names[k], &ignored) && file_exists(path);
        json_object_set_new(o, names[k], json_boolean(there));
    }
    return o;
}

static json_t *model_json(const struct inspection *i)
{
    const struct survey *s = &i->survey;
    const struct config *c = &s->cp->config;
    const json_t *root = s->cp->config_json, *text = config_text(root);
    const char *type = json_string_value(json_object_get(text, "model_type"));
    const char *architecture = json_string_value(json_array_get(json_object_get(root, "architectures"), 0));
    return json_pack("{s:s, s:s, s:b, s:o, s:o, s:i, s:n, s:o, s:o, s:o, s:o, s:o, s:O?}", "model_dir",
                     i->path, "source", "local", "config_exists", s->has_config, "architecture",
                     text_or_null(architecture), "model_type", text_or_null(type), "mtp_num_hidden_layers",
                     (int)json_integer_value(json_object_get(text, "mtp_num_hidden_layers")), "mtp_pattern",
                     "hidden_size", number_or_null(c->hidden), "num_hidden_layers",
                     number_or_null(c->n_layers), "vocab_size", number_or_null(c->vocab), "num_experts",
                     number_or_null(c->n_experts), "num_experts_per_tok", number_or_null(c->experts_per_tok),
                     "quantization", s->cp->quantization);
}

/* What MTPLX repeats at the top, and its keys for things that alula has not. */
static json_t *rest_json(const struct inspection *i)
{
    return json_pack("{s:o, s:o, s:b, s:o, s:o, s:o, s:n, s:n, s:n, s:n, s:n, s:n, s:s, s:o, s:o, s:o, s:s, "
                     "s:b, s:s, s:n, s:b}",
                     "sidecars", sidecars_json(i), "model_files", files_json(&i->survey),
                     "passes_primary_gate", i->can_run, "mtp", mtp_json(i), "runtime_contract_path",
                     contract_path(i), "compatibility", compatibility_json(i), "runtime_model",
                     "assistant_model", "recommended_sampler", "backend_status", "backend_artifact",
                     "gemma4_pair", "mtp_supported", i->mtp_supported, "mtp_arch", text_or_null(i->arch_id),
                     "recommended_backend", text_or_null(i->backend), "recommended_profile",
                     text_or_null(i->profile), "runtime_compatibility", i->runtime_compatibility,
                     "architecture_recognized", i->recognized, "support_level", i->support_level,
                     "support_notes", "unverified_model", i->unverified);
}

bool inspect_write_json(struct buf *out, const struct inspection *i, struct alula_error *e)
{
    mem_setup();
    uint64_t refused = mem_refused();
    json_t *root = model_json(i), *rest = rest_json(i);
    bool ok = root && rest && json_object_update(root, rest) == 0;
    if (ok) json_write(out, root, 2);
    buf_str(out, "\n");
    json_decref(root);
    json_decref(rest);
    if (mem_refused() != refused) return err_set(e, ALULA_NOMEM, "no memory for the report");
    return ok || err_set(e, ALULA_FORMAT, "%s: a path is not UTF-8, which JSON must be", i->path);
}
