/* preview.c - a forge told beforehand: modules by kind, sizes, shards, time. Writes nothing. */
#include <ctype.h>
#include <stdio.h>

#include "forge/emit.h"
#include "forge/sources.h"

/* "layers.*.mlp.gate" of a path with a layer's number; vectors are told apart by nobody. */
static void class_name(const struct plan_item *it, bool head, char out[128])
{
    const char *path = it->name;
    size_t n = 0;
    if (it->vec) {
        snprintf(out, 128, "%s", head ? "mtp norms" : "norms and other vectors");
        return;
    }
    if (!strncmp(path, "language_model.model.", 21))
        path += 21;
    else if (!strncmp(path, "language_model.", 15))
        path += 15;
    while (*path && n + 2 < 128) {
        bool number = isdigit((unsigned char)*path) && n && out[n - 1] == '.';
        out[n++] = number ? '*' : *path;
        path += number ? strspn(path, "0123456789") : 1;
    }
    out[n] = '\0';
}

static bool same_class(const struct forge_class *a, const struct forge_class *b)
{
    return !strcmp(a->name, b->name) && a->bits == b->bits && a->group == b->group && a->type == b->type &&
           a->kept == b->kept;
}

static uint64_t parameters(const struct plan_item *it)
{
    if (it->vec) return plan_item_bytes(it) / dtype_size(it->type);
    return (uint64_t)it->n_mats * it->mats->rows * it->mats->cols * (it->mats2 ? 2 : 1);
}

static void add_item(struct forge_preview *p, const struct plan_item *it, bool head)
{
    struct forge_class c = {.head = head, .bits = it->bits, .group = it->group, .type = it->type};
    int i = 0;
    c.kept = it->mats && it->mats->type == DT_U32;
    if (it->vec) c.type = DT_COUNT;
    class_name(it, head, c.name);
    while (i < p->n && !same_class(&p->classes[i], &c)) i++;
    if (i == FORGE_CLASSES_MAX) i--; /* the last one gathers what no longer has room */
    if (i == p->n) p->classes[p->n++] = c;
    p->classes[i].n_modules++;
    p->classes[i].parameters += parameters(it);
    p->classes[i].bytes += plan_item_bytes(it);
}

/* The largest module that is packed here, or NULL. */
static const struct plan_item *largest(const struct plan_item *items, size_t n, const struct plan_item *best)
{
    for (size_t i = 0; i < n; i++) {
        const struct plan_item *it = &items[i];
        if (it->vec || !it->bits || it->mats->type == DT_U32) continue;
        if (!best || parameters(it) > parameters(best)) best = it;
    }
    return best;
}

static bool measure(struct forge_preview *p, const struct sources *s, int n_threads, struct alula_error *e)
{
    struct pool *pool;
    const struct plan_item *it =
        largest(s->plan.head, s->plan.n_head, largest(s->plan.body, s->plan.n_body, NULL));
    if (!it) return true;
    if (!pool_create(&pool, n_threads, e)) return false;
    p->bytes_per_s = emit_measure(it, pool);
    if (p->bytes_per_s > 0) p->seconds = (double)p->source_bytes / p->bytes_per_s;
    pool_free(pool);
    return true;
}

bool forge_look_ahead(struct forge_preview *ret, const struct forge_options *o, struct alula_error *e)
{
    struct sources s;
    *ret = (struct forge_preview){0};
    if (!sources_open(&s, o, e)) return false;
    ret->source_bytes = s.plan.source_bytes;
    ret->body_bytes = s.plan.body_bytes;
    ret->head_bytes = s.plan.head_bytes;
    ret->n_shards = s.plan.n_shards;
    snprintf(ret->trunk_id, sizeof ret->trunk_id, "%s", s.trunk_id);
    snprintf(ret->mtp_id, sizeof ret->mtp_id, "%s", s.mtp_id);
    for (size_t i = 0; i < s.plan.n_body; i++) add_item(ret, &s.plan.body[i], false);
    for (size_t i = 0; i < s.plan.n_head; i++) add_item(ret, &s.plan.head[i], true);
    bool ok = measure(ret, &s, o->n_threads, e);
    sources_close(&s);
    return ok;
}
