/*
 * cuBLASLt's functions, as far as the project uses them; anything else ends the test with a message. Strict where the library
 * relies on its caller: pointers, extents, alignments that were promised to the heuristic, one algorithm for one shape.
 */
#include "cublaslt.h"

#include <cstring>

#include "api.h"
#include "device_memory.h"
#include "device_threads.h"
#include "emulation.h"
#include "sanitizers.h"
#include "statistics.h"
#include "stream.h"

using namespace emulation;

#define CUBLAS_CALL(name)                                                                                                                                      \
    Call call(name);                                                                                                                                           \
    if (call.error != 0) {                                                                                                                                     \
        return static_cast<cublasStatus_t>(call.error);                                                                                                        \
    }

namespace {

template <typename Inside, typename Handle> Inside &inside(Handle handle) {
    if (!handle) {
        fail("cuBLASLt stand-in: a NULL descriptor");
    }
    return *reinterpret_cast<Inside *>(handle);
}

template <typename T> void take(T &member, const void *value, size_t bytes, const char *attribute) {
    if (!value || bytes != sizeof member) {
        fail("cuBLASLt stand-in: attribute %s has %zu bytes, given were %zu", attribute, sizeof member, bytes);
    }
    memcpy(&member, value, bytes);
}

/* What the choice of an algorithm depends on; kept in the algorithm. */
struct Fingerprint {
    uint64_t shape, workspace_bytes;
    uint32_t alignment[4];
};
static_assert(sizeof(Fingerprint) <= sizeof(cublasLtMatmulAlgo_t), "fits");
constexpr uint64_t workspace_needed = 4096;

uint64_t mixed(uint64_t hash, uint64_t value) {
    return (hash ^ value) * 0x9e3779b97f4a7c15u + (hash >> 29);
}

uint64_t shape_of(const MatmulOperation &operation, const MatrixLayout *const layouts[4]) {
    uint64_t hash = mixed(mixed(mixed(1, operation.compute), operation.transpose_a * 8 + operation.transpose_b), operation.epilogue);
    for (int i = 0; i < 4; ++i) {
        const MatrixLayout &layout = *layouts[i];
        for (uint64_t value : {uint64_t{layout.type}, layout.rows, layout.columns, static_cast<uint64_t>(layout.leading), uint64_t{layout.order},
                               static_cast<uint64_t>(layout.batches), static_cast<uint64_t>(layout.batch_stride)}) {
            hash = mixed(hash, value);
        }
    }
    return hash;
}

bool has_bias(cublasLtEpilogue_t epilogue) {
    return epilogue == CUBLASLT_EPILOGUE_BIAS || epilogue == CUBLASLT_EPILOGUE_RELU_BIAS || epilogue == CUBLASLT_EPILOGUE_GELU_BIAS;
}

void check_supported(const MatmulOperation &operation, const MatrixLayout *const layouts[4]) {
    const MatrixLayout &a = *layouts[0], &b = *layouts[1], &c = *layouts[2], &d = *layouts[3];
    if (operation.scale != CUDA_R_32F ||
        (operation.compute != CUBLAS_COMPUTE_32F && operation.compute != CUBLAS_COMPUTE_32F_FAST_TF32 && operation.compute != CUBLAS_COMPUTE_32F_PEDANTIC)) {
        fail("cuBLASLt stand-in: compute type %d with scale type %d is not supported", operation.compute, operation.scale);
    }
    if (a.type != b.type || c.type != d.type || (a.type == CUDA_R_32F && d.type != CUDA_R_32F)) {
        fail("cuBLASLt stand-in: element types %d, %d, %d, %d together are not supported", a.type, b.type, c.type, d.type);
    }
    if (a.type == CUDA_R_16F && operation.compute == CUBLAS_COMPUTE_32F_FAST_TF32) {
        fail("cuBLASLt stand-in: TF32 needs float32 operands");
    }
    if (has_bias(operation.epilogue) && d.order != CUBLASLT_ORDER_COL) {
        fail("cuBLASLt stand-in: a bias with a row-major result is not supported");
    }
    if (operation.epilogue != CUBLASLT_EPILOGUE_DEFAULT && operation.epilogue != CUBLASLT_EPILOGUE_RELU && operation.epilogue != CUBLASLT_EPILOGUE_GELU &&
        !has_bias(operation.epilogue)) {
        fail("cuBLASLt stand-in: epilogue %d is not supported", operation.epilogue);
    }
}

/* What cuBLASLt itself answers with an invalid value. */
bool shapes_fit(const MatmulOperation &operation, const MatrixLayout *const layouts[4]) {
    const MatrixLayout &a = *layouts[0], &b = *layouts[1], &c = *layouts[2], &d = *layouts[3];
    bool transpose_a = operation.transpose_a != CUBLAS_OP_N, transpose_b = operation.transpose_b != CUBLAS_OP_N;
    for (int i = 0; i < 4; ++i) {
        const MatrixLayout &layout = *layouts[i];
        uint64_t line = layout.order == CUBLASLT_ORDER_ROW ? layout.columns : layout.rows;
        if (!layout.rows || !layout.columns || layout.leading < static_cast<int64_t>(line) || layout.batches != d.batches || layout.batches < 1) {
            return false;
        }
    }
    uint64_t m = transpose_a ? a.columns : a.rows, k = transpose_a ? a.rows : a.columns;
    uint64_t k_of_b = transpose_b ? b.columns : b.rows, n = transpose_b ? b.rows : b.columns;
    return d.rows == m && d.columns == n && k == k_of_b && c.rows == m && c.columns == n;
}

void check_alignment(const Product &product, const Fingerprint &fingerprint) {
    const void *const pointers[4] = {product.a, product.b, product.c, product.d};
    for (int i = 0; i < 4; ++i) {
        if (fingerprint.alignment[i] && reinterpret_cast<uintptr_t>(pointers[i]) % fingerprint.alignment[i]) {
            fail("cuBLASLt stand-in: matrix %c is not %u-byte aligned, as the algorithm was told", "ABCD"[i], fingerprint.alignment[i]);
        }
    }
}

bool overlap(const void *x, size_t x_bytes, const void *y, size_t y_bytes) {
    const char *first = static_cast<const char *>(x), *second = static_cast<const char *>(y);
    return first < second + y_bytes && second < first + x_bytes;
}

void check_memory(const Product &product) {
    check_device_range(product.a, extent_bytes(product.a_layout), "cublasLtMatmul, matrix A");
    check_device_range(product.b, extent_bytes(product.b_layout), "cublasLtMatmul, matrix B");
    check_device_range(product.d, extent_bytes(product.d_layout), "cublasLtMatmul, matrix D");
    if (product.beta != 0.0f) {
        check_device_range(product.c, extent_bytes(product.c_layout), "cublasLtMatmul, matrix C");
    }
    if (product.operation.bias) {
        check_device_range(product.operation.bias, product.d_layout.rows * element_bytes(product.operation.bias_type), "cublasLtMatmul, bias");
    }
    size_t result = extent_bytes(product.d_layout);
    if (overlap(product.d, result, product.a, extent_bytes(product.a_layout)) || overlap(product.d, result, product.b, extent_bytes(product.b_layout)) ||
        (product.beta != 0.0f && product.c != product.d && overlap(product.d, result, product.c, extent_bytes(product.c_layout)))) {
        fail("cublasLtMatmul: the result overlaps an operand");
    }
}

} /* namespace */

