/* kern.c - chooses the kernels: scalar first, then each instruction set overrides what it improves. */
#include "kern/kern.h"

#include <math.h>

void kern_init(struct kern *k, unsigned cpu_mask)
{
    unsigned have = cpu_detect() & cpu_mask;

    kern_init_ref(k);
#if defined(__x86_64__)
    if (have & CPU_AVX2) kern_init_avx2(k);
    if (have & CPU_AVX512) kern_init_avx512(k);
#elif defined(__aarch64__)
    if (have & CPU_NEON) kern_init_neon(k);
#endif
    k->name = cpu_name(have);
}

float kern_softplus(float x) { return x > 20 ? x : (float)log1p(exp((double)x)); }
