/* drift.c - compares two trunks, matrix by matrix (see drift.h).
 *
 * Owns which values belong to which class and the sums over them. Does not know what a head makes of it.
 *
 * Rows are converted to float32 a pair at a time and summed by the kernels' dot product, which has one order;
 * the rows' sums are added in the order of the rows in double. So no thread count changes a figure. */
#include "forge/drift.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "forge/stats.h"
#include "kern/kern.h"

#define BLOCK 256 /* rows whose sums are kept until they are added in order */

struct sums {
    double aa, bb, ab, dd; /* of a: the trunk, b: the donor, d: a - b */
    uint64_t values;
    bool differ, dequantized;
};

struct comparison {
    const struct weights *trunk, *donor;
    struct pool *pool;
    struct kern kern;
    const struct watch *watch;
    uint64_t n_entries; /* that the result will have, about */
    struct drift out;
    size_t cap;
    struct sums now; /* of the entry at hand */
    float *rows;     /* [threads][2][widest] */
    size_t widest;
    double block[BLOCK][4];
    float *row_change; /* [vocab], of the embedding */
};

/* ---- dimensions ---------------------------------------------------------------------------------------- */

struct names {
    char text[600];
    int n;
};

static void compare_number(struct names *l, const char *what, int trunk, int donor)
{
    size_t len = strlen(l->text);
    if (trunk == donor || len + 1 >= sizeof l->text) return;
    snprintf(l->text + len, sizeof l->text - len, "%s%s %d (donor: %d)", l->n++ ? ", " : "", what, trunk,
             donor);
}

static bool same_dimensions(const struct config *a, const struct config *b, struct alula_error *e)
{
    struct names l = {0};
    compare_number(&l, "num_hidden_layers", a->n_layers, b->n_layers);
    compare_number(&l, "hidden_size", a->hidden, b->hidden);
    compare_number(&l, "vocab_size", a->vocab, b->vocab);
    compare_number(&l, "num_attention_heads", a->n_heads, b->n_heads);
    compare_number(&l, "num_key_value_heads", a->n_kv_heads, b->n_kv_heads);
    compare_number(&l, "head_dim", a->head_dim, b->head_dim);
    compare_number(&l, "linear_num_key_heads", a->lin_k_heads, b->lin_k_heads);
    compare_number(&l, "linear_num_value_heads", a->lin_v_heads, b->lin_v_heads);
    compare_number(&l, "linear_key_head_dim", a->lin_k_dim, b->lin_k_dim);
    compare_number(&l, "linear_value_head_dim", a->lin_v_dim, b->lin_v_dim);
    compare_number(&l, "linear_conv_kernel_dim", a->conv_kernel, b->conv_kernel);
    compare_number(&l, "num_experts", a->n_experts, b->n_experts);
    compare_number(&l, "moe_intermediate_size", a->moe_inter, b->moe_inter);
    compare_number(&l, "shared_expert_intermediate_size", a->shared_inter, b->shared_inter);
    compare_number(&l, "intermediate_size", a->dense_inter, b->dense_inter);
    compare_number(&l, "tie_word_embeddings", a->tied, b->tied);
    for (int i = 0; !l.n && i < a->n_layers; i++)
        if (a->layer_types[i] != b->layer_types[i] || a->mlp_types[i] != b->mlp_types[i])
            compare_number(&l, "the kind of layer", i, -1);
    return !l.n ||
           err_set(e, ALULA_MISMATCH, "the trunk and the donor's trunk are not of one shape: %s", l.text);
}

/* ---- sums ---------------------------------------------------------------------------------------------- */

struct work {
    struct comparison *c;
    const struct matrix *a, *b;
    uint32_t first, n;
    float *row_change; /* [rows] or NULL */
};

