/*
 * One small kernel per device instruction, compared with a plain definition. The same program compiled by nvcc and run on a
 * GPU settles whether the emulation is right; the exit status is 0 when all agree.
 */
#include <cmath>

#include "device_cases.cuh"
#include "instructions.cuh"

namespace {

__global__ void shuffle_kernel(int *result) {
    int lane = static_cast<int>(threadIdx.x % 32), value = lane * 10;
    int *mine = result + threadIdx.x * 6;
    mine[0] = __shfl_sync(0xffffffffu, value, 5);
    mine[1] = __shfl_xor_sync(0xffffffffu, value, 16);
    mine[2] = __shfl_up_sync(0xffffffffu, value, 3);
    mine[3] = __shfl_down_sync(0xffffffffu, value, 3);
    mine[4] = __shfl_sync(0xffffffffu, value, 9, 8);
    mine[5] = __shfl_xor_sync(0xffffffffu, value, 4, 8);
}

void test_shuffles() {
    Array<int> result(64 * 6);
    must(launch_kernel(shuffle_kernel, dim3(1), dim3(64), 0, nullptr, result.device), "shuffle_kernel");
    result.get();
    bool good = true;
    for (int thread = 0; thread < 64; ++thread) {
        int lane = thread % 32;
        int expected[6] = {
            50, (lane ^ 16) * 10, (lane < 3 ? lane : lane - 3) * 10, (lane > 28 ? lane : lane + 3) * 10, (lane / 8 * 8 + 1) * 10, (lane ^ 4) * 10};
        good &= memcmp(&result.host[static_cast<size_t>(thread) * 6], expected, sizeof expected) == 0;
    }
    expect(good, "shuffles by index, xor, up, down, and within 8 lanes");
}

__global__ void vote_kernel(unsigned *result) {
    unsigned lane = threadIdx.x;
    unsigned ballot = __ballot_sync(0xffffffffu, lane % 3 == 0);
    unsigned any = __any_sync(0xffffffffu, lane == 7) != 0, all = __all_sync(0xffffffffu, lane < 31) != 0;
    unsigned half = 0;
    if (lane < 16) {
        half = __ballot_sync(0xffffu, lane % 2);
    }
    if (lane == 0) {
        result[0] = ballot;
        result[1] = any;
        result[2] = all;
        result[3] = half;
    }
}

void test_votes() {
    Array<unsigned> result(4);
    must(launch_kernel(vote_kernel, dim3(1), dim3(32), 0, nullptr, result.device), "vote_kernel");
    result.get();
    expect(result.host[0] == 0x49249249u && result.host[1] == 1 && result.host[2] == 0 && result.host[3] == 0xaaaau, "ballot, any, all, ballot of half a warp");
}

__global__ void atomic_kernel(float *sums, int *largest, double *precise) {
    atomicAdd(&sums[threadIdx.x % 2], 1.0f);
    atomicMax(largest, static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x));
    atomicAdd(precise, 0.5);
}

void test_atomics() {
    Array<float> sums(2);
    Array<int> largest(1);
    Array<double> precise(1);
    sums.host = {0, 10};
    largest.host = {-1};
    precise.host = {0};
    sums.put();
    largest.put();
    precise.put();
    must(launch_kernel(atomic_kernel, dim3(3), dim3(64), 0, nullptr, sums.device, largest.device, precise.device), "atomic_kernel");
    sums.get();
    largest.get();
    precise.get();
    expect(sums.host[0] == 96 && sums.host[1] == 106 && largest.host[0] == 191 && precise.host[0] == 96, "atomics of float, int and double");
}

/* 32 rows of 8 values; value = 16 * row + column. */
template <bool transpose> __global__ void load_matrix_kernel(uint32_t *four, uint32_t *two) {
    SHARED_ARRAY(uint4, rows, [32]);
    uint32_t base = threadIdx.x * 16;
    rows[threadIdx.x] = make_uint4(base | (base + 1) << 16, (base + 2) | (base + 3) << 16, (base + 4) | (base + 5) << 16, (base + 6) | (base + 7) << 16);
    __syncwarp();
    uint32_t registers[4], pair[2];
    load_matrix_x4<transpose>(registers, &rows[threadIdx.x]);
    load_matrix_x2<transpose>(pair, &rows[threadIdx.x % 16 + 8]);
    for (unsigned i = 0; i < 4; ++i) {
        four[threadIdx.x * 4 + i] = registers[i];
    }
    for (unsigned i = 0; i < 2; ++i) {
        two[threadIdx.x * 2 + i] = pair[i];
    }
}

