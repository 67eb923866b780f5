/* What goes on around the layer sequence: batches under way together, a profile, and numbers that are wrong. */
#include "decompose_tests.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "decompose_case.h"

/* A batch begun while the one before is not finished gives the same bytes as alone; the third is larger than what was seen so far. */
void batches_under_way_do_not_mix(void **state) {
    enum { batches = 4 };
    static const size_t lengths[batches] = {11, 6, 23, 9};
    struct fixture *fixture = *state;
    struct packed packed[batches];
    struct cx_sequence_result together[batches], alone[batches];
    struct cx_decomposer *decomposer = NULL;
    for (size_t k = 0; k < batches; k++) {
        pack_batch(&packed[k], &lengths[k], (uint32_t[]){50 + (uint32_t)k}, 1);
        together[k] = make_result(lengths[k], layers, 0);
        alone[k] = make_result(lengths[k], layers, 0);
        decompose_batch(fixture, &case_everything, &packed[k].batch, &alone[k]);
    }
    expect_ok(cx_decomposer_open(fixture->backend, &fixture->model.weights, &case_everything, &decomposer, &case_error));
    for (size_t k = 0; k < batches; k++)
        expect_ok(cx_decompose_begin(decomposer, &packed[k].batch, &together[k], &case_error));
    if (fixture->backend->reads_ahead > 0)
        assert_true(cx_decompose_unfinished(decomposer) > 0);
    while (cx_decompose_unfinished(decomposer) > 0)
        expect_ok(cx_decompose_advance(decomposer, &case_error));
    expect_ok(cx_decompose_advance(decomposer, &case_error)); /* nothing to do is no error */
    cx_decomposer_close(decomposer);
    for (size_t k = 0; k < batches; k++) {
        expect_same_result(&together[k], &alone[k], lengths[k]);
        free_result(&together[k]);
        free_result(&alone[k]);
    }
}

/* Timing changes no byte; every operation is counted once a call. */
void a_profile_counts_operations(void **state) {
    enum { n = 14 };
    struct fixture *fixture = *state;
    struct packed packed;
    pack_batch(&packed, (size_t[]){n}, (uint32_t[]){61}, 1);
    struct cx_decompose_options options = case_everything;
    struct cx_sequence_result timed = make_result(n, layers, 0), plain = make_result(n, layers, 0);
    struct cx_decomposer *decomposer = NULL;
    struct cx_decompose_profile profile;
    double rate = -1;
    decompose_batch(fixture, &options, &packed.batch, &plain);
    options.profile = true;
    expect_ok(cx_decomposer_open(fixture->backend, &fixture->model.weights, &options, &decomposer, &case_error));
    for (int twice = 0; twice < 2; twice++)
        for (int k = 0; k < 5; k++) /* more operations than there are events */
            expect_ok(cx_decompose(decomposer, &packed.batch, &timed, &case_error));
    expect_ok(cx_decompose_profile(decomposer, &profile, &case_error));
    expect_same_result(&timed, &plain, n);
    assert_int_equal(profile.times.operations[CX_OPERATION_embed].calls, 10);
    assert_int_equal(profile.times.operations[CX_OPERATION_ff_pair_norms].calls, 10 * layers);
    assert_int_equal(profile.times.operations[CX_OPERATION_linear].calls, 10 * 8 * layers);
    assert_int_equal(profile.times.operations[CX_OPERATION_part_vectors].calls, 0);
    assert_true(profile.operations_flop[CX_OPERATION_ff_pair_norms] == 10.0 * layers * 2 * n * n * neurons * width);
    assert_true(profile.operations_flop[CX_OPERATION_linear] == 10.0 * layers * 2 * n * (4.0 * width * width + 4.0 * neurons * width));
    for (unsigned k = 0; k < CX_OPERATIONS; k++)
        assert_true(profile.times.operations[k].calls > 0 ? profile.times.operations[k].seconds > 0 : profile.times.operations[k].seconds == 0);
    assert_true(profile.times.idle_seconds >= 0 && profile.wait_seconds >= 0);
    cx_decomposer_close(decomposer);
    expect_ok(fixture->backend->operations->product_rate(fixture->backend, false, &rate, &case_error));
    assert_true(rate > 1e6);
    free_result(&timed);
    free_result(&plain);
}

