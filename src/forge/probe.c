/* probe.c - the verdict on a folder and the advice that follows from it. Looks through survey.c's eyes;
 * prints nothing. */
#include "forge/probe.h"

#include <stdio.h>

#include "base/json.h"

const char *probe_verdict_name(enum probe_verdict v)
{
    static const char *const names[] = {"forgeable", "already_mtplx",      "no_mtp_heads",
                                        "head_only", "unsupported_source", "probe_failed"};
    return names[v];
}

/* ---- advice -------------------------------------------------------------------------------------------- */

static void set_advice(struct advice *a, const char *why, const struct buf *command)
{
    snprintf(a->why, sizeof a->why, "%s", why);
    /* A command cut short would be another command. */
    if (command->len < sizeof a->command)
        memcpy(a->command, command->data ? command->data : "", command->len);
}

static void advise(struct probe *p, const char *why, const char *verb, const char *tail)
{
    struct buf b = {0};
    if (p->n_next == PROBE_ADVICE_MAX) return;
    if (verb) {
        buf_str(&b, verb);
        survey_quote(&b, p->path);
        buf_str(&b, tail);
    }
    set_advice(&p->next[p->n_next++], why, &b);
    buf_free(&b);
}

/* The last part of a path, what the shell's completion leaves at its end taken off. */
static void add_out_name(struct buf *b, const char *path)
{
    char name[256], whole[300];
    size_t len = strlen(path);
    while (len > 1 && path[len - 1] == '/') len--;
    size_t from = len;
    while (from > 0 && path[from - 1] != '/') from--;
    snprintf(name, sizeof name, "%.*s", (int)(len - from), path + from);
    bool plain = strcmp(name, ".") && strcmp(name, "..") && strcmp(name, "/") && name[0];
    snprintf(whole, sizeof whole, "%s-mtp-4bit", plain ? name : "model");
    survey_quote(b, whole);
}

static void advise_forge(struct advice *a, const char *why, const char *trunk, const char *mtp)
{
    struct buf b = {0};
    buf_str(&b, "alula forge --trunk ");
    survey_quote(&b, trunk);
    if (mtp) {
        buf_str(&b, " --mtp ");
        survey_quote(&b, mtp);
    }
    buf_str(&b, " --out ");
    add_out_name(&b, trunk);
    set_advice(a, why, &b);
    buf_free(&b);
}

/* ---- verdict ------------------------------------------------------------------------------------------- */

static void copy_problem(struct probe *p, const struct alula_error *e, enum probe_verdict v)
{
    p->verdict = v;
    p->problem = *e;
}

static bool has_head(const struct survey *s) { return s->head_set.n_tensors > 0; }

static void judge_body(struct probe *p)
{
    const struct survey *s = &p->survey;
    if (s->head.code) { /* a head that is broken: the body still counts */
        copy_problem(p, &s->head, PROBE_NO_MTP_HEADS);
        advise_forge(&p->next[p->n_next++],
                     "put another head in its place, from a model DONOR of the same family", p->path,
                     "DONOR");
        advise(p, "or find out what is wrong with this one", "alula inspect ", "");
    } else if (!has_head(s)) {
        p->verdict = PROBE_NO_MTP_HEADS;
        advise_forge(&p->next[p->n_next++], "take the head from a model of the same family, DONOR", p->path,
                     "DONOR");
        advise(p, "see which head fits", "alula probe ", " DONOR");
    } else if (s->bits) {
        p->verdict = PROBE_ALREADY_MTPLX;
        advise(p, "see what it says of itself", "alula inspect ", "");
        advise(p, "talk to it", "alula run ", "");
    } else {
        p->verdict = PROBE_FORGEABLE;
        advise_forge(&p->next[p->n_next++], "pack it to 4 bits with the head it has", p->path, NULL);
        advise(p, "or run it as it is", "alula run ", "");
    }
}

