/* calibrate_json.c - the words and the JSON of a calibration. Decides nothing. */
#include "forge/calibrate.h"

#include <stdio.h>

#include "base/json.h"

const char *calibrate_dimension_name(enum calibrate_dimension d)
{
    static const char *const names[] = {"norm_encoding", "concat_order", "base_hidden_variant",
                                        "hidden_variant"};
    return names[d];
}

const char *calibrate_status_name(enum calibrate_status s)
{
    static const char *const names[] = {"confirmed", "switched", "inconclusive"};
    return names[s];
}

static const char *outcome_name(enum calibrate_outcome o)
{
    static const char *const names[] = {"decided", "same_guesses", "tie", "undecided"};
    return names[o];
}

static double share(int64_t part, int64_t whole) { return whole ? (double)part / (double)whole : 0; }

static json_t *rates(const struct calibrate *c, const int64_t *hits, int depth)
{
    json_t *a = json_array();
    for (int d = 0; a && d < depth; d++) json_array_append_new(a, json_real(share(hits[d], c->positions)));
    return a;
}

static json_t *contract_words(const struct mtp_contract *c)
{
    char feedback[64];
    contract_hidden_str(c, feedback, sizeof feedback);
    return json_pack("{s:s, s:s, s:s}", "base_hidden_variant",
                     c->base == HIDDEN_PRE_NORM ? "pre_norm" : "post_norm", "concat_order",
                     c->hidden_first ? "hidden_embedding" : "embedding_hidden", "hidden_variant", feedback);
}

static json_t *trial_json(const struct calibrate *c, const struct calibrate_trial *t)
{
    json_t *o = contract_words(&t->contract), *intervals = json_array(), *hits = json_array();
    if (!o || !intervals || !hits) return NULL;
    for (int d = 0; d < t->depth; d++) {
        json_array_append_new(hits, json_integer(t->hits[d]));
        json_array_append_new(intervals, json_pack("[f, f]", t->rate[d].low, t->rate[d].high));
    }
    bool delta = t->norms_other ? c->norms_delta == c->norms_other : c->norms_delta != c->norms_other;
    json_object_set_new(o, "norm_encoding", json_string(delta ? "delta" : "absolute"));
    json_object_set_new(o, "hits_by_depth", hits);
    json_object_set_new(o, "agreement_by_depth", rates(c, t->hits, t->depth));
    json_object_set_new(o, "interval_95_by_depth", intervals);
    return o;
}

static json_t *choice_json(const struct calibrate_choice *ch)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:f, s:[f, f]}", "outcome",
                     outcome_name(ch->outcome), "chosen", ch->chosen, "rival", ch->rival,
                     "declared", ch->declared, "won", (json_int_t)ch->won, "lost", (json_int_t)ch->lost, "p",
                     ch->p, "lead_95", ch->lead.low, ch->lead.high);
}

/* MTPLX's figure of merit: 4 x agreement + 1.5 x among the best 4 + among the best 8, summed over depths, and
 * twice the first step's agreement. */
static double score(const struct calibrate *c, const struct calibrate_trial *t)
{
    double sum = 2 * share(t->hits[0], c->positions);
    for (int d = 0; d < t->depth; d++)
        sum += 4 * share(t->hits[d], c->positions) + 1.5 * share(t->top[d][1], c->positions) +
               share(t->top[d][2], c->positions);
    return sum;
}

/* exact_agreement means in this format that some best guess equalled the target's own greedy token, and no
 * more. */
static const char *agreement(const struct calibrate_trial *t)
{
    int64_t exact = 0, top = 0;
    for (int d = 0; d < t->depth; d++) {
        exact += t->hits[d];
        top += t->top[d][2];
    }
    return exact ? "exact_agreement" : top ? "topk_only_no_exact_agreement" : "no_agreement_signal";
}

/* {"1": [by depth], "2": ..., "4": ..., "8": ...} */
static json_t *topk(const struct calibrate *c, const struct calibrate_trial *t)
{
    json_t *o = json_object();
    if (!o) return NULL;
    json_object_set_new(o, "1", rates(c, t->hits, t->depth));
    for (int k = 0; k < 3; k++) {
        char key[8];
        int64_t hits[CHAIN_DEPTH_MAX];
        for (int d = 0; d < t->depth; d++) hits[d] = t->top[d][k];
        snprintf(key, sizeof key, "%d", 2 << k);
        json_object_set_new(o, key, rates(c, hits, t->depth));
    }
    return o;
}

json_t *calibrate_contract_json(const struct calibrate *c)
{
    const struct calibrate_trial *t = &c->trials[c->best];
    mem_setup();
    json_t *o = contract_words(&c->contract);
    if (!o) return NULL;
    json_object_set_new(o, "mtp_position_mode", json_string("cache"));
    json_object_set_new(o, "calibration",
                        json_pack("{s:s, s:s, s:f, s:o, s:o, s:s, s:s, s:s, s:I}", "probe",
                                  "alula teacher-forced", "status", agreement(t), "score", score(c, t),
                                  "agreement_by_depth", rates(c, t->hits, t->depth), "topk_rates_by_depth",
                                  topk(c, t), "cache_policy", "persistent", "history_mode", "committed",
                                  "anchor", "every_position", "positions", (json_int_t)c->positions));
    return o;
}

json_t *calibrate_json(const struct calibrate *c)
{
    mem_setup();
    json_t *choices = json_object(), *trials = json_array();
    if (!choices || !trials) return NULL;
    int decided = c->n_trials == CALIBRATE_TRIALS ? CALIBRATE_DIMENSIONS : CALIBRATE_FEEDBACK;
    for (int d = 0; d < decided; d++)
        json_object_set_new(choices, calibrate_dimension_name(d), choice_json(&c->choices[d]));
    json_object_set_new(
        choices, "mtp_position_mode",
        json_pack("{s:s, s:s}", "outcome", "not_tried", "why",
                  "rotary embeddings are relative: every position offset gives the same numbers"));
    for (int i = 0; i < c->n_trials; i++) json_array_append_new(trials, trial_json(c, &c->trials[i]));
    return json_pack("{s:s, s:s, s:b, s:s, s:I, s:f, s:f, s:o, s:s, s:o, s:o}", "status",
                     calibrate_status_name(c->status), "reason", c->reason, "usable", c->usable, "problem",
                     c->problem, "positions", (json_int_t)c->positions, "text_loss", c->loss,
                     "commonest_token_rate", c->constant_rate, "mtp_contract", calibrate_contract_json(c),
                     "norm_encoding", c->norms_delta ? "delta" : "absolute", "choices", choices, "trials",
                     trials);
}
