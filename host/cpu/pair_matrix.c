#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "contexture/memory.h"
#include "cpu_backend.h"
#include "pair_kernel.h"

static size_t round_up(size_t value, size_t unit) {
    return (value + unit - 1) / unit * unit;
}

/* W2 [d, f] → rows first .. first + rows of W2c [f, d], less their means, with zeros in columns from d on and in rows from f on. */
static void centre_rows(const float *weight, struct cx_pair_matrix *matrix, size_t first, size_t rows, float *centred) {
    enum { square = 16 };
    const size_t width = matrix->width, depth = matrix->depth, padded = matrix->padded_width;
    memset(centred, 0, rows * padded * sizeof *centred);
    size_t existing = first >= depth ? 0 : depth - first < rows ? depth - first : rows;
    for (size_t column = 0; column < width; column += square) {
        size_t end = width - column < square ? width : column + square;
        for (size_t row = 0; row < existing; row++) {
            for (size_t c = column; c < end; c++)
                centred[row * padded + c] = weight[c * depth + first + row];
        }
    }
    for (size_t row = 0; row < existing; row++) {
        float *values = centred + row * padded;
        double sum = 0;
        for (size_t c = 0; c < width; c++)
            sum += (double)values[c];
        double mean = sum / (double)width;
        for (size_t c = 0; c < width; c++)
            values[c] = (float)((double)values[c] - mean);
        matrix->row_means[first + row] = (float)mean;
    }
}

/* W2c s of these rows, as they will be packed; returns the sum of their squares. */
static double sum_rows(struct cx_pair_matrix *matrix, size_t first, size_t rows, const float *centred) {
    double squares = 0;
    for (size_t row = 0; row < rows; row++) {
        const float *values = centred + row * matrix->padded_width;
        double sum = 0;
        for (size_t c = 0; c < matrix->width; c++) {
            sum += (double)values[c] * (double)matrix->signs[c];
            squares += (double)values[c] * (double)values[c];
        }
        matrix->checks[first + row] = (float)sum;
    }
    return squares;
}

static enum cx_status pack_blocks(const float *weight, int threads, struct cx_pair_matrix *matrix, struct cx_error *error) {
    const size_t padded = matrix->padded_width, blocks = (matrix->padded_depth + PAIR_DEPTH - 1) / PAIR_DEPTH;
    const size_t block_elements = PAIR_DEPTH * padded;
    float *centred = NULL;
    double *squares = NULL;
    enum cx_status status = cpu_allocate((size_t)threads * block_elements, sizeof *centred, "packing a feed-forward weight", &centred, error);
    if (status == CX_OK)
        status = cx_allocate(blocks, sizeof *squares, "packing a feed-forward weight", &squares, error);
    if (status != CX_OK)
        goto cleanup;
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (size_t block = 0; block < blocks; block++) {
        float *rows = centred + (size_t)omp_get_thread_num() * block_elements;
        size_t first = block * PAIR_DEPTH, left = matrix->padded_depth - first, depth = left < PAIR_DEPTH ? left : PAIR_DEPTH;
        centre_rows(weight, matrix, first, depth, rows);
        matrix->kernel->round(rows, depth * padded);
        squares[block] = sum_rows(matrix, first, depth, rows);
        matrix->kernel->pack(depth, padded, rows, (unsigned char *)matrix->packed + first * padded * matrix->kernel->operand_bytes);
    }
    matrix->norm = 0;
    for (size_t block = 0; block < blocks; block++)
        matrix->norm += squares[block];
    matrix->norm = sqrt(matrix->norm);
cleanup:
    free(squares);
    free(centred);
    return status;
}

static void release(struct cx_pair_matrix *matrix) {
    if (!matrix)
        return;
    free(matrix->packed);
    free(matrix->row_means);
    free(matrix->checks);
    free(matrix->signs);
    free(matrix->width_mask);
    free(matrix);
}

enum cx_status pair_matrix_pack(const struct cx_weight *weight, const struct pair_kernel *kernel, int threads, struct cx_pair_matrix **matrix,
                                struct cx_error *error) {
    struct cx_pair_matrix *created = NULL;
    float *values = NULL;
    size_t count, padded_count;
    *matrix = NULL;
    enum cx_status status = cx_allocate(1, sizeof *created, "a feed-forward weight", &created, error);
    if (status != CX_OK)
        return status;
    created->kernel = kernel;
    created->width = weight->rows;
    created->depth = weight->columns;
    created->padded_width = round_up(weight->rows, 2 * kernel->lanes);
    created->padded_depth = round_up(weight->columns, 2 * kernel->lanes);
    if (!cx_multiply(weight->rows, weight->columns, &count) || !cx_multiply(created->padded_width, created->padded_depth, &padded_count)) {
        status = cx_fail_memory(error, "a feed-forward weight", SIZE_MAX);
        goto cleanup;
    }
    status = cpu_allocate(count, sizeof *values, "a feed-forward weight", &values, error);
    if (status == CX_OK)
        status = cpu_allocate(padded_count, kernel->operand_bytes, "a packed feed-forward weight", &created->packed, error);
    if (status == CX_OK)
        status = cpu_allocate(created->padded_depth, sizeof *created->row_means, "the means of a feed-forward weight", &created->row_means, error);
    if (status == CX_OK)
        status = cpu_allocate(created->padded_depth, sizeof *created->checks, "the checksums of a feed-forward weight", &created->checks, error);
    if (status == CX_OK)
        status = cpu_allocate(created->padded_width, sizeof *created->signs, "the signs of a checksum", &created->signs, error);
    if (status == CX_OK)
        status = cpu_allocate(created->padded_width, sizeof *created->width_mask, "the mask of a feed-forward weight", &created->width_mask, error);
    if (status != CX_OK)
        goto cleanup;
    cx_weight_to_float(weight, values);
    for (size_t column = 0; column < created->width; column++) {
        created->width_mask[column] = 1.0f;
        created->signs[column] = cx_check_sign(column);
    }
    status = pack_blocks(values, threads, created, error);
    if (status != CX_OK)
        goto cleanup;
    *matrix = created;
    created = NULL;
cleanup:
    release(created);
    free(values);
    return status;
}

enum cx_status cpu_pair_matrix_create(struct cx_backend *backend, const struct cx_weight *weight, struct cx_pair_matrix **matrix, struct cx_error *error) {
    const struct cpu_backend *cpu = cpu_backend_of(backend);
    const struct pair_kernel *kernels[PAIR_MOST_KERNELS];
    *matrix = NULL;
    if (pair_kernels_list(cpu->pair_precision, kernels) == 0)
        return cx_fail(error, CX_ERROR_UNSUPPORTED, "pair precision bf16 needs a processor with AVX512-BF16, which this one does not have: use f32");
    if (weight->rows != backend->config.hidden_size || weight->columns != backend->config.intermediate_size)
        return cx_fail(error, CX_ERROR_INTERNAL, "pair_matrix_create: %s: expected [%zu, %zu], found [%zu, %zu]", weight->name, backend->config.hidden_size,
                       backend->config.intermediate_size, weight->rows, weight->columns);
    return pair_matrix_pack(weight, kernels[0], cpu->threads, matrix, error);
}

void cpu_pair_matrix_destroy(struct cx_backend *backend, struct cx_pair_matrix *matrix) {
    (void)backend;
    release(matrix);
}
