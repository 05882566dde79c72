/* measure.h - how an artifact is measured: the options that forge and forge verify share, and the call behind them. */
#ifndef CLI_MEASURE_H
#define CLI_MEASURE_H

#include "base/opt.h"
#include "forge/verify.h"

/* 0 and NULL: what verify.h takes then. */
struct measure_options {
    const char *calib; /* file */
    int positions, prompts, max_tokens;
};

/* Rows of a command's table; at: where in its options the struct lies. */
/* clang-format off */
#define MEASURE_OPTIONS(at) \
    {.name = "calib", .arg = "FILE", .type = OPT_STR, \
     .offset = (at) + offsetof(struct measure_options, calib), \
     .fallback = "a text of its own", .help = "The text to measure on."}, \
    {.name = "positions", .arg = "N", .type = OPT_INT, \
     .offset = (at) + offsetof(struct measure_options, positions), \
     .min = CALIBRATE_POSITIONS_MIN, .max = 1 << 20, \
     .fallback = "512", .help = "Places of the text at which drafts are judged."}, \
    {.name = "prompts", .arg = "N", .type = OPT_INT, \
     .offset = (at) + offsetof(struct measure_options, prompts), \
     .min = 1, .max = VERIFY_PROMPTS_MAX, \
     .fallback = "4", .help = "Answers whose text is compared between depths."}, \
    {.name = "max-tokens", .arg = "N", .type = OPT_INT, \
     .offset = (at) + offsetof(struct measure_options, max_tokens), \
     .min = 1, .max = 4096, \
     .fallback = "64", .help = "Tokens of each answer."}
/* clang-format on */

/* Reads the text into *text (buf_free) and fills in text and counts of vo. */
bool measure_open(struct verify_options *vo, struct buf *text, const struct measure_options *m,
                  struct alula_error *e);
/* verify_run with progress on the terminal. */
bool measure_artifact(struct verify *ret, const struct verify_options *vo, struct alula_error *e);

#endif
