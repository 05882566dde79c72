/* cli.h - what a sub-command is, and what several of them share. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "base/opt.h"

/* A command is one file cmd_NAME.c with one of these, listed in main.c. */
struct cli_command {
    struct opt_command opt;
    const void *defaults; /* its option struct before parsing; begins with struct opt_shared */
    size_t size;          /* bytes of that struct */
    /* options: the parsed struct; args: [n_args], as many as opt allows. *status is what the program exits
     * with on success, 0 before. Prints results with term_write. */
    bool (*run)(const void *options, char **args, int n_args, int *status, struct alula_error *e);
};

/* clang-format off */
#define CLI_SHARED {.log_level = 1} /* LOG_WARN */

/* Rows of the option tables of several commands; at: offset of the member in the command's struct. */
#define CLI_THREADS(at, text) \
    {.name = "threads", .letter = 't', .arg = "N", .type = OPT_INT, .offset = at, .min = 1, .max = 256, \
     .fallback = "the CPUs this process may use", .help = text}
#define CLI_MAX_TOKENS(at, none, text) \
    {.name = "max-tokens", .letter = 'n', .arg = "N", .type = OPT_INT, .offset = at, .min = 1, .max = 1 << 24, \
     .fallback = none, .help = text}
#define CLI_CTX(at, text) \
    {.name = "ctx", .arg = "N", .type = OPT_INT, .offset = at, .min = 1, .max = 1 << 24, \
     .fallback = "the model's, at most 32768", .help = text}
#define CLI_STATE(at, text) \
    {.name = "state", .arg = "DIR", .type = OPT_STR, .offset = at, \
     .fallback = "$XDG_STATE_HOME/alula or ~/.local/state/alula", .help = text}
#define CLI_API_KEY(at, text) {.name = "api-key", .arg = "KEY", .type = OPT_STR, .offset = at, .help = text}
#define CLI_MTP(at) \
    {.name = "mtp", .arg = "DIR", .type = OPT_STR, .offset = at, .help = "Take the MTP head from this folder."}
#define CLI_NO_MTP(at) \
    {.name = "no-mtp", .type = OPT_FLAG, .offset = at, .help = "Leave the MTP head aside."}
#define CLI_EXACT(at) \
    {.name = "exact", .type = OPT_FLAG, .offset = at, \
     .help = "Compute with float32 activations: the reference, slower."}
#define CLI_JSON(at, text) {.name = "json", .type = OPT_FLAG, .offset = at, .help = text}
/* clang-format on */

extern const struct cli_command cmd_bench, cmd_doctor, cmd_eval, cmd_forge, cmd_forge_card, cmd_forge_verify,
    cmd_help, cmd_inspect, cmd_probe, cmd_render, cmd_run, cmd_start, cmd_tokenize, cmd_tune;

extern const struct opt_program cli_program;

/* Prints the help of one command, or of the program if it is NULL. */
bool cli_print_help(const struct opt_command *command, struct alula_error *e);

/* A text or a list of ids may be this long in bytes. */
#define CLI_INPUT_MAX ((size_t)1 << 28)

/* Reads a JSON array of token ids from a file ("-" is standard input). *ret_ids: mem_free, which alula_free
 * is. Errors: NOT_FOUND, IO, LIMIT, FORMAT. */
bool cli_read_ids(const char *path, int32_t **ret_ids, size_t *ret_n, struct alula_error *e);

#endif
