/*
 * Maps by words of the CUDA backend: against the CPU backend's, against those by token where a word is one, and what there is not. Runs on a GPU, or on the
 * emulation; skipped where there is neither.
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
#include "cuda_word_cases.h"

/*
 * Heads of one step and of two, with x_j in the first and in the second; sequences that are one word, or have nothing but words of one token; words that end
 * behind a tile's last target, longer than a tile has targets, and more in a tile than a block has tokens at a time; chunks that end between a sequence's
 * tiles, for their rows and for their units.
 */
static const struct word_case cases[] = {
    {{"one head", OP_RANDOM, 1, 5, 13, CX_GELU, {9, 4, 6, 3, 1}}, {2, 1, 3}, 0},
    {{"four heads", OP_RANDOM, 4, 6, 31, CX_RELU, {17, 20, 5, 33, 1}}, {2, 1, 1, 3, 1, 7}, 0},
    {{"twelve heads, chunks", OP_RANDOM, 12, 3, 40, CX_GELU, {40, 21, 9, 37}}, {1, 2, 7, 1, 1, 4, 1}, 1},
    {{"sixteen heads, causal", OP_RANDOM | OP_CAUSAL, 16, 2, 24, CX_GELU, {18, 5, 9, 37}}, {2, 1, 5, 1, 1}, 0},
    {{"causal, chunks", OP_RANDOM | OP_CAUSAL, 4, 4, 20, CX_SILU, {45, 35, 3, 20}}, {1, 3, 1, 2, 1, 7}, 1},
    {{"long words, chunks", OP_RANDOM, 1, 8, 40, CX_GELU, {70, 130}}, {34, 1, 17, 2}, 1},
    {{"two whole steps", OP_RANDOM, 31, 2, 24, CX_GELU, {12, 4}}, {2, 1, 4}, 0},
    {{"a tile with more units than a chunk has rows", OP_RANDOM | OP_CAUSAL, 1, 8, 16, CX_GELU, {300}}, {100, 1, 60}, 1},
    {{"wide", OP_RANDOM, 6, 48, 520, CX_GELU, {19, 5}}, {2, 1, 1, 3}, 0},
};
enum { case_count = sizeof cases / sizeof *cases, causal_case = 3, chunked_case = 4 };

/* Widths that the fused kernels take. */
static const struct word_case fitting = {{"fitting", OP_RANDOM, 4, 16, 64, CX_GELU, {9, 3, 2, 12}}, {2, 1, 3}, 0};

/* Of the largest number: the same sums of float32 in another order, each rounded to 2^-24. */
static const double by_rounding = 2e-6;

static struct cx_error error;

static void float32_is_as_on_the_cpu(void **state) {
    (void)state;
    for (size_t k = 0; k < case_count; k++)
        expect_words_as_on_cpu(&cases[k], CX_PAIR_F32, CX_PAIR_KERNEL_AUTO);
}

static void float16_keeps_its_bounds(void **state) {
    (void)state;
    for (size_t k = 0; k < case_count; k++)
        expect_words_as_on_cpu(&cases[k], CX_PAIR_F16, CX_PAIR_KERNEL_AUTO);
}

/* The third sequence of a batch, whose words are its tokens: as by token, beside sequences that are not. */
static void words_of_one_token_are_tokens(void **state) {
    const struct cx_backend_options options = {.kind = CX_BACKEND_CUDA};
    struct word_data data;
    struct word_result by_words, by_token;
    (void)state;
    word_data_create(&cases[1], &data);
    word_result_compute(&data, &options, true, &by_words);
    word_result_compute(&data, &options, false, &by_token);
    const struct cx_batch *batch = &data.data.batch;
    const size_t n = batch->token_offset[3] - batch->token_offset[2], width = data.data.config.hidden_size;
    assert_int_equal(data.words.offset[3] - data.words.offset[2], n);
    for (size_t k = 0; k < WORD_OUTPUTS; k++) {
        const float *words = by_words.values[k], *tokens = by_token.values[k];
        const bool is_map = k < WORD_MAPS;
        const double apart = is_map ? word_error(words + data.words.map_offset[2], tokens + batch->pair_offset[2], n * n)
                                    : word_error(words, tokens, batch->tokens * width); /* own and sum are by token always */
        if (!(apart <= by_rounding))
            fail_msg("output %zu: by words %g of the largest number from what it is by token", k, apart);
    }
    word_result_free(&by_words);
    word_result_free(&by_token);
    word_data_free(&data);
}

/* Nothing comes from a word that begins behind the target: zeros, not small numbers. */
static void words_behind_the_target_give_nothing(void **state) {
    const struct cx_backend_options options = {.kind = CX_BACKEND_CUDA};
    struct word_data data;
    struct word_result result;
    size_t zeros = 0;
    (void)state;
    word_data_create(&cases[causal_case], &data);
    word_result_compute(&data, &options, true, &result);
    const struct cx_batch *batch = &data.data.batch;
    for (size_t s = 0; s < batch->sequences; s++) {
        const size_t first = data.words.offset[s], columns = data.words.offset[s + 1] - first;
        for (size_t target = batch->token_offset[s]; target < batch->token_offset[s + 1]; target++) {
            const size_t row = data.words.map_offset[s] + (target - batch->token_offset[s]) * columns;
            for (size_t column = 0; column < columns; column++) {
                const bool is_behind = data.words.first_token[first + column] > target;
                for (size_t k = 0; k < WORD_MAPS; k++)
                    assert_true(is_behind ? result.values[k][row + column] == 0.0f : result.values[k][row + column] > 0.0f);
                zeros += is_behind;
            }
        }
    }
    assert_true(zeros > 0);
    word_result_free(&result);
    word_data_free(&data);
}

