/* tokenscan.c - a scanner for JSON in place, as far as tokenizer.json's big members need it.
 *
 * Owns strings with their escapes, and commas and brackets between them. Must not know what tokens mean. */
#include "text/tokenscan.h"

#include <string.h>

#include "base/utf8.h"

/* ---- finding the members ------------------------------------------------------------------------------- */

static size_t skip_space(const char *s, size_t n, size_t i)
{
    while (i < n && (s[i] == ' ' || s[i] == '\n' || s[i] == '\r' || s[i] == '\t')) i++;
    return i;
}

/* The index behind the string that begins at i, n if it does not end. */
static size_t skip_string(const char *s, size_t n, size_t i)
{
    for (i++; i < n && s[i] != '"'; i++)
        if (s[i] == '\\') i++;
    return i < n ? i + 1 : n;
}

/* The index behind the value that begins at i; brackets are counted, not matched. */
static size_t skip_value(const char *s, size_t n, size_t i)
{
    size_t depth = 0;
    while (i < n) {
        if (s[i] == '"') {
            i = skip_string(s, n, i);
        } else if (s[i] == '{' || s[i] == '[') {
            depth++;
            i++;
        } else if (s[i] == '}' || s[i] == ']') {
            if (depth == 0) return i;
            depth--;
            i++;
        } else if (depth == 0 && s[i] == ',') {
            return i;
        } else {
            i++;
            continue;
        }
        if (depth == 0) return i;
    }
    return n;
}

/* The index at which the value of a key begins, in the object that begins at i; n if there is none. */
static size_t find_member(const char *s, size_t n, size_t i, const char *key)
{
    size_t key_len = strlen(key);
    i = skip_space(s, n, i);
    if (i >= n || s[i] != '{') return n;
    do {
        size_t name = skip_space(s, n, i + 1);
        if (name >= n || s[name] != '"') return n;
        size_t name_end = skip_string(s, n, name), value = skip_space(s, n, name_end);
        if (value >= n || s[value] != ':') return n;
        value = skip_space(s, n, value + 1);
        if (name_end - name == key_len + 2 && memcmp(s + name + 1, key, key_len) == 0) return value;
        i = skip_space(s, n, skip_value(s, n, value));
    } while (i < n && s[i] == ',');
    return n;
}

/* The value of a key in the object that begins at i, if its first byte is `open`; else an empty slice. */
static struct slice find_part(const char *s, size_t n, size_t i, const char *key, char open)
{
    size_t value = find_member(s, n, i, key);
    if (value >= n || s[value] != open) return (struct slice){NULL, 0};
    return (struct slice){s + value, skip_value(s, n, value) - value};
}

void tokenscan_split(const char *text, size_t n, struct slice *ret_vocab, struct slice *ret_merges,
                     struct buf *rest)
{
    size_t model = find_member(text, n, 0, "model");
    struct slice part[2] = {find_part(text, n, model, "vocab", '{'),
                            find_part(text, n, model, "merges", '[')};
    *ret_vocab = part[0];
    *ret_merges = part[1];
    bool swapped = part[0].s && part[1].s && part[1].s < part[0].s;
    const char *from = text;
    for (int k = 0; k < 2; k++) {
        struct slice p = part[k ^ (int)swapped];
        if (!p.s) continue;
        buf_add(rest, from, (size_t)(p.s - from));
        buf_str(rest, p.s[0] == '{' ? "{}" : "[]");
        from = p.s + p.n;
    }
    buf_add(rest, from, n - (size_t)(from - text));
}

/* ---- strings ------------------------------------------------------------------------------------------- */

/* Four hexadecimal digits at s, or -1. */
static int32_t hex4(const char *s, size_t n)
{
    int32_t v = 0;
    if (n < 4) return -1;
    for (int i = 0; i < 4; i++) {
        int c = (unsigned char)s[i], lower = c | 32;
        int digit = c >= '0' && c <= '9' ? c - '0' : lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
        if (digit < 0) return -1;
        v = 16 * v + digit;
    }
    return v;
}

/* Appends the escape behind the backslash at s; bytes taken, the backslash not counted, or 0 if it is none.
 */
static size_t read_escape(const char *s, size_t n, struct buf *out)
{
    static const char named[] = "\"\\/bfnrt", plain[] = "\"\\/\b\f\n\r\t";
    const char *hit = n > 0 && s[0] ? strchr(named, s[0]) : NULL;
    char bytes[4];
    size_t taken = 5;
    if (hit) {
        buf_byte(out, (unsigned char)plain[hit - named]);
        return 1;
    }
    int32_t cp = n > 0 && s[0] == 'u' ? hex4(s + 1, n - 1) : -1;
    if (cp >= 0xd800 && cp < 0xdc00 && n > 7 && s[5] == '\\' && s[6] == 'u') {
        int32_t low = hex4(s + 7, n - 7);
        cp = low >= 0xdc00 && low < 0xe000 ? 0x10000 + ((cp - 0xd800) << 10) + (low - 0xdc00) : -1;
        taken = 11;
    }
    if (cp <= 0 || (cp >= 0xd800 && cp < 0xe000)) return 0;
    buf_add(out, bytes, (size_t)utf8_encode((uint32_t)cp, bytes));
    return taken;
}

