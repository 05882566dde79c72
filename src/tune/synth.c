/* synth.c - random weights in a known shape: lays all packed matrices out in one map, then fills them with all
 * threads. Knows shapes and formats; must not know what is measured with them. */
#include "tune/synth.h"

#include <math.h>
#include <stdio.h>

#include "base/mem.h"

#define GROUP      64
#define PACKED     4   /* bits of everything but the routers */
#define ROUTER     8   /* bits of router and shared expert's gate, as mlx-lm leaves them */
#define UNIFORM    4.6 /* standard deviation of a uniform code of 4 bits */
#define EMBED_UNIT 0.25f
#define MARK_UNIT  0.0625f
#define ROWS_UNIT  16

/* What a matrix is filled with. */
enum filling { FILL_RANDOM, FILL_EMBED, FILL_ROUTER };

struct task {
    struct matrix m;
    enum filling filling;
    float scale;
};

struct maker {
    struct synth *s;
    struct task *tasks; /* NULL in the first round, which only counts */
    size_t n_tasks, used;
    bool failed;
};

void synth_shape(struct config *ret, enum synth_shape shape, int n_layers)
{
    bool large = shape == SYNTH_122B;
    int all = large ? 48 : 40;
    *ret = (struct config){
        .model_type = "qwen3_5_moe_text",
        .n_layers = n_layers ? n_layers : all,
        .hidden = large ? 3072 : 2048,
        .vocab = 248320,
        .max_position = 262144,
        .rms_eps = 1e-6,
        .n_heads = large ? 32 : 16,
        .n_kv_heads = 2,
        .head_dim = 256,
        .rotary_dim = 64,
        .rope_theta = 1e7,
        .lin_k_heads = 16,
        .lin_v_heads = large ? 64 : 32,
        .lin_k_dim = 128,
        .lin_v_dim = 128,
        .conv_kernel = 4,
        .n_experts = 256,
        .experts_per_tok = 8,
        .moe_inter = large ? 1024 : 512,
        .shared_inter = large ? 1024 : 512,
        .cast = DT_BF16,
    };
}

/* ---- layout -------------------------------------------------------------------------------------------- */

static const void *take(struct maker *k, size_t n)
{
    unsigned char *p = k->s->map ? (unsigned char *)k->s->map + k->used : NULL;
    k->used += (n + 63) / 64 * 64;
    return p;
}

/* gain: what the product makes of an input of standard deviation 1. Powers of two have exact negative multiples in
 * BF16, and so the mean is zero to the last bit. */
static struct matrix packed(struct maker *k, int rows, int cols, int bits, double gain, enum filling filling)
{
    struct matrix m = {.type = DT_U32,
                       .scale_type = DT_BF16,
                       .bits = (uint8_t)bits,
                       .group = GROUP,
                       .rows = (uint32_t)rows,
                       .cols = (uint32_t)cols};
    size_t scales = (size_t)rows * (size_t)(cols / GROUP) * 2;
    m.data = take(k, matrix_row_bytes(&m) * m.rows);
    m.scales = take(k, scales);
    m.biases = take(k, scales);
    float scale = filling == FILL_EMBED    ? EMBED_UNIT
                  : filling == FILL_ROUTER ? MARK_UNIT
                                           : exp2f(rintf(log2f((float)(gain / (UNIFORM * sqrt(cols))))));
    if (k->tasks) k->tasks[k->n_tasks] = (struct task){m, filling, scale};
    k->n_tasks++;
    return m;
}

static struct matrix random_matrix(struct maker *k, int rows, int cols, double gain)
{
    return packed(k, rows, cols, PACKED, gain, FILL_RANDOM);
}

static struct vector constant(struct maker *k, int n, float value)
{
    float *gain = arena_array(&k->s->weights.arena, (size_t)n, sizeof *gain);
    if (!gain) k->failed = true;
    for (int i = 0; gain && i < n; i++) gain[i] = value;
    return (struct vector){.gain = gain};
}

