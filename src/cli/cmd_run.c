/* cmd_run.c - alula run: one answer, or a chat on the terminal. Sees the model through alula.h alone. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/term.h"

struct run_options {
    struct opt_shared shared;
    const char *prompt, *system, *mtp, *depth;
    struct opt_list stop;
    double temp, top_p, min_p, presence, frequency, repetition;
    int64_t seed;
    int top_k, max_tokens, threads, ctx, think, law;
    bool raw, no_mtp, exact, stats, json;
};

static const struct run_options defaults = {.shared = CLI_SHARED, .depth = "auto", .top_p = 1, .repetition = 1, .seed = -1};

#define AT(member) offsetof(struct run_options, member)
static const struct opt table[] = {
    {.name = "prompt", .letter = 'p', .arg = "TEXT", .type = OPT_STR, .offset = AT(prompt),
     .help = "What to answer. Without it: standard input, or a chat if that is a terminal."},
    {.name = "system", .arg = "TEXT", .type = OPT_STR, .offset = AT(system), .help = "A system message before the prompt."},
    {.name = "raw", .type = OPT_FLAG, .offset = AT(raw),
     .help = "Continue the prompt as it stands, without the chat template."},
    {.name = "think", .arg = "WHEN", .type = OPT_CHOICE, .offset = AT(think), .choices = "auto|on|off", .fallback = "auto",
     .help = "Ask the template for reasoning before the answer, or for none; auto leaves it to the template."},
    {.name = "depth", .letter = 'd', .arg = "N", .type = OPT_STR, .offset = AT(depth), .fallback = "auto",
     .help = "Tokens drafted ahead of each verification: 0 to 7, or auto for as many as pay. The text is the same."},
    {.name = "no-mtp", .type = OPT_FLAG, .offset = AT(no_mtp), .help = "Leave the MTP head aside; plain decoding."},
    {.name = "mtp", .arg = "DIR", .type = OPT_STR, .offset = AT(mtp),
     .help = "Take the MTP head from this folder instead of the model's own."},
    {.name = "max-tokens", .letter = 'n', .arg = "N", .type = OPT_INT, .offset = AT(max_tokens), .min = 0, .max = 1 << 24,
     .fallback = "until the model stops", .help = "Tokens of the answer at most."},
    {.name = "temp", .letter = 'T', .arg = "X", .type = OPT_REAL, .offset = AT(temp), .min = 0, .max = 100, .fallback = "0",
     .help = "Temperature; 0 is greedy."},
    {.name = "top-k", .arg = "N", .type = OPT_INT, .offset = AT(top_k), .min = 0, .max = 1 << 24, .fallback = "off",
     .help = "Draw from the N most likely tokens."},
    {.name = "top-p", .arg = "X", .type = OPT_REAL, .offset = AT(top_p), .min = 0, .max = 1, .fallback = "off",
     .help = "Draw from the most likely tokens that together have this probability."},
    {.name = "min-p", .arg = "X", .type = OPT_REAL, .offset = AT(min_p), .min = 0, .max = 1, .fallback = "off",
     .help = "Draw from tokens at least this share as likely as the likeliest."},
    {.name = "presence-penalty", .arg = "X", .type = OPT_REAL, .offset = AT(presence), .min = -2, .max = 2, .fallback = "0",
     .help = "Taken off a token's logit once it has occurred in the answer."},
    {.name = "frequency-penalty", .arg = "X", .type = OPT_REAL, .offset = AT(frequency), .min = -2, .max = 2,
     .fallback = "0", .help = "Taken off a token's logit for each time it has occurred in the answer."},
    {.name = "repetition-penalty", .arg = "X", .type = OPT_REAL, .offset = AT(repetition), .min = 0.01, .max = 100,
     .fallback = "1", .help = "Divides the logit of a token that occurred in prompt or answer."},
    {.name = "seed", .arg = "N", .type = OPT_INT64, .offset = AT(seed), .min = -1, .max = 9007199254740992.0,
     .fallback = "-1: a new one each time", .help = "The same seed gives the same text at any depth and thread count."},
    {.name = "law", .arg = "LAW", .type = OPT_CHOICE, .offset = AT(law), .choices = "auto|rejection|coupled", .fallback = "auto",
     .help = "How drafts are judged when drawing: both are exact. auto: coupled with a seed, rejection without."},
    {.name = "stop", .arg = "TEXT", .type = OPT_LIST, .offset = AT(stop), .help = "End the answer before this text."},
    {.name = "ctx", .arg = "N", .type = OPT_INT, .offset = AT(ctx), .min = 0, .max = 1 << 24,
     .fallback = "what the model was made for, at most 32768", .help = "Tokens that fit."},
    {.name = "threads", .letter = 't', .arg = "N", .type = OPT_INT, .offset = AT(threads), .min = 0, .max = 256,
     .fallback = "the CPUs this process may use", .help = "Threads that compute. The text is the same for any number."},
    {.name = "exact", .type = OPT_FLAG, .offset = AT(exact), .help = "Compute with float32 activations: the reference, slower."},
    {.name = "stats", .type = OPT_FLAG, .offset = AT(stats), .help = "Speed and acceptance on standard error afterwards."},
    {.name = "json", .type = OPT_FLAG, .offset = AT(json), .help = "Print one JSON object instead of the text."},
    {.name = NULL},
};
#undef AT

static const struct opt_example examples[] = {
    {"alula run DIR -p 'Why is the sky blue?'", "One answer, with as many drafted tokens as pay."},
    {"alula run DIR", "A chat; Ctrl-C stops an answer, Ctrl-D ends it."},
    {"alula run DIR --raw --depth 3 --stats < story.txt", "Goes on with a text, three drafts ahead, and says how it went."},
    {"alula run DIR -p 'A name for a cat' --temp 1 --top-p 0.95 --seed 7 --json", "Drawn, repeatable, for a script."},
    {NULL, NULL},
};

/* One use of the command. */
struct run {
    const struct run_options *o;
    struct alula_engine *engine;
    struct alula_session *session;
    struct alula_session_options so;
    struct progress progress;
    struct buf text;     /* of the answer */
    struct buf ids;      /* int32_t, of the answer */
    enum alula_finish finish;
    bool stopped;        /* by the user */
};

