/*
 * The kernels around the pair product, and what they share. (DESIGN.md, identities 2 and 3; the formulas are in cuda_feedforward.cu.)
 *
 * Both sums over heads, Σ_h c_h P_jh of the left operand and Σ_h c_h F̂_jh of t_ij, are small matrix products for the tensor cores: 16 targets × 16 heads times
 * 16 heads × 32 columns for one source, a warp a product. x_j is one head more. So that float16 does for them, every number is a sum of two, x ≈ hi + lo with
 * 22 bits, and a product three, hi·hi + lo·hi + hi·lo; source vectors and coefficients are multiplied with powers of two first, so that no number that matters
 * lies outside of the format.
 *
 * Everything is stored in the order in which a warp's lanes want it (fragments), so that a kernel reads whole 512-byte lines straight into registers, 16 bytes
 * a lane, with no shared memory between. Columns are dealt to the lanes of a product such that a lane's four results of a row, of two columns each, lie side
 * by side: lane l has columns l % 4 * 8 .. + 7 of rows l / 4 and l / 4 + 8.
 */
#ifndef CONTEXTURE_CUDA_PAIR_KERNELS_CUH
#define CONTEXTURE_CUDA_PAIR_KERNELS_CUH

#include "cuda_backend.cuh"
#include "instructions.cuh"

/* PAIR_STEP: heads of one product. PAIR_COLUMNS: of one warp. PAIR_PARTS: hi and lo. */
constexpr unsigned PAIR_STEP = 16, PAIR_COLUMNS = 32, PAIR_ROWS = 16, PAIR_PARTS = 2, PAIR_LANES = 32;

/*
 * Powers of two: the largest number of a source vector is brought to 2^8 .. 2^9, of a pair's z to 2^14 .. 2^15 and of its coefficients for t to the same.
 * Exponents beyond 60 would make float32 factors overflow when two of them meet.
 */
constexpr int PAIR_SOURCE_EXPONENT = 8, PAIR_TOP_EXPONENT = 14, PAIR_MOST_EXPONENT = 60;

/* The sums over a row that finish takes by slices of d, and build by slices of f. */
constexpr unsigned PAIR_SUMS = 4, BUILD_SUMS = 3;

/* What the source tokens give, of one kind: P_jh and Px_j, f wide, or F̂_jh and x̂_j, d wide, less their means. */
struct pair_sources {
    unsigned width, blocks;        /* blocks of PAIR_COLUMNS columns */
    const float *heads, *residual; /* [T, H, width], [T, width] */
    float *largest, *means;        /* [T, H + 1]: of |x|, and of x; means NULL: not wanted, and nothing is taken off */
    uint4 *fragments;              /* [T, blocks, steps, 2 * PAIR_PARTS, lanes] */
    uint4 *coefficients;           /* of a chunk: [units, steps, PAIR_PARTS, lanes], a unit for every token of a tile's sources and 16 targets */
};

/*
 * How build and finish take the sums over heads of a source: in one step, which the source's fragments can be loaded for ahead of time; in several steps; or,
 * of a word, in such steps for one token after the other.
 */
enum pair_way { PAIR_ONE_STEP, PAIR_STEPS, PAIR_WORDS };

/* Everything that does not change from chunk to chunk, as plain pointers. Scratch is written by the kernels in the order of its members. */
struct pair_problem {
    unsigned width, depth, heads, steps, row_capacity; /* d, f, H, ceil((H + 1) / PAIR_STEP), rows of a chunk */
    const unsigned *first_token;                       /* of every word of the batch, and of the end; NULL: sources are tokens */
    const float *attention, *inverse_deviation1, *ratio;
    const float *norm2_scale, *inverse_deviation2, *row_means, *checks; /* row_means: w̄ [f]; checks: W2c s [f] */
    float *ff, *ff_res, *ff_res_ln, *own, *sum, *check;                 /* NULL: not wanted */
    int weight_exponent;                                                /* of W2c's scaling */
    float weight_norm;
    unsigned *small_pairs;

