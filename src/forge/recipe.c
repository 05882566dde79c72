/* recipe.c - reads and writes the choices of a forge. Knows their spelling; carries nothing out. */
#include "forge/recipe.h"

#include <stdio.h>
#include <stdlib.h>

#include "artifact/quant.h"
#include "base/json.h"

#define RECIPE_BYTES_MAX (1u << 20)

static const char *const policies[] = {"quantize", "keep_bf16", "quantize_at_load"};
static const char *const encodings[] = {"absolute", "delta"};

void recipe_init(struct recipe *r) { *r = (struct recipe){.plan = {.bits = 4, .group = 64}}; }

void recipe_free(struct recipe *r) { arena_free(&r->arena); }

/* ---- checks ---------------------------------------------------------------------------------------------------- */

static bool is_width(int bits) { return quant_supported(bits, 64); }

static bool is_group(int group) { return quant_supported(4, group); }

bool recipe_check(const struct recipe *r, struct alula_error *e)
{
    if (!is_width(r->plan.bits))
        return err_set(e, ALULA_USAGE, "bits is %d, expected 2, 3, 4, 5, 6 or 8", r->plan.bits);
    if (!is_group(r->plan.group))
        return err_set(e, ALULA_USAGE, "group size is %d, expected 32, 64 or 128", r->plan.group);
    return true;
}

static bool push_override(struct recipe *r, const char *pattern, size_t len, long bits, long group,
                          struct alula_error *e)
{
    if (len == 0) return err_set(e, ALULA_USAGE, "an override has no pattern; expected PATTERN=BITS[:GROUP]");
    if (bits != PLAN_PLAIN_BITS && (bits < 2 || bits > 8 || !is_width((int)bits)))
        return err_set(e, ALULA_USAGE, "override %.*s: %ld bits, expected 2, 3, 4, 5, 6, 8 or 16 (plain)",
                       (int)len, pattern, bits);
    if (group && (group < 0 || group > 128 || !is_group((int)group)))
        return err_set(e, ALULA_USAGE, "override %.*s: a group of %ld, expected 32, 64 or 128", (int)len,
                       pattern, group);
    if (r->plan.n_overrides == RECIPE_OVERRIDES_MAX)
        return err_set(e, ALULA_LIMIT, "more than %d overrides", RECIPE_OVERRIDES_MAX);
    char *copy = arena_strndup(&r->arena, pattern, len);
    if (!copy) return err_set(e, ALULA_NOMEM, "no memory for an override");
    r->overrides[r->plan.n_overrides++] = (struct plan_override){copy, (int)bits, (int)group};
    r->plan.overrides = r->overrides;
    return true;
}

bool recipe_add_override(struct recipe *r, const char *text, struct alula_error *e)
{
    const char *equals = strrchr(text, '=');
    char *end = NULL;
    long bits = equals ? strtol(equals + 1, &end, 10) : 0, group = 0;
    bool ok = equals && end != equals + 1;
    if (ok && *end == ':') {
        const char *from = end + 1;
        group = strtol(from, &end, 10);
        ok = end != from && group != 0;
    }
    if (!ok || *end)
        return err_set(e, ALULA_USAGE, "override \"%.200s\": expected PATTERN=BITS[:GROUP]", text);
    return push_override(r, text, (size_t)(equals - text), bits, group, e);
}

/* ---- reading --------------------------------------------------------------------------------------------------- */

static bool read_text(struct recipe *r, const json_t *o, const char *key, const char **field,
                      struct alula_error *e)
{
    const char *v;
    if (!json_get_str_or(o, key, NULL, &v, "the recipe", e)) return false;
    if (!v) return true;
    *field = arena_strndup(&r->arena, v, strlen(v));
    return *field || err_set(e, ALULA_NOMEM, "no memory for the recipe");
}

static bool read_word(const json_t *o, const char *key, const char *const *words, int n, int *field,
                      struct alula_error *e)
{
    const char *v;
    if (!json_get_str_or(o, key, words[*field], &v, "the recipe", e)) return false;
    for (int i = 0; i < n; i++) {
        if (strcmp(v, words[i])) continue;
        *field = i;
        return true;
    }
    return err_set(e, ALULA_FORMAT, "the recipe: \"%s\" is \"%.60s\", which is none of its values", key, v);
}

static bool read_number(const json_t *o, const char *key, int *field, struct alula_error *e)
{
    int64_t v;
    if (!json_get_int_or(o, key, 0, 1000, *field, &v, "the recipe", e)) return false;
    *field = (int)v;
    return true;
}

