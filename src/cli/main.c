/* main.c - the program: finds the command, parses its options, runs it, turns an error into a message and an
 * exit status.
 *
 * The list of commands and the table of exit statuses are here and nowhere else. */
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/term.h"
#include "kern/cpu.h"

static const struct opt_command *const commands[] = {
    &cmd_probe.opt,  &cmd_forge.opt,    &cmd_forge_verify.opt, &cmd_forge_card.opt, &cmd_inspect.opt,
    &cmd_tune.opt,   &cmd_run.opt,      &cmd_start.opt,        &cmd_eval.opt,       &cmd_bench.opt,
    &cmd_doctor.opt, &cmd_tokenize.opt, &cmd_render.opt,       &cmd_help.opt,       NULL,
};

static const struct opt_example examples[] = {
    {"alula run DIR -p 'Why is the sky blue?'", "Answers one question with the model in DIR."},
    {"alula help run", "Says what 'run' does, with every option."},
    {NULL, NULL},
};

const struct opt_program cli_program = {
    .name = "alula",
    .version = ALULA_VERSION,
    .summary = "grafts a multi-token-prediction head onto a language model and decodes with it",
    .text = "DIR is a model folder as Hugging Face lays it out: config.json, safetensors files, "
            "tokenizer.json.\n\n"
            "Results go to standard output, everything else to standard error. Exit status: 0 done, 1 failed "
            "(standard error says why in one sentence), 2 wrong use, 130 stopped by Ctrl-C. With NO_COLOR "
            "set there is no colour.",
    .commands = commands,
    .examples = examples,
};

static int exit_status(enum alula_code code)
{
    static const int table[] = {
        [ALULA_OK] = 0,        [ALULA_USAGE] = 2,    [ALULA_LIMIT] = 1,       [ALULA_UNSUPPORTED] = 1,
        [ALULA_NOT_FOUND] = 1, [ALULA_MISMATCH] = 1, [ALULA_FORMAT] = 1,      [ALULA_IO] = 1,
        [ALULA_BUSY] = 1,      [ALULA_NOMEM] = 1,    [ALULA_CANCELLED] = 130, [ALULA_INTERNAL] = 1,
    };
    return table[code];
}

static bool print_version(struct alula_error *e)
{
    struct buf out = {0};
    buf_fmt(&out, "%s %s\n", cli_program.name, cli_program.version);
    bool ok = term_write_buf(&out, e);
    buf_free(&out);
    return ok;
}

static bool restrict_cpu(const char *name, struct alula_error *e)
{
    unsigned mask, have = cpu_detect();
    if (!name) return true;
    if (!cpu_limit(name, &mask))
        return err_set(e, ALULA_USAGE, "option --cpu: found '%s', expected scalar, avx2, avx512, neon or all",
                       name);
    if (mask != CPU_ALL && (have & mask) != mask)
        return err_set(e, ALULA_USAGE, "option --cpu: this machine has no %s; the best it has is %s", name,
                       cpu_name(have));
    cpu_restrict(mask);
    return true;
}

static bool run_command(int argc, char **argv, int *status, struct alula_error *e)
{
    const struct opt_command *found;
    int words, n_args;
    if (!opt_find(&cli_program, argc, argv, &found, &words, e)) return false;
    const struct cli_command *c = (const struct cli_command *)found; /* its first member */
    void *options = mem_alloc(c->size);
    if (!options) return err_set(e, ALULA_NOMEM, "not enough memory for the options");
    memcpy(options, c->defaults, c->size);
    char **args = argv + 1 + words;
    bool ok = opt_parse(&c->opt, argc - 1 - words, args, options, &n_args, e);
    if (ok) {
        const struct opt_shared *shared = options;
        log_set_level((enum log_level)shared->log_level);
        ok = shared->help ? cli_print_help(&c->opt, e)
                          : restrict_cpu(shared->cpu, e) && c->run(options, args, n_args, status, e);
    }
    mem_free(options);
    return ok;
}

int main(int argc, char **argv)
{
    struct alula_error e;
    int status = 0;
    term_start();
    bool ok;
    if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0))
        ok = cli_print_help(NULL, &e);
    else if (argc > 1 && strcmp(argv[1], "--version") == 0)
        ok = print_version(&e);
    else
        ok = run_command(argc, argv, &status, &e);
    if (ok) return status;
    if (e.code != ALULA_CANCELLED)
        fprintf(stderr, "%salula:%s %s\n", term_style(stderr, TERM_RED), term_style(stderr, TERM_PLAIN),
                e.message);
    return exit_status(e.code);
}
