/* ff_pair_norms of the CPU backend: every kernel that this processor runs, against the definition in float64. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ff_pair_case.h"

/* Shapes with every kind of remainder: of f and d against vectors, chunks, strips and blocks; of n against groups and tiles. */
static const struct ff_pair_shape shapes[] = {
    {384, 1536, 12, {9}},
    {768, 800, 12, {5, 1, 6}},
    {48, 80, 4, {70, 1, 33}},
    {96, 384, 1, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20}},
    {312, 1200, 12, {17, 4}},
    {100, 385, 5, {23, 9}},
    {1, 1, 1, {3, 1}},
    {3, 7, 3, {64, 65, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}},
    {16, 33, 2, {31, 31}},
    {80, 31, 16, {40}},
    {129, 767, 3, {19}},
    {4500, 40, 4, {14}},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static int failures;

static double largest(const double *values, size_t count) {
    double most = 0;
    for (size_t i = 0; i < count; i++)
        most = fabs(values[i]) > most ? fabs(values[i]) : most;
    return most;
}

/* Of every element, relative to itself; elements below 1e-3 of the largest, where float32 parts cancel, relative to that. */
static double norm_error(const float *values, const double *expected, size_t count, double *root_mean_square) {
    double worst = 0, floor_value = 1e-3 * largest(expected, count), squares = 0;
    for (size_t i = 0; i < count; i++) {
        double scale = expected[i] > floor_value ? expected[i] : floor_value;
        double error = scale > 0 ? fabs((double)values[i] - expected[i]) / scale : fabs((double)values[i]);
        squares += error * error;
        worst = error > worst || isnan(error) ? error : worst;
    }
    *root_mean_square = sqrt(squares / (double)(count > 0 ? count : 1));
    return worst;
}

/* Of a token's vector, relative to its norm. */
static double vector_error(const float *values, const double *expected, size_t rows, size_t width) {
    double worst = 0;
    for (size_t row = 0; row < rows; row++) {
        double difference = 0, norm = 0;
        for (size_t c = row * width; c < (row + 1) * width; c++) {
            difference += ((double)values[c] - expected[c]) * ((double)values[c] - expected[c]);
            norm += expected[c] * expected[c];
        }
        double error = sqrt(difference / norm);
        worst = error > worst || isnan(error) ? error : worst;
    }
    return worst;
}

static void check_below(double error, double tolerance, const struct pair_kernel *kernel, const struct ff_pair_shape *shape, const char *what) {
    if (error <= tolerance)
        return;
    print_error("%s, d %zu f %zu H %zu: error of %s is %g, allowed %g\n", kernel->name, shape->width, shape->depth, shape->heads, what, error, tolerance);
    failures++;
}

/*
 * float32: a norm averages the rounding of d sums of f products (2^-24 each), a few 1e-7; 2e-6 leaves room for short sums.
 * bfloat16: 2^-9 for each of two factors, averaged over f and d, where the shape is large enough to average.
 */
static void check_shape(const struct pair_kernel *kernel, const struct ff_pair_case *one, const struct ff_pair_reference *expected,
                        const struct ff_pair_shape *shape, double tolerance) {
    static const char *const names[] = {"ff", "ff_res", "ff_res_ln"};
    struct ff_pair_result result;
    double root_mean_square;
    ff_pair_result_create(&result, one);
    ff_pair_case_run(one, kernel, 2, FF_PAIR_ALL, 1, &result);
    for (int k = 0; k < 3; k++) {
        double error = norm_error(result.maps[k], expected->maps[k], one->batch.pairs, &root_mean_square);
        if (getenv("CONTEXTURE_TEST_VERBOSE"))
            print_message("%-12s d %4zu f %4zu H %2zu %-9s max %.2e rms %.2e\n", kernel->name, shape->width, shape->depth, shape->heads, names[k], error,
                          root_mean_square);
        check_below(error, tolerance, kernel, shape, names[k]);
    }
    check_below(vector_error(result.own, expected->own, one->batch.tokens, shape->width), 2 * tolerance, kernel, shape, "own");
    check_below(vector_error(result.sum, expected->sum, one->batch.tokens, shape->width), 2 * tolerance, kernel, shape, "sum");
    ff_pair_result_destroy(&result);
}

static void test_definition(void **state) {
    (void)state;
    failures = 0;
    for (size_t s = 0; s < SHAPES; s++) {
        struct ff_pair_case one;
        struct ff_pair_reference expected;
        const struct pair_kernel *kernels[PAIR_MOST_KERNELS];
        ff_pair_case_create(&one, &shapes[s], 1 + (uint32_t)s);
        ff_pair_reference_create(&expected, &one);
        size_t count = pair_kernels_list(CX_PAIR_F32, kernels);
        assert_true(count >= 1);
        for (size_t k = 0; k < count; k++)
            check_shape(kernels[k], &one, &expected, &shapes[s], 2e-6);
        count = pair_kernels_list(CX_PAIR_BF16, kernels);
        for (size_t k = 0; k < count && shapes[s].depth >= 384 && shapes[s].width >= 96; k++)
            check_shape(kernels[k], &one, &expected, &shapes[s], 5e-3);
        ff_pair_reference_destroy(&expected);
        ff_pair_case_destroy(&one);
    }
    assert_int_equal(failures, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_definition),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
