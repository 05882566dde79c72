/* bind.c - takes tensors by name and checks what they are.
 *
 * Owns the lists of missing, mis-shaped and left-over tensors, and how a packed module is recognised. Knows
 * nothing of the network: which modules there are is written in weights.c. */
#include "artifact/bind.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "artifact/quant.h"
#include "base/json.h"

#define KEY_MAX (TENSOR_NAME_MAX + 16)

struct bind_name {
    const char *key; /* a tail of the tensor's name */
    const struct tensor *tensor;
    bool used;
};

/* ---- the table ------------------------------------------------------------------------------- */

static int by_key(const void *a, const void *b)
{
    return strcmp(((const struct bind_name *)a)->key, ((const struct bind_name *)b)->key);
}

static struct bind_name *find(const struct binder *b, const char *at, const char *module, const char *leaf)
{
    char key[KEY_MAX];
    struct bind_name wanted = {.key = key};
    int n = snprintf(key, sizeof key, "%s%s%s", at, module, leaf);
    if (n < 0 || (size_t)n >= sizeof key || b->n == 0) return NULL;
    return bsearch(&wanted, b->names, b->n, sizeof wanted, by_key);
}

const struct tensor *bind_peek(const struct binder *b, const char *at, const char *name)
{
    const struct bind_name *hit = find(b, at, name, "");
    return hit ? hit->tensor : NULL;
}

bool bind_has(const struct binder *b, const char *at, const char *name)
{
    return find(b, at, name, "") != NULL;
}

