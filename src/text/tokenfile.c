/* tokenfile.c - what tokenizer.json and tokenizer_config.json say.
 *
 * Owns the list of what is implemented, the spelling of bytes as characters, and every check on ids and
 * merges. Must not know how text is encoded. */
#include "text/tokenfile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/utf8.h"
#include "text/pretoken.h"
#include "text/tokenscan.h"

enum {
    FILE_MAX = 64 << 20,
    DEPTH_MAX = 32,
    IDS_MAX = 1 << 20, /* four times the largest vocabulary in use */
    MERGES_MAX = 1 << 20,
    ADDED_MAX = 1 << 16,
    SPELLING_MAX = 4096, /* bytes of one token as the file spells it */
    ALPHABET = 0x144     /* one above the highest character that stands for a byte */
};

struct added_token {
    int32_t id;
    const char *text; /* owned by the JSON tree */
    size_t len;
    bool special;
    bool from_config; /* tokenizer_config.json repeats what tokenizer.json has said */
};

struct loader {
    char path[4096], config_path[4096];
    struct buf text;            /* tokenizer.json */
    struct slice vocab, merges; /* its big members, in text */
    json_t *root, *config;      /* the rest of it; tokenizer_config.json, NULL if there is no such file */
    struct added_token *added;
    size_t n_added;
    int16_t bytes[ALPHABET]; /* character to the byte it stands for, -1 = none */
    struct vocab v;
};

/* ---- what is implemented ------------------------------------------------------------------------------- */

enum rule_kind {
    IS,       /* exactly this text */
    IS_OR_NO, /* this text, or the object around it is absent */
    OFF,      /* absent, null, false, 0 or "" */
    FALSE     /* false, said in so many words, because the default is true */
};

struct rule {
    const char *path; /* members and array indices joined by points */
    enum rule_kind kind;
    const char *text;
};

static const struct rule tokenizer_rules[] = {
    {"truncation", OFF, NULL},
    {"padding", OFF, NULL},
    {"normalizer.type", IS, "NFC"},
    {"pre_tokenizer.type", IS, "Sequence"},
    {"pre_tokenizer.pretokenizers.0.type", IS, "Split"},
    {"pre_tokenizer.pretokenizers.0.pattern.Regex", IS, PRETOKEN_PATTERN},
    {"pre_tokenizer.pretokenizers.0.behavior", IS, "Isolated"},
    {"pre_tokenizer.pretokenizers.0.invert", OFF, NULL},
    {"pre_tokenizer.pretokenizers.1.type", IS, "ByteLevel"},
    {"pre_tokenizer.pretokenizers.1.add_prefix_space", FALSE, NULL},
    {"pre_tokenizer.pretokenizers.1.use_regex", FALSE, NULL},
    {"pre_tokenizer.pretokenizers.2", OFF, NULL},
    {"post_processor.type", IS_OR_NO, "ByteLevel"},
    {"decoder.type", IS, "ByteLevel"},
    {"model.type", IS, "BPE"},
    {"model.dropout", OFF, NULL},
    {"model.unk_token", OFF, NULL},
    {"model.continuing_subword_prefix", OFF, NULL},
    {"model.end_of_word_suffix", OFF, NULL},
    {"model.fuse_unk", OFF, NULL},
    {"model.byte_fallback", OFF, NULL},
};

static const struct rule config_rules[] = {
    {"add_bos_token", OFF, NULL},
    {"add_eos_token", OFF, NULL},
    {"add_prefix_space", OFF, NULL},
};

/* The value at a path, or NULL. */
static const json_t *member_at(const json_t *v, const char *path)
{
    while (v && *path) {
        char name[64];
        size_t len = strcspn(path, ".");
        snprintf(name, sizeof name, "%.*s", (int)len, path);
        v = json_is_array(v) ? json_array_get(v, (size_t)atoi(name)) : json_object_get(v, name);
        path += len + (path[len] == '.');
    }
    return v;
}

/* A value as it stands in the file, for messages, cut at a character's border. */
struct shown {
    char text[96];
};

static struct shown show(const json_t *v)
{
    struct shown s;
    struct buf b;
    buf_init(&b, 0);
    if (v) json_write(&b, v, 0);
    snprintf(s.text, sizeof s.text, "%s", !v ? "absent" : b.data ? b.data : "?");
    s.text[utf8_valid_len(s.text, strlen(s.text))] = '\0';
    buf_free(&b);
    return s;
}

