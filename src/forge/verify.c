/* verify.c - the order of a verification, what counts as passed, and where it was measured.
 *
 * Measurements are verify_texts.c's, verify_heads.c's, verify_body.c's, drift.c's and calibrate.c's; what
 * becomes of the result is verify_stamp.c's and card.c's. */
#include "forge/verify.h"

#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/sha256.h"
#include "forge/verify_parts.h"

struct verification {
    const struct verify_options *o;
    struct verify *v;
    struct alula_engine *engine;
    struct checkpoint *artifact, *head; /* head: of the source */
    struct weights *weights, *source;   /* source: the artifact's body with the source's head */
    struct runtime_contract declared;
    struct pool *pool;
    struct teacher teacher;
    struct tokenizer *tokenizer;
    int32_t *ids;
    size_t n_ids;
};

/* ---- where and when ------------------------------------------------------------------------------------ */

static void read_cpu_name(char *out, size_t cap)
{
    struct buf b;
    struct alula_error ignored;
    buf_init(&b, 4u << 20);
    snprintf(out, cap, "unknown CPU");
    if (file_read("/proc/cpuinfo", 4u << 20, &b, &ignored)) {
        const char *at = strstr(b.data, "model name");
        const char *colon = at ? strchr(at, ':') : NULL;
        if (colon) snprintf(out, cap, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
    }
    buf_free(&b);
}

static void note_place(struct verify *v, int n_threads)
{
    struct utsname u;
    struct tm tm;
    time_t now = time(NULL);
    char cpu[112];
    read_cpu_name(cpu, sizeof cpu);
    snprintf(v->hardware, sizeof v->hardware, "%s", cpu);
    if (uname(&u) == 0) snprintf(v->os, sizeof v->os, "%.40s %.40s %.20s", u.sysname, u.release, u.machine);
    gmtime_r(&now, &tm);
    strftime(v->timestamp, sizeof v->timestamp, "%Y-%m-%dT%H:%M:%SZ", &tm);
    v->n_threads = n_threads;
}

/* MTPLX's fingerprint: of the configuration and the head's file. */
static bool add_file(struct sha256 *s, const char *label, const char *path, struct alula_error *e)
{
    struct file_map m;
    if (!file_map(&m, path, e)) return false;
    sha256_add(s, label, strlen(label) + 1);
    sha256_add(s, m.data, m.len);
    sha256_add(s, "", 1);
    file_unmap(&m);
    return true;
}

static bool take_fingerprint(struct verification *f, struct alula_error *e)
{
    struct sha256 s;
    char path[4096], hex[SHA256_HEX];
    const char *sidecar = f->artifact->sidecar;
    sha256_init(&s);
    if (!path_join(path, sizeof path, f->o->dir, "config.json", e) || !add_file(&s, "config.json", path, e))
        return false;
    if (sidecar && (!path_join(path, sizeof path, f->o->dir, sidecar, e) || !add_file(&s, "mtp", path, e)))
        return false;
    sha256_hex(&s, hex);
    snprintf(f->v->fingerprint, sizeof f->v->fingerprint, "sha256:%s", hex);
    return true;
}

/* ---- steps --------------------------------------------------------------------------------------------- */

static int64_t positions(const struct verify_options *o)
{
    return o->positions ? o->positions : CALIBRATE_POSITIONS_MIN;
}

static bool read_text(const struct verify_options *o, const char *dir, struct tokenizer **ret,
                      int32_t **ret_ids, size_t *ret_n, struct alula_error *e)
{
    const char *text = o->text ? o->text : calib_text;
    size_t len = o->text ? o->text_len : calib_text_len;
    return tokenizer_open(ret, dir, e) && tokenizer_encode(*ret, text, len, true, ret_ids, ret_n, e);
}

bool verify_check_text(const struct verify_options *o, const char *dir, struct alula_error *e)
{
    struct tokenizer *t = NULL;
    int32_t *ids = NULL;
    size_t n;
    bool ok = read_text(o, dir, &t, &ids, &n, e) && calibrate_check_text(n, positions(o), e);
    mem_free(ids);
    tokenizer_close(t);
    return ok || err_context(e, "the result could not be measured (--no-verify leaves that out)");
}

static bool open_all(struct verification *f, struct alula_error *e)
{
    const struct verify_options *o = f->o;
    if (!checkpoint_open(&f->artifact, o->dir, e) || !weights_bind(&f->weights, f->artifact, NULL, e) ||
        !contract_read(&f->declared, f->artifact, e))
        return false;
    if (!f->weights->has_mtp)
        return err_set(e, ALULA_NOT_FOUND, "%s holds no MTP head; there is nothing to verify", o->dir);
    if (o->source_mtp && (!checkpoint_open_head(&f->head, o->source_mtp, e) ||
                          !weights_bind(&f->source, f->artifact, f->head, e)))
        return err_context(e, "the source of the head");
    return read_text(o, o->dir, &f->tokenizer, &f->ids, &f->n_ids, e) &&
           pool_create(&f->pool, o->n_threads, e);
}

static bool calibrate(struct verification *f, struct alula_error *e)
{
    struct calibrate_options o = {.declared = &f->declared.mtp,
                                  .ids = f->ids,
                                  .n_ids = f->n_ids,
                                  .positions = positions(f->o),
                                  .mode = MODEL_FAST,
                                  .pool = f->pool,
                                  .watch = f->o->watch};
    return calibrate_run(&f->v->calibration, &f->teacher, f->weights, &o, e);
}

static bool measure_drift(struct verification *f, struct alula_error *e)
{
    struct verify *v = f->v;
    const char *trunk = f->o->source_trunk, *donor = f->o->source_mtp;
    struct checkpoint *a = NULL, *b = NULL;
    struct weights *x = NULL, *y = NULL;
    struct alula_error why = {0};
    bool ok = true;
    if (!trunk || !donor)
        snprintf(v->no_drift, sizeof v->no_drift, "the sources of body and head were not given");
    else if (!checkpoint_open_trunk(&a, trunk, &why) || !weights_bind_trunk(&x, a, &why))
        snprintf(v->no_drift, sizeof v->no_drift, "%.190s", why.message);
    else if (!checkpoint_open_trunk(&b, donor, &why) || !weights_bind_trunk(&y, b, &why))
        snprintf(v->no_drift, sizeof v->no_drift, "the donor ships no trunk to compare with");
    else if (!drift_run(&v->drift, x, y, f->pool, f->o->watch, &why)) {
        if (why.code == ALULA_CANCELLED || why.code == ALULA_NOMEM) {
            *e = why;
            ok = false;
        }
        snprintf(v->no_drift, sizeof v->no_drift, "%.190s", why.message);
    } else {
        drift_name_rows(&v->drift, f->tokenizer);
    }
    weights_free(x);
    weights_free(y);
    checkpoint_close(a);
    checkpoint_close(b);
    return ok;
}

/* ---- verdict ------------------------------------------------------------------------------------------- */

static bool same_contract(const struct mtp_contract *a, const struct mtp_contract *b)
{
    char x[64], y[64];
    return a->base == b->base && a->hidden_first == b->hidden_first &&
           !strcmp(contract_hidden_str(a, x, sizeof x), contract_hidden_str(b, y, sizeof y));
}

static bool adopt(struct verification *f, struct alula_error *e)
{
    const struct calibrate *c = &f->v->calibration;
    if (!f->o->adopt || !c->usable || c->norms_other || same_contract(&c->contract, &f->declared.mtp))
        return true;
    if (!verify_adopt(f->o->dir, c, e)) return false;
    f->declared.mtp = c->contract;
    f->v->adopted = true;
    return true;
}

/* The dimension in which the folder's contract is wrong, and by how much. */
static void say_switched(struct verify *v)
{
    for (int d = CALIBRATE_CONCAT; d < CALIBRATE_DIMENSIONS; d++) {
        const struct calibrate_choice *c = &v->calibration.choices[d];
        int step = d == CALIBRATE_FEEDBACK;
        if (!strcmp(c->chosen, c->declared)) continue;
        snprintf(v->problem, sizeof v->problem,
                 "the contract is wrong: it says %s %s, and so the head is right at %lld of %lld places "
                 "(step %d); with %s it is at %lld",
                 calibrate_dimension_name(d), c->declared,
                 (long long)v->calibration.trials[c->declared_trial].hits[step],
                 (long long)v->calibration.positions, step + 1, c->chosen,
                 (long long)v->calibration.trials[c->chosen_trial].hits[step]);
        return;
    }
}

static void judge(struct verify *v, const struct mtp_contract *declared)
{
    v->verdict =
        v->texts.n_prompts ? verify_texts_verdict(&v->texts, &v->best_depth) : "mtp_acceptance_collapsed";
    if (v->calibration.problem[0])
        snprintf(v->problem, sizeof v->problem, "%s", v->calibration.problem);
    else if (!same_contract(&v->calibration.contract, declared))
        say_switched(v);
    else if (!v->texts.equal)
        snprintf(v->problem, sizeof v->problem,
                 "decoding with drafts at depth %d parts from plain decoding at token %d of answer %d",
                 v->texts.depth, v->texts.token, v->texts.prompt + 1);
    v->passed = !v->problem[0];
}

/* A head without signal is not worth the rest. */
static bool measure(struct verification *f, struct alula_error *e)
{
    struct verify *v = f->v;
    const struct verify_options *o = f->o;
    if (!calibrate(f, e) || !adopt(f, e) || !take_fingerprint(f, e)) return false;
    if (!v->calibration.usable) {
        snprintf(v->no_drift, sizeof v->no_drift, "the head is of no use");
        snprintf(v->body.why_not, sizeof v->body.why_not, "the head is of no use");
        return true;
    }
    if (!verify_heads(v, f->weights, f->source, &v->calibration.contract, &f->teacher, f->pool, o->watch,
                      e) ||
        !alula_engine_open(&f->engine, o->dir, NULL, e) ||
        !verify_texts(&v->texts, f->engine, f->ids, f->n_ids, o->n_prompts ? o->n_prompts : 4,
                      o->max_tokens ? o->max_tokens : 64, o->n_threads, o->watch, e))
        return false;
    if (!o->source_trunk)
        snprintf(v->body.why_not, sizeof v->body.why_not, "the source of the body was not given");
    else if (!verify_body(&v->body, f->artifact, f->weights, o->source_trunk, &f->teacher, f->pool, o->watch,
                          e))
        return false;
    return measure_drift(f, e);
}

bool verify_run(struct verify *ret, const struct verify_options *o, struct alula_error *e)
{
    double start = clock_s();
    struct verify v = {.verdict = ""};
    struct verification f = {.o = o, .v = &v};
    if (o->n_prompts < 0 || o->n_prompts > VERIFY_PROMPTS_MAX)
        return err_set(e, ALULA_USAGE, "%d prompts were asked for, expected 1 to %d", o->n_prompts,
                       VERIFY_PROMPTS_MAX);
    bool ok = open_all(&f, e) && measure(&f, e);
    if (ok) {
        judge(&v, &f.declared.mtp);
        note_place(&v, pool_threads(f.pool));
        v.seconds = clock_s() - start;
        *ret = v;
    } else {
        verify_free(&v);
    }
    teacher_free(&f.teacher);
    pool_free(f.pool);
    mem_free(f.ids);
    alula_engine_close(f.engine);
    tokenizer_close(f.tokenizer);
    weights_free(f.source);
    weights_free(f.weights);
    checkpoint_close(f.head);
    checkpoint_close(f.artifact);
    return ok;
}

void verify_free(struct verify *v) { drift_free(&v->drift); }
