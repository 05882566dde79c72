/* machine.c - asks Linux about the machine. Measures nothing. What cannot be found out stays 0. */
#include "tune/machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/pool.h"

/* A small file as text; "" if it cannot be read. */
static void slurp(struct buf *b, const char *path)
{
    struct alula_error e;
    buf_init(b, 4 << 20);
    if (!file_read(path, 0, b, &e)) buf_clear(b);
    buf_add(b, "", 0);
}

static void read_cpu(const char *text, char *out, size_t cap)
{
    const char *at = strstr(text, "model name");
    out[0] = '\0';
    if (!at || !(at = strchr(at, ':'))) return;
    at += 1 + strspn(at + 1, " \t");
    snprintf(out, cap, "%.*s", (int)strcspn(at, "\n"), at);
}

void machine_cpu(char *out, size_t cap)
{
    struct buf b;
    slurp(&b, "/proc/cpuinfo");
    read_cpu(b.data ? b.data : "", out, cap);
    buf_free(&b);
}

size_t machine_meminfo(const char *text, const char *name)
{
    size_t n = strlen(name);
    for (const char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
        if (strncmp(line, name, n) == 0 && line[n] == ':')
            return (size_t)strtoull(line + n + 1, NULL, 10) * 1024;
    return 0;
}

/* A number in a file of a control group; 0 if there is none, or if it stands for "no limit". */
static size_t group_number(const char *dir, const char *name)
{
    char path[4200];
    struct buf b;
    snprintf(path, sizeof path, "%.4000s/%s", dir, name);
    slurp(&b, path);
    unsigned long long v = b.data ? strtoull(b.data, NULL, 10) : 0;
    buf_free(&b);
    return v < 1ull << 60 ? (size_t)v : 0;
}

/* The smallest limit of the process's group and of all groups above it, and what is left of it. */
static void look_at_groups(struct machine *m, size_t *left)
{
    char dir[4000];
    struct buf b;
    slurp(&b, "/proc/self/cgroup");
    const char *own = b.data ? strstr(b.data, "0::/") : NULL; /* version 2 */
    snprintf(dir, sizeof dir, "/sys/fs/cgroup%.*s", own ? (int)strcspn(own + 3, "\n") : 0,
             own ? own + 3 : "");
    buf_free(&b);
    for (char *end = dir + strlen(dir); end; end = strrchr(dir, '/')) {
        *end = '\0';
        size_t limit = group_number(dir, "memory.max"), used = group_number(dir, "memory.current");
        if (!limit || (m->limit && limit >= m->limit)) continue;
        m->limit = limit;
        *left = limit > used ? limit - used : 0;
    }
}

void machine_look(struct machine *ret)
{
    struct machine m = {.cpus = pool_cpu_count(), .cpus_all = (int)sysconf(_SC_NPROCESSORS_ONLN)};
    struct buf b;
    size_t left = 0;
    machine_cpu(m.cpu, sizeof m.cpu);
    slurp(&b, "/proc/meminfo");
    m.memory = machine_meminfo(b.data ? b.data : "", "MemTotal");
    m.available = machine_meminfo(b.data ? b.data : "", "MemAvailable");
    buf_free(&b);
    look_at_groups(&m, &left);
    if (m.limit && left < m.available) m.available = left;
    *ret = m;
}
