/* test_kern.c - every kernel of every instruction set in reach against the scalar one, on odd sizes, with
 * guard values around the results; and the scalar one against plain loops that follow the contract of kern.h
 * literally. */
#include "tests/support.h"

#include <math.h>
#include <stdlib.h>

#include "kern/kern.h"

enum { N_MASKS = 3 };
static struct kern ref, simd[N_MASKS];
static int n_simd;

static int setup(void **state)
{
    static const unsigned masks[N_MASKS] = {CPU_AVX2, CPU_AVX2 | CPU_AVX512, CPU_NEON};
    (void)state;
    kern_init(&ref, 0);
    for (int i = 0; i < N_MASKS; i++)
        if ((cpu_detect() & masks[i]) == masks[i]) kern_init(&simd[n_simd++], masks[i]);
    return 0;
}

static uint32_t seed = 1;

static uint32_t rnd(void)
{
    seed = seed * 1664525u + 1013904223u;
    return seed >> 8;
}

static float rnd_f32(void) { return (float)((int)(rnd() % 20001) - 10000) / 4096.0f; }

static float *rnd_array(size_t n)
{
    float *p = malloc(n * sizeof *p);
    assert_non_null(p);
    for (size_t i = 0; i < n; i++) p[i] = rnd_f32();
    return p;
}

static void put_value(void *data, enum dtype t, size_t i, float f)
{
    uint16_t h = t == DT_F16 ? f32_to_f16(f) : f32_to_bf16(f);
    if (t == DT_F32)
        memcpy((char *)data + 4 * i, &f, 4);
    else
        memcpy((char *)data + 2 * i, &h, 2);
}

/* Random content in exactly as many bytes as the matrix has, so that a sanitizer sees any read past them. */
static void matrix_fill(struct matrix *m)
{
    size_t n = matrix_row_bytes(m) * m->rows;
    unsigned char *data = malloc(n);
    assert_non_null(data);
    m->data = data;
    if (!m->bits) {
        for (size_t i = 0; i < (size_t)m->rows * m->cols; i++) put_value(data, m->type, i, rnd_f32());
        return;
    }
    for (size_t i = 0; i < n; i++) data[i] = (unsigned char)rnd();
    size_t n_scales = (size_t)m->rows * (m->cols / m->group), bytes = n_scales * dtype_size(m->scale_type);
    void *scales = malloc(bytes), *biases = malloc(bytes);
    for (size_t i = 0; i < n_scales; i++) {
        put_value(scales, m->scale_type, i, rnd_f32() / 16);
        put_value(biases, m->scale_type, i, rnd_f32());
    }
    m->scales = scales, m->biases = biases;
}

static void matrix_drop(struct matrix *m)
{
    free((void *)m->data);
    free((void *)m->scales);
    free((void *)m->biases);
}

/* The sum of kern.h, literally. */
static float plain_dot(const float *a, const float *b, size_t n)
{
    float sum[16] = {0};
    for (size_t i = 0; i < n; i++) {
        float product = a[i] * b[i];
        sum[i % 16] += product;
    }
    for (int half = 8; half; half /= 2)
        for (int i = 0; i < half; i++) sum[i] += sum[i + half];
    return sum[0];
}

static void assert_bits(const float *a, const float *b, size_t n, const char *what)
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(&a[i], &b[i], 4))
            fail_msg("%s: [%zu] is %a, expected %a", what, i, (double)a[i], (double)b[i]);
}

#define GUARD 12345.678f

static float *guarded(size_t n)
{
    float *p = malloc((n + 16) * sizeof *p);
    assert_non_null(p);
    for (size_t i = 0; i < n + 16; i++) p[i] = GUARD;
    return p + 8;
}

static void drop_guarded(float *p, size_t n)
{
    for (int i = 0; i < 8; i++) {
        assert_true(p[-1 - i] == GUARD);
        assert_true(p[n + i] == GUARD);
    }
    free(p - 8);
}

/* All rows at once, row ranges cut in odd places, activation rows one at a time: always the bits of
 * plain_dot. */
