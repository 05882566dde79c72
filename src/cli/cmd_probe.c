/* cmd_probe.c - alula probe: what is in these folders, and what to type next. */
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/page.h"
#include "forge/probe.h"

#define FOLDERS_MAX 64

struct probe_cli {
    struct opt_shared shared;
    bool json;
};

static const struct probe_cli defaults = {.shared = CLI_SHARED};

static const struct opt table[] = {
    {.name = "json",
     .type = OPT_FLAG,
     .offset = offsetof(struct probe_cli, json),
     .help = "Print one JSON object."},
    {.name = NULL},
};

static const struct opt_example examples[] = {
    {"alula probe Ornith-1.0-35B", "Says what the folder holds and what can be done with it."},
    {"alula probe Ornith-1.0-35B Qwen3.5-35B-A3B", "Says too whether the head of one fits the other."},
    {NULL, NULL},
};

static const char *family(const struct config *c) { return c->n_experts ? "Qwen3.5-MoE" : "Qwen3.5"; }

static void show_model(const struct survey *s, struct buf *out)
{
    const struct config *c = &s->cp->config;
    int attention = 0;
    if (!s->cp->has_config) return;
    for (int i = 0; i < c->n_layers; i++) attention += c->layer_types[i] == LAYER_FULL_ATTENTION;
    char experts[96] = "";
    if (c->n_experts)
        snprintf(experts, sizeof experts, ", %d experts of which %d work at a time", c->n_experts,
                 c->experts_per_tok);
    page_line(
        out, "model", TERM_PLAIN,
        "%s (%s): %d layers (%d with attention, %d with a gated delta net), hidden size %d%s, vocabulary %d",
        family(c), c->model_type, c->n_layers, attention, c->n_layers - attention, c->hidden, experts,
        c->vocab);
}

static void show_weights(const struct survey *s, struct buf *out)
{
    static const char *const layouts[] = {"", "dense MLPs", "fused experts", "stacked experts",
                                          "numbered experts"};
    char count[32], size[32], width[64];
    if (!s->weights) return;
    const char *type = s->type == DT_BF16 ? "bf16" : s->type == DT_F16 ? "fp16" : "fp32";
    if (s->bits)
        snprintf(width, sizeof width, "packed to %d bits", s->bits);
    else
        snprintf(width, sizeof width, "%s", type);
    page_line(out, "weights", TERM_PLAIN, "%s parameters, %s, %s in %zu file%s; laid out by %s, %s",
              page_count(count, s->body_parameters), width, page_bytes(size, s->bytes - s->head_bytes),
              s->cp->n_files - (s->cp->sidecar != NULL),
              s->cp->n_files - (s->cp->sidecar != NULL) == 1 ? "" : "s", s->from_mlx ? "MLX" : "Hugging Face",
              layouts[s->layout]);
}

static void show_head(const struct survey *s, struct buf *out)
{
    const struct head_set *h = &s->head_set;
    char size[32];
    if (s->head.code) {
        page_line(out, "MTP head", TERM_RED, "broken: %s", s->head.message);
    } else if (h->n_tensors) {
        page_line(out, "MTP head", TERM_GREEN, "yes: %zu tensors, %s%s, %s, %s%s", h->n_tensors,
                  head_layout_name(h->layout), h->packed ? ", packed" : "", page_bytes(size, s->head_bytes),
                  s->cp->sidecar ? "in " : "among the others", s->cp->sidecar ? s->cp->sidecar : "");
        if (!s->declares_head && s->has_config)
            page_line(out, "", TERM_PLAIN,
                      "(config.json declares none: mtp_num_hidden_layers is absent or 0)");
    } else if (s->declares_head) {
        page_line(out, "MTP head", TERM_RED,
                  "missing: config.json declares one, but there is no tensor of it");
    } else if (s->has_trunk) {
        page_line(out, "MTP head", TERM_PLAIN, "none, and none is declared");
    }
    if (s->cp->sidecar_missing)
        page_line(out, "", TERM_RED, "config.json names %s, which is not there", s->cp->sidecar_missing);
}

