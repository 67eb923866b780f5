/*
 * The fused feed-forward kernel for Hopper. (fused_pairs.cuh has the formulas, the operands and their scaling.)
 *
 *     z   [64, 64]       = (coefficients [64, 16 S] sources [16 S, 64 of f]) ⊙ ratios [64, 64 of f]      registers: the first product's result, rounded to
 *                                                                                                       float16, is the second one's left operand as it lies
 *     acc [64, columns] += z W16 [64 of f, columns of d]                                                 for all of f
 *     oc = x acc:  Σ oc², its row of Σ_j oc_ij, o_ii;  m = 2^w x Σ z w̄
 *     acc = acc x / y + joiners [64, 16 S] norms [16 S, columns]                                         t joins in the accumulators themselves
 *     vc = y acc:  Σ vc², Σ (γ2 vc)²
 *
 * A tile's 64 rows are targets of one sequence, with one source (S = R / 16), or with `packed` sources of a short sequence: then coefficients are block
 * diagonal (S = packed R / 16). Its width is a slice of d, for which z is built anew: 16 S / columns more work, and no z in any memory.
 *
 * A block has a warpgroup that loads (one thread of it) and two that multiply. Both have the same targets and different sources, so they share the tiles of W16
 * and of ratios, which arrive by TMA in a ring of stages (fused_wgmma_ring.cuh). A warpgroup starts the next stage's first product ahead of this stage's second
 * one, and scales and rounds it while that runs.
 *
 * Per stage a block takes 128 columns + 8 KiB + 4 KiB S and multiplies for 4 columns clocks: with 256 columns and S = 1 44 KiB in 1024 clocks (derived: 2048
 * multiply-adds a clock and multiprocessor). Alone it reads all of that from L2. In a cluster of two (fused_clusters.cu) each reads half of the weights, and of
 * the ratios where both have the same targets, for both: 28 KiB, or 24.
 */
#include <cudaTypedefs.h>

#include <cstdio>

#include "fused_wgmma_load.cuh"
#include "fused_wgmma_multiply.cuh"

namespace {

/* A block starts with 168 registers a thread, and can only hand them around: asking for more than were given back waits for ever. */
constexpr unsigned producer_registers = 40, consumer_registers = 232;
static_assert(producer_registers + consumers * consumer_registers <= 168 * (consumers + 1), "");
constexpr unsigned most_steps = 4; /* of S */

#if defined(CUDA_EMULATION) || defined(__CUDA_ARCH_FEAT_SM90_ALL)

/* Every thread of the cluster. */
template <unsigned cluster> __device__ __forceinline__ void meet() {
    if (cluster > 1) {
        cluster_arrive();
        cluster_wait();
    } else {
        __syncthreads();
    }
}

template <unsigned columns, unsigned steps, unsigned cluster>
__device__ __forceinline__ void run_block(const struct fused_problem &problem, const struct tensor_maps &maps, unsigned char *shared) {
    using shape = layout<columns, steps>;
    const struct storage<columns, steps> storage = { shared };
    if (threadIdx.x == 0) {
        for (unsigned stage = 0; stage < shape::stages; stage++) {
            barrier_initialise(storage.full(stage), 1);
            barrier_initialise(storage.empty(stage), cluster * consumers * group_threads / 32); /* once by every warp that multiplies */
        }
        barrier_initialise_fence();
    }
    meet<cluster>(); /* before anybody writes to another's shared memory */
    if (threadIdx.x < group_threads) {
        registers_release<producer_registers>();
        if (threadIdx.x == 0)
            produce<columns, steps, cluster>(problem, maps, storage);
    } else {
        registers_claim<consumer_registers>();
        consume<columns, steps, cluster>(problem, storage);
    }
    if (cluster > 1)
        meet<cluster>(); /* nobody leaves while another may still write to its shared memory */
}

#endif

template <unsigned columns, unsigned steps>
__global__ void __launch_bounds__(block_threads, 1)
    fused_wgmma_kernel(const __grid_constant__ struct fused_problem problem, const __grid_constant__ struct tensor_maps maps) {
#if defined(CUDA_EMULATION) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
    DYNAMIC_SHARED(shared, 1024);
    run_block<columns, steps, 1>(problem, maps, shared);
#endif
}

template <unsigned columns, unsigned steps>
__global__ void __launch_bounds__(block_threads, 1)
    fused_wgmma_cluster_kernel(const __grid_constant__ struct fused_problem problem, const __grid_constant__ struct tensor_maps maps) {
#if defined(CUDA_EMULATION) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
    DYNAMIC_SHARED(shared, 1024);
    run_block<columns, steps, FUSED_CLUSTER>(problem, maps, shared);
#endif
}

/* The function of the driver that describes a tensor to the copy engine; through the runtime, so that nothing links with libcuda. */
enum cx_status find_encoder(struct cuda_backend *cuda, PFN_cuTensorMapEncodeTiled_v12000 *encode, struct cx_error *error) {
    cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
    void *function = NULL;
    enum cx_status status = cuda_result(cuda, "ff_pair_norms", "looking for cuTensorMapEncodeTiled",
                                        cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found), error);
    if (status == CX_OK && (found != cudaDriverEntryPointSuccess || !function))
        return cx_fail(error, CX_ERROR_DEVICE, "ff_pair_norms: this driver has no cuTensorMapEncodeTiled; update it to one for CUDA 12 or later");
    *encode = reinterpret_cast<PFN_cuTensorMapEncodeTiled_v12000>(function);
    return status;
}

