/* card.c - the model card of an artifact (see card.h): front matter, what was measured, provenance, how to
 * make it again.
 *
 * Reads JSON alone and never the weights. Every figure of the card stands in mtplx_runtime.json; where one is
 * missing the card says that it was not measured. */
#include "forge/card.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "forge/chains.h"

#define JSON_MAX  (64u << 20)
#define CARD_NAME "README.md"
#define CARD_MARK                                                                                            \
    "<!-- written by alula forge card; edit freely, but remove this line, or it is written again -->"
#define PROVENANCE "alula_provenance.json"

struct card {
    const char *dir;
    struct buf *out;
    json_t *config, *runtime, *files; /* runtime, files: NULL if absent */
    json_t *measured;                 /* borrowed: runtime's "verification", or NULL */
    char name[256];
};

/* ---- values -------------------------------------------------------------------------------------------- */

/* Members of members, "calibration.status"; NULL if any is missing. */
static json_t *at(const json_t *o, const char *path)
{
    char key[64];
    while (o && *path) {
        size_t n = strcspn(path, ".");
        snprintf(key, sizeof key, "%.*s", (int)n, path);
        o = json_object_get(o, key);
        path += n + (path[n] == '.');
    }
    return (json_t *)o;
}

static double number(const json_t *o, const char *path) { return json_number_value(at(o, path)); }

static const char *text(const json_t *o, const char *path)
{
    const char *s = json_string_value(at(o, path));
    return s ? s : "";
}

/* In a table's cell or a sentence: nothing that Markdown would take for itself. */
static void put_plain(struct buf *out, const char *s)
{
    for (; *s; s++) {
        if ((unsigned char)*s < 0x20)
            buf_byte(out, ' ');
        else {
            if (strchr("\\`*_{}[]<>#|", *s)) buf_byte(out, '\\');
            buf_byte(out, (unsigned char)*s);
        }
    }
}

/* As JSON writes it, which is also YAML. */
static void put_quoted(struct buf *out, const char *s) { json_write_str(out, s, strlen(s)); }

/* ---- front matter -------------------------------------------------------------------------------------- */

static bool has_file(const struct card *c, const char *name)
{
    char path[4096];
    struct alula_error ignored;
    return path_join(path, sizeof path, c->dir, name, &ignored) && file_exists(path);
}

static const char *trunk_name(const struct card *c)
{
    return text(c->runtime, "forge_provenance.forge_inputs.trunk_path");
}

static const char *head_name(const struct card *c)
{
    return text(c->runtime, "forge_provenance.forge_inputs.mtp_source_path");
}

/* One licence if body and head are under the same; else the hub wants "other" and a name. Nothing if nothing is known. */
static void put_licence(struct card *c)
{
    const char *body = text(c->files, "trunk_licence"), *head = text(c->files, "mtp_licence");
    bool named = *body && *head && strcmp(body, "other") && strcmp(head, "other"),
         file = has_file(c, "LICENSE");
    if (named && !strcmp(body, head)) {
        buf_fmt(c->out, "license: %s\n", body);
        return;
    }
    if (!*body && !*head && !file) return;
    buf_str(c->out, "license: other\n");
    if (*body || *head)
        buf_fmt(c->out, "license_name: \"%s (body), %s (MTP head)\"\n", *body ? body : "unknown",
                *head ? head : "unknown");
    buf_fmt(c->out, "license_link: %s\n", file ? "LICENSE" : "NOTICE");
}

static void put_front_matter(struct card *c)
{
    struct buf *out = c->out;
    const char *trunk = trunk_name(c), *head = head_name(c);
    buf_str(out, "---\n");
    if (*trunk) {
        buf_str(out, "base_model:\n  - ");
        put_quoted(out, trunk);
        buf_byte(out, '\n');
        if (*head && strcmp(head, trunk)) {
            buf_str(out, "  - ");
            put_quoted(out, head);
            buf_byte(out, '\n');
        }
    }
    put_licence(c);
    buf_str(out, "pipeline_tag: text-generation\ntags:\n  - mtp\n  - speculative-decoding\n  - alula\n  - "
                 "mtplx\n  - mlx\n");
    buf_fmt(out, "---\n\n%s\n\n", CARD_MARK);
}

