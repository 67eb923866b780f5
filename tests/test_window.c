/* Windows: sizes and places of results, order by length, packing, and lists of layers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "contexture/run.h"
#include "contexture/window.h"

static const struct cx_result_layout everything = {
    .model_layers = 3,
    .hidden_size = 8,
    .heads = 2,
    .maps = CX_ALL_MAPS,
    .stored_layers = 2,
    .vector_layers = 1,
    .vector_stages = CX_STAGE_BIT(CX_STAGE_FF) | CX_STAGE_BIT(CX_STAGE_ATTN),
    .per_head = true,
    .hidden_states = true,
    .maps_without = true,
};

/* Of maps by tokens, and by fewer words. */
static void check_places(size_t n, size_t side) {
    const size_t L = 2;
    size_t floats;
    assert_int_equal(cx_result_floats(&everything, n, side, &floats, NULL), CX_OK);
    assert_int_equal(floats, (7 + 4) * L * side * side + 2 * 6 * L * n + L + 2 * L * 2 * n * n + (3 + 1) * n * 8 + 2 * 1 * n * n * 8);

    float *memory = calloc(floats, sizeof *memory);
    struct cx_sequence_result result;
    cx_result_place(&everything, n, side, memory, &result);
    struct {
        float *values;
        size_t count;
    } pieces[64];
    size_t count = 0;
    for (size_t map = 0; map < CX_MAPS; map++)
        pieces[count].values = result.maps[map], pieces[count++].count = L * side * side;
    for (size_t k = 0; k < CX_NORMS * CX_NORM_SIDES; k++)
        pieces[count].values = result.maps_without[k / CX_NORM_SIDES][k % CX_NORM_SIDES], pieces[count++].count = L * side * side;
    for (size_t stage = 0; stage < CX_STAGES; stage++) {
        pieces[count].values = result.mixing_ratio[stage], pieces[count++].count = n * L;
        pieces[count].values = result.bias_norm[stage], pieces[count++].count = n * L;
    }
    pieces[count].values = result.completeness_error, pieces[count++].count = L;
    pieces[count].values = result.head_attention_weight, pieces[count++].count = L * 2 * n * n;
    pieces[count].values = result.head_attention_norm, pieces[count++].count = L * 2 * n * n;
    pieces[count].values = result.hidden_states, pieces[count++].count = 4 * n * 8;
    pieces[count].values = result.vectors[CX_STAGE_ATTN], pieces[count++].count = n * n * 8;
    pieces[count].values = result.vectors[CX_STAGE_FF], pieces[count++].count = n * n * 8;
    assert_null(result.vectors[CX_STAGE_ATTN_RES]);
    for (size_t k = 0; k < count; k++)
        for (size_t i = 0; i < pieces[k].count; i++)
            pieces[k].values[i] += 1;
    for (size_t k = 0; k < floats; k++)
        assert_float_equal(memory[k], 1, 0);
    free(memory);
}

static void results_fill_their_memory_without_overlap(void **state) {
    (void)state;
    check_places(5, 5);
    check_places(5, 3);
}

static void what_is_not_wanted_has_no_place(void **state) {
    (void)state;
    const struct cx_result_layout least = {.model_layers = 3, .hidden_size = 8, .heads = 2, .stored_layers = 3};
    size_t floats;
    assert_int_equal(cx_result_floats(&least, 4, 4, &floats, NULL), CX_OK);
    assert_int_equal(floats, 2 * 6 * 3 * 4 + 3);
    float memory[2 * 6 * 3 * 4 + 3];
    struct cx_sequence_result result;
    cx_result_place(&least, 4, 4, memory, &result);
    for (size_t map = 0; map < CX_MAPS; map++)
        assert_null(result.maps[map]);
    assert_null(result.head_attention_weight);
    assert_null(result.hidden_states);
    assert_ptr_equal(result.completeness_error + 3, memory + floats);
}

