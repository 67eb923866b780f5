/*
 * Every operation of the CUDA backend on a few small shapes, against the float64 definitions: quick enough for every schedule, every
 * sanitizer and every seeded bug. All of test_backend's cases run beside it where time allows.
 *
 *     test_cuda_kernels [KERNEL...]     of wgmma, wgmma-cluster, mma: only their cases
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cuda_word_cases.h"
#include "emulation.h"
#include "op_cases.h"

/* Under ThreadSanitizer, where a step of a kernel is slow: enough of them for a ring to come round, and nothing that only looks at numbers. */
#ifdef EMULATION_RACES
enum { is_slow = 1, many_tokens = 9, fused_count = 2 };
#define FUSED_LENGTHS                                                                                                                                          \
    { 18, 3 }
#else
enum { is_slow = 0, many_tokens = 18, fused_count = 3 };
#define FUSED_LENGTHS                                                                                                                                          \
    { 18, 3, 33, 20 }
#endif

/* Chunks of few pairs, so that there are several. */
static const struct {
    struct op_case shape;
    size_t pair_chunk;
} cases[] = {
    {{"ragged, odd widths", OP_RANDOM, 5, 3, 31, CX_SILU, {1, 9, 2, 17}}, 256},
    {{"more than a tile", OP_RANDOM, 2, 8, 40, CX_GELU, {33, 5}}, 256},
    {{"many heads", OP_RANDOM, 17, 4, 20, CX_RELU, {many_tokens}}, 0},
    {{"wide", OP_RANDOM, 2, 265, 1030, CX_GELU_TANH, {3, 2}}, 0},
    {{"long", OP_RANDOM, 1, 3, 5, CX_GELU, {130}}, 0},
    {{"integers", OP_INTEGERS, 4, 8, 36, CX_RELU, {7, 18, 3}}, 256},
    {{"causal", OP_RANDOM | OP_CAUSAL, 5, 3, 31, CX_SILU, {1, 9, 35, 2, many_tokens}}, 256},
    {{"causal, long", OP_RANDOM | OP_CAUSAL, 1, 3, 5, CX_GELU, {130}}, 512},
};

/* For the kernels that keep the pair product on chip: packed sequences and not, ragged tiles, one and two steps of an instruction's depth for the heads,
   the second for the residual alone. */
static const struct op_case fused_cases[] = {
    {"fused", OP_RANDOM, 4, 16, 192, CX_GELU, FUSED_LENGTHS},
    {"fused, many heads", OP_RANDOM, 20, 16, 64, CX_GELU, {9}},
    {"fused, wide slices, causal", OP_RANDOM | OP_CAUSAL, 16, 16, 64, CX_GELU, {34}},
};
static const struct {
    enum cx_pair_kernel kind;
    const char *architecture;
    size_t cases; /* so many of them */
} fused_kernels[] = {{CX_PAIR_KERNEL_WGMMA, "90", fused_count},
                     {CX_PAIR_KERNEL_WGMMA_CLUSTER, "90", fused_count},
                     {CX_PAIR_KERNEL_MMA, "100", fused_count},
                     {CX_PAIR_KERNEL_MMA, "86", !is_slow}};

/* With words: heads of two steps; a word of more tokens than a block has at a time. */
static const struct word_case word_cases[] = {
    {{"words, many heads", OP_RANDOM, 17, 4, 20, CX_RELU, {many_tokens, 3, 2}}, {2, 1, 7, 1}, 0},
    {{"words, causal", OP_RANDOM | OP_CAUSAL, 3, 5, 31, CX_SILU, {36, 9, 2}}, {1, 20, 1, 2}, 0},
};

/* NULL: the whole test. */
static char **wanted_kernels;

static struct cx_backend *open_backend(const struct op_data *data, enum cx_pair_precision precision, enum cx_pair_kernel kernel, size_t pair_chunk) {
    struct cx_backend_options options = {.kind = CX_BACKEND_CUDA, .pair_precision = precision, .pair_chunk = pair_chunk, .pair_kernel = kernel};
    struct cx_backend *backend;
    struct cx_error error = {0};
    if (cx_backend_open(&options, &data->config, &backend, &error) != CX_OK) {
        fail_msg("%s", error.message);
    }
    return backend;
}

