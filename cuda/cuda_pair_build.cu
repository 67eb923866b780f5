/*
 * The left operand of the pair product, a chunk of pairs at a time:
 *
 *     z_ij [f] = ρ_i ⊙ (Σ_h α^h_ij P_jh + [i=j] Px_j) / σ1_i,   m_ij = z_ij · w̄
 *
 * computed in float32 and, for CX_PAIR_F16, rounded to float16 once, times a power of two of its own for every pair. The power comes from a bound that needs
 * no second pass over z: |z_ij| <= max|ρ_i| (Σ_h |α^h_ij| max|P_jh| + [i=j] max|Px_j|) / σ1_i is brought to 2^14 .. 2^15. So nothing overflows float16, and
 * a number loses bits only if it lies 29 binary orders below the bound; cuda_pair_finish.cu looks whether that mattered. A bound that is not finite gives
 * z that is not finite, and so do the maps.
 */
#include "cuda_pair_kernels.cuh"
#include "cuda_reduce.cuh"

enum { row_warps = 4, row_threads = row_warps * CUDA_WARP, top_exponent = 14, most_exponent = 60 };

/* One warp a row: max |x| */
static __global__ void __launch_bounds__(row_threads) row_largest_kernel(size_t rows, unsigned width, const float *x, float *largest) {
    const size_t row = static_cast<size_t>(blockIdx.x) * row_warps + threadIdx.x / CUDA_WARP;
    const unsigned lane = threadIdx.x % CUDA_WARP;
    if (row >= rows)
        return;
    float most = 0.0f;
    for (unsigned k = lane; k < width; k += CUDA_WARP)
        most = fmaxf(most, fabsf(x[row * width + k]));
    most = warp_largest(most);
    if (lane == 0)
        largest[row] = most;
}

/* One warp a row: the mean, summed in float64 */
static __global__ void __launch_bounds__(row_threads) row_mean_kernel(size_t rows, unsigned width, const float *x, float *means) {
    const size_t row = static_cast<size_t>(blockIdx.x) * row_warps + threadIdx.x / CUDA_WARP;
    const unsigned lane = threadIdx.x % CUDA_WARP;
    if (row >= rows)
        return;
    double sum = 0.0;
    for (unsigned k = lane; k < width; k += CUDA_WARP)
        sum += static_cast<double>(x[row * width + k]);
    sum = warp_sum(sum);
    if (lane == 0)
        means[row] = static_cast<float>(sum / width);
}

/* The exponent of the power of two for a pair whose numbers are at most `bound`. */
static __device__ int exponent_of(float bound) {
    if (!(bound > 0.0f && bound <= 3.4e38f))
        return 0;
    const int exponent = top_exponent - ilogbf(bound);
    return exponent > most_exponent ? most_exponent : exponent < -most_exponent ? -most_exponent : exponent;
}

/* Multiplies the coefficients of every pair with its power of two; `inverse` gets the powers' inverses, in the order of the chunk's rows. */
static __device__ void scale_coefficients(const struct pair_problem &problem, const struct cuda_pair_tile &tile, float *coefficients, float *inverse) {
    const unsigned heads = problem.heads;
    for (unsigned row = threadIdx.x; row < tile.targets * tile.sources; row += PAIR_THREADS) {
        const unsigned target = row / tile.sources, source = row % tile.sources, token = tile.first + tile.source + source;
        float *column = coefficients + static_cast<size_t>(source) * (heads + 1) * CUDA_PAIR_TARGETS + target;
        float bound = column[heads * CUDA_PAIR_TARGETS] * problem.largest_residual[token];
        for (unsigned head = 0; head < heads; head++)
            bound += fabsf(column[head * CUDA_PAIR_TARGETS]) * problem.largest_heads[static_cast<size_t>(token) * heads + head];
        bound *= problem.largest_ratio[tile.first + tile.target + target];
        const int exponent = exponent_of(bound);
        const float factor = ldexpf(1.0f, exponent);
        for (unsigned head = 0; head <= heads; head++)
            column[head * CUDA_PAIR_TARGETS] *= factor;
        inverse[row] = ldexpf(1.0f, -exponent);
    }
}

static __device__ __forceinline__ void store_two(float *target, float2 value) {
    *reinterpret_cast<float2 *>(target) = value;
}

static __device__ __forceinline__ void store_two(__half *target, float2 value) {
    *reinterpret_cast<__half2 *>(target) = __floats2half2_rn(value.x, value.y);
}

