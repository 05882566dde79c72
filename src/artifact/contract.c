/* contract.c - reads mtplx_runtime.json and config.json's mtplx_mtp_contract.
 *
 * Owns the words of the contract. Knows nothing of how a head is run or how a verdict is worded. */
#include "artifact/contract.h"

#include <stdio.h>
#include <stdlib.h>

#include "artifact/quant.h"
#include "base/json.h"

static const char *const variant_names[] = {"post_norm", "pre_norm", "fc", "embedding", "prev"};

/* ---- the head's contract --------------------------------------------------------------------- */

static bool find_word(const char *word, size_t len, const char *const *words, int n, int *ret)
{
    for (int i = 0; i < n; i++) {
        if (strlen(words[i]) == len && !strncmp(words[i], word, len)) {
            *ret = i;
            return true;
        }
    }
    return false;
}

/* The value of key among words; absent: the first of them. */
static bool read_word(const json_t *o, const char *key, const char *const *words, int n, int *ret,
                      const char *what, struct alula_error *e)
{
    const char *v;
    if (!json_get_str_or(o, key, words[0], &v, what, e)) return false;
    return find_word(v, strlen(v), words, n, ret) ||
           err_set(e, ALULA_UNSUPPORTED, "%s: \"%s\" is \"%.80s\", which alula does not know", what, key, v);
}

/* "mix:LEFT:RIGHT:WEIGHT", the weight with "p" or "." for the decimal point. */
static bool parse_mix(struct mtp_contract *c, const char *text)
{
    const char *left = text + 4, *right = strchr(left, ':'), *weight = right ? strchr(right + 1, ':') : NULL;
    char number[16] = "", *end;
    int a, b;
    if (!weight || !find_word(left, (size_t)(right - left), variant_names, 5, &a) ||
        !find_word(right + 1, (size_t)(weight - right - 1), variant_names, 5, &b))
        return false;
    size_t n = strlen(++weight);
    if (n == 0 || n >= sizeof number || strspn(weight, "0123456789.p") != n) return false;
    for (size_t i = 0; i < n; i++) number[i] = weight[i] == 'p' ? '.' : weight[i];
    float w = strtof(number, &end);
    if (*end || w < 0 || w > 1) return false;
    c->feedback = HIDDEN_MIX;
    c->mix_a = (enum hidden_variant)a;
    c->mix_b = (enum hidden_variant)b;
    c->mix_weight = w;
    return true;
}

static bool read_feedback(struct mtp_contract *c, const json_t *o, const char *what, struct alula_error *e)
{
    const char *v;
    int variant = 0;
    if (!json_get_str_or(o, "hidden_variant", variant_names[0], &v, what, e)) return false;
    if (!strncmp(v, "mix:", 4))
        return parse_mix(c, v) || err_set(e, ALULA_UNSUPPORTED,
                                          "%s: \"hidden_variant\" is \"%.80s\", expected "
                                          "mix:LEFT:RIGHT:WEIGHT with a weight from 0 to 1",
                                          what, v);
    if (!find_word(v, strlen(v), variant_names, 5, &variant))
        return err_set(e, ALULA_UNSUPPORTED, "%s: \"hidden_variant\" is \"%.80s\", which alula does not know",
                       what, v);
    c->feedback = (enum hidden_variant)variant;
    return true;
}

/* Position mode and history policy must be words of the contract, and change nothing here: rotary embeddings are
 * relative, and the history is always the committed one. */
static bool read_mtp(struct runtime_contract *r, const json_t *o, const char *what, struct alula_error *e)
{
    static const char *const orders[] = {"embedding_hidden", "hidden_embedding"};
    static const char *const positions[] = {"cache", "local", "absolute"};
    static const char *const histories[] = {"committed", "last_window", "cycle"};
    int base = 0, order = 0, position = 0, history = 0;
    if (!json_is_object(o)) return err_set(e, ALULA_FORMAT, "%s is not an object", what);
    if (!read_word(o, "base_hidden_variant", variant_names, 2, &base, what, e) ||
        !read_feedback(&r->mtp, o, what, e) || !read_word(o, "concat_order", orders, 2, &order, what, e) ||
        !read_word(o, "mtp_position_mode", positions, 3, &position, what, e) ||
        !read_word(o, "mtp_history_policy", histories, 3, &history, what, e))
        return false;
    r->mtp.base = (enum hidden_variant)base;
    r->mtp.hidden_first = order == 1;
    r->has_mtp_contract = true;
    return true;
}

