/* The option table: grammar of the command line, values and their errors, and the texts made from it. */
#include "tests/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/opt.h"

struct target {
    struct opt_shared shared;
    int depth;
    int64_t seed;
    double temp;
    bool json, raw;
    const char *prompt;
    int policy;
    struct opt_list stop;
};

static const struct opt run_options[] = {
    {.name = "prompt",
     .letter = 'p',
     .arg = "TEXT",
     .type = OPT_STR,
     .offset = offsetof(struct target, prompt),
     .help = "The prompt."},
    {.name = "depth",
     .letter = 'd',
     .arg = "N",
     .type = OPT_INT,
     .offset = offsetof(struct target, depth),
     .max = 7,
     .fallback = "1",
     .help = "Tokens drafted ahead of each verification; 0 decodes plainly, one token after the other."},
    {.name = "seed",
     .arg = "N",
     .type = OPT_INT64,
     .offset = offsetof(struct target, seed),
     .max = 0x1p63,
     .help = "Seed of the sampler."},
    {.name = "limit",
     .arg = "N",
     .type = OPT_INT64,
     .offset = offsetof(struct target, seed),
     .help = "Any number."},
    {.name = "temp",
     .arg = "T",
     .type = OPT_REAL,
     .offset = offsetof(struct target, temp),
     .max = 2,
     .help = "Temperature."},
    {.name = "json",
     .letter = 'j',
     .type = OPT_FLAG,
     .offset = offsetof(struct target, json),
     .help = "One object."},
    {.name = "raw",
     .letter = 'r',
     .type = OPT_FLAG,
     .offset = offsetof(struct target, raw),
     .help = "No template."},
    {.name = "mtp-policy",
     .arg = "POLICY",
     .type = OPT_CHOICE,
     .offset = offsetof(struct target, policy),
     .choices = "keep_bf16|quantize|quantize_at_load",
     .fallback = "quantize",
     .help = "What becomes of the head."},
    {.name = "stop",
     .arg = "TEXT",
     .type = OPT_LIST,
     .offset = offsetof(struct target, stop),
     .help = "Ends the answer."},
    {.name = NULL},
};
static const struct opt_command run = {
    .name = "run",
    .summary = "one answer on the terminal",
    .args = "DIR",
    .args_min = 1,
    .args_max = 1,
    .text = "Reads a model folder and answers.\n\n.A line that begins with a full stop, and one that is long "
            "enough to be wrapped, "
            "with a back\\slash - \xc3\xa9\xc3\xa9.",
    .options = run_options,
    .examples =
        (const struct opt_example[]){{"alula run model -p 'Why?'", "Answers one question."}, {NULL, NULL}},
};
static const struct opt_command forge = {.name = "forge", .summary = "graft", .args = "[DIR]", .args_max = 1};
static const struct opt_command forge_verify = {.name = "forge verify", .summary = "check a graft"};
static const struct opt_command *const commands[] = {&run, &forge, &forge_verify, NULL};
static const struct opt_program program = {"alula", "1.2.3", "faster answers", "What it is.", commands, NULL};

enum { WORDS = 80 };

/* Splits words at blanks ("_" stands for an empty word) and parses them. */
static bool parse(const char *line, struct target *t, char ***ret_args, int *ret_n, struct alula_error *e)
{
    static char text[1000], *argv[WORDS];
    int argc = 0;
    snprintf(text, sizeof text, "%s", line);
    for (char *w = strtok(text, " "); w; w = strtok(NULL, " "))
        argv[argc++] = strcmp(w, "_") == 0 ? w + 1 : w;
    *t = (struct target){.shared = {.log_level = LOG_WARN}, .depth = 1, .prompt = "default"};
    *ret_args = argv;
    return opt_parse(&run, argc, argv, t, ret_n, e);
}

static struct target accepted(const char *line, int want_args, const char *first)
{
    struct target t;
    struct alula_error e;
    char **args;
    int n;
    assert_ok(parse(line, &t, &args, &n, &e), e);
    assert_int_equal(n, want_args);
    if (first) assert_string_equal(args[0], first);
    return t;
}

