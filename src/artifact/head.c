/* head.c - binds the MTP head.
 *
 * Owns what the trunk has not: how the norm convention of a head is decided, how a head that belongs to
 * another trunk is recognised, and packing at load. Knows nothing of how the head is run. */
#include "artifact/head.h"

#include <stdio.h>

#include "artifact/contract.h"
#include "artifact/quant.h"
#include "base/file.h"
#include "base/json.h"

/* ---- the norm convention --------------------------------------------------------------------- */

bool trunk_is_raw(const struct checkpoint *cp, bool *ret_raw, bool *ret_known, struct alula_error *e)
{
    const struct tensor *raw = NULL, *mlx = NULL;
    for (size_t i = 0; i < cp->n_tensors; i++) {
        const struct tensor *t = cp->tensors[i];
        if (t->n_dims != 3 || !ends_with(t->name, ".linear_attn.conv1d.weight")) continue;
        if (t->shape[1] == 1 && t->shape[2] != 1)
            raw = t;
        else if (t->shape[2] == 1 && t->shape[1] != 1)
            mlx = t;
    }
    if (raw && mlx)
        return err_set(e, ALULA_MISMATCH,
                       "%s: %s is as Hugging Face writes it, %s as MLX does; one folder must be one or the "
                       "other",
                       cp->dir, raw->name, mlx->name);
    *ret_known = raw || mlx;
    *ret_raw = raw != NULL;
    return true;
}

/* The first of the keys that say how a head's norms are stored, or NULL. */
static const char *declared_encoding(const json_t *config)
{
    const json_t *quant = json_object_get(config, "mtplx_mtp_quantization");
    const json_t *values[] = {
        json_object_get(config, "mtplx_mtp_norm_encoding"),
        json_object_get(config, "mtp_norm_encoding"),
        json_object_get(quant, "norm_encoding"),
        json_object_get(quant, "norm_weight_encoding"),
    };
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        if (json_is_string(values[i])) return json_string_value(values[i]);
    return NULL;
}

/* Folds the mean of one norm into an extreme of its family. Returns whether it is there. */
static bool fold_mean(const struct binder *b, const char *name, bool want_max, double *extreme)
{
    const struct tensor *t = bind_peek(b, "", name);
    if (!t || t->n_dims != 1 || t->shape[0] == 0 ||
        (t->dtype != DT_F32 && t->dtype != DT_F16 && t->dtype != DT_BF16))
        return false;
    double sum = 0;
    file_map_want(t->data, t->n_bytes);
    for (uint64_t i = 0; i < t->shape[0]; i++) sum += value_f32(t->data, t->dtype, i);
    double mean = sum / (double)t->shape[0];
    if (want_max ? mean > *extreme : mean < *extreme) *extreme = mean;
    return true;
}

/* Trained heads: layer and pre_fc norms lie near 0.04..0.39 zero-centred and at 0.87 or more as gains, q and
 * k norms near 0.75 and at 1.73 or more. Both families must speak for zero-centred. */
static bool means_zero_centred(const struct binder *b)
{
    static const char *const low[] = {"layers.0.input_layernorm.weight",
                                      "layers.0.post_attention_layernorm.weight",
                                      "pre_fc_norm_embedding.weight", "pre_fc_norm_hidden.weight"};
    static const char *const high[] = {"layers.0.self_attn.q_norm.weight",
                                       "layers.0.self_attn.k_norm.weight"};
    double low_min = 1e30, high_max = -1e30;
    bool any_low = false, any_high = false;
    for (size_t i = 0; i < sizeof low / sizeof *low; i++) any_low |= fold_mean(b, low[i], false, &low_min);
    for (size_t i = 0; i < sizeof high / sizeof *high; i++)
        any_high |= fold_mean(b, high[i], true, &high_max);
    return any_low && any_high && high_max < 1.25 && low_min < 0.5;
}

