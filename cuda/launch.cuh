/*
 * What kernels are written with beside CUDA C++ itself, so that nvcc and the emulation of tests/cuda_emulation/ compile the
 * same files: shared memory by macro, and one function that launches.
 *
 *     __global__ void add_kernel(float *sum, const float *values, int count) {
 *         SHARED_ARRAY(float, partial, [32]);          float partial[32], per block
 *         DYNAMIC_SHARED(tile, 128);                   unsigned char tile[], of the size given at launch
 *         ...
 *     }
 *     cudaError_t error = launch_kernel(add_kernel, dim3(blocks), dim3(256), shared_bytes, stream, sum, values, count);
 *
 * Rules that the emulation enforces: no thread of a block ends while others wait at __syncthreads(); one __syncthreads() is
 * reached by all threads at the same source line; a shared array is never named with __shared__ directly; all warp
 * instructions name the lanes that really take part. One DYNAMIC_SHARED name has the same alignment in a whole file.
 */
#ifndef CONTEXTURE_CUDA_LAUNCH_CUH
#define CONTEXTURE_CUDA_LAUNCH_CUH

#include <cstddef>
#include <cuda_runtime_api.h>

#ifndef CUDA_EMULATION
#define SHARED_ARRAY(type, name, ...) __shared__ __align__(16) type name __VA_ARGS__
#define DYNAMIC_SHARED(name, alignment)                                                                                                                        \
    extern __shared__ __align__(alignment)                                                                                                                     \
    unsigned char name[]
#endif

template <typename T> struct Exactly { using Type = T; };

/* The arguments are converted to the kernel's own parameter types, which cudaLaunchKernel would not do. */
template <typename... Parameters>
cudaError_t launch_kernel(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream,
                          typename Exactly<Parameters>::Type... arguments) {
#ifdef CUDA_EMULATION
    emulation::register_kernel(kernel);
#endif
    const void *address = reinterpret_cast<const void *>(kernel);
    if (shared_bytes > 48 * 1024) {
        cudaError_t error = cudaFuncSetAttribute(address, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes));
        if (error != cudaSuccess) {
            return error;
        }
    }
    void *pointers[] = {const_cast<void *>(static_cast<const void *>(&arguments))..., nullptr};
    return cudaLaunchKernel(address, grid, block, pointers, shared_bytes, stream);
}

#endif
