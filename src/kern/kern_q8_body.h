/* kern_q8_body.h - what the fast matrix products of all instruction sets share; included by each kern_ISA.c
 * after kern_body.h.
 *
 * Weights stay where they lie, in MLX's rows: no copy of the model, no cache file, no start-up time, one page
 * cache for all processes. Packed blocks (16 rows interleaved, scales beside the codes) would save turning
 * the rows in registers. Measured on Zen 4, AVX-512, four bits, one thread of a shared machine, GB/s (95th of
 * 100) with 1, 2, 4, 8 activation rows:
 *
 *     in a cache    in place  36  29  21  12     packed  52  42  26  13
 *     from memory   in place  27  25  19  11     packed  24  25  23  10     plain read 26 to 30
 *
 * One row, which is what most experts see even in a verify batch, already runs at about the speed of reading;
 * packing wins where the processor is the limit, at three and four rows, and that does not pay for a second
 * copy of the model. What reading in place needs is prefetching by hand: the rows of a block are many short
 * streams, which the hardware's prefetchers do not follow (9 GB/s without). */
#ifndef KERN_Q8_BODY_H
#define KERN_Q8_BODY_H

/* A code spans at most two bytes. */
static inline unsigned code_at(const unsigned char *row, const unsigned char *end, unsigned bits, size_t i)
{
    const unsigned char *p = row + i * bits / 8;
    unsigned window = p[0] | (p + 1 < end ? (unsigned)p[1] << 8 : 0);
    return window >> i * bits % 8 & ((1u << bits) - 1);
}

/* Where column i of a group stands in q8.code. */
static inline unsigned q8_place(unsigned i) { return (i & ~7u) | (i & 1) << 2 | (i >> 1 & 3); }

/* One row of weights with one group of min(group, 64) columns, beginning at column c, on n activation rows.
 */
static void q8_group(const struct matrix *w, uint32_t r, uint32_t c, const struct q8 *x, size_t ldx, int n,
                     float *acc)
{
    const unsigned char *row = (const unsigned char *)w->data + r * matrix_row_bytes(w);
    size_t at = (size_t)r * (w->cols / w->group) + c / w->group;
    float scale = value_f32(w->scales, w->scale_type, at), bias = value_f32(w->biases, w->scale_type, at);
    unsigned width = w->group < 64 ? w->group : 64, first = c % 64;
    int code[64];

    if (width > w->cols - c) width = w->cols - c;
    for (unsigned i = 0; i < width; i++)
        code[i] = (int)code_at(row, row + matrix_row_bytes(w), w->bits, c + i);
    for (int j = 0; j < n; j++) {
        const struct q8 *q = &x[c / 64 * ldx + j];
        int sum = 0;
        for (unsigned i = 0; i < width; i++) sum += code[i] * q->code[q8_place(first + i)];
        float product = (float)sum * scale * q->scale,
              offset = bias * (w->group < 64 ? q->half[first / 32] : q->sum);
        acc[j] += product + offset;
    }
}

static void mat_rows_q8_plain(const struct matrix *w, uint32_t r0, uint32_t r1, struct mat_at next,
                              const struct q8 *x, size_t ldx, int n, float *y, size_t ldy)
{
    (void)next;
    uint32_t step = w->group < 64 ? w->group : 64;

    for (int j0 = 0; j0 < n; j0 += XROWS) {
        int some = n - j0 < XROWS ? n - j0 : XROWS;
        for (uint32_t r = r0; r < r1; r++) {
            float acc[XROWS] = {0};
            for (uint32_t c = 0; c < w->cols; c += step) q8_group(w, r, c, x + j0, ldx, some, acc);
            for (int j = 0; j < some; j++) y[(size_t)(j0 + j) * ldy + r] = acc[j];
        }
    }
}

#if LANES > 4

/* What the block after the next will read, in the order in which it lies, while this one computes. Into the
 * second level: rows a power of two apart would push each other out of the first. */
struct ahead {
    const char *codes, *scales, *biases;
    uint32_t code_step, scale_step;
};

/* A range of rows of a matrix, and where reading goes on. */
struct range {
    uint32_t end;
    struct mat_at next;
};

/* For the block at `row`: the block after the next, of the range or of what follows. */
static inline struct ahead ahead_of(const struct matrix *w, uint32_t row, const struct range *range)
{
    const struct matrix *from = w;
    size_t at = row + 2 * LANES;
    uint32_t code_step = LANES * w->group * w->bits / 8,
             scale_step = LANES * (uint32_t)value_size(w->scale_type);
    if (at + LANES > range->end) {
        if (range->next.w) from = range->next.w;
        at = !range->next.w ? row : range->next.row + (row + LANES < range->end ? 0 : LANES);
        if (at + LANES > from->rows) at = from->rows > LANES ? from->rows - LANES : 0;
    }
    size_t code_row = (size_t)from->cols * from->bits / 8,
           scale_row = from->cols / from->group * value_size(from->scale_type);
    if (from->cols != w->cols) { /* as many steps as this block has */
        uint32_t n_groups = w->cols / w->group;
        code_step = (uint32_t)(LANES * code_row / n_groups);
        scale_step = (uint32_t)(LANES * scale_row / n_groups);
    }
    return (struct ahead){
        .codes = (const char *)from->data + at * code_row,
        .scales = (const char *)from->scales + at * scale_row,
        .biases = (const char *)from->biases + at * scale_row,
        .code_step = code_step,
        .scale_step = scale_step,
    };
}

static inline void ahead_step(struct ahead *a)
{
    for (uint32_t i = 0; i < a->code_step; i += 64) __builtin_prefetch(a->codes + i, 0, 2);
    __builtin_prefetch(a->scales, 0, 2);
    __builtin_prefetch(a->biases, 0, 2);
    a->codes += a->code_step;
    a->scales += a->scale_step;
    a->biases += a->scale_step;
}

/* Rows row .. row+LANES-1 of the range with n <= XROWS activation rows; acc[j] receives a lane per row. */
static void q8_block(const struct matrix *w, uint32_t row, const struct range *range, const struct q8 *x,
                     size_t ldx, int n, vf *acc);

/* The last block of a range shifts back where it would leave the matrix; a matrix smaller than a block goes
 * the plain way. */
static void mat_rows_q8(const struct matrix *w, uint32_t r0, uint32_t r1, struct mat_at next,
                        const struct q8 *x, size_t ldx, int n, float *y, size_t ldy)
{
    vf acc[XROWS];
    struct range range = {r1, next};

    if (w->rows < LANES) {
        mat_rows_q8_plain(w, r0, r1, next, x, ldx, n, y, ldy);
        return;
    }
    for (int j0 = 0; j0 < n; j0 += XROWS) {
        int some = n - j0 < XROWS ? n - j0 : XROWS;
        for (uint32_t r = r0; r < r1; r += LANES) {
            uint32_t row = r + LANES <= w->rows ? r : w->rows - LANES;
            uint32_t count = r1 - r < LANES ? r1 - r : LANES;
            q8_block(w, row, &range, x + j0, ldx, some, acc);
            for (int j = 0; j < some; j++)
                memcpy(y + (size_t)(j0 + j) * ldy + r, (const float *)&acc[j] + (r - row), count * sizeof *y);
        }
    }
}

#endif
#endif
