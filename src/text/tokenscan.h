/* tokenscan.h - reads the two big members of tokenizer.json in place, without a tree. Internal to text/.
 *
 * A real vocabulary has a quarter of a million entries, and as many merges; as JSON values they cost a
 * hundred megabytes and most of a second. Everything else in the file goes through base/json.h. */
#ifndef TEXT_TOKENSCAN_H
#define TEXT_TOKENSCAN_H

#include "base/buf.h"

/* Part of the file's text. */
struct slice {
    const char *s; /* NULL: not there */
    size_t n;
};

/* Finds model.vocab, if it is an object, and model.merges, if it is an array, and appends to rest the text
 * with both emptied. A text that is not JSON leaves them NULL or gives a rest that is not JSON either. */
void tokenscan_split(const char *text, size_t n, struct slice *ret_vocab, struct slice *ret_merges,
                     struct buf *rest);

/* Walks over the entries of what tokenscan_split found. Zero-initialise, set `of`. */
struct tokenscan {
    struct slice of;
    size_t at;        /* next byte of `of` */
    size_t index;     /* entries given so far */
    struct slice raw; /* the last entry as it stands in the file, for messages; broken: all from there on */
    struct buf text;  /* unescaped strings of the last entry; buf_free at the end */
};

enum tokenscan_result { TOKENSCAN_ENTRY, TOKENSCAN_END, TOKENSCAN_BROKEN, TOKENSCAN_NOMEM };

/* "key": value. *ret_id is -1 if the value is no integer from 0 to 99999999. The key is NUL-terminated, valid
 * until the next call. */
enum tokenscan_result tokenscan_vocab(struct tokenscan *t, struct slice *ret_key, int64_t *ret_id);
/* ["a", "b"] or "a b": the two halves, valid until the next call. An entry of another form is broken. */
enum tokenscan_result tokenscan_merge(struct tokenscan *t, struct slice half[2]);

#endif
