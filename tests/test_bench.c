/* test_bench.c - the bench: synthetic weights are what they claim to be, bytes are counted right, figures follow from
 * the seconds, a whole run gives every key. No speed is asserted. */
#include "tests/support.h"

#include <math.h>
#include <string.h>

#include "tune/bench.h"
#include "tune/machine.h"
#include "tune/synth.h"

static struct config tiny_shape(void)
{
    struct config c;
    synth_shape(&c, SYNTH_35B, 4);
    c.hidden = 128;
    c.vocab = 512;
    c.max_position = 2048;
    c.n_heads = 2;
    c.n_kv_heads = 1;
    c.head_dim = 64;
    c.rotary_dim = 16;
    c.lin_k_heads = 1;
    c.lin_v_heads = 2;
    c.lin_k_dim = c.lin_v_dim = 64;
    c.n_experts = 64;
    c.experts_per_tok = 4;
    c.moe_inter = c.shared_inter = 64;
    return c;
}

static struct synth *tiny(double overlap)
{
    struct alula_error e;
    struct synth *s;
    struct pool *pool;
    struct config c = tiny_shape();
    assert_ok(pool_create(&pool, 2, &e), e);
    assert_ok(synth_create(&s, &c, overlap, pool, &e), e);
    pool_free(pool);
    return s;
}

/* Mean and standard deviation of all values. */
static void moments(const struct matrix *m, double *mean, double *deviation)
{
    float row[256];
    double sum = 0, squares = 0, n = (double)m->rows * m->cols;
    assert_true(m->cols <= 256);
    for (uint32_t r = 0; r < m->rows; r++) {
        matrix_row_f32(m, r, row);
        for (uint32_t i = 0; i < m->cols; i++) {
            sum += (double)row[i];
            squares += (double)row[i] * (double)row[i];
        }
    }
    *mean = sum / n;
    *deviation = sqrt(squares / n - *mean * *mean);
}

static void weights_decode_to_mean_zero(void **state)
{
    (void)state;
    struct synth *s = tiny(0);
    const struct layer_weights *delta = &s->weights.layers[0], *full = &s->weights.layers[3];
    const struct matrix *all[] = {&s->weights.lm_head, &delta->gdn.qkv,
                                  &delta->gdn.z,       &delta->gdn.out,
                                  &full->attn.q,       &full->attn.o,
                                  &full->mlp.up[7],    &full->mlp.down[63],
                                  &s->weights.mtp.fc,  &s->weights.mtp.layer.mlp.gate[0]};
    assert_int_equal(full->type, LAYER_FULL_ATTENTION);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        double mean, deviation, n = (double)all[i]->rows * all[i]->cols;
        moments(all[i], &mean, &deviation);
        assert_true(deviation > 0);
        /* Five standard errors: of a seed that never changes, so this does not flicker. */
        if (fabs(mean) > 5 * deviation / sqrt(n))
            fail_msg("matrix %zu: mean %g of deviation %g", i, mean, deviation);
    }
    synth_free(s);
}

static void widths_are_those_of_a_conversion(void **state)
{
    (void)state;
    struct synth *s = tiny(0);
    const struct mlp_weights *m = &s->weights.layers[1].mlp;
    assert_int_equal(m->router.bits, 8);
    assert_int_equal(m->shared_expert_gate.bits, 8);
    assert_int_equal(m->up[0].bits, 4);
    assert_int_equal(s->weights.lm_head.bits, 4);
    assert_int_equal(s->weights.layers[0].gdn.a.bits, 4);
    assert_int_equal(m->up[0].group, 64);
    synth_free(s);
}

static void bad_shapes_are_refused(void **state)
{
    (void)state;
    struct alula_error e;
    struct synth *s;
    struct pool *pool;
    struct config c = tiny_shape();
    assert_ok(pool_create(&pool, 1, &e), e);
    c.moe_inter = 100;
    assert_false(synth_create(&s, &c, 0, pool, &e));
    assert_non_null(strstr(e.message, "100"));
    c = tiny_shape();
    c.n_experts = 129;
    assert_false(synth_create(&s, &c, 0, pool, &e));
    c = tiny_shape();
    assert_false(synth_create(&s, &c, 1.5, pool, &e));
    assert_int_equal(e.code, ALULA_USAGE);
    pool_free(pool);
}

