/* opt_text.c - the texts made from option tables: help, man page, completion.
 *
 * Owns their layout. Knows no command and prints nothing. */
#include "base/opt.h"

#include <string.h>

/* ---- help ------------------------------------------------------------------------------------ */

enum { WIDTH_DEFAULT = 100, WIDTH_MIN = 60, INDENT = 2, HELP_COLUMN = 26 };

/* Columns of n bytes of text; every character counts as one. */
static size_t columns(const char *s, size_t n)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++) count += ((unsigned char)s[i] & 0xc0) != 0x80;
    return count;
}

static void pad(struct buf *out, size_t n) { buf_fmt(out, "%*s", (int)n, ""); }

/* Adds text, wrapped between columns `indent` and `width`; `at` is the column where the line stands now. A
 * line break in text ends the line, so an empty line stays one. */
static void wrap(struct buf *out, const char *text, size_t at, size_t indent, size_t width)
{
    bool fresh = true;
    for (const char *p = text; *p;) {
        if (*p == '\n') {
            buf_byte(out, '\n');
            at = 0;
            fresh = true;
            p++;
            continue;
        }
        size_t bytes = strcspn(p, " \n"), cols = columns(p, bytes);
        if (bytes > 0) {
            if (!fresh && at + 1 + cols > width) {
                buf_byte(out, '\n');
                at = 0;
                fresh = true;
            }
            size_t gap = !fresh ? 1 : at < indent ? indent - at : 0;
            pad(out, gap);
            buf_add(out, p, bytes);
            at += gap + cols;
            fresh = false;
        }
        p += bytes;
        if (*p == ' ') p++;
    }
    buf_byte(out, '\n');
}

static size_t width_of(int width)
{
    return width == 0 ? WIDTH_DEFAULT : width < WIDTH_MIN ? WIDTH_MIN : (size_t)width;
}

/* Two columns: a label and its explanation, the latter on a line of its own if the label is too long. */
static void entry(struct buf *out, const char *label, const char *text, size_t column, size_t width)
{
    size_t at = INDENT + columns(label, strlen(label));
    pad(out, INDENT);
    buf_str(out, label);
    if (at + 2 > column) {
        buf_byte(out, '\n');
        at = 0;
    }
    wrap(out, text, at, column, width);
}

static void option_entry(struct buf *out, const struct opt *o, size_t width)
{
    struct buf label = {0}, text = {0};
    if (o->letter)
        buf_fmt(&label, "-%c, --%s", o->letter, o->name);
    else
        buf_fmt(&label, "    --%s", o->name);
    if (o->arg) buf_fmt(&label, " %s", o->arg);
    buf_str(&text, o->help);
    if (o->choices) {
        buf_str(&text, " One of ");
        for (const char *p = o->choices; *p; p++) {
            if (*p == '|')
                buf_str(&text, ", ");
            else
                buf_byte(&text, (unsigned char)*p);
        }
        buf_byte(&text, '.');
    }
    if (o->type == OPT_LIST) buf_str(&text, " May be given several times.");
    if (o->fallback) buf_fmt(&text, " [%s]", o->fallback);
    if (label.failed || text.failed)
        out->failed = out->no_memory = true;
    else
        entry(out, label.data, text.data, HELP_COLUMN, width);
    buf_free(&label);
    buf_free(&text);
}

static void option_entries(struct buf *out, const struct opt *table, size_t width)
{
    for (; table && table->name; table++) option_entry(out, table, width);
}

static void examples(struct buf *out, const struct opt_example *list, size_t width)
{
    if (!list || !list->command) return;
    buf_str(out, "\nExamples:\n");
    for (; list->command; list++) {
        pad(out, INDENT);
        buf_str(out, list->command);
        buf_byte(out, '\n');
        wrap(out, list->what, 0, 3 * INDENT, width);
    }
}

static void usage(struct buf *out, const struct opt_program *program, const struct opt_command *c)
{
    buf_fmt(out, "%s %s%s%s [options]", program->name, c->name, c->args ? " " : "", c->args ? c->args : "");
}

