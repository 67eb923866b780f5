/* Tables of a small corpus: they are merged in any grouping, do not depend on threads, and rank more pairs than memory holds. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "contexture/stats.h"
#include "rows.h"
#include "view.h"

enum { layers = 2, sequence_count = 12, most_tokens = 9, vocabulary = 7 };

static uint32_t next_number(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

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

/* --- more pairs than memory holds --- */

enum { most_pieces = 64 };

/* A shard's table of pairs as its sink was given it. */
struct pieces {
    struct cx_stats_set items[most_pieces];
    size_t count;
};

static enum cx_status keep_piece(void *context, const struct cx_stats_table *rows, struct cx_error *error) {
    struct pieces *pieces = context;
    struct cx_stats_set *set = &pieces->items[pieces->count++];
    assert_in_range(pieces->count, 1, most_pieces);
    assert_int_equal(cx_stats_set_create(&all_options, CX_STATS_IN_PART, set, error), CX_OK);
    assert_int_equal(cx_stats_table_resize(&set->tables[TABLE_PAIR], rows->rows, error), CX_OK);
    for (size_t k = 0; k < rows->kind->column_count; k++)
        memcpy(set->tables[TABLE_PAIR].columns[k].values, rows->columns[k].values,
               rows->rows * rows->columns[k].width * cx_stats_type_size(rows->kind->columns[k].type));
    return CX_OK;
}

/* A shard of all sequences, given `at_once` at a time, that holds few pairs in memory. */
static void take_pieces(const struct corpus *corpus, size_t at_once, int threads, struct pieces *pieces) {
    struct cx_stats_options options = all_options;
    struct cx_stats *stats = NULL;
    struct cx_stats_set set = {0};
    struct cx_error error = {0};
    options.pair_sink = (struct cx_pair_sink){.context = pieces, .write = keep_piece};
    options.pair_bytes = 10 * layers * 2 * SINGLE_COMPONENTS * sizeof(double);
    pieces->count = 0;
    assert_int_equal(cx_stats_create(&options, corpus->labels, threads, &stats, &error), CX_OK);
    for (size_t first = 0; first < sequence_count; first += at_once)
        assert_int_equal(cx_stats_add(stats, corpus->sequences + first, corpus->results + first, at_once, &error), CX_OK);
    assert_int_equal(cx_stats_take(stats, &set, &error), CX_OK);
    assert_false(set.tables[TABLE_PAIR].present);
    cx_stats_set_free(&set);
    cx_stats_destroy(stats);
}

static void rank(const struct pieces *pieces, size_t bytes, struct cx_stats_set *merged, size_t *ranges) {
    struct cx_pair_ranking *ranking = NULL;
    struct cx_error error = {0};
    bool more = true;
    *ranges = 0;
    assert_int_equal(cx_stats_set_create(&all_options, CX_STATS_IN_MERGED, merged, &error), CX_OK);
    assert_int_equal(cx_pair_ranking_create(&all_options, bytes, &ranking, &error), CX_OK);
    for (; more; ++*ranges) {
        for (size_t k = 0; k < pieces->count; k++)
            assert_int_equal(cx_pair_ranking_add(ranking, &pieces->items[k].tables[TABLE_PAIR], &error), CX_OK);
        assert_int_equal(cx_pair_ranking_next(ranking, &more, &error), CX_OK);
    }
    assert_int_equal(cx_pair_ranking_end(ranking, merged, &error), CX_OK);
    cx_pair_ranking_destroy(ranking);
}

static void free_pieces(struct pieces *pieces) {
    for (size_t k = 0; k < pieces->count; k++)
        cx_stats_set_free(&pieces->items[k]);
}

static int64_t pair_count(const struct cx_stats_table *table) {
    int64_t sum = 0;
    for (size_t row = 0; row < table->rows; row++)
        sum += ((const int64_t *)column_values(table, "count"))[row];
    return sum;
}

