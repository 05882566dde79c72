/* cmd_bench.c - alula bench: how fast a model decodes here, beside what the memory allows. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/mem.h"
#include "cli/bench_server.h"
#include "cli/cli.h"
#include "cli/term.h"
#include "tune/bench.h"
#include "tune/machine.h"
#include "tune/synth.h"

struct bench_cli {
    struct opt_shared shared;
    int synthetic; /* choice, -1 = not asked for */
    int layers, rounds, threads, draft_vocab;
    double expert_overlap;
    const char *acceptance, *csv, *plot;
    bool exact, json, profile, why_4_bit;
    const char *server, *api_key;
    int clients, requests, prompt_words, max_tokens;
    double rate;
};

static const struct bench_cli defaults = {.shared = CLI_SHARED,
                                          .synthetic = -1,
                                          .rounds = 5,
                                          .acceptance = ".915,.803,.656",
                                          .clients = 4,
                                          .requests = 64,
                                          .prompt_words = 64,
                                          .max_tokens = 64};

#define AT(member) offsetof(struct bench_cli, member)
static const struct opt table[] = {
    {.name = "synthetic",
     .arg = "SHAPE",
     .type = OPT_CHOICE,
     .offset = AT(synthetic),
     .choices = SYNTH_NAMES,
     .help = "Instead of a folder: random weights in the shape of this model, 4 bits, with an MTP head. All "
             "40 layers of the smaller one take 20 GB of memory."},
    {.name = "layers",
     .arg = "N",
     .type = OPT_INT,
     .offset = AT(layers),
     .min = 1,
     .max = CONFIG_LAYERS_MAX,
     .fallback = "the model's, or as many as fit the memory",
     .help =
         "Layers of the synthetic model. Embedding and LM head stay whole, so fewer layers weigh them more."},
    {.name = "expert-overlap",
     .arg = "X",
     .type = OPT_REAL,
     .offset = AT(expert_overlap),
     .min = 0,
     .max = 1,
     .fallback = "0",
     .help = "Share of its experts that a token of the synthetic model has in common with its neighbour. 0 "
             "is the worst case for a batch."},
    {.name = "acceptance",
     .arg = "A,B,..",
     .type = OPT_STR,
     .offset = AT(acceptance),
     .fallback = ".915,.803,.656",
     .help = "Simulated for MTP: the share of cycles in which the first draft, the first two, .. survive. "
             "Beyond the last it goes on with the last two's ratio."},
    {.name = "draft-vocab",
     .arg = "N",
     .type = OPT_INT,
     .offset = AT(draft_vocab),
     .min = 1,
     .max = CONFIG_VOCAB_MAX,
     .fallback = "all",
     .help = "Draft from N tokens, by as many rows of the LM head."},
    {.name = "rounds",
     .arg = "N",
     .type = OPT_INT,
     .offset = AT(rounds),
     .min = 1,
     .max = BENCH_ROUNDS_MAX,
     .fallback = "5",
     .help = "Measure everything so often, in turn."},
    CLI_THREADS(AT(threads), "Threads to compute with."),
    CLI_EXACT(AT(exact)),
    {.name = "profile",
     .type = OPT_FLAG,
     .offset = AT(profile),
     .help = "Where the time goes: plain decoding, the verification of 4 rows and a prompt of 512 tokens by "
             "operation, and nothing else."},
    {.name = "why-4-bit",
     .type = OPT_FLAG,
     .offset = AT(why_4_bit),
     .help = "What the bits of the MTP head cost: plain decoding, and drafting with the head packed in "
             "memory into BF16, 8 and 4 bits, and nothing else."},
    CLI_JSON(AT(json), "Print one JSON object."),
    {.name = "csv",
     .arg = "FILE",
     .type = OPT_STR,
     .offset = AT(csv),
     .help = "Write the figures into this file too, a line each."},
    {.name = "plot",
     .arg = "FILE",
     .type = OPT_STR,
     .offset = AT(plot),
     .help = "Draw a roofline into this SVG file: how much each step computes for a byte, and how fast."},
    {.name = "server",
     .arg = "URL",
     .type = OPT_STR,
     .offset = AT(server),
     .help = "Instead of a model: ask the server at URL, as the options below say, and report percentiles of "
             "the time to the first text and between texts."},
    CLI_API_KEY(AT(api_key), "Key of that server."),
    {.name = "clients",
     .arg = "N",
     .type = OPT_INT,
     .offset = AT(clients),
     .min = 1,
     .max = 64,
     .fallback = "4",
     .help = "So many ask at once, each again as soon as it has its answer (closed loop)."},
    {.name = "rate",
     .arg = "R",
     .type = OPT_REAL,
     .offset = AT(rate),
     .min = 0.001,
     .max = 10000,
     .fallback = "closed loop",
     .help =
         "Instead: R requests a second come by chance, whether or not earlier ones are done (open loop)."},
    {.name = "requests",
     .arg = "N",
     .type = OPT_INT,
     .offset = AT(requests),
     .min = 1,
     .max = 1000000,
     .fallback = "64",
     .help = "Requests in all."},
    {.name = "prompt-words",
     .arg = "N",
     .type = OPT_INT,
     .offset = AT(prompt_words),
     .min = 1,
     .max = 100000,
     .fallback = "64",
     .help = "Words of each prompt; no two prompts begin alike."},
    CLI_MAX_TOKENS(AT(max_tokens), "64", "Longest answer."),
    {.name = NULL},
};

