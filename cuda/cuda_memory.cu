/*
 * Tensors, and the copies between host and device that wait; those that do not are in cuda_read.cu.
 *
 * The host's memory is pageable, so copies go through two pinned pieces: while the device copies one, the host copies the other. Measured on nothing yet;
 * 4 MiB are a few hundred microseconds of PCIe 4 (derived), long against the cost of starting a copy.
 */
#include "cuda_backend.cuh"

#include <cstdlib>
#include <cstring>

enum cx_status cuda_allocate(struct cuda_backend *cuda, size_t count, size_t size, const char *purpose, void **memory, struct cx_error *error) {
    size_t bytes;
    *memory = NULL;
    if (!cx_multiply(count, size, &bytes))
        return cx_fail_memory(error, purpose, SIZE_MAX);
    cudaError_t code = cudaMalloc(memory, bytes > 0 ? bytes : 1);
    if (code == cudaSuccess)
        return CX_OK;
    *memory = NULL;
    if (code != cudaErrorMemoryAllocation)
        return cuda_result(cuda, "allocating", purpose, code, error);
    cudaError_t remembered = cudaGetLastError();
    (void)remembered;
    size_t free_bytes = 0, all_bytes = 0;
    if (cudaMemGetInfo(&free_bytes, &all_bytes) != cudaSuccess)
        return cx_fail_memory(error, purpose, bytes);
    return cx_fail(error, CX_ERROR_MEMORY, "not enough memory on the GPU for %s (%zu bytes; %zu of %zu are free): make the batches smaller", purpose, bytes,
                   free_bytes, all_bytes);
}

enum cx_status cuda_list_fit(struct cuda_backend *cuda, struct cuda_list *list, size_t bytes, const char *purpose, struct cx_error *error) {
    if (bytes <= list->bytes)
        return CX_OK;
    /* cudaFree() waits for the kernels that still use the memory. */
    void *old = list->memory;
    *list = {};
    enum cx_status status = cuda_result(cuda, "releasing", purpose, cudaFree(old), error);
    if (status == CX_OK)
        status = cuda_allocate(cuda, bytes, 1, purpose, &list->memory, error);
    if (status == CX_OK)
        list->bytes = bytes;
    return status;
}

enum cx_status cuda_pinned_fit(struct cuda_backend *cuda, struct cuda_list *list, size_t bytes, const char *purpose, struct cx_error *error) {
    if (bytes <= list->bytes)
        return CX_OK;
    void *old = list->memory;
    *list = {};
    enum cx_status status = cuda_result(cuda, "releasing", purpose, cudaFreeHost(old), error);
    if (status == CX_OK)
        status = cuda_result(cuda, "pinning memory", purpose, cudaMallocHost(&list->memory, bytes), error);
    if (status == CX_OK)
        list->bytes = bytes;
    else
        list->memory = NULL;
    return status;
}

enum cx_status cuda_upload(struct cuda_backend *cuda, const char *operation, void *target, const void *values, size_t bytes, struct cx_error *error) {
    enum cx_status status = CX_OK;
    for (size_t done = 0, piece = 0; done < bytes && status == CX_OK; piece++) {
        const size_t part = bytes - done < CUDA_STAGE_BYTES ? bytes - done : static_cast<size_t>(CUDA_STAGE_BYTES), k = piece % CUDA_STAGES;
        status = cuda_result(cuda, operation, "waiting for a copy", cudaEventSynchronize(cuda->stage_free[k]), error);
        if (status != CX_OK)
            break;
        memcpy(cuda->stage[k], static_cast<const unsigned char *>(values) + done, part);
        status = cuda_result(cuda, operation, "copying to the device",
                             cudaMemcpyAsync(static_cast<unsigned char *>(target) + done, cuda->stage[k], part, cudaMemcpyHostToDevice, cuda->stream), error);
        if (status == CX_OK)
            status = cuda_result(cuda, operation, "marking a copy", cudaEventRecord(cuda->stage_free[k], cuda->stream), error);
        done += part;
    }
    return status;
}

enum cx_status cuda_upload_shared(struct cuda_backend *cuda, const char *operation, void *target, const void *values, size_t bytes, struct cx_error *error) {
    enum cx_status status = cuda->base.is_given_weights ? CX_OK : cuda_upload(cuda, operation, target, values, bytes, error);
    return status == CX_OK ? cuda_team_share_device(cuda, target, bytes, error) : status;
}

/* Bytes of piece `index` of `bytes`. */
static size_t piece_bytes(size_t bytes, size_t index) {
    const size_t done = index * CUDA_STAGE_BYTES;
    return bytes - done < CUDA_STAGE_BYTES ? bytes - done : static_cast<size_t>(CUDA_STAGE_BYTES);
}