/* Appends the string that begins at t->at, without its quotes, to t->text, and goes behind it. False: it is
 * none. */
static bool read_string(struct tokenscan *t)
{
    const char *s = t->of.s;
    size_t n = t->of.n, i = t->at;
    if (i >= n || s[i] != '"') return false;
    for (i++; i < n && s[i] != '"';) {
        size_t from = i;
        while (i < n && s[i] != '"' && s[i] != '\\' && (unsigned char)s[i] >= 0x20) i++;
        buf_add(&t->text, s + from, i - from);
        if (i < n && s[i] == '"') break;
        size_t taken = i < n && s[i] == '\\' ? read_escape(s + i + 1, n - i - 1, &t->text) : 0;
        if (taken == 0) return false;
        i += 1 + taken;
    }
    t->at = i + 1;
    return i < n;
}

/* ---- entries ------------------------------------------------------------------------------------------- */

static void step_over_space(struct tokenscan *t) { t->at = skip_space(t->of.s, t->of.n, t->at); }

/* Takes the byte c, with space around it. */
static bool take(struct tokenscan *t, char c)
{
    step_over_space(t);
    if (t->at >= t->of.n || t->of.s[t->at] != c) return false;
    t->at++;
    step_over_space(t);
    return true;
}

/* Goes to the next entry: over the opening bracket or a comma. The closing one must be the last byte. */
static enum tokenscan_result next_entry(struct tokenscan *t, char open, char close)
{
    buf_clear(&t->text);
    t->raw = (struct slice){t->of.s + t->at, t->of.n - t->at};
    if (t->at == 0) {
        if (!take(t, open)) return TOKENSCAN_BROKEN;
        if (take(t, close)) return t->at == t->of.n ? TOKENSCAN_END : TOKENSCAN_BROKEN;
    } else if (take(t, close)) {
        return t->at == t->of.n ? TOKENSCAN_END : TOKENSCAN_BROKEN;
    } else if (!take(t, ',')) {
        return TOKENSCAN_BROKEN;
    }
    t->raw = (struct slice){t->of.s + t->at, t->of.n - t->at};
    return TOKENSCAN_ENTRY;
}

/* The entry has been read up to t->at. */
static enum tokenscan_result entry_done(struct tokenscan *t)
{
    t->raw.n = (size_t)(t->of.s + t->at - t->raw.s);
    t->index++;
    return TOKENSCAN_ENTRY;
}

/* An integer of at most eight digits, or -1. */
static int64_t read_id(const char *s, size_t n)
{
    int64_t v = 0;
    if (n == 0 || n > 8 || (n > 1 && s[0] == '0')) return -1;
    for (size_t i = 0; i < n; i++) {
        if (s[i] < '0' || s[i] > '9') return -1;
        v = 10 * v + (s[i] - '0');
    }
    return v;
}

enum tokenscan_result tokenscan_vocab(struct tokenscan *t, struct slice *ret_key, int64_t *ret_id)
{
    enum tokenscan_result r = next_entry(t, '{', '}');
    if (r != TOKENSCAN_ENTRY) return r;
    if (!read_string(t) || !take(t, ':')) return TOKENSCAN_BROKEN;
    size_t from = t->at;
    t->at = skip_value(t->of.s, t->of.n, t->at);
    size_t end = t->at;
    while (end > from && skip_space(t->of.s, end, end - 1) == end) end--;
    *ret_id = read_id(t->of.s + from, end - from);
    buf_byte(&t->text, 0);
    if (t->text.failed) return TOKENSCAN_NOMEM;
    *ret_key = (struct slice){t->text.data, t->text.len - 1};
    return entry_done(t);
}

enum tokenscan_result tokenscan_merge(struct tokenscan *t, struct slice half[2])
{
    enum tokenscan_result r = next_entry(t, '[', ']');
    if (r != TOKENSCAN_ENTRY) return r;
    bool pair = take(t, '[');
    if (!read_string(t)) return TOKENSCAN_BROKEN;
    size_t cut = t->text.len, second = cut;
    if (pair && (!take(t, ',') || !read_string(t) || !take(t, ']'))) return TOKENSCAN_BROKEN;
    if (t->text.failed) return TOKENSCAN_NOMEM;
    if (t->text.len == 0) return TOKENSCAN_BROKEN;
    if (!pair) {
        const char *space = memchr(t->text.data, ' ', cut);
        if (!space) return TOKENSCAN_BROKEN;
        cut = (size_t)(space - t->text.data);
        second = cut + 1;
    }
    half[0] = (struct slice){t->text.data, cut};
    half[1] = (struct slice){t->text.data + second, t->text.len - second};
    return entry_done(t);
}
