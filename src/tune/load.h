/* load.h - is this machine doing something else? */
#ifndef TUNE_LOAD_H
#define TUNE_LOAD_H

#include "alula.h"

/* The tasks that run right now, of a text as /proc/loadavg holds it. False if it is not one. */
bool load_parse(const char *text, int *ret);

/* Tasks of others that want a CPU: now, beside the calling thread alone, and over about a quarter of a second. 0 where
 * the system does not tell. Linux counts the whole machine's, those of other containers too. */
int load_now(void);
double load_others(void);

/* Are n_cpus too few for `others` tasks and n_threads of ours? */
bool load_is_busy(double others, int n_threads, int n_cpus);

int load_machine_cpus(void); /* of the whole machine, as load_others counts */

#endif
