/* plan.c - decides what an artifact contains: names, widths, order, shards (MLX's conventions, see plan.h).
 *
 * Owns the naming and the rule which module is packed how. Knows no file and reads no weight. */
#include "forge/plan.h"

#include <fnmatch.h>
#include <stdarg.h>
#include <stdio.h>

#define SHARD_MAX 5000000000ull /* bytes of data in a file; mlx-lm splits at 5 GB */

enum { ROUTER_BITS = 8, ROUTER_GROUP = 64 };

struct planner {
    struct plan *plan;
    const struct plan_options *o;
    enum dtype cast;
    struct plan_item *items;
    size_t n, cap;
    bool in_head;
    bool packed_body; /* the body came packed: what is plain in it stays plain */
    bool *matched;    /* [n_overrides] */
    bool failed;      /* *e says why */
    struct alula_error *e;
};

__attribute__((format(printf, 3, 4))) static void fail(struct planner *p, enum alula_code code,
                                                       const char *fmt, ...)
{
    char text[600];
    va_list ap;
    if (p->failed) return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    p->failed = true;
    err_set(p->e, code, "%s", text);
}

static struct plan_item *add(struct planner *p, const char *prefix, const char *name)
{
    static struct plan_item sink;
    if (p->n == p->cap) {
        size_t cap = p->cap ? 2 * p->cap : 256;
        struct plan_item *bigger = arena_array(&p->plan->arena, cap, sizeof *bigger);
        if (!bigger) {
            fail(p, ALULA_NOMEM, "no memory to plan the artifact");
            return &sink;
        }
        if (p->n) memcpy(bigger, p->items, p->n * sizeof *bigger);
        p->items = bigger;
        p->cap = cap;
    }
    char path[256];
    int len = snprintf(path, sizeof path, "%s%s", prefix, name);
    struct plan_item *it = &p->items[p->n++];
    *it = (struct plan_item){.name = arena_strndup(&p->plan->arena, path, (size_t)len), .type = p->cast};
    if (!it->name) fail(p, ALULA_NOMEM, "no memory to plan the artifact");
    return it;
}

static bool is_packed(const struct matrix *m) { return m->type == DT_U32; }

/* The last override that fits the item's path, or NULL. Each that fits is noted, so that a mistyped one is found. */
static const struct plan_override *find_override(struct planner *p, const struct plan_item *it)
{
    const struct plan_override *found = NULL;
    for (int i = 0; it->name && i < p->o->n_overrides; i++) {
        if (fnmatch(p->o->overrides[i].pattern, it->name, 0)) continue;
        p->matched[i] = true;
        found = &p->o->overrides[i];
    }
    return found;
}

static void apply_override(struct planner *p, struct plan_item *it, const struct plan_override *o)
{
    int group = o->group ? o->group : p->o->group;
    if (is_packed(it->mats))
        fail(p, ALULA_USAGE,
             "override %s: %s is packed already in its source (%d bits); only plain tensors can be packed",
             o->pattern, it->name, it->mats->bits);
    else if (p->in_head && p->o->head_policy != HEAD_QUANTIZE)
        fail(p, ALULA_USAGE,
             "override %s fits %s, but the head is not packed here; that needs the policy quantize",
             o->pattern, it->name);
    else if (o->bits != PLAN_PLAIN_BITS && it->mats->cols % (uint32_t)group)
        fail(p, ALULA_USAGE, "override %s: %s has %u columns, no multiple of the group size %d", o->pattern,
             it->name, it->mats->cols, group);
    it->bits = o->bits == PLAN_PLAIN_BITS ? 0 : o->bits;
    it->group = it->bits ? group : 0;
}

static void check_head_width(struct planner *p, const struct plan_item *it)
{
    int bits = it->bits ? it->bits : p->o->head_policy == HEAD_QUANTIZE_AT_LOAD ? p->o->bits : 16;
    if (p->in_head && bits < PLAN_HEAD_BITS_MIN && !p->o->allow_degraded_mtp)
        fail(p, ALULA_USAGE,
             "%s would have %d bits: below %d a head is likely to foretell worse; give it more, or allow it "
             "(--allow-degraded-mtp) and let alula forge verify say what it costs",
             it->name, bits, PLAN_HEAD_BITS_MIN);
}

