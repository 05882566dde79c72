/* Templates against the machine: whatever a template or a context tries, the end is a sentence, within the
 * ceilings of jinja.h. */
#include "tests/jinja_cases.h"

#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include "text/jinja.h"

/* One rendering stays below 64 MiB whatever it does; growing the output keeps two copies for a moment. */
_Static_assert(JINJA_TREE_MAX + JINJA_VALUES_MAX + JINJA_OUTPUT_MAX + JINJA_OUTPUT_MAX * 2 / 3 < (64 << 20),
               "over 64 MiB");

#if TSAN || defined(__SANITIZE_ADDRESS__) || HAS(address_sanitizer)
#define SANITIZED 1
#endif

struct job {
    const char *text, *context;
    size_t n, n_context;
    struct buf out;
    struct alula_error e;
    bool ok;
};

static void run_here(struct job *job)
{
    struct jinja *j = NULL;
    buf_init(&job->out, 0);
    job->e = (struct alula_error){0};
    job->ok = jinja_parse(&j, job->text, job->n, "hostile", &job->e);
    if (job->ok) job->ok = jinja_render(j, job->context, job->n_context, 0, &job->out, &job->e);
    jinja_free(j);
}

static void *run_thread(void *arg)
{
    run_here(arg);
    return NULL;
}

/* On a stack of 2 MiB, which is less than any thread of ours gets. Sanitizers need more for the same
 * calls. */
static void run(struct job *job)
{
    pthread_attr_t attr;
    pthread_t thread;
    pthread_attr_init(&attr);
#ifndef SANITIZED
    assert_int_equal(pthread_attr_setstacksize(&attr, 2 << 20), 0);
#endif
    assert_int_equal(pthread_create(&thread, &attr, run_thread, job), 0);
    pthread_join(thread, NULL);
    pthread_attr_destroy(&attr);
}

static struct job job_of(const char *text, const char *context)
{
    return (struct job){.text = text, .n = strlen(text), .context = context, .n_context = strlen(context)};
}

/* [[text, times], ...] joined. */
static struct buf join_parts(struct span parts)
{
    struct buf b;
    size_t i;
    json_t *part, *v = json_loadb(parts.p, parts.n, 0, NULL);
    buf_init(&b, 0);
    json_array_foreach(v, i, part)
    {
        const json_t *text = json_array_get(part, 0);
        for (json_int_t n = json_integer_value(json_array_get(part, 1)); n > 0; n--)
            buf_add(&b, json_string_value(text), json_string_length(text));
    }
    json_decref(v);
    assert_false(b.failed);
    return b;
}

#ifndef SANITIZED
static long peak_kib(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return u.ru_maxrss;
}
#endif

/* What runs in one thread has nothing to tell TSan, and takes minutes under it. */
static void skip_under_tsan(void)
{
    if (TSAN) skip();
}

static void hostile_cases(void **state)
{
    skip_under_tsan();
    struct buf file = read_data("jinja/hostile.jsonl");
    struct span line;
    int n = 0;
    (void)state;
#ifndef SANITIZED
    long before = peak_kib();
#endif
    for (size_t at = 0; next_line(&file, &at, &line); n++) {
        struct buf text = join_parts(member(line, "template_parts")), context = {0};
        struct span plain = member(line, "context"), parts = member(line, "context_parts");
        if (parts.p)
            context = join_parts(parts);
        else if (plain.p)
            buf_add(&context, plain.p, plain.n);
        else
            buf_str(&context, "{}");
        struct job job = {
            .text = text.data, .n = text.len, .context = context.data, .n_context = context.len};
        alarm(60); /* a hang ends the test program */
        run(&job);
        alarm(0);
        if ((job.ok && is_member(line, "expect", "error")) ||
            (!job.ok && (!job.e.message[0] || job.out.len))) {
            struct span name = member(line, "name");
            fail_msg("%.*s: %s", (int)name.n, name.p, job.ok ? "rendered, expected an error" : job.e.message);
        }
        buf_free(&job.out);
        buf_free(&text);
        buf_free(&context);
    }
    buf_free(&file);
    assert_int_equal(n, 56);
#ifndef SANITIZED
    assert_true(peak_kib() - before < 64 << 10);
#endif
}

