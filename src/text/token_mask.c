/* token_mask.c - walks the tree of tokens with the automaton, and keeps what it found.
 *
 * Owns the kept sets and their ceiling, and the one lock around everything that grows while answers are made. Must
 * not know what the grammar says. */
#include "text/token_mask.h"

#include <pthread.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "text/pretoken.h"
#include "text/pushdown.h"

enum {
    SETS_BYTES_MAX = 96 << 20, /* of all sets kept; then everything is forgotten */
    BUCKETS = 4096,
    WORK_MAX =
        20
        << 20, /* states followed for one mask: about half a second, and no schema in good faith comes near */
    RUN_MAX = 64 /* bytes looked ahead for a way without a choice */
};

/* Ids as a list, or as bits where that is smaller. */
struct token_set {
    int32_t n;
    int32_t *ids;
    uint32_t *bits;
};

/* From a state with an unknown stack: the tokens that do not leave its rule, or just leave it, and the nodes of the
 * tree at which longer ones leave it. */
struct inner {
    int32_t state, frame;
    int32_t set;
    uint32_t *exits;
    uint32_t n_exits;
    int32_t next_hashed;
};

struct token_masks {
    struct grammar g;
    struct pushdown p;
    const struct tokenizer *tokenizer;
    const struct token_trie *trie;
    int32_t stop_ids[64];
    int n_stop_ids, words, vocab;
    pthread_mutex_t lock;
    uint64_t generation; /* of the places' numbers */
    struct token_set *sets;
    struct inner *inners;
    int32_t n_sets, cap_sets, n_inners, cap_inners;
    int32_t inner_hash[BUCKETS];
    size_t bytes;
    int32_t *path;     /* [depth_max + 1] places on the way to a node */
    uint32_t *exits;   /* [nodes] found by the walk */
    uint32_t *bits[2]; /* [words] of a walk, of a place */
    struct reading typical[PLACE_READINGS_MAX];
};

static void forget(struct token_masks *m)
{
    for (int32_t i = 0; i < m->n_sets; i++) {
        mem_free(m->sets[i].ids);
        mem_free(m->sets[i].bits);
    }
    for (int32_t i = 0; i < m->n_inners; i++) mem_free(m->inners[i].exits);
    m->n_sets = m->n_inners = 0;
    m->bytes = 0;
    memset(m->inner_hash, 0xff, sizeof m->inner_hash);
    pushdown_reset(&m->p);
    m->generation++;
}

bool token_masks_create(struct token_masks **ret, struct grammar *g, const struct tokenizer *tokenizer,
                        const struct token_trie *trie, int vocab, const int32_t *stop_ids, int n_stop_ids,
                        struct alula_error *e)
{
    struct token_masks *m = mem_zalloc(1, sizeof *m);
    if (!m) {
        grammar_free(g);
        return err_set(e, ALULA_NOMEM, "no memory for a grammar's masks");
    }
    m->g = *g;
    m->tokenizer = tokenizer;
    m->trie = trie;
    m->vocab = vocab;
    m->words = (vocab + 31) / 32;
    for (int i = 0; i < n_stop_ids && i < 64; i++) m->stop_ids[m->n_stop_ids++] = stop_ids[i];
    pthread_mutex_init(&m->lock, NULL);
    m->path = mem_zalloc((size_t)trie->depth_max + 1, sizeof *m->path);
    m->exits = mem_zalloc((size_t)trie->n + 1, sizeof *m->exits);
    for (int i = 0; i < 2; i++) m->bits[i] = mem_zalloc((size_t)m->words, sizeof **m->bits);
    bool ok = pushdown_create(&m->p, &m->g, e);
    if (ok && !(m->path && m->exits && m->bits[0] && m->bits[1]))
        ok = err_set(e, ALULA_NOMEM, "no memory for a grammar's masks");
    if (!ok) {
        token_masks_free(m);
        return false;
    }
    forget(m);
    *ret = m;
    return true;
}

