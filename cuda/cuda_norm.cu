/*
 * Layer norm, its linear part, and the trivial pieces beside it.
 *
 *     norm           y [rows, d] = γ ⊙ (x - mean x) / σ + β, inverse_deviation [rows] = 1/σ, σ = sqrt(Var x + ε)
 *     norm_linear    y [rows, d] = scale ⊙ (x - mean x) * inverse_deviation [rows] + shift
 *     scale_columns  y [rows, d] = scale ⊙ x
 *     add            z = x + y
 *     broadcast      y [rows, d] = every row x [d]
 *
 * One warp a row. Mean and variance are sums of float64, and the variance is taken about the mean in a second pass: the row is then in the cache.
 */
#include "cuda_backend.cuh"
#include "cuda_reduce.cuh"

enum { row_warps = 4, row_threads = row_warps * CUDA_WARP, element_threads = 256 };

static __device__ double row_mean(const float *x, unsigned width, unsigned lane) {
    double sum = 0.0;
    for (unsigned k = lane; k < width; k += CUDA_WARP)
        sum += static_cast<double>(x[k]);
    return warp_sum(sum) / width;
}

static __global__ void __launch_bounds__(row_threads)
    norm_kernel(size_t rows, unsigned width, const float *x, const float *scale, const float *shift, double epsilon, float *y, float *inverse_deviation) {
    const size_t row = static_cast<size_t>(blockIdx.x) * row_warps + threadIdx.x / CUDA_WARP;
    const unsigned lane = threadIdx.x % CUDA_WARP;
    if (row >= rows)
        return;
    const float *from = x + row * width;
    const double mean = row_mean(from, width, lane);
    double squares = 0.0;
    for (unsigned k = lane; k < width; k += CUDA_WARP) {
        const double difference = static_cast<double>(from[k]) - mean;
        squares += difference * difference;
    }
    const double factor = 1.0 / sqrt(warp_sum(squares) / width + epsilon);
    for (unsigned k = lane; k < width; k += CUDA_WARP)
        y[row * width + k] = static_cast<float>((static_cast<double>(from[k]) - mean) * factor * static_cast<double>(scale[k]) + static_cast<double>(shift[k]));
    if (lane == 0)
        inverse_deviation[row] = static_cast<float>(factor);
}

/* y may be x: a lane reads and writes the same elements, and the mean is taken before. */
static __global__ void __launch_bounds__(row_threads)
    norm_linear_kernel(size_t rows, unsigned width, const float *x, const float *scale, const float *inverse_deviation, const float *shift, float *y) {
    const size_t row = static_cast<size_t>(blockIdx.x) * row_warps + threadIdx.x / CUDA_WARP;
    const unsigned lane = threadIdx.x % CUDA_WARP;
    if (row >= rows)
        return;
    const float *from = x + row * width;
    const double mean = row_mean(from, width, lane);
    const float factor = inverse_deviation ? inverse_deviation[row] : 1.0f;
    for (unsigned k = lane; k < width; k += CUDA_WARP) {
        const float centred = static_cast<float>(static_cast<double>(from[k]) - mean);
        y[row * width + k] = scale[k] * centred * factor + (shift ? shift[k] : 0.0f);
    }
}

static __global__ void add_kernel(size_t count, const float *x, const float *y, float *z) {
    const size_t k = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (k < count)
        z[k] = x[k] + y[k];
}

static __global__ void scale_columns_kernel(size_t count, unsigned width, const float *x, const float *scale, float *y) {
    const size_t k = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (k < count)
        y[k] = scale[k % width] * x[k];
}

static __global__ void broadcast_kernel(size_t count, unsigned width, const float *x, float *y) {
    const size_t k = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (k < count)
        y[k] = x[k % width];
}

enum cx_status cuda_norm(struct cx_backend *backend, const struct cx_tensor *x, const struct cx_tensor *scale, const struct cx_tensor *shift, double epsilon,
                         struct cx_tensor *y, struct cx_tensor *inverse_deviation, struct cx_error *error) {
    struct cuda_backend *cuda = cuda_backend_of(backend);
    const size_t width = cuda->base.config.hidden_size;
    enum cx_status status = cuda_enter(cuda, "norm", true, error);
    if (status != CX_OK)
        return status;
    const size_t rows = cuda->batch->tokens;
    const struct cuda_argument arguments[] = {
        CUDA_FLOATS(x, rows * width), CUDA_FLOATS(scale, width), CUDA_FLOATS(shift, width), CUDA_FLOATS(y, rows * width), CUDA_FLOATS(inverse_deviation, rows),
    };
    status = CUDA_CHECK_ALL("norm", arguments, error);
    if (status != CX_OK || rows == 0)
        return status;
    return CUDA_LAUNCH(cuda, "norm", error, norm_kernel, cuda_blocks(rows, row_warps), row_threads, 0, rows, static_cast<unsigned>(width), x->values,
                       scale->values, shift->values, epsilon, y->values, inverse_deviation->values);
}

