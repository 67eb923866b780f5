/* The table of operations, and opening: which GPU, and what is allocated once. */
#include "fused_pairs.cuh"

#include <cstdio>
#include <cstdlib>
#include <cstring>

/* Tensor cores with float32 sums, asynchronous copies: what the kernels are written for. */
enum { least_capability = 80 };

static void cuda_close(struct cx_backend *);
static void cuda_describe(const struct cx_backend *, char *text, size_t size);
static void cuda_device_name(const struct cx_backend *, char *text, size_t size);

static const struct cx_backend_operations cuda_operations = {
    .name = "cuda",
    .team = &cuda_team_operations,
    .device_name = cuda_device_name,
    .close = cuda_close,
    .describe = cuda_describe,
    .tensor_create = cuda_tensor_create,
    .tensor_destroy = cuda_tensor_destroy,
    .write = cuda_write,
    .read = cuda_read,
    .tensor_part = cuda_tensor_part,
    .read_begin = cuda_read_begin,
    .read_wait = cuda_read_wait,
    .matrix_create = cuda_matrix_create,
    .matrix_destroy = cuda_matrix_destroy,
    .pair_matrix_create = cuda_pair_matrix_create,
    .pair_matrix_destroy = cuda_pair_matrix_destroy,
    .batch_begin = cuda_batch_begin,
    .embed_open = cuda_embed_open,
    .embed = cuda_embed,
    .norm = cuda_norm,
    .linear = cuda_linear,
    .attend = cuda_attend,
    .activate = cuda_activate,
    .add = cuda_add,
    .broadcast = cuda_broadcast,
    .norm_linear = cuda_norm_linear,
    .scale_columns = cuda_scale_columns,
    .ff_bias = cuda_ff_bias,
    .head_sources = cuda_head_sources,
    .gram = cuda_gram,
    .attention_norms = cuda_attention_norms,
    .attention_word_norms = cuda_attention_word_norms,
    .attention_parts = cuda_attention_parts,
    .attention_mean = cuda_attention_mean,
    .head_norms = cuda_head_norms,
    .ff_sources = cuda_ff_sources,
    .ff_pair_norms = cuda_ff_pair_norms,
    .stage_summary = cuda_stage_summary,
    .part_vectors = cuda_part_vectors,
    .row_shares = cuda_row_shares,
    .map_ranks = cuda_map_ranks,
    .rank_change = cuda_rank_change,
    .time_begin = cuda_time_begin,
    .time_end = cuda_time_end,
    .times_read = cuda_times_read,
    .product_rate = cuda_product_rate,
};

/* major * 10 + minor; 0 if the device cannot be asked. */
static int capability_of(int device) {
    int major = 0, minor = 0;
    if (cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) != cudaSuccess ||
        cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device) != cudaSuccess)
        return 0;
    return 10 * major + minor;
}

static void name_of(int device, char *name, size_t size) {
    struct cudaDeviceProp properties;
    snprintf(name, size, "GPU %d", device);
    if (cudaGetDeviceProperties(&properties, device) == cudaSuccess)
        snprintf(name, size, "%s", properties.name);
}

/* The device of that number among those that are good enough, in CUDA's order (the fastest first, or as CUDA_VISIBLE_DEVICES says), counted anew behind the
   last; -1 with the reason in `text`. */
