/*
 * The layer sequence on a small random model: its own identities, here and in decompose_*.c. The values themselves are held against the numpy oracle by the
 * end-to-end tests. `test_decompose cuda` tests another backend (and is skipped where there is none).
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "contexture/memory.h"
#include "decompose_case.h"
#include "decompose_tests.h"

/* The parts and the bias part add up to the true state. Float32 sums over 48 to 80 terms: 1e-6 would be tight, 1e-5 is the promise. */
static void parts_are_complete(void **state) {
    struct packed packed;
    pack_batch(&packed, (size_t[]){17, 1, 30}, (uint32_t[]){1, 2, 3}, 3);
    struct cx_sequence_result results[] = {make_result(17, layers, 0), make_result(1, layers, 0), make_result(30, layers, 0)};
    decompose_batch(*state, &case_everything, &packed.batch, results);
    for (size_t sequence = 0; sequence < 3; sequence++) {
        for (size_t layer = 0; layer < layers; layer++) {
            const float found = results[sequence].completeness_error[layer];
            if (!(found > 0 && found < 1e-5f))
                fail_msg("sequence %zu, layer %zu: completeness error %g", sequence, layer, (double)found);
        }
        free_result(&results[sequence]);
    }
}

/* Maps, which take the identities' way, are the norms of the vectors, which take the definition's. */
static void maps_are_norms_of_vectors(void **state) {
    enum { n = 13 };
    struct packed packed;
    pack_batch(&packed, (size_t[]){n}, (uint32_t[]){5}, 1);
    const bool chosen[layers] = {true, false, true};
    struct cx_decompose_options options = case_everything;
    options.vector_layers = chosen;
    struct cx_sequence_result result = make_result(n, layers, 2);
    decompose_batch(*state, &options, &packed.batch, &result);
    for (unsigned stage = 0; stage < CX_STAGES; stage++)
        for (size_t index = 0; index < 2; index++) {
            const size_t layer = index * 2;
            float norms[n * n];
            for (size_t pair = 0; pair < n * n; pair++) {
                double sum = 0;
                for (size_t dimension = 0; dimension < width; dimension++) {
                    const double value = result.vectors[stage][(index * n * n + pair) * width + dimension];
                    sum += value * value;
                }
                norms[pair] = (float)sqrt(sum);
            }
            expect_close(cx_map_name(stage), result.maps[stage] + layer * n * n, norms, n * n, 2e-6f);
        }
    free_result(&result);
}

/* The layer norms of their inputs are the states behind them; wanted alone, of some layers. */
static void norm_inputs_are_what_the_norms_see(void **state) {
    enum { n = 9, L = 2 };
    struct fixture *fixture = *state;
    const bool chosen[layers] = {false, true, true};
    struct packed packed;
    pack_batch(&packed, (size_t[]){n}, (uint32_t[]){61}, 1);
    struct cx_sequence_result whole = make_result(n, layers, 0), found = {0};
    for (size_t norm = 0; norm < CX_NORMS; norm++)
        expect_ok(cx_allocate((size_t)L * n * width, sizeof(float), "states", &found.norm_inputs[norm], &case_error));
    decompose_batch(fixture, &case_everything, &packed.batch, &whole);
    decompose_batch(fixture, &(struct cx_decompose_options){.layers = chosen, .norm_inputs = true}, &packed.batch, &found);
    for (size_t k = 0; k < (size_t)L * n; k++) {
        const struct cx_layer_weights *layer = &fixture->model.layer_weights[1 + k / n];
        const float *input = found.norm_inputs[1] + k * width, *scale = layer->output_norm_scale.data, *shift = layer->output_norm_shift.data;
        double mean = 0, variance = 0;
        float expected[width];
        for (size_t dimension = 0; dimension < width; dimension++)
            mean += (double)input[dimension] / width;
        for (size_t dimension = 0; dimension < width; dimension++)
            variance += (input[dimension] - mean) * (input[dimension] - mean) / width;
        for (size_t dimension = 0; dimension < width; dimension++)
            expected[dimension] = (float)((input[dimension] - mean) / sqrt(variance + case_config.norm_epsilon) * scale[dimension] + shift[dimension]);
        expect_close("state", whole.hidden_states + ((2 + k / n) * n + k % n) * width, expected, width, 1e-6f);
        assert_true(largest(found.norm_inputs[0] + k * width, width) > 0);
    }
    free_result(&whole);
    free_result(&found);
}

