/* Mixing ratio by how often a token stands in the corpus, which is known when all shards are there. */
#include <math.h>
#include <stdlib.h>

#include "contexture/memory.h"
#include "derive.h"
#include "ranks.h"
#include "rows.h"

static size_t bin_of(int64_t count) {
    size_t bin = 0;
    while (count >> (bin + 1) > 0)
        bin++;
    return bin;
}

/* Of the tokens of one bin. */
struct bin {
    double types, count, sum, means, mean_squares;
};
enum { most_bins = 63 };

static enum cx_status add_rows(const struct cx_stats_table *tokens, struct cx_stats_set *merged, size_t layer, size_t stage, double *means, double *counts,
                               struct cx_error *error) {
    const int64_t *count = column_values(tokens, "count");
    const double *sum = column_values(tokens, "sum");
    const size_t width = tokens->columns[column_index(tokens, "sum")].width;
    const double number = (double)merged->options.layers[layer];
    struct bin bins[most_bins] = {{0}};
    for (size_t row = 0; row < tokens->rows; row++) {
        const double total = sum[row * width + layer * CX_STAGES + stage];
        struct bin *bin = &bins[bin_of(count[row])];
        counts[row] = (double)count[row];
        means[row] = total / counts[row];
        bin->types += 1;
        bin->count += counts[row];
        bin->sum += total;
        bin->means += means[row];
        bin->mean_squares += means[row] * means[row];
    }
    enum cx_status status = CX_OK;
    for (size_t k = 0; k < most_bins && status == CX_OK; k++) {
        const struct bin *bin = &bins[k];
        const double row[] = {number,
                              (double)stage,
                              (double)k,
                              bin->types,
                              bin->count,
                              bin->sum / bin->count,
                              bin->means / bin->types,
                              sample_deviation(bin->types, bin->means, bin->mean_squares)};
        if (bin->types > 0)
            status = row_add(&merged->tables[TABLE_FREQUENCY], row, sizeof row / sizeof row[0], error);
    }
    double correlation = NAN;
    if (status == CX_OK)
        status = spearman_correlation(counts, means, tokens->rows, &correlation, error);
    const double row[] = {number, (double)stage, (double)tokens->rows, correlation};
    return status == CX_OK ? row_add(&merged->tables[TABLE_CORRELATION], row, sizeof row / sizeof row[0], error) : status;
}

enum cx_status derive_frequency(const struct cx_stats_table *tokens, struct cx_stats_set *merged, struct cx_error *error) {
    double *means = NULL, *counts = NULL;
    enum cx_status status = cx_allocate(tokens->rows, sizeof *means, "statistics", &means, error);
    if (status == CX_OK)
        status = cx_allocate(tokens->rows, sizeof *counts, "statistics", &counts, error);
    for (size_t layer = 0; layer < merged->options.layer_count; layer++)
        for (size_t stage = 0; stage < CX_STAGES && status == CX_OK; stage++)
            status = add_rows(tokens, merged, layer, stage, means, counts, error);
    free(counts);
    free(means);
    return status;
}
