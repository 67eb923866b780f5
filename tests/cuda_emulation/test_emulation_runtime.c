/* Streams, events, memory and errors of the emulated runtime, and its cuBLASLt against a plain product. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include "emulation.h"

#define CHECK(call) assert_int_equal(call, cudaSuccess)

static void test_events_order_streams(void **state) {
    (void)state;
    enum { count = 1000 };
    cudaStream_t first, second;
    cudaEvent_t ready;
    float *device, *source, *target;
    CHECK(cudaStreamCreateWithFlags(&first, cudaStreamNonBlocking));
    CHECK(cudaStreamCreateWithFlags(&second, cudaStreamNonBlocking));
    CHECK(cudaEventCreateWithFlags(&ready, cudaEventDisableTiming));
    CHECK(cudaMalloc((void **)&device, count * sizeof *device));
    CHECK(cudaMallocHost((void **)&source, count * sizeof *source));
    CHECK(cudaHostAlloc((void **)&target, count * sizeof *target, cudaHostAllocDefault));
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < count; i++) {
            source[i] = (float)(round * count + i);
        }
        CHECK(cudaMemcpyAsync(device, source, count * sizeof *device, cudaMemcpyHostToDevice, first));
        CHECK(cudaEventRecord(ready, first));
        CHECK(cudaStreamWaitEvent(second, ready, 0));
        CHECK(cudaMemcpyAsync(target, device, count * sizeof *device, cudaMemcpyDeviceToHost, second));
        CHECK(cudaStreamSynchronize(second));
        assert_memory_equal(source, target, count * sizeof *source);
    }
    CHECK(cudaEventDestroy(ready));
    CHECK(cudaStreamDestroy(first));
    CHECK(cudaStreamDestroy(second));
    CHECK(cudaFree(device));
    CHECK(cudaFreeHost(source));
    CHECK(cudaFreeHost(target));
}

static void test_events_count_and_time(void **state) {
    (void)state;
    cudaStream_t stream;
    cudaEvent_t start, end;
    void *device;
    float milliseconds = -1.0f;
    CHECK(cudaStreamCreate(&stream));
    CHECK(cudaEventCreate(&start));
    CHECK(cudaEventCreate(&end));
    CHECK(cudaMalloc(&device, 1 << 20));
    assert_int_equal(cudaEventElapsedTime(&milliseconds, start, end), cudaErrorInvalidResourceHandle);
    CHECK(cudaEventQuery(end)); /* never recorded: nothing to wait for */
    CHECK(cudaEventRecord(start, stream));
    CHECK(cudaMemsetAsync(device, 0, 1 << 20, stream));
    CHECK(cudaEventRecord(end, stream));
    int queries = 0;
    while (cudaEventQuery(end) == cudaErrorNotReady) {
        assert_true(++queries < 10);
    }
    CHECK(cudaEventSynchronize(end));
    CHECK(cudaEventElapsedTime(&milliseconds, start, end));
    assert_true(milliseconds >= 0.0f);
    CHECK(cudaGetLastError() == cudaErrorInvalidResourceHandle ? cudaSuccess : cudaErrorUnknown);
    CHECK(cudaEventDestroy(start));
    CHECK(cudaEventDestroy(end));
    CHECK(cudaStreamDestroy(stream));
    CHECK(cudaFree(device));
}

static void test_copy_in_two_dimensions(void **state) {
    (void)state;
    unsigned char source[5][7], target[5][4];
    unsigned char *device;
    for (int i = 0; i < 35; i++) {
        source[i / 7][i % 7] = (unsigned char)i;
    }
    CHECK(cudaMalloc((void **)&device, 5 * 16));
    CHECK(cudaMemcpy2DAsync(device, 16, source, 7, 4, 5, cudaMemcpyHostToDevice, NULL));
    CHECK(cudaMemcpy2DAsync(target, 4, device, 16, 4, 5, cudaMemcpyDeviceToHost, NULL));
    CHECK(cudaDeviceSynchronize());
    for (int row = 0; row < 5; row++) {
        assert_memory_equal(target[row], source[row], 4);
    }
    CHECK(cudaFree(device));
}

static void test_errors_on_request(void **state) {
    (void)state;
    void *device = NULL;
    emulation_fail_call("cudaMalloc", 2, cudaErrorMemoryAllocation);
    CHECK(cudaMalloc(&device, 16));
    void *other = NULL;
    assert_int_equal(cudaMalloc(&other, 16), cudaErrorMemoryAllocation);
    assert_null(other);
    assert_string_equal(cudaGetErrorName(cudaGetLastError()), "cudaErrorMemoryAllocation");
    CHECK(cudaGetLastError());
    CHECK(cudaMalloc(&other, 16));
    CHECK(cudaFree(other));
    emulation_fail_call("any", 1, cudaErrorIllegalAddress);
    assert_int_equal(cudaDeviceSynchronize(), cudaErrorIllegalAddress);
    assert_int_equal(cudaMalloc(&other, 16), cudaErrorIllegalAddress); /* sticky */
    assert_int_equal(cudaGetLastError(), cudaErrorIllegalAddress);
    assert_int_equal(cudaGetLastError(), cudaErrorIllegalAddress);
    emulation_reset_errors();
    CHECK(cudaFree(device));
    assert_int_equal(cudaMalloc(&device, (size_t)1 << 50), cudaErrorMemoryAllocation);
    (void)cudaGetLastError();
}