static enum cx_status start_download(struct cuda_backend *cuda, const char *operation, const void *source, size_t bytes, size_t index, struct cx_error *error) {
    const size_t k = index % CUDA_STAGES;
    enum cx_status status = cuda_result(cuda, operation, "copying from the device",
                                        cudaMemcpyAsync(cuda->stage[k], static_cast<const unsigned char *>(source) + index * CUDA_STAGE_BYTES,
                                                        piece_bytes(bytes, index), cudaMemcpyDeviceToHost, cuda->stream),
                                        error);
    return status == CX_OK ? cuda_result(cuda, operation, "marking a copy", cudaEventRecord(cuda->stage_free[k], cuda->stream), error) : status;
}

enum cx_status cuda_download(struct cuda_backend *cuda, const char *operation, void *values, const void *source, size_t bytes, struct cx_error *error) {
    const size_t pieces = (bytes + CUDA_STAGE_BYTES - 1) / CUDA_STAGE_BYTES;
    enum cx_status status = CX_OK;
    for (size_t index = 0; index < pieces && index < CUDA_STAGES && status == CX_OK; index++)
        status = start_download(cuda, operation, source, bytes, index, error);
    for (size_t index = 0; index < pieces && status == CX_OK; index++) {
        const size_t k = index % CUDA_STAGES;
        status = cuda_result(cuda, operation, "waiting for the device", cudaEventSynchronize(cuda->stage_free[k]), error);
        if (status != CX_OK)
            break;
        memcpy(static_cast<unsigned char *>(values) + index * CUDA_STAGE_BYTES, cuda->stage[k], piece_bytes(bytes, index));
        if (index + CUDA_STAGES < pieces)
            status = start_download(cuda, operation, source, bytes, index + CUDA_STAGES, error);
    }
    return status;
}

enum cx_status cuda_tensor_create(struct cx_backend *backend, enum cx_element element, size_t count, struct cx_tensor **tensor, struct cx_error *error) {
    struct cuda_backend *cuda = cuda_backend_of(backend);
    struct cx_tensor *created = NULL;
    void *memory = NULL;
    *tensor = NULL;
    enum cx_status status = cuda_enter(cuda, "tensor_create", false, error);
    if (status == CX_OK)
        status = cx_allocate(1, sizeof *created, "a tensor", &created, error);
    if (status != CX_OK)
        return status;
    status = cuda_allocate(cuda, count, element == CX_ELEMENT_FLOAT ? sizeof(float) : sizeof(double), "a tensor's numbers", &memory, error);
    if (status != CX_OK) {
        free(created);
        return status;
    }
    created->element = element;
    created->count = count;
    if (element == CX_ELEMENT_FLOAT)
        created->values = static_cast<float *>(memory);
    else
        created->doubles = static_cast<double *>(memory);
    *tensor = created;
    return CX_OK;
}

/* Memory of a device that has failed cannot be released any more, so the code is of no use. */
static void release(struct cuda_backend *cuda, void *memory) {
    cudaError_t code = cudaSetDevice(cuda->device);
    code = cudaFree(memory);
    (void)code;
}

void cuda_tensor_destroy(struct cx_backend *backend, struct cx_tensor *tensor) {
    if (!tensor)
        return;
    if (!tensor->is_part) {
        release(cuda_backend_of(backend), tensor->values);
        release(cuda_backend_of(backend), tensor->doubles);
    }
    free(tensor);
}

enum cx_status cuda_tensor_part(struct cx_backend *backend, const struct cx_tensor *whole, size_t first, size_t count, struct cx_tensor **part,
                                struct cx_error *error) {
    (void)backend;
    if (first > whole->count || count > whole->count - first)
        return cx_fail(error, CX_ERROR_INTERNAL, "tensor_part: elements %zu to %zu of a tensor of %zu", first, first + count, whole->count);
    enum cx_status status = *part ? CX_OK : cx_allocate(1, sizeof **part, "a part of a tensor", part, error);
    if (status == CX_OK)
        **part = {whole->element, true, count, whole->values ? whole->values + first : NULL, whole->doubles ? whole->doubles + first : NULL};
    return status;
}

enum cx_status cuda_write(struct cx_backend *backend, struct cx_tensor *tensor, size_t count, const float *values, struct cx_error *error) {
    struct cuda_backend *cuda = cuda_backend_of(backend);
    const struct cuda_argument arguments[] = {CUDA_FLOATS(tensor, count)};
    enum cx_status status = cuda_enter(cuda, "write", false, error);
    if (status == CX_OK)
        status = CUDA_CHECK_ALL("write", arguments, error);
    return status == CX_OK ? cuda_upload_shared(cuda, "write", tensor->values, values, count * sizeof *values, error) : status;
}
