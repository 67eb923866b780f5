/* How one thread of a block of the fused kernel for Hopper fills the ring. (fused_wgmma_ring.cuh) */
#ifndef CONTEXTURE_CUDA_FUSED_WGMMA_LOAD_CUH
#define CONTEXTURE_CUDA_FUSED_WGMMA_LOAD_CUH

#include "fused_wgmma_ring.cuh"

#if defined(CUDA_EMULATION) || defined(__CUDA_ARCH_FEAT_SM90_ALL)

/* Everything a load is of, for one step of a turn. */
struct step_loads {
    unsigned mine;   /* of S: 0 where this block has nothing to do */
    unsigned target; /* first row of `ratios`, and of so many the tile's rows are copies */
    unsigned span;
    unsigned sources, next; /* first row of `sources` and `norms`, and how many further on the second warpgroup's are */
    unsigned column;
    bool shares_ratios;
};

__device__ __forceinline__ struct step_loads step_loads_of(const struct fused_problem &problem, const struct turn &turn, unsigned step) {
    const struct fused_group &group = turn.group;
    const unsigned sources = consumers * group.packed, source = turn.segment.source + step * sources;
    struct step_loads loads;
    loads.mine = source < turn.segment.source + turn.segment.sources ? fused_steps(problem, group, source, sources) : 0;
    loads.target = group.first + group.target;
    loads.span = FUSED_TARGETS / group.packed;
    loads.sources = (group.first + source) * problem.rows;
    loads.next = group.packed * problem.rows;
    loads.column = group.column;
    loads.shares_ratios = turn.shares_ratios;
    return loads;
}

/* The stage is free, in all blocks that this one writes to. */
template <unsigned cluster> __device__ __forceinline__ void wait_until_empty(uint64_t *empty, unsigned parity) {
    if (cluster > 1)
        barrier_wait_cluster(empty, parity);
    else
        barrier_wait(empty, parity);
}

/* To all blocks of the cluster. */
template <unsigned cluster> __device__ __forceinline__ void load_for_all(void *shared, const CUtensorMap *map, unsigned x, unsigned y, uint64_t *full) {
    if (cluster > 1)
        tensor_load_2d_multicast(shared, map, static_cast<int>(x), static_cast<int>(y), full, (1u << cluster) - 1);
    else
        tensor_load_2d(shared, map, static_cast<int>(x), static_cast<int>(y), full);
}

/* What the products with 64 of f need: this block's part of what all blocks have, and what it has alone. */
template <unsigned columns, unsigned steps, unsigned cluster>
__device__ __forceinline__ void load_products(const struct tensor_maps &maps, const struct step_loads &loads, unsigned k, unsigned char *stage,
                                              uint64_t *full) {
    using shape = layout<columns, steps>;
    constexpr unsigned part = columns / cluster, part_rows = FUSED_TARGETS / cluster;
    const unsigned rank = cluster > 1 ? cluster_rank() : 0;
    const bool with_ratios = loads.mine > 0 || loads.shares_ratios;
    barrier_expect(full, (with_ratios ? shape::sources : shape::ratios) + consumers * loads.mine * box_bytes);
    load_for_all<cluster>(stage + rank * part * row_bytes, &maps.weights, k, loads.column + rank * part, full);
    if (loads.shares_ratios) {
#pragma unroll 1
        for (unsigned row = rank * part_rows; row < (rank + 1) * part_rows; row += box_rows)
            load_for_all<cluster>(stage + shape::ratios + row * row_bytes, &maps.ratios, k, loads.target + row % loads.span, full);
    } else if (with_ratios) {
#pragma unroll 1
        for (unsigned row = 0; row < FUSED_TARGETS; row += box_rows)
            load_for_all<1>(stage + shape::ratios + row * row_bytes, &maps.ratios, k, loads.target + row % loads.span, full);
    }
#pragma unroll 1
    for (unsigned consumer = 0; consumer < consumers; consumer++) {
#pragma unroll 1
        for (unsigned step = 0; step < loads.mine; step++)
            load_for_all<1>(stage + shape::sources + (consumer * steps + step) * box_bytes, &maps.sources, k,
                            loads.sources + consumer * loads.next + step * box_rows, full);
    }
}

/* Of the norms `now` steps from `done` on. */
template <unsigned columns, unsigned steps>
__device__ __forceinline__ void load_norms(const struct tensor_maps &maps, const struct step_loads &loads, unsigned done, unsigned now, unsigned char *stage,
                                           uint64_t *full) {
    using shape = layout<columns, steps>;
    constexpr unsigned boxes = columns / box_columns;
    barrier_expect(full, consumers * now * boxes * box_bytes);
#pragma unroll 1
    for (unsigned consumer = 0; consumer < consumers; consumer++) {
#pragma unroll 1
        for (unsigned step = 0; step < now; step++) {
#pragma unroll 1
            for (unsigned box = 0; box < boxes; box++)
                load_for_all<1>(stage + ((consumer * shape::norm_steps + step) * boxes + box) * box_bytes, &maps.norms, loads.column + box * box_columns,
                                loads.sources + consumer * loads.next + (done + step) * box_rows, full);
        }
    }
}

/* One thread: fills the ring. */
template <unsigned columns, unsigned steps, unsigned cluster>
__device__ void produce(const struct fused_problem &problem, const struct tensor_maps &maps, const struct storage<columns, steps> &storage) {
    using shape = layout<columns, steps>;
    const unsigned depth = problem.pairs.depth;
    const struct turns turns = turns_of<cluster>(problem);
    struct ring ring = {0, 1};
    for (unsigned index = turns.begin; index < turns.end; index++) {
        const struct turn turn = turn_of<cluster>(problem, index);
        for (unsigned step = 0; step < turn.steps; step++) {
            const struct step_loads loads = step_loads_of(problem, turn, step);
            for (unsigned k = 0; k < depth; k += FUSED_DEPTH, advance<shape::stages>(ring)) {
                wait_until_empty<cluster>(storage.empty(ring.stage), ring.parity);
                load_products<columns, steps, cluster>(maps, loads, k, storage.stage(ring.stage), storage.full(ring.stage));
            }
            const unsigned all = turn.group.packed * (problem.rows / FUSED_STEP), norms = loads.mine > 0 ? loads.mine : all;
            for (unsigned done = 0; done < norms; done += shape::norm_steps, advance<shape::stages>(ring)) {
                const unsigned left = norms - done, now = left < shape::norm_steps ? left : shape::norm_steps;
                wait_until_empty<cluster>(storage.empty(ring.stage), ring.parity);
                load_norms<columns, steps>(maps, loads, done, loads.mine > 0 ? now : 0, storage.stage(ring.stage), storage.full(ring.stage));
            }
        }
    }
}

#endif
#endif
