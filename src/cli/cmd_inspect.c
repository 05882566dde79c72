/* cmd_inspect.c - alula inspect: the verdict on an artifact, for people or as MTPLX's JSON. */
#include "artifact/contract.h"
#include "cli/cli.h"
#include "cli/userstate.h"
#include "cli/survey_page.h"
#include "forge/inspect.h"

struct inspect_cli {
    struct opt_shared shared;
    bool json;
};

static const struct inspect_cli defaults = {.shared = CLI_SHARED};

static const struct opt table[] = {
    CLI_JSON(offsetof(struct inspect_cli, json), "Print one JSON object with the keys of mtplx inspect."),
    {.name = NULL},
};

static const struct opt_example examples[] = {
    {"alula inspect ornith-mtp-4bit", "Says whether its head is complete, fits and was verified."},
    {NULL, NULL},
};

static void show_verdict(const struct inspection *i, struct buf *out)
{
    static const enum term_style styles[] = {TERM_GREEN, TERM_GREEN, TERM_PLAIN,
                                             TERM_RED,   TERM_RED,   TERM_RED};
    page_line(out, "verdict", styles[i->tier], "%s", tier_name(i->tier));
    page_line(out, "", TERM_PLAIN, "%s", i->message);
    page_line(out, "runs", TERM_PLAIN, "%s",
              !i->can_run ? (i->survey.weights ? "here, but neither in MTPLX nor in mlx-lm" : "no")
              : i->tier == TIER_VERIFIED || i->tier == TIER_FAMILY ? "yes, and drafts with its head"
              : i->gate && i->recognized ? "yes, and drafts with its head, unverified"
                                         : "yes, without a head");
}

static void show_missing(const struct head_set *h, struct buf *out)
{
    const size_t most = 6;
    for (size_t k = 0; k < h->n_missing && k < most; k++)
        page_line(out, k ? "" : "missing", TERM_RED, "%s", h->missing[k]);
    if (h->n_missing > most) page_line(out, "", TERM_RED, "and %zu more", h->n_missing - most);
    for (size_t k = 0; k < h->n_extra && k < most; k++)
        page_line(out, k ? "" : "left over", TERM_RED, "%s", h->extra[k]);
    if (h->n_extra > most) page_line(out, "", TERM_RED, "and %zu more", h->n_extra - most);
}

static void show_contract(const struct inspection *i, struct buf *out)
{
    const struct runtime_contract *c = &i->contract;
    char hidden[64];
    if (!c->present) {
        page_line(out, "contract", TERM_PLAIN, "none (mtplx_runtime.json)");
    } else if (c->problem[0] || i->contract_problem.code) {
        page_line(out, "contract", TERM_RED, "%s", c->problem[0] ? c->problem : i->contract_problem.message);
    } else {
        page_line(out, "contract", TERM_PLAIN, "MTPLX %s, %s, depth up to %d, profile %s", c->mtplx_version,
                  c->arch_id, c->depth_max, c->recommended_profile);
    }
    if (c->has_mtp_contract)
        page_line(out, "", TERM_PLAIN,
                  "the head takes the %s first, the body's hidden state %s, and from itself %s",
                  c->mtp.hidden_first ? "hidden state" : "embedding",
                  c->mtp.base == HIDDEN_POST_NORM ? "after the final norm" : "before the final norm",
                  contract_hidden_str(&c->mtp, hidden, sizeof hidden));
}

/* Says nothing if nothing is remembered. */
static void show_tuned(const struct inspection *i, struct buf *out)
{
    struct tune_record t;
    struct alula_error e;
    if (!userstate_tuned(&t, NULL, i->path, 0, &e)) {
        if (e.code) page_line(out, "tuned", TERM_RED, "%s", e.message);
    } else if (t.depth) {
        page_line(out, "tuned", TERM_PLAIN, "depth %d, %.2f times plain decoding here (%s)", t.depth,
                  t.multiplier, t.saved_at);
        char bits[32] = "";
        if (t.draft_bits) snprintf(bits, sizeof bits, ", packed with %d bits", t.draft_bits);
        if (t.draft_vocab)
            page_line(out, "", TERM_PLAIN,
                      "drafts come from %d ids%s%s: %.1f %% of tokens; %.0f %% of first drafts kept, %.0f %% "
                      "with all",
                      t.draft_vocab, t.draft_ids ? " of a text" : "", bits, 100 * t.coverage,
                      100 * t.acceptance, 100 * t.acceptance_whole);
        tune_record_free(&t);
    } else {
        page_line(out, "tuned", TERM_PLAIN, "plain decoding is the fastest here: %s (%s)",
                  tune_verdict_name(t.verdict), t.saved_at);
    }
}

static void show(const struct inspection *i, struct buf *out)
{
    page_title(out, i->path);
    show_verdict(i, out);
    survey_page(&i->survey, out);
    show_missing(&i->survey.head_set, out);
    show_contract(i, out);
    show_tuned(i, out);
    advice_page(i->next, i->n_next, out);
}

static bool inspect_run(const void *options, char **args, int n_args, int *status, struct alula_error *e)
{
    const struct inspect_cli *o = options;
    struct inspection i;
    struct buf out = {0};
    bool ok = true;
    (void)n_args;
    if (!inspect_open(&i, args[0], e)) return false;
    if (o->json)
        ok = inspect_write_json(&out, &i, e);
    else
        show(&i, &out);
    ok = ok && term_write_buf(&out, e);
    *status = tier_exit_code(i.tier);
    inspect_close(&i);
    buf_free(&out);
    return ok;
}

const struct cli_command cmd_inspect = {
    .opt =
        {.name = "inspect",
         .summary = "judge an artifact: its head, its fit, its contract",
         .text =
             "Checks names, shapes and norms of body and head and reads the contract of mtplx_runtime.json. "
             "What was measured is believed, not measured again: that is alula forge verify.\n\n"
             "Exit status: 0 verified, family-compatible-unverified or AR-only; 2 no-MTP; 3 "
             "architecture-compatible-but-unverified; 4 incompatible-architecture; 1 the folder could not be "
             "read.",
         .args = "DIR",
         .args_min = 1,
         .args_max = 1,
         .options = table,
         .examples = examples},
    .defaults = &defaults,
    .size = sizeof defaults,
    .run = inspect_run,
};