/* 4 bits with a BF16 scale and bias per 64 columns: 36 bytes a group; 8 bits: 68. */
static void bytes_equal_a_hand_count(void **state)
{
    (void)state;
    struct synth *s = tiny(0);
    double four = 36.0 / 64, eight = 68.0 / 64;
    double delta = (256 + 128 + 2 + 2) * 128 * four + 128 * 128 * four;
    double full = (256 + 64 + 64) * 128 * four + 128 * 128 * four;
    double expert = 3 * 64 * 128 * four;
    double mlp = (64 + 1) * 128 * eight + expert;
    double head = 512 * 128 * four, embedding = 128 * four;
    assert_float_equal(bench_trunk_bytes(&s->weights, 1, 4),
                       3 * delta + full + 4 * (mlp + 4 * expert) + head + embedding, 0.5);
    assert_float_equal(bench_trunk_bytes(&s->weights, 3, 10.5),
                       3 * delta + full + 4 * (mlp + 10.5 * expert) + head + 3 * embedding, 0.5);
    assert_float_equal(bench_draft_bytes(&s->weights, 128),
                       embedding + 256 * 128 * four + full + mlp + 4 * expert + head / 4, 0.5);
    synth_free(s);
}

/* A plan counts what is made; whole shapes have the size that their names say, with 4.5 bits a weight and the
 * head. */
static void plans_have_the_published_sizes(void **state)
{
    (void)state;
    struct alula_error e;
    struct config c = tiny_shape();
    struct synth *s = tiny(0);
    size_t bytes;
    assert_ok(synth_bytes(&bytes, &c, &e), e);
    assert_int_equal(bytes, s->map_bytes);
    /* The doctor reckons with a plan's experts, whose weights lie nowhere. */
    struct synth *plan;
    assert_ok(synth_plan(&plan, &c, &e), e);
    assert_float_equal(bench_trunk_bytes(&plan->weights, 2, 7), bench_trunk_bytes(&s->weights, 2, 7), 0);
    assert_float_equal(bench_draft_bytes(&plan->weights, 64), bench_draft_bytes(&s->weights, 64), 0);
    synth_free(plan);
    synth_free(s);
    static const struct {
        enum synth_shape shape;
        int layers;
        double weights, head; /* 1e9 */
    } shapes[] = {{SYNTH_35B, 40, 34.7, 0.85}, {SYNTH_122B, 48, 122.1, 2.54}};
    for (size_t i = 0; i < 2; i++) {
        synth_shape(&c, shapes[i].shape, 0);
        assert_int_equal(c.n_layers, shapes[i].layers);
        assert_ok(synth_bytes(&bytes, &c, &e), e);
        double weights = (double)bytes * 8 / 4.5 / 1e9;
        if (fabs(weights - shapes[i].weights - shapes[i].head) > 0.01 * shapes[i].weights)
            fail_msg("shape %zu has %.2f thousand million weights", i, weights);
    }
}

static struct bench_options quick(void)
{
    struct bench_options o = bench_defaults();
    o.n_threads = 2;
    o.rounds = 2;
    o.step_s = 0;
    o.read_bytes = 1 << 20;
    return o;
}

static struct bench *run(double overlap, const struct bench_options *o)
{
    struct alula_error e;
    struct synth *s = tiny(overlap);
    struct bench *b = mem_zalloc(1, sizeof *b);
    assert_non_null(b);
    assert_ok(bench_run(b, &s->weights, NULL, o, &e), e);
    synth_free(s);
    return b;
}

