/*
 * The product of one tile, float32, for operands that no library call describes because the batch is ragged:
 *
 *     sum [32, 64] = Σ_k A(row, k) B(k, column), k = 0 .. depth - 1, in this order
 *
 * A block of 128 threads computes it: thread t has rows t / 16 * 4 .. + 3 and columns t % 16 * 4 .. + 3, and slices of 16 of k pass through shared memory.
 * `a` and `b` are called as a(row, k) and b(k, column), and give 0 outside of their matrices. If `b_by_depth`, B's neighbours in memory are those of the
 * same column, and threads load it so.
 */
#ifndef CONTEXTURE_CUDA_TILE_CUH
#define CONTEXTURE_CUDA_TILE_CUH

constexpr unsigned TILE_ROWS = 32, TILE_COLUMNS = 64, TILE_DEPTH = 16, TILE_THREADS = 128;

/* Rows of shared memory are 16 bytes longer than a tile, so that the stores of one column do not all meet in one bank. */
struct tile_operands {
    float a[TILE_DEPTH][TILE_ROWS + 4];
    float b[TILE_DEPTH][TILE_COLUMNS + 4];
};

template <bool b_by_depth, typename LoadA, typename LoadB>
static __device__ __forceinline__ void load_operands(struct tile_operands &shared, unsigned first, LoadA a, LoadB b) {
    const unsigned depth = threadIdx.x % TILE_DEPTH, place = threadIdx.x / TILE_DEPTH;
#pragma unroll
    for (unsigned row = 0; row < TILE_ROWS; row += TILE_THREADS / TILE_DEPTH)
        shared.a[depth][place + row] = a(place + row, first + depth);
    if (b_by_depth) {
#pragma unroll
        for (unsigned column = 0; column < TILE_COLUMNS; column += TILE_THREADS / TILE_DEPTH)
            shared.b[depth][place + column] = b(first + depth, place + column);
    } else {
#pragma unroll
        for (unsigned k = 0; k < TILE_DEPTH; k += TILE_THREADS / TILE_COLUMNS)
            shared.b[k + threadIdx.x / TILE_COLUMNS][threadIdx.x % TILE_COLUMNS] = b(first + k + threadIdx.x / TILE_COLUMNS, threadIdx.x % TILE_COLUMNS);
    }
}

template <bool b_by_depth, typename LoadA, typename LoadB>
static __device__ __forceinline__ void tile_product(struct tile_operands &shared, unsigned depth, LoadA a, LoadB b, float (&sum)[4][4]) {
    const unsigned row = threadIdx.x / 16 * 4, column = threadIdx.x % 16 * 4;
#pragma unroll
    for (int i = 0; i < 4; i++) {
#pragma unroll
        for (int j = 0; j < 4; j++)
            sum[i][j] = 0.0f;
    }
    for (unsigned first = 0; first < depth; first += TILE_DEPTH) {
        load_operands<b_by_depth>(shared, first, a, b);
        __syncthreads();
#pragma unroll
        for (unsigned k = 0; k < TILE_DEPTH; k++) {
            const float4 left = *reinterpret_cast<const float4 *>(&shared.a[k][row]), right = *reinterpret_cast<const float4 *>(&shared.b[k][column]);
            const float lefts[4] = {left.x, left.y, left.z, left.w}, rights[4] = {right.x, right.y, right.z, right.w};
#pragma unroll
            for (int i = 0; i < 4; i++) {
#pragma unroll
                for (int j = 0; j < 4; j++)
                    sum[i][j] += lefts[i] * rights[j];
            }
        }
        __syncthreads();
    }
}

#endif