/* Grid: tiles of the chunk × slices of f. */
template <typename Operand>
static __global__ void __launch_bounds__(PAIR_THREADS, PAIR_BLOCKS) build_kernel(struct pair_problem problem, const struct cuda_pair_tile *tiles) {
    DYNAMIC_SHARED(shared, 16);
    const struct cuda_pair_tile tile = tiles[blockIdx.x];
    const unsigned heads = problem.heads, depth = problem.depth, stride = (depth + 7) / 8 * 8, rows = CUDA_PAIR_TARGETS * tile.sources;
    const unsigned column = blockIdx.y * PAIR_COLUMNS + 2 * threadIdx.x, lane = threadIdx.x % CUDA_WARP, warp = threadIdx.x / CUDA_WARP;
    float *coefficients = reinterpret_cast<float *>(shared), *inverse = coefficients + static_cast<size_t>(heads + 1) * rows, *partials = inverse + 2 * rows;
    load_coefficients(problem, tile, coefficients);
    __syncthreads();
    if (sizeof(Operand) == sizeof(__half)) {
        scale_coefficients(problem, tile, coefficients, inverse);
        __syncthreads();
    }

    float2 ratio[CUDA_PAIR_TARGETS], part[CUDA_PAIR_TARGETS];
#pragma unroll
    for (unsigned t = 0; t < CUDA_PAIR_TARGETS; t++)
        ratio[t] =
            t < tile.targets ? load_two(problem.ratio + static_cast<size_t>(tile.first + tile.target + t) * depth, column, depth) : make_float2(0.0f, 0.0f);
    const float2 weight = load_two(problem.row_means, column, depth);
    Operand *operand = static_cast<Operand *>(problem.operand) + static_cast<size_t>(tile.row) * stride + column;
    for (unsigned s = 0; s < tile.sources; s++) {
        const size_t token = tile.first + tile.source + s;
        float dots[CUDA_PAIR_TARGETS];
        combine_heads(coefficients + static_cast<size_t>(s) * (heads + 1) * CUDA_PAIR_TARGETS, heads, problem.head_ff_sources + token * heads * depth,
                      problem.residual_ff_sources + token * depth, column, depth, tile.source + s - tile.target, part);
#pragma unroll
        for (unsigned t = 0; t < CUDA_PAIR_TARGETS; t++) {
            const float2 z = make_float2(part[t].x * ratio[t].x, part[t].y * ratio[t].y);
            dots[t] = z.x * weight.x + z.y * weight.y;
            if (t < tile.targets && column < stride)
                store_two(operand + static_cast<size_t>(t * tile.sources + s) * stride, z);
        }
        const float dot = warp_sum_16(dots, lane);
        if (lane % 2 == 0)
            partials[warp * rows + lane / 2 * tile.sources + s] = dot;
    }
    __syncthreads();
    for (unsigned row = threadIdx.x; row < tile.targets * tile.sources; row += PAIR_THREADS) {
        float dot = 0.0f;
        for (unsigned w = 0; w < PAIR_WARPS; w++)
            dot += partials[w * rows + row];
        const float factor = sizeof(Operand) == sizeof(__half) ? inverse[row] : 1.0f;
        problem.mean_partials[static_cast<size_t>(blockIdx.y) * problem.row_capacity + tile.row + row] = dot * factor;
        if (blockIdx.y == 0)
            problem.row_factor[tile.row + row] = factor * ldexpf(1.0f, -problem.weight_exponent);
    }
}

static enum cx_status largest_of_rows(struct cuda_backend *cuda, size_t rows, unsigned width, const float *x, float *largest, struct cx_error *error) {
    return CUDA_LAUNCH(cuda, "ff_pair_norms", error, row_largest_kernel, cuda_blocks(rows, row_warps), row_threads, 0, rows, width, x, largest);
}

static enum cx_status means_of_rows(struct cuda_backend *cuda, size_t rows, unsigned width, const float *x, float *means, struct cx_error *error) {
    return CUDA_LAUNCH(cuda, "ff_pair_norms", error, row_mean_kernel, cuda_blocks(rows, row_warps), row_threads, 0, rows, width, x, means);
}

enum cx_status cuda_pair_measure(struct cuda_backend *cuda, const struct pair_problem *problem, struct cx_error *error) {
    const size_t tokens = cuda->batch->tokens, heads = problem->heads;
    const bool is_half = cuda->pair_precision == CX_PAIR_F16;
    enum cx_status status = means_of_rows(cuda, tokens * heads, problem->width, problem->head_norm_sources, problem->mean_heads, error);
    if (status == CX_OK)
        status = means_of_rows(cuda, tokens, problem->width, problem->residual_norm_sources, problem->mean_residual, error);
    if (status == CX_OK && is_half)
        status = largest_of_rows(cuda, tokens * heads, problem->depth, problem->head_ff_sources, problem->largest_heads, error);
    if (status == CX_OK && is_half)
        status = largest_of_rows(cuda, tokens, problem->depth, problem->residual_ff_sources, problem->largest_residual, error);
    if (status == CX_OK && is_half)
        status = largest_of_rows(cuda, tokens, problem->depth, problem->ratio, problem->largest_ratio, error);
    return status;
}

enum cx_status cuda_pair_build(struct cuda_backend *cuda, const struct pair_problem *problem, const struct cuda_pair_chunk *chunk, struct cx_error *error) {
    const dim3 grid(chunk->tiles, cuda_blocks(cuda_padded(problem->depth), PAIR_COLUMNS));
    const size_t shared = pair_shared_bytes(problem->heads, cuda->pair_sources, 1);
    const struct cuda_pair_tile *tiles = cuda->pair_tiles + chunk->tile;
    if (cuda->pair_precision == CX_PAIR_F16)
        return CUDA_LAUNCH(cuda, "ff_pair_norms", error, build_kernel<__half>, grid, PAIR_THREADS, shared, *problem, tiles);
    return CUDA_LAUNCH(cuda, "ff_pair_norms", error, build_kernel<float>, grid, PAIR_THREADS, shared, *problem, tiles);
}
