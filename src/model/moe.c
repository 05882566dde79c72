/* moe.c - the MLP of a layer: router, the chosen experts and the shared one; or one dense MLP, which is a
 * single expert that all rows use.
 *
 * Rows of a batch are grouped by expert, so that an expert's weights are read once. A row's sum runs in its
 * own order all the same: experts by descending probability (equal ones by number), the shared one last. */
#include "model/model_internal.h"

#define ROWS_UNIT 16
#define TAKEN     (-1.0f) /* no probability */

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
    int n_experts = f->model->config->n_experts, n_pairs = f->n_rows * slots, begin = 0;
    int *fill = f->group_fill;
    memset(fill, 0, ((size_t)n_experts + 1) * sizeof(*fill));
    for (int i = 0; i < n_pairs; i++) fill[f->expert_ids[i]]++;
    f->n_groups = 0;
    for (int e = 0; e <= n_experts; e++) {
        int n = fill[e];
        bool shared = w->type == MLP_MOE && e == n_experts;
        fill[e] = begin;
        if (n > 0)
            f->groups[f->n_groups++] = (struct expert_group){
                .gate = shared ? &w->shared_gate : &w->gate[e],
                .up = shared ? &w->shared_up : &w->up[e],
                .down = shared ? &w->shared_down : &w->down[e],
                .shared = shared,
                .begin = begin,
                .n = n,
            };
        begin += n;
    }
    for (int i = 0; i < n_pairs; i++) {
        int at = fill[f->expert_ids[i]]++;
        f->pair_of[i] = at;
        f->pair_row[at] = i / slots;
    }
}

/* The group's inputs side by side: f->u itself if they lie so, else a copy. */
static const float *group_input(const struct forward *f, const struct expert_group *g, float *copy)
{
    size_t hidden = (size_t)f->model->config->hidden;
    const int *rows = f->pair_row + g->begin;
    if (rows[g->n - 1] - rows[0] == g->n - 1) return f->u + (size_t)rows[0] * hidden;
    for (int i = 0; i < g->n; i++)
        memcpy(copy + (size_t)i * hidden, f->u + (size_t)rows[i] * hidden, hidden * sizeof(float));
    return copy;
}

/* The same of f->input8. Prepared rows stand n_rows apart, a copy g->n. */
static const struct q8 *group_input8(const struct forward *f, const struct expert_group *g, struct q8 *copy,
                                     size_t *ldx)
{
    const int *rows = f->pair_row + g->begin;
    *ldx = (size_t)f->n_rows;
    if (rows[g->n - 1] - rows[0] == g->n - 1) return f->input8 + rows[0];
    *ldx = (size_t)g->n;
    for (size_t b = 0; b < q8_count((size_t)f->model->config->hidden); b++)
        for (int i = 0; i < g->n; i++)
            copy[b * (size_t)g->n + (size_t)i] = f->input8[b * (size_t)f->n_rows + (size_t)rows[i]];
    return copy;
}

/* silu(gate x) * (up x): a thread computes a slice of every expert's hidden layer. */
static void hidden_job(void *arg, int thread, int n_threads)
{
    const struct moe_work *work = arg;
    const struct forward *f = work->f;
    size_t inter = (size_t)work->inter, hidden = (size_t)f->model->config->hidden;
    bool fast = f->model->mode == MODEL_FAST;
    for (int i = 0; i < f->n_groups; i++) {
        const struct expert_group *g = &f->groups[i];
        int begin, end;
        pool_share((int)g->gate->rows, ROWS_UNIT, thread, n_threads, &begin, &end);
        if (begin == end) continue;
        forward_do(f, thread, g->shared ? PROFILE_SHARED : PROFILE_EXPERTS_IN);
        const float *x = group_input(f, g, forward_scratch(f, thread));
        size_t ldx8 = 0;
        const struct q8 *x8 =
            fast ? group_input8(
                       f, g, (struct q8 *)(void *)(forward_scratch(f, thread) + (size_t)f->max_rows * hidden),
                       &ldx8)
                 : NULL;
        float *gate = f->pair_gate + (size_t)g->begin * inter, *up = f->pair_up + (size_t)g->begin * inter;
        linear_rows(f, thread, g->gate, begin, end, x, g->gate->cols, x8, ldx8, g->n, gate, inter);
        linear_rows(f, thread, g->up, begin, end, x, g->up->cols, x8, ldx8, g->n, up, inter);
        for (int j = 0; j < g->n; j++) {
            size_t at = (size_t)j * inter + (size_t)begin;
            f->model->kern.silu_mul(gate + at, gate + at, up + at, (size_t)(end - begin));
        }
    }
}

/* Where a group's hidden layers stand in f->pair8. */
static struct q8 *group_pair8(const struct forward *f, const struct expert_group *g, int inter)
{
    return f->pair8 + (size_t)g->begin * q8_count((size_t)inter);
}

/* Fast mode: the hidden layers as int8, for all threads to read. */
static void quantize_job(void *arg, int thread, int n_threads)
{
    const struct moe_work *work = arg;
    const struct forward *f = work->f;
    int begin, end;
    forward_do(f, thread, PROFILE_QUANTIZE);
    pool_share(f->n_groups, 1, thread, n_threads, &begin, &end);
    for (int i = begin; i < end; i++) {
        const struct expert_group *g = &f->groups[i];
        linear_to_q8(f, f->pair_gate + (size_t)g->begin * (size_t)work->inter, (size_t)work->inter, g->n,
                     (int)g->down->cols, group_pair8(f, g, work->inter));
    }
}

/* The experts' outputs and their weighted sum: a thread computes a slice of the hidden size. */
static void output_job(void *arg, int thread, int n_threads)
{
    const struct moe_work *work = arg;
    const struct forward *f = work->f;
    size_t hidden = (size_t)f->model->config->hidden, inter = (size_t)work->inter;
    int begin, end;
    pool_share((int)hidden, ROWS_UNIT, thread, n_threads, &begin, &end);
    for (int i = 0; i < f->n_groups; i++) {
        const struct expert_group *g = &f->groups[i];
        forward_do(f, thread, g->shared ? PROFILE_SHARED : PROFILE_EXPERTS_OUT);
        linear_rows(f, thread, g->down, begin, end, f->pair_gate + (size_t)g->begin * inter, inter,
                    group_pair8(f, g, work->inter), (size_t)g->n, g->n,
                    f->pair_out + (size_t)g->begin * hidden, hidden);
    }
    forward_do(f, thread, PROFILE_COMBINE);
    for (int r = 0; r < f->n_rows; r++) {
        float *out = f->out + (size_t)r * hidden, *x = f->x + (size_t)r * hidden;
        for (int j = begin; j < end; j++) out[j] = 0;
        for (int s = 0; s < work->slots; s++) {
            int i = r * work->slots + s;
            const float *y = f->pair_out + (size_t)f->pair_of[i] * hidden;
            float weight = f->expert_weights[i];
            for (int j = begin; j < end; j++) out[j] += weight * y[j];
        }
        for (int j = begin; j < end; j++) x[j] += out[j];
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
    }
    group_pairs(f, w, work.slots);
    linear_prepare(f, f->u, f->n_rows, f->model->config->hidden);
    forward_job(f, hidden_job, &work);
    if (f->model->mode == MODEL_FAST) {
        if (f->n_rows <= VERIFY_ROWS_MAX) /* too little for waking others */
            quantize_job(&work, 0, 1);
        else
            forward_job(f, quantize_job, &work);
    }
    forward_job(f, output_job, &work);
    forward_tell(f, "moe", layer, f->out, f->model->config->hidden);
}
