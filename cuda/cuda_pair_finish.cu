/*
 * From a chunk's product to its maps, own and sum:
 *
 *     oc = z W2c (the product times its row's factor), m = z·w̄;  tc_ij + mt_ij = (Σ_h α^h_ij F̂_jh + [i=j] x̂_j) / σ1_i, mt the mean over d
 *     ‖o‖² = ‖oc‖² + d m²;  vc = oc + tc;  ‖v‖² = ‖vc‖² + d (m + mt)²;  ‖w‖² = Σ γ2² vc² / σ2_i²
 *     own_i = o_ii, sum_i = Σ_j o_ij, with o = oc + m
 *
 * Sums over d are taken by slices of 256 columns in float32, the slices in float64; Σ_j source after source. The order is that of the tiles, so it depends on
 * the batch and the device, and not on what finishes first.
 */
#include "cuda_pair_kernels.cuh"
#include "cuda_reduce.cuh"

/* m and mt of the tile's rows: means[row], means[rows + row]. */
static __device__ void load_means(const struct pair_problem &problem, const struct cuda_pair_tile &tile, const float *coefficients, unsigned slices,
                                  float *means) {
    const unsigned heads = problem.heads, rows = CUDA_PAIR_TARGETS * tile.sources;
    for (unsigned row = threadIdx.x; row < tile.targets * tile.sources; row += PAIR_THREADS) {
        const unsigned target = row / tile.sources, source = row % tile.sources;
        const size_t token = tile.first + tile.source + source;
        const float *column = coefficients + static_cast<size_t>(source) * (heads + 1) * CUDA_PAIR_TARGETS + target;
        float product_mean = 0.0f, part_mean = 0.0f;
        for (unsigned slice = 0; slice < slices; slice++)
            product_mean += problem.mean_partials[static_cast<size_t>(slice) * problem.row_capacity + tile.row + row];
        for (unsigned head = 0; head < heads; head++)
            part_mean += column[head * CUDA_PAIR_TARGETS] * problem.mean_heads[token * heads + head];
        if (tile.target + target == tile.source + source)
            part_mean += column[heads * CUDA_PAIR_TARGETS] * problem.mean_residual[token];
        means[row] = product_mean;
        means[rows + row] = part_mean;
        if (blockIdx.y == 0) {
            problem.means[tile.row + row] = product_mean;
            problem.means[problem.row_capacity + tile.row + row] = part_mean;
        }
    }
}

/* A warp's sums over its columns, of 16 targets and one source, to partials [warps, rows]. */
static __device__ __forceinline__ void keep_sums(float (&values)[CUDA_PAIR_TARGETS], const struct cuda_pair_tile &tile, unsigned s, float *partials) {
    const unsigned lane = threadIdx.x % CUDA_WARP, warp = threadIdx.x / CUDA_WARP;
    const float sum = warp_sum_16(values, lane);
    if (lane % 2 == 0)
        partials[(warp * CUDA_PAIR_TARGETS + lane / 2) * tile.sources + s] = sum;
}

static __device__ __forceinline__ void write_two(float *target, float2 value, unsigned valid) {
    if (valid > 0)
        target[0] = value.x;
    if (valid > 1)
        target[1] = value.y;
}

