/* config.c - reads config.json.
 *
 * Owns which values alula can compute with and refuses the rest by name. Knows nothing of tensors: what a
 * folder declares and what it holds are compared elsewhere. */
#include "artifact/config.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"

const json_t *config_text(const json_t *root)
{
    const json_t *text = json_object_get(root, "text_config");
    return json_is_object(text) ? text : root;
}

/* Where things are read from: the text part, the whole, and their names in messages. */
struct source {
    const json_t *root, *text;
    const char *what;
    char text_what[512];
    struct arena *arena;
};

static bool get_int(const struct source *s, const char *key, int max, int *ret, struct alula_error *e)
{
    int64_t v;
    if (!json_get_int(s->text, key, 1, max, &v, s->text_what, e)) return false;
    *ret = (int)v;
    return true;
}

/* ---- what must be as alula computes it ------------------------------------------------------- */

static bool refuse_bool(const struct source *s, const char *key, bool only, struct alula_error *e)
{
    bool v;
    if (!json_get_bool_or(s->text, key, only, &v, s->text_what, e)) return false;
    return v == only || err_set(e, ALULA_UNSUPPORTED, "%s: \"%s\" is %s, alula computes only with %s",
                                s->text_what, key, v ? "true" : "false", only ? "true" : "false");
}

static bool refuse_word(const struct source *s, const char *key, const char *a, const char *b,
                        struct alula_error *e)
{
    const char *v;
    if (!json_get_str_or(s->text, key, a, &v, s->text_what, e)) return false;
    return !strcmp(v, a) || !strcmp(v, b) ||
           err_set(e, ALULA_UNSUPPORTED, "%s: \"%s\" is \"%.60s\", alula computes only \"%s\"", s->text_what,
                   key, v, a);
}

/* Features of relatives of this family: absent, null, false and the neutral number are fine. */
static bool refuse_features(const struct source *s, struct alula_error *e)
{
    static const struct {
        const char *key;
        double neutral;
    } features[] = {
        {"use_sliding_window", 0},
        {"final_logit_softcapping", 0},
        {"attn_logit_softcapping", 0},
        {"n_group", 1},
        {"topk_group", 1},
        {"routed_scaling_factor", 1},
        {"logit_scale", 1},
        {"residual_multiplier", 1},
        {"embedding_multiplier", 1},
        {"mlp_bias", 0},
        {"qkv_bias", 0},
        {"mtp_use_dedicated_embeddings", 0},
    };
    for (size_t i = 0; i < sizeof features / sizeof *features; i++) {
        const json_t *v = json_object_get(s->text, features[i].key);
        if (!v || json_is_null(v) || json_is_false(v)) continue;
        if (json_is_number(v) && json_number_value(v) == features[i].neutral) continue;
        return err_set(e, ALULA_UNSUPPORTED, "%s: \"%s\" is set, alula does not compute that", s->text_what,
                       features[i].key);
    }
    return true;
}

static bool check_features(const struct source *s, struct alula_error *e)
{
    return refuse_word(s, "hidden_act", "silu", "swish", e) &&
           /* Names the gate of the delta net's norm, not that of attention. */
           refuse_word(s, "output_gate_type", "silu", "swish", e) &&
           refuse_word(s, "scoring_func", "softmax", "softmax", e) &&
           refuse_bool(s, "attention_bias", false, e) && refuse_bool(s, "attn_output_gate", true, e) &&
           refuse_bool(s, "norm_topk_prob", true, e) && refuse_features(s, e);
}

/* ---- the parts ------------------------------------------------------------------------------- */