static void sizes_that_overflow_are_refused(void **state) {
    (void)state;
    size_t floats;
    struct cx_result_layout layout = everything;
    assert_int_equal(cx_result_floats(&layout, (size_t)1 << 33, (size_t)1 << 33, &floats, NULL), CX_ERROR_MEMORY);
    layout.hidden_size = (size_t)1 << 60;
    assert_int_equal(cx_result_floats(&layout, 100, 100, &floats, NULL), CX_ERROR_MEMORY);
    layout = everything;
    layout.stored_layers = (size_t)1 << 62;
    assert_int_equal(cx_result_floats(&layout, 2, 2, &floats, NULL), CX_ERROR_MEMORY);
}

static void order_is_longest_first_and_stable(void **state) {
    (void)state;
    const size_t lengths[] = {3, 9, 3, 1, 9, 3}, expected[] = {1, 4, 0, 2, 5, 3};
    struct cx_sequence sequences[6] = {0};
    size_t order[6];
    for (size_t k = 0; k < 6; k++)
        sequences[k].tokens = lengths[k];
    assert_int_equal(cx_window_order(sequences, 6, order, NULL), CX_OK);
    assert_memory_equal(order, expected, sizeof order);
}

/* Batches of 512: a longer sequence alone, and no batch above the bound otherwise. */
static void batches_keep_the_bound(void **state) {
    (void)state;
    struct cx_sequence sequences[200] = {0};
    size_t order[200], seen = 0;
    unsigned seed = 1;
    for (size_t k = 0; k < 200; k++)
        sequences[k].tokens = 1 + (size_t)(rand_r(&seed) % 700);
    assert_int_equal(cx_window_order(sequences, 200, order, NULL), CX_OK);
    while (seen < 200) {
        size_t taken = cx_batch_count(sequences, order + seen, 200 - seen, 512), tokens = 0;
        for (size_t k = 0; k < taken; k++)
            tokens += sequences[order[seen + k]].tokens;
        assert_true(taken == 1 || tokens <= 512);
        seen += taken;
        assert_true(seen == 200 || tokens + sequences[order[seen]].tokens > 512);
    }
    assert_int_equal(seen, 200);
    assert_int_equal(cx_batch_count(sequences, order, 200, 1), 1);
    assert_int_equal(cx_batch_count(sequences, order, 200, SIZE_MAX), 200);
}

static void a_batch_is_packed_without_padding(void **state) {
    (void)state;
    int32_t ids[] = {10, 11, 12, 20, 30, 31}, types[] = {0, 0, 1, 0, 1, 1}, positions[] = {0, 1, 2, 0, 0, 1};
    struct cx_sequence sequences[3] = {
        {.tokens = 3, .input_ids = ids, .token_type_ids = types, .position_ids = positions},
        {.tokens = 1, .input_ids = ids + 3, .token_type_ids = types + 3, .position_ids = positions + 3},
        {.tokens = 2, .input_ids = ids + 4, .token_type_ids = types + 4, .position_ids = positions + 4},
    };
    float mark[3];
    struct cx_sequence_result results[3] = {{.completeness_error = mark}, {.completeness_error = mark + 1}, {.completeness_error = mark + 2}};
    const size_t order[] = {2, 0}, token_offset[] = {0, 2, 5}, pair_offset[] = {0, 4, 13};
    const int32_t packed_ids[] = {30, 31, 10, 11, 12}, packed_types[] = {1, 1, 0, 0, 1}, packed_positions[] = {0, 1, 0, 1, 2};
    struct cx_packed_batch packed = {0};
    assert_int_equal(cx_batch_pack(&packed, sequences, results, order, 2, false, NULL), CX_OK);
    assert_int_equal(packed.batch.sequences, 2);
    assert_int_equal(packed.batch.tokens, 5);
    assert_int_equal(packed.batch.pairs, 13);
    assert_int_equal(packed.batch.longest, 3);
    assert_memory_equal(packed.batch.token_offset, token_offset, sizeof token_offset);
    assert_memory_equal(packed.batch.pair_offset, pair_offset, sizeof pair_offset);
    assert_memory_equal(packed.batch.input_ids, packed_ids, sizeof packed_ids);
    assert_memory_equal(packed.batch.token_type_ids, packed_types, sizeof packed_types);
    assert_memory_equal(packed.batch.position_ids, packed_positions, sizeof packed_positions);
    assert_ptr_equal(packed.results[0].completeness_error, mark + 2);
    assert_ptr_equal(packed.results[1].completeness_error, mark);
    assert_null(packed.batch.words);
    cx_packed_batch_free(&packed);
}

