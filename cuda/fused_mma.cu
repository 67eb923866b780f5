/*
 * The fused feed-forward kernel for every GPU with mma.sync of float16 (compute capability 8.0 and later). (fused_pairs.cuh has the formulas, the operands and
 * their scaling; fused_mma_ring.cuh what is in shared memory; fused_tile.cuh what happens to a finished tile.)
 *
 *     z   [128, 64]      = (coefficients [128, 16 R'] sources [16 R', 64 of f]) ⊙ ratios [64 twice, 64 of f]   registers: what the instruction leaves of the
 *                                                                            first product, rounded to float16, is the second one's left operand as it lies
 *     acc [128, columns] += z W16 [64 of f, columns of d]                                                      for all of f
 *     oc = x acc:  Σ oc², its row of Σ_j oc_ij, o_ii;  m = 2^w x Σ z w̄
 *     acc = acc x / y + joiners [128, 16 R'] norms [16 R', columns]                                            t joins in the accumulators themselves
 *     vc = y acc:  Σ vc², Σ (γ2 vc)²
 *
 * A block has two tiles of 64 targets, the same for both, with a source each, or with `packed` sources of a short sequence each. R' = R / 16: every block of 16
 * rows has one source, so packed tiles need no block-diagonal product. The eight warps are four of 32 rows times two halves of the columns:
 *
 *                      columns 0 .. n/2 - 1    n/2 .. n - 1
 *     tile 0, rows  0      warp 0                 warp 4            source j,     targets i .. i + 31
 *             rows 32      warp 1                 warp 5                          targets i + 32 .. i + 63
 *     tile 1, rows  0      warp 2                 warp 6            source j + 1
 *             rows 32      warp 3                 warp 7
 *
 * z is built anew by both warps of a row and for every slice of d. Keeping it instead: z of 128 rows and all of f is 768 KiB (f = 3072), several times what a
 * multiprocessor has; 16 rows would fit, and then every number of W16 that is read is used 16 times where it is used 128 times now. Passing z of 64 of f
 * through shared memory to warps of 64 × 64 reads W16 half as often (64 KiB less) and writes z and reads it four times (80 KiB) but reads ratios half as often
 * (16 KiB less): the same traffic. It would save half of the first product, 16 R' / columns = 6 % of the work, for a barrier between the two products.
 *
 * Derived, for 64 of f, 256 columns, R' = 1: 1152 instructions m16n8k16 a block, of them 1024 useful. A multiprocessor does one in 2 clocks on sm_80, in 4 on
 * sm_86 and sm_89 (8 on GeForce): 2304 clocks and more. Shared memory: 8 warps read weights (16 KiB), ratios (4), sources (2) by ldmatrix: 176 KiB, and 44 KiB
 * are written: 1760 clocks at 128 bytes. The second cache gives 44 KiB: 20 bytes a clock. Useful operations per byte of it: 2 · 128 · 256 · 64 / 45056 = 93;
 * per byte from memory some thousands, since all blocks read the same weights. So the tensor cores are the limit, if two warps a scheduler hide the rest.
 */
#include "fused_mma_ring.cuh"

#include <cstdio>