bool bind_has_any(const struct binder *b, const char *at, const char *name)
{
    char key[KEY_MAX];
    size_t lo = 0, hi = b->n, n = (size_t)snprintf(key, sizeof key, "%s%s", at, name);
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (strcmp(b->names[mid].key, key) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < b->n && !strncmp(b->names[lo].key, key, n);
}

bool bind_begin(struct binder *b, const struct checkpoint *cp, enum tensor_part part, struct arena *arena,
                struct alula_error *e)
{
    *b = (struct binder){.cp = cp, .part = part, .arena = arena, .e = e};
    b->names = mem_zalloc(cp->n_tensors + 1, sizeof *b->names);
    if (!b->names) return err_set(e, ALULA_NOMEM, "%s: no memory for %zu names", cp->dir, cp->n_tensors);
    for (size_t i = 0; i < cp->n_tensors; i++) {
        const char *key;
        enum tensor_part found = layout_part(cp->tensors[i]->name, &key);
        /* What belongs nowhere is the trunk's to report, for the trunk is bound in every case. */
        if (found == part || (found == PART_UNKNOWN && part == PART_TRUNK))
            b->names[b->n++] = (struct bind_name){.key = key, .tensor = cp->tensors[i]};
    }
    qsort(b->names, b->n, sizeof *b->names, by_key);
    for (size_t i = 1; i < b->n; i++)
        if (!strcmp(b->names[i - 1].key, b->names[i].key))
            return err_set(e, ALULA_MISMATCH, "%s: tensors %s and %s are the same parameter", cp->dir,
                           b->names[i - 1].tensor->name, b->names[i].tensor->name);
    const char *const *prefixes = layout_prefixes(part);
    snprintf(b->prefix, sizeof b->prefix, "%s", prefixes[0]);
    for (size_t i = 0; i < b->n; i++) {
        size_t len = (size_t)(b->names[i].key - b->names[i].tensor->name);
        if (!strncmp(b->names[i].key, "layers.", 7) && len < sizeof b->prefix) {
            snprintf(b->prefix, sizeof b->prefix, "%.*s", (int)len, b->names[i].tensor->name);
            break;
        }
    }
    return true;
}

void bind_end(struct binder *b)
{
    mem_free(b->names);
    b->names = NULL;
}

/* ---- complaints ------------------------------------------------------------------------------ */

__attribute__((format(printf, 2, 3))) static void list_add(struct bind_list *l, const char *fmt, ...)
{
    char one[sizeof l->text - 8]; /* so that ", ..." fits behind the longest */
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(one, sizeof one, fmt, ap);
    va_end(ap);
    size_t len = strlen(l->text), n = strlen(one);
    if (l->n++ == 0) {
        memcpy(l->text, one, n + 1);
    } else if (len + n + 8 < sizeof l->text) {
        memcpy(l->text + len, ", ", 2);
        memcpy(l->text + len + 2, one, n + 1);
    } else if (len < 3 || strcmp(l->text + len - 3, "...")) {
        memcpy(l->text + len, ", ...", 6);
    }
}

static void missing(struct binder *b, const char *at, const char *module, const char *leaf)
{
    bool outer = !strncmp(module, "lm_head", 7);
    list_add(&b->missing, "%s%s%s%s", outer ? "" : b->prefix, at, module, leaf);
}

static void bad_shape(struct binder *b, const struct tensor *t, const char *expected)
{
    char shape[160];
    list_add(&b->shapes, "%s is %s %s, expected %s", t->name, dtype_name(t->dtype),
             tensor_shape_str(t, shape, sizeof shape), expected);
}

__attribute__((format(printf, 3, 4))) static void fatal(struct binder *b, enum alula_code code,
                                                        const char *fmt, ...)
{
    char message[600];
    va_list ap;
    if (b->failed) return;
    va_start(ap, fmt);
    vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    b->failed = true;
    err_set(b->e, code, "%s", message);
}

bool bind_finish(struct binder *b)
{
    struct bind_list left = {0};
    if (b->failed) return false;
    for (size_t i = 0; i < b->n; i++)
        if (!b->names[i].used) list_add(&left, "%s", b->names[i].tensor->name);
    if (!b->missing.n && !b->shapes.n && !left.n) return true;
    char text[960] = "";
    const struct {
        const struct bind_list *list;
        const char *what;
    } parts[] = {{&b->shapes, "mis-shaped"}, {&b->missing, "missing"}, {&left, "left over"}};
    for (int i = 0; i < 3; i++) {
        size_t len = strlen(text), n = parts[i].list->n;
        if (n)
            snprintf(text + len, sizeof text - len, "%s%zu tensor%s %s: %s", len ? "; " : "", n,
                     n > 1 ? "s" : "", parts[i].what, parts[i].list->text);
    }
    return err_set(b->e, b->missing.n && !b->shapes.n ? ALULA_NOT_FOUND : ALULA_MISMATCH,
                   "%s: the tensors of %s do not fit; %s", b->cp->dir,
                   b->part == PART_HEAD ? "the MTP head" : "the trunk", text);
}

/* ---- vectors --------------------------------------------------------------------------------- */

static bool is_float(enum dtype t) { return t == DT_F32 || t == DT_F16 || t == DT_BF16; }

static bool shape_is(const struct tensor *t, int n_dims, uint64_t a, uint64_t b, uint64_t c)
{
    const uint64_t dims[3] = {a, b, c};
    bool ok = t->n_dims == n_dims;
    for (int i = 0; ok && i < n_dims; i++) ok = t->shape[i] == dims[i];
    return ok;
}

/* Copies values into the arena, adds 1 where the set is zero-centred, and looks at each of them. */
static void take_values(struct binder *b, struct vector *v, const struct tensor *t, size_t n, bool norm)
{
    float *gain = arena_array(b->arena, n, sizeof *gain);
    bool any = false;
    if (!gain) {
        fatal(b, ALULA_NOMEM, "%s: no memory for %s", b->cp->dir, t->name);
        return;
    }
    file_map_want(t->data, t->n_bytes);
    values_to_f32(t->data, t->dtype, n, gain);
    v->add_one = norm && b->add_one;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(gain[i])) {
            fatal(b, ALULA_FORMAT, "%s: tensor %s is not finite at value %zu", t->file->path, t->name, i);
            return;
        }
        if (v->add_one) gain[i] += 1.0f;
        any = any || gain[i] != 0;
    }
    if (norm && !any) fatal(b, ALULA_FORMAT, "%s: the gain %s is zero everywhere", t->file->path, t->name);
    v->gain = gain;
    v->source = t;
}

void bind_vector(struct binder *b, struct vector *v, uint64_t n, bool norm, const char *at, const char *name)
{
    struct bind_name *hit = find(b, at, name, "");
    char expected[64];
    if (!hit) {
        missing(b, at, name, "");
        return;
    }
    hit->used = true;
    if (!is_float(hit->tensor->dtype) || !shape_is(hit->tensor, 1, n, 0, 0)) {
        snprintf(expected, sizeof expected, "floats [%" PRIu64 "]", n);
        bad_shape(b, hit->tensor, expected);
        return;
    }
    take_values(b, v, hit->tensor, n, norm);
}

