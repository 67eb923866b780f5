/* What statistics are made with: ranks against their definition, the bootstrap's draws, and the counting of pairs. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "contexture/stats.h"
#include "ranks.h"
#include "view.h"

enum { most = 600 };

static uint32_t next_number(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

/* Twice the mean number of smaller and not larger ones, less the mean, from the definition. */
static int32_t rank_by_definition(const double *values, const uint8_t *taken, size_t count, size_t place) {
    int32_t smaller = 0, equal = 0, total = 0;
    for (size_t k = 0; k < count; k++) {
        if (taken && !taken[k])
            continue;
        total++;
        smaller += values[k] < values[place];
        equal += values[k] == values[place];
    }
    return 2 * smaller + equal - total;
}

static void ranks_are_those_of_the_definition(void **unused) {
    (void)unused;
    struct rank_space space = {0};
    struct cx_error error = {0};
    float floats[most];
    double doubles[most];
    uint8_t taken[most];
    int32_t ranks[most];
    uint32_t state = 1;
    assert_int_equal(rank_space_reserve(&space, most, &error), CX_OK);
    for (size_t trial = 0; trial < 40; trial++) {
        const size_t count = trial < 5 ? trial : 1 + next_number(&state) % most;
        const uint32_t kinds = 1 + next_number(&state) % (trial % 2 == 0 ? 8 : 100000);
        const bool is_double = trial % 4 >= 2;
        for (size_t k = 0; k < count; k++) {
            /* Signs, both zeros, denormals, and doubles that agree in their upper halves. */
            const double number = ((double)(next_number(&state) % kinds) - kinds / 2) * (trial % 3 == 0 ? 1e-42 : trial % 3 == 1 ? 1e-9 : 0.37);
            doubles[k] = is_double && trial % 3 == 1 ? 1 + number * 1e-3 : number;
            floats[k] = (float)number;
            if (number == 0 && next_number(&state) % 2 == 0)
                floats[k] = -0.0f;
            if (!is_double)
                doubles[k] = (double)floats[k];
            taken[k] = next_number(&state) % 3 > 0;
        }
        if (is_double)
            rank_sort_doubles(&space, doubles, count);
        else
            rank_sort_floats(&space, floats, count);
        for (int some = 0; some < 2; some++) {
            int64_t sum = 0;
            rank_assign(&space, count, some ? taken : NULL, ranks);
            for (size_t k = 0; k < count; k++) {
                assert_int_equal(ranks[k], some && !taken[k] ? 0 : rank_by_definition(doubles, some ? taken : NULL, count, k));
                sum += ranks[k];
            }
            assert_int_equal(sum, 0);
        }
    }
    rank_space_free(&space);
}

static void correlations_end_at_one(void **unused) {
    (void)unused;
    const double rising[] = {-3, -1, 0, 2, 2, 9}, falling[] = {5, 4, 3, 1, 1, -8}, level[] = {1, 1, 1, 1, 1, 1};
    double correlation = 0;
    struct cx_error error = {0};
    assert_int_equal(spearman_correlation(rising, rising, 6, &correlation, &error), CX_OK);
    assert_true(fabs(correlation - 1) < 1e-15);
    assert_int_equal(spearman_correlation(rising, falling, 6, &correlation, &error), CX_OK);
    assert_true(fabs(correlation + 1) < 1e-15);
    assert_int_equal(spearman_correlation(rising, level, 6, &correlation, &error), CX_OK);
    assert_true(isnan(correlation));
}

static void draws_are_poisson(void **unused) {
    (void)unused;
    enum { count = 200, documents = 500 };
    uint8_t draws[count], again[count], other[count];
    double sum = 0, squares = 0;
    size_t differ = 0;
    for (uint64_t document = 0; document < documents; document++) {
        draw_replicates(document, 0, draws, count);
        draw_replicates(document, 0, again, count);
        draw_replicates(document, 1, other, count);
        assert_memory_equal(draws, again, count);
        for (size_t k = 0; k < count; k++) {
            sum += draws[k];
            squares += (double)draws[k] * draws[k];
            differ += draws[k] != other[k];
        }
    }
    const double n = (double)count * documents, mean = sum / n;
    /* Of 10^5 draws: mean and variance are 1, with standard errors of 0.003 and 0.006; two draws differ with probability 0.69. */
    assert_true(fabs(mean - 1) < 0.015);
    assert_true(fabs(squares / n - mean * mean - 1) < 0.03);
    assert_true((double)differ / n > 0.6);
    draw_replicates(0, 0, draws, 4);
    const uint8_t begin[] = {draws[0], draws[1], draws[2], draws[3]};
    draw_replicates(0, 0, again, count);
    assert_memory_equal(again, begin, 4);
}

static void pairs_that_stand_often_pass(void **unused) {
    (void)unused;
    enum { length = 100, repeats = 30 };
    struct cx_pair_filter *filter = NULL;
    struct cx_error error = {0};
    int32_t ids[length];
    uint8_t special[length] = {1};
    struct cx_sequence sequence = {.tokens = length, .input_ids = ids, .special = special};
    assert_int_equal(cx_pair_filter_create(&filter, &error), CX_OK);
    for (int32_t k = 0; k < repeats; k++) {
        ids[0] = 101;
        ids[1] = 5;
        ids[2] = 6;
        for (int32_t i = 3; i < length; i++)
            ids[i] = 1000 + k * length + i;
        cx_pair_filter_add(filter, &sequence);
    }
    assert_true(cx_pair_filter_passes(filter, 5, 6, repeats) && cx_pair_filter_passes(filter, 6, 5, repeats));
    assert_false(cx_pair_filter_passes(filter, 5, 6, repeats + 1));
    assert_false(cx_pair_filter_passes(filter, 101, 5, 1)); /* special */
    assert_false(cx_pair_filter_passes(filter, 5, 5, 1));   /* a place with itself */
    size_t wrong = 0;
    for (int32_t i = 3; i < length; i++)
        wrong += cx_pair_filter_passes(filter, 5, 1000 + i, 2);
    assert_in_range(wrong, 0, 5);
    assert_int_equal(cx_pair_filter_min_count(filter, 2), 5);
    assert_int_equal(cx_pair_filter_min_count(filter, 1), repeats + 1);
    cx_pair_filter_destroy(filter);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_are_those_of_the_definition),
        cmocka_unit_test(correlations_end_at_one),
        cmocka_unit_test(draws_are_poisson),
        cmocka_unit_test(pairs_that_stand_often_pass),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
