/* y [rows, out] = x [rows, in] W^T + bias [out] + residual [rows, out]. One product; bias and residual are added by it. */
#include "cuda_backend.cuh"

enum cx_status cuda_linear(struct cx_backend *backend, size_t rows, const struct cx_tensor *x, const struct cx_matrix *matrix, const struct cx_tensor *bias,
                           const struct cx_tensor *residual, struct cx_tensor *y, struct cx_error *error) {
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
    product.x = x->values;
    product.weight = matrix->weight;
    product.x_stride = product.weight_stride = in;
    product.y_stride = out;
    product.bias = bias ? bias->values : NULL;
    product.residual = residual ? residual->values : NULL;
    product.y = y->values;
    return cuda_multiply(cuda, &product, error);
}
