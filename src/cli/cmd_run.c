/* cmd_run.c - alula run: one answer, or a chat on a terminal.
 *
 * Owns the options and what they mean. Answers come from run_local.c or, with --connect, run_remote.c. */
#include <string.h>

#include "base/err.h"
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/run_local.h"
#include "cli/run_remote.h"
#include "cli/term.h"
#include "cli/userstate.h"

struct run_options {
    struct opt_shared shared;
    const char *prompt, *system, *mtp, *state, *schema, *connect, *api_key;
    bool raw, think, no_think, no_mtp, exact, stats, json;
    int depth; /* choice: 0 auto, else tokens + 1 */
    int law;   /* enum alula_law */
    int max_tokens, threads, ctx, top_k;
    double temp, top_p, min_p, presence, frequency, repetition;
    int64_t seed;
    struct opt_list stop;
};

static const struct run_options defaults = {
    .shared = CLI_SHARED,
    .top_p = 1,
    .repetition = 1,
    .seed = -1,
};

#define AT(member) offsetof(struct run_options, member)
static const struct opt table[] = {
    {.name = "prompt",
     .letter = 'p',
     .arg = "TEXT",
     .type = OPT_STR,
     .offset = AT(prompt),
     .help = "What to answer. Without it standard input is read; on a terminal a chat begins."},
    {.name = "system",
     .arg = "TEXT",
     .type = OPT_STR,
     .offset = AT(system),
     .help = "System message in front of the prompt."},
    {.name = "think",
     .type = OPT_FLAG,
     .offset = AT(think),
     .help = "Ask the chat template for reasoning (enable_thinking)."},
    {.name = "no-think",
     .type = OPT_FLAG,
     .offset = AT(no_think),
     .help = "Ask the chat template for no reasoning."},
    {.name = "raw",
     .type = OPT_FLAG,
     .offset = AT(raw),
     .help = "Continue the prompt as it stands, without the chat template. Added tokens such as <|im_end|> "
             "count."},
    CLI_MAX_TOKENS(AT(max_tokens), "until the model stops", "Longest answer."),
    {.name = "stop",
     .arg = "TEXT",
     .type = OPT_LIST,
     .offset = AT(stop),
     .help = "End the answer where TEXT would come."},
    {.name = "depth",
     .arg = "N",
     .type = OPT_CHOICE,
     .offset = AT(depth),
     .choices = "auto|0|1|2|3|4|5|6|7",
     .fallback = "auto",
     .help = "Tokens drafted ahead of each verification; 0 is plain decoding, auto drafts as many as pay."},
    CLI_NO_MTP(AT(no_mtp)),
    CLI_MTP(AT(mtp)),
    CLI_EXACT(AT(exact)),
    {.name = "temp",
     .arg = "T",
     .type = OPT_REAL,
     .offset = AT(temp),
     .min = 0,
     .max = 100,
     .fallback = "0",
     .help = "Temperature; 0 always takes the likeliest token."},
    {.name = "top-k",
     .arg = "N",
     .type = OPT_INT,
     .offset = AT(top_k),
     .min = 0,
     .max = 1 << 24,
     .fallback = "off",
     .help = "Draw from the N likeliest tokens only."},
    {.name = "top-p",
     .arg = "P",
     .type = OPT_REAL,
     .offset = AT(top_p),
     .min = 0,
     .max = 1,
     .fallback = "off",
     .help = "Draw from the likeliest tokens that together have probability P."},
    {.name = "min-p",
     .arg = "P",
     .type = OPT_REAL,
     .offset = AT(min_p),
     .min = 0,
     .max = 1,
     .fallback = "off",
     .help = "Leave out tokens less probable than P times the likeliest."},
    {.name = "presence-penalty",
     .arg = "X",
     .type = OPT_REAL,
     .offset = AT(presence),
     .min = -2,
     .max = 2,
     .fallback = "0",
     .help = "Subtracted once from a token that the answer has already."},
    {.name = "frequency-penalty",
     .arg = "X",
     .type = OPT_REAL,
     .offset = AT(frequency),
     .min = -2,
     .max = 2,
     .fallback = "0",
     .help = "Subtracted for each time that the answer has a token already."},
    {.name = "repetition-penalty",
     .arg = "X",
     .type = OPT_REAL,
     .offset = AT(repetition),
     .min = 0.01,
     .max = 100,
     .fallback = "1",
     .help = "Divides what speaks for tokens that prompt or answer have already."},
    {.name = "seed",
     .arg = "N",
     .type = OPT_INT64,
     .offset = AT(seed),
     .min = 0,
     .max = 0x1p53,
     .fallback = "another one each time",
     .help = "The same seed draws the same answer."},
    {.name = "law",
     .arg = "LAW",
     .type = OPT_CHOICE,
     .offset = AT(law),
     .choices = "auto|rejection|coupled",
     .fallback = "auto",
     .help = "How drafts are judged when tokens are drawn by chance: two exact ways. rejection keeps the "
             "most drafts; coupled gives the same text for a seed at every depth; auto takes coupled if "
             "there is a seed."},
    CLI_THREADS(AT(threads), "Threads that compute. The text is the same for any number."),
    CLI_CTX(AT(ctx), "Tokens that prompt and answer may have together."),
    CLI_STATE(AT(state), "Folder in which tune remembered what pays; --depth auto heeds it."),
    {.name = "schema",
     .arg = "FILE",
     .type = OPT_STR,
     .offset = AT(schema),
     .help = "Answer in JSON that fits the JSON schema in FILE, on one line; reasoning, if any, comes first. "
             "Keywords that cannot be seen to are refused by name."},
    {.name = "connect",
     .arg = "URL",
     .type = OPT_STR,
     .offset = AT(connect),
     .help = "Instead of a folder: let the server at URL answer, alula start's or any other with "
             "/v1/chat/completions."},
    CLI_API_KEY(AT(api_key), "Key of that server."),
    {.name = "stats",
     .type = OPT_FLAG,
     .offset = AT(stats),
     .help = "Afterwards, say on standard error how fast it was."},
    CLI_JSON(AT(json), "Print one JSON object instead of text: text, tokens, prompt_tokens, finish, stats."),
    {.name = NULL},
};
#undef AT