/* n equal matrices of rows rows, behind each other as in a file of stacked experts. */
static struct matrix *stack(struct maker *k, int n, int rows, int cols, double gain)
{
    struct matrix whole = random_matrix(k, n * rows, cols, gain);
    struct matrix *each = arena_array(&k->s->weights.arena, (size_t)n, sizeof *each);
    if (!each) k->failed = true;
    for (int i = 0; each && i < n; i++) {
        size_t row = (size_t)i * (size_t)rows, scale = row * (size_t)(cols / GROUP) * 2;
        each[i] = whole;
        each[i].rows = (uint32_t)rows;
        if (!whole.data) continue; /* a plan: shapes alone */
        each[i].data = (const unsigned char *)whole.data + row * matrix_row_bytes(&whole);
        each[i].scales = (const unsigned char *)whole.scales + scale;
        each[i].biases = (const unsigned char *)whole.biases + scale;
    }
    return each;
}

/* What a mixer or an MLP adds to the residual stream, beside marks of about 2. */
#define ADDED 0.02

static void make_mixer(struct maker *k, struct layer_weights *l)
{
    const struct config *c = &k->s->config;
    int h = c->hidden;
    if (l->type == LAYER_FULL_ATTENTION) {
        int q = c->n_heads * c->head_dim, kv = c->n_kv_heads * c->head_dim;
        l->attn.q = random_matrix(k, 2 * q, h, 1);
        l->attn.k = random_matrix(k, kv, h, 1);
        l->attn.v = random_matrix(k, kv, h, 1);
        l->attn.o = random_matrix(k, h, q, ADDED);
        l->attn.q_norm = constant(k, c->head_dim, 1);
        l->attn.k_norm = constant(k, c->head_dim, 1);
        return;
    }
    int key = c->lin_k_heads * c->lin_k_dim, value = c->lin_v_heads * c->lin_v_dim,
        channels = 2 * key + value;
    l->gdn.qkv = random_matrix(k, channels, h, 1);
    l->gdn.z = random_matrix(k, value, h, 1);
    l->gdn.b = random_matrix(k, c->lin_v_heads, h, 1);
    l->gdn.a = random_matrix(k, c->lin_v_heads, h, 1);
    l->gdn.out = random_matrix(k, h, value, ADDED);
    l->gdn.conv = constant(k, channels * c->conv_kernel, 0.5f);
    l->gdn.a_log = constant(k, c->lin_v_heads, 0);
    l->gdn.dt_bias = constant(k, c->lin_v_heads, 0);
    l->gdn.norm = constant(k, c->lin_v_dim, 1);
}

static void make_layer(struct maker *k, struct layer_weights *l, enum layer_type type)
{
    const struct config *c = &k->s->config;
    int h = c->hidden;
    l->type = type;
    l->input_norm = constant(k, h, 1);
    l->post_norm = constant(k, h, 1);
    make_mixer(k, l);
    l->mlp.type = MLP_MOE;
    l->mlp.router = packed(k, c->n_experts, h, ROUTER, 1, FILL_ROUTER);
    l->mlp.shared_expert_gate = packed(k, 1, h, ROUTER, 1, FILL_ROUTER);
    l->mlp.gate = stack(k, c->n_experts, c->moe_inter, h, 1);
    l->mlp.up = stack(k, c->n_experts, c->moe_inter, h, 1);
    l->mlp.down = stack(k, c->n_experts, h, c->moe_inter, ADDED);
    l->mlp.shared_gate = random_matrix(k, c->shared_inter, h, 1);
    l->mlp.shared_up = random_matrix(k, c->shared_inter, h, 1);
    l->mlp.shared_down = random_matrix(k, h, c->shared_inter, ADDED);
}