static struct shown show_slice(struct slice raw)
{
    struct shown s;
    snprintf(s.text, sizeof s.text, "%.*s", raw.n < sizeof s.text ? (int)raw.n : (int)sizeof s.text, raw.s);
    s.text[utf8_valid_len(s.text, strlen(s.text))] = '\0';
    return s;
}

static bool is_off(const json_t *v)
{
    return !v || json_is_null(v) || json_is_false(v) || (json_is_string(v) && json_string_length(v) == 0) ||
           (json_is_number(v) && json_number_value(v) == 0);
}

static bool check_rule(const struct rule *r, const json_t *root, const char *path, struct alula_error *e)
{
    const json_t *v = member_at(root, r->path);
    const char *text = json_string_value(v);
    switch (r->kind) {
    case IS:
    case IS_OR_NO:
        if ((text && strcmp(text, r->text) == 0) || (r->kind == IS_OR_NO && !v)) return true;
        return err_set(e, ALULA_UNSUPPORTED, "%s: %s is %s; only \"%s\" is implemented", path, r->path,
                       show(v).text, r->text);
    case OFF:
        if (is_off(v)) return true;
        return err_set(e, ALULA_UNSUPPORTED, "%s: %s is set (%s), which is not implemented", path, r->path,
                       show(v).text);
    default:
        if (json_is_false(v)) return true;
        return err_set(e, ALULA_UNSUPPORTED, "%s: %s is %s; only false is implemented", path, r->path,
                       show(v).text);
    }
}

static bool check_rules(const struct loader *l, struct alula_error *e)
{
    for (size_t i = 0; i < sizeof tokenizer_rules / sizeof *tokenizer_rules; i++)
        if (!check_rule(&tokenizer_rules[i], l->root, l->path, e)) return false;
    for (size_t i = 0; l->config && i < sizeof config_rules / sizeof *config_rules; i++)
        if (!check_rule(&config_rules[i], l->config, l->config_path, e)) return false;
    return true;
}

/* ---- added tokens -------------------------------------------------------------------------------------- */

/* One added token from its object; the id is given apart because the two files put it in different places. */
static bool gather_one(struct loader *l, const json_t *o, int64_t id, bool from_config, struct alula_error *e)
{
    const char *path = from_config ? l->config_path : l->path;
    const json_t *content = json_object_get(o, "content");
    size_t len = json_string_length(content);
    if (!json_is_string(content) || len == 0 || len > SPELLING_MAX)
        return err_set(e, ALULA_FORMAT, "%s: the added token %jd has no text of 1 to %d bytes", path,
                       (intmax_t)id, SPELLING_MAX);
    static const char *const unsupported[] = {"single_word", "lstrip", "rstrip", "normalized"};
    for (size_t i = 0; i < sizeof unsupported / sizeof *unsupported; i++) {
        bool on;
        if (!json_get_bool_or(o, unsupported[i], false, &on, path, e)) return false;
        if (on)
            return err_set(e, ALULA_UNSUPPORTED,
                           "%s: the added token %jd has %s true; only false is implemented", path,
                           (intmax_t)id, unsupported[i]);
    }
    struct added_token *a = &l->added[l->n_added];
    *a = (struct added_token){(int32_t)id, json_string_value(content), len, false, from_config};
    if (!json_get_bool_or(o, "special", false, &a->special, path, e)) return false;
    l->n_added++;
    return true;
}

/* "2039" to 2039; anything but plain digits of an id in range is -1. */
static int64_t id_from_key(const char *key)
{
    int64_t id = 0;
    for (size_t i = 0; key[i]; i++) {
        if (key[i] < '0' || key[i] > '9' || i > 7) return -1;
        id = 10 * id + (key[i] - '0');
    }
    return key[0] && id < IDS_MAX ? id : -1;
}