/* Another division into chunks changes sums by rounding, and the same one nothing. */
static void chunks_do_not_matter(void **state) {
    const struct cx_backend_options whole = {.kind = CX_BACKEND_CUDA}, parts = {.kind = CX_BACKEND_CUDA, .pair_chunk = 1};
    struct word_data data;
    struct word_result expected, found, again;
    (void)state;
    word_data_create(&cases[chunked_case], &data);
    word_result_compute(&data, &whole, true, &expected);
    word_result_compute(&data, &parts, true, &found);
    word_result_compute(&data, &parts, true, &again);
    for (size_t k = 0; k < WORD_OUTPUTS; k++) {
        const double apart = word_error(found.values[k], expected.values[k], expected.counts[k]);
        if (!(apart <= by_rounding))
            fail_msg("output %zu: in chunks %g of the largest number from what one chunk gives", k, apart);
        assert_memory_equal(found.values[k], again.values[k], found.counts[k] * sizeof(float));
    }
    word_result_free(&expected);
    word_result_free(&found);
    word_result_free(&again);
    word_data_free(&data);
}

/* Where the device's own choice is a fused kernel, words go in chunks all the same; by name it is an error, before anything is computed. */
static void fused_kernels_leave_words_to_chunks(void **state) {
    const struct cx_backend_options kinds[] = {
        {.kind = CX_BACKEND_CUDA, .pair_precision = CX_PAIR_F16, .pair_kernel = CX_PAIR_KERNEL_CHUNKED},
        {.kind = CX_BACKEND_CUDA, .pair_precision = CX_PAIR_F16, .pair_kernel = CX_PAIR_KERNEL_AUTO},
        {.kind = CX_BACKEND_CUDA, .pair_precision = CX_PAIR_F16, .pair_kernel = CX_PAIR_KERNEL_MMA},
    };
    struct word_data data;
    struct word_result chunked, chosen;
    struct cx_backend *backend;
    (void)state;
    word_data_create(&fitting, &data);
    word_result_compute(&data, &kinds[0], true, &chunked);
    word_result_compute(&data, &kinds[1], true, &chosen);
    for (size_t k = 0; k < WORD_OUTPUTS; k++)
        assert_memory_equal(chunked.values[k], chosen.values[k], chunked.counts[k] * sizeof(float));
    assert_int_equal(cx_backend_open(&kinds[2], &data.data.config, &backend, &error), CX_OK);
    assert_int_equal(backend->operations->batch_begin(backend, &data.data.batch, &error), CX_ERROR_UNSUPPORTED);
    assert_non_null(strstr(error.message, "the pair kernel mma has no maps by words: use chunked"));
    data.data.batch.words = NULL;
    assert_int_equal(backend->operations->batch_begin(backend, &data.data.batch, &error), CX_OK);
    cx_backend_close(backend);
    word_result_free(&chunked);
    word_result_free(&chosen);
    word_data_free(&data);
}

/* A batch finds nothing of the one before it, which had words where it has none, or the other way round. */
static void batches_take_turns(void **state) {
    const struct cx_backend_options options = {.kind = CX_BACKEND_CUDA, .pair_precision = CX_PAIR_F16};
    struct cx_backend *backend = NULL;
    struct word_data data;
    struct word_result alone[2], found;
    (void)state;
    word_data_create(&fitting, &data);
    for (int by_words = 0; by_words < 2; by_words++)
        word_result_compute(&data, &options, by_words, &alone[by_words]);
    assert_int_equal(cx_backend_open(&options, &data.data.config, &backend, &error), CX_OK);
    for (int turn = 0; turn < 4; turn++) {
        const struct word_result *expected = &alone[turn % 2];
        word_result_compute_on(&data, backend, turn % 2, &found);
        for (size_t k = 0; k < WORD_OUTPUTS; k++) {
            assert_int_equal(found.counts[k], expected->counts[k]);
            assert_memory_equal(found.values[k], expected->values[k], found.counts[k] * sizeof(float));
        }
        word_result_free(&found);
    }
    cx_backend_close(backend);
    word_result_free(&alone[0]);
    word_result_free(&alone[1]);
    word_data_free(&data);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(float32_is_as_on_the_cpu),
        cmocka_unit_test(float16_keeps_its_bounds),
        cmocka_unit_test(words_of_one_token_are_tokens),
        cmocka_unit_test(words_behind_the_target_give_nothing),
        cmocka_unit_test(chunks_do_not_matter),
        cmocka_unit_test(fused_kernels_leave_words_to_chunks),
        cmocka_unit_test(batches_take_turns),
    };
    return cuda_is_here() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
