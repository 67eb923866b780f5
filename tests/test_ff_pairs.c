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
    ff_pair_case_run(one, kernel, 2, FF_PAIR_ALL, &result);
    for (int k = 0; k < 3; k++) {
        double error = norm_error(result.maps[k], expected->maps[k], cx_batch_map_elements(&one->batch), &root_mean_square);
        if (getenv("CONTEXTURE_TEST_VERBOSE"))
            print_message("%-12s d %4zu f %4zu H %2zu %-9s max %.2e rms %.2e\n", kernel->name, shape->width, shape->depth, shape->heads, names[k], error,
                          root_mean_square);
        check_below(error, tolerance, kernel, shape, names[k]);
    }
    check_below(vector_error(result.own, expected->own, one->batch.tokens, shape->width), 2 * tolerance, kernel, shape, "own");
    check_below(vector_error(result.sum, expected->sum, one->batch.tokens, shape->width), 2 * tolerance, kernel, shape, "sum");
    ff_pair_result_destroy(&result);
}

/* With words, `longest` tokens long at most; 0: without. */
static void check_shapes(size_t longest) {
    failures = 0;
    for (size_t s = 0; s < SHAPES; s++) {
        struct ff_pair_case one;
        struct ff_pair_reference expected;
        const struct pair_kernel *kernels[PAIR_MOST_KERNELS];
        ff_pair_case_create(&one, &shapes[s], 1 + (uint32_t)s);
        if (longest > 0)
            ff_pair_case_group(&one, longest, 7 + (uint32_t)s);
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

static void test_definition(void **state) {
    (void)state;
    check_shapes(0);
}

static void test_words(void **state) {
    (void)state;
    check_shapes(4);
}

/* All kernels of both precisions. */
static size_t list_kernels(const struct pair_kernel *kernels[2 * PAIR_MOST_KERNELS]) {
    size_t count = pair_kernels_list(CX_PAIR_F32, kernels);
    return count + pair_kernels_list(CX_PAIR_BF16, kernels + count);
}

static void assert_same(const float *a, const float *b, size_t count, const struct pair_kernel *kernel, const char *what) {
    for (size_t i = 0; i < count; i++) {
        if (memcmp(&a[i], &b[i], sizeof *a) != 0)
            fail_msg("%s: %s differs at %zu: %.9g, %.9g", kernel->name, what, i, (double)a[i], (double)b[i]);
    }
}

static void assert_same_result(const struct ff_pair_case *one, const struct ff_pair_result *a, const struct ff_pair_result *b,
                               const struct pair_kernel *kernel) {
    static const char *const names[] = {"ff", "ff_res", "ff_res_ln"};
    for (int k = 0; k < 3; k++)
        assert_same(a->maps[k], b->maps[k], cx_batch_map_elements(&one->batch), kernel, names[k]);
    assert_same(a->own, b->own, one->batch.tokens * one->config.hidden_size, kernel, "own");
    assert_same(a->sum, b->sum, one->batch.tokens * one->config.hidden_size, kernel, "sum");
}

static void check_threads(size_t longest) {
    static const struct ff_pair_shape shape = {100, 410, 5, {23, 70, 1, 9, 50}};
    const struct pair_kernel *kernels[2 * PAIR_MOST_KERNELS];
    size_t count = list_kernels(kernels);
    struct ff_pair_case one;
    struct ff_pair_result first, other;
    ff_pair_case_create(&one, &shape, 17);
    if (longest > 0)
        ff_pair_case_group(&one, longest, 17);
    ff_pair_result_create(&first, &one);
    ff_pair_result_create(&other, &one);
    for (size_t k = 0; k < count; k++) {
        ff_pair_case_run(&one, kernels[k], 1, FF_PAIR_ALL, &first);
        for (int threads = 2; threads <= 7; threads++) {
            ff_pair_case_run(&one, kernels[k], threads, FF_PAIR_ALL, &other);
            assert_same_result(&one, &first, &other, kernels[k]);
        }
    }
    ff_pair_result_destroy(&first);
    ff_pair_result_destroy(&other);
    ff_pair_case_destroy(&one);
}

static void test_threads(void **state) {
    (void)state;
    check_threads(0);
    check_threads(30);
}

/* Words of one token each are tokens: the same bits. */
static void test_words_of_one_token(void **state) {
    (void)state;
    static const struct ff_pair_shape shape = {100, 410, 5, {23, 1, 9}};
    const struct pair_kernel *kernels[2 * PAIR_MOST_KERNELS];
    const size_t count = list_kernels(kernels);
    struct ff_pair_case one;
    struct ff_pair_result tokens, words;
    ff_pair_case_create(&one, &shape, 23);
    ff_pair_result_create(&tokens, &one);
    ff_pair_result_create(&words, &one);
    ff_pair_case_group(&one, 1, 1);
    for (size_t k = 0; k < count; k++) {
        one.batch.words = NULL;
        ff_pair_case_run(&one, kernels[k], 2, FF_PAIR_ALL, &tokens);
        one.batch.words = &one.words;
        ff_pair_case_run(&one, kernels[k], 2, FF_PAIR_ALL, &words);
        assert_same_result(&one, &words, &tokens, kernels[k]);
    }
    ff_pair_result_destroy(&tokens);
    ff_pair_result_destroy(&words);
    ff_pair_case_destroy(&one);
}

/* A sequence of the batch as a batch of its own gives the same bits: the values of a pair do not depend on its tile. */
static void test_composition(void **state) {
    (void)state;
    static const struct ff_pair_shape shape = {72, 400, 4, {3, 41, 1, 66, 18}};
    const struct pair_kernel *kernels[2 * PAIR_MOST_KERNELS];
    size_t count = list_kernels(kernels), d = shape.width, f = shape.depth, heads = shape.heads;
    struct ff_pair_case whole;
    struct ff_pair_result result;
    ff_pair_case_create(&whole, &shape, 5);
    ff_pair_result_create(&result, &whole);
    for (size_t k = 0; k < count; k++) {
        ff_pair_case_run(&whole, kernels[k], 2, FF_PAIR_ALL, &result);
        for (size_t s = 0; s < whole.batch.sequences; s++) {
            struct ff_pair_shape alone = {d, f, heads, {shape.lengths[s]}};
            struct ff_pair_case part;
            struct ff_pair_result own;
            size_t token = whole.token_offset[s], pair = whole.pair_offset[s];
            const size_t first[FF_PAIR_INPUTS] = {heads * pair, token, token * f, token * heads * f, token * f, token * heads * d, token * d, 0, token};
            ff_pair_case_create(&part, &alone, 1);
            ff_pair_result_create(&own, &part);
            for (int input = 0; input < FF_PAIR_INPUTS; input++)
                memcpy(part.inputs[input], whole.inputs[input] + first[input], part.counts[input] * sizeof(float));
            memcpy(part.weight, whole.weight, d * f * sizeof(float));
            ff_pair_case_run(&part, kernels[k], 2, FF_PAIR_ALL, &own);
            struct ff_pair_result expected = {
                {result.maps[0] + pair, result.maps[1] + pair, result.maps[2] + pair}, result.own + token * d, result.sum + token * d};
            assert_same_result(&part, &own, &expected, kernels[k]);
            ff_pair_result_destroy(&own);
            ff_pair_case_destroy(&part);
        }
    }
    ff_pair_result_destroy(&result);
    ff_pair_case_destroy(&whole);
}

static bool is_zero(float value) {
    return value == 0.0f;
}

/* Above the diagonal nothing is read and every norm is 0; all else is, bit by bit and for any number of threads, what weights of 0 there give. With words the
   zeros of a target's own word are read. */
static void check_causal(size_t longest) {
    static const struct ff_pair_shape shape = {72, 400, 4, {3, 41, 1, 130, 18}};
    const struct pair_kernel *kernels[2 * PAIR_MOST_KERNELS];
    size_t count = list_kernels(kernels);
    struct ff_pair_case masked, causal;
    struct ff_pair_result expected, found;
    ff_pair_case_create(&masked, &shape, 11);
    ff_pair_case_create(&causal, &shape, 11);
    ff_pair_case_make_causal(&masked, 0.0f);
    ff_pair_case_make_causal(&causal, longest > 0 ? 0.0f : NAN);
    masked.config.causal = false;
    if (longest > 0) {
        ff_pair_case_group(&masked, longest, 3);
        ff_pair_case_group(&causal, longest, 3);
    }
    ff_pair_result_create(&expected, &masked);
    ff_pair_result_create(&found, &causal);
    for (size_t k = 0; k < count; k++) {
        ff_pair_case_run(&masked, kernels[k], 2, FF_PAIR_ALL, &expected);
        for (int threads = 1; threads <= 5; threads++) {
            ff_pair_case_run(&causal, kernels[k], threads, FF_PAIR_ALL, &found);
            assert_same_result(&causal, &found, &expected, kernels[k]);
        }
    }
    if (longest == 0)
        assert_true(is_zero(found.maps[0][1]) && !is_zero(found.maps[0][3]));
    ff_pair_result_destroy(&expected);
    ff_pair_result_destroy(&found);
    ff_pair_case_destroy(&masked);
    ff_pair_case_destroy(&causal);
}

static void test_causal(void **state) {
    (void)state;
    check_causal(0);
}

static void test_causal_words(void **state) {
    (void)state;
    check_causal(5);
}

/* Any subset of the outputs gives the same bits as all of them. */
static void test_wanted(void **state) {
    (void)state;
    static const struct ff_pair_shape shape = {50, 70, 2, {13, 6}};
    const struct pair_kernel *kernels[2 * PAIR_MOST_KERNELS];
    size_t count = list_kernels(kernels);
    struct ff_pair_case one;
    struct ff_pair_result all, some;
    ff_pair_case_create(&one, &shape, 3);
    ff_pair_result_create(&all, &one);
    ff_pair_result_create(&some, &one);
    const size_t vectors = one.batch.tokens * shape.width;
    for (size_t k = 0; k < count; k++) {
        ff_pair_case_run(&one, kernels[k], 2, FF_PAIR_ALL, &all);
        for (unsigned wanted = 0; wanted < FF_PAIR_ALL; wanted++) {
            ff_pair_case_run(&one, kernels[k], 2, wanted, &some);
            for (int output = 0; output < 5; output++) {
                const float *const expected[] = {all.maps[0], all.maps[1], all.maps[2], all.own, all.sum};
                const float *const found[] = {some.maps[0], some.maps[1], some.maps[2], some.own, some.sum};
                if (wanted >> output & 1)
                    assert_same(found[output], expected[output], output < 3 ? one.batch.pairs : vectors, kernels[k], "an output");
            }
        }
    }
    ff_pair_result_destroy(&all);
    ff_pair_result_destroy(&some);
    ff_pair_case_destroy(&one);
}

static void check_all(const float *values, size_t count, bool (*holds)(float), const struct pair_kernel *kernel, const char *what) {
    for (size_t i = 0; i < count; i++) {
        if (!holds(values[i]))
            fail_msg("%s: %s: %g at %zu", kernel->name, what, (double)values[i], i);
    }
}

static bool is_nan(float value) {
    return isnan(value);
}

static bool is_small(float value) {
    return isfinite(value) && value >= 0.0f && value < 1e-30f;
}

/* W2 = 0: no feed-forward part; all inputs 0: nothing at all; numbers near the smallest: no overflow, no NaN. */
static void test_zeros(void **state) {
    (void)state;
    static const struct ff_pair_shape shape = {40, 100, 4, {21, 1, 2}};
    const struct pair_kernel *kernels[2 * PAIR_MOST_KERNELS];
    size_t count = list_kernels(kernels);
    struct ff_pair_case one;
    struct ff_pair_result result;
    ff_pair_case_create(&one, &shape, 3);
    ff_pair_result_create(&result, &one);
    for (size_t k = 0; k < count; k++) {
        for (size_t i = 0; i < shape.width * shape.depth; i++)
            one.weight[i] = 1e-38f;
        for (int input = HEAD_FF; input <= RESIDUAL_NORM; input++) {
            for (size_t i = 0; i < one.counts[input]; i++)
                one.inputs[input][i] = 1e-38f;
        }
        ff_pair_case_run(&one, kernels[k], 2, FF_PAIR_ALL, &result);
        for (int map = 0; map < 3; map++)
            check_all(result.maps[map], one.batch.pairs, is_small, kernels[k], "a map of tiny numbers");
        memset(one.weight, 0, shape.width * shape.depth * sizeof(float));
        ff_pair_case_run(&one, kernels[k], 2, FF_PAIR_ALL, &result);
        check_all(result.maps[0], one.batch.pairs, is_zero, kernels[k], "ff of no weight");
        check_all(result.sum, one.batch.tokens * shape.width, is_zero, kernels[k], "sum of no weight");
        for (int input = HEAD_FF; input <= RESIDUAL_NORM; input++)
            memset(one.inputs[input], 0, one.counts[input] * sizeof(float));
        ff_pair_case_run(&one, kernels[k], 2, FF_PAIR_ALL, &result);
        for (int map = 0; map < 3; map++)
            check_all(result.maps[map], one.batch.pairs, is_zero, kernels[k], "a map of nothing");
    }
    ff_pair_result_destroy(&result);
    ff_pair_case_destroy(&one);
}

/* A NaN in any input makes the pairs NaN that it has a part in: here, token 2 of one sequence of 5. */
static void test_nan(void **state) {
    (void)state;
    static const struct ff_pair_shape shape = {34, 70, 2, {5}};
    const struct pair_kernel *kernels[2 * PAIR_MOST_KERNELS];
    const size_t count = list_kernels(kernels), token = 2, n = 5;
    for (size_t k = 0; k < count; k++) {
        for (int input = 0; input <= FF_PAIR_INPUTS; input++) {
            struct ff_pair_case one;
            struct ff_pair_result result;
            ff_pair_case_create(&one, &shape, 3);
            ff_pair_result_create(&result, &one);
            if (input == FF_PAIR_INPUTS)
                one.weight[69] = NAN;
            else if (input == ATTENTION)
                one.inputs[input][token * n + token] = NAN;
            else
                one.inputs[input][input == NORM2_SCALE ? 33 : token * (one.counts[input] / n) + one.counts[input] / n - 1] = NAN;
            ff_pair_case_run(&one, kernels[k], 2, FF_PAIR_ALL, &result);
            bool has_ff = input <= RESIDUAL_FF || input == FF_PAIR_INPUTS, has_residual = has_ff || input == HEAD_NORM || input == RESIDUAL_NORM;
            size_t pair = token * n + token;
            if (isnan(result.maps[0][pair]) != has_ff || isnan(result.maps[1][pair]) != has_residual || !is_nan(result.maps[2][pair]))
                fail_msg("%s: input %d is NaN: found %g %g %g", kernels[k]->name, input, (double)result.maps[0][pair], (double)result.maps[1][pair],
                         (double)result.maps[2][pair]);
            if (has_ff && !(is_nan(result.own[token * shape.width]) && is_nan(result.sum[token * shape.width])))
                fail_msg("%s: input %d is NaN: own %g, sum %g", kernels[k]->name, input, (double)result.own[token * shape.width],
                         (double)result.sum[token * shape.width]);
            ff_pair_result_destroy(&result);
            ff_pair_case_destroy(&one);
        }
    }
}

/* A thread's working memory stays small, however wide the model. */
static void test_memory(void **state) {
    (void)state;
    const struct pair_kernel *kernels[2 * PAIR_MOST_KERNELS];
    size_t count = list_kernels(kernels);
    for (size_t k = 0; k < count; k++) {
        for (size_t width = 128; width <= 32768; width *= 2) {
            struct cx_pair_matrix matrix = {.kernel = kernels[k], .width = width, .depth = 4 * width, .padded_width = width, .padded_depth = 4 * width};
            size_t bytes;
            assert_true(pair_tile_bytes(&matrix, width / 64, 1, &bytes));
            if (bytes > (size_t)4 << 20)
                fail_msg("%s: width %zu: %zu bytes", kernels[k]->name, width, bytes);
        }
        struct cx_pair_matrix matrix = {.kernel = kernels[k], .padded_width = 64, .padded_depth = 64};
        size_t bytes;
        assert_false(pair_tile_bytes(&matrix, SIZE_MAX / 8, 1, &bytes));
    }
}

static void test_bf16_unsupported(void **state) {
    (void)state;
    const struct cx_backend_options options = {.kind = CX_BACKEND_CPU, .threads = 1, .pair_precision = CX_PAIR_BF16};
    const struct cx_model_config config = {1, 1, 8, 8, 8, 1, 1, 1, 1e-12, CX_GELU, false};
    struct cx_backend *backend = NULL;
    struct cx_error error = {0};
    enum cx_status status = cx_backend_open(&options, &config, &backend, &error);
    assert_int_equal(status, pair_kernel_has_bf16() ? CX_OK : CX_ERROR_UNSUPPORTED);
    assert_true((backend != NULL) == pair_kernel_has_bf16());
    cx_backend_close(backend);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_definition),   cmocka_unit_test(test_words),       cmocka_unit_test(test_words_of_one_token),
        cmocka_unit_test(test_threads),      cmocka_unit_test(test_composition), cmocka_unit_test(test_causal),
        cmocka_unit_test(test_causal_words), cmocka_unit_test(test_wanted),      cmocka_unit_test(test_zeros),
        cmocka_unit_test(test_nan),          cmocka_unit_test(test_memory),      cmocka_unit_test(test_bf16_unsupported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
