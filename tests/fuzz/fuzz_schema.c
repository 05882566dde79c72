/* Any bytes as a request for a form of answer: refused with a sentence, or a grammar in which no text that
 * was begun comes to a place that nothing can follow. */
#include <stdint.h>
#include <stdlib.h>

#include "text/grammar_spec.h"
#include "text/pushdown.h"

static void must(bool condition)
{
    if (!condition) abort();
}

static const struct tokenizer *tokenizer(void)
{
    static struct tokenizer *t;
    struct alula_error e;
    if (!t) must(tokenizer_open(&t, "models/tiny-trunk", &e));
    return t;
}

/* Behind any token that the grammar asks for by its id, or behind a byte: one of those that can follow, by chance. */
static int32_t step(struct pushdown *p, int32_t at, uint32_t *chance)
{
    int32_t ways[257];
    int n = 0;
    struct place q = p->places[at];
    for (int c = 0; c < p->g->n_classes; c++) {
        int32_t to = pushdown_step(p, at, p->g->byte_of[c], true);
        if (to != PLACE_DEAD) ways[n++] = to;
    }
    for (int i = 0; i < q.n && n < 257; i++) {
        const struct grammar_state *s = &p->g->states[p->readings[q.first + (size_t)i].state];
        if (s->kind == GRAMMAR_TOKEN) ways[n++] = pushdown_token(p, at, s->a);
    }
    must(n > 0 || q.ends);
    *chance = *chance * 1664525 + 1013904223;
    return n ? ways[(*chance >> 8) % (unsigned)n] : PLACE_DEAD;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct alula_error e = {0};
    struct grammar g;
    struct pushdown p;
    uint32_t chance = (uint32_t)size;
    if (!grammar_from_spec(&g, tokenizer(), (const char *)data, size, &e)) {
        must(e.code != ALULA_OK && e.code != ALULA_INTERNAL && e.message[0]);
        return 0;
    }
    must(pushdown_create(&p, &g, &e));
    struct reading begin = {g.start, pushdown_bottom(&p)};
    int32_t at = pushdown_place(&p, &begin, 1, false);
    must(at != PLACE_DEAD);
    for (int i = 0; i < 200 && at > PLACE_DEAD; i++) at = step(&p, at, &chance);
    pushdown_free(&p);
    grammar_free(&g);
    return 0;
}
