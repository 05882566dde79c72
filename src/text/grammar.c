/* grammar.c - states, rules and loops of a grammar, and what is known of them before any text is read.
 *
 * Owns the ceilings on size and the proof that every state can come to an end. Must not know JSON, schemas or
 * tokens' bytes. */
#include "text/grammar.h"

#include <string.h>

#include "base/mem.h"

enum { NEED_NEVER = 255, LOOPS_MAX = 100000, RULES_MAX = 20000 };

static bool grow(struct grammar *g, void **items, int n, int *cap, int max, size_t size)
{
    if (g->failed) return false;
    if (n < *cap) return true;
    int more = *cap ? 2 * *cap : 64;
    void *p = n < max ? mem_realloc(*items, (size_t)more * size) : NULL;
    g->no_memory = !p && n < max;
    g->failed = !p;
    if (!p) return false;
    *items = p;
    *cap = more;
    return true;
}

static int32_t add(struct grammar *g, struct grammar_state s)
{
    if (!grow(g, (void **)&g->states, g->n_states, &g->cap_states, GRAMMAR_STATES_MAX, sizeof s))
        return GRAMMAR_S_DEAD;
    g->states[g->n_states] = s;
    return g->n_states++;
}

bool grammar_create(struct grammar *g, struct alula_error *e)
{
    *g = (struct grammar){0};
    add(g, (struct grammar_state){.kind = GRAMMAR_DEAD});
    add(g, (struct grammar_state){.kind = GRAMMAR_AGAIN});
    add(g, (struct grammar_state){.kind = GRAMMAR_END});
    return !g->failed || err_set(e, ALULA_NOMEM, "no memory for a grammar");
}

void grammar_free(struct grammar *g)
{
    mem_free(g->states);
    mem_free(g->loops);
    mem_free(g->rules);
    *g = (struct grammar){0};
}

/* ---- building ------------------------------------------------------------------------------------------- */

int32_t grammar_byte(struct grammar *g, uint8_t lo, uint8_t hi, int32_t next)
{
    if (next == GRAMMAR_S_DEAD || lo > hi) return GRAMMAR_S_DEAD;
    return add(g, (struct grammar_state){.kind = GRAMMAR_BYTE, .lo = lo, .hi = hi, .a = next});
}

int32_t grammar_text(struct grammar *g, const char *bytes, size_t n, int32_t next)
{
    while (n-- > 0) next = grammar_byte(g, (uint8_t)bytes[n], (uint8_t)bytes[n], next);
    return next;
}

int32_t grammar_str(struct grammar *g, const char *s, int32_t next)
{
    return grammar_text(g, s, strlen(s), next);
}

int32_t grammar_either(struct grammar *g, int32_t a, int32_t b)
{
    if (a == GRAMMAR_S_DEAD || a == b) return b;
    if (b == GRAMMAR_S_DEAD) return a;
    return add(g, (struct grammar_state){.kind = GRAMMAR_SPLIT, .a = a, .b = b});
}

int32_t grammar_token(struct grammar *g, int32_t id, int32_t next)
{
    return add(g, (struct grammar_state){.kind = GRAMMAR_TOKEN, .a = id, .b = next});
}

int32_t grammar_repeat(struct grammar *g, int32_t body, uint32_t min, uint32_t max, int32_t next)
{
    if (max == 0) return next;
    if (!grow(g, (void **)&g->loops, g->n_loops, &g->cap_loops, LOOPS_MAX, sizeof *g->loops))
        return GRAMMAR_S_DEAD;
    g->loops[g->n_loops] = (struct grammar_loop){body, next, min, max};
    return add(g, (struct grammar_state){.kind = GRAMMAR_LOOP, .a = g->n_loops++});
}

int grammar_rule(struct grammar *g)
{
    if (!grow(g, (void **)&g->rules, g->n_rules, &g->cap_rules, RULES_MAX, sizeof *g->rules)) return 0;
    g->rules[g->n_rules] = GRAMMAR_S_DEAD;
    return g->n_rules++;
}

void grammar_define(struct grammar *g, int rule, int32_t begin)
{
    if (!g->failed) g->rules[rule] = begin;
}

int32_t grammar_call(struct grammar *g, int rule, int32_t next)
{
    return add(g, (struct grammar_state){.kind = GRAMMAR_CALL, .a = rule, .b = next});
}

int32_t grammar_hole(struct grammar *g) { return add(g, (struct grammar_state){.kind = GRAMMAR_SPLIT}); }