static const struct opt_example examples[] = {
    {"alula bench DIR", "Measures the model in DIR."},
    {"alula bench --synthetic qwen3.5-35b-a3b --layers 8",
     "Needs no model: 8 of its 40 layers, 5 GB of memory."},
    {"alula bench --synthetic qwen3.5-35b-a3b --layers 8 --why-4-bit", "Why a head is packed into 4 bits."},
    {"alula bench --server http://127.0.0.1:8765 --clients 8", "Eight clients ask a server that runs."},
    {NULL, NULL},
};

/* ---- the table ------------------------------------------------------------------------------------------- */

static void show_figure(struct buf *out, const char *unit, int digits, struct bench_figure f)
{
    buf_fmt(out, "  %9.*f %-5s (%.*f..%.*f)", digits, f.median, unit, digits, f.min, digits, f.max);
}

static void show_job(struct buf *out, const struct bench *b, const struct bench_job *job)
{
    bool alone = job->kind == BENCH_PLAIN || job->kind == BENCH_DRAFT;
    char number[16] = "";
    if (job->kind == BENCH_READ || job->head_bits) return;
    if (!alone) snprintf(number, sizeof number, "%d", job->n);
    buf_fmt(out, "%-15s %5s", bench_kind_name(job->kind), number);
    if (job->kind == BENCH_VERIFY || job->kind == BENCH_DRAFT)
        show_figure(out, "ms", 2, bench_ms(job));
    else
        show_figure(out, "tok/s", 2, bench_tok_s(job));
    if (!alone && job->kind != BENCH_VERIFY) buf_fmt(out, ", %.2fx plain", bench_ratio(b, job).median);
    if (job->bytes > 0) buf_fmt(out, ", %.0f %% of the bound", 100 * bench_bound_share(b, job).median);
    if (job->kind == BENCH_VERIFY && job->experts > 0) buf_fmt(out, ", %.1f experts a layer", job->experts);
    if (job->rounds < b->rounds) buf_fmt(out, ", %d rounds", job->rounds);
    buf_byte(out, '\n');
}