/* ---- options ---------------------------------------------------------------------------------------------------- */

static bool parse_depth(const struct run_options *o, bool has_mtp, int *ret, struct alula_error *e)
{
    if (o->no_mtp) {
        *ret = 0;
        return true;
    }
    if (strcmp(o->depth, "auto") == 0) {
        *ret = has_mtp ? ALULA_DEPTH_AUTO : 0;
        return true;
    }
    char *end;
    long d = strtol(o->depth, &end, 10);
    if (end == o->depth || *end || d < 0 || d > ALULA_DEPTH_MAX)
        return err_set(e, ALULA_USAGE, "--depth %s: expected 0 to %d or auto", o->depth, ALULA_DEPTH_MAX);
    *ret = (int)d;
    return true;
}

static bool open_model(struct run *r, const char *dir, struct alula_error *e)
{
    const struct run_options *o = r->o;
    struct alula_engine_options eo = {.exact = o->exact, .no_mtp = o->no_mtp, .mtp = o->mtp};
    struct alula_engine_info info;
    int depth = 0;
    if (o->no_mtp && o->mtp) return err_set(e, ALULA_USAGE, "--no-mtp and --mtp exclude each other");
    if (!alula_engine_open(&r->engine, dir, &eo, e)) return false;
    alula_engine_describe(r->engine, &info);
    if (!parse_depth(o, info.has_mtp, &depth, e)) return false;
    r->so = alula_session_defaults();
    r->so.n_threads = o->threads;
    r->so.n_ctx = o->ctx;
    r->so.depth = depth;
    r->so.max_tokens = o->max_tokens;
    r->so.stop = o->stop.items;
    r->so.n_stop = o->stop.n;
    r->so.sampling.temperature = o->temp;
    r->so.sampling.top_k = o->top_k;
    r->so.sampling.top_p = o->top_p;
    r->so.sampling.min_p = o->min_p;
    r->so.sampling.presence_penalty = o->presence;
    r->so.sampling.frequency_penalty = o->frequency;
    r->so.sampling.repetition_penalty = o->repetition;
    r->so.sampling.seeded = o->seed >= 0;
    r->so.sampling.seed = o->seed >= 0 ? (uint64_t)o->seed : 0;
    r->so.sampling.law = (enum alula_law)o->law;
    return alula_session_create(&r->session, r->engine, &r->so, e);
}