/* Decides for the whole set whether 1 must be added to the head's norms. b: the head's names. */
static bool norms_zero_centred(const struct binder *b, bool *ret, struct alula_error *e)
{
    const char *said = declared_encoding(b->cp->config_json);
    if (said) {
        *ret = !strcmp(said, "delta") || !strcmp(said, "delta_plus_one") || !strcmp(said, "mlx_delta");
        return *ret || !strcmp(said, "absolute") ||
               err_set(e, ALULA_UNSUPPORTED,
                       "%s/config.json: the norm encoding of the MTP head is \"%.60s\", expected delta, "
                       "delta_plus_one, mlx_delta or absolute",
                       b->cp->dir, said);
    }
    bool raw = false, known;
    if (!b->cp->sidecar && !trunk_is_raw(b->cp, &raw, &known, e)) return false;
    *ret = raw || means_zero_centred(b);
    return true;
}

/* ---- does it belong to this trunk? ----------------------------------------------------------- */

struct dims {
    char text[400];
    size_t n;
};

static void compare(struct dims *d, const char *what, double head, double trunk)
{
    size_t len = strlen(d->text);
    if (head != trunk && len < sizeof d->text) {
        snprintf(d->text + len, sizeof d->text - len, "%s%s %.10g (trunk: %.10g)", d->n ? ", " : "", what,
                 head, trunk);
        d->n++;
    }
}

static uint64_t dim(const struct binder *b, const char *name, int i)
{
    const struct tensor *t = bind_peek(b, "", name);
    return t && i < t->n_dims ? t->shape[i] : 0;
}