static void judge(struct probe *p)
{
    const struct survey *s = &p->survey;
    if (!s->has_trunk && has_head(s)) {
        p->verdict = PROBE_HEAD_ONLY;
        struct buf b = {0};
        buf_str(&b, "alula forge --trunk TRUNK --mtp ");
        survey_quote(&b, p->path);
        buf_str(&b, " --out TRUNK-mtp-4bit");
        set_advice(&p->next[p->n_next++], "graft it onto a model of the same family, TRUNK", &b);
        buf_free(&b);
    } else if (s->config.code) {
        copy_problem(p, &s->config,
                     s->config.code == ALULA_UNSUPPORTED ? PROBE_UNSUPPORTED_SOURCE : PROBE_FAILED);
    } else if (s->trunk.code) {
        copy_problem(p, &s->trunk,
                     s->trunk.code == ALULA_UNSUPPORTED ? PROBE_UNSUPPORTED_SOURCE : PROBE_FAILED);
        if (s->trunk.code == ALULA_NOT_FOUND)
            advise(p, "if a download was interrupted, finish it and look again", "alula probe ", "");
    } else {
        judge_body(p);
    }
}

void probe_path(struct probe *ret, const char *path)
{
    *ret = (struct probe){.path = path};
    ret->surveyed = survey_open(&ret->survey, path, &ret->problem);
    if (ret->surveyed)
        judge(ret);
    else
        ret->verdict = ret->problem.code == ALULA_UNSUPPORTED ? PROBE_UNSUPPORTED_SOURCE : PROBE_FAILED;
}

void probe_free(struct probe *p)
{
    if (p->surveyed) survey_close(&p->survey);
}

/* ---- pairs --------------------------------------------------------------------------------------------- */

static bool wants_head(const struct probe *p) { return p->verdict == PROBE_NO_MTP_HEADS; }

static bool offers_head(const struct probe *p)
{
    return p->surveyed && has_head(&p->survey) && !p->survey.head.code;
}

static void try_pair(struct probe_pair *pair, const struct probe *trunk, const struct probe *donor)
{
    struct weights *w;
    *pair = (struct probe_pair){.trunk = trunk, .donor = donor};
    if (!weights_bind_plain(&w, trunk->survey.cp, donor->survey.cp, &pair->problem)) return;
    weights_free(w);
    pair->problem.code = ALULA_OK;
    advise_forge(&pair->next, "graft it", trunk->path, donor->path);
}

bool probe_pairs(struct probe_pair **ret, size_t *ret_n, const struct probe *probes, size_t n,
                 struct alula_error *e)
{
    size_t k = 0;
    struct probe_pair *pairs = mem_zalloc(n * n + 1, sizeof *pairs);
    if (!pairs) return err_set(e, ALULA_NOMEM, "no memory for %zu pairs of folders", n * n);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            if (wants_head(&probes[i]) && offers_head(&probes[j]))
                try_pair(&pairs[k++], &probes[i], &probes[j]);
    *ret = pairs;
    *ret_n = k;
    return true;
}

/* ---- JSON ---------------------------------------------------------------------------------------------- */

static json_t *text_or_null(const char *s) { return s && s[0] ? json_string(s) : json_null(); }

static json_t *advice_json(const struct advice *a)
{
    return json_pack("{s:s, s:o}", "why", a->why, "command", text_or_null(a->command));
}

static json_t *problem_json(const struct alula_error *e) { return text_or_null(e->code ? e->message : NULL); }

static json_t *head_json(const struct survey *s)
{
    const struct head_set *h = &s->head_set;
    const char *where = !h->n_tensors ? NULL : s->cp->sidecar ? s->cp->sidecar : "among the body's tensors";
    return json_pack("{s:b, s:b, s:I, s:o, s:o, s:b, s:o, s:b, s:I, s:o}", "declared", s->declares_head,
                     "found", h->n_tensors > 0, "tensors", (json_int_t)h->n_tensors, "layout",
                     text_or_null(h->n_tensors ? head_layout_name(h->layout) : NULL), "sidecar_format",
                     text_or_null(h->n_tensors ? head_set_format(h) : NULL), "packed", h->packed, "where",
                     text_or_null(where), "complete", h->passes, "bytes", (json_int_t)s->head_bytes,
                     "problem", problem_json(&s->head));
}