static void neighbours_share_the_experts_asked_for(void **state)
{
    (void)state;
    static const struct {
        double overlap, apart; /* experts that each further row adds */
    } cases[] = {{0, 4}, {0.25, 3}, {0.75, 1}, {1, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bench_options o = quick();
        struct bench *b = run(cases[i].overlap, &o);
        for (int k = 1; k <= VERIFY_ROWS_MAX; k++)
            assert_float_equal(bench_find(b, BENCH_VERIFY, k)->experts, 4 + (k - 1) * cases[i].apart, 0);
        assert_float_equal(bench_find(b, BENCH_SEQUENCES, 4)->experts, 4 + 3 * cases[i].apart, 0);
        mem_free(b);
    }
}

static void has_figure(const json_t *o, const char *key)
{
    static const char *const ends[] = {"", "_min", "_max"};
    double v[3];
    for (int i = 0; i < 3; i++) {
        char full[64];
        snprintf(full, sizeof full, "%s%s", key, ends[i]);
        if (!json_is_number(json_object_get(o, full))) fail_msg("no number under %s", full);
        v[i] = json_number_value(json_object_get(o, full));
    }
    assert_true(v[1] > 0 && v[1] <= v[0] && v[0] <= v[2]);
}

static void has_list(const json_t *root, const char *key, size_t n, const char *number, const char *figure)
{
    const json_t *list = json_object_get(root, key);
    if (json_array_size(list) != n) fail_msg("%s has %zu entries", key, json_array_size(list));
    for (size_t i = 0; i < n; i++) {
        assert_true(json_is_integer(json_object_get(json_array_get(list, i), number)));
        has_figure(json_array_get(list, i), figure);
    }
}

static void a_run_gives_every_key(void **state)
{
    (void)state;
    struct bench_options o = quick();
    o.draft_vocab = 100;
    struct bench *b = run(0, &o);
    struct bench_label label = {
        .title = "x", .synthetic = true, .layers = 4, .all_layers = 40, .load = {1, 1, 2}};
    json_t *root = bench_json(b, &label);
    const char *const figures[] = {"read_gbs", "load_s", "rss_bytes", "rss_context_bytes"};
    for (size_t i = 0; i < 4; i++) has_figure(root, figures[i]);
    assert_true(json_is_integer(json_object_get(root, "bytes_per_token")));
    assert_int_equal(json_integer_value(json_object_get(root, "threads")), 2);
    assert_true(json_is_string(json_object_get(root, "isa")));
    has_figure(json_object_get(root, "ar"), "tok_s");
    has_figure(json_object_get(root, "ar"), "bound_share");
    has_figure(json_object_get(root, "draft"), "ms");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(root, "draft"), "head_rows")), 100);
    has_list(root, "verify", 8, "rows", "ms");
    has_list(root, "verify", 8, "rows", "bound_share");
    has_list(root, "mtp", 4, "depth", "tok_s");
    has_list(root, "mtp", 4, "depth", "ratio");
    assert_int_equal(
        json_array_size(json_object_get(json_array_get(json_object_get(root, "mtp"), 2), "acceptance")), 3);
    has_list(root, "prefill", 3, "tokens", "tok_s");
    has_list(root, "prefill", 3, "tokens", "bound_share");
    has_list(root, "context", 1, "tokens", "tok_s");
    assert_int_equal(json_integer_value(json_object_get(root, "all_layers")), 40);
    has_list(root, "sequences", 3, "n", "tok_s");
    has_list(root, "scaling", 2, "threads", "tok_s");
    json_decref(root);
    mem_free(b);
}

/* Seconds that are made up: the shares and ratios of one round are formed inside that round. */
static void figures_follow_from_the_seconds(void **state)
{
    (void)state;
    static struct bench b = {.n_threads = 1, .rounds = 3, .n_jobs = 3};
    b.jobs[0] = (struct bench_job){.rounds = 3, .kind = BENCH_READ, .bytes = 10e9, .seconds = {1, 2, 4}};
    b.jobs[1] = (struct bench_job){.rounds = 3,
                                   .kind = BENCH_PLAIN,
                                   .n = 1,
                                   .tokens = 1,
                                   .bytes = 5e9,
                                   .experts = 8,
                                   .seconds = {1, 2, 2}};
    b.jobs[2] =
        (struct bench_job){.rounds = 3, .kind = BENCH_MTP, .n = 1, .tokens = 1.5, .seconds = {1, 2.5, 1}};
    assert_float_equal(bench_read_gbs(&b).median, 5, 1e-9);
    assert_float_equal(bench_read_gbs(&b).max, 10, 1e-9);
    struct bench_figure share = bench_bound_share(&b, &b.jobs[1]); /* 0.5, 0.5, 1 */
    assert_float_equal(share.median, 0.5, 1e-9);
    assert_float_equal(share.max, 1, 1e-9);
    struct bench_figure ratio = bench_ratio(&b, &b.jobs[2]); /* 1.5, 1.2, 3 */
    assert_float_equal(ratio.min, 1.2, 1e-9);
    assert_float_equal(ratio.median, 1.5, 1e-9);
    assert_null(bench_find(&b, BENCH_DRAFT, 1));
}

