/* sampler.c - the chain from logits to a distribution. Owns penalties, filters and their work memory; must
 * not know where the logits come from, nor what is done with a draw.
 *
 * Distributions are kept in ascending order of ids, so that two of them meet by merging, and cutting one
 * means finding the last id that stays and filtering in place: a bounded heap for top_k, a heap over the
 * few that can matter for top_p. */
#include "decode/sampler.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"

struct sampler {
    struct alula_sampling set;
    int vocab;
    int cap; /* ids that survive top_k at most */
    bool penalties;
    double *z;                   /* [vocab] logits after penalties, bias and mask */
    int32_t *heap;               /* [vocab] */
    struct alula_bias *bias;     /* [set.n_bias] */
    int32_t *in_all, *in_answer; /* [vocab] how often an id occurred in prompt and answer, in the answer */
    int32_t *seen;               /* [n_seen] ids with in_all > 0, in order of appearance */
    int n_seen;
};

static bool check_range(const char *name, double v, double lo, double hi, struct alula_error *e)
{
    if (v >= lo && v <= hi) return true; /* false for NaN */
    return err_set(e, ALULA_USAGE, "%s is %g, expected %g to %g", name, v, lo, hi);
}

static bool check_settings(const struct alula_sampling *set, int vocab, struct alula_error *e)
{
    if (!check_range("temperature", set->temperature, 0, 100, e) ||
        !check_range("top_p", set->top_p, 0, 1, e) || !check_range("min_p", set->min_p, 0, 1, e) ||
        !check_range("presence_penalty", set->presence_penalty, -2, 2, e) ||
        !check_range("frequency_penalty", set->frequency_penalty, -2, 2, e) ||
        !check_range("repetition_penalty", set->repetition_penalty, 0.01, 100, e))
        return false;
    if (set->top_k < 0) return err_set(e, ALULA_USAGE, "top_k is %d, expected 0 (off) or more", set->top_k);
    if (set->law < ALULA_LAW_AUTO || set->law > ALULA_LAW_COUPLED)
        return err_set(e, ALULA_USAGE, "law is %d, expected ALULA_LAW_AUTO, _REJECTION or _COUPLED",
                       (int)set->law);
    if (set->n_bias < 0 || (set->n_bias > 0 && !set->bias))
        return err_set(e, ALULA_USAGE, "n_bias is %d without that many entries of logit bias", set->n_bias);
    for (int i = 0; i < set->n_bias; i++) {
        if (set->bias[i].id < 0 || set->bias[i].id >= vocab)
            return err_set(e, ALULA_USAGE, "logit bias %d is for id %d, expected 0 to %d", i,
                           (int)set->bias[i].id, vocab - 1);
        if (!check_range("logit bias", set->bias[i].value, -100, 100, e)) return false;
    }
    return true;
}

bool sampler_create(struct sampler **ret, int vocab, const struct alula_sampling *settings,
                    struct alula_error *e)
{
    if (!check_settings(settings, vocab, e)) return false;
    struct sampler *s = mem_zalloc(1, sizeof *s);
    if (!s) return err_set(e, ALULA_NOMEM, "no memory for a sampler");
    s->set = *settings;
    s->vocab = vocab;
    s->cap = settings->top_k > 0 && settings->top_k < vocab ? settings->top_k : vocab;
    if (settings->temperature <= 0) s->cap = 1;
    s->penalties = settings->presence_penalty != 0 || settings->frequency_penalty != 0 ||
                   settings->repetition_penalty != 1;
    s->z = mem_zalloc((size_t)vocab, sizeof *s->z);
    s->heap = mem_zalloc((size_t)vocab, sizeof *s->heap);
    s->bias = mem_zalloc((size_t)settings->n_bias + 1, sizeof *s->bias);
    s->in_all = mem_zalloc((size_t)vocab, sizeof *s->in_all);
    s->in_answer = mem_zalloc((size_t)vocab, sizeof *s->in_answer);
    s->seen = mem_zalloc((size_t)vocab, sizeof *s->seen);
    if (!s->z || !s->heap || !s->bias || !s->in_all || !s->in_answer || !s->seen) {
        sampler_free(s);
        return err_set(e, ALULA_NOMEM, "no memory for a sampler of %d ids", vocab);
    }
    if (settings->n_bias) memcpy(s->bias, settings->bias, (size_t)settings->n_bias * sizeof *s->bias);
    *ret = s;
    return true;
}

