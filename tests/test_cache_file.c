/* One file of the prompt cache: whatever happens to its bytes, what is read is right or it is refused. */
#include "tests/cache_rig.h"

#include <fcntl.h>
#include <unistd.h>

/* A file of two parts, the first of which is another file's; its content spans n blocks. */
struct specimen {
    struct cache_shape shape;
    char dir[256];
    struct buf bytes;
    unsigned char *rows, *snapshot;
    char name[64];
};

static void specimen_make(struct specimen *s, size_t row_bytes, size_t snapshot_bytes)
{
    atomic_size_t used = 0;
    struct alula_error e;
    char path[512];
    *s = (struct specimen){.shape = {.row_bytes = {row_bytes, row_bytes + 8},
                                     .snapshot_bytes = {snapshot_bytes, snapshot_bytes + 8},
                                     .max_tokens = 1000}};
    memset(s->shape.identity, 'a', sizeof s->shape.identity - 1);
    snprintf(s->dir, sizeof s->dir, "%s", fresh_dir());
    struct cache_file *f = cache_file_new(&s->shape, 10, 80, true);
    struct blob *ids = blob_of(80 * sizeof(int32_t), 3, &used),
                *rows = blob_of(80 * (row_bytes + 8), 7, &used),
                *snapshot = blob_of(snapshot_bytes + 8, 5, &used);
    struct cache_part parts[2] = {{{ids, 0}, {NULL, 0}, 10}, {{ids, 10}, {rows, 10}, 70}};
    assert_ok(cache_file_write(f, &s->shape, s->dir, parts, 2, snapshot, (struct timespec){1000, 0}, &e), e);
    snprintf(s->name, sizeof s->name, "%s", f->name);
    snprintf(path, sizeof path, "%s/%s", s->dir, s->name);
    buf_init(&s->bytes, 0);
    assert_ok(file_read(path, 0, &s->bytes, &e), e);
    assert_int_equal(s->bytes.len, cache_file_bytes(&s->shape, f));
    s->rows = mem_alloc(70 * (row_bytes + 8));
    s->snapshot = mem_alloc(snapshot_bytes + 8);
    memcpy(s->rows, rows->bytes + 10 * (row_bytes + 8), 70 * (row_bytes + 8));
    memcpy(s->snapshot, snapshot->bytes, snapshot->n);
    cache_file_free(f);
    blob_free(ids);
    blob_free(rows);
    blob_free(snapshot);
    assert_int_equal(atomic_load(&used), 0);
}

static void specimen_free(struct specimen *s)
{
    buf_free(&s->bytes);
    mem_free(s->rows);
    mem_free(s->snapshot);
}

static void overwrite(const struct specimen *s, const void *p, size_t n)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", s->dir, s->name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0 && write(fd, p, n) == (ssize_t)n);
    close(fd);
}

/* Reads rows [at, at+n) and the snapshot. What succeeds is right; returns whether all did. */
static bool read_specimen(const struct specimen *s, int at, int n, struct alula_error *e)
{
    struct cache_file *f;
    int32_t *ids;
    size_t row = s->shape.row_bytes[1], snapshot = s->shape.snapshot_bytes[1];
    if (!cache_file_open(&f, &ids, &s->shape, s->dir, s->name, e)) return false;
    assert_int_equal(f->first, 10);
    assert_int_equal(f->end, 80);
    assert_memory_equal(ids, s->bytes.data + 112, 80 * sizeof *ids);
    unsigned char *out = mem_alloc((size_t)n * row + snapshot);
    bool rows_ok = cache_file_rows(f, &s->shape, s->dir, at, n, out, e);
    if (rows_ok) assert_memory_equal(out, s->rows + (size_t)at * row, (size_t)n * row);
    bool snapshot_ok = cache_file_snapshot(f, &s->shape, s->dir, out, e);
    if (snapshot_ok) assert_memory_equal(out, s->snapshot, snapshot);
    mem_free(out);
    mem_free(ids);
    cache_file_free(f);
    return rows_ok && snapshot_ok;
}

/* Every byte, every bit of it; every cut; something behind the end. */
static void test_every_flip_and_cut(void **state)
{
    (void)state;
    struct specimen s;
    struct alula_error e;
    specimen_make(&s, 8, 100);
    assert_ok(read_specimen(&s, 0, 70, &e), e);
    for (size_t i = 0; i < s.bytes.len; i++)
        for (int bit = 0; bit < 8; bit++) {
            s.bytes.data[i] = (char)(s.bytes.data[i] ^ 1 << bit);
            overwrite(&s, s.bytes.data, s.bytes.len);
            s.bytes.data[i] = (char)(s.bytes.data[i] ^ 1 << bit);
            assert_false(read_specimen(&s, 0, 70, &e));
            assert_true(e.code == ALULA_FORMAT || (e.code == ALULA_MISMATCH && i >= 8 && i < 72));
        }
    for (size_t n = 0; n < s.bytes.len; n++) {
        overwrite(&s, s.bytes.data, n);
        assert_false(read_specimen(&s, 0, 70, &e));
        assert_int_equal(e.code, ALULA_FORMAT);
    }
    buf_byte(&s.bytes, 0);
    overwrite(&s, s.bytes.data, s.bytes.len);
    assert_false(read_specimen(&s, 0, 70, &e));
    specimen_free(&s);
}

/* Content of several blocks, in pieces that begin and end anywhere; a hurt block hurts only what lies in it. */
static void test_reads_only_what_is_asked_for(void **state)
{
    (void)state;
    struct specimen s;
    struct alula_error e;
    specimen_make(&s, 3993, 70001); /* 70 rows of 4001 bytes */
    for (int at = 0; at < 70; at += 3)
        for (int n = 1; at + n <= 70; n += 5) assert_ok(read_specimen(&s, at, n, &e), e);
    size_t content = 112 + 80 * sizeof(int32_t);
    for (int block = 0; block < 4; block++) {
        size_t at = content + (size_t)block * 65536 + 1000;
        s.bytes.data[at]++;
        overwrite(&s, s.bytes.data, s.bytes.len);
        s.bytes.data[at]--;
        for (int row = 0; row < 60; row++) {
            bool in = row * 4001 / 65536 <= block && block <= (row * 4001 + 4000) / 65536;
            if (read_specimen(&s, row, 1, &e) == in) fail_msg("row %d with block %d hurt", row, block);
        }
    }
    specimen_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_flip_and_cut),
        cmocka_unit_test(test_reads_only_what_is_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
