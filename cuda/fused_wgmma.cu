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
 * and of ratios. Tiles arrive by TMA in a ring of stages:
 *
 *     stage   weights [columns, 64], ratios [64, 64], sources [2 warpgroups, 16 S, 64], all of float16, 128-byte rows, swizzled
 *
 * and after the last of f, in one or two stages more, the norms [2 warpgroups, 16 S, columns]. A warpgroup starts the next stage's first product ahead of this
 * stage's second one, and scales and rounds it while that runs.
 *
 * Per stage a block reads 128 columns + 8 KiB + 4 KiB S from L2 and multiplies for 4 columns clocks: with 256 columns and S = 1 44 KiB in 1024 clocks, 44 bytes
 * a clock (derived: 2048 multiply-adds a clock and multiprocessor). Clusters of two blocks that share those tiles by multicast would halve it.
 */
#include <cuda.h>
#include <cudaTypedefs.h>

#include <cstdio>

#include "fused_tile.cuh"
#include "instructions_hopper.cuh"

namespace {

constexpr unsigned consumers = 2, group_threads = 128, block_threads = group_threads * (consumers + 1);
/* A block starts with 168 registers a thread, and can only hand them around: asking for more than were given back waits for ever. */
constexpr unsigned producer_registers = 40, consumer_registers = 232;
static_assert(producer_registers + consumers * consumer_registers <= 168 * (consumers + 1), "");
constexpr unsigned most_steps = 4; /* of S */
constexpr unsigned shared_limit = 227 << 10, barrier_bytes = 1024;

/* What lies in shared memory, behind the barriers: stages with the weights first. `steps`: S at most. */
template <unsigned columns, unsigned steps> struct layout {
    static constexpr unsigned ratios = columns * row_bytes, sources = ratios + FUSED_TARGETS * row_bytes;
    static constexpr unsigned bytes = sources + consumers * steps * box_bytes;
    static constexpr unsigned stages = (shared_limit - 2 * barrier_bytes) / bytes;
    static constexpr unsigned norm_steps = steps > 2 ? 2 : steps; /* of the norms that a stage takes */
    static constexpr size_t total = barrier_bytes + static_cast<size_t>(stages) * bytes;
    static_assert(stages >= 3 && consumers * norm_steps * columns / box_columns * box_bytes <= bytes && bytes % 1024 == 0, "");
};

struct tensor_maps {
    CUtensorMap weights, ratios, sources, norms;
};

#if defined(CUDA_EMULATION) || defined(__CUDA_ARCH_FEAT_SM90_ALL)

/* A place in the ring. */
struct ring {
    unsigned stage, parity;
};

template <unsigned stages> __device__ __forceinline__ void advance(struct ring &ring) {
    if (++ring.stage == stages) {
        ring.stage = 0;
        ring.parity ^= 1;
    }
}

template <unsigned columns, unsigned steps> struct storage {
    using shape = layout<columns, steps>;
    unsigned char *memory;
    __device__ __forceinline__ unsigned char *stage(unsigned number) const {
        return memory + barrier_bytes + number * shape::bytes;
    }
    __device__ __forceinline__ uint64_t *full(unsigned number) const {
        return reinterpret_cast<uint64_t *>(memory) + number;
    }
    __device__ __forceinline__ uint64_t *empty(unsigned number) const {
        return reinterpret_cast<uint64_t *>(memory) + shape::stages + number;
    }
};

/* One thread: fills the ring. */
template <unsigned columns, unsigned steps>
__device__ void produce(const struct fused_problem &problem, const struct tensor_maps &maps, const struct storage<columns, steps> &storage) {
    using shape = layout<columns, steps>;
    const unsigned depth = problem.pairs.depth, block = blockIdx.x;
    struct ring ring = {0, 1};
    for (unsigned index = problem.block_segments[block]; index < problem.block_segments[block + 1]; index++) {
        const struct fused_segment segment = problem.segments[index];
        const struct fused_group group = problem.groups[segment.group];
        const unsigned sources = consumers * group.packed, span = FUSED_TARGETS / group.packed;
        for (unsigned source = segment.source; source < segment.source + segment.sources; source += sources) {
            const unsigned mine = fused_steps(problem, group, source, sources);
            const unsigned first = (group.first + source) * problem.rows; /* row of `sources` and `norms` */
            for (unsigned k = 0; k < depth; k += FUSED_DEPTH, advance<shape::stages>(ring)) {
                unsigned char *stage = storage.stage(ring.stage);
                uint64_t *full = storage.full(ring.stage);
                barrier_wait(storage.empty(ring.stage), ring.parity);
                barrier_expect(full, shape::sources + consumers * mine * box_bytes);
                tensor_load_2d(stage, &maps.weights, static_cast<int>(k), static_cast<int>(group.column), full);
#pragma unroll 1
                for (unsigned row = 0; row < FUSED_TARGETS; row += box_rows) {
                    const int target = static_cast<int>(group.first + group.target + row % span);
                    tensor_load_2d(stage + shape::ratios + row * row_bytes, &maps.ratios, static_cast<int>(k), target, full);
                }
#pragma unroll 1
                for (unsigned consumer = 0; consumer < consumers; consumer++) {
#pragma unroll 1
                    for (unsigned step = 0; step < mine; step++)
                        tensor_load_2d(stage + shape::sources + (consumer * steps + step) * box_bytes, &maps.sources, static_cast<int>(k),
                                       static_cast<int>(first + consumer * group.packed * problem.rows + step * box_rows), full);
                }
            }
            for (unsigned done = 0; done < mine; done += shape::norm_steps, advance<shape::stages>(ring)) {
                const unsigned now = mine - done < shape::norm_steps ? mine - done : shape::norm_steps;
                unsigned char *stage = storage.stage(ring.stage);
                uint64_t *full = storage.full(ring.stage);
                barrier_wait(storage.empty(ring.stage), ring.parity);
                barrier_expect(full, consumers * now * (columns / box_columns) * box_bytes);
#pragma unroll 1
                for (unsigned consumer = 0; consumer < consumers; consumer++) {
#pragma unroll 1
                    for (unsigned step = 0; step < now; step++) {
#pragma unroll 1
                        for (unsigned box = 0; box < columns / box_columns; box++)
                            tensor_load_2d(stage + ((consumer * shape::norm_steps + step) * (columns / box_columns) + box) * box_bytes, &maps.norms,
                                           static_cast<int>(group.column + box * box_columns),
                                           static_cast<int>(first + consumer * group.packed * problem.rows + (done + step) * box_rows), full);
                    }
                }
            }
        }
    }
}

/* z in place of the first product's result: times ratios [64, 64]; the sums of these 64, if wanted. */
__device__ __forceinline__ void scale(float (&product)[32], const unsigned char *ratios, bool with_sums, const float *weights, struct row_sums &sums) {
    const unsigned lane = threadIdx.x % 32, row = threadIdx.x / 32 % 4 * 16 + lane / 4;
    const unsigned char *line = ratios + row * row_bytes + lane % 4 * 4; /* rows 8 apart have the same swizzle */
#pragma unroll
    for (unsigned c = 0; c < 8; c++) {
        const unsigned piece = (c ^ row % 8) * 16;
#pragma unroll
        for (unsigned k = 0; k < 2; k++) {
            const float2 ratio = __half22float2(*reinterpret_cast<const __half2 *>(line + k * 8 * row_bytes + piece));
            product[4 * c + 2 * k] *= ratio.x;
            product[4 * c + 2 * k + 1] *= ratio.y;
        }
    }
    if (with_sums) {
#pragma unroll
        for (unsigned c = 0; c < 8; c++) {
            const float2 weight = *reinterpret_cast<const float2 *>(weights + 8 * c + lane % 4 * 2);
#pragma unroll
            for (unsigned k = 0; k < 2; k++)
                add_to_sums(__floats2half2_rn(product[4 * c + 2 * k], product[4 * c + 2 * k + 1]), weight, k, sums);
        }
    }
}

/* The second product's left operand. The compiler demands that no product is under way when its registers are written. */
__device__ __forceinline__ void round_to_half(const float (&product)[32], uint32_t (&z)[4][4]) {
#pragma unroll
    for (unsigned c = 0; c < 8; c++) {
#pragma unroll
        for (unsigned k = 0; k < 2; k++) {
            const __half2 rounded = __floats2half2_rn(product[4 * c + 2 * k], product[4 * c + 2 * k + 1]);
            z[c / 2][c % 2 * 2 + k] = *reinterpret_cast<const uint32_t *>(&rounded);
        }
    }
}

/* The number, of which the compiler does not know that it has been here before. */
__device__ __forceinline__ unsigned unknown(unsigned number) {
    asm volatile("" : "+r"(number));
    return number;
}

/* This warp has read the stage: it may be written again. */
__device__ __forceinline__ void release(uint64_t *empty) {
    __syncwarp();
    if (threadIdx.x % 32 == 0)
        barrier_arrive(empty);
}

template <unsigned columns, unsigned steps>
__device__ __forceinline__ void first_product(const unsigned char *sources, const uint32_t (&coefficients)[steps][4], unsigned mine, float (&product)[32]) {
#pragma unroll
    for (unsigned step = 0; step < steps; step++) {
        const uint64_t descriptor = matrix_descriptor_transposed(sources + step * box_bytes, box_bytes);
        if (step == 0)
            start_warpgroup_transposed<box_columns>(product, coefficients[step], descriptor);
        else if (step < mine)
            multiply_warpgroup_transposed<box_columns>(product, coefficients[step], descriptor, true);
    }
}

template <unsigned columns>
__device__ __forceinline__ void second_product(const unsigned char *weights, const uint32_t (&z)[4][4], bool accumulate, float (&acc)[columns / 2]) {
    const uint64_t descriptor = matrix_descriptor(weights);
#pragma unroll
    for (unsigned k = 0; k < FUSED_DEPTH / FUSED_STEP; k++)
        multiply_warpgroup<columns>(acc, z[k], descriptor + 2 * k, accumulate || k > 0);
}

/* One warpgroup: all steps of its block's segments. */
template <unsigned columns, unsigned steps> __device__ void consume(const struct fused_problem &problem, const struct storage<columns, steps> &storage) {
    using shape = layout<columns, steps>;
    const unsigned consumer = threadIdx.x / group_threads - 1, depth = problem.pairs.depth, block = blockIdx.x, parts = problem.rows / FUSED_STEP;
    const unsigned row = threadIdx.x / 32 % 4 * 16 + threadIdx.x % 32 / 4;
    const float weight_factor = ldexpf(1.0f, problem.pairs.weight_exponent);
    struct ring ring = {0, 0};
    float acc[columns / 2];
#pragma unroll
    for (unsigned k = 0; k < columns / 2; k++)
        acc[k] = 0.0f;
    for (unsigned index = problem.block_segments[block]; index < problem.block_segments[block + 1]; index++) {
        const struct fused_segment segment = problem.segments[index];
        const struct fused_group group = problem.groups[segment.group];
        const unsigned sources = consumers * group.packed, end = segment.source + segment.sources;
        float *slot = problem.slots + static_cast<size_t>(segment.slot + consumer) * FUSED_TARGETS * columns;
        for (unsigned source = segment.source; source < end; source += sources) {
            const unsigned mine = fused_steps(problem, group, source, sources);
            struct tile_rows rows = tile_rows_of(group, row, source + consumer * group.packed, end);
            /* As a place behind row_means, where checks follow: a pointer would be one register more. */
            const bool with_sums = group.slice < (problem.pairs.check ? 2u : 1u);
            uint32_t fragments[steps][4], z[4][4];
            struct row_sums sums = {};
#pragma unroll
            for (unsigned step = 0; step < steps; step++)
                load_fragment(problem.coefficients, problem.rows, rows, step % parts, step / parts == rows.part, fragments[step]);

            barrier_wait(storage.full(ring.stage), ring.parity);
            const unsigned char *stage = storage.stage(ring.stage);
            {
                float product[32];
                products_fence();
                first_product<columns, steps>(stage + shape::sources + consumer * steps * box_bytes, fragments, mine, product);
                products_commit();
                products_wait<0>();
                products_keep(product);
                scale(product, stage + shape::ratios, with_sums, problem.pairs.row_means + group.slice * depth, sums);
                round_to_half(product, z);
            }
            for (unsigned k = FUSED_DEPTH; k < depth; k += FUSED_DEPTH) {
                const unsigned before = ring.stage;
                float product[32];
                advance<shape::stages>(ring);
                const unsigned char *following = storage.stage(ring.stage);
                barrier_wait(storage.full(ring.stage), ring.parity);
                products_fence();
                first_product<columns, steps>(following + shape::sources + consumer * steps * box_bytes, fragments, mine, product);
                products_commit();
                second_product<columns>(stage, z, k > FUSED_DEPTH, acc);
                products_commit();
                products_wait<1>();
                products_keep(product);
                scale(product, following + shape::ratios, with_sums, problem.pairs.row_means + group.slice * depth + k, sums);
                products_wait<0>();
                release(storage.empty(before));
                round_to_half(product, z);
                stage = following;
            }
            products_fence();
            second_product<columns>(stage, z, depth > FUSED_DEPTH, acc);
            products_commit();
            /* Once more, for while all of f went by there was no register for it. */
            rows = tile_rows_of(group, row, unknown(source + consumer * group.packed), end);
            float2 factors[2];
#pragma unroll
            for (unsigned k = 0; k < 2; k++)
                factors[k] = rows.valid[k] ? problem.factors[rows.pair[k]] : make_float2(0.0f, 1.0f);
#pragma unroll
            for (unsigned step = 0; step < steps; step++)
                load_fragment(problem.joiners, problem.rows, rows, step % parts, step / parts == rows.part, fragments[step]);
            products_wait<0>();
            products_keep(acc);
            release(storage.empty(ring.stage));
            advance<shape::stages>(ring);

            const float outputs[2] = {factors[0].x, factors[1].x}, joined[2] = {factors[0].y, factors[1].y};
            const struct tile_place place = {row, threadIdx.x % 4 * 2, group.slice, slot, source == segment.source};
            keep_outputs(problem, group, rows, place, outputs, acc);
            if (with_sums)
                keep_row_sums(problem, group, rows, outputs, weight_factor, sums);
#pragma unroll
            for (unsigned k = 0; k < columns / 2; k++)
                acc[k] *= 1.0f / joined[k / 2 % 2];
#pragma unroll
            for (unsigned done = 0; done < steps; done += shape::norm_steps) {
                if (done < mine) {
                    barrier_wait(storage.full(ring.stage), ring.parity);
                    const unsigned char *norms = storage.stage(ring.stage) + consumer * shape::norm_steps * (columns / box_columns) * box_bytes;
                    products_fence();
#pragma unroll
                    for (unsigned step = 0; step < shape::norm_steps; step++) {
                        if (done + step < mine)
                            multiply_warpgroup_transposed<columns>(
                                acc, fragments[done + step], matrix_descriptor_transposed(norms + step * (columns / box_columns) * box_bytes, box_bytes), true);
                    }
                    products_commit();
                    products_wait<0>();
                    products_keep(acc);
                    release(storage.empty(ring.stage));
                    advance<shape::stages>(ring);
                }
            }
            keep_norms(problem, group, rows, place, joined, acc);
        }
    }
}

#endif

template <unsigned columns, unsigned steps>
__global__ void __launch_bounds__(block_threads, 1)
    fused_wgmma_kernel(const __grid_constant__ struct fused_problem problem, const __grid_constant__ struct tensor_maps maps) {
#if defined(CUDA_EMULATION) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
    DYNAMIC_SHARED(shared, 1024);
    using shape = layout<columns, steps>;
    const struct storage<columns, steps> storage = { shared };
    if (threadIdx.x == 0) {
        for (unsigned stage = 0; stage < shape::stages; stage++) {
            barrier_initialise(storage.full(stage), 1);
            barrier_initialise(storage.empty(stage), block_threads / 32 - 4); /* once by every warp that multiplies */
        }
        barrier_initialise_fence();
    }
    __syncthreads();
    if (threadIdx.x < group_threads) {
        registers_release<producer_registers>();
        if (threadIdx.x == 0)
            produce<columns, steps>(problem, maps, storage);
    } else {
        registers_claim<consumer_registers>();
        consume<columns, steps>(problem, storage);
    }
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
    const size_t depth = problem->pairs.depth, width = problem->pairs.width, rows = static_cast<size_t>(problem->tokens) * problem->rows;
    PFN_cuTensorMapEncodeTiled_v12000 encode = NULL;
    struct tensor_maps maps;
    enum cx_status status;
    if ((status = find_encoder(cuda, &encode, error)) != CX_OK ||
        (status = describe_matrix(encode, matrix->centred, width, depth, cuda_padded(depth), columns, &maps.weights, error)) != CX_OK ||
        (status = describe_matrix(encode, problem->ratios, problem->tokens, depth, depth, box_rows, &maps.ratios, error)) != CX_OK ||
        (status = describe_matrix(encode, problem->sources, rows, depth, depth, box_rows, &maps.sources, error)) != CX_OK ||
        (status = describe_matrix(encode, problem->norms, rows, width, width, box_rows, &maps.norms, error)) != CX_OK)
        return status;
    constexpr size_t shared = layout<columns, steps>::total;
    return CUDA_LAUNCH(cuda, "ff_pair_norms", error, (fused_wgmma_kernel<columns, steps>), problem->blocks, block_threads, shared, *problem, maps);
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