size_t sampler_bytes(int vocab)
{
    const struct sampler *s = NULL;
    return sizeof *s + (size_t)vocab * (sizeof *s->z + sizeof *s->heap + sizeof *s->in_all +
                                        sizeof *s->in_answer + sizeof *s->seen);
}

void sampler_free(struct sampler *s)
{
    if (!s) return;
    mem_free(s->z);
    mem_free(s->heap);
    mem_free(s->bias);
    mem_free(s->in_all);
    mem_free(s->in_answer);
    mem_free(s->seen);
    mem_free(s);
}

bool sampler_dist_alloc(const struct sampler *s, struct dist *d)
{
    d->n = 0;
    d->ids = mem_zalloc((size_t)s->cap, sizeof *d->ids);
    d->p = mem_zalloc((size_t)s->cap, sizeof *d->p);
    return d->ids && d->p;
}

void sampler_dist_free(struct dist *d)
{
    mem_free(d->ids);
    mem_free(d->p);
    *d = (struct dist){0};
}

void sampler_begin(struct sampler *s)
{
    for (int i = 0; i < s->n_seen; i++) s->in_answer[s->seen[i]] = 0;
}

static void see(struct sampler *s, int32_t id)
{
    if (s->in_all[id]++ == 0) s->seen[s->n_seen++] = id;
}

void sampler_read(struct sampler *s, const int32_t *ids, size_t n)
{
    if (!s->penalties) return;
    for (size_t i = 0; i < n; i++) see(s, ids[i]);
}

void sampler_push(struct sampler *s, int32_t id)
{
    if (!s->penalties) return;
    see(s, id);
    s->in_answer[id]++;
}

void sampler_pop(struct sampler *s, const int32_t *ids, int n)
{
    if (!s->penalties) return;
    /* Last in, first out: an id whose count returns to 0 is the last of seen. */
    for (int i = n - 1; i >= 0; i--) {
        s->in_answer[ids[i]]--;
        if (--s->in_all[ids[i]] == 0) s->n_seen--;
    }
}

static void penalize(struct sampler *s)
{
    for (int i = 0; i < s->n_seen; i++) {
        int32_t id = s->seen[i];
        double z = s->z[id], r = s->set.repetition_penalty;
        z = z < 0 ? z * r : z / r;
        if (s->in_answer[id]) z -= s->set.presence_penalty + s->set.frequency_penalty * s->in_answer[id];
        s->z[id] = z;
    }
}

static void forbid(double *z, int vocab, const uint32_t *allowed)
{
    for (int i = 0; i < vocab; i += 32) {
        int n = vocab - i < 32 ? vocab - i : 32;
        for (int k = 0; !allowed[i / 32] && k < n; k++) z[i + k] = -INFINITY;
        for (uint32_t no = allowed[i / 32] ? ~allowed[i / 32] : 0; no; no &= no - 1)
            if (i + __builtin_ctz(no) < vocab) z[i + __builtin_ctz(no)] = -INFINITY;
    }
}

/* Index of the largest, the first on ties; NaN is never larger. -1 if all are NaN or -infinity. */
static int argmax(const double *z, int n)
{
    double best = -INFINITY;
    int at = -1;
    for (int i = 0; i < n; i++)
        if (z[i] > best) {
            best = z[i];
            at = i;
        }
    return at;
}

/* Order of heaps: a comes out before b. key falls, then id rises; `sign` -1 turns it round. */
static inline bool before(const double *key, int32_t a, int32_t b, int sign)
{
    if (key[a] != key[b]) return (key[a] > key[b]) == (sign > 0);
    return (a < b) == (sign > 0);
}

