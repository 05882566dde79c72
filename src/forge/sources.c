/* sources.c - opens what a forge is made from. */
#include "forge/sources.h"

#include <stdio.h>
#include <sys/stat.h>

#include "forge/papers.h"

static bool open_models(struct sources *s, const struct forge_options *o, struct alula_error *e)
{
    if (!o->mtp)
        return checkpoint_open(&s->trunk, o->trunk, e) && weights_bind_plain(&s->weights, s->trunk, NULL, e);
    return checkpoint_open_trunk(&s->trunk, o->trunk, e) && checkpoint_open_head(&s->head, o->mtp, e) &&
           weights_bind_plain(&s->weights, s->trunk, s->head, e);
}

static void name_models(struct sources *s, const struct forge_options *o)
{
    char sha[80];
    papers_model_id(o->trunk_id, s->trunk->dir, s->trunk_id, s->trunk_sha);
    if (s->head)
        papers_model_id(o->mtp_id, s->head->dir, s->mtp_id, sha);
    else
        snprintf(s->mtp_id, sizeof s->mtp_id, "%s", o->mtp_id ? o->mtp_id : s->trunk_id);
}

bool sources_open(struct sources *ret, const struct forge_options *o, struct alula_error *e)
{
    struct sources s = {0};
    struct stat st;
    if (o->out && lstat(o->out, &st) == 0)
        return err_set(e, ALULA_USAGE, "%s is there already; name another --out or remove it", o->out);
    bool ok = open_models(&s, o, e);
    if (ok && !s.weights->has_mtp)
        ok =
            err_set(e, ALULA_NOT_FOUND, "%s holds no MTP head; name a folder that does with --mtp", o->trunk);
    ok = ok && plan_make(&s.plan, s.weights, &o->plan, e);
    if (!ok) {
        sources_close(&s);
        return false;
    }
    name_models(&s, o);
    *ret = s;
    return true;
}

void sources_close(struct sources *s)
{
    plan_free(&s->plan);
    weights_free(s->weights);
    checkpoint_close(s->head);
    checkpoint_close(s->trunk);
}