static void a_batch_is_packed_with_its_words(void **state) {
    (void)state;
    int32_t numbers[6] = {0};
    uint32_t first_words[] = {0, 1, 3}, second_words[] = {0, 1, 2, 3, 6};
    struct cx_sequence sequences[2] = {
        {.tokens = 3, .input_ids = numbers, .token_type_ids = numbers, .position_ids = numbers, .words = 2, .word_first = first_words},
        {.tokens = 6, .input_ids = numbers, .token_type_ids = numbers, .position_ids = numbers, .words = 4, .word_first = second_words},
    };
    const struct cx_sequence_result results[2] = {{0}};
    const size_t order[] = {1, 0}, first_token[] = {0, 1, 2, 3, 6, 7, 9}, offset[] = {0, 4, 6}, map_offset[] = {0, 24, 30};
    struct cx_packed_batch packed = {0};
    assert_int_equal(cx_batch_pack(&packed, sequences, results, order, 2, true, NULL), CX_OK);
    assert_non_null(packed.batch.words);
    assert_int_equal(packed.batch.words->count, 6);
    assert_int_equal(packed.batch.words->longest, 3);
    assert_int_equal(packed.batch.words->map_elements, 30);
    assert_memory_equal(packed.batch.words->first_token, first_token, sizeof first_token);
    assert_memory_equal(packed.batch.words->offset, offset, sizeof offset);
    assert_memory_equal(packed.batch.words->map_offset, map_offset, sizeof map_offset);
    cx_packed_batch_free(&packed);
}

static void layers_are_read(void **state) {
    (void)state;
    static const struct {
        const char *text, *marks;
    } cases[] = {
        {"all", "111111"}, {"none", "000000"}, {"0", "100000"},       {"5", "000001"},     {"-1", "000001"},
        {"-6", "100000"},  {"1-3", "011100"},  {"0,3,5-5", "100101"}, {"-2--1", "000011"}, {"0,0,0-1", "110000"},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        bool marked[6];
        size_t count, expected = 0;
        char found[7] = "";
        assert_int_equal(cx_layers_parse("--layers", cases[k].text, 6, marked, &count, NULL), CX_OK);
        for (size_t layer = 0; layer < 6; layer++) {
            found[layer] = marked[layer] ? '1' : '0';
            expected += marked[layer];
        }
        assert_string_equal(found, cases[k].marks);
        assert_int_equal(count, expected);
    }
}

static void bad_layers_are_refused(void **state) {
    (void)state;
    static const char *const bad[] = {"", "6", "-7", "-0", "a", "1,", ",1", "1-", "3-1", "1;2", "all,1", "99999999999999999999", "1 2", "0x1", "1.5", "--1"};
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        bool marked[6];
        size_t count;
        struct cx_error error = {0};
        if (cx_layers_parse("--layers", bad[k], 6, marked, &count, &error) != CX_ERROR_USAGE)
            fail_msg("\"%s\" was taken for a list of layers", bad[k]);
        assert_memory_equal(error.message, "--layers", 8);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(results_fill_their_memory_without_overlap),
        cmocka_unit_test(what_is_not_wanted_has_no_place),
        cmocka_unit_test(sizes_that_overflow_are_refused),
        cmocka_unit_test(order_is_longest_first_and_stable),
        cmocka_unit_test(batches_keep_the_bound),
        cmocka_unit_test(a_batch_is_packed_without_padding),
        cmocka_unit_test(a_batch_is_packed_with_its_words),
        cmocka_unit_test(layers_are_read),
        cmocka_unit_test(bad_layers_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