static bool gather_added(struct loader *l, struct alula_error *e)
{
    json_t *list = json_object_get(l->root, "added_tokens"),
           *more = json_object_get(l->config, "added_tokens_decoder");
    if (list && !json_is_array(list))
        return err_set(e, ALULA_FORMAT, "%s: added_tokens is not an array", l->path);
    if (more && !json_is_object(more))
        return err_set(e, ALULA_FORMAT, "%s: added_tokens_decoder is not an object", l->config_path);
    size_t n = json_array_size(list) + json_object_size(more);
    if (n > ADDED_MAX)
        return err_set(e, ALULA_LIMIT, "%s: %zu added tokens are over the limit of %d", l->path, n,
                       ADDED_MAX);
    l->added = mem_zalloc(n, sizeof *l->added);
    if (!l->added) return err_set(e, ALULA_NOMEM, "%s: out of memory for %zu added tokens", l->path, n);
    size_t i;
    json_t *v;
    json_array_foreach(list, i, v)
    {
        int64_t id;
        if (!json_is_object(v))
            return err_set(e, ALULA_FORMAT, "%s: added_tokens[%zu] is not an object", l->path, i);
        if (!json_get_int(v, "id", 0, IDS_MAX - 1, &id, l->path, e))
            return err_context(e, "added_tokens[%zu]", i);
        if (!gather_one(l, v, id, false, e)) return false;
    }
    const char *key;
    json_object_foreach(more, key, v)
    {
        int64_t id = id_from_key(key);
        if (id < 0 || !json_is_object(v))
            return err_set(e, ALULA_FORMAT,
                           "%s: added_tokens_decoder: \"%s\" is not an id below %d with an object",
                           l->config_path, show_slice((struct slice){key, strlen(key)}).text, IDS_MAX);
        if (!gather_one(l, v, id, true, e)) return false;
    }
    return true;
}

static bool same_bytes(const struct vocab_token *t, const char *text, size_t n)
{
    return t->len == n && memcmp(t->bytes, text, n) == 0;
}

/* tokenizer.json comes first and wins; tokenizer_config.json may repeat it and add to it. */
static bool store_added(struct loader *l, struct alula_error *e)
{
    for (size_t i = 0; i < l->n_added; i++) {
        const struct added_token *a = &l->added[i];
        const struct vocab_token *t = &l->v.tokens[a->id];
        if (!t->bytes)
            vocab_add_token(&l->v, a->id, a->text, a->len, true, a->special);
        else if (!a->from_config)
            return err_set(e, ALULA_FORMAT, "%s: two added tokens have the id %d", l->path, a->id);
        else if (!same_bytes(t, a->text, a->len))
            return err_set(e, ALULA_MISMATCH,
                           "%s: the added token %d is \"%s\", but tokenizer.json has another text",
                           l->config_path, a->id, show_slice((struct slice){a->text, a->len}).text);
    }
    int32_t a, b;
    if (!vocab_seal(&l->v, &a, &b))
        return err_set(e, ALULA_FORMAT, "%s: the added tokens %d and %d have the same text", l->path, a, b);
    return true;
}

/* ---- base tokens --------------------------------------------------------------------------------------- */

/* Byte-level vocabularies spell each byte as one visible character: itself if it is one in Latin-1, else the
 * next free one from U+0100 on. */
static void spell_bytes(int16_t bytes[ALPHABET])
{
    memset(bytes, 0xff, ALPHABET * sizeof *bytes);
    int next = 0x100;
    for (int b = 0; b < 256; b++) {
        bool visible = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
        bytes[visible ? b : next++] = (int16_t)b;
    }
}

/* The bytes that a spelling stands for into out (room for n); their number, or 0 if it is none. */
static size_t read_spelling(const int16_t bytes[ALPHABET], const char *s, size_t n, char *out)
{
    size_t made = 0;
    if (n > SPELLING_MAX) return 0;
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        int len = utf8_decode(s + i, n - i, &cp);
        if (len == 0 || cp >= ALPHABET || bytes[cp] < 0) return 0;
        out[made++] = (char)bytes[cp];
        i += (size_t)len;
    }
    return made;
}

/* What ended a walk over a big member, as an error; true if it was the end. */
static bool walk_ended(const struct loader *l, struct tokenscan *t, enum tokenscan_result r, const char *name,
                       struct alula_error *e)
{
    buf_free(&t->text);
    if (r == TOKENSCAN_END) return true;
    if (r == TOKENSCAN_NOMEM) return err_set(e, ALULA_NOMEM, "%s: out of memory", l->path);
    return err_set(e, ALULA_FORMAT, "%s: entry %zu of %s is malformed: %s", l->path, t->index, name,
                   show_slice(t->raw).text);
}

