/* opt.c - option tables at work: finding commands, parsing, checking values.
 *
 * Owns the command line's grammar and the conversion of values. Knows no command; its texts are made in
 * opt_text.c. */
#include "base/opt.h"
#include "base/log.h"

#include <errno.h>
#include <float.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct opt opt_shared_table[] = {
    {.name = "log-level",
     .arg = "LEVEL",
     .type = OPT_CHOICE,
     .offset = offsetof(struct opt_shared, log_level),
     .choices = "error|warn|info|debug",
     .fallback = "warn",
     .help = "How much to say on standard error."},
    {.name = "cpu",
     .arg = "SET",
     .type = OPT_STR,
     .offset = offsetof(struct opt_shared, cpu),
     .fallback = "the best there is",
     .help = "Use no instructions beyond this set: scalar, avx2, avx512 or neon. Results are the same bits."},
    {.name = "help",
     .letter = 'h',
     .type = OPT_FLAG,
     .offset = offsetof(struct opt_shared, help),
     .help = "Show this help."},
    {.name = NULL},
};
_Static_assert(LOG_ERROR == 0 && LOG_WARN == 1 && LOG_INFO == 2 && LOG_DEBUG == 3,
               "choices are in the order of log.h");

/* ---- suggestions ----------------------------------------------------------------------------- */

enum { NAME_MAX_LEN = 40 };

