/* What a warpgroup of the fused kernel for Hopper does with the ring's stages. (fused_wgmma.cu has the formulas, fused_wgmma_ring.cuh the stages) */
#ifndef CONTEXTURE_CUDA_FUSED_WGMMA_MULTIPLY_CUH
#define CONTEXTURE_CUDA_FUSED_WGMMA_MULTIPLY_CUH

#include "fused_wgmma_ring.cuh"

#if defined(CUDA_EMULATION) || defined(__CUDA_ARCH_FEAT_SM90_ALL)

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

/* This warp has read the stage: all blocks that write to it may do so again. */
template <unsigned cluster> __device__ __forceinline__ void release(uint64_t *empty) {
    const unsigned lane = threadIdx.x % 32;
    __syncwarp();
    if (cluster > 1 && lane < cluster)
        barrier_arrive_at(empty, lane);
    else if (cluster == 1 && lane == 0)
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

/* The stages of the turn that this block has no use for. */
template <unsigned columns, unsigned steps, unsigned cluster>
__device__ __forceinline__ void let_others_end(const struct fused_problem &problem, const struct storage<columns, steps> &storage, unsigned index,
                                               struct ring &ring) {
    using shape = layout<columns, steps>;
    const struct turn turn = turn_of<cluster>(problem, unknown(index));
    const unsigned norms = turn.group.packed * (problem.rows / FUSED_STEP), norm_stages = (norms + shape::norm_steps - 1) / shape::norm_steps;
    unsigned left = (turn.steps - steps_of(turn.group, turn.segment)) * (problem.pairs.depth / FUSED_DEPTH + norm_stages);
    for (; left > 0; left--, advance<shape::stages>(ring)) {
        barrier_wait(storage.full(ring.stage), ring.parity);
        release<cluster>(storage.empty(ring.stage));
    }
}

/* One warpgroup: all steps of its block's segments. */
template <unsigned columns, unsigned steps, unsigned cluster>
__device__ void consume(const struct fused_problem &problem, const struct storage<columns, steps> &storage) {
    using shape = layout<columns, steps>;
    const unsigned consumer = threadIdx.x / group_threads - 1, depth = problem.pairs.depth, parts = problem.rows / FUSED_STEP;
    const unsigned row = threadIdx.x / 32 % 4 * 16 + threadIdx.x % 32 / 4;
    const float weight_factor = ldexpf(1.0f, problem.pairs.weight_exponent);
    const struct turns turns = turns_of<cluster>(problem);
    struct ring ring = {0, 0};
    float acc[columns / 2];
#pragma unroll
    for (unsigned k = 0; k < columns / 2; k++)
        acc[k] = 0.0f;
    for (unsigned index = turns.begin; index < turns.end; index++) {
        const struct turn turn = turn_of<cluster>(problem, index);
        const struct fused_segment segment = turn.segment;
        const struct fused_group group = turn.group;
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
                release<cluster>(storage.empty(before));
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
            release<cluster>(storage.empty(ring.stage));
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
                    release<cluster>(storage.empty(ring.stage));
                    advance<shape::stages>(ring);
                }
            }
            keep_norms(problem, group, rows, place, joined, acc);
        }
        if (cluster > 1)
            let_others_end<columns, steps, cluster>(problem, storage, index, ring);
    }
}

#endif
#endif
