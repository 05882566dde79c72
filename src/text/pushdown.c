/* pushdown.c - places of a text, and how bytes lead from one to the next.
 *
 * Owns frames, places, the table of transitions, and their ceilings. Must not know tokens. */
#include "text/pushdown.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum {
    PLACES_MAX = 1 << 20,
    READINGS_MAX = 1 << 22,
    FRAMES_MAX = 1 << 20,
    ROWS_MAX = 1 << 15,
    BUCKETS = 1 << 16,
    SEEN_SIZE = 8 * PLACE_READINGS_MAX /* readings of one place, with those on the way to them */
};

/* Work memory of one step: what was met, and what is still to be followed. */
struct closure {
    struct reading todo[SEEN_SIZE / 2], seen[SEEN_SIZE], found[PLACE_READINGS_MAX];
    uint32_t stamps[SEEN_SIZE], stamp;
    int n_todo, n_seen, n_found;
    bool ends, exits, full;
};

static bool grow(void **items, size_t n, size_t more, size_t *cap, size_t max, size_t size)
{
    if (n + more <= *cap) return true;
    size_t want = *cap ? 2 * *cap : 256;
    while (want < n + more) want *= 2;
    void *p = n + more <= max ? mem_realloc(*items, want * size) : NULL;
    if (!p) return false;
    *items = p;
    *cap = want;
    return true;
}

bool pushdown_create(struct pushdown *p, const struct grammar *g, struct alula_error *e)
{
    *p = (struct pushdown){.g = g};
    p->place_hash = mem_zalloc(BUCKETS, sizeof *p->place_hash);
    p->frame_hash = mem_zalloc(BUCKETS, sizeof *p->frame_hash);
    p->closure = mem_zalloc(1, sizeof *p->closure);
    if (p->place_hash && p->frame_hash && p->closure) {
        pushdown_reset(p);
        return true;
    }
    pushdown_free(p);
    return err_set(e, ALULA_NOMEM, "no memory to read by a grammar");
}

void pushdown_free(struct pushdown *p)
{
    mem_free(p->places);
    mem_free(p->readings);
    mem_free(p->frames);
    mem_free(p->rows);
    mem_free(p->place_hash);
    mem_free(p->frame_hash);
    mem_free(p->closure);
    *p = (struct pushdown){0};
}

void pushdown_reset(struct pushdown *p)
{
    p->n_places = PLACE_DEAD + 1; /* the first numbers are no places */
    p->n_readings = p->n_frames = p->n_rows = 0;
    memset(p->place_hash, 0xff, BUCKETS * sizeof *p->place_hash);
    memset(p->frame_hash, 0xff, BUCKETS * sizeof *p->frame_hash);
}

static uint64_t mix(uint64_t h, uint64_t v)
{
    h = (h ^ v) * 0x9e3779b97f4a7c15u;
    return h ^ h >> 29;
}

/* ---- frames --------------------------------------------------------------------------------------------- */

int32_t pushdown_frame(struct pushdown *p, struct frame f)
{
    uint64_t h = mix(mix(f.kind | (uint64_t)f.depth << 8, (uint32_t)f.below), (uint32_t)f.what);
    int32_t *bucket = &p->frame_hash[mix(h, f.count) % BUCKETS];
    for (int32_t i = *bucket; i >= 0; i = p->frames[i].next_hashed) {
        const struct frame *o = &p->frames[i];
        if (o->kind == f.kind && o->below == f.below && o->what == f.what && o->count == f.count &&
            o->depth == f.depth)
            return i;
    }
    if (!grow((void **)&p->frames, p->n_frames, 1, &p->cap_frames, FRAMES_MAX, sizeof f)) return -1;
    f.next_hashed = *bucket;
    p->frames[p->n_frames] = f;
    *bucket = (int32_t)p->n_frames++;
    return *bucket;
}

static int32_t call_frame(struct pushdown *p, int32_t below, int32_t what)
{
    uint8_t depth = (uint8_t)(p->frames[below].depth + 1);
    return pushdown_frame(p,
                          (struct frame){.below = below, .what = what, .kind = FRAME_CALL, .depth = depth});
}

