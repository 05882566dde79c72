/* safetensors.c - the reader of safetensors files.
 *
 * Owns the layout of the file: 8 bytes of header length, a JSON header, the tensors' bytes without a hole.
 * Knows nothing of models: which names there should be is none of its business. */
#include "artifact/safetensors.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/mem.h"

#define HEADER_MAX   100000000 /* the ceiling of the original implementation */
#define HEADER_DEPTH 8
#define TENSORS_MAX  4000000

const char *tensor_shape_str(const struct tensor *t, char *out, size_t cap)
{
    size_t len = 0;
    out[0] = '\0';
    for (int i = 0; i <= t->n_dims && len < cap; i++) {
        const char *close = i == t->n_dims ? "]" : "";
        const char *open = i == 0 ? "[" : *close ? "" : ", ";
        int n = *close ? snprintf(out + len, cap - len, "%s]", open)
                       : snprintf(out + len, cap - len, "%s%" PRIu64, open, t->shape[i]);
        len += n > 0 ? (size_t)n : 0;
    }
    return out;
}

static bool read_type(struct tensor *t, const json_t *info, const char *path, struct alula_error *e)
{
    const char *type = json_string_value(json_object_get(info, "dtype"));
    if (!type) return err_set(e, ALULA_FORMAT, "%s: tensor %s has no \"dtype\"", path, t->name);
    for (int i = 0; i < DT_COUNT; i++) {
        if (!strcmp(type, dtype_name((enum dtype)i))) {
            t->dtype = (enum dtype)i;
            return true;
        }
    }
    return err_set(e, ALULA_UNSUPPORTED, "%s: tensor %s has type \"%.40s\", which alula does not read", path,
                   t->name, type);
}

/* Fills shape and the number of bytes that shape and type ask for. */
static bool read_shape(struct tensor *t, const json_t *info, const char *path, struct alula_error *e)
{
    const json_t *shape = json_object_get(info, "shape");
    if (!json_is_array(shape))
        return err_set(e, ALULA_FORMAT, "%s: tensor %s has no \"shape\"", path, t->name);
    size_t n_dims = json_array_size(shape);
    if (n_dims > TENSOR_DIMS_MAX)
        return err_set(e, ALULA_LIMIT, "%s: tensor %s has %zu dimensions, more than %d", path, t->name,
                       n_dims, TENSOR_DIMS_MAX);
    t->n_dims = (int)n_dims;
    uint64_t bytes = dtype_size(t->dtype);
    for (size_t i = 0; i < n_dims; i++) {
        const json_t *dim = json_array_get(shape, i);
        if (!json_is_integer(dim) || json_integer_value(dim) < 0)
            return err_set(e, ALULA_FORMAT, "%s: dimension %zu of tensor %s is not a whole number from 0 up",
                           path, i, t->name);
        t->shape[i] = (uint64_t)json_integer_value(dim);
        if (__builtin_mul_overflow(bytes, t->shape[i], &bytes))
            return err_set(e, ALULA_FORMAT, "%s: the shape of tensor %s has more bytes than can be counted",
                           path, t->name);
    }
    t->n_bytes = bytes;
    return true;
}

static bool read_offsets(struct tensor *t, const json_t *info, const unsigned char *data, uint64_t data_len,
                         const char *path, struct alula_error *e)
{
    const json_t *offsets = json_object_get(info, "data_offsets");
    const json_t *b = json_array_get(offsets, 0), *end = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(b) || !json_is_integer(end))
        return err_set(e, ALULA_FORMAT, "%s: tensor %s has no \"data_offsets\" of two whole numbers", path,
                       t->name);
    int64_t from = json_integer_value(b), to = json_integer_value(end);
    if (from < 0 || to < from)
        return err_set(e, ALULA_FORMAT,
                       "%s: tensor %s lies from %" PRId64 " to %" PRId64 ", which is no range", path, t->name,
                       from, to);
    if ((uint64_t)to > data_len)
        return err_set(e, ALULA_FORMAT,
                       "%s: tensor %s ends at byte %" PRId64 " of the data, but the file has only %" PRIu64
                       " (cut off?)",
                       path, t->name, to, data_len);
    if ((uint64_t)(to - from) != t->n_bytes)
        return err_set(e, ALULA_FORMAT,
                       "%s: tensor %s has %" PRId64 " bytes, but its shape and type ask for %" PRIu64, path,
                       t->name, to - from, t->n_bytes);
    t->data = data + from;
    return true;
}