static bool read_names(struct config *c, const struct source *s, struct alula_error *e)
{
    static const char *const known[] = {"qwen3_5_moe_text", "qwen3_5_moe", "qwen3_5_text", "qwen3_5"};
    const char *type, *root_type;
    if (!json_get_str_or(s->root, "model_type", NULL, &root_type, s->what, e) ||
        !json_get_str_or(s->text, "model_type", root_type, &type, s->text_what, e))
        return false;
    if (!type) return err_set(e, ALULA_FORMAT, "%s: \"model_type\" is missing", s->text_what);
    bool found = false;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) found = found || !strcmp(type, known[i]);
    if (!found)
        return err_set(e, ALULA_UNSUPPORTED,
                       "%s: \"model_type\" is \"%.60s\", alula knows qwen3_5_moe_text and qwen3_5_text",
                       s->text_what, type);
    snprintf(c->model_type, sizeof c->model_type, "%s", type);
    const char *arch = json_string_value(json_array_get(json_object_get(s->root, "architectures"), 0));
    snprintf(c->architecture, sizeof c->architecture, "%s", arch ? arch : "");
    return true;
}

static bool read_layer_types(struct config *c, const struct source *s, struct alula_error *e)
{
    const json_t *types = json_object_get(s->text, "layer_types");
    c->layer_types = arena_array(s->arena, (size_t)c->n_layers, sizeof *c->layer_types);
    if (!c->layer_types) return err_set(e, ALULA_NOMEM, "%s: no memory for %d layers", s->what, c->n_layers);
    if (types && !json_is_null(types)) {
        if (!json_is_array(types))
            return err_set(e, ALULA_FORMAT, "%s: \"layer_types\" is not a list", s->text_what);
        if (json_array_size(types) != (size_t)c->n_layers)
            return err_set(e, ALULA_MISMATCH,
                           "%s: \"layer_types\" has %zu entries, \"num_hidden_layers\" is %d", s->text_what,
                           json_array_size(types), c->n_layers);
        for (int i = 0; i < c->n_layers; i++) {
            const char *t = json_string_value(json_array_get(types, (size_t)i));
            if (t && !strcmp(t, "full_attention"))
                c->layer_types[i] = LAYER_FULL_ATTENTION;
            else if (t && !strcmp(t, "linear_attention"))
                c->layer_types[i] = LAYER_LINEAR_ATTENTION;
            else
                return err_set(
                    e, ALULA_UNSUPPORTED,
                    "%s: \"layer_types\"[%d] is \"%.60s\", expected linear_attention or full_attention",
                    s->text_what, i, t ? t : "(no text)");
        }
        return true;
    }
    if (!json_object_get(s->text, "full_attention_interval"))
        return err_set(e, ALULA_FORMAT,
                       "%s: \"layer_types\" is missing, and so is \"full_attention_interval\"", s->text_what);
    int interval;
    if (!get_int(s, "full_attention_interval", CONFIG_LAYERS_MAX, &interval, e)) return false;
    for (int i = 0; i < c->n_layers; i++)
        c->layer_types[i] = (i + 1) % interval == 0 ? LAYER_FULL_ATTENTION : LAYER_LINEAR_ATTENTION;
    return true;
}

/* The rope parameters stand in an object of one of two names, or flat beside the other keys. */
static bool read_rope(struct config *c, const struct source *s, struct alula_error *e)
{
    static const char *const places[] = {"rope_parameters", "rope_scaling"};
    double theta = 0, partial = 0;
    char what[600];
    for (int i = 0; i <= 2; i++) {
        const json_t *o = i < 2 ? json_object_get(s->text, places[i]) : s->text;
        double t, p;
        if (!o || json_is_null(o)) continue;
        snprintf(what, sizeof what, "%s%s%s", s->text_what, i < 2 ? ": " : "", i < 2 ? places[i] : "");
        if (!json_is_object(o)) return err_set(e, ALULA_FORMAT, "%s is not an object", what);
        const char *type = "default", *old = "default";
        if (i < 2 && (!json_get_str_or(o, "rope_type", "default", &type, what, e) ||
                      !json_get_str_or(o, "type", "default", &old, what, e)))
            return false;
        if (strcmp(old, "default") && strcmp(old, "mrope")) type = old;
        if (strcmp(type, "default") && strcmp(type, "mrope"))
            return err_set(e, ALULA_UNSUPPORTED,
                           "%s: \"rope_type\" is \"%.60s\", alula computes only \"default\"", what, type);
        if (!json_get_real_or(o, "rope_theta", 1, 1e12, 0, &t, what, e) ||
            !json_get_real_or(o, "partial_rotary_factor", 1e-6, 1, 0, &p, what, e))
            return false;
        if ((t != 0 && theta != 0 && t != theta) || (p != 0 && partial != 0 && p != partial))
            return err_set(e, ALULA_MISMATCH,
                           "%s: \"rope_theta\" or \"partial_rotary_factor\" stands there twice with "
                           "different values",
                           s->text_what);
        theta = t != 0 ? t : theta;
        partial = p != 0 ? p : partial;
    }
    if (theta == 0)
        return err_set(e, ALULA_FORMAT, "%s: \"rope_theta\" is missing (also in rope_parameters)",
                       s->text_what);
    if (partial == 0)
        return err_set(e, ALULA_FORMAT, "%s: \"partial_rotary_factor\" is missing (also in rope_parameters)",
                       s->text_what);
    double dim = c->head_dim * partial;
    c->rope_theta = theta;
    c->rotary_dim = (int)lround(dim);
    if (fabs(dim - c->rotary_dim) > 1e-6 || c->rotary_dim < 2 || c->rotary_dim % 2 != 0)
        return err_set(e, ALULA_MISMATCH,
                       "%s: \"head_dim\" %d times \"partial_rotary_factor\" %g is %g, expected an even "
                       "number from 2 up",
                       s->text_what, c->head_dim, partial, dim);
    return true;
}

