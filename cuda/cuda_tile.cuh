/*
 * The product of one tile, float32, for operands that no library call describes because the batch is ragged:
 *
 *     sum [32, 64] += Σ_k A(row, k) B(k, column), k = first .. end - 1, in this order
 *
 * A group of 128 threads computes it: thread t has rows t / 16 * 4 .. + 3 and columns t % 16 * 4 .. + 3. Slices of 16 of k pass through shared memory, and the
 * next slice is on its way into registers while one is multiplied. `a` and `b` are called as a(row, k) and b(k, column), and give 0 outside of their matrices.
 * If `b_by_depth`, B's neighbours in memory are those of the same column, and threads load it so.
 */
#ifndef CONTEXTURE_CUDA_TILE_CUH
#define CONTEXTURE_CUDA_TILE_CUH

#include "instructions.cuh"

constexpr unsigned TILE_ROWS = 32, TILE_COLUMNS = 64, TILE_DEPTH = 16, TILE_THREADS = 128, TILE_SLICES = 2;

/* Rows of shared memory are 16 bytes longer than a tile, so that the stores of one column do not all meet in one bank. */
struct tile_slice {
    float a[TILE_DEPTH][TILE_ROWS + 4];
    float b[TILE_DEPTH][TILE_COLUMNS + 4];
};

/* A group's own: its slices in shared memory, the thread within it, and the barrier of its threads. A block may have several groups. */
struct tile_group {
    struct tile_slice *slices; /* [TILE_SLICES] */
    unsigned thread;
    int barrier;
};

static __device__ __forceinline__ struct tile_group tile_group_of(struct tile_slice *slices) {
    const unsigned index = threadIdx.x / TILE_THREADS;
    return {slices + index * TILE_SLICES, threadIdx.x % TILE_THREADS, static_cast<int>(index) + 1};
}

static __device__ __forceinline__ void wait_for_group(const struct tile_group &group) {
    named_barrier_wait(group.barrier, TILE_THREADS);
}

/* What a thread carries of a slice. */
struct tile_load {
    float a[TILE_ROWS * TILE_DEPTH / TILE_THREADS], b[TILE_COLUMNS * TILE_DEPTH / TILE_THREADS];
};

template <bool b_by_depth, typename LoadA, typename LoadB>
static __device__ __forceinline__ void load_slice(unsigned thread, unsigned first, unsigned end, LoadA a, LoadB b, struct tile_load &load) {
    const unsigned depth = first + thread % TILE_DEPTH, place = thread / TILE_DEPTH;
#pragma unroll
    for (unsigned k = 0; k < TILE_ROWS * TILE_DEPTH / TILE_THREADS; k++)
        load.a[k] = depth < end ? a(place + k * (TILE_THREADS / TILE_DEPTH), depth) : 0.0f;
#pragma unroll
    for (unsigned k = 0; k < TILE_COLUMNS * TILE_DEPTH / TILE_THREADS; k++) {
        const unsigned row = first + thread / TILE_COLUMNS + k * (TILE_THREADS / TILE_COLUMNS);
        if (b_by_depth)
            load.b[k] = depth < end ? b(depth, place + k * (TILE_THREADS / TILE_DEPTH)) : 0.0f;
        else
            load.b[k] = row < end ? b(row, thread % TILE_COLUMNS) : 0.0f;
    }
}

template <bool b_by_depth> static __device__ __forceinline__ void store_slice(unsigned thread, const struct tile_load &load, struct tile_slice &slice) {
    const unsigned depth = thread % TILE_DEPTH, place = thread / TILE_DEPTH;
#pragma unroll
    for (unsigned k = 0; k < TILE_ROWS * TILE_DEPTH / TILE_THREADS; k++)
        slice.a[depth][place + k * (TILE_THREADS / TILE_DEPTH)] = load.a[k];
#pragma unroll
    for (unsigned k = 0; k < TILE_COLUMNS * TILE_DEPTH / TILE_THREADS; k++) {
        if (b_by_depth)
            slice.b[depth][place + k * (TILE_THREADS / TILE_DEPTH)] = load.b[k];
        else
            slice.b[thread / TILE_COLUMNS + k * (TILE_THREADS / TILE_COLUMNS)][thread % TILE_COLUMNS] = load.b[k];
    }
}

static __device__ __forceinline__ void multiply_slice(const struct tile_slice &slice, unsigned row, unsigned column, float (&sum)[4][4]) {
#pragma unroll
    for (unsigned k = 0; k < TILE_DEPTH; k++) {
        const float4 left = *reinterpret_cast<const float4 *>(&slice.a[k][row]), right = *reinterpret_cast<const float4 *>(&slice.b[k][column]);
        const float lefts[4] = {left.x, left.y, left.z, left.w}, rights[4] = {right.x, right.y, right.z, right.w};
#pragma unroll
        for (int i = 0; i < 4; i++) {
#pragma unroll
            for (int j = 0; j < 4; j++)
                sum[i][j] += lefts[i] * rights[j];
        }
    }
}

/* All threads of the group take part, with the same `first` and `end`. */
template <bool b_by_depth, typename LoadA, typename LoadB>
static __device__ __forceinline__ void tile_product(const struct tile_group &group, unsigned first, unsigned end, LoadA a, LoadB b, float (&sum)[4][4]) {
    const unsigned row = group.thread / 16 * 4, column = group.thread % 16 * 4;
    struct tile_load load;
    if (first >= end)
        return;
    load_slice<b_by_depth>(group.thread, first, end, a, b, load);
    wait_for_group(group); /* for who still reads the slices of an earlier product */
    store_slice<b_by_depth>(group.thread, load, group.slices[0]);
    wait_for_group(group);
    for (unsigned current = 0;; current ^= 1) {
        first += TILE_DEPTH;
        if (first < end)
            load_slice<b_by_depth>(group.thread, first, end, a, b, load);
        multiply_slice(group.slices[current], row, column, sum);
        if (first >= end)
            return;
        store_slice<b_by_depth>(group.thread, load, group.slices[current ^ 1]);
        wait_for_group(group);
    }
}

#endif
