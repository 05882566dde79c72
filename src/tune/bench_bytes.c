/* bench_bytes.c - what a step must read and multiply, by the shapes of the weights. Measures nothing. */
#include "tune/bench.h"

typedef double measure(const struct matrix *m);
static double bytes_of(const struct matrix *m) { return (double)matrix_bytes(m); }
static double values_of(const struct matrix *m) { return (double)m->rows * m->cols; }

/* The sum over all matrices of a layer that `experts` routed experts are used of. */
static double layer_sum(const struct layer_weights *l, double experts, measure *of)
{
    const struct mlp_weights *m = &l->mlp;
    double fixed = 0, expert = of(&m->gate[0]) + of(&m->up[0]) + of(&m->down[0]);
    if (l->type == LAYER_FULL_ATTENTION)
        fixed += of(&l->attn.q) + of(&l->attn.k) + of(&l->attn.v) + of(&l->attn.o);
    else
        fixed += of(&l->gdn.qkv) + of(&l->gdn.z) + of(&l->gdn.b) + of(&l->gdn.a) + of(&l->gdn.out);
    if (m->type == MLP_DENSE) return fixed + expert;
    fixed += of(&m->router) + of(&m->shared_expert_gate) + of(&m->shared_gate) + of(&m->shared_up) +
             of(&m->shared_down);
    return fixed + experts * expert;
}

static double layers_sum(const struct weights *w, double experts, measure *of)
{
    double sum = 0;
    for (int i = 0; i < w->config->n_layers; i++) sum += layer_sum(&w->layers[i], experts, of);
    return sum;
}

static double embedding_bytes(const struct weights *w, int rows)
{
    return (double)rows * bytes_of(&w->embed) / w->embed.rows;
}

double bench_trunk_bytes(const struct weights *w, int rows, double experts)
{
    return embedding_bytes(w, rows) + bytes_of(&w->lm_head) + layers_sum(w, experts, bytes_of);
}

double bench_draft_bytes(const struct weights *w, int head_rows)
{
    return embedding_bytes(w, 1) + bytes_of(&w->mtp.fc) +
           layer_sum(&w->mtp.layer, w->config->experts_per_tok, bytes_of) +
           bytes_of(&w->lm_head) * head_rows / w->lm_head.rows;
}

double bench_trunk_macs(const struct weights *w, int n, int n_logits)
{
    return n * layers_sum(w, w->config->experts_per_tok, values_of) + n_logits * values_of(&w->lm_head);
}
