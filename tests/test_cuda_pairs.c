/*
 * ff_pair_norms of the CUDA backend in both precisions, its chunks, and what is said where float16 is not good enough. Runs on a GPU, or on the emulation;
 * skipped where there is neither.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cuda_cases.h"

/* Shapes large enough to average rounding, and small ones with every kind of remainder: of 16 targets, of a tile's sources, of 256 columns. */
static const struct op_case shapes[] = {
    {"wide", OP_RANDOM, 6, 48, 520, CX_GELU, {19, 5}},
    {"one head", OP_RANDOM, 1, 96, 384, CX_GELU, {33}},
    {"many heads", OP_RANDOM, 20, 16, 260, CX_GELU, {17, 1, 30}},
    {"odd", OP_RANDOM, 3, 43, 301, CX_GELU, {35, 2}},
    {"short", OP_RANDOM, 4, 32, 256, CX_GELU, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17}},
};
enum { shape_count = sizeof shapes / sizeof *shapes };

static struct cx_error error;

static void expect_ok(enum cx_status status) {
    if (status != CX_OK)
        fail_msg("%s: %s", cx_status_name(status), error.message);
}

static struct cx_backend *open_backend(const struct op_data *data, enum cx_pair_precision precision, size_t chunk) {
    const struct cx_backend_options options = {
        .kind = CX_BACKEND_CUDA, .pair_precision = precision, .pair_chunk = chunk, .pair_kernel = CX_PAIR_KERNEL_CHUNKED};
    struct cx_backend *backend = NULL;
    expect_ok(cx_backend_open(&options, &data->config, &backend, &error));
    return backend;
}

/* Runs the operation and reads what it gives; the status is that of the first reading that failed. */
static enum cx_status run(struct op_data *data, enum cx_pair_precision precision, size_t chunk, struct pair_result *result) {
    const struct op *op = op_named("ff_pair_norms");
    struct cx_backend *backend = open_backend(data, precision, chunk);
    expect_ok(op_data_upload(data, backend, &error));
    expect_ok(op_outputs_create(data, op, &error));
    expect_ok(op->run(data, &error));
    enum cx_status status = pair_result_read(data, result, &error);
    op_data_release(data);
    cx_backend_close(backend);
    return status;
}

static void expect_accuracy(enum cx_pair_precision precision, double most, double most_mean, double most_vector) {
    const struct op *op = op_named("ff_pair_norms");
    for (size_t s = 0; s < shape_count; s++) {
        struct op_data data;
        struct op_expected expected[OP_MAX_OUTPUTS];
        struct pair_result result;
        op_data_create(&shapes[s], &data);
        assert_true(op_reference(&data, op, expected));
        expect_ok(run(&data, precision, 0, &result));
        for (size_t k = 0; k < PAIR_OUTPUTS; k++) {
            const bool is_map = k < PAIR_MAPS;
            double largest, mean;
            (is_map ? norm_errors : vector_errors)(result.counts[k], result.values[k], expected[k].value, &largest, &mean);
            if (getenv("CONTEXTURE_TEST_VERBOSE"))
                print_message("%-10s output %zu: largest %.2e, root mean square %.2e\n", shapes[s].name, k, largest, mean);
            const double allowed = is_map ? most_mean : most_vector;
            if (!((!is_map || largest <= most) && mean <= allowed))
                fail_msg("%s, output %zu: largest error %g (allowed %g), root mean square %g (allowed %g)", shapes[s].name, k, largest, most, mean, allowed);
        }
        pair_result_free(&result);
        op_expected_free(expected);
        op_data_free(&data);
    }
}

/* Maps as promised. A vector's element has no sum over d that averages its error: that of two factors rounded to 2^-11, 3e-4, is left as it is. */
static void float32_is_float32(void **state) {
    (void)state;
    expect_accuracy(CX_PAIR_F32, 1e-5, 1e-6, 1e-6);
}

static void float16_keeps_its_bounds(void **state) {
    (void)state;
    expect_accuracy(CX_PAIR_F16, 1e-3, 2.5e-4, 5e-4);
}

/* Borders of chunks change sums by rounding, and the same chunks give the same bytes. */
static void chunks_do_not_matter(void **state) {
    static const size_t chunks[] = {1, 700, 1000};
    (void)state;
    for (size_t s = 0; s < shape_count; s++) {
        struct op_data data;
        struct pair_result whole, again;
        op_data_create(&shapes[s], &data);
        expect_ok(run(&data, CX_PAIR_F32, 0, &whole));
        for (size_t c = 0; c < sizeof chunks / sizeof *chunks; c++) {
            struct pair_result parts;
            expect_ok(run(&data, CX_PAIR_F32, chunks[c], &parts));
            expect_ok(run(&data, CX_PAIR_F32, chunks[c], &again));
            for (size_t k = 0; k < PAIR_OUTPUTS; k++) {
                double largest, difference;
                vector_errors(whole.counts[k], parts.values[k], whole.values[k], &largest, &difference);
                if (!(difference < 1e-6))
                    fail_msg("%s, chunks of %zu, output %zu: differs from one chunk by %g", shapes[s].name, chunks[c], k, difference);
                if (memcmp(parts.values[k], again.values[k], parts.counts[k] * sizeof(double)) != 0)
                    fail_msg("%s, chunks of %zu, output %zu: other bytes the second time", shapes[s].name, chunks[c], k);
            }
            pair_result_free(&parts);
            pair_result_free(&again);
        }
        pair_result_free(&whole);
        op_data_free(&data);
    }
}