static void refused(const char *line, const char *message)
{
    struct target t;
    struct alula_error e = {0};
    char **args;
    int n = -1;
    assert_false(parse(line, &t, &args, &n, &e));
    assert_int_equal(e.code, ALULA_USAGE);
    assert_string_equal(e.message, message);
    assert_int_equal(n, -1);
}

static void test_grammar(void **state)
{
    (void)state;
    struct target t = accepted("model", 1, "model");
    assert_true(t.depth == 1 && !t.json && !t.shared.help && strcmp(t.prompt, "default") == 0);
    t = accepted("--depth 3 model --prompt=a=b -rj", 1, "model");
    assert_true(t.depth == 3 && t.json && t.raw);
    assert_string_equal(t.prompt, "a=b");
    t = accepted("-d2 -jp text model", 1, "model");
    assert_true(t.depth == 2 && t.json);
    assert_string_equal(t.prompt, "text");
    t = accepted("-d 7 -d 0 model --prompt --depth", 1,
                 "model"); /* a value may look like an option; the last one counts */
    assert_true(t.depth == 0);
    assert_string_equal(t.prompt, "--depth");
    accepted("-- --depth", 1, "--depth");
    accepted("-", 1, "-");
    accepted("_", 1, "");
    t = accepted("model --stop a --stop=b --stop _", 1, "model");
    assert_int_equal(t.stop.n, 3);
    assert_string_equal(t.stop.items[1], "b");
    assert_string_equal(t.stop.items[2], "");
    t = accepted("model --mtp-policy quantize_at_load --log-level debug", 1, "model");
    assert_true(t.policy == 2 && t.shared.log_level == LOG_DEBUG);
    t = accepted("--help --nonsense", 0, NULL); /* asked for help, nobody is scolded */
    assert_true(t.shared.help);
    t = accepted("-jh --nonsense", 0, NULL);
    assert_true(t.shared.help);
}

static void test_numbers(void **state)
{
    (void)state;
    assert_true(accepted("m --seed 9223372036854775807", 1, "m").seed == INT64_MAX);
    assert_true(accepted("m --limit -9223372036854775808", 1, "m").seed == INT64_MIN);
    assert_true(accepted("m --limit +5", 1, "m").seed == 5);
    assert_true(accepted("m --temp 1e-1", 1, "m").temp == 0.1);
    assert_true(accepted("m --temp .5", 1, "m").temp == 0.5);
    refused("m --depth 8", "option --depth: found '8', expected a whole number from 0 to 7");
    refused("m --depth -1", "option --depth: found '-1', expected a whole number from 0 to 7");
    refused("m --depth 4294967296",
            "option --depth: found '4294967296', expected a whole number from 0 to 7");
    refused("m --depth 2x", "option --depth: found '2x', expected a whole number from 0 to 7");
    refused("m --depth 1.0", "option --depth: found '1.0', expected a whole number from 0 to 7");
    refused("m --depth=", "option --depth: found '', expected a whole number from 0 to 7");
    refused("m --seed -1", "option --seed: found '-1', expected a whole number of at least 0");
    refused("m --seed 9223372036854775808",
            "option --seed: found '9223372036854775808', expected a whole number of at least 0");
    refused("m --temp 2.5", "option --temp: found '2.5', expected a number from 0 to 2");
    static const char *const bad[] = {"nan", "inf", "0x1", "1e999", "1,5", "_", "e", "1e", "-", "--1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char line[40], message[100];
        snprintf(line, sizeof line, "m --temp %s", bad[i]);
        snprintf(message, sizeof message, "option --temp: found '%s', expected a number from 0 to 2",
                 strcmp(bad[i], "_") == 0 ? "" : bad[i]);
        refused(line, message);
    }
}

