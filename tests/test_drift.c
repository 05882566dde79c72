/* test_drift.c - how far one trunk lies from another: equal ones, planted changes, other layouts, other
 * shapes. */
#include "tests/tensors_rig.h"
#include "tests/forge_rig.h"
#include "tests/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "artifact/safetensors.h"
#include "forge/drift.h"

struct side {
    struct checkpoint *cp;
    struct weights *w;
};

static struct side open_side(const char *dir)
{
    struct side s;
    struct alula_error e = {0};
    assert_ok(checkpoint_open_trunk(&s.cp, dir, &e) && weights_bind_trunk(&s.w, s.cp, &e), e);
    return s;
}

static void close_side(struct side *s)
{
    weights_free(s->w);
    checkpoint_close(s->cp);
}

static struct drift run_ok(const char *trunk, const char *donor, int n_threads)
{
    struct side a = open_side(trunk), b = open_side(donor);
    struct pool *pool;
    struct drift d;
    struct alula_error e = {0};
    assert_ok(pool_create(&pool, n_threads, &e) && drift_run(&d, a.w, b.w, pool, NULL, &e), e);
    pool_free(pool);
    close_side(&a);
    close_side(&b);
    return d;
}

static const struct drift_entry *find(const struct drift *d, enum drift_class class, int layer)
{
    for (size_t i = 0; i < d->n; i++)
        if (d->entries[i].class == class && d->entries[i].layer == layer) return &d->entries[i];
    fail_msg("no entry for %s of layer %d", drift_class_name(class), layer);
    return NULL;
}

/* What is changed of a file: all values of one tensor are multiplied, and one row of another. */
struct change {
    const char *name;
    float factor;
    const char *rows_of; /* or NULL */
    int row;
};

static void change_values(void *arg, const struct tensor *t, unsigned char *bytes)
{
    const struct change *c = arg;
    bool whole = strcmp(t->name, c->name) == 0, one = c->rows_of && strcmp(t->name, c->rows_of) == 0;
    size_t cols = (size_t)t->shape[t->n_dims - 1], n_values = t->n_bytes / dtype_size(t->dtype);
    assert_true((!whole && !one) || t->dtype == DT_BF16);
    for (size_t k = 0; k < n_values && (whole || one); k++)
        if (whole || k / cols == (size_t)c->row) {
            uint16_t v = f32_to_bf16(value_f32(t->data, t->dtype, k) * c->factor);
            memcpy(bytes + 2 * k, &v, 2);
        }
}

/* A flat folder: the donor's files with that change. */
static const char *changed_copy(const char *from, struct change c)
{
    static char dir[4096];
    char path[4200], source[4200];
    static int n;
    snprintf(dir, sizeof dir, "%s/changed%d", scratch_dir(), n++);
    char command[9000];
    snprintf(command, sizeof command, "mkdir %s && cp %s/config.json %s/", dir, from, dir);
    assert_int_equal(system(command), 0);
    snprintf(source, sizeof source, "%s/model.safetensors", from);
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    rewrite_tensors(source, path, "", change_values, &c);
    return dir;
}

/* Numbered experts in two shards against fused ones: the same weights are identical in every class. */
static void test_equal_trunks_in_two_layouts(void **state)
{
    (void)state;
    struct drift d = run_ok("tests/data/layouts/trunk", "tests/data/layouts/donor", 2);
    assert_true(d.n > 0);
    for (size_t i = 0; i < d.n; i++) {
        assert_true(d.entries[i].identical);
        assert_true(d.entries[i].change == 0 && d.entries[i].cosine == 1);
    }
    assert_int_equal(d.rows_moved, 0);
    assert_int_equal(d.n_rows, 0);
    drift_free(&d);
}

/* Doubled: relative change 1, cosine 1. One row of the embedding and nothing else of it moves. */
static void test_planted_changes_are_found_where_they_are(void **state)
{
    (void)state;
    const char *dir = changed_copy("models/tiny-donor",
                                   (struct change){"model.language_model.layers.3.self_attn.o_proj.weight", 2,
                                                   "model.language_model.embed_tokens.weight", 77});
    struct drift d = run_ok(dir, "models/tiny-donor", 2);
    for (size_t i = 0; i < d.n; i++) {
        const struct drift_entry *e = &d.entries[i];
        bool moved = (e->class == DRIFT_ATTENTION && e->layer == 3) || e->class == DRIFT_EMBEDDING;
        assert_true(e->identical != moved);
    }
    assert_true(find(&d, DRIFT_ATTENTION, 3)->change > 0.1);
    assert_true(find(&d, DRIFT_ATTENTION, 3)->cosine < 1);
    assert_int_equal(d.rows_moved, 1);
    assert_int_equal(d.n_rows, 1);
    assert_int_equal(d.rows[0].token, 77);
    assert_true(fabs(d.rows[0].change - 1) < 1e-6);
    drift_free(&d);
}