static void show_heads(struct buf *out, const struct bench *b)
{
    double token = bench_ms(bench_find(b, BENCH_PLAIN, 1)).median;
    buf_str(out, "\nhead      a draft reads            takes  of a token     plain decoding times\n");
    for (int i = 0; i < BENCH_HEADS; i++) {
        int bits = bench_head_bits[i];
        const struct bench_job *draft = bench_find_head(b, BENCH_DRAFT, 1, bits);
        struct bench_figure ms = bench_ms(draft);
        if (bits == 16)
            buf_str(out, "BF16   ");
        else
            buf_fmt(out, "%d bits ", bits);
        buf_fmt(out, " %11.1f MB  %12.3f ms  %9.1f %%  ", draft->bytes / 1e6, ms.median,
                100 * ms.median / token);
        for (int d = 1; d <= BENCH_HEAD_DEPTHS; d++) {
            struct bench_figure r = bench_ratio(b, bench_find_head(b, BENCH_MTP, d, bits));
            buf_fmt(out, "  %.2f (%.2f..%.2f)", r.median, r.min, r.max);
        }
        buf_byte(out, '\n');
    }
    buf_fmt(out,
            "\nThe last columns: depth 1 to %d. A draft reads the LM head's rows too, as they are stored.\n",
            BENCH_HEAD_DEPTHS);
}

static void show_notes(struct buf *out, const struct bench *b)
{
    if (b->n_profiles) {
        bench_profile_show(out, b);
        return;
    }
    if (bench_find_head(b, BENCH_DRAFT, 1, bench_head_bits[0])) show_heads(out, b);
    buf_str(out, "\nMTP: acceptance is simulated (");
    for (int d = 0; d < BENCH_DEPTHS; d++) buf_fmt(out, "%s%.3f", d ? ", " : "", b->acceptance[d]);
    buf_str(out, "). Context: filled with copies of a short prompt's keys and values, not by reading.\n"
                 "Bound: the weights (and keys and values) that a step must read, at the read limit.\n");
}

static void show(struct buf *out, const struct bench *b, const struct bench_label *label)
{
    struct bench_figure read = bench_read_gbs(b);
    const struct bench_job *plain = bench_find(b, BENCH_PLAIN, 1);
    buf_fmt(out, "%s\n%d thread%s, %s, medians of %d rounds (lowest..highest)\n\n", label->title,
            b->n_threads, b->n_threads == 1 ? "" : "s", b->isa, b->rounds);
    buf_fmt(out, "%-21s", "read limit");
    show_figure(out, "GB/s", 2, read);
    buf_fmt(out, "\n%-21s  %9.1f MB    bound %.2f tok/s\n", "weights a token", plain->bytes / 1e6,
            read.median * 1e9 / plain->bytes);
    for (int i = 0; i < b->n_jobs; i++) show_job(out, b, &b->jobs[i]);
    buf_fmt(out, "%-21s", label->synthetic ? "weights made in" : "first token after");
    show_figure(out, "s", 2, label->load);
    buf_fmt(out, "\n%-21s  %9.1f MB    with the longest context %.1f MB\n", "peak memory",
            (double)b->rss_bytes / 1e6, (double)b->rss_context_bytes / 1e6);
    show_notes(out, b);
    if (label->synthetic)
        buf_fmt(out, "Experts: a token shares %.0f %% of its own with its neighbour.\n",
                100 * label->expert_overlap);
}

/* ---- the run --------------------------------------------------------------------------------------------- */

static bool on_progress(void *arg, int done, int total)
{
    struct progress *p = arg;
    if (done == 0) progress_start(p, "measuring", "steps", (uint64_t)total);
    progress_show(p, (uint64_t)done);
    return !term_stopped();
}

static bool read_acceptance(struct bench_options *o, const char *text, struct alula_error *e)
{
    const char *p = text;
    for (o->n_acceptance = 0; o->n_acceptance < BENCH_DEPTHS;) {
        char *end;
        o->acceptance[o->n_acceptance++] = strtod(p, &end);
        if (end == p || (*end && *end != ',')) break;
        if (!*end) return true;
        p = end + 1;
    }
    return err_set(e, ALULA_USAGE, "--acceptance is '%s', expected 1 to %d shares with commas between them",
                   text, BENCH_DEPTHS);
}

