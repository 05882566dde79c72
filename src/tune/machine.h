/* machine.h - what this machine is: processor, the CPUs and the memory that this process may use. */
#ifndef TUNE_MACHINE_H
#define TUNE_MACHINE_H

#include <stddef.h>

struct machine {
    char cpu[128];    /* as the system calls it; "" if it does not */
    int cpus;         /* that this process may use, by affinity and by the quota of its groups */
    int cpus_all;     /* of the machine */
    size_t memory;    /* bytes; 0 = unknown */
    size_t available; /* of it, without pushing anything out but what can be read again; 0 = unknown */
    size_t limit;     /* that the process's groups set; 0 = none */
};
void machine_look(struct machine *ret);

/* The processor's name alone. */
void machine_cpu(char *out, size_t cap);

/* Bytes of "MemAvailable: 123 kB" in a text as /proc/meminfo holds it; 0 if the name is not there. */
size_t machine_meminfo(const char *text, const char *name);

#endif
