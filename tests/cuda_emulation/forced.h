/*
 * Stands in front of every .cu file that g++ compiles as C++ (-include): CUDA's own headers first, then its keywords as
 * nothing, then what nvcc would know by itself. One fibre runs per CUDA thread of a block; blocks run one after another.
 */
#ifndef CUDA_EMULATION_FORCED_H
#define CUDA_EMULATION_FORCED_H
#define CUDA_EMULATION 1

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <math.h> /* as nvcc does: its functions without std:: */

#include <cuda_fp16.h>
#include <cuda_runtime_api.h>
#include <vector_functions.h>

#undef __global__
#undef __device__
#undef __host__
#undef __launch_bounds__
#undef __grid_constant__
#undef __constant__
#undef __shared__
#undef __forceinline__
#undef __noinline__
#define __global__
#define __device__
#define __host__
#define __launch_bounds__(...)
#define __grid_constant__
#define __constant__    static
#define __forceinline__ inline
#define __noinline__    __attribute__((noinline))
#define __shared__      static_assert(false, "use SHARED_ARRAY or DYNAMIC_SHARED of cuda/launch.cuh");

#include "device_functions.h"
#include "device_threads.h"
#include "kernel_registry.h"

/* The key is what names the array within a block: one for each place in the source and each instance of a template. */
#define SHARED_ARRAY(type, name, ...)                                                                                                                          \
    static const char name##_key = 0;                                                                                                                          \
    auto &name = *static_cast<type(*) __VA_ARGS__>(emulation::shared_array(&name##_key, sizeof(type __VA_ARGS__), alignof(type) > 16 ? alignof(type) : 16))
#define DYNAMIC_SHARED(name, alignment) unsigned char *name = static_cast<unsigned char *>(emulation::dynamic_shared(alignment))

#endif
