/* cmd_forge.c - alula forge: trunk and head in, artifact out, measured. */
#include "cli/cli.h"

#include "base/err.h"
#include "base/file.h"
#include "base/json.h"
#include "cli/forge_page.h"
#include "cli/measure.h"
#include "cli/verify_page.h"
#include "forge/card.h"
#include "forge/recipe.h"

/* Numbers and choices that were not given are below what can be given, so that a recipe's stay. */
struct forge_cli {
    struct opt_shared shared;
    const char *trunk, *mtp, *out, *trunk_id, *mtp_id, *recipe;
    struct measure_options measure;
    int bits, group, head, norms, threads;
    struct opt_list overrides;
    bool degraded, dry_run, no_verify, json;
};

static const struct forge_cli defaults = {.shared = CLI_SHARED, .head = -1, .norms = -1};

#define AT(member) offsetof(struct forge_cli, member)
static const struct opt table[] = {
    {.name = "trunk",
     .arg = "DIR",
     .type = OPT_STR,
     .offset = AT(trunk),
     .help = "The model whose body, tokenizer and template are taken."},
    {.name = "mtp",
     .arg = "DIR",
     .type = OPT_STR,
     .offset = AT(mtp),
     .fallback = "the trunk itself",
     .help = "Where the MTP head comes from: a model folder, or a folder or file that holds only the head."},
    {.name = "out",
     .letter = 'o',
     .arg = "DIR",
     .type = OPT_STR,
     .offset = AT(out),
     .help = "The folder to make. It appears when it is whole."},
    {.name = "bits",
     .arg = "N",
     .type = OPT_INT,
     .offset = AT(bits),
     .min = 2,
     .max = 8,
     .fallback = "4",
     .help = "Bits of a weight: 2, 3, 4, 5, 6 or 8. Of a trunk that is packed already, only the head is "
             "packed so."},
    {.name = "group-size",
     .arg = "N",
     .type = OPT_INT,
     .offset = AT(group),
     .min = 32,
     .max = 128,
     .fallback = "64",
     .help = "Weights that share a scale: 32, 64 or 128."},
    {.name = "override",
     .arg = "PATTERN=BITS[:GROUP]",
     .type = OPT_LIST,
     .offset = AT(overrides),
     .help = "Another width for the modules whose path fits the pattern, in which * stands for any text; 16 "
             "bits leave them plain. Of several that fit the last counts. --dry-run lists the modules."},
    {.name = "mtp-policy",
     .arg = "POLICY",
     .type = OPT_CHOICE,
     .offset = AT(head),
     .choices = "quantize|keep_bf16|quantize_at_load",
     .fallback = "quantize",
     .help = "What becomes of the head: packed like the body, kept as it is, or kept and packed by whoever "
             "loads it."},
    {.name = "norm-encoding",
     .arg = "WORD",
     .type = OPT_CHOICE,
     .offset = AT(norms),
     .choices = "absolute|delta",
     .fallback = "absolute",
     .help = "How the head's norms are written: the gain, or the gain less 1, which config.json then says."},
    {.name = "allow-degraded-mtp",
     .type = OPT_FLAG,
     .offset = AT(degraded),
     .help = "Pack a head to less than 4 bits, which is refused otherwise."},
    {.name = "trunk-id",
     .arg = "NAME",
     .type = OPT_STR,
     .offset = AT(trunk_id),
     .fallback = "the folder's name",
     .help = "What the trunk is called, for the record: owner/name on the hub."},
    {.name = "mtp-id",
     .arg = "NAME",
     .type = OPT_STR,
     .offset = AT(mtp_id),
     .fallback = "the folder's name",
     .help = "What the model is called that the head comes from."},
    {.name = "recipe",
     .arg = "FILE",
     .type = OPT_STR,
     .offset = AT(recipe),
     .help =
         "Take the choices from this JSON file; options given beside it win. Every artifact holds its own, "
         "alula_recipe.json: with the same weights it gives the same bytes."},
    {.name = "dry-run",
     .type = OPT_FLAG,
     .offset = AT(dry_run),
     .help = "Only say what would be written: modules, widths, sizes, time."},
    {.name = "no-verify",
     .type = OPT_FLAG,
     .offset = AT(no_verify),
     .help = "Do not measure the result. Until alula forge verify does, inspect calls it unverified."},
    MEASURE_OPTIONS(AT(measure)),
    CLI_THREADS(AT(threads),
                "Threads that quantize and measure. The bytes of the weights are the same for any number."),
    CLI_JSON(AT(json), "Print one JSON object."),
    {.name = NULL},
};
#undef AT

static const struct opt_example examples[] = {
    {"alula forge --trunk Ornith-1.0-35B --mtp Qwen3.5-35B-A3B --out ornith-mtp-4bit",
     "Grafts the head of one model onto another and packs both into 4 bits."},
    {"alula forge --trunk Qwen3.5-35B-A3B --out qwen-4bit", "Packs a model that has a head of its own."},
    {"alula forge --trunk Qwen3.5-35B-A3B --out qwen --override '*lm_head=6' --override 'mtp.*=8'",
     "Gives the LM head 6 bits, the MTP head 8 and the rest 4."},
    {"alula forge --recipe qwen/alula_recipe.json --trunk Qwen3.5-35B-A3B --out again",
     "Makes an artifact again from its own recipe."},
    {NULL, NULL},
};