unsigned matrix_pair(unsigned first_row, unsigned matrix, unsigned lane, bool transpose) {
    unsigned along = lane / 4, across = lane % 4 * 2;
    unsigned low = transpose ? 16 * (across) + along : 16 * along + across, high = transpose ? low + 16 : low + 1;
    unsigned base = 16 * (first_row + matrix * 8);
    return (low + base) | (high + base) << 16;
}

template <bool transpose> void test_load_matrix(const char *what) {
    Array<uint32_t> four(128), two(64);
    must(launch_kernel(load_matrix_kernel<transpose>, dim3(1), dim3(32), 0, nullptr, four.device, two.device), "load_matrix_kernel");
    four.get();
    two.get();
    bool good = true;
    for (unsigned lane = 0; lane < 32; ++lane) {
        for (unsigned i = 0; i < 4; ++i) {
            good &= four.host[lane * 4 + i] == matrix_pair(0, i, lane, transpose);
        }
        for (unsigned i = 0; i < 2; ++i) {
            good &= two.host[lane * 2 + i] == matrix_pair(8, i, lane, transpose);
        }
    }
    expect(good, what);
}

/* a [16, 16] row-major and b [8, 16], its rows the columns of the right operand; d += a b. */
__global__ void multiply_kernel(const __half *a, const __half *b, float *d) {
    unsigned group = threadIdx.x / 4, pair = threadIdx.x % 4 * 2;
    auto two = [](const __half *values) { return *reinterpret_cast<const uint32_t *>(values); };
    uint32_t left[4] = {two(a + group * 16 + pair), two(a + (group + 8) * 16 + pair), two(a + group * 16 + pair + 8), two(a + (group + 8) * 16 + pair + 8)};
    uint32_t right[2] = {two(b + group * 16 + pair), two(b + group * 16 + pair + 8)};
    float *rows[2] = {d + group * 8 + pair, d + (group + 8) * 8 + pair};
    float sums[4] = {rows[0][0], rows[0][1], rows[1][0], rows[1][1]};
    multiply_m16n8k16(sums, left, right);
    for (int i = 0; i < 4; ++i) {
        rows[i / 2][i % 2] = sums[i];
    }
}

void test_multiply() {
    Array<__half> a(256), b(128);
    Array<float> d(128);
    float left[256], right[128], expected[128];
    for (int i = 0; i < 256; ++i) {
        left[i] = static_cast<float>(i * 37 % 101 - 50) / 8;
        a.host[static_cast<size_t>(i)] = __float2half(left[i]);
    }
    for (int i = 0; i < 128; ++i) {
        right[i] = static_cast<float>(i * 53 % 97 - 48) / 4;
        b.host[static_cast<size_t>(i)] = __float2half(right[i]);
        d.host[static_cast<size_t>(i)] = expected[i] = static_cast<float>(i);
    }
    for (int row = 0; row < 16; ++row) {
        for (int column = 0; column < 8; ++column) {
            for (int k = 0; k < 16; ++k) {
                expected[row * 8 + column] += left[row * 16 + k] * right[column * 16 + k]; /* exact: multiples of 1/32 below 2^24 */
            }
        }
    }
    a.put();
    b.put();
    d.put();
    must(launch_kernel(multiply_kernel, dim3(1), dim3(32), 0, nullptr, a.device, b.device, d.device), "multiply_kernel");
    d.get();
    expect(memcmp(d.host.data(), expected, sizeof expected) == 0, "mma.sync m16n8k16, half operands, exact sums");
}

/* Two buffers, as a pipeline uses them; every third piece is filled with zeros. */
__global__ void copy_kernel(const float4 *source, float4 *target, int pieces) {
    DYNAMIC_SHARED(shared, 128);
    float4 *buffers = reinterpret_cast<float4 *>(shared);
    unsigned threads = blockDim.x, thread = threadIdx.x;
    copy_async_16(&buffers[thread], &source[thread]);
    copy_async_commit();
    for (int piece = 0; piece < pieces; ++piece) {
        if (piece + 1 < pieces) {
            copy_async_16(&buffers[static_cast<unsigned>(piece + 1) % 2 * threads + thread], &source[static_cast<unsigned>(piece + 1) * threads + thread],
                          (piece + 1) % 3 != 0);
        }
        copy_async_commit();
        copy_async_wait<1>();
        __syncthreads();
        target[static_cast<unsigned>(piece) * threads + thread] = buffers[static_cast<unsigned>(piece) % 2 * threads + (thread + 1) % threads];
        __syncthreads();
    }
}

