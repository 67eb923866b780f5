/* What the tests of Hopper's instructions, which nvcc compiles for sm_90a, have in common. */
#ifndef CUDA_EMULATION_HOPPER_CASES_CUH
#define CUDA_EMULATION_HOPPER_CASES_CUH

#include <cuda.h>

#include "device_cases.cuh"
#include "instructions_hopper.cuh"

#if defined(CUDA_EMULATION) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define HOPPER 1
#endif

namespace {

/* Small whole numbers, whose products and sums are exact in every order. */
float number(size_t i) {
    return static_cast<float>(static_cast<int>(i * 2654435761u >> 7 & 31) - 15);
}

struct Matrix {
    unsigned rows, columns, pitch;
    Array<__half> values;
    Matrix(unsigned row_count, unsigned column_count, unsigned row_pitch)
        : rows(row_count), columns(column_count), pitch(row_pitch), values(size_t{row_count} * row_pitch) {
        for (size_t i = 0; i < values.host.size(); ++i) {
            values.host[i] = __float2half(number(i + row_count));
        }
        values.put();
    }
    float at(size_t row, size_t column) const {
        return row < rows && column < columns ? __half2float(values.host[row * pitch + column]) : 0.0f;
    }
};

using Encoder = decltype(&cuTensorMapEncodeTiled);

Encoder encoder() {
    void *function = nullptr;
    cudaDriverEntryPointQueryResult found;
    must(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found), "cuTensorMapEncodeTiled");
    return reinterpret_cast<Encoder>(function);
}

CUtensorMap box_of(const Matrix &matrix, unsigned columns, unsigned rows, bool swizzled) {
    CUtensorMap map = {};
    const cuuint64_t sizes[2] = {matrix.columns, matrix.rows}, strides[1] = {matrix.pitch * sizeof(__half)};
    const cuuint32_t box[2] = {columns, rows}, steps[2] = {1, 1};
    const CUresult result =
        encoder()(&map, CU_TENSOR_MAP_DATA_TYPE_FLOAT16, 2, matrix.values.device, sizes, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
                  swizzled ? CU_TENSOR_MAP_SWIZZLE_128B : CU_TENSOR_MAP_SWIZZLE_NONE, CU_TENSOR_MAP_L2_PROMOTION_NONE, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    if (result != CUDA_SUCCESS) {
        printf("FAIL cuTensorMapEncodeTiled: %d\n", static_cast<int>(result));
        ++failures;
    }
    return map;
}

#ifdef HOPPER
/* For one thread to do before the others go on. */
__device__ void initialise(uint64_t *barriers, unsigned count, unsigned arrivals) {
    for (unsigned i = 0; i < count; ++i) {
        barrier_initialise(&barriers[i], arrivals);
    }
    barrier_initialise_fence();
}
#endif

} /* namespace */

#endif
