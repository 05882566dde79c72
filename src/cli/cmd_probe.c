/* cmd_probe.c - alula probe: what is in these folders, and what to type next. */
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/survey_page.h"

#define FOLDERS_MAX 64

struct probe_cli {
    struct opt_shared shared;
    bool json;
};

static const struct probe_cli defaults = {.shared = CLI_SHARED};

static const struct opt table[] = {
    CLI_JSON(offsetof(struct probe_cli, json), "Print one JSON object."),
    {.name = NULL},
};

static const struct opt_example examples[] = {
    {"alula probe Ornith-1.0-35B", "Says what the folder holds and what can be done with it."},
    {"alula probe Ornith-1.0-35B Qwen3.5-35B-A3B", "Says too whether the head of one fits the other."},
    {NULL, NULL},
};

static void show_checks(const struct probe *p, struct buf *out)
{
    const struct survey *s = &p->survey;
    if (s->weights)
        page_line(out, "check", TERM_PLAIN, "the body's tensors are those that config.json describes");
    if (s->cp->runtime_json || s->cp->runtime_problem[0])
        page_line(out, "contract", TERM_PLAIN, "mtplx_runtime.json is there; alula inspect reads it");
    if (s->licences[0] || s->licence.id[0])
        page_line(out, "licence", TERM_PLAIN, "%s%s%s", s->licence.id,
                  s->licence.id[0] && s->licences[0] ? "; files: " : "", s->licences);
    else if (p->verdict != PROBE_FAILED)
        page_line(out, "licence", TERM_PLAIN, "no licence file here");
}

static void show_folder(const struct probe *p, bool advice, struct buf *out)
{
    page_title(out, p->path);
    if (p->surveyed) {
        survey_page(&p->survey, out);
    }
    if (p->problem.code && (!p->surveyed || strcmp(p->problem.message, p->survey.head.message)))
        page_line(out, "problem", TERM_RED, "%s", p->problem.message);
    if (p->surveyed) show_checks(p, out);
    if (advice) advice_page(p->next, p->n_next, out);
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
    advice_page(&pair->next, 1, out);
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
                    "tensors, so it takes under a second on a folder of any size. Looks at the tensors that "
                    "are there and does not take config.json's word for them.\n\n"
                    "Of several folders it says too which MTP head fits which model. A DIR may be a file "
                    "that holds only a head.\n\n"
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