/* A clock that stood still, or an operation whose matrices are not counted, would show here. */
static void a_profile_is_complete(void **state)
{
    (void)state;
    struct bench_options o = quick();
    o.profile = true;
    struct bench *b = run(0, &o);
    assert_int_equal(b->n_profiles, BENCH_PROFILES);
    for (int i = 0; i < b->n_profiles; i++) {
        const struct bench_profile *p = &b->profiles[i];
        const struct bench_job *job = &b->jobs[p->job];
        double sum = 0, weights = 0;
        for (int op = 0; op < PROFILE_OPS; op++) {
            sum += p->spent[op];
            if (op != PROFILE_ATTEND && op != PROFILE_DELTA_RULE) weights += (double)p->bytes[op];
        }
        assert_float_equal(sum / p->seconds, 1, 1e-6);
        if (job->kind == BENCH_PREFILL) continue;
        /* all that the bound counts but the rows' embeddings, 128 values of 4.5 bits */
        assert_float_equal(weights / p->steps, job->bytes - job->n * 128 * 4.5 / 8, 0.5);
    }
    struct bench_label label = {.title = "x"};
    json_t *root = bench_json(b, &label);
    const json_t *list = json_object_get(root, "profile"), *first = json_array_get(list, 0);
    assert_int_equal(json_array_size(list), BENCH_PROFILES);
    assert_true(json_array_size(json_object_get(first, "operations")) > 10);
    json_decref(root);
    mem_free(b);
}

static void acceptance_goes_on_and_must_fall(void **state)
{
    (void)state;
    struct alula_error e;
    struct bench_options o = quick();
    o.acceptance[0] = 0.8;
    o.acceptance[1] = 0.4;
    o.n_acceptance = 2;
    struct bench *b = run(0, &o);
    assert_float_equal(b->acceptance[2], 0.2, 1e-9);
    assert_float_equal(bench_find(b, BENCH_MTP, 4)->tokens, 1 + 0.8 + 0.4 + 0.2 + 0.1, 1e-9);
    mem_free(b);
    o.acceptance[1] = 0.9;
    struct synth *s = tiny(0);
    struct bench none;
    assert_false(bench_run(&none, &s->weights, NULL, &o, &e));
    assert_non_null(strstr(e.message, "0.9"));
    synth_free(s);
}

/* What the model was made for decides how deep a context is measured; its keys and values are bytes that must
 * be read. */
static void contexts_are_filled_and_counted(void **state)
{
    (void)state;
    struct alula_error e;
    struct bench_options o = quick();
    struct pool *pool;
    struct synth *s;
    struct config c = tiny_shape();
    struct bench *b = mem_zalloc(1, sizeof *b);
    c.max_position = 40000;
    assert_ok(pool_create(&pool, 2, &e), e);
    assert_ok(synth_create(&s, &c, 0, pool, &e), e);
    pool_free(pool);
    assert_ok(bench_run(b, &s->weights, NULL, &o, &e), e);
    const struct bench_job *none = bench_find(b, BENCH_CONTEXT, 0),
                           *deep = bench_find(b, BENCH_CONTEXT, 32768);
    assert_non_null(none);
    assert_non_null(deep);
    /* One layer with one head of 64: a key and a value, in whatever type the cache has. */
    double entry = (deep->bytes - none->bytes) / 32768;
    assert_true(entry == 2 * 64 * 4 || entry == 2 * 64 * 2);
    assert_true(b->rss_context_bytes >= b->rss_bytes);
    /* 512 neighbours of 4 experts each use all 64; four passes read the layers four times, the LM head once. */
    const struct bench_job *one = bench_find(b, BENCH_PREFILL, 512),
                           *four = bench_find(b, BENCH_PREFILL, 2048);
    assert_float_equal(one->experts, 64, 0);
    assert_float_equal(one->bytes, bench_trunk_bytes(&s->weights, 512, 64), 0.5);
    assert_float_equal(four->bytes, 4 * one->bytes - 3 * (double)matrix_bytes(&s->weights.lm_head), 0.5);
    mem_free(b);
    synth_free(s);
}