static json_t *body_json(const struct survey *s)
{
    static const char *const layouts[] = {NULL, "dense", "fused", "switch", "numbered"};
    return json_pack("{s:b, s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:o}", "found", s->has_trunk, "experts",
                     text_or_null(layouts[s->layout]), "written_by",
                     text_or_null(!s->has_trunk ? NULL
                                  : s->from_mlx ? "mlx"
                                                : "hugging_face"),
                     "dtype", text_or_null(s->weights ? dtype_name(s->type) : NULL), "bits",
                     (json_int_t)s->bits, "parameters", (json_int_t)s->body_parameters, "bytes",
                     (json_int_t)(s->bytes - s->head_bytes), "files", (json_int_t)s->cp->n_files, "problem",
                     problem_json(&s->trunk));
}

static json_t *shape_json(const struct survey *s)
{
    const struct config *c = &s->cp->config;
    if (!s->cp->has_config) return json_null();
    return json_pack("{s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:i}", "model_type", c->model_type, "architecture",
                     c->architecture, "num_hidden_layers", c->n_layers, "hidden_size", c->hidden,
                     "vocab_size", c->vocab, "num_experts", c->n_experts, "num_experts_per_tok",
                     c->experts_per_tok, "max_position_embeddings", c->max_position);
}

static json_t *folder_json(const struct probe *p)
{
    const struct survey *s = &p->survey;
    json_t *next = json_array();
    for (int i = 0; i < p->n_next; i++) json_array_append_new(next, advice_json(&p->next[i]));
    bool usable = p->verdict < PROBE_UNSUPPORTED_SOURCE;
    json_t *o = json_pack("{s:s, s:s, s:b, s:o, s:o}", "path", p->path, "verdict",
                          probe_verdict_name(p->verdict), "forgeable", p->verdict == PROBE_FORGEABLE,
                          "problem", problem_json(&p->problem), "next", next);
    if (!o || !p->surveyed) return o;
    json_object_set_new(o, "config_and_tensors_agree",
                        s->has_config && s->has_trunk
                            ? json_boolean(usable && !s->head.code && (has_head(s) || !s->declares_head))
                            : json_null());
    json_object_set_new(o, "shape", shape_json(s));
    json_object_set_new(o, "body", body_json(s));
    json_object_set_new(o, "mtp", head_json(s));
    json_object_set_new(o, "licence", text_or_null(s->licence.id));
    json_object_set_new(o, "licence_files", text_or_null(s->licences));
    json_object_set_new(o, "runtime_contract",
                        json_boolean(s->cp->runtime_json || s->cp->runtime_problem[0]));
    return o;
}

static json_t *pair_json(const struct probe_pair *p)
{
    bool fits = !p->problem.code;
    return json_pack("{s:s, s:s, s:b, s:o, s:o}", "trunk", p->trunk->path, "donor", p->donor->path, "fits",
                     fits, "problem", problem_json(&p->problem), "next",
                     fits ? advice_json(&p->next) : json_null());
}

bool probe_write_json(struct buf *out, const struct probe *probes, size_t n, const struct probe_pair *pairs,
                      size_t n_pairs, struct alula_error *e)
{
    mem_setup();
    uint64_t refused = mem_refused();
    json_t *folders = json_array(), *list = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(folders, folder_json(&probes[i]));
    for (size_t i = 0; i < n_pairs; i++) json_array_append_new(list, pair_json(&pairs[i]));
    json_t *root = json_pack("{s:o, s:o}", "folders", folders, "pairs", list);
    if (root) json_write(out, root, 2);
    buf_str(out, "\n");
    json_decref(root);
    if (mem_refused() != refused) return err_set(e, ALULA_NOMEM, "no memory for the report");
    return root || err_set(e, ALULA_FORMAT, "a path is not UTF-8, which JSON must be");
}
