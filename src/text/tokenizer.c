/* tokenizer.c - text to ids.
 *
 * Owns the order of the steps: added tokens are cut out of the raw text, each stretch between them is
 * normalized, cut into pieces, and merged. Must not know files or formats. */
#include "text/tokenizer.h"

#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "text/bpe.h"
#include "text/normalize.h"
#include "text/pretoken.h"
#include "text/tokenfile.h"

enum { TEXT_MAX = 64 << 20 };

struct tokenizer {
    struct vocab v;
    bool ignore_merges;
};

bool tokenizer_open(struct tokenizer **ret, const char *dir, struct alula_error *e)
{
    struct tokenizer *t = mem_zalloc(1, sizeof *t);
    if (!t) return err_set(e, ALULA_NOMEM, "out of memory for a tokenizer");
    if (!tokenfile_load(&t->v, &t->ignore_merges, dir, e)) {
        mem_free(t);
        return false;
    }
    *ret = t;
    return true;
}

void tokenizer_close(struct tokenizer *t)
{
    if (!t) return;
    vocab_free(&t->v);
    mem_free(t);
}

int tokenizer_count(const struct tokenizer *t) { return t->v.count; }

const char *tokenizer_bytes(const struct tokenizer *t, int32_t id, size_t *ret_n)
{
    const struct vocab_token *token = id >= 0 && id < t->v.count ? &t->v.tokens[id] : NULL;
    if (!token || !token->bytes) return NULL;
    *ret_n = token->len;
    return token->bytes;
}

bool tokenizer_is_special(const struct tokenizer *t, int32_t id)
{
    return id >= 0 && id < t->v.count && t->v.tokens[id].special;
}

bool tokenizer_is_added(const struct tokenizer *t, int32_t id)
{
    return id >= 0 && id < t->v.count && t->v.tokens[id].added;
}

int32_t tokenizer_find(const struct tokenizer *t, const char *s, size_t n)
{
    int32_t id = vocab_match_added(&t->v, s, n);
    return id >= 0 && t->v.tokens[id].len == n ? id : vocab_find(&t->v, s, n);
}

bool tokenizer_may_begin_added(const struct tokenizer *t, const char *text, size_t n)
{
    const struct vocab *v = &t->v;
    if (vocab_match_added(v, text, n) >= 0) return true;
    if (n == 0 || !v->added_first[(unsigned char)text[0]]) return false;
    for (int i = 0; i < v->n_added; i++) {
        const struct vocab_token *token = &v->tokens[v->added[i]];
        if (token->len > n && memcmp(token->bytes, text, n) == 0) return true;
    }
    return false;
}

struct encoder {
    const struct tokenizer *t;
    bool special;        /* added tokens are recognised, */
    const size_t *plain; /* [n_plain] but not at these offsets */
    size_t n_plain;
    struct bpe_work work;
    struct buf normal; /* a stretch after NFC, if that changes it */
    struct buf ids;    /* int32 */
};

static bool encode_piece(struct encoder *c, const char *piece, size_t n, struct alula_error *e)
{
    int32_t whole = c->t->ignore_merges ? vocab_find(&c->t->v, piece, n) : -1;
    if (whole < 0) return bpe_encode(&c->t->v, &c->work, piece, n, &c->ids, e);
    buf_add(&c->ids, &whole, sizeof whole);
    return true;
}

static bool encode_stretch(struct encoder *c, const char *text, size_t n, struct alula_error *e)
{
    if (!normalize_is_plain(text, n)) {
        if (!normalize_nfc(text, n, &c->normal, e)) return false;
        text = c->normal.data;
        n = c->normal.len;
    }
    while (n > 0) {
        size_t len = pretoken_len(text, n);
        if (!encode_piece(c, text, len, e)) return false;
        text += len;
        n -= len;
    }
    return true;
}

static bool encode_text(struct encoder *c, const char *text, size_t n, struct alula_error *e)
{
    size_t from = 0, i = 0, k = 0;
    while (c->special && i < n) {
        int32_t id = vocab_match_added(&c->t->v, text + i, n - i);
        while (k < c->n_plain && c->plain[k] < i) k++;
        if (id < 0 || (k < c->n_plain && c->plain[k] == i)) {
            i++;
            continue;
        }
        if (!encode_stretch(c, text + from, i - from, e)) return false;
        buf_add(&c->ids, &id, sizeof id);
        i += c->t->v.tokens[id].len;
        from = i;
    }
    return encode_stretch(c, text + from, n - from, e);
}

static bool encode(struct encoder *c, const char *text, size_t n, int32_t **ret_ids, size_t *ret_n,
                   struct alula_error *e)
{
    if (n > TEXT_MAX)
        return err_set(e, ALULA_LIMIT, "a text of %zu bytes is over the tokenizer's limit of %d", n,
                       TEXT_MAX);
    size_t valid = utf8_valid_len(text, n);
    if (valid < n)
        return err_set(e, ALULA_FORMAT,
                       "the text is not UTF-8: byte 0x%02x at offset %zu begins no character",
                       (unsigned char)text[valid], valid);
    buf_reserve(&c->ids, sizeof(int32_t)); /* no text is no ids, but still something to free */
    bool ok = encode_text(c, text, n, e) && buf_check(&c->ids, "the list of token ids", e);
    bpe_work_free(&c->work);
    buf_free(&c->normal);
    if (!ok) {
        buf_free(&c->ids);
        return false;
    }
    *ret_ids = (int32_t *)(void *)c->ids.data;
    *ret_n = c->ids.len / sizeof(int32_t);
    return true;
}

bool tokenizer_encode(const struct tokenizer *t, const char *text, size_t n, bool special, int32_t **ret_ids,
                      size_t *ret_n, struct alula_error *e)
{
    return encode(&(struct encoder){.t = t, .special = special}, text, n, ret_ids, ret_n, e);
}

bool tokenizer_encode_except(const struct tokenizer *t, const char *text, size_t n, const size_t *plain,
                             size_t n_plain, int32_t **ret_ids, size_t *ret_n, struct alula_error *e)
{
    struct encoder c = {.t = t, .special = true, .plain = plain, .n_plain = n_plain};
    return encode(&c, text, n, ret_ids, ret_n, e);
}
