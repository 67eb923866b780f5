/* Part of pair_kernel_body.h: z = ρ_i ⊙ (Σ_h α^h_ij P_jh + [i=j] Px_j) / σ1_i for one block of f. */

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
    const float *head_sources, *residual_sources;
    size_t heads, residuals, stride; /* rows of P: heads of all of its tokens; of Px, 0 if no target of the group is one of the tokens; from row to row */
    const float *ratio;
    size_t ratio_stride;
    const float *output_means;
};

ALWAYS_INLINE void build_rows(const int targets, const struct build_input *input, const float *coefficients, size_t coefficient_stride, operand *z,
                              size_t z_stride, float *mean_lanes) {
    const size_t heads = input->heads, stride = input->stride;
    vector mean[BUILD_GROUP];
#pragma GCC unroll 8
    for (int t = 0; t < targets; t++)
        mean[t] = load(mean_lanes + t * PAIR_LANES);
    for (size_t k = 0; k < input->columns; k += CHUNK) {
        const float *source = input->head_sources + k;
        vector low[BUILD_GROUP], high[BUILD_GROUP];
#pragma GCC unroll 8
        for (int t = 0; t < targets; t++)
            low[t] = high[t] = (vector){0};
        for (size_t h = 0; h < heads; h++, source += stride) {
            vector source_low = load(source), source_high = load(source + PAIR_LANES);
#pragma GCC unroll 8
            for (int t = 0; t < targets; t++) {
                low[t] += coefficients[(size_t)t * coefficient_stride + h] * source_low;
                high[t] += coefficients[(size_t)t * coefficient_stride + h] * source_high;
            }
        }
        source = input->residual_sources + k;
        for (size_t h = heads; h < heads + input->residuals; h++, source += stride) {
            vector source_low = load(source), source_high = load(source + PAIR_LANES);
#pragma GCC unroll 8
            for (int t = 0; t < targets; t++) {
                low[t] += coefficients[(size_t)t * coefficient_stride + h] * source_low;
                high[t] += coefficients[(size_t)t * coefficient_stride + h] * source_high;
            }
        }
        vector means_low = load(input->output_means + k), means_high = load(input->output_means + k + PAIR_LANES);
#pragma GCC unroll 8
        for (int t = 0; t < targets; t++) {
            const float *ratio = input->ratio + (size_t)t * input->ratio_stride + k;
            vector z_low = low[t] * load(ratio), z_high = high[t] * load(ratio + PAIR_LANES);
            store_operands(z + (size_t)t * z_stride + k, z_low, z_high);
            mean[t] += z_low * means_low;
            mean[t] += z_high * means_high;
        }
    }
#pragma GCC unroll 8
    for (int t = 0; t < targets; t++)
        store(mean_lanes + t * PAIR_LANES, mean[t]);
}

static void build_group(size_t targets, const struct build_input *input, const float *coefficients, size_t coefficient_stride, operand *z, size_t z_stride,
                        float *mean_lanes) {
    switch (targets) {
#define CASE(count)                                                                                                                                            \
    case count:                                                                                                                                                \
        build_rows(count, input, coefficients, coefficient_stride, z, z_stride, mean_lanes);                                                                   \
        break;
        FOR_EACH_COUNT(CASE)
#undef CASE
    default:
        break;
    }
}

/* The columns of f that do not fill a chunk: the same on copies. `input` describes the whole chunks before them. */
static void build_edge(struct pair_tile *tile, size_t targets, struct build_input input, size_t count, const float *coefficients, operand *z,
                       float *mean_lanes) {
    size_t done = input.columns;
    float *heads = tile->edge;
    float *residuals = fill_edge(heads, input.heads, count, input.head_sources + done, input.stride);
    float *ratio = fill_edge(residuals, input.residuals, count, input.residual_sources + done, input.stride);
    fill_edge(ratio, targets, count, input.ratio + done, input.ratio_stride);
    input.columns = CHUNK;
    input.head_sources = heads;
    input.residual_sources = residuals;
    input.stride = CHUNK;
    input.ratio = ratio;
    input.ratio_stride = CHUNK;
    input.output_means += done;
    build_group(targets, &input, coefficients, tile->coefficient_stride, z + done, tile->operand_stride, mean_lanes);
}

/* Asks for rows begin .. end - 1 of the next source's P: a block's rows lie far apart, so the processor does not foresee them. */
ALWAYS_INLINE void prefetch_rows(const struct build_input *input, size_t begin, size_t end) {
    enum { line = 64 / sizeof(float) };
    const float *next = input->head_sources + input->heads * input->stride;
    for (size_t h = begin; h < end; h++) {
        for (size_t k = 0; k < input->columns; k += line)
            __builtin_prefetch(next + h * input->stride + k, 0, 2);
    }
}

static void build_segment(struct pair_tile *tile, const struct pair_segment *segment, size_t first, size_t columns) {
    const struct pair_problem *problem = tile->problem;
    const size_t depth = problem->depth, heads = problem->heads, whole = columns - columns % CHUNK;
    for (size_t s = 0; s < segment->sources; s++) {
        const struct pair_source source = pair_source_of(problem, segment, segment->source + s);
        const size_t next_rows = s + 1 < segment->sources ? heads * pair_source_of(problem, segment, segment->source + s + 1).count : 0;
        for (size_t t = 0, targets; t < segment->targets; t += targets) {
            targets = group_size(segment->targets - t, BUILD_GROUP);
            size_t target = segment->target + t, row = segment->first_row + s * segment->targets + t;
            struct build_input input = {
                .columns = whole,
                .head_sources = problem->head_ff_sources + source.first * heads * depth + first,
                .residual_sources = problem->residual_ff_sources + source.first * depth + first,
                .heads = heads * source.count,
                .residuals = pair_source_meets(source, target, targets) ? source.count : 0,
                .stride = depth,
                .ratio = problem->ratio + target * depth + first,
                .ratio_stride = depth,
                .output_means = problem->output->row_means + first,
            };
            const float *coefficients = tile->coefficients + row * tile->coefficient_stride;
            operand *z = (operand *)tile->operand + row * tile->operand_stride;
            float *mean_lanes = tile->mean_lanes + row * PAIR_LANES;
            prefetch_rows(&input, next_rows * t / segment->targets, next_rows * (t + targets) / segment->targets);
            build_group(targets, &input, coefficients, tile->coefficient_stride, z, tile->operand_stride, mean_lanes);
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
