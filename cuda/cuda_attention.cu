/*
 * Attention weights and their use, tile by tile of target tokens and head by head:
 *
 *     α^h_ij = softmax_j(q_i^h · k_j^h / √e) [H, pairs]      context [T, d] = Σ_j α^h_ij v_j^h, heads side by side
 *
 * Sources are j <= i in a causal model, and all others get α = 0. α is a result, so it is written to memory, and the block that wrote a row of scores reads it
 * again from the cache for the softmax and the context. attention_mean [pairs] is the mean of α over the heads; of words see cuda_words.cu.
 */
#include "cuda_backend.cuh"
#include "cuda_reduce.cuh"
#include "cuda_tile.cuh"

#include <cmath>

/* mean_rows: targets of a tile that one block averages. */
constexpr unsigned groups = 2, attend_threads = groups * TILE_THREADS, element_threads = 256, mean_rows = 4;

/* A tile's scores q k^T / √e, into the rows of α. Groups of threads take 64 sources in turn. */
static __device__ void write_scores(const struct tile_group &group, const struct cuda_tile &tile, unsigned width, unsigned size, const float *query,
                                    const float *key, float *weights) {
    const float scale = static_cast<float>(1.0 / sqrt(static_cast<double>(size)));
    const unsigned n = tile.length, sources = tile.sources, row = group.thread / 16 * 4, column = group.thread % 16 * 4;
    for (unsigned source = threadIdx.x / TILE_THREADS * TILE_COLUMNS; source < sources; source += groups * TILE_COLUMNS) {
        float sum[4][4] = {};
        auto load_query = [&](unsigned r, unsigned k) { return r < tile.targets ? query[r * width + k] : 0.0f; };
        auto load_key = [&](unsigned k, unsigned c) { return source + c < sources ? key[(source + c) * width + k] : 0.0f; };
        tile_product<true>(group, 0, size, load_query, load_key, sum);
#pragma unroll
        for (int i = 0; i < 4; i++) {
#pragma unroll
            for (int j = 0; j < 4; j++) {
                if (row + i < tile.targets && source + column + j < sources)
                    weights[(row + i) * n + source + column + j] = sum[i][j] * scale;
            }
        }
    }
}

/* One warp a row of n numbers: the first `attended` count, the others become 0. The sum is float64, so that long rows sum to 1 as well as short ones. */
static __device__ void soften_row(float *row, unsigned attended, unsigned n, unsigned lane) {
    float largest = -INFINITY;
    double sum = 0.0;
    for (unsigned k = lane; k < attended; k += CUDA_WARP)
        largest = fmaxf(largest, row[k]);
    largest = warp_largest(largest);
    for (unsigned k = lane; k < attended; k += CUDA_WARP) {
        const float power = expf(row[k] - largest);
        row[k] = power;
        sum += static_cast<double>(power);
    }
    const double factor = 1.0 / warp_sum(sum);
    for (unsigned k = lane; k < n; k += CUDA_WARP)
        row[k] = k < attended ? static_cast<float>(static_cast<double>(row[k]) * factor) : 0.0f;
}

/* Groups of threads have a range of sources each; their sums are added in the groups' order. */
static __device__ void write_context(const struct tile_group &group, struct tile_slice *slices, const struct cuda_tile &tile, unsigned width, unsigned size,
                                     const float *weights, const float *value, float *context) {
    const unsigned n = tile.length, row = group.thread / 16 * 4, column = group.thread % 16 * 4, index = threadIdx.x / TILE_THREADS;
    const unsigned sources = tile.sources, share = (sources + groups * TILE_DEPTH - 1) / (groups * TILE_DEPTH) * TILE_DEPTH, start = index * share;
    float *partial = reinterpret_cast<float *>(group.slices);
    for (unsigned first = 0; first < size; first += TILE_COLUMNS) {
        float sum[4][4] = {};
        auto load_weight = [&](unsigned r, unsigned k) { return r < tile.targets ? weights[r * n + k] : 0.0f; };
        auto load_value = [&](unsigned k, unsigned c) { return first + c < size ? value[k * width + first + c] : 0.0f; };
        tile_product<false>(group, start, start + share < sources ? start + share : sources, load_weight, load_value, sum);
        __syncthreads();
#pragma unroll
        for (int i = 0; i < 4; i++)
            *reinterpret_cast<float4 *>(partial + (row + i) * TILE_COLUMNS + column) = make_float4(sum[i][0], sum[i][1], sum[i][2], sum[i][3]);
        __syncthreads();
        for (unsigned k = threadIdx.x; k < tile.targets * TILE_COLUMNS; k += attend_threads) {
            float total = 0.0f;
            for (unsigned g = 0; g < groups; g++)
                total += reinterpret_cast<const float *>(slices + g * TILE_SLICES)[k];
            if (first + k % TILE_COLUMNS < size)
                context[k / TILE_COLUMNS * width + first + k % TILE_COLUMNS] = total;
        }
        __syncthreads();
    }
}

