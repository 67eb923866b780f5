/* cuTensorMapEncodeTiled, and how programs get at it without linking the driver. */
#include "tensor_map.h"

#include <cstring>

#include <cuda.h>

#include "api.h"
#include "device_threads.h"

namespace emulation {

namespace {

constexpr uint64_t tensor_mark = 0x74656e736f726d61;
static_assert(sizeof(TensorMap) <= sizeof(CUtensorMap), "it must fit");

uint32_t bytes_of(CUtensorMapDataType type) {
    switch (type) {
    case CU_TENSOR_MAP_DATA_TYPE_UINT8:
        return 1;
    case CU_TENSOR_MAP_DATA_TYPE_UINT16:
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT16:
    case CU_TENSOR_MAP_DATA_TYPE_BFLOAT16:
        return 2;
    case CU_TENSOR_MAP_DATA_TYPE_UINT32:
    case CU_TENSOR_MAP_DATA_TYPE_INT32:
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT32:
        return 4;
    default:
        fail("cuTensorMapEncodeTiled: data type %d is not emulated", static_cast<int>(type));
    }
}

/* The conditions are the driver's own. */
bool valid(const TensorMap &map) {
    const uint64_t most_elements = uint64_t{1} << 32, most_bytes = uint64_t{1} << 40;
    const uint64_t box_row = uint64_t{map.box_columns} * map.element_bytes;
    return map.base && reinterpret_cast<uintptr_t>(map.base) % 16 == 0 && map.columns >= 1 && map.columns <= most_elements && map.rows >= 1 &&
           map.rows <= most_elements && map.row_bytes % 16 == 0 && map.row_bytes < most_bytes && map.row_bytes >= map.columns * map.element_bytes &&
           map.box_columns >= 1 && map.box_columns <= 256 && map.box_rows >= 1 && map.box_rows <= 256 && box_row % 16 == 0 && (!map.swizzled || box_row <= 128);
}

CUresult encode_tiled(CUtensorMap *map, CUtensorMapDataType type, cuuint32_t rank, void *base, const cuuint64_t *sizes, const cuuint64_t *strides,
                      const cuuint32_t *box, const cuuint32_t *element_strides, CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle,
                      CUtensorMapL2promotion, CUtensorMapFloatOOBfill fill) {
    Exclusive lock;
    if (rank != 2 || element_strides[0] != 1 || element_strides[1] != 1 || interleave != CU_TENSOR_MAP_INTERLEAVE_NONE ||
        fill != CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE || (swizzle != CU_TENSOR_MAP_SWIZZLE_NONE && swizzle != CU_TENSOR_MAP_SWIZZLE_128B)) {
        fail("cuTensorMapEncodeTiled: only dense matrices, with 128-byte swizzle or none, are emulated");
    }
    if (!map || reinterpret_cast<uintptr_t>(map) % 64) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    TensorMap encoded{tensor_mark,    static_cast<const unsigned char *>(base), sizes[0], sizes[1], strides[0], box[0], box[1],
                      bytes_of(type), swizzle == CU_TENSOR_MAP_SWIZZLE_128B};
    if (!valid(encoded)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    memset(static_cast<void *>(map), 0, sizeof *map);
    memcpy(static_cast<void *>(map), &encoded, sizeof encoded);
    return CUDA_SUCCESS;
}

bool find_entry_point(const char *symbol, void **function, cudaDriverEntryPointQueryResult *status) {
    const bool known = strcmp(symbol, "cuTensorMapEncodeTiled") == 0;
    *function = known ? reinterpret_cast<void *>(&encode_tiled) : nullptr;
    if (status) {
        *status = known ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
    }
    return known;
}

} /* namespace */

TensorMap tensor_map_decode(const void *map, int line) {
    if (reinterpret_cast<uintptr_t>(map) % 64) {
        fail("line %d: TMA: the tensor map is not 64-byte aligned", line);
    }
    TensorMap result;
    memcpy(static_cast<void *>(&result), map, sizeof result);
    if (result.mark != tensor_mark) {
        fail("line %d: TMA: not a tensor map that cuTensorMapEncodeTiled made", line);
    }
    return result;
}

} /* namespace emulation */

using namespace emulation;

extern "C" {

cudaError_t cudaGetDriverEntryPointByVersion(const char *symbol, void **function, unsigned, unsigned long long, cudaDriverEntryPointQueryResult *status) {
    CUDA_CALL("cudaGetDriverEntryPointByVersion");
    return find_entry_point(symbol, function, status) ? cudaSuccess : call.result(cudaErrorInvalidValue);
}

cudaError_t cudaGetDriverEntryPoint(const char *symbol, void **function, unsigned long long, cudaDriverEntryPointQueryResult *status) {
    CUDA_CALL("cudaGetDriverEntryPoint");
    return find_entry_point(symbol, function, status) ? cudaSuccess : call.result(cudaErrorInvalidValue);
}

} /* extern "C" */
