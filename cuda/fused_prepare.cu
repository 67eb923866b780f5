/*
 * The operands of the fused kernels (fused_pairs.cuh): vectors and coefficients as float16, each with a power of two of its own.
 *
 *     convert_kernel       a row of P, F̂, ρ: its largest number, exponent, mean, and the row itself; one block a row
 *     coefficients_kernel  what a pair needs: coefficients, joiners, factors, mean, limit; one thread a pair
 *
 * All of it is bound by memory: P is read once (the second reading of a row comes from the L1 cache) and written in half the bytes. Derived, BERT-base,
 * n = 512: 75 + 50 MB for P, 19 + 13 for F̂, 13 + 17 for the coefficients: 0.06 ms at 3.35 TB/s.
 *
 * A limit says what float16 could not keep. In numbers as stored, z is rounded with an error of 2^-25 where it is below 2^-14, and so are ρ, if some of its
 * numbers are that small, and P. With s_jh the root mean square of P_jh and s_i that of ρ_i, the error of z has about the size
 *
 *     e_ij = 2^-25 + Σ_h |coefficient| (s_jh error(ρ_i) + s_i error(P_jh))
 *
 * and makes one of e_ij ‖W2c‖ in oc: more than 1e-3 of it if ‖oc‖ < 2^10 e_ij ‖W2c‖. Where neither ρ nor P was rounded so, a part of 0 is one: neurons that
 * ReLU switched off, or attention that is 0.
 *
 * Sources meet in a tile: a packed one multiplies all of its sources with each of its rows, those of other pairs with 0, and behind a sequence's last tokens
 * lie the next one's. So that NaN and infinity spoil their own pairs alone, rows of P and F̂ that have any are stored as zeros, and their coefficients, which
 * are one pair's, become infinite or NaN.
 */
#include "cuda_reduce.cuh"
#include "fused_pairs.cuh"

constexpr unsigned row_threads = 128, row_warps = row_threads / CUDA_WARP, row_piece = 8;
constexpr int top_exponent = 14, most_exponent = 100, infinite_exponent = -128; /* power_of_two(-infinite_exponent) is infinite */
constexpr unsigned pair_targets = CUDA_TILE_TARGETS, pair_sources = 8, pair_threads = pair_targets * pair_sources, weights_stride = pair_targets + 4;

/* Rows to convert: of token j, `heads` rows of head_rows, then one of residual_rows, then zeros up to `rows`. */
struct vectors {
    unsigned heads, rows, width;
    const float *head_rows, *residual_rows; /* [T, heads, width], [T, width] */
    __half *operand;                        /* [T, rows, width] */
    int *exponents;                         /* [T, rows] */
    float2 *sizes;                          /* [T, rows]; NULL: not wanted */
    float *means;                           /* [T, rows]: what is subtracted; NULL: nothing is */
    bool meet;                              /* a tile may multiply them with coefficients of 0 that are other sources' */
};

struct __align__(16) half8 {
    __half2 pairs[4];
};

/* `shared` has one number a warp. The same bytes in every thread; the caller's next use of `shared` comes after another barrier. */
static __device__ __forceinline__ float block_largest(float value, float *shared) {
    value = warp_largest(value);
    if (threadIdx.x % CUDA_WARP == 0)
        shared[threadIdx.x / CUDA_WARP] = value;
    __syncthreads();
    for (unsigned warp = 0; warp < row_warps; warp++)
        value = fmaxf(value, shared[warp]);
    return value;
}

template <typename Number> static __device__ __forceinline__ Number block_sum(Number value, Number *shared) {
    value = warp_sum(value);
    if (threadIdx.x % CUDA_WARP == 0)
        shared[threadIdx.x / CUDA_WARP] = value;
    __syncthreads();
    value = shared[0];
    for (unsigned warp = 1; warp < row_warps; warp++)
        value += shared[warp];
    return value;
}

/* 2^exponent, for exponents of normal numbers. */
static __device__ __forceinline__ float power_of_two(int exponent) {
    return __int_as_float((exponent + 127) << 23);
}

/* The exponent that brings `largest` to 2^top .. 2^(top + 1). Zero has no size, so that it does not count in a bound; infinity and NaN stay what they are. */
static __device__ __forceinline__ int exponent_for(float largest, int top) {
    if (!(largest <= 3.4e38f))
        return 0;
    const int exponent = largest > 0.0f ? top - ilogbf(largest) : most_exponent;
    return exponent > most_exponent ? most_exponent : exponent < -most_exponent ? -most_exponent : exponent;
}

static __device__ __forceinline__ void load_piece(const float *row, float (&values)[row_piece]) {
    const float4 low = reinterpret_cast<const float4 *>(row)[0], high = reinterpret_cast<const float4 *>(row)[1];
    values[0] = low.x, values[1] = low.y, values[2] = low.z, values[3] = low.w;
    values[4] = high.x, values[5] = high.y, values[6] = high.z, values[7] = high.w;
}

