/* test_kern_q8.c - fast mode: int8 activations and their products, every variant against loops that follow
 * kern.h literally. */
#include "tests/support.h"

#include <math.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kern/kern.h"

enum { N_MASKS = 4 };
static struct kern kerns[N_MASKS];
static int n_kerns;

static int setup(void **state)
{
    static const unsigned masks[N_MASKS] = {0, CPU_AVX2, CPU_AVX2 | CPU_AVX512, CPU_NEON};
    (void)state;
    for (int i = 0; i < N_MASKS; i++)
        if ((cpu_detect() & masks[i]) == masks[i]) kern_init(&kerns[n_kerns++], masks[i]);
    return 0;
}

static uint32_t seed = 7;

static uint32_t rnd(void)
{
    seed = seed * 1664525u + 1013904223u;
    return seed >> 8;
}

static float rnd_f32(void) { return (float)((int)(rnd() % 20001) - 10000) / 4096.0f; }

static void put_scales(void *data, enum dtype t, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float f = rnd_f32();
        uint16_t h = t == DT_F16 ? f32_to_f16(f) : f32_to_bf16(f);
        memcpy((char *)data + i * dtype_size(t), t == DT_F32 ? (void *)&f : (void *)&h, dtype_size(t));
    }
}

/* n bytes that end where an unreadable page begins: sanitizers do not see what vector instructions read. */
static void *fenced(size_t n)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), room = (n + page - 1) / page * page;
    char *p = mmap(NULL, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(p != MAP_FAILED);
    assert_int_equal(mprotect(p + room, page, PROT_NONE), 0);
    return p + room - n;
}

static void drop_fenced(const void *p, size_t n)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), room = (n + page - 1) / page * page;
    munmap((char *)p + n - room, room + page);
}

static size_t scale_count(const struct matrix *m) { return (size_t)m->rows * (m->cols / m->group); }

static void matrix_fill(struct matrix *m)
{
    size_t n = matrix_row_bytes(m) * m->rows, scale_bytes = scale_count(m) * dtype_size(m->scale_type);
    unsigned char *data = fenced(n);
    void *scales = fenced(scale_bytes), *biases = fenced(scale_bytes);
    for (size_t i = 0; i < n; i++) data[i] = (unsigned char)(rnd() >> 3);
    put_scales(scales, m->scale_type, scale_count(m));
    put_scales(biases, m->scale_type, scale_count(m));
    m->data = data, m->scales = scales, m->biases = biases;
}

static void matrix_drop(struct matrix *m)
{
    size_t scale_bytes = scale_count(m) * dtype_size(m->scale_type);
    drop_fenced(m->data, matrix_row_bytes(m) * m->rows);
    drop_fenced(m->scales, scale_bytes);
    drop_fenced(m->biases, scale_bytes);
}

/* Column i of a group of q8 codes, by the order that kern.h states. */
static int code_of(const struct q8 *q, unsigned i)
{
    static const unsigned char place[8] = {0, 4, 1, 5, 2, 6, 3, 7};
    return q->code[i / 8 * 8 + place[i % 8]];
}

static unsigned weight_code(const struct matrix *m, uint32_t r, uint32_t c)
{
    const unsigned char *row = (const unsigned char *)m->data + r * matrix_row_bytes(m);
    unsigned v = 0;
    for (unsigned b = 0; b < m->bits; b++) {
        size_t bit = (size_t)c * m->bits + b;
        v |= (unsigned)(row[bit / 8] >> bit % 8 & 1) << b;
    }
    return v;
}

/* The sum of kern.h, literally. */
static float plain_q8(const struct matrix *m, uint32_t r, const struct q8 *x, size_t ldx)
{
    uint32_t width = m->group < 64 ? 32 : 64, n_groups = m->cols / m->group;
    float acc = 0;
    for (uint32_t c = 0; c < m->cols; c += width) {
        const struct q8 *q = &x[c / 64 * ldx];
        float scale = value_f32(m->scales, m->scale_type, (size_t)r * n_groups + c / m->group);
        float bias = value_f32(m->biases, m->scale_type, (size_t)r * n_groups + c / m->group);
        int sum = 0;
        for (uint32_t i = c; i < c + width; i++) sum += (int)weight_code(m, r, i) * code_of(q, i % 64);
        float product = (float)sum * scale, offset = bias * (width == 64 ? q->sum : q->half[c / 32 % 2]);
        product *= q->scale;
        product += offset;
        acc += product;
    }
    return acc;
}

static void assert_bits(float a, float b, const char *name, const struct matrix *m, uint32_t r, int j)
{
    if (memcmp(&a, &b, 4))
        fail_msg("%s: %d bits, group %d, %u x %u: row %u of activation row %d is %a, expected %a", name,
                 m->bits, m->group, m->rows, m->cols, r, j, (double)a, (double)b);
}

