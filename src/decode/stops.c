/* stops.c - finds stop texts byte by byte. Owns the matching automata and the held bytes; must not know
 * tokens.
 *
 * Each text has a Knuth-Morris-Pratt automaton: `at` is the length of its longest prefix that the stream
 * ends in. So what must be held back is exactly the longest `at`, and nothing is ever searched twice. A
 * held prefix is also what the stream ends in, so its bytes are read from the text itself. */
#include "decode/stops.h"

#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"

struct stop {
    char *text;
    int len;
    int *fail; /* [len] fail[i]: length of the longest proper border of text[0..i] */
    int at;
};

struct stops {
    struct stop stop[STOPS_MAX];
    int n;
    int found; /* index of the text that is complete, or -1 */
};

static void find_borders(struct stop *s)
{
    for (int i = 1, b = 0; i < s->len; i++) {
        while (b > 0 && s->text[i] != s->text[b]) b = s->fail[b - 1];
        if (s->text[i] == s->text[b]) b++;
        s->fail[i] = b;
    }
}

static bool add(struct stops *s, const char *text, struct alula_error *e)
{
    size_t len = text ? strnlen(text, STOPS_LEN_MAX + 1) : 0;
    if (len == 0) return err_set(e, ALULA_USAGE, "stop text %d is empty", s->n);
    if (len > STOPS_LEN_MAX)
        return err_set(e, ALULA_LIMIT, "stop text %d is longer than %d bytes", s->n, STOPS_LEN_MAX);
    if (utf8_valid_len(text, len) < len) return err_set(e, ALULA_USAGE, "stop text %d is not UTF-8", s->n);
    struct stop *t = &s->stop[s->n++];
    t->text = mem_strndup(text, len);
    t->fail = mem_zalloc(len, sizeof *t->fail);
    t->len = (int)len;
    if (!t->text || !t->fail) return err_set(e, ALULA_NOMEM, "no memory for stop texts");
    find_borders(t);
    return true;
}

bool stops_create(struct stops **ret, const char *const *texts, int n, struct alula_error *e)
{
    if (n < 0 || n > STOPS_MAX)
        return err_set(e, ALULA_LIMIT, "%d stop texts, at most %d are taken", n, STOPS_MAX);
    struct stops *s = mem_zalloc(1, sizeof *s);
    if (!s) return err_set(e, ALULA_NOMEM, "no memory for stop texts");
    s->found = -1;
    while (s->n < n) {
        if (add(s, texts[s->n], e)) continue;
        stops_free(s);
        return false;
    }
    *ret = s;
    return true;
}

void stops_free(struct stops *s)
{
    if (!s) return;
    for (int i = 0; i < s->n; i++) {
        mem_free(s->stop[i].text);
        mem_free(s->stop[i].fail);
    }
    mem_free(s);
}

void stops_reset(struct stops *s)
{
    for (int i = 0; i < s->n; i++) s->stop[i].at = 0;
    s->found = -1;
}

/* Moves every automaton over c. Returns the index of the longest stop text that c completes, or -1. */
static int advance(struct stops *s, char c)
{
    int complete = -1;
    for (int i = 0; i < s->n; i++) {
        struct stop *t = &s->stop[i];
        while (t->at > 0 && t->text[t->at] != c) t->at = t->fail[t->at - 1];
        if (t->text[t->at] == c) t->at++;
        if (t->at == t->len && (complete < 0 || t->len > s->stop[complete].len)) complete = i;
    }
    return complete;
}

static const struct stop *longest(const struct stops *s)
{
    const struct stop *best = NULL;
    for (int i = 0; i < s->n; i++)
        if (s->stop[i].at > (best ? best->at : 0)) best = &s->stop[i];
    return best;
}

bool stops_put(struct stops *s, const char *text, size_t len, struct buf *out)
{
    stops_end(s, out); /* the text so far; what of it must be held is cut off again below */
    for (size_t i = 0; i < len; i++) {
        buf_byte(out, (unsigned char)text[i]);
        int complete = advance(s, text[i]);
        if (complete >= 0) {
            out->len -= (size_t)s->stop[complete].len;
            out->data[out->len] = 0;
            stops_reset(s);
            s->found = complete;
            return true;
        }
    }
    const struct stop *held = longest(s);
    if (held) {
        out->len -= (size_t)held->at;
        out->data[out->len] = 0;
    }
    return false;
}

int stops_found(const struct stops *s) { return s->found; }

void stops_end(struct stops *s, struct buf *out)
{
    const struct stop *held = longest(s);
    if (held) buf_add(out, held->text, (size_t)held->at);
}