static int count(const char *text, const char *what)
{
    int n = 0;
    for (const char *p = text; (p = strstr(p, what)); p += strlen(what)) n++;
    return n;
}

static void a_run_can_be_written_and_drawn(void **state)
{
    (void)state;
    struct bench_options o = quick();
    struct bench *b = run(0, &o);
    struct bench_label label = {.title = "a <model> & more"};
    struct buf csv = {0}, svg = {0};
    bench_csv(b, &csv);
    int commas = 0;
    for (const char *p = csv.data; *p && *p != '\n'; p++) commas += *p == ',';
    assert_int_equal(count(csv.data, "\n"), b->n_jobs); /* a line of names, and no read limit */
    assert_int_equal(count(csv.data, ","), commas * b->n_jobs);
    assert_non_null(strstr(csv.data, "\nmtp,3,2,"));
    bench_plot(b, &label, &svg);
    assert_non_null(strstr(svg.data, "a &lt;model> &amp; more"));
    assert_int_equal(count(svg.data, "nan") + count(svg.data, "inf"), 0);
    /* a mark for plain decoding, 8 verifications, 3 prompts, 3 times sequences, 1 context, and one in the
     * legend of each */
    assert_int_equal(count(svg.data, "<circle"), 1 + 8 + 3 + 3 + 1 + 5);
    buf_free(&csv);
    buf_free(&svg);
    mem_free(b);
}

static void the_machine_is_read(void **state)
{
    (void)state;
    const char *text = "MemTotal:       1000 kB\nMemFree:  5 kB\nMemAvailable:    900 kB\n";
    assert_int_equal(machine_meminfo(text, "MemAvailable"), 900 * 1024);
    assert_int_equal(machine_meminfo(text, "MemTotal"), 1000 * 1024);
    assert_int_equal(machine_meminfo(text, "Mem"), 0);
    assert_int_equal(machine_meminfo("", "MemTotal"), 0);
    struct machine m;
    machine_look(&m);
    assert_true(m.cpus >= 1 && m.cpus <= m.cpus_all);
    assert_true(m.available <= m.memory);
}

static bool stop(void *arg, int done, int total)
{
    (void)arg;
    (void)total;
    return done < 3;
}

static void a_run_can_be_stopped(void **state)
{
    (void)state;
    struct alula_error e;
    struct bench_options o = quick();
    struct bench none;
    o.progress = stop;
    struct synth *s = tiny(0);
    assert_false(bench_run(&none, &s->weights, NULL, &o, &e));
    assert_int_equal(e.code, ALULA_CANCELLED);
    synth_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_decode_to_mean_zero),
        cmocka_unit_test(widths_are_those_of_a_conversion),
        cmocka_unit_test(bad_shapes_are_refused),
        cmocka_unit_test(bytes_equal_a_hand_count),
        cmocka_unit_test(plans_have_the_published_sizes),
        cmocka_unit_test(neighbours_share_the_experts_asked_for),
        cmocka_unit_test(a_run_gives_every_key),
        cmocka_unit_test(figures_follow_from_the_seconds),
        cmocka_unit_test(a_profile_is_complete),
        cmocka_unit_test(contexts_are_filled_and_counted),
        cmocka_unit_test(a_run_can_be_written_and_drawn),
        cmocka_unit_test(the_machine_is_read),
        cmocka_unit_test(acceptance_goes_on_and_must_fall),
        cmocka_unit_test(a_run_can_be_stopped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
