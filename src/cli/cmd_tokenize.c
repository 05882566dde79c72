/* cmd_tokenize.c - alula tokenize: text on standard input to a JSON array of ids, and back. */
#include "base/err.h"
#include "base/file.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/term.h"
#include "text/tokenizer.h"

struct tokenize_options {
    struct opt_shared shared;
    bool no_special, decode;
};

static const struct tokenize_options defaults = {.shared = CLI_SHARED};

static const struct opt table[] = {
    {.name = "no-special",
     .type = OPT_FLAG,
     .offset = offsetof(struct tokenize_options, no_special),
     .help = "Read added tokens such as <|im_end|> as plain text."},
    {.name = "decode",
     .letter = 'd',
     .type = OPT_FLAG,
     .offset = offsetof(struct tokenize_options, decode),
     .help = "The other way: a JSON array of ids in, text out. Bytes that are no character become U+FFFD."},
    {.name = NULL},
};

static const struct opt_example examples[] = {
    {"printf 'Hello' | alula tokenize DIR", "Prints the ids of the whole input, its line breaks included."},
    {"echo '[39, 68]' | alula tokenize DIR --decode", "Prints the text of two ids, nothing added."},
    {NULL, NULL},
};

static bool encode(const struct tokenizer *t, bool special, struct buf *out, struct alula_error *e)
{
    struct buf text;
    int32_t *ids = NULL;
    size_t n = 0;
    buf_init(&text, CLI_INPUT_MAX);
    bool ok = file_read("-", CLI_INPUT_MAX, &text, e) &&
              (tokenizer_encode(t, text.data ? text.data : "", text.len, special, &ids, &n, e) ||
               err_context(e, "standard input"));
    if (ok) {
        buf_byte(out, '[');
        for (size_t i = 0; i < n; i++) buf_fmt(out, "%s%d", i ? ", " : "", ids[i]);
        buf_str(out, "]\n");
    }
    mem_free(ids);
    buf_free(&text);
    return ok;
}

static bool decode(const struct tokenizer *t, struct buf *out, struct alula_error *e)
{
    int32_t *ids;
    size_t n, len;
    if (!cli_read_ids("-", &ids, &n, e)) return false;
    bool ok = true;
    struct detok d;
    detok_init(&d, t, false);
    for (size_t i = 0; ok && i < n; i++) {
        if (!tokenizer_bytes(t, ids[i], &len))
            ok = err_set(e, ALULA_FORMAT,
                         "standard input: entry %zu is %d, which is no token of this tokenizer", i, ids[i]);
        else
            detok_put(&d, ids[i], out);
    }
    detok_end(&d, out);
    mem_free(ids);
    return ok;
}

static bool tokenize_run(const void *options, char **args, int n_args, int *status, struct alula_error *e)
{
    const struct tokenize_options *o = options;
    struct tokenizer *t;
    struct buf out = {0};
    (void)n_args, (void)status;
    if (o->decode && o->no_special)
        return err_set(e, ALULA_USAGE, "--no-special is about text; it does not go with --decode");
    if (!tokenizer_open(&t, args[0], e)) return false;
    bool ok =
        (o->decode ? decode(t, &out, e) : encode(t, !o->no_special, &out, e)) && term_write_buf(&out, e);
    tokenizer_close(t);
    buf_free(&out);
    return ok;
}

const struct cli_command cmd_tokenize = {
    .opt = {.name = "tokenize",
            .summary = "turn text into token ids, or back",
            .args = "DIR",
            .args_min = 1,
            .args_max = 1,
            .text = "Reads the whole of standard input, not a line at a time. DIR needs only tokenizer.json.",
            .options = table,
            .examples = examples},
    .defaults = &defaults,
    .size = sizeof defaults,
    .run = tokenize_run,
};
