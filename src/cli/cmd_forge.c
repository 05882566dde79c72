/* cmd_forge.c - alula forge: trunk and head in, artifact out. */
#include "cli/cli.h"

#include <string.h>

#include "base/err.h"
#include "base/json.h"
#include "cli/term.h"
#include "forge/forge.h"

struct forge_cli {
    struct opt_shared shared;
    const char *trunk, *mtp, *out;
    int bits, group, head, threads;
    bool json;
};

static const struct forge_cli defaults = {.shared = CLI_SHARED, .bits = 4, .group = 64};

#define AT(member) offsetof(struct forge_cli, member)
static const struct opt table[] = {
    {.name = "trunk", .arg = "DIR", .type = OPT_STR, .offset = AT(trunk),
     .help = "The model whose body, tokenizer and template are taken."},
    {.name = "mtp", .arg = "DIR", .type = OPT_STR, .offset = AT(mtp), .fallback = "the trunk itself",
     .help = "Where the MTP head comes from: a model folder, or a folder or file that holds only the head."},
    {.name = "out", .letter = 'o', .arg = "DIR", .type = OPT_STR, .offset = AT(out),
     .help = "The folder to make. It appears when it is whole."},
    {.name = "bits", .arg = "N", .type = OPT_INT, .offset = AT(bits), .min = 2, .max = 8, .fallback = "4",
     .help = "Bits of a weight: 2, 3, 4, 5, 6 or 8."},
    {.name = "group-size", .arg = "N", .type = OPT_INT, .offset = AT(group), .min = 32, .max = 128, .fallback = "64",
     .help = "Weights that share a scale: 32, 64 or 128."},
    {.name = "mtp-policy", .arg = "POLICY", .type = OPT_CHOICE, .offset = AT(head),
     .choices = "quantize|keep_bf16|quantize_at_load", .fallback = "quantize",
     .help = "What becomes of the head: packed like the body, kept as it is, or kept and packed by whoever loads it."},
    {.name = "threads", .letter = 't', .arg = "N", .type = OPT_INT, .offset = AT(threads), .min = 1, .max = 256,
     .fallback = "the CPUs this process may use", .help = "Threads that quantize. The bytes are the same for any number."},
    {.name = "json", .type = OPT_FLAG, .offset = AT(json), .help = "Print one JSON object."},
    {.name = NULL},
};
#undef AT

static const struct opt_example examples[] = {
    {"alula forge --trunk Ornith-1.0-35B --mtp Qwen3.5-35B-A3B --out ornith-mtp-4bit",
     "Grafts the head of one model onto another and packs both into 4 bits."},
    {"alula forge --trunk Qwen3.5-35B-A3B --out qwen-4bit", "Packs a model that has a head of its own."},
    {NULL, NULL},
};

static bool show_progress(void *arg, uint64_t done, uint64_t total)
{
    struct progress *p = arg;
    if (!p->total) progress_start(p, "forging", "B", total);
    progress_show(p, done);
    return !term_stopped();
}

static void write_report(const struct forge_cli *o, const struct forge_report *r, struct buf *out)
{
    double gb = 1e-9, mb_s = (double)r->source_bytes / 1e6 / r->seconds;
    if (o->json) {
        buf_str(out, "{\"out\": ");
        json_write_str(out, o->out, strlen(o->out));
        buf_fmt(out, ", \"source_bytes\": %llu, \"body_bytes\": %llu, \"head_bytes\": %llu, \"modules\": %zu",
                (unsigned long long)r->source_bytes, (unsigned long long)r->body_bytes,
                (unsigned long long)r->head_bytes, r->n_modules);
        buf_fmt(out, ", \"shards\": %d, \"resumed\": %d, \"seconds\": ", r->n_shards, r->n_resumed);
        json_write_real(out, r->seconds);
        buf_str(out, "}\n");
        return;
    }
    buf_fmt(out, "forged  %s\n", o->out);
    buf_fmt(out, "body    %.3f GB in %d file%s\n", (double)r->body_bytes * gb, r->n_shards, r->n_shards == 1 ? "" : "s");
    buf_fmt(out, "head    %.3f GB in mtp.safetensors\n", (double)r->head_bytes * gb);
    if (r->n_resumed)
        buf_fmt(out, "resumed %d finished file%s of an earlier run\n", r->n_resumed, r->n_resumed == 1 ? "" : "s");
    buf_fmt(out, "read    %.3f GB in %.1f s (%.0f MB/s)\n", (double)r->source_bytes * gb, r->seconds, mb_s);
}

static bool check_options(const struct forge_cli *o, struct alula_error *e)
{
    if (!o->trunk) return err_set(e, ALULA_USAGE, "--trunk DIR is missing: the model to graft onto");
    if (!o->out) return err_set(e, ALULA_USAGE, "--out DIR is missing: the folder to make");
    if (o->bits == 7) return err_set(e, ALULA_USAGE, "--bits 7: expected 2, 3, 4, 5, 6 or 8");
    if (o->group != 32 && o->group != 64 && o->group != 128)
        return err_set(e, ALULA_USAGE, "--group-size %d: expected 32, 64 or 128", o->group);
    return true;
}

static bool forge_command(const void *options, char **args, int n_args, int *status, struct alula_error *e)
{
    const struct forge_cli *o = options;
    struct progress progress = {0};
    struct forge_report report;
    (void)args, (void)n_args, (void)status;
    if (!check_options(o, e)) return false;
    struct forge_options fo = {
        .trunk = o->trunk,
        .mtp = o->mtp,
        .out = o->out,
        .plan = {.bits = o->bits, .group = o->group, .head_policy = (enum head_policy)o->head},
        .n_threads = o->threads,
        .tell = show_progress,
        .arg = &progress,
    };
    bool ok = forge_run(&fo, &report, e);
    if (progress.total) progress_end(&progress);
    if (!ok) return false;
    struct buf out = {0};
    write_report(o, &report, &out);
    ok = term_write_buf(&out, e);
    buf_free(&out);
    return ok;
}

const struct cli_command cmd_forge = {
    .opt = {.name = "forge",
            .summary = "graft an MTP head onto a model and pack both",
            .text = "Takes a model (the trunk) and an MTP head, its own or another model's, checks that they fit, and writes "
                    "a folder that alula, MTPLX and mlx-lm read: the body packed to --bits, the head beside it.\n\n"
                    "The folder appears under its name when it is whole. A run that was interrupted leaves DIR.forging; the "
                    "same command goes on from there.",
            .options = table,
            .examples = examples},
    .defaults = &defaults,
    .size = sizeof defaults,
    .run = forge_command,
};