/* ---- one answer ------------------------------------------------------------------------------------------------- */

static bool show_reading(void *arg, size_t done, size_t total)
{
    struct run *r = arg;
    (void)total;
    progress_show(&r->progress, done);
    return !term_stopped();
}

/* What the session has not read yet of the n ids; a timeline that parts from them begins anew. */
static bool read_prompt(struct run *r, const int32_t *ids, size_t n, struct alula_error *e)
{
    size_t known;
    const int32_t *said = alula_session_tokens(r->session, &known);
    if (known >= n || (known && memcmp(said, ids, known * sizeof *ids) != 0)) {
        alula_session_free(r->session);
        r->session = NULL;
        if (!alula_session_create(&r->session, r->engine, &r->so, e)) return false;
        known = 0;
    }
    progress_start(&r->progress, "reading the prompt", "tokens", n - known);
    bool ok = alula_session_prompt(r->session, ids + known, n - known, show_reading, r, e);
    progress_end(&r->progress);
    return ok;
}

static bool answer(struct run *r, struct alula_error *e)
{
    struct alula_step step;
    buf_clear(&r->text);
    buf_clear(&r->ids);
    do {
        if (!alula_session_step(r->session, &step, e)) return false;
        buf_add(&r->text, step.text, step.text_len);
        buf_add(&r->ids, step.tokens, (size_t)step.n_tokens * sizeof *step.tokens);
        if (!r->o->json && !term_write(step.text, step.text_len, e)) return false;
        r->stopped = term_stopped();
    } while (step.finish == ALULA_RUNNING && !r->stopped);
    r->finish = step.finish;
    return buf_check(&r->text, "the answer", e) && buf_check(&r->ids, "the answer", e);
}

static bool add_message(json_t *messages, const char *role, const char *text, size_t n, struct alula_error *e)
{
    json_t *m = json_pack("{s:s, s:s%}", "role", role, "content", text, n);
    if (!m) return err_set(e, ALULA_FORMAT, "the %s message is not valid UTF-8", role);
    if (json_array_append_new(messages, m)) return err_set(e, ALULA_NOMEM, "not enough memory for the conversation");
    return true;
}

/* The conversation by the model's own template, as ids. */
static bool render(struct run *r, json_t *messages, int32_t **ret_ids, size_t *ret_n, struct alula_error *e)
{
    json_t *root = json_pack("{s:O, s:b}", "messages", messages, "add_generation_prompt", 1);
    struct buf json = {0};
    char *text = NULL;
    size_t len;
    if (root && r->o->think) json_object_set_new(root, "enable_thinking", json_boolean(r->o->think == 1));
    if (root) json_write(&json, root, 0);
    bool ok = root ? buf_check(&json, "the conversation", e) : err_set(e, ALULA_NOMEM, "not enough memory for the conversation");
    ok = ok && alula_render_chat(r->engine, json.data, json.len, &text, &len, e) &&
         alula_tokenize(r->engine, text, len, true, ret_ids, ret_n, e);
    alula_free(text);
    buf_free(&json);
    json_decref(root);
    return ok;
}

/* Reads the conversation and answers it. */
static bool reply(struct run *r, json_t *messages, struct alula_error *e)
{
    int32_t *ids;
    size_t n;
    if (!render(r, messages, &ids, &n, e)) return false;
    bool ok = read_prompt(r, ids, n, e) && answer(r, e);
    alula_free(ids);
    return ok;
}