void bind_conv(struct binder *b, struct vector *v, uint64_t channels, uint64_t taps, const char *at,
               const char *name)
{
    struct bind_name *hit = find(b, at, name, "");
    char expected[96];
    if (!hit) {
        missing(b, at, name, "");
        return;
    }
    hit->used = true;
    if (!is_float(hit->tensor->dtype) ||
        !(shape_is(hit->tensor, 3, channels, 1, taps) || shape_is(hit->tensor, 3, channels, taps, 1))) {
        snprintf(expected, sizeof expected,
                 "floats [%" PRIu64 ", 1, %" PRIu64 "] or [%" PRIu64 ", %" PRIu64 ", 1]", channels, taps,
                 channels, taps);
        bad_shape(b, hit->tensor, expected);
        return;
    }
    take_values(b, v, hit->tensor, channels * taps, false);
}

/* ---- matrices -------------------------------------------------------------------------------- */

/* The entry of a module in the config's quantization objects, or NULL. *ret_mode: the mode that rules without
 * one. */
static const json_t *quant_entry(const struct binder *b, const char *at, const char *module,
                                 const char **ret_mode)
{
    const json_t *places[2] = {NULL, b->cp->quantization};
    char key[KEY_MAX];
    *ret_mode = NULL;
    if (b->part == PART_HEAD) places[0] = json_object_get(b->cp->config_json, "mtplx_mtp_quantization");
    for (int i = 0; i < 2; i++) {
        if (!*ret_mode) *ret_mode = json_string_value(json_object_get(places[i], "mode"));
        for (const char *const *p = layout_prefixes(b->part); *p; p++) {
            snprintf(key, sizeof key, "%s%s%s", *p, at, module);
            const json_t *entry = json_object_get(places[i], key);
            /* Inside mtplx_mtp_quantization modules stand without a prefix. */
            entry = entry ? entry : json_object_get(places[i], key + strlen(*p));
            if (entry) return entry;
        }
        snprintf(key, sizeof key, "language_model.%s%s", at, module); /* "language_model.lm_head" */
        const json_t *entry = json_object_get(places[i], key);
        if (entry) return entry;
    }
    return NULL;
}

/* What the config says of a packed module must agree with what its shapes say. */
static bool check_entry(struct binder *b, const struct tensor *weight, int bits, int group, const char *at,
                        const char *module)
{
    const char *mode;
    const json_t *entry = quant_entry(b, at, module, &mode);
    if (entry) mode = json_string_value(json_object_get(entry, "mode"));
    if (mode && strcmp(mode, "affine")) {
        fatal(b, ALULA_UNSUPPORTED, "%s: %s is quantized in mode \"%.40s\", alula reads \"affine\" only",
              b->cp->dir, weight->name, mode);
        return false;
    }
    if (json_is_false(entry)) {
        fatal(b, ALULA_MISMATCH, "%s: %s is packed, but config.json says that the module is not quantized",
              b->cp->dir, weight->name);
        return false;
    }
    if (!bits) return true;
    const json_t *said_bits = json_object_get(entry, "bits"),
                 *said_group = json_object_get(entry, "group_size");
    if ((said_bits && json_integer_value(said_bits) != bits) ||
        (said_group && json_integer_value(said_group) != group)) {
        fatal(b, ALULA_MISMATCH,
              "%s: %s has %d bits and groups of %d by its shape, config.json says %d and %d", b->cp->dir,
              weight->name, bits, group, (int)json_integer_value(said_bits),
              (int)json_integer_value(said_group));
        return false;
    }
    return true;
}

/* The tensor has n_stack (0: no such axis) and rows in front; *ret_last is the last dimension. */
static bool front_is(const struct tensor *t, uint64_t n_stack, uint64_t rows, uint64_t *ret_last)
{
    int n_dims = n_stack ? 3 : 2;
    if (t->n_dims != n_dims || t->shape[n_dims - 2] != rows || (n_stack && t->shape[0] != n_stack))
        return false;
    *ret_last = t->shape[n_dims - 1];
    return true;
}

/* rows, cols and what they are called in messages. */
struct wanted {
    uint64_t n_stack, rows, cols;
    const char *at, *module;
};

static void expected_shape(const struct wanted *w, uint64_t cols, char *out, size_t cap)
{
    if (w->n_stack)
        snprintf(out, cap, "[%" PRIu64 ", %" PRIu64 ", %" PRIu64 "]", w->n_stack, w->rows, cols);
    else
        snprintf(out, cap, "[%" PRIu64 ", %" PRIu64 "]", w->rows, cols);
}

