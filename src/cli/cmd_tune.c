/* cmd_tune.c - alula tune: options, the report, and what becomes of a result. The measurement is tune's
 * (tune/). */
#include <stddef.h>

#include "base/err.h"
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/page.h"
#include "cli/userstate.h"
#include "tune/frequent.h"
#include "tune/record.h"
#include "tune/tune.h"

struct tune_cli {
    struct opt_shared shared;
    int depths, rounds, max_tokens, threads;
    bool json, no_save, force;
    const char *plot, *state, *draft_text;
};

static const struct tune_cli defaults = {.shared = CLI_SHARED, .depths = 3, .rounds = 5, .max_tokens = 64};

#define AT(member) offsetof(struct tune_cli, member)
static const struct opt table[] = {
    {.name = "depths",
     .arg = "N",
     .type = OPT_INT,
     .offset = AT(depths),
     .min = 1,
     .max = ALULA_DEPTH_MAX,
     .fallback = "3",
     .help = "Measure drafting of 1 to N tokens ahead."},
    {.name = "rounds",
     .arg = "N",
     .type = OPT_INT,
     .offset = AT(rounds),
     .min = TUNE_ROUNDS_MIN,
     .max = ESTIMATE_ROUNDS_MAX,
     .fallback = "5",
     .help = "Repeat everything so often."},
    {.name = "max-tokens",
     .letter = 'n',
     .arg = "N",
     .type = OPT_INT,
     .offset = AT(max_tokens),
     .min = 8,
     .max = 4096,
     .fallback = "64",
     .help = "Tokens of each answer."},
    CLI_THREADS(AT(threads), "Threads that compute. What is remembered counts for this number."),
    {.name = "plot",
     .arg = "FILE",
     .type = OPT_STR,
     .offset = AT(plot),
     .help = "Draw speed and acceptance by depth into this SVG file."},
    CLI_STATE(AT(state), "Folder in which the verdict is remembered."),
    {.name = "draft-text",
     .arg = "FILE",
     .type = OPT_STR,
     .offset = AT(draft_text),
     .help = "A text like those that you have the model write, past answers say: its most frequent ids, a "
             "quarter of the vocabulary at most, are tried as well as what drafts come from."},
    {.name = "no-save", .type = OPT_FLAG, .offset = AT(no_save), .help = "Do not remember the verdict."},
    {.name = "force",
     .type = OPT_FLAG,
     .offset = AT(force),
     .help = "Measure and judge even if the machine is busy with other things."},
    CLI_JSON(AT(json), "Print one JSON object, with MTPLX's names."),
    {.name = NULL},
};
#undef AT

static const struct opt_example examples[] = {
    {"alula tune DIR", "Says which depth is the fastest here, and remembers it."},
    {"alula tune DIR --depths 5 --plot tune.svg", "Looks deeper, and draws what it found."},
    {NULL, NULL},
};

static const char text_help[] =
    "Lets the model continue a few short texts of different kinds, by plain decoding and with 1 to N tokens "
    "drafted ahead, in rounds that mix all of them, so that a slow moment of the machine hits all alike. "
    "Speeds are medians over rounds; the range behind a figure holds 95 % of what resampling the rounds "
    "gives. A depth wins only if it is faster than plain decoding by more than that; of depths within 2 % "
    "the deeper one is taken. A head of which at most 5 % of the first drafts are kept has collapsed and "
    "does not win.\n\n"
    "If the LM head is much of what a draft costs, drafts from the most frequent quarter and eighth of the "
    "vocabulary are measured first, with --draft-text the ids of your own text too, and one of them is used "
    "if "
    "it is faster by more than noise; the text stays the same. If the LM head has more than 4 bits, drafts "
    "take "
    "it packed with 4, and the whole vocabulary so packed is measured as well.\n\n"
    "The verdict is remembered for this artifact, processor, number of threads and build. If no depth paid, "
    "'run' decodes plainly unless told otherwise.\n\n"
    "If other programs want the CPUs it waits a little, then gives up.";

/* ---- report -------------------------------------------------------------------------------------------- */

