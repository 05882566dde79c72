/* constraint.c - grammars of an engine, and how a session follows one. Must not know what a grammar says. */
#include "decode/constraint.h"

#include <string.h>

#include "base/mem.h"
#include "decode/decode_internal.h"
#include "text/grammar_spec.h"

struct alula_grammar {
    const struct alula_engine *engine;
    struct token_masks *masks;
};

bool alula_grammar_create(struct alula_grammar **ret, const struct alula_engine *engine, const char *spec,
                          size_t len, struct alula_error *e)
{
    const struct config *c = model_config(engine->model);
    struct grammar g;
    struct token_masks *masks;
    if (!grammar_from_spec(&g, engine->tokenizer, spec, len, e) ||
        !token_masks_create(&masks, &g, engine->tokenizer, &engine->trie, c->vocab, c->stop_ids,
                            c->n_stop_ids, e))
        return false;
    struct alula_grammar *grammar = mem_alloc(sizeof *grammar);
    if (!grammar) {
        token_masks_free(masks);
        return err_set(e, ALULA_NOMEM, "no memory for a grammar");
    }
    *grammar = (struct alula_grammar){engine, masks};
    *ret = grammar;
    return true;
}

void alula_grammar_free(struct alula_grammar *grammar)
{
    if (!grammar) return;
    token_masks_free(grammar->masks);
    mem_free(grammar);
}

bool constraint_create(struct constraint **ret, const struct alula_grammar *grammar,
                       const struct alula_engine *engine, struct alula_error *e)
{
    if (grammar->engine != engine) return err_set(e, ALULA_USAGE, "the grammar was made for another engine");
    size_t words = ((size_t)model_config(engine->model)->vocab + 31) / 32;
    struct constraint *c = mem_zalloc(1, sizeof *c);
    if (c) c->bits = mem_zalloc(words, sizeof *c->bits);
    if (!c || !c->bits) {
        constraint_free(c);
        return err_set(e, ALULA_NOMEM, "no memory to follow a grammar");
    }
    c->masks = grammar->masks;
    *ret = c;
    return true;
}

void constraint_free(struct constraint *c)
{
    if (!c) return;
    mem_free(c->bits);
    mem_free(c);
}

void constraint_reset(struct constraint *c)
{
    c->cursor = (struct mask_cursor){0};
    c->error.code = ALULA_OK;
}

const uint32_t *constraint_mask(void *arg, const int32_t *answer, size_t n)
{
    struct constraint *c = arg;
    token_masks_after(c->masks, &c->cursor, answer, n, c->bits, &c->error);
    return c->bits;
}
