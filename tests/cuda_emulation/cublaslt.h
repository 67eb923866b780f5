/* The stand-in for cuBLASLt: what its descriptors hold, and the product itself. */
#ifndef CUDA_EMULATION_CUBLASLT_H
#define CUDA_EMULATION_CUBLASLT_H

#include <cstddef>
#include <cstdint>

#include <cublasLt.h>

namespace emulation {

struct MatrixLayout {
    cudaDataType type;
    uint64_t rows, columns;
    int64_t leading;
    cublasLtOrder_t order;
    int32_t batches;
    int64_t batch_stride; /* elements */
};

struct MatmulOperation {
    cublasComputeType_t compute;
    cudaDataType_t scale;
    cublasOperation_t transpose_a, transpose_b;
    cublasLtEpilogue_t epilogue;
    const void *bias;
    int64_t bias_batch_stride;
    cudaDataType bias_type;
};

struct MatmulPreference {
    uint64_t workspace_bytes;
    uint32_t reductions, alignment[4]; /* of A, B, C, D */
};

/* D = epilogue(alpha op(A) op(B) + beta C + bias); float32 sums of float32, TF32-rounded or half operands. */
struct Product {
    MatmulOperation operation;
    float alpha, beta;
    const void *a, *b, *c;
    void *d;
    MatrixLayout a_layout, b_layout, c_layout, d_layout;
};
void multiply(const Product &product);

size_t element_bytes(cudaDataType type);
/* From the first element of the first batch to the last of the last. */
size_t extent_bytes(const MatrixLayout &layout);

} /* namespace emulation */

#endif