namespace {

/*
 * A warp's part of the block's two tiles, and which row each lane names to ldmatrix: as bytes from the first row of 16, with its 16-byte piece's place in bits
 * 4 to 6. The first numbers of a row begin at an even piece, so 16 numbers further on are 32 bytes further on, by exclusive or.
 */
struct warp_place {
    unsigned tile, row, half; /* row: its first within the tile; half: of the columns */
    unsigned left, right;     /* of 16 × 16 numbers the quarters in the order of a left operand; with the second and third exchanged: two right operands */
};

__device__ __forceinline__ struct warp_place warp_place_of() {
    const unsigned lane = threadIdx.x % CUDA_WARP, warp = threadIdx.x / CUDA_WARP;
    struct warp_place place = {};
    place.tile = warp % row_warps * warp_rows / FUSED_TARGETS;
    place.row = warp % row_warps * warp_rows % FUSED_TARGETS;
    place.half = warp / row_warps;
    place.left = (lane % 8 + lane / 8 % 2 * 8) * row_bytes + (lane / 16 ^ lane % 8) * piece_bytes;
    place.right = (lane % 8 + lane / 16 * 8) * row_bytes + (lane / 8 % 2 ^ lane % 8) * piece_bytes;
    return place;
}

/* Of either 16 rows of a warp: where their source's boxes begin in a stage's sources or norms, and how many there are. */
struct warp_boxes {
    unsigned first[warp_tiles], count;
};

constexpr unsigned step_bytes = FUSED_STEP * sizeof(__half);

/* acc[2] += left right, for two neighbouring right operands. */
__device__ __forceinline__ void multiply_two(float *acc, const uint32_t (&left)[4], const uint32_t (&right)[4]) {
#pragma unroll
    for (unsigned c = 0; c < 2; c++) {
        const uint32_t column[2] = {right[2 * c], right[2 * c + 1]};
        multiply_m16n8k16(*reinterpret_cast<float(*)[4]>(acc + 4 * c), left, column);
    }
}

/* z of the warp's 32 rows and of 16 of f as left operands; the sums of these, with `weights`. */
template <unsigned columns, unsigned parts, bool with_sums>
__device__ __forceinline__ void build(const unsigned char *stage, const struct warp_place &place, const struct warp_boxes &boxes,
                                      const uint32_t (&coefficients)[warp_tiles][parts][4], unsigned k, const float *weights, uint32_t (&z)[warp_tiles][4],
                                      struct row_sums (&sums)[warp_tiles]) {
    const unsigned char *ratios = stage + columns * row_bytes + place.row * row_bytes, *sources = stage + (columns + FUSED_TARGETS) * row_bytes;
    const unsigned lane = place.left ^ k * step_bytes;
    uint32_t right[parts][4];
#pragma unroll
    for (unsigned tile = 0; tile < warp_tiles; tile++) {
        float product[8] = {};
#pragma unroll
        for (unsigned part = 0; part < parts; part++) {
            if (part > 0 && part >= boxes.count)
                continue;
            if (tile == 0 || parts > 1 || boxes.first[0] != boxes.first[1]) /* two parts' would take registers that the sums need */
                load_matrix_x4<true>(right[part], sources + (boxes.first[tile] + part) * box_bytes + lane);
            multiply_two(product, coefficients[tile][part], right[part]);
        }
        uint32_t ratio[4];
        load_matrix_x4(ratio, ratios + tile * 16 * row_bytes + lane);
#pragma unroll
        for (unsigned c = 0; c < 2; c++) {
            float2 weight = make_float2(0.0f, 0.0f);
            if (with_sums)
                weight = *reinterpret_cast<const float2 *>(weights + 8 * c);
#pragma unroll
            for (unsigned row = 0; row < 2; row++) {
                const float2 factor = __half22float2(*reinterpret_cast<const __half2 *>(&ratio[2 * c + row]));
                const float low = product[4 * c + 2 * row] * factor.x, high = product[4 * c + 2 * row + 1] * factor.y;
                const __half2 rounded = __floats2half2_rn(low, high);
                z[tile][2 * c + row] = *reinterpret_cast<const uint32_t *>(&rounded);
                if (with_sums)
                    add_to_sums(rounded, weight, row, sums[tile]);
            }
        }
    }
}

/* acc += z W16 for 16 of f. */
template <unsigned columns>
__device__ __forceinline__ void multiply(const unsigned char *stage, const struct warp_place &place, unsigned k, const uint32_t (&z)[warp_tiles][4],
                                         float (&acc)[warp_tiles][columns / 4]) {
    const unsigned char *weights = stage + place.half * (columns / 2) * row_bytes + (place.right ^ k * step_bytes);
#pragma unroll
    for (unsigned c = 0; c < columns / 32; c++) {
        uint32_t right[4];
        load_matrix_x4(right, weights + c * 16 * row_bytes);
#pragma unroll
        for (unsigned tile = 0; tile < warp_tiles; tile++)
            multiply_two(&acc[tile][8 * c], z[tile], right);
    }
}

/* All of f. The next 16 of z are on their way while 16 are multiplied. */
template <unsigned columns, unsigned parts, bool with_sums>
__device__ __forceinline__ void multiply_stages(const struct fused_problem &problem, const struct tiling &tiling, struct ring &ring,
                                                const struct warp_place &place, const struct warp_boxes &boxes, unsigned slice,
                                                const uint32_t (&coefficients)[warp_tiles][parts][4], struct row_sums (&sums)[warp_tiles],
                                                float (&acc)[warp_tiles][columns / 4]) {
    const float *weights = problem.pairs.row_means + static_cast<size_t>(slice) * problem.pairs.depth + threadIdx.x % 4 * 2;
    const float *end = weights + problem.pairs.depth;
#pragma unroll 1
    for (; weights < end; weights += FUSED_DEPTH) {
        const unsigned char *stage = next_stage<columns>(problem, tiling, ring);
        uint32_t z[2][warp_tiles][4];
        build<columns, parts, with_sums>(stage, place, boxes, coefficients, 0, weights, z[0], sums);
        /* Two times two: unrolled further, loads far ahead would take the registers. */
#pragma unroll 1
        for (unsigned k = 0; k < FUSED_DEPTH / FUSED_STEP; k += 2) {
            build<columns, parts, with_sums>(stage, place, boxes, coefficients, k + 1, weights + (k + 1) * FUSED_STEP, z[1], sums);
            multiply<columns>(stage, place, k, z[0], acc);
            if (k + 2 < FUSED_DEPTH / FUSED_STEP)
                build<columns, parts, with_sums>(stage, place, boxes, coefficients, k + 2, weights + (k + 2) * FUSED_STEP, z[0], sums);
            multiply<columns>(stage, place, k + 1, z[1], acc);
        }
    }
}

/* acc += joiners norms, of the boxes that the stage has: `count` of each tile, from `done` on. */
template <unsigned columns, unsigned parts>
__device__ __forceinline__ void join(const unsigned char *stage, const struct warp_place &place, const struct warp_boxes &boxes,
                                     const uint32_t (&joiners)[warp_tiles][parts][4], unsigned done, unsigned count, float (&acc)[warp_tiles][columns / 4]) {
#pragma unroll
    for (unsigned tile = 0; tile < warp_tiles; tile++) {
#pragma unroll
        for (unsigned part = 0; part < parts; part++) {
            const unsigned box = boxes.first[tile] + part - done;
            if (part >= boxes.count || box >= count)
                continue;
#pragma unroll
            for (unsigned c = 0; c < columns / 32; c++) {
                const unsigned column = place.half * (columns / 2) + 16 * c, block = (column / box_columns * tiles + place.tile) * count + box;
                uint32_t right[4];
                load_matrix_x4<true>(right, stage + block * box_bytes + (place.left ^ column % box_columns / FUSED_STEP * step_bytes));
                multiply_two(&acc[tile][8 * c], joiners[tile][part], right);
            }
        }
    }
}

/*
 * What a step of a segment is about. It is read again, from the cache, by whatever needs it, and what follows from it computed again: kept through the loop
 * over f it would cost the registers that the sums need.
 */
struct step {
    unsigned segment, source;
};

struct step_view {
    struct fused_segment segment;
    struct fused_group group;
    unsigned boxes; /* of a tile */
};

__device__ __forceinline__ struct step_view view_of(const struct fused_problem &problem, const struct step &step) {
    struct step_view view;
    view.segment = problem.segments[step.segment];
    view.group = problem.groups[view.segment.group];
    view.boxes = fused_steps(problem, view.group, step.source, tiles * view.group.packed);
    return view;
}

__device__ __forceinline__ unsigned row_of(const struct warp_place &place, unsigned tile) {
    return place.row + tile * 16 + threadIdx.x % CUDA_WARP / 4;
}

__device__ __forceinline__ struct tile_rows rows_of(const struct step_view &view, const struct step &step, const struct warp_place &place, unsigned tile) {
    return tile_rows_of(view.group, row_of(place, tile), step.source + place.tile * view.group.packed, view.segment.source + view.segment.sources);
}

/* Coefficients or joiners; boxes.first counts from the first tile's for coefficients, from the warp's own tile's for joiners. */
template <unsigned parts>
__device__ __forceinline__ void load_left(const struct fused_problem &problem, const struct step_view &view, const struct step &step,
                                          const struct warp_place &place, const __half *table, bool from_own, struct warp_boxes &boxes,
                                          uint32_t (&left)[warp_tiles][parts][4]) {
    boxes.count = view.boxes / view.group.packed;
#pragma unroll
    for (unsigned tile = 0; tile < warp_tiles; tile++) {
        const struct tile_rows rows = rows_of(view, step, place, tile);
        boxes.first[tile] = (from_own ? 0 : place.tile * view.boxes) + rows.part * boxes.count;
#pragma unroll
        for (unsigned part = 0; part < parts; part++)
            load_fragment(table, problem.rows, rows, part, true, left[tile][part]);
    }
}

template <unsigned columns>
__device__ __forceinline__ struct tile_place place_in(const struct fused_problem &problem, const struct step_view &view, const struct step &step,
                                                      const struct warp_place &place, unsigned tile) {
    const unsigned column = place.half * (columns / 2) + threadIdx.x % 4 * 2;
    return {row_of(place, tile), column, view.group.slice * problem.parts + place.half,
            problem.slots + static_cast<size_t>(view.segment.slot + place.tile) * FUSED_TARGETS * columns, step.source == view.segment.source};
}

__device__ __forceinline__ float2 factors_of(const struct fused_problem &problem, const struct tile_rows &rows, unsigned k) {
    return rows.valid[k] ? problem.factors[rows.pair[k]] : make_float2(0.0f, 1.0f);
}

/* Whether this warp adds up row_sums: w̄ belongs to the first slice, what checks need to the second. */
__device__ __forceinline__ bool has_sums(const struct fused_problem &problem, const struct step_view &view, const struct warp_place &place) {
    return view.group.slice < (problem.pairs.check ? 2u : 1u) && place.half == 0;
}

/* The product is done: what is wanted of it, and what is left for t to join. */
template <unsigned columns>
__device__ __forceinline__ void finish_product(const struct fused_problem &problem, const struct step_view &view, const struct step &step,
                                               const struct warp_place &place, const struct row_sums (&sums)[warp_tiles],
                                               float (&acc)[warp_tiles][columns / 4]) {
#pragma unroll
    for (unsigned tile = 0; tile < warp_tiles; tile++) {
        const struct tile_rows rows = rows_of(view, step, place, tile);
        const float2 factors[2] = {factors_of(problem, rows, 0), factors_of(problem, rows, 1)};
        const float outputs[2] = {factors[0].x, factors[1].x}, unjoined[2] = {1.0f / factors[0].y, 1.0f / factors[1].y};
        keep_outputs(problem, view.group, rows, place_in<columns>(problem, view, step, place, tile), outputs, acc[tile]);
        if (has_sums(problem, view, place))
            keep_row_sums(problem, view.group, rows, outputs, ldexpf(1.0f, problem.pairs.weight_exponent), sums[tile]);
#pragma unroll
        for (unsigned k = 0; k < columns / 4; k++)
            acc[tile][k] *= unjoined[k / 2 % 2];
    }
}

/* Both tiles' sources, from step.source on; then the step is the block's next. */
template <unsigned columns, unsigned parts>
__device__ __forceinline__ void multiply_step(const struct fused_problem &problem, const struct tiling &tiling, struct ring &ring,
                                              const struct warp_place &place, struct step &step) {
    struct warp_boxes boxes;
    uint32_t left[warp_tiles][parts][4];
    struct row_sums sums[warp_tiles] = {};
    float acc[warp_tiles][columns / 4] = {};
    struct step_view view = view_of(problem, step);
    load_left<parts>(problem, view, step, place, problem.coefficients, false, boxes, left);
    if (has_sums(problem, view, place))
        multiply_stages<columns, parts, true>(problem, tiling, ring, place, boxes, view.group.slice, left, sums, acc);
    else
        multiply_stages<columns, parts, false>(problem, tiling, ring, place, boxes, 0, left, sums, acc);

    view = view_of(problem, step);
    finish_product<columns>(problem, view, step, place, sums, acc);
    load_left<parts>(problem, view, step, place, problem.joiners, true, boxes, left);
    const unsigned total = view.boxes;
#pragma unroll 1
    for (unsigned done = 0; done < total; done += norm_boxes) {
        const unsigned char *stage = next_stage<columns>(problem, tiling, ring);
        join<columns, parts>(stage, place, boxes, left, done, total - done < norm_boxes ? total - done : norm_boxes, acc);
    }
    view = view_of(problem, step);
#pragma unroll
    for (unsigned tile = 0; tile < warp_tiles; tile++) {
        const struct tile_rows rows = rows_of(view, step, place, tile);
        const float joined[2] = {factors_of(problem, rows, 0).y, factors_of(problem, rows, 1).y};
        keep_norms(problem, view.group, rows, place_in<columns>(problem, view, step, place, tile), joined, acc[tile]);
    }
    step.source += tiles * view.group.packed;
    if (step.source >= view.segment.source + view.segment.sources) {
        step.segment++;
        step.source = step.segment < problem.block_segments[blockIdx.x + 1] ? problem.segments[step.segment].source : 0;
    }
}

template <unsigned columns, unsigned parts>
__global__ void __launch_bounds__(block_threads, 1)
    fused_mma_kernel(const __grid_constant__ struct fused_problem problem, const __grid_constant__ struct tiling tiling) {
    DYNAMIC_SHARED(shared, 128);
    SHARED_ARRAY(struct loader, loaders, [2]);
    const unsigned first = problem.block_segments[blockIdx.x];
    const struct warp_place place = warp_place_of();
    struct ring ring = {shared, loaders, tiling.stages - 1, 0};
    if (threadIdx.x == 0) {
        struct loader loader = {};
        loader.segment = first;
        loader.last = problem.block_segments[blockIdx.x + 1];
        begin_segment(problem, loader);
        loaders[0] = loader;
    }
    for (unsigned stage = 0; stage + 1 < tiling.stages; stage++) {
        __syncthreads();
        load_stage<columns>(problem, tiling, ring, stage);
    }
    struct step step = {first, problem.segments[first].source};
    while (step.segment < problem.block_segments[blockIdx.x + 1])
        multiply_step<columns, parts>(problem, tiling, ring, place, step);
}

template <unsigned columns, unsigned parts>
enum cx_status run(struct cuda_backend *cuda, const struct fused_problem *problem, const struct cx_pair_matrix *matrix, struct cx_error *error) {
    const unsigned boxes = problem->packed * parts;
    const struct tile_size *size = size_for(columns, boxes, cuda->shared_bytes);
    if (!size || cuda_padded(problem->pairs.depth) != problem->pairs.depth)
        return cx_fail(error, CX_ERROR_INTERNAL, "ff_pair_norms: no tiles of %u columns and %u boxes for %zu bytes of shared memory", columns, boxes,
                       cuda->shared_bytes);
    const struct tiling tiling = {static_cast<const __half *>(matrix->centred), size->stages, stage_bytes(columns, boxes)};
    return CUDA_LAUNCH(cuda, "ff_pair_norms", error, (fused_mma_kernel<columns, parts>), problem->blocks, block_threads, tiling.stages * tiling.stage_bytes,
                       *problem, tiling);
}

} /* namespace */