static void test_statistics(void **state) {
    (void)state;
    struct emulation_statistics before, after;
    void *device;
    char pageable[8];
    emulation_get_statistics(&before);
    CHECK(cudaMalloc(&device, 100));
    CHECK(cudaMemcpyAsync(device, pageable, 8, cudaMemcpyHostToDevice, NULL));
    emulation_get_statistics(&after);
    assert_int_equal(after.allocations - before.allocations, 1);
    assert_int_equal(after.device_bytes - before.device_bytes, 100);
    assert_int_equal(after.pageable_copies - before.pageable_copies, 1);
    CHECK(cudaFree(device));
    emulation_get_statistics(&after);
    assert_int_equal(after.device_bytes, before.device_bytes);
}

/* --- cuBLASLt --- */

struct product_case {
    uint64_t m, n, k;
    int transpose_a, transpose_b, half, half_result, bias, batches;
    float beta;
};

static float sample(uint64_t i) {
    return (float)((int)(i * 2654435761u % 201) - 100) / 64.0f; /* exact in half and TF32 */
}

__extension__ typedef _Float16 half_float; /* of the compiler, not of the emulation */

static uint16_t half_bits(float value) {
    half_float half = (half_float)value;
    uint16_t bits;
    memcpy(&bits, &half, sizeof bits);
    return bits;
}

static void *upload(const void *values, size_t bytes) {
    void *device;
    CHECK(cudaMalloc(&device, bytes));
    CHECK(cudaMemcpy(device, values, bytes, cudaMemcpyHostToDevice));
    return device;
}

static void *upload_samples(uint64_t count, uint64_t first, int half) {
    float *values = malloc(count * sizeof *values);
    assert_non_null(values);
    for (uint64_t i = 0; i < count; i++) {
        float value = sample(first + i);
        if (half) {
            uint16_t bits = half_bits(value);
            memcpy((char *)values + 2 * i, &bits, sizeof bits);
        } else {
            values[i] = value;
        }
    }
    void *device = upload(values, count * (half ? 2 : 4));
    free(values);
    return device;
}

static cublasLtMatrixLayout_t layout(int half, uint64_t rows, uint64_t columns, uint64_t leading, int32_t batches, int64_t distance) {
    cublasLtMatrixLayout_t result;
    CHECK(cublasLtMatrixLayoutCreate(&result, half ? CUDA_R_16F : CUDA_R_32F, rows, columns, (int64_t)leading));
    CHECK(cublasLtMatrixLayoutSetAttribute(result, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &batches, sizeof batches));
    CHECK(cublasLtMatrixLayoutSetAttribute(result, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &distance, sizeof distance));
    return result;
}