/* The mean of a row, summed in float64. */
static __device__ __forceinline__ float row_mean(const float *row, unsigned width, double *shared) {
    float values[row_piece];
    double sum = 0.0;
    for (unsigned k = row_piece * threadIdx.x; k < width; k += row_piece * row_threads) {
        load_piece(row + k, values);
#pragma unroll
        for (unsigned e = 0; e < row_piece; e++)
            sum += static_cast<double>(values[e]);
    }
    return static_cast<float>(block_sum(sum, shared) / width);
}

/* Grid: T * rows. */
static __global__ void __launch_bounds__(row_threads) convert_kernel(struct vectors vectors) {
    SHARED_ARRAY(double, sums, [row_warps]);
    SHARED_ARRAY(float, largests, [row_warps]);
    SHARED_ARRAY(float, squares, [row_warps]);
    SHARED_ARRAY(float, errors, [row_warps]);
    const size_t token = blockIdx.x / vectors.rows;
    const unsigned row = blockIdx.x % vectors.rows, width = vectors.width;
    const float *from = row < vectors.heads    ? vectors.head_rows + (token * vectors.heads + row) * width
                        : row == vectors.heads ? vectors.residual_rows + token * width
                                               : NULL;
    float values[row_piece], mean = 0.0f, largest = 0.0f, square = 0.0f, error = 0.0f;
    if (from) {
        if (vectors.means)
            mean = row_mean(from, width, sums);
        for (unsigned k = row_piece * threadIdx.x; k < width; k += row_piece * row_threads) {
            load_piece(from + k, values);
#pragma unroll
            for (unsigned e = 0; e < row_piece; e++) {
                const float size = fabsf(values[e] - mean);
                largest = vectors.meet && !(size <= 3.4e38f) ? INFINITY : fmaxf(largest, size); /* else a NaN is carried on by the row itself */
            }
        }
    }
    largest = block_largest(largest, largests);
    const bool is_infinite = vectors.meet && largest > 3.4e38f;
    const int exponent = is_infinite ? infinite_exponent : exponent_for(largest, 0);
    const float factor = power_of_two(exponent);
    for (unsigned k = row_piece * threadIdx.x; k < width; k += row_piece * row_threads) {
        struct half8 stored = {};
        if (from && !is_infinite) {
            load_piece(from + k, values);
#pragma unroll
            for (unsigned e = 0; e < row_piece; e++) {
                values[e] = (values[e] - mean) * factor;
                square += values[e] * values[e];
                error = values[e] != 0.0f && fabsf(values[e]) < 0x1p-14f ? 0x1p-25f : error;
            }
#pragma unroll
            for (unsigned e = 0; e < row_piece; e += 2)
                stored.pairs[e / 2] = __floats2half2_rn(values[e], values[e + 1]);
        }
        *reinterpret_cast<struct half8 *>(vectors.operand + static_cast<size_t>(blockIdx.x) * width + k) = stored;
    }
    square = block_sum(square, squares);
    error = block_largest(error, errors);
    if (threadIdx.x > 0)
        return;
    vectors.exponents[blockIdx.x] = exponent;
    if (vectors.means)
        vectors.means[blockIdx.x] = mean;
    if (vectors.sizes)
        vectors.sizes[blockIdx.x] = make_float2(sqrtf(square / width), error);
}

/* weights [heads, 8, 36]: α^h_ij of 32 targets and 8 sources; the stride lets neighbouring sources be stored without bank conflicts. */
static __device__ __forceinline__ void load_weights(const struct fused_problem &problem, const struct cuda_tile &tile, unsigned first_source, float *weights) {
    const unsigned target = threadIdx.x / pair_sources, source = threadIdx.x % pair_sources, heads = problem.pairs.heads;
    const size_t n = tile.length;
    const bool inside = target < tile.targets && first_source + source < n;
    const float *attention = problem.pairs.attention + heads * tile.pairs + (tile.target + target) * n + first_source + source;
    for (unsigned head = 0; head < heads; head++)
        weights[(head * pair_sources + source) * weights_stride + target] = inside ? attention[head * n * n] : 0.0f;
}

/* `rows` numbers times `factor`, as float16. */
template <unsigned rows> static __device__ __forceinline__ void store_row(__half *row, const float (&values)[rows], float factor) {
#pragma unroll
    for (unsigned k = 0; k < rows; k += row_piece) {
        struct half8 stored;
#pragma unroll
        for (unsigned e = 0; e < row_piece; e += 2)
            stored.pairs[e / 2] = __floats2half2_rn(values[k + e] * factor, values[k + e + 1] * factor);
        *reinterpret_cast<struct half8 *>(row + k) = stored;
    }
}