static bool print(const struct bench *b, const struct bench_label *label, bool json, struct alula_error *e)
{
    struct buf out = {0};
    bool ok = true;
    if (json)
        ok = json_write_report(&out, bench_json(b, label), e);
    else
        show(&out, b, label);
    ok = ok && term_write_buf(&out, e);
    buf_free(&out);
    return ok;
}

static bool save(struct buf *out, const char *path, struct alula_error *e)
{
    bool ok = buf_check(out, path, e) && file_write(path, out->data, out->len, e);
    buf_free(out);
    return ok;
}

static bool report(const struct bench *b, const struct bench_label *label, const struct bench_cli *o,
                   struct alula_error *e)
{
    struct buf csv = {0}, svg = {0};
    bool ok = print(b, label, o->json, e);
    if (ok && o->csv) {
        bench_csv(b, &csv);
        ok = save(&csv, o->csv, e);
    }
    if (ok && o->plot) {
        bench_plot(b, label, &svg);
        ok = save(&svg, o->plot, e);
    }
    return ok;
}

static bool measure(const struct weights *w, const struct mtp_contract *contract, const struct bench_cli *o,
                    const struct bench_label *label, struct alula_error *e)
{
    struct bench_options options = bench_defaults();
    struct bench *b = mem_zalloc(1, sizeof *b);
    struct progress progress;
    if (!b) return err_set(e, ALULA_NOMEM, "no memory for the results");
    options.n_threads = o->threads;
    options.rounds = o->rounds;
    options.exact = o->exact;
    options.profile = o->profile;
    options.heads = o->why_4_bit;
    options.draft_vocab = o->draft_vocab;
    options.progress = on_progress;
    options.arg = &progress;
    bool ok = read_acceptance(&options, o->acceptance, e) && bench_run(b, w, contract, &options, e);
    if (ok) progress_end(&progress);
    ok = ok && report(b, label, o, e);
    mem_free(b);
    return ok;
}

/* As many layers as fit the memory that is free, in whole groups of four; all of them if nobody knows. */
static bool fit_layers(struct config *shape, enum synth_shape which, struct alula_error *e)
{
    const size_t beside = (size_t)3 << 29; /* activations, states, the longest context, the program */
    struct machine m;
    size_t bytes;
    machine_look(&m);
    for (;; synth_shape(shape, which, shape->n_layers - 4)) {
        if (!synth_bytes(&bytes, shape, e)) return false;
        if (!m.available || bytes + beside <= m.available) return true;
        if (shape->n_layers <= 4)
            return err_set(e, ALULA_NOMEM, "4 layers take %zu MB; %zu MB of memory are free", bytes / 1000000,
                           m.available / 1000000);
    }
}

static void label_synthetic(struct bench_label *label, char *title, size_t cap, const struct bench_cli *o)
{
    static const char *const names[] = {"Qwen3.5-35B-A3B", "Qwen3.5-122B-A10B"};
    snprintf(title, cap, "Random weights in the shape of %s, %d of %d layers%s", names[o->synthetic],
             label->layers, label->all_layers,
             !o->layers && label->layers < label->all_layers ? " (more do not fit the memory)" : "");
    label->expert_overlap = o->expert_overlap;
    label->title = title;
}

static bool bench_synthetic(const struct bench_cli *o, struct alula_error *e)
{
    enum synth_shape which = (enum synth_shape)o->synthetic;
    struct bench_label label = {.synthetic = true};
    struct config shape;
    struct synth *s;
    struct pool *pool;
    char title[256];
    synth_shape(&shape, which, 0);
    label.all_layers = shape.n_layers;
    if (o->layers) synth_shape(&shape, which, o->layers);
    if (!o->layers && !fit_layers(&shape, which, e)) return false;
    label.layers = shape.n_layers;
    if (!pool_create(&pool, o->threads, e)) return false;
    double start = clock_s();
    bool ok = synth_create(&s, &shape, o->expert_overlap, pool, e);
    pool_free(pool);
    if (!ok) return false;
    double spent = clock_s() - start;
    label.load = (struct bench_figure){spent, spent, spent};
    label_synthetic(&label, title, sizeof title, o);
    ok = measure(&s->weights, NULL, o, &label, e);
    synth_free(s);
    return ok;
}