static const struct opt_example examples[] = {
    {"alula run DIR", "A chat, on a terminal."},
    {"alula run DIR -p 'Why is the sky blue?' --stats", "One answer, and how fast it came."},
    {"alula run DIR --temp 0.7 --top-p 0.9 --seed 1 < letter.txt",
     "Answers what a file says, drawing by chance that can be repeated."},
    {"alula run DIR --schema person.json -p 'Who wrote Faust?'", "Answers in JSON that fits a schema."},
    {"alula run --connect http://127.0.0.1:8765 -p 'Why is the sky blue?'",
     "Asks a server that alula start runs."},
    {"alula run DIR --raw -p 'Once upon a time' -n 200 --depth 0", "Continues a text by plain decoding."},
    {NULL, NULL},
};

static bool check_options(const struct run_options *o, struct alula_error *e)
{
    const struct {
        bool wrong;
        const char *message;
    } rules[] = {
        {o->think && o->no_think, "--think and --no-think exclude each other"},
        {o->raw && (o->think || o->no_think),
         "--think and --no-think speak to the chat template, which --raw leaves out"},
        {o->raw && o->system, "--system needs the chat template, which --raw leaves out"},
        {o->no_mtp && o->mtp, "--no-mtp and --mtp exclude each other"},
        {o->connect &&
             (o->mtp || o->no_mtp || o->exact || o->raw || o->threads || o->ctx || o->law || o->state),
         "--connect lets a server decode; --mtp, --no-mtp, --exact, --raw, --threads, --ctx, --law and "
         "--state are that server's"},
        {o->connect && o->schema, "--schema is for a model in a folder, not for the server of --connect"},
        {o->api_key && !o->connect, "--api-key is for the server of --connect"},
        {o->no_mtp && o->depth > 1, "--depth above 0 drafts with the MTP head, which --no-mtp leaves aside"},
    };
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (rules[i].wrong) return err_set(e, ALULA_USAGE, "%s", rules[i].message);
    for (int i = 0; i < o->stop.n; i++)
        if (!o->stop.items[i][0]) return err_set(e, ALULA_USAGE, "option --stop: its text is empty");
    return true;
}

