/*
 * What a pair multiplies its source's vectors with, as operands of the tensor cores: c_h = α^h_ij / σ1_i, and 1/σ1_i of x_j if i = j, times the inverse of the
 * source vector's power of two and times a power of two of the pair's own.
 *
 * For z the latter comes from a bound that needs no pass over z: |z_ij| <= max|ρ_i| (Σ_h |c_h| max|P_jh|) is brought to 2^14 .. 2^15. So nothing overflows
 * float16, and a number loses bits only if it lies 29 binary orders below the bound; cuda_pair_finish.cu looks whether that mattered. A bound that is not
 * finite gives z that is not finite, and so do the maps.
 */
#include "cuda_pair_kernels.cuh"
#include "cuda_reduce.cuh"

/* head_stride: between the numbers of neighbouring heads, so that the 32 lanes of a fragment read 32 different banks. */
constexpr unsigned pair_threads = CUDA_PAIR_TARGETS * CUDA_PAIR_SOURCES, kinds = 2, source_stride = CUDA_PAIR_SOURCES + 1;
constexpr unsigned head_stride = CUDA_PAIR_TARGETS * source_stride + 4;

/* What a block has in shared memory. */
struct coefficient_memory {
    float *numbers; /* c [PAIR_STEP, targets, sources] of one step */
    float *scales;  /* [kinds, targets, sources]: the pairs' powers of two */
    float *factors; /* [kinds, sources, H + 1]: inverses of the source vectors' */
};

static size_t coefficient_bytes(size_t heads) {
    return (PAIR_STEP * head_stride + kinds * pair_threads + kinds * CUDA_PAIR_SOURCES * (heads + 1)) * sizeof(float);
}

static __device__ void load_factors(const struct pair_problem &problem, const struct cuda_pair_tile &tile, float *factors) {
    const unsigned rows = problem.heads + 1, count = tile.sources * rows;
    const size_t first = static_cast<size_t>(tile.first + tile.source) * rows;
    for (unsigned k = threadIdx.x; k < kinds * count; k += pair_threads) {
        const float *largest = k < count ? problem.inner.largest : problem.outer.largest;
        factors[k < count ? k : CUDA_PAIR_SOURCES * rows + k - count] = ldexpf(1.0f, -pair_exponent(largest[first + k % count], PAIR_SOURCE_EXPONENT));
    }
}

/* c of head `head` (H: of x_j) of a pair; 0 for targets that are not there. */
static __device__ __forceinline__ float coefficient(const struct pair_problem &problem, const struct cuda_pair_tile &tile, unsigned target, unsigned source,
                                                    unsigned head, float inverse_deviation) {
    const size_t n = tile.length;
    if (target >= tile.targets || head > problem.heads)
        return 0.0f;
    if (head == problem.heads)
        return tile.source + source == tile.target + target ? inverse_deviation : 0.0f;
    return inverse_deviation * problem.attention[problem.heads * tile.pairs + (head * n + tile.target + target) * n + tile.source + source];
}

/* One thread a pair: its powers of two, and the mean of t. */
static __device__ void choose_scales(const struct pair_problem &problem, const struct cuda_pair_tile &tile, unsigned target, unsigned source,
                                     float inverse_deviation, const struct coefficient_memory &shared) {
    const unsigned rows = problem.heads + 1, row = tile.row + target * tile.sources + source;
    const size_t first = static_cast<size_t>(tile.first + tile.source + source) * rows;
    const float *inner_factors = shared.factors + source * rows, *outer_factors = inner_factors + CUDA_PAIR_SOURCES * rows;
    float bound = 0.0f, inner_top = 0.0f, outer_top = 0.0f, mean = 0.0f;
#pragma unroll 4
    for (unsigned head = 0; head < rows; head++) {
        const float number = coefficient(problem, tile, target, source, head, inverse_deviation);
        bound += fabsf(number) * problem.inner.largest[first + head];
        inner_top = fmaxf(inner_top, fabsf(number) * inner_factors[head]);
        outer_top = fmaxf(outer_top, fabsf(number) * outer_factors[head]);
        mean += number * problem.outer.means[first + head];
    }
    bound *= problem.largest_ratio[tile.first + tile.target + target];
    const int of_bound = pair_exponent(bound, PAIR_TOP_EXPONENT), of_top = pair_exponent(inner_top, PAIR_TOP_EXPONENT);
    const int inner = of_bound < of_top ? of_bound : of_top, outer = pair_exponent(outer_top, PAIR_TOP_EXPONENT);
    shared.scales[target * CUDA_PAIR_SOURCES + source] = ldexpf(1.0f, inner);
    shared.scales[pair_threads + target * CUDA_PAIR_SOURCES + source] = ldexpf(1.0f, outer);
    problem.factors[row] = make_float2(ldexpf(1.0f, -inner - problem.weight_exponent), ldexpf(1.0f, -outer));
    problem.part_mean[row] = mean;
}