/* Dimensions as the head's shapes tell them; rows are the same whether packed or not. */
static void compare_shapes(struct dims *d, const struct binder *b, const struct config *c)
{
    static const char l[] = "layers.0.";
    char name[128];
    uint64_t head_dim = dim(b, "layers.0.self_attn.q_norm.weight", 0);
    const struct {
        const char *what, *tensor;
        int axis, trunk;
        uint64_t divisor;
    } rows[] = {
        {"hidden_size", "self_attn.o_proj.weight", 0, c->hidden, 1},
        {"head_dim", "self_attn.q_norm.weight", 0, c->head_dim, 1},
        {"num_attention_heads", "self_attn.q_proj.weight", 0, c->n_heads, 2 * head_dim},
        {"num_key_value_heads", "self_attn.k_proj.weight", 0, c->n_kv_heads, head_dim},
        {"num_experts", "mlp.gate.weight", 0, c->n_experts, 1},
        {"shared_expert_intermediate_size", "mlp.shared_expert.gate_proj.weight", 0, c->shared_inter, 1},
        {"moe_intermediate_size", "mlp.experts.gate_up_proj", 1, c->moe_inter, 2},
        {"moe_intermediate_size", "mlp.switch_mlp.gate_proj.weight", 1, c->moe_inter, 1},
        {"moe_intermediate_size", "mlp.experts.0.gate_proj.weight", 0, c->moe_inter, 1},
        {"intermediate_size", "mlp.gate_proj.weight", 0, c->dense_inter, 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        snprintf(name, sizeof name, "%s%s", l, rows[i].tensor);
        uint64_t n = dim(b, name, rows[i].axis);
        if (n && rows[i].divisor)
            compare(d, rows[i].what, (double)n / (double)rows[i].divisor, rows[i].trunk);
    }
}

/* What shapes do not tell and yet must agree. */
static void compare_configs(struct dims *d, const struct config *h, const struct config *c)
{
    compare(d, "vocab_size", h->vocab, c->vocab);
    compare(d, "rotary dimensions", h->rotary_dim, c->rotary_dim);
    compare(d, "rope_theta", h->rope_theta, c->rope_theta);
    compare(d, "rms_norm_eps", h->rms_eps, c->rms_eps);
    compare(d, "num_experts_per_tok", h->experts_per_tok, c->experts_per_tok);
}

/* ---- packing at load ------------------------------------------------------------------------- */

static bool pack(struct matrix *m, const struct mtp_quantization *q, const char *dir, struct arena *arena,
                 struct alula_error *e)
{
    if (m->bits || !m->data) return true;
    if (m->cols % (uint32_t)q->group != 0)
        return err_set(e, ALULA_MISMATCH,
                       "%s: mtplx_mtp_quantization asks for groups of %d, but a matrix of the head has %u "
                       "columns",
                       dir, q->group, m->cols);
    struct matrix p = *m;
    size_t n_groups = (size_t)m->rows * (m->cols / (uint32_t)q->group), bad_row;
    p.type = DT_U32;
    p.scale_type = m->type;
    p.bits = (uint8_t)q->bits;
    p.group = (uint16_t)q->group;
    void *words = arena_array(arena, m->rows, matrix_row_bytes(&p));
    void *scales = arena_array(arena, n_groups, dtype_size(m->type));
    void *biases = arena_array(arena, n_groups, dtype_size(m->type));
    if (!words || !scales || !biases)
        return err_set(e, ALULA_NOMEM, "%s: no memory to pack the MTP head", dir);
    if (!quant_rows(m->data, m->type, m->rows, m->cols, q->bits, q->group, words, scales, biases, &bad_row))
        return err_set(e, ALULA_FORMAT,
                       "%s: the MTP head cannot be packed, row %zu of a matrix is not finite", dir, bad_row);
    p.data = words;
    p.scales = scales;
    p.biases = biases;
    *m = p;
    return true;
}

static bool pack_head(struct mtp_weights *h, const struct mtp_quantization *q, const struct config *c,
                      const char *dir, struct arena *arena, struct alula_error *e)
{
    struct attention_weights *a = &h->layer.attn;
    struct mlp_weights *mlp = &h->layer.mlp;
    struct matrix *one[] = {&a->q,
                            &a->k,
                            &a->v,
                            &a->o,
                            &mlp->router,
                            &mlp->shared_gate,
                            &mlp->shared_up,
                            &mlp->shared_down,
                            &mlp->shared_expert_gate};
    int n = mlp->type == MLP_MOE ? c->n_experts : 1;
    if (q->fc_too && !pack(&h->fc, q, dir, arena, e)) return false;
    for (size_t i = 0; i < sizeof one / sizeof *one; i++)
        if (!pack(one[i], q, dir, arena, e)) return false;
    for (int i = 0; i < n; i++)
        if (!pack(&mlp->gate[i], q, dir, arena, e) || !pack(&mlp->up[i], q, dir, arena, e) ||
            !pack(&mlp->down[i], q, dir, arena, e))
            return false;
    return true;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static void bind_all(struct binder *b, struct mtp_weights *h, const struct config *c)
{
    uint64_t hidden = (uint64_t)c->hidden;
    enum mlp_type mlp = c->n_experts ? MLP_MOE : MLP_DENSE;
    bind_matrix(b, &h->fc, hidden, 2 * hidden, "", "fc");
    bind_vector(b, &h->norm_embedding, hidden, true, "", "pre_fc_norm_embedding.weight");
    bind_vector(b, &h->norm_hidden, hidden, true, "", "pre_fc_norm_hidden.weight");
    bind_vector(b, &h->norm, hidden, true, "", "norm.weight");
    bind_layer(b, &h->layer, c, LAYER_FULL_ATTENTION, mlp, "layers.0.");
}

bool head_bind(struct mtp_weights *ret, const struct config *config, const struct checkpoint *cp, bool own,
               bool pack, struct arena *arena, struct alula_error *e)
{
    struct binder b;
    struct mtp_weights h = {0};
    struct mtp_quantization quant;
    struct dims dims = {0};
    bool ok = bind_begin(&b, cp, PART_HEAD, arena, e) && norms_zero_centred(&b, &b.add_one, e) &&
              contract_read_quantization(&quant, cp, e);
    if (ok && !own && cp->has_config) {
        compare_configs(&dims, &cp->config, config);
        if (dims.n) {
            compare_shapes(&dims, &b, config);
            ok = err_set(e, ALULA_MISMATCH, "%s: the MTP head was made for another trunk: %s", cp->dir,
                         dims.text);
        }
    }
    if (ok) {
        bind_all(&b, &h, config);
        ok = bind_finish(&b);
        if (!ok && b.shapes.n) {
            compare_shapes(&dims, &b, config);
            struct alula_error shapes = *e;
            if (dims.n)
                err_set(e, shapes.code, "%.580s; by its shapes the head has %s", shapes.message, dims.text);
        }
    }
    bind_end(&b);
    if (!ok || (pack && quant.bits && !pack_head(&h, &quant, config, cp->dir, arena, e))) return false;
    *ret = h;
    return true;
}
