/*
 * What fused_mma.cu has in shared memory, and how it comes there.
 *
 * 64 of f arrive by cp.async as one stage of a ring, 128-byte rows, of which 16-byte piece p of row r lies at p ^ (r % 8): so the eight rows that ldmatrix
 * reads at a time are in different banks.
 *
 *     stage   weights [columns, 64], ratios [64, 64], sources [2 tiles, 16 of S, 64]               S = packed R': boxes of 16 rows a tile has
 *     then    norms [columns / 64][2 tiles, up to 32 of 16 S][64]                                  in one or two stages more, after the last of f
 *
 * All threads load, `stages` - 1 ahead, across the borders of sources and segments, and meet once a stage: what a stage held is read by all before it is
 * filled.
 */
#ifndef CONTEXTURE_CUDA_FUSED_MMA_RING_CUH
#define CONTEXTURE_CUDA_FUSED_MMA_RING_CUH

#include "cuda_reduce.cuh"
#include "fused_tile.cuh"
#include "instructions.cuh"

namespace {

constexpr unsigned warps = 8, block_threads = warps * CUDA_WARP, tiles = 2, row_warps = 4, warp_rows = 32, warp_tiles = warp_rows / 16;
constexpr unsigned piece_bytes = 16, pieces = row_bytes / piece_bytes;
constexpr unsigned load_rows = block_threads / pieces; /* that all threads load at a time, 16 bytes each */
constexpr unsigned norm_boxes = 2;                     /* of a tile's norms that a stage takes */

constexpr unsigned stage_bytes(unsigned columns, unsigned boxes) {
    return (columns + FUSED_TARGETS) * row_bytes + tiles * boxes * box_bytes;
}

/*
 * How large a block's tiles are: the first row whose columns are the plan's, whose boxes are enough and whose shared memory the device has.
 *
 * 256 columns are 128 registers of sums in each of 256 threads, of 255: the most there is. 192 leave less empty where d is an odd multiple of 64 or 192 (384:
 * two slices instead of 256 + 128), for 8 % instead of 6 % of the work in each of the two first products.
 * Boxes: 2 are two sources of up to 15 heads or one of up to 31; 4 are for packed tiles of four.
 * A stage takes more than 2000 clocks to multiply, several times what the cache takes to answer: two stages do, the third is for blocks that fall out of step.
 * 99 KiB a block is what sm_86 and sm_89 have, 163 sm_80, 227 sm_90 and sm_100. One block a multiprocessor in any case, for the registers.
 */
struct tile_size {
    unsigned columns, boxes, stages, shared_bytes;
};
constexpr struct tile_size sizes[] = {
    {256, 2, 3, 163 << 10}, /* 3 × 48 KiB */
    {256, 2, 2, 99 << 10},  /* 2 × 48 */
    {256, 4, 2, 163 << 10}, /* 2 × 56 */
    {192, 4, 3, 163 << 10}, /* 3 × 48 */
    {192, 4, 2, 99 << 10},  /* 2 × 48 */
};

constexpr bool sizes_are_right() {
    for (const struct tile_size &size : sizes) {
        const unsigned bytes = stage_bytes(size.columns, size.boxes), norms = tiles * (size.boxes < norm_boxes ? size.boxes : norm_boxes) * box_bytes;
        if (size.stages * bytes + 1024 > size.shared_bytes || norms * (size.columns / box_columns) > stage_bytes(size.columns, 1))
            return false;
    }
    return true;
}
static_assert(sizes_are_right(), "a row of the table does not fit the shared memory, or norms do not fit a stage");
static_assert(row_warps * warp_rows == tiles * FUSED_TARGETS && warps == 2 * row_warps && FUSED_TARGETS % load_rows == 0, "");

const struct tile_size *size_for(unsigned columns, unsigned boxes, size_t shared_bytes) {
    for (const struct tile_size &size : sizes) {
        if (size.columns == columns && size.boxes >= boxes && size.shared_bytes <= shared_bytes)
            return &size;
    }
    return NULL;
}

/* What a launch knows beyond the problem. */
struct tiling {
    const __half *weights; /* [d, f] */
    unsigned stages, stage_bytes;
};

/*
 * What is loaded next. One thread keeps it, in shared memory, since 256 threads would keep it in registers that the sums need: while a stage is loaded by one
 * of two copies, that thread writes the other, which all read after the next barrier.
 */
struct loader {
    struct fused_group group;
    unsigned segment, last; /* of the block's: this one, the one after its last */
    unsigned source, end;   /* of this step, of the segment */
    unsigned boxes;         /* that a tile has in this step */
    unsigned loaded;        /* stages of this step so far */
};

__device__ __forceinline__ void begin_step(const struct fused_problem &problem, struct loader &loader) {
    loader.boxes = fused_steps(problem, loader.group, loader.source, tiles * loader.group.packed);
    loader.loaded = 0;
}

__device__ __forceinline__ void begin_segment(const struct fused_problem &problem, struct loader &loader) {
    if (loader.segment == loader.last)
        return;
    const struct fused_segment segment = problem.segments[loader.segment];
    loader.group = problem.groups[segment.group];
    loader.source = segment.source;
    loader.end = segment.source + segment.sources;
    begin_step(problem, loader);
}

/* Past the stage that was loaded. */
__device__ __forceinline__ void advance(const struct fused_problem &problem, struct loader &loader) {
    loader.loaded++;
    if (loader.loaded < problem.pairs.depth / FUSED_DEPTH + (loader.boxes + norm_boxes - 1) / norm_boxes)
        return;
    loader.source += tiles * loader.group.packed;
    if (loader.source < loader.end) {
        begin_step(problem, loader);
    } else {
        loader.segment++;
        begin_segment(problem, loader);
    }
}

/* This thread's 16 bytes of a row of 128: `line` is the row's number in its part of the stage. */
__device__ __forceinline__ void load_piece(unsigned char *part, unsigned line, const __half *matrix, size_t row, size_t stride, bool valid) {
    const unsigned piece = threadIdx.x % pieces;
    copy_async_16(part + line * row_bytes + (piece ^ line % pieces) * piece_bytes, matrix + row * stride + piece * (piece_bytes / sizeof(__half)), valid);
}

/* Rows of `sources` or `norms`: of both tiles `count` boxes from box `first` on; zeros if not `valid`. */
__device__ __forceinline__ void load_boxes(const struct fused_problem &problem, const struct loader &loader, unsigned char *part, const __half *matrix,
                                           size_t stride, unsigned first, unsigned count, bool valid) {
    const size_t source = static_cast<size_t>(loader.group.first) + loader.source, rows = static_cast<size_t>(problem.tokens) * problem.rows;
    for (unsigned line = threadIdx.x / pieces; line < tiles * count * box_rows; line += load_rows) {
        const unsigned tile = line >= count * box_rows, within = first * box_rows + line - tile * count * box_rows;
        const size_t row = (source + tile * loader.group.packed) * problem.rows + within;
        load_piece(part, line, matrix, row, stride, valid && row < rows);
    }
}

template <unsigned columns>
__device__ __forceinline__ void load_products(const struct fused_problem &problem, const struct tiling &tiling, const struct loader &loader, unsigned k,
                                              unsigned char *stage) {
    const size_t depth = problem.pairs.depth;
    const unsigned first = threadIdx.x / pieces, span = FUSED_TARGETS / loader.group.packed;
    unsigned char *ratios = stage + columns * row_bytes, *sources = ratios + FUSED_TARGETS * row_bytes;
#pragma unroll
    for (unsigned line = 0; line < columns; line += load_rows) {
        const unsigned column = loader.group.column + line + first;
        load_piece(stage, line + first, tiling.weights + k, column, depth, column < problem.pairs.width);
    }
#pragma unroll
    for (unsigned line = 0; line < FUSED_TARGETS; line += load_rows) {
        const unsigned token = loader.group.first + loader.group.target + (line + first) % span;
        load_piece(ratios, line + first, problem.ratios + k, token, depth, token < problem.tokens);
    }
    load_boxes(problem, loader, sources, problem.sources + k, depth, 0, loader.boxes, true);
}

template <unsigned columns>
__device__ __forceinline__ void load_norms(const struct fused_problem &problem, const struct loader &loader, unsigned done, unsigned char *stage) {
    const unsigned count = loader.boxes - done < norm_boxes ? loader.boxes - done : norm_boxes;
    for (unsigned column = 0; column < columns; column += box_columns)
        load_boxes(problem, loader, stage + column / box_columns * tiles * count * box_bytes, problem.norms + loader.group.column + column, problem.pairs.width,
                   done, count, loader.group.column + column < problem.pairs.width);
}

/* The ring of stages. */
struct ring {
    unsigned char *memory;
    struct loader *loaders; /* [2] */
    unsigned stage;         /* that was multiplied last */
    unsigned turn;          /* of the loaders */
};

/* Fills a stage with what comes next, if anything does, and ends a group of copies. */
template <unsigned columns>
__device__ __forceinline__ void load_stage(const struct fused_problem &problem, const struct tiling &tiling, struct ring &ring, unsigned stage) {
    const struct loader loader = ring.loaders[ring.turn];
    unsigned char *memory = ring.memory + stage * tiling.stage_bytes;
    ring.turn ^= 1;
    if (loader.segment < loader.last) {
        const unsigned products = problem.pairs.depth / FUSED_DEPTH, loaded = loader.loaded;
        if (loaded < products)
            load_products<columns>(problem, tiling, loader, loaded * FUSED_DEPTH, memory);
        else
            load_norms<columns>(problem, loader, (loaded - products) * norm_boxes, memory);
        if (threadIdx.x == 0) {
            struct loader next = loader;
            advance(problem, next);
            ring.loaders[ring.turn] = next;
        }
    } else if (threadIdx.x == 0) {
        ring.loaders[ring.turn] = loader;
    }
    copy_async_commit();
}

/* The next stage, complete; the one before is filled again. */
template <unsigned columns>
__device__ __forceinline__ const unsigned char *next_stage(const struct fused_problem &problem, const struct tiling &tiling, struct ring &ring) {
    const unsigned before = ring.stage;
    ring.stage = ring.stage + 1 == tiling.stages ? 0 : ring.stage + 1;
    if (tiling.stages == 2)
        copy_async_wait<0>();
    else
        copy_async_wait<1>();
    __syncthreads();
    load_stage<columns>(problem, tiling, ring, before);
    return ring.memory + ring.stage * tiling.stage_bytes;
}

} /* namespace */

#endif
