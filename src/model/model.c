/* model.c - from bound weights to what the passes need: kernels, the head's contract, derived parameters,
 * widths. Owns nothing of the weights themselves; knows no sequence and no batch. */
#include "model/model_internal.h"

#include <math.h>

static bool contract_check(const struct mtp_contract *c, struct alula_error *e)
{
    if (c->base != HIDDEN_POST_NORM && c->base != HIDDEN_PRE_NORM)
        return err_set(e, ALULA_UNSUPPORTED,
                       "the contract's base hidden state must be taken before or after the final norm");
    if (c->feedback == HIDDEN_MIX && (c->mix_a == HIDDEN_MIX || c->mix_b == HIDDEN_MIX))
        return err_set(e, ALULA_UNSUPPORTED, "the contract mixes hidden states that are mixtures themselves");
    if (c->feedback == HIDDEN_MIX && !(c->mix_weight >= 0 && c->mix_weight <= 1))
        return err_set(e, ALULA_UNSUPPORTED, "the contract's mixing weight is %g, not between 0 and 1",
                       (double)c->mix_weight);
    return true;
}

/* The references form them so, in float32: 1 / theta^(2j/width). */
static bool frequencies_create(struct model *m)
{
    const struct config *c = m->config;
    int half = c->rotary_dim / 2;
    m->frequencies = arena_array(&m->arena, (size_t)half + 1, sizeof(float));
    if (!m->frequencies) return false;
    for (int j = 0; j < half; j++)
        m->frequencies[j] = 1.0f / (float)pow(c->rope_theta, (double)((float)(2 * j) / (float)c->rotary_dim));
    return true;
}

static bool deltanet_derive(struct model *m, struct layer *l)
{
    const struct config *c = m->config;
    const struct deltanet_weights *w = &l->w->gdn;
    l->taps = arena_array(&m->arena, (size_t)m->channels * (size_t)c->conv_kernel, sizeof(float));
    l->rate = arena_array(&m->arena, (size_t)c->lin_v_heads, sizeof(float));
    if (!l->taps || !l->rate) return false;
    for (int ch = 0; ch < m->channels; ch++)
        for (int j = 0; j < c->conv_kernel; j++)
            l->taps[(size_t)j * (size_t)m->channels + (size_t)ch] =
                w->conv.gain[(size_t)ch * (size_t)c->conv_kernel + (size_t)j];
    for (int h = 0; h < c->lin_v_heads; h++) l->rate[h] = -expf(w->a_log.gain[h]);
    return true;
}

static bool model_derive(struct model *m)
{
    const struct config *c = m->config;
    m->key_width = c->lin_k_heads * c->lin_k_dim;
    m->value_width = c->lin_v_heads * c->lin_v_dim;
    m->channels = 2 * m->key_width + m->value_width;
    m->q_width = c->n_heads * c->head_dim;
    m->kv_width = c->n_kv_heads * c->head_dim;
    m->kv_type = m->mode == MODEL_FAST ? DT_F16 : DT_F32;
    m->slots = c->n_experts > 0 ? c->experts_per_tok + 1 : 1;
    m->inter = c->moe_inter > c->shared_inter ? c->moe_inter : c->shared_inter;
    if (c->dense_inter > m->inter) m->inter = c->dense_inter;
    m->layers = arena_array(&m->arena, (size_t)c->n_layers + 1, sizeof(*m->layers));
    if (!m->layers || !frequencies_create(m)) return false;
    for (int i = 0; i < c->n_layers; i++) {
        m->layers[i].w = &m->weights->layers[i];
        if (m->layers[i].w->type == LAYER_LINEAR_ATTENTION && !deltanet_derive(m, &m->layers[i]))
            return false;
    }
    if (m->weights->has_mtp) m->layers[c->n_layers].w = &m->weights->mtp.layer;
    return true;
}

bool model_create(struct model **ret, const struct weights *w, const struct mtp_contract *contract,
                  enum model_mode mode, struct alula_error *e)
{
    if (contract && !contract_check(contract, e)) return false;
    struct model *m = mem_zalloc(1, sizeof(*m));
    if (!m) return err_set(e, ALULA_NOMEM, "out of memory for the model");
    m->weights = w;
    m->config = w->config;
    m->mode = mode;
    if (contract) m->contract = *contract;
    kern_init(&m->kern, CPU_ALL);
    if (!model_derive(m)) {
        model_free(m);
        return err_set(e, ALULA_NOMEM, "out of memory for the model's derived parameters");
    }
    *ret = m;
    return true;
}

void model_free(struct model *m)
{
    if (!m) return;
    arena_free(&m->arena);
    mem_free(m);
}

const struct config *model_config(const struct model *m) { return m->config; }

bool model_has_mtp(const struct model *m) { return m->weights->has_mtp; }

void *carve_take(struct carve *c, size_t count, size_t size)
{
    void *p = c->base ? c->base + c->used : NULL;
    c->used += (count * size + 63) / 64 * 64;
    return p;
}
