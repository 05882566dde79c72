/* linear.c - the one place where a matrix meets activations: chooses the kernel by the model's mode and splits rows
 * over threads. Knows matrices and rows, not what they mean. */
#include "model/model_internal.h"

/* Threads take whole cache lines of the output. */
#define ROWS_UNIT 16

struct linear_work {
    struct forward *f;
    enum profile_op op;
    const float *x;
    int n, cols;
    const struct linear *jobs;
    int n_jobs;
    float *residual;
};

void linear_rows(const struct forward *f, int thread, const struct matrix *w, int begin, int end,
                 const float *x, size_t ldx, const struct q8 *x8, size_t ldx8, int n, float *y, size_t ldy)
{
    const struct kern *k = &f->model->kern;
    if (begin >= end) return;
    forward_bytes(f, thread, (size_t)(end - begin) * (matrix_bytes(w) / w->rows));
    if (f->model->mode == MODEL_FAST && w->type == DT_U32)
        k->mat_rows_q8(w, (uint32_t)begin, (uint32_t)end, x8, ldx8, n, y, ldy);
    else
        k->mat_rows(w, (uint32_t)begin, (uint32_t)end, x, ldx, n, y, ldy);
}

void linear_to_q8(const struct forward *f, const float *x, size_t ldx, int n, int cols, struct q8 *out)
{
    for (int j = 0; j < n; j++) f->model->kern.q8_from(out + j, (size_t)n, x + (size_t)j * ldx, (size_t)cols);
}

static void prepare_job(void *arg, int thread, int n_threads)
{
    const struct linear_work *work = arg;
    int begin, end;
    forward_do(work->f, thread, PROFILE_QUANTIZE);
    pool_share(work->n, 1, thread, n_threads, &begin, &end);
    for (int j = begin; j < end; j++)
        work->f->model->kern.q8_from(work->f->input8 + j, (size_t)work->n,
                                     work->x + (size_t)j * (size_t)work->cols, (size_t)work->cols);
}

void linear_prepare(struct forward *f, const float *x, int n, int cols)
{
    struct linear_work work = {.f = f, .x = x, .n = n, .cols = cols};
    if (f->model->mode != MODEL_FAST) return;
    if (n <= VERIFY_ROWS_MAX) /* too little for waking others */
        prepare_job(&work, 0, 1);
    else
        forward_job(f, prepare_job, &work);
}

static void linear_job(void *arg, int thread, int n_threads)
{
    const struct linear_work *work = arg;
    forward_do(work->f, thread, work->op);
    for (int i = 0; i < work->n_jobs; i++) {
        const struct linear *job = &work->jobs[i];
        int begin, end;
        pool_share((int)job->w->rows, ROWS_UNIT, thread, n_threads, &begin, &end);
        linear_rows(work->f, thread, job->w, begin, end, work->x, job->w->cols, work->f->input8,
                    (size_t)work->n, work->n, job->y, job->w->rows);
        if (!work->residual) continue;
        for (int j = 0; j < work->n; j++) {
            size_t at = (size_t)j * job->w->rows;
            for (int r = begin; r < end; r++) work->residual[at + (size_t)r] += job->y[at + (size_t)r];
        }
    }
}

void linear_run(struct forward *f, enum profile_op op, const float *x, int n, const struct linear *jobs,
                int n_jobs)
{
    struct linear_work work = {.f = f, .op = op, .x = x, .n = n, .jobs = jobs, .n_jobs = n_jobs};
    linear_prepare(f, x, n, (int)jobs[0].w->cols);
    forward_job(f, linear_job, &work);
}

void linear_add(struct forward *f, enum profile_op op, const float *x, int n, struct linear job,
                float *residual)
{
    struct linear_work work = {
        .f = f, .op = op, .x = x, .n = n, .jobs = &job, .n_jobs = 1, .residual = residual};
    linear_prepare(f, x, n, (int)job.w->cols);
    forward_job(f, linear_job, &work);
}
