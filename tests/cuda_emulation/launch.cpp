/* Kernels: the checks of a launch, and the clusters of a grid, mostly blocks, one after another. */
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

/* Clusters in order, backwards, or from a random one on in random steps. */
struct ClusterOrder {
    size_t count, start, step;
    explicit ClusterOrder(size_t clusters) : count(clusters), start(0), step(1) {
        if (seed == 1) {
            start = clusters - 1;
            step = clusters - 1;
        } else if (seed > 3) {
            start = random_number() % clusters;
            do {
                step = random_number() % clusters + 1;
            } while (common_divisor(step, clusters) != 1);
        }
    }
    static size_t common_divisor(size_t a, size_t b) {
        return b ? common_divisor(b, a % b) : a;
    }
    size_t at(size_t i) const {
        return (start + i * step) % count;
    }
};

struct Shape {
    dim3 grid, block;
    unsigned cluster; /* blocks, neighbours in x */
    size_t shared_bytes;
};

void run_grid(const Shape &shape, const std::function<void()> &kernel) {
    DeviceAccess access;
    const dim3 grid = shape.grid, block = shape.block;
    gridDim = grid;
    blockDim = block;
    shared_memory_configure(shape.shared_bytes, device().shared_bytes);
    std::vector<uint3> blocks(shape.cluster);
    ClusterOrder order(size_t{grid.x} * grid.y * grid.z / shape.cluster);
    for (size_t i = 0; i < order.count; ++i) {
        size_t index = order.at(i) * shape.cluster;
        for (uint3 &place : blocks) {
            place = {static_cast<unsigned>(index % grid.x), static_cast<unsigned>(index / grid.x % grid.y), static_cast<unsigned>(index / grid.x / grid.y)};
            ++index;
        }
        run_cluster(blocks, block.x * block.y * block.z, kernel);
    }
    __tsan_acquire(&grid_end_sync);
    check_red_zones("a kernel");
}

size_t dynamic_limit(const void *kernel) {
    auto limit = dynamic_limits.find(kernel);
    return limit == dynamic_limits.end() ? static_shared_limit : limit->second;
}

/* `call` reports; the shape's parts are as the caller gave them. */
cudaError_t launch(Call &call, const void *function, const Shape &shape, void **arguments, cudaStream_t stream) {
    const dim3 grid = shape.grid, block = shape.block;
    size_t threads = size_t{block.x} * block.y * block.z;
    if (!threads || threads > 1024 || block.z > 64 || !grid.x || !grid.y || !grid.z || grid.x > 0x7fffffff || grid.y > 65535 || grid.z > 65535) {
        return call.result(cudaErrorInvalidConfiguration);
    }
    if (!shape.cluster || shape.cluster > most_cluster_blocks || grid.x % shape.cluster || (shape.cluster > 1 && device().major < 9)) {
        return call.result(cudaErrorInvalidClusterSize);
    }
    if (shape.shared_bytes > dynamic_limit(function)) {
        return call.result(cudaErrorInvalidValue);
    }
    auto kernel = kernels.find(function);
    if (kernel == kernels.end()) {
        return call.result(cudaErrorInvalidDeviceFunction);
    }
    ++statistics.kernels;
    auto captured = kernel->second(function, arguments);
    enqueue(stream, [=] { run_grid(shape, captured); });
    return cudaSuccess;
}

/* Blocks of a cluster; clusters in y or z are not emulated, nor is any other attribute. */
unsigned cluster_of(const cudaLaunchConfig_t &configuration) {
    unsigned blocks = 1;
    for (unsigned i = 0; i < configuration.numAttrs; ++i) {
        const cudaLaunchAttribute &attribute = configuration.attrs[i];
        if (attribute.id != cudaLaunchAttributeClusterDimension || attribute.val.clusterDim.y != 1 || attribute.val.clusterDim.z != 1) {
            fail("launch attribute %d is not emulated", static_cast<int>(attribute.id));
        }
        blocks = attribute.val.clusterDim.x;
    }
    return blocks;
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
    return launch(call, function, {grid, block, 1, shared_bytes}, arguments, stream);
}

cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t *configuration, const void *function, void **arguments) {
    CUDA_CALL("cudaLaunchKernelExC");
    const Shape shape = {configuration->gridDim, configuration->blockDim, cluster_of(*configuration), configuration->dynamicSmemBytes};
    return launch(call, function, shape, arguments, configuration->stream);
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

/* As if all multiprocessors were neighbours. */
cudaError_t cudaOccupancyMaxActiveClusters(int *clusters, const void *function, const cudaLaunchConfig_t *configuration) {
    CUDA_CALL("cudaOccupancyMaxActiveClusters");
    const dim3 block = configuration->blockDim;
    const unsigned size = cluster_of(*configuration);
    int each = 0;
    if (!size || size > most_cluster_blocks || device().major < 9) {
        return call.result(cudaErrorInvalidClusterSize);
    }
    if (configuration->dynamicSmemBytes > dynamic_limit(function)) {
        return call.result(cudaErrorInvalidValue);
    }
    const cudaError_t error =
        cudaOccupancyMaxActiveBlocksPerMultiprocessor(&each, function, static_cast<int>(block.x * block.y * block.z), configuration->dynamicSmemBytes);
    *clusters = each * multiprocessor_count() / static_cast<int>(size);
    return error;
}

} /* extern "C" */
