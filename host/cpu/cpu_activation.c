/* The feed-forward block's activation g(u), its ratio ρ = g(u)/u, and the bias part's way through it. */
#include "cpu_backend.h"

enum { block = 2048 };

enum cx_status cpu_activate(struct cx_backend *backend, enum cx_activation activation, const struct cx_tensor *u, struct cx_tensor *activated,
                            struct cx_tensor *ratio, struct cx_error *error) {
    const struct cpu_backend *cpu = cpu_backend_of(backend);
    enum cx_status status = cpu_check_batch(cpu, "activate", error);
    if (status != CX_OK)
        return status;
    size_t count = cpu->batch->tokens * cpu->base.config.intermediate_size;
    const struct cpu_argument arguments[] = {
        CPU_FLOATS(u, count),
        CPU_FLOATS(activated, count),
        CPU_FLOATS(ratio, count),
    };
    status = CPU_CHECK_ALL("activate", arguments, error);
    if (status != CX_OK)
        return status;
#pragma omp parallel for schedule(static) num_threads(cpu->threads) if (count > block)
    for (size_t first = 0; first < count; first += block) {
        size_t length = count - first < block ? count - first : block;
        cpu->kernels->activate(activation, length, u->values + first, activated->values + first, ratio->values + first);
    }
    return CX_OK;
}

enum cx_status cpu_ff_bias(struct cx_backend *backend, const struct cx_tensor *ratio, const struct cx_tensor *inverse_deviation, const struct cx_tensor *slope,
                           const struct cx_tensor *offset, struct cx_tensor *y, struct cx_error *error) {
    const struct cpu_backend *cpu = cpu_backend_of(backend);
    size_t width = cpu->base.config.intermediate_size;
    enum cx_status status = cpu_check_batch(cpu, "ff_bias", error);
    if (status != CX_OK)
        return status;
    size_t rows = cpu->batch->tokens;
    const struct cpu_argument arguments[] = {
        CPU_FLOATS(ratio, rows * width), CPU_FLOATS(inverse_deviation, rows), CPU_FLOATS(slope, width), CPU_FLOATS(offset, width), CPU_FLOATS(y, rows * width),
    };
    status = CPU_CHECK_ALL("ff_bias", arguments, error);
    if (status != CX_OK)
        return status;
#pragma omp parallel for schedule(static) num_threads(cpu->threads) if (rows * width > block)
    for (size_t row = 0; row < rows; row++) {
        const float *rho = ratio->values + row * width, *gradient = slope->values, *constant = offset->values;
        float *target = y->values + row * width, factor = inverse_deviation->values[row];
#pragma omp simd
        for (size_t k = 0; k < width; k++)
            target[k] = rho[k] * (factor * gradient[k] + constant[k]);
    }
    return CX_OK;
}
