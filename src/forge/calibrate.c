/* calibrate.c - which contract fits, and is it beyond doubt? (see calibrate.h)
 *
 * Owns what is tried, what is compared with what, and the rule by which a comparison is decided. Passes over
 * the network are chains.c's, arithmetic of counts is stats.c's, the report is calibrate_json.c's. */
#include "forge/calibrate.h"

#include <math.h>
#include <stdio.h>

#include "base/mem.h"

#define NORMS_MAX    7
#define COLLAPSED    0.05 /* a head that hits no more often than this is of no use (MTPLX's line) */
#define FIRST_TRIALS 8

struct calibration {
    const struct calibrate_options *o;
    struct calibrate *r;
    const struct teacher *teacher;
    struct mtp_contract declared;
    const struct weights *bound;
    struct weights other; /* the same with the norms in the other encoding */
    struct arena arena;   /* of those norms */
    struct chains chains[CALIBRATE_TRIALS];
};

/* ---- the head with its norms read the other way -------------------------------------------------------- */

static bool flip(struct vector *v, size_t n, struct arena *arena)
{
    float *gain = arena_array(arena, n, sizeof *gain);
    if (!gain) return false;
    for (size_t i = 0; i < n; i++) gain[i] = v->gain[i] + (v->add_one ? -1.0f : 1.0f);
    v->gain = gain;
    v->add_one = !v->add_one;
    return true;
}

static bool flip_norms(struct calibration *c, struct alula_error *e)
{
    const struct config *cfg = c->bound->config;
    size_t hidden = (size_t)cfg->hidden, head = (size_t)cfg->head_dim;
    c->other = *c->bound;
    struct mtp_weights *m = &c->other.mtp;
    struct layer_weights *l = &m->layer;
    struct vector *norms[NORMS_MAX] = {&m->norm_embedding, &m->norm_hidden, &m->norm,       &l->input_norm,
                                       &l->post_norm,      &l->attn.q_norm, &l->attn.k_norm};
    for (int i = 0; i < NORMS_MAX; i++)
        if (!flip(norms[i], i < 5 ? hidden : head, &c->arena))
            return err_set(e, ALULA_NOMEM, "no memory for the head's norms");
    return true;
}

/* ---- trials -------------------------------------------------------------------------------------------- */

static bool try_contract(struct calibration *c, const struct mtp_contract *contract, bool norms_other,
                         int depth, struct alula_error *e)
{
    struct calibrate *r = c->r;
    int at = r->n_trials;
    char what[64];
    snprintf(what, sizeof what, "contract %d of %d", at + 1, CALIBRATE_TRIALS);
    struct chains *chains = &c->chains[at];
    if (!chains_run(chains, c->teacher, norms_other ? &c->other : c->bound, contract, depth, CALIBRATE_FIRST,
                    (size_t)r->positions, c->o->pool, what, c->o->watch, e))
        return false;
    struct calibrate_trial *t = &r->trials[at];
    *t = (struct calibrate_trial){.contract = *contract, .norms_other = norms_other, .depth = depth};
    for (int d = 0; d < depth; d++) {
        t->hits[d] = chains_hits(chains, d, 1);
        t->rate[d] = stats_wilson(t->hits[d], r->positions);
        for (int k = 0; k < 3; k++) t->top[d][k] = chains_hits(chains, d, 2 << k);
    }
    r->n_trials++;
    return true;
}

/* Trial i of the first eight: bit 0 base, bit 1 order, bit 2 norms; a bit that is 0 is as declared. So of
 * equals the one nearest to the declaration comes first. */
static bool try_first_steps(struct calibration *c, struct alula_error *e)
{
    for (int i = 0; i < FIRST_TRIALS; i++) {
        struct mtp_contract contract = c->declared;
        if (i & 1) contract.base = contract.base == HIDDEN_POST_NORM ? HIDDEN_PRE_NORM : HIDDEN_POST_NORM;
        if (i & 2) contract.hidden_first = !contract.hidden_first;
        if (!try_contract(c, &contract, i & 4, 1, e)) return false;
    }
    return true;
}

/* The declared way first, then the others; a declared mixture takes the place of "prev", which no head was
 * ever known to be trained with. */