static void scale(float *values, size_t count, float factor) {
    for (size_t k = 0; k < count; k++)
        values[k] *= factor;
}

/* Numbers far outside of float16 keep their relative precision, because they are scaled. */
static void large_and_small_numbers_fit(void **state) {
    static const float factors[] = {1e-12f, 1e12f};
    const struct op *op = op_named("ff_pair_norms");
    (void)state;
    for (size_t k = 0; k < sizeof factors / sizeof *factors; k++) {
        struct op_data data;
        struct op_expected expected[OP_MAX_OUTPUTS];
        struct pair_result result;
        double largest, mean;
        op_data_create(&shapes[0], &data);
        scale(data.head_ff_sources, data.head_ff_sources_count, factors[k]);
        scale(data.residual_ff_sources, data.residual_ff_sources_count, factors[k]);
        scale(data.output, data.output_count, 1.0f / factors[k]);
        assert_true(op_reference(&data, op, expected));
        expect_ok(run(&data, CX_PAIR_F16, 0, &result));
        norm_errors(result.counts[0], result.values[0], expected[0].value, &largest, &mean);
        if (!(largest <= 1e-3 && mean <= 2.5e-4))
            fail_msg("sources times %g: largest error %g, root mean square %g", (double)factors[k], largest, mean);
        pair_result_free(&result);
        op_expected_free(expected);
        op_data_free(&data);
    }
}

/* One neuron has all of ρ and nothing to give, the others give but have next to no ρ: the bound is far above every number of z. */
static void too_small_numbers_are_reported(void **state) {
    struct op_data data;
    struct pair_result result;
    (void)state;
    op_data_create(&shapes[1], &data);
    size_t f = data.config.intermediate_size;
    for (size_t k = 0; k < data.ratio_count; k++)
        data.ratio[k] = k % f == 0 ? 1.0f : 1e-12f;
    for (size_t k = 0; k < data.head_ff_sources_count; k += f)
        data.head_ff_sources[k] = 0.0f;
    for (size_t k = 0; k < data.residual_ff_sources_count; k += f)
        data.residual_ff_sources[k] = 0.0f;
    enum cx_status status = run(&data, CX_PAIR_F16, 0, &result);
    pair_result_free(&result);
    assert_int_equal(status, CX_ERROR_INPUT);
    assert_non_null(strstr(error.message, "--pair-precision f32"));
    expect_ok(run(&data, CX_PAIR_F32, 0, &result));
    pair_result_free(&result);
    op_data_free(&data);
}

/* Neurons that ReLU switched off make parts that are 0, and nothing to report. */
static void parts_of_dead_neurons_are_zero(void **state) {
    struct op_data data;
    struct pair_result result;
    (void)state;
    op_data_create(&shapes[4], &data);
    scale(data.ratio, data.ratio_count, 0.0f);
    expect_ok(run(&data, CX_PAIR_F16, 0, &result));
    for (size_t j = 0; j < result.counts[0]; j++)
        assert_true(result.values[0][j] == 0.0);
    pair_result_free(&result);
    op_data_free(&data);
}

static void bfloat16_is_refused(void **state) {
    const struct cx_backend_options options = {.kind = CX_BACKEND_CUDA, .pair_precision = CX_PAIR_BF16};
    const struct cx_backend_options cpu = {.kind = CX_BACKEND_CPU, .pair_precision = CX_PAIR_F16};
    const struct cx_model_config config = {.layers = 1, .heads = 1, .head_size = 1, .hidden_size = 1, .intermediate_size = 1};
    struct cx_backend *backend;
    (void)state;
    assert_int_equal(cx_backend_open(&options, &config, &backend, &error), CX_ERROR_UNSUPPORTED);
    assert_non_null(strstr(error.message, "bf16"));
    assert_int_equal(cx_backend_open(&cpu, &config, &backend, &error), CX_ERROR_UNSUPPORTED);
    assert_non_null(strstr(error.message, "f16"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(float32_is_float32),          cmocka_unit_test(float16_keeps_its_bounds),       cmocka_unit_test(chunks_do_not_matter),
        cmocka_unit_test(large_and_small_numbers_fit), cmocka_unit_test(too_small_numbers_are_reported), cmocka_unit_test(parts_of_dead_neurons_are_zero),
        cmocka_unit_test(bfloat16_is_refused),
    };
    return cuda_is_here() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