/* A stack of n matrices under one name; bits 0 leaves them plain. */
static struct plan_item *add_matrices(struct planner *p, const char *prefix, const char *name,
                                      const struct matrix *m, int n, bool stacked, int bits, int group)
{
    struct plan_item *it = add(p, prefix, name);
    it->mats = m;
    it->n_mats = n;
    it->stacked = stacked;
    it->suffix = true;
    if (is_packed(m)) {
        it->bits = m->bits;
        it->group = m->group;
        it->type = m->scale_type;
    } else if (bits && m->cols % (uint32_t)p->o->group == 0) { /* the global group decides, as in mlx-lm */
        it->bits = bits;
        it->group = group;
    }
    const struct plan_override *o = find_override(p, it);
    if (o) apply_override(p, it, o);
    check_head_width(p, it);
    return it;
}

static int wanted_bits(const struct planner *p)
{
    bool plain = p->in_head ? p->o->head_policy != HEAD_QUANTIZE : p->packed_body;
    return plain ? 0 : p->o->bits;
}

static void add_matrix(struct planner *p, const char *prefix, const char *name, const struct matrix *m)
{
    add_matrices(p, prefix, name, m, 1, false, wanted_bits(p), p->o->group);
}

/* The router and the shared expert's gate: 8 bits in the body; plain in a head, where they are small and
 * decide a lot. */
static void add_router(struct planner *p, const char *prefix, const char *name, const struct matrix *m)
{
    add_matrices(p, prefix, name, m, 1, false, p->in_head || p->packed_body ? 0 : ROUTER_BITS, ROUTER_GROUP);
}

static void add_vector(struct planner *p, const char *prefix, const char *name, const struct vector *v)
{
    struct plan_item *it = add(p, prefix, name);
    it->vec = v;
    it->shift = v->add_one;
    it->n_dims = 1;
    it->shape[0] = 1;
    for (int i = 0; i < v->source->n_dims; i++) it->shape[0] *= v->source->shape[i];
}

/* conv1d: [channels][taps][1], the same bytes as [channels][1][taps]. */
static void add_conv(struct planner *p, const char *prefix, const struct vector *v, int taps)
{
    add_vector(p, prefix, "linear_attn.conv1d.weight", v);
    struct plan_item *it = &p->items[p->n - 1];
    it->n_dims = 3;
    it->shape[0] /= (uint64_t)taps;
    it->shape[1] = (uint64_t)taps;
    it->shape[2] = 1;
}

static void add_experts(struct planner *p, const char *prefix, const struct mlp_weights *m, int n)
{
    int bits = wanted_bits(p);
    if (p->in_head && !bits &&
        !is_packed(&m->gate[0])) { /* a plain head stays as Hugging Face stores it: fused */
        struct plan_item *it = add_matrices(p, prefix, "mlp.experts.gate_up_proj", m->gate, n, true, 0, 0);
        it->mats2 = m->up;
        it->suffix = false;
        add_matrices(p, prefix, "mlp.experts.down_proj", m->down, n, true, 0, 0)->suffix = false;
        return;
    }
    add_matrices(p, prefix, "mlp.switch_mlp.gate_proj", m->gate, n, true, bits, p->o->group);
    add_matrices(p, prefix, "mlp.switch_mlp.up_proj", m->up, n, true, bits, p->o->group);
    add_matrices(p, prefix, "mlp.switch_mlp.down_proj", m->down, n, true, bits, p->o->group);
}