/* An input that overflows, in a state (3e38 many times) or in the square of one (1e25), is an error with the layer's number, not a file full of infinities. */
static void expect_overflow(struct fixture *fixture, float too_large) {
    float *data = (float *)(uintptr_t)fixture->model.layer_weights[1].output.data, kept[neurons];
    memcpy(kept, data, sizeof kept);
    for (size_t i = 0; i < neurons; i++)
        data[i] = too_large;
    struct packed packed;
    pack_batch(&packed, (size_t[]){6}, (uint32_t[]){41}, 1);
    struct cx_sequence_result result = make_result(6, layers, 0);
    struct cx_decomposer *decomposer = NULL;
    expect_ok(cx_decomposer_open(fixture->backend, &fixture->model.weights, &case_everything, &decomposer, &case_error));
    const enum cx_status status = cx_decompose(decomposer, &packed.batch, &result, &case_error);
    cx_decomposer_close(decomposer);
    memcpy(data, kept, sizeof kept);
    free_result(&result);
    assert_int_equal(status, CX_ERROR_INPUT);
    assert_non_null(strstr(case_error.message, "layer 1"));
}

void overflow_is_an_error(void **state) {
    expect_overflow(*state, 3e38f);
    expect_overflow(*state, 1e25f);
}

/* A backend whose ff_pair_norms is as it is, and then damages one token's output: the third of layer 1. */
static const struct cx_backend_operations *right_operations;
static unsigned damaged_calls;

enum { DAMAGED_CHECK, DAMAGED_SUM };
static int damaged_output;

static enum cx_status damaging_pair_norms(struct cx_backend *backend, const struct cx_ff_pairs *pairs, struct cx_error *failure) {
    float values[64 * width];
    struct cx_tensor *tensor = damaged_output == DAMAGED_CHECK ? pairs->check : pairs->sum;
    const size_t count = damaged_output == DAMAGED_CHECK ? 5 : 5 * (size_t)width;
    enum cx_status status = right_operations->ff_pair_norms(backend, pairs, failure);
    if (status != CX_OK || damaged_calls++ != 1 || !tensor)
        return status;
    status = right_operations->read(backend, tensor, 0, count, values, failure);
    values[count / 5 * 2] += 100.0f;
    return status == CX_OK ? right_operations->write(backend, tensor, count, values, failure) : status;
}

static void expect_damage(struct fixture *fixture, int output, bool unchecked, const char *word) {
    struct packed packed;
    struct cx_backend_operations wrong = *fixture->backend->operations;
    struct cx_decompose_options options = case_everything;
    struct cx_sequence_result result = make_result(5, layers, 0);
    struct cx_decomposer *decomposer = NULL;
    pack_batch(&packed, (size_t[]){5}, (uint32_t[]){71}, 1);
    result.name = "chapter 9";
    options.unchecked = unchecked;
    right_operations = fixture->backend->operations;
    damaged_output = output;
    damaged_calls = 0;
    wrong.ff_pair_norms = damaging_pair_norms;
    fixture->backend->operations = &wrong;
    expect_ok(cx_decomposer_open(fixture->backend, &fixture->model.weights, &options, &decomposer, &case_error));
    const enum cx_status status = cx_decompose(decomposer, &packed.batch, &result, &case_error);
    cx_decomposer_close(decomposer);
    fixture->backend->operations = right_operations;
    free_result(&result);
    assert_int_equal(status, unchecked ? CX_OK : CX_ERROR_DEVICE);
    assert_true(unchecked ||
                (strstr(case_error.message, "layer 1, sequence chapter 9") && strstr(case_error.message, "token 2") && strstr(case_error.message, word)));
}

/* What a device got wrong ends the batch with layer, sequence and token, unless it is not to be checked. */
void wrong_results_are_found(void **state) {
    expect_damage(*state, DAMAGED_CHECK, false, "checksum");
    expect_damage(*state, DAMAGED_SUM, false, "miss its state");
    expect_damage(*state, DAMAGED_CHECK, true, NULL);
    expect_damage(*state, DAMAGED_SUM, true, NULL);
}
