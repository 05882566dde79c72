/* start_plan.c - numbers that a server needs and nobody should have to give. Owns no state. */
#include "cli/start_plan.h"

#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/sysmem.h"
#include "serve/scheduler.h"

#define CTX_DEFAULT 32768
#define CTX_LEAST   1024 /* below this a smaller context is no help */
#define CONFIG_MAX  ((size_t)1 << 20)
#define KEY_MAX     ((size_t)4 << 10)

/* ---- memory ------------------------------------------------------------------------------------------------------------ */

/* Bytes of the weights' files: they want to stay in memory too. */
static uint64_t weights_bytes(const char *dir)
{
    struct alula_error e;
    char **names, path[4096];
    size_t n;
    uint64_t sum = 0;
    if (!dir_list(dir, &names, &n, &e)) return 0;
    for (size_t i = 0; i < n; i++) {
        const char *end = strrchr(names[i], '.');
        if (end && strcmp(end, ".safetensors") == 0 && path_join(path, sizeof path, dir, names[i], &e))
            sum += file_size(path);
    }
    mem_free(names);
    return sum;
}

static double mb(int64_t bytes) { return (double)bytes / (1 << 20); }

/* Bytes that can be had beside the weights. A system that does not tell refuses by itself when it must. */
static int64_t memory_left(const char *dir)
{
    uint64_t have = sysmem_available(), weights = weights_bytes(dir);
    if (!have) return INT64_MAX / 2;
    return have > weights ? (int64_t)(have - weights) : 0;
}

bool start_plan_memory(const struct alula_engine *engine, const char *dir, int depth, int64_t work,
                       struct start_memory *plan, struct alula_error *e)
{
    struct alula_engine_info info;
    struct start_memory p = *plan;
    int64_t left = memory_left(dir), need;
    bool given = p.requests >= 0;
    alula_engine_describe(engine, &info);
    if (p.n_ctx > info.max_context)
        return err_set(e, ALULA_LIMIT, "option --ctx: found %d, the model was made for %d", p.n_ctx,
                       info.max_context);
    if (p.cache < 0) p.cache = left > work ? (left - work) / 4 : 0;
    if (!given) p.requests = left > p.cache ? left - p.cache : 0;
    p.requests -= work;
    if (!p.n_ctx) p.n_ctx = info.max_context < CTX_DEFAULT ? info.max_context : CTX_DEFAULT;
    while ((need = (int64_t)scheduler_request_bytes(engine, p.n_ctx, depth)) > p.requests && !plan->n_ctx &&
           p.n_ctx > CTX_LEAST)
        p.n_ctx /= 2;
    if (need > p.requests && given)
        return err_set(
            e, ALULA_LIMIT,
            "option --memory: found %.0f MB, but passes of the model take %.0f MB and a request of "
            "%d tokens %.0f MB",
            mb(plan->requests), mb(work), p.n_ctx, mb(need));
    if (need > p.requests)
        return err_set(
            e, ALULA_LIMIT,
            "memory is short: passes of the model take %.0f MB and a request of %d tokens %.0f MB; beside "
            "the weights %.0f MB can be had, of which the cache takes %.0f; give a smaller --ctx, --parallel "
            "or --cache-memory, or say --memory MB",
            mb(work), p.n_ctx, mb(need), mb(left), mb(p.cache));
    *plan = p;
    return true;
}

/* ---- sampling ---------------------------------------------------------------------------------------------------------- */

static bool read_sampling(const json_t *root, const char *path, struct alula_sampling *s,
                          struct alula_error *e)
{
    int64_t top_k;
    bool draws;
    if (!json_get_real_or(root, "temperature", 0, 100, s->temperature, &s->temperature, path, e) ||
        !json_get_real_or(root, "top_p", 0, 1, s->top_p, &s->top_p, path, e) ||
        !json_get_real_or(root, "min_p", 0, 1, s->min_p, &s->min_p, path, e) ||
        !json_get_real_or(root, "repetition_penalty", 0.01, 100, s->repetition_penalty,
                          &s->repetition_penalty, path, e) ||
        !json_get_int_or(root, "top_k", 0, 1 << 24, s->top_k, &top_k, path, e) ||
        !json_get_bool_or(root, "do_sample", true, &draws, path, e))
        return false;
    s->top_k = (int)top_k;
    if (!draws) s->temperature = 0;
    return true;
}

bool start_plan_sampling(const char *dir, struct alula_sampling *ret, struct alula_error *e)
{
    char path[4096];
    struct alula_sampling s = alula_session_defaults().sampling;
    s.temperature = 1;
    if (!path_join(path, sizeof path, dir, "generation_config.json", e)) return false;
    if (file_exists(path)) {
        json_t *root = json_parse_file(path, CONFIG_MAX, 16, e);
        bool ok = root && read_sampling(root, path, &s, e);
        json_decref(root);
        if (!ok) return false;
    }
    *ret = s;
    return true;
}

/* ---- key --------------------------------------------------------------------------------------------------------------- */

bool start_plan_key(const char *path, struct buf *ret, struct alula_error *e)
{
    struct buf text = {0};
    if (!file_read(path, KEY_MAX, &text, e)) return false;
    size_t n = text.data ? strcspn(text.data, "\r\n") : 0, i = 0;
    while (i < n && text.data[i] > ' ' && text.data[i] < 0x7f) i++;
    bool ok = n && i == n;
    if (ok) buf_add(ret, text.data, n);
    buf_free(&text);
    if (!ok)
        return err_set(e, ALULA_FORMAT,
                       "%s: its first line is no key: visible ASCII without blanks is expected", path);
    return buf_check(ret, path, e);
}
