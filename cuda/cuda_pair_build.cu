/*
 * The left operand of the pair product, a chunk of pairs at a time:
 *
 *     z_ij [f] = ρ_i ⊙ (Σ_h α^h_ij P_jh + [i=j] Px_j) / σ1_i,   m_ij = z_ij · w̄
 *
 * and, for the checksum, z·(W2c s) and ‖z‖² of z as stored; computed in float32 from operands of 22 bits and, for CX_PAIR_F16, rounded to float16 once, times
 * the pair's power of two (cuda_pair_coefficients.cu). A block has a tile's targets and 256 columns, a warp 32 of these: its ρ stays in registers while one
 * source after the other passes by, and what is read of a source serves 32 pairs.
 */
#include "cuda_pair_kernels.cuh"
#include "cuda_reduce.cuh"

constexpr unsigned build_threads = BUILD_WARPS * CUDA_WARP, units = CUDA_PAIR_TARGETS / PAIR_ROWS;

static __device__ __forceinline__ void store_eight(float *target, const float (&z)[8]) {
    reinterpret_cast<float4 *>(target)[0] = make_float4(z[0], z[1], z[2], z[3]);
    reinterpret_cast<float4 *>(target)[1] = make_float4(z[4], z[5], z[6], z[7]);
}

static __device__ __forceinline__ uint32_t rounded_two(float first, float second) {
    const __half2 two = __floats2half2_rn(first, second);
    return *reinterpret_cast<const uint32_t *>(&two);
}

static __device__ __forceinline__ void store_eight(__half *target, const float (&z)[8]) {
    *reinterpret_cast<uint4 *>(target) = make_uint4(rounded_two(z[0], z[1]), rounded_two(z[2], z[3]), rounded_two(z[4], z[5]), rounded_two(z[6], z[7]));
}

/* z as it is stored: the checksum is to hold to rounding of the sums alone. */
static __device__ __forceinline__ void round_eight(const float *, float (&)[8]) {}

static __device__ __forceinline__ void round_eight(const __half *, float (&z)[8]) {
#pragma unroll
    for (int c = 0; c < 8; c += 2) {
        const float2 two = __half22float2(__floats2half2_rn(z[c], z[c + 1]));
        z[c] = two.x;
        z[c + 1] = two.y;
    }
}

/* One row's eight columns of z, of the two rows that a lane has of a product. */
static __device__ __forceinline__ void scale_row(const float (&sums)[4][4], int row, const float (&ratio)[8], float (&z)[8]) {
#pragma unroll
    for (int c = 0; c < 8; c++)
        z[c] = sums[c / 2][2 * row + c % 2] * ratio[c];
}

static __device__ __forceinline__ float dot_eight(const float (&x)[8], const float (&y)[8]) {
    float dot = 0.0f;
#pragma unroll
    for (int c = 0; c < 8; c++)
        dot += x[c] * y[c];
    return dot;
}

/* What a warp works on: 32 columns of a tile's rows. */
struct build_work {
    unsigned lane, column, stride, present; /* present: units of 16 targets */
    const uint4 *sources, *coefficients;
    unsigned source_step, coefficient_step; /* from a token to the next */
};

/*
 * sums = Σ_h c_h P_jh of one unit, over a source's tokens. PAIR_ONE_STEP: `source` has been loaded, one source ahead; else it is loaded here, step by step.
 */
template <enum pair_way way>
static __device__ __forceinline__ void add_heads(const struct pair_problem &problem, const struct cuda_pair_tile &tile, const struct build_work &work,
                                                 struct pair_tokens tokens, unsigned unit, struct source_fragment &source, float (&sums)[4][4]) {
    struct coefficient_fragment coefficients;
    for (unsigned k = 0; k < tokens.count; k++) {
        const unsigned token = tokens.first + k;
        const bool has_own = tile.token + token - tile.target < tile.targets;
        const uint4 *from = work.coefficients + token * work.coefficient_step + unit * problem.steps * COEFFICIENT_FRAGMENT;
        for (unsigned step = 0; way == PAIR_ONE_STEP ? step < 1 : step < problem.steps && is_needed(step, problem.heads, has_own); step++) {
            if (way != PAIR_ONE_STEP)
                load_source(work.sources + token * work.source_step + step * SOURCE_FRAGMENT, source);
            load_coefficients(from + step * COEFFICIENT_FRAGMENT, coefficients);
            multiply_heads(coefficients, source, sums);
        }
    }
}