bool fused_mma_plan(const struct cuda_backend *cuda, struct fused_plan *plan, char *reason, size_t size) {
    const unsigned parts = fused_rows(static_cast<unsigned>(cuda->base.config.heads)) / FUSED_STEP;
    plan->slice_columns = fused_slice_columns(cuda);
    for (plan->packed = 4 / parts; plan->packed > 0; plan->packed /= 2) {
        if (size_for(plan->slice_columns, plan->packed * parts, cuda->shared_bytes))
            break;
    }
    if (plan->packed == 0) {
        snprintf(reason, size, "it needs %u bytes of shared memory a block, and the device has %zu", sizes[1].shared_bytes, cuda->shared_bytes);
        return false;
    }
    plan->sources = plan->slots = tiles;
    plan->parts = warps / row_warps;
    plan->blocks = static_cast<unsigned>(cuda->multiprocessors);
    return true;
}

enum cx_status fused_mma(struct cuda_backend *cuda, const struct fused_problem *problem, const struct cx_pair_matrix *matrix, struct cx_error *error) {
    const bool wide = problem->slice_columns == wide_columns;
    if (!wide && problem->slice_columns != narrow_columns)
        return cx_fail(error, CX_ERROR_INTERNAL, "ff_pair_norms: no kernel for tiles of %u columns", problem->slice_columns);
    if (problem->rows == FUSED_STEP)
        return wide ? run<wide_columns, 1>(cuda, problem, matrix, error) : run<narrow_columns, 1>(cuda, problem, matrix, error);
    return wide ? run<wide_columns, 2>(cuda, problem, matrix, error) : run<narrow_columns, 2>(cuda, problem, matrix, error);
}