void grammar_fill(struct grammar *g, int32_t hole, int32_t state)
{
    if (!g->failed) g->states[hole].a = state;
}

/* ---- sealing -------------------------------------------------------------------------------------------- */

static uint8_t larger(uint8_t a, uint8_t b) { return a > b ? a : b; }
static uint8_t smaller(uint8_t a, uint8_t b) { return a < b ? a : b; }
static uint8_t one_more(uint8_t a) { return a == NEED_NEVER ? a : (uint8_t)(a + 1); }

/* A call behind which nothing is left leaves no frame. */
static bool is_tail(const struct grammar_state *s) { return s->b == GRAMMAR_S_END; }

/* How deep calls must nest from a state to the end of its rule, by what is known so far of others. */
static uint8_t need_of(const struct grammar *g, const struct grammar_state *s)
{
    const struct grammar_state *t = g->states;
    const struct grammar_loop *l = &g->loops[s->kind == GRAMMAR_LOOP ? s->a : 0];
    uint8_t called;
    switch (s->kind) {
    case GRAMMAR_BYTE: return t[s->a].need;
    case GRAMMAR_TOKEN: return t[s->b].need;
    case GRAMMAR_SPLIT: return smaller(t[s->a].need, t[s->b].need);
    case GRAMMAR_CALL:
        called = t[g->rules[s->a]].need;
        return is_tail(s) ? called : larger(one_more(called), t[s->b].need);
    case GRAMMAR_LOOP: return l->min ? larger(t[l->body].need, t[l->next].need) : t[l->next].need;
    case GRAMMAR_DEAD: return NEED_NEVER;
    default: return 0;
    }
}

static bool calls_of(const struct grammar *g, const struct grammar_state *s)
{
    const struct grammar_state *t = g->states;
    switch (s->kind) {
    case GRAMMAR_BYTE: return t[s->a].calls;
    case GRAMMAR_TOKEN: return t[s->b].calls;
    case GRAMMAR_SPLIT: return t[s->a].calls || t[s->b].calls;
    case GRAMMAR_CALL: return true;
    case GRAMMAR_LOOP: return t[g->loops[s->a].body].calls || t[g->loops[s->a].next].calls;
    default: return false;
    }
}

/* Least fixed point. Within a rule what follows was built before, rules lie in any order: sweeps in turn from
 * the front and from the back end after a few rounds. */
static void find_needs(struct grammar *g)
{
    bool changed = true;
    for (int i = 0; i < g->n_states; i++) g->states[i].need = NEED_NEVER;
    for (int round = 0; changed; round++) {
        changed = false;
        for (int k = 0; k < g->n_states; k++) {
            struct grammar_state *s = &g->states[round % 2 ? g->n_states - 1 - k : k];
            uint8_t need = need_of(g, s);
            bool calls = s->calls || calls_of(g, s);
            changed = changed || need != s->need || calls != s->calls;
            s->need = need;
            s->calls = calls;
        }
    }
}

static void find_classes(struct grammar *g)
{
    bool begins[257] = {true};
    for (int i = 0; i < g->n_states; i++) {
        if (g->states[i].kind != GRAMMAR_BYTE) continue;
        begins[g->states[i].lo] = true;
        begins[g->states[i].hi + 1] = true;
    }
    for (int b = 0; b < 256; b++) {
        if (begins[b]) g->byte_of[g->n_classes++] = (uint8_t)b;
        g->class_of[b] = (uint8_t)(g->n_classes - 1);
    }
}

bool grammar_seal(struct grammar *g, int32_t start, struct alula_error *e)
{
    if (g->no_memory) return err_set(e, ALULA_NOMEM, "no memory for a grammar");
    if (g->failed)
        return err_set(e, ALULA_LIMIT, "the grammar is too large: over %d states, %d rules or %d repetitions",
                       GRAMMAR_STATES_MAX, RULES_MAX, LOOPS_MAX);
    g->start = start;
    find_needs(g);
    find_classes(g);
    uint8_t need = g->states[start].need;
    if (need == NEED_NEVER)
        return err_set(e, ALULA_FORMAT, "no text fits: what is required contradicts itself or never ends");
    if (need > GRAMMAR_NEST_MAX)
        return err_set(e, ALULA_LIMIT, "the shortest text is nested more than %d deep", GRAMMAR_NEST_MAX);
    return true;
}
