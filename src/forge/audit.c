/* audit.c - counts what is zero in a head's file. A head of zeros loads without complaint and accepts nothing. */
#include "forge/audit.h"

#include "artifact/safetensors.h"
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"

#define SAMPLE_MAX 12 /* names in a list */

struct tally {
    size_t payload, nonzero, scales, nonzero_scales;
    json_t *zero_payload, *zero_scales;
};

static bool is_zero(const struct tensor *t)
{
    static const unsigned char zeros[4096];
    for (uint64_t at = 0; at < t->n_bytes; at += sizeof zeros) {
        uint64_t n = t->n_bytes - at < sizeof zeros ? t->n_bytes - at : sizeof zeros;
        if (memcmp(t->data + at, zeros, (size_t)n)) return false;
    }
    return true;
}

static void add_sample(json_t *list, const char *name)
{
    if (json_array_size(list) < SAMPLE_MAX) json_array_append_new(list, json_string(name));
}

static void count(struct tally *c, const struct tensor *t)
{
    if (ends_with(t->name, ".scales")) {
        bool zero = is_zero(t);
        c->scales++;
        c->nonzero_scales += !zero;
        if (zero) add_sample(c->zero_scales, t->name);
    } else if (t->n_dims >= 2 && ends_with(t->name, ".weight")) {
        bool zero = is_zero(t);
        c->payload++;
        c->nonzero += !zero;
        if (zero) add_sample(c->zero_payload, t->name);
    }
    file_map_forget(t->data, t->n_bytes);
}

static json_t *problems(const struct tally *c, size_t n_tensors)
{
    json_t *list = json_array();
    if (n_tensors == 0) json_array_append_new(list, json_string("the file holds no tensor"));
    if (c->payload == 0) json_array_append_new(list, json_string("no matrix"));
    if (c->payload && c->nonzero == 0) json_array_append_new(list, json_string("every matrix is zero"));
    if (c->scales && c->nonzero_scales == 0) json_array_append_new(list, json_string("every scale is zero"));
    return list;
}

bool audit_sidecar(json_t **ret, bool *ret_passed, const char *path, struct alula_error *e)
{
    struct st_file *f;
    mem_setup();
    if (!st_open(&f, path, e)) return false;
    struct tally c = {.zero_payload = json_array(), .zero_scales = json_array()};
    for (size_t i = 0; i < f->n_tensors; i++) count(&c, &f->tensors[i]);
    json_t *list = problems(&c, f->n_tensors);
    bool passed = json_array_size(list) == 0;
    json_t *o = json_pack(
        "{s:s, s:I, s:b, s:I, s:o, s:I, s:I, s:o, s:o}", "mtp_file", path_base(path),
        "nonzero_payload_tensor_count", (json_int_t)c.nonzero, "passed", passed, "payload_tensor_count",
        (json_int_t)c.payload, "problems", list, "scale_tensor_count", (json_int_t)c.scales, "tensor_count",
        (json_int_t)f->n_tensors, "zero_payload_sample", c.zero_payload, "zero_scale_sample", c.zero_scales);
    st_close(f);
    if (!o) return err_set(e, ALULA_NOMEM, "%s: no memory to audit it", path);
    *ret = o;
    *ret_passed = passed;
    return true;
}
