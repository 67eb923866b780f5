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
 *     launch_clusters(add_kernel, 2, dim3(blocks), …);    the same with every two neighbouring blocks in a cluster (compute capability 9.0)
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

/* More than 48 KiB of dynamic shared memory must be asked for. */
inline cudaError_t allow_shared(const void *kernel, size_t shared_bytes) {
    return shared_bytes > 48 * 1024 ? cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes)) : cudaSuccess;
}

/* The arguments are converted to the kernel's own parameter types, which cudaLaunchKernel would not do. */
template <typename... Parameters>
cudaError_t launch_kernel(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream,
                          typename Exactly<Parameters>::Type... arguments) {
#ifdef CUDA_EMULATION
    emulation::register_kernel(kernel);
#endif
    const void *address = reinterpret_cast<const void *>(kernel);
    void *pointers[] = {const_cast<void *>(static_cast<const void *>(&arguments))..., nullptr};
    const cudaError_t error = allow_shared(address, shared_bytes);
    return error == cudaSuccess ? cudaLaunchKernel(address, grid, block, pointers, shared_bytes, stream) : error;
}

/* A launch in clusters of so many blocks; `attribute` must live as long as the configuration. */
inline cudaLaunchConfig_t cluster_configuration(unsigned cluster, dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream,
                                                cudaLaunchAttribute *attribute) {
    cudaLaunchConfig_t configuration = {};
    *attribute = {};
    attribute->id = cudaLaunchAttributeClusterDimension;
    attribute->val.clusterDim.x = cluster;
    attribute->val.clusterDim.y = attribute->val.clusterDim.z = 1;
    configuration.gridDim = grid;
    configuration.blockDim = block;
    configuration.dynamicSmemBytes = shared_bytes;
    configuration.stream = stream;
    configuration.attrs = attribute;
    configuration.numAttrs = 1;
    return configuration;
}

template <typename... Parameters>
cudaError_t launch_clusters(void (*kernel)(Parameters...), unsigned cluster, dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream,
                            typename Exactly<Parameters>::Type... arguments) {
#ifdef CUDA_EMULATION
    emulation::register_kernel(kernel);
#endif
    const void *address = reinterpret_cast<const void *>(kernel);
    void *pointers[] = {const_cast<void *>(static_cast<const void *>(&arguments))..., nullptr};
    cudaLaunchAttribute attribute;
    const cudaLaunchConfig_t configuration = cluster_configuration(cluster, grid, block, shared_bytes, stream, &attribute);
    const cudaError_t error = allow_shared(address, shared_bytes);
    return error == cudaSuccess ? cudaLaunchKernelExC(&configuration, address, pointers) : error;
}

#endif
