/* Adding the tables of one shard to those of the shards before it. */
#include <stdlib.h>
#include <string.h>

#include "contexture/memory.h"
#include "rows.h"

/* Where the labels of two lists, each in byte order, stand in the list of both. */
struct label_union {
    char **labels;
    size_t count;
    int32_t *from_first, *from_second;
};

static enum cx_status unite_labels(const struct cx_stats_set *first, const struct cx_stats_set *second, struct label_union *both, struct cx_error *error) {
    const size_t most = first->label_count + second->label_count;
    enum cx_status status = cx_allocate(most, sizeof *both->labels, "labels", &both->labels, error);
    if (status == CX_OK)
        status = cx_allocate(first->label_count, sizeof *both->from_first, "labels", &both->from_first, error);
    if (status == CX_OK)
        status = cx_allocate(second->label_count, sizeof *both->from_second, "labels", &both->from_second, error);
    for (size_t i = 0, k = 0; status == CX_OK && (i < first->label_count || k < second->label_count);) {
        const int order = i == first->label_count ? 1 : k == second->label_count ? -1 : strcmp(first->labels[i], second->labels[k]);
        const char *text = order <= 0 ? first->labels[i] : second->labels[k];
        status = cx_copy_text(text, strlen(text), &both->labels[both->count], error);
        if (status != CX_OK)
            break;
        if (order <= 0)
            both->from_first[i++] = (int32_t)both->count;
        if (order >= 0)
            both->from_second[k++] = (int32_t)both->count;
        both->count++;
    }
    return status;
}

/* The order of the rows stays: labels in byte order get rising numbers. */
static void renumber(struct cx_stats_set *set, const int32_t *numbers) {
    for (size_t k = 0; k < cx_stats_table_count; k++) {
        const struct cx_stats_table *table = &set->tables[k];
        for (size_t column = 0; table->present && column < table->kind->column_count; column++) {
            int32_t *values = table->columns[column].values;
            for (size_t row = 0; table->kind->columns[column].type == CX_STATS_LABEL && row < table->rows; row++)
                values[row] = numbers[values[row]];
        }
    }
}

static void copy_row(struct cx_stats_table *into, size_t to, const struct cx_stats_table *from, size_t row) {
    for (size_t k = 0; k < into->kind->column_count; k++) {
        const size_t bytes = into->columns[k].width * cx_stats_type_size(into->kind->columns[k].type);
        if (bytes > 0)
            memcpy((char *)into->columns[k].values + to * bytes, (const char *)from->columns[k].values + row * bytes, bytes);
    }
}

static void add_row(struct cx_stats_table *into, size_t to, const struct cx_stats_table *from, size_t row) {
    for (size_t k = 0; k < into->kind->column_count; k++) {
        const size_t width = into->columns[k].width;
        if (into->kind->columns[k].role != CX_STATS_SUM)
            continue;
        if (into->kind->columns[k].type == CX_STATS_INT64) {
            int64_t *sums = (int64_t *)into->columns[k].values + to * width;
            const int64_t *values = (const int64_t *)from->columns[k].values + row * width;
            for (size_t i = 0; i < width; i++)
                sums[i] = (int64_t)((uint64_t)sums[i] + (uint64_t)values[i]);
        } else {
            double *sums = (double *)into->columns[k].values + to * width;
            const double *values = (const double *)from->columns[k].values + row * width;
            for (size_t i = 0; i < width; i++)
                sums[i] += values[i];
        }
    }
}

static size_t rows_of_both(const struct cx_stats_table *a, const struct cx_stats_table *b) {
    size_t rows = 0;
    for (size_t i = 0, k = 0; i < a->rows || k < b->rows; rows++) {
        const int order = i == a->rows ? 1 : k == b->rows ? -1 : rows_compare(a, i, b, k);
        i += order <= 0;
        k += order >= 0;
    }
    return rows;
}

/* From the end, so that the longer table is made in the memory of the shorter one. */
static enum cx_status merge_table(struct cx_stats_table *into, const struct cx_stats_table *from, struct cx_error *error) {
    const size_t before = into->rows, rows = rows_of_both(into, from);
    enum cx_status status = cx_stats_table_resize(into, rows, error);
    if (status != CX_OK)
        return status;
    for (size_t to = rows, i = before, k = from->rows; to > 0;) {
        const int order = i == 0 ? -1 : k == 0 ? 1 : rows_compare(into, i - 1, from, k - 1);
        to--;
        if (order < 0) {
            copy_row(into, to, from, --k);
            continue;
        }
        if (to != --i)
            copy_row(into, to, into, i);
        if (order == 0)
            add_row(into, to, from, --k);
    }
    return CX_OK;
}

static bool same_options(const struct cx_stats_options *a, const struct cx_stats_options *b) {
    return a->analyses == b->analyses && a->layer_count == b->layer_count && memcmp(a->layers, b->layers, a->layer_count * sizeof *a->layers) == 0 &&
           a->bootstrap == b->bootstrap && a->min_count == b->min_count && a->top_pairs == b->top_pairs && a->raw_maps == b->raw_maps &&
           a->mask_choice == b->mask_choice && a->masked_count == b->masked_count;
}

enum cx_status cx_stats_merge(struct cx_stats_set *into, struct cx_stats_set *from, struct cx_error *error) {
    struct label_union both = {0};
    if (!same_options(&into->options, &from->options))
        return cx_fail(error, CX_ERROR_DAMAGED, "the statistics of two parts were taken with different options, and cannot be added up");
    const struct cx_stats_table *masked = &into->tables[TABLE_NORM_DIMENSION], *masked_too = &from->tables[TABLE_NORM_DIMENSION];
    if (masked->present && rows_of_both(masked, masked_too) != masked->rows)
        return cx_fail(error, CX_ERROR_DAMAGED, "the statistics of two parts mask different dimensions, and cannot be added up");
    enum cx_status status = unite_labels(into, from, &both, error);
    if (status == CX_OK) {
        renumber(into, both.from_first);
        renumber(from, both.from_second);
        labels_free(into->labels, into->label_count);
        into->labels = both.labels;
        into->label_count = both.count;
        both = (struct label_union){.from_first = both.from_first, .from_second = both.from_second};
    }
    for (size_t k = 0; k < cx_stats_table_count && status == CX_OK; k++)
        if (into->tables[k].present)
            status = merge_table(&into->tables[k], &from->tables[k], error);
    labels_free(both.labels, both.count);
    free(both.from_first);
    free(both.from_second);
    return status;
}
