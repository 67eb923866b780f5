/*
 * The attention block's maps where a source is a word of several tokens: the parts of its tokens are added up as vectors.
 *
 *     attention_word_norms   map_iJ = ‖Σ_{j∈J} (Σ_h α^h_ij F_jh + [i = j] residual_j)‖ * inverse_deviation_i
 *     attention_mean         map_iJ = Σ_{j∈J} (Σ_h α^h_ij) / H
 *
 * A word's F are neighbouring rows, so its vectors for a tile's targets are one product [targets, tokens * H] [tokens * H, d], of which 64 columns at a time
 * exist; their squares are summed in float64.
 */
#include "cuda_backend.cuh"
#include "cuda_reduce.cuh"
#include "cuda_tile.cuh"

/* row_lanes: lanes that have the same rows of a product. mean_rows: targets of a tile that a block takes. */
constexpr unsigned row_lanes = 16, element_threads = 256, mean_rows = 4, most_blocks = 65535;

/* What does not change from word to word. */
struct word_problem {
    unsigned heads, width;
    const unsigned *first_token;
    const float *attention, *sources;
    const float *residual, *inverse_deviation; /* or NULL */
    float *map;
};

/* Squares of 64 columns of this thread's four rows, from `first` on; `begin` and `end`: the word's tokens, within the sequence. */
static __device__ __forceinline__ void add_columns(const struct word_problem &problem, const struct cuda_tile &tile, const struct tile_group &group,
                                                   unsigned begin, unsigned end, unsigned first, double (&squares)[4]) {
    const unsigned heads = problem.heads, width = problem.width, row = group.thread / row_lanes * 4, column = first + group.thread % row_lanes * 4;
    const size_t n = tile.length;
    const float *weights = problem.attention + heads * tile.pairs + tile.target * n + begin;
    const float *from = problem.sources + static_cast<size_t>(tile.first + begin) * heads * width + first;
    /* In a causal model no target of the tile attends to tokens from tile.sources on. */
    const unsigned attended = end < tile.sources ? end : tile.sources, depth = attended > begin ? (attended - begin) * heads : 0;
    float parts[4][4] = {};
    auto load_weight = [&](unsigned r, unsigned k) { return r < tile.targets ? weights[(k % heads * n + r) * n + k / heads] : 0.0f; };
    auto load_source = [&](unsigned k, unsigned c) { return first + c < width ? from[static_cast<size_t>(k) * width + c] : 0.0f; };
    tile_product<false>(group, 0, depth, load_weight, load_source, parts);
#pragma unroll
    for (unsigned i = 0; i < 4; i++) {
        const unsigned target = tile.target + row + i;
        const bool has_residual = problem.residual && row + i < tile.targets && target >= begin && target < end;
        const float *residual = problem.residual + static_cast<size_t>(tile.first + target) * width;
#pragma unroll
        for (unsigned j = 0; j < 4; j++) {
            const float part = parts[i][j] + (has_residual && column + j < width ? residual[column + j] : 0.0f);
            squares[i] += static_cast<double>(part) * static_cast<double>(part);
        }
    }
}

/* Grid: tiles × words of a sequence, which blocks take in turns if there are more. */
static __global__ void __launch_bounds__(TILE_THREADS) attention_word_norms_kernel(struct word_problem problem, const struct cuda_tile *tiles) {
    SHARED_ARRAY(struct tile_slice, slices, [TILE_SLICES]);
    const struct tile_group group = tile_group_of(slices);
    const struct cuda_tile tile = tiles[blockIdx.x];
    const unsigned row = group.thread / row_lanes * 4;
    for (unsigned word = blockIdx.y; word < tile.columns; word += gridDim.y) {
        const unsigned begin = problem.first_token[tile.word + word] - tile.first, end = problem.first_token[tile.word + word + 1] - tile.first;
        double squares[4] = {};
        if (end - begin == 1)
            continue;
        for (unsigned first = 0; first < problem.width; first += TILE_COLUMNS)
            add_columns(problem, tile, group, begin, end, first, squares);
#pragma unroll
        for (unsigned i = 0; i < 4; i++) {
            for (unsigned distance = row_lanes / 2; distance > 0; distance /= 2)
                squares[i] += __shfl_xor_sync(CUDA_ALL_LANES, squares[i], distance);
            if (group.thread % row_lanes > 0 || row + i >= tile.targets)
                continue;
            const unsigned target = tile.target + row + i;
            const double factor = problem.inverse_deviation ? static_cast<double>(problem.inverse_deviation[tile.first + target]) : 1.0;
            problem.map[tile.map + static_cast<size_t>(target) * tile.columns + word] = static_cast<float>(sqrt(squares[i]) * factor);
        }
    }
}