static void show_checks(const struct probe *p, struct buf *out)
{
    const struct survey *s = &p->survey;
    if (s->weights)
        page_line(out, "check", TERM_PLAIN, "the body's tensors are those that config.json describes");
    if (s->cp->runtime_json || s->cp->runtime_problem[0])
        page_line(out, "contract", TERM_PLAIN, "mtplx_runtime.json is there; alula inspect reads it");
    if (s->licences[0] || s->licence[0])
        page_line(out, "licence", TERM_PLAIN, "%s%s%s", s->licence,
                  s->licence[0] && s->licences[0] ? "; files: " : "", s->licences);
    else
        page_line(out, "licence", TERM_PLAIN, "no licence file here");
}

static void show_advice(const struct advice *next, int n, struct buf *out)
{
    for (int i = 0; i < n; i++) {
        page_line(out, i ? "" : "next", TERM_PLAIN, "%s%s", next[i].why, next[i].command[0] ? ":" : "");
        if (next[i].command[0]) page_command(out, next[i].command);
    }
}

static void show_folder(const struct probe *p, bool advice, struct buf *out)
{
    page_title(out, p->path);
    if (p->surveyed) {
        show_model(&p->survey, out);
        show_weights(&p->survey, out);
        show_head(&p->survey, out);
    }
    if (p->problem.code && (!p->surveyed || strcmp(p->problem.message, p->survey.head.message)))
        page_line(out, "problem", TERM_RED, "%s", p->problem.message);
    if (p->surveyed) show_checks(p, out);
    if (advice) show_advice(p->next, p->n_next, out);
}

static void show_pair(const struct probe_pair *pair, struct buf *out)
{
    buf_fmt(out, "\n%s%s + the head of %s%s\n", term_style(stdout, TERM_BOLD), pair->trunk->path,
            pair->donor->path, term_style(stdout, TERM_PLAIN));
    if (pair->problem.code) {
        page_line(out, "fit", TERM_RED, "no: %s", pair->problem.message);
        return;
    }
    page_line(
        out, "fit", TERM_GREEN,
        "yes, every dimension agrees. How well the head foretells this model is measured after the graft");
    show_advice(&pair->next, 1, out);
}

/* A folder that is part of a pair that fits gets its advice there. */
static bool is_paired(const struct probe *p, const struct probe_pair *pairs, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!pairs[i].problem.code && pairs[i].trunk == p) return true;
    return false;
}

static bool report(const struct probe_cli *o, const struct probe *probes, int n, struct alula_error *e)
{
    struct probe_pair *pairs;
    size_t n_pairs;
    struct buf out = {0};
    bool ok = true;
    if (!probe_pairs(&pairs, &n_pairs, probes, (size_t)n, e)) return false;
    if (o->json) {
        ok = probe_write_json(&out, probes, (size_t)n, pairs, n_pairs, e);
    } else {
        for (int i = 0; i < n; i++) {
            if (i) buf_byte(&out, '\n');
            show_folder(&probes[i], !is_paired(&probes[i], pairs, n_pairs), &out);
        }
        for (size_t i = 0; i < n_pairs; i++) show_pair(&pairs[i], &out);
    }
    ok = ok && term_write_buf(&out, e);
    buf_free(&out);
    mem_free(pairs);
    return ok;
}

static bool probe_run(const void *options, char **args, int n_args, int *status, struct alula_error *e)
{
    struct probe *probes = mem_zalloc((size_t)n_args, sizeof *probes);
    if (!probes) return err_set(e, ALULA_NOMEM, "no memory for %d folders", n_args);
    for (int i = 0; i < n_args; i++) {
        probe_path(&probes[i], args[i]);
        if (probes[i].verdict == PROBE_FAILED) *status = 1;
    }
    bool ok = report(options, probes, n_args, e);
    for (int i = 0; i < n_args; i++) probe_free(&probes[i]);
    mem_free(probes);
    return ok;
}

const struct cli_command cmd_probe = {
    .opt = {.name = "probe",
            .summary = "say what is in a model folder and what can be done with it",
            .text = "Reads the JSON files, the index, the headers of the safetensors files and the small 1-D "
                    "tensors, so it takes "
                    "under a second on a folder of any size. Looks at the tensors that are there and does "
                    "not take config.json's "
                    "word for them.\n\n"
                    "Of several folders it says too which MTP head fits which model. A DIR may be a file "
                    "that holds only a "
                    "head.\n\n"
                    "Exit status: 1 if one of the folders could not be read, else 0.",
            .args = "DIR ...",
            .args_min = 1,
            .args_max = FOLDERS_MAX,
            .options = table,
            .examples = examples},
    .defaults = &defaults,
    .size = sizeof defaults,
    .run = probe_run,
};
