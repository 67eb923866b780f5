#include "api.h"

#include <cublasLt.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>

#include "device_threads.h"
#include "emulation.h"
#include "scheduler.h"
#include "statistics.h"

namespace emulation {

emulation_statistics statistics;

namespace {

std::recursive_mutex &one_at_a_time = *new std::recursive_mutex;
int depth;
cudaError_t last_error, sticky_error;
unsigned long call_count;

struct Failure {
    std::string function; /* or "any" */
    unsigned long remaining;
    int code; /* negative: this call succeeds, and the device is lost to the next */
};

/* EMULATION_FAIL=function:k:code */
Failure parse_failure() {
    const char *text = getenv("EMULATION_FAIL");
    Failure failure{"", 0, 0};
    if (text) {
        char function[64];
        if (sscanf(text, "%63[^:]:%lu:%d", function, &failure.remaining, &failure.code) != 3) {
            fail("EMULATION_FAIL is not function:k:code but '%s'", text);
        }
        failure.function = function;
    }
    return failure;
}

Failure &planned() {
    static Failure &failure = *new Failure(parse_failure());
    return failure;
}

/* After these a process can do nothing but end. */
bool is_sticky(int code) {
    switch (code) {
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchTimeout:
    case cudaErrorAssert:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure:
    case cudaErrorECCUncorrectable:
    case cudaErrorUnknown:
        return true;
    default:
        return false;
    }
}

} /* namespace */

Exclusive::Exclusive() {
    one_at_a_time.lock();
}

Exclusive::~Exclusive() {
    one_at_a_time.unlock();
}

Call::Call(const char *function) : error(0) {
    bool outermost = depth++ == 0;
    if (in_kernel()) {
        fail("%s called by a kernel", function);
    }
    if (!outermost) {
        return;
    }
    ++call_count;
    bool is_blas = strncmp(function, "cublas", 6) == 0;
    Failure &failure = planned();
    if (failure.remaining && (failure.function == "any" || failure.function == function) && --failure.remaining == 0) {
        error = failure.code > 0 ? failure.code : 0;
        if (failure.code < 0 || (!is_blas && is_sticky(error))) {
            sticky_error = static_cast<cudaError_t>(abs(failure.code));
        }
    } else if (sticky_error != cudaSuccess && !is_blas) {
        error = sticky_error;
    } else if (sticky_error != cudaSuccess && strcmp(function, "cublasLtMatmul") == 0) {
        error = CUBLAS_STATUS_EXECUTION_FAILED; /* all that cuBLASLt says of a lost device */
    }
    if (error && !is_blas) {
        last_error = static_cast<cudaError_t>(error);
    }
}

Call::~Call() {
    --depth;
}

cudaError_t Call::result(cudaError_t code) {
    return last_error = code;
}

} /* namespace emulation */

using namespace emulation;

extern "C" {

void emulation_set_seed(unsigned value) {
    seed = value;
}

void emulation_fail_call(const char *function, unsigned long k, int code) {
    planned() = Failure{function, k, code};
}

unsigned long emulation_call_count(void) {
    return call_count;
}

void emulation_reset_errors(void) {
    last_error = sticky_error = cudaSuccess;
}

void emulation_get_statistics(struct emulation_statistics *result) {
    *result = statistics;
}

cudaError_t cudaGetLastError(void) {
    Exclusive lock;
    cudaError_t error = last_error;
    last_error = sticky_error;
    return error;
}

cudaError_t cudaPeekAtLastError(void) {
    Exclusive lock;
    return last_error;
}

static const struct {
    cudaError_t code;
    const char *name, *text;
} error_texts[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInitializationError, "cudaErrorInitializationError", "initialization error"},
    {cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration", "invalid configuration argument"},
    {cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver", "CUDA driver version is insufficient for CUDA runtime version"},
    {cudaErrorInvalidDeviceFunction, "cudaErrorInvalidDeviceFunction", "invalid device function"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorNoKernelImageForDevice, "cudaErrorNoKernelImageForDevice", "no kernel image is available for execution on the device"},
    {cudaErrorECCUncorrectable, "cudaErrorECCUncorrectable", "uncorrectable ECC error encountered"},
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
    {cudaErrorIllegalAddress, "cudaErrorIllegalAddress", "an illegal memory access was encountered"},
    {cudaErrorMisalignedAddress, "cudaErrorMisalignedAddress", "misaligned address"},
    {cudaErrorLaunchOutOfResources, "cudaErrorLaunchOutOfResources", "too many resources requested for launch"},
    {cudaErrorLaunchTimeout, "cudaErrorLaunchTimeout", "the launch timed out and was terminated"},
    {cudaErrorLaunchFailure, "cudaErrorLaunchFailure", "unspecified launch failure"},
    {cudaErrorInvalidClusterSize, "cudaErrorInvalidClusterSize", "cluster misconfiguration"},
    {cudaErrorUnknown, "cudaErrorUnknown", "unknown error"},
};

const char *cudaGetErrorString(cudaError_t error) {
    for (const auto &entry : error_texts) {
        if (entry.code == error) {
            return entry.text;
        }
    }
    return "unrecognized error code";
}

const char *cudaGetErrorName(cudaError_t error) {
    for (const auto &entry : error_texts) {
        if (entry.code == error) {
            return entry.name;
        }
    }
    return "cudaErrorUnknown";
}

} /* extern "C" */
