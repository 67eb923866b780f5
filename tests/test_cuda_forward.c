/*
 * --forward-precision on the CUDA backend: dense layers against float64 in every precision, and that only the forward pass's are rounded. The bounds follow
 * from rounding both operands: to nearest in float16 (11 bits), and at worst cut off in TF32 (11 bits), whose rounding NVIDIA does not state.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cuda_cases.h"

/* In units of 2^-24 of the terms' magnitudes, as the tolerances of op_cases.h, which come on top. */
static const struct {
    enum cx_forward_precision precision;
    double rounding;
} precisions[] = {{CX_FORWARD_F32, 0.0}, {CX_FORWARD_TF32, 0x1p15}, {CX_FORWARD_F16, 0x1p14}};
enum { precision_count = sizeof precisions / sizeof *precisions };

static const struct op_case cases[] = {
    {"odd widths", OP_RANDOM, 5, 3, 31, CX_GELU, {1, 9, 2, 17}},
    {"short sentences", OP_RANDOM, 12, 32, 96, CX_GELU, {7, 25, 31, 12}},
    {"integers", OP_INTEGERS, 3, 5, 23, CX_RELU, {11, 66}},
};

static struct cx_error error;

static void expect_ok(enum cx_status status) {
    if (status != CX_OK)
        fail_msg("%s: %s", cx_status_name(status), error.message);
}

static struct cx_backend *open_with(struct op_data *data, enum cx_forward_precision precision) {
    const struct cx_backend_options options = {.kind = CX_BACKEND_CUDA, .forward_precision = precision};
    struct cx_backend *backend;
    expect_ok(cx_backend_open(&options, &data->config, &backend, &error));
    expect_ok(op_data_upload(data, backend, &error));
    return backend;
}

static void close_backend(struct op_data *data, struct cx_backend *backend) {
    op_data_release(data);
    cx_backend_close(backend);
}

/* The largest error, in units of the tolerances; more than one is too much. */
static double compare(struct op_data *data, const struct op *op, double rounding, double *largest_units) {
    struct op_expected expected[OP_MAX_OUTPUTS];
    const size_t count = op_output_count(data, op, 0);
    float *found = calloc(count, sizeof *found);
    double worst = 0.0;
    assert_non_null(found);
    assert_true(op_reference(data, op, expected));
    expect_ok(op_outputs_create(data, op, &error));
    expect_ok(op->run(data, &error));
    expect_ok(data->backend->operations->read(data->backend, data->out[0], 0, count, found, &error));
    for (size_t k = 0; k < count; k++) {
        const double difference = fabs((double)found[k] - expected[0].value[k]), unit = 0x1p-24 * expected[0].magnitude[k];
        const double allowed = data->shape->fill & OP_INTEGERS ? 0x1p-148 : (op->tolerance + rounding) * unit;
        worst = fmax(worst, isnan(difference) ? INFINITY : difference / allowed);
        *largest_units = fmax(*largest_units, difference / unit);
    }
    op_outputs_destroy(data);
    op_expected_free(expected);
    free(found);
    return worst;
}

static void dense_layers_are_as_exact_as_asked(void **state) {
    (void)state;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        for (size_t p = 0; p < precision_count; p++) {
            struct op_data data;
            double largest = 0.0;
            op_data_create(&cases[c], &data);
            struct cx_backend *backend = open_with(&data, precisions[p].precision);
            for (size_t k = 0; k < op_table_count; k++) {
                if (strcmp(op_table[k].operation, "linear") != 0)
                    continue;
                const double worst = compare(&data, &op_table[k], precisions[p].rounding, &largest);
                if (!(worst <= 1.0))
                    fail_msg("%s, %s, %s: %.3g times what is allowed", cases[c].name, op_table[k].name, cx_forward_precision_name(precisions[p].precision),
                             worst);
            }
            /* A product that was not rounded would pass, too. */
            if (!(cases[c].fill & OP_INTEGERS) && precisions[p].precision != CX_FORWARD_F32 && largest < 256.0)
                fail_msg("%s, %s: the largest error is that of float32, %.3g units", cases[c].name, cx_forward_precision_name(precisions[p].precision),
                         largest);
            close_backend(&data, backend);
            op_data_free(&data);
        }
    }
}

/* x [T, d] through W1 as a product of the parts. */
static float *parts_product(struct op_data *data, enum cx_forward_precision precision) {
    struct cx_backend *backend = open_with(data, precision);
    const size_t count = data->batch.tokens * data->config.intermediate_size;
    float *found = calloc(count, sizeof *found);
    struct cx_tensor *y;
    assert_non_null(found);
    expect_ok(backend->operations->tensor_create(backend, CX_ELEMENT_FLOAT, count, &y, &error));
    expect_ok(backend->operations->linear(backend, CX_LINEAR_PARTS, data->batch.tokens, data->on.x, data->on.intermediate_matrix, NULL, NULL, y, &error));
    expect_ok(backend->operations->read(backend, y, 0, count, found, &error));
    backend->operations->tensor_destroy(backend, y);
    close_backend(data, backend);
    return found;
}

static void products_of_the_parts_stay_float32(void **state) {
    struct op_data data;
    (void)state;
    op_data_create(&cases[0], &data);
    float *expected = parts_product(&data, CX_FORWARD_F32);
    for (size_t p = 1; p < precision_count; p++) {
        float *found = parts_product(&data, precisions[p].precision);
        assert_memory_equal(found, expected, data.batch.tokens * data.config.intermediate_size * sizeof *found);
        free(found);
    }
    free(expected);
    op_data_free(&data);
}

/* Whatever float16 cannot hold is told, once; then the backend goes on. */
static void numbers_beyond_float16_are_counted(void **state) {
    struct op_data data;
    float value;
    (void)state;
    op_data_create(&cases[0], &data);
    const float kept = data.x[3];
    data.x[3] = 1e5f;
    data.x[5] = -7e4f;
    struct cx_backend *backend = open_with(&data, CX_FORWARD_F16);
    const struct op *op = op_named("linear d f");
    expect_ok(op_outputs_create(&data, op, &error));
    expect_ok(op->run(&data, &error));
    assert_int_equal(backend->operations->read(backend, data.out[0], 0, 1, &value, &error), CX_ERROR_INPUT);
    assert_non_null(strstr(error.message, "2 numbers"));
    assert_non_null(strstr(error.message, "--forward-precision"));
    expect_ok(backend->operations->read(backend, data.out[0], 0, 1, &value, &error));
    op_outputs_destroy(&data);
    close_backend(&data, backend);
    data.x[3] = kept;
    op_data_free(&data);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dense_layers_are_as_exact_as_asked),
        cmocka_unit_test(products_of_the_parts_stay_float32),
        cmocka_unit_test(numbers_beyond_float16_are_counted),
    };
    return cuda_is_here() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