#define GUARD 12345.678f
enum { GUARDS = 16 }; /* before and behind: what the widest vector could spill */

static void check_kern(const struct kern *k, const struct matrix *m, const struct q8 *x, size_t ldx, int n,
                       const float *want)
{
    size_t ldy = m->rows + 2, total = n * ldy;
    float *block = malloc(sizeof *block * (total + 2 * GUARDS)), *y = block + GUARDS;
    for (size_t i = 0; i < total + 2 * GUARDS; i++) block[i] = GUARD;
    k->mat_rows_q8(m, 0, m->rows, (struct mat_at){0}, x, ldx, n, y, ldy);
    for (int j = 0; j < n; j++) {
        for (uint32_t r = 0; r < m->rows; r++)
            assert_bits(y[j * ldy + r], want[j * m->rows + r], k->name, m, r, j);
        assert_true(y[j * ldy + m->rows] == GUARD && y[j * ldy + m->rows + 1] == GUARD);
    }
    for (int j = 0; j < n; j++) { /* alone, and cut in two at an odd place */
        uint32_t cut = rnd() % (m->rows + 1);
        for (uint32_t r = 0; r < m->rows; r++) y[r] = GUARD;
        k->mat_rows_q8(m, 0, cut, (struct mat_at){0}, x + j, ldx, 1, y, ldy);
        for (uint32_t r = cut; r < m->rows; r++) assert_true(y[r] == GUARD);
        k->mat_rows_q8(m, cut, m->rows, (struct mat_at){0}, x + j, ldx, 1, y, ldy);
        for (uint32_t r = 0; r < m->rows; r++) assert_bits(y[r], want[j * m->rows + r], k->name, m, r, j);
    }
    for (int i = 0; i < GUARDS; i++) assert_true(block[i] == GUARD && y[total + i] == GUARD);
    free(block);
}

static struct q8 *batch(const struct kern *k, size_t cols, size_t ldx, int n)
{
    struct q8 *x = calloc(q8_count(cols) * ldx, sizeof *x);
    float *f = malloc(cols * sizeof *f);
    for (int j = 0; j < n; j++) {
        for (size_t i = 0; i < cols; i++) f[i] = rnd_f32();
        k->q8_from(x + j, ldx, f, cols);
    }
    free(f);
    return x;
}

static void check_matrix(struct matrix m, int n)
{
    size_t ldx = (size_t)n + rnd() % 3;
    matrix_fill(&m);
    struct q8 *x = batch(&kerns[0], m.cols, ldx, n);
    float *want = malloc(sizeof *want * n * m.rows);
    for (int j = 0; j < n; j++)
        for (uint32_t r = 0; r < m.rows; r++) want[j * m.rows + r] = plain_q8(&m, r, x + j, ldx);
    for (int i = 0; i < n_kerns; i++) check_kern(&kerns[i], &m, x, ldx, n, want);
    free(want), free(x);
    matrix_drop(&m);
}

/* Each width, group and number of activation rows that a verification can have; types of scales and sizes in turn. */
static void test_every_format(void **state)
{
    static const enum dtype scale_types[] = {DT_F32, DT_F16, DT_BF16};
    (void)state;
    for (uint8_t bits = 1; bits <= 8; bits++)
        for (uint16_t group = 32; group <= 128; group *= 2)
            for (int n = 1; n <= 9; n++) {
                struct matrix m = {
                    .type = DT_U32, .scale_type = scale_types[(n + bits) % 3], .bits = bits, .group = group};
                m.rows = 1 + rnd() % 40;
                m.cols = group * (1 + rnd() % 11);
                check_matrix(m, n);
            }
}

/* Every number of weight rows around the blocks of 4, 8 and 16, which end in rows of their own. */
static void test_every_height(void **state)
{
    (void)state;
    for (uint32_t rows = 1; rows <= 50; rows++)
        check_matrix(
            (struct matrix){
                .type = DT_U32, .scale_type = DT_BF16, .bits = 4, .group = 64, .rows = rows, .cols = 192},
            1 + (int)(rows % 5));
}

/* Each number of rows has a kernel of its own in the format that matters. */
static void test_every_batch(void **state)
{
    (void)state;
    for (int n = 1; n <= 20; n++)
        check_matrix(
            (struct matrix){
                .type = DT_U32, .scale_type = DT_BF16, .bits = 4, .group = 64, .rows = 19, .cols = 1216},
            n);
    check_matrix(
        (struct matrix){
            .type = DT_U32, .scale_type = DT_BF16, .bits = 4, .group = 64, .rows = 33, .cols = 128},
        131);
    check_matrix(
        (struct matrix){
            .type = DT_U32, .scale_type = DT_BF16, .bits = 8, .group = 64, .rows = 17, .cols = 128},
        67);
}

