#include "cuda_cases.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

bool cuda_is_here(void) {
    const struct cx_backend_options options = {.kind = CX_BACKEND_CUDA};
    const struct cx_model_config config = {.layers = 1, .heads = 1, .head_size = 1, .hidden_size = 1, .intermediate_size = 1};
    struct cx_backend *backend;
    struct cx_error error;
    if (cx_backend_open(&options, &config, &backend, &error) != CX_OK) {
        print_message("skipped: %s\n", error.message);
        return false;
    }
    cx_backend_close(backend);
    return true;
}

const struct op *op_named(const char *name) {
    for (size_t k = 0; k < op_table_count; k++) {
        if (strcmp(op_table[k].name, name) == 0)
            return &op_table[k];
    }
    fail_msg("%s is not in the table of operations", name);
    return NULL;
}

static void expect_checksums(const struct op_data *data, const float *check) {
    float largest = 0.0f;
    for (size_t k = 0; k < data->batch.tokens; k++) {
        if (!(check[k] <= 1.0f))
            fail_msg("%s: target %zu misses its checksum by %g times what is allowed", data->shape->name, k, (double)check[k]);
        largest = fmaxf(largest, check[k]);
    }
    if (getenv("CONTEXTURE_TEST_VERBOSE"))
        print_message("%-12s largest checksum error / allowed: %.3f\n", data->shape->name, (double)largest);
}

enum cx_status pair_result_read(struct op_data *data, struct pair_result *result, struct cx_error *error) {
    const struct op *op = op_named("ff_pair_norms");
    const struct cx_backend_operations *run = data->backend->operations;
    enum cx_status status = CX_OK;
    memset(result, 0, sizeof *result);
    for (size_t k = 0; k <= PAIR_OUTPUTS && status == CX_OK; k++) {
        const size_t count = op_output_count(data, op, k);
        float *floats = calloc(count, sizeof *floats);
        assert_non_null(floats);
        status = run->read(data->backend, data->out[k], 0, count, floats, error);
        if (k < PAIR_OUTPUTS) {
            result->counts[k] = count;
            result->values[k] = calloc(count, sizeof *result->values[k]);
            assert_non_null(result->values[k]);
            for (size_t j = 0; j < count; j++)
                result->values[k][j] = (double)floats[j];
        } else if (status == CX_OK) {
            expect_checksums(data, floats);
        }
        free(floats);
    }
    return status;
}

void pair_result_free(struct pair_result *result) {
    for (size_t k = 0; k < PAIR_OUTPUTS; k++)
        free(result->values[k]);
}

void norm_errors(size_t count, const double *found, const double *expected, double *largest, double *root_mean_square) {
    double top = 0.0, squares = 0.0;
    *largest = 0.0;
    for (size_t j = 0; j < count; j++)
        top = fmax(top, expected[j]);
    for (size_t j = 0; j < count; j++) {
        const double one = fabs(found[j] - expected[j]) / fmax(expected[j], 1e-3 * top);
        squares += one * one;
        *largest = one > *largest || isnan(one) ? one : *largest;
    }
    *root_mean_square = sqrt(squares / (double)count);
}

void vector_errors(size_t count, const double *found, const double *expected, double *largest, double *root_mean_square) {
    double squares = 0.0, differences = 0.0;
    *largest = 0.0;
    for (size_t j = 0; j < count; j++) {
        const double one = fabs(found[j] - expected[j]);
        squares += expected[j] * expected[j];
        differences += one * one;
        *largest = one > *largest || isnan(one) ? one : *largest;
    }
    *largest /= sqrt(squares / (double)count);
    *root_mean_square = sqrt(differences / squares);
}