void test_copies() {
    constexpr unsigned threads = 64, pieces = 7;
    Array<float4> source(threads * pieces), target(threads * pieces);
    for (size_t i = 0; i < source.host.size(); ++i) {
        source.host[i] = make_float4(static_cast<float>(i), 1, 2, 3);
    }
    source.put();
    must(launch_kernel(copy_kernel, dim3(1), dim3(threads), 2 * threads * sizeof(float4), nullptr, source.device, target.device, static_cast<int>(pieces)),
         "copy_kernel");
    target.get();
    bool good = true;
    for (unsigned piece = 0; piece < pieces; ++piece) {
        for (unsigned thread = 0; thread < threads; ++thread) {
            float4 value = target.host[piece * threads + thread];
            bool zero = piece && piece % 3 == 0;
            good &= value.x == (zero ? 0.0f : static_cast<float>(piece * threads + (thread + 1) % threads)) && value.w == (zero ? 0.0f : 3.0f);
        }
    }
    expect(good, "cp.async with two buffers and zero fill");
}

/* The first warp hands values to the second by two named barriers. */
__global__ void named_barrier_kernel(int *result) {
    SHARED_ARRAY(int, slot, [32]);
    int lane = static_cast<int>(threadIdx.x % 32);
    int sum = 0;
    for (int round = 0; round < 4; ++round) {
        if (threadIdx.x < 32) {
            slot[lane] = round * 100 + lane;
            named_barrier_arrive(1, 64);
            named_barrier_wait(2, 64);
        } else {
            named_barrier_wait(1, 64);
            sum += slot[31 - lane];
            named_barrier_arrive(2, 64);
        }
    }
    if (threadIdx.x >= 32) {
        result[lane] = sum;
    }
}

void test_named_barriers() {
    Array<int> result(32);
    must(launch_kernel(named_barrier_kernel, dim3(1), dim3(64), 0, nullptr, result.device), "named_barrier_kernel");
    result.get();
    bool good = true;
    for (int lane = 0; lane < 32; ++lane) {
        good &= result.host[static_cast<size_t>(lane)] == 600 + 4 * (31 - lane);
    }
    expect(good, "named barriers");
}

/* Every half there is, to float and back. */
__global__ void half_kernel(const __half *halves, float *floats, __half *back) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    floats[i] = __half2float(halves[i]);
    back[i] = __float2half_rn(floats[i]);
}

void test_half() {
    Array<__half> halves(65536), back(65536);
    Array<float> floats(65536);
    for (unsigned i = 0; i < 65536; ++i) {
        uint16_t bits = static_cast<uint16_t>(i);
        memcpy(static_cast<void *>(&halves.host[i]), &bits, 2);
    }
    halves.put();
    must(launch_kernel(half_kernel, dim3(256), dim3(256), 0, nullptr, halves.device, floats.device, back.device), "half_kernel");
    floats.get();
    back.get();
    bool good = true;
    for (unsigned i = 0; i < 65536; ++i) {
        int exponent = static_cast<int>(i >> 10 & 31), fraction = static_cast<int>(i & 1023);
        if (exponent == 31 && fraction) {
            good &= std::isnan(floats.host[i]);
            continue;
        }
        double value = exponent == 31 ? INFINITY : exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
        good &= static_cast<double>(floats.host[i]) == (i >> 15 ? -value : value) && memcmp(&back.host[i], &halves.host[i], 2) == 0;
    }
    expect(good, "half to float and back, all 65536 values");
}

void run_tests() {
    test_shuffles();
    test_votes();
    test_atomics();
    test_load_matrix<false>("ldmatrix of 4 and 2 matrices");
    test_load_matrix<true>("ldmatrix.trans of 4 and 2 matrices");
    test_multiply();
    test_copies();
    test_named_barriers();
    test_half();
}

} /* namespace */

int main() {
    return run_device_cases(run_tests, 0);
}
