/* drift_json.c - the words and the JSON of a comparison of trunks. Compares nothing. */
#include "forge/drift.h"

#include <string.h>

#include "base/json.h"
#include "base/utf8.h"

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

/* The whole characters of `from` that fit; what is no character becomes U+FFFD. */
static void copy_text(char *out, size_t cap, const char *from, size_t n)
{
    size_t used = 0;
    for (size_t i = 0; i < n;) {
        uint32_t c = 0xfffd;
        char piece[4];
        int k = utf8_decode(from + i, n - i, &c);
        size_t m = (size_t)utf8_encode(c, piece);
        if (used + m >= cap) break;
        memcpy(out + used, piece, m);
        used += m;
        i += k ? (size_t)k : 1;
    }
    out[used] = 0;
}

void drift_name_rows(struct drift *d, const struct tokenizer *tokenizer)
{
    for (int i = 0; i < d->n_rows; i++) {
        size_t n;
        const char *text = tokenizer_bytes(tokenizer, d->rows[i].token, &n);
        copy_text(d->rows[i].text, sizeof d->rows[i].text, text ? text : "", text ? n : 0);
    }
}

static json_t *row_json(const struct drift_row *r)
{
    return json_pack("{s:i, s:s, s:f}", "id", (int)r->token, "token", r->text, "relative_change", r->change);
}

json_t *drift_json(const struct drift *d)
{
    mem_setup();
    json_t *entries = json_array(), *rows = json_array();
    if (!entries || !rows) return NULL;
    for (size_t i = 0; i < d->n; i++) json_array_append_new(entries, entry_json(&d->entries[i]));
    for (int i = 0; i < d->n_rows; i++) json_array_append_new(rows, row_json(&d->rows[i]));
    return json_pack("{s:f, s:f, s:f, s:s, s:{s:I, s:I, s:I, s:o}, s:o}", "median_relative_change",
                     d->median_change, "max_relative_change", d->max_change, "min_cosine", d->min_cosine,
                     "note", "describes weights; acceptance is measured, not derived from this",
                     "embedding_rows", "total", (json_int_t)d->rows_total, "moved", (json_int_t)d->rows_moved,
                     "moved_over_ten_medians", (json_int_t)d->rows_far, "most", rows, "entries", entries);
}
