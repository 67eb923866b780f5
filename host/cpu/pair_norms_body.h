/* Part of pair_kernel_body.h: from the product to norms, own_i and sum_i. */

/* What one call of norm_rows works on: `columns` numbers, a multiple of CHUNK, of one source and some targets. */
struct norm_input {
    size_t columns;
    const float *product;
    size_t product_stride;
    const float *head_sources, *residual_sources; /* F̂, x̂ */
    size_t heads, residuals, stride;              /* rows of both, and from row to row, as in struct build_input */
    const float *coefficients;
    size_t coefficient_stride;
    const float *part_means; /* mt */
    const float *scale;      /* γ2 */
    const float *mask;       /* 1 for columns below d, else 0 */
    const float *means;      /* m [targets] */
    float *sum;              /* NULL: not wanted */
    size_t sum_stride;
};

/* Sums of squares over the columns, in lanes: ‖oc‖², ‖vc‖², ‖γ2 vc‖². */
struct norm_sums {
    double lanes[3][NORM_GROUP][PAIR_LANES];
};

/* Adds oc_ij + m_ij to sum_i. */
ALWAYS_INLINE void add_to_sum(const struct norm_input *input, size_t target, size_t k, vector part) {
    float *sum = input->sum + target * input->sum_stride + k;
    store(sum, load(sum) + (part + input->means[target]));
}

ALWAYS_INLINE void norm_rows(const int targets, const bool with_part, const struct norm_input *input, struct norm_sums *sums) {
    const size_t heads = input->heads, coefficient_stride = input->coefficient_stride;
    for (size_t start = 0; start < input->columns; start += FLUSH * CHUNK) {
        size_t end = input->columns - start < FLUSH * CHUNK ? input->columns : start + FLUSH * CHUNK;
        vector squares[3][NORM_GROUP];
#pragma GCC unroll 4
        for (int t = 0; t < targets; t++)
            squares[0][t] = squares[1][t] = squares[2][t] = (vector){0};
        for (size_t k = start; k < end; k += CHUNK) {
            const size_t k_high = k + PAIR_LANES;
            vector low[NORM_GROUP], high[NORM_GROUP];
#pragma GCC unroll 4
            for (int t = 0; t < targets; t++) {
                low[t] = load(input->product + (size_t)t * input->product_stride + k);
                high[t] = load(input->product + (size_t)t * input->product_stride + k_high);
                squares[0][t] += low[t] * low[t];
                squares[0][t] += high[t] * high[t];
                if (input->sum) {
                    add_to_sum(input, (size_t)t, k, low[t]);
                    add_to_sum(input, (size_t)t, k_high, high[t]);
                }
            }
            if (!with_part)
                continue;
            vector mask_low = load(input->mask + k), mask_high = load(input->mask + k_high);
#pragma GCC unroll 4
            for (int t = 0; t < targets; t++) {
                low[t] -= input->part_means[t] * mask_low;
                high[t] -= input->part_means[t] * mask_high;
            }
            const float *source = input->head_sources + k;
            for (size_t h = 0; h < heads; h++, source += input->stride) {
                vector source_low = load(source), source_high = load(source + PAIR_LANES);
#pragma GCC unroll 4
                for (int t = 0; t < targets; t++) {
                    low[t] += input->coefficients[(size_t)t * coefficient_stride + h] * source_low;
                    high[t] += input->coefficients[(size_t)t * coefficient_stride + h] * source_high;
                }
            }
            source = input->residual_sources + k;
            for (size_t h = heads; h < heads + input->residuals; h++, source += input->stride) {
                vector source_low = load(source), source_high = load(source + PAIR_LANES);
#pragma GCC unroll 4
                for (int t = 0; t < targets; t++) {
                    low[t] += input->coefficients[(size_t)t * coefficient_stride + h] * source_low;
                    high[t] += input->coefficients[(size_t)t * coefficient_stride + h] * source_high;
                }
            }
            vector scale_low = load(input->scale + k), scale_high = load(input->scale + k_high);
#pragma GCC unroll 4
            for (int t = 0; t < targets; t++) {
                vector scaled_low = low[t] * scale_low, scaled_high = high[t] * scale_high;
                squares[1][t] += low[t] * low[t];
                squares[1][t] += high[t] * high[t];
                squares[2][t] += scaled_low * scaled_low;
                squares[2][t] += scaled_high * scaled_high;
            }
        }
        for (int t = 0; t < targets; t++) {
            for (int kind = 0; kind < (with_part ? 3 : 1); kind++)
                add_lanes(sums->lanes[kind][t], squares[kind][t]);
        }
    }
}

