/*
 * The kernels of the pair product as PAIR_KERNEL, for vectors of PAIR_LANES floats. Included by pair_kernel_<set>.c, each compiled
 * for its instruction set. GCC and Clang turn the vector types into whatever the set has; -ffp-contract=fast makes multiply-adds.
 *
 * Functions that take a constant number of rows or targets are inlined for each number, so that their accumulators are registers.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "pair_kernel.h"

#if PAIR_IS_BF16
#include <immintrin.h>
#endif

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/*
 *   STRIP          vectors of W2c that the micro-kernel holds. 3 vectors x 8 rows use 24 accumulators + 3 + 1 of 32 registers and load 3 + 8 times for 24
 *                  multiply-adds; 3 x 4 use 12 + 3 + 1 of 16. Wider (2 x 14) was slower: more broadcasts per multiply-add.
 *   GROUP          targets whose z is built together, so that each vector of P_jh is loaded once for all of them.
 *   CHUNK          floats of a row that are built or reduced at once: 2 vectors, to have enough independent chains of multiply-adds.
 *   FLUSH          chunks whose squares are summed in float32 before the lanes go to float64: rounding stays below 1e-7.
 */
enum { STRIP = 3, GROUP = 4, CHUNK = 2 * PAIR_LANES, FLUSH = 8 };

typedef float vector __attribute__((vector_size(PAIR_LANES * sizeof(float)), aligned(sizeof(float)), may_alias));

#if PAIR_IS_BF16
typedef uint16_t operand;
#else
typedef float operand;
#endif

ALWAYS_INLINE vector load(const float *from) {
    return *(const vector *)from;
}

ALWAYS_INLINE void store(float *to, vector values) {
    *(vector *)to = values;
}

/* --- multiply --- */

#if PAIR_IS_BF16
/* A step takes two k: z's row holds them side by side, the strip pair by pair for each column. */
enum { STEP = 2 };
typedef uint32_t operand_pair __attribute__((may_alias, aligned(2)));

ALWAYS_INLINE vector multiply_add(vector sum, const operand *z, const operand *packed) {
    __m512bh left = (__m512bh)_mm512_set1_epi32((int)*(const operand_pair *)z);
    return (vector)_mm512_dpbf16_ps((__m512)sum, left, (__m512bh)_mm512_loadu_si512(packed));
}
#else
enum { STEP = 1 };

ALWAYS_INLINE vector multiply_add(vector sum, const operand *z, const operand *packed) {
    return sum + *z * load(packed);
}
#endif

ALWAYS_INLINE void multiply_block(const int rows, const int vectors, size_t depth, const operand *z, size_t z_stride, const operand *strip, float *product,
                                  size_t product_stride, bool is_first) {
    vector sum[PAIR_BLOCK_ROWS][STRIP];
#pragma GCC unroll 16
    for (int row = 0; row < rows; row++) {
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            sum[row][v] = (vector){0};
    }
    for (size_t k = 0; k < depth; k += STEP, strip += STEP * vectors * PAIR_LANES) {
#pragma GCC unroll 16
        for (int row = 0; row < rows; row++) {
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++)
                sum[row][v] = multiply_add(sum[row][v], z + (size_t)row * z_stride + k, strip + STEP * v * PAIR_LANES);
        }
    }
#pragma GCC unroll 16
    for (int row = 0; row < rows; row++) {
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            float *to = product + (size_t)row * product_stride + v * PAIR_LANES;
            if (!is_first)
                sum[row][v] += load(to);
            store(to, sum[row][v]);
        }
    }
}

