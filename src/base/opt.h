/* opt.h - the option table: one source for parsing, --help, man page and shell completion.
 *
 * A command is a const table. Parsing fills the command's own struct, whose first member is struct
 * opt_shared; defaults are what the struct held before. Nothing here prints: texts are appended to a buf. */
#ifndef BASE_OPT_H
#define BASE_OPT_H

#include "base/buf.h"

enum opt_type {
    OPT_FLAG,   /* bool; no value on the command line, true or false in opt_set */
    OPT_INT,    /* int */
    OPT_INT64,  /* int64_t */
    OPT_REAL,   /* double, finite */
    OPT_STR,    /* const char *, borrowed from the value */
    OPT_CHOICE, /* int: which of `choices` */
    OPT_LIST    /* struct opt_list; may be given again */
};

enum { OPT_LIST_MAX = 64 };
struct opt_list {
    const char *items[OPT_LIST_MAX]; /* borrowed */
    int n;
};

struct opt {
    const char *name; /* "max-tokens"; NULL ends a table */
    char letter;      /* 'n', or 0 */
    const char *arg;  /* name of the value in help, "N"; NULL for flags */
    enum opt_type type;
    size_t offset;        /* offsetof the target's member */
    double min, max;      /* numbers: smallest and largest; both 0 = any that fit the type */
    const char *choices;  /* OPT_CHOICE: "error|warn|info|debug" */
    const char *fallback; /* the default as help shows it; NULL = not shown */
    const char *help;     /* one or more sentences */
};

/* Options that every command has: --help (-h), --log-level and --cpu. */
struct opt_shared {
    bool help;
    int log_level;   /* enum log_level; set it to LOG_WARN before */
    const char *cpu; /* name of an instruction set, NULL = the best there is */
};

extern const struct opt opt_shared_table[];

struct opt_example {
    const char *command; /* NULL ends the list */
    const char *what;
};

struct opt_command {
    const char *name;    /* "run", or of two words, "forge verify" */
    const char *summary; /* a line without full stop */
    const char *text;    /* paragraphs, an empty line between them; NULL = none */
    const char *args;    /* positional arguments in help, "DIR"; NULL = none */
    int args_min, args_max;
    const struct opt *options; /* NULL = only the shared ones */
    const struct opt_example *examples;
};

struct opt_program {
    const char *name, *version, *summary, *text;
    const struct opt_command *const *commands; /* NULL-terminated */
    const struct opt_example *examples;
};

/* Finds the command that argv[1] (and argv[2], for names of two words) names; *ret_words says how many it
 * took. Errors suggest the nearest name. */
bool opt_find(const struct opt_program *program, int argc, char **argv, const struct opt_command **ret,
              int *ret_words, struct alula_error *e);

/* Parses argv[0..argc-1], which begins behind the command's name. "--name value", "--name=value", "-n value",
 * "-nvalue", "-ab" for flags, "--" ends options, "-" alone is an argument. Positional arguments are moved to
 * the front of argv, *ret_args says how many. With --help the rest is not checked and target->help is true.
 * Strings point into argv. Errors are ALULA_USAGE. On failure the target may be partly filled. */
bool opt_parse(const struct opt_command *command, int argc, char **argv, void *target, int *ret_args,
               struct alula_error *e);

/* Converts and checks one value and stores it: the only place that does. name is the long name without
 * dashes. For flags value is true, false, yes, no, on, off, 1, 0, or NULL for true. value must outlive the
 * target if the option is a string. */
bool opt_set(const struct opt_command *command, const char *name, const char *value, void *target,
             struct alula_error *e);

/* Texts, wrapped to `width` columns (at least 60; 0 = 100). */
void opt_help(const struct opt_program *program, const struct opt_command *command, int width,
              struct buf *out);
void opt_help_program(const struct opt_program *program, int width, struct buf *out);
/* The whole program as one roff page, man(7). */
void opt_man(const struct opt_program *program, struct buf *out);
/* A script for bash-completion. */
void opt_completion(const struct opt_program *program, struct buf *out);

#endif