/* ---- the prompt ------------------------------------------------------------------------------------------ */

static bool talk_begin(struct talk *t, const struct run_options *o, struct alula_error *e)
{
    t->thinking = o->think ? THINK_ON : o->no_think ? THINK_OFF : THINK_UNSAID;
    return !o->system || talk_add(t, "system", o->system, strlen(o->system), "option --system", e);
}

static bool prompt_text(const struct run_options *o, struct buf *text, struct alula_error *e)
{
    if (o->prompt)
        buf_str(text, o->prompt);
    else if (!file_read("-", CLI_INPUT_MAX, text, e))
        return false;
    if (!text->len)
        return err_set(e, ALULA_USAGE, "the prompt is empty; give -p TEXT or a text on standard input");
    return buf_check(text, "the prompt", e);
}

static const char *prompt_name(const struct run_options *o)
{
    return o->prompt ? "option --prompt" : "standard input";
}

/* ---- a server's answer --------------------------------------------------------------------------------- */

static void add_real(struct buf *b, const char *name, double v, double off)
{
    if (v == off) return;
    buf_fmt(b, ", \"%s\": ", name);
    json_write_real(b, v);
}

static void add_int(struct buf *b, const char *name, int64_t v, int64_t off)
{
    if (v != off) buf_fmt(b, ", \"%s\": %lld", name, (long long)v);
}

/* The options as members of a request; the temperature always, because servers have their own. */
static void write_parameters(const struct run_options *o, struct buf *b)
{
    add_real(b, "temperature", o->temp, -1);
    add_int(b, "top_k", o->top_k, 0);
    add_real(b, "top_p", o->top_p, 1);
    add_real(b, "min_p", o->min_p, 0);
    add_real(b, "presence_penalty", o->presence, 0);
    add_real(b, "frequency_penalty", o->frequency, 0);
    add_real(b, "repetition_penalty", o->repetition, 1);
    add_int(b, "seed", o->seed, -1);
    add_int(b, "max_tokens", o->max_tokens, 0);
    add_int(b, "depth", o->depth - 1, ALULA_DEPTH_AUTO);
    for (int i = 0; i < o->stop.n; i++) {
        buf_str(b, i ? ", " : ", \"stop\": [");
        json_write_str(b, o->stop.items[i], strlen(o->stop.items[i]));
    }
    if (o->stop.n) buf_byte(b, ']');
}

static bool run_connected(const struct run_options *o, const struct buf *text, struct alula_error *e)
{
    struct buf parameters = {0};
    write_parameters(o, &parameters);
    struct run_remote r = {.url = o->connect,
                           .key = o->api_key,
                           .parameters = parameters.data,
                           .json = o->json,
                           .stats = o->stats};
    bool ok = buf_check(&parameters, "the request", e) && talk_begin(&r.talk, o, e) &&
              (text ? run_remote_once(&r, text, prompt_name(o), e) : run_remote_chat(&r, e));
    talk_free(&r.talk);
    buf_free(&parameters);
    return ok;
}

/* ---- an answer of this process --------------------------------------------------------------------------- */

static bool check_context(const struct run_options *o, const struct alula_engine *engine,
                          struct alula_error *e)
{
    struct alula_engine_info info;
    alula_engine_describe(engine, &info);
    return o->ctx <= info.max_context ||
           err_set(e, ALULA_LIMIT, "option --ctx: found %d, the model was made for %d", o->ctx,
                   info.max_context);
}

