/* What a kernel's code calls that makes its fibre wait for others, and shared memory. Included by forced.h. */
#ifndef CUDA_EMULATION_DEVICE_THREADS_H
#define CUDA_EMULATION_DEVICE_THREADS_H

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include <vector_types.h>

namespace emulation {

struct Indices {
    unsigned linear, lane; /* in the block, in the warp */
    unsigned block, warp;  /* in the cluster, whose blocks' warps are counted on */
};
extern Indices *current; /* of the CUDA thread that runs now */

/* A misuse: says what, where, and who waits for what; the process ends with status 3. */
[[noreturn]] void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Barrier 0 with thread count 0 is the whole block's. */
void block_barrier(unsigned id, unsigned thread_count, bool wait, int line);
void yield_thread();

/* Every lane of the mask brings a pointer to its own arguments; the last one to arrive runs `combine`, which writes the
   results of all lanes. arguments[lane] is meaningful for the lanes of the mask. */
enum class Collective { sync_warp, shuffle, vote, load_matrix, multiply, product, warpgroup };
using Combine = void (*)(void **arguments, unsigned mask);
void warp_collective(Collective kind, unsigned mask, void *argument, Combine combine, int line);

struct Exchange {
    uint64_t value, result;
    unsigned source;
};
void combine_shuffle(void **arguments, unsigned mask);
void combine_vote(void **arguments, unsigned mask);

/* An arena of its own for each block: filled with 0xff (NaN), with red zones between the arrays. */
void *shared_array(const void *key, size_t bytes, size_t alignment);
void *dynamic_shared(size_t alignment);
unsigned shared_offset(const void *pointer, size_t bytes); /* the 32-bit shared address, checked */

template <typename T> T shuffle_from(unsigned mask, T value, unsigned source, int line) {
    static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>, "shuffles move 4 or 8 bytes");
    Exchange exchange{0, 0, source};
    memcpy(&exchange.value, &value, sizeof value);
    warp_collective(Collective::shuffle, mask, &exchange, combine_shuffle, line);
    memcpy(&value, &exchange.result, sizeof value);
    return value;
}

} /* namespace emulation */

/* The scheduler sets threadIdx at every switch. */
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
constexpr int warpSize = 32;

inline void __syncthreads(int line = __builtin_LINE()) {
    emulation::block_barrier(0, 0, true, line);
}
inline void __syncwarp(unsigned mask = ~0u, int line = __builtin_LINE()) {
    emulation::warp_collective(emulation::Collective::sync_warp, mask, nullptr, nullptr, line);
}

template <typename T> T __shfl_sync(unsigned mask, T value, int source, int width = 32, int line = __builtin_LINE()) {
    unsigned lane = emulation::current->lane, group = static_cast<unsigned>(width);
    return emulation::shuffle_from(mask, value, (lane & ~(group - 1)) | (static_cast<unsigned>(source) & (group - 1)), line);
}
template <typename T> T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, int line = __builtin_LINE()) {
    unsigned lane = emulation::current->lane, group = static_cast<unsigned>(width), source = lane ^ static_cast<unsigned>(bits);
    return emulation::shuffle_from(mask, value, source / group > lane / group ? lane : source, line);
}
template <typename T> T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, int line = __builtin_LINE()) {
    unsigned lane = emulation::current->lane, group = static_cast<unsigned>(width);
    return emulation::shuffle_from(mask, value, lane % group < delta ? lane : lane - delta, line);
}
template <typename T> T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, int line = __builtin_LINE()) {
    unsigned lane = emulation::current->lane, group = static_cast<unsigned>(width);
    return emulation::shuffle_from(mask, value, lane % group + delta >= group ? lane : lane + delta, line);
}
inline unsigned __ballot_sync(unsigned mask, int predicate, int line = __builtin_LINE()) {
    emulation::Exchange exchange{predicate != 0, 0, 0};
    emulation::warp_collective(emulation::Collective::vote, mask, &exchange, emulation::combine_vote, line);
    return static_cast<unsigned>(exchange.result);
}
inline int __any_sync(unsigned mask, int predicate, int line = __builtin_LINE()) {
    return __ballot_sync(mask, predicate, line) != 0;
}
inline int __all_sync(unsigned mask, int predicate, int line = __builtin_LINE()) {
    return __ballot_sync(mask, !predicate, line) == 0;
}

inline void __nanosleep(unsigned) {
    emulation::yield_thread();
}

#endif