void opt_help(const struct opt_program *program, const struct opt_command *command, int width,
              struct buf *out)
{
    size_t w = width_of(width);
    buf_fmt(out, "%s %s - %s\n\nUsage: ", program->name, command->name, command->summary);
    usage(out, program, command);
    buf_str(out, "\n");
    if (command->text) {
        buf_byte(out, '\n');
        wrap(out, command->text, 0, 0, w);
    }
    buf_str(out, "\nOptions:\n");
    option_entries(out, command->options, w);
    option_entries(out, opt_shared_table, w);
    examples(out, command->examples, w);
}

void opt_help_program(const struct opt_program *program, int width, struct buf *out)
{
    size_t w = width_of(width), longest = 0;
    buf_fmt(out, "%s %s - %s\n\nUsage: %s COMMAND [arguments] [options]\n", program->name, program->version,
            program->summary, program->name);
    if (program->text) {
        buf_byte(out, '\n');
        wrap(out, program->text, 0, 0, w);
    }
    buf_str(out, "\nCommands:\n");
    for (const struct opt_command *const *c = program->commands; *c; c++)
        if (strlen((*c)->name) > longest) longest = strlen((*c)->name);
    for (const struct opt_command *const *c = program->commands; *c; c++)
        entry(out, (*c)->name, (*c)->summary, INDENT + longest + 2, w);
    examples(out, program->examples, w);
    buf_fmt(out, "\n'%s COMMAND --help' tells more about a command.\n", program->name);
}

/* ---- man page -------------------------------------------------------------------------------- */

/* Text for roff, where a backslash, quotes, some ASCII characters and a control character at the beginning of
 * a line mean something else. */
static void roff(struct buf *out, const char *text)
{
    static const char special[] = "\\-'`^~\"";
    static const char *const as[] = {"\\e", "\\-", "\\(aq", "\\(ga", "\\(ha", "\\(ti", "\\(dq"};
    bool begin = true;
    for (const char *p = text; *p; p++) {
        const char *hit = strchr(special, *p);
        if (p[0] == '\n' && p[1] == '\n') {
            buf_str(out, "\n.PP\n");
            begin = true;
            p++;
            continue;
        }
        if (begin && *p == '.') buf_str(out, "\\&");
        if (hit)
            buf_str(out, as[hit - special]);
        else
            buf_byte(out, (unsigned char)*p);
        begin = *p == '\n';
    }
}

static void roff_options(struct buf *out, const struct opt *table)
{
    for (; table && table->name; table++) {
        buf_str(out, ".TP\n");
        if (table->letter) buf_fmt(out, "\\fB\\-%c\\fR, ", table->letter);
        buf_str(out, "\\fB\\-\\-");
        roff(out, table->name);
        buf_str(out, "\\fR");
        if (table->arg) {
            buf_str(out, " \\fI");
            roff(out, table->arg);
            buf_str(out, "\\fR");
        }
        buf_byte(out, '\n');
        roff(out, table->help);
        if (table->choices) {
            buf_str(out, " Choices: ");
            roff(out, table->choices);
            buf_byte(out, '.');
        }
        if (table->fallback) {
            buf_str(out, " Default: ");
            roff(out, table->fallback);
            buf_byte(out, '.');
        }
        buf_byte(out, '\n');
    }
}

static void roff_examples(struct buf *out, const struct opt_example *list)
{
    for (; list && list->command; list++) {
        buf_str(out, ".TP\n\\fB");
        roff(out, list->command);
        buf_str(out, "\\fR\n");
        roff(out, list->what);
        buf_byte(out, '\n');
    }
}

static void roff_command(struct buf *out, const struct opt_program *program, const struct opt_command *c)
{
    buf_str(out, ".SS \"");
    roff(out, program->name);
    buf_byte(out, ' ');
    roff(out, c->name);
    if (c->args) {
        buf_byte(out, ' ');
        roff(out, c->args);
    }
    buf_str(out, "\"\n");
    roff(out, c->summary);
    buf_str(out, ".\n");
    if (c->text) {
        buf_str(out, ".PP\n");
        roff(out, c->text);
        buf_byte(out, '\n');
    }
    roff_options(out, c->options);
    if (c->examples && c->examples->command) {
        buf_str(out, ".PP\nExamples:\n");
        roff_examples(out, c->examples);
    }
}

