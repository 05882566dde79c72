/* grammar.h - what a text may be: byte automata that call one another, and the means to build them. Internal
 * to text/; decode/ sees token_mask.h.
 *
 * A state reads a byte, splits, calls a rule, repeats a body, or ends the rule it belongs to. Texts are built
 * back to front: each function takes the state that follows its piece and returns the state where the piece
 * begins, so nothing is patched afterwards. A rule may call itself; what cannot come to an end is found out when
 * the grammar is sealed.
 *
 * Failure is sticky, as with struct buf: past a ceiling, or out of memory, every later call does nothing and
 * grammar_seal says why. So a compiler of grammars looks once. */
#ifndef TEXT_GRAMMAR_H
#define TEXT_GRAMMAR_H

#include "base/buf.h"

#define GRAMMAR_STATES_MAX 400000
#define GRAMMAR_NEST_MAX   60 /* calls within calls of a text; the readers of JSON go to 64 */
#define GRAMMAR_COUNT_MAX  65535
#define GRAMMAR_NO_LIMIT   UINT32_MAX /* as a maximum of repetitions */

enum grammar_kind {
    GRAMMAR_DEAD,  /* leads nowhere */
    GRAMMAR_BYTE,  /* lo..hi, then a */
    GRAMMAR_SPLIT, /* a or b */
    GRAMMAR_CALL,  /* rule a, then b */
    GRAMMAR_LOOP,  /* loop a: its body so many times, then what the loop says */
    GRAMMAR_TOKEN, /* the added token with id a, then b */
    GRAMMAR_AGAIN, /* a body is complete */
    GRAMMAR_END    /* a rule is complete, or the text */
};

struct grammar_state {
    uint8_t kind, lo, hi;
    uint8_t need; /* calls within calls that it takes to come to the end of the rule; sealed */
    bool calls;   /* whether there is a call on any way to that end; sealed */
    int32_t a, b;
};

struct grammar_loop {
    int32_t body, next;
    uint32_t min, max;
};

struct grammar {
    struct grammar_state *states;
    struct grammar_loop *loops;
    int32_t *rules; /* [n_rules] where each begins */
    int n_states, n_loops, n_rules, cap_states, cap_loops, cap_rules;
    int32_t start;
    /* Bytes that no state tells apart are one class; sealed. */
    uint8_t class_of[256], byte_of[256];
    int n_classes;
    bool failed, no_memory;
};

/* Shared states, which need no building. */
enum { GRAMMAR_S_DEAD, GRAMMAR_S_AGAIN, GRAMMAR_S_END };

bool grammar_create(struct grammar *g, struct alula_error *e);
void grammar_free(struct grammar *g);

int32_t grammar_byte(struct grammar *g, uint8_t lo, uint8_t hi, int32_t next);
int32_t grammar_text(struct grammar *g, const char *bytes, size_t n, int32_t next);
int32_t grammar_str(struct grammar *g, const char *s, int32_t next);
/* Either of two; one that is dead is left out. */
int32_t grammar_either(struct grammar *g, int32_t a, int32_t b);
int32_t grammar_token(struct grammar *g, int32_t id, int32_t next);
/* The body min to max times; it ends in GRAMMAR_S_AGAIN and reads at least one byte. */
int32_t grammar_repeat(struct grammar *g, int32_t body, uint32_t min, uint32_t max, int32_t next);
/* A rule ends in GRAMMAR_S_END. It may be called before it is defined. */
int grammar_rule(struct grammar *g);
void grammar_define(struct grammar *g, int rule, int32_t begin);
int32_t grammar_call(struct grammar *g, int rule, int32_t next);
/* For automata with cycles: a state that becomes another one's twin once that is known. */
int32_t grammar_hole(struct grammar *g);
void grammar_fill(struct grammar *g, int32_t hole, int32_t state);

/* Nothing may be built afterwards. Errors: LIMIT (too large, or no text can end within GRAMMAR_NEST_MAX calls),
 * FORMAT (no text at all), NOMEM. */
bool grammar_seal(struct grammar *g, int32_t start, struct alula_error *e);

#endif
