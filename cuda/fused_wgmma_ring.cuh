/*
 * The ring of tiles of the fused kernel for Hopper, which one warpgroup fills (fused_wgmma_load.cuh) and two empty (fused_wgmma_multiply.cuh), and in which
 * order.
 *
 * A stage in shared memory, all of float16, in rows of 128 bytes, swizzled; behind the barriers there are as many as fit:
 *
 *     weights [columns, 64]   ratios [64, 64]   sources [2 warpgroups, 16 steps, 64]        for 64 of f
 *     norms [2 warpgroups, 16 norm_steps, columns]                                          after the last of f, in one stage or two
 *
 * In a cluster (fused_clusters.cu) the stages of all blocks are in step, so that a tile that all of them need is loaded once, a part by each, to all of them at
 * the same time:
 *
 *     full [stage]    of each block: its own loader expects all bytes of the stage, whoever of the cluster sends them
 *     empty [stage]   of each block: all warps of the cluster that multiply have done with this stage, since it is written in all blocks
 *
 * Bytes may come to `full` before they are expected, but not before the phase they belong to: who sends them has waited for this block's warps in `empty`, and
 * those for the phase before. A block whose work is done before the others' loads its parts, and gives back the stages.
 */
#ifndef CONTEXTURE_CUDA_FUSED_WGMMA_RING_CUH
#define CONTEXTURE_CUDA_FUSED_WGMMA_RING_CUH

#include <cuda.h>

#include "fused_tile.cuh"
#include "instructions_hopper.cuh"

constexpr unsigned consumers = 2, group_threads = 128, block_threads = group_threads * (consumers + 1);
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

/* What a block does without a break, and what its cluster does meanwhile. */
struct turn {
    struct fused_group group;
    struct fused_segment segment; /* no sources: the block has nothing to do but for the others */
    unsigned steps;               /* of the cluster's longest segment */
    bool shares_ratios;           /* all blocks have the same targets */
};

struct turns {
    unsigned begin, end;
};

template <unsigned cluster> __device__ __forceinline__ struct turns turns_of(const struct fused_problem &problem) {
    const unsigned *bounds = cluster > 1 ? problem.cluster_rounds + blockIdx.x / cluster : problem.block_segments + blockIdx.x;
    return {bounds[0], bounds[1]};
}

__device__ __forceinline__ unsigned steps_of(const struct fused_group &group, const struct fused_segment &segment) {
    const unsigned sources = consumers * group.packed;
    return (segment.sources + sources - 1) / sources;
}

template <unsigned cluster> __device__ __forceinline__ struct turn turn_of(const struct fused_problem &problem, unsigned index) {
    struct turn turn = {};
    if (cluster == 1) {
        turn.segment = problem.segments[index];
        turn.group = problem.groups[turn.segment.group];
        turn.steps = steps_of(turn.group, turn.segment);
        return turn;
    }
    const struct fused_round *round = problem.rounds + index;
    const unsigned mine = round->segments[cluster_rank()];
    turn.segment = problem.segments[mine == FUSED_NOTHING ? round->segments[0] : mine];
    turn.group = problem.groups[turn.segment.group];
    turn.segment.sources = mine == FUSED_NOTHING ? 0 : turn.segment.sources;
    turn.steps = round->steps;
    turn.shares_ratios = round->shares_ratios;
    return turn;
}

#endif
#endif