void opt_man(const struct opt_program *program, struct buf *out)
{
    buf_fmt(out, ".TH %s 1 \"\" \"%s %s\"\n.SH NAME\n%s \\- ", program->name, program->name, program->version,
            program->name);
    roff(out, program->summary);
    buf_fmt(out, "\n.SH SYNOPSIS\n.B %s\n.I COMMAND\n[arguments] [options]\n", program->name);
    if (program->text) {
        buf_str(out, ".SH DESCRIPTION\n");
        roff(out, program->text);
        buf_byte(out, '\n');
    }
    buf_str(out, ".SH COMMANDS\n");
    for (const struct opt_command *const *c = program->commands; *c; c++) roff_command(out, program, *c);
    buf_str(out, ".SH \"OPTIONS OF EVERY COMMAND\"\n");
    roff_options(out, opt_shared_table);
    if (program->examples && program->examples->command) {
        buf_str(out, ".SH EXAMPLES\n");
        roff_examples(out, program->examples);
    }
}

/* ---- completion ------------------------------------------------------------------------------ */

/* The words of choices, separated by blanks. */
static void spaced(struct buf *out, const char *choices)
{
    for (const char *p = choices; *p; p++) buf_byte(out, *p == '|' ? ' ' : (unsigned char)*p);
}

/* Inside `case "$cmd $prev"`: what may follow an option that takes a value. */
static void value_cases(struct buf *out, const char *command, const struct opt *table)
{
    for (; table && table->name; table++) {
        if (table->type == OPT_FLAG) continue;
        buf_fmt(out, "    \"%s --%s\"", command, table->name);
        if (table->letter) buf_fmt(out, "|\"%s -%c\"", command, table->letter);
        buf_str(out, ") ");
        if (table->choices) {
            buf_str(out, "COMPREPLY=($(compgen -W '");
            spaced(out, table->choices);
            buf_str(out, "' -- \"$cur\")); ");
        }
        buf_str(out, "return ;;\n");
    }
}

static void option_words(struct buf *out, const struct opt *table)
{
    for (; table && table->name; table++) buf_fmt(out, " --%s", table->name);
}

/* The second words of commands of two words: offered behind the first, and once complete part of the name. */
static void second_words(struct buf *out, const struct opt_program *program)
{
    for (const struct opt_command *const *c = program->commands; *c; c++) {
        const char *name = (*c)->name, *blank = strchr(name, ' ');
        if (!blank) continue;
        buf_fmt(out, "    if [ \"$cmd\" = '%.*s' ] && [ \"$COMP_CWORD\" -eq 2 ]; then more=\"$more%s\"; fi\n",
                (int)(blank - name), name, blank);
        buf_fmt(out, "    if [ \"$cmd ${COMP_WORDS[2]}\" = '%s' ]; then cmd='%s'; fi\n", name, name);
    }
}

void opt_completion(const struct opt_program *program, struct buf *out)
{
    const char *name = program->name;
    buf_fmt(out, "# bash completion for %s, made by it from its option tables\n_%s() {\n", name, name);
    buf_str(out,
            "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} cmd=${COMP_WORDS[1]}\n"
            "    local options='' more=''\n    COMPREPLY=()\n"
            "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n        COMPREPLY=($(compgen -W '--help --version");
    for (const struct opt_command *const *c = program->commands; *c; c++)
        if (!strchr((*c)->name, ' ')) buf_fmt(out, " %s", (*c)->name);
    buf_str(out, "' -- \"$cur\"))\n        return\n    fi\n");
    second_words(out, program);
    buf_str(out, "    case \"$cmd $prev\" in\n");
    for (const struct opt_command *const *c = program->commands; *c; c++) {
        value_cases(out, (*c)->name, (*c)->options);
        value_cases(out, (*c)->name, opt_shared_table);
    }
    buf_str(out, "    esac\n    case \"$cmd\" in\n");
    for (const struct opt_command *const *c = program->commands; *c; c++) {
        buf_fmt(out, "    '%s') options='", (*c)->name);
        option_words(out, (*c)->options);
        option_words(out, opt_shared_table);
        buf_str(out, "' ;;\n");
    }
    buf_fmt(out,
            "    esac\n    case \"$cur\" in\n    -*) COMPREPLY=($(compgen -W \"$options\" -- \"$cur\")) ;;\n"
            "    *) COMPREPLY=($(compgen -W \"$more\" -- \"$cur\")) ;;\n    esac\n}\n"
            "complete -o default -o bashdefault -F _%s %s\n",
            name, name);
}
