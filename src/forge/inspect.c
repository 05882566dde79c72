/* inspect.c - reaches the verdict on an artifact. Looks through survey.c's eyes; prints nothing (inspect_json.c, cli). */
#include "forge/inspect.h"

#include <stdarg.h>
#include <stdio.h>

#include "artifact/quant.h"
#include "base/json.h"

#define FAMILY_ID "qwen3-next-mtp"

const char *tier_name(enum tier t)
{
    static const char *const names[] = {
        "verified", "family-compatible-unverified",           "AR-only",
        "no-MTP",   "architecture-compatible-but-unverified", "incompatible-architecture"};
    return names[t];
}

int tier_exit_code(enum tier t)
{
    static const int codes[] = {0, 0, 0, 2, 3, 4};
    return codes[t];
}

/* ---- advice ---------------------------------------------------------------------------------------------------- */

/* verb and tail around the folder's path. */
static void advise(struct inspection *i, const char *why, const char *verb, const char *tail)
{
    struct buf b = {0};
    struct advice *a = &i->next[i->n_next];
    if (i->n_next == INSPECT_ADVICE_MAX) return;
    snprintf(a->why, sizeof a->why, "%s", why);
    buf_str(&b, verb);
    survey_quote(&b, i->path);
    buf_str(&b, tail);
    if (b.data && b.len < sizeof a->command) memcpy(a->command, b.data, b.len + 1);
    i->n_next++;
    buf_free(&b);
}

static void advise_graft(struct inspection *i, const char *why)
{
    advise(i, why, "alula forge --trunk ", " --mtp DONOR --out OUT");
}

/* ---- the verdict ----------------------------------------------------------------------------------------------- */

static void set(struct inspection *i, enum tier tier, const char *compatibility, const char *level,
                bool can_run, const char *mtp_supported)
{
    i->tier = tier;
    i->runtime_compatibility = compatibility;
    i->support_level = level;
    i->can_run = can_run;
    i->mtp_supported = mtp_supported;
    i->supported = tier == TIER_VERIFIED || tier == TIER_FAMILY;
    i->unverified = tier != TIER_VERIFIED && tier != TIER_INCOMPATIBLE;
}

__attribute__((format(printf, 2, 3))) static void say(struct inspection *i, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(i->message, sizeof i->message, fmt, ap);
    va_end(ap);
}

/* Widths that nobody can compute with; *ret_bits is the first. */
static bool has_odd_width(const json_t *quantization, int *ret_bits)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)quantization, key, value)
    {
        const json_t *bits = !strcmp(key, "bits") ? value : json_object_get(value, "bits");
        if (!json_is_integer(bits) || quant_supported((int)json_integer_value(bits), 64)) continue;
        *ret_bits = (int)json_integer_value(bits);
        return true;
    }
    return false;
}

static bool judge_family(struct inspection *i)
{
    const struct survey *s = &i->survey;
    bool marked = s->declares_head || s->head_set.n_tensors;
    if (s->known_family) {
        i->recognized = true;
        i->backend = "qwen3_next";
        snprintf(i->arch_id, sizeof i->arch_id, FAMILY_ID);
        return true;
    }
    set(i, marked ? TIER_INCOMPATIBLE : TIER_NO_MTP, "unsupported", "unsupported", false,
        marked ? "partial" : "no");
    snprintf(i->arch_id, sizeof i->arch_id, "%s", marked ? "generic-mtp" : "");
    say(i, "%s", s->config.code ? s->config.message : "the architecture is not one that alula computes");
    return false;
}

