/*
 * What the fused kernels do with a tile whatever instruction multiplied it. (fused_pairs.cuh)
 *
 * A thread has rows `row` and `row` + 8 of a tile of 64 and of every 8 columns two neighbours, as products of tensor cores leave them:
 *
 *     acc [4 c + 2 k + e]   row `row` + 8 k, column `column` + 8 c + e          row = 16 (its block of 16 rows) + lane / 4,  column = first + lane % 4 * 2
 *
 * Four neighbouring lanes have the same rows.
 */
#ifndef CONTEXTURE_CUDA_FUSED_TILE_CUH
#define CONTEXTURE_CUDA_FUSED_TILE_CUH

#include "fused_pairs.cuh"

/* In shared memory operands lie as boxes of 16 rows of 64 numbers. */
constexpr unsigned row_bytes = 128, box_rows = 16, box_bytes = box_rows * row_bytes, box_columns = 64;
/* Slices of d: 128 or 96 registers of sums a thread. */
constexpr unsigned wide_columns = 256, narrow_columns = 192;

/* The wider slice where it fits d, since z is built anew for each; else the one that leaves less of d empty. */
static inline unsigned fused_slice_columns(const struct cuda_backend *cuda) {
    const size_t width = cuda->base.config.hidden_size;
    const unsigned wide = cuda_blocks(width, wide_columns) * wide_columns, narrow = cuda_blocks(width, narrow_columns) * narrow_columns;
    return wide <= narrow ? wide_columns : narrow_columns;
}

/* Steps of 16 rows that the product with `sources` has for one tile in a step of a segment. Where the residual's row is alone among its 16, it is left out away
   from the diagonal. */
static __device__ __forceinline__ unsigned fused_steps(const struct fused_problem &problem, const struct fused_group &group, unsigned source,
                                                       unsigned sources) {
    const bool diagonal = source < group.target + group.targets && source + sources > group.target;
    const unsigned parts = problem.rows / FUSED_STEP;
    return group.packed > 1 || diagonal || problem.pairs.heads % FUSED_STEP != 0 ? group.packed * parts : parts - 1;
}

/* What a thread knows of its two rows. */
struct tile_rows {
    size_t pair[2];    /* in fused order */
    unsigned token[2]; /* of the target */
    bool valid[2], own[2];
    unsigned part; /* of a packed tile: which of its sources */
};

static __device__ __forceinline__ struct tile_rows tile_rows_of(const struct fused_group &group, unsigned row, unsigned source, unsigned end) {
    const unsigned span = FUSED_TARGETS / group.packed;
    struct tile_rows rows = {};
    rows.part = row / span;
    source += rows.part;
#pragma unroll
    for (unsigned k = 0; k < 2; k++) {
        const unsigned target = (row + 8 * k) % span;
        rows.valid[k] = target < group.targets && source < end && source <= group.reach + target;
        rows.own[k] = rows.valid[k] && group.target + target == source;
        rows.token[k] = group.first + group.target + target;
        rows.pair[k] = group.pairs + static_cast<size_t>(source) * group.length + group.target + target;
    }
    return rows;
}

/* The left operand of a product with coefficients or joiners: 16 of the rows' numbers, from `step` * 16 on, zeros if not `wanted`. */
static __device__ __forceinline__ void load_fragment(const __half *table, unsigned table_rows, const struct tile_rows &rows, unsigned step, bool wanted,
                                                     uint32_t (&fragment)[4]) {
    const unsigned pair = threadIdx.x % 4 * 2;
#pragma unroll
    for (unsigned k = 0; k < 2; k++) {
        const uint32_t *row = reinterpret_cast<const uint32_t *>(table + rows.pair[k] * table_rows + step * FUSED_STEP + pair);
        fragment[k] = wanted && rows.valid[k] ? row[0] : 0;
        fragment[k + 2] = wanted && rows.valid[k] ? row[4] : 0;
    }
}

static __device__ __forceinline__ float quad_sum(float value) {
    value += __shfl_xor_sync(~0u, value, 1);
    return value + __shfl_xor_sync(~0u, value, 2);
}

/* Where a thread's numbers belong. */
struct tile_place {
    unsigned row, column; /* of the tile, of the slice: its first */
    unsigned sums;        /* which of the sums over columns of d: see fused_problem::partials */
    float *slot;          /* [64, slice_columns] */
    bool first;           /* the slot has nothing yet */
};

/* slot += acc; `slot` is this thread's first number. So many are read before the first is written, since each reading takes as long as many products. */
template <unsigned count> static __device__ __forceinline__ void keep_sums(float *slot, unsigned stride, bool first, const float (&acc)[count]) {
    constexpr unsigned batch = count / 4 % 8 == 0 ? 8 : 6;
    static_assert(count / 4 % batch == 0, "");
#pragma unroll
    for (unsigned c = 0; c < count / 4; c += batch) {
        float2 *lines[2] = {reinterpret_cast<float2 *>(slot + 8 * c), reinterpret_cast<float2 *>(slot + 8 * stride + 8 * c)}, before[2][batch] = {};
        if (!first) {
#pragma unroll
            for (unsigned e = 0; e < batch; e++) {
                before[0][e] = lines[0][4 * e];
                before[1][e] = lines[1][4 * e];
            }
        }
#pragma unroll
        for (unsigned e = 0; e < batch; e++) {
#pragma unroll
            for (unsigned k = 0; k < 2; k++)
                lines[k][4 * e] = make_float2(before[k][e].x + acc[4 * (c + e) + 2 * k], before[k][e].y + acc[4 * (c + e) + 2 * k + 1]);
        }
    }
}