void token_masks_free(struct token_masks *m)
{
    if (!m) return;
    if (m->p.closure) forget(m);
    pushdown_free(&m->p);
    grammar_free(&m->g);
    mem_free(m->sets);
    mem_free(m->inners);
    mem_free(m->path);
    mem_free(m->exits);
    for (int i = 0; i < 2; i++) mem_free(m->bits[i]);
    pthread_mutex_destroy(&m->lock);
    mem_free(m);
}

/* ---- sets ----------------------------------------------------------------------------------------------- */

static void set_bit(uint32_t *bits, int32_t id) { bits[id / 32] |= 1u << id % 32; }

static void add_set(const struct token_masks *m, int32_t set, uint32_t *bits)
{
    const struct token_set *s = &m->sets[set];
    for (int i = 0; s->bits && i < m->words; i++) bits[i] |= s->bits[i];
    for (int32_t i = 0; s->ids && i < s->n; i++) set_bit(bits, s->ids[i]);
}

/* Makes room for one more of an array's items. */
static bool grow(void **items, int32_t n, int32_t *cap, size_t size)
{
    if (n < *cap) return true;
    int32_t more = *cap ? 2 * *cap : 64;
    void *p = mem_realloc(*items, (size_t)more * size);
    if (!p) return false;
    *items = p;
    *cap = more;
    return true;
}

static void list_ids(const struct token_masks *m, const uint32_t *bits, int32_t *ids)
{
    for (int i = 0; i < m->words; i++)
        for (uint32_t w = bits[i]; w; w &= w - 1) *ids++ = i * 32 + __builtin_ctz(w);
}

/* Keeps what the bits say. Returns the set's number, or PLACE_FULL. */
static int32_t keep_set(struct token_masks *m, const uint32_t *bits)
{
    struct token_set s = {0};
    for (int i = 0; i < m->words; i++) s.n += __builtin_popcount(bits[i]);
    bool sparse = s.n < m->words;
    size_t count = sparse ? (size_t)s.n + 1 : (size_t)m->words;
    if (m->bytes + 4 * count > SETS_BYTES_MAX ||
        !grow((void **)&m->sets, m->n_sets, &m->cap_sets, sizeof *m->sets))
        return PLACE_FULL;
    void *p = mem_alloc(4 * count);
    if (!p) return PLACE_FULL;
    if (sparse)
        list_ids(m, bits, s.ids = p);
    else
        memcpy(s.bits = p, bits, 4 * count);
    m->bytes += 4 * count;
    m->sets[m->n_sets] = s;
    return m->n_sets++;
}

/* ---- walks ---------------------------------------------------------------------------------------------- */

/* Sets the bits of all tokens behind a node (NULL: of all) that can follow a place. With ret_n_exits, m->exits gets
 * the nodes at which a rule may be left and that go on. false: full. */
static bool walk(struct token_masks *m, const struct trie_node *from, int32_t place, uint32_t *bits,
                 uint32_t *ret_n_exits)
{
    const struct trie_node *nodes = m->trie->nodes;
    uint32_t i = from ? (uint32_t)(from - nodes) + 1 : 0, end = from ? from->end : m->trie->n, n_exits = 0;
    int above = from ? from->depth : 0;
    m->path[0] = place;
    while (i < end) {
        const struct trie_node *node = &nodes[i];
        int depth = node->depth - above;
        int32_t next = pushdown_step(&m->p, m->path[depth - 1], node->byte, true);
        if (next == PLACE_FULL) return false;
        m->path[depth] = next;
        if (next == PLACE_DEAD) {
            i = node->end;
            continue;
        }
        if (node->id >= 0) set_bit(bits, node->id);
        if (ret_n_exits && m->p.places[next].exits && node->end > i + 1) m->exits[n_exits++] = i;
        i++;
    }
    if (ret_n_exits) *ret_n_exits = n_exits;
    return true;
}