static bool read_attention(struct config *c, const struct source *s, struct alula_error *e)
{
    if (!get_int(s, "num_attention_heads", CONFIG_HEADS_MAX, &c->n_heads, e) ||
        !get_int(s, "num_key_value_heads", CONFIG_HEADS_MAX, &c->n_kv_heads, e) ||
        !get_int(s, "head_dim", CONFIG_HEAD_DIM_MAX, &c->head_dim, e))
        return false;
    if (c->n_heads % c->n_kv_heads != 0)
        return err_set(e, ALULA_MISMATCH,
                       "%s: \"num_attention_heads\" %d is no multiple of \"num_key_value_heads\" %d",
                       s->text_what, c->n_heads, c->n_kv_heads);
    if (c->n_heads * c->head_dim > CONFIG_WIDTH_MAX)
        return err_set(e, ALULA_LIMIT, "%s: \"num_attention_heads\" %d times \"head_dim\" %d is more than %d",
                       s->text_what, c->n_heads, c->head_dim, CONFIG_WIDTH_MAX);
    return read_rope(c, s, e);
}

static bool read_deltanet(struct config *c, const struct source *s, struct alula_error *e)
{
    bool any = false;
    for (int i = 0; i < c->n_layers; i++) any = any || c->layer_types[i] == LAYER_LINEAR_ATTENTION;
    if (!any) return true;
    if (!get_int(s, "linear_num_key_heads", CONFIG_HEADS_MAX, &c->lin_k_heads, e) ||
        !get_int(s, "linear_num_value_heads", CONFIG_HEADS_MAX, &c->lin_v_heads, e) ||
        !get_int(s, "linear_key_head_dim", CONFIG_HEAD_DIM_MAX, &c->lin_k_dim, e) ||
        !get_int(s, "linear_value_head_dim", CONFIG_HEAD_DIM_MAX, &c->lin_v_dim, e) ||
        !get_int(s, "linear_conv_kernel_dim", 16, &c->conv_kernel, e))
        return false;
    if (c->conv_kernel < 2)
        return err_set(e, ALULA_UNSUPPORTED, "%s: \"linear_conv_kernel_dim\" is 1, expected 2 to 16",
                       s->text_what);
    if (c->lin_v_heads % c->lin_k_heads != 0)
        return err_set(e, ALULA_MISMATCH,
                       "%s: \"linear_num_value_heads\" %d is no multiple of \"linear_num_key_heads\" %d",
                       s->text_what, c->lin_v_heads, c->lin_k_heads);
    if (c->lin_k_heads * c->lin_k_dim > CONFIG_WIDTH_MAX || c->lin_v_heads * c->lin_v_dim > CONFIG_WIDTH_MAX)
        return err_set(e, ALULA_LIMIT,
                       "%s: linear attention is wider than %d (%d key heads of %d, %d value heads of %d)",
                       s->text_what, CONFIG_WIDTH_MAX, c->lin_k_heads, c->lin_k_dim, c->lin_v_heads,
                       c->lin_v_dim);
    return true;
}