    struct pair_sources inner, outer; /* of z; of t */
    float *largest_ratio;             /* [T]: of |ρ_i| */
    void *operand;                    /* z [rows, padded f], float or __half, over the row's factor and times W2c's */
    float2 *factors;                  /* [rows]: what oc's product has to be multiplied with, and t's */
    float *part_mean;                 /* [rows]: mt */
    float *mean_partials;             /* [slices of f, rows]: z·w̄ of a slice */
    float2 *check_partials;           /* [slices of f, rows]: z·(W2c s), Σ z² of a slice, of z as stored */
    float *product;                   /* oc [rows, padded d]; later the first row of a target in a tile holds Σ_j o_ij over the tile */
    float *product_mean;              /* [rows]: m */
    float *norm_partials;             /* [slices of d, PAIR_SUMS, rows]: Σ oc², Σ vc², Σ γ2² vc², oc·s of a slice */
};

/* Fragments and coefficients of nothing but x_j are of no use to pairs of different tokens. */
static __device__ __forceinline__ bool is_needed(unsigned step, unsigned heads, bool has_own) {
    return step * PAIR_STEP < heads || has_own;
}

static inline enum pair_way pair_way_of(const struct pair_problem &problem) {
    return problem.first_token ? PAIR_WORDS : problem.steps == 1 ? PAIR_ONE_STEP : PAIR_STEPS;
}

/* The tokens of a tile's source, counted from the tile's first. */
struct pair_tokens {
    unsigned first, count;
};
template <bool by_words>
static __device__ __forceinline__ struct pair_tokens pair_tokens_of(const struct pair_problem &problem, const struct cuda_pair_tile &tile, unsigned source) {
    if (!by_words)
        return {source, 1};
    if (tile.is_own)
        return {0, tile.tokens};
    const unsigned *first = problem.first_token + tile.word;
    return {first[source] - first[0], first[source + 1] - first[source]};
}

/* The power of two that brings a number of size `bound` to 2^top .. 2^(top + 1); 0 for zero and for what is not finite. */
static __device__ __forceinline__ int pair_exponent(float bound, int top) {
    if (!(bound > 0.0f && bound <= 3.4e38f))
        return 0;
    const int exponent = top - ilogbf(bound);
    return exponent > PAIR_MOST_EXPONENT ? PAIR_MOST_EXPONENT : exponent < -PAIR_MOST_EXPONENT ? -PAIR_MOST_EXPONENT : exponent;
}

/* Two numbers as hi and lo, the first in the lower half. */
static __device__ __forceinline__ void split_two(float first, float second, uint32_t *high, uint32_t *low) {
    const __half2 rounded = __floats2half2_rn(first, second);
    const float2 back = __half22float2(rounded);
    const __half2 rest = __floats2half2_rn(first - back.x, second - back.y);
    *high = *reinterpret_cast<const uint32_t *>(&rounded);
    *low = *reinterpret_cast<const uint32_t *>(&rest);
}

/* 8 neighbouring numbers of a row from `column` on, a multiple of 8; zeros beyond its end. `row` and rows of a multiple of 8 begin at multiples of 16 bytes. */
static __device__ __forceinline__ void load_eight(const float *row, unsigned column, unsigned width, float (&values)[8]) {
    if (width % 8 == 0) {
        const float4 none = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        const float4 *from = reinterpret_cast<const float4 *>(row + column);
        const float4 low = column < width ? from[0] : none, high = column < width ? from[1] : none;
        values[0] = low.x, values[1] = low.y, values[2] = low.z, values[3] = low.w;
        values[4] = high.x, values[5] = high.y, values[6] = high.z, values[7] = high.w;
    } else {
#pragma unroll
        for (unsigned c = 0; c < 8; c++)
            values[c] = column + c < width ? row[column + c] : 0.0f;
    }
}

/* One step of a source's 32 columns: `high` and `low` have the operands of four products of 8 columns, two numbers each. */
struct source_fragment {
    uint4 high[2], low[2];
};
constexpr unsigned SOURCE_FRAGMENT = 2 * PAIR_PARTS * PAIR_LANES;

/* This lane's part of the first step of a source's block of columns; the next steps, blocks and tokens follow it. */
static __device__ __forceinline__ const uint4 *source_at(const struct pair_sources &sources, unsigned steps, size_t token, unsigned block, unsigned lane) {
    return sources.fragments + (token * sources.blocks + block) * steps * SOURCE_FRAGMENT + lane;
}

