/*
 * Matrix products for cpu_kernels_body.h: y = x B + start, with B packed into strips of CPU_STRIP columns.
 *
 * Library BLAS packs both operands at every call, which at 128 rows costs 5 to 10 % and more on few rows. Here only the weights are packed, once per call for
 * all threads; x is read where it lies, one number at a time for a whole row of accumulators. A block of rows x columns stays in registers over
 * product_depth numbers of k. What is computed for a row does not depend on the rows beside it.
 */

/* Accumulators: rows x vectors registers, beside `vectors` for B and one of x: 24 + 3 + 1 of 32, 12 + 2 + 1 or 12 + 3 + 1 of 16. */
#if defined(__AVX512F__)
enum { product_lanes = 16, product_rows = 8, product_vectors = 3 };
#elif defined(__AVX2__)
enum { product_lanes = 8, product_rows = 6, product_vectors = 2 };
#else
enum { product_lanes = 4, product_rows = 4, product_vectors = 3 };
#endif
/* 8 rows of x of this depth (12 KiB) stay in the first cache, a strip of B (72 KiB) in the second. */
enum { product_depth = 384, product_columns = product_lanes * product_vectors };

typedef float product_lane __attribute__((vector_size(product_lanes * sizeof(float))));
typedef float four_floats __attribute__((vector_size(4 * sizeof(float))));

/* y [rows, vectors registers] = x [rows, depth] b [depth, CPU_STRIP] + start; `rows` and `vectors` are constants wherever this is expanded. */
static inline __attribute__((always_inline)) void product_block(const size_t rows, const size_t vectors, const float *start, size_t start_stride, size_t depth,
                                                                const float *x, size_t x_stride, const float *b, float *y, size_t y_stride) {
    /* Vector by vector: the compiler keeps them in registers only if nothing copies several at once. */
    product_lane sums[product_rows][product_vectors];
    for (size_t r = 0; r < rows; r++) {
        for (size_t v = 0; v < vectors; v++)
            sums[r][v] = (product_lane){0};
    }
    if (start) {
        for (size_t r = 0; r < rows; r++) {
            for (size_t v = 0; v < vectors; v++)
                memcpy(&sums[r][v], start + r * start_stride + v * product_lanes, sizeof(product_lane));
        }
    }
    for (size_t k = 0; k < depth; k++) {
        product_lane column[product_vectors];
        for (size_t v = 0; v < vectors; v++)
            memcpy(&column[v], b + k * CPU_STRIP + v * product_lanes, sizeof(product_lane));
        for (size_t r = 0; r < rows; r++) {
            float factor = x[r * x_stride + k];
            for (size_t v = 0; v < vectors; v++)
                sums[r][v] += factor * column[v];
        }
    }
    for (size_t r = 0; r < rows; r++) {
        for (size_t v = 0; v < vectors; v++)
            memcpy(y + r * y_stride + v * product_lanes, &sums[r][v], sizeof(product_lane));
    }
}

/* Expands the block for every number of rows. */
static inline __attribute__((always_inline)) void product_of_vectors(size_t rows, const size_t vectors, const float *start, size_t start_stride, size_t depth,
                                                                     const float *x, size_t x_stride, const float *b, float *y, size_t y_stride) {
#define PRODUCT_CASE(constant)                                                                                                                                 \
    case constant:                                                                                                                                             \
        product_block(constant, vectors, start, start_stride, depth, x, x_stride, b, y, y_stride);                                                             \
        break
    switch (rows) {
        PRODUCT_CASE(1);
        PRODUCT_CASE(2);
        PRODUCT_CASE(3);
        PRODUCT_CASE(4);
#if defined(__AVX2__)
        PRODUCT_CASE(5);
        PRODUCT_CASE(6);
#endif
#if defined(__AVX512F__)
        PRODUCT_CASE(7);
        PRODUCT_CASE(8);
#endif
    }
#undef PRODUCT_CASE
}

/* Up to product_rows rows and the vectors that hold `columns` columns. */
static void product_of_columns(size_t rows, size_t columns, const float *start, size_t start_stride, size_t depth, const float *x, size_t x_stride,
                               const float *b, float *y, size_t y_stride) {
    for (size_t column = 0; column < columns; column += product_columns) {
        size_t rest = columns - column;
        const float *from = start ? start + column : NULL;
        if (product_vectors == 3 && rest > 2 * product_lanes)
            product_of_vectors(rows, product_vectors, from, start_stride, depth, x, x_stride, b + column, y + column, y_stride);
        else if (rest > product_lanes)
            product_of_vectors(rows, 2, from, start_stride, depth, x, x_stride, b + column, y + column, y_stride);
        else
            product_of_vectors(rows, 1, from, start_stride, depth, x, x_stride, b + column, y + column, y_stride);
    }
}