/* The largest codes on both sides everywhere: nothing may saturate or overflow. */
static void test_extremes(void **state)
{
    (void)state;
    for (uint8_t bits = 1; bits <= 8; bits++) {
        struct matrix m = {
            .type = DT_U32, .scale_type = DT_F32, .bits = bits, .group = 64, .rows = 32, .cols = 256};
        matrix_fill(&m);
        memset((void *)m.data, 0xff, matrix_row_bytes(&m) * m.rows);
        struct q8 x[4 * 2];
        float f[2][256], want[2 * 32];
        for (int i = 0; i < 256; i++) f[0][i] = 3, f[1][i] = -3;
        for (int j = 0; j < 2; j++) {
            kerns[0].q8_from(x + j, 2, f[j], 256);
            for (uint32_t r = 0; r < 32; r++) want[j * 32 + r] = plain_q8(&m, r, x + j, 2);
        }
        assert_int_equal(x[0].code[5], 127);
        assert_int_equal(x[1].code[5], -127);
        for (int i = 0; i < n_kerns; i++) check_kern(&kerns[i], &m, x, 2, 2, want);
        matrix_drop(&m);
    }
}

/* Codes are within half a step of their values, sums are those of the codes, and all variants agree on every
 * byte. */
static void test_activations(void **state)
{
    (void)state;
    for (size_t cols = 32; cols <= 320; cols += 32) {
        float f[320];
        struct q8 a[5], b[7];
        for (size_t i = 0; i < cols; i++) f[i] = rnd_f32() * (i < 64 ? 1e-3f : 1);
        kerns[0].q8_from(a, 1, f, cols);
        for (size_t g = 0; g < q8_count(cols); g++) {
            float sum = 0, scale = a[g].scale;
            for (unsigned i = 0; i < 64; i++) {
                float x = g * 64 + i < cols ? f[g * 64 + i] : 0, got = (float)code_of(&a[g], i) * scale;
                assert_true(fabsf(x - got) <= 0.5001f * scale);
                sum += (float)code_of(&a[g], i);
            }
            assert_true(a[g].sum == sum * scale);
            assert_true(fabsf(a[g].half[0] + a[g].half[1] - a[g].sum) <= 1e-5f);
        }
        for (int i = 1; i < n_kerns; i++) {
            memset(b, 0xa5, sizeof b);
            kerns[i].q8_from(b + 1, 1, f, cols);
            assert_memory_equal(a, b + 1, sizeof *a * q8_count(cols));
            for (size_t at = 0; at < sizeof b; at++)
                if (at < sizeof *b || at >= sizeof *b * (1 + q8_count(cols)))
                    assert_int_equal(((unsigned char *)b)[at], 0xa5);
        }
    }
    float zero[64] = {0}, tiny[64] = {1e-38f};
    struct q8 q;
    for (int i = 0; i < n_kerns; i++) {
        kerns[i].q8_from(&q, 1, zero, 64);
        assert_true(q.scale == 0 && q.sum == 0 && q.code[0] == 0);
        kerns[i].q8_from(&q, 1, tiny, 64);
        assert_true(q.scale == 0 && q.sum == 0 && q.code[0] == 0);
    }
}

/* Against exact mode: the error is that of rounding activations to 8 bits, far below a percent of the
 * result's size. */
static void test_near_exact(void **state)
{
    (void)state;
    struct matrix m = {
        .type = DT_U32, .scale_type = DT_BF16, .bits = 4, .group = 64, .rows = 64, .cols = 1024};
    float f[1024], exact[64], fast[64];
    double error = 0, size = 0;
    struct q8 x[16];
    matrix_fill(&m);
    for (int i = 0; i < 1024; i++) f[i] = rnd_f32();
    kerns[0].q8_from(x, 1, f, 1024);
    kerns[0].mat_rows(&m, 0, 64, f, 1024, 1, exact, 64);
    kerns[0].mat_rows_q8(&m, 0, 64, (struct mat_at){0}, x, 1, 1, fast, 64);
    for (int r = 0; r < 64; r++)
        error += pow((double)fast[r] - exact[r], 2), size += pow((double)exact[r], 2);
    assert_true(sqrt(error / size) < 0.01);
    matrix_drop(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_format), cmocka_unit_test(test_every_height),
        cmocka_unit_test(test_every_batch),  cmocka_unit_test(test_extremes),
        cmocka_unit_test(test_activations),  cmocka_unit_test(test_near_exact),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