/* Grid: tiles of the chunk × slices of d. */
static __global__ void __launch_bounds__(PAIR_THREADS, PAIR_BLOCKS)
    finish_kernel(struct pair_problem problem, const struct cuda_pair_tile *tiles, unsigned slices_of_depth) {
    DYNAMIC_SHARED(shared, 16);
    const struct cuda_pair_tile tile = tiles[blockIdx.x];
    const unsigned heads = problem.heads, width = problem.width, stride = (width + 7) / 8 * 8, rows = CUDA_PAIR_TARGETS * tile.sources;
    const unsigned column = blockIdx.y * PAIR_COLUMNS + 2 * threadIdx.x, valid = column >= width ? 0 : width - column > 1 ? 2 : 1;
    float *coefficients = reinterpret_cast<float *>(shared), *means = coefficients + static_cast<size_t>(heads + 1) * rows, *partials = means + 2 * rows;
    load_coefficients(problem, tile, coefficients);
    __syncthreads();
    load_means(problem, tile, coefficients, slices_of_depth, means);
    __syncthreads();

    /* Numbers beyond the width are 0 in oc, and `inside` takes the mean out of tc there, too. */
    const float2 scale = load_two(problem.norm2_scale, column, width), inside = make_float2(valid > 0 ? 1.0f : 0.0f, valid > 1 ? 1.0f : 0.0f);
    float *product = problem.product + static_cast<size_t>(tile.row) * stride + column;
    float2 sum[CUDA_PAIR_TARGETS];
#pragma unroll
    for (int t = 0; t < CUDA_PAIR_TARGETS; t++)
        sum[t] = make_float2(0.0f, 0.0f);
    for (unsigned s = 0; s < tile.sources; s++) {
        const size_t token = tile.first + tile.source + s;
        const unsigned own = tile.source + s - tile.target;
        float2 part[CUDA_PAIR_TARGETS];
        float outputs[CUDA_PAIR_TARGETS], residuals[CUDA_PAIR_TARGETS], normed[CUDA_PAIR_TARGETS];
        combine_heads(coefficients + static_cast<size_t>(s) * (heads + 1) * CUDA_PAIR_TARGETS, heads, problem.head_norm_sources + token * heads * width,
                      problem.residual_norm_sources + token * width, column, width, own, part);
#pragma unroll
        for (unsigned t = 0; t < CUDA_PAIR_TARGETS; t++) {
            const unsigned row = t * tile.sources + s;
            float2 centred = make_float2(0.0f, 0.0f);
            float mean = 0.0f, part_mean = 0.0f;
            if (t < tile.targets) {
                const float factor = problem.row_factor[tile.row + row];
                centred = valid > 0 ? *reinterpret_cast<const float2 *>(product + static_cast<size_t>(row) * stride) : centred;
                centred = make_float2(centred.x * factor, valid > 1 ? centred.y * factor : 0.0f);
                mean = means[row];
                part_mean = means[rows + row];
            }
            const float2 joined = make_float2(centred.x + (part[t].x - part_mean * inside.x), centred.y + (part[t].y - part_mean * inside.y));
            const float2 scaled = make_float2(scale.x * joined.x, scale.y * joined.y), output = make_float2(centred.x + mean, centred.y + mean);
            outputs[t] = centred.x * centred.x + centred.y * centred.y;
            residuals[t] = joined.x * joined.x + joined.y * joined.y;
            normed[t] = scaled.x * scaled.x + scaled.y * scaled.y;
            sum[t] = make_float2(sum[t].x + output.x, sum[t].y + output.y);
            if (t == own && t < tile.targets && problem.own)
                write_two(problem.own + token * width + column, output, valid);
        }
        keep_sums(outputs, tile, s, partials);
        keep_sums(residuals, tile, s, partials + PAIR_WARPS * rows);
        keep_sums(normed, tile, s, partials + 2 * PAIR_WARPS * rows);
    }
    /* The target's first row has been read, by this very thread: it takes the tile's sum. */
#pragma unroll
    for (unsigned t = 0; t < CUDA_PAIR_TARGETS; t++) {
        if (t < tile.targets && valid > 0)
            *reinterpret_cast<float2 *>(product + static_cast<size_t>(t * tile.sources) * stride) = sum[t];
    }
    __syncthreads();
    for (unsigned k = threadIdx.x; k < 3 * tile.targets * tile.sources; k += PAIR_THREADS) {
        const unsigned row = k % (tile.targets * tile.sources), kind = k / (tile.targets * tile.sources);
        float total = 0.0f;
        for (unsigned w = 0; w < PAIR_WARPS; w++)
            total += partials[(kind * PAIR_WARPS + w) * rows + row];
        problem.norm_partials[(static_cast<size_t>(blockIdx.y) * 3 + kind) * problem.row_capacity + tile.row + row] = total;
    }
}

/*
 * True where the rounding of z's smallest numbers in float16 may be more than 1e-3 of ‖oc‖. Below 2^-14 a number is rounded to a multiple of 2^-24; an error
 * of 2^-25 in every number of z makes one of about 2^-25 ‖W2c‖ in oc (all as scaled). A part that is exactly 0 is one: neurons that ReLU switched off.
 */
static __device__ bool is_too_small(const struct pair_problem &problem, double squares, unsigned row) {
    const double limit = 0x1p-15 * static_cast<double>(problem.weight_norm) * static_cast<double>(problem.row_factor[row]);
    return squares > 0.0 && squares < limit * limit;
}

