/* pushdown.h - reads a text by a grammar, byte by byte. Internal to text/.
 *
 * A place is everything that could be true after some text: a set of pairs of a state and a stack of frames
 * (calls to return from, loops with their counts). Places and frames are made when first met and kept once each,
 * so two places are the same if their numbers are, and where a byte leads from a place is looked up once it was
 * found. A place of text from which no end can be reached does not exist. One thread at a time. */
#ifndef TEXT_PUSHDOWN_H
#define TEXT_PUSHDOWN_H

#include "text/grammar.h"

enum {
    PLACE_FULL = -1, /* no room for a further place, or out of memory: reset, and read the text again */
    PLACE_NOT_YET,   /* (inside) */
    PLACE_DEAD,      /* the text is none of the grammar */
};

enum {
    FRAME_BOTTOM,  /* nothing is open */
    FRAME_UNKNOWN, /* what is open below is of no account */
    FRAME_CALL,
    FRAME_LOOP
};

struct frame {
    int32_t below; /* frame, -1 under BOTTOM and UNKNOWN */
    int32_t what;  /* CALL: state to go on with; LOOP: which */
    uint32_t count;
    uint8_t kind, depth; /* depth: calls below and with it */
    int32_t next_hashed;
};

struct reading {
    int32_t state, frame; /* a BYTE or TOKEN state */
};

#define PLACE_READINGS_MAX 4096

struct place {
    size_t first; /* of its readings */
    int32_t n;
    bool ends;   /* the text may end here */
    bool exits;  /* a rule may return to what is unknown */
    int32_t row; /* of the table of transitions, -1 = none yet */
    int32_t set; /* token_mask.c: of the tokens that may follow, -1 = none yet */
    int32_t next_hashed;
};

struct pushdown {
    const struct grammar *g;
    struct place *places;
    struct reading *readings;
    struct frame *frames;
    int32_t *rows; /* [n_rows][n_classes] */
    size_t n_places, n_readings, n_frames, n_rows;
    size_t cap_places, cap_readings, cap_frames, cap_rows;
    int32_t *place_hash, *frame_hash;
    struct closure *closure;
    uint64_t work,
        work_max; /* states followed since the caller set it to 0; beyond work_max all is full. 0 = no limit */
};

/* g must outlive it. */
bool pushdown_create(struct pushdown *p, const struct grammar *g, struct alula_error *e);
void pushdown_free(struct pushdown *p);
/* Forgets all places. */
void pushdown_reset(struct pushdown *p);

/* These return a place, PLACE_DEAD or PLACE_FULL. Behind one more byte. keep: look it up from now on, for
 * places that many tokens are tried from. */
int32_t pushdown_step(struct pushdown *p, int32_t place, uint8_t byte, bool keep);
/* Behind an added token. */
int32_t pushdown_token(struct pushdown *p, int32_t place, int32_t id);
/* What n states with their stacks lead to before the next byte; ends: the text may end here, too. */
int32_t pushdown_place(struct pushdown *p, const struct reading *readings, int n, bool ends);

/* The frame with this content, and that of an empty stack; -1 = no room. */
int32_t pushdown_frame(struct pushdown *p, struct frame f);
int32_t pushdown_bottom(struct pushdown *p);

#endif
