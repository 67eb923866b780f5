/* The pairs of token types that a component amplifies most, and those that it weakens most. */
#include <stdlib.h>

#include "contexture/memory.h"
#include "derive.h"
#include "rows.h"

struct candidate {
    double mean; /* times -1 where the smallest come first */
    size_t row;  /* breaks ties: rows are sorted by target and source */
};

static int larger_first(const void *a, const void *b) {
    const struct candidate *first = a, *second = b;
    if (first->mean != second->mean)
        return first->mean > second->mean ? -1 : 1;
    return first->row < second->row ? -1 : first->row > second->row;
}

static enum cx_status add_top(const struct cx_stats_table *pairs, struct cx_stats_set *merged, size_t layer, size_t component, size_t sign,
                              const struct candidate *candidates, size_t count, struct cx_error *error) {
    const int32_t *target = column_values(pairs, "target"), *source = column_values(pairs, "source");
    const int64_t *counts = column_values(pairs, "count");
    const double *sum = column_values(pairs, "sum"), *squares = column_values(pairs, "sum_squares");
    const size_t width = pairs->columns[column_index(pairs, "sum")].width;
    enum cx_status status = CX_OK;
    for (size_t rank = 0; rank < count && status == CX_OK; rank++) {
        const size_t pair = candidates[rank].row, place = pair * width + layer * SINGLE_COMPONENTS + component;
        const double number = (double)counts[pair], row[] = {(double)merged->options.layers[layer],
                                                             (double)component,
                                                             (double)sign,
                                                             (double)rank,
                                                             target[pair],
                                                             source[pair],
                                                             number,
                                                             sum[place] / number,
                                                             sample_deviation(number, sum[place], squares[place])};
        status = row_add(&merged->tables[TABLE_TOP], row, sizeof row / sizeof row[0], error);
    }
    return status;
}

enum cx_status derive_top_pairs(const struct cx_stats_table *pairs, struct cx_stats_set *merged, struct cx_error *error) {
    struct candidate *candidates = NULL;
    const int64_t *counts = column_values(pairs, "count");
    const double *sum = column_values(pairs, "sum");
    const size_t width = pairs->columns[column_index(pairs, "sum")].width, most = (size_t)merged->options.top_pairs;
    enum cx_status status = cx_allocate(pairs->rows, sizeof *candidates, "the largest pairs", &candidates, error);
    for (size_t k = 0; k < merged->options.layer_count * SINGLE_COMPONENTS * 2 && status == CX_OK; k++) {
        const size_t sign = k % 2, component = k / 2 % SINGLE_COMPONENTS, layer = k / 2 / SINGLE_COMPONENTS;
        size_t count = 0;
        for (size_t row = 0; row < pairs->rows; row++) {
            const double mean = sum[row * width + layer * SINGLE_COMPONENTS + component] / (double)counts[row];
            if ((uint64_t)counts[row] >= merged->options.min_count)
                candidates[count++] = (struct candidate){sign == 0 ? mean : -mean, row};
        }
        qsort(candidates, count, sizeof *candidates, larger_first);
        status = add_top(pairs, merged, layer, component, sign, candidates, count < most ? count : most, error);
    }
    free(candidates);
    return status;
}
