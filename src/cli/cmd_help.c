/* cmd_help.c - alula help: what the program and its commands do; the man page and the completion script, all
 * from the option tables. */
#include <stdio.h>

#include "base/err.h"
#include "cli/cli.h"
#include "cli/term.h"

#define HELP_WIDTH_MAX 100 /* columns that are still easy to read */

struct help_options {
    struct opt_shared shared;
    bool man;
    int completion; /* choice, -1 = not asked for */
};

static const struct help_options defaults = {.shared = CLI_SHARED, .completion = -1};

static const struct opt table[] = {
    {.name = "man",
     .type = OPT_FLAG,
     .offset = offsetof(struct help_options, man),
     .help = "Print the manual page as roff."},
    {.name = "completion",
     .arg = "SHELL",
     .type = OPT_CHOICE,
     .offset = offsetof(struct help_options, completion),
     .choices = "bash",
     .help = "Print a script that completes commands and options."},
    {.name = NULL},
};

static const struct opt_example examples[] = {
    {"alula help run", "The same as 'alula run --help'."},
    {"alula help --man | man -l -", "Reads the manual page without installing it."},
    {". <(alula help --completion bash)", "Completes commands and options in this shell."},
    {NULL, NULL},
};

bool cli_print_help(const struct opt_command *command, struct alula_error *e)
{
    struct buf out = {0};
    int width = term_width(stdout);
    if (width > HELP_WIDTH_MAX) width = HELP_WIDTH_MAX;
    if (command)
        opt_help(&cli_program, command, width, &out);
    else
        opt_help_program(&cli_program, width, &out);
    bool ok = term_write_buf(&out, e);
    buf_free(&out);
    return ok;
}

static bool print_made(void (*make)(const struct opt_program *program, struct buf *out),
                       struct alula_error *e)
{
    struct buf out = {0};
    make(&cli_program, &out);
    bool ok = term_write_buf(&out, e);
    buf_free(&out);
    return ok;
}

static bool help_run(const void *options, char **args, int n_args, int *status, struct alula_error *e)
{
    const struct help_options *o = options;
    const struct opt_command *found;
    int words;
    (void)status;
    if (o->man) return print_made(opt_man, e);
    if (o->completion >= 0) return print_made(opt_completion, e);
    if (n_args == 0) return cli_print_help(NULL, e);
    if (!opt_find(&cli_program, n_args + 1, args - 1, &found, &words, e)) return false;
    if (words < n_args)
        return err_set(e, ALULA_USAGE, "'%s' has no sub-command '%s'", found->name, args[words]);
    return cli_print_help(found, e);
}

const struct cli_command cmd_help = {
    .opt = {.name = "help",
            .summary = "say what alula and its commands do",
            .args = "[COMMAND]",
            .args_max = 2,
            .options = table,
            .examples = examples},
    .defaults = &defaults,
    .size = sizeof defaults,
    .run = help_run,
};
