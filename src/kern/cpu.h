/* cpu.h - which instruction sets may be used.
 *
 * One bit stands for a set of features that ship together, and is set only if the operating system saves the
 * registers. */
#ifndef KERN_CPU_H
#define KERN_CPU_H

#include <stdbool.h>

enum {
    CPU_AVX2 = 1,   /* AVX2, FMA, F16C */
    CPU_AVX512 = 2, /* AVX-512 F, BW, VL, DQ and VNNI; implies CPU_AVX2 */
    CPU_NEON = 4,   /* AArch64 with dot products */
    CPU_ALL = 7,
};

/* What this machine can run and cpu_restrict has left. */
unsigned cpu_detect(void);
/* Nothing beyond the mask shall be used from now on, in the whole process. Before any other thread runs. */
void cpu_restrict(unsigned mask);
/* The mask of everything up to the level called name: "scalar", "avx2", "avx512", "neon", "all". False: no such
 * level. */
bool cpu_limit(const char *name, unsigned *mask);
/* Name of the best level in a mask: "avx512", "avx2", "neon" or "scalar". */
const char *cpu_name(unsigned mask);

#endif