static bool read_overrides(struct recipe *r, const json_t *list, struct alula_error *e)
{
    size_t i;
    json_t *entry;
    if (!list) return true;
    if (!json_is_array(list)) return err_set(e, ALULA_FORMAT, "the recipe: \"overrides\" is not a list");
    json_array_foreach((json_t *)list, i, entry)
    {
        const char *pattern, *key;
        json_t *value;
        int bits = 0, group = 0;
        json_object_foreach(
            entry, key,
            value) if (strcmp(key, "pattern") && strcmp(key, "bits") &&
                       strcmp(key, "group_size")) return err_set(e, ALULA_FORMAT,
                                                                 "the recipe: override %zu has a "
                                                                 "key \"%.60s\", which no override has",
                                                                 i, key);
        if (!json_get_str_or(entry, "pattern", "", &pattern, "the recipe: an override", e) ||
            !read_number(entry, "bits", &bits, e) || !read_number(entry, "group_size", &group, e) ||
            !push_override(r, pattern, strlen(pattern), bits, group, e))
            return false;
    }
    return true;
}

static bool check_keys(const json_t *o, struct alula_error *e)
{
    static const char *const known[] = {"alula",      "trunk",         "mtp",       "out",
                                        "trunk_id",   "mtp_id",        "bits",      "group_size",
                                        "mtp_policy", "norm_encoding", "overrides", "allow_degraded_mtp"};
    const char *key;
    json_t *value;
    if (!json_is_object(o)) return err_set(e, ALULA_FORMAT, "the recipe is not an object");
    json_object_foreach((json_t *)o, key, value)
    {
        bool found = false;
        for (size_t i = 0; i < sizeof known / sizeof *known; i++) found |= !strcmp(key, known[i]);
        if (!found)
            return err_set(e, ALULA_FORMAT, "the recipe has a key \"%.60s\", which no recipe has", key);
    }
    return true;
}

static bool read_object(struct recipe *r, const json_t *o, struct alula_error *e)
{
    int policy = (int)r->plan.head_policy, norms = (int)r->plan.norms;
    if (!check_keys(o, e) || !read_text(r, o, "trunk", &r->trunk, e) || !read_text(r, o, "mtp", &r->mtp, e) ||
        !read_text(r, o, "out", &r->out, e) || !read_text(r, o, "trunk_id", &r->trunk_id, e) ||
        !read_text(r, o, "mtp_id", &r->mtp_id, e) || !read_number(o, "bits", &r->plan.bits, e) ||
        !read_number(o, "group_size", &r->plan.group, e) ||
        !read_word(o, "mtp_policy", policies, 3, &policy, e) ||
        !read_word(o, "norm_encoding", encodings, 2, &norms, e) ||
        !json_get_bool_or(o, "allow_degraded_mtp", r->plan.allow_degraded_mtp, &r->plan.allow_degraded_mtp,
                          "the recipe", e))
        return false;
    r->plan.head_policy = (enum head_policy)policy;
    r->plan.norms = (enum norm_encoding)norms;
    return read_overrides(r, json_object_get(o, "overrides"), e);
}

bool recipe_read(struct recipe *r, const char *path, struct alula_error *e)
{
    json_t *o = json_parse_file(path, RECIPE_BYTES_MAX, 8, e);
    if (!o) return false;
    bool ok = read_object(r, o, e);
    json_decref(o);
    return ok || err_context(e, "%s", path);
}

/* ---- writing --------------------------------------------------------------------------------------------------- */

static json_t *overrides_json(const struct plan_options *o)
{
    json_t *list = json_array();
    for (int i = 0; list && i < o->n_overrides; i++) {
        const struct plan_override *v = &o->overrides[i];
        json_t *entry = json_pack("{s:s, s:i}", "pattern", v->pattern, "bits", v->bits);
        if (entry && v->group) json_object_set_new(entry, "group_size", json_integer(v->group));
        json_array_append_new(list, entry);
    }
    return list;
}

json_t *recipe_json(const struct plan_options *o, const char *trunk_id, const char *mtp_id)
{
    return json_pack("{s:s, s:s*, s:s*, s:i, s:i, s:s, s:s, s:o, s:b}", "alula", alula_version(), "trunk_id",
                     trunk_id, "mtp_id", mtp_id, "bits", o->bits, "group_size", o->group, "mtp_policy",
                     policies[o->head_policy], "norm_encoding", encodings[o->norms], "overrides",
                     overrides_json(o), "allow_degraded_mtp", o->allow_degraded_mtp);
}
