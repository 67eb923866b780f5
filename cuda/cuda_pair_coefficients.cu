/*
 * What a pair multiplies its source's vectors with, as operands of the tensor cores: c_h = α^h_ij / σ1_i, and 1/σ1_i of x_j if i = j, times the inverse of the
 * source vector's power of two and times a power of two of the pair's own.
 *
 * For z the latter comes from a bound that needs no pass over z: |z_ij| <= max|ρ_i| (Σ_h |c_h| max|P_jh|) is brought to 2^14 .. 2^15. So nothing overflows
 * float16, and a number loses bits only if it lies 29 binary orders below the bound; cuda_pair_finish.cu looks whether that mattered. A bound that is not
 * finite gives z that is not finite, and so do the maps.
 *
 * The pair of a target and a word has one power of two, from the sum of its tokens' bounds. A block has CUDA_PAIR_SOURCES tokens of a tile at a time, which are
 * all of its sources unless these are words.
 */
#include "cuda_pair_kernels.cuh"
#include "cuda_reduce.cuh"

/* head_stride: between the numbers of neighbouring heads, so that the 32 lanes of a fragment read 32 different banks. */
constexpr unsigned group_tokens = CUDA_PAIR_SOURCES, pair_threads = CUDA_PAIR_TARGETS * CUDA_PAIR_SOURCES, kinds = 2, source_stride = group_tokens + 1;
constexpr unsigned head_stride = CUDA_PAIR_TARGETS * source_stride + 4;

/* What a block has in shared memory. */
struct coefficient_memory {
    float *numbers;    /* c [PAIR_STEP, targets, tokens of a group] of one step */
    float *scales;     /* [kinds, targets, sources]: the pairs' powers of two */
    float *factors;    /* [kinds, tokens of a group, H + 1]: inverses of the source vectors' */
    unsigned *sources; /* [tokens of a group]: whose tokens they are; with words alone */
};

static size_t coefficient_bytes(size_t heads) {
    return (PAIR_STEP * head_stride + kinds * pair_threads + kinds * group_tokens * (heads + 1)) * sizeof(float) + group_tokens * sizeof(unsigned);
}

/* Some of a tile's tokens, counted from its first. */
struct token_group {
    unsigned first, count;
};

static __device__ __forceinline__ struct token_group group_of(const struct cuda_pair_tile &tile, unsigned first) {
    return {first, tile.tokens - first < group_tokens ? tile.tokens - first : group_tokens};
}

static __device__ void load_factors(const struct pair_problem &problem, const struct cuda_pair_tile &tile, struct token_group group, float *factors) {
    const unsigned rows = problem.heads + 1, count = group.count * rows;
    const size_t first = static_cast<size_t>(tile.first + tile.token + group.first) * rows;
    for (unsigned k = threadIdx.x; k < kinds * count; k += pair_threads) {
        const float *largest = k < count ? problem.inner.largest : problem.outer.largest;
        factors[k < count ? k : group_tokens * rows + k - count] = ldexpf(1.0f, -pair_exponent(largest[first + k % count], PAIR_SOURCE_EXPONENT));
    }
}

/* Of each of the group's tokens the word. */
static __device__ void load_sources(const struct pair_problem &problem, const struct cuda_pair_tile &tile, struct token_group group, unsigned *sources) {
    if (threadIdx.x >= group.count)
        return;
    const unsigned token = tile.first + tile.token + group.first + threadIdx.x;
    unsigned source = 0;
    while (!tile.is_own && problem.first_token[tile.word + source + 1] <= token)
        source++;
    sources[threadIdx.x] = source;
}

/* c of head `head` (H: of x_j) of a target and a token of the sequence; 0 for targets that are not there, and for whom an own tile is not about. */
template <bool by_words>
static __device__ __forceinline__ float coefficient(const struct pair_problem &problem, const struct cuda_pair_tile &tile, unsigned target, unsigned token,
                                                    unsigned head, float inverse_deviation) {
    const size_t n = tile.length;
    if (target >= tile.targets || head > problem.heads)
        return 0.0f;
    if (by_words && tile.is_own && token != tile.target + target)
        return 0.0f;
    if (head == problem.heads)
        return token == tile.target + target ? inverse_deviation : 0.0f;
    return inverse_deviation * problem.attention[problem.heads * tile.pairs + (head * n + tile.target + target) * n + token];
}

