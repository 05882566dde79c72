/* grammar_rig.h - what the tests of grammars share: a grammar from a request, a text read by it byte by byte,
 * and texts drawn from it. */
#ifndef TESTS_GRAMMAR_RIG_H
#define TESTS_GRAMMAR_RIG_H

#include <string.h>

#include "text/grammar_spec.h"
#include "text/pushdown.h"
#include "tests/support.h"

struct reader {
    struct grammar g;
    struct pushdown p;
};

static inline const struct tokenizer *rig_tokenizer(void)
{
    static struct tokenizer *t;
    struct alula_error e;
    if (!t) assert_ok(tokenizer_open(&t, "models/tiny-trunk", &e), e);
    return t;
}

static inline bool reader_try(struct reader *r, const char *spec, size_t n, struct alula_error *e)
{
    if (!grammar_from_spec(&r->g, rig_tokenizer(), spec, n, e)) return false;
    assert_ok(pushdown_create(&r->p, &r->g, e), *e);
    return true;
}

static inline void reader_open(struct reader *r, const char *spec)
{
    struct alula_error e;
    assert_ok(reader_try(r, spec, strlen(spec), &e), e);
}

static inline void reader_close(struct reader *r)
{
    pushdown_free(&r->p);
    grammar_free(&r->g);
}

/* {"type": "json_schema", "schema": SCHEMA}, for free. */
static inline char *spec_of(const char *schema)
{
    char *spec = NULL;
    if (asprintf(&spec, "{\"type\":\"json_schema\",\"schema\":%s}", schema) < 0) abort();
    return spec;
}

static inline int32_t reader_start(struct reader *r)
{
    struct reading begin = {r->g.start, pushdown_bottom(&r->p)};
    return pushdown_place(&r->p, &begin, 1, false);
}

/* How many of the bytes can be read, and whether the text may end behind them. */
static inline size_t reader_read(struct reader *r, const char *s, size_t n, bool *ends)
{
    int32_t at = reader_start(r);
    for (size_t i = 0; i < n; i++) {
        at = pushdown_step(&r->p, at, (uint8_t)s[i], false);
        assert_int_not_equal(at, PLACE_FULL);
        if (at == PLACE_DEAD) return i;
    }
    *ends = r->p.places[at].ends;
    return n;
}

static inline uint32_t rig_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*seed >> 33);
}

/* Draws a text: any byte that can follow, and the end as soon as it may come after `enough` bytes; from then
 * on closing brackets and quotes come first, mostly. Adds to out; fails the test where nothing can follow.
 * False: still not at an end after `most` bytes. */
static inline bool reader_draw(struct reader *r, uint64_t *seed, size_t enough, size_t most, struct buf *out)
{
    int32_t at = reader_start(r);
    while (out->len < most) {
        uint8_t bytes[256], closing[256];
        int n = 0, n_closing = 0;
        const struct place *q = &r->p.places[at];
        if (q->ends && (out->len >= enough || !q->n)) return true;
        for (int c = 0; c < r->g.n_classes; c++) {
            uint8_t lo = r->g.byte_of[c], hi = lo;
            while (hi < 255 && r->g.class_of[hi + 1] == c) hi++;
            int32_t to = pushdown_step(&r->p, at, lo, true);
            assert_int_not_equal(to, PLACE_FULL);
            if (to == PLACE_DEAD) continue;
            bytes[n++] = (uint8_t)(lo + rig_random(seed) % (unsigned)(hi - lo + 1));
            if (lo == '"' || lo == ']' || lo == '}') closing[n_closing++] = lo;
        }
        if (!n) fail_msg("nothing can follow \"%.*s\"", (int)out->len, out->data);
        bool close = n_closing && out->len >= enough && rig_random(seed) % 4;
        uint8_t byte =
            close ? closing[rig_random(seed) % (unsigned)n_closing] : bytes[rig_random(seed) % (unsigned)n];
        at = pushdown_step(&r->p, at, byte, true);
        buf_byte(out, byte);
    }
    return false;
}

#endif