/* What a sequence gives does not depend on what shares its batch, but for rounding. */
static void batches_change_rounding_only(void **state) {
    const size_t lengths[] = {9, 21, 4};
    const uint32_t seeds[] = {11, 12, 13};
    struct packed together;
    pack_batch(&together, lengths, seeds, 3);
    struct cx_sequence_result results[3];
    for (size_t sequence = 0; sequence < 3; sequence++)
        results[sequence] = make_result(lengths[sequence], layers, 0);
    decompose_batch(*state, &case_everything, &together.batch, results);
    for (size_t sequence = 0; sequence < 3; sequence++) {
        const size_t n = lengths[sequence];
        struct packed alone;
        pack_batch(&alone, &n, &seeds[sequence], 1);
        struct cx_sequence_result result = make_result(n, layers, 0);
        decompose_batch(*state, &case_everything, &alone.batch, &result);
        for (unsigned map = 0; map < CX_MAPS; map++)
            for (size_t layer = 0; layer < layers; layer++)
                expect_close(cx_map_name(map), results[sequence].maps[map] + layer * n * n, result.maps[map] + layer * n * n, n * n, 1e-6f);
        for (unsigned stage = 0; stage < CX_STAGES; stage++)
            expect_close("mixing ratio", results[sequence].mixing_ratio[stage], result.mixing_ratio[stage], layers * n, 2e-6f);
        free_result(&result);
        free_result(&results[sequence]);
    }
}

/* A choice of layers and stages gives the same numbers as all of them, in the right places. */
static void choices_are_parts_of_the_whole(void **state) {
    enum { n = 12 };
    struct packed packed;
    pack_batch(&packed, (size_t[]){n}, (uint32_t[]){21}, 1);
    const bool chosen[layers] = {false, true, false};
    const struct cx_decompose_options options = {.maps = CX_STAGE_BIT(CX_STAGE_ATTN_RES_LN) | CX_STAGE_BIT(CX_STAGE_FF_RES_LN), .layers = chosen};
    struct cx_sequence_result whole = make_result(n, layers, 0), part = make_result(n, 1, 0);
    decompose_batch(*state, &case_everything, &packed.batch, &whole);
    decompose_batch(*state, &options, &packed.batch, &part);
    for (unsigned map = 0; map < CX_MAPS; map++) {
        if (options.maps & CX_STAGE_BIT(map))
            assert_memory_equal(part.maps[map], whole.maps[map] + n * n, n * n * sizeof(float));
        else
            assert_true(largest(part.maps[map], n * n) == 0);
    }
    for (size_t token = 0; token < n; token++)
        assert_true(part.mixing_ratio[CX_STAGE_FF_RES_LN][token] == whole.mixing_ratio[CX_STAGE_FF_RES_LN][token * layers + 1]);
    assert_true(largest(part.hidden_states, n * width) == 0);
    free_result(&whole);
    free_result(&part);
}