static void check_rows(const struct kern *k, const struct matrix *m, const float *x, size_t ldx, int n,
                       const float *want)
{
    size_t ldy = m->rows + 1, total = n * ldy;
    float *y = guarded(total);
    k->mat_rows(m, 0, m->rows, x, ldx, n, y, ldy);
    for (int j = 0; j < n; j++) {
        assert_bits(y + j * ldy, want + (size_t)j * m->rows, m->rows, k->name);
        assert_true(y[j * ldy + m->rows] == GUARD);
    }
    for (int j = 0; j < n; j++) {
        uint32_t cut = rnd() % (m->rows + 1);
        for (uint32_t r = 0; r < m->rows; r++) y[j * ldy + r] = GUARD;
        k->mat_rows(m, 0, cut, x + j * ldx, ldx, 1, y + j * ldy, ldy);
        for (uint32_t r = cut; r < m->rows; r++) assert_true(y[j * ldy + r] == GUARD);
        k->mat_rows(m, cut, m->rows, x + j * ldx, ldx, 1, y + j * ldy, ldy);
        assert_bits(y + j * ldy, want + (size_t)j * m->rows, m->rows, k->name);
    }
    drop_guarded(y, total);
}

static void check_matrix(struct matrix m, int n)
{
    size_t ldx = m.cols + 3;
    float *x = rnd_array(n * ldx), *row = malloc(m.cols * sizeof *row),
          *want = malloc(sizeof *want * n * m.rows);

    matrix_fill(&m);
    for (uint32_t r = 0; r < m.rows; r++) {
        matrix_row_f32(&m, r, row);
        for (int j = 0; j < n; j++) want[(size_t)j * m.rows + r] = plain_dot(row, x + j * ldx, m.cols);
    }
    check_rows(&ref, &m, x, ldx, n, want);
    for (int i = 0; i < n_simd; i++) check_rows(&simd[i], &m, x, ldx, n, want);
    matrix_drop(&m);
    free(x), free(row), free(want);
}

static void test_rows_affine(void **state)
{
    static const enum dtype scale_types[] = {DT_F32, DT_F16, DT_BF16};
    (void)state;
    for (uint8_t bits = 1; bits <= 8; bits++)
        for (uint16_t group = 32; group <= 128; group *= 2)
            for (int n = 1; n <= 9; n++) {
                struct matrix m = {
                    .type = DT_U32, .scale_type = scale_types[(n + bits) % 3], .bits = bits, .group = group};
                m.rows = 1 + rnd() % 9;
                m.cols = group * (1 + rnd() % 9);
                check_matrix(m, n);
            }
}

static void test_rows_plain(void **state)
{
    static const uint32_t cols[] = {1, 2, 15, 16, 17, 31, 48, 100, 255, 256, 257, 271, 272, 511, 700};
    static const enum dtype kinds[] = {DT_F32, DT_F16, DT_BF16};
    (void)state;
    for (size_t c = 0; c < sizeof cols / sizeof *cols; c++)
        for (int t = 0; t < 3; t++)
            check_matrix((struct matrix){.type = kinds[t], .rows = 1 + rnd() % 9, .cols = cols[c]},
                         1 + (int)(rnd() % 8));
}

/* More activation rows than share one decoding. */
static void test_rows_many(void **state)
{
    (void)state;
    check_matrix((struct matrix){.type = DT_BF16, .rows = 7, .cols = 65}, 131);
    check_matrix(
        (struct matrix){
            .type = DT_U32, .scale_type = DT_BF16, .bits = 4, .group = 64, .rows = 6, .cols = 320},
        67);
}

/* One head's keys and values, and queries with nothing taken yet. */
struct attention {
    struct matrix k, v;
    int n; /* queries */
    size_t ldq, ldt;
    float *q, *taken;
};

static struct attention attention_make(enum dtype type, uint32_t entries, uint32_t dim, int n)
{
    struct attention a = {.n = n, .ldq = dim + rnd() % 3, .ldt = dim + 2 + rnd() % 3};
    a.k = a.v = (struct matrix){.type = type, .rows = entries, .cols = dim};
    matrix_fill(&a.k);
    matrix_fill(&a.v);
    a.q = rnd_array((size_t)n * a.ldq);
    a.taken = guarded((size_t)n * a.ldt);
    for (int j = 0; j < n; j++) {
        for (uint32_t c = 0; c < dim; c++) a.taken[(size_t)j * a.ldt + c] = 0;
        a.taken[(size_t)j * a.ldt + dim] = -INFINITY;
        a.taken[(size_t)j * a.ldt + dim + 1] = 0;
    }
    return a;
}

static void attention_drop(struct attention *a)
{
    drop_guarded(a->taken, (size_t)a->n * a->ldt);
    matrix_drop(&a->k);
    matrix_drop(&a->v);
    free(a->q);
}

static void attention_copy(float *to, const struct attention *a)
{
    memcpy(to, a->taken, (size_t)a->n * a->ldt * sizeof *to);
}

