/* Layer norm, its linear part, and the trivial pieces beside it. One row is one item of work. */
#include "cpu_backend.h"

#include <string.h>

enum { least_rows = 16, add_block = 8192 };

enum cx_status cpu_norm(struct cx_backend *backend, const struct cx_tensor *x, const struct cx_tensor *scale, const struct cx_tensor *shift, double epsilon,
                        struct cx_tensor *y, struct cx_tensor *inverse_deviation, struct cx_error *error) {
    const struct cpu_backend *cpu = cpu_backend_of(backend);
    size_t width = cpu->base.config.hidden_size;
    enum cx_status status = cpu_check_batch(cpu, "norm", error);
    if (status != CX_OK)
        return status;
    size_t rows = cpu->batch->tokens;
    const struct cpu_argument arguments[] = {
        CPU_FLOATS(x, rows * width), CPU_FLOATS(scale, width), CPU_FLOATS(shift, width), CPU_FLOATS(y, rows * width), CPU_FLOATS(inverse_deviation, rows),
    };
    status = CPU_CHECK_ALL("norm", arguments, error);
    if (status != CX_OK)
        return status;
#pragma omp parallel for schedule(static) num_threads(cpu->threads) if (rows > least_rows)
    for (size_t row = 0; row < rows; row++)
        inverse_deviation->values[row] = cpu->kernels->norm(width, x->values + row * width, scale->values, shift->values, epsilon, y->values + row * width);
    return CX_OK;
}

enum cx_status cpu_norm_linear(struct cx_backend *backend, size_t rows, const struct cx_tensor *x, const struct cx_tensor *scale,
                               const struct cx_tensor *inverse_deviation, const struct cx_tensor *shift, struct cx_tensor *y, struct cx_error *error) {
    const struct cpu_backend *cpu = cpu_backend_of(backend);
    size_t width = cpu->base.config.hidden_size;
    const struct cpu_argument arguments[] = {
        CPU_FLOATS(x, rows * width), CPU_FLOATS(scale, width), CPU_OPTIONAL(inverse_deviation, rows), CPU_OPTIONAL(shift, width), CPU_FLOATS(y, rows * width),
    };
    enum cx_status status = CPU_CHECK_ALL("norm_linear", arguments, error);
    if (status != CX_OK)
        return status;
#pragma omp parallel for schedule(static) num_threads(cpu->threads) if (rows > least_rows)
    for (size_t row = 0; row < rows; row++)
        cpu->kernels->norm_linear(width, x->values + row * width, scale->values, inverse_deviation ? inverse_deviation->values[row] : 1.0f,
                                  shift ? shift->values : NULL, y->values + row * width);
    return CX_OK;
}

enum cx_status cpu_scale_columns(struct cx_backend *backend, size_t rows, const struct cx_tensor *x, const struct cx_tensor *scale, struct cx_tensor *y,
                                 struct cx_error *error) {
    const struct cpu_backend *cpu = cpu_backend_of(backend);
    const size_t width = cpu->base.config.hidden_size;
    const struct cpu_argument arguments[] = {CPU_FLOATS(x, rows * width), CPU_FLOATS(scale, width), CPU_FLOATS(y, rows * width)};
    enum cx_status status = CPU_CHECK_ALL("scale_columns", arguments, error);
    if (status != CX_OK)
        return status;
    const float *from = x->values, *factors = scale->values;
    float *to = y->values;
#pragma omp parallel for schedule(static) num_threads(cpu->threads) if (rows > least_rows)
    for (size_t row = 0; row < rows; row++)
        for (size_t k = 0; k < width; k++)
            to[row * width + k] = factors[k] * from[row * width + k];
    return CX_OK;
}

enum cx_status cpu_add(struct cx_backend *backend, size_t count, const struct cx_tensor *x, const struct cx_tensor *y, struct cx_tensor *z,
                       struct cx_error *error) {
    const struct cpu_backend *cpu = cpu_backend_of(backend);
    const struct cpu_argument arguments[] = {
        CPU_FLOATS(x, count),
        CPU_FLOATS(y, count),
        CPU_FLOATS(z, count),
    };
    enum cx_status status = CPU_CHECK_ALL("add", arguments, error);
    if (status != CX_OK)
        return status;
    /* Plain pointers: the compiler cannot see that the loop does not change the tensors themselves. */
    const float *left = x->values, *right = y->values;
    float *sum = z->values;
#pragma omp parallel for simd schedule(static) num_threads(cpu->threads) if (count > add_block)
    for (size_t k = 0; k < count; k++)
        sum[k] = left[k] + right[k];
    return CX_OK;
}

enum cx_status cpu_broadcast(struct cx_backend *backend, size_t rows, const struct cx_tensor *x, struct cx_tensor *y, struct cx_error *error) {
    const struct cpu_backend *cpu = cpu_backend_of(backend);
    size_t width = cpu->base.config.hidden_size;
    const struct cpu_argument arguments[] = {
        CPU_FLOATS(x, width),
        CPU_FLOATS(y, rows * width),
    };
    enum cx_status status = CPU_CHECK_ALL("broadcast", arguments, error);
    if (status != CX_OK)
        return status;
    for (size_t row = 0; row < rows; row++)
        memcpy(y->values + row * width, x->values, width * sizeof(float));
    return CX_OK;
}