/* What a pair's powers of two follow from, and the mean of t: sums and largest numbers over the source's tokens. */
struct pair_bounds {
    float bound, inner_top, outer_top, mean;
};

/* One token more: the k-th of the group. */
template <bool by_words>
static __device__ __forceinline__ void add_token(const struct pair_problem &problem, const struct cuda_pair_tile &tile, unsigned target,
                                                 struct token_group group, unsigned k, float inverse_deviation, const float *factors,
                                                 struct pair_bounds &bounds) {
    const unsigned rows = problem.heads + 1, token = tile.token + group.first + k;
    const size_t first = static_cast<size_t>(tile.first + token) * rows;
    const float *inner_factors = factors + k * rows, *outer_factors = inner_factors + group_tokens * rows;
#pragma unroll 4
    for (unsigned head = 0; head < rows; head++) {
        const float number = coefficient<by_words>(problem, tile, target, token, head, inverse_deviation);
        bounds.bound += fabsf(number) * problem.inner.largest[first + head];
        bounds.inner_top = fmaxf(bounds.inner_top, fabsf(number) * inner_factors[head]);
        bounds.outer_top = fmaxf(bounds.outer_top, fabsf(number) * outer_factors[head]);
        bounds.mean += number * problem.outer.means[first + head];
    }
}

/* One thread a pair. */
static __device__ void choose_scales(const struct pair_problem &problem, const struct cuda_pair_tile &tile, unsigned target, unsigned source,
                                     const struct pair_bounds &bounds, float *scales) {
    const unsigned row = tile.row + target * tile.sources + source;
    const float bound = bounds.bound * problem.largest_ratio[tile.first + tile.target + target];
    const int of_bound = pair_exponent(bound, PAIR_TOP_EXPONENT), of_top = pair_exponent(bounds.inner_top, PAIR_TOP_EXPONENT);
    const int inner = of_bound < of_top ? of_bound : of_top, outer = pair_exponent(bounds.outer_top, PAIR_TOP_EXPONENT);
    scales[target * CUDA_PAIR_SOURCES + source] = ldexpf(1.0f, inner);
    scales[pair_threads + target * CUDA_PAIR_SOURCES + source] = ldexpf(1.0f, outer);
    problem.factors[row] = make_float2(ldexpf(1.0f, -inner - problem.weight_exponent), ldexpf(1.0f, -outer));
    problem.part_mean[row] = bounds.mean;
}

/* One warp a unit of 16 targets and one token, a unit of z after one of t. */
template <bool by_words>
static __device__ void write_units(const struct pair_problem &problem, const struct cuda_pair_tile &tile, struct token_group group, unsigned step,
                                   const struct coefficient_memory &shared) {
    const unsigned lane = threadIdx.x % CUDA_WARP, halves = (tile.targets + PAIR_ROWS - 1) / PAIR_ROWS, units = group.count * halves, rows = problem.heads + 1;
    for (unsigned index = threadIdx.x / CUDA_WARP; index < kinds * units; index += pair_threads / CUDA_WARP) {
        const unsigned kind = index / units, unit = index % units, token = unit / halves, first = unit % halves * PAIR_ROWS;
        const unsigned source = by_words ? shared.sources[token] : token;
        uint32_t high[4], low[4];
#pragma unroll
        for (unsigned r = 0; r < 4; r++) {
            const unsigned target = first + lane / 4 + r % 2 * 8;
            const float scale = target < tile.targets ? shared.scales[kind * pair_threads + target * CUDA_PAIR_SOURCES + source] : 0.0f;
            float values[2];
#pragma unroll
            for (unsigned k = 0; k < 2; k++) {
                const unsigned place = lane % 4 * 2 + r / 2 * 8 + k, head = step * PAIR_STEP + place;
                const float factor = head < rows ? shared.factors[(kind * group_tokens + token) * rows + head] : 0.0f;
                values[k] = shared.numbers[place * head_stride + target * source_stride + token] * factor * scale;
            }
            split_two(values[0], values[1], &high[r], &low[r]);
        }
        uint4 *to = (kind == 0 ? problem.inner : problem.outer).coefficients +
                    (static_cast<size_t>(tile.unit + group.first * halves + unit) * problem.steps + step) * COEFFICIENT_FRAGMENT + lane;
        to[0] = make_uint4(high[0], high[1], high[2], high[3]);
        to[PAIR_LANES] = make_uint4(low[0], low[1], low[2], low[3]);
    }
}

