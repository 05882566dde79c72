/* input.c - what several commands read: lists of token ids. */
#include "base/err.h"
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/cli.h"

static bool take_ids(const json_t *array, const char *what, int32_t **ret_ids, size_t *ret_n,
                     struct alula_error *e)
{
    if (!json_is_array(array))
        return err_set(e, ALULA_FORMAT, "%s: expected a JSON array of token ids", what);
    size_t n = json_array_size(array);
    int32_t *ids = mem_alloc(n * sizeof *ids + 1);
    if (!ids) return err_set(e, ALULA_NOMEM, "not enough memory for %zu ids", n);
    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(array, i);
        json_int_t id = json_is_integer(v) ? json_integer_value(v) : -1;
        if (id < 0 || id > INT32_MAX) {
            mem_free(ids);
            return err_set(e, ALULA_FORMAT, "%s: entry %zu is no token id, expected a whole number from 0",
                           what, i);
        }
        ids[i] = (int32_t)id;
    }
    *ret_ids = ids;
    *ret_n = n;
    return true;
}

bool cli_read_ids(const char *path, int32_t **ret_ids, size_t *ret_n, struct alula_error *e)
{
    const char *what = path[0] == '-' && !path[1] ? "standard input" : path;
    struct buf text;
    buf_init(&text, CLI_INPUT_MAX);
    json_t *array = NULL;
    bool ok = file_read(path, CLI_INPUT_MAX, &text, e) &&
              (array = json_parse(text.data, text.len, 2, what, e)) &&
              take_ids(array, what, ret_ids, ret_n, e);
    json_decref(array);
    buf_free(&text);
    return ok;
}
