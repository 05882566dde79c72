/* accept.c - acceptance of drafts. Owns the two laws; must not know models, logits or sessions. */
#include "decode/accept.h"

static int32_t race(const struct law *l, uint64_t place, const struct dist *d)
{
    if (d->n == 1) return d->ids[0];
    return d->ids[rng_race(rng_place(l->seed, place), d->ids, d->p, d->n)];
}

static int32_t draw(const struct law *l, uint64_t place, enum rng_lane lane, const struct dist *d)
{
    return dist_draw(d, rng_uniform(rng_place(l->seed, place), lane));
}

int32_t law_draft(const struct law *l, uint64_t place, const struct dist *q)
{
    return l->kind == ALULA_LAW_COUPLED ? race(l, place, q) : draw(l, place, RNG_DRAFT, q);
}

int32_t law_sample(const struct law *l, uint64_t place, const struct dist *p)
{
    return l->kind == ALULA_LAW_COUPLED ? race(l, place, p) : draw(l, place, RNG_TARGET, p);
}

double accept_probability(const struct dist *p, const struct dist *q, int32_t draft)
{
    double pd = dist_p(p, draft), qd = dist_p(q, draft);
    if (qd <= 0) return pd > 0 ? 1 : 0;
    return pd < qd ? pd / qd : 1;
}

/* One walk over the ids of p, in step with q. Adds up max(0, p - q); stops where the sum passes `until`. */
static double walk_residual(const struct dist *p, const struct dist *q, double until, int32_t *ret_id)
{
    double mass = 0;
    for (int i = 0, j = 0; i < p->n; i++) {
        while (j < q->n && q->ids[j] < p->ids[i]) j++;
        double left = p->p[i] - (j < q->n && q->ids[j] == p->ids[i] ? q->p[j] : 0);
        if (left <= 0) continue;
        mass += left;
        *ret_id = p->ids[i];
        if (mass > until) break;
    }
    return mass;
}

int32_t accept_residual(const struct dist *p, const struct dist *q, double u)
{
    int32_t id = 0;
    double mass = walk_residual(p, q, 2, &id);
    /* p = q: rejected by rounding alone, nothing is left to prefer. */
    if (mass <= 0) return dist_draw(p, u);
    walk_residual(p, q, u * mass, &id);
    return id;
}

bool law_accept(const struct law *l, uint64_t place, const struct dist *p, const struct dist *q,
                int32_t draft, int32_t *ret_token)
{
    if (l->kind == ALULA_LAW_COUPLED) {
        *ret_token = race(l, place, p);
        return *ret_token == draft;
    }
    uint64_t noise = rng_place(l->seed, place);
    if (rng_uniform(noise, RNG_ACCEPT) < accept_probability(p, q, draft)) {
        *ret_token = draft;
        return true;
    }
    *ret_token = accept_residual(p, q, rng_uniform(noise, RNG_TARGET));
    return false;
}
