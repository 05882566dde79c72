/* Counted allocation, injected failures, arenas and zero pages. */
#include "tests/support.h"

#include <string.h>

static void test_counting(void **state)
{
    (void)state;
    uint64_t before = mem_count();
    void *a = mem_alloc(10), *b = mem_zalloc(3, 7), *c = mem_strdup("text"), *d = mem_strndup("text", 2);
    a = mem_realloc(a, 100);
    void *m = mem_map(1 << 20);
    assert_int_equal(mem_count() - before, 6);
    assert_string_equal(c, "text");
    assert_string_equal(d, "te");
    for (int i = 0; i < 21; i++) assert_int_equal(((char *)b)[i], 0);
    assert_int_equal(((char *)m)[(1 << 20) - 1], 0);
    mem_free(a);
    mem_free(b);
    mem_free(c);
    mem_free(d);
    mem_free(NULL);
    mem_unmap(m, 1 << 20);
    mem_unmap(NULL, 5);
}

/* A test that proves that nothing is allocated would prove nothing if jansson went its own way. */
static void test_jansson_is_counted(void **state)
{
    (void)state;
    struct alula_error e;
    uint64_t before = mem_count();
    json_t *v = json_parse("{\"a\": [1, 2]}", 13, 8, "text", &e);
    assert_non_null(v);
    assert_true(mem_count() > before + 3);
    json_decref(v);
}

static void test_zero_size_is_not_failure(void **state)
{
    (void)state;
    void *a = mem_alloc(0), *b = mem_zalloc(0, 8), *c = mem_realloc(NULL, 0);
    assert_true(a && b && c);
    c = mem_realloc(c, 0);
    assert_non_null(c);
    mem_free(a);
    mem_free(b);
    mem_free(c);
}

static void test_failure_injection(void **state)
{
    (void)state;
    mem_fail_after(2);
    void *a = mem_alloc(1), *b = mem_alloc(1), *c = mem_alloc(1), *d = mem_realloc(a, 2), *m = mem_map(1);
    mem_fail_after(-1);
    assert_true(a && b);
    assert_true(!c && !d && !m); /* a stays valid when its reallocation fails */
    mem_free(a);
    mem_free(b);
    assert_null(mem_zalloc(SIZE_MAX / 2, 3));
    size_t n;
    assert_false(mem_mul(SIZE_MAX / 2, 3, &n));
    assert_false(mem_add(SIZE_MAX, 1, &n));
    assert_true(mem_mul(6, 7, &n) && n == 42);
}

static void test_arena_memory(void **state)
{
    (void)state;
    struct arena a = {0};
    enum { N = 2000 };
    static unsigned char *p[N];
    size_t size[N], sum = 0;
    for (size_t i = 0; i < N; i++) {
        size[i] = i % 97 * (i % 13) + (i % 500 == 499 ? 300000 : 0);
        p[i] = arena_alloc(&a, size[i]);
        assert_non_null(p[i]);
        assert_int_equal((uintptr_t)p[i] % 64, 0);
        for (size_t k = 0; k < size[i]; k++)
            if (p[i][k]) fail_msg("byte %zu of piece %zu is not zero", k, i);
        memset(p[i], (int)(i % 255 + 1), size[i]);
        sum += size[i] ? (size[i] + 63) / 64 * 64 : 64;
    }
    assert_int_equal(a.used, sum);
    for (size_t i = 0; i < N; i++) /* no piece overlaps another */
        for (size_t k = 0; k < size[i]; k++)
            if (p[i][k] != i % 255 + 1) fail_msg("piece %zu was overwritten at %zu", i, k);
    assert_string_equal(arena_strndup(&a, "abcdef", 3), "abc");
    arena_free(&a);
    assert_int_equal(a.used, 0);
    assert_non_null(arena_alloc(&a, 1)); /* usable again */
    arena_free(&a);
}

static void test_arena_asks_the_system_rarely(void **state)
{
    (void)state;
    struct arena a = {0};
    uint64_t before = mem_count();
    for (int i = 0; i < 100000; i++) assert_non_null(arena_alloc(&a, 64));
    assert_in_range(mem_count() - before, 1, 16);
    arena_free(&a);
}

static void test_arena_ceiling(void **state)
{
    (void)state;
    struct arena a = {.ceiling = 1000};
    assert_null(arena_alloc(&a, 1001));
    assert_non_null(arena_alloc(&a, 900));
    assert_int_equal(a.used, 960);
    assert_null(arena_alloc(&a, 64));
    assert_int_equal(a.used, 960);
    arena_free(&a);
    a.ceiling = 0;
    assert_null(arena_alloc(&a, SIZE_MAX));
    assert_null(arena_alloc(&a, SIZE_MAX - 64));
    assert_null(arena_array(&a, SIZE_MAX / 4, 5));
    assert_null(arena_strndup(&a, "x", SIZE_MAX));
    assert_int_equal(a.used, 0);
    mem_fail_after(0);
    assert_null(arena_alloc(&a, 1));
    mem_fail_after(-1);
    assert_non_null(arena_array(&a, 3, 5));
    arena_free(&a);
}

/* Far more than the machine has: a sequence state reserves its whole context and touches what it uses. */
static void test_map_reserves_only(void **state)
{
    (void)state;
    size_t n = (size_t)64 << 30;
    char *p = mem_map(n);
    assert_non_null(p);
    p[0] = p[n - 1] = 1;
    assert_int_equal(p[n / 2], 0);
    mem_unmap(p, n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counting),
        cmocka_unit_test(test_jansson_is_counted),
        cmocka_unit_test(test_zero_size_is_not_failure),
        cmocka_unit_test(test_failure_injection),
        cmocka_unit_test(test_arena_memory),
        cmocka_unit_test(test_arena_asks_the_system_rarely),
        cmocka_unit_test(test_arena_ceiling),
        cmocka_unit_test(test_map_reserves_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