template <typename Operand, enum pair_way way>
static __device__ __forceinline__ void build_columns(const struct pair_problem &problem, const struct cuda_pair_tile &tile, const struct build_work &work,
                                                     float (*partials)[CUDA_PAIR_TARGETS * CUDA_PAIR_SOURCES]) {
    const unsigned depth = problem.depth, lane = work.lane;
    float ratio[units][2][8];
#pragma unroll
    for (unsigned r = 0; r < 2 * units; r++) {
        const unsigned target = r * 8 + lane / 4;
        load_eight(problem.ratio + static_cast<size_t>(tile.first + tile.target + target) * depth, work.column, target < tile.targets ? depth : 0,
                   ratio[r / 2][r % 2]);
    }
    Operand *operand = static_cast<Operand *>(problem.operand) + (static_cast<size_t>(tile.row) + lane / 4 * tile.sources) * work.stride + work.column;
    struct source_fragment next = {};
    if (way == PAIR_ONE_STEP)
        load_source(work.sources, next);
    for (unsigned s = 0; s < tile.sources; s++) {
        const struct pair_tokens tokens = pair_tokens_of<way == PAIR_WORDS>(problem, tile, s);
        struct source_fragment source = next;
        float dots[2 * units * BUILD_SUMS] = {};
        if (way == PAIR_ONE_STEP && s + 1 < tile.sources)
            load_source(work.sources + (s + 1) * work.source_step, next);
#pragma unroll
        for (unsigned unit = 0; unit < units; unit++) {
            float sums[4][4] = {}, weight[8], check[8];
            if (unit >= work.present)
                continue;
            add_heads<way>(problem, tile, work, tokens, unit, source, sums);
            /* Read again for every source, from the first cache: there is no register for it. */
            load_eight(problem.row_means, work.column, depth, weight);
            load_eight(problem.checks, work.column, depth, check);
#pragma unroll
            for (unsigned r = 0; r < 2; r++) {
                const unsigned above = (2 * unit + r) * 8;
                float z[8];
                scale_row(sums, static_cast<int>(r), ratio[unit][r], z);
                float *of_row = dots + (2 * unit + r) * BUILD_SUMS;
                of_row[0] = dot_eight(z, weight);
                round_eight(operand, z);
                of_row[1] = dot_eight(z, check);
                of_row[2] = dot_eight(z, z);
                if (above + lane / 4 < tile.targets && work.column < work.stride)
                    store_eight(operand + static_cast<size_t>(above * tile.sources + s) * work.stride, z);
            }
        }
        sum_four_lanes(dots, lane);
#pragma unroll
        for (unsigned kind = 0; kind < BUILD_SUMS; kind++)
            partials[kind][(lane % 4 * 8 + lane / 4) * tile.sources + s] = dots[kind];
    }
}

/* Grid: tiles of the chunk × slices of f. */
template <typename Operand, enum pair_way way>
static __global__ void __launch_bounds__(build_threads, 2) build_kernel(struct pair_problem problem, const struct cuda_pair_tile *tiles) {
    SHARED_ARRAY(float, partials, [BUILD_WARPS][BUILD_SUMS][CUDA_PAIR_TARGETS * CUDA_PAIR_SOURCES]);
    const struct cuda_pair_tile tile = tiles[blockIdx.x];
    const unsigned warp = threadIdx.x / CUDA_WARP, first = blockIdx.y * BUILD_WARPS, rows = tile.targets * tile.sources, steps = problem.steps;
    const unsigned warps = problem.inner.blocks - first < BUILD_WARPS ? problem.inner.blocks - first : BUILD_WARPS;
    if (tile.sources == 0)
        return;
    if (warp < warps) {
        struct build_work work;
        work.lane = threadIdx.x % CUDA_WARP;
        work.column = (first + warp) * PAIR_COLUMNS + work.lane % 4 * 8;
        work.stride = (problem.depth + 7) / 8 * 8;
        work.present = (tile.targets + PAIR_ROWS - 1) / PAIR_ROWS;
        work.sources = source_at(problem.inner, steps, tile.first + tile.token, first + warp, work.lane);
        work.source_step = problem.inner.blocks * steps * SOURCE_FRAGMENT;
        work.coefficients = coefficients_at(problem.inner, steps, tile.unit, work.lane);
        work.coefficient_step = work.present * steps * COEFFICIENT_FRAGMENT;
        build_columns<Operand, way>(problem, tile, work, partials[warp]);
    }
    __syncthreads();
    for (unsigned row = threadIdx.x; row < rows; row += build_threads) {
        const size_t at = static_cast<size_t>(blockIdx.y) * problem.row_capacity + tile.row + row;
        float sums[BUILD_SUMS] = {};
        for (unsigned w = 0; w < warps; w++) {
#pragma unroll
            for (unsigned kind = 0; kind < BUILD_SUMS; kind++)
                sums[kind] += partials[w][kind][row];
        }
        problem.mean_partials[at] = sums[0] * problem.factors[tile.row + row].x * ldexpf(1.0f, problem.weight_exponent);
        problem.check_partials[at] = make_float2(sums[1], sums[2]);
    }
}

template <typename Operand> static auto kernel_of(enum pair_way way) {
    return way == PAIR_ONE_STEP ? build_kernel<Operand, PAIR_ONE_STEP>
           : way == PAIR_STEPS  ? build_kernel<Operand, PAIR_STEPS>
                                : build_kernel<Operand, PAIR_WORDS>;
}

enum cx_status cuda_pair_build(struct cuda_backend *cuda, const struct pair_problem *problem, const struct cuda_pair_chunk *chunk, struct cx_error *error) {
    const dim3 grid(chunk->tiles, cuda_blocks(problem->inner.blocks, BUILD_WARPS));
    const struct cuda_pair_tile *tiles = cuda->pair_tiles + chunk->tile;
    auto kernel = cuda->pair_precision == CX_PAIR_F16 ? kernel_of<__half>(pair_way_of(*problem)) : kernel_of<float>(pair_way_of(*problem));
    return CUDA_LAUNCH(cuda, "ff_pair_norms", error, kernel, grid, build_threads, 0, *problem, tiles);
}