/* oc = factors acc, in place; keeps Σ oc², oc·s, the rows of the slot, and o_ii. Rows that are no pair become zeros, whatever another sequence left in them. */
template <unsigned count>
static __device__ __forceinline__ void keep_outputs(const struct fused_problem &problem, const struct fused_group &group, const struct tile_rows &rows,
                                                    const struct tile_place &place, const float (&factors)[2], float (&acc)[count]) {
    const unsigned width = problem.pairs.width;
    float squares[2] = {0.0f, 0.0f}, checks[2] = {0.0f, 0.0f};
#pragma unroll
    for (unsigned c = 0; c < count / 4; c++) {
        /* The signs of a thread's two columns are + - or - +, of lanes 0 to 3: CX_CHECK_PATTERN. */
        const uint32_t turned = (((threadIdx.x ^ threadIdx.x >> 1) & 1u) ^ CX_CHECK_TURN((group.column + place.column) / CX_CHECK_COLUMNS + c)) << 31;
#pragma unroll
        for (unsigned k = 0; k < 2; k++) {
            const float2 value = rows.valid[k] ? make_float2(acc[4 * c + 2 * k] * factors[k], acc[4 * c + 2 * k + 1] * factors[k]) : make_float2(0.0f, 0.0f);
            checks[k] += __uint_as_float(__float_as_uint(value.x - value.y) ^ turned);
            acc[4 * c + 2 * k] = value.x;
            acc[4 * c + 2 * k + 1] = value.y;
            squares[k] += value.x * value.x + value.y * value.y;
        }
    }
    if (problem.pairs.sum)
        keep_sums(place.slot + static_cast<size_t>(place.row) * problem.slice_columns + place.column, problem.slice_columns, place.first, acc);
#pragma unroll
    for (unsigned k = 0; k < 2; k++) {
        if (rows.own[k] && problem.pairs.own) {
            float *line = problem.pairs.own + static_cast<size_t>(rows.token[k]) * width;
#pragma unroll
            for (unsigned c = 0; c < count / 4; c++) {
                const unsigned column = group.column + place.column + 8 * c;
                if (column < width)
                    *reinterpret_cast<float2 *>(line + column) = make_float2(acc[4 * c + 2 * k], acc[4 * c + 2 * k + 1]);
            }
        }
        const float sum = quad_sum(squares[k]), check = quad_sum(checks[k]);
        if (threadIdx.x % 4 == 0 && rows.valid[k]) {
            problem.partials[static_cast<size_t>(place.sums) * 3 * problem.pair_count + rows.pair[k]] = sum;
            if (problem.pairs.check)
                problem.check_partials[static_cast<size_t>(place.sums) * problem.pair_count + rows.pair[k]] = check;
        }
    }
}

/* What a slice adds up over z as rounded for the second product: ‖z‖², and z w̄ in the first slice, z·(W2c s) in the second. */
struct row_sums {
    float dots[2], squares[2];
};

static __device__ __forceinline__ void add_to_sums(__half2 rounded, float2 weight, unsigned k, struct row_sums &sums) {
    const float2 z = __half22float2(rounded);
    sums.dots[k] += z.x * weight.x + z.y * weight.y;
    sums.squares[k] += z.x * z.x + z.y * z.y;
}

/* m from the first slice, what the rows are checked by from the second. */
static __device__ __forceinline__ void keep_row_sums(const struct fused_problem &problem, const struct fused_group &group, const struct tile_rows &rows,
                                                     const float (&factors)[2], float weight_factor, const struct row_sums &sums) {
#pragma unroll
    for (unsigned k = 0; k < 2; k++) {
        const float dot = quad_sum(sums.dots[k]) * factors[k], square = quad_sum(sums.squares[k]);
        if (threadIdx.x % 4 == 0 && rows.valid[k] && group.slice == 0)
            problem.means[rows.pair[k]] = dot * weight_factor;
        else if (threadIdx.x % 4 == 0 && rows.valid[k])
            problem.check_sums[rows.pair[k]] = make_float2(dot, square);
    }
}

/* Σ vc² and Σ (γ2 vc)² of vc = factors acc. */
template <unsigned count>
static __device__ __forceinline__ void keep_norms(const struct fused_problem &problem, const struct fused_group &group, const struct tile_rows &rows,
                                                  const struct tile_place &place, const float (&factors)[2], const float (&acc)[count]) {
    const unsigned width = problem.pairs.width;
    float squares[2] = {0.0f, 0.0f}, scaled[2] = {0.0f, 0.0f};
#pragma unroll
    for (unsigned c = 0; c < count / 4; c++) {
        const unsigned column = group.column + place.column + 8 * c;
        const float2 scale = column < width ? *reinterpret_cast<const float2 *>(problem.pairs.norm2_scale + column) : make_float2(0.0f, 0.0f);
#pragma unroll
        for (unsigned k = 0; k < 2; k++) {
            const float2 value = make_float2(acc[4 * c + 2 * k] * factors[k], acc[4 * c + 2 * k + 1] * factors[k]);
            const float2 normed = make_float2(value.x * scale.x, value.y * scale.y);
            squares[k] += value.x * value.x + value.y * value.y;
            scaled[k] += normed.x * normed.x + normed.y * normed.y;
        }
    }
#pragma unroll
    for (unsigned k = 0; k < 2; k++) {
        const float square = quad_sum(squares[k]), normed = quad_sum(scaled[k]);
        if (threadIdx.x % 4 == 0 && rows.valid[k]) {
            float *partial = problem.partials + (static_cast<size_t>(place.sums) * 3 + 1) * problem.pair_count + rows.pair[k];
            partial[0] = square;
            partial[problem.pair_count] = normed;
        }
    }
}

#endif