static void (*product_watcher)(void *, int, void *, void *, void *);
static void *product_watcher_context;

extern "C" {

void emulation_watch_products(void (*call)(void *context, int is_done, void *a, void *b, void *d), void *context) {
    Exclusive lock;
    product_watcher = call;
    product_watcher_context = context;
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle) {
    CUBLAS_CALL("cublasLtCreate");
    *handle = reinterpret_cast<cublasLtHandle_t>(new char);
    return CUBLAS_STATUS_SUCCESS;
}

/* What destroys does so even where it reports a failure, which may be an earlier call's: as in CUDA. */
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
    delete reinterpret_cast<char *>(handle);
    CUBLAS_CALL("cublasLtDestroy");
    return CUBLAS_STATUS_SUCCESS;
}

size_t cublasLtGetVersion(void) {
    return CUBLAS_VERSION;
}

const char *cublasLtGetStatusString(cublasStatus_t status) {
    switch (status) {
    case CUBLAS_STATUS_SUCCESS:
        return "success";
    case CUBLAS_STATUS_NOT_INITIALIZED:
        return "the library was not initialized";
    case CUBLAS_STATUS_ALLOC_FAILED:
        return "the resource allocation failed";
    case CUBLAS_STATUS_INVALID_VALUE:
        return "an invalid value was used as an argument";
    case CUBLAS_STATUS_ARCH_MISMATCH:
        return "an absent device architectural feature is required";
    case CUBLAS_STATUS_EXECUTION_FAILED:
        return "the function failed to launch on the GPU";
    case CUBLAS_STATUS_INTERNAL_ERROR:
        return "an internal operation failed";
    case CUBLAS_STATUS_NOT_SUPPORTED:
        return "the functionality requested is not supported";
    default:
        return "unknown status";
    }
}

