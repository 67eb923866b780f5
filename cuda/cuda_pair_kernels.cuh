/*
 * The kernels around the pair product, and what they share. (DESIGN.md, identities 2 and 3; the formulas are in cuda_feedforward.cu.)
 *
 * A tile is up to 16 targets times `sources` sources of one sequence. Of a tile of f or d numbers wide vectors, a block of 128 threads computes a slice of 256
 * columns, two columns a thread, one source after the other for all 16 targets at once: a number of P_jh or F̂_jh that is read serves 16 pairs, and a
 * coefficient that is read from shared memory (by all lanes of a warp the same: a broadcast) serves 64 columns.
 */
#ifndef CONTEXTURE_CUDA_PAIR_KERNELS_CUH
#define CONTEXTURE_CUDA_PAIR_KERNELS_CUH

#include "cuda_backend.cuh"

/* PAIR_BLOCKS: blocks of a multiprocessor, by their registers: 168 of them are enough for every architecture, with more blocks some spill. */
enum { PAIR_THREADS = 128, PAIR_BLOCKS = 3, PAIR_WARPS = PAIR_THREADS / 32, PAIR_COLUMNS = 2 * PAIR_THREADS };

/* Everything that does not change from chunk to chunk, as plain pointers. Scratch is written by the kernels in the order of its members. */
struct pair_problem {
    unsigned width, depth, heads, row_capacity; /* d, f, H, rows of a chunk */
    const float *attention, *inverse_deviation1, *ratio;
    const float *head_ff_sources, *residual_ff_sources, *head_norm_sources, *residual_norm_sources;
    const float *norm2_scale, *inverse_deviation2, *row_means; /* row_means: w̄ [f] */
    float *ff, *ff_res, *ff_res_ln, *own, *sum;                /* NULL: not wanted */
    int weight_exponent;                                       /* of W2c's scaling; float16 alone */
    float weight_norm;
    unsigned *small_pairs;

    float *largest_heads, *largest_residual, *largest_ratio; /* [T, H], [T], [T]: of |P_jh|, |Px_j|, |ρ_i|; float16 alone */
    float *mean_heads, *mean_residual;                       /* [T, H], [T]: of F̂_jh, x̂_j */
    void *operand;                                           /* z [rows, padded f], float or __half */
    float *row_factor;                                       /* [rows]: what the product has to be multiplied with */
    float *mean_partials;                                    /* [slices of f, rows]: z·w̄ of a slice */
    float *product;                                          /* oc [rows, padded d]; later the first row of a target in a tile holds Σ_j o_ij over the tile */
    float *means;                                            /* [2, rows]: m, mt */
    float *norm_partials;                                    /* [slices of d, 3, rows]: Σ oc², Σ vc², Σ γ2² vc² of a slice */
};

/* Shared memory of a tile with so many sources: coefficients, two numbers a row, and one number a row and warp for each of `sums` sums. */
static inline size_t pair_shared_bytes(size_t heads, size_t sources, size_t sums) {
    return sources * CUDA_PAIR_TARGETS * (heads + 1 + 2 + sums * PAIR_WARPS) * sizeof(float);
}

/* Columns `column` and `column` + 1 of a row; zeros beyond its end. `column` is even. */
static __device__ __forceinline__ float2 load_two(const float *row, unsigned column, unsigned width) {
    if (width % 2 == 0)
        return column < width ? *reinterpret_cast<const float2 *>(row + column) : make_float2(0.0f, 0.0f);
    return make_float2(column < width ? row[column] : 0.0f, column + 1 < width ? row[column + 1] : 0.0f);
}

/* coefficients [sources, H + 1, 16]: α^h_ij / σ1_i, then 1/σ1_i if i = j; 0 for targets that are not there. */
static __device__ __forceinline__ void load_coefficients(const struct pair_problem &problem, const struct cuda_pair_tile &tile, float *coefficients) {
    const unsigned heads = problem.heads, rows = CUDA_PAIR_TARGETS * tile.sources;
    const size_t n = tile.length;
    const float *attention = problem.attention + heads * tile.pairs + tile.target * n + tile.source;
    for (unsigned k = threadIdx.x; k < (heads + 1) * rows; k += PAIR_THREADS) {
        const unsigned source = k % tile.sources, target = k / tile.sources % CUDA_PAIR_TARGETS, head = k / rows;
        float value = 0.0f;
        if (target < tile.targets && (head < heads || tile.source + source == tile.target + target)) {
            value = problem.inverse_deviation1[tile.first + tile.target + target];
            if (head < heads)
                value *= attention[(head * n + target) * n + source];
        }
        coefficients[(source * (heads + 1) + head) * CUDA_PAIR_TARGETS + target] = value;
    }
}

/*
 * sum[t] = two columns of Σ_h c_h (source vector of head h), of 16 targets and one source: coefficients [H + 1, 16] are those of this source, and `own` is
 * the target that is this source itself, where x_j joins (16 or more: none).
 */
static __device__ __forceinline__ void combine_heads(const float *coefficients, unsigned heads, const float *head_rows, const float *residual_row,
                                                     unsigned column, unsigned width, unsigned own, float2 (&sum)[CUDA_PAIR_TARGETS]) {
#pragma unroll
    for (int t = 0; t < CUDA_PAIR_TARGETS; t++)
        sum[t] = make_float2(0.0f, 0.0f);
    for (unsigned head = 0; head < heads; head++) {
        const float2 part = load_two(head_rows + static_cast<size_t>(head) * width, column, width);
        const float4 *factors = reinterpret_cast<const float4 *>(coefficients + head * CUDA_PAIR_TARGETS);
#pragma unroll
        for (int t = 0; t < CUDA_PAIR_TARGETS; t += 4) {
            const float4 factor = factors[t / 4];
            sum[t] = make_float2(sum[t].x + factor.x * part.x, sum[t].y + factor.x * part.y);
            sum[t + 1] = make_float2(sum[t + 1].x + factor.y * part.x, sum[t + 1].y + factor.y * part.y);
            sum[t + 2] = make_float2(sum[t + 2].x + factor.z * part.x, sum[t + 2].y + factor.z * part.y);
            sum[t + 3] = make_float2(sum[t + 3].x + factor.w * part.x, sum[t + 3].y + factor.w * part.y);
        }
    }
    if (own >= CUDA_PAIR_TARGETS)
        return;
    const float2 part = load_two(residual_row, column, width);
#pragma unroll
    for (unsigned t = 0; t < CUDA_PAIR_TARGETS; t++) {
        if (t == own) {
            const float factor = coefficients[heads * CUDA_PAIR_TARGETS + t];
            sum[t] = make_float2(sum[t].x + factor * part.x, sum[t].y + factor * part.y);
        }
    }
}

/* Launchers of one chunk's kernels, in this order; the product comes between build and finish. cuda_pair_build.cu, cuda_pair_finish.cu */
CX_MUST_USE enum cx_status cuda_pair_measure(struct cuda_backend *, const struct pair_problem *, struct cx_error *);
CX_MUST_USE enum cx_status cuda_pair_build(struct cuda_backend *, const struct pair_problem *, const struct cuda_pair_chunk *, struct cx_error *);
CX_MUST_USE enum cx_status cuda_pair_finish(struct cuda_backend *, const struct pair_problem *, const struct cuda_pair_chunk *, struct cx_error *);

#endif
