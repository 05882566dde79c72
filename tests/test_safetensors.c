/* Contract: a safetensors file that opens can be used without another look; every other file ends in one
 * sentence. */
#include "tests/support.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "artifact/safetensors.h"

static char path[4096];

static void write_bytes(const void *p, size_t n)
{
    snprintf(path, sizeof path, "%s/t.safetensors", scratch_dir());
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, n, f), n);
    fclose(f);
}

/* length says what the first 8 bytes claim; data_len zero bytes follow the header. */
static void write_claiming(uint64_t length, const char *header, size_t data_len)
{
    size_t n = strlen(header);
    unsigned char *b = calloc(1, 8 + n + data_len + 1);
    for (int i = 0; i < 8; i++) b[i] = (unsigned char)(length >> 8 * i);
    memcpy(b + 8, header, n);
    write_bytes(b, 8 + n + data_len);
    free(b);
}

static void expect(enum alula_code code, const char *part)
{
    struct alula_error e = {0};
    struct st_file *f = NULL;
    if (st_open(&f, path, &e)) fail_msg("opened, expected \"%s\"", part);
    assert_null(f);
    if (!strstr(e.message, part) || e.code != code)
        fail_msg("code %d \"%s\", expected %d \"%s\"", e.code, e.message, code, part);
    assert_non_null(strstr(e.message, "t.safetensors"));
}

static void expect_header(const char *header, size_t data_len, enum alula_code code, const char *part)
{
    write_claiming(strlen(header), header, data_len);
    expect(code, part);
}

#define T(shape, from, to) "{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":[" from "," to "]}"

static void test_frame(void **state)
{
    (void)state;
    write_bytes("", 0);
    expect(ALULA_FORMAT, "0 bytes are no safetensors file");
    write_bytes("1234567", 7);
    expect(ALULA_FORMAT, "7 bytes are no safetensors file");
    write_claiming(200, "{}", 0);
    expect(ALULA_FORMAT, "the header should have 200 bytes, but only 2 are there");
    write_claiming(100000001, "{}", 0);
    expect(ALULA_LIMIT, "a header of 100000001 bytes is more than 100000000");
    write_claiming(UINT64_MAX, "{}", 0);
    expect(ALULA_LIMIT, "a header of 18446744073709551615 bytes");
    write_claiming(0, "{}", 0);
    expect(ALULA_FORMAT, "does not begin with \"{\"");
    expect_header("[1]", 0, ALULA_FORMAT, "does not begin with \"{\"");
    expect_header(" {}", 0, ALULA_FORMAT, "does not begin with \"{\"");
    expect_header("{\"a\":", 0, ALULA_FORMAT, "not valid JSON");
    expect_header("{} x", 0, ALULA_FORMAT, "not valid JSON");
    expect_header("{\"a\":[[[[[[[[1]]]]]]]]}", 0, ALULA_LIMIT, "nested more than 8 deep");
    expect_header("{\"\xff\":1}", 0, ALULA_FORMAT, "not valid JSON");
    expect_header("{\"a\":" T("[1]", "0", "4") ",\"a\":" T("[1]", "0", "4") "}", 4, ALULA_FORMAT,
                  "duplicate");
}