static void norm_group(size_t targets, bool with_part, const struct norm_input *input, struct norm_sums *sums) {
    switch (targets * 2 + with_part) {
#define CASE(count)                                                                                                                                            \
    case count * 2:                                                                                                                                            \
        norm_rows(count, false, input, sums);                                                                                                                  \
        break;                                                                                                                                                 \
    case count * 2 + 1:                                                                                                                                        \
        norm_rows(count, true, input, sums);                                                                                                                   \
        break;
        FOR_EACH_NORM_COUNT(CASE)
#undef CASE
    default:
        break;
    }
}

/* The columns of d that do not fill a chunk: the same on copies. The product and the mask are filled up already. */
static void norm_edge(struct pair_tile *tile, size_t targets, bool with_part, const struct norm_input *whole, size_t count, struct norm_sums *sums) {
    struct norm_input input = *whole;
    size_t done = whole->columns;
    float *residuals = tile->edge + whole->heads * CHUNK, *scale = residuals + whole->residuals * CHUNK, *sum = scale + CHUNK;
    if (with_part) {
        fill_edge(tile->edge, whole->heads, count, whole->head_sources + done, whole->stride);
        fill_edge(residuals, whole->residuals, count, whole->residual_sources + done, whole->stride);
        fill_edge(scale, 1, count, whole->scale + done, 0);
    }
    if (whole->sum)
        fill_edge(sum, targets, count, whole->sum + done, whole->sum_stride);
    input.columns = CHUNK;
    input.product += done;
    input.head_sources = tile->edge;
    input.residual_sources = residuals;
    input.stride = CHUNK;
    input.scale = scale;
    input.mask += done;
    input.sum = whole->sum ? sum : NULL;
    input.sum_stride = CHUNK;
    norm_group(targets, with_part, &input, sums);
    for (size_t t = 0; whole->sum && t < targets; t++)
        memcpy(whole->sum + t * whole->sum_stride + done, sum + t * CHUNK, count * sizeof *sum);
}

static float row_mean(const float *row, size_t width) {
    const size_t whole = width - width % CHUNK;
    double lanes[PAIR_LANES] = {0}, rest = 0;
    for (size_t start = 0; start < whole; start += FLUSH * CHUNK) {
        size_t end = whole - start < FLUSH * CHUNK ? whole : start + FLUSH * CHUNK;
        vector low = {0}, high = {0};
        for (size_t k = start; k < end; k += CHUNK) {
            low += load(row + k);
            high += load(row + k + PAIR_LANES);
        }
        add_lanes(lanes, low + high);
    }
    for (size_t k = whole; k < width; k++)
        rest += (double)row[k];
    return (float)((sum_lanes(lanes) + rest) / (double)width);
}

/* mt of the segment's rows of one source, from the means over d of F̂ and x̂. */
static void part_means(struct pair_tile *tile, const struct pair_segment *segment, struct pair_source source, size_t row) {
    const struct pair_problem *problem = tile->problem;
    const size_t heads = problem->heads * source.count, width = problem->width;
    const float *head_sources = problem->head_norm_sources + source.first * problem->heads * width;
    const bool has_own = pair_source_meets(source, segment->target, segment->targets);
    for (size_t h = 0; h < heads; h++)
        tile->source_means[h] = row_mean(head_sources + h * width, width);
    for (size_t k = 0; k < source.count; k++)
        tile->source_means[heads + k] = has_own ? row_mean(problem->residual_norm_sources + (source.first + k) * width, width) : 0.0f;
    for (size_t t = 0; t < segment->targets; t++, row++) {
        const float *coefficients = tile->coefficients + row * tile->coefficient_stride;
        double mean = 0;
        for (size_t h = 0; h < heads + source.count; h++)
            mean += (double)coefficients[h] * (double)tile->source_means[h];
        tile->part_means[row] = (float)mean;
    }
}

