/* routes.c - the table of endpoints, and those that only tell what is: models, health, metrics.
 *
 * Owns the paths. Knows no HTTP beyond methods and paths. */
#include "serve/routes.h"

#include <string.h>

/* ---- models -------------------------------------------------------------------------------------------- */

static void write_model(const struct site *site, struct buf *out)
{
    buf_str(out, "{\"id\": ");
    json_write_str(out, site->model, strlen(site->model));
    buf_fmt(out, ", \"object\": \"model\", \"created\": %jd, \"owned_by\": \"alula\", \"max_model_len\": %d}",
            (intmax_t)site->started, site->n_ctx);
}

static bool answer_models(const struct site *site, const char *path, const json_t *body, struct buf *out,
                          struct alula_error *e)
{
    (void)path, (void)body, (void)e;
    buf_str(out, "{\"object\": \"list\", \"data\": [");
    write_model(site, out);
    buf_str(out, "]}");
    return true;
}

static bool answer_model(const struct site *site, const char *path, const json_t *body, struct buf *out,
                         struct alula_error *e)
{
    const char *name = path + strlen("/v1/models/");
    (void)body;
    if (strcmp(name, site->model) != 0)
        return err_set(e, ALULA_NOT_FOUND, "there is no model \"%.100s\" here, only \"%s\"", name,
                       site->model);
    write_model(site, out);
    return true;
}

/* ---- health -------------------------------------------------------------------------------------------- */

static bool answer_health(const struct site *site, const char *path, const json_t *body, struct buf *out,
                          struct alula_error *e)
{
    struct scheduler_stats s;
    struct alula_engine_info info;
    (void)path, (void)body, (void)e;
    scheduler_describe(site->scheduler, &s);
    alula_engine_describe(site->engine, &info);
    buf_fmt(out, "{\"status\": \"%s\", \"version\": \"%s\", \"model\": ", s.draining ? "draining" : "ok",
            alula_version());
    json_write_str(out, site->model, strlen(site->model));
    buf_fmt(out, ", \"mtp\": %s, \"context\": %d, \"running\": %d, \"waiting\": %d}",
            info.has_mtp ? "true" : "false", site->n_ctx, s.running, s.waiting);
    return true;
}

static bool answer_metrics(const struct site *site, const char *path, const json_t *body, struct buf *out,
                           struct alula_error *e)
{
    (void)path, (void)body, (void)e;
    scheduler_write_metrics(site->scheduler, out);
    return true;
}

/* ---- the table ----------------------------------------------------------------------------------------- */

static const struct route routes[] = {
    {.method = "POST", .dialect = &dialect_chat},
    {.method = "POST", .dialect = &dialect_completions},
    {.method = "POST", .dialect = &dialect_messages},
    {.method = "POST", .dialect = &dialect_count_tokens},
    {.method = "POST", .dialect = &dialect_responses},
    {.method = "POST", .path = "/tokenize", .answer = answer_tokenize},
    {.method = "POST", .path = "/detokenize", .answer = answer_detokenize},
    {.method = "GET", .path = "/v1/models", .answer = answer_models},
    {.method = "GET", .path = "/v1/models/", .beginning = true, .answer = answer_model},
    {.method = "GET", .path = "/health", .open = true, .answer = answer_health},
    {.method = "GET",
     .path = "/metrics",
     .answer = answer_metrics,
     .type = "text/plain; version=0.0.4; charset=utf-8"},
};

const struct route *route_find(const char *method, const char *path, const char **ret_allow)
{
    if (strcmp(method, "HEAD") == 0) method = "GET";
    *ret_allow = NULL;
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
        const struct route *r = &routes[i];
        const char *own = r->dialect ? r->dialect->path : r->path;
        size_t n = strlen(own);
        if (r->beginning ? strncmp(path, own, n) != 0 || !path[n] : strcmp(path, own) != 0) continue;
        if (strcmp(method, r->method) == 0) return r;
        *ret_allow = r->method;
    }
    return NULL;
}

void route_write_error(const struct route *route, int status, const struct alula_error *error,
                       struct buf *out)
{
    if (route && route->error)
        route->error(status, error, out);
    else if (route && route->dialect)
        route->dialect->error(status, error, out);
    else
        reply_openai_error(status, error, out);
}