#define LOADS 3

static bool bench_folder(const char *dir, const struct bench_cli *o, struct alula_error *e)
{
    struct bench_label label = {.title = path_base(dir)};
    struct checkpoint *cp = NULL;
    struct weights *w = NULL;
    struct runtime_contract contract;
    bool ok = bench_load(dir, o->threads, o->exact, LOADS, &label.load, e) && checkpoint_open(&cp, dir, e) &&
              weights_bind(&w, cp, NULL, e) && contract_read(&contract, cp, e);
    ok = ok && measure(w, w->has_mtp ? &contract.mtp : NULL, o, &label, e);
    weights_free(w);
    checkpoint_close(cp);
    return ok;
}

static bool bench_remote(const struct bench_cli *o, struct alula_error *e)
{
    struct bench_server_options so = {
        .url = o->server,
        .key = o->api_key,
        .clients = o->clients,
        .rate = o->rate,
        .requests = o->requests,
        .prompt_words = o->prompt_words,
        .max_tokens = o->max_tokens,
        .json = o->json,
    };
    struct buf out = {0};
    bool ok = bench_server(&so, &out, e) && term_write_buf(&out, e);
    buf_free(&out);
    return ok;
}

static bool bench_command(const void *options, char **args, int n_args, int *status, struct alula_error *e)
{
    const struct bench_cli *o = options;
    (void)status;
    if ((o->synthetic >= 0) + (n_args > 0) + (o->server != NULL) != 1)
        return err_set(e, ALULA_USAGE, "bench takes one of a model folder, --synthetic and --server");
    if (o->profile && o->why_4_bit)
        return err_set(e, ALULA_USAGE, "--profile and --why-4-bit exclude each other");
    if (o->server && (o->csv || o->plot))
        return err_set(e, ALULA_USAGE, "--csv and --plot are not for --server");
    if (o->server) return bench_remote(o, e);
    if (o->api_key || o->rate > 0 || o->clients != defaults.clients || o->requests != defaults.requests ||
        o->prompt_words != defaults.prompt_words || o->max_tokens != defaults.max_tokens)
        return err_set(
            e, ALULA_USAGE,
            "--api-key, --clients, --rate, --requests, --prompt-words and --max-tokens are for --server");
    if (o->synthetic < 0 && (o->layers || o->expert_overlap > 0))
        return err_set(e, ALULA_USAGE, "--layers and --expert-overlap are for --synthetic");
    return o->synthetic >= 0 ? bench_synthetic(o, e) : bench_folder(args[0], o, e);
}

const struct cli_command cmd_bench = {
    .opt = {.name = "bench",
            .summary = "measure speed beside what the machine's memory allows",
            .text =
                "Measures how fast this machine's memory can be read and, in the same rounds and with the "
                "same threads: plain decoding, the verification of 1 to 8 tokens in one pass, a draft step, "
                "decoding with drafts at depth 1 to 4, prompts of 128 to 2048 tokens, several sequences at "
                "once, fewer threads, and plain decoding behind 4096 and 32768 tokens, which are filled with "
                "copies of a short prompt's keys and values instead of being read.\n\n"
                "Decoding is reading weights, so the bound of a step is the time that reading its weights "
                "takes; the state of the sequence comes on top and is not counted. The tokens are "
                "consecutive numbers, not text, and how many drafts survive is simulated. Picking the "
                "likeliest token is part of every step.",
            .args = "[DIR]",
            .args_max = 1,
            .options = table,
            .examples = examples},
    .defaults = &defaults,
    .size = sizeof defaults,
    .run = bench_command,
};