/* Which layers have experts: all, unless the config thins them out by hand or by step. */
static bool read_mlp_types(struct config *c, const struct source *s, bool moe, struct alula_error *e)
{
    int64_t step;
    c->mlp_types = arena_array(s->arena, (size_t)c->n_layers, sizeof *c->mlp_types);
    if (!c->mlp_types) return err_set(e, ALULA_NOMEM, "%s: no memory for %d layers", s->what, c->n_layers);
    if (!json_get_int_or(s->text, "decoder_sparse_step", 1, CONFIG_LAYERS_MAX, 1, &step, s->text_what, e))
        return false;
    for (int i = 0; i < c->n_layers; i++) c->mlp_types[i] = moe && (i + 1) % step == 0 ? MLP_MOE : MLP_DENSE;
    const json_t *dense = json_object_get(s->text, "mlp_only_layers");
    for (size_t i = 0; i < json_array_size(dense); i++) {
        const json_t *v = json_array_get(dense, i);
        if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) >= c->n_layers)
            return err_set(e, ALULA_FORMAT, "%s: \"mlp_only_layers\"[%zu] is no layer below %d", s->text_what,
                           i, c->n_layers);
        c->mlp_types[json_integer_value(v)] = MLP_DENSE;
    }
    return true;
}

static bool read_mlp(struct config *c, const struct source *s, struct alula_error *e)
{
    bool moe = strstr(c->model_type, "_moe") != NULL, any_moe = false, any_dense = false;
    if (!read_mlp_types(c, s, moe, e)) return false;
    for (int i = 0; i < c->n_layers; i++) {
        any_moe = any_moe || c->mlp_types[i] == MLP_MOE;
        any_dense = any_dense || c->mlp_types[i] == MLP_DENSE;
    }
    if (any_dense && !get_int(s, "intermediate_size", CONFIG_WIDTH_MAX, &c->dense_inter, e)) return false;
    if (!any_moe) return true;
    if (!get_int(s, "num_experts", CONFIG_EXPERTS_MAX, &c->n_experts, e) ||
        !get_int(s, "num_experts_per_tok", CONFIG_EXPERTS_MAX, &c->experts_per_tok, e) ||
        !get_int(s, "moe_intermediate_size", CONFIG_WIDTH_MAX, &c->moe_inter, e) ||
        !get_int(s, "shared_expert_intermediate_size", CONFIG_WIDTH_MAX, &c->shared_inter, e))
        return false;
    if (c->experts_per_tok > c->n_experts)
        return err_set(e, ALULA_MISMATCH, "%s: \"num_experts_per_tok\" %d is more than \"num_experts\" %d",
                       s->text_what, c->experts_per_tok, c->n_experts);
    return true;
}

static bool read_tied(struct config *c, const struct source *s, struct alula_error *e)
{
    static const char key[] = "tie_word_embeddings";
    bool top, text;
    if (!json_get_bool_or(s->root, key, false, &top, s->what, e) ||
        !json_get_bool_or(s->text, key, top, &text, s->text_what, e))
        return false;
    if (json_object_get(s->root, key) && top != text)
        return err_set(e, ALULA_MISMATCH, "%s: \"%s\" is %s at the top and %s in text_config", s->what, key,
                       top ? "true" : "false", text ? "true" : "false");
    c->tied = text;
    return true;
}

static bool read_cast(struct config *c, const struct source *s, struct alula_error *e)
{
    static const struct {
        const char *name;
        enum dtype type;
    } types[] = {{"bfloat16", DT_BF16}, {"float16", DT_F16}, {"float32", DT_F32}};
    const char *name = NULL;
    const json_t *places[] = {s->root, s->text};
    static const char *const keys[] = {"torch_dtype", "dtype"};
    for (int i = 0; i < 4 && !name; i++)
        if (!json_get_str_or(places[i / 2], keys[i % 2], NULL, &name, s->what, e)) return false;
    c->cast = DT_BF16;
    for (size_t i = 0; name && i < sizeof types / sizeof *types; i++) {
        if (!strcmp(name, types[i].name)) {
            c->cast = types[i].type;
            return true;
        }
    }
    return !name ||
           err_set(e, ALULA_UNSUPPORTED, "%s: \"dtype\" is \"%.60s\", expected bfloat16, float16 or float32",
                   s->what, name);
}

