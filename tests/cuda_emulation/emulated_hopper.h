/* The emulated bodies of cuda/instructions_hopper.cuh. `line` is the caller's and only serves messages. */
#ifndef CUDA_EMULATION_EMULATED_HOPPER_H
#define CUDA_EMULATION_EMULATED_HOPPER_H

#include <cstdint>

#include "emulated_instructions.h"

namespace emulation {

void transaction_initialise(uint64_t *barrier, unsigned arrivals, int line);
void transaction_initialise_fence();
void transaction_arrive(uint64_t *barrier, unsigned bytes, int line);
void transaction_arrive_at(uint64_t *barrier, unsigned block, int line);
void transaction_wait(uint64_t *barrier, unsigned parity, int line);

/* To the running thread's block, or to all `blocks` of its cluster, a bit each. */
void tensor_load(void *shared, const void *map, int x, int y, uint64_t *barrier, int line);
void tensor_load(void *shared, const void *map, int x, int y, uint64_t *barrier, unsigned blocks, int line);

void cluster_barrier_arrive(int line);
void cluster_barrier_wait(int line);

/* What all four warps of a warpgroup must do in the same order with the same values. */
enum class WarpgroupStep { product, fence, commit, wait, registers };
void warpgroup_step(WarpgroupStep step, unsigned value, int line);

struct ProductArguments {
    uint64_t b;
    unsigned columns;
    bool transposed, accumulate;
    int line;
    float *d;
    const uint32_t *a;
};
void product_issue(ProductArguments arguments);

template <int count> void check_register_count() {
    static_assert(count >= 24 && count <= 256 && count % 8 == 0, "setmaxnreg takes a multiple of 8 from 24 to 256");
}

} /* namespace emulation */

inline void barrier_initialise(uint64_t *barrier, unsigned arrivals, int line = __builtin_LINE()) {
    emulation::transaction_initialise(barrier, arrivals, line);
}
inline void barrier_initialise_fence() {
    emulation::transaction_initialise_fence();
}
inline void barrier_arrive(uint64_t *barrier, int line = __builtin_LINE()) {
    emulation::transaction_arrive(barrier, 0, line);
}
inline void barrier_expect(uint64_t *barrier, unsigned bytes, int line = __builtin_LINE()) {
    emulation::transaction_arrive(barrier, bytes, line);
}
inline void barrier_wait(uint64_t *barrier, unsigned parity, int line = __builtin_LINE()) {
    emulation::transaction_wait(barrier, parity, line);
}

inline void barrier_wait_cluster(uint64_t *barrier, unsigned parity, int line = __builtin_LINE()) {
    emulation::transaction_wait(barrier, parity, line);
}
inline void barrier_arrive_at(uint64_t *barrier, unsigned block, int line = __builtin_LINE()) {
    emulation::transaction_arrive_at(barrier, block, line);
}

inline unsigned cluster_rank() {
    return emulation::current->block;
}
inline void cluster_arrive(int line = __builtin_LINE()) {
    emulation::cluster_barrier_arrive(line);
}
inline void cluster_wait(int line = __builtin_LINE()) {
    emulation::cluster_barrier_wait(line);
}

inline void tensor_prefetch(const void *) {}
inline void tensor_load_2d(void *shared, const void *map, int x, int y, uint64_t *barrier, int line = __builtin_LINE()) {
    emulation::tensor_load(shared, map, x, y, barrier, line);
}

inline void tensor_load_2d_multicast(void *shared, const void *map, int x, int y, uint64_t *barrier, uint16_t blocks, int line = __builtin_LINE()) {
    emulation::tensor_load(shared, map, x, y, barrier, blocks, line);
}

/* Bits 0-13: address / 16; 16-29: distance between blocks of 64 columns / 16 (MN-major alone); 32-45: between groups of 8 rows / 16; 62-63: 1, 128-byte
 * swizzle. */
inline uint64_t matrix_descriptor(const void *shared) {
    return uint64_t{shared_address(shared) >> 4} | uint64_t{1} << 16 | uint64_t{1024 >> 4} << 32 | uint64_t{1} << 62;
}
inline uint64_t matrix_descriptor_transposed(const void *shared, unsigned block_bytes) {
    return uint64_t{shared_address(shared) >> 4} | uint64_t{block_bytes >> 4} << 16 | uint64_t{1024 >> 4} << 32 | uint64_t{1} << 62;
}

inline void products_fence(int line = __builtin_LINE()) {
    emulation::warpgroup_step(emulation::WarpgroupStep::fence, 0, line);
}
inline void products_commit(int line = __builtin_LINE()) {
    emulation::warpgroup_step(emulation::WarpgroupStep::commit, 0, line);
}
template <int pending> void products_wait(int line = __builtin_LINE()) {
    static_assert(pending >= 0 && pending <= 7, "wgmma.wait_group takes 0 to 7");
    emulation::warpgroup_step(emulation::WarpgroupStep::wait, pending, line);
}
template <int count> void products_keep(float (&)[count]) {}

template <int columns> void multiply_warpgroup(float (&d)[columns / 2], const uint32_t (&a)[4], uint64_t b, bool accumulate, int line = __builtin_LINE()) {
    static_assert(columns % 8 == 0 && columns >= 8 && columns <= 256, "wgmma takes a multiple of 8 columns up to 256");
    emulation::product_issue({b, columns, false, accumulate, line, d, a});
}
template <int columns>
void multiply_warpgroup_transposed(float (&d)[columns / 2], const uint32_t (&a)[4], uint64_t b, bool accumulate, int line = __builtin_LINE()) {
    static_assert(columns % 8 == 0 && columns >= 8 && columns <= 256, "wgmma takes a multiple of 8 columns up to 256");
    emulation::product_issue({b, columns, true, accumulate, line, d, a});
}
template <int columns> void start_warpgroup_transposed(float (&d)[columns / 2], const uint32_t (&a)[4], uint64_t b, int line = __builtin_LINE()) {
    multiply_warpgroup_transposed<columns>(d, a, b, false, line);
}

template <int count> void registers_release(int line = __builtin_LINE()) {
    emulation::check_register_count<count>();
    emulation::warpgroup_step(emulation::WarpgroupStep::registers, count, line);
}
template <int count> void registers_claim(int line = __builtin_LINE()) {
    emulation::check_register_count<count>();
    emulation::warpgroup_step(emulation::WarpgroupStep::registers, 1000 + count, line);
}

#endif