static void test_errors(void **state)
{
    (void)state;
    refused("", "'run' needs DIR, found 0 arguments; see --help");
    refused("a b", "'run': unexpected argument 'b', expected DIR");
    refused("m --dept 3", "unknown option --dept for 'run'; did you mean --depth?");
    refused("m --dpeth=3", "unknown option --dpeth for 'run'; did you mean --depth?");
    refused("m --pro x", "unknown option --pro for 'run'; did you mean --prompt?");
    refused("m --log-levl x", "unknown option --log-levl for 'run'; did you mean --log-level?");
    refused("m --nothing-like-it", "unknown option --nothing-like-it for 'run'; --help lists them");
    refused("m ---", "unknown option --- for 'run'; --help lists them");
    refused("m -jx", "unknown option -x in '-jx' for 'run'; --help lists them");
    refused("m --json=yes", "option --json takes no value");
    refused("m --prompt", "option --prompt: its value TEXT is missing");
    refused("m -jp", "option --prompt: its value TEXT is missing");
    refused("m --mtp-policy=quant",
            "option --mtp-policy: found 'quant', expected one of keep_bf16, quantize, quantize_at_load");
    refused("m --log-level loud",
            "option --log-level: found 'loud', expected one of error, warn, info, debug");
    char line[1000] = "m";
    for (int i = 0; i <= OPT_LIST_MAX; i++) strcat(line, " --stop=x");
    refused(line, "option --stop: given more than 64 times");
}

static void test_set(void **state)
{
    (void)state;
    struct target t = {.depth = 1};
    struct alula_error e;
    assert_ok(opt_set(&run, "depth", "5", &t, &e), e);
    assert_int_equal(t.depth, 5);
    static const char *const yes[] = {"true", "yes", "on", "1", NULL}, *const no[] = {"false", "no", "off",
                                                                                      "0"};
    for (int i = 0; i < 4; i++) {
        assert_ok(opt_set(&run, "json", yes[i], &t, &e), e);
        assert_true(t.json);
        assert_ok(opt_set(&run, "json", no[i], &t, &e), e);
        assert_false(t.json);
    }
    assert_ok(opt_set(&run, "json", NULL, &t, &e), e);
    assert_true(t.json);
    assert_false(opt_set(&run, "json", "perhaps", &t, &e));
    assert_string_equal(e.message, "option --json: found 'perhaps', expected true or false");
    assert_false(opt_set(&run, "depht", "5", &t, &e));
    assert_int_equal(e.code, ALULA_USAGE);
    assert_false(opt_set(&run, "depth", NULL, &t, &e));
    assert_ok(opt_set(&forge, "log-level", "error", &t, &e), e);
    assert_int_equal(t.shared.log_level, LOG_ERROR);
}

static const struct opt_command *find(const char *a, const char *b, int *words, struct alula_error *e)
{
    char *argv[] = {(char[]){"alula"}, (char *)(uintptr_t)a, (char *)(uintptr_t)b, NULL};
    const struct opt_command *c = NULL;
    return opt_find(&program, a ? b ? 3 : 2 : 1, argv, &c, words, e) ? c : NULL;
}

static void test_find(void **state)
{
    (void)state;
    struct alula_error e;
    int words = 0;
    assert_ptr_equal(find("run", "model", &words, &e), &run);
    assert_int_equal(words, 1);
    assert_ptr_equal(find("forge", "verify", &words, &e), &forge_verify);
    assert_int_equal(words, 2);
    assert_ptr_equal(find("forge", "verif", &words, &e), &forge);
    assert_int_equal(words, 1);
    assert_ptr_equal(find("forge", NULL, &words, &e), &forge);
    assert_ptr_equal(find("run", "--man", &words, &e), &run);
    assert_null(find("rnu", NULL, &words, &e));
    assert_string_equal(e.message, "'rnu' is no command; did you mean 'run'?");
    assert_null(find("elephant", NULL, &words, &e));
    assert_string_equal(e.message, "'elephant' is no command; see alula --help");
    assert_null(find(NULL, NULL, &words, &e));
    assert_int_equal(e.code, ALULA_USAGE);
    char longest[300];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    assert_null(find(longest, longest, &words, &e));
}

/* No line of a help text is wider than asked for, except one that is a single word or an example to be
 * copied. */
static void check_width(const char *text, size_t width)
{
    for (const char *p = text; *p;) {
        size_t n = strcspn(p, "\n"), columns = 0;
        for (size_t i = 0; i < n; i++) columns += ((unsigned char)p[i] & 0xc0) != 0x80;
        if (columns > width) fail_msg("%zu columns: %.*s", columns, (int)n, p);
        if (n > 0 && p[n - 1] == ' ') fail_msg("blank at the end: '%.*s'", (int)n, p);
        p += n + (p[n] == '\n');
    }
}

