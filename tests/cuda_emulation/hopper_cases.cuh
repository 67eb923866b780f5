/*
 * What the tests of Hopper's instructions have in common. The same programs compiled by nvcc for sm_90a and run on a GPU settle whether the emulation is right.
 */
#ifndef CUDA_EMULATION_HOPPER_CASES_CUH
#define CUDA_EMULATION_HOPPER_CASES_CUH

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>

#include <cuda.h>

#include "instructions_hopper.cuh"
#include "launch.cuh"

#if defined(CUDA_EMULATION) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define HOPPER 1
#endif

namespace {

int failures;

void expect(bool good, const char *what) {
    printf("%s %s\n", good ? "ok  " : "FAIL", what);
    failures += !good;
}

void must(cudaError_t error, const char *what) {
    if (error != cudaSuccess) {
        printf("FAIL %s: %s\n", what, cudaGetErrorString(error));
        ++failures;
    }
}

/* Memory on the device, copied back by `get`. */
template <typename T> struct Array {
    T *device = nullptr;
    std::vector<T> host;
    explicit Array(size_t count) : host(count) {
        must(cudaMalloc(reinterpret_cast<void **>(&device), count * sizeof(T)), "cudaMalloc");
    }
    ~Array() {
        must(cudaFree(device), "cudaFree");
    }
    void put() {
        must(cudaMemcpy(device, host.data(), host.size() * sizeof(T), cudaMemcpyHostToDevice), "copy to the device");
    }
    void get() {
        must(cudaMemcpy(host.data(), device, host.size() * sizeof(T), cudaMemcpyDeviceToHost), "copy from the device");
    }
};

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

/* Runs the tests and returns what main does, 77 where there is no such device. */
int run_hopper_cases(void (*tests)()) {
    int devices = 0, major = 0, minor = 0;
    if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
        puts("skipped: no CUDA device (EMULATION_DEVICES=1 for the emulated one)");
        return 77;
    }
    must(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0), "compute capability");
    must(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0), "compute capability");
    if (major != 9 || minor != 0) {
        printf("skipped: a device of compute capability %d.%d; these instructions are those of 9.0\n", major, minor);
        return 77;
    }
    tests();
    must(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    printf("%d failures\n", failures);
    return failures != 0;
}

} /* namespace */

#endif
