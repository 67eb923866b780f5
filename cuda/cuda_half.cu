/* Operands of products in float16: a weight's on the host, once; the forward pass's inputs on the device. */
#include "cuda_backend.cuh"

#include <cmath>

/* Exponents beyond these would make the factors of a scaled product overflow float32 themselves. */
enum { most_exponent = 60, top_exponent = 14, round_threads = 256 };

int cuda_half_exponent(size_t count, const float *values) {
    float largest = 0.0f;
    for (size_t k = 0; k < count; k++)
        largest = fabsf(values[k]) > largest ? fabsf(values[k]) : largest;
    if (!(largest > 0.0f && largest <= 3.4e38f))
        return 0;
    const int exponent = top_exponent - ilogbf(largest);
    return exponent > most_exponent ? most_exponent : exponent < -most_exponent ? -most_exponent : exponent;
}

void cuda_half_fill(size_t rows, size_t columns, size_t stride, int exponent, float *values, __half *operand) {
    for (size_t row = 0; row < rows; row++) {
        for (size_t column = 0; column < columns; column++) {
            const __half element = __float2half(ldexpf(values[row * columns + column], exponent));
            operand[row * stride + column] = element;
            values[row * columns + column] = __half2float(element);
        }
    }
}

/* A thread an element of the result. */
static __global__ void round_kernel(size_t count, size_t columns, size_t padded, const float *values, __half *rounded, unsigned *large_numbers) {
    const size_t k = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (k >= count)
        return;
    const size_t row = k / padded, column = k % padded;
    const float number = column < columns ? values[row * columns + column] : 0.0f;
    if (fabsf(number) > 65504.0f)
        atomicAdd(large_numbers, 1u); /* an order does not matter in a count */
    rounded[k] = __float2half(number);
}

enum cx_status cuda_half_round(struct cuda_backend *cuda, const char *operation, size_t rows, size_t columns, const float *values, __half *rounded,
                               struct cx_error *error) {
    const size_t padded = cuda_padded(columns), count = rows * padded;
    if (count == 0)
        return CX_OK;
    cuda->has_counted = true;
    return CUDA_LAUNCH(cuda, operation, error, round_kernel, cuda_blocks(count, round_threads), round_threads, 0, count, columns, padded, values, rounded,
                       &cuda->counts->large_numbers);
}