static int choose_device(int number, char *text, size_t size) {
    int count = 0, capability = 0, usable = 0;
    char name[256];
    cudaError_t code = cudaGetDeviceCount(&count);
    if (code == cudaErrorInsufficientDriver) {
        snprintf(text, size, "the NVIDIA driver is missing or older than CUDA %d.%d needs", CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
        return -1;
    }
    if (code != cudaSuccess || count == 0) {
        snprintf(text, size, "no NVIDIA GPU was found (%s)", code == cudaSuccess ? "no device" : cudaGetErrorName(code));
        return -1;
    }
    for (int device = 0; device < count; device++)
        usable += capability_of(device) >= least_capability;
    for (int device = 0, left = usable > 0 ? number % usable : 0; device < count; device++) {
        capability = capability_of(device);
        name_of(device, name, sizeof name);
        if (capability >= least_capability && left-- == 0) {
            snprintf(text, size, "%s, compute capability %d.%d", name, capability / 10, capability % 10);
            return device;
        }
    }
    snprintf(text, size, "the GPU is too old: %s has compute capability %d.%d, %d.%d is the least", name, capability / 10, capability % 10,
             least_capability / 10, least_capability % 10);
    return -1;
}

bool cuda_backend_built(void) {
    return true;
}

bool cuda_backend_usable(char *text, size_t size) {
    const int device = choose_device(0, text, size);
    bool usable = device >= 0;
    char reason[512], names[64];
    if (usable && !cuda_products_usable(reason, sizeof reason)) {
        snprintf(text, size, "%s", reason);
        usable = false;
    } else if (usable) {
        const size_t used = strlen(text);
        fused_list(capability_of(device), names, sizeof names);
        snprintf(text + used, size - used, ", pair kernels in f16: %s", names);
    }
    /* A machine without a GPU is no error that a later call should find. */
    cudaError_t remembered = cudaGetLastError();
    (void)remembered;
    return usable;
}

static enum cx_status read_attributes(struct cuda_backend *cuda, struct cx_error *error) {
    int shared = 0;
    size_t free_bytes = 0;
    cuda->capability = capability_of(cuda->device);
    enum cx_status status = cuda_result(cuda, "open", "asking for the multiprocessors",
                                        cudaDeviceGetAttribute(&cuda->multiprocessors, cudaDevAttrMultiProcessorCount, cuda->device), error);
    if (status == CX_OK)
        status = cuda_result(cuda, "open", "asking for the L2 cache", cudaDeviceGetAttribute(&cuda->level2_bytes, cudaDevAttrL2CacheSize, cuda->device), error);
    if (status == CX_OK)
        status = cuda_result(cuda, "open", "asking for the shared memory",
                             cudaDeviceGetAttribute(&shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, cuda->device), error);
    if (status == CX_OK)
        status = cuda_result(cuda, "open", "asking for the memory", cudaMemGetInfo(&free_bytes, &cuda->memory_bytes), error);
    cuda->shared_bytes = static_cast<size_t>(shared);
    return status;
}

static enum cx_status open_stages(struct cuda_backend *cuda, struct cx_error *error) {
    enum cx_status status = CX_OK;
    for (int k = 0; k < CUDA_BATCHES && status == CX_OK; k++)
        status = cuda_result(cuda, "open", "creating an event", cudaEventCreateWithFlags(&cuda->batch_blocks[k].copied, cudaEventDisableTiming), error);
    for (int k = 0; k < CUDA_STAGES && status == CX_OK; k++) {
        status = cuda_result(cuda, "open", "creating an event", cudaEventCreateWithFlags(&cuda->stage_free[k], cudaEventDisableTiming), error);
        if (status == CX_OK)
            status =
                cuda_result(cuda, "open", "pinning memory for copies", cudaMallocHost(reinterpret_cast<void **>(&cuda->stage[k]), CUDA_STAGE_BYTES), error);
    }
    return status;
}

enum cx_status cuda_backend_open(const struct cx_backend_options *options, const struct cx_model_config *config, struct cx_backend **backend,
                                 struct cx_error *error) {
    struct cuda_backend *cuda = NULL;
    char text[512];
    *backend = NULL;
    int device = choose_device(options->device, text, sizeof text);
    if (device < 0) {
        cudaError_t remembered = cudaGetLastError();
        (void)remembered;
        return cx_fail(error, CX_ERROR_DEVICE, "the CUDA backend cannot be used, because %s: use --backend cpu or auto", text);
    }
    if (options->pair_precision == CX_PAIR_BF16)
        return cx_fail(error, CX_ERROR_UNSUPPORTED, "the CUDA backend has no pair precision bf16; use f16, which is as fast and more exact, or f32");
    enum cx_status status = cx_allocate(1, sizeof *cuda, "the CUDA backend", &cuda, error);
    if (status != CX_OK)
        return status;
    cuda->base.operations = &cuda_operations;
    cuda->base.config = *config;
    cuda->pair_precision = options->pair_precision;
    cuda->forward_precision = options->forward_precision;
    cuda->pair_rows = options->pair_chunk > UINT32_MAX ? UINT32_MAX : static_cast<unsigned>(options->pair_chunk);
    cuda->device = device;
    status = cuda_enter(cuda, "open", false, error);
    if (status == CX_OK)
        status = read_attributes(cuda, error);
    if (status == CX_OK)
        status = cuda_result(cuda, "open", "creating a stream", cudaStreamCreateWithFlags(&cuda->stream, cudaStreamNonBlocking), error);
    if (status == CX_OK)
        status = open_stages(cuda, error);
    if (status == CX_OK)
        status = cuda_reads_open(cuda, error);
    if (status == CX_OK)
        status = cuda_products_open(cuda, error);
    if (status == CX_OK)
        status = fused_open(cuda, options->pair_kernel, error);
    if (status != CX_OK) {
        cuda_close(&cuda->base);
        return status;
    }
    cuda_pair_sizes(cuda);
    *backend = &cuda->base;
    return CX_OK;
}

static void cuda_close(struct cx_backend *backend) {
    struct cuda_backend *cuda = cuda_backend_of(backend);
    cuda_forget(cudaSetDevice(cuda->device));
    if (cuda->stream)
        cuda_forget(cudaStreamSynchronize(cuda->stream));
    cuda_team_close(cuda);
    cuda_products_close(cuda);
    fused_close(cuda);
    cuda_reads_close(cuda);
    cuda_timings_close(cuda);
    cuda_tables_drop(cuda);
    cuda_forget(cudaFree(cuda->scratch.memory));
    for (int k = 0; k < CUDA_BATCHES; k++) {
        cuda_forget(cudaFree(cuda->batch_blocks[k].memory.memory));
        cuda_forget(cudaFreeHost(cuda->batch_blocks[k].pinned.memory));
        if (cuda->batch_blocks[k].copied)
            cuda_forget(cudaEventDestroy(cuda->batch_blocks[k].copied));
    }
    for (int k = 0; k < CUDA_STAGES; k++) {
        cuda_forget(cudaFreeHost(cuda->stage[k]));
        if (cuda->stage_free[k])
            cuda_forget(cudaEventDestroy(cuda->stage_free[k]));
    }
    if (cuda->stream)
        cuda_forget(cudaStreamDestroy(cuda->stream));
    cuda_forget(cudaGetLastError());
    free(cuda->chunks);
    free(cuda);
}

/* As nvidia-smi writes it. */
static void cuda_device_name(const struct cx_backend *backend, char *text, size_t size) {
    enum { uuid_bytes = 16 };
    const struct cuda_backend *cuda = reinterpret_cast<const struct cuda_backend *>(backend);
    struct cudaDeviceProp properties = {};
    const bool known = cudaGetDeviceProperties(&properties, cuda->device) == cudaSuccess;
    size_t used = static_cast<size_t>(snprintf(text, size, "GPU"));
    for (int k = 0; k < uuid_bytes && known && used < size; k++)
        used += static_cast<size_t>(snprintf(text + used, size - used, "%s%02x", k == 0 || (k >= 4 && k <= 10 && k % 2 == 0) ? "-" : "",
                                             static_cast<unsigned>(static_cast<unsigned char>(properties.uuid.bytes[k]))));
}

static void cuda_describe(const struct cx_backend *backend, char *text, size_t size) {
    const struct cuda_backend *cuda = reinterpret_cast<const struct cuda_backend *>(backend);
    char name[256], way[64];
    int driver = 0;
    name_of(cuda->device, name, sizeof name);
    if (cudaDriverGetVersion(&driver) != cudaSuccess)
        driver = 0;
    if (cuda->fused)
        snprintf(way, sizeof way, "by the fused kernel %s", cx_pair_kernel_name(cuda->fused->kernel->kind));
    else
        snprintf(way, sizeof way, "in chunks of %u rows", cuda->pair_rows);
    snprintf(text, size, "%s, compute capability %d.%d, %d multiprocessors, CUDA %d.%d (driver %d.%d), forward pass %s, pair product %s %s", name,
             cuda->capability / 10, cuda->capability % 10, cuda->multiprocessors, CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10, driver / 1000,
             driver % 1000 / 10, cx_forward_precision_name(cuda->forward_precision), cx_pair_precision_name(cuda->pair_precision), way);
}
