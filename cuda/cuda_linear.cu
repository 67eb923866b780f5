/*
 * A dense layer: its weight, and y [rows, out] = x [rows, in] W^T + bias [out] + residual [rows, out]. One product; bias and residual are added by it.
 *
 * --forward-precision rounds the operands of the forward pass's products, and neither their sums nor what is added to them:
 *     tf32  by the product itself
 *     f16   W times a power of two when it is loaded, x by a kernel in front of the product. x is not scaled: hidden states lie far inside of float16, and a
 *           number that does not is counted (cuda_half.cu)
 */
#include "cuda_backend.cuh"

#include <cstdlib>

/* On the way to the device. */
struct host_matrix {
    float *values;
    __half *half;
};

static void release(struct cuda_backend *cuda, struct cx_matrix *matrix) {
    if (!matrix)
        return;
    cuda_forget(cudaSetDevice(cuda->device));
    cuda_forget(cudaFree(matrix->weight));
    cuda_forget(cudaFree(matrix->half));
    free(matrix);
}

static enum cx_status upload_half(struct cuda_backend *cuda, struct cx_matrix *matrix, struct host_matrix *host, struct cx_error *error) {
    const size_t stride = cuda_padded(matrix->in);
    size_t count;
    if (!cx_multiply(matrix->out, stride, &count))
        return cx_fail_memory(error, "a dense layer's weight in float16", SIZE_MAX);
    enum cx_status status = cx_allocate(count, sizeof *host->half, "a dense layer's weight in float16", &host->half, error);
    if (status == CX_OK)
        status = cuda_allocate(cuda, count, sizeof *host->half, "a dense layer's weight in float16", reinterpret_cast<void **>(&matrix->half), error);
    if (status != CX_OK)
        return status;
    if (!cuda->base.is_given_weights) {
        matrix->half_exponent = cuda_half_exponent(matrix->out * matrix->in, host->values);
        cuda_half_fill(matrix->out, matrix->in, stride, matrix->half_exponent, host->values, host->half);
    }
    status = cuda_upload_shared(cuda, "matrix_create", matrix->half, host->half, count * sizeof *host->half, error);
    return status == CX_OK ? cuda_team_share(cuda, "matrix_create", &matrix->half_exponent, sizeof matrix->half_exponent, error) : status;
}

static enum cx_status upload(struct cuda_backend *cuda, const struct cx_weight *weight, struct cx_matrix *matrix, struct host_matrix *host,
                             struct cx_error *error) {
    size_t count;
    if (!cx_multiply(weight->rows, weight->columns, &count))
        return cx_fail_memory(error, "a dense layer's weight", SIZE_MAX);
    enum cx_status status = cx_allocate(count, sizeof *host->values, "a dense layer's weight", &host->values, error);
    if (status == CX_OK)
        status = cuda_allocate(cuda, count, sizeof *host->values, "a dense layer's weight", reinterpret_cast<void **>(&matrix->weight), error);
    if (status != CX_OK)
        return status;
    matrix->out = weight->rows;
    matrix->in = weight->columns;
    if (!cuda->base.is_given_weights)
        cx_weight_to_float(weight, host->values);
    status = cuda_upload_shared(cuda, "matrix_create", matrix->weight, host->values, count * sizeof *host->values, error);
    return status == CX_OK && cuda->forward_precision == CX_FORWARD_F16 ? upload_half(cuda, matrix, host, error) : status;
}

enum cx_status cuda_matrix_create(struct cx_backend *backend, const struct cx_weight *weight, struct cx_matrix **matrix, struct cx_error *error) {
    struct cuda_backend *cuda = cuda_backend_of(backend);
    struct cx_matrix *created = NULL;
    struct host_matrix host = {};
    *matrix = NULL;
    enum cx_status status = cuda_enter(cuda, "matrix_create", false, error);
    if (status == CX_OK)
        status = cx_allocate(1, sizeof *created, "a matrix", &created, error);
    if (status == CX_OK)
        status = upload(cuda, weight, created, &host, error);
    if (status == CX_OK) {
        *matrix = created;
        created = NULL;
    }
    release(cuda, created);
    free(host.half);
    free(host.values);
    return status;
}

void cuda_matrix_destroy(struct cx_backend *backend, struct cx_matrix *matrix) {
    release(cuda_backend_of(backend), matrix);
}

/* The product with both operands in float16. */
static enum cx_status use_half(struct cuda_backend *cuda, const struct cx_matrix *matrix, const struct cx_tensor *x, struct cuda_product *product,
                               struct cx_error *error) {
    const size_t stride = cuda_padded(matrix->in);
    enum cx_status status = cuda_list_fit(cuda, &cuda->scratch, product->rows * stride * sizeof(__half), "a dense layer's input in float16", error);
    if (status != CX_OK)
        return status;
    __half *rounded = static_cast<__half *>(cuda->scratch.memory);
    product->is_half = true;
    product->in = product->x_stride = product->weight_stride = stride;
    product->x = rounded;
    product->weight = matrix->half;
    product->weight_exponent = matrix->half_exponent;
    return cuda_half_round(cuda, "linear", product->rows, matrix->in, x->values, rounded, error);
}

enum cx_status cuda_linear(struct cx_backend *backend, enum cx_linear_use use, size_t rows, const struct cx_tensor *x, const struct cx_matrix *matrix,
                           const struct cx_tensor *bias, const struct cx_tensor *residual, struct cx_tensor *y, struct cx_error *error) {
    struct cuda_backend *cuda = cuda_backend_of(backend);
    const size_t in = matrix->in, out = matrix->out;
    const struct cuda_argument arguments[] = {
        CUDA_FLOATS(x, rows * in),
        CUDA_OPTIONAL(bias, out),
        CUDA_OPTIONAL(residual, rows * out),
        CUDA_FLOATS(y, rows * out),
    };
    enum cx_status status = cuda_enter(cuda, "linear", false, error);
    if (status == CX_OK)
        status = CUDA_CHECK_ALL("linear", arguments, error);
    if (status != CX_OK)
        return status;
    struct cuda_product product = {};
    product.operation = "linear";
    product.rows = rows;
    product.in = in;
    product.out = out;
    product.batches = 1;
    product.transposed = true;
    product.is_tf32 = use == CX_LINEAR_FORWARD && cuda->forward_precision == CX_FORWARD_TF32;
    product.x = x->values;
    product.weight = matrix->weight;
    product.x_stride = product.weight_stride = in;
    product.y_stride = out;
    product.bias = bias ? bias->values : NULL;
    product.residual = residual ? residual->values : NULL;
    product.y = y->values;
    if (use == CX_LINEAR_FORWARD && cuda->forward_precision == CX_FORWARD_F16)
        status = use_half(cuda, matrix, x, &product, error);
    return status == CX_OK ? cuda_multiply(cuda, &product, error) : status;
}