/* The figures against sums written down plainly, for one class of one layer. */
static void test_figures(void **state)
{
    (void)state;
    struct side a = open_side("models/tiny-trunk"), b = open_side("models/tiny-donor");
    struct drift d = run_ok("models/tiny-trunk", "models/tiny-donor", 1);
    const struct matrix *one[] = {&a.w->layers[2].mlp.router, &a.w->layers[2].mlp.shared_expert_gate};
    const struct matrix *two[] = {&b.w->layers[2].mlp.router, &b.w->layers[2].mlp.shared_expert_gate};
    double aa = 0, bb = 0, ab = 0, dd = 0;
    for (int m = 0; m < 2; m++)
        for (size_t i = 0; i < (size_t)one[m]->rows * one[m]->cols; i++) {
            double x = value_f32(one[m]->data, one[m]->type, i), y = value_f32(two[m]->data, two[m]->type, i);
            aa += x * x;
            bb += y * y;
            ab += x * y;
            dd += (x - y) * (x - y);
        }
    const struct drift_entry *e = find(&d, DRIFT_ROUTER, 2);
    assert_true(e->change > 0);
    assert_true(fabs(e->change - sqrt(dd / bb)) < 1e-6);
    assert_true(fabs(e->cosine - ab / sqrt(aa * bb)) < 1e-6);
    assert_false(e->dequantized);
    drift_free(&d);
    close_side(&a);
    close_side(&b);
}

static void test_threads_do_not_matter(void **state)
{
    (void)state;
    struct drift one = run_ok("models/tiny-trunk", "models/tiny-donor", 1);
    struct drift three = run_ok("models/tiny-trunk", "models/tiny-donor", 3);
    assert_int_equal(one.n, three.n);
    for (size_t i = 0; i < one.n; i++) {
        assert_true(one.entries[i].change == three.entries[i].change);
        assert_true(one.entries[i].cosine == three.entries[i].cosine);
    }
    assert_memory_equal(one.rows, three.rows, sizeof one.rows);
    assert_int_equal(one.n_rows, DRIFT_ROWS);
    for (int i = 1; i < DRIFT_ROWS; i++) assert_true(one.rows[i - 1].change >= one.rows[i].change);
    drift_free(&one);
    drift_free(&three);
}

/* A packed trunk against its own source differs by rounding alone, and the entry says that it may. */
static void test_packed_against_plain(void **state)
{
    (void)state;
    struct forge_options o = forge_usual("models/tiny-donor", NULL, scratch_path("packed"));
    o.plan.bits = 8;
    forge_ok(&o);
    struct drift d = run_ok(o.out, "models/tiny-donor", 2);
    const struct drift_entry *experts = find(&d, DRIFT_EXPERTS, 0);
    assert_true(experts->dequantized && !experts->identical);
    assert_true(experts->change > 0 && experts->change < 0.02);
    assert_true(find(&d, DRIFT_FINAL_NORM, -1)->change < 0.01);
    drift_free(&d);
}

static void test_other_shapes_are_named(void **state)
{
    (void)state;
    struct side a = open_side("models/tiny-trunk"), b = open_side("tests/data/layouts/donor");
    struct pool *pool;
    struct drift d;
    struct alula_error e = {0};
    assert_ok(pool_create(&pool, 1, &e), e);
    assert_false(drift_run(&d, a.w, b.w, pool, NULL, &e));
    assert_int_equal(e.code, ALULA_MISMATCH);
    const char *const named[] = {"hidden_size 192 (donor: ", "vocab_size 2048 (donor: "};
    for (size_t i = 0; i < sizeof named / sizeof *named; i++)
        if (!strstr(e.message, named[i])) fail_msg("\"%s\" is not in: %s", named[i], e.message);
    pool_free(pool);
    close_side(&a);
    close_side(&b);
}

static bool stop(void *arg, const char *what, uint64_t done, uint64_t total)
{
    (void)arg, (void)what, (void)done, (void)total;
    return false;
}

static void test_cancel(void **state)
{
    (void)state;
    struct side a = open_side("models/tiny-trunk"), b = open_side("models/tiny-donor");
    struct pool *pool;
    struct drift d;
    struct alula_error e = {0};
    const struct watch watch = {stop, NULL};
    assert_ok(pool_create(&pool, 1, &e), e);
    assert_false(drift_run(&d, a.w, b.w, pool, &watch, &e));
    assert_int_equal(e.code, ALULA_CANCELLED);
    pool_free(pool);
    close_side(&a);
    close_side(&b);
}

static void test_json_names_the_tokens(void **state)
{
    (void)state;
    struct drift d = run_ok("models/tiny-trunk", "models/tiny-donor", 2);
    struct tokenizer *t;
    struct alula_error e = {0};
    assert_ok(tokenizer_open(&t, "models/tiny-trunk", &e), e);
    json_t *o = (drift_name_rows(&d, t), drift_json(&d)),
           *most = json_object_get(json_object_get(o, "embedding_rows"), "most");
    assert_int_equal(json_array_size(most), DRIFT_ROWS);
    assert_true(json_is_string(json_object_get(json_array_get(most, 0), "token")));
    assert_int_equal(json_array_size(json_object_get(o, "entries")), d.n);
    json_decref(o);
    tokenizer_close(t);
    drift_free(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal_trunks_in_two_layouts),
        cmocka_unit_test(test_planted_changes_are_found_where_they_are),
        cmocka_unit_test(test_figures),
        cmocka_unit_test(test_threads_do_not_matter),
        cmocka_unit_test(test_packed_against_plain),
        cmocka_unit_test(test_other_shapes_are_named),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_json_names_the_tokens),
    };
    return cmocka_run_group_tests_name("drift", tests, NULL, NULL);
}