enum cx_status cuda_norm_linear(struct cx_backend *backend, size_t rows, const struct cx_tensor *x, const struct cx_tensor *scale,
                                const struct cx_tensor *inverse_deviation, const struct cx_tensor *shift, struct cx_tensor *y, struct cx_error *error) {
    struct cuda_backend *cuda = cuda_backend_of(backend);
    const size_t width = cuda->base.config.hidden_size;
    const struct cuda_argument arguments[] = {
        CUDA_FLOATS(x, rows * width), CUDA_FLOATS(scale, width),    CUDA_OPTIONAL(inverse_deviation, rows),
        CUDA_OPTIONAL(shift, width),  CUDA_FLOATS(y, rows * width),
    };
    enum cx_status status = cuda_enter(cuda, "norm_linear", false, error);
    if (status == CX_OK)
        status = CUDA_CHECK_ALL("norm_linear", arguments, error);
    if (status != CX_OK || rows == 0)
        return status;
    return CUDA_LAUNCH(cuda, "norm_linear", error, norm_linear_kernel, cuda_blocks(rows, row_warps), row_threads, 0, rows, static_cast<unsigned>(width),
                       x->values, scale->values, inverse_deviation ? inverse_deviation->values : NULL, shift ? shift->values : NULL, y->values);
}

enum cx_status cuda_scale_columns(struct cx_backend *backend, size_t rows, const struct cx_tensor *x, const struct cx_tensor *scale, struct cx_tensor *y,
                                  struct cx_error *error) {
    struct cuda_backend *cuda = cuda_backend_of(backend);
    const size_t width = cuda->base.config.hidden_size, count = rows * width;
    const struct cuda_argument arguments[] = {CUDA_FLOATS(x, count), CUDA_FLOATS(scale, width), CUDA_FLOATS(y, count)};
    enum cx_status status = cuda_enter(cuda, "scale_columns", false, error);
    if (status == CX_OK)
        status = CUDA_CHECK_ALL("scale_columns", arguments, error);
    if (status != CX_OK || count == 0)
        return status;
    return CUDA_LAUNCH(cuda, "scale_columns", error, scale_columns_kernel, cuda_blocks(count, element_threads), element_threads, 0, count,
                       static_cast<unsigned>(width), x->values, scale->values, y->values);
}

enum cx_status cuda_add(struct cx_backend *backend, size_t count, const struct cx_tensor *x, const struct cx_tensor *y, struct cx_tensor *z,
                        struct cx_error *error) {
    struct cuda_backend *cuda = cuda_backend_of(backend);
    const struct cuda_argument arguments[] = {CUDA_FLOATS(x, count), CUDA_FLOATS(y, count), CUDA_FLOATS(z, count)};
    enum cx_status status = cuda_enter(cuda, "add", false, error);
    if (status == CX_OK)
        status = CUDA_CHECK_ALL("add", arguments, error);
    if (status != CX_OK || count == 0)
        return status;
    return CUDA_LAUNCH(cuda, "add", error, add_kernel, cuda_blocks(count, element_threads), element_threads, 0, count, x->values, y->values, z->values);
}

enum cx_status cuda_broadcast(struct cx_backend *backend, size_t rows, const struct cx_tensor *x, struct cx_tensor *y, struct cx_error *error) {
    struct cuda_backend *cuda = cuda_backend_of(backend);
    const size_t width = cuda->base.config.hidden_size, count = rows * width;
    const struct cuda_argument arguments[] = {CUDA_FLOATS(x, width), CUDA_FLOATS(y, count)};
    enum cx_status status = cuda_enter(cuda, "broadcast", false, error);
    if (status == CX_OK)
        status = CUDA_CHECK_ALL("broadcast", arguments, error);
    if (status != CX_OK || count == 0)
        return status;
    return CUDA_LAUNCH(cuda, "broadcast", error, broadcast_kernel, cuda_blocks(count, element_threads), element_threads, 0, count, static_cast<unsigned>(width),
                       x->values, y->values);
}