static void run_product(const struct product_case *c) {
    const uint64_t pad = 3, a_rows = c->transpose_a ? c->k : c->m, a_columns = c->transpose_a ? c->m : c->k;
    const uint64_t b_rows = c->transpose_b ? c->n : c->k, b_columns = c->transpose_b ? c->k : c->n;
    const uint64_t a_leading = a_rows + pad, b_leading = b_rows + pad, d_leading = c->m + pad;
    const uint64_t a_size = a_leading * a_columns, b_size = b_leading * b_columns, d_size = d_leading * c->n, batches = (uint64_t)c->batches;
    const float alpha = 0.5f;
    void *a = upload_samples(a_size * batches, 1, c->half), *b = upload_samples(b_size * batches, 5000, c->half);
    void *d = upload_samples(d_size * batches, 9000, c->half_result), *bias = upload_samples(c->m, 77, c->half_result), *workspace;
    CHECK(cudaMalloc(&workspace, 1 << 16));

    cublasLtHandle_t handle;
    cublasLtMatmulDesc_t operation;
    cublasLtMatmulPreference_t preference;
    cublasLtMatmulHeuristicResult_t found;
    const cublasOperation_t transpose = CUBLAS_OP_T;
    const cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
    const cudaDataType_t bias_type = c->half_result ? CUDA_R_16F : CUDA_R_32F;
    const uint64_t workspace_bytes = 1 << 16;
    const uint32_t alignment = 2;
    int count;
    CHECK(cublasLtCreate(&handle));
    CHECK(cublasLtMatmulDescCreate(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    if (c->transpose_a) {
        CHECK(cublasLtMatmulDescSetAttribute(operation, CUBLASLT_MATMUL_DESC_TRANSA, &transpose, sizeof transpose));
    }
    if (c->transpose_b) {
        CHECK(cublasLtMatmulDescSetAttribute(operation, CUBLASLT_MATMUL_DESC_TRANSB, &transpose, sizeof transpose));
    }
    if (c->bias) {
        CHECK(cublasLtMatmulDescSetAttribute(operation, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue));
        CHECK(cublasLtMatmulDescSetAttribute(operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias));
        CHECK(cublasLtMatmulDescSetAttribute(operation, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &bias_type, sizeof bias_type));
    }
    cublasLtMatrixLayout_t la = layout(c->half, a_rows, a_columns, a_leading, c->batches, (int64_t)a_size);
    cublasLtMatrixLayout_t lb = layout(c->half, b_rows, b_columns, b_leading, c->batches, (int64_t)b_size);
    cublasLtMatrixLayout_t ld = layout(c->half_result, c->m, c->n, d_leading, c->batches, (int64_t)d_size);
    CHECK(cublasLtMatmulPreferenceCreate(&preference));
    CHECK(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace_bytes, sizeof workspace_bytes));
    for (int i = 0; i < 4; i++) {
        CHECK(cublasLtMatmulPreferenceSetAttribute(preference, (cublasLtMatmulPreferenceAttributes_t)(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES + i),
                                                   &alignment, sizeof alignment));
    }
    CHECK(cublasLtMatmulAlgoGetHeuristic(handle, operation, la, lb, ld, ld, preference, 1, &found, &count));
    assert_int_equal(count, 1);
    CHECK(cublasLtMatmul(handle, operation, &alpha, a, la, b, lb, &c->beta, d, ld, d, ld, &found.algo, workspace, workspace_bytes, NULL));
    if (found.workspaceSize) {
        assert_int_equal(cublasLtMatmul(handle, operation, &alpha, a, la, b, lb, &c->beta, d, ld, d, ld, &found.algo, workspace, 1, NULL),
                         CUBLAS_STATUS_INVALID_VALUE);
    }

    const size_t element = c->half_result ? 2 : 4;
    unsigned char *result = malloc(d_size * batches * element);
    assert_non_null(result);
    CHECK(cudaMemcpy(result, d, d_size * batches * element, cudaMemcpyDeviceToHost));
    for (uint64_t batch = 0; batch < batches; batch++) {
        for (uint64_t column = 0; column < c->n; column++) {
            for (uint64_t row = 0; row < d_leading; row++) {
                const uint64_t at = batch * d_size + column * d_leading + row;
                double expected = sample(9000 + at);
                if (row < c->m) {
                    expected *= c->beta;
                    for (uint64_t k = 0; k < c->k; k++) {
                        const uint64_t ia = batch * a_size + (c->transpose_a ? row * a_leading + k : k * a_leading + row);
                        const uint64_t ib = batch * b_size + (c->transpose_b ? k * b_leading + column : column * b_leading + k);
                        expected += 0.5 * (double)sample(1 + ia) * (double)sample(5000 + ib);
                    }
                    expected += c->bias ? (double)sample(77 + row) : 0.0;
                }
                double got;
                if (c->half_result) {
                    half_float value;
                    memcpy(&value, result + at * 2, 2);
                    got = (double)value;
                } else {
                    float value;
                    memcpy(&value, result + at * 4, 4);
                    got = (double)value;
                }
                if (!(fabs(got - expected) <= (c->half_result ? 2e-2 : 1e-5))) {
                    fail_msg("batch %d, row %d, column %d: expected %.8g, found %.8g", (int)batch, (int)row, (int)column, expected, got);
                }
            }
        }
    }
    free(result);
    CHECK(cublasLtMatmulPreferenceDestroy(preference));
    CHECK(cublasLtMatrixLayoutDestroy(la));
    CHECK(cublasLtMatrixLayoutDestroy(lb));
    CHECK(cublasLtMatrixLayoutDestroy(ld));
    CHECK(cublasLtMatmulDescDestroy(operation));
    CHECK(cublasLtDestroy(handle));
    CHECK(cudaFree(a));
    CHECK(cudaFree(b));
    CHECK(cudaFree(d));
    CHECK(cudaFree(bias));
    CHECK(cudaFree(workspace));
}

static void test_products(void **state) {
    (void)state;
    const struct product_case cases[] = {
        {7, 5, 9, 0, 0, 0, 0, 0, 1, 0.0f}, {7, 5, 9, 1, 0, 0, 0, 1, 1, 0.0f},  {7, 5, 9, 0, 1, 0, 0, 1, 3, 1.0f}, {4, 6, 3, 1, 1, 0, 0, 0, 2, 0.25f},
        {7, 5, 9, 0, 0, 1, 0, 1, 1, 0.0f}, {16, 8, 9, 1, 0, 1, 1, 1, 2, 1.0f}, {1, 1, 1, 0, 0, 0, 0, 0, 1, 0.0f}, {33, 17, 40, 1, 1, 1, 0, 0, 1, 0.5f},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        run_product(&cases[i]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_events_order_streams),
        cmocka_unit_test(test_events_count_and_time),
        cmocka_unit_test(test_copy_in_two_dimensions),
        cmocka_unit_test(test_errors_on_request),
        cmocka_unit_test(test_statistics),
        cmocka_unit_test(test_products),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