const char *cublasLtGetStatusName(cublasStatus_t status) {
    switch (status) {
    case CUBLAS_STATUS_SUCCESS:
        return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_NOT_INITIALIZED:
        return "CUBLAS_STATUS_NOT_INITIALIZED";
    case CUBLAS_STATUS_ALLOC_FAILED:
        return "CUBLAS_STATUS_ALLOC_FAILED";
    case CUBLAS_STATUS_INVALID_VALUE:
        return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_ARCH_MISMATCH:
        return "CUBLAS_STATUS_ARCH_MISMATCH";
    case CUBLAS_STATUS_EXECUTION_FAILED:
        return "CUBLAS_STATUS_EXECUTION_FAILED";
    case CUBLAS_STATUS_INTERNAL_ERROR:
        return "CUBLAS_STATUS_INTERNAL_ERROR";
    case CUBLAS_STATUS_NOT_SUPPORTED:
        return "CUBLAS_STATUS_NOT_SUPPORTED";
    default:
        return "CUBLAS_STATUS_UNKNOWN";
    }
}

const char *cublasGetStatusString(cublasStatus_t status) {
    return cublasLtGetStatusString(status);
}

const char *cublasGetStatusName(cublasStatus_t status) {
    return cublasLtGetStatusName(status);
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *layout, cudaDataType type, uint64_t rows, uint64_t columns, int64_t leading) {
    CUBLAS_CALL("cublasLtMatrixLayoutCreate");
    element_bytes(type);
    *layout = reinterpret_cast<cublasLtMatrixLayout_t>(new MatrixLayout{type, rows, columns, leading, CUBLASLT_ORDER_COL, 1, 0});
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
    delete reinterpret_cast<MatrixLayout *>(layout);
    CUBLAS_CALL("cublasLtMatrixLayoutDestroy");
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t handle, cublasLtMatrixLayoutAttribute_t attribute, const void *value, size_t bytes) {
    CUBLAS_CALL("cublasLtMatrixLayoutSetAttribute");
    MatrixLayout &layout = inside<MatrixLayout>(handle);
    switch (attribute) {
    case CUBLASLT_MATRIX_LAYOUT_ORDER:
        take(layout.order, value, bytes, "ORDER");
        if (layout.order != CUBLASLT_ORDER_COL && layout.order != CUBLASLT_ORDER_ROW) {
            fail("cuBLASLt stand-in: matrix order %d is not supported", layout.order);
        }
        break;
    case CUBLASLT_MATRIX_LAYOUT_ROWS:
        take(layout.rows, value, bytes, "ROWS");
        break;
    case CUBLASLT_MATRIX_LAYOUT_COLS:
        take(layout.columns, value, bytes, "COLS");
        break;
    case CUBLASLT_MATRIX_LAYOUT_LD:
        take(layout.leading, value, bytes, "LD");
        break;
    case CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT:
        take(layout.batches, value, bytes, "BATCH_COUNT");
        break;
    case CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET:
        take(layout.batch_stride, value, bytes, "STRIDED_BATCH_OFFSET");
        break;
    default:
        fail("cuBLASLt stand-in: layout attribute %d is not supported", attribute);
    }
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *operation, cublasComputeType_t compute, cudaDataType_t scale) {
    CUBLAS_CALL("cublasLtMatmulDescCreate");
    *operation = reinterpret_cast<cublasLtMatmulDesc_t>(
        new MatmulOperation{compute, scale, CUBLAS_OP_N, CUBLAS_OP_N, CUBLASLT_EPILOGUE_DEFAULT, nullptr, 0, CUDA_R_32F});
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t operation) {
    delete reinterpret_cast<MatmulOperation *>(operation);
    CUBLAS_CALL("cublasLtMatmulDescDestroy");
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t handle, cublasLtMatmulDescAttributes_t attribute, const void *value, size_t bytes) {
    CUBLAS_CALL("cublasLtMatmulDescSetAttribute");
    MatmulOperation &operation = inside<MatmulOperation>(handle);
    switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
        take(operation.transpose_a, value, bytes, "TRANSA");
        break;
    case CUBLASLT_MATMUL_DESC_TRANSB:
        take(operation.transpose_b, value, bytes, "TRANSB");
        break;
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
        take(operation.epilogue, value, bytes, "EPILOGUE");
        break;
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
        take(operation.bias, value, bytes, "BIAS_POINTER");
        break;
    case CUBLASLT_MATMUL_DESC_BIAS_BATCH_STRIDE:
        take(operation.bias_batch_stride, value, bytes, "BIAS_BATCH_STRIDE");
        break;
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE:
        take(operation.bias_type, value, bytes, "BIAS_DATA_TYPE");
        break;
    case CUBLASLT_MATMUL_DESC_POINTER_MODE: {
        cublasLtPointerMode_t mode = CUBLASLT_POINTER_MODE_HOST;
        take(mode, value, bytes, "POINTER_MODE");
        if (mode != CUBLASLT_POINTER_MODE_HOST) {
            fail("cuBLASLt stand-in: alpha and beta must be on the host");
        }
        break;
    }
    default:
        fail("cuBLASLt stand-in: operation attribute %d is not supported", attribute);
    }
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *preference) {
    CUBLAS_CALL("cublasLtMatmulPreferenceCreate");
    *preference = reinterpret_cast<cublasLtMatmulPreference_t>(new MatmulPreference{0, CUBLASLT_REDUCTION_SCHEME_MASK, {256, 256, 256, 256}});
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
    delete reinterpret_cast<MatmulPreference *>(preference);
    CUBLAS_CALL("cublasLtMatmulPreferenceDestroy");
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t handle, cublasLtMatmulPreferenceAttributes_t attribute, const void *value,
                                                    size_t bytes) {
    CUBLAS_CALL("cublasLtMatmulPreferenceSetAttribute");
    MatmulPreference &preference = inside<MatmulPreference>(handle);
    switch (attribute) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
        take(preference.workspace_bytes, value, bytes, "MAX_WORKSPACE_BYTES");
        break;
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK:
        take(preference.reductions, value, bytes, "REDUCTION_SCHEME_MASK");
        break;
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
        take(preference.alignment[attribute - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES], value, bytes, "MIN_ALIGNMENT");
        break;
    default:
        fail("cuBLASLt stand-in: preference attribute %d is not supported", attribute);
    }
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t operation_handle, cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d, cublasLtMatmulPreference_t preference_handle, int requested,
                                              cublasLtMatmulHeuristicResult_t *results, int *count) {
    CUBLAS_CALL("cublasLtMatmulAlgoGetHeuristic");
    const MatmulOperation &operation = inside<MatmulOperation>(operation_handle);
    const MatmulPreference &preference = inside<MatmulPreference>(preference_handle);
    const MatrixLayout *const layouts[4] = {&inside<MatrixLayout>(a), &inside<MatrixLayout>(b), &inside<MatrixLayout>(c), &inside<MatrixLayout>(d)};
    *count = 0;
    if (requested < 1 || !shapes_fit(operation, layouts)) {
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    check_supported(operation, layouts);
    Fingerprint fingerprint{shape_of(operation, layouts), preference.workspace_bytes < workspace_needed ? 0 : workspace_needed, {}};
    memcpy(fingerprint.alignment, preference.alignment, sizeof fingerprint.alignment);
    memset(results, 0, sizeof *results);
    memcpy(&results->algo, &fingerprint, sizeof fingerprint);
    results->workspaceSize = fingerprint.workspace_bytes;
    results->state = CUBLAS_STATUS_SUCCESS;
    results->wavesCount = 1.0f;
    ++statistics.heuristics;
    *count = 1;
    return CUBLAS_STATUS_SUCCESS;
}

/* algorithm NULL: chosen here, with all that the workspace allows. */
cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t operation, const void *alpha, const void *a, cublasLtMatrixLayout_t a_layout,
                              const void *b, cublasLtMatrixLayout_t b_layout, const void *beta, const void *c, cublasLtMatrixLayout_t c_layout, void *d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t *algorithm, void *workspace, size_t workspace_bytes,
                              cudaStream_t stream) {
    CUBLAS_CALL("cublasLtMatmul");
    if (!handle || !alpha || !beta) {
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    Product product{
        inside<MatmulOperation>(operation), *static_cast<const float *>(alpha), *static_cast<const float *>(beta), a, b, c, d, inside<MatrixLayout>(a_layout),
        inside<MatrixLayout>(b_layout),     inside<MatrixLayout>(c_layout),     inside<MatrixLayout>(d_layout)};
    const MatrixLayout *const layouts[4] = {&product.a_layout, &product.b_layout, &product.c_layout, &product.d_layout};
    if (!shapes_fit(product.operation, layouts)) {
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    check_supported(product.operation, layouts);
    if (!has_bias(product.operation.epilogue)) {
        product.operation.bias = nullptr;
    } else if (!product.operation.bias) {
        fail("cublasLtMatmul: an epilogue with bias, and no bias");
    }
    Fingerprint fingerprint{0, workspace_bytes < workspace_needed ? 0 : workspace_needed, {}};
    if (algorithm) {
        memcpy(&fingerprint, algorithm, sizeof fingerprint);
        if (fingerprint.shape != shape_of(product.operation, layouts)) {
            fail("cublasLtMatmul: the algorithm was chosen for another shape");
        }
        check_alignment(product, fingerprint);
    }
    if (fingerprint.workspace_bytes > workspace_bytes) {
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    if (fingerprint.workspace_bytes) {
        check_device_range(workspace, workspace_bytes, "cublasLtMatmul, workspace");
    }
    check_memory(product);
    ++statistics.products;
    enqueue(stream, [=] {
        DeviceAccess access;
        if (fingerprint.workspace_bytes) {
            memset(workspace, 0xff, fingerprint.workspace_bytes); /* shows where two streams share it */
        }
        if (product_watcher) {
            product_watcher(product_watcher_context, 0, const_cast<void *>(a), const_cast<void *>(b), d);
        }
        multiply(product);
        if (product_watcher) {
            product_watcher(product_watcher_context, 1, const_cast<void *>(a), const_cast<void *>(b), d);
        }
    });
    return CUBLAS_STATUS_SUCCESS;
}

} /* extern "C" */