static void compare_rows(void *arg, int thread, int n_threads)
{
    struct work *w = arg;
    struct comparison *c = w->c;
    size_t n = w->a->cols;
    float *a = c->rows + (size_t)thread * 2 * c->widest, *b = a + c->widest;
    int begin, end;
    pool_share((int)w->n, 1, thread, n_threads, &begin, &end);
    for (int i = begin; i < end; i++) {
        double *s = c->block[i];
        matrix_row_f32(w->a, w->first + (uint32_t)i, a);
        matrix_row_f32(w->b, w->first + (uint32_t)i, b);
        s[0] = c->kern.dot(a, a, n);
        s[1] = c->kern.dot(b, b, n);
        s[2] = c->kern.dot(a, b, n);
        for (size_t k = 0; k < n; k++) a[k] -= b[k];
        s[3] = c->kern.dot(a, a, n);
        if (w->row_change) w->row_change[w->first + (uint32_t)i] = (float)sqrt(s[1] > 0 ? s[3] / s[1] : s[3]);
    }
}

static void forget(const struct matrix *m, uint32_t first, uint32_t n)
{
    size_t row = matrix_row_bytes(m);
    file_map_forget((const unsigned char *)m->data + (size_t)first * row, (size_t)n * row);
}

static bool same_packing(const struct matrix *a, const struct matrix *b)
{
    return a->type == b->type && a->bits == b->bits && a->group == b->group;
}

static bool compare_matrix(struct comparison *c, const struct matrix *a, const struct matrix *b,
                           float *row_change, struct alula_error *e)
{
    struct sums *s = &c->now;
    for (uint32_t first = 0, n; first < a->rows; first += n) {
        n = a->rows - first < BLOCK ? a->rows - first : BLOCK;
        struct work w = {c, a, b, first, n, row_change};
        if (!watch_tell(c->watch, "comparing the trunks", c->out.n, c->n_entries, e)) return false;
        pool_run(c->pool, compare_rows, &w);
        for (uint32_t i = 0; i < n; i++) {
            s->aa += c->block[i][0];
            s->bb += c->block[i][1];
            s->ab += c->block[i][2];
            s->dd += c->block[i][3];
            s->differ = s->differ || c->block[i][3] > 0;
        }
        forget(a, first, n);
        forget(b, first, n);
    }
    s->values += (uint64_t)a->rows * a->cols;
    s->dequantized = s->dequantized || ((a->bits || b->bits) && !same_packing(a, b));
    return true;
}

static void compare_vector(struct comparison *c, const struct vector *a, const struct vector *b)
{
    struct sums *s = &c->now;
    size_t n = 1;
    for (int i = 0; i < a->source->n_dims; i++) n *= (size_t)a->source->shape[i];
    for (size_t i = 0; i < n; i++) {
        double x = a->gain[i], y = b->gain[i];
        s->aa += x * x;
        s->bb += y * y;
        s->ab += x * y;
        s->dd += (x - y) * (x - y);
        s->differ = s->differ || a->gain[i] != b->gain[i];
    }
    s->values += n;
}

/* ---- entries ------------------------------------------------------------------------------------------- */

/* Makes an entry of the sums so far, if there are any, and clears them. */
static bool close_entry(struct comparison *c, enum drift_class class, int layer, struct alula_error *e)
{
    struct drift *d = &c->out;
    struct sums s = c->now;
    c->now = (struct sums){0};
    if (!s.values) return true;
    if (d->n == c->cap) {
        size_t cap = c->cap ? 2 * c->cap : 64;
        struct drift_entry *more = mem_realloc(d->entries, cap * sizeof *more);
        if (!more) return err_set(e, ALULA_NOMEM, "no memory to compare the trunks");
        d->entries = more;
        c->cap = cap;
    }
    double norms = sqrt(s.aa) * sqrt(s.bb);
    d->entries[d->n++] = (struct drift_entry){.class = class,
                                              .layer = layer,
                                              .values = s.values,
                                              .change = s.bb > 0   ? sqrt(s.dd / s.bb)
                                                        : s.dd > 0 ? INFINITY
                                                                   : 0,
                                              .cosine = !s.differ   ? 1
                                                        : norms > 0 ? fmin(s.ab / norms, 1)
                                                                    : 0,
                                              .identical = !s.differ,
                                              .dequantized = s.dequantized};
    return true;
}