/* A count that allows the same for as many repetitions as one token can hold. */
static uint32_t typical_count(const struct token_masks *m, int32_t loop, uint32_t count)
{
    const struct grammar_loop *l = &m->g.loops[loop];
    uint64_t reach = (uint64_t)count + (uint64_t)m->trie->depth_max;
    if (reach < l->min) return 0;
    if (count >= l->min && (l->max == GRAMMAR_NO_LIMIT || reach < l->max)) return l->min;
    return count;
}

/* The stack that stands for all with the same calls and, as far as the next token can tell, the same counts; from frame
 * `stop` down (-1: none) replaced by another. -1: no room. */
static int32_t typical_frame(struct token_masks *m, int32_t frame, int32_t stop, int32_t replacement)
{
    if (frame == stop) return replacement;
    struct frame f = m->p.frames[frame];
    if (f.below < 0) return frame;
    f.below = typical_frame(m, f.below, stop, replacement);
    if (f.below < 0) return -1;
    if (f.kind == FRAME_LOOP) {
        f.count = typical_count(m, f.what, f.count);
        f.depth = m->p.frames[f.below].depth;
    }
    return pushdown_frame(&m->p, f);
}

/* The call (or bottom) that a reading's loops stand on. *calls: whether anything in them calls a rule. */
static int32_t base_of(const struct token_masks *m, struct reading r, bool *calls)
{
    const struct grammar_state *states = m->g.states;
    *calls = states[r.state].calls;
    while (m->p.frames[r.frame].kind == FRAME_LOOP) {
        const struct grammar_loop *l = &m->g.loops[m->p.frames[r.frame].what];
        *calls = *calls || states[l->body].calls || states[l->next].calls;
        r.frame = m->p.frames[r.frame].below;
    }
    return r.frame;
}

/* Finds or makes what is known of a reading whatever its stack below base; its number or PLACE_FULL. */
static int32_t inner_of(struct token_masks *m, struct reading r, int32_t base, bool calls)
{
    struct frame below = {.below = -1, .kind = FRAME_UNKNOWN, .depth = calls ? m->p.frames[base].depth : 0};
    int32_t frame = typical_frame(m, r.frame, base, pushdown_frame(&m->p, below));
    if (frame < 0) return PLACE_FULL;
    int32_t *bucket = &m->inner_hash[((uint32_t)r.state * 31 + (uint32_t)frame) % BUCKETS];
    for (int32_t i = *bucket; i >= 0; i = m->inners[i].next_hashed)
        if (m->inners[i].state == r.state && m->inners[i].frame == frame) return i;
    struct inner in = {.state = r.state, .frame = frame, .next_hashed = *bucket};
    int32_t place = pushdown_place(&m->p, &(struct reading){r.state, frame}, 1, false);
    memset(m->bits[0], 0, (size_t)m->words * 4);
    if (place == PLACE_FULL || !walk(m, NULL, place, m->bits[0], &in.n_exits) ||
        !grow((void **)&m->inners, m->n_inners, &m->cap_inners, sizeof in) ||
        m->bytes + 4 * (size_t)in.n_exits > SETS_BYTES_MAX || (in.set = keep_set(m, m->bits[0])) < 0 ||
        !(in.exits = mem_alloc(4 * (size_t)in.n_exits + 4)))
        return PLACE_FULL;
    memcpy(in.exits, m->exits, 4 * (size_t)in.n_exits);
    m->bytes += 4 * (size_t)in.n_exits;
    m->inners[m->n_inners] = in;
    *bucket = m->n_inners++;
    return *bucket;
}

