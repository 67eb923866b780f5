/* Ranks against their definition, tables that are merged in any grouping, the bootstrap's draws, and the counting of pairs. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "contexture/stats.h"
#include "ranks.h"
#include "rows.h"
#include "view.h"

enum { most = 600, layers = 2, sequence_count = 12, most_tokens = 9, vocabulary = 7 };

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

/* --- accumulating and merging --- */

struct corpus {
    struct cx_label_table *labels;
    struct cx_sequence sequences[sequence_count];
    struct cx_sequence_result results[sequence_count];
    int32_t ids[sequence_count][most_tokens], words[sequence_count][most_tokens], entities[sequence_count][most_tokens];
    uint32_t pos[sequence_count][most_tokens], entity_labels[sequence_count][most_tokens];
    uint8_t special[sequence_count][most_tokens];
    float maps_without[sequence_count][CX_NORMS][CX_NORM_SIDES][layers * most_tokens * most_tokens];
    float maps[sequence_count][CX_STAGES][layers * most_tokens * most_tokens], ratios[sequence_count][CX_STAGES][layers * most_tokens];
};

static const char *const tags[] = {"NOUN", "ADJ", "VERB", "B"};

/* The labels get other ids if they are met from the last one to the first. */
static struct corpus *make_corpus(bool backwards) {
    struct corpus *corpus = calloc(1, sizeof *corpus);
    struct cx_error error = {0};
    uint32_t state = 7, ids[4];
    assert_non_null(corpus);
    assert_int_equal(cx_label_table_create(&corpus->labels, &error), CX_OK);
    for (size_t k = 0; k < 4; k++) {
        const size_t tag = backwards ? 3 - k : k;
        assert_int_equal(cx_label_table_add(corpus->labels, tags[tag], strlen(tags[tag]), &ids[tag], &error), CX_OK);
    }
    for (size_t k = 0; k < sequence_count; k++) {
        const size_t n = 1 + next_number(&state) % most_tokens;
        struct cx_sequence *sequence = &corpus->sequences[k];
        *sequence = (struct cx_sequence){.document = k,
                                         .tokens = n,
                                         .input_ids = corpus->ids[k],
                                         .special = corpus->special[k],
                                         .word = corpus->words[k],
                                         .entity = corpus->entities[k],
                                         .pos = corpus->pos[k],
                                         .entity_label = corpus->entity_labels[k],
                                         .original_id = corpus->ids[k],
                                         .annotated = k % 3 != 0};
        for (size_t i = 0; i < n; i++) {
            corpus->ids[k][i] = (int32_t)(next_number(&state) % vocabulary);
            corpus->special[k][i] = i == 0 || i + 1 == n;
            corpus->words[k][i] = corpus->special[k][i] ? -1 : (int32_t)(i / 2);
            corpus->entities[k][i] = i == 2 || i == 5 ? (int32_t)i : -1;
            corpus->pos[k][i] = sequence->annotated && !corpus->special[k][i] ? ids[(k + i) % 3] : 0;
            corpus->entity_labels[k][i] = sequence->annotated && corpus->entities[k][i] >= 0 && k > 6 ? ids[3] : 0;
        }
        for (size_t stage = 0; stage < CX_STAGES; stage++) {
            for (size_t i = 0; i < layers * n * n; i++)
                corpus->maps[k][stage][i] = (float)(1 + next_number(&state) % 1000) / 1000;
            for (size_t i = 0; i < layers * n; i++)
                corpus->ratios[k][stage][i] = (float)(next_number(&state) % 1000) / 1000;
            corpus->results[k].maps[stage] = corpus->maps[k][stage];
            corpus->results[k].mixing_ratio[stage] = corpus->ratios[k][stage];
        }
        for (size_t norm = 0; norm < CX_NORMS; norm++)
            for (size_t side = 0; side < CX_NORM_SIDES; side++) {
                for (size_t i = 0; i < layers * n * n; i++)
                    corpus->maps_without[k][norm][side][i] = corpus->maps[k][cx_norm_stages[norm][side]][i] * (float)(next_number(&state) % 1000) / 1000;
                corpus->results[k].maps_without[norm][side] = corpus->maps_without[k][norm][side];
            }
    }
    return corpus;
}

static void free_corpus(struct corpus *corpus) {
    cx_label_table_destroy(corpus->labels);
    free(corpus);
}