static bool compare_mixer(struct comparison *c, const struct layer_weights *a, const struct layer_weights *b,
                          int layer, struct alula_error *e)
{
    if (a->type == LAYER_FULL_ATTENTION) {
        const struct attention_weights *x = &a->attn, *y = &b->attn;
        compare_vector(c, &x->q_norm, &y->q_norm);
        compare_vector(c, &x->k_norm, &y->k_norm);
        return compare_matrix(c, &x->q, &y->q, NULL, e) && compare_matrix(c, &x->k, &y->k, NULL, e) &&
               compare_matrix(c, &x->v, &y->v, NULL, e) && compare_matrix(c, &x->o, &y->o, NULL, e) &&
               close_entry(c, DRIFT_ATTENTION, layer, e);
    }
    const struct deltanet_weights *x = &a->gdn, *y = &b->gdn;
    compare_vector(c, &x->conv, &y->conv);
    compare_vector(c, &x->a_log, &y->a_log);
    compare_vector(c, &x->dt_bias, &y->dt_bias);
    compare_vector(c, &x->norm, &y->norm);
    return compare_matrix(c, &x->qkv, &y->qkv, NULL, e) && compare_matrix(c, &x->z, &y->z, NULL, e) &&
           compare_matrix(c, &x->b, &y->b, NULL, e) && compare_matrix(c, &x->a, &y->a, NULL, e) &&
           compare_matrix(c, &x->out, &y->out, NULL, e) && close_entry(c, DRIFT_DELTANET, layer, e);
}

static bool compare_mlp(struct comparison *c, const struct mlp_weights *a, const struct mlp_weights *b,
                        int layer, struct alula_error *e)
{
    bool moe = a->type == MLP_MOE;
    int n = moe ? c->trunk->config->n_experts : 1;
    if (moe && !(compare_matrix(c, &a->router, &b->router, NULL, e) &&
                 compare_matrix(c, &a->shared_expert_gate, &b->shared_expert_gate, NULL, e) &&
                 close_entry(c, DRIFT_ROUTER, layer, e)))
        return false;
    for (int i = 0; i < n; i++)
        if (!compare_matrix(c, &a->gate[i], &b->gate[i], NULL, e) ||
            !compare_matrix(c, &a->up[i], &b->up[i], NULL, e) ||
            !compare_matrix(c, &a->down[i], &b->down[i], NULL, e))
            return false;
    if (!close_entry(c, moe ? DRIFT_EXPERTS : DRIFT_SHARED_EXPERT, layer, e)) return false;
    return !moe || (compare_matrix(c, &a->shared_gate, &b->shared_gate, NULL, e) &&
                    compare_matrix(c, &a->shared_up, &b->shared_up, NULL, e) &&
                    compare_matrix(c, &a->shared_down, &b->shared_down, NULL, e) &&
                    close_entry(c, DRIFT_SHARED_EXPERT, layer, e));
}

static bool compare_layer(struct comparison *c, int layer, struct alula_error *e)
{
    const struct layer_weights *a = &c->trunk->layers[layer], *b = &c->donor->layers[layer];
    compare_vector(c, &a->input_norm, &b->input_norm);
    compare_vector(c, &a->post_norm, &b->post_norm);
    return close_entry(c, DRIFT_NORMS, layer, e) && compare_mixer(c, a, b, layer, e) &&
           compare_mlp(c, &a->mlp, &b->mlp, layer, e);
}

static bool compare_all(struct comparison *c, struct alula_error *e)
{
    const struct weights *a = c->trunk, *b = c->donor;
    if (!compare_matrix(c, &a->embed, &b->embed, c->row_change, e) || !close_entry(c, DRIFT_EMBEDDING, -1, e))
        return false;
    for (int i = 0; i < a->config->n_layers; i++)
        if (!compare_layer(c, i, e)) return false;
    compare_vector(c, &a->final_norm, &b->final_norm);
    if (!close_entry(c, DRIFT_FINAL_NORM, -1, e)) return false;
    return a->config->tied ||
           (compare_matrix(c, &a->lm_head, &b->lm_head, NULL, e) && close_entry(c, DRIFT_LM_HEAD, -1, e));
}

