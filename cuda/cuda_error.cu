/* CUDA's codes as sentences, and the check of an operation's arguments. */
#include "cuda_backend.cuh"

#include <cstdio>

/* CUDA's sticky errors: the process has lost the device, with all that is in its memory, and another process may find it well. */
static bool is_lost(cudaError_t code) {
    switch (code) {
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchTimeout:
    case cudaErrorLaunchFailure:
    case cudaErrorAssert:
    case cudaErrorContextIsDestroyed:
    case cudaErrorUnknown:
        return true;
    default:
        return false;
    }
}

/* Short memory leaves the device as it was. Anything else is kept: of a lost device every call fails, and the others are faults of ours, after which the
   tensors hold no one knows what. */
enum cx_status cuda_failure(struct cuda_backend *cuda, enum cx_status status, const char *operation, const char *what, const char *name, const char *text,
                            struct cx_error *error) {
    if (status == CX_ERROR_MEMORY)
        return cx_fail(error, status, "%s: not enough memory on the GPU for %s (%s)", operation, what, name);
    cuda->broken = status;
    snprintf(cuda->broken_message, sizeof cuda->broken_message, "%s: the GPU %s at %s: %s: %s", operation,
             status == CX_ERROR_DEVICE_LOST ? "was lost" : "failed", what, name, text);
    return cx_fail(error, status, "%s", cuda->broken_message);
}

enum cx_status cuda_result(struct cuda_backend *cuda, const char *operation, const char *what, cudaError_t code, struct cx_error *error) {
    if (code == cudaSuccess)
        return CX_OK;
    /* The runtime remembers the error for this thread: forget it, or it would be found again by a call that it does not concern. */
    cudaError_t remembered = cudaGetLastError();
    (void)remembered;
    const enum cx_status status = code == cudaErrorMemoryAllocation ? CX_ERROR_MEMORY : is_lost(code) ? CX_ERROR_DEVICE_LOST : CX_ERROR_DEVICE;
    return cuda_failure(cuda, status, operation, what, cudaGetErrorName(code), cudaGetErrorString(code), error);
}

enum cx_status cuda_enter(struct cuda_backend *cuda, const char *operation, bool needs_batch, struct cx_error *error) {
    if (cuda->broken != CX_OK)
        return cx_fail(error, cuda->broken, "%s (an earlier failure; the device cannot be used any more)", cuda->broken_message);
    if (needs_batch && !cuda->batch)
        return cx_fail(error, CX_ERROR_INTERNAL, "%s: no batch was begun", operation);
    /* The current device belongs to the thread, and a backend may be handed from one thread to another. */
    return cuda_result(cuda, operation, "choosing the device", cudaSetDevice(cuda->device), error);
}

static enum cx_status check(const char *operation, const struct cuda_argument *argument, struct cx_error *error) {
    const struct cx_tensor *tensor = argument->tensor;
    if (!tensor)
        return argument->optional ? CX_OK : cx_fail(error, CX_ERROR_INTERNAL, "%s: argument %s is missing", operation, argument->name);
    if (tensor->element != argument->element)
        return cx_fail(error, CX_ERROR_INTERNAL, "%s: argument %s has the wrong element type", operation, argument->name);
    if (tensor->count < argument->count)
        return cx_fail(error, CX_ERROR_INTERNAL, "%s: argument %s: expected at least %zu elements, found %zu", operation, argument->name, argument->count,
                       tensor->count);
    return CX_OK;
}

enum cx_status cuda_check_all(const char *operation, const struct cuda_argument *arguments, size_t count, struct cx_error *error) {
    enum cx_status status = CX_OK;
    for (size_t k = 0; k < count && status == CX_OK; k++)
        status = check(operation, &arguments[k], error);
    return status;
}