static const size_t layer_numbers[layers] = {1, 4};
enum { masked_count = 2 };
static const size_t masked[layers][CX_NORMS][masked_count] = {{{0, 3}, {1, 2}}, {{5, 8}, {0, 7}}};
static const struct cx_stats_options all_options = {.analyses = CX_ALL_ANALYSES,
                                                    .layer_count = layers,
                                                    .layers = layer_numbers,
                                                    .bootstrap = 16,
                                                    .min_count = 2,
                                                    .top_pairs = 5,
                                                    .mask_choice = CX_MASK_DIMENSIONS,
                                                    .masked_count = masked_count,
                                                    .masked = &masked[0][0][0]};

/* The tables of sequences first .. end - 1. */
static void take_shard(const struct corpus *corpus, size_t first, size_t end, int threads, struct cx_stats_set *set) {
    struct cx_stats *stats = NULL;
    struct cx_error error = {0};
    assert_int_equal(cx_stats_create(&all_options, corpus->labels, threads, &stats, &error), CX_OK);
    assert_int_equal(cx_stats_add(stats, corpus->sequences + first, corpus->results + first, end - first, &error), CX_OK);
    assert_int_equal(cx_stats_take(stats, set, &error), CX_OK);
    assert_int_equal(cx_stats_set_check(set, "the set", &error), CX_OK);
    /* Taking begins anew. */
    struct cx_stats_set empty = {0};
    assert_int_equal(cx_stats_take(stats, &empty, &error), CX_OK);
    assert_int_equal(empty.tables[TABLE_TOKEN].rows, 0);
    assert_int_equal(empty.label_count, 1);
    cx_stats_set_free(&empty);
    cx_stats_destroy(stats);
}

static double element(const struct cx_stats_table *table, size_t column, size_t place) {
    const void *values = table->columns[column].values;
    switch (table->kind->columns[column].type) {
    case CX_STATS_INT32:
    case CX_STATS_LABEL:
        return ((const int32_t *)values)[place];
    case CX_STATS_INT64:
        return (double)((const int64_t *)values)[place];
    case CX_STATS_FLOAT64:
        break;
    }
    return ((const double *)values)[place];
}

/* Floats agree to `bound` of the column's largest value; 0: bit by bit. */
static void assert_same_set(const struct cx_stats_set *a, const struct cx_stats_set *b, double bound) {
    assert_int_equal(a->label_count, b->label_count);
    for (size_t k = 0; k < a->label_count; k++)
        assert_string_equal(a->labels[k], b->labels[k]);
    for (size_t k = 0; k < cx_stats_table_count; k++) {
        const struct cx_stats_table *first = &a->tables[k], *second = &b->tables[k];
        assert_int_equal(first->rows, second->rows);
        for (size_t column = 0; column < first->kind->column_count; column++) {
            const bool is_float = first->kind->columns[column].type == CX_STATS_FLOAT64;
            const size_t count = first->rows * first->columns[column].width;
            double largest = 0;
            for (size_t i = 0; i < count; i++)
                largest = fmax(largest, fabs(element(first, column, i)));
            for (size_t i = 0; i < count; i++) {
                const double x = element(first, column, i), y = element(second, column, i);
                if (!(isnan(x) && isnan(y)) && !(fabs(x - y) <= (is_float ? bound * largest : 0)))
                    fail_msg("%s/%s, element %zu: %.17g and %.17g", first->kind->name, first->kind->columns[column].name, i, x, y);
            }
        }
    }
}

static void threads_do_not_show(void **unused) {
    (void)unused;
    struct corpus *corpus = make_corpus(false);
    struct cx_stats_set one = {0}, four = {0};
    take_shard(corpus, 0, sequence_count, 1, &one);
    take_shard(corpus, 0, sequence_count, 4, &four);
    assert_same_set(&one, &four, 0);
    cx_stats_set_free(&one);
    cx_stats_set_free(&four);
    free_corpus(corpus);
}