/* A matrix of float16, read in boxes of 64 columns × `box` rows. */
enum cx_status describe_matrix(PFN_cuTensorMapEncodeTiled_v12000 encode, void *matrix, size_t rows, size_t columns, size_t stride, unsigned box,
                               CUtensorMap *map, struct cx_error *error) {
    const cuuint64_t sizes[2] = {columns, rows}, strides[1] = {stride * sizeof(__half)};
    const cuuint32_t boxes[2] = {box_columns, box}, steps[2] = {1, 1};
    const CUresult code = encode(map, CU_TENSOR_MAP_DATA_TYPE_FLOAT16, 2, matrix, sizes, strides, boxes, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
                                 CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    if (code != CUDA_SUCCESS)
        return cx_fail(error, CX_ERROR_DEVICE, "ff_pair_norms: describing a matrix [%zu, %zu] to the copy engine failed: CUDA driver error %d", rows, columns,
                       static_cast<int>(code));
    return CX_OK;
}

template <unsigned columns, unsigned steps>
enum cx_status run(struct cuda_backend *cuda, const struct fused_problem *problem, const struct cx_pair_matrix *matrix, struct cx_error *error) {
    constexpr unsigned shared = layout<columns, steps>::total;
    const size_t depth = problem->pairs.depth, width = problem->pairs.width, rows = static_cast<size_t>(problem->tokens) * problem->rows;
    const bool clusters = problem->clusters > 0;
    PFN_cuTensorMapEncodeTiled_v12000 encode = NULL;
    struct tensor_maps maps;
    enum cx_status status;
    if ((status = find_encoder(cuda, &encode, error)) != CX_OK ||
        (status = describe_matrix(encode, matrix->centred, width, depth, cuda_padded(depth), clusters ? columns / FUSED_CLUSTER : columns, &maps.weights,
                                  error)) != CX_OK ||
        (status = describe_matrix(encode, problem->ratios, problem->tokens, depth, depth, box_rows, &maps.ratios, error)) != CX_OK ||
        (status = describe_matrix(encode, problem->sources, rows, depth, depth, box_rows, &maps.sources, error)) != CX_OK ||
        (status = describe_matrix(encode, problem->norms, rows, width, width, box_rows, &maps.norms, error)) != CX_OK)
        return status;
    if (!clusters)
        return CUDA_LAUNCH(cuda, "ff_pair_norms", error, (fused_wgmma_kernel<columns, steps>), problem->blocks, block_threads, shared, *problem, maps);
    return cuda_result(cuda, "ff_pair_norms", "launching fused_wgmma_cluster_kernel",
                       launch_clusters(fused_wgmma_cluster_kernel<columns, steps>, FUSED_CLUSTER, problem->clusters * FUSED_CLUSTER, block_threads, shared,
                                       cuda->stream, *problem, maps),
                       error);
}

/* How many clusters the device runs at the same time; with another number of steps a block leaves as little to others. */
cudaError_t count_clusters(unsigned columns, int *clusters) {
    constexpr unsigned shared =
        layout<wide_columns, 1>::total > layout<narrow_columns, 1>::total ? layout<wide_columns, 1>::total : layout<narrow_columns, 1>::total;
    const void *kernel = columns == wide_columns ? reinterpret_cast<const void *>(fused_wgmma_cluster_kernel<wide_columns, 1>)
                                                 : reinterpret_cast<const void *>(fused_wgmma_cluster_kernel<narrow_columns, 1>);
    cudaLaunchAttribute attribute;
    const cudaLaunchConfig_t configuration = cluster_configuration(FUSED_CLUSTER, FUSED_CLUSTER, block_threads, shared, NULL, &attribute);
    const cudaError_t error = allow_shared(kernel, shared);
    return error == cudaSuccess ? cudaOccupancyMaxActiveClusters(clusters, kernel, &configuration) : error;
}

} /* namespace */