/* The largest error / allowed error of an output; NaN counts as infinite. float16 pairs: 1e-3 of the largest number of the output. */
static double worst_error(struct op_data *data, const struct op *op, size_t output, const struct op_expected *expected, bool half_pairs) {
    struct cx_error error = {0};
    double worst = 0.0, largest = 0.0;
    double *values = calloc(expected->count, sizeof *values);
    assert_non_null(values);
    if (data->backend->operations->read(data->backend, data->out[output], 0, expected->count, values, &error) != CX_OK) {
        fail_msg("%s, %s: %s", data->shape->name, op->name, error.message);
    }
    for (size_t j = 0; j < expected->count; j++) {
        largest = fmax(largest, fabs(expected->value[j]));
    }
    for (size_t j = 0; j < expected->count; j++) {
        double value = values[j], unit = 0x1p-53;
        if (op_output_element(op->outputs[output]) == CX_ELEMENT_FLOAT) {
            float number;
            memcpy(&number, (unsigned char *)values + j * sizeof number, sizeof number);
            value = (double)number;
            unit = 0x1p-24;
        }
        double allowed = op->tolerance * unit * expected->magnitude[j] + 0x1p-148;
        if (isnan(value) && isnan(expected->value[j])) {
            continue;
        }
        if (half_pairs && largest > 0.0 && expected->magnitude[j] > 0.0) {
            allowed = 1e-3 * largest;
        } else if (op->exact && data->shape->fill & OP_INTEGERS) {
            allowed = 0x1p-148;
        }
        double ratio = fabs(value - expected->value[j]) / allowed;
        worst = ratio <= worst ? worst : isnan(ratio) ? INFINITY : ratio;
    }
    free(values);
    return worst;
}

static int run_operation(struct op_data *data, const struct op *op, bool half_pairs) {
    struct op_expected expected[OP_MAX_OUTPUTS];
    struct cx_error error = {0};
    int failures = 0;
    assert_true(op_reference(data, op, expected));
    if (op_outputs_create(data, op, &error) != CX_OK || op->run(data, &error) != CX_OK) {
        fail_msg("%s, %s: %s", data->shape->name, op->name, error.message);
    }
    for (size_t k = 0; k < OP_MAX_OUTPUTS; k++) {
        double worst = expected[k].count ? worst_error(data, op, k, &expected[k], half_pairs) : 0.0;
        if (worst > 1.0) {
            print_error("%s, %s, output %zu: error %.3g times what is allowed\n", data->shape->name, op->name, k, worst);
            failures++;
        }
    }
    op_outputs_destroy(data);
    op_expected_free(expected);
    return failures;
}

static int run_case(const struct op_case *shape, enum cx_pair_precision precision, enum cx_pair_kernel kernel, size_t pair_chunk) {
    struct op_data data;
    struct cx_error error = {0};
    int failures = 0;
    op_data_create(shape, &data);
    struct cx_backend *backend = open_backend(&data, precision, kernel, pair_chunk);
    if (op_data_upload(&data, backend, &error) != CX_OK) {
        fail_msg("%s: %s", data.shape->name, error.message);
    }
    for (size_t o = 0; o < op_table_count; o++) {
        const bool pairs = strcmp(op_table[o].operation, "ff_pair_norms") == 0;
        if (precision == CX_PAIR_F32 || pairs) {
            failures += run_operation(&data, &op_table[o], precision != CX_PAIR_F32);
        }
    }
    op_data_release(&data);
    cx_backend_close(backend);
    op_data_free(&data);
    return failures;
}

static void test_operations(void **state) {
    int failures = 0;
    (void)state;
    for (size_t index = 0; index < sizeof cases / sizeof *cases; index++) {
        if (is_slow && cases[index].shape.fill & OP_INTEGERS) {
            continue;
        }
        failures += run_case(&cases[index].shape, CX_PAIR_F32, CX_PAIR_KERNEL_AUTO, cases[index].pair_chunk);
        failures += run_case(&cases[index].shape, CX_PAIR_F16, CX_PAIR_KERNEL_CHUNKED, cases[index].pair_chunk);
    }
    assert_int_equal(failures, 0);
}

static bool is_wanted(enum cx_pair_kernel kind) {
    bool is_named = false;
    for (char **name = wanted_kernels; name && *name; name++)
        is_named = is_named || strcmp(*name, cx_pair_kernel_name(kind)) == 0;
    return !wanted_kernels || is_named;
}

static void test_fused_kernels(void **state) {
    struct emulation_statistics before, after;
    int failures = 0;
    (void)state;
    for (size_t k = 0; k < sizeof fused_kernels / sizeof *fused_kernels; k++) {
        if (!is_wanted(fused_kernels[k].kind))
            continue;
        assert_int_equal(setenv("EMULATION_ARCHITECTURE", fused_kernels[k].architecture, 1), 0);
        emulation_get_statistics(&before);
        for (size_t index = 0; index < fused_kernels[k].cases; index++) {
            failures += run_case(&fused_cases[index], CX_PAIR_F16, fused_kernels[k].kind, 0);
        }
        emulation_get_statistics(&after);
        /* Of the shared memory that the copy engine fills, the tests of its instructions know. */
        assert_true(fused_kernels[k].kind != CX_PAIR_KERNEL_MMA || fused_kernels[k].cases == 0 || after.matrix_loads > before.matrix_loads);
        assert_int_equal(after.matrix_load_conflicts - before.matrix_load_conflicts, 0);
    }
    assert_int_equal(setenv("EMULATION_ARCHITECTURE", "90", 1), 0);
    assert_int_equal(failures, 0);
}