static int32_t loop_frame(struct pushdown *p, int32_t below, int32_t what, uint32_t count)
{
    uint8_t depth = p->frames[below].depth;
    return pushdown_frame(
        p, (struct frame){.below = below, .what = what, .count = count, .kind = FRAME_LOOP, .depth = depth});
}

/* ---- from a state to what reads the next byte ---------------------------------------------------------- */

static void closure_begin(struct closure *c)
{
    c->n_todo = c->n_seen = c->n_found = 0;
    c->ends = c->exits = c->full = false;
    if (++c->stamp == 0) {
        memset(c->stamps, 0, sizeof c->stamps);
        c->stamp = 1;
    }
}

/* To be followed, unless it was before, or the nesting that it needs is out of reach. */
static void reach(struct pushdown *p, int32_t state, int32_t frame)
{
    struct closure *c = p->closure;
    if (frame < 0 || c->n_seen == SEEN_SIZE / 2) c->full = true;
    if (c->full || p->frames[frame].depth + p->g->states[state].need > GRAMMAR_NEST_MAX) return;
    size_t i = mix((uint32_t)state, (uint32_t)frame) % SEEN_SIZE;
    for (; c->stamps[i] == c->stamp; i = (i + 1) % SEEN_SIZE)
        if (c->seen[i].state == state && c->seen[i].frame == frame) return;
    c->stamps[i] = c->stamp;
    c->seen[i] = c->todo[c->n_todo++] = (struct reading){state, frame};
    c->n_seen++;
}

static void reach_body(struct pushdown *p, int32_t below, int32_t loop, uint32_t count)
{
    const struct grammar_loop *l = &p->g->loops[loop];
    if (count >= l->min) reach(p, l->next, below);
    if (count >= l->max) return;
    if (l->max == GRAMMAR_NO_LIMIT && count > l->min) count = l->min;
    reach(p, l->body, loop_frame(p, below, loop, count));
}

static void leave_rule(struct pushdown *p, struct frame f)
{
    if (f.kind == FRAME_CALL) reach(p, f.what, f.below);
    p->closure->ends = p->closure->ends || f.kind == FRAME_BOTTOM;
    p->closure->exits = p->closure->exits || f.kind == FRAME_UNKNOWN;
}

static void follow(struct pushdown *p, struct reading r)
{
    struct closure *c = p->closure;
    const struct grammar_state *s = &p->g->states[r.state];
    struct frame f = p->frames[r.frame];
    switch (s->kind) {
    case GRAMMAR_BYTE:
    case GRAMMAR_TOKEN:
        if (c->n_found == PLACE_READINGS_MAX)
            c->full = true;
        else
            c->found[c->n_found++] = r;
        break;
    case GRAMMAR_SPLIT:
        reach(p, s->b, r.frame);
        reach(p, s->a, r.frame);
        break;
    case GRAMMAR_CALL:
        reach(p, p->g->rules[s->a], s->b == GRAMMAR_S_END ? r.frame : call_frame(p, r.frame, s->b));
        break;
    case GRAMMAR_LOOP: reach_body(p, r.frame, s->a, 0); break;
    case GRAMMAR_AGAIN: reach_body(p, f.below, f.what, f.count + 1); break;
    case GRAMMAR_END: leave_rule(p, f); break;
    default: break;
    }
}

static int compare_readings(const void *a, const void *b)
{
    const struct reading *x = a, *y = b;
    if (x->state != y->state) return x->state < y->state ? -1 : 1;
    return (x->frame > y->frame) - (x->frame < y->frame);
}

static bool same_place(const struct pushdown *p, const struct place *q)
{
    const struct closure *c = p->closure;
    return q->n == c->n_found && q->ends == c->ends && q->exits == c->exits &&
           memcmp(p->readings + q->first, c->found, (size_t)q->n * sizeof *c->found) == 0;
}

