/* desk.h - a thread that does one thing after the other, for a thread that must not be kept waiting. */
#ifndef SERVE_DESK_H
#define SERVE_DESK_H

#include "alula.h"

struct desk;

/* Lies in what it is about; at a desk once at a time. */
struct desk_task {
    void (*run)(void *arg);
    void *arg;
    struct desk_task *next;
};

/* Errors: NOMEM, IO (no thread can be had). */
bool desk_create(struct desk **ret, struct alula_error *e);
/* Runs the task on the desk's thread, behind all that are there; at a closed desk at once, on the caller's. Any thread. */
void desk_take(struct desk *d, struct desk_task *task);
/* Returns when everything that was there is done, and the thread is over. */
void desk_close(struct desk *d);
void desk_free(struct desk *d); /* closed; NULL is fine */

#endif
