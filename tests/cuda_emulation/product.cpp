/* One matrix product of the cuBLASLt stand-in, on cblas. */
#include <cmath>
#include <cstring>
#include <vector>

#include <cblas.h>
#include <cuda_fp16.h>

#include "cublaslt.h"
#include "device_memory.h"
#include "device_threads.h"
#include "half.h"
#include "sanitizers.h"

namespace emulation {

namespace {

size_t position(const MatrixLayout &layout, uint64_t row, uint64_t column) {
    uint64_t leading = static_cast<uint64_t>(layout.leading);
    return layout.order == CUBLASLT_ORDER_ROW ? row * leading + column : column * leading + row;
}

/* Every matrix is read and written line by line: its contiguous direction. */
template <typename Visit> void for_each_line(const MatrixLayout &layout, const void *matrix, int batch, Visit visit) {
    bool by_row = layout.order == CUBLASLT_ORDER_ROW;
    uint64_t lines = by_row ? layout.rows : layout.columns, length = by_row ? layout.columns : layout.rows;
    const unsigned char *start = static_cast<const unsigned char *>(matrix) + static_cast<size_t>(batch * layout.batch_stride) * element_bytes(layout.type);
    for (uint64_t line = 0; line < lines; ++line) {
        visit(line, length, start + line * static_cast<size_t>(layout.leading) * element_bytes(layout.type));
    }
}

/* TF32 keeps 10 of the 23 bits of the fraction; to nearest, ties to even. */
float rounded_to_tf32(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if ((bits >> 23 & 255) == 255) {
        return value;
    }
    bits += 0xfff + (bits >> 13 & 1);
    bits &= ~0x1fffu;
    memcpy(&value, &bits, sizeof bits);
    return value;
}

/* Column-major floats without gaps. */
std::vector<float> loaded(const MatrixLayout &layout, const void *matrix, int batch, bool tf32) {
    std::vector<float> values(layout.rows * layout.columns);
    for_each_line(layout, matrix, batch, [&](uint64_t line, uint64_t length, const unsigned char *source) {
        announce_read(source, length * element_bytes(layout.type));
        for (uint64_t i = 0; i < length; ++i) {
            float value;
            if (layout.type == CUDA_R_16F) {
                uint16_t bits;
                memcpy(&bits, source + 2 * i, sizeof bits);
                value = half_to_float(bits);
            } else {
                memcpy(&value, source + 4 * i, sizeof value);
                value = tf32 ? rounded_to_tf32(value) : value;
            }
            bool by_row = layout.order == CUBLASLT_ORDER_ROW;
            values[by_row ? i * layout.rows + line : line * layout.rows + i] = value;
        }
    });
    return values;
}

void store(const MatrixLayout &layout, void *matrix, int batch, const std::vector<float> &values) {
    for_each_line(layout, matrix, batch, [&](uint64_t line, uint64_t length, const unsigned char *start) {
        unsigned char *target = const_cast<unsigned char *>(start);
        announce_write(target, length * element_bytes(layout.type));
        for (uint64_t i = 0; i < length; ++i) {
            bool by_row = layout.order == CUBLASLT_ORDER_ROW;
            float value = values[by_row ? i * layout.rows + line : line * layout.rows + i];
            if (layout.type == CUDA_R_16F) {
                __half rounded = __float2half_rn(value);
                memcpy(target + 2 * i, &rounded, 2);
            } else {
                memcpy(target + 4 * i, &value, 4);
            }
        }
    });
}

float activated(cublasLtEpilogue_t epilogue, float x) {
    switch (epilogue) {
    case CUBLASLT_EPILOGUE_RELU:
    case CUBLASLT_EPILOGUE_RELU_BIAS:
        return x > 0.0f ? x : 0.0f;
    case CUBLASLT_EPILOGUE_GELU:
    case CUBLASLT_EPILOGUE_GELU_BIAS: /* the tanh form, as cuBLASLt has it */
        return 0.5f * x * (1.0f + tanhf(0.7978845608f * (x + 0.044715f * x * x * x)));
    default:
        return x;
    }
}

std::vector<float> loaded_bias(const Product &product, int batch) {
    std::vector<float> bias(product.d_layout.rows, 0.0f);
    if (product.operation.bias) {
        MatrixLayout layout{product.operation.bias_type,        bias.size(), 1, static_cast<int64_t>(bias.size()), CUBLASLT_ORDER_COL, 1,
                            product.operation.bias_batch_stride};
        bias = loaded(layout, product.operation.bias, batch, false);
    }
    return bias;
}

void multiply_one(const Product &product, int batch) {
    bool tf32 = product.operation.compute == CUBLAS_COMPUTE_32F_FAST_TF32;
    bool transpose_a = product.operation.transpose_a != CUBLAS_OP_N, transpose_b = product.operation.transpose_b != CUBLAS_OP_N;
    std::vector<float> a = loaded(product.a_layout, product.a, batch, tf32), b = loaded(product.b_layout, product.b, batch, tf32);
    blasint m = static_cast<blasint>(product.d_layout.rows), n = static_cast<blasint>(product.d_layout.columns);
    blasint k = static_cast<blasint>(transpose_a ? product.a_layout.rows : product.a_layout.columns);
    std::vector<float> d(product.d_layout.rows * product.d_layout.columns, 0.0f);
    cblas_sgemm(CblasColMajor, transpose_a ? CblasTrans : CblasNoTrans, transpose_b ? CblasTrans : CblasNoTrans, m, n, k, product.alpha, a.data(),
                static_cast<blasint>(product.a_layout.rows), b.data(), static_cast<blasint>(product.b_layout.rows), 0.0f, d.data(), m);
    std::vector<float> c, bias = loaded_bias(product, batch);
    if (product.beta != 0.0f) { /* otherwise C is not read: it may hold NaN */
        c = loaded(product.c_layout, product.c, batch, false);
    }
    for (size_t i = 0; i < d.size(); ++i) {
        float sum = d[i] + (c.empty() ? 0.0f : product.beta * c[i]) + bias[i % product.d_layout.rows];
        d[i] = activated(product.operation.epilogue, sum);
    }
    store(product.d_layout, product.d, batch, d);
}

} /* namespace */

size_t element_bytes(cudaDataType type) {
    if (type != CUDA_R_16F && type != CUDA_R_32F) {
        fail("cuBLASLt stand-in: element type %d is not supported", static_cast<int>(type));
    }
    return type == CUDA_R_16F ? 2 : 4;
}

size_t extent_bytes(const MatrixLayout &layout) {
    size_t elements = layout.rows && layout.columns ? position(layout, layout.rows - 1, layout.columns - 1) + 1 : 0;
    return (elements + static_cast<size_t>((layout.batches - 1) * layout.batch_stride)) * element_bytes(layout.type);
}

void multiply(const Product &product) {
    DeviceAccess access;
    for (int batch = 0; batch < product.d_layout.batches; ++batch) {
        multiply_one(product, batch);
    }
}

} /* namespace emulation */