/* The place that the closure has come to. */
static int32_t closure_place(struct pushdown *p)
{
    struct closure *c = p->closure;
    while (c->n_todo && !c->full) follow(p, c->todo[--c->n_todo]);
    p->work += (uint64_t)c->n_seen;
    if (c->full || (p->work_max && p->work > p->work_max)) return PLACE_FULL;
    if (!c->n_found && !c->ends && !c->exits) return PLACE_DEAD;
    qsort(c->found, (size_t)c->n_found, sizeof *c->found, compare_readings);
    uint64_t h = (uint64_t)c->ends * 2 + c->exits;
    for (int i = 0; i < c->n_found; i++)
        h = mix(h, (uint64_t)(uint32_t)c->found[i].state << 32 | (uint32_t)c->found[i].frame);
    int32_t *bucket = &p->place_hash[h % BUCKETS];
    for (int32_t i = *bucket; i >= 0; i = p->places[i].next_hashed)
        if (same_place(p, &p->places[i])) return i;
    if (!grow((void **)&p->places, p->n_places, 1, &p->cap_places, PLACES_MAX, sizeof *p->places) ||
        !grow((void **)&p->readings, p->n_readings, (size_t)c->n_found, &p->cap_readings, READINGS_MAX,
              sizeof *p->readings))
        return PLACE_FULL;
    p->places[p->n_places] = (struct place){p->n_readings, c->n_found, c->ends, c->exits, -1, -1, *bucket};
    memcpy(p->readings + p->n_readings, c->found, (size_t)c->n_found * sizeof *c->found);
    p->n_readings += (size_t)c->n_found;
    *bucket = (int32_t)p->n_places++;
    return *bucket;
}

/* ---- steps ---------------------------------------------------------------------------------------------- */

int32_t pushdown_place(struct pushdown *p, const struct reading *readings, int n, bool ends)
{
    closure_begin(p->closure);
    p->closure->ends = ends;
    for (int i = 0; i < n; i++) reach(p, readings[i].state, readings[i].frame);
    return closure_place(p);
}

int32_t pushdown_bottom(struct pushdown *p)
{
    return pushdown_frame(p, (struct frame){.below = -1, .kind = FRAME_BOTTOM});
}

static int32_t step(struct pushdown *p, int32_t place, uint8_t byte)
{
    struct place q = p->places[place];
    closure_begin(p->closure);
    for (int i = 0; i < q.n; i++) {
        struct reading r = p->readings[q.first + (size_t)i];
        const struct grammar_state *s = &p->g->states[r.state];
        if (s->kind == GRAMMAR_BYTE && s->lo <= byte && byte <= s->hi) reach(p, s->a, r.frame);
    }
    return closure_place(p);
}

/* The place's row of the table; -1 = no room. */
static int32_t row_of(struct pushdown *p, int32_t place)
{
    size_t width = (size_t)p->g->n_classes;
    struct place *q = &p->places[place];
    if (q->row >= 0) return q->row;
    if (!grow((void **)&p->rows, p->n_rows, 1, &p->cap_rows, ROWS_MAX, width * sizeof *p->rows)) return -1;
    memset(p->rows + p->n_rows * width, 0, width * sizeof *p->rows);
    q->row = (int32_t)p->n_rows++;
    return q->row;
}

int32_t pushdown_step(struct pushdown *p, int32_t place, uint8_t byte, bool keep)
{
    int32_t row = keep ? row_of(p, place) : p->places[place].row;
    if (row < 0) return keep ? PLACE_FULL : step(p, place, byte);
    size_t at = (size_t)row * (size_t)p->g->n_classes + p->g->class_of[byte];
    if (p->rows[at] != PLACE_NOT_YET) return p->rows[at];
    int32_t to = step(p, place, byte);
    if (to != PLACE_FULL) p->rows[at] = to;
    return to;
}

int32_t pushdown_token(struct pushdown *p, int32_t place, int32_t id)
{
    struct place q = p->places[place];
    closure_begin(p->closure);
    for (int i = 0; i < q.n; i++) {
        struct reading r = p->readings[q.first + (size_t)i];
        const struct grammar_state *s = &p->g->states[r.state];
        if (s->kind == GRAMMAR_TOKEN && s->a == id) reach(p, s->b, r.frame);
    }
    return closure_place(p);
}
