/* api_tokens.c - POST /tokenize and /detokenize: text to ids and back.
 *
 * Two servers before this one have these endpoints and name the text differently, "content" and "prompt":
 * both names are read, both are written. */
#include <string.h>

#include "base/mem.h"
#include "serve/routes.h"

#define WHAT    "the request"
#define IDS_MAX ((size_t)1 << 22)

bool answer_tokenize(const struct site *site, const char *path, const json_t *body, struct buf *out,
                     struct alula_error *e)
{
    json_t *text;
    int32_t *ids;
    size_t n;
    bool special;
    (void)path;
    if (!request_member(body, json_object_get(body, "content") ? "content" : "prompt", JSON_STRING, &text,
                        WHAT, e) ||
        !json_get_bool_or(body, "parse_special", true, &special, WHAT, e))
        return false;
    if (!text) return err_set(e, ALULA_FORMAT, WHAT ": \"content\" is missing, expected a string");
    if (!alula_tokenize(site->engine, json_string_value(text), json_string_length(text), special, &ids, &n,
                        e))
        return false;
    buf_str(out, "{\"tokens\": [");
    for (size_t i = 0; i < n; i++) buf_fmt(out, "%s%d", i ? ", " : "", (int)ids[i]);
    buf_fmt(out, "], \"count\": %zu, \"max_model_len\": %d}", n, site->n_ctx);
    alula_free(ids);
    return true;
}

static bool read_ids(const json_t *list, int32_t *ids, int vocab, struct alula_error *e)
{
    const json_t *id;
    size_t i;
    json_array_foreach(list, i, id)
    {
        json_int_t v = json_is_integer(id) ? json_integer_value(id) : -1;
        if (v < 0 || v >= vocab)
            return err_set(e, ALULA_FORMAT,
                           WHAT ": \"tokens\"[%zu] is no id, expected a whole number from 0 to %d", i,
                           vocab - 1);
        ids[i] = (int32_t)v;
    }
    return true;
}

bool answer_detokenize(const struct site *site, const char *path, const json_t *body, struct buf *out,
                       struct alula_error *e)
{
    struct alula_engine_info info;
    json_t *list;
    char *text;
    size_t len;
    (void)path;
    alula_engine_describe(site->engine, &info);
    if (!request_member(body, "tokens", JSON_ARRAY, &list, WHAT, e)) return false;
    size_t n = json_array_size(list);
    if (!list) return err_set(e, ALULA_FORMAT, WHAT ": \"tokens\" is missing, expected a list of ids");
    if (n > IDS_MAX)
        return err_set(e, ALULA_LIMIT, WHAT ": \"tokens\" has %zu ids, at most %zu are taken", n, IDS_MAX);
    int32_t *ids = mem_alloc(n * sizeof *ids + 1);
    if (!ids) return request_no_memory(e);
    bool ok =
        read_ids(list, ids, info.vocab, e) && alula_detokenize(site->engine, ids, n, false, &text, &len, e);
    mem_free(ids);
    if (!ok) return false;
    buf_byte(out, '{');
    reply_write_str(out, "content", text, len);
    buf_str(out, ", ");
    reply_write_str(out, "prompt", text, len);
    buf_byte(out, '}');
    alula_free(text);
    return true;
}