/* Adds the tokens that may follow one reading of a place. */
static bool add_reading(struct token_masks *m, struct reading r, uint32_t *bits)
{
    const struct grammar_state *s = &m->g.states[r.state];
    if (s->kind == GRAMMAR_TOKEN) {
        set_bit(bits, s->a);
        return true;
    }
    bool calls;
    int32_t base = base_of(m, r, &calls), at = inner_of(m, r, base, calls);
    if (at < 0) return false;
    struct inner in = m->inners[at];
    struct frame left = m->p.frames[base];
    add_set(m, in.set, bits);
    if (left.kind != FRAME_CALL || !in.n_exits) return true;
    int32_t back = pushdown_place(&m->p, &(struct reading){left.what, left.below}, 1, false);
    bool ok = back != PLACE_FULL;
    for (uint32_t i = 0; ok && back != PLACE_DEAD && i < in.n_exits; i++)
        ok = walk(m, &m->trie->nodes[in.exits[i]], back, bits, NULL);
    return ok;
}

/* ---- no choice ------------------------------------------------------------------------------------------ */

/* The only byte that can follow a place, or -1. */
static int only_byte(const struct token_masks *m, int32_t place)
{
    const struct place *q = &m->p.places[place];
    int byte = -1;
    for (int i = 0; i < q->n; i++) {
        const struct grammar_state *s = &m->g.states[m->p.readings[q->first + (size_t)i].state];
        if (s->kind != GRAMMAR_BYTE || s->lo != s->hi || (byte >= 0 && s->lo != byte)) return -1;
        byte = s->lo;
    }
    return q->ends ? -1 : byte;
}

enum { WAY_OPEN = -1, WAY_FULL = -2 };

/* The first token of the only way that there is, if the tokenizer would begin it so whatever comes after: its piece is
 * complete. WAY_OPEN: there are several ways, or it cannot be known. */
static int32_t only_token(struct token_masks *m, int32_t place)
{
    char run[RUN_MAX];
    size_t n = 0;
    for (int byte; n < RUN_MAX && (byte = only_byte(m, place)) >= 0; n++) {
        run[n] = (char)byte;
        place = pushdown_step(&m->p, place, (uint8_t)byte, false);
        if (place == PLACE_FULL) return WAY_FULL;
    }
    bool complete = m->p.places[place].ends && m->p.places[place].n == 0;
    n = utf8_valid_len(run, n);
    size_t piece = n ? pretoken_len(run, n) : 0;
    if (!piece || (piece == n && !complete)) return WAY_OPEN;
    struct alula_error e;
    int32_t *ids, id = WAY_OPEN;
    size_t n_ids, len;
    if (!tokenizer_encode(m->tokenizer, run, piece, false, &ids, &n_ids, &e)) return WAY_OPEN;
    /* The tokenizer may have normalized the text to another. */
    const char *bytes = n_ids ? tokenizer_bytes(m->tokenizer, ids[0], &len) : NULL;
    if (bytes && len <= piece && memcmp(bytes, run, len) == 0 && ids[0] < m->vocab) id = ids[0];
    mem_free(ids);
    return id;
}

/* ---- places --------------------------------------------------------------------------------------------- */

static bool is_stop(const struct token_masks *m, int32_t id)
{
    for (int i = 0; i < m->n_stop_ids; i++)
        if (m->stop_ids[i] == id) return true;
    return false;
}

static int32_t find_set(struct token_masks *m, int32_t place)
{
    uint32_t *bits = m->bits[1];
    memset(bits, 0, (size_t)m->words * 4);
    int32_t only = only_token(m, place);
    if (only == WAY_FULL) return PLACE_FULL;
    struct place q = m->p.places[place];
    if (only >= 0) {
        set_bit(bits, only);
        return keep_set(m, bits);
    }
    for (int i = 0; i < q.n; i++)
        if (!add_reading(m, m->p.readings[q.first + (size_t)i], bits)) return PLACE_FULL;
    for (int i = 0; q.ends && i < m->n_stop_ids; i++) set_bit(bits, m->stop_ids[i]);
    return keep_set(m, bits);
}

