/* cmd_forge_card.c - alula forge card: the model card of an artifact. */
#include "cli/cli.h"
#include "cli/term.h"
#include "forge/card.h"

struct card_cli {
    struct opt_shared shared;
    bool print;
};

static const struct card_cli defaults = {.shared = CLI_SHARED};

static const struct opt table[] = {
    {.name = "print",
     .type = OPT_FLAG,
     .offset = offsetof(struct card_cli, print),
     .help = "Print the card instead of writing it."},
    {.name = NULL},
};

static const struct opt_example examples[] = {
    {"alula forge card ornith-mtp-4bit", "Writes what is known of the artifact into its README.md."},
    {NULL, NULL},
};

static bool card_run(const void *options, char **args, int n_args, int *status, struct alula_error *e)
{
    const struct card_cli *o = options;
    struct buf out = {0};
    (void)n_args, (void)status;
    if (!o->print) return card_save(args[0], e);
    bool ok = card_write(&out, args[0], e) && term_write_buf(&out, e);
    buf_free(&out);
    return ok;
}

const struct cli_command cmd_forge_card = {
    .opt = {.name = "forge card",
            .summary = "write the model card of an artifact",
            .text =
                "Writes DIR/README.md from what the folder's JSON files say: where body and head come from, "
                "what alula forge verify measured, on which machine and when, how to make it again. What was "
                "not measured is called so. A README.md that somebody else wrote stays.",
            .args = "DIR",
            .args_min = 1,
            .args_max = 1,
            .options = table,
            .examples = examples},
    .defaults = &defaults,
    .size = sizeof defaults,
    .run = card_run,
};
