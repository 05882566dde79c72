/* survey.c - looks at a folder without giving up at the first defect. Judges nothing: that is probe.c's and
 * inspect.c's part. */
#include "forge/survey.h"

#include <fnmatch.h>
#include <stdio.h>

#include "artifact/layout.h"
#include "base/json.h"

/* ---- family -------------------------------------------------------------------------------------------- */

static const char *text_of(const json_t *o, const char *key)
{
    const char *v = json_string_value(json_object_get(o, key));
    return v ? v : "";
}

static bool is_family(const char *word)
{
    static const char *const words[] = {"qwen3_5*", "qwen3_6*", "Qwen3_5*", "Qwen3_6*"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (fnmatch(words[i], word, 0) == 0) return true;
    return false;
}

static void look_at_family(struct survey *s)
{
    static const char *const keys[] = {"mtp_num_hidden_layers", "num_nextn_predict_layers",
                                       "num_mtp_modules"};
    const json_t *root = s->cp->config_json, *text = config_text(root);
    if (!root) return;
    s->known_family = is_family(text_of(text, "model_type")) || is_family(text_of(root, "model_type"));
    for (size_t i = 0; i < 3; i++) {
        const json_t *v = json_object_get(text, keys[i]), *outer = json_object_get(root, keys[i]);
        s->declares_head |= json_number_value(v ? v : outer) > 0;
    }
}

/* ---- tensors ------------------------------------------------------------------------------------------- */

static enum body_layout layout_of(const char *key)
{
    const char *mlp = strstr(key, ".mlp.");
    if (!mlp) return BODY_NONE;
    if (!strncmp(mlp + 5, "switch_mlp.", 11)) return BODY_SWITCH;
    if (!strncmp(mlp + 5, "experts.", 8))
        return mlp[13] >= '0' && mlp[13] <= '9' ? BODY_NUMBERED : BODY_FUSED;
    return !strncmp(mlp + 5, "gate_proj.", 10) ? BODY_DENSE : BODY_NONE;
}

static void look_at_tensors(struct survey *s)
{
    for (size_t i = 0; i < s->cp->n_tensors; i++) {
        const struct tensor *t = s->cp->tensors[i];
        const char *key;
        enum tensor_part part = layout_part(t->name, &key);
        s->bytes += t->n_bytes;
        if (part == PART_HEAD) s->head_bytes += t->n_bytes;
        if (part != PART_TRUNK) continue;
        enum body_layout layout = layout_of(key);
        s->has_trunk = true;
        if (layout > s->layout) s->layout = layout; /* numbered is the one that matters to others */
        if (!strncmp(t->name, "language_model.model.", 21)) s->from_mlx = true;
    }
}

static uint64_t count(const struct matrix *m, int n) { return (uint64_t)n * m->rows * m->cols; }

/* Weights of matrices; vectors are too few to matter. */
static uint64_t count_body(const struct weights *w)
{
    const struct config *c = w->config;
    uint64_t sum = count(&w->embed, 1) + (c->tied ? 0 : count(&w->lm_head, 1));
    for (int i = 0; i < c->n_layers; i++) {
        const struct layer_weights *l = &w->layers[i];
        const struct matrix *all[] = {&l->attn.q,          &l->attn.k,
                                      &l->attn.v,          &l->attn.o,
                                      &l->gdn.qkv,         &l->gdn.z,
                                      &l->gdn.b,           &l->gdn.a,
                                      &l->gdn.out,         &l->mlp.router,
                                      &l->mlp.shared_gate, &l->mlp.shared_up,
                                      &l->mlp.shared_down, &l->mlp.shared_expert_gate};
        int n = l->mlp.type == MLP_MOE ? c->n_experts : 1;
        for (size_t k = 0; k < sizeof all / sizeof *all; k++) sum += count(all[k], 1);
        sum += count(l->mlp.gate, n) + count(l->mlp.up, n) + count(l->mlp.down, n);
    }
    return sum;
}

/* Do shapes and config agree? The body alone is tried when both together do not bind, to tell which is at fault. */
static void look_at_fit(struct survey *s)
{
    struct alula_error both;
    if (!s->cp->has_config || !s->has_trunk || s->trunk.code) return;
    if (weights_bind_plain(&s->weights, s->cp, NULL, &both)) {
        s->head_fits = s->weights->has_mtp;
    } else if (weights_bind_trunk(&s->weights, s->cp, &s->trunk)) {
        s->head = both;
    }
    if (!s->weights) return;
    s->body_parameters = count_body(s->weights);
    const struct matrix *m = &s->weights->embed;
    s->bits = m->bits;
    s->type = m->bits ? m->scale_type : m->type;
}

/* ---- licence ------------------------------------------------------------------------------------------- */

static void add_name(char *list, size_t cap, const char *name)
{
    size_t len = strlen(list);
    if (len + strlen(name) + 3 < cap) snprintf(list + len, cap - len, "%s%s", len ? ", " : "", name);
}

static void find_licence_files(struct survey *s)
{
    static const char *const patterns[] = {"LICEN[CS]E*", "NOTICE*", "COPYING*"};
    char **names;
    size_t n;
    struct alula_error ignored;
    if (!dir_list(s->cp->dir, &names, &n, &ignored)) return;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < sizeof patterns / sizeof *patterns; k++)
            if (fnmatch(patterns[k], names[i], 0) == 0) add_name(s->licences, sizeof s->licences, names[i]);
    mem_free(names);
}