/* ---- what it is ---------------------------------------------------------------------------------------- */

static void put_what(struct card *c)
{
    struct buf *out = c->out;
    int bits = (int)number(c->config, "quantization.bits"),
        group = (int)number(c->config, "quantization.group_size");
    const char *trunk = trunk_name(c), *head = head_name(c), *sidecar = text(c->runtime, "mtp_sidecar");
    buf_str(out, "# ");
    put_plain(out, c->name);
    buf_str(out, "\n\n");
    if (*trunk) {
        buf_str(out, "The body of **");
        put_plain(out, trunk);
        buf_str(out, "**");
    } else {
        buf_str(out, "A language model");
    }
    if (bits) buf_fmt(out, ", packed to %d bits in groups of %d", bits, group);
    if (*head && strcmp(head, trunk)) {
        buf_str(out, ", with the multi-token-prediction head of **");
        put_plain(out, head);
        buf_str(out, "** grafted onto it");
    } else {
        buf_str(out, ", with its multi-token-prediction head");
    }
    if (*sidecar) buf_fmt(out, " (`%s`)", sidecar);
    buf_str(out, ". The head drafts, the body verifies every draft: the text is that of the body alone.\n\n"
                 "The folder is read by alula, MTPLX and mlx-lm (which leaves the head aside).\n\n");
}

/* ---- what was measured --------------------------------------------------------------------------------- */

static void put_rate(struct buf *out, const json_t *rate)
{
    const json_t *interval = at(rate, "interval_95");
    if (!rate)
        buf_str(out, " not measured |");
    else
        buf_fmt(out, " %.1f %% (%.1f-%.1f) |", 100 * number(rate, "rate"),
                100 * json_number_value(json_array_get(interval, 0)),
                100 * json_number_value(json_array_get(interval, 1)));
}

/* Behind a comparison that the last verification took over from an earlier one. */
static void put_age(struct card *c, const json_t *part)
{
    if (*text(part, "measured_on"))
        buf_fmt(c->out, " Measured on %.10s and not again since.", text(part, "measured_on"));
}

static void put_head_row(struct card *c, const char *label, const char *which, const char *set, bool timed)
{
    const json_t *head = at(at(c->measured, "heads"), which);
    if (!json_is_object(head)) return;
    buf_fmt(c->out, "| %s (%s) |", label, text(head, "stored"));
    for (size_t d = 0; d < CHAIN_DEPTH_MAX; d++) put_rate(c->out, json_array_get(at(head, set), d));
    if (timed) buf_fmt(c->out, " %.3g ms |", number(head, "draft_step_ms"));
    buf_byte(c->out, '\n');
}

static void put_paired(struct card *c)
{
    size_t i;
    json_t *row;
    json_array_foreach(at(c->measured, "heads.paired"), i, row)
    {
        const json_t *lead = at(row, "packed_lead_95");
        buf_fmt(c->out,
                "%s step %d: right with the packed head alone at %d places, with the source's alone at %d (p "
                "= %.2g), a difference of %+.1f to %+.1f points",
                i ? ";" : "At equal places,", (int)number(row, "step"),
                (int)number(row, "packed_alone_right"), (int)number(row, "source_alone_right"),
                number(row, "p"), 100 * json_number_value(json_array_get(lead, 0)),
                100 * json_number_value(json_array_get(lead, 1)));
    }
    if (!i) return;
    buf_byte(c->out, '.');
    put_age(c, at(c->measured, "heads.source"));
    buf_str(c->out, "\n\n");
}