/* Edits (insert, delete, replace) between two names; longer names count as far apart. */
static int distance(const char *a, const char *b)
{
    int row[NAME_MAX_LEN + 1];
    size_t la = strlen(a), lb = strlen(b);
    if (la > NAME_MAX_LEN || lb > NAME_MAX_LEN) return INT_MAX;
    for (size_t j = 0; j <= lb; j++) row[j] = (int)j;
    for (size_t i = 1; i <= la; i++) {
        int diagonal = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= lb; j++) {
            int best = diagonal + (a[i - 1] != b[j - 1]);
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[lb];
}

/* Keeps `name` as the best suggestion if it is nearer to what was typed: a beginning of it, or a few edits
 * away. */
static void consider(const char *typed, const char *name, const char **best, int *best_distance)
{
    size_t n = strlen(typed);
    int d = n >= 2 && strncmp(typed, name, n) == 0 ? 0 : distance(typed, name);
    int allowed = n < 3 ? 1 : n < 8 ? 2 : 3;
    if (d <= allowed && d < *best_distance) {
        *best = name;
        *best_distance = d;
    }
}

/* ---- commands -------------------------------------------------------------------------------- */

bool opt_find(const struct opt_program *program, int argc, char **argv, const struct opt_command **ret,
              int *ret_words, struct alula_error *e)
{
    if (argc < 2) return err_set(e, ALULA_USAGE, "no command given; see %s --help", program->name);
    const struct opt_command *found = NULL;
    const char *best = NULL;
    int near = INT_MAX, words = 0;
    char two[2 * NAME_MAX_LEN];
    snprintf(two, sizeof two, "%s %s", argv[1], argc > 2 ? argv[2] : "");
    for (const struct opt_command *const *c = program->commands; *c; c++) {
        const char *name = (*c)->name;
        int match = strcmp(name, two) == 0 ? 2 : strcmp(name, argv[1]) == 0;
        if (match > words) {
            words = match;
            found = *c;
        }
        consider(argv[1], name, &best, &near);
    }
    if (!found && best)
        return err_set(e, ALULA_USAGE, "'%s' is no command; did you mean '%s'?", argv[1], best);
    if (!found) return err_set(e, ALULA_USAGE, "'%s' is no command; see %s --help", argv[1], program->name);
    *ret = found;
    *ret_words = words;
    return true;
}

/* ---- values ---------------------------------------------------------------------------------- */

static bool refuse(const struct opt *o, const char *value, const char *expected, struct alula_error *e)
{
    return err_set(e, ALULA_USAGE, "option --%s: found '%s', expected %s", o->name, value, expected);
}

static bool refuse_number(const struct opt *o, const char *value, const char *kind, double min, double max,
                          struct alula_error *e)
{
    char expected[128];
    if (max >= 0x1p62 || max >= DBL_MAX)
        snprintf(expected, sizeof expected, "%s of at least %.15g", kind, min);
    else
        snprintf(expected, sizeof expected, "%s from %.15g to %.15g", kind, min, max);
    return refuse(o, value, expected, e);
}

static bool set_integer(const struct opt *o, const char *value, void *at, struct alula_error *e)
{
    bool any = o->min == 0 && o->max == 0, wide = o->type == OPT_INT64;
    double min = any ? (wide ? (double)INT64_MIN : INT_MIN) : o->min;
    double max = any ? (wide ? (double)INT64_MAX : INT_MAX) : o->max;
    char *end;
    errno = 0;
    long long v = strtoll(value, &end, 10);
    bool whole = end != value && *end == '\0' && errno == 0 && value[0] > ' ';
    if (!whole || (double)v < min || (double)v > max || (!wide && (v < INT_MIN || v > INT_MAX)))
        return refuse_number(o, value, "a whole number", min, max, e);
    if (wide)
        *(int64_t *)at = v;
    else
        *(int *)at = (int)v;
    return true;
}

static bool set_real(const struct opt *o, const char *value, void *at, struct alula_error *e)
{
    bool any = o->min == 0 && o->max == 0;
    double min = any ? -DBL_MAX : o->min, max = any ? DBL_MAX : o->max;
    char *end;
    double v = strtod(value, &end);
    /* Only decimal notation: strtod would also take hexadecimal, "inf" and "nan". */
    bool plain = end != value && *end == '\0' && strspn(value, "+-.0123456789eE") == strlen(value);
    if (!plain || !isfinite(v) || v < min || v > max) return refuse_number(o, value, "a number", min, max, e);
    *(double *)at = v;
    return true;
}

/* Index of value among words separated by '|', -1 if it is none of them. */
static int choice_index(const char *choices, const char *value)
{
    size_t n = strlen(value);
    int i = 0;
    for (const char *p = choices;; i++) {
        size_t len = strcspn(p, "|");
        if (len == n && memcmp(p, value, n) == 0) return i;
        if (p[len] == '\0') return -1;
        p += len + 1;
    }
}

static bool set_flag(const struct opt *o, const char *value, void *at, struct alula_error *e)
{
    int i = value ? choice_index("false|true|no|yes|off|on|0|1", value) : 1;
    if (i < 0) return refuse(o, value, "true or false", e);
    *(bool *)at = i & 1;
    return true;
}

static bool set_choice(const struct opt *o, const char *value, void *at, struct alula_error *e)
{
    int i = choice_index(o->choices, value);
    if (i < 0) {
        char expected[512] = "one of ";
        size_t n = strlen(expected);
        for (const char *p = o->choices; *p && n < sizeof expected - 3; p++)
            n += (size_t)sprintf(expected + n, *p == '|' ? ", " : "%c", *p);
        return refuse(o, value, expected, e);
    }
    *(int *)at = i;
    return true;
}

static bool add_item(const struct opt *o, const char *value, struct opt_list *list, struct alula_error *e)
{
    if (list->n == OPT_LIST_MAX)
        return err_set(e, ALULA_USAGE, "option --%s: given more than %d times", o->name, OPT_LIST_MAX);
    list->items[list->n++] = value;
    return true;
}

static bool store(const struct opt *o, const char *value, void *target, struct alula_error *e)
{
    void *at = (char *)target + o->offset;
    if (!value && o->type != OPT_FLAG)
        return err_set(e, ALULA_USAGE, "option --%s: its value %s is missing", o->name, o->arg);
    switch (o->type) {
    case OPT_FLAG: return set_flag(o, value, at, e);
    case OPT_INT:
    case OPT_INT64: return set_integer(o, value, at, e);
    case OPT_REAL: return set_real(o, value, at, e);
    case OPT_CHOICE: return set_choice(o, value, at, e);
    case OPT_LIST: return add_item(o, value, at, e);
    case OPT_STR: *(const char **)at = value; return true;
    }
    return err_set(e, ALULA_INTERNAL, "option --%s has no type", o->name);
}

/* ---- parsing --------------------------------------------------------------------------------- */

static const struct opt *find_name(const struct opt *table, const char *name, size_t n)
{
    for (; table && table->name; table++)
        if (strlen(table->name) == n && memcmp(table->name, name, n) == 0) return table;
    return NULL;
}

static const struct opt *find_letter(const struct opt *table, char letter)
{
    for (; table && table->name; table++)
        if (table->letter == letter) return table;
    return NULL;
}

static bool unknown(const struct opt_command *command, const char *name, struct alula_error *e)
{
    const char *best = NULL;
    int near = INT_MAX;
    for (const struct opt *o = command->options; o && o->name; o++) consider(name, o->name, &best, &near);
    for (const struct opt *o = opt_shared_table; o->name; o++) consider(name, o->name, &best, &near);
    if (best)
        return err_set(e, ALULA_USAGE, "unknown option --%s for '%s'; did you mean --%s?", name,
                       command->name, best);
    return err_set(e, ALULA_USAGE, "unknown option --%s for '%s'; --help lists them", name, command->name);
}

static const struct opt *lookup(const struct opt_command *command, const char *name, size_t n)
{
    const struct opt *o = find_name(command->options, name, n);
    return o ? o : find_name(opt_shared_table, name, n);
}

bool opt_set(const struct opt_command *command, const char *name, const char *value, void *target,
             struct alula_error *e)
{
    const struct opt *o = lookup(command, name, strlen(name));
    return o ? store(o, value, target, e) : unknown(command, name, e);
}

/* "--name", "--name=value" or "--name value". *used counts words taken. */
static bool parse_long(const struct opt_command *command, char **argv, int argc, void *target, int *used,
                       struct alula_error *e)
{
    const char *name = argv[0] + 2, *value = NULL;
    size_t n = strcspn(name, "=");
    const struct opt *o = lookup(command, name, n);
    *used = 1;
    if (!o) {
        char cut[2 * NAME_MAX_LEN];
        snprintf(cut, sizeof cut, "%.*s", (int)(n < sizeof cut ? n : sizeof cut - 1), name);
        return unknown(command, cut, e);
    }
    if (o->type == OPT_FLAG && name[n]) return err_set(e, ALULA_USAGE, "option --%s takes no value", o->name);
    if (name[n]) {
        value = name + n + 1;
    } else if (o->type != OPT_FLAG && argc > 1) {
        value = argv[1];
        *used = 2;
    }
    return store(o, value, target, e);
}

/* "-x value", "-xvalue", or several flags, the last of which may take a value. */
static bool parse_letters(const struct opt_command *command, char **argv, int argc, void *target, int *used,
                          struct alula_error *e)
{
    *used = 1;
    for (const char *p = argv[0] + 1; *p; p++) {
        const struct opt *o = find_letter(command->options, *p);
        if (!o) o = find_letter(opt_shared_table, *p);
        if (!o)
            return err_set(e, ALULA_USAGE, "unknown option -%c in '%s' for '%s'; --help lists them", *p,
                           argv[0], command->name);
        if (o->type == OPT_FLAG) {
            if (!store(o, NULL, target, e)) return false;
            continue;
        }
        const char *value = p[1] ? p + 1 : NULL;
        if (!value && argc > 1) {
            value = argv[1];
            *used = 2;
        }
        return store(o, value, target, e);
    }
    return true;
}

static bool check_args(const struct opt_command *command, int n, char **argv, struct alula_error *e)
{
    if (n < command->args_min)
        return err_set(e, ALULA_USAGE, "'%s' needs %s, found %d argument%s; see --help", command->name,
                       command->args, n, n == 1 ? "" : "s");
    if (n > command->args_max)
        return err_set(e, ALULA_USAGE, "'%s': unexpected argument '%s', expected %s", command->name,
                       argv[command->args_max], command->args ? command->args : "none");
    return true;
}

bool opt_parse(const struct opt_command *command, int argc, char **argv, void *target, int *ret_args,
               struct alula_error *e)
{
    const struct opt_shared *shared = target;
    int n = 0, used;
    bool options = true;
    for (int i = 0; i < argc; i += used) {
        const char *word = argv[i];
        used = 1;
        if (!options || word[0] != '-' || word[1] == '\0')
            argv[n++] = argv[i];
        else if (strcmp(word, "--") == 0)
            options = false;
        else if (!(word[1] == '-' ? parse_long : parse_letters)(command, argv + i, argc - i, target, &used,
                                                                e))
            return false;
        if (shared->help) break;
    }
    if (!shared->help && !check_args(command, n, argv, e)) return false;
    *ret_args = n;
    return true;
}