/* The last vector of a strip that ends within it is computed in full beside y, since B is padded with zeros. */
static void product_of_rows(size_t rows, size_t columns, const float *start, size_t start_stride, size_t depth, const float *x, size_t x_stride, const float *b,
                            float *y, size_t y_stride) {
    float tile[product_rows * CPU_STRIP] __attribute__((aligned(64)));
    if (columns % product_lanes == 0) {
        product_of_columns(rows, columns, start, start_stride, depth, x, x_stride, b, y, y_stride);
        return;
    }
    if (start) {
        memset(tile, 0, sizeof tile);
        for (size_t r = 0; r < rows; r++)
            memcpy(tile + r * CPU_STRIP, start + r * start_stride, columns * sizeof *y);
    }
    product_of_columns(rows, columns, start ? tile : NULL, CPU_STRIP, depth, x, x_stride, b, tile, CPU_STRIP);
    for (size_t r = 0; r < rows; r++)
        memcpy(y + r * y_stride, tile + r * CPU_STRIP, columns * sizeof *y);
}

static void product(size_t rows, size_t columns, size_t inner, const float *start, size_t start_stride, const float *x, size_t x_stride, const float *packed,
                    float *y, size_t y_stride) {
    for (size_t first = 0; first < inner; first += product_depth) {
        size_t depth = inner - first < product_depth ? inner - first : product_depth;
        for (size_t row = 0; row < rows; row += product_rows) {
            size_t block = rows - row < product_rows ? rows - row : product_rows;
            float *target = y + row * y_stride;
            if (first > 0)
                product_of_rows(block, columns, target, y_stride, depth, x + row * x_stride + first, x_stride, packed + first * CPU_STRIP, target, y_stride);
            else
                product_of_rows(block, columns, start ? start + row * start_stride : NULL, start_stride, depth, x + row * x_stride, x_stride, packed, target,
                                y_stride);
        }
    }
}

/* Transposes 4 x 4 numbers in registers: scalar stores would cost as much as the product of 30 rows. */
static inline void transpose_four(const float *source, size_t stride, float *packed) {
    four_floats a, b, c, d;
    memcpy(&a, source, sizeof a);
    memcpy(&b, source + stride, sizeof b);
    memcpy(&c, source + 2 * stride, sizeof c);
    memcpy(&d, source + 3 * stride, sizeof d);
    four_floats ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5), ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
    four_floats cd_low = __builtin_shufflevector(c, d, 0, 4, 1, 5), cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);
    four_floats rows[4] = {
        __builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5),
        __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7),
        __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5),
        __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7),
    };
    for (size_t k = 0; k < 4; k++)
        memcpy(packed + k * CPU_STRIP, &rows[k], sizeof rows[k]);
}

/* 64 numbers of four rows after each other: rows lie a power of two apart, and more of them at once would drive each other out of the first cache. */
static void pack_rows(size_t columns, size_t inner, const float *weight, size_t stride, float *packed) {
    enum { run = 64 };
    size_t whole = columns / 4 * 4, even = inner / 4 * 4;
    if (columns < CPU_STRIP)
        memset(packed, 0, inner * CPU_STRIP * sizeof *packed);
    for (size_t first = 0; first < even; first += run) {
        size_t end = even - first < run ? even : first + run;
        for (size_t column = 0; column < whole; column += 4) {
            for (size_t k = first; k < end; k += 4)
                transpose_four(weight + column * stride + k, stride, packed + k * CPU_STRIP + column);
        }
    }
    for (size_t column = 0; column < columns; column++) {
        for (size_t k = column < whole ? even : 0; k < inner; k++)
            packed[k * CPU_STRIP + column] = weight[column * stride + k];
    }
}

/* Copies of a constant size are instructions, not calls. */
static void pack_columns(size_t columns, size_t inner, const float *weight, size_t stride, float *packed) {
    for (size_t k = 0; k < inner; k++) {
        float *row = packed + k * CPU_STRIP;
        if (columns == CPU_STRIP) {
            memcpy(row, weight + k * stride, CPU_STRIP * sizeof *row);
        } else {
            memset(row, 0, CPU_STRIP * sizeof *row);
            memcpy(row, weight + k * stride, columns * sizeof *row);
        }
    }
}

/* Few rows: every weight is read once from memory, and that is what takes the time. */
static void dot_products(size_t rows, size_t inner, const float *x, size_t x_stride, const float *weight, float *y, size_t y_stride) {
    for (size_t row = 0; row < rows; row++) {
        float sum = 0.0f;
        const float *source = x + row * x_stride;
#pragma omp simd reduction(+ : sum)
        for (size_t k = 0; k < inner; k++)
            sum += source[k] * weight[k];
        y[row * y_stride] += sum;
    }
}
