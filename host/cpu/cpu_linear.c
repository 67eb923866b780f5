/*
 * y [rows, out] = x [rows, in] W^T + bias + residual.
 *
 * Blocks of row_block rows and a number of columns that depends on the shapes alone, one thread a block. A block first gets bias and residual, then
 * BLAS adds the product: one pass less over y.
 */
#include "cpu_backend.h"

#include <string.h>

#include "cpu_blas.h"

enum { row_block = 256, least_columns = 96, wanted_blocks = 8 };

/* Enough blocks for several threads, yet wide enough that BLAS's packing of x stays small beside the product. */
static size_t column_block(size_t row_blocks, size_t out) {
    size_t parts = (wanted_blocks + row_blocks - 1) / row_blocks;
    size_t columns = (out + parts - 1) / parts;
    columns = (columns + 15) / 16 * 16;
    return columns < least_columns ? least_columns : columns;
}

static void start_block(size_t rows, size_t columns, size_t stride, const float *bias, const float *residual, float *y) {
    for (size_t row = 0; row < rows; row++) {
        float *target = y + row * stride;
        const float *rest = residual ? residual + row * stride : NULL;
        if (rest && bias) {
            for (size_t column = 0; column < columns; column++)
                target[column] = rest[column] + bias[column];
        } else {
            memcpy(target, rest ? rest : bias, columns * sizeof *target);
        }
    }
}

enum cx_status cpu_linear(struct cx_backend *backend, size_t rows, const struct cx_tensor *x, const struct cx_matrix *matrix, const struct cx_tensor *bias,
                          const struct cx_tensor *residual, struct cx_tensor *y, struct cx_error *error) {
    const struct cpu_backend *cpu = cpu_backend_of(backend);
    size_t in = matrix->in, out = matrix->out;
    const struct cpu_argument arguments[] = {
        CPU_FLOATS(x, rows * in),
        CPU_OPTIONAL(bias, out),
        CPU_OPTIONAL(residual, rows * out),
        CPU_FLOATS(y, rows * out),
    };
    enum cx_status status = CPU_CHECK_ALL("linear", arguments, error);
    if (status != CX_OK)
        return status;

    size_t row_blocks = (rows + row_block - 1) / row_block;
    size_t columns = column_block(row_blocks ? row_blocks : 1, out);
    size_t column_blocks = (out + columns - 1) / columns;
#pragma omp parallel for schedule(dynamic) num_threads(cpu->threads)
    for (size_t block = 0; block < row_blocks * column_blocks; block++) {
        size_t row = block / column_blocks * row_block, column = block % column_blocks * columns;
        size_t block_rows = rows - row < row_block ? rows - row : row_block;
        size_t block_columns = out - column < columns ? out - column : columns;
        float *target = y->values + row * out + column;
        bool started = bias || residual;
        if (started)
            start_block(block_rows, block_columns, out, bias ? bias->values + column : NULL, residual ? residual->values + row * out + column : NULL, target);
        cpu_sgemm(true, block_rows, block_columns, in, x->values + row * in, in, matrix->weight + column * in, in, started ? 1.0f : 0.0f, target, out);
    }
    return CX_OK;
}
