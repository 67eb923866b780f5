/*
 * Every operation of a backend against its float64 definition, on every case of op_cases.h; the same bytes for any number of threads;
 * no NaN that disappears. `test_backend cuda` tests another backend (and is skipped where there is none).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "op_cases.h"

static const struct op_case cases[] = {
#define CASE_ROW(name, fill, heads, head_size, intermediate, activation, ...) {name, fill, heads, head_size, intermediate, activation, {__VA_ARGS__}},
    OP_CASE_LIST(CASE_ROW)
#undef CASE_ROW
};
enum { case_count = sizeof cases / sizeof *cases };

static enum cx_backend_kind tested_kind = CX_BACKEND_CPU;

static struct cx_backend *open_backend(const struct op_data *data, int threads) {
    struct cx_backend_options options = {.kind = tested_kind, .threads = threads, .pair_precision = CX_PAIR_F32};
    struct cx_backend *backend;
    struct cx_error error = {0};
    if (cx_backend_open(&options, &data->config, &backend, &error) != CX_OK)
        fail_msg("%s", error.message);
    return backend;
}

static void upload(struct op_data *data, struct cx_backend *backend) {
    struct cx_error error = {0};
    if (op_data_upload(data, backend, &error) != CX_OK)
        fail_msg("%s: %s", data->shape->name, error.message);
}

/* Runs the operation and reads its outputs as float64; outputs[k] is NULL where there is none. */
static void run(struct op_data *data, const struct op *op, double *outputs[OP_MAX_OUTPUTS]) {
    struct cx_error error = {0};
    if (op_outputs_create(data, op, &error) != CX_OK || op->run(data, &error) != CX_OK)
        fail_msg("%s, %s: %s", data->shape->name, op->name, error.message);
    for (size_t k = 0; k < OP_MAX_OUTPUTS; k++) {
        size_t count = op_output_count(data, op, k);
        outputs[k] = NULL;
        if (count == 0)
            continue;
        outputs[k] = calloc(count, sizeof(double));
        assert_non_null(outputs[k]);
        if (data->backend->operations->read(data->backend, data->out[k], 0, count, outputs[k], &error) != CX_OK)
            fail_msg("%s, %s: %s", data->shape->name, op->name, error.message);
        /* Floats lie in the first half of the array: widen them from the end on. */
        for (size_t j = count; op_output_element(op->outputs[k]) == CX_ELEMENT_FLOAT && j-- > 0;) {
            float value;
            memcpy(&value, (unsigned char *)outputs[k] + j * sizeof value, sizeof value);
            outputs[k][j] = (double)value;
        }
    }
    op_outputs_destroy(data);
}

static void free_outputs(double *outputs[OP_MAX_OUTPUTS]) {
    for (size_t k = 0; k < OP_MAX_OUTPUTS; k++)
        free(outputs[k]);
}

/* How far the result may be from the reference. Subnormal results are exact to half of the smallest number only. */
static double allowed_error(const struct op_data *data, const struct op *op, size_t output, double magnitude) {
    if (op->exact && data->shape->fill & OP_INTEGERS)
        return 0.0;
    double unit = op_output_element(op->outputs[output]) == CX_ELEMENT_DOUBLE ? 0x1p-53 : 0x1p-24;
    return op->tolerance * unit * magnitude + 0x1p-148;
}

static int compare(const struct op_data *data, const struct op *op, double *const outputs[OP_MAX_OUTPUTS], const struct op_expected *expected, double *worst) {
    int failures = 0;
    for (size_t k = 0; k < OP_MAX_OUTPUTS; k++) {
        for (size_t j = 0; j < expected[k].count; j++) {
            double error = fabs(outputs[k][j] - expected[k].value[j]), allowed = allowed_error(data, op, k, expected[k].magnitude[j]);
            if (allowed > 0.0 && error / allowed > *worst)
                *worst = error / allowed;
            if (error <= allowed || (isnan(outputs[k][j]) && isnan(expected[k].value[j])))
                continue;
            if (failures++ < 3)
                print_error("%s, %s, output %zu[%zu]: %.9g, expected %.9g within %.3g\n", data->shape->name, op->name, k, j, outputs[k][j],
                            expected[k].value[j], allowed);
        }
    }
    return failures;
}

static void test_definitions(void **state) {
    int failures = 0;
    double *worst = calloc(op_table_count, sizeof *worst);
    (void)state;
    assert_non_null(worst);
    for (size_t c = 0; c < case_count; c++) {
        struct op_data data;
        op_data_create(&cases[c], &data);
        struct cx_backend *backend = open_backend(&data, 2);
        upload(&data, backend);
        for (size_t o = 0; o < op_table_count; o++) {
            double *outputs[OP_MAX_OUTPUTS];
            struct op_expected expected[OP_MAX_OUTPUTS];
            assert_true(op_reference(&data, &op_table[o], expected));
            run(&data, &op_table[o], outputs);
            failures += compare(&data, &op_table[o], outputs, expected, &worst[o]);
            free_outputs(outputs);
            op_expected_free(expected);
        }
        op_data_release(&data);
        cx_backend_close(backend);
        op_data_free(&data);
    }
    for (size_t o = 0; getenv("CONTEXTURE_TEST_VERBOSE") && o < op_table_count; o++)
        print_message("%-28s largest error / allowed: %.3f\n", op_table[o].name, worst[o]);
    free(worst);
    assert_int_equal(failures, 0);
}

