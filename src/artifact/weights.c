/* weights.c - binds tensors to the parts of the network.
 *
 * Owns the names of modules and their shapes, and which of the expert layouts a layer lies in. Knows nothing
 * of prefixes (layout.c), of packing (bind.c) and of arithmetic. */
#include "artifact/weights.h"

#include <stdio.h>

#include "artifact/head.h"

/* ---- one layer ------------------------------------------------------------------------------- */

static void bind_attention(struct binder *b, struct attention_weights *a, const struct config *c,
                           const char *at)
{
    uint64_t hidden = (uint64_t)c->hidden, dim = (uint64_t)c->head_dim;
    uint64_t q = (uint64_t)c->n_heads * dim, kv = (uint64_t)c->n_kv_heads * dim;
    bind_matrix(b, &a->q, 2 * q, hidden, at, "self_attn.q_proj");
    bind_matrix(b, &a->k, kv, hidden, at, "self_attn.k_proj");
    bind_matrix(b, &a->v, kv, hidden, at, "self_attn.v_proj");
    bind_matrix(b, &a->o, hidden, q, at, "self_attn.o_proj");
    bind_vector(b, &a->q_norm, dim, true, at, "self_attn.q_norm.weight");
    bind_vector(b, &a->k_norm, dim, true, at, "self_attn.k_norm.weight");
}

static void bind_deltanet(struct binder *b, struct deltanet_weights *g, const struct config *c,
                          const char *at)
{
    uint64_t hidden = (uint64_t)c->hidden, heads = (uint64_t)c->lin_v_heads;
    uint64_t keys = (uint64_t)c->lin_k_heads * (uint64_t)c->lin_k_dim,
             values = heads * (uint64_t)c->lin_v_dim;
    uint64_t channels = 2 * keys + values;
    bind_matrix(b, &g->qkv, channels, hidden, at, "linear_attn.in_proj_qkv");
    bind_matrix(b, &g->z, values, hidden, at, "linear_attn.in_proj_z");
    bind_matrix(b, &g->b, heads, hidden, at, "linear_attn.in_proj_b");
    bind_matrix(b, &g->a, heads, hidden, at, "linear_attn.in_proj_a");
    bind_matrix(b, &g->out, hidden, values, at, "linear_attn.out_proj");
    bind_conv(b, &g->conv, channels, (uint64_t)c->conv_kernel, at, "linear_attn.conv1d.weight");
    bind_vector(b, &g->a_log, heads, false, at, "linear_attn.A_log");
    bind_vector(b, &g->dt_bias, heads, false, at, "linear_attn.dt_bias");
    /* The one norm that nobody stores zero-centred. */
    bool add_one = b->add_one;
    b->add_one = false;
    bind_vector(b, &g->norm, (uint64_t)c->lin_v_dim, true, at, "linear_attn.norm.weight");
    b->add_one = add_one;
}

/* All experts in one tensor: gate rows, then up rows, per expert. */
static void bind_fused(struct binder *b, struct mlp_weights *m, const struct config *c, const char *at,
                       const char *gate_up, const char *down)
{
    uint32_t n = (uint32_t)c->n_experts, inter = (uint32_t)c->moe_inter, hidden = (uint32_t)c->hidden;
    struct matrix both, back;
    bind_stack(b, &both, n, 2 * inter, hidden, at, gate_up);
    bind_stack(b, &back, n, hidden, inter, at, down);
    for (uint32_t i = 0; i < n; i++) {
        m->gate[i] = bind_slice(&both, 2 * i * inter, inter);
        m->up[i] = bind_slice(&both, (2 * i + 1) * inter, inter);
        m->down[i] = bind_slice(&back, i * hidden, hidden);
    }
}

/* One tensor per projection. */
static void bind_switch(struct binder *b, struct mlp_weights *m, const struct config *c, const char *at)
{
    uint32_t n = (uint32_t)c->n_experts, inter = (uint32_t)c->moe_inter, hidden = (uint32_t)c->hidden;
    struct matrix gate, up, down;
    bind_stack(b, &gate, n, inter, hidden, at, "mlp.switch_mlp.gate_proj");
    bind_stack(b, &up, n, inter, hidden, at, "mlp.switch_mlp.up_proj");
    bind_stack(b, &down, n, hidden, inter, at, "mlp.switch_mlp.down_proj");
    for (uint32_t i = 0; i < n; i++) {
        m->gate[i] = bind_slice(&gate, i * inter, inter);
        m->up[i] = bind_slice(&up, i * inter, inter);
        m->down[i] = bind_slice(&down, i * hidden, hidden);
    }
}

/* One tensor per projection and expert. */
static void bind_numbered(struct binder *b, struct mlp_weights *m, const struct config *c, const char *at)
{
    uint64_t inter = (uint64_t)c->moe_inter, hidden = (uint64_t)c->hidden;
    char expert[64];
    for (int i = 0; i < c->n_experts; i++) {
        snprintf(expert, sizeof expert, "%smlp.experts.%d.", at, i);
        bind_matrix(b, &m->gate[i], inter, hidden, expert, "gate_proj");
        bind_matrix(b, &m->up[i], inter, hidden, expert, "up_proj");
        bind_matrix(b, &m->down[i], hidden, inter, expert, "down_proj");
    }
}

static void bind_experts(struct binder *b, struct mlp_weights *m, const struct config *c, const char *at)
{
    if (bind_has(b, at, "mlp.switch_mlp.gate_up_proj.weight"))
        bind_fused(b, m, c, at, "mlp.switch_mlp.gate_up_proj", "mlp.switch_mlp.down_proj");
    else if (bind_has_any(b, at, "mlp.switch_mlp."))
        bind_switch(b, m, c, at);
    else if (bind_has_any(b, at, "mlp.experts.0."))
        bind_numbered(b, m, c, at);
    else
        bind_fused(b, m, c, at, "mlp.experts.gate_up_proj", "mlp.experts.down_proj");
}

