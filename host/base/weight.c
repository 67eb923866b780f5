#include "contexture/model.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

size_t cx_dtype_size(enum cx_dtype dtype) {
    return dtype == CX_FLOAT32 ? 4 : 2;
}

static float float_of_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* bfloat16 is the upper half of a float32. */
static float bfloat16_to_float(uint16_t bits) {
    return float_of_bits((uint32_t)bits << 16);
}

/* IEEE 754 binary16: 1 sign bit, 5 bits of exponent (bias 15), 10 of mantissa. Every value is exact in float32. */
static float float16_to_float(uint16_t bits) {
    uint32_t sign = (uint32_t)(bits & 0x8000u) << 16, exponent = (bits >> 10) & 0x1Fu, mantissa = bits & 0x3FFu;
    if (exponent == 0x1F)
        return float_of_bits(sign | 0x7F800000u | mantissa << 13);
    if (exponent == 0) {
        float magnitude = (float)mantissa * 0x1p-24f;
        return sign ? -magnitude : magnitude;
    }
    return float_of_bits(sign | (exponent + 127 - 15) << 23 | mantissa << 13);
}

/* The view may point anywhere into a mapped file, so its elements need not be aligned. */
void cx_weight_to_float(const struct cx_weight *weight, float *out) {
    size_t count = weight->rows * weight->columns;
    const unsigned char *bytes = weight->data;
    if (count == 0)
        return;
    if (weight->dtype == CX_FLOAT32) {
        memcpy(out, bytes, count * sizeof *out);
        return;
    }
    for (size_t k = 0; k < count; k++) {
        uint16_t bits;
        memcpy(&bits, bytes + 2 * k, sizeof bits);
        out[k] = weight->dtype == CX_FLOAT16 ? float16_to_float(bits) : bfloat16_to_float(bits);
    }
}

static enum cx_status read_bytes(const struct cx_weight *weight, size_t first, size_t size, unsigned char *bytes, struct cx_error *error) {
    for (size_t done = 0; done < size;) {
        const ssize_t count = pread(weight->file, bytes + done, size - done, (off_t)(weight->file_offset + first + done));
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return cx_fail_errno(error, "read the weight", weight->name);
        if (count == 0)
            return cx_fail(error, CX_ERROR_INPUT, "%s: the model's file has become shorter while it was used; run the same command again with the whole file",
                           weight->name);
        done += (size_t)count;
    }
    return CX_OK;
}

enum cx_status cx_weight_row(const struct cx_weight *weight, size_t row, float *out, struct cx_error *error) {
    const size_t size = cx_dtype_size(weight->dtype);
    struct cx_weight piece = {.name = weight->name, .dtype = weight->dtype, .rows = 1, .columns = weight->columns};
    if (weight->file <= 0) {
        piece.data = (const unsigned char *)weight->data + row * weight->columns * size;
        cx_weight_to_float(&piece, out);
        return CX_OK;
    }
    unsigned char bytes[4096];
    piece.data = bytes;
    for (size_t first = 0; first < weight->columns; first += piece.columns) {
        const size_t left = weight->columns - first;
        piece.columns = left < sizeof bytes / size ? left : sizeof bytes / size;
        enum cx_status status = read_bytes(weight, (row * weight->columns + first) * size, piece.columns * size, bytes, error);
        if (status != CX_OK)
            return status;
        cx_weight_to_float(&piece, out + first);
    }
    return CX_OK;
}