/* Shards of another process, whose labels have other ids, give the same tables; groupings differ by rounding alone, and exactly in counts. */
static void merging_is_addition(void **unused) {
    (void)unused;
    struct corpus *corpus = make_corpus(false), *other = make_corpus(true);
    struct cx_stats_set whole = {0}, left[3], right[3], derived = {0}, derived_whole = {0};
    struct cx_error error = {0};
    const size_t ends[] = {0, 5, 6, sequence_count};
    take_shard(corpus, 0, sequence_count, 1, &whole);
    for (size_t k = 0; k < 3; k++) {
        take_shard(k == 1 ? other : corpus, ends[k], ends[k + 1], 1, &left[k]);
        take_shard(k == 1 ? corpus : other, ends[k], ends[k + 1], 2, &right[k]);
        assert_same_set(&left[k], &right[k], 0);
    }
    assert_int_equal(cx_stats_merge(&left[0], &left[1], &error), CX_OK);
    assert_int_equal(cx_stats_merge(&left[0], &left[2], &error), CX_OK);
    assert_int_equal(cx_stats_merge(&right[1], &right[2], &error), CX_OK);
    assert_int_equal(cx_stats_merge(&right[0], &right[1], &error), CX_OK);
    assert_int_equal(cx_stats_set_check(&left[0], "merged", &error), CX_OK);
    assert_same_set(&left[0], &right[0], 1e-14);
    assert_same_set(&left[0], &whole, 1e-13);
    assert_int_equal(whole.label_count, 5);
    assert_string_equal(whole.labels[2], "B");
    assert_int_equal(cx_stats_derive(&left[0], &derived, &error), CX_OK);
    assert_int_equal(cx_stats_derive(&whole, &derived_whole, &error), CX_OK);
    /* Quotients and roots of these sums, none of them of almost equal ones: ten times their bound. */
    assert_same_set(&derived, &derived_whole, 1e-12);
    assert_int_equal(derived.tables[TABLE_TOP].rows, layers * SINGLE_COMPONENTS * 2 * 5);
    assert_int_equal(cx_stats_set_check(&derived, "derived", &error), CX_OK);
    for (size_t k = 0; k < 3; k++) {
        cx_stats_set_free(&left[k]);
        cx_stats_set_free(&right[k]);
    }
    cx_stats_set_free(&whole);
    cx_stats_set_free(&derived);
    cx_stats_set_free(&derived_whole);
    free_corpus(corpus);
    free_corpus(other);
}

static void what_cannot_be_merged_is_refused(void **unused) {
    (void)unused;
    struct corpus *corpus = make_corpus(false);
    struct cx_stats_set a = {0}, b = {0};
    struct cx_error error = {0};
    take_shard(corpus, 0, 4, 1, &a);
    take_shard(corpus, 4, 8, 1, &b);
    ((int32_t *)column_values(&b.tables[TABLE_NORM_DIMENSION], "dimension"))[1]++;
    assert_int_equal(cx_stats_merge(&a, &b, &error), CX_ERROR_DAMAGED);
    assert_non_null(strstr(error.message, "mask different dimensions"));
    b.options.bootstrap++;
    assert_int_equal(cx_stats_merge(&a, &b, &error), CX_ERROR_DAMAGED);
    ((int32_t *)a.tables[TABLE_TOKEN].columns[0].values)[1] = -1;
    assert_int_equal(cx_stats_set_check(&a, "a.h5", &error), CX_ERROR_DAMAGED);
    assert_non_null(strstr(error.message, "a.h5: the table /stats/mixing_ratio/token: the keys of row 1"));
    ((int32_t *)column_values(&b.tables[TABLE_POS], "source_pos"))[0] = 99;
    assert_int_equal(cx_stats_set_check(&b, "b.h5", &error), CX_ERROR_DAMAGED);
    ((int32_t *)column_values(&b.tables[TABLE_POS], "source_pos"))[0] = 1;
    ((int32_t *)column_values(&b.tables[TABLE_BOOTSTRAP_COUNT], "category"))[CATEGORIES - 1] = CATEGORIES;
    assert_int_equal(cx_stats_set_check(&b, "b.h5", &error), CX_ERROR_DAMAGED);
    assert_non_null(strstr(error.message, "categories/bootstrap_count: row 14 has the category 15; there are 15"));
    cx_stats_set_free(&a);
    cx_stats_set_free(&b);
    free_corpus(corpus);
}

/* --- draws and pairs --- */

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
        cmocka_unit_test(threads_do_not_show),
        cmocka_unit_test(merging_is_addition),
        cmocka_unit_test(what_cannot_be_merged_is_refused),
        cmocka_unit_test(draws_are_poisson),
        cmocka_unit_test(pairs_that_stand_often_pass),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
