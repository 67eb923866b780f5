/* What the tests of device instructions have in common. The same programs compiled by nvcc and run on a GPU settle whether the emulation is right. */
#ifndef CUDA_EMULATION_DEVICE_CASES_CUH
#define CUDA_EMULATION_DEVICE_CASES_CUH

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>

#include "launch.cuh"

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

/* Runs the tests and returns what main does: 77 where there is no device, or none of this compute capability; 0: any will do. */
int run_device_cases(void (*tests)(), int capability) {
    int devices = 0, major = 0, minor = 0;
    if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
        puts("skipped: no CUDA device (EMULATION_DEVICES=1 for the emulated one)");
        return 77;
    }
    must(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0), "compute capability");
    must(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0), "compute capability");
    if (capability && 10 * major + minor != capability) {
        printf("skipped: a device of compute capability %d.%d; these instructions are those of %d.%d\n", major, minor, capability / 10, capability % 10);
        return 77;
    }
    tests();
    must(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    printf("%d failures\n", failures);
    return failures != 0;
}

} /* namespace */

#endif