/* ---- reports ---------------------------------------------------------------------------------------------------- */

static double rate(int64_t n, double s)
{
    return s > 0 ? (double)n / s : 0;
}

static void write_counts(struct buf *out, const char *key, const int64_t *v, int n)
{
    buf_fmt(out, ", \"%s\": [", key);
    for (int i = 0; i < n; i++) buf_fmt(out, "%s%lld", i ? ", " : "", (long long)v[i]);
    buf_byte(out, ']');
}

static void write_seconds(struct buf *out, const char *key, double v)
{
    buf_fmt(out, ", \"%s\": ", key);
    json_write_real(out, v);
}

static int deepest(const struct alula_stats *s)
{
    int d = ALULA_DEPTH_MAX;
    while (d && !s->drafted[d - 1]) d--;
    return d;
}

static void write_json_report(struct run *r, const struct alula_stats *s, struct buf *out)
{
    static const char *const finish[] = {[ALULA_RUNNING] = "cancelled", [ALULA_STOP] = "stop", [ALULA_LENGTH] = "length"};
    const int32_t *ids = (const int32_t *)(void *)r->ids.data;
    int depth = deepest(s);
    buf_str(out, "{\"text\": ");
    json_write_str(out, r->text.data ? r->text.data : "", r->text.len);
    buf_str(out, ", \"tokens\": [");
    for (size_t i = 0; i < r->ids.len / sizeof *ids; i++) buf_fmt(out, "%s%d", i ? ", " : "", ids[i]);
    buf_fmt(out, "], \"prompt_tokens\": %lld, \"finish\": \"%s\", \"stats\": {\"cycles\": %lld",
            (long long)s->prompt_tokens, finish[r->finish], (long long)s->cycles);
    write_seconds(out, "prefill_tok_s", rate(s->prompt_tokens, s->prefill_s));
    write_seconds(out, "decode_tok_s", rate(s->tokens, s->decode_s));
    write_counts(out, "drafted_by_depth", s->drafted, depth);
    write_counts(out, "tested_by_depth", s->tested, depth);
    write_counts(out, "accepted_by_depth", s->accepted, depth);
    write_seconds(out, "prefill_s", s->prefill_s);
    write_seconds(out, "decode_s", s->decode_s);
    write_seconds(out, "draft_s", s->draft_s);
    write_seconds(out, "verify_s", s->verify_s);
    write_seconds(out, "accept_s", s->accept_s);
    write_seconds(out, "repair_s", s->repair_s);
    buf_str(out, "}}\n");
}

static void print_stats(const struct alula_stats *s)
{
    int depth = deepest(s);
    fprintf(stderr, "%sprompt  %lld tokens, %.1f tokens/s\n", term_style(stderr, TERM_DIM), (long long)s->prompt_tokens,
            rate(s->prompt_tokens, s->prefill_s));
    fprintf(stderr, "answer  %lld tokens, %.1f tokens/s, %lld verifications\n", (long long)s->tokens,
            rate(s->tokens, s->decode_s), (long long)s->cycles);
    for (int d = 0; d < depth; d++)
        fprintf(stderr, "depth %d %lld of %lld drafts accepted (%.1f %%)\n", d + 1, (long long)s->accepted[d],
                (long long)s->drafted[d], 100 * rate(s->accepted[d], (double)s->drafted[d]));
    fprintf(stderr, "time    draft %.3f s, verify %.3f s, accept %.3f s, repair %.3f s%s\n", s->draft_s, s->verify_s,
            s->accept_s, s->repair_s, term_style(stderr, TERM_PLAIN));
}

static bool report(struct run *r, struct alula_error *e)
{
    struct alula_stats s;
    struct buf out = {0};
    alula_session_stats(r->session, &s);
    bool ok = true;
    if (r->o->json) {
        write_json_report(r, &s, &out);
        ok = term_write_buf(&out, e);
    } else if (r->text.len && r->text.data[r->text.len - 1] != '\n') {
        ok = term_write("\n", 1, e);
    }
    if (r->o->stats) print_stats(&s);
    buf_free(&out);
    return ok;
}

