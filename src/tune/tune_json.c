/* tune_json.c - a result as JSON, in MTPLX's words as far as it has them. */
#include "tune/tune.h"

#include <stdio.h>
#include <sys/utsname.h>

#include "base/mem.h"
#include "base/pool.h"
#include "tune/prompts.h"

static json_t *mode(int depth) { return depth ? json_sprintf("D%d", depth) : json_string("AR"); }

static json_t *modes(const struct tune_result *r, const bool *chosen)
{
    json_t *a = json_array();
    for (int i = 0; i < r->n_rows; i++)
        if (chosen[i]) json_array_append_new(a, mode(r->rows[i].depth));
    return a;
}

static json_t *interval(struct estimate v) { return json_pack("[f, f]", v.low, v.high); }

static double per(double seconds, int64_t n) { return n ? 1000 * seconds / (double)n : 0; }

static json_t *counts(const int64_t *v, int n)
{
    json_t *a = json_array();
    for (int i = 0; i < n; i++) json_array_append_new(a, json_integer(v[i]));
    return a;
}

static json_t *acceptance(const struct tune_row *row, double scale)
{
    json_t *a = json_array();
    for (int d = 0; d < row->depth; d++) json_array_append_new(a, json_real(scale * tune_acceptance(row, d)));
    return a;
}

static int64_t drafts(const struct tune_row *row)
{
    int64_t n = 0;
    for (int d = 0; d < row->depth; d++) n += row->drafted[d];
    return n;
}

static void add_depth_fields(json_t *o, const struct tune_row *row, const struct tune_row *before)
{
    json_object_set_new(o, "drafted_by_depth", counts(row->drafted, row->depth));
    json_object_set_new(o, "accepted_by_depth", counts(row->accepted, row->depth));
    json_object_set_new(o, "acceptance_by_depth", acceptance(row, 1));
    json_object_set_new(o, "acceptance_percent_by_depth", acceptance(row, 100));
    json_object_set_new(o, "draft_time_s", json_real(row->draft_s));
    json_object_set_new(o, "draft_ms_per_token", json_real(per(row->draft_s, drafts(row))));
    json_object_set_new(o, "marginal_verify_ms",
                        json_real(per(row->verify_s, row->cycles) - per(before->verify_s, before->cycles)));
}

static json_t *row_json(const struct tune_result *r, int i)
{
    const struct tune_row *row = &r->rows[i];
    double all = row->prefill_s + row->decode_s;
    int answers = TUNE_N_PROMPTS * r->settings.rounds;
    json_t *o = json_pack(
        "{s:o, s:o, s:s, s:f, s:o, s:f, s:f, s:I, s:f, s:f, s:f, s:b, s:i, s:{s:i}, s:f, s:I, s:f}", "mode",
        mode(row->depth), "depth", row->depth ? json_integer(row->depth) : json_null(), "control_field",
        "depth", "tok_s", row->tok_s.mid, "tok_s_interval", interval(row->tok_s), "decode_tok_s",
        row->tok_s.mid, "end_to_end_tok_s", all > 0 ? (double)row->tokens / all : 0.0, "generated_tokens",
        (json_int_t)row->tokens, "elapsed_s", all, "prompt_eval_time_s", row->prefill_s, "decode_elapsed_s",
        row->decode_s, "hit_token_budget", 1, "hit_token_budget_count", answers, "finish_reasons", "length",
        answers, "verify_time_s", row->verify_s, "verify_calls", (json_int_t)row->cycles,
        "verify_ms_per_call", per(row->verify_s, row->cycles));
    if (row->depth) add_depth_fields(o, row, row - 1);
    json_object_set_new(o, "exact_match", json_boolean(row->exact_match));
    json_object_set_new(o, "quality_passed", json_boolean(row->exact_match));
    json_object_set_new(o, "multiplier_vs_ar", json_real(row->multiplier.mid));
    json_object_set_new(o, "multiplier_vs_ar_interval", interval(row->multiplier));
    return o;
}

static json_t *choice(const struct tune_result *r, int i)
{
    if (i < 0) return json_null();
    const struct tune_row *row = &r->rows[i];
    return json_pack("{s:o, s:s, s:i, s:f, s:f}", "mode", mode(row->depth), "control_field", "depth", "depth",
                     row->depth, "multiplier_vs_ar", row->multiplier.mid, "tok_s", row->tok_s.mid);
}

static json_t *failure_reasons(const struct tune_ruling *v)
{
    if (v->verdict == TUNE_MTP_WINS) return json_array();
    const char *name =
        v->verdict == TUNE_QUALITY_FAILED ? "quality_failed_fast_mtp" : tune_verdict_name(v->verdict);
    return json_pack("[s]", name);
}

