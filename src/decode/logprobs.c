/* logprobs.c - log-probabilities of tokens. Owns the rows that a session reports; must not know how tokens
 * are drawn. */
#include "decode/logprobs.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "model/model.h"

bool logprobs_create(struct logprobs *l, int width, bool prompt, struct alula_error *e)
{
    *l = (struct logprobs){.width = width};
    if (!width) return true;
    size_t row = (size_t)width * sizeof *l->answer;
    l->answer = mem_zalloc(VERIFY_ROWS_MAX, row);
    if (prompt) l->prompt = mem_zalloc(LOGPROBS_ROWS_MAX + 1, row);
    if (prompt) l->next = mem_zalloc(1, row);
    if (l->answer && (!prompt || (l->prompt && l->next))) return true;
    logprobs_free(l);
    return err_set(e, ALULA_NOMEM, "no memory for log-probabilities");
}

void logprobs_free(struct logprobs *l)
{
    mem_free(l->answer);
    mem_free(l->prompt);
    mem_free(l->next);
    *l = (struct logprobs){0};
}

/* Sets row[i].logprob to logits, of the n largest. */
static void find_largest(const float *logits, int vocab, struct alula_logprob *row, int n)
{
    int held = 0;
    for (int id = 0; id < vocab; id++) {
        double z = logits[id];
        if (!(z > -INFINITY) || (held == n && z <= row[n - 1].logprob)) continue;
        int at = held < n ? held++ : n - 1;
        for (; at > 0 && row[at - 1].logprob < z; at--) row[at] = row[at - 1];
        row[at] = (struct alula_logprob){id, z};
    }
    for (int i = held; i < n; i++) row[i] = (struct alula_logprob){-1, -INFINITY};
}

static double log_of_sum(const float *logits, int vocab)
{
    double max = -INFINITY, sum = 0;
    for (int id = 0; id < vocab; id++) max = logits[id] > max ? logits[id] : max;
    for (int id = 0; id < vocab; id++)
        if (logits[id] > -INFINITY) sum += exp(logits[id] - max);
    return max + log(sum);
}

static void take(const struct logprobs *l, const float *logits, int vocab, int32_t id,
                 struct alula_logprob *row)
{
    double norm = log_of_sum(logits, vocab);
    row[0] = (struct alula_logprob){id, logits[id]};
    if (l->width > 1) find_largest(logits, vocab, row + 1, l->width - 1);
    for (int i = 0; i < l->width; i++) row[i].logprob -= norm;
}

void logprobs_answer(struct logprobs *l, const float *logits, int vocab, int32_t id, int i)
{
    if (l->width) take(l, logits, vocab, id, l->answer + (size_t)l->width * (size_t)i);
}

void logprobs_begin(struct logprobs *l, int32_t first)
{
    if (!l->prompt) return;
    for (int i = 0; i < l->width; i++) l->next[i] = (struct alula_logprob){-1, NAN};
    l->next[0].id = first;
}

void logprobs_read(struct logprobs *l, const float *logits, int vocab, const int32_t *ids, int n, int before,
                   int n_more)
{
    size_t width = (size_t)l->width;
    l->n_prompt = 0;
    for (int i = before; i < n; i++) {
        struct alula_logprob *row = l->prompt + width * (size_t)l->n_prompt++;
        if (i > 0)
            take(l, logits + (size_t)(i - 1) * (size_t)vocab, vocab, ids[i], row);
        else
            memcpy(row, l->next, width * sizeof *row);
    }
    if (n_more) take(l, logits + (size_t)(n - 1) * (size_t)vocab, vocab, ids[n], l->next);
}