/* One warp a unit of 16 targets and one source, a unit of z after one of t. */
static __device__ void write_units(const struct pair_problem &problem, const struct cuda_pair_tile &tile, unsigned step,
                                   const struct coefficient_memory &shared) {
    const unsigned lane = threadIdx.x % CUDA_WARP, halves = (tile.targets + PAIR_ROWS - 1) / PAIR_ROWS, units = tile.sources * halves, rows = problem.heads + 1;
    for (unsigned index = threadIdx.x / CUDA_WARP; index < kinds * units; index += pair_threads / CUDA_WARP) {
        const unsigned kind = index / units, unit = index % units, source = unit / halves, first = unit % halves * PAIR_ROWS;
        uint32_t high[4], low[4];
#pragma unroll
        for (unsigned r = 0; r < 4; r++) {
            const unsigned target = first + lane / 4 + r % 2 * 8;
            const float scale = target < tile.targets ? shared.scales[kind * pair_threads + target * CUDA_PAIR_SOURCES + source] : 0.0f;
            float values[2];
#pragma unroll
            for (unsigned k = 0; k < 2; k++) {
                const unsigned place = lane % 4 * 2 + r / 2 * 8 + k, head = step * PAIR_STEP + place;
                const float factor = head < rows ? shared.factors[(kind * CUDA_PAIR_SOURCES + source) * rows + head] : 0.0f;
                values[k] = shared.numbers[place * head_stride + target * source_stride + source] * factor * scale;
            }
            split_two(values[0], values[1], &high[r], &low[r]);
        }
        uint4 *to = (kind == 0 ? problem.inner : problem.outer).coefficients +
                    (static_cast<size_t>(tile.unit + unit) * problem.steps + step) * COEFFICIENT_FRAGMENT + lane;
        to[0] = make_uint4(high[0], high[1], high[2], high[3]);
        to[PAIR_LANES] = make_uint4(low[0], low[1], low[2], low[3]);
    }
}

/* Grid: tiles of the chunk. */
static __global__ void __launch_bounds__(pair_threads) coefficients_kernel(struct pair_problem problem, const struct cuda_pair_tile *tiles) {
    DYNAMIC_SHARED(memory, 16);
    const struct cuda_pair_tile tile = tiles[blockIdx.x];
    if (tile.sources == 0)
        return;
    const unsigned source = threadIdx.x % tile.sources, target = threadIdx.x / tile.sources;
    struct coefficient_memory shared;
    shared.numbers = reinterpret_cast<float *>(memory);
    shared.scales = shared.numbers + PAIR_STEP * head_stride;
    shared.factors = shared.scales + kinds * pair_threads;
    load_factors(problem, tile, shared.factors);
    __syncthreads();
    const float inverse_deviation = target < tile.targets ? problem.inverse_deviation1[tile.first + tile.target + target] : 0.0f;
    if (target < tile.targets)
        choose_scales(problem, tile, target, source, inverse_deviation, shared);
    for (unsigned step = 0; step < problem.steps; step++) {
        if (target < CUDA_PAIR_TARGETS) {
#pragma unroll 4
            for (unsigned place = 0; place < PAIR_STEP; place++)
                shared.numbers[place * head_stride + target * source_stride + source] =
                    coefficient(problem, tile, target, source, step * PAIR_STEP + place, inverse_deviation);
        }
        __syncthreads();
        write_units(problem, tile, step, shared);
        __syncthreads();
    }
}

enum cx_status cuda_pair_coefficients(struct cuda_backend *cuda, const struct pair_problem *problem, const struct cuda_pair_chunk *chunk,
                                      struct cx_error *error) {
    return CUDA_LAUNCH(cuda, "ff_pair_norms", error, coefficients_kernel, chunk->tiles, pair_threads, coefficient_bytes(problem->heads), *problem,
                       cuda->pair_tiles + chunk->tile);
}