/* The place that stands for all with the same next tokens. */
static int32_t typical_place(struct token_masks *m, int32_t place)
{
    struct place q = m->p.places[place];
    for (int i = 0; i < q.n; i++) {
        struct reading r = m->p.readings[q.first + (size_t)i];
        r.frame = typical_frame(m, r.frame, -1, -1);
        if (r.frame < 0) return PLACE_FULL;
        m->typical[i] = r;
    }
    return pushdown_place(&m->p, m->typical, q.n, q.ends);
}

static int32_t set_of(struct token_masks *m, int32_t place)
{
    int32_t set = m->p.places[place].set;
    if (set >= 0) return set;
    int32_t typical = typical_place(m, place);
    if (typical == PLACE_FULL) return PLACE_FULL;
    set = m->p.places[typical].set;
    if (set < 0) set = find_set(m, typical);
    if (set >= 0) m->p.places[typical].set = m->p.places[place].set = set;
    return set;
}

static int32_t step_token(struct token_masks *m, int32_t place, int32_t id)
{
    size_t n = 0;
    if (is_stop(m, id)) return m->p.places[place].ends ? pushdown_place(&m->p, NULL, 0, true) : PLACE_DEAD;
    if (tokenizer_is_added(m->tokenizer, id)) return pushdown_token(&m->p, place, id);
    const char *bytes = tokenizer_bytes(m->tokenizer, id, &n);
    if (!bytes) return PLACE_DEAD;
    for (size_t i = 0; i < n && place > PLACE_DEAD; i++)
        place = pushdown_step(&m->p, place, (uint8_t)bytes[i], false);
    return place;
}

static int32_t start(struct token_masks *m)
{
    struct reading r = {m->g.start, pushdown_bottom(&m->p)};
    return pushdown_place(&m->p, &r, 1, false);
}

/* The place after n tokens, from the last one before it that still holds. */
static int32_t find_place(struct token_masks *m, struct mask_cursor *c, const int32_t *answer, size_t n)
{
    const size_t ring = MASK_CURSOR_BACK + 1;
    if (c->generation != m->generation || n < c->first) {
        *c = (struct mask_cursor){.generation = m->generation};
        c->at[0].place = start(m);
    }
    size_t at = c->first;
    while (at < n && at < c->n && c->at[(at + 1) % ring].id == answer[at]) at++;
    int32_t place = c->at[at % ring].place;
    for (; at < n && place != PLACE_FULL; c->n = ++at) {
        place = place == PLACE_DEAD ? PLACE_DEAD : step_token(m, place, answer[at]);
        c->at[(at + 1) % ring].id = answer[at];
        c->at[(at + 1) % ring].place = place;
        if (at + 1 - c->first == ring) c->first++;
    }
    if (place == PLACE_FULL) c->generation = 0;
    return place;
}

bool token_masks_after(struct token_masks *m, struct mask_cursor *c, const int32_t *answer, size_t n,
                       uint32_t *bits, struct alula_error *e)
{
    int32_t place = PLACE_FULL, set = PLACE_FULL;
    uint64_t refused = mem_refused();
    pthread_mutex_lock(&m->lock);
    m->p.work = 0;
    m->p.work_max = WORK_MAX;
    for (int tries = 0; tries < 2 && set == PLACE_FULL && place != PLACE_DEAD && m->p.work <= WORK_MAX;
         tries++) {
        if (tries > 0) forget(m);
        place = find_place(m, c, answer, n);
        if (place > PLACE_DEAD) set = set_of(m, place);
    }
    memset(bits, 0, (size_t)m->words * 4);
    if (set >= 0) add_set(m, set, bits);
    pthread_mutex_unlock(&m->lock);
    if (set >= 0 || place == PLACE_DEAD) return true;
    if (mem_refused() != refused) return err_set(e, ALULA_NOMEM, "no memory to follow the grammar");
    return err_set(e, ALULA_LIMIT,
                   "the grammar leaves too many ways to read the first %zu tokens of the answer", n);
}
