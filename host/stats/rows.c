#include "rows.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "contexture/memory.h"

int32_t label_number(const struct cx_stats_set *set, const char *text) {
    size_t first = 0, end = set->label_count;
    while (end - first > 1) {
        const size_t middle = first + (end - first) / 2;
        if (strcmp(set->labels[middle], text) <= 0)
            first = middle;
        else
            end = middle;
    }
    return (int32_t)first;
}

static void put(const struct cx_stats_table *table, size_t column, size_t row, double value) {
    void *values = table->columns[column].values;
    switch (table->kind->columns[column].type) {
    case CX_STATS_INT32:
    case CX_STATS_LABEL:
        ((int32_t *)values)[row] = (int32_t)value;
        break;
    case CX_STATS_INT64:
        ((int64_t *)values)[row] = (int64_t)value;
        break;
    case CX_STATS_FLOAT64:
        ((double *)values)[row] = value;
        break;
    }
}

enum cx_status row_add(struct cx_stats_table *table, const double *values, size_t count, struct cx_error *error) {
    const size_t row = table->rows;
    enum cx_status status = cx_stats_table_resize(table, row + 1, error);
    for (size_t column = 0; status == CX_OK && column < table->kind->column_count; column++)
        if (column < count || (table->columns[column].width == 1 && table->kind->columns[column].type == CX_STATS_FLOAT64))
            put(table, column, row, column < count ? values[column] : NAN);
    return status;
}

/* Merge sort of row numbers, so that qsort() needs no global table. */
static void sort_order(const struct cx_stats_table *table, size_t *order, size_t *spare, size_t count) {
    if (count < 2)
        return;
    const size_t half = count / 2;
    sort_order(table, order, spare, half);
    sort_order(table, order + half, spare, count - half);
    memcpy(spare, order, half * sizeof *order);
    for (size_t left = 0, right = half, out = 0; left < half;) {
        if (right == count || rows_compare(table, spare[left], table, order[right]) <= 0)
            order[out++] = spare[left++];
        else
            order[out++] = order[right++];
    }
}

enum cx_status rows_sort(struct cx_stats_table *table, struct cx_error *error) {
    size_t *order = NULL, *spare = NULL;
    unsigned char *sorted = NULL;
    enum cx_status status = cx_allocate(table->rows, sizeof *order, "sorting a table", &order, error);
    if (status == CX_OK)
        status = cx_allocate(table->rows, sizeof *spare, "sorting a table", &spare, error);
    for (size_t row = 0; row < table->rows && status == CX_OK; row++)
        order[row] = row;
    if (status == CX_OK)
        sort_order(table, order, spare, table->rows);
    for (size_t k = 0; k < table->kind->column_count && status == CX_OK; k++) {
        struct cx_stats_column *column = &table->columns[k];
        const size_t bytes = column->width * cx_stats_type_size(table->kind->columns[k].type);
        if (bytes == 0)
            continue;
        status = cx_allocate(table->capacity, bytes, "sorting a table", &sorted, error);
        for (size_t row = 0; row < table->rows && status == CX_OK; row++)
            memcpy(sorted + row * bytes, (const unsigned char *)column->values + order[row] * bytes, bytes);
        if (status == CX_OK) {
            free(column->values);
            column->values = sorted;
        }
    }
    free(spare);
    free(order);
    return status;
}

enum cx_status slots_to_rows(const struct slots *slots, const size_t *order, size_t count, struct cx_stats_table *table, struct cx_error *error) {
    size_t keys = 0;
    enum cx_status status = cx_stats_table_resize(table, count, error);
    while (table->kind->columns[keys].role == CX_STATS_KEY)
        keys++;
    const size_t parts = table->kind->column_count - keys - 1, part = slots->width / parts;
    for (size_t row = 0; row < count && status == CX_OK; row++) {
        const size_t slot = order[row];
        for (size_t key = 0; key < keys; key++)
            ((int32_t *)table->columns[key].values)[row] = (int32_t)(slots->keys[slot] >> (32 * (keys - 1 - key)));
        ((int64_t *)table->columns[keys].values)[row] = slots->counts[slot];
        for (size_t k = 0; k < parts; k++)
            for (size_t layer = 0; layer < slots->layers; layer++)
                memcpy((double *)table->columns[keys + 1 + k].values + (row * slots->layers + layer) * part,
                       slots->sums + slots_place(slots, slot, layer) + k * part, part * sizeof(double));
    }
    return status;
}

enum cx_status slots_to_table(const struct slots *slots, struct cx_stats_table *table, struct cx_error *error) {
    size_t *order = NULL;
    enum cx_status status = slots_order(slots, &order, error);
    if (status == CX_OK)
        status = slots_to_rows(slots, order, slots->count, table, error);
    free(order);
    return status;
}

double sample_deviation(double count, double sum, double sum_squares) {
    if (count < 2)
        return NAN;
    const double variance = (sum_squares - sum * (sum / count)) / (count - 1);
    return variance > 0 ? sqrt(variance) : 0;
}