/* Ceilings that the fixture does not reach. */
static void ceilings(void **state)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        /* iterators over iterators, as deep as a loop makes them */
        {"{% set ns = namespace(v=[1]) %}{% for i in range(5000) %}{% set ns.v = ns.v|map('string') %}{% "
         "endfor %}{{ ns.v|list }}",
         "deep"},
        {"{% set ns = namespace(v=[1]) %}{% for i in range(5000) %}{% set ns.v = [ns.v] %}{% endfor %}{{ "
         "ns.v }}",
         "deep"},
        {"{% set ns = namespace(v=[1]) %}{% for i in range(5000) %}{% set ns.v = [ns.v] %}{% endfor %}{{ "
         "ns.v|tojson }}",
         "deep"},
        {"{% set ns = namespace(v=[], w=[]) %}{% for i in range(5000) %}{% set ns.v = [ns.v] %}{% set ns.w = "
         "[ns.w] %}{% endfor %}{{ ns.v == ns.w }}",
         "deep"},
        {"{% set ns = namespace() %}{% set ns.v = [ns]|map(attribute='v')|map('list') %}{{ ns.v|list }}",
         "itself"},
        /* time that no counter of nodes would see */
        {"{% set a = 'x' * 4000000 %}{% set b = 'x' * 3999999 ~ 'y' %}{{ b in [a] * 1000000 }}", "steps"},
        {"{% set a = 'x' * 4000000 %}{{ a.rfind('x' * 2000000 ~ 'y') }}{{ a.rfind('y' ~ 'x' * 2000000) }}",
         "steps"},
        {"{% set a = 'x' * 4000000 %}{{ a.strip('y' * 4000000 ~ 'x')|length }}", "steps"},
        {"{% set d = {'x' * 4000000: 1} %}{% set k = 'x' * 4000000 %}{% for i in range(100000) %}{{ d[k] "
         "}}{% endfor %}",
         "steps"},
        {"{% set a = 'x' * 4000000 %}{% for i in range(100000) %}{{ a|trim|length }}{% endfor %}", "steps"},
        {"{% set a = '\\n' * 2000000 %}{% for i in range(100000) %}{% set b %}{{ [a] }}{% continue %}{% "
         "endset %}{% endfor %}",
         "steps"},
        {"{% set a = 'xé' * 2000000 %}{% for i in range(100000) %}{% if a[i] == 'y' %}{% endif %}{% endfor "
         "%}",
         "steps"},
        {"{% for i in range(100000) %}{% set a = 'x' * 8000000 %}{% endfor %}", "MiB"},
        {"{{ 'x' * 8000000 }}{{ 'x' * 8000000 }}", "output"},
    };
    skip_under_tsan();
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct job job = job_of(cases[i].text, "{}");
        alarm(60);
        run(&job);
        alarm(0);
        if (job.ok || !strstr(job.e.message, cases[i].says))
            fail_msg("%s: %s", cases[i].text, job.ok ? "rendered" : job.e.message);
        buf_free(&job.out);
    }
}

/* What a template does in good faith is not stopped: a text that grows message by message is not copied
 * each time. */
static void growing_is_cheap(void **state)
{
    struct job job =
        job_of("{% set ns = namespace(s='', v=[]) %}{% for i in range(20000) %}"
               "{% set ns.s = ns.s + 'some words of message ' ~ i %}{% set ns.v = ns.v + [i] %}{% endfor %}"
               "{{ ns.s|length }} {{ ns.v|length }}",
               "{}");
    (void)state;
    run(&job);
    assert_ok(job.ok, job.e);
    assert_string_equal(job.out.data, "528890 20000");
    buf_free(&job.out);
}

static void bytes_that_are_no_text(void **state)
{
    static const char broken[] = "{{ '\xFF\xFE' }}", cut[] = "\xE2\x82";
    struct job job = {.text = broken, .n = sizeof broken - 1, .context = "{}", .n_context = 2};
    (void)state;
    run(&job);
    assert_false(job.ok);
    assert_non_null(strstr(job.e.message, "UTF-8 at byte 4"));
    job = (struct job){.text = cut, .n = 2, .context = "{}", .n_context = 2};
    run(&job);
    assert_false(job.ok);
}

static void bad_contexts(void **state)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"", "ends"},
        {"[1]", "expected an object"},
        {"{\"a\": 1} x", "behind"},
        {"{\"a\": 01}", "no JSON value"},
        {"{\"a\": 1.}", "','"},
        {"{\"a\": .5}", "no JSON value"},
        {"{\"a\": NaN}", "no JSON value"},
        {"{\"a\": 18446744073709551616}", "64 bits"},
        {"{\"a\": \"x", "never ends"},
        {"{\"a\": \"x\\", "never ends"},
        {"{\"a\": \"\\q\"}", "escape"},
        {"{\"a\": \"\\u12\"}", "hexadecimal"},
        {"{\"a\": \"\\ud800\"}", "surrogate"},
        {"{\"a\": \"\\udc00x\"}", "surrogate"},
        {"{\"a\": \"\\ud800\\u0041\"}", "surrogate"},
        {"{\"a\": \"\n\"}", "control character"},
        {"{\"a\" 1}", "':'"},
        {"{a: 1}", "name of a member"},
        {"{\"a\": 1,}", "name of a member"},
        {"{\"a\": [1,]}", "no JSON value"},
        {"{\"a\": [1 2]}", "']'"},
        {"{\"a\": tru}", "no JSON value"},
        {"{\"a\": \"\xC3\"}", "UTF-8"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct job job = job_of("x", cases[i].text);
        run_here(&job);
        if (job.ok || !strstr(job.e.message, cases[i].says) || strncmp(job.e.message, "the context", 11) != 0)
            fail_msg("%s: %s", cases[i].text, job.ok ? "rendered" : job.e.message);
        buf_free(&job.out);
    }
}

