/* test_quant.c - the quantizer against the vectors that MLX made: every byte equal; and what it must refuse.
 */
#include "tests/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "artifact/quant.h"

enum { ROWS = 49, COLS = 256, OVERFLOW_ROW = 28 };

/* The fixture, read without alula's own readers. */
static char *file;
static size_t file_len, data_at;
static json_t *header;

static int setup(void **state)
{
    uint64_t n;
    FILE *f = fopen(data_path("quant/quant.safetensors"), "rb");
    (void)state;
    if (!f || fseek(f, 0, SEEK_END)) return -1;
    file_len = (size_t)ftell(f);
    rewind(f);
    file = malloc(file_len);
    if (!file || fread(file, 1, file_len, f) != file_len) return -1;
    fclose(f);
    memcpy(&n, file, 8);
    data_at = 8 + n;
    header = json_loadb(file + 8, n, 0, NULL);
    return header ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    json_decref(header);
    free(file);
    return 0;
}

static const void *tensor(const char *name)
{
    json_t *t = json_object_get(header, name);
    if (!t) fail_msg("no tensor %s", name);
    return file + data_at + json_integer_value(json_array_get(json_object_get(t, "data_offsets"), 0));
}

static const char *row_name(size_t r)
{
    static char name[64];
    json_t *meta = json_object_get(header, "__metadata__");
    json_t *rows = json_loads(json_string_value(json_object_get(meta, "rows")), 0, NULL);
    snprintf(name, sizeof name, "%s", json_string_value(json_array_get(rows, r)));
    json_decref(rows);
    return name;
}

static void assert_rows(const char *what, const void *got, const void *want, size_t row_bytes, size_t r)
{
    if (memcmp(got, (const char *)want + r * row_bytes, row_bytes))
        fail_msg("%s: row %zu (%s) differs from MLX", what, r, row_name(r));
}

static void check_case(int bits, int group, enum dtype type, const char *type_name)
{
    char name[64], what[32];
    uint32_t words[COLS / 4];
    float scales[COLS / 32], biases[COLS / 32];
    size_t size = dtype_size(type), scale_bytes = COLS / (size_t)group * size, bad = ROWS;
    snprintf(name, sizeof name, "in.%s", type_name);
    const char *in = tensor(name);
    snprintf(what, sizeof what, "b%d.g%d.%s", bits, group, type_name);
    const void *want[3];
    static const char *const parts[] = {"weight", "scales", "biases"};
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "%s.%s", what, parts[i]);
        want[i] = tensor(name);
    }
    for (size_t r = 0; r < ROWS; r++) {
        const char *row = in + r * COLS * size;
        bool ok = quant_rows(row, type, 1, COLS, bits, group, words, scales, biases, &bad);
        if (r == OVERFLOW_ROW && type != DT_F16) {
            assert_false(ok);
            continue;
        }
        if (!ok) fail_msg("%s: row %zu (%s) is refused", what, r, row_name(r));
        assert_rows(what, words, want[0], COLS / 8 * (size_t)bits, r);
        assert_rows(what, scales, want[1], scale_bytes, r);
        assert_rows(what, biases, want[2], scale_bytes, r);
    }
}

static void test_mlx_vectors(void **state)
{
    static const int widths[] = {2, 3, 4, 5, 6, 8};
    (void)state;
    assert_string_equal(row_name(OVERFLOW_ROW), "huge_range_overflows_f32");
    for (int i = 0; i < 6; i++)
        for (int group = 32; group <= 128; group *= 2) {
            assert_true(quant_supported(widths[i], group));
            check_case(widths[i], group, DT_F32, "f32");
            check_case(widths[i], group, DT_BF16, "bf16");
            check_case(widths[i], group, DT_F16, "f16");
        }
}

/* Reading codes back: float32 product, then float32 sum. */
static void test_dequantize(void **state)
{
    static const int widths[] = {2, 3, 4, 5, 6, 8};
    char name[64];
    float row[COLS];
    (void)state;
    for (int i = 0; i < 6; i++) {
        struct matrix m = {.type = DT_U32, .scale_type = DT_BF16, .group = 64, .rows = ROWS, .cols = COLS};
        m.bits = (uint8_t)widths[i];
        snprintf(name, sizeof name, "b%d.g64.bf16.weight", widths[i]);
        m.data = tensor(name);
        snprintf(name, sizeof name, "b%d.g64.bf16.scales", widths[i]);
        m.scales = tensor(name);
        snprintf(name, sizeof name, "b%d.g64.bf16.biases", widths[i]);
        m.biases = tensor(name);
        snprintf(name, sizeof name, "b%d.g64.bf16.dequant_f32", widths[i]);
        const char *want = tensor(name);
        for (uint32_t r = 0; r < ROWS; r++) {
            if (r == OVERFLOW_ROW) continue; /* NaN, whose bits are nobody's promise */
            matrix_row_f32(&m, r, row);
            assert_rows(name, row, want, sizeof row, r);
        }
    }
}

/* Several rows in one call give what single rows give, and a bad row is named. */
static void test_many_rows_and_refusals(void **state)
{
    static float in[5][64];
    uint32_t all[5][8], one[8];
    float scales[5], biases[5], scale, bias;
    size_t bad = 99;
    const float odd[] = {NAN, -NAN, INFINITY, -INFINITY};
    (void)state;
    for (int i = 0; i < 5 * 64; i++) in[i / 64][i % 64] = (float)((i * 37) % 101 - 50) / 7;
    assert_true(quant_rows(in, DT_F32, 5, 64, 4, 64, &all[0][0], scales, biases, &bad));
    for (int r = 0; r < 5; r++) {
        assert_true(quant_rows(in[r], DT_F32, 1, 64, 4, 64, one, &scale, &bias, &bad));
        assert_memory_equal(one, all[r], sizeof one);
        assert_true(scale == scales[r] && bias == biases[r]);
    }
    assert_int_equal(bad, 99);
    for (int i = 0; i < 4; i++)
        for (int c = 0; c < 64; c++) {
            float keep = in[3][c];
            in[3][c] = odd[i];
            bad = 99;
            assert_false(quant_rows(in, DT_F32, 5, 64, 4, 64, &all[0][0], scales, biases, &bad));
            assert_int_equal(bad, 3);
            in[3][c] = keep;
        }
    in[2][0] = 3e38f, in[2][1] = -3e38f;
    assert_false(quant_rows(in, DT_F32, 5, 64, 4, 64, &all[0][0], scales, biases, &bad));
    assert_int_equal(bad, 2);
}

static void test_supported(void **state)
{
    (void)state;
    assert_false(quant_supported(1, 64));
    assert_false(quant_supported(7, 64));
    assert_false(quant_supported(4, 16));
    assert_false(quant_supported(4, 96));
    assert_false(quant_supported(-4, 64));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mlx_vectors),
        cmocka_unit_test(test_dequantize),
        cmocka_unit_test(test_many_rows_and_refusals),
        cmocka_unit_test(test_supported),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