/* The contract of kern.h, literally: query j and entries [b0, b0 + n). */
static void plain_attend(const struct attention *a, int j, uint32_t b0, uint32_t n, float scale, float *taken)
{
    uint32_t dim = a->k.cols;
    float row[300], e[KV_BLOCK], ones[KV_BLOCK], *max = taken + dim, top = *max, shrink;
    for (uint32_t i = 0; i < n; i++) {
        matrix_row_f32(&a->k, b0 + i, row);
        e[i] = scale * plain_dot(row, a->q + (size_t)j * a->ldq, dim);
        if (e[i] > top) top = e[i];
        ones[i] = 1;
    }
    for (uint32_t i = 0; i < n; i++) e[i] -= top;
    ref.exp_inplace(e, n);
    shrink = *max - top;
    ref.exp_inplace(&shrink, 1);
    for (uint32_t c = 0; c < dim; c++) taken[c] *= shrink;
    for (uint32_t i = 0; i < n; i++) {
        matrix_row_f32(&a->v, b0 + i, row);
        for (uint32_t c = 0; c < dim; c++) {
            float product = e[i] * row[c];
            taken[c] += product;
        }
    }
    taken[dim + 1] = taken[dim + 1] * shrink + plain_dot(e, ones, n);
    *max = top;
}

/* All queries at once and one by one, the second block from a cut in an odd place: the bits of the plain one. */
static void check_attend(const struct kern *k, const struct attention *a, uint32_t cut, float scale,
                         const float *want)
{
    const size_t row = matrix_row_bytes(&a->k), total = (size_t)a->n * a->ldt;
    for (int alone = 0; alone < 2; alone++) {
        float *taken = guarded(total);
        attention_copy(taken, a);
        for (uint32_t b0 = 0, end; b0 < a->k.rows; b0 = end) {
            end = b0 ? a->k.rows : cut;
            struct kv_block b = {.type = a->k.type,
                                 .n = (int)(end - b0),
                                 .dim = (int)a->k.cols,
                                 .k = (const char *)a->k.data + b0 * row,
                                 .v = (const char *)a->v.data + b0 * row,
                                 .next = alone ? NULL : (const char *)a->k.data + end * row};
            if (!alone) k->attend(&b, a->q, a->ldq, a->n, scale, taken, a->ldt);
            for (size_t j = 0; alone && j < (size_t)a->n; j++)
                k->attend(&b, a->q + j * a->ldq, a->ldq, 1, scale, taken + j * a->ldt, a->ldt);
        }
        assert_bits(taken, want, total, k->name);
        drop_guarded(taken, total);
    }
}

/* Against the softmax itself, in double precision. */
static void check_attention_value(const struct attention *a, int j, float scale, const float *taken)
{
    uint32_t dim = a->k.cols;
    float row[300];
    double sum = 0, o[300] = {0};
    for (uint32_t i = 0; i < a->k.rows; i++) {
        double score = 0;
        matrix_row_f32(&a->k, i, row);
        for (uint32_t c = 0; c < dim; c++) score += (double)row[c] * (double)a->q[(size_t)j * a->ldq + c];
        double e = exp(score * (double)scale - (double)taken[dim]);
        matrix_row_f32(&a->v, i, row);
        for (uint32_t c = 0; c < dim; c++) o[c] += e * (double)row[c];
        sum += e;
    }
    for (uint32_t c = 0; c < dim; c++)
        assert_true(fabs((double)taken[c] / (double)taken[dim + 1] - o[c] / sum) < 1e-4);
}

static void test_attend(void **state)
{
    (void)state;
    for (int round = 0; round < 60; round++) {
        uint32_t dim = round % 2 ? 16 * (1 + rnd() % 18) : 1 + rnd() % 300, entries = 2 + rnd() % 199;
        uint32_t cut = entries > KV_BLOCK ? entries - KV_BLOCK : 1;
        cut += rnd() % ((entries - 1 < KV_BLOCK ? entries - 1 : KV_BLOCK) - cut + 1);
        struct attention a =
            attention_make(round / 2 % 2 ? DT_F32 : DT_F16, entries, dim, 1 + (int)(rnd() % 19));
        float scale = 0.5f / sqrtf((float)dim), *want = guarded((size_t)a.n * a.ldt);
        attention_copy(want, &a);
        for (int j = 0; j < a.n; j++) {
            plain_attend(&a, j, 0, cut, scale, want + (size_t)j * a.ldt);
            plain_attend(&a, j, cut, entries - cut, scale, want + (size_t)j * a.ldt);
            check_attention_value(&a, j, scale, want + (size_t)j * a.ldt);
        }
        for (int i = -1; i < n_simd; i++) check_attend(i < 0 ? &ref : &simd[i], &a, cut, scale, want);
        drop_guarded(want, (size_t)a.n * a.ldt);
        attention_drop(&a);
    }
}