/* The body and what the config says of it. */
static bool judge_body(struct inspection *i)
{
    const struct survey *s = &i->survey;
    int bits;
    if (has_odd_width(s->cp->quantization, &bits)) {
        set(i, TIER_UNVERIFIED, "unsupported-quant-bits", "unsupported-quantization", false, "no");
        say(i, "config.json speaks of weights of %d bits; there are kernels for 2, 3, 4, 5, 6 and 8", bits);
    } else if (s->config.code) {
        set(i, TIER_UNVERIFIED, "unsupported", "unsupported", false, "no");
        say(i, "%s", s->config.message);
    } else if (!s->has_trunk) {
        set(i, TIER_UNVERIFIED, "missing-model-weights", "native-backend-missing-model-weights", false,
            "partial");
        say(i, "%s", s->trunk.code ? s->trunk.message : "the folder holds a head but no body");
        if (s->head_set.n_tensors)
            advise(i, "a head is grafted onto a body", "alula forge --trunk TRUNK --mtp ", " --out OUT");
        else
            advise(i, "if a download was interrupted, finish it and look again", "alula inspect ", "");
    } else if (s->trunk.code) {
        set(i, TIER_UNVERIFIED, "invalid-base-tensor-layout", "native-backend-invalid-base-tensors", false,
            "partial");
        say(i, "%s", s->trunk.message);
    } else if (s->layout == BODY_NUMBERED) {
        set(i, TIER_UNVERIFIED, "invalid-base-tensor-layout", "native-backend-invalid-base-tensors", false,
            "partial");
        say(i, "the experts of the body are numbered, one tensor each, which neither MTPLX nor mlx-lm loads "
               "(alula itself does)");
        if (s->head_fits)
            advise(i, "write it anew in the layout that all read", "alula forge --trunk ", " --out OUT");
        else
            advise_graft(i, "write it anew in the layout that all read, with the head of a model DONOR");
    } else {
        return true;
    }
    return false;
}

static bool known_arch(const char *id)
{
    static const char *const ids[] = {FAMILY_ID, "qwen3-next",  "qwen3_next",
                                      "qwen3_5", "qwen3_5_mtp", "qwen3_6_mtp"};
    for (size_t k = 0; k < sizeof ids / sizeof *ids; k++)
        if (!strcmp(id, ids[k])) return true;
    return false;
}

/* A newer engine, another architecture: what the contract rules out whatever the tensors are. */
static bool judge_claims(struct inspection *i)
{
    const struct runtime_contract *c = &i->contract;
    if (c->needs_newer_engine) {
        set(i, TIER_INCOMPATIBLE, "engine-update-required", "engine-update-required", false, "no");
        i->backend = i->profile = NULL;
        say(i,
            "mtplx_runtime.json asks for an engine like MTPLX %s or later; alula does what "
            "MTPLX " CONTRACT_MTPLX_VERSION " does",
            c->min_engine_version);
        return false;
    }
    if (!c->present || c->problem[0] || i->contract_problem.code || known_arch(c->arch_id)) return true;
    set(i, TIER_AR_ONLY, "native-ar-only-mtp-unsupported", "trunk-ar-fallback", true, "no");
    i->recognized = false;
    i->backend = NULL;
    snprintf(i->arch_id, sizeof i->arch_id, "%s", c->arch_id);
    say(i,
        "mtplx_runtime.json is a contract for \"%s\", which alula does not draft with; the body runs without "
        "a head",
        c->arch_id);
    advise(i, "run it without the head", "alula run ", "");
    return false;
}

static void name_gate_failure(struct inspection *i)
{
    const struct survey *s = &i->survey;
    const struct head_set *h = &s->head_set;
    if (s->cp->sidecar_missing)
        say(i, "config.json names %s for the MTP head, and that file is not there", s->cp->sidecar_missing);
    else if (s->head.code)
        say(i, "%s", s->head.message);
    else if (!h->n_tensors)
        say(i, "%s",
            s->declares_head ? "config.json declares an MTP head, but there is no tensor of one"
                             : "there is no MTP head");
    else if (!s->declares_head)
        say(i, "there is an MTP head, but config.json does not declare it (mtp_num_hidden_layers)");
    else if (i->contract_problem.code)
        say(i, "%s", i->contract_problem.message);
    else
        say(i, "the MTP head is not complete: %zu of %zu tensors", h->n_tensors, h->n_expected);
}

/* Is the head there, whole and fit? */
static bool judge_head(struct inspection *i)
{
    const struct survey *s = &i->survey;
    bool valid = i->contract.present && !i->contract.problem[0], any = s->head_set.n_tensors || s->head.code;
    if (i->gate && s->declares_head && !i->contract_problem.code) return true;
    const char *level = valid ? "native-backend-needs-contract-repair"
                        : any ? "native-backend-invalid-mtp-tensors"
                              : "native-backend-missing-mtp-weights";
    set(i, TIER_UNVERIFIED, valid || any ? "native-ar-only-mtp-unsupported" : "native-ar-only-missing-mtp",
        level, true, "no");
    name_gate_failure(i);
    if (i->gate)
        advise(i, "write it anew with the head that is here", "alula forge --trunk ", " --out OUT");
    else
        advise_graft(i, "graft the head of a model DONOR");
    advise(i, "or run it without a head", "alula run ", "");
    return false;
}

