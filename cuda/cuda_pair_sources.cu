/*
 * The source vectors of a layer, made ready for the tensor cores, once for all chunks: P_jh and Px_j, from which z is built, and F̂_jh and x̂_j less their means,
 * from which tc is. Every vector is multiplied with a power of two of its own and split into hi and lo; the order is that of cuda_pair_kernels.cuh.
 *
 *     largest [T, H + 1], means [T, H + 1]     of every vector, x_j's the last; largest_ratio [T] of ρ_i
 *     fragments [T, blocks, steps, 4, lanes]   element k of product n, lane l: column l / 8 * 8 + 2n + l / 4 % 2 of 32, heads l % 4 * 2 + 8k and the next
 */
#include "cuda_pair_kernels.cuh"
#include "cuda_reduce.cuh"

#include <cmath>

constexpr unsigned measure_warps = 4, measure_threads = measure_warps * CUDA_WARP, pack_threads = 256, pack_most_blocks = 4;

/* One block a vector: the largest |x|, and the sum in float64. The results are those of thread 0. */
static __device__ void measure_vector(const float *x, unsigned width, float *largest, double *sum) {
    SHARED_ARRAY(double, sums, [measure_warps]);
    SHARED_ARRAY(float, tops, [measure_warps]);
    const unsigned lane = threadIdx.x % CUDA_WARP, warp = threadIdx.x / CUDA_WARP;
    float most = 0.0f;
    double total = 0.0;
    for (unsigned column = 8 * threadIdx.x; column < width; column += 8 * measure_threads) {
        float values[8];
        load_eight(x, column, width, values);
#pragma unroll
        for (int c = 0; c < 8; c++) {
            most = fmaxf(most, fabsf(values[c]));
            total += static_cast<double>(values[c]);
        }
    }
    most = warp_largest(most);
    total = warp_sum(total);
    if (lane == 0) {
        sums[warp] = total;
        tops[warp] = most;
    }
    __syncthreads();
    if (threadIdx.x > 0)
        return;
    for (unsigned w = 1; w < measure_warps; w++) {
        most = fmaxf(most, tops[w]);
        total += sums[w];
    }
    *largest = most;
    *sum = total;
}

/* fmaxf() passes over NaN, so what is not finite shows by the sum alone. */
static __device__ void measure_source(const struct pair_sources &sources, size_t token, unsigned row, unsigned heads) {
    const float *x = row < heads ? sources.heads + (token * heads + row) * sources.width : sources.residual + token * sources.width;
    float largest = 0.0f;
    double sum = 0.0;
    measure_vector(x, sources.width, &largest, &sum);
    if (threadIdx.x > 0)
        return;
    const double mean = sum / sources.width;
    if (sources.means)
        sources.means[token * (heads + 1) + row] = static_cast<float>(mean);
    sources.largest[token * (heads + 1) + row] = isfinite(sum) ? largest + (sources.means ? fabsf(static_cast<float>(mean)) : 0.0f) : INFINITY;
}

/* Grid: vectors of a token × tokens. */
static __global__ void __launch_bounds__(measure_threads) measure_kernel(struct pair_problem problem) {
    const unsigned rows = problem.heads + 1, row = blockIdx.y;
    const size_t token = blockIdx.x;
    if (row < rows) {
        measure_source(problem.inner, token, row, problem.heads);
    } else if (row < 2 * rows) {
        measure_source(problem.outer, token, row - rows, problem.heads);
    } else {
        float largest = 0.0f;
        double sum = 0.0;
        measure_vector(problem.ratio + token * problem.depth, problem.depth, &largest, &sum);
        if (threadIdx.x == 0)
            problem.largest_ratio[token] = isfinite(sum) ? largest : INFINITY;
    }
}

/* Grid: tokens × groups of column blocks. A warp packs one step of one block of columns at a time. */
static __global__ void __launch_bounds__(pack_threads) pack_kernel(struct pair_sources sources, unsigned heads, unsigned steps) {
    const unsigned lane = threadIdx.x % CUDA_WARP, warps = pack_threads / CUDA_WARP, group = lane / 4, rows = heads + 1;
    const size_t token = blockIdx.x;
    for (unsigned index = blockIdx.y * warps + threadIdx.x / CUDA_WARP; index < sources.blocks * steps; index += gridDim.y * warps) {
        const unsigned block = index / steps, step = index % steps, column = block * PAIR_COLUMNS + group / 2 * 8 + group % 2;
        uint32_t high[8] = {}, low[8] = {};
#pragma unroll
        for (unsigned k = 0; k < 2; k++) {
            float values[2][4];
#pragma unroll
            for (unsigned of_two = 0; of_two < 2; of_two++) {
                const unsigned row = step * PAIR_STEP + lane % 4 * 2 + 8 * k + of_two;
                const float *x = row < heads ? sources.heads + (token * heads + row) * sources.width : sources.residual + token * sources.width;
                const float mean = row < rows && sources.means ? sources.means[token * rows + row] : 0.0f;
                const float factor = row < rows ? ldexpf(1.0f, pair_exponent(sources.largest[token * rows + row], PAIR_SOURCE_EXPONENT)) : 0.0f;
#pragma unroll
                for (unsigned n = 0; n < 4; n++)
                    values[of_two][n] = row < rows && column + 2 * n < sources.width ? (x[column + 2 * n] - mean) * factor : 0.0f;
            }
#pragma unroll
            for (unsigned n = 0; n < 4; n++)
                split_two(values[0][n], values[1][n], &high[2 * n + k], &low[2 * n + k]);
        }
        uint4 *to = sources.fragments + (token * sources.blocks * steps + index) * SOURCE_FRAGMENT + lane;
        to[0] = make_uint4(high[0], high[1], high[2], high[3]);
        to[PAIR_LANES] = make_uint4(high[4], high[5], high[6], high[7]);
        to[2 * PAIR_LANES] = make_uint4(low[0], low[1], low[2], low[3]);
        to[3 * PAIR_LANES] = make_uint4(low[4], low[5], low[6], low[7]);
    }
}

enum cx_status cuda_pair_measure(struct cuda_backend *cuda, const struct pair_problem *problem, struct cx_error *error) {
    const dim3 grid(static_cast<unsigned>(cuda->batch->tokens), 2 * (problem->heads + 1) + 1);
    return CUDA_LAUNCH(cuda, "ff_pair_norms", error, measure_kernel, grid, measure_threads, 0, *problem);
}

static enum cx_status pack(struct cuda_backend *cuda, const struct pair_problem *problem, const struct pair_sources *sources, struct cx_error *error) {
    const unsigned blocks = cuda_blocks(static_cast<size_t>(sources->blocks) * problem->steps, pack_threads / CUDA_WARP);
    const dim3 grid(static_cast<unsigned>(cuda->batch->tokens), blocks < pack_most_blocks ? blocks : pack_most_blocks);
    return CUDA_LAUNCH(cuda, "ff_pair_norms", error, pack_kernel, grid, pack_threads, 0, *sources, problem->heads, problem->steps);
}

enum cx_status cuda_pair_pack(struct cuda_backend *cuda, const struct pair_problem *problem, struct cx_error *error) {
    enum cx_status status = pack(cuda, problem, &problem->inner, error);
    return status == CX_OK ? pack(cuda, problem, &problem->outer, error) : status;
}
