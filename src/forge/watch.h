/* watch.h - how a long measurement tells how far it is, and is told to stop. */
#ifndef FORGE_WATCH_H
#define FORGE_WATCH_H

#include "base/err.h"

/* tell (may be NULL) is called now and then from the caller's thread: `what` says which part is under way
 * ("reading the text"), done of total are steps of that part (of a forge: bytes). When it returns false the
 * work ends with ALULA_CANCELLED. */
struct watch {
    bool (*tell)(void *arg, const char *what, uint64_t done, uint64_t total);
    void *arg;
};

/* watch may be NULL. */
static inline bool watch_tell(const struct watch *w, const char *what, uint64_t done, uint64_t total,
                              struct alula_error *e)
{
    return !w || !w->tell || w->tell(w->arg, what, done, total) || err_set(e, ALULA_CANCELLED, "stopped");
}

#endif