static void put_acceptance(struct card *c)
{
    const json_t *packed = at(c->measured, "heads.packed");
    if (!json_is_object(packed)) return;
    buf_fmt(c->out,
            "### Acceptance\n\nOn %d places of the calibration text, teacher-forced, greedy, with 95 %% "
            "intervals. A draft is right if it is what the body itself holds best there.\n\n"
            "| head | step 1 right | step 2 right, given the text before it | step 3 | one draft step "
            "|\n|---|---|---|---|---|\n",
            (int)number(packed, "positions"));
    put_head_row(c, "in this folder", "packed", "agreement", true);
    put_head_row(c, "as it came", "source", "agreement", true);
    buf_str(c->out, "\n| head | first right | first two | first three |\n|---|---|---|---|\n");
    put_head_row(c, "in this folder", "packed", "prefix", false);
    put_head_row(c, "as it came", "source", "prefix", false);
    buf_byte(c->out, '\n');
    put_paired(c);
}

static void put_texts(struct card *c)
{
    size_t depth;
    json_t *row;
    if (number(c->measured, "texts.prompts") <= 0) return;
    buf_fmt(
        c->out,
        "### Text and speed\n\n%d prompts, %d tokens, greedy: the text at depths 1 to 3 %s plain decoding. "
        "Rates are medians over prompts, each depth compared with plain decoding of the same prompt.\n\n"
        "| depth | tokens/s | times plain | drafts kept, by place |\n|---|---|---|---|\n",
        (int)number(c->measured, "texts.prompts"), (int)number(c->measured, "texts.tokens"),
        json_is_true(at(c->measured, "texts.equal")) ? "equals that of" : "DIFFERS from that of");
    json_array_foreach(at(c->measured, "texts.rows"), depth, row)
    {
        size_t k;
        json_t *rate;
        buf_fmt(c->out, "| %d | %.4g | %.2f |", (int)number(row, "depth"), number(row, "tok_s"),
                number(row, "multiplier_vs_ar"));
        json_array_foreach(at(row, "acceptance_by_depth"), k, rate)
        {
            buf_fmt(c->out, "%s %.1f %%", k ? "," : "", 100 * json_number_value(rate));
        }
        buf_str(c->out, " |\n");
    }
    buf_byte(c->out, '\n');
}

static void put_calibration(struct card *c)
{
    const json_t *cal = at(c->measured, "calibration");
    const char *name;
    json_t *choice;
    buf_str(c->out, "### How the head is fed\n\n");
    buf_fmt(c->out,
            "Every way was tried on the same %d places (calibration: %s%s%s). Two ways are compared where "
            "just one of them is right.\n\n"
            "| | chosen | next best | right alone: chosen / next best | |\n|---|---|---|---|---|\n",
            (int)number(cal, "positions"), text(cal, "status"), *text(cal, "reason") ? ", " : "",
            text(cal, "reason"));
    json_object_foreach(at(cal, "choices"), name, choice)
    {
        const char *outcome = text(choice, "outcome");
        if (!strcmp(outcome, "not_tried"))
            buf_fmt(c->out, "| %s | - | - | - | undecidable: %s |\n", name, text(choice, "why"));
        else
            buf_fmt(c->out, "| %s | %s | %s | %d / %d | %s |\n", name, text(choice, "chosen"),
                    text(choice, "rival"), (int)number(choice, "won"), (int)number(choice, "lost"),
                    !strcmp(outcome, "decided")        ? "decided"
                    : !strcmp(outcome, "same_guesses") ? "undecidable: the same guesses"
                    : !strcmp(outcome, "tie")          ? "undecidable: neither is clearly better"
                                                       : "undecided");
    }
    buf_byte(c->out, '\n');
}

static void put_body(struct card *c)
{
    const json_t *b = at(c->measured, "body");
    buf_str(c->out, "### The packed body\n\n");
    if (!json_is_true(at(b, "measured"))) {
        buf_str(c->out, "Not compared with its source: ");
        put_plain(c->out, text(b, "why"));
        buf_str(c->out, ".\n\n");
        return;
    }
    buf_fmt(c->out,
            "On %d tokens of the calibration text: loss %.4f nats a token, its source %.4f; KL divergence "
            "from the source %.4f +- %.4f nats a token; the same best token at %.1f %% of places.",
            (int)number(b, "tokens"), number(b, "loss"), number(b, "source_loss"),
            number(b, "kl_from_source"), number(b, "kl_standard_error"), 100 * number(b, "same_top_token"));
    put_age(c, b);
    buf_str(c->out, "\n\n");
}

