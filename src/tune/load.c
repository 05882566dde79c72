/* load.c - what else runs on this machine. /proc/loadavg's averages lag by a minute and would count the last
 * measurement against the next; its fourth field, tasks that run now, is looked at several times instead. */
#include "tune/load.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"

enum { LOOKS = 25, PAUSE_NS = 10 * 1000 * 1000 };

bool load_parse(const char *text, int *ret)
{
    double a, b, c;
    int running, total;
    if (sscanf(text, "%lf %lf %lf %d/%d", &a, &b, &c, &running, &total) != 5 || running < 0) return false;
    *ret = running;
    return true;
}

int load_now(void)
{
    struct buf text;
    struct alula_error e;
    int running = 0;
    buf_init(&text, 4096);
    bool ok = file_read("/proc/loadavg", 4096, &text, &e) && load_parse(text.data, &running);
    buf_free(&text);
    return ok && running > 1 ? running - 1 : 0; /* one of them is this thread */
}

double load_others(void)
{
    double sum = 0;
    for (int i = 0; i < LOOKS; i++) {
        sum += load_now();
        nanosleep(&(struct timespec){.tv_nsec = PAUSE_NS}, NULL);
    }
    return sum / LOOKS;
}

/* Half a task is the housekeeping of any machine. */
bool load_is_busy(double others, int n_threads, int n_cpus)
{
    int spare = n_cpus > n_threads ? n_cpus - n_threads : 0;
    return others > spare + 0.5;
}

int load_machine_cpus(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (int)n : 1;
}
