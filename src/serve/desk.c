/* desk.c - a queue of tasks and its thread. Must not know what they are. */
#include "serve/desk.h"

#include <pthread.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

struct desk {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct desk_task *first, **end;
    bool closed;
};

static void *work(void *arg)
{
    struct desk *d = arg;
    pthread_mutex_lock(&d->lock);
    for (;;) {
        struct desk_task *task = d->first;
        if (task) {
            if (!(d->first = task->next)) d->end = &d->first;
            pthread_mutex_unlock(&d->lock);
            task->run(task->arg);
            pthread_mutex_lock(&d->lock);
        } else if (d->closed) {
            break;
        } else {
            pthread_cond_wait(&d->changed, &d->lock);
        }
    }
    pthread_mutex_unlock(&d->lock);
    return NULL;
}

bool desk_create(struct desk **ret, struct alula_error *e)
{
    struct desk *d = mem_zalloc(1, sizeof *d);
    if (!d) return err_set(e, ALULA_NOMEM, "out of memory for the server");
    d->end = &d->first;
    pthread_mutex_init(&d->lock, NULL);
    pthread_cond_init(&d->changed, NULL);
    int rc = pthread_create(&d->thread, NULL, work, d);
    if (rc) {
        desk_free(d);
        return err_set(e, ALULA_IO, "cannot start a thread that reads requests: %s", strerror(rc));
    }
    *ret = d;
    return true;
}

void desk_take(struct desk *d, struct desk_task *task)
{
    pthread_mutex_lock(&d->lock);
    bool closed = d->closed;
    if (!closed) {
        task->next = NULL;
        *d->end = task;
        d->end = &task->next;
        pthread_cond_signal(&d->changed);
    }
    pthread_mutex_unlock(&d->lock);
    if (closed) task->run(task->arg);
}

void desk_close(struct desk *d)
{
    pthread_mutex_lock(&d->lock);
    d->closed = true;
    pthread_cond_signal(&d->changed);
    pthread_mutex_unlock(&d->lock);
    pthread_join(d->thread, NULL);
}

void desk_free(struct desk *d)
{
    if (!d) return;
    pthread_mutex_destroy(&d->lock);
    pthread_cond_destroy(&d->changed);
    mem_free(d);
}
