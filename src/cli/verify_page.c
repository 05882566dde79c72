/* verify_page.c - a verification as a page. Owns words and order; measures nothing. */
#include "cli/verify_page.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "forge/survey.h"

static double percent(int64_t part, int64_t whole)
{
    return whole ? 100.0 * (double)part / (double)whole : 0;
}

static void show_verdict(const struct verify *v, struct buf *out)
{
    page_line(out, "verified", v->passed ? TERM_GREEN : TERM_RED, "%s", v->passed ? "yes" : "no");
    if (!v->passed) page_line(out, "", TERM_RED, "%s", v->problem);
    if (v->adopted)
        page_line(out, "", TERM_PLAIN, "the contract was wrong and has been replaced by the calibrated one");
}

static void show_choice(const struct calibrate *c, enum calibrate_dimension d, struct buf *out)
{
    const struct calibrate_choice *ch = &c->choices[d];
    const char *name = calibrate_dimension_name(d), *label = d ? "" : "contract";
    if (ch->outcome == CALIBRATE_DECIDED)
        page_line(out, label, TERM_PLAIN, "%s %s: decided, alone right at %lld places, %s at %lld", name,
                  ch->chosen, (long long)ch->won, ch->rival, (long long)ch->lost);
    else if (ch->outcome == CALIBRATE_SAME_GUESSES)
        page_line(out, label, TERM_PLAIN, "%s %s: undecidable, %s gives the same guesses", name, ch->chosen,
                  ch->rival);
    else
        page_line(out, label, TERM_PLAIN,
                  "%s %s: undecidable, alone right at %lld places, %s at %lld; what the other might be worth "
                  "is at most %.1f %%",
                  name, ch->chosen, (long long)ch->won, ch->rival, (long long)ch->lost,
                  fmax(0, -100 * ch->lead.low));
}

static void show_calibration(const struct calibrate *c, struct buf *out)
{
    if (!c->usable && c->n_trials < CALIBRATE_TRIALS) return;
    for (int d = 0; d < CALIBRATE_DIMENSIONS; d++) show_choice(c, (enum calibrate_dimension)d, out);
    page_line(out, "", TERM_PLAIN, "position offset: undecidable, every one gives the same numbers");
}

static void show_head(const struct verify_head *h, const char *label, struct buf *out)
{
    char line[300];
    size_t len = 0;
    if (!h->measured) return;
    for (int d = 0; d < CHAIN_DEPTH_MAX; d++) {
        struct interval w = stats_wilson(h->hits[d], h->positions);
        len += (size_t)snprintf(line + len, sizeof line - len, "%s%.1f %% (%.1f-%.1f)", d ? ", " : "",
                                percent(h->hits[d], h->positions), 100 * w.low, 100 * w.high);
    }
    page_line(out, label, TERM_PLAIN,
              "%s: steps 1 to 3 right at %s of %lld places; a draft step takes %.3g ms", h->what, line,
              (long long)h->positions, h->draft_ms);
}

static void show_heads(const struct verify *v, struct buf *out)
{
    show_head(&v->packed, "head", out);
    show_head(&v->source, "its source", out);
    if (!v->source.measured || !v->packed.measured) return;
    struct interval lead = stats_lead(v->won[0], v->lost[0], v->packed.positions);
    page_line(
        out, "packing it", TERM_PLAIN,
        "changed the first step by %+.1f to %+.1f points (alone right: packed %lld, source %lld, p = %.2g)",
        100 * lead.low, 100 * lead.high, (long long)v->won[0], (long long)v->lost[0],
        stats_sign_p(v->won[0], v->lost[0]));
}

/* MTPLX's word for the verdict, in a sentence. */
static const char *speed_words(const struct verify *v, char out[64])
{
    if (v->best_depth)
        snprintf(out, 64, "drafting pays, depth %d most", v->best_depth);
    else
        snprintf(out, 64, "%s",
                 !strcmp(v->verdict, "no_mtp_depth_beat_ar")       ? "drafting does not pay here"
                 : !strcmp(v->verdict, "mtp_acceptance_collapsed") ? "drafts are hardly ever right"
                                                                   : "too close to call");
    return out;
}