bool fused_wgmma_plan(const struct cuda_backend *cuda, struct fused_plan *plan, char *reason, size_t size) {
    const unsigned rows = fused_rows(static_cast<unsigned>(cuda->base.config.heads));
    if (cuda->shared_bytes < shared_limit) {
        snprintf(reason, size, "it needs %u bytes of shared memory a block, and the device has %zu", shared_limit, cuda->shared_bytes);
        return false;
    }
    plan->slice_columns = fused_slice_columns(cuda);
    plan->sources = plan->slots = consumers;
    plan->parts = 1;
    plan->packed = most_steps * FUSED_STEP / rows;
    plan->blocks = static_cast<unsigned>(cuda->multiprocessors);
    return true;
}

bool fused_wgmma_cluster_plan(const struct cuda_backend *cuda, struct fused_plan *plan, char *reason, size_t size) {
    int clusters = 0;
    if (!fused_wgmma_plan(cuda, plan, reason, size))
        return false;
    const cudaError_t error = count_clusters(plan->slice_columns, &clusters);
    if (error != cudaSuccess || clusters < 1) {
        cuda_forget(cudaGetLastError());
        snprintf(reason, size, "the device runs no cluster of %u of its blocks: %s", static_cast<unsigned>(FUSED_CLUSTER),
                 error == cudaSuccess ? "its multiprocessors are too far apart" : cudaGetErrorString(error));
        return false;
    }
    plan->clusters = static_cast<unsigned>(clusters);
    return true;
}

enum cx_status fused_wgmma(struct cuda_backend *cuda, const struct fused_problem *problem, const struct cx_pair_matrix *matrix, struct cx_error *error) {
    const unsigned steps = problem->packed * problem->rows / FUSED_STEP;
    const bool wide = problem->slice_columns == wide_columns;
    if (steps > most_steps || (!wide && problem->slice_columns != narrow_columns))
        return cx_fail(error, CX_ERROR_INTERNAL, "ff_pair_norms: no kernel for tiles of %u steps and %u columns", steps, problem->slice_columns);
    if (steps == 1)
        return wide ? run<wide_columns, 1>(cuda, problem, matrix, error) : run<narrow_columns, 1>(cuda, problem, matrix, error);
    if (steps == 2)
        return wide ? run<wide_columns, 2>(cuda, problem, matrix, error) : run<narrow_columns, 2>(cuda, problem, matrix, error);
    return wide ? run<wide_columns, 4>(cuda, problem, matrix, error) : run<narrow_columns, 4>(cuda, problem, matrix, error);
}