const char *contract_hidden_str(const struct mtp_contract *c, char *out, size_t cap)
{
    if (c->feedback != HIDDEN_MIX) {
        snprintf(out, cap, "%s", variant_names[c->feedback]);
        return out;
    }
    snprintf(out, cap, "mix:%s:%s:%g", variant_names[c->mix_a], variant_names[c->mix_b],
             (double)c->mix_weight);
    char *point = strchr(out, '.');
    if (point) *point = 'p';
    return out;
}

/* ---- mtplx_runtime.json ---------------------------------------------------------------------- */

static void copy_text(char *out, size_t cap, const json_t *o, const char *key)
{
    const char *v = json_string_value(json_object_get(o, key));
    snprintf(out, cap, "%s", v ? v : "");
}

/* Compares dotted versions number by number. */
static bool version_above(const char *a, const char *b)
{
    while (*a || *b) {
        char *a_end, *b_end;
        long x = strtol(a, &a_end, 10), y = strtol(b, &b_end, 10);
        if (x != y) return x > y;
        if (a_end == a && b_end == b) return false;
        a = *a_end == '.' ? a_end + 1 : a_end;
        b = *b_end == '.' ? b_end + 1 : b_end;
    }
    return false;
}

static bool known_profile(const char *name)
{
    static const char *const profiles[] = {
        "stable",         "performance-cold", "sustained", "turbo",         "exact",
        "max-diagnostic", "turbo-full-stack", "safe",      "native-mtp-60", "auto",
        "default",        "sustained-max",    "max",
    };
    int ignored;
    return find_word(name, strlen(name), profiles, sizeof profiles / sizeof *profiles, &ignored);
}

static void set_problem(struct runtime_contract *r, const char *what, const char *value)
{
    if (!r->problem[0]) snprintf(r->problem, sizeof r->problem, "mtplx_runtime.json: %s%.100s", what, value);
}

static void check_required(struct runtime_contract *r, const json_t *o)
{
    static const char *const texts[] = {"mtplx_version", "arch_id", "recommended_profile"};
    static const char *const objects[] = {"exactness_baseline", "verified_on"};
    const json_t *depth = json_object_get(o, "mtp_depth_max");
    for (size_t i = 0; i < 3; i++)
        if (!json_is_string(json_object_get(o, texts[i]))) set_problem(r, "a text is missing: ", texts[i]);
    for (size_t i = 0; i < 2; i++)
        if (!json_is_object(json_object_get(o, objects[i])))
            set_problem(r, "an object is missing: ", objects[i]);
    if (!json_is_integer(depth))
        set_problem(r, "a number is missing: ", "mtp_depth_max");
    else if (json_integer_value(depth) < 1 || json_integer_value(depth) > 64)
        set_problem(r, "mtp_depth_max must be at least 1", "");
    else
        r->depth_max = (int)json_integer_value(depth);
    if (!known_profile(r->recommended_profile))
        set_problem(r, "unknown recommended_profile ", r->recommended_profile);
}

static void read_runtime(struct runtime_contract *r, const json_t *o)
{
    const json_t *exactness = json_object_get(o, "exactness_baseline"),
                 *speed = json_object_get(o, "speed_evidence");
    if (!json_is_object(o)) {
        set_problem(r, "it is not an object", "");
        return;
    }
    copy_text(r->mtplx_version, sizeof r->mtplx_version, o, "mtplx_version");
    copy_text(r->arch_id, sizeof r->arch_id, o, "arch_id");
    copy_text(r->recommended_profile, sizeof r->recommended_profile, o, "recommended_profile");
    copy_text(r->min_engine_version, sizeof r->min_engine_version, o, "min_engine_version");
    copy_text(r->exactness_status, sizeof r->exactness_status, exactness, "status");
    copy_text(r->speed_status, sizeof r->speed_status, speed, "status");
    copy_text(r->speed_verdict, sizeof r->speed_verdict, speed, "verdict");
    r->release_blocker = json_is_true(json_object_get(exactness, "public_release_blocker")) ||
                         json_is_true(json_object_get(speed, "public_release_blocker"));
    r->needs_newer_engine = version_above(r->min_engine_version, CONTRACT_MTPLX_VERSION);
    check_required(r, o);
}

