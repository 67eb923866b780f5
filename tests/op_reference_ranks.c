/* Part of op_reference.c: statistics of maps. */
#include <stdlib.h>

#include "op_reference.h"

void reference_row_shares(const struct op_data *data, const struct op *op, struct op_expected *expected) {
    size_t row = 0;
    (void)op;
    for (size_t s = 0; s < data->batch.sequences; s++) {
        const size_t n = data->batch.token_offset[s + 1] - data->batch.token_offset[s];
        for (size_t i = 0; i < n; i++, row += n) {
            double sum = 0.0;
            for (size_t j = 0; j < n; j++)
                sum += data->map[row + j];
            for (size_t j = 0; j < n; j++) {
                const double share = sum == 0.0 ? 0.0 : data->map[row + j] / sum;
                put(expected, row + j, (struct sum){share, fabs(share)});
            }
        }
    }
}

static int ascending(const void *left, const void *right) {
    const double a = *(const double *)left, b = *(const double *)right;
    return a < b ? -1 : a > b;
}

static bool is_selected(const struct op_data *data, size_t first, size_t i, size_t j) {
    return data->keep[first + i] != 0.0f && data->keep[first + j] != 0.0f && i != j;
}

/* Ranks of a sequence's pairs, from a sorted copy: the mean of the places that a number has there. No map of the cases has a NaN. */
static void ranks_of(const struct op_data *data, size_t s, bool some, const float *map, double *ranks) {
    const size_t first = data->batch.token_offset[s], n = data->batch.token_offset[s + 1] - first;
    double *sorted = calloc(n * n + 1, sizeof *sorted);
    size_t count = 0;
    for (size_t k = 0; sorted && k < n * n; k++) {
        if (!some || is_selected(data, first, k / n, k % n))
            sorted[count++] = (double)map[k];
    }
    if (sorted)
        qsort(sorted, count, sizeof *sorted, ascending);
    for (size_t k = 0; sorted && k < n * n; k++) {
        size_t below = 0, high = count;
        ranks[k] = 0.0;
        if (some && !is_selected(data, first, k / n, k % n))
            continue;
        while (below < high) {
            const size_t middle = (below + high) / 2;
            if (sorted[middle] < (double)map[k])
                below = middle + 1;
            else
                high = middle;
        }
        size_t equal = 0;
        while (below + equal < count && sorted[below + equal] == (double)map[k])
            equal++;
        ranks[k] = (double)below + 0.5 * (double)(equal + 1);
    }
    free(sorted);
}

void reference_map_ranks(const struct op_data *data, const struct op *op, struct op_expected *expected) {
    for (size_t s = 0; s < data->batch.sequences; s++)
        ranks_of(data, s, op->variant != 0, data->map + data->batch.pair_offset[s], expected->value + data->batch.pair_offset[s]);
}

/* Pearson's correlation of the ranks, by its definition. */
static double change_of(size_t count, const double *before, const double *after) {
    double means[2] = {0.0, 0.0}, sums[3] = {0.0, 0.0, 0.0}, selected = 0.0;
    for (size_t k = 0; k < count; k++) {
        means[0] += before[k];
        means[1] += after[k];
        selected += before[k] != 0.0;
    }
    for (size_t k = 0; k < count; k++) {
        const double x = before[k] - means[0] / selected, y = after[k] - means[1] / selected;
        if (before[k] == 0.0)
            continue;
        sums[0] += x * x;
        sums[1] += y * y;
        sums[2] += x * y;
    }
    return sums[0] > 0.0 && sums[1] > 0.0 ? 1.0 - sums[2] / sqrt(sums[0] * sums[1]) : (double)NAN;
}

void reference_rank_change(const struct op_data *data, const struct op *op, struct op_expected *expected) {
    (void)op;
    for (size_t s = 0; s < data->batch.sequences; s++) {
        const size_t n = data->batch.token_offset[s + 1] - data->batch.token_offset[s], at = data->batch.pair_offset[s];
        double *ranks = calloc(2 * n * n + 1, sizeof *ranks);
        if (!ranks)
            return;
        ranks_of(data, s, true, data->map + at, ranks);
        ranks_of(data, s, true, data->map_after + at, ranks + n * n);
        put(expected, s, (struct sum){change_of(n * n, ranks, ranks + n * n), 1.0});
        free(ranks);
    }
}