/* op 0..8 on fresh copies of the same input: a is changed in place or read, out receives. */
static void run_array_op(const struct kern *k, int op, const float *a, const float *b, float *out, size_t n)
{
    memcpy(out, a, n * sizeof *out);
    switch (op) {
    case 0: k->exp_inplace(out, n); break;
    case 1: k->silu(out, n); break;
    case 2: k->silu_mul(out, a, b, n); break;
    case 3: k->sigmoid_mul(out, a, b, n); break;
    case 4: k->softmax(out, n); break;
    case 5: k->rms_norm(out, a, b, n, 1e-6f); break;
    case 6: k->f16_from((uint16_t *)out, a, n); break;
    case 7: k->axpy(0.37f, b, out, n); break;
    default: out[0] = k->dot(a, b, n);
    }
}

static void test_arrays(void **state)
{
    (void)state;
    for (size_t n = 1; n <= 70; n++) {
        float *a = rnd_array(n), *b = rnd_array(n);
        for (size_t i = 0; i < n; i += 5) a[i] *= 40;
        for (int op = 0; op < 9; op++) {
            float *want = guarded(n);
            run_array_op(&ref, op, a, b, want, n);
            for (int i = 0; i < n_simd; i++) {
                float *got = guarded(n);
                run_array_op(&simd[i], op, a, b, got, n);
                assert_bits(got, want, n, simd[i].name);
                drop_guarded(got, n);
            }
            drop_guarded(want, n);
        }
        float d = plain_dot(a, b, n), got = ref.dot(a, b, n);
        assert_bits(&got, &d, 1, "dot");
        free(a), free(b);
    }
}

/* The scalar helpers mean what they say, judged in double precision. */
static void test_array_values(void **state)
{
    (void)state;
    enum { N = 37 };
    float *a = rnd_array(N), *b = rnd_array(N), out[N];
    double sum = 0, square = 0;
    for (int i = 0; i < N; i++) sum += exp((double)a[i]), square += (double)a[i] * a[i];
    for (int op = 1; op < 6; op++) {
        run_array_op(&ref, op, a, b, out, N);
        for (int i = 0; i < N; i++) {
            double x = a[i], gate = 1 / (1 + exp(-x));
            double want[] = {0,           x * gate,     x * gate * b[i],
                             b[i] * gate, exp(x) / sum, x / sqrt(square / N + 1e-6) * b[i]};
            if (!(fabs(out[i] - want[op]) <= 1e-6 * (1 + fabs(want[op]))))
                fail_msg("op %d [%d] is %.9g, expected %.9g", op, i, (double)out[i], want[op]);
        }
    }
    float large[3] = {1000, 999, -1000};
    ref.softmax(large, 3);
    assert_close(large, (const float[]){0.7310586f, 0.2689414f, 0}, 3, 1e-6, "softmax of large values");
    for (double x = -30; x < 40; x += 0.37)
        assert_true(fabs(kern_softplus((float)x) - log1p(exp((double)(float)x))) <= 1e-6 * (1 + fabs(x)));
    free(a), free(b);
}

/* The bits of exp over the whole range, against libm in double precision: the contract's 1.5 units. */
static void test_exp(void **state)
{
    (void)state;
    for (double x = -103.9; x < 88.72; x += 0.00037) {
        float f = (float)x;
        double want = exp((double)f);
        ref.exp_inplace(&f, 1);
        double unit = want < 0x1p-126 ? 0x1p-149 : ldexp(1, ilogb(want) - 23);
        if (!(fabs(f - want) <= 1.5 * unit)) fail_msg("exp(%.9g) is %.9g, expected %.9g", x, (double)f, want);
    }
    float edge[] = {-INFINITY, INFINITY, NAN, 0, -0.0f, 1000, -1000};
    ref.exp_inplace(edge, 7);
    assert_true(edge[0] == 0 && edge[1] == INFINITY && isnan(edge[2]) && edge[3] == 1 && edge[4] == 1);
    assert_true(edge[5] == INFINITY && edge[6] == 0);
}

enum { DELTA_ROWS = 5, DELTA_FOLDS = 4 };