static void add_mlp(struct planner *p, const char *prefix, const struct mlp_weights *m,
                    const struct config *c)
{
    if (m->type == MLP_DENSE) {
        add_matrix(p, prefix, "mlp.gate_proj", m->gate);
        add_matrix(p, prefix, "mlp.up_proj", m->up);
        add_matrix(p, prefix, "mlp.down_proj", m->down);
        return;
    }
    add_router(p, prefix, "mlp.gate", &m->router);
    add_experts(p, prefix, m, c->n_experts);
    add_matrix(p, prefix, "mlp.shared_expert.gate_proj", &m->shared_gate);
    add_matrix(p, prefix, "mlp.shared_expert.up_proj", &m->shared_up);
    add_matrix(p, prefix, "mlp.shared_expert.down_proj", &m->shared_down);
    add_router(p, prefix, "mlp.shared_expert_gate", &m->shared_expert_gate);
}

static void add_layer(struct planner *p, const char *prefix, const struct layer_weights *l,
                      const struct config *c)
{
    add_vector(p, prefix, "input_layernorm.weight", &l->input_norm);
    if (l->type == LAYER_FULL_ATTENTION) {
        add_matrix(p, prefix, "self_attn.q_proj", &l->attn.q);
        add_matrix(p, prefix, "self_attn.k_proj", &l->attn.k);
        add_matrix(p, prefix, "self_attn.v_proj", &l->attn.v);
        add_matrix(p, prefix, "self_attn.o_proj", &l->attn.o);
        add_vector(p, prefix, "self_attn.q_norm.weight", &l->attn.q_norm);
        add_vector(p, prefix, "self_attn.k_norm.weight", &l->attn.k_norm);
    } else {
        add_matrix(p, prefix, "linear_attn.in_proj_qkv", &l->gdn.qkv);
        add_matrix(p, prefix, "linear_attn.in_proj_z", &l->gdn.z);
        add_matrix(p, prefix, "linear_attn.in_proj_b", &l->gdn.b);
        add_matrix(p, prefix, "linear_attn.in_proj_a", &l->gdn.a);
        add_conv(p, prefix, &l->gdn.conv, c->conv_kernel);
        add_vector(p, prefix, "linear_attn.A_log", &l->gdn.a_log);
        p->items[p->n - 1].type = l->gdn.a_log.source->dtype; /* the one float that keeps its type */
        add_vector(p, prefix, "linear_attn.dt_bias", &l->gdn.dt_bias);
        add_vector(p, prefix, "linear_attn.norm.weight", &l->gdn.norm);
        add_matrix(p, prefix, "linear_attn.out_proj", &l->gdn.out);
    }
    add_vector(p, prefix, "post_attention_layernorm.weight", &l->post_norm);
    add_mlp(p, prefix, &l->mlp, c);
}

static void add_body(struct planner *p, const struct weights *w)
{
    const struct config *c = w->config;
    p->packed_body = is_packed(&w->embed);
    add_matrix(p, "language_model.model.", "embed_tokens", &w->embed);
    for (int i = 0; i < c->n_layers; i++) {
        char prefix[64];
        snprintf(prefix, sizeof prefix, "language_model.model.layers.%d.", i);
        add_layer(p, prefix, &w->layers[i], c);
    }
    add_vector(p, "language_model.model.", "norm.weight", &w->final_norm);
    if (!c->tied) add_matrix(p, "language_model.", "lm_head", &w->lm_head);
}

/* What must be added to what a head's norm has in its source. */
static int head_shift(const struct planner *p, const struct vector *v)
{
    return (p->o->norms == NORMS_ABSOLUTE) - !v->add_one;
}

static void check_head_source(struct planner *p, const struct weights *w)
{
    const struct matrix *m = &w->mtp.layer.attn.q;
    if (is_packed(m) && p->o->head_policy == HEAD_QUANTIZE_AT_LOAD)
        fail(p, ALULA_USAGE,
             "the head is packed already in its source (%d bits); the policy quantize_at_load needs a plain "
             "one",
             m->bits);
}

static void add_head(struct planner *p, const struct weights *w)
{
    p->in_head = true;
    check_head_source(p, w);
    add_matrix(p, "mtp.", "fc", &w->mtp.fc);
    add_vector(p, "mtp.", "pre_fc_norm_embedding.weight", &w->mtp.norm_embedding);
    add_vector(p, "mtp.", "pre_fc_norm_hidden.weight", &w->mtp.norm_hidden);
    add_layer(p, "mtp.layers.0.", &w->mtp.layer, w->config);
    add_vector(p, "mtp.", "norm.weight", &w->mtp.norm);
    for (size_t i = 0; i < p->n; i++) /* every vector of a head is a norm */
        if (p->items[i].vec) p->items[i].shift = head_shift(p, p->items[i].vec);
}

