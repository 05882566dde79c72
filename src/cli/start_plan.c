/* start_plan.c - numbers that a server needs and nobody should have to give. Owns no state. */
#include "cli/start_plan.h"

#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/sysmem.h"

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

static double mb(uint64_t bytes) { return (double)bytes / (1 << 20); }

bool start_plan_memory(const struct alula_engine *engine, const char *dir, int n_ctx, int depth,
                       int64_t given, uint64_t cache, int *ret_n_ctx, uint64_t *ret_memory,
                       struct alula_error *e)
{
    struct alula_engine_info info;
    alula_engine_describe(engine, &info);
    if (n_ctx > info.max_context)
        return err_set(e, ALULA_LIMIT, "option --ctx: found %d, the model was made for %d", n_ctx,
                       info.max_context);
    int ctx = n_ctx ? n_ctx : info.max_context < CTX_DEFAULT ? info.max_context : CTX_DEFAULT;
    uint64_t have = sysmem_available(), weights = weights_bytes(dir), taken = weights + cache;
    uint64_t memory = given >= 0 ? (uint64_t)given : have > taken ? have - taken : 0;
    if (!have && given < 0) memory = UINT64_MAX / 2; /* the system does not tell; then it is its to refuse */
    while (!n_ctx && ctx > CTX_LEAST && alula_session_bytes(engine, ctx, depth) > memory) ctx /= 2;
    uint64_t need = alula_session_bytes(engine, ctx, depth);
    if (need > memory && given >= 0)
        return err_set(e, ALULA_LIMIT,
                       "option --memory: found %.0f MB, but a session of %d tokens takes %.0f MB",
                       mb(memory), ctx, mb(need));
    if (need > memory)
        return err_set(
            e, ALULA_LIMIT,
            "memory is short: a session of %d tokens takes %.0f MB, and of the %.0f MB that can be had the "
            "weights take %.0f and the cache %.0f; give a smaller --ctx or --cache-memory, or say --memory "
            "MB",
            ctx, mb(need), mb(have), mb(weights), mb(cache));
    *ret_n_ctx = ctx;
    *ret_memory = memory;
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
