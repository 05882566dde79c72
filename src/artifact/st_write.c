/* st_write.c - the writer of safetensors files: header first, then data as it comes.
 *
 * Owns the order: declare, begin, append, commit. Knows nothing of where the bytes come from and keeps none
 * of them. */
#include <inttypes.h>

#include "artifact/safetensors.h"
#include "base/json.h"
#include "base/mem.h"

#define HEADER_MAX 100000000

struct st_writer {
    struct file_out out;
    const json_t *metadata;
    struct buf header; /* the JSON so far, open until begin */
    json_t *names;     /* set of the names declared, as an object */
    uint64_t data_len; /* bytes declared */
    uint64_t written;  /* bytes appended */
    bool begun;
};

bool st_writer_open(struct st_writer **ret, const char *path, const json_t *metadata, struct alula_error *e)
{
    mem_setup();
    struct st_writer *w = mem_zalloc(1, sizeof *w);
    json_t *names = json_object();
    if (!w || !names) {
        json_decref(names);
        mem_free(w);
        return err_set(e, ALULA_NOMEM, "%s: no memory to write it", path);
    }
    w->names = names;
    w->metadata = metadata;
    w->out.fd = -1;
    buf_init(&w->header, HEADER_MAX);
    if (!file_out_open(&w->out, path, e)) {
        st_writer_close(w);
        return false;
    }
    buf_byte(&w->header, '{');
    if (metadata) {
        buf_str(&w->header, "\"__metadata__\":");
        json_write(&w->header, metadata, 0);
    }
    *ret = w;
    return true;
}

bool st_writer_declare(struct st_writer *w, const char *name, enum dtype type, int n_dims,
                       const uint64_t *shape, struct alula_error *e)
{
    size_t len = strlen(name);
    if (w->begun)
        return err_set(e, ALULA_INTERNAL, "%s: tensor %s is declared after the data began", w->out.path,
                       name);
    if (len == 0 || len > TENSOR_NAME_MAX || n_dims < 0 || n_dims > TENSOR_DIMS_MAX)
        return err_set(e, ALULA_LIMIT, "%s: tensor %.80s cannot be written: name of %zu bytes, %d dimensions",
                       w->out.path, name, len, n_dims);
    if (json_object_get(w->names, name) || !strcmp(name, "__metadata__"))
        return err_set(e, ALULA_FORMAT, "%s: tensor %s is declared twice", w->out.path, name);
    if (json_object_set_new(w->names, name, json_true()) != 0)
        return err_set(e, ALULA_NOMEM, "%s: no memory for tensor %s", w->out.path, name);
    uint64_t bytes = dtype_size(type), end;
    bool fits = true;
    for (int i = 0; i < n_dims; i++) fits = fits && !__builtin_mul_overflow(bytes, shape[i], &bytes);
    if (!fits || __builtin_add_overflow(w->data_len, bytes, &end) || end > INT64_MAX)
        return err_set(e, ALULA_LIMIT, "%s: tensor %s has more bytes than can be counted", w->out.path, name);

    struct buf *h = &w->header;
    if (h->len > 1) buf_byte(h, ',');
    json_write_str(h, name, len);
    buf_fmt(h, ":{\"dtype\":\"%s\",\"shape\":[", dtype_name(type));
    for (int i = 0; i < n_dims; i++) buf_fmt(h, "%s%" PRIu64, i ? "," : "", shape[i]);
    buf_fmt(h, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", w->data_len, end);
    w->data_len = end;
    return true;
}

bool st_writer_begin(struct st_writer *w, struct alula_error *e)
{
    buf_byte(&w->header, '}');
    /* Readers like data that begins at a multiple of 8, and 8 bytes of length stand before the header. */
    while (!w->header.failed && w->header.len % 8 != 0) buf_byte(&w->header, ' ');
    if (!buf_check(&w->header, "the header", e)) return err_context(e, "%s", w->out.path);
    unsigned char len[8];
    for (int i = 0; i < 8; i++) len[i] = (unsigned char)((uint64_t)w->header.len >> 8 * i);
    w->begun = true;
    return file_out_write(&w->out, len, sizeof len, e) &&
           file_out_write(&w->out, w->header.data, w->header.len, e);
}

bool st_writer_append(struct st_writer *w, const void *p, size_t n, struct alula_error *e)
{
    if (!w->begun || n > w->data_len - w->written)
        return err_set(e, ALULA_INTERNAL,
                       "%s: %zu bytes are appended, but only %" PRIu64 " were declared and are missing",
                       w->out.path, n, w->begun ? w->data_len - w->written : 0);
    if (!file_out_write(&w->out, p, n, e)) return false;
    w->written += n;
    return true;
}

bool st_writer_commit(struct st_writer *w, struct alula_error *e)
{
    if (!w->begun || w->written != w->data_len)
        return err_set(e, ALULA_INTERNAL, "%s: %" PRIu64 " bytes were declared, %" PRIu64 " appended",
                       w->out.path, w->data_len, w->written);
    return file_out_commit(&w->out, e);
}

void st_writer_close(struct st_writer *w)
{
    if (!w) return;
    file_out_close(&w->out);
    buf_free(&w->header);
    json_decref(w->names);
    mem_free(w);
}
