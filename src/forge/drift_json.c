/* drift_json.c - the words and the JSON of a comparison of trunks. Compares nothing. */
#include "forge/drift.h"

#include "base/json.h"

const char *drift_class_name(enum drift_class c)
{
    static const char *const names[] = {"embedding", "lm_head", "final_norm", "norms",        "attention",
                                        "delta_net", "router",  "experts",    "shared_expert"};
    return names[c];
}

static json_t *entry_json(const struct drift_entry *e)
{
    json_t *o = json_pack("{s:s, s:I, s:f, s:f, s:b, s:b}", "class", drift_class_name(e->class), "values",
                          (json_int_t)e->values, "relative_change", e->change, "cosine", e->cosine,
                          "identical", e->identical, "dequantized", e->dequantized);
    if (o && e->layer >= 0) json_object_set_new(o, "layer", json_integer(e->layer));
    return o;
}

static json_t *row_json(const struct drift_row *r, const struct tokenizer *tokenizer)
{
    size_t n = 0;
    const char *text = tokenizer ? tokenizer_bytes(tokenizer, r->token, &n) : NULL;
    json_t *o = json_pack("{s:i, s:f}", "id", (int)r->token, "relative_change", r->change);
    struct buf readable = {0};
    if (o && text) {
        struct detok d;
        detok_init(&d, tokenizer, false);
        detok_put(&d, r->token, &readable);
        detok_end(&d, &readable);
        if (!readable.failed) json_object_set_new(o, "token", json_stringn(readable.data, readable.len));
    }
    buf_free(&readable);
    return o;
}

json_t *drift_json(const struct drift *d, const struct tokenizer *tokenizer)
{
    mem_setup();
    json_t *entries = json_array(), *rows = json_array();
    if (!entries || !rows) return NULL;
    for (size_t i = 0; i < d->n; i++) json_array_append_new(entries, entry_json(&d->entries[i]));
    for (int i = 0; i < d->n_rows; i++) json_array_append_new(rows, row_json(&d->rows[i], tokenizer));
    return json_pack("{s:f, s:f, s:f, s:s, s:{s:I, s:I, s:I, s:o}, s:o}", "median_relative_change",
                     d->median_change, "max_relative_change", d->max_change, "min_cosine", d->min_cosine,
                     "note", "describes weights; acceptance is measured, not derived from this",
                     "embedding_rows", "total", (json_int_t)d->rows_total, "moved", (json_int_t)d->rows_moved,
                     "moved_over_ten_medians", (json_int_t)d->rows_far, "most", rows, "entries", entries);
}