ALWAYS_INLINE void multiply_strip(const int vectors, size_t rows, size_t depth, const operand *z, size_t z_stride, const operand *strip, float *product,
                                  size_t product_stride, bool is_first) {
    size_t row = 0;
    for (; row + PAIR_BLOCK_ROWS <= rows; row += PAIR_BLOCK_ROWS)
        multiply_block(PAIR_BLOCK_ROWS, vectors, depth, z + row * z_stride, z_stride, strip, product + row * product_stride, product_stride, is_first);
    z += row * z_stride;
    product += row * product_stride;
    switch (rows - row) {
#if PAIR_BLOCK_ROWS > 4
    case 7:
        multiply_block(7, vectors, depth, z, z_stride, strip, product, product_stride, is_first);
        break;
    case 6:
        multiply_block(6, vectors, depth, z, z_stride, strip, product, product_stride, is_first);
        break;
    case 5:
        multiply_block(5, vectors, depth, z, z_stride, strip, product, product_stride, is_first);
        break;
    case 4:
        multiply_block(4, vectors, depth, z, z_stride, strip, product, product_stride, is_first);
        break;
#endif
    case 3:
        multiply_block(3, vectors, depth, z, z_stride, strip, product, product_stride, is_first);
        break;
    case 2:
        multiply_block(2, vectors, depth, z, z_stride, strip, product, product_stride, is_first);
        break;
    case 1:
        multiply_block(1, vectors, depth, z, z_stride, strip, product, product_stride, is_first);
        break;
    default:
        break;
    }
}

static void multiply(struct pair_tile *tile, size_t block_depth, const void *packed, bool is_first) {
    size_t width = tile->problem->output->padded_width;
    for (size_t column = 0; column < width;) {
        const operand *strip = (const operand *)packed + column * block_depth;
        float *product = tile->product + column;
        size_t vectors = (width - column) / PAIR_LANES;
        if (vectors >= STRIP) {
            vectors = STRIP;
            multiply_strip(STRIP, tile->rows, block_depth, tile->operand, tile->operand_stride, strip, product, tile->product_stride, is_first);
        } else if (vectors == 2) {
            multiply_strip(2, tile->rows, block_depth, tile->operand, tile->operand_stride, strip, product, tile->product_stride, is_first);
        } else {
            multiply_strip(1, tile->rows, block_depth, tile->operand, tile->operand_stride, strip, product, tile->product_stride, is_first);
        }
        column += vectors * PAIR_LANES;
    }
}

/* --- pack --- */

