/*
 * From what a fused kernel wrote to the maps, own and sum (fused_pairs.cuh):
 *
 *     check_i from oc·s and z·(W2c s) (contexture/checksum.h)
 *     ‖o‖² = Σ oc² + d m²,  ‖v‖² = Σ vc² + d (m + mt)²,  ‖w‖² = Σ γ2² vc² / σ2_i²;  own_i = oc_ii + m_ii,  sum_i = Σ_j oc_ij + Σ_j m_ij
 *
 * Parts of d are added in float64 in their order, slots in theirs. Pairs come in fused order, [source, target], and leave as [target, source].
 */
#include "cuda_reduce.cuh"
#include "fused_pairs.cuh"

constexpr unsigned side = CUDA_TILE_TARGETS, map_warps = 8, map_threads = map_warps * CUDA_WARP, sum_rows = 4, sum_threads = 256;

/* See fused_prepare.cu. Squares of float32 that are 0 because they are below its own range are not float16's fault. */
static __device__ __forceinline__ bool is_too_small(double squares, double limit) {
    return squares < limit * limit && (squares > 0.0 || (limit > 0.0 && limit * limit > 0x1p-126));
}

/* How far oc·s of a pair is from z·(W2c s), over what rounding allows. */
static __device__ float check_of_pair(const struct fused_problem &problem, size_t pair) {
    const float2 expected = problem.check_sums[pair];
    double found = 0.0;
    for (unsigned part = 0; part < problem.slices * problem.parts; part++)
        found += static_cast<double>(problem.check_partials[part * problem.pair_count + pair]);
    const double scale = static_cast<double>(problem.factors[pair].x) * static_cast<double>(problem.pairs.weight_norm);
    return cx_check_excess(found, static_cast<double>(expected.x), static_cast<double>(expected.y), scale, problem.pairs.depth);
}

/* The three norms of a pair, before they are written in the maps' order; 0 where a causal model has no pair. */
static __device__ __forceinline__ float3 norms_of(const struct fused_problem &problem, const struct cuda_tile &tile, unsigned target, unsigned source) {
    if (problem.causal && source > target)
        return make_float3(0.0f, 0.0f, 0.0f);
    const size_t pair = tile.pairs + static_cast<size_t>(source) * tile.length + target;
    double squares[3] = {0.0, 0.0, 0.0};
    for (unsigned part = 0; part < problem.slices * problem.parts; part++) {
#pragma unroll
        for (unsigned kind = 0; kind < 3; kind++)
            squares[kind] += static_cast<double>(problem.partials[(part * 3ull + kind) * problem.pair_count + pair]);
    }
    const double mean = static_cast<double>(problem.means[pair]), joined = mean + static_cast<double>(problem.part_means[pair]);
    const double deviation = static_cast<double>(problem.pairs.inverse_deviation2[tile.first + target]), width = problem.pairs.width;
    if (is_too_small(squares[0], static_cast<double>(problem.limits[pair])))
        atomicAdd(problem.pairs.small_pairs, 1u); /* an order does not matter in a count */
    /* Nor does it in a largest number; numbers that are not negative are ordered as their bits are. */
    if (problem.pairs.check)
        atomicMax(reinterpret_cast<int *>(problem.pairs.check + tile.first + target), __float_as_int(check_of_pair(problem, pair)));
    return make_float3(static_cast<float>(sqrt(squares[0] + width * mean * mean)), static_cast<float>(sqrt(squares[1] + width * joined * joined)),
                       static_cast<float>(sqrt(squares[2]) * deviation));
}

