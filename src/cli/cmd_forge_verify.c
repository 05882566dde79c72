/* cmd_forge_verify.c - alula forge verify: measures an artifact, says what came out, writes it down. */
#include <unistd.h>

#include "base/err.h"
#include "base/file.h"
#include "base/json.h"
#include "cli/cli.h"
#include "cli/measure.h"
#include "cli/verify_page.h"
#include "forge/verify.h"

struct verify_cli {
    struct opt_shared shared;
    const char *trunk, *mtp;
    struct measure_options measure;
    int threads;
    bool adopt, dry_run, json;
};

static const struct verify_cli defaults = {.shared = CLI_SHARED};

#define AT(member) offsetof(struct verify_cli, member)
static const struct opt table[] = {
    {.name = "trunk",
     .arg = "DIR",
     .type = OPT_STR,
     .offset = AT(trunk),
     .help = "Compare the packed body with this one, from which it was made."},
    {.name = "mtp",
     .arg = "DIR",
     .type = OPT_STR,
     .offset = AT(mtp),
     .help = "Compare the head with this one, from which it was made, on the same places."},
    MEASURE_OPTIONS(AT(measure)),
    {.name = "adopt",
     .type = OPT_FLAG,
     .offset = AT(adopt),
     .help = "If the head is clearly fed the wrong way, write the right one into the contract."},
    {.name = "dry-run", .type = OPT_FLAG, .offset = AT(dry_run), .help = "Measure, but write nothing."},
    CLI_THREADS(AT(threads), "Threads that compute. Counts are the same for any number."),
    CLI_JSON(AT(json), "Print one JSON object."),
    {.name = NULL},
};
#undef AT

static const struct opt_example examples[] = {
    {"alula forge verify ornith-mtp-4bit", "Tries the head, compares texts, writes mtplx_runtime.json."},
    {"alula forge verify ornith-mtp-4bit --trunk Ornith-1.0-35B --mtp Qwen3.5-35B-A3B",
     "Also says what packing cost and how far the trunk has moved."},
    {NULL, NULL},
};

static bool report(const struct verify_cli *o, const char *dir, const struct verify *v, struct alula_error *e)
{
    struct buf out = {0};
    bool ok = true;
    if (o->json)
        ok = json_write_report(&out, verify_json(v), e);
    else
        verify_page(v, dir, &out);
    ok = ok && term_write_buf(&out, e);
    buf_free(&out);
    return ok;
}

static bool verify_command(const void *options, char **args, int n_args, int *status, struct alula_error *e)
{
    const struct verify_cli *o = options;
    struct verify v;
    struct verify_options vo = {.dir = args[0],
                                .source_trunk = o->trunk,
                                .source_mtp = o->mtp,
                                .n_threads = o->threads,
                                .adopt = o->adopt};
    struct buf text;
    (void)n_args;
    if (o->adopt && o->dry_run) return err_set(e, ALULA_USAGE, "--adopt writes, --dry-run forbids it");
    /* measuring may take an hour, which is lost if what came out cannot be written down */
    if (!o->dry_run && file_is_dir(args[0]) && access(args[0], W_OK))
        return err_errno(e, ALULA_IO, "cannot write into %s (--dry-run only measures)", args[0]);
    bool ok = measure_open(&vo, &text, &o->measure, e) && measure_artifact(&v, &vo, e);
    buf_free(&text);
    if (!ok) return false;
    ok = (o->dry_run || verify_stamp(args[0], &v, e)) && report(o, args[0], &v, e);
    *status = v.passed ? 0 : 1;
    verify_free(&v);
    return ok;
}

const struct cli_command cmd_forge_verify = {
    .opt = {.name = "forge verify",
            .summary = "measure an artifact and write down what came out",
            .text = "Tries every way to feed the head on the same places of a text and says which fits and "
                    "what cannot be told apart; compares the text of decoding with drafts with that of plain "
                    "decoding; times both. With --trunk and --mtp it says what packing cost.\n\n"
                    "What was measured goes into DIR/mtplx_runtime.json, from where alula inspect and alula "
                    "forge card read it. An artifact that fails is marked as failed. Without --trunk and "
                    "--mtp what was compared with them before is kept, with its date.\n\n"
                    "Exit status: 0 passed, 1 failed, with a sentence that says what is wrong.",
            .args = "DIR",
            .args_min = 1,
            .args_max = 1,
            .options = table,
            .examples = examples},
    .defaults = &defaults,
    .size = sizeof defaults,
    .run = verify_command,
};
