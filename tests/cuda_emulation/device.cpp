#include "device.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "api.h"
#include "device_memory.h"
#include "device_threads.h"

namespace emulation {

namespace {

const Device devices[] = {
    {8, 0, 108, 163 * 1024}, {8, 6, 84, 99 * 1024}, {8, 9, 128, 99 * 1024}, {9, 0, 132, 227 * 1024}, {10, 0, 148, 227 * 1024},
};

int device_count() {
    const char *text = getenv("EMULATION_DEVICES");
    return text ? atoi(text) : 0;
}

} /* namespace */

const Device &device() {
    const char *text = getenv("EMULATION_ARCHITECTURE");
    int architecture = text ? atoi(text) : 90;
    for (const Device &candidate : devices) {
        if (candidate.major * 10 + candidate.minor == architecture) {
            return candidate;
        }
    }
    fail("EMULATION_ARCHITECTURE=%d is not known", architecture);
}

/* A real GPU's many multiprocessors would leave one step of a small case for each block. */
int multiprocessor_count() {
    const char *text = getenv("EMULATION_MULTIPROCESSORS");
    return text && atoi(text) > 0 ? atoi(text) : device().multiprocessors;
}

} /* namespace emulation */

using namespace emulation;

extern "C" {

cudaError_t cudaGetDeviceCount(int *count) {
    CUDA_CALL("cudaGetDeviceCount");
    *count = device_count();
    return *count ? cudaSuccess : call.result(cudaErrorNoDevice);
}

cudaError_t cudaSetDevice(int index) {
    CUDA_CALL("cudaSetDevice");
    return index >= 0 && index < device_count() ? cudaSuccess : call.result(cudaErrorInvalidDevice);
}

cudaError_t cudaGetDevice(int *index) {
    CUDA_CALL("cudaGetDevice");
    *index = 0;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int index) {
    CUDA_CALL("cudaGetDeviceProperties");
    if (index < 0 || index >= device_count()) {
        return call.result(cudaErrorInvalidDevice);
    }
    size_t free_bytes, total_bytes;
    device_memory_info(&free_bytes, &total_bytes);
    memset(properties, 0, sizeof *properties);
    snprintf(properties->name, sizeof properties->name, "emulated CUDA device");
    properties->uuid.bytes[0] = static_cast<char>(index + 1);
    properties->major = device().major;
    properties->minor = device().minor;
    properties->multiProcessorCount = multiprocessor_count();
    properties->totalGlobalMem = total_bytes;
    properties->sharedMemPerBlock = 48 * 1024;
    properties->sharedMemPerBlockOptin = device().shared_bytes;
    properties->sharedMemPerMultiprocessor = device().shared_bytes + 1024;
    properties->warpSize = 32;
    properties->maxThreadsPerBlock = 1024;
    properties->maxThreadsPerMultiProcessor = 1536;
    properties->regsPerBlock = properties->regsPerMultiprocessor = 65536;
    properties->l2CacheSize = 50 << 20;
    properties->maxGridSize[0] = 0x7fffffff;
    properties->maxGridSize[1] = properties->maxGridSize[2] = 65535;
    properties->maxThreadsDim[0] = properties->maxThreadsDim[1] = 1024;
    properties->maxThreadsDim[2] = 64;
    properties->asyncEngineCount = 2;
    properties->concurrentKernels = 1;
    properties->unifiedAddressing = 1;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int index) {
    CUDA_CALL("cudaDeviceGetAttribute");
    if (index < 0 || index >= device_count()) {
        return call.result(cudaErrorInvalidDevice);
    }
    switch (attribute) {
    case cudaDevAttrComputeCapabilityMajor:
        *value = device().major;
        break;
    case cudaDevAttrComputeCapabilityMinor:
        *value = device().minor;
        break;
    case cudaDevAttrMultiProcessorCount:
        *value = multiprocessor_count();
        break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
        *value = static_cast<int>(device().shared_bytes);
        break;
    case cudaDevAttrL2CacheSize:
        *value = 50 << 20;
        break;
    case cudaDevAttrClockRate:
    case cudaDevAttrMemoryClockRate:
        *value = 1000000;
        break;
    default:
        fail("cudaDeviceGetAttribute(%d) is not emulated", static_cast<int>(attribute));
    }
    return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int *version) {
    CUDA_CALL("cudaDriverGetVersion");
    *version = device_count() ? CUDART_VERSION : 0;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version) {
    CUDA_CALL("cudaRuntimeGetVersion");
    *version = CUDART_VERSION;
    return cudaSuccess;
}

} /* extern "C" */
