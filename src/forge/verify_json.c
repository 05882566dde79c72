/* verify_json.c - a verification as JSON: what `alula forge verify --json` prints and mtplx_runtime.json
 * keeps. Measures and decides nothing. */
#include "forge/verify.h"

#include "base/json.h"

static double share(int64_t part, int64_t whole) { return whole ? (double)part / (double)whole : 0; }

static json_t *texts_json(const struct verify_texts *t)
{
    json_t *rows = json_array();
    for (int d = 0; rows && d <= CHAIN_DEPTH_MAX; d++) {
        json_t *row =
            json_pack("{s:i, s:f, s:f}", "depth", d, "tok_s", t->tok_s[d], "multiplier_vs_ar", t->speedup[d]);
        json_t *drafted = json_array(), *accepted = json_array(), *rates = json_array();
        for (int k = 0; k < d; k++) {
            json_array_append_new(drafted, json_integer(t->drafted[d][k]));
            json_array_append_new(accepted, json_integer(t->accepted[d][k]));
            json_array_append_new(rates, json_real(share(t->accepted[d][k], t->drafted[d][k])));
        }
        json_object_set_new(row, "drafted_by_depth", drafted);
        json_object_set_new(row, "accepted_by_depth", accepted);
        json_object_set_new(row, "acceptance_by_depth", rates);
        json_array_append_new(rows, row);
    }
    json_t *o = json_pack("{s:b, s:i, s:I, s:o}", "equal", t->equal, "prompts", t->n_prompts, "tokens",
                          (json_int_t)t->tokens, "rows", rows);
    if (o && !t->equal)
        json_object_set_new(
            o, "first_difference",
            json_pack("{s:i, s:i, s:i}", "prompt", t->prompt, "depth", t->depth, "token", t->token));
    return o;
}

/* agreement: step d is right, given the text before it; prefix: steps 1 to d all are. */
static json_t *head_json(const struct verify_head *h)
{
    if (!h->measured) return json_null();
    json_t *o = json_pack("{s:s, s:I, s:f, s:I}", "stored", h->what, "positions", (json_int_t)h->positions,
                          "draft_step_ms", h->draft_ms, "draft_step_bytes", (json_int_t)h->bytes);
    const struct {
        const char *key;
        const int64_t *hits;
    } sets[] = {{"agreement", h->hits}, {"prefix", h->prefix}};
    for (int i = 0; o && i < 2; i++) {
        json_t *list = json_array();
        for (int d = 0; d < CHAIN_DEPTH_MAX; d++) {
            struct interval w = stats_wilson(sets[i].hits[d], h->positions);
            json_array_append_new(list, json_pack("{s:I, s:f, s:[f, f]}", "hits", (json_int_t)sets[i].hits[d],
                                                  "rate", share(sets[i].hits[d], h->positions), "interval_95",
                                                  w.low, w.high));
        }
        json_object_set_new(o, sets[i].key, list);
    }
    return o;
}

static json_t *paired_json(const struct verify *v)
{
    json_t *list = json_array();
    for (int d = 0; list && v->source.measured && d < CHAIN_DEPTH_MAX; d++) {
        struct interval lead = stats_lead(v->won[d], v->lost[d], v->packed.positions);
        json_array_append_new(
            list, json_pack("{s:i, s:I, s:I, s:f, s:[f, f]}", "step", d + 1, "packed_alone_right",
                            (json_int_t)v->won[d], "source_alone_right", (json_int_t)v->lost[d], "p",
                            stats_sign_p(v->won[d], v->lost[d]), "packed_lead_95", lead.low, lead.high));
    }
    return list;
}

static json_t *body_json(const struct verify_body *b)
{
    if (!b->measured) return json_pack("{s:b, s:s}", "measured", 0, "why", b->why_not);
    return json_pack("{s:b, s:I, s:f, s:f, s:f, s:f, s:f}", "measured", 1, "tokens", (json_int_t)b->tokens,
                     "loss", b->loss, "source_loss", b->source_loss, "kl_from_source", b->kl,
                     "kl_standard_error", b->kl_error, "same_top_token", b->top1_same);
}

json_t *verify_json(const struct verify *v)
{
    mem_setup();
    json_t *drift =
        v->drift.n ? drift_json(&v->drift) : json_pack("{s:b, s:s}", "measured", 0, "why", v->no_drift);
    json_t *heads = json_pack("{s:o, s:o, s:o}", "packed", head_json(&v->packed), "source",
                              head_json(&v->source), "paired", paired_json(v));
    return json_pack("{s:s, s:s, s:s, s:s, s:i, s:f, s:s, s:b, s:s, s:s, s:i, s:o, s:o, s:o, s:o, s:o}",
                     "alula_version", alula_version(), "timestamp", v->timestamp, "hardware", v->hardware,
                     "os", v->os, "threads", v->n_threads, "seconds", v->seconds, "artifact_fingerprint",
                     v->fingerprint, "passed", v->passed, "problem", v->problem, "verdict", v->verdict,
                     "best_depth", v->best_depth, "calibration", calibrate_json(&v->calibration), "texts",
                     texts_json(&v->texts), "heads", heads, "body", body_json(&v->body), "drift", drift);
}
