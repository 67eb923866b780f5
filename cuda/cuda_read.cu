/*
 * From the device to the host.
 *
 * read() waits for all that was begun. read_begin() copies on a stream of its own, behind an event that marks what has been begun so far, into pinned memory
 * of the slot; the kernels begun after it run beside the copy. read_wait() waits for the event behind that copy, and for nothing else.
 */
#include "cuda_backend.cuh"

/* The place of the counts that travel with a slot's numbers. */
static size_t counter_of(size_t slot) {
    return 1 + slot;
}

/* A copy of the counts as they are at this point of the main stream, which later kernels do not change. */
static enum cx_status keep_counts(struct cuda_backend *cuda, size_t place, struct cx_error *error) {
    if (!cuda->has_counted)
        return CX_OK;
    return cuda_result(cuda, "read", "copying counters",
                       cudaMemcpyAsync(cuda->counts + place, cuda->counts, sizeof *cuda->counts, cudaMemcpyDeviceToDevice, cuda->stream), error);
}

static enum cx_status fetch_counts(struct cuda_backend *cuda, size_t place, cudaStream_t stream, struct cx_error *error) {
    if (!cuda->has_counted)
        return CX_OK;
    return cuda_result(cuda, "read", "copying counters",
                       cudaMemcpyAsync(cuda->counts_pinned + place, cuda->counts + place, sizeof *cuda->counts, cudaMemcpyDeviceToHost, stream), error);
}

/* What kernels have counted since the backend was opened, or since it was told. */
static enum cx_status check_counts(struct cuda_backend *cuda, size_t place, struct cx_error *error) {
    const struct cuda_counts counts = cuda->counts_pinned[place];
    if (counts.small_pairs == 0 && counts.large_numbers == 0)
        return CX_OK;
    cuda->counts_pinned[place] = {};
    enum cx_status status = cuda_result(cuda, "read", "clearing counters", cudaMemsetAsync(cuda->counts, 0, sizeof *cuda->counts, cuda->stream), error);
    if (status != CX_OK)
        return status;
    if (counts.large_numbers > 0)
        return cx_fail(error, CX_ERROR_INPUT,
                       "linear: %u numbers of the forward pass are too large for float16 (beyond 65504): use --forward-precision tf32 or f32",
                       counts.large_numbers);
    return cx_fail(error, CX_ERROR_INPUT,
                   "ff_pair_norms: %u pairs have feed-forward parts too small beside their own terms for float16 (relative error above 1e-3): "
                   "use --pair-precision f32",
                   counts.small_pairs);
}

enum cx_status cuda_read(struct cx_backend *backend, const struct cx_tensor *tensor, size_t first, size_t count, void *values, struct cx_error *error) {
    const size_t place = CUDA_COUNTERS - 1;
    struct cuda_backend *cuda = cuda_backend_of(backend);
    enum cx_status status = cuda_enter(cuda, "read", false, error);
    if (status != CX_OK)
        return status;
    if (first > tensor->count || count > tensor->count - first)
        return cx_fail(error, CX_ERROR_INTERNAL, "read: elements %zu to %zu of a tensor of %zu", first, first + count, tensor->count);
    if (count == 0)
        return CX_OK;
    if ((status = keep_counts(cuda, place, error)) != CX_OK || (status = fetch_counts(cuda, place, cuda->stream, error)) != CX_OK)
        return status;
    if (tensor->element == CX_ELEMENT_FLOAT)
        status = cuda_download(cuda, "read", values, tensor->values + first, count * sizeof(float), error);
    else
        status = cuda_download(cuda, "read", values, tensor->doubles + first, count * sizeof(double), error);
    return status == CX_OK ? check_counts(cuda, place, error) : status;
}

