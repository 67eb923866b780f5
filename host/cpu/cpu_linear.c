/*
 * y [rows, out] = x [rows, in] W^T + bias + residual.
 *
 * An item packs one strip of the weights' columns and multiplies it by all rows or by a part of them. How many parts there are depends on the number of
 * threads, but what is computed for a row does not depend on the part that it is in.
 */
#include "cpu_backend.h"

#include <omp.h>
#include <string.h>

/* few_rows: below, packing costs more than it gives. least_part_rows: rows over which a strip's packing costs less than a tenth. */
enum { few_rows = 6, dot_block = 16, items_a_thread = 3, least_part_rows = 96 };

struct linear_job {
    const struct cpu_backend *cpu;
    size_t rows, in, out;
    const float *x, *weight, *bias, *residual;
    float *y;
};

/* bias + residual, to which the product is added. */
static void start_block(const struct linear_job *job, size_t row, size_t rows, size_t column, size_t columns) {
    for (size_t r = row; r < row + rows; r++) {
        float *target = job->y + r * job->out + column;
        const float *bias = job->bias ? job->bias + column : NULL, *rest = job->residual ? job->residual + r * job->out + column : NULL;
        if (rest && bias) {
            for (size_t k = 0; k < columns; k++)
                target[k] = rest[k] + bias[k];
        } else if (rest || bias) {
            memcpy(target, rest ? rest : bias, columns * sizeof *target);
        } else {
            memset(target, 0, columns * sizeof *target);
        }
    }
}

static void multiply_few_rows(const struct linear_job *job) {
    size_t blocks = (job->out + dot_block - 1) / dot_block;
#pragma omp parallel for schedule(static) num_threads(job->cpu->threads) if (job->in * job->out > 65536)
    for (size_t block = 0; block < blocks; block++) {
        size_t first = block * dot_block, end = first + dot_block < job->out ? first + dot_block : job->out;
        start_block(job, 0, job->rows, first, end - first);
        for (size_t column = first; column < end; column++)
            job->cpu->kernels->dot_products(job->rows, job->in, job->x, job->in, job->weight + column * job->in, job->y + column, job->out);
    }
}

/* A strip of the weights, packed in the thread's own memory, times a part of the rows. */
static void multiply_strip(const struct linear_job *job, size_t column, size_t row, size_t rows) {
    const struct cpu_kernels *kernels = job->cpu->kernels;
    size_t columns = job->out - column < CPU_STRIP ? job->out - column : CPU_STRIP;
    float *packed = cpu_scratch(job->cpu, omp_get_thread_num()), *target = job->y + row * job->out + column;
    const float *start = job->bias ? job->bias + column : job->residual ? job->residual + row * job->out + column : NULL;
    size_t start_stride = job->bias ? 0 : job->out;
    kernels->pack_rows(columns, job->in, job->weight + column * job->in, job->in, packed);
    if (job->bias && job->residual) {
        start_block(job, row, rows, column, columns);
        start = target;
        start_stride = job->out;
    }
    kernels->product(rows, columns, job->in, start, start_stride, job->x + row * job->in, job->in, packed, target, job->out);
}

/* Rows are divided only where the strips alone are too few for the threads, as every part packs its strip again. */
static void multiply_packed(const struct linear_job *job) {
    size_t strips = (job->out + CPU_STRIP - 1) / CPU_STRIP, threads = (size_t)job->cpu->threads;
    size_t parts = (items_a_thread * threads + strips - 1) / strips, part_rows = (job->rows + parts - 1) / parts;
    part_rows = part_rows < least_part_rows ? least_part_rows : part_rows;
    parts = (job->rows + part_rows - 1) / part_rows;
#pragma omp parallel for schedule(dynamic) num_threads(job->cpu->threads)
    for (size_t item = 0; item < strips * parts; item++) {
        size_t row = item / strips * part_rows, rows = job->rows - row < part_rows ? job->rows - row : part_rows;
        multiply_strip(job, item % strips * CPU_STRIP, row, rows);
    }
}

enum cx_status cpu_linear(struct cx_backend *backend, enum cx_linear_use use, size_t rows, const struct cx_tensor *x, const struct cx_matrix *matrix,
                          const struct cx_tensor *bias, const struct cx_tensor *residual, struct cx_tensor *y, struct cx_error *error) {
    struct cpu_backend *cpu = cpu_backend_of(backend);
    size_t in = matrix->in, out = matrix->out;
    (void)use; /* float32 in any case */
    const struct cpu_argument arguments[] = {
        CPU_FLOATS(x, rows * in),
        CPU_OPTIONAL(bias, out),
        CPU_OPTIONAL(residual, rows * out),
        CPU_FLOATS(y, rows * out),
    };
    enum cx_status status = CPU_CHECK_ALL("linear", arguments, error);
    if (status == CX_OK && rows >= few_rows)
        status = cpu_scratch_reserve(cpu, in * CPU_STRIP * sizeof(float), error);
    if (status != CX_OK)
        return status;
    struct linear_job job = {
        .cpu = cpu,
        .rows = rows,
        .in = in,
        .out = out,
        .x = x->values,
        .weight = matrix->weight,
        .bias = bias ? bias->values : NULL,
        .residual = residual ? residual->values : NULL,
        .y = y->values,
    };
    if (rows < few_rows)
        multiply_few_rows(&job);
    else
        multiply_packed(&job);
    return CX_OK;
}
