/* checksum.h - a fast 64-bit checksum against damage: of disks, of cut files, of mixed-up blocks. It does not
 * withstand forgers; who can write the file can write the checksum too. SHA-256 (sha256.h) is for names. */
#ifndef BASE_CHECKSUM_H
#define BASE_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

/* Any change within one aligned 8-byte word changes the result; other damage passes with 2^-64. By the machine's byte
 * order. Plain function, any thread. */
uint64_t checksum64(const void *p, size_t n);

#endif