/* Grid: tiles of 32 targets × 8 sources each, as many as the longest sequence has. Neighbouring threads have neighbouring targets. */
template <unsigned rows>
static __global__ void __launch_bounds__(pair_threads) coefficients_kernel(struct fused_problem problem, const struct cuda_tile *tiles) {
    DYNAMIC_SHARED(shared, 16);
    const struct cuda_tile tile = tiles[blockIdx.x];
    const unsigned target = tile.target + threadIdx.x % pair_targets, source = blockIdx.y * pair_sources + threadIdx.x / pair_targets;
    const unsigned heads = problem.pairs.heads;
    float *weights = reinterpret_cast<float *>(shared);
    if (blockIdx.y * pair_sources >= (problem.causal ? tile.target + tile.targets : tile.length))
        return;
    load_weights(problem, tile, blockIdx.y * pair_sources, weights);
    __syncthreads();
    if (target >= tile.target + tile.targets || source >= (problem.causal ? target + 1 : tile.length))
        return;

    const size_t of_source = (static_cast<size_t>(tile.first) + source) * rows, of_target = static_cast<size_t>(tile.first) + target;
    const size_t pair = tile.pairs + static_cast<size_t>(source) * tile.length + target;
    const float inverse = problem.pairs.inverse_deviation1[of_target];
    const float2 ratio_size = problem.ratio_sizes[of_target];
    float coefficients[rows], joiners[rows], bound = 0.0f, joined_bound = 0.0f, mean = 0.0f, error = 0.0f;
#pragma unroll
    for (unsigned row = 0; row < rows; row++) {
        coefficients[row] = joiners[row] = 0.0f;
        if (row > heads || (row == heads && source != target))
            continue;
        const float share = row < heads ? weights[(row * pair_sources + threadIdx.x / pair_targets) * weights_stride + threadIdx.x % pair_targets] : 1.0f;
        const float weight = inverse * share;
        const float2 size = problem.source_sizes[of_source + row];
        coefficients[row] = weight * power_of_two(-problem.source_exponents[of_source + row]);
        joiners[row] = weight * power_of_two(-problem.norm_exponents[of_source + row]);
        bound += fabsf(coefficients[row]);
        joined_bound += fabsf(joiners[row]);
        mean += weight * problem.norm_means[of_source + row];
        error += fabsf(coefficients[row]) * (size.x * ratio_size.y + size.y * ratio_size.x);
    }
    const int exponent = exponent_for(4.0f * bound, top_exponent), joiner_exponent = exponent_for(2.0f * joined_bound, top_exponent);
    const float scale = ldexpf(1.0f, -(exponent + problem.ratio_exponents[of_target] + problem.pairs.weight_exponent));
    store_row<rows>(problem.coefficients + pair * rows, coefficients, power_of_two(exponent));
    store_row<rows>(problem.joiners + pair * rows, joiners, power_of_two(joiner_exponent));
    problem.factors[pair] = make_float2(scale, power_of_two(-joiner_exponent));
    problem.part_means[pair] = mean;
    const float limit = 0x1p10f * problem.pairs.weight_norm * scale * (0x1p-25f + power_of_two(exponent) * error);
    problem.limits[pair] = error > 0.0f ? limit : -limit;
}

static enum cx_status convert(struct cuda_backend *cuda, const struct vectors &vectors, struct cx_error *error) {
    return CUDA_LAUNCH(cuda, "ff_pair_norms", error, convert_kernel, cuda_blocks(cuda->batch->tokens * vectors.rows, 1), row_threads, 0, vectors);
}

template <unsigned rows> static enum cx_status make_coefficients(struct cuda_backend *cuda, const struct fused_problem *problem, struct cx_error *error) {
    const dim3 grid(static_cast<unsigned>(cuda->tile_count), cuda_blocks(cuda->batch->longest, pair_sources));
    const size_t shared = sizeof(float) * problem->pairs.heads * pair_sources * weights_stride;
    return CUDA_LAUNCH(cuda, "ff_pair_norms", error, coefficients_kernel<rows>, grid, pair_threads, shared, *problem, cuda->tiles);
}

enum cx_status fused_prepare(struct cuda_backend *cuda, const struct fused_problem *problem, struct cx_error *error) {
    const struct pair_problem *pairs = &problem->pairs;
    const struct vectors sources = {
        pairs->heads,          problem->rows, pairs->depth, pairs->inner.heads, pairs->inner.residual, problem->sources, problem->source_exponents,
        problem->source_sizes, NULL,          true};
    const struct vectors norms = {pairs->heads,   problem->rows,           pairs->width, pairs->outer.heads,  pairs->outer.residual,
                                  problem->norms, problem->norm_exponents, NULL,         problem->norm_means, true};
    const struct vectors ratios = {0, 1, pairs->depth, NULL, pairs->ratio, problem->ratios, problem->ratio_exponents, problem->ratio_sizes, NULL, false};
    enum cx_status status = convert(cuda, sources, error);
    if (status == CX_OK)
        status = convert(cuda, norms, error);
    if (status == CX_OK)
        status = convert(cuda, ratios, error);
    if (status != CX_OK)
        return status;
    return problem->rows == FUSED_STEP ? make_coefficients<FUSED_STEP>(cuda, problem, error) : make_coefficients<FUSED_ROWS_MOST>(cuda, problem, error);
}
