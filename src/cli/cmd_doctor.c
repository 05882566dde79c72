/* cmd_doctor.c - alula doctor: the page about this machine. What is measured is tune's (tune/doctor.h). */
#include <stddef.h>

#include "base/err.h"
#include "cli/cli.h"
#include "cli/page.h"
#include "kern/cpu.h"
#include "tune/doctor.h"
#include "tune/load.h"

struct doctor_cli {
    struct opt_shared shared;
    int threads;
    bool json;
};

static const struct doctor_cli defaults = {.shared = CLI_SHARED};

#define AT(member) offsetof(struct doctor_cli, member)
static const struct opt table[] = {
    CLI_THREADS(AT(threads), "Threads to compute with."),
    CLI_JSON(AT(json), "Print one JSON object."),
    {.name = NULL},
};
#undef AT

static const struct opt_example examples[] = {
    {"alula doctor", "Says what this machine is and what a 35B would do on it."},
    {NULL, NULL},
};

static void show_machine(const struct doctor *d, struct buf *out)
{
    const struct machine *m = &d->machine;
    char total[32], available[32], limit[32];
    page_line(out, "processor", TERM_PLAIN, "%s", m->cpu[0] ? m->cpu : "unknown");
    if (m->cpus < m->cpus_all)
        page_line(out, "CPUs", TERM_PLAIN, "%d of the machine's %d may be used here", m->cpus, m->cpus_all);
    else
        page_line(out, "CPUs", TERM_PLAIN, "%d", m->cpus);
    page_line(out, "kernels", TERM_PLAIN, "%s%s", d->kernels,
              d->has ? "" : ": no instruction set that alula has fast kernels for; it will be slow");
    page_line(out, "memory", TERM_PLAIN, "%s, %s of it free", page_bytes(total, m->memory),
              page_bytes(available, m->available));
    if (m->limit)
        page_line(out, "", TERM_PLAIN, "a limit of %s is set for this process's group",
                  page_bytes(limit, m->limit));
}

static void show_speed(const struct doctor *d, struct buf *out)
{
    if (!d->measured) {
        page_line(out, "speed", TERM_RED, "not measured: the sample of the model needs 1 GB of free memory");
        return;
    }
    page_line(out, "reads", TERM_PLAIN, "%.1f GB/s with %d thread%s (%.1f to %.1f)", d->read_gbs.median,
              d->n_threads, d->n_threads == 1 ? "" : "s", d->read_gbs.min, d->read_gbs.max);
    page_line(out, "plain", TERM_PLAIN, "about %.1f tokens a second, %.0f %% of what reading allows",
              d->plain_tok_s, 100 * d->plain_share);
    page_line(out, "MTP", TERM_PLAIN,
              "about %.1f tokens a second (%.2f times) at depth %d if drafts survive as with the original: "
              "%.1f, %.1f and %.1f %%",
              d->mtp_tok_s, d->mtp_tok_s / d->plain_tok_s, DOCTOR_DEPTH, 100 * d->acceptance[0],
              100 * d->acceptance[1], 100 * d->acceptance[2]);
    page_line(out, "", TERM_DIM,
              "an estimate: four of the forty layers were measured, with random weights and experts that no "
              "two tokens share; text shares some, and is faster");
}

static void show_verdict(const struct doctor *d, struct buf *out)
{
    const struct machine *m = &d->machine;
    char needed[32], available[32];
    bool fits = d->needed <= m->available,
         could = d->needed <= m->memory && (!m->limit || d->needed <= m->limit);
    page_bytes(needed, d->needed);
    page_bytes(available, m->available);
    if (!m->available)
        page_line(out, "verdict", TERM_PLAIN,
                  "it needs %s of memory; how much is free here cannot be found out", needed);
    else if (fits)
        page_line(out, "verdict", TERM_GREEN, "a 35B in 4 bits fits: it needs %s of the %s that are free",
                  needed, available);
    else if (could)
        page_line(out, "verdict", TERM_RED,
                  "a 35B in 4 bits needs %s; %s are free now: end other programs first", needed, available);
    else
        page_line(
            out, "verdict", TERM_RED,
            "a 35B in 4 bits needs %s, more than there is: it would run from the disk, at the disk's speed",
            needed);
    page_line(out, "next", TERM_PLAIN,
              fits ? "measure the whole shape, or forge a model" : "measure what fits");
    page_command(out, fits ? "alula bench --synthetic qwen3.5-35b-a3b --draft-vocab 32768"
                           : "alula bench --synthetic qwen3.5-35b-a3b --layers 4 --draft-vocab 32768");
    if (fits) page_command(out, "alula probe TRUNK DONOR");
}

static void show(const struct doctor *d, struct buf *out)
{
    page_title(out, "This machine");
    show_machine(d, out);
    page_title(out, "Qwen3.5-35B-A3B in 4 bits, with its MTP head");
    show_speed(d, out);
    show_verdict(d, out);
}

static bool on_progress(void *arg, int done, int total)
{
    struct progress *p = arg;
    if (done == 0) progress_start(p, "measuring", "steps", (uint64_t)total);
    progress_show(p, (uint64_t)done);
    return !term_stopped();
}

static bool doctor_command(const void *options, char **args, int n_args, int *status, struct alula_error *e)
{
    const struct doctor_cli *o = options;
    struct progress progress = {0};
    struct doctor d;
    struct buf out = {0};
    (void)args, (void)n_args, (void)status;
    if (!doctor_run(&d, o->threads, on_progress, &progress, e)) return false;
    progress_end(&progress);
    bool ok = true;
    if (o->json)
        ok = json_write_report(&out, doctor_json(&d), e);
    else
        show(&d, &out);
    ok = ok && term_write_buf(&out, e);
    buf_free(&out);
    return ok;
}

const struct cli_command cmd_doctor = {
    .opt = {.name = "doctor",
            .summary = "say in seconds what this machine is and what a 35B would do on it",
            .text = "Looks at processor, instruction sets, the CPUs and the memory that this process may "
                    "use, measures how fast memory is read, and runs four layers of random weights in the "
                    "shape of Qwen3.5-35B-A3B. From these follow the memory that the whole model needs and "
                    "an estimate of its speed. Takes 1 GB of memory for a few seconds, and no model.",
            .options = table,
            .examples = examples},
    .defaults = &defaults,
    .size = sizeof defaults,
    .run = doctor_command,
};