/* Memory and derived weights are had only for what is wanted: each thing wanted alone is what it is among all. */
static void what_is_wanted_alone_is_the_same(void **state) {
    enum { n = 12 };
    struct packed packed;
    pack_batch(&packed, (size_t[]){n}, (uint32_t[]){22}, 1);
    const bool last[layers] = {false, false, true};
    struct cx_decompose_options all = case_everything;
    all.vector_layers = last;
    struct cx_sequence_result whole = make_result(n, layers, 1);
    decompose_batch(*state, &all, &packed.batch, &whole);
    for (unsigned wanted = 0; wanted < CX_MAPS + 3; wanted++) {
        const struct cx_decompose_options options = {
            .maps = wanted < CX_MAPS ? CX_STAGE_BIT(wanted) : 0,
            .per_head = wanted == CX_MAPS,
            .hidden_states = wanted == CX_MAPS + 1,
            .vector_layers = wanted == CX_MAPS + 2 ? last : NULL,
        };
        struct cx_sequence_result alone = make_result(n, layers, 1);
        decompose_batch(*state, &options, &packed.batch, &alone);
        if (wanted < CX_MAPS)
            assert_memory_equal(alone.maps[wanted], whole.maps[wanted], layers * n * n * sizeof(float));
        if (options.per_head) {
            assert_memory_equal(alone.head_attention_weight, whole.head_attention_weight, layers * heads * n * n * sizeof(float));
            assert_memory_equal(alone.head_attention_norm, whole.head_attention_norm, layers * heads * n * n * sizeof(float));
        }
        if (options.hidden_states)
            assert_memory_equal(alone.hidden_states, whole.hidden_states, (layers + 1) * n * width * sizeof(float));
        if (options.vector_layers)
            for (unsigned stage = 0; stage < CX_STAGES; stage++)
                assert_memory_equal(alone.vectors[stage], whole.vectors[stage], n * n * width * sizeof(float));
        free_result(&alone);
    }
    free_result(&whole);
}

/* Per head: α's mean is the map attn_weight, each row sums to 1, and one head's share is never more than the whole head norms' sum. */
static void heads_agree_with_their_mean(void **state) {
    enum { n = 10 };
    struct packed packed;
    pack_batch(&packed, (size_t[]){n}, (uint32_t[]){31}, 1);
    struct cx_sequence_result result = make_result(n, layers, 0);
    decompose_batch(*state, &case_everything, &packed.batch, &result);
    for (size_t layer = 0; layer < layers; layer++)
        for (size_t target = 0; target < n; target++) {
            double row = 0;
            for (size_t source = 0; source < n; source++) {
                double mean = 0, norms = 0;
                for (size_t head = 0; head < heads; head++) {
                    const size_t element = ((layer * heads + head) * n + target) * n + source;
                    mean += result.head_attention_weight[element] / (double)heads;
                    norms += result.head_attention_norm[element];
                }
                const size_t element = (layer * n + target) * n + source;
                assert_true(fabs(mean - result.maps[CX_MAP_ATTN_WEIGHT][element]) < 1e-6);
                assert_true(result.maps[CX_STAGE_ATTN][element] <= norms * (1 + 1e-5));
                row += mean;
            }
            assert_true(fabs(row - 1) < 1e-6);
        }
    free_result(&result);
}

int main(int argc, char **argv) {
    const struct CMUnitTest on_cpu[] = {cmocka_unit_test(words_of_one_token_are_tokens)};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_are_complete),
        cmocka_unit_test(maps_are_norms_of_vectors),
        cmocka_unit_test(maps_without_dimensions_are_norms_of_vectors),
        cmocka_unit_test(words_are_sums_of_vectors),
        cmocka_unit_test(norm_inputs_are_what_the_norms_see),
        cmocka_unit_test(batches_change_rounding_only),
        cmocka_unit_test(choices_are_parts_of_the_whole),
        cmocka_unit_test(what_is_wanted_alone_is_the_same),
        cmocka_unit_test(heads_agree_with_their_mean),
        cmocka_unit_test(overflow_is_an_error),
        cmocka_unit_test(batches_under_way_do_not_mix),
        cmocka_unit_test(a_profile_counts_operations),
        cmocka_unit_test(wrong_results_are_found),
    };
    if (argc > 1 && strcmp(argv[1], "cuda") == 0) {
        const struct cx_backend_options options = {.kind = CX_BACKEND_CUDA};
        struct cx_backend *backend;
        case_backend_kind = CX_BACKEND_CUDA;
        if (cx_backend_open(&options, &case_config, &backend, &case_error) != CX_OK) {
            print_message("skipped: %s\n", case_error.message);
            return 77;
        }
        cx_backend_close(backend);
    }
    const int failed = cmocka_run_group_tests(tests, case_setup, case_teardown);
    return failed + (case_backend_kind == CX_BACKEND_CPU ? cmocka_run_group_tests(on_cpu, case_setup, case_teardown) : 0);
}
