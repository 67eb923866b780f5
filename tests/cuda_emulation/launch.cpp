/* Kernels: the checks of a launch, and the blocks of a grid one after another. */
#include <unordered_map>

#include "api.h"
#include "device.h"
#include "device_memory.h"
#include "kernel_registry.h"
#include "sanitizers.h"
#include "scheduler.h"
#include "shared_memory.h"
#include "statistics.h"
#include "stream.h"

namespace emulation {

namespace {

std::unordered_map<const void *, Capture> &kernels = *new std::unordered_map<const void *, Capture>;
std::unordered_map<const void *, size_t> &dynamic_limits = *new std::unordered_map<const void *, size_t>;

/* Blocks in order, backwards, or from a random one on in random steps. */
struct BlockOrder {
    size_t count, start, step;
    explicit BlockOrder(size_t blocks) : count(blocks), start(0), step(1) {
        if (seed == 1) {
            start = blocks - 1;
            step = blocks - 1;
        } else if (seed > 3) {
            start = random_number() % blocks;
            do {
                step = random_number() % blocks + 1;
            } while (common_divisor(step, blocks) != 1);
        }
    }
    static size_t common_divisor(size_t a, size_t b) {
        return b ? common_divisor(b, a % b) : a;
    }
    size_t at(size_t i) const {
        return (start + i * step) % count;
    }
};

void run_grid(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()> &kernel) {
    DeviceAccess access;
    gridDim = grid;
    blockDim = block;
    shared_memory_configure(shared_bytes, device().shared_bytes);
    size_t blocks = size_t{grid.x} * grid.y * grid.z;
    BlockOrder order(blocks);
    for (size_t i = 0; i < blocks; ++i) {
        size_t index = order.at(i);
        blockIdx = {static_cast<unsigned>(index % grid.x), static_cast<unsigned>(index / grid.x % grid.y), static_cast<unsigned>(index / grid.x / grid.y)};
        run_block(block.x * block.y * block.z, kernel);
    }
    __tsan_acquire(&grid_end_sync);
    check_red_zones("a kernel");
}

size_t dynamic_limit(const void *kernel) {
    auto limit = dynamic_limits.find(kernel);
    return limit == dynamic_limits.end() ? static_shared_limit : limit->second;
}

} /* namespace */

void register_kernel(const void *kernel, Capture capture) {
    Exclusive lock;
    kernels[kernel] = capture;
}

} /* namespace emulation */

using namespace emulation;

extern "C" {

cudaError_t cudaFuncSetAttribute(const void *function, cudaFuncAttribute attribute, int value) {
    CUDA_CALL("cudaFuncSetAttribute");
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) {
        return cudaSuccess;
    }
    if (value < 0 || static_cast<size_t>(value) > device().shared_bytes) {
        return call.result(cudaErrorInvalidValue);
    }
    dynamic_limits[function] = static_cast<size_t>(value);
    return cudaSuccess;
}

cudaError_t cudaLaunchKernel(const void *function, dim3 grid, dim3 block, void **arguments, size_t shared_bytes, cudaStream_t stream) {
    CUDA_CALL("cudaLaunchKernel");
    size_t threads = size_t{block.x} * block.y * block.z;
    if (!threads || threads > 1024 || block.z > 64 || !grid.x || !grid.y || !grid.z || grid.x > 0x7fffffff || grid.y > 65535 || grid.z > 65535) {
        return call.result(cudaErrorInvalidConfiguration);
    }
    if (shared_bytes > dynamic_limit(function)) {
        return call.result(cudaErrorInvalidValue);
    }
    auto kernel = kernels.find(function);
    if (kernel == kernels.end()) {
        return call.result(cudaErrorInvalidDeviceFunction);
    }
    ++statistics.kernels;
    auto captured = kernel->second(function, arguments);
    enqueue(stream, [=] { run_grid(grid, block, shared_bytes, captured); });
    return cudaSuccess;
}

cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t *configuration, const void *function, void **arguments) {
    CUDA_CALL("cudaLaunchKernelExC");
    if (configuration->numAttrs) {
        fail("launch attributes (clusters, cooperative launches) are not emulated");
    }
    return cudaLaunchKernel(function, configuration->gridDim, configuration->blockDim, arguments, configuration->dynamicSmemBytes, configuration->stream);
}

/* By threads and dynamic shared memory alone; registers are not known here. */
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, const void *, int block_size, size_t shared_bytes) {
    CUDA_CALL("cudaOccupancyMaxActiveBlocksPerMultiprocessor");
    if (block_size < 1 || block_size > 1024) {
        return call.result(cudaErrorInvalidValue);
    }
    size_t by_threads = 1536 / static_cast<size_t>(block_size), by_shared = device().shared_bytes / (shared_bytes + 1024);
    *blocks = static_cast<int>(by_threads < by_shared ? by_threads : by_shared);
    return cudaSuccess;
}

} /* extern "C" */