/* The rule, literally: folds, then rows, on a state of its own after which `settled` rows are in it. */
static void plain_delta(float *s, const struct delta_head *h, const struct delta_row *rows, int n,
                        float *delta, float *o)
{
    int dk = h->dk, dv = h->dv;
    float *now = malloc((size_t)dk * dv * sizeof *now);
    memcpy(now, s, (size_t)dk * dv * sizeof *now);
    for (int t = -h->n_folds; t < n; t++) {
        float *said = delta + (t < 0 ? 0 : t * dv);
        for (int v = 0; t >= 0 && v < dv; v++) {
            float p = 0, w = 0;
            for (int i = 0; i < dk; i++) {
                float a = now[i * dv + v] * rows[t].k[i], b = now[i * dv + v] * rows[t].q[i];
                p += a, w += b;
            }
            float short_of = rows[t].decay * p;
            said[v] = rows[t].beta * (rows[t].v[v] - short_of);
            float kept = rows[t].decay * w, added = rows[t].kq * said[v];
            o[t * dv + v] = kept + added;
        }
        if (t == h->n_settled || (n == 0 && t == -1)) memcpy(s, now, (size_t)dk * dv * sizeof *now);
        struct delta_fold step =
            t < 0 ? h->folds[h->n_folds + t] : (struct delta_fold){rows[t].decay, rows[t].k, said};
        for (int i = 0; i < dk; i++)
            for (int v = 0; v < dv; v++) {
                float old = now[i * dv + v] * step.decay, add = step.k[i] * step.delta[v];
                now[i * dv + v] = old + add;
            }
    }
    if (n == 0) memcpy(s, now, (size_t)dk * dv * sizeof *now);
    free(now);
}

static void check_delta(const struct kern *k, int dk, int dv, int n_folds, int n, int n_settled)
{
    size_t size = (size_t)dk * dv;
    float *start = rnd_array(size), *want = malloc(size * sizeof *want), *s = guarded(size);
    float *keys = rnd_array((size_t)(2 * DELTA_ROWS + DELTA_FOLDS) * dk);
    float *values = rnd_array((size_t)(DELTA_ROWS + DELTA_FOLDS) * dv), *copy = malloc(size * sizeof *copy);
    float *delta = guarded(DELTA_ROWS * dv), *o = guarded(DELTA_ROWS * dv);
    float *want_delta = malloc(DELTA_ROWS * dv * sizeof *o), *want_o = malloc(DELTA_ROWS * dv * sizeof *o);
    struct delta_fold folds[DELTA_FOLDS];
    struct delta_row rows[DELTA_ROWS];
    struct delta_head h = {s, dk, dv, folds, n_folds, n_settled, copy};

    for (int f = 0; f < n_folds; f++)
        folds[f] = (struct delta_fold){0.9f + 0.01f * (float)f, keys + (2 * DELTA_ROWS + f) * dk,
                                       values + (DELTA_ROWS + f) * dv};
    for (int t = 0; t < n; t++)
        rows[t] = (struct delta_row){.k = keys + 2 * t * dk,
                                     .q = keys + (2 * t + 1) * dk,
                                     .v = values + t * dv,
                                     .delta = delta + t * dv,
                                     .o = o + t * dv,
                                     .decay = 0.8f + 0.02f * (float)t,
                                     .beta = 0.5f,
                                     .kq = rnd_f32()};
    memcpy(want, start, size * sizeof *want);
    memcpy(s, start, size * sizeof *s);
    plain_delta(want, &h, rows, n, want_delta, want_o);
    k->delta_rule(&h, rows, n);
    assert_bits(s, want, size, k->name);
    assert_bits(delta, want_delta, (size_t)n * dv, k->name);
    assert_bits(o, want_o, (size_t)n * dv, k->name);
    /* Rows whose steps are in the state afterwards may share delta. */
    for (int t = 0; t + 1 < n && n_settled > 0; t++) rows[t].delta = copy + size - dv;
    memcpy(s, start, size * sizeof *s);
    h.copy = malloc(size * sizeof *copy);
    k->delta_rule(&h, rows, n);
    assert_bits(s, want, size, k->name);
    assert_bits(o, want_o, (size_t)n * dv, k->name);
    free(h.copy);
    drop_guarded(s, size), drop_guarded(delta, DELTA_ROWS * dv), drop_guarded(o, DELTA_ROWS * dv);
    free(start), free(want), free(keys), free(values), free(copy), free(want_delta), free(want_o);
}