static void show_texts(const struct verify *v, struct buf *out)
{
    const struct verify_texts *t = &v->texts;
    char words[64];
    if (!t->n_prompts) return;
    page_line(out, "texts", t->equal ? TERM_PLAIN : TERM_RED,
              "%d answers, %lld tokens, at depths 1 to 3 %s plain decoding", t->n_prompts,
              (long long)t->tokens, t->equal ? "equal to" : "DIFFERENT from");
    page_line(out, "speed", TERM_PLAIN,
              "plain %.4g tokens/s; depth 1 %.2f times, depth 2 %.2f, depth 3 %.2f: %s", t->tok_s[0],
              t->speedup[1], t->speedup[2], t->speedup[3], speed_words(v, words));
}

static void show_body(const struct verify *v, struct buf *out)
{
    const struct verify_body *b = &v->body;
    if (b->measured)
        page_line(out, "body", TERM_PLAIN,
                  "perplexity %.4g, its source's %.4g; KL %.4f +- %.4f nats a token; same best token at %.1f "
                  "%% of %lld",
                  exp(b->loss), exp(b->source_loss), b->kl, b->kl_error, 100 * b->top1_same,
                  (long long)b->tokens);
    else if (b->why_not[0])
        page_line(out, "body", TERM_PLAIN, "not compared: %s", b->why_not);
}

static void show_drift(const struct verify *v, struct buf *out)
{
    const struct drift *d = &v->drift;
    if (!d->n) {
        if (v->no_drift[0]) page_line(out, "drift", TERM_PLAIN, "not measured: %s", v->no_drift);
        return;
    }
    const struct drift_entry *worst = &d->entries[d->worst];
    char layer[32] = "";
    if (worst->layer >= 0) snprintf(layer, sizeof layer, " of layer %d", worst->layer);
    page_line(out, "drift", TERM_PLAIN,
              "the trunk lies %.2f %% from the donor's (median of classes), at most %.2f %% (%s%s); smallest "
              "cosine %.4f; %lld of %lld rows of the embedding moved",
              100 * d->median_change, 100 * d->max_change, drift_class_name(worst->class), layer,
              d->min_cosine, (long long)d->rows_moved, (long long)d->rows_total);
}

static void show_next(const struct verify *v, const char *dir, struct buf *out)
{
    const struct calibrate *c = &v->calibration;
    struct buf command = {0};
    bool wrong_contract = !v->passed && c->status == CALIBRATE_SWITCHED && !c->problem[0];
    if (!v->passed && !wrong_contract) return;
    buf_str(&command, v->passed ? "alula tune " : "alula forge verify ");
    survey_quote(&command, dir);
    if (wrong_contract) buf_str(&command, " --adopt");
    page_line(out, "next", TERM_PLAIN, "%s",
              v->passed ? "find the depth that is fastest on this machine:"
                        : "write the right contract into the folder:");
    if (command.data) page_command(out, command.data);
    buf_free(&command);
}

void verify_page(const struct verify *v, const char *dir, struct buf *out)
{
    page_title(out, dir);
    show_verdict(v, out);
    show_calibration(&v->calibration, out);
    show_heads(v, out);
    show_texts(v, out);
    show_body(v, out);
    show_drift(v, out);
    page_line(out, "measured", TERM_PLAIN, "%s, %d thread%s, %.0f s", v->hardware, v->n_threads,
              v->n_threads == 1 ? "" : "s", v->seconds);
    show_next(v, dir, out);
}

bool verify_watch_tell(void *arg, const char *what, uint64_t done, uint64_t total)
{
    struct verify_watch *w = arg;
    if (!w->what || strcmp(w->held, what)) {
        if (w->what) progress_end(&w->line);
        snprintf(w->held, sizeof w->held, "%s", what);
        w->what = w->held;
        progress_start(&w->line, w->held, w->unit, total);
    }
    progress_show(&w->line, done);
    return !term_stopped();
}

void verify_watch_end(struct verify_watch *w)
{
    if (w->what) progress_end(&w->line);
}
