/* cmd_eval.c - alula eval: how well a model foretells a text, and its logits for comparison with other
 * implementations. */
#include <math.h>

#include "artifact/safetensors.h"
#include "base/err.h"
#include "base/file.h"
#include "base/json.h"
#include "cli/cli.h"
#include "cli/term.h"

struct eval_options {
    struct opt_shared shared;
    const char *ids, *text, *logits, *head;
    bool exact, json;
    int mtp, threads;
};

static const struct eval_options defaults = {.shared = CLI_SHARED};

#define AT(member) offsetof(struct eval_options, member)
static const struct opt table[] = {
    {.name = "ids",
     .arg = "FILE",
     .type = OPT_STR,
     .offset = AT(ids),
     .help = "Evaluate this JSON array of token ids; - is standard input."},
    {.name = "text",
     .arg = "FILE",
     .type = OPT_STR,
     .offset = AT(text),
     .help = "Evaluate this text; - is standard input."},
    {.name = "mtp",
     .arg = "D",
     .type = OPT_INT,
     .offset = AT(mtp),
     .min = 0,
     .max = ALULA_DEPTH_MAX,
     .fallback = "0",
     .help = "Evaluate the MTP head too, in chains of D steps."},
    {.name = "head",
     .arg = "DIR",
     .type = OPT_STR,
     .offset = AT(head),
     .help = "Take the MTP head from this folder."},
    {.name = "logits",
     .arg = "OUT",
     .type = OPT_STR,
     .offset = AT(logits),
     .help = "Write every row of logits to this safetensors file: logits, mtp_logits_1 .. mtp_logits_D, "
             "float32 [tokens][vocabulary]."},
    CLI_EXACT(AT(exact)),
    CLI_THREADS(AT(threads), "Threads that compute. The figures are the same for any number."),
    CLI_JSON(AT(json), "Print one JSON object."),
    {.name = NULL},
};
#undef AT

static const struct opt_example examples[] = {
    {"alula eval DIR --text book.txt", "Loss, perplexity and how often the best guess is right."},
    {"alula eval DIR --ids ids.json --exact --mtp 3 --logits out.safetensors",
     "Logits of the model and of three draft steps after each token."},
    {NULL, NULL},
};

static const char text_help[] =
    "The text is read once, as it stands, without the chat template. Loss is the mean cross-entropy in nats "
    "of every token but the first.\n\n"
    "Row t of 'logits' is what the model says after tokens 0 to t. For 'mtp_logits_d' a chain of greedy "
    "guesses starts at every t from the model's state after token t, with the true history behind it: step 1 "
    "is fed token t+1 of the text and foretells token t+2, step d is fed the head's own guess of the step "
    "before and foretells token t+1+d. (Where the text has ended, the model's best token stands for token "
    "t+1.) Acceptance at depth d counts the positions at which the first d guesses all equal the text.";

/* ---- running ------------------------------------------------------------------------------------------- */

struct run {
    struct st_writer *writer; /* or NULL */
    int vocab;
    struct progress progress;
};

static bool write_row(void *arg, int d, size_t t, const float *logits, struct alula_error *e)
{
    struct run *r = arg;
    (void)d, (void)t;
    return st_writer_append(r->writer, logits, (size_t)r->vocab * sizeof *logits, e);
}

static bool show_progress(void *arg, size_t done, size_t total)
{
    struct run *r = arg;
    (void)total;
    progress_show(&r->progress, done);
    return !term_stopped();
}

static bool open_writer(struct run *r, const char *path, size_t n, int depth, struct alula_error *e)
{
    const uint64_t shape[] = {n, (uint64_t)r->vocab};
    if (!st_writer_open(&r->writer, path, NULL, e) ||
        !st_writer_declare(r->writer, "logits", DT_F32, 2, shape, e))
        return false;
    for (int d = 1; d <= depth; d++) {
        char name[32];
        snprintf(name, sizeof name, "mtp_logits_%d", d);
        if (!st_writer_declare(r->writer, name, DT_F32, 2, shape, e)) return false;
    }
    return st_writer_begin(r->writer, e);
}

static bool evaluate(const struct eval_options *o, const struct alula_engine *engine, const int32_t *ids,
                     size_t n, struct alula_eval *ret, struct alula_error *e)
{
    struct alula_engine_info info;
    alula_engine_describe(engine, &info);
    struct run r = {.vocab = info.vocab};
    struct alula_eval_options eo = {
        .n_threads = o->threads,
        .depth = o->mtp,
        .row = o->logits ? write_row : NULL,
        .progress = show_progress,
        .arg = &r,
    };
    bool ok = !o->logits || open_writer(&r, o->logits, n, o->mtp, e);
    if (ok) {
        progress_start(&r.progress, "reading the text", "rows", n * (size_t)(1 + o->mtp));
        ok = alula_eval_run(engine, ids, n, &eo, ret, e);
        progress_end(&r.progress);
    }
    ok = ok && (!o->logits || st_writer_commit(r.writer, e));
    st_writer_close(r.writer);
    return ok;
}