/* Grid: tiles of the chunk. */
static __global__ void __launch_bounds__(PAIR_THREADS)
    write_maps_kernel(struct pair_problem problem, const struct cuda_pair_tile *tiles, unsigned slices, bool is_half) {
    const struct cuda_pair_tile tile = tiles[blockIdx.x];
    for (unsigned k = threadIdx.x; k < tile.targets * tile.sources; k += PAIR_THREADS) {
        const unsigned row = tile.row + k, target = tile.target + k / tile.sources, source = tile.source + k % tile.sources;
        const size_t pair = tile.pairs + static_cast<size_t>(target) * tile.length + source;
        double squares[3] = {0.0, 0.0, 0.0};
        for (unsigned slice = 0; slice < slices; slice++) {
#pragma unroll
            for (unsigned kind = 0; kind < 3; kind++)
                squares[kind] += static_cast<double>(problem.norm_partials[(static_cast<size_t>(slice) * 3 + kind) * problem.row_capacity + row]);
        }
        const double mean = static_cast<double>(problem.means[row]), joined = mean + static_cast<double>(problem.means[problem.row_capacity + row]);
        if (problem.ff)
            problem.ff[pair] = static_cast<float>(sqrt(squares[0] + problem.width * mean * mean));
        if (problem.ff_res)
            problem.ff_res[pair] = static_cast<float>(sqrt(squares[1] + problem.width * joined * joined));
        if (problem.ff_res_ln)
            problem.ff_res_ln[pair] = static_cast<float>(sqrt(squares[2]) * static_cast<double>(problem.inverse_deviation2[tile.first + target]));
        /* An order does not matter in a count. */
        if (is_half && is_too_small(problem, squares[0], row))
            atomicAdd(problem.small_pairs, 1u);
    }
}

/* Grid: groups of the chunk × slices of d; threads take target and column in turn. */
static __global__ void __launch_bounds__(PAIR_THREADS)
    write_sums_kernel(struct pair_problem problem, const struct cuda_pair_tile *tiles, const struct cuda_pair_group *groups) {
    const struct cuda_pair_group group = groups[blockIdx.x];
    const unsigned width = problem.width, stride = (width + 7) / 8 * 8, first = blockIdx.y * PAIR_COLUMNS;
    const unsigned columns = width - first < PAIR_COLUMNS ? width - first : static_cast<unsigned>(PAIR_COLUMNS);
    for (unsigned k = threadIdx.x; k < group.targets * columns; k += PAIR_THREADS) {
        const unsigned target = k / columns, column = first + k % columns;
        float *sum = problem.sum + static_cast<size_t>(group.token + target) * width + column;
        float total = group.continues ? *sum : 0.0f;
        for (unsigned index = group.tile; index < group.tile + group.tiles; index++)
            total += problem.product[static_cast<size_t>(tiles[index].row + target * tiles[index].sources) * stride + column];
        *sum = total;
    }
}

enum cx_status cuda_pair_finish(struct cuda_backend *cuda, const struct pair_problem *problem, const struct cuda_pair_chunk *chunk, struct cx_error *error) {
    const unsigned slices = cuda_blocks(problem->width, PAIR_COLUMNS), slices_of_depth = cuda_blocks(cuda_padded(problem->depth), PAIR_COLUMNS);
    const struct cuda_pair_tile *tiles = cuda->pair_tiles + chunk->tile;
    enum cx_status status = CUDA_LAUNCH(cuda, "ff_pair_norms", error, finish_kernel, dim3(chunk->tiles, slices), PAIR_THREADS,
                                        pair_shared_bytes(problem->heads, cuda->pair_sources, 3), *problem, tiles, slices_of_depth);
    if (status == CX_OK)
        status = CUDA_LAUNCH(cuda, "ff_pair_norms", error, write_maps_kernel, chunk->tiles, PAIR_THREADS, 0, *problem, tiles, slices,
                             cuda->pair_precision == CX_PAIR_F16);
    if (status == CX_OK && problem->sum)
        status = CUDA_LAUNCH(cuda, "ff_pair_norms", error, write_sums_kernel, dim3(chunk->groups, slices), PAIR_THREADS, 0, *problem, cuda->pair_tiles,
                             cuda->pair_groups + chunk->group);
    return status;
}
