/* verify_texts.c - does decoding with drafts say what plain decoding says, and how fast?
 *
 * Every prompt is answered at every depth, one depth after the other, forwards for one prompt and backwards
 * for the next: a machine that slows down in the meantime slows all of them. Rates are compared within a
 * prompt. */
#include <string.h>

#include "base/mem.h"
#include "forge/verify_parts.h"

#define PROMPT_TOKENS 96
#define DEPTHS        (CHAIN_DEPTH_MAX + 1)

struct answers {
    const struct alula_engine *engine;
    int max_tokens, n_threads;
    int32_t *plain, *drafted; /* [max_tokens] */
    int n_plain;
    double tok_s[DEPTHS][VERIFY_PROMPTS_MAX], ratio[DEPTHS][VERIFY_PROMPTS_MAX];
};

static bool answer(struct answers *a, int depth, const int32_t *prompt, size_t n, int32_t *out, int *ret_n,
                   struct alula_stats *stats, struct alula_error *e)
{
    struct alula_session_options o = alula_session_defaults();
    struct alula_session *s;
    struct alula_step step;
    int got = 0;
    o.depth = depth;
    o.n_threads = a->n_threads;
    o.max_tokens = a->max_tokens;
    o.ignore_stop_ids = true;
    o.n_ctx = (int)n + a->max_tokens;
    if (!alula_session_create(&s, a->engine, &o, e)) return false;
    bool ok = alula_session_prompt(s, prompt, n, NULL, NULL, e);
    do {
        ok = ok && alula_session_step(s, &step, e);
        for (int i = 0; ok && i < step.n_tokens && got < a->max_tokens; i++) out[got++] = step.tokens[i];
    } while (ok && step.finish == ALULA_RUNNING);
    if (ok) {
        alula_session_stats(s, stats);
        *ret_n = got;
    }
    alula_session_free(s);
    return ok;
}

static void compare(struct verify_texts *r, const struct answers *a, int prompt, int depth, int n)
{
    int i = 0;
    while (i < n && i < a->n_plain && a->plain[i] == a->drafted[i]) i++;
    if ((i == n && i == a->n_plain) || !r->equal) return;
    r->equal = false;
    r->prompt = prompt;
    r->depth = depth;
    r->token = i;
}

static void count(struct verify_texts *r, struct answers *a, int prompt, int depth,
                  const struct alula_stats *s)
{
    a->tok_s[depth][prompt] = s->decode_s > 0 ? (double)s->tokens / s->decode_s : 0;
    for (int d = 0; d < CHAIN_DEPTH_MAX; d++) {
        r->drafted[depth][d] += s->drafted[d];
        r->accepted[depth][d] += s->accepted[d];
    }
}

/* Drafted texts are compared when the plain one is there: a backward round keeps them until then. */
static bool answer_all(struct verify_texts *r, struct answers *a, int prompt, const int32_t *ids, size_t n,
                       struct alula_error *e)
{
    int32_t *texts[DEPTHS];
    int lengths[DEPTHS] = {0};
    bool ok = true;
    for (int d = 0; d < DEPTHS; d++) {
        texts[d] = mem_zalloc((size_t)a->max_tokens, sizeof(int32_t));
        ok = ok && (texts[d] || err_set(e, ALULA_NOMEM, "no memory for answers of %d tokens", a->max_tokens));
    }
    for (int i = 0; ok && i < DEPTHS; i++) {
        int depth = prompt % 2 ? CHAIN_DEPTH_MAX - i : i;
        struct alula_stats stats;
        ok = answer(a, depth, ids, n, texts[depth], &lengths[depth], &stats, e);
        if (ok) count(r, a, prompt, depth, &stats);
    }
    a->plain = texts[0];
    a->n_plain = lengths[0];
    r->tokens += lengths[0];
    for (int d = 1; ok && d < DEPTHS; d++) {
        a->drafted = texts[d];
        compare(r, a, prompt, d, lengths[d]);
        a->ratio[d][prompt] = a->tok_s[0][prompt] > 0 ? a->tok_s[d][prompt] / a->tok_s[0][prompt] : 0;
    }
    for (int d = 0; d < DEPTHS; d++) mem_free(texts[d]);
    return ok;
}

bool verify_texts(struct verify_texts *ret, const struct alula_engine *engine, const int32_t *ids,
                  size_t n_ids, int n_prompts, int max_tokens, int n_threads, const struct watch *watch,
                  struct alula_error *e)
{
    struct verify_texts r = {.equal = true, .n_prompts = n_prompts};
    struct answers a = {.engine = engine, .max_tokens = max_tokens, .n_threads = n_threads};
    for (int p = 0; p < n_prompts; p++) {
        size_t at = n_ids * (size_t)p / (size_t)n_prompts, end = n_ids * (size_t)(p + 1) / (size_t)n_prompts;
        size_t n = end - at < PROMPT_TOKENS ? end - at : PROMPT_TOKENS;
        if (!watch_tell(watch, "comparing texts", (uint64_t)p, (uint64_t)n_prompts, e)) return false;
        if (!answer_all(&r, &a, p, ids + at, n, e)) return false;
    }
    for (int d = 0; d < DEPTHS; d++) {
        r.tok_s[d] = stats_median(a.tok_s[d], (size_t)n_prompts);
        r.speedup[d] = d ? stats_median(a.ratio[d], (size_t)n_prompts) : 1; /* sorts */
        r.speedup_max[d] = d ? a.ratio[d][n_prompts - 1] : 1;
    }
    *ret = r;
    return true;
}

/* Of depths within 2 % of the fastest the deepest wins. That none wins is said only if every depth lost on
 * every prompt: a few short answers on a busy machine prove little, and tune is there to prove more. */
const char *verify_texts_verdict(const struct verify_texts *t, int *ret_best_depth)
{
    double top = 0, most_accepted = 0;
    bool lost = true;
    *ret_best_depth = 0;
    for (int d = 1; d < DEPTHS; d++) {
        if (t->speedup[d] > top) top = t->speedup[d];
        lost = lost && t->speedup_max[d] < 1;
        for (int k = 0; k < d; k++)
            if (t->drafted[d][k] && (double)t->accepted[d][k] / (double)t->drafted[d][k] > most_accepted)
                most_accepted = (double)t->accepted[d][k] / (double)t->drafted[d][k];
    }
    if (most_accepted <= 0.05) return "mtp_acceptance_collapsed";
    for (int d = 1; d < DEPTHS; d++)
        if (t->speedup[d] > 1 && t->speedup[d] >= 0.98 * top) *ret_best_depth = d;
    return *ret_best_depth ? "mtp_depth_wins" : lost ? "no_mtp_depth_beat_ar" : "inconclusive";
}