static void show_row(const struct tune_result *r, int i, struct buf *out)
{
    const struct tune_row *row = &r->rows[i];
    const struct tune_ruling *v = &r->ruling;
    char label[16] = "plain", kept[16 * ALULA_DEPTH_MAX] = "";
    if (row->depth) snprintf(label, sizeof label, "depth %d", row->depth);
    for (int d = 0, n = 0; d < row->depth; d++)
        n += snprintf(kept + n, sizeof kept - (size_t)n, " %3.0f%%", 100 * tune_acceptance(row, d));
    buf_fmt(out, "  %-8s %8.1f tok/s", label, row->tok_s.mid);
    if (row->depth)
        buf_fmt(out, "   %.2fx (%.2f to %.2f)   accepted%s", row->multiplier.mid, row->multiplier.low,
                row->multiplier.high, kept);
    if (i == v->winner)
        buf_fmt(out, "   %sBEST%s", term_style(stdout, TERM_GREEN), term_style(stdout, TERM_PLAIN));
    if (v->ties_plain[i]) buf_str(out, "   a tie with plain");
    if (v->ties_winner[i]) buf_str(out, "   a tie with the best");
    if (v->failed[i]) buf_str(out, "   another text than plain");
    if (v->collapsed[i]) buf_str(out, "   collapsed");
    buf_byte(out, '\n');
}

static void show_trims(const struct tune_result *r, struct buf *out)
{
    for (int i = 0; i < r->n_trims; i++) {
        const struct tune_row *row = &r->trims[i];
        char label[48] = "all ids";
        int bits = r->settings.trim_bits, n = 0;
        if (i)
            n = snprintf(label, sizeof label, "%d %s", tune_trim_ids(r, i),
                         tune_trim_list(r, i) ? "of text" : "ids");
        if (i && bits) snprintf(label + n, sizeof label - (size_t)n, ", %d bits", bits);
        buf_fmt(out, "  %-*s %6.1f tok/s", bits ? 21 : 13, label, row->tok_s.mid);
        if (i)
            buf_fmt(out, "   %.2fx (%.2f to %.2f)   cover %.1f%%  ", row->multiplier.mid, row->multiplier.low,
                    row->multiplier.high, 100 * (double)row->covered / (double)row->tokens);
        else
            buf_fmt(out, "   drafts of depth %d from    ", TUNE_TRIM_DEPTH);
        buf_fmt(out, "   accepted %3.0f%% %3.0f%%%s\n", 100 * tune_acceptance(row, 0),
                100 * tune_acceptance(row, 1), i == r->trim ? "   TAKEN" : "");
    }
    if (r->n_trims) buf_byte(out, '\n');
}

static void show_costs(const struct tune_result *r, struct buf *out)
{
    const struct tune_row *plain = &r->rows[0], *deep = &r->rows[r->n_rows - 1];
    int64_t drafts = 0;
    for (int d = 0; d < deep->depth; d++) drafts += deep->drafted[d];
    if (!plain->cycles || !deep->cycles || !drafts) return;
    double one = 1e3 * plain->verify_s / (double)plain->cycles,
           all = 1e3 * deep->verify_s / (double)deep->cycles;
    page_line(out, "costs", TERM_PLAIN, "a plain step %.3g ms, a draft %.3g ms, a row more to verify %.3g ms",
              one, 1e3 * deep->draft_s / (double)drafts, (all - one) / deep->depth);
}

static void show_verdict(const struct tune_result *r, struct buf *out)
{
    const struct tune_ruling *v = &r->ruling;
    static const char *const words[] = {
        [TUNE_PLAIN_WINS] = "plain decoding; no depth is faster by more than the noise of the measurement",
        [TUNE_QUALITY_FAILED] = "plain decoding; what is faster wrote another text",
        [TUNE_COLLAPSED] = "plain decoding; hardly a draft was kept: the head does not know this model",
        [TUNE_NO_PLAIN_RESULT] = "none; plain decoding gave no tokens",
    };
    const char *name = tune_verdict_name(v->verdict);
    if (v->winner >= 0)
        page_line(out, "verdict", TERM_GREEN, "depth %d, %.2f times plain decoding (%s)",
                  r->rows[v->winner].depth, r->rows[v->winner].multiplier.mid, name);
    else
        page_line(out, "verdict", TERM_PLAIN, "%s (%s)", words[v->verdict], name);
}