static void make_all(struct maker *k)
{
    struct synth *s = k->s;
    struct weights *w = &s->weights;
    int h = s->config.hidden;
    w->embed = packed(k, s->config.vocab, h, PACKED, 1, FILL_EMBED);
    w->lm_head = random_matrix(k, s->config.vocab, h, 1);
    w->final_norm = constant(k, h, 1);
    for (int i = 0; i < s->config.n_layers; i++) make_layer(k, &w->layers[i], s->config.layer_types[i]);
    w->has_mtp = true;
    w->mtp.fc = random_matrix(k, h, 2 * h, 1);
    w->mtp.norm_embedding = constant(k, h, 1);
    w->mtp.norm_hidden = constant(k, h, 1);
    w->mtp.norm = constant(k, h, 1);
    make_layer(k, &w->mtp.layer, LAYER_FULL_ATTENTION);
}

/* ---- filling ------------------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t v)
{
    v = (v ^ v >> 30) * 0xbf58476d1ce4e5b9u;
    v = (v ^ v >> 27) * 0x94d049bb133111ebu;
    return v ^ v >> 31;
}

static void set_code(unsigned char *row, int col, unsigned code)
{
    int shift = col % 2 * 4;
    row[col / 2] = (unsigned char)((row[col / 2] & ~(15 << shift)) | code << shift);
}

/* Columns [0, n_experts) of an embedding: the class's experts at the top code, the others close to nothing. */
static void mark_class(const struct synth *s, uint32_t token, unsigned char *row)
{
    int n = s->config.n_experts;
    uint64_t first = (uint64_t)token * (uint64_t)s->expert_step;
    for (int i = 0; i < n; i++) set_code(row, i, 7 + (row[i / 2] >> i % 2 * 4 & 1));
    for (int i = 0; i < s->config.experts_per_tok; i++)
        set_code(row, (int)((first + (uint64_t)i) % (uint64_t)n), 15);
}

static void fill_row(const struct synth *s, const struct task *t, uint64_t seed, uint32_t r)
{
    size_t bytes = matrix_row_bytes(&t->m), groups = t->m.cols / GROUP;
    unsigned char *row = (unsigned char *)t->m.data + r * bytes;
    float bias = t->filling == FILL_ROUTER ? -128 * t->scale : -7.5f * t->scale;
    uint16_t pair[2] = {f32_to_bf16(t->scale), f32_to_bf16(bias)};
    for (size_t i = 0; i < bytes; i += 8) {
        uint64_t v = mix((seed << 40) + r * bytes + i);
        memcpy(row + i, &v, 8);
    }
    if (t->filling == FILL_EMBED) mark_class(s, r, row);
    if (t->filling == FILL_ROUTER) { /* reads its own mark and nothing else */
        memset(row, 128, bytes);
        row[r] = 255;
    }
    for (size_t g = 0; g < groups; g++) {
        memcpy((unsigned char *)t->m.scales + 2 * (r * groups + g), &pair[0], 2);
        memcpy((unsigned char *)t->m.biases + 2 * (r * groups + g), &pair[1], 2);
    }
}

static void fill_job(void *arg, int thread, int n_threads)
{
    const struct maker *k = arg;
    for (size_t i = 0; i < k->n_tasks; i++) {
        int begin, end;
        pool_share((int)k->tasks[i].m.rows, ROWS_UNIT, thread, n_threads, &begin, &end);
        for (int r = begin; r < end; r++) fill_row(k->s, &k->tasks[i], i + 1, (uint32_t)r);
    }
}

/* ---- the whole ----------------------------------------------------------------------------------------- */

static bool check_shape(const struct config *c, double overlap, struct alula_error *e)
{
    const int inputs[] = {c->hidden, c->moe_inter, c->shared_inter, c->n_heads * c->head_dim,
                          c->lin_v_heads * c->lin_v_dim};
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++)
        if (inputs[i] < GROUP || inputs[i] % GROUP != 0)
            return err_set(e, ALULA_USAGE, "a synthetic model's widths must be multiples of %d; one is %d",
                           GROUP, inputs[i]);
    if (c->n_experts < 1 || c->n_experts > c->hidden || c->experts_per_tok < 1 ||
        c->experts_per_tok > c->n_experts)
        return err_set(e, ALULA_USAGE,
                       "a synthetic model of width %d cannot have %d experts, %d of them at a time",
                       c->hidden, c->n_experts, c->experts_per_tok);
    if (c->n_layers < 1 || c->n_layers > CONFIG_LAYERS_MAX)
        return err_set(e, ALULA_LIMIT, "a synthetic model has 1 to %d layers, not %d", CONFIG_LAYERS_MAX,
                       c->n_layers);
    if (!(overlap >= 0 && overlap <= 1))
        return err_set(e, ALULA_USAGE, "the experts that neighbours share are a share from 0 to 1, not %g",
                       overlap);
    return true;
}

