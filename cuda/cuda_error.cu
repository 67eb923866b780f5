/* CUDA's and cuBLASLt's codes as sentences, and the check of an operation's arguments. */
#include "cuda_backend.cuh"

#include <cstdio>

/*
 * Short memory leaves the device as it was. Anything else is kept: CUDA's sticky errors (illegal address, launch failure, a lost device) make every later
 * call fail, and the others are faults of ours, after which the tensors hold no one knows what.
 */
static enum cx_status report(struct cuda_backend *cuda, enum cx_status status, const char *operation, const char *what, const char *name, const char *text,
                             struct cx_error *error) {
    if (status == CX_ERROR_MEMORY)
        return cx_fail(error, status, "%s: not enough memory on the GPU for %s (%s)", operation, what, name);
    cuda->broken = status;
    snprintf(cuda->broken_message, sizeof cuda->broken_message, "%s: the GPU failed at %s: %s: %s", operation, what, name, text);
    return cx_fail(error, status, "%s", cuda->broken_message);
}

enum cx_status cuda_result(struct cuda_backend *cuda, const char *operation, const char *what, cudaError_t code, struct cx_error *error) {
    if (code == cudaSuccess)
        return CX_OK;
    /* The runtime remembers the error for this thread: forget it, or it would be found again by a call that it does not concern. */
    cudaError_t remembered = cudaGetLastError();
    (void)remembered;
    return report(cuda, code == cudaErrorMemoryAllocation ? CX_ERROR_MEMORY : CX_ERROR_DEVICE, operation, what, cudaGetErrorName(code),
                  cudaGetErrorString(code), error);
}

enum cx_status cuda_product_result(struct cuda_backend *cuda, const char *operation, const char *what, cublasStatus_t code, struct cx_error *error) {
    if (code == CUBLAS_STATUS_SUCCESS)
        return CX_OK;
    return report(cuda, code == CUBLAS_STATUS_ALLOC_FAILED ? CX_ERROR_MEMORY : CX_ERROR_DEVICE, operation, what, cublasLtGetStatusName(code),
                  cublasLtGetStatusString(code), error);
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
