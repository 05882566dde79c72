/* free_text.c - Aho and Corasick's automaton over the words, with UTF-8 around it. Must not know what the words mean.
 */
#include "text/free_text.h"

#include <string.h>

#include "text/charset.h"

/* Node 0 is the root. */
struct words {
    uint8_t to[FREE_TEXT_BYTES + 1][128]; /* after fill_gaps: where each byte leads */
    uint8_t fail[FREE_TEXT_BYTES + 1];
    bool complete[FREE_TEXT_BYTES + 1];
    int32_t state[FREE_TEXT_BYTES + 1];
    int n;
};

static void add_word(struct words *w, const char *word)
{
    int at = 0;
    for (; *word; word++) {
        uint8_t *to = &w->to[at][(unsigned char)*word];
        if (!*to) *to = (uint8_t)w->n++;
        at = *to;
    }
    w->complete[at] = true;
}

/* Gives every node a way for every byte: that of the longest end of its text which is a node, too. In the order of
 * depth. */
static void fill_gaps(struct words *w)
{
    uint8_t queue[FREE_TEXT_BYTES + 1];
    int n = 0;
    for (int b = 0; b < 128; b++)
        if (w->to[0][b]) queue[n++] = w->to[0][b];
    for (int i = 0; i < n; i++) {
        uint8_t at = queue[i], fail = w->fail[at];
        w->complete[at] = w->complete[at] || w->complete[fail];
        for (int b = 0; b < 128; b++) {
            uint8_t *to = &w->to[at][b];
            if (*to) {
                w->fail[*to] = w->to[fail][b];
                queue[n++] = *to;
            } else {
                *to = w->to[fail][b];
            }
        }
    }
}

static bool is_text(int b, const char *without)
{
    return (b >= 0x20 || b == '\t' || b == '\n' || b == '\r') && !strchr(without, b);
}

/* Everything that a character can lead to from a node. */
static int32_t read_char(struct grammar *g, const struct words *w, int at, const char *without, int32_t other)
{
    int32_t all = other;
    for (int lo = 0, hi; lo < 128; lo = hi + 1) {
        bool text = is_text(lo, without);
        for (hi = lo; hi < 127 && is_text(hi + 1, without) == text && w->to[at][hi + 1] == w->to[at][lo];)
            hi++;
        uint8_t to = w->to[at][lo];
        if (text && !w->complete[to])
            all = grammar_either(g, grammar_byte(g, (uint8_t)lo, (uint8_t)hi, w->state[to]), all);
    }
    return all;
}

int32_t free_text(struct grammar *g, const char *const *words, int n, struct free_form form, int32_t next)
{
    struct words w = {.n = 1};
    for (int i = 0; i < n; i++) add_word(&w, words[i]);
    fill_gaps(&w);
    for (int i = 0; i < w.n; i++) w.state[i] = grammar_hole(g);
    struct charset wide = {0};
    charset_add(&wide, 0x80, 0x10ffff);
    charset_tidy(&wide);
    int32_t other = charset_read(g, &wide, w.state[0]);
    if (form.escapes) other = grammar_either(g, form.escapes(g, w.state[0]), other);
    for (int i = 0; i < w.n; i++)
        grammar_fill(g, w.state[i], grammar_either(g, read_char(g, &w, i, form.without, other), next));
    return w.state[0];
}
