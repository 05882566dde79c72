/* answer.c - one answer of a model: the token loop of the command line, and its report.
 *
 * Knows the public interface and the terminal. Does not know where a prompt comes from. */
#include "cli/answer.h"

#include "base/json.h"
#include "base/mem.h"
#include "cli/term.h"

static bool keep_tokens(struct answer *a, const int32_t *tokens, size_t n, struct alula_error *e)
{
    if (a->n_tokens + n > a->room) {
        size_t room = 2 * (a->n_tokens + n) + 256;
        int32_t *grown = mem_realloc(a->tokens, room * sizeof *grown);
        if (!grown) return err_set(e, ALULA_NOMEM, "not enough memory for an answer of %zu tokens", room);
        a->tokens = grown;
        a->room = room;
    }
    for (size_t i = 0; i < n; i++) a->tokens[a->n_tokens++] = tokens[i];
    return true;
}

static bool show_progress(void *arg, size_t done, size_t total)
{
    (void)total;
    progress_show(arg, done);
    return !term_stopped();
}

static bool read_prompt(struct alula_session *session, const int32_t *ids, size_t n, struct alula_error *e)
{
    struct progress p;
    progress_start(&p, "reading the prompt", "tokens", n);
    bool ok = alula_session_prompt(session, ids, n, show_progress, &p, e);
    progress_end(&p);
    return ok;
}

static bool take_steps(struct answer *a, struct alula_session *session, bool stream, struct alula_error *e)
{
    while (a->finish == ALULA_RUNNING) {
        if (term_stopped()) return err_set(e, ALULA_CANCELLED, "stopped");
        struct alula_step step;
        if (!alula_session_step(session, &step, e)) return false;
        buf_add(&a->text, step.text, step.text_len);
        if (!keep_tokens(a, step.tokens, (size_t)step.n_tokens, e)) return false;
        if (stream && !term_write(step.text, step.text_len, e)) return false;
        a->finish = step.finish;
    }
    return buf_check(&a->text, "the answer", e);
}

bool answer_make(struct answer *a, struct alula_session *session, const int32_t *ids, size_t n_ids,
                 bool stream, struct alula_error *e)
{
    a->finish = ALULA_RUNNING;
    bool ok = read_prompt(session, ids, n_ids, e) && take_steps(a, session, stream, e);
    alula_session_stats(session, &a->stats);
    return ok;
}

void answer_free(struct answer *a)
{
    buf_free(&a->text);
    mem_free(a->tokens);
    *a = (struct answer){0};
}

static double per_second(int64_t n, double s) { return s > 0 ? (double)n / s : 0; }

/* Depths to report: those that were asked for, or tried. */
static int depths(const struct answer *a)
{
    int n = ALULA_DEPTH_MAX;
    if (a->depth != ALULA_DEPTH_AUTO) return a->depth;
    while (n && !a->stats.drafted[n - 1]) n--;
    return n;
}

static void write_counts(struct buf *out, const char *key, const int64_t *counts, int n)
{
    buf_fmt(out, "\"%s\": [", key);
    for (int i = 0; i < n; i++) buf_fmt(out, "%s%lld", i ? ", " : "", (long long)counts[i]);
    buf_str(out, "], ");
}

static void write_real(struct buf *out, const char *key, double v, const char *after)
{
    buf_fmt(out, "\"%s\": ", key);
    json_write_real(out, v);
    buf_str(out, after);
}

void answer_write_json(const struct answer *a, struct buf *out)
{
    static const char *const finishes[] = {"cancelled", "stop", "length"};
    const struct alula_stats *s = &a->stats;
    buf_str(out, "{\"text\": ");
    json_write_str(out, a->text.len ? a->text.data : "", a->text.len);
    buf_str(out, ", \"tokens\": [");
    for (size_t i = 0; i < a->n_tokens; i++) buf_fmt(out, "%s%d", i ? ", " : "", a->tokens[i]);
    buf_fmt(out, "], \"prompt_tokens\": %lld, \"finish\": \"%s\", \"stats\": {", (long long)s->prompt_tokens,
            finishes[a->finish]);
    write_real(out, "decode_tok_s", per_second(s->tokens, s->decode_s), ", ");
    write_real(out, "prefill_tok_s", per_second(s->prompt_tokens, s->prefill_s), ", ");
    if (a->depth == ALULA_DEPTH_AUTO)
        buf_str(out, "\"depth\": \"auto\", ");
    else
        buf_fmt(out, "\"depth\": %d, ", a->depth);
    buf_fmt(out, "\"cycles\": %lld, \"free\": %lld, ", (long long)s->cycles, (long long)s->free);
    write_counts(out, "drafted_by_depth", s->drafted, depths(a));
    write_counts(out, "tested_by_depth", s->tested, depths(a));
    write_counts(out, "accepted_by_depth", s->accepted, depths(a));
    write_real(out, "prefill_s", s->prefill_s, ", ");
    write_real(out, "decode_s", s->decode_s, ", ");
    write_real(out, "draft_s", s->draft_s, ", ");
    write_real(out, "verify_s", s->verify_s, ", ");
    write_real(out, "accept_s", s->accept_s, ", ");
    write_real(out, "repair_s", s->repair_s, "}}\n");
}

void answer_write_stats(const struct answer *a, struct buf *out)
{
    const struct alula_stats *s = &a->stats;
    buf_fmt(out, "prompt  %6lld tokens in %.3f s, %.0f a second\n", (long long)s->prompt_tokens, s->prefill_s,
            per_second(s->prompt_tokens, s->prefill_s));
    buf_fmt(out, "answer  %6lld tokens in %.3f s, %.1f a second\n", (long long)s->tokens, s->decode_s,
            per_second(s->tokens, s->decode_s));
    if (!s->cycles || (!depths(a) && !s->free)) return;
    buf_fmt(out, "cycles  %6lld of %.2f tokens\n", (long long)s->cycles,
            (double)s->tokens / (double)s->cycles);
    if (s->free)
        buf_fmt(out, "free    %6lld tokens that the schema left no choice about\n", (long long)s->free);
    for (int d = 0; d < depths(a) && s->drafted[d]; d++)
        buf_fmt(out, "depth %d %6lld of %lld drafts accepted, %.1f %%\n", d + 1, (long long)s->accepted[d],
                (long long)s->drafted[d], 100 * (double)s->accepted[d] / (double)s->drafted[d]);
    buf_fmt(out, "time    draft %.3f s, verify %.3f s, accept %.3f s, repair %.3f s\n", s->draft_s,
            s->verify_s, s->accept_s, s->repair_s);
}
