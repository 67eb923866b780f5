/* The device's own rates, for benchmarks: large products by cuBLASLt, and large copies; of random numbers, since zeros run faster than data does. */
#include "cuda_backend.cuh"

#include <algorithm>

enum { threads = 256, most_repeats = 64 };

/* Uniform in -1 .. 1, from a hash of the index. */
template <typename Number> static __global__ void fill_kernel(size_t count, Number *numbers) {
    const size_t k = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (k >= count)
        return;
    unsigned bits = static_cast<unsigned>(k) * 2654435761u + static_cast<unsigned>(k >> 32);
    bits = (bits ^ (bits >> 15)) * 2246822519u;
    bits = (bits ^ (bits >> 13)) * 3266489917u;
    numbers[k] = static_cast<Number>(static_cast<float>(bits >> 8) / 8388608.0f - 1.0f);
}

static enum cx_status fill(struct cuda_backend *cuda, bool is_half, size_t count, void *numbers, struct cx_error *error) {
    const unsigned blocks = cuda_blocks(count, threads);
    if (is_half)
        return CUDA_LAUNCH(cuda, "rate", error, fill_kernel<__half>, blocks, threads, 0, count, static_cast<__half *>(numbers));
    return CUDA_LAUNCH(cuda, "rate", error, fill_kernel<float>, blocks, threads, 0, count, static_cast<float *>(numbers));
}

/* What is timed: a product, or if that is NULL a copy. */
struct timed_work {
    const struct cuda_product *product;
    void *to;
    const void *from;
    size_t bytes;
};

static enum cx_status do_work(struct cuda_backend *cuda, const struct timed_work *work, struct cx_error *error) {
    if (work->product)
        return cuda_multiply(cuda, work->product, error);
    return cuda_result(cuda, "rate", "copying", cudaMemcpyAsync(work->to, work->from, work->bytes, cudaMemcpyDeviceToDevice, cuda->stream), error);
}

static enum cx_status measure(struct cuda_backend *cuda, const struct timed_work *work, cudaEvent_t start, cudaEvent_t end, double *seconds,
                              struct cx_error *error) {
    float milliseconds = 0.0f;
    enum cx_status status = cuda_result(cuda, "rate", "marking a measurement", cudaEventRecord(start, cuda->stream), error);
    if (status == CX_OK)
        status = do_work(cuda, work, error);
    if (status == CX_OK)
        status = cuda_result(cuda, "rate", "marking a measurement", cudaEventRecord(end, cuda->stream), error);
    if (status == CX_OK)
        status = cuda_result(cuda, "rate", "waiting for a measurement", cudaEventSynchronize(end), error);
    if (status == CX_OK)
        status = cuda_result(cuda, "rate", "timing a measurement", cudaEventElapsedTime(&milliseconds, start, end), error);
    *seconds = 1e-3 * static_cast<double>(milliseconds);
    return status;
}

static enum cx_status measure_median(struct cuda_backend *cuda, const struct timed_work *work, int repeats, double *seconds, struct cx_error *error) {
    double times[most_repeats];
    cudaEvent_t start = NULL, end = NULL;
    int count = repeats < 1 ? 1 : repeats > most_repeats ? static_cast<int>(most_repeats) : repeats;
    enum cx_status status = cuda_result(cuda, "rate", "creating an event", cudaEventCreate(&start), error);
    if (status == CX_OK)
        status = cuda_result(cuda, "rate", "creating an event", cudaEventCreate(&end), error);
    if (status == CX_OK)
        status = measure(cuda, work, start, end, &times[0], error);
    for (int k = 0; k < count && status == CX_OK; k++)
        status = measure(cuda, work, start, end, &times[k], error);
    cudaError_t code = start ? cudaEventDestroy(start) : cudaSuccess;
    code = end ? cudaEventDestroy(end) : code;
    (void)code;
    if (status != CX_OK)
        return status;
    std::sort(times, times + count);
    *seconds = times[count / 2];
    return CX_OK;
}

enum cx_status cuda_backend_copy_rate(struct cx_backend *backend, size_t bytes, int repeats, double *rate, struct cx_error *error) {
    struct cuda_backend *cuda = cuda_backend_of(backend);
    void *from = NULL, *to = NULL;
    double seconds = 0.0;
    *rate = 0.0;
    enum cx_status status = cuda_enter(cuda, "rate", false, error);
    if (status != CX_OK)
        return status;
    const size_t count = bytes / sizeof(float) + 1;
    if ((status = cuda_allocate(cuda, count, sizeof(float), "a benchmark", &from, error)) == CX_OK &&
        (status = cuda_allocate(cuda, count, sizeof(float), "a benchmark", &to, error)) == CX_OK && (status = fill(cuda, false, count, from, error)) == CX_OK) {
        const struct timed_work work = {NULL, to, from, bytes};
        status = measure_median(cuda, &work, repeats, &seconds, error);
    }
    cudaError_t code = cudaFree(from);
    code = cudaFree(to);
    (void)code;
    if (status == CX_OK && seconds > 0.0)
        *rate = 2.0 * static_cast<double>(bytes) / seconds;
    return status;
}

enum cx_status cuda_backend_product_rate(struct cx_backend *backend, bool is_half, size_t rows, int repeats, double *rate, struct cx_error *error) {
    struct cuda_backend *cuda = cuda_backend_of(backend);
    const size_t count = rows * rows, element = is_half ? sizeof(__half) : sizeof(float);
    void *x = NULL, *weight = NULL, *y = NULL;
    double seconds = 0.0;
    *rate = 0.0;
    enum cx_status status = cuda_enter(cuda, "rate", false, error);
    if (status != CX_OK)
        return status;
    if ((status = cuda_allocate(cuda, count, element, "a benchmark", &x, error)) == CX_OK &&
        (status = cuda_allocate(cuda, count, element, "a benchmark", &weight, error)) == CX_OK &&
        (status = cuda_allocate(cuda, count, sizeof(float), "a benchmark", &y, error)) == CX_OK && (status = fill(cuda, is_half, count, x, error)) == CX_OK &&
        (status = fill(cuda, is_half, count, weight, error)) == CX_OK) {
        struct cuda_product product = {};
        product.operation = "rate";
        product.rows = product.in = product.out = rows;
        product.batches = 1;
        product.is_half = is_half;
        product.transposed = true;
        product.x = x;
        product.weight = weight;
        product.x_stride = product.weight_stride = product.y_stride = rows;
        product.y = static_cast<float *>(y);
        const struct timed_work work = {&product, NULL, NULL, 0};
        status = measure_median(cuda, &work, repeats, &seconds, error);
    }
    cudaError_t code = cudaFree(x);
    code = cudaFree(weight);
    code = cudaFree(y);
    (void)code;
    if (status == CX_OK && seconds > 0.0)
        *rate = 2.0 * static_cast<double>(rows) * static_cast<double>(rows) * static_cast<double>(rows) / seconds;
    return status;
}