static bool try_feedbacks(struct calibration *c, const struct calibrate_trial *first, struct alula_error *e)
{
    struct mtp_contract contract = first->contract;
    if (!try_contract(c, &contract, first->norms_other, CHAIN_DEPTH_MAX, e)) return false;
    for (int i = HIDDEN_POST_NORM; i <= HIDDEN_PREV; i++) {
        contract.feedback = (enum hidden_variant)i;
        if (contract.feedback == c->declared.feedback || c->r->n_trials == CALIBRATE_TRIALS) continue;
        if (!try_contract(c, &contract, first->norms_other, CHAIN_DEPTH_MAX, e)) return false;
    }
    return true;
}

/* ---- comparison ---------------------------------------------------------------------------------------- */

/* Steps of a trial that tell it apart from its rivals: the first alone, or those that were fed by another
 * step. */
static int first_judged(const struct chains *c) { return c->depth > 1 ? 1 : 0; }

static int64_t judged_hits(const struct chains *c)
{
    int64_t hits = 0;
    for (int d = first_judged(c); d < c->depth; d++) hits += chains_hits(c, d, 1);
    return hits;
}

static int place_hits(const struct chains *c, size_t place)
{
    int hits = 0;
    for (int d = first_judged(c); d < c->depth; d++) hits += c->rank[(size_t)d * c->n + place] == 0;
    return hits;
}

static bool same_guesses(const struct chains *a, const struct chains *b)
{
    return !memcmp(a->guess, b->guess, (size_t)a->depth * a->n * sizeof *a->guess);
}

/* A trial's value in one dimension, as an index into value_name. */
static int value_of(const struct calibrate_trial *t, enum calibrate_dimension d, bool bound_delta)
{
    switch (d) {
    case CALIBRATE_NORMS: return t->norms_other ? !bound_delta : bound_delta;
    case CALIBRATE_CONCAT: return t->contract.hidden_first;
    case CALIBRATE_BASE: return (int)t->contract.base;
    case CALIBRATE_FEEDBACK:
    case CALIBRATE_DIMENSIONS: break;
    }
    return (int)t->contract.feedback;
}

static const char *value_name(enum calibrate_dimension d, int value)
{
    static const char *const norms[] = {"absolute", "delta"};
    static const char *const orders[] = {"embedding_hidden", "hidden_embedding"};
    static const char *const hidden[] = {"post_norm", "pre_norm", "fc", "embedding", "prev", "mix"};
    return d == CALIBRATE_NORMS ? norms[value] : d == CALIBRATE_CONCAT ? orders[value] : hidden[value];
}

/* The best of trials [begin, end) whose value in dimension d is (or is not) `value`; -1 = none. */
static int best_trial(const struct calibration *c, int begin, int end, enum calibrate_dimension d, int value,
                      bool equal)
{
    int best = -1;
    bool delta = c->bound->mtp.norm.add_one;
    for (int i = begin; i < end; i++)
        if ((value_of(&c->r->trials[i], d, delta) == value) == equal &&
            (best < 0 || judged_hits(&c->chains[i]) > judged_hits(&c->chains[best])))
            best = i;
    return best;
}

/* Fills the counts of a comparison and says what they amount to. */
static void compare(struct calibration *c, struct calibrate_choice *out, int chosen, int rival)
{
    const struct chains *a = &c->chains[chosen], *b = &c->chains[rival];
    out->chosen_trial = chosen;
    out->rival_trial = rival;
    out->won = out->lost = 0;
    for (size_t i = 0; i < a->n; i++) {
        int x = place_hits(a, i), y = place_hits(b, i);
        out->won += x > y;
        out->lost += x < y;
    }
    out->p = stats_sign_p(out->won, out->lost);
    out->lead = stats_lead(out->won, out->lost, (int64_t)a->n);
    if (out->p < CALIBRATE_ALPHA && out->won > out->lost)
        out->outcome = CALIBRATE_DECIDED;
    else if (same_guesses(a, b))
        out->outcome = CALIBRATE_SAME_GUESSES;
    else
        out->outcome = -out->lead.low <= CALIBRATE_HARMLESS ? CALIBRATE_TIE : CALIBRATE_UNDECIDED;
}

/* Decides one dimension among trials [begin, end), of which `best` is the best. The declared value stays
 * unless the best trial beats it beyond doubt; then what is left to say is how it does against the best of
 * all other values. */
