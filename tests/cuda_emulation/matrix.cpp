/* ldmatrix and mma.sync on the whole warp's fragments, by the layouts of cuda/instructions.cuh. */
#include <cstring>

#include "emulated_instructions.h"
#include "half.h"
#include "statistics.h"

namespace emulation {

namespace {

template <typename Arguments> Arguments &of_lane(void **arguments, int lane) {
    return *static_cast<Arguments *>(arguments[lane]);
}

float half_of(uint32_t word, int part) {
    return half_to_float(static_cast<uint16_t>(word >> (16 * part)));
}

/* Eight rows of 16 bytes are read in one go when they lie in different groups of four banks. */
void count_bank_conflict(void **arguments, int matrix) {
    unsigned groups = 0;
    for (int row = 0; row < 8; ++row) {
        groups |= 1u << (reinterpret_cast<uintptr_t>(of_lane<LoadMatrixArguments>(arguments, matrix * 8 + row).address) / 16 % 8);
    }
    ++statistics.matrix_loads;
    statistics.matrix_load_conflicts += groups != 255;
}

} /* namespace */

void combine_load_matrix(void **arguments, unsigned mask) {
    if (mask != ~0u) {
        fail("ldmatrix needs all 32 lanes");
    }
    const LoadMatrixArguments &first = of_lane<LoadMatrixArguments>(arguments, 0);
    for (int matrix = 0; matrix < first.count; ++matrix) {
        count_bank_conflict(arguments, matrix);
        const uint16_t *rows[8];
        for (int row = 0; row < 8; ++row) {
            rows[row] = of_lane<LoadMatrixArguments>(arguments, matrix * 8 + row).row;
        }
        for (int lane = 0; lane < 32; ++lane) {
            int row = lane / 4, column = lane % 4 * 2;
            uint32_t low = first.transpose ? rows[column][row] : rows[row][column];
            uint32_t high = first.transpose ? rows[column + 1][row] : rows[row][column + 1];
            of_lane<LoadMatrixArguments>(arguments, lane).result[matrix] = low | high << 16;
        }
    }
}

void combine_multiply(void **arguments, unsigned mask) {
    if (mask != ~0u) {
        fail("mma needs all 32 lanes");
    }
    float a[16][16], b[16][8];
    for (int lane = 0; lane < 32; ++lane) {
        const MultiplyArguments &from = of_lane<MultiplyArguments>(arguments, lane);
        int group = lane / 4, pair = lane % 4 * 2;
        for (int part = 0; part < 2; ++part) {
            for (int i = 0; i < 4; ++i) {
                a[group + i % 2 * 8][pair + part + i / 2 * 8] = half_of(from.a[i], part);
            }
            for (int i = 0; i < 2; ++i) {
                b[pair + part + i * 8][group] = half_of(from.b[i], part);
            }
        }
    }
    for (int row = 0; row < 16; ++row) {
        float sums[8] = {};
        for (int k = 0; k < 16; ++k) {
            for (int column = 0; column < 8; ++column) {
                sums[column] += a[row][k] * b[k][column];
            }
        }
        for (int column = 0; column < 8; ++column) {
            of_lane<MultiplyArguments>(arguments, row % 8 * 4 + column / 2).d[row / 8 * 2 + column % 2] += sums[column];
        }
    }
}

} /* namespace emulation */
