/*
 * What a source token gives to every head, and the scalar products of those vectors:
 *
 *     head_sources  F [T, H, d]: F_jh = v_j^h W_O^h, W_O [d, d] (out, in)
 *     ff_sources    P [T, H, f]: P_jh = v_j^h M^h, M [d, f] = [M^1; … M^H], M^h [e, f]
 *     gram          G [T, H+1, H+1], float64: the products of F_j1 … F_jH and x_j
 *
 * The first two are batches of H products of [T, e] by [e, d] or [e, f], whose operands and results interleave: strides, not copies. A Gram matrix is
 * H²·d float64 operations a token, 0.1 % of the pair product's work, so a warp takes entries straight from the cache.
 */
#include "cuda_backend.cuh"
#include "cuda_reduce.cuh"

/* gram_entries: of one row, taken at once, so that a number that is loaded and converted serves as many of them. */
constexpr unsigned gram_warps = 8, gram_threads = gram_warps * CUDA_WARP, gram_entries = 4;

static __device__ __forceinline__ const float *gram_row(const float *sources, const float *residual, size_t token, unsigned heads, unsigned width,
                                                        unsigned row) {
    return row < heads ? sources + (token * heads + row) * width : residual + token * width;
}

/* One block a token; warps take the entries of the upper triangle in turn. */
static __global__ void __launch_bounds__(gram_threads) gram_kernel(unsigned heads, unsigned width, const float *sources, const float *residual, double *gram) {
    const size_t token = blockIdx.x;
    const unsigned rows = heads + 1, warp = threadIdx.x / CUDA_WARP, lane = threadIdx.x % CUDA_WARP;
    double *entries = gram + token * rows * rows;
    unsigned turn = 0;
    for (unsigned h = 0; h < rows; h++) {
        const float *left = gram_row(sources, residual, token, heads, width, h);
        for (unsigned first = h; first < rows; first += gram_entries, turn++) {
            if (turn % gram_warps != warp)
                continue;
            const float *rights[gram_entries];
            double sums[gram_entries] = {};
#pragma unroll
            for (unsigned k = 0; k < gram_entries; k++)
                rights[k] = gram_row(sources, residual, token, heads, width, first + k < rows ? first + k : heads);
#pragma unroll 4
            for (unsigned c = lane; c < width; c += CUDA_WARP) {
                const double number = static_cast<double>(left[c]);
#pragma unroll
                for (unsigned k = 0; k < gram_entries; k++)
                    sums[k] += number * static_cast<double>(rights[k][c]);
            }
#pragma unroll
            for (unsigned k = 0; k < gram_entries; k++) {
                const double sum = warp_sum(sums[k]);
                if (lane == 0 && first + k < rows) {
                    entries[h * rows + first + k] = sum;
                    entries[(first + k) * rows + h] = sum;
                }
            }
        }
    }
}

/* H products: the heads' columns of the values [T, e] times their part of a weight, into [T, H, out]. */
static struct cuda_product heads_product(const struct cuda_backend *cuda, const char *operation, size_t out, const float *value, float *sources) {
    const struct cx_model_config *config = &cuda->base.config;
    struct cuda_product product = {};
    product.operation = operation;
    product.rows = cuda->batch->tokens;
    product.in = config->head_size;
    product.out = out;
    product.batches = config->heads;
    product.x = value;
    product.x_stride = config->hidden_size;
    product.x_distance = config->head_size;
    product.y = sources;
    product.y_stride = config->heads * out;
    product.y_distance = out;
    return product;
}

enum cx_status cuda_head_sources(struct cx_backend *backend, const struct cx_tensor *value, const struct cx_matrix *attention_output, struct cx_tensor *sources,
                                 struct cx_error *error) {
    struct cuda_backend *cuda = cuda_backend_of(backend);
    const struct cx_model_config *config = &cuda->base.config;
    const size_t width = config->hidden_size;
    enum cx_status status = cuda_enter(cuda, "head_sources", true, error);
    if (status != CX_OK)
        return status;
    const size_t tokens = cuda->batch->tokens;
    const struct cuda_argument arguments[] = {CUDA_FLOATS(value, tokens * width), CUDA_FLOATS(sources, tokens * config->heads * width)};
    status = CUDA_CHECK_ALL("head_sources", arguments, error);
    if (status != CX_OK)
        return status;
    if (attention_output->in != width || attention_output->out != width)
        return cx_fail(error, CX_ERROR_INTERNAL, "head_sources: expected a matrix [%zu, %zu], found [%zu, %zu]", width, width, attention_output->out,
                       attention_output->in);
    struct cuda_product product = heads_product(cuda, "head_sources", width, value->values, sources->values);
    product.transposed = true;
    product.weight = attention_output->weight;
    product.weight_stride = width;
    product.weight_distance = config->head_size;
    return cuda_multiply(cuda, &product, error);
}

enum cx_status cuda_ff_sources(struct cx_backend *backend, const struct cx_tensor *value, const struct cx_tensor *value_to_ff, struct cx_tensor *sources,
                               struct cx_error *error) {
    struct cuda_backend *cuda = cuda_backend_of(backend);
    const struct cx_model_config *config = &cuda->base.config;
    const size_t width = config->hidden_size, neurons = config->intermediate_size;
    enum cx_status status = cuda_enter(cuda, "ff_sources", true, error);
    if (status != CX_OK)
        return status;
    const size_t tokens = cuda->batch->tokens;
    const struct cuda_argument arguments[] = {
        CUDA_FLOATS(value, tokens * width),
        CUDA_FLOATS(value_to_ff, width * neurons),
        CUDA_FLOATS(sources, tokens * config->heads * neurons),
    };
    status = CUDA_CHECK_ALL("ff_sources", arguments, error);
    if (status != CX_OK)
        return status;
    struct cuda_product product = heads_product(cuda, "ff_sources", neurons, value->values, sources->values);
    product.weight = value_to_ff->values;
    product.weight_stride = neurons;
    product.weight_distance = config->head_size * neurons;
    return cuda_multiply(cuda, &product, error);
}

enum cx_status cuda_gram(struct cx_backend *backend, const struct cx_tensor *sources, const struct cx_tensor *residual, struct cx_tensor *gram,
                         struct cx_error *error) {
    struct cuda_backend *cuda = cuda_backend_of(backend);
    const size_t heads = cuda->base.config.heads, width = cuda->base.config.hidden_size;
    enum cx_status status = cuda_enter(cuda, "gram", true, error);
    if (status != CX_OK)
        return status;
    const size_t tokens = cuda->batch->tokens;
    const struct cuda_argument arguments[] = {
        CUDA_FLOATS(sources, tokens * heads * width),
        CUDA_FLOATS(residual, tokens * width),
        CUDA_DOUBLES(gram, tokens * (heads + 1) * (heads + 1)),
    };
    status = CUDA_CHECK_ALL("gram", arguments, error);
    if (status != CX_OK || tokens == 0)
        return status;
    return CUDA_LAUNCH(cuda, "gram", error, gram_kernel, static_cast<unsigned>(tokens), gram_threads, 0, static_cast<unsigned>(heads),
                       static_cast<unsigned>(width), sources->values, residual->values, gram->doubles);
}