static struct alula_session_options session_options(const struct run_options *o)
{
    struct alula_session_options s = alula_session_defaults();
    s.n_threads = o->threads;
    s.n_ctx = o->ctx;
    s.depth = o->depth - 1;
    s.sampling = (struct alula_sampling){
        .temperature = o->temp,
        .top_k = o->top_k,
        .top_p = o->top_p,
        .min_p = o->min_p,
        .presence_penalty = o->presence,
        .frequency_penalty = o->frequency,
        .repetition_penalty = o->repetition,
        .seeded = o->seed >= 0,
        .seed = (uint64_t)o->seed,
        .law = (enum alula_law)o->law,
    };
    s.max_tokens = o->max_tokens;
    s.stop = o->stop.items;
    s.n_stop = o->stop.n;
    return s;
}
_Static_assert(ALULA_DEPTH_AUTO == -1 && ALULA_DEPTH_MAX == 7, "the choices of --depth are -1 .. 7");

static bool run_here(struct run_options *o, const char *dir, const struct buf *text, struct alula_error *e)
{
    struct alula_engine *engine = NULL;
    struct alula_engine_options eo = {.exact = o->exact, .no_mtp = o->no_mtp, .mtp = o->mtp};
    if (!o->depth) o->depth = 1 + userstate_heed(&eo, o->state, dir, o->threads);
    bool ok = alula_engine_open(&engine, dir, &eo, e) && check_context(o, engine, e);
    if (ok) {
        struct run_local r = {.engine = engine,
                              .session = session_options(o),
                              .schema = o->schema,
                              .raw = o->raw,
                              .json = o->json,
                              .stats = o->stats};
        ok = talk_begin(&r.talk, o, e) &&
             (text ? run_local_once(&r, text, prompt_name(o), e) : run_local_chat(&r, e));
        talk_free(&r.talk);
    }
    alula_engine_close(engine);
    mem_free((void *)(uintptr_t)eo.draft_ids);
    return ok;
}

static bool run_run(const void *options, char **args, int n_args, int *status, struct alula_error *e)
{
    struct run_options own = *(const struct run_options *)options, *o = &own;
    (void)status;
    bool talks = !o->prompt && term_is_terminal(stdin);
    if (!check_options(o, e)) return false;
    if (!o->connect == !n_args)
        return err_set(e, ALULA_USAGE, "%s",
                       n_args ? "a folder and --connect exclude each other"
                              : "run needs DIR, the folder of a model, or --connect URL");
    if (talks && (o->raw || o->json || o->schema))
        return err_set(e, ALULA_USAGE, "--%s needs a prompt: give -p TEXT or a text on standard input",
                       o->raw    ? "raw"
                       : o->json ? "json"
                                 : "schema");

    struct buf text;
    buf_init(&text, CLI_INPUT_MAX);
    const struct buf *prompt = talks ? NULL : &text;
    bool ok = (talks || prompt_text(o, &text, e)) &&
              (o->connect ? run_connected(o, prompt, e) : run_here(o, args[0], prompt, e));
    buf_free(&text);
    return ok;
}

const struct cli_command cmd_run = {
    .opt = {.name = "run",
            .summary = "answer a prompt, or chat",
            .args = "[DIR]",
            .args_min = 0,
            .args_max = 1,
            .text = "Text appears as it is made; Ctrl-C stops it and keeps what was written. With an MTP "
                    "head several tokens are drafted ahead and verified in one pass. Whatever the depth, the "
                    "text is the one that plain decoding writes (with a temperature: drawn from the same "
                    "distribution, and with --seed the very same text).",
            .options = table,
            .examples = examples},
    .defaults = &defaults,
    .size = sizeof defaults,
    .run = run_run,
};
