/* linear.c - the one place where a matrix meets activations: chooses the kernel and splits rows over threads.
 * Knows matrices and rows, not what they mean. */
#include "model/model_internal.h"

/* Threads take whole cache lines of the output. */
#define ROWS_UNIT 16

struct linear_work {
    const struct forward *f;
    const float *x;
    int n;
    const struct linear *jobs;
    int n_jobs;
    float *residual;
};

void linear_rows(const struct forward *f, const struct matrix *w, int begin, int end, const float *x,
                 size_t ldx, int n, float *y, size_t ldy)
{
    if (begin < end) f->model->kern.mat_rows(w, (uint32_t)begin, (uint32_t)end, x, ldx, n, y, ldy);
}

static void linear_job(void *arg, int thread, int n_threads)
{
    const struct linear_work *work = arg;
    for (int i = 0; i < work->n_jobs; i++) {
        const struct linear *job = &work->jobs[i];
        int begin, end;
        pool_share((int)job->w->rows, ROWS_UNIT, thread, n_threads, &begin, &end);
        linear_rows(work->f, job->w, begin, end, work->x, job->w->cols, work->n, job->y, job->w->rows);
        if (!work->residual) continue;
        for (int j = 0; j < work->n; j++) {
            size_t at = (size_t)j * job->w->rows;
            for (int r = begin; r < end; r++) work->residual[at + (size_t)r] += job->y[at + (size_t)r];
        }
    }
}

void linear_run(struct forward *f, const float *x, int n, const struct linear *jobs, int n_jobs)
{
    struct linear_work work = {f, x, n, jobs, n_jobs, NULL};
    pool_run(f->pool, linear_job, &work);
}

void linear_add(struct forward *f, const float *x, int n, struct linear job, float *residual)
{
    struct linear_work work = {f, x, n, &job, 1, residual};
    pool_run(f->pool, linear_job, &work);
}