static void bind_mlp(struct binder *b, struct mlp_weights *m, const struct config *c, enum mlp_type type,
                     const char *at)
{
    uint64_t hidden = (uint64_t)c->hidden, shared = (uint64_t)c->shared_inter,
             dense = (uint64_t)c->dense_inter;
    size_t n = type == MLP_MOE ? (size_t)c->n_experts : 1;
    m->type = type;
    struct matrix *all = arena_array(b->arena, 3 * n, sizeof *all);
    if (!all) {
        b->failed = true;
        err_set(b->e, ALULA_NOMEM, "%s: no memory for %zu experts", b->cp->dir, n);
        return;
    }
    m->gate = all;
    m->up = all + n;
    m->down = all + 2 * n;
    if (type == MLP_DENSE) {
        bind_matrix(b, m->gate, dense, hidden, at, "mlp.gate_proj");
        bind_matrix(b, m->up, dense, hidden, at, "mlp.up_proj");
        bind_matrix(b, m->down, hidden, dense, at, "mlp.down_proj");
        return;
    }
    bind_matrix(b, &m->router, n, hidden, at, "mlp.gate");
    bind_experts(b, m, c, at);
    bind_matrix(b, &m->shared_gate, shared, hidden, at, "mlp.shared_expert.gate_proj");
    bind_matrix(b, &m->shared_up, shared, hidden, at, "mlp.shared_expert.up_proj");
    bind_matrix(b, &m->shared_down, hidden, shared, at, "mlp.shared_expert.down_proj");
    bind_matrix(b, &m->shared_expert_gate, 1, hidden, at, "mlp.shared_expert_gate");
}

void bind_layer(struct binder *b, struct layer_weights *l, const struct config *c, enum layer_type type,
                enum mlp_type mlp, const char *at)
{
    if (b->failed) return;
    l->type = type;
    bind_vector(b, &l->input_norm, (uint64_t)c->hidden, true, at, "input_layernorm.weight");
    bind_vector(b, &l->post_norm, (uint64_t)c->hidden, true, at, "post_attention_layernorm.weight");
    if (type == LAYER_FULL_ATTENTION)
        bind_attention(b, &l->attn, c, at);
    else
        bind_deltanet(b, &l->gdn, c, at);
    bind_mlp(b, &l->mlp, c, mlp, at);
}

/* ---- the trunk ------------------------------------------------------------------------------- */

static bool bind_trunk(struct weights *w, const struct checkpoint *cp, struct alula_error *e)
{
    const struct config *c = w->config;
    uint64_t vocab = (uint64_t)c->vocab, hidden = (uint64_t)c->hidden;
    struct binder b;
    bool known, ok = bind_begin(&b, cp, PART_TRUNK, &w->arena, e) && trunk_is_raw(cp, &b.add_one, &known, e);
    if (ok && !known) /* no delta net: the names tell who wrote the file */
        b.add_one = strcmp(b.prefix, "language_model.model.") != 0;
    w->layers = ok ? arena_array(&w->arena, (size_t)c->n_layers, sizeof *w->layers) : NULL;
    if (ok && !w->layers) ok = err_set(e, ALULA_NOMEM, "%s: no memory for %d layers", cp->dir, c->n_layers);
    if (ok) {
        char at[32];
        bind_matrix(&b, &w->embed, vocab, hidden, "", "embed_tokens");
        for (int i = 0; i < c->n_layers; i++) {
            snprintf(at, sizeof at, "layers.%d.", i);
            bind_layer(&b, &w->layers[i], c, c->layer_types[i], c->mlp_types[i], at);
        }
        bind_vector(&b, &w->final_norm, hidden, true, "", "norm.weight");
        if (c->tied)
            w->lm_head = w->embed;
        else
            bind_matrix(&b, &w->lm_head, vocab, hidden, "", "lm_head");
        ok = bind_finish(&b);
    }
    bind_end(&b);
    return ok;
}

static bool bind_weights(struct weights **ret, const struct checkpoint *trunk, const struct checkpoint *head,
                         bool pack, struct alula_error *e)
{
    if (!trunk->has_config)
        return err_set(e, ALULA_INTERNAL, "%s: bound before its config was read", trunk->dir);
    struct weights *w = mem_zalloc(1, sizeof *w);
    if (!w) return err_set(e, ALULA_NOMEM, "%s: no memory to bind it", trunk->dir);
    w->config = &trunk->config;
    w->has_mtp = head && checkpoint_has_head(head);
    if (!bind_trunk(w, trunk, e) ||
        (w->has_mtp && !head_bind(&w->mtp, w->config, head, head == trunk, pack, &w->arena, e))) {
        weights_free(w);
        return false;
    }
    *ret = w;
    return true;
}

bool weights_bind(struct weights **ret, const struct checkpoint *trunk, const struct checkpoint *head,
                  struct alula_error *e)
{
    return bind_weights(ret, trunk, head ? head : trunk, true, e);
}

bool weights_bind_plain(struct weights **ret, const struct checkpoint *trunk, const struct checkpoint *head,
                        struct alula_error *e)
{
    return bind_weights(ret, trunk, head ? head : trunk, false, e);
}

bool weights_bind_trunk(struct weights **ret, const struct checkpoint *trunk, struct alula_error *e)
{
    return bind_weights(ret, trunk, NULL, false, e);
}

void weights_free(struct weights *w)
{
    if (!w) return;
    arena_free(&w->arena);
    mem_free(w);
}
