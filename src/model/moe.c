/* moe.c - the MLP of a layer: router, the chosen experts and the shared one; or one dense MLP, which is a
 * single expert that all rows use.
 *
 * Rows of a batch are grouped by expert, so that an expert's weights are read once. A row's sum runs in its
 * own order all the same: experts by descending probability (equal ones by number), the shared one last. */
#include "model/model_internal.h"

#define TAKEN       (-1.0f) /* no probability */
#define HIDDEN_ROWS 64      /* of a hidden layer, that a thread takes at least: whole groups of int8 */
#define OUTPUT_ROWS 64      /* of all experts, likewise: they are short */

struct moe_work {
    const struct forward *f;
    int inter, slots;
};

/* Softmax over all experts; the best ones, their weights adding up to 1. */
static void route_row(const struct forward *f, int r)
{
    const struct config *c = f->model->config;
    int slots = f->model->slots, chosen = c->experts_per_tok;
    float *p = f->router + (size_t)r * (size_t)c->n_experts;
    int *ids = f->expert_ids + (size_t)r * (size_t)slots;
    float *weights = f->expert_weights + (size_t)r * (size_t)slots, sum = 0;
    f->model->kern.softmax(p, (size_t)c->n_experts);
    for (int i = 0; i < chosen; i++) {
        int best = -1;
        for (int e = 0; e < c->n_experts; e++)
            if (p[e] != TAKEN && (best < 0 || p[e] > p[best])) best = e;
        ids[i] = best;
        weights[i] = p[best];
        sum += p[best];
        p[best] = TAKEN;
    }
    for (int i = 0; i < chosen; i++) weights[i] /= sum;
    float one = 1, *shared = &weights[chosen];
    ids[chosen] = c->n_experts;
    f->model->kern.sigmoid_mul(shared, &f->shared_gate[r], &one, 1);
}

/* Sorts the pairs by expert: fills groups, pair_row, pair_of. Expert number n_experts is the shared one. */
static void group_pairs(struct forward *f, const struct mlp_weights *w, int slots)
{
    int n_experts = f->model->config->n_experts, n_pairs = f->n_rows * slots, begin = 0, block = 0;
    int *fill = f->group_fill;
    memset(fill, 0, ((size_t)n_experts + 1) * sizeof(*fill));
    for (int i = 0; i < n_pairs; i++) fill[f->expert_ids[i]]++;
    f->n_groups = 0;
    for (int e = 0; e <= n_experts; e++) {
        int n = fill[e];
        bool shared = w->type == MLP_MOE && e == n_experts;
        fill[e] = begin;
        if (n > 0) {
            f->groups[f->n_groups++] = (struct expert_group){
                .gate = shared ? &w->shared_gate : &w->gate[e],
                .up = shared ? &w->shared_up : &w->up[e],
                .down = shared ? &w->shared_down : &w->down[e],
                .shared = shared,
                .begin = begin,
                .n = n,
                .block = block,
            };
            block += ((int)f->groups[f->n_groups - 1].gate->rows + HIDDEN_ROWS - 1) / HIDDEN_ROWS;
        }
        begin += n;
    }
    f->groups[f->n_groups].block = block;
    for (int i = 0; i < n_pairs; i++) {
        int at = fill[f->expert_ids[i]]++;
        f->pair_of[i] = at;
        f->pair_row[at] = i / slots;
    }
}

/* The inputs of a group side by side, as W reads them: float32, or int8 in fast mode. */
struct group_input {
    const float *x;      /* [n][hidden] */
    const struct q8 *x8; /* [q8_count(hidden)][ldx8] */
    size_t ldx8;
};

/* What f has, if the rows lie so there, else a copy in the thread's scratch. */
static struct group_input group_input(const struct forward *f, const struct expert_group *g, int thread)
{
    size_t hidden = (size_t)f->model->config->hidden, n = (size_t)g->n;
    const int *rows = f->pair_row + g->begin;
    if (rows[n - 1] - rows[0] == g->n - 1)
        return (struct group_input){f->u + (size_t)rows[0] * hidden, f->input8 ? f->input8 + rows[0] : NULL,
                                    (size_t)f->n_rows};
    float *copy = forward_scratch(f, thread);
    struct q8 *copy8 = (struct q8 *)(void *)(copy + (size_t)f->max_rows * hidden);
    bool reads_q8 = f->model->mode == MODEL_FAST && g->gate->type == DT_U32 && g->up->type == DT_U32;
    for (size_t i = 0; i < n && !reads_q8; i++)
        memcpy(copy + i * hidden, f->u + (size_t)rows[i] * hidden, hidden * sizeof(float));
    for (size_t b = 0; f->input8 && b < q8_count(hidden); b++)
        for (size_t i = 0; i < n; i++) copy8[b * n + i] = f->input8[b * (size_t)f->n_rows + (size_t)rows[i]];
    return (struct group_input){copy, copy8, n};
}

