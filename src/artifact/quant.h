/* quant.h - MLX affine quantization, byte-equal to mlx on a CPU.
 *
 * The rule (all float32, every operation rounded once) is spelled out above quant_rows in quant.c. */
#ifndef ARTIFACT_QUANT_H
#define ARTIFACT_QUANT_H

#include "base/err.h"
#include "kern/matrix.h"

/* True for bits 2 3 4 5 6 8 and group 32 64 128. */
bool quant_supported(int bits, int group);

/* Quantizes rows of `cols` values of type `type` (F32, F16, BF16). words: [rows][cols*bits/32]; scales, biases:
 * [rows][cols/group] in type `type`. cols is a multiple of group. Threads: any, on disjoint rows.
 * Returns false on a NaN, an infinity, or a range whose scale is not finite, and sets *bad_row. */
bool quant_rows(const void *src, enum dtype type, size_t rows, size_t cols, int bits, int group, uint32_t *words,
                void *scales, void *biases, size_t *bad_row);

#endif