/* Grid: tiles × heads. */
static __global__ void __launch_bounds__(attend_threads, 2)
    attend_kernel(const struct cuda_tile *tiles, unsigned heads, unsigned size, bool causal, const float *query, const float *key, const float *value,
                  float *attention, float *context) {
    DYNAMIC_SHARED(memory, 16);
    struct tile_slice *slices = reinterpret_cast<struct tile_slice *>(memory);
    const struct tile_group group = tile_group_of(slices);
    const struct cuda_tile tile = tiles[blockIdx.x];
    const unsigned head = blockIdx.y, width = heads * size, n = tile.length;
    const size_t target = static_cast<size_t>(tile.first + tile.target) * width + head * size, source = static_cast<size_t>(tile.first) * width + head * size;
    float *weights = attention + heads * tile.pairs + (static_cast<size_t>(head) * n + tile.target) * n;
    write_scores(group, tile, width, size, query + target, key + source, weights);
    __syncthreads();
    for (unsigned row = threadIdx.x / CUDA_WARP; row < tile.targets; row += attend_threads / CUDA_WARP)
        soften_row(weights + static_cast<size_t>(row) * n, causal ? tile.target + row + 1 : n, n, threadIdx.x % CUDA_WARP);
    __syncthreads();
    write_context(group, slices, tile, width, size, weights, value + source, context + target);
}

/* Grid: tiles × groups of mean_rows targets. */
static __global__ void __launch_bounds__(element_threads)
    attention_mean_kernel(const struct cuda_tile *tiles, unsigned heads, const float *attention, float *map) {
    const struct cuda_tile tile = tiles[blockIdx.x];
    const unsigned n = tile.length, first = blockIdx.y * mean_rows * n, end = first + mean_rows * n, count = tile.targets * n;
    const float *weights = attention + heads * tile.pairs + static_cast<size_t>(tile.target) * n;
    const size_t head_stride = static_cast<size_t>(n) * n;
    for (unsigned k = first + threadIdx.x; k < (end < count ? end : count); k += element_threads) {
        float sum = 0.0f;
#pragma unroll 4
        for (unsigned head = 0; head < heads; head++)
            sum += weights[head * head_stride + k];
        map[tile.pairs + static_cast<size_t>(tile.target) * n + k] = sum / static_cast<float>(heads);
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
    const size_t shared = groups * TILE_SLICES * sizeof(struct tile_slice);
    return CUDA_LAUNCH(cuda, "attend", error, attend_kernel, grid, attend_threads, shared, cuda->tiles, static_cast<unsigned>(config->heads),
                       static_cast<unsigned>(config->head_size), config->causal, query->values, key->values, value->values, attention->values, context->values);
}

enum cx_status cuda_attention_mean(struct cx_backend *backend, const struct cx_tensor *attention, struct cx_tensor *map, struct cx_error *error) {
    struct cuda_backend *cuda = cuda_backend_of(backend);
    const size_t heads = cuda->base.config.heads;
    enum cx_status status = cuda_enter(cuda, "attention_mean", true, error);
    if (status != CX_OK)
        return status;
    const struct cuda_argument arguments[] = {CUDA_FLOATS(attention, heads * cuda->batch->pairs), CUDA_FLOATS(map, cx_batch_map_elements(cuda->batch))};
    status = CUDA_CHECK_ALL("attention_mean", arguments, error);
    if (status != CX_OK || cuda->tile_count == 0)
        return status;
    if (cuda->batch->words)
        return cuda_word_means(cuda, attention, map, error);
    const dim3 grid(static_cast<unsigned>(cuda->tile_count), CUDA_TILE_TARGETS / mean_rows);
    return CUDA_LAUNCH(cuda, "attention_mean", error, attention_mean_kernel, grid, element_threads, 0, cuda->tiles, static_cast<unsigned>(heads),
                       attention->values, map->values);
}