static void show(const struct tune_result *r, const char *not_saved, const char *where, struct buf *out)
{
    show_trims(r, out);
    for (int i = 0; i < r->n_rows; i++) show_row(r, i, out);
    buf_byte(out, '\n');
    show_costs(r, out);
    page_line(out, "noise", TERM_PLAIN,
              "half of the repetitions of plain decoding lie within %.1f %% of their median", 100 * r->noise);
    if (r->busy)
        page_line(out, "", TERM_RED,
                  "the machine was busy: this verdict may not hold; tune again when it is at rest");
    show_verdict(r, out);
    if (not_saved)
        page_line(out, "saved", TERM_PLAIN, "no: %s", not_saved);
    else
        page_line(out, "saved", TERM_PLAIN, "%s", where);
}

static bool print_json(json_t *payload, const char *not_saved, const char *where, const struct tune_key *key,
                       struct buf *out, struct alula_error *e)
{
    json_object_set_new(payload, "saved", json_boolean(!not_saved));
    json_object_set_new(payload, "save_skipped_reason", not_saved ? json_string(not_saved) : json_null());
    json_object_set_new(payload, "state_path", not_saved ? json_null() : json_string(where));
    json_object_set_new(payload, "state_key", json_string(key->key));
    return json_write_report(out, json_incref(payload), e);
}

/* ---- command ------------------------------------------------------------------------------------------- */

struct watch {
    struct progress p;
    enum tune_stage stage;
    bool begun;
};

static bool watch(void *arg, enum tune_stage stage, int done, int total)
{
    static const char *const what[] = {"waiting: the machine is busy", "warming up", "measuring"};
    struct watch *w = arg;
    if (!w->begun || w->stage != stage) {
        if (w->begun) progress_end(&w->p);
        if (stage == TUNE_WAITING)
            fprintf(stderr, "alula: the machine is busy; waiting for it to come to rest\n");
        progress_start(&w->p, what[stage], stage == TUNE_WAITING ? "s" : "answers", (uint64_t)total);
        w->stage = stage;
        w->begun = true;
    }
    progress_show(&w->p, (uint64_t)done);
    return !term_stopped();
}

/* The same model once for each size of the draft vocabulary: the weights are mapped, so what is taken is the trimmed LM
 * head. */
static bool open_trimmed(struct tune_options *to, struct alula_engine **trimmed,
                         const struct alula_engine *engine, const char *dir, struct alula_error *e)
{
    int n = tune_trim_sizes(engine, to->trim_sizes, &to->trim_bits);
    for (int i = 0; i < n; i++) {
        struct alula_engine_options eo = {.draft_vocab = to->trim_sizes[i], .draft_bits = to->trim_bits};
        if (!alula_engine_open(&trimmed[i], dir, &eo, e)) return false;
        to->trimmed[to->n_trimmed++] = trimmed[i];
    }
    return true;
}

/* And once with the ids that a text has most of. */
static bool open_counted(struct tune_options *to, struct alula_engine **trimmed, int32_t **ids,
                         const struct alula_engine *engine, const char *dir, const char *text_file,
                         struct alula_error *e)
{
    struct alula_engine_info info;
    struct buf text;
    int32_t *tokens = NULL;
    size_t n;
    int i = to->n_trimmed;
    if (!text_file) return true;
    alula_engine_describe(engine, &info);
    buf_init(&text, CLI_INPUT_MAX);
    bool ok = file_read(text_file, CLI_INPUT_MAX, &text, e) &&
              (alula_tokenize(engine, text.data ? text.data : "", text.len, false, &tokens, &n, e) ||
               err_context(e, "%s", text_file)) &&
              (frequent_ids(tokens, n, info.vocab, info.vocab / 4, ids, &to->trim_sizes[i], e) ||
               err_context(e, "%s", text_file));
    alula_free(tokens);
    buf_free(&text);
    if (!ok) return false;
    struct alula_engine_options eo = {
        .draft_ids = *ids, .n_draft_ids = to->trim_sizes[i], .draft_bits = to->trim_bits};
    if (!alula_engine_open(&trimmed[i], dir, &eo, e)) return false;
    to->trimmed[i] = trimmed[i];
    to->trim_ids[i] = *ids;
    to->n_trimmed++;
    return true;
}