static void test_help(void **state)
{
    (void)state;
    struct buf b = {0};
    opt_help(&program, &run, 60, &b);
    check_width(b.data, 60);
    static const char *const parts[] = {
        "alula run - one answer on the terminal\n\nUsage: alula run DIR [options]\n\nReads a model folder "
        "and answers.\n\n.A line",
        "\nOptions:\n  -p, --prompt TEXT       The prompt.\n",
        "  -d, --depth N           Tokens drafted ahead of each\n                          verification; 0 "
        "decodes plainly,\n",
        "      --mtp-policy POLICY\n                          What becomes of the head. One of\n             "
        "             keep_bf16, quantize,\n",
        "quantize_at_load. [quantize]\n",
        "      --stop TEXT         Ends the answer. May be given\n                          several times.\n",
        "  -h, --help              Show this help.\n",
        "\nExamples:\n  alula run model -p 'Why?'\n      Answers one question.\n",
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (!strstr(b.data, parts[i])) fail_msg("not in the help: %s\n%s", parts[i], b.data);
    buf_clear(&b);
    opt_help(&program, &run, 0, &b);
    check_width(b.data, 100);
    buf_clear(&b);
    opt_help_program(&program, 80, &b);
    check_width(b.data, 80);
    assert_non_null(
        strstr(b.data, "Commands:\n  run           one answer on the terminal\n  forge         graft\n"));
    buf_free(&b);
    for (int i = 0; i < 30; i++) { /* out of memory anywhere fails the buffer, and nothing leaks */
        mem_fail_after(i);
        opt_help(&program, &run, 60, &b);
        mem_fail_after(-1);
        assert_true(b.failed == b.no_memory);
        if (i == 0) assert_true(b.failed);
        buf_free(&b);
    }
}

static void test_man(void **state)
{
    (void)state;
    struct buf b = {0};
    opt_man(&program, &b);
    static const char *const parts[] = {
        ".TH alula 1 \"\" \"alula 1.2.3\"\n.SH NAME\nalula \\- faster answers\n",
        ".SS \"alula run DIR\"\n",
        ".PP\n\\&.A line that begins",
        "back\\eslash \\- ",
        "\\fB\\-d\\fR, \\fB\\-\\-depth\\fR \\fIN\\fR\n",
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (!strstr(b.data, parts[i])) fail_msg("not in the page: %s\n%s", parts[i], b.data);
    buf_free(&b);
}

/* Writes the script, asks bash what it would offer, compares. */
static void offers(const char *words, const char *expected)
{
    char command[1000], line[1000] = "";
    snprintf(command, sizeof command,
             "bash -c '. %s/completion; COMP_WORDS=(%s); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _alula; echo "
             "\"${COMPREPLY[*]}\"'",
             scratch_dir(), words);
    FILE *f = popen(command, "r");
    assert_non_null(f);
    char *got = fgets(line, sizeof line, f);
    assert_int_equal(pclose(f), 0);
    assert_non_null(got);
    line[strcspn(line, "\n")] = '\0';
    if (strcmp(line, expected) != 0) fail_msg("%s: offered '%s', expected '%s'", words, line, expected);
}

static void test_completion(void **state)
{
    (void)state;
    struct alula_error e;
    struct buf b = {0};
    char path[200];
    opt_completion(&program, &b);
    assert_ok(buf_check(&b, "completion", &e), e);
    assert_ok(path_join(path, sizeof path, scratch_dir(), "completion", &e), e);
    assert_ok(file_write(path, b.data, b.len, &e), e);
    buf_free(&b);
    offers("alula r", "run");
    offers("alula \"\"", "--help --version run forge");
    offers("alula run --de", "--depth");
    offers("alula run m --l", "--limit --log-level");
    offers("alula run --mtp-policy quant", "quantize quantize_at_load");
    offers("alula run --log-level e", "error");
    offers("alula forge \"\"", "verify");
    offers("alula forge verify --h", "--help");
    offers("alula forge --d", "");
    offers("alula run --prompt --d", "");
    offers("alula run -d --d", "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grammar), cmocka_unit_test(test_numbers),    cmocka_unit_test(test_errors),
        cmocka_unit_test(test_set),     cmocka_unit_test(test_find),       cmocka_unit_test(test_help),
        cmocka_unit_test(test_man),     cmocka_unit_test(test_completion),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