/* Grid: tiles of 32 targets × 32 sources each, as many as the longest sequence has. */
static __global__ void __launch_bounds__(map_threads) fused_maps_kernel(struct fused_problem problem, const struct cuda_tile *tiles) {
    SHARED_ARRAY(float, norms, [3][side][side + 1]);
    const struct cuda_tile tile = tiles[blockIdx.x];
    const unsigned lane = threadIdx.x % CUDA_WARP, warp = threadIdx.x / CUDA_WARP, first = blockIdx.y * side;
    if (first >= tile.length)
        return;
    const unsigned sources = tile.length - first < side ? tile.length - first : side;
    for (unsigned source = warp; source < sources && lane < tile.targets; source += map_warps) {
        const float3 pair = norms_of(problem, tile, tile.target + lane, first + source);
        norms[0][source][lane] = pair.x;
        norms[1][source][lane] = pair.y;
        norms[2][source][lane] = pair.z;
    }
    __syncthreads();
    float *maps[3] = {problem.pairs.ff, problem.pairs.ff_res, problem.pairs.ff_res_ln};
    for (unsigned target = warp; target < tile.targets && lane < sources; target += map_warps) {
#pragma unroll
        for (unsigned kind = 0; kind < 3; kind++) {
            if (maps[kind])
                maps[kind][tile.pairs + static_cast<size_t>(tile.target + target) * tile.length + first + lane] = norms[kind][lane][target];
        }
    }
}

/* Σ_j m_ij of the block's targets, in every thread that asks for one: sums [targets]. Each thread takes every 64th source, and the threads are added in order.
 */
static __device__ void sum_means(const struct fused_problem &problem, const struct fused_group &group, unsigned first, double *partials, float *sums) {
    const unsigned target = threadIdx.x % sum_rows, part = threadIdx.x / sum_rows, parts = sum_threads / sum_rows;
    double sum = 0.0;
    if (first + target < group.targets) {
        const unsigned sources = min(group.reach + first + target + 1, group.length);
        for (unsigned source = part; source < sources; source += parts)
            sum += static_cast<double>(problem.means[group.pairs + static_cast<size_t>(source) * group.length + group.target + first + target]);
    }
    partials[part * sum_rows + target] = sum;
    __syncthreads();
    if (part == 0) {
        for (unsigned k = 1; k < parts; k++)
            sum += partials[k * sum_rows + target];
        sums[target] = static_cast<float>(sum);
    }
    __syncthreads();
}

/* Grid: groups × 16, four rows of the tile each. */
static __global__ void __launch_bounds__(sum_threads) fused_sums_kernel(struct fused_problem problem) {
    SHARED_ARRAY(double, partials, [sum_threads]);
    SHARED_ARRAY(float, mean_sums, [sum_rows]);
    const struct fused_group group = problem.groups[blockIdx.x];
    const unsigned first = blockIdx.y * sum_rows, width = problem.pairs.width, stride = FUSED_TARGETS / group.packed;
    if (first >= group.targets)
        return;
    sum_means(problem, group, first, partials, mean_sums);
    const unsigned targets = group.targets - first < sum_rows ? group.targets - first : sum_rows;
    const unsigned columns = width - group.column < problem.slice_columns ? width - group.column : problem.slice_columns;
    for (unsigned k = threadIdx.x; k < targets * columns; k += sum_threads) {
        const unsigned row = first + k / columns, column = k % columns, target = group.target + row;
        const size_t at = (static_cast<size_t>(group.first) + target) * width + group.column + column;
        float total = mean_sums[k / columns];
        for (unsigned slot = group.slot; slot < group.slot + group.slots; slot++) {
            for (unsigned part = 0; part < group.packed; part++)
                total += problem.slots[(static_cast<size_t>(slot) * FUSED_TARGETS + row + part * stride) * problem.slice_columns + column];
        }
        if (problem.pairs.sum)
            problem.pairs.sum[at] = total;
        if (problem.pairs.own)
            problem.pairs.own[at] += problem.means[group.pairs + static_cast<size_t>(target) * group.length + target];
    }
}

enum cx_status fused_finish(struct cuda_backend *cuda, const struct fused_problem *problem, struct cx_error *error) {
    const dim3 grid(static_cast<unsigned>(cuda->tile_count), cuda_blocks(cuda->batch->longest, side));
    enum cx_status status = CUDA_LAUNCH(cuda, "ff_pair_norms", error, fused_maps_kernel, grid, map_threads, 0, *problem, cuda->tiles);
    if (status == CX_OK && (problem->pairs.own || problem->pairs.sum))
        status = CUDA_LAUNCH(cuda, "ff_pair_norms", error, fused_sums_kernel, dim3(problem->group_count, FUSED_TARGETS / sum_rows), sum_threads, 0, *problem);
    return status;
}
