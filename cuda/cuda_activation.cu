/*
 * The feed-forward block's activation and the bias part's way through it:
 *
 *     activate   ratio [T, f] = ρ = g(u)/u, activated [T, f] = u ρ, with ρ in closed form, so that u → 0 needs no division:
 *                gelu Φ(u); gelu_tanh sigmoid(2 √(2/π) (u + 0.044715 u³)); relu [u > 0]; silu sigmoid(u)
 *     ff_bias    y [T, f] = ρ ⊙ (inverse_deviation_i * slope [f] + offset [f])
 *
 * Φ is taken in float64: at u = -10 one rounding of the argument in float32 is an error of 1e-5 of the result. These are T·f numbers, not n²·f: little time
 * even on GPUs with a 64th of the rate in float64 (derived).
 */
#include "cuda_backend.cuh"

enum { threads = 256 };

/* 1 / (1 + exp(-x)) with small relative error on both sides; NaN stays. */
static __device__ float sigmoid(float x) {
    const float power = expf(x < 0.0f ? x : -x), share = 1.0f / (1.0f + power);
    return x < 0.0f ? power * share : share;
}

static __device__ float activation_ratio(enum cx_activation activation, float u) {
    const float root = 0.7978845608f; /* √(2/π) */
    switch (activation) {
    case CX_GELU:
        return static_cast<float>(0.5 * erfc(static_cast<double>(u) * -0.70710678118654752440));
    case CX_GELU_TANH:
        return sigmoid(2.0f * root * (u + 0.044715f * u * u * u));
    case CX_SILU:
        return sigmoid(u);
    case CX_RELU:
        break;
    }
    /* NaN is neither above 0 nor equal to itself. */
    return u > 0.0f ? 1.0f : u == u ? 0.0f : u;
}

static __global__ void activate_kernel(enum cx_activation activation, size_t count, const float *u, float *activated, float *ratio) {
    const size_t k = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (k >= count)
        return;
    const float rho = activation_ratio(activation, u[k]);
    ratio[k] = rho;
    activated[k] = u[k] * rho;
}

static __global__ void ff_bias_kernel(size_t count, unsigned neurons, const float *ratio, const float *inverse_deviation, const float *slope,
                                      const float *offset, float *y) {
    const size_t k = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (k >= count)
        return;
    const size_t token = k / neurons, neuron = k % neurons;
    y[k] = ratio[k] * (inverse_deviation[token] * slope[neuron] + offset[neuron]);
}

enum cx_status cuda_activate(struct cx_backend *backend, enum cx_activation activation, const struct cx_tensor *u, struct cx_tensor *activated,
                             struct cx_tensor *ratio, struct cx_error *error) {
    struct cuda_backend *cuda = cuda_backend_of(backend);
    enum cx_status status = cuda_enter(cuda, "activate", true, error);
    if (status != CX_OK)
        return status;
    const size_t count = cuda->batch->tokens * cuda->base.config.intermediate_size;
    const struct cuda_argument arguments[] = {CUDA_FLOATS(u, count), CUDA_FLOATS(activated, count), CUDA_FLOATS(ratio, count)};
    status = CUDA_CHECK_ALL("activate", arguments, error);
    if (status != CX_OK || count == 0)
        return status;
    return CUDA_LAUNCH(cuda, "activate", error, activate_kernel, cuda_blocks(count, threads), threads, 0, activation, count, u->values, activated->values,
                       ratio->values);
}

enum cx_status cuda_ff_bias(struct cx_backend *backend, const struct cx_tensor *ratio, const struct cx_tensor *inverse_deviation, const struct cx_tensor *slope,
                            const struct cx_tensor *offset, struct cx_tensor *y, struct cx_error *error) {
    struct cuda_backend *cuda = cuda_backend_of(backend);
    const size_t neurons = cuda->base.config.intermediate_size;
    enum cx_status status = cuda_enter(cuda, "ff_bias", true, error);
    if (status != CX_OK)
        return status;
    const size_t rows = cuda->batch->tokens, count = rows * neurons;
    const struct cuda_argument arguments[] = {
        CUDA_FLOATS(ratio, count), CUDA_FLOATS(inverse_deviation, rows), CUDA_FLOATS(slope, neurons), CUDA_FLOATS(offset, neurons), CUDA_FLOATS(y, count),
    };
    status = CUDA_CHECK_ALL("ff_bias", arguments, error);
    if (status != CX_OK || count == 0)
        return status;
    return CUDA_LAUNCH(cuda, "ff_bias", error, ff_bias_kernel, cuda_blocks(count, threads), threads, 0, count, static_cast<unsigned>(neurons), ratio->values,
                       inverse_deviation->values, slope->values, offset->values, y->values);
}