/* The recipe, and over it what was given on the command line. */
static bool gather(struct recipe *r, const struct forge_cli *o, struct alula_error *e)
{
    recipe_init(r);
    if (o->recipe && !recipe_read(r, o->recipe, e)) return false;
    if (o->trunk) r->trunk = o->trunk;
    if (o->mtp) r->mtp = o->mtp;
    if (o->out) r->out = o->out;
    if (o->trunk_id) r->trunk_id = o->trunk_id;
    if (o->mtp_id) r->mtp_id = o->mtp_id;
    if (o->bits) r->plan.bits = o->bits;
    if (o->group) r->plan.group = o->group;
    if (o->head >= 0) r->plan.head_policy = (enum head_policy)o->head;
    if (o->norms >= 0) r->plan.norms = (enum norm_encoding)o->norms;
    if (o->degraded) r->plan.allow_degraded_mtp = true;
    for (int i = 0; i < o->overrides.n; i++)
        if (!recipe_add_override(r, o->overrides.items[i], e)) return false;
    if (!r->trunk || !r->trunk[0])
        return err_set(e, ALULA_USAGE, "--trunk DIR is missing: the model to graft onto");
    if (r->out ? !r->out[0] : !o->dry_run)
        return err_set(e, ALULA_USAGE, "--out DIR is missing: the folder to make");
    return recipe_check(r, e);
}

static bool look_ahead(const struct forge_options *fo, const struct forge_cli *o, struct buf *out,
                       struct alula_error *e)
{
    struct forge_preview p;
    if (!forge_look_ahead(&p, fo, e)) return false;
    if (o->json) {
        forge_preview_json(&p, out);
        return true;
    }
    forge_preview_page(&p, fo, out);
    if (!o->no_verify) forge_measuring_line(p.body_bytes + p.head_bytes, p.source_bytes, out);
    return true;
}

static bool forge(struct forge_report *ret, const struct forge_options *fo, struct alula_error *e)
{
    struct verify_watch progress = {.unit = "B"};
    const struct watch watch = {verify_watch_tell, &progress};
    struct forge_options watched = *fo;
    watched.watch = &watch;
    bool ok = forge_run(&watched, ret, e);
    verify_watch_end(&progress);
    return ok;
}

/* Tells, measures, writes down, tells. Of JSON there is one object, at the end. */
static bool finish(const struct forge_report *r, const struct verify_options *vo, const struct forge_cli *o,
                   int *status, struct alula_error *e)
{
    struct verify v;
    struct buf out = {0};
    json_t *measured = NULL;
    if (!o->json) {
        forge_report_page(r, vo->dir, &out);
        if (o->no_verify)
            forge_unmeasured_lines(vo->dir, &out);
        else
            forge_measuring_line(r->body_bytes + r->head_bytes, r->source_bytes, &out);
        if (!term_write_buf(&out, e)) return false;
    }
    bool ok = o->no_verify || (measure_artifact(&v, vo, e) && verify_stamp(vo->dir, &v, e));
    if (!ok) return err_context(e, "%s was made, but not measured", vo->dir);
    ok = card_save(vo->dir, e);
    if (!o->no_verify) {
        *status = v.passed ? 0 : 1;
        if (o->json)
            measured = verify_json(&v);
        else
            verify_page(&v, vo->dir, &out);
        verify_free(&v);
    }
    if (o->json) forge_report_json(r, vo->dir, measured, &out);
    json_decref(measured);
    ok = ok && term_write_buf(&out, e);
    buf_free(&out);
    return ok;
}

static bool forge_command(const void *options, char **args, int n_args, int *status, struct alula_error *e)
{
    const struct forge_cli *o = options;
    struct recipe r;
    struct forge_report report;
    struct buf out = {0}, text = {0};
    (void)args, (void)n_args;
    bool ok = gather(&r, o, e);
    if (ok) {
        struct forge_options fo = {.trunk = r.trunk,
                                   .mtp = r.mtp,
                                   .out = r.out,
                                   .trunk_id = r.trunk_id,
                                   .mtp_id = r.mtp_id,
                                   .plan = r.plan,
                                   .n_threads = o->threads};
        struct verify_options vo = {.dir = r.out,
                                    .source_trunk = r.trunk,
                                    .source_mtp = r.mtp ? r.mtp : r.trunk,
                                    .n_threads = o->threads};
        ok = o->no_verify || !file_is_dir(r.trunk) ||
             (measure_open(&vo, &text, &o->measure, e) && verify_check_text(&vo, r.trunk, e));
        if (ok && o->dry_run)
            ok = look_ahead(&fo, o, &out, e) && term_write_buf(&out, e);
        else if (ok)
            ok = forge(&report, &fo, e) && finish(&report, &vo, o, status, e);
    }
    buf_free(&out);
    buf_free(&text);
    recipe_free(&r);
    return ok;
}

const struct cli_command cmd_forge = {
    .opt =
        {.name = "forge",
         .summary = "graft an MTP head onto a model and pack both",
         .text =
             "Takes a model (the trunk) and an MTP head, its own or another model's, checks that they fit, "
             "and writes a folder that alula, MTPLX and mlx-lm read: the body packed to --bits, the head "
             "beside it, tokenizer, template and licences of both carried along.\n\n"
             "The folder appears under its name when it is whole. A run that was interrupted leaves "
             "DIR.forging; the same command goes on from there.\n\n"
             "Then it is measured: how the head is fed, what packing cost, that drafts change no text. Exit "
             "status: 0 passed; 1 failed, with a sentence that says what is wrong. A folder that failed "
             "only when it was measured is there all the same, marked so.",
         .options = table,
         .examples = examples},
    .defaults = &defaults,
    .size = sizeof defaults,
    .run = forge_command,
};
