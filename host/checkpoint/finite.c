#include "finite.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* In all three types a number is NaN or infinite exactly if all bits of its exponent are set. */
static uint32_t exponent_mask(enum cx_dtype dtype) {
    switch (dtype) {
    case CX_FLOAT32:
        return 0x7F800000u;
    case CX_FLOAT16:
        return 0x7C00u;
    case CX_BFLOAT16:
        return 0x7F80u;
    }
    return 0;
}

/* No branch inside the loops, so that compilers vectorise them; memcpy, because the data may be unaligned. */
static bool any_32(const unsigned char *data, uint32_t mask, size_t count) {
    uint32_t found = 0;
    for (size_t k = 0; k < count; k++) {
        uint32_t bits;
        memcpy(&bits, data + 4 * k, sizeof bits);
        found |= (bits & mask) == mask;
    }
    return found != 0;
}

static bool any_16(const unsigned char *data, uint16_t mask, size_t count) {
    uint16_t found = 0;
    for (size_t k = 0; k < count; k++) {
        uint16_t bits;
        memcpy(&bits, data + 2 * k, sizeof bits);
        found |= (uint16_t)((bits & mask) == mask);
    }
    return found != 0;
}

static bool any_not_finite(const unsigned char *data, enum cx_dtype dtype, size_t count) {
    uint32_t mask = exponent_mask(dtype);
    return dtype == CX_FLOAT32 ? any_32(data, mask, count) : any_16(data, (uint16_t)mask, count);
}

size_t cx_first_not_finite(const unsigned char *data, enum cx_dtype dtype, size_t count) {
    enum { block = 4096 };
    size_t size = cx_dtype_size(dtype);
    for (size_t first = 0; first < count; first += block) {
        size_t length = count - first < block ? count - first : block;
        if (!any_not_finite(data + first * size, dtype, length))
            continue;
        while (!any_not_finite(data + first * size, dtype, 1))
            first++;
        return first;
    }
    return count;
}
