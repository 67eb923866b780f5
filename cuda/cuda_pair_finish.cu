/*
 * From a chunk's product to its maps, own and sum:
 *
 *     oc = z W2c (the product times its row's factor), m = z·w̄;  tc_ij = Σ_h α^h_ij (F̂_jh less its mean) / σ1_i, with x̂_j if i = j; mt the same of the means
 *     ‖o‖² = ‖oc‖² + d m²;  vc = oc + tc;  ‖v‖² = ‖vc‖² + d (m + mt)²;  ‖w‖² = Σ γ2² vc² / σ2_i²
 *     own_i = o_ii, sum_i = Σ_j o_ij, with o = oc + m;  check_i from oc·s and z·(W2c s) (contexture/checksum.h)
 *
 * Sums over d are taken by slices of 128 columns in float32, the slices in float64; Σ_j source after source. The order is that of the tiles, so it depends on
 * the batch and the device, and not on what finishes first.
 */
#include "cuda_pair_kernels.cuh"
#include "cuda_reduce.cuh"

constexpr unsigned finish_threads = FINISH_WARPS * CUDA_WARP, half_rows = PAIR_ROWS * CUDA_PAIR_SOURCES, map_threads = 256;

/* What a block keeps of its rows, 16 targets' and a tile's sources: [target, sources]. */
struct finish_memory {
    float means[half_rows];
    float partials[FINISH_WARPS][PAIR_SUMS][half_rows];
};

/* m, and of the first slice alone where the maps find it. */
static __device__ void load_means(const struct pair_problem &problem, unsigned first, unsigned rows, unsigned slices, float *means) {
    for (unsigned row = threadIdx.x; row < rows; row += finish_threads) {
        float mean = 0.0f;
#pragma unroll 4
        for (unsigned slice = 0; slice < slices; slice++)
            mean += problem.mean_partials[static_cast<size_t>(slice) * problem.row_capacity + first + row];
        means[row] = mean;
        if (blockIdx.y == 0)
            problem.product_mean[first + row] = mean;
    }
}

static __device__ __forceinline__ void write_eight(float *target, unsigned column, unsigned width, const float (&values)[8], float added) {
    if (width % 8 == 0) {
        if (column < width) {
            float4 *to = reinterpret_cast<float4 *>(target + column);
            to[0] = make_float4(values[0] + added, values[1] + added, values[2] + added, values[3] + added);
            to[1] = make_float4(values[4] + added, values[5] + added, values[6] + added, values[7] + added);
        }
    } else {
#pragma unroll
        for (unsigned c = 0; c < 8; c++) {
            if (column + c < width)
                target[column + c] = values[c] + added;
        }
    }
}

/* A lane's eight columns of a row: the sums that norms are made of, and Σ_j. `part` is t as multiplied, `factor` takes that back; `scale` is γ2.
   The last kind is oc·s, but for the turn that all eight have. */
static __device__ __forceinline__ void take_row(const float (&sums)[4][4], int row, float factor, const float (&scale)[8], const float (&output)[8],
                                                float (&total)[8], float (&kinds)[2 * PAIR_SUMS]) {
    float outputs = 0.0f, joineds = 0.0f, normeds = 0.0f, signs = 0.0f;
#pragma unroll
    for (int c = 0; c < 8; c++) {
        const float joined = output[c] + sums[c / 2][2 * row + c % 2] * factor, square = joined * joined;
        outputs += output[c] * output[c];
        joineds += square;
        normeds += scale[c] * scale[c] * square;
        signs += CX_CHECK_PATTERN >> c & 1 ? output[c] : -output[c];
        total[c] += output[c];
    }
    kinds[row] = outputs;
    kinds[2 + row] = joineds;
    kinds[4 + row] = normeds;
    kinds[6 + row] = signs;
}

/* What a warp works on: 32 columns of 16 targets and of all sources of a tile. */
struct finish_work {
    unsigned lane, column, targets;
    unsigned row, token; /* the first target's: row in the chunk, token of the batch */
    unsigned own;        /* the tile's first token as a target, counted from the first one on */
    const uint4 *sources, *coefficients;
    unsigned source_step, coefficient_step; /* from a token to the next */
};

