/* linear.c - the one place where a matrix meets activations: chooses the kernel by the model's mode and splits rows
 * over threads. Knows matrices and rows, not what they mean. */
#include "model/model_internal.h"

struct linear_work {
    struct forward *f;
    enum profile_op op;
    const float *x;
    int n, cols;
    const struct linear *jobs;
    int n_jobs;
    float *residual;
    int n_blocks; /* of rows, over all jobs */
};

void linear_rows(const struct forward *f, int thread, const struct matrix *w, int begin, int end,
                 struct mat_at next, const float *x, size_t ldx, const struct q8 *x8, size_t ldx8, int n,
                 float *y, size_t ldy)
{
    const struct kern *k = &f->model->kern;
    if (begin >= end) return;
    forward_bytes(f, thread, (size_t)(end - begin) * (matrix_bytes(w) / w->rows));
    if (f->model->mode == MODEL_FAST && w->type == DT_U32)
        k->mat_rows_q8(w, (uint32_t)begin, (uint32_t)end,
                       next.w && next.w->type == DT_U32 ? next : (struct mat_at){0}, x8, ldx8, n, y, ldy);
    else
        k->mat_rows(w, (uint32_t)begin, (uint32_t)end, x, ldx, n, y, ldy);
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

/* Where block number `block` begins; nowhere beyond the last. */
static struct mat_at place_of(const struct linear_work *work, int block)
{
    for (int i = 0; i < work->n_jobs; i++) {
        int n = row_blocks(work->jobs[i].w);
        if (block < n) return (struct mat_at){work->jobs[i].w, (uint32_t)(block * ROWS_UNIT)};
        block -= n;
    }
    return (struct mat_at){0};
}

static void job_rows(const struct linear_work *work, const struct linear *job, int begin, int end,
                     struct mat_at next, int thread)
{
    linear_rows(work->f, thread, job->w, begin, end, next, work->x, job->w->cols, work->f->input8,
                (size_t)work->n, work->n, job->y, job->w->rows);
    if (!work->residual) return;
    for (int j = 0; j < work->n; j++) {
        size_t at = (size_t)j * job->w->rows + (size_t)begin;
        work->f->model->kern.axpy(1, job->y + at, work->residual + at, (size_t)(end - begin));
    }
}

/* Blocks [begin, end); `after` is the thread's next one. */
static void run_blocks(const struct linear_work *work, int begin, int end, int after, int thread)
{
    for (int i = 0, first = 0; i < work->n_jobs; i++) {
        const struct linear *job = &work->jobs[i];
        int last = first + row_blocks(job->w), lo = begin > first ? begin : first,
            hi = end < last ? end : last;
        if (lo < hi) {
            int rows = (hi - first) * ROWS_UNIT;
            job_rows(work, job, (lo - first) * ROWS_UNIT, rows < (int)job->w->rows ? rows : (int)job->w->rows,
                     place_of(work, hi < end ? hi : after), thread);
        }
        first = last;
    }
}

static void linear_job(void *arg, int thread, int n_threads)
{
    struct linear_work *work = arg;
    int begin, end, next_begin, next_end;
    (void)n_threads;
    forward_do(work->f, thread, work->op);
    bool more = pool_take(work->f->pool, thread, &begin, &end);
    while (more) {
        more = pool_take(work->f->pool, thread, &next_begin, &next_end);
        run_blocks(work, begin, end, more ? next_begin : work->n_blocks, thread);
        begin = next_begin;
        end = next_end;
    }
}

static void run(struct linear_work *work)
{
    for (int i = 0; i < work->n_jobs; i++) work->n_blocks += row_blocks(work->jobs[i].w);
    if (work->x) linear_prepare(work->f, work->x, work->n, (int)work->jobs[0].w->cols);
    pool_deal(work->f->pool, work->n_blocks);
    forward_job(work->f, linear_job, work);
}

void linear_run(struct forward *f, enum profile_op op, const float *x, int n, const struct linear *jobs,
                int n_jobs)
{
    struct linear_work work = {.f = f, .op = op, .x = x, .n = n, .jobs = jobs, .n_jobs = n_jobs};
    run(&work);
}

void linear_add(struct forward *f, enum profile_op op, const float *x, int n, struct linear job,
                float *residual)
{
    struct linear_work work = {
        .f = f, .op = op, .x = x, .n = n, .jobs = &job, .n_jobs = 1, .residual = residual};
    run(&work);
}