static void sift_down(int32_t *heap, int n, int i, const double *key, int sign)
{
    int32_t v = heap[i];
    for (int c; (c = 2 * i + 1) < n; i = c) {
        if (c + 1 < n && before(key, heap[c + 1], heap[c], sign)) c++;
        if (!before(key, heap[c], v, sign)) break;
        heap[i] = heap[c];
    }
    heap[i] = v;
}

static void heapify(int32_t *heap, int n, const double *key, int sign)
{
    for (int i = n / 2 - 1; i >= 0; i--) sift_down(heap, n, i, key, sign);
}

/* Ids of the k largest logits (all that are not forbidden if k is the vocabulary), ascending. Returns their
 * number. */
static int select_top(struct sampler *s, int k, int32_t *ids)
{
    const double *z = s->z;
    int n = 0;
    if (k == s->vocab) {
        for (int i = 0; i < s->vocab; i++)
            if (z[i] > -INFINITY) ids[n++] = i;
        return n;
    }
    /* The heap's root is the weakest of the k best so far. A later id with an equal logit is weaker. */
    for (int i = 0; i < s->vocab; i++) {
        if (!(z[i] > -INFINITY)) continue;
        if (n < k) {
            s->heap[n++] = i;
            if (n == k) heapify(s->heap, k, z, -1);
        } else if (z[i] > z[s->heap[0]]) {
            s->heap[0] = i;
            sift_down(s->heap, k, 0, z, -1);
        }
    }
    if (n < k) heapify(s->heap, n, z, -1);
    double weakest = n ? z[s->heap[0]] : 0;
    int32_t last = n ? s->heap[0] : 0;
    int m = 0;
    for (int i = 0; m < n; i++)
        if (z[i] > weakest || (z[i] == weakest && i <= last)) ids[m++] = i;
    return n;
}

/* Keeps what passes (p above cut, or equal with an index up to last). */
static void cut(struct dist *d, double at, int last)
{
    int n = 0;
    for (int i = 0; i < d->n; i++) {
        if (!(d->p[i] > at || (d->p[i] == at && i <= last))) continue;
        d->ids[n] = d->ids[i];
        d->p[n++] = d->p[i];
    }
    d->n = n;
}

static double sum(const struct dist *d)
{
    double t = 0;
    for (int i = 0; i < d->n; i++) t += d->p[i];
    return t;
}

static void keep_top_p(struct sampler *s, struct dist *d)
{
    double total = sum(d), want = s->set.top_p * total, mass = 0;
    /* Weights below (1 - top_p) * total / n cannot be in: all of them together are lighter than what top_p
     * leaves out. */
    double floor_p = (1 - s->set.top_p) * total / d->n;
    int n = 0, last = 0;
    for (int i = 0; i < d->n; i++)
        if (d->p[i] >= floor_p) s->heap[n++] = i;
    heapify(s->heap, n, d->p, 1);
    do {
        last = s->heap[0];
        mass += d->p[last];
        s->heap[0] = s->heap[--n];
        if (n) sift_down(s->heap, n, 0, d->p, 1);
    } while (n && mass < want);
    cut(d, d->p[last], last);
}

static bool greedy(int at, struct dist *out)
{
    if (at < 0) return false;
    out->ids[0] = at;
    out->p[0] = 1;
    out->n = 1;
    return true;
}

/* Whether one of sixteen is larger; NaN never is. A vocabulary is long and thread 0 is alone with it, so which one is
 * asked only then. */
static inline bool any_above(const float *logits, float best)
{
    typedef float four __attribute__((vector_size(16)));
    typedef int64_t two __attribute__((vector_size(16)));
    four v[4];
    memcpy(v, logits, sizeof v);
    two above = (two)(v[0] > best) | (two)(v[1] > best) | (two)(v[2] > best) | (two)(v[3] > best);
    return above[0] | above[1];
}

