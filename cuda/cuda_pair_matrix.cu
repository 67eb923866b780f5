/*
 * W2 [d, f] prepared for the pair product: W2c = its transpose less each row's mean over d, and the means w̄ [f].
 *
 * W2c is kept transposed, [d, f] as W2 itself is, since both operands of cuBLASLt's fastest products run along the sum. Rows are padded with zeros to a
 * multiple of 16 bytes. For float16 all numbers are multiplied with one power of two, so that the largest lies in 2^14 .. 2^15: from there down to 2^-14 the
 * format keeps its 11 bits, 29 binary orders below the largest weight.
 */
#include "cuda_backend.cuh"

#include <cmath>
#include <cstdlib>

/* In place: less the mean of every column of [rows, columns]; the means, too. */
static void centre_columns(size_t rows, size_t columns, float *values, float *means) {
    for (size_t column = 0; column < columns; column++) {
        double sum = 0.0;
        for (size_t row = 0; row < rows; row++)
            sum += static_cast<double>(values[row * columns + column]);
        const double mean = sum / static_cast<double>(rows);
        for (size_t row = 0; row < rows; row++)
            values[row * columns + column] = static_cast<float>(static_cast<double>(values[row * columns + column]) - mean);
        means[column] = static_cast<float>(mean);
    }
}

static void fill_float(size_t rows, size_t columns, size_t stride, const float *values, float *operand) {
    for (size_t row = 0; row < rows; row++) {
        for (size_t column = 0; column < columns; column++)
            operand[row * stride + column] = values[row * columns + column];
    }
}

/* W2c s of what is stored; returns its Frobenius norm. */
static double sum_columns(size_t rows, size_t columns, const float *values, double *sums, float *checks) {
    double squares = 0.0;
    for (size_t column = 0; column < columns; column++)
        sums[column] = 0.0;
    for (size_t row = 0; row < rows; row++) {
        const double sign = static_cast<double>(cx_check_sign(row));
        for (size_t column = 0; column < columns; column++) {
            const double stored = static_cast<double>(values[row * columns + column]);
            sums[column] += sign * stored;
            squares += stored * stored;
        }
    }
    for (size_t column = 0; column < columns; column++)
        checks[column] = static_cast<float>(sums[column]);
    return sqrt(squares);
}

static void release(struct cx_pair_matrix *matrix) {
    if (!matrix)
        return;
    cudaError_t code = cudaFree(matrix->centred);
    code = cudaFree(matrix->row_means);
    (void)code;
    free(matrix);
}

/* The host's arrays on the way to the device. */
struct preparation {
    float *values, *means, *checks;
    double *sums;
    void *operand;
    size_t element;
};

/* `is_given`: memory alone, for the numbers come from another process. */
static enum cx_status prepare(struct cx_pair_matrix *matrix, const struct cx_weight *weight, bool is_given, struct preparation *host, struct cx_error *error) {
    const size_t d = matrix->width, f = matrix->depth, stride = cuda_padded(f);
    size_t count, padded_count;
    if (!cx_multiply(d, f, &count) || !cx_multiply(d, stride, &padded_count))
        return cx_fail_memory(error, "a feed-forward weight", SIZE_MAX);
    host->element = matrix->precision == CX_PAIR_F16 ? sizeof(__half) : sizeof(float);
    enum cx_status status = cx_allocate(count, sizeof *host->values, "a feed-forward weight", &host->values, error);
    if (status == CX_OK)
        status = cx_allocate(f, sizeof *host->means, "the means of a feed-forward weight", &host->means, error);
    if (status == CX_OK)
        status = cx_allocate(f, sizeof *host->checks, "the checksums of a feed-forward weight", &host->checks, error);
    if (status == CX_OK)
        status = cx_allocate(f, sizeof *host->sums, "the checksums of a feed-forward weight", &host->sums, error);
    if (status == CX_OK)
        status = cx_allocate(padded_count, host->element, "a centred feed-forward weight", &host->operand, error);
    if (status != CX_OK || is_given)
        return status;
    cx_weight_to_float(weight, host->values);
    centre_columns(d, f, host->values, host->means);
    if (matrix->precision == CX_PAIR_F16) {
        matrix->scale_exponent = cuda_half_exponent(count, host->values);
        cuda_half_fill(d, f, stride, matrix->scale_exponent, host->values, static_cast<__half *>(host->operand));
    } else {
        fill_float(d, f, stride, host->values, static_cast<float *>(host->operand));
    }
    matrix->scaled_norm = static_cast<float>(sum_columns(d, f, host->values, host->sums, host->checks));
    return CX_OK;
}