/* Every start of a real template parses or is refused, and the same with a byte changed. */
static void broken_templates(void **state)
{
    static const char context[] =
        "{\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}], \"tools\": null}";
    static const char bytes[] = "{}%#'\"\\|.(-";
    struct buf text;
    struct alula_error e;
    int rendered = 0, refused = 0;
    skip_under_tsan();
    (void)state;
    buf_init(&text, 0);
    assert_ok(file_read("models/tiny-trunk/chat_template.jinja", 0, &text, &e), e);
    for (size_t n = 0; n < text.len; n++) {
        char was = text.data[n];
        for (int changed = 0; changed < 2; changed++) {
            struct job job = {.text = text.data,
                              .n = changed ? text.len : n,
                              .context = context,
                              .n_context = strlen(context)};
            if (changed) text.data[n] = bytes[n % (sizeof bytes - 1)];
            run_here(&job);
            assert_true(job.ok || job.e.message[0]);
            rendered += job.ok;
            refused += !job.ok;
            buf_free(&job.out);
        }
        text.data[n] = was;
    }
    assert_true(rendered > 100 && refused > 1000);
    buf_free(&text);
}

/* Memory that fails at any point ends in ALULA_NOMEM, and nothing is lost. */
static void failing_memory(void **state)
{
    struct job job = job_of("{% macro m(a, b=[1]) %}{{ a|upper ~ b|join(',') }}{% endmacro %}{% set v %}{{ "
                            "m(x|tojson) }}{% endset %}"
                            "{% for k, w in d|items if w %}{{ loop.index ~ k ~ v|trim|replace('A', 'b') }}{% "
                            "endfor %}{{ 'x' * 20000 }}",
                            "{\"x\": [1, \"a\\u0041\"], \"d\": {\"k\": true, \"l\": 0}}");
    int failures = 0;
    (void)state;
    for (int64_t n = 0;; n++, failures++) {
        mem_fail_after(n);
        run_here(&job);
        mem_fail_after(-1);
        if (job.ok) break;
        assert_int_equal(job.e.code, ALULA_NOMEM);
        assert_int_equal(job.out.len, 0);
        buf_free(&job.out);
    }
    assert_true(failures > 5);
    buf_free(&job.out);
}

struct share {
    const struct jinja *j;
    bool ok;
};

static void *render_often(void *arg)
{
    static const char context[] = "{\"d\": {\"k\": \"日本\"}}";
    struct share *s = arg;
    s->ok = true;
    for (int i = 0; i < 200 && s->ok; i++) {
        struct buf out;
        struct alula_error e;
        buf_init(&out, 0);
        s->ok = jinja_render(s->j, context, sizeof context - 1, 0, &out, &e) &&
                strcmp(out.data, "4 語k日本 2 é") == 0;
        buf_free(&out);
    }
    return NULL;
}

/* A template is never written once it is parsed; under TSan this test says so. */
static void threads_share_a_template(void **state)
{
    static const char text[] =
        "{% macro m(a) %}{{ a|length }}{% endmacro %}{{ m('日本語x') }} {{ '日本語'[2] }}"
        "{% for k, v in d|items %}{{ k ~ v }} {{ v|length }}{% endfor %} {{ 'É'|lower }}";
    struct jinja *j = NULL;
    struct alula_error e;
    pthread_t threads[4];
    struct share shares[4];
    (void)state;
    assert_ok(jinja_parse(&j, text, sizeof text - 1, "t", &e), e);
    for (int i = 0; i < 4; i++) {
        shares[i].j = j;
        assert_int_equal(pthread_create(&threads[i], NULL, render_often, &shares[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_true(shares[i].ok);
    }
    jinja_free(j);
}

/* What stood in the buffer before stays, and an error takes away only what the rendering added. */
static void output_is_appended(void **state)
{
    struct jinja *j = NULL;
    struct alula_error e;
    struct buf out;
    (void)state;
    buf_init(&out, 0);
    buf_str(&out, "before ");
    assert_ok(jinja_parse(&j, "a{{ x }}{{ nope.y }}", 20, "t", &e), e);
    assert_false(jinja_render(j, "{\"x\": \"b\"}", 10, 0, &out, &e));
    assert_string_equal(e.message, "t:1: 'nope' is undefined");
    assert_string_equal(out.data, "before ");
    assert_ok(jinja_render(j, "{\"x\": \"b\", \"nope\": {}}", 22, 0, &out, &e), e);
    assert_string_equal(out.data, "before ab");
    jinja_free(j);
    buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hostile_cases),
        cmocka_unit_test(ceilings),
        cmocka_unit_test(growing_is_cheap),
        cmocka_unit_test(bad_contexts),
        cmocka_unit_test(broken_templates),
        cmocka_unit_test(bytes_that_are_no_text),
        cmocka_unit_test(failing_memory),
        cmocka_unit_test(output_is_appended),
        cmocka_unit_test(threads_share_a_template),
    };
    mem_setup();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