static json_t *ruling_json(const struct tune_result *r)
{
    const struct tune_ruling *v = &r->ruling;
    return json_pack("{s:s, s:b, s:f, s:o, s:o, s:{s:b, s:f}, s:o, s:o, s:o, s:o, s:o}", "verdict",
                     tune_verdict_name(v->verdict), "available", v->verdict != TUNE_NO_PLAIN_RESULT,
                     "ar_tok_s", r->rows[0].tok_s.mid, "raw_winner", choice(r, v->fastest), "winner",
                     choice(r, v->winner), "tie_breaker", "applied", v->winner != v->fastest,
                     "prefer_deeper_within_pct", TUNE_PREFER_DEEPER_PCT, "failure_reasons",
                     failure_reasons(v), "acceptance_collapsed", modes(r, v->collapsed), "quality_rejected",
                     modes(r, v->failed), "ties_with_ar", modes(r, v->ties_plain), "ties_with_winner",
                     modes(r, v->ties_winner));
}

static double coverage(const struct tune_row *row)
{
    return row->tokens ? (double)row->covered / (double)row->tokens : 0;
}

static json_t *id_list(const int32_t *ids, int n)
{
    if (!ids) return json_null();
    json_t *list = json_array();
    for (int i = 0; i < n; i++) json_array_append_new(list, json_integer(ids[i]));
    return list;
}

/* Which part of the vocabulary drafts come from, and what was weighed; null if nothing was. */
static json_t *trims_json(const struct tune_result *r)
{
    if (!r->n_trims) return json_null();
    const struct tune_row *chosen = &r->trims[r->trim];
    json_t *list = json_array();
    for (int i = 0; i < r->n_trims; i++) {
        const struct tune_row *row = &r->trims[i];
        json_array_append_new(list, json_pack("{s:i, s:i, s:b, s:f, s:f, s:o, s:f, s:o, s:b}", "ids",
                                              tune_trim_ids(r, i), "bits", i ? r->settings.trim_bits : 0,
                                              "of_text", tune_trim_list(r, i) != NULL, "tok_s",
                                              row->tok_s.mid, "multiplier_vs_whole", row->multiplier.mid,
                                              "multiplier_vs_whole_interval", interval(row->multiplier),
                                              "coverage", coverage(row), "acceptance_by_depth",
                                              acceptance(row, 1), "exact_match", row->exact_match));
    }
    return json_pack("{s:i, s:i, s:o, s:f, s:f, s:f, s:i, s:o}", "ids", tune_trim_ids(r, r->trim), "bits",
                     r->trim ? r->settings.trim_bits : 0, "list",
                     id_list(tune_trim_list(r, r->trim), tune_trim_ids(r, r->trim)), "coverage",
                     coverage(chosen), "acceptance", tune_acceptance(chosen, 0), "acceptance_whole",
                     tune_acceptance(&r->trims[0], 0), "depth", TUNE_TRIM_DEPTH, "candidates", list);
}

static json_t *settings_json(const struct tune_result *r)
{
    const struct tune_options *o = &r->settings;
    char depths[32] = "";
    for (int d = 1, n = 0; d <= o->depths; d++)
        n += snprintf(depths + n, sizeof depths - (size_t)n, "%s%d", d > 1 ? "," : "", d);
    return json_pack("{s:s, s:i, s:i, s:i, s:i, s:f, s:s, s:s, s:f}", "depths", depths, "max_tokens",
                     o->max_tokens, "limit", TUNE_N_PROMPTS, "rounds", o->rounds, "threads", o->n_threads,
                     "temperature", 0.0, "mtp_history_policy", "committed", "control_field", "depth",
                     "tie_prefer_deeper_within_pct", TUNE_PREFER_DEEPER_PCT);
}

json_t *tune_to_json(const struct tune_result *r, const char *model, const char *cpu)
{
    struct utsname u;
    mem_setup();
    if (uname(&u)) return NULL;
    json_t *results = json_array();
    for (int i = 0; i < r->n_rows; i++) json_array_append_new(results, row_json(r, i));
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:{s:s, s:s, s:s, s:i}, s:{s:s}, s:{s:f, s:f, "
        "s:f, s:b, s:b}, s:b}",
        "action", "tune", "model", model, "suite", "alula-short-4", "control_field", "depth", "settings",
        settings_json(r), "results", results, "best", choice(r, r->ruling.winner), "best_multiplier",
        ruling_json(r), "draft_vocab", trims_json(r), "hardware", "chip", cpu, "machine", u.machine, "system",
        u.sysname, "logical_cpu", pool_cpu_count(), "software", "alula_version", alula_version(),
        "diagnostics", "other_tasks", r->others, "noise", r->noise, "noise_limit", TUNE_NOISE_MAX, "busy",
        r->busy, "forced", r->settings.force, "from_cache", 0);
}
