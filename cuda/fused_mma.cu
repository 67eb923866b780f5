/*
 * The fused pair product, one number at a time: the meaning of the steps, for tests. (fused_pairs.cuh)
 *
 * A block takes its segments one after the other. Of a pair it builds z in shared memory, rounded to float16; then each thread takes columns of the slice.
 */
#include "cuda_reduce.cuh"
#include "fused_pairs.cuh"

#include <cstdio>

constexpr unsigned plain_threads = 128, plain_warps = plain_threads / CUDA_WARP, plain_columns = 128, plain_sources = 2, plain_slots = 2;

/* z_ij as float16, and m_ij; returns m_ij in thread 0. */
static __device__ float build_z(const struct fused_problem &problem, size_t pair, size_t target, size_t source, float *z, float *sums) {
    const unsigned depth = problem.pairs.depth;
    float mean = 0.0f;
    for (unsigned k = threadIdx.x; k < depth; k += plain_threads) {
        float sum = 0.0f;
        for (unsigned row = 0; row < problem.rows; row++)
            sum += __half2float(problem.coefficients[pair * problem.rows + row]) * __half2float(problem.sources[(source * problem.rows + row) * depth + k]);
        sum *= __half2float(problem.ratios[target * depth + k]);
        mean += sum * problem.pairs.row_means[k];
        z[k] = __half2float(__float2half(sum));
    }
    mean = warp_sum(mean);
    if (threadIdx.x % CUDA_WARP == 0)
        sums[threadIdx.x / CUDA_WARP] = mean;
    __syncthreads();
    mean = 0.0f;
    for (unsigned warp = 0; warp < plain_warps; warp++)
        mean += sums[warp];
    return mean * problem.factors[pair].x * ldexpf(1.0f, problem.pairs.weight_exponent);
}

static __device__ void compute_pair(const struct fused_problem &problem, const struct fused_group &group, const __half *weight, unsigned target,
                                    unsigned source, float *slot, float *z, float *sums) {
    const unsigned width = problem.pairs.width, depth = problem.pairs.depth;
    const size_t to = group.first + group.target + target, from = static_cast<size_t>(group.first) + source;
    const size_t pair = group.pairs + static_cast<size_t>(source) * group.length + group.target + target;
    const float2 factors = problem.factors[pair];
    const float mean = build_z(problem, pair, to, from, z, sums);
    float squares[3] = {0.0f, 0.0f, 0.0f};
    if (threadIdx.x == 0 && group.slice == 0)
        problem.means[pair] = mean;
    for (unsigned k = threadIdx.x; k < problem.slice_columns && group.column + k < width; k += plain_threads) {
        const unsigned column = group.column + k;
        float output = 0.0f, joined = 0.0f;
        for (unsigned e = 0; e < depth; e++)
            output += z[e] * __half2float(weight[static_cast<size_t>(column) * depth + e]);
        for (unsigned row = 0; row < problem.rows; row++)
            joined += __half2float(problem.joiners[pair * problem.rows + row]) * __half2float(problem.norms[(from * problem.rows + row) * width + column]);
        output *= factors.x;
        joined = output + joined * factors.y;
        squares[0] += output * output;
        squares[1] += joined * joined;
        squares[2] += problem.pairs.norm2_scale[column] * problem.pairs.norm2_scale[column] * joined * joined;
        slot[k] += output;
        if (problem.pairs.own && to == from)
            problem.pairs.own[to * width + column] = output;
    }
    for (int kind = 0; kind < 3; kind++) {
        __syncthreads();
        const float sum = warp_sum(squares[kind]);
        if (threadIdx.x % CUDA_WARP == 0)
            sums[threadIdx.x / CUDA_WARP] = sum;
        __syncthreads();
        if (threadIdx.x == 0)
            problem.partials[(group.slice * 3ull + static_cast<unsigned>(kind)) * problem.pair_count + pair] = sums[0] + sums[1] + sums[2] + sums[3];
    }
    __syncthreads();
}

/* Grid: blocks of the work list. */
static __global__ void __launch_bounds__(plain_threads) fused_plain_kernel(struct fused_problem problem, const __half *weight) {
    DYNAMIC_SHARED(shared, 16);
    SHARED_ARRAY(float, sums, [plain_warps]);
    float *z = reinterpret_cast<float *>(shared);
    for (unsigned index = problem.block_segments[blockIdx.x]; index < problem.block_segments[blockIdx.x + 1]; index++) {
        const struct fused_segment segment = problem.segments[index];
        const struct fused_group group = problem.groups[segment.group];
        const unsigned stride = FUSED_TARGETS / group.packed;
        float *slots = problem.slots + static_cast<size_t>(segment.slot) * FUSED_TARGETS * problem.slice_columns;
        for (unsigned row = 0; row < plain_slots * FUSED_TARGETS; row++) {
            for (unsigned k = threadIdx.x; k < problem.slice_columns; k += plain_threads)
                slots[row * problem.slice_columns + k] = 0.0f;
        }
        for (unsigned k = 0; k < segment.sources; k++) {
            for (unsigned target = 0; target < group.targets; target++) {
                const unsigned row = k / group.packed % plain_slots * FUSED_TARGETS + k % group.packed * stride + target;
                compute_pair(problem, group, weight, target, segment.source + k, slots + row * problem.slice_columns, z, sums);
            }
        }
    }
}

bool fused_mma_plan(const struct cuda_backend *cuda, struct fused_plan *plan, char *reason, size_t size) {
    if (cuda->base.config.intermediate_size * sizeof(float) > cuda->shared_bytes / 2) {
        snprintf(reason, size, "its shared memory is too small");
        return false;
    }
    *plan = {plain_columns, plain_sources, plain_slots, 4, static_cast<unsigned>(cuda->multiprocessors)};
    return true;
}

enum cx_status fused_mma(struct cuda_backend *cuda, const struct fused_problem *problem, const struct cx_pair_matrix *matrix, struct cx_error *error) {
    return CUDA_LAUNCH(cuda, "ff_pair_norms", error, fused_plain_kernel, problem->blocks, plain_threads, problem->pairs.depth * sizeof(float), *problem,
                       static_cast<const __half *>(matrix->centred));
}