/* sums = Σ_h c_h (F̂_jh less its mean), over a source's tokens */
template <enum pair_way way>
static __device__ __forceinline__ void add_heads(const struct pair_problem &problem, const struct finish_work &work, struct pair_tokens tokens,
                                                 float (&sums)[4][4]) {
    struct source_fragment source;
    struct coefficient_fragment coefficients;
    for (unsigned k = 0; k < tokens.count; k++) {
        const unsigned token = tokens.first + k;
        const bool has_own = work.own + token < work.targets;
        for (unsigned step = 0; way == PAIR_ONE_STEP ? step < 1 : step < problem.steps && is_needed(step, problem.heads, has_own); step++) {
            load_source(work.sources + token * work.source_step + step * SOURCE_FRAGMENT, source);
            load_coefficients(work.coefficients + token * work.coefficient_step + step * COEFFICIENT_FRAGMENT, coefficients);
            multiply_heads(coefficients, source, sums);
        }
    }
}

/* Whether a row is o_ii: of a source that is the target alone, or all rows of an own tile. */
template <enum pair_way way>
static __device__ __forceinline__ bool is_own_part(const struct cuda_pair_tile &tile, const struct finish_work &work, struct pair_tokens tokens,
                                                   unsigned target) {
    const bool is_target = target == work.own + tokens.first;
    return way == PAIR_WORDS ? tile.is_own || (tokens.count == 1 && is_target) : is_target;
}

template <enum pair_way way>
static __device__ __forceinline__ void finish_columns(const struct pair_problem &problem, const struct cuda_pair_tile &tile, const struct finish_work &work,
                                                      const float *means, float (*partials)[half_rows]) {
    const unsigned width = problem.width, stride = (width + 7) / 8 * 8, lane = work.lane, group = lane / 4;
    float *product = problem.product + (static_cast<size_t>(work.row) + group * tile.sources) * stride;
    const float2 *factors = problem.factors + work.row + group * tile.sources;
    const float turn = CX_CHECK_TURN(work.column / CX_CHECK_COLUMNS) ? -1.0f : 1.0f;
    float total[2][8] = {};
    float next[2][8];
    auto load_product = [&](unsigned s) {
#pragma unroll
        for (unsigned r = 0; r < 2; r++)
            load_eight(product + static_cast<size_t>(8 * r * tile.sources + s) * stride, work.column, group + 8 * r < work.targets ? width : 0, next[r]);
    };
    if (way != PAIR_WORDS)
        load_product(0);
    for (unsigned s = 0; s < tile.sources; s++) {
        const struct pair_tokens tokens = pair_tokens_of<way == PAIR_WORDS>(problem, tile, s);
        float sums[4][4] = {}, output[2][8], scale[8], kinds[2 * PAIR_SUMS], part_factor[2];
        auto take_product = [&] {
#pragma unroll
            for (unsigned r = 0; r < 2; r++) {
                const float2 factor = group + 8 * r < work.targets ? factors[8 * r * tile.sources + s] : make_float2(0.0f, 0.0f);
                part_factor[r] = factor.y;
#pragma unroll
                for (int c = 0; c < 8; c++)
                    output[r][c] = next[r][c] * factor.x;
            }
        };
        /* One source ahead: the product comes from the device's memory, all else from caches. A word's tokens take longer, and leave fewer registers. */
        if (way == PAIR_WORDS) {
            load_product(s);
            add_heads<way>(problem, work, tokens, sums);
            take_product();
        } else {
            take_product();
            if (s + 1 < tile.sources)
                load_product(s + 1);
            add_heads<way>(problem, work, tokens, sums);
        }
        /* Read again for every source, from the first cache: there is no register for it. */
        load_eight(problem.norm2_scale, work.column, width, scale);
#pragma unroll
        for (unsigned r = 0; r < 2; r++) {
            const unsigned target = group + 8 * r;
            /* The same number: by the source it takes one register less. */
            const size_t own_token = way == PAIR_WORDS ? work.token + target : tile.first + tile.token + s;
            take_row(sums, static_cast<int>(r), part_factor[r], scale, output[r], total[r], kinds);
            if (is_own_part<way>(tile, work, tokens, target) && target < work.targets && problem.own)
                write_eight(problem.own + own_token * width, work.column, width, output[r], means[target * tile.sources + s]);
        }
#pragma unroll
        for (unsigned r = 0; r < 2; r++)
            kinds[6 + r] *= turn;
        sum_four_lanes(kinds, lane);
#pragma unroll
        for (unsigned r = 0; r < 2; r++)
            partials[lane % 4][(group + 8 * r) * tile.sources + s] = kinds[r];
    }
    /* The target's first row has been read, by this very thread: it takes the tile's sum. */
#pragma unroll
    for (unsigned r = 0; r < 2; r++) {
        float mean = 0.0f;
        if (group + 8 * r >= work.targets)
            continue;
        for (unsigned s = 0; s < tile.sources; s++)
            mean += means[(group + 8 * r) * tile.sources + s];
        write_eight(product + static_cast<size_t>(8 * r * tile.sources) * stride, work.column, width, total[r], mean);
    }
}

