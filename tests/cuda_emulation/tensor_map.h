/* The emulation's own contents of a CUtensorMap. */
#ifndef CUDA_EMULATION_TENSOR_MAP_H
#define CUDA_EMULATION_TENSOR_MAP_H

#include <cstdint>

namespace emulation {

struct TensorMap {
    uint64_t mark;
    const unsigned char *base;
    uint64_t columns, rows, row_bytes; /* row_bytes: from one row to the next */
    uint32_t box_columns, box_rows, element_bytes;
    bool swizzled; /* 128 bytes; else not at all */

    unsigned box_bytes() const {
        return box_columns * box_rows * element_bytes;
    }
};

/* Fails when `map` is not what the encoder made. */
TensorMap tensor_map_decode(const void *map, int line);

} /* namespace emulation */

#endif
