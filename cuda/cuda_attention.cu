/*
 * Attention weights and their use, tile by tile of target tokens and head by head:
 *
 *     α^h_ij = softmax_j(q_i^h · k_j^h / √e) [H, pairs]      context [T, d] = Σ_j α^h_ij v_j^h, heads side by side
 *
 * α is a result, so it is written to memory, and the block that wrote a row of scores reads it again from the cache for the softmax and the context.
 * attention_mean [pairs] is the mean of α over the heads.
 */
#include "cuda_backend.cuh"
#include "cuda_reduce.cuh"
#include "cuda_tile.cuh"

#include <cmath>

enum { element_threads = 256 };

/* A tile's scores q k^T / √e, into the rows of α. */
static __device__ void write_scores(struct tile_operands &shared, const struct cuda_tile &tile, unsigned width, unsigned size, const float *query,
                                    const float *key, float *weights) {
    const float scale = static_cast<float>(1.0 / sqrt(static_cast<double>(size)));
    const unsigned n = tile.length, row = threadIdx.x / 16 * 4, column = threadIdx.x % 16 * 4;
    for (unsigned source = 0; source < n; source += TILE_COLUMNS) {
        float sum[4][4];
        auto load_query = [&](unsigned r, unsigned k) { return r < tile.targets && k < size ? query[static_cast<size_t>(r) * width + k] : 0.0f; };
        auto load_key = [&](unsigned k, unsigned c) { return k < size && source + c < n ? key[static_cast<size_t>(source + c) * width + k] : 0.0f; };
        tile_product<true>(shared, size, load_query, load_key, sum);
#pragma unroll
        for (int i = 0; i < 4; i++) {
#pragma unroll
            for (int j = 0; j < 4; j++) {
                if (row + i < tile.targets && source + column + j < n)
                    weights[static_cast<size_t>(row + i) * n + source + column + j] = sum[i][j] * scale;
            }
        }
    }
}

/* One warp a row. The sum is float64, so that long rows sum to 1 as well as short ones. */
static __device__ void soften_row(float *row, unsigned n, unsigned lane) {
    float largest = -INFINITY;
    double sum = 0.0;
    for (unsigned k = lane; k < n; k += CUDA_WARP)
        largest = fmaxf(largest, row[k]);
    largest = warp_largest(largest);
    for (unsigned k = lane; k < n; k += CUDA_WARP) {
        const float power = expf(row[k] - largest);
        row[k] = power;
        sum += static_cast<double>(power);
    }
    const double factor = 1.0 / warp_sum(sum);
    for (unsigned k = lane; k < n; k += CUDA_WARP)
        row[k] = static_cast<float>(static_cast<double>(row[k]) * factor);
}

static __device__ void write_context(struct tile_operands &shared, const struct cuda_tile &tile, unsigned width, unsigned size, const float *weights,
                                     const float *value, float *context) {
    const unsigned n = tile.length, row = threadIdx.x / 16 * 4, column = threadIdx.x % 16 * 4;
    for (unsigned first = 0; first < size; first += TILE_COLUMNS) {
        float sum[4][4];
        auto load_weight = [&](unsigned r, unsigned k) { return r < tile.targets && k < n ? weights[static_cast<size_t>(r) * n + k] : 0.0f; };
        auto load_value = [&](unsigned k, unsigned c) { return k < n && first + c < size ? value[static_cast<size_t>(k) * width + first + c] : 0.0f; };
        tile_product<false>(shared, n, load_weight, load_value, sum);
#pragma unroll
        for (int i = 0; i < 4; i++) {
#pragma unroll
            for (int j = 0; j < 4; j++) {
                if (row + i < tile.targets && first + column + j < size)
                    context[static_cast<size_t>(row + i) * width + first + column + j] = sum[i][j];
            }
        }
    }
}