/* Where a group's hidden layers stand in f->pair8. */
static struct q8 *group_pair8(const struct forward *f, const struct expert_group *g, int inter)
{
    return f->pair8 + (size_t)g->begin * q8_count((size_t)inter);
}

/* silu(gate x) * (up x) of rows [begin, end) of a group's hidden layer; in fast mode also as int8. */
static void hidden_rows(const struct moe_work *work, const struct expert_group *g, int begin, int end,
                        struct mat_at next, int thread)
{
    const struct forward *f = work->f;
    size_t inter = (size_t)work->inter, hidden = (size_t)f->model->config->hidden;
    float *gate = f->pair_gate + (size_t)g->begin * inter, *up = f->pair_up + (size_t)g->begin * inter;
    forward_do(f, thread, g->shared ? PROFILE_SHARED : PROFILE_EXPERTS_IN);
    struct group_input in = group_input(f, g, thread);
    linear_rows(f, thread, g->gate, begin, end, (struct mat_at){g->up, (uint32_t)begin}, in.x, hidden, in.x8,
                in.ldx8, g->n, gate, inter);
    linear_rows(f, thread, g->up, begin, end, next, in.x, hidden, in.x8, in.ldx8, g->n, up, inter);
    for (int j = 0; j < g->n; j++) {
        size_t at = (size_t)j * inter + (size_t)begin;
        f->model->kern.silu_mul(gate + at, gate + at, up + at, (size_t)(end - begin));
        if (f->pair8)
            f->model->kern.q8_from(group_pair8(f, g, work->inter) + begin / 64 * g->n + j, (size_t)g->n,
                                   gate + at, (size_t)(end - begin));
    }
}

/* The group that a block of rows of the hidden layers lies in; groups[i].block says where each begins. */
static const struct expert_group *group_at(const struct forward *f, int block)
{
    const struct expert_group *g = f->groups;
    while (g[1].block <= block) g++;
    return g;
}

/* Blocks [begin, end) of the groups' hidden layers; `after` is the thread's next one, or the end of all. */
static void hidden_blocks(const struct moe_work *work, int begin, int end, int after, int thread)
{
    const struct forward *f = work->f;
    int all = f->groups[f->n_groups].block;
    for (int stop; begin < end; begin = stop) {
        const struct expert_group *g = group_at(f, begin);
        struct mat_at next = {0};
        stop = g[1].block < end ? g[1].block : end;
        int then = stop < end ? stop : after;
        if (then < all) {
            const struct expert_group *ahead = group_at(f, then);
            next = (struct mat_at){ahead->gate, (uint32_t)((then - ahead->block) * HIDDEN_ROWS)};
        }
        int rows = (stop - g->block) * HIDDEN_ROWS, most = (int)g->gate->rows;
        hidden_rows(work, g, (begin - g->block) * HIDDEN_ROWS, rows < most ? rows : most, next, thread);
    }
}

static void hidden_job(void *arg, int thread, int n_threads)
{
    const struct moe_work *work = arg;
    const struct forward *f = work->f;
    int begin, end, next_begin, next_end;
    (void)n_threads;
    bool more = pool_take(f->pool, thread, &begin, &end);
    while (more) {
        more = pool_take(f->pool, thread, &next_begin, &next_end);
        hidden_blocks(work, begin, end, more ? next_begin : f->groups[f->n_groups].block, thread);
        begin = next_begin;
        end = next_end;
    }
}

