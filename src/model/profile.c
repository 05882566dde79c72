/* profile.c - the clocks. Knows the operations' names, not what they do. */
#include "model/profile.h"

#include <string.h>

#include "base/clock.h"

static const struct {
    const char *key, *name;
} ops[PROFILE_OPS] = {
    [PROFILE_WAIT] = {"wait", "waiting"},
    [PROFILE_SERIAL] = {"serial", "between steps"},
    [PROFILE_EMBED] = {"embed", "embedding, positions"},
    [PROFILE_NORM] = {"norm", "norms"},
    [PROFILE_QUANTIZE] = {"quantize", "activations to int8"},
    [PROFILE_DELTA_PROJ] = {"delta_proj", "delta net, projections"},
    [PROFILE_CONV] = {"conv", "delta net, convolution"},
    [PROFILE_DELTA_RULE] = {"delta_rule", "delta net, delta rule"},
    [PROFILE_DELTA_GATE] = {"delta_gate", "delta net, gate"},
    [PROFILE_ATTN_PROJ] = {"attn_proj", "attention, projections"},
    [PROFILE_ATTN_ROTATE] = {"attn_rotate", "attention, rotation"},
    [PROFILE_ATTEND] = {"attend", "attention, scores and values"},
    [PROFILE_ROUTER] = {"router", "router"},
    [PROFILE_CHOOSE] = {"choose", "choosing experts"},
    [PROFILE_EXPERTS_IN] = {"experts_in", "experts, gate and up"},
    [PROFILE_EXPERTS_OUT] = {"experts_out", "experts, down"},
    [PROFILE_SHARED] = {"shared", "shared expert"},
    [PROFILE_COMBINE] = {"combine", "experts, weighted sum"},
    [PROFILE_MTP_FC] = {"mtp_fc", "MTP head, fc"},
    [PROFILE_LM_HEAD] = {"lm_head", "LM head"},
    [PROFILE_SAMPLING] = {"sampling", "sampling"},
};

const char *profile_name(enum profile_op op) { return ops[op].name; }

const char *profile_key(enum profile_op op) { return ops[op].key; }

static void turn(struct profile_clock *c, enum profile_op op, double now)
{
    c->spent[c->op] += now - c->since;
    c->since = now;
    c->op = op;
}

void profile_begin(struct profile *p, int n_threads)
{
    memset(p, 0, sizeof *p);
    p->n_threads = n_threads;
    p->begun = clock_s();
    for (int i = 0; i < n_threads; i++) p->clocks[i].since = p->begun;
    p->clocks[0].op = PROFILE_SERIAL;
}

void profile_end(struct profile *p)
{
    p->ended = clock_s();
    for (int i = 0; i < p->n_threads; i++) turn(&p->clocks[i], PROFILE_WAIT, p->ended);
}

void profile_enter(struct profile *p, int thread, enum profile_op op)
{
    turn(&p->clocks[thread], op, clock_s());
}

double profile_seconds(const struct profile *p, enum profile_op op)
{
    double sum = 0;
    for (int i = 0; i < p->n_threads; i++) sum += p->clocks[i].spent[op];
    return sum / p->n_threads;
}

uint64_t profile_bytes(const struct profile *p, enum profile_op op)
{
    uint64_t sum = 0;
    for (int i = 0; i < p->n_threads; i++) sum += p->clocks[i].bytes[op];
    return sum;
}