/* Grid: halves of the chunk's tiles × slices of d. */
template <enum pair_way way>
static __global__ void __launch_bounds__(finish_threads, 4)
    finish_kernel(struct pair_problem problem, const struct cuda_pair_tile *tiles, unsigned slices_of_depth) {
    SHARED_ARRAY(struct finish_memory, shared, [1]);
    const struct cuda_pair_tile tile = tiles[blockIdx.x / 2];
    const unsigned target = blockIdx.x % 2 * PAIR_ROWS, warp = threadIdx.x / CUDA_WARP, block = blockIdx.y * FINISH_WARPS + warp, steps = problem.steps;
    const unsigned warps = problem.outer.blocks - blockIdx.y * FINISH_WARPS, present = (tile.targets + PAIR_ROWS - 1) / PAIR_ROWS;
    if (target >= tile.targets || tile.sources == 0)
        return;
    struct finish_work work;
    work.lane = threadIdx.x % CUDA_WARP;
    work.column = block * PAIR_COLUMNS + work.lane % 4 * 8;
    work.targets = tile.targets - target < PAIR_ROWS ? tile.targets - target : PAIR_ROWS;
    work.row = tile.row + target * tile.sources;
    work.token = tile.first + tile.target + target;
    work.own = tile.token - tile.target - target;
    work.sources = source_at(problem.outer, steps, tile.first + tile.token, block, work.lane);
    work.source_step = problem.outer.blocks * steps * SOURCE_FRAGMENT;
    work.coefficients = coefficients_at(problem.outer, steps, tile.unit + target / PAIR_ROWS, work.lane);
    work.coefficient_step = present * steps * COEFFICIENT_FRAGMENT;
    const unsigned rows = work.targets * tile.sources;
    load_means(problem, work.row, rows, slices_of_depth, shared->means);
    __syncthreads();
    if (warp < warps)
        finish_columns<way>(problem, tile, work, shared->means, shared->partials[warp]);
    __syncthreads();
    for (unsigned k = threadIdx.x; k < PAIR_SUMS * rows; k += finish_threads) {
        const unsigned row = k % rows, kind = k / rows;
        float total = 0.0f;
        for (unsigned w = 0; w < FINISH_WARPS && w < warps; w++)
            total += shared->partials[w][kind][row];
        problem.norm_partials[(static_cast<size_t>(blockIdx.y) * PAIR_SUMS + kind) * problem.row_capacity + work.row + row] = total;
    }
}

/*
 * True where the rounding of z's smallest numbers in float16 may be more than 1e-3 of ‖oc‖. Below 2^-14 a number is rounded to a multiple of 2^-24; an error
 * of 2^-25 in every number of z makes one of about 2^-25 ‖W2c‖ in oc (all as scaled). A part that is exactly 0 is one: neurons that ReLU switched off.
 */
static __device__ bool is_too_small(const struct pair_problem &problem, double squares, unsigned row) {
    const double limit = 0x1p-15 * static_cast<double>(problem.weight_norm) * static_cast<double>(problem.factors[row].x);
    return squares > 0.0 && squares < limit * limit;
}

/* How far oc·s of a row is from z·(W2c s), over what rounding allows. */
static __device__ float check_of_row(const struct pair_problem &problem, unsigned row, unsigned slices, unsigned slices_of_depth) {
    const double factor = static_cast<double>(problem.factors[row].x);
    double found = 0.0, expected = 0.0, squares = 0.0;
    for (unsigned slice = 0; slice < slices; slice++)
        found += static_cast<double>(problem.norm_partials[(static_cast<size_t>(slice) * PAIR_SUMS + 3) * problem.row_capacity + row]);
    for (unsigned slice = 0; slice < slices_of_depth; slice++) {
        const float2 sums = problem.check_partials[static_cast<size_t>(slice) * problem.row_capacity + row];
        expected += static_cast<double>(sums.x);
        squares += static_cast<double>(sums.y);
    }
    return cx_check_excess(found, expected * factor, squares, factor * static_cast<double>(problem.weight_norm), problem.depth);
}

