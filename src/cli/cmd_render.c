/* cmd_render.c - alula render: a conversation as the model's own template writes it, for comparison with other
 * implementations. */
#include "base/err.h"
#include "base/file.h"
#include "cli/cli.h"
#include "cli/term.h"
#include "text/chat.h"
#include "text/jinja.h"

struct render_options {
    struct opt_shared shared;
    const char *template, *input;
};

static const struct render_options defaults = {.shared = CLI_SHARED, .input = "-"};

#define AT(member) offsetof(struct render_options, member)
static const struct opt table[] = {
    {.name = "template",
     .arg = "FILE",
     .type = OPT_STR,
     .offset = AT(template),
     .help = "Run this template instead of a model's; the input goes in as it stands."},
    {.name = "input",
     .letter = 'i',
     .arg = "FILE",
     .type = OPT_STR,
     .offset = AT(input),
     .fallback = "standard input",
     .help = "A JSON object: messages, tools and any other variable of the template."},
    {.name = NULL},
};
#undef AT

static const struct opt_example examples[] = {
    {"echo '{\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}], \"add_generation_prompt\": true}' | "
     "alula render DIR",
     "What the model reads when it is told 'hi'."},
    {"alula render --template chat.jinja --input case.json", "Runs a template by itself."},
    {NULL, NULL},
};

static bool render_template(const char *path, const struct buf *input, struct buf *out, struct alula_error *e)
{
    struct buf text;
    struct jinja *j = NULL;
    buf_init(&text, 0);
    bool ok = file_read(path, JINJA_SOURCE_MAX, &text, e) &&
              jinja_parse(&j, text.data ? text.data : "", text.len, path_base(path), e) &&
              jinja_render(j, input->data, input->len, 0, out, e);
    jinja_free(j);
    buf_free(&text);
    return ok;
}

static bool render_model(const char *dir, const struct buf *input, struct buf *out, struct alula_error *e)
{
    struct chat_template *t;
    if (!chat_template_open(&t, dir, e)) return false;
    bool ok = chat_template_render(t, input->data, input->len, out, e);
    chat_template_close(t);
    return ok;
}

static bool render_command(const void *options, char **args, int n_args, int *status, struct alula_error *e)
{
    const struct render_options *o = options;
    struct buf input, out = {0};
    (void)status;
    if (!o->template == !n_args) return err_set(e, ALULA_USAGE, "give one of DIR and --template FILE");
    buf_init(&input, 0);
    bool ok = file_read(o->input, JINJA_CONTEXT_MAX, &input, e) &&
              (o->template ? render_template(o->template, &input, &out, e)
                           : render_model(args[0], &input, &out, e)) &&
              term_write_buf(&out, e);
    buf_free(&input);
    buf_free(&out);
    return ok;
}

const struct cli_command cmd_render = {
    .opt =
        {.name = "render",
         .summary = "write a conversation as the model's own chat template does",
         .args = "[DIR]",
         .args_min = 0,
         .args_max = 1,
         .text =
             "Prints the rendering and nothing else. An error that the template raises is told on standard "
             "error, with exit status 1.\n\n"
             "With DIR the conversation is prepared as Hugging Face does: members of messages that are null "
             "are dropped, arguments of tool calls that are JSON text are parsed, the model's special tokens "
             "are variables.",
         .options = table,
         .examples = examples},
    .defaults = &defaults,
    .size = sizeof defaults,
    .run = render_command,
};