/* ---- summary ------------------------------------------------------------------------------------------- */

static void take_row(struct drift *d, int32_t token, double change)
{
    int i = d->n_rows < DRIFT_ROWS ? d->n_rows++ : DRIFT_ROWS - 1;
    while (i > 0 && d->rows[i - 1].change < change) {
        d->rows[i] = d->rows[i - 1];
        i--;
    }
    d->rows[i] = (struct drift_row){.token = token, .change = change};
}

static bool rank_rows(struct comparison *c, struct alula_error *e)
{
    struct drift *d = &c->out;
    double *moved = mem_alloc(((size_t)c->trunk->embed.rows + 1) * sizeof *moved);
    if (!moved) return err_set(e, ALULA_NOMEM, "no memory to rank the rows of the embedding");
    d->rows_total = c->trunk->embed.rows;
    for (int64_t i = 0; i < d->rows_total; i++) {
        double change = c->row_change[i];
        if (change <= 0) continue;
        moved[d->rows_moved++] = change;
        if (d->n_rows < DRIFT_ROWS || change > d->rows[DRIFT_ROWS - 1].change)
            take_row(d, (int32_t)i, change);
    }
    double median = stats_median(moved, (size_t)d->rows_moved);
    for (int64_t i = 0; i < d->rows_moved; i++) d->rows_far += moved[i] > 10 * median;
    mem_free(moved);
    return true;
}

static bool summarize(struct comparison *c, struct alula_error *e)
{
    struct drift *d = &c->out;
    double *changes = mem_alloc((d->n + 1) * sizeof *changes);
    if (!changes) return err_set(e, ALULA_NOMEM, "no memory to compare the trunks");
    d->min_cosine = 1;
    for (size_t i = 0; i < d->n; i++) {
        changes[i] = d->entries[i].change;
        if (d->entries[i].change > d->entries[d->worst].change) d->worst = i;
        d->min_cosine = fmin(d->min_cosine, d->entries[i].cosine);
    }
    d->max_change = d->entries[d->worst].change;
    d->median_change = stats_median(changes, d->n);
    mem_free(changes);
    return rank_rows(c, e);
}

/* Columns of the widest matrix. */
static size_t widest(const struct config *c)
{
    int widths[] = {c->hidden,    c->n_heads * c->head_dim, c->lin_v_heads * c->lin_v_dim,
                    c->moe_inter, c->shared_inter,          c->dense_inter};
    int most = 0;
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++)
        if (widths[i] > most) most = widths[i];
    return (size_t)most;
}

bool drift_run(struct drift *ret, const struct weights *trunk, const struct weights *donor, struct pool *pool,
               const struct watch *watch, struct alula_error *e)
{
    struct comparison c = {.trunk = trunk, .donor = donor, .pool = pool, .watch = watch};
    if (!same_dimensions(trunk->config, donor->config, e)) return false;
    c.widest = widest(trunk->config);
    c.n_entries = (uint64_t)trunk->config->n_layers * 5 + 3;
    kern_init(&c.kern, CPU_ALL);
    c.rows = mem_alloc((size_t)pool_threads(pool) * 2 * c.widest * sizeof(float));
    c.row_change = mem_zalloc(trunk->embed.rows, sizeof(float));
    bool ok = (c.rows && c.row_change) || err_set(e, ALULA_NOMEM, "no memory to compare the trunks");
    ok = ok && compare_all(&c, e) && summarize(&c, e);
    mem_free(c.rows);
    mem_free(c.row_change);
    if (ok)
        *ret = c.out;
    else
        drift_free(&c.out);
    return ok;
}

void drift_free(struct drift *d)
{
    mem_free(d->entries);
    *d = (struct drift){0};
}