/* Grid: tiles × groups of mean_rows targets. */
static __global__ void __launch_bounds__(element_threads)
    word_means_kernel(const struct cuda_tile *tiles, const unsigned *first_token, unsigned heads, const float *attention, float *map) {
    const struct cuda_tile tile = tiles[blockIdx.x];
    const unsigned columns = tile.columns, first = blockIdx.y * mean_rows * columns, end = first + mean_rows * columns, count = tile.targets * columns;
    const size_t n = tile.length;
    for (unsigned k = first + threadIdx.x; k < (end < count ? end : count); k += element_threads) {
        const unsigned target = tile.target + k / columns, word = tile.word + k % columns;
        const float *weights = attention + heads * tile.pairs + target * n;
        float total = 0.0f;
        for (unsigned token = first_token[word] - tile.first; token < first_token[word + 1] - tile.first; token++) {
            float sum = 0.0f;
#pragma unroll 4
            for (unsigned head = 0; head < heads; head++)
                sum += weights[head * n * n + token];
            total += sum / static_cast<float>(heads);
        }
        map[tile.map + static_cast<size_t>(tile.target) * columns + k] = total;
    }
}

enum cx_status cuda_word_means(struct cuda_backend *cuda, const struct cx_tensor *attention, struct cx_tensor *map, struct cx_error *error) {
    const dim3 grid(static_cast<unsigned>(cuda->tile_count), CUDA_TILE_TARGETS / mean_rows);
    return CUDA_LAUNCH(cuda, "attention_mean", error, word_means_kernel, grid, element_threads, 0, cuda->tiles, cuda->first_token,
                       static_cast<unsigned>(cuda->base.config.heads), attention->values, map->values);
}

enum cx_status cuda_attention_word_norms(struct cx_backend *backend, const struct cx_tensor *attention, const struct cx_tensor *sources,
                                         const struct cx_tensor *residual, const struct cx_tensor *inverse_deviation, struct cx_tensor *map,
                                         struct cx_error *error) {
    struct cuda_backend *cuda = cuda_backend_of(backend);
    const size_t heads = cuda->base.config.heads, width = cuda->base.config.hidden_size;
    enum cx_status status = cuda_enter(cuda, "attention_word_norms", true, error);
    if (status != CX_OK)
        return status;
    const struct cx_batch *batch = cuda->batch;
    if (!batch->words)
        return cx_fail(error, CX_ERROR_INTERNAL, "attention_word_norms: the batch has no words");
    const struct cuda_argument arguments[] = {
        CUDA_FLOATS(attention, heads * batch->pairs),    CUDA_FLOATS(sources, batch->tokens * heads * width), CUDA_OPTIONAL(residual, batch->tokens * width),
        CUDA_OPTIONAL(inverse_deviation, batch->tokens), CUDA_FLOATS(map, cx_batch_map_elements(batch)),
    };
    status = CUDA_CHECK_ALL("attention_word_norms", arguments, error);
    if (status != CX_OK || cuda->tile_count == 0 || batch->words->longest < 2)
        return status;
    struct word_problem problem = {};
    problem.heads = static_cast<unsigned>(heads);
    problem.width = static_cast<unsigned>(width);
    problem.first_token = cuda->first_token;
    problem.attention = attention->values;
    problem.sources = sources->values;
    problem.residual = residual ? residual->values : NULL;
    problem.inverse_deviation = inverse_deviation ? inverse_deviation->values : NULL;
    problem.map = map->values;
    size_t most_words = 0;
    for (size_t sequence = 0; sequence < batch->sequences; sequence++)
        most_words = cx_batch_sources(batch, sequence) > most_words ? cx_batch_sources(batch, sequence) : most_words;
    const unsigned words = most_words < most_blocks ? static_cast<unsigned>(most_words) : most_blocks;
    return CUDA_LAUNCH(cuda, "attention_word_norms", error, attention_word_norms_kernel, dim3(static_cast<unsigned>(cuda->tile_count), words), TILE_THREADS, 0,
                       problem, cuda->tiles);
}