static bool store_token(struct loader *l, struct slice key, int32_t id, struct alula_error *e)
{
    char bytes[SPELLING_MAX];
    size_t n = read_spelling(l->bytes, key.s, key.n, bytes);
    const struct vocab_token *t = &l->v.tokens[id];
    if (t->bytes && t->added && same_bytes(t, key.s, key.n)) {
        if (n == key.n) vocab_index_token(&l->v, id);
        return true;
    }
    if (t->bytes)
        return err_set(e, ALULA_FORMAT, "%s: the id %d is given to two tokens, one of them \"%s\"", l->path,
                       id, show_slice(key).text);
    if (n == 0)
        return err_set(e, ALULA_FORMAT, "%s: the token %d, \"%s\", does not spell 1 to %d bytes", l->path, id,
                       show_slice(key).text, SPELLING_MAX);
    vocab_add_token(&l->v, id, bytes, n, false, false);
    if (!vocab_index_token(&l->v, id))
        return err_set(e, ALULA_FORMAT, "%s: the token \"%s\" is there twice", l->path, show_slice(key).text);
    return true;
}

static bool store_base(struct loader *l, struct alula_error *e)
{
    struct tokenscan t = {.of = l->vocab};
    struct slice key;
    int64_t id;
    enum tokenscan_result r;
    while ((r = tokenscan_vocab(&t, &key, &id)) == TOKENSCAN_ENTRY)
        if (!store_token(l, key, (int32_t)id, e)) break;
    if (r == TOKENSCAN_ENTRY) {
        buf_free(&t.text);
        return false;
    }
    if (!walk_ended(l, &t, r, "model.vocab", e)) return false;
    for (int b = 0; b < 256; b++)
        if (l->v.byte_ids[b] < 0)
            return err_set(e, ALULA_FORMAT, "%s: the vocabulary has no token for the byte 0x%02x", l->path,
                           b);
    return true;
}

/* ---- merges -------------------------------------------------------------------------------------------- */

static bool store_merge(struct loader *l, const struct tokenscan *t, const struct slice half[2],
                        struct alula_error *e)
{
    char bytes[2 * SPELLING_MAX];
    size_t i = t->index - 1, n = read_spelling(l->bytes, half[0].s, half[0].n, bytes);
    size_t more = n ? read_spelling(l->bytes, half[1].s, half[1].n, bytes + n) : 0;
    if (more == 0)
        return err_set(e, ALULA_FORMAT, "%s: merge %zu, %s, is not a pair of tokens", l->path, i,
                       show_slice(t->raw).text);
    int32_t left = vocab_find(&l->v, bytes, n), right = vocab_find(&l->v, bytes + n, more);
    int32_t made = vocab_find(&l->v, bytes, n + more);
    if (left < 0 || right < 0)
        return err_set(e, ALULA_FORMAT, "%s: merge %zu, %s, joins a token that the vocabulary does not have",
                       l->path, i, show_slice(t->raw).text);
    if (made < 0)
        return err_set(e, ALULA_FORMAT, "%s: merge %zu, %s, makes a token that the vocabulary does not have",
                       l->path, i, show_slice(t->raw).text);
    if (!vocab_add_merge(&l->v, left, right, made))
        return err_set(e, ALULA_FORMAT, "%s: merge %zu, %s, is there twice", l->path, i,
                       show_slice(t->raw).text);
    return true;
}

static bool store_merges(struct loader *l, struct alula_error *e)
{
    struct tokenscan t = {.of = l->merges};
    struct slice half[2];
    enum tokenscan_result r;
    while ((r = tokenscan_merge(&t, half)) == TOKENSCAN_ENTRY)
        if (!store_merge(l, &t, half, e)) break;
    if (r == TOKENSCAN_ENTRY) {
        buf_free(&t.text);
        return false;
    }
    return walk_ended(l, &t, r, "model.merges", e);
}

/* ---- the whole ----------------------------------------------------------------------------------------- */

/* What the tables must have room for. */
struct sizes {
    int count, n_merges;
    size_t bytes;
};