static uint64_t item_rows(const struct plan_item *it)
{
    return (uint64_t)it->n_mats * it->mats->rows * (it->mats2 ? 2 : 1);
}

uint64_t plan_item_bytes(const struct plan_item *it)
{
    if (it->vec) return it->shape[0] * (it->n_dims == 3 ? it->shape[1] : 1) * dtype_size(it->type);
    uint64_t values = item_rows(it) * it->mats->cols;
    if (!it->bits) return values * dtype_size(it->type);
    return values / 8 * (uint64_t)it->bits + 2 * values / (uint64_t)it->group * dtype_size(it->type);
}

static uint64_t source_bytes(const struct plan_item *it)
{
    if (it->vec) return it->vec->source->n_bytes;
    return (uint64_t)it->n_mats * (matrix_bytes(it->mats) + (it->mats2 ? matrix_bytes(it->mats2) : 0));
}

void plan_shard_name(char out[64], int i, int n)
{
    if (n == 1)
        snprintf(out, 64, "model.safetensors");
    else
        snprintf(out, 64, "model-%05d-of-%05d.safetensors", i + 1, n);
}

static void measure(struct plan *p)
{
    uint64_t in_shard = 0;
    for (size_t i = 0; i < p->n_body; i++) {
        struct plan_item *it = &p->body[i];
        uint64_t bytes = plan_item_bytes(it);
        if (in_shard && in_shard + bytes > SHARD_MAX) {
            p->n_shards++;
            in_shard = 0;
        }
        it->shard = p->n_shards;
        in_shard += bytes;
        p->body_bytes += bytes;
        p->source_bytes += source_bytes(it);
        p->parameters += it->vec ? bytes / dtype_size(it->type) : item_rows(it) * it->mats->cols;
    }
    p->n_shards++;
    for (size_t i = 0; i < p->n_head; i++) {
        p->head_bytes += plan_item_bytes(&p->head[i]);
        p->source_bytes += source_bytes(&p->head[i]);
    }
}

static bool check_routers(const struct weights *w, struct alula_error *e)
{
    if (w->config->n_experts && w->config->hidden % ROUTER_GROUP)
        return err_set(
            e, ALULA_MISMATCH,
            "the routers have %d columns; they are packed in groups of %d, so that must be a multiple of it",
            w->config->hidden, ROUTER_GROUP);
    return true;
}

static void check_overrides(struct planner *p)
{
    for (int i = 0; i < p->o->n_overrides; i++)
        if (!p->matched[i])
            fail(p, ALULA_USAGE, "override %s fits no matrix; alula forge --dry-run lists them",
                 p->o->overrides[i].pattern);
}

static void fill(struct planner *p, const struct weights *w)
{
    add_body(p, w);
    p->plan->body = p->items;
    p->plan->n_body = p->n;
    if (w->has_mtp) {
        p->items = NULL;
        p->n = p->cap = 0;
        add_head(p, w);
        p->plan->head = p->items;
        p->plan->n_head = p->n;
    }
    check_overrides(p);
}

bool plan_make(struct plan *ret, const struct weights *w, const struct plan_options *o, struct alula_error *e)
{
    if (!check_routers(w, e)) return false;
    struct plan plan = {0};
    struct planner p = {.plan = &plan, .o = o, .cast = w->config->cast, .e = e};
    p.matched = arena_array(&plan.arena, (size_t)o->n_overrides + 1, sizeof *p.matched);
    if (p.matched)
        fill(&p, w);
    else
        fail(&p, ALULA_NOMEM, "no memory to plan the artifact");
    if (p.failed) {
        plan_free(&plan);
        return false;
    }
    measure(&plan);
    *ret = plan;
    return true;
}

void plan_free(struct plan *p) { arena_free(&p->arena); }