/* Columns [begin, end) of the weighted sums, added to f->x. */
static void combine(const struct moe_work *work, int begin, int end)
{
    const struct forward *f = work->f;
    const struct kern *kern = &f->model->kern;
    size_t hidden = (size_t)f->model->config->hidden, n = (size_t)(end - begin);
    for (int r = 0; r < f->n_rows; r++) {
        float *out = f->out + (size_t)r * hidden + begin, *x = f->x + (size_t)r * hidden + begin;
        memset(out, 0, n * sizeof *out);
        for (int s = 0; s < work->slots; s++) {
            int i = r * work->slots + s;
            kern->axpy(f->expert_weights[i], f->pair_out + (size_t)f->pair_of[i] * hidden + begin, out, n);
        }
        kern->axpy(1, out, x, n);
    }
}

/* Rows [begin, end) of all experts' outputs and of their weighted sum; `after` is the thread's next row, -1 for none. */
static void output_rows(const struct moe_work *work, int begin, int end, int after, int thread)
{
    const struct forward *f = work->f;
    size_t hidden = (size_t)f->model->config->hidden, inter = (size_t)work->inter;
    for (int i = 0; i < f->n_groups; i++) {
        const struct expert_group *g = &f->groups[i];
        struct mat_at next = {0};
        if (i + 1 < f->n_groups)
            next = (struct mat_at){f->groups[i + 1].down, (uint32_t)begin};
        else if (after >= 0)
            next = (struct mat_at){f->groups[0].down, (uint32_t)after};
        forward_do(f, thread, g->shared ? PROFILE_SHARED : PROFILE_EXPERTS_OUT);
        linear_rows(f, thread, g->down, begin, end, next, f->pair_gate + (size_t)g->begin * inter, inter,
                    group_pair8(f, g, work->inter), (size_t)g->n, g->n,
                    f->pair_out + (size_t)g->begin * hidden, hidden);
    }
    forward_do(f, thread, PROFILE_COMBINE);
    combine(work, begin, end);
}

static void output_job(void *arg, int thread, int n_threads)
{
    const struct moe_work *work = arg;
    int hidden = work->f->model->config->hidden, begin, end, next_begin, next_end;
    (void)n_threads;
    bool more = pool_take(work->f->pool, thread, &begin, &end);
    while (more) {
        more = pool_take(work->f->pool, thread, &next_begin, &next_end);
        int last = end * OUTPUT_ROWS;
        output_rows(work, begin * OUTPUT_ROWS, last < hidden ? last : hidden,
                    more ? next_begin * OUTPUT_ROWS : -1, thread);
        begin = next_begin;
        end = next_end;
    }
}

static void route(struct forward *f, const struct mlp_weights *w, int layer)
{
    const struct config *c = f->model->config;
    const struct linear in[2] = {{&w->router, f->router}, {&w->shared_expert_gate, f->shared_gate}};
    linear_run(f, PROFILE_ROUTER, f->u, f->n_rows, in, 2);
    forward_tell(f, "router_logits", layer, f->router, c->n_experts);
    forward_do(f, 0, PROFILE_CHOOSE);
    for (int r = 0; r < f->n_rows; r++) route_row(f, r);
    if (!f->tap) return;
    for (int i = 0; i < f->n_rows * f->model->slots; i++) f->pair_out[i] = (float)f->expert_ids[i];
    forward_tell(f, "expert_ids", layer, f->pair_out, f->model->slots);
    forward_tell(f, "expert_weights", layer, f->expert_weights, f->model->slots);
}

void moe_run(struct forward *f, int layer)
{
    const struct mlp_weights *w = &f->model->layers[layer].w->mlp;
    struct moe_work work = {
        .f = f, .inter = f->model->inter, .slots = w->type == MLP_MOE ? f->model->slots : 1};
    if (w->type == MLP_MOE) {
        route(f, w, layer);
    } else {
        for (int r = 0; r < f->n_rows; r++) {
            f->expert_ids[r] = 0;
            f->expert_weights[r] = 1;
        }
        linear_prepare(f, f->u, f->n_rows, f->model->config->hidden); /* the router has done so */
    }
    group_pairs(f, w, work.slots);
    pool_deal(f->pool, f->groups[f->n_groups].block);
    forward_job(f, hidden_job, &work);
    pool_deal(f->pool, (f->model->config->hidden + OUTPUT_ROWS - 1) / OUTPUT_ROWS);
    forward_job(f, output_job, &work);
    forward_tell(f, "moe", layer, f->out, f->model->config->hidden);
}