/* Looks at every id before anything is sized by it. */
static bool measure_vocab(const struct loader *l, struct sizes *z, struct alula_error *e)
{
    struct tokenscan t = {.of = l->vocab};
    struct slice key;
    int64_t id, last = -1;
    enum tokenscan_result r;
    while ((r = tokenscan_vocab(&t, &key, &id)) == TOKENSCAN_ENTRY) {
        if (id < 0 || id >= IDS_MAX) {
            buf_free(&t.text);
            return err_set(e, ALULA_FORMAT, "%s: model.vocab has %s; ids run from 0 to %d", l->path,
                           show_slice(t.raw).text, IDS_MAX - 1);
        }
        last = id > last ? id : last;
        z->bytes += key.n;
    }
    for (size_t i = 0; i < l->n_added; i++) {
        last = l->added[i].id > last ? l->added[i].id : last;
        z->bytes += l->added[i].len;
    }
    z->count = (int)last + 1;
    return walk_ended(l, &t, r, "model.vocab", e);
}

static bool measure_merges(const struct loader *l, struct sizes *z, struct alula_error *e)
{
    struct tokenscan t = {.of = l->merges};
    struct slice half[2];
    enum tokenscan_result r;
    while ((r = tokenscan_merge(&t, half)) == TOKENSCAN_ENTRY && t.index <= MERGES_MAX)
        ;
    if (r == TOKENSCAN_ENTRY) {
        buf_free(&t.text);
        return err_set(e, ALULA_LIMIT, "%s: more than %d merges", l->path, MERGES_MAX);
    }
    z->n_merges = (int)t.index;
    return walk_ended(l, &t, r, "model.merges", e);
}

static bool load_tables(struct loader *l, struct alula_error *e)
{
    struct sizes z = {0};
    if (!l->vocab.s || !l->merges.s)
        return err_set(e, ALULA_FORMAT, "%s: model.vocab is not an object or model.merges not an array",
                       l->path);
    if (!gather_added(l, e) || !measure_vocab(l, &z, e) || !measure_merges(l, &z, e)) return false;
    if (!vocab_create(&l->v, z.count, z.bytes, z.n_merges, (int)l->n_added, e))
        return err_context(e, "%s", l->path);
    spell_bytes(l->bytes);
    return store_added(l, e) && store_base(l, e) && store_merges(l, e);
}

/* Reads tokenizer.json but for its big members, which stay in l->text. */
static bool read_tokenizer(struct loader *l, struct alula_error *e)
{
    struct buf rest;
    buf_init(&rest, 0);
    if (!file_read(l->path, FILE_MAX, &l->text, e)) return false;
    tokenscan_split(l->text.data, l->text.len, &l->vocab, &l->merges, &rest);
    if (buf_check(&rest, l->path, e)) l->root = json_parse(rest.data, rest.len, DEPTH_MAX, l->path, e);
    buf_free(&rest);
    return l->root != NULL;
}

static bool read_files(struct loader *l, const char *dir, struct alula_error *e)
{
    if (!path_join(l->path, sizeof l->path, dir, "tokenizer.json", e) ||
        !path_join(l->config_path, sizeof l->config_path, dir, "tokenizer_config.json", e) ||
        !read_tokenizer(l, e))
        return false;
    if (file_exists(l->config_path) && !(l->config = json_parse_file(l->config_path, FILE_MAX, DEPTH_MAX, e)))
        return false;
    if (!json_is_object(l->root) || (l->config && !json_is_object(l->config)))
        return err_set(e, ALULA_FORMAT, "%s: not a JSON object",
                       json_is_object(l->root) ? l->config_path : l->path);
    return true;
}

bool tokenfile_load(struct vocab *v, bool *ret_ignore_merges, const char *dir, struct alula_error *e)
{
    struct loader l = {.root = NULL};
    bool ignore_merges = false;
    bool ok = read_files(&l, dir, e) && check_rules(&l, e) &&
              json_get_bool_or(json_object_get(l.root, "model"), "ignore_merges", false, &ignore_merges,
                               l.path, e) &&
              load_tables(&l, e);
    buf_free(&l.text);
    json_decref(l.root);
    json_decref(l.config);
    mem_free(l.added);
    if (!ok) {
        vocab_free(&l.v);
        return false;
    }
    *v = l.v;
    *ret_ignore_merges = ignore_merges;
    return true;
}