/* The three layers' worth of a class would be a page; a class gets its largest figure. */
static void put_drift_classes(struct card *c, const json_t *entries)
{
    static const char *const classes[] = {"embedding", "norms",         "attention",  "delta_net", "router",
                                          "experts",   "shared_expert", "final_norm", "lm_head"};
    buf_str(c->out, "| | largest relative change | at layer | smallest cosine |\n|---|---|---|---|\n");
    for (size_t k = 0; k < sizeof classes / sizeof *classes; k++) {
        const json_t *worst = NULL;
        double cosine = 1;
        size_t i;
        json_t *entry;
        json_array_foreach(entries, i, entry)
        {
            if (strcmp(text(entry, "class"), classes[k])) continue;
            if (!worst || number(entry, "relative_change") > number(worst, "relative_change")) worst = entry;
            if (number(entry, "cosine") < cosine) cosine = number(entry, "cosine");
        }
        if (!worst) continue;
        buf_fmt(c->out, "| %s | %.2f %% |", classes[k], 100 * number(worst, "relative_change"));
        if (at(worst, "layer"))
            buf_fmt(c->out, " %d |", (int)number(worst, "layer"));
        else
            buf_str(c->out, " - |");
        buf_fmt(c->out, " %.5f |\n", cosine);
    }
}

static void put_drift(struct card *c)
{
    const json_t *d = at(c->measured, "drift"), *rows = at(d, "embedding_rows");
    size_t i;
    json_t *row;
    buf_str(c->out, "### How far the body lies from the one that the head was trained with\n\n");
    if (!at(d, "entries")) {
        buf_str(c->out, "Not measured: ");
        put_plain(c->out, text(d, "why"));
        buf_str(c->out, ".\n\n");
        return;
    }
    buf_fmt(c->out,
            "Median relative change %.2f %%, smallest cosine %.5f. This describes weights; what it does to "
            "acceptance is measured above.",
            100 * number(d, "median_relative_change"), number(d, "min_cosine"));
    put_age(c, d);
    buf_str(c->out, "\n\n");
    put_drift_classes(c, at(d, "entries"));
    buf_fmt(c->out,
            "\nOf %d rows of the embedding %d changed, %d of them ten times as much as the median of those.",
            (int)number(rows, "total"), (int)number(rows, "moved"),
            (int)number(rows, "moved_over_ten_medians"));
    json_array_foreach(at(rows, "most"), i, row)
    {
        buf_str(c->out, i ? ", " : " Most: ");
        struct buf quoted = {0};
        put_quoted(&quoted, text(row, "token"));
        put_plain(c->out, quoted.data ? quoted.data : "");
        buf_free(&quoted);
    }
    buf_str(c->out, i ? ".\n\n" : "\n\n");
}

static void put_measured(struct card *c)
{
    struct buf *out = c->out;
    buf_str(out, "## What was measured\n\n");
    if (!c->measured) {
        buf_str(out,
                "Nothing yet. `alula forge verify DIR` measures, `alula forge card DIR` writes it here.\n\n");
        return;
    }
    buf_fmt(out, "By alula %s on %.10s, %s, %d threads, %s; artifact `%s`.\n\n",
            text(c->measured, "alula_version"), text(c->measured, "timestamp"), text(c->measured, "hardware"),
            (int)number(c->measured, "threads"), text(c->measured, "os"),
            text(c->measured, "artifact_fingerprint"));
    if (!json_is_true(at(c->measured, "passed"))) {
        buf_str(out, "**Verification failed:** ");
        put_plain(out, text(c->measured, "problem"));
        buf_str(out, ".\n\n");
    }
    put_acceptance(c);
    put_texts(c);
    put_calibration(c);
    put_body(c);
    put_drift(c);
}

/* ---- how it was made ----------------------------------------------------------------------------------- */

