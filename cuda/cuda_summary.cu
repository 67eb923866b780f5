/*
 * What is kept of a stage for every token, float64 inside; with other = state - bias - own:
 *
 *     mixing_ratio = ‖other‖ / (‖other‖ + ‖own‖), bias_norm = ‖bias‖, completeness_error = ‖sum + bias - state‖ / ‖state‖     [T]
 *
 * One warp a token.
 */
#include "cuda_backend.cuh"
#include "cuda_reduce.cuh"

enum { row_warps = 4, row_threads = row_warps * CUDA_WARP };

/* 0 / 0 is 0 here: a part of nothing. NaN fails the comparison and stays NaN. */
static __device__ double ratio_or_zero(double part, double whole) {
    return whole == 0.0 && part == 0.0 ? 0.0 : part / whole;
}

static __global__ void __launch_bounds__(row_threads) stage_summary_kernel(size_t rows, unsigned width, const float *state, const float *bias, const float *own,
                                                                           const float *sum, float *mixing_ratio, float *bias_norm, float *completeness_error) {
    const size_t row = static_cast<size_t>(blockIdx.x) * row_warps + threadIdx.x / CUDA_WARP;
    const unsigned lane = threadIdx.x % CUDA_WARP;
    if (row >= rows)
        return;
    double others = 0.0, owns = 0.0, biases = 0.0, errors = 0.0, states = 0.0;
    for (size_t k = row * width + lane; k < (row + 1) * width; k += CUDA_WARP) {
        const double whole = static_cast<double>(state[k]), constant = static_cast<double>(bias[k]), self = static_cast<double>(own[k]);
        const double other = whole - constant - self, missing = static_cast<double>(sum[k]) + constant - whole;
        others += other * other;
        owns += self * self;
        biases += constant * constant;
        errors += missing * missing;
        states += whole * whole;
    }
    const double other_norm = sqrt(warp_sum(others)), own_norm = sqrt(warp_sum(owns));
    biases = warp_sum(biases);
    errors = warp_sum(errors);
    states = warp_sum(states);
    if (lane != 0)
        return;
    mixing_ratio[row] = static_cast<float>(ratio_or_zero(other_norm, other_norm + own_norm));
    bias_norm[row] = static_cast<float>(sqrt(biases));
    completeness_error[row] = static_cast<float>(ratio_or_zero(sqrt(errors), sqrt(states)));
}

enum cx_status cuda_stage_summary(struct cx_backend *backend, const struct cx_tensor *state, const struct cx_tensor *bias, const struct cx_tensor *own,
                                  const struct cx_tensor *sum, struct cx_tensor *mixing_ratio, struct cx_tensor *bias_norm,
                                  struct cx_tensor *completeness_error, struct cx_error *error) {
    struct cuda_backend *cuda = cuda_backend_of(backend);
    const size_t width = cuda->base.config.hidden_size;
    enum cx_status status = cuda_enter(cuda, "stage_summary", true, error);
    if (status != CX_OK)
        return status;
    const size_t rows = cuda->batch->tokens;
    const struct cuda_argument arguments[] = {
        CUDA_FLOATS(state, rows * width), CUDA_FLOATS(bias, rows * width), CUDA_FLOATS(own, rows * width),        CUDA_FLOATS(sum, rows * width),
        CUDA_FLOATS(mixing_ratio, rows),  CUDA_FLOATS(bias_norm, rows),    CUDA_FLOATS(completeness_error, rows),
    };
    status = CUDA_CHECK_ALL("stage_summary", arguments, error);
    if (status != CX_OK || rows == 0)
        return status;
    return CUDA_LAUNCH(cuda, "stage_summary", error, stage_summary_kernel, cuda_blocks(rows, row_warps), row_threads, 0, rows, static_cast<unsigned>(width),
                       state->values, bias->values, own->values, sum->values, mixing_ratio->values, bias_norm->values, completeness_error->values);
}
