/* checksum.c - four lanes of 64 bits, a word each in turn. A step is a bijection of the lane for a given word, and of
 * the word for a given lane, and so is the folding of a lane into the sum: a change in one word cannot vanish. */
#include "base/checksum.h"

#include <string.h>

enum { LANES = 4 };

static uint64_t step(uint64_t h, uint64_t word)
{
    h = (h ^ word) * 0x9e3779b97f4a7c15u;
    return h ^ h >> 29;
}

uint64_t checksum64(const void *p, size_t n)
{
    const unsigned char *s = p;
    uint64_t lane[LANES] = {1, 2, 3, 4}, words[LANES], sum = n;
    for (; n >= sizeof words; n -= sizeof words, s += sizeof words) {
        memcpy(words, s, sizeof words);
        for (int i = 0; i < LANES; i++) lane[i] = step(lane[i], words[i]);
    }
    memset(words, 0, sizeof words);
    if (n) memcpy(words, s, n);
    for (int i = 0; i < LANES; i++) sum = step(sum, step(lane[i], words[i]));
    return sum;
}
