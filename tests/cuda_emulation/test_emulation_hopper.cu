/*
 * One small kernel per instruction of Hopper, compared with a plain definition, as test_emulation_instructions.cu does for the others. The same program
 * compiled by nvcc for sm_90a and run on a GPU settles whether the emulation is right.
 */
#include "hopper_cases.cuh"

namespace {

#ifdef HOPPER
/* Rows 16 w + group and 8 more, columns k + pair and 8 more, of a row-major matrix with 64 rows. */
__device__ void load_left(uint32_t (&a)[4], const __half *matrix, unsigned pitch, unsigned k) {
    const unsigned row = threadIdx.x / 32 % 4 * 16 + threadIdx.x % 32 / 4, column = k + threadIdx.x % 4 * 2;
    for (unsigned i = 0; i < 4; ++i) {
        a[i] = *reinterpret_cast<const uint32_t *>(matrix + (row + i % 2 * 8) * pitch + column + i / 2 * 8);
    }
}

template <int columns> __device__ void store_sums(float *to, const float (&d)[columns / 2]) {
    const unsigned row = threadIdx.x / 32 % 4 * 16 + threadIdx.x % 32 / 4, column = threadIdx.x % 4 * 2;
    for (unsigned i = 0; i < columns / 2; ++i) {
        to[(row + i / 2 % 2 * 8) * columns + i / 4 * 8 + column + i % 2] = d[i];
    }
}
#endif

/* --- transaction barriers --- */

/* Two warps hand a number back and forth: everything one wrote before it arrived is seen by the other after it waited. */
__global__ void barrier_kernel(int *result) {
#ifdef HOPPER
    SHARED_ARRAY(uint64_t, barriers, [2]);
    SHARED_ARRAY(int, slot, [32]);
    const unsigned lane = threadIdx.x % 32;
    if (threadIdx.x == 0) {
        initialise(barriers, 2, 32);
    }
    __syncthreads();
    int sum = 0;
    for (unsigned round = 0; round < 5; ++round) {
        if (threadIdx.x < 32) {
            barrier_wait(&barriers[1], (round + 1) % 2); /* at first nothing is to be waited for: the phase before the first */
            slot[lane] = static_cast<int>(round * 100 + lane);
            barrier_arrive(&barriers[0]);
        } else {
            barrier_wait(&barriers[0], round % 2);
            sum += slot[31 - lane];
            barrier_arrive(&barriers[1]);
        }
    }
    if (threadIdx.x >= 32) {
        result[lane] = sum;
    }
#endif
}

void test_barriers() {
    Array<int> result(32);
    must(launch_kernel(barrier_kernel, dim3(1), dim3(64), 0, nullptr, result.device), "barrier_kernel");
    result.get();
    bool good = true;
    for (int lane = 0; lane < 32; ++lane) {
        good &= result.host[static_cast<size_t>(lane)] == 1000 + 5 * (31 - lane);
    }
    expect(good, "mbarriers: arrivals, phases, parities");
}

/* --- the copy engine --- */

/* What arrives, as it lies in shared memory; the expectation may come after the bytes. */
__global__ void tensor_load_kernel(const __grid_constant__ CUtensorMap map, int x, int y, unsigned halves, bool expect_late, __half *result) {
#ifdef HOPPER
    DYNAMIC_SHARED(shared, 1024);
    SHARED_ARRAY(uint64_t, barriers, [1]);
    __half *tile = reinterpret_cast<__half *>(shared);
    if (threadIdx.x == 0) {
        tensor_prefetch(&map);
        initialise(barriers, 1, 1);
        if (!expect_late) {
            barrier_expect(&barriers[0], halves * 2);
        }
        tensor_load_2d(tile, &map, x, y, &barriers[0]);
        if (expect_late) {
            barrier_expect(&barriers[0], halves * 2);
        }
    }
    __syncthreads();
    barrier_wait(&barriers[0], 0);
    for (unsigned i = threadIdx.x; i < halves; i += blockDim.x) {
        result[i] = tile[i];
    }
#endif
}

void test_tensor_load(const char *what, const Matrix &matrix, unsigned columns, unsigned rows, bool swizzled, unsigned x, unsigned y) {
    const unsigned halves = columns * rows;
    Array<__half> result(halves);
    must(launch_kernel(tensor_load_kernel, dim3(1), dim3(64), halves * 2, nullptr, box_of(matrix, columns, rows, swizzled), static_cast<int>(x),
                       static_cast<int>(y), halves, swizzled, result.device),
         "tensor_load_kernel");
    result.get();
    bool good = true;
    for (unsigned row = 0; row < rows; ++row) {
        for (unsigned column = 0; column < columns; ++column) {
            const unsigned place = swizzled ? (column / 8 ^ row % 8) * 8 + column % 8 : column;
            good &= __half2float(result.host[row * columns + place]) == matrix.at(y + row, x + column);
        }
    }
    expect(good, what);
}

void test_tensor_loads() {
    const Matrix matrix(100, 150, 152);
    test_tensor_load("TMA: a box in 128-byte swizzle", matrix, 64, 32, true, 64, 17);
    test_tensor_load("TMA: a box in 128-byte swizzle beyond the last row and column", matrix, 64, 32, true, 101, 90);
    test_tensor_load("TMA: a box in 128-byte swizzle outside the matrix", matrix, 64, 8, true, 0, 100);
    test_tensor_load("TMA: a box in plain rows", matrix, 40, 20, false, 33, 5);
    test_tensor_load("TMA: a box in plain rows beyond the last row and column", matrix, 40, 20, false, 129, 99);
}

/* --- products --- */

[[maybe_unused]] constexpr unsigned depth = 64, step = 16;

/* d = a b, then d += a b again where asked: b K-major, its rows are columns of the product. */
template <int columns> __global__ void product_kernel(const __half *a, const __grid_constant__ CUtensorMap b, bool twice, float *result) {
#ifdef HOPPER
    DYNAMIC_SHARED(tile, 1024);
    SHARED_ARRAY(uint64_t, barriers, [1]);
    if (threadIdx.x == 0) {
        initialise(barriers, 1, 1);
        barrier_expect(&barriers[0], columns * depth * 2);
        tensor_load_2d(tile, &b, 0, 0, &barriers[0]);
    }
    uint32_t left[depth / step][4];
    for (unsigned k = 0; k < depth; k += step) {
        load_left(left[k / step], a, depth, k);
    }
    float d[columns / 2];
    for (unsigned i = 0; i < columns / 2; ++i) {
        d[i] = 1e30f;
    }
    __syncthreads();
    barrier_wait(&barriers[0], 0);
    const uint64_t descriptor = matrix_descriptor(tile);
    for (unsigned round = 0; round < (twice ? 2u : 1u); ++round) {
        products_fence();
#pragma unroll
        for (unsigned k = 0; k < depth / step; ++k) {
            multiply_warpgroup<columns>(d, left[k], descriptor + 2 * k, round + k > 0);
        }
    }
    products_commit();
    products_wait<0>();
    products_keep(d);
    store_sums<columns>(result, d);
#endif
}

/* The same with b MN-major: boxes of 64 columns beside each other. */
template <int columns> __global__ void transposed_kernel(const __half *a, const __grid_constant__ CUtensorMap b, bool twice, float *result) {
#ifdef HOPPER
    DYNAMIC_SHARED(tile, 1024);
    SHARED_ARRAY(uint64_t, barriers, [1]);
    constexpr unsigned block_bytes = depth * 128;
    if (threadIdx.x == 0) {
        initialise(barriers, 1, 1);
        barrier_expect(&barriers[0], columns * depth * 2);
        for (int column = 0; column < columns; column += 64) {
            tensor_load_2d(tile + column / 64 * block_bytes, &b, column, 0, &barriers[0]);
        }
    }
    uint32_t left[depth / step][4];
    for (unsigned k = 0; k < depth; k += step) {
        load_left(left[k / step], a, depth, k);
    }
    float d[columns / 2];
    for (unsigned i = 0; i < columns / 2; ++i) {
        d[i] = 1e30f;
    }
    __syncthreads();
    barrier_wait(&barriers[0], 0);
    for (unsigned round = 0; round < (twice ? 2u : 1u); ++round) {
        products_fence();
#pragma unroll
        for (unsigned k = 0; k < depth / step; ++k) {
            multiply_warpgroup_transposed<columns>(d, left[k], matrix_descriptor_transposed(tile + k * step * 128, block_bytes), round + k > 0);
        }
    }
    products_commit();
    products_wait<0>();
    products_keep(d);
    store_sums<columns>(result, d);
#endif
}

float plain_sum(const Matrix &a, const Matrix &b, bool transposed, unsigned row, unsigned column, unsigned from, unsigned to) {
    float sum = 0;
    for (unsigned k = from; k < to; ++k) {
        sum += a.at(row, k) * (transposed ? b.at(k, column) : b.at(column, k));
    }
    return sum;
}

template <int columns> void test_product(bool transposed, bool twice) {
    const Matrix a(64, depth, depth), b(transposed ? depth : columns, transposed ? columns : depth, transposed ? columns : depth);
    Array<float> result(64 * columns);
    const CUtensorMap map = box_of(b, 64, transposed ? depth : columns, true);
    must(launch_kernel(transposed ? transposed_kernel<columns> : product_kernel<columns>, dim3(1), dim3(128), columns * depth * 2, nullptr, a.values.device,
                       map, twice, result.device),
         "product_kernel");
    result.get();
    bool good = true;
    for (unsigned row = 0; row < 64; ++row) {
        for (unsigned column = 0; column < columns; ++column) {
            const float sum = plain_sum(a, b, transposed, row, column, 0, depth);
            good &= result.host[row * columns + column] == (twice ? 2 * sum : sum);
        }
    }
    char what[80];
    snprintf(what, sizeof what, "wgmma m64n%dk16, right operand %s%s", columns, transposed ? "MN-major" : "K-major", twice ? ", added up twice" : "");
    expect(good, what);
}

void test_products() {
    for (int i = 0; i < 4; ++i) {
        test_product<64>(i % 2, i / 2);
        test_product<128>(i % 2, i / 2);
        test_product<192>(i % 2, i / 2);
        test_product<256>(i % 2, i / 2);
    }
}

/* Two groups in flight, each with sums of its own; the first are stored while the second may be under way. */
__global__ void groups_kernel(const __half *a, const __grid_constant__ CUtensorMap b, float *result) {
#ifdef HOPPER
    DYNAMIC_SHARED(tile, 1024);
    SHARED_ARRAY(uint64_t, barriers, [1]);
    if (threadIdx.x == 0) {
        initialise(barriers, 1, 1);
        barrier_expect(&barriers[0], 64 * depth * 2);
        tensor_load_2d(tile, &b, 0, 0, &barriers[0]);
    }
    uint32_t left[depth / step][4];
    for (unsigned k = 0; k < depth; k += step) {
        load_left(left[k / step], a, depth, k);
    }
    float first[32], second[32];
    __syncthreads();
    barrier_wait(&barriers[0], 0);
    const uint64_t descriptor = matrix_descriptor(tile);
    products_fence();
    multiply_warpgroup<64>(first, left[0], descriptor, false);
    multiply_warpgroup<64>(first, left[1], descriptor + 2, true);
    products_commit();
    multiply_warpgroup<64>(second, left[2], descriptor + 4, false);
    multiply_warpgroup<64>(second, left[3], descriptor + 6, true);
    products_commit();
    products_wait<1>();
    products_keep(first);
    store_sums<64>(result, first);
    products_wait<0>();
    products_keep(second);
    store_sums<64>(result + 64 * 64, second);
#endif
}

void test_groups() {
    const Matrix a(64, depth, depth), b(64, depth, depth);
    Array<float> result(2 * 64 * 64);
    must(launch_kernel(groups_kernel, dim3(1), dim3(128), 64 * depth * 2, nullptr, a.values.device, box_of(b, 64, 64, true), result.device), "groups_kernel");
    result.get();
    bool good = true;
    for (unsigned part = 0; part < 2; ++part) {
        for (unsigned row = 0; row < 64; ++row) {
            for (unsigned column = 0; column < 64; ++column) {
                good &= result.host[(part * 64 + row) * 64 + column] == plain_sum(a, b, false, row, column, part * 32, part * 32 + 32);
            }
        }
    }
    expect(good, "wgmma: two groups in flight");
}

/* --- all of it: one warp fetches, two warpgroups multiply, a ring of tiles between them --- */

[[maybe_unused]] constexpr unsigned stages = 3, tile_bytes = 64 * 128;

__global__ void __launch_bounds__(384, 1) ring_kernel(const __half *a, const __grid_constant__ CUtensorMap b, unsigned tiles, float *result) {
#ifdef HOPPER
    DYNAMIC_SHARED(ring, 1024);
    SHARED_ARRAY(uint64_t, full, [stages]);
    SHARED_ARRAY(uint64_t, empty, [stages]);
    if (threadIdx.x == 0) {
        initialise(full, stages, 1);
        initialise(empty, stages, 2);
    }
    __syncthreads();
    if (threadIdx.x < 128) {
        registers_release<40>();
        if (threadIdx.x == 0) {
            for (unsigned tile = 0; tile < tiles; ++tile) {
                barrier_wait(&empty[tile % stages], tile / stages % 2 ^ 1);
                barrier_expect(&full[tile % stages], tile_bytes);
                tensor_load_2d(ring + tile % stages * tile_bytes, &b, static_cast<int>(tile * depth), 0, &full[tile % stages]);
            }
        }
        return;
    }
    registers_claim<232>();
    const unsigned consumer = threadIdx.x / 128 - 1;
    const __half *rows = a + consumer * 64 * tiles * depth;
    float d[32];
    for (unsigned i = 0; i < 32; ++i) {
        d[i] = 0.0f;
    }
    for (unsigned tile = 0; tile < tiles; ++tile) {
        uint32_t left[depth / step][4];
        for (unsigned k = 0; k < depth; k += step) {
            load_left(left[k / step], rows, tiles * depth, tile * depth + k);
        }
        barrier_wait(&full[tile % stages], tile / stages % 2);
        const uint64_t descriptor = matrix_descriptor(ring + tile % stages * tile_bytes);
        products_fence();
#pragma unroll
        for (unsigned k = 0; k < depth / step; ++k) {
            multiply_warpgroup<64>(d, left[k], descriptor + 2 * k, true);
        }
        products_commit();
        products_wait<0>();
        products_keep(d);
        named_barrier_wait(static_cast<int>(1 + consumer), 128); /* all four warps have done with the tile */
        if (threadIdx.x % 128 == 0) {
            barrier_arrive(&empty[tile % stages]);
        }
    }
    store_sums<64>(result + consumer * 64 * 64, d);
#endif
}

void test_ring() {
    constexpr unsigned tiles = 8;
    const Matrix a(128, tiles * depth, tiles * depth), b(64, tiles * depth, tiles * depth);
    Array<float> result(128 * 64);
    must(launch_kernel(ring_kernel, dim3(1), dim3(384), stages * tile_bytes, nullptr, a.values.device, box_of(b, 64, 64, true), tiles, result.device),
         "ring_kernel");
    result.get();
    bool good = true;
    for (unsigned row = 0; row < 128; ++row) {
        for (unsigned column = 0; column < 64; ++column) {
            good &= result.host[row * 64 + column] == plain_sum(a, b, false, row, column, 0, tiles * depth);
        }
    }
    expect(good, "a ring of tiles, one warp that fetches, two warpgroups that multiply, setmaxnreg");
}

void run_tests() {
    test_barriers();
    test_tensor_loads();
    test_products();
    test_groups();
    test_ring();
}

} /* namespace */

int main() {
    return run_device_cases(run_tests, 90);
}