static void take_packed(struct binder *b, struct matrix *m, const struct wanted *w,
                        const struct tensor *weight, struct bind_name *scales, struct bind_name *biases)
{
    uint64_t words = 0, groups = 0, bias_groups = 0;
    char shape[96], expected[160];
    if (scales) scales->used = true;
    if (biases) biases->used = true;
    /* Modes without biases have other rules for scales too, so the mode is the first thing to look at. */
    if (!check_entry(b, weight, 0, 0, w->at, w->module)) return;
    if (!scales || !biases) {
        missing(b, w->at, w->module, scales ? ".biases" : ".scales");
        return;
    }
    if (weight->dtype != DT_U32 || !front_is(weight, w->n_stack, w->rows, &words) || words > w->cols ||
        words * 32 % w->cols != 0) {
        expected_shape(w, w->cols, shape, sizeof shape);
        snprintf(expected, sizeof expected, "U32 codes of %s", shape);
        bad_shape(b, weight, expected);
        return;
    }
    int bits = (int)(words * 32 / w->cols);
    if (!is_float(scales->tensor->dtype) || !front_is(scales->tensor, w->n_stack, w->rows, &groups) ||
        groups == 0 || w->cols % groups != 0 || !quant_supported(bits, (int)(w->cols / groups))) {
        snprintf(expected, sizeof expected,
                 "scales of %" PRIu64 " rows of %" PRIu64 " columns at %d bits in groups of "
                 "32, 64 or 128",
                 w->rows, w->cols, bits);
        bad_shape(b, quant_supported(bits, 64) ? scales->tensor : weight, expected);
        return;
    }
    if (biases->tensor->dtype != scales->tensor->dtype ||
        !front_is(biases->tensor, w->n_stack, w->rows, &bias_groups) || bias_groups != groups) {
        expected_shape(w, groups, shape, sizeof shape);
        snprintf(expected, sizeof expected, "%s %s like the scales", dtype_name(scales->tensor->dtype),
                 shape);
        bad_shape(b, biases->tensor, expected);
        return;
    }
    int group = (int)(w->cols / groups);
    if (!check_entry(b, weight, bits, group, w->at, w->module)) return;
    m->type = DT_U32;
    m->scale_type = scales->tensor->dtype;
    m->bits = (uint8_t)bits;
    m->group = (uint16_t)group;
    m->data = weight->data;
    m->scales = scales->tensor->data;
    m->biases = biases->tensor->data;
}

void bind_stack(struct binder *b, struct matrix *m, uint64_t n_stack, uint64_t rows, uint64_t cols,
                const char *at, const char *module)
{
    struct wanted w = {n_stack, rows, cols, at, module};
    struct bind_name *weight = find(b, at, module, ".weight");
    struct bind_name *scales = find(b, at, module, ".scales"), *biases = find(b, at, module, ".biases");
    uint64_t last;
    char expected[96];
    *m = (struct matrix){.rows = (uint32_t)(n_stack ? n_stack * rows : rows), .cols = (uint32_t)cols};
    if (!weight) weight = find(b, at, module, ""); /* Hugging Face's fused experts have no leaf */
    if (!weight) {
        missing(b, at, module, ".weight");
        return;
    }
    weight->used = true;
    const struct tensor *t = weight->tensor;
    if (scales || biases || t->dtype == DT_U32) {
        take_packed(b, m, &w, t, scales, biases);
        return;
    }
    if (!is_float(t->dtype) || !front_is(t, n_stack, rows, &last) || last != cols) {
        expected_shape(&w, cols, expected, sizeof expected);
        bad_shape(b, t, expected);
        return;
    }
    m->type = t->dtype;
    m->data = t->data;
}

void bind_matrix(struct binder *b, struct matrix *m, uint64_t rows, uint64_t cols, const char *at,
                 const char *module)
{
    bind_stack(b, m, 0, rows, cols, at, module);
}

struct matrix bind_slice(const struct matrix *m, uint32_t begin, uint32_t rows)
{
    struct matrix s = *m;
    s.rows = rows;
    if (!m->data) /* a complaint stands in the way already */
        return s;
    s.data = (const unsigned char *)m->data + (size_t)begin * matrix_row_bytes(m);
    if (m->bits) {
        size_t skip = (size_t)begin * (m->cols / m->group) * dtype_size(m->scale_type);
        s.scales = (const unsigned char *)m->scales + skip;
        s.biases = (const unsigned char *)m->biases + skip;
    }
    return s;
}
