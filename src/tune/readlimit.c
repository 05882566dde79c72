/* readlimit.c - finds memory that is worth reading and reads it, a share for each thread. Knows where weights lie;
 * must not know what they mean. */
#include "tune/readlimit.h"

#include <stdatomic.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

#define UNIT 256 /* bytes that the reading loop takes at once */

struct range {
    const unsigned char *p;
    size_t n;
};

struct readlimit {
    struct range *ranges; /* neighbours are joined */
    size_t n, total;
    size_t bytes;       /* to be read by one run */
    size_t first, skip; /* where the next one begins */
    void *buffer;
    size_t buffer_bytes;
    atomic_uint_least64_t sink;
};

/* ---- where weights lie ---------------------------------------------------------------------------------- */

static void add(struct readlimit *r, const struct matrix *m)
{
    size_t n = matrix_row_bytes(m) * m->rows;
    struct range *last = r->n ? &r->ranges[r->n - 1] : NULL;
    if (!m->data) return;
    if (last && last->p + last->n == (const unsigned char *)m->data)
        last->n += n;
    else
        r->ranges[r->n++] = (struct range){m->data, n};
    r->total += n;
}

static void add_layer(struct readlimit *r, const struct layer_weights *l, int n_experts)
{
    const struct attention_weights *a = &l->attn;
    const struct deltanet_weights *d = &l->gdn;
    const struct matrix *mixer[] = {&a->q, &a->k, &a->v, &a->o, &d->qkv, &d->z, &d->out};
    for (size_t i = 0; i < sizeof mixer / sizeof *mixer; i++) add(r, mixer[i]);
    int n = l->mlp.type == MLP_MOE ? n_experts : 1;
    for (int i = 0; i < n; i++) add(r, &l->mlp.gate[i]);
    for (int i = 0; i < n; i++) add(r, &l->mlp.up[i]);
    for (int i = 0; i < n; i++) add(r, &l->mlp.down[i]);
}

/* ---- reading ---------------------------------------------------------------------------------------------- */

static uint64_t read_bytes(const unsigned char *p, size_t n)
{
    typedef uint64_t wide __attribute__((vector_size(16)));
    wide a[UNIT / 32] = {{0}}, sum = {0};
    for (size_t i = 0; i + UNIT <= n; i += UNIT)
        for (int k = 0; k < UNIT / 32; k++) {
            wide v, w;
            memcpy(&v, p + i + 32 * k, sizeof v);
            memcpy(&w, p + i + 32 * k + 16, sizeof w);
            a[k] += v ^ w;
        }
    for (int k = 0; k < UNIT / 32; k++) sum += a[k];
    return sum[0] + sum[1];
}

static void read_job(void *arg, int thread, int n_threads)
{
    struct readlimit *r = arg;
    uint64_t sum = 0;
    size_t left = r->bytes, skip = r->skip;
    for (size_t i = r->first; left > 0; i = (i + 1) % r->n) {
        size_t n = r->ranges[i].n - skip < left ? r->ranges[i].n - skip : left;
        size_t begin = n * (size_t)thread / (size_t)n_threads,
               end = n * ((size_t)thread + 1) / (size_t)n_threads;
        sum += read_bytes(r->ranges[i].p + skip + begin, end - begin);
        left -= n;
        skip = 0;
    }
    atomic_fetch_add(&r->sink, sum);
}

void readlimit_run(struct readlimit *r, struct pool *pool)
{
    pool_run(pool, read_job, r);
    for (size_t left = r->bytes; left > 0;) {
        size_t n = r->ranges[r->first].n - r->skip;
        if (n > left) {
            r->skip += left;
            return;
        }
        left -= n;
        r->skip = 0;
        r->first = (r->first + 1) % r->n;
    }
}

void readlimit_warm(struct readlimit *r, struct pool *pool)
{
    for (size_t done = 0; done < r->total; done += r->bytes) readlimit_run(r, pool);
}

/* ---- life --------------------------------------------------------------------------------------------------- */

static void fill_job(void *arg, int thread, int n_threads)
{
    struct readlimit *r = arg;
    size_t begin = r->buffer_bytes * (size_t)thread / (size_t)n_threads;
    size_t end = r->buffer_bytes * ((size_t)thread + 1) / (size_t)n_threads;
    memset((unsigned char *)r->buffer + begin, 1, end - begin);
}

static bool use_buffer(struct readlimit *r, struct pool *pool)
{
    r->buffer = mem_map(r->bytes);
    if (!r->buffer) return false;
    r->buffer_bytes = r->bytes;
    r->ranges[0] = (struct range){r->buffer, r->bytes};
    r->n = 1;
    r->total = r->bytes;
    pool_run(pool, fill_job, r);
    return true;
}

bool readlimit_create(struct readlimit **ret, const struct weights *w, size_t bytes, struct pool *pool,
                      struct alula_error *e)
{
    const struct config *c = w->config;
    size_t per_layer = 7 + 3 * (size_t)(c->n_experts > 0 ? c->n_experts : 1);
    struct readlimit *r = mem_zalloc(1, sizeof *r);
    if (r) r->ranges = mem_zalloc(per_layer * (size_t)c->n_layers + 1, sizeof *r->ranges);
    bool ok = r && r->ranges;
    if (ok) {
        r->bytes = bytes;
        add(r, &w->lm_head);
        for (int i = 0; i < c->n_layers; i++) add_layer(r, &w->layers[i], c->n_experts);
        ok = r->total >= bytes || use_buffer(r, pool);
    }
    if (!ok) {
        readlimit_free(r);
        return err_set(e, ALULA_NOMEM, "no memory for measuring the read limit with %zu MB", bytes / 1000000);
    }
    *ret = r;
    return true;
}

void readlimit_free(struct readlimit *r)
{
    if (!r) return;
    if (r->buffer) mem_unmap(r->buffer, r->buffer_bytes);
    mem_free(r->ranges);
    mem_free(r);
}

size_t readlimit_bytes(const struct readlimit *r) { return r->bytes; }