/* What alula forge verify found wrong, else "". */
static const char *failure(const struct inspection *i)
{
    const json_t *exactness = json_object_get(i->survey.cp->runtime_json, "exactness_baseline");
    const char *problem = json_string_value(json_object_get(exactness, "problem"));
    return problem ? problem : "";
}

/* The head is good: what has been measured of it? */
static void judge_contract(struct inspection *i)
{
    const struct runtime_contract *c = &i->contract;
    const char *blocker = contract_blocker(c);
    if (!c->present) {
        set(i, TIER_FAMILY, "native-family-gated", "native-family-auto-smoke", true, "yes");
        say(i,
            "the MTP head is complete and fits; there is no mtplx_runtime.json that says what was measured");
    } else if (c->problem[0]) {
        set(i, TIER_UNVERIFIED, "native", "verified-native", true, "partial");
        i->profile = NULL;
        say(i, "the MTP head is complete and fits, but the contract is not valid: %s", c->problem);
    } else if (blocker) {
        set(i, TIER_UNVERIFIED, "runtime-contract-unverified", "native-backend-needs-contract-repair", true,
            "partial");
        const char *why = failure(i);
        say(i,
            "the MTP head is complete and fits, but mtplx_runtime.json says that it is not verified: %s%s%s",
            blocker, *why ? "; " : "", why);
    } else {
        set(i, TIER_VERIFIED, "native", "verified-native", true, "yes");
        say(i, "the MTP head is complete and fits, and the contract says that it was verified");
    }
    if (i->tier == TIER_VERIFIED)
        advise(i, "find the depth that is fastest on this machine", "alula tune ", "");
    else if (blocker && !strcmp(blocker, "fail_contract"))
        advise(i, "write the contract that was found to be right", "alula forge verify ", " --adopt");
    else
        advise(i, "measure it here and write the contract", "alula forge verify ", "");
    advise(i, "talk to it", "alula run ", "");
}

static const char *canonical_profile(const char *name)
{
    static const char *const aliases[][2] = {
        {"safe", "stable"},       {"native-mtp-60", "performance-cold"}, {"auto", "sustained"},
        {"default", "sustained"}, {"sustained-max", "sustained"},        {"max", "max-diagnostic"},
    };
    for (size_t k = 0; k < sizeof aliases / sizeof *aliases; k++)
        if (!strcmp(name, aliases[k][0])) return aliases[k][1];
    return name;
}

static bool look(struct inspection *i, struct alula_error *e)
{
    const struct survey *s = &i->survey;
    const struct alula_error *unread = s->has_config && !s->cp->config_json ? &s->config
                                       : s->trunk.code == ALULA_IO          ? &s->trunk
                                       : s->head.code == ALULA_IO           ? &s->head
                                                                            : NULL;
    if (unread) {
        *e = *unread;
        return false;
    }
    if (!contract_read(&i->contract, s->cp, &i->contract_problem)) {
        i->contract.present = s->cp->runtime_json || s->cp->runtime_problem[0];
        if (i->contract_problem.code == ALULA_NOMEM)
            return err_set(e, ALULA_NOMEM, "%s", i->contract_problem.message);
    } else {
        i->contract_problem.code = ALULA_OK;
    }
    i->gate = s->head_fits && s->head_set.passes;
    bool valid = i->contract.present && !i->contract.problem[0] && i->contract.recommended_profile[0];
    i->profile = valid ? canonical_profile(i->contract.recommended_profile) : "sustained";
    if (judge_family(i) && judge_claims(i) && judge_body(i) && judge_head(i)) judge_contract(i);
    if (!i->can_run) i->profile = i->tier == TIER_UNVERIFIED ? i->profile : NULL;
    return true;
}

bool inspect_open(struct inspection *ret, const char *path, struct alula_error *e)
{
    struct inspection *i = ret;
    *i = (struct inspection){.path = path};
    if (!survey_open(&i->survey, path, e)) return false;
    if (look(i, e)) return true;
    survey_close(&i->survey);
    return false;
}

void inspect_close(struct inspection *i) { survey_close(&i->survey); }
