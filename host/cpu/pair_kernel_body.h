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
 *                  multiply-adds; 3 x 4 use 12 + 3 + 1 of 16. Measured on Zen 4: 3 x 8 and 3 x 9 117 GF/s, 2 x 12 and 2 x 14 115, of a peak of 118.
 *   BUILD_GROUP    targets whose z is built together, so that each vector of P_jh is loaded once for all of them: 2 x 8 sums and 8 means of 32 registers.
 *   NORM_GROUP     targets whose norms are taken together: 2 x 4 vectors and 3 x 4 sums of squares of 32 registers.
 *   CHUNK          floats of a row that are built or reduced at once: 2 vectors, to have enough independent chains of multiply-adds.
 *   FLUSH          chunks whose squares are summed in float32 before the lanes go to float64: rounding stays below 1e-7.
 */
enum { STRIP = 3, BUILD_GROUP = PAIR_BLOCK_ROWS, NORM_GROUP = PAIR_BLOCK_ROWS / 2, CHUNK = 2 * PAIR_LANES, FLUSH = 8 };

#if PAIR_BLOCK_ROWS == 8
#define FOR_EACH_COUNT(CASE)      CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8)
#define FOR_EACH_NORM_COUNT(CASE) CASE(1) CASE(2) CASE(3) CASE(4)
#else
#define FOR_EACH_COUNT(CASE)      CASE(1) CASE(2) CASE(3) CASE(4)
#define FOR_EACH_NORM_COUNT(CASE) CASE(1) CASE(2)
#endif

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

/* How many of `left` targets the next group takes, so that groups are as few and as even as can be. */
ALWAYS_INLINE size_t group_size(size_t left, size_t most) {
    size_t groups = (left + most - 1) / most;
    return (left + groups - 1) / groups;
}

/* Copies `count` numbers of each of `rows` rows into rows of CHUNK, filled up with zeros. */
static float *fill_edge(float *edge, size_t rows, size_t count, const float *from, size_t stride) {
    for (size_t row = 0; row < rows; row++, edge += CHUNK) {
        memcpy(edge, from + row * stride, count * sizeof *from);
        memset(edge + count, 0, (CHUNK - count) * sizeof *edge);
    }
    return edge;
}

ALWAYS_INLINE void add_lanes(double *to, vector values) {
    float copy[PAIR_LANES];
    store(copy, values);
    for (int lane = 0; lane < PAIR_LANES; lane++)
        to[lane] += (double)copy[lane];
}

/* Halves are added to each other, so that the additions do not wait for one another. */
ALWAYS_INLINE double sum_lanes(const double *lanes) {
    double sums[PAIR_LANES];
    memcpy(sums, lanes, sizeof sums);
    for (int half = PAIR_LANES / 2; half > 0; half /= 2) {
        for (int lane = 0; lane < half; lane++)
            sums[lane] += sums[lane + half];
    }
    return sums[0];
}

#include "pair_build_body.h"
#include "pair_check_body.h"
#include "pair_multiply_body.h"
#include "pair_norms_body.h"

const struct pair_kernel PAIR_KERNEL = {
    .name = PAIR_NAME,
    .lanes = PAIR_LANES,
    .operand_bytes = sizeof(operand),
    .round = round_operands,
    .pack = pack,
    .build = build,
    .check = check,
    .multiply = multiply,
    .finish = finish,
};