static bool make_types(struct synth *s)
{
    struct config *c = &s->config;
    size_t n = (size_t)c->n_layers;
    c->layer_types = arena_array(&s->weights.arena, n, sizeof *c->layer_types);
    c->mlp_types = arena_array(&s->weights.arena, n, sizeof *c->mlp_types);
    s->weights.layers = arena_array(&s->weights.arena, n, sizeof *s->weights.layers);
    if (!c->layer_types || !c->mlp_types || !s->weights.layers) return false;
    for (size_t i = 0; i < n; i++) {
        c->layer_types[i] = i % 4 == 3 ? LAYER_FULL_ATTENTION : LAYER_LINEAR_ATTENTION;
        c->mlp_types[i] = MLP_MOE;
    }
    return true;
}

/* Lays out, maps, lays out again, fills. */
static bool make(struct synth *s, struct pool *pool)
{
    struct maker k = {.s = s};
    make_all(&k);
    s->map_bytes = k.used;
    k.tasks = mem_zalloc(k.n_tasks, sizeof *k.tasks);
    s->map = mem_map(s->map_bytes);
    bool ok = !k.failed && k.tasks && s->map;
    if (ok) {
        k.n_tasks = k.used = 0;
        make_all(&k);
        ok = !k.failed;
    }
    if (ok) pool_run(pool, fill_job, &k);
    mem_free(k.tasks);
    return ok;
}

/* A shape without memory for its matrices yet. */
static struct synth *begin(const struct config *shape, double overlap, struct alula_error *e)
{
    if (!check_shape(shape, overlap, e)) return NULL;
    struct synth *s = mem_zalloc(1, sizeof *s);
    if (s) {
        s->config = *shape;
        s->weights.config = &s->config;
        s->expert_step = (int)lrint((1 - overlap) * shape->experts_per_tok);
    }
    if (s && make_types(s)) return s;
    synth_free(s);
    err_set(e, ALULA_NOMEM, "no memory for a synthetic model");
    return NULL;
}

bool synth_plan(struct synth **ret, const struct config *shape, struct alula_error *e)
{
    struct synth *s = begin(shape, 0, e);
    if (!s) return false;
    struct maker k = {.s = s};
    make_all(&k);
    s->map_bytes = k.used;
    if (k.failed) {
        synth_free(s);
        return err_set(e, ALULA_NOMEM, "no memory for a synthetic model");
    }
    *ret = s;
    return true;
}

bool synth_bytes(size_t *ret, const struct config *shape, struct alula_error *e)
{
    struct synth *s;
    if (!synth_plan(&s, shape, e)) return false;
    *ret = s->map_bytes;
    synth_free(s);
    return true;
}

bool synth_create(struct synth **ret, const struct config *shape, double expert_overlap, struct pool *pool,
                  struct alula_error *e)
{
    struct synth *s = begin(shape, expert_overlap, e);
    if (!s) return false;
    if (!make(s, pool)) {
        size_t bytes = s->map_bytes;
        synth_free(s);
        return err_set(e, ALULA_NOMEM, "no memory for a synthetic model of %zu MB", bytes / 1000000);
    }
    *ret = s;
    return true;
}

void synth_free(struct synth *s)
{
    if (!s) return;
    if (s->map) mem_unmap(s->map, s->map_bytes);
    arena_free(&s->weights.arena);
    mem_free(s);
}