/* One id, a list of ids, or nothing. *found says which. */
static bool read_ids(struct config *c, const json_t *v, const char *what, bool *found, struct alula_error *e)
{
    *found = v && !json_is_null(v);
    if (!*found) return true;
    size_t n = json_is_array(v) ? json_array_size(v) : 1;
    if (n > STOP_IDS_MAX)
        return err_set(e, ALULA_LIMIT, "%s: \"eos_token_id\" has %zu ids, more than %d", what, n,
                       STOP_IDS_MAX);
    for (size_t i = 0; i < n; i++) {
        const json_t *id = json_is_array(v) ? json_array_get(v, i) : v;
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= c->vocab)
            return err_set(e, ALULA_FORMAT,
                           "%s: \"eos_token_id\" has a value that is no id below \"vocab_size\" %d", what,
                           c->vocab);
        c->stop_ids[i] = (int32_t)json_integer_value(id);
    }
    c->n_stop_ids = (int)n;
    return true;
}

static bool read_stop_ids(struct config *c, const struct source *s, const json_t *generation,
                          struct alula_error *e)
{
    bool found;
    return read_ids(c, json_object_get(generation, "eos_token_id"), "generation_config.json", &found, e) &&
           (found ||
            (read_ids(c, json_object_get(s->root, "eos_token_id"), s->what, &found, e) &&
             (found || read_ids(c, json_object_get(s->text, "eos_token_id"), s->text_what, &found, e))));
}

static bool read_all(struct config *c, const struct source *s, const json_t *generation,
                     struct alula_error *e)
{
    int64_t ignored; /* layers of the head that are declared say nothing about what is there */
    if (!read_names(c, s, e) || !check_features(s, e) ||
        !get_int(s, "num_hidden_layers", CONFIG_LAYERS_MAX, &c->n_layers, e) ||
        !get_int(s, "hidden_size", CONFIG_WIDTH_MAX, &c->hidden, e) ||
        !get_int(s, "vocab_size", CONFIG_VOCAB_MAX, &c->vocab, e) ||
        !get_int(s, "max_position_embeddings", 1 << 28, &c->max_position, e) ||
        !json_get_real(s->text, "rms_norm_eps", 1e-12, 1e-2, &c->rms_eps, s->text_what, e))
        return false;
    if (!read_layer_types(c, s, e) || !read_attention(c, s, e) || !read_deltanet(c, s, e) ||
        !read_mlp(c, s, e) || !read_tied(c, s, e) || !read_cast(c, s, e) ||
        !read_stop_ids(c, s, generation, e))
        return false;
    const char *key = json_object_get(s->text, "mtp_num_hidden_layers") ? "mtp_num_hidden_layers"
                                                                        : "num_nextn_predict_layers";
    return json_get_int_or(s->text, key, 0, 64, 0, &ignored, s->text_what, e);
}

bool config_read(struct config *ret, const json_t *root, const json_t *generation, const char *what,
                 struct arena *a, struct alula_error *e)
{
    struct config c = {0};
    struct source s = {.root = root, .text = config_text(root), .what = what, .arena = a};
    const json_t *text = json_object_get(root, "text_config");
    if (!json_is_object(root)) return err_set(e, ALULA_FORMAT, "%s is not an object", what);
    if (text && !json_is_object(text))
        return err_set(e, ALULA_FORMAT, "%s: \"text_config\" is not an object", what);
    if (generation && !json_is_object(generation))
        return err_set(e, ALULA_FORMAT, "generation_config.json is not an object");
    snprintf(s.text_what, sizeof s.text_what, "%.480s%s", what, text ? ": text_config" : "");
    if (!read_all(&c, &s, generation, e)) return false;
    *ret = c;
    return true;
}
