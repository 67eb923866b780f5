/* Part of pair_kernel_body.h: product (+)= z W2c, and W2c in the order in which it is read. */

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
    for (size_t row = 0; row < rows; row += PAIR_BLOCK_ROWS, z += PAIR_BLOCK_ROWS * z_stride, product += PAIR_BLOCK_ROWS * product_stride) {
        switch (rows - row < PAIR_BLOCK_ROWS ? rows - row : PAIR_BLOCK_ROWS) {
#define CASE(count)                                                                                                                                            \
    case count:                                                                                                                                                \
        multiply_block(count, vectors, depth, z, z_stride, strip, product, product_stride, is_first);                                                          \
        break;
            FOR_EACH_COUNT(CASE)
#undef CASE
        default:
            break;
        }
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

static void round_operands(float *values, size_t count) {
#if PAIR_IS_BF16
    for (size_t k = 0; k < count; k++) {
        const uint32_t bits = (uint32_t)to_operand(values[k]) << 16;
        memcpy(&values[k], &bits, sizeof bits);
    }
#else
    (void)values;
    (void)count;
#endif
}

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
