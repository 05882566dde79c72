/* sha256.h - SHA-256 (FIPS 180-4): what files and artifacts are known by. Plain data, any thread. */
#ifndef BASE_SHA256_H
#define BASE_SHA256_H

#include "base/err.h"

struct sha256 {
    uint32_t state[8];
    uint64_t len; /* bytes so far */
    unsigned char block[64];
    void (*compress)(uint32_t state[8], const unsigned char *blocks, size_t n);
};

#define SHA256_HEX 65 /* 64 digits and a NUL */

/* With the CPU's own instructions where it has them. */
void sha256_init(struct sha256 *s);
/* The same sum without them, several times slower: for comparison. */
void sha256_init_portable(struct sha256 *s);
void sha256_add(struct sha256 *s, const void *p, size_t n);
/* Lower-case digits. s is used up. */
void sha256_hex(struct sha256 *s, char out[SHA256_HEX]);

#endif