static void test_words(void **state) {
    (void)state;
    for (size_t index = 0; index < sizeof word_cases / sizeof *word_cases; index++) {
        expect_words_as_on_cpu(&word_cases[index], CX_PAIR_F32, CX_PAIR_KERNEL_AUTO);
        expect_words_as_on_cpu(&word_cases[index], CX_PAIR_F16, CX_PAIR_KERNEL_AUTO);
    }
}

static void test_nothing_is_left(void **state) {
    struct emulation_statistics statistics;
    (void)state;
    emulation_get_statistics(&statistics);
    assert_int_equal(statistics.device_bytes, 0);
}

/* Once a batch has run, the same again allocates nothing. */
static void test_no_allocation_in_the_loop(void **state) {
    struct op_data data;
    struct cx_error error = {0};
    struct emulation_statistics before, after;
    (void)state;
    op_data_create(&cases[0].shape, &data);
    struct cx_backend *backend = open_backend(&data, CX_PAIR_F32, CX_PAIR_KERNEL_AUTO, cases[0].pair_chunk);
    assert_int_equal(op_data_upload(&data, backend, &error), CX_OK);
    for (size_t o = 0; o < op_table_count; o++) {
        assert_int_equal(op_outputs_create(&data, &op_table[o], &error), CX_OK);
        assert_int_equal(op_table[o].run(&data, &error), CX_OK);
        emulation_get_statistics(&before);
        for (int begun = 0; begun < 3; begun++) { /* the third in the place of the first, which may still be copied */
            assert_int_equal(backend->operations->batch_begin(backend, &data.batch, &error), CX_OK);
        }
        assert_int_equal(op_table[o].run(&data, &error), CX_OK);
        emulation_get_statistics(&after);
        if (after.allocations != before.allocations) {
            fail_msg("%s allocates %lu times when run again", op_table[o].name, after.allocations - before.allocations);
        }
        op_outputs_destroy(&data);
    }
    op_data_release(&data);
    cx_backend_close(backend);
    op_data_free(&data);
}

/* An algorithm is asked for once a shape, however many shapes come between. */
static void test_algorithms_are_kept(void **state) {
    enum { most_rows = 300 };
    struct op_data data;
    struct cx_error error = {0};
    struct cx_tensor *x, *y;
    unsigned long asked[3];
    (void)state;
    op_data_create(&cases[0].shape, &data);
    struct cx_backend *backend = open_backend(&data, CX_PAIR_F32, CX_PAIR_KERNEL_AUTO, 0);
    const struct cx_backend_operations *run = backend->operations;
    const size_t width = data.config.hidden_size;
    assert_int_equal(op_data_upload(&data, backend, &error), CX_OK);
    assert_int_equal(run->tensor_create(backend, CX_ELEMENT_FLOAT, most_rows * width, &x, &error), CX_OK);
    assert_int_equal(run->tensor_create(backend, CX_ELEMENT_FLOAT, most_rows * width, &y, &error), CX_OK);
    for (int turn = 0; turn < 3; turn++) {
        struct emulation_statistics statistics;
        for (size_t rows = 1; turn > 0 && rows <= most_rows; rows++) {
            assert_int_equal(run->linear(backend, CX_LINEAR_FORWARD, rows, x, data.on.square_matrix, NULL, NULL, y, &error), CX_OK);
        }
        emulation_get_statistics(&statistics);
        asked[turn] = statistics.heuristics;
    }
    assert_int_equal(asked[1] - asked[0], most_rows);
    assert_int_equal(asked[2] - asked[1], 0);
    run->tensor_destroy(backend, x);
    run->tensor_destroy(backend, y);
    op_data_release(&data);
    cx_backend_close(backend);
    op_data_free(&data);
}

int main(int argc, char **argv) {
    const struct CMUnitTest fused_tests[] = {cmocka_unit_test(test_fused_kernels)};
    /* Without the fused kernels, whose races are test_cuda_fused_schedules's to find. */
    const struct CMUnitTest quick_tests[] = {
        cmocka_unit_test(test_operations),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_nothing_is_left),
        cmocka_unit_test(test_no_allocation_in_the_loop),
    };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_operations),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_fused_kernels),
        cmocka_unit_test(test_nothing_is_left),
        cmocka_unit_test(test_no_allocation_in_the_loop),
        cmocka_unit_test(test_algorithms_are_kept),
    };
    if (argc > 1) {
        wanted_kernels = argv + 1;
        return cmocka_run_group_tests(fused_tests, NULL, NULL);
    }
    return is_slow ? cmocka_run_group_tests(quick_tests, NULL, NULL) : cmocka_run_group_tests(tests, NULL, NULL);
}