#if PAIR_IS_BF16
/* Round to nearest even, as the processor does with z. A NaN keeps its sign and becomes quiet. */
static operand to_operand(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (value != value)
        return (operand)(bits >> 16 | 0x40);
    return (operand)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
#else
static operand to_operand(float value) {
    return value;
}
#endif

/* Strips of STRIP vectors (the last: what is left), in each k after k; within a step, the step's k for each column. */
static void pack(size_t block_depth, size_t padded_width, const float *rows, void *packed) {
    operand *to = packed;
    for (size_t column = 0, strip; column < padded_width; column += strip) {
        strip = padded_width - column < STRIP * PAIR_LANES ? padded_width - column : STRIP * PAIR_LANES;
        for (size_t k = 0; k < block_depth; k += STEP) {
            for (size_t c = column; c < column + strip; c++) {
                for (size_t step = 0; step < STEP; step++)
                    *to++ = to_operand(rows[(k + step) * padded_width + c]);
            }
        }
    }
}

/* --- build --- */

#if PAIR_IS_BF16
ALWAYS_INLINE void store_operands(operand *to, vector low, vector high) {
    _mm512_storeu_si512(to, (__m512i)_mm512_cvtne2ps_pbh((__m512)high, (__m512)low));
}
#else
ALWAYS_INLINE void store_operands(operand *to, vector low, vector high) {
    store(to, low);
    store(to + PAIR_LANES, high);
}
#endif

/* What one call of build_rows reads: `columns` numbers, a multiple of CHUNK, of P and Px of one source, and of ρ of some targets. */
struct build_input {
    size_t columns;
    const float *head_sources, *residual_source; /* the latter NULL if no target of the group is the source itself */
    size_t heads, head_stride;
    const float *ratio;
    size_t ratio_stride;
    const float *output_means;
};

ALWAYS_INLINE void build_rows(const int targets, const struct build_input *input, const float *coefficients, operand *z, size_t z_stride, float *mean_lanes) {
    const size_t heads = input->heads, coefficient_stride = heads + 1, head_stride = input->head_stride;
    vector mean[GROUP];
#pragma GCC unroll 4
    for (int t = 0; t < targets; t++)
        mean[t] = load(mean_lanes + t * PAIR_LANES);
    for (size_t k = 0; k < input->columns; k += CHUNK) {
        const float *source = input->head_sources + k;
        vector low[GROUP], high[GROUP];
#pragma GCC unroll 4
        for (int t = 0; t < targets; t++)
            low[t] = high[t] = (vector){0};
        for (size_t h = 0; h < heads; h++, source += head_stride) {
            vector source_low = load(source), source_high = load(source + PAIR_LANES);
#pragma GCC unroll 4
            for (int t = 0; t < targets; t++) {
                low[t] += coefficients[(size_t)t * coefficient_stride + h] * source_low;
                high[t] += coefficients[(size_t)t * coefficient_stride + h] * source_high;
            }
        }
        if (input->residual_source) {
            vector source_low = load(input->residual_source + k), source_high = load(input->residual_source + k + PAIR_LANES);
#pragma GCC unroll 4
            for (int t = 0; t < targets; t++) {
                low[t] += coefficients[(size_t)t * coefficient_stride + heads] * source_low;
                high[t] += coefficients[(size_t)t * coefficient_stride + heads] * source_high;
            }
        }
        vector means_low = load(input->output_means + k), means_high = load(input->output_means + k + PAIR_LANES);
#pragma GCC unroll 4
        for (int t = 0; t < targets; t++) {
            const float *ratio = input->ratio + (size_t)t * input->ratio_stride + k;
            vector z_low = low[t] * load(ratio), z_high = high[t] * load(ratio + PAIR_LANES);
            store_operands(z + (size_t)t * z_stride + k, z_low, z_high);
            mean[t] += z_low * means_low;
            mean[t] += z_high * means_high;
        }
    }
#pragma GCC unroll 4
    for (int t = 0; t < targets; t++)
        store(mean_lanes + t * PAIR_LANES, mean[t]);
}

static void build_group(size_t targets, const struct build_input *input, const float *coefficients, operand *z, size_t z_stride, float *mean_lanes) {
    switch (targets) {
    case 4:
        build_rows(4, input, coefficients, z, z_stride, mean_lanes);
        break;
    case 3:
        build_rows(3, input, coefficients, z, z_stride, mean_lanes);
        break;
    case 2:
        build_rows(2, input, coefficients, z, z_stride, mean_lanes);
        break;
    default:
        build_rows(1, input, coefficients, z, z_stride, mean_lanes);
        break;
    }
}

/* Copies `count` numbers of each of `rows` rows into rows of CHUNK, filled up with zeros. */
static float *fill_edge(float *edge, size_t rows, size_t count, const float *from, size_t stride) {
    for (size_t row = 0; row < rows; row++, edge += CHUNK) {
        memcpy(edge, from + row * stride, count * sizeof *from);
        memset(edge + count, 0, (CHUNK - count) * sizeof *edge);
    }
    return edge;
}

/* The columns of f that do not fill a chunk: the same on copies. `input` describes the whole chunks before them. */
static void build_edge(struct pair_tile *tile, size_t targets, struct build_input input, size_t count, const float *coefficients, operand *z,
                       float *mean_lanes) {
    size_t done = input.columns;
    float *heads = tile->edge;
    float *residual = fill_edge(heads, input.heads, count, input.head_sources + done, input.head_stride);
    float *ratio = residual + CHUNK;
    if (input.residual_source) {
        fill_edge(residual, 1, count, input.residual_source + done, 0);
        input.residual_source = residual;
    }
    fill_edge(ratio, targets, count, input.ratio + done, input.ratio_stride);
    input.columns = CHUNK;
    input.head_sources = heads;
    input.head_stride = CHUNK;
    input.ratio = ratio;
    input.ratio_stride = CHUNK;
    input.output_means += done;
    build_group(targets, &input, coefficients, z + done, tile->operand_stride, mean_lanes);
}

static void build_segment(struct pair_tile *tile, const struct pair_segment *segment, size_t first, size_t columns) {
    const struct pair_problem *problem = tile->problem;
    const size_t depth = problem->depth, heads = problem->heads, whole = columns - columns % CHUNK;
    for (size_t s = 0; s < segment->sources; s++) {
        size_t source = segment->source + s;
        for (size_t t = 0; t < segment->targets; t += GROUP) {
            size_t targets = segment->targets - t < GROUP ? segment->targets - t : GROUP;
            size_t target = segment->target + t, row = segment->first_row + s * segment->targets + t;
            bool is_own = source >= target && source - target < targets;
            struct build_input input = {
                .columns = whole,
                .head_sources = problem->head_ff_sources + source * heads * depth + first,
                .residual_source = is_own ? problem->residual_ff_sources + source * depth + first : NULL,
                .heads = heads,
                .head_stride = depth,
                .ratio = problem->ratio + target * depth + first,
                .ratio_stride = depth,
                .output_means = problem->output->row_means + first,
            };
            const float *coefficients = tile->coefficients + row * (heads + 1);
            operand *z = (operand *)tile->operand + row * tile->operand_stride;
            float *mean_lanes = tile->mean_lanes + row * PAIR_LANES;
            build_group(targets, &input, coefficients, z, tile->operand_stride, mean_lanes);
            if (whole < columns)
                build_edge(tile, targets, input, columns - whole, coefficients, z, mean_lanes);
        }
    }
}

static void build(struct pair_tile *tile, size_t first, size_t block_depth) {
    size_t left = tile->problem->depth - first, columns = left < block_depth ? left : block_depth;
    if (first == 0)
        memset(tile->mean_lanes, 0, tile->rows * PAIR_LANES * sizeof *tile->mean_lanes);
    for (size_t s = 0; s < tile->segment_count; s++)
        build_segment(tile, &tile->segments[s], first, columns);
}

/* --- finish --- */

/* What one call of norm_rows works on: `columns` numbers, a multiple of CHUNK, of one source and some targets. */
struct norm_input {
    size_t columns;
    const float *product;
    size_t product_stride;
    const float *head_sources, *residual_source; /* F̂, x̂; the latter NULL if no target of the group is the source itself */
    size_t heads, head_stride;
    const float *coefficients;
    const float *part_means; /* mt */
    const float *scale;      /* γ2 */
    const float *mask;       /* 1 for columns below d, else 0 */
    const float *means;      /* m [targets] */
    float *sum;              /* NULL: not wanted */
    size_t sum_stride;
};

/* Sums of squares over the columns, in lanes: ‖oc‖², ‖vc‖², ‖γ2 vc‖². */
struct norm_sums {
    double lanes[3][GROUP][PAIR_LANES];
};

ALWAYS_INLINE void add_lanes(double *to, vector values) {
    float copy[PAIR_LANES];
    store(copy, values);
    for (int lane = 0; lane < PAIR_LANES; lane++)
        to[lane] += (double)copy[lane];
}

ALWAYS_INLINE void norm_rows(const int targets, const bool with_part, const struct norm_input *input, struct norm_sums *sums) {
    const size_t heads = input->heads, coefficient_stride = heads + 1;
    for (size_t start = 0; start < input->columns; start += FLUSH * CHUNK) {
        size_t end = input->columns - start < FLUSH * CHUNK ? input->columns : start + FLUSH * CHUNK;
        vector squares[3][GROUP];
#pragma GCC unroll 4
        for (int t = 0; t < targets; t++)
            squares[0][t] = squares[1][t] = squares[2][t] = (vector){0};
        for (size_t k = start; k < end; k += PAIR_LANES) {
            vector part[GROUP];
#pragma GCC unroll 4
            for (int t = 0; t < targets; t++) {
                part[t] = load(input->product + (size_t)t * input->product_stride + k);
                squares[0][t] += part[t] * part[t];
                if (input->sum) {
                    float *sum = input->sum + (size_t)t * input->sum_stride + k;
                    store(sum, load(sum) + (part[t] + input->means[t]));
                }
            }
            if (!with_part)
                continue;
            vector mask = load(input->mask + k), scale = load(input->scale + k);
#pragma GCC unroll 4
            for (int t = 0; t < targets; t++)
                part[t] -= input->part_means[t] * mask;
            const float *source = input->head_sources + k;
            for (size_t h = 0; h < heads; h++, source += input->head_stride) {
                vector values = load(source);
#pragma GCC unroll 4
                for (int t = 0; t < targets; t++)
                    part[t] += input->coefficients[(size_t)t * coefficient_stride + h] * values;
            }
            if (input->residual_source) {
                vector values = load(input->residual_source + k);
#pragma GCC unroll 4
                for (int t = 0; t < targets; t++)
                    part[t] += input->coefficients[(size_t)t * coefficient_stride + heads] * values;
            }
#pragma GCC unroll 4
            for (int t = 0; t < targets; t++) {
                vector scaled = part[t] * scale;
                squares[1][t] += part[t] * part[t];
                squares[2][t] += scaled * scaled;
            }
        }
#pragma GCC unroll 4
        for (int t = 0; t < targets; t++) {
            add_lanes(sums->lanes[0][t], squares[0][t]);
            add_lanes(sums->lanes[1][t], squares[1][t]);
            add_lanes(sums->lanes[2][t], squares[2][t]);
        }
    }
}

static void norm_group(size_t targets, bool with_part, const struct norm_input *input, struct norm_sums *sums) {
    switch (targets) {
    case 4:
        if (with_part)
            norm_rows(4, true, input, sums);
        else
            norm_rows(4, false, input, sums);
        break;
    case 3:
        norm_rows(3, with_part, input, sums);
        break;
    case 2:
        norm_rows(2, with_part, input, sums);
        break;
    default:
        norm_rows(1, with_part, input, sums);
        break;
    }
}

/* The columns of d that do not fill a chunk: the same on copies. The product and the mask are filled up already. */
static void norm_edge(struct pair_tile *tile, size_t targets, bool with_part, const struct norm_input *whole, size_t count, struct norm_sums *sums) {
    struct norm_input input = *whole;
    size_t done = whole->columns;
    float *residual = tile->edge + whole->heads * CHUNK, *scale = residual + CHUNK, *sum = scale + CHUNK;
    if (with_part) {
        fill_edge(tile->edge, whole->heads, count, whole->head_sources + done, whole->head_stride);
        fill_edge(scale, 1, count, whole->scale + done, 0);
        if (whole->residual_source)
            fill_edge(residual, 1, count, whole->residual_source + done, 0);
    }
    if (whole->sum)
        fill_edge(sum, targets, count, whole->sum + done, whole->sum_stride);
    input.columns = CHUNK;
    input.product += done;
    input.head_sources = tile->edge;
    input.residual_source = whole->residual_source ? residual : NULL;
    input.head_stride = CHUNK;
    input.scale = scale;
    input.mask += done;
    input.sum = whole->sum ? sum : NULL;
    input.sum_stride = CHUNK;
    norm_group(targets, with_part, &input, sums);
    for (size_t t = 0; whole->sum && t < targets; t++)
        memcpy(whole->sum + t * whole->sum_stride + done, sum + t * CHUNK, count * sizeof *sum);
}

static double sum_lanes(const double *lanes) {
    double sum = 0;
    for (int lane = 0; lane < PAIR_LANES; lane++)
        sum += lanes[lane];
    return sum;
}

static float row_mean(const float *row, size_t width) {
    double lanes[PAIR_LANES] = {0}, rest = 0;
    size_t k = 0;
    for (; k + PAIR_LANES <= width; k += PAIR_LANES)
        add_lanes(lanes, load(row + k));
    for (; k < width; k++)
        rest += (double)row[k];
    return (float)((sum_lanes(lanes) + rest) / (double)width);
}

/* mt of the segment's rows of one source, from the means over d of F̂ and x̂. */
static void part_means(struct pair_tile *tile, const struct pair_segment *segment, size_t source, size_t row) {
    const struct pair_problem *problem = tile->problem;
    const size_t heads = problem->heads, width = problem->width;
    bool is_own = source >= segment->target && source - segment->target < segment->targets;
    for (size_t h = 0; h < heads; h++)
        tile->source_means[h] = row_mean(problem->head_norm_sources + (source * heads + h) * width, width);
    tile->source_means[heads] = is_own ? row_mean(problem->residual_norm_sources + source * width, width) : 0.0f;
    for (size_t t = 0; t < segment->targets; t++, row++) {
        const float *coefficients = tile->coefficients + row * (heads + 1);
        double mean = 0;
        for (size_t h = 0; h <= heads; h++)
            mean += (double)coefficients[h] * (double)tile->source_means[h];
        tile->part_means[row] = (float)mean;
    }
}

/* ‖o‖² = ‖oc‖² + d m²; ‖v‖² = ‖vc‖² + d (m + mt)²; ‖w‖² = Σ γ2² vc² / σ2². */
static void store_norms(const struct pair_problem *problem, size_t target, size_t pair, double mean, double part_mean, const double squares[3]) {
    double width = (double)problem->width, whole_mean = mean + part_mean;
    if (problem->ff)
        problem->ff[pair] = (float)sqrt(squares[0] + width * mean * mean);
    if (problem->ff_res)
        problem->ff_res[pair] = (float)sqrt(squares[1] + width * whole_mean * whole_mean);
    if (problem->ff_res_ln)
        problem->ff_res_ln[pair] = (float)(sqrt(squares[2]) * (double)problem->inverse_deviation2[target]);
}

static void finish_group(struct pair_tile *tile, const struct pair_segment *segment, size_t source, size_t target, size_t targets, size_t row) {
    const struct pair_problem *problem = tile->problem;
    const size_t heads = problem->heads, width = problem->width, whole = width - width % CHUNK;
    bool is_own = source >= target && source - target < targets, with_part = problem->ff_res || problem->ff_res_ln;
    struct norm_sums sums = {0};
    double means[GROUP];
    float float_means[GROUP];
    for (size_t t = 0; t < targets; t++) {
        double lanes[PAIR_LANES] = {0};
        add_lanes(lanes, load(tile->mean_lanes + (row + t) * PAIR_LANES));
        means[t] = sum_lanes(lanes);
        float_means[t] = (float)means[t];
    }
    struct norm_input input = {
        .columns = whole,
        .product = tile->product + row * tile->product_stride,
        .product_stride = tile->product_stride,
        .head_sources = problem->head_norm_sources + source * heads * width,
        .residual_source = is_own ? problem->residual_norm_sources + source * width : NULL,
        .heads = heads,
        .head_stride = width,
        .coefficients = tile->coefficients + row * (heads + 1),
        .part_means = tile->part_means + row,
        .scale = problem->norm2_scale,
        .mask = problem->output->width_mask,
        .means = float_means,
        .sum = problem->sum ? problem->sum + target * width : NULL,
        .sum_stride = width,
    };
    norm_group(targets, with_part, &input, &sums);
    if (whole < width)
        norm_edge(tile, targets, with_part, &input, width - whole, &sums);
    if (is_own && problem->own) {
        const float *product = input.product + (source - target) * tile->product_stride;
        float mean = float_means[source - target], *own = problem->own + source * width;
        for (size_t k = 0; k < width; k++)
            own[k] = product[k] + mean;
    }
    for (size_t t = 0; t < targets; t++) {
        double squares[3];
        for (int kind = 0; kind < 3; kind++)
            squares[kind] = sum_lanes(sums.lanes[kind][t]);
        size_t pair = segment->pair_offset + (target + t - segment->sequence_start) * segment->sequence_length + (source - segment->sequence_start);
        store_norms(problem, target + t, pair, means[t], (double)tile->part_means[row + t], squares);
    }
}

static void finish(struct pair_tile *tile) {
    bool with_part = tile->problem->ff_res || tile->problem->ff_res_ln;
    for (size_t s = 0; s < tile->segment_count; s++) {
        const struct pair_segment *segment = &tile->segments[s];
        for (size_t j = 0; j < segment->sources; j++) {
            size_t source = segment->source + j, row = segment->first_row + j * segment->targets;
            if (with_part)
                part_means(tile, segment, source, row);
            for (size_t t = 0; t < segment->targets; t += GROUP) {
                size_t targets = segment->targets - t < GROUP ? segment->targets - t : GROUP;
                finish_group(tile, segment, source, segment->target + t, targets, row + t);
            }
        }
    }
}

const struct pair_kernel PAIR_KERNEL = {
    .name = PAIR_NAME,
    .lanes = PAIR_LANES,
    .operand_bytes = sizeof(operand),
    .pack = pack,
    .build = build,
    .multiply = multiply,
    .finish = finish,
};