static void test_entries(void **state)
{
    (void)state;
    char name[700], header[1400];
    expect_header("{\"w\":3}", 0, ALULA_FORMAT, "the entry of tensor w is not an object");
    expect_header("{\"w\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, ALULA_FORMAT,
                  "tensor w has no \"dtype\"");
    expect_header("{\"w\":{\"dtype\":\"F8_E4M3\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4,
                  ALULA_UNSUPPORTED, "tensor w has type \"F8_E4M3\"");
    expect_header("{\"w\":{\"dtype\":\"bf16\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4, ALULA_UNSUPPORTED,
                  "tensor w has type \"bf16\"");
    expect_header("{\"w\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, ALULA_FORMAT,
                  "tensor w has no \"shape\"");
    expect_header("{\"w\":" T("[1,1,1,1,1,1,1,1,1]", "0", "4") "}", 4, ALULA_LIMIT,
                  "tensor w has 9 dimensions");
    expect_header("{\"w\":" T("[-1]", "0", "4") "}", 4, ALULA_FORMAT, "dimension 0 of tensor w");
    expect_header("{\"w\":" T("[1,2.0]", "0", "4") "}", 4, ALULA_FORMAT, "dimension 1 of tensor w");
    expect_header("{\"w\":" T("[4294967296,4294967296]", "0", "4") "}", 4, ALULA_FORMAT,
                  "more bytes than can be counted");
    expect_header("{\"w\":" T("[9223372036854775807]", "0", "4") "}", 4, ALULA_FORMAT,
                  "more bytes than can be counted");
    expect_header("{\"w\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, ALULA_FORMAT,
                  "tensor w has no \"data_offsets\"");
    expect_header("{\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}}", 8, ALULA_FORMAT,
                  "\"data_offsets\"");
    expect_header("{\"w\":" T("[1]", "4", "0") "}", 4, ALULA_FORMAT, "from 4 to 0, which is no range");
    expect_header("{\"w\":" T("[1]", "-4", "0") "}", 4, ALULA_FORMAT, "from -4 to 0, which is no range");
    expect_header("{\"w\":" T("[2]", "0", "8") "}", 4, ALULA_FORMAT,
                  "tensor w ends at byte 8 of the data, but the file has only 4");
    expect_header("{\"w\":" T("[3]", "0", "8") "}", 8, ALULA_FORMAT,
                  "tensor w has 8 bytes, but its shape and type ask for 12");
    expect_header("{\"\":" T("[1]", "0", "4") "}", 4, ALULA_LIMIT, "name has 0 bytes");
    expect_header("{\"a\\u001bb\":" T("[1]", "0", "4") "}", 4, ALULA_FORMAT, "control character at byte 1");
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    snprintf(header, sizeof header, "{\"%s\":" T("[1]", "0", "4") "}", name);
    expect_header(header, 4, ALULA_LIMIT, "name has 699 bytes");
    expect_header("{\"__metadata__\":3}", 0, ALULA_FORMAT, "\"__metadata__\" is not an object");
    expect_header("{\"__metadata__\":{\"a\":1}}", 0, ALULA_FORMAT, "value for \"a\" that is not a text");
}

static void test_cover(void **state)
{
    (void)state;
    expect_header("{\"a\":" T("[2]", "0", "8") ",\"b\":" T("[2]", "4", "12") "}", 12, ALULA_FORMAT,
                  "tensor b overlaps tensor a");
    expect_header("{\"a\":" T("[1]", "0", "4") ",\"b\":" T("[1]", "0", "4") "}", 4, ALULA_FORMAT,
                  "overlaps tensor");
    expect_header("{\"a\":" T("[1]", "0", "4") ",\"b\":" T("[1]", "8", "12") "}", 12, ALULA_FORMAT,
                  "4 bytes before tensor b belong to no tensor");
    expect_header("{\"a\":" T("[1]", "4", "8") "}", 8, ALULA_FORMAT,
                  "4 bytes before tensor a belong to no tensor");
    expect_header("{\"a\":" T("[1]", "0", "4") "}", 7, ALULA_FORMAT,
                  "3 bytes at the end belong to no tensor");
    expect_header("{}", 1, ALULA_FORMAT, "1 bytes at the end belong to no tensor");
}

/* Empty tensors, scalars, any order and any alignment are valid. */
static void test_valid_oddities(void **state)
{
    (void)state;
    struct alula_error e;
    struct st_file *f;
    char shape[64];
    const char *header = "{\"z\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]},\"a\":" T(
        "[1,2]", "1", "9") ",\"none\":" T("[0,5]", "1", "1") ",\"__metadata__\":{\"format\":\"pt\"}}   ";
    write_claiming(strlen(header), header, 9);
    assert_ok(st_open(&f, path, &e), e);
    assert_int_equal(f->n_tensors, 3);
    assert_string_equal(f->tensors[0].name, "a");
    assert_string_equal(f->tensors[2].name, "z");
    assert_string_equal(json_string_value(json_object_get(f->metadata, "format")), "pt");
    assert_string_equal(tensor_shape_str(st_find(f, "a"), shape, sizeof shape), "[1, 2]");
    assert_string_equal(tensor_shape_str(st_find(f, "z"), shape, sizeof shape), "[]");
    assert_ptr_equal(st_find(f, "a")->data, st_find(f, "z")->data + 1);
    assert_int_equal(st_find(f, "none")->n_bytes, 0);
    assert_null(st_find(f, "b"));
    assert_ptr_equal(st_find(f, "a")->file, f);
    st_close(f);
}

