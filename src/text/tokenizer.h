/* tokenizer.h - byte-level BPE from tokenizer.json: text to ids and back. Immutable once loaded; any number
 * of threads. */
#ifndef TEXT_TOKENIZER_H
#define TEXT_TOKENIZER_H

#include "base/buf.h"

struct tokenizer;

/* Reads dir/tokenizer.json, and added tokens that only dir/tokenizer_config.json lists. Refuses by name what
 * the pre-tokenizer, normalizer or decoder ask for that is not implemented. */
bool tokenizer_open(struct tokenizer **ret, const char *dir, struct alula_error *e);
void tokenizer_close(struct tokenizer *t);
/* Ids run from 0 to count-1; some may be unused. */
int tokenizer_count(const struct tokenizer *t);

/* Encodes UTF-8 text. special: added tokens are recognised, else they are plain text. *ret_ids: mem_free.
 * Invalid UTF-8 is an error that names the byte's offset. */
bool tokenizer_encode(const struct tokenizer *t, const char *text, size_t n, bool special, int32_t **ret_ids,
                      size_t *ret_n, struct alula_error *e);
/* The same with added tokens recognised, save those that begin at one of the n_plain offsets, which ascend. */
bool tokenizer_encode_except(const struct tokenizer *t, const char *text, size_t n, const size_t *plain,
                             size_t n_plain, int32_t **ret_ids, size_t *ret_n, struct alula_error *e);
/* True if an added token begins at text, or might if text went on. */
bool tokenizer_may_begin_added(const struct tokenizer *t, const char *text, size_t n);
/* Bytes of one id (added tokens: their text), NULL for an id that belongs to no token. */
const char *tokenizer_bytes(const struct tokenizer *t, int32_t id, size_t *ret_n);
bool tokenizer_is_special(const struct tokenizer *t, int32_t id);
/* An added token stands for itself; text that looks like it is made of others. Special ones are among them. */
bool tokenizer_is_added(const struct tokenizer *t, int32_t id);
/* The id whose text is exactly s, or -1. */
int32_t tokenizer_find(const struct tokenizer *t, const char *s, size_t n);

/* Streaming decoder: bytes of ids in, whole characters out; what can no longer become a character is U+FFFD.
 * Plain data. */
struct detok {
    const struct tokenizer *t;
    bool skip_special;
    unsigned char held[4]; /* start of an unfinished character */
    int n_held;
};
void detok_init(struct detok *d, const struct tokenizer *t, bool skip_special);
void detok_put(struct detok *d, int32_t id, struct buf *out);
void detok_end(struct detok *d, struct buf *out);

#endif
