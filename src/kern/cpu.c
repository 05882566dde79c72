/* cpu.c - detection of instruction sets: CPUID and XGETBV, or what the kernel says of an ARM. Knows nothing of
 * kernels. */
#include "kern/cpu.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>

/* The register sets that the operating system saves. */
static uint64_t saved_state(void)
{
    uint32_t lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (uint64_t)hi << 32 | lo;
}

static unsigned machine_has(void)
{
    enum { FMA = 1 << 12, OSXSAVE = 1 << 27, F16C = 1 << 29, AVX2 = 1 << 5, VNNI = 1 << 11 };
    const uint32_t avx512 = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31; /* F, DQ, BW, VL */
    const uint64_t ymm = 6, zmm = 0xe6;
    uint32_t a, b, c, d;

    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & OSXSAVE) || !(c & FMA) || !(c & F16C)) return 0;
    uint64_t saved = saved_state();
    if ((saved & ymm) != ymm) return 0;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & AVX2)) return 0;
    if ((saved & zmm) != zmm || (b & avx512) != avx512 || !(c & VNNI)) return CPU_AVX2;
    return CPU_AVX2 | CPU_AVX512;
}

#elif defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>

static unsigned machine_has(void) { return getauxval(AT_HWCAP) & HWCAP_ASIMDDP ? CPU_NEON : 0; }

#else

static unsigned machine_has(void) { return 0; }

#endif

static unsigned allowed = CPU_ALL;

unsigned cpu_detect(void) { return machine_has() & allowed; }

void cpu_restrict(unsigned mask) { allowed = mask; }

static const struct {
    const char *name;
    unsigned bit, limit;
} levels[] = {
    {"avx512", CPU_AVX512, CPU_AVX512 | CPU_AVX2},
    {"avx2", CPU_AVX2, CPU_AVX2},
    {"neon", CPU_NEON, CPU_NEON},
    {"all", 0, CPU_ALL},
    {"scalar", 0, 0},
};

bool cpu_limit(const char *name, unsigned *mask)
{
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
        if (strcmp(name, levels[i].name) == 0) {
            *mask = levels[i].limit;
            return true;
        }
    return false;
}

const char *cpu_name(unsigned mask)
{
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
        if (mask & levels[i].bit) return levels[i].name;
    return "scalar";
}