static void test_empty_file(void **state)
{
    (void)state;
    struct alula_error e;
    struct st_file *f;
    write_claiming(2, "{}", 0);
    assert_ok(st_open(&f, path, &e), e);
    assert_int_equal(f->n_tensors, 0);
    assert_null(st_find(f, "a"));
    st_close(f);
    snprintf(path, sizeof path, "%s/absent/t.safetensors", scratch_dir());
    expect(ALULA_NOT_FOUND, "t.safetensors");
}

/* ---- writer ---------------------------------------------------------------------------------- */

static struct st_writer *open_writer(const json_t *metadata)
{
    struct st_writer *w;
    struct alula_error e;
    snprintf(path, sizeof path, "%s/t.safetensors", scratch_dir());
    unlink(path);
    assert_ok(st_writer_open(&w, path, metadata, &e), e);
    return w;
}

static void test_round_trip(void **state)
{
    (void)state;
    struct alula_error e;
    struct st_file *f;
    json_t *metadata = json_pack("{s:s}", "format", "mlx");
    const uint64_t shape[3] = {2, 1, 3};
    unsigned char data[12 + 1 + 8];
    for (size_t i = 0; i < sizeof data; i++) data[i] = (unsigned char)(i * 37);
    struct st_writer *w = open_writer(metadata);
    assert_ok(st_writer_declare(w, "w.\"\xc3\xa9", DT_BF16, 3, shape, &e), e);
    assert_ok(st_writer_declare(w, "scalar", DT_U8, 0, NULL, &e), e);
    assert_ok(st_writer_declare(w, "ids", DT_I64, 1, (uint64_t[]){1}, &e), e);
    assert_ok(st_writer_begin(w, &e), e);
    for (size_t at = 0; at < sizeof data; at += 5)
        assert_ok(st_writer_append(w, data + at, sizeof data - at < 5 ? sizeof data - at : 5, &e), e);
    assert_false(file_exists(path));
    assert_ok(st_writer_commit(w, &e), e);
    st_writer_close(w);
    json_decref(metadata);

    assert_ok(st_open(&f, path, &e), e);
    const struct tensor *t = st_find(f, "w.\"\xc3\xa9");
    assert_non_null(t);
    assert_int_equal(t->dtype, DT_BF16);
    assert_int_equal(t->n_dims, 3);
    assert_memory_equal(t->shape, shape, sizeof shape);
    assert_memory_equal(t->data, data, 12);
    assert_int_equal(((size_t)(t->data - f->map.data)) % 8, 0);
    assert_memory_equal(st_find(f, "scalar")->data, data + 12, 1);
    assert_memory_equal(st_find(f, "ids")->data, data + 13, 8);
    assert_string_equal(json_string_value(json_object_get(f->metadata, "format")), "mlx");
    st_close(f);
}

static void test_writer_refuses(void **state)
{
    (void)state;
    struct alula_error e;
    const uint64_t two[] = {2}, huge[] = {UINT64_MAX / 2, 4};
    struct st_writer *w = open_writer(NULL);
    assert_ok(st_writer_declare(w, "a", DT_F32, 1, two, &e), e);
    assert_false(st_writer_declare(w, "a", DT_F32, 1, two, &e));
    assert_non_null(strstr(e.message, "tensor a is declared twice"));
    assert_false(st_writer_declare(w, "__metadata__", DT_F32, 1, two, &e));
    assert_false(st_writer_declare(w, "b", DT_F32, 2, huge, &e));
    assert_non_null(strstr(e.message, "more bytes than can be counted"));
    assert_false(st_writer_append(w, "12345678", 8, &e));
    assert_ok(st_writer_begin(w, &e), e);
    assert_false(st_writer_declare(w, "c", DT_F32, 1, two, &e));
    assert_ok(st_writer_append(w, "1234567", 7, &e), e);
    assert_false(st_writer_commit(w, &e));
    assert_non_null(strstr(e.message, "8 bytes were declared, 7 appended"));
    assert_false(st_writer_append(w, "89", 2, &e));
    st_writer_close(w);
    assert_false(file_exists(path));
}