static void test_threads_do_not_change_bytes(void **state) {
    (void)state;
    for (size_t c = 0; c < case_count; c++) {
        struct op_data data[3];
        struct cx_backend *backends[3];
        for (int t = 0; t < 3; t++) {
            op_data_create(&cases[c], &data[t]);
            backends[t] = open_backend(&data[t], t + 1);
            upload(&data[t], backends[t]);
        }
        for (size_t o = 0; o < op_table_count; o++) {
            double *one[OP_MAX_OUTPUTS], *more[OP_MAX_OUTPUTS];
            run(&data[0], &op_table[o], one);
            for (int t = 1; t < 3; t++) {
                run(&data[t], &op_table[o], more);
                for (size_t k = 0; k < OP_MAX_OUTPUTS; k++) {
                    size_t bytes = op_output_count(&data[0], &op_table[o], k) * sizeof(double);
                    if (bytes > 0 && memcmp(one[k], more[k], bytes) != 0)
                        fail_msg("%s, %s, output %zu: %d threads give other bytes than 1", cases[c].name, op_table[o].name, k, t + 1);
                }
                free_outputs(more);
            }
            free_outputs(one);
        }
        for (int t = 0; t < 3; t++) {
            op_data_release(&data[t]);
            cx_backend_close(backends[t]);
            op_data_free(&data[t]);
        }
    }
}

/* Where one NaN among the inputs makes the definition's result NaN, the operation's result is not a finite number either. */
static int compare_poisoned(struct op_data *data, const char *input) {
    int failures = 0;
    struct cx_backend *backend = open_backend(data, 2);
    upload(data, backend);
    for (size_t o = 0; o < op_table_count; o++) {
        double *outputs[OP_MAX_OUTPUTS];
        struct op_expected expected[OP_MAX_OUTPUTS];
        assert_true(op_reference(data, &op_table[o], expected));
        run(data, &op_table[o], outputs);
        for (size_t k = 0; k < OP_MAX_OUTPUTS; k++) {
            for (size_t j = 0; j < expected[k].count; j++) {
                if (!isnan(expected[k].value[j]) || !isfinite(outputs[k][j]))
                    continue;
                if (failures++ < 3)
                    print_error("%s, NaN in %s: output %zu[%zu] is %g\n", op_table[o].name, input, k, j, outputs[k][j]);
            }
        }
        free_outputs(outputs);
        op_expected_free(expected);
    }
    op_data_release(data);
    cx_backend_close(backend);
    return failures;
}

static void test_nan_stays(void **state) {
    static const struct op_case small[] = {
        {"small", OP_RANDOM, 3, 4, 19, CX_GELU, {2, 9}},
        {"small relu", OP_RANDOM, 2, 5, 16, CX_RELU, {3}},
        {"small silu", OP_RANDOM, 2, 5, 16, CX_SILU, {3}},
        {"small gelu_tanh", OP_RANDOM, 2, 5, 16, CX_GELU_TANH, {3}},
        {"small causal", OP_RANDOM | OP_CAUSAL, 2, 5, 16, CX_GELU, {2, 9}},
    };
    int failures = 0;
    (void)state;
    for (size_t c = 0; c < sizeof small / sizeof *small; c++) {
        struct op_data data;
        op_data_create(&small[c], &data);
#define POISON(name, count, range)                                                                                                                             \
    {                                                                                                                                                          \
        float *number = &data.name[data.name##_count / 2], kept = *number;                                                                                     \
        *number = NAN;                                                                                                                                         \
        failures += compare_poisoned(&data, #name);                                                                                                            \
        *number = kept;                                                                                                                                        \
    }
        OP_INPUT_LIST(POISON)
#undef POISON
        op_data_free(&data);
    }
    assert_int_equal(failures, 0);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_definitions),
        cmocka_unit_test(test_threads_do_not_change_bytes),
        cmocka_unit_test(test_nan_stays),
    };
    if (argc > 1 && strcmp(argv[1], "cuda") == 0) {
        struct cx_backend_options options = {.kind = CX_BACKEND_CUDA};
        struct cx_model_config config = {.layers = 1, .heads = 1, .head_size = 1, .hidden_size = 1, .intermediate_size = 1};
        struct cx_backend *backend;
        tested_kind = CX_BACKEND_CUDA;
        if (cx_backend_open(&options, &config, &backend, NULL) != CX_OK)
            return 77;
        cx_backend_close(backend);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