int sampler_best(const float *logits, int n)
{
    float best = -INFINITY;
    int at = 0;
    for (int i = 0; i < n; i += 16) {
        int end = i + 16 < n ? i + 16 : n;
        if (end - i == 16 && !any_above(logits + i, best)) continue;
        for (int j = i; j < end; j++)
            if (logits[j] > best) {
                best = logits[j];
                at = j;
            }
    }
    return at;
}

/* The hot path of greedy decoding: nothing is copied. */
static bool shape_plain(const float *logits, int vocab, struct dist *out)
{
    int at = sampler_best(logits, vocab);
    return greedy(logits[at] > -INFINITY ? at : -1, out);
}

/* The same under a mask. */
static bool shape_masked(const float *logits, int vocab, const uint32_t *allowed, struct dist *out)
{
    float best = -INFINITY;
    int at = -1;
    for (int i = 0; i < vocab; i += 32) {
        uint32_t left = allowed[i / 32];
        if (!left || (vocab - i >= 32 && !any_above(logits + i, best) && !any_above(logits + i + 16, best)))
            continue;
        for (; left; left &= left - 1) {
            int id = i + __builtin_ctz(left);
            if (id >= vocab || !(logits[id] > best)) continue;
            best = logits[id];
            at = id;
        }
    }
    return greedy(at, out);
}

bool sampler_shape(struct sampler *s, const float *logits, const uint32_t *allowed, struct dist *out)
{
    const struct alula_sampling *set = &s->set;
    bool plain = !s->penalties && set->n_bias == 0 && set->temperature <= 0;
    if (plain)
        return allowed ? shape_masked(logits, s->vocab, allowed, out) : shape_plain(logits, s->vocab, out);
    for (int i = 0; i < s->vocab; i++) s->z[i] = logits[i];
    if (s->penalties) penalize(s);
    for (int i = 0; i < set->n_bias; i++) s->z[s->bias[i].id] += s->bias[i].value;
    if (allowed) forbid(s->z, s->vocab, allowed);
    if (set->temperature <= 0) return greedy(argmax(s->z, s->vocab), out);

    out->n = select_top(s, s->cap, out->ids);
    if (!out->n) return false;
    double max = -INFINITY;
    for (int i = 0; i < out->n; i++) max = s->z[out->ids[i]] > max ? s->z[out->ids[i]] : max;
    if (!isfinite(max)) return false;
    for (int i = 0; i < out->n; i++) out->p[i] = exp((s->z[out->ids[i]] - max) / set->temperature);
    if (set->top_p < 1) keep_top_p(s, out);
    /* The largest weight is exp(0): min_p is the bar itself. A weight that vanished in double precision
     * goes with it. */
    cut(out, set->min_p > 0 ? nextafter(set->min_p, 0) : 0, -1);
    double total = sum(out);
    for (int i = 0; i < out->n; i++) out->p[i] /= total;
    return true;
}

double sampler_confidence(const float *logits, int vocab)
{
    int at = sampler_best(logits, vocab);
    if (!(logits[at] > -INFINITY)) return 0;
    /* What is e^-6 below the top is most of the vocabulary and would cost more than it says. */
    double total = 0;
    for (int i = 0; i < vocab; i++)
        if (logits[i] > logits[at] - 6) total += exp((double)logits[i] - logits[at]);
    return 1 / total;
}

double dist_p(const struct dist *d, int32_t id)
{
    int lo = 0, hi = d->n;
    while (lo < hi) {
        int mid = lo + (hi - lo) / 2;
        if (d->ids[mid] < id)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < d->n && d->ids[lo] == id ? d->p[lo] : 0;
}

int32_t dist_draw(const struct dist *d, double u)
{
    double mass = 0;
    for (int i = 0; i < d->n - 1; i++) {
        mass += d->p[i];
        if (u < mass) return d->ids[i];
    }
    return d->ids[d->n - 1];
}
