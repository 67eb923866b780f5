/* Sums and largest values over the 32 lanes of a warp: in a fixed order, the result in every lane. */
#ifndef CONTEXTURE_CUDA_REDUCE_CUH
#define CONTEXTURE_CUDA_REDUCE_CUH

constexpr unsigned CUDA_WARP = 32;
#define CUDA_ALL_LANES 0xffffffffu

template <typename Number> static __device__ __forceinline__ Number warp_sum(Number value) {
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2)
        value += __shfl_xor_sync(CUDA_ALL_LANES, value, distance);
    return value;
}

static __device__ __forceinline__ float warp_largest(float value) {
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2)
        value = fmaxf(value, __shfl_xor_sync(CUDA_ALL_LANES, value, distance));
    return value;
}

/* One exchange of warp_sum_16: a lane keeps one half of its 2 * Kept numbers and gives the other half to the lane that keeps that one. */
template <int Kept> static __device__ __forceinline__ void exchange_half(float (&values)[16], unsigned lane) {
    const bool upper = (lane & (2 * Kept)) != 0;
#pragma unroll
    for (int k = 0; k < Kept; k++) {
        const float given = upper ? values[k] : values[k + Kept], kept = upper ? values[k + Kept] : values[k];
        values[k] = kept + __shfl_xor_sync(CUDA_ALL_LANES, given, 2 * Kept);
    }
}

/* The sums of 16 numbers over the warp in 16 exchanges: lane l returns the sum of number l / 2. The order of summing is the same for all of them. */
static __device__ __forceinline__ float warp_sum_16(float (&values)[16], unsigned lane) {
    exchange_half<8>(values, lane);
    exchange_half<4>(values, lane);
    exchange_half<2>(values, lane);
    exchange_half<1>(values, lane);
    return values[0] + __shfl_xor_sync(CUDA_ALL_LANES, values[0], 1);
}

#endif