/* Mean of one pair, layer and component, added up from the maps, where it stands min_count times; NaN otherwise. */
static double mean_by_definition(const struct corpus *corpus, int32_t target, int32_t source, size_t layer, enum component component) {
    static const enum cx_stage before[] = {CX_STAGE_ATTN, CX_STAGE_ATTN_RES, CX_STAGE_ATTN_RES_LN, CX_STAGE_FF, CX_STAGE_FF_RES};
    double sum = 0;
    uint64_t count = 0;
    for (size_t k = 0; k < sequence_count; k++) {
        const struct cx_sequence *sequence = &corpus->sequences[k];
        const size_t n = sequence->tokens;
        for (size_t place = 0; place < n * n; place++) {
            const size_t i = place / n, j = place % n;
            if (i == j || sequence->special[i] || sequence->special[j] || sequence->input_ids[i] != target || sequence->input_ids[j] != source)
                continue;
            double value[2] = {0};
            for (size_t side = 0; side < 2; side++) {
                const float *row = corpus->maps[k][before[component] + side] + (layer * n + i) * n;
                double total = 0;
                for (size_t at = 0; at < n; at++)
                    total += (double)row[at];
                value[side] = (double)row[j] / total;
            }
            sum += value[1] - value[0];
            count++;
        }
    }
    return count >= all_options.min_count ? sum / (double)count : NAN;
}

/* Rows are in order, and only they have such means: for each list, as many pairs by the definition are at least as large as the last of the list as the list
 * has. */
static void assert_largest(const struct corpus *corpus, const struct cx_stats_table *top) {
    const int32_t *component = column_values(top, "component"), *sign = column_values(top, "sign"), *rank_of = column_values(top, "rank");
    const int32_t *target = column_values(top, "target"), *source = column_values(top, "source"), *layer = column_values(top, "layer");
    const double *mean = column_values(top, "mean");
    assert_int_equal(top->rows, layers * SINGLE_COMPONENTS * 2 * all_options.top_pairs);
    for (size_t row = 0; row < top->rows; row++) {
        const size_t at = layer[row] == (int32_t)layer_numbers[0] ? 0 : 1;
        const double factor = sign[row] == 0 ? 1 : -1;
        size_t larger = 0;
        assert_true(fabs(mean[row] - mean_by_definition(corpus, target[row], source[row], at, (enum component)component[row])) < 1e-14);
        for (int32_t pair = 0; pair < vocabulary * vocabulary; pair++) {
            const double other = mean_by_definition(corpus, pair / vocabulary, pair % vocabulary, at, (enum component)component[row]);
            larger += !isnan(other) && factor * other > factor * mean[row] + 1e-14;
        }
        assert_int_equal(rank_of[row], larger);
    }
}

static void pairs_beyond_memory_are_exact(void **unused) {
    (void)unused;
    static const size_t few = 3 * layers * 2 * SINGLE_COMPONENTS * sizeof(double);
    struct corpus *corpus = make_corpus(false);
    struct pieces whole = {.count = 1}, pieces = {0}, again = {0};
    struct cx_stats_set in_memory = {0}, in_ranges = {0}, in_runs = {0};
    size_t ranges, runs = 0;
    take_shard(corpus, 0, sequence_count, 1, &whole.items[0]);
    take_pieces(corpus, sequence_count, 1, &pieces);
    take_pieces(corpus, 1, 4, &again);
    assert_int_equal(pieces.count, again.count);
    for (size_t k = 0; k < pieces.count; k++) {
        assert_same_set(&pieces.items[k], &again.items[k], 0);
        assert_int_equal(cx_stats_set_check(&pieces.items[k], "a run", &(struct cx_error){0}), CX_OK);
        runs += (size_t)pair_count(&pieces.items[k].tables[TABLE_PAIR]);
    }
    assert_true(pieces.count > 2);
    assert_int_equal(runs, pair_count(&whole.items[0].tables[TABLE_PAIR]));
    rank(&whole, 0, &in_memory, &ranges);
    assert_int_equal(ranges, 1);
    rank(&whole, few, &in_ranges, &ranges);
    assert_true(ranges > 10);
    assert_same_set(&in_memory, &in_ranges, 0);
    assert_largest(corpus, &in_memory.tables[TABLE_TOP]);
    rank(&pieces, few, &in_runs, &ranges);
    assert_same_set(&in_memory, &in_runs, 1e-13);
    free_pieces(&whole);
    free_pieces(&pieces);
    free_pieces(&again);
    cx_stats_set_free(&in_memory);
    cx_stats_set_free(&in_ranges);
    cx_stats_set_free(&in_runs);
    free_corpus(corpus);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_do_not_show),
        cmocka_unit_test(merging_is_addition),
        cmocka_unit_test(what_cannot_be_merged_is_refused),
        cmocka_unit_test(pairs_beyond_memory_are_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
