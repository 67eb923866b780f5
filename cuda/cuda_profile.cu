/*
 * Times of operations, by a pair of events around each in the main stream, and a range of its name for NVIDIA's profilers. Pairs take turns: when all are
 * used the oldest is looked at, which the device passed long ago, so measuring waits for nothing. The time of an operation is from its first kernel's begin to
 * its last one's end, so gaps between its own kernels count as the operation; gaps between operations count as idle.
 */
#include "cuda_backend.cuh"

#include <cstdlib>

#if !defined(CUDA_EMULATION) && __has_include(<nvtx3/nvToolsExt.h>)
#include <nvtx3/nvToolsExt.h>
#define RANGE_BEGIN(name) static_cast<void>(nvtxRangePushA(name))
#define RANGE_END()       static_cast<void>(nvtxRangePop())
#else
#define RANGE_BEGIN(name) static_cast<void>(name)
#define RANGE_END()
#endif

enum { pairs = 512 };

struct cuda_timings {
    struct {
        cudaEvent_t begin, end;
        enum cx_operation operation;
    } pair[pairs]; /* number k of all is pair[k % pairs] */
    uint64_t begun, taken;
    struct cx_operation_times times;
};

void cuda_timings_close(struct cuda_backend *cuda) {
    for (size_t k = 0; cuda->timings && k < pairs; k++) {
        if (cuda->timings->pair[k].begin)
            cuda_forget(cudaEventDestroy(cuda->timings->pair[k].begin));
        if (cuda->timings->pair[k].end)
            cuda_forget(cudaEventDestroy(cuda->timings->pair[k].end));
    }
    free(cuda->timings);
}

static enum cx_status open_timings(struct cuda_backend *cuda, struct cx_error *error) {
    enum cx_status status = cx_allocate(1, sizeof *cuda->timings, "the events of a profile", &cuda->timings, error);
    for (size_t k = 0; k < pairs && status == CX_OK; k++) {
        status = cuda_result(cuda, "profile", "creating an event", cudaEventCreate(&cuda->timings->pair[k].begin), error);
        if (status == CX_OK)
            status = cuda_result(cuda, "profile", "creating an event", cudaEventCreate(&cuda->timings->pair[k].end), error);
    }
    return status;
}

static enum cx_status elapsed(struct cuda_backend *cuda, cudaEvent_t from, cudaEvent_t to, double *seconds, struct cx_error *error) {
    float milliseconds = 0.0f;
    enum cx_status status = cuda_result(cuda, "profile", "waiting for an event", cudaEventSynchronize(to), error);
    if (status == CX_OK)
        status = cuda_result(cuda, "profile", "reading a time", cudaEventElapsedTime(&milliseconds, from, to), error);
    *seconds += 1e-3 * static_cast<double>(milliseconds);
    return status;
}

/* Adds the oldest pair to the times, with the gap to the next one if there is a next. */
static enum cx_status take_oldest(struct cuda_backend *cuda, struct cx_error *error) {
    struct cuda_timings *timings = cuda->timings;
    const auto &oldest = timings->pair[timings->taken % pairs], &next = timings->pair[(timings->taken + 1) % pairs];
    enum cx_status status = elapsed(cuda, oldest.begin, oldest.end, &timings->times.operations[oldest.operation].seconds, error);
    timings->times.operations[oldest.operation].calls++;
    timings->taken++;
    if (status == CX_OK && timings->taken < timings->begun)
        status = elapsed(cuda, oldest.end, next.begin, &timings->times.idle_seconds, error);
    return status;
}

enum cx_status cuda_time_begin(struct cx_backend *backend, enum cx_operation operation, struct cx_error *error) {
    struct cuda_backend *cuda = cuda_backend_of(backend);
    enum cx_status status = cuda_enter(cuda, "profile", false, error);
    if (status == CX_OK && !cuda->timings)
        status = open_timings(cuda, error);
    if (status == CX_OK && cuda->timings->begun - cuda->timings->taken == pairs)
        status = take_oldest(cuda, error);
    if (status != CX_OK)
        return status;
    auto &pair = cuda->timings->pair[cuda->timings->begun % pairs];
    pair.operation = operation;
    RANGE_BEGIN(cx_operation_name(operation));
    return cuda_result(cuda, "profile", "marking a begin", cudaEventRecord(pair.begin, cuda->stream), error);
}

enum cx_status cuda_time_end(struct cx_backend *backend, enum cx_operation operation, struct cx_error *error) {
    struct cuda_backend *cuda = cuda_backend_of(backend);
    (void)operation;
    RANGE_END();
    const auto &pair = cuda->timings->pair[cuda->timings->begun++ % pairs];
    return cuda_result(cuda, "profile", "marking an end", cudaEventRecord(pair.end, cuda->stream), error);
}

/* The last pair stays, so that the gap behind it is counted when there is another operation. */
enum cx_status cuda_times_read(struct cx_backend *backend, struct cx_operation_times *times, struct cx_error *error) {
    struct cuda_backend *cuda = cuda_backend_of(backend);
    enum cx_status status = cuda_enter(cuda, "profile", false, error);
    *times = {};
    if (status != CX_OK || !cuda->timings || cuda->timings->begun == 0)
        return status;
    while (status == CX_OK && cuda->timings->begun - cuda->timings->taken > 1)
        status = take_oldest(cuda, error);
    *times = cuda->timings->times;
    const auto &last = cuda->timings->pair[cuda->timings->taken % pairs];
    if (status == CX_OK && cuda->timings->taken < cuda->timings->begun) {
        times->operations[last.operation].calls++;
        status = elapsed(cuda, last.begin, last.end, &times->operations[last.operation].seconds, error);
    }
    return status;
}

/* Products so large that more would not be faster, and not larger: on an H100 a millisecond each. */
enum cx_status cuda_product_rate(struct cx_backend *backend, bool is_half, double *rate, struct cx_error *error) {
    const double long_enough = 1e-3;
    enum { least_rows = 1024, most_rows = 8192, repeats = 5 };
    enum cx_status status = CX_OK;
    double seconds = 0.0;
    for (size_t rows = least_rows; rows <= most_rows && seconds < long_enough && status == CX_OK; rows *= 2) {
        const double count = static_cast<double>(rows);
        status = cuda_backend_product_rate(backend, is_half, rows, repeats, rate, error);
        seconds = *rate > 0.0 ? 2.0 * count * count * count / *rate : long_enough;
    }
    return status;
}