/* *ids: what a text gave, for the caller to free; r points to them. */
static bool measure(const struct tune_cli *o, const char *dir, struct tune_result *r, int32_t **ids,
                    struct alula_error *e)
{
    struct alula_engine *engine, *trimmed[TUNE_TRIMS_MAX] = {NULL};
    struct watch w = {.begun = false};
    struct tune_options to = {
        .depths = o->depths,
        .rounds = o->rounds,
        .max_tokens = o->max_tokens,
        .n_threads = o->threads,
        .force = o->force,
        .progress = watch,
        .arg = &w,
    };
    if (!alula_engine_open(&engine, dir, NULL, e)) return false;
    bool ok = open_trimmed(&to, trimmed, engine, dir, e) &&
              open_counted(&to, trimmed, ids, engine, dir, o->draft_text, e) && tune_run(engine, &to, r, e);
    if (w.begun) progress_end(&w.p);
    for (int i = 0; i < TUNE_TRIMS_MAX; i++) alula_engine_close(trimmed[i]);
    alula_engine_close(engine);
    return ok;
}

static bool draw(const char *path, const struct tune_result *r, const char *model, struct alula_error *e)
{
    struct buf svg = {0};
    if (!path) return true;
    tune_plot(r, model, &svg);
    bool ok = buf_check(&svg, "the picture", e) && file_write(path, svg.data, svg.len, e);
    buf_free(&svg);
    return ok;
}

/* A result that cannot be kept is still a result: `problem` says why, and is "" if it is kept. */
static void keep(const struct tune_cli *o, const struct tune_result *r, const struct tune_key *key,
                 const json_t *payload, char *where, size_t cap, struct alula_error *problem)
{
    char dir[4000];
    *problem = (struct alula_error){.code = ALULA_OK};
    if (o->no_save)
        err_set(problem, ALULA_CANCELLED, "--no-save was given");
    else if (r->ruling.verdict == TUNE_NO_PLAIN_RESULT)
        err_set(problem, ALULA_NOT_FOUND, "there is no result");
    else if (userstate_dir(dir, sizeof dir, o->state, problem) &&
             tune_record_save(dir, key, payload, problem))
        path_join(where, cap, dir, TUNE_RECORD_FILE, problem);
}

static bool report(const struct tune_cli *o, const char *model, const struct tune_result *r, int *status,
                   struct alula_error *e)
{
    struct tune_key key;
    if (!tune_key_make(&key, model, o->threads, e)) return false;
    json_t *payload = tune_to_json(r, model, key.cpu);
    if (!payload) return err_set(e, ALULA_NOMEM, "not enough memory for the result");
    struct alula_error problem;
    struct buf out = {0};
    char where[4200] = "";
    keep(o, r, &key, payload, where, sizeof where, &problem);
    const char *not_saved = problem.code ? problem.message : NULL;
    bool ok = true;
    if (o->json)
        ok = print_json(payload, not_saved, where, &key, &out, e);
    else
        show(r, not_saved, where, &out);
    ok = ok && term_write_buf(&out, e) && draw(o->plot, r, path_base(model), e);
    if (r->ruling.verdict == TUNE_NO_PLAIN_RESULT) *status = 1;
    buf_free(&out);
    json_decref(payload);
    return ok;
}

static bool tune_cli_run(const void *options, char **args, int n_args, int *status, struct alula_error *e)
{
    struct tune_result r;
    int32_t *ids = NULL;
    (void)n_args;
    bool ok = measure(options, args[0], &r, &ids, e) && report(options, args[0], &r, status, e);
    mem_free(ids);
    return ok;
}

const struct cli_command cmd_tune = {
    .opt = {.name = "tune",
            .summary = "measure which drafting depth is the fastest here, and remember it",
            .args = "DIR",
            .args_min = 1,
            .args_max = 1,
            .text = text_help,
            .options = table,
            .examples = examples},
    .defaults = &defaults,
    .size = sizeof defaults,
    .run = tune_cli_run,
};