static __device__ __forceinline__ void load_source(const uint4 *from, struct source_fragment &fragment) {
    fragment.high[0] = from[0];
    fragment.high[1] = from[PAIR_LANES];
    fragment.low[0] = from[2 * PAIR_LANES];
    fragment.low[1] = from[3 * PAIR_LANES];
}

/* The coefficients of 16 targets and one token. */
struct coefficient_fragment {
    uint4 high, low;
};
constexpr unsigned COEFFICIENT_FRAGMENT = PAIR_PARTS * PAIR_LANES;

static __device__ __forceinline__ const uint4 *coefficients_at(const struct pair_sources &sources, unsigned steps, unsigned unit, unsigned lane) {
    return sources.coefficients + static_cast<size_t>(unit) * steps * COEFFICIENT_FRAGMENT + lane;
}

static __device__ __forceinline__ void load_coefficients(const uint4 *from, struct coefficient_fragment &fragment) {
    fragment.high = from[0];
    fragment.low = from[PAIR_LANES];
}

/* sums [4][4] += coefficients × source: sums[k][0..1] are columns 2k, 2k + 1 of the lane's eight in its first row, [2..3] in its second. Small terms first. */
static __device__ __forceinline__ void multiply_heads(const struct coefficient_fragment &coefficients, const struct source_fragment &source,
                                                      float (&sums)[4][4]) {
    const uint32_t high[4] = {coefficients.high.x, coefficients.high.y, coefficients.high.z, coefficients.high.w};
    const uint32_t low[4] = {coefficients.low.x, coefficients.low.y, coefficients.low.z, coefficients.low.w};
#pragma unroll
    for (int k = 0; k < 4; k++) {
        const uint4 large = source.high[k / 2], small = source.low[k / 2];
        const uint32_t large_two[2] = {k % 2 ? large.z : large.x, k % 2 ? large.w : large.y};
        const uint32_t small_two[2] = {k % 2 ? small.z : small.x, k % 2 ? small.w : small.y};
        multiply_m16n8k16(sums[k], low, large_two);
        multiply_m16n8k16(sums[k], high, small_two);
        multiply_m16n8k16(sums[k], high, large_two);
    }
}

/*
 * The sums of `count` numbers over the four lanes that share a row, count a multiple of 4: lane l % 4 = q keeps those of numbers q * count / 4 and after, in
 * values[0 .. count / 4).
 */
template <int count> static __device__ __forceinline__ void sum_four_lanes(float (&values)[count], unsigned lane) {
    const bool upper = (lane & 2) != 0, odd = (lane & 1) != 0;
#pragma unroll
    for (int k = 0; k < count / 2; k++) {
        const float given = upper ? values[k] : values[k + count / 2], kept = upper ? values[k + count / 2] : values[k];
        values[k] = kept + __shfl_xor_sync(0xffffffffu, given, 2);
    }
#pragma unroll
    for (int k = 0; k < count / 4; k++) {
        const float given = odd ? values[k] : values[k + count / 4], kept = odd ? values[k + count / 4] : values[k];
        values[k] = kept + __shfl_xor_sync(0xffffffffu, given, 1);
    }
}

/* Slices of f and d, of which every block of build and finish has one. */
constexpr unsigned BUILD_WARPS = 8, FINISH_WARPS = 4;

/* Launchers. The first two prepare a layer; the others, in this order, compute a chunk, with the product between build and finish. */
CX_MUST_USE enum cx_status cuda_pair_measure(struct cuda_backend *, const struct pair_problem *, struct cx_error *); /* cuda_pair_sources.cu */
CX_MUST_USE enum cx_status cuda_pair_pack(struct cuda_backend *, const struct pair_problem *, struct cx_error *);
CX_MUST_USE enum cx_status cuda_pair_coefficients(struct cuda_backend *, const struct pair_problem *, const struct cuda_pair_chunk *, struct cx_error *);
CX_MUST_USE enum cx_status cuda_pair_build(struct cuda_backend *, const struct pair_problem *, const struct cuda_pair_chunk *, struct cx_error *);
CX_MUST_USE enum cx_status cuda_pair_finish(struct cuda_backend *, const struct pair_problem *, const struct cuda_pair_chunk *, struct cx_error *);

#endif