static enum cx_status upload(struct cuda_backend *cuda, struct cx_pair_matrix *matrix, const struct preparation *host, struct cx_error *error) {
    const size_t count = matrix->width * cuda_padded(matrix->depth);
    enum cx_status status = cuda_allocate(cuda, count, host->element, "a centred feed-forward weight", &matrix->centred, error);
    if (status == CX_OK)
        status = cuda_upload_shared(cuda, "pair_matrix_create", matrix->centred, host->operand, count * host->element, error);
    if (status == CX_OK)
        status =
            cuda_allocate(cuda, 2 * matrix->depth, sizeof(float), "the means of a feed-forward weight", reinterpret_cast<void **>(&matrix->row_means), error);
    if (status == CX_OK)
        status = cuda_upload_shared(cuda, "pair_matrix_create", matrix->row_means, host->means, matrix->depth * sizeof(float), error);
    if (status != CX_OK)
        return status;
    matrix->checks = matrix->row_means + matrix->depth;
    status = cuda_upload_shared(cuda, "pair_matrix_create", matrix->checks, host->checks, matrix->depth * sizeof(float), error);
    if (status == CX_OK)
        status = cuda_team_share(cuda, "pair_matrix_create", &matrix->scale_exponent, sizeof matrix->scale_exponent, error);
    return status == CX_OK ? cuda_team_share(cuda, "pair_matrix_create", &matrix->scaled_norm, sizeof matrix->scaled_norm, error) : status;
}

enum cx_status cuda_pair_matrix_create(struct cx_backend *backend, const struct cx_weight *weight, struct cx_pair_matrix **matrix, struct cx_error *error) {
    struct cuda_backend *cuda = cuda_backend_of(backend);
    struct cx_pair_matrix *created = NULL;
    struct preparation host = {};
    *matrix = NULL;
    enum cx_status status = cuda_enter(cuda, "pair_matrix_create", false, error);
    if (status != CX_OK)
        return status;
    if (weight->rows != backend->config.hidden_size || weight->columns != backend->config.intermediate_size)
        return cx_fail(error, CX_ERROR_INTERNAL, "pair_matrix_create: %s: expected [%zu, %zu], found [%zu, %zu]", weight->name, backend->config.hidden_size,
                       backend->config.intermediate_size, weight->rows, weight->columns);
    status = cx_allocate(1, sizeof *created, "a feed-forward weight", &created, error);
    if (status != CX_OK)
        return status;
    created->width = weight->rows;
    created->depth = weight->columns;
    created->precision = cuda->pair_precision;
    status = prepare(created, weight, backend->is_given_weights, &host, error);
    if (status == CX_OK)
        status = upload(cuda, created, &host, error);
    if (status == CX_OK) {
        *matrix = created;
        created = NULL;
    }
    release(created);
    free(host.operand);
    free(host.sums);
    free(host.checks);
    free(host.means);
    free(host.values);
    return status;
}

void cuda_pair_matrix_destroy(struct cx_backend *backend, struct cx_pair_matrix *matrix) {
    cudaError_t code = cudaSetDevice(cuda_backend_of(backend)->device);
    (void)code;
    release(matrix);
}