static void put_command(struct card *c)
{
    const char *trunk = trunk_name(c), *head = head_name(c);
    if (!*trunk) return;
    buf_str(c->out, "## Making it again\n\n    alula forge --recipe alula_recipe.json --trunk ");
    buf_str(c->out, strrchr(trunk, '/') ? strrchr(trunk, '/') + 1 : trunk);
    if (*head && strcmp(head, trunk)) {
        buf_str(c->out, " --mtp ");
        buf_str(c->out, strrchr(head, '/') ? strrchr(head, '/') + 1 : head);
    }
    buf_fmt(c->out, " --out %s\n\n", c->name);
    if (*text(c->runtime, "forge_provenance.source_sha"))
        buf_fmt(c->out, "Revision of the trunk: `%s`.\n\n", text(c->runtime, "forge_provenance.source_sha"));
}

static void put_files(struct card *c)
{
    const char *name;
    json_t *file;
    const json_t *files = at(c->files, "files");
    if (!files) return;
    buf_str(c->out, "## Files\n\n| file | from | SHA-256 |\n|---|---|---|\n");
    json_object_foreach((json_t *)files, name, file)
    {
        buf_str(c->out, "| ");
        put_plain(c->out, name);
        buf_fmt(c->out, " | %s | `%s` |\n", text(file, "origin"), text(file, "sha256"));
    }
    buf_byte(c->out, '\n');
}

/* ---- the whole ----------------------------------------------------------------------------------------- */

/* *ret stays NULL if there is no such file. */
static bool load(json_t **ret, const char *dir, const char *name, struct alula_error *e)
{
    char path[4096];
    if (!path_join(path, sizeof path, dir, name, e)) return false;
    if (!file_exists(path)) return true;
    *ret = json_parse_file(path, JSON_MAX, 64, e);
    return *ret != NULL;
}

static void take_name(struct card *c)
{
    size_t n = strlen(c->dir);
    while (n > 1 && c->dir[n - 1] == '/') n--;
    size_t begin = n;
    while (begin > 0 && c->dir[begin - 1] != '/') begin--;
    snprintf(c->name, sizeof c->name, "%.*s", (int)(n - begin), c->dir + begin);
    const char *model = text(c->runtime, "verified_on.model");
    if (*model && (!strcmp(c->name, ".") || !*c->name)) snprintf(c->name, sizeof c->name, "%s", model);
}

bool card_write(struct buf *out, const char *dir, struct alula_error *e)
{
    struct card c = {.dir = dir, .out = out};
    mem_setup();
    bool ok = load(&c.config, dir, "config.json", e) && load(&c.runtime, dir, "mtplx_runtime.json", e) &&
              load(&c.files, dir, PROVENANCE, e);
    if (ok && !c.config)
        ok = err_set(e, ALULA_NOT_FOUND, "%s holds no config.json; it is no model folder", dir);
    if (ok) {
        c.measured = at(c.runtime, "verification");
        take_name(&c);
        put_front_matter(&c);
        put_what(&c);
        put_measured(&c);
        put_command(&c);
        put_files(&c);
        ok = buf_check(out, "the model card", e);
    }
    json_decref(c.files);
    json_decref(c.runtime);
    json_decref(c.config);
    return ok;
}

/* Somebody's own README stays. */
static bool may_replace(const char *path, struct alula_error *e)
{
    struct buf old;
    if (!file_exists(path)) return true;
    buf_init(&old, 16u << 20);
    bool ok = file_read(path, 0, &old, e);
    if (ok && old.len && !strstr(old.data, CARD_MARK))
        ok = err_set(e, ALULA_USAGE,
                     "%s was not written by alula; it stays as it is (--print shows the card)", path);
    buf_free(&old);
    return ok;
}

bool card_save(const char *dir, struct alula_error *e)
{
    char path[4096];
    struct buf b;
    buf_init(&b, JSON_MAX);
    bool ok = path_join(path, sizeof path, dir, CARD_NAME, e) && may_replace(path, e) &&
              card_write(&b, dir, e) && file_write(path, b.data, b.len, e);
    buf_free(&b);
    return ok;
}
