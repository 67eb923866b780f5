/* cudaMalloc, cudaMemcpy and their kin. */
#include <cstring>

#include "api.h"
#include "device_memory.h"
#include "device_threads.h"
#include "statistics.h"
#include "stream.h"

using namespace emulation;

namespace {

struct Rows {
    size_t pitch, width, height;
};

size_t extent(const Rows &rows) {
    return rows.width && rows.height ? (rows.height - 1) * rows.pitch + rows.width : 0;
}

void check_side(const void *pointer, const Rows &rows, bool must_be_device, const char *what) {
    if (must_be_device) {
        check_device_range(pointer, extent(rows), what);
    } else if (is_device(pointer)) {
        fail("%s: a device pointer where a host pointer is meant by the copy's kind", what);
    }
}

/* A copy to or from host memory that is not pinned has finished when the call returns. */
cudaError_t copy(const char *name, void *target, const Rows &to, const void *source, const Rows &from, cudaMemcpyKind kind, cudaStream_t stream) {
    if (!extent(from)) {
        return cudaSuccess;
    }
    bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice || (kind == cudaMemcpyDefault && is_device(target));
    bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice || (kind == cudaMemcpyDefault && is_device(source));
    check_side(target, to, to_device, name);
    check_side(source, from, from_device, name);
    enqueue(stream, [=] {
        DeviceAccess access;
        for (size_t row = 0; row < from.height; ++row) {
            memcpy(static_cast<unsigned char *>(target) + row * to.pitch, static_cast<const unsigned char *>(source) + row * from.pitch, from.width);
        }
    });
    if ((!to_device && !is_pinned(target)) || (!from_device && !is_pinned(source))) {
        ++statistics.pageable_copies;
        drain(stream);
    }
    return cudaSuccess;
}

} /* namespace */

extern "C" {

cudaError_t cudaMalloc(void **pointer, size_t bytes) {
    CUDA_CALL("cudaMalloc");
    ++statistics.allocations;
    if (!bytes) {
        *pointer = nullptr;
        return cudaSuccess;
    }
    void *memory = device_allocate(bytes);
    if (!memory) {
        return call.result(cudaErrorMemoryAllocation);
    }
    *pointer = memory;
    return cudaSuccess;
}

cudaError_t cudaFree(void *pointer) {
    CUDA_CALL("cudaFree");
    if (!pointer) {
        return cudaSuccess;
    }
    drain_all();
    return device_release(pointer) ? cudaSuccess : call.result(cudaErrorInvalidValue);
}

cudaError_t cudaHostAlloc(void **pointer, size_t bytes, unsigned) {
    CUDA_CALL("cudaHostAlloc");
    ++statistics.allocations;
    *pointer = pinned_allocate(bytes);
    return *pointer ? cudaSuccess : call.result(cudaErrorMemoryAllocation);
}

cudaError_t cudaMallocHost(void **pointer, size_t bytes) {
    CUDA_CALL("cudaMallocHost");
    return cudaHostAlloc(pointer, bytes, 0);
}

cudaError_t cudaFreeHost(void *pointer) {
    CUDA_CALL("cudaFreeHost");
    if (!pointer) {
        return cudaSuccess;
    }
    drain_all();
    return pinned_release(pointer) ? cudaSuccess : call.result(cudaErrorInvalidValue);
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total_bytes) {
    CUDA_CALL("cudaMemGetInfo");
    device_memory_info(free_bytes, total_bytes);
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *target, const void *source, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
    CUDA_CALL("cudaMemcpyAsync");
    Rows rows{bytes, bytes, 1};
    return copy("cudaMemcpyAsync", target, rows, source, rows, kind, stream);
}

cudaError_t cudaMemcpy(void *target, const void *source, size_t bytes, cudaMemcpyKind kind) {
    CUDA_CALL("cudaMemcpy");
    Rows rows{bytes, bytes, 1};
    copy("cudaMemcpy", target, rows, source, rows, kind, nullptr);
    drain(nullptr);
    return cudaSuccess;
}

cudaError_t cudaMemcpy2DAsync(void *target, size_t target_pitch, const void *source, size_t source_pitch, size_t width, size_t height, cudaMemcpyKind kind,
                              cudaStream_t stream) {
    CUDA_CALL("cudaMemcpy2DAsync");
    if (width > target_pitch || width > source_pitch) {
        return call.result(cudaErrorInvalidValue);
    }
    return copy("cudaMemcpy2DAsync", target, {target_pitch, width, height}, source, {source_pitch, width, height}, kind, stream);
}

cudaError_t cudaMemsetAsync(void *target, int value, size_t bytes, cudaStream_t stream) {
    CUDA_CALL("cudaMemsetAsync");
    if (!bytes) {
        return cudaSuccess;
    }
    check_device_range(target, bytes, "cudaMemsetAsync");
    enqueue(stream, [=] {
        DeviceAccess access;
        memset(target, value, bytes);
    });
    return cudaSuccess;
}

cudaError_t cudaMemset(void *target, int value, size_t bytes) {
    CUDA_CALL("cudaMemset");
    cudaMemsetAsync(target, value, bytes, nullptr);
    drain(nullptr);
    return cudaSuccess;
}

} /* extern "C" */