static void decide(struct calibration *c, enum calibrate_dimension d, int begin, int end, int best)
{
    bool delta = c->bound->mtp.norm.add_one;
    struct calibrate_choice *out = &c->r->choices[d];
    struct calibrate_trial declared = {.contract = c->declared};
    int said = value_of(&declared, d, delta), value = value_of(&c->r->trials[best], d, delta);
    int chosen = best, rival = best_trial(c, begin, end, d, value, false);
    int kept = best_trial(c, begin, end, d, said, true);
    if (value != said) {
        compare(c, out, best, kept);
        if (out->outcome != CALIBRATE_DECIDED) {
            chosen = kept;
            rival = best;
        }
    }
    compare(c, out, chosen, rival);
    out->declared_trial = kept;
    out->chosen = value_name(d, value_of(&c->r->trials[chosen], d, delta));
    out->rival = value_name(d, value_of(&c->r->trials[rival], d, delta));
    out->declared = value_name(d, said);
}

/* The first-step trial that has the chosen value in every dimension. */
static int chosen_first(const struct calibration *c)
{
    bool delta = c->bound->mtp.norm.add_one;
    for (int i = 0; i < FIRST_TRIALS; i++) {
        bool all = true;
        for (int d = CALIBRATE_NORMS; d <= CALIBRATE_BASE; d++)
            all =
                all && !strcmp(value_name(d, value_of(&c->r->trials[i], d, delta)), c->r->choices[d].chosen);
        if (all) return i;
    }
    return 0;
}

/* ---- the result ---------------------------------------------------------------------------------------- */

/* What would be scored by guessing the commonest of the trunk's tokens everywhere. */
static bool constant_rate(const struct calibration *c, double *ret, struct alula_error *e)
{
    int32_t *count = mem_zalloc((size_t)c->bound->config->vocab, sizeof *count), most = 0;
    if (!count) return err_set(e, ALULA_NOMEM, "no memory to count the text's tokens");
    for (int64_t i = 0; i < c->r->positions; i++) {
        int32_t n = ++count[c->teacher->best[CALIBRATE_FIRST + i + 1]];
        if (n > most) most = n;
    }
    mem_free(count);
    *ret = (double)most / (double)c->r->positions;
    return true;
}

static bool has_signal(const struct calibration *c, int trial)
{
    return c->r->trials[trial].rate[0].low > fmax(COLLAPSED, c->r->constant_rate);
}

static void refuse_no_signal(struct calibration *c)
{
    struct calibrate *r = c->r;
    const struct calibrate_trial *t = &r->trials[r->best];
    r->status = CALIBRATE_INCONCLUSIVE;
    r->reason = "no_signal";
    snprintf(r->problem, sizeof r->problem,
             "the head does not foretell what this trunk says: the best of %d contracts is right at %lld of "
             "%lld places (%.1f %%), always guessing the commonest token would be at %.1f %%; it was made "
             "for another trunk, or its weights are damaged",
             r->n_trials, (long long)t->hits[0], (long long)r->positions,
             100.0 * (double)t->hits[0] / (double)r->positions, 100 * r->constant_rate);
}

static void refuse_undecided(struct calibrate *r, enum calibrate_dimension d)
{
    const struct calibrate_choice *ch = &r->choices[d];
    r->status = CALIBRATE_INCONCLUSIVE;
    r->reason = "insufficient_evidence";
    r->usable = false;
    snprintf(r->problem, sizeof r->problem,
             "%s cannot be decided between %s and %s on %lld places (%lld against %lld of those where they "
             "differ), and the wrong one might cost %.1f %% of the guesses; give a longer text with --calib "
             "and more --positions",
             calibrate_dimension_name(d), ch->chosen, ch->rival, (long long)r->positions, (long long)ch->won,
             (long long)ch->lost, -100 * ch->lead.low);
}

static void conclude(struct calibration *c)
{
    struct calibrate *r = c->r;
    bool tie = false, switched = false;
    r->usable = true;
    for (int d = 0; d < CALIBRATE_DIMENSIONS; d++) {
        tie = tie || r->choices[d].outcome != CALIBRATE_DECIDED;
        switched = switched || strcmp(r->choices[d].chosen, r->choices[d].declared) != 0;
    }
    r->status = switched ? CALIBRATE_SWITCHED : tie ? CALIBRATE_INCONCLUSIVE : CALIBRATE_CONFIRMED;
    r->reason = tie ? "tie" : "";
    for (int d = 0; d < CALIBRATE_DIMENSIONS; d++)
        if (r->choices[d].outcome == CALIBRATE_UNDECIDED) {
            refuse_undecided(r, d);
            return;
        }
    if (r->norms_other)
        snprintf(r->problem, sizeof r->problem,
                 "the head's norms are stored as %s, but the folder has them read as %s (right at %lld "
                 "against %lld of %lld places): its config.json must say \"mtplx_mtp_norm_encoding\": \"%s\"",
                 r->choices[CALIBRATE_NORMS].chosen, r->choices[CALIBRATE_NORMS].declared,
                 (long long)r->trials[r->choices[CALIBRATE_NORMS].chosen_trial].hits[0],
                 (long long)r->trials[r->choices[CALIBRATE_NORMS].rival_trial].hits[0],
                 (long long)r->positions, r->choices[CALIBRATE_NORMS].chosen);
}