/* ‖o‖² = ‖oc‖² + d m²; ‖v‖² = ‖vc‖² + d (m + mt)²; ‖w‖² = Σ γ2² vc² / σ2². */
static void store_norms(const struct pair_problem *problem, size_t target, size_t element, double mean, double part_mean, const double squares[3]) {
    double width = (double)problem->width, whole_mean = mean + part_mean;
    if (problem->ff)
        problem->ff[element] = (float)sqrt(squares[0] + width * mean * mean);
    if (problem->ff_res)
        problem->ff_res[element] = (float)sqrt(squares[1] + width * whole_mean * whole_mean);
    if (problem->ff_res_ln)
        problem->ff_res_ln[element] = (float)(sqrt(squares[2]) * (double)problem->inverse_deviation2[target]);
}

/* Whether norms need t_ij. */
static bool wants_parts(const struct pair_problem *problem, const struct pair_segment *segment) {
    return (problem->ff_res || problem->ff_res_ln) && !segment->only_own;
}

static void finish_group(struct pair_tile *tile, const struct pair_segment *segment, size_t source, size_t target, size_t targets, size_t row) {
    const struct pair_problem *problem = tile->problem;
    const struct pair_source tokens = pair_source_of(problem, segment, source);
    const size_t width = problem->width, whole = width - width % CHUNK;
    const bool has_own = pair_source_meets(tokens, target, targets), with_part = wants_parts(problem, segment);
    struct norm_sums sums = {0};
    double means[NORM_GROUP];
    float float_means[NORM_GROUP];
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
        .head_sources = problem->head_norm_sources + tokens.first * problem->heads * width,
        .residual_sources = problem->residual_norm_sources + tokens.first * width,
        .heads = problem->heads * tokens.count,
        .residuals = has_own ? tokens.count : 0,
        .stride = width,
        .coefficients = tile->coefficients + row * tile->coefficient_stride,
        .coefficient_stride = tile->coefficient_stride,
        .part_means = tile->part_means + row,
        .scale = problem->norm2_scale,
        .mask = problem->output->width_mask,
        .means = float_means,
        .sum = problem->sum && !segment->only_own ? problem->sum + target * width : NULL,
        .sum_stride = width,
    };
    norm_group(targets, with_part, &input, &sums);
    if (whole < width)
        norm_edge(tile, targets, with_part, &input, width - whole, &sums);
    if (has_own && tokens.count == 1 && problem->own) {
        const float *product = input.product + (tokens.first - target) * tile->product_stride;
        float mean = float_means[tokens.first - target], *own = problem->own + tokens.first * width;
        for (size_t k = 0; k < width; k++)
            own[k] = product[k] + mean;
    }
    for (size_t t = 0; t < targets; t++) {
        double squares[3];
        for (int kind = 0; kind < 3; kind++)
            squares[kind] = sum_lanes(sums.lanes[kind][t]);
        size_t element = segment->map_offset + (target + t - segment->sequence_start) * segment->source_count + (source - segment->first_source);
        if (!segment->only_own)
            store_norms(problem, target + t, element, means[t], (double)tile->part_means[row + t], squares);
        if (problem->check)
            problem->check[target + t] = fmaxf(problem->check[target + t], check_row(tile, row + t));
    }
}

static void finish(struct pair_tile *tile) {
    for (size_t s = 0; s < tile->segment_count; s++) {
        const struct pair_segment *segment = &tile->segments[s];
        for (size_t j = 0; j < segment->sources; j++) {
            size_t source = segment->source + j, row = segment->first_row + j * segment->targets;
            if (wants_parts(tile->problem, segment))
                part_means(tile, segment, pair_source_of(tile->problem, segment, source), row);
            for (size_t t = 0, targets; t < segment->targets; t += targets) {
                targets = group_size(segment->targets - t, NORM_GROUP);
                finish_group(tile, segment, source, segment->target + t, targets, row + t);
            }
        }
    }
}