static bool read_tensor(struct tensor *t, const json_t *info, const unsigned char *data, uint64_t data_len,
                        const char *path, struct alula_error *e)
{
    if (!json_is_object(info))
        return err_set(e, ALULA_FORMAT, "%s: the entry of tensor %s is not an object", path, t->name);
    return read_type(t, info, path, e) && read_shape(t, info, path, e) &&
           read_offsets(t, info, data, data_len, path, e);
}

static bool check_name(const char *name, const char *path, struct alula_error *e)
{
    size_t n = strlen(name);
    if (n == 0 || n > TENSOR_NAME_MAX)
        return err_set(e, ALULA_LIMIT, "%s: a tensor's name has %zu bytes, expected 1 to %d", path, n,
                       TENSOR_NAME_MAX);
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f)
            return err_set(e, ALULA_FORMAT, "%s: a tensor's name has a control character at byte %zu", path,
                           i);
    return true;
}

static bool check_metadata(json_t *metadata, const char *path, struct alula_error *e)
{
    const char *key;
    json_t *value;
    if (!json_is_object(metadata))
        return err_set(e, ALULA_FORMAT, "%s: \"__metadata__\" is not an object", path);
    json_object_foreach(metadata, key, value) if (!json_is_string(value)) return err_set(
        e, ALULA_FORMAT, "%s: \"__metadata__\" has a value for \"%.80s\" that is not a text", path, key);
    return true;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct tensor *)a)->name, ((const struct tensor *)b)->name);
}

static int by_place(const void *a, const void *b)
{
    const struct tensor *x = *(const struct tensor *const *)a, *y = *(const struct tensor *const *)b;
    if (x->data != y->data) return x->data < y->data ? -1 : 1;
    return x->n_bytes < y->n_bytes ? -1 : x->n_bytes > y->n_bytes;
}

/* The tensors must cover the data from first byte to last, each byte once. */
static bool check_cover(const struct st_file *f, const unsigned char *data, uint64_t data_len,
                        struct alula_error *e)
{
    const struct tensor **order = mem_zalloc(f->n_tensors ? f->n_tensors : 1, sizeof *order);
    if (!order) return err_set(e, ALULA_NOMEM, "%s: no memory for %zu tensors", f->path, f->n_tensors);
    for (size_t i = 0; i < f->n_tensors; i++) order[i] = &f->tensors[i];
    qsort(order, f->n_tensors, sizeof *order, by_place);
    const unsigned char *at = data;
    bool ok = true;
    for (size_t i = 0; ok && i < f->n_tensors; i++) {
        if (order[i]->data < at)
            ok = err_set(e, ALULA_FORMAT, "%s: tensor %s overlaps tensor %s", f->path, order[i]->name,
                         order[i - 1]->name);
        else if (order[i]->data > at)
            ok = err_set(e, ALULA_FORMAT, "%s: %zu bytes before tensor %s belong to no tensor", f->path,
                         (size_t)(order[i]->data - at), order[i]->name);
        at = order[i]->data + order[i]->n_bytes;
    }
    uint64_t used = (uint64_t)(at - data);
    if (ok && used != data_len)
        ok = err_set(e, ALULA_FORMAT, "%s: %" PRIu64 " bytes at the end belong to no tensor", f->path,
                     data_len - used);
    mem_free(order);
    return ok;
}