/* Bug class: a tile that takes another tile's columns, or a state left a step behind or ahead. */
static void test_delta(void **state)
{
    static const int sizes[][2] = {{32, 32}, {128, 128}, {64, 64}, {1, 1},   {5, 3},
                                   {7, 17},  {16, 70},   {3, 129}, {4, 200}, {2, 256}};
    (void)state;
    for (size_t z = 0; z < sizeof sizes / sizeof *sizes; z++)
        for (int n_folds = 0; n_folds <= DELTA_FOLDS; n_folds++)
            for (int n = 0; n <= DELTA_ROWS; n++)
                for (int settled = 0; settled < (n > 1 ? 2 : 1); settled++)
                    for (int i = -1; i < n_simd; i++)
                        check_delta(i < 0 ? &ref : &simd[i], sizes[z][0], sizes[z][1], n_folds, n,
                                    settled ? n - 1 : 0);
}

/* Taps from the first on, on any width. */
static void test_conv(void **state)
{
    (void)state;
    for (size_t n = 1; n <= 70; n++) {
        const float *in[4];
        float *x = rnd_array(4 * n), *taps = rnd_array(4 * (n + 3)), *want = guarded(n);
        for (int j = 0; j < 4; j++) in[j] = x + (size_t)j * n;
        for (size_t c = 0; c < n; c++) {
            want[c] = 0;
            for (int j = 0; j < 4; j++) {
                float product = taps[(size_t)j * (n + 3) + c] * in[j][c];
                want[c] += product;
            }
        }
        ref.silu(want, n);
        for (int i = -1; i < n_simd; i++) {
            const struct kern *k = i < 0 ? &ref : &simd[i];
            float *got = guarded(n);
            k->conv_silu(got, in, taps, n + 3, 4, n);
            assert_bits(got, want, n, k->name);
            drop_guarded(got, n);
        }
        drop_guarded(want, n);
        free(x), free(taps);
    }
}

/* Every bfloat16 and half survives the way through float32; rounding is to nearest even. */
static void test_conversions(void **state)
{
    (void)state;
    for (uint32_t v = 0; v <= 0xffff; v++) {
        float b = bf16_to_f32((uint16_t)v), h = f16_to_f32((uint16_t)v);
        if (!isnan(b)) assert_int_equal(f32_to_bf16(b), v);
        if (!isnan(h)) assert_int_equal(f32_to_f16(h), v);
        if (v < 0x7bff) {
            float next = f16_to_f32((uint16_t)(v + 1)), middle = (h + next) / 2;
            assert_int_equal(f32_to_f16(middle), v % 2 ? v + 1 : v);
            assert_int_equal(f32_to_f16(nextafterf(middle, 0)), v);
            assert_int_equal(f32_to_f16(nextafterf(middle, 1e9f)), v + 1);
        }
    }
    assert_true(isnan(bf16_to_f32(f32_to_bf16(NAN))) && isnan(f16_to_f32(f32_to_f16(NAN))));
    assert_int_equal(f32_to_f16(65519.0f), 0x7bff);
    assert_int_equal(f32_to_f16(65520.0f), 0x7c00);
    assert_int_equal(f32_to_f16(-1e30f), 0xfc00);
    assert_int_equal(f32_to_bf16(0x1.01p0f), 0x3f80);
    assert_int_equal(f32_to_bf16(0x1.03p0f), 0x3f82);
    assert_int_equal(f32_to_bf16(0x1.010002p0f), 0x3f81);
}

static void test_cpu(void **state)
{
    unsigned mask = 99;
    (void)state;
    assert_true(cpu_limit("scalar", &mask) && mask == 0);
    assert_true(cpu_limit("avx2", &mask) && mask == CPU_AVX2);
    assert_true(cpu_limit("avx512", &mask) && mask == (CPU_AVX2 | CPU_AVX512));
    assert_false(cpu_limit("sse9", &mask));
    assert_int_equal(mask, CPU_AVX2 | CPU_AVX512);
    assert_string_equal(ref.name, "scalar");
    assert_string_equal(cpu_name(CPU_AVX2), "avx2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_affine), cmocka_unit_test(test_rows_plain),
        cmocka_unit_test(test_rows_many),   cmocka_unit_test(test_attend),
        cmocka_unit_test(test_arrays),      cmocka_unit_test(test_array_values),
        cmocka_unit_test(test_exp),         cmocka_unit_test(test_delta),
        cmocka_unit_test(test_conv),        cmocka_unit_test(test_conversions),
        cmocka_unit_test(test_cpu),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