bool contract_read(struct runtime_contract *ret, const struct checkpoint *cp, struct alula_error *e)
{
    struct runtime_contract r = {0};
    const json_t *runtime = json_object_get(cp->runtime_json, "mtp_contract");
    const json_t *config = json_object_get(cp->config_json, "mtplx_mtp_contract");
    r.present = cp->runtime_json || cp->runtime_problem[0];
    if (cp->runtime_json)
        read_runtime(&r, cp->runtime_json);
    else
        snprintf(r.problem, sizeof r.problem, "%s", cp->runtime_problem);
    if (runtime && !json_is_null(runtime)) {
        if (!read_mtp(&r, runtime, "mtplx_runtime.json: mtp_contract", e))
            return err_context(e, "%s", cp->dir);
    } else if (config && !json_is_null(config)) {
        if (!read_mtp(&r, config, "config.json: mtplx_mtp_contract", e)) return err_context(e, "%s", cp->dir);
    }
    *ret = r;
    return true;
}

/* A word blocks if it stands alone or is followed by "_". */
static bool status_blocks(const char *status)
{
    static const char *const words[] = {"candidate", "fail",  "pending",   "blocked",
                                        "blocker",   "needs", "unverified"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        size_t n = strlen(words[i]);
        if (!strncmp(status, words[i], n) && (status[n] == '\0' || status[n] == '_')) return true;
    }
    return false;
}

const char *contract_blocker(const struct runtime_contract *c)
{
    static const char *const lost[] = {"mtp_acceptance_collapsed", "no_mtp_depth_beat_ar",
                                       "no_quality_passed_mtp_depth_beat_ar"};
    int ignored;
    if (status_blocks(c->exactness_status)) return c->exactness_status;
    if (status_blocks(c->speed_status)) return c->speed_status;
    if (c->release_blocker) return "public_release_blocker";
    return find_word(c->speed_verdict, strlen(c->speed_verdict), lost, 3, &ignored) ? c->speed_verdict : NULL;
}

/* ---- packing at load ------------------------------------------------------------------------- */

/* The value of key in the head's contract, else of the shorter key in mtplx_mtp_quantization; null counts as
 * absent. */
static const json_t *quant_value(const json_t *contract, const char *key, const json_t *config,
                                 const char *short_key)
{
    const json_t *v = json_object_get(contract, key), *w = json_object_get(config, short_key);
    return v && !json_is_null(v) ? v : w && !json_is_null(w) ? w : NULL;
}

bool contract_read_quantization(struct mtp_quantization *ret, const struct checkpoint *cp,
                                struct alula_error *e)
{
    static const char *const policies[] = {"all", "cyankiwi", "prequantized-int4"};
    static const char what[] = "how the MTP head is to be packed at load";
    const json_t *q = json_object_get(cp->config_json, "mtplx_mtp_quantization");
    const json_t *contract = json_object_get(cp->runtime_json, "mtp_contract");
    if (!json_is_object(contract)) contract = json_object_get(cp->config_json, "mtplx_mtp_contract");
    const json_t *bits = quant_value(contract, "mtp_quant_bits", q, "bits");
    /* A contract always names a group and a mode; they count only where it names bits too. */
    const json_t *rest = json_object_get(contract, "mtp_quant_bits") == bits ? contract : NULL;
    const json_t *group = quant_value(rest, "mtp_quant_group_size", q, "group_size");
    const json_t *mode = quant_value(rest, "mtp_quant_mode", q, "mode");
    const json_t *policy = quant_value(contract, "mtp_quant_policy", q, "policy");
    const char *words[2] = {mode ? json_string_value(mode) : "affine",
                            policy ? json_string_value(policy) : "all"};
    int chosen = 0;
    *ret = (struct mtp_quantization){0};
    if (!bits || json_is_true(json_object_get(q, "prequantized")) ||
        json_is_true(json_object_get(contract, "mtp_prequantized")))
        return true;
    int64_t b = json_integer_value(bits), g = group ? json_integer_value(group) : 64;
    if (!words[0] || strcmp(words[0], "affine") || b < 1 || b > 8 || g < 1 || g > 128 ||
        !quant_supported((int)b, (int)g))
        return err_set(e, ALULA_UNSUPPORTED,
                       "%s: %s: %d bits in groups of %d in mode \"%.40s\" are not supported", cp->dir, what,
                       (int)b, (int)g, words[0] ? words[0] : "(no text)");
    if (!words[1] || !find_word(words[1], strlen(words[1]), policies, 3, &chosen))
        return err_set(e, ALULA_UNSUPPORTED, "%s: %s: policy \"%.40s\" is not known", cp->dir, what,
                       words[1] ? words[1] : "(no text)");
    *ret = (struct mtp_quantization){(int)b, (int)g, chosen == 0};
    return true;
}