/* The coefficients of a group's tokens, whose factors are there. */
template <bool by_words>
static __device__ __forceinline__ void write_group(const struct pair_problem &problem, const struct cuda_pair_tile &tile, struct token_group group,
                                                   const struct coefficient_memory &shared) {
    const unsigned token = threadIdx.x % group.count, target = threadIdx.x / group.count;
    const float inverse_deviation = target < tile.targets ? problem.inverse_deviation1[tile.first + tile.target + target] : 0.0f;
    for (unsigned step = 0; step < problem.steps; step++) {
        if (target < CUDA_PAIR_TARGETS) {
#pragma unroll 4
            for (unsigned place = 0; place < PAIR_STEP; place++)
                shared.numbers[place * head_stride + target * source_stride + token] =
                    coefficient<by_words>(problem, tile, target, tile.token + group.first + token, step * PAIR_STEP + place, inverse_deviation);
        }
        __syncthreads();
        write_units<by_words>(problem, tile, group, step, shared);
        __syncthreads();
    }
}

/* Grid: tiles of the chunk. As many blocks a multiprocessor as the registers let be without words, 40 a thread; with them that would spill. */
template <bool by_words>
static __global__ void __launch_bounds__(pair_threads, by_words ? 2 : 3) coefficients_kernel(struct pair_problem problem, const struct cuda_pair_tile *tiles) {
    DYNAMIC_SHARED(memory, 16);
    const struct cuda_pair_tile tile = tiles[blockIdx.x];
    if (tile.sources == 0)
        return;
    const unsigned source = threadIdx.x % tile.sources, target = threadIdx.x / tile.sources;
    const struct pair_tokens tokens = pair_tokens_of<by_words>(problem, tile, source);
    struct coefficient_memory shared;
    shared.numbers = reinterpret_cast<float *>(memory);
    shared.scales = shared.numbers + PAIR_STEP * head_stride;
    shared.factors = shared.scales + kinds * pair_threads;
    shared.sources = reinterpret_cast<unsigned *>(shared.factors + kinds * group_tokens * (problem.heads + 1));
    const float inverse_deviation = target < tile.targets ? problem.inverse_deviation1[tile.first + tile.target + target] : 0.0f;
    struct pair_bounds bounds = {};
    unsigned first = 0;
    do {
        const struct token_group group = group_of(tile, first);
        load_factors(problem, tile, group, shared.factors);
        __syncthreads();
        const unsigned begin = tokens.first > first ? tokens.first : first, end = tokens.first + tokens.count, group_end = first + group.count;
        for (unsigned token = begin; target < tile.targets && token < end && token < group_end; token++)
            add_token<by_words>(problem, tile, target, group, token - first, inverse_deviation, shared.factors, bounds);
        first += group_tokens;
        if (by_words)
            __syncthreads(); /* for who still reads the factors of these tokens */
    } while (by_words && first < tile.tokens);
    if (target < tile.targets)
        choose_scales(problem, tile, target, source, bounds, shared.scales);
    first = 0;
    do {
        const struct token_group group = group_of(tile, first);
        if (by_words && tile.tokens > group_tokens)
            load_factors(problem, tile, group, shared.factors);
        if (by_words)
            load_sources(problem, tile, group, shared.sources);
        write_group<by_words>(problem, tile, group, shared);
        first += group_tokens;
    } while (by_words && first < tile.tokens);
}

enum cx_status cuda_pair_coefficients(struct cuda_backend *cuda, const struct pair_problem *problem, const struct cuda_pair_chunk *chunk,
                                      struct cx_error *error) {
    auto kernel = problem->first_token ? coefficients_kernel<true> : coefficients_kernel<false>;
    return CUDA_LAUNCH(cuda, "ff_pair_norms", error, kernel, chunk->tiles, pair_threads, coefficient_bytes(problem->heads), *problem,
                       cuda->pair_tiles + chunk->tile);
}
