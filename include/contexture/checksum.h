/*
 * The checksum of the pair product: every row of oc = z W2c satisfies oc·s = z·(W2c s) for any s. W2c s is computed once, on the host; z·(W2c s) where z is
 * built, and oc·s where the norms are taken, so what lies between is checked row by row: z and W2c in memory, the product, and its result in memory.
 *
 * s has only signs: all errors of a row count alike, and errors in two columns cancel if they are equal and those two have the right signs, by chance.
 * Both sides differ by rounding, in terms of 2^-24 ‖z‖ ‖W2c‖ (Frobenius): each of f additions rounds a partial sum, which makes less than 1 if these wander as
 * random sums do and up to √f if they grow steadily; tensor cores, which cut instead of rounding, about ten times as much.
 */
#ifndef CONTEXTURE_CHECKSUM_H
#define CONTEXTURE_CHECKSUM_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include "contexture/attributes.h"

/* Signs of eight neighbouring columns are always + - - + - + + -, all turned or not: kernels need no table for them. */
enum { CX_CHECK_COLUMNS = 8, CX_CHECK_PATTERN = 0x69 };

/* 1 if the columns 8 group .. 8 group + 7 are turned: the highest bit of a multiplicative hash. */
#define CX_CHECK_TURN(group) ((((uint32_t)(group) + 1) * 2654435769u) >> 31)

static inline float cx_check_sign(size_t column) {
    const unsigned minus = ((CX_CHECK_PATTERN >> (column % CX_CHECK_COLUMNS)) & 1u) ^ 1u;
    return (minus ^ CX_CHECK_TURN(column / CX_CHECK_COLUMNS)) != 0 ? -1.0f : 1.0f;
}

/*
 * |found - expected| of a row over what rounding allows, of size = ‖z‖ ‖W2c‖. Where the row is so large that float32 overflows, the maps tell, and nothing is
 * said here; where it is so small that float32 underflows, neither. Else a sum that is no number is as wrong as can be.
 */
static inline CX_DEVICE float cx_check_excess(double found, double expected, double size, size_t depth) {
    const double allowed = 0x1p-24 * (32.0 + 4.0 * sqrt((double)depth)) * size + 0x1p-120, difference = fabs(found - expected);
    if (!(size < 0x1p100))
        return 0.0f;
    return difference < 0x1p100 * allowed ? (float)(difference / allowed) : 0x1p100f;
}

#endif