static void test_writer_unwritable(void **state)
{
    (void)state;
    struct alula_error e;
    struct st_writer *w = NULL;
    char bad[4200];
    snprintf(bad, sizeof bad, "%s/absent/t.safetensors", scratch_dir());
    assert_false(st_writer_open(&w, bad, NULL, &e));
    assert_null(w);
    assert_non_null(strstr(e.message, "absent"));
}

/* ---- mutations ------------------------------------------------------------------------------- */

static uint32_t seed = 20261124;
static uint32_t random32(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 17;
    seed ^= seed << 5;
    return seed;
}

/* Whatever opens must be sound: every range inside the map, every byte in exactly one tensor. */
static void check_sound(const struct st_file *f)
{
    size_t sum = 0;
    for (size_t i = 0; i < f->n_tensors; i++) {
        const struct tensor *t = &f->tensors[i];
        uint64_t bytes = dtype_size(t->dtype);
        for (int d = 0; d < t->n_dims; d++) bytes *= t->shape[d];
        assert_int_equal(bytes, t->n_bytes);
        assert_true(t->data >= f->map.data + 8 && t->data + t->n_bytes <= f->map.data + f->map.len);
        sum += t->n_bytes;
        assert_true(i == 0 || strcmp(f->tensors[i - 1].name, t->name) < 0);
    }
    assert_true(sum <= f->map.len);
}

static void test_mutations(void **state)
{
    (void)state;
    static const char tokens[] = "0123456789-[]{},:\"eF";
    const char *header = "{\"__metadata__\":{\"format\":\"pt\"},\"a\":" T("[2,3]", "0", "24") ",\"b.c\":" T(
        "[4]", "24", "40") ",\"d\":{\"dtype\":\"BF16\",\"shape\":[1,1,2],\"data_offsets\":[40,44]}}";
    size_t n = strlen(header), total = 8 + n + 44;
    unsigned char base[512] = {0}, b[512];
    struct alula_error e;
    int n_opened = 0, fd = memfd_create("mutant", 0); /* thousands of files on a disk would take long */
    assert_true(fd >= 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    base[0] = (unsigned char)n;
    base[1] = (unsigned char)(n >> 8);
    memcpy(base + 8, header, n);
    for (int round = 0; round < 6000; round++) {
        struct st_file *f;
        size_t len = total;
        memcpy(b, base, sizeof b);
        for (uint32_t k = 0, edits = 1 + random32() % 3; k < edits; k++) {
            size_t at = random32() % (8 + n);
            if (random32() % 3 == 0)
                b[at] = (unsigned char)random32();
            else
                b[at] = (unsigned char)tokens[random32() % (sizeof tokens - 1)];
        }
        if (random32() % 8 == 0) len = random32() % (total + 8);
        assert_int_equal(ftruncate(fd, 0), 0);
        assert_int_equal(pwrite(fd, b, len, 0), len);
        e.message[0] = '\0';
        if (st_open(&f, path, &e)) {
            n_opened++;
            check_sound(f);
            st_close(f);
        } else {
            assert_int_not_equal(e.message[0], 0);
        }
    }
    /* Names and metadata may change without harm, so some must open; else the loop would test nothing behind
     * the JSON. */
    assert_true(n_opened > 50);
    close(fd);
}

/* Every allocation may fail: an error, nothing lost, and the next try succeeds. */
static void test_out_of_memory(void **state)
{
    (void)state;
    struct alula_error e;
    struct st_file *f = NULL;
    const char *header = "{\"a\":" T("[1]", "0", "4") ",\"b\":" T("[1]", "4", "8") "}";
    write_claiming(strlen(header), header, 8);
    int n = 0;
    for (bool ok = false; !ok; n++) {
        mem_fail_after(n);
        ok = st_open(&f, path, &e);
        mem_fail_after(-1);
        if (!ok && e.code != ALULA_NOMEM) fail_msg("allocation %d: code %d \"%s\"", n, e.code, e.message);
    }
    st_close(f);
    assert_true(n > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frame),          cmocka_unit_test(test_entries),
        cmocka_unit_test(test_cover),          cmocka_unit_test(test_valid_oddities),
        cmocka_unit_test(test_empty_file),     cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_writer_refuses), cmocka_unit_test(test_writer_unwritable),
        cmocka_unit_test(test_mutations),      cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