/* ---- the whole ----------------------------------------------------------------------------------------- */

static bool is_gguf(const char *path)
{
    size_t n = strlen(path);
    return n > 5 && !strcmp(path + n - 5, ".gguf");
}

static bool look_inside(struct survey *s, struct alula_error *e)
{
    struct checkpoint *c = s->cp;
    char path[4096];
    if (!path_join(path, sizeof path, c->dir, "config.json", e)) return false;
    s->has_config = file_exists(path);
    if (checkpoint_load_config(c, &s->config)) s->config.code = ALULA_OK;
    if (checkpoint_load_trunk(c, &s->trunk)) s->trunk.code = ALULA_OK;
    if (checkpoint_load_sidecar(c, &s->head)) s->head.code = ALULA_OK;
    return true;
}

static bool open_path(struct survey *s, const char *path, struct alula_error *e)
{
    if (is_gguf(path))
        return err_set(e, ALULA_UNSUPPORTED,
                       "%s is a GGUF file; alula reads safetensors folders as Hugging Face lays them out",
                       path);
    if (file_is_dir(path)) return checkpoint_create(&s->cp, path, e) && look_inside(s, e);
    return checkpoint_open_head(&s->cp, path, e);
}

bool survey_open(struct survey *ret, const char *path, struct alula_error *e)
{
    struct survey s = {0};
    if (!open_path(&s, path, e)) {
        survey_close(&s);
        return false;
    }
    look_at_family(&s);
    look_at_tensors(&s);
    const json_t *experts = json_object_get(config_text(s.cp->config_json), "num_experts");
    int n_experts = s.cp->config_json ? (int)json_integer_value(experts) : -1;
    if (n_experts > CONFIG_EXPERTS_MAX) n_experts = CONFIG_EXPERTS_MAX;
    if (!head_set_read(&s.head_set, s.cp, n_experts, e)) {
        survey_close(&s);
        return false;
    }
    look_at_fit(&s);
    find_licence_files(&s);
    s.licence = licence_declared(s.cp->dir);
    *ret = s;
    return true;
}

void survey_close(struct survey *s)
{
    head_set_free(&s->head_set);
    weights_free(s->weights);
    checkpoint_close(s->cp);
}

void survey_quote(struct buf *out, const char *path)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-+:=@,%";
    if (path[0] && strspn(path, plain) == strlen(path)) {
        buf_str(out, path);
        return;
    }
    buf_byte(out, '\'');
    for (; *path; path++) {
        if (*path == '\'')
            buf_str(out, "'\\''");
        else
            buf_byte(out, (unsigned char)*path);
    }
    buf_byte(out, '\'');
}