static bool calibrate_all(struct calibration *c, struct alula_error *e)
{
    struct calibrate *r = c->r;
    if (!flip_norms(c, e) || !constant_rate(c, &r->constant_rate, e) || !try_first_steps(c, e)) return false;
    int best = 0;
    for (int i = 1; i < FIRST_TRIALS; i++)
        if (judged_hits(&c->chains[i]) > judged_hits(&c->chains[best])) best = i;
    r->best = best;
    for (int d = CALIBRATE_NORMS; d <= CALIBRATE_BASE; d++) decide(c, d, 0, FIRST_TRIALS, best);
    if (has_signal(c, best)) {
        r->best = chosen_first(c);
        if (!try_feedbacks(c, &r->trials[r->best], e)) return false;
        best = FIRST_TRIALS;
        for (int i = best + 1; i < r->n_trials; i++)
            if (judged_hits(&c->chains[i]) > judged_hits(&c->chains[best])) best = i;
        decide(c, CALIBRATE_FEEDBACK, FIRST_TRIALS, r->n_trials, best);
        r->best = r->choices[CALIBRATE_FEEDBACK].chosen_trial;
    }
    r->contract = r->trials[r->best].contract;
    r->norms_other = r->trials[r->best].norms_other;
    r->norms_delta = c->bound->mtp.norm.add_one != r->norms_other;
    if (r->n_trials > FIRST_TRIALS)
        conclude(c);
    else
        refuse_no_signal(c);
    return true;
}

bool calibrate_check_text(size_t n_ids, int64_t positions, struct alula_error *e)
{
    int64_t need = positions + CALIBRATE_FIRST + CHAIN_DEPTH_MAX;
    return (int64_t)n_ids >= need ||
           err_set(e, ALULA_LIMIT, "the calibration text has %zu tokens; %lld places need %lld", n_ids,
                   (long long)positions, (long long)need);
}

static bool check_options(const struct weights *w, const struct calibrate_options *o, struct alula_error *e)
{
    int64_t need = o->positions + CALIBRATE_FIRST + CHAIN_DEPTH_MAX;
    if (!w->has_mtp) return err_set(e, ALULA_UNSUPPORTED, "there is no MTP head to calibrate");
    if (o->positions < CALIBRATE_POSITIONS_MIN)
        return err_set(e, ALULA_USAGE, "%lld places are too few to decide anything, expected at least %d",
                       (long long)o->positions, CALIBRATE_POSITIONS_MIN);
    if (!calibrate_check_text(o->n_ids, o->positions, e)) return false;
    if (need > w->config->max_position)
        return err_set(e, ALULA_LIMIT, "%lld places need %lld positions; the model was made for %d",
                       (long long)o->positions, (long long)need, w->config->max_position);
    for (int64_t i = 0; i < need; i++)
        if (o->ids[i] < 0 || o->ids[i] >= w->config->vocab)
            return err_set(e, ALULA_FORMAT,
                           "the calibration text's id %d is outside the model's vocabulary of %d", o->ids[i],
                           w->config->vocab);
    return true;
}

bool calibrate_run(struct calibrate *ret, struct teacher *teacher, const struct weights *w,
                   const struct calibrate_options *o, struct alula_error *e)
{
    struct teacher own = {0};
    struct calibrate r = {.positions = o->positions, .reason = ""};
    struct calibration c = {.o = o, .r = &r, .teacher = &own, .bound = w};
    if (!check_options(w, o, e)) return false;
    if (o->declared) c.declared = *o->declared;
    size_t n = (size_t)o->positions + CALIBRATE_FIRST + CHAIN_DEPTH_MAX;
    bool ok = teacher_read(&own, w, o->mode, o->ids, n, o->pool, o->watch, e) && calibrate_all(&c, e);
    for (int i = 0; i < CALIBRATE_TRIALS; i++) chains_free(&c.chains[i]);
    arena_free(&c.arena);
    if (ok) {
        r.loss = own.loss;
        *ret = r;
    }
    if (ok && teacher)
        *teacher = own;
    else
        teacher_free(&own);
    return ok;
}
