/* token_trie.c - sorts the tokens and lays them out as a tree. Must not know grammars. */
#include "text/token_trie.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { TOKEN_BYTES_MAX = 4096 }; /* longer ones are left out */

struct word {
    const char *bytes;
    size_t n;
    int32_t id;
};

static int compare_words(const void *a, const void *b)
{
    const struct word *x = a, *y = b;
    int order = memcmp(x->bytes, y->bytes, x->n < y->n ? x->n : y->n);
    if (order) return order;
    if (x->n != y->n) return x->n < y->n ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

static size_t shared(const struct word *a, const struct word *b)
{
    size_t n = 0, most = a->n < b->n ? a->n : b->n;
    while (n < most && a->bytes[n] == b->bytes[n]) n++;
    return n;
}

/* Ends all nodes that are open beyond a depth. */
static void close_nodes(struct token_trie *t, uint32_t *open, size_t *n_open, size_t depth)
{
    while (*n_open > depth) t->nodes[open[--*n_open]].end = t->n;
}

static void lay_out(struct token_trie *t, const struct word *words, size_t n)
{
    uint32_t open[TOKEN_BYTES_MAX];
    size_t n_open = 0;
    for (size_t i = 0; i < n; i++) {
        close_nodes(t, open, &n_open, i ? shared(&words[i - 1], &words[i]) : 0);
        for (; n_open < words[i].n; n_open++) {
            open[n_open] = t->n;
            t->nodes[t->n++] =
                (struct trie_node){-1, 0, (uint16_t)(n_open + 1), (uint8_t)words[i].bytes[n_open]};
        }
        /* Of two tokens with the same bytes the first will do. */
        struct trie_node *last = &t->nodes[open[n_open - 1]];
        if (last->id < 0) last->id = words[i].id;
        if ((int)n_open > t->depth_max) t->depth_max = (int)n_open;
    }
    close_nodes(t, open, &n_open, 0);
}

bool token_trie_create(struct token_trie *t, const struct tokenizer *tokenizer, int vocab,
                       struct alula_error *e)
{
    *t = (struct token_trie){0};
    int count = tokenizer_count(tokenizer) < vocab ? tokenizer_count(tokenizer) : vocab;
    struct word *words = mem_zalloc((size_t)count + 1, sizeof *words);
    size_t n = 0, n_nodes = 1;
    for (int32_t id = 0; words && id < count; id++) {
        struct word w = {.id = id};
        w.bytes = tokenizer_bytes(tokenizer, id, &w.n);
        if (w.bytes && w.n > 0 && w.n <= TOKEN_BYTES_MAX && !tokenizer_is_added(tokenizer, id))
            words[n++] = w;
    }
    if (words) qsort(words, n, sizeof *words, compare_words);
    for (size_t i = 0; i < n; i++) n_nodes += words[i].n - (i ? shared(&words[i - 1], &words[i]) : 0);
    t->nodes = words ? mem_zalloc(n_nodes, sizeof *t->nodes) : NULL;
    if (t->nodes) lay_out(t, words, n);
    mem_free(words);
    return t->nodes || err_set(e, ALULA_NOMEM, "no memory for the tree of %d tokens", count);
}

void token_trie_free(struct token_trie *t)
{
    mem_free(t->nodes);
    *t = (struct token_trie){0};
}
