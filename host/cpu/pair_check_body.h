/* Part of pair_kernel_body.h: the checksum of the product's rows (contexture/checksum.h). */

#if PAIR_IS_BF16
ALWAYS_INLINE vector load_operands(const operand *z) {
    return (vector)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)z)), 16);
}
#else
ALWAYS_INLINE vector load_operands(const operand *z) {
    return load(z);
}
#endif

/* Adds z·(W2c s) and ‖z‖² of a block to the rows' lanes, from z as it is in memory: errors of building it are for the completeness to find. */
static void check(struct pair_tile *tile, size_t first, size_t block_depth) {
    const float *checks = tile->problem->output->checks + first;
    for (size_t row = 0; row < tile->rows; row++) {
        const operand *z = (const operand *)tile->operand + row * tile->operand_stride;
        float *lanes = tile->check_lanes + row * 2 * PAIR_MAX_LANES;
        vector dots[2] = {{0}, {0}}, squares[2] = {{0}, {0}};
        for (size_t k = 0; k < block_depth; k += CHUNK) {
            vector low = load_operands(z + k), high = load_operands(z + k + PAIR_LANES);
            dots[0] += low * load(checks + k);
            dots[1] += high * load(checks + k + PAIR_LANES);
            squares[0] += low * low;
            squares[1] += high * high;
        }
        vector dot = dots[0] + dots[1], square = squares[0] + squares[1];
        if (first > 0) {
            dot += load(lanes);
            square += load(lanes + PAIR_MAX_LANES);
        }
        store(lanes, dot);
        store(lanes + PAIR_MAX_LANES, square);
    }
}

/* How far a row's two sums are apart, over what rounding allows. */
static float check_row(const struct pair_tile *tile, size_t row) {
    const struct cx_pair_matrix *matrix = tile->problem->output;
    const float *product = tile->product + row * tile->product_stride, *from = tile->check_lanes + row * 2 * PAIR_MAX_LANES;
    double lanes[3][PAIR_LANES] = {{0}};
    vector sum = {0};
    for (size_t k = 0; k < matrix->padded_width; k += PAIR_LANES)
        sum += load(product + k) * load(matrix->signs + k);
    add_lanes(lanes[0], sum);
    add_lanes(lanes[1], load(from));
    add_lanes(lanes[2], load(from + PAIR_MAX_LANES));
    return cx_check_excess(sum_lanes(lanes[0]), sum_lanes(lanes[1]), sqrt(sum_lanes(lanes[2])) * matrix->norm, matrix->depth);
}