static bool read_tensors(struct st_file *f, json_t *header, const unsigned char *data, uint64_t data_len,
                         struct alula_error *e)
{
    const char *key;
    json_t *info;
    size_t n_chars = 0, n = json_object_size(header);
    if (n > TENSORS_MAX)
        return err_set(e, ALULA_LIMIT, "%s: %zu tensors are more than %d", f->path, n, TENSORS_MAX);
    json_object_foreach(header, key, info) n_chars += strlen(key) + 1;
    f->tensors = mem_zalloc(n + 1, sizeof *f->tensors);
    f->names = mem_alloc(n_chars + 1);
    if (!f->tensors || !f->names) return err_set(e, ALULA_NOMEM, "%s: no memory for %zu tensors", f->path, n);
    char *name = f->names;
    json_object_foreach(header, key, info)
    {
        if (!strcmp(key, "__metadata__")) {
            if (!check_metadata(info, f->path, e)) return false;
            f->metadata = json_incref(info);
            continue;
        }
        struct tensor *t = &f->tensors[f->n_tensors];
        if (!check_name(key, f->path, e)) return false;
        size_t len = strlen(key) + 1;
        t->name = memcpy(name, key, len);
        name += len;
        t->file = f;
        if (!read_tensor(t, info, data, data_len, f->path, e)) return false;
        f->n_tensors++;
    }
    qsort(f->tensors, f->n_tensors, sizeof *f->tensors, by_name);
    return check_cover(f, data, data_len, e);
}

static bool read_file(struct st_file *f, struct alula_error *e)
{
    if (!file_map(&f->map, f->path, e)) return false;
    if (f->map.len < 8)
        return err_set(e, ALULA_FORMAT, "%s: %zu bytes are no safetensors file (cut off?)", f->path,
                       f->map.len);
    uint64_t len = 0;
    for (int i = 7; i >= 0; i--) len = len << 8 | f->map.data[i];
    if (len > HEADER_MAX)
        return err_set(e, ALULA_LIMIT,
                       "%s: a header of %" PRIu64 " bytes is more than %d (not a safetensors file?)", f->path,
                       len, HEADER_MAX);
    if (len > f->map.len - 8)
        return err_set(e, ALULA_FORMAT,
                       "%s: the header should have %" PRIu64 " bytes, but only %zu are there (cut off?)",
                       f->path, len, f->map.len - 8);
    const char *text = (const char *)f->map.data + 8;
    if (len == 0 || text[0] != '{')
        return err_set(e, ALULA_FORMAT, "%s: the header does not begin with \"{\"", f->path);
    file_map_want(text, (size_t)len);
    json_t *header = json_parse(text, (size_t)len, HEADER_DEPTH, f->path, e);
    if (!header) return false;
    bool ok = json_is_object(header) ? read_tensors(f, header, f->map.data + 8 + len, f->map.len - 8 - len, e)
                                     : err_set(e, ALULA_FORMAT, "%s: the header is not an object", f->path);
    json_decref(header);
    return ok;
}

bool st_open(struct st_file **ret, const char *path, struct alula_error *e)
{
    struct st_file *f = mem_zalloc(1, sizeof *f);
    if (f) f->path = mem_strdup(path);
    if (!f || !f->path) {
        st_close(f);
        return err_set(e, ALULA_NOMEM, "%s: no memory to open it", path);
    }
    if (!read_file(f, e)) {
        st_close(f);
        return false;
    }
    *ret = f;
    return true;
}

void st_close(struct st_file *f)
{
    if (!f) return;
    file_unmap(&f->map);
    json_decref(f->metadata);
    mem_free(f->names);
    mem_free(f->tensors);
    mem_free(f->path);
    mem_free(f);
}

const struct tensor *st_find(const struct st_file *f, const char *name)
{
    struct tensor key = {.name = name};
    return f->n_tensors ? bsearch(&key, f->tensors, f->n_tensors, sizeof key, by_name) : NULL;
}