/* ---- report -------------------------------------------------------------------------------------------- */

static double share(int64_t part, int64_t whole) { return whole ? (double)part / (double)whole : NAN; }

static void member(struct buf *out, const char *key, double v)
{
    buf_fmt(out, ", \"%s\": ", key);
    json_write_real(out, v);
}

/* Without anything foretold (a text of one token) the figures are null. */
static void write_json(struct buf *out, size_t n, int depth, const struct alula_eval *v)
{
    double loss = v->tokens ? v->loss : NAN;
    buf_fmt(out, "{\"tokens\": %zu, \"scored\": %lld", n, (long long)v->tokens);
    member(out, "loss", loss);
    member(out, "perplexity", exp(loss));
    member(out, "top1", share(v->top1, v->tokens));
    if (depth) {
        buf_fmt(out, ", \"mtp\": {\"positions\": %lld, \"accepted_by_depth\": [", (long long)v->positions);
        for (int d = 0; d < depth; d++) buf_fmt(out, "%s%lld", d ? ", " : "", (long long)v->accepted[d]);
        buf_str(out, "]}");
    }
    member(out, "seconds", v->seconds);
    buf_str(out, "}\n");
}

static void write_table(struct buf *out, size_t n, int depth, const struct alula_eval *v)
{
    buf_fmt(out, "tokens      %zu\n", n);
    if (v->tokens) {
        buf_fmt(out, "loss        %.6f nats a token\nperplexity  %.4f\n", v->loss, exp(v->loss));
        buf_fmt(out, "top-1       %.2f %%  (%lld of %lld)\n", 100 * share(v->top1, v->tokens),
                (long long)v->top1, (long long)v->tokens);
    }
    for (int d = 0; d < depth && v->positions; d++)
        buf_fmt(out, "depth %d     %.2f %%  (%lld of %lld positions: the first %d %s equal the text)\n",
                d + 1, 100 * share(v->accepted[d], v->positions), (long long)v->accepted[d],
                (long long)v->positions, d + 1, d ? "guesses" : "guess");
    buf_fmt(out, "time        %.2f s\n", v->seconds);
}

/* ---- command ------------------------------------------------------------------------------------------- */

static bool read_ids(const struct eval_options *o, const struct alula_engine *engine, int32_t **ret_ids,
                     size_t *ret_n, struct alula_error *e)
{
    if (o->ids) return cli_read_ids(o->ids, ret_ids, ret_n, e);
    struct buf text;
    buf_init(&text, CLI_INPUT_MAX);
    bool ok = file_read(o->text, CLI_INPUT_MAX, &text, e) &&
              (alula_tokenize(engine, text.data ? text.data : "", text.len, true, ret_ids, ret_n, e) ||
               err_context(e, "%s", o->text));
    buf_free(&text);
    return ok;
}

static bool eval_run(const void *options, char **args, int n_args, int *status, struct alula_error *e)
{
    const struct eval_options *o = options;
    (void)n_args, (void)status;
    if (!o->ids == !o->text) return err_set(e, ALULA_USAGE, "give one of --ids FILE and --text FILE");
    if (o->head && !o->mtp) return err_set(e, ALULA_USAGE, "--head has no use without --mtp D");
    struct alula_engine *engine;
    struct alula_engine_options eo = {.exact = o->exact, .no_mtp = !o->mtp, .mtp = o->mtp ? o->head : NULL};
    if (!alula_engine_open(&engine, args[0], &eo, e)) return false;
    int32_t *ids = NULL;
    size_t n = 0;
    struct alula_eval v;
    struct buf out = {0};
    bool ok = read_ids(o, engine, &ids, &n, e) && evaluate(o, engine, ids, n, &v, e);
    if (ok) {
        (o->json ? write_json : write_table)(&out, n, o->mtp, &v);
        ok = term_write_buf(&out, e);
    }
    buf_free(&out);
    alula_free(ids);
    alula_engine_close(engine);
    return ok;
}

const struct cli_command cmd_eval = {
    .opt = {.name = "eval",
            .summary = "say how well a model foretells a text, and keep its logits",
            .args = "DIR",
            .args_min = 1,
            .args_max = 1,
            .text = text_help,
            .options = table,
            .examples = examples},
    .defaults = &defaults,
    .size = sizeof defaults,
    .run = eval_run,
};