/* Grid: tiles of the chunk. */
static __global__ void __launch_bounds__(map_threads)
    write_maps_kernel(struct pair_problem problem, const struct cuda_pair_tile *tiles, unsigned slices, unsigned slices_of_depth, bool is_half) {
    const struct cuda_pair_tile tile = tiles[blockIdx.x];
    for (unsigned k = threadIdx.x; k < tile.targets * tile.sources; k += map_threads) {
        const unsigned row = tile.row + k, target = tile.target + k / tile.sources, source = tile.source + k % tile.sources;
        const size_t element = tile.map + static_cast<size_t>(target) * tile.columns + source;
        double squares[3] = {0.0, 0.0, 0.0};
#pragma unroll 2
        for (unsigned slice = 0; slice < slices; slice++) {
#pragma unroll
            for (unsigned kind = 0; kind < 3; kind++)
                squares[kind] += static_cast<double>(problem.norm_partials[(static_cast<size_t>(slice) * PAIR_SUMS + kind) * problem.row_capacity + row]);
        }
        const double mean = static_cast<double>(problem.product_mean[row]), joined = mean + static_cast<double>(problem.part_mean[row]);
        if (problem.ff && !tile.is_own)
            problem.ff[element] = static_cast<float>(sqrt(squares[0] + problem.width * mean * mean));
        if (problem.ff_res && !tile.is_own)
            problem.ff_res[element] = static_cast<float>(sqrt(squares[1] + problem.width * joined * joined));
        if (problem.ff_res_ln && !tile.is_own)
            problem.ff_res_ln[element] = static_cast<float>(sqrt(squares[2]) * static_cast<double>(problem.inverse_deviation2[tile.first + target]));
        /* An order does not matter in a count. */
        if (is_half && is_too_small(problem, squares[0], row))
            atomicAdd(problem.small_pairs, 1u);
        /* Nor does it in a largest number; numbers that are not negative are ordered as their bits are. */
        if (problem.check)
            atomicMax(reinterpret_cast<int *>(problem.check + tile.first + target), __float_as_int(check_of_row(problem, row, slices, slices_of_depth)));
    }
}

/* Grid: groups of the chunk × targets of a tile. */
static __global__ void __launch_bounds__(map_threads)
    write_sums_kernel(struct pair_problem problem, const struct cuda_pair_tile *tiles, const struct cuda_pair_group *groups) {
    const struct cuda_pair_group group = groups[blockIdx.x];
    const unsigned width = problem.width, stride = (width + 7) / 8 * 8, target = blockIdx.y;
    if (target >= group.targets)
        return;
    float *sum = problem.sum + static_cast<size_t>(group.token + target) * width;
    for (unsigned column = threadIdx.x; column < width; column += map_threads) {
        float total = group.continues ? sum[column] : 0.0f;
#pragma unroll 4
        for (unsigned k = 0; k < group.tiles; k++) {
            const struct cuda_pair_tile *tile = &tiles[group.tile + k * group.step];
            const unsigned before = tile->first + tile->target - group.token; /* targets of the group that the tile does without */
            if (tile->sources > 0 && target >= before)
                total += problem.product[static_cast<size_t>(tile->row + (target - before) * tile->sources) * stride + column];
        }
        sum[column] = total;
    }
}

enum cx_status cuda_pair_finish(struct cuda_backend *cuda, const struct pair_problem *problem, const struct cuda_pair_chunk *chunk, struct cx_error *error) {
    const unsigned slices = cuda_blocks(problem->outer.blocks, FINISH_WARPS), slices_of_depth = cuda_blocks(problem->inner.blocks, BUILD_WARPS);
    const struct cuda_pair_tile *tiles = cuda->pair_tiles + chunk->tile;
    const unsigned tile_halves = chunk->tiles * (CUDA_PAIR_TARGETS / PAIR_ROWS);
    const enum pair_way way = pair_way_of(*problem);
    auto kernel = way == PAIR_ONE_STEP ? finish_kernel<PAIR_ONE_STEP> : way == PAIR_STEPS ? finish_kernel<PAIR_STEPS> : finish_kernel<PAIR_WORDS>;
    enum cx_status status = CUDA_LAUNCH(cuda, "ff_pair_norms", error, kernel, dim3(tile_halves, slices), finish_threads, 0, *problem, tiles, slices_of_depth);
    if (status == CX_OK)
        status = CUDA_LAUNCH(cuda, "ff_pair_norms", error, write_maps_kernel, chunk->tiles, map_threads, 0, *problem, tiles, slices, slices_of_depth,
                             cuda->pair_precision == CX_PAIR_F16);
    if (status == CX_OK && problem->sum && chunk->groups > 0)
        status = CUDA_LAUNCH(cuda, "ff_pair_norms", error, write_sums_kernel, dim3(chunk->groups, CUDA_PAIR_TARGETS), map_threads, 0, *problem,
                             cuda->pair_tiles, cuda->pair_groups + chunk->group);
    return status;
}