enum cx_status cuda_read_begin(struct cx_backend *backend, size_t slot, const struct cx_tensor *tensor, size_t first, size_t count, struct cx_error *error) {
    struct cuda_backend *cuda = cuda_backend_of(backend);
    enum cx_status status = cuda_enter(cuda, "read_begin", false, error);
    if (status != CX_OK)
        return status;
    if (slot >= CX_READ_SLOTS || tensor->element != CX_ELEMENT_FLOAT || first > tensor->count || count > tensor->count - first)
        return cx_fail(error, CX_ERROR_INTERNAL, "read_begin: slot %zu, elements %zu to %zu of a tensor of %zu", slot, first, first + count, tensor->count);
    struct cuda_read_slot *read = &cuda->reads[slot];
    /* As large as the tensor: its later batches may be larger than this one, and making room waits for the device. */
    if ((status = cuda_pinned_fit(cuda, &read->pinned, tensor->count * sizeof(float), "results on their way", error)) != CX_OK ||
        (status = keep_counts(cuda, counter_of(slot), error)) != CX_OK ||
        (status = cuda_result(cuda, "read_begin", "marking what is computed", cudaEventRecord(read->computed, cuda->stream), error)) != CX_OK ||
        (status = cuda_result(cuda, "read_begin", "ordering a copy", cudaStreamWaitEvent(cuda->copies, read->computed, 0), error)) != CX_OK ||
        (status = cuda_result(cuda, "read_begin", "copying from the device",
                              cudaMemcpyAsync(read->pinned.memory, tensor->values + first, count * sizeof(float), cudaMemcpyDeviceToHost, cuda->copies),
                              error)) != CX_OK ||
        (status = fetch_counts(cuda, counter_of(slot), cuda->copies, error)) != CX_OK ||
        (status = cuda_result(cuda, "read_begin", "marking a copy", cudaEventRecord(read->copied, cuda->copies), error)) != CX_OK)
        return status;
    read->is_begun = true;
    return CX_OK;
}

enum cx_status cuda_read_wait(struct cx_backend *backend, size_t slot, const float **values, struct cx_error *error) {
    struct cuda_backend *cuda = cuda_backend_of(backend);
    *values = NULL;
    enum cx_status status = cuda_enter(cuda, "read_wait", false, error);
    if (status != CX_OK)
        return status;
    if (slot >= CX_READ_SLOTS || !cuda->reads[slot].is_begun)
        return cx_fail(error, CX_ERROR_INTERNAL, "read_wait: nothing was begun in slot %zu", slot);
    status = cuda_result(cuda, "read_wait", "waiting for the device", cudaEventSynchronize(cuda->reads[slot].copied), error);
    if (status == CX_OK)
        status = check_counts(cuda, counter_of(slot), error);
    if (status == CX_OK)
        *values = static_cast<const float *>(cuda->reads[slot].pinned.memory);
    return status;
}

enum cx_status cuda_reads_open(struct cuda_backend *cuda, struct cx_error *error) {
    const size_t counters = CUDA_COUNTERS * sizeof *cuda->counts;
    enum cx_status status = cuda_result(cuda, "open", "creating a stream", cudaStreamCreateWithFlags(&cuda->copies, cudaStreamNonBlocking), error);
    for (size_t slot = 0; slot < CX_READ_SLOTS && status == CX_OK; slot++) {
        struct cuda_read_slot *read = &cuda->reads[slot];
        status = cuda_result(cuda, "open", "creating an event", cudaEventCreateWithFlags(&read->computed, cudaEventDisableTiming), error);
        /* The thread that waits sleeps: compression needs the cores. */
        if (status == CX_OK)
            status =
                cuda_result(cuda, "open", "creating an event", cudaEventCreateWithFlags(&read->copied, cudaEventDisableTiming | cudaEventBlockingSync), error);
    }
    if (status == CX_OK)
        status = cuda_result(cuda, "open", "pinning memory for copies", cudaMallocHost(reinterpret_cast<void **>(&cuda->counts_pinned), counters), error);
    for (size_t place = 0; place < CUDA_COUNTERS && status == CX_OK; place++)
        cuda->counts_pinned[place] = {};
    if (status == CX_OK)
        status = cuda_allocate(cuda, CUDA_COUNTERS, sizeof *cuda->counts, "counters", reinterpret_cast<void **>(&cuda->counts), error);
    if (status == CX_OK)
        status = cuda_result(cuda, "open", "clearing counters", cudaMemsetAsync(cuda->counts, 0, counters, cuda->stream), error);
    cuda->base.reads_ahead = CX_READ_SLOTS - 1;
    return status;
}

void cuda_reads_close(struct cuda_backend *cuda) {
    if (cuda->copies)
        cuda_forget(cudaStreamSynchronize(cuda->copies));
    for (size_t slot = 0; slot < CX_READ_SLOTS; slot++) {
        struct cuda_read_slot *read = &cuda->reads[slot];
        cuda_forget(cudaFreeHost(read->pinned.memory));
        if (read->computed)
            cuda_forget(cudaEventDestroy(read->computed));
        if (read->copied)
            cuda_forget(cudaEventDestroy(read->copied));
    }
    cuda_forget(cudaFree(cuda->counts));
    cuda_forget(cudaFreeHost(cuda->counts_pinned));
    if (cuda->copies)
        cuda_forget(cudaStreamDestroy(cuda->copies));
}