/* Grid: tiles × heads. */
static __global__ void __launch_bounds__(TILE_THREADS) attend_kernel(const struct cuda_tile *tiles, unsigned heads, unsigned size, const float *query,
                                                                     const float *key, const float *value, float *attention, float *context) {
    SHARED_ARRAY(struct tile_operands, shared, [1]);
    const struct cuda_tile tile = tiles[blockIdx.x];
    const unsigned head = blockIdx.y, width = heads * size, n = tile.length;
    const size_t target = static_cast<size_t>(tile.first + tile.target) * width + head * size, source = static_cast<size_t>(tile.first) * width + head * size;
    float *weights = attention + heads * tile.pairs + (static_cast<size_t>(head) * n + tile.target) * n;
    write_scores(shared[0], tile, width, size, query + target, key + source, weights);
    __syncthreads();
    for (unsigned row = threadIdx.x / CUDA_WARP; row < tile.targets; row += TILE_THREADS / CUDA_WARP)
        soften_row(weights + static_cast<size_t>(row) * n, n, threadIdx.x % CUDA_WARP);
    __syncthreads();
    write_context(shared[0], tile, width, size, weights, value + source, context + target);
}

static __global__ void attention_mean_kernel(const struct cuda_tile *tiles, unsigned heads, const float *attention, float *map) {
    const struct cuda_tile tile = tiles[blockIdx.x];
    const size_t n = tile.length, at = tile.target * n;
    const float *weights = attention + heads * tile.pairs + at;
    for (size_t k = threadIdx.x; k < tile.targets * n; k += blockDim.x) {
        float sum = 0.0f;
        for (unsigned head = 0; head < heads; head++)
            sum += weights[head * n * n + k];
        map[tile.pairs + at + k] = sum / static_cast<float>(heads);
    }
}

enum cx_status cuda_attend(struct cx_backend *backend, const struct cx_tensor *query, const struct cx_tensor *key, const struct cx_tensor *value,
                           struct cx_tensor *attention, struct cx_tensor *context, struct cx_error *error) {
    struct cuda_backend *cuda = cuda_backend_of(backend);
    const struct cx_model_config *config = &cuda->base.config;
    enum cx_status status = cuda_enter(cuda, "attend", true, error);
    if (status != CX_OK)
        return status;
    const size_t count = cuda->batch->tokens * config->hidden_size;
    const struct cuda_argument arguments[] = {
        CUDA_FLOATS(query, count),   CUDA_FLOATS(key, count), CUDA_FLOATS(value, count), CUDA_FLOATS(attention, config->heads * cuda->batch->pairs),
        CUDA_FLOATS(context, count),
    };
    status = CUDA_CHECK_ALL("attend", arguments, error);
    if (status != CX_OK || cuda->tile_count == 0)
        return status;
    const dim3 grid(static_cast<unsigned>(cuda->tile_count), static_cast<unsigned>(config->heads));
    return CUDA_LAUNCH(cuda, "attend", error, attend_kernel, grid, TILE_THREADS, 0, cuda->tiles, static_cast<unsigned>(config->heads),
                       static_cast<unsigned>(config->head_size), query->values, key->values, value->values, attention->values, context->values);
}

enum cx_status cuda_attention_mean(struct cx_backend *backend, const struct cx_tensor *attention, struct cx_tensor *map, struct cx_error *error) {
    struct cuda_backend *cuda = cuda_backend_of(backend);
    const size_t heads = cuda->base.config.heads;
    enum cx_status status = cuda_enter(cuda, "attention_mean", true, error);
    if (status != CX_OK)
        return status;
    const struct cuda_argument arguments[] = {CUDA_FLOATS(attention, heads * cuda->batch->pairs), CUDA_FLOATS(map, cuda->batch->pairs)};
    status = CUDA_CHECK_ALL("attention_mean", arguments, error);
    if (status != CX_OK || cuda->tile_count == 0)
        return status;
    return CUDA_LAUNCH(cuda, "attention_mean", error, attention_mean_kernel, static_cast<unsigned>(cuda->tile_count), element_threads, 0, cuda->tiles,
                       static_cast<unsigned>(heads), attention->values, map->values);
}