/* ---- ways to use it --------------------------------------------------------------------------------------------- */

static json_t *begin_conversation(const struct run_options *o, struct alula_error *e)
{
    json_t *messages = json_array();
    if (!messages) {
        err_set(e, ALULA_NOMEM, "not enough memory for the conversation");
        return NULL;
    }
    if (o->system && !add_message(messages, "system", o->system, strlen(o->system), e)) {
        json_decref(messages);
        return NULL;
    }
    return messages;
}

static bool answer_once(struct run *r, const struct buf *prompt, struct alula_error *e)
{
    int32_t *ids;
    size_t n;
    bool ok;
    if (!prompt->len) return err_set(e, ALULA_USAGE, "the prompt is empty; give one with -p TEXT or on standard input");
    if (r->o->raw) {
        if (!alula_tokenize(r->engine, prompt->data, prompt->len, true, &ids, &n, e)) return err_context(e, "the prompt");
        ok = read_prompt(r, ids, n, e) && answer(r, e);
        alula_free(ids);
    } else {
        json_t *messages = begin_conversation(r->o, e);
        ok = messages && add_message(messages, "user", prompt->data, prompt->len, e) && reply(r, messages, e);
        json_decref(messages);
    }
    if (!ok || !report(r, e)) return false;
    return !r->stopped || err_set(e, ALULA_CANCELLED, "stopped");
}

static bool chat(struct run *r, struct alula_error *e)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t len = 0;
    json_t *messages = begin_conversation(r->o, e);
    bool ok = messages;
    while (ok) {
        fprintf(stderr, "%s> %s", term_style(stderr, TERM_CYAN), term_style(stderr, TERM_PLAIN));
        len = getline(&line, &cap, stdin);
        if (len < 0) break;
        if (len && line[len - 1] == '\n') len--;
        if (!len) continue;
        term_resume();
        ok = add_message(messages, "user", line, (size_t)len, e) && reply(r, messages, e) && report(r, e) &&
             add_message(messages, "assistant", r->text.data ? r->text.data : "", r->text.len, e);
    }
    if (len < 0) fputc('\n', stderr);
    free(line);
    json_decref(messages);
    return ok;
}

static bool use(struct run *r, struct alula_error *e)
{
    const struct run_options *o = r->o;
    struct buf prompt;
    bool interactive = !o->prompt && term_is_terminal(stdin);
    if (interactive && !o->json && !o->raw) return chat(r, e);
    if (interactive) return err_set(e, ALULA_USAGE, "--%s needs a prompt: -p TEXT or standard input", o->raw ? "raw" : "json");
    buf_init(&prompt, CLI_INPUT_MAX);
    bool ok = true;
    if (o->prompt)
        buf_str(&prompt, o->prompt);
    else
        ok = file_read("-", CLI_INPUT_MAX, &prompt, e);
    ok = ok && buf_check(&prompt, "the prompt", e) && answer_once(r, &prompt, e);
    buf_free(&prompt);
    return ok;
}

static bool run_command(const void *options, char **args, int n_args, int *status, struct alula_error *e)
{
    struct run r = {.o = options};
    (void)n_args, (void)status;
    mem_setup();
    bool ok = open_model(&r, args[0], e) && use(&r, e);
    alula_session_free(r.session);
    alula_engine_close(r.engine);
    buf_free(&r.text);
    buf_free(&r.ids);
    return ok;
}

const struct cli_command cmd_run = {
    .opt = {.name = "run",
            .summary = "one answer, or a chat on the terminal",
            .args = "DIR",
            .args_min = 1,
            .args_max = 1,
            .text = "Text appears as it is made. Whatever the depth, the text is the one that plain decoding writes (with a "
                    "temperature: drawn from the same distribution, and with --seed the very same text).",
            .options = table,
            .examples = examples},
    .defaults = &defaults,
    .size = sizeof defaults,
    .run = run_command,
};
