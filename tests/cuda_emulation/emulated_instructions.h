/* The emulated bodies of cuda/instructions.cuh. `line` is the caller's and only serves messages. */
#ifndef CUDA_EMULATION_EMULATED_INSTRUCTIONS_H
#define CUDA_EMULATION_EMULATED_INSTRUCTIONS_H

#include <cstdint>

#include "device_threads.h"

namespace emulation {

/* Runs at once or as late as the wait allows, by the seed. source NULL: zeros. */
void copy_async(void *shared, const void *global, size_t bytes, int line);
void copy_async_commit();
void copy_async_wait(unsigned pending_groups);

struct LoadMatrixArguments {
    uint16_t row[8];
    uint32_t *result;
    const void *address;
    int count;
    bool transpose;
};
void combine_load_matrix(void **arguments, unsigned mask);

struct MultiplyArguments {
    const uint32_t *a, *b;
    float *d;
};
void combine_multiply(void **arguments, unsigned mask);

template <int count> void load_matrix(uint32_t *result, const void *row, bool transpose, int line) {
    LoadMatrixArguments arguments{{}, result, row, count, transpose};
    if (current->lane < 8 * count) {
        shared_offset(row, 16);
        if (reinterpret_cast<uintptr_t>(row) % 16) {
            fail("line %d: ldmatrix: the row's address is not 16-byte aligned", line);
        }
        /* Read by the lane itself, so that a missing barrier shows as a race of this thread. */
        const uint16_t *values = static_cast<const uint16_t *>(row);
        for (int i = 0; i < 8; ++i) {
            arguments.row[i] = values[i];
        }
    }
    warp_collective(Collective::load_matrix, ~0u, &arguments, combine_load_matrix, line);
}

} /* namespace emulation */

inline uint32_t shared_address(const void *pointer) {
    return emulation::shared_offset(pointer, 1);
}

inline void copy_async_16(void *shared, const void *global, bool valid = true, int line = __builtin_LINE()) {
    emulation::copy_async(shared, valid ? global : nullptr, 16, line);
}
inline void copy_async_commit() {
    emulation::copy_async_commit();
}
template <int pending> void copy_async_wait() {
    emulation::copy_async_wait(pending);
}

template <bool transpose = false> void load_matrix_x4(uint32_t (&result)[4], const void *row, int line = __builtin_LINE()) {
    emulation::load_matrix<4>(result, row, transpose, line);
}
template <bool transpose = false> void load_matrix_x2(uint32_t (&result)[2], const void *row, int line = __builtin_LINE()) {
    emulation::load_matrix<2>(result, row, transpose, line);
}

inline void multiply_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], int line = __builtin_LINE()) {
    emulation::MultiplyArguments arguments{a, b, d};
    emulation::warp_collective(emulation::Collective::multiply, ~0u, &arguments, emulation::combine_multiply, line);
}

inline void named_barrier_wait(int id, int threads, int line = __builtin_LINE()) {
    emulation::block_barrier(static_cast<unsigned>(id), static_cast<unsigned>(threads), true, line);
}
inline void named_barrier_arrive(int id, int threads, int line = __builtin_LINE()) {
    emulation::block_barrier(static_cast<unsigned>(id), static_cast<unsigned>(threads), false, line);
}

#endif
