/* Misuse of what one block, the runtime's host side and cuBLASLt have. (misuse.h) */
#include <cublasLt.h>

#include "instructions.cuh"
#include "launch.cuh"
#include "misuse.h"

namespace {

/* --- kernels: threads and shared memory --- */

__global__ void different_barriers() {
    if (threadIdx.x < 32) {
        __syncthreads();
    } else {
        __syncthreads();
    }
}
__global__ void early_exit() {
    if (threadIdx.x < 32) {
        return;
    }
    __syncthreads();
}
__global__ void starved_barrier() {
    if (threadIdx.x < 32) {
        named_barrier_wait(1, 64);
    } else {
        named_barrier_wait(2, 64);
    }
}
__global__ void unbalanced_arrivals() {
    if (threadIdx.x < 32) {
        named_barrier_arrive(3, 64);
    }
}
__global__ void half_a_warp_shuffles(float *result) {
    if (threadIdx.x % 32 < 16) {
        result[threadIdx.x] = __shfl_sync(0xffffffffu, 1.0f, 0);
    }
}
__global__ void outside_the_mask(float *result) {
    result[threadIdx.x] = __shfl_sync(0xffffu, 1.0f, 0);
}
__global__ void absent_source(float *result) {
    if (threadIdx.x % 32 < 16) {
        result[threadIdx.x] = __shfl_sync(0xffffu, 1.0f, 20);
    }
}
__global__ void missing_barrier(float *result) {
    SHARED_ARRAY(float, values, [64]);
    values[threadIdx.x] = 1.0f;
    result[threadIdx.x] = values[(threadIdx.x + 32) % 64];
}
__global__ void missing_warp_barrier(float *result) {
    SHARED_ARRAY(float, values, [32]);
    values[threadIdx.x] = 1.0f;
    result[threadIdx.x] = values[(threadIdx.x + 1) % 32];
}
__global__ void uninitialised_shared(float *result) {
    SHARED_ARRAY(float, values, [32]);
    if (threadIdx.x) {
        values[threadIdx.x] = 1.0f;
    }
    __syncthreads();
    result[threadIdx.x] = values[threadIdx.x];
}
__global__ void shared_overflow(float *result, int index) {
    SHARED_ARRAY(float, values, [32]);
    float *start = values;
    start[index] = 1.0f;
    result[threadIdx.x] = start[0];
}
__global__ void dynamic_overflow(int index) {
    DYNAMIC_SHARED(shared, 128);
    shared[index] = 1;
}
__global__ void large_static_array(float *result) {
    SHARED_ARRAY(float, values, [13 * 1024]);
    values[threadIdx.x] = 1.0f;
    result[threadIdx.x] = values[threadIdx.x];
}
__global__ void missing_copy_wait(float *result) {
    SHARED_ARRAY(float4, values, [8]);
    copy_async_16(&values[threadIdx.x], reinterpret_cast<const float4 *>(result) + threadIdx.x);
    copy_async_commit();
    result[threadIdx.x] = values[threadIdx.x].x;
}
__global__ void copy_to_global(float *result) {
    copy_async_16(result, result + 4);
}
__global__ void misaligned_copy(float *result) {
    SHARED_ARRAY(float, values, [32]);
    copy_async_16(values + 1, result);
}
__global__ void misaligned_matrix_row(float *result) {
    SHARED_ARRAY(uint16_t, values, [512]);
    uint32_t registers[4];
    load_matrix_x4(registers, values + threadIdx.x * 8 + 1);
    result[threadIdx.x] = static_cast<float>(registers[0]);
}
__global__ void multiply_in_a_branch(float *result) {
    uint32_t a[4] = {}, b[2] = {};
    float d[4] = {};
    if (threadIdx.x < 31) {
        multiply_m16n8k16(d, a, b);
    }
    result[threadIdx.x] = d[0];
}

/* --- kernels: global memory --- */

__global__ void fill(float *target, float value) {
    target[threadIdx.x] = value;
}
__global__ void fill_from(float *target, int first) {
    target[first + static_cast<int>(threadIdx.x)] = 1.0f;
}
struct Pointers {
    int count;
    float *target;
};
__global__ void fill_structure(Pointers pointers) {
    pointers.target[0] = 1.0f;
}
__global__ void misaligned_vector(float *target) {
    *reinterpret_cast<float4 *>(target + 1) = make_float4(0, 0, 0, 0);
}
__global__ void plain_sum(float *sum) {
    if (threadIdx.x == blockIdx.x) {
        *sum = *sum + 1.0f;
    }
}
__global__ void endless_recursion(float *result) {
    auto descend = [result](auto &again, int depth) -> float {
        volatile float frame[1024];
        frame[depth % 1024] = result[0];
        return depth > 1000000 ? 0.0f : again(again, depth + 1) + frame[depth % 1024];
    };
    result[0] = descend(descend, 0);
}

void run(void (*kernel)(float *), unsigned threads, unsigned blocks = 1) {
    check(launch_kernel(kernel, dim3(blocks), dim3(threads), 0, nullptr, device));
    check(cudaDeviceSynchronize());
}
void run(void (*kernel)(), unsigned threads) {
    check(launch_kernel(kernel, dim3(1), dim3(threads), 0, nullptr));
    check(cudaDeviceSynchronize());
}

/* --- host --- */

void host_reads_device_memory() {
    volatile float *forbidden = device;
    printf("%g\n", static_cast<double>(forbidden[0]));
}
void argument_on_the_host() {
    check(launch_kernel(fill, dim3(1), dim3(32), 0, nullptr, static_cast<float *>(malloc(1024)), 1.0f));
}
void argument_freed() {
    float *other;
    check(cudaMalloc(reinterpret_cast<void **>(&other), 1024));
    check(cudaFree(other));
    check(launch_kernel(fill, dim3(1), dim3(32), 0, nullptr, other, 1.0f));
}
void member_on_the_host() {
    check(launch_kernel(fill_structure, dim3(1), dim3(1), 0, nullptr, Pointers{1, static_cast<float *>(malloc(4))}));
}
void member_freed() {
    float *other;
    check(cudaMalloc(reinterpret_cast<void **>(&other), 1024));
    check(cudaFree(other));
    check(launch_kernel(fill_structure, dim3(1), dim3(1), 0, nullptr, Pointers{1, other}));
}
void large_block() {
    check(launch_kernel(fill, dim3(1), dim3(2048), 0, nullptr, device, 1.0f));
}
void empty_grid() {
    check(launch_kernel(fill, dim3(0), dim3(32), 0, nullptr, device, 1.0f));
}
void large_shared_memory() {
    check(launch_kernel(dynamic_overflow, dim3(1), dim3(1), 300 * 1024, nullptr, 0));
}
void no_synchronisation() {
    cudaStream_t stream;
    check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    check(cudaMemcpy(pinned, device, bytes, cudaMemcpyDeviceToHost));
    check(launch_kernel(fill, dim3(1), dim3(256), 0, stream, device, 2.0f));
    check(cudaMemcpyAsync(pinned, device, bytes, cudaMemcpyDeviceToHost, stream));
    if (pinned[0] != 2.0f) {
        wrong_result("stale numbers");
    }
}
void buffer_reused_too_early() {
    cudaStream_t stream;
    check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    pinned[0] = 2.0f;
    check(cudaMemcpyAsync(device, pinned, bytes, cudaMemcpyHostToDevice, stream));
    pinned[0] = 3.0f;
    check(cudaStreamSynchronize(stream));
    expect_first(2.0f);
}
void missing_event_wait() {
    cudaStream_t first, second;
    check(cudaStreamCreateWithFlags(&first, cudaStreamNonBlocking));
    check(cudaStreamCreateWithFlags(&second, cudaStreamNonBlocking));
    check(launch_kernel(fill, dim3(1), dim3(256), 0, first, device, 2.0f));
    check(cudaMemcpyAsync(pinned, device, bytes, cudaMemcpyDeviceToHost, second));
    check(cudaStreamSynchronize(second));
    if (pinned[0] != 2.0f) {
        wrong_result("stale numbers");
    }
}
void stream_destroyed() {
    cudaStream_t stream;
    check(cudaStreamCreate(&stream));
    check(cudaStreamDestroy(stream));
    check(cudaMemsetAsync(device, 0, 16, stream));
}
void copy_too_long() {
    check(cudaMemcpy(device + 1, pinned, bytes, cudaMemcpyHostToDevice));
}
void copy_the_wrong_way() {
    check(cudaMemcpy(device, pinned, bytes, cudaMemcpyDeviceToHost));
}

/* d [4, 4] = a [4, 4] b [4, 4] at these places, with an alignment that the heuristic is told. */
void product(const float *a, const float *b, float *d, uint64_t columns_at_the_end, uint32_t alignment) {
    const float one = 1.0f, zero = 0.0f;
    cublasLtHandle_t handle;
    cublasLtMatmulDesc_t operation;
    cublasLtMatrixLayout_t layout, wider;
    cublasLtMatmulPreference_t preference;
    cublasLtMatmulHeuristicResult_t found;
    int count;
    cublasLtCreate(&handle);
    cublasLtMatmulDescCreate(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    cublasLtMatrixLayoutCreate(&layout, CUDA_R_32F, 4, 4, 4);
    cublasLtMatrixLayoutCreate(&wider, CUDA_R_32F, 4, columns_at_the_end, 4);
    cublasLtMatmulPreferenceCreate(&preference);
    for (int i = 0; i < 4; ++i) {
        auto attribute = static_cast<cublasLtMatmulPreferenceAttributes_t>(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES + i);
        cublasLtMatmulPreferenceSetAttribute(preference, attribute, &alignment, sizeof alignment);
    }
    cublasLtMatmulAlgoGetHeuristic(handle, operation, layout, layout, layout, layout, preference, 1, &found, &count);
    cublasLtMatmul(handle, operation, &one, a, layout, b, wider, &zero, d, wider, d, wider, &found.algo, nullptr, 0, nullptr);
    check(cudaDeviceSynchronize());
}
void product_overlaps() {
    product(device, device + 16, device + 8, 4, 4);
}
void product_too_large() {
    product(device, device + 16, device + 244, 4, 4);
}
void product_unaligned() {
    product(device + 1, device + 32, device + 64, 4, 16);
}
void product_of_another_shape() {
    product(device, device + 32, device + 64, 3, 4);
}
void product_on_the_host() {
    product(pinned, device + 32, device + 64, 4, 4);
}

const std::vector<Case> cases = {
    {"different_barriers", [] { run(different_barriers, 64); }, 0, EVERYWHERE("meet in different __syncthreads: lines")},
    {"early_exit", [] { run(early_exit, 64); }, 0, EVERYWHERE("32 threads ended before the others reach __syncthreads")},
    {"early_exit, newest first", [] { run(early_exit, 64); }, 1, EVERYWHERE("32 threads ended while all others wait at __syncthreads")},
    {"starved_barrier", [] { run(starved_barrier, 64); }, 0, EVERYWHERE("32 threads (0 to 31) wait at a named barrier")},
    {"unbalanced_arrivals", [] { run(unbalanced_arrivals, 64); }, 0, EVERYWHERE("32 threads counted at barrier 3")},
    {"half_a_warp_shuffles", [] { run(half_a_warp_shuffles, 64); }, 0, EVERYWHERE("deadlock: no CUDA thread can run")},
    {"outside_the_mask", [] { run(outside_the_mask, 32); }, 0, EVERYWHERE("by a lane outside its mask")},
    {"absent_source", [] { run(absent_source, 32); }, 0, EVERYWHERE("reads lane 20, which takes no part")},
    {"missing_barrier", [] { run(missing_barrier, 64), expect_first(1.0f); }, 0, {wrong, wrong, race}},
    {"missing_warp_barrier", [] { run(missing_warp_barrier, 32), expect_first(1.0f); }, 1, {nullptr, nullptr, race}},
    {"uninitialised_shared", [] { run(uninitialised_shared, 32), expect_first(1.0f); }, 0, EVERYWHERE(wrong)},
    {"shared_overflow",
     [] {
         check(launch_kernel(shared_overflow, dim3(1), dim3(1), 0, nullptr, device, 32));
         check(cudaDeviceSynchronize());
     },
     0,
     {"shared memory written outside every array", asan, "shared memory written outside every array"}},
    {"dynamic_overflow",
     [] {
         check(launch_kernel(dynamic_overflow, dim3(1), dim3(1), 100, nullptr, 100));
         check(cudaDeviceSynchronize());
     },
     0,
     {"shared memory written outside every array", asan, "shared memory written outside every array"}},
    {"large_static_array", [] { run(large_static_array, 32); }, 0, EVERYWHERE("the limit is 48 KiB")},
    {"missing_copy_wait", [] { run(missing_copy_wait, 8), expect_first(1.0f); }, 1, EVERYWHERE(wrong)},
    {"copy_to_global", [] { run(copy_to_global, 1); }, 0, EVERYWHERE("an address outside shared memory")},
    {"misaligned_copy", [] { run(misaligned_copy, 1); }, 0, EVERYWHERE("not 16-byte aligned")},
    {"misaligned_matrix_row", [] { run(misaligned_matrix_row, 32); }, 0, EVERYWHERE("not 16-byte aligned")},
    {"multiply_in_a_branch", [] { run(multiply_in_a_branch, 32); }, 0, EVERYWHERE("wait at mma")},

    {"write_past_the_end",
     [] {
         check(launch_kernel(fill_from, dim3(1), dim3(32), 0, nullptr, device, 225));
         check(cudaDeviceSynchronize());
     },
     0,
     {"wrote 0 bytes behind the end of a device allocation of 1024 bytes", asan, "wrote 0 bytes behind the end"}},
    {"misaligned_vector", [] { run(misaligned_vector, 1); }, 0, {nullptr, ubsan, nullptr}},
    {"block_race", [] { run(plain_sum, 32, 4); }, 0, {nullptr, nullptr, race}},
    {"endless_recursion", [] { run(endless_recursion, 1); }, 0, {"a CUDA thread's stack overflowed", "stack", "a CUDA thread's stack overflowed"}},

    {"host_reads_device_memory", host_reads_device_memory, 0, EVERYWHERE("host code touched device memory")},
    {"argument_on_the_host", argument_on_the_host, 0, EVERYWHERE("is a host pointer")},
    {"argument_freed", argument_freed, 0, EVERYWHERE("outside every live device allocation")},
    {"member_on_the_host", member_on_the_host, 0, EVERYWHERE("structure argument is a host pointer")},
    {"member_freed", member_freed, 0, EVERYWHERE("structure argument points outside every live device allocation")},
    {"large_block", large_block, 0, EVERYWHERE("invalid configuration argument")},
    {"empty_grid", empty_grid, 0, EVERYWHERE("invalid configuration argument")},
    {"large_shared_memory", large_shared_memory, 0, EVERYWHERE("invalid argument")},
    {"no_synchronisation, late work", no_synchronisation, 1, EVERYWHERE(wrong)},
    {"no_synchronisation, early work", no_synchronisation, 0, {nullptr, nullptr, race}},
    {"buffer_reused_too_early, late work", buffer_reused_too_early, 1, EVERYWHERE(wrong)},
    {"buffer_reused_too_early, early work", buffer_reused_too_early, 0, {nullptr, nullptr, race}},
    {"missing_event_wait, late work", missing_event_wait, 1, EVERYWHERE(wrong)},
    {"missing_event_wait, early work", missing_event_wait, 0, {nullptr, nullptr, race}},
    {"stream_destroyed", stream_destroyed, 0, EVERYWHERE("not a live stream")},
    {"copy_too_long", copy_too_long, 0, EVERYWHERE("not inside one live device allocation")},
    {"copy_the_wrong_way", copy_the_wrong_way, 0, EVERYWHERE("a device pointer where a host pointer is meant")},

    {"product_overlaps", product_overlaps, 0, EVERYWHERE("the result overlaps an operand")},
    {"product_too_large", product_too_large, 0, EVERYWHERE("matrix D: 64 bytes")},
    {"product_unaligned", product_unaligned, 0, EVERYWHERE("matrix A is not 16-byte aligned")},
    {"product_of_another_shape", product_of_another_shape, 0, EVERYWHERE("the algorithm was chosen for another shape")},
    {"product_on_the_host", product_on_the_host, 0, EVERYWHERE("matrix A: ")},
};

} /* namespace */

int main(int count, char **names) {
    return run_misuses(cases, count, names);
}
