/* sysmem.c - reads /proc/meminfo and the control groups above this process. */
#include "base/sysmem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

#define GROUPS      "/sys/fs/cgroup"
#define MEMINFO_MAX ((size_t)64 << 10)

static uint64_t meminfo_available(void)
{
    struct buf b = {0};
    struct alula_error e;
    uint64_t kb = 0;
    if (file_read("/proc/meminfo", MEMINFO_MAX, &b, &e)) {
        const char *at = strstr(b.data, "MemAvailable:");
        if (at) kb = strtoull(at + strlen("MemAvailable:"), NULL, 10);
    }
    buf_free(&b);
    return kb << 10;
}

/* The number in a file, UINT64_MAX if it holds none ("max") or is not there. */
static uint64_t read_number(const char *dir, const char *name)
{
    char path[4096], text[32] = "", *end;
    snprintf(path, sizeof path, "%.3900s/%s", dir, name);
    FILE *f = fopen(path, "re");
    if (!f) return UINT64_MAX;
    if (!fgets(text, sizeof text, f)) text[0] = '\0';
    fclose(f);
    uint64_t n = strtoull(text, &end, 10);
    return end == text ? UINT64_MAX : n;
}

/* What the group and those above it leave. */
static uint64_t groups_leave(void)
{
    char line[4096], dir[4096] = "";
    uint64_t least = UINT64_MAX;
    FILE *f = fopen("/proc/self/cgroup", "re");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, "0::/", 4) == 0)
            snprintf(dir, sizeof dir, "%s%.*s", GROUPS, (int)strcspn(line + 3, "\n"), line + 3);
    if (f) fclose(f);
    while (strlen(dir) > strlen(GROUPS)) {
        uint64_t max = read_number(dir, "memory.max"), used = read_number(dir, "memory.current");
        if (max != UINT64_MAX && used != UINT64_MAX && (used < max ? max - used : 0) < least)
            least = used < max ? max - used : 0;
        *strrchr(dir, '/') = '\0';
    }
    return least;
}

uint64_t sysmem_available(void)
{
    uint64_t system = meminfo_available(), groups = groups_leave();
    return groups < system ? groups : system;
}
